"""Every key of a policy is required, and turning it changes an outcome."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from sdk.errors import InvalidInput, Refused
from sdk.policy import RULES, Policy, read_policy, require
from sdk.store import shipped

NAMES = ("default", "finance", "gdpr", "hipaa", "unsafe-lab")
SETTINGS = {  # keys that a step obeys rather than `require` checks -> where a test turns them
    "scrub.score_threshold": "test_scrub.py",
    "scrub.default_action": "test_scrub.py",
    "scrub.actions": "test_actions.py",
    "scrub.token_scope": "test_actions.py",
    "scrub.reversible": "test_actions.py",
    "scrub.recognizer": "test_scrub_engine.py",
    "scrub.fields": "test_scrub.py",
    "scrub.on_failure": "test_scrub.py",
    "scrub.row_seconds": "test_scrub.py",
    "scrub.identifiers": "test_scrub.py",
    "scrub.quasi_identifiers": "test_scrub_report.py",
    "leaks.canaries": "test_leaks.py",
    "seal.encrypt": "test_seal.py",
}


def lab() -> dict[str, Any]:
    return yaml.safe_load((shipped("policies") / "unsafe-lab.yaml").read_text())


ROOMS = ("scrub", "train", "evaluate", "leaks", "seal", "approve")


def keys(document: dict[str, Any]) -> set[str]:
    return {f"{room}.{key}" for room in ROOMS for key in document[room]}


@pytest.mark.parametrize("name", NAMES)
def test_shipped_policies_are_whole_and_named_after_their_file(name: str) -> None:
    assert read_policy(shipped("policies") / f"{name}.yaml").id == name


def test_the_shipped_policies_are_these() -> None:
    assert sorted(path.stem for path in shipped("policies").glob("*.yaml")) == sorted(NAMES)


def test_every_key_is_a_rule_or_a_setting_that_a_test_turns() -> None:
    assert keys(lab()) == set(RULES) | set(SETTINGS)
    for file in SETTINGS.values():
        assert (Path(__file__).parent / file).is_file()


def test_the_readme_names_every_key() -> None:
    text = (shipped("policies") / "README.md").read_text()
    assert [key for key in keys(lab()) if f"`{key}`" not in text] == []


@pytest.mark.parametrize("key", sorted(keys(lab())))
def test_a_policy_without_a_key_or_with_an_unknown_one_is_malformed(key: str, tmp_path: Path) -> None:
    room, name = key.split(".")
    path = tmp_path / "policy.yaml"
    document = lab()
    value = document[room].pop(name)
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(InvalidInput, match=key):
        read_policy(path)
    document[room][name + "s"] = value
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(InvalidInput, match=f"{key}s"):
        read_policy(path)


@pytest.mark.parametrize(
    "text",
    ["id: [", "id: a\nid: b\n", "text", "- a\n- b\n", "", "? [a]\n: b\n", "id: !!python/object/apply:os.system [ls]"],
)
def test_bad_yaml_names_the_file(text: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=r"mine\.yaml"):
        read_policy(path)


# rule -> (a value that refuses, a value that allows, facts)
TURNS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "scrub.required": (True, False, {"scrubbed": False}),
    "scrub.min_recall": (0.95, 0.9, {"scrubbed": True, "recall": 0.93}),
    "scrub.min_k": (5, 4, {"k": 4}),
    "scrub.max_miss_rate": (0.01, 0.05, {"miss_bound": 0.0495}),
    "train.methods": (["lora"], ["lora", "qlora-8bit"], {"method": "qlora-8bit"}),
    "train.allow_hub": (False, True, {"from_hub": True}),
    "evaluate.domain_floors": (True, False, {"below_floor": "all 0.50 < 0.6"}),
    "evaluate.min_questions": (100, 99, {"questions": 99}),
    "evaluate.must_improve": (True, False, {"improvement": 0.0}),
    "leaks.required": (True, False, {"leaks_checked": False}),
    "leaks.max_exposure_bits": (2.5, 2.6, {"exposure_bits": 2.55}),
    "leaks.max_extracted": (0, 1, {"extracted": 1, "canaries": 32}),
    "leaks.max_auc": (0.7, 0.8, {"auc": 0.75}),
    "leaks.max_tpr": (0.2, 0.3, {"tpr": 0.25}),
    "approve.min_reason_length": (11, 10, {"reason_length": 10}),
    "approve.trainer_may_approve": (False, True, {"approver_is_trainer": True}),
    "approve.approvals": (2, 1, {"approvals": 1, "rejections": 0}),
}


def test_every_rule_is_turned_below() -> None:
    assert set(TURNS) == set(RULES)


@pytest.mark.parametrize("rule", sorted(TURNS))
def test_turning_a_rule_turns_the_outcome(rule: str) -> None:
    refuses, allows, facts = TURNS[rule]
    room, key = rule.split(".")
    document = lab()
    document[room][key] = allows
    require(Policy.model_validate(document), room, facts)
    document[room][key] = refuses
    with pytest.raises(Refused, match=rule):
        require(Policy.model_validate(document), room, facts)


@pytest.mark.parametrize("bound", [None, 1.0])
def test_no_review_shows_no_bound(bound: float | None) -> None:
    document = lab()
    require(Policy.model_validate(document), "train", {"miss_bound": bound})
    document["scrub"]["max_miss_rate"] = 0.999
    with pytest.raises(Refused, match=r"scrub\.max_miss_rate"):
        require(Policy.model_validate(document), "train", {"miss_bound": bound})


def test_a_rejection_outweighs_any_number_of_approvals() -> None:
    with pytest.raises(Refused, match="1 rejections"):
        require(Policy.model_validate(lab()), "approve", {"approvals": 5, "rejections": 1})


def test_all_violations_are_listed_at_once() -> None:
    policy = read_policy(shipped("policies") / "hipaa.yaml")
    facts = {"below_floor": "all 0.1 < 0.6", "questions": 3, "improvement": -0.1}
    with pytest.raises(Refused) as caught:
        require(policy, "evaluate", facts)
    assert len(caught.value.faults) == 3
