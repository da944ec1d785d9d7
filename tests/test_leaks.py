"""The leak check: what is planted, what is measured, that it sees a leak, that it says so where it cannot."""

import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlflow import MlflowClient

from sdk import InvalidInput, OutOfOrder, Project, Refused, StepFailed
from sdk.data import Row, conversation, read_rows
from sdk.data.canaries import KINDS, MAX_CANARIES, Canary, canaries, canary_rows, is_canary, planted_kinds
from sdk.evaluate import mean_losses
from sdk.files.store import shipped
from sdk.intervals import share_interval
from sdk.measure import leaks as step
from sdk.measure import power
from sdk.model import Chat, Encoded
from sdk.model.generate import generate_ids
from sdk.model.likelihood import likelihoods
from sdk.model.load import load_base
from sdk.policy import read_policy
from sdk.project.adapter_files import open_adapter
from sdk.project.inputs import CANARIES
from sdk.records import Leaks, Package, Run, Scrubbed
from sdk.train.job import Job
from sdk.train.validation import hold_out
from tests.test_secrets import forms
from tests.tiny import settings
from tests.workshop import Workshop, raised, rows, write_policy

KEY = bytes(range(32))
PLANTED = 16
STEPS = 24
CANDIDATES = 32

# What is planted


def values(key: bytes = KEY, count: int = 40) -> list[Canary]:
    return list(canaries(key, count, ("en", "zh")))


def test_canaries_follow_from_the_key_and_fewer_are_the_first_of_more() -> None:
    assert values() == values()
    assert values(count=7) == values()[:7]
    ours, others = {canary.value for canary in values()}, {canary.value for canary in values(bytes(32))}
    assert len(ours) == 40
    assert not ours & others
    assert [row.id for row in canary_rows(KEY, 2, ("en",))] == ["canary-001", "canary-002"]
    assert all(is_canary(canary.row.id) for canary in values())


def test_they_speak_the_domains_languages_and_leave_out_what_the_policy_keeps() -> None:
    assert {canary.row.language for canary in canaries(KEY, 8, ("zh",))} == {"zh"}
    assert {canary.kind for canary in canaries(KEY, 40, ("en",))} == KINDS - {"CN_RESIDENT_ID", "CN_BANK_CARD"}
    rules = read_policy(shipped("policies") / "gdpr.yaml").scrub
    kept = rules.model_copy(update={"actions": {**rules.actions, "PERSON": "keep"}})
    assert planted_kinds(kept) == KINDS - {"PERSON"}
    assert {canary.kind for canary in canaries(KEY, 40, ("en", "zh"), planted_kinds(kept))} == KINDS - {"PERSON"}
    assert canaries(KEY, 40, ("en",), ()) == ()
    with pytest.raises(InvalidInput, match=r"leaks\.canaries"):
        canaries(KEY, MAX_CANARIES + 1, ("en",))


@pytest.mark.parametrize("canary", values(count=10), ids=lambda canary: f"{canary.kind}-{canary.row.language}")
def test_twins_differ_in_what_must_not_be_learned_only(canary: Canary) -> None:
    others = canary.others(63)
    assert len({canary.row.messages[1].content, *(row.messages[1].content for row in others)}) == 64
    assert {row.messages[0] for row in others} == {canary.row.messages[0]}
    planted = next(span for span in canary.row.spans if span.message == 1)
    assert canary.row.messages[1].content[planted.start : planted.end] == canary.value
    if not any(digit.isdigit() for digit in canary.value) or "@" in canary.value:
        return
    digits = ["".join(c for c in row.messages[1].content if c.isdigit()) for row in [canary.row, *others]]
    shown = 4 if len(digits[0]) >= 12 or canary.kind == "US_SSN" else 2  # what a mask shows
    assert len({number[-shown:] for number in digits}) == 1
    if canary.kind in ("CREDIT_CARD", "CN_BANK_CARD"):
        assert len({number[:6] for number in digits}) == 1
        assert all(_luhn(number) for number in digits)


def _luhn(number: str) -> bool:
    return sum(sum(divmod(int(digit) * (1 + place % 2), 10)) for place, digit in enumerate(number[::-1])) % 10 == 0


def test_a_canary_does_not_show_its_value() -> None:
    canary = values()[0]
    assert canary.value not in repr(canary).replace(repr(canary.row), "")


# What is measured


def test_exposure_is_log_rank() -> None:
    losses = np.array([[1.0, 2, 3, 4], [4, 1, 2, 3], [2, 1, 3, 4], [1, 1, 1, 1]])
    assert step.exposure_bits(losses).tolist() == pytest.approx([2, 0, 1, 2 - np.log2(2.5)])


def test_auc_and_true_positive_rate() -> None:
    apart = np.array([[9.0, 1, 2, 3, 4], [8, 1, 2, 3, 4], [7, 1, 2, 3, 4]])
    assert step._auc(apart)[0] == 1
    assert step._tpr(apart).value == 1
    same = np.ones((3, 5))
    assert step._auc(same)[0] == 0.5
    assert step._tpr(same).value == 0
    # a hundred twins: one of them may lie above the limit
    many = np.zeros((25, 5))
    many[:, 1:] = np.arange(100).reshape(25, 4)
    many[0, 0], many[1, 0], many[2, 0] = 98.5, 97.5, 200
    assert step._tpr(many).value == pytest.approx(2 / 25)


def test_chance_is_what_the_documentation_says() -> None:
    draw = np.random.default_rng(0)
    none = share_interval(0, 32)
    assert (none.value, none.low, none.high) == (0, 0, pytest.approx(1 - 0.025 ** (1 / 32)))
    bits = step.exposure_bits(draw.random((20_000, step.CANDIDATES)))
    assert bits.mean() == pytest.approx(1.38, abs=0.03)
    limit = read_policy(shipped("policies") / "hipaa.yaml").leaks
    means = bits[: 32 * 600].reshape(600, 32).mean(axis=1)
    assert (means > limit.max_exposure_bits).mean() < 0.005
    scores = draw.normal(size=(600, 32, 1 + step.TWINS))
    assert np.mean([step._tpr(one).value > limit.max_tpr for one in scores]) < 0.005


def test_a_control_sees_its_rows_as_often_as_the_run_or_more() -> None:
    given = settings(packing=True, gpus=4, per_device_train_batch_size=2, max_steps=9, validation_split=0.2)
    few = power.control_settings(given, 16, 3.0)
    assert (few.num_train_epochs, few.max_steps, few.gpus, few.packing) == (power.CONTROL_PASSES, -1, 1, False)
    assert few.per_device_train_batch_size * few.gradient_accumulation_steps == 8
    assert few.validation_split == 0
    assert power.control_settings(given, 16, 50.0).num_train_epochs == 50


@pytest.mark.parametrize(
    ("changes", "steps", "said"),
    [
        ({"max_steps": 3}, 3, ["each row 0.12 times", "`sdk train --max-steps 50`"]),
        ({"max_steps": 49}, 49, ["each row 2 times", "--max-steps 50"]),
        ({"max_steps": 50}, 50, []),
        ({"num_train_epochs": 1.0}, -1, ["each row 1 times", "`sdk train --num-train-epochs 2`"]),
        ({"num_train_epochs": 2.0}, -1, []),
        ({"max_steps": 3, "packing": True}, 3, []),  # how often is not known before the rows are packed
        ({"num_train_epochs": 3.0, "peft_type": "prompt_tuning"}, -1, ["control of prompt_tuning", "--peft-type lora"]),
    ],
)
def test_a_training_too_short_for_the_check_is_told_before(
    changes: dict[str, Any], steps: int, said: list[str]
) -> None:
    given = settings(per_device_train_batch_size=4, gradient_accumulation_steps=1, **{"max_steps": -1, **changes})
    notes = power.why_little_is_found(given, steps, 100)
    assert len(notes) == bool(said)
    assert notes == tuple(
        note.replace("train --resume 12", "train")
        for note in power.why_little_is_found(given, steps, 100, "sdk train --resume 12")
    )
    assert [text for text in said if text not in "".join(notes)] == []


def test_likelihoods_behind_a_common_beginning_are_those_of_whole_rows(workshop: Workshop) -> None:
    model, tokenizer = load_base(str(workshop.base), "lora")
    canary = values()[0]
    chat = Chat(tokenizer)
    encoded = [chat.encode(conversation(row, "brief")) for row in [canary.row, *canary.others(40)]]
    counted = [range(each.in_loss.index(True), each.in_loss.index(True) + sum(each.in_loss)) for each in encoded]
    found = likelihoods(model, [each.input_ids for each in encoded], counted)
    means = mean_losses(model, encoded, tokenizer.pad_token_id)
    assert [one.nll / sum(each.in_loss) for one, each in zip(found, encoded, strict=True)] == pytest.approx(means, 1e-4)
    ids, places = torch.tensor([encoded[3].input_ids]), counted[3]
    with torch.inference_mode():
        logs = model(input_ids=ids).logits[0, places.start - 1 : places.stop - 1].float().log_softmax(-1)
    spread = torch.distributions.Categorical(logits=logs)
    expected = -spread.entropy()
    deviation = ((logs - expected[:, None]).square() * spread.probs).sum(-1).sqrt()
    above = sorted(((logs[range(len(places)), ids[0, places.start : places.stop]] - expected) / deviation).tolist())
    fifth = above[: math.ceil(len(above) / 5)]
    assert found[3].min_k == pytest.approx(sum(fifth) / len(fifth), abs=1e-3)
    # what the model itself says is what is greedy
    asked = chat.prompt_ids(conversation(canary.row, "brief")[:-1])
    said = generate_ids(model, chat, [conversation(canary.row, "brief")[:-1]], 6, 1, lambda *told: None)[0]
    whole = range(len(asked), len(asked) + len(said))
    other = [said[0] + 1, *said[1:]]
    assert [one.greedy for one in likelihoods(model, [[*asked, *said], [*asked, *other]], [whole] * 2)] == [True, False]


def test_canaries_are_never_held_out() -> None:
    given = [Encoded([number], [True]) for number in range(20)]
    kept, held = hold_out(given, settings(validation_split=0.5), set(range(10, 20)))
    assert sorted(row.input_ids[0] for row in kept)[-10:] == list(range(10, 20))
    assert len(held) == 5
    assert hold_out(given, settings(validation_split=0.5)) == hold_out(given, settings(validation_split=0.5), ())


def test_rows_in_memory_reach_other_processes(tmp_path: Path) -> None:
    rows_given = tuple(canary_rows(KEY, 3, ("en", "zh")))
    job = Job(rows_given, "embedded", "brief", settings(), tmp_path)
    told = Job.from_bytes(job.to_bytes())
    rows: list[Row] = []
    told.each_row(rows.append)
    assert (told, tuple(rows), told.data_digest) == (job, rows_given, job.data_digest)
    assert rows_given[0].messages[1].content not in repr(job)
    assert list(tmp_path.iterdir()) == []


# The step


@pytest.fixture(scope="module")
def quick() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step, "CANDIDATES", CANDIDATES)
        patch.setattr(power, "CONTROL_PASSES", 12.0)
        yield


Make = Callable[..., Project]


@pytest.fixture(scope="module")
def make(workshop: Workshop, quick: None, tmp_path_factory: pytest.TempPathFactory) -> Make:
    folder = tmp_path_factory.mktemp("leaks")
    domain = folder / "domain"
    shutil.copytree(workshop.domain, domain)
    for name, count in (("train.jsonl", 16), ("eval.jsonl", 4)):
        lines = (workshop.domain / name).read_text(encoding="utf-8").splitlines(keepends=True)
        (domain / name).write_text("".join(lines[:count]), encoding="utf-8")

    def made(name: str, detect: bool = True) -> Project:
        policy = write_policy(
            folder / f"{name}.yaml",
            "gdpr",
            scrub__required=False,
            scrub__min_recall=0.5,
            evaluate__domain_floors=False,
            evaluate__must_improve=False,
            evaluate__min_questions=1,
            leaks__required=True,
            leaks__canaries=PLANTED,
            leaks__max_exposure_bits=2.5,
            leaks__max_auc=0.75,
            leaks__max_tpr=0.3,
        )
        project = Project.create(folder / name, domain=domain, base="embedded", policy=policy)
        project.advise()
        project.scrub(detect=detect)
        project.train(max_steps=STEPS)
        project.evaluate()
        return project

    return made


@pytest.fixture(scope="module")
def scrubbed(make: Make) -> Project:
    project = make("scrubbed")
    project.check_leaks()
    return project


def test_the_command_that_mends_a_short_run_is_named_and_nothing_is_done_for_it(scrubbed: Project) -> None:
    events = len(scrubbed.state().events)
    assert scrubbed.power_of_leak_check() == scrubbed.power_of_leak_check({"max_steps": 10_000}) == ()
    (note,) = scrubbed.power_of_leak_check({"max_steps": 1})
    assert "`sdk train --max-steps " in note
    assert len(scrubbed.state().events) == events


def planted(project: Project) -> list[Canary]:
    state = project.state()
    secret = state.secret().derive(CANARIES)
    return list(canaries(secret.expose(), PLANTED, state.domain().languages))


def test_a_scrubbed_model_is_at_chance_and_its_control_is_caught(scrubbed: Project) -> None:
    state = scrubbed.state()
    record, run = state.latest(Leaks), state.latest(Run)
    assert record.inputs["run"] == run.digest
    found, control = record.adapted, record.control
    assert found.exposure.value < 2.5
    assert found.extracted == 0
    assert found.auc.value < 0.75
    assert control.exposure.low > power.CONTROL_BITS
    assert control.auc.low > power.CONTROL_AUC
    assert len(found.kinds) == len(found.losses) == len(found.scores) == len(found.exposures) == PLANTED
    assert len(found.twin_losses) == len(found.twin_scores) == PLANTED * step.TWINS
    assert found.candidates == CANDIDATES
    assert record.passes == pytest.approx(STEPS * run.settings.per_device_train_batch_size / (16 + PLANTED))
    assert record.control_passes >= record.passes
    for one in (found, control):
        for interval in (one.exposure, one.auc, one.tpr):
            assert interval.low <= interval.value <= interval.high


def test_canaries_are_trained_on_and_in_no_count(scrubbed: Project) -> None:
    state = scrubbed.state()
    record = state.latest(Scrubbed)
    lines = rows(state.folder(record) / record.data["train"].path)
    assert sum(is_canary(str(line["id"])) for line in lines) == PLANTED == record.canaries
    assert record.rows["train"] == len(lines) - PLANTED == 16
    assert record.canary_spans.planted > PLANTED
    assert record.canary_spans.found >= 0.9 * record.canary_spans.planted  # names in the questions among them
    own = {str(line["id"]) for line in lines if not is_canary(str(line["id"]))}
    assert {json.loads(line)["row"] for line in _ledger(scrubbed)} <= own | {
        str(line["id"]) for line in rows(state.domain_source / "eval.jsonl")
    }


def _ledger(project: Project) -> list[str]:
    record = project.state().latest(Scrubbed)
    return (project.state().folder(record) / record.ledger.path).read_text().splitlines()


def test_no_value_is_in_any_file_and_no_weights_of_the_control_stay(scrubbed: Project) -> None:
    scrubbed.register()
    everything = b"\0".join(path.read_bytes() for path in scrubbed.root.rglob("*") if path.is_file())
    secret = scrubbed.state().secret()
    asked = [*planted(scrubbed), *canaries(secret.derive("control canaries").expose(), power.CONTROLS, ("en", "zh"))]
    texts = {canary.value for canary in asked if len(canary.value) > 3}
    texts |= {row.messages[1].content for canary in asked for row in canary.others(3)}
    assert len(texts) > 100
    assert [text for text in texts if any(form in everything for form in forms(text))] == []
    tensors = {path.name for path in scrubbed.root.rglob("*") if path.is_file() and b"lora_A" in path.read_bytes()}
    assert tensors == {"manifest.json"}  # which names them
    leaks = scrubbed.root / "artifacts" / "leaks"
    assert not leaks.exists() or not list(leaks.rglob("*"))
    assert scrubbed.verify().packages == 1


def test_the_package_and_mlflow_name_the_check(scrubbed: Project) -> None:
    release = scrubbed.register()
    state = scrubbed.state()
    record = state.latest(Leaks)
    assert state.latest(Package).inputs["leaks"] == record.digest
    metrics = MlflowClient(f"sqlite:///{scrubbed.root.resolve()}/mlflow.db").get_run(release.run_id).data.metrics
    assert metrics["leaks/exposure_bits.adapted"] == record.adapted.exposure.value
    assert metrics["leaks/auc.control"] == record.control.auc.value
    assert {"plots/leaks.png", "plots/leaks_roc.png"} <= {ref.path for ref in release.artifacts}
    report = (state.folder(release) / "report.html").read_text(encoding="utf-8")
    assert f"{record.adapted.exposure.value:.3f} ({record.adapted.exposure.low:.3f} to " in report
    assert "Losses of planted values" in report


def test_the_same_check_again_is_not_made_again(scrubbed: Project) -> None:
    record = scrubbed.state().latest(Leaks)
    events = len(scrubbed.state().events)
    assert scrubbed.check_leaks() == record
    assert len(scrubbed.state().events) == events


@pytest.fixture(scope="module")
def plain(make: Make) -> Project:
    return make("plain", detect=False)


def test_a_control_that_learned_nothing_breaks_the_check(plain: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    real = power.control_settings

    def hardly(*given: Any) -> Any:
        return real(*given).model_copy(update={"num_train_epochs": 2.0, "learning_rate": 1e-6})

    monkeypatch.setattr(power, "control_settings", hardly)
    monkeypatch.setattr(step, "CANDIDATES", 16)
    with pytest.raises(StepFailed, match="no power here") as caught:
        plain.check_leaks()
    assert [fault.split()[0] for fault in caught.value.faults] == ["exposure", "AUC"]
    last = plain.history()[-1]
    assert (last.action, last.phase) == ("leaks", "failed")
    assert not list((plain.root / "artifacts").glob("leaks/*"))
    with pytest.raises(Refused, match=r"leaks\.required.*sdk leaks"):
        plain.register()


def test_what_was_not_scrubbed_is_refused_with_the_numbers(plain: Project) -> None:
    record = plain.check_leaks()
    assert record.adapted.exposure.value > 4
    assert plain.check_leaks() == record  # recorded whatever it is
    with pytest.raises(Refused) as caught:
        plain.register()
    assert {fault.split(":")[0] for fault in caught.value.faults} >= {"leaks.max_exposure_bits", "leaks.max_auc"}
    assert f"{record.adapted.exposure.value:.2f} bits" in str(caught.value)
    last = plain.history()[-1]
    assert (last.action, last.phase, last.objects["leaks"]) == ("register", "refused", record.digest)
    assert plain.state().find_latest(Package) is None


def test_the_same_check_from_nothing_gives_the_same(
    plain: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in {"CANDIDATES": 8, "CONTROL_PASSES": 6.0, "CONTROL_BITS": 0.0, "CONTROL_AUC": 0.0}.items():
        monkeypatch.setattr(power if name.startswith("CONTROL") else step, name, value)
    state = plain.state()
    run = state.latest(Run)
    asked = step.Trained("embedded", "brief", run.settings, open_adapter(state, run), None)
    seen: list[str] = []

    def look(what: str, done: int, total: int | None, figures: Mapping[str, float]) -> None:
        seen.extend(path.name for path in tmp_path.rglob("*") if path.suffix == ".jsonl")

    made = [
        step.check_leaks(asked, values()[:4], values(bytes(32))[:4], None, tmp_path / "control", look)
        .model_copy(update={"seconds": 0.0})
        .to_bytes()
        for _ in range(2)
    ]
    assert made[0] == made[1]
    assert set(seen) <= {"spool.jsonl"}  # figures of the training; its rows are in no file
    assert not list(tmp_path.iterdir())


def test_rows_without_canaries_cannot_be_asked_for(workshop: Workshop, tmp_path: Path) -> None:
    project = Project.create(tmp_path / "p", domain=workshop.domain, base=str(workshop.base), policy=workshop.policy)
    project.advise()
    project.scrub()
    project.train(max_steps=3)
    with pytest.raises(InvalidInput, match=r"leaks\.canaries"):
        project.check_leaks()
    path = project.root / "policy.yaml"
    path.write_text(raised(path.read_text().replace("canaries: 0", "canaries: 4")))
    project.adopt()
    with pytest.raises(OutOfOrder, match="sdk scrub"):
        project.check_leaks()
    scrubbed = project.scrub()
    assert scrubbed.canaries == 4
    data = read_rows(project.state().folder(scrubbed) / "train.jsonl").rows
    assert [row.id for row in data if is_canary(row.id)] == [f"canary-{number:03}" for number in range(1, 5)]


def test_ids_of_planted_rows_are_not_the_users(workshop: Workshop, tmp_path: Path) -> None:
    policy = write_policy(tmp_path / "policy.yaml", leaks__canaries=2)
    project = Project.create(tmp_path / "p", domain=workshop.domain, base=str(workshop.base), policy=policy)
    mine = tmp_path / "mine.jsonl"
    mine.write_text('{"id": "canary-001", "instruction": "What is a bond?", "output": "a loan"}\n')
    with pytest.raises(InvalidInput, match="canary-"):
        project.scrub(mine)
