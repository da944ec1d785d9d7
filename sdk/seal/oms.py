"""model.sig: a signature over every file of a package in the format of OpenSSF Model Signing 1.0.

Format: ossf/model-signing-spec, v1.0: a Sigstore bundle with a DSSE envelope over an in-toto statement whose predicate
lists every file with its SHA-256, and whose one subject is the model as a whole: the SHA-256 over the files' SHA-256s,
32 bytes each, in the order of the names.

The reference verifier, `model_signing verify key`, accepts what is written here. It does not look at `.git*`, at files
that the signature itself says to ignore, or at a second form of the same signature. `check` does: the file has to be,
to the byte, what `sign` writes for the files that are there, except for the bytes of the signature proper.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sdk import crypto
from sdk.crypto import dsse
from sdk.errors import InvalidInput, Remedy, Tampered, short
from sdk.files.store import PACKAGE
from sdk.records import Sha256, canonical_json, sha256
from sdk.seal.manifest import SIGNATURE

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
SERIALIZATION = {"allow_symlinks": False, "hash_type": "sha256", "ignore_paths": [SIGNATURE], "method": "files"}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _PublicKey(_Strict):
    hint: Sha256


class _Material(_Strict):
    public_key: _PublicKey = Field(alias="publicKey")
    log_entries: list[Any] = Field(default=[], alias="tlogEntries", max_length=0)


class _Signature(_Strict):
    sig: str
    keyid: Literal["", None] = None


class _Envelope(_Strict):
    payload: str
    payload_type: Literal["application/vnd.in-toto+json"] = Field(alias="payloadType")
    signatures: list[_Signature]


class _Bundle(_Strict):
    media_type: Literal["application/vnd.dev.sigstore.bundle.v0.3+json"] = Field(alias="mediaType")
    material: _Material = Field(alias="verificationMaterial")
    envelope: _Envelope = Field(alias="dsseEnvelope")


class _Digest(_Strict):
    sha256: Sha256


class _Subject(_Strict):
    name: str = Field(min_length=1)
    digest: _Digest


class _Resource(_Strict):
    name: str = Field(min_length=1)
    digest: Sha256
    algorithm: Literal["sha256"]


class _Serialization(_Strict):
    method: Literal["files"]
    hash_type: Literal["sha256"]
    allow_symlinks: Literal[False]
    ignore_paths: list[str] = []


class _Predicate(_Strict):
    resources: list[_Resource]
    serialization: _Serialization


class Statement(_Strict):
    """What a bundle claims."""

    kind: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: list[_Subject]
    predicate_type: Literal["https://model_signing/signature/v1.0"] = Field(alias="predicateType")
    predicate: _Predicate

    @property
    def files(self) -> dict[str, str]:
        """Name -> SHA-256."""
        return {each.name: each.digest for each in self.predicate.resources}


class Bundle(_Strict):
    """A key-signed bundle that was read; nothing of it has been verified."""

    hint: str
    payload: bytes
    signature: bytes
    statement: Statement


def _root(digests: list[str]) -> str:
    """Compute the digest of the whole from those of the files, in the order of their names."""
    return sha256(b"".join(bytes.fromhex(digest) for digest in digests))


def read(data: bytes, name: str) -> Bundle:
    """Read a bundle of format 1.0 that a key signed, over whole files and with SHA-256; Tampered for anything else."""
    try:
        bundle = _Bundle.model_validate_json(data)
        payload = crypto.from_b64(bundle.envelope.payload)
        [signed] = bundle.envelope.signatures
        signature = crypto.from_b64(signed.sig)
        statement = Statement.model_validate_json(payload)
        [subject] = statement.subject
    except (ValidationError, ValueError):
        raise Tampered(
            f"{name} is not a signature of OpenSSF Model Signing 1.0 by a key.", remedy=Remedy.COPY
        ) from None
    resources = statement.predicate.resources
    if len(statement.files) != len(resources):
        raise Tampered(f"{name} names a file twice.", remedy=Remedy.COPY)
    whole = _root([each.digest for each in resources])
    if subject.digest.sha256 != whole:
        raise Tampered(
            f"{name} has been altered: its digest of the whole does not follow from its files.",
            remedy=Remedy.COPY,
            expected=whole,
            found=subject.digest.sha256,
        )
    return Bundle(hint=bundle.material.public_key.hint, payload=payload, signature=signature, statement=statement)


def verify(data: bytes, public_pem: str, name: str) -> Statement:
    """Return what the key's holder signed, whoever wrote the bundle. The files themselves are not looked at."""
    bundle = read(data, name)
    hint = sha256(public_pem.encode())
    if bundle.hint != hint:
        raise Tampered(
            f"{name} was signed by another key than the one given.",
            remedy=Remedy.COPY,
            expected=f"key hint {hint}",
            found=bundle.hint,
        )
    crypto.verify(public_pem, dsse.pae(dsse.INTOTO, bundle.payload), bundle.signature, name)
    return bundle.statement


def _payload(files: Mapping[str, str]) -> bytes:
    names = sorted(files)
    predicate = {
        "resources": [{"algorithm": "sha256", "digest": files[name], "name": name} for name in names],
        "serialization": SERIALIZATION,
    }
    return dsse.statement(PREDICATE_TYPE, predicate, {PACKAGE: _root([files[name] for name in names])})


def _bundle(public_pem: str, payload: bytes, signature: bytes) -> bytes:
    return canonical_json(
        {
            "dsseEnvelope": {
                "payload": crypto.b64(payload),
                "payloadType": dsse.INTOTO,
                "signatures": [{"keyid": "", "sig": crypto.b64(signature)}],
            },
            "mediaType": MEDIA_TYPE,
            # the format's key hint is over the PEM text, not over the key as a fingerprint is
            "verificationMaterial": {"publicKey": {"hint": sha256(public_pem.encode())}, "tlogEntries": []},
        }
    )


def sign(files: Mapping[str, str], signer: crypto.Signer) -> bytes:
    """Write model.sig for files of these names and SHA-256s."""
    if signer.algorithm != "ecdsa-p256":
        raise InvalidInput(
            "A package is signed with a P-256 key (OpenSSF Model Signing); make one with `sdk keys new`."
        )
    payload = _payload(files)
    return _bundle(signer.public_pem, payload, signer.sign(dsse.pae(dsse.INTOTO, payload)))


def check(data: bytes, public_pem: str, files: Mapping[str, str], name: str) -> None:
    """Tampered, with every file that is missing, added or altered, unless the bundle is what `sign` wrote for these.

    Comparing the whole bundle, to the byte, with what `sign` would write leaves one signature file for a package: what
    the format lets vary (ignored files, spelling, order, a key id) could else say something to another reader.
    """
    signed = verify(data, public_pem, name).files
    faults = [f"{each} is missing." for each in sorted(signed.keys() - files.keys())]
    faults += [f"{each} is not among the signed files." for each in sorted(files.keys() - signed.keys())]
    shared = sorted(signed.keys() & files.keys())
    faults += [
        f"{each} has been altered: its SHA-256 is not the signed one; expected {short(signed[each])}, "
        f"found {short(files[each])}."
        for each in shared
        if signed[each] != files[each]
    ]
    if faults:
        raise Tampered(f"The files beside {name} are not those that were signed.", faults, remedy=Remedy.COPY)
    bundle = read(data, name)
    if bundle.payload != _payload(files) or data != _bundle(public_pem, bundle.payload, bundle.signature):
        raise Tampered(
            f"{name} is not in the one form that a package is signed in: it ignores files or was rewritten.",
            remedy=Remedy.COPY,
        )
