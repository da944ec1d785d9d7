"""What a package says of itself: manifest.json, whose SHA-256 is the package's identity."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import Distribution, distributions
from typing import Annotated

from pydantic import Field

from sdk.files.store import CHAT_TEMPLATE
from sdk.records import FileRef, Frozen, Sha256, is_empty, sha256
from sdk.seal.tensors import Tensor

ADAPTER = "adapter"  # the folder of the plain adapter in a training run's folder
MANIFEST = "manifest.json"
SIGNATURE = "model.sig"
BOM = "bom.json"
CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
SEALED_WEIGHTS = f"{WEIGHTS}.floe"
BEHAVIOUR = "behaviour.json"  # how the adapted model and its base behave; packages of earlier versions have none
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", CHAT_TEMPLATE)

# Names in ASCII, and figures as text: canonical_json is RFC 8785 for what has no floats and no rare names.
Name = Annotated[str, Field(pattern=r"^[ -~]+$")]


class Facts(Frozen):
    """What a manifest says besides its files and keys."""

    package_id: str = Field(pattern=r"^[0-9a-f]{32}$", description="random; wrapped key and ciphertext are bound to it")
    version: int = Field(ge=1, description="of this project's packages, counted; bound into the ciphertext")
    project: str
    base: str
    base_revision: str | None = Field(description="commit that the hub gave; None: the base is not from a hub")
    base_digest: Sha256 = Field(description="weights, configuration, tokenizer and chat template of the base")
    method: str
    quantization: dict[Name, Name | bool] = Field(
        default={}, exclude_if=is_empty, description="how the base was quantized, where that is not its usual way"
    )
    records: dict[Name, Sha256] = Field(description="run, scores, scrubbed, advice -> digest")
    data: dict[Name, Sha256] = Field(description="split -> SHA-256 of the scrubbed rows")
    scores: dict[Name, str] = Field(description="metric on the test questions -> figure, in decimal")
    policy: str = Field(description="id@version")
    policy_digest: Sha256
    domain: str = Field(description="name@version")
    domain_digest: Sha256
    prompt: str = Field(description="the system message that the adapter was trained with")
    max_new_tokens: int = Field(gt=0)
    code: dict[Name, str] = Field(description="package -> version that trained")
    lock: Sha256 = Field(description="every installed distribution at sealing: lines `name==version`, sorted")
    template: Sha256 | None = Field(
        default=None, exclude_if=is_empty, description="of the chat template that was named; None: the base's own"
    )


class DescribedFacts(Facts):
    """The facts with what the bill of materials alone says of the base; a manifest has had its fields since 0.1.0."""

    base_source: str = ""
    base_license: str = ""


class Manifest(Facts):
    files: tuple[FileRef, ...] = Field(description="every file of the package but manifest and signature")
    tensors: tuple[Tensor, ...] = Field(description="of the weights, in the order of the file")
    weights_sha256: Sha256 = Field(description="of the plaintext")
    signing_key: Sha256 = Field(description="fingerprint of the key that signed the package")
    wrapped_data_key: str | None = Field(description="by the wrapping key for this package; None: plain weights")
    key_id: str | None = Field(description="the wrapping key's id")

    @property
    def weights(self) -> str:
        """The file that holds the weights."""
        return WEIGHTS if self.wrapped_data_key is None else SEALED_WEIGHTS


def key_context(package_id: str) -> Mapping[str, str]:
    """Return what a package's data key is wrapped for; a re-wrapped one keeps it."""
    return {"package": package_id}


def lock_digest() -> str:
    """Compute the SHA-256 over `name==version` of every distribution that is installed here, one a line, sorted."""
    lines = {f"{name.lower()}=={version}\n" for name, version in map(_name_and_version, distributions()) if name}
    return sha256("".join(sorted(lines)).encode())


def _name_and_version(installed: Distribution) -> tuple[str | None, str | None]:
    """Read both from the lines of its headers: `metadata` parses all of it, which takes 20 times as long."""
    text = next(filter(None, map(installed.read_text, ("METADATA", "PKG-INFO", ""))), "")
    headers = dict(line.split(": ", 1) for line in text.partition("\n\n")[0].splitlines() if ": " in line)
    return headers.get("Name"), headers.get("Version")
