"""The training step: what moves and what must not, the same bytes from the same seed, going on after a kill."""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from sdk.errors import InvalidInput, StepFailed
from sdk.files.store import check_ref
from sdk.model import base_digest
from sdk.records import Run
from sdk.train import Job, preview, train
from sdk.train.dropout import Dropout
from sdk.train.trainer import Trainer
from tests.tiny import UNMARKED, make_base, one_thread, pairs, settings, write_rows  # noqa: F401 - one_thread is a fixture

STEPS = 6


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("train") / "tiny-base")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data") / "train.jsonl", pairs(12))


class Steps:
    """on_progress that keeps what it is told and may interrupt."""

    def __init__(self, at: int = -1, error: BaseException | None = None) -> None:
        self.told: list[tuple[str, int, int | None, Mapping[str, float]]] = []
        self.at, self.error = at, error

    def __call__(self, what: str, done: int, total: int | None, figures: Mapping[str, float]) -> None:
        self.told.append((what, done, total, figures))
        if done == self.at and self.error is not None:
            raise self.error


def run(base: Path, data: Path, out: Path, steps: Steps | None = None, seconds: float = 1e9, **changes: Any) -> Run:
    return train(Job(data, str(base), "brief", settings(**changes), out, checkpoint_seconds=seconds), steps or Steps())


def weights(out: Path) -> bytes:
    return (out / "adapter" / "adapter_model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def whole(base: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The adapter of an uninterrupted run."""
    out = tmp_path_factory.mktemp("whole")
    run(base, data, out)
    return weights(out)


@pytest.mark.parametrize("method", ["lora", "lora-fp8", "qlora-4bit", "qlora-8bit"])
def test_the_adapter_moves_and_the_base_does_not(base: Path, data: Path, tmp_path: Path, method: Any) -> None:
    before = base_digest(base)
    steps = Steps()
    done = run(base, data, tmp_path, steps, method=method)
    assert base_digest(base) == before
    moved = safetensors.torch.load(weights(tmp_path))
    assert len(moved) == 2 * 2 * 7  # A and B of seven linear layers in each of two blocks
    assert all(value.dtype == torch.float32 and float(value.abs().sum()) > 0 for value in moved.values())
    assert sum(value.numel() for value in moved.values()) == done.trainable_parameters
    assert done.steps == STEPS
    assert [point.step for point in done.losses] == list(range(1, STEPS + 1))
    assert done.losses[-1].loss < done.losses[0].loss
    assert [point.learning_rate for point in done.losses[:1]] == [5e-3]
    assert (done.base, done.resumed_from_step) == ("tiny-base", 0)
    assert done.tokens_per_second > 0
    assert [ref.path for ref in done.adapter] == ["adapter/adapter_config.json", "adapter/adapter_model.safetensors"]
    for ref in done.adapter:
        check_ref(tmp_path, ref)
    assert {path.name for path in tmp_path.iterdir()} == {"adapter", "checkpoints", "spool.jsonl"}
    assert [told[:3] for told in steps.told] == [("train", step, STEPS, *()) for step in range(1, STEPS + 1)]
    shown = {"loss", "learning_rate", "grad_norm", "tokens_per_second", "memory_gib", "seconds_left"}
    assert set(steps.told[0][3]) == shown
    assert steps.told[-1][3]["seconds_left"] == 0


def test_a_run_names_the_rows_of_a_step_whose_loss_leapt(
    base: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every step behind the third is a spike here, and these three are the second of two epochs: all rows, once."""
    monkeypatch.setattr("sdk.train.loss_spikes.WINDOW", 3)
    monkeypatch.setattr("sdk.train.loss_spikes.LEAST_Z", float("-inf"))
    made = run(base, data, tmp_path, packing=False)
    assert [spike.step for spike in made.spikes] == [4, 5, 6]
    assert [spike.loss for spike in made.spikes] == [point.loss for point in made.losses[3:]]
    assert sorted(row for spike in made.spikes for row in spike.rows) == [f"r{place:03d}" for place in range(12)]
    assert {spike.rows_in_step for spike in made.spikes} == {4}
    assert made.spikes[0].rows[0] in str(made)


def test_the_adapter_is_an_ordinary_one_and_holds_no_path(base: Path, data: Path, tmp_path: Path, whole: bytes) -> None:
    run(base, data, tmp_path)
    config = (tmp_path / "adapter" / "adapter_config.json").read_text()
    assert json.loads(config)["base_model_name_or_path"] == "tiny-base"
    assert str(base.parent) not in config
    model = AutoModelForCausalLM.from_pretrained(base)
    ids = torch.arange(20)[None]
    with torch.no_grad():
        plain = model(ids).logits
        loaded = PeftModel.from_pretrained(model, str(tmp_path / "adapter"))
        assert not torch.equal(loaded(ids).logits, plain)


def test_same_seed_same_bytes_other_seed_other_bytes(base: Path, data: Path, tmp_path: Path, whole: bytes) -> None:
    torch.manual_seed(99)
    run(base, data, tmp_path / "again")
    assert weights(tmp_path / "again") == whole
    run(base, data, tmp_path / "other", seed=43)
    assert weights(tmp_path / "other") != whole


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    dropout = Dropout(0.1)
    x = torch.full((501, 333), 2.0, requires_grad=True)
    torch.manual_seed(3)
    once = dropout(x)
    torch.manual_seed(3)
    assert torch.equal(once, dropout(x))
    assert not torch.equal(once, dropout(x))
    assert float((once == 0).float().mean()) == pytest.approx(0.1, abs=0.005)
    assert once.unique().tolist() == pytest.approx([0.0, 2 / 0.9])
    neighbours = (once[:, 1:] == 0) & (once[:, :-1] == 0)
    assert float(neighbours.float().mean()) == pytest.approx(0.01, abs=0.002)
    once.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad * 2, once)
    assert dropout.eval()(x) is x


def test_gradient_checkpointing_changes_nothing(base: Path, data: Path, tmp_path: Path, whole: bytes) -> None:
    run(base, data, tmp_path, gradient_checkpointing=True)
    given, expected = safetensors.torch.load(weights(tmp_path)), safetensors.torch.load(whole)
    for name in expected:
        torch.testing.assert_close(given[name], expected[name], rtol=1e-4, atol=1e-6)


# What stops a run


def test_rows_that_are_too_long_are_all_named_and_none_is_cut(base: Path, tmp_path: Path) -> None:
    given = [("short", "secret"), ("long " * 60, "secret"), ("fine", "secret"), ("secret " * 300, "x")]
    data = write_rows(tmp_path / "train.jsonl", given)
    with pytest.raises(InvalidInput) as caught:
        run(base, data, tmp_path / "out", max_length=100_000)
    assert [fault.split(":")[0] for fault in caught.value.faults] == ["row r001", "row r003"]
    assert "secret" not in str(caught.value)
    assert "2 longer than 256 tokens" in str(caught.value)  # what the model can take, not what was asked for
    assert not (tmp_path / "out" / "adapter").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_none_stop_the_run(base: Path, data: Path, tmp_path: Path, value: float) -> None:
    spoilt = make_base(tmp_path / "spoilt")
    content = safetensors.torch.load_file(spoilt / "model.safetensors")
    content["model.norm.weight"][3] = value
    safetensors.torch.save_file(content, spoilt / "model.safetensors", {"format": "pt"})
    with pytest.raises(StepFailed, match=r"step 1 of 6: the loss is no longer a finite number \(learning rate 0.005\)"):
        run(spoilt, data, tmp_path / "out")
    assert not (tmp_path / "out" / "adapter").exists()


def test_a_base_that_changes_stops_the_run(
    base: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Trainer.training_step

    def leaky(self: Trainer, model: torch.nn.Module, *rest: Any) -> torch.Tensor:
        frozen = next(value for name, value in model.named_parameters() if "layers.1.mlp.up_proj.base" in name)
        frozen.data[0, 0] += 1e-3
        return original(self, model, *rest)

    monkeypatch.setattr(Trainer, "training_step", leaky)
    with pytest.raises(StepFailed, match="base's weights changed"):
        run(base, data, tmp_path)
    assert not (tmp_path / "adapter").exists()


def test_an_adapter_that_does_not_move_stops_the_run(base: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match="14 of 28 adapter matrices did not move"):
        run(base, data, tmp_path, learning_rate=1e-30)


@pytest.mark.parametrize("max_steps", [1, 2])
def test_what_warm_up_and_a_b_of_zeros_keep_still_is_no_fault(
    base: Path, data: Path, tmp_path: Path, max_steps: int
) -> None:
    """The learning rate of the first step is 0, and in the next one A has no gradient, because B is zero."""
    done = run(base, data, tmp_path, max_steps=max_steps, warmup_ratio=0.03)
    assert [point.learning_rate > 0 for point in done.losses] == [False, True][:max_steps]
    moved = {bool(value.any()) for name, value in safetensors.torch.load(weights(tmp_path)).items() if "lora_B" in name}
    assert moved == {max_steps == 2}
    assert any("Nothing was learned" in note for note in done.notes) == (max_steps == 1)


@pytest.mark.parametrize(("max_steps", "still"), [(2, 14), (3, 28)])
def test_an_optimizer_that_does_nothing_is_found_in_a_short_run_too(
    base: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, max_steps: int, still: int
) -> None:
    monkeypatch.setattr("torch.optim.AdamW.step", lambda self, closure=None: None)
    with pytest.raises(StepFailed, match=f"{still} of 28 adapter matrices did not move"):
        run(base, data, tmp_path, max_steps=max_steps, warmup_ratio=0.03)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "no space"), "disk is full"),
        (torch.OutOfMemoryError("out"), "even one by one"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "even one by one"),
        (RuntimeError("PytorchStreamWriter failed writing file"), "disk is full"),
    ],
)
def test_what_gives_out_is_said(base: Path, data: Path, tmp_path: Path, error: Exception, said: str) -> None:
    with pytest.raises(StepFailed, match=said):
        run(base, data, tmp_path, Steps(2, error))


def test_other_errors_show_themselves(base: Path, data: Path, tmp_path: Path) -> None:
    for error in (PermissionError(errno.EACCES, "no"), RuntimeError("a bug")):
        with pytest.raises(type(error)):
            run(base, data, tmp_path, Steps(1, error))


def test_target_modules(base: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        run(base, data, tmp_path, target_modules="q_proj, w_proj, lm_head")
    assert len(caught.value.faults) == 2
    assert "down_proj" in caught.value.message
    run(base, data, tmp_path, target_modules="q_proj,v_proj")
    assert len(safetensors.torch.load(weights(tmp_path))) == 2 * 2 * 2


def test_max_steps_goes_over_the_rows_as_often_as_needed(base: Path, data: Path, tmp_path: Path) -> None:
    done = run(base, data, tmp_path, max_steps=8)
    assert (done.steps, len(done.losses)) == (8, 8)


# What is shown and in which order rows come


def test_the_preview_shows_the_text_with_its_mask(base: Path, data: Path, tmp_path: Path) -> None:
    for folder in (base, make_base(tmp_path / "unmarked", UNMARKED)):
        shown = preview(data, str(folder), "brief", settings(), rows=2)
        assert [item.row for item in shown] == ["r000", "r001"]
        assert [(part.text, part.in_loss) for part in shown[0].segments][:2] == [
            ("<|start|>system\nbrief<|end|><|start|>user\nWhat is item 0?<|end|><|start|>assistant\n", False),
            ("It is 0.<|end|>", True),
        ]
        assert 0 < shown[0].tokens_in_loss < shown[0].tokens
    with pytest.raises(InvalidInput, match="row r000"):
        preview(data, str(base), "brief", settings(max_length=10))
