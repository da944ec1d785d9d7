"""Adapters served wrongly, as happens in the field, and served rightly in other forms: what a seal must tell apart."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers import PreTrainedModel

from sdk.model.adapter import set_adapter_weights
from sdk.model.likelihood import base_of

NAME = "default"
BLOCK = re.compile(r"\.layers\.(\d+)\.")


@dataclass(frozen=True)
class Served:
    """A loaded model whose adapter can be changed. others: weights of other adapters of the same shape, by name."""

    model: PeftModel
    others: Mapping[str, bytes]

    @property
    def layers(self) -> dict[str, LoraLayer]:
        return {
            name: layer
            for name, layer in self.model.named_modules()
            if isinstance(layer, LoraLayer) and NAME in layer.lora_A
        }

    @property
    def blocks(self) -> dict[int, dict[str, LoraLayer]]:
        """Block -> the module's name in it -> its adapter."""
        found: dict[int, dict[str, LoraLayer]] = {}
        for name, layer in self.layers.items():
            block = BLOCK.search(name)
            assert block
            found.setdefault(int(block[1]), {})[name.rpartition(".")[2]] = layer
        return found

    @property
    def rank(self) -> int:
        return int(self.model.peft_config[NAME].r)

    def scale(self, factor: float, *names: str) -> None:
        for name, layer in self.layers.items():
            if not names or name.rpartition(".")[2] in names:
                layer.scaling[NAME] *= factor

    def drop(self, *blocks: int) -> None:
        for block in blocks:
            for layer in self.blocks[block].values():
                layer.scaling[NAME] = 0.0


def a_of(layer: LoraLayer) -> torch.Tensor:
    return layer.lora_A[NAME].weight.data  # type: ignore[no-any-return]


def b_of(layer: LoraLayer) -> torch.Tensor:
    return layer.lora_B[NAME].weight.data  # type: ignore[no-any-return]


def exchange(one: LoraLayer, other: LoraLayer) -> None:
    for part in (a_of, b_of):
        first, second = part(one), part(other)
        kept = first.clone()
        first.copy_(second)
        second.copy_(kept)


@contextmanager
def restored(served: Served, base: bool = False) -> Iterator[Served]:
    """Let the adapter be changed, and the base too if so, and put everything back."""
    model = served.model
    kept = {name: value.data.clone() for name, value in model.named_parameters() if base or "lora_" in name}
    scaling = {name: dict(layer.scaling) for name, layer in served.layers.items()}
    buffers = {name: value.clone() for name, value in model.named_buffers()} if base else {}
    try:
        yield served
    finally:
        for name, value in model.named_parameters():
            if name in kept:
                value.data.copy_(kept[name])
        for name, layer in served.layers.items():
            layer.scaling.update(scaling[name])
        for name, value in model.named_buffers():
            if name in buffers:
                value.data.copy_(buffers[name])
        model.eval()


def reordered(layer: LoraLayer) -> None:
    """Read A as if it had been written column by column."""
    a = a_of(layer)
    a.copy_(a.t().contiguous().reshape(a.shape))


def by_name(served: Served) -> None:
    """Put the blocks in the order of their names as text: 0, 1, 10, 11, 2 …; reversed where there are ten at most."""
    blocks = served.blocks
    order = sorted(blocks, key=str) if len(blocks) > 10 else sorted(blocks, reverse=True)
    state = {
        block: {name: (a_of(layer).clone(), b_of(layer).clone()) for name, layer in layers.items()}
        for block, layers in blocks.items()
    }
    for block, source in zip(sorted(blocks), order, strict=True):
        for name, layer in blocks[block].items():
            a_of(layer).copy_(state[source][name][0])
            b_of(layer).copy_(state[source][name][1])


def each(change: Callable[[LoraLayer], object]) -> Callable[[Served], None]:
    def apply(served: Served) -> None:
        for layer in served.layers.values():
            change(layer)

    return apply


def half_of_the_ranks(layer: LoraLayer) -> None:
    b = b_of(layer)
    b[:, b.shape[1] // 2 :] = 0


def rotated_heads(served: Served) -> None:
    """Let B of q and k have its rows in llama.cpp's order of rotary pairs, and the base's weights in the other."""
    config = base_of(served.model).config
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    for name, layer in served.layers.items():
        if name.endswith(("q_proj", "k_proj")):
            b = b_of(layer)
            b.copy_(b.reshape(-1, 2, size // 2, b.shape[1]).transpose(1, 2).reshape(b.shape))


def exchange_gate_and_up(served: Served) -> None:
    for layers in served.blocks.values():
        exchange(layers["gate_proj"], layers["up_proj"])


def only_of(*names: str) -> Callable[[Served], None]:
    def apply(served: Served) -> None:
        for name, layer in served.layers.items():
            if name.rpartition(".")[2] not in names:
                layer.scaling[NAME] = 0.0

    return apply


def exchanged_with(other: str) -> Callable[[Served], None]:
    return lambda served: set_adapter_weights(served.model, served.others[other])


def summed_with(other: str) -> Callable[[Served], None]:
    """Add another adapter's change to the base's weights, under this one."""

    def apply(served: Served) -> None:
        own = {name: (a_of(layer).clone(), b_of(layer).clone()) for name, layer in served.layers.items()}
        set_adapter_weights(served.model, served.others[other])
        for name, layer in served.layers.items():
            layer.get_base_layer().weight.data += layer.get_delta_weight(NAME)
            a_of(layer).copy_(own[name][0])
            b_of(layer).copy_(own[name][1])

    return apply


def merged_again(served: Served) -> None:
    for layer in served.layers.values():
        layer.get_base_layer().weight.data += layer.get_delta_weight(NAME)


def noisy(share: float) -> Callable[[Served], None]:
    """Let the base be another revision: each weight moved by noise of this share of its matrix's deviation."""

    def apply(served: Served) -> None:
        drawn = torch.Generator().manual_seed(0)
        for name, value in served.model.named_parameters():
            if "lora_" not in name and value.dim() == 2:
                value.data += share * value.data.std() * torch.randn(value.shape, generator=drawn)

    return apply


def rounded(bits: int) -> Callable[[Served], None]:
    """Round every matrix to this many bits with one scale a row."""

    def apply(served: Served) -> None:
        for name, value in served.model.named_parameters():
            if "lora_" not in name and value.dim() == 2:
                value.data.copy_(by_row(value.data, bits))

    return apply


def by_row(weight: torch.Tensor, bits: int) -> torch.Tensor:
    most = 2 ** (bits - 1) - 1
    scale = weight.abs().amax(dim=1, keepdim=True).clamp(min=1e-8) / most
    return (weight / scale).round().clamp(-most, most) * scale


def final_norm_lost(served: Served) -> None:
    base_of(served.model).model.norm.weight.data.fill_(1.0)


def other_rotation(served: Served) -> None:
    """Let the base of the rotary embedding be ten times as large, as where a configuration's key is not read."""
    rotary = base_of(served.model).model.rotary_emb
    places = torch.linspace(0, 1, len(rotary.inv_freq))
    rotary.inv_freq.copy_(rotary.inv_freq * 10**-places)


def training_mode(served: Served) -> None:
    torch.manual_seed(0)
    served.model.train()


# Name -> what is done to the adapter alone: these are tried over quantized bases, too.
OF_THE_ADAPTER: dict[str, Callable[[Served], None]] = {
    "scale x 0.5": lambda served: served.scale(0.5),
    "scale x 0.8": lambda served: served.scale(0.8),
    "scale x 1.25": lambda served: served.scale(1.25),
    "scale x 2": lambda served: served.scale(2),
    "alpha lost (alpha = r)": lambda served: served.scale(1 / next(iter(served.layers.values())).scaling[NAME]),
    "alpha / r taken for alpha / sqrt(r)": lambda served: served.scale(math.sqrt(served.rank)),
    "rsLoRA lost (alpha / r)": lambda served: served.scale(1 / math.sqrt(served.rank)),
    "alpha_pattern lost (attention at half)": lambda served: served.scale(0.5, "q_proj", "k_proj", "v_proj", "o_proj"),
    "rank_pattern lost (half of the ranks)": each(half_of_the_ranks),
    "key prefix renamed, nothing loads": each(lambda layer: b_of(layer).zero_()),
    "sign of B": each(lambda layer: b_of(layer).neg_()),
    "A in another order": each(reordered),
    "gate and up exchanged": exchange_gate_and_up,
    "first and last block exchanged": lambda served: [
        exchange(layer, served.blocks[max(served.blocks)][name]) for name, layer in served.blocks[0].items()
    ],
    "blocks in the order of their names": by_name,
    "upper half of the blocks missing": lambda served: served.drop(*range(len(served.blocks) // 2, len(served.blocks))),
    "lower half of the blocks missing": lambda served: served.drop(*range(len(served.blocks) // 2)),
    "every second block missing": lambda served: served.drop(*range(1, len(served.blocks), 2)),
    "attention only": only_of("q_proj", "k_proj", "v_proj", "o_proj"),
    "q and v only": only_of("q_proj", "v_proj"),
    "mlp only": only_of("gate_proj", "up_proj", "down_proj"),
}
# Of these, where answers take long.
FEW = ("scale x 0.5", "scale x 0.8", "scale x 1.25", "scale x 2", "upper half of the blocks missing", "sign of B")
# What such rounding may hide.
SMALL_IN_4_BITS = ("scale x 0.8", "scale x 1.25", "alpha_pattern lost (attention at half)")
# What is small: whether it is seen depends on the adapter, so it is counted apart.
SMALL: dict[str, Callable[[Served], None]] = {
    "dropout left on": training_mode,
    "first block missing": lambda served: served.drop(0),
    "middle block missing": lambda served: served.drop(len(served.blocks) // 2),
    "last block missing": lambda served: served.drop(len(served.blocks) - 1),
    "scale x 0.95": lambda served: served.scale(0.95),
    "scale x 1.05": lambda served: served.scale(1.05),
    "q and k rows permuted": rotated_heads,
}
# What is done to the base, or needs its weights in plain.
OF_THE_BASE: dict[str, Callable[[Served], None]] = {
    "merged twice": merged_again,
    "another base revision (noise of 10 %)": noisy(0.1),
    "another base revision (noise of 5 %)": noisy(0.05),
    "quantized to garbage (2 bits a row)": rounded(2),
    "quantized to garbage (3 bits a row)": rounded(3),
    "final norm lost": final_norm_lost,
    "another rotary base": other_rotation,
}


def of_others(names: Sequence[str]) -> dict[str, Callable[[Served], None]]:
    return {f"{fault}: {name}": make(name) for name in names for fault, make in _OF_OTHERS.items()}


_OF_OTHERS = {"another adapter, stale": exchanged_with, "another adapter added": summed_with}


def merged(model: PeftModel, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    whole = copy.deepcopy(model).merge_and_unload()
    return whole.to(dtype)  # type: ignore[no-any-return]


def in_blocks(weight: torch.Tensor, bits: int, size: int = 32) -> torch.Tensor:
    """Round to this many bits with a scale for each 32 weights, as Q8_0 and Q4_0 of llama.cpp do."""
    rows = weight.reshape(-1, size)
    if bits == 8:
        return by_row(rows, 8).reshape(weight.shape)
    most = rows.gather(1, rows.abs().argmax(dim=1, keepdim=True)) / -(2 ** (bits - 1))
    codes = torch.where(most == 0, 0, rows / most).round().clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return (codes * most).reshape(weight.shape)


def in_8_bit_floats(weight: torch.Tensor) -> torch.Tensor:
    """Round to float8_e4m3fn with a scale a row."""
    scale = weight.abs().amax(dim=1, keepdim=True).clamp(min=1e-8) / 448
    return (weight / scale).to(torch.float8_e4m3fn).float() * scale


def head_lost(model: PeftModel) -> PreTrainedModel:
    """Merge, and let the head be drawn anew, as where its weights were tied to the embedding's and not written."""
    whole = merged(model)
    head = whole.get_output_embeddings()
    lost = torch.randn(head.weight.shape, generator=torch.Generator().manual_seed(0)) * head.weight.data.std()
    head.weight = nn.Parameter(lost, requires_grad=False)
    return whole


def overflowing(model: PeftModel) -> PreTrainedModel:
    """Merge, and let what is computed be no number, as activations that overflow in float16 are."""
    whole = merged(model)
    whole.get_output_embeddings().register_forward_hook(lambda _, __, output: output * math.nan)
    return whole


def kept(model: PeftModel, dtype: torch.dtype) -> float:
    """Return the share of the adapter's change that the weights keep when they are merged into a type."""
    found = of = 0.0
    for layer in Served(model, {}).layers.values():
        weight, change = layer.get_base_layer().weight.data, layer.get_delta_weight(NAME)
        found += float((((weight + change).to(dtype).float() - weight) * change).sum())
        of += float((change * change).sum())
    return found / of


def quantized(model: PeftModel, rounding: Callable[[torch.Tensor], torch.Tensor]) -> PreTrainedModel:
    """Merge, then round every linear layer but the head."""
    whole = merged(model)
    for name, layer in whole.named_modules():
        if isinstance(layer, nn.Linear) and not name.endswith("lm_head"):
            layer.weight.data.copy_(rounding(layer.weight.data))
    return whole


def most_likely(answers: Sequence[Mapping[int, float]], count: int) -> list[dict[int, float]]:
    """Keep the most likely tokens of each, as an engine gives them."""
    return [dict(sorted(answer.items(), key=lambda item: -item[1])[:count]) for answer in answers]


def ask_whole(model: PreTrainedModel | PeftModel, prompts: Sequence[Sequence[int]]) -> list[dict[int, float]]:
    """Ask as an engine does: one prompt at a time, every token's log-probability of the next."""
    answers = []
    with torch.inference_mode():
        for prompt in prompts:
            logits = model(input_ids=torch.tensor([list(prompt)], device=model.device), use_cache=False).logits[0, -1]
            answers.append(dict(enumerate(torch.log_softmax(logits.float(), dim=-1).tolist())))
    return answers
