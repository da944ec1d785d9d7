"""A run cannot be lost: whatever interrupts it, the same call goes on and ends where an uninterrupted one ends."""

from __future__ import annotations

import errno
import json
import os
import pickle
import random
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sdk.train.checkpoints
from sdk import InvalidInput, StepFailed
from sdk.crypto import Secret
from sdk.records import LossPoint, Run, TrainSettings
from sdk.train import Earlier, Job, train
from sdk.train.batching import Batches, continued, micro_batches
from sdk.train.checkpoints import _CHUNK, Checkpoints
from sdk.train.trainer import Trainer
from sdk.train.training_state import (
    Rng,
    optimizer_state,
    scheduler_state,
    set_optimizer_state,
    set_rng_state,
    set_scheduler_state,
)
from tests import tiny
from tests.benchmarks.kill import Bench, all_cases, run_trials
from tests.tiny import make_base, one_thread, pairs, write_rows  # noqa: F401 - one_thread is a fixture
from tests.workshop import Workshop

STEPS = 6
SECRET = Secret(bytes(range(32)))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("resume") / "tiny-base")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data") / "train.jsonl", pairs(10))


def settings(**changes: Any) -> TrainSettings:
    """Two and a half epochs, an accumulation of two, dropout."""
    given = {"num_train_epochs": 2.4, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
    return tiny.settings(**{**given, **changes})


class Interrupt:
    """on_progress that does something once at a step."""

    def __init__(self, at: int, what: Any) -> None:
        self.at, self.what = at, what

    def __call__(self, what: str, done: int, total: int | None, figures: Mapping[str, float]) -> None:
        if done == self.at:
            self.what()


def ctrl_c() -> None:
    raise KeyboardInterrupt


def run(base: Path, data: Path, out: Path, *, at: int = -1, what: Any = ctrl_c, **changes: Any) -> Run:
    """With a checkpoint after every step."""
    options = {name: changes.pop(name) for name in ("secret", "earlier", "checkpoint_seconds") if name in changes}
    given = {"checkpoint_seconds": 0, **options}
    return train(Job(data, str(base), "brief", settings(**changes), out, **given), Interrupt(at, what))


def cut(base: Path, data: Path, out: Path, at: int, **changes: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(base, data, out, at=at, **changes)


def weights(out: Path) -> bytes:
    return (out / "adapter" / "adapter_model.safetensors").read_bytes()


def steps_kept(out: Path) -> list[str]:
    return sorted(path.name for path in (out / "checkpoints").iterdir())


class Whole:
    """Uninterrupted runs, each made once."""

    def __init__(self, base: Path, data: Path, folder: Path) -> None:
        self._base, self._data, self._folder = base, data, folder
        self._made: dict[str, tuple[Run, bytes]] = {}

    def __call__(self, **changes: Any) -> tuple[Run, bytes]:
        name = repr(sorted(changes.items()))
        if name not in self._made:
            out = self._folder / str(len(self._made))
            self._made[name] = run(self._base, self._data, out, **changes), weights(out)
        return self._made[name]


@pytest.fixture(scope="module")
def whole(base: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return Whole(base, data, tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"method": "qlora-4bit"},
        {"method": "qlora-8bit"},
        {"packing": True, "max_length": 64},
        {"use_dora": True, "gradient_checkpointing": True},
        {"method": "qlora-4bit", "use_dora": True, "secret": SECRET},
        {"method": "qlora-4bit", "peft_type": "adalora", "target_r": 2, "secret": SECRET},
        {"neftune_noise_alpha": 5.0, "gradient_checkpointing": True},
        {"max_steps": 5, "lr_scheduler_type": "linear", "warmup_ratio": 0.2},
        {"method": "qlora-4bit", "keep_16bit": "attention", "optim": "adamw_8bit", "lora_r": 64},
        {"optim": "adafactor"},
    ],
    ids=str,
)
def test_the_same_call_again_ends_where_an_uninterrupted_run_ends(
    base: Path, data: Path, tmp_path: Path, whole: Whole, changes: dict[str, Any]
) -> None:
    expected, adapter = whole(**changes)
    assert expected.steps >= 3
    at = random.randint(2, expected.steps)
    cut(base, data, tmp_path, at, **changes)
    assert not (tmp_path / "adapter").exists()
    done = run(base, data, tmp_path, **changes)
    assert done.resumed_from_step == at - 1
    assert weights(tmp_path) == adapter
    assert done.losses == expected.losses
    assert [point.step for point in done.losses] == list(range(1, expected.steps + 1))
    assert done.notes == ()
    assert steps_kept(tmp_path) == [f"{expected.steps:09d}"]


def test_figures_cover_the_whole_run(base: Path, data: Path, tmp_path: Path) -> None:
    cut(base, data, tmp_path, 4)
    time.sleep(0.1)
    began = time.monotonic()
    files = Checkpoints(tmp_path / "checkpoints", _key_of(tmp_path)).newest()
    assert files is not None
    before = json.loads(files.files["position.json"])
    done = run(base, data, tmp_path)
    assert (before["step"], before["micro_batches"]) == (3, 6)
    assert 0 < before["training_seconds"] <= before["seconds"]
    assert before["seconds"] < done.seconds <= before["seconds"] + time.monotonic() - began
    assert done.memory_measured_gib >= before["memory_gib"]


def _key_of(out: Path) -> str:
    listed = json.loads(next((out / "checkpoints").glob("*/checkpoint.json")).read_bytes())
    return str(listed["key"])


def test_a_finished_call_whose_record_was_lost_finishes_again(
    base: Path, data: Path, tmp_path: Path, whole: Whole
) -> None:
    run(base, data, tmp_path)
    shutil.rmtree(tmp_path / "adapter")
    assert run(base, data, tmp_path).resumed_from_step == STEPS
    assert weights(tmp_path) == whole()[1]


# Damage


@pytest.mark.parametrize(("spoilt", "secret"), [(1, None), (2, None), (1, SECRET)])
def test_damaged_checkpoints_are_skipped_and_named(
    base: Path, data: Path, tmp_path: Path, whole: Whole, spoilt: int, secret: Secret | None
) -> None:
    cut(base, data, tmp_path, 5, secret=secret)
    folders = sorted((tmp_path / "checkpoints").iterdir(), reverse=True)
    assert [int(folder.name) for folder in folders] == [4, 3]
    for folder, name in zip(folders[:spoilt], ("optimizer.safetensors", "rng-0.json"), strict=False):
        flip(folder / name)
    done = run(base, data, tmp_path, secret=secret)
    assert done.resumed_from_step == [3, 0][spoilt - 1]
    assert [note.split(" is damaged")[0] for note in done.notes] == [
        f"The checkpoint of step {step}" for step in (4, 3)[:spoilt]
    ]
    assert weights(tmp_path) == whole()[1]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_checkpoints_of_another_run_are_not_resumed(base: Path, data: Path, tmp_path: Path) -> None:
    cut(base, data, tmp_path, 4)
    done = run(base, data, tmp_path, learning_rate=4e-3, max_steps=2)
    assert (done.resumed_from_step, done.notes) == (0, ())
    assert steps_kept(tmp_path) == ["000000002"]


@pytest.mark.parametrize("secret", [None, SECRET])
def test_a_checkpoint_is_whole_or_not_there(tmp_path: Path, secret: Secret | None) -> None:
    checkpoints = Checkpoints(tmp_path / "c", "key", secret)
    for step in (1, 2, 3):
        checkpoints.write(step, {"state": b"whole" * step, "empty": b""})
    assert steps_kept_in(tmp_path / "c") == [2, 3]
    (tmp_path / "c" / "000000004.tmp").mkdir()
    newest = Checkpoints(tmp_path / "c", "key", secret).newest()
    assert newest is not None
    assert (newest.step, newest.files) == (3, {"state": b"whole" * 3, "empty": b""})
    assert Checkpoints(tmp_path / "c", "other", secret).newest() is None
    checkpoints.write(5, {"state": b"x"})
    assert steps_kept_in(tmp_path / "c") == [3, 5]  # and nothing that was aside
    spoils = {5: lambda folder: (folder / "more").touch(), 3: lambda folder: (folder / "state").unlink()}
    for step, spoil in spoils.items():
        spoil(tmp_path / "c" / f"{step:09d}")
    reader = Checkpoints(tmp_path / "c", "key", secret)
    assert reader.newest() is None
    assert len(reader.damaged) == 2


def steps_kept_in(folder: Path) -> list[int]:
    return sorted(int(path.name) for path in folder.iterdir())


@pytest.mark.parametrize("failing", ["write", "fsync", "rename"])
def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    checkpoints = Checkpoints(tmp_path / "c", "key")
    checkpoints.write(1, {"state": b"one"})

    def full(*given: Any, **options: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        if failing == "write":
            patch.setattr(sdk.train.checkpoints, "write_all", full)
        else:
            patch.setattr(os, failing, full)
        with pytest.raises(StepFailed, match=r"step 2 cannot be written: No space .* goes on from step 1"):
            checkpoints.write(2, {"state": b"two"})
    assert steps_kept_in(tmp_path / "c") == [1]
    newest = Checkpoints(tmp_path / "c", "key").newest()
    assert newest is not None
    assert newest.files == {"state": b"one"}


# Encryption


def test_encrypted_checkpoints_open_with_their_key_at_their_place_only(tmp_path: Path) -> None:
    def newest(folder: Path, key: str = "run", secret: Secret | None = SECRET) -> Mapping[str, bytes] | None:
        found = Checkpoints(folder, key, secret).newest()
        return found.files if found else None

    big = os.urandom(2**20) * (_CHUNK // 2**20) + b"tail"  # two chunks
    files = {"a": b"first", "b": big}
    Checkpoints(tmp_path / "c", "run", SECRET).write(7, files)
    stored = (tmp_path / "c" / "000000007" / "b").read_bytes()
    assert len(stored) == len(big) + 2 * 28
    assert big[:1024] not in stored
    assert newest(tmp_path / "c") == files
    assert newest(tmp_path / "c", secret=Secret.random()) is None
    assert newest(tmp_path / "c", secret=None) is None
    (tmp_path / "c" / "000000007").rename(tmp_path / "c" / "000000008")
    assert newest(tmp_path / "c") is None  # another step
    (tmp_path / "c" / "000000008").rename(tmp_path / "c" / "000000007")
    listed = tmp_path / "c" / "000000007" / "checkpoint.json"
    text = listed.read_text()
    listed.write_text(text.replace('"run"', '"ran"'))
    assert newest(tmp_path / "c", "ran") is None  # another run
    listed.write_text(text.replace(json.loads(text)["files"]["a"], json.loads(text)["files"]["b"]))
    assert newest(tmp_path / "c") is None
    listed.write_text(text)
    assert newest(tmp_path / "c") == files


def plain_tensors(folder: Path) -> list[str]:
    """Files that hold what stands in a safetensors header or in the trainer's state."""
    files = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    marks = (b'{"__metadata__"', b"lora_A", b"exp_avg", b"log_history")
    return [name for name, data in files.items() if any(mark in data for mark in marks)]


def test_a_governed_projects_checkpoints_are_never_in_plain(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = workshop.project("governed")
    project.advise()
    project.scrub()
    looked: list[tuple[bool, list[str]]] = []
    fsync = os.fsync

    def look(descriptor: int) -> None:
        """Each file is flushed once it is written: here it is on the disk, in the staging folder too."""
        fsync(descriptor)
        for folder in (project.root / "artifacts" / "train").glob("*/checkpoints/*"):
            looked.append((folder.suffix == ".tmp", plain_tensors(folder)))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", look)
        done = project.train(max_steps=3)
    assert sum(aside for aside, _ in looked) >= 7  # files of a checkpoint
    assert [found for _, found in looked if found] == []
    [folder] = (project.root / "artifacts" / "train").iterdir()
    kept = [path for path in (folder / "checkpoints").rglob("*") if path.is_file()]
    assert {path.name for path in kept} >= {"adapter.safetensors", "optimizer.safetensors", "rng-0.json"}
    assert plain_tensors(folder / "checkpoints") == []
    assert {path.relative_to(folder).as_posix() for path in kept} <= {ref.path for ref in done.files}
    # the search finds what it looks for where a run is not encrypted
    Checkpoints(tmp_path / "plain", "key").write(1, {"adapter.safetensors": (folder / ADAPTER).read_bytes()})
    assert plain_tensors(tmp_path / "plain") == ["adapter.safetensors"]


ADAPTER = Path("adapter") / "adapter_model.safetensors"


# No pickle


def test_nothing_is_unpickled_in_the_training_path(
    base: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Whole
) -> None:
    cut(base, data, tmp_path, 4)

    def refuse(*given: Any, **options: Any) -> Any:
        raise AssertionError("something was unpickled")

    for module, name in ((torch, "load"), (pickle, "load"), (pickle, "loads"), (pickle, "Unpickler")):
        monkeypatch.setattr(module, name, refuse)
    assert run(base, data, tmp_path).resumed_from_step == 3
    assert weights(tmp_path) == whole()[1]


@pytest.mark.parametrize("name", ["AdamW", "SGD", "Adagrad"])
def test_optimizer_and_schedule_come_back_as_they_were(name: str) -> None:
    def make() -> tuple[torch.nn.Linear, torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
        torch.manual_seed(1)
        model = torch.nn.Linear(3, 2)
        optimizer = getattr(torch.optim, name)([{"params": [model.weight], "lr": 0.1}, {"params": [model.bias]}])
        return model, optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))

    def step(parts: Any) -> None:
        model, optimizer, schedule = parts
        model(torch.ones(1, 3)).pow(2).sum().backward()
        optimizer.step()
        schedule.step()

    one, two = make(), make()
    step(one)
    with torch.no_grad():
        for given, taken in zip(one[0].parameters(), two[0].parameters(), strict=True):
            taken.copy_(given)
            taken.grad = given.grad.clone() if given.grad is not None else None
    set_optimizer_state(two[1], optimizer_state(one[1]))
    set_scheduler_state(two[2], two[1], scheduler_state(one[2]))
    for parts in (one, two):
        step(parts)
    for given, taken in zip(one[0].parameters(), two[0].parameters(), strict=True):
        assert torch.equal(given, taken)
    assert one[2].get_last_lr() == two[2].get_last_lr()


def test_random_numbers_go_on() -> None:
    def draw() -> list[float]:
        return [random.gauss(0, 1), float(np.random.normal()), float(torch.rand(())), float(torch.randn(()))]

    random.gauss(0, 1)  # the second of a pair waits
    state = Rng.now()
    first = draw()
    encoded = state.to_bytes()
    assert draw() != first
    set_rng_state(encoded)
    assert draw() == first


# SIGTERM


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture
def handler() -> Iterator[Any]:
    before = signal.getsignal(signal.SIGTERM)
    yield before
    assert signal.getsignal(signal.SIGTERM) is before


def test_sigterm_saves_the_step_and_says_so(base: Path, data: Path, tmp_path: Path, whole: Whole, handler: Any) -> None:
    with pytest.raises(StepFailed, match=r"stopped by SIGTERM at step 3 of 6\. Run the same command again"):
        run(base, data, tmp_path, at=3, what=terminate, checkpoint_seconds=1e9)
    done = run(base, data, tmp_path, checkpoint_seconds=1e9)
    assert done.resumed_from_step == 3
    assert (weights(tmp_path), done.losses) == (whole()[1], whole()[0].losses)


def test_sigterm_in_the_middle_of_an_accumulation_discards_it(
    base: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Whole, handler: Any
) -> None:
    original = Trainer.training_step
    calls = []

    def counting(self: Trainer, *given: Any, **options: Any) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 2 * 2 + 1:  # the first micro-batch of the third step
            terminate()
        return original(self, *given, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "training_step", counting)
        with pytest.raises(StepFailed, match="at step 2 of 6"):
            run(base, data, tmp_path, checkpoint_seconds=1e9)
    assert len(calls) == 5  # the second half of the accumulation was not waited for
    assert run(base, data, tmp_path).resumed_from_step == 2
    assert weights(tmp_path) == whole()[1]


def test_a_second_sigterm_does_what_it_does_elsewhere(base: Path, data: Path, tmp_path: Path, handler: Any) -> None:
    seen = []

    def twice() -> None:
        terminate()
        seen.append(signal.getsignal(signal.SIGTERM))

    with pytest.raises(StepFailed, match="SIGTERM"):
        run(base, data, tmp_path, at=2, what=twice)
    assert seen == [signal.SIG_DFL]


def test_outside_the_main_thread_training_goes_on_without_a_handler(base: Path, data: Path, tmp_path: Path) -> None:
    done: list[Run] = []
    thread = threading.Thread(target=lambda: done.append(run(base, data, tmp_path, max_steps=3)))
    thread.start()
    thread.join()
    assert done[0].steps == 3


# What belongs to a checkpoint besides


def test_figures_of_each_step_are_neither_doubled_nor_lost(base: Path, data: Path, tmp_path: Path) -> None:
    spool = tmp_path / "spool.jsonl"
    cut(base, data, tmp_path, 5)
    assert spooled(spool) == [1, 2, 3, 4, 5]
    shutil.copytree(tmp_path, tmp_path / "lost")
    (tmp_path / "lost" / "spool.jsonl").unlink()
    for out in (tmp_path, tmp_path / "lost"):
        assert run(base, data, out).resumed_from_step == 4
        assert spooled(out / "spool.jsonl") == [1, 2, 3, 4, 5, 6]


def spooled(path: Path) -> list[int]:
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


def test_another_machine_or_version_is_named(
    base: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut(base, data, tmp_path, 3)
    torch.set_num_threads(2)
    try:
        done = run(base, data, tmp_path)
    finally:
        torch.set_num_threads(1)
    assert done.resumed_from_step == 2
    [note] = done.notes
    assert note.startswith("Went on from step 2 with threads 2 instead of 1:")


# More steps


@pytest.mark.parametrize("changes", [{}, {"packing": True, "max_length": 64}], ids=["rows", "packed"])
def test_three_steps_and_then_three_more_are_six(
    base: Path, data: Path, tmp_path: Path, whole: Whole, changes: dict[str, Any]
) -> None:
    constant = {"lr_scheduler_type": "constant", "max_steps": 6, **changes}
    expected, adapter = whole(**constant)
    first = run(base, data, tmp_path / "first", **{**constant, "max_steps": 3})
    assert first.losses == expected.losses[:3]
    earlier = Earlier(tmp_path / "first", first.settings)
    cut(base, data, tmp_path / "more", 5, earlier=earlier, **constant)
    done = run(base, data, tmp_path / "more", earlier=earlier, **constant)
    assert weights(tmp_path / "more") == adapter
    assert (done.losses, done.notes, done.resumed_from_step) == (expected.losses, (), 4)
    assert done.seconds > first.seconds
    assert steps_kept(tmp_path / "first") == ["000000003"]


def test_the_schedule_is_that_of_the_new_number_of_steps(base: Path, data: Path, tmp_path: Path, whole: Whole) -> None:
    linear = {"lr_scheduler_type": "linear"}
    first = run(base, data, tmp_path / "first", max_steps=3, **linear)
    more = run(
        base, data, tmp_path / "more", max_steps=6, earlier=Earlier(tmp_path / "first", first.settings), **linear
    )
    at_once, _ = whole(max_steps=6, **linear)
    assert rates(more.losses)[:3] == rates(first.losses)
    assert rates(more.losses)[3:] == rates(at_once.losses)[3:]
    assert rates(more.losses)[3] > 0


def rates(losses: tuple[LossPoint, ...]) -> list[float]:
    return [point.learning_rate for point in losses]


def test_what_there_is_nothing_to_go_on_from_is_refused(base: Path, data: Path, tmp_path: Path) -> None:
    first = run(base, data, tmp_path / "first", max_steps=3)
    earlier = Earlier(tmp_path / "first", first.settings)
    with pytest.raises(InvalidInput, match="has 3 steps already"):
        run(base, data, tmp_path / "more", max_steps=3, earlier=earlier)
    flip(tmp_path / "first" / "checkpoints" / "000000003" / "adapter.safetensors")
    with pytest.raises(InvalidInput, match="no whole checkpoint") as caught:
        run(base, data, tmp_path / "more", max_steps=4, earlier=earlier)
    assert "step 3 is damaged" in str(caught.value)


def test_an_accumulation_that_was_not_whole_keeps_its_room() -> None:
    before, batches = Batches.of([[0], [1], [2]]), Batches.of([[0], [1], [2], [3], [4]])
    assert continued(before, batches, 2) == [[0], [1], [2], [0], [3], [4]]
    assert continued(before, batches, 3) == batches
    for packing in (False, True):
        lengths = [7 + place * 13 % 31 for place in range(40)]
        long = micro_batches(lengths, settings(max_steps=60, packing=packing))
        assert len(long) == 120
        for steps in (1, 3, 17, 59):
            assert micro_batches(lengths, settings(max_steps=steps, packing=packing)) == long[: 2 * steps]


def test_a_project_goes_on_from_a_finished_run(workshop: Workshop) -> None:
    project = workshop.project("more-steps")
    project.advise()
    project.scrub()
    first = project.train(max_steps=3)
    more = project.train(resume=first.digest[:12], max_steps=5)
    assert (first.steps, more.steps, more.resumed_from_step) == (3, 5, 3)
    assert more.inputs["resume"] == first.digest
    assert more.losses[:3] == first.losses
    assert project.train(resume=first, max_steps=5).digest == more.digest
    with pytest.raises(InvalidInput, match="but for the number of steps") as caught:
        project.train(resume=first, max_steps=5, learning_rate=0.1, seed=7)
    assert [fault.split(" is ")[0] for fault in caught.value.faults] == ["learning_rate", "seed"]
    with pytest.raises(InvalidInput, match="0 runs"):
        project.train(resume="f" * 64, max_steps=9)
    project.verify()


# Whatever comes


@pytest.mark.skipif(torch.cuda.is_available(), reason="children are forked, which CUDA does not survive")
def test_kills_sigterms_full_disks_and_faults(tmp_path: Path) -> None:
    counts = {"kills": 20, "terms": 12, "full": 12, "faults": 12}  # six cases, each at least twice
    tallies = run_trials(Bench.make(tmp_path), tmp_path, counts, random.randrange(10**6), all_cases())
    for kind, tally in tallies.items():
        assert (kind, tally.unresumable, tally.diverged, tally.examples) == (kind, 0, 0, [])
        assert tally.trials == counts[kind]
        assert tally.interruptions > 0
    assert tallies["kills"].while_saving > 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="children are forked, which CUDA does not survive")
def test_the_trials_notice_a_run_that_diverges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdk.train.resumable.set_rng_state", lambda data: None)
    tallies = run_trials(Bench.make(tmp_path), tmp_path, {"terms": 12}, 1, all_cases()[:1])
    assert tallies["terms"].diverged > 0
