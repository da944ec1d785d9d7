"""What the plots of the report show, each with a sentence that says what to see."""

from __future__ import annotations

from collections.abc import Callable

from sdk.registry.entry import Adaptation, primary

CAPTIONS = {
    "scores": "Scores before and after",
    "loss": "Loss",
    "personal_data": "Personal data by kind",
    "memory": "Memory",
    "leaks": "Losses of planted values",
    "leaks_roc": "Telling planted values from others",
}


def sentence(name: str, adaptation: Adaptation) -> str:
    """Say what is to be seen in the plot of this name."""
    return SENTENCES[name](adaptation)


def _scores_seen(adaptation: Adaptation) -> str:
    scores = adaptation.scores
    base, adapted = primary(scores, "base", "all"), primary(scores, "adapted", "all")
    better, worse = (base, adapted) if scores.lower_is_better else (adapted, base)
    if better.low > worse.high:
        verdict = "the intervals lie apart, so the gain is no chance"
    elif better.high < worse.low:
        verdict = "the intervals lie apart: the adapted model is worse"
    else:
        verdict = "the intervals overlap, so the difference may be chance"
    seen = (
        f"{'Lower' if scores.lower_is_better else 'Higher'} is better. Over all {scores.adapted['all'].questions:,} "
        f"{scores.unit} {base.value:.2f} became {adapted.value:.2f}; {verdict}."
    )
    constant = scores.majority_value("all")
    if constant is not None:
        seen += f" Always giving the most frequent answer of the training rows would score {constant:.2f}."
    return seen


def _loss_seen(adaptation: Adaptation) -> str:
    run = adaptation.run
    first, last = run.losses[0].loss, run.losses[-1].loss
    seen = f"It should fall and level off: here from {first:.2f} to {last:.2f} in {run.steps:,} steps."
    if not run.validation:
        return f"{seen} No rows were held out, so it does not show whether rows were learned by heart."
    lowest = min(run.validation, key=lambda point: point.loss)
    return (
        f"{seen} Held-out rows (dots) are lowest at step {lowest.step:,}, with {lowest.loss:.2f}; where they rise "
        "while the line falls, rows are learned by heart."
    )


def _personal_data_seen(adaptation: Adaptation) -> str:
    scrubbed = adaptation.scrubbed
    if not scrubbed.counts:
        return "Nothing was found."
    most = max(scrubbed.counts, key=scrubbed.counts.__getitem__)
    return f"Which kinds the rows hold, most of all {most}. Findings: {scrubbed.treatments_text()}."


def _memory_seen(adaptation: Adaptation) -> str:
    predicted, measured = adaptation.run.memory_predicted_gib, adaptation.run.memory_measured_gib
    if not predicted:
        return "Nothing was predicted."
    off = measured / predicted - 1
    return (
        f"Bars of one length mean that the advice can be relied on here. Measured was {abs(off):.0%} "
        f"{'above' if off > 0 else 'below'} the prediction."
    )


def _leaks_seen(adaptation: Adaptation) -> str:
    return (
        "What was learned has a low loss and lies to the left, as the control's values do. The adapted model's should "
        "lie where the twins lie, which no model has seen."
    )


def _roc_seen(adaptation: Adaptation) -> str:
    return "The adapted model's line should follow the dotted one: its planted values cannot be told from unseen ones."


SENTENCES: dict[str, Callable[[Adaptation], str]] = {
    "scores": _scores_seen,
    "loss": _loss_seen,
    "personal_data": _personal_data_seen,
    "memory": _memory_seen,
    "leaks": _leaks_seen,
    "leaks_roc": _roc_seen,
}
