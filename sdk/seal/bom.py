"""bom.json: the package as a CycloneDX 1.6 ML-BOM, for tools that know nothing of manifests.

Schema: https://cyclonedx.org/docs/1.6/json. It says what the manifest says, in another language; a loader asks only
that it names the same package and weights.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote
from uuid import UUID

from sdk.crypto.dsse import read_canonical
from sdk.errors import Remedy, Tampered
from sdk.records import canonical_json
from sdk.seal.manifest import DescribedFacts, Facts, Manifest

MODEL = "machine-learning-model"
BASE_HASH = "SHA-256 over canonical JSON of [name, size, SHA-256] of the base's files"


def sha256_hashes(digest: str) -> list[dict[str, str]]:
    """Write a digest as CycloneDX has it."""
    return [{"alg": "SHA-256", "content": digest}]


def _serial_number(package_id: str) -> str:
    return f"urn:uuid:{UUID(hex=package_id)}"


def _model_card(facts: Facts) -> dict[str, Any]:
    metrics = [{"type": name, "value": figure} for name, figure in sorted(facts.scores.items())]
    return {
        "modelParameters": {
            "approach": {"type": "supervised"},
            "datasets": [{"ref": f"data:{split}"} for split in sorted(facts.data)],
            "modelArchitecture": f"{facts.method} adapter of {facts.base}",
            "task": "text-generation",
        },
        "quantitativeAnalysis": {"performanceMetrics": metrics},
    }


def _adapter(facts: Facts, weights_sha256: str) -> dict[str, Any]:
    return {
        "bom-ref": "adapter",
        "hashes": sha256_hashes(weights_sha256),
        "modelCard": _model_card(facts),
        "name": facts.project,
        "type": MODEL,
        "version": str(facts.version),
    }


def _base(facts: DescribedFacts) -> dict[str, Any]:
    revision = {"version": facts.base_revision} if facts.base_revision else {}
    license = {"licenses": [{"license": {"name": facts.base_license}}]} if facts.base_license else {}
    source = [{"name": "domain-adaptation-sdk:source", "value": facts.base_source}] if facts.base_source else []
    return {
        "bom-ref": "base",
        "hashes": sha256_hashes(facts.base_digest),
        "name": facts.base,
        "properties": [{"name": "domain-adaptation-sdk:hash", "value": BASE_HASH}, *source],
        "type": MODEL,
        **license,
        **revision,
    }


def _data(split: str, digest: str) -> dict[str, Any]:
    return {
        "bom-ref": f"data:{split}",
        "data": [{"description": "scrubbed rows", "name": split, "type": "dataset"}],
        "hashes": sha256_hashes(digest),
        "name": split,
        "type": "data",
    }


def _code(name: str, version: str) -> dict[str, Any]:
    component = {"bom-ref": f"code:{name}", "name": name, "version": version}
    if name == "python":
        return {**component, "type": "platform"}
    return {**component, "purl": f"pkg:pypi/{quote(name.lower())}@{quote(version, safe='')}", "type": "library"}


def write_bom(facts: DescribedFacts, weights_sha256: str) -> bytes:
    """Write the bill of materials, canonical JSON. `weights_sha256`: of the plaintext."""
    parts = [
        _base(facts),
        *(_data(split, digest) for split, digest in sorted(facts.data.items())),
        *(_code(name, version) for name, version in sorted(facts.code.items())),
    ]
    return canonical_json(
        {
            "bomFormat": "CycloneDX",
            "components": parts,
            "dependencies": [{"dependsOn": [part["bom-ref"] for part in parts], "ref": "adapter"}],
            "metadata": {"component": _adapter(facts, weights_sha256)},
            "serialNumber": _serial_number(facts.package_id),
            "specVersion": "1.6",
            "version": 1,
        }
    )


def check_bom(data: bytes, manifest: Manifest, name: str) -> None:
    """Tampered unless it is a BOM of the manifest's package."""
    match read_canonical(data, name):
        case {
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "serialNumber": str(serial),
            "metadata": {"component": {"hashes": hashes}},
        } if serial == _serial_number(manifest.package_id) and hashes == sha256_hashes(manifest.weights_sha256):
            return
    raise Tampered(
        f"{name} is not the bill of materials of package {manifest.package_id}.",
        remedy=Remedy.COPY,
        expected=f"{_serial_number(manifest.package_id)} with weights of SHA-256 {manifest.weights_sha256}",
    )
