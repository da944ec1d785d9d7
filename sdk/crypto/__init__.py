"""Keys named by URI that hide themselves; signatures, encryption, key derivation."""

from sdk.crypto.encoding import b64, from_b64
from sdk.crypto.keyfile import PASSPHRASE, require_no_files, save_key, save_public_key
from sdk.crypto.passphrase import is_protected
from sdk.crypto.secret import NONCE_BYTES, TAG_BYTES, Secret
from sdk.crypto.signing import Algorithm, LogKey, Signer, SigningKey, algorithm, fingerprint, verify
from sdk.crypto.uri import open_signer, open_wrapper
from sdk.crypto.wrapping import LocalWrapper, Wrapper

__all__ = [
    "NONCE_BYTES",
    "PASSPHRASE",
    "TAG_BYTES",
    "Algorithm",
    "LocalWrapper",
    "LogKey",
    "Secret",
    "Signer",
    "SigningKey",
    "Wrapper",
    "algorithm",
    "b64",
    "fingerprint",
    "from_b64",
    "is_protected",
    "open_signer",
    "open_wrapper",
    "require_no_files",
    "save_key",
    "save_public_key",
    "verify",
]
