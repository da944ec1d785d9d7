"""A frozen base that is split over the processes: each keeps its share of every decoder layer's bytes.

The idea is that of ZeRO's third stage [Rajbhandari et al., arXiv 1910.02054] for weights that are never trained: no
gradient of them is reduced and nothing is written back, so a layer's bytes, of whatever type, are gathered before its
forward pass and again before its backward pass, one layer ahead of the computation, and forgotten after it. Every layer
is recomputed in the backward pass, so no gathered weight is kept by the graph.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from bitsandbytes.nn import Int8Params, Linear4bit, Linear8bitLt, Params4bit
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.modeling_layers import GradientCheckpointingLayer

from sdk.errors import InvalidInput
from sdk.model import Base
from sdk.model.kept_layers import kept_layers
from sdk.model.load import load_base
from sdk.records import Method, Quantization, TrainSettings
from sdk.train import process_group
from sdk.train.engine.fp8 import Fp8Linear

# Kernels read weights in words of up to so many bytes.
_ALIGNED = 256


class _Place(NamedTuple):
    """Where a weight's bytes stand among those of its layer."""

    weight: torch.nn.Parameter
    start: int
    size: int
    dtype: torch.dtype
    shape: torch.Size


class _Layer:
    """A decoder layer of which this process keeps a share of the bytes.

    Its frozen weights are empty tensors except while it is whole; its share is a buffer, so that it is part of the
    model's state.
    """

    def __init__(self, module: torch.nn.Module, device: torch.device) -> None:
        self.places: list[_Place] = []
        end = 0
        for weight in module.parameters():
            size = weight.numel() * weight.element_size()
            self.places.append(_Place(weight, end, size, weight.dtype, weight.shape))
            end += -(-size // _ALIGNED) * _ALIGNED
        unit = process_group.world_size() * _ALIGNED
        self.size = -(-end // unit) * unit
        whole = torch.zeros(self.size, dtype=torch.uint8, device=device)
        for weight, start, size, *_ in self.places:
            whole[start : start + size] = weight.data.contiguous().view(-1).view(torch.uint8).to(device)
        share = whole.view(process_group.world_size(), -1)[process_group.rank()].clone()
        module.register_buffer("share", share)
        self.share = share
        self.drop()

    def gather(self) -> tuple[torch.Tensor, dist.Work]:
        """Begin to gather all shares: the bytes to be, and what to wait for before they are read."""
        whole = torch.empty(self.size, dtype=torch.uint8, device=self.share.device)
        work = dist.all_gather_into_tensor(whole, self.share, async_op=True)
        assert work is not None
        return whole, work

    def fill(self, whole: torch.Tensor) -> None:
        """Let the weights be views of the gathered bytes."""
        for weight, start, size, dtype, shape in self.places:
            weight.data = whole[start : start + size].view(dtype).view(shape)

    def drop(self) -> None:
        """Let go of the gathered bytes."""
        for weight, _, _, dtype, _ in self.places:
            weight.data = torch.empty(0, dtype=dtype, device=self.share.device)


class Shards(TrainerCallback):  # type: ignore[misc,unused-ignore]
    """Makes layers whole in the order in which they are needed. Every process must go through the same layers."""

    def __init__(self, modules: Sequence[torch.nn.Module], device: torch.device) -> None:
        self._layers = [_Layer(module, device) for module in modules]
        self._held: dict[int, tuple[torch.Tensor, dist.Work]] = {}
        for place, module in enumerate(modules):
            module.register_forward_pre_hook(self._before_forward(place))
            module.register_forward_hook(self._after_forward(place))

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._keep(())

    def _need(self, place: int, following: int) -> None:
        """Make one layer whole and begin to gather the one that is needed after it; forget all others."""
        self._keep((place, following))
        for number in (place, following):
            if number not in self._held and 0 <= number < len(self._layers):
                self._held[number] = self._layers[number].gather()
        whole, work = self._held[place]
        work.wait()
        self._layers[place].fill(whole)

    def _keep(self, places: Sequence[int]) -> None:
        for number in self._held.keys() - set(places):
            _, work = self._held.pop(number)
            work.wait()  # its memory is another's from here on
            self._layers[number].drop()

    def _before_forward(self, place: int) -> Any:
        return lambda module, given: self._need(place, place + 1)

    def _after_forward(self, place: int) -> Any:
        def hook(module: torch.nn.Module, given: Any, out: Any) -> None:
            hidden = out[0] if isinstance(out, tuple) else out
            if hidden.requires_grad:
                # The gradient of what a layer gives is there before anything of its backward pass begins.
                hidden.register_hook(lambda gradient: self._need(place, place - 1))

        return hook


def check_settings(settings: TrainSettings) -> None:
    """Raise InvalidInput where something reads the base's weights outside a layer's forward pass."""
    faults = []
    if settings.peft_type == "adalora":
        faults.append("peft_type: adalora keeps the layers of bitsandbytes, which hold weights of their own")
    if settings.use_dora:
        faults.append("use_dora: magnitudes are taken of the whole weights")
    if settings.init_lora_weights not in ("default", "gaussian"):
        faults.append(f"init_lora_weights: {settings.init_lora_weights} starts from the whole weights")
    if faults:
        raise InvalidInput("shard_base does not go with these settings; change them or leave it out.", faults)


def recompute_all(settings: TrainSettings) -> tuple[TrainSettings, tuple[str, ...]]:
    """Return settings that recompute every layer, as sharding needs, and a note where that was not asked for."""
    changes = {"gradient_checkpointing": True, "checkpointed_layers": None}
    needed = settings.model_copy(update=changes)
    note = "The base is sharded, so every layer is recomputed in the backward pass (gradient_checkpointing)."
    return needed, () if needed == settings else (note,)


def load_sharded(base: Base, method: Method | Quantization) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, Shards]:
    """Load a base with this process's share of each decoder layer on its GPU and the rest of the model whole.

    The processes of a host read the base one after the other: its memory holds the 16-bit base once, a GPU's never more
    than its share and one layer. Raises what load_base() raises.
    """
    quantization = method if isinstance(method, Quantization) else Quantization(method=method)
    device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
    with process_group.in_turn():
        model, tokenizer = load_base(base, "lora", on_host=True)
        modules = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
        if not modules:
            raise InvalidInput("shard_base: this model has no layers that can be recomputed; leave it out.")
        model.requires_grad_(False)
        kept = {id(model.get_submodule(name)) for name in kept_layers(model, quantization)}
        for module in modules:
            _quantize(module, quantization, kept, device)
        shards = Shards(modules, device)
        model.to(device)
    # Where peft and transformers look for it.
    model.is_loaded_in_4bit = quantization.method == "qlora-4bit"
    model.is_loaded_in_8bit = quantization.method == "qlora-8bit"
    model.hf_device_map = {"": device}
    return model, tokenizer, shards


def _quantize(layer: torch.nn.Module, quantization: Quantization, kept: Collection[int], device: torch.device) -> None:
    """Quantize a layer's linear layers on the device, as a base without shards has them; kept: ids of others."""
    for parent in list(layer.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is torch.nn.Linear and quantization.method != "lora" and id(child) not in kept:
                setattr(parent, name, _quantized(child, quantization, device))


def _quantized(linear: torch.nn.Linear, quantization: Quantization, device: torch.device) -> torch.nn.Module:
    if quantization.method == "lora-fp8":
        return Fp8Linear(linear.to(device))
    shape, dtype = (linear.in_features, linear.out_features, linear.bias is not None), linear.weight.dtype
    layer: Linear4bit | Linear8bitLt
    if quantization.method == "qlora-4bit":
        kind, double = quantization.bnb_4bit_quant_type, quantization.bnb_4bit_use_double_quant
        layer = Linear4bit(*shape, dtype, compress_statistics=double, quant_type=kind, device="meta")
        layer.weight = Params4bit(
            linear.weight.data, requires_grad=False, compress_statistics=double, quant_type=kind, module=layer
        ).to(device)
    else:
        layer = Linear8bitLt(*shape, has_fp16_weights=False, device="meta")
        weight = Int8Params(linear.weight.data, requires_grad=False, has_fp16_weights=False).to(device)
        weight.CB = None  # the same bytes once more
        layer.weight = weight
    layer.bias = linear.bias
    quantized: torch.nn.Module = layer
    return quantized
