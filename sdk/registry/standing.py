"""What a reviewer is told of a package's governance: where it stands, who decided what, which checks hold.

All of it follows from records, the key ring and the audit log, so that `check_release` can tell whether MLflow still
says it. MLflow proves none of it: tags and aliases carry no actor and no history.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sdk.records import Status

STATUS_TAG = "sdk.status"
APPROVALS_TAG = "sdk.approvals"
CHECKS_TAG = "sdk.checks"
MAX_TAG = 5000  # characters; the shortest value column of MLflow's registry, and a reader's patience
HOLDS = "yes: "


@dataclass(frozen=True)
class Standing:
    """Where a package stands, in words for the model version's page."""

    status: Status = "candidate"
    decisions: tuple[str, ...] = ()  # each person's last one, in the order of the log
    checks: tuple[str, ...] = ()  # the conditions of approval; those that hold begin with HOLDS

    @property
    def tags(self) -> dict[str, str]:
        decisions = "; ".join(self.decisions) or "none yet"
        said = {STATUS_TAG: self.status, APPROVALS_TAG: decisions, CHECKS_TAG: self._summary()}
        return {key: cut(value, MAX_TAG) for key, value in said.items()}

    def _summary(self) -> str:
        """Say how many checks hold, and which do not."""
        if not self.checks:
            return "none yet"
        failing = [check for check in self.checks if not check.startswith(HOLDS)]
        return "; ".join([f"{len(self.checks) - len(failing)} of {len(self.checks)} hold", *failing])

    def section(self, judged: Mapping[str, str]) -> str:
        """Write the page's section in Markdown. `judged`, Markdown too: what decisions are taken over -> its digest."""
        rows = {
            "Status": f"**{self.status}**",
            "Decisions": "<br>".join(map(plain, self.decisions)) or "none yet",
            "Checks": "<br>".join(map(plain, self.checks)) or "none yet",
            **judged,
        }
        return "\n".join(
            ["### Governance", "", "| | |", "|---|---|", *(f"| {n} | {said} |" for n, said in rows.items())]
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
