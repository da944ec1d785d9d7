"""Memory and speed, against what was measured; their bands; what a calibration changes."""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

import pytest

from sdk.advise import advise, estimate, find_model, predict
from sdk.advise.accuracy import contradictions
from sdk.advise.candidates import Search
from sdk.advise.layers import adapter_parameters, expert_parameters, linear_layers, linear_parameters, parameters
from sdk.advise.memory import CPU_HOLES, CPU_RUNTIME_GIB, CUBLAS_GIB, available_gib, device_gib
from sdk.advise.reliability import MEASURED, reliability
from sdk.advise.speed import pass_seconds, recorded
from sdk.files.store import embedded_base
from sdk.hardware import find_gpu
from sdk.packing import MicroBatch, expected_micro_batch
from sdk.records import Calibration, Hardware, Lengths, Method, ModelShape, Needs, Probed, TrainSettings
from sdk.train.methods import check_settings
from tests.benchmarks import memory as benchmark
from tests.benchmarks import planning

LLAMA_8B = find_model("llama-3.1-8b")
H200 = find_gpu("h200")
CPU = Hardware(ram_gib=64, cpu_cores=4)
RESULTS = Path(__file__).parent / "benchmarks" / "results"
RECOMPUTE, TO_HOST, EMBEDDINGS = {"checkpointing": True}, {"activation_offloading": True}, {"offload_embeddings": True}


def settings(method: Method, batch: int, length: int, checkpointing: bool, **others: Any) -> TrainSettings:
    given = {"lora_r": 16, "lora_alpha": 32, "lora_dropout": 0.05, "learning_rate": 1e-4, "num_train_epochs": 1.0}
    return TrainSettings(
        method=method,
        per_device_train_batch_size=batch,
        max_length=length,
        gradient_checkpointing=checkpointing,
        **{"gradient_accumulation_steps": 1, **given, **others},
    )


@pytest.fixture(scope="module")
def lines() -> list[dict[str, Any]]:
    """What was measured on the GPU, predicted again by the formulas as they are."""
    rows = json.loads((RESULTS / "memory-2026-11-26-h200.json").read_text())["rows"]
    return [benchmark.line_of(each["row"], each["found"]) for each in rows]


# -- against measured runs -----------------------------------------------------------------------------------------


def test_memory_is_within_reach_of_every_measured_run(lines: list[dict[str, Any]]) -> None:
    assert len(lines) >= 80
    held_out = [line["error"] for line in lines if not line["fitted"]]
    assert len(held_out) >= 2 / 3 * len(lines)
    size = sorted(map(abs, held_out))
    assert statistics.median(size) <= 0.015
    assert size[int(0.95 * len(size))] <= 0.05
    assert size[-1] <= 0.08
    assert min(line["error"] for line in lines) >= -0.05
    assert all(line["allocated_gib"] <= line["predicted_high_gib"] for line in lines)


def test_what_the_driver_shows_is_within_reach_too(lines: list[dict[str, Any]]) -> None:
    errors = [abs(line["predicted_device_gib"] / line["device_gib"] - 1) for line in lines if line["device_gib"]]
    assert statistics.median(errors) <= 0.015
    assert max(errors) <= 0.05


def test_speed_is_within_reach_at_the_median(lines: list[dict[str, Any]]) -> None:
    errors = [abs(line["speed_error"]) for line in lines if line["speed_error"] is not None]
    assert len(errors) >= 40
    assert statistics.median(errors) <= 0.15


def test_measured_runs_cover_what_the_advice_is_given_for(lines: list[dict[str, Any]]) -> None:
    seen = {name: {line[name] for line in lines} for name in ("method", "gpus", "packing", "gradient_checkpointing")}
    assert seen["method"] == {"lora", "qlora-4bit", "qlora-8bit", "lora-fp8"}
    assert seen["gpus"] == {1, 2}
    assert seen["packing"] == seen["gradient_checkpointing"] == {True, False}
    for name, low, high in (("length", 512, 16_384), ("batch", 1, 16), ("lora_r", 8, 256)):
        assert min(line[name] for line in lines) <= low
        assert max(line[name] for line in lines) >= high
    assert any("num_experts" in line["config"] for line in lines)


def test_the_figures_that_ship_are_those_of_these_runs(lines: list[dict[str, Any]]) -> None:
    assert json.loads(MEASURED.read_text()) == benchmark.summary(lines)
    given = settings("qlora-4bit", 1, 512, True)
    memory, speed = reliability(given, H200)
    assert memory.scope.startswith("peak memory with qlora-4bit")
    assert speed.scope.startswith("tokens/s with qlora-4bit")
    assert reliability(given, CPU) == ()


def test_earlier_runs_are_predicted_as_well() -> None:
    shapes = {"1b": "llama-3.2-1b", "8b": "llama-3.1-8b", "70b": "llama-3.1-70b"}
    seen = 0
    for each in json.loads((RESULTS / "training-2026-11-20-h200.json").read_text())["results"]:
        case = each["case"]
        if case["engine"] != "ours" or "parity" in each["name"] or not each["peak_gib"]:
            continue
        given = settings(
            case["method"],
            case["batch"],
            case["length"],
            case["checkpointing"],
            lora_dropout=0.0,
            checkpointed_layers=case["layers"],
            activation_offloading=case["offload"],
            offload_embeddings=case["host_embeddings"],
        )
        predicted = estimate(find_model(shapes[case["shape"]]), given, H200).total
        assert predicted == pytest.approx(each["peak_gib"], rel=0.02), each["name"]
        seen += 1
    assert seen >= 20


def test_plans_ran_and_came_near_the_fastest_that_fits() -> None:
    found = json.loads((RESULTS / "planning-2026-11-26-h200.json").read_text())
    compared = planning.compare(found["runs"])
    assert compared == found["plans"]
    assert len(compared) >= 40
    assert not any(each["failed"] for each in compared)
    assert statistics.mean(each["share"] for each in compared) >= 0.97


def test_the_benchmark_measures_a_row_and_predicts_it() -> None:
    row = {"name": "small", "model": "tiny", "method": "qlora-4bit", "max_length": 32, "lengths": "varied", "steps": 3}
    found = benchmark.measure({**row, "per_device_train_batch_size": 3, "packing": True})
    assert 32 <= found["tokens"] <= 96
    assert len(found["seconds"]) == 2
    line = benchmark.line_of(row, {**found, "gpu": "NVIDIA H200", "allocated_gib": 1.0, "alone": True})
    assert line["predicted_low_gib"] < line["predicted_gib"] < line["predicted_high_gib"]
    assert line["error"] == pytest.approx(line["predicted_gib"] - 1)
    assert line["tokens_per_second"] > 0


# -- memory --------------------------------------------------------------------------------------------------------


def test_each_way_to_save_memory_saves_some() -> None:
    def total(shape: ModelShape = LLAMA_8B, hardware: Hardware = H200, **options: Any) -> float:
        given = {"checkpointing": True, "gradient_accumulation_steps": 2, **options}
        return estimate(shape, settings("qlora-4bit", 4, 2048, **given), hardware).total

    by_layers = [total(checkpointed_layers=layers) for layers in (32, 31, 16, 1)]
    assert by_layers == sorted(by_layers)
    assert by_layers[0] == total() < by_layers[1]
    assert by_layers[-1] < total(checkpointing=False)
    assert total(**TO_HOST) == pytest.approx(total() - 30 * 4 * 2048 * 4096 * 2 / 2**30)
    assert total(**EMBEDDINGS) == pytest.approx(total() - 128_256 * 4096 * 2 / 2**30)
    assert total(lora_dropout=0.0) < total()
    tied, cpu = find_model("llama-3.2-1b"), Hardware(ram_gib=64)
    assert total(tied, **EMBEDDINGS) == total(tied)
    assert total(hardware=cpu, **TO_HOST, **EMBEDDINGS) == total(hardware=cpu)


@pytest.mark.parametrize("method", ["lora", "qlora-4bit", "qlora-8bit", "lora-fp8"])
@pytest.mark.parametrize("checkpointing", [True, False])
@pytest.mark.parametrize("hardware", [H200, CPU])
def test_memory_grows_with_every_dimension(method: Method, checkpointing: bool, hardware: Hardware) -> None:
    def total(batch: int = 2, length: int = 512, r: int = 16) -> float:
        return estimate(LLAMA_8B, settings(method, batch, length, checkpointing, lora_r=r), hardware).total

    lengths = [total(length=length) for length in (64, 512, 513, 4096, 32_768)]
    assert lengths == sorted(lengths)
    assert len(set(lengths)) == len(lengths)
    assert total(batch=3) > total()
    assert total(r=32) > total()
    given = settings(method, 2, 4096, checkpointing)
    by_tokens = [estimate(LLAMA_8B, given, hardware, tokens).total for tokens in (1, 700, 8191, 8192)]
    assert by_tokens == sorted(set(by_tokens))
    assert by_tokens[-1] == estimate(LLAMA_8B, given, hardware).total
    by_learned = [estimate(LLAMA_8B, given, hardware, learned=share).total for share in (0.01, 0.1, 0.5, 1.0)]
    assert by_learned == sorted(by_learned)
    assert by_learned[0] < by_learned[-1] or checkpointing  # else the peak is at the loss
    without = estimate(LLAMA_8B, settings(method, 2, 512, False), hardware).total
    assert without > estimate(LLAMA_8B, settings(method, 2, 512, True), hardware).total


def test_weights_are_those_of_the_method_and_of_the_processor() -> None:
    def weights(method: Method, hardware: Hardware) -> float:
        return estimate(LLAMA_8B, settings(method, 1, 128, True), hardware).weights * 2**30

    linear, other = 6_979_321_856, 1_050_939_392
    outputs = sum(layer.outputs * layer.count for layer in linear_layers(LLAMA_8B))
    inputs = sum(layer.inputs * layer.count for layer in linear_layers(LLAMA_8B))
    assert parameters(LLAMA_8B) == linear + other == 8_030_261_248  # as the model card says
    assert weights("lora", H200) == pytest.approx(2 * (linear + other))
    assert weights("qlora-8bit", H200) == pytest.approx(linear + 4 * outputs + 2 * other)
    assert weights("lora-fp8", H200) == pytest.approx(linear + 4 * (outputs + inputs) + 2 * other)
    assert weights("qlora-4bit", H200) == pytest.approx(0.5159 * linear + 2 * other, rel=1e-4)
    assert weights("lora", CPU) == pytest.approx(4 * (linear + other))


def test_experts_stay_in_sixteen_bits_and_bear_no_adapters() -> None:
    shape = find_model("qwen3-30b-a3b")
    weights = estimate(shape, settings("qlora-4bit", 1, 128, True), H200).weights * 2**30
    assert weights > 2 * expert_parameters(shape)
    attention = sum((x.inputs + x.outputs) * x.count for x in linear_layers(shape) if x.group in ("qkv", "o"))
    assert adapter_parameters(shape, 8) == 8 * attention


def test_gradients_are_held_between_passes_and_once_more_in_ddps_buckets() -> None:
    size = 4 * adapter_parameters(LLAMA_8B, 256) / 2**30

    def gradients(**options: Any) -> float:
        return estimate(LLAMA_8B, settings("qlora-4bit", 2, 1024, False, lora_r=256, **options), H200).gradients

    assert gradients() == pytest.approx(0)
    assert gradients(gradient_accumulation_steps=2) == pytest.approx(size)
    assert gradients(gpus=2) == pytest.approx(size)
    assert gradients(gradient_accumulation_steps=2, gpus=2) == pytest.approx(2 * size)


def test_with_few_tokens_and_a_high_rank_the_peak_is_where_all_gradients_are_there() -> None:
    memory = estimate(LLAMA_8B, settings("qlora-4bit", 1, 8, True, lora_r=1024), H200)
    assert memory.activations == pytest.approx(0, abs=1e-3)  # positions
    assert memory.gradients == pytest.approx(4 * adapter_parameters(LLAMA_8B, 1024) / 2**30)
    assert CUBLAS_GIB <= memory.workspace < 0.5


def test_a_sharded_base_is_split_but_for_what_stands_outside_of_its_layers() -> None:
    def weights(gpus: int, shard: bool) -> float:
        return estimate(LLAMA_8B, settings("lora", 1, 128, True, gpus=gpus, shard_base=shard), H200).weights * 2**30

    linear = 2 * linear_parameters(LLAMA_8B)
    assert weights(4, False) == weights(1, False)
    assert weights(4, True) == pytest.approx(weights(1, False) - linear * 3 / 4 + 2 * linear / 32)


def test_part_of_the_memory_is_left_to_driver_and_system() -> None:
    card = Hardware(gpu_count=1, gpu_memory_gib=24)
    assert 22 < available_gib(card) < 23.5
    assert available_gib(card, gpus=2) < available_gib(card)
    assert available_gib(Hardware(ram_gib=10)) == pytest.approx(8)
    assert available_gib(Hardware(gpu_count=1, gpu_memory_gib=0.1)) == 0
    memory = estimate(LLAMA_8B, settings("lora", 1, 128, True), card)
    assert memory.total < device_gib(memory, card) < device_gib(memory, card, gpus=2)
    assert device_gib(memory, Hardware()) == memory.total


# -- bands ---------------------------------------------------------------------------------------------------------


def share(shape: ModelShape, hardware: Hardware) -> float:
    given = predict(shape, settings("lora", 2, 1024, False), hardware, Needs())
    assert given.memory_low.total < given.memory.total < given.memory_high.total
    assert given.memory_low.weights == given.memory.weights == given.memory_high.weights
    return given.memory_high.total / given.memory.total - 1


def test_what_was_measured_least_has_the_widest_band() -> None:
    on_h200, elsewhere, on_cpu = (share(LLAMA_8B, where) for where in (H200, find_gpu("rtx 4090"), CPU))
    unknown = LLAMA_8B.model_copy(update={"model_type": "next_month"})
    assert on_h200 < elsewhere < min(on_cpu, share(unknown, H200))
    assert share(find_model("gemma-2-9b"), H200) < elsewhere  # measured, as every architecture that the engine trains
    assert elsewhere < share(find_model("gemma-2-9b"), find_gpu("t4"))  # which has no flash attention
    assert share(LLAMA_8B, find_gpu("mi300x")) > elsewhere


def test_speed_says_where_it_comes_from() -> None:
    given, need = settings("lora", 2, 1024, False), Needs(rows=1000)

    def speed(hardware: Hardware, shape: ModelShape = LLAMA_8B) -> Any:
        return predict(shape, given, hardware, need).speed

    assert "held against" in speed(H200).basis
    assert "not measured" in speed(find_gpu("a100 80gb")).basis
    assert "of this architecture" in speed(H200, find_model("qwen3-30b-a3b")).basis
    assert "not of this one" in speed(H200, LLAMA_8B.model_copy(update={"model_type": "next_month"})).basis
    assert "sdk probe" in speed(CPU).basis
    measured = CPU.model_copy(update={"tflops": 0.2, "bandwidth_gbs": 8.0})  # a usual core's, four times
    assert "measured to do" in speed(measured).basis
    known, guessed = speed(measured).tokens_per_second, speed(CPU).tokens_per_second
    assert known.expected == pytest.approx(guessed.expected)
    assert known.high < guessed.high
    twice = measured.model_copy(update={"tflops": 0.4, "bandwidth_gbs": 16.0})
    assert speed(twice).tokens_per_second.expected == pytest.approx(2 * known.expected, rel=0.1)
    assert speed(Hardware(gpu_count=1, gpu_memory_gib=80)) is None
    slow, fast = speed(find_gpu("t4")), speed(H200)
    assert slow.tokens_per_second.expected < fast.tokens_per_second.expected / 5
    assert slow.tokens_per_second.high / slow.tokens_per_second.low > 2
    assert fast.kwh == pytest.approx(fast.hours.expected * 0.7)


# -- rows ----------------------------------------------------------------------------------------------------------

VARIED = Lengths(
    rows=1000,
    total=300_000,
    longest=(2000, 1500, 1000, *[800] * 61),
    percentiles={50: 250, 90: 600, 95: 700, 99: 900},
    exact=True,
)


def test_known_rows_fill_passes_as_they_are() -> None:
    needs = Needs(lengths=VARIED, rows=1000, max_length=2048)
    plain = expected_micro_batch(settings("lora", 4, 2048, False), needs)
    assert (plain.tokens, plain.rows) == (4 * 300, 4)
    assert plain.largest == 2000 + 1500 + 1000 + 800
    packed = expected_micro_batch(settings("lora", 4, 2048, False, packing=True), needs)
    assert packed.largest == 4 * 2048
    assert 0.85 * packed.largest < packed.tokens <= packed.largest
    assert packed.rows == pytest.approx(packed.tokens / 300)
    assert 300 < packed.row < 2000
    unknown = expected_micro_batch(settings("lora", 4, 2048, False), Needs(max_length=2048))
    assert unknown == (4 * 2048, 4 * 2048, 4, 2048)


def test_known_rows_take_less_memory_and_time_than_full_ones() -> None:
    given = settings("lora", 4, 2048, False)
    known = predict(LLAMA_8B, given, H200, Needs(lengths=VARIED, rows=1000, max_length=2048))
    full = predict(LLAMA_8B, given, H200, Needs(rows=1000, max_length=2048))
    assert known.memory.total < full.memory.total
    assert known.speed
    assert full.speed
    assert known.speed.hours
    assert full.speed.hours
    assert known.speed.steps == full.speed.steps
    assert known.speed.hours.expected < full.speed.hours.expected


# -- calibration ---------------------------------------------------------------------------------------------------


def calibration(given: TrainSettings, gib: float | None, seconds: float | None) -> Calibration:
    probed = Probed(
        settings=given,
        tokens=2048,
        predicted_gib=1.0,
        measured_gib=gib,
        measured_seconds=seconds,
        error="" if gib else "no",
    )
    return Calibration(hardware=H200, base_name="8b", probes=(probed,))


def test_a_calibration_pulls_memory_and_speed_to_what_was_measured() -> None:
    given, need = settings("lora", 2, 1024, False), Needs()
    plain = predict(LLAMA_8B, given, H200, need)
    assert plain.speed
    pass_seconds = 2048 / plain.speed.tokens_per_second.expected
    for factor in (0.8, 1.3):
        measured = plain.memory.weights + factor * (plain.memory.total - plain.memory.weights)
        found = predict(LLAMA_8B, given, H200, need, calibration(given, measured, 2 * pass_seconds))
        assert found.memory.total == pytest.approx(measured)
        assert found.memory.weights == plain.memory.weights
        assert found.speed
        speed = plain.speed.tokens_per_second.expected / found.speed.tokens_per_second.expected
        assert speed == pytest.approx(2, rel=0.1)
        assert "calibrated" in found.speed.basis
        band = found.speed.tokens_per_second
        assert band.high / band.low < plain.speed.tokens_per_second.high / plain.speed.tokens_per_second.low


def test_a_calibration_of_another_method_or_of_a_failure_changes_nothing() -> None:
    given, need = settings("lora", 2, 1024, False), Needs()
    plain = predict(LLAMA_8B, given, H200, need)
    other = calibration(settings("qlora-4bit", 2, 1024, False), 5.0, 1.0)
    failed = calibration(given, None, None)
    assert predict(LLAMA_8B, given, H200, need, other) == plain == predict(LLAMA_8B, given, H200, need, failed)


def test_a_calibration_of_a_cpu_corrects_the_whole_process() -> None:
    shape, given = find_model("embedded"), settings("lora", 4, 256, False)
    plain = predict(shape, given, CPU, Needs())
    found = predict(shape, given, CPU, Needs(), calibration(given.model_copy(), plain.memory.total / 2, 0.1))
    assert found.memory.total < plain.memory.total
    assert found.memory_high.total / found.memory.total < plain.memory_high.total / plain.memory.total


def test_free_memory_between_tensors_is_counted_on_a_cpu_and_in_layers_that_recompute() -> None:
    shape = find_model(str(embedded_base()))
    given = settings("lora", 8, 512, False, gradient_accumulation_steps=2)
    kept = estimate(shape, given, CPU)
    recomputed = estimate(shape, given.model_copy(update={"gradient_checkpointing": True}), CPU)
    assert kept.workspace == pytest.approx(CPU_RUNTIME_GIB + CPU_HOLES * kept.activations)
    assert 0.2 * kept.activations < recomputed.workspace - CPU_RUNTIME_GIB < kept.activations


def test_memory_on_a_cpu_is_within_ten_percent_of_what_processes_took() -> None:
    rows = json.loads((RESULTS / "memory-2026-11-30-cpu.json").read_text())["rows"]
    limits = {1: 0.14, 2: 0.1}  # by the passes of a step
    lines = [benchmark.line_of(row["row"], row["found"]) for row in rows]
    assert len(lines) > 40
    assert [line["name"] for line in lines if abs(line["error"]) > limits[line["accumulation"]]] == []


# -- kinds of adapter ----------------------------------------------------------------------------------------------


ONE_B = find_model("llama-3.2-1b")


def of_kind(**changes: Any) -> Any:
    given = settings("lora", 4, 1024, False, lora_dropout=0.0, gradient_accumulation_steps=2, **changes)
    return predict(ONE_B, given, H200, Needs(max_length=1024))


def test_each_kind_of_adapter_is_predicted_by_what_it_trains_and_keeps() -> None:
    lora = of_kind()
    assert of_kind(use_rslora=True, init_lora_weights="pissa") == lora
    dora, adalora = of_kind(use_dora=True), of_kind(peft_type="adalora")
    # Outputs that no activation keeps: of q, k, v, o and down, in 16 bits.
    outputs = 16 * 4096 * 2 * (2048 + 512 + 512 + 2048 + 2048) / 2**30
    assert dora.memory.activations - lora.memory.activations == pytest.approx(outputs)
    assert 1.05 < dora.memory.total / lora.memory.total <= 1.2
    assert 1.0 < adalora.memory.total / lora.memory.total <= 1.2
    assert adalora.memory.optimizer == pytest.approx(lora.memory.optimizer * 5 / 2, rel=1e-3)
    for other in (dora, adalora):
        assert 0.7 < other.relative_speed / lora.relative_speed < 1
        assert "not measured yet" in other.speed.basis
    prompt, prefix, p_tuning = (of_kind(peft_type=kind) for kind in ("prompt_tuning", "prefix_tuning", "p_tuning"))
    one_row = predict(ONE_B, settings("lora", 1, 1024, False, lora_dropout=0.0), H200, Needs(max_length=1024))
    assert prompt.memory.total < prefix.memory.total < p_tuning.memory.total < one_row.memory.total
    assert prompt.memory.adapters == pytest.approx(4 * 20 * 2048 / 2**30)
    assert p_tuning.memory.optimizer == pytest.approx(8 * (20 * 2048 + 3 * (2048 + 1) * 2048) / 2**30)


def test_dropout_and_4_bits_cost_dora_what_they_cost() -> None:
    dropped, lora = of_kind(use_dora=True), of_kind()
    more = dropped.memory.total - lora.memory.total
    with_dropout = settings("lora", 4, 1024, False, gradient_accumulation_steps=2)
    both = [
        predict(ONE_B, with_dropout.model_copy(update={"use_dora": dora}), H200, Needs(max_length=1024))
        for dora in (False, True)
    ]
    assert both[1].memory.total - both[0].memory.total == pytest.approx(more, rel=0.02)
    large = settings("qlora-4bit", 4, 1024, False, gradient_accumulation_steps=2, lora_dropout=0.0)
    quantized = [
        predict(LLAMA_8B, large.model_copy(update={"use_dora": dora}), H200, Needs(max_length=1024))
        for dora in (False, True)
    ]
    assert quantized[1].memory.total <= 1.2 * quantized[0].memory.total
    assert quantized[1].relative_speed >= 0.7 * quantized[0].relative_speed


def test_measured_prompts_were_as_large_as_they_are_counted() -> None:
    """On the H200 with PEFT's layers, all four rows in one pass: 6.3 to 6.5 GiB."""
    for kind, low, high in (("prompt_tuning", 6.25, 6.35), ("p_tuning", 6.4, 6.6)):
        given = settings("lora", 4, 1024, False, lora_dropout=0.0, gradient_accumulation_steps=2, peft_type=kind)
        assert low < estimate(ONE_B, given, H200).total < high


@pytest.mark.parametrize(
    "asked", [{"use_dora": True}, {"peft_type": "adalora"}, {"peft_type": "prefix_tuning"}], ids=str
)
def test_advice_for_another_kind_holds_what_training_accepts(asked: dict[str, Any]) -> None:
    tight = H200.model_copy(update={"gpu_memory_gib": 21.0, "gpu_count": 2})
    for hardware in (H200, tight):
        advice = advise(LLAMA_8B, hardware, Needs(max_length=1024, rows=1000, accuracy="balanced", **asked))
        tried = [advice.settings, *(other.settings for other in Search(LLAMA_8B, hardware, advice.needs).candidates())]
        for given in tried:
            assert {name: getattr(given, name) for name in asked} == asked
            check_settings(given)
            assert not given.shard_base
        assert advice.reliability == ()
        assert any("`sdk pilot`" in note for note in advice.notes)
        assert "As asked for." in advice.reasons.values()
    assert advise(LLAMA_8B, H200, Needs(use_dora=True)).settings.lora_dropout == 0


def test_needs_without_a_kind_have_the_bytes_that_they_had() -> None:
    assert not {"peft_type", "use_dora"} & Needs().model_dump().keys()
    assert contradictions(Needs(peft_type="adalora", use_dora=True))


def test_a_cpu_leaves_out_what_nothing_reads_of_the_last_mlp(monkeypatch: pytest.MonkeyPatch) -> None:
    shape, settings = find_model("smollm2-135m"), benchmark.settings_of({"method": "lora"})
    cpu, filled = Hardware(cpu_cores=2, tflops=0.1, bandwidth_gbs=8), MicroBatch(2048, 2048, 8, 256)
    all_learned, few = (pass_seconds(shape, settings, cpu, filled, learned) for learned in (1.0, 0.25))
    monkeypatch.setattr("sdk.advise.speed.last_mlp", lambda shape: 0)
    assert pass_seconds(shape, settings, cpu, filled, 1.0) == all_learned
    products = 4 * 3 * shape.hidden_size * shape.intermediate_size * 2048  # forward, and to its input
    assert pass_seconds(shape, settings, cpu, filled, 0.25) - few == pytest.approx(0.75 * products / 0.1e12)


def test_layers_are_recorded_where_it_is_asked_for_and_there_is_room() -> None:
    small = find_model("qwen2.5-0.5b")
    settings = benchmark.settings_of({"method": "lora", "max_length": 1024, "cuda_graphs": True})
    assert recorded(small, settings, find_gpu("h200"))
    assert not recorded(small, settings, Hardware(gpu="small", gpu_count=1, gpu_memory_gib=4))
    assert not recorded(small, settings.model_copy(update={"cuda_graphs": False}), find_gpu("h200"))
    assert not recorded(find_model("llama-3.1-8b"), settings, find_gpu("h200"))
    assert not recorded(small, settings, Hardware())


def test_advice_asks_for_recorded_layers_once_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    def advised(model: str, gpu: str = "h200") -> bool:
        needs = Needs(rows=1000)
        return advise(find_model(model), find_gpu(gpu), needs).settings.cuda_graphs

    assert not advised("qwen2.5-0.5b")
    monkeypatch.setattr(sys.modules["sdk.advise.candidates"], "GRAPHS_BY_DEFAULT", True)
    assert advised("qwen2.5-0.5b")
    assert not advised("llama-3.1-8b")
