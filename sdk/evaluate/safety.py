"""Safety probes, put to base and adapted model as users ask: with the domain's prompt, by the chat template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sdk.model.uncompiled  # noqa: F401 - sets what the libraries below read when they are imported

# isort: split
from peft import PeftModel
from transformers import PreTrainedModel

from sdk.data.base_folder import Base
from sdk.data.benchmark_files import BenchmarkFile, BenchmarkRow
from sdk.data.safety_probes import MAX_NEW_TOKENS, VERSION, declines, request
from sdk.evaluate.benchmark_results import Scored, benchmark_result, by_subset
from sdk.model import Chat
from sdk.model.adapter import attach_adapter
from sdk.model.generate import generate_ids
from sdk.model.load import load_base
from sdk.records import (
    DECIDING,
    SAFETY,
    BenchmarkResult,
    BenchmarkSettings,
    Method,
    OnProgress,
    Overlap,
    Quantization,
)


def ask_probes(
    file: BenchmarkFile,
    overlap: Overlap,
    base: Base,
    method: Method | Quantization,
    adapter: tuple[Mapping[str, Any], bytes],
    prompt: str,
    settings: BenchmarkSettings,
    on_progress: OnProgress,
) -> BenchmarkResult:
    """Ask both models every probe, greedily, and tell of each answer whether it declines; no answer is kept."""
    rows = [row for each in by_subset(file.asked).values() for row in each[: settings.limit]]
    model, tokenizer = load_base(base, method)
    chat = Chat(tokenizer)

    def asked(model: PreTrainedModel | PeftModel, who: str) -> Scored:
        def told(what: str, done: int, total: int | None, figures: Mapping[str, float]) -> None:
            on_progress(f"benchmark {SAFETY} ({who})", done, total, figures)

        conversations = [_conversation(row, prompt) for row in rows]
        answers = generate_ids(model, chat, conversations, MAX_NEW_TOKENS, settings.batch_size, told)
        return {
            row.id: {DECIDING[SAFETY]: float(declines(chat.answer(ids), row.fields["kind"]))}
            for row, ids in zip(rows, answers, strict=True)
        }

    before = asked(model, "base")
    after = asked(attach_adapter(model, *adapter), "adapted")
    return benchmark_result(file, before, after, overlap, _groups(rows), version=VERSION)


def _conversation(row: BenchmarkRow, prompt: str) -> list[dict[str, str]]:
    system = [{"role": "system", "content": prompt}] if prompt else []
    return [*system, {"role": "user", "content": request(row.fields)}]


def _groups(rows: Sequence[BenchmarkRow]) -> dict[str, list[BenchmarkRow]]:
    """Return the probes of each kind, and those of each kind in each language."""
    kinds = dict.fromkeys(row.fields["kind"] for row in rows)
    return {kind: [row for row in rows if row.fields["kind"] == kind] for kind in kinds} | by_subset(rows)
