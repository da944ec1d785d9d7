"""Ctrl-C ends a step whatever it falls into.

KeyboardInterrupt is raised in whichever line is just running. A callback of a library, a destructor or a C extension
may drop it there, and the step would go on, and the next ones after it, up to a publication that nobody wants any more.
So it is remembered, and raised again where the step ends, before anything of it is recorded as finished.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt at the block's end if Ctrl-C came in it and was dropped.

    Only where Ctrl-C raises KeyboardInterrupt at all: in the main thread of a process that does not ignore it.
    """
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield
        return
    came = False

    def remember(number: int, frame: FrameType | None) -> None:
        nonlocal came
        came = True
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if came:
        raise KeyboardInterrupt
