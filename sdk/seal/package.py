"""Sealing an adapter, opening a package, and its weights back in memory."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from sdk import crypto
from sdk.crypto import floe
from sdk.crypto.dsse import read_canonical
from sdk.errors import InvalidInput, Remedy, StepFailed, Tampered, another
from sdk.files.durable import create_anew, fsync_folder, write_all
from sdk.files.regular_files import ADAPTER_BYTES, CONFIG_BYTES, TEMPLATE_BYTES, open_regular, read_regular
from sdk.files.store import ASIDE, CHAT_TEMPLATE, PACKAGE, PROVENANCE, write_atomic
from sdk.records import Behaviour, FileRef, Package, canonical_json, sha256
from sdk.seal import oms
from sdk.seal.bom import check_bom, write_bom
from sdk.seal.folder import list_files, read_file, read_files
from sdk.seal.manifest import (
    ADAPTER,
    BEHAVIOUR,
    BOM,
    CONFIG,
    MANIFEST,
    SEALED_WEIGHTS,
    SIGNATURE,
    TOKENIZER,
    WEIGHTS,
    DescribedFacts,
    Facts,
    Manifest,
    key_context,
)
from sdk.seal.provenance import write_provenance
from sdk.seal.tensors import Tensor, read_tensors

COPIED_BYTES = 64 << 20  # of a tokenizer's file; the largest that is published has 34 MB


def read_adapter(training: Path) -> tuple[Mapping[str, Any], bytes]:
    """Read PEFT's configuration and the plain weights of a training run that has not been sealed yet."""
    folder = training / ADAPTER
    config = json.loads(read_regular(folder / CONFIG, CONFIG_BYTES, Remedy.PROJECT))
    return config, read_regular(folder / WEIGHTS, ADAPTER_BYTES, Remedy.PROJECT)


class _Hashing:
    """A raw file whose bytes are hashed beside what is done with them: hashlib lets the other thread run."""

    def __init__(self, file: io.FileIO, thread: Executor) -> None:
        self._file, self._thread, self._sha256 = file, thread, hashlib.sha256()
        self._done: Future[None] | None = None

    def _wait(self) -> None:
        if self._done:
            self._done.result()

    def readinto(self, buffer: memoryview) -> int:
        self._wait()  # the buffer before may be the same
        count = self._file.readinto(buffer) or 0
        self._done = self._thread.submit(self._sha256.update, buffer[:count])
        return count

    def hexdigest(self) -> str:
        self._wait()
        return self._sha256.hexdigest()


def _write_parts(path: Path, parts: Iterable[memoryview]) -> FileRef:
    """Write as write_atomic does, in parts that are hashed as they are written."""
    digest, size, aside = hashlib.sha256(), 0, path.with_name(path.name + ASIDE)
    try:
        with create_anew(aside) as file:
            for part in parts:
                digest.update(part)
                write_all(file, part)
                size += len(part)
            os.fsync(file.fileno())
        aside.rename(path)
        fsync_folder(path.parent)
    except OSError as error:
        raise StepFailed(f"{path} cannot be written: {error.strerror}. Free space, then repeat.") from error
    finally:
        aside.unlink(missing_ok=True)
    return FileRef(path=path.name, size=size, sha256=digest.hexdigest())


def _associated(facts: Facts) -> bytes:
    """Write what the ciphertext is bound to: it decrypts as the weights of this package and version only."""
    return canonical_json({"package": facts.package_id, "path": SEALED_WEIGHTS, "version": facts.version})


def _plain_parts(take: floe.Take, size: int) -> Iterable[tuple[int, memoryview]]:
    for start in range(0, size, floe.DEFAULT.segment):
        yield start, take(min(floe.DEFAULT.segment, size - start))


def _seal_weights(
    source: Path, out: Path, facts: Facts, data_key: crypto.Secret | None
) -> tuple[FileRef, str, tuple[Tensor, ...]]:
    """Write the weights to `out`. Returns the stored file, the SHA-256 of the plaintext and its tensors.

    Every byte is read once: this thread writes it, and a second one adds it to the digest.
    """
    try:
        with open_regular(source, Remedy.PROJECT) as file, ThreadPoolExecutor(max_workers=1) as thread:
            size = os.fstat(file.fileno()).st_size
            tensors = read_tensors(file, size, str(source))
            file.seek(0)
            hashing = _Hashing(file, thread)
            take = floe.read_from(hashing.readinto, str(source))
            if data_key is None:
                ref = _write_parts(out / WEIGHTS, (part for _, part in _plain_parts(take, size)))
            else:
                ref = _write_parts(out / SEALED_WEIGHTS, floe.encrypt(take, size, data_key, _associated(facts)))
            return ref, hashing.hexdigest(), tensors
    except OSError as error:
        raise InvalidInput(f"{source} cannot be read: {error.strerror}. Train again.") from None


def _write(folder: Path, name: str, data: bytes) -> FileRef:
    write_atomic(folder / name, data)
    return FileRef(path=name, size=len(data), sha256=sha256(data))


def _copy(source: Path, out: Path) -> FileRef:
    return _write(out, source.name, read_regular(source, COPIED_BYTES))


class Recorded(NamedTuple):
    """What records say of an adapter: its files as training left them, and how it behaves."""

    files: tuple[FileRef, ...] = ()
    behaviour: Behaviour | None = None


def _require_trained(adapter: Path, digests: Mapping[str, str], recorded: Recorded) -> None:
    for ref in recorded.files:
        name = ref.path.rpartition("/")[2]
        if digests.get(name) != ref.sha256:
            raise Tampered(
                f"{adapter / name} has been altered since it was trained.",
                remedy=Remedy.PROJECT,
                expected=ref.sha256,
                found=digests.get(name, "no such file"),
            )


def seal(
    adapter: Path,
    tokenizer: Path,
    facts: DescribedFacts,
    signer: crypto.Signer,
    signed_by: str,
    wrapper: crypto.Wrapper | None,
    out: Path,
    recorded: Recorded | None = None,
) -> Package:
    """Write the package to `out`/package and its provenance beside it.

    adapter: folder of PEFT's two files; tokenizer: folder of the base, of which the tokenizer's files are copied;
    wrapper: who wraps the data key; None leaves the weights in plain. Raises Tampered before files are signed that are
    not the recorded ones.
    """
    recorded = recorded or Recorded()
    folder = out / PACKAGE
    folder.mkdir(parents=True, exist_ok=True)
    data_key = crypto.Secret.random() if wrapper else None
    files = [_copy(adapter / CONFIG, folder)]
    files += [_copy(tokenizer / name, folder) for name in TOKENIZER if (tokenizer / name).is_file()]
    if recorded.behaviour is not None:
        files.append(_write(folder, BEHAVIOUR, recorded.behaviour.to_bytes()))
    stored, plain_sha256, tensors = _seal_weights(adapter / WEIGHTS, folder, facts, data_key)
    files += [stored, _write(folder, BOM, write_bom(facts, plain_sha256))]
    _require_trained(adapter, {CONFIG: files[0].sha256, WEIGHTS: plain_sha256}, recorded)
    manifest = Manifest(
        **facts.model_dump(include=set(Facts.model_fields)),
        files=tuple(sorted(files, key=lambda ref: ref.path)),
        tensors=tensors,
        weights_sha256=plain_sha256,
        signing_key=signer.fingerprint,
        wrapped_data_key=wrapper.wrap(data_key, key_context(facts.package_id)) if wrapper and data_key else None,
        key_id=wrapper.key_id if wrapper else None,
    )
    identity = _write(folder, MANIFEST, canonical_json(manifest.model_dump(mode="json")))
    digests = {ref.path: ref.sha256 for ref in (*files, identity)}
    write_atomic(folder / SIGNATURE, oms.sign(digests, signer))
    write_atomic(out / PROVENANCE, write_provenance(manifest, identity.sha256, signer))
    return Package(
        package=identity.sha256,
        package_id=facts.package_id,
        version=facts.version,
        signed_by=signed_by,
        key_fingerprint=signer.fingerprint,
        encrypted=wrapper is not None,
        policy=facts.policy,
        domain=facts.domain,
    )


def _read_manifest(data: bytes, path: Path) -> Manifest:
    read_canonical(data, str(path))
    try:
        manifest = Manifest.model_validate_json(data)
        if canonical_json(manifest.model_dump(mode="json")) == data:  # nothing was read as what it is not
            return manifest
        raise ValueError
    except ValueError:  # pydantic's, too
        raise Tampered(
            f"{path} is not the manifest of a package, or one of another version of this SDK.", remedy=Remedy.COPY
        ) from None


def _check_record(manifest: Manifest, package: Package, path: Path) -> None:
    """Tampered unless the manifest says what the record of sealing says."""
    pairs = (
        ("package id", package.package_id, manifest.package_id),
        ("version", package.version, manifest.version),
        ("signing key", package.key_fingerprint, manifest.signing_key),
        ("encryption", package.encrypted, manifest.wrapped_data_key is not None),
    )
    faults = [another(what, recorded, said) for what, recorded, said in pairs if recorded != said]
    if faults:
        raise Tampered(
            f"{path} says something else than the record of package {package.package[:12]}.", faults, remedy=Remedy.COPY
        )


def open_package(folder: Path, package: Package | None, public_pem: str, expected: str | None) -> Manifest:
    """Check a package by steps 1 to 7 of `sdk.seal` and return its manifest; Tampered names what does not match.

    package: the record of sealing; expected: the identity that was asked for. One of the two may be missing where the
    other is given; with neither, the package is known to be the signer's and not to be a certain one.
    """
    # 1. the folder holds the files of a package and nothing else
    contents = read_files(folder, list_files(folder))
    digests = {name: ref.sha256 for name, ref in contents.refs.items() if name != SIGNATURE}
    # 2. and 3. the signature is the key's, and over these very files
    oms.check(contents.data[SIGNATURE], public_pem, digests, str(folder / SIGNATURE))
    # 4. it is the package that was asked for
    path = folder / MANIFEST
    for identity in filter(None, (expected, package.package if package else None)):
        if digests[MANIFEST] != identity:
            raise Tampered(
                f"{path} is not the manifest of package {identity[:12]}: another package lies there.",
                remedy=Remedy.COPY,
                expected=identity,
                found=digests[MANIFEST],
            )
    # 5. the manifest is in its one form, and about the signer and the record
    manifest = _read_manifest(contents.data[MANIFEST], path)
    if manifest.signing_key != crypto.fingerprint(public_pem):
        raise Tampered(
            f"{path} names another signing key than the one that signed.",
            remedy=Remedy.COPY,
            expected=crypto.fingerprint(public_pem),
            found=manifest.signing_key,
        )
    if package:
        _check_record(manifest, package, path)
    # 6. the manifest lists the files with their sizes
    listed = tuple(ref for name, ref in sorted(contents.refs.items()) if name not in (MANIFEST, SIGNATURE))
    if manifest.files != listed or manifest.weights not in contents.refs:
        raise Tampered(f"{path} lists other files than those that were signed.", remedy=Remedy.COPY)
    # 7. the bill of materials is this package's
    check_bom(contents.data[BOM], manifest, str(folder / BOM))
    return manifest


def signed_sizes(folder: Path, public_pem: str) -> dict[str, int]:
    """Return name -> bytes of each file of a package, as its signer signed them; only the small files are read.

    It is asked before weights of any size are copied, and stands for none of the checks of `open_package`. Tampered
    where the signature is not the key's, or is over another manifest.
    """
    signature, path = read_file(folder, SIGNATURE), folder / MANIFEST
    signed = oms.verify(signature[1] or b"", public_pem, str(folder / SIGNATURE)).files
    identity, data = read_file(folder, MANIFEST)
    if signed.get(MANIFEST) != identity.sha256:
        fault = another(f"The SHA-256 of {MANIFEST}", signed.get(MANIFEST), identity.sha256)
        raise Tampered(
            f"{path} has been altered: the files beside {SIGNATURE} are not those that were signed.",
            [fault],
            remedy=Remedy.COPY,
        )
    sizes = {ref.path: ref.size for ref in _read_manifest(data or b"", path).files}
    return {**sizes, SIGNATURE: signature[0].size, MANIFEST: identity.size}


def _read_listed(folder: Path, manifest: Manifest, name: str) -> bytes:
    """Read a small file again; Tampered where it is not the one that the manifest lists."""
    contents = read_files(folder, [name])
    if contents.refs[name] not in manifest.files:
        raise Tampered(
            f"{folder / name} has been altered since the package was opened.",
            remedy=Remedy.COPY,
            expected=next((ref.sha256 for ref in manifest.files if ref.path == name), "no such file"),
            found=contents.refs[name].sha256,
        )
    return contents.data[name]


def _read_config(folder: Path, manifest: Manifest) -> Mapping[str, Any]:
    try:
        config = json.loads(_read_listed(folder, manifest, CONFIG))
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise Tampered(f"{folder / CONFIG} is not a JSON object.", remedy=Remedy.COPY)
    return config


def read_behaviour(folder: Path, manifest: Manifest) -> Behaviour | None:
    """Read how the package's model and its base behave. None: an earlier version of this SDK wrote the package."""
    if BEHAVIOUR not in {ref.path for ref in manifest.files}:
        return None
    try:
        return Behaviour.from_bytes(_read_listed(folder, manifest, BEHAVIOUR))
    except ValueError:  # pydantic's, too
        raise Tampered(
            f"{folder / BEHAVIOUR} is not the behaviour of a model, or of another version of this SDK.",
            remedy=Remedy.COPY,
        ) from None


def read_template(folder: Path, manifest: Manifest) -> str | None:
    """Read the chat template that a package was trained with where it is not the base's own."""
    if manifest.template is None:
        return None
    path = folder / CHAT_TEMPLATE
    data = read_regular(path, TEMPLATE_BYTES, Remedy.COPY)
    if sha256(data) != manifest.template:
        raise Tampered(
            f"{path} is not the chat template that was sealed.",
            remedy=Remedy.COPY,
            expected=manifest.template,
            found=sha256(data),
        )
    return data.decode()


def unseal(folder: Path, manifest: Manifest, data_key: crypto.Secret | None) -> tuple[Mapping[str, Any], bytearray]:
    """Return PEFT's configuration and the weights in safetensors format, decrypted in memory only.

    data_key: `wrapper.unwrap(manifest.wrapped_data_key, key_context(manifest.package_id))`; None for plain weights. Who
    takes the weights wipes them after use. A file that was changed after `open_package` is Tampered here, too.
    """
    path = folder / manifest.weights
    if (manifest.wrapped_data_key is None) != (data_key is None):
        what = "is in plain and takes no" if data_key else "is encrypted; have it opened with its"
        raise InvalidInput(f"{path} {what} data key.")
    config = _read_config(folder, manifest)
    with open_regular(path, Remedy.COPY) as file:
        size = os.fstat(file.fileno()).st_size
        sealed = next(ref.size for ref in manifest.files if ref.path == manifest.weights)
        if size != sealed:
            raise Tampered(
                f"{path} has been altered since the package was opened.",
                remedy=Remedy.COPY,
                expected=f"{sealed} bytes",
                found=f"{size} bytes",
            )
        take = floe.read_from(file.readinto, str(path))
        if data_key:
            weights = floe.decrypt(take, size, data_key, _associated(manifest), str(path))
        else:
            weights = bytearray(size)
            for start, part in _plain_parts(take, size):
                weights[start : start + len(part)] = part
    digest = hashlib.sha256(weights).hexdigest()
    if digest != manifest.weights_sha256:
        floe.wipe(weights)
        raise Tampered(
            f"{path}: the weights are not those that were sealed.",
            remedy=Remedy.COPY,
            expected=manifest.weights_sha256,
            found=digest,
        )
    return config, weights
