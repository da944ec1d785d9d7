"""Proofs that a log is a continuation of what it was, for many earlier sizes at once, as one file.

The file is canonical JSON: an earlier size, in decimal -> the hashes in base64 that lead from there to the checkpoint
(RFC 6962, 2.1.2). Which checkpoint, and which root the log had at the earlier size, the reader knows from elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from sdk.audit.checkpoint import MAX_PROOF_HASHES, SIZE, Checkpoint
from sdk.audit.tree import check_consistency
from sdk.crypto import b64, from_b64
from sdk.errors import Remedy, Tampered
from sdk.records import canonical_json
from sdk.wording import counted

Proofs = Mapping[int, Sequence[bytes]]  # earlier size -> hashes


def write_consistency(proofs: Proofs) -> bytes:
    return canonical_json({str(size): [b64(digest) for digest in hashes] for size, hashes in proofs.items()})


def read_consistency(data: bytes, name: str) -> dict[int, list[bytes]]:
    """Read what `write_consistency` wrote; Tampered names `name`. Nothing is proven yet."""
    try:
        listed = json.loads(data)
        if canonical_json(listed) != data:
            raise ValueError
        if not all(SIZE.fullmatch(size) and len(hashes) <= MAX_PROOF_HASHES + 1 for size, hashes in listed.items()):
            raise ValueError
        return {int(size): [from_b64(text) for text in hashes] for size, hashes in listed.items()}
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise Tampered(f"{name} holds no proofs of consistency.", remedy=Remedy.PROOF) from None


def check_continues(earlier: Checkpoint, later: Checkpoint, proofs: Proofs, name: str) -> None:
    """Tampered, naming `name`, unless the later log begins with the earlier one and the proofs show it."""
    if earlier.size > later.size:
        raise Tampered(
            f"{name}: the log has fewer events than it had.",
            remedy=Remedy.RELEASE,
            expected=f"{counted(earlier.size, 'event')} or more",
            found=counted(later.size, "event"),
        )
    if earlier.size != later.size and earlier.size not in proofs:
        raise Tampered(
            f"{name}: nothing shows that the log of {counted(later.size, 'event')} "
            f"goes on from that of {earlier.size}.",
            remedy=Remedy.RELEASE,
        )
    hashes = proofs[earlier.size] if earlier.size != later.size else ()
    check_consistency(earlier.size, later.size, hashes, (earlier.root, later.root), name)
