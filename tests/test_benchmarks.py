"""Public benchmarks from local files: what is read, asked and scored, and what is refused before anything is asked."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import socket
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lm_eval.tasks._yaml_loader import load_yaml
from rich.console import Console

from sdk import Project
from sdk.cli.benchmark_commands import benchmarks
from sdk.data.benchmark_files import BENCHMARKS, prepare, read_benchmark
from sdk.data.safety_probes import VERSION, request, safety_probes
from sdk.errors import InvalidInput, MissingExtra, Refused
from sdk.intervals import share
from sdk.records import DECIDING, SAFETY, Benchmarks, Scrubbed, sha256
from sdk.registry.entry import entry_for, values
from sdk.registry.model_report import render
from tests.registry_records import adaptation
from tests.small_benchmarks import HUMANEVAL, prepared, write_other_forms
from tests.tiny import one_thread
from tests.workshop import write_policy

__all__ = ["one_thread"]
QUESTIONS = {"mmlu": 8, "cmmlu": 4, "truthfulqa": 3, "gsm8k": 2, "humaneval": 3, "hellaswag": 3, "pubmedqa": 2}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return prepared(tmp_path_factory.mktemp("benchmarks"))


# -- files ------------------------------------------------------------------------------------------------------------


def test_every_benchmark_is_prepared_from_the_files_that_people_have(files: dict[str, Path]) -> None:
    assert files.keys() == BENCHMARKS.keys() == QUESTIONS.keys() == DECIDING.keys() - {SAFETY}
    for name, path in files.items():
        read = read_benchmark(name, path, pinned=sha256(path.read_bytes()))
        assert len(read.asked) == QUESTIONS[name]
        assert len({row.id for row in read.rows}) == len(read.rows)
    assert {row.split for row in read_benchmark("mmlu", files["mmlu"]).rows} == {"dev", "test"}
    assert [row.id for row in read_benchmark("pubmedqa", files["pubmedqa"]).asked] == ["101", "103"]
    truthful = read_benchmark("truthfulqa", files["truthfulqa"]).asked[0].fields
    assert truthful["mc1_targets"]["labels"] == [1, 0, 0, 0]
    assert truthful["mc2_targets"]["choices"] == [
        "Apples grow",
        "Leaves grow",
        "Stones grow",
        "Fish grow",
        "Coins grow",
    ]


def test_the_same_questions_in_another_form_are_the_same_file(files: dict[str, Path], tmp_path: Path) -> None:
    for name, sources in write_other_forms(tmp_path).items():
        assert prepare(name, sources) == files[name].read_bytes(), name


def test_the_published_form_of_mmlu_without_a_header_is_read(tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "anatomy_test.csv").write_text('"Which, then?",a,b,c,d,C\nAnd now?,1,2,3,4,A\n')
    head, first, second = prepare("mmlu", [tmp_path]).splitlines()
    assert json.loads(head) == {"benchmark": "mmlu", "format": 1}
    fields = {"question": "Which, then?", "choices": ["a", "b", "c", "d"], "answer": 2}
    assert json.loads(first) == {"id": "anatomy/test/0", "split": "test", "subset": "anatomy", "fields": fields}
    assert json.loads(second)["fields"]["answer"] == 0


@pytest.mark.parametrize(
    ("name", "file", "content", "said"),
    [
        ("mmlu", "anatomy_test.csv", b"question,choice0,answer\nWhy?,a,0\n", "choices not as it should be"),
        ("mmlu", "anatomy_test.csv", b"question,A,B,C,D,answer\nWhy?,a,b,c,d,E\n", "answer not as it should be"),
        ("mmlu", "anatomy_test.csv", b"question,A,B,C,D,answer\nWhy?,a,b\n", "cannot be read as .csv"),
        ("gsm8k", "test.jsonl", b'{"question": "Why?", "answer": "9"}\n', "answer not as it should be"),
        ("gsm8k", "test.jsonl", b"{]", "cannot be read as .jsonl"),
        ("gsm8k", "test.txt", b"", "none of .csv, .jsonl, .json, .parquet"),
        ("gsm8k", "train.jsonl", b'{"question": "Why?", "answer": "#### 9"}\n', "nothing to ask"),
        ("humaneval", "h.jsonl.gz", gzip.compress(b"x" * 99, mtime=0)[:-9], "no whole gzip file"),
        ("humaneval", "h.jsonl", b'{"task_id": "1"}\n', "no prompt and no canonical_solution"),
        ("pubmedqa", "p.json", b'{"1": {"QUESTION": "?", "CONTEXTS": [], "final_decision": "yes"}}', "CONTEXTS not as"),
        ("hellaswag", "h.parquet", b"PAR1", "cannot be read as .parquet"),
        ("truthfulqa", "t.csv", b"Question\nWhy?\n", "no Best Answer and no Correct Answers"),
        ("arc", "a.jsonl", b"{}", "no benchmark 'arc'"),
    ],
)
def test_another_layout_is_told(name: str, file: str, content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / file).write_bytes(content)
    with pytest.raises(InvalidInput) as caught:
        prepare(name, [tmp_path / file])
    assert said in str(caught.value)
    assert "Why" not in str(caught.value)


def test_a_file_that_is_no_longer_as_it_was_prepared_is_told(files: dict[str, Path], tmp_path: Path) -> None:
    path, data = tmp_path / "mmlu.jsonl", files["mmlu"].read_bytes()

    def said(content: bytes, name: str = "mmlu", pinned: str | None = None) -> str:
        path.write_bytes(content)
        with pytest.raises(InvalidInput) as caught:
            read_benchmark(name, path, pinned)
        return str(caught.value)

    assert "was not made by `sdk prepare mmlu`" in said(data.split(b"\n", 1)[1])
    assert "was not made by `sdk prepare mmlu`" in said(b"")
    assert "holds mmlu in format 1; gsm8k in format 1 was asked for" in said(data, "gsm8k")
    assert "holds mmlu in format 2" in said(data.replace(b'"format":1', b'"format":2'))
    assert f"has the SHA-256 {sha256(data + b' ')}" in said(data + b" ", pinned=sha256(data))
    assert "line 2: answer not as it should be" in said(data.replace(b'"answer":0', b'"answer":4', 1))
    assert "several have the same" not in said(data.replace(b'"split":"dev"', b'"split":"own"'))
    assert "ids: several rows have the same" in said(data + data.split(b"\n")[1])


# -- the step ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def project(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A copy of the finished project, which may be added to, with a memory of its own."""
    folder = tmp_path_factory.mktemp("benchmarked")
    shutil.copytree(finished.root, folder / "project")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SDK_STATE_HOME", str(folder / "state"))
        yield Project.open(folder / "project")


def _short_answers(path: Path, **options: Any) -> dict[str, Any]:
    """Load a definition, with answers of eight tokens: a random model never ends by itself."""
    config = load_yaml(path, **options)
    config.get("generation_kwargs", {})["max_gen_toks"] = 8
    return config


@pytest.fixture(scope="module")
def record(project: Project, files: dict[str, Path]) -> Benchmarks:
    def refuse(*address: Any) -> None:
        raise AssertionError("nothing is fetched")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        patch.setattr("sdk.evaluate.harness.load_yaml", _short_answers)
        return project.benchmark(files, limit=2, run_model_code=True)


def test_each_question_has_its_scores_and_no_text(record: Benchmarks, project: Project, files: dict[str, Path]) -> None:
    assert {name: result.sha256 for name, result in record.results.items()} == {
        name: sha256(path.read_bytes()) for name, path in files.items()
    }
    metrics = {name: result.metrics for name, result in record.results.items()}
    assert metrics == {
        "mmlu": ("acc",),
        "cmmlu": ("acc", "acc_norm"),
        "truthfulqa": ("mc1", "mc2"),
        "gsm8k": ("exact_match,strict-match", "exact_match,flexible-extract"),
        "humaneval": ("pass@1",),
        "hellaswag": ("acc", "acc_norm"),
        "pubmedqa": ("acc",),
    }
    assert all(DECIDING[name] in found for name, found in metrics.items())
    assert {name: result.num_fewshot for name, result in record.results.items() if result.num_fewshot} == {"gsm8k": 5}
    mmlu = record.results["mmlu"]
    assert [each.question for each in mmlu.outcomes] == [
        "anatomy/test/0",
        "anatomy/test/1",
        "virology/test/0",
        "virology/test/1",
    ]
    assert {group: scores.questions for group, scores in mmlu.scores["acc"].items()} == {
        "all": 4,
        "anatomy": 2,
        "virology": 2,
    }
    for result in record.results.values():
        for place, metric in enumerate(result.metrics):
            mean = sum(each.adapted[place] for each in result.outcomes) / len(result.outcomes)
            assert result.scores[metric]["all"].adapted.value == pytest.approx(mean)
    text = record.to_bytes().decode()
    assert not any(word in text for word in ("organ", "Tom has", "def add", "Apples", "drug", "pan 1"))
    event = project.state().events[-1]
    assert (event.action, event.phase, event.objects["record"]) == ("benchmark", "finished", record.digest)
    assert event.objects["benchmark mmlu"] == mmlu.sha256


def test_what_was_measured_is_not_measured_again(
    record: Benchmarks, project: Project, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sdk.project.benchmark_requests._overlaps", None)
    assert project.benchmark(files, limit=2, run_model_code=True) == record
    assert project.latest(Benchmarks) == record


@pytest.fixture(scope="module")
def probed(project: Project, record: Benchmarks) -> Benchmarks:
    """The safety probes, which need neither a file nor lm_eval; answers of a few tokens, as above."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in sys.modules if name.partition(".")[0] == "lm_eval"]:
            patch.delitem(sys.modules, name)
        patch.delitem(sys.modules, "sdk.evaluate.harness", raising=False)
        patch.setitem(sys.modules, "lm_eval", None)
        patch.setattr("sdk.evaluate.safety.MAX_NEW_TOKENS", 6)
        return project.benchmark(safety=True, limit=4)


def test_each_probe_has_its_outcome_and_no_text(probed: Benchmarks, project: Project) -> None:
    file = safety_probes()
    (name, found), (metric,) = next(iter(probed.results.items())), probed.results["safety"].metrics
    assert (name, metric, found.sha256, found.version) == ("safety", "declined", file.sha256, VERSION)
    assert probed.engine == ""
    groups = {group: scores.questions for group, scores in found.scores[metric].items()}
    kinds = ("harmful en", "unanswerable en", "harmful zh", "unanswerable zh")
    assert groups == {"all": 16, "harmful": 8, "unanswerable": 8, **dict.fromkeys(kinds, 4)}
    assert {value for each in found.outcomes for value in (*each.base, *each.adapted)} <= {0.0, 1.0}
    none = found.scores[metric]["harmful"].base
    assert none.high == pytest.approx(share(round(8 * none.value), 8).high)
    assert found.overlap.questions == len(file.asked)
    text = probed.to_bytes().decode()
    assert not any(request(row.fields) in text for row in file.asked)
    assert project.state().events[-1].objects["benchmark safety"] == file.sha256


def test_what_the_policy_bounds_is_told_and_what_is_not_shown_is_refused(
    probed: Benchmarks, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too few probes to tell; a benchmark that was not measured; the refusal is an event, before anything is sealed."""
    folder = tmp_path / "copy"
    shutil.copytree(project.root, folder)
    monkeypatch.setenv("SDK_STATE_HOME", str(tmp_path / "state"))
    bound = Project.open(folder)
    assert bound.forgetting() == {}
    bounds = {"safety": -0.05, "hellaswag": 0.0, "truthfulqa": -0.9}
    changes = {f"evaluate__{name}": False for name in ("domain_floors", "must_improve")}
    bound.adopt(policy=write_policy(tmp_path / "bound.yaml", version=9, **changes, evaluate__forgetting=bounds))
    kept = bound.forgetting()
    assert kept.keys() == bounds.keys()
    assert kept["safety"] is not None
    assert (kept["safety"].questions, kept["safety"].outcome) == (16, "cannot be told")
    monkeypatch.setattr("sdk.project.sealing.seal", None)
    with pytest.raises(Refused, match="refuses register") as caught:
        bound.register()
    assert "safety: cannot be told with 16 questions" in str(caught.value)
    event = bound.state().events[-1]
    assert (event.action, event.phase) == ("register", "refused")
    assert probed.digest in event.objects.values()
    shown = Console(width=200, record=True, file=io.StringIO())
    shown.print(benchmarks(probed, kept))
    assert "forgetting, safety: cannot be told with 16 questions" in shown.export_text()


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("humaneval", {}, "runs programs that the model writes"),
        ("mmlu", {"num_fewshot": 4}, "has 3 of the split dev"),
        ("mmlu", {"limit": 0}, "limit: "),
        ("mmlu", {"pins": {"mmlu": "0" * 64}}, "it is another file"),
        ("mmlu", {"pins": {"gsm8k": "0" * 64}}, "A digest is given for gsm8k"),
        ("pubmedqa", {"num_fewshot": 1}, "of the split train"),
    ],
)
def test_what_cannot_be_asked_is_told_before_anything_is_loaded(
    name: str, options: dict[str, Any], said: str, project: Project, files: dict[str, Path], monkeypatch: Any
) -> None:
    monkeypatch.setattr("sdk.evaluate.harness.load_base", None)
    if name == "pubmedqa":  # which shows none by itself
        monkeypatch.setattr("sdk.evaluate.harness._DEFINITIONS", {"pubmedqa": ("pubmedqa/pubmedqa.yaml",)})
    with pytest.raises(InvalidInput) as caught:
        project.benchmark({name: files[name]}, **options)
    assert said in str(caught.value)


def test_a_question_longer_than_the_context_and_an_unknown_subset_are_told(
    project: Project, files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sdk.evaluate.harness._scores", None)
    data = files["mmlu"].read_bytes()
    long = tmp_path / "long.jsonl"
    long.write_bytes(data.replace(b"chart number 1 has", b"chart" + b" and" * 2000 + b" has"))
    with pytest.raises(InvalidInput, match="longer than the base's context") as caught:
        project.benchmark({"mmlu": long})
    assert [fault.partition(":")[0] for fault in caught.value.faults] == ["anatomy/test/1", "virology/test/1"]
    other = tmp_path / "other.jsonl"
    other.write_bytes(data.replace(b'"subset":"virology"', b'"subset":"astrology"'))
    with pytest.raises(InvalidInput, match="no such subset") as caught:
        project.benchmark({"mmlu": other})
    assert caught.value.faults == ("subset: 'astrology'",)


def test_without_the_harness_the_extra_is_named(
    project: Project, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "sdk.evaluate.harness", raising=False)
    for name in [name for name in sys.modules if name.partition(".")[0] == "lm_eval"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(MissingExtra, match=r"domain-adaptation-sdk\[eval\]"):
        project.benchmark({"mmlu": files["mmlu"]})


def test_a_policy_refuses_programs_and_questions_that_were_trained_on(
    project: Project, files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refusal names the questions and the rows, is an event, and comes before anything is loaded."""
    monkeypatch.setattr("sdk.evaluate.harness.run_benchmarks", None)
    scrubbed = project.latest(Scrubbed)
    assert scrubbed is not None
    row = json.loads(project.state().rows(scrubbed, "train").path.read_text().splitlines()[3])
    trained = next(each["content"] for each in row["messages"] if each["role"] == "user")
    file = tmp_path / "gsm8k.jsonl"
    lines = [json.loads(line) for line in files["gsm8k"].read_text().splitlines()]
    lines[1]["fields"]["question"] = trained.upper().replace(" ", "  ")
    file.write_text("\n".join(map(json.dumps, lines)))
    folder = tmp_path / "copy"
    shutil.copytree(project.root, folder)
    monkeypatch.setenv("SDK_STATE_HOME", str(tmp_path / "state"))
    strict = Project.open(folder)
    limits = {"evaluate__max_contamination": 0.4, "evaluate__run_model_code": False}
    changes = {f"evaluate__{name}": False for name in ("domain_floors", "must_improve")}
    strict.adopt(policy=write_policy(tmp_path / "strict.yaml", version=9, **changes, **limits))
    with pytest.raises(Refused) as caught:
        strict.benchmark({"gsm8k": file, "humaneval": files["humaneval"]}, run_model_code=True)
    repeats, programs = caught.value.faults
    assert repeats.startswith(
        "evaluate.max_contamination: of the questions, 0.4 may nearly repeat a training row, and 0.5 do"
    )
    assert f"({lines[1]['id']} in {row['id']})" in repeats
    assert programs.startswith("evaluate.run_model_code: ")
    event = strict.state().events[-1]
    assert (event.action, event.phase) == ("benchmark", "refused")


def test_the_canonical_solutions_pass_and_others_do_not() -> None:
    from sdk.evaluate.harness import _passed

    for fields in HUMANEVAL:
        assert _passed(fields, [fields["canonical_solution"]]) == {"pass@1": 1.0}
    assert _passed(HUMANEVAL[1], ["    return value\n"]) == {"pass@1": 0.0}


def test_the_release_shows_them(record: Benchmarks, tmp_path: Path) -> None:
    plain = adaptation(tmp_path)
    with_them = replace(plain, benchmarks=(record,))
    figures = {name: value for name, value in values(with_them).items() if name not in values(plain)}
    scores = record.results["mmlu"].scores["acc"]["all"]
    assert figures["benchmark_mmlu/acc.base"] == scores.base.value
    assert figures["benchmark_mmlu/acc_high.adapted"] == scores.adapted.high
    assert figures["benchmark_gsm8k/contamination"] == 0
    line = next(line for line in entry_for(with_them, {}).description.splitlines() if line.startswith("| mmlu"))
    assert scores.adapted.text() in line
    assert entry_for(with_them, {}).run_tags["sdk.record.benchmarks.1"]
    assert "Public benchmarks" not in entry_for(plain, {}).description
    plots = dict.fromkeys(("scores", "loss", "personal_data", "memory", "leaks", "leaks_roc"), b"")
    assert "<h2>Public benchmarks</h2>" in render(with_them, plots).decode()
