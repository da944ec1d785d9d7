"""What records look like on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from sdk.audit import Event
from sdk.cli.terminal import styled
from sdk.errors import SHOWN_FAULTS
from sdk.records import (
    ALL,
    ALWAYS,
    FUSED,
    METRICS,
    Approval,
    Decision,
    Export,
    Release,
    Run,
    Scores,
    Scrubbed,
    TrainSettings,
)
from sdk.wording import counted, visible

if TYPE_CHECKING:
    from sdk.approve import Verdict

BLOCKS = "▁▂▃▄▅▆▇█"
SPARK_WIDTH = 48
SPIKES = 3  # that are shown
LOSS_BEGINS, LOSS_ENDS = ">>>", "<<<"


def grid(rows: Sequence[tuple[str, RenderableType]]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, value)
    return table


def bar(value: float, largest: float, width: int = 24) -> str:
    return "█" * max(1, round(width * value / largest)) if value > 0 and largest > 0 else ""


def sparkline(values: Sequence[float]) -> str:
    if not values:
        return ""
    size = max(1, -(-len(values) // SPARK_WIDTH))
    means = [sum(values[i : i + size]) / len(values[i : i + size]) for i in range(0, len(values), size)]
    low, high = min(means), max(means)
    span = (high - low) or 1.0
    return "".join(BLOCKS[round((mean - low) / span * (len(BLOCKS) - 1))] for mean in means)


def scrubbed(scrubbed: Scrubbed) -> RenderableType:
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for column in ("personal data", "found", "", "recall on planted"):
        table.add_column(column, justify="right" if column == "found" else "left")
    for kind in sorted(scrubbed.counts, key=scrubbed.counts.__getitem__, reverse=True):
        planted = scrubbed.recall_by_kind.get(kind)
        found = f"{planted.found}/{planted.planted}" if planted else ""
        count = scrubbed.counts[kind]
        table.add_row(visible(kind), str(count), Text(bar(count, max(scrubbed.counts.values())), "cyan"), found)
    rows = ", ".join(f"{count} {split}" for split, count in scrubbed.rows.items())
    formats = ", ".join(f"{split}: {layout}" for split, layout in scrubbed.formats.items())
    behind = f"; {scrubbed.canaries} canaries planted for the leak check" if scrubbed.canaries else ""
    return Group(
        styled("[dim]read[/] {} rows ({}); {} changed{}", rows, formats, counted(scrubbed.rows_changed, "row"), behind),
        table,
        styled("{} findings: {}", f"{scrubbed.findings:,}", scrubbed.treatments_text()),
        styled("[bold]recall[/]: {}", visible(scrubbed.recall_text())),
        styled("[dim]{}", scrubbed.recall_scope()),
        *_left_out(scrubbed),
        *_repeated(scrubbed),
        styled("[dim]found: by the surest kind where two overlap; recall: not a character left, under whatever kind"),
    )


def _repeated(scrubbed: Scrubbed) -> Iterator[Text]:
    if scrubbed.overlap and scrubbed.overlap.near_duplicates:
        yield styled("[yellow]contamination: {}", scrubbed.overlap.brief())


def _left_out(scrubbed: Scrubbed) -> Iterator[Text]:
    if scrubbed.columns_left_out:
        yield styled("[yellow]columns left out: {}", ", ".join(scrubbed.columns_left_out))
    if scrubbed.quarantined:
        left = [f"{one.row} ({one.error})" for one in scrubbed.quarantined]
        shown = ", ".join(left[:SHOWN_FAULTS]) + (" …" if len(left) > SHOWN_FAULTS else "")
        yield styled("[yellow]left out, since they could not be scanned: {}: {}", counted(len(left), "row"), shown)
    if texts := scrubbed.texts:
        yield styled(
            "[dim]documents: {}, of which {} near-duplicates were left out and {} were held out; conversations mixed "
            "in: {}, {} of the characters",
            f"{texts.documents:,}",
            f"{texts.near_duplicates:,}",
            f"{texts.held_out:,}",
            f"{texts.mixed_rows:,}",
            f"{texts.mix:.1%}",
        )
    if scrubbed.duplicates:
        yield Text(f"exact repetitions of an earlier row: {scrubbed.duplicates:,}", style="dim")
    if scrubbed.name_columns:
        yield styled("[dim]taken for columns of names: {}", ", ".join(scrubbed.name_columns))


def preview(rows: Sequence[Sequence[tuple[str, bool]]]) -> RenderableType:
    """Show rows as they will be trained; what the loss is taken on stands between marks, and is green."""
    if not rows:
        return Group()
    lines = []
    for row in rows:
        text = Text()
        for piece, in_loss in row:
            if in_loss:
                text.append(LOSS_BEGINS, style="cyan")
            text.append(piece, style="bold green" if in_loss else "dim")
            if in_loss:
                text.append(LOSS_ENDS, style="cyan")
        lines.append(Panel(text, padding=(0, 1), border_style="dim"))
    return Group(
        styled("Rows as they will be trained; [bold green]loss between {} and {}[/]:", LOSS_BEGINS, LOSS_ENDS),
        *lines,
    )


def run(run: Run) -> RenderableType:
    losses = [point.loss for point in run.losses]
    expected = run.tokens_per_second_predicted
    rows: list[tuple[str, RenderableType]] = [
        (
            "method",
            f"{run.settings.base_in_words()}, {_adapter(run.settings)}, {run.trained}",
        ),
        (
            "loss",
            styled(
                "{:.3f} [cyan]{}[/] {:.3f} in {}", losses[0], sparkline(losses), losses[-1], counted(run.steps, "step")
            ),
        ),
        (
            "time",
            f"{run.seconds:.0f} s, {run.tokens_per_second:,.0f} tokens/s"
            + ("" if expected is None else f", {expected:,.0f} predicted"),
        ),
        ("memory", _memory(run)),
    ]
    if run.spikes:
        highest = sorted(sorted(run.spikes, key=lambda each: -each.z)[:SPIKES], key=lambda each: each.step)
        told = [visible(each.brief()) for each in highest]
        told += [f"and {more} more, in the model report"] if (more := len(run.spikes) - len(highest)) else []
        rows.insert(2, ("loss spikes", Text("\n".join(told), "yellow")))
    if run.validation:
        held = [point.loss for point in run.validation]
        best = f", lowest at step {run.best_step}" if run.best_step is not None else ""
        kept = " (kept)" if run.settings.load_best_model_at_end else ""
        shown = styled(
            "{:.3f} [cyan]{}[/] {:.3f} on {}{}{}",
            held[0],
            sparkline(held),
            held[-1],
            counted(run.validation_rows, "held-out row"),
            best,
            kept,
        )
        rows.insert(2, ("validation", shown))
    figures = grid([("run", run.digest[:12]), *rows])
    return Group(figures, *map(note, run.notes))


def _memory(run: Run) -> str:
    """Name both figures, and on a CPU what they are: a process grows by what its allocator likes to keep."""
    figures = f"{run.memory_measured_gib:.3f} GiB measured, {run.memory_predicted_gib:.3f} GiB predicted"
    return figures if run.hardware.gpu_count else f"{figures}; on a CPU it is the process that grows, in a wide band"


def note(text: str) -> Text:
    return styled("[yellow]note:[/] {}", text)


def _adapter(settings: TrainSettings) -> str:
    """Name the adapter's kind and size, as PEFT does, and an optimizer that is not the usual one."""
    optimizer = "" if settings.optim == FUSED else f", {settings.optim}"
    if settings.peft_type == "lora":
        return f"r {settings.lora_r}{optimizer}"
    if settings.peft_type == "adalora":
        return f"adalora, r {settings.lora_r} to {settings.target_r}{optimizer}"
    return f"{settings.peft_type}, {settings.num_virtual_tokens} virtual tokens{optimizer}"


def scores(scores: Scores) -> RenderableType:
    if scores.texts:
        return _scores_of_texts(scores)
    table = _usual_scores(scores) if not scores.adapted[ALL].further else _scores_by_metric(scores)
    notes = [styled("[dim]base model → adapted model; intervals of shares exact, else by bootstrap")]
    if scores.majority:
        notes.append(styled("[dim]majority: always giving the most frequent answer of the training rows"))
    if scores.asked:
        notes.append(styled("[dim]floors: {}", str(scores.asked)))
    if scores.slices:
        notes.append(styled("[dim]worst of {}: {}", counted(len(scores.slices), "slice"), scores.slices[0].brief()))
    return Group(table, *notes)


def _usual_scores(scores: Scores) -> Table:
    """Show the metrics that every evaluation has, one line for each language."""
    table = Table(box=None, padding=(0, 2), header_style="dim")
    table.add_column("questions", no_wrap=True)
    for metric in scores.adapted[ALL].shares:
        for column in (METRICS[metric].title, "95 % interval", *_majority_column(scores, metric)):
            table.add_column(column, no_wrap=True)
    table.add_column("perplexity", no_wrap=True)
    for name, before in scores.base.items():
        after = scores.adapted[name]
        cells: list[RenderableType] = [f"{visible(name)} ({after.questions})"]
        for metric, new in after.shares.items():
            old = before.of(metric)
            cells.append(styled("{:.2f} → [bold green]{:.2f}", old.value, new.value))
            cells.append(styled("[dim]{:.2f} to {:.2f}", new.low, new.high))
            cells += [f"{scores.majority[name].values[metric]:.2f}" for _ in _majority_column(scores, metric)]
        table.add_row(*cells, styled("{:,.1f} → [bold green]{:,.1f}", before.perplexity, after.perplexity))
    return table


def _scores_by_metric(scores: Scores) -> Table:
    """Show one line for each metric and language, the metric that decides first: there are too many for columns."""
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for column in ("metric", "questions", "score", "95 % interval", *(["majority"] if scores.majority else [])):
        table.add_column(column, no_wrap=True)
    for metric in dict.fromkeys((scores.metric, *scores.adapted[ALL].shares, *ALWAYS)):
        title = METRICS[metric].title + ("; decides" if metric == scores.metric else "")
        for name, after in scores.adapted.items():
            old, new = scores.base[name].of(metric), after.of(metric)
            known = scores.majority[name].values.get(metric) if scores.majority else None
            table.add_row(
                title if name == ALL else "",
                f"{visible(name)} ({after.questions})",
                styled("{:,.2f} → [bold green]{:,.2f}", old.value, new.value),
                styled("[dim]{:,.2f} to {:,.2f}", new.low, new.high),
                *([""] if scores.majority and known is None else [f"{known:.2f}"] if known is not None else []),
            )
    return table


def _majority_column(scores: Scores, metric: str) -> list[str]:
    """Return the heading of the majority answer's score, behind the metric that decides; none where it is unknown."""
    return ["majority"] if scores.majority and metric == scores.metric else []


def _scores_of_texts(scores: Scores) -> RenderableType:
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for column in ("documents", "perplexity", "95 % interval"):
        table.add_column(column, no_wrap=True)
    for name, before in scores.base.items():
        after = scores.adapted[name]
        found = after.of("perplexity")
        table.add_row(
            f"{visible(name)} ({after.questions})",
            styled("{:,.2f} → [bold green]{:,.2f}", before.perplexity, after.perplexity),
            styled("[dim]{:,.2f} to {:,.2f}", found.low, found.high),
        )
    for kind, forgotten in scores.forgetting.items():
        table.add_row(
            f"general {kind} ({forgotten.items})",
            styled("{:,.2f} → {:,.2f}", forgotten.base, forgotten.adapted),
            styled("[dim]{:+.1%}", forgotten.change),
        )
    notes = [
        styled("[dim]base model → adapted model; lower is better; intervals by bootstrap"),
        styled("[dim]general: what ships with the SDK and nobody trained on; a rise is forgetting"),
    ]
    if scores.asked:
        notes.append(styled("[dim]floors: {}", str(scores.asked)))
    return Group(table, *notes)


def release(release: Release) -> RenderableType:
    return grid(
        [
            ("package", f"sha256:{release.package}"),
            ("model version", visible(f"{release.model_name} version {release.version} in {release.tracking_uri}")),
            ("run", visible(release.run_id)),
        ]
    )


def export(record: Export, folder: Path) -> RenderableType:
    parity, total = record.parity, sum(ref.size for ref in record.exported)
    onto = f" onto {record.onto}" if record.onto else ""
    return Group(
        styled("[bold green]Exported[/] {}{} to {}. These weights are in plain now.", record.format, onto, folder),
        grid(
            [
                ("parent", f"sha256:{record.package}"),
                ("identity", f"sha256:{record.identity}"),
                ("files", f"{len(record.exported)}, {total / 1e6:,.1f} MB, weights {record.weight_type}"),
                ("asked in", visible(parity.engine)),
                ("behaviour seal", parity.behaviour.brief() if parity.behaviour else "none: the package is older"),
                ("divergence", f"{parity.kl_mean:.5f} nats a token, 99th percentile {parity.kl_p99:.4f}"),
                ("likeliest token", f"the same at {parity.top1.value:.1%} of {parity.places} places"),
                ("greedy answers", f"the same for {parity.same_answers.value:.1%} of {parity.questions} questions"),
                (
                    parity.metric,
                    f"{parity.score_exported:.3f}, approved {parity.score:.3f}; "
                    f"change {parity.score_change.value:+.3f} "
                    f"({parity.score_change.low:+.3f} to {parity.score_change.high:+.3f})",
                ),
                ("perplexity", f"{parity.perplexity_ratio:.4f} of the approved model's"),
                *(("note", visible(text)) for text in record.notes),
            ]
        ),
        styled("[dim]Before it is served elsewhere: sdk check-export {}", folder),
    )


def mlflow_pages(release: Release) -> dict[str, str]:
    """List the pages of MLflow's UI that a reviewer wants; its default view is that of chat applications."""
    view = "?workflowType=machine_learning"
    run = f"#/experiments/{release.experiment_id}/runs/{release.run_id}"
    return {
        "model version": f"#/models/{release.model_name}/versions/{release.version}{view}",
        "report": f"{run}/artifacts/report.html{view}",
        "metrics": f"{run}/model-metrics{view}",
        "all runs": f"#/experiments/{release.experiment_id}/runs{view}",
    }


VERBS: dict[Decision, tuple[str, str]] = {
    "review": ("green", "reviewed"),
    "approve": ("green", "approved"),
    "reject": ("red", "rejected"),
    "withdraw": ("yellow", "withdrawn"),
}


def approval(approval: Approval) -> RenderableType:
    style, verb = VERBS[approval.decision]
    return styled(
        "{} by [bold]{}[/] (key {}): {}",
        Text(verb, style),
        approval.approver,
        approval.key_fingerprint[:16],
        approval.reason,
    )


def verdict(verdict: Verdict) -> RenderableType:
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for reason in verdict.reasons:
        holds = styled("[green]✓") if reason.holds else styled("[red]✗")
        table.add_row(holds, visible(f"{reason.rule}: {reason.text}"))
    head = styled("[bold green]may be served") if verdict.allowed else styled("[bold yellow]may not be served")
    return Group(styled("{}: package sha256:{}", head, verdict.package), table)


def history(events: Sequence[Event]) -> RenderableType:
    styles = {"started": "dim", "finished": "green", "refused": "yellow", "failed": "red"}
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for column in ("#", "time (UTC)", "who", "did", "outcome", "under", "made or why"):
        table.add_column(column, overflow="fold")
    for event in events:
        digest = event.objects.get("record") or event.objects.get("charter") or ""
        what = digest[:12] or event.detail.get("reason") or event.detail.get("error", "")
        table.add_row(
            str(event.seq),
            event.time[:19].replace("T", " "),
            visible(event.actor),
            visible(event.action),
            Text(event.phase, styles[event.phase]),
            visible(event.policy),
            visible(what),
        )
    return table


def title(text: str) -> RenderableType:
    return Rule(Text(text, "bold"), align="left", style="dim")
