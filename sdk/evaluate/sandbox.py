"""Running what a model wrote, or a domain's own metric: in a process of its own that can reckon, and nothing else.

How it is contained says sdk/evaluate/contained.py. The process gets no environment, no open file and an empty folder,
which goes with it; its output is dropped.
"""

from __future__ import annotations

import json
import secrets
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from sdk import processes
from sdk.data import Row, answer
from sdk.data.measures import Given
from sdk.errors import InvalidInput
from sdk.files.regular_files import MIB

CPU_SECONDS = 3  # as many as lm_eval's own check gives, which counts seconds of the clock
WAITING = 5  # times as long by the clock, for what sleeps, and for a busy machine
MEMORY = 1024 * MIB  # addresses, of which Python itself takes some 100 MiB
CALLS, CALLS_SECONDS = 500, 60  # of a domain's own function in one process; what it returns fits into a pipe
_MOST_SAID = 60_000
_SCRIPT = Path(__file__).with_name("contained.py")


def passes(program: str, cpu_seconds: int = CPU_SECONDS) -> bool:
    """Run a program, contained. True where it comes to its end without an error, within its limits.

    Raises InvalidInput where this machine's kernel cannot contain it; then the program was not run.
    """
    return _run({"program": program}, cpu_seconds, "Leave humaneval out, or run it on another machine.") is not None


def own_function_judge(source: str, function: str, file: str) -> Callable[[Sequence[Given]], list[float]]:
    """Return what scores answers by a function of a domain's own file, contained: (answer, reference, row) -> 0 to 1.

    Raises InvalidInput where it fails, takes too long, or returns anything else; source: the file's text.
    """

    def judge(given: Sequence[Given]) -> list[float]:
        return [score for start in range(0, len(given), CALLS) for score in some(given[start : start + CALLS])]

    def some(given: Sequence[Given]) -> list[float]:
        calls = [(each.text, answer(each.row), _shown(each.row)) for each in given]
        request = {"program": source, "function": function, "calls": calls}
        said = _run(request, CALLS_SECONDS, "Leave entry_point out of the domain's metrics, or use another machine.")
        scores = json.loads(said) if said else []
        if len(scores) == len(given) and all(0 <= score <= 1 for score in scores):
            return [float(score) for score in scores]
        why = "returned something else" if said else f"failed, or took more than {CALLS_SECONDS} s"
        raise InvalidInput(
            f"{file}: {function} scores each answer with a number from 0 to 1, and on {len(given)} questions from row "
            f"{given[0].row.id} on it {why}. It gets answer, reference and row, and can reckon with Python's own "
            "library, without files or network; mend it and put it in force with `sdk adopt`."
        )

    return judge


def _shown(row: Row) -> dict[str, Any]:
    """Return what a domain's own function gets of a row."""
    return row.model_dump(mode="json", exclude={"spans", "patient"}, exclude_none=True)


def _run(request: Mapping[str, Any], cpu_seconds: int, instead: str) -> str | None:
    """Run a program and return what its function returned, as JSON; None where it did not come to its end.

    instead: what to do where this machine cannot contain it.
    """
    word = secrets.token_hex(16)
    try:
        asked = json.dumps({**request, "word": word, "seconds": cpu_seconds, "memory": MEMORY}).encode("ascii")
    except ValueError:
        return None
    with tempfile.TemporaryDirectory(prefix="sdk-program-") as folder:
        child = processes.start_script(_SCRIPT, Path(folder))
        assert child.stdin
        assert child.stdout
        with suppress(BrokenPipeError):
            child.stdin.write(asked)
            child.stdin.close()
        processes.end(child, WAITING * cpu_seconds)
        said = child.stdout.read(_MOST_SAID).decode(errors="replace")
        child.stdout.close()
    if said == "not contained":
        raise InvalidInput(
            "What this would run cannot be contained on this machine: its kernel must be Linux on x86_64 or aarch64, "
            f"with seccomp. {instead}"
        )
    return said.removeprefix(word) if said.startswith(word) else None


def require_containment() -> None:
    """Raise InvalidInput where this machine cannot contain a program, or cannot run one at all."""
    if not passes("assert sum(range(4)) == 6"):
        raise InvalidInput(
            "A program that only adds numbers does not run in the sandbox of this machine; leave humaneval out."
        )
