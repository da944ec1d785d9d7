"""The key ring: who may do what on a project with which key, signed by an owner, one version after the other.

Each version is a DSSE envelope and names the digest of the one before. Version 1 is signed by an owner whom it names
itself and is trusted because its digest, the project's root, is pinned; each later one is signed by an owner of the
version before, as roots are rotated in The Update Framework (TUF 1.0, 5.3). A key in the ring is revoked, and otherwise
never changed or taken out, so that what it signed stays what it was.

A version also says which policy and domain its owner has put in force, and how far the audit log had come when it was
signed, so that "when" is a place in the log: what came before it and what came after it cannot be exchanged later.

member     one key; ring: one version; versions: signed, and checked against the one before
changes    how the next version is made
terms      from which event to which a policy was in force, and how far a log's key counts
"""

from sdk.crypto.keyring.changes import (
    add,
    create_ring,
    put_in_force,
    replace,
    require_same_text,
    revoke,
    signing_member,
    wrapping_member,
)
from sdk.crypto.keyring.member import (
    Algorithm,
    Member,
    Revocation,
    RevocationReason,
    Role,
    Time,
    timestamp,
    why_not_valid,
)
from sdk.crypto.keyring.ring import MAX_MEMBERS, InForce, LogHead, Ring, first_that_holds
from sdk.crypto.keyring.terms import Term, find_term, require_terms, require_within_limit, terms
from sdk.crypto.keyring.versions import PAYLOAD_TYPE, open_rings, sign_ring

__all__ = [
    "MAX_MEMBERS",
    "PAYLOAD_TYPE",
    "Algorithm",
    "InForce",
    "LogHead",
    "Member",
    "Revocation",
    "RevocationReason",
    "Ring",
    "Role",
    "Term",
    "Time",
    "add",
    "create_ring",
    "find_term",
    "first_that_holds",
    "open_rings",
    "put_in_force",
    "replace",
    "require_same_text",
    "require_terms",
    "require_within_limit",
    "revoke",
    "sign_ring",
    "signing_member",
    "terms",
    "timestamp",
    "why_not_valid",
    "wrapping_member",
]
