"""What lies in a base's folder: all that a library may read is in its digest, and nothing else is there to be read."""

import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import transformers

from sdk.data.base_folder import BASE_PATTERNS, IGNORED_PATTERNS, BaseFolder, _matches
from sdk.errors import InvalidInput
from sdk.model import PinnedBase, base_digest, load_tokenizer, open_base, resolve_base
from sdk.model.load import load_base, load_opened
from tests.tiny import make_base

Spoil = Callable[[Path], None]
IDS = torch.tensor([[5, 9, 70, 40]])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture
def folder(base: Path, tmp_path: Path) -> Path:
    return shutil.copytree(base, tmp_path / "folder")


def logits(folder: Path) -> torch.Tensor:
    with torch.no_grad():
        values: torch.Tensor = load_base(str(folder), "lora")[0](IDS).logits
    return values


def put(name: str, content: str = "{}") -> Spoil:
    def spoil(folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)

    return spoil


def edit(name: str, **changes: Any) -> Spoil:
    def spoil(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps((json.loads(path.read_text()) if path.exists() else {}) | changes))

    return spoil


def index(shard: str, keep: bool = False) -> Spoil:
    """An index that sends readers to another file; keep: beside the honest one."""

    def spoil(folder: Path) -> None:
        weights = safetensors.torch.load_file(folder / "model.safetensors")
        target = Path(os.path.normpath(folder / shard))
        target.parent.mkdir(exist_ok=True)
        (folder / "model.safetensors").rename(target) if not keep else None
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": dict.fromkeys(weights, shard)}))

    return spoil


def link(name: str, elsewhere: str = "../elsewhere") -> Spoil:
    def spoil(folder: Path) -> None:
        target = Path(os.path.normpath(folder / elsewhere))
        target.parent.mkdir(parents=True, exist_ok=True)
        (folder / name).rename(target)
        (folder / name).symlink_to(elsewhere)

    return spoil


def pipe(name: str) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return spoil


def sparse(name: str) -> Spoil:
    def spoil(folder: Path) -> None:
        with (folder / name).open("r+b") as file:
            file.truncate(12 << 30)

    return spoil


def become_a_folder(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    (folder / "chat_template.jinja").mkdir()


ATTACKS = {
    "a second chat template": (put("additional_chat_templates/default.jinja", "evil"), "additional_chat_templates"),
    "an adapter in the base": (put("adapter_config.json"), "adapter_config.json makes libraries add"),
    "a shard in a folder": (index("sub/model.safetensors"), "names 'sub/model.safetensors'"),
    "a shard outside": (index("../model.safetensors"), "names '../model.safetensors'"),
    "a shard that is a pickle": (index("weights.bin"), "names 'weights.bin'"),
    "a shard by its whole path": (index("/tmp/sdk-attack/model.safetensors", keep=True), "names '/tmp/sdk-attack"),
    "an index beside the weights": (index("model.safetensors", keep=True), "both model.safetensors and"),
    "an index of nothing": (edit("model.safetensors.index.json", weight_map={}), "has no weight_map"),
    "code for generation": (put("custom_generate/generate.py"), "custom_generate is no part"),
    "code of a model": (put("modeling_llama.py"), "modeling_llama.py is code"),
    "a processor": (put("processor_config.json"), "processor_config.json is no part"),
    "a preprocessor": (put("preprocessor_config.json"), "preprocessor_config.json is no part"),
    "a vocabulary of words": (put("vocab.txt"), "vocab.txt is no part"),
    "a vocabulary of pieces": (put("spiece.model"), "spiece.model is no part"),
    "a vocabulary of Mistral": (put("tekken.json"), "tekken.json is no part"),
    "a vocabulary of tiktoken": (put("tiktoken.model"), "tiktoken.model is no part"),
    "a pickle beside the weights": (put("pytorch_model.bin"), "pytorch_model.bin holds pickles"),
    "weights of TensorFlow": (put("tf_model.h5"), "tf_model.h5 is no part"),
    "weights of Flax": (put("flax_model.msgpack"), "flax_model.msgpack is no part"),
    "weights of llama.cpp": (put("model.gguf"), "model.gguf is no part"),
    "settings of quantization": (put("quantize_config.json"), "quantize_config.json is no part"),
    "a folder of another format": (put("original/params.json"), "original is no part"),
    "code by name": (edit("config.json", auto_map={"AutoModel": "x--y.Z"}), "code of its own"),
    "kernels by name": (edit("config.json", attn_implementation="evil/kernels"), "code of a repository"),
    "the configuration elsewhere": (link("config.json"), "config.json cannot be opened"),
    "the weights elsewhere": (link("model.safetensors"), "model.safetensors cannot be opened"),
    "a blob of no cache": (link("config.json", "../../blobs/../config"), "config.json cannot be opened"),
    "a tokenizer that never comes": (pipe("tokenizer.json"), "tokenizer.json is no ordinary file"),
    "weights that never come": (pipe("model.safetensors"), "model.safetensors is no ordinary file"),
    "a tokenizer of 12 GB": (sparse("tokenizer.json"), "tokenizer.json has 12884901888 bytes"),
    "a template that is a folder": (become_a_folder, "chat_template.jinja is no ordinary file"),
}


@pytest.mark.parametrize(("spoil", "said"), ATTACKS.values(), ids=ATTACKS)
def test_what_the_digest_would_leave_out_is_refused_by_name(folder: Path, spoil: Spoil, said: str) -> None:
    assert resolve_base(str(folder)) == folder
    spoil(folder)
    for use in (resolve_base, lambda place: load_base(place, "lora")):
        with pytest.raises(InvalidInput, match=re.escape(said)):
            use(str(folder))


def test_what_nobody_reads_may_lie_there(base: Path, folder: Path) -> None:
    for name in ("README.md", "LICENSE", "LICENSE.txt", "NOTICE", ".gitattributes", "logo.png", "USE_POLICY.md"):
        (folder / name).write_text("x")
    (folder / ".cache/huggingface").mkdir(parents=True)
    assert resolve_base(str(folder)) == folder
    assert base_digest(folder) == base_digest(base)
    assert torch.equal(logits(folder), logits(base))


def shard(folder: Path, count: int = 2) -> None:
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names, parts = sorted(weights), [f"model-{part:05}-of-{count:05}.safetensors" for part in range(1, count + 1)]
    for place, part in enumerate(parts):
        some = {name: weights[name] for name in names[place::count]}
        safetensors.torch.save_file(some, folder / part, {"format": "pt"})
    listed = {name: parts[place % count] for place, name in enumerate(names)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": listed}))


def test_shards_by_plain_names_are_the_same_model(base: Path, folder: Path) -> None:
    shard(folder, 3)
    assert torch.equal(logits(folder), logits(base))
    assert base_digest(folder) != base_digest(base)


def as_in_a_cache(base: Path, cache: Path) -> Path:
    """A base as the hub's client leaves it: a snapshot of links to blobs."""
    snapshot = cache / "models--a--b/snapshots/0123"
    snapshot.mkdir(parents=True)
    (cache / "models--a--b/blobs").mkdir()
    for number, path in enumerate(sorted(base.iterdir())):
        shutil.copy(path, cache / f"models--a--b/blobs/{number:040x}")
        (snapshot / path.name).symlink_to(f"../../blobs/{number:040x}")
    return snapshot


def test_the_links_of_a_hub_cache_are_followed_once(base: Path, tmp_path: Path) -> None:
    snapshot = as_in_a_cache(base, tmp_path)
    assert resolve_base(str(snapshot)) == snapshot
    assert base_digest(snapshot) == base_digest(base)
    assert torch.equal(logits(snapshot), logits(base))
    blob = (snapshot / "config.json").resolve()
    blob.rename(tmp_path / "elsewhere")
    blob.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InvalidInput, match=r"config\.json cannot be opened"):
        resolve_base(str(snapshot))


@pytest.mark.parametrize("name", ["tokenizer_config.json", "special_tokens_map.json"])
@pytest.mark.parametrize("key", ["tokenizer_file", "vocab_file", "chat_template_file", "fast_tokenizer_files"])
def test_files_that_a_tokenizers_settings_name_are_not_read(folder: Path, tmp_path: Path, name: str, key: str) -> None:
    """Real releases have such settings, left over from who saved them, so they are passed over, not refused."""
    honest = load_tokenizer(folder)
    other = make_base(tmp_path / "other", template="evil")
    tokens = json.loads((other / "tokenizer.json").read_text())
    tokens["added_tokens"].append(tokens["added_tokens"][0] | {"id": 319, "content": "<|evil|>"})
    (other / "tokenizer.json").write_text(json.dumps(tokens))
    target: Any = str(other / "tokenizer.json")
    edit(name, **{key: [target] if key.endswith("s") else target})(folder)
    loaded = load_tokenizer(folder)
    assert loaded.get_vocab() == honest.get_vocab()
    assert loaded.get_chat_template() == honest.get_chat_template()


def hidden(data: bytes) -> bytes:
    return data + b"\0" * 64


def overlapping(data: bytes) -> bytes:
    """Two tensors in the same place: what libraries make of it differs."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    names = [name for name in header if name != "__metadata__"]
    first = next(name for name in names if "q_proj" in name)
    for name in names:
        if header[name]["shape"] == header[first]["shape"]:
            header[name]["data_offsets"] = header[first]["data_offsets"]
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def too_long(data: bytes) -> bytes:
    return (1 << 62).to_bytes(8, "little") + data[8:]


def cut(data: bytes) -> bytes:
    return data[:-1]


@pytest.mark.parametrize("change", [hidden, overlapping, too_long, cut, lambda data: b"", lambda data: b"[]" * 9])
def test_weights_that_are_no_whole_file_are_damaged(folder: Path, change: Callable[[bytes], bytes]) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(InvalidInput, match="damaged"):
        load_base(str(folder), "lora")


def test_every_file_that_transformers_names_is_in_the_digest_or_refused() -> None:
    """By its source: the names of weights, settings, templates, and of every tokenizer's files."""
    root = Path(transformers.__file__).parent
    texts = [path.read_text(encoding="utf-8") for path in root.glob("models/*/tokenization*.py")]
    named = {name for text in texts for name in re.findall(r'"\w*(?:file|vocab|spm)"\s*:\s*"([\w.-]+\.\w+)"', text)}
    utils = [path.read_text(encoding="utf-8") for path in [*root.glob("*.py"), *root.glob("utils/*.py")]]
    named |= {name for text in utils for name in re.findall(r'\n[A-Z_]+_(?:NAME|FILE|DIR) = "([\w.-]+)"', text)}
    named |= {"additional_chat_templates", "custom_generate", "adapter_config.json", "adapter_model.safetensors"}
    assert {"pytorch_model.bin", "processor_config.json", "spiece.model", "chat_template.jinja"} <= named
    assert [name for name in sorted(named) if _matches(name, IGNORED_PATTERNS)] == []


def test_no_pattern_is_both() -> None:
    samples = [pattern.replace("*", "x") for pattern in BASE_PATTERNS]
    assert [name for name in samples if _matches(name, IGNORED_PATTERNS)] == []


_watched: list[str] | None = None


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if _watched is not None and event in ("open", "os.listdir", "os.scandir"):
        _watched.append(str(arguments[0]))


sys.addaudithook(_watch)


def test_once_it_is_open_nothing_of_a_base_is_read_by_its_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also not by what Python cannot see: the folder is gone while its model is loaded."""
    seen: list[str] = []
    honest = logits(folder)
    once = BaseFolder.require

    def leave(self: BaseFolder, digest: str) -> None:
        once(self, digest)
        shutil.rmtree(folder)
        monkeypatch.setattr(sys.modules[__name__], "_watched", seen)

    monkeypatch.setattr(BaseFolder, "require", leave)
    with open_base(PinnedBase(str(folder), base_digest(folder))) as opened:
        model, _ = load_opened(opened, "lora")
    monkeypatch.setattr(sys.modules[__name__], "_watched", None)
    assert [path for path in seen if path.startswith(str(folder))] == []
    with torch.no_grad():
        assert torch.equal(model(IDS).logits, honest)
