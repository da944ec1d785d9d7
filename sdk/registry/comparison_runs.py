"""A comparison of methods in MLflow: one run with its page, and below it a run for each method, with a step a seed."""

from __future__ import annotations

from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from sdk.records import MethodComparison, MethodResult
from sdk.registry.artifacts import send
from sdk.registry.connection import Tracking, talking
from sdk.registry.runs import find_experiment, find_or_create_run

COMPARE_TAG, METHOD_TAG = "sdk.compare", "sdk.compared_method"  # the record's digest; that and the method
FOLDER = "comparison"


def log_comparison(tracking: Tracking, project: str, record: MethodComparison, folder: Path) -> None:
    """Bring a comparison to the project's experiment. Called again, it completes what is missing.

    folder: holds the record's files. Raises StepFailed where MLflow fails; the record is kept then.
    """
    with talking(tracking, "the comparison was brought to it", "sdk compare"):
        client = tracking.connect()
        experiment = find_experiment(client, project, tracking.artifact_location)
        parent = find_or_create_run(client, experiment, (COMPARE_TAG, record.digest), f"compare {record.digest[:8]}")
        if parent.info.status == "FINISHED":
            return
        for one in record.methods:
            _log_method(client, experiment, parent.info.run_id, record, one)
        if "need" not in parent.data.params:
            values = {"need": record.need, "metric": record.metric, "questions": record.questions}
            client.log_batch(
                parent.info.run_id,
                params=[Param(key, str(value)) for key, value in values.items()],
                tags=[RunTag("mlflow.note.content", record.verdict)],
            )
        send(client, parent.info.run_id, FOLDER, {ref.path: folder / ref.path for ref in record.files})
        client.set_terminated(parent.info.run_id, "FINISHED")


def _log_method(
    client: MlflowClient, experiment: str, parent: str, record: MethodComparison, one: MethodResult
) -> None:
    tag = (METHOD_TAG, f"{record.digest} {one.method}")
    run = find_or_create_run(client, experiment, tag, one.method, {MLFLOW_PARENT_RUN_ID: parent})
    if run.info.status == "FINISHED":
        return
    started = run.info.start_time
    each_seed = [
        Metric(name, float(value), started, step)
        for step, done in enumerate(one.runs)
        for name, value in {
            "score_of_seed": sum(done.scores) / len(done.scores),
            "memory_gib_of_seed": done.memory_gib,
            "epoch_seconds": done.epoch_seconds,
            "tokens_per_second": done.tokens_per_second,
            "generated_per_second": done.generated_per_second,
            **({} if done.energy_wh is None else {"energy_wh": done.energy_wh}),
            **{f"forgetting_{kind}": found.change for kind, found in done.forgetting.items()},
        }.items()
    ]
    whole = {
        "score": one.score.value,
        "score_low": one.score.low,
        "score_high": one.score.high,
        "memory_gib": one.memory_gib,
        "memory_predicted_gib": one.memory_predicted_gib,
        "trainable_share": one.trainable_share,
        "adapter_bytes": one.runs[0].adapter_bytes,
    }
    if one.tokens_per_second_predicted is not None:
        whole["tokens_per_second_predicted"] = one.tokens_per_second_predicted
    if one.lost is not None:
        whole |= {"lost": one.lost.value, "lost_low": one.lost.low, "lost_high": one.lost.high}
    client.log_batch(
        run.info.run_id,
        metrics=[*each_seed, *(Metric(name, float(value), started, 0) for name, value in whole.items())],
        params=[
            Param("method", one.method),
            Param("lora_r", str(one.settings.lora_r)),
            Param("learning_rate", str(one.settings.learning_rate)),
            Param("steps", str(one.settings.max_steps)),
            Param("verdict", one.verdict),
        ],
    )
    client.set_terminated(run.info.run_id, "FINISHED")
