"""Probe and pilot: what they measure, that they keep no text and no weights, and that one failure is not all."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sdk import InvalidInput, OutOfOrder, Project, Refused, StepFailed
from sdk.advise import find_model
from sdk.data import read_rows
from sdk.files.store import embedded_base
from sdk.measure import pilot, probe, trials
from sdk.measure.trials import TrialSetup
from sdk.processes.isolated import Isolated
from sdk.records import Advice, Calibration, Hardware, Method, Needs, Pilot, Scrubbed, TrainSettings
from tests.test_secrets import forms, leaks
from tests.tiny import settings
from tests.warm import real_starts
from tests.workshop import Workshop, rows, write_policy

MARK = "Zebulon Quarrington"
STEPS = 4


@pytest.fixture(scope="module")
def tried(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, dict[str, bytes]]:
    """Probed on rows of one's own, scrubbed and piloted on the domain's; and all files that were seen meanwhile."""
    folder = tmp_path_factory.mktemp("trial")
    (folder / "tmp").mkdir()
    written: dict[str, bytes] = {}

    def look(what: str, done: int, total: int | None, figures: Mapping[str, float]) -> None:
        for path in folder.rglob("*"):
            if path.is_file() and "scrub" not in path.parts and path.name != "marked.jsonl":
                written[str(path.relative_to(folder))] = path.read_bytes()

    policy = write_policy(
        folder / "policy.yaml",
        evaluate__domain_floors=False,
        evaluate__must_improve=False,
        evaluate__min_questions=1,
        train__methods=["lora", "qlora-4bit"],
    )
    marked = folder / "marked.jsonl"
    line = {"instruction": f"{MARK} asks: what is a bond?", "output": MARK}
    marked.write_text("".join(json.dumps({**line, "id": f"m{number}"}) + "\n" for number in range(20)))
    project = Project.create(folder / "p", domain=workshop.domain, base="embedded", policy=policy, on_progress=look)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder / "tmp"))
        project.probe(data=marked)
        project.advise()
        project.scrub()
        project.pilot(steps=STEPS)
    look("", 0, None, {})
    return project, written


def latest(project: Project, kind: Any) -> Any:
    return project.state().latest(kind)


def test_the_probe_measures_each_method_that_may_train(tried: tuple[Project, dict[str, bytes]]) -> None:
    record: Calibration = latest(tried[0], Calibration)
    found = {probe.settings.method: probe for probe in record.probes}
    for method in ("lora", "qlora-4bit"):
        probe = found[method]
        assert probe.error == ""
        assert probe.measured_gib is not None
        assert probe.measured_seconds is not None
        assert 0.005 < probe.measured_gib < 4
        assert 0 < probe.measured_seconds < 60
        assert probe.predicted_gib > 0
        assert probe.tokens > 0
    assert found["qlora-8bit"].measured_gib is None
    assert "train.methods" in found["qlora-8bit"].error


def test_advice_names_the_calibration_and_the_pilot_that_it_used(tried: tuple[Project, dict[str, bytes]]) -> None:
    project, _ = tried
    before: Advice = latest(project, Advice)
    calibration, pilot = latest(project, Calibration), latest(project, Pilot)
    assert before.inputs["calibration"] == calibration.digest
    assert "pilot" not in before.inputs
    after = project.advise()
    assert (after.inputs["calibration"], after.inputs["pilot"]) == (calibration.digest, pilot.digest)
    assert project.advise(hardware=Hardware(ram_gib=3.5)).inputs.keys().isdisjoint({"calibration"})
    assert project.advise() == after


def test_the_pilot_gives_all_methods_the_same_tokens(tried: tuple[Project, dict[str, bytes]]) -> None:
    project, _ = tried
    record: Pilot = latest(project, Pilot)
    assert [one.settings.method for one in record.candidates] == ["lora", "qlora-4bit"]
    assert {one.steps for one in record.candidates} == {STEPS}
    assert len({one.tokens for one in record.candidates}) == 1
    assert len({one.settings.seed for one in record.candidates}) == 1
    assert {one.settings.validation_split for one in record.candidates} == {trials.HELD_OUT}
    for one in record.candidates:
        for interval in (one.eval_loss, one.score, one.loss_against_lora):
            assert interval is None or interval.low <= interval.value <= interval.high
        assert one.eval_loss.value > 0
        assert one.memory_gib > 0
    assert record.questions == latest(project, Scrubbed).rows["eval"]


def test_a_method_that_is_refused_does_not_lose_the_others(tried: tuple[Project, dict[str, bytes]]) -> None:
    record: Pilot = latest(tried[0], Pilot)
    assert record.left_out.keys() == {"qlora-8bit", "lora-fp8"}
    assert "train.methods" in record.left_out["qlora-8bit"]


def test_no_text_is_in_what_they_write_not_even_meanwhile(tried: tuple[Project, dict[str, bytes]]) -> None:
    project, written = tried
    scrubbed = latest(project, Scrubbed)
    data = project.state().folder(scrubbed)
    texts = {
        message.content
        for ref in scrubbed.data.values()
        for row in read_rows(data / ref.path).rows
        for message in row.messages
        if len(message.content) > 8
    }
    assert any("adapter" in name for name in written)
    everything = b"\0".join(written.values())
    assert [text for text in (MARK, *texts) if any(form in everything for form in forms(text))] == []
    assert leaks(project.root, [MARK]) == []


def test_no_weights_stay(tried: tuple[Project, dict[str, bytes]]) -> None:
    project, written = tried
    assert not list(project.root.rglob("*.safetensors"))
    assert not (project.root / "artifacts" / "pilot").exists() or not list((project.root / "artifacts/pilot").iterdir())
    plain = [name for name, data in written.items() if "checkpoints" in name and b"lora_A" in data]
    assert plain == []


def test_they_are_in_the_trail_and_are_not_done_twice(tried: tuple[Project, dict[str, bytes]]) -> None:
    project, _ = tried
    state = project.state()
    for step, kind in (("probe", Calibration), ("pilot", Pilot)):
        record = state.latest(kind)  # type: ignore[type-var]
        assert [(event.phase, event.objects.get("record")) for event in project.history() if event.action == step] == [
            ("started", None),
            ("finished", record.digest),
        ]
    events = len(project.state().events)
    assert project.pilot(steps=STEPS) == latest(project, Pilot)
    assert len(project.state().events) == events
    assert project.verify().records >= 5


def test_a_run_keeps_what_was_predicted(tried: tuple[Project, dict[str, bytes]]) -> None:
    project, _ = tried
    assert project.predictions() == []
    run = project.train(max_steps=3)
    advice = project.state().lineage(Advice, run, "advice")
    assert run.memory_predicted_gib > 0
    assert run.hardware == advice.hardware != Hardware()
    assert (run.tokens_per_second_predicted is None) == (advice.speed is None)
    second = project.train(max_steps=4)
    project.train(max_steps=3)
    assert project.predictions() == [run, second]


def test_a_pilot_needs_scrubbed_rows_and_time(workshop: Workshop, tmp_path: Path) -> None:
    project = Project.create(tmp_path / "p", domain=workshop.domain, base=str(workshop.base), policy=workshop.policy)
    with pytest.raises(OutOfOrder, match="sdk scrub"):
        project.pilot()
    with pytest.raises(InvalidInput, match="minutes"):
        project.pilot(minutes=0)
    with pytest.raises(InvalidInput, match="steps"):
        project.pilot(steps=2)


def test_needs_that_the_rows_contradict_name_them(workshop: Workshop, tmp_path: Path) -> None:
    project = Project.create(tmp_path / "p", domain=workshop.domain, base=str(workshop.base), policy=workshop.policy)
    with pytest.raises(InvalidInput) as caught:
        project.advise(max_length=100, accuracy="highest", max_loss=0.5)
    assert any("max_loss" in fault for fault in caught.value.faults)
    named = [fault for fault in caught.value.faults if fault.startswith("row ")]
    assert named
    assert all(int(fault.split(": ")[1].split()[0]) > 100 for fault in named)
    quoted = [str(row["instruction"]) for row in rows(workshop.domain / "train.jsonl")]
    assert not any(text in str(caught.value) for text in quoted)
    with pytest.raises(InvalidInput, match="deadline_hours"):
        project.advise(deadline_hours=0)
    with pytest.raises(InvalidInput, match="does not exist"):
        project.advise(data=tmp_path / "none.jsonl")


def test_advice_is_for_ones_own_rows_once_they_are_scrubbed(workshop: Workshop, tmp_path: Path) -> None:
    project = Project.create(tmp_path / "p", domain=workshop.domain, base=str(workshop.base), policy=workshop.policy)
    first = project.advise()
    project.scrub()
    assert project.advise() == first
    mine = tmp_path / "mine.csv"
    mine.write_text("instruction,output\nWhat is a REIT?,a trust\nWhat is a bond?,a loan\n")
    scrubbed = project.scrub(mine)
    run = project.train(max_steps=3)
    own = project.advise()
    assert run.inputs["advice"] == own.digest != first.digest  # made anew by train, for the rows that are trained
    assert own.needs.rows == 2
    assert own.inputs["data"] == scrubbed.inputs["train"]


# What needs no process


@pytest.fixture
def setup() -> TrialSetup:
    def allow(method: Method) -> None:
        if method == "lora-fp8":
            raise Refused("Policy refuses train.", ["train.methods: no lora-fp8"])

    return TrialSetup(
        shape=find_model(str(embedded_base())),
        hardware=Hardware(),
        needs=Needs(rows=100, max_length=128),
        base="embedded",
        prompt="brief",
        allow=allow,
        on_progress=lambda what, done, total, figures: None,
    )


class StandIn:
    """In place of a process: writes an adapter as one would, and answers or fails."""

    def __init__(self, failing: Mapping[str, BaseException]) -> None:
        self.failing = failing
        self.asked: dict[str, int | None] = {}  # method -> how many questions

    def __call__(self, module: str) -> "StandIn":
        return self

    def __enter__(self) -> "StandIn":
        return self

    def __exit__(self, *how: object) -> None:
        pass

    def ask(self, told: Mapping[str, Any], on_progress: Any) -> dict[str, Any]:
        method = told["settings"]["method"]
        self.asked[method] = told["questions"]
        Path(told["out"], "adapter").mkdir(parents=True)
        if method in self.failing:
            raise self.failing[method]
        scores = [1.0, 1.0, 0.0, 1.0] if method == "lora" else [1.0, 0.0, 0.0, 1.0]
        figures = {"steps": 4, "tokens": 50, "seconds": 1.0, "memory_gib": 0.5, "questions": 9}
        return {"losses": [1.0, 2.0], "scores": scores, **figures}


def run_pilot(setup: TrialSetup, planned: list[TrainSettings], out: Path) -> Pilot:
    asked = pilot.Questions(out / "eval", "f1", 4, 1.0)
    return pilot.pilot(setup, planned, {}, out / "train", asked, None, out / "pilot")


def test_a_failure_is_recorded_and_an_interruption_loses_nothing(
    setup: TrialSetup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = [settings(method=method) for method in ("lora", "qlora-4bit", "qlora-8bit", "lora-fp8")]
    monkeypatch.setattr(pilot, "Isolated", StandIn({"qlora-4bit": KeyboardInterrupt()}))
    with pytest.raises(KeyboardInterrupt):
        run_pilot(setup, planned, tmp_path)
    assert [path.name for path in (tmp_path / "pilot").iterdir()] == ["0.json"]
    process = StandIn({"qlora-4bit": StepFailed("Memory ran out.", ["so"])})
    monkeypatch.setattr(pilot, "Isolated", process)
    record = run_pilot(setup, planned, tmp_path)
    assert process.asked == {"qlora-4bit": 4, "qlora-8bit": 4}  # as many as the first had time for
    assert (record.questions, record.questions_in_all, record.asked) == (4, 9, "4 of 9")
    assert record.left_out == {
        "qlora-4bit": "Memory ran out. so",
        "lora-fp8": "Policy refuses train. train.methods: no lora-fp8",
    }
    assert [one.settings.method for one in record.candidates] == ["lora", "qlora-8bit"]
    lora, other = (one.loss_against_lora for one in record.candidates)
    assert lora is not None
    assert other is not None
    assert (lora.low, lora.value, lora.high) == (0, 0, 0)
    assert other.value == pytest.approx(1 / 3)
    assert not (tmp_path / "pilot").exists()


def test_nothing_is_recorded_where_all_fail(setup: TrialSetup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pilot, "Isolated", StandIn({"lora": StepFailed("no")}))
    with pytest.raises(StepFailed) as caught:
        run_pilot(setup, [settings()], tmp_path)
    assert caught.value.faults == ("lora: no",)


def test_what_is_lost_is_paired_by_question() -> None:
    same = pilot.lost([1.0, 0.0, 1.0], [1.0, 0.0, 1.0])
    assert same is not None
    assert (same.low, same.value, same.high) == (0, 0, 0)  # unpaired, they would seem to differ
    worse = pilot.lost([0.0] * 10 + [1.0] * 90, [1.0] * 100)
    assert worse is not None
    assert worse.value == pytest.approx(0.1)
    assert 0 < worse.low < worse.value < worse.high < 0.2
    assert pilot.lost([0.0], [0.0]) is None


def test_all_get_the_smallest_micro_batch_and_equal_steps(setup: TrialSetup) -> None:
    given = [
        settings(per_device_train_batch_size=2, gradient_accumulation_steps=8, load_best_model_at_end=True),
        settings(method="qlora-4bit", per_device_train_batch_size=16, packing=True, gpus=2, validation_split=0.2),
    ]
    one, other = pilot.plan(setup, given, 1.0, 7, None)
    assert (one.max_steps, other.max_steps) == (7, 7)
    assert {(each.per_device_train_batch_size, each.packing) for each in (one, other)} == {(2, False)}
    assert one.gradient_accumulation_steps * one.gpus == other.gradient_accumulation_steps * other.gpus == 8
    assert (one.validation_split, other.validation_split) == (trials.HELD_OUT, trials.HELD_OUT)
    assert not one.load_best_model_at_end
    assert (one.method, other.method) == ("lora", "qlora-4bit")
    short = pilot.plan(setup, given, 1e-9, None, None)
    assert short[0].max_steps <= pilot.LEAST_STEPS


def test_a_probe_that_fails_is_recorded(setup: TrialSetup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: Any) -> Any:
        raise StepFailed("Memory ran out in a training step.")

    monkeypatch.setattr(probe, "measure", fail)
    record = probe.probe(setup, [settings(), settings(method="lora-fp8")], tmp_path)
    assert [probe.measured_gib for probe in record.probes] == [None, None]
    assert record.probes[0].error == "Memory ran out in a training step."
    assert record.probes[1].error.startswith("Policy refuses")


def test_an_error_comes_out_of_its_process(workshop: Workshop) -> None:
    data = workshop.domain / "train.jsonl"
    process = Isolated(probe.MEASURING)
    with real_starts(), process, pytest.raises(InvalidInput, match="longer than 10 tokens") as caught:
        probe.measure(process, data, str(workshop.base), "brief", settings(max_length=10), lambda *given: None)
    assert caught.value.message.startswith(f"{len(rows(data))} of {len(rows(data))} rows")
