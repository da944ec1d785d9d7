"""The evaluation step: the domain's own questions, the base model against the adapted one."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sdk.model  # noqa: F401 - sets what the libraries below read when they are imported

# isort: split
import torch
from peft import PeftModel
from transformers import PreTrainedModel

from sdk.data import Row, RowsFile, answer, conversation, read_rows
from sdk.data.scoring import score
from sdk.domain import Domain
from sdk.errors import StepFailed
from sdk.intervals import bootstrap
from sdk.model import Base, Chat, Encoded, encode_rows
from sdk.model.adapter import attach_adapter
from sdk.model.generate import generate_ids
from sdk.model.load import load_base
from sdk.records import Method, Metrics, OnProgress, Outcome, Scores

QUESTIONS_AT_ONCE = 32
_BATCH_TOKENS = 4_096


@dataclass(frozen=True)
class Answered:
    """One model's result on one question: exact match, F1, negative log-likelihood of the reference and its tokens."""

    exact: bool
    f1: float
    nll: float
    tokens: int


def evaluate(
    data: RowsFile | Path,
    base: Base,
    method: Method,
    adapter_config: Mapping[str, Any],
    adapter_weights: bytes,
    prompt: str,
    domain: Domain,
    on_progress: OnProgress,
) -> Scores:
    """Ask both models every question of a scrubbed evaluation file and compare with its reference answers.

    adapter_config, adapter_weights: content of adapter_config.json and bytes of adapter_model.safetensors, which are
    attached from memory.
    Raises InvalidInput with every row that does not fit the model, StepFailed where a perplexity is not finite.
    """
    began = time.monotonic()
    rows = read_rows(data).rows
    model, tokenizer = load_base(base, method)
    chat = Chat(tokenizer)
    encoded = encode_rows(chat, rows, prompt, getattr(model.config, "max_position_embeddings", 1_000_000))
    before, _ = ask(model, chat, rows, encoded, prompt, domain.max_new_tokens, _named(on_progress, "base"))
    adapted = attach_adapter(model, adapter_config, adapter_weights)
    after, speed = ask(adapted, chat, rows, encoded, prompt, domain.max_new_tokens, _named(on_progress, "adapted"))
    return Scores(
        metric=domain.metric,
        base=_by_language(rows, before, "base"),
        adapted=_by_language(rows, after, "adapted"),
        outcomes=tuple(
            Outcome(
                row=row.id,
                language=row.language,
                base_exact=old.exact,
                adapted_exact=new.exact,
                base_f1=old.f1,
                adapted_f1=new.f1,
            )
            for row, old, new in zip(rows, before, after, strict=True)
        ),
        tokens_per_second=speed,
        seconds=time.monotonic() - began,
    )


def _named(on_progress: OnProgress, which: str) -> OnProgress:
    return lambda what, done, total, figures: on_progress(f"{what} ({which})", done, total, figures)


def ask(
    model: PreTrainedModel | PeftModel,
    chat: Chat,
    rows: Sequence[Row],
    encoded: Sequence[Encoded],
    prompt: str,
    max_new_tokens: int,
    on_progress: OnProgress,
) -> tuple[list[Answered], float]:
    """Ask every question; return the results, and the tokens generated per second.

    encoded: the rows, whose references' loss is taken.
    """
    questions = [conversation(row, prompt)[:-1] for row in rows]
    began = time.monotonic()
    generated = generate_ids(model, chat, questions, max_new_tokens, QUESTIONS_AT_ONCE, on_progress)
    speed = sum(map(len, generated)) / (time.monotonic() - began)
    losses = _negative_log_likelihoods(model, encoded, chat.tokenizer.pad_token_id)
    results = []
    for row, ids, item, loss in zip(rows, generated, encoded, losses, strict=True):
        exact, f1 = score(chat.answer(ids), answer(row), row.language)
        results.append(Answered(exact, f1, loss, sum(item.in_loss)))
    return results, speed


def mean_losses(model: PreTrainedModel | PeftModel, encoded: Sequence[Encoded], pad: int) -> list[float]:
    """Return each row's mean negative log-likelihood of its learned tokens, nats."""
    sums = _negative_log_likelihoods(model, encoded, pad)
    return [loss / sum(item.in_loss) for loss, item in zip(sums, encoded, strict=True)]


@torch.inference_mode()
def _negative_log_likelihoods(model: PreTrainedModel | PeftModel, encoded: Sequence[Encoded], pad: int) -> list[float]:
    """Return each row's sum over its learned tokens, nats."""
    losses = [0.0] * len(encoded)
    order = sorted(range(len(encoded)), key=lambda place: len(encoded[place].input_ids))
    while order:
        size = max(1, min(QUESTIONS_AT_ONCE, _BATCH_TOKENS // len(encoded[order[-1]].input_ids)))
        batch, order = order[-size:], order[:-size]
        width = max(len(encoded[place].input_ids) for place in batch)
        ids = torch.full((len(batch), width), pad)
        labels = torch.full((len(batch), width), -100)
        for line, place in enumerate(batch):
            length = len(encoded[place].input_ids)
            ids[line, :length] = torch.tensor(encoded[place].input_ids)
            labels[line, :length] = torch.tensor(encoded[place].labels)
        ids, targets = ids.to(model.device), labels[:, 1:].to(model.device)
        # Padding stands behind the row, where a causal model does not look.
        # A learned prompt stands in front, and its places are scored too.
        logits = model(input_ids=ids, use_cache=False).logits[:, -ids.shape[1] : -1]
        learned = targets != -100
        nll = torch.zeros_like(targets, dtype=torch.float32)
        nll[learned] = torch.nn.functional.cross_entropy(logits[learned].float(), targets[learned], reduction="none")
        for place, value in zip(batch, nll.sum(dim=1).tolist(), strict=True):
            losses[place] = value
    return losses


def _by_language(rows: Sequence[Row], answered: Sequence[Answered], which: str) -> dict[str, Metrics]:
    groups = {"all": list(answered)}
    for language in sorted({row.language for row in rows}):
        groups[language] = [item for row, item in zip(rows, answered, strict=True) if row.language == language]
    return {name: _metrics(group, f"{which} model, {name}") for name, group in groups.items()}


def _metrics(group: Sequence[Answered], what: str) -> Metrics:
    mean = sum(item.nll for item in group) / sum(item.tokens for item in group)
    # exp overflows above 709 nats a token.
    if not mean < 700:
        raise StepFailed(
            f"The perplexity of the {what}, is not a finite number ({mean} nats a token): the weights overflow in this "
            "precision. Use method lora (16-bit weights), or train again with a lower learning rate."
        )
    return Metrics(
        questions=len(group),
        exact_match=bootstrap([float(item.exact) for item in group]),
        f1=bootstrap([item.f1 for item in group]),
        perplexity=math.exp(mean),
    )
