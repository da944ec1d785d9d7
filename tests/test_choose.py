"""Which of several candidates is taken, and what is said of it: of made-up ones, so that one thing differs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sdk.advise import advise, find_model
from sdk.advise import choose as chosen_by
from sdk.advise.choose import USUAL_ACCURACY, WHO_CAN_SAY, choose, meets_deadline, trained_on
from sdk.records import Hardware, Needs

BALANCED = Needs(accuracy="balanced")
SMALL = find_model("qwen2.5-1.5b")


def option(
    method: str = "lora",
    *,
    total: float = 10,
    high: float | None = None,
    speed: float = 1.0,
    hours: float | None = None,
    meets: bool | None = True,
    loss: float = 0.01,
) -> Any:
    """A candidate on a machine of 20 GiB. hours: at the slow end of the band; None: not known."""
    known = None if hours is None else SimpleNamespace(hours=SimpleNamespace(high=hours))
    prediction = SimpleNamespace(memory=SimpleNamespace(total=total), relative_speed=speed, speed=known)
    settings = SimpleNamespace(lora_r=SimpleNamespace(meets_need=meets, loss=loss))
    fits = (total if high is None else high) <= 20
    return SimpleNamespace(
        method=method, settings=settings, prediction=prediction, room=20.0, fits=fits, may_fit=total <= 20
    )


@pytest.fixture(autouse=True)
def _expected(monkeypatch: pytest.MonkeyPatch) -> None:
    """A made-up candidate brings its expected accuracy in the place of its rank."""
    real = chosen_by.expected_accuracy

    def expected(shape: Any, method: Any, rank: Any, needs: Any, pilot: Any) -> Any:
        return rank if isinstance(rank, SimpleNamespace) else real(shape, method, rank, needs, pilot)

    monkeypatch.setattr(chosen_by, "expected_accuracy", expected)


def take(needs: Needs, *options: Any) -> tuple[int, str]:
    """Number of the candidate that is taken, and what is said of it."""
    taken = choose(options, needs, SMALL, None)
    (number,) = [number for number, each in enumerate(options) if each is taken.candidate]
    assert taken.accuracy is options[number].settings.lora_r
    return number, taken.why


# -- what fits, and in time -------------------------------------------------------------------------------------------


def test_where_nothing_fits_the_leanest_is_taken() -> None:
    number, why = take(BALANCED, option(total=40), option("qlora-4bit", total=30), option("qlora-8bit", total=35))
    assert (number, why) == (1, "nothing fits; these settings take the least memory")


def test_what_surely_fits_comes_before_what_may_and_that_before_what_does_not() -> None:
    may, does_not = option(high=21, speed=9), option("qlora-8bit", total=21, speed=99)
    assert take(BALANCED, may, option("qlora-4bit"), does_not)[0] == 1
    assert take(BALANCED, may, does_not)[0] == 0


def test_methods_that_do_not_fit_are_named_with_what_they_need() -> None:
    number, why = take(
        BALANCED,
        option("lora", total=40),
        option("qlora-8bit", total=30),
        option("qlora-4bit", total=22),
        option("qlora-4bit", total=10),
    )
    assert number == 3
    assert why.endswith("; 16-bit LoRA needs 40.0, QLoRA-8bit needs 30.0 of 20.0 GiB that can be used")
    assert "needs" not in take(BALANCED, option("lora", total=40), option("lora"), option("qlora-4bit"))[1]


def test_what_is_in_time_comes_first_and_a_deadline_that_none_meets_is_said() -> None:
    due = Needs(accuracy="balanced", deadline_hours=5)
    number, why = take(due, option(speed=9, hours=5.1), option("qlora-4bit", hours=5))
    assert (number, "deadline" in why) == (1, False)
    number, why = take(due, option(speed=9, hours=6), option("qlora-4bit", hours=6))
    assert (number, why.endswith("; none meets the deadline")) == (0, True)


def test_a_deadline_is_met_by_the_slow_end_of_what_is_known() -> None:
    due = Needs(deadline_hours=5)
    assert meets_deadline(option(hours=5), due)
    assert not meets_deadline(option(hours=5.1), due)
    assert not meets_deadline(option(), due)
    unknown = option(hours=1)
    unknown.prediction.speed.hours = None
    assert not meets_deadline(unknown, due)
    assert meets_deadline(option(), Needs())
    assert meets_deadline(option(hours=999), Needs())


# -- the application type ---------------------------------------------------------------------------------------------


def test_an_application_type_takes_its_first_method_that_fits() -> None:
    needs = Needs(application_type="high_performance")
    lora, eight, four = option("lora"), option("qlora-8bit", speed=9), option("qlora-4bit", speed=99)
    assert take(needs, four, eight, lora) == (2, "the rule of thumb for the highest accuracy is LoRA")
    assert take(needs, four, eight)[0] == 1
    assert take(needs, option("lora", loss=0.5), option("lora", speed=9))[0] == 0  # in the order of the candidates
    other = option("lora-fp8", total=9), option("lora-fp8", total=8), option("lora-fp8", total=9)
    number, why = take(needs, *other)
    assert (number, why) == (1, "the rule of thumb for the highest accuracy is LoRA, which does not fit")


@pytest.mark.parametrize("more", [{"accuracy": "balanced"}, {"max_loss": 0.1}])
def test_a_need_for_accuracy_outweighs_the_application_type(more: dict[str, Any]) -> None:
    needs = Needs(application_type="cost_efficient", **more)
    assert take(needs, option("qlora-4bit"), option("lora", speed=9))[0] == 1


# -- accuracy ---------------------------------------------------------------------------------------------------------


def test_economy_takes_what_stores_a_weight_in_the_fewest_bits() -> None:
    needs = Needs(accuracy="economy")
    number, why = take(needs, option("lora", speed=9), option("qlora-8bit"), option("qlora-4bit"), option("qlora-4bit"))
    assert (number, why) == (
        2,
        "economy asks for the least memory, and QLoRA-4bit takes the least for a weight here",
    )
    assert take(needs, option("lora", speed=9), option("qlora-8bit"), option("lora-fp8", speed=2))[0] == 2
    limited = Needs(accuracy="economy", max_loss=0.1)
    assert take(limited, option("qlora-4bit"), option("lora", speed=9))[0] == 1


def test_of_what_surely_meets_the_need_the_fastest_is_taken_or_what_is_nearly_as_fast_and_loses_less() -> None:
    fastest = option("lora-fp8", speed=1.0, loss=0.02)
    number, why = take(BALANCED, fastest, option("lora", speed=0.95, loss=0.0), option("lora", speed=0.9, loss=0.0))
    assert number == 1
    assert "within 5% of the fastest, and losing least, of 3 that fit and are expected to meet it" in why
    number, why = take(BALANCED, fastest, option("lora", speed=0.949, loss=0.0))
    assert (number, ": the fastest of 2 that fit" in why) == (0, True)
    number, why = take(BALANCED, fastest, option("lora", speed=0.97, loss=0.02), option("lora", speed=0.96, loss=0.02))
    assert number == 0  # of those that lose the same, the faster
    number, why = take(BALANCED, option(meets=False, speed=9), option(meets=None, speed=9), option("qlora-4bit"))
    assert (number, ": the only one that fits and is expected to meet it" in why) == (2, True)


def test_where_none_surely_meets_the_need_one_that_may_is_taken_and_else_the_one_that_loses_least() -> None:
    may = option("qlora-8bit", meets=None, loss=0.08)
    number, why = take(BALANCED, option(meets=False, loss=0.0), may, option("qlora-4bit", meets=None, loss=0.09))
    assert number == 1
    assert why.endswith("of those that fit none surely meets it, and this one may; it loses least, 8.0% expected")
    number, why = take(BALANCED, option(meets=False, loss=0.08), option(meets=False, loss=0.07))
    assert number == 1
    assert why.endswith("none of those that fit meets it; it loses least, 7.0% expected")
    slow, fast = option(meets=None, loss=0.08), option(meets=None, loss=0.08, speed=2)
    assert take(BALANCED, slow, fast)[0] == 1


@pytest.mark.parametrize(
    ("needs", "text"),
    [
        (Needs(max_loss=0.031), "a loss of at most 3.1%: "),
        (Needs(accuracy="high", max_loss=0.031), "a loss of at most 3.1%: "),
        (Needs(accuracy="balanced"), "balanced accuracy (at most 3.0% of 16-bit LoRA's score lost): "),
        (Needs(accuracy="economy"), "economy asks"),
    ],
)
def test_the_need_is_said(needs: Needs, text: str) -> None:
    assert take(needs, option())[1].startswith(text)


# -- the whole advice -------------------------------------------------------------------------------------------------


def test_balanced_accuracy_is_meant_where_nothing_is_asked_for() -> None:
    hardware = Hardware(gpu_count=1, gpu_memory_gib=24)
    assert advise(SMALL, hardware, Needs()).needs.accuracy == USUAL_ACCURACY == "balanced"
    for needs in (Needs(accuracy="high"), Needs(max_loss=0.1), Needs(application_type="cost_efficient")):
        assert advise(SMALL, hardware, needs).needs == needs


def test_what_does_not_fit_or_is_not_sure_is_said() -> None:
    roomy = advise(SMALL, Hardware(gpu_count=1, gpu_memory_gib=80), BALANCED)
    assert (roomy.fits, roomy.uncertain, roomy.needs_met, roomy.notes.count(WHO_CAN_SAY)) == (True, False, True, 0)
    assert not any("fit" in note for note in roomy.notes)
    late = advise(
        SMALL, Hardware(gpu_count=1, gpu_memory_gib=80), Needs(accuracy="balanced", rows=1000, deadline_hours=1)
    )
    assert (late.fits, late.accuracy.meets_need, late.needs_met) == (True, True, False)  # no rates: no time is known
    small = advise(SMALL, Hardware(gpu_count=1, gpu_memory_gib=1), BALANCED)
    assert (small.fits, small.uncertain, small.needs_met) == (False, False, False)
    assert any("fit" in note for note in small.notes)
    unsure = advise(find_model("llama-3.1-8b"), Hardware(gpu_count=1, gpu_memory_gib=16), Needs(accuracy="high"))
    assert (unsure.fits, unsure.accuracy.meets_need, unsure.needs_met) == (True, None, False)
    assert unsure.notes.count(WHO_CAN_SAY) == 1


APPLE = Hardware(backend="mps", gpu="Apple M4", gpu_count=1, gpu_memory_gib=64, ram_gib=32)


def test_a_gpu_that_the_engine_has_no_kernels_for_is_left_out_and_that_is_said() -> None:
    cpu = trained_on(APPLE)
    assert (cpu.gpu_count, cpu.gpu_memory_gib, cpu.ram_gib) == (0, 0.0, 64)  # Apple's memory is one for both
    other = APPLE.model_copy(update={"backend": "xpu"})
    assert trained_on(other).ram_gib == 32
    for used in (
        APPLE.model_copy(update={"backend": "cuda"}),
        APPLE.model_copy(update={"backend": "rocm"}),
        Hardware(ram_gib=32),
        APPLE.model_copy(update={"gpu_count": 0}),
    ):
        assert trained_on(used) is used
    notes = advise(SMALL, APPLE, BALANCED).notes
    assert "The engine trains on CUDA GPUs and on CPUs, not on Apple M4." in notes
    assert not any("CUDA GPUs and on CPUs" in note for note in advise(SMALL, Hardware(ram_gib=64), BALANCED).notes)
