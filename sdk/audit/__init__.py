"""The audit log: who did what to which digest, under a signed Merkle tree that anybody can check.

event       what is recorded
tree        the Merkle tree of RFC 6962 and its proofs
checkpoint  signed checkpoints and proofs as text, in the formats of C2SP
segments    the files; lock: who may write them
reader      read, prove, name what is wrong; log: append
export      JSON lines and OCSF
"""

from sdk.audit.checkpoint import Checkpoint, read_checkpoint, verify_proof
from sdk.audit.event import Decision, Event, Phase, account, clock_faults, keep_until
from sdk.audit.log import Audit
from sdk.audit.reader import Verification

__all__ = [
    "Audit",
    "Checkpoint",
    "Decision",
    "Event",
    "Phase",
    "Verification",
    "account",
    "clock_faults",
    "keep_until",
    "read_checkpoint",
    "verify_proof",
]
