"""A key file's bytes under a passphrase: Argon2id (RFC 9106) makes the key, AES-256-GCM encrypts.

The file is canonical JSON. Its own SHA-256 stands in it, so that damaged bytes are told apart from a wrong passphrase
before Argon2id runs. The digest protects nothing: who alters a file and its digest gets as far as a wrong passphrase.
"""

from __future__ import annotations

import json
import secrets
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from sdk.crypto.encoding import b64, from_b64
from sdk.crypto.secret import NONCE_BYTES, SECRET_BYTES
from sdk.errors import InvalidInput, Remedy, Tampered
from sdk.records import canonical_json, sha256

FORMAT = "domain-adaptation-sdk key 1"
# RFC 9106, 4: the second recommended option, "if much less memory is available" than 2 GiB
ITERATIONS, LANES, MEMORY_KIB = 3, 4, 2**16
KDF = {"name": "argon2id", "iterations": ITERATIONS, "lanes": LANES, "memory_kib": MEMORY_KIB}
SALT_BYTES = 16  # RFC 9106, 3.1: recommended for passwords
MIN_PASSPHRASE_BYTES = 8  # SP 800-63B-4, 3.1.1.2: for a password beside another factor, here the file


def is_protected(data: bytes) -> bool:
    return data.startswith(b"{")


def _key(passphrase: bytes, salt: bytes) -> AESGCM:
    argon = Argon2id(salt=salt, length=SECRET_BYTES, iterations=ITERATIONS, lanes=LANES, memory_cost=MEMORY_KIB)
    return AESGCM(argon.derive(passphrase))


def _bytes(body: dict[str, Any]) -> bytes:
    return canonical_json({**body, "sha256": sha256(canonical_json(body))}) + b"\n"


def protect(data: bytes, passphrase: bytes) -> bytes:
    """Encrypt a key file's bytes. InvalidInput for a passphrase of less than 8 bytes."""
    if len(passphrase) < MIN_PASSPHRASE_BYTES:
        raise InvalidInput(f"A passphrase has at least {MIN_PASSPHRASE_BYTES} bytes; take several words.")
    salt, nonce = secrets.token_bytes(SALT_BYTES), secrets.token_bytes(NONCE_BYTES)
    head = {"format": FORMAT, "kdf": KDF, "salt": b64(salt), "nonce": b64(nonce)}
    ciphertext = _key(passphrase, salt).encrypt(nonce, data, canonical_json(head))
    return _bytes({**head, "ciphertext": b64(ciphertext)})


def unprotect(data: bytes, passphrase: bytes, name: str) -> bytes:
    """Decrypt what `protect` wrote; Tampered for any other bytes, InvalidInput for another passphrase."""
    try:
        body = json.loads(data)
        del body["sha256"]
        head = {"format": FORMAT, "kdf": KDF, "salt": body["salt"], "nonce": body["nonce"]}
        if _bytes(body) != data or body != {**head, "ciphertext": body["ciphertext"]}:
            raise ValueError
        salt, nonce, ciphertext = (from_b64(body[field]) for field in ("salt", "nonce", "ciphertext"))
        if len(salt) != SALT_BYTES or len(nonce) != NONCE_BYTES:
            raise ValueError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Tampered(f"{name} has been altered since it was written.", remedy=Remedy.KEY) from None
    try:
        return _key(passphrase, salt).decrypt(nonce, ciphertext, canonical_json(head))
    except InvalidTag:
        raise InvalidInput(f"{name} does not open with this passphrase; give the one that it was made with.") from None
