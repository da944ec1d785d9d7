"""HumanEval's own solutions in the sandbox: all of them have to pass.

    python tests/benchmarks/canonical_solutions.py FILE

FILE: as `sdk prepare humaneval` made it. Prints how many passed, which did not, and how long one takes.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from sdk.data.benchmark_files import read_benchmark
from sdk.evaluate.sandbox import passes


def main(path: Path) -> int:
    questions = read_benchmark("humaneval", path).asked
    began = time.monotonic()
    failed = []
    for row in questions:
        fields = row.fields
        solution = f"{fields['prompt']}{fields['canonical_solution']}"
        if not passes(f"{solution}\n{fields['test']}\ncheck({fields['entry_point']})"):
            failed.append(row.id)
    seconds = time.monotonic() - began
    count = len(questions)
    print(f"{count - len(failed)} of {count} pass, {seconds / count:.2f} s each; not: {failed}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
