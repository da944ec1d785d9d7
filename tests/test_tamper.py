"""One flipped byte in any stored file is named by `verify` and refused by `load`; so is a file added or taken away."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sdk import Project, SDKError, StepFailed, Tampered
from sdk.records import Approval

# a live database, compared by content, below; and what MLflow itself writes beside what it is given
NOT_OURS = {"mlflow.db", "mlflow.db-wal", "mlflow.db-shm", "registered_model_meta"}


def stored(root: Path) -> list[Path]:
    return sorted(p for p in root.rglob("*") if p.is_file() and p.stat().st_size and p.name not in NOT_OURS)


def test_every_stored_file_is_guarded(finished: Project) -> None:
    files = stored(finished.root)
    tops = {path.relative_to(finished.root).parts[0] for path in files}
    assert tops == {"audit", "policy.yaml", "policies", "ring", "domain", "keys", "records", "artifacts", "mlartifacts"}
    for number, path in enumerate(files):
        data = path.read_bytes()
        place = (0, len(data) // 2, len(data) - 1)[number % 3]
        try:
            path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
            with pytest.raises(Tampered) as named:
                finished.verify()
            with pytest.raises(Tampered):
                finished.load()
        finally:
            path.write_bytes(data)
        # MLflow knows its copies by their place below the run; a tree says that a log was altered, and not where
        name = path.name if "mlartifacts" not in path.parts else path.name.split(".")[0]
        name = path.parent.name if path.parent.name in ("audit", "ring") else name
        assert name in str(named.value), (path, str(named.value))
    finished.verify()


def test_a_missing_file_is_named(finished: Project) -> None:
    for path in stored(finished.root):
        data, mode = path.read_bytes(), path.stat().st_mode
        path.unlink()
        try:
            with pytest.raises(SDKError) as named:
                finished.verify()
            name = "audit" if path.parent.name == "audit" else path.name.split(".")[0]
            assert name in str(named.value) or path.parent.name in str(named.value), (path, str(named.value))
        finally:
            path.write_bytes(data)
            path.chmod(mode)
    finished.verify()


@pytest.mark.parametrize(
    "place", ["records/" + "0" * 64 + ".json", "artifacts/scrub/*/extra.jsonl", "domain/extra.yaml"]
)
def test_an_added_file_is_named(finished: Project, place: str) -> None:
    parent = next(iter(finished.root.glob(place.rsplit("/", 1)[0])))
    added = [parent / place.rsplit("/", 1)[1]]
    if parent.name == "records":  # one may be left by a crash just before its event; two are not
        added.append(parent / ("1" * 64 + ".json"))
    try:
        for path in added:
            path.write_text("{}")
        with pytest.raises(Tampered) as named:
            finished.verify()
        assert added[0].name in str(named.value) or "domain" in str(named.value)
    finally:
        for path in added:
            path.unlink()
    finished.verify()


def test_mlflow_holds_no_path_and_the_decisions_with_their_reasons(finished: Project) -> None:
    """But where the project's own artifacts lie, in the two columns that MLflow reads for that."""
    with closing(sqlite3.connect(finished.root / "mlflow.db")) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = set()
        for table in tables:
            cursor = database.execute(f"SELECT * FROM {table}")
            columns = [column for column, *_ in cursor.description]
            found |= {
                (table, column)
                for row in cursor
                for column, value in zip(columns, row, strict=True)
                if any(str(place) in str(value) for place in (finished.root, finished.root.resolve(), Path.home()))
            }
        (page,) = database.execute("SELECT description FROM model_versions").fetchone()
    assert found == {("experiments", "artifact_location"), ("runs", "artifact_uri")}
    approval = finished.state().latest(Approval)
    who, day, why = approval.approver, approval.time[:10], approval.reason
    for text in (
        f"| 1 of 1 approval by {who} on {day}: {why}&emsp; | **yes**",
        f"| approve&emsp; | {who}&emsp; | {day.replace('-', '&#8209;')}&emsp; | {why}&emsp; | yes",
        "the package is signed by ",
    ):
        assert text in page
    assert "the time is known" not in page


CHANGES = [
    "UPDATE params SET value = 'qlora-4bit' WHERE key = 'method'",
    "UPDATE metrics SET value = value + 0.5 WHERE key LIKE '%exact_match%'",
    "UPDATE model_versions SET description = 'approved by the board'",
    "UPDATE model_version_tags SET value = 'feedface' WHERE key = 'sdk.package'",
    "UPDATE model_version_tags SET value = 'feedface' WHERE key = 'sdk.audit_head'",
    "DELETE FROM params WHERE key = 'seed'",
]


@pytest.mark.parametrize("change", CHANGES)
def test_what_mlflow_says_is_compared_with_the_records(finished: Project, change: str) -> None:
    path = finished.root / "mlflow.db"
    data = path.read_bytes()
    try:
        with sqlite3.connect(path) as database:
            assert database.execute(change).rowcount >= 1
        database.close()
        with pytest.raises(Tampered, match=r"^MLflow, "):
            finished.verify()
        with pytest.raises(Tampered, match=r"^MLflow, "):
            finished.load()
    finally:
        path.write_bytes(data)
    finished.verify()


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM registered_model_aliases WHERE alias = 'champion'",
        "UPDATE registered_model_aliases SET version = 7 WHERE alias = 'champion'",
    ],
)
def test_an_alias_that_somebody_moved_is_found(finished: Project, change: str) -> None:
    path = finished.root / "mlflow.db"
    data = path.read_bytes()
    try:
        with sqlite3.connect(path) as database:
            assert database.execute(change).rowcount == 1
        database.close()
        with pytest.raises(Tampered, match="alias champion"):
            finished.verify()
    finally:
        path.write_bytes(data)


def test_a_database_that_cannot_be_read_is_no_pass(finished: Project) -> None:
    path = finished.root / "mlflow.db"
    data = path.read_bytes()
    try:
        path.write_bytes(b"\0" * 4096 + data[4096:])
        with pytest.raises((StepFailed, Tampered)):
            finished.verify()
        with pytest.raises((StepFailed, Tampered)):
            finished.load()
    finally:
        path.write_bytes(data)
    finished.verify()
