"""One name for one thing, docstrings that say what a function does, and the words that the design leaves behind."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import pytest

import sdk

ROOT = Path(sdk.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
NO_VERBS = set(
    "A An And As At All Also After Each Every For From How In Its None None: Not Nothing Of One Or Over That The Their "
    "There These This Those Two Until What When Where Whether Which Who Whose With Without Yes You".split()
)


def trees() -> list[tuple[Path, ast.Module]]:
    return [(path.relative_to(ROOT), ast.parse(path.read_text(encoding="utf-8"))) for path in FILES]


def test_no_two_modules_share_a_name() -> None:
    places = defaultdict(list)
    for path in FILES:
        if path.name != "__init__.py":
            places[path.stem].append(str(path.relative_to(ROOT)))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_no_two_public_classes_share_a_name() -> None:
    places = defaultdict(list)
    for path, tree in trees():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(str(path))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


@pytest.mark.parametrize("path", [str(path.relative_to(ROOT)) for path in FILES])
def test_docstrings_of_functions_begin_with_a_verb(path: str) -> None:
    """As far as a list of words that are none can tell; properties and classes say what they are."""
    faults = []
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if any(ast.unparse(one) in ("property", "cached_property") for one in node.decorator_list):
            continue
        first = (ast.get_docstring(node) or "").split(maxsplit=1)[:1]
        if first and (first[0] in NO_VERBS or not first[0][0].isupper()):
            faults.append(f"{node.name}: {first[0]} …")
    assert faults == []


@pytest.mark.parametrize("word", ["audit trail", "Audit trail"])
def test_a_word_that_was_left_behind_stays_behind(word: str) -> None:
    places = [*FILES, *(ROOT.parent / "docs").glob("*.md"), ROOT.parent / "README.md"]
    holding = [
        str(path) for path in places if path.is_file() and path.name != "changelog.md" and word in path.read_text()
    ]
    assert holding == []
