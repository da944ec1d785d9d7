"""Every architecture at its real width with a few layers on a GPU: memory and speed beside what `sdk advise` predicts.

    python tests/benchmarks/architectures.py --list                     the rows as JSON lines
    python tests/benchmarks/architectures.py --out DIR --seconds 500    measures; DIR/architectures.json
    python tests/benchmarks/architectures.py --predict FILE             predicts again for rows that were measured

Of each model_type the smallest model of the catalogue, else what transformers has as its default, with at most four
layers (each kind of layer among them) and 16 experts; three methods, recomputed and not, for memory, side by side; then
one row of each, alone, for the clock. A process measures one row after the other, since a start takes long there; what
torch's allocator still holds before a row is written down, and Liger's changes of classes are taken back.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.benchmarks import memory
from tests.benchmarks.memory import GIB, Row

LAYERS = 4
EXPERTS = 16
METHODS = ("lora", "qlora-8bit", "qlora-4bit")
ROWS, LENGTH = 8, 1024
SECONDS_A_ROW = 60
MOST = 0.95  # of the errors of other architectures lie within what is expected of one that was not measured
SPEED_UNKNOWN = 2.0  # a factor either way, where no row ran alone
MOST_LEFT = 0.5  # GiB that a process may still hold from an earlier row
NUMBERS_OF_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
PER_LAYER = ("layer_types", "mlp_layer_types", "layers_block_type", "moe_layer_freq", "no_rope_layers")
NUMBERS_OF_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")


def types() -> list[str]:
    """Return every model_type that advice counts: those of the catalogue first."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    from sdk.advise.architectures import UNCOUNTED
    from sdk.advise.models import models

    listed = list(dict.fromkeys(shape.model_type for shape in models()))
    return listed + [name for name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES if name not in {*listed, *UNCOUNTED}]


def config_of(model_type: str) -> dict[str, Any] | None:
    """Return the config of the smallest model of this type, cut to a few layers; None where there is none."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    from sdk.advise import models as catalogue
    from sdk.advise.layers import parameters

    some = [shape for shape in catalogue.models() if shape.model_type == model_type]
    if some:
        name = min(some, key=parameters).name
        config = dict(catalogue._entries()[catalogue._key(name)]["config"])
    else:
        try:
            config = json.loads(json.dumps(CONFIG_MAPPING[model_type]().to_dict(), default=str))
        except Exception:  # noqa: BLE001 - defaults that transformers cannot make
            return None
    whole = config
    inside = config.get("text_config")
    if isinstance(inside, dict):
        inside = dict(inside)
        config = {**config, "text_config": inside}
        whole = config
        config = inside
    _cut(config)
    return whole


def _cut(config: dict[str, Any]) -> None:
    number = next((name for name in NUMBERS_OF_LAYERS if isinstance(config.get(name), int)), "")
    count = config.get(number, 0)
    chosen = list(range(min(LAYERS, count)))
    for name in PER_LAYER:
        kinds = config.get(name)
        if isinstance(kinds, list) and len(kinds) >= count > LAYERS:
            firsts = sorted({kinds.index(kind) for kind in kinds if isinstance(kind, str)})
            chosen = sorted({*firsts, *range(LAYERS)})[-LAYERS:] if firsts else chosen
            break
    for name in PER_LAYER:
        kinds = config.get(name)
        if isinstance(kinds, list) and len(kinds) >= count:
            config[name] = [kinds[place] for place in chosen]
    if number:
        config[number] = len(chosen)
    for name in NUMBERS_OF_EXPERTS:
        if isinstance(config.get(name), int) and config[name] > EXPERTS:
            config[name] = EXPERTS
            config |= {group: 1 for group in ("n_group", "topk_group") if config.get(group) is not None}
    if config.get("first_k_dense_replace"):
        config["first_k_dense_replace"] = 1
    for name in ("max_window_layers", "num_kv_shared_layers"):
        if isinstance(config.get(name), int):
            config[name] = min(config[name], 0)
    config.pop("parameters", None)


def rows_of(model_type: str, config: dict[str, Any]) -> list[Row]:
    """Return the rows for memory, then those for the clock."""
    made: list[Row] = []
    for method in METHODS:
        for recompute in (False, True):
            made.append({"gradient_checkpointing": recompute, "method": method, "steps": 2})
    clock = {"gradient_checkpointing": False, "method": "lora", "steps": 6, "alone": True}
    made.append({**clock, "late": 0})
    made.append({**clock, "per_device_train_batch_size": 1, "late": 1})
    made.append({**clock, "method": "qlora-4bit", "late": 2})
    for row in made:
        row |= {"per_device_train_batch_size": row.get("per_device_train_batch_size", ROWS), "max_length": LENGTH}
        name = f"{model_type} {row['method']} {row['per_device_train_batch_size']}x{LENGTH}"
        name += " recomputed" if row["gradient_checkpointing"] else ""
        row |= {"name": name + (" alone" if row.get("alone") else ""), "model": config}
        row["gradient_accumulation_steps"] = 1
    return made


# -- a process that measures one row after the other -----------------------------------------------------------------


def work() -> None:
    """Answer each line of the standard input, a row, with a line of what was found."""
    import torch
    from transformers import AutoConfig

    import sdk.train  # noqa: F401
    from tools.layer_bytes.unpatched import unpatched

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        row = json.loads(line)
        before = torch.cuda.memory_allocated() / GIB if torch.cuda.is_available() else 0.0
        began = time.monotonic()
        try:
            config = {name: value for name, value in row["model"].items() if name != "model_type"}
            with unpatched(AutoConfig.for_model(row["model"]["model_type"], **config)):
                found = memory.measure(row)
        except Exception as error:  # noqa: BLE001 - whatever a model of transformers does here is a result
            found = {"failed": f"{type(error).__name__}: {error}"[:400]}
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        found |= {"before_gib": before, "alone": bool(row.get("alone")), "took": time.monotonic() - began}
        answers.write(json.dumps(found) + "\n")
        answers.flush()


class Worker:
    def __init__(self) -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - lives as long as the process
        environment = {**os.environ, "OMP_NUM_THREADS": "2"}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--work"],
            stdin=pipe,
            stdout=pipe,
            stderr=self._errors,
            text=True,
            env=environment,
        )

    def end(self) -> None:
        self._process.kill()
        self._process.wait()

    def run(self, row: Row) -> dict[str, Any]:
        """Return what was found. A process that broke or hangs is ended, and a new one takes its place."""
        assert self._process.stdin
        assert self._process.stdout
        timer = threading.Timer(SECONDS_A_ROW, self._process.kill)
        timer.start()
        line = ""
        with contextlib.suppress(OSError):
            self._process.stdin.write(json.dumps(row) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        timer.cancel()
        if line:
            found: dict[str, Any] = json.loads(line)
            if found["before_gib"] < MOST_LEFT and "CUDA error" not in found.get("failed", ""):
                return found
        else:
            self._errors.seek(0)
            found = {"failed": " ".join(self._errors.read().split())[-400:] or "no answer"}
        self.end()
        self.__init__()  # type: ignore[misc]
        return found


def measure_all(asked: argparse.Namespace) -> list[dict[str, Any]]:
    began = time.monotonic()
    rows: list[list[Row]] = []
    measured: list[dict[str, Any]] = []
    for name in asked.types or types():
        config = config_of(name)
        if config is not None and counted(config):
            rows.append(rows_of(name, config))
    waiting = [[row for row in each if not row.get("alone")] for each in rows]
    alone = [row for each in rows for row in each if row.get("alone")]
    card = memory._cards()[0]
    lock = threading.Lock()

    def note(row: Row, found: dict[str, Any]) -> None:
        measured.append({"row": row, "found": found})
        shown = found.get("failed") or f"{found.get('allocated_gib', 0):.3f} GiB, {found['took']:.0f} s"
        print(f"{time.monotonic() - began:4.0f} s {row['name']}: {shown[:200]}", flush=True)

    def work_off(until: float, queue: list[Any]) -> None:
        worker = Worker()
        while True:
            with lock:
                some = queue.pop(0) if queue and time.monotonic() - began < until else None
            if some is None:
                break
            for place, row in enumerate(some):
                if time.monotonic() - began < until:
                    with card.held(memory._expected_gib(row) * 1.2 + 3):
                        found = worker.run(row)
                    with lock:
                        note(row, found)
                    if "failed" in found and not place:
                        break  # of this type no row would do better
        worker.end()

    threads = [
        threading.Thread(target=work_off, args=(asked.seconds * asked.share, waiting)) for _ in range(asked.workers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    failed = {each["row"]["name"].split()[0] for each in measured if "failed" in each["found"]}
    alone = [row for row in alone if row["name"].split()[0] not in failed]
    work_off(asked.seconds, [[row] for row in sorted(alone, key=lambda row: row["late"])])
    return measured


def write(measured: Sequence[dict[str, Any]], machine: dict[str, Any], path: Path) -> None:
    """Write what was found, one line for each row, and each config once."""
    configs = {each["row"]["name"].split()[0]: each["row"]["model"] for each in measured}
    rows = [{**each, "row": {**each["row"], "model": each["row"]["name"].split()[0]}} for each in measured]
    parts = [f'"machine": {json.dumps(machine)}']
    values = [f"{json.dumps(name)}: {json.dumps(config)}" for name, config in configs.items()]
    parts.append('"configs": {\n' + ",\n".join(values) + "\n}")
    parts.append('"rows": [\n' + ",\n".join(map(json.dumps, rows)) + "\n]")
    path.write_text("{" + ",\n".join(parts) + "}\n")


def read(path: Path) -> list[dict[str, Any]]:
    found = json.loads(path.read_text())
    configs = found["configs"]
    return [{**each, "row": {**each["row"], "model": configs[each["row"]["model"]]}} for each in found["rows"]]


def counted(config: dict[str, Any]) -> bool:
    from sdk.advise.model_config import shape_of
    from sdk.errors import InvalidInput

    try:
        shape_of(config, "a model", "the benchmark", "config.json")
    except InvalidInput:
        return False
    return True


def lines_of(measured: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    lines = []
    whole = {
        each["row"]["name"].split()[0]: each["found"]["base_gib"]
        for each in measured
        if each["row"]["method"] == "lora" and "failed" not in each["found"]
    }
    for each in measured:
        row, found = each["row"], each["found"]
        if "failed" in found:
            continue
        # Linear layers of a class of their own, which the benchmark does not quantize (GPT-2's, Falcon's).
        if row["method"] != "lora" and found["base_gib"] > 0.999 * whole.get(row["name"].split()[0], math.inf):
            continue
        line = memory.line_of(row, found)
        lines.append({**line, "type": row["name"].split()[0], "before": found["before_gib"]})
    return lines


def summary(measured: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """sdk/advise/measured_architectures.json: the farthest off by architecture, and of those that are predicted alike.

    Nothing was fitted to the memory of any row, so the errors of all are those of an architecture that nobody measured:
    "counted" where sums of its own were there, "usual" where those of a usual one stood for them.
    """
    from sdk.advise import kept

    lines = lines_of(measured)
    found: dict[str, Any] = {"measured": {}, "others": {}}
    kinds: dict[str, list[str]] = {"counted": [], "states": []}
    shapes = {}
    for name in sorted({line["type"] for line in lines}):
        found["measured"][name] = _errors([line for line in lines if line["type"] == name])
        shape = memory.shape_of(next(each["row"] for each in measured if each["row"]["name"].split()[0] == name))
        shapes[name] = shape
        if shape.model_type not in {line["type"] for line in lines}:  # as advice calls the part for text
            found["measured"][shape.model_type] = found["measured"].pop(name)
        if shape.num_linear_attention_layers:
            kinds["states"].append(name)
        elif kept.is_counted(shape):
            kinds["counted"].append(name)
    for kind, names in kinds.items():
        found["others"][kind] = _errors([line for line in lines if line["type"] in names], MOST)
    own = kept._kept
    usual = {name: own(kept.usual(shapes[name])) for name in kinds["counted"]}
    kept._kept = lambda name: usual[name] if name in usual else own(name)  # type: ignore[assignment]
    try:
        some = [each for each in measured if each["row"]["name"].split()[0] in usual]
        found["others"]["usual"] = _errors(lines_of(some), MOST)
    finally:
        kept._kept = own
    return found


def _errors(lines: Sequence[dict[str, Any]], share: float = 1.0) -> dict[str, Any]:
    """Return how far off predictions were. share: so many of the errors lie between too_low and too_high."""
    some = [line for line in lines if line["error"] is not None]
    errors = sorted(line["error"] for line in some)
    # Beside the weights, which are counted exactly and are a larger part of a whole model than of four layers.
    rest = sorted(
        (one["predicted_gib"] - one["allocated_gib"]) / (one["allocated_gib"] - one["base_gib"]) for one in some
    )
    speed = sorted(max(1 + line["speed_error"], 1 / (1 + line["speed_error"])) for line in lines if line["speed_error"])
    low, high = math.floor((1 - share) / 2 * len(some)), math.ceil((1 + share) / 2 * len(some)) - 1
    return {
        "runs": len(some),
        "median": round(statistics.median(map(abs, errors)), 4),
        "too_low": round(max(0.0, -errors[low]), 4),
        "too_high": round(max(0.0, errors[high]), 4),
        "rest_too_low": round(max(0.0, -rest[low]), 4),
        "rest_too_high": round(max(0.0, rest[high]), 4),
        "speed": round(speed[math.ceil(share * len(speed)) - 1], 2) if speed else SPEED_UNKNOWN,
    }


def table(found: dict[str, Any]) -> str:
    """Return the rows of the table in docs/advisor.md, the farthest off first."""
    measured = found["measured"]
    lines = []
    for name in sorted(measured, key=lambda name: -max(measured[name]["too_low"], measured[name]["too_high"])):
        one = measured[name]
        speed = "" if one["speed"] == SPEED_UNKNOWN else f"{one['speed']:.2f}"
        low = f"−{one['too_low']:.1%}" if one["too_low"] else "never"
        high = f"+{one['too_high']:.1%}" if one["too_high"] else "never"
        lines.append(f"| `{name}` | {one['runs']} | {low} | {high} | {speed} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("types", nargs="*")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--predict", type=Path)
    parser.add_argument("--summary", type=Path, help="writes sdk/advise/measured_architectures.json")
    parser.add_argument("--seconds", type=float, default=520, help="begin no row after so many seconds")
    parser.add_argument("--share", type=float, default=0.65, help="of them for memory")
    parser.add_argument("--workers", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("architecture-results"))
    asked = parser.parse_args()
    if asked.work:
        work()
        return
    if asked.list:
        for name in asked.types or types():
            config = config_of(name)
            if config is None or not counted(config):
                print(name, "not counted")
                continue
            for row in rows_of(name, config):
                print(json.dumps(row))
        return
    if asked.predict:
        measured = read(asked.predict)
    else:
        asked.out.mkdir(parents=True, exist_ok=True)
        measured = measure_all(asked)
        write(measured, memory.machine(), asked.out / "architectures.json")
    if asked.summary:
        asked.summary.write_text(json.dumps(summary(measured), indent=1) + "\n")
    print(report(lines_of(measured)))


def report(lines: Sequence[dict[str, Any]]) -> str:
    """One line for each type, the farthest off first."""
    said = []
    by_type: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        by_type.setdefault(line["type"], []).append(line)

    def worst(some: Sequence[dict[str, Any]], column: str) -> float:
        errors = [line[column] for line in some if line[column] is not None]
        return max(errors, key=abs, default=0.0)

    for name, some in sorted(by_type.items(), key=lambda item: -abs(worst(item[1], "error"))):
        said.append(f"{name:22} memory {worst(some, 'error'):+7.2%}  speed {worst(some, 'speed_error'):+7.1%}")
    errors = sorted(abs(line["error"]) for line in lines if line["error"] is not None)
    if errors:
        said.append(f"{len(errors)} rows: median {statistics.median(errors):.2%}")
    return "\n".join(said)


if __name__ == "__main__":
    main()
