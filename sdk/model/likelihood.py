"""How likely a model finds endings of one and the same beginning."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel
from transformers import DynamicCache, PreTrainedModel

_BATCH_TOKENS = 4_096
_LEAST = 0.2  # of the tokens
_EVEN = 1e-9  # variance of a distribution that is one token, or all alike, but for rounding


@dataclass(frozen=True)
class Likelihood:
    """Negative log-likelihood of an ending's counted tokens, nats; greedy: each of them is the most likely one.

    min_k: mean of the least fifth of their log-likelihoods, each in standard deviations above what the model expects of
    a token there (Min-K%++, Zhang et al. 2024, arXiv 2404.02936).
    """

    nll: float
    greedy: bool
    min_k: float


def likelihoods(
    model: PreTrainedModel | PeftModel, rows: Sequence[Sequence[int]], counted: Sequence[range]
) -> list[Likelihood]:
    """Return each row's likelihood of the counted places, given all tokens before.

    What all rows begin with goes through the model once.
    """
    begin = min(min(places.start for places in counted) - 1, _common(rows))
    # A learned prompt stands before the first token, where PEFT takes no cache of ours, and the states of some models
    # (Mamba) cannot be repeated.
    if (isinstance(model, PeftModel) and model.active_peft_config.is_prompt_learning) or base_of(model)._is_stateful:
        begin = 0
    width = max(map(len, rows))
    size = max(1, _BATCH_TOKENS // (width - begin))
    found: list[Likelihood] = []
    for start in range(0, len(rows), size):
        found += _batch(model, rows[start : start + size], counted[start : start + size], begin)
    return found


def _common(rows: Sequence[Sequence[int]]) -> int:
    """Count the tokens that all rows begin with."""
    first, last = min(map(list, rows)), max(map(list, rows))
    return next((place for place, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))


@torch.inference_mode()
def _batch(
    model: PreTrainedModel | PeftModel, rows: Sequence[Sequence[int]], counted: Sequence[range], begin: int
) -> list[Likelihood]:
    width = max(map(len, rows)) - begin
    # Padding stands behind the row, where a causal model does not look.
    ids = torch.tensor([[*row[begin:], *[0] * (width + begin - len(row))] for row in rows], device=model.device)
    given: dict[str, Any] = {"use_cache": False}
    if begin:
        beginning = torch.tensor([list(rows[0][:begin])], device=model.device)
        cache = DynamicCache(config=model.config)
        given = {cache_name(model): cache, "use_cache": True}
        model(input_ids=beginning, **given)
        cache.batch_repeat_interleave(len(rows))
    logits = model(input_ids=ids, **given).logits[:, -width:]  # a learned prompt's places are scored too
    found = []
    for line, places in enumerate(counted):
        # The logits at a place are of the token after it.
        where = torch.tensor([place - begin - 1 for place in places], device=model.device)
        scores, targets = logits[line, where].float(), ids[line, where + 1]
        nll = torch.nn.functional.cross_entropy(scores, targets, reduction="sum")
        greedy = bool((scores.argmax(dim=-1) == targets).all())
        found.append(Likelihood(float(nll), greedy, _min_k(scores, targets)))
    return found


def _min_k(scores: torch.Tensor, targets: torch.Tensor) -> float:
    """Score by Min-K%++. scores: (tokens, vocabulary), logits; targets: (tokens,), ids."""
    logs = scores.log_softmax(dim=-1)
    shares = logs.exp()
    expected = (shares * logs).sum(dim=-1)
    variance = (shares * logs.square()).sum(dim=-1) - expected.square()
    above = (logs.gather(-1, targets[:, None]).squeeze(-1) - expected) / variance.clamp(min=_EVEN).sqrt()
    return float(above.sort().values[: math.ceil(_LEAST * len(targets))].mean())


def cache_name(model: PreTrainedModel | PeftModel) -> str:
    """Return the cache's parameter name: transformers 5 has renamed it, and warns of the earlier name."""
    return "cache" if "cache" in inspect.signature(base_of(model).forward).parameters else "past_key_values"


def base_of(model: PreTrainedModel | PeftModel) -> PreTrainedModel:
    """Return the model without what PEFT puts around it."""
    return model.get_base_model() if isinstance(model, PeftModel) else model
