"""`sdk advise`, `sdk estimate`, `sdk probe`, `sdk pilot`: what may be asked together, exit codes, JSON, and that the
picture holds every number at any width.
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, Group, RenderableType
from typer.testing import CliRunner

from sdk.cli import advise as command
from sdk.cli import measuring, quantities, show_advice, show_trials
from sdk.cli.app import Output, app, output
from sdk.cli.picture import Band, Bar, IntervalBar, Part, Stack
from sdk.errors import InvalidInput
from sdk.project import estimating
from sdk.project.estimating import estimate
from sdk.records import (
    Advice,
    Alternative,
    Calibration,
    Comparison,
    ExpectedAccuracy,
    Hardware,
    Lengths,
    Memory,
    Method,
    ModelShape,
    Needs,
    Pilot,
    Piloted,
    Probed,
    Range,
    Reliability,
    Run,
    Speed,
    TrainSettings,
)
from sdk.records import Interval as Measured

SHAPE = ModelShape(
    name="some-8b [x]",
    hidden_size=4096,
    intermediate_size=14336,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=8,
    head_dim=128,
    vocab_size=128256,
    max_position_embeddings=2048,
    source="test",
)
CARD = Hardware(gpu="NVIDIA GeForce RTX 4090", gpu_count=1, gpu_memory_gib=24, source="catalogue")
SETTINGS = TrainSettings(
    method="qlora-4bit",
    lora_r=64,
    lora_alpha=128,
    lora_dropout=0.05,
    learning_rate=1e-4,
    num_train_epochs=3,
    per_device_train_batch_size=4,
    gradient_accumulation_steps=8,
    gradient_checkpointing=True,
    max_length=2048,
)
MEMORY = Memory(
    weights=5.21, adapters=0.63, gradients=0.64, optimizer=1.26, activations=7.41, logits=1.02, workspace=0.31
)


def memory(**changes: float) -> Memory:
    return MEMORY.model_copy(update=changes)


def settings(method: Method, lora_r: int) -> TrainSettings:
    return SETTINGS.model_copy(update={"method": method, "lora_r": lora_r})


def make_advice(**changes: Any) -> Advice:
    lengths = Lengths(rows=12_345, total=6_480_123, longest=(2011,), percentiles={50: 270}, exact=True)
    needs = {"accuracy": "high", "deadline_hours": 8, "price_per_hour": 0.85, "rows": 12_345, "lengths": lengths}
    evidence = Comparison(
        method="qlora-4bit",
        model="Llama-2-7B",
        what="GSM8K",
        lora=36.9,
        value=35.1,
        loss=0.0488,
        source="arXiv:2310.08659 [table 5]",
        kind="published",
    )
    values: dict[str, Any] = {
        "shape": SHAPE,
        "hardware": CARD,
        "needs": Needs(**needs),
        "settings": SETTINGS,
        "reasons": {"method": "4 bits [of 16] suffice", "lora_r": "the founding table"},
        "memory": MEMORY,
        "memory_low": memory(activations=6.82),
        "memory_high": memory(activations=8.23, workspace=0.66),
        "device_gib": 17.3,
        "available_gib": 22.6,
        "fits": True,
        "uncertain": False,
        "reliability": (
            Reliability(
                scope="QLoRA-4bit on H200", runs=34, median=0.006, percentile_95=0.021, too_low=0.011, too_high=0.029
            ),
        ),
        "speed": Speed(
            tokens_per_second=Range(low=3701, expected=4123, high=4607),
            step_seconds=9.2,
            hours=Range(low=4.1, expected=4.7, high=5.3),
            steps=1157,
            kwh=2.13,
            cost=3.76,
            basis="scaled from data sheets",
        ),
        "accuracy": ExpectedAccuracy(
            method="qlora-4bit",
            loss=0.011,
            low=-0.002,
            high=0.031,
            meets_need=True,
            why="by 11 comparisons",
            evidence=(evidence,),
        ),
        "needs_met": True,
        "alternatives": (
            Alternative(method="lora", lora_r=16, memory_gib=24.9, fits=False, reason="24.9 GiB, 22.6 can be used"),
            Alternative(
                method="qlora-8bit",
                lora_r=32,
                memory_gib=18.4,
                fits=True,
                tokens_per_second=2901,
                loss=0.0064,
                reason="slower",
            ),
        ),
        "flips": ("2.3 GiB more, e.g. an RTX 5090",),
        "notes": ("not measured on this card",),
    }
    return Advice(**{**values, **changes})


LOSSES = {"meets_need": False, "loss": 0.05, "low": 0.02, "high": 0.09, "method": "qlora-4bit", "why": "too much"}
UNMET = {"needs_met": False, "accuracy": ExpectedAccuracy(**LOSSES)}
UNCERTAIN = {"fits": False, "uncertain": True, "needs_met": False, "memory_high": memory(activations=15.5)}
NO_FIT = {"fits": False, "needs_met": False, "memory": memory(activations=20), "memory_high": memory(activations=23)}

CALIBRATION = Calibration(
    hardware=CARD,
    base_name="some-8b",
    probes=(
        Probed(
            settings=SETTINGS,
            tokens=2011,
            predicted_gib=9.81,
            measured_gib=9.92,
            predicted_seconds=0.61,
            measured_seconds=0.58,
        ),
        Probed(settings=settings("lora", 16), tokens=2011, predicted_gib=24.97, error="out of memory [at step 1]"),
    ),
)


def piloted(method: Method, lora_r: int, score: float, lost: tuple[float, float, float] | None) -> Piloted:
    interval = None if lost is None else Measured(low=lost[0], value=lost[1], high=lost[2])
    return Piloted(
        settings=settings(method, lora_r),
        steps=41,
        tokens=320_123,
        eval_loss=Measured(value=1.243, low=1.187, high=1.312),
        score=Measured(value=score, low=score - 0.07, high=score + 0.07),
        loss_against_lora=interval,
        seconds=172,
        memory_gib=16.23,
    )


PILOT = Pilot(
    hardware=CARD,
    metric="exact_match",
    questions=123,
    candidates=(piloted("lora", 16, 0.612, (0, 0, 0)), piloted("qlora-4bit", 64, 0.604, (-0.031, 0.013, 0.055))),
    left_out={"lora-fp8": "this GPU has no such products"},
)


def make_run(predicted: float, measured: float, said: float | None, tokens_per_second: float) -> Run:
    return Run(
        settings=SETTINGS,
        base="some-8b",
        adapter=(),
        trainable_parameters=1,
        steps=1,
        losses=(),
        seconds=1,
        tokens_per_second=tokens_per_second,
        memory_predicted_gib=predicted,
        memory_measured_gib=measured,
        tokens_per_second_predicted=said,
        hardware=CARD,
        versions={},
    )


RUNS = [make_run(9.81, 9.92, 4100, 4333), make_run(21, 20, None, 5122)]


def shown(part: RenderableType, width: int, colour: bool = False) -> str:
    file = io.StringIO()
    console = Console(
        file=file, width=width, highlight=False, force_terminal=colour, color_system="truecolor" if colour else None
    )
    console.print(part)
    return file.getvalue()


# -- times, shares, numbers of GPUs ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("8h", 8), ("90m", 1.5), ("90 min", 1.5), ("2d", 48), ("1:30h", 1.5), ("12:05 h", 12 + 1 / 12), ("1.5h", 1.5),
        ("1d 12h", 36), ("1h30m", 1.5), (" 8H ", 8),
    ],
)  # fmt: skip
def test_times(text: str, hours: float) -> None:
    assert quantities.hours(text) == pytest.approx(hours)


@pytest.mark.parametrize(
    "text",
    [
        "", "8", "h", "-8h", "0h", "0:00h", "1:30", "1:75h", "8 hours", "8x", "nan", "inf h", "1e3h", "8h!",
        "9" * 400 + "d",
    ],
)  # fmt: skip
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(InvalidInput, match="time"):
        quantities.hours(text)


@pytest.mark.parametrize(
    ("text", "share"), [("1%", 0.01), ("1 %", 0.01), ("0.5%", 0.005), ("0.01", 0.01), ("0", 0), ("0%", 0), ("100%", 1)]
)
def test_shares(text: str, share: float) -> None:
    assert quantities.share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["", "%", "-1%", "101%", "0,5%", "1e-2", "nan", "a bit", "1%%", "9" * 400 + "%"])
def test_what_is_no_share(text: str) -> None:
    with pytest.raises(InvalidInput, match="share"):
        quantities.share(text)


@pytest.mark.parametrize("text", ["1", "2.5", "50"])
def test_a_number_that_could_be_per_cent_or_a_share_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"write 1% or 0\.01"):
        quantities.share(text)


# -- what may be asked together --------------------------------------------------------------------------------------


class Called:
    """Stands in for machine, catalogue and advisor, and keeps what it was asked."""

    def __init__(self, advice: Advice) -> None:
        self.advice, self.asked = advice, []  # type: ignore[var-annotated]

    def __call__(self, shape: ModelShape, hardware: Hardware, needs: Needs) -> Advice:
        self.asked.append((shape, hardware, needs))
        return self.advice


def find_gpu(name: str, count: int = 1) -> Hardware:
    return CARD.model_copy(update={"gpu_count": int(name[0]) if name[1] == "x" else count})


Ask = Callable[..., tuple[int, Any, Called]]


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Runs `sdk estimate … --json`; gives exit code, what it printed and what reached the advisor."""

    def run(*arguments: object, **changes: Any) -> tuple[int, Any, Called]:
        called = Called(make_advice(**changes))
        monkeypatch.setattr(estimating, "advise", called)
        monkeypatch.setattr(estimating, "find_model", lambda name: SHAPE)
        monkeypatch.setattr(command, "find_gpu", find_gpu)
        for module in (command, estimating):
            monkeypatch.setattr(module, "detect_hardware", lambda: CARD.model_copy(update={"gpu_count": 4}))
        done = CliRunner().invoke(app, ["estimate", *map(str, arguments), "--json"])
        return done.exit_code, json.loads(done.stdout) if done.stdout else None, called

    return run


MODEL = ("some-8b",)


@pytest.mark.parametrize(
    ("arguments", "pair"),
    [
        (("--accuracy", "high", "--max-loss", "5%"), ("accuracy high", "max_loss 5.0%")),
        (("--data", "rows.jsonl", "--rows", 10), ("data", "rows")),
        (("--deadline", "8h"), ("deadline_hours", "data or rows")),
        (("--price", 2), ("price_per_hour", "data or rows")),
    ],
)
def test_what_cannot_be_asked_together_names_which_two(ask: Ask, arguments: Any, pair: tuple[str, str]) -> None:
    code, printed, called = ask(*MODEL, *arguments)
    assert (code, called.asked) == (2, [])
    (fault,) = printed["error"]["faults"]
    assert all(name in fault for name in pair)


def test_two_needs_that_say_the_same_are_one(ask: Ask) -> None:
    assert ask(*MODEL, "--accuracy", "high", "--max-loss", "1%")[0] == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("advise", "--rows", "10"),
        ("advise", "--hub"),
        ("advise", "--model", "some-8b", "--project", "here"),
        ("advise", "--model", "some-8b", "--probe"),
        ("advise", "--model", "some-8b", "--pilot"),
        ("estimate", "some-8b", "--project", "here"),
        ("probe", "--gpu", "h100"),
        ("pilot", "--gpus", "2"),
        ("pilot", "--data", "rows.jsonl"),
        ("predictions", "--accuracy", "high"),
        ("estimate", "--gpu", "h100"),
    ],
)
def test_a_command_takes_its_own_options_alone(stand: Stand, ask: Ask, arguments: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert (done.exit_code, stand.asked) == (2, []), done.output
    assert json.loads(done.stdout)["error"]["type"] == "InvalidInput"


def test_every_fault_is_named_at_once(ask: Ask) -> None:
    code, printed, _ = ask(*MODEL, "--max-loss", "5", "--deadline", "soon")
    assert code == 2
    faults = "\n".join(printed["error"]["faults"])
    for part in ("--max-loss: '5'", "--deadline: 'soon'"):
        assert part in faults, part
    code, printed, _ = ask(*MODEL, "--accuracy", "high", "--max-loss", "5%", "--deadline", "8h", "--price", 1)
    assert (code, len(printed["error"]["faults"])) == (2, 3)


def test_python_says_the_same(ask: Ask) -> None:
    with pytest.raises(InvalidInput) as caught:
        estimate("some-8b", gpu="h100", deadline_hours=-1, price_per_hour=2)
    assert len(caught.value.faults) == 3
    assert any("deadline_hours: Input should be greater than 0" in fault for fault in caught.value.faults)


def test_run_takes_the_same_needs(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    done = CliRunner().invoke(app, ["run", str(folder), "--max-loss", "3", "--json"])
    assert done.exit_code == 2
    assert "--max-loss" in json.loads(done.stdout)["error"]["faults"][0]
    assert not folder.exists()


# -- without a project -----------------------------------------------------------------------------------------------


def test_what_was_asked_reaches_the_advisor(ask: Ask) -> None:
    arguments = (
        "--gpu",
        "2x h100",
        "--max-loss",
        "1%",
        "--deadline",
        "1:30h",
        "--price",
        2.5,
        "--rows",
        100,
        "--seq",
        512,
        "--use-dora",
    )
    code, _, called = ask(*MODEL, *arguments)
    assert code == 0
    ((shape, hardware, needs),) = called.asked
    assert (shape, hardware.gpu_count) == (SHAPE, 2)
    assert needs == Needs(
        max_loss=0.01, deadline_hours=1.5, price_per_hour=2.5, rows=100, max_length=512, use_dora=True
    )


def test_two_numbers_of_gpus_must_be_one(ask: Ask) -> None:
    assert ask(*MODEL, "--gpu", "h100", "--gpus", 4)[2].asked[0][1].gpu_count == 4
    assert ask(*MODEL, "--gpu", "2x h100", "--gpus", 2)[2].asked[0][1].gpu_count == 2
    code, printed, _ = ask(*MODEL, "--gpu", "2x h100", "--gpus", 4)
    assert (code, "--gpu 2x h100 with --gpus 4" in printed["error"]["message"]) == (2, True)


def test_gpus_of_this_machine(ask: Ask) -> None:
    assert ask(*MODEL)[2].asked[0][1].gpu_count == 4
    assert ask(*MODEL, "--gpus", 2)[2].asked[0][1].gpu_count == 2
    code, printed, _ = ask(*MODEL, "--gpus", 5)
    assert (code, "has 4" in printed["error"]["message"]) == (2, True)


@pytest.mark.parametrize(
    ("changes", "code", "verdict"),
    [({}, 0, "fits"), (UNMET, 1, "need not met"), (UNCERTAIN, 1, "uncertain"), (NO_FIT, 1, "does not fit")],
)
def test_the_exit_code_is_the_verdict(ask: Ask, changes: Any, code: int, verdict: str) -> None:
    found, printed, _ = ask(*MODEL, **changes)
    assert (found, printed.pop("verdict")) == (code, verdict)
    assert printed.pop("memory_total_gib") == make_advice(**changes).memory.total
    assert Advice.model_validate(printed) == make_advice(**changes)


def write_rows(path: Path, *answers: str) -> Path:
    lines = [json.dumps({"id": f"r{n}", "prompt": "What?", "completion": text}) for n, text in enumerate(answers)]
    path.write_text("\n".join(lines))
    return path


def test_lengths_are_read_from_data(ask: Ask, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", "Short.", "Long. " * 80)
    code, _, called = ask(*MODEL, "--data", data, "--deadline", "8h")
    needs = called.asked[0][2]
    assert (code, needs.rows, needs.lengths.exact) == (0, 2, False)
    assert needs.max_length == needs.lengths.longest[0] > 480
    assert ask(*MODEL, "--data", data, "--seq", 64)[2].asked[0][2].max_length == 64  # bytes only bound the tokens
    exact = ask("embedded", "--data", data)[2].asked[0][2]
    assert exact.lengths.exact
    assert exact.max_length == exact.lengths.longest[0] < 480


def test_rows_that_are_too_long_are_named(ask: Ask, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", "Short.", "Long. " * 80, "Ok.")
    code, printed, called = ask("embedded", "--data", data, "--seq", 64)
    assert (code, called.asked) == (2, [])
    assert re.fullmatch(r"id r1: \d+ tokens", *printed["error"]["faults"])
    assert "max_length 64; make it " in printed["error"]["message"]
    assert "Long" not in json.dumps(printed)
    data = write_rows(tmp_path / "rows.jsonl", "Long. " * 8000)
    code, printed, _ = ask("embedded", "--data", data)
    assert (code, "2048 tokens of" in printed["error"]["message"]) == (2, True)


# -- in a project ----------------------------------------------------------------------------------------------------


class Stand:
    """A project that was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []

    def probe(self, *, data: Path | None, columns: None) -> Calibration:
        self.asked.append(("probe", data))
        return CALIBRATION

    def pilot(self, *, minutes: float) -> Pilot:
        self.asked.append(("pilot", minutes))
        return PILOT

    def advise(self, **needs: Any) -> Advice:
        self.asked.append(("advise", {name: value for name, value in needs.items() if value is not None}))
        return make_advice()

    def predictions(self) -> list[Run]:
        return RUNS


@pytest.fixture
def stand(monkeypatch: pytest.MonkeyPatch) -> Stand:
    project = Stand()

    @contextmanager
    def working(folder: Path, as_json: bool, quiet: bool = False) -> Iterator[tuple[Output, Stand]]:
        with output(as_json, quiet) as out:
            yield out, project

    for module in (command, measuring):
        monkeypatch.setattr(module, "working", working)
    return project


def test_measuring_prints_its_record(stand: Stand) -> None:
    done = CliRunner().invoke(app, ["probe", "--data", "rows.jsonl", "--json"])
    assert Calibration.model_validate(json.loads(done.stdout)) == CALIBRATION
    done = CliRunner().invoke(app, ["pilot", "--minutes", "2", "--json"])
    assert Pilot.model_validate(json.loads(done.stdout)) == PILOT
    assert stand.asked == [("probe", Path("rows.jsonl")), ("pilot", 2)]
    assert "One pass of the longest row" in CliRunner().invoke(app, ["probe"]).stdout


def test_in_the_form_of_before_measurements_stand_beside_the_advice(stand: Stand) -> None:
    done = CliRunner().invoke(app, ["advise", "--pilot", "--probe", "--minutes", "2", "--json"])
    assert done.exit_code == 0
    assert stand.asked == [("probe", None), ("pilot", 2), ("advise", {})]
    printed = json.loads(done.stdout)
    assert Calibration.model_validate(printed["calibration"]) == CALIBRATION
    assert Pilot.model_validate(printed["pilot"]) == PILOT
    assert printed["advice"]["verdict"] == "fits"
    assert [line for line in done.stderr.splitlines() if "is `sdk" in line and line.startswith("note:")] != []


def test_in_the_form_of_before_the_probe_takes_the_rows(stand: Stand) -> None:
    done = CliRunner().invoke(app, ["advise", "--probe", "--data", "rows.jsonl"])
    assert done.exit_code == 0, done.output
    rows = Path("rows.jsonl")
    assert stand.asked == [("probe", rows), ("advise", {"data": rows})]
    assert done.stdout.index("One pass of the longest row") < done.stdout.index("It fits")


def test_advice_on_a_model_is_an_estimate(ask: Ask) -> None:
    assert ask(*MODEL, "--gpu", "h100", "--rows", 10, "--seq", 512, "--price", 2)[2].asked
    done = CliRunner().invoke(app, ["advise", "--model", "some-8b", "--gpu", "h100", "--rows", "10", "--json"])
    assert (done.exit_code, done.stderr) == (0, "")
    assert json.loads(done.stdout)["verdict"] == "fits"


def test_needs_reach_the_project_and_this_machine_is_left_to_it(stand: Stand) -> None:
    done = CliRunner().invoke(app, ["advise", "--deadline", "2d", "--price", "1", "--accuracy", "balanced", "--json"])
    assert (done.exit_code, json.loads(done.stdout)["verdict"]) == (0, "fits")
    assert stand.asked == [("advise", {"deadline_hours": 48, "price_per_hour": 1, "accuracy": "balanced"})]


def test_predictions_in_json(stand: Stand) -> None:
    done = CliRunner().invoke(app, ["predictions", "--json"])
    printed = json.loads(done.stdout)
    assert (done.exit_code, stand.asked) == (0, [])
    first, second = printed["runs"]
    assert first["digest"] == RUNS[0].digest
    assert first["memory_gib"] == {"predicted": 9.81, "measured": 9.92, "error": pytest.approx(9.81 / 9.92 - 1)}
    assert second["tokens_per_second"]["error"] is None
    assert printed["memory_gib_error"] == {
        "runs": 2,
        "median": pytest.approx((0.05 + 0.11 / 9.92) / 2),
        "worst": pytest.approx(0.05),
    }
    assert printed["tokens_per_second_error"]["runs"] == 1


# -- the picture -----------------------------------------------------------------------------------------------------

ADVICE_SAYS = (
    "QLoRA on a 4-bit base (NF4)", "some-8b [x]", "1 x NVIDIA GeForce RTX 4090", "It fits", "5.0 GiB stay free",
    "24.0 GiB", "22.6 can be used", "5.21", "0.63", "0.64", "1.26", "6.82", "7.41", "8.23", "1.02", "0.31", "0.66",
    "15.89", "16.48", "17.65", "17.3", "on 34 measured runs", "0.6% at the median", "2.9% at worst", "1.1% too low",
    "4,123", "3,701 to 4,607", "scaled from data sheets", "9.2 s", "1,157", "12,345", "6,480,123", "4.7 h", "4.1 h",
    "5.3 h", "8 h", "met", "2.13 kWh", "3.76", "0.85", "1.1%", "−0.2% to 3.1%", "by 11 comparisons", "36.9", "35.1",
    "4.9%", "GSM8K", "arXiv:2310.08659", "[table", "lora_r", "64", "4 bits [of 16] suffice", "24.9", "18.4", "2,901",
    "slower", "2.3 GiB more, e.g. an RTX 5090", "not measured on this card",
)  # fmt: skip
TRIALS_SAY = (
    "2,011 tokens", "9.81", "9.92", "−1.1%", "0.61", "0.58", "+5.2%", "24.97", "out of memory [at step 1]", "1.243",
    "1.187", "1.312", "exact match on 123 questions", "0.612", "0.604", "1.3%", "−3.1%", "5.5%", "41", "320,123", "172",
    "16.23", "this GPU has no such products", RUNS[0].digest[:8], "4,100", "4,333", "21.00", "20.00", "+5.0%",
    "on 2 runs", "3.1%",
)  # fmt: skip


def everything() -> RenderableType:
    tracks = [show_trials.track(run) for run in RUNS]
    return Group(show_trials.calibration(CALIBRATION), show_trials.pilot(PILOT), show_trials.history(tracks))


@pytest.mark.parametrize("width", [80, 120, 140, 220])
@pytest.mark.parametrize("changes", [{}, UNMET, UNCERTAIN, NO_FIT], ids=["fits", "unmet", "uncertain", "no fit"])
def test_no_line_is_wider_than_the_terminal(width: int, changes: Any) -> None:
    for part in (show_advice.advice(make_advice(**changes)), everything()):
        assert max(map(len, shown(part, width).splitlines())) <= width


@pytest.mark.parametrize("width", [80, 140])
def test_every_number_is_shown(width: int) -> None:
    said = re.sub(r"\s+", " ", shown(show_advice.advice(make_advice()), width))
    assert [text for text in ADVICE_SAYS if text not in said] == []
    said = re.sub(r"\s+", " ", shown(everything(), width))
    assert [text for text in TRIALS_SAY if text not in said] == []


def test_nothing_is_lost_without_colour() -> None:
    part = show_advice.advice(make_advice())
    coloured = shown(part, 100, colour=True)
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == shown(part, 100)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (UNMET, "It fits, but too much accuracy is lost"),
        (UNCERTAIN, "Uncertain: 6.1 GiB are expected to stay free, at worst 2.0 are missing"),
        (NO_FIT, "It does not fit: 6.5 GiB are missing"),
        (
            {"needs": Needs(deadline_hours=5, price_per_hour=1), "needs_met": False},
            "It fits, but the deadline is missed",
        ),
    ],
)
def test_the_verdict_says_what_is_wrong(changes: Any, said: str) -> None:
    assert said in shown(show_advice.advice(make_advice(**changes)), 120)


def test_what_is_not_known_is_left_out() -> None:
    bare = make_advice(
        speed=None, reliability=(), alternatives=(), flips=(), notes=(), needs=Needs(), hardware=Hardware(ram_gib=31)
    )
    said = shown(show_advice.advice(bare), 100)
    assert "Nothing is known of this hardware's speed" in said
    assert "31.0 GiB" in said
    for absent in ("nvidia-smi", "What would flip", "not taken", "note:", "measured runs", "None"):
        assert absent not in said


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.19, "19%"),
        (0.0996, "10%"),
        (0.029, "2.9%"),
        (0.006, "0.6%"),
        (0.0004, "0.04%"),
        (0, "0.0%"),
        (-0.012, "−1.2%"),
    ],
)
def test_percents_are_as_short_as_their_size_allows(share: float, text: str) -> None:
    assert show_advice.percent(share) == text


def lines(part: RenderableType, width: int) -> list[str]:
    return shown(part, width).splitlines()


def test_the_stack_is_to_scale_and_marks_what_can_be_used() -> None:
    parts = [Part(10, "█", "blue"), Part(2, "░", "red")]
    axis, bar, band, label = lines(Stack(parts, Band(11, 12, 14), 18, 20, "GiB"), 40)
    assert axis == "0" + " " * 31 + "20.0 GiB"
    assert bar == "█" * 20 + "░" * 4 + "·" * 11 + "┃" + "·" * 4
    assert (band.index("├"), band.index("●"), band.index("┤")) == (21, 23, 27)
    assert label.rstrip().endswith("18.0 can be used ▲")
    assert label.index("▲") == bar.index("┃") == 35


def test_a_stack_beyond_the_card_shows_where_the_card_ends() -> None:
    axis, bar, band, _ = lines(Stack([Part(30, "█", "blue")], Band(28, 30, 40), 18, 20, "GiB"), 40)
    assert axis.rstrip().endswith("20.0 GiB")
    assert len(axis.rstrip()) == 20
    assert bar.rstrip() == "█" * 17 + "┃" + "█" * 12
    assert band.rstrip().endswith("┤")


def test_what_is_small_is_still_seen() -> None:
    assert lines(Bar(0.001, 100), 20)[0].rstrip() == "▏"
    assert lines(Bar(0, 100), 20)[0].rstrip() == ""
    assert lines(Bar(300, 100), 20)[0] == "█" * 20
    assert "░" in lines(Stack([Part(0.001, "░", "red")], Band(0.001, 0.001, 0.001), 8, 9, "GiB"), 40)[1]


def test_intervals_share_an_axis() -> None:
    assert lines(IntervalBar(Band(0, 5, 10), (0, 20)), 21) == ["├────●────┤"]
    assert lines(IntervalBar(Band(10, 20, 20), (0, 20)), 21) == [" " * 10 + "├─────────●"]
    assert lines(IntervalBar(Band(3, 3, 3), (3, 3)), 21) == ["●"]


def test_the_answer_needs_neither_arrow_nor_torch() -> None:
    check = (
        "from sdk.cli import main\nimport sys\n"
        "try: main(['estimate', 'llama-3.1-8b', '--gpu', 'rtx 4090', '--json'])\n"
        "except SystemExit as end: assert end.code in (0, 1), end.code\n"
        "print([name for name in ('numpy', 'pyarrow', 'torch', 'huggingface_hub', 'sdk.data') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
