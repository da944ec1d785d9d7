"""Bases whose weights are stored quantized: transformers' own way of undoing it is what ours is compared with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from transformers import AutoModelForCausalLM, FineGrainedFP8Config, GptOssConfig, GptOssForCausalLM, Mxfp4Config

from sdk.advise import find_model
from sdk.errors import InvalidInput
from sdk.model import check_base, open_base
from sdk.model.load import load_base
from sdk.model.stored_tensors import DequantizedTensor
from sdk.stored_formats import stored_format, stored_format_fault
from tests.tiny import make_base, one_thread  # noqa: F401 - one_thread is a fixture

LARGEST = torch.finfo(torch.float8_e4m3fn).max
Tensors = dict[str, torch.Tensor]
REFUSED = {
    "gptq": {"quant_method": "gptq", "bits": 4, "group_size": 128},
    "awq": {"quant_method": "awq", "bits": 4},
    "bitsandbytes": {"quant_method": "bitsandbytes", "load_in_4bit": True},
    "compressed-tensors": {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "int"}}},
    },
    "modelopt": {"quant_method": "modelopt", "quant_algo": "NVFP4"},
    "quark": {"quant_method": "quark"},
    "a method that it does not name": {},
    "auto-round": "auto-round",
}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return make_base(tmp_path / "base")


def say(folder: Path, settings: Any, key: str = "quantization_config") -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: settings}))


def rewrite(folder: Path, change: Any) -> None:
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    made: Tensors = {}
    for name, tensor in tensors.items():
        made |= change(name, tensor) if tensor.dim() > 1 and "proj" in name else {name: tensor}
    safetensors.torch.save_file(made, folder / "model.safetensors", {"format": "pt"})


def in_blocks(side: int) -> Any:
    def change(name: str, weight: torch.Tensor) -> Tensors:
        rows, columns = weight.shape
        blocks = weight.float().reshape(rows // side, side, columns // side, side)
        scales = blocks.abs().amax((1, 3)) / LARGEST
        packed = (blocks / scales[:, None, :, None]).reshape(weight.shape).to(torch.float8_e4m3fn)
        return {name: packed, f"{name}_scale_inv": scales}

    return change


def by_row(name: str, weight: torch.Tensor) -> Tensors:
    scales = weight.float().abs().amax(1, keepdim=True) / LARGEST
    return {
        name: (weight / scales).to(torch.float8_e4m3fn),
        f"{name}_scale": scales,
        name.replace("weight", "input_scale"): torch.ones(1),
    }


def one_scale(name: str, weight: torch.Tensor) -> Tensors:
    scale = weight.float().abs().amax() / LARGEST
    return {name: (weight / scale).to(torch.float8_e5m2), f"{name}_scale": scale}


def weights(folder: Path) -> Tensors:
    return {name: value.to(torch.bfloat16) for name, value in load_base(str(folder), "lora")[0].state_dict().items()}


def test_8_bit_floats_in_blocks_are_what_transformers_makes_of_them(base: Path) -> None:
    rewrite(base, in_blocks(32))
    settings = {"quant_method": "fp8", "weight_block_size": [32, 32], "activation_scheme": "dynamic"}
    say(base, settings)
    ours = weights(base)
    undone = FineGrainedFP8Config(dequantize=True, weight_block_size=(32, 32))
    theirs = AutoModelForCausalLM.from_pretrained(base, quantization_config=undone, dtype=torch.bfloat16).state_dict()
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


@pytest.mark.parametrize("change", [in_blocks(32), by_row, one_scale], ids=["blocks", "rows", "whole"])
@pytest.mark.parametrize("method", ["lora", "qlora-4bit"])
def test_the_weights_are_nearly_what_they_were(base: Path, change: Any, method: Any) -> None:
    text = torch.arange(3, 40)[None]
    before = load_base(str(base), method)[0](text).logits
    rewrite(base, change)
    groups = {"group_0": {"weights": {"num_bits": 8, "type": "float"}}}
    say(base, {"quant_method": "compressed-tensors", "format": "float-quantized", "config_groups": groups})
    after = load_base(str(base), method)[0](text).logits
    assert 0 < (after - before).std() < 0.4 * before.std()  # without scales it is above 1


def test_the_last_block_may_be_cut_off() -> None:
    """As in latent attention, whose 576 rows are four blocks and a half."""
    scales = torch.arange(1.0, 11.0).reshape(5, 2)
    weight: Any = DequantizedTensor(torch.ones(576, 256).to(torch.float8_e4m3fn), scales)  # type: ignore[arg-type]
    made = weight[...]
    assert made[::128, ::128].tolist() == scales.tolist()
    assert made[511, 0] == 7
    assert made[575].tolist() == [9.0] * 128 + [10.0] * 128


def test_mxfp4_is_what_transformers_makes_of_it(base: Path) -> None:
    """The format in which gpt-oss is published."""
    torch.manual_seed(0)
    config = GptOssConfig(
        vocab_size=320,
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        num_local_experts=2,
        num_experts_per_tok=1,
        layer_types=["full_attention", "full_attention"],
        bos_token_id=None,
        eos_token_id=2,
        pad_token_id=0,
    )
    GptOssForCausalLM(config).to(torch.bfloat16).save_pretrained(base)
    tensors = safetensors.torch.load_file(base / "model.safetensors")
    packed: Tensors = {}
    for name, tensor in tensors.items():
        if name.endswith(("gate_up_proj", "down_proj")):
            experts, width, rows = tensor.shape
            packed[f"{name}_blocks"] = torch.randint(0, 256, (experts, rows, width // 32, 16), dtype=torch.uint8)
            packed[f"{name}_scales"] = torch.randint(118, 124, (experts, rows, width // 32), dtype=torch.uint8)
        else:
            packed[name] = tensor
    safetensors.torch.save_file(packed, base / "model.safetensors", {"format": "pt"})
    say(base, {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn", "lm_head"]})
    ours = weights(base)
    theirs = AutoModelForCausalLM.from_pretrained(
        base, quantization_config=Mxfp4Config(dequantize=True), dtype=torch.bfloat16
    ).state_dict()
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


@pytest.mark.parametrize("key", ["quantization_config", "compression_config"])
@pytest.mark.parametrize("method", REFUSED)
def test_what_cannot_be_undone_is_refused_by_name_before_anything(base: Path, method: str, key: str) -> None:
    say(base, REFUSED[method], key)
    with pytest.raises(InvalidInput, match="16 bits") as refused:
        check_base(base)
    assert method in str(refused.value)
    with pytest.raises(InvalidInput, match="16 bits") as refused:
        find_model(str(base))
    assert method in str(refused.value)


@pytest.mark.parametrize("name", ["text_config", "llm_config", "thinker_config"])
def test_a_nested_language_model_is_looked_at(name: str) -> None:
    assert "16 bits" in str(stored_format_fault({name: {"quantization_config": REFUSED["gptq"]}}))
    assert stored_format({name: {"quantization_config": {"quant_method": "fp8"}}}) == "8-bit floats"


def test_advice_says_what_is_undone(base: Path) -> None:
    say(base, {"quant_method": "fp8"})
    assert any("8-bit floats" in note for note in find_model(str(base)).approximations)


@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.int8, torch.uint8, torch.int32])
def test_quantized_weights_of_which_config_json_knows_nothing_are_refused(base: Path, kind: torch.dtype) -> None:
    rewrite(base, lambda name, weight: {name: weight.to(kind), f"{name}_scale": torch.ones(1)})
    with pytest.raises(InvalidInput, match="no quantization_config"), open_base(str(base)):
        pass


def test_a_tensor_that_the_model_has_no_place_for_is_refused(base: Path) -> None:
    rewrite(base, lambda name, weight: {name: weight, f"{name}_scale": torch.ones(1)})
    with pytest.raises(InvalidInput, match="do not fit its config") as refused:
        load_base(str(base), "lora")
    assert "q_proj.weight_scale is in its files, and the model has no place for it" in str(refused.value)


def test_a_weight_whose_scales_are_lost_is_refused(base: Path) -> None:
    rewrite(base, lambda name, weight: {name: weight.to(torch.float8_e4m3fn)})
    say(base, {"quant_method": "fp8"})
    with pytest.raises(InvalidInput, match="not whole") as refused:
        load_base(str(base), "lora")
    assert "q_proj.weight has no scales beside it" in str(refused.value)


def test_scales_that_cannot_be_those_of_the_weight_are_refused(base: Path) -> None:
    rewrite(base, lambda name, weight: {name: weight.to(torch.float8_e4m3fn), f"{name}_scale_inv": torch.ones(3, 3)})
    say(base, {"quant_method": "fp8"})
    with pytest.raises(InvalidInput, match="disagree"):
        load_base(str(base), "lora")
