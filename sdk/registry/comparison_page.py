"""The page of a comparison of methods: one HTML file without scripts or anything from outside, and its plots."""

from __future__ import annotations

import base64
from collections.abc import Callable
from functools import partial
from statistics import fmean

from matplotlib.axes import Axes

from sdk.html import cards, code, escape, page, quiet, section, table
from sdk.records import Enough, MethodComparison, MethodResult
from sdk.registry.plots import ACCENT, ADAPTED, BASE, GRID, INK, as_png, figure_of

PAGE = "comparison.html"
COLOURS: dict[Enough, str] = {"enough": ADAPTED, "not enough": ACCENT, "cannot be told": BASE}
PLOTTED: dict[str, tuple[str, str, Callable[[MethodResult], float]]] = {
    "score-over-memory.png": (
        "Score over memory",
        "peak training memory, GiB",
        lambda one: one.memory_gib,
    ),
    "score-over-time.png": (
        "Score over time",
        "training time of one epoch, s",
        lambda one: one.mean(lambda run: run.epoch_seconds),
    ),
}


def render_comparison(record: MethodComparison) -> dict[str, bytes]:
    """Return the page and its plots, by the names of their files."""
    plots = {
        name: as_png(figure_of(partial(_scatter, record=record, label=label, of=of)))
        for name, (_, label, of) in PLOTTED.items()
    }
    asked = (
        f"{record.base_name} on {record.hardware.brief()}. {record.questions} questions were held out of the training "
        f"rows; {record.methods[0].runs[0].tokens:,} tokens in {record.methods[0].runs[0].steps} steps of every "
        f"method, seeds {', '.join(map(str, record.seeds))}."
    )
    parts = [
        "<h1>Training methods compared</h1>",
        quiet(asked),
        cards(_cards(record)),
        section("Verdict", f"<p>{escape(record.verdict)}</p>" + quiet(f"The need: {record.need}.") + _notes(record)),
        '<div class="pair">' + "".join(_plot(name, data) for name, data in plots.items()) + "</div>",
        section("Score", _scores(record)),
        section("Cost, predicted beside measured", _costs(record)),
        section("What was forgotten", _forgotten(record)),
        section("Settings", _settings(record)),
    ]
    if record.left_out:
        rows = [[code(name), escape(why)] for name, why in record.left_out.items()]
        parts.append(section("Not compared", table(["method", "why"], rows)))
    return {PAGE: page("Training methods compared", parts), **plots}


def _cards(record: MethodComparison) -> list[tuple[str, str]]:
    counted = {verdict: sum(one.verdict == verdict for one in record.methods) for verdict in COLOURS}
    return [(f"{count} of {len(record.methods)}", f"methods: {verdict}") for verdict, count in counted.items()]


def _notes(record: MethodComparison) -> str:
    return "<ul>" + "".join(f"<li>{escape(note)}</li>" for note in record.notes) + "</ul>" if record.notes else ""


def _plot(name: str, data: bytes) -> str:
    title, label, _ = PLOTTED[name]
    seen = f"{title}: each method with its 95 % interval over {label}."
    image = f'<img alt="{escape(seen)}" src="data:image/png;base64,{base64.b64encode(data).decode()}">'
    return section(title, image)


def _scatter(axes: Axes, record: MethodComparison, label: str, of: Callable[[MethodResult], float]) -> None:
    shown: set[str] = set()
    for number, one in enumerate(sorted(record.methods, key=of)):
        score, place = one.score, of(one)
        axes.errorbar(
            [place],
            [score.value],
            ([max(0.0, score.value - score.low)], [max(0.0, score.high - score.value)]),
            fmt="o",
            color=COLOURS[one.verdict],
            ecolor=COLOURS[one.verdict],
            elinewidth=1.2,
            capsize=4,
            label=None if one.verdict in shown else one.verdict,
        )
        shown.add(one.verdict)
        end, beside = ((score.high, 5), (score.low, -12))[number % 2]  # neighbours' names do not meet
        axes.annotate(one.method, (place, end), (0, beside), textcoords="offset points", ha="center",
                      fontsize=8, color=INK)  # fmt: skip
    axes.margins(x=0.25, y=0.15)
    axes.set_xlabel(label)
    axes.set_ylabel(_metric(record))
    axes.grid(color=GRID)
    axes.legend(frameon=False, fontsize=9, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def _metric(record: MethodComparison) -> str:
    if record.metric == "perplexity":
        return "loss of the answers, nats"
    return record.metric.replace("_", " ")


def _scores(record: MethodComparison) -> str:
    rows = [
        [
            code(one.method),
            escape(one.score.text()),
            "–" if one.lost is None else escape(one.lost.text()),
            *(f"{sum(run.scores) / len(run.scores):.3f}" for run in one.runs),
            f'<span class="{"yes" if one.verdict == "enough" else "no" if one.verdict == "not enough" else "quiet"}">'
            f"{escape(one.verdict)}</span>",
            escape(one.why),
        ]
        for one in record.methods
    ]
    less = " Lower is better." if record.metric == "perplexity" else ""
    note = (
        f"{_metric(record).capitalize()}, the mean over questions and seeds, with its 95 % interval over both.{less} "
        f"What is lost is paired by question and seed, against {record.reference}; its intervals hold at 95 % for all "
        "methods at once."
    )
    seeds = [f"seed {seed}" for seed in record.seeds]
    head = ["method", "score", "lost", *seeds, "verdict", "why"]
    return quiet(note) + table(head, rows, range(1, 3 + len(seeds)))


def _costs(record: MethodComparison) -> str:
    rows = [
        [
            code(one.method),
            f"{one.memory_predicted_gib:.2f}",
            f"{one.memory_gib:.2f}",
            "–" if one.tokens_per_second_predicted is None else f"{one.tokens_per_second_predicted:,.0f}",
            f"{one.mean(lambda run: run.tokens_per_second):,.0f}",
            f"{one.mean(lambda run: run.epoch_seconds):,.1f}",
            f"{one.mean(lambda run: run.generated_per_second):,.0f}",
            f"{one.trainable_share:.2%}",
            f"{one.runs[0].adapter_bytes / 1e6:,.1f}",
            "–" if one.energy_wh is None else f"{one.energy_wh:,.2f}",
        ]
        for one in record.methods
    ]
    note = (
        "Peak memory is the most of any seed, the rest means over seeds. Answers are generated with the adapter beside "
        "the base, as evaluation does. Energy is that of the GPU while it trained, by its own meter."
    )
    head = [
        "method", "GiB, predicted", "GiB", "tokens/s, predicted", "tokens/s", "s an epoch", "answers, tokens/s",
        "trained", "adapter, MB", "Wh",
    ]  # fmt: skip
    return quiet(note) + table(head, rows, range(1, len(head)))


def _forgotten(record: MethodComparison) -> str:
    kinds = list(record.methods[0].runs[0].forgetting)
    rows = []
    for one in record.methods:
        cells = [code(one.method)]
        for kind in kinds:
            found = [run.forgetting[kind] for run in one.runs]
            before, after = fmean(each.base for each in found), fmean(each.adapted for each in found)
            cells += [f"{before:,.2f}", f"{after:,.2f}", f"{one.forgotten(kind):+.1%}"]
        rows.append(cells)
    note = (
        "Perplexity on short general texts, and on answers to general questions, that ship with the SDK; means over "
        "seeds. They are few: they show that something was forgotten, and not what."
    )
    head = [name for kind in kinds for name in (f"{kind}, base", f"{kind}, adapted", "change")]
    return quiet(note) + table(["method", *head], rows, range(1, len(head) + 1))


def _settings(record: MethodComparison) -> str:
    rows = []
    for one in record.methods:
        own = one.settings
        together = own.per_device_train_batch_size * own.gradient_accumulation_steps * own.gpus
        numbers = [str(own.lora_r), f"{own.learning_rate:g}", str(together), str(own.max_steps)]
        rows.append([code(one.method), escape(own.base_in_words()), "DoRA" if own.use_dora else "LoRA", *numbers])
    note = "Each method has the settings that advice gives it; rows, batches, steps and seeds are the same."
    return quiet(note) + table(
        ["method", "base", "adapter", "rank", "learning rate", "rows a step", "steps"], rows, range(3, 7)
    )
