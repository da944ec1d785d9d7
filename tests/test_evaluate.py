"""The evaluation step: what counts as right, and that the adapted model is asked the same as its base."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from sdk.data import Message, Row
from sdk.data.measures import Given, Measures
from sdk.data.scoring import score, words
from sdk.domain import AdapterStart, Domain
from sdk.errors import InvalidInput, StepFailed
from sdk.evaluate.own_questions import _metrics, _negative_log_likelihoods, evaluate
from sdk.intervals import bootstrap
from sdk.model import Chat, load_chat
from sdk.model.load import load_base
from sdk.records import Scores, TrainSettings
from sdk.train import Job, train
from tests.tiny import make_base, one_thread, write_rows  # noqa: F401 - one_thread is a fixture

DOMAIN = Domain(
    name="items",
    version=1,
    title="Items",
    languages=("en", "zh"),
    prompt="brief",
    metric="exact_match",
    floors={"all": 0.5},
    accuracy="high",
    max_new_tokens=12,
    adapter=AdapterStart(lora_r=8, lora_alpha=32, lora_dropout=0.0, reason="small"),
    policy="default",
)
MEASURES = Measures(DOMAIN.measured, DOMAIN.scoring)
ROW = Row(id="r", language="en", messages=(Message(role="user", content="?"), Message(role="assistant", content="yes")))


def quiet(what: str, done: int, total: int | None, figures: Any) -> None:
    pass


@pytest.mark.parametrize(
    ("given", "reference", "language", "exact", "f1"),
    [
        ("The Ratio.", "ratio", "en", True, 1.0),
        ("ＲＡＴＩＯ", "ratio", "en", True, 1.0),
        ("an   answer,  a word", "answer word", "en", True, 1.0),
        ("it is 4", "4", "en", False, 0.5),
        ("", "4", "en", False, 0.0),
        ("3.5", "35", "en", False, 0.0),
        ("-2", "2", "en", False, 0.0),
        ("2%", "2", "en", False, 0.0),
        ("$1,200.", "$1200", "en", True, 1.0),
        ("1,20", "120", "en", False, 0.0),
        ("3.", "3", "en", True, 1.0),
        ("follow-up", "follow up", "en", True, 1.0),
        ("收益率 为３.５％。", "收益率为3.5%", "zh", True, 1.0),
        ("收益", "收益率", "zh", False, 0.8),
        ("风险", "收益", "zh", False, 0.0),
        ("", "。", "zh", True, 1.0),
    ],
)
def test_what_counts_as_right(given: str, reference: str, language: str, exact: bool, f1: float) -> None:
    assert score(given, reference, language) == (exact, pytest.approx(f1))


def test_words_are_characters_in_chinese() -> None:
    assert words("净利润 A股", "zh") == ["净", "利", "润", "a", "股"]
    assert words("the net profit", "en") == ["net", "profit"]


def test_the_interval_is_that_of_the_mean_and_reproducible() -> None:
    values = [1.0] * 60 + [0.0] * 40
    interval = bootstrap(values, seed=0)
    assert interval == bootstrap(values, seed=0) != bootstrap(values, seed=1)
    half = 1.96 * math.sqrt(0.6 * 0.4 / 100)
    assert interval.value == pytest.approx(0.6)
    assert interval.low == pytest.approx(0.6 - half, abs=0.02)
    assert interval.high == pytest.approx(0.6 + half, abs=0.02)
    assert bootstrap([1.0] * 5, seed=0).model_dump() == {"value": 1.0, "low": 1.0, "high": 1.0}


@pytest.mark.parametrize("nll", [math.nan, math.inf, 1e6])
def test_a_perplexity_that_is_no_number_stops_the_step(nll: float) -> None:
    with pytest.raises(StepFailed, match="perplexity of the base model, all"):
        _metrics(MEASURES.measure([Given(ROW, "yes", nll, 10)]), "base model, all")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("evaluate") / "tiny-base")


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("questions")
    english = write_rows(folder / "en.jsonl", [(f"What is {n}?", "secret") for n in range(9)], "en", "en")
    chinese = write_rows(folder / "zh.jsonl", [("什么" * n, "secret") for n in range(1, 4)], "zh", "zh")
    path = folder / "eval.jsonl"
    path.write_bytes(english.read_bytes() + chinese.read_bytes())
    return path


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], bytes]:
    out = tmp_path_factory.mktemp("adapter")
    # Both languages, so that what is scored is what was learned, whatever the rows' order.
    asked = [f"What is {n * 11}?" for n in range(12)] + ["什么" * n for n in range(4, 8)]
    data = write_rows(out / "train.jsonl", [(question, "secret") for question in asked])
    settings = TrainSettings(
        method="lora",
        lora_r=8,
        lora_alpha=32,
        lora_dropout=0.0,
        learning_rate=1e-2,
        num_train_epochs=1,
        max_steps=40,
        per_device_train_batch_size=8,
        gradient_accumulation_steps=1,
        gradient_checkpointing=False,
        max_length=128,
    )
    train(Job(data, str(base), DOMAIN.prompt, settings, out), quiet)
    folder = out / "adapter"
    return json.loads((folder / "adapter_config.json").read_text()), (folder / "adapter_model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def scores(base: Path, questions: Path, adapter: tuple[dict[str, Any], bytes]) -> Scores:
    return evaluate(questions, str(base), "lora", *adapter, MEASURES, DOMAIN, quiet).scores


def test_an_adapter_that_learned_the_answer_scores_above_its_base(scores: Scores) -> None:
    assert set(scores.base) == set(scores.adapted) == {"all", "en", "zh"}
    assert [scores.adapted[name].questions for name in ("all", "en", "zh")] == [12, 9, 3]
    for name in ("all", "en", "zh"):
        assert scores.base[name].exact_match.value == 0.0
        assert scores.adapted[name].exact_match.value == 1.0
        assert scores.adapted[name].perplexity < 3 < scores.base[name].perplexity
    assert scores.tokens_per_second > 0
    assert scores.metric == "exact_match"


def test_outcomes_name_rows_and_hold_no_text(scores: Scores) -> None:
    assert [outcome.row for outcome in scores.outcomes] == [f"en{n:03d}" for n in range(9)] + [
        f"zh{n:03d}" for n in range(3)
    ]
    assert all(outcome.adapted_exact and not outcome.base_exact for outcome in scores.outcomes)
    assert b"secret" not in scores.to_bytes()


def test_perplexity_is_that_of_the_answers_tokens(base: Path, scores: Scores) -> None:
    model, _ = load_base(str(base), "lora")
    chat = load_chat(str(base))
    nll, count = 0.0, 0
    for question in [f"What is {n}?" for n in range(9)]:
        encoded = chat.encode(
            [
                {"role": "system", "content": "brief"},
                {"role": "user", "content": question},
                {"role": "assistant", "content": "secret"},
            ]
        )
        with torch.no_grad():
            logs = model(torch.tensor([encoded.input_ids], device=model.device)).logits[0].float().log_softmax(-1)
        for place in range(1, len(encoded.input_ids)):
            if encoded.in_loss[place]:
                nll -= float(logs[place - 1, encoded.input_ids[place]])
                count += 1
    assert scores.base["en"].perplexity == pytest.approx(math.exp(nll / count), rel=1e-3)


def test_the_same_again_gives_the_same(
    base: Path, questions: Path, adapter: tuple[dict[str, Any], bytes], scores: Scores
) -> None:
    told: list[tuple[str, int, int | None]] = []

    def on_progress(what: str, done: int, total: int | None, figures: Any) -> None:
        told.append((what, done, total))

    again = evaluate(questions, str(base), "lora", *adapter, MEASURES, DOMAIN, on_progress).scores
    timing = {"seconds": 0.0, "tokens_per_second": 0.0}
    assert again.model_copy(update=timing) == scores.model_copy(update=timing)
    asked = [("generate (base)", 12, 12), ("generate (adapted)", 12, 12)]
    assert told == [*asked, ("evaluate (behaviour)", 0, None)]


@pytest.mark.parametrize("method", ["qlora-4bit", "qlora-8bit"])
def test_quantized_bases_are_evaluated_too(
    base: Path, questions: Path, adapter: tuple[dict[str, Any], bytes], method: Any
) -> None:
    scores = evaluate(questions, str(base), method, *adapter, MEASURES, DOMAIN, quiet).scores
    assert scores.adapted["all"].perplexity < scores.base["all"].perplexity


def test_rows_that_do_not_fit_are_named(base: Path, tmp_path: Path, adapter: tuple[dict[str, Any], bytes]) -> None:
    data = write_rows(tmp_path / "eval.jsonl", [("a", "b"), ("secret " * 300, "b")])
    with pytest.raises(InvalidInput) as caught:
        evaluate(data, str(base), "lora", *adapter, MEASURES, DOMAIN, quiet)
    assert [fault.split(":")[0] for fault in caught.value.faults] == ["row r001"]
    assert "secret" not in str(caught.value)


CHOICES = ("secret", "open", "something else")


@pytest.fixture(scope="module")
def choices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Questions whose answer is the one that the adapter learned, and for some another."""
    path = tmp_path_factory.mktemp("choices") / "eval.jsonl"
    rows = [
        {
            "id": f"q{n}",
            "language": "en",
            "instruction": f"What is {n}?",
            "output": CHOICES[n % 4 == 0],
            "metadata": {"choices": CHOICES},
        }
        for n in range(12)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_labels_and_likelihoods_of_choices_are_measured_of_both_models(
    base: Path, choices: Path, adapter: tuple[dict[str, Any], bytes]
) -> None:
    metrics = ["multiple_choice", "multiple_choice_likelihood", "multiple_choice_likelihood_norm"]
    changes = {"metric": "macro_f1", "metrics": metrics, "scoring": {"labels": CHOICES}}
    domain = Domain.model_validate({**DOMAIN.model_dump(), **changes})
    measures = Measures(domain.measured, domain.scoring)
    scores = evaluate(choices, str(base), "lora", *adapter, measures, domain, quiet).scores
    found = scores.adapted["all"]
    for metric in ("classification", *metrics):
        assert found.of(metric).value == 0.75, f"{metric}: what was learned is right for nine of twelve"  # type: ignore[arg-type]
    assert found.of("macro_f1").value == pytest.approx((2 * 9 / (12 + 9) + 0) / 2)  # of the two labels that occur
    assert scores.base["all"].of("classification").value == 0
    assert scores.confusion is not None
    assert scores.confusion.labels == CHOICES
    assert scores.confusion.adapted == ((9, 0, 0, 0), (3, 0, 0, 0), (0, 0, 0, 0))
    assert scores.confusion.base == ((0, 0, 0, 9), (0, 0, 0, 3), (0, 0, 0, 0)), "it names no label"
    assert {outcome.of("macro_f1") for outcome in scores.outcomes} == {(0.0, 1.0), (0.0, 0.0)}
    assert b"What is" not in scores.to_bytes()


def test_the_likelihood_of_a_choice_is_that_of_the_harness(base: Path) -> None:
    model, tokenizer = load_base(str(base), "lora")
    chat = Chat(tokenizer)
    asked = [{"role": "user", "content": "What is 3?"}]
    prompt = chat.tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    harness = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1, add_bos_token=False)
    requests = [Instance("loglikelihood", {}, (prompt, choice), place) for place, choice in enumerate(CHOICES)]
    expected = [likelihood for likelihood, _ in harness.loglikelihood(requests, disable_tqdm=True)]
    encoded = [chat.continued(asked, choice) for choice in CHOICES]
    found = [-loss for loss in _negative_log_likelihoods(model, encoded, tokenizer.pad_token_id)]
    assert found == pytest.approx(expected, rel=1e-4)
