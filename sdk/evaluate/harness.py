"""Public benchmarks by lm-evaluation-harness: its definitions, prompts and scores, on our model and from local files.

Its definitions name data sets of a hub; each gets the rows of a prepared file in their place, so nothing is fetched. Of
HumanEval it would fetch the check as well, which is ours instead: the same program, run in the sandbox.
"""

from __future__ import annotations

import contextlib
import io
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import sdk.model  # noqa: F401 - sets what the libraries below read when they are imported

# isort: split
import lm_eval.evaluator
import lm_eval.tasks
from datasets import Dataset
from lm_eval.api.task import ConfigurableTask
from lm_eval.defaults import DEFAULT_OTHER_SEED
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks._yaml_loader import load_yaml
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sdk.data.base_folder import Base
from sdk.data.benchmark_files import BenchmarkFile, BenchmarkRow
from sdk.data.template import ChatTemplate
from sdk.errors import InvalidInput, by_cause
from sdk.evaluate.benchmark_results import Scored, benchmark_result, by_subset
from sdk.evaluate.sandbox import passes, require_containment
from sdk.model.adapter import attach_adapter
from sdk.model.load import load_base
from sdk.records import (
    BenchmarkResult,
    Benchmarks,
    BenchmarkSettings,
    Method,
    OnProgress,
    Overlap,
    Quantization,
)

RUNS_CODE = "humaneval"
_FOLDER = Path(lm_eval.tasks.__file__).parent
# benchmark -> its definitions in lm_eval, {} for a subset; of several, each adds its metrics
_DEFINITIONS = {
    "mmlu": ("mmlu/default/mmlu_{}.yaml",),
    "cmmlu": ("cmmlu/cmmlu_{}.yaml",),
    "truthfulqa": ("truthfulqa/truthfulqa_mc1.yaml", "truthfulqa/truthfulqa_mc2.yaml"),
    "gsm8k": ("gsm8k/gsm8k.yaml",),
    "humaneval": ("humaneval/humaneval.yaml",),
    "hellaswag": ("hellaswag/hellaswag.yaml",),
    "pubmedqa": ("pubmedqa/pubmedqa.yaml",),
}
_NAMES = {"truthfulqa_mc1": "mc1", "truthfulqa_mc2": "mc2"}  # definition -> what its metric is called
_SPLITS = {"training_split": "train", "validation_split": "test", "test_split": "test", "fewshot_split": None}
_GENERATED = 256  # tokens of an answer where a definition does not say how many, by lm_eval


@dataclass(frozen=True)
class _Part:
    """One definition on one subset of a benchmark."""

    task: Any
    rows: Sequence[BenchmarkRow]
    subset: str
    prefix: str  # of its metrics


class _QuietModel(HFLM):
    """lm_eval's model of transformers, which draws no bars of its own, and has templates rendered where all are."""

    @cached_property
    def _template(self) -> ChatTemplate:
        return ChatTemplate(self.tokenizer.get_chat_template(), self.tokenizer.special_tokens_map)

    def rendered(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """Render a conversation up to where the assistant's turn begins, else up to the end of its last message."""
        (found,) = self._template.render([chat_history], prompt=add_generation_prompt)
        if found is None:
            raise InvalidInput(
                "The base's chat template refuses a benchmark's prompt; leave --chat-template out, or use another base."
            )
        last = chat_history[-1]["content"]
        return found.text if add_generation_prompt else found.text[: found.text.rindex(last) + len(last)]

    apply_chat_template = rendered

    def _loglikelihood_tokens(self, requests: Any, disable_tqdm: bool = False, override_bs: int | None = None) -> Any:
        return super()._loglikelihood_tokens(requests, disable_tqdm=True, override_bs=override_bs)

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> Any:
        return super().generate_until(requests, disable_tqdm=True)


def run_benchmarks(
    files: Sequence[BenchmarkFile],
    overlaps: Mapping[str, Overlap],
    base: Base,
    method: Method | Quantization,
    adapter: tuple[Mapping[str, Any], bytes],
    settings: BenchmarkSettings,
    on_progress: OnProgress,
) -> Benchmarks:
    """Put every question of the files to the base and to the adapted model, and score the answers as lm_eval does.

    overlaps: benchmark -> what of it stood in the training rows. adapter: content of adapter_config.json and bytes of
    adapter_model.safetensors, which are attached to the base. Raises InvalidInput, before anything is generated,
    where a file has a subset or lacks examples that its definition has, where a question does not fit into the base's
    context, or where what a model writes cannot be contained here.
    """
    began = time.monotonic()
    with _quiet():
        parts = {file.name: _parts(file, settings) for file in files}
        if any(file.name == RUNS_CODE for file in files):
            require_containment()
        loaded, tokenizer = load_base(base, method)
        model = _wrapped(loaded, tokenizer, settings)
        _require_room(model, [part for each in parts.values() for part in each], settings)
        before = {name: _scores(model, each, settings, f"{name} (base)", on_progress) for name, each in parts.items()}
        adapted = _wrapped(attach_adapter(loaded, *adapter), tokenizer, settings)
        after = {
            name: _scores(adapted, each, settings, f"{name} (adapted)", on_progress) for name, each in parts.items()
        }
    return Benchmarks(
        results={
            file.name: _result(file, parts[file.name], before[file.name], after[file.name], overlaps[file.name])
            for file in files
        },
        settings=settings,
        engine=version("lm_eval"),
        seconds=time.monotonic() - began,
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep lm_eval and what it calls from writing bars and notes to the terminal."""
    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)


# -- definitions ------------------------------------------------------------------------------------------------------


def _parts(file: BenchmarkFile, settings: BenchmarkSettings) -> list[_Part]:
    subsets = list(dict.fromkeys(row.subset for row in file.asked))
    unknown = [
        subset
        for subset in subsets
        for path in _DEFINITIONS[file.name]
        if not subset.isascii()
        or (subset and not subset.isidentifier())
        or not (_FOLDER / path.format(subset)).is_file()
    ]
    if unknown:
        raise InvalidInput(
            f"{file.name} has no such subset in lm-evaluation-harness.", [f"subset: {name[:64]!r}" for name in unknown]
        )
    return [
        _part(file, path.format(subset), subset, settings) for subset in subsets for path in _DEFINITIONS[file.name]
    ]


def _part(file: BenchmarkFile, path: str, subset: str, settings: BenchmarkSettings) -> _Part:
    config = load_yaml(_FOLDER / path, resolve_func=file.name != RUNS_CODE)
    rows = [row for row in file.rows if row.subset == subset]
    splits = {split: [row for row in rows if row.split == split] for split in ("test", "dev", "train")}
    own = config.get("num_fewshot")
    shots = own if own == 0 or settings.num_fewshot is None else settings.num_fewshot  # as lm_eval takes it
    shown = config.get("fewshot_split") or config.get("training_split")
    if shots and len(splits.get(shown, ())) < shots:
        raise InvalidInput(
            f"{file.name} shows {shots} examples before each question{f' of {subset}' if subset else ''}, and its file "
            f"has {len(splits.get(shown, ()))} of the split {shown or 'train'}; prepare it with those too, or set "
            "num_fewshot to 0."
        )
    for name, split in _SPLITS.items():
        if config.get(name) is not None:
            config[name] = config[name] if splits.get(config[name]) else split if splits.get(split or "") else None
    if not config.get("fewshot_split"):
        config.pop("fewshot_config", None)
    if file.name == RUNS_CODE:
        config |= {
            "metric_list": [{"metric": "pass@1", "aggregation": "mean", "higher_is_better": True}],
            "process_results": _passed,
            "unsafe_code": False,  # it is run by us, in the sandbox
        }
        del config["filter_list"]
    data = {split: Dataset.from_list([row.fields for row in found]) for split, found in splits.items() if found}
    config |= {
        "custom_dataset": lambda **_: data,
        "dataset_path": None,
        "dataset_name": None,
        "num_fewshot": shots or 0,
    }
    config.pop("dataset_kwargs", None)
    task = ConfigurableTask(config=config)
    task.set_fewshot_seed(seed=DEFAULT_OTHER_SEED)
    return _Part(task, splits["test"], subset, _NAMES.get(config["task"], ""))


def _passed(fields: Mapping[str, Any], answers: Sequence[str]) -> dict[str, float]:
    """Run what the model wrote under its prompt, with the question's own tests, as lm_eval puts them together."""
    program = f"{fields['prompt']}{answers[0]}\n{fields['test']}\ncheck({fields['entry_point']})"
    return {"pass@1": float(passes(program))}


# -- asking -----------------------------------------------------------------------------------------------------------


def _wrapped(
    model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase, settings: BenchmarkSettings
) -> _QuietModel:
    # PEFT does not tell the model where rows begin behind a learned prompt, so there none may be padded.
    alone = isinstance(model, PeftModel) and model.active_peft_config.is_prompt_learning
    return _QuietModel(
        pretrained=model, tokenizer=tokenizer, backend="causal", batch_size=1 if alone else settings.batch_size
    )


def _require_room(model: _QuietModel, parts: Sequence[_Part], settings: BenchmarkSettings) -> None:
    """Raise InvalidInput, which lists every question that the base would read without its beginning."""
    room, faults = model.max_length, []
    for part in parts:
        part.task.build_all_requests(limit=settings.limit, **_prompting(model, settings))
        counted: dict[str, int] = {}
        for instance in part.task.instances:
            prompt, more = instance.args
            text = prompt + more if isinstance(more, str) else prompt
            new = 0 if isinstance(more, str) else int(more.get("max_gen_toks", _GENERATED))
            if len(text.encode()) + new <= room:  # a token has one byte or more
                continue
            if text not in counted:
                counted[text] = len(model.tok_encode(text))
            if counted[text] + new > room:
                row = part.rows[instance.doc_id]
                faults.append(f"{row.id}: {counted[text]} tokens and {new} new ones, the base takes {room}")
    if faults:
        raise InvalidInput(
            "Questions are longer than the base's context; show fewer examples (num_fewshot), or leave the benchmark "
            "out.",
            by_cause(list(dict.fromkeys(faults))),
        )


def _prompting(model: _QuietModel, settings: BenchmarkSettings) -> dict[str, Any]:
    """Return how prompts are written, as lm_eval names it."""
    if not settings.chat_template:
        return {}
    return {
        "apply_chat_template": True,
        "fewshot_as_multiturn": True,
        "chat_template": model.rendered,
        "tokenizer_name": model.tokenizer_name,
    }


def _scores(
    model: _QuietModel, parts: Sequence[_Part], settings: BenchmarkSettings, what: str, on_progress: OnProgress
) -> Scored:
    found: Scored = {}
    total = sum(len(part.rows[: settings.limit]) for part in parts)
    done = 0
    on_progress(f"benchmark {what}", done, total, {})
    for part in parts:
        name = part.task.config.task
        measured = lm_eval.evaluator.evaluate(
            lm=model,
            task_dict={"tasks": {name: part.task}, "groups": {}},
            limit=settings.limit,
            bootstrap_iters=0,
            apply_chat_template=settings.chat_template,
            fewshot_as_multiturn=settings.chat_template,
        )
        for sample in measured["samples"][name]:
            scores = found.setdefault(part.rows[sample["doc_id"]].id, {})
            for metric in sample["metrics"]:
                scores[_metric_name(part.prefix, metric, sample["filter"])] = float(sample[metric])
        done += len(part.rows[: settings.limit])
        on_progress(f"benchmark {what}", done, total, {})
    return found


def _metric_name(prefix: str, metric: str, answer_filter: str) -> str:
    return prefix or (metric if answer_filter == "none" else f"{metric},{answer_filter}")


def _result(
    file: BenchmarkFile, parts: Sequence[_Part], before: Scored, after: Scored, overlap: Overlap
) -> BenchmarkResult:
    return benchmark_result(
        file,
        before,
        after,
        overlap,
        by_subset([row for row in file.asked if row.id in before]),
        version=", ".join(dict.fromkeys(str(part.task.VERSION) for part in parts)),
        num_fewshot=max(int(part.task.config.num_fewshot) for part in parts),
    )
