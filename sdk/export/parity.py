"""The certificate: how like the approved model, un-merged, exported files behave in the engine that will serve them.

Both are asked for the next token at places of reference answers, and for greedy answers to the domain's questions. Of
each model the likeliest tokens are known, and what is left counts as one more: so the divergence is never overstated,
and what an engine does not name counts as the least that it named.

No text of a question or an answer is in what comes out.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sdk.data import Row, conversation
from sdk.data.lengths import TEXT_LENGTH
from sdk.data.measures import Given, Measures
from sdk.errors import InvalidInput, Refused
from sdk.export.engines import Engine, Likely, Messages
from sdk.intervals import bootstrap, share_interval
from sdk.model import Chat, encode_rows
from sdk.records import BehaviourCheck, Metric, Parity, divergence

QUESTIONS = 128  # that are asked at most, evenly taken
PLACES = 768  # of reference answers at most
_COMPARED = 64  # tokens of the approved model at a place; the others count as one
_LEAST = 1e-9  # probability of what is impossible
_TEXT_TOKENS = 24  # that running text is continued by


@dataclass(frozen=True)
class Questionnaire:
    """What both models are asked: the domain's questions, and places of their reference answers."""

    questions: Sequence[Row]
    conversations: Sequence[Messages]
    rows: Sequence[Sequence[int]]
    places: Sequence[Sequence[int]]
    tokens: int

    @property
    def wanted(self) -> list[int]:
        """The token that stands at each place."""
        return [row[place] for row, asked in zip(self.rows, self.places, strict=True) for place in asked]


@dataclass(frozen=True)
class Behaved:
    """What one of them did."""

    likely: Sequence[Likely]
    answers: Sequence[str]
    sizes: Sequence[int]


def what_to_ask(rows: Sequence[Row], chat: Chat, prompt: str, tokens: int, room: int | None) -> Questionnaire:
    """Choose of the held-out rows what is asked, evenly. room: tokens that the model takes.

    Raises InvalidInput where there is none, or a row is too long.
    """
    if not rows:
        raise InvalidInput("There are no held-out rows to compare the exported model on.")
    step = max(1, math.ceil(len(rows) / QUESTIONS))
    chosen = [*rows][::step]
    longest = min(TEXT_LENGTH, room or TEXT_LENGTH)
    encoded = encode_rows(chat, chosen, prompt, longest)
    learned = [
        [place for place, inside in enumerate(each.in_loss[:longest]) if inside and place > 0] for each in encoded
    ]
    every = max(1, math.ceil(sum(map(len, learned)) / PLACES))
    texts = chosen[0].is_text
    return Questionnaire(
        questions=[] if texts else chosen,
        conversations=[] if texts else [conversation(row, prompt)[:-1] for row in chosen],
        rows=[each.input_ids[:longest] for each in encoded],
        places=[each[number % every :: every] or each[:1] for number, each in enumerate(learned)],
        tokens=_TEXT_TOKENS if texts else tokens,
    )


def ask_engine(engine: Engine, asked: Questionnaire) -> Behaved:
    """Ask an engine all of it."""
    likely = engine.next_tokens(asked.rows, asked.places)
    answers = engine.answers(asked.conversations, asked.tokens) if asked.conversations else []
    return Behaved(likely, answers, engine.prompt_sizes(asked.conversations) if asked.conversations else [])


def certify(
    engine: str,
    asked: Questionnaire,
    approved: Behaved,
    exported: Behaved,
    judged_by: tuple[Measures, Metric],
    behaviour: BehaviourCheck | None,
    began: float,
) -> Parity:
    """Compare what the approved model did with what the exported files did. began: by the monotonic clock.

    Raises Refused where the engine's own tokenizer or chat template makes other tokens of the questions.
    """
    measures, metric = judged_by
    differing = sum(one != other for one, other in zip(approved.sizes, exported.sizes, strict=True))
    if differing:
        raise Refused(
            "The exported model was refused: its tokenizer or chat template is not that of the approved one.",
            [f"{differing} of {len(approved.sizes)} questions have another number of tokens in {engine}"],
        )
    pairs = [*zip(approved.likely, exported.likely, strict=True)]
    divergences = np.array([_divergence(one, other) for one, other in pairs])
    top = [_likeliest(one) == _likeliest(other) for one, other in pairs]
    lost = [_lost(one, other, token) for (one, other), token in zip(pairs, asked.wanted, strict=True)]
    places = len(pairs)
    if asked.questions:
        same = [one == other for one, other in zip(approved.answers, exported.answers, strict=True)]
        before, after = (_scores(measures, metric, asked, each) for each in (approved, exported))
    else:
        same, metric = top, "perplexity"
        before, after = [0.0] * places, [-each for each in lost]
    return Parity(
        engine=engine,
        places=places,
        kl_mean=float(divergences.mean()),
        kl_p99=float(np.percentile(divergences, 99)),
        top1=share_interval(sum(top), places),
        questions=len(same),
        same_answers=share_interval(sum(same), len(same)),
        metric=metric,
        score=float(np.mean(before)),
        score_exported=float(np.mean(after)),
        score_change=bootstrap([new - old for old, new in zip(before, after, strict=True)]),
        perplexity_ratio=math.exp(float(np.mean(lost))),
        behaviour=behaviour,
        seconds=time.monotonic() - began,
    )


def _scores(measures: Measures, metric: Metric, asked: Questionnaire, behaved: Behaved) -> list[float]:
    given = [Given(row, answer) for row, answer in zip(asked.questions, behaved.answers, strict=True)]
    return measures.measure(given, [metric])[metric].scores()


def _likeliest(likely: Likely) -> int:
    return max(likely, key=likely.__getitem__)


def _of(likely: Likely, token: int) -> float:
    """Return the token's log-probability; one that the engine did not name is no likelier than the least that it did.

    What is not a number counts as impossible.
    """
    value = likely.get(token, min(likely.values()))
    return value if math.isfinite(value) else math.log(_LEAST)


def _lost(approved: Likely, exported: Likely, token: int) -> float:
    """Return by how much less likely the token became, nats; 0 where both are below what the engine names."""
    if token in exported:
        return _of(approved, token) - _of(exported, token)
    return max(0.0, _of(approved, token) - _of(exported, token))


def _divergence(approved: Likely, exported: Likely) -> float:
    """Return the Kullback-Leibler divergence over the approved model's likeliest tokens and all others as one, nats."""
    tokens = sorted(approved, key=approved.__getitem__, reverse=True)[:_COMPARED]
    p, q = ([_of(side, token) for token in tokens] for side in (approved, exported))
    return divergence(p, q)
