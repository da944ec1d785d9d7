"""The behaviour seal: what is served wrongly is seen, what is served in another form passes, where it is checked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftConfig, PromptTuningConfig, get_peft_model
from pydantic import ValidationError

from sdk import Project
from sdk.data import conversation
from sdk.data.general import general_rows
from sdk.errors import InvalidInput, Refused, Tampered
from sdk.likeness import LIMITS, TOKENS_GIVEN, check_behaviour, compare_behaviour, likeness_limits
from sdk.model import Chat
from sdk.model.adapter import adapter_config, adapter_weights, attach_adapter
from sdk.model.load import load_base
from sdk.model.probes import AT_LOAD, PROBES, ask_probes, check_model, measure_behaviour, token_faults
from sdk.records import MEASURABLE, Behaviour, BehaviourCheck, Quantization, Scores
from sdk.seal import BEHAVIOUR
from sdk.serve import admit
from tests import behaviour_faults as faults
from tests.tiny import MARKED, make_base, one_thread

__all__ = ["one_thread"]
PROMPT = "Answer in short."
LANGUAGES = ("en", "zh")
OTHER = "another"
# That norm's weights are all ones here; and noise of 5 % is within rounding, for weights that are drawn.
LEFT_OUT = ("final norm lost", "another base revision (noise of 5 %)")
OF_THE_BASE = {name: change for name, change in faults.OF_THE_BASE.items() if name not in LEFT_OUT}
UPPER = ("upper half of the blocks missing", "every second block missing")
WRONG = {**faults.OF_THE_ADAPTER, **OF_THE_BASE, **faults.of_others([OTHER])}


class Bench:
    """A tiny base and adapters whose weights are drawn: a seal judges what is computed, whatever was learned."""

    def __init__(self, folder: Path) -> None:
        self.base = make_base(folder / "base", positions=1024)
        self.config, self.weights = self.drawn(1)
        self.model = self.load("lora")
        self.chat = Chat(load_base(str(self.base), "lora")[1])
        self.behaviour = measure_behaviour(self.model, self.chat, PROMPT, LANGUAGES)
        self.served = faults.Served(self.model, {OTHER: self.drawn(2)[1]})

    def drawn(self, seed: int, config: PeftConfig | None = None) -> tuple[dict[str, Any], bytes]:
        lora = LoraConfig(
            task_type="CAUSAL_LM",
            r=8,
            lora_alpha=32,
            lora_dropout=0.1,
            target_modules="all-linear",
            init_lora_weights=False,
        )
        torch.manual_seed(seed)
        adapted = get_peft_model(load_base(str(self.base), "lora")[0], config or lora)
        for name, value in adapted.named_parameters():
            if "lora_B" in name:
                value.data *= 0.2
        return json.loads(adapter_config(adapted, "base")), adapter_weights(adapted)

    def load(self, method: str) -> Any:
        model, _ = load_base(str(self.base), Quantization(method=method))  # type: ignore[arg-type]
        return attach_adapter(model, self.config, self.weights)

    def check(self, model: Any, bits: int = 16, count: int = PROBES) -> BehaviourCheck:
        return check_behaviour(self.behaviour, ask_probes(model, self.behaviour, count), bits)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("behaviour"))


@pytest.fixture(scope="module")
def over_4_bits(bench: Bench) -> faults.Served:
    return faults.Served(bench.load("qlora-4bit"), {})


# What is served wrongly


@pytest.mark.parametrize("name", WRONG)
def test_a_fault_is_seen_by_all_probes_and_by_the_first(bench: Bench, name: str) -> None:
    with faults.restored(bench.served, base=True) as served:
        WRONG[name](served)
        assert bench.check(served.model).faults
        # A scale of 1.25 saturates where weights are drawn; trained ones are in tests/benchmarks/behaviour_zoo.py.
        assert name == "scale x 1.25" or bench.check(served.model, count=AT_LOAD).faults
    assert bench.check(bench.model).passed  # everything is as it was


# The upper of the two blocks does little here, and twice the scale of weights that are drawn hardly more than once.
WITHIN_4_BITS = (*faults.SMALL_IN_4_BITS, *UPPER, "scale x 2")
IN_4_BITS = [name for name in faults.OF_THE_ADAPTER if name not in WITHIN_4_BITS]


@pytest.mark.parametrize("name", IN_4_BITS)
def test_a_fault_is_seen_through_the_rounding_of_4_bits(bench: Bench, over_4_bits: faults.Served, name: str) -> None:
    with faults.restored(over_4_bits) as served:
        faults.OF_THE_ADAPTER[name](served)
        assert bench.check(served.model, bits=4).faults


def test_the_base_alone_is_seen_and_named(bench: Bench) -> None:
    with bench.model.disable_adapter():
        found = bench.check(bench.model)
    assert found.likeness.effect == pytest.approx(0, abs=0.01)
    assert found.likeness.distance == pytest.approx(found.likeness.difference, rel=0.01)
    assert "answers as if without the adapter" in found.faults[0]


@pytest.mark.parametrize("make", [faults.head_lost, faults.overflowing])
def test_a_lost_head_and_numbers_that_overflow_are_seen(bench: Bench, make: Callable[[Any], Any]) -> None:
    assert bench.check(make(bench.model)).faults


def test_another_tokenizer_and_another_template_are_seen(bench: Bench, tmp_path: Path) -> None:
    assert token_faults(bench.chat, bench.behaviour) == []
    other = make_base(tmp_path / "other", MARKED.replace("<|start|>{{", "<|start|> {{"))
    template = Chat(load_base(str(other), "lora")[1])
    assert len(token_faults(template, bench.behaviour)) == sum(text.asked > 0 for text in bench.behaviour.texts) > 0
    parts = json.loads((other / "tokenizer.json").read_bytes())
    names = [name for name in parts["model"]["vocab"] if len(name) == 1]
    parts["model"]["vocab"] |= dict(zip(names, (parts["model"]["vocab"][name] for name in names[::-1]), strict=True))
    (other / "tokenizer.json").write_text(json.dumps(parts))
    tokenizer = Chat(load_base(str(other), "lora")[1])
    assert len(token_faults(tokenizer, bench.behaviour)) == len(bench.behaviour.texts)
    found = check_model(bench.model, tokenizer, bench.behaviour, AT_LOAD)
    assert not found.passed
    assert found.likeness.effect == pytest.approx(1, abs=1e-3)


# What is served rightly


@pytest.mark.parametrize(
    ("make", "bits"),
    [
        (lambda bench: bench.load("lora"), 16),
        (lambda bench: bench.load("lora").to(torch.bfloat16), 16),
        (lambda bench: bench.load("lora").to(torch.float16), 16),
        (lambda bench: faults.merged(bench.model), 16),
        (lambda bench: faults.merged(bench.model, torch.bfloat16), 16),
        (lambda bench: faults.merged(bench.model, torch.float16), 16),
        (lambda bench: bench.load("qlora-8bit"), 8),
        (lambda bench: faults.quantized(bench.model, lambda weight: faults.in_blocks(weight, 8)), 8),
        (lambda bench: faults.quantized(bench.model, lambda weight: faults.by_row(weight, 8)), 8),
        (lambda bench: faults.quantized(bench.model, faults.in_8_bit_floats), 8),
        (lambda bench: bench.load("qlora-4bit"), 4),
        (lambda bench: faults.quantized(bench.model, lambda weight: faults.in_blocks(weight, 4)), 4),
    ],
    ids=[
        "again",
        "bfloat16",
        "float16",
        "merged",
        "merged, bfloat16",
        "merged, float16",
        "LLM.int8",
        "Q8_0",
        "INT8",
        "FP8",
        "NF4",
        "Q4_0",
    ],
)
def test_another_form_passes(bench: Bench, make: Callable[[Bench], Any], bits: int) -> None:
    found = bench.check(make(bench), bits)
    assert found.faults == ()
    assert "effect" in found.brief()


def test_an_engine_gives_the_most_likely_tokens_of_each_prompt(bench: Bench) -> None:
    prompts = bench.behaviour.prompts()
    answers = faults.ask_whole(bench.model, prompts)
    for count in (TOKENS_GIVEN, 20, 320):
        assert check_behaviour(bench.behaviour, faults.most_likely(answers, count), 16).passed
    with faults.restored(bench.served) as served:
        served.scale(0.5)
        answers = faults.ask_whole(served.model, prompts)
    for count in (TOKENS_GIVEN, 20, 320):
        assert check_behaviour(bench.behaviour, faults.most_likely(answers, count), 16).faults


# What cannot be compared


def test_what_cannot_be_compared_is_no_verdict(bench: Bench) -> None:
    answers = ask_probes(bench.model, bench.behaviour)
    for wrong, match in (
        ([], "0 answers were given"),
        ([*answers, answers[0]], "65 answers were given"),
        ([*answers[:-1], {1: -0.1}], "too few log-probabilities"),
    ):
        with pytest.raises(InvalidInput, match=match):
            compare_behaviour(bench.behaviour, wrong)
    with pytest.raises(InvalidInput, match="For weights of 3 bits no limits are known"):
        check_behaviour(bench.behaviour, answers, 3)
    assert [likeness_limits(bits).bits for bits in (4, 4.5, 5, 6, 8, 16, 32)] == [4, 4, 4, 4, 8, 16, 16]
    assert LIMITS[16].distance < LIMITS[8].distance < LIMITS[4].distance


def test_an_adapter_that_changes_nothing_is_said_to(bench: Bench) -> None:
    with faults.restored(bench.served) as served:
        served.scale(0.01)
        behaviour = measure_behaviour(served.model, bench.chat, PROMPT, LANGUAGES)
        found = check_behaviour(behaviour, ask_probes(served.model, behaviour), 16)
    assert behaviour.difference < MEASURABLE
    assert found.passed
    assert not found.shown
    assert "not judged" in found.brief()
    assert bench.check(bench.model).shown


# What is asked


def test_what_is_asked_is_text_that_ships(bench: Bench) -> None:
    shipped = [conversation(row, PROMPT) for row in general_rows(LANGUAGES)]
    behaviour = bench.behaviour
    assert len(behaviour.probes) == PROBES
    assert all(list(text.messages) in shipped for text in behaviour.texts)
    assert behaviour.bits == 16
    assert len({tuple(prompt) for prompt in behaviour.prompts()}) == PROBES  # no beginning twice
    other = measure_behaviour(bench.model, bench.chat, PROMPT, ("de",))  # which no text is in
    assert other.texts


def test_a_record_has_one_form_and_fits_itself(bench: Bench) -> None:
    data = bench.behaviour.to_bytes()
    assert Behaviour.from_bytes(data) == bench.behaviour
    assert len(data) < 100_000
    with pytest.raises(ValueError, match="not in its one form"):
        Behaviour.from_bytes(data.replace(b":", b": ", 1))
    document = json.loads(data)
    for change in ({"place": 10_000}, {"text": 99}, {"base": []}):
        with pytest.raises(ValidationError):
            Behaviour.model_validate({**document, "probes": [{**document["probes"][0], **change}]})
    with pytest.raises(ValidationError):
        Behaviour.model_validate({**document, "texts": [{**text, "asked": 10_000} for text in document["texts"]]})


def test_learned_prompts_and_short_bases_are_measured_too(bench: Bench, tmp_path: Path) -> None:
    base = make_base(tmp_path / "short", positions=40)
    model, tokenizer = load_base(str(base), "lora")
    torch.manual_seed(3)
    adapted = get_peft_model(model, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=8)).eval()
    chat = Chat(tokenizer)
    behaviour = measure_behaviour(adapted, chat, PROMPT, LANGUAGES)
    assert max(len(text.ids) for text in behaviour.texts) == 32
    assert check_model(adapted, chat, behaviour, PROBES).passed
    assert behaviour.difference > MEASURABLE
    with adapted.disable_adapter():
        assert not check_model(adapted, chat, behaviour, PROBES).passed


def test_what_was_measured_in_4_bits_says_so(bench: Bench, over_4_bits: faults.Served) -> None:
    behaviour = measure_behaviour(over_4_bits.model, bench.chat, PROMPT, LANGUAGES)
    assert behaviour.bits == 4
    assert check_model(over_4_bits.model, bench.chat, behaviour, AT_LOAD).passed


# Where it is checked


def test_a_package_carries_what_its_evaluation_measured(finished: Project) -> None:
    scores = finished.latest(Scores)
    assert [ref.path for ref in scores.files] == [BEHAVIOUR]
    (sealed,) = finished.root.glob(f"artifacts/seal/*/package/{BEHAVIOUR}")
    (measured,) = finished.root.glob(f"artifacts/evaluate/*/{BEHAVIOUR}")
    assert sealed.read_bytes() == measured.read_bytes()
    assert scores.behaviour_change == Behaviour.from_bytes(sealed.read_bytes()).difference
    assert "nats from the base model" in str(scores) or "no measurable difference" in str(scores)


def test_a_model_that_behaves_otherwise_is_not_served(
    finished: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDK_STATE_HOME", str(tmp_path / "state"))  # a copy's log goes on apart from the original's
    shutil.copytree(finished.root, tmp_path / "project")
    project = Project.open(tmp_path / "project")
    load = admit.load_adapted

    def another(*given: Any) -> Any:
        model = load(*given)
        faults.Served(model.model, {}).scale(-3)
        return model

    monkeypatch.setattr(admit, "load_adapted", another)
    with pytest.raises(Refused, match="does not behave as the adapted model did") as refused:
        project.load()
    assert any("distance" in fault for fault in refused.value.faults)
    last = project.history()[-1]
    assert (last.action, last.phase) == ("load", "refused")


def test_another_behaviour_than_was_measured_is_found(finished: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdk.project.verify.behaviour_ref", lambda scores: None)
    with pytest.raises(Tampered, match=rf"holds another {BEHAVIOUR} than its evaluation left"):
        finished.verify()
