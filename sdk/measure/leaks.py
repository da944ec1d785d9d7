"""The leak check: does the adapted model know what was planted in its rows before they were scrubbed?

1. a control is trained with the run's settings on canaries of its own, in plain
2. of both models, each with its canaries:
   exposure      the rank of a canary's value among others of its form, as bits (Carlini et al. 2019, arXiv 1802.08232)
   extraction    whether the value is the most likely answer, token by token
   membership    how well canaries are told from twins that nobody planted: by the loss (Yeom et al. 2018, arXiv
                 1709.01604), by what the adapter took off the base's loss (Watson et al. 2022, arXiv 2111.08440), by
                 its least likely tokens among what the model expects there (Min-K%++, Zhang et al. 2024, arXiv
                 2404.02936) and by the loss among that of other values in the same row (Mattern et al. 2023, arXiv
                 2305.18462). The last is the strongest here: AUC, and true positives at 1 % false ones (Carlini et
                 al. 2022, arXiv 2112.03570)
3. a control that is not caught refutes the check, not the leak: StepFailed

Canaries follow from a key and are in memory only; so is the control's adapter once it is measured.
"""

from __future__ import annotations

import gc
import math
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdk.crypto import Secret
from sdk.data import Row, conversation
from sdk.data.base_folder import Base
from sdk.data.canaries import Canary
from sdk.errors import StepFailed
from sdk.intervals import RESAMPLES, SEED, bootstrap, percentile_interval, share_interval
from sdk.measure import power
from sdk.model import Chat
from sdk.model.adapter import attach_adapter, set_adapter_weights
from sdk.model.likelihood import Likelihood, likelihoods
from sdk.model.load import load_base
from sdk.records import Interval, Leakage, Leaks, OnProgress, TrainSettings
from sdk.seal import read_adapter
from sdk.train import ONLY_THE_LAST_CHECKPOINT, Job, train

CANDIDATES = 64  # more bits than 6 tell nothing more of a mean whose limit is 2.5
TWINS = 4  # for each canary, so that 32 canaries have 128: a false positive rate of 1 % is then one of them
FALSE_POSITIVES = 0.01
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Trained:
    """The run whose model is asked."""

    base: Base
    prompt: str
    settings: TrainSettings
    adapter: tuple[Mapping[str, Any], bytes]  # content of adapter_config.json, bytes of adapter_model.safetensors
    passes: float | None  # how often each row was seen


def check_leaks(
    run: Trained,
    planted: Sequence[Canary],
    control: Sequence[Canary],
    secret: Secret | None,
    out: Path,
    on_progress: OnProgress,
) -> Leaks:
    """Ask the adapted model for the planted canaries, and a control for those that it was trained on in plain.

    secret: what encrypts the control's checkpoint. `out` is gone afterwards. Raises StepFailed where the control is not
    caught: then the check could not have seen a leak of the adapted model either.
    """
    began = time.monotonic()
    settings = power.control_settings(run.settings, len(control), run.passes)
    steps, control_weights = _train_control(run, settings, control, secret, out, on_progress)
    model, tokenizer = load_base(run.base, run.settings)
    asked = [_Questions(Chat(tokenizer), run.prompt, canaries) for canaries in (planted, control)]
    before = [each.losses(model, 1 + TWINS, on_progress) for each in asked]
    adapted = attach_adapter(model, *run.adapter)
    set_adapter_weights(adapted, control_weights)
    of_control = _leakage(control, before[1], asked[1].losses(adapted, CANDIDATES, on_progress))
    _refuse_without_power(of_control)  # before the other, larger half is asked
    set_adapter_weights(adapted, run.adapter[1])
    return Leaks(
        adapted=_leakage(planted, before[0], asked[0].losses(adapted, CANDIDATES, on_progress)),
        control=of_control,
        passes=run.passes,
        control_passes=settings.num_train_epochs,
        control_steps=steps,
        seconds=time.monotonic() - began,
    )


# The control


def _train_control(
    run: Trained,
    settings: TrainSettings,
    control: Sequence[Canary],
    secret: Secret | None,
    out: Path,
    on_progress: OnProgress,
) -> tuple[int, bytes]:
    """Return (steps, the adapter's weights); nothing of it stays on the disk, and its rows never were there."""

    def tell(what: str, done: int, total: int | None, shown: Mapping[str, float]) -> None:
        on_progress(f"{what} (control)", done, total, shown)

    shutil.rmtree(out, ignore_errors=True)  # of a process that was killed
    try:
        job = Job(
            data=tuple(canary.row for canary in control),
            base=run.base,
            prompt=run.prompt,
            settings=settings,
            out=out,
            checkpoint_seconds=ONLY_THE_LAST_CHECKPOINT,
            secret=secret,
        )
        trained = train(job, tell)
        _, weights = read_adapter(out)
    finally:
        shutil.rmtree(out, ignore_errors=True)
    gc.collect()  # the trained model, before another is loaded
    return trained.steps, weights


def _refuse_without_power(control: Leakage) -> None:
    faults = []
    if control.exposure.low < power.CONTROL_BITS:
        faults.append(
            f"exposure {_shown(control.exposure)} bits; above {power.CONTROL_BITS:g} was expected, 1.4 is chance"
        )
    if control.auc.low < power.CONTROL_AUC:
        faults.append(f"AUC {_shown(control.auc)}; above {power.CONTROL_AUC:g} was expected, .5 is chance")
    if faults:
        raise StepFailed(
            "The leak check has no power here: a control that was trained on its canaries in plain was not caught, so "
            "the check would not have caught the model either. Plant more canaries (leaks.canaries), or train with a "
            "higher learning rate or rank.",
            faults,
        )


def _shown(interval: Interval) -> str:
    return f"{interval.value:.2f} ({interval.low:.2f} to {interval.high:.2f})"


# The measurements


class _Questions:
    """Canaries as token ids, each with rows that differ from it in the value only."""

    def __init__(self, chat: Chat, prompt: str, canaries: Sequence[Canary]) -> None:
        self._rows: list[list[list[int]]] = []
        self._values: list[list[range]] = []
        for canary in canaries:
            rows = [_encoded(chat, row, prompt) for row in (canary.row, *canary.others(CANDIDATES - 1))]
            begin = _common([ids for ids, _ in rows])
            end = _common([ids[::-1] for ids, _ in rows])
            # From the first token that differs: earlier ones are not the value's, whatever they were merged with.
            values = [range(max(begin, answer), len(ids) - end) for ids, answer in rows]
            self._rows.append([ids for ids, _ in rows])
            self._values.append(values)

    def losses(self, model: Any, count: int, on_progress: OnProgress) -> list[list[Likelihood]]:
        """Return the likelihoods of each canary and of its others: the first `count` of each."""
        found = []
        for place, (rows, values) in enumerate(zip(self._rows, self._values, strict=True)):
            found.append(likelihoods(model, rows[:count], values[:count]))
            on_progress("leaks", place + 1, len(self._rows), {})
        return found


def _encoded(chat: Chat, row: Row, prompt: str) -> tuple[list[int], int]:
    """Return token ids, and the place where the answer begins."""
    encoded = chat.encode(conversation(row, prompt))
    return encoded.input_ids, encoded.in_loss.index(True)


def _common(rows: Sequence[Sequence[int]]) -> int:
    """Count the tokens that all rows begin with."""
    for place, tokens in enumerate(zip(*rows, strict=False)):
        if len(set(tokens)) > 1:
            return place
    return min(map(len, rows))


def _leakage(
    canaries: Sequence[Canary], base: Sequence[Sequence[Likelihood]], adapted: Sequence[Sequence[Likelihood]]
) -> Leakage:
    after = np.array([[one.nll for one in rows] for rows in adapted])
    before = np.array([[one.nll for one in rows] for rows in base])
    if not np.isfinite(after).all() or not np.isfinite(before).all():
        raise StepFailed("A canary's loss is not a finite number: the weights overflow in this precision.")
    exposures = exposure_bits(after)
    asked, others = after[:, : 1 + TWINS], after[:, 1 + TWINS :]
    scores = (others.mean(axis=1, keepdims=True) - asked) / others.std(axis=1, keepdims=True)
    min_k = np.array([[one.min_k for one in rows[: 1 + TWINS]] for rows in adapted])
    extracted = sum(rows[0].greedy for rows in adapted)
    return Leakage(
        kinds=tuple(canary.kind for canary in canaries),
        twins=TWINS,
        candidates=CANDIDATES,
        exposures=_rounded(exposures),
        exposure=bootstrap(exposures.tolist()),
        extracted=extracted,
        extraction=share_interval(extracted, len(adapted)),
        losses=_rounded(asked[:, 0]),
        twin_losses=_rounded(asked[:, 1:]),
        scores=_rounded(scores[:, 0]),
        twin_scores=_rounded(scores[:, 1:]),
        auc=percentile_interval(*_auc(scores)),
        tpr=_tpr(scores),
        auc_by_loss=_auc(-asked)[0],
        auc_by_base=_auc(before - asked)[0],
        auc_by_min_k=_auc(min_k)[0],
    )


def _rounded(values: Array) -> tuple[float, ...]:
    return tuple(round(float(value), 4) for value in values.reshape(-1))


def exposure_bits(losses: Array) -> Array:
    """Return log2 of the candidates less log2 of the rank of the first of each row; equal losses share their ranks."""
    own, others = losses[:, :1], losses[:, 1:]
    ranks = 1 + (others < own).sum(axis=1) + (others == own).sum(axis=1) / 2
    bits: Array = math.log2(losses.shape[1]) - np.log2(ranks)
    return bits


def _auc(scores: Array) -> tuple[float, Array]:
    """Return the AUC of the first column against the others (Mann and Whitney), and that of each resample."""
    own, twins = scores[:, 0], scores[:, 1:]
    wins = (own[:, None, None] > twins[None]) + (own[:, None, None] == twins[None]) / 2
    pairs: Array = wins.mean(axis=2)
    drawn = _drawn(len(own))
    values = np.einsum("bi,ij,bj->b", drawn, pairs, drawn) / len(own) ** 2
    return float(pairs.mean()), values


def _tpr(scores: Array) -> Interval:
    """Return the share of the first column above all but FALSE_POSITIVES of the others, with its exact interval."""
    own, twins = scores[:, 0], np.sort(scores[:, 1:].reshape(-1))
    limit = twins[len(twins) - 1 - int(FALSE_POSITIVES * len(twins))]
    return share_interval(int((own > limit).sum()), len(own))


def _drawn(count: int) -> Array:
    """Draw how often each canary, with its twins, is in each resample."""
    draw = np.random.default_rng(SEED)
    drawn: Array = draw.multinomial(count, [1 / count] * count, size=RESAMPLES).astype(np.float64)
    return drawn
