"""What lives after each operation of torch."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_leaves = torch.utils._pytree.tree_leaves
_VIEWS = {
    "view",
    "t",
    "transpose",
    "expand",
    "slice",
    "select",
    "split",
    "unsqueeze",
    "squeeze",
    "detach",
    "alias",
    "permute",
    "as_strided",
    "_unsafe_view",
    "unbind",
    "split_with_sizes",
    "_reshape_alias",
    "empty",
    "empty_like",
    "new_empty",
    "empty_strided",
    "unfold",
    "chunk",
    "narrow",
}
_PRODUCTS = {"mm", "addmm", "bmm", "baddbmm", "_grouped_mm", "addmm_", "convolution"}


class Ledger(TorchDispatchMode):
    """Bytes that live after every operation, of storages made since it began; matrices of weights by their name."""

    def __init__(self) -> None:
        super().__init__()
        self.live = 0
        self.moved = 0
        self.launches = 0
        self.timeline: list[tuple[int, int]] = []
        self.counters: list[tuple[int, int]] = []
        self.names: list[str] = []
        self.marks: dict[str, tuple[int, int]] = {}
        self.matrices: dict[int, int] = {}
        self._alive: dict[int, Any] = {}

    def mark(self, name: str) -> None:
        self.marks.setdefault(name, (len(self.timeline), self.live))

    def known(self, tensors: Any) -> None:
        for tensor in tensors:
            storage = tensor.untyped_storage()
            self._alive.setdefault(storage._cdata, storage)  # held, or its place could be taken

    def _note(self, name: str, inside: int = 0) -> None:
        held = next(iter(self.matrices.values()), 0)
        self.timeline.append((self.live + inside, held))
        self.counters.append((self.moved, self.launches))
        self.names.append(name)

    def launched(self, values: Any) -> None:
        self.launches += 1
        self.moved += sum(value.numel() * value.element_size() for value in values if isinstance(value, torch.Tensor))

    def take(self, tensor: torch.Tensor, matrix: bool = False) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._alive:
            return
        size = 0 if matrix else storage.nbytes()
        self.live += size
        if matrix:
            self.matrices[key] = tensor.numel()
        self._alive[key] = weakref.ref(storage, lambda _, key=key, size=size: self._gone(key, size))

    def _gone(self, key: int, size: int) -> None:
        self._alive.pop(key, None)
        self.matrices.pop(key, None)
        self.live -= size

    def set_aside(self, tensor: torch.Tensor) -> None:
        """Count a tensor, which was taken for an activation, as a matrix of weights."""
        storage = tensor.untyped_storage()
        if storage._cdata not in self._alive:  # before the step
            return
        del self._alive[storage._cdata]
        self.live -= storage.nbytes()
        self.take(tensor, matrix=True)

    def __torch_dispatch__(self, func: Any, types_: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.split("::")[1]
        inputs = [value for value in _leaves((args, kwargs)) if isinstance(value, torch.Tensor)]
        self.known(inputs)
        out = func(*args, **(kwargs or {}))
        results = [value for value in _leaves(out) if isinstance(value, torch.Tensor)]
        for value in results:
            self.take(value)
        if name in _VIEWS:
            self._note(name)
        else:
            self.launches += 1
            if name not in _PRODUCTS and "flash_attention" not in name:
                seen = {id(v): v for v in [*inputs, *results]}
                self.moved += sum(v.numel() * v.element_size() for v in seen.values())
            inside = 0
            if name == "_flash_attention_backward":
                # Its sums in float32, and with grouped queries keys' and values' gradients for each query's head.
                query, key = args[1], args[2]
                inside = 4 * query.numel() + (2 * 2 * query.numel() if query.shape != key.shape else 0)
            elif name == "_softmax_backward_data":
                inside = args[0].numel() * args[0].element_size()  # its product with what the softmax gave
            self._note(name, inside)
        return out
