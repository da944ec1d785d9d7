"""Speed and memory of training beside its peers, on one GPU, each case in a process of its own.

    python tests/benchmarks/training.py                            every case of the standard list
    python tests/benchmarks/training.py ours-4bit unsloth-4bit     these
    python tests/benchmarks/training.py --adapters                 LoRA, DoRA, AdaLoRA …, in the engine and by PEFT
    python tests/benchmarks/training.py --list                     what there is

Models have the shapes of Llama 3 and random weights: speed and memory do not depend on the values. Rows are synthetic,
of log-normal length (median 270 tokens, cap 2,048), their tokens Zipf-distributed. A case is void unless every adapter
matrix moved and no frozen byte changed; --parity compares 200 losses with plain PEFT on the same batches.
Writes a table to the terminal, and training.json, training.md and training.png to --out.
"""

from __future__ import annotations

import argparse
import gc
import importlib.metadata
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")
os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

MEDIAN, SIGMA, CAP = 270, 0.8, 2048
SHAPES: dict[str, dict[str, int]] = {
    "tiny": {"hidden": 256, "inner": 512, "layers": 2, "heads": 4, "kv": 2, "vocab": 1024},
    "wide": {"hidden": 4096, "inner": 14336, "layers": 2, "heads": 32, "kv": 8, "vocab": 32000},
    "1b": {"hidden": 2048, "inner": 8192, "layers": 16, "heads": 32, "kv": 8, "vocab": 128256},
    "8b": {"hidden": 4096, "inner": 14336, "layers": 32, "heads": 32, "kv": 8, "vocab": 128256},
    "70b": {"hidden": 8192, "inner": 28672, "layers": 80, "heads": 64, "kv": 8, "vocab": 128256},
}


@dataclass(frozen=True)
class Case:
    engine: str = "ours"
    method: str = "qlora-4bit"
    shape: str = "8b"
    batch: int = 8
    length: int = 2048
    checkpointing: bool = False
    layers: int | None = None  # how many recompute
    offload: bool = False  # what is kept between layers, to the host
    host_embeddings: bool = False
    packing: bool = True
    steps: tuple[int, int] = (5, 10)  # before the clock starts, and timed
    gpus: int = 1
    adapter: str = "lora"  # or dora, rslora, or a peft_type


CASES: dict[str, Case] = {
    "tutorial-4bit": Case("tutorial", checkpointing=True, packing=False, steps=(2, 6)),
    "trl-4bit": Case("trl", checkpointing=True, packing=False, steps=(2, 6)),
    "trl-tuned-4bit": Case("trl-tuned", steps=(2, 4)),
    "unsloth-4bit": Case("unsloth", steps=(8, 10)),
    "unsloth-4bit-8k": Case("unsloth", batch=4, steps=(8, 10)),
    "unsloth-4bit-checkpointed": Case("unsloth", checkpointing=True, steps=(8, 10)),
    "ours-4bit": Case(),
    "ours-4bit-4x4096": Case(batch=4, length=4096),
    "ours-4bit-half-checkpointed": Case(checkpointing=True, layers=16),
    "ours-4bit-checkpointed": Case(checkpointing=True),
    "ours-4bit-memory-first": Case(batch=2, checkpointing=True, host_embeddings=True),
    "ours-4bit-memory-first-offload": Case(batch=4, checkpointing=True, host_embeddings=True, offload=True),
    "ours-16bit": Case(method="lora"),
    "ours-16bit-8k": Case(method="lora", batch=4),
    "ours-4bit-8k": Case(batch=4),
    "ours-16bit-checkpointed": Case(method="lora", checkpointing=True),
    "ours-8bit": Case(method="qlora-8bit"),
    "ours-8bit-8k": Case(method="qlora-8bit", batch=4),
    "ours-8bit-checkpointed": Case(method="qlora-8bit", batch=4, checkpointing=True),
    "ours-fp8": Case(method="lora-fp8"),
    "ours-fp8-8k": Case(method="lora-fp8", batch=4),
    "ours-70b-512": Case(shape="70b", batch=1, length=512, checkpointing=True, host_embeddings=True),
    "ours-70b-8k": Case(shape="70b", batch=4, checkpointing=True, host_embeddings=True, offload=True, steps=(2, 4)),
    "ours-4bit-2gpus": Case(gpus=2),
    "ours-4bit-8gpus": Case(gpus=8),
    "ours-1b-16bit": Case(shape="1b", method="lora"),
    "ours-1b-8bit": Case(shape="1b", method="qlora-8bit"),
    "ours-1b-4bit": Case(shape="1b"),
    "ours-1b-fp8": Case(shape="1b", method="lora-fp8"),
}


# Kinds of adapter, beside LoRA and beside PEFT's own layers under the same attention, norms and loss.
ADAPTERS = {
    f"{engine}-{method}-{adapter}": Case(engine, method, "1b", batch=4, length=1024, adapter=adapter)
    for method in ("lora", "qlora-4bit")
    for engine, adapters in {
        "ours": ("lora", "rslora", "dora", "adalora", "prompt_tuning", "prefix_tuning", "p_tuning"),
        "pefts-layers": ("lora", "dora", "adalora"),
    }.items()
    for adapter in adapters
}
ADAPTERS["ours-qlora-8bit-rslora"] = Case("ours", "qlora-8bit", "1b", batch=4, length=1024, adapter="rslora")
CASES |= ADAPTERS

# AdaLoRA has a penalty in its loss, which plain PEFT adds only to a loss of the model's own.
PARITY = ("ours-16bit", "ours-4bit", "ours-8bit", "ours-fp8", "ours-lora-dora", "ours-qlora-4bit-dora")


@dataclass
class Measured:
    name: str
    case: Case
    tokens_per_second: float = 0.0
    tokens_per_step: float = 0.0
    peak_gib: float = 0.0
    reserved_gib: float = 0.0
    base_gib: float = 0.0
    losses: list[float] = field(default_factory=list)
    valid: bool = False
    error: str = ""


# The model and the rows


def build(case: Case, seed: int = 0) -> Any:
    """A causal LM of the case's shape, its weights drawn layer by layer so that no copy in 16 bits is ever whole."""
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig
    from transformers.quantizers import AutoHfQuantizer

    shape, gpu = SHAPES[case.shape], torch.device("cuda" if torch.cuda.is_available() else "cpu")
    config = LlamaConfig(
        hidden_size=shape["hidden"],
        intermediate_size=shape["inner"],
        num_hidden_layers=shape["layers"],
        num_attention_heads=shape["heads"],
        num_key_value_heads=shape["kv"],
        vocab_size=shape["vocab"],
        max_position_embeddings=8192,
        rope_theta=500000.0,
        tie_word_embeddings=case.shape == "1b",
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    draw = torch.Generator(gpu).manual_seed(seed)
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, torch.nn.Linear) and name != "lm_head":
                setattr(parent, name, _linear(child, case.method, gpu, draw))
            elif isinstance(child, torch.nn.Embedding | torch.nn.Linear):
                child.weight = torch.nn.Parameter(_normal(child.weight.shape, gpu, draw))
            elif child.__class__.__name__.endswith("RMSNorm"):
                child.weight = torch.nn.Parameter(torch.ones(child.weight.shape, dtype=torch.bfloat16, device=gpu))
            elif child.__class__.__name__.endswith("RotaryEmbedding"):
                setattr(parent, name, type(child)(config).to(gpu))
    model.tie_weights()
    if case.method in ("qlora-4bit", "qlora-8bit"):
        bits = {f"load_in_{case.method[6]}bit": True}
        model.hf_quantizer = AutoHfQuantizer.from_config(BitsAndBytesConfig(**bits))
        model.is_quantized = True
        setattr(model, f"is_loaded_in_{case.method[6]}bit", True)
    model.hf_device_map = {"": f"cuda:{torch.cuda.current_device()}" if gpu.type == "cuda" else "cpu"}
    return model.requires_grad_(False)


def _normal(shape: Any, device: Any, draw: Any) -> Any:
    import torch

    return torch.empty(shape, dtype=torch.bfloat16, device=device).normal_(0, 0.02, generator=draw)


def _linear(layer: Any, method: str, device: Any, draw: Any) -> Any:
    import torch
    from bitsandbytes.nn import Int8Params, Linear4bit, Linear8bitLt, Params4bit

    from sdk.train.engine.fp8 import Fp8Linear

    inputs, outputs = layer.in_features, layer.out_features
    weight = _normal((outputs, inputs), device, draw)
    if method == "qlora-4bit":
        made: Any = Linear4bit(
            inputs, outputs, bias=False, compute_dtype=torch.bfloat16, quant_type="nf4", device="meta"
        )
        made.weight = Params4bit(weight, requires_grad=False, compress_statistics=True, quant_type="nf4", module=made)
        made.weight = made.weight.to(device) if weight.is_cuda else made.weight._quantize(device)
        return made
    if method == "qlora-8bit":
        made = Linear8bitLt(inputs, outputs, bias=False, has_fp16_weights=False, threshold=6.0, device="meta")
        made.weight = Int8Params(weight.half(), requires_grad=False, has_fp16_weights=False)._quantize(device)
        return made
    made = torch.nn.Linear(inputs, outputs, bias=False, device="meta")
    made.weight = torch.nn.Parameter(weight, requires_grad=False)
    return Fp8Linear(made) if method == "lora-fp8" else made


def synthetic(count: int, case: Case, seed: int = 1) -> list[Any]:
    from sdk.model import Encoded

    draw = random.Random(seed)
    vocabulary = range(3, SHAPES[case.shape]["vocab"])
    weights = [0.0]
    for rank in range(1, len(vocabulary) + 1):
        weights.append(weights[-1] + 1 / rank)
    cumulative = weights[1:]
    rows = []
    for _ in range(count):
        length = max(8, min(CAP, case.length, round(draw.lognormvariate(math.log(MEDIAN), SIGMA))))
        rows.append(Encoded(draw.choices(vocabulary, cum_weights=cumulative, k=length), [True] * length))
    return rows


# The engines: each yields (tokens, loss) after every optimizer step


Steps = Iterator[tuple[int, float]]


def _settings(case: Case, steps: int) -> Any:
    from sdk.records import TrainSettings

    return TrainSettings(
        method=case.method,
        lora_r=16,
        lora_alpha=32,
        lora_dropout=0.0,
        learning_rate=2e-4,
        lr_scheduler_type="constant",
        warmup_ratio=0.0,
        num_train_epochs=1,
        max_steps=steps,
        per_device_train_batch_size=case.batch,
        gradient_accumulation_steps=1,
        packing=case.packing,
        gradient_checkpointing=case.checkpointing,
        checkpointed_layers=case.layers,
        activation_offloading=case.offload,
        offload_embeddings=case.host_embeddings,
        max_length=case.length,
        gpus=case.gpus,
        use_dora=case.adapter == "dora",
        use_rslora=case.adapter == "rslora",
        peft_type="lora" if case.adapter in ("dora", "rslora") else case.adapter,
    )


def _stepwise(trainer: Any, tokens: Sequence[int], report: Callable[[int, float], None]) -> None:
    """Run a transformers Trainer and report its steps as it logs them, which is when the GPU has done them."""
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        reported = 0

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            if logs and "loss" in logs:
                done = tokens[self.reported : state.global_step]
                self.reported = state.global_step
                report(sum(done), float(logs["loss"]))

    trainer.add_callback(Clock())
    trainer.train()


def ours(case: Case, model: Any, steps: int, report: Callable[[int, float], None], start: Path | None = None) -> Any:
    from datasets import Dataset
    from transformers import set_seed

    from sdk.advise.adapters import running
    from sdk.model.adapter import adapter_weights
    from sdk.records import PROMPTS
    from sdk.train.batching import micro_batches
    from sdk.train.checkpoints import Checkpoints
    from sdk.train.engine import use_row_attention
    from sdk.train.methods import peft_config
    from sdk.train.peak_memory import PeakMemory
    from sdk.train.session import Session
    from sdk.train.trainer import Collator, Trainer

    settings, folder = running(_settings(case, steps)), Path(tempfile.mkdtemp())
    rows = synthetic(4 * steps * case.batch * case.gpus * max(1, case.length // 512), case)
    set_seed(0)
    by_rows = settings.peft_type not in PROMPTS and use_row_attention(model)
    lengths = [len(row.input_ids) for row in rows]
    batches = micro_batches(lengths, settings)
    passes = [sum(lengths[row] for row in batch) for batch in batches]
    together = settings.gradient_accumulation_steps * case.gpus
    trainer = Trainer(
        settings,
        Session(folder, Checkpoints(folder, "none"), None, PeakMemory(), time.monotonic()),
        model=model,
        processing_class=_tokenizer(),
        train_dataset=Dataset.from_dict({"input_ids": [*batches]}),
        data_collator=Collator(rows, by_rows),
        peft_config=peft_config(model, settings, steps),
    )
    if start is not None:
        start.write_bytes(adapter_weights(trainer.model))
    _add_ranks(trainer, settings)
    _stepwise(trainer, [sum(passes[at : at + together]) for at in range(0, len(passes), together)], report)
    return trainer.model


def _add_ranks(trainer: Any, settings: Any) -> None:
    from sdk.train.ranks import Ranks

    if settings.peft_type == "adalora":
        trainer.add_callback(Ranks(trainer.model))


def pefts_layers(case: Case, model: Any, steps: int, report: Callable[[int, float], None]) -> Any:
    """The engine without its adapters: its attention, its loss and Liger's kernels around PEFT's own layers."""
    from sdk.train.engine import install

    install.fuse_lora = lambda base: (0, lambda: None)
    install.regularize_at_once = install.score_at_once = lambda part: None
    return ours(case, model, steps, report)


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    tokens = {"<pad>": 0, "<s>": 1, "</s>": 2}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(tokens, unk_token="<pad>")), pad_token="<pad>", eos_token="</s>"
    )


def plain(case: Case, model: Any, steps: int, report: Callable[[int, float], None], start: Path | None = None) -> Any:
    """The reference: PEFT's layers, torch's attention, the same rows padded, AdamW; no trl, no engine."""
    import torch
    from peft import get_peft_model
    from transformers import set_seed

    from sdk.model.adapter import set_adapter_weights
    from sdk.train.batching import micro_batches
    from sdk.train.methods import peft_config

    settings = _settings(case, steps)
    rows = synthetic(4 * steps * case.batch * max(1, case.length // 512), case)
    batches = micro_batches([len(row.input_ids) for row in rows], settings)
    set_seed(0)
    adapted: Any = get_peft_model(model, peft_config(model, settings, steps))
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    if start is not None:
        set_adapter_weights(adapted, start.read_bytes())
    adapted.train()
    if case.checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    trained = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=2e-4, weight_decay=0.0, fused=True)
    device = trained[0].device
    for batch in batches:
        count = sum(len(rows[row].input_ids) - 1 for row in batch)
        total = 0.0
        # In parts, because the logits of all tokens would not fit.
        parts = [batch[place : place + 4] for place in range(0, len(batch), 4)]
        for part in parts:
            width = max(len(rows[row].input_ids) for row in part)
            ids = torch.tensor([rows[row].input_ids + [0] * (width - len(rows[row].input_ids)) for row in part])
            mask = torch.tensor([[1] * len(rows[r].input_ids) + [0] * (width - len(rows[r].input_ids)) for r in part])
            labels = ids.masked_fill(mask == 0, -100)
            with torch.autocast(device.type, dtype=torch.bfloat16):
                logits = adapted(input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False).logits
            loss = torch.nn.functional.cross_entropy(
                logits[:, :-1].reshape(-1, logits.shape[-1]).float(),
                labels[:, 1:].reshape(-1).to(device),
                reduction="sum",
            )
            (loss / count).backward()
            total += float(loss.detach()) / count
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        report(sum(len(rows[row].input_ids) for row in batch), total)
    return adapted


def _sft_config(case: Case, steps: int, **options: Any) -> Any:
    import torch
    from trl import SFTConfig

    return SFTConfig(
        output_dir=tempfile.mkdtemp(),
        report_to="none",
        disable_tqdm=True,
        logging_steps=1,
        save_strategy="no",
        max_steps=steps,
        per_device_train_batch_size=case.batch,
        gradient_accumulation_steps=1,
        learning_rate=2e-4,
        lr_scheduler_type="constant",
        bf16=torch.cuda.is_available(),
        use_cpu=not torch.cuda.is_available(),
        max_length=case.length,
        packing=case.packing,
        **options,
    )


def _trl(case: Case, model: Any, steps: int, report: Callable[[int, float], None], **options: Any) -> Any:
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import set_seed
    from trl import SFTTrainer

    rows = synthetic(4 * steps * case.batch * max(1, case.length // 512), case)
    set_seed(0)
    prepare = options.pop("prepare", False)
    if prepare:
        from peft import prepare_model_for_kbit_training

        model = prepare_model_for_kbit_training(model)
    trainer = SFTTrainer(
        model=model,
        args=_sft_config(case, steps, **options),
        processing_class=_tokenizer(),
        train_dataset=Dataset.from_dict({"input_ids": [row.input_ids for row in rows]}),
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    return _counted(trainer, report)


def _counted(trainer: Any, report: Callable[[int, float], None]) -> Any:
    """Train, counting the tokens of the rows that each step is given; the model."""
    tokens: list[int] = []
    collate = trainer.data_collator

    def counting(items: Any) -> Any:
        tokens.append(sum(len(item["input_ids"]) for item in items))
        return collate(items)

    trainer.data_collator = counting
    _stepwise(trainer, tokens, report)
    return trainer.model


def tutorial(case: Case, model: Any, steps: int, report: Callable[[int, float], None]) -> Any:
    return _trl(case, model, steps, report, prepare=True, optim="paged_adamw_8bit")


def trl(case: Case, model: Any, steps: int, report: Callable[[int, float], None]) -> Any:
    return _trl(case, model, steps, report)


def unsloth(case: Case, model: Any, steps: int, report: Callable[[int, float], None]) -> Any:
    """`model` is Unsloth's own, with its adapter; its packing, and its checkpointing where the case asks for some."""
    from datasets import Dataset
    from trl import SFTTrainer

    rows = synthetic(4 * steps * case.batch * max(1, case.length // 512), case)
    trainer = SFTTrainer(
        model=model,
        processing_class=_tokenizer(),
        train_dataset=Dataset.from_dict({"input_ids": [row.input_ids for row in rows]}),
        args=_sft_config(case, steps),
    )
    return _counted(trainer, report)


def unsloth_model(case: Case) -> Any:
    """Unsloth loads from a folder only; UNSLOTH_BASE names one (--save writes it)."""
    from unsloth import FastLanguageModel  # first: it changes what is imported after it

    folder = os.environ["UNSLOTH_BASE"]
    model, _ = FastLanguageModel.from_pretrained(folder, max_seq_length=case.length, load_in_4bit=True)
    return FastLanguageModel.get_peft_model(
        model,
        r=16,
        lora_alpha=32,
        lora_dropout=0,
        bias="none",
        target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
        use_gradient_checkpointing="unsloth" if case.checkpointing else False,
        random_state=0,
    )


def trl_tuned(case: Case, model: Any, steps: int, report: Callable[[int, float], None]) -> Any:
    return _trl(case, model, steps, report, activation_checkpointing=case.checkpointing, use_liger_kernel=True)


ENGINES: dict[str, Callable[..., Any]] = {
    "ours": ours,
    "pefts-layers": pefts_layers,
    "plain": plain,
    "tutorial": tutorial,
    "trl": trl,
    "trl-tuned": trl_tuned,
    "unsloth": unsloth,
}


# One case


def checksum(model: Any) -> dict[str, int]:
    """A sum over every frozen tensor's bytes that a changed byte changes."""
    import torch

    sums = {}
    for name, value in model.state_dict().items():
        if isinstance(value, torch.Tensor) and "lora_" not in name:
            data = value.detach().contiguous().reshape(-1).view(torch.uint8)
            parts = data.split(2**28)
            sums[f"{name} {value.dtype}"] = sum(
                int(part.to(torch.int64).sum()) * (place + 1) for place, part in enumerate(parts)
            )
    return sums


def measure(name: str, case: Case, start: Path | None = None) -> Measured:
    result = Measured(name, case)
    warmup, timed = case.steps
    if case.gpus > 1:
        from sdk.train import process_group

        process_group.join()
    model = unsloth_model(case) if case.engine == "unsloth" else build(case)
    import torch

    gib = 2**30
    cuda = torch.cuda.is_available()
    before = {name.replace(".base_layer", ""): value for name, value in checksum(model).items()}
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        result.base_gib = torch.cuda.memory_allocated() / gib
    marks: list[tuple[float, int]] = []

    def report(tokens: int, loss: float) -> None:
        marks.append((time.perf_counter(), tokens))
        result.losses.append(loss)

    extra = {} if start is None else {"start": start}
    adapted = ENGINES[case.engine](case, model, warmup + timed, report, **extra)
    counted = marks[warmup:]
    seconds = counted[-1][0] - marks[warmup - 1][0]
    result.tokens_per_second = sum(tokens for _, tokens in counted) / seconds
    result.tokens_per_step = sum(tokens for _, tokens in counted) / timed
    if cuda:
        result.peak_gib = torch.cuda.max_memory_allocated() / gib
        result.reserved_gib = torch.cuda.max_memory_reserved() / gib
    matrices = [value for key, value in adapted.named_parameters() if value.requires_grad and "lora_E" not in key]
    after = {
        key.replace("base_model.model.", "").replace(".base_layer", ""): value
        for key, value in checksum(adapted).items()
    }
    # The tutorial recipe widens norms and embeddings to float32, which changes their type and no value.
    unchanged = all(after.get(key, value) == value for key, value in before.items())
    moved = all(float(value.detach().abs().sum()) > 0 for value in matrices)
    result.valid = unchanged and moved and all(math.isfinite(loss) for loss in result.losses)
    result.error = "" if result.valid else f"unchanged base: {unchanged}, all moved: {moved}"
    del adapted, model
    gc.collect()
    if case.gpus > 1:
        process_group.leave()
    return result


class Process:
    """A Python of its own that has imported everything and waits for its case."""

    def __init__(self, environment: dict[str, str] | None = None, warm: bool = True, gpus: int = 1) -> None:
        command = [sys.executable, __file__, "--wait" if warm else "--wait-cold"]
        if gpus > 1:
            torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(gpus)]
            command = [sys.executable, *torchrun, __file__, "--wait-cold"]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def run(self, name: str, case: Case, start: Path | None = None) -> Measured:
        out, errors = self._process.communicate(_told(name, case, start) + "\n")
        for line in reversed(out.splitlines()):
            if line.startswith('{"measured"'):
                found = json.loads(line)["measured"]
                return Measured(**{**found, "case": _case(found["case"])})
        return Measured(name, case, error=" ".join(errors.strip().splitlines()[-4:])[-600:] or "no answer")


def _told(name: str, case: Case, start: Path | None) -> str:
    return json.dumps({"name": name, "case": asdict(case), "start": str(start) if start else ""})


def _case(given: dict[str, Any]) -> Case:
    return Case(**{**given, "steps": tuple(given["steps"])})


def _one(warm: bool) -> None:
    """The other end of Process."""
    if warm:
        import sdk.train  # noqa: F401
    # Several processes cannot share one standard input.
    given = json.loads(os.environ.get("BENCHMARK_CASE") or sys.stdin.readline())
    start = Path(given["start"]) if given["start"] else None
    result = measure(given["name"], _case(given["case"]), start)
    if os.environ.get("RANK", "0") == "0":
        print(json.dumps({"measured": asdict(result)}))


def measure_all(jobs: Sequence[tuple[str, Case, Path | None]], seconds: float) -> Iterator[Measured]:
    """One after the other; while one runs, the next has its imports done."""
    began = time.monotonic()
    following: Process | None = None
    for place, (name, case, start) in enumerate(jobs):
        if time.monotonic() - began > seconds:
            return
        environment = dict(os.environ)
        if case.gpus > 1:
            environment["BENCHMARK_CASE"] = _told(name, case, start)
            yield Process(environment, gpus=case.gpus).run(name, case, start)
            continue
        if case.engine == "unsloth":
            if not {"UNSLOTH_PATH", "UNSLOTH_BASE"} <= environment.keys():
                yield Measured(name, case, error="UNSLOTH_PATH (its packages) and UNSLOTH_BASE (a model) are not set")
                continue
            environment["PYTHONPATH"] = environment["UNSLOTH_PATH"]
            yield Process(environment, warm=False).run(name, case, start)
            continue
        current, following = following or Process(), None
        if any(later.engine != "unsloth" and later.gpus == 1 for _, later, _ in jobs[place + 1 :]):
            following = Process()
        yield current.run(name, case, start)


def parity_jobs(names: Sequence[str], steps: int, folder: Path) -> list[tuple[str, Case, Path | None]]:
    """The same batches through the engine and plain PEFT, from the same adapter; the fp8 base is held to 16 bits."""
    jobs: list[tuple[str, Case, Path | None]] = []
    for name in names:
        case = replace(CASES[name], batch=1, length=1024, checkpointing=False, steps=(1, steps - 1))
        kind = case.method if case.adapter == "lora" else f"{case.method}-{case.adapter}"
        start = folder / f"start-{kind}.safetensors"
        jobs.append((f"parity-{kind}", case, start))
        method = "lora" if case.method == "lora-fp8" else case.method
        jobs.append((f"parity-{kind}-plain", replace(case, engine="plain", method=method), start))
    return jobs


def gaps(results: Sequence[Measured]) -> dict[str, float]:
    """Largest relative difference of the losses, each the mean of ten steps."""
    found, by_name = {}, {result.name: result for result in results}
    for name, mine in by_name.items():
        theirs = by_name.get(f"{name}-plain")
        if theirs is not None:
            at = range(0, min(len(mine.losses), len(theirs.losses)) - 9, 10)
            found[name] = max(
                (abs(sum(mine.losses[i : i + 10]) / sum(theirs.losses[i : i + 10]) - 1) for i in at), default=math.nan
            )
    return found


def _line(result: Measured) -> str:
    case = result.case
    return (
        f"{result.name:<34} {result.tokens_per_second:>8,.0f} tok/s  {result.peak_gib:>6.1f} GiB peak  "
        f"{result.reserved_gib:>6.1f} reserved  {result.base_gib:>5.1f} base  {result.tokens_per_step:>7,.0f} tok/step "
        f"{case.batch}x{case.length}  {'valid' if result.valid else 'VOID ' + result.error[-300:]}"
    )


def machine() -> dict[str, str]:
    import torch

    names = ("torch", "transformers", "trl", "peft", "bitsandbytes", "liger-kernel", "triton", "unsloth")
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "CPU"
    return {"device": gpu, "date": time.strftime("%Y-%m-%d"), "python": sys.version.split()[0], **found}


def write(results: Sequence[Measured], out: Path) -> None:
    content = {"machine": machine(), "parity": gaps(results), "results": [asdict(result) for result in results]}
    (out / "training.json").write_text(json.dumps(content, indent=1))


def table(results: Sequence[Measured]) -> str:
    """Markdown, fastest first."""
    lines = ["| case | rows | tokens/s | peak GiB | reserved GiB | valid |", "|---|---|---|---|---|---|"]
    for result in sorted(results, key=lambda result: -result.tokens_per_second):
        if not result.name.startswith("parity"):
            rows = f"{result.case.batch} x {result.case.length}"
            speed = f"{result.tokens_per_second:,.0f} | {result.peak_gib:.1f} | {result.reserved_gib:.1f}"
            lines.append(f"| {result.name} | {rows} | {speed} | {'yes' if result.valid else result.error} |")
    return "\n".join(lines) + "\n"


def draw(results: Sequence[Measured], path: Path) -> None:
    """Speed against peak memory of the 8B cases on one GPU."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 5.5), layout="constrained")
    shown = [
        result
        for result in results
        if result.case.shape == "8b"
        and result.case.gpus == 1
        and result.tokens_per_second
        and "parity" not in result.name
        and "beside" not in result.name
    ]
    for result in shown:
        ours_ = result.case.engine == "ours"
        axes.scatter(result.peak_gib, result.tokens_per_second, color="C0" if ours_ else "C1", zorder=2)
        offset = (4, -9) if "4096" in result.name or "16bit-ch" in result.name else (4, 4)  # would cover another's
        axes.annotate(
            result.name, (result.peak_gib, result.tokens_per_second), offset, textcoords="offset points", fontsize=7
        )
    axes.set(xlabel="peak memory, GiB", ylabel="tokens/s", ylim=(0, None), xlim=(0, 110))
    axes.grid(alpha=0.3, zorder=0)
    figure.suptitle("Training an adapter on the Llama-3.1-8B shape, one NVIDIA H200 (orange: peers)", fontsize=10)
    figure.savefig(path, dpi=130)


def read(path: Path) -> list[Measured]:
    found = json.loads(path.read_text())["results"]
    return [Measured(**{**each, "case": _case(each["case"])}) for each in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--adapters", action="store_true", help="the cases of kinds of adapter")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--wait", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--wait-cold", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--parity", action="store_true", help="compare losses with plain PEFT instead of timing")
    parser.add_argument("--steps", type=int, default=200, help="steps of --parity")
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin no case after so many seconds")
    parser.add_argument("--save", type=Path, help="write the 8B shape with a tokenizer to this folder and end")
    parser.add_argument("--draw", type=Path, help="make table and plot of this training.json again, and end")
    parser.add_argument("--out", type=Path, default=Path("training-results"))
    asked = parser.parse_args()
    if asked.list:
        print("\n".join(f"{name:<34} {case}" for name, case in CASES.items()))
        return
    if asked.wait or asked.wait_cold:
        _one(asked.wait)
        return
    if asked.draw:
        (asked.draw.with_suffix(".md")).write_text(table(read(asked.draw)))
        draw(read(asked.draw), asked.draw.with_suffix(".png"))
        return
    if asked.save:
        build(Case(method="lora")).save_pretrained(asked.save, max_shard_size="4GB")
        _tokenizer().save_pretrained(asked.save)
        return
    unknown = [name for name in asked.names if name not in CASES]
    if unknown:
        parser.error(f"no such case: {', '.join(unknown)}; --list shows them")
    asked.out.mkdir(parents=True, exist_ok=True)
    names = asked.names or list(ADAPTERS if asked.adapters else CASES)
    jobs: list[tuple[str, Case, Path | None]] = [(name, CASES[name], None) for name in names]
    if asked.parity:
        jobs = parity_jobs(asked.names or PARITY, asked.steps, asked.out)
    results: list[Measured] = []
    for result in measure_all(jobs, asked.seconds):
        results.append(result)
        print(_line(result), flush=True)
        write(results, asked.out)
    (asked.out / "training.md").write_text(table(results))
    draw(results, asked.out / "training.png")
    for name, gap in gaps(results).items():
        print(f"{name}: largest difference to plain PEFT {gap:.3%}")


if __name__ == "__main__":
    main()
