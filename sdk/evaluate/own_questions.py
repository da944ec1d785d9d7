"""The evaluation step: the domain's own questions, the base model against the adapted one."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, compress
from pathlib import Path
from typing import Any, NamedTuple

import sdk.model.uncompiled  # noqa: F401 - sets what the libraries below read when they are imported

# isort: split
import torch
from peft import PeftModel
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from sdk.data import Row, RowsFile, conversation, read_rows
from sdk.data.general import general_rows
from sdk.data.lengths import TEXT_LENGTH
from sdk.data.measures import Given, Measured, Measures, by_language, choices_of
from sdk.data.slices import group_questions, score_slices
from sdk.domain import Domain
from sdk.errors import InvalidInput, StepFailed
from sdk.intervals import bootstrap_ratio
from sdk.model import Base, Chat, Encoded, cut_texts, encode_rows
from sdk.model.adapter import attach_adapter
from sdk.model.generate import answer_ids
from sdk.model.load import load_base
from sdk.model.probes import measure_behaviour
from sdk.records import (
    ALWAYS,
    Behaviour,
    Forgetting,
    Interval,
    Method,
    Metric,
    Metrics,
    OnProgress,
    Outcome,
    Quantization,
    Scores,
    TextOutcome,
)

QUESTIONS_AT_ONCE = 32
_BATCH_TOKENS = 4_096
_LOSS_TOKENS = 512


class Evaluation(NamedTuple):
    """What base and adapted model scored, and how the two behave where they differ."""

    scores: Scores
    behaviour: Behaviour


def evaluate(
    data: RowsFile | Path,
    base: Base,
    method: Method | Quantization,
    adapter_config: Mapping[str, Any],
    adapter_weights: bytes,
    measures: Measures,
    domain: Domain,
    on_progress: OnProgress,
) -> Evaluation:
    """Ask both models every question of a scrubbed evaluation file and compare with its reference answers.

    Where the file holds running text, both read it: its perplexity is the metric, and that on general texts and answers
    tells what was forgotten. In any case both are asked the probes of their behaviour.
    adapter_config, adapter_weights: content of adapter_config.json and bytes of adapter_model.safetensors, which are
    attached from memory. measures: the domain's metrics.
    Raises InvalidInput with every row that does not fit the model, StepFailed where a perplexity is not finite.
    """
    began = time.monotonic()
    rows = read_rows(data).rows
    texts = rows[0].is_text  # then all are, which scrubbing sees to
    groups = {} if texts else group_questions(rows, domain.slices)
    model, tokenizer = load_base(base, method)
    chat = Chat(tokenizer)
    if texts:
        return _read_texts(rows, model, chat, (adapter_config, adapter_weights), domain.prompt, on_progress)
    longest = getattr(model.config, "max_position_embeddings", 1_000_000)
    encoded = encode_rows(chat, rows, domain.prompt, longest)
    choices = _encode_choices(chat, rows, domain.prompt, longest) if measures.asks_likelihoods else []

    def given(model: PreTrainedModel | PeftModel, who: str) -> tuple[list[Given], float]:
        tell = _named(on_progress, who)
        answered, speed = ask(model, chat, rows, encoded, domain.prompt, domain.max_new_tokens, tell)
        return _with_likelihoods(model, chat, answered, choices), speed

    before, _ = given(model, "base")
    adapted = attach_adapter(model, adapter_config, adapter_weights)
    after, speed = given(adapted, "adapted")
    old, new = measures.measure(before), measures.measure(after)
    behaviour = _behaviour(adapted, chat, rows, domain.prompt, on_progress)
    scores = Scores(
        metric=domain.metric,
        base=_by_language(rows, old, "base"),
        adapted=_by_language(rows, new, "adapted"),
        outcomes=_outcomes(rows, old, new),
        slices=score_slices(groups, old[domain.metric], new[domain.metric]),
        confusion=measures.confusion(before, after),
        tokens_per_second=speed,
        seconds=time.monotonic() - began,
    )
    return Evaluation(scores, behaviour)


def _behaviour(adapted: PeftModel, chat: Chat, rows: Sequence[Row], prompt: str, on_progress: OnProgress) -> Behaviour:
    on_progress("evaluate (behaviour)", 0, None, {})
    return measure_behaviour(adapted, chat, prompt, {row.language for row in rows})


def _encode_choices(chat: Chat, rows: Sequence[Row], prompt: str, longest: int) -> list[list[Encoded]]:
    """Return for each question its choices, each where the answer begins. Raises InvalidInput where one is too long."""
    encoded = [[chat.continued(conversation(row, prompt)[:-1], choice) for choice in choices_of(row)] for row in rows]
    faults = [
        f"row {row.id}: {most} tokens with its longest choice, and the base takes {longest}"
        for row, each in zip(rows, encoded, strict=True)
        if (most := max(len(one.input_ids) for one in each)) > longest
    ]
    if faults:
        raise InvalidInput("Questions are too long for the base; shorten their choices or leave them out.", faults)
    return encoded


def _with_likelihoods(
    model: PreTrainedModel | PeftModel, chat: Chat, given: Sequence[Given], choices: Sequence[Sequence[Encoded]]
) -> list[Given]:
    """Return the answers with the log-likelihoods of the questions' choices, where these are encoded."""
    if not choices:
        return list(given)
    sums = iter(_negative_log_likelihoods(model, [*chain.from_iterable(choices)], chat.tokenizer.pad_token_id))
    return [replace(each, choices=tuple(-next(sums) for _ in own)) for each, own in zip(given, choices, strict=True)]


def _outcomes(
    rows: Sequence[Row], before: Mapping[Metric, Measured], after: Mapping[Metric, Measured]
) -> tuple[Outcome, ...]:
    old, new = ({metric: one.scores() for metric, one in measured.items()} for measured in (before, after))
    further = [metric for metric in before if metric not in ALWAYS]
    return tuple(
        Outcome(
            row=row.id,
            language=row.language,
            base_exact=bool(old["exact_match"][place]),
            adapted_exact=bool(new["exact_match"][place]),
            base_f1=old["f1"][place],
            adapted_f1=new["f1"][place],
            base_scores={metric: old[metric][place] for metric in further},
            adapted_scores={metric: new[metric][place] for metric in further},
        )
        for place, row in enumerate(rows)
    )


@dataclass(frozen=True)
class _Read:
    """What one model made of a row without answering anything: negative log-likelihood and tokens."""

    nll: float
    tokens: int


def _read_texts(
    rows: Sequence[Row],
    model: PreTrainedModel,
    chat: Chat,
    adapter: tuple[Mapping[str, Any], bytes],
    prompt: str,
    on_progress: OnProgress,
) -> Evaluation:
    """Return the perplexity of running text, and that on general texts and answers, before and after the training."""
    began = time.monotonic()
    length = min(TEXT_LENGTH, getattr(model.config, "max_position_embeddings", TEXT_LENGTH))
    general = general_rows({row.language for row in rows})
    every = [*rows, *general]
    pieces, places = cut_texts(every, encode_rows(chat, every, prompt, length), length)

    def read(model: PreTrainedModel | PeftModel, which: str) -> list[_Read]:
        on_progress(f"evaluate ({which})", 0, len(pieces), {})
        sums, tokens = [0.0] * len(every), [0] * len(every)
        losses = _negative_log_likelihoods(model, pieces, chat.tokenizer.pad_token_id)
        for place, piece, loss in zip(places, pieces, losses, strict=True):
            sums[place] += loss
            tokens[place] += sum(piece.in_loss)
        on_progress(f"evaluate ({which})", len(pieces), len(pieces), {})
        return [_Read(loss, count) for loss, count in zip(sums, tokens, strict=True)]

    before = read(model, "base")
    adapted = attach_adapter(model, *adapter)
    reading = time.monotonic()
    after = read(adapted, "adapted")
    speed = sum(len(piece.input_ids) for piece in pieces) / (time.monotonic() - reading)
    kinds = {"texts": [row.is_text for row in general], "answers": [not row.is_text for row in general]}
    behaviour = _behaviour(adapted, chat, rows, prompt, on_progress)
    scores = Scores(
        metric="perplexity",
        base=_read_by_language(rows, before[: len(rows)], "base"),
        adapted=_read_by_language(rows, after[: len(rows)], "adapted"),
        outcomes=(),
        texts=tuple(
            TextOutcome(
                row=row.id,
                language=row.language,
                tokens=old.tokens,
                base_loss=old.nll / old.tokens,
                adapted_loss=new.nll / new.tokens,
            )
            for row, old, new in zip(rows, before, after, strict=False)
        ),
        forgetting={
            kind: Forgetting(
                items=sum(chosen),
                base=_perplexity([*compress(before[len(rows) :], chosen)], f"base model, general {kind}"),
                adapted=_perplexity([*compress(after[len(rows) :], chosen)], f"adapted model, general {kind}"),
            )
            for kind, chosen in kinds.items()
        },
        tokens_per_second=speed,
        seconds=time.monotonic() - began,
    )
    return Evaluation(scores, behaviour)


def _read_by_language(rows: Sequence[Row], found: Sequence[_Read], which: str) -> dict[str, Metrics]:
    groups = {name: [found[place] for place in places] for name, places in by_language(rows).items()}
    return {
        name: Metrics(
            questions=len(group),
            perplexity=_perplexity(group, f"{which} model, {name}"),
            perplexity_interval=_perplexity_interval(group),
        )
        for name, group in groups.items()
    }


def _perplexity_interval(group: Sequence[_Read]) -> Interval:
    """Return perplexity and 95 % interval over documents that are drawn with replacement, each whole."""
    mean = bootstrap_ratio([each.nll for each in group], [each.tokens for each in group])
    return Interval(value=math.exp(mean.value), low=math.exp(mean.low), high=math.exp(mean.high))


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
) -> tuple[list[Given], float]:
    """Ask every question; return the answers, and the tokens generated per second.

    encoded: the rows, whose references' loss is taken, in the passes that read the prompts where that is possible.
    """
    questions = [conversation(row, prompt)[:-1] for row in rows]
    began = time.monotonic()
    generated, sums = answer_ids(model, chat, questions, encoded, max_new_tokens, None, on_progress)
    speed = sum(map(len, generated)) / (time.monotonic() - began)
    losses = _negative_log_likelihoods(model, encoded, chat.tokenizer.pad_token_id) if sums is None else sums
    return [
        Given(row, chat.answer(ids), loss, sum(item.in_loss))
        for row, ids, item, loss in zip(rows, generated, encoded, losses, strict=True)
    ], speed


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
        # In parts: of running text all tokens are learned, and a large vocabulary in 32 bits takes gigabytes then.
        parts = zip(
            torch.split(logits[learned], _LOSS_TOKENS), torch.split(targets[learned], _LOSS_TOKENS), strict=True
        )
        nll[learned] = torch.cat([cross_entropy(part.float(), wanted, reduction="none") for part, wanted in parts])
        for place, value in zip(batch, nll.sum(dim=1).tolist(), strict=True):
            losses[place] = value
    return losses


def _by_language(rows: Sequence[Row], measured: Mapping[Metric, Measured], which: str) -> dict[str, Metrics]:
    return {
        name: _metrics({metric: one.at(places) for metric, one in measured.items()}, f"{which} model, {name}")
        for name, places in by_language(rows).items()
    }


def _perplexity(group: Sequence[_Read], what: str) -> float:
    return _finite(sum(item.nll for item in group) / sum(item.tokens for item in group), what)


def _finite(mean: float, what: str) -> float:
    """Return the perplexity of a mean in nats; StepFailed where it is no number."""
    # exp overflows above 709 nats a token.
    if not mean < 700:
        raise StepFailed(
            f"The perplexity of the {what}, is not a finite number ({mean} nats a token): the weights overflow in this "
            "precision. Use method lora (16-bit weights), or train again with a lower learning rate."
        )
    return math.exp(mean)


def _metrics(measured: Mapping[Metric, Measured], what: str) -> Metrics:
    nll, tokens = (float(total) for total in measured["perplexity"].statistics.sum(axis=0))
    perplexity = _finite(nll / tokens, what)
    intervals = {metric: one.interval() for metric, one in measured.items()}
    return Metrics(
        questions=len(measured["perplexity"].statistics),
        exact_match=intervals["exact_match"],
        f1=intervals["f1"],
        perplexity=perplexity,
        perplexity_interval=intervals["perplexity"],
        further={metric: found for metric, found in intervals.items() if metric not in ALWAYS},
    )
