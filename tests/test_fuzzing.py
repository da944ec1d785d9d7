"""60,000 hostile inputs through every parser of outside bytes: success or our own error, in time and in memory.

tests/benchmarks/fuzzing.py does the same with as many as wanted.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from random import Random

import pytest

from sdk.crypto import b64
from sdk.crypto.keyring import PAYLOAD_TYPE
from sdk.errors import Remedy, Tampered
from sdk.records import canonical_json
from tests.fuzzing import Finding, Fuzzer, Target, make_targets, mutate
from tests.shared import folder_in_memory

INPUTS = 60_000


@pytest.fixture(scope="module")
def targets() -> Iterator[list[Target]]:
    with folder_in_memory(for_all=True) as made:
        yield make_targets(made, Random(6))


def shown(findings: list[Finding]) -> list[str]:
    return [f"{each.target}: {each.what}: {each.data[:200]!r}" for each in findings[:20]]


def test_whatever_comes_in_nothing_but_our_own_errors_comes_out(targets: list[Target]) -> None:
    fuzzer = Fuzzer(targets, Random(6))
    gc.collect()
    gc.freeze()  # what other tests left in memory would be searched at the expense of some call here
    try:
        fuzzer.run(INPUTS)
    finally:
        gc.unfreeze()
    assert not fuzzer.findings, shown(fuzzer.findings)
    assert fuzzer.inputs.keys() == {target.name for target in targets}


def _ring_of(members: bytes) -> bytes:
    payload = b'{"members":[%b],"previous":null,"project":"x","time":"x","version":1}' % members
    signatures = [{"keyid": "0" * 64, "sig": "AAAA"}]
    return canonical_json({"payload": b64(payload), "payloadType": PAYLOAD_TYPE, "signatures": signatures})


SOURCE = b"{rule: r, version: v, date: '2026-01-01', keys: [" + b"a," * 8000 + b"]}"
BOMBS = {  # a few bytes that stood for hundreds each, once
    "key ring": _ring_of(b"{}" + b",{}" * 100_000),
    "policy in YAML": b"sources: [&s " + SOURCE + b"," + b"*s," * 8000 + b"]\n",
    "trust file": b"[" * 100_000,
    "record": b"[" * 100_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_no_input_stands_for_much_more_than_it_is(targets: list[Target], name: str) -> None:
    [target] = [each for each in targets if each.name == name]
    tracemalloc.start()
    try:
        with pytest.raises(target.errors):
            target.call(BOMBS[name])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 << 20


def _recurse(data: bytes) -> object:
    raise RecursionError


def _panic(data: bytes) -> object:
    raise BaseException("Rust has panicked")


def _hoard(data: bytes) -> object:
    return bytes(5 << 20)


@pytest.mark.parametrize(
    ("call", "what"), [(_recurse, "RecursionError"), (_panic, "panicked"), (_hoard, "bytes of memory")]
)
def test_what_must_not_happen_is_found(call: Callable[[bytes], object], what: str) -> None:
    fuzzer = Fuzzer([Target("x", 1, [b"{}"], call)], Random(6))
    fuzzer.run(1)
    assert what in fuzzer.findings[0].what


def test_what_takes_too_long_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzzing.SECONDS", 0.01)
    fuzzer = Fuzzer([Target("x", 1, [b"{}"], lambda data: sum(range(3_000_000)))], Random(6), done=1)
    fuzzer.run(1)
    assert fuzzer.findings[0].what.startswith("took")


def test_an_error_of_ours_that_a_target_does_not_state_is_found() -> None:
    def tampered(data: bytes) -> object:
        raise Tampered("x", remedy=Remedy.COPY)

    fuzzer = Fuzzer([Target("x", 1, [b"{}"], tampered, ())], Random(6))
    fuzzer.run(1)
    assert fuzzer.findings[0].what.startswith("Tampered: x")


def test_mutations_are_many_and_of_bytes_and_of_structure() -> None:
    draw, seed = Random(6), b'{"a":[1,"x",null],"b":{"c":"d"}}'
    found = {mutate(seed, draw, [seed]) for _ in range(2000)}
    assert len(found) > 1200
    assert any(b"[[[[[[" in each for each in found)
    assert any(b"\\ud800" in each or b"\xed\xa0\x80" in each for each in found)
    assert b'{"a":[1,null],"b":{"c":"d"}}' in found
