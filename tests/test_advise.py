from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sdk.advise import DeploymentStrategy, advise, catalogue, find_gpu, find_model
from sdk.advise.memory import available_gib, estimate, parameters
from sdk.advise.recipe import TINY_LEARNING_RATE, TINY_STEPS
from sdk.errors import InvalidInput
from sdk.records import Accuracy, Hardware, Method, ModelShape, Needs, TrainSettings

LLAMA_8B = find_model("llama-3.1-8b")
LLAMA_70B = find_model("llama-3.1-70b")
H200 = find_gpu("h200")
RECOMPUTE, TO_HOST, EMBEDDINGS = {"checkpointing": True}, {"activation_offloading": True}, {"offload_embeddings": True}
TINY = ModelShape(
    name="tiny",
    hidden_size=192,
    intermediate_size=512,
    num_hidden_layers=6,
    num_attention_heads=6,
    num_key_value_heads=6,
    head_dim=32,
    vocab_size=1024,
    tie_word_embeddings=True,
    max_position_embeddings=512,
    source="test",
)


def gpu(gib: float) -> Hardware:
    return Hardware(gpu_count=1, gpu_memory_gib=gib)


def settings(method: Method, batch: int, length: int, checkpointing: bool, **others: Any) -> TrainSettings:
    given = {"lora_r": 16, "lora_alpha": 32, "lora_dropout": 0.05, "learning_rate": 1e-4, "num_train_epochs": 1.0}
    return TrainSettings(
        method=method,
        per_device_train_batch_size=batch,
        max_length=length,
        gradient_checkpointing=checkpointing,
        gradient_accumulation_steps=1,
        **{**given, **others},
    )


# -- method --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gib", "need", "method"),
    [
        (80, {"application_type": "high_performance"}, "lora"),
        (24, {"application_type": "high_performance"}, "lora"),
        (16, {"application_type": "high_performance"}, "qlora-8bit"),
        (10, {"application_type": "high_performance"}, "qlora-4bit"),
        (80, {"application_type": "cost_efficient"}, "qlora-4bit"),
        (24, {"application_type": "resource_constrained"}, "qlora-8bit"),
        (8, {"application_type": "resource_constrained"}, "qlora-4bit"),
        (24, {"application_type": "rapid_development"}, "lora"),
        (16, {"application_type": "rapid_development"}, "qlora-4bit"),
        (24, {"accuracy": "highest"}, "lora"),
        (24, {"accuracy": "high"}, "lora"),
        (16, {"accuracy": "high"}, "qlora-4bit"),
        (24, {"accuracy": "balanced"}, "qlora-4bit"),
        (48, {"accuracy": "balanced"}, "lora"),
        (141, {"accuracy": "balanced"}, "lora"),
        (24, {}, "qlora-4bit"),
        (141, {"accuracy": "economy"}, "qlora-4bit"),
        (24, {"accuracy": "high", "application_type": "cost_efficient"}, "lora"),
    ],
)
def test_the_need_and_the_memory_decide_the_method(gib: float, need: dict[str, Any], method: Method) -> None:
    advice = advise(LLAMA_8B, gpu(gib), Needs(**need))
    assert advice.settings.method == method
    assert advice.fits
    assert advice.memory.total <= advice.available_gib < gib


@pytest.mark.parametrize("accuracy", ["highest", "high", "balanced", "economy"])
@pytest.mark.parametrize("name", ["llama-3.2-1b", "llama-3.1-8b", "llama-2-13b", "llama-3.1-70b"])
def test_more_memory_never_makes_what_fits_not_fit(name: str, accuracy: Accuracy) -> None:
    shape, fitted = find_model(name), False
    for gib in range(1, 161):
        advice = advise(shape, gpu(gib), Needs(accuracy=accuracy))
        assert advice.fits or not fitted, f"{name} fits less with {gib} GiB"
        assert advice.fits == (advice.memory.total <= advice.available_gib)
        assert advice.fits or not any(other.fits for other in advice.alternatives)
        fitted = advice.fits
    assert fitted


def test_every_setting_has_a_reason_and_the_other_methods_stand_beside() -> None:
    for shape, hardware, need in [
        (LLAMA_8B, gpu(24), Needs(accuracy="high")),
        (LLAMA_70B, gpu(24), Needs()),
        (TINY, Hardware(), Needs(rows=400)),
    ]:
        advice = advise(shape, hardware, need)
        assert set(advice.reasons) >= {
            name for name, field in TrainSettings.model_fields.items() if field.is_required()
        }
        assert set(advice.reasons) <= set(TrainSettings.model_fields)
        assert all(len(reason) > 15 for reason in advice.reasons.values())
        methods = {advice.settings.method, *(other.method for other in advice.alternatives)}
        assert methods == {"lora", "qlora-4bit", "qlora-8bit"}


def test_what_does_not_fit_says_what_would() -> None:
    advice = advise(LLAMA_70B, find_gpu("rtx 4090"), Needs(accuracy="high"))
    assert not advice.fits
    said = " ".join(advice.notes)
    named = next(entry for entry in catalogue.gpus() if f"e.g. {entry.gpu}." in said)
    assert advise(LLAMA_70B, named, Needs(accuracy="high")).fits
    assert not any(
        advise(LLAMA_70B, other, Needs(accuracy="high")).fits
        for other in catalogue.gpus()
        if other.gpu_memory_gib < named.gpu_memory_gib
    )
    assert "billion parameters" in said


def test_shorter_rows_are_proposed_where_they_fit_and_never_taken_silently() -> None:
    need = Needs(max_length=32_768)
    advice = advise(LLAMA_8B, gpu(12), need)
    assert not advice.fits
    assert advice.settings.max_length == 32_768
    length = next(int(note.split()[4]) for note in advice.notes if note.startswith("Rows of at most"))
    assert advise(LLAMA_8B, gpu(12), Needs(max_length=length)).fits
    assert not advise(LLAMA_8B, gpu(12), Needs(max_length=length * 2)).fits


def test_eight_bits_come_with_a_warning_and_no_bfloat16_with_another() -> None:
    advice = advise(find_model("qwen2.5-1.5b"), find_gpu("T4"), Needs(application_type="resource_constrained"))
    assert advice.settings.method == "qlora-8bit"
    assert any("beaten" in note for note in advice.notes)
    assert any("bfloat16" in note for note in advice.notes)


# -- settings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "gib", "rank"), [("llama-3.1-8b", 16, 16), ("llama-3.1-8b", 24, 32), ("llama-2-13b", 48, 64)]
)
def test_four_bits_get_a_high_rank_where_accuracy_counts(name: str, gib: float, rank: int) -> None:
    shape = find_model(name)
    chosen = advise(shape, gpu(gib), Needs(accuracy="balanced")).settings
    assert (chosen.method, chosen.lora_r, chosen.lora_alpha) == ("qlora-4bit", rank, 2 * rank)
    assert 8 <= chosen.gradient_accumulation_steps <= 16 or rank == 16
    assert chosen.learning_rate == (1e-4 if rank > 16 else 2e-4)
    assert chosen.num_train_epochs == (4.5 if rank > 16 else 3)
    assert advise(shape, gpu(gib), Needs(accuracy="economy")).settings.lora_r == 16


def test_the_domains_starting_values_are_kept_with_their_reason() -> None:
    need = Needs(accuracy="high", lora_r=8, lora_alpha=32, lora_dropout=0.1, adapter_reason="short answers")
    advice = advise(LLAMA_8B, gpu(16), need)
    chosen = advice.settings
    assert (chosen.lora_r, chosen.lora_alpha, chosen.lora_dropout) == (8, 32, 0.1)
    assert all("short answers" in advice.reasons[field] for field in ("lora_r", "lora_alpha", "lora_dropout"))
    assert any("rank of 32" in note for note in advice.notes)


@pytest.mark.parametrize(("name", "rate"), [("llama-2-13b", 2e-4), ("llama-3.1-70b", 1e-4)])
def test_large_models_learn_at_half_the_rate(name: str, rate: float) -> None:
    assert advise(find_model(name), gpu(180), Needs(accuracy="economy")).settings.learning_rate == rate


def test_a_tiny_model_on_a_cpu_learns_fast_and_long_in_sixteen_bit_lora() -> None:
    advice = advise(TINY, Hardware(cpu_cores=2, ram_gib=4), Needs(accuracy="high", rows=400))
    chosen = advice.settings
    assert advice.fits
    assert (chosen.method, chosen.learning_rate) == ("lora", TINY_LEARNING_RATE)
    assert chosen.num_train_epochs * 400 / 16 == pytest.approx(TINY_STEPS, rel=0.1)
    assert not chosen.gradient_checkpointing
    assert advice.available_gib == pytest.approx(3.2)


@pytest.mark.parametrize(("rows", "epochs"), [(None, 3), (400, 5), (5_000, 3), (100_000, 1)])
def test_the_number_of_rows_decides_the_passes(rows: int | None, epochs: float) -> None:
    assert advise(LLAMA_8B, gpu(80), Needs(accuracy="highest", rows=rows)).settings.num_train_epochs == epochs


def test_rows_longer_than_the_model_takes_are_bounded_and_said() -> None:
    advice = advise(TINY, Hardware(), Needs(max_length=4096))
    assert advice.settings.max_length == 512
    assert any("refused, not cut" in note for note in advice.notes)


def test_checkpointing_and_small_batches_come_only_with_little_memory() -> None:
    shape, need = find_model("qwen2.5-1.5b"), Needs(accuracy="high")
    roomy, tight = advise(shape, gpu(80), need).settings, advise(shape, gpu(6), need).settings
    assert not roomy.gradient_checkpointing
    assert tight.gradient_checkpointing
    for chosen in (roomy, tight):
        assert chosen.per_device_train_batch_size * chosen.gradient_accumulation_steps == 16


# -- memory --------------------------------------------------------------------------------------------------------

# Peaks of torch's allocator on one H200 (torch 2.11), GiB: tests/benchmarks/training.py, r = 16, no dropout, one pass a
# step, so that few gradients are there at the peak though all are predicted.
MEASURED: list[tuple[str, Method, int, int, dict[str, Any], float]] = [
    ("llama-3.1-8b", "qlora-4bit", 8, 2048, {}, 75.23),
    ("llama-3.1-8b", "qlora-4bit", 4, 4096, {}, 75.23),
    ("llama-3.1-8b", "lora", 8, 2048, {}, 84.88),
    ("llama-3.1-8b", "qlora-8bit", 8, 2048, {}, 78.38),
    ("llama-3.1-8b", "lora-fp8", 8, 2048, {}, 78.39),
    ("llama-3.1-8b", "qlora-4bit", 4, 2048, {}, 40.95),
    ("llama-3.1-8b", "lora", 4, 2048, {}, 50.60),
    ("llama-3.1-8b", "qlora-8bit", 4, 2048, {}, 44.10),
    ("llama-3.1-8b", "lora-fp8", 4, 2048, {}, 44.11),
    ("llama-3.1-8b", "qlora-4bit", 8, 2048, RECOMPUTE, 12.61),
    ("llama-3.1-8b", "lora", 8, 2048, RECOMPUTE, 22.15),
    ("llama-3.1-8b", "qlora-8bit", 4, 2048, RECOMPUTE, 12.47),
    ("llama-3.1-8b", "qlora-4bit", 8, 2048, RECOMPUTE | {"checkpointed_layers": 16}, 43.27),
    ("llama-3.1-8b", "qlora-4bit", 4, 2048, RECOMPUTE | TO_HOST | EMBEDDINGS, 6.61),
    ("llama-3.2-1b", "lora", 8, 2048, {}, 22.04),
    ("llama-3.2-1b", "qlora-4bit", 8, 2048, {}, 20.70),
    ("llama-3.2-1b", "qlora-8bit", 8, 2048, {}, 21.14),
    ("llama-3.2-1b", "lora-fp8", 8, 2048, {}, 21.14),
    ("llama-3.1-70b", "qlora-4bit", 1, 512, RECOMPUTE | EMBEDDINGS, 38.98),
    ("llama-3.1-70b", "qlora-4bit", 4, 2048, RECOMPUTE | TO_HOST | EMBEDDINGS, 41.48),
]


@pytest.mark.parametrize(("name", "method", "batch", "length", "options", "peak"), MEASURED)
def test_predictions_are_near_the_measured_peaks(
    name: str, method: Method, batch: int, length: int, options: dict[str, Any], peak: float
) -> None:
    given = settings(method, batch, length, **{"checkpointing": False, "lora_dropout": 0.0, **options})
    assert estimate(find_model(name), given, H200).total == pytest.approx(peak, rel=0.015)


def test_each_way_to_save_memory_saves_some() -> None:
    def total(shape: ModelShape = LLAMA_8B, hardware: Hardware = H200, **options: Any) -> float:
        return estimate(shape, settings("qlora-4bit", 4, 2048, **{"checkpointing": True, **options}), hardware).total

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


@pytest.mark.parametrize("method", ["lora", "qlora-4bit", "qlora-8bit"])
@pytest.mark.parametrize("checkpointing", [True, False])
@pytest.mark.parametrize("hardware", [H200, Hardware(ram_gib=64)])
def test_memory_grows_with_every_dimension(method: Method, checkpointing: bool, hardware: Hardware) -> None:
    def total(batch: int = 2, length: int = 512, r: int = 16) -> float:
        return estimate(LLAMA_8B, settings(method, batch, length, checkpointing, lora_r=r), hardware).total

    lengths = [total(length=length) for length in (1, 64, 512, 513, 4096, 32_768)]
    assert lengths == sorted(lengths)
    assert len(set(lengths)) == len(lengths)
    assert total(batch=3) > total()
    assert total(r=32) > total()
    without = estimate(LLAMA_8B, settings(method, 2, 512, False), hardware).total
    assert without > estimate(LLAMA_8B, settings(method, 2, 512, True), hardware).total


def test_weights_are_those_of_the_method_and_of_the_processor() -> None:
    def weights(method: Method, hardware: Hardware) -> float:
        return estimate(LLAMA_8B, settings(method, 1, 128, True), hardware).weights * 2**30

    linear, other = 6_979_321_856, 1_050_939_392
    assert parameters(LLAMA_8B) == linear + other == 8_030_261_248  # as the model card says
    assert weights("lora", H200) == pytest.approx(2 * (linear + other))
    assert weights("qlora-8bit", H200) == pytest.approx(linear + 2 * other)
    assert weights("qlora-4bit", H200) == pytest.approx(0.5159 * linear + 2 * other, rel=1e-4)
    assert weights("lora", Hardware()) == pytest.approx(4 * (linear + other))


def test_part_of_the_memory_is_left_to_driver_and_system() -> None:
    assert 20 < available_gib(gpu(24)) < 23.5
    assert available_gib(Hardware(ram_gib=10)) == pytest.approx(8)
    assert available_gib(gpu(0.1)) == 0


# -- catalogue -----------------------------------------------------------------------------------------------------

# billions of parameters that the models' cards give
PUBLISHED = {
    "llama-3.1-8b": 8.03, "llama-3.1-70b": 70.55, "llama-3.1-405b": 405.85, "llama-3.2-1b": 1.236,
    "llama-3.2-3b": 3.213,
    "llama-3.3-70b": 70.55, "llama-3-8b": 8.03, "llama-3-70b": 70.55, "llama-2-7b": 6.738, "llama-2-13b": 13.016,
    "llama-2-70b": 68.98, "tinyllama-1.1b": 1.1, "smollm2-135m": 0.1345, "smollm2-360m": 0.3618, "smollm2-1.7b": 1.711,
    "qwen2.5-0.5b": 0.494, "qwen2.5-1.5b": 1.544, "qwen2.5-3b": 3.086, "qwen2.5-7b": 7.616, "qwen2.5-14b": 14.77,
    "qwen2.5-32b": 32.76, "qwen2.5-72b": 72.71, "qwen3-0.6b": 0.596, "qwen3-1.7b": 1.721, "qwen3-4b": 4.022,
    "qwen3-8b": 8.191, "qwen3-14b": 14.77, "qwen3-32b": 32.76, "mistral-7b": 7.248, "mistral-nemo-12b": 12.25,
    "mistral-small-24b": 23.57, "gemma-2-2b": 2.614, "gemma-2-9b": 9.242, "gemma-2-27b": 27.23, "gemma-3-1b": 1.0,
    "phi-3-mini": 3.821, "phi-3-medium": 13.96, "phi-4": 14.66, "phi-4-mini": 3.836,
    "deepseek-r1-distill-qwen-1.5b": 1.777, "deepseek-r1-distill-qwen-7b": 7.616, "deepseek-r1-distill-qwen-14b": 14.77,
    "deepseek-r1-distill-qwen-32b": 32.76, "deepseek-r1-distill-llama-8b": 8.03, "deepseek-r1-distill-llama-70b": 70.55,
    "yi-1.5-6b": 6.061, "yi-1.5-9b": 8.829, "yi-1.5-34b": 34.39,
}  # fmt: skip


def test_every_shape_of_the_catalogue_has_the_published_number_of_parameters() -> None:
    computed = {shape.name: parameters(shape) / 1e9 for shape in catalogue.models()}
    assert computed == pytest.approx(PUBLISHED, rel=0.003)


def test_catalogue_names_are_unambiguous_and_sourced() -> None:
    folder = Path(catalogue.__file__).parent
    for file, kind in (("models.json", "model"), ("gpus.json", "gpu")):
        entries = json.loads((folder / file).read_text(encoding="utf-8"))
        names = [name for entry in entries for name in (entry["name"], *entry.get("aliases", []))]
        keys = [catalogue._key(name, kind) for name in names]
        assert len(set(keys)) == len(keys)
        assert all(keys)
        assert all(len(entry["source"]) > 10 for entry in entries)


@pytest.mark.parametrize(
    "spelling",
    [
        "llama-3.1-8b",
        "Llama 3.1 8B",
        "meta-llama/Llama-3.1-8B-Instruct",
        "Meta-Llama-3.1-8B",
        "LLAMA_3.1_8b",
        "llama3.1 8b",
    ],
)
def test_a_model_is_found_however_it_is_spelled(spelling: str) -> None:
    assert find_model(spelling) == LLAMA_8B


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("rtx 4090", "GeForce RTX 4090"),
        ("NVIDIA GeForce RTX 4090", "GeForce RTX 4090"),
        ("4090", "GeForce RTX 4090"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "GeForce RTX 4090 Laptop GPU"),
        ("Tesla T4", "Tesla T4"),
        ("t4", "Tesla T4"),
        ("NVIDIA A100-SXM4-80GB", "A100 80GB"),
        ("NVIDIA A100-PCIE-40GB", "A100 40GB"),
        ("NVIDIA H100 80GB HBM3", "H100 80GB"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada"),
        ("a6000", "RTX A6000"),
    ],
)
def test_a_gpu_is_found_however_it_is_spelled(spelling: str, name: str) -> None:
    found = find_gpu(spelling)
    assert (found.gpu, found.gpu_count, found.source) == (name, 1, "catalogue")


def test_gpus_before_ampere_have_no_bfloat16() -> None:
    without = {entry.gpu for entry in catalogue.gpus() if not entry.bf16}
    assert without == {
        "Tesla T4", "Tesla V100 16GB", "Tesla V100 32GB", "Quadro RTX 8000", "Titan RTX", "GeForce RTX 2060",
        "GeForce RTX 2070", "GeForce RTX 2070 Super", "GeForce RTX 2080", "GeForce RTX 2080 Super",
        "GeForce RTX 2080 Ti",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("find", "name", "near"),
    [
        (find_model, "lama-3.1-8", "llama-3.1-8b"),
        (find_gpu, "rtx 4099", "GeForce RTX 4090"),
        (find_model, "\0", "llama"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(find: Any, name: str, near: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        find(name)
    assert any(near in fault for fault in caught.value.faults)
    assert len(caught.value.faults) <= 5


# -- local models --------------------------------------------------------------------------------------------------

CONFIG = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 512,
    "max_position_embeddings": 256,
}


def folder(tmp_path: Path, config: Any) -> Path:
    path = tmp_path / "my-model"
    path.mkdir(exist_ok=True)
    data = config if isinstance(config, bytes) else json.dumps(config).encode()
    (path / "config.json").write_bytes(data)
    return path


def test_a_local_folder_and_its_config_file_are_read(tmp_path: Path) -> None:
    path = folder(tmp_path, CONFIG)
    shape = find_model(str(path))
    assert shape == find_model(str(path / "config.json"))
    assert (shape.name, shape.head_dim, shape.num_key_value_heads) == ("my-model", 16, 4)
    assert not shape.tie_word_embeddings
    assert str(tmp_path) not in shape.model_dump_json()


def test_what_a_config_leaves_out_or_nests_is_understood(tmp_path: Path) -> None:
    nested = {"text_config": {**CONFIG, "model_type": "gemma3_text", "head_dim": 32, "num_key_value_heads": 2}}
    shape = find_model(str(folder(tmp_path, nested)))
    assert (shape.head_dim, shape.num_key_value_heads, shape.tie_word_embeddings) == (32, 2, True)


HOSTILE: dict[str, tuple[Any, str]] = {
    "missing keys": ({"n_embd": 768}, "hidden_size is missing"),
    "null": ({**CONFIG, "vocab_size": None}, "vocab_size is missing"),
    "negative": ({**CONFIG, "hidden_size": -64}, "hidden_size"),
    "no heads": ({**CONFIG, "num_attention_heads": 0}, "num_attention_heads"),
    "astronomic": ({**CONFIG, "num_hidden_layers": 10**12}, "num_hidden_layers"),
    "text for a number": ({**CONFIG, "hidden_size": "64"}, "hidden_size"),
    "truth for a number": ({**CONFIG, "num_hidden_layers": True}, "num_hidden_layers"),
    "fraction": ({**CONFIG, "hidden_size": 64.5}, "hidden_size"),
    "list": ({**CONFIG, "num_key_value_heads": [4, 2]}, "num_key_value_heads"),
    "uneven heads": ({**CONFIG, "num_key_value_heads": 3}, "multiple of num_key_value_heads"),
    "experts": ({**CONFIG, "num_local_experts": 8}, "mixtures of experts"),
    "not a number": (json.dumps({**CONFIG, "hidden_size": float("nan")}).encode(), "hidden_size"),
    "infinite": (json.dumps(CONFIG).replace("128", "1e999").encode(), "intermediate_size"),
    "thousands of digits": (b'{"hidden_size": ' + b"9" * 5000 + b"}", "not valid JSON"),
    "deep nesting": (b"[" * 200_000, "not valid JSON"),
    "cut off": (b'{"hidden_size": 64', "not valid JSON"),
    "binary": (b"\xff\xfe\x00\x80", "not valid JSON"),
    "empty": (b"", "not valid JSON"),
    "a list": (b"[]", "must hold an object"),
    "text_config no object": ({"text_config": 3}, "must be an object"),
    "too large": (b" " * (1 << 20) + b"{}", "larger than 1024 KiB"),
}


@pytest.mark.parametrize(("config", "expected"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_config_is_refused(tmp_path: Path, config: Any, expected: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        find_model(str(folder(tmp_path, config)))
    assert expected in str(caught.value)


def test_all_faults_of_a_config_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        find_model(str(folder(tmp_path, {"num_local_experts": 8})))
    assert len(caught.value.faults) == 6


def test_a_folder_without_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        find_model(str(tmp_path))


def test_the_embedded_base_is_read_from_its_own_config() -> None:
    shape = find_model("embedded")
    assert shape.name == "embedded"
    assert parameters(shape) < 12_000_000
    assert find_model(str(catalogue.EMBEDDED_FOLDER)) == shape


# -- DeploymentStrategy --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("application_type", "method"),
    [
        ("high_performance", "lora"),
        ("cost_efficient", "qlora-4bit"),
        ("resource_constrained", "qlora-8bit"),
        ("rapid_development", "lora"),
    ],
)
def test_the_strategy_works_as_printed(application_type: Any, method: Method) -> None:
    strategy = DeploymentStrategy(
        hardware_config={"gpu_memory": 24, "cpu_cores": 20, "ram": 64}, application_type=application_type
    )
    advice = strategy.recommend_strategy()
    assert advice.settings.method == method
    assert advice.fits
    assert advice.shape == LLAMA_8B
    assert (advice.hardware.gpu_count, advice.hardware.gpu_memory_gib) == (1, 24)
    assert (advice.hardware.cpu_cores, advice.hardware.ram_gib) == (20, 64)


def test_the_strategy_takes_a_hardware_and_an_accuracy() -> None:
    advice = DeploymentStrategy(find_gpu("rtx 4090"), accuracy="high", model="qwen3-0.6b", rows=10).recommend_strategy()
    assert (advice.shape.name, advice.settings.method, advice.needs.rows) == ("qwen3-0.6b", "lora", 10)


def test_the_strategy_without_a_gpu_counts_the_machines_memory() -> None:
    advice = DeploymentStrategy({"gpu_memory": 0, "ram": 64}).recommend_strategy()
    assert advice.hardware.gpu_count == 0
    assert advice.available_gib == pytest.approx(51.2)


def test_all_faults_of_a_description_are_named_at_once() -> None:
    config: Any = {"gpu_memroy": 24, "cpu_cores": 1.5, "ram": -1, "gpu_count": True}
    with pytest.raises(InvalidInput) as caught:
        DeploymentStrategy(config, "cheap", "best", model="lama", max_length=0, rows="many")  # type: ignore[arg-type]
    faults = "\n".join(caught.value.faults)
    for part in (
        "gpu_memroy",
        "gpu_memory is missing",
        "cpu_cores",
        "ram",
        "gpu_count",
        "application_type",
        "accuracy",
    ):
        assert part in faults
    for part in ("max_length", "rows", "'lama'", "cost_efficient", "balanced"):
        assert part in faults


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "24", None, -1])
def test_memory_must_be_a_number(value: Any) -> None:
    with pytest.raises(InvalidInput, match="gpu_memory must be"):
        DeploymentStrategy({"gpu_memory": value})


# -- cost ----------------------------------------------------------------------------------------------------------

ANSWER = """
import sys, time
from sdk.advise import advise, find_gpu, find_model
from sdk.records import Needs
advise(find_model("llama-3.1-8b"), find_gpu("rtx 4090"), Needs(accuracy="high"))
print(time.process_time())
print(*sorted({name.split(".")[0] for name in sys.modules}))
"""


def test_an_answer_takes_little_time_and_no_heavy_library() -> None:
    """Processor time of the whole process, so that a busy machine does not count."""
    runs = [
        subprocess.run([sys.executable, "-c", ANSWER], capture_output=True, text=True, check=True) for _ in range(3)
    ]
    seconds = min(float(run.stdout.splitlines()[0]) for run in runs)
    assert seconds < 0.35
    loaded = set(runs[0].stdout.splitlines()[1].split())
    assert loaded.isdisjoint({"torch", "transformers", "mlflow", "presidio_analyzer", "yaml", "numpy", "trl", "peft"})
