"""What a reviewer is told of a package's governance: where it stands, who decided what, which checks hold.

All of it follows from records, the key ring and the audit log, so that `check_release` can tell whether MLflow still
says it. MLflow proves none of it: tags and aliases carry no actor and no history.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sdk.records import StandingDecision, Status

STATUS_TAG = "sdk.status"
APPROVALS_TAG = "sdk.approvals"
CHECKS_TAG = "sdk.checks"
MAX_TAG = 5000  # characters; the shortest value column of MLflow's registry, and a reader's patience
MAX_REASON = 300  # characters of a reason on the page; the whole is in the decision's file
HOLDS = "yes: "
DECIDED = ("decision", "by", "on", "why", "counts")
GAP = "&emsp;"
HYPHEN = "&#8209;"  # at which a line does not break
MEANINGS: Mapping[Status, str] = {
    "candidate": "it may not be served yet",
    "approved": "it may be served, and is not the one that is",
    "champion": "it is the one that is served",
    "rejected": "it may not be served",
    "withdrawn": "it was served, and may not be any more",
}


@dataclass(frozen=True)
class Standing:
    """Where a package stands, in words for the model version's page."""

    status: Status = "candidate"
    decisions: tuple[str, ...] = ()  # each person's last one, in the order of the log
    checks: tuple[str, ...] = ()  # the conditions of approval; those that hold begin with HOLDS
    decided: tuple[StandingDecision, ...] = ()  # every decision, in the order of the log

    @property
    def tags(self) -> dict[str, str]:
        """Return what a list of versions shows at a glance; reasons stand on the page."""
        counted = [f"{one.decision} by {one.person}, {one.time[:10]}" for one in self.decided if one.counts]
        said = {STATUS_TAG: self.status, APPROVALS_TAG: "; ".join(counted) or "none yet", CHECKS_TAG: self.summary()}
        return {key: cut(value, MAX_TAG) for key, value in said.items()}

    def summary(self) -> str:
        """Say how many checks hold, and which do not."""
        if not self.checks:
            return "none yet"
        failing = [check for check in self.checks if not check.startswith(HOLDS)]
        return "; ".join([f"{len(self.checks) - len(failing)} of {len(self.checks)} hold", *failing])

    def section(self, judged: Mapping[str, str]) -> str:
        """Write the page's section in Markdown. `judged`, Markdown too: what decisions are taken over -> its digest."""
        checks = [(plain(text), f"**{holds}**") for holds, _, text in (check.partition(": ") for check in self.checks)]
        decided = [_row(one) for one in self.decided]
        parts = [
            f"### {self.status.capitalize()}: {MEANINGS[self.status]}",
            _titled("Conditions", rows(("to be served it needs", "holds"), checks) if checks else "not checked yet"),
            _titled("Decisions", rows(DECIDED, decided) if decided else "nobody has decided yet"),
            _titled("Signed over", rows(("what", "SHA-256"), list(judged.items()))),
        ]
        return "\n\n".join(parts)


def _titled(title: str, body: str) -> str:
    return f"**{title}**\n\n{body}"


def _row(one: StandingDecision) -> tuple[str, ...]:
    day = one.time[:10].replace("-", HYPHEN)
    counts = "yes" if one.counts else f"no: {plain(cut(one.note, MAX_REASON))}"
    return one.decision, plain(one.person), day, plain(cut(one.reason, MAX_REASON)), counts


def rows(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Write a Markdown table. MLflow's pages set no space between columns, so that each cell ends with some."""
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(
        "| " + " | ".join(cell if cell == "---" else f"{cell}{GAP}" for cell in line) + " |" for line in lines
    )


CANDIDATE = Standing()


def code(text: str) -> str:
    """Write text as Markdown that says just this, also in a table."""
    return "`" + text.replace("`", "'").replace("|", "/").replace("\n", " ") + "`"


def plain(text: str) -> str:
    """Write text so that no character of it means anything to Markdown or HTML."""
    return "".join(f"&#{ord(sign)};" if sign in "\\`*_{}[]()<>#+!|&~" else sign for sign in text.replace("\n", " "))


def cut(value: str, longest: int) -> str:
    """Cut text to at most so many characters, with a note where some were left out."""
    note = f" … cut, {len(value)} characters in all"
    return value if len(value) <= longest else value[: longest - len(note)] + note
