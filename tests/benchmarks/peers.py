"""What other estimators say of rows that tests/benchmarks/memory.py measured.

    python tests/benchmarks/peers.py --rows memory.csv --out peers-results

The others run, each as it is, in an environment of their own whose Python PEERS_PYTHON names:

    python -m venv peers
    peers/bin/pip install torch transformers accelerate==1.15.0 fitcheck-llm==0.3.1 hf-mem==0.5.6 \\
        rhai-innovation-mini-trainer==0.9.0 pandas
    peers/bin/pip install --no-deps training-hub==0.11.2 llamafactory==0.9.5
    export PEERS_PYTHON=$PWD/peers/bin/python

training-hub's trainers are not needed and heavy, LLaMA-Factory's table is read from its package's README. Without
network: the models are local config.json files; where a tool would ask the hub for one, that question alone is
answered here (`ask_*`). A tool that is missing is named and left out. Writes peers.csv, .md and .png to --out.

Every tool gets the options that match a row best: LoRA on all linear layers, the row's rank, AdamW with 32-bit states,
flash attention or Liger's kernels where it has them, the tokens that the pass had without padding, and of several GPUs
one GPU's share. Rows that do what a tool has no option for (`MORE`) get its nearest ones and are counted apart. A tool
is compared with what it predicts: the base after loading (base_gib), or what the driver shows at the peak (device_gib;
reserved_gib where that is not there). Table and plot are of the held-out rows (fitted = 0), peers.csv is of all.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import functools
import hashlib
import json
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GIB = 2**30
Row = dict[str, Any]
Call = dict[str, Any]  # a row, as a tool's `ask_*` takes it

# What a row may do that a tool may have no option for.
MORE: dict[str, Callable[[Row], bool]] = {
    "no recompute": lambda row: not row["gradient_checkpointing"],
    "some layers recompute": lambda row: bool(row["gradient_checkpointing"] and row["checkpointed_layers"]),
    "offload": lambda row: bool(row["activation_offloading"] or row["offload_embeddings"]),
    "dropout": lambda row: row["lora_dropout"] > 0,
    "sharded base": lambda row: bool(row["shard_base"]),
}
BESIDE_THE_POINT = frozenset(MORE) - {"sharded base"}  # for tools that do not predict an adapter's training
YES_OR_NO = ("gradient_checkpointing", "activation_offloading", "offload_embeddings", "shard_base", "fitted")
COUNTS = ("lora_r", "batch", "length", "checkpointed_layers", "gpus", "tokens")
OWN = (
    ("sdk advise", "predicted_gib", "allocated_gib"),
    ("sdk advise, with context and fragmentation", "predicted_device_gib", "device_gib"),
)
NOTE = (
    "Only `sdk advise` predicts the engine that was measured; the others have other trainers in mind, or none. These "
    "are the errors that someone who trains with this engine would make with them."
)
OF_MODEL_ALONE = ("accelerate", "llamafactory")  # tools that are told nothing else


@dataclass(frozen=True)
class Peer:
    """One figure of one tool."""

    name: str
    package: str
    tool: str  # its `ask_*`
    figure: str  # of those that `ask_*` answers
    call: str
    predicts: str
    methods: tuple[str, ...] = ("lora", "qlora-4bit", "qlora-8bit", "lora-fp8")
    takes: frozenset[str] = frozenset()  # of MORE
    against: str = "peak"  # or "base": the weights after loading
    marker: str = "o"


PEERS = (
    Peer(
        name="fitcheck-llm",
        package="fitcheck-llm",
        tool="fitcheck",
        figure="total",
        call="`fitcheck MODEL --quant none|nf4|int8 [--double-quant] --precision bf16 --lora-r R --lora-targets full "
        "--batch-size B --seq-len L --optimizer adamw --flash-attn [--grad-checkpoint] --gpu h200 --json`, its config "
        "in a local hub cache; it has no option for a fused loss",
        predicts="training, with context and fragmentation",
        methods=("lora", "qlora-4bit", "qlora-8bit"),
        takes=frozenset({"no recompute"}),
    ),
    Peer(
        name="training_hub",
        package="training-hub",
        tool="training_hub",
        figure="expected",
        call='`estimate(training_method="lora"|"qlora", num_gpus=1, batch_size=B, max_seq_len=L, use_liger=True, '
        "lora_r=R)`, the middle of its three figures; the model (AutoModel, without a head) is made from its config "
        "instead of loaded; for a sharded base all GPUs and their rows",
        predicts="training",
        methods=("lora", "qlora-4bit"),
        takes=frozenset({"sharded base"}),
    ),
    Peer(
        name="LLaMA-Factory's table",
        package="llamafactory",
        tool="llamafactory",
        figure="table",
        call="README, *Hardware Requirement*, rows LoRA 16, QLoRA 8 and 4: linear between its columns from 7B to 70B "
        "(10 % beyond), its formula in `x` elsewhere; GB taken as GiB",
        predicts="training, of any rows and rank",
        methods=("lora", "qlora-4bit", "qlora-8bit"),
    ),
    Peer(
        name="accelerate, Adam",
        package="accelerate",
        tool="accelerate",
        figure="adam",
        call="`accelerate estimate-memory MODEL --library_name transformers --dtypes float16`, *Training using Adam*, "
        "which it has for 16 bits only; its look-up of the name on the hub left out",
        predicts="another thing: full training, batch of 1",
        methods=("lora",),
        takes=BESIDE_THE_POINT,
        marker="s",
    ),
    Peer(
        name="hf-mem, inference",
        package="hf-mem",
        tool="hf_mem",
        figure="inference",
        call="`parse_safetensors_metadata` on the header that a checkpoint of the model would have (16 bits, "
        "bitsandbytes' 4 and 8 bits, fp8) and `compute_safetensors_kv_cache_size` for B rows of L tokens, as "
        "`hf-mem --experimental --max-model-len L --batch-size B` does",
        predicts="another thing: inference, weights and KV cache",
        takes=BESIDE_THE_POINT,
        marker="s",
    ),
    Peer(
        name="accelerate, weights",
        package="accelerate",
        tool="accelerate",
        figure="weights",
        call="the same with `--dtypes float16|int8|int4` (fp8: int8), *Total Size*, of AutoModel, which has no head",
        predicts="weights",
        takes=BESIDE_THE_POINT,
        against="base",
        marker="^",
    ),
    Peer(
        name="hf-mem, weights",
        package="hf-mem",
        tool="hf_mem",
        figure="weights",
        call="the same header alone",
        predicts="weights",
        takes=BESIDE_THE_POINT,
        against="base",
        marker="^",
    ),
)


# In the peers' environment: each gives a function from a call to the tool's figures, GiB, or raises.

Ask = Callable[[Call], dict[str, float]]


def ask_fitcheck() -> Ask:
    from click.testing import CliRunner
    from fitcheck.cli import main as fitcheck

    def ask(call: Call) -> dict[str, float]:
        flags = {
            "--quant": {"lora": "none", "qlora-4bit": "nf4", "qlora-8bit": "int8"}[call["method"]],
            "--precision": "bf16",
            "--lora-r": call["lora_r"],
            "--lora-targets": "full",
            "--batch-size": call["batch"],
            "--seq-len": call["length"],
            "--optimizer": "adamw",
            "--gpu": "h200",
        }
        given = [str(part) for flag in flags.items() for part in flag]
        given += ["--double-quant"] * (call["method"] == "qlora-4bit")
        given += ["--grad-checkpoint"] * call["gradient_checkpointing"]
        found = CliRunner().invoke(fitcheck, [f"peers/{call['model']}", *given, "--flash-attn", "--json"])
        if not found.stdout.startswith("{"):
            raise ValueError(found.output or repr(found.exception))
        return {"total": json.loads(found.stdout)["memory_mib"]["total"] / 1024}

    return ask


def ask_training_hub() -> Ask:
    import importlib.util
    import warnings

    from transformers import AutoConfig, AutoModel

    warnings.simplefilter("ignore")
    package = importlib.util.find_spec("training_hub")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("No module named 'training_hub'")
    # By its path: the package's own import asks for all its trainers.
    source = Path(package.origin).parent / "profiling" / "memory_estimator.py"
    spec: Any = importlib.util.spec_from_file_location("memory_estimator", source)
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.__file__ = str(Path.cwd() / "memory_estimator.py")  # it keeps what it knows of models beside itself

    class FromConfig:
        @staticmethod
        def from_pretrained(path: str, **_: Any) -> Any:
            return AutoModel.from_config(AutoConfig.from_pretrained(path))

    module.AutoModel = FromConfig

    def ask(call: Call) -> dict[str, float]:
        gpus = call["gpus"] if call["shard_base"] else 1
        _, expected, _ = module.estimate(
            training_method={"lora": "lora", "qlora-4bit": "qlora"}[call["method"]],
            num_gpus=gpus,
            model_path=call["model"],
            batch_size=call["batch"] * gpus,
            max_seq_len=call["length"],
            use_liger=True,
            lora_r=call["lora_r"],
            verbose=0,
        )
        return {"expected": expected / GIB}

    return ask


def ask_llamafactory() -> Ask:
    import importlib.metadata

    readme = str(importlib.metadata.metadata("llamafactory").json["description"])
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in readme.splitlines() if line[:1] == "|"]
    head = next(line for line in table if line[:2] == ["Method", "Bits"])
    sizes = [float(size.rstrip("B")) for size in head[2:-1]]

    def ask(call: Call) -> dict[str, float]:
        bits = {"lora": "16", "qlora-8bit": "8", "qlora-4bit": "4"}[call["method"]]
        line = next(line for line in table if len(line) == len(head) and line[1] == bits and "LoRA" in line[0])
        size = sum(value.numel() for value in _empty(call["model"]).parameters()) / 1e9
        if not 0.9 * sizes[0] <= size <= 1.1 * sizes[-1]:
            formula: Any = re.fullmatch(r"`(\d*)x(?:/(\d+))?`GB", line[-1])
            return {"table": size * int(formula[1] or 1) / int(formula[2] or 1)}
        known = [float(cell.removesuffix("GB")) for cell in line[2:-1]]
        at = min(sum(size > other for other in sizes[1:]), len(sizes) - 2)
        share = (size - sizes[at]) / (sizes[at + 1] - sizes[at])
        return {"table": known[at] + share * (known[at + 1] - known[at])}

    return ask


def ask_accelerate() -> Ask:
    from types import SimpleNamespace

    from accelerate.commands import estimate

    estimate.verify_on_hub = lambda *_: SimpleNamespace(config={}, library_name="transformers")

    def ask(call: Call) -> dict[str, float]:
        dtype = {"lora": "float16", "qlora-4bit": "int4"}.get(call["method"], "int8")
        flags = [call["model"], "--library_name", "transformers", "--dtypes", dtype]
        [(_, _, size, training)] = estimate.gather_data(estimate.estimate_command_parser().parse_args(flags))
        adam = max(training.values())  # of the steps of training; -1: it has none for this type
        return {"weights": size / GIB} | ({"adam": adam / GIB} if adam > 0 else {})

    return ask


def ask_hf_mem() -> Ask:
    from hf_mem.safetensors.kv_cache import compute_safetensors_kv_cache_size
    from hf_mem.safetensors.metadata import parse_safetensors_metadata

    def ask(call: Call) -> dict[str, float]:
        header = {"Transformer": dict(_checkpoint(call["model"], call["method"]))}
        config = json.loads((Path(call["model"]) / "config.json").read_text())
        weights = parse_safetensors_metadata(header).bytes_count
        cache = compute_safetensors_kv_cache_size(config, "BF16", call["length"], call["batch"])
        return {"weights": weights / GIB, "inference": (weights + cache) / GIB}

    return ask


@functools.cache
def _empty(name: str) -> Any:
    """A causal LM without weights."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(name))


def _checkpoint(name: str, method: str) -> Iterable[tuple[str, dict[str, Any]]]:
    """A checkpoint's tensors, the linear layers but the head as their library saves them."""
    import torch

    model = _empty(name)
    head = model.get_output_embeddings()
    linear = {
        f"{path}.weight"
        for path, module in model.named_modules()
        if type(module) is torch.nn.Linear and module is not head
    }

    def tensor(dtype: str, *shape: int) -> dict[str, Any]:
        return {"dtype": dtype, "shape": shape}

    for path, value in model.named_parameters():
        count = value.numel()
        if method == "lora" or path not in linear:
            yield path, tensor("BF16", *value.shape)
        elif method == "qlora-4bit":
            yield path, tensor("U8", count // 2, 1)
            yield f"{path}.absmax", tensor("U8", math.ceil(count / 64))
            yield f"{path}.nested_absmax", tensor("F32", math.ceil(count / 64 / 256))
            yield f"{path}.quant_map", tensor("F32", 16)
            yield f"{path}.nested_quant_map", tensor("F32", 256)
        elif method == "qlora-8bit":
            yield path, tensor("I8", *value.shape)
            yield path.replace(".weight", ".SCB"), tensor("F32", value.shape[0])
        else:
            yield path, tensor("F8_E4M3", *value.shape)
            yield f"{path}_scale", tensor("F32", value.shape[0])


def _answer(tool: str) -> None:
    """The other end of `asked`."""
    found: list[dict[str, Any]] = []
    with contextlib.redirect_stdout(sys.stderr):
        ask: Ask = globals()[f"ask_{tool}"]()
        for call in json.load(sys.stdin):
            try:
                found.append(ask(call))
            except Exception as error:  # noqa: BLE001 - whatever a tool raises is its answer
                found.append({"refused": " ".join(f"{error}".split()) or type(error).__name__})
    print(json.dumps(found))


# In this environment


def read(path: Path) -> list[Row]:
    """The rows that were measured, their numbers as numbers."""
    rows: list[Row] = []
    with path.open(newline="") as file:
        for given in csv.DictReader(file):
            if not given.get("allocated_gib"):
                continue  # it failed
            row: Row = {name: float(given[name] or 0) for name in given if name.endswith("_gib")}
            row |= {name: (given.get(name) or "").casefold() in ("1", "true") for name in YES_OR_NO}
            row |= {name: int(float(given.get(name) or 0)) for name in COUNTS}
            row |= {"name": given["name"], "method": given["method"], "config": json.loads(given["config"])}
            row["lora_dropout"] = float(given["lora_dropout"] or 0)
            if row["checkpointed_layers"] >= row["config"]["num_hidden_layers"]:
                row["checkpointed_layers"] = 0  # all of them
            rows.append(row)
    return rows


def save_models(rows: Iterable[Row], folder: Path) -> None:
    """Each configuration as a folder and as an entry of a hub cache; names its model in every row."""
    for row in rows:
        content = json.dumps(row["config"], sort_keys=True)
        # With the model's type, as in names on the hub: training_hub finds the layers by it.
        row["model"] = f"{row['config']['model_type']}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"
        cache, revision = folder / "hub" / f"models--peers--{row['model']}", "0" * 40
        for place in (folder / row["model"], cache / "snapshots" / revision):
            place.mkdir(parents=True, exist_ok=True)
            (place / "config.json").write_text(content)
        (cache / "refs").mkdir(exist_ok=True)
        (cache / "refs" / "main").write_text(revision)


def call_of(row: Row, tool: str) -> str:
    """As JSON: what the tool is told of the row, so that equal calls are made once."""
    call = {name: row[name] for name in ("model", "method")}
    if tool not in OF_MODEL_ALONE:
        call |= {name: row[name] for name in ("lora_r", "batch", "gradient_checkpointing", "gpus", "shard_base")}
        call["length"] = math.ceil(min(row["tokens"] or math.inf, row["batch"] * row["length"]) / row["batch"])
    return json.dumps(call)


def asked(tool: str, methods: Iterable[str], rows: Iterable[Row], folder: Path) -> dict[str, dict[str, Any]]:
    """The tool's answers by call; none where it is not installed."""
    calls = sorted({call_of(row, tool) for row in rows if row["method"] in methods})
    environment = {**os.environ, "HF_HUB_CACHE": str(folder / "hub"), "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    ran = subprocess.run(
        # -P: this folder's memory.py and training.py are not theirs.
        [os.environ["PEERS_PYTHON"], "-P", str(Path(__file__).resolve()), "--ask", tool],
        input=f"[{','.join(calls)}]",
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
        check=False,
    )
    if ran.returncode:
        print(f"{tool} is left out: {(ran.stderr.strip().splitlines() or ['no answer'])[-1][:300]}")
        show_recipe()
        return {}
    return dict(zip(calls, json.loads(ran.stdout.splitlines()[-1]), strict=True))


@functools.cache  # once
def show_recipe() -> None:
    lines = (__doc__ or "").splitlines()
    first = next(at for at, line in enumerate(lines) if line.endswith("-m venv peers"))
    print("To make their environment:", *lines[first : lines.index("", first)], sep="\n")


def versions() -> dict[str, str]:
    ask = (
        "import importlib.metadata as m, json\n"
        "print(json.dumps({d.name.lower().replace('_', '-'): d.version for d in m.distributions()}))"
    )
    said = subprocess.run([os.environ["PEERS_PYTHON"], "-c", ask], capture_output=True, text=True, check=True)
    return dict(json.loads(said.stdout))


@dataclass(frozen=True)
class Answer:
    row: Row
    peer: str
    predicted: float
    measured: float
    column: str  # of the rows, that it is compared with
    more: str = ""  # what the row does that the tool cannot be told

    @property
    def error(self) -> float:
        return self.predicted / self.measured - 1


def compare(rows: Sequence[Row], folder: Path) -> tuple[list[Answer], dict[str, list[str]]]:
    """Every tool's answers; and by tool, why it gave none for a row of a method that it has."""
    answers: list[Answer] = []
    refused: dict[str, list[str]] = {}
    for tool in dict.fromkeys(peer.tool for peer in PEERS):
        figures = [peer for peer in PEERS if peer.tool == tool]
        methods = {method for peer in figures for method in peer.methods}
        said = asked(tool, methods, rows, folder)
        for row in rows:
            answer = said.get(call_of(row, tool), {})
            if "refused" in answer:
                refused.setdefault(figures[0].package, []).append(answer["refused"])
            answers += [
                Answer(
                    row,
                    peer.name,
                    answer[peer.figure],
                    *_measured(row, peer.against),
                    ", ".join(what for what, does in MORE.items() if does(row) and what not in peer.takes),
                )
                for peer in figures
                if row["method"] in peer.methods and peer.figure in answer and _measured(row, peer.against)[0]
            ]
    order = [peer.name for peer in PEERS]
    return sorted(answers, key=lambda answer: order.index(answer.peer)), refused


def _measured(row: Row, against: str) -> tuple[float, str]:
    columns = ("base_gib",) if against == "base" else ("device_gib", "reserved_gib")
    return next(((row[name], name) for name in columns if row.get(name)), (0.0, ""))


def own(rows: Iterable[Row]) -> list[Answer]:
    return [
        Answer(row, name, row[predicted], row[measured], measured)
        for name, predicted, measured in OWN
        for row in rows
        if row.get(predicted) and row.get(measured)
    ]


def table(answers: Sequence[Answer], refused: dict[str, list[str]], version: dict[str, str]) -> str:
    """Markdown: errors on the held-out rows, what was refused, and each tool's call."""
    held_out = [answer for answer in answers if not answer.row["fitted"]]
    ours = {answer.row["name"]: answer for answer in held_out if answer.peer == OWN[0][0]}
    described = {name: ("", "training") for name, _, _ in OWN}
    described |= {peer.name: (version.get(peer.package, ""), peer.predicts) for peer in PEERS}
    lines = [
        "| estimator | version | predicts | compared with | rows | median error | 95 % of rows within | worst too low "
        "| worst too high | `sdk advise` on these rows, median |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, (number, predicts) in described.items():
        for more in (False, True):
            found = [answer for answer in held_out if answer.peer == name and bool(answer.more) == more]
            if found:
                what = f"{name}: rows that it has no options for" if more else name
                columns = " or ".join(sorted({answer.column.removesuffix("_gib") for answer in found}))
                same = [ours[answer.row["name"]] for answer in found if answer.row["name"] in ours]
                lines.append(
                    f"| {what} | {number} | {predicts} | {columns} | {len(found)} | {_errors(found)} | "
                    f"{_percent(_median(same)) if same else ''} |"
                )
    lines += ["", NOTE, ""]
    for package, why in refused.items():
        lines.append(f"- {package} refused {len(why)} rows, as: {why[0][:160]}")
    heard = {answer.peer for answer in answers}
    lines += [f"- {peer.name} ({version[peer.package]}): {peer.call}" for peer in PEERS if peer.name in heard]
    return "\n".join(lines) + "\n"


def _median(answers: Iterable[Answer]) -> float:
    return statistics.median(abs(answer.error) for answer in answers)


def _errors(answers: Sequence[Answer]) -> str:
    errors = sorted(answer.error for answer in answers)
    within = sorted(map(abs, errors))[math.ceil(0.95 * len(errors)) - 1]
    low = _percent(errors[0]) if errors[0] < 0 else "never"
    high = _percent(errors[-1]) if errors[-1] > 0 else "never"
    return f"{_percent(_median(answers))} | {_percent(within)} | {low} | {high}"


def _percent(share: float) -> str:
    return f"{100 * share:.{1 if abs(share) < 0.1 else 0}f} %"


def draw(answers: Sequence[Answer], path: Path) -> None:
    """Predicted over measured of the held-out rows, in order of their peak; one colour for a tool."""
    from matplotlib import pyplot
    from matplotlib.ticker import FixedLocator, NullLocator

    shown = [answer for answer in answers if not answer.row["fitted"]]
    rows = {answer.row["name"]: answer.row for answer in shown}
    order = sorted(rows, key=lambda name: float(rows[name]["allocated_gib"]))
    at = {name: place for place, name in enumerate(order)}
    colors = {package: f"C{1 + place}" for place, package in enumerate(dict.fromkeys(peer.package for peer in PEERS))}
    kinds = {OWN[0][0]: ("C0", "o")} | {peer.name: (colors[peer.package], peer.marker) for peer in PEERS}
    figure, axes = pyplot.subplots(figsize=(max(10.0, 0.12 * len(order)), 6), layout="constrained")
    for ratio in (0.5, 1, 2, 3):
        axes.axhline(ratio, color="black", linewidth=1.2 if ratio == 1 else 0.6, alpha=0.5, zorder=1)
    for name, (color, marker) in kinds.items():
        for more in (True, False):
            found = [answer for answer in shown if answer.peer == name and bool(answer.more) == more]
            axes.scatter(
                [at[answer.row["name"]] for answer in found],
                [answer.predicted / answer.measured for answer in found],
                s=70 if marker == "^" else 26,  # seen behind ours
                marker=marker,
                facecolors="none" if more else color,
                edgecolors=color,
                linewidths=0.9,
                alpha=0.5 if marker == "^" else 1,
                zorder=4 if name == OWN[0][0] else 2 if marker == "^" else 3,
            )
        if any(answer.peer == name for answer in shown):
            axes.scatter([], [], color=color, marker=marker, label=name)
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    ticks = [tick for tick in (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 3, 5, 10, 20) if low <= tick <= high]
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}x")
    marks = range(0, len(order), max(1, len(order) // 12))
    axes.set_xticks(list(marks), [f"{rows[order[mark]]['allocated_gib']:.0f}" for mark in marks])
    axes.set(xlabel="held-out rows, by their measured peak, GiB", ylabel="predicted / measured")
    figure.legend(loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    figure.suptitle(
        "Estimators beside measured memory. Hollow: no option for what the row does. Squares: inference or full "
        "training.\nTriangles: weights, beside the loaded base",
        fontsize=9,
    )
    figure.savefig(path, dpi=130)


def write(answers: Iterable[Answer], path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["row", "peer", "predicted_gib", "measured_gib", "measured_column", "no_option_for", "fitted"])
        for each in answers:
            numbers = [f"{value:.3f}" for value in (each.predicted, each.measured)]
            writer.writerow([each.row["name"], each.peer, *numbers, each.column, each.more, int(each.row["fitted"])])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, help="memory.csv of tests/benchmarks/memory.py")
    parser.add_argument("--out", type=Path, default=Path("peers-results"))
    parser.add_argument("--ask", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.ask:
        _answer(given.ask)
        return
    if given.rows is None:
        parser.error("--rows: which measured rows?")
    rows = read(given.rows)
    answers = own(rows)
    refused: dict[str, list[str]] = {}
    version: dict[str, str] = {}
    if Path(os.environ.get("PEERS_PYTHON", "")).is_file():
        version = versions()
        with tempfile.TemporaryDirectory() as folder:
            save_models(rows, Path(folder))
            theirs, refused = compare(rows, Path(folder))
        answers += theirs
    else:
        print("PEERS_PYTHON names no Python: only sdk advise is compared.")
        show_recipe()
    given.out.mkdir(parents=True, exist_ok=True)
    write(answers, given.out / "peers.csv")
    (given.out / "peers.md").write_text(table(answers, refused, version))
    draw(answers, given.out / "peers.png")
    print((given.out / "peers.md").read_text())


if __name__ == "__main__":
    main()
