"""Keys in files of mode 0600 and in environment variables.

A key file is a regular file of the user that runs this, which nobody else may read: whoever owns a file can change its
mode and its bytes, and a link leads to a file that somebody else can choose. A container gets its key as such a file
(in Kubernetes: one that an init container copied, or a volume mounted with subPath and its user's mode), or as `env:`.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from sdk.crypto.passphrase import is_protected, protect, unprotect
from sdk.crypto.secret import Secret
from sdk.crypto.signing import UNREADABLE, LogKey, SigningKey
from sdk.errors import InvalidInput, Remedy, StepFailed, Tampered
from sdk.files.durable import create_file, fsync_folder, write_all
from sdk.files.regular_files import KEY_BYTES, open_regular, read_opened

PASSPHRASE = "SDK_KEY_PASSPHRASE"  # noqa: S105 - the variable's name


def _read(uri: str, folder: Path) -> bytes:
    """Read the key's bytes as `save_key` wrote them, without the passphrase's protection.

    An environment variable may lack the line end.
    """
    scheme, _, rest = uri.partition(":")
    if not rest:
        raise InvalidInput(f"Key {uri} names no {'variable' if scheme == 'env' else 'file'}.")
    data = _from_environment(uri, rest) if scheme == "env" else read_private_file(folder / rest, f"Key {uri}")
    if not is_protected(data):
        return data
    passphrase = os.environ.get(PASSPHRASE, "")
    if not passphrase:
        raise InvalidInput(f"Key {uri} is protected by a passphrase; set {PASSPHRASE} to it.")
    return unprotect(data, os.fsencode(passphrase), f"Key {uri}")


def _from_environment(uri: str, name: str) -> bytes:
    value = os.environ.get(name)
    if value is None:
        raise InvalidInput(f"Key {uri}: the environment variable {name} is not set.")
    return os.fsencode(value.removesuffix("\n") + "\n")


def read_private_file(path: Path, name: str) -> bytes:
    """Read a file that only its owner can read. InvalidInput, which says `name`, for any other and for none."""
    with open_regular(path, name=name) as file:
        status = os.fstat(file.fileno())
        mode, user = stat.S_IMODE(status.st_mode), os.geteuid()
        if status.st_uid != user:
            raise InvalidInput(
                f"{name} belongs to another user (uid {status.st_uid}, this is {user}), who could read and change it; "
                "make a copy of your own."
            )
        if mode & 0o077:
            raise InvalidInput(f"{name} can be read by others (mode {mode:04o}); run `chmod 600` on it.")
        return read_opened(file, path, KEY_BYTES)


def require_no_files(*paths: Path) -> None:
    """Raise InvalidInput where anything lies at one of the paths, a link to nowhere among it."""
    for path in paths:
        if os.path.lexists(path):
            raise InvalidInput(f"{path} exists; keys are never overwritten. Name another file.")


def open_private(uri: str, folder: Path) -> SigningKey | LogKey:
    """Open the private key at the URI: PKCS #8 PEM, exactly as `save_key` writes it; the file says of which kind."""
    data = _read(uri, folder)
    try:
        private = serialization.load_pem_private_key(data, password=None)
    except UNREADABLE:
        raise Tampered(f"Key {uri} is not a private key in PEM format.", remedy=Remedy.KEY) from None
    key: SigningKey | LogKey
    if isinstance(private, ed25519.Ed25519PrivateKey):
        key = LogKey(private)
    elif isinstance(private, ec.EllipticCurvePrivateKey) and private.curve.name == "secp256r1":
        key = SigningKey(private)
    else:
        raise InvalidInput(f"Key {uri} is neither on the curve P-256 nor an Ed25519 key; make one with `sdk keys new`.")
    if key.private_pem() != data:  # the right key in other bytes has been touched
        raise Tampered(f"Key {uri} has been altered since it was written.", remedy=Remedy.KEY)
    return key


def open_secret(uri: str, folder: Path = Path()) -> Secret:
    """Open the 32 bytes at the URI, written as 64 lower-case hex digits."""
    text = _read(uri, folder)
    if not re.fullmatch(rb"[0-9a-f]{64}\n", text):
        raise Tampered(f"Key {uri} is not 64 lower-case hex digits and a line end.", remedy=Remedy.KEY)
    return Secret(bytes.fromhex(text.decode().strip()))


def save_key(key: SigningKey | LogKey | Secret, path: Path, passphrase: bytes | None = None) -> None:
    """Write a new key file, mode 0600, under the passphrase if one is given; a file is never overwritten.

    It is durable when this returns. StepFailed if it cannot be written; nothing of it is left then.
    """
    data = key.expose().hex().encode() + b"\n" if isinstance(key, Secret) else key.private_pem()
    if passphrase is not None:
        data = protect(data, passphrase)
    _write_new(path, data, 0o600)


def save_public_key(key: SigningKey | LogKey, path: Path) -> None:
    """Write the public key, in PEM format, as a new file for everybody to read; never over another."""
    _write_new(path, key.public_pem.encode(), 0o644)


def _write_new(path: Path, data: bytes, mode: int) -> None:
    require_no_files(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = create_file(path, mode)
    except OSError as error:  # among them that something was put there a moment ago
        raise StepFailed(f"The key {path} cannot be written: {error.strerror}.") from None
    try:
        with file:
            write_all(file, data)
            os.fsync(file.fileno())
        fsync_folder(path.parent)
    except OSError as error:
        path.unlink()
        raise StepFailed(f"The key {path} cannot be written: {error.strerror}.") from None
