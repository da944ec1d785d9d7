"""What is seen while training runs: arithmetic, the spool, and real MLflow databases and servers that come and go."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from transformers import LlamaConfig, LlamaForCausalLM, MixtralConfig, MixtralForCausalLM

from sdk.cli.progress import Figures
from sdk.errors import StepFailed, Tampered
from sdk.files.store import SPOOL
from sdk.hardware import peak_tflops
from sdk.project.streaming import MetricsStream, unsent
from sdk.records import Run, TrainSettings, request_key
from sdk.registry import Tracking, check_release
from sdk.registry import sender as sending
from sdk.registry.artifacts import MLMODEL
from sdk.registry.figures import Sender
from sdk.registry.register import register
from sdk.train import Job, train, watch
from sdk.train.metrics_log import MetricsLog
from sdk.train.utilization import MachineReader, ModelFlops, model_flops
from tests import tiny
from tests.registry_records import adaptation
from tests.registry_records import run as recorded_run
from tests.servers import free_port, mlflow_server
from tests.tiny import make_base, one_thread, pairs, write_rows  # noqa: F401 - one_thread is a fixture
from tests.waiting import SECONDS, wait_until
from tests.warm import real_starts, run_code

INPUTS = {"data": "d" * 64}
STEPS = 12


@pytest.fixture(scope="module", autouse=True)
def _real_starts() -> Iterator[None]:
    """The sender's own start is looked at here."""
    with real_starts():
        yield


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An empty database, since making its tables takes a second."""
    folder = tmp_path_factory.mktemp("fresh")
    Tracking(folder).connect()
    return (folder / "mlflow.db").read_bytes()


@pytest.fixture
def root(fresh: bytes, tmp_path: Path) -> Path:
    (tmp_path / "mlflow.db").write_bytes(fresh)
    return tmp_path


def stored(database: Path) -> dict[str, list[tuple[int, float]]]:
    """name -> (step, value) of every value that MLflow holds."""
    found: dict[str, list[tuple[int, float]]] = {}
    with sqlite3.connect(database) as connection:
        for key, step, value in connection.execute("SELECT key, step, value FROM metrics ORDER BY step, value"):
            found.setdefault(key, []).append((step, value))
    return found


def runs(database: Path) -> list[tuple[str, str]]:
    with sqlite3.connect(database) as connection:
        return connection.execute("SELECT name, status FROM runs").fetchall()


# Arithmetic


def test_flops_of_llama_3_1_8b_are_those_counted_by_hand() -> None:
    config = LlamaConfig(
        vocab_size=128256,
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
    )
    with torch.device("meta"):
        model = LlamaForCausalLM(config).requires_grad_(False)
    # q and o 4096 x 4096, k and v 4096 x 1024, three of 4096 x 14336; 32 layers; the head 4096 x 128256
    weights = 32 * (2 * 16_777_216 + 2 * 4_194_304 + 3 * 58_720_256) + 525_336_576
    assert weights == 7_504_658_432
    flops = model_flops(model)
    # QK' and PV, forward and twice backward, on half of the pairs: (4 + 8) / 2 x 4096 in each of 32 layers
    assert flops == ModelFlops(a_token=30_018_633_728, a_pair=786_432)
    assert flops.of(tokens=2 * 2048, pairs=2 * 2048**2) == 4096 * 30_018_633_728 + 2 * 4_194_304 * 786_432
    model.lm_head.requires_grad_(True)  # what is trained also has a gradient of its own
    trained = model_flops(model)
    assert trained
    assert trained.a_token == 30_018_633_728 + 2 * 525_336_576


def test_no_share_of_the_limit_is_guessed_for_a_mixture_of_experts() -> None:
    sizes = {"vocab_size": 32, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    with torch.device("meta"):
        assert model_flops(MixtralForCausalLM(MixtralConfig(**sizes, **heads))) is None


def test_speed_and_share_are_those_of_the_last_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(watch.time, "monotonic", lambda: clock[0])
    speed = watch._Speed(tokens=np.array([99_999] * 5 + [16_000] * 100), pairs=np.zeros(105, np.int64))
    speed.begin(5, ModelFlops(30e9, 1.0), 2 * 989.4e12)  # goes on from step 5
    for step in range(6, 106):
        clock[0] += 1.0 if step > 50 else 3.0
        speed.step(step)
    assert speed.seconds_a_step == pytest.approx(1.0)
    assert speed.figures() == pytest.approx({"tokens_per_second": 16_000, "mfu": 16_000 * 30e9 / (2 * 989.4e12)})
    speed.begin(0, ModelFlops(30e9, 1.0), None)
    clock[0] += 2.0
    speed.step(1)
    assert speed.figures() == {"tokens_per_second": 99_999 / 2}


@pytest.mark.parametrize(
    ("gpu", "tflops"),
    [
        ("NVIDIA H200", 989.4),
        ("NVIDIA H100 80GB HBM3", 989.4),
        ("NVIDIA H100 PCIe", 756.5),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA A100-PCIE-40GB", 312),
        ("NVIDIA A100 80GB PCIe", 312),
        ("NVIDIA GeForce RTX 4090", 165.2),
        ("Tesla T4", 65),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA A100-SXM4-80GB MIG 3g.40gb", None),
        ("NVIDIA L400", None),
        ("A graphics card", None),
        ("", None),
    ],
)
def test_peaks_are_of_exactly_this_card(gpu: str, tflops: float | None) -> None:
    assert peak_tflops(gpu) == tflops


def test_a_driver_that_does_not_answer_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where this machine has no driver, the calls of NVML fail as they do; elsewhere one is made to."""
    machine = MachineReader()
    assert machine.read()["host_memory_gib"] > 0.05
    if torch.cuda.is_available():
        assert 5 < machine.read()["gpu_temperature_c"] < 120
        return
    assert set(machine.read()) == {"host_memory_gib"}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    asked = MachineReader()
    for _ in range(2):
        assert set(asked.read()) == {"host_memory_gib", "gpu_memory_allocated_gib", "gpu_memory_reserved_gib"}


# The spool


def test_the_spool_is_cut_to_the_step_that_training_goes_on_from(tmp_path: Path) -> None:
    spool, began = MetricsLog(tmp_path / SPOOL), time.time()
    spool.begin(0)
    for step in (1, 2, 3, 4):
        spool.append(step, {"live/loss": 1 / step})
    with (tmp_path / SPOOL).open("ab") as file:
        file.write(b'{"step": 2, "ti')  # a power cut in the middle of a line
    spool.begin(2)
    spool.append(3, {"live/loss": 9.0})
    lines = [json.loads(line) for line in (tmp_path / SPOOL).read_text().splitlines()]
    assert [(line["step"], line["live/loss"]) for line in lines] == [(1, 1.0), (2, 0.5), (3, 9.0)]
    assert began - 1 <= lines[-1]["time"] / 1000 <= time.time() + 1
    with pytest.raises(ValueError, match="JSON"):
        spool.append(4, {"live/loss": float("nan")})


def test_every_value_is_sent_once_however_the_spool_changes(root: Path) -> None:
    tracking = Tracking(root)
    client = tracking.connect()
    run_id = client.create_run(client.create_experiment("p")).info.run_id
    path = root / SPOOL
    spool, sender = MetricsLog(path), Sender(path)
    sender.send(client, run_id)  # there is none yet
    spool.begin(0)
    for step in (1, 2, 3, 3, 4):
        spool.append(step, {"live/loss": step + len(path.read_bytes()) / 1e6, "system/gpu_power_w": 300})
    last = json.loads(path.read_bytes().splitlines()[3])["live/loss"]
    sender.send(client, run_id)
    assert stored(root / "mlflow.db")["live/loss"][2] == (3, last)  # trained twice before anything was sent
    spool.begin(2)  # cut, and then longer than it was
    for step in range(3, 9):
        spool.append(step, {"live/loss": 50.0 + step})
    with path.open("ab") as file:
        file.write(b'{"step": 9, "time": 1, "live/loss": 2')  # being written
    sender.send(client, run_id)
    Sender(path).send(client, run_id)  # of another process, which knows nothing of the first
    found = stored(root / "mlflow.db")
    assert [step for step, _ in found["live/loss"]] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert found["live/loss"][2:5] == [(3, last), found["live/loss"][3], (5, 55.0)]
    assert [step for step, _ in found["system/gpu_power_w"]] == [1, 2, 3, 4]


def test_only_numbers_under_our_names_leave_the_spool(root: Path) -> None:
    client = Tracking(root).connect()
    run_id = client.create_run(client.create_experiment("p")).info.run_id
    (root / SPOOL).write_text(
        '{"step": 1, "time": 1, "live/loss": "Anna Smith", "live/lr": NaN, "x": 1, "live/ok": 2}\n'
        "Anna Smith\n[1]\nnull\n"
        '{"step": "one", "time": 1, "live/bad": 2}\n'
    )
    Sender(root / SPOOL).send(client, run_id)
    assert stored(root / "mlflow.db") == {"live/ok": [(1, 2.0)]}


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (9, ""),
        (14, "loss 1.235"),
        (25, "loss 1.235  2:05:23 left"),
        (50, "loss 1.235  14,038 tok/s  MFU 43%  2:05:23 left"),
        (
            200,
            "loss 1.235  lr 1.8e-4  grad 0.43  14,038 tok/s  MFU 43%  43.1 GiB  61 °C  655 W  2:05:23 left  more 1,234",
        ),
    ],
)
def test_the_line_drops_the_least_important_figures_first(width: int, shown: str) -> None:
    figures = {
        "loss": 1.23456, "learning_rate": 1.8e-4, "grad_norm": 0.4312, "tokens_per_second": 14038.2, "mfu": 0.4267,
        "memory_gib": 43.1, "more": 1234, "gpu_temperature_c": 61.0, "gpu_power_w": 655.3,
        "host_memory_gib": 3.2, "seconds_left": 7523.4,
    }  # fmt: skip
    assert Figures(figures).fitting(width) == shown


# Training, and what MLflow has of it


def settings() -> TrainSettings:
    return tiny.settings(warmup_ratio=0.03, num_train_epochs=1, max_steps=STEPS)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A base and rows."""
    folder = tmp_path_factory.mktemp("given")
    return make_base(folder / "base"), write_rows(folder / "train.jsonl", pairs(24))


def trained(given: tuple[Path, Path], out: Path, on_progress: Any = lambda *told: None) -> Run:
    base, data = given
    return train(Job(data, str(base), "brief", settings(), out, checkpoint_seconds=0), on_progress)


def test_the_spool_of_a_run_holds_numbers_only(given: tuple[Path, Path], tmp_path: Path) -> None:
    run = trained(given, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / SPOOL).read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    assert [line["live/loss"] for line in lines] == [point.loss for point in run.losses]
    for line in lines:
        assert set(line) - {"system/host_memory_gib"} == {
            "step", "time", "live/loss", "live/learning_rate", "live/grad_norm", "live/tokens_per_second",
            "live/memory_gib",
        }  # fmt: skip
        assert all(type(value) in (int, float) for value in line.values())


KILLED = """
import os, signal, sys
from pathlib import Path
from sdk.project.streaming import MetricsStream
from sdk.records import TrainSettings
from sdk.train import Job, train

def on_progress(what, done, total, figures):
    if done == 7:
        os.kill(os.getpid(), signal.SIGKILL)

base, data, root, settings = sys.argv[1:]
with MetricsStream(Path(root), None, "claims", {"data": "d" * 64}, Path(root) / "out"):
    job = Job(Path(data), base, "brief", TrainSettings.model_validate_json(settings), Path(root) / "out", 0)
    train(job, on_progress)
"""


def test_a_run_that_was_killed_and_went_on_is_one_run_that_register_completes(
    given: tuple[Path, Path], root: Path
) -> None:
    base, data = given
    killed = run_code(KILLED, base, data, root, settings().model_dump_json())
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    with MetricsStream(root, None, "claims", INPUTS, root / "out"):
        run = trained(given, root / "out")
    assert run.resumed_from_step == 6
    assert not (root / "out" / SPOOL).exists()
    assert not unsent(root, request_key(INPUTS)).exists()
    assert runs(root / "mlflow.db") == [(f"claims-training-{request_key(INPUTS)[:8]}", "FINISHED")]
    found = stored(root / "mlflow.db")
    assert found["live/loss"] == [(point.step, point.loss) for point in run.losses]
    for name in ("learning_rate", "grad_norm", "tokens_per_second", "memory_gib"):
        assert [step for step, _ in found[f"live/{name}"]] == list(range(1, STEPS + 1))
    made = adaptation(root / "package")
    made = made.__class__(**{**vars(made), "run": made.run.model_copy(update={"inputs": INPUTS})})
    release = register(made, root / "package", {}, Tracking(root), root / "report", lambda *told: None)
    assert runs(root / "mlflow.db") == [(f"claims-{made.package.package[:12]}", "FINISHED")]
    check_release(release, made, {}, Tracking(root))
    client = Tracking(root).connect()
    client.log_metric(release.run_id, "liveliness", 1.0)
    with pytest.raises(Tampered, match="the metric liveliness is not the recorded one"):
        check_release(release, made, {}, Tracking(root))


@pytest.mark.parametrize(
    ("error", "status"),
    [(StepFailed("no memory"), "FAILED"), (ValueError(), "FAILED"), (KeyboardInterrupt(), "KILLED")],
)
def test_how_training_ended_is_told(
    root: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, status: str
) -> None:
    told: list[str] = []
    monkeypatch.setattr(subprocess, "Popen", lambda *command, **options: _Process(told))
    (root / "out").mkdir()
    (root / "out" / SPOOL).write_text("")
    with pytest.raises(type(error)), MetricsStream(root, None, "claims", INPUTS, root / "out"):
        raise error
    assert told[1:] == [f"{status}\n"]
    assert (root / "out" / SPOOL).exists()  # training goes on from it


class _Process:
    """The far side of MetricsStream, which hears what it is told."""

    def __init__(self, told: list[str]) -> None:
        self.stdin, self.told = self, told

    def write(self, line: bytes) -> None:
        self.told.append(line.decode())

    def flush(self) -> None:
        pass

    def close(self) -> None:
        assert self.told[1:], "the end must be told first"

    def wait(self, seconds: float) -> int:
        return 0


def sender(root: Path, uri: str | None = None, status: str = "FINISHED") -> sending.LiveRun:
    return sending.LiveRun(Tracking(root, uri), "claims", request_key(INPUTS), Sender(root / SPOOL), status=status)


def test_the_status_follows_the_training(root: Path) -> None:
    for status in ("FAILED", "KILLED", "FINISHED"):
        live = sender(root, status=status)
        assert live._try()
        assert [now for _, now in runs(root / "mlflow.db")] == ["RUNNING"]
        live.ended.set()
        assert live.work()
        assert [now for _, now in runs(root / "mlflow.db")] == [status]


def test_the_sender_of_a_killed_training_that_comes_late_changes_nothing(root: Path) -> None:
    (root / "out").mkdir()
    stream = MetricsStream(root, None, "claims", INPUTS, root / "out")
    with Tracking(root).one_writer():  # as it is held by who goes on with the training and completes its run
        stream.__enter__()
        stream._input.close()  # killed
        ended = sender(root)
        ended.ended.set()
        assert ended.work()
    assert stream._process.wait(SECONDS) == 1
    assert [status for _, status in runs(root / "mlflow.db")] == ["FINISHED"]


def test_register_waits_for_the_sender_of_a_killed_training(root: Path) -> None:
    made = adaptation(root / "package")
    made = made.__class__(**{**vars(made), "run": recorded_run().model_copy(update={"inputs": INPUTS})})
    killed = sender(root, status="KILLED")
    killed.ended.set()
    report = root / "report"
    with ThreadPoolExecutor(1) as pool:
        with Tracking(root).one_writer():
            release = pool.submit(register, made, root / "package", {}, Tracking(root), report, lambda *told: None)
            wait_until(lambda: (report / MLMODEL).exists())
            assert killed.work()
            assert [status for _, status in runs(root / "mlflow.db")] == ["KILLED"]
        assert release.result().run_id
    assert [status for _, status in runs(root / "mlflow.db")] == ["FINISHED"]


@contextmanager
def serving(folder: Path, port: int) -> Iterator[MlflowClient]:
    folder.mkdir(exist_ok=True)
    for address in mlflow_server(folder, port):
        yield MlflowClient(address, address)


def test_a_server_that_goes_and_comes_back_misses_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(sending, "LONGEST_PAUSE_SECONDS", 0.5)
    port, spool = free_port(), MetricsLog(root / SPOOL)
    far = root / "far"
    live = sender(root, f"http://me:hunter2@127.0.0.1:{port}")
    answers: list[bool] = []
    failures: list[str | None] = []
    attempt = live._try

    def counted(status: str | None = None) -> bool:
        done = attempt(status)
        if not done:
            failures.append(status)
        return done

    monkeypatch.setattr(live, "_try", counted)
    spool.begin(0)
    spool.append(1, {"live/loss": 3.0})
    thread = threading.Thread(target=lambda: answers.append(live.work()))
    thread.start()  # nothing answers yet

    def arrived(step: int) -> bool:
        return (far / "far.db").exists() and (step, 3.0) in stored(far / "far.db").get("live/loss", [])

    with serving(far, port):
        wait_until(lambda: arrived(1), thread.is_alive)
        spool.append(2, {"live/loss": 3.0})
        wait_until(lambda: arrived(2), thread.is_alive)
    spool.append(3, {"live/loss": 3.0})
    before = len(failures)
    wait_until(lambda: len(failures) > before, thread.is_alive)  # it has been tried while nothing answered
    spool.append(4, {"live/loss": 3.0})
    with serving(far, port):
        wait_until(lambda: arrived(4), thread.is_alive)
        live.ended.set()
        thread.join(SECONDS)
    assert answers == [True]
    assert [step for step, _ in stored(far / "far.db")["live/loss"]] == [1, 2, 3, 4]
    assert [status for _, status in runs(far / "far.db")] == ["FINISHED"]


def test_without_a_server_training_goes_on_and_register_brings_the_figures(
    given: tuple[Path, Path], root: Path
) -> None:
    secret = "hunter2"
    uri = f"http://me:{secret}@127.0.0.1:{free_port()}"
    commands: list[str] = []

    def look(what: str, done: int, total: int | None, figures: Mapping[str, float]) -> None:
        if done == 1:
            commands.append(Path(f"/proc/{live._process.pid}/cmdline").read_text())

    with MetricsStream(root, uri, "claims", INPUTS, root / "out") as live:
        run = trained(given, root / "out", look)
    kept = unsent(root, request_key(INPUTS))
    assert [json.loads(line)["step"] for line in kept.read_text().splitlines()] == list(range(1, STEPS + 1))
    assert not (root / "out" / SPOOL).exists()
    assert "sdk.registry.sender" in commands[0]
    assert secret not in commands[0] + kept.read_text()
    made = adaptation(root / "package")
    made = made.__class__(**{**vars(made), "run": recorded_run().model_copy(update={"inputs": INPUTS})})
    release = register(made, root / "package", {}, Tracking(root), root / "report", lambda *told: None, kept)
    assert stored(root / "mlflow.db")["live/loss"] == [(point.step, point.loss) for point in run.losses]
    assert len(runs(root / "mlflow.db")) == 1
    check_release(release, made, {}, Tracking(root))
