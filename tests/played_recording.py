"""Recordings of CUDA graphs as a CPU can play them."""

from __future__ import annotations

from typing import Any

import torch


class PlayedRecording:
    """A recording that computes again, on tensors of its own; as the real one, it runs the pass once to be recorded."""

    def __init__(self, run: Any, rows: dict[str, torch.Tensor], trained: Any, pool: Any) -> None:
        self.run, self.rows, self.trained = run, {name: value.clone() for name, value in rows.items()}, trained
        run(self.rows)

    def put(self, rows: dict[str, torch.Tensor]) -> None:
        for name, value in rows.items():
            self.rows[name].copy_(value)

    def forward(self) -> torch.Tensor:
        with torch.enable_grad():
            self.out: torch.Tensor = self.run(self.rows)
        return self.out

    def backward(self, gradient: torch.Tensor) -> Any:
        return torch.autograd.grad(self.out, self.trained, gradient)
