"""What measurements look like on a terminal: probe, pilot, comparison, and how near advice has come so far."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import NamedTuple

from rich.console import Group, RenderableType
from rich.text import Text

from sdk.cli.picture import Band, IntervalBar, axis
from sdk.cli.show_advice import candidate, columns, percent
from sdk.cli.terminal import styled
from sdk.records import Calibration, Interval, MethodComparison, Pilot, Run
from sdk.wording import counted, visible


class Compared(NamedTuple):
    """A prediction beside its measurement; error: as a share of the measurement, above 0 where it was too high."""

    predicted: float | None
    measured: float | None

    @property
    def error(self) -> float | None:
        if self.predicted is None or not self.measured:
            return None
        return self.predicted / self.measured - 1

    def cells(self, digits: int) -> list[str]:
        numbers = ["–" if value is None else f"{value:,.{digits}f}" for value in self]
        return [*numbers, "–" if self.error is None else percent(self.error, signed=True)]

    def as_json(self) -> dict[str, float | None]:
        return {**self._asdict(), "error": self.error}


class Track(NamedTuple):
    """One run, and what was said of it before."""

    digest: str
    method: str
    lora_r: int
    memory_gib: Compared
    tokens_per_second: Compared

    def as_json(self) -> dict[str, object]:
        return {key: value.as_json() if isinstance(value, Compared) else value for key, value in self._asdict().items()}


class Errors(NamedTuple):
    """Of several predictions, as shares and without sign."""

    runs: int
    median: float
    worst: float


def track(run: Run) -> Track:
    return Track(
        run.digest,
        run.settings.method,
        run.settings.lora_r,
        Compared(run.memory_predicted_gib, run.memory_measured_gib),
        Compared(run.tokens_per_second_predicted, run.tokens_per_second),
    )


def errors(compared: Sequence[Compared]) -> Errors | None:
    """Summarize how far off predictions were; None where nothing was both predicted and measured."""
    sizes = [abs(pair.error) for pair in compared if pair.error is not None]
    return Errors(len(sizes), median(sizes), max(sizes)) if sizes else None


def history(tracks: Sequence[Track]) -> RenderableType:
    if not tracks:
        return Text("No run has been made here yet, so nothing was predicted; `sdk train` makes one.", style="dim")
    memory = [one.memory_gib for one in tracks]
    speed = [one.tokens_per_second for one in tracks]
    digits = _digits(memory)
    table = columns("run", "method", *_compared("GiB"), *_compared("tokens/s"), left=("run", "method"), gap=1)
    for one in tracks:
        cells = [*one.memory_gib.cells(digits), *one.tokens_per_second.cells(0)]
        table.add_row(one.digest[:8], f"{one.method} r {one.lora_r}", *cells)
    return Group(table, _summary("memory", memory), _summary("tokens/s", speed))


def calibration(record: Calibration) -> RenderableType:
    memory = [Compared(probe.predicted_gib, probe.measured_gib) for probe in record.probes]
    digits = _digits(memory)
    table = columns("candidate", *_compared("GiB"), *_compared("s"), left=("candidate",))
    for probe, pair in zip(record.probes, memory, strict=True):
        seconds = Compared(probe.predicted_seconds, probe.measured_seconds)
        table.add_row(candidate(probe.settings), *pair.cells(digits), *seconds.cells(2))
    tokens = " or ".join(f"{count:,}" for count in sorted({probe.tokens for probe in record.probes}))
    failed = [probe for probe in record.probes if probe.error]
    return Group(
        styled(
            "[bold]One pass of the longest row, {} tokens,[/] forward and backward, of {}", tokens, record.base_name
        ),
        table,
        *(styled("[yellow]{}:[/] {}", candidate(one.settings), one.error) for one in failed),
    )


def pilot(record: Pilot) -> RenderableType:
    names = [candidate(one.settings) for one in record.candidates]
    losses = [one.eval_loss for one in record.candidates]
    scores = [one.score for one in record.candidates]
    lost = [one.loss_against_lora for one in record.candidates]
    costs = columns("candidate", "steps", "tokens", "s", "GiB", left=("candidate",))
    for name, one in zip(names, record.candidates, strict=True):
        costs.add_row(name, str(one.steps), f"{one.tokens:,}", f"{one.seconds:,.0f}", f"{one.memory_gib:.2f}")
    metric = record.metric.replace("_", " ")
    return Group(
        *_intervals("loss on held-out rows", names, losses, lambda value: f"{value:.3f}"),
        *_intervals(f"{metric} on {record.asked} questions", names, scores, lambda value: f"{value:.3f}"),
        *_intervals("lost against 16-bit LoRA", names, lost, percent),
        costs,
        "",
        *(styled("[yellow]not tried: {}:[/] {}", name, why) for name, why in record.left_out.items()),
        Text("Intervals are 95 %, by bootstrap.", style="dim"),
    )


def comparison(record: MethodComparison) -> RenderableType:
    names = [one.method for one in record.methods]
    memory = [Compared(one.memory_predicted_gib, one.memory_gib) for one in record.methods]
    first = record.methods[0].runs[0]
    kinds = [*first.forgetting]
    digits = _digits(memory)
    table = columns("method", *_compared("GiB"), *_compared("tokens/s"), "s an\nepoch", left=("method",), gap=1)
    more = columns("method", "answers\ntokens/s", "trained", "adapter\nMB", "Wh", "forgotten", left=("method",))
    for one, pair in zip(record.methods, memory, strict=True):
        speed = Compared(one.tokens_per_second_predicted, one.mean(lambda run: run.tokens_per_second))
        epoch = one.mean(lambda run: run.epoch_seconds)
        table.add_row(one.method, *pair.cells(digits), *speed.cells(0), f"{epoch:,.1f}")
        more.add_row(
            one.method,
            f"{one.mean(lambda run: run.generated_per_second):,.0f}",
            f"{one.trainable_share:.2%}",
            f"{one.runs[0].adapter_bytes / 1e6:,.1f}",
            "–" if one.energy_wh is None else f"{one.energy_wh:,.2f}",
            Text(visible(", ".join(f"{kind} {percent(one.forgotten(kind), signed=True)}" for kind in kinds))),
        )
    less = ", lower is better" if record.metric == "perplexity" else ""
    metric = "loss of the answers" if record.metric == "perplexity" else record.metric.replace("_", " ")
    return Group(
        styled("[bold]{}[/]", record.verdict),
        styled("[dim]need: {}", record.need),
        "",
        *_intervals(
            f"{metric} on {record.questions} held-out questions{less}",
            names,
            [one.score for one in record.methods],
            lambda value: f"{value:.3f}",
        ),
        *(styled("[bold]{}[/] {}: {}", one.method, one.verdict, one.why) for one in record.methods),
        "",
        table,
        "",
        more,
        "",
        *(styled("[yellow]not compared: {}:[/] {}", name, why) for name, why in record.left_out.items()),
        *(styled("[yellow]{}", note) for note in record.notes),
        styled(
            "[dim]{}, {} steps and {} tokens each; intervals are 95 %, over questions and seeds; forgotten: "
            "change of the perplexity on general texts and answers",
            counted(len(record.seeds), "seed"),
            first.steps,
            f"{first.tokens:,}",
        ),
    )


def _intervals(
    title: str, names: Sequence[str], intervals: Sequence[Interval | None], shown: Callable[[float], str]
) -> Iterator[RenderableType]:
    """Draw intervals one below the other, on one axis; nothing where none is known."""
    bands = [Band(one.low, one.value, one.high) if one else None for one in intervals]
    known = [band for band in bands if band]
    if not known:
        return
    ends = axis(known)
    table = columns(title, "", "low", "high", left=(title,))
    table.expand = True
    table.columns[0].min_width = max(map(len, names))
    table.columns[1].min_width = 6
    table.add_column(f"{shown(ends[0])} to {shown(ends[1])}", ratio=1, no_wrap=True)
    for name, band in zip(names, bands, strict=True):
        if band:
            numbers = (Text(shown(band.expected), "bold"), shown(band.low), shown(band.high))
            table.add_row(name, *numbers, IntervalBar(band, ends))
    yield from (table, "")


def _digits(pairs: Sequence[Compared]) -> int:
    """Return how many decimals to show: a small model's memory is a fraction of a GiB."""
    return 2 if any(value is not None and value >= 1 for pair in pairs for value in pair) else 4


def _compared(unit: str) -> tuple[str, str, str]:
    return f"predicted\n{unit}", f"measured\n{unit}", "off"


def _summary(what: str, compared: Sequence[Compared]) -> RenderableType:
    off = errors(compared)
    if off is None:
        return Text(f"{what}: nothing to compare yet", style="dim")
    return styled(
        "{}: on {} here the prediction was off by [bold]{}[/] at the median, [bold]{}[/] at worst",
        what,
        counted(off.runs, "run"),
        percent(off.median),
        percent(off.worst),
    )
