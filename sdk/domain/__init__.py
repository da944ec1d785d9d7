"""Domains: a folder with the prompt, the metric, the floors, the data and the recognizers of one field of work."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, ValidationInfo, field_validator

from sdk.domain.keep_list import NOTHING_KEPT, KeepList
from sdk.errors import InvalidInput
from sdk.files.regular_files import RECOGNIZERS_BYTES, YAML_BYTES, FileBytes, read_regular
from sdk.policy import parse_yaml, validation_faults
from sdk.records import (
    ALL,
    ALWAYS,
    METRICS,
    NEEDS,
    NO_SCORING,
    SLICES,
    TOGETHER,
    Accuracy,
    Floors,
    Frozen,
    Metric,
    Scoring,
    floor_rule,
    spelled,
)

SETTINGS = {"domain.yaml": YAML_BYTES, "recognizers.yaml": RECOGNIZERS_BYTES}  # and how large each may be
DATA = ("train.jsonl", "eval.jsonl")  # a domain without them is for rows that its user brings
PLANTED = "planted.jsonl"  # rows with planted personal data that are for measuring the scrubbing alone; may be missing


class AdapterStart(Frozen):
    lora_r: int = Field(gt=0, le=4096)
    lora_alpha: int = Field(gt=0)
    lora_dropout: float = Field(ge=0, lt=1)
    reason: str = Field(min_length=1)


class Domain(Frozen):
    name: str = spelled(r"^[a-z][a-z0-9_-]*$", "a-z, 0-9, '_' and '-', the first a letter")
    version: int = Field(ge=1)
    title: str
    languages: tuple[Literal["en", "zh"], ...] = Field(min_length=1)
    prompt: str = Field(description="system message of every row that has none")
    metric: Metric = Field(description="the one that decides, and that floors and slices are of")
    metrics: tuple[Metric, ...] = Field(default=(), description="further ones, which are recorded beside it")
    scoring: Scoring = Field(default=NO_SCORING, validate_default=True, description="what these metrics need to know")
    floors: Floors = Field(
        description="'all', 'slices' or a language -> least scores on the metric, of a perplexity the most, for its "
        "questions"
    )
    slices: tuple[str, ...] = Field(
        default=("topic", "length"),
        description="by what questions are scored in groups beside the language: topic, length, or fields of the rows' "
        "metadata",
    )
    accuracy: Accuracy = Field(description="the accuracy need that advice starts from")
    max_new_tokens: int = Field(gt=0, le=4096, description="length of a generated answer, tokens")
    adapter: AdapterStart
    policy: str = Field(description="name of the policy that a project of this domain starts with")
    keep: KeepList = Field(
        default=NOTHING_KEPT,
        description="what scrubbing keeps although it looks like personal data: terms and patterns",
    )

    @field_validator("floors")
    @classmethod
    def _name_languages(cls, floors: Floors, known: ValidationInfo) -> Floors:
        unknown = sorted(set(floors) - {ALL, SLICES, *known.data.get("languages", floors)})
        if unknown or not floors:
            named = f", not {', '.join(unknown)}" if unknown else ""
            raise ValueError(f"must name 'all', 'slices' or a language of the domain{named}")
        metric: Metric = known.data.get("metric", "exact_match")
        if any(floor.over == "majority" for floor in floors.get(SLICES, ())):
            raise ValueError(f"of slices must be {floor_rule(metric, of_slices=True)}")
        for floor in chain.from_iterable(floors.values()):
            unknown_majority = floor.over == "majority" and not METRICS[metric].of_one_answer
            if unknown_majority or (metric != "perplexity" and floor.least > 1):
                raise ValueError(f"must be {floor_rule(metric)}")
        return floors

    @field_validator("scoring")
    @classmethod
    def _settle_metrics(cls, scoring: Scoring, known: ValidationInfo) -> Scoring:
        """Refuse metrics that lack what they need to know."""
        metrics = (known.data.get("metric"), *known.data.get("metrics", ()))
        missing = [
            f"{metric} needs {NEEDS[metric]}"
            for metric in metrics
            if metric in NEEDS and not getattr(scoring, NEEDS[metric])
        ]
        if missing:
            raise ValueError("; ".join(dict.fromkeys(missing)))
        return scoring

    @property
    def measured(self) -> tuple[Metric, ...]:
        """Return every metric of an evaluation by questions: the usual ones, then what the domain names."""
        named = (self.metric, *self.metrics)
        pairs = TOGETHER if set(TOGETHER) & set(named) else ()
        return tuple(dict.fromkeys((*ALWAYS, *named, *pairs)))


def require_files(folder: Path, names: Iterable[str]) -> None:
    missing = [f"{name} is missing" for name in names if not (folder / name).is_file()]
    if missing:
        raise InvalidInput(f"{folder} is not a domain; copy one with `sdk domain copy`.", missing)


def read_domain(folder: Path) -> Domain:
    """Read the settings of a domain; its data are read by the step that scrubs them."""
    require_files(folder, SETTINGS)
    path = folder / "domain.yaml"
    return parse_domain(FileBytes(path, read_regular(path, SETTINGS["domain.yaml"])))


def parse_domain(file: FileBytes) -> Domain:
    """Read the settings of a domain from its domain.yaml. InvalidInput lists every fault."""
    try:
        return Domain.model_validate(parse_yaml(file.data, file.path))
    except ValidationError as error:
        raise InvalidInput(f"{file.path} is malformed.", validation_faults(error)) from None


def require_function(file: FileBytes, entry_point: str) -> None:
    """Raise InvalidInput unless a domain's own Python file is Python, and has the function that is named."""
    name = entry_point.partition(":")[2]
    try:
        tree = ast.parse(file.data)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise InvalidInput(f"{file.path}{line} is not Python that can be read.") from None
    if not any(isinstance(node, ast.FunctionDef) and node.name == name for node in tree.body):
        raise InvalidInput(f"{file.path} has no function {name}, which scoring.entry_point names.")


def changed_settings(file: FileBytes, changes: Mapping[str, Any]) -> FileBytes:
    """Return a domain.yaml with some keys changed: its own bytes where none is."""
    if not changes:
        return file
    document = {**parse_yaml(file.data, file.path), **changes}
    return FileBytes(file.path, yaml.safe_dump(document, allow_unicode=True, sort_keys=False, width=1000).encode())
