"""Every kind of adapter trains, moves, and answers alike when it is read back; what goes with it does what it says."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import safetensors.torch
import torch
from bitsandbytes.nn import Linear4bit, Linear8bitLt
from peft import PeftModel
from rich.console import Console
from transformers import AutoModelForCausalLM
from typer.main import get_command

from sdk import Project
from sdk.cli import main, show
from sdk.cli.app import app
from sdk.data import read_rows
from sdk.errors import InvalidInput, Tampered
from sdk.evaluate.own_questions import _negative_log_likelihoods
from sdk.model import Chat, Learned, base_digest, encode_rows, load_chat
from sdk.model.adapter import attach_adapter
from sdk.model.generate import generate
from sdk.model.load import load_base
from sdk.project.adapter_files import open_adapter
from sdk.records import Run, TrainSettings, ValidationPoint
from sdk.registry import plots
from sdk.train import Job, train, training_run
from sdk.train.noise import Noise
from sdk.train.trainer import Trainer
from sdk.train.validation import Validation, hold_out
from tests import registry_records
from tests.tiny import MARKED, UNMARKED, make_base, one_thread, pairs, settings, write_rows  # noqa: F401 - one_thread is a fixture
from tests.workshop import Workshop

IDS = torch.arange(40).reshape(2, 20)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("methods") / "tiny-base")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data") / "train.jsonl", pairs(12))


def run(base: Path, data: Path, out: Path, on_progress: Any = None, adapter: Any = None, **changes: Any) -> Run:
    given = settings(**{"target_r": 2, "num_virtual_tokens": 5, **changes})
    told = on_progress or (lambda *figures: None)
    seconds = 0 if on_progress else 1e9
    return train(Job(data, str(base), "brief", given, out, seconds, adapter=adapter), told)


def saved(out: Path) -> tuple[dict[str, Any], bytes]:
    folder = out / "adapter"
    config = json.loads((folder / "adapter_config.json").read_text())
    return config, (folder / "adapter_model.safetensors").read_bytes()


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    model.eval()
    for module in model.modules():  # in evaluation mode bitsandbytes rounds the activations too
        module.training = isinstance(module, Linear4bit | Linear8bitLt)
    found: torch.Tensor = model(input_ids=IDS, attention_mask=torch.ones_like(IDS)).logits[:, -20:]
    return found


class Stop(BaseException):
    pass


def stop_at(step: int) -> Any:
    def on_progress(what: str, done: int, total: int | None, figures: Any) -> None:
        if done == step:
            raise Stop

    return on_progress


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """Logits of each model that was trained, just before its adapter is written."""
    seen: list[torch.Tensor] = []
    original = training_run.export_adapter

    def look(model: PeftModel, *rest: Any) -> Any:
        written = original(model, *rest)
        model.get_base_model().set_attn_implementation("sdpa")
        seen.append(logits(model))
        return written

    monkeypatch.setattr(training_run, "export_adapter", look)
    return seen


KINDS: list[tuple[str, dict[str, Any]]] = [
    ("lora", {"use_rslora": True}),
    ("lora", {"use_dora": True}),
    ("lora", {"init_lora_weights": "gaussian"}),
    ("lora", {"init_lora_weights": "pissa"}),
    ("lora", {"init_lora_weights": "pissa_niter_4", "use_rslora": True}),
    ("lora", {"peft_type": "adalora"}),
    ("lora", {"peft_type": "prompt_tuning"}),
    ("lora", {"peft_type": "prefix_tuning"}),
    ("lora", {"peft_type": "p_tuning"}),
    ("qlora-4bit", {"use_dora": True}),
    ("qlora-4bit", {"init_lora_weights": "loftq"}),
    ("qlora-4bit", {"peft_type": "adalora"}),
    ("qlora-8bit", {"peft_type": "adalora"}),
    ("qlora-8bit", {"peft_type": "prefix_tuning"}),
    ("qlora-4bit", {"bnb_4bit_quant_type": "fp4", "bnb_4bit_use_double_quant": False, "optim": "adamw_8bit"}),
    ("qlora-8bit", {"keep_16bit": "q_proj, down_proj", "optim": "adafactor"}),
    ("qlora-4bit", {"keep_16bit": "mlp", "init_lora_weights": "loftq"}),
]


@pytest.mark.parametrize(("method", "options"), KINDS)
def test_what_is_read_back_answers_as_what_was_trained(
    base: Path, data: Path, tmp_path: Path, trained: list[torch.Tensor], method: Any, options: dict[str, Any]
) -> None:
    before = base_digest(base)
    done = run(base, data, tmp_path, method=method, learning_rate=0.02, **options)
    assert base_digest(base) == before
    assert done.losses[-1].loss != done.losses[0].loss
    config, weights = saved(tmp_path)
    assert "/" not in json.dumps(config)
    attached = attach_adapter(load_base(str(base), done.settings)[0], config, weights)
    read = logits(attached)
    torch.testing.assert_close(read, trained[0], rtol=1e-3, atol=1e-4)
    with attached.disable_adapter():
        assert float((read - logits(attached)).abs().max()) > 0.02
    if method == "lora":
        stock = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(tmp_path / "adapter"))
        torch.testing.assert_close(logits(stock.float()), trained[0], rtol=1e-3, atol=1e-4)


def test_pissa_and_loftq_begin_where_they_should(
    base: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PiSSA as the base itself; LoftQ nearer to the 16-bit base than 4 bits alone, and the base stays as it is."""
    exact = logits(load_base(str(base), "lora")[0])
    found = {}
    original = training_run._run

    def look(trainer: Trainer, *rest: Any) -> Any:
        found[trainer.model.config.name_or_path, len(found)] = trainer.model
        raise Stop

    monkeypatch.setattr(training_run, "_run", look)
    for method, start in (("lora", "pissa"), ("qlora-4bit", "default"), ("qlora-4bit", "loftq")):
        with pytest.raises(Stop):
            run(base, data, tmp_path, method=method, init_lora_weights=start, lora_r=32)
    assert original is not training_run._run
    for model in found.values():
        model.get_base_model().set_attn_implementation("sdpa")
    pissa, rounded, loftq = (float((logits(model) - exact).abs().mean()) for model in found.values())
    assert pissa < 1e-4
    assert loftq < 0.7 * rounded


def test_adalora_cuts_to_the_ranks_asked_for(base: Path, data: Path, tmp_path: Path) -> None:
    run(base, data, tmp_path, peft_type="adalora", max_steps=12)
    values = [value for name, value in safetensors.torch.load(saved(tmp_path)[1]).items() if "lora_E" in name]
    assert len(values) == 14
    assert sum(int((value != 0).sum()) for value in values) <= 14 * 2
    assert any(int((value != 0).sum()) for value in values)


def test_the_penalty_of_adalora_counts_once_a_step(base: Path, data: Path, tmp_path: Path) -> None:
    once = run(base, data, tmp_path / "a", peft_type="adalora", max_steps=2, lora_dropout=0.0)
    split = run(
        base, data, tmp_path / "b", peft_type="adalora", max_steps=2, lora_dropout=0.0,
        per_device_train_batch_size=2, gradient_accumulation_steps=2,
    )  # fmt: skip
    bare = run(base, data, tmp_path / "c", max_steps=2, lora_dropout=0.0)
    assert once.losses[0].loss == pytest.approx(split.losses[0].loss, rel=1e-2)
    assert once.losses[0].loss > bare.losses[0].loss + 0.3


@pytest.mark.parametrize(
    "options",
    [
        {"peft_type": "adalora", "max_steps": 6},
        {"peft_type": "adalora", "max_steps": 12},
        {"peft_type": "p_tuning"},
        {"init_lora_weights": "pissa"},
        {"neftune_noise_alpha": 5.0},
        {"validation_split": 0.25, "eval_steps": 1, "load_best_model_at_end": True, "learning_rate": 0.05},
    ],
)
def test_going_on_ends_where_an_uninterrupted_run_ends(
    base: Path, data: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    whole = run(base, data, tmp_path / "whole", **options)
    with pytest.raises(Stop):
        run(base, data, tmp_path / "cut", stop_at(5), **options)
    again = run(base, data, tmp_path / "cut", **options)
    assert again.resumed_from_step == 4
    assert saved(tmp_path / "cut") == saved(tmp_path / "whole")
    assert (again.validation, again.best_step) == (whole.validation, whole.best_step)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "qlora-4bit", "init_lora_weights": "pissa"}, "init_lora_weights loftq"),
        ({"init_lora_weights": "pissa", "use_dora": True}, "use one of them"),
        ({"init_lora_weights": "loftq"}, "use qlora-4bit"),
        ({"method": "qlora-8bit", "init_lora_weights": "loftq"}, "use qlora-4bit"),
        ({"method": "qlora-8bit", "use_dora": True}, "use qlora-4bit or lora"),
        ({"peft_type": "adalora", "target_r": 4}, "lower target_r"),
        ({"peft_type": "adalora", "max_steps": 1}, "train for longer"),
        ({"peft_type": "adalora", "use_rslora": True}, "option of peft_type lora"),
        ({"peft_type": "prompt_tuning", "init_lora_weights": "gaussian"}, "option of peft_type lora"),
        ({"peft_type": "prefix_tuning", "gradient_checkpointing": True}, "prompt_tuning"),
        ({"completion_only_loss": True, "roles_to_train": ("user", "assistant")}, "leave one out"),
        ({"load_best_model_at_end": True, "eval_steps": 2}, "eval_steps needs held-out rows"),
        (
            {"checkpointed_layers": 2, "activation_offloading": True},
            "activation_offloading needs gradient_checkpointing",
        ),
        ({"validation_split": 0.99}, "leaves none to train on"),
        ({"cuda_graphs": True, "gradient_checkpointing": True}, "cuda_graphs does not go with gradient_checkpointing"),
        ({"cuda_graphs": True, "peft_type": "adalora"}, "cuda_graphs does not go with peft_type adalora"),
    ],
)
def test_what_does_not_go_together_is_refused_with_what_to_use(
    base: Path, data: Path, tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        run(base, data, tmp_path, **options)


@pytest.mark.parametrize("schedule", get_args(TrainSettings.model_fields["lr_scheduler_type"].annotation))
def test_every_schedule_runs(base: Path, data: Path, tmp_path: Path, schedule: Any) -> None:
    done = run(base, data, tmp_path, lr_scheduler_type=schedule, max_steps=3, weight_decay=0.1, max_grad_norm=0.1)
    rates = [point.learning_rate for point in done.losses]
    assert rates[0] == 5e-3
    assert (rates[2] < rates[1] < rates[0]) is ("constant" not in schedule)
    assert all(rate > 0 for rate in rates)


def test_high_ranks_on_a_4_bit_base(base: Path, data: Path, tmp_path: Path) -> None:
    done = run(
        base, data, tmp_path, method="qlora-4bit", lora_r=256, lora_alpha=16, use_rslora=True, learning_rate=1e-3
    )
    assert done.losses[-1].loss < done.losses[0].loss - 0.5
    assert saved(tmp_path)[0]["use_rslora"] is True


@pytest.mark.parametrize("kind", ["prompt_tuning", "prefix_tuning", "p_tuning"])
def test_learned_prompts_are_scored_and_generate_alone_as_in_a_batch(
    base: Path, data: Path, tmp_path: Path, kind: Any
) -> None:
    done = run(base, data, tmp_path, peft_type=kind, validation_split=0.25, learning_rate=0.02)
    model, tokenizer = load_base(str(base), "lora")
    model = attach_adapter(model, *saved(tmp_path))
    chat = load_chat(str(base))
    rows = [row for row in read_rows(data).rows if row.id in held_rows(base, data, tmp_path)]
    encoded = encode_rows(chat, rows, "brief", 128)
    sums = _negative_log_likelihoods(model, encoded, tokenizer.pad_token_id)
    mean = sum(sums) / sum(sum(item.in_loss) for item in encoded)
    assert done.validation[-1].loss == pytest.approx(mean, rel=1e-4)
    asked = [[message.model_dump() for message in row.messages[:1]] for row in rows]
    quiet: Any = lambda *figures: None  # noqa: E731
    together = generate(model, tokenizer, asked, 6, 4, quiet)
    assert together == generate(model, tokenizer, asked, 6, 1, quiet)


# Which tokens are learned


TURNS = [
    {"role": "system", "content": "brief"},
    {"role": "user", "content": "is it  brief?"},
    {"role": "assistant", "content": "yes"},
    {"role": "user", "content": "user"},
    {"role": "assistant", "content": "no"},
]


def learned_text(chat: Chat, messages: Sequence[dict[str, str]], learned: Learned) -> str:
    encoded = chat.encode(messages, learned)
    kept = [token for token, taken in zip(encoded.input_ids, encoded.in_loss, strict=True) if taken]
    return str(chat.tokenizer.decode(kept))


@pytest.mark.parametrize("template", [MARKED, UNMARKED])
@pytest.mark.parametrize(
    ("learned", "text"),
    [
        (Learned(), "yes<|end|>no<|end|>"),
        (Learned(last_answer=True), "no<|end|>"),
        (Learned(("user",)), "is it  brief?<|end|>user<|end|>"),
        (Learned(("assistant", "user")), "is it  brief?<|end|>yes<|end|>user<|end|>no<|end|>"),
        (Learned(("system",)), "brief<|end|>"),
    ],
)
def test_the_roles_that_are_asked_for_are_learned(tmp_path: Path, template: str, learned: Learned, text: str) -> None:
    chat = load_chat(str(make_base(tmp_path / "base", template)))
    assert learned_text(chat, TURNS, learned) == text


def test_a_template_that_changes_a_roles_text_cannot_tell(tmp_path: Path) -> None:
    template = MARKED.replace("{% else %}{{ m['content'] }}", "{% else %}{{ m['content'] | upper }}")
    chat = load_chat(str(make_base(tmp_path / "base", template)))
    assert learned_text(chat, TURNS, Learned()) == "yes<|end|>no<|end|>"
    with pytest.raises(InvalidInput, match=r"changes the user's text.*leave this role out") as caught:
        chat.encode(TURNS, Learned(("user",)))
    assert "is it" not in str(caught.value)


def test_rows_without_the_role_are_named(base: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="12 of 12 rows") as caught:
        run(base, data, tmp_path, roles_to_train=("tool",))
    assert "check its tool messages" in caught.value.faults[0]


# Noise


def test_noise_is_as_strong_as_its_row_is_short_and_only_in_training(base: Path) -> None:
    model, _ = load_base(str(base), "lora")
    embeddings = model.get_input_embeddings()
    clean = embeddings(IDS[:1])
    noise = Noise(PeftModelStub(model), 5.0)  # type: ignore[arg-type]
    model.train()
    noise._look(model, (), {"cu_seq_lens_q": torch.tensor([0, 4, 20], dtype=torch.int32)})
    added = (embeddings(IDS[:1]) - clean).detach().abs()[0]
    for part, length in ((added[:4], 4), (added[4:], 16)):
        most = 5.0 / (length * 64) ** 0.5
        assert 0.9 * most < float(part.max()) <= most * 1.001
    model.eval()
    assert torch.equal(embeddings(IDS[:1]), clean)


class PeftModelStub(torch.nn.Module):
    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def get_base_model(self) -> torch.nn.Module:
        return self.model


def test_noise_acts_on_training_and_not_on_validation(
    base: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[tuple[float, float]] = []
    original = Validation.loss

    def twice(self: Validation) -> float:
        measured.append((original(self), original(self)))
        return measured[-1][0]

    monkeypatch.setattr(Validation, "loss", twice)
    options = {"validation_split": 0.25, "eval_steps": 1, "max_steps": 2}
    plain = run(base, data, tmp_path / "a", **options)
    noisy = run(base, data, tmp_path / "b", neftune_noise_alpha=20.0, **options)
    assert noisy.losses[0].loss != plain.losses[0].loss
    assert all(first == second for first, second in measured)


# Validation


@pytest.mark.parametrize("method", ["lora", "qlora-4bit", "qlora-8bit"])
def test_watching_changes_nothing_of_training(base: Path, data: Path, tmp_path: Path, method: Any) -> None:
    """The same bytes as with a single evaluation at the end, and as with the remaining rows alone."""
    options = {"method": method, "max_steps": 6}
    often = run(base, data, tmp_path / "often", validation_split=0.25, eval_steps=1, **options)
    seldom = run(base, data, tmp_path / "seldom", validation_split=0.25, eval_steps=100, **options)
    assert [point.step for point in often.validation] == [1, 2, 3, 4, 5, 6]
    assert [point.step for point in seldom.validation] == [6]
    assert often.validation[-1] == seldom.validation[-1]
    assert often.validation[-1].loss < often.validation[0].loss
    assert (often.validation_rows, often.best_step) == (3, 6)
    assert saved(tmp_path / "often") == saved(tmp_path / "seldom")
    if method == "lora":
        rest = tmp_path / "rest.jsonl"
        held = held_rows(base, data, tmp_path)
        kept = [line for line in data.read_text().splitlines() if json.loads(line)["id"] not in held]
        rest.write_text("\n".join(kept) + "\n")
        assert len(kept) == 9
        run(base, rest, tmp_path / "alone", **options)
        assert saved(tmp_path / "alone") == saved(tmp_path / "often")


def held_rows(base: Path, data: Path, tmp_path: Path) -> set[str]:
    rows = read_rows(data).rows
    settings = run(base, data, tmp_path / "held", validation_split=0.25, max_steps=2).settings
    _, held = hold_out(rows, settings)
    return {row.id for row in held}


def test_the_validation_loss_is_the_mean_over_the_learned_tokens(base: Path, data: Path, tmp_path: Path) -> None:
    done = run(base, data, tmp_path, validation_split=0.25, max_steps=3)
    model = attach_adapter(load_base(str(base), "lora")[0], *saved(tmp_path))
    chat = load_chat(str(base))
    held = held_rows(base, data, tmp_path)
    total, count = 0.0, 0
    for row in read_rows(data).rows:
        if row.id in held:
            encoded = chat.encode([{"role": "system", "content": "brief"}, *(m.model_dump() for m in row.messages)])
            ids = torch.tensor([encoded.input_ids])
            with torch.no_grad():
                scores = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
            taken = torch.tensor(encoded.in_loss)[1:]
            total -= float(scores.gather(1, ids[0, 1:, None])[taken].sum())
            count += int(taken.sum())
    assert done.validation[-1].loss == pytest.approx(total / count, rel=1e-4)


def test_the_best_adapter_is_kept_and_patience_ends_the_run(
    base: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([3.0, 2.0, 2.5, 2.0, 1.0])
    monkeypatch.setattr(Validation, "loss", lambda self: next(losses))
    options = {"validation_split": 0.25, "eval_steps": 1, "lr_scheduler_type": "constant"}
    done = run(base, data, tmp_path / "a", load_best_model_at_end=True, early_stopping_patience=2, **options)
    assert (done.steps, done.best_step, len(done.validation)) == (4, 2, 4)
    monkeypatch.setattr(Validation, "loss", lambda self: 1.0)
    run(base, data, tmp_path / "b", max_steps=2, **options)
    assert saved(tmp_path / "a") == saved(tmp_path / "b")


# Continuing a finished adapter


def test_a_finished_adapter_is_continued(base: Path, data: Path, tmp_path: Path) -> None:
    first = run(base, data, tmp_path / "a")
    second = run(base, data, tmp_path / "b", adapter=saved(tmp_path / "a"))
    assert second.losses[0].loss < first.losses[0].loss - 0.5
    with pytest.raises(Stop):
        run(base, data, tmp_path / "c", stop_at(4), adapter=saved(tmp_path / "a"))
    assert run(base, data, tmp_path / "c").resumed_from_step == 0  # without the adapter it is another run


def test_another_kind_of_adapter_is_not_continued(base: Path, data: Path, tmp_path: Path) -> None:
    run(base, data, tmp_path / "a", max_steps=2)
    adapter = saved(tmp_path / "a")
    with pytest.raises(InvalidInput) as caught:
        run(base, data, tmp_path / "b", adapter=adapter, lora_r=8, use_rslora=True, target_modules="q_proj")
    assert [fault.split(":")[0] for fault in caught.value.faults] == ["r", "target_modules", "use_rslora"]
    assert "the adapter has 4, these settings 8" in caught.value.faults[0]
    with pytest.raises(InvalidInput, match="peft_type: the adapter has LORA"):
        run(base, data, tmp_path / "b", adapter=adapter, peft_type="prompt_tuning")
    with pytest.raises(InvalidInput, match="set init_lora_weights to default"):
        run(base, data, tmp_path / "b", adapter=adapter, init_lora_weights="pissa")


def test_a_project_continues_a_run_sealed_or_not(workshop: Workshop) -> None:
    project = workshop.project("continued")
    project.advise()
    project.scrub()
    first = project.train(max_steps=3)
    second = project.train(max_steps=3, adapter=first.digest[:12])
    assert second.inputs["adapter"] == first.digest
    assert second.losses[0].loss < first.losses[0].loss
    assert "adapter" not in first.inputs
    project.evaluate()
    project.register()
    assert not (project.state().folder(second) / "adapter").exists()
    third = project.train(max_steps=4, adapter=second)
    assert third.inputs["adapter"] == second.digest
    assert third.losses[0].loss < second.losses[0].loss
    project.verify()
    with pytest.raises(InvalidInput, match="0 runs of this project have digest ffff") as caught:
        project.train(adapter="ffff")
    assert len(caught.value.faults) == 3
    with pytest.raises(InvalidInput, match="r: the adapter has"):
        project.train(adapter=first, lora_r=3, max_steps=3)
    elsewhere = first.model_copy(update={"inputs": {**first.inputs, "base": "0" * 64}})
    with pytest.raises(InvalidInput, match="was trained on another base"):
        open_adapter(project.state(), elsewhere)
    weights = project.state().folder(first) / "adapter" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(Tampered, match="adapter_model"):
        project.train(adapter=first, max_steps=5)


# What is shown, and the options of the command


def test_validation_is_shown_and_drawn(tmp_path: Path) -> None:
    plain = registry_records.run()
    watched = plain.model_copy(
        update={
            "validation": (ValidationPoint(step=1, loss=3.25), ValidationPoint(step=2, loss=2.125)),
            "validation_rows": 7,
            "best_step": 2,
            "notes": ("Something [else] was done.",),
        }
    )
    console = Console(width=120, file=io.StringIO())
    console.print(show.run(watched))
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert re.search(r"validation +3\.250 .* 2\.125 on 7 held-out rows, lowest at step 2 *\n", printed)
    assert "note: Something [else] was done." in printed
    package = tmp_path / "package"
    package.mkdir()
    adaptation = registry_records.adaptation(package)
    before = plots.draw(adaptation)
    after = plots.draw(replace(adaptation, run=watched))
    assert {name for name, image in after.items() if image != before[name]} == {"loss"}


def test_every_setting_is_an_option_that_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    command: Any = get_command(app).commands["train"]  # type: ignore[attr-defined]
    options = {parameter.name: parameter for parameter in command.params}
    for name, field in TrainSettings.model_fields.items():
        assert options[name].help.startswith(str(field.description)), name
        assert options[name].rich_help_panel in ("Adapter", "Learning", "Batches and memory", "Validation"), name
    given: dict[str, Any] = {}

    class Opened:
        def preview(self, **changes: Any) -> list[Any]:
            return []

        def train(self, **changes: Any) -> Run:
            given.update(changes)
            return registry_records.run()

    monkeypatch.setattr(Project, "open", lambda folder, on_progress: Opened())
    line = "train --json --peft-type adalora --no-packing --use-dora --roles-to-train user,assistant --eval-steps 5"
    with pytest.raises(SystemExit) as ended:
        main([*line.split(), "--neftune-noise-alpha", "2.5", "--adapter", "ab12"])
    assert ended.value.code == 0
    assert given == {
        "peft_type": "adalora", "packing": False, "use_dora": True, "roles_to_train": ("user", "assistant"),
        "eval_steps": 5, "neftune_noise_alpha": 2.5, "adapter": "ab12", "resume": None, "nodes": 1, "rendezvous": "",
        "anyway": False,
    }  # fmt: skip
