"""`sdk compare`: what it measures, that it goes on after a kill, and when a difference is none that can be told."""

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdk import InvalidInput, OutOfOrder, Project, StepFailed
from sdk.advise import find_model
from sdk.data import Row, read_rows
from sdk.files.store import embedded_base
from sdk.intervals import crossed
from sdk.measure import methods_compared
from sdk.measure.held_questions import hold_questions
from sdk.measure.judging import judge, need_of_domain, read_need, reference_of
from sdk.measure.methods_compared import ComparisonPlan, HeldQuestions, plan_comparison, read_methods, run_all
from sdk.measure.pilot import LEAST_STEPS
from sdk.measure.trials import TrialSetup
from sdk.records import ComparedMethod, Hardware, MethodComparison, MethodRun, Needs, Scrubbed
from sdk.registry import Tracking
from sdk.registry.comparison_page import PAGE
from sdk.registry.comparison_runs import COMPARE_TAG
from tests.test_secrets import leaks
from tests.workshop import Workshop, write_policy

METHODS: tuple[ComparedMethod, ...] = ("lora", "qlora-4bit")
Compared = tuple[Project, MethodComparison, list[str]]


class Killed(Exception):
    """In place of the signal that ends a process."""


@pytest.fixture(scope="module")
def compared(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Compared:
    """A comparison that was ended in its third run of four and then gone on with; and what was told after that."""
    folder = tmp_path_factory.mktemp("compare")
    policy = write_policy(folder / "policy.yaml", evaluate__domain_floors=False, train__methods=[*METHODS])
    told: list[str] = []
    killing = True

    def tell(what: str, done: int, total: int | None, figures: Mapping[str, float]) -> None:
        told.append(what)
        if killing and "run 3 of 4" in what and what.startswith("train") and done:
            raise Killed

    project = Project.create(
        folder / "p", domain=workshop.domain, base=str(workshop.base), policy=policy, on_progress=tell
    )
    project.scrub()
    with pytest.raises(Killed):
        project.compare_training_methods([*METHODS, "qlora-8bit", "fp8"], seeds=2, steps=3)
    killing = False
    told.clear()
    record = project.compare_training_methods([*METHODS, "qlora-8bit", "fp8"], seeds=2, steps=3)
    return project, record, told


def test_after_a_kill_finished_runs_count_and_the_others_are_made(
    compared: Compared,
) -> None:
    _, record, told = compared
    assert {name.partition("run ")[2][:1] for name in told if "run " in name} == {"3", "4"}
    assert [(one.method, [run.seed for run in one.runs]) for one in record.methods] == [
        (name, list(record.seeds)) for name in METHODS
    ]


def test_all_methods_get_the_same_tokens_and_questions(compared: Compared) -> None:
    _, record, _ = compared
    assert len(record.seeds) == 2
    for number in range(2):
        runs = [one.runs[number] for one in record.methods]
        assert len({run.tokens for run in runs}) == len({run.steps for run in runs}) == 1
        assert {len(run.scores) for run in runs} == {record.questions}
    for one in record.methods:
        assert one.memory_predicted_gib > 0
        assert one.memory_gib > 0
        assert 0 < one.trainable_share < 1
        assert one.score.low <= one.score.value <= one.score.high
        for run in one.runs:
            assert run.adapter_bytes > 0
            assert run.epoch_seconds > 0
            assert run.generated_per_second > 0
            assert run.energy_wh is None  # nothing measures a CPU's
            assert run.forgetting.keys() == {"texts", "answers"}


def test_what_cannot_run_or_may_not_is_left_out_with_its_reason(
    compared: Compared,
) -> None:
    _, record, _ = compared
    assert record.left_out.keys() == {"qlora-8bit", "lora-fp8"}
    assert "train.methods" in record.left_out["qlora-8bit"]
    assert "CPU cannot run lora-fp8" in record.left_out["lora-fp8"]


def test_it_is_in_the_log_with_its_page_and_nothing_else_stays(
    compared: Compared,
) -> None:
    project, record, _ = compared
    state = project.state()
    phases = [(each.phase, each.objects.get("record")) for each in state.events if each.action == "compare"]
    assert phases == [("started", None), ("failed", None), ("started", None), ("finished", record.digest)]
    assert {ref.path for ref in record.files} == {PAGE, "score-over-memory.png", "score-over-time.png"}
    assert not list(project.root.rglob("*.safetensors"))
    page = (state.folder(record) / PAGE).read_text()
    assert record.verdict in page
    assert "<script" not in page
    texts = [message.content for row in _rows(project) for message in row.messages if len(message.content) > 12]
    assert texts
    assert leaks(state.folder(record), texts) == []
    events = len(project.state().events)
    again = project.compare_training_methods([*METHODS, "qlora-8bit", "fp8"], seeds=2, steps=3)
    assert again == record
    assert len(project.state().events) == events
    assert project.verify().records


def _rows(project: Project) -> list[Row]:
    state = project.state()
    return list(read_rows(state.rows(state.latest(Scrubbed), "train")).rows)


def test_mlflow_has_a_run_for_each_method_below_that_of_the_comparison(
    compared: Compared,
) -> None:
    project, record, _ = compared
    client = Tracking(project.root).connect()
    experiment = client.get_experiment_by_name(project.state().charter.name)
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in runs if run.data.tags.get(COMPARE_TAG) == record.digest]
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert {run.info.run_name for run in children} == {*METHODS}
    assert {run.info.status for run in (parent, *children)} == {"FINISHED"}
    for run in children:
        (one,) = [each for each in record.methods if each.method == run.info.run_name]
        assert run.data.metrics["score"] == pytest.approx(one.score.value)
        assert len(client.get_metric_history(run.info.run_id, "epoch_seconds")) == 2
    assert {info.path for info in client.list_artifacts(parent.info.run_id, "comparison")} == {
        f"comparison/{ref.path}" for ref in record.files
    }


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"methods": ["lora", "qlora-5bit"]}, "cannot be compared"),
        ({"methods": ["lora"]}, "two methods"),
        ({"methods": ["lora", "LoRA"]}, "two methods"),
        ({"budget": 0.0}, "budget"),
        ({"seeds": 0}, "seeds"),
        ({"steps": 2}, "steps"),
        ({"need": "good"}, "cannot be read"),
        ({"budget": 0.1}, "too few for one seed"),
    ],
    ids=lambda each: "" if isinstance(each, str) else "-".join(f"{name} {value}" for name, value in each.items()),
)
def test_bad_input_is_one_clear_error_before_anything_starts(
    compared: Compared, given: dict[str, Any], said: str
) -> None:
    project, _, _ = compared
    events = len(project.state().events)
    with pytest.raises(InvalidInput, match=said):
        project.compare_training_methods(**{"methods": [*METHODS], **given})
    assert len(project.state().events) == events


def test_questions_that_the_metric_cannot_judge_are_named_before_anything_starts(
    compared: Compared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDK_STATE_HOME", str(tmp_path / "state"))
    shutil.copytree(compared[0].root, tmp_path / "p")
    project = Project(tmp_path / "p")
    described = project.root / "domain" / "domain.yaml"
    described.write_text(re.sub(r"^metric: .*$", "metric: numeric", described.read_text(), flags=re.MULTILINE))
    project.adopt()
    events = len(project.state().events)
    with pytest.raises(InvalidInput, match=r"do not fit(.|\n)*row .*numeric"):
        project.compare_training_methods([*METHODS], steps=3)
    assert len(project.state().events) == events


def test_it_needs_scrubbed_rows(workshop: Workshop, tmp_path: Path) -> None:
    project = Project.create(tmp_path / "p", domain=workshop.domain, base=str(workshop.base), policy=workshop.policy)
    with pytest.raises(OutOfOrder, match="sdk scrub"):
        project.compare_training_methods()


# What needs no process


def setup(hardware: Hardware, rows: int = 1_000) -> TrialSetup:
    return TrialSetup(
        shape=find_model(str(embedded_base())),
        hardware=hardware,
        needs=Needs(rows=rows, max_length=128),
        base="embedded",
        prompt="brief",
        allow=lambda method: None,
        on_progress=lambda what, done, total, figures: None,
    )


FAST = Hardware(cpu_cores=2, tflops=0.1, bandwidth_gbs=20, source="probed")


def test_a_budget_is_divided_and_too_small_a_one_says_how_much_is_needed() -> None:
    ample = plan_comparison(setup(FAST), METHODS, 600.0, 3, None, None)
    assert len(ample.seeds) == 3
    less = plan_comparison(setup(FAST), METHODS, 8.0, 3, None, None)
    (steps,) = {each.max_steps for each in less.candidates.values()}
    assert LEAST_STEPS <= steps < next(iter(ample.candidates.values())).max_steps
    fewer = plan_comparison(setup(FAST), METHODS, 2.0, 3, 60, None)
    assert 1 <= len(fewer.seeds) < 3
    with pytest.raises(InvalidInput, match=r"expected to take ([\d.]+) minutes") as caught:
        plan_comparison(setup(FAST), METHODS, 0.1, 3, None, None)
    needed = float(caught.value.message.partition("expected to take ")[2].split()[0])
    assert len(plan_comparison(setup(FAST), METHODS, needed, 3, None, None).seeds) == 1


def test_methods_differ_in_nothing_but_themselves() -> None:
    gpu = Hardware(gpu="GPU", gpu_count=1, gpu_memory_gib=80, tflops=900, fp8_tflops=1800, bandwidth_gbs=3000)
    plan = plan_comparison(setup(gpu), methods_compared.COMPARED, 600.0, 2, None, None)
    assert [*plan.candidates] == [*methods_compared.COMPARED]
    settings = plan.candidates.values()
    for name in ("max_steps", "per_device_train_batch_size", "gradient_accumulation_steps", "packing", "seed"):
        assert len({getattr(each, name) for each in settings}) == 1, name
    assert {name for name, each in plan.candidates.items() if each.use_dora} == {"dora"}
    ranks = {name: each.lora_r for name, each in plan.candidates.items()}
    assert ranks["qlora-4bit-high-rank"] == 4 * ranks["qlora-4bit"]
    without = plan_comparison(setup(Hardware()), methods_compared.COMPARED, 600.0, 2, None, None)
    assert without.left_out.keys() == {"lora-fp8"}
    with pytest.raises(StepFailed, match="Fewer than two"):
        plan_comparison(setup(Hardware()), ("lora", "lora-fp8"), 600.0, 2, None, None)


def test_methods_are_found_as_people_spell_them() -> None:
    assert read_methods(["LoRA", "QLoRA-4bit", "FP8", "high-rank QLoRA", "DoRA"]) == (
        "lora", "qlora-4bit", "lora-fp8", "qlora-4bit-high-rank", "dora",
    )  # fmt: skip
    assert read_methods(None) == methods_compared.COMPARED


class Counting:
    """In place of a process: each run takes as long as it is told."""

    def __init__(self, seconds: float, failing: str = "") -> None:
        self.seconds, self.failing = seconds, failing

    def __call__(self, module: str) -> "Counting":
        return self

    def __enter__(self) -> "Counting":
        return self

    def __exit__(self, *how: object) -> None:
        pass

    def ask(self, told: Mapping[str, Any], on_progress: Any) -> dict[str, Any]:
        if told["settings"]["method"] == self.failing:
            raise StepFailed("Memory ran out.")
        return {
            **{"seed": told["settings"]["seed"], "steps": 4, "tokens": 50, "epoch_seconds": 1.0, "seconds": 1.0},
            **{"whole_seconds": self.seconds, "memory_gib": 0.5, "tokens_per_second": 9.0},
            **{"generated_per_second": 9.0, "trainable_parameters": 9, "adapter_bytes": 9},
            **{"forgetting": {}, "scores": [1.0, 0.0], "losses": [1.0, 2.0]},
        }


def run_planned(tmp_path: Path, plan: ComparisonPlan) -> tuple[dict[Any, list[MethodRun]], dict[str, str]]:
    return run_all(setup(FAST), plan, HeldQuestions(tmp_path / "train", "f1", 4), None, tmp_path / "out")


def test_no_seed_is_begun_for_which_there_is_no_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_comparison(setup(FAST), METHODS, 10.0, 3, 20, None)
    monkeypatch.setattr(methods_compared, "Isolated", Counting(plan.seconds / 4))
    runs, _ = run_planned(tmp_path, plan)
    assert [len(each) for each in runs.values()] == [2, 2]


def test_a_method_that_fails_does_not_lose_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_comparison(setup(FAST), (*METHODS, "qlora-8bit"), 600.0, 2, 20, None)
    monkeypatch.setattr(methods_compared, "Isolated", Counting(1.0, "qlora-4bit"))
    runs, failed = run_planned(tmp_path, plan)
    assert [*runs] == ["lora", "qlora-8bit"]
    assert failed == {"qlora-4bit": "Memory ran out."}
    assert len(list((tmp_path / "out").glob("*.json"))) == 4


def row(number: int, text: str) -> Row:
    said = [{"role": "user", "content": text}, {"role": "assistant", "content": "yes"}]
    return Row.model_validate({"id": str(number), "language": "en", "messages": said})


def test_no_question_is_trained_on_and_all_runs_ask_the_same() -> None:
    rows = [row(number, f"Question {number % 30}?") for number in range(60)]  # each stands there twice
    taught, asked = hold_questions(rows, 10)
    assert len(asked) == 10
    assert {each.messages[0].content for each in taught}.isdisjoint(each.messages[0].content for each in asked)
    assert hold_questions(rows, 10) == (taught, asked)
    with pytest.raises(InvalidInput, match="Nothing is left"):
        hold_questions([row(number, "The same?") for number in range(5)], 2)


def table(value: float, seeds: int = 3, questions: int = 100, noise: float = 0.0) -> Any:
    draw = np.random.default_rng(0)
    shift = noise * np.array([-1.0, 0.0, 1.0])[:seeds, None]
    return (draw.random((1, questions)) < value) + shift + np.zeros((seeds, 1))


def test_a_difference_that_seeds_alone_make_cannot_be_told() -> None:
    need = read_need("within 1 point of the best", "exact_match")
    best = table(0.6)
    close = judge(need, {"lora": best, "dora": best - 0.005}, "exact_match")
    assert (close["lora"].verdict, close["dora"].verdict) == ("enough", "enough")
    far = judge(need, {"lora": best, "dora": best - 0.1}, "exact_match")
    assert far["dora"].verdict == "not enough"
    shaken = judge(need, {"lora": best, "dora": best - 0.02 + table(0.0, noise=0.05)}, "exact_match")
    assert shaken["dora"].verdict == "cannot be told"
    alone = judge(need, {"lora": best[:1], "dora": best[:1] - 0.1}, "exact_match")
    assert alone["dora"].verdict == "cannot be told"
    assert alone["dora"].lost is None
    nothing = judge(need, {"lora": 0 * best, "dora": 0 * best}, "exact_match")
    assert {each.verdict for each in nothing.values()} == {"cannot be told"}


def test_needs_are_read_and_mean_what_they_say() -> None:
    scores = {"lora": table(0.5), "dora": table(0.5) + 0.1}
    assert reference_of(read_need("Within 2 points", "f1"), scores, "f1") == "dora"
    assert reference_of(read_need("within .5 points of the best", "perplexity"), scores, "perplexity") == "lora"
    domain = need_of_domain("high", 0.01)
    assert reference_of(domain, scores, "f1") == "lora"
    assert judge(domain, scores, "f1")["dora"].verdict == "enough"
    assert (
        judge(need_of_domain("economy", None), {"lora": scores["dora"], "dora": scores["lora"]}, "f1")["dora"].verdict
        == "enough"
    )
    least = judge(read_need("at least 0.9", "f1"), scores, "f1")
    assert least["lora"].verdict == "not enough"
    assert judge(read_need("at least 0.1", "f1"), scores, "f1")["lora"].verdict == "enough"
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_need("at least 0.9", "perplexity")


def test_the_interval_over_seeds_and_questions_covers_what_it_should() -> None:
    draw, inside = np.random.default_rng(1), 0
    for _ in range(300):
        values = (
            0.3 + 0.2 * draw.standard_normal((1, 40)) + 0.05 * draw.standard_normal((3, 1))
            + 0.2 * draw.standard_normal((3, 40))
        )  # fmt: skip
        found = crossed(values)
        assert found is not None
        inside += found.low <= 0.3 <= found.high
    assert 0.93 <= inside / 300 <= 1.0
    assert crossed(np.ones((1, 9))) is None
    same = crossed(np.ones((3, 9)))
    assert same is not None
    assert (same.low, same.high) == (1.0, 1.0)


def test_its_record_is_read_back_as_it_was(compared: Compared) -> None:
    _, record, _ = compared
    read = MethodComparison.model_validate({k: v for k, v in json.loads(record.to_bytes()).items() if k != "kind"})
    assert read == record
    assert record.verdict.partition(".")[0] in str(record)
