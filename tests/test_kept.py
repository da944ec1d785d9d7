"""What layers keep by architecture: the sums that ship against the engine, and predictions against measured runs."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sdk.advise import DeploymentStrategy
from sdk.advise.kept import is_counted
from sdk.advise.model_config import shape_of
from sdk.advise.models import models
from sdk.advise.predict import predict
from sdk.advise.reliability import ARCHITECTURES_MEASURED, architecture_errors
from sdk.hardware import find_gpu
from sdk.records import Needs
from tests.benchmarks import architectures as benchmark
from tests.tiny import settings

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "tests/benchmarks/results/architectures-2026-11-30-h200.json"
H200 = find_gpu("h200")
LLAMA_3_8B = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
}


@pytest.fixture(scope="module")
def summary() -> dict[str, Any]:
    """How far off the formulas as they are would have been on what was measured."""
    return benchmark.summary(benchmark.read(RESULTS))


def test_the_figures_that_ship_are_those_of_the_measured_runs(summary: dict[str, Any]) -> None:
    assert json.loads(ARCHITECTURES_MEASURED.read_text(encoding="utf-8")) == summary


def test_documentation_has_them_worst_first(summary: dict[str, Any]) -> None:
    assert benchmark.table(summary) in (ROOT / "docs/advisor.md").read_text(encoding="utf-8")


def test_architectures_whose_layers_were_counted_are_within_reach(summary: dict[str, Any]) -> None:
    counted = summary["others"]["counted"]
    assert counted["runs"] >= 500
    assert counted["median"] <= 0.001
    farthest = [max(found["too_low"], found["too_high"]) for found in summary["measured"].values()]
    assert sum(off <= 0.01 for off in farthest) >= 0.6 * len(farthest)
    assert sum(off <= 0.03 for off in farthest) >= 0.75 * len(farthest)
    named = ("olmo2", "starcoder2", "glm4", "gpt_oss", "cohere2", "gemma2", "qwen3_5_text", "qwen3_moe", "llama")
    assert all(max(summary["measured"][name][end] for end in ("too_low", "too_high")) <= 0.005 for name in named)


def test_the_engine_keeps_what_the_sums_say() -> None:
    """In a process of its own, in which torch seems to have a GPU; this architecture has no kernels of Liger's."""
    code = (
        "from tools.layer_bytes import __main__ as counting; from tools.layer_bytes.pretended_gpu import pretend\n"
        "pretend(); print(max(counting.off('starcoder2', 3, **kind) for kind in ({}, {'use_dora': True})))"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert float(ran.stdout.split()[-1]) < 0.001


def share(model_type: str) -> float:
    shape = shape_of({**LLAMA_3_8B, "model_type": model_type}, "a model", "a test", "config.json")
    given = predict(shape, settings(method="lora", per_device_train_batch_size=2, max_length=1024), H200, Needs())
    return given.memory_high.total / given.memory.total - 1


def test_an_architecture_that_nobody_measured_says_so_and_has_the_band_of_such(tmp_path: Path) -> None:
    config = {**LLAMA_3_8B, "model_type": "next_month"}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    shape = shape_of(config, "a model", "a test", "config.json")
    assert not is_counted(shape)
    errors = architecture_errors(shape)
    assert not errors.measured
    assert errors.too_low > 0.01
    assert share("llama") + 0.01 < share("next_month")
    advice = DeploymentStrategy(H200, model=str(tmp_path)).recommend_strategy()
    assert any("'next_month'" in note and "measured" in note for note in advice.notes)


def test_what_the_catalogue_knows_was_measured_or_says_that_it_was_not() -> None:
    unmeasured = {shape.model_type for shape in models() if not architecture_errors(shape).measured}
    assert unmeasured <= {"deepseek_v32", "glm_moe_dsa", "nemotron"}  # which the engine cannot train


def test_errors_are_told_by_the_median_of_all_runs(summary: dict[str, Any]) -> None:
    medians = [found["median"] for found in summary["measured"].values()]
    assert len(medians) >= 100
    assert statistics.median(medians) <= 0.005
