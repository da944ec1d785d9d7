"""What classes of tampering are made of: a bench of clean cases, the register, edits of bytes and of texts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from sdk.crypto import floe
from sdk.errors import Refused, SDKError, Tampered
from sdk.records import canonical_json, sha256
from tests.clean_releases import (
    SMALL,
    Log,
    Maker,
    Release,
    Tree,
    Weights,
    encrypted,
    hex_of,
    random_size,
    tensors,
    tree_root,
)

FILES = ("adapter_config.json", "adapter_model.safetensors.floe", "bom.json", "manifest.json", "model.sig")
FILES += ("tokenizer.json", "tokenizer_config.json")
PACKAGE_FILES = tuple(f"package/{name}" for name in FILES)
SIG, MANIFEST, FLOE = "package/model.sig", "package/manifest.json", "package/adapter_model.safetensors.floe"
LINE, PROOF = "governance/promotion.json", "governance/promotion.proof"


@dataclass
class Bench:
    """Two releases of one project, the older of which this machine may have served, its log, and a ciphertext."""

    maker: Maker
    older: Release
    release: Release
    plain: Release  # of a project whose weights need not be encrypted
    log: Log
    weights: Weights
    other: Weights  # under the same key and name

    @property
    def keys(self) -> Any:
        return self.maker.keys


def make_bench(folder: Path, draw: Random) -> Bench:
    maker = Maker(folder, draw)
    older = maker.release(1, tensors(draw, 1500))
    plain = maker.release(2, tensors(draw, 900), plain=True)
    release = maker.release(3, tensors(draw, 2500))
    release.served = plain.served = older.served
    maker.record("load", "finished")
    weights = encrypted(draw, draw.randbytes(5 * SMALL.payload + 30))
    other = weights.copy()
    plain_text = draw.randbytes(5 * SMALL.payload + 30)
    parts = floe.encrypt(floe.take_from(plain_text), len(plain_text), other.key, other.aad, SMALL)
    other.data = b"".join(map(bytes, parts))
    return Bench(maker, older, release, plain, maker.log(), weights, other)


Case = Release | Log | Weights
Mutate = Callable[[Any, Random, Bench], None]


class Class(NamedTuple):
    kind: str  # release, log or weights
    errors: tuple[type[SDKError], ...]
    word: str  # of the message or a fault, where it is stable
    mutate: Mutate


CLASSES: dict[str, Class] = {}
OUT_OF_SCOPE: dict[str, tuple[str, str, Mutate]] = {}  # name -> kind, reason, change


def tampers(kind: str, *errors: type[SDKError], word: str = "", name: str = "") -> Callable[[Mutate], Mutate]:
    def enter(mutate: Mutate) -> Mutate:
        named = name or f"{kind}: {mutate.__name__.replace('_', ' ')}"
        assert named not in CLASSES
        CLASSES[named] = Class(kind, errors or (Tampered,), word, mutate)
        return mutate

    return enter


def accepted(kind: str, reason: str) -> Callable[[Mutate], Mutate]:
    def enter(mutate: Mutate) -> Mutate:
        OUT_OF_SCOPE[f"{kind}: {mutate.__name__.replace('_', ' ')}"] = (kind, reason, mutate)
        return mutate

    return enter


def clean_case(kind: str, bench: Bench) -> Case:
    cases: dict[str, Case] = {"release": bench.release, "log": bench.log, "weights": bench.weights}
    return cases[kind].copy()


def tampered_case(kind: str, mutate: Mutate, bench: Bench, draw: Random) -> Case:
    """A copy with the change; one that changed nothing is drawn again."""
    clean = clean_case(kind, bench)
    for _ in range(1000):
        case = clean.copy()
        mutate(case, draw, bench)
        if case != clean:
            return case
    raise AssertionError("a class that changes nothing")


def content(tree: Tree, path: str) -> bytes:
    found = tree[path]
    assert isinstance(found, bytes)
    return found


# -- bytes ------------------------------------------------------------------------------------------------------------


def flip(data: bytes, draw: Random) -> bytes:
    place = draw.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << draw.randrange(8)]) + data[place + 1 :]


def overwrite(data: bytes, draw: Random) -> bytes:
    place = draw.randrange(len(data))
    new = draw.randbytes(draw.randrange(1, 40))
    return data[:place] + new + data[place + len(new) :]


def cut(data: bytes, draw: Random) -> bytes:
    return data[: draw.randrange(len(data))]


def extend(data: bytes, draw: Random) -> bytes:
    return data + draw.choice([b"\0", b"\n", b" ", b"}", data, draw.randbytes(draw.randrange(1, 40))])


def insert(data: bytes, draw: Random) -> bytes:
    place = draw.randrange(len(data))
    return data[:place] + draw.choice([b" ", b"\0", draw.randbytes(draw.randrange(1, 20))]) + data[place:]


def delete(data: bytes, draw: Random) -> bytes:
    place = draw.randrange(len(data))
    return data[:place] + data[place + draw.randrange(1, 20) :]


def zeros(data: bytes, draw: Random) -> bytes:
    place, count = draw.randrange(len(data)), draw.randrange(1, 64)
    return data[:place] + bytes(len(data[place : place + count])) + data[place + count :]


EDITS = (flip, overwrite, cut, extend, insert, delete, zeros)
VERBS = dict(
    zip(
        EDITS,
        ("a bit flipped", "overwritten", "truncated", "extended", "inserted into", "partly deleted", "zeroed"),
        strict=True,
    )
)


def _edit(edit: Callable[[bytes, Random], bytes], choose: Callable[[Any, Random], str]) -> Mutate:
    def mutate(case: Any, draw: Random, bench: Bench) -> None:
        path = choose(case, draw)
        case.tree[path] = edit(content(case.tree, path), draw)

    return mutate


def _any_below(prefix: str) -> Callable[[Any, Random], str]:
    return lambda case, draw: draw.choice([path for path in sorted(case.tree) if path.startswith(prefix)])


def segment_path(case: Any, draw: Random) -> str:
    return _any_below("audit/events-")(case, draw)


AREAS: dict[str, tuple[str, tuple[type[SDKError], ...], Callable[[Any, Random], str]]] = {
    "a package's file": ("release", (Tampered,), lambda case, draw: draw.choice(PACKAGE_FILES)),
    "model.sig": ("release", (Tampered,), lambda case, draw: SIG),
    "manifest": ("release", (Tampered,), lambda case, draw: MANIFEST),
    "sealed weights": ("release", (Tampered,), lambda case, draw: FLOE),
    "key ring": ("release", (Tampered,), _any_below("governance/ring/")),
    "decision": ("release", (Refused,), _any_below("governance/decisions/")),
    "policy": ("release", (Tampered,), lambda case, draw: "governance/policy.json"),
    "report's digest": ("release", (Tampered, Refused), lambda case, draw: "governance/report.sha256"),
    "promotion's line": ("release", (Tampered,), lambda case, draw: LINE),
    "promotion's proof": ("release", (Tampered,), lambda case, draw: PROOF),
    "package's record": ("release", (Tampered,), lambda case, draw: "governance/package.json"),
    "sealing's line": ("release", (Tampered,), lambda case, draw: "governance/sealing.json"),
    "sealing's proof": ("release", (Tampered,), lambda case, draw: "governance/sealing.proof"),
    "proofs of consistency": ("release", (Tampered,), lambda case, draw: "governance/consistency.json"),
    "proofs from earlier publications": ("release", (Tampered,), lambda case, draw: "governance/published.json"),
    "log's lines": ("log", (Tampered,), segment_path),
    "log's checkpoint": ("log", (Tampered,), lambda case, draw: "audit/checkpoint"),
}
for _area, (_kind, _errors, _choose) in AREAS.items():
    for _change in EDITS:
        if (_area, _change) != ("log's lines", extend):  # below: what is added decides
            tampers(_kind, *_errors, name=f"{_area}: {VERBS[_change]}")(_edit(_change, _choose))

# -- texts -------------------------------------------------------------------------------------------------------------


def double_a_key(data: bytes, draw: Random) -> bytes:
    """A key of the outer object twice, with another value or the same."""
    fields = json.loads(data)
    name = draw.choice(sorted(fields))
    value = draw.choice([canonical_json(fields[name]), b"null", b'""'])
    return b"{%b:%b,%b" % (canonical_json(name), value, data[1:])


def other_json(data: bytes, draw: Random) -> bytes:
    """The same value in another text."""
    value = json.loads(data)
    keys = list(value)
    draw.shuffle(keys)
    shuffled = json.dumps({key: value[key] for key in keys}, separators=(",", ":"), ensure_ascii=False).encode()
    spaced = data.replace(b'":', draw.choice([b'": ', b'" :', b'":\n', b'":\t']), 1)
    escaped = data.replace(b'"', b'"\\u%04x' % data[2], 1).replace(
        b"\\u%04x%c" % (data[2], data[2]), b"\\u%04x" % data[2]
    )
    return draw.choice([shuffled, spaced, escaped, data + b"\n", b" " + data, json.dumps(value, indent=1).encode()])


def other_base64(text: str, draw: Random) -> str:
    """The same bytes, or nearly, in a form that lenient decoders take."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    bare = text.rstrip("=")
    unused = {0: 0, 2: 4, 3: 2}[len(bare) % 4]
    last = alphabet.index(bare[-1])
    loose = bare[:-1] + alphabet[last | draw.randrange(1, 1 << unused) if unused else last] + text[len(bare) :]
    place = draw.randrange(len(bare))
    broken = text[:place] + draw.choice(["\n", " ", "\r\n", "-", "="]) + text[place:]
    return draw.choice([bare, text + "=", loose, broken, text.translate(str.maketrans("+/", "-_"))])


def another(name: str, value: Any, draw: Random) -> Any:
    """Another value of the same form."""
    match value:
        case bool():
            return not value
        case int():
            return value + draw.choice([-1, 1, 10])
        case str() if len(value) in (32, 40, 64):
            return hex_of(draw, len(value))
        case str():
            return value + draw.choice(["x", " ", "@2"])
        case None:
            return hex_of(draw, 40)
        case dict():
            key = draw.choice(sorted(value))
            return draw.choice(
                [{**value, key: another(key, value[key], draw)}, {k: v for k, v in value.items() if k != key}]
            )
        case list() if value:
            place = draw.randrange(len(value))
            changed = another(name, value[place], draw)
            return draw.choice([value[:place] + value[place + 1 :], [*value[:place], changed, *value[place + 1 :]]])
    return [{"name": "w", "dtype": "F32", "shape": [1]}]


# -- running ----------------------------------------------------------------------------------------------------------


class Outcome(NamedTuple):
    name: str
    seed: int
    fault: str  # empty: refused as it must be


def attempt(name: str, bench: Bench, seed: int) -> Outcome:
    """One tampered case of a class; a fault where it was accepted, or refused in another way than stated."""
    kind, errors, word, mutate = CLASSES[name]
    case = tampered_case(kind, mutate, bench, Random(f"{name} {seed}"))
    try:
        case.check()
    except errors as error:
        said = "\n".join([error.message, *error.faults])
        return Outcome(name, seed, "" if word in said else f"says something else: {said}")
    except SDKError as error:
        return Outcome(name, seed, f"{type(error).__name__} instead: {error}")
    except Exception as error:  # noqa: BLE001 - any other one is a finding
        return Outcome(name, seed, f"not an error of ours: {type(error).__name__}: {error}")
    return Outcome(name, seed, "ACCEPTED")


def rounds(count: int) -> Iterator[tuple[str, int]]:
    """`count` attempts over all classes in turn: name and seed."""
    names = sorted(CLASSES)
    for number in range(count):
        yield names[number % len(names)], number // len(names)


def clean_faults(folder: Path, draw: Random) -> list[str]:
    """What is wrongly refused of a project with content, keys and sizes of its own."""
    maker = Maker(folder, draw)
    weights = tensors(draw, random_size(draw))
    plain = draw.randbytes(draw.choice([0, 1, SMALL.payload, 3 * SMALL.payload, draw.randrange(2000)]))
    clean: list[tuple[str, Case, str]] = [
        ("release", maker.release(draw.randrange(1, 1000), weights, plain=draw.random() < 0.1), sha256(weights)),
        ("log", maker.log(draw.randrange(1, 20)), tree_root(maker.lines).hex()),
        ("weights", encrypted(draw, plain), sha256(plain)),
    ]
    faults = []
    for kind, case, expected in clean:
        try:
            if case.check() != expected:
                faults.append(f"{kind}: something else than was put in")
        except SDKError as error:
            faults.append(f"{kind}: {type(error).__name__}: {error}")
    return faults
