"""Records keep their bytes, so that a project of an earlier version opens; and each knows the step that made it."""

import json

import pytest

from sdk.records import (
    STEP_RECORDS,
    Approval,
    BehaviourCheck,
    BenchmarkResult,
    Benchmarks,
    BenchmarkSettings,
    Calibration,
    Declared,
    Export,
    FileRef,
    Forgetting,
    Interval,
    Leakage,
    Leaks,
    Likeness,
    LikenessLimits,
    MethodComparison,
    MethodResult,
    MethodRun,
    MetricScores,
    NearDuplicate,
    Overlap,
    Package,
    Parity,
    Pilot,
    Piloted,
    Probed,
    Publication,
    QuestionScores,
    Record,
    Release,
    Review,
    Rewrapped,
    StepRecord,
    Stratum,
    sha256,
)
from tests.fixed_state import charter
from tests.registry_records import HARDWARE, SETTINGS, advice, ref, run, scores, scrubbed

A, B = sha256(b"a"), sha256(b"b")
INTERVAL = Interval(value=0.5, low=0.25, high=0.75)
LEAKAGE = Leakage(
    kinds=("PERSON", "IBAN_CODE"),
    twins=2,
    candidates=4,
    exposures=(1.0, 2.0),
    exposure=INTERVAL,
    extracted=0,
    losses=(1.5, 2.5),
    twin_losses=(1.25, 2.25),
    scores=(0.5, -0.5),
    twin_scores=(0.25, -0.25),
    auc=INTERVAL,
    tpr=INTERVAL,
    auc_by_loss=0.5,
    auc_by_base=0.5,
)
INPUTS = {"inputs": {"policy": A, "settings": B}, "files": (ref("a.json"),)}


def examples() -> dict[str, Record]:
    """One record of each kind with fixed contents."""
    found: list[Record] = [
        charter(),
        advice().model_copy(update=INPUTS),
        scrubbed().model_copy(update=INPUTS),
        Review(
            population=100,
            n=30,
            misses=1,
            bound=0.15,
            extra=2,
            extra_misses=0,
            marks=1,
            strata={"en, found": Stratum(rows=100, reviewed=32, missed=1)},
            reviewer="Ada",
            earlier=0,
        ),
        run(3).model_copy(update=INPUTS),
        scores().model_copy(update=INPUTS),
        Leaks(adapted=LEAKAGE, control=LEAKAGE, passes=3.0, control_passes=3.0, control_steps=9, seconds=1.5),
        Package(
            package=A,
            package_id="0" * 32,
            version=1,
            signed_by="Ada",
            key_fingerprint=B,
            encrypted=True,
            policy="default@1",
            domain="finance@1",
        ),
        Rewrapped(key_id="k", wrapped={A: "d3JhcHBlZA=="}),
        Release(
            package=A,
            tracking_uri="sqlite",
            experiment_id="1",
            run_id="r",
            model_name="claims",
            version="1",
            artifacts=(ref("report.html"),),
        ),
        Approval(
            package=A,
            decision="approve",
            approver="Bob",
            key_fingerprint=B,
            reason="Fit for use.",
            policy="default@1",
            time="2026-11-26T00:00:00+00:00",
            expires=None,
            envelope="{}",
        ),
        Publication(release=A, package=B, status="approved", decisions=("approve by Bob",), checks=("yes: all",)),
        Calibration(
            hardware=HARDWARE,
            base_name="embedded",
            probes=(Probed(settings=SETTINGS, tokens=64, predicted_gib=0.5, error="StepFailed"),),
        ),
        Pilot(
            hardware=HARDWARE,
            metric="f1",
            questions=9,
            candidates=(
                Piloted(
                    settings=SETTINGS,
                    steps=4,
                    tokens=256,
                    eval_loss=INTERVAL,
                    score=INTERVAL,
                    seconds=2.5,
                    memory_gib=0.5,
                ),
            ),
            left_out={"lora": "it does not fit"},
        ),
        Benchmarks(
            results={
                "pubmedqa": BenchmarkResult(
                    sha256="0" * 64,
                    version="1.0",
                    num_fewshot=0,
                    metrics=("acc",),
                    scores={"acc": {"all": MetricScores(questions=1, base=INTERVAL, adapted=INTERVAL)}},
                    outcomes=(QuestionScores(question="101", base=(0.0,), adapted=(1.0,)),),
                    overlap=Overlap(
                        questions=1,
                        near_duplicates=(NearDuplicate(question="101", row="r-7", share=0.9, likeness=0.75),),
                    ),
                )
            },
            settings=BenchmarkSettings(),
            engine="0.4.13",
            seconds=2.5,
        ),
        MethodComparison(
            hardware=HARDWARE,
            base_name="tiny",
            metric="f1",
            questions=2,
            seeds=(42,),
            need="within 1 points of the best",
            reference="lora",
            methods=(
                MethodResult(
                    method="lora",
                    settings=SETTINGS,
                    trainable_share=0.125,
                    memory_predicted_gib=0.5,
                    runs=(
                        MethodRun(
                            seed=42,
                            steps=4,
                            tokens=256,
                            epoch_seconds=1.5,
                            seconds=2.5,
                            whole_seconds=4.5,
                            memory_gib=0.5,
                            tokens_per_second=100.0,
                            generated_per_second=50.0,
                            trainable_parameters=8,
                            adapter_bytes=32,
                            forgetting={"texts": Forgetting(items=10, base=8.0, adapted=9.0)},
                            scores=(0.0, 1.0),
                            losses=(1.0, 2.0),
                        ),
                    ),
                    score=INTERVAL,
                    verdict="cannot be told",
                    why="one seed",
                ),
            ),
            left_out={"dora": "it does not fit"},
            verdict="It cannot be told.",
        ),
        Export(
            release="a" * 64,
            package="a" * 64,
            identity="a" * 64,
            format="merged",
            onto="trained-base",
            weight_type="bf16",
            reason="The branch servers run vLLM.",
            exported=(FileRef(path="model.safetensors", size=1, sha256="a" * 64),),
            parity=Parity(
                engine="transformers 5.24.0",
                places=2,
                kl_mean=0.001,
                kl_p99=0.01,
                top1=INTERVAL,
                questions=2,
                same_answers=INTERVAL,
                metric="f1",
                score=0.5,
                score_exported=0.5,
                score_change=INTERVAL,
                perplexity_ratio=1.0,
                behaviour=BehaviourCheck(
                    likeness=Likeness(probes=8, effect=1.0, distance=0.0, difference=0.5, agreement=1.0),
                    limits=LikenessLimits(bits=16, distance=0.02, effect=0.08),
                ),
                seconds=1.5,
            ),
            tools={"torch": "2.13.0"},
            signed_by="Theo",
            key_fingerprint="a" * 64,
            seconds=2.5,
        ),
        Declared(answers={"uses.intended": "For staff. 供员工使用。"}, people={"tt1": "Theo"}),
    ]
    return {record.kind: record for record in found}


DIGESTS = {
    "charter": "3588ea066744083e7942b0d2e6fce943ef28b2c289fecedefc3936c30478d926",
    "advice": "32eb44ce8e628e59a5c767682fe9f0f307d86dbb7e680407500e8252398e8677",
    "scrubbed": "3a01a0ee006991aa33d3b5ce091e84fa1d81f616dad7f0f4d9954b32fd13f995",
    "review": "39d0f3fa0634bfc3104e4fd061b7f6d4800a816a7fb3b9f01b995f893154f311",
    "run": "38dce2b477fc35ac56253d956264d5f79f087cea92c104a4aa567de9f2a4f203",
    "scores": "32af7054e1fdee17ec7ee25d87bd68571813e9e71ddd64dbf041034ea7da7cfd",
    "leaks": "08c79a93ed294326b27bd7608c1c2bff82654001267c3f1effb9f45b33fa35bd",
    "package": "da79ef18d7bb83a6e23ef50283fc3da4eb667f4816b8f2df06670988876f284f",
    "rewrapped": "369982dce859ea255701773acf1b7ab58ea9a170a651280ad3c6d7b3faa1ce76",
    "release": "885f3b730d1ebe72ffb4ac3eb77234bdb373f2d7a6ed74d5c79df747163f24d3",
    "approval": "765ee1e13101562e2f6897f34c5210290cb973145a7cdea5df12f6b91f1dcecd",
    "publication": "38b5f1d793e961d3ecf696a09c507e263103639669505019298f1a725ccf3982",
    "calibration": "5a409faa010d753cd7f32746f1c948c13e16dd0a7b624b3bf5aa7ca14b091838",
    "declared": "49291acdd0b75c15a8836b74aaf7b8933787ea591d027b60dd00fbd5d7212330",
    "benchmarks": "4a004842eeae0b0aa331ddcfd70f9dd25290064f663336860d22a294c2fd08e4",
    "methodcomparison": "3e5ac50e319c58cf1b76b7c43ffb164225df36063c982143f6375391c7e4de76",
    "pilot": "3dffceaf7a35fdf33e1a667ed0e948e26dcadf1f85592684482d47cc6f4091bf",
    "export": "826e49e3fe1546527aa4deb4992ff7a0cb7ce10dbc0e309039b3631a41e31539",
}


@pytest.mark.parametrize("kind", examples())
def test_a_record_has_the_digest_that_it_always_had(kind: str) -> None:
    assert examples()[kind].digest == DIGESTS[kind]


def test_every_kind_of_record_has_an_example() -> None:
    assert examples().keys() == DIGESTS.keys() == {"charter", *(kind.__name__.lower() for kind in STEP_RECORDS)}


# the actions of the audit log that leave a record, and what a user types for it
STEPS = {
    "advise": "advise",
    "scrub": "scrub",
    "review": "review",
    "train": "train",
    "evaluate": "evaluate",
    "leaks": "leaks",
    "seal": "register",
    "register": "register",
    "approve": "approve",
    "publish": "promote",
    "rewrap": "keys rotate",
    "probe": "probe",
    "benchmark": "benchmark",
    "pilot": "pilot",
    "compare": "compare",
    "export": "export",
    "declare": "documents",
}


def test_every_record_of_a_step_knows_its_step_and_its_verb() -> None:
    assert {kind.step: kind.verb for kind in STEP_RECORDS} == STEPS
    assert len(STEP_RECORDS) == len(STEPS)
    assert {kind for kind in StepRecord.__subclasses__() if kind.__module__.startswith("sdk.")} == set(STEP_RECORDS)


@pytest.mark.parametrize("kind", STEP_RECORDS, ids=lambda kind: kind.step)
def test_step_and_verb_are_in_no_json(kind: type[StepRecord]) -> None:
    record = examples()[kind.__name__.lower()]
    assert json.loads(record.to_bytes()).keys() & {"step", "verb"} == set()
    assert {"step", "verb"} & (kind.model_fields.keys() | kind.model_json_schema()["properties"].keys()) == set()
