"""Greedy decoding of many prompts at once, each token with as few launches, copies and waits as can be.

1. prompts are read without padding, several in a pass; what all begin with is read once. An answer that is expected
   stands behind its prompt in the same pass, which gives its likelihood as well
2. all rows that fit into memory write their answers together, a token a pass; on a GPU the pass is a CUDA graph, and
   tokens are fetched every few passes
3. rows that have ended leave, so that short answers do not wait for long ones
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from peft import PeftModel
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from sdk.errors import StepFailed
from sdk.hardware import ram_bytes
from sdk.model.chat import Encoded
from sdk.model.inference_layers import FEW_ROWS, inference_layers
from sdk.model.kv_rows import KeyValueRows, Pass, attention_by_rows, takes_rows, window_of
from sdk.model.likelihood import base_of, cache_name
from sdk.records import OnProgress

# Tokens of prompts in a pass: a GPU is busy with so many, a CPU's caches hold what so few need.
_PASS_TOKENS = {"cuda": 16_384, "cpu": 1_024}
_PASS_LOGITS = 2**28
_LOSS_TOKENS = 512
_COMMON_TOKENS = 8  # fewer are not worth a pass of their own
_SHARE = {"cuda": 0.7, "cpu": 0.25}  # of the GPU's free memory, and of all of the host's
_FETCHED = {"cuda": 8, "cpu": 1}  # passes until the tokens are looked at
_LEAVE = {"cuda": 0.5, "cpu": 0.8}  # of the rows, if no more than so many go on, the others leave
_WORTHWHILE = 12  # passes that a new graph must save launches in
_ALIKE, _ALIKE_IN_16_BITS = 1e-3, 0.2  # relative, of logits that are to be the same, and that are rounded on the way
_lock = threading.Lock()  # the model computes otherwise meanwhile, for whoever else calls it


@dataclass(frozen=True)
class Task:
    """A prompt's token ids, and the prompt with the answer that is expected, if its likelihood is asked for."""

    prompt: Sequence[int]
    reference: Encoded | None = None

    @property
    def ids(self) -> Sequence[int]:
        return self.prompt if self.reference is None else self.reference.input_ids


@dataclass
class Answer:
    """What was generated, up to and with the token that ends it; the reference's negative log-likelihood, nats."""

    ids: list[int]
    nll: float = 0.0


def can_decode(model: PreTrainedModel | PeftModel) -> bool:
    """Tell whether decode() takes this model: one whose rows go on by keys and values, without a learned prompt."""
    if isinstance(model, PeftModel) and model.active_peft_config.is_prompt_learning:
        return False
    return takes_rows(base_of(model))


def decode(
    model: PreTrainedModel | PeftModel,
    tasks: Sequence[Task],
    stops: Sequence[int],
    max_new_tokens: int,
    most_rows: int | None,
    on_progress: OnProgress,
) -> list[Answer] | None:
    """Answer each task with the most likely tokens, in the order of the tasks.

    most_rows: at once; None: as many as memory takes. None where the model's attention does more than ours, which is
    tried once. Raises StepFailed where the memory is too small.
    """
    base = base_of(model)
    answers = [Answer([]) for _ in tasks]
    try:
        few = min(len(tasks), most_rows or len(tasks)) <= FEW_ROWS
        # Half of the room is left for rows.
        layers = inference_layers(base, _dtype(base), _room(base.device) // 2, few)
        with _lock, torch.inference_mode(), layers:
            if not _agrees(base):
                return None
            with attention_by_rows(base):
                _decode_waves(base, tasks, answers, stops, max_new_tokens, most_rows, on_progress)
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise StepFailed("Generation does not fit into memory; use a smaller batch or a 4-bit base.") from error
    return answers


def _decode_waves(
    base: PreTrainedModel,
    tasks: Sequence[Task],
    answers: Sequence[Answer],
    stops: Sequence[int],
    max_new_tokens: int,
    most_rows: int | None,
    on_progress: OnProgress,
) -> None:
    order = sorted(range(len(tasks)), key=lambda place: len(tasks[place].ids), reverse=True)
    done = 0
    while done < len(order):
        longest = max(max(len(tasks[at].ids), len(tasks[at].prompt) + max_new_tokens) for at in order[done:])
        rows = _rows_that_fit(base, longest)
        places = order[done : done + min(rows, most_rows or rows)]
        # Not by a name, so that its rows are gone before those of the next are counted.
        for ended in _Wave(base, [(tasks[at], answers[at]) for at in places], stops).write(max_new_tokens):
            on_progress("generate", done + ended, len(order), {})
        done += len(places)


_agreeing: WeakKeyDictionary[PreTrainedModel, bool] = WeakKeyDictionary()


def _agrees(base: PreTrainedModel) -> bool:
    """Try whether the model computes by rows what it computes otherwise; that is remembered of a model."""
    if base not in _agreeing:
        whole = [list(range(1, 9)), list(range(9, 14))]
        theirs = [base(torch.tensor([ids], device=base.device), use_cache=False).logits[0, -1].float() for ids in whole]
        try:
            with attention_by_rows(base):
                wave = _Wave(base, [(Task(ids[:-1]), Answer([])) for ids in whole], ())
                ours = wave.behind([ids[-1] for ids in whole])
        except torch.OutOfMemoryError:
            raise
        except Exception:  # noqa: BLE001 - what an architecture does that is its own
            _agreeing[base] = False
        else:
            apart = torch.stack(theirs) - ours.float()
            limit = _ALIKE if _dtype(base) == torch.float32 else _ALIKE_IN_16_BITS
            # A window that layers do not ask for is in the mask alone, which is not made.
            seen = wave.windows | {None} >= {window_of(base)}
            _agreeing[base] = seen and bool(apart.norm() <= limit * torch.stack(theirs).norm())
    return _agreeing[base]


def _dtype(base: PreTrainedModel) -> torch.dtype:
    """Return the type of products."""
    dtype: torch.dtype = base.get_input_embeddings().weight.dtype
    return dtype


def _room(device: torch.device) -> int:
    """Return the bytes that may be taken: of a GPU what is free, of a host a share that is always the same."""
    if device.type != "cuda":
        return int(_SHARE["cpu"] * ram_bytes())
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(_SHARE["cuda"] * (torch.cuda.mem_get_info(device)[0] + kept))


def _rows_that_fit(base: PreTrainedModel, length: int) -> int:
    config = base.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = max(
        getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
        getattr(config, "qk_head_dim", None) or 0,
    )
    row = 2 * config.num_hidden_layers * heads * size * _dtype(base).itemsize * length
    return max(1, _room(base.device) // int(row))


class _Wave:
    """Rows that are answered together, longest first."""

    def __init__(self, base: PreTrainedModel, asked: Sequence[tuple[Task, Answer]], stops: Sequence[int]) -> None:
        self._base, self._stops = base, frozenset(stops)
        self._tasks, self._answers = [task for task, _ in asked], [answer for _, answer in asked]
        self._device = base.device
        self._kind = "cuda" if self._device.type == "cuda" else "cpu"
        self._cache_name = cache_name(base)
        self._keeps = "logits_to_keep" in inspect.signature(base.forward).parameters
        self._recordable = self._device.type == "cuda"
        self.windows: set[int | None] = set()  # that layers have asked for

    def write(self, max_new_tokens: int) -> Iterator[int]:
        """Read the prompts and write the answers; yield how many have ended, whenever some have."""
        length = max(max(len(task.ids), len(task.prompt) + max_new_tokens) for task in self._tasks)
        self._rows = KeyValueRows(len(self._tasks), length)
        first = self._read(self._common())
        going = self._take([first.tolist()], range(len(self._tasks)))
        ended = len(self._tasks) - len(going)
        if ended:
            yield ended
        state = _State(first, torch.tensor([len(task.prompt) for task in self._tasks], device=self._device), length)
        places = list(range(len(self._tasks)))  # the task of each row
        left = max_new_tokens - 1
        graph: torch.cuda.CUDAGraph | None = None
        while going and left:
            if len(going) <= _LEAVE[self._kind] * len(places) and (graph is None or left >= _WORTHWHILE):
                kept = [row for row, place in enumerate(places) if place in going]
                state = self._leave(state, kept)
                places, graph = [places[row] for row in kept], None
            count = min(_FETCHED[self._kind], left)
            written = []
            for step in range(count):
                if graph is not None:
                    graph.replay()
                else:
                    self._step(state)
                    if self._recordable and left - step >= _WORTHWHILE:
                        graph = self._record(state)
                written.append(state.ids.clone())
            left -= count
            before = len(going)
            going = self._take(torch.stack(written).tolist(), places) & going
            if len(going) < before:
                yield len(self._tasks) - len(going)
        if going:
            yield len(self._tasks)

    def behind(self, ids: Sequence[int]) -> torch.Tensor:
        """Return the logits behind each prompt and one more token."""
        self._rows = KeyValueRows(len(self._tasks), max(len(task.prompt) for task in self._tasks) + 1)
        self._read(0)
        positions = torch.tensor([len(task.prompt) for task in self._tasks], device=self._device)
        state = _State(torch.tensor(ids, device=self._device), positions, self._rows.length)
        last = state.next_pass()
        logits = self._logits(state.ids[None], state.positions[None], last, None)
        self.windows = last.windows
        return logits

    def _take(self, written: Sequence[Sequence[int]], places: Sequence[int]) -> set[int]:
        """Give the tokens of some passes, each of all rows, to the answers. Return which of them have not ended."""
        going = set()
        for place, tokens in zip(places, zip(*written, strict=True), strict=True):
            ids = self._answers[place].ids
            for token in tokens:
                if ids and ids[-1] in self._stops:
                    break
                ids.append(token)
            if ids[-1] not in self._stops:
                going.add(place)
        return going

    def _leave(self, state: _State, kept: Sequence[int]) -> _State:
        rows = torch.tensor(kept, device=self._device)
        self._rows.keep(rows)
        return _State(state.ids[rows], state.positions[rows], state.length)

    def _step(self, state: _State) -> None:
        """Write one more token of each row."""
        logits = self._logits(state.ids[None], state.positions[None], state.next_pass(), None)
        state.advance(logits.argmax(dim=-1))

    def _record(self, state: _State) -> torch.cuda.CUDAGraph | None:
        """Record a step that has run before. None where it waits for the GPU, as that of some experts does."""
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize(self._device)
        try:
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self._step(state)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:
            self._recordable = False
            return None
        return graph

    def _common(self) -> int:
        """Count the tokens that all prompts begin with, at most all but one of any."""
        if len(self._tasks) < 2:
            return 0
        prompts = [list(task.prompt) for task in self._tasks]
        first, last = min(prompts), max(prompts)
        alike = next((place for place, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
        # Behind them is scored what is to be generated first, and what of a reference is learned.
        scored = [len(task.prompt) for task in self._tasks]
        scored += [task.reference.in_loss.index(True) for task in self._tasks if task.reference is not None]
        common = min(alike, min(scored) - 1)
        return common if common >= _COMMON_TOKENS else 0

    def _read(self, common: int) -> torch.Tensor:
        """Fill the rows with their prompts. Returns the first token of each answer."""
        if common:
            self._pass(0, [self._tasks[0].prompt[:common]], 0, [0])
            self._rows.repeat_first(common)
        first = torch.empty(len(self._tasks), dtype=torch.long, device=self._device)
        vocabulary = self._base.config.get_text_config().vocab_size
        start = tokens = asked = 0
        for row, task in enumerate([*self._tasks, None]):
            new = 0 if task is None else len(task.ids) - common
            wanted = 1 if task is None or task.reference is None else 1 + sum(task.reference.in_loss)
            full = tokens + new > _PASS_TOKENS[self._kind] or (asked + wanted) * vocabulary > _PASS_LOGITS
            if row > start and (task is None or full):
                self._read_rows(first, range(start, row), common)
                start, tokens, asked = row, 0, 0
            tokens, asked = tokens + new, asked + wanted
        return first

    def _read_rows(self, first: torch.Tensor, rows: range, common: int) -> None:
        """Read some rows in one pass, and take their first tokens and their references' likelihoods."""
        tasks = [self._tasks[row] for row in rows]
        wanted: list[int] = []  # places of the pass whose next token is scored
        targets: list[int] = []
        ends, counts = [], []
        begin = -common
        for task in tasks:
            ends.append(begin + len(task.prompt) - 1)
            scored = (
                [] if task.reference is None else [at for at, learned in enumerate(task.reference.in_loss) if learned]
            )
            wanted += [begin + at - 1 for at in scored]
            targets += [task.ids[at] for at in scored]
            counts.append(len(scored))
            begin += len(task.ids) - common
        logits = self._pass(rows.start, [task.ids[common:] for task in tasks], common, [*ends, *wanted])
        first[rows.start : rows.stop] = logits[: len(tasks)].argmax(dim=-1)
        if not wanted:
            return
        pairs = zip(
            torch.split(logits[len(tasks) :], _LOSS_TOKENS),
            torch.split(torch.tensor(targets, device=self._device), _LOSS_TOKENS),
            strict=True,
        )
        losses = torch.cat([cross_entropy(part.float(), wanted, reduction="none") for part, wanted in pairs])
        for row, nll in zip(rows, torch.split(losses.cpu(), counts), strict=True):
            self._answers[row].nll = float(nll.sum())

    def _pass(self, row: int, ids: Sequence[Sequence[int]], before: int, wanted: Sequence[int]) -> torch.Tensor:
        """Read tokens of rows from `row` on, which have `before` of them. Returns the logits at the wanted places."""
        new = [len(each) for each in ids]
        current = self._rows.begin(row, [before] * len(new), new, self._device)
        flat = torch.tensor([token for each in ids for token in each], device=self._device)
        positions = torch.cat([torch.arange(before, before + count, device=self._device) for count in new])
        return self._logits(flat[None], positions[None], current, torch.tensor(wanted, device=self._device))

    def _logits(
        self, ids: torch.Tensor, positions: torch.Tensor, current: Pass, wanted: torch.Tensor | None
    ) -> torch.Tensor:
        self._rows.current = current
        given: dict[str, Any] = {self._cache_name: self._rows, "use_cache": True, "row_pass": current}
        if wanted is not None and self._keeps:
            given["logits_to_keep"] = wanted
        logits: torch.Tensor = self._base(input_ids=ids, position_ids=positions, **given).logits.squeeze(0)
        return logits if wanted is None or self._keeps else logits[wanted]


class _State:
    """Each row's last token and the position that it takes; in tensors that stay, for graphs read and write them."""

    def __init__(self, ids: torch.Tensor, positions: torch.Tensor, length: int) -> None:
        self.ids, self.positions, self.length = ids.clone(), positions.clone(), length
        rows = torch.arange(len(ids) + 1, device=ids.device)
        self._starts = rows[:-1] * length
        self._pass = Pass(
            places=self._starts + self.positions,
            queries=rows.int(),
            stretches=(rows * length).int(),
            filled=(self.positions + 1).int(),
            most_new=1,
            first=0,
            length=length,
            runs=None,
        )

    def next_pass(self) -> Pass:
        """Return the pass in which each row takes its last token; a new one, for it keeps what follows from lengths."""
        return replace(self._pass)

    def advance(self, ids: torch.Tensor) -> None:
        self.ids.copy_(ids)
        self.positions.add_(1)
        self._pass.places.add_(1)
        self._pass.filled.add_(1)
