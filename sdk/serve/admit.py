"""Admit: decide whether a release may be served, from files alone, and then its model.

 1. key ring: version 1 is the pinned one, each further one is signed by an owner of the one before
 2. private: once signature and sizes are sound by the small files alone, the package is copied into a folder of this
    process only (mode 0700); what is checked from here on is what is used
 3. signature: the package's OMS signature is by a trainer of the ring
 4. manifest: its identity, and every file of the package
 5. revocation: the trainer's key is not one whose signatures count no more
 6. rules: the log goes on from what owners saw when they signed key rings, and the manifest's policy was in force by
    them at the event of the sealing
 7. approvals: the verdict over all decisions, under that policy and the ring in force, is yes
 8. log proof: the promotion is in the log, and names this package, policy, report and these decisions in this order
 9. freshness: log, key rings and promotion go on from what this machine has served
10. decrypt: into memory
11. base: the one that is named here, never one that a file of the package names, and of the manifest's digest
12. load what step 11 has opened, and attach the adapter
13. behaviour: the model answers the first probes as the adapted model did when it was evaluated, within rounding
14. wipe the plain weights, remember what was served

It raises Tampered, or Refused with every reason, at the first step that fails; nothing is served then.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from sdk import crypto
from sdk.approve import Case, judge, require_allowed
from sdk.audit import Event
from sdk.crypto.keyring import Member, Ring, open_rings, why_not_valid
from sdk.data.base_folder import BaseFolder, PinnedBase, locate_base
from sdk.errors import InvalidInput, Refused, Remedy, Tampered, another
from sdk.files.regular_files import KEY_BYTES, read_regular
from sdk.files.store import copy_file, log_origin, state_folder
from sdk.model import Chat, open_base
from sdk.model.adapted import AdaptedModel, load_adapted
from sdk.model.probes import AT_LOAD, check_model
from sdk.policy import Policy
from sdk.records import Behaviour, Frozen, Quantization, Sha256, canonical_json, sha256
from sdk.seal import (
    MANIFEST,
    PACKAGE,
    Manifest,
    key_context,
    open_package,
    read_behaviour,
    read_template,
    signed_sizes,
    unseal,
    wipe,
)
from sdk.seal.folder import list_files, read_file
from sdk.serve.evidence import (
    DATA_KEY,
    LINE,
    POLICY,
    Evidence,
    find_trainer,
    read_evidence,
    read_policy_bytes,
    read_wrapped,
)
from sdk.serve.governing import check_fresh, prove_promotion, prove_rules, write_served

GOVERNANCE = "governance"  # folder of a release beside its package
TRUST = "SDK_TRUST"


@dataclass(frozen=True)
class Admitted:
    """What a model that may be served is made of, all of it checked. The weights are wiped when the block ends.

    folder: the package, in a place that only this process's user can enter; config, weights: of the adapter.
    """

    folder: Path
    manifest: Manifest
    base: BaseFolder
    quantization: Quantization
    config: Mapping[str, Any]
    weights: bytearray
    behaviour: Behaviour | None  # None: the package is older than such seals

    def load(self) -> AdaptedModel:
        """Load the base as it was trained and attach the adapter. Refused where the model behaves otherwise."""
        manifest = self.manifest
        model = load_adapted(
            self.base, self.quantization, self.config, self.weights, manifest.prompt, manifest.max_new_tokens
        )
        if self.behaviour is not None:
            _check_behaviour(model, self.behaviour)
        return model


class Trust(Frozen):
    """What a machine that serves a model knows beforehand."""

    root: Sha256 = Field(description="digest of the project's first key ring")
    base: str = Field(description="the base model: embedded, or its folder on this machine")
    encryption_key: str = Field(description="URI of the key that unwraps the package's data key")
    keys: Path = Field(description="folder from which a relative file: URI is taken")
    ring: Sha256 | None = Field(
        default=None, description="digest of a key ring that a release must bring; None: by 0.1.0"
    )
    served: Path | None = Field(description="file that remembers what was served; None: the caller has the whole log")


def read_trust(path: Path) -> Trust:
    """Read a file that `sdk keys trust` wrote; InvalidInput says what is wrong with it."""
    try:
        fields = json.loads(read_regular(path, KEY_BYTES))
        root = str(fields["root"])
        return Trust(**fields, keys=path.resolve().parent, served=state_folder() / "served" / f"{root}.checkpoint")
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InvalidInput(f"{path} is not a file that `sdk keys trust` wrote.") from None


def trust_from_environment() -> Trust:
    """Read the file that the environment variable SDK_TRUST names."""
    path = os.environ.get(TRUST)
    if not path:
        raise InvalidInput(f"{TRUST} names no file; make one with `sdk keys trust FILE`, or set SDK_PROJECT.")
    return read_trust(Path(path))


def admit(folder: Path, trust: Trust) -> AdaptedModel:
    """Load the model of a release's folder, as MLflow gives it out, after the steps above."""
    return admit_package(folder / PACKAGE, read_evidence(folder / GOVERNANCE), trust)


def admit_package(package: Path, evidence: Evidence, trust: Trust, expected: str | None = None) -> AdaptedModel:
    """Load a package's model after the steps above. expected: as for `admitted`."""
    with admitted(package, evidence, trust, expected) as parts:
        return parts.load()


@contextmanager
def admitted(package: Path, evidence: Evidence, trust: Trust, expected: str | None = None) -> Iterator[Admitted]:
    """Give out what a package's model is made of, after steps 1 to 11; steps 12 and 13 are the block, step 14 its
    end.

    expected: the package's identity, where the caller knows which it must be.
    """
    rings = open_rings(evidence.rings, trust.root, "the release's key rings")  # 1
    ring = rings[-1]
    names = list_files(package)  # a link, a special file or folders of any depth are not even copied
    trainer = find_trainer(ring, _claimed_signer(package), "The package")
    with _private(package, names, signed_sizes(package, str(trainer.public_key))) as folder:  # 2
        manifest = open_package(folder, None, str(trainer.public_key), expected)  # 3, 4
        identity = sha256(canonical_json(manifest.model_dump(mode="json")))  # the one form, as was checked
        promotion, log = prove_promotion(evidence, rings, log_origin(trust.root))
        _check_standing(trainer, promotion)  # 5
        policy = read_policy_bytes(evidence.policy, manifest.policy_digest, POLICY, "the package was sealed under")
        in_force = prove_rules(evidence, rings, log, manifest, identity)  # 6
        now = max(datetime.now(UTC), datetime.fromisoformat(promotion.time))  # a clock that is set back gains nothing
        case = Case(identity, policy, in_force, evidence.report, ring, evidence.decisions, trainer.key_id, now)
        require_allowed(judge(case))  # 7
        _check_promotion(promotion, evidence, rings, identity, policy)  # 8
        _check_rings(rings, trust)
        if trust.served is not None:
            check_fresh(trust.served, evidence, rings, log, promotion)  # 9
        config, weights = unseal(folder, manifest, _data_key(evidence, manifest, trust))  # 10
        try:
            pinned = _pinned_base(trust, manifest, read_template(folder, manifest))
            with open_base(pinned) as base:  # 11
                behaviour = read_behaviour(folder, manifest)
                yield Admitted(folder, manifest, base, _quantization(manifest), config, weights, behaviour)  # 12, 13
        finally:
            wipe(weights)  # 14
        if trust.served is not None:
            write_served(trust.served, log, promotion, rings)


def _data_key(evidence: Evidence, manifest: Manifest, trust: Trust) -> crypto.Secret | None:
    """Unwrap the package's data key. None if its weights are not encrypted."""
    wrapped = read_wrapped(evidence.data_key, DATA_KEY) if evidence.data_key else manifest.wrapped_data_key
    if wrapped is None:
        return None
    return crypto.open_wrapper(trust.encryption_key, trust.keys).unwrap(wrapped, key_context(manifest.package_id))


@contextmanager
def _private(package: Path, names: Sequence[str], sizes: Mapping[str, int]) -> Iterator[Path]:
    """Copy the package's files, each of the size that was signed, to where only this user can read them."""
    faults = [f"{name} is missing." for name in sorted(sizes.keys() - set(names))]
    faults += [f"{name} is not among the signed files." for name in names if name not in sizes]
    if faults:
        raise Tampered(f"The files of {package} are not those that were signed.", faults, remedy=Remedy.COPY)
    with tempfile.TemporaryDirectory(prefix="sdk-") as made:
        folder = Path(made) / PACKAGE
        for name in names:
            copy_file(package / name, folder / name, Remedy.COPY, sizes[name])
        yield folder


def _claimed_signer(folder: Path) -> str:
    """Read which key the package claims to be signed by: it picks the key to check with, and proves nothing."""
    try:
        return str(json.loads(read_file(folder, MANIFEST)[1] or b"")["signing_key"])  # no link, and no more than may be
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Tampered(f"The package has no {MANIFEST} that names its signing key.", remedy=Remedy.COPY) from None


def _check_standing(trainer: Member, promotion: Event) -> None:
    why = why_not_valid(trainer, datetime.fromisoformat(promotion.time))
    if why is not None:
        raise Tampered(
            f"The key of {trainer.name}, who signed the package, does not count: {why}.", remedy=Remedy.RELEASE
        )


def _check_promotion(
    promotion: Event, evidence: Evidence, rings: tuple[Ring, ...], identity: str, policy: Policy
) -> None:
    if (promotion.action, promotion.phase) != ("promote", "finished"):
        raise Tampered(
            f"{LINE} is the event of another action ({promotion.action} {promotion.phase}).", remedy=Remedy.RELEASE
        )
    objects = promotion.objects
    pairs = (
        ("package", objects.get("package"), identity),
        ("policy", objects.get("policy"), policy.digest),
        ("report", objects.get("report"), evidence.report),
    )
    faults = [another(what, promoted, here) for what, promoted, here in pairs if promoted != here]
    if objects.get("ring") not in {ring.digest for ring in rings}:
        faults.append(another("ring", objects.get("ring"), f"{len(rings)} others, the newest {rings[-1].digest}"))
    # decisions that came after the promotion may follow those that it names: the verdict has judged all of them
    decided = [sha256(envelope) for envelope in evidence.decisions]
    named = [digest for name, digest in sorted(objects.items()) if name.startswith("decision.")]
    if decided[: len(named)] != named:
        first = next((one, other) for one, other in zip_longest(named, decided) if one != other)
        faults.append(another("list of decisions", *first))
    if faults:
        raise Tampered(f"{LINE} is the promotion of something else.", faults, remedy=Remedy.RELEASE)


def _check_rings(rings: tuple[Ring, ...], trust: Trust) -> None:
    """Tampered where the release lacks the key ring that was in force when the trust file was written."""
    if trust.ring is not None and trust.ring not in {ring.digest for ring in rings}:
        raise Tampered(
            "The release lacks the key ring that was in force when the trust file of this machine was written.",
            remedy=Remedy.RELEASE,
            expected=trust.ring,
            found=f"{len(rings)} others, the newest {rings[-1].digest}",
        )


def _pinned_base(trust: Trust, manifest: Manifest, template: str | None) -> PinnedBase:
    if not isinstance(locate_base(trust.base), Path):
        raise InvalidInput(f"The base {trust.base} must be a folder on this machine; download it first.")
    return PinnedBase(trust.base, manifest.base_digest, template)


def _check_behaviour(model: AdaptedModel, behaviour: Behaviour) -> None:
    found = check_model(model.model, Chat(model.tokenizer), behaviour, AT_LOAD)
    if not found.passed:
        raise Refused(
            "The loaded model does not behave as the adapted model did when it was evaluated, although all its files "
            "are the sealed ones: this machine or its libraries compute it otherwise. Install the versions that the "
            "package's manifest.json names under `code`, then load again; if it stays so, evaluate and register anew "
            f"on this machine's versions. Found: {found.brief()}.",
            found.faults,
        )


def _quantization(manifest: Manifest) -> Quantization:
    try:
        return Quantization.model_validate({**manifest.quantization, "method": manifest.method})
    except ValidationError:
        how = ", ".join([manifest.method, *(f"{name} {value}" for name, value in manifest.quantization.items())])
        raise InvalidInput(f"This version lacks the method that trained the package: {how}.") from None


def trust_bytes(trust: Trust) -> bytes:
    """Write the trust file that `read_trust` reads."""
    return canonical_json(trust.model_dump(mode="json", include={"root", "base", "encryption_key", "ring"})) + b"\n"
