"""Running what a model wrote: each program in a process of its own that can reckon, and nothing else.

How it is contained says sdk/evaluate/contained.py. The process gets no environment, no open file and an empty folder,
which goes with it; its output is dropped.
"""

from __future__ import annotations

import json
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path

from sdk import processes
from sdk.errors import InvalidInput
from sdk.regular_files import MIB

CPU_SECONDS = 3  # as many as lm_eval's own check gives, which counts seconds of the clock
WAITING = 5  # times as long by the clock, for what sleeps, and for a busy machine
MEMORY = 1024 * MIB  # addresses, of which Python itself takes some 100 MiB
_SCRIPT = Path(__file__).with_name("contained.py")


def passes(program: str, cpu_seconds: int = CPU_SECONDS) -> bool:
    """Run a program, contained. True where it comes to its end without an error, within its limits.

    Raises InvalidInput where this machine's kernel cannot contain it; then the program was not run.
    """
    word = secrets.token_hex(16)
    request = {"program": program, "word": word, "seconds": cpu_seconds, "memory": MEMORY}
    try:
        asked = json.dumps(request).encode("ascii")
    except ValueError:
        return False
    with tempfile.TemporaryDirectory(prefix="sdk-program-") as folder:
        child = processes.start_script(_SCRIPT, Path(folder))
        assert child.stdin
        assert child.stdout
        with suppress(BrokenPipeError):
            child.stdin.write(asked)
            child.stdin.close()
        processes.end(child, WAITING * cpu_seconds)
        said = child.stdout.read(len(word))  # whatever else stands there
        child.stdout.close()
    if said == b"not contained"[: len(word)]:
        raise InvalidInput(
            "What the model writes cannot be contained on this machine: its kernel must be Linux on x86_64 or aarch64, "
            "with seccomp. Leave humaneval out, or run it on another machine."
        )
    return said == word.encode()


def require_containment() -> None:
    """Raise InvalidInput where this machine cannot contain a program, or cannot run one at all."""
    if not passes("assert sum(range(4)) == 6"):
        raise InvalidInput(
            "A program that only adds numbers does not run in the sandbox of this machine; leave humaneval out."
        )
