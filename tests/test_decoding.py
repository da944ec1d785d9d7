"""Our own greedy decoding writes what transformers' generate writes, and weighs references as the model itself does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from bitsandbytes.nn import Int8Params, Linear4bit, Linear8bitLt, Params4bit
from peft import AdaLoraConfig, LoraConfig, PromptTuningConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PreTrainedModel

from sdk.data import conversation, read_rows
from sdk.domain import read_domain
from sdk.files.store import shipped
from sdk.model import Chat, Encoded, decoder
from sdk.model.decoder import Task, can_decode, decode
from sdk.model.dense_weights import dense
from sdk.model.inference_layers import inference_layers
from sdk.model.load import load_base
from tests.tiny import one_thread  # noqa: F401 - a fixture

SHAPE: dict[str, Any] = {
    "vocab_size": 120, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 128, "initializer_range": 0.2,
    "bos_token_id": None, "eos_token_id": None, "pad_token_id": 0,
}  # fmt: skip
WINDOWS = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {},
    "qwen3": {},
    "gemma2": WINDOWS,  # capped scores as well
    "gemma3_text": WINDOWS,
    "mixtral": {"num_local_experts": 4},
    "gpt2": {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 128},
}
NEW = 12


def quiet(*_: Any) -> None:
    return


def model_of(kind: str = "llama", dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    torch.manual_seed(0)
    shape = {name: value for name, value in SHAPE.items() if kind != "gpt2" or not name.startswith("num_")}
    config = AutoConfig.for_model(kind, **{**shape, **FAMILIES.get(kind, {})})
    made: PreTrainedModel = AutoModelForCausalLM.from_config(config).to(dtype).eval().requires_grad_(False)
    return made


def adapted(model: PreTrainedModel, kind: str) -> Any:
    torch.manual_seed(3)
    common: dict[str, Any] = {"lora_alpha": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
    config = {
        "lora": lambda: LoraConfig(r=4, **common),
        "dora": lambda: LoraConfig(r=4, use_dora=True, **common),
        "adalora": lambda: AdaLoraConfig(
            init_r=4, total_step=1, **{**common, "target_modules": ["q_proj", "down_proj"]}
        ),
    }[kind]()
    made = get_peft_model(model, config)
    for name, parameter in made.named_parameters():
        if "lora_B" in name or "lora_E" in name:  # zero at the start, which would hide the adapters' part
            torch.nn.init.normal_(parameter, std=0.2)
        if "magnitude" in name:
            parameter.data *= 1.3
    return made.eval().requires_grad_(False)


def tasks(common: int = 9) -> list[Task]:
    """Prompts of several lengths with a beginning that they share, and answers of several tokens."""
    draw = torch.Generator().manual_seed(1)

    def ids(count: int) -> list[int]:
        return torch.randint(1, 120, (count,), generator=draw).tolist()

    beginning = ids(common)
    made = []
    for length, answer in ((1, 3), (5, 1), (5, 4), (14, 2), (30, 5), (3, 3)):
        prompt = [*beginning, *ids(length)]
        whole = [*prompt, *ids(answer)]
        made.append(Task(prompt, Encoded(whole, [place >= len(prompt) for place in range(len(whole))])))
    return made


def by_transformers(model: Any, asked: Sequence[Task], stops: Sequence[int], new: int = NEW) -> list[list[int]]:
    """One by one, so that nothing is padded."""
    settings = GenerationConfig(do_sample=False, max_new_tokens=new, eos_token_id=[*stops] or [-1], pad_token_id=0)
    return [
        model.generate(input_ids=torch.tensor([task.prompt]), generation_config=settings)[
            0, len(task.prompt) :
        ].tolist()
        for task in asked
    ]


@torch.no_grad()
def loss(model: Any, task: Task) -> float:
    assert task.reference is not None
    logits = model(input_ids=torch.tensor([task.reference.input_ids])).logits[0, :-1].float()
    targets = torch.tensor(task.reference.labels[1:])
    return float(torch.nn.functional.cross_entropy(logits, targets, reduction="sum", ignore_index=-100))


def answered(model: Any, asked: Sequence[Task], stops: Sequence[int] = (), **given: Any) -> list[list[int]]:
    options = {"max_new_tokens": NEW, "most_rows": None, "on_progress": quiet, **given}
    found = decode(model, asked, stops, **options)
    assert found is not None
    return [each.ids for each in found]


@pytest.mark.parametrize("kind", FAMILIES)
def test_tokens_and_losses_are_those_of_the_model_itself(kind: str) -> None:
    model = model_of(kind)
    before = model.config._attn_implementation
    expected = by_transformers(model, tasks(), ())
    losses = [loss(model, task) for task in tasks()]
    assert can_decode(model)
    found = decode(model, tasks(), (), NEW, None, quiet)
    assert found is not None
    assert [each.ids for each in found] == expected
    assert [each.nll for each in found] == pytest.approx(losses, rel=1e-4)
    assert len({tuple(ids) for ids in expected}) > 1
    assert model.config._attn_implementation == before
    assert not [name for name, module in model.named_modules() if "forward" in vars(module)]
    assert by_transformers(model, tasks(), ()) == expected


@pytest.mark.parametrize("kind", ["lora", "dora", "adalora"])
def test_an_adapter_is_computed_as_pefts_layers_do(kind: str) -> None:
    model = adapted(model_of(), kind)
    expected = by_transformers(model, tasks(), ())
    assert answered(model, tasks()) == expected != by_transformers(model_of(), tasks(), ())
    with model.disable_adapter():
        assert answered(model, tasks()) == by_transformers(model_of(), tasks(), ())


@pytest.mark.parametrize("common", [0, 9])
@pytest.mark.parametrize("rows", [1, 4, None])
def test_rows_end_on_their_own_and_leave_the_others_alone(
    monkeypatch: pytest.MonkeyPatch, common: int, rows: int | None
) -> None:
    model = model_of()
    asked = tasks(common)
    whole = by_transformers(model, asked, ())
    stops = [whole[0][2], whole[3][5], whole[4][0]]
    expected = by_transformers(model, asked, stops)
    assert len({len(ids) for ids in expected}) > 2
    told: list[int] = []
    count: Any = lambda what, done, total, figures: told.append(done)  # noqa: E731
    for fetched, leave in ((1, 0.9), (8, 0.5), (5, 0.0)):
        monkeypatch.setitem(decoder._FETCHED, "cpu", fetched)
        monkeypatch.setitem(decoder._LEAVE, "cpu", leave)
        told.clear()
        assert answered(model, asked, stops, most_rows=rows, on_progress=count) == expected
        assert told == sorted(told)
        assert told[-1] == len(asked)
    assert answered(model, asked, stops, max_new_tokens=1) == [ids[:1] for ids in expected]


def test_prompts_are_read_in_as_many_passes_as_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of()
    expected = [loss(model, task) for task in tasks()]
    monkeypatch.setitem(decoder._PASS_TOKENS, "cpu", 20)
    found = decode(model, tasks(), (), NEW, None, quiet)
    assert found is not None
    assert [each.nll for each in found] == pytest.approx(expected, rel=1e-4)
    assert [each.ids for each in found] == by_transformers(model, tasks(), ())


def test_what_is_learned_before_a_prompts_end_is_weighed_too() -> None:
    """Earlier answers of a conversation, also where all conversations begin with them."""
    model = model_of()
    asked = []
    for task in tasks():
        assert task.reference is not None
        marks = [place in (4, 6) or mark for place, mark in enumerate(task.reference.in_loss)]
        asked.append(Task(task.prompt, Encoded(task.reference.input_ids, marks)))
    found = decode(model, asked, (), 1, None, quiet)
    assert found is not None
    assert [each.nll for each in found] == pytest.approx([loss(model, task) for task in asked], rel=1e-4)


def test_where_attention_does_more_transformers_generates() -> None:
    """Nemotron hands no more to its attention than a mask, PhiMoE no window, which is in its mask alone; a learned
    prompt stands before the first token, and Mamba has no keys.
    """
    for kind, more in (("nemotron", {}), ("phimoe", {"num_local_experts": 2, "sliding_window": 8})):
        other = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **SHAPE, **more)).eval()
        assert can_decode(other)
        assert decode(other, tasks(), (), NEW, None, quiet) is None
    prompted = get_peft_model(model_of(), PromptTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM"))
    assert not can_decode(prompted)
    mamba = {"hidden_size": 16, "num_hidden_layers": 1, "vocab_size": 120, "state_size": 4}
    assert not can_decode(AutoModelForCausalLM.from_config(AutoConfig.for_model("mamba", **mamba)))


def test_the_embedded_base_answers_as_before() -> None:
    model, tokenizer = load_base("embedded", "lora")
    chat = Chat(tokenizer)
    domain = shipped("domains") / "finance"
    rows = read_rows(domain / "eval.jsonl").rows[::30]
    prompt = read_domain(domain).prompt
    references = chat.encode_many([conversation(row, prompt) for row in rows])
    asked = [
        Task(chat.prompt_ids(conversation(row, prompt)[:-1]), reference)
        for row, reference in zip(rows, references, strict=True)
        if isinstance(reference, Encoded)
    ]
    assert len(asked) == len(rows)
    found = decode(model, asked, chat.stop_ids, NEW, None, quiet)
    assert found is not None
    assert [each.ids for each in found] == by_transformers(model, asked, chat.stop_ids)
    assert [each.nll for each in found] == pytest.approx([loss(model, task) for task in asked], rel=1e-4)


@pytest.mark.parametrize("room", [0, 2**40])
@pytest.mark.parametrize("kind", ["lora", "dora"])
@pytest.mark.parametrize("bits", [16, 8, 4])
def test_layers_in_16_bits_are_as_close_to_exact_ones_as_rounding_allows(kind: str, bits: int, room: int) -> None:
    model = model_of(dtype=torch.bfloat16)
    if bits < 16:
        quantize(model, bits)
    model = adapted(model, kind)
    exact = adapted(model_of(), kind)
    for (name, one), (_, other) in zip(model.named_modules(), exact.named_modules(), strict=True):
        if name.endswith("base_layer"):
            other.weight = torch.nn.Parameter(dense(one, torch.float32), requires_grad=False)
    for (_, one), (_, other) in zip(model.named_parameters(), exact.named_parameters(), strict=True):
        if one.shape == other.shape and one.dtype.is_floating_point:
            other.data.copy_(one)
    ids = torch.tensor([tasks()[4].prompt])
    expected = exact(ids).logits
    with exact.disable_adapter():
        without = exact(ids).logits
    with torch.inference_mode(), inference_layers(model.get_base_model(), torch.bfloat16, room, few=False):
        found = model(ids).logits.float()
    assert float((found - expected).norm() / expected.norm()) < 0.05
    assert float((without - expected).norm() / expected.norm()) > 0.2


def quantize(model: torch.nn.Module, bits: int) -> None:
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if not isinstance(layer, torch.nn.Linear) or name == "lm_head":
                continue
            made: Any = (Linear4bit if bits == 4 else Linear8bitLt)(*layer.weight.shape[::-1], bias=False)
            weight = layer.weight.data
            made.weight = (
                Params4bit(weight, requires_grad=False, quant_type="nf4", module=made)
                if bits == 4
                else Int8Params(weight.half(), requires_grad=False, has_fp16_weights=False)
            )._quantize("cpu")
            setattr(parent, name, made)
