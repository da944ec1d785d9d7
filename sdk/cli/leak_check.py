"""`sdk leaks`: the adapted model is asked for what was planted."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sdk.cli import show
from sdk.cli.app import HERE, JsonOption, ProjectOption, QuietOption, app, working
from sdk.cli.terminal import styled
from sdk.records import Leakage, Leaks
from sdk.wording import counted


@app.command("leaks")
def check(project: ProjectOption = HERE, json: JsonOption = False, quiet: QuietOption = False) -> None:
    """Ask the newest run's model for the canaries that were planted in its rows before they were scrubbed.

    Exposure, extraction and membership, beside a control that is trained here on canaries in plain and has to be
    caught. `sdk register` refuses above the policy's limits.
    """
    with working(project, json, quiet) as (out, opened):
        for note in opened.power_of_leak_check():
            out.show(show.note(note))
        record = opened.check_leaks()
        out.result(record.model_dump(mode="json"), leaks(record))


def leaks(record: Leaks) -> RenderableType:
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for column in ("asked for canaries", "adapted", "control", "chance"):
        table.add_column(column, justify="left" if column == "asked for canaries" else "right")
    models = (record.adapted, record.control)
    for name, values, chance in (
        (f"exposure, bits of {record.adapted.most_bits:.1f}", [one.exposure.text(2) for one in models], "1.4"),
        ("given word for word", [_extracted(one) for one in models], "0"),
        ("AUC against twins", [one.auc.text(2) for one in models], "0.50"),
        ("found at 1 % false positives", [one.tpr.text(2) for one in models], "0.01"),
    ):
        table.add_row(name, Text(values[0], "bold"), values[1], chance)
    passes = "an unknown number of" if record.passes is None else f"{record.passes:.3g}"
    return Group(
        table,
        styled(
            "[dim]the run saw each canary {} times, scrubbed; the control {:.3g} times, in plain. {}; intervals "
            "are 95 %, of shares exact, else by bootstrap",
            passes,
            record.control_passes,
            counted(len(record.adapted.twin_losses), "twin"),
        ),
    )


def _extracted(one: Leakage) -> str:
    of = f"{one.extracted} of {len(one.kinds)}"
    return f"{of}, {one.extraction.low:.2f} to {one.extraction.high:.2f}" if one.extraction else of
