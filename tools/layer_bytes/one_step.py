"""One training step of a small model by the engine, on the GPU that is not there."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any, NamedTuple

import torch
import transformers
from peft import get_peft_model
from transformers.modeling_layers import GradientCheckpointingLayer

from sdk.records import TrainSettings
from sdk.train.engine import attention, dora, head, install, products, row_kernels, use_row_attention
from sdk.train.methods import peft_config
from tools.layer_bytes.ledger import Ledger
from tools.layer_bytes.pretended_gpu import LAUNCHED, Switch, fused_attention


class Step(NamedTuple):
    kept: int
    outside: int
    head: int
    tail: int
    back: list[tuple[int, int]]  # in the backward pass of a layer, over what lay there before its forward pass
    names: list[str]
    moved: tuple[int, int]
    launches: tuple[int, int]
    by_rows: bool  # its attention takes several rows that lie one behind the other


LAYERS = 3


def settings_of(tokens: int, recompute: bool, rank: int, **adapter: Any) -> TrainSettings:
    """Return the settings of the step. adapter: those of another kind than LoRA."""
    given: dict[str, Any] = {"lora_dropout": 0.0, **adapter}
    return TrainSettings(
        method="lora", lora_r=rank, lora_alpha=2 * rank, learning_rate=1e-4, num_train_epochs=1.0,
        lr_scheduler_type="constant", warmup_ratio=0.0, per_device_train_batch_size=1, gradient_accumulation_steps=1,
        gradient_checkpointing=recompute, max_length=tokens, **given,
    )  # fmt: skip


def step(config: Any, given: TrainSettings, rows_of_it: int = 1) -> Step:
    """Train a model of some layers for one step, and return what the last but one kept and needed.

    rows_of_it: so many rows lie in the pass, where the model's attention takes more than one.
    """
    tokens = given.max_length
    ledger = Ledger()
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).requires_grad_(False)
        wrapped = get_peft_model(model, peft_config(model, given, 5)).train()
    for value in wrapped.parameters():
        if value.requires_grad:
            value.data = value.data.float()
    by_rows = use_row_attention(wrapped.get_base_model())

    def dense(layer: Any, dtype: Any) -> Any:
        fresh = torch.empty_like(layer.weight)
        ledger.set_aside(fresh)
        return fresh

    def loss(hidden: Any, head_: Any, targets: Any) -> Any:
        ledger.mark("head")
        hidden.register_hook(lambda gradient: ledger.mark("learned"))
        return _Loss.apply(hidden)

    products.dense = dora.dense = dense
    head.frozen_head_loss = loss
    if importlib.util.find_spec("liger_kernel"):  # was imported before Triton seemed to be there
        patches = importlib.import_module("liger_kernel.transformers.monkey_patch")
        install.fuse_elementwise = patches._apply_liger_kernel_to_instance
        for name in ("swiglu", "geglu"):
            module = importlib.import_module(f"liger_kernel.ops.{name}")
            backward = f"{name}_backward"
            install._OVERWRITING.setdefault(backward, (module, getattr(module, backward)))
    if not hasattr(row_kernels, "_forward_kernel"):  # was imported before, too
        importlib.reload(row_kernels)
    attention._has_flash = lambda device: True
    attention.works = lambda *given: True  # type: ignore[assignment]
    attention.scaled_dot_product_attention = fused_attention
    install.install_engine(wrapped, given)
    every = _layers(model)
    layers = every[-LAYERS:]
    order = {id(layer): place for place, layer in enumerate(layers)}

    def before(module: Any, args: Any, named: Any) -> None:
        place = order[id(module)]
        hidden = args[0] if args else named["hidden_states"]
        if f"in{place}" not in ledger.marks:
            ledger.mark(f"in{place}")
            if hidden.requires_grad:
                hidden.register_hook(lambda gradient: ledger.mark(f"back{place}"))

    for layer in layers:
        layer.register_forward_pre_hook(before, with_kwargs=True)

    def after(module: Any, given: Any, output: Any) -> None:
        hidden = output[0] if isinstance(output, tuple) else output
        if "out" not in ledger.marks:
            ledger.mark("out")
            hidden.register_hook(lambda gradient: ledger.mark("tail"))

    layers[-1].register_forward_hook(after)
    rows = {"position_ids": torch.empty(1, tokens, dtype=torch.int64, device="meta")}
    if by_rows:
        length = tokens // rows_of_it
        starts = torch.arange(0, tokens + 1, length, dtype=torch.int32)
        rows |= {"cu_seq_lens_q": starts, "max_length_q": length}
    ids = torch.empty(1, tokens, dtype=torch.int64, device="meta")
    learned = torch.empty(tokens, dtype=torch.int64, device="meta")
    ledger.known(
        [
            *wrapped.parameters(),
            *wrapped.buffers(),
            ids,
            learned,
            *(v for v in rows.values() if isinstance(v, torch.Tensor)),
        ]
    )
    LAUNCHED.append(ledger.launched)
    try:
        with ledger:
            with Switch():
                out = wrapped(input_ids=ids, learned=learned, targets=learned, use_cache=False, **rows)
            ledger.mark("loss")
            torch.autograd.backward(out.loss)  # Tensor.backward would leave the mode above
            ledger.mark("end")
    finally:
        LAUNCHED.pop()
    line = ledger.timeline
    places = {name: place for name, (place, _) in ledger.marks.items()}
    live = {name: bytes_ for name, (_, bytes_) in ledger.marks.items()}
    kept = live["in2"] - live["in1"]
    outside = live["in1"] - (len(every) - 2) * kept
    whole = outside + len(every) * kept
    # While the head computes, its logits are there besides, which are not counted here; not so in the last norm.
    at_head = max(bytes_ for bytes_, _ in line[places["head"] : places["learned"]]) - whole
    norm = line[places["out"] : places["head"]] + line[places["learned"] : places["tail"]]
    tail = max(bytes_ for bytes_, _ in norm) - whole
    start, end = places["back2"], places["back1"]
    back = [(bytes_ - live["in1"], held) for bytes_, held in line[start:end]]
    (m1, l1), (m2, l2) = ledger.counters[places["in1"] - 1], ledger.counters[places["in2"] - 1]
    (m3, l3), (m4, l4) = ledger.counters[start - 1], ledger.counters[end - 1]
    moved, launches = (m2 - m1, m4 - m3), (l2 - l1, l4 - l3)
    return Step(kept, outside, at_head, tail, back, ledger.names[start:end], moved, launches, by_rows)


def _layers(model: torch.nn.Module) -> list[torch.nn.Module]:
    """Return the decoder layers; of a model that can recompute none, those of its longest list."""
    able = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    lists = [list(module) for module in model.modules() if isinstance(module, torch.nn.ModuleList)]
    return able or max(lists, key=len)


class _Loss(torch.autograd.Function):
    """The head without its logits, which are counted elsewhere: keeps the gradient of its input."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(torch.empty_like(hidden))
        return hidden.new_empty((), dtype=torch.float32)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        (gradient,) = ctx.saved_tensors
        return gradient * gradients[0].to(gradient.dtype)
