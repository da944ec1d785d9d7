"""Every place in the source where a file could be opened but by the one reader and the one writer. No exceptions."""

from __future__ import annotations

import ast
from pathlib import Path

import sdk

ROOT = Path(sdk.__file__).parent
# The reader, what the writers are made of, and the script that imports nothing of sdk and shuts itself in.
OPENERS = {ROOT / "files" / "regular_files.py", ROOT / "files" / "durable.py", ROOT / "evaluate" / "contained.py"}
BY_PATH = {"read_bytes", "read_text", "write_bytes", "write_text", "touch", "open_code", "FileIO", "memmap", "fromfile"}
COPIES = {"copy", "copy2", "copyfile", "copyfileobj", "copymode", "copytree", "move"}
MODULES = {"os", "io", "codecs", "gzip", "bz2", "lzma", "tarfile", "zipfile", "shelve", "dbm", "fileinput", "posix"}


def _opens(call: ast.Call) -> bool:
    """Tell whether the call opens a file by its path."""
    function = call.func
    if isinstance(function, ast.Name):
        return function.id in {"open", "FileIO", *COPIES - {"copy", "move"}}
    if not isinstance(function, ast.Attribute):
        return False
    name, owner = function.attr, ast.unparse(function.value)
    if name in BY_PATH or (owner == "shutil" and name in COPIES):
        return True
    if name == "open":  # a path's, unless what it is given is no mode, as in `Project.open(folder)`
        words = {"mode", "encoding", "buffering", "errors", "newline"}
        modes = [*call.args[:1], *(word.value for word in call.keywords if word.arg in words)]
        is_mode = any(isinstance(one, ast.Constant) and isinstance(one.value, str | int) for one in modes)
        return owner in MODULES or is_mode or not (call.args or call.keywords)
    if owner in {"np", "numpy"} and name in {"load", "loadtxt", "genfromtxt"}:
        return not ast.unparse(call.args[0]).startswith("io.BytesIO(")
    return name == "ParquetFile" and not ast.unparse(call.args[0]).endswith(".raw")


def places(source: str) -> list[int]:
    """Return the lines of a module that open a file by its path."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    imported = [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom)
        and node.module in {"os", "io", "shutil", "codecs"}
        and {alias.name for alias in node.names} & {"open", "open_code", *COPIES}
    ]
    return sorted({*imported, *(call.lineno for call in calls if _opens(call))})
