"""DoRA and AdaLoRA in the engine learn what PEFT's own layers learn."""

from __future__ import annotations

import copy
import types
from typing import Any

import pytest
import torch
from bitsandbytes.nn import Linear8bitLt
from peft import AdaLoraConfig, LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from transformers import Qwen2Config, Qwen2ForCausalLM

from sdk.model.adapter import ADAPTER_NAME
from sdk.records import TrainSettings
from sdk.train.engine import install, install_engine, use_row_attention
from sdk.train.engine.dora import start_from_norms
from sdk.train.ranks import Ranks
from tests.test_engine import (
    SHAPE,
    _plain,
    adapted,
    close,
    gradients,
    llama,
    loss_in_one,
    loss_row_by_row,
    quantized,
    settings,
)
from tests.tiny import one_thread  # noqa: F401 - a fixture

STEPS = 6


class Masked(torch.nn.Module):
    """Dropout that draws nothing: always the same inputs, whatever rows stand beside each other."""

    def __init__(self, *given: Any) -> None:
        super().__init__()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * ((torch.arange(x.shape[-1]) % 3 != 0) / (2 / 3))


def biased(**changes: Any) -> Any:
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(Qwen2Config(**SHAPE, **changes)).requires_grad_(False)
    for name, value in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(value, std=0.3)
    return model


def dora(base: Any, **options: Any) -> Any:
    torch.manual_seed(3)
    config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM", use_dora=True, **options)
    return get_peft_model(base, config).train()


def adalora(base: Any, **options: Any) -> Any:
    torch.manual_seed(3)
    config = AdaLoraConfig(
        init_r=4, target_r=2, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM", total_step=STEPS,
        tinit=1, tfinal=2, deltaT=1, **options,
    )  # fmt: skip
    return get_peft_model(base, config).train()


def with_dropout(model: Any) -> Any:
    for layer in model.modules():
        if isinstance(layer, LoraLayer):
            layer.lora_dropout[ADAPTER_NAME] = Masked()
    return model


def rounded(model: Any) -> Any:
    """bitsandbytes rounds the inputs of 8-bit layers too; what is asked for is the product with the stored weights."""
    for layer in model.modules():
        if isinstance(layer, Linear8bitLt):
            layer.forward = _plain(layer)
    return model


MODELS: dict[str, Any] = {
    "dora": lambda folder: dora(llama()),
    "dora, tied, rank-stabilized": lambda folder: dora(llama(tie_word_embeddings=True), use_rslora=True),
    "dora, biases, ranks of their own": lambda folder: dora(biased(), rank_pattern={"q_proj": 2, "up_proj": 7}),
    "dora, dropout, biases": lambda folder: with_dropout(dora(biased())),
    "dora, 4 bits": lambda folder: dora(quantized(4, folder)),
    "dora, some layers of 4 bits, dropout": lambda folder: with_dropout(
        get_peft_model(
            quantized(4, folder),
            LoraConfig(r=4, target_modules=["q_proj", "up_proj"], task_type="CAUSAL_LM", use_dora=True),
        ).train()
    ),
    "adalora": lambda folder: adalora(llama()),
    "adalora, dropout, biases": lambda folder: with_dropout(adalora(biased())),
    "adalora, 4 bits": lambda folder: adalora(quantized(4, folder)),
    "adalora, 8 bits": lambda folder: rounded(adalora(quantized(8, folder))),
}


def learn(model: Any, loss: Any) -> tuple[list[float], list[Any]]:
    """Train for some steps; the losses, and AdaLoRA's masks after each step."""
    trained = [value for value in model.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-2, weight_decay=0.0)
    tuner, losses, masks = model.base_model, [], []
    for step in range(STEPS):
        taken, found = loss(model)
        losses.append(taken)
        for name, value in model.named_parameters():
            if value.requires_grad:
                value.grad = found[name]
        optimizer.step()
        if hasattr(tuner, "rankallocator"):
            tuner.update_and_allocate(step)
            masks.append(copy.deepcopy(tuner.peft_config[ADAPTER_NAME].rank_pattern))
        optimizer.zero_grad()
    return losses, masks


def with_penalty(loss: Any) -> Any:
    """PEFT adds AdaLoRA's penalty to each loss of a model that is given labels, which loss_row_by_row is not."""

    def penalized(model: Any) -> tuple[float, dict[str, torch.Tensor]]:
        tuner = model.base_model
        taken, found = loss(model)
        if not hasattr(tuner, "rankallocator"):
            return taken, found
        original, nothing = tuner.model.forward, torch.zeros((), requires_grad=True)
        tuner.model.forward = lambda: types.SimpleNamespace(loss=nothing * 1)
        penalty = type(tuner).forward(tuner).loss
        tuner.model.forward = original
        penalty.backward()
        for name, value in gradients(model).items():
            found[name] = found[name] + value
        return taken + float(penalty.detach()), found

    return penalized


@pytest.mark.parametrize("kind", MODELS)
def test_the_engine_learns_what_pefts_layers_learn(kind: str, tmp_path: Any) -> None:
    model = MODELS[kind](tmp_path)
    start = copy.deepcopy(model.state_dict())
    expected, masks = learn(model, with_penalty(loss_row_by_row))
    final = {name: value.detach().clone() for name, value in model.named_parameters() if value.requires_grad}
    assert expected[-1] < expected[0] - 0.1
    assert not any("E" in mask for mask in masks if mask)
    for recompute in ("dropout" in kind,) if "," in kind else (False, True):
        other = MODELS[kind](tmp_path)
        for layer in other.modules():
            if isinstance(layer, Linear8bitLt):
                del layer.forward
        with torch.no_grad():
            for name, value in other.named_parameters():
                if value.requires_grad:
                    value.copy_(start[name])
        base = other.get_base_model()
        use_row_attention(base)
        given = TrainSettings.model_validate(
            settings(gradient_checkpointing=recompute).model_dump()
            | {"peft_type": "adalora" if kind.startswith("adalora") else "lora", "use_dora": kind.startswith("dora")}
        )
        install_engine(other, given)
        assert all("forward" in vars(layer) for layer in other.modules() if isinstance(layer, LoraLayer))
        found, kept = learn(other, loss_in_one)
        assert found == pytest.approx(expected, rel=2e-4)
        assert kept == masks
        moved = {name: value.detach() for name, value in other.named_parameters() if value.requires_grad}
        assert moved.keys() == final.keys()
        for name, value in final.items():
            assert float((moved[name] - value).norm()) <= 0.02 * float((value - start[name]).norm()) + 1e-6, name


def test_scores_are_those_of_pefts_allocator_to_the_last_bit() -> None:
    model = adalora(llama())
    for value in model.parameters():
        if value.requires_grad:
            torch.nn.init.normal_(value)
    other = copy.deepcopy(model)
    install.score_at_once(other.base_model.rankallocator)
    for _ in range(3):
        for mine, theirs in zip(other.parameters(), model.parameters(), strict=True):
            if mine.requires_grad:
                theirs.grad = torch.randn_like(theirs)
                mine.grad = theirs.grad.clone()
        model.base_model.rankallocator.update_ipt(model.base_model.model)
        other.base_model.rankallocator.update_ipt(other.base_model.model)
    theirs, mine = (Ranks(each).tensors() for each in (model, other))
    assert mine.keys() == theirs.keys()
    assert len(mine) == 3 * 3 * 21
    assert all(torch.equal(mine[name], value) for name, value in theirs.items())


def test_magnitudes_begin_as_the_norms_of_what_is_there() -> None:
    model = dora(llama())
    layers = [layer for layer in model.modules() if isinstance(layer, LoraLayer)]
    for layer in layers:
        torch.nn.init.normal_(layer.lora_B[ADAPTER_NAME].weight)
    start_from_norms(layers, torch.float32)
    for layer in layers:
        whole = layer.get_base_layer().weight + layer.get_delta_weight(ADAPTER_NAME)
        magnitude = layer.lora_magnitude_vector[ADAPTER_NAME].weight
        torch.testing.assert_close(magnitude, whole.norm(dim=1))
        assert magnitude.requires_grad


class Overwriting(torch.autograd.Function):
    """silu(gate) * up as Liger computes it: the gradients take the place of gate and up, unseen by autograd."""

    module = types.ModuleType("swiglu")

    @staticmethod
    def forward(ctx: Any, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(gate, up)
        return torch.nn.functional.silu(gate) * up

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        return Overwriting.module.swiglu_backward(*ctx.saved_tensors, gradients[0])


def overwrite(gate: torch.Tensor, up: torch.Tensor, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    sigmoid = torch.sigmoid(gate)
    of_gate, of_up = gradient * up * sigmoid * (1 + gate * (1 - sigmoid)), gradient * gate * sigmoid
    gate.data[:], up.data[:] = of_gate, of_up
    return gate, up


def test_a_kernel_that_overwrites_the_gate_does_not_spoil_magnitudes(monkeypatch: pytest.MonkeyPatch) -> None:
    model = adapted(llama(), use_dora=True)
    _, expected = loss_row_by_row(model)
    Overwriting.module.swiglu_backward = overwrite  # type: ignore[attr-defined]
    monkeypatch.setattr(install, "_OVERWRITING", {"swiglu_backward": (Overwriting.module, overwrite)})
    for layer in model.get_base_model().model.layers:
        mlp = layer.mlp
        mlp.forward = lambda x, mlp=mlp: mlp.down_proj(Overwriting.apply(mlp.gate_proj(x), mlp.up_proj(x)))
    use_row_attention(model.get_base_model())
    install_engine(model, settings(use_dora=True))
    close(loss_in_one(model)[1], expected)
    install_engine(model, settings())  # a run of LoRA afterwards
    assert Overwriting.module.swiglu_backward is overwrite
