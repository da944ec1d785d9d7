"""The engine computes what PEFT's and transformers' own layers compute."""

from __future__ import annotations

import math
import random
from collections import Counter
from typing import Any

import pytest
import torch
from bitsandbytes.nn import Linear8bitLt
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    BloomConfig,
    BloomForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GptOssConfig,
    GptOssForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)
from transformers.modeling_layers import GradientCheckpointingLayer

from sdk.advise import estimate
from sdk.advise.layers import adapter_parameters
from sdk.advise.model_config import shape_of
from sdk.errors import InvalidInput
from sdk.model import Encoded
from sdk.model.dense_weights import dense
from sdk.records import PROMPTS, Hardware, ModelShape, TrainSettings, canonical_json, sha256
from sdk.train.batching import micro_batches
from sdk.train.dropout import replace_dropout
from sdk.train.engine import graphs, install_engine, use_row_attention
from sdk.train.engine.fp8 import Fp8Linear, quantize_rows, to_fp8
from sdk.train.engine.head import Head, answer_with_loss, frozen_head_loss
from sdk.train.engine.install import _keep_experts
from sdk.train.engine.last_mlp import narrow_last_mlp
from sdk.train.engine.lora import fuse_lora
from sdk.train.methods import peft_config
from sdk.train.trainer import Collator
from tests import tiny
from tests.played_recording import PlayedRecording
from tests.tiny import one_thread  # noqa: F401 - a fixture

SHAPE: dict[str, Any] = {
    "vocab_size": 120,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 128,
    "initializer_range": 0.2,
    "tie_word_embeddings": False,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": 0,
}
LENGTHS = (5, 31, 1, 12)


def settings(**changes: Any) -> TrainSettings:
    return tiny.settings(
        **{"lora_dropout": 0.0, "learning_rate": 1e-3, "warmup_ratio": 0.03, "max_length": 64, **changes}
    )


def rows() -> list[Encoded]:
    draw = torch.Generator().manual_seed(1)
    made = []
    for length in LENGTHS:
        ids = torch.randint(1, 120, (length,), generator=draw).tolist()
        made.append(Encoded(ids, [place % 3 != 1 for place in range(length)]))
    return made


def adapted(model: PreTrainedModel, **options: Any) -> Any:
    torch.manual_seed(3)
    config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM", **options)
    made = get_peft_model(model, config)
    for name, parameter in made.named_parameters():
        if "lora_B" in name:  # zero at the start, which would hide the adapters' part
            torch.nn.init.normal_(parameter, std=0.05)
    return made.train()


def llama(**changes: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**{**SHAPE, **changes})).requires_grad_(False)


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    found = {name: value.grad for name, value in model.named_parameters() if value.requires_grad}
    model.zero_grad()
    return {name: value for name, value in found.items() if value is not None}


def loss_row_by_row(model: Any) -> tuple[float, dict[str, torch.Tensor]]:
    """As transformers computes it: each row on its own, the mean over all learned tokens."""
    losses, count = [], 0
    for row in rows():
        logits = model(input_ids=torch.tensor([row.input_ids])).logits[0, :-1].float()
        targets = torch.tensor(row.labels[1:], dtype=torch.long)
        losses.append(torch.nn.functional.cross_entropy(logits, targets, reduction="sum", ignore_index=-100))
        count += int((targets != -100).sum())
    loss = torch.stack([value for value in losses if value.isfinite()]).sum() / count
    loss.backward()
    return float(loss.detach()), gradients(model)


def loss_in_one(model: Any, some: list[Encoded] | None = None) -> tuple[float, dict[str, torch.Tensor]]:
    encoded = some or rows()
    batch = Collator(encoded, row_attention=True)([{"input_ids": list(range(len(encoded)))}])
    given = {name: value for name, value in batch.items() if "labels" not in name}
    loss = model(**given, items=len(batch["targets"]), use_cache=False).loss
    loss.backward()
    return float(loss.detach()), gradients(model)


def close(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor], rtol: float = 1e-4) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert float(value.abs().max()) > 0, name
        assert float((ours[name] - value).norm() / value.norm()) < rtol, name


FAMILIES: dict[str, Any] = {
    "llama": lambda: llama(),
    "tied": lambda: llama(tie_word_embeddings=True),
    "qwen2 (biases)": lambda: Qwen2ForCausalLM(Qwen2Config(**SHAPE)),
    "mistral (window)": lambda: MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=7)),
    "gemma2 (caps)": lambda: Gemma2ForCausalLM(
        Gemma2Config(
            **SHAPE, sliding_window=7, attn_logit_softcapping=3.0, final_logit_softcapping=2.0, query_pre_attn_scalar=16
        )
    ),
    "gpt-oss (sinks)": lambda: GptOssForCausalLM(
        GptOssConfig(**{**SHAPE, "num_local_experts": 2, "num_experts_per_tok": 1, "sliding_window": 7})
    ),
    "granite (scales)": lambda: GraniteForCausalLM(
        GraniteConfig(**SHAPE, logits_scaling=3.0, embedding_multiplier=2.0)
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_in_one_pass_learn_as_rows_alone(family: str) -> None:
    torch.manual_seed(0)
    model = FAMILIES[family]()
    model.set_attn_implementation("eager")
    model = adapted(model.requires_grad_(False))
    loss, expected = loss_row_by_row(model)
    assert use_row_attention(model.get_base_model())
    install_engine(model, settings())
    ours, given = loss_in_one(model)
    assert ours == pytest.approx(loss, rel=1e-5)
    close(given, expected)


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "Recording", PlayedRecording)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", tuple)


def graphed(model: Any, largest: int = 128) -> graphs.GraphedLayers:
    base = model.get_base_model()
    use_row_attention(base)
    layers = graphs.GraphedLayers(base.model, [value for value in model.parameters() if value.requires_grad], largest)
    _, refresh = fuse_lora(base)
    answer_with_loss(base, refresh, layers=layers)
    return layers


@pytest.mark.usefixtures("played")
def test_recorded_layers_filled_up_learn_as_rows_alone() -> None:
    torch.manual_seed(0)
    model = adapted(llama())
    loss, expected = loss_row_by_row(model)
    layers = graphed(model)
    for _ in range(2):  # recorded, and replayed
        model.zero_grad()
        ours, given = loss_in_one(model)
        assert ours == pytest.approx(loss, rel=1e-5)
        close(given, expected)
    assert list(layers._recordings) == [(128, 32)]
    assert not layers.failures


@pytest.mark.usefixtures("played")
def test_what_a_pass_gives_does_not_depend_on_those_before_it() -> None:
    """A run that goes on from a checkpoint records sizes in another order, and at other passes."""
    few, many = rows()[:1], rows() * 4

    def run(passes: list[list[Encoded]], states: list[torch.Tensor]) -> list[tuple[float, dict[str, torch.Tensor]]]:
        torch.manual_seed(0)
        model = adapted(llama(), lora_dropout=0.3)
        layers = graphed(model, 256)
        found = []
        for place, given in enumerate(passes):
            if states:
                torch.set_rng_state(states[place])
            else:
                torch.manual_seed(5)
            model.zero_grad()
            before = torch.get_rng_state()
            found.append(loss_in_one(model, given))
            assert not torch.equal(torch.get_rng_state(), before)  # dropout drew from it
            after.append(torch.get_rng_state())
        assert len(layers._recordings) == len({len(given) for given in passes})
        return found

    after: list[torch.Tensor] = []
    first = run([few, many, few, many], [])
    assert torch.equal(after[0], after[2])  # recording drew nothing
    assert torch.equal(after[1], after[3])
    start = torch.Generator().manual_seed(5).get_state()
    second = run([many, few], [start, start])
    for (loss, gradients), (other, others) in zip([first[1], first[0]], second, strict=True):
        assert loss == other
        assert all(torch.equal(gradients[name], others[name]) for name in gradients)
    assert first[0][0] == first[2][0]
    assert first[1][0] == first[3][0]


def test_what_cannot_be_recorded_runs_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: Any) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(graphs, "Recording", fail)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", tuple)
    model = adapted(llama())
    layers = graphed(model)
    assert len({loss_in_one(model)[0] for _ in range(3)}) == 1
    assert len(layers.failures) == 1  # it is not tried again


def test_a_lack_of_memory_in_recording_is_that_of_the_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else whether a size is replayed would depend on what lay on the GPU at that moment."""

    def fail(*given: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(graphs, "Recording", fail)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", tuple)
    model = adapted(llama())
    graphed(model)
    with pytest.raises(torch.OutOfMemoryError):
        loss_in_one(model)


def test_only_layers_that_the_host_holds_up_are_recorded_and_where_it_is_asked_for() -> None:
    base = adapted(llama()).get_base_model()
    use_row_attention(base)
    assert graphs.launch_bound(base, settings(cuda_graphs=True))
    assert not graphs.launch_bound(base, settings())
    base.config.hidden_size = 2048
    assert not graphs.launch_bound(base, settings(cuda_graphs=True))


@pytest.mark.parametrize(("tokens", "largest", "size"), [(1, 900, 128), (129, 2048, 256), (2049, 8192, 2560)])
def test_passes_are_filled_up_to_one_of_a_few_sizes(tokens: int, largest: int, size: int) -> None:
    assert graphs.size_of(tokens, largest) == size
    sizes = {graphs.size_of(each, largest) for each in range(1, largest + 1)}
    assert len(sizes) <= graphs.SIZES
    assert all(size >= largest for size in [max(sizes)])


def test_models_that_attend_otherwise_keep_their_own_attention() -> None:
    model = BloomForCausalLM(BloomConfig(vocab_size=64, hidden_size=32, n_layer=1, n_head=2))
    before = model.config._attn_implementation
    assert not use_row_attention(model)
    assert model.config._attn_implementation == before


def test_a_model_that_names_no_base_model_gives_a_loss() -> None:
    """Llama 4's causal model has its decoder under another name than its base_model_prefix."""
    config = {**SHAPE, "num_local_experts": 2, "intermediate_size_mlp": 96, "attention_chunk_size": 128}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama4_text", **config)).requires_grad_(False)
    assert model.base_model is model
    wrapped = get_peft_model(model, peft_config(model, settings(), 5)).train()
    assert use_row_attention(wrapped.get_base_model())
    install_engine(wrapped, settings())
    loss, found = loss_in_one(wrapped)
    assert math.isfinite(loss)
    assert found


def test_no_row_sees_another() -> None:
    model = adapted(llama())
    use_row_attention(model.get_base_model())
    install_engine(model, settings())
    kept = rows()
    changed = [kept[0], Encoded([7] * 31, kept[1].in_loss), *kept[2:]]

    def hidden(given: list[Encoded]) -> torch.Tensor:
        batch = Collator(given, row_attention=True)([{"input_ids": list(range(4))}])
        names = ("input_ids", "position_ids", "cu_seq_lens_q", "max_length_q")
        out: torch.Tensor = model.get_base_model().model(**{name: batch[name] for name in names}).last_hidden_state[0]
        return out

    with torch.no_grad():
        before, after = hidden(kept), hidden(changed)
    assert torch.equal(before[:5], after[:5])
    assert torch.equal(before[36:], after[36:])
    assert not torch.allclose(before[5:36], after[5:36])


def quantized(bits: int, folder: Any) -> PreTrainedModel:
    llama().save_pretrained(folder)
    config = (
        BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.float32,
        )
        if bits == 4
        else BitsAndBytesConfig(load_in_8bit=True)
    )
    return LlamaForCausalLM.from_pretrained(folder, quantization_config=config, dtype=torch.float32).train()


@pytest.mark.parametrize("bits", [16, 8, 4])
@pytest.mark.parametrize("modules", ["all-linear", ["q_proj", "up_proj"]])
def test_fused_lora_is_lora(bits: int, modules: Any, tmp_path: Any) -> None:
    base = llama() if bits == 16 else quantized(bits, tmp_path)
    torch.manual_seed(3)
    model: Any = get_peft_model(base, LoraConfig(r=4, lora_alpha=8, target_modules=modules, task_type="CAUSAL_LM"))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    model.train()
    if bits == 8:  # bitsandbytes rounds the inputs too; what is asked for is the product with the stored weights
        for layer in model.modules():
            if isinstance(layer, Linear8bitLt):
                layer.forward = _plain(layer)
    loss, expected = loss_row_by_row(model)
    for layer in model.modules():
        if isinstance(layer, Linear8bitLt):
            del layer.forward
    names = {name for name, _ in model.named_parameters()}
    fused, _ = fuse_lora(model)
    assert fused == 3 * (7 if modules == "all-linear" or bits != 16 else 2)
    assert {name for name, _ in model.named_parameters()} == names
    use_row_attention(model.get_base_model())
    install_engine(model, settings())
    ours, given = loss_in_one(model)
    assert ours == pytest.approx(loss, rel=1e-5)
    close(given, expected)


def _plain(layer: Linear8bitLt) -> Any:
    return lambda x: torch.nn.functional.linear(x, dense(layer, x.dtype), layer.bias)


def test_eight_bit_weights_are_those_that_bitsandbytes_stored(tmp_path: Any) -> None:
    base = quantized(8, tmp_path)
    original = llama()
    layer, was = base.model.layers[1].mlp.up_proj, original.model.layers[1].mlp.up_proj
    weights = dense(layer, torch.float32)
    # bitsandbytes rounds to float16 before it counts the levels
    step = was.weight.abs().amax(dim=1, keepdim=True) / 127
    assert bool(((weights - was.weight).abs() <= step * 0.57).all())
    layer(torch.ones(1, 64))  # the first forward pass moves the scales
    assert torch.equal(dense(layer, torch.float32), weights)


def test_eight_bit_floats_round_by_row_and_multiply_what_they_rounded(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    x = torch.randn(40, 64) * torch.logspace(-3, 3, 40)[:, None]
    values, scales = quantize_rows(x)
    rounded = values.float() * scales
    largest = x.abs().amax(dim=1, keepdim=True)
    assert bool(((rounded - x).abs() <= (x.abs() / 16).clamp(min=0) + largest * 2**-9).all())  # three bits of mantissa
    torch.testing.assert_close(rounded.abs().amax(dim=1, keepdim=True), largest)
    plain = torch.nn.Linear(64, 96)
    layer = Fp8Linear(plain)
    weights = layer.weight.view(torch.float8_e4m3fn).float() * layer.scales.t()
    exact = plain.weight.detach()
    assert float((weights - exact).norm() / exact.norm()) < 0.04
    torch.testing.assert_close(layer(x), rounded @ weights.t() + plain.bias)
    gradient = torch.randn(40, 96)
    assert float((layer.project_back(gradient) - gradient @ weights).norm() / (gradient @ weights).norm()) < 0.04
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "A100")
    with pytest.raises(InvalidInput, match="A100 cannot multiply 8-bit floats"):
        to_fp8(llama())


def test_a_base_in_eight_bit_floats_learns_nearly_the_same() -> None:
    model = adapted(llama(initializer_range=0.05))
    use_row_attention(model.get_base_model())
    install_engine(model, settings())
    loss, expected = loss_in_one(model)
    base = llama(initializer_range=0.05)
    to_fp8(base)
    model = adapted(base)
    use_row_attention(base)
    install_engine(model, settings())
    ours, given = loss_in_one(model)
    assert ours == pytest.approx(loss, rel=0.01)
    for name, value in expected.items():
        assert float(torch.nn.functional.cosine_similarity(given[name].flatten(), value.flatten(), dim=0)) > 0.95, name


def test_variants_keep_pefts_own_forward_pass() -> None:
    assert fuse_lora(adapted(llama(), alora_invocation_tokens=[1]))[0] == 0
    assert fuse_lora(adapted(llama(), use_rslora=True))[0] == 21


def test_the_last_mlp_computes_what_is_learned_and_no_more() -> None:
    model = adapted(llama())
    base = model.get_base_model()
    use_row_attention(base)
    _, refresh = fuse_lora(base)
    answer_with_loss(base, refresh)
    expected = loss_in_one(model)
    answer_with_loss(base, refresh, narrow_last_mlp(base))
    seen: list[int] = []
    for layer in base.model.layers:
        layer.mlp.down_proj.register_forward_pre_hook(lambda module, given: seen.append(given[0].shape[-2]))
    ours, given = loss_in_one(model)
    learned = sum(label != -100 for row in rows() for label in row.labels[1:])
    assert seen == [sum(LENGTHS), sum(LENGTHS), learned]
    assert ours == pytest.approx(expected[0], rel=1e-6)
    close(given, expected[1], rtol=1e-5)
    batch = Collator(rows(), row_attention=True)([{"input_ids": list(range(len(LENGTHS)))}])
    model(**{name: batch[name] for name in ("input_ids", "position_ids", "cu_seq_lens_q", "max_length_q")})
    assert seen[3:] == [sum(LENGTHS)] * 3  # whoever asks for logits gets those of all tokens


def test_an_mlp_that_may_look_at_other_tokens_stays_whole() -> None:
    experts = {"moe_intermediate_size": 48, "num_experts": 4, "num_experts_per_tok": 2}
    assert narrow_last_mlp(Qwen3MoeForCausalLM(Qwen3MoeConfig(**{**SHAPE, **experts}))) is None


def test_dropout_acts_on_the_adapter_only() -> None:
    model = adapted(llama(), lora_dropout=0.5)
    use_row_attention(model.get_base_model())
    install_engine(model, settings())
    torch.manual_seed(1)
    first = loss_in_one(model)
    torch.manual_seed(1)
    again = loss_in_one(model)
    assert first[0] == again[0]
    assert loss_in_one(model)[0] != first[0]
    for layer in model.modules():
        if isinstance(layer, LoraLayer):
            torch.nn.init.zeros_(layer.lora_B["default"].weight)
    assert loss_in_one(model)[0] == loss_in_one(model)[0]


class Counting:
    def __init__(self) -> None:
        self.elements = 0

    def __call__(self, saved: torch.Tensor) -> torch.Tensor:
        self.elements += saved.numel()
        return saved


@pytest.mark.parametrize("layers", [None, 2])
def test_recomputing_keeps_less_and_changes_nothing(layers: int | None) -> None:
    results = []
    for checkpointing in (False, True):
        model = adapted(llama())
        use_row_attention(model.get_base_model())
        install_engine(model, settings(gradient_checkpointing=checkpointing, checkpointed_layers=layers))
        with torch.autograd.graph.saved_tensors_hooks(counter := Counting(), lambda x: x):
            results.append((*loss_in_one(model), counter.elements))
        marks = [m.gradient_checkpointing for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]
        assert marks == ([place < (layers or 3) for place in range(3)] if checkpointing else [False] * 3)
    assert results[0][0] == results[1][0]
    close(results[1][1], results[0][1], rtol=1e-6)
    assert results[1][2] < results[0][2]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"lora_dropout": 0.05},
        {"use_dora": True},
        {"use_dora": True, "lora_dropout": 0.05},
        {"peft_type": "adalora", "target_r": 1},
        {"peft_type": "prompt_tuning", "num_virtual_tokens": 3},
        {"peft_type": "p_tuning", "num_virtual_tokens": 3},
    ],
    ids=str,
)
def test_a_layer_keeps_the_bytes_that_advise_predicts(changes: dict[str, Any]) -> None:
    prompt = changes.get("peft_type", "") in PROMPTS
    given = settings(per_device_train_batch_size=1, max_length=sum(LENGTHS), lora_r=4, **changes)

    def kept(layers: int) -> int:
        base = llama(num_hidden_layers=layers)
        model: Any = get_peft_model(base, peft_config(base, given, 5)).train()
        by_rows = not prompt and use_row_attention(base)
        replace_dropout(model)
        install_engine(model, given)
        alive: dict[int, torch.UntypedStorage] = {}
        weights = {value.untyped_storage().data_ptr() for value in model.parameters()}

        def keep(saved: torch.Tensor) -> torch.Tensor:
            storage = saved.untyped_storage()
            alive[storage.data_ptr()] = storage
            return saved

        some = [Encoded([7] * sum(LENGTHS), [True] * sum(LENGTHS))] if prompt else rows()
        batch = Collator(some, by_rows)([{"input_ids": list(range(len(some)))}])
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            model(**{name: value for name, value in batch.items() if "labels" not in name}, use_cache=False)
        return sum(storage.nbytes() for place, storage in alive.items() if place not in weights)

    sizes = {name: value for name, value in SHAPE.items() if name in ModelShape.model_fields}
    shape = ModelShape(name="test", source="test", **sizes)
    of_three = estimate(shape, given, Hardware()).activations * 2**30
    if given.peft_type == "adalora":  # until the backward pass begins, its penalty keeps all matrices once more
        of_three += 4 * adapter_parameters(shape, given.lora_r)
    # A prompt's rows go through torch's own attention, which keeps what ours does.
    assert (kept(3) - kept(1)) / 2 * 3 == pytest.approx(of_three, rel=0.03 if given.peft_type != "lora" else 1e-6)


# Of other architectures what layers keep differs; (numbers of its config.json, how far off at most)
KEPT: dict[str, tuple[dict[str, Any], float]] = {
    "qwen2": ({}, 0.001),
    "qwen3": ({}, 0.01),
    "mistral": ({}, 0.001),
    "granite": ({}, 0.001),
    "phi3": ({}, 0.001),
    "gemma2": ({}, 0.04),
    "gemma3_text": ({"sliding_window": 512}, 0.01),
    "olmo2": ({}, 0.01),
    "cohere": ({}, 0.05),
    "starcoder2": ({}, 0.01),
    "mixtral": ({"num_local_experts": 4, "num_experts_per_tok": 2}, 0.01),
    "qwen3_moe": ({"moe_intermediate_size": 48, "num_experts": 4, "num_experts_per_tok": 2}, 0.02),
    "gpt_oss": ({"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 128}, 0.04),
}


@pytest.mark.parametrize(("model_type", "numbers", "off"), [(name, *given) for name, given in KEPT.items()])
def test_layers_of_other_architectures_keep_what_advise_predicts(
    model_type: str, numbers: dict[str, Any], off: float
) -> None:
    tokens = 100

    def kept(layers: int) -> tuple[int, dict[str, Any]]:
        config = {**SHAPE, **numbers, "num_hidden_layers": layers, "max_position_embeddings": 512, "hidden_size": 64}
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **config)).requires_grad_(False)
        given = settings(target_modules="all-linear", lora_r=4)
        adapter = peft_config(model, given, 5)
        wrapped = get_peft_model(model, adapter).float().train()
        by_rows = use_row_attention(wrapped.get_base_model())
        install_engine(wrapped, given)
        alive: dict[int, int] = {}
        weights = {value.untyped_storage().data_ptr() for value in [*wrapped.parameters(), *wrapped.buffers()]}

        def keep(saved: torch.Tensor) -> torch.Tensor:
            storage = saved.untyped_storage()
            alive[storage.data_ptr()] = storage.nbytes()
            held.append(storage)  # or its place could be taken by another
            return saved

        held: list[torch.UntypedStorage] = []
        rows_ = {
            "cu_seq_lens_q": torch.tensor([0, tokens], dtype=torch.int32),
            "max_length_q": tokens,
            "position_ids": torch.arange(tokens)[None],
        }
        ids = torch.randint(3, 120, (1, tokens))
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            wrapped(
                input_ids=ids,
                learned=torch.arange(-tokens, -1),
                targets=ids[0, 1:],
                use_cache=False,
                **(rows_ if by_rows else {}),
            )
        return sum(size for place, size in alive.items() if place not in weights), {**config, "model_type": model_type}

    (four, config), (two, _) = kept(4), kept(2)
    shape = shape_of(config, model_type, "test", model_type)
    given = settings(per_device_train_batch_size=1, max_length=tokens, lora_r=4)
    predicted = estimate(shape, given, Hardware()).activations * 2**30 / 4
    assert predicted == pytest.approx((four - two) / 2, rel=off)


def test_experts_keep_transformers_forward_pass_and_bear_no_adapters() -> None:
    """Liger's kernel computes the gradients of their weights, and breaks on PEFT's wrapper of them."""
    config = Qwen3MoeConfig(**SHAPE, moe_intermediate_size=48, num_experts=4, num_experts_per_tok=2)
    model = Qwen3MoeForCausalLM(config).requires_grad_(False)
    experts = [module for name, module in model.named_modules() if name.endswith("experts")]
    for module in experts:
        module.forward = lambda *given: None  # as Liger replaces it
    _keep_experts(model)
    assert experts
    assert all("forward" not in vars(module) for module in experts)
    wrapped = get_peft_model(model, peft_config(model, settings(), 5))
    trained = [name for name, value in wrapped.named_parameters() if value.requires_grad]
    assert trained
    assert all("self_attn" in name for name in trained)
    install_engine(wrapped, settings())
    loss, found = loss_in_one(wrapped.train())
    assert math.isfinite(loss)
    assert set(found) == set(trained)


def test_embeddings_can_stay_on_the_host() -> None:
    model = adapted(llama())
    use_row_attention(model.get_base_model())
    install_engine(model, settings())
    expected = loss_in_one(model)
    assert install_engine(model, settings(offload_embeddings=True)) == ()
    embedding = model.get_base_model().get_input_embeddings()
    model.to(torch.float64)
    assert embedding.weight.dtype == torch.float32  # moving the model leaves it alone
    model.to(torch.float32)
    loss, given = loss_in_one(model)
    assert loss == pytest.approx(expected[0])
    close(given, expected[1])
    tied = adapted(llama(tie_word_embeddings=True))
    assert "stay" in install_engine(tied, settings(offload_embeddings=True))[0]


@pytest.mark.parametrize(("scale", "softcap", "bias"), [(1.0, None, False), (0.3, None, True), (1.7, 2.5, False)])
def test_the_head_gives_loss_and_gradient_of_cross_entropy(
    scale: float, softcap: float | None, bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sdk.train.engine.head.LOGITS_PER_CHUNK", 50 * 7)
    torch.manual_seed(0)
    hidden = torch.randn(23, 16, requires_grad=True)
    head = Head(torch.randn(50, 16), torch.randn(50) if bias else None, scale, softcap)
    targets = torch.randint(0, 50, (23,))
    loss = frozen_head_loss(hidden, head, targets)
    (loss * 0.5).backward()
    ours = hidden.grad
    hidden.grad = None
    logits = torch.nn.functional.linear(hidden, head.weight, head.bias) * scale
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    expected = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
    (expected * 0.5).backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(ours, hidden.grad, rtol=1e-4, atol=1e-5)


# Which rows go together


def lengths() -> list[int]:
    draw = random.Random(0)
    return [min(64, int(draw.lognormvariate(3, 0.7)) + 1) for _ in range(400)]


def test_every_epoch_has_every_row_and_the_first_micro_batch_is_as_full_as_any() -> None:
    given = lengths()
    for packing in (False, True):
        batches = micro_batches(given, settings(packing=packing, num_train_epochs=2.5))
        assert batches == micro_batches(given, settings(packing=packing, num_train_epochs=2.5))
        assert batches != micro_batches(given, settings(packing=packing, num_train_epochs=2.5, seed=7))
        counts = Counter(row for batch in batches for row in batch)
        assert (len(counts), min(counts.values()), max(counts.values()), counts.total()) == (400, 2, 3, 1000)
        sizes = [sum(given[row] for row in batch) for batch in batches]
        assert sizes[0] >= max(sizes) * (0.99 if packing else 1)
        shorter = micro_batches(given, settings(packing=packing, max_steps=30))
        assert micro_batches(given, settings(packing=packing, max_steps=300))[:30] == shorter


def test_the_order_of_rows_is_the_one_that_earlier_versions_drew() -> None:
    """Literal, because a run is only reproduced, and a checkpoint only continued, where not one row moves."""
    tokens = [7, 3, 12, 5, 5, 9, 2, 11, 6, 4]
    packed = settings(packing=True, per_device_train_batch_size=2, max_length=12, num_train_epochs=2, seed=3)
    assert micro_batches(tokens, packed) == [[3, 4, 4, 3, 9], [7, 7, 6], [1, 1, 6], [2, 2], [5, 5, 8], [0, 0, 8, 9]]
    steps = settings(packing=True, per_device_train_batch_size=1, max_length=16, max_steps=9, seed=5)
    assert micro_batches(tokens, steps) == [
        *([1, 1, 6, 6, 6, 6, 6], [5, 0], [3, 4, 1, 1], [7, 3], [5, 0]),
        *([2, 9], [4, 3, 4], [7, 3], [2, 9]),
    ]
    counted = settings(packing=False, per_device_train_batch_size=3, max_length=12, num_train_epochs=1.5, seed=3)
    counted = counted.model_copy(update={"gradient_accumulation_steps": 2})
    assert micro_batches(tokens, counted) == [[2, 7, 5], [0, 8, 3], [9, 1, 6], [4, 8, 9], [6, 2, 3]]
    draw = random.Random(1)
    many = [min(512, 1 + int(draw.lognormvariate(4.5, 0.8))) for _ in range(3000)]
    large = settings(packing=True, max_length=512, num_train_epochs=3, gradient_accumulation_steps=2, gpus=2, seed=11)
    batches = micro_batches(many, large)
    assert len(batches) == 519
    assert sha256(canonical_json([*batches])) == "e942b3cf947710b0a8ec84b991e742a6fdd1c0d50bea93b6c2dc3caf30fa0301"


def test_packing_fills_every_pass_and_no_more() -> None:
    given = lengths()
    batches = micro_batches(given, settings(packing=True, num_train_epochs=5))
    sizes = [sum(given[row] for row in batch) for batch in batches]
    assert max(sizes) <= 4 * 64
    assert sum(sizes) == 5 * sum(given)
    assert sum(sizes) / (len(sizes) * 4 * 64) > 0.98


@pytest.mark.parametrize("packing", [False, True])
def test_max_steps_goes_over_the_rows_as_often_as_needed(packing: bool) -> None:
    asked = settings(packing=packing, max_steps=70, gradient_accumulation_steps=3)
    batches = micro_batches(lengths(), asked)
    assert len(batches) == 210
    assert all(batches)
