"""A base model's folder as a closed set of files, each opened once and then read by its descriptor only.

What a library may read of a base is in the set; what nobody reads may lie beside it; anything else is a fault. Small
files are read once, when the folder is opened. Weights are hashed block by block, and a block that is read later must
be the one that was hashed.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from sdk.crypto.block_tags import BLOCK_BYTES, BlockTags
from sdk.errors import InvalidInput, Remedy, StepFailed, Tampered
from sdk.files.durable import create_file, write_all
from sdk.files.regular_files import TEMPLATE_BYTES, open_folder, open_inside
from sdk.files.store import CHAT_TEMPLATE, EMBEDDED, embedded_base
from sdk.records import canonical_json, sha256

WEIGHTS = ".safetensors"
INDEX = "model.safetensors.index.json"
# What a base consists of: everything that decides what the model computes from a text. Its digest is over these, so a
# pattern that is taken away or added gives other bases than ordinary ones another digest.
BASE_PATTERNS = (
    "config.json",
    "generation_config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "tokenizer*.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.*",
)
# What may lie beside them, because neither transformers nor tokenizers nor peft reads it.
IGNORED_PATTERNS = (
    *("README*", "LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*", "CITATION*", "*.md", "*.pdf"),
    *("*.png", "*.jpg", "*.jpeg", "*.gif", "*.svg", "*.webp"),
    *(".git*", ".cache", ".huggingface", ".DS_Store"),  # `hf download --local-dir` leaves .cache
    *("__init__.py", "__pycache__"),  # the embedded base lies in a folder of this package
)
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.bin.index.json")
# A hub cache's snapshots/REVISION/NAME is a link to this, and to nothing else.
_BLOB = re.compile(r"\.\./\.\./blobs/[0-9A-Za-z]+")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_TRUE = {"1", "true", "yes", "on"}
CARD = "README.md"  # its model card, which is no part of what its digest covers
_SMALL_BYTES = 128 << 20  # of a file that is no weights; the largest known tokenizer.json has 35 MB


class PinnedBase(NamedTuple):
    """A base model with the digest that it must have; without one, whatever lies there is taken."""

    place: str
    digest: str
    template: str | None = None  # source of the chat template in the place of the base's own


Base = str | PinnedBase  # "embedded", a folder, or, where HF_HUB_OFFLINE is not set, a name on the hub


def _place(base: Base) -> str:
    return base if isinstance(base, str) else base.place


def locate_base(base: Base) -> Path | str:
    """Return the folder of a base model, or the hub name of one that has to be fetched."""
    place = _place(base)
    if place == EMBEDDED:
        return embedded_base()
    path = Path(place).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise InvalidInput(f"Base {place} is a file; name the folder that holds config.json and the weights.")
    if not _HUB_NAME.fullmatch(place):
        raise InvalidInput(f"Base {place} does not exist; name '{EMBEDDED}', a folder or a model on the hub.")
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in _TRUE | {"y", "t"}:
        raise InvalidInput(
            f"Base {place} is no folder here, and HF_HUB_OFFLINE forbids fetching it; "
            f"download it elsewhere (`hf download {place} --local-dir FOLDER`) and name the folder."
        )
    return place


def base_name(base: Base) -> str:
    """Return the name that records and adapters carry: never a path."""
    place = _place(base)
    path = Path(place).expanduser()
    return path.resolve().name if place != EMBEDDED and path.is_dir() else place


def base_from_json(value: str | Sequence[str]) -> Base:
    """Return the base that a request to another process names."""
    return value if isinstance(value, str) else PinnedBase(*value)


class WeightsFile:
    """A file of weights, read by its descriptor. Once it is hashed, only the bytes that were hashed come out of it."""

    def __init__(self, path: Path, descriptor: int, size: int) -> None:
        self.path, self.size = path, size
        self.changed = False  # whether a block was found to be another one
        self._descriptor = descriptor
        self._tags: BlockTags | None = None

    def hash(self) -> str:
        """Return the file's SHA-256, and remember each block's tag."""
        digest, tags = hashlib.sha256(), BlockTags()
        buffer = memoryview(bytearray(BLOCK_BYTES))
        for start in range(0, self.size, BLOCK_BYTES):
            block = buffer[: min(BLOCK_BYTES, self.size - start)]
            self._fill(start, block)
            digest.update(block)
            tags.append(block)
        self._tags = tags
        return digest.hexdigest()

    def read_into(self, start: int, target: memoryview) -> None:
        """Read as many bytes as the target takes. Tampered where they are in a block that is not the hashed one."""
        if self._tags is None:
            self._fill(start, target)
            return
        end, edge = start + len(target), memoryview(bytearray(BLOCK_BYTES))
        for number in range(start // BLOCK_BYTES, -(-end // BLOCK_BYTES)):
            first = number * BLOCK_BYTES
            last = min(first + BLOCK_BYTES, self.size)
            low, high = max(first, start), min(last, end)
            whole = (low, high) == (first, last)
            # Checked where it will be used: a block of which only a part is wanted is copied after its check.
            block = target[low - start : high - start] if whole else edge[: last - first]
            self._fill(first, block)
            if not self._tags.holds(number, block):
                raise self._other()
            if not whole:
                target[low - start : high - start] = block[low - first : high - first]

    def read(self, start: int, size: int) -> bytes:
        """Read so many bytes, as read_into() does."""
        data = bytearray(size)
        self.read_into(start, memoryview(data))
        return bytes(data)

    def close(self) -> None:
        os.close(self._descriptor)

    def _fill(self, start: int, target: memoryview) -> None:
        done = 0
        while done < len(target):
            try:
                count = os.preadv(self._descriptor, [target[done:]], start + done)
            except OSError as error:
                raise StepFailed(f"{self.path} cannot be read ({error.strerror}); mend the disk.") from error
            if count == 0:
                raise self._other()
            done += count

    def _other(self) -> Tampered:
        self.changed = True
        return Tampered(f"{self.path} was changed while it was read.", remedy=Remedy.BASE)


class BaseFolder:
    """The open files of a base. A context manager, which closes them.

    small: bytes of each file of the base that is no weights; weights: the others; card: of its model card, empty where
    there is none that can be read; template: source of the chat template that is used instead of the base's own, which
    the digest knows nothing of; faults: everything else that lies there and may not. Raises InvalidInput where the
    folder cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.small: dict[str, bytes] = {}
        self.weights: dict[str, WeightsFile] = {}
        self.faults: list[str] = []
        self.card = b""
        self.template: str | None = None
        self._digest: str | None = None
        try:
            directory = open_folder(path)
        except OSError as error:
            raise InvalidInput(f"{path} cannot be read as a base's folder ({error.strerror}).") from error
        try:
            self._open_files(directory, sorted(os.listdir(directory)))
        except BaseException:
            self.close()
            raise
        finally:
            os.close(directory)

    def __enter__(self) -> BaseFolder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        while self.weights:
            self.weights.popitem()[1].close()

    def small_with_template(self) -> dict[str, bytes]:
        """Return the small files as they are used: where a chat template was named, with it and without others."""
        if self.template is None:
            return dict(self.small)
        files = {name: data for name, data in self.small.items() if not name.startswith("chat_template.")}
        # whoever uses a file that is no JSON object says what is wrong with it
        with suppress(KeyError, ValueError, AttributeError, RecursionError):
            config = json.loads(files["tokenizer_config.json"])
            config.pop("chat_template", None)
            files["tokenizer_config.json"] = canonical_json(config)
        return {**files, CHAT_TEMPLATE: self.template.encode()}

    def digest(self) -> str:
        """Return the SHA-256 over canonical JSON of [name, size, SHA-256] of each file, in the order of the names.

        The weights are hashed on the first call, one file a core.
        """
        if self._digest is None:
            if not self.small and not self.weights:
                raise InvalidInput(f"{self.path} holds no file of a model.")
            listed = {name: (len(data), sha256(data)) for name, data in self.small.items()}
            with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
                for name, hashed in zip(self.weights, pool.map(WeightsFile.hash, self.weights.values()), strict=True):
                    listed[name] = (self.weights[name].size, hashed)
            self._digest = sha256(canonical_json([[name, *listed[name]] for name in sorted(listed)]))
        return self._digest

    def require(self, digest: str) -> None:
        """Raise Tampered unless this is the base of that digest."""
        if self.digest() != digest:
            raise Tampered(
                f"{self.path} is not the base model that was recorded.",
                remedy=Remedy.BASE,
                expected=digest,
                found=self.digest(),
            )

    def require_unchanged(self) -> None:
        """Raise Tampered where a block that was read was not the hashed one, whoever dropped that error on its way."""
        for weights in self.weights.values():
            if weights.changed:
                raise Tampered(f"{weights.path} was changed while it was read.", remedy=Remedy.BASE)

    def _open_files(self, directory: int, names: Sequence[str]) -> None:
        pickles = [name for name in names if _matches(name, _PICKLES)]
        if CARD in names:
            self._read_card(directory)
        for name in names:
            if _matches(name, BASE_PATTERNS):
                self._open_file(directory, name)
            elif name not in pickles and not _matches(name, IGNORED_PATTERNS):
                self.faults.append(_stray_fault(name))
        if pickles and self.weights:
            self.faults += [f"{name} holds pickles, which can run code; move it out of the folder" for name in pickles]
        elif pickles:
            self.faults.append(
                "its weights are pickles, which can run code; convert them to safetensors (save_pretrained does) first"
            )

    def _read_card(self, directory: int) -> None:
        try:
            descriptor = _open_once(directory, CARD)
        except OSError:
            return
        try:
            status = os.fstat(descriptor)
            if stat.S_ISREG(status.st_mode) and status.st_size <= TEMPLATE_BYTES:
                self.card = WeightsFile(self.path / CARD, descriptor, status.st_size).read(0, status.st_size)
        finally:
            os.close(descriptor)

    def _open_file(self, directory: int, name: str) -> None:
        try:
            descriptor = _open_once(directory, name)
        except OSError as error:
            self.faults.append(f"{name} cannot be opened ({error.strerror}); put the file itself there")
            return
        status, kept = os.fstat(descriptor), False
        try:
            if not stat.S_ISREG(status.st_mode):
                self.faults.append(f"{name} is no ordinary file; put one there, or take it away")
            elif name.endswith(WEIGHTS):
                self.weights[name] = WeightsFile(self.path / name, descriptor, status.st_size)
                kept = True
            elif status.st_size > _SMALL_BYTES:
                self.faults.append(f"{name} has {status.st_size} bytes; at most {_SMALL_BYTES} are read")
            else:
                self.small[name] = WeightsFile(self.path / name, descriptor, status.st_size).read(0, status.st_size)
        finally:
            if not kept:
                os.close(descriptor)


def _open_once(directory: int, name: str) -> int:
    """Open a file of the folder. Of links, only those that a hub cache has are followed, and only once."""
    try:
        return open_inside(directory, name)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        target = os.readlink(name, dir_fd=directory)
        if not _BLOB.fullmatch(target):
            raise OSError(errno.ELOOP, "it is a link") from error
    return open_inside(directory, target)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _stray_fault(name: str) -> str:
    if name == "adapter_config.json":
        return f"{name} makes libraries add an adapter to the base; move it and its weights out of the folder"
    if name.endswith(".py"):
        return f"{name} is code, which is never run; move it out of the folder"
    return f"{name} is no part of a base that its digest covers; move it out of the folder"


def without_paths(config: Mapping[str, object]) -> dict[str, object]:
    """Return a tokenizer's settings without those that name files: they could lead out of the base's folder."""
    return {name: value for name, value in config.items() if not name.endswith(("_file", "_files"))}


def parse_object(name: str, data: bytes, faults: list[str]) -> Mapping[str, Any]:
    """Return a file of a base that is a JSON object, empty where it is none; why is added to the faults."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        faults.append(f"{name} is not valid JSON ({type(error).__name__}); fetch it again")
        return {}
    if not isinstance(value, dict):
        faults.append(f"{name} is not a JSON object; fetch it again")
        return {}
    return value


@contextmanager
def private_copy(opened: BaseFolder) -> Iterator[Path]:
    """Write the base's small files, as they were read when it was opened, to a folder that only this user can enter.

    Where a chat template was named, it stands in the place of the base's own. Libraries are pointed there and nowhere
    else, so that what is not in the digest is not there to be found.
    """
    with tempfile.TemporaryDirectory(prefix="sdk-base-") as private:
        for name, data in opened.small_with_template().items():
            if name == INDEX:
                continue
            if name in ("tokenizer_config.json", "special_tokens_map.json"):
                settings = parse_object(name, data, [])
                if without_paths(settings) != settings:
                    data = canonical_json(without_paths(settings))
            with create_file(Path(private) / name) as file:
                write_all(file, data)
        yield Path(private)
