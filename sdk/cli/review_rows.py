"""The dialogue of `sdk review`, and what a review looks like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from sdk.cli.app import Output
from sdk.cli.show import grid
from sdk.cli.terminal import styled
from sdk.errors import InvalidInput
from sdk.project import Project
from sdk.records import Review
from sdk.wording import counted, is_unseen, visible

if TYPE_CHECKING:  # both bring numpy, which a command line that only advises does without
    from sdk.data import Planted
    from sdk.review import ReviewRow

# What stands in place of a value: <PERSON_1>, <PERSON_k1a2b3c4d_0123…>, and what a mask hides.
PLACEHOLDER = r"<[A-Z][A-Z0-9_]*_(?:\d+|k[0-9a-f]+_[0-9a-f]+)>|\*{2,}"
HELP = styled("""\
Is there personal data left that should be gone? Coloured is what already stands in place of some.
  [bold]n[/]              nothing, or nothing more: the next row
  [bold]the text[/]       copied or typed as it is shown; one a line; [bold]PERSON: the text[/] says its kind
  [bold]u[/]              undo the marks of this row
  [bold]q[/]              stop here; the same command goes on another time""")


def review(
    project: Project, out: Output, rows: int | None, bound: float | None, reviewer: str | None, as_json: bool
) -> None:
    """Ask on the terminal; with --json on standard error."""
    dialogue = Dialogue(out.errors if as_json else out.console)
    record = project.review(dialogue.judge, rows=rows, bound=bound, reviewer=reviewer)
    if record is None:
        paused = f"{dialogue.done} of {counted(dialogue.of, 'row')} judged and kept, sealed; the same command goes on."
        out.result({"paused": True, "judged": dialogue.done, "of": dialogue.of}, paused)
        return
    out.result(record.model_dump(mode="json"), reviewed(record))


class Dialogue:
    """Shows a row, asks for misses. Called as a Judge."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.done = self.of = 0

    def judge(self, row: ReviewRow) -> Sequence[str | Planted] | None:
        if not self.of:
            self.console.print(HELP, "")
        self.done, self.of = row.number - 1, row.of
        self.console.print(shown(row))
        marks: list[Planted] = []
        while True:
            answer = self._ask(bool(marks))
            match answer:
                case "q":
                    return None
                case "n":
                    self.done = row.number
                    return marks
                case "u":
                    marks.clear()
                    self.console.print(styled("[dim]No mark is left in this row."))
                case "" | "?":
                    self.console.print(HELP)
                case _:
                    self._mark(row, answer, marks)

    def _ask(self, marked: bool) -> str:
        more, first = (
            styled("[bold]more? text, n for no, u, q[/] > "),
            styled("[bold]missed? text, n for none, q[/] > "),
        )
        question = more if marked else first
        try:
            return self.console.input(question).strip()
        except EOFError:
            return "q"

    def _mark(self, row: ReviewRow, answer: str, marks: list[Planted]) -> None:
        try:
            places = row.locate(answer)
        except InvalidInput as error:
            self.console.print(styled("[yellow]{}", error.message))
            return
        marks += places
        self.console.print(styled("[green]marked[/], {}", counted(len(places), "place")))


def shown(row: ReviewRow) -> RenderableType:
    body = Text()
    for label, content in row.texts:
        body.append(f"{visible(label)}\n", style="dim")
        body.append_text(_text(content))
        body.append("\n")
    body.rstrip()
    title = Text(f"{row.number} of {row.of}: {row.split}, {row.stratum}", style="bold")
    return Panel(body, title=title, title_align="left", border_style="dim", padding=(0, 1))


def _text(content: str) -> Text:
    """Colour the placeholders; no character of the row can steer the terminal or hide."""
    # One character for one, so that a mark that is typed as it is shown finds its place.
    safe = "".join("�" if each not in "\n\t" and is_unseen(each) else each for each in content)
    text = Text(safe)
    text.highlight_regex(PLACEHOLDER, "bold cyan")
    return text


def reviewed(record: Review) -> RenderableType:
    whole = record.n == record.population
    how = " (all of them were looked at)" if whole else " (95 %, Clopper-Pearson)"
    rows: list[tuple[str, RenderableType]] = [
        ("bound", styled("[bold]{:.3%}[/] of the rows at most hold a miss{}", record.bound, how)),
        ("misses", f"{record.misses} of {counted(record.n, 'row')} drawn from {record.population:,} at even chance"),
        (
            "further",
            f"{record.extra_misses} of {counted(record.extra, 'row')} drawn to find more misses; not in the bound",
        ),
        ("reviewer", visible(record.reviewer)),
    ]
    if record.marks:
        rows.append(
            ("next", f"`sdk scrub` is tested on {counted(record.marks, 'mark')} from now on; add to recognizers.yaml")
        )
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for column in ("rows", "in all", "reviewed", "missed"):
        table.add_column(column, justify="left" if column == "rows" else "right")
    for name, stratum in record.strata.items():
        table.add_row(name, f"{stratum.rows:,}", f"{stratum.reviewed:,}", f"{stratum.missed:,}")
    return Group(grid(rows), table)
