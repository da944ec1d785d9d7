"""The log, and a ciphertext alone."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from random import Random

from sdk import crypto
from sdk.audit.segments import segment_name
from sdk.crypto import floe
from sdk.records import canonical_json
from tests.clean_releases import (
    SMALL,
    Link,
    Log,
    Weights,
    hex_of,
)
from tests.tampering.kit import EDITS, Bench, Mutate, content, flip, segment_path, tampers

# -- the log ----------------------------------------------------------------------------------------------------------


def _lines(case: Log) -> list[bytes]:
    paths = sorted(path for path in case.tree if path.startswith("audit/events-"))
    return b"".join(content(case.tree, path) for path in paths).split(b"\n")[:-1]


def _set_lines(case: Log, lines: list[bytes], segment: int = 7) -> None:
    for path in [path for path in case.tree if path.startswith("audit/events-")]:
        del case.tree[path]
    for first in range(0, len(lines), segment):
        data = b"".join(line + b"\n" for line in lines[first : first + segment])
        case.tree[f"audit/{segment_name(first)}"] = data


def _another_event(line: bytes, draw: Random) -> bytes:
    fields = json.loads(line)
    name = draw.choice(["actor", "host", "action", "objects", "detail", "policy", "time", "phase", "decision"])
    fields[name] = {
        "time": "1999-01-01T00:00:00.000+00:00",
        "phase": draw.choice([phase for phase in ("started", "finished", "refused") if phase != fields["phase"]]),
        "decision": draw.choice(["permit", "deny"]),
        "objects": {**fields["objects"], "package": hex_of(draw)},
        "detail": {**fields["detail"], "note": hex_of(draw, 8)},
    }.get(name, "else")
    return canonical_json(fields)


@tampers("log")
def an_event_edited(case: Log, draw: Random, bench: Bench) -> None:
    lines, place = _lines(case), draw.randrange(len(bench.maker.lines))
    lines[place] = _another_event(lines[place], draw)
    _set_lines(case, lines)


@tampers("log")
def events_deleted(case: Log, draw: Random, bench: Bench) -> None:
    lines = _lines(case)
    place = draw.randrange(len(lines))
    del lines[place : place + draw.randrange(1, 4)]
    _set_lines(case, lines)


@tampers("log")
def an_event_deleted_and_the_rest_numbered_anew(case: Log, draw: Random, bench: Bench) -> None:
    lines = _lines(case)
    del lines[draw.randrange(len(lines))]
    events = [json.loads(line) | {"seq": seq} for seq, line in enumerate(lines)]
    _set_lines(case, [canonical_json(event) for event in events])


@tampers("log")
def an_event_inserted(case: Log, draw: Random, bench: Bench) -> None:
    lines = _lines(case)
    place = draw.randrange(len(lines))
    lines.insert(place, bench.maker.event(place, "approve", "finished"))
    if draw.random() < 0.5:
        lines = [canonical_json(json.loads(line) | {"seq": seq}) for seq, line in enumerate(lines)]
    _set_lines(case, lines)


@tampers("log")
def an_event_doubled(case: Log, draw: Random, bench: Bench) -> None:
    lines = _lines(case)
    place = draw.randrange(len(lines) - 1)
    lines.insert(place, lines[place])
    _set_lines(case, lines)


@tampers("log")
def two_events_exchanged(case: Log, draw: Random, bench: Bench) -> None:
    lines = _lines(case)
    one, other = draw.sample(range(len(lines)), 2)
    lines[one], lines[other] = lines[other], lines[one]
    if draw.random() < 0.5:
        lines = [canonical_json(json.loads(line) | {"seq": seq}) for seq, line in enumerate(lines)]
    _set_lines(case, lines)


@tampers("log", word="cut off")
def the_newest_events_cut_off(case: Log, draw: Random, bench: Bench) -> None:
    lines = _lines(case)
    _set_lines(case, lines[: draw.randrange(len(lines) // 7 * 7 if len(lines) % 7 else len(lines) - 7, len(lines))])


def put_back(case: Log, size: int, bench: Bench) -> None:
    _set_lines(case, _lines(case)[:size])
    case.tree["audit/checkpoint"] = bench.maker.checkpoint(bench.maker.lines[:size])


@tampers("log", word="an older copy of the log")
def a_whole_older_copy_where_the_newest_checkpoint_is_held(case: Log, draw: Random, bench: Bench) -> None:
    case.held = bench.maker.checkpoint(bench.maker.lines)
    put_back(case, draw.randrange(1, len(bench.maker.lines)), bench)


@tampers("log", word="an older checkpoint was put back")
def an_older_checkpoint_where_the_newest_is_held(case: Log, draw: Random, bench: Bench) -> None:
    case.held = bench.maker.checkpoint(bench.maker.lines)
    case.tree["audit/checkpoint"] = bench.maker.checkpoint(bench.maker.lines[: draw.randrange(1, len(_lines(case)))])


@tampers("log", word="forked, replaced or altered")
def a_history_rewritten_with_the_logs_own_key(case: Log, draw: Random, bench: Bench) -> None:
    case.held = bench.maker.checkpoint(bench.maker.lines)
    lines, place = _lines(case), draw.randrange(len(bench.maker.lines))
    lines[place] = _another_event(lines[place], draw)
    case.tree["audit/checkpoint"] = bench.maker.checkpoint(lines)
    _set_lines(case, lines)


@tampers("log")
def a_checkpoint_with_another_size_or_root(case: Log, draw: Random, bench: Bench) -> None:
    lines = content(case.tree, "audit/checkpoint").decode().split("\n")
    place = draw.choice([1, 2])
    size = len(bench.maker.lines)
    lines[place] = crypto.b64(draw.randbytes(32)) if place == 2 else str(draw.choice([0, size - 1, size + 1, 2**63]))
    case.tree["audit/checkpoint"] = "\n".join(lines).encode()


@tampers("log", word="not signed by the log's key")
def a_checkpoint_by_another_key(case: Log, draw: Random, bench: Bench) -> None:
    case.tree["audit/checkpoint"] = bench.maker.checkpoint(bench.maker.lines, bench.keys.other_log)


@tampers("log", word="does not match")
def a_checkpoint_by_another_key_in_the_logs_name(case: Log, draw: Random, bench: Bench) -> None:
    forged = bench.maker.checkpoint(bench.maker.lines, bench.keys.other_log).decode()
    body, own = forged.rpartition(" ")[0], content(case.tree, "audit/checkpoint").decode().split(" ")[-1]
    raw = base64.b64decode(forged.split(" ")[-1])
    case.tree["audit/checkpoint"] = f"{body} {crypto.b64(base64.b64decode(own)[:4] + raw[4:])}\n".encode()


@tampers("log", word="another log")
def a_checkpoint_of_another_origin(case: Log, draw: Random, bench: Bench) -> None:
    case.origin = f"domain-adaptation-sdk/{hex_of(draw, 16)}"


@tampers("log", word="is missing")
def the_checkpoint_removed(case: Log, draw: Random, bench: Bench) -> None:
    del case.tree["audit/checkpoint"]
    if draw.random() < 0.5:
        del case.tree["audit/lock"]
        case.tree["audit/checkpoint.aside"] = draw.randbytes(10)


@tampers("log")
def a_segment_removed(case: Log, draw: Random, bench: Bench) -> None:
    del case.tree[segment_path(case, draw)]


@tampers("log")
def a_segment_renamed(case: Log, draw: Random, bench: Bench) -> None:
    path = segment_path(case, draw)
    data = case.tree.pop(path)
    number = draw.randrange(1, 100)
    case.tree[f"audit/events-{draw.choice([f'{number:08}', f'{number}', f'{number:09}'])}.jsonl"] = data


@tampers("log")
def two_segments_exchanged(case: Log, draw: Random, bench: Bench) -> None:
    one, other = draw.sample([path for path in sorted(case.tree) if path.startswith("audit/events-")], 2)
    case.tree[one], case.tree[other] = case.tree[other], case.tree[one]


@tampers("log", word="not a file of the log")
def a_strange_file_in_the_log(case: Log, draw: Random, bench: Bench) -> None:
    name = draw.choice(["events-1.jsonl", ".git", "checkpoint.old", "events-00000001.jsonl.bak", "evil/", "Checkpoint"])
    case.tree[f"audit/{name}"] = draw.randbytes(10)


@tampers("log", word="not a file of the log")
def a_link_in_place_of_a_segment(case: Log, draw: Random, bench: Bench) -> None:
    path = segment_path(case, draw)
    case.tree["aside/segment"] = case.tree[path]
    case.tree[path] = Link(str(case.folder / "log/aside/segment"))


@tampers("log")
def lines_added_that_no_crash_leaves(case: Log, draw: Random, bench: Bench) -> None:
    size = len(bench.maker.lines)
    last = max(path for path in case.tree if path.startswith("audit/events-"))
    added = draw.choice(
        [
            [bench.maker.event(size + draw.randrange(1, 5), "approve", "finished")],
            [bench.maker.event(size + number, "approve", "finished") for number in range(65)],
            [draw.randbytes(20).replace(b"\0", b"\1") + b"}"],
            [b"{}"],
            [bench.maker.lines[-1]],
        ]
    )
    case.tree[last] = content(case.tree, last) + b"".join(line + b"\n" for line in added)


@tampers("log")
def what_the_holder_holds_altered(case: Log, draw: Random, bench: Bench) -> None:
    edited = draw.choice(EDITS)(case.held, draw)
    if edited.strip(b"\0") not in (b"", case.held):  # zeros are what a power cut leaves, and say nothing
        case.held = edited


@tampers("log")
def the_holder_of_a_fork(case: Log, draw: Random, bench: Bench) -> None:
    lines = _lines(case)
    place = draw.randrange(len(lines))
    lines[place] = _another_event(lines[place], draw)
    case.held = bench.maker.checkpoint(lines[: draw.randrange(place + 1, len(lines) + 1)])


# -- a ciphertext alone -----------------------------------------------------------------------------------------------

HEAD, SEGMENT = floe.HEADER_BYTES, SMALL.segment


def _flipped_between(begin: int, end: int) -> Mutate:
    def mutate(case: Weights, draw: Random, bench: Bench) -> None:
        case.data = case.data[:begin] + flip(case.data[begin:end], draw) + case.data[end:]

    return mutate


tampers("weights", word="header", name="weights: a parameter of the header")(_flipped_between(0, 10))
tampers("weights", word="header", name="weights: the IV of the header")(_flipped_between(10, 42))
tampers("weights", word="header", name="weights: the tag of the header")(_flipped_between(42, HEAD))


def _in_segment(begin: int, end: int) -> Mutate:
    def mutate(case: Weights, draw: Random, bench: Bench) -> None:
        start = HEAD + draw.randrange(-(-(len(case.data) - HEAD) // SEGMENT)) * SEGMENT
        _flipped_between(start + begin, min(start + end, len(case.data)))(case, draw, bench)

    return mutate


tampers("weights", name="weights: the length field of a segment")(_in_segment(0, 4))
tampers("weights", name="weights: the IV of a segment")(_in_segment(4, 16))
tampers("weights", name="weights: the ciphertext or tag of a segment")(_in_segment(16, SEGMENT))


def _segments(data: bytes) -> list[bytes]:
    return [data[start : start + SEGMENT] for start in range(HEAD, len(data), SEGMENT)]


def _rearranged(change: Callable[[list[bytes], Random, Bench], None]) -> Mutate:
    def mutate(case: Weights, draw: Random, bench: Bench) -> None:
        segments = _segments(case.data)
        change(segments, draw, bench)
        case.data = case.data[:HEAD] + b"".join(segments)

    mutate.__name__ = change.__name__
    return mutate


@tampers("weights")
@_rearranged
def segments_in_another_order(segments: list[bytes], draw: Random, bench: Bench) -> None:
    draw.shuffle(segments)


@tampers("weights")
@_rearranged
def a_segment_dropped(segments: list[bytes], draw: Random, bench: Bench) -> None:
    del segments[draw.randrange(len(segments))]


@tampers("weights")
@_rearranged
def a_segment_doubled(segments: list[bytes], draw: Random, bench: Bench) -> None:
    place = draw.randrange(len(segments))
    segments.insert(draw.randrange(len(segments)), segments[place])


@tampers("weights")
@_rearranged
def a_segment_of_another_file_under_the_same_key(segments: list[bytes], draw: Random, bench: Bench) -> None:
    place = draw.randrange(len(segments))
    segments[place] = _segments(bench.other.data)[place]


@tampers("weights")
@_rearranged
def the_last_segment_cut(segments: list[bytes], draw: Random, bench: Bench) -> None:
    segments[-1] = segments[-1][: draw.randrange(len(segments[-1]))]


@tampers("weights")
@_rearranged
def cut_at_a_segment_that_says_it_is_the_last(segments: list[bytes], draw: Random, bench: Bench) -> None:
    del segments[draw.randrange(1, len(segments)) :]
    segments[-1] = len(segments[-1]).to_bytes(4, "big") + segments[-1][4:]


@tampers("weights")
def bytes_behind_the_end(case: Weights, draw: Random, bench: Bench) -> None:
    case.data += draw.randbytes(draw.randrange(1, 2 * SEGMENT))


@tampers("weights")
def cut_anywhere(case: Weights, draw: Random, bench: Bench) -> None:
    case.data = case.data[: draw.randrange(len(case.data))]


@tampers("weights")
def the_header_of_another_file_under_the_same_key(case: Weights, draw: Random, bench: Bench) -> None:
    begin, end = draw.choice([(0, HEAD), (10, 42), (42, HEAD)])
    case.data = case.data[:begin] + bench.other.data[begin:end] + case.data[end:]


@tampers("weights", word="key")
def another_data_key(case: Weights, draw: Random, bench: Bench) -> None:
    case.key = crypto.Secret(flip(case.key.expose(), draw))


@tampers("weights", word="header")
def as_the_weights_of_another_version(case: Weights, draw: Random, bench: Bench) -> None:
    case.version = draw.choice([case.version - 1, case.version + 1, -case.version, draw.randrange(1000)])


@tampers("weights", word="header")
def as_the_weights_of_another_package(case: Weights, draw: Random, bench: Bench) -> None:
    case.package = draw.choice([hex_of(draw, 32), case.package.upper(), case.package[:-1]])


@tampers("weights", word="header")
def as_another_file(case: Weights, draw: Random, bench: Bench) -> None:
    case.path = draw.choice([case.path.removesuffix(".floe"), f"../{case.path}", "adapter_config.json"])
