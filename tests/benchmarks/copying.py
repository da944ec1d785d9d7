"""What a row costs in each part of being copied in, in µs of processor time: `python tests/benchmarks/copying.py`.

The rows are those of rows.py; nothing is scrubbed. It takes two seconds, so two checkouts can be run in turns.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from sdk.data import (
    QuestionHashes,
    RowsFile,
    each_row,
    each_written_row,
    open_rows,
    refuse_overlap,
    row_line,
    rows_digest,
)
from sdk.scrub.near_duplicates import QuestionIndex, asked
from tests.benchmarks.rows import rows as lines_of

ROWS = 5_000
Result = TypeVar("Result")


def measured(folder: Path) -> dict[str, float]:
    data, questions, written = (folder / f"{name}.jsonl" for name in ("train", "eval", "written"))
    data.write_text("".join(lines_of(ROWS)), encoding="utf-8")
    asking = ({"instruction": f"Is {number} even?", "output": "yes"} for number in range(20))
    questions.write_text("".join(json.dumps(each) + "\n" for each in asking), encoding="utf-8")
    figures: dict[str, float] = {}

    def timed(part: str, work: Callable[[], Result]) -> Result:
        began = time.process_time()
        result = work()
        figures[part] = round((time.process_time() - began) / ROWS * 1e6, 1)
        return result

    hashes, evaluation = QuestionHashes(), open_rows(questions)
    source = timed("checked", lambda: each_row(data, hashes.add))
    timed("questions compared", lambda: refuse_overlap(source, evaluation, hashes))
    timed("read again", lambda: deque(source.rows, maxlen=0))
    rows = list(source.rows)
    lines = timed("written", lambda: list(map(row_line, rows)))
    written.write_bytes(b"".join(lines))
    file = RowsFile(written, rows_digest(written), written=True)
    timed("scrubbed rows read", lambda: each_written_row(file, lambda row: None))
    index = QuestionIndex([*map(asked, evaluation.rows)])
    timed("near-duplicates", lambda: [index.compare(asked(row)) for row in rows])
    figures["all"] = round(sum(figures.values()), 1)
    return figures


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        print(json.dumps(measured(Path(made))))
