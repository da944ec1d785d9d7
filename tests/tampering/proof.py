"""The promotion's proof, freshness, the re-wrapped data key, and the folder of evidence."""

from __future__ import annotations

import base64
from random import Random

from sdk import crypto
from sdk.audit import Event
from sdk.errors import Refused, Tampered
from sdk.records import canonical_json, sha256
from sdk.seal import key_context
from tests.clean_releases import (
    Link,
    Release,
    hex_of,
    manifest_of,
    prove,
)
from tests.tampering.kit import (
    EDITS,
    LINE,
    MANIFEST,
    PROOF,
    Bench,
    content,
    flip,
    tampers,
)


def _proof(case: Release) -> tuple[list[str], str]:
    head, _, note = content(case.tree, PROOF).decode().partition("\n\n")
    return head.split("\n"), note


def _set_proof(case: Release, head: list[str], note: str) -> None:
    case.tree[PROOF] = "\n".join([*head, "", note]).encode()


@tampers("release")
def a_hash_of_the_proof(case: Release, draw: Random, bench: Bench) -> None:
    head, note = _proof(case)
    place = draw.randrange(2, len(head))
    head[place] = crypto.b64(flip(base64.b64decode(head[place]), draw))
    _set_proof(case, head, note)


@tampers("release")
def hashes_of_the_proof_dropped_added_or_moved(case: Release, draw: Random, bench: Bench) -> None:
    head, note = _proof(case)
    hashes = head[2:]
    match draw.randrange(4):
        case 0:
            del hashes[draw.randrange(len(hashes))]
        case 1:
            hashes.insert(draw.randrange(len(hashes) + 1), crypto.b64(draw.randbytes(draw.choice([0, 31, 32, 32]))))
        case 2:
            draw.shuffle(hashes)
        case 3:
            hashes *= 40
    _set_proof(case, [*head[:2], *hashes], note)


@tampers("release")
def the_index_of_the_proof(case: Release, draw: Random, bench: Bench) -> None:
    head, note = _proof(case)
    number = int(head[1].split()[1])
    others = [number - 1, number + 1, 0, -number, 2**64, 2**64 + number, f"0{number}", f"+{number}", f"{number}.0", ""]
    head[1] = f"index {draw.choice([*others, draw.randrange(1000)])}"
    _set_proof(case, head, note)


@tampers("release")
def the_size_in_the_proofs_checkpoint(case: Release, draw: Random, bench: Bench) -> None:
    head, note = _proof(case)
    lines = note.split("\n")
    size = int(lines[1])
    lines[1] = str(draw.choice([size + 1, size - 1, 0, 2**63, -size, f"0{size}", draw.randrange(1000)]))
    _set_proof(case, head, "\n".join(lines))


@tampers("release", Tampered, Refused)
def the_proof_and_line_of_another_event(case: Release, draw: Random, bench: Bench) -> None:
    lines = bench.maker.lines
    own = lines.index(content(case.tree, LINE))
    index = draw.choice([place for place in range(len(lines)) if place != own])
    case.tree[PROOF] = prove(lines, index, bench.maker.origin, bench.keys.log)
    if draw.random() < 0.5:
        case.tree[LINE] = lines[index]


@tampers("release", word="another action")
def the_event_that_began_the_promotion(case: Release, draw: Random, bench: Bench) -> None:
    lines = bench.maker.lines
    index = lines.index(content(case.tree, LINE)) - 1
    package = sha256(content(case.tree, MANIFEST))
    case.tree[LINE] = lines[index]
    case.tree |= bench.maker.proofs(package, index, lines[: draw.randrange(index + 1, len(lines) + 1)])


@tampers("release", word="not signed by the log's key")
def the_proof_by_another_key(case: Release, draw: Random, bench: Bench) -> None:
    lines = bench.maker.lines
    index = lines.index(content(case.tree, LINE))
    size = draw.randrange(index + 1, len(lines) + 1)
    case.tree[PROOF] = prove(lines[:size], index, bench.maker.origin, bench.keys.other_log)


@tampers("release", word="another log")
def the_proof_of_another_origin(case: Release, draw: Random, bench: Bench) -> None:
    lines = bench.maker.lines
    index = lines.index(content(case.tree, LINE))
    origin = draw.choice([bench.maker.origin[:-1], f"domain-adaptation-sdk/{hex_of(draw, 16)}", "example.org/log"])
    case.tree[PROOF] = prove(lines, index, origin, bench.keys.log)


@tampers("release", word="at the place of event")
def a_line_with_another_number_in_the_log(case: Release, draw: Random, bench: Bench) -> None:
    lines = list(bench.maker.lines)
    index = lines.index(content(case.tree, LINE))
    event = Event.model_validate_json(lines[index])
    case.tree[LINE] = lines[index] = event.model_copy(update={"seq": draw.randrange(index)}).to_bytes()
    case.tree[PROOF] = prove(lines, index, bench.maker.origin, bench.keys.log)


@tampers("release", word="older than one that this machine has served")
def an_older_release_after_a_newer_one(case: Release, draw: Random, bench: Bench) -> None:
    case.tree = dict(draw.choice([bench.older, bench.plain]).tree)
    case.served = bench.maker.checkpoint(bench.maker.lines[: len(bench.maker.lines) - draw.randrange(3)])


@tampers("release")
def what_the_machine_remembers_altered(case: Release, draw: Random, bench: Bench) -> None:
    case.served = draw.choice(EDITS)(case.served, draw)


@tampers("release")
def another_data_key_beside_the_package(case: Release, draw: Random, bench: Bench) -> None:
    older = manifest_of(bench.older.tree).wrapped_data_key
    own = crypto.LocalWrapper(crypto.Secret.random())
    package = manifest_of(case.tree).package_id
    wrapped = draw.choice([older, own.wrap(crypto.Secret.random(), key_context(package)), "", hex_of(draw)])
    case.tree["governance/data-key.json"] = draw.choice(
        [canonical_json({"wrapped": wrapped}), canonical_json({"wrapped": None}), draw.randbytes(30)]
    )


@tampers("release", word="header, its package or its key")
def a_new_data_key_wrapped_with_the_right_key(case: Release, draw: Random, bench: Bench) -> None:
    package = manifest_of(case.tree).package_id
    wrapped = crypto.LocalWrapper(bench.keys.secret).wrap(crypto.Secret(draw.randbytes(32)), key_context(package))
    case.tree["governance/data-key.json"] = canonical_json({"wrapped": wrapped})


NEEDED = ("policy.json", "report.sha256", "promotion.json", "promotion.proof", "ring/0001.dsse.json")


@tampers("release", Tampered, Refused)
def a_file_of_the_evidence_missing(case: Release, draw: Random, bench: Bench) -> None:
    del case.tree[f"governance/{draw.choice([*NEEDED, 'decisions/0001.dsse.json', 'decisions/0003.dsse.json'])}"]


@tampers("release", word="does not hold 0001")
def a_strange_file_among_rings_or_decisions(case: Release, draw: Random, bench: Bench) -> None:
    name = draw.choice(["0005.dsse.json", "0000.dsse.json", "1.dsse.json", ".hidden", "0004.json", "0004.DSSE.json"])
    case.tree[f"governance/{draw.choice(['ring', 'decisions'])}/{name}"] = draw.randbytes(20)


@tampers("release", Tampered, word="no ordinary file")
def a_data_key_that_is_a_link(case: Release, draw: Random, bench: Bench) -> None:
    target = draw.choice(["nowhere", "/dev/zero", "x" * 300, ".", "data-key.json"])
    case.tree["governance/data-key.json"] = Link(target)


@tampers("release", Tampered, Refused)
def a_link_in_place_of_the_folder_of_rings_or_decisions(case: Release, draw: Random, bench: Bench) -> None:
    below = f"governance/{draw.choice(['ring', 'decisions'])}"
    for path in [path for path in case.tree if path.startswith(f"{below}/")]:
        case.tree[f"aside/{path}"] = case.tree.pop(path)
    case.tree[below] = Link(draw.choice([f"../aside/{below}", "nowhere", "x" * 300, "/proc/self/fd"]))


@tampers("release", word="no ordinary file")
def a_link_among_the_evidence(case: Release, draw: Random, bench: Bench) -> None:
    path = f"governance/{draw.choice(NEEDED)}"
    case.tree["aside/file"] = case.tree[path]
    case.tree[path] = Link(str(case.folder / "release/aside/file"))
