"""Records of one adaptation, as the registry's tests need them."""

from __future__ import annotations

import math
from pathlib import Path

from sdk.files.store import folder_refs
from sdk.records import (
    Advice,
    Decision,
    ExpectedAccuracy,
    FileRef,
    Hardware,
    Interval,
    LossPoint,
    Memory,
    Metrics,
    ModelShape,
    Needs,
    Outcome,
    Package,
    Recall,
    Run,
    Scores,
    Scrubbed,
    StandingDecision,
    Status,
    TrainSettings,
    sha256,
)
from sdk.registry import Adaptation, Standing

STEPS = 60
PACKAGE_FILES = (
    "package/adapter_config.json",
    "package/adapter_model.safetensors.floe",
    "package/bom.json",
    "package/manifest.json",
    "package/model.sig",
    "package/tokenizer.json",
    "provenance.dsse.json",
)
GOVERNANCE_FILES = (
    "decisions/0001.dsse.json",
    "decisions/0002.dsse.json",
    "policy.json",
    "promotion.json",
    "promotion.proof",
    "report.sha256",
    "ring/0001.dsse.json",
)
HARDWARE = Hardware(cpu_cores=2, ram_gib=8, bf16=False, source="probed")
SETTINGS = TrainSettings(
    method="qlora-4bit",
    lora_r=8,
    lora_alpha=32,
    lora_dropout=0.05,
    learning_rate=2e-3,
    num_train_epochs=3,
    per_device_train_batch_size=16,
    gradient_accumulation_steps=1,
    gradient_checkpointing=False,
    max_length=256,
)


def ref(path: str) -> FileRef:
    return FileRef(path=path, size=len(path), sha256=sha256(path.encode()))


def advice() -> Advice:
    shape = ModelShape(
        name="embedded",
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=6,
        num_attention_heads=6,
        num_key_value_heads=6,
        head_dim=32,
        vocab_size=1024,
        max_position_embeddings=512,
        source="config.json",
    )
    reasons = {
        "method": "4-bit fits <5 GiB & leaves room",
        "lora_r": "the domain's starting rank",
        "learning_rate": "10 x full tuning",
    }
    memory = Memory(
        weights=0.02, adapters=0.01, gradients=0.01, optimizer=0.02, activations=0.3, logits=0.05, workspace=0.2
    )
    return Advice(
        shape=shape,
        hardware=HARDWARE,
        needs=Needs(accuracy="high"),
        settings=SETTINGS,
        reasons=reasons,
        memory=memory,
        memory_low=memory.model_copy(update={"activations": 0.0}),
        memory_high=memory.model_copy(update={"activations": 0.5}),
        device_gib=memory.total,
        available_gib=6.0,
        fits=True,
        uncertain=False,
        accuracy=ExpectedAccuracy(method="qlora-4bit", loss=0.02, low=0.0, high=0.04, meets_need=None, why="thin"),
        needs_met=True,
        alternatives=(),
        notes=("8-bit was left out: more memory than 4-bit.",),
    )


def scrubbed() -> Scrubbed:
    return Scrubbed(
        rows={"train": 448, "eval": 112},
        data={"train": ref("train.jsonl"), "eval": ref("eval.jsonl")},
        ledger=ref("ledger.jsonl"),
        counts={"PERSON": 120, "EMAIL_ADDRESS": 44, "CREDIT_CARD": 31, "CN_RESIDENT_ID": 18, "IBAN_CODE": 9},
        actions={"placeholder": 191, "token": 31},
        recall_planted=Recall(planted=225, found=222),
        recall_by_kind={"PERSON": Recall(planted=121, found=119), "IBAN_CODE": Recall(planted=9, found=9)},
        unplanted_findings=2,
        rows_changed=171,
        formats={"train": "jsonl, alpaca", "eval": "jsonl, alpaca"},
        seconds=3.5,
    )


def run(steps: int = STEPS) -> Run:
    return Run(
        settings=SETTINGS,
        base="embedded",
        adapter=(ref("adapter_config.json"), ref("adapter_model.safetensors")),
        trainable_parameters=338_688,
        steps=steps,
        losses=tuple(
            LossPoint(step=n, loss=0.4 + 5.6 * math.exp(-n / 15), learning_rate=2e-3 * (1 - n / (steps + 1)))
            for n in range(1, steps + 1)
        ),
        seconds=81.2,
        tokens_per_second=1234.5,
        memory_predicted_gib=0.61,
        memory_measured_gib=0.58,
        hardware=HARDWARE,
        versions={"torch": "2.11.0", "peft": "0.21.2"},
    )


def scores() -> Scores:
    def metrics(questions: int, value: float, perplexity: float) -> Metrics:
        interval = Interval(value=value, low=max(0.0, value - 0.08), high=min(1.0, value + 0.07))
        return Metrics(questions=questions, exact_match=interval, f1=interval, perplexity=perplexity)

    outcomes = tuple(
        Outcome(
            row=f"fin-{'en' if n % 2 else 'zh'}-{n:04}",
            language="en" if n % 2 else "zh",
            base_exact=n == 7,
            adapted_exact=n % 4 != 0,
            base_f1=0.1,
            adapted_f1=0.8,
        )
        for n in range(112)
    )
    return Scores(
        metric="exact_match",
        base={"all": metrics(112, 0.009, 210.0), "en": metrics(56, 0.018, 180.0), "zh": metrics(56, 0.0, 240.0)},
        adapted={"all": metrics(112, 0.75, 1.4), "en": metrics(56, 0.8, 1.3), "zh": metrics(56, 0.7, 1.5)},
        outcomes=outcomes,
        tokens_per_second=321.0,
        seconds=14.0,
    )


def make_package(folder: Path, text: str = "one") -> Package:
    """What sealing leaves in its folder, with bytes that stand for those of the real files."""
    (folder / "package").mkdir(parents=True, exist_ok=True)
    for name in PACKAGE_FILES:
        (folder / name).write_bytes(f"{text}: {name}".encode() * 50)
    fields = {
        "package": sha256((folder / "package" / "manifest.json").read_bytes()),
        "files": folder_refs(folder),
        "inputs": {"policy": sha256(b"policy")},
        "signed_by": "Trainer | <T>",
        "key_fingerprint": sha256(b"key"),
        "package_id": sha256(text.encode())[:32],
        "version": 1,
        "encrypted": True,
        "domain": "finance@1",
        "policy": "finance@1",
    }
    return Package.model_validate(fields)


def adaptation(package_folder: Path, text: str = "one", steps: int = STEPS, project: str = "claims") -> Adaptation:
    return Adaptation(
        project=project,
        model_name=project,
        domain="finance@1",
        policy="finance@1",
        advice=advice(),
        scrubbed=scrubbed(),
        run=run(steps),
        scores=scores(),
        package=make_package(package_folder, text),
    )


def make_governance(folder: Path, text: str = "one") -> dict[str, Path]:
    """What promotion brings besides, path below release/governance -> file."""
    files = {}
    for place, path in enumerate(GOVERNANCE_FILES):
        files[path] = folder / f"{place}.json"
        folder.mkdir(parents=True, exist_ok=True)
        files[path].write_bytes(f"{text}: {path}".encode() * 9)
    return files


def decided(decision: Decision, person: str, reason: str, note: str = "counts") -> StandingDecision:
    return StandingDecision(
        decision=decision,
        person=person,
        time="2026-11-26T00:00:00+00:00",
        reason=reason,
        counts=note == "counts",
        note=note,
    )


def standing(status: Status = "champion") -> Standing:
    return Standing(
        status=status,
        decisions=("review by Ada, 2026-11-26: The scores hold.", "approve by Bob, 2026-11-26: Fit for use."),
        checks=(
            "yes: the package is signed by Tom, a trainer",
            "yes: 1 of 1 review by Ada on 2026-11-26: The scores hold.",
            "yes: 1 of 1 approval by Bob on 2026-11-26: Fit for use.",
            "yes: nobody rejects it",
            "yes: no decision has expired",
        ),
        decided=(
            decided("review", "Ada", "The scores hold."),
            decided("approve", "Tom", "It is mine.", "does not count, approve.trainer_may_approve"),
            decided("approve", "Bob", "Fit for use."),
        ),
    )
