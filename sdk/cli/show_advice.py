"""What an advice looks like on a terminal: the verdict first, then memory, time, accuracy, and the settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sdk.cli.picture import Band, Bar, Part, Stack
from sdk.cli.show import grid
from sdk.cli.terminal import styled
from sdk.records import METHODS, Advice, Alternative, Range, Reliability, Speed, TrainSettings
from sdk.wording import counted, visible

Verdict = Literal["fits", "need not met", "uncertain", "does not fit"]
# term of Memory -> its pattern and colour
TERMS = {
    "weights": ("█", "blue"),
    "adapters": ("▓", "magenta"),
    "gradients": ("▒", "yellow"),
    "optimizer": ("░", "bright_magenta"),
    "activations": ("▞", "cyan"),
    "logits": ("≡", "bright_yellow"),
    "workspace": ("▖", "white"),
}


def verdict(advice: Advice) -> Verdict:
    if advice.uncertain:
        return "uncertain"
    if not advice.fits:
        return "does not fit"
    return "fits" if advice.needs_met else "need not met"


def advice(advice: Advice) -> RenderableType:
    sections = [
        _headline(advice),
        _memory(advice),
        _time(advice),
        _accuracy(advice),
        *_listed(
            "How far such predictions were off", Text("•"), [_off(reliability) for reliability in advice.reliability]
        ),
        _settings(advice),
        *_not_taken(advice),
        *_listed("What would flip the choice", Text("•"), advice.flips),
        *_listed("", styled("[yellow]note:"), [*advice.notes, *_of_full(advice)]),
    ]
    return Group(*(part for section in sections for part in (section, "")))


def candidate(option: TrainSettings | Alternative) -> str:
    """Name a candidate, short enough for a table."""
    return f"{option.method} r {option.lora_r}"


def percent(share: float, signed: bool = False) -> str:
    """Write per cent as short as its size allows: 19%, 2.9%, 0.04%."""
    size = abs(share)
    digits = 0 if size >= 0.0995 else 1 if size >= 0.000995 or not size else 2
    return f"{share:{'+' if signed else ''}.{digits}%}".replace("-", "−")


def columns(*names: str, left: Sequence[str] = (), gap: int = 2) -> Table:
    """Make a table: numbers to the right, the columns in `left` to the left and folded."""
    table = Table(box=None, padding=(0, gap, 0, 0), header_style="dim")
    for name in names:
        if name in left:
            table.add_column(name, overflow="fold")
        else:
            table.add_column(name, justify="right", no_wrap=True)
    return table


def _headline(advice: Advice) -> RenderableType:
    machine, free = advice.hardware, advice.available_gib
    where = f"{machine.gpu_count} x {machine.gpu}" if machine.gpu_count else f"CPU, {machine.cpu_cores} cores"
    spare, at_worst = free - advice.memory.total, free - advice.memory_high.total
    unmet = " and ".join(_unmet(advice)) or "a need is not met"
    answers: dict[Verdict, Text] = {
        "fits": styled("[bold green]It fits[/]: at worst {:.1f} GiB stay free", at_worst),
        "need not met": styled("[bold yellow]It fits, but {}[/]", unmet),
        "uncertain": styled(
            "[bold yellow]Uncertain[/]: {:.1f} GiB are expected to stay free, at worst {:.1f} are missing",
            spare,
            -at_worst,
        ),
        "does not fit": styled("[bold red]It does not fit[/]: {:.1f} GiB are missing", -spare),
    }
    method = METHODS[advice.settings.method]
    return styled("[bold]{}[/] for {} on {}\n{}", method, advice.shape.name, where, answers[verdict(advice)])


def _unmet(advice: Advice) -> Iterator[str]:
    met = advice.accuracy.meets_need
    if not met:
        yield "too much accuracy is lost" if met is False else "the evidence cannot say whether accuracy suffices"
    if not deadline_met(advice):
        yield "the deadline is missed"


def deadline_met(advice: Advice) -> bool:
    """Tell whether the deadline is met; True also where there is none."""
    deadline = advice.needs.deadline_hours
    hours = advice.speed.hours if advice.speed else None
    return advice.needs_met or deadline is None or (hours is not None and hours.high <= deadline)


def _memory(advice: Advice) -> RenderableType:
    machine, terms = advice.hardware, advice.memory.model_dump()
    low, high = advice.memory_low.model_dump(), advice.memory_high.model_dump()
    band = Band(advice.memory_low.total, advice.memory.total, advice.memory_high.total)
    whole = machine.gpu_memory_gib if machine.gpu_count else machine.ram_gib
    parts = [Part(value, *TERMS[name]) for name, value in terms.items()]
    digits = 3 if band.high < 1 else 2
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", expand=True)
    table.add_column("GiB", no_wrap=True)
    for name in Band._fields:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", ratio=1)
    for name, value in terms.items():
        pattern, style = TERMS[name]
        numbers = [f"{number:.{digits}f}" for number in (low[name], value, high[name])]
        label = styled("{} {}", Text(pattern, style), name)
        table.add_row(label, *numbers, Bar(value, max(whole, band.high), style))
    peaks = [Text(f"{number:.{digits}f}", "bold") for number in band]
    table.add_row(Text("  peak", "bold"), *peaks, _shown_by_driver(advice))
    where = f"each of {advice.settings.gpus} GPUs" if advice.settings.gpus > 1 else "one GPU"
    return Group(
        _title(f"Peak memory on {where}" if machine.gpu_count else "Peak memory of the process"),
        Stack(parts, band, advice.available_gib, whole, "GiB"),
        table,
    )


def _shown_by_driver(advice: Advice) -> RenderableType:
    return styled("[dim]{:.1f} as nvidia-smi shows it", advice.device_gib) if advice.hardware.gpu_count else ""


def _off(reliability: Reliability) -> str:
    worst = max(reliability.too_low, reliability.too_high)
    return (
        f"{reliability.scope}: on {counted(reliability.runs, 'measured run')} of this kind the prediction was off by "
        f"{percent(reliability.median)} at the median, {percent(worst)} at worst, {percent(reliability.too_low)} too "
        "low at most"
    )


def _time(advice: Advice) -> RenderableType:
    speed, needs = advice.speed, advice.needs
    if speed is None:
        return Group(_title("Time"), Text("Nothing is known of this hardware's speed.", style="dim"))
    rows: list[tuple[str, RenderableType]] = [
        ("speed", styled("{} tokens/s; {}", _range(speed.tokens_per_second), speed.basis)),
        ("step", f"{_duration(speed.step_seconds / 3600)} each{_steps(advice, speed)}"),
    ]
    if speed.hours:
        low, expected, high = map(_duration, (speed.hours.low, speed.hours.expected, speed.hours.high))
        time = styled("[bold]{}[/] ({} to {})", expected, low, high)
        if needs.deadline_hours:
            met = styled("[green]met") if deadline_met(advice) else styled("[yellow]missed")
            time = styled("{}; deadline {}: {}", time, _duration(needs.deadline_hours), met)
        rows.append(("time", time))
    if speed.kwh is not None:
        rows.append(("energy", f"{speed.kwh:,.2f} kWh at the GPUs' board power"))
    if speed.cost is not None:
        rows.append(("cost", f"{speed.cost:,.2f} at {needs.price_per_hour:,.2f} an hour for each GPU"))
    return Group(_title("Time"), grid(rows))


def _steps(advice: Advice, speed: Speed) -> str:
    needs, settings = advice.needs, advice.settings
    if speed.steps is None:
        return ""
    rows = f" over {counted(needs.rows, 'row')}" if needs.rows else ""
    tokens = f" of {counted(needs.lengths.total, 'token')}" if needs.lengths else ""
    epochs = f"{settings.num_train_epochs:g} {'epoch' if settings.num_train_epochs == 1 else 'epochs'}"
    return f", {speed.steps:,} in all: {epochs}{rows}{tokens}"


def _range(value: Range) -> Text:
    return styled("[bold]{:,.0f}[/] ({:,.0f} to {:,.0f})", value.expected, value.low, value.high)


def _duration(hours: float) -> str:
    for size, unit in ((24.0, "days"), (1.0, "h"), (1 / 60, "min")):
        if hours >= 2 * size or (unit == "h" and hours >= 1):
            return f"{hours / size:,.3g} {unit}"
    return f"{hours * 3600:.3g} s"


def _accuracy(advice: Advice) -> RenderableType:
    accuracy = advice.accuracy
    rows: list[tuple[str, RenderableType]] = [("need", styled("{}{}", _need(advice), accuracy.why))]
    if accuracy.method != "lora":  # which loses nothing against itself
        shares = [percent(share) for share in (accuracy.loss, accuracy.low, accuracy.high)]
        rows.insert(0, ("lost", styled("[bold]{}[/] of its score expected ({} to {})", *shares)))
    parts: list[RenderableType] = [_title("Accuracy against 16-bit LoRA"), grid(rows)]
    if accuracy.evidence:
        text = ("evidence", "method, model", "what", "source")
        table = columns("evidence", "method, model", "what", "16-bit", "method", "lost", "source", left=text)
        for row in accuracy.evidence:
            texts = [visible(text) for text in (row.kind, f"{row.method}, {row.model}", row.what)]
            source = styled("[dim]{}", row.source)
            table.add_row(*texts, f"{row.lora:g}", f"{row.value:g}", percent(row.loss), source)
        parts.append(table)
    return Group(*parts)


def _need(advice: Advice) -> Text:
    needs, met = advice.needs, advice.accuracy.meets_need
    stated: str | None = needs.accuracy or needs.application_type
    if needs.max_loss is not None:
        stated = f"at most {percent(needs.max_loss)} lost"
    if stated is None and met is not False:
        return Text()
    said = {
        True: styled("[green]met"),
        False: styled("[red]not met"),
        None: styled("[yellow]the evidence cannot say"),
    }[met]
    return styled("{}: {}; ", stated, said) if stated else styled("{}; ", said)


def _settings(advice: Advice) -> RenderableType:
    table = columns("setting", "value", "why", left=("setting", "value", "why"))
    for name, reason in advice.reasons.items():
        table.add_row(visible(name), visible(str(getattr(advice.settings, name))), styled("[dim]{}", reason))
    return table


def _not_taken(advice: Advice) -> Iterator[RenderableType]:
    alternatives, full = advice.alternatives, advice.full_finetuning
    if not alternatives and full is None:
        return
    table = columns("not taken", "GiB", "tokens/s", "lost", "because", left=("not taken", "because"))
    for other in alternatives:
        speed = "" if other.tokens_per_second is None else f"{other.tokens_per_second:,.0f}"
        loss = "" if other.loss is None else percent(other.loss)
        memory = Text(f"{other.memory_gib:.1f}", "" if other.fits else "red")
        table.add_row(candidate(other), memory, speed, loss, styled("[dim]{}", other.reason))
    if full is not None:
        speed = "" if full.tokens_per_second is None else f"{full.tokens_per_second:,.0f}"
        reason = styled("[dim]for comparison, not offered: {}", full.brief())
        table.add_row("full fine-tuning", Text(f"{full.memory_gib:.1f}"), speed, "", reason)
    yield table


def _of_full(advice: Advice) -> Iterator[str]:
    if advice.full_finetuning is not None:
        yield f"Full fine-tuning is {advice.full_finetuning.basis}."


def _title(text: str) -> Text:
    return Text(text, style="bold")


def _listed(title: str, mark: Text, lines: Sequence[str]) -> Iterator[RenderableType]:
    if not lines:
        return
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for line in lines:
        table.add_row(mark, visible(line))
    yield Group(_title(title), table) if title else table
