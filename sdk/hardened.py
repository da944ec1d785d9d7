"""A process that leaves no dump of its memory, and `python -P -m sdk.hardened MODULE …`, as which each child begins.

A core dump holds keys and plain text, and whoever may attach a debugger reads them. Linux forgets a process's refusal
to be dumped when it runs another program, so each child has to say so for itself, before the module that it runs.
"""

from __future__ import annotations

import ctypes
import os
import resource
import runpy
import sys
from functools import cache

_PR_SET_DUMPABLE = 4  # prctl(2)


@cache
def forbid_dumps() -> None:
    """Have this process leave no core dump and let no debugger in, from now on.

    The limit of 0 holds for what it starts, too. It does not stop a core that the kernel pipes into a program
    (core(5)); not being dumpable does, and makes /proc/PID belong to root, so that another process of the same user
    cannot read its memory or its environment.
    """
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    if most != 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Where there is no prctl, as on macOS, the limit alone has to do.
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def main(module: str, arguments: list[str]) -> None:
    """Run a module as `python -m` does, once this process cannot be dumped."""
    forbid_dumps()
    # What it starts in turn, as torchrun its workers, imports nothing from its working folder either.
    os.environ["PYTHONSAFEPATH"] = "1"
    sys.argv[:] = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
