"""The leak check on the embedded base: what it finds of scrubbed rows and of plain ones, by how long was trained.

    python tests/benchmarks/leaks.py --domain finance --steps 30 90 -1

Where rows are scrubbed here, placeholders stand in place of the planted spans, whatever a detector would have found.
--steps -1 are the 12 epochs that are advised. --chance N: N further sets of canaries that no row ever held.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from sdk.data import Message, Row, read_rows
from sdk.data.canaries import Canary, canaries
from sdk.domain import Domain, read_domain
from sdk.files.store import shipped
from sdk.measure import leaks, power
from sdk.model import Chat
from sdk.model.adapter import attach_adapter
from sdk.model.load import load_base
from sdk.records import Leakage, Run, TrainSettings
from sdk.seal import read_adapter
from sdk.train import ONLY_THE_LAST_CHECKPOINT, Job, train

ADVISED = {"finance": (8, 32, 0.05), "medical": (16, 64, 0.1)}  # rank, alpha, dropout


def quiet(*told: Any) -> None:
    pass


def without_personal_data(row: Row) -> Row:
    messages = []
    for place, message in enumerate(row.messages):
        text = message.content
        for span in sorted(row.spans, key=lambda span: -span.start):
            if span.message == place:
                text = f"{text[: span.start]}<{span.entity_type}_1>{text[span.end :]}"
        messages.append(Message(role=message.role, content=text))
    return row.model_copy(update={"messages": tuple(messages), "spans": ()})


def settings(domain: str, steps: int) -> TrainSettings:
    rank, alpha, dropout = ADVISED[domain]
    return TrainSettings(
        method="lora",
        lora_r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        learning_rate=6e-3,
        lr_scheduler_type="linear",
        warmup_ratio=0.03,
        num_train_epochs=12,
        max_steps=steps,
        per_device_train_batch_size=16,
        gradient_accumulation_steps=1,
        gradient_checkpointing=False,
        max_length=256,
    )


def shown(found: Leakage) -> dict[str, Any]:
    return {
        **{name: getattr(found, name).model_dump() for name in ("exposure", "auc", "tpr")},
        **{name: getattr(found, name) for name in ("extracted", "auc_by_loss", "auc_by_base")},
        "canaries": len(found.kinds),
        "twins": len(found.twin_losses),
    }


def trained(domain: Domain, rows: tuple[Row, ...], given: TrainSettings, out: Path) -> tuple[Run, leaks.Trained]:
    run = train(Job(rows, "embedded", domain.prompt, given, out, ONLY_THE_LAST_CHECKPOINT), quiet)
    return run, leaks.Trained("embedded", domain.prompt, given, read_adapter(out), power.passes(run, len(rows)))


def by_chance(asked: leaks.Trained, sets: list[tuple[Canary, ...]]) -> list[Leakage]:
    model, tokenizer = load_base(asked.base, asked.settings.method)
    chat = Chat(tokenizer)
    each = [leaks._Questions(chat, asked.prompt, one) for one in sets]
    before = [one.losses(model, 1 + leaks.TWINS, quiet) for one in each]
    adapted = attach_adapter(model, *asked.adapter)
    return [
        leaks._leakage(one, base, asking.losses(adapted, leaks.CANDIDATES, quiet))
        for one, asking, base in zip(sets, each, before, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--domain", choices=sorted(ADVISED), default="finance")
    parser.add_argument("--steps", type=int, nargs="+", default=[-1])
    parser.add_argument("--canaries", type=int, default=32)
    parser.add_argument("--controls", type=int, default=power.CONTROLS)
    parser.add_argument("--control-passes", type=float, default=power.CONTROL_PASSES)
    parser.add_argument("--rows", choices=("scrubbed", "plain"), nargs="+", default=["scrubbed", "plain"])
    parser.add_argument("--chance", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    power.CONTROL_PASSES, power.CONTROL_BITS, power.CONTROL_AUC = given.control_passes, 0.0, 0.0  # shown, not judged
    versions = {name: version(name) for name in ("torch", "transformers", "peft", "trl")}
    print(json.dumps({"machine": platform.machine(), "threads": given.threads, **versions}))
    folder = shipped("domains") / given.domain
    domain, own = read_domain(folder), read_rows(folder / "train.jsonl").rows
    planted = canaries(b"planted".ljust(32), given.canaries, domain.languages)
    control = canaries(b"control".ljust(32), given.controls, domain.languages)
    for steps in given.steps:
        for how in given.rows:
            rows = [canary.row for canary in planted]
            rows = [without_personal_data(row) for row in rows] if how == "scrubbed" else rows
            with tempfile.TemporaryDirectory() as made:
                all_rows = (*map(without_personal_data, own), *rows)
                run, asked = trained(domain, all_rows, settings(given.domain, steps), Path(made) / "run")
                record = leaks.check_leaks(asked, planted, control, None, Path(made) / "control", quiet)
                line = {"rows": how, "steps": run.steps, "passes": asked.passes, "train_seconds": round(run.seconds, 1)}
                line |= {"check_seconds": round(record.seconds, 1), "control_passes": record.control_passes}
                print(
                    json.dumps({**line, "adapted": shown(record.adapted), "control": shown(record.control)}), flush=True
                )
                if how == "scrubbed" and given.chance:
                    sets = [canaries(bytes([n]) * 32, given.canaries, domain.languages) for n in range(given.chance)]
                    for found in by_chance(asked, sets):
                        print(json.dumps({"chance": shown(found)}), flush=True)


if __name__ == "__main__":
    main()
