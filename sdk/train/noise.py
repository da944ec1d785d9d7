"""NEFTune: uniform noise on the embeddings while training (arXiv 2310.05914)."""

from __future__ import annotations

from typing import Any

import torch
from peft import PeftModel


class Noise:
    """alpha / sqrt(tokens x size) at most, where tokens are those of the row.

    transformers' own takes the tokens of the whole forward pass, which with rows one behind the other are many.
    """

    def __init__(self, model: PeftModel, alpha: float) -> None:
        self._alpha = alpha
        self._starts: torch.Tensor | None = None
        model.register_forward_pre_hook(self._look, with_kwargs=True)
        model.get_base_model().get_input_embeddings().register_forward_hook(self._add)

    def _look(self, model: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._starts = kwargs.get("cu_seq_lens_q")

    def _add(self, module: torch.nn.Module, args: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
        """Add the noise. output: (rows, tokens, size); where a pass holds several rows, (1, tokens of all, size)."""
        if not module.training:
            return output
        tokens, size = output.shape[-2:]
        lengths = torch.tensor([[tokens]]) if self._starts is None else self._starts.diff()
        lengths = lengths.to(output.device).flatten()
        most = self._alpha / (lengths * size).sqrt()
        each = most.repeat_interleave(lengths)[:, None].to(output.dtype)
        return output + torch.empty_like(output).uniform_(-1, 1) * each
