"""What a policy will refuse is told before anything is done: every demand of every shipped policy is walked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sdk.data import RowsFile
from sdk.errors import Refused
from sdk.files.store import shipped
from sdk.policy import KEYS, RULES, Foreseen, Policy, read_policy, require
from sdk.project import foreseeing
from sdk.project.foreseeing import TEXTS, foresee, foresee_of, require_use
from sdk.project.train_requests import train_facts, train_request
from sdk.records import AskedFloors, NearDuplicate, Overlap, Scrubbed
from tests.fixed_state import FixedState

POLICIES = sorted(path.stem for path in shipped("policies").glob("*.yaml"))
# rule -> why nothing that is known of rows, questions, canaries and floors tells whether it will hold
LATER = {
    "scrub.required": "the user skips the detectors, and scrubbing refuses before it begins",
    "train.methods": "the user chooses the method, and training refuses before it begins",
    "train.allow_hub": "init refuses it",
    "evaluate.must_improve": "measured",
    "evaluate.run_model_code": "the user names a benchmark that runs programs, and it is refused before it begins",
    "evaluate.forgetting": "measured",
    "leaks.max_exposure_bits": "measured",
    "leaks.max_extracted": "measured",
    "leaks.max_auc": "measured",
    "leaks.max_tpr": "measured",
    "approve.min_reason_length": "of a decision",
    "approve.trainer_may_approve": "of persons",
    "approve.separate_duties": "of persons",
    "approve.reviews": "of persons",
    "approve.approvals": "of persons",
    "export.formats": "the user names the form, and export refuses before it begins",
    "export.max_kl_mean": "measured",
    "export.max_kl_p99": "measured",
    "export.min_top1": "measured",
    "export.min_same_answers": "measured",
    "export.max_score_loss": "measured",
    "export.max_perplexity_ratio": "measured",
}


def test_every_rule_is_foreseen_or_said_why_it_cannot_be() -> None:
    assert RULES.keys() == TEXTS.keys() | LATER.keys()
    assert not TEXTS.keys() & LATER.keys()
    assert {name for name, rule in RULES.items() if issubclass(Foreseen, rule.fact)} == TEXTS.keys() | {
        "scrub.required"
    }


class PoliticalState(FixedState):
    """A state under any policy."""

    def __init__(self, root: Path, policy: Policy) -> None:
        super().__init__(root)
        self._policy = policy

    def policy(self) -> Policy:
        return self._policy

    def planted_rows(self, without: Path) -> list[Path]:
        return []

    def rows(self, scrubbed: Scrubbed, split: str) -> RowsFile:
        return RowsFile(self.root / f"{split}.jsonl", "")


def write(folder: Path, training: int, questions: int, **more: object) -> tuple[Path, Path]:
    for split, count in (("train", training), ("eval", questions)):
        lines = [
            json.dumps({"instruction": f"{split} {n}?", "output": "yes" if n % 4 else "no", **more})
            for n in range(count)
        ]
        (folder / f"{split}.jsonl").write_text("\n".join(lines))
    return folder / "train.jsonl", folder / "eval.jsonl"


SPANS = [{"field": "instruction", "start": 0, "end": 4, "entity_type": "PERSON"}]


def changed(name: str, **changes: object) -> Policy:
    document = read_policy(shipped("policies") / f"{name}.yaml").model_dump(mode="json")
    for key, value in changes.items():
        room, _, field = key.partition("__")
        document[room][field] = value
    return Policy.model_validate(document)


@pytest.mark.parametrize("name", POLICIES)
def test_what_a_shipped_policy_asks_of_rows_is_told_of_the_files(name: str, tmp_path: Path) -> None:
    policy = changed(name)
    state = PoliticalState(tmp_path, policy)
    expected = []
    if policy.scrub.min_recall > 0:
        expected.append("scrub.min_recall")
    if policy.evaluate.min_questions > 1:
        expected.append("evaluate.min_questions")
    lines = foresee(state, *write(tmp_path, 1, 1))
    assert [rule for rule in TEXTS if any(f": {rule}: " in line for line in lines)] == expected
    assert len(lines) == len(expected)
    for line in lines:
        rule = line.split(": ")[1]
        assert line.startswith(f"policy {policy.name} would refuse `sdk {KEYS[rule].steps.split(',')[0]}`: {rule}: ")
    if expected[1:]:
        assert f"1 evaluation questions, {policy.evaluate.min_questions} are needed" in lines[-1]
    assert foresee(state, *write(tmp_path, 9, 100, spans=SPANS)) == ()


@pytest.mark.parametrize(
    ("rule", "changes", "said"),
    [
        ("scrub.min_k", {"scrub__min_k": 9}, "there are 7 rows in all, and 9 must share"),
        ("scrub.max_miss_rate", {"scrub__max_miss_rate": 0.01}, "a review of 299 rows could show a bound of 0.01"),
        ("leaks.required", {"leaks__required": True, "leaks__canaries": 0}, "asked for planted canaries"),
        ("scrub.token_scope", {"scrub__token_scope": "patient"}, "it is patient, and 7 rows name none"),
        ("scrub.quasi_identifiers", {"scrub__quasi_identifiers": ["ward"]}, "no row has the metadata field ward"),
    ],
)
def test_what_a_policy_of_ones_own_may_ask_is_told_as_well(
    rule: str, changes: dict[str, object], said: str, tmp_path: Path
) -> None:
    (line,) = foresee(PoliticalState(tmp_path, changed("unsafe-lab", **changes)), *write(tmp_path, 5, 2))
    assert f": {rule}: " in line
    assert said in line


@pytest.mark.parametrize(("floor", "lines"), [("majority+.2", 0), ("majority+.5", 1), ("base+.9", 0)])
def test_a_floor_that_no_score_reaches_is_told(
    floor: str, lines: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = AskedFloors(floors={"all": floor}, origin="")
    monkeypatch.setattr(foreseeing, "asked_floors", lambda state, questions: asked)
    state = PoliticalState(tmp_path, changed("unsafe-lab", evaluate__domain_floors=True))
    told = foresee(state, *write(tmp_path, 8, 8))
    assert len(told) == lines
    assert all("no score can reach all majority+0.5, where the majority answer scores 0.750" in line for line in told)


@pytest.fixture
def scrubbed() -> Callable[[PoliticalState, int], Scrubbed]:
    def make(state: PoliticalState, questions: int) -> Scrubbed:
        inputs = {**state.scrubbed.inputs, "eval": "0" * 64, "policy": state.policy().digest}
        return state.scrubbed.model_copy(
            update={
                "rows": {"train": 9, "eval": questions},
                "inputs": inputs,
                "canaries": 32,
                "overlap": Overlap(questions=questions, near_duplicates=()),
            }
        )

    return make


@pytest.mark.parametrize("name", POLICIES)
def test_the_same_is_told_of_scrubbed_rows_and_training_is_refused(
    name: str, tmp_path: Path, scrubbed: Callable[[PoliticalState, int], Scrubbed], monkeypatch: pytest.MonkeyPatch
) -> None:
    state = PoliticalState(tmp_path, changed(name))
    few, many = scrubbed(state, 1), scrubbed(state, 100)
    assert foresee_of(state, many) == ()
    require_use(state, many)
    if state.policy().evaluate.min_questions == 1:
        return
    (line,) = foresee_of(state, few)
    assert ": evaluate.min_questions: 1 evaluation questions" in line
    with pytest.raises(Refused, match="--anyway") as caught:
        require_use(state, few)
    assert caught.value.faults == (line,)
    monkeypatch.setattr("sdk.project.train_requests.foresee_of", lambda state, scrubbed: foresee_of(state, few))
    request = train_request(state, {}, anyway=True, on_progress=lambda *progress: None)
    assert request.detail == {"anyway": line}
    assert train_request(state, {}, on_progress=lambda *progress: None).detail == {}


@pytest.mark.parametrize("found", [None, 6, 5])
def test_questions_that_repeat_training_rows_are_told_and_training_is_refused(
    found: int | None, tmp_path: Path, scrubbed: Callable[[PoliticalState, int], Scrubbed]
) -> None:
    """Rows that an earlier version scrubbed were never compared, which is refused as well."""
    state = PoliticalState(tmp_path, changed("finance"))
    pairs = tuple(NearDuplicate(question=f"q{n}", row=f"r{n}", share=1, likeness=1) for n in range(found or 0))
    overlap = None if found is None else Overlap(questions=100, near_duplicates=pairs)
    rows = scrubbed(state, 100).model_copy(update={"overlap": overlap})
    lines = foresee_of(state, rows)
    if found == 5:
        assert lines == ()
        return
    (line,) = lines
    said = "None do ()" if found is None else "0.06 do (q0 in r0, q1 in r1, q2 in r2, q3 in r3, q4 in r4 and 1 more)"
    assert "`sdk train`: evaluate.max_contamination: of the questions, 0.05 may nearly repeat" in line
    assert said in line
    with pytest.raises(Refused, match=r"evaluate\.max_contamination") as caught:
        require(state.policy(), train_facts(state, rows, state.run.settings))
    assert said in str(caught.value)


def test_rows_without_the_policys_canaries_are_in_vain(
    tmp_path: Path, scrubbed: Callable[[PoliticalState, int], Scrubbed]
) -> None:
    state = PoliticalState(tmp_path, changed("finance"))
    rows = scrubbed(state, 100)
    for changes in ({"canaries": 0}, {"inputs": {**rows.inputs, "policy": "0" * 64}}):
        (line,) = foresee_of(state, rows.model_copy(update=changes))
        assert "`sdk register`: leaks.required" in line
