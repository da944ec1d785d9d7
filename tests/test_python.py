"""What a person meets in Python and in a notebook: public types, short texts, tables, figures, progress."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import sys
import typing
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure
from pydantic import BaseModel

import sdk
from sdk import DeploymentStrategy, OutOfOrder, Project, Release, Run, Scores, find_gpu
from sdk.non_inferiority import paired_change
from sdk.project import notebook
from sdk.records import Frozen, PlotName, TableName
from sdk.records.summary import MOST_CHARACTERS
from tests.registry_records import advice, run, scores
from tests.test_records import examples
from tests.workshop import Workshop

INSIDE = {"state"}  # what the command line asks; no page names it
SOURCE = Path(sdk.__file__).parent


# -- types ------------------------------------------------------------------------------------------------------------


def names_for_checkers(path: Path) -> dict[str, Any]:
    """What a module imports for type checkers alone."""
    (block,) = (
        node
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    names = {}
    for node in block.body:
        if isinstance(node, ast.ImportFrom):
            names |= {one.asname or one.name: getattr(import_module(str(node.module)), one.name) for one in node.names}
        elif isinstance(node, ast.Import):
            names |= {str(one.asname): import_module(one.name) for one in node.names}
    return names


def own_types(annotation: Any) -> Iterator[type]:
    """The classes of ours in an annotation, however deep."""
    if isinstance(annotation, typing.TypeVar):
        yield from own_types(annotation.__bound__)
    elif isinstance(annotation, list | tuple):
        for one in annotation:
            yield from own_types(one)
    elif isinstance(annotation, type) and annotation.__module__.startswith("sdk"):
        yield annotation
    yield from own_types(typing.get_args(annotation)) if typing.get_args(annotation) else ()


def annotations(kind: type) -> Iterator[tuple[str, Any]]:
    """Every annotation of a class's public fields, properties and methods, resolved."""
    module = sys.modules[kind.__module__]
    checked = names_for_checkers(Path(str(module.__file__))) if kind is Project else {}
    for name, member in inspect.getmembers(kind):
        if name.startswith("_") or name in INSIDE or hasattr(BaseModel, name):
            continue
        function = inspect.unwrap(member.fget if isinstance(member, property) else getattr(member, "__func__", member))
        if inspect.isfunction(function):
            for part, hint in typing.get_type_hints(function, localns=checked).items():
                yield f"{kind.__name__}.{name}, {part}", hint
    if issubclass(kind, BaseModel) or dataclasses.is_dataclass(kind):
        for name, hint in typing.get_type_hints(kind).items():
            if not name.startswith("_") and not hasattr(BaseModel, name):
                yield f"{kind.__name__}.{name}", hint


def reached() -> dict[type, str]:
    """Every class of ours that a user of Project meets, and where first."""
    found: dict[type, str] = {}
    waiting: list[tuple[type, str]] = [(Project, "")]
    while waiting:
        kind, by = waiting.pop()
        if kind in found:
            continue
        found[kind] = by
        waiting += [(one, where) for where, hint in annotations(kind) for one in own_types(hint)]
    return found


def test_whatever_a_project_takes_or_gives_can_be_imported() -> None:
    kinds = reached()
    assert {"Memory", "Outcome", "Revocation", "ReviewRow", "Trust", "ScrubRules"} <= {kind.__name__ for kind in kinds}
    missing = {kind.__name__: by for kind, by in kinds.items() if getattr(sdk, kind.__name__, None) is not kind}
    assert missing == {}, "not in sdk.__all__, and where it is met"


def test_every_public_class_is_met_or_made_by_a_user() -> None:
    classes = {name for name in sdk.__all__ if isinstance(getattr(sdk, name), type)}
    errors = {name for name in classes if issubclass(getattr(sdk, name), Exception)}
    by_other_means = {"DeploymentStrategy", "Package"}  # `latest(Package)` gives one
    assert classes - errors - by_other_means == {kind.__name__ for kind in reached()}


def test_type_checkers_see_the_same_names() -> None:
    assert names_for_checkers(SOURCE / "__init__.py").keys() == set(sdk.__all__)


# -- texts ------------------------------------------------------------------------------------------------------------

HOSTILE = '<script>alert("x")</script>\x1b[31m & \u202e'


def public_records() -> dict[str, Frozen]:
    """One of each public record, the long ones as long as in life, and a hostile word in each text."""
    long_ones = [run(2000), scores(), DeploymentStrategy(find_gpu("rtx 4090"), rows=10_000).recommend_strategy()]
    found: dict[str, Frozen] = {**examples(), **{record.kind: record for record in long_ones}}
    hostile = {}
    for name, record in found.items():
        texts = [field for field in type(record).model_fields if isinstance(getattr(record, field), str)]
        hostile[name] = record.model_copy(update=dict.fromkeys(texts, HOSTILE * 40))
    return {**found, **{f"hostile {name}": record for name, record in hostile.items()}}


def parts(value: Any) -> Iterator[Frozen]:
    """The record itself, and one of each kind that it is made of."""
    if isinstance(value, Frozen):
        yield value
        for name in type(value).model_fields:
            yield from parts(getattr(value, name))
    elif isinstance(value, dict):
        for one in value.values():
            yield from parts(one)
    elif isinstance(value, tuple | list):
        for one in value[:1]:
            yield from parts(one)


@pytest.mark.parametrize("name", public_records())
def test_a_record_is_shown_in_few_well_formed_words(name: str) -> None:
    require_shown_well(public_records()[name])


def test_every_public_record_and_its_parts_are_shown_so(finished: Project) -> None:
    others = [
        finished.policy,
        finished.explain(),
        finished.trust(),
        finished.verify(),
        *finished.members(),
        *finished.history(),
        finished.findings()[0],
        sdk.Revocation(time="2026-11-26T09:30:00.000+00:00", reason="left"),
        sdk.ValidationPoint(step=1, loss=0.5),
        sdk.LossSpike(step=90, loss=4.5, usual=0.5, z=40.0, rows=("row-7",), rows_in_step=8),
        paired_change([1.0] * 40, [1.0] * 39 + [0.0], -0.05),
        sdk.SliceScore(
            by="topic",
            value="risk",
            questions=10,
            base=0.1,
            adapted=sdk.Interval(value=0.2, low=0.1, high=0.3),
            change=sdk.Interval(value=0.1, low=0.0, high=0.2),
        ),
        sdk.RuleSource(rule="SR 26-2", version="1", date="2026-04-17", keys=("seal.encrypt",)),
        sdk.Planted(message=0, start=0, end=1, entity_type="PERSON"),
        sdk.AskedFloors(floors={"all": (sdk.Floor(over="majority", least=0.02),)}, origin="as you set it"),
        sdk.MajorityScore(exact_match=0.552, f1=0.56),
        sdk.Confusion(labels=("no", "yes"), base=((1, 0, 0), (1, 0, 0)), adapted=((1, 0, 0), (0, 1, 0))),
        sdk.Texts(
            documents=31, near_duplicates=1, similarity=0.8, held_out=3, mixed_rows=149, mix=0.201, mix_asked=0.2
        ),
        sdk.TextOutcome(row="row-7", language="en", tokens=512, base_loss=3.1, adapted_loss=2.4),
        sdk.Forgetting(items=10, base=21.5, adapted=22.0),
        sdk.Lengths(rows=1, total=9, longest=(9,), percentiles={50: 9}, exact=True),
        sdk.SourceFile(sha256="0" * 64, rows=1, columns=sdk.Columns(form="{question}", answer="label", drop=("year",))),
        sdk.Quarantined(split="train", row="r1", error="TimeoutError"),
        sdk.StandingDecision(decision="approve", person="Bob", time="", reason="why", counts=True, note="it counts"),
    ]
    shown = {type(one): one for record in (*public_records().values(), *others) for one in parts(record)}
    for record in (*others, *shown.values()):
        require_shown_well(record)
    public = {kind for name in sdk.__all__ if isinstance(kind := getattr(sdk, name), type) and issubclass(kind, Frozen)}
    assert {kind.__name__ for kind in public - shown.keys()} == {"StepRecord"}


def require_shown_well(record: Frozen) -> None:
    assert len(str(record)) <= MOST_CHARACTERS == 1500
    assert len(repr(record)) <= 400
    assert "\n" not in repr(record)
    shown = record._repr_html_()
    assert len(shown) <= 2 * MOST_CHARACTERS + 2000
    tree = ElementTree.fromstring(shown)
    assert {element.tag for element in tree.iter()} <= {"div", "strong", "table", "tbody", "tr", "th", "td"}
    for text in (str(record), repr(record), "".join(tree.itertext())):
        assert "\x1b" not in text
        assert "\u202e" not in text


@pytest.mark.parametrize("kind", examples())
def test_its_json_has_all(kind: str) -> None:
    record = examples()[kind]
    assert type(record).model_validate_json(record.model_dump_json()) == record


def test_a_record_says_what_a_person_wants() -> None:
    first, last = run().losses[0].loss, run().losses[-1].loss
    assert f"loss      {first:.3f} to {last:.3f}\n" in str(run())
    assert "exact match, all  0.009 → 0.750 (0.670 to 0.820)" in str(scores())
    assert "222 of 225" in str(examples()["scrubbed"])


def test_a_strategy_reads_as_a_recommendation() -> None:
    result = DeploymentStrategy({"gpu_memory": 24}, "cost_efficient").recommend_strategy()
    assert result["method"] == result.method == result.settings.method == "qlora-4bit"
    assert result["quantization"] == result.quantization == "4-bit NF4, with double quantization"
    assert result["memory_optimization"] == result.memory_optimization
    assert result["recommendation"] == result.recommendation
    assert result["fits"] is True
    with pytest.raises(KeyError):
        result["model_dump"]
    printed = str(result)
    assert printed.index("recommendation") < printed.index("method") < printed.index("quantization")
    assert "Train llama-3.1-8b on 1 x GPU of 24 GiB with QLoRA on a 4-bit base (NF4), rank 16." in result.recommendation


def test_what_does_not_fit_is_not_recommended() -> None:
    result = DeploymentStrategy({"gpu_memory": 4}).recommend_strategy()
    assert result.recommendation.startswith("llama-3.1-8b does not fit on 1 x GPU of 4 GiB.")


@pytest.mark.parametrize("method", ["lora", "qlora-4bit", "qlora-8bit", "lora-fp8"])
def test_every_method_has_its_words(method: str) -> None:
    record = advice()
    record = record.model_copy(update={"settings": record.settings.model_copy(update={"method": method})})
    assert record.quantization in str(record)


def test_no_text_of_a_row_and_no_model_is_written_out() -> None:
    row = sdk.ReviewRow("r1", "train", "en", "en, nothing found", (("user", "a patient"),), 1, 2)
    assert "patient" not in repr(row)
    assert "r1" in repr(row)
    model: Any = SimpleNamespace(get_base_model=lambda: SimpleNamespace())
    assert len(repr(sdk.AdaptedModel(model, model, "a prompt", 48))) < 120


# -- a project --------------------------------------------------------------------------------------------------------


def test_a_project_is_shown(finished: Project, tmp_path: Path) -> None:
    text = str(finished)
    assert "finished version 1: champion" in text
    assert all(verb in text for verb in ("advise", "scrub", "train", "evaluate", "register", "approve", "promote"))
    assert len(text) <= MOST_CHARACTERS
    assert "champion" in "".join(ElementTree.fromstring(finished._repr_html_()).itertext())
    assert repr(finished) == f"Project({str(finished.root)!r})"
    gone = Project(tmp_path / "gone")
    assert "is not a project" in " ".join(str(gone).split())
    assert "is not a project" in gone._repr_html_()


def test_the_policy_and_the_newest_records_are_at_hand(finished: Project) -> None:
    assert finished.policy.name == finished.state().charter.policy
    assert isinstance(finished.latest(Release), Release)
    assert finished.latest(sdk.Leaks) is None


@pytest.mark.parametrize("table", typing.get_args(TableName))
def test_records_as_tables(finished: Project, table: TableName) -> None:
    frame = finished.to_pandas(table)
    newest, measured = finished.latest(Run), finished.latest(Scores)
    assert newest
    assert measured
    rows = {
        "losses": len(newest.losses),
        "scores": 2 * 3 * len(measured.base) + 2 * len(measured.majority),
        "outcomes": len(measured.outcomes),
        "findings": len(finished.findings()),
        "history": len(finished.history()) - 1,  # the table was an event
    }
    assert len(frame) == rows[table] > 0
    if table in ("losses", "scores", "outcomes"):
        assert set(frame["run"]) == {newest.digest[:12]}
    if table == "history":
        assert frame["time"].is_monotonic_increasing
    if table == "losses":
        assert frame["loss"].tolist() == [point.loss for point in newest.losses]


def test_an_empty_table(workshop: Workshop) -> None:
    project = workshop.project("tables")
    assert project.to_pandas("losses").empty
    with pytest.raises(OutOfOrder, match="sdk scrub"):
        project.to_pandas("findings")


@pytest.mark.parametrize("what", ["loss", "scores", "memory", "personal_data"])
def test_plots_are_figures_of_nobodys_window(finished: Project, what: PlotName) -> None:
    figure = finished.plot(what)
    assert isinstance(figure, Figure)
    assert figure.axes[0].get_xlabel()
    assert figure._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]
    newest = finished.latest(Run)
    assert newest
    again = finished.plot(what, newest.digest[:12])
    assert again is not figure
    if "matplotlib.pyplot" in sys.modules:
        assert sys.modules["matplotlib.pyplot"].get_fignums() == []
    if what == "loss":
        assert list(figure.axes[0].lines[0].get_ydata()) == [point.loss for point in newest.losses]


def test_what_was_not_measured_is_not_drawn(finished: Project) -> None:
    with pytest.raises(OutOfOrder, match="sdk leaks"):
        finished.plot("leaks")


# -- progress ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """What a notebook would be told, were this process its kernel."""
    told: list[dict[str, str]] = []
    handle = SimpleNamespace(update=lambda shown, raw: told.append(shown))

    def display(shown: dict[str, str], raw: bool, display_id: bool) -> Any:
        told.append({**shown, "new": "yes"})
        return handle

    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=display))
    return told


def test_progress_in_a_notebook_is_one_line(drawn: list[dict[str, str]], tmp_path: Path) -> None:
    assert notebook.in_notebook()
    progress = Project(tmp_path)._on_progress
    assert isinstance(progress, notebook.NotebookProgress)
    for step in range(1, 1001):
        progress("train <b>", step, 1000, {"loss": 0.5, "seconds_left": 61.0})
    assert 2 <= len(drawn) <= 20, "the first, the last, and a few in between"
    assert ["new" in one for one in drawn] == [True] + [False] * (len(drawn) - 1)
    assert drawn[-1]["text/plain"] == "train <b>: 1,000 of 1,000, loss 0.500, 1:01 left"
    assert "<b>" not in drawn[-1]["text/html"]
    progress.close()
    assert drawn[-1]["text/html"] == ""
    progress("evaluate", 0, None, {})
    assert "new" in drawn[-1], "the next verb has a line of its own"


def test_a_verb_takes_its_line_away(drawn: list[dict[str, str]], finished: Project) -> None:
    project = Project(finished.root)
    with project._working():
        project._on_progress("x", 1, 1, {})
    assert drawn[-1]["text/plain"] == ""


def test_elsewhere_nothing_is_shown(tmp_path: Path) -> None:
    assert not notebook.in_notebook()
    assert not isinstance(Project(tmp_path)._on_progress, notebook.NotebookProgress)


def test_a_callback_is_called_in_a_notebook_too(drawn: list[dict[str, str]], tmp_path: Path) -> None:
    told: list[str] = []
    Project(tmp_path, lambda what, done, total, figures: told.append(what))._on_progress("x", 1, 1, {})
    assert told == ["x"]
    assert drawn == []
