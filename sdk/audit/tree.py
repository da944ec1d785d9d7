"""The Merkle tree of RFC 6962: roots of ranges of leaves in one pass, and proofs that are checked without the log.

The rules, of section 2.1:

    root of no leaves       SHA-256 of nothing
    hash of a leaf          SHA-256(0x00 || entry)
    root of n > 1 leaves    SHA-256(0x01 || root of the first k || root of the rest), k the largest power of two below n

The prefixes keep a leaf from being taken for a node. By the last rule the leaves fall, from the left, into complete
subtrees of falling sizes: one for each bit that is set in n. Seven leaves are 4 + 2 + 1:

                root
          a             b       a: leaves 0 to 3, complete; b: 4 to 6
       .     .       c     6    c: 4 and 5, complete
      0 1   2 3     4 5

The proof of leaf 6 is [c, a], the siblings on the way up.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256

from sdk.errors import Remedy, Tampered
from sdk.wording import counted

EMPTY_ROOT = sha256(b"").digest()
HASH_BYTES = 32
Range = tuple[int, int]  # first leaf, and the one after the last


def leaf_hashes(entries: Iterable[bytes]) -> list[bytes]:
    """Hash entries as leaves (RFC 6962, 2.1)."""
    return [sha256(b"\0" + entry).digest() for entry in entries]


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash two siblings as their parent (RFC 6962, 2.1)."""
    return sha256(b"\1" + left + right).digest()


class Frontier:
    """The hashes of the complete subtrees that the leaves so far fall into: enough to go on and to name the root.

    It works as a binary counter does: `size` in binary has a 1 at place n exactly where a subtree of 2**n leaves waits
    for its sibling on the right, and adding a leaf carries: two subtrees of one size become one of the next.
    """

    __slots__ = ("_pending", "size")

    def __init__(self) -> None:
        self.size = 0
        self._pending: list[bytes | None] = []  # at place n the subtree of 2**n leaves that still lacks its sibling

    def copy(self) -> Frontier:
        twin = Frontier()
        twin.size, twin._pending = self.size, self._pending.copy()
        return twin

    def extend(self, hashes: Sequence[bytes]) -> None:
        """Add leaves, given by their hashes.

        Level by level and not leaf by leaf: the bulk of the work is then one list of hashes a level. On each level the
        subtree that waits is the leftmost node, pairs become the nodes of the next level, and one left over waits.
        """
        self.size += len(hashes)
        nodes, level = list(hashes), 0
        while nodes:
            if level == len(self._pending):
                self._pending.append(None)
            waiting = self._pending[level]
            if waiting is not None:
                nodes.insert(0, waiting)
            self._pending[level] = nodes.pop() if len(nodes) % 2 else None
            # node_hash, without a call for each node: here a long log's time goes
            nodes = [sha256(b"\1" + nodes[i] + nodes[i + 1]).digest() for i in range(0, len(nodes), 2)]
            level += 1

    def root(self) -> bytes:
        """Return the root. Waiting subtrees are joined from the smallest, on the right, to the largest, on the left."""
        root = None
        for node in self._pending:
            if node is not None:
                root = node if root is None else node_hash(node, root)
        return EMPTY_ROOT if root is None else root


def range_frontiers(chunks: Iterable[Sequence[bytes]], ranges: Iterable[Range]) -> dict[Range, Frontier]:
    """Compute the frontier of every range of leaves, in one pass over their hashes and in memory that does not grow."""
    frontiers = {wanted: Frontier() for wanted in ranges}
    begin = 0
    for hashes in chunks:
        for (low, high), frontier in frontiers.items():
            frontier.extend(hashes[max(low - begin, 0) : max(high - begin, 0)])
        begin += len(hashes)
    return frontiers


def _split(size: int) -> int:
    """Return the largest power of two below size (RFC 6962, 2.1), where the tree's root divides its leaves."""
    return 1 << (size - 1).bit_length() - 1


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """Return the ranges whose roots prove leaf `index` of `size`, from the leaf's sibling upwards (RFC 6962, 2.1.1).

    From the root down to the leaf, the half in which the leaf is not; turned round at the end.
    """
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
    """Return the ranges whose roots prove that a tree of `second` leaves begins with one of `first` (RFC 6962, 2.1.2).

    From the root down to the border between the two, the half in which the border is not. What remains is the last
    complete subtree of the first tree; it is part of the proof unless it is the whole first tree, whose root is known.
    """
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
    """Climb from a node at place `index` of `last` + 1 on its level to the root (RFC 9162, 2.1.3.2 and 2.1.4.2).

    `index` and `last` are the places of the node and of the level's last node, fn and sn in the RFC; a level up, both
    are halved. Returns two hashes: the root of the tree that ends with the node, and the root of the whole tree. The
    first takes in the siblings on the left only; it is what a consistency proof compares with the earlier root.
    """
    ending = whole = seed
    if any(len(digest) != HASH_BYTES for digest in (seed, *proof)):
        raise Tampered(f"{name}: the proof has a hash that is not a SHA-256.", remedy=Remedy.PROOF)
    for sibling in proof:
        if last == 0:
            raise Tampered(f"{name}: the proof has too many hashes.", remedy=Remedy.PROOF)
        if index & 1 or index == last:  # the sibling is on the left
            ending, whole = node_hash(sibling, ending), node_hash(sibling, whole)
            while not index & 1 and index:  # a last node without sibling stands for itself on the levels above
                index, last = index >> 1, last >> 1
        else:
            whole = node_hash(whole, sibling)
        index, last = index >> 1, last >> 1
    if last:
        raise Tampered(f"{name}: the proof has too few hashes.", remedy=Remedy.PROOF)
    return ending, whole


def check_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes, name: str) -> None:
    """Tampered, naming `name`, unless the proof leads from the leaf's hash at `index` to the root of `size` leaves."""
    if not 0 <= index < size:
        raise Tampered(f"{name}: there is no event {index} in a log of {counted(size, 'event')}.", remedy=Remedy.PROOF)
    computed = _fold(index, size - 1, leaf, proof, name)[1]
    if computed != root:
        raise Tampered(
            f"{name}: the proof does not lead from this event to the checkpoint's root.",
            remedy=Remedy.PROOF,
            expected=root.hex(),
            found=computed.hex(),
        )


def check_consistency(first: int, second: int, proof: Sequence[bytes], roots: tuple[bytes, bytes], name: str) -> None:
    """Tampered, naming `name`, unless the tree of `second` leaves begins with that of `first`; roots in this order.

    An empty first tree proves nothing and is refused.
    """
    if not 0 < first <= second:
        raise Tampered(f"{name}: {counted(first, 'event')} cannot be the beginning of {second}.", remedy=Remedy.LOG)
    if first == second:
        if proof or roots[0] != roots[1]:
            raise Tampered(f"{name}: two histories of the same {counted(first, 'event')}.", remedy=Remedy.LOG)
        return
    # The climb begins at the first tree's last complete subtree; its level is that of the lowest bit set in `first`.
    # A first tree of 2**n leaves is that subtree itself, so its root is not in the proof (RFC 9162, 2.1.4.2, step 2).
    complete = (first & -first).bit_length() - 1
    seed, *rest = proof if first & (first - 1) and proof else (roots[0], *proof)
    if _fold((first - 1) >> complete, (second - 1) >> complete, seed, rest, name) != roots:
        raise Tampered(f"{name}: the later log is no continuation of the earlier one.", remedy=Remedy.LOG)
