"""Keys named by URI: the scheme says who holds the key, the rest which one.

`file:PATH` and `env:NAME` are keys in this process, `awskms:`, `vault:` and `pkcs11:` are keys that never leave a key
service or a token. Relative paths are taken from the folder that is handed in.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from sdk.crypto.keyfile import open_private, open_secret
from sdk.crypto.signing import Signer
from sdk.crypto.wrapping import LocalWrapper, Wrapper
from sdk.errors import InvalidInput
from sdk.hardened import forbid_dumps

LOCAL = ("file", "env")
PROVIDERS = {  # scheme -> module with open_signer(uri) and open_wrapper(uri), loaded when it is asked for
    "awskms": "sdk.crypto.awskms",
    "vault": "sdk.crypto.vault",
    "pkcs11": "sdk.crypto.pkcs11",
}


def _provider(uri: str) -> Any:
    """Import the scheme's module; None for keys in this process, MissingExtra if its library is not installed."""
    scheme, colon, _ = uri.partition(":")
    if not colon or scheme not in (*LOCAL, *PROVIDERS):
        raise InvalidInput("A key is named file:PATH, env:NAME, awskms:KEY, vault:KEY or pkcs11:ATTRIBUTES.")
    forbid_dumps()  # before a key, a passphrase, a PIN or a token is in memory
    return importlib.import_module(PROVIDERS[scheme]) if scheme in PROVIDERS else None


def open_signer(uri: str, folder: Path = Path()) -> Signer:
    """Open the signing key at the URI.

    InvalidInput if the URI or the key is of no use, Tampered for a key file with other bytes than were written,
    MissingExtra, StepFailed if the key's holder does not answer.
    """
    provider = _provider(uri)
    signer: Signer = provider.open_signer(uri) if provider else open_private(uri, folder)
    return signer


def open_wrapper(uri: str, folder: Path = Path()) -> Wrapper:
    """Open the wrapping key at the URI; errors as for `open_signer`."""
    provider = _provider(uri)
    wrapper: Wrapper = provider.open_wrapper(uri) if provider else LocalWrapper(open_secret(uri, folder))
    return wrapper
