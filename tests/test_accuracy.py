"""What a method is expected to lose, whether that meets the need, and that every figure has a source."""

from typing import Any, get_args

import pytest

from sdk.advise.accuracy import ALLOWED_LOSS, allowed_loss, comparisons, contradictions, expected_accuracy
from sdk.advise.layers import parameters
from sdk.records import (
    Accuracy,
    Hardware,
    Interval,
    Method,
    ModelShape,
    Needs,
    Pilot,
    Piloted,
    TrainSettings,
)

QUANTIZED: list[Method] = ["qlora-4bit", "qlora-8bit", "lora-fp8"]


def shape(name: str, hidden: int, inner: int, layers: int, heads: int, groups: int, vocabulary: int) -> ModelShape:
    return ModelShape(
        name=name,
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=groups,
        head_dim=hidden // heads,
        vocab_size=vocabulary,
        max_position_embeddings=8192,
        source="a test",
    )


TINY = shape("tiny", 192, 512, 6, 4, 4, 1024)
SMALL = shape("2.7B", 2560, 10240, 24, 32, 32, 51200)
MIDDLE = shape("8B", 4096, 14336, 32, 32, 8, 128256)
LARGE = shape("70B", 8192, 28672, 80, 64, 8, 128256)
SHAPES = [TINY, SMALL, MIDDLE, LARGE]


def test_every_comparison_has_a_source_and_a_loss_that_follows_from_its_scores() -> None:
    assert len(comparisons()) >= 30
    for row in comparisons():
        found = row.evidence
        assert found.source.strip()
        assert found.what.strip()
        assert found.model.strip()
        assert found.kind in ("published", "measured")
        assert found.method in QUANTIZED
        better = -1 if row.task in ("perplexity", "cross-entropy") else 1
        assert found.loss == pytest.approx(better * (found.lora - found.value) / found.lora)
        assert abs(found.loss) < 0.2
        assert row.billions is None or 0.01 < row.billions < 1000
        assert row.rank is None or 1 <= row.rank <= 256


@pytest.mark.parametrize(
    ("method", "model", "what", "lora", "value", "loss"),
    [
        ("qlora-4bit", "Phi-2", "GSM8K, accuracy", 64.8, 60.2, 0.0710),
        ("qlora-4bit", "Llama 2 7B", "GSM8K, accuracy", 36.9, 35.1, 0.0488),
        ("qlora-4bit", "Llama 2 7B", "WikiText-2, perplexity", 5.08, 5.70, 0.1220),
        ("qlora-4bit", "LLaMA 65B", "MMLU, 5-shot accuracy, after FLAN v2", 62.5, 63.9, -0.0224),
        ("qlora-8bit", "T5 780M", "Super-NaturalInstructions, RougeL", 47.1, 45.4, 0.0361),
        ("qlora-8bit", "not named", "MMLU, accuracy", 0.785, 0.771, 0.0178),
    ],
)
def test_figures_as_published(method: str, model: str, what: str, lora: float, value: float, loss: float) -> None:
    rows = [row.evidence for row in comparisons()]
    [found] = [row for row in rows if (row.method, row.model, row.what) == (method, model, what)]
    assert (found.lora, found.value) == (lora, value)
    assert found.loss == pytest.approx(loss, abs=5e-5)


def test_the_means_of_the_qlora_paper_come_out() -> None:
    rows = [row.evidence for row in comparisons() if "table 4" in row.evidence.source]
    assert len(rows) == 8
    assert sum(row.lora for row in rows) / 8 == pytest.approx(53.0, abs=0.05)
    assert sum(row.value for row in rows) / 8 == pytest.approx(53.1, abs=0.15)


@pytest.mark.parametrize(
    ("needs", "allowed"),
    [
        (Needs(accuracy="highest"), 0.0),
        (Needs(accuracy="high"), 0.01),
        (Needs(accuracy="balanced"), 0.03),
        (Needs(accuracy="economy"), None),
        (Needs(), None),
        (Needs(max_loss=0.02), 0.02),
        (Needs(max_loss=0.0), 0.0),
        (Needs(accuracy="economy", max_loss=0.02), 0.02),
    ],
)
def test_what_may_be_lost(needs: Needs, allowed: float | None) -> None:
    assert allowed_loss(needs) == allowed


@pytest.mark.parametrize("accuracy", get_args(Accuracy))
@pytest.mark.parametrize("max_loss", [0.0, 0.01, 0.03, 0.5])
def test_a_level_and_another_loss_contradict(accuracy: Accuracy, max_loss: float) -> None:
    found = contradictions(Needs(accuracy=accuracy, max_loss=max_loss))
    assert bool(found) == (ALLOWED_LOSS[accuracy] != max_loss)
    assert all(f"accuracy {accuracy}" in said and f"max_loss {max_loss:.1%}" in said for said in found)


def test_one_need_alone_contradicts_nothing() -> None:
    assert (
        contradictions(Needs()) == contradictions(Needs(accuracy="highest")) == contradictions(Needs(max_loss=0)) == []
    )


@pytest.mark.parametrize("accuracy", [None, *get_args(Accuracy)])
def test_16_bit_lora_is_the_reference(accuracy: Accuracy | None) -> None:
    found = expected_accuracy(MIDDLE, "lora", 16, Needs(accuracy=accuracy))
    assert (found.loss, found.low, found.high, found.meets_need) == (0, 0, 0, True)
    assert found.evidence == ()


@pytest.mark.parametrize(
    ("base", "method", "lora_r", "needs", "meets"),
    [
        (MIDDLE, "qlora-4bit", 16, Needs(accuracy="highest"), False),
        (MIDDLE, "qlora-8bit", 16, Needs(accuracy="highest"), False),
        (MIDDLE, "lora-fp8", 16, Needs(max_loss=0.0), False),
        (MIDDLE, "qlora-4bit", 16, Needs(accuracy="high"), False),
        (MIDDLE, "qlora-4bit", 64, Needs(accuracy="high"), False),
        (SMALL, "qlora-4bit", 16, Needs(max_loss=0.02), False),
        (MIDDLE, "qlora-8bit", 16, Needs(accuracy="high"), None),
        (MIDDLE, "lora-fp8", 16, Needs(accuracy="high"), None),
        (TINY, "qlora-4bit", 16, Needs(accuracy="balanced"), None),
        (TINY, "lora-fp8", 16, Needs(accuracy="balanced"), None),
        (MIDDLE, "qlora-4bit", 16, Needs(accuracy="balanced"), True),
        (MIDDLE, "qlora-4bit", 64, Needs(accuracy="balanced"), True),
        (LARGE, "qlora-4bit", 16, Needs(accuracy="balanced"), True),
        (MIDDLE, "qlora-8bit", 16, Needs(accuracy="balanced"), True),
        (MIDDLE, "lora-fp8", 16, Needs(accuracy="balanced"), True),
        (TINY, "qlora-4bit", 16, Needs(accuracy="economy"), True),
        (TINY, "qlora-4bit", 16, Needs(), True),
    ],
)
def test_whether_the_need_is_met(
    base: ModelShape, method: Method, lora_r: int, needs: Needs, meets: bool | None
) -> None:
    assert expected_accuracy(base, method, lora_r, needs).meets_need is meets


@pytest.mark.parametrize("base", SHAPES, ids=lambda base: base.name)
@pytest.mark.parametrize("method", QUANTIZED)
@pytest.mark.parametrize("lora_r", [1, 8, 16, 64, 256])
def test_the_rule_holds_for_every_need(base: ModelShape, method: Method, lora_r: int) -> None:
    for allowed in (0.0, 0.001, 0.005, 0.01, 0.02, 0.03, 0.05, 0.2, 1.0):
        found = expected_accuracy(base, method, lora_r, Needs(max_loss=allowed))
        assert found.low <= found.loss <= found.high
        if found.loss > allowed:
            assert found.meets_need is False
        else:
            assert found.meets_need is (True if found.high <= 2 * allowed + 0.002 else None)
        assert 1 <= len(found.evidence) <= 6
        assert f"{found.loss:.1%}" in found.why
        assert f"{allowed:.1%}" in found.why
        assert any(row.source.split(",")[0] in found.why for row in found.evidence)
        assert found.why.endswith(".")


def test_size_rank_and_bits_move_the_expectation_the_right_way() -> None:
    def lost(base: ModelShape, method: Method, lora_r: int = 16) -> float:
        return expected_accuracy(base, method, lora_r, Needs()).loss

    assert parameters(SMALL) < 4e9 < parameters(MIDDLE)
    assert lost(SMALL, "qlora-4bit") > lost(MIDDLE, "qlora-4bit") > lost(LARGE, "qlora-4bit")
    for base in SHAPES:
        by_rank = [lost(base, "qlora-4bit", lora_r) for lora_r in (16, 32, 64)]
        assert by_rank == sorted(by_rank, reverse=True)
        assert by_rank[2] < 0.7 * by_rank[0]
        assert lost(base, "qlora-4bit") > lost(base, "qlora-8bit")
        assert lost(base, "qlora-8bit") >= lost(base, "lora-fp8")


def test_fewer_and_less_alike_comparisons_widen_the_interval() -> None:
    def width(base: ModelShape, method: Method) -> float:
        found = expected_accuracy(base, method, 16, Needs())
        return found.high - found.low

    assert width(TINY, "qlora-4bit") > 1.5 * width(MIDDLE, "qlora-4bit")
    assert width(MIDDLE, "lora-fp8") > width(MIDDLE, "qlora-8bit")
    assert all(width(base, method) > 0.03 for base in SHAPES for method in QUANTIZED)


def test_evidence_is_of_the_method_or_says_otherwise_and_the_most_alike_comes_first() -> None:
    found = expected_accuracy(MIDDLE, "lora-fp8", 16, Needs())
    assert {row.method for row in found.evidence} == {"lora-fp8", "qlora-8bit"}
    [measured] = [row for row in found.evidence if row.kind == "measured"]
    assert "--parity" in measured.source
    assert expected_accuracy(MIDDLE, "qlora-4bit", 64, Needs()).evidence[0].model in ("Llama 3 8B", "Llama 2 7B")


def run(method: Method, lora_r: int, score: float, lost: tuple[float, float, float] | None) -> Piloted:
    settings = TrainSettings(
        method=method,
        lora_r=lora_r,
        lora_alpha=2 * lora_r,
        lora_dropout=0.05,
        learning_rate=1e-4,
        num_train_epochs=1,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=1,
        gradient_checkpointing=False,
        max_length=512,
    )
    given: dict[str, Any] = {}
    if lost is not None:
        given["loss_against_lora"] = Interval(value=lost[0], low=lost[1], high=lost[2])
    return Piloted(
        settings=settings,
        steps=10,
        tokens=1000,
        eval_loss=Interval(value=1, low=0.9, high=1.1),
        score=Interval(value=score, low=score - 0.05, high=score + 0.05),
        seconds=60,
        memory_gib=10,
        **given,
    )


def pilot(*candidates: Piloted) -> Pilot:
    return Pilot(hardware=Hardware(), metric="f1", questions=120, candidates=candidates)


@pytest.mark.parametrize(
    ("lost", "allowed", "meets"),
    [
        ((0.005, -0.002, 0.01), 0.01, True),
        ((0.005, -0.002, 0.011), 0.01, None),
        ((0.02, 0.009, 0.03), 0.01, None),
        ((0.02, 0.011, 0.03), 0.01, False),
        ((-0.01, -0.02, 0.0), 0.0, True),
        ((-0.01, -0.03, 0.01), 0.0, None),
        ((0.3, 0.2, 0.4), None, True),
    ],
)
def test_a_pilot_overrules_publications(
    lost: tuple[float, float, float], allowed: float | None, meets: bool | None
) -> None:
    tried = pilot(run("lora", 16, 0.8, None), run("qlora-4bit", 16, 0.8 * (1 - lost[0]), lost))
    found = expected_accuracy(MIDDLE, "qlora-4bit", 16, Needs(max_loss=allowed), tried)
    assert (found.loss, found.low, found.high) == lost
    assert found.meets_need is meets
    assert "120 questions" in found.why
    [evidence] = found.evidence
    assert evidence.kind == "pilot"
    assert evidence.loss == pytest.approx((evidence.lora - evidence.value) / evidence.lora)


def test_a_pilot_speaks_for_its_own_method_and_nearest_rank_only() -> None:
    lost = (0.02, 0.01, 0.03)
    tried = pilot(
        run("lora", 16, 0.8, None), run("qlora-4bit", 16, 0.7, (0.125, 0.1, 0.15)), run("qlora-4bit", 64, 0.784, lost)
    )
    assert expected_accuracy(MIDDLE, "qlora-4bit", 48, Needs(), tried).loss == 0.02
    assert expected_accuracy(MIDDLE, "qlora-4bit", 8, Needs(), tried).loss == 0.125
    published = expected_accuracy(MIDDLE, "qlora-8bit", 16, Needs())
    assert expected_accuracy(MIDDLE, "qlora-8bit", 16, Needs(), tried) == published
    unpaired = pilot(run("qlora-8bit", 16, 0.7, None))
    assert expected_accuracy(MIDDLE, "qlora-8bit", 16, Needs(), unpaired) == published
