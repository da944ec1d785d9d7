"""What a decoder layer keeps and needs in training on a GPU, counted without one: writes sdk/advise/kept.json.

    python -m tools.layer_bytes                 every decoder of the installed transformers
    python -m tools.layer_bytes llama olmo2     these, the others stay as they are

A model of three layers is built on torch's meta device, where a tensor has a shape and no bytes, and trained for one
step by the real engine: Liger's functions (its kernels launch nothing), PEFT's adapters, our attention, autograd. After
every operation the bytes of all tensors that live are noted. In models of other sizes the same operations follow, so
what lives after each is solved for as a sum of sizes: so many bytes a token for each of hidden_size, of queries and
keys, of the MLP. It needs liger-kernel (pip install --no-deps --target DIR, and DIR in PYTHONPATH), not Triton.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from sdk.advise.adapters import kept_more, rank_of
from sdk.advise.architectures import UNCOUNTED
from sdk.advise.kept import EXPERTS, LATENT, USUAL, WINDOWED, LayerKind, sizes_of, total
from sdk.advise.layers import WITHOUT_WINDOW, linear_layers
from sdk.advise.models import models
from sdk.records import ModelShape, TrainSettings
from tools.layer_bytes.one_step import Step, settings_of, step
from tools.layer_bytes.pretended_gpu import pretend
from tools.layer_bytes.unpatched import unpatched
from tools.layer_bytes.variants import Way, shape_of_variant, variant

KEPT = Path(__file__).parents[2] / "sdk/advise/kept.json"
# Architectures without fused kernels, with the usual norms and a gated MLP, that stand for those that were not counted.
STANDING_FOR_OTHERS = {
    USUAL: "exaone",
    USUAL + EXPERTS: "ernie4_5_moe",
    USUAL + LATENT: "minicpm3",
    USUAL + EXPERTS + LATENT: "glm4_moe_lite",
}
TOKENS = (65_536, 98_304, 131_072)  # so many that what does not grow with them is lost in rounding
RANKS = (1, 4, 9)
ROWS = (1, 2, 4)  # in a pass
STEPS_DENSE, STEPS_SPARSE = 20, 28  # more than there are sizes
OFF = 0.03  # a sum is taken for true up to here, of the largest of all errors
SCENES = 300

Sums = dict[str, float]


class Run(NamedTuple):
    shape: ModelShape
    sizes: dict[str, float]
    tokens: int
    step: Step


class Solver:
    """Solves for the sums of some runs; sizes that others give already are left out."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs, self.off = runs, 0.0
        names = list(runs[0].sizes)
        matrix = numpy.array([[run.sizes[name] for name in names] for run in runs], dtype=float)
        even = matrix / numpy.maximum(abs(matrix).max(0), 1e-9)
        used: list[int] = []
        for column in range(len(names)):
            if numpy.linalg.matrix_rank(even[:, [*used, column]], tol=1e-6) > len(used):
                used.append(column)
        self._names, self._matrix = [names[column] for column in used], matrix[:, used]
        self._scale = abs(self._matrix).max(0)
        self._inverse = numpy.linalg.pinv(self._matrix / self._scale)

    def sums(self, pick: Callable[[Step], int]) -> Sums:
        values = numpy.array([pick(run.step) / run.tokens for run in self.runs])
        answer = self._inverse @ values / self._scale
        off = abs(self._matrix @ answer - values) / numpy.maximum(1, abs(values))
        self.off = max(self.off, float(off.max()))
        rounded = {name: round(float(value) * 8) / 8 for name, value in zip(self._names, answer, strict=True)}
        return {name: value for name, value in rounded.items() if value}


def gather(model_type: str, windowed: bool = False) -> dict[str, Any]:
    """Return the sums of an architecture, or why there are none. windowed: of its layers with a window."""
    draw = random.Random(7)  # noqa: S311 - sizes, no secrets
    plain: list[Run] = []
    recomputed: list[Run] = []
    way, by_rows = Way(own_head_size=True), False
    failed, tries, wanted = "", 0, STEPS_SPARSE
    # Some have heads as wide as hidden_size gives, or send each token to one expert, and fail with others.
    ways = [Way(size, choice, windowed) for choice in (True, False) for size in (True, False)]
    while len(plain) < wanted and tries < 3 * STEPS_SPARSE and (plain or tries < 3 * len(ways)):
        tokens, rank = draw.choice(TOKENS), draw.choice(RANKS)
        way = way if plain else ways[tries // 3]
        try:
            config = variant(model_type, draw, tokens, way)
            shape = shape_of_variant(config, model_type)
            rows = draw.choice(ROWS) if by_rows and _without_window(shape) else 1
            with unpatched(config):
                made = [step(config, settings_of(tokens, False, rank), rows)]
            with unpatched(config):
                made.append(_recomputed(config, settings_of(tokens, True, rank), rows) or made[0])
        except Exception as error:  # noqa: BLE001 - whatever a model of transformers does here is an answer
            failed = f"{type(error).__name__}: {error}"[:300]
        else:
            by_rows = made[0].by_rows
            sizes = sizes_of(shape, tokens // rows, rank, LayerKind(windowed=windowed), rows)
            plain.append(Run(shape, sizes, tokens, made[0]))
            recomputed.append(Run(shape, sizes, tokens, made[1]))
            wanted = STEPS_SPARSE if shape.num_experts else STEPS_DENSE
        tries += 1
    if len(plain) < wanted:
        return {"failed": failed}
    once, again = Solver(plain), Solver(recomputed)
    times = Solver(plain), Solver(recomputed)  # how far off these are does not matter
    found = {
        "model_type": plain[0].shape.model_type,  # Emu3's is that of its part for text
        "differ": _without_window(plain[0].shape),
        "kept": once.sums(lambda made: made.kept),
        "input": again.sums(lambda made: made.kept),
        "outside": [solver.sums(lambda made: made.outside) for solver in (once, again)],
        "head": [solver.sums(lambda made: made.head) for solver in (once, again)],
        "tail": [solver.sums(lambda made: made.tail) for solver in (once, again)],
        "back": _peaks(plain, draw),
        "again": _peaks(recomputed, draw),
        "moved": [
            times[0].sums(lambda made: made.moved[0]),
            times[0].sums(lambda made: made.moved[1]),
            times[1].sums(lambda made: made.moved[1]),
        ],
        "launches": [*plain[0].step.launches, recomputed[0].step.launches[1]],
    }
    most = max(once.off, again.off)
    return found if most <= OFF else {"failed": f"its bytes are no sum of its sizes: {most:.1%} off"}


def _without_window(shape: ModelShape) -> bool:
    """Tell whether this has layers without a window that differ from those with one, not only in it."""
    return any(layer.group.startswith(WITHOUT_WINDOW) for layer in linear_layers(shape))


def _recomputed(config: Any, settings: TrainSettings, rows: int) -> Step | None:
    """Return the step of recomputed layers; None where transformers cannot recompute this model's."""
    try:
        return step(config, settings, rows)
    except ValueError as error:
        if "checkpointing" not in str(error):
            raise
        return None


def _peaks(runs: Sequence[Run], draw: random.Random) -> list[Any]:
    """Return the moments of a layer's backward pass that are the largest for some sizes, [sums, group of a matrix]."""
    # Where sizes divide each other, a copy may be left out; the sequence of operations that most runs have counts.
    names = Counter(tuple(run.step.names) for run in runs).most_common(1)[0][0]
    alike = [run for run in runs if tuple(run.step.names) == names]
    solver = Solver(alike)
    moments = []
    for place in range(len(alike[0].step.names)):
        sums = solver.sums(lambda made, place=place: made.back[place][0])  # type: ignore[misc]
        moments.append((sums, _group(alike, [run.step.back[place][1] for run in alike])))
    scenes = [run.sizes for run in alike]
    for _ in range(SCENES):
        base = draw.choice(scenes)
        scenes.append({name: size * (name == "one" or draw.choice([0.3, 0.5, 1, 2, 3])) for name, size in base.items()})
    kept: dict[int, tuple[Sums, str]] = {}
    for group in {group for _, group in moments}:
        some = [place for place, moment in enumerate(moments) if moment[1] == group]
        for scene in scenes:
            sizes = [sum(count * scene[name] for name, count in moments[place][0].items()) for place in some]
            largest = some[sizes.index(max(sizes))]
            kept[largest] = moments[largest]
    chosen = list(kept.values())
    return [list(one) for one in chosen if not any(other is not one and _exceeds(other, one) for other in chosen)]


def _exceeds(other: tuple[Sums, str], one: tuple[Sums, str]) -> bool:
    """Tell whether another moment is as large in everything, with the same matrix or one where this has none."""
    names = {*one[0], *other[0]}
    larger = all(other[0].get(name, 0) >= one[0].get(name, 0) for name in names)
    return larger and (other[1] == one[1] or not one[1])


def _group(runs: Sequence[Run], numbers: Sequence[int]) -> str:
    """Return the group of the linear layers whose matrix has so many elements in each run; "" for none."""
    if not numbers[0]:
        return ""
    for group in dict.fromkeys(layer.group for layer in linear_layers(runs[0].shape)):
        if all(
            any(layer.inputs * layer.outputs == number for layer in linear_layers(run.shape) if layer.group == group)
            for run, number in zip(runs, numbers, strict=True)
        ):
            return group
    return "largest"


def off(model_type: str, seed: int, **adapter: Any) -> float:
    """Return how far the sums of kept.json are off for sizes that they were not solved from, as a share.

    adapter: settings of another kind than LoRA, of which what a layer keeps is compared.
    """
    read = json.loads(KEPT.read_text(encoding="utf-8"))
    sums = read[read[model_type]] if isinstance(read[model_type], str) else read[model_type]
    config = variant(model_type, random.Random(seed), TOKENS[0], Way(own_head_size=False))  # noqa: S311
    shape = shape_of_variant(config, model_type)
    worst = 0.0
    for recompute, kept, peaks in ((False, "kept", "back"), (True, "input", "again")):
        given = settings_of(TOKENS[0], recompute, RANKS[1], **adapter)
        sizes = sizes_of(shape, TOKENS[0], rank_of(given))
        with unpatched(config):
            made = step(config, given)
        more = 0 if recompute else 2 * kept_more(shape, given, TOKENS[0], gpu=True)
        pairs = [(made.kept, total(sums[kept], sizes) + more)]
        if not adapter:
            pairs.append((max(at for at, _ in made.back), max(total(peak, sizes) for peak, _ in sums[peaks])))
        worst = max(worst, *(abs(summed * TOKENS[0] / real - 1) for real, summed in pairs))
    return worst


def write(found: dict[str, Any]) -> None:
    """Write one line for each architecture; one whose sums another has already names that."""
    names: dict[str, str] = {}
    lines = []
    for model_type in sorted(found):
        line = json.dumps(found[model_type], separators=(",", ":"))
        lines.append(f"{json.dumps(model_type)}:{json.dumps(names[line]) if line in names else line}")
        names.setdefault(line, model_type)
    KEPT.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("types", nargs="*")
    asked = parser.parse_args()
    if not importlib.util.find_spec("liger_kernel"):
        sys.exit("liger-kernel is not there, and without it other tensors are kept.")
    pretend()
    read = json.loads(KEPT.read_text(encoding="utf-8")) if asked.types else {}
    found = {name: read[sums] if isinstance(sums, str) else sums for name, sums in read.items()}
    in_catalogue = {shape.model_type for shape in models()}
    counted = set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) - UNCOUNTED
    every = sorted(counted, key=lambda name: (name not in in_catalogue, name))
    for name in asked.types or every:
        began = time.monotonic()
        made = gather(name)
        print(f"{time.monotonic() - began:4.0f} s {name}: {made.get('failed') or made['kept']}", flush=True)
        known, differ = made.pop("model_type", name), made.pop("differ", False)
        found.pop(known, None)
        if "failed" not in made:
            found[known] = made
        if differ:
            made = gather(name, windowed=True)
            print(
                f"{time.monotonic() - began:4.0f} s {name}{WINDOWED}: {made.get('failed') or made['kept']}", flush=True
            )
            if "failed" not in made:
                found[known + WINDOWED] = {
                    key: sums for key, sums in made.items() if key not in ("model_type", "differ")
                }
        write({**found, **{name: found[one] for name, one in STANDING_FOR_OTHERS.items() if one in found}})


if __name__ == "__main__":
    main()
