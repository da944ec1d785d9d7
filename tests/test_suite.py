"""The suite itself."""

import re
from pathlib import Path

from tests.slow import slow


def test_slow_tests_are_tests() -> None:
    for file, names in slow().items():
        there = re.findall(r"def (test_\w+)", (Path(__file__).parent / f"{file}.py").read_text(encoding="utf-8"))
        assert names <= set(there), file
