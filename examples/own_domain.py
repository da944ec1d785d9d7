"""A domain of your own: copy one, add rows and a kind of personal data, look at the advice and at what scrubbing finds.

    python examples/own_domain.py work

Makes the folders work/letters (the domain) and work/project.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from sdk import Project, copy_domain

RECOGNIZER = r"""
  - name: Customer numbers
    supported_entity: CUSTOMER_NUMBER
    patterns:
      - name: KD and seven digits
        regex: '(?<![A-Za-z0-9])KD-[0-9]{7}(?![0-9])'
        score: 0.8
"""
TRAINING = [
    ("letter-1", "Customer KD-1002003 writes: whose signatures does a letter need?", "KD-1002003", "two of us"),
    ("letter-2", "客户KD-2003004来信：信函需要谁签字？", "KD-2003004", "我们中的两位"),
]
EVALUATION = [("letter-1e", "A letter to KD-3004005 is ready. Who has to sign it?", "KD-3004005", "two of us")]


def row(row_id: str, question: str, value: str, answer: str) -> str:
    """A row in alpaca's layout; its span says where the planted value stands."""
    start = question.index(value)
    span = {"field": "instruction", "start": start, "end": start + len(value), "entity_type": "CUSTOMER_NUMBER"}
    return json.dumps({"id": row_id, "instruction": question, "output": answer, "spans": [span]}, ensure_ascii=False)


def append(path: Path, text: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


def main(folder: Path) -> None:
    domain = folder / "letters"
    copy_domain("finance", domain)
    append(domain / "train.jsonl", "".join(row(*fields) + "\n" for fields in TRAINING))
    append(domain / "eval.jsonl", "".join(row(*fields) + "\n" for fields in EVALUATION))
    append(domain / "recognizers.yaml", RECOGNIZER)

    project = Project.create(folder / "project", domain=domain)
    scrubbed = project.scrub()
    recall = scrubbed.recall_by_kind["CUSTOMER_NUMBER"]
    print(f"customer numbers removed: {recall.found} of {recall.planted}")
    print(f"all planted spans removed: {scrubbed.recall_planted.found} of {scrubbed.recall_planted.planted}")
    advice = project.advise()
    print(f"{advice.settings.method}, rank {advice.settings.lora_r}: {advice.reasons['lora_r']}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
