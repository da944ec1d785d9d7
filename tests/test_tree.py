"""The tree against RFC 6962's definition, and its proofs against public vectors, good and bad."""

from __future__ import annotations

import base64
import json
import random
from hashlib import sha256
from pathlib import Path

import pytest

from sdk.audit.tree import (
    EMPTY_ROOT,
    Frontier,
    check_consistency,
    check_inclusion,
    consistency_ranges,
    inclusion_ranges,
    leaf_hashes,
    range_frontiers,
)
from sdk.errors import Tampered

VECTORS = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "vectors" / "rfc6962"
needs_vectors = pytest.mark.skipif(not VECTORS.is_dir(), reason="the public vectors are not part of the repository")
ENTRIES = [f"event {number}".encode() for number in range(70)]
LEAVES = leaf_hashes(ENTRIES)


def root_by_definition(entries: list[bytes]) -> bytes:
    """RFC 6962, 2.1, word for word."""
    if len(entries) < 2:
        return sha256(b"\0" + entries[0]).digest() if entries else sha256(b"").digest()
    split = 1
    while split * 2 < len(entries):
        split *= 2
    left, right = root_by_definition(entries[:split]), root_by_definition(entries[split:])
    return sha256(b"\1" + left + right).digest()


def root(size: int) -> bytes:
    return root_by_definition(ENTRIES[:size])


def proof(ranges: list[tuple[int, int]]) -> list[bytes]:
    frontiers = range_frontiers([LEAVES], ranges)
    return [frontiers[wanted].root() for wanted in ranges]


def test_roots_are_those_of_the_definition_however_the_leaves_come() -> None:
    rng = random.Random(6)
    for size in range(len(ENTRIES) + 1):
        frontier = Frontier()
        while frontier.size < size:
            frontier.extend(LEAVES[frontier.size : min(size, frontier.size + rng.randint(1, 9))])
        assert frontier.root() == root(size)
    assert root(0) == EMPTY_ROOT


def test_a_copied_frontier_goes_its_own_way() -> None:
    first = Frontier()
    first.extend(LEAVES[:5])
    second = first.copy()
    second.extend(LEAVES[5:9])
    assert (first.size, first.root()) == (5, root(5))
    assert (second.size, second.root()) == (9, root(9))


def test_every_leaf_of_every_tree_is_proven_and_no_other() -> None:
    for size in range(1, 34):
        for index in range(size):
            path = proof(inclusion_ranges(index, size))
            check_inclusion(LEAVES[index], index, size, path, root(size), "proof")
            wrong = [
                (LEAVES[index + 1], index, size, path, root(size)),
                (LEAVES[index], index + 1, size, path, root(size)),
                (LEAVES[index], index, size, path, root(size + 1)),
                (LEAVES[index], index, size, [*path, LEAVES[0]], root(size)),
                *[(LEAVES[index], index, size, path[:-1], root(size))] * bool(path),
            ]
            for given in wrong:
                with pytest.raises(Tampered, match="proof"):
                    check_inclusion(*given, "proof")


def test_every_growth_is_proven_and_no_other() -> None:
    for second in range(1, 34):
        for first in range(1, second + 1):
            path = proof(consistency_ranges(first, second))
            check_consistency(first, second, path, (root(first), root(second)), "proof")
            wrong = [
                (first, second, path, (root(first + 1), root(second))),
                (first, second, path, (root(first), root(second + 1))),
                (first, second, [*path, LEAVES[0]], (root(first), root(second))),
                *[(first, second, path[1:], (root(first), root(second)))] * bool(path),
            ]
            for given in wrong:
                with pytest.raises(Tampered, match="proof"):
                    check_consistency(*given, "proof")


def vectors(kind: str) -> list[Path]:
    return sorted((VECTORS / kind).rglob("*.json"))


def decoded(text: str | None) -> bytes:
    return base64.b64decode(text or "")


@needs_vectors
def test_public_inclusion_proofs_are_judged_as_they_should_be() -> None:
    for path in vectors("inclusion"):
        case = json.loads(path.read_text())
        hashes = [decoded(text) for text in case["proof"] or []]
        given = (decoded(case["leafHash"]), case["leafIdx"], case["treeSize"], hashes, decoded(case["root"]))
        if case["wantErr"]:
            with pytest.raises(Tampered):
                check_inclusion(*given, str(path))
        else:
            check_inclusion(*given, str(path))
    assert len(vectors("inclusion")) == 98


@needs_vectors
def test_public_consistency_proofs_are_judged_as_they_should_be() -> None:
    for path in vectors("consistency"):
        case = json.loads(path.read_text())
        hashes = [decoded(text) for text in case["proof"] or []]
        given = (case["size1"], case["size2"], hashes, (decoded(case["root1"]), decoded(case["root2"])))
        if case["wantErr"]:
            with pytest.raises(Tampered):
                check_consistency(*given, str(path))
        else:
            check_consistency(*given, str(path))
    assert len(vectors("consistency")) == 98


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 70])
def test_the_roots_of_ranges_do_not_depend_on_how_the_leaves_come(chunk: int) -> None:
    ranges = [(0, 70), (0, 1), (3, 11), (10, 10), (14, 15), (64, 70)]
    chunks = [LEAVES[begin : begin + chunk] for begin in range(0, 70, chunk)]
    frontiers = range_frontiers(chunks, ranges)
    for low, high in ranges:
        assert frontiers[low, high].size == high - low
        assert frontiers[low, high].root() == root_by_definition(ENTRIES[low:high])


def test_what_is_wrong_with_a_proof_is_said() -> None:
    path = proof(inclusion_ranges(3, 7))
    for index, size in ((-1, 7), (7, 7), (8, 7), (0, 0)):
        with pytest.raises(Tampered, match=f"there is no event {index} in a log of {size} events"):
            check_inclusion(LEAVES[3], index, size, path, root(7), "proof")
    for more in ([*path, LEAVES[0]], [*path, *path]):
        with pytest.raises(Tampered, match="too many hashes"):
            check_inclusion(LEAVES[3], 3, 7, more, root(7), "proof")
    for fewer in (path[:-1], []):
        with pytest.raises(Tampered, match="too few hashes"):
            check_inclusion(LEAVES[3], 3, 7, fewer, root(7), "proof")
    for other in (b"", bytes(31), bytes(33)):
        with pytest.raises(Tampered, match="not a SHA-256"):
            check_inclusion(LEAVES[3], 3, 7, [other, *path[1:]], root(7), "proof")
        with pytest.raises(Tampered, match="not a SHA-256"):
            check_inclusion(other, 3, 7, path, root(7), "proof")
    with pytest.raises(Tampered, match=f"Expected: {root(8).hex()[:12]}. Found: {root(7).hex()[:12]}"):
        check_inclusion(LEAVES[3], 3, 7, path, root(8), "proof")


def test_what_is_no_growth_is_said() -> None:
    for first, second in ((0, 7), (-1, 7), (8, 7)):
        with pytest.raises(Tampered, match=f"{first} events cannot be the beginning of {second}"):
            check_consistency(first, second, [], (root(7), root(7)), "proof")
    check_consistency(7, 7, [], (root(7), root(7)), "proof")
    for hashes, roots in (([LEAVES[0]], (root(7), root(7))), ([], (root(7), root(6)))):
        with pytest.raises(Tampered, match="two histories of the same 7 events"):
            check_consistency(7, 7, hashes, roots, "proof")
    with pytest.raises(Tampered, match="too few hashes"):
        check_consistency(3, 7, [], (root(3), root(7)), "proof")
    with pytest.raises(Tampered, match="no continuation of the earlier one"):
        check_consistency(3, 7, proof(consistency_ranges(3, 7)), (root(4), root(7)), "proof")
