"""What a verb asks for, without a project: the same inputs are the same request, and a changed one is another."""

import ast
import inspect
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import sdk
from sdk.errors import InvalidInput, OutOfOrder
from sdk.policy import BeforeScrub, BeforeTrain
from sdk.project import Project
from sdk.project.measure_requests import evaluate_request
from sdk.project.perform import Request
from sdk.project.registering import register_request
from sdk.project.scrub_requests import RowsAsked, scrub_request
from sdk.project.train_requests import train_request
from sdk.records import Review, Scores, request_key
from tests.fixed_state import A, FixedState


def quiet(what: str, done: int, total: int | None, figures: Mapping[str, float]) -> None:
    pass


@pytest.fixture
def state(tmp_path: Path) -> FixedState:
    for name in ("train", "eval"):
        (tmp_path / f"{name}.jsonl").write_text(f'{{"instruction": "What is a bond?", "output": "{name}"}}\n')
    return FixedState(tmp_path)


def scrub(state: FixedState, **options: Any) -> Request[Any]:
    asked = RowsAsked(state.root / "train.jsonl", state.root / "eval.jsonl")
    return scrub_request(state, asked, **options, on_progress=quiet)


def train(state: FixedState, **changes: Any) -> Request[Any]:
    return train_request(state, changes, on_progress=quiet)


REQUESTS: dict[str, Callable[[FixedState], Request[Any]]] = {
    "scrub": scrub,
    "scrub without detectors": lambda state: scrub(state, detect=False),
    "train": train,
    "train with another seed": lambda state: train(state, seed=7),
    "train from an adapter": lambda state: train_request(state, {}, adapter=state.run, on_progress=quiet),
    "train further": lambda state: train_request(state, {"max_steps": 9}, resume=state.run, on_progress=quiet),
    "evaluate": lambda state: evaluate_request(state, quiet),
    "register": lambda state: register_request(state, state.package, quiet),
}
KEYS = {
    "scrub": "c13db740a1e4a314f9f1986ebdb5dfc9a6c73e3219b62490b9c62cbc0bfea350",
    "scrub without detectors": "946b59af3aded24c0ed1df157bb626607855383f019bca7c031c6e935b661c09",
    "train": "3ef317e8f0c8aa2e075bfec1ba9b0a01eb6c236a9b726fed4f2790963d0acab4",
    "train with another seed": "551f6ae508a50c64bad3df657b4f4286c6fbb893347cb135ff20e2551a1d0544",
    "train from an adapter": "8a4043c2489b893dbe2377abd851611a2c640d4b6f0ef4da2a35d03c09b0062c",
    "train further": "08e99119316865c332d7a1523e5b75cf62a71af573651d46741e6b7d399bbba7",
    "evaluate": "f6cdf734031a971bbaf092ccf4fb10e976f7a9b0763c482e654e96cf0ae32aef",
    "register": "3ab173c849319518f26b36d629034250ad48113efc00983bc27b88d637b012a2",
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_has_the_key_that_it_always_had(name: str, state: FixedState) -> None:
    """Else what a project has done would be done again. Shipped policies change, so one digest stands for any."""
    inputs = REQUESTS[name](state).inputs
    if "policy" in inputs:
        assert inputs["policy"] == state.policy().digest
        inputs["policy"] = A
    assert request_key(inputs) == KEYS[name]


def test_the_same_inputs_are_the_same_request_and_changed_ones_another(state: FixedState) -> None:
    assert train(state).inputs == train(state).inputs == train(state, seed=42).inputs
    keys = [request_key(train(state, **changes).inputs) for changes in ({}, {"seed": 7}, {"lora_r": 16})]
    assert len({*keys, request_key(scrub(state).inputs)}) == 4
    before = scrub(state).inputs
    (state.root / "eval.jsonl").write_text('{"instruction": "What is a share?", "output": "eval"}\n')
    after = scrub(state).inputs
    assert {name for name in before if before[name] != after[name]} == {"eval"}


def test_a_request_says_what_the_policy_judges_before(state: FixedState) -> None:
    assert scrub(state, detect=False).before == BeforeScrub(scrubbed=False)
    assert train(state, method="lora").before == BeforeTrain(
        method="lora", from_hub=False, miss_bound=None, contamination=None, repeated=""
    )


def test_a_run_goes_on_with_more_steps_and_nothing_else(state: FixedState) -> None:
    digest = state.run.digest[:12]
    train_request(state, {"max_steps": 9}, resume=digest, on_progress=quiet)
    with pytest.raises(InvalidInput, match="goes on with what it was begun with") as caught:
        train_request(state, {"max_steps": 9, "lora_r": 16}, resume=digest, on_progress=quiet)
    assert caught.value.faults == ("lora_r is 16, was 8",)
    with pytest.raises(InvalidInput, match="its own adapter"):
        train_request(state, {}, adapter=digest, resume=digest, on_progress=quiet)
    with pytest.raises(InvalidInput, match="0 runs of this project have digest 0000") as caught:
        train_request(state, {}, adapter="0000", on_progress=quiet)
    assert caught.value.faults == (f"{digest}: 3 steps",)


@pytest.mark.parametrize(("kind", "verb"), [(Scores, "evaluate"), (Review, "review")])
def test_what_is_missing_names_the_verb_that_makes_it(kind: Any, verb: str, state: FixedState) -> None:
    assert state.find_latest(kind) is None
    with pytest.raises(OutOfOrder, match=f"nothing from `sdk {verb}` yet"):
        state.latest(kind)


def test_the_folder_of_a_record_is_that_of_its_request(state: FixedState) -> None:
    folder = state.folder(state.run)
    assert folder == state.request_folder(type(state.run), state.run.inputs)
    assert folder.parent == state.root / "artifacts" / "train"
    assert folder != state.folder(state.scrubbed)


# -- the Project ------------------------------------------------------------------------------------------------------

VERBS = [name for name, method in vars(Project).items() if not name.startswith("_") and name != "root"]


def test_the_project_is_one_class() -> None:
    assert Project.__mro__ == (Project, object)
    assert len(VERBS) >= 30


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_is_a_few_statements_with_a_docstring(verb: str) -> None:
    """What there is to decide is decided in free functions, which are tested above without a project."""
    method = getattr(Project, verb)
    source = inspect.getsource(method.fget if isinstance(method, property) else method)
    (function,) = ast.parse(textwrap.dedent(source)).body
    assert isinstance(function, ast.FunctionDef)
    assert ast.get_docstring(function)
    statements = [node for node in ast.walk(function) if isinstance(node, ast.stmt)]
    assert len(statements) - 2 <= 12  # but for the function itself and its docstring


def loads(module: str, known: set[str]) -> set[str]:
    """Every module that importing this one of ours imports with it, by reading the imports outside of functions."""
    parts = module.split(".")
    for name in (".".join(parts[:length]) for length in range(1, len(parts) + 1)):
        if name in known:
            continue
        known.add(name)
        path = Path(sdk.__file__).parent.parent / name.replace(".", "/")
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if not name.startswith("sdk") or not file.is_file():
            continue
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
            for other in names:
                loads(other, known)
    return known


@pytest.mark.parametrize(
    ("module", "wanted", "unwanted"),
    [
        ("sdk.project", "pydantic", ("torch", "transformers", "mlflow", "presidio_analyzer", "sdk.train", "sdk.seal")),
        ("sdk.project.advising", "sdk.advise", ("torch", "mlflow", "presidio_analyzer")),
        ("sdk.project.amending", "sdk.seal", ("torch", "mlflow", "presidio_analyzer")),
        ("sdk.train", "torch", ("mlflow", "presidio_analyzer")),
        *(
            (f"sdk.project.{path.stem}", "pydantic", ("torch", "transformers", "mlflow", "presidio_analyzer"))
            for path in sorted(Path(inspect.getfile(Project)).parent.glob("*.py"))
            if path.stem != "__init__"
        ),
    ],
)
def test_a_verb_loads_what_it_needs_and_no_more(module: str, wanted: str, unwanted: tuple[str, ...]) -> None:
    """mlflow beside training would hold Python's lock and count as training's memory."""
    loaded = loads(module, set())
    assert wanted in loaded
    assert loaded & set(unwanted) == set()
