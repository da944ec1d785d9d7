"""The Merkle tree of RFC 6962: roots of ranges of leaves in one pass, and proofs that are checked without the log.

Leaves and nodes are SHA-256 with the prefixes 0 and 1 (section 2.1), so that neither can be taken for the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256

from sdk.errors import Tampered

EMPTY_ROOT = sha256(b"").digest()
HASH_BYTES = 32
Range = tuple[int, int]  # first leaf, and the one after the last


def leaf_hashes(entries: Iterable[bytes]) -> list[bytes]:
    return [sha256(b"\0" + entry).digest() for entry in entries]


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\1" + left + right).digest()


class Frontier:
    """The hashes of the complete subtrees that the leaves so far fall into: enough to go on and to name the root."""

    __slots__ = ("_pending", "size")

    def __init__(self) -> None:
        self.size = 0
        self._pending: list[bytes | None] = []  # at place n the subtree of 2**n leaves that still lacks its sibling

    def copy(self) -> Frontier:
        twin = Frontier()
        twin.size, twin._pending = self.size, self._pending.copy()
        return twin

    def extend(self, hashes: Sequence[bytes]) -> None:
        """Add leaves, given by their hashes, level by level: the bulk of the work is one list of hashes a level."""
        self.size += len(hashes)
        nodes, level = list(hashes), 0
        while nodes:
            if level == len(self._pending):
                self._pending.append(None)
            waiting = self._pending[level]
            if waiting is not None:
                nodes.insert(0, waiting)
            self._pending[level] = nodes.pop() if len(nodes) % 2 else None
            nodes = [sha256(b"\1" + nodes[i] + nodes[i + 1]).digest() for i in range(0, len(nodes), 2)]
            level += 1

    def root(self) -> bytes:
        root = None
        for node in self._pending:
            if node is not None:
                root = node if root is None else node_hash(node, root)
        return EMPTY_ROOT if root is None else root


def range_frontiers(chunks: Iterable[Sequence[bytes]], ranges: Iterable[Range]) -> dict[Range, Frontier]:
    """The frontier of every range of leaves, in one pass over the leaves' hashes and in memory that does not grow."""
    frontiers = {wanted: Frontier() for wanted in ranges}
    begin = 0
    for hashes in chunks:
        for (low, high), frontier in frontiers.items():
            frontier.extend(hashes[max(low - begin, 0) : max(high - begin, 0)])
        begin += len(hashes)
    return frontiers


def _split(size: int) -> int:
    """The largest power of two smaller than size (RFC 6962, 2.1), where the tree's root divides its leaves."""
    return 1 << (size - 1).bit_length() - 1


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """The ranges whose roots prove leaf `index` of `size`, from the leaf's sibling upwards (RFC 6962, 2.1.1)."""
    low, high, ranges = 0, size, []
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            ranges.append((middle, high))
            high = middle
        else:
            ranges.append((low, middle))
            low = middle
    return ranges[::-1]


def consistency_ranges(first: int, second: int) -> list[Range]:
    """The ranges whose roots prove that a tree of `second` leaves begins with one of `first` (RFC 6962, 2.1.2)."""
    low, high, ranges = 0, second, []
    while first < high:
        middle = low + _split(high - low)
        if first <= middle:
            ranges.append((middle, high))
            high = middle
        else:
            ranges.append((low, middle))
            low = middle
    if low > 0:
        ranges.append((low, high))
    return ranges[::-1]


def _fold(index: int, last: int, seed: bytes, proof: Sequence[bytes], name: str) -> tuple[bytes, bytes]:
    """Climb from a node at place `index` of `last` + 1 to the root (RFC 9162, 2.1.3.2 and 2.1.4.2).

    Two hashes: of the tree that ends with the node, and of the whole tree.
    """
    ending = whole = seed
    if any(len(given) != HASH_BYTES for given in (seed, *proof)):
        raise Tampered(f"{name}: the proof has a hash that is not a SHA-256.")
    for sibling in proof:
        if last == 0:
            raise Tampered(f"{name}: the proof has too many hashes.")
        if index & 1 or index == last:
            ending, whole = node_hash(sibling, ending), node_hash(sibling, whole)
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            whole = node_hash(whole, sibling)
        index, last = index >> 1, last >> 1
    if last:
        raise Tampered(f"{name}: the proof has too few hashes.")
    return ending, whole


def check_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes, name: str) -> None:
    """Tampered, naming `name`, unless the proof leads from the leaf's hash at `index` to the root of `size` leaves."""
    if not 0 <= index < size:
        raise Tampered(f"{name}: there is no event {index} in a log of {size} events.")
    if _fold(index, size - 1, leaf, proof, name)[1] != root:
        raise Tampered(f"{name}: the proof does not lead from this event to the checkpoint's root.")


def check_consistency(first: int, second: int, proof: Sequence[bytes], roots: tuple[bytes, bytes], name: str) -> None:
    """Tampered, naming `name`, unless the tree of `second` leaves begins with that of `first`; roots in this order.

    An empty first tree proves nothing and is refused.
    """
    if not 0 < first <= second:
        raise Tampered(f"{name}: {first} events cannot be the beginning of {second}.")
    if first == second:
        if proof or roots[0] != roots[1]:
            raise Tampered(f"{name}: two histories of the same {first} events.")
        return
    complete = (first & -first).bit_length() - 1  # levels of the first tree's last complete subtree
    seed, *rest = proof if first & (first - 1) and proof else (roots[0], *proof)
    if _fold((first - 1) >> complete, (second - 1) >> complete, seed, rest, name) != roots:
        raise Tampered(f"{name}: the later log is no continuation of the earlier one.")
