"""Bases, chat text with its loss mask, adapters from memory, generation."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from peft import LoraConfig, get_peft_model
from tokenizers import AddedToken
from transformers import FalconConfig, FalconForCausalLM

from sdk.advise.candidates import Search
from sdk.advise.models import read_shape
from sdk.data import Message, Row, conversation
from sdk.errors import InvalidInput
from sdk.model import (
    Chat,
    base_digest,
    base_name,
    encode_rows,
    fetch_base,
    load,
    load_chat,
    load_tokenizer,
    resolve_base,
)
from sdk.model.adapter import adapter_config, adapter_weights, attach_adapter, check_config
from sdk.model.generate import generate, generate_ids
from sdk.model.load import compute_dtype, load_base
from sdk.records import Hardware, Needs
from sdk.train.trl_arguments import precision_notes
from tests.tiny import MARKED, UNMARKED, make_base, one_thread  # noqa: F401 - one_thread is a fixture

TURNS = [
    {"role": "user", "content": "what is x"},
    {"role": "assistant", "content": "比率 是 y"},
    {"role": "user", "content": "and z?"},
    {"role": "assistant", "content": "z"},
]
END_OUTSIDE = MARKED.replace("<|end|>{% endgeneration %}", "{% endgeneration %}<|end|>")
NO_END = MARKED.replace("{{ m['content'] }}<|end|>{% endgeneration %}", "{{ m['content'] }}{% endgeneration %}")
REWRITES_HISTORY = UNMARKED.replace("{% for m in messages %}", "{{ messages|length }}{% for m in messages %}")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("model") / "tiny-base")


def quiet(what: str, done: int, total: int | None, figures: Any) -> None:
    pass


def edit(name: str, **changes: Any) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**content, **changes}))

    return apply


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def sharded(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "a.safetensors")
    index = {"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def only_adapter(folder: Path) -> None:
    (folder / "config.json").rename(folder / "adapter_config.json")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "config.json").unlink(), "config.json is missing"),
        (only_adapter, "this is an adapter, not a base"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json is not valid JSON"),
        (edit("config.json", auto_map={"AutoModel": "x.Y"}), "code of its own"),
        (edit("tokenizer_config.json", auto_map={"AutoTokenizer": "x.Y"}), "code of its own"),
        (edit("config.json", model_type="bert", architectures=["BertForMaskedLM"]), "'bert' is an encoder"),
        (edit("config.json", model_type="nonesuch"), "model_type is not a causal language model"),
        (pickled, "weights are pickles"),
        (sharded, "b.safetensors is missing"),
        (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors is missing"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer.json is missing"),
        (lambda folder: (folder / "chat_template.jinja").unlink(), "there is no chat template"),
    ],
)
def test_folder_that_cannot_be_a_base(base: Path, tmp_path: Path, spoil: Callable[[Path], None], said: str) -> None:
    folder = shutil.copytree(base, tmp_path / "spoiled")
    assert resolve_base(str(folder)) == folder
    spoil(folder)
    with pytest.raises(InvalidInput, match=said):
        resolve_base(str(folder))


def test_every_fault_of_a_folder_is_named_at_once(base: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(base, tmp_path / "spoiled")
    pickled(folder)
    (folder / "tokenizer.json").unlink()
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(InvalidInput) as caught:
        resolve_base(str(folder))
    assert len(caught.value.faults) == 3


def test_hub_names_only_where_the_user_is_online(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InvalidInput, match="HF_HUB_OFFLINE forbids"):
        resolve_base("some/model")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    assert resolve_base("some/model") == "some/model"
    for missing in ("./some/model", str(tmp_path / "nothing"), "a/b/c", "../x"):
        with pytest.raises(InvalidInput, match="does not exist"):
            resolve_base(missing)


def test_names_of_bases_are_never_paths(base: Path) -> None:
    assert base_name(str(base)) == "tiny-base"
    assert base_name("embedded") == "embedded"
    assert base_name("some/model") == "some/model"


def test_digest_covers_weights_config_tokenizer_and_template_and_nothing_else(base: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(base, tmp_path / "copy")
    assert base_digest(folder) == base_digest(base)
    (folder / "README.md").write_text("x")
    assert base_digest(folder) == base_digest(base)
    seen = {base_digest(base)}
    for name in ("model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"):
        content = bytearray((folder / name).read_bytes())
        content[-2] ^= 1
        (folder / name).write_bytes(content)
        assert base_digest(folder) not in seen, name
        seen.add(base_digest(folder))


@pytest.mark.parametrize("template", [MARKED, UNMARKED, END_OUTSIDE], ids=["marked", "by prefix", "end outside"])
def test_the_mask_covers_every_answer_and_its_end_token(base: Path, template: str) -> None:
    tokenizer = load_tokenizer(base)
    tokenizer.chat_template = template
    chat = Chat(tokenizer)
    encoded = chat.encode(TURNS)
    learned = [token for token, wanted in zip(encoded.input_ids, encoded.in_loss, strict=True) if wanted]
    assert tokenizer.decode(learned) == "比率 是 y<|end|>z<|end|>"
    assert encoded.input_ids[: len(chat.prompt_ids(TURNS[:1]))] == chat.prompt_ids(TURNS[:1])
    assert [label for label in encoded.labels if label != -100] == learned
    assert chat.stop_ids == (tokenizer.eos_token_id,)


@pytest.mark.parametrize(
    ("template", "said"), [(NO_END, "no special token"), (REWRITES_HISTORY, "the answers cannot be found")]
)
def test_templates_that_cannot_be_trained_are_refused(base: Path, template: str, said: str) -> None:
    tokenizer = load_tokenizer(base)
    tokenizer.chat_template = template
    with pytest.raises(InvalidInput, match=said):
        Chat(tokenizer)


def row(name: str, question: str, answer: str) -> Row:
    messages = (Message(role="user", content=question), Message(role="assistant", content=answer))
    return Row(id=name, language="en", messages=messages)


def test_every_row_that_cannot_be_used_is_named_and_no_text_shown(base: Path) -> None:
    chat = load_chat(str(base))
    rows = [row("good", "a", "b"), row("long", "secret " * 40, "b"), row("control", "<|end|>secret", "b")]
    length = len(chat.encode(conversation(rows[1], "brief")).input_ids)
    with pytest.raises(InvalidInput) as caught:
        encode_rows(chat, rows, "brief", 60)
    assert [fault.split(":")[0] for fault in caught.value.faults] == ["row long", "row control"]
    assert f"{length} tokens" in caught.value.faults[0]
    causes = "1 longer than 60 tokens, 1 with control tokens of the base"
    assert caught.value.message == f"2 of 3 rows cannot be used; none is cut or left out: {causes}."
    assert "secret" not in str(caught.value)
    assert len(encode_rows(chat, rows[:2], "brief", length)) == 2


def test_the_prompt_is_added_only_where_there_is_none() -> None:
    given = row("x", "a", "b")
    own = Row(id="y", language="en", messages=(Message(role="system", content="mine"), *given.messages))
    assert [m["content"] for m in conversation(given, "brief")] == ["brief", "a", "b"]
    assert [m["content"] for m in conversation(own, "brief")] == ["mine", "a", "b"]
    assert [m["content"] for m in conversation(given, "")] == ["a", "b"]


@pytest.mark.parametrize(
    ("method", "stored"), [("lora", torch.float32), ("qlora-4bit", torch.uint8), ("qlora-8bit", torch.int8)]
)
def test_methods_load_as_they_say(base: Path, method: Any, stored: torch.dtype) -> None:
    if method == "lora" and torch.cuda.is_available():
        stored = torch.bfloat16
    model, _ = load_base(str(base), method)
    layer = model.get_submodule("model.layers.0.self_attn.q_proj")
    assert layer.weight.dtype == stored
    assert not model.training
    if method == "qlora-4bit":
        state = layer.weight.quant_state
        assert (state.quant_type, state.nested) == ("nf4", True)


def test_a_method_that_would_quantize_nothing_is_refused_and_not_advised(base: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(base, tmp_path / "base")
    sizes = {"vocab_size": 320, "hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    FalconForCausalLM(FalconConfig(**sizes, bos_token_id=2, eos_token_id=2)).save_pretrained(folder)
    assert load_base(str(folder), "lora")[0].num_parameters() > 0
    for method in ("qlora-4bit", "qlora-8bit"):
        with pytest.raises(InvalidInput, match=f"{method} would quantize nothing, .* falcon "):
            load_base(str(folder), method)  # type: ignore[arg-type]
    methods = Search(
        read_shape(folder / "config.json"), Hardware(gpu_count=1, bitsandbytes=("4bit", "8bit")), Needs()
    ).methods()
    assert methods == ("lora",)


def test_weights_that_do_not_fit_the_config_are_refused(base: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(base, tmp_path / "spoiled")
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    lost = next(name for name in weights if "layers.1" in name)
    del weights[lost]
    safetensors.torch.save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(InvalidInput, match="is missing"):
        load_base(str(folder), "lora")
    (folder / "model.safetensors").write_bytes((base / "model.safetensors").read_bytes()[:-100])
    with pytest.raises(InvalidInput, match="damaged"):
        load_base(str(folder), "lora")


def test_a_tokenizer_larger_than_the_model_is_refused(base: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(base, tmp_path / "spoiled")
    tokenizer = load_tokenizer(folder)
    tokenizer.add_tokens([f"word{place}" for place in range(100)])
    tokenizer.save_pretrained(folder)
    with pytest.raises(InvalidInput, match=r"tokenizer has 3\d\d tokens, the model only 320"):
        load_base(str(folder), "lora")


@pytest.mark.parametrize("method", ["lora", "qlora-4bit"])
def test_a_vocabulary_of_another_size_is_refused(base: Path, tmp_path: Path, method: Any) -> None:
    folder = shutil.copytree(base, tmp_path / "spoiled")
    edit("config.json", vocab_size=400)(folder)
    with pytest.raises(InvalidInput) as caught:
        load_base(str(folder), method)
    assert caught.value.faults == (
        "model.embed_tokens.weight has the shape (320, 64), its config.json asks for (400, 64)",
    )


def test_special_tokens_of_another_base_are_refused(base: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(base, tmp_path / "spoiled")
    edit("config.json", eos_token_id=[2, 77], bos_token_id=319)(folder)
    with pytest.raises(InvalidInput, match="take both from one release") as caught:
        load_base(str(folder), "lora")
    assert [fault.split(",")[0] for fault in caught.value.faults] == [
        "config.json says bos_token_id 319",
        "config.json says eos_token_id 77",
    ]


@pytest.mark.parametrize(("built", "said"), [(None, "is built without CUDA"), ("13.1", "is built for CUDA 13.1")])
def test_a_gpu_that_torch_cannot_use_is_named_with_the_build_that_is_needed(
    base: Path, monkeypatch: pytest.MonkeyPatch, built: str | None, said: str
) -> None:
    monkeypatch.setattr(load, "cuda_version", lambda: "12.4")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", built)
    with pytest.raises(InvalidInput, match=f"{said}, and the driver runs CUDA up to 12.4. Install a build of torch"):
        load_base(str(base), "lora")


def test_a_gpu_without_bfloat16_computes_in_float16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")
    assert compute_dtype() is torch.float16
    (note,) = precision_notes()
    assert "Tesla T4 has no bfloat16, so training computed in float16" in note
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    assert (compute_dtype(), precision_notes()) == (torch.bfloat16, ())


def asked(*texts: str) -> list[list[dict[str, str]]]:
    return [[{"role": "user", "content": text}] for text in texts]


def test_generation_is_the_same_alone_and_in_a_padded_batch(base: Path) -> None:
    model, tokenizer = load_base(str(base), "lora")
    chat = Chat(tokenizer)
    questions = asked("a", "what is the ratio of b", "user " * 20, "system answer")
    together = generate_ids(model, chat, questions, 12, 3, quiet)
    alone = [generate_ids(model, chat, [question], 12, 1, quiet)[0] for question in questions]
    assert together == alone == generate_ids(model, chat, questions, 12, 4, quiet)
    assert len({tuple(answer) for answer in together}) > 1
    assert generate(model, tokenizer, questions, 12, 2, quiet) == [
        tokenizer.decode(answer, skip_special_tokens=True).strip() for answer in together
    ]


def test_generation_agrees_with_the_model_token_by_token_and_stops_at_the_end_token(base: Path) -> None:
    model, tokenizer = load_base(str(base), "lora")
    chat = Chat(tokenizer)
    ids = chat.prompt_ids(asked("what is it")[0])
    expected: list[int] = []
    for _ in range(10):
        with torch.no_grad():
            logits = model(torch.tensor([ids + expected], device=model.device)).logits
        expected.append(int(logits[0, -1].argmax()))
    assert generate_ids(model, chat, asked("what is it"), 10, 1, quiet) == [expected]
    stop = expected[4]
    chat.stop_ids = (stop,)
    assert generate_ids(model, chat, asked("what is it"), 10, 1, quiet) == [expected[: expected.index(stop) + 1]]


def test_a_prompt_that_leaves_no_room_is_refused(base: Path) -> None:
    model, tokenizer = load_base(str(base), "lora")
    with pytest.raises(InvalidInput, match="longer than the model can take") as caught:
        generate(model, tokenizer, asked("fine", "x" * 250), 20, 2, quiet)
    assert [fault.split(":")[0] for fault in caught.value.faults] == ["conversation 1"]


@pytest.fixture(scope="module")
def adapter(base: Path) -> tuple[dict[str, Any], bytes, torch.Tensor]:
    """Config, weights and logits of an adapter that changes what the model says."""
    model, _ = load_base(str(base), "lora")
    torch.manual_seed(1)
    config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    adapted = get_peft_model(model, config).eval()
    with torch.no_grad():
        logits = adapted(torch.arange(20, device=model.device)[None]).logits
    return json.loads(adapter_config(adapted, "tiny-base")), adapter_weights(adapted), logits


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_an_adapter_from_memory_computes_the_same(
    base: Path, adapter: tuple[dict[str, Any], bytes, torch.Tensor], kind: type[bytes] | type[bytearray]
) -> None:
    config, weights, logits = adapter
    model, _ = load_base(str(base), "lora")
    ids = torch.arange(20, device=model.device)[None]
    given = kind(weights)
    with torch.no_grad():
        before = model(ids).logits
        attached = attach_adapter(model, config, given)
        if isinstance(given, bytearray):
            given[:] = bytes(len(given))  # the model does not live on what was given
        assert torch.equal(attached(ids).logits, logits)
        assert not any(parameter.requires_grad for parameter in attached.parameters())
        with attached.disable_adapter():
            assert torch.equal(attached(ids).logits, before)
    assert not torch.equal(before, logits)
    assert adapter_weights(attached) == weights


def tensors(weights: bytes, change: Callable[[dict[str, torch.Tensor], str], None]) -> bytes:
    content = safetensors.torch.load(weights)
    change(content, sorted(content)[0])
    return safetensors.torch.save(content)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda content, name: content.pop(name), "is missing"),
        (lambda content, name: content.update(extra=content[name].clone()), "extra is not part of"),
        (lambda content, name: content.update({name: content[name][:-1]}), "has shape"),
        (lambda content, name: content.update({name: content[name] * float("nan")}), "NaN"),
    ],
)
def test_adapter_weights_that_do_not_fit_are_refused(
    base: Path, adapter: tuple[dict[str, Any], bytes, torch.Tensor], change: Any, said: str
) -> None:
    model, _ = load_base(str(base), "lora")
    with pytest.raises(InvalidInput, match=said):
        attach_adapter(model, adapter[0], tensors(adapter[1], change))


@pytest.mark.parametrize(
    "changes",
    [
        {"auto_mapping": {"parent_library": "os"}},
        {"modules_to_save": ["lm_head"]},
        {"peft_type": "IA3"},
        {"bias": "all"},
        {"r": "4"},
        {"target_modules": "all-linear"},
        {"target_modules": [["q_proj"]]},
        {"use_dora": "yes"},
        {"lora_alpha": True},
    ],
)
def test_adapter_config_that_was_not_written_here_is_refused(
    base: Path, adapter: tuple[dict[str, Any], bytes, torch.Tensor], changes: dict[str, Any]
) -> None:
    model, _ = load_base(str(base), "lora")
    with pytest.raises(InvalidInput, match="not one that this SDK wrote"):
        attach_adapter(model, {**adapter[0], **changes}, adapter[1])


COMMON = {"base_model_name_or_path": "b", "inference_mode": True, "task_type": "CAUSAL_LM", "num_virtual_tokens": 3}
WRITTEN = {
    "PROMPT_TUNING": {**COMMON, "peft_type": "PROMPT_TUNING", "prompt_tuning_init": "RANDOM"},
    "PREFIX_TUNING": {**COMMON, "peft_type": "PREFIX_TUNING"},
    "P_TUNING": {**COMMON, "peft_type": "P_TUNING", "encoder_hidden_size": 8},
}


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (
            "PROMPT_TUNING",
            {"prompt_tuning_init": "TEXT", "prompt_tuning_init_text": "a", "tokenizer_name_or_path": "x"},
        ),
        ("PROMPT_TUNING", {"prompt_tuning_init": "SAMPLE_VOCAB"}),
        ("PROMPT_TUNING", {"tokenizer_kwargs": {"trust_remote_code": True}}),
        ("PREFIX_TUNING", {"auto_mapping": {"parent_library": "os"}}),
        ("PREFIX_TUNING", {"prefix_projection": True}),
        ("PREFIX_TUNING", {"num_virtual_tokens": True}),
        ("P_TUNING", {"encoder_reparameterization_type": "LSTM"}),
        ("P_TUNING", {"inference_mode": False}),
        ("P_TUNING", {"use_dora": True}),
    ],
)
def test_configs_of_prompts_are_checked_as_strictly(kind: str, changes: dict[str, Any]) -> None:
    check_config(WRITTEN[kind])
    with pytest.raises(InvalidInput, match="not one that this SDK wrote"):
        check_config({**WRITTEN[kind], **changes})


def test_bytes_that_are_no_adapter_are_refused(base: Path, adapter: tuple[dict[str, Any], bytes, torch.Tensor]) -> None:
    cut = bytearray(adapter[1])
    del cut[-4:]  # the last tensor ends beyond the file
    for given in (b"pickle", bytearray(b"pickle"), bytearray(b""), cut):
        model, _ = load_base(str(base), "lora")
        with pytest.raises(InvalidInput, match="no safetensors"):
            attach_adapter(model, adapter[0], given)


def test_fetching_a_local_base_copies_nothing(base: Path) -> None:
    assert fetch_base(str(base)) == base


# -- templates of published models ------------------------------------------------------------------------------------

TEMPLATES = Path(importlib.util.find_spec("trl").submodule_search_locations[0]) / "chat_templates"  # type: ignore[union-attr,index]
# Written for this test after what such models' templates do; none is a copy of one.
THINKS_LAST = (
    "{% for m in messages %}<|start|>{{ m['role'] }}\n"
    "{% if m['role'] == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}"
    "{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" + UNMARKED
SILENT_ON_SYSTEM = UNMARKED.replace("{% for m in messages %}", "{% for m in messages if m['role'] != 'system' %}")
SHOWS_CALLS = UNMARKED.replace(
    "{{ m['content'] }}", "{{ m['content'] }}{% for c in m.tool_calls %}[{{ c.function | tojson }}]{% endfor %}"
)
CALLS = [
    {"role": "user", "content": "what is x"},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {"type": "function", "function": {"name": "ratio", "arguments": {"of": 'a "b" 中', "n": [{"k": "v"}]}}}
        ],
    },
    {"role": "tool", "content": "y"},
    {"role": "assistant", "content": "it is y"},
]


def chat_of(base: Path, template: str) -> Chat:
    tokenizer = load_tokenizer(base)
    tokenizer.chat_template = template
    return Chat(tokenizer)


def learned_text(chat: Chat, turns: Any) -> list[str]:
    """The runs of tokens that are learned, as text."""
    encoded = chat.encode(turns)
    runs: list[list[int]] = []
    for place, token in enumerate(encoded.input_ids):
        if encoded.in_loss[place]:
            if not place or not encoded.in_loss[place - 1]:
                runs.append([])
            runs[-1].append(token)
    return [str(chat.tokenizer.decode(run)) for run in runs]


def test_earlier_answers_are_found_where_only_the_last_one_shows_its_thoughts(base: Path) -> None:
    chat = chat_of(base, THINKS_LAST)
    assert learned_text(chat, TURNS) == ["比率 是 y<|end|>", "<think>\n\n</think>\n\nz<|end|>"]
    asked = chat.prompt_ids(TURNS[:-1])
    assert chat.encode(TURNS).input_ids[: len(asked)] == asked


@pytest.mark.parametrize("template", [NO_SYSTEM, SILENT_ON_SYSTEM])
def test_a_system_message_that_is_not_taken_is_put_before_the_first_question(base: Path, template: str) -> None:
    chat = chat_of(base, template)
    system = [{"role": "system", "content": "Be brief."}, *TURNS]
    folded = [{"role": "user", "content": "Be brief.\n\nwhat is x"}, *TURNS[1:]]
    assert chat.encode(system) == chat.encode(folded)
    assert chat.prompt_ids(system[:2]) == chat.prompt_ids(folded[:1])
    assert "takes no system message" in chat.notes[0]
    assert chat_of(base, UNMARKED).notes == ()


def test_tool_calls_that_are_not_shown_are_refused(base: Path) -> None:
    with pytest.raises(InvalidInput) as refused:
        chat_of(base, UNMARKED).encode(CALLS)
    assert refused.value.faults[0].startswith("message 1: the chat template does not show its tool call")
    chat = chat_of(base, SHOWS_CALLS)
    assert chat.limits() == ()
    assert "does not take tool calls" in chat_of(base, UNMARKED).limits()[0]
    assert learned_text(chat, CALLS)[1] == "it is y<|end|>"
    assert '"name": "ratio"' in learned_text(chat, CALLS)[0]


def test_arguments_that_are_not_shown_are_refused(base: Path) -> None:
    template = SHOWS_CALLS.replace("{{ c.function | tojson }}", "{{ c.function.name }}")
    with pytest.raises(InvalidInput) as refused:
        chat_of(base, template).encode(CALLS)
    assert [fault[:70] for fault in refused.value.faults] == [
        "message 1: the chat template does not show its tool call's arguments, s"[:70]
    ]


KINDS = sorted(path.name.removesuffix("_training.jinja") for path in TEMPLATES.glob("*_training.jinja"))


@pytest.mark.parametrize("kind", KINDS)
def test_published_templates_mark_every_answer_or_say_that_they_do_not(base: Path, kind: str) -> None:
    """Each answer is learned to its end, behind what the base's own template asks; what is not taken is said."""
    tokenizer = load_tokenizer(base)
    source = (TEMPLATES / f"{kind}.jinja").read_text()
    ends = sorted(set(re.findall(r"<[|｜][^<>|｜]{1,40}[|｜]>|<end_of_turn>|<turn\|>|</s>|<end_of_utterance>", source)))
    tokenizer.add_tokens([AddedToken(end, special=True) for end in ends], special_tokens=True)
    tokenizer.bos_token = "<|start|>"
    tokenizer.chat_template = source
    if kind in ("deepseekv3", "idefics3", "llava_next", "smolvlm"):  # drops thoughts in training; models that see
        with pytest.raises(InvalidInput):
            Chat(tokenizer)
        return
    chat = Chat(tokenizer)
    assert chat.training_template is not None
    for turns in (TURNS[:2], TURNS):
        runs = learned_text(chat, turns)
        answers = [turn["content"] for turn in turns if turn["role"] == "assistant"]
        assert len(runs) == len(answers)
        assert [chat.answer(chat.tokenizer(run, add_special_tokens=False)["input_ids"]) for run in runs] == answers
        for run, answer in zip(runs, answers, strict=True):
            assert answer in run
            assert run.rstrip("\n")[-1] in ">]}"
        if turns == TURNS and "</think>" in source:
            continue  # its own template drops the thoughts of earlier answers, trl's keeps them
        asked = chat.prompt_ids(turns[:-1])
        assert chat.encode(turns).input_ids[: len(asked)] == asked
