"""A GPU that is not there: what the engine, transformers and Liger ask of one is answered, and nothing computes.

Tensors lie on torch's meta device. Triton is a stub whose kernels launch nothing; autocast is played, since torch knows
none for meta tensors; fused attention keeps what torch's keeps.
"""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.machinery
import sys
import types
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch.overrides import TorchFunctionMode

from sdk.hardware.kernels import FLASH_HEAD_SIZE

LAUNCHED: list[Callable[[list[Any]], None]] = []  # each is told the arguments of a kernel that would be launched


class _NoKernel:
    """What @triton.jit gives: it launches nothing, and counts."""

    def __init__(self, function: Any) -> None:
        self.fn = function

    def __getitem__(self, grid: Any) -> Any:
        return self.run

    def run(self, *given: Any, **named: Any) -> None:
        for note in LAUNCHED:
            note([*given, *named.values()])


def _decorate(*given: Any, **options: Any) -> Any:
    if given and callable(given[0]):
        return _NoKernel(given[0])
    return lambda function: function if isinstance(function, _NoKernel) else _NoKernel(function)


def _keep(*given: Any, **options: Any) -> Any:
    return lambda function: function


class _Stub(types.ModuleType):
    __version__ = "3.6.0"
    __path__: ClassVar[list[str]] = []
    jit = staticmethod(_decorate)
    autotune = heuristics = staticmethod(_keep)
    cdiv = staticmethod(lambda a, b: -(-a // b))
    next_power_of_2 = staticmethod(lambda number: 1 << max(0, number - 1).bit_length())

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Anything()


class _Anything:
    def __getattr__(self, name: str) -> Any:
        return _Anything()

    def __call__(self, *given: Any, **named: Any) -> Any:
        return _Anything()


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name.split(".")[0] == "triton":
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: Any) -> Any:
        return _Stub(spec.name)

    def exec_module(self, module: Any) -> None:
        pass


# As autocast treats what runs on a GPU (torch/amp: lists of what is computed in float32 and in 16 bits).
_WIDE = {
    "layer_norm", "group_norm", "pow", "__pow__", "__rpow__", "rsqrt", "exp", "expm1", "log", "log2", "log1p", "tan",
    "square", "reciprocal", "softplus", "cosine_similarity", "cumprod", "norm", "acos", "asin", "cosh",
}  # fmt: skip
_WIDE_RESULT = {"softmax", "log_softmax", "sum", "prod", "cumsum"}
_NARROW = {
    "linear", "matmul", "__matmul__", "mm", "bmm", "addmm", "baddbmm", "addbmm", "einsum", "conv1d", "conv2d",
    "scaled_dot_product_attention", "_grouped_mm",
}  # fmt: skip


class _Autocast(TorchFunctionMode):
    enabled = False

    def __torch_function__(self, func: Any, types_: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if _Autocast.enabled:
            if name in _WIDE:
                args = tuple(_cast(value, torch.float32) for value in args)
            elif name in _WIDE_RESULT and kwargs.get("dtype") is None:
                first = args[0]
                if isinstance(first, torch.Tensor) and first.is_floating_point() and first.dtype != torch.float32:
                    kwargs = {**kwargs, "dtype": torch.float32}
            elif name in _NARROW:
                args = tuple(_cast(value, torch.bfloat16) for value in args)
                kwargs = {key: _cast(value, torch.bfloat16) for key, value in kwargs.items()}
        return func(*args, **kwargs)


def _cast(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, torch.Tensor) and value.is_floating_point() and value.dtype != dtype:
        return value.to(dtype)
    return [_cast(item, dtype) for item in value] if isinstance(value, list) else value


class Switch(contextlib.ContextDecorator):
    def __init__(self, device_type: Any = None, dtype: Any = None, enabled: bool = True, **more: Any) -> None:
        self.wanted = enabled

    def __enter__(self) -> None:
        self.before, _Autocast.enabled = _Autocast.enabled, self.wanted
        # The backward pass, which computes layers once more, runs outside of function modes.
        there = any(isinstance(mode, _Autocast) for mode in torch.overrides._get_current_function_mode_stack())
        self.mode = _Autocast() if self.wanted and not there else contextlib.nullcontext()
        self.mode.__enter__()

    def __exit__(self, *given: Any) -> None:
        self.mode.__exit__(*given)
        _Autocast.enabled = self.before


class _Properties:
    multi_processor_count = 132
    total_memory = 141 << 30
    major, minor, name = 9, 0, "NVIDIA H200"


def pretend() -> None:
    """Let torch seem to have a GPU on which meta tensors lie, and Triton be there. Of the whole process, for good."""
    sys.meta_path.insert(0, Finder())
    torch.cuda.is_available = lambda: True
    torch.cuda.get_device_capability = lambda *given: (9, 0)
    torch.cuda.get_device_properties = lambda *given: _Properties()
    torch.cuda.current_device = lambda: 0
    torch.cuda.device = lambda *given: contextlib.nullcontext()
    torch.amp.is_autocast_available = lambda *given: True
    torch.autocast = torch.amp.autocast = Switch
    torch.is_autocast_enabled = lambda *given: _Autocast.enabled
    torch.get_autocast_dtype = lambda *given: torch.bfloat16
    torch.Tensor.is_cuda = property(lambda self: True)
    told, number = torch.Tensor.__bool__, torch.Tensor.item
    torch.Tensor.__bool__ = lambda self: True if self.is_meta else told(self)  # OPT draws which layers it leaves out
    torch.Tensor.item = lambda self: 1 if self.is_meta else number(self)
    torch._C._log_api_usage_once = lambda *given: None
    torch.nn.functional.scaled_dot_product_attention = fused_attention
    torch.nn.functional.dropout = fused_dropout


def fused_dropout(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """Play a GPU's kernel, which keeps a byte for each number; elsewhere torch keeps a factor."""
    return _Drop.apply(input) if training and 0 < p < 1 else input


class _Drop(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, given: Any) -> Any:
        ctx.save_for_backward(torch.empty_like(given, dtype=torch.bool))
        return torch.empty_like(given)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return torch.empty_like(gradients[0])


def fused_attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: Any = None,
    enable_gqa: bool = False,
) -> Any:
    dtype = query.dtype if not _Autocast.enabled else torch.bfloat16
    query, key, value = (tensor.to(dtype) for tensor in (query, key, value))
    grouped = key.shape[1] != query.shape[1]
    # No fused kernel takes gradients of a mask (Inkling's positions), keys that are to be broadcast over heads
    # (Falcon) or groups of heads wider than flash attention's (Gemma 4's layers without a window).
    learned = attn_mask is not None and attn_mask.requires_grad
    if learned or (grouped and not enable_gqa) or (grouped and query.shape[-1] > FLASH_HEAD_SIZE):
        return _with_all_scores(query, key, value, attn_mask, enable_gqa)
    if grouped and attn_mask is not None:
        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    return _Attend.apply(query, key, value)


def _with_all_scores(query: Any, key: Any, value: Any, mask: Any, enable_gqa: bool) -> Any:
    """Play _scaled_dot_product_attention_math: all in float32, and at its end weights in the type that they came in."""
    dtype = query.dtype
    query, key, value = (tensor.float() for tensor in (query, key, value))
    with Switch(enabled=False):
        query = query * 1.0
        if enable_gqa:
            groups = query.shape[1] // key.shape[1]
            key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        scores = query @ (key.transpose(-1, -2) * 1.0)
        if mask is not None:
            scores.add_(mask)
        weights = _SafeSoftmax.apply(scores)
        out = (weights @ value).to(dtype)
        weights.detach().to(dtype)
        return out


class _SafeSoftmax(torch.autograd.Function):
    """torch's softmax that gives zeros where all is masked: keeps its output, which is a further tensor."""

    @staticmethod
    def forward(ctx: Any, scores: Any) -> Any:
        weights = torch.empty_like(scores)
        masked = torch.empty_like(scores, dtype=torch.bool)
        out = torch.empty_like(weights)
        del masked
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return torch.ops.aten._softmax_backward_data(gradients[0], ctx.saved_tensors[0], -1, torch.float32)


class _Attend(torch.autograd.Function):
    """torch's fused attention: keeps its inputs, its output and a float32 for each token and head."""

    @staticmethod
    def forward(ctx: Any, query: Any, key: Any, value: Any) -> Any:
        out = query.new_empty(query.shape[0], query.shape[2], query.shape[1], value.shape[-1]).transpose(1, 2)
        sums = query.new_empty(query.shape[:3], dtype=torch.float32)
        ctx.save_for_backward(query, key, value, out, sums)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        query, key, value, _, _ = ctx.saved_tensors
        return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
