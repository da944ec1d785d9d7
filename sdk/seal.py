"""Seal: an adapter becomes a package of manifest, signature, configuration and encrypted weights.

manifest.json                      canonical JSON; its SHA-256 is the package's identity
manifest.sig                       the trainer's signature over the manifest's bytes
adapter_config.json                PEFT's configuration
adapter_model.safetensors.enc      AES-256-GCM under a data key of its own (`.safetensors` where a policy allows plain)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from sdk import crypto
from sdk.errors import Tampered
from sdk.records import FileRef, Frozen, Package, Sha256, canonical_json, sha256
from sdk.store import check_ref, file_ref, write_atomic

ADAPTER = "adapter"  # the folder of the plain adapter in a training run's folder
MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"
CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"


class Facts(Frozen):
    """What a manifest says besides its files and keys."""

    project: str
    base: str
    base_digest: Sha256 = Field(description="weights, configuration, tokenizer and chat template of the base")
    method: str
    records: dict[str, Sha256] = Field(description="run, scores, scrubbed, advice -> digest")
    data: dict[str, Sha256] = Field(description="split -> SHA-256 of the scrubbed rows")
    policy: str
    policy_digest: Sha256
    domain: str
    domain_digest: Sha256
    prompt: str = Field(description="the system message that the adapter was trained with")
    max_new_tokens: int
    code: dict[str, str] = Field(description="package -> version that trained")


class Manifest(Facts):
    files: tuple[FileRef, ...] = Field(description="every file of the package but manifest and signature")
    weights_sha256: Sha256 = Field(description="of the plaintext")
    wrapped_data_key: str | None = Field(description="RFC 3394, base64; None: the weights are in plain")
    key_id: str | None = Field(description="the wrapping key's id")


def read_adapter(training: Path) -> tuple[Mapping[str, Any], bytes]:
    """PEFT's configuration and the plain weights of a training run that has not been sealed yet."""
    folder = training / ADAPTER
    return json.loads((folder / CONFIG).read_bytes()), (folder / WEIGHTS).read_bytes()


def _context(base_digest: str, plaintext_sha256: str) -> bytes:
    return canonical_json({"base": base_digest, "path": WEIGHTS, "sha256": plaintext_sha256})


def seal(
    adapter: Path, facts: Facts, encrypt: bool, signer: str, key: crypto.SigningKey, secret: crypto.Secret, out: Path
) -> Package:
    """Write the package's files to `out`. `adapter` holds PEFT's two files."""
    weights = (adapter / WEIGHTS).read_bytes()
    plaintext_sha256 = sha256(weights)
    write_atomic(out / CONFIG, (adapter / CONFIG).read_bytes())
    wrapped = None
    if encrypt:
        data_key = crypto.Secret.random()
        sealed = data_key.encrypt(weights, _context(facts.base_digest, plaintext_sha256))
        write_atomic(out / f"{WEIGHTS}.enc", sealed)
        wrapped = secret.derive("wrap").wrap(data_key)
    else:
        write_atomic(out / WEIGHTS, weights)
    stored = out / (f"{WEIGHTS}.enc" if encrypt else WEIGHTS)
    manifest = Manifest(
        **facts.model_dump(),
        files=(file_ref(out / CONFIG, out), file_ref(stored, out)),
        weights_sha256=plaintext_sha256,
        wrapped_data_key=wrapped,
        key_id=secret.key_id if encrypt else None,
    )
    data = canonical_json(manifest.model_dump(mode="json"))
    write_atomic(out / MANIFEST, data)
    write_atomic(out / SIGNATURE, canonical_json({"key": key.fingerprint, "signature": key.sign(data)}))
    return Package(
        package=sha256(data),
        signed_by=signer,
        key_fingerprint=key.fingerprint,
        encrypted=encrypt,
        policy=facts.policy,
        domain=facts.domain,
    )


def open_package(folder: Path, package: Package, public_pem: str) -> Manifest:
    """The manifest, after identity, signature and every file have been checked; Tampered names what does not match."""
    try:
        data = (folder / MANIFEST).read_bytes()
        signature_data = (folder / SIGNATURE).read_bytes()
    except FileNotFoundError as error:
        raise Tampered(f"{error.filename} is missing.") from None
    if sha256(data) != package.package:
        raise Tampered(
            f"{folder / MANIFEST} has been altered: it is not the manifest of package {package.package[:12]}."
        )
    try:
        signed = json.loads(signature_data)
        if canonical_json(signed) != signature_data or signed["key"] != crypto.fingerprint(public_pem):
            raise Tampered(f"{folder / SIGNATURE} is not by the project's key.")
        crypto.verify(public_pem, data, signed["signature"], str(folder / SIGNATURE))
        manifest = Manifest.model_validate_json(data)
    except (ValueError, KeyError, TypeError, ValidationError):
        raise Tampered(f"{folder / SIGNATURE} has been altered.") from None
    for ref in manifest.files:
        check_ref(folder, ref)
    named = {MANIFEST, SIGNATURE, *(ref.path for ref in manifest.files)}
    extra = sorted({path.relative_to(folder).as_posix() for path in folder.rglob("*")} - named)
    if extra:
        raise Tampered(f"{folder} holds files that its manifest does not name.", extra)
    return manifest


def unseal(folder: Path, manifest: Manifest, secret: crypto.Secret) -> tuple[Mapping[str, Any], bytes]:
    """PEFT's configuration and the weights in safetensors format, decrypted in memory only."""
    config = json.loads((folder / CONFIG).read_bytes())
    if manifest.wrapped_data_key is None:
        weights = (folder / WEIGHTS).read_bytes()
    else:
        path = folder / f"{WEIGHTS}.enc"
        data_key = secret.derive("wrap").unwrap(manifest.wrapped_data_key)
        weights = data_key.decrypt(
            path.read_bytes(), _context(manifest.base_digest, manifest.weights_sha256), str(path)
        )
    if sha256(weights) != manifest.weights_sha256:
        raise Tampered(f"{folder}: the weights are not those that were sealed.")
    return config, weights
