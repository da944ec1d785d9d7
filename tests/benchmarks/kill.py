"""Interrupt training in every way that we know, make the same call again, and compare with an uninterrupted run.

    python tests/benchmarks/kill.py --kills 1000 --terms 200 --full 200 --faults 200 --plain 24 --out results.json

kills    SIGKILL at a random time, or in the middle of the Nth write, fsync, mkdir or rename
terms    SIGTERM at a random time
full     the disk is full: a tmpfs that is too small where one can be mounted, else write() stops short and then fails
faults   write() takes less than it is given; write(), fsync(), mkdir() or rename() fail with EIO
plain    SIGKILL at a random time of trl's SFTTrainer with transformers' own checkpoints, to compare

Each trial is a folder of its own. The call is made again after each interruption, often interrupted again, in the end
left alone. It must then finish, and adapter and losses must be those of the uninterrupted run, bit by bit.
Children are forked from a parent that has imported everything; one thread each, no GPU.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import gc
import io
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

# In a forked child torch's thread pool is gone; threads that load weights would ask for it.
os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", HF_DEACTIVATE_ASYNC_LOAD="1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

from sdk.crypto import Secret
from sdk.errors import SDKError
from sdk.records import canonical_json, sha256
from sdk.train import Job, train
from tests.tiny import make_base, pairs, write_rows
from tests.tiny import settings as tiny_settings

STEPS = 5
ATTEMPTS = 4  # the last one is left alone
SECRET = Secret(bytes(range(32)))
METHODS = ("lora", "qlora-4bit", "qlora-8bit")
OTHERS = {1: "dora", 2: "dora", 3: "adalora", 4: "adalora"}  # kinds of adapter other than LoRA, by number of the case
FINISHED, SAID, BUG = 0, 3, 4  # exit codes of a child
MIB = 2**20


@dataclass(frozen=True)
class Bench:
    """What all trials share."""

    base: Path
    data: Path

    @classmethod
    def make(cls, folder: Path) -> Bench:
        return cls(make_base(folder / "base"), write_rows(folder / "train.jsonl", pairs(9)))


@dataclass(frozen=True)
class Case:
    """Accumulation of two, dropout, two and a bit epochs; everything is saved after each step."""

    method: str = "lora"
    encrypted: bool = False
    packing: bool = False
    adapter: str = "lora"

    def __str__(self) -> str:
        return " ".join([self.method, self.adapter, *["encrypted"] * self.encrypted, *["packed"] * self.packing])

    def train(self, bench: Bench, out: Path) -> str:
        settings = tiny_settings(
            method=self.method,
            peft_type="adalora" if self.adapter == "adalora" else "lora",
            use_dora=self.adapter == "dora",
            target_r=2,
            warmup_ratio=0.03,
            num_train_epochs=1,
            max_steps=STEPS,
            per_device_train_batch_size=2,
            gradient_accumulation_steps=2,
            max_length=64,
            packing=self.packing,
        )
        secret = SECRET if self.encrypted else None
        job = Job(bench.data, str(bench.base), "brief", settings, out, checkpoint_seconds=0, secret=secret)
        run = train(job, lambda *told: None)
        adapter = (out / "adapter" / "adapter_model.safetensors").read_bytes()
        return sha256(adapter + canonical_json([point.model_dump() for point in run.losses]))


class PlainCase:
    """The same training by trl alone."""

    def train(self, bench: Bench, out: Path) -> str:
        lines = [json.loads(line)["messages"] for line in bench.data.read_text().splitlines()]
        tokenizer = AutoTokenizer.from_pretrained(bench.base)
        trainer = SFTTrainer(
            model=AutoModelForCausalLM.from_pretrained(bench.base),
            args=SFTConfig(
                output_dir=str(out / "checkpoints"),
                max_steps=STEPS,
                per_device_train_batch_size=2,
                gradient_accumulation_steps=2,
                learning_rate=5e-3,
                save_strategy="steps",
                save_steps=1,
                save_total_limit=2,
                logging_steps=1,
                report_to="none",
                disable_tqdm=True,
                use_cpu=True,
                bf16=False,
            ),
            processing_class=tokenizer,
            train_dataset=Dataset.from_dict({"messages": lines}),
            peft_config=LoraConfig(r=4, lora_alpha=8, lora_dropout=0.1, target_modules="all-linear"),
        )
        trainer.train(resume_from_checkpoint=any((out / "checkpoints").glob("checkpoint-*")))
        trainer.save_model(str(out / "adapter"))
        return sha256((out / "adapter" / "adapter_model.safetensors").read_bytes())


@dataclass
class Ops:
    """Counts what goes to the disk and does something at the Nth time."""

    at: int = -1
    action: str = ""
    count: int = 0
    broken: bool = False

    def reached(self) -> bool:
        self.count += 1
        return self.count == self.at

    def kill(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def call(self, real: Callable[..., Any], *given: Any, **options: Any) -> Any:
        """fsync, mkdir, rename."""
        if self.reached():
            if self.action == "kill":
                self.kill()
            elif self.action == "EIO":
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            elif self.action == "ENOSPC":
                self.broken = True
        if self.broken and real.__name__ == "mkdir":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*given, **options)

    def write(self, real: Callable[[Any], int], data: memoryview) -> int:
        half = max(1, len(data) // 2)
        if self.broken:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self.action == "short" and 0 < self.at <= self.count + 1:
            self.count += 1
            return real(data[:half])
        if self.reached():
            written = real(data[:half])
            if self.action == "kill":
                self.kill()
            elif self.action == "EIO":
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            elif self.action == "ENOSPC":
                self.broken = True
            return written
        return real(data)

    def install(self) -> None:
        """In this process, for good: it is a child that ends soon."""
        ops = self

        class Raw(io.FileIO):
            def write(self, data: Any) -> int:
                return ops.write(super().write, memoryview(data))

        opened = Path.open

        def open_(path: Path, mode: str = "r", *given: Any, **options: Any) -> Any:
            if mode not in ("wb", "ab"):
                return opened(path, mode, *given, **options)
            raw = Raw(path, mode)
            return raw if options.get("buffering") == 0 else io.BufferedWriter(raw)

        Path.open = open_  # type: ignore[method-assign,assignment]
        for name in ("fsync", "mkdir", "rename"):
            real = getattr(os, name)
            setattr(os, name, lambda *given, real=real, **options: ops.call(real, *given, **options))


@dataclass
class Ended:
    """How one call ended. signalled: seconds from the signal that it was sent."""

    code: int
    told: dict[str, Any]
    signalled: float | None = None


def attempt(work: Callable[[], str], ops: Ops, number: int = 0, delay: float = 0.0) -> Ended:
    """Run `work` in a child, which is sent signal `number` after `delay` seconds if it still lives."""
    reads, writes = os.pipe()
    pid = os.fork()
    if pid == 0:
        _child(work, ops, reads, writes)
    os.close(writes)
    sent = None
    if number:
        ready = _ended_within(pid, delay)
        if ready is None:
            os.kill(pid, number)
            sent = time.monotonic()
    with os.fdopen(reads, "rb") as pipe:
        told = pipe.read()
    _, status = os.waitpid(pid, 0) if not number or sent or ready is None else ready
    waited = time.monotonic() - sent if sent else None
    return Ended(os.waitstatus_to_exitcode(status), json.loads(told or b"{}"), waited)


def _ended_within(pid: int, delay: float) -> tuple[int, int] | None:
    until = time.monotonic() + delay
    while time.monotonic() < until:
        done = os.waitpid(pid, os.WNOHANG)
        if done[0]:
            return done
        time.sleep(0.002)
    return None


def _child(work: Callable[[], str], ops: Ops, reads: int, writes: int) -> None:
    code, told = BUG, {}
    try:
        os.close(reads)
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
        os.dup2(nothing, 2)
        ops.install()
        told = {"result": work()}
        code = FINISHED
    except SDKError as error:
        code, told = SAID, {"error": str(error)}
    except BaseException:  # noqa: BLE001 - what a trial must show is any error at all
        told = {"error": traceback.format_exc()}
    finally:
        os.write(writes, json.dumps({**told, "ops": ops.count}).encode()[:60_000])
        os._exit(code)


@dataclass
class Tally:
    """Outcomes of one kind of trial."""

    trials: int = 0
    interruptions: int = 0
    while_saving: int = 0
    unresumable: int = 0
    diverged: int = 0
    errors_unsaid: int = 0
    longest_seconds_to_exit: float = 0.0
    endings: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    @property
    def lost(self) -> int:
        return self.unresumable + self.diverged + self.errors_unsaid


class Trials:
    """Trials of one case against its uninterrupted run, which is made first and tells how long it is."""

    def __init__(self, bench: Bench, folder: Path, case: Case | PlainCase) -> None:
        self.case = case
        self._bench = bench
        self._folder = folder
        out = self._new()
        began = time.monotonic()
        whole = attempt(lambda: case.train(bench, out), Ops())
        self.seconds = time.monotonic() - began
        if whole.code != FINISHED:
            raise RuntimeError(whole.told["error"])
        self.expected: str = whole.told["result"]
        self.ops: int = whole.told["ops"]
        self.bytes = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
        shutil.rmtree(out)

    def one(self, kind: str, draw: random.Random, tally: Tally, tmpfs: bool = False) -> None:
        tally.trials += 1
        out = self._new()
        with _small_disk(out, self.bytes, draw) if tmpfs else contextlib.nullcontext() as enlarge:
            last = ATTEMPTS - 1 if draw.random() < 0.2 else draw.choice((1, 1, 2))
            for number in range(last + 1):
                alone = number == last
                if alone and enlarge:
                    enlarge()
                ended = self._attempt("alone" if alone or tmpfs else kind, draw, out)
                tally.endings[_name(ended.code)] += 1
                if number == 0 and not alone and ended.code == FINISHED:
                    self.seconds *= 0.9  # the machine is faster than it was: aim earlier
                if not self._note(ended, alone, out, tally) or ended.code == FINISHED:
                    break
            self._judge(ended, tally)
        shutil.rmtree(out, ignore_errors=True)

    def _new(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self._folder))

    def _attempt(self, kind: str, draw: random.Random, out: Path) -> Ended:
        def work() -> str:
            return self.case.train(self._bench, out)

        at = draw.randint(1, self.ops)
        delay = draw.uniform(0, 1.1 * self.seconds)
        if kind == "kills" and (isinstance(self.case, PlainCase) or draw.random() < 0.5):
            return attempt(work, Ops(), signal.SIGKILL, delay)
        if kind == "terms":
            return attempt(work, Ops(), signal.SIGTERM, delay)
        action = {"kills": "kill", "full": "ENOSPC", "faults": draw.choice(("EIO", "EIO", "short"))}.get(kind, "")
        return attempt(work, Ops(at if action else -1, action))

    def _note(self, ended: Ended, alone: bool, out: Path, tally: Tally) -> bool:
        """False: there is no use in going on."""
        if not alone and ended.code != FINISHED:
            tally.interruptions += 1
            tally.while_saving += any(out.glob("checkpoints/*.tmp"))
            tally.longest_seconds_to_exit = max(tally.longest_seconds_to_exit, ended.signalled or 0.0)
        if ended.code == BUG and not isinstance(self.case, PlainCase):
            tally.errors_unsaid += 1
            tally.examples.append(ended.told["error"][-2000:])
            return False
        return True

    def _judge(self, ended: Ended, tally: Tally) -> None:
        if ended.code == FINISHED:
            if ended.told["result"] != self.expected:
                tally.diverged += 1
        elif isinstance(self.case, PlainCase) or ended.code != BUG:
            tally.unresumable += 1
            tally.examples.append(str(ended.told.get("error", _name(ended.code)))[-2000:])


def _name(code: int) -> str:
    names = {FINISHED: "finished", SAID: "stopped with an error of its own", BUG: "traceback"}
    return names.get(code) or signal.Signals(-code).name


@contextlib.contextmanager
def _small_disk(out: Path, needed: int, draw: random.Random) -> Iterator[Callable[[], None]]:
    """`out` is a disk on which the run does not fit; the function that is handed out enlarges it."""
    size = draw.randint(needed // 4, 2 * needed)
    _run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(out))
    try:
        yield lambda: _run("mount", "-o", f"remount,size={64 * MIB}", str(out))
    finally:
        _run("umount", str(out))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def can_mount(folder: Path) -> bool:
    place = folder / "mount"
    place.mkdir()
    try:
        with _small_disk(place, MIB, random.Random(0)):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


def all_cases() -> list[Case]:
    cases = [Case(method, both, both) for method in METHODS for both in (False, True)]
    return [replace(case, adapter=OTHERS.get(place, "lora")) for place, case in enumerate(cases)]


def run_trials(
    bench: Bench,
    folder: Path,
    counts: Mapping[str, int],
    seed: int,
    cases: Sequence[Case | PlainCase],
    tmpfs: bool = False,
    show: Callable[[str], None] = lambda line: None,
) -> dict[str, Tally]:
    """Kind -> outcomes; trials go round through the cases."""
    gc.freeze()  # children do not look through what the parent has imported
    trials = [Trials(bench, folder, case) for case in cases]
    tallies = {}
    for kind, count in counts.items():
        tallies[kind] = tally = Tally()
        for number in range(count):
            draw = random.Random(f"{seed} {kind} {number}")
            trials[number % len(trials)].one(kind, draw, tally, tmpfs and kind == "full")
            if number % 50 == 49:
                show(f"{kind}: {number + 1} of {count}, lost {tally.lost}")
    gc.unfreeze()
    return tallies


def _table(tallies: Mapping[str, Tally]) -> str:
    columns = (
        "trials", "interruptions", "while_saving", "unresumable", "diverged", "errors_unsaid", "longest_seconds_to_exit"
    )  # fmt: skip
    lines = ["  ".join(["kind".ljust(8), *columns])]
    for kind, tally in tallies.items():
        cells = [format(getattr(tally, name), ".2f" if "seconds" in name else "d").rjust(len(name)) for name in columns]
        lines.append("  ".join([kind.ljust(8), *cells]))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for kind in ("kills", "terms", "full", "faults", "plain"):
        parser.add_argument(f"--{kind}", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    torch.set_num_threads(1)
    counts = {kind: getattr(given, kind) for kind in ("kills", "terms", "full", "faults") if getattr(given, kind)}
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bench, tmpfs = Bench.make(folder), can_mount(folder)
        tallies = run_trials(bench, folder, counts, given.seed, all_cases(), tmpfs, print) if counts else {}
        if given.plain:
            plain = run_trials(bench, folder, {"kills": given.plain}, given.seed, [PlainCase()], show=print)
            tallies["plain"] = plain["kills"]
    print(_table(tallies))
    if given.out:
        result = {
            "seed": given.seed,
            "seconds": round(time.monotonic() - began),
            "full_disk": "tmpfs" if tmpfs else "injected",
            "cases": [str(case) for case in all_cases()],
            "versions": {
                "python": platform.python_version(),
                **{name: version(name) for name in ("torch", "transformers", "trl", "peft", "bitsandbytes")},
            },
            "kinds": {kind: vars(tally) for kind, tally in tallies.items()},
        }
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")
    sys.exit(any(tally.lost for kind, tally in tallies.items() if kind != "plain"))


if __name__ == "__main__":
    main()
