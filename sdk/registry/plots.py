"""The plots of the report, as PNG or as figures. The same records give the same bytes."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sdk.errors import OutOfOrder
from sdk.records import METRICS, Advice, Leaks, PlotName, Run, Scores, Scrubbed
from sdk.registry.entry import Adaptation, primary

BASE, ADAPTED, ACCENT, GRID = "#9aa5b1", "#0b6e99", "#c0562f", "#e3e8ee"
INK = "#243b53"
SHADES = ("#0b6e99", "#2f8fb3", "#5aabc8", "#86c5da", "#b0dbe8", "#d2ebf2", "#e8f4f8")  # one for each term of Memory


def draw(adaptation: Adaptation) -> dict[str, bytes]:
    """Name -> PNG; those of the leak check where it was made."""
    records = {name: getattr(adaptation, name) for plot in PLOTS.values() for name in plot.of}
    drawn = (name for name in PLOTS if all(records[one] is not None for one in PLOTS[name].of))
    return {name: as_png(draw_figure(name, records)) for name in drawn}


class ShownFigure(Figure):
    """A figure that a notebook shows although pyplot, which would say how, was never imported."""

    def _repr_png_(self) -> bytes:
        return as_png(self)


def draw_figure(name: PlotName, records: Mapping[str, Any]) -> Figure:
    """Draw one plot of the records that it is made of, by their kinds. It belongs to no window and no other figure."""
    plot = PLOTS[name]
    if missing := [one for one in plot.of if records[one] is None]:
        verb = Leaks.verb if missing == ["leaks"] else Scores.verb
        raise OutOfOrder(f"There is nothing from `sdk {verb}` of this run yet; run it first.")
    return figure_of(lambda axes: plot.draw(axes, *(records[one] for one in plot.of)))


def figure_of(draw_on: Callable[[Axes], None]) -> Figure:
    """Return a figure in the style of all of them, on which the function has drawn."""
    figure = ShownFigure(figsize=(6.4, 3.6), dpi=144, layout="constrained")
    axes = figure.add_subplot()
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=9)
    draw_on(axes)
    for part in figure.axes:  # a twin has spines of its own
        part.spines["top"].set_visible(False)
        part.spines["right"].set_visible(False)
        part.spines[:].set_color(BASE)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    return figure


def as_png(figure: Figure) -> bytes:
    out = io.BytesIO()
    FigureCanvasAgg(figure).print_png(out, metadata={"Software": None})
    return out.getvalue()


def _loss(axes: Axes, run: Run) -> None:
    points = run.losses
    axes.plot([p.step for p in points], [p.loss for p in points], color=ADAPTED, linewidth=1.8, label="loss")
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("mean loss of learned tokens, nats")
    held = run.validation
    if held:
        axes.plot(
            [p.step for p in held], [p.loss for p in held], color=INK, marker="o", markersize=3, label="validation"
        )
        if run.best_step is not None:
            axes.axvline(run.best_step, color=BASE, linewidth=1, linestyle=":", label="lowest validation")
        axes.legend(frameon=False, fontsize=9, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", color=GRID)
    rate = axes.twinx()
    rate.plot([p.step for p in points], [p.learning_rate for p in points], color=ACCENT, linewidth=1, linestyle="--")
    rate.set_ylabel("learning rate, per step", color=ACCENT)
    rate.tick_params(colors=ACCENT, labelsize=9)
    rate.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    rate.set_ylim(bottom=0)


def _scores(axes: Axes, scores: Scores) -> None:
    languages = list(scores.adapted)
    width = 0.36
    for offset, who, color in ((-width / 2, "base", BASE), (width / 2, "adapted", ADAPTED)):
        intervals = [primary(scores, who, language) for language in languages]
        places = [index + offset for index in range(len(languages))]
        heights = [interval.value for interval in intervals]
        below = [max(0.0, i.value - i.low) for i in intervals]
        above = [max(0.0, i.high - i.value) for i in intervals]
        axes.bar(places, heights, width, color=color, label=who)
        axes.errorbar(places, heights, (below, above), fmt="none", ecolor=INK, elinewidth=1.2, capsize=4)
        for place, interval in zip(places, intervals, strict=True):
            axes.annotate(f"{interval.value:.2f}", (place, interval.high), (0, 4), textcoords="offset points",
                          ha="center", fontsize=9, color=INK)  # fmt: skip
    axes.set_xticks(range(len(languages)), [f"{name} ({scores.adapted[name].questions})" for name in languages])
    axes.set_xlabel(f"language ({scores.unit})")
    kind = METRICS[scores.metric]
    axes.set_ylabel(kind.title if scores.metric == "perplexity" else f"{kind.title}, {kind.unit}")
    if scores.metric == "perplexity":
        axes.margins(y=0.12)
    else:
        axes.set_ylim(0, 1.12)
    axes.grid(axis="y", color=GRID)
    axes.legend(frameon=False, fontsize=9, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def _personal_data(axes: Axes, scrubbed: Scrubbed) -> None:
    counts = sorted(scrubbed.counts.items(), key=lambda item: (item[1], item[0]))
    if not counts:
        axes.text(0.5, 0.5, "none found", ha="center", va="center", color=INK, transform=axes.transAxes)
        axes.set_axis_off()
        return
    axes.figure.set_figheight(max(3.6, 1.2 + 0.24 * len(counts)))  # type: ignore[union-attr]
    bars = axes.barh([kind for kind, _ in counts], [count for _, count in counts], color=ADAPTED)
    axes.bar_label(bars, padding=3, fontsize=8, color=INK)
    axes.set_xlabel("findings, places in the rows")
    axes.tick_params(axis="y", labelsize=8)
    axes.grid(axis="x", color=GRID)


def _memory(axes: Axes, run: Run, advice: Advice) -> None:
    """Draw predicted beside measured memory, by terms where the prediction is the advice's.

    A run with other settings than advised has a prediction of its own, as one figure.
    """
    memory = advice.memory
    if abs(memory.total - run.memory_predicted_gib) <= 0.01 * memory.total:
        start = 0.0
        for (term, size), shade in zip(memory.model_dump().items(), SHADES, strict=True):
            axes.barh("predicted", size, left=start, color=shade, edgecolor="white", linewidth=0.5, label=term)
            start += size
        axes.legend(frameon=False, fontsize=8, ncols=4, loc="upper center", bbox_to_anchor=(0.45, -0.2))
    bars = axes.barh(["predicted", "measured"], [run.memory_predicted_gib, run.memory_measured_gib], color="none")
    axes.bar_label(bars, fmt="{:.3g}", padding=3, fontsize=9, color=INK)
    axes.barh("measured", run.memory_measured_gib, color=ACCENT)
    if not axes.get_legend():
        axes.barh("predicted", run.memory_predicted_gib, color=ADAPTED)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel("peak training memory, GiB")
    axes.grid(axis="x", color=GRID)


def _leaks(axes: Axes, leaks: Leaks) -> None:
    """Draw the losses of planted values and of their twins, beside those of the control, which learned its values."""
    adapted, control = leaks.adapted, leaks.control
    shown = (
        (adapted.twin_losses, BASE, "twins"),
        (adapted.losses, ADAPTED, "canaries"),
        (control.losses, ACCENT, "canaries of the control, trained in plain"),
    )
    highest = max(max(losses) for losses, _, _ in shown)
    for losses, color, label in shown:
        weights = [1 / len(losses)] * len(losses)
        axes.hist(losses, bins=24, range=(0.0, highest), weights=weights, color=color, alpha=0.65, label=label)
    axes.set_xlabel("loss of the value, nats")
    axes.set_ylabel("share of values, from 0 to 1")
    axes.grid(axis="y", color=GRID)
    axes.legend(frameon=False, fontsize=8, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def _roc(axes: Axes, leaks: Leaks) -> None:
    for found, color, label in (
        (leaks.adapted, ADAPTED, "adapted"),
        (leaks.control, ACCENT, "control, trained in plain"),
    ):
        limits = [math.inf, *sorted({*found.scores, *found.twin_scores}, reverse=True)]
        true, false = (
            [sum(score >= limit for score in scores) / len(scores) for limit in limits]
            for scores in (found.scores, found.twin_scores)
        )
        axes.plot(false, true, color=color, linewidth=1.8, label=f"{label}, AUC {found.auc.value:.2f}")
    axes.plot([0, 1], [0, 1], color=BASE, linewidth=1, linestyle=":", label="chance")
    axes.set_xlabel("share of twins taken for planted (false positives)")
    axes.set_ylabel("share of canaries taken for planted")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.grid(color=GRID)
    axes.legend(frameon=False, fontsize=8, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))


class _Plot(NamedTuple):
    draw: Callable[..., None]
    of: tuple[str, ...]  # the records that it is drawn of, by kind


PLOTS: dict[PlotName, _Plot] = {
    "scores": _Plot(_scores, ("scores",)),
    "loss": _Plot(_loss, ("run",)),
    "personal_data": _Plot(_personal_data, ("scrubbed",)),
    "memory": _Plot(_memory, ("run", "advice")),
    "leaks": _Plot(_leaks, ("leaks",)),
    "leaks_roc": _Plot(_roc, ("leaks",)),
}
