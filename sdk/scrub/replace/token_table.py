"""The sealed table of the values that stand behind tokens, where the policy lets them be reversed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from sdk.crypto import Secret
from sdk.errors import InvalidInput, OutOfOrder
from sdk.files.regular_files import TABLE_BYTES, FileBytes, read_regular
from sdk.files.store import write_atomic
from sdk.records import canonical_json

TOKEN_TABLE = "vault.enc"  # noqa: S105 - a file's name
_CONTEXT = b"scrub vault 1"
_TOKEN = re.compile(r"<([A-Za-z0-9_]{1,64})_k[0-9a-z]{1,8}_[0-9a-z]{20}>")


def write_token_table(folder: Path, entries: Iterable[tuple[str, str, str]], secret: Secret) -> Path:
    """Seal the entries (kind, token, original) into the folder's table; the plain text is never on disk.

    The content follows from the entries, whatever their order; a token that has several spellings keeps the first in
    the order of characters. A data key of its own, wrapped by `secret`, encrypts it, so the bytes differ each time.
    """
    table: dict[str, dict[str, str]] = {}
    for kind, token, original in sorted(set(entries)):
        table.setdefault(token, {"kind": kind, "value": original})
    path = folder / TOKEN_TABLE
    write_atomic(path, secret.seal(canonical_json(table), _CONTEXT))
    return path


def kind_of(token: str) -> str:
    """Return the kind that a token names; InvalidInput if it is no token."""
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise InvalidInput("This is no token; one looks like <PERSON_k1a2b3c4d_0123456789abcdef0123>, in quotes.")
    return match[1]


def reveal(tables: Sequence[Path | FileBytes], token: str, secret: Secret) -> str:
    """Return the value behind a token, from the first of the tables that has it. OutOfOrder if there is no table."""
    if not tables:
        raise OutOfOrder("No scrubbing kept a sealed table; run `sdk scrub` under a policy with scrub.reversible.")
    for one in tables:
        path, data = one if isinstance(one, FileBytes) else (one, read_regular(one, TABLE_BYTES))
        table: dict[str, dict[str, str]] = json.loads(secret.unseal(data, _CONTEXT, str(path)))
        if token in table:
            return table[token]["value"]
    raise InvalidInput("The token stands in no sealed table of this project.")
