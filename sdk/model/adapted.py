"""The model that a project serves: the base with its approved adapter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sdk.model.uncompiled  # noqa: F401 - before peft is imported

# isort: split
from peft import PeftModel
from transformers import PreTrainedTokenizerBase

from sdk.data.base_folder import BaseFolder
from sdk.model.adapter import attach_adapter
from sdk.model.generate import generate
from sdk.model.load import load_opened
from sdk.records import Quantization


@dataclass(frozen=True)
class AdaptedModel:
    """`model` and `tokenizer` are PEFT's and transformers' own; `prompt` is the domain's system message."""

    model: PeftModel
    tokenizer: PreTrainedTokenizerBase
    prompt: str
    max_new_tokens: int

    def __repr__(self) -> str:
        base = type(self.model.get_base_model()).__name__
        return f"<AdaptedModel: {base} with its adapter, answers of up to {self.max_new_tokens} tokens>"

    def generate(self, questions: str | Sequence[str]) -> list[str]:
        """Generate one greedy answer for each question."""
        asked = [questions] if isinstance(questions, str) else list(questions)
        system = [{"role": "system", "content": self.prompt}] if self.prompt else []
        conversations = [[*system, {"role": "user", "content": question}] for question in asked]
        return generate(self.model, self.tokenizer, conversations, self.max_new_tokens, None, lambda *progress: None)


def load_adapted(
    base: BaseFolder,
    quantization: Quantization,
    config: Mapping[str, Any],
    weights: bytes | bytearray,
    prompt: str,
    max_new_tokens: int,
) -> AdaptedModel:
    """Load an opened base as it was trained and attach the adapter from memory."""
    model, tokenizer = load_opened(base, quantization)
    return AdaptedModel(attach_adapter(model, config, weights), tokenizer, prompt, max_new_tokens)
