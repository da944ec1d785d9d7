"""Optimizers and the ways to quantize a base: what each keeps is what was predicted, and what cannot be is refused."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import safetensors.torch
import torch
from bitsandbytes.nn import Linear4bit, Linear8bitLt
from bitsandbytes.optim import AdamW
from bitsandbytes.optim.optimizer import Optimizer8bit

from sdk.advise.candidates import Search
from sdk.advise.choose import advise
from sdk.advise.full import STATE_BYTES
from sdk.advise.held import moments, paged_gib, quantized_parameters, stored_bytes
from sdk.advise.layers import adapter_parameters, linear_parameters, parameters
from sdk.advise.model_config import read_shape
from sdk.advise.models import find_model
from sdk.errors import InvalidInput, StepFailed
from sdk.hardware import find_gpu
from sdk.model.kept_layers import kept_layers
from sdk.model.load import load_base
from sdk.records import FUSED, Needs, Optimizer, Quantization, Run, TrainSettings
from sdk.serve import admit
from sdk.train import Job, optimizers, shard, train
from sdk.train.engine.fp8 import Fp8Linear, to_fp8
from sdk.train.optimizers import require_room
from sdk.train.training_state import optimizer_state, set_optimizer_state
from tests import registry_records
from tests.test_advise import gpu
from tests.tiny import make_base, one_thread, pairs, settings, write_rows  # noqa: F401 - one_thread is a fixture

LLAMA_8B = find_model("llama-3.1-8b")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("optimizers") / "tiny-base")


def trained(base: Path, out: Path, **changes: Any) -> Run:
    data = write_rows(out / "train.jsonl", pairs(4))
    return train(Job(data, str(base), "", settings(**changes), out), lambda *figures: None)


# Optimizers


@pytest.mark.parametrize("optim", [FUSED, "adamw_8bit", "adafactor"])
def test_an_optimizer_keeps_what_was_predicted(base: Path, tmp_path: Path, optim: Optimizer) -> None:
    done = trained(base, tmp_path, optim=optim, lora_r=64, max_steps=1)
    (file,) = tmp_path.glob("checkpoints/*/optimizer.safetensors")
    kept = safetensors.torch.load_file(file)
    size = sum(value.nbytes for name, value in kept.items() if value.dim() and not name.endswith(".step"))
    shape = read_shape(base / "config.json")
    predicted = moments(shape, done.settings)
    assert size == predicted.on_device * adapter_parameters(shape, 64)
    assert predicted.on_host == 0
    assert done.settings.optim == optim


def test_paged_moments_are_paged_again_when_a_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """bitsandbytes would put what it loads into the GPU's own memory; here a buffer stands for managed memory."""
    buffers: list[int] = []
    original = Optimizer8bit.get_state_buffer

    def paged(self: Optimizer8bit, *given: Any, **options: Any) -> torch.Tensor:
        buffer: torch.Tensor = original(self, *given, **options)
        buffers.append(buffer.data_ptr())
        return buffer

    monkeypatch.setattr(Optimizer8bit, "get_state_buffer", paged)

    def make(bits: int) -> tuple[list[torch.nn.Parameter], Any]:
        torch.manual_seed(0)
        values = [torch.nn.Parameter(torch.randn(64, 128)), torch.nn.Parameter(torch.randn(8, 8))]
        groups = [{"params": values[:1], "weight_decay": 0.1}, {"params": values[1:], "weight_decay": 0.0}]
        return values, AdamW(groups, lr=1e-2, optim_bits=bits)

    def step(values: list[torch.nn.Parameter], optimizer: Any, number: int) -> None:
        torch.manual_seed(number)
        for value in values:
            value.grad = torch.randn_like(value)
        optimizer.step()

    for bits in (8, 32):
        values, optimizer = make(bits)
        for number in range(4):
            if number == 2:
                files, halfway = optimizer_state(optimizer), [value.detach().clone() for value in values]
            step(values, optimizer, number)
        again, resumed = make(bits)
        for value, then in zip(again, halfway, strict=True):
            value.data.copy_(then)
        set_optimizer_state(resumed, files)
        made = buffers[-4:]
        for number in (2, 3):
            step(again, resumed, number)
        assert [
            one.data_ptr() for value in again for one in map(resumed.state[value].get, ("state1", "state2"))
        ] == made
        assert all(torch.equal(value, one) for value, one in zip(values, again, strict=True))
        assert not any("qmap" in name for name in safetensors.torch.load(files["optimizer.safetensors"]))


def test_what_cannot_run_here_is_refused_before_the_base_is_opened(tmp_path: Path) -> None:
    for optim in ("paged_adamw_8bit", "paged_adamw_32bit"):
        if not torch.cuda.is_available():
            with pytest.raises(InvalidInput, match=f"optim {optim} pages .* no GPU here; use adamw_8bit"):
                trained(tmp_path / "no-base", tmp_path, optim=optim)
    wrong = {
        "keep_16bit is of a quantized base": {"keep_16bit": "mlp"},
        "leaves no layer to quantize": {"method": "qlora-8bit", "keep_16bit": "attention, mlp"},
        "bnb_4bit_quant_type is an option of 4 bits, and method qlora-8bit": {
            "method": "qlora-8bit",
            "bnb_4bit_quant_type": "fp4",
        },
        "bnb_4bit_use_double_quant is an option of 4 bits": {"bnb_4bit_use_double_quant": False},
    }
    for said, changes in wrong.items():
        with pytest.raises(InvalidInput, match=said):
            trained(tmp_path / "no-base", tmp_path, **changes)


def test_no_more_is_paged_than_the_gpu_has_free(monkeypatch: pytest.MonkeyPatch) -> None:
    matrices = [torch.nn.Parameter(torch.empty(*size, device="meta")) for size in ((64, 4096), (8, 4096))]
    paged = 2 * 64 * 4096  # numbers; the small matrix keeps its moments on the GPU
    for optim, each in (("paged_adamw_8bit", 1), ("paged_adamw_32bit", 4)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda each=each: (each * paged, 1 << 40))
        require_room(matrices, optim)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda each=each: (each * paged - 1, 1 << 40))
        with pytest.raises(StepFailed, match=r"would page 0\.00 GiB of moments"):
            require_room(matrices, optim)
        require_room(matrices, "adamw_8bit")


def test_modules_of_earlier_optimizers_are_not_held() -> None:
    manager = optimizers.GlobalOptimManager.get_instance()
    manager.register_module_override(torch.nn.Embedding(2, 2), "weight", {"optim_bits": 32})
    optimizers.forget_overrides()
    assert not manager.module_weight_config_triple


def test_the_advice_pages_moments_where_a_rank_fits_in_no_other_way() -> None:
    def best(gib: float) -> TrainSettings:
        return Search(LLAMA_8B, gpu(gib), Needs(accuracy="high", lora_r=32)).best("qlora-4bit", [32]).settings

    paged, roomy = best(7.25), best(8)
    assert (paged.optim, roomy.optim) == ("paged_adamw_32bit", FUSED)
    found = Search(LLAMA_8B, gpu(7.25), Needs(accuracy="high", lora_r=32)).best("qlora-4bit", [32])
    assert found.fits
    assert "page by page" in found.reasons["optim"]
    usual = paged.model_copy(update={"optim": FUSED})
    on_device, on_host = moments(LLAMA_8B, paged)
    assert on_device + on_host == pytest.approx(moments(LLAMA_8B, usual).on_device)
    assert paged_gib(LLAMA_8B, paged) > 0.5 > paged_gib(LLAMA_8B, usual)
    assert best(7.25).gradient_checkpointing


# Quantization


def bits(**options: Any) -> Quantization:
    return Quantization(**{"method": "qlora-4bit", **options})


def stored(layer: torch.nn.Module) -> int:
    """Return the bytes of a layer's weights with their scales."""
    weight: Any = layer.weight
    if not isinstance(layer, Linear4bit):
        return int(weight.nbytes)
    state = weight.quant_state
    scales = [state.absmax, *([state.state2.absmax] if state.nested else [])]
    return int(weight.nbytes + sum(scale.nbytes for scale in scales))


@pytest.mark.parametrize(
    ("quantization", "kept"),
    [
        (bits(bnb_4bit_quant_type="fp4"), ()),
        (bits(bnb_4bit_use_double_quant=False), ()),
        (bits(keep_16bit="attention"), ("q_proj", "k_proj", "v_proj", "o_proj")),
        (bits(keep_16bit="mlp"), ("gate_proj", "up_proj", "down_proj")),
        (bits(method="qlora-8bit", keep_16bit="k_proj,down_proj"), ("k_proj", "down_proj")),
    ],
    ids=("fp4", "plain scales", "attention", "mlp", "by name in 8 bits"),
)
def test_a_base_is_quantized_as_was_said_and_predicted(
    base: Path, quantization: Quantization, kept: tuple[str, ...]
) -> None:
    model, _ = load_base(str(base), quantization)
    layers = {
        name: module for name, module in model.named_modules() if ".layers." in name and hasattr(module, "weight")
    }
    linear = {name: module for name, module in layers.items() if isinstance(module, torch.nn.Linear)}
    quantized = {name for name, module in linear.items() if isinstance(module, Linear4bit | Linear8bitLt)}
    assert {name.rpartition(".")[2] for name in linear.keys() - quantized} == set(kept)
    assert type(model.get_output_embeddings()) is torch.nn.Linear
    for name in quantized if quantization.method == "qlora-4bit" else ():
        state = layers[name].weight.quant_state
        double = quantization.bnb_4bit_use_double_quant
        assert (state.quant_type, state.nested) == (quantization.bnb_4bit_quant_type, double)
    shape, size = read_shape(base / "config.json"), model.dtype.itemsize
    small = quantized_parameters(shape, quantization)
    predicted = small * stored_bytes(quantization, size) + (linear_parameters(shape) - small) * size
    assert sum(map(stored, linear.values())) == pytest.approx(predicted, rel=0.01)


def test_layers_stay_in_16_bits_in_8_bit_floats_and_in_shards(base: Path) -> None:
    model, _ = load_base(str(base), "lora")
    chosen = Quantization(method="lora-fp8", keep_16bit="attention")
    to_fp8(model, kept_layers(model, chosen))
    first = model.get_submodule("model.layers.0")
    assert type(first.self_attn.q_proj) is torch.nn.Linear
    assert isinstance(first.mlp.up_proj, Fp8Linear)
    whole, _ = load_base(str(base), "lora")
    layer, four = whole.get_submodule("model.layers.0"), bits(bnb_4bit_quant_type="fp4", keep_16bit="q_proj")
    shard._quantize(layer, four, {id(layer.self_attn.q_proj)}, torch.device("cpu"))
    assert type(layer.self_attn.q_proj) is torch.nn.Linear
    assert layer.self_attn.k_proj.weight.quant_state.quant_type == "fp4"


def test_kinds_that_are_mixed_in_a_group_train(base: Path, tmp_path: Path) -> None:
    """q, k and v read one input, which is rounded to 8 bits for those alone that multiply in them."""
    done = trained(base, tmp_path, method="lora-fp8", keep_16bit="q_proj", max_steps=2, learning_rate=0.02)
    assert done.losses[-1].loss < done.losses[0].loss


def test_a_layer_that_is_not_there_is_named_before_weights_are_read(base: Path) -> None:
    with pytest.raises(InvalidInput, match="use attention, mlp or some of down_proj") as caught:
        load_base(str(base), bits(keep_16bit="q_proj, qproj"))
    assert caught.value.faults == ("'qproj' is no linear layer of this model",)
    with pytest.raises(InvalidInput, match="leaves no layer to quantize"):
        load_base(str(base), bits(keep_16bit="mlp,q_proj,k_proj,v_proj,o_proj"))


def test_usual_options_leave_records_as_they_were_and_others_go_into_the_package() -> None:
    new = {"optim", "bnb_4bit_quant_type", "bnb_4bit_use_double_quant", "keep_16bit"}
    assert not new & settings(method="qlora-4bit").model_dump().keys()
    chosen = settings(
        method="qlora-4bit", bnb_4bit_quant_type="fp4", bnb_4bit_use_double_quant=False, optim="adafactor"
    )
    assert TrainSettings.model_validate_json(chosen.model_dump_json()) == chosen
    assert chosen.unusual() == {"bnb_4bit_quant_type": "fp4", "bnb_4bit_use_double_quant": False}
    assert "a 4-bit base (FP4, no double quantization)" in chosen.brief()
    assert chosen.brief().endswith("adafactor")
    manifest: Any = SimpleNamespace(method="qlora-4bit", quantization=chosen.unusual())
    assert admit._quantization(manifest) == bits(**chosen.unusual())
    manifest.quantization = {"bnb_4bit_quant_type": "fp5"}
    with pytest.raises(InvalidInput, match=r"lacks the method .* qlora-4bit, bnb_4bit_quant_type fp5"):
        admit._quantization(manifest)


# What is saved


def test_the_trainable_share_stands_beside_the_count() -> None:
    run = registry_records.run()
    assert run.trained == "338,688 parameters"
    share = run.model_copy(update={"base_parameters": 3 * 338_688}).trained
    assert share == "338,688 parameters, 25 % of all"


def test_full_fine_tuning_is_told_beside_what_was_chosen() -> None:
    found = advise(LLAMA_8B, find_gpu("h100"), Needs(max_loss=0.0, rows=1000, price_per_hour=2.0))
    assert found.settings.method == "lora"
    full = found.full_finetuning
    assert full is not None
    states = STATE_BYTES * parameters(LLAMA_8B) / 2**30
    assert full.memory_gib == pytest.approx(
        states + found.memory.activations + found.memory.logits + found.memory.workspace
    )
    assert full.memory_saved == pytest.approx(1 - found.memory.total / full.memory_gib)
    assert full.gpus == 4
    assert full.gpu_hours is not None
    assert found.speed is not None
    assert found.speed.hours is not None
    assert full.cost == pytest.approx(2 * full.gpu_hours)
    assert full.cost_saved == pytest.approx(1 - found.speed.hours.expected / full.gpu_hours)
    assert 0.1 < full.cost_saved < 0.5
    assert "the choice saves" in str(found)
