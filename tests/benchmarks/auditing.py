"""How fast the audit log is, and whether a kill can make it lose an event.

    python tests/benchmarks/auditing.py speed [--writers 16] [--events 20000] [--verify 1000000]
    python tests/benchmarks/auditing.py kills [--kills 1000] [--seed 6]

speed  durable events a second: one thread, WRITERS threads of one process, WRITERS processes; then events a second of
       proving and of reading a log of that many events. --core N keeps everything on one core.
kills  16 writers append as fast as they can: 16 threads, or 4 processes of 4. They are killed at a random moment, or
       one of them kills its process in the middle of a write, sync or rename. What was acknowledged before came through
       a pipe: it must be in the log, byte by byte, and the log must verify and go on. A log outlives 20 kills.

The result is one JSON object.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import sdk.audit.log
from sdk.audit import Audit
from sdk.audit.segments import segment_name
from sdk.crypto import LogKey
from sdk.errors import SDKError
from sdk.records import sha256

KEY = LogKey.random()
ORIGIN = "domain-adaptation-sdk/benchmark"
WRITERS = 16
LIFE = 20  # kills that one log sees
SMALL_SEGMENT = 40_000  # bytes, so that kills meet new segments too
POINTS = ("pwrite", "fdatasync", "fsync", "rename")


def make(folder: Path) -> Audit:
    return Audit(folder / "audit", ORIGIN, [folder / "holder-0", folder / "holder-1"])


def add(audit: Audit, number: int = 0) -> Any:
    objects = {"run": "0" * 64, "package": "1" * 64}
    return audit.append(KEY, "train", "started", objects, "default@1", {"number": str(number)}, decision="permit")


# kills


def die_at(point: str, count: int, early: bool) -> None:
    """This process ends by SIGKILL in the `count`th call, before its effect or after it; a write is cut in half."""
    original, calls = getattr(os, point), itertools.count(1)

    def call(*given: Any) -> Any:
        if next(calls) != count:
            return original(*given)
        if not early:
            original(*given)
        elif point == "pwrite":
            descriptor, data, offset = given
            original(descriptor, data[: len(data) // 2], offset)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(os, point, call)


def write_on(folder: Path, pipe: int, threads: int) -> None:
    audit = make(folder)

    def write() -> None:
        while True:
            event = add(audit)
            os.write(pipe, f"{event.seq} {sha256(event.to_bytes())}\n".encode())

    for _ in range(threads - 1):
        threading.Thread(target=write).start()
    write()


def start(folder: Path, pipe: int, threads: int, before: Callable[[], None]) -> int:
    child = os.fork()
    if child:
        return child
    try:
        before()
        write_on(folder, pipe, threads)
    finally:
        os._exit(1)


def kill_once(folder: Path, rng: random.Random) -> tuple[str, dict[int, str]]:
    """How it was done, and what was acknowledged before: number -> digest of the line."""
    reading, pipe = os.pipe()
    processes = rng.choice((1, 4))
    point = rng.choice((None, *POINTS))
    count, early = rng.randint(1, 40), rng.random() < 0.5
    children = []
    for number in range(processes):
        dies = point is not None and number == 0
        before = (lambda: die_at(str(point), count, early)) if dies else (lambda: None)
        children.append(start(folder, pipe, WRITERS // processes, before))
    os.close(pipe)
    if point is None:
        time.sleep(rng.uniform(0.01, 0.25))
    else:
        os.waitpid(children.pop(0), 0)
    for child in children:
        os.kill(child, signal.SIGKILL)
    with open(reading, "rb") as file:
        told = dict(line.split() for line in file.read().decode().splitlines())
    for child in children:
        os.waitpid(child, 0)
    return point or "any moment", {int(seq): digest for seq, digest in told.items()}


def kill_trials(folder: Path, kills: int, seed: int) -> dict[str, Any]:
    """Kill so often; `faults` holds everything that should not be."""
    rng, faults, ways = random.Random(seed), [], Counter[str]()
    acknowledged, written = 0, 0
    sdk.audit.log.SEGMENT_BYTES = SMALL_SEGMENT
    known: dict[int, str] = {}
    for number in range(kills):
        home = folder / f"log-{number // LIFE}"
        if number % LIFE == 0:
            known = {}
            home.mkdir(parents=True)
            add(make(home))
        way, told = kill_once(home, rng)
        ways[way] += 1
        twice = known.keys() & told.keys()
        known |= told
        acknowledged += len(told)
        try:
            events = make(home).check(KEY.public_pem)
            digests = [sha256(event.to_bytes()) for event in events]
            lost = [seq for seq, digest in known.items() if seq >= len(digests) or digests[seq] != digest]
            add(make(home))
        except SDKError as error:
            faults.append(f"kill {number} ({way}): {error}")
            continue
        written += len(events) if number % LIFE == LIFE - 1 or number == kills - 1 else 0
        if lost or twice:
            faults.append(f"kill {number} ({way}): lost {lost}, acknowledged twice {sorted(twice)}")
    return {"kills": kills, "acknowledged": acknowledged, "events": written, "ways": dict(ways), "faults": faults}


# speed


def durable(folder: Path, processes: int, threads: int, events: int) -> float:
    """Durable events a second."""
    each = events // (processes * threads)
    add(make(folder))

    def work() -> None:
        audit = make(folder)
        writers = [threading.Thread(target=lambda: [add(audit) for _ in range(each)]) for _ in range(threads)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()

    began = time.perf_counter()
    children = []
    for _ in range(processes - 1):
        child = os.fork()
        if not child:
            work()
            os._exit(0)
        children.append(child)
    work()
    for child in children:
        os.waitpid(child, 0)
    seconds = time.perf_counter() - began
    assert len(make(folder).check(KEY.public_pem)) == each * processes * threads + 1
    return each * processes * threads / seconds


def long_log(folder: Path, events: int) -> Audit:
    """A log of so many events, written at once: only for reading."""
    audit = make(folder)
    template = add(audit)
    sdk.audit.group.MAX_COMMIT = sdk.audit.segments.MAX_COMMIT = events
    drafts = [template] * 100_000
    for begin in range(1, events, len(drafts)):
        audit._commit(KEY, drafts[: events - begin])
    assert (audit.folder / segment_name(0)).exists()
    return audit


def rate(count: int, work: Callable[[], object]) -> dict[str, float]:
    began, spent = time.perf_counter(), time.process_time()
    work()
    return {
        "events a second": round(count / (time.perf_counter() - began)),
        "events a second of processor time": round(count / (time.process_time() - spent)),
    }


def speed(folder: Path, writers: int, events: int, verify: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, processes, threads in [
        ("1 writer", 1, 1),
        (f"{writers} threads", 1, writers),
        (f"{writers} processes", writers, 1),
    ]:
        count = events // 10 if processes * threads == 1 else events
        found[f"durable events a second, {name}"] = round(durable(folder / name, processes, threads, count))
    audit = long_log(folder / "long", verify)
    size = sum(path.stat().st_size for path in audit.folder.glob("*.jsonl"))
    found["bytes an event"] = round(size / verify)
    found["verify"] = rate(verify, lambda: audit.verify(KEY.public_pem))
    found["check, with events read"] = rate(verify, lambda: audit.check(KEY.public_pem))
    found["prove one event"] = rate(verify, lambda: audit.prove(verify // 3))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "kills"])
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder otherwise")
    parser.add_argument("--writers", type=int, default=WRITERS)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--verify", type=int, default=1_000_000)
    parser.add_argument("--kills", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=6)
    parser.add_argument("--core", type=int)
    given = parser.parse_args()
    if given.core is not None:
        os.sched_setaffinity(0, {given.core})
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        if given.what == "kills":
            found = kill_trials(Path(folder), given.kills, given.seed)
        else:
            found = speed(Path(folder), given.writers, given.events, given.verify)
    print(json.dumps({"python": platform.python_version(), "machine": platform.machine(), **found}, indent=1))


if __name__ == "__main__":
    main()
