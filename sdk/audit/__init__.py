"""The audit log: who did what to which digest, under a signed Merkle tree that anybody can check.

event       what is recorded
tree        the Merkle tree of RFC 6962 and its proofs
checkpoint  signed checkpoints and proofs as text, in the formats of C2SP; consistency: that a log only grew
segments    the files; lock: who may write them
reader      read, prove, name what is wrong; log: append
export      JSON lines and OCSF
"""

from sdk.audit.checkpoint import Checkpoint, read_body, read_checkpoint, read_index, verify_proof
from sdk.audit.consistency import Proofs, check_continues, read_consistency, write_consistency
from sdk.audit.event import ACCOUNT, Decision, Event, Phase, account, clock_faults, keep_until
from sdk.audit.log import Audit
from sdk.audit.reader import History, Verification

__all__ = [
    "ACCOUNT",
    "Audit",
    "Checkpoint",
    "Decision",
    "Event",
    "History",
    "Phase",
    "Proofs",
    "Verification",
    "account",
    "check_continues",
    "clock_faults",
    "keep_until",
    "read_body",
    "read_checkpoint",
    "read_consistency",
    "read_index",
    "verify_proof",
    "write_consistency",
]
