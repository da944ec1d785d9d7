"""Speed of greedy generation with an unmerged adapter, ours beside transformers' `generate`, in one process.

    python tests/benchmarks/generation.py --out FILE                       on a GPU: the 8B shape in 16, 4 and 8 bits
    python tests/benchmarks/generation.py --out FILE --base FOLDER --data FOLDER    and 500 PubMedQA questions
    python tests/benchmarks/generation.py --cpu                            the finance domain's questions, embedded base

The 8B shape has random weights: speed does not depend on the values, but its logits lie close together, so tokens part
sooner than a real model's. 256 prompts of 200 to 400 tokens, 64 new tokens each. `prefill` is a run that ends with the
first token, `decode` what the whole run takes longer for the other 63. BASE: a folder with SmolLM2-135M-Instruct; DATA:
pubmedqa_labeled.json and pubmedqa_test_ids.json. Writes JSON after each part; a table comes last.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import sdk.model.uncompiled  # noqa: F401 - before peft is imported

# isort: split
import torch
from peft import LoraConfig, get_peft_model
from transformers import GenerationConfig

from sdk.model.decoder import Task, decode
from sdk.model.generate import _answers

METHODS = {"16": "lora", "4": "qlora-4bit", "8": "qlora-8bit"}
MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
TARGETS = {
    "16": {"whole": 4500, "prefill": 30_000, "decode": 12_000, "one row": 120},
    "4": {"whole": 3500, "prefill": 30_000, "decode": 12_000, "one row": 150},
    "8": {"whole": 3500, "prefill": 30_000, "decode": 12_000},
}
BEGAN = time.monotonic()


def quiet(*_: Any) -> None:
    return


def synced() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.monotonic()


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    began = synced()
    value = run()
    return synced() - began, value


def adapted(method: str, shape: str) -> Any:
    from tests.benchmarks.training import Case, build

    model = get_peft_model(
        build(Case(method=method, shape=shape)), LoraConfig(r=16, lora_alpha=32, target_modules=MODULES)
    )
    draw = torch.Generator(model.device).manual_seed(1)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(0, 0.01, generator=draw)
    return model.requires_grad_(False).eval()


def prompts(count: int, vocabulary: int, lengths: tuple[int, int], seed: int = 0) -> list[list[int]]:
    draw = random.Random(seed)
    return [[draw.randrange(3, vocabulary) for _ in range(draw.randint(*lengths))] for _ in range(count)]


def plain(model: Any, asked: Sequence[Sequence[int]], new: int) -> list[list[int]]:
    settings = GenerationConfig(
        do_sample=False, max_new_tokens=new, min_new_tokens=new, eos_token_id=[2], pad_token_id=0
    )
    return _answers(model, settings, asked)


def ours(model: Any, asked: Sequence[list[int]], new: int) -> list[list[int]]:
    return [each.ids for each in decode(model, [Task(ids) for ids in asked], (), new, None, quiet)]


def parted(left: Sequence[list[int]], right: Sequence[list[int]]) -> dict[str, float]:
    """Compare tokens until a row parts: after that, all differs."""
    firsts = [
        next((place for place, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), None)
        for one, two in zip(left, right, strict=True)
    ]
    compared = sum(
        min(len(one), len(two)) if at is None else at + 1 for one, two, at in zip(left, right, firsts, strict=True)
    )
    flips = sum(at is not None for at in firsts)
    return {"rows": len(firsts), "parted": flips, "share_of_tokens": flips / compared}


def kernels(run: Callable[[], Any]) -> list[list[Any]]:
    """Return the kernels that take most of a run: name, calls, ms."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        run()
        torch.cuda.synchronize()
    averages = sorted(profiled.key_averages(), key=lambda each: -each.self_device_time_total)
    return [[each.key[:90], each.count, round(each.self_device_time_total / 1000, 2)] for each in averages[:16]]


def shaped(bits: str, arguments: argparse.Namespace, with_plain: bool) -> dict[str, Any]:
    seconds, model = timed(lambda: adapted(METHODS[bits], arguments.shape))
    vocabulary = model.config.vocab_size
    asked = prompts(arguments.rows, vocabulary, (200, 400))
    tokens, new = sum(map(len, asked)), arguments.new
    found: dict[str, Any] = {"build_s": seconds}
    ours(model, asked[:8], 4)
    reading, _ = timed(lambda: ours(model, asked, 1))
    half, _ = timed(lambda: ours(model, asked, new // 2))
    whole, answers = timed(lambda: ours(model, asked, new))
    one = asked[:1]
    ours(model, one, 24)
    first, _ = timed(lambda: ours(model, one, 1))
    alone_half, _ = timed(lambda: ours(model, one, new))
    alone, answer = timed(lambda: ours(model, one, 2 * new))
    found |= {
        "whole": len(asked) * new / whole,
        "prefill": tokens / reading,
        "decode": len(asked) * (new - 1) / (whole - reading),
        "one row": 2 * new / alone,
        "one row decode": (2 * new - 1) / (alone - first),
        "one row first_s": first,
        # What does not grow with the tokens, as the graph's recording, is in neither of these.
        "step_ms": 1000 * (whole - half) / (new - new // 2),
        "one row step_ms": 1000 * (alone - alone_half) / new,
        "seconds": {"prefill": reading, "half": half, "whole": whole, "one row half": alone_half, "one row": alone},
        "alone_as_in_batch": parted([answers[0]], [answer[0][:new]]),
    }
    if torch.cuda.is_available():
        found["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
        # What a longer run has more, is 16 passes of decoding.
        if arguments.profile:
            found["kernels"] = {
                "prefill of 48": kernels(lambda: ours(model, asked[:48], 1)),
                "48 passes of all rows": kernels(lambda: ours(model, asked, 49)),
                "48 passes of one row": kernels(lambda: ours(model, one, 49)),
            }
    if with_plain:
        plain(model, asked[:8], 2)
        took, theirs = timed(lambda: plain(model, asked, new))
        few, _ = timed(lambda: plain(model, one, 16))
        found["plain"] = {"whole": len(asked) * new / took, "one row": 16 / few}
        found["against_plain"] = parted(theirs, answers)
    return found


def products() -> dict[str, dict[int, float]]:
    """Time y = x W' of 4-bit weights (14336, 4096) by rows of x, µs: bitsandbytes' own, dequantized for it, dense."""
    from bitsandbytes import matmul_4bit
    from bitsandbytes.functional import quantize_4bit

    from tests.benchmarks.training import _normal

    weight = _normal((14_336, 4096), "cuda", torch.Generator("cuda"))
    small, state = quantize_4bit(weight, quant_type="nf4", compress_statistics=True)
    from bitsandbytes.functional import dequantize_4bit

    ways: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "bitsandbytes": lambda x: matmul_4bit(x, small, state),
        "dequantized": lambda x: x @ dequantize_4bit(small, state).t(),
        "dense": lambda x: x @ weight.t(),
    }
    found: dict[str, dict[int, float]] = {}
    for name, way in ways.items():
        for rows in (1, 2, 4, 8, 16, 32, 64, 256):
            x = _normal((rows, 4096), "cuda", torch.Generator("cuda"))
            for _ in range(3):
                way(x)
            took, _ = timed(lambda x=x, way=way: [way(x) for _ in range(30)])
            found.setdefault(name, {})[rows] = round(took / 30 * 1e6, 1)
    return found


def pubmedqa(base: str, data: Path, method: Any, with_plain: bool) -> dict[str, Any]:
    """500 questions, asked of a base and of an adapter that answers with more than the base's words."""
    from sdk.data import conversation, read_rows
    from sdk.evaluate import ask
    from sdk.model import Chat, encode_rows
    from sdk.model.generate import _by_transformers, _greedy
    from sdk.model.load import load_base
    from tests.benchmarks.accuracy import PROMPTS, rows

    prompt = PROMPTS["pubmedqa"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "questions.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows("pubmedqa", data)[1]))
        asked = read_rows(path).rows
    loading, (model, tokenizer) = timed(lambda: load_base(base, method))
    chat = Chat(tokenizer)
    encoding, encoded = timed(lambda: encode_rows(chat, asked, prompt, 2048))
    found: dict[str, Any] = {"load_s": loading, "encode_s": encoding}
    ask(model, chat, asked[:4], encoded[:4], prompt, 2, quiet)

    def both() -> Any:
        before = ask(model, chat, asked, encoded, prompt, 8, quiet)
        tuned = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules=MODULES))
        draw = torch.Generator(model.device).manual_seed(1)
        for name, weight in tuned.named_parameters():
            if "lora_B" in name:
                weight.data.normal_(0, 0.01, generator=draw)
        tuned = tuned.requires_grad_(False).eval()
        return before, ask(tuned, chat, asked, encoded, prompt, 8, quiet), tuned

    took, (_, _, tuned) = timed(both)
    found |= {"both_s": took, "questions": len(asked)}
    ids = [chat.prompt_ids(conversation(row, prompt)[:-1]) for row in asked]
    settings = _greedy(tuned, chat, 8)
    answers = [each.ids for each in decode(tuned, [Task(each) for each in ids], settings.eos_token_id, 8, None, quiet)]
    if with_plain:
        took, theirs = timed(lambda: _by_transformers(tuned, settings, ids, 32, quiet))
        found |= {"plain_adapted_s": took, "against_plain": parted(theirs, answers)}
    return found


def demo(steps: int) -> dict[str, Any]:
    """Ask the finance domain's questions as the demo's evaluation does, in turns: as it was, and as it is."""
    from sdk.data import conversation, read_rows
    from sdk.domain import read_domain
    from sdk.evaluate.own_questions import _negative_log_likelihoods, ask
    from sdk.files.store import shipped
    from sdk.model import Chat, encode_rows
    from sdk.model.adapter import attach_adapter
    from sdk.model.generate import PLAIN_ROWS, _by_transformers, _greedy
    from sdk.model.load import load_base
    from sdk.seal import read_adapter
    from sdk.train import Job, train
    from tests.tiny import settings

    folder = shipped("domains") / "finance"
    domain = read_domain(folder)
    rows = read_rows(folder / "eval.jsonl").rows
    with tempfile.TemporaryDirectory() as made:
        chosen = settings(lora_r=8, lora_alpha=32, max_steps=steps, num_train_epochs=8, max_length=256)
        train(Job(folder / "train.jsonl", "embedded", domain.prompt, chosen, Path(made)), quiet)
        adapter = read_adapter(Path(made))
    model, tokenizer = load_base("embedded", "lora")
    chat = Chat(tokenizer)
    encoded = encode_rows(chat, rows, domain.prompt, 1024)

    def before(model: Any) -> tuple[list[list[int]], list[float]]:
        ids = [chat.prompt_ids(conversation(row, domain.prompt)[:-1]) for row in rows]
        answers = _by_transformers(model, _greedy(model, chat, domain.max_new_tokens), ids, PLAIN_ROWS, quiet)
        return answers, _negative_log_likelihoods(model, encoded, tokenizer.pad_token_id)

    def now(model: Any) -> Any:
        return ask(model, chat, rows, encoded, domain.prompt, domain.max_new_tokens, quiet)[0]

    found: dict[str, Any] = {"questions": len(rows), "threads": torch.get_num_threads()}
    for which in ("base", "adapted"):
        if which == "adapted":
            model = attach_adapter(model, *adapter)
        times: dict[str, list[float]] = {"before": [], "now": []}
        for _ in range(3):
            took, (tokens, losses) = timed(lambda model=model: before(model))
            times["before"].append(took)
            took, answered = timed(lambda model=model: now(model))
            times["now"].append(took)
        ids = [Task(chat.prompt_ids(conversation(row, domain.prompt)[:-1])) for row in rows]
        stops = _greedy(model, chat, 1).eos_token_id
        mine = [each.ids for each in decode(model, ids, stops, domain.max_new_tokens, None, quiet)]
        found[which] = {
            **{name: statistics.median(values) for name, values in times.items()},
            "tokens": sum(map(len, tokens)),
            "against_plain": parted(tokens, mine),
            "loss_off": max(abs(one - each.nll) for one, each in zip(losses, answered, strict=True)),
        }
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--steps", type=int, default=120, help="of training before --cpu")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--shape", default="8b")
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--new", type=int, default=64)
    parser.add_argument("--bits", nargs="*", default=["16", "4", "8"])
    parser.add_argument("--base")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--seconds", type=float, default=120, help="no part begins later; plain runs go first")
    arguments = parser.parse_args()
    results: dict[str, Any] = {}

    def note(name: str, value: Any) -> None:
        results[name] = value
        if arguments.out:
            arguments.out.write_text(json.dumps(results, indent=1))
        print(f"[{time.monotonic() - BEGAN:.0f} s] {name}: {json.dumps(value)}", flush=True)

    def part(name: str, run: Callable[[], Any]) -> None:
        if time.monotonic() - BEGAN > arguments.seconds:
            note(name, {"left_out": "no time"})
            return
        try:
            note(name, run())
        except Exception as error:  # noqa: BLE001 - the other parts go on
            import traceback

            note(name, {"failed": f"{type(error).__name__}: {error}"[:500], "where": traceback.format_exc()[-1500:]})
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    if arguments.cpu:
        part("demo", lambda: demo(arguments.steps))
        found = results["demo"]
        if "failed" not in found:
            old, new = (sum(found[which][name] for which in ("base", "adapted")) for name in ("before", "now"))
            print(f"demo's questions, both models: {old:.2f} s before, {new:.2f} s now, {old / new:.2f} times as fast")
        return "failed" in found
    for bits in arguments.bits:
        late = time.monotonic() - BEGAN > 0.7 * arguments.seconds
        part(f"{bits} bits", lambda bits=bits, late=late: shaped(bits, arguments, not late))
    if torch.cuda.is_available():
        part("4-bit products", products)
    if arguments.base and arguments.data:
        for method in ("lora", "qlora-8bit"):
            part(
                f"pubmedqa {method}",
                lambda method=method: pubmedqa(arguments.base, arguments.data, method, method == "lora"),
            )
    print(f"\n{'':10}{'whole':>9}{'prefill':>9}{'decode':>9}{'one row':>9}   tokens/s; target; plain generate")
    for bits in arguments.bits:
        found = results[f"{bits} bits"]
        columns = ("whole", "prefill", "decode", "one row")
        print(f"{bits + ' bits':10}" + "".join(f"{found.get(name, float('nan')):9,.0f}" for name in columns))
        print(f"{'  target':10}" + "".join(f"{TARGETS[bits].get(name, float('nan')):9,.0f}" for name in columns))
        print(
            f"{'  plain':10}" + "".join(f"{found.get('plain', {}).get(name, float('nan')):9,.0f}" for name in columns)
        )
    for name, found in results.items():
        if name.startswith("pubmedqa"):
            print(f"{name}: {found.get('both_s', float('nan')):.1f} s for both models; target 8")
    return any("failed" in found for found in results.values() if isinstance(found, dict))


if __name__ == "__main__":
    sys.exit(main())
