"""Every class of tampering is refused as it must be, and everything clean is accepted.

tests/benchmarks/tampering.py does the same 100,000 and 10,000 times.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.shared import folder_in_memory
from tests.tampering import (
    CLASSES,
    OUT_OF_SCOPE,
    Bench,
    attempt,
    clean_case,
    clean_faults,
    make_bench,
    tampered_case,
)

ATTEMPTS = 12  # of each class
CLEAN = 150


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Where releases are put, and where admission puts its own copies."""
    with folder_in_memory(for_all=True) as made:
        yield made


@pytest.fixture(scope="module")
def bench(folder: Path) -> Bench:
    return make_bench(folder / "bench", Random(6))


def test_there_are_classes_of_everything_that_a_release_consists_of() -> None:
    assert len(CLASSES) >= 44
    assert {one.kind for one in CLASSES.values()} == {"release", "log", "weights"}


@pytest.mark.parametrize("name", CLASSES)
def test_what_was_tampered_with_is_refused_and_its_clean_twin_is_not(bench: Bench, name: str) -> None:
    faults = [outcome for seed in range(ATTEMPTS) if (outcome := attempt(name, bench, seed)).fault]
    assert not faults
    clean_case(CLASSES[name].kind, bench).check()


@pytest.mark.parametrize("name", OUT_OF_SCOPE)
def test_what_is_said_to_be_accepted_is_accepted(bench: Bench, name: str) -> None:
    kind, _, mutate = OUT_OF_SCOPE[name]
    for seed in range(3):
        tampered_case(kind, mutate, bench, Random(seed)).check()


def test_a_package_with_plain_weights_is_accepted_where_it_was_sealed_so(bench: Bench) -> None:
    bench.plain.check()


def test_what_is_clean_is_accepted(folder: Path) -> None:
    for seed in range(CLEAN):
        assert clean_faults(folder / "clean", Random(seed)) == []
