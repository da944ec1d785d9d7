"""Engines that serve exported files, asked the same: transformers and, in a process of its own, llama.cpp."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import sdk.model.uncompiled  # noqa: F401 - before peft is imported

# isort: split
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, PreTrainedModel

from sdk.data.base_folder import BaseFolder
from sdk.errors import InvalidInput, StepFailed
from sdk.export.convert import xllamacpp_version
from sdk.likeness import Answers
from sdk.model.base_tokenizer import tokenizer_from
from sdk.model.chat import Chat
from sdk.model.dense_weights import keep_unpacked
from sdk.model.generate import generate_ids
from sdk.model.load import load_opened
from sdk.model.probes import ask_probes, log_probabilities
from sdk.processes.isolated import Isolated
from sdk.records import Behaviour, OnProgress, Quantization

MOST_LIKELY = 256  # tokens that an engine is asked for
CHILD = "sdk.export.llama_child"
_TOGETHER = 8  # rows in a pass

Messages = Sequence[Mapping[str, str]]
Likely = Mapping[int, float]  # token -> log-probability, nats


class Engine(Protocol):
    """What a certificate asks of an engine."""

    name: str

    def behave(self, behaviour: Behaviour) -> Answers:
        """Answer the probes of a behaviour seal."""

    def next_tokens(self, rows: Sequence[Sequence[int]], places: Sequence[Sequence[int]]) -> list[Likely]:
        """Return, row by row, how likely the tokens are that may stand at each place; at least the likeliest."""

    def answers(self, conversations: Sequence[Messages], tokens: int) -> list[str]:
        """Return greedy answers, through the chat template of the engine's own files."""

    def prompt_sizes(self, conversations: Sequence[Messages]) -> list[int]:
        """Return how many tokens the engine makes of each conversation, ready to be answered."""


class InTransformers:
    """A model in this process."""

    def __init__(self, model: PreTrainedModel | PeftModel, chat: Chat, on_progress: OnProgress) -> None:
        self.model, self.chat, self._on_progress = model, chat, on_progress
        self.name = f"transformers {version('transformers')}"

    def behave(self, behaviour: Behaviour) -> Answers:
        return ask_probes(self.model, behaviour)

    def next_tokens(self, rows: Sequence[Sequence[int]], places: Sequence[Sequence[int]]) -> list[Likely]:
        found: list[Likely] = []
        for start in range(0, len(rows), _TOGETHER):
            batch, asked = rows[start : start + _TOGETHER], places[start : start + _TOGETHER]
            for row, at, values in zip(batch, asked, log_probabilities(self.model, batch, asked), strict=True):
                for place, line_values in zip(at, values.cpu(), strict=True):
                    likeliest = line_values.topk(min(MOST_LIKELY, len(line_values)))
                    likely = dict(zip(likeliest.indices.tolist(), likeliest.values.tolist(), strict=True))
                    likely.setdefault(row[place], line_values[row[place]].item())
                    found.append(likely)
            self._on_progress("parity", min(start + _TOGETHER, len(rows)), len(rows), {})
        return found

    def answers(self, conversations: Sequence[Messages], tokens: int) -> list[str]:
        generated = generate_ids(self.model, self.chat, conversations, tokens, None, self._on_progress)
        return [self.chat.answer(ids) for ids in generated]

    def prompt_sizes(self, conversations: Sequence[Messages]) -> list[int]:
        return [len(self.chat.prompt_ids(messages)) for messages in conversations]


def load_merged(folder: Path, on_progress: OnProgress) -> InTransformers:
    """Load a merged folder as anybody does who has transformers and not this package."""
    offline = {"local_files_only": True, "trust_remote_code": False}
    # On a GPU in the type that it is stored in; a CPU computes in 32 bits, which changes no weight.
    dtype, device = ("auto", "cuda") if torch.cuda.is_available() else (torch.float32, "cpu")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, **offline).to(device)
    return InTransformers(model.eval(), Chat(tokenizer_from(folder, folder)), on_progress)


def load_adapter(folder: Path, base: BaseFolder, quantization: Quantization, on_progress: OnProgress) -> InTransformers:
    """Load an adapter's folder as anybody does who has PEFT, on the base as it was trained on."""
    model, _ = load_opened(base, quantization)
    adapted = PeftModel.from_pretrained(model, str(folder), local_files_only=True)
    if getattr(adapted.active_peft_config, "use_dora", False):
        keep_unpacked(adapted)
    chat = Chat(tokenizer_from(folder, folder))
    return InTransformers(adapted.eval(), chat, on_progress)


class InLlama:
    """llama.cpp with a GGUF file, in a child process. A context manager, which ends it."""

    def __init__(self, model: Path, adapter: Path | None, chat: Chat, context: int, on_progress: OnProgress) -> None:
        self._on_progress, self._plain = on_progress, _whole_token(chat)
        self.name = f"llama.cpp by xllamacpp {xllamacpp_version()}"
        self._child = Isolated(CHILD)
        self._opened = {
            "model": str(model),
            "adapter": str(adapter) if adapter else "",
            "context": context,
            "threads": int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0))),
        }
        self._sizes: list[int] = []

    def __enter__(self) -> InLlama:
        self._child.__enter__()
        self._ask("open", self._opened)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._child.__exit__(kind, error, at)

    def next_tokens(self, rows: Sequence[Sequence[int]], places: Sequence[Sequence[int]]) -> list[Likely]:
        prompts = [list(row[:place]) for row, asked in zip(rows, places, strict=True) for place in asked]
        return self._behind(prompts)

    def behave(self, behaviour: Behaviour) -> Answers:
        return self._behind(behaviour.prompts())

    def _behind(self, prompts: Sequence[Sequence[int]]) -> list[Likely]:
        """Return how likely the tokens are that may follow each prompt."""
        found = self._ask("next", {"prompts": [*map(list, prompts)], "most": MOST_LIKELY, "plain": self._plain})
        return [{int(token): float(value) for token, value in each} for each in found]

    def answers(self, conversations: Sequence[Messages], tokens: int) -> list[str]:
        found = self._ask("chat", {"conversations": [[*map(dict, each)] for each in conversations], "tokens": tokens})
        self._sizes = [int(size) for _, size in found]
        return [str(text).rpartition("</think>")[2].strip() for text, _ in found]

    def prompt_sizes(self, conversations: Sequence[Messages]) -> list[int]:
        if len(self._sizes) != len(conversations):
            self.answers(conversations, 1)
        return self._sizes

    def _ask(self, kind: str, given: Mapping[str, object]) -> Any:
        try:
            return self._child.ask({kind: given}, self._on_progress)
        except (StepFailed, RuntimeError) as error:
            told = error.message if isinstance(error, StepFailed) and "llama.cpp" in error.message else "It ended."
            raise StepFailed(
                f"llama.cpp failed with the exported file: {told} Nothing was exported. Where memory is short, free "
                "some; else name another version of the converter or of xllamacpp."
            ) from error


def _whole_token(chat: Chat) -> int:
    """Return a token whose text is whole by itself."""
    ids = chat.tokenizer("\n", add_special_tokens=False)["input_ids"] or chat.tokenizer("a")["input_ids"]
    return int(ids[-1])


def context_for(rows: Sequence[Sequence[int]], tokens: int, room: int | None) -> int:
    """Return the context that the rows need with their answers. Raises InvalidInput where the model has less."""
    needed = max(map(len, rows)) + tokens + 8
    if room is not None and needed > room + 8:
        raise InvalidInput(f"A question and its answer need {needed} tokens, and the model takes {room}.")
    return max(512, needed)
