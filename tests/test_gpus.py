"""Several processes: the same adapter as one, a base in shares, smaller micro-batches, and no process left behind."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
import safetensors.torch
import torch
from transformers.models.llama.modeling_llama import LlamaModel

from sdk.data import read_rows
from sdk.errors import InvalidInput, SDKError, StepFailed
from sdk.files.store import write_atomic
from sdk.model import Encoded
from sdk.records import Run, TrainSettings
from sdk.train import process_group, train, worker
from sdk.train.batching import Batches
from sdk.train.job import Job
from sdk.train.launch import ERROR, PROGRESS, RESULT, _reason
from sdk.train.shard import load_sharded
from sdk.train.splitting import split_batches
from sdk.train.trainer import filler_row
from tests import tiny, warm
from tests.servers import free_port
from tests.tiny import make_base, one_thread, write_rows  # noqa: F401 - one_thread is a fixture
from tests.waiting import SECONDS

ROWS = (
    26  # of one length, so that the first micro-batch is the fullest; in fours they are one too few for two processes
)


def settings(**changes: Any) -> TrainSettings:
    given = {"lora_dropout": 0.0, "num_train_epochs": 1, "per_device_train_batch_size": 8}
    return tiny.settings(**{**given, **changes})


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("gpus") / "tiny-base")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [(f"What is item {place:02d}?", f"It is {place * 7 % 10}.") for place in range(ROWS)]
    return write_rows(tmp_path_factory.mktemp("data") / "train.jsonl", rows)


def run(
    base: Path, data: Path, out: Path, tell: Callable[..., None] | None = None, seconds: float = 1e9, **more: Any
) -> Run:
    nodes = {name: more.pop(name) for name in ("nodes", "rendezvous") if name in more}
    given = settings(**more)
    progress = tell or (lambda *told: None)
    return train(Job(data, str(base), "brief", given, out, checkpoint_seconds=seconds), progress, **nodes)


def assert_same_adapter(one: Path, other: Path) -> None:
    given, expected = (
        safetensors.torch.load_file(out / "adapter" / "adapter_model.safetensors") for out in (one, other)
    )
    assert given.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(given[name], expected[name], rtol=1e-3, atol=1e-5)


@pytest.fixture(scope="module")
def alone(base: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Run]]:
    """What one process leaves, by method."""
    made: dict[str, tuple[Path, Run]] = {}

    def of(method: str) -> tuple[Path, Run]:
        if method not in made:
            out = tmp_path_factory.mktemp(method)
            made[method] = (out, run(base, data, out, method=method))
        return made[method]

    return of


# Two processes


def member(task: Callable[[Path], None], place: int, port: int, path: Path) -> None:
    """One process of two, as torchrun starts them."""
    torch.set_num_threads(1)
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ.update(address, RANK=str(place), LOCAL_RANK=str(place))
    try:
        task(path)
    except (SDKError, RuntimeError) as error:
        write_atomic(path.parent / ERROR.format(place), worker.fault_of(error).model_dump_json().encode())


def together(task: Callable[[Path], None], path: Path) -> None:
    port = free_port()
    members = [warm.context().Process(target=member, args=(task, place, port, path)) for place in (0, 1)]
    for process in members:
        process.start()
    for process in members:
        process.join(SECONDS)
        assert process.exitcode == 0


JOB = "job.json"


def train_member(path: Path) -> None:
    """Only the first process is told."""
    worker.main(path.parent, path.read_bytes() if os.environ["RANK"] == "0" else b"")


def job(base: Path, data: Path, out: Path, given: TrainSettings, halvings: int = 0) -> Path:
    made = Job(
        data=data,
        base=str(base),
        prompt="brief",
        settings=given,
        out=out,
        checkpoint_seconds=1e9,
        halvings=halvings,
    )
    write_atomic(made.folder / JOB, made.to_bytes())
    return made.folder / JOB


@pytest.mark.parametrize(
    ("method", "changes", "halvings"),
    [
        ("lora", {}, 0),
        ("lora", {"gradient_checkpointing": True}, 1),
        ("lora", {"shard_base": True}, 0),
        ("qlora-4bit", {"shard_base": True, "target_modules": "q_proj,v_proj"}, 0),
        ("qlora-8bit", {"shard_base": True}, 0),
    ],
)
def test_two_processes_learn_what_one_learns(
    base: Path,
    data: Path,
    tmp_path: Path,
    alone: Callable[[str], tuple[Path, Run]],
    method: Any,
    changes: dict[str, Any],
    halvings: int,
) -> None:
    given = settings(method=method, gpus=2, per_device_train_batch_size=4, **changes)
    path = job(base, data, tmp_path, given, halvings)
    together(train_member, path)
    assert not list(path.parent.glob(ERROR.format("*")))
    done = Run.model_validate_json((path.parent / RESULT).read_bytes())
    if "target_modules" in changes:
        out = tmp_path / "alone"
        one = run(base, data, out, method=method, target_modules=changes["target_modules"])
    else:
        out, one = alone(method)
    assert_same_adapter(tmp_path, out)
    assert [point.loss for point in done.losses] == pytest.approx([point.loss for point in one.losses], rel=1e-5)
    assert [point.learning_rate for point in done.losses] == [point.learning_rate for point in one.losses]
    assert ["sharded" in note or "1/2" in note for note in done.notes] == [True] * (
        halvings + ("shard_base" in changes)
    )
    assert done.settings == given


def look_at_shares(path: Path) -> None:
    """Bytes that this process keeps, and the most layers that were whole at once; then what the model says."""
    folder = path.parent
    process_group.join()
    model, _, shards = load_sharded(str(folder / "base"), "qlora-4bit")
    layers = model.model.layers
    kept = sum(layer.share.numel() for layer in layers)
    left = sum(weight.numel() for layer in layers for weight in layer.parameters())
    most = []
    for layer in layers:
        layer.mlp.register_forward_hook(lambda *given: most.append(len(shards._held)))
    with torch.no_grad():
        logits = model(torch.arange(20)[None]).logits
    shares = torch.cat([layer.share for layer in layers])
    safetensors.torch.save_file(
        {"figures": torch.tensor([kept, left, max(most)]), "logits": logits, "shares": shares},
        folder / f"{process_group.rank()}.safetensors",
    )
    process_group.leave()


def test_each_process_holds_its_share_of_the_base(base: Path, tmp_path: Path) -> None:
    (tmp_path / "base").symlink_to(base)
    together(look_at_shares, tmp_path / JOB)
    one, two = (safetensors.torch.load_file(tmp_path / f"{place}.safetensors") for place in (0, 1))
    weights = 2 * (64 * 64 * 2 + 64 * 32 * 2 + 64 * 128 * 3) / 2  # two layers, half a byte each
    for figures in (one["figures"], two["figures"]):
        kept, left, most = figures.tolist()
        assert weights / 2 <= kept <= weights / 2 * 1.1
        assert (left, most) == (0, 2)
    assert torch.equal(one["logits"], two["logits"])
    assert not torch.equal(one["shares"], two["shares"])


def test_what_stops_a_process_is_the_commands_own_error(base: Path, data: Path, tmp_path: Path) -> None:
    path = job(base, data, tmp_path, settings(gpus=2, max_length=10))
    together(train_member, path)
    error = _reason(path.parent)
    assert isinstance(error, InvalidInput)
    assert error.message.startswith(f"{ROWS} of {ROWS} rows")
    write_atomic(
        path.parent / ERROR.format(2), worker.fault_of(torch.distributed.DistError("x")).model_dump_json().encode()
    )
    assert isinstance(_reason(path.parent), InvalidInput)  # not that of the one which lost its peer
    for name in (0, 1):
        (path.parent / ERROR.format(name)).unlink()
    (path.parent / "progress.jsonl").touch()
    assert isinstance(_reason(path.parent), StepFailed)
    write_atomic(path.parent / ERROR.format(0), worker.fault_of(ZeroDivisionError("a bug")).model_dump_json().encode())
    assert type(_reason(path.parent)) is RuntimeError


@pytest.mark.parametrize(
    ("changes", "nodes", "said"),
    [
        ({"gpus": 3}, {"nodes": 2, "rendezvous": "a:1"}, "shared evenly"),
        ({"gpus": 2}, {"nodes": 2}, "HOST:PORT"),
        ({"shard_base": True}, {}, "one process only"),
        ({"shard_base": True, "gpus": 2, "use_dora": True}, {}, "use_dora"),
        ({"shard_base": True, "gpus": 2, "init_lora_weights": "pissa"}, {}, "init_lora_weights"),
    ],
)
def test_what_cannot_be_spread_is_refused(
    base: Path, data: Path, tmp_path: Path, changes: Any, nodes: Any, said: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        run(base, data, tmp_path, **changes, **nodes)
    assert said in str(caught.value)


def test_more_gpus_than_there_are(base: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(InvalidInput, match="4 on this host are asked for, 2 can be seen"):
        run(base, data, tmp_path, gpus=4)


# Started for real


class Told:
    """on_progress that does something once, at a step, with the processes that train."""

    def __init__(self, at: int, act: Callable[[list[psutil.Process]], None]) -> None:
        self.at, self.act, self.processes = at, act, list[psutil.Process]()

    def __call__(self, what: str, done: int, total: int | None, figures: Mapping[str, float]) -> None:
        if done == self.at and not self.processes:
            started = psutil.Process().children(recursive=True)
            self.processes = [one for one in started if "sdk.train.worker" in one.cmdline()]
            self.act([one for one in self.processes if "torch.distributed.run" not in one.cmdline()])

    def all_gone(self) -> bool:
        _, alive = psutil.wait_procs(self.processes, timeout=SECONDS)
        return len(self.processes) == 3 and not alive


@pytest.mark.skipif("SDK_SLOW" not in os.environ, reason="three launches of torchrun; set SDK_SLOW to run it")
def test_a_killed_process_ends_all_and_two_hosts_go_on(base: Path, data: Path, tmp_path: Path) -> None:
    given = {"gpus": 2, "per_device_train_batch_size": 4, "max_steps": 60}
    out = tmp_path / "out"
    written: dict[str, bytes] = {}

    def kill(workers: list[psutil.Process]) -> None:
        written.update({path.name: path.read_bytes() for path in (out / "launch").iterdir()})
        workers[1].kill()

    told = Told(3, kill)
    with pytest.raises(StepFailed, match="Run the same command again"):
        run(base, data, out, told, 0, **given)
    assert told.all_gone()
    assert sorted(path.name for path in out.iterdir()) == ["checkpoints", "spool.jsonl"]
    assert {PROGRESS, "log"} <= set(written)
    everything = b"\0".join([*written.values(), *(path.read_bytes() for path in out.rglob("*") if path.is_file())])
    assert [
        message.content
        for row in read_rows(data).rows
        for message in row.messages
        if message.content.encode() in everything
    ] == []

    others: list[subprocess.Popen[bytes]] = []

    def second_host(what: str, done: int, total: int | None, figures: Mapping[str, float]) -> None:
        if what.startswith("waiting for 1 host"):
            command = shlex.split(what.partition(": ")[2])
            others.append(subprocess.Popen([sys.executable, *command[1:]], stderr=subprocess.DEVNULL))

    where = {"nodes": 2, "rendezvous": f"127.0.0.1:{free_port()}"}
    done = run(base, data, out, second_host, 0, **given, **where)
    assert [other.wait(SECONDS) for other in others] == [0]
    assert 2 <= done.resumed_from_step < 60
    one = run(base, data, tmp_path / "alone", max_steps=60)
    assert [point.loss for point in done.losses] == pytest.approx([point.loss for point in one.losses], rel=1e-3)
    assert sorted(path.name for path in out.iterdir()) == ["adapter", "checkpoints", "spool.jsonl"]
    assert [json.loads(line)["step"] for line in (out / "spool.jsonl").read_text().splitlines()] == list(range(1, 61))


def test_ctrl_c_leaves_no_process(base: Path, data: Path, tmp_path: Path) -> None:
    def interrupt(workers: list[psutil.Process]) -> None:
        raise KeyboardInterrupt

    told = Told(1, interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(base, data, tmp_path, told, gpus=2, max_steps=2000)
    assert told.all_gone()


# Out of memory


def rows_of_forward(monkeypatch: pytest.MonkeyPatch, most: int, after: int) -> list[int]:
    """Let the model's forward pass run out of memory with more rows than `most`, from a number of passes on."""
    seen: list[int] = []
    original = LlamaModel.forward

    def forward(self: LlamaModel, *args: Any, **kwargs: Any) -> Any:
        seen.append(len(kwargs["cu_seq_lens_q"]) - 1)
        if seen[-1] > most and len(seen) > after:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(self, *args, **kwargs)

    monkeypatch.setattr(LlamaModel, "forward", forward)
    return seen


@pytest.mark.parametrize(("after", "packing"), [(0, False), (2, False), (2, True)])
def test_out_of_memory_goes_on_with_smaller_micro_batches(
    base: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int, packing: bool
) -> None:
    given = {"packing": packing, "max_length": 64, "num_train_epochs": 4} if packing else {}
    one = run(base, data, tmp_path / "roomy", **given)
    seen = rows_of_forward(monkeypatch, 3, after)
    told: list[str] = []
    done = run(base, data, tmp_path / "tight", lambda what, *rest: told.append(what), 0, **given)
    assert max(seen[-8:]) <= 3 < max(seen)
    assert done.resumed_from_step == after
    assert (done.steps, done.settings) == (one.steps, one.settings)
    parts = 2 ** sum("memory ran out" in what for what in dict.fromkeys(told))
    assert parts >= 4
    assert [note for note in done.notes if f"1/{parts} of the size" in note and f"steps is {parts};" in note]
    assert_same_adapter(tmp_path / "tight", tmp_path / "roomy")


def test_no_row_fits_and_the_run_ends(base: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = rows_of_forward(monkeypatch, 0, 0)
    with pytest.raises(StepFailed, match="even one by one"):
        run(base, data, tmp_path)
    assert seen == [8, 4, 2, 1]


def test_dividing_keeps_every_row_in_its_step() -> None:
    lengths = [5, 9, 2, 2, 2, 30, 1, 1, 7, 4]
    batches = Batches.of([[0, 1], [2, 3, 4], [5], [6, 7, 8, 9]])
    given = settings(gpus=3, per_device_train_batch_size=4)
    whole = split_batches(batches, lengths, given, 0)
    assert whole.batches == [*batches, [10], [10]]
    assert (whole.settings, whole.notes, whole.further) == (given, (), False)  # row 5 alone is the largest
    parts = split_batches(batches, lengths, given, 1)
    assert [row for batch in parts.batches for row in batch if row != 10] == [row for batch in batches for row in batch]
    assert parts.batches[:8] == [[0], [1], [2], [3, 4], [5], [10], [6, 7, 8], [9]]
    assert len(parts.batches) % 3 == 0
    assert (parts.settings.per_device_train_batch_size, parts.settings.gradient_accumulation_steps) == (2, 2)
    assert split_batches(Batches.of([[0, 1], [2, 3]]), lengths, given, 0).further
    row = filler_row([Encoded([1, 2, 3], [True] * 3), Encoded([4, 5], [False, True])])
    assert (row.input_ids, row.in_loss) == ([4, 5], [False, False])
