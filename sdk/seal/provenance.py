"""provenance.dsse.json: who made the package from what, as SLSA provenance v1 (https://slsa.dev/spec/v1.0/provenance).

It is the trainer's statement about the manifest's digest, so everything that the manifest says stands in it once only.
"""

from __future__ import annotations

from typing import Any

from sdk import crypto
from sdk.crypto import dsse
from sdk.errors import Remedy, Tampered
from sdk.seal.manifest import MANIFEST, Manifest

PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:domain-adaptation-sdk:sealed-adapter:v1"


def _predicate(manifest: Manifest) -> dict[str, Any]:
    materials = {
        f"base:{manifest.base}": manifest.base_digest,
        **{f"data:{split}": digest for split, digest in manifest.data.items()},
        f"domain:{manifest.domain}": manifest.domain_digest,
        f"policy:{manifest.policy}": manifest.policy_digest,
    }
    return {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {"package": manifest.package_id, "version": manifest.version},
            "resolvedDependencies": [
                {"digest": {"sha256": digest}, "name": name} for name, digest in sorted(materials.items())
            ],
        },
        "runDetails": {"builder": {"id": f"urn:domain-adaptation-sdk:key:{manifest.signing_key}"}},
    }


def write_provenance(manifest: Manifest, package: str, signer: crypto.Signer) -> bytes:
    """Sign the provenance, as an envelope; `package` is the SHA-256 of manifest.json."""
    payload = dsse.statement(PREDICATE_TYPE, _predicate(manifest), {MANIFEST: package})
    return dsse.sign_envelope(dsse.INTOTO, payload, signer)


def check_provenance(data: bytes, manifest: Manifest, package: str, public_pem: str, name: str) -> None:
    """Tampered unless the key's holder said of this very manifest what the manifest itself says."""
    payload, _ = dsse.open_envelope(data, dsse.INTOTO, {crypto.fingerprint(public_pem): public_pem}, name)
    predicate, subjects = dsse.read_statement(payload, PREDICATE_TYPE, name)
    if subjects != {MANIFEST: package}:
        raise Tampered(
            f"{name} is not the provenance of package {package[:12]}.",
            remedy=Remedy.COPY,
            expected=package,
            found=subjects.get(MANIFEST, "another file"),
        )
    if predicate != _predicate(manifest):
        raise Tampered(
            f"{name} is not the provenance of package {package[:12]}: it names other inputs than the manifest.",
            remedy=Remedy.COPY,
        )
