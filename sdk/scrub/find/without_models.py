"""Presidio without torch and transformers, which take five of its six seconds: the shipped recognizer needs neither.

Presidio imports transformers, and spaCy's thinc torch, wherever they are installed, and both do without where they are
not. So, while Presidio is imported, its thread finds neither. What runs other people's models gets them after all:

- thinc is told of torch as soon as anybody imports it, so a spaCy pipeline that needs it runs as ever;
- a module of Presidio that wants such a library is read anew before it is used (`read_anew`).
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

LEFT_OUT = ("torch", "transformers")


class _NotInstalled:
    """Finds none of what is left out, in the thread that made it; every other thread imports as ever."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> None:
        if name in LEFT_OUT and threading.get_ident() == self._thread:
            raise ModuleNotFoundError(f"{name} is left out while Presidio is imported", name=name)


class _UntilTorchComes:
    """Finds torch as Python does, and tells thinc of it once it is there."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path) if name == "torch" else None
        if spec is None or spec.loader is None:
            return None
        sys.meta_path.remove(self)
        run = spec.loader.exec_module

        def run_and_tell(module: ModuleType) -> None:
            run(module)
            tell_thinc()

        spec.loader.exec_module = run_and_tell  # type: ignore[method-assign]
        return spec


@contextmanager
def models_left_out() -> Iterator[None]:
    """Have this thread import without the libraries of models, unless it is too late for that.

    Where one of them is there, leaving out the other may leave it in pieces.
    """
    if any(name in sys.modules for name in (*LEFT_OUT, "thinc")):
        yield
        return
    finder = _NotInstalled()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
    sys.meta_path.insert(0, _UntilTorchComes())


def tell_thinc() -> None:
    """Give thinc's modules what `thinc.compat` says of torch now."""
    compat = importlib.reload(sys.modules["thinc.compat"])
    news = {name: value for name, value in vars(compat).items() if name == "torch" or "torch" in name.split("_")}
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "thinc":
            vars(module).update({each: value for each, value in news.items() if each in vars(module)})


def read_anew(module: ModuleType) -> Any:
    """Return a module of Presidio that has found the library that it wants, if that is installed."""
    return importlib.reload(module)
