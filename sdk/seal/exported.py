"""A child release: the files that left the project in plain, what they came from, and the signature over them.

FOLDER/
  what the engine reads                weights, configuration, tokenizer
  parity.json                          how like the approved model they behave; figures alone
  bom.json                             CycloneDX 1.6 ML-BOM, with the parent's package as its ancestor
  manifest.json                        canonical JSON; its SHA-256 is the child's identity
  model.sig                            OpenSSF Model Signing 1.0 over all of these
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from sdk import crypto
from sdk.crypto.dsse import read_canonical
from sdk.errors import Remedy, Tampered, another
from sdk.files.regular_files import CONFIG_BYTES, read_regular
from sdk.files.store import bytes_ref, folder_refs, write_atomic
from sdk.records import Export, ExportFormat, FileRef, Frozen, MergeBase, Parity, Sha256, canonical_json
from sdk.seal import oms
from sdk.seal.bom import MODEL, sha256_hashes
from sdk.seal.manifest import BOM, MANIFEST, SIGNATURE, Manifest

PARITY = "parity.json"
PAPERS = (PARITY, BOM, MANIFEST, SIGNATURE)


class ExportManifest(Frozen):
    """What an exported folder says of itself."""

    parent: Sha256 = Field(description="the package that it was made of: the digest of its manifest")
    parent_version: int
    project: str
    base: str
    base_digest: Sha256
    format: ExportFormat
    onto: MergeBase | None
    weight_type: str
    policy: str = Field(description="id@version that let it leave")
    policy_digest: Sha256
    domain: str
    prompt: str = Field(description="the system message that the adapter was trained with")
    max_new_tokens: int
    tools: dict[str, str]
    files: tuple[FileRef, ...] = Field(description="every file of the folder but manifest and signature")
    signing_key: Sha256


def sign_export(folder: Path, manifest: ExportManifest, parity: Parity, signer: crypto.Signer) -> tuple[FileRef, ...]:
    """Write the certificate, the bill of materials, the manifest and the signature. Returns every file of the folder.

    manifest: its files and signing key are filled in here.
    """
    weights = folder_refs(folder)
    write_atomic(folder / PARITY, canonical_json(parity.model_dump(mode="json")))
    write_atomic(folder / BOM, _bill(manifest, weights))
    files = (*weights, *(bytes_ref(name, read_regular(folder / name, CONFIG_BYTES)) for name in (BOM, PARITY)))
    whole = manifest.model_copy(
        update={"files": tuple(sorted(files, key=lambda ref: ref.path)), "signing_key": signer.fingerprint}
    )
    data = canonical_json(whole.model_dump(mode="json"))
    write_atomic(folder / MANIFEST, data)
    signed = (*files, bytes_ref(MANIFEST, data))
    write_atomic(folder / SIGNATURE, oms.sign({ref.path: ref.sha256 for ref in signed}, signer))
    return folder_refs(folder)


def _bill(manifest: ExportManifest, weights: tuple[FileRef, ...]) -> bytes:
    files = [
        {"bom-ref": f"file:{ref.path}", "hashes": sha256_hashes(ref.sha256), "name": ref.path, "type": "file"}
        for ref in weights
    ]
    tools = [
        {"bom-ref": f"tool:{name}", "name": name, "type": "application", "version": version}
        for name, version in sorted(manifest.tools.items())
    ]
    properties = {"format": manifest.format, "onto": manifest.onto or "", "weights": manifest.weight_type}
    component = {
        "bom-ref": "export",
        "components": files,
        "name": manifest.project,
        "pedigree": {
            "ancestors": [
                {
                    "hashes": sha256_hashes(manifest.parent),
                    "name": f"{manifest.project} {manifest.parent_version}",
                    "type": MODEL,
                },
                {"hashes": sha256_hashes(manifest.base_digest), "name": manifest.base, "type": MODEL},
            ]
        },
        "properties": [{"name": f"domain-adaptation-sdk:{name}", "value": text} for name, text in properties.items()],
        "type": MODEL,
        "version": str(manifest.parent_version),
    }
    return canonical_json(
        {
            "bomFormat": "CycloneDX",
            "components": tools,
            "metadata": {"component": component},
            "specVersion": "1.6",
            "version": 1,
        }
    )


def manifest_of_export(parent: Manifest, facts: Mapping[str, Any]) -> ExportManifest:
    """Return the manifest of what was made of a package, but for its files and its signer."""
    shared = {"project", "base", "base_digest", "domain", "prompt", "max_new_tokens"}
    return ExportManifest(
        parent_version=parent.version, files=(), signing_key="0" * 64, **parent.model_dump(include=shared), **facts
    )


def open_export(folder: Path, public_pem: str, expected: Export | None = None) -> ExportManifest:
    """Check an exported folder: the signature is over these very files, and the manifest is about them.

    expected: the record of the export. Raises Tampered with what does not match.
    """
    if folder.is_symlink() or not folder.is_dir():
        raise Tampered(f"{folder} is no folder.", remedy=Remedy.COPY)
    odd = sorted(os.fspath(path) for path in folder.rglob("*") if path.is_symlink() or not path.is_file())
    if odd:
        raise Tampered(f"{folder} holds what is no file.", odd, remedy=Remedy.COPY)
    refs = {ref.path: ref for ref in folder_refs(folder)}
    missing = [f"{name} is missing." for name in PAPERS if name not in refs]
    if missing:
        raise Tampered(f"{folder} is no exported release.", missing, remedy=Remedy.COPY)
    return _check_papers(folder, public_pem, refs, expected)


def identity_of(folder: Path) -> str:
    """Return the digest of an exported folder's manifest; nothing of it is checked."""
    return bytes_ref(MANIFEST, read_regular(folder / MANIFEST, CONFIG_BYTES)).sha256


def check_papers(folder: Path, public_pem: str, record: Export) -> None:
    """Check the papers that the project keeps of an export against its record: the weights themselves are elsewhere."""
    _check_papers(folder, public_pem, {ref.path: ref for ref in record.exported}, record)


def _check_papers(
    folder: Path, public_pem: str, refs: Mapping[str, FileRef], expected: Export | None
) -> ExportManifest:
    digests = {name: ref.sha256 for name, ref in refs.items() if name != SIGNATURE}
    signature = read_regular(folder / SIGNATURE, CONFIG_BYTES, Remedy.COPY)
    oms.check(signature, public_pem, digests, str(folder / SIGNATURE))
    path = folder / MANIFEST
    data = read_regular(path, CONFIG_BYTES, Remedy.COPY)
    try:
        read_canonical(data, str(path))
        manifest = ExportManifest.model_validate_json(data)
    except ValueError:
        raise Tampered(f"{path} is not the manifest of an export.", remedy=Remedy.COPY) from None
    pairs = [
        ("signing key", crypto.fingerprint(public_pem), manifest.signing_key),
        ("identity", digests[MANIFEST], bytes_ref(MANIFEST, data).sha256),
    ]
    if expected is not None:
        pairs += [
            ("identity", expected.identity, digests[MANIFEST]),
            ("parent", expected.package, manifest.parent),
            ("form", expected.format, manifest.format),
        ]
    faults = [another(what, one, other) for what, one, other in pairs if one != other]
    listed = tuple(ref for name, ref in sorted(refs.items()) if name not in (MANIFEST, SIGNATURE))
    if manifest.files != listed:
        faults.append("it lists other files")
    if faults:
        raise Tampered(f"{path} is not that of the files beside it.", faults, remedy=Remedy.COPY)
    return manifest
