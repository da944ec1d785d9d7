"""Every key of a policy is required and enforced, and turning it changes an outcome."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

import sdk
from sdk.errors import InvalidInput, Refused
from sdk.files.store import shipped
from sdk.policy import (
    KEYS,
    MOMENTS,
    RULES,
    AfterEvaluate,
    AfterExport,
    AfterScrub,
    Allowing,
    ApprovalsCounted,
    BeforeBenchmark,
    BeforeCreate,
    BeforeEvaluate,
    BeforeExport,
    BeforeRegister,
    BeforeScrub,
    BeforeTrain,
    BeforeTrial,
    Deciding,
    Foreseen,
    LeaksChecked,
    LeaksUnchecked,
    Moment,
    Policy,
    ReviewsCounted,
    TrainerKnown,
    demands,
    differences,
    explained,
    loosened,
    read_policy,
    read_yaml,
    require,
    run_cases,
    stricter_approvals,
    violations,
)
from sdk.policy.rules import Rule

NAMES = ("default", "eu-ai-act", "finance", "gdpr", "hipaa", "unsafe-lab")
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
    "approve.valid_days": "test_approve.py",
    "audit.retention_years": "test_audit.py",
    "audit.unrecorded_training": "test_refusals.py",
}


def lab() -> dict[str, Any]:
    return yaml.safe_load((shipped("policies") / "unsafe-lab.yaml").read_text())


ROOMS = ("scrub", "train", "evaluate", "leaks", "seal", "approve", "export", "audit")


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


def test_every_key_is_checked_by_a_rule_or_read_by_the_room_that_obeys_it() -> None:
    """A new key without enforcement fails here: it stands in neither list, or nothing in its room reads it."""
    assert KEYS.keys() == keys(lab())
    assert {key for key, known in KEYS.items() if known.obeyed_by is None} == RULES.keys()
    for key, known in KEYS.items():
        if known.obeyed_by is not None:
            assert reads(known.obeyed_by, key), f"nothing in sdk/{known.obeyed_by} reads {key}"
    assert not reads("approve", "approve.colour")


def reads(room: str, key: str) -> bool:
    """Whether a file of the room asks a policy, or its rules for that step, for the key."""
    root = Path(sdk.__file__).parent
    files = [root / f"{room}.py"] if (root / f"{room}.py").is_file() else sorted((root / room).rglob("*.py"))
    section, name = key.split(".")
    asked = re.compile(rf"(\.{section}|\brules)\.{name}\b")
    return any(asked.search(file.read_text(encoding="utf-8")) for file in files)


def test_every_rule_is_asked_by_somebody() -> None:
    """Each moment is told of somewhere outside of this room, and each rule has one, or it would never be checked."""
    root = Path(sdk.__file__).parent
    code = "".join(
        path.read_text(encoding="utf-8") for path in root.rglob("*.py") if root / "policy" not in path.parents
    )
    for moment in MOMENTS:
        assert re.search(rf"\b{moment.__name__}\(", code), moment
    for name, rule in RULES.items():
        assert any(issubclass(moment, rule.fact) for moment in MOMENTS), name


def test_the_readme_says_of_every_key_who_reads_it() -> None:
    text = (shipped("policies") / "README.md").read_text()
    said = dict(re.findall(r"^\| `(\w+\.\w+)` \| ([^|]+) \|", text, re.MULTILINE))
    assert said == {key: known.steps for key, known in KEYS.items()}


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
    [
        "id: [",
        "id: a\nid: b\n",
        "text",
        "- a\n- b\n",
        "",
        "? [a]\n: b\n",
        "id: !!python/object/apply:os.system [ls]",
        "id: !!int ''",
        "id: !!int x",
        "id: !!bool x",
        "id: !!timestamp x",
        "id: 2026-13-45",
        f"id: {'1' * 5000}",
        "[" * 5000,
        "a: &a {b: c}\nd: {<<: *a}\n",
        "a: &a [*a]\n",
        "id: \x00",
    ],
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
    "evaluate.max_contamination": (0.05, 0.1, {"contamination": 0.06, "repeated": "1 in 2"}),
    "evaluate.run_model_code": (False, True, {"runs_model_code": True}),
    "evaluate.run_domain_code": (False, True, {"runs_domain_code": True}),
    "evaluate.forgetting": ({"mmlu": -0.02}, {}, {"not_kept": "mmlu: not measured"}),
    "leaks.required": (True, False, {"leaks_checked": False}),
    "leaks.max_exposure_bits": (2.5, 2.6, {"exposure_bits": 2.55}),
    "leaks.max_extracted": (0, 1, {"extracted": 1, "canaries": 32}),
    "leaks.max_auc": (0.7, 0.8, {"auc": 0.75}),
    "leaks.max_tpr": (0.2, 0.3, {"tpr": 0.25}),
    "approve.min_reason_length": (11, 10, {"reason_length": 10}),
    "approve.trainer_may_approve": (False, True, {"approver_is_trainer": True}),
    "approve.separate_duties": (True, False, {"shared_duties": "owner and approver"}),
    "approve.reviews": (2, 1, {"reviews": 1}),
    "approve.approvals": (2, 1, {"approvals": 1}),
    "export.formats": (["peft"], ["peft", "gguf"], {"export_format": "gguf"}),
    "export.max_kl_mean": (0.02, 0.1, {"kl_mean": 0.063}),
    "export.max_kl_p99": (0.3, 2.0, {"kl_p99": 0.5}),
    "export.min_top1": (0.95, 0.8, {"top1": 0.806}),
    "export.min_same_answers": (0.8, 0.5, {"same_answers": 0.7}),
    "export.max_score_loss": (0.05, 0.1, {"score_loss": 0.06}),
    "export.max_perplexity_ratio": (1.02, 1.05, {"perplexity_ratio": 1.034}),
}


def test_every_rule_is_turned_below() -> None:
    assert set(TURNS) == set(RULES)


EQUAL: dict[str, Any] = {
    "kl_mean": 0.0,
    "kl_p99": 0.0,
    "top1": 1.0,
    "same_answers": 1.0,
    "score_loss": 0.0,
    "perplexity_ratio": 1.0,
}
CLEAN: dict[str, Any] = {"contamination": 0.0, "repeated": ""}
# what nothing is wrong with under unsafe-lab, at every moment
HARMLESS: dict[type[Moment], Moment] = {
    type(moment): moment
    for moment in (
        BeforeCreate(from_hub=False),
        BeforeScrub(scrubbed=True),
        AfterScrub(scrubbed=True, recall=1.0, k=99),
        Foreseen(
            scrubbed=True,
            recall=1.0,
            k=99,
            miss_bound=0.0,
            below_floor="",
            questions=999,
            leaks_checked=True,
            runs_domain_code=False,
            **CLEAN,
        ),
        BeforeTrial(method="lora", from_hub=False),
        BeforeTrain(method="lora", from_hub=False, miss_bound=0.0, **CLEAN),
        BeforeBenchmark(runs_model_code=False, **CLEAN),
        BeforeEvaluate(runs_domain_code=False),
        AfterEvaluate(below_floor="", questions=999, improvement=0.5),
        BeforeRegister(not_kept=""),
        LeaksUnchecked(),
        LeaksChecked(exposure_bits=1.0, extracted=0, canaries=32, auc=0.5, tpr=0.0),
        Deciding(reason_length=999),
        Allowing(reason_length=999, approver_is_trainer=False, shared_duties=""),
        TrainerKnown(shared_duties=""),
        ReviewsCounted(reviews=99),
        ApprovalsCounted(approvals=99),
        BeforeExport(export_format="peft"),
        AfterExport(**EQUAL),
    )
}


def moments_of(rule: str, facts: dict[str, Any]) -> list[Moment]:
    """Every moment at which the rule is checked, with these facts and harmless ones beside them."""
    kinds = [kind for kind in MOMENTS if issubclass(kind, RULES[rule].fact)]
    return [HARMLESS[kind].model_copy(update=facts) for kind in kinds]


@pytest.mark.parametrize("rule", sorted(TURNS))
def test_turning_a_rule_turns_the_outcome(rule: str) -> None:
    refuses, allows, facts = TURNS[rule]
    room, key = rule.split(".")
    assert moments_of(rule, facts)
    for moment in moments_of(rule, facts):
        document = lab()
        document[room][key] = allows
        require(Policy.model_validate(document), moment)
        document[room][key] = refuses
        with pytest.raises(Refused, match=rule) as caught:
            require(Policy.model_validate(document), moment)
        assert caught.value.message == f"Policy unsafe-lab@{document['version']} refuses {moment.step}."
        assert len(caught.value.faults) == 1


@pytest.mark.parametrize(
    ("rule", "facts"),
    [
        ("scrub.min_recall", {"recall": 0.9}),
        ("scrub.min_k", {"k": 4}),
        ("scrub.max_miss_rate", {"miss_bound": 0.05}),
        ("evaluate.min_questions", {"questions": 99}),
        ("evaluate.max_contamination", {"contamination": 0.06}),
        ("leaks.max_exposure_bits", {"exposure_bits": 2.6}),
        ("leaks.max_extracted", {"extracted": 1}),
        ("leaks.max_auc", {"auc": 0.8}),
        ("leaks.max_tpr", {"tpr": 0.3}),
        ("approve.min_reason_length", {"reason_length": 10}),
        ("approve.reviews", {"reviews": 1}),
        ("approve.approvals", {"approvals": 1}),
        ("export.max_kl_mean", {"kl_mean": 0.1}),
        ("export.max_kl_p99", {"kl_p99": 2.0}),
        ("export.min_top1", {"top1": 0.8}),
        ("export.min_same_answers", {"same_answers": 0.5}),
        ("export.max_score_loss", {"score_loss": 0.1}),
        ("export.max_perplexity_ratio", {"perplexity_ratio": 1.05}),
    ],
)
def test_a_limit_that_is_just_kept_is_kept(rule: str, facts: dict[str, Any]) -> None:
    policy = turned(rule, TURNS[rule][1])
    for moment in moments_of(rule, facts):
        require(policy, moment)


def test_a_policy_of_an_earlier_version_lets_nothing_out_in_plain() -> None:
    document = lab()
    before = Policy.model_validate(document).model_dump(mode="json")
    del document["export"]
    earlier = Policy.model_validate(document)
    assert "export" not in earlier.model_dump(mode="json")  # so its digest is what it was
    assert before["export"]["formats"] == ["peft", "merged", "gguf", "gguf-lora"]
    with pytest.raises(Refused, match=r"export\.formats"):
        require(earlier, BeforeExport(export_format="peft"))
    assert len(violations(earlier, AfterExport(**EQUAL))) == 6


def test_the_least_improvement_is_one() -> None:
    policy = turned("evaluate.must_improve", True)
    require(policy, HARMLESS[AfterEvaluate].model_copy(update={"improvement": 1e-9}))
    with pytest.raises(Refused, match=r"evaluate\.must_improve"):
        require(policy, HARMLESS[AfterEvaluate].model_copy(update={"improvement": -0.5}))


@pytest.mark.parametrize("bound", [None, 1.0])
def test_no_review_shows_no_bound(bound: float | None) -> None:
    document = lab()
    moment = BeforeTrain(method="lora", from_hub=False, miss_bound=bound, **CLEAN)
    require(Policy.model_validate(document), moment)
    document["scrub"]["max_miss_rate"] = 0.999
    with pytest.raises(Refused, match=r"scrub\.max_miss_rate"):
        require(Policy.model_validate(document), moment)


def test_all_violations_are_listed_at_once() -> None:
    policy = read_policy(shipped("policies") / "hipaa.yaml")
    moment = AfterEvaluate(below_floor="all 0.1 < 0.6", questions=3, improvement=-0.1)
    with pytest.raises(Refused) as caught:
        require(policy, moment)
    assert len(caught.value.faults) == 3


# moment -> the rules that are checked then, and no others
CHECKED: dict[type[Moment], set[str]] = {
    BeforeCreate: {"train.allow_hub"},
    BeforeScrub: {"scrub.required"},
    AfterScrub: {"scrub.required", "scrub.min_recall", "scrub.min_k"},
    Foreseen: {
        "scrub.required",
        "scrub.min_recall",
        "scrub.min_k",
        "scrub.max_miss_rate",
        "evaluate.domain_floors",
        "evaluate.min_questions",
        "evaluate.max_contamination",
        "evaluate.run_domain_code",
        "leaks.required",
    },
    BeforeTrial: {"train.methods", "train.allow_hub"},
    BeforeTrain: {"train.methods", "train.allow_hub", "scrub.max_miss_rate", "evaluate.max_contamination"},
    BeforeBenchmark: {"evaluate.max_contamination", "evaluate.run_model_code"},
    BeforeEvaluate: {"evaluate.run_domain_code"},
    AfterEvaluate: {"evaluate.domain_floors", "evaluate.min_questions", "evaluate.must_improve"},
    BeforeRegister: {"evaluate.forgetting"},
    LeaksUnchecked: {"leaks.required"},
    LeaksChecked: {
        "leaks.required",
        "leaks.max_exposure_bits",
        "leaks.max_extracted",
        "leaks.max_auc",
        "leaks.max_tpr",
    },
    Deciding: {"approve.min_reason_length"},
    Allowing: {"approve.min_reason_length", "approve.trainer_may_approve", "approve.separate_duties"},
    TrainerKnown: {"approve.separate_duties"},
    ReviewsCounted: {"approve.reviews"},
    ApprovalsCounted: {"approve.approvals"},
    BeforeExport: {"export.formats"},
    AfterExport: {
        "export.max_kl_mean",
        "export.max_kl_p99",
        "export.min_top1",
        "export.min_same_answers",
        "export.max_score_loss",
        "export.max_perplexity_ratio",
    },
}


def test_every_moment_is_in_the_tables() -> None:
    assert set(MOMENTS) == CHECKED.keys() == HARMLESS.keys()
    assert {name for rules in CHECKED.values() for name in rules} == RULES.keys()


@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: moment.__name__)
@pytest.mark.parametrize("name", RULES)
def test_a_rule_is_checked_at_each_moment_that_knows_its_facts(name: str, moment: type[Moment]) -> None:
    """By type as by name, so that no moment knows a fact by another record than the rule's."""
    rule = RULES[name]
    checked = name in CHECKED[moment]
    assert issubclass(moment, rule.fact) == (rule.names <= moment.model_fields.keys()) == checked
    policy, facts = turned(name, TURNS[name][0]), HARMLESS[moment].model_copy(update=TURNS[name][2])
    broken = violations(policy, facts)
    assert (name in broken) == checked
    assert {demand.rule for demand in demands(policy, facts) if not demand.met} == broken.keys()


def test_a_demand_says_what_is_asked_and_what_there_is() -> None:
    policy = turned("leaks.max_auc", 0.7)
    shown = {one.rule: one for one in demands(policy, HARMLESS[LeaksChecked].model_copy(update={"auc": 0.91234}))}
    assert (shown["leaks.max_auc"].asks, shown["leaks.max_auc"].found) == ("0.7", "auc: 0.9123")
    assert shown["leaks.max_auc"].meaning == "of telling canaries from twins that were held out"
    assert not shown["leaks.max_auc"].met


@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: moment.__name__)
def test_a_misspelt_or_missing_fact_is_an_error(moment: type[Moment]) -> None:
    facts = HARMLESS[moment].model_dump()
    assert moment(**facts) == HARMLESS[moment]
    for name in facts:
        others = {other: value for other, value in facts.items() if other != name}
        with pytest.raises(ValidationError, match="Extra inputs"):
            moment(**others, **{name[:-1] + "_": facts[name]})
        if moment.model_fields[name].is_required():
            with pytest.raises(ValidationError, match="Field required"):
                moment(**others)


def test_a_rule_that_speaks_of_another_fact_cannot_be_made() -> None:
    fact = RULES["train.methods"].fact
    Rule(fact, lambda limit, known: True, "{method} is not {rule}")
    with pytest.raises(TypeError, match="ChosenMethod has no methd"):
        Rule(fact, lambda limit, known: True, "{methd} is not {rule}")
    with pytest.raises(TypeError, match="ChosenMethod has no methd"):
        Rule(fact, lambda limit, known: known.methd in limit, "no")


def test_a_policy_that_is_a_folder_or_not_utf_8_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_yaml(tmp_path)
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xff")
    with pytest.raises(InvalidInput, match="not UTF-8"):
        read_yaml(path)


def test_a_policy_of_megabytes_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text((shipped("policies") / "default.yaml").read_text() + "#" * 70_000)
    with pytest.raises(InvalidInput, match="more than 65536 bytes"):
        read_policy(path)


# -- the shipped policies, and what they are tested with --------------------------------------------------------------

CASES = sorted((shipped("policies") / "tests").glob("*.yaml"))


def test_every_shipped_policy_has_cases() -> None:
    assert [path.stem for path in CASES] == sorted(NAMES)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_shipped_policy_says_what_its_cases_expect(path: Path) -> None:
    policy, number, failed = run_cases(path)
    assert (policy.id, failed) == (path.stem, [])
    assert number >= 10


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_policy_says_what_it_does_not_cover(name: str) -> None:
    assert "Not covered: " in read_policy(shipped("policies") / f"{name}.yaml").note


@pytest.mark.parametrize(
    ("name", "years", "rule"),
    [
        ("finance", 6, "17 CFR 240.17a-4"),
        ("hipaa", 6, "45 CFR 164.316(b)(2)(i)"),
        ("gdpr", 4, "5(1)(e)"),
        ("eu-ai-act", 10, "art. 18(1)"),
    ],
)
def test_how_long_events_are_kept_follows_from_a_cited_rule(name: str, years: int, rule: str) -> None:
    policy = read_policy(shipped("policies") / f"{name}.yaml")
    assert policy.audit.retention_years == years
    (key,) = [each for each in explained(policy) if each.key == "audit.retention_years"]
    assert any(rule in cited for cited in key.cited)


def test_a_source_names_keys_that_exist(tmp_path: Path) -> None:
    document = lab()
    source = {"rule": "a rule", "version": "1", "date": "2026-01-01", "keys": ["seal.encrypt"]}
    Policy.model_validate(document | {"sources": [source]})
    path = tmp_path / "policy.yaml"
    path.write_text(yaml.safe_dump(document | {"sources": [source | {"keys": ["seal.colour"]}]}))
    with pytest.raises(InvalidInput) as caught:
        read_policy(path)
    assert "seal.colour" in str(caught.value)


# -- cases ------------------------------------------------------------------------------------------------------------


def write_cases(folder: Path, *cases: dict[str, Any]) -> Path:
    (folder / "lab.yaml").write_text(yaml.safe_dump(lab()))
    path = folder / "cases.yaml"
    path.write_text(yaml.safe_dump({"policy": "lab.yaml", "cases": list(cases)}))
    return path


def test_a_case_that_comes_out_otherwise_is_told(tmp_path: Path) -> None:
    strict = {"name": "strict", "facts": {"questions": 1}, "violates": ["evaluate.min_questions"]}
    lenient = {"name": "lenient", "facts": {"questions": 0}, "violates": []}
    good = {"name": "good", "facts": {"questions": 1}, "violates": []}
    _, number, failed = run_cases(write_cases(tmp_path, strict, lenient, good))
    assert number == 3
    assert failed[0] == "strict: does not violate evaluate.min_questions"
    assert failed[1].startswith("lenient: violates evaluate.min_questions: 0 evaluation questions, 1 are needed")
    assert len(failed) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"facts": {"question": 1}}, "no rule knows question"),
        ({"violates": ["evaluate.min_question"]}, "no rule knows evaluate.min_question"),
        ({"facts": {"recall": 1}}, "no rule is checked"),
        ({"facts": {}}, "at least 1"),
        ({"facts": {"questions": "many"}}, "cannot compare"),
        ({"facts": {"questions": None}}, "cannot compare"),
        ({"name": ""}, "at least 1"),
        ({"more": 1}, "Extra"),
    ],
)
def test_a_malformed_case_is_invalid(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    good = {"name": "good", "facts": {"questions": 1}, "violates": []}
    assert run_cases(write_cases(tmp_path, good))[2] == []
    with pytest.raises(InvalidInput) as caught:
        run_cases(write_cases(tmp_path, good | change))
    assert message in str(caught.value)


# -- stricter and looser ----------------------------------------------------------------------------------------------

STRICTER: dict[str, tuple[Any, Any]] = {  # key -> (a value, a stricter one)
    "scrub.required": (False, True),
    "scrub.recognizer": ("none", "embedded"),
    "scrub.score_threshold": (0.4, 0.3),
    "scrub.min_recall": (0.9, 0.95),
    "scrub.default_action": ("mask", "delete"),
    "scrub.actions": ({"AGE": "keep", "IBAN_CODE": "mask"}, {"AGE": "generalize", "IBAN_CODE": "delete"}),
    "scrub.token_scope": ("patient", "document"),
    "scrub.reversible": (["IBAN_CODE", "US_SSN"], ["US_SSN"]),
    "scrub.on_failure": ("quarantine", "refuse"),
    "scrub.quasi_identifiers": (["ward"], ["ward", "age"]),
    "scrub.min_k": (1, 5),
    "scrub.max_miss_rate": (None, 0.05),
    "scrub.identifiers": ({"A": ["PERSON"]}, {"A": ["PERSON", "TITLE"], "B": ["URL"]}),
    "train.methods": (["lora", "qlora-4bit"], ["lora"]),
    "train.allow_hub": (True, False),
    "evaluate.domain_floors": (False, True),
    "evaluate.min_questions": (50, 100),
    "evaluate.must_improve": (False, True),
    "evaluate.max_contamination": (1.0, 0.05),
    "evaluate.run_model_code": (True, False),
    "evaluate.run_domain_code": (True, False),
    "evaluate.forgetting": ({"mmlu": -0.05}, {"mmlu": -0.02, "safety": -0.05}),
    "leaks.required": (False, True),
    "leaks.canaries": (16, 32),
    "leaks.max_exposure_bits": (2.5, 2.0),
    "leaks.max_extracted": (1, 0),
    "leaks.max_auc": (0.7, 0.6),
    "leaks.max_tpr": (0.2, 0.1),
    "seal.encrypt": (False, True),
    "approve.reviews": (0, 1),
    "approve.approvals": (1, 2),
    "approve.trainer_may_approve": (True, False),
    "approve.separate_duties": (False, True),
    "approve.min_reason_length": (10, 20),
    "approve.valid_days": (None, 365),
    "export.formats": (["peft", "gguf"], ["peft"]),
    "export.max_kl_mean": (0.1, 0.02),
    "export.max_kl_p99": (2.0, 0.3),
    "export.min_top1": (0.8, 0.95),
    "export.min_same_answers": (0.5, 0.8),
    "export.max_score_loss": (0.1, 0.05),
    "export.max_perplexity_ratio": (1.05, 1.02),
    "audit.retention_years": (3, 6),
    "audit.unrecorded_training": ("continue", "refuse"),
}
NEITHER: dict[str, tuple[Any, Any]] = {
    "scrub.recognizer": ("embedded", "spacy:en_core_web_lg"),
    "scrub.default_action": ("mask", "token"),
    "scrub.actions": ({"AGE": "keep", "IBAN_CODE": "delete"}, {"AGE": "delete", "IBAN_CODE": "keep"}),
    "scrub.fields": ({}, {"metadata.ref": "US_BANK_NUMBER"}),
    "scrub.row_seconds": (10, 20),
    "scrub.quasi_identifiers": (["ward"], ["age"]),
    "train.methods": (["lora"], ["qlora-4bit"]),
    "evaluate.forgetting": ({"mmlu": -0.05, "safety": 0.0}, {"mmlu": -0.02, "safety": -0.1}),
}


def turned(key: str, value: Any) -> Policy:
    room, name = key.split(".")
    document = lab()
    document[room][name] = value
    return Policy.model_validate(document)


def test_every_key_is_compared_below() -> None:
    assert STRICTER.keys() | NEITHER.keys() == KEYS.keys()


# the same with values that differ in one respect only
MORE_STRICTER: list[tuple[str, Any, Any]] = [
    ("scrub.actions", {"AGE": "keep", "IBAN_CODE": "mask"}, {"AGE": "delete", "IBAN_CODE": "mask"}),
    ("scrub.identifiers", {"A": ["PERSON"]}, {"A": ["PERSON", "TITLE"]}),
    ("scrub.max_miss_rate", 0.1, 0.05),
    ("approve.valid_days", 365, 30),
    ("evaluate.forgetting", {}, {"mmlu": -0.5}),
    ("evaluate.forgetting", {"mmlu": -0.02, "safety": -0.1}, {"mmlu": -0.02, "safety": 0.0}),
    ("scrub.default_action", "keep", "mask"),
]


@pytest.mark.parametrize(("key", "loose", "strict"), MORE_STRICTER)
def test_what_stays_the_same_does_not_count(key: str, loose: Any, strict: Any) -> None:
    assert [each.change for each in differences(turned(key, loose), turned(key, strict))] == ["stricter"]
    assert [each.change for each in differences(turned(key, strict), turned(key, loose))] == ["looser"]


def test_the_same_methods_in_another_order_are_no_stricter() -> None:
    one, other = (turned("train.methods", value) for value in (["lora", "qlora-4bit"], ["qlora-4bit", "lora"]))
    assert [each.change for each in differences(one, other)] == ["other"]


@pytest.mark.parametrize("key", STRICTER)
def test_which_of_two_values_is_stricter(key: str) -> None:
    loose, strict = (turned(key, value) for value in STRICTER[key])
    assert [(each.key, each.change) for each in differences(loose, strict)] == [(key, "stricter")]
    assert [(each.key, each.change) for each in differences(strict, loose)] == [(key, "looser")]
    assert differences(strict, strict) == []


@pytest.mark.parametrize("key", NEITHER)
def test_where_no_value_is_stricter_nothing_is_claimed(key: str) -> None:
    one, other = (turned(key, value) for value in NEITHER[key])
    assert [(each.key, each.change) for each in differences(one, other)] == [(key, "other")]
    assert [(each.key, each.change) for each in differences(other, one)] == [(key, "other")]


def test_of_two_policies_each_key_of_approvals_keeps_the_stricter_value_and_no_other_key_changes() -> None:
    one, two = (turned("approve.approvals", number) for number in (1, 2))
    assert stricter_approvals(one, two) == two
    assert stricter_approvals(two, one) == stricter_approvals(two, None) == two
    for key in STRICTER.keys() - {key for key in STRICTER if key.startswith("approve.")}:
        loose, strict = (turned(key, value) for value in STRICTER[key])
        assert stricter_approvals(loose, strict).model_dump() == loose.model_dump()
        assert vars(stricter_approvals(loose, strict).approve) == vars(loose.approve)


def test_what_is_looser_is_said_with_both_values() -> None:
    loose, strict = (turned("scrub.min_k", value) for value in (1, 5))
    assert loosened(strict, loose) == ["scrub.min_k: 5, now 1"]
    assert loosened(loose, strict) == loosened(loose, loose) == []


def test_names_notes_and_sources_differ_too() -> None:
    gdpr, act = (read_policy(shipped("policies") / f"{name}.yaml") for name in ("gdpr", "eu-ai-act"))
    found = {each.key: each.change for each in differences(gdpr, act)}
    assert found.keys() >= {"id", "version", "title", "note", "sources", "approve.reviews", "audit.retention_years"}
    assert {found[key] for key in ("id", "note", "sources")} == {"other"}
    assert "looser" not in found.values()


def test_every_key_is_explained_with_its_value_and_its_reader() -> None:
    policy = read_policy(shipped("policies") / "hipaa.yaml")
    found = explained(policy)
    assert {each.key for each in found} == KEYS.keys()
    assert all(each.meaning and each.steps for each in found)
    (encrypt,) = [each for each in found if each.key == "seal.encrypt"]
    assert (encrypt.value, encrypt.cited) == (True, ("45 CFR 164.312(a)(2)(iv) encryption (2003 Security Rule)",))
