"""`mlflow.pyfunc.load_model` finds our loader by the file MLmodel alone, and hands it the release unchanged."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlflow
import numpy
import pandas
import pytest
import yaml
from mlflow.models import Model

from sdk import Project, flavor
from sdk.errors import InvalidInput, Refused, Tampered
from sdk.files.store import file_ref
from sdk.records import FileRef, Release
from sdk.registry import Adaptation, Tracking, check_release, publish
from sdk.registry.mlmodel import render_mlmodel
from sdk.registry.register import register
from tests.copies import copy_with_mlflow
from tests.registry_records import GOVERNANCE_FILES, PACKAGE_FILES, adaptation, make_governance, standing

ASKED = ["What is the ratio?", "何时到期？"]


class Echo:
    """Stands for the adapted model: MLflow's part is under test here, the model's own in test_model.py."""

    def generate(self, questions: Sequence[str]) -> list[str]:
        return [f"answer to {question}" for question in questions]


@pytest.fixture
def admitted(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, bytes]]:
    """What was in each folder that was given for admission."""
    seen: list[dict[str, bytes]] = []

    def admit(folder: Path, trust: object) -> Echo:
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        seen.append(files)
        return Echo()

    monkeypatch.setattr(flavor, "admit", admit)
    monkeypatch.setattr(flavor, "trust_from_environment", lambda: None)
    monkeypatch.delenv(flavor.PROJECT, raising=False)
    return seen


def promoted(tmp_path: Path, tracking: Tracking) -> tuple[Release, Adaptation, list[FileRef]]:
    made = adaptation(tmp_path / "package")
    release = register(made, tmp_path / "package", {}, tracking, tmp_path / "out", lambda *told: None)
    proofs = make_governance(tmp_path / "proofs")
    publish(tracking, release, made, standing(), proofs, {})
    refs = [file_ref(local, local.parent).model_copy(update={"path": path}) for path, local in proofs.items()]
    return release, made, refs


def load(monkeypatch: pytest.MonkeyPatch, tracking: Tracking, uri: str) -> Any:
    mlflow.set_tracking_uri(None)  # which other tests have set; that takes the variable away, too
    mlflow.set_registry_uri(None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking.backend)
    return mlflow.pyfunc.load_model(uri)


def assert_whole(files: dict[str, bytes], tmp_path: Path) -> None:
    given = {path for path in PACKAGE_FILES if path.startswith("package/")}
    proofs = {f"governance/{path}" for path in GOVERNANCE_FILES}
    assert files.keys() - {"registered_model_meta"} == {
        "MLmodel",
        "governance/provenance.dsse.json",
        *given,
        *proofs,
    }
    for path in given:
        assert files[path] == (tmp_path / "package" / path).read_bytes()


def test_from_the_embedded_database(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    admitted: list[dict[str, bytes]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    tracking = Tracking(tmp_path)
    release, made, refs = promoted(tmp_path, tracking)
    capsys.readouterr()
    model = load(monkeypatch, tracking, "models:/claims@champion")
    assert_whole(admitted[0], tmp_path)
    questions = [
        ASKED,
        pandas.Series(ASKED),
        pandas.Series(ASKED, name="question"),
        pandas.DataFrame({"question": ASKED}),
        numpy.array(ASKED),
    ]
    for asked in questions:
        assert model.predict(asked) == [f"answer to {question}" for question in ASKED]
    assert model.predict(ASKED[1]) == ["answer to 何时到期？"]
    assert isinstance(model.get_raw_model(), Echo)
    assert "WARNING" not in capsys.readouterr().err
    check_release(release, made, {}, tracking, refs, standing())


def test_by_version_by_run_and_without_mlflows_loading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, admitted: list[dict[str, bytes]]
) -> None:
    tracking = Tracking(tmp_path)
    release, made, refs = promoted(tmp_path, tracking)
    for uri in ("models:/claims/1", f"runs:/{release.run_id}/release"):
        load(monkeypatch, tracking, uri)
    for uri in ("models:/claims/1", "models:/claims@champion"):
        assert flavor.load_release(uri).generate(ASKED) == [f"answer to {question}" for question in ASKED]
    assert len(admitted) == 4
    for files in admitted:
        assert_whole(files, tmp_path)
    check_release(release, made, {}, tracking, refs, standing())


def test_another_loader_in_the_store_runs_in_mlflow_and_not_in_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, admitted: list[dict[str, bytes]]
) -> None:
    """Why docs/mlflow.md says which of the two to use where. Were MLflow to mend it, the page would be wrong."""
    tracking = Tracking(tmp_path)
    release, made, refs = promoted(tmp_path, tracking)
    stored = tmp_path / "mlartifacts" / release.run_id / "artifacts" / "release"
    (stored / "evil.py").write_text("ran = []\ndef _load_pyfunc(path): ran.append(1); raise SystemExit('evil ran')\n")
    text = (stored / "MLmodel").read_text().replace("loader_module: sdk.flavor", "code: .\n    loader_module: evil")
    (stored / "MLmodel").write_text(text)
    with pytest.raises(SystemExit, match="evil ran"):
        load(monkeypatch, tracking, "models:/claims@champion")
    assert not admitted
    del sys.modules["evil"]
    flavor.load_release("models:/claims@champion")
    assert len(admitted) == 1
    assert "evil" not in sys.modules
    with pytest.raises(Tampered, match=r"release/evil\.py was not registered"):
        check_release(release, made, {}, tracking, refs, standing())


def test_nobody_to_trust_is_no_reason_to_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracking = Tracking(tmp_path)
    promoted(tmp_path, tracking)
    for name in (flavor.PROJECT, flavor.TRUST, flavor.TRACKING):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InvalidInput, match="MLFLOW_TRACKING_URI names no MLflow"):
        flavor.load_release("models:/claims@champion")
    with pytest.raises(InvalidInput, match="SDK_TRUST names no file"):
        load(monkeypatch, tracking, "models:/claims@champion")
    with pytest.raises(InvalidInput, match="SDK_TRUST names no file"):
        flavor.load_release("models:/claims@champion")


class TestARealProject:
    """Trained, sealed, approved and promoted as a whole, then loaded the ways that docs/mlflow.md names."""

    def test_its_champion_through_mlflow_on_its_own_machine(
        self, finished: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        own = finished.load().generate(ASKED)
        monkeypatch.setenv(flavor.PROJECT, str(finished.root))
        before = len(finished.history())
        model = load(monkeypatch, Tracking(finished.root), f"models:/{finished.root.name}@champion")
        assert model.predict(ASKED) == own
        events = [event for event in finished.history()[before:] if event.action == "load"]
        assert [event.phase for event in events] == ["started", "finished"]
        monkeypatch.delenv(flavor.TRACKING)
        assert flavor.load_release(f"models:/{finished.root.name}@champion").generate(ASKED) == own

    def test_its_champion_on_a_machine_that_has_a_trust_file_only(
        self, finished: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        own = finished.load().generate(ASKED)
        finished.save_trust(tmp_path / "trust.json")
        shutil.copytree(finished.root / "keys", tmp_path / "keys")
        monkeypatch.delenv(flavor.PROJECT, raising=False)
        monkeypatch.setenv(flavor.TRUST, str(tmp_path / "trust.json"))
        model = load(monkeypatch, Tracking(finished.root), f"models:/{finished.root.name}@champion")
        assert model.predict(pandas.DataFrame({"question": ASKED})) == own

    def test_an_alias_that_was_moved_by_hand(
        self, finished: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """To a version that carries the champion's proofs and another package."""
        monkeypatch.setenv("SDK_STATE_HOME", str(tmp_path / "state"))  # the copy's log goes on, the original's does not
        copy_with_mlflow(finished.root, tmp_path / finished.root.name)
        copy = Project(tmp_path / finished.root.name)
        name, tracking = copy.root.name, Tracking(copy.root)
        client = tracking.connect()
        champion = client.get_model_version_by_alias(name, "champion")
        experiment = client.get_run(champion.run_id).info.experiment_id
        fake = client.create_run(experiment).info.run_id
        release = Path(client.download_artifacts(champion.run_id, "release", str(tmp_path)))
        manifest = release / "package" / "manifest.json"
        manifest.write_bytes(manifest.read_bytes().replace(b'"max_new_tokens":4', b'"max_new_tokens":5'))
        client.log_artifacts(fake, str(release), "release")
        version = client.create_model_version(name, f"runs:/{fake}/release", fake).version
        client.set_registered_model_alias(name, "champion", str(version))
        copy.save_trust(tmp_path / "trust.json")
        shutil.copytree(copy.root / "keys", tmp_path / "keys")
        for trusting in ((flavor.PROJECT, str(copy.root)), (flavor.TRUST, str(tmp_path / "trust.json"))):
            with pytest.MonkeyPatch.context() as patch:
                patch.delenv(flavor.PROJECT, raising=False)
                patch.setenv(*trusting)
                with pytest.raises(Tampered):
                    load(monkeypatch, tracking, f"models:/{name}@champion")
                with pytest.raises(Tampered):
                    flavor.load_release(f"models:/{name}@champion")
        with pytest.raises(Tampered, match=f"champion points to version {version}"):
            copy.verify()
        client.set_registered_model_alias(name, "champion", str(champion.version))
        client.delete_model_version(name, str(version))
        client.delete_run(fake)
        shutil.rmtree(copy.root / "mlartifacts" / fake)
        copy.verify()

    @pytest.mark.parametrize("path", ["package/adapter_config.json", "package/model.sig", "governance/promotion.json"])
    def test_one_bit_in_the_store_and_nothing_is_served(
        self, finished: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
    ) -> None:
        finished.save_trust(tmp_path / "trust.json")
        shutil.copytree(finished.root / "keys", tmp_path / "keys")
        monkeypatch.setenv(flavor.TRUST, str(tmp_path / "trust.json"))
        run = finished.state().latest(Release).run_id
        stored = finished.root / "mlartifacts" / run / "artifacts" / "release" / path
        kept = stored.read_bytes()
        stored.write_bytes(bytes([kept[0] ^ 1]) + kept[1:])
        try:
            with pytest.raises(Tampered):
                load(monkeypatch, Tracking(finished.root), f"models:/{finished.root.name}@champion")
        finally:
            stored.write_bytes(kept)


def test_what_is_refused_stays_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, admitted: list[dict[str, bytes]]
) -> None:
    tracking = Tracking(tmp_path)
    promoted(tmp_path, tracking)

    def refuse(folder: Path, trust: object) -> Echo:
        raise Refused("No decision stands.")

    monkeypatch.setattr(flavor, "admit", refuse)
    with pytest.raises(Refused, match="No decision stands"):
        load(monkeypatch, tracking, "models:/claims@champion")


@pytest.mark.parametrize(
    "data",
    [
        pandas.DataFrame({"id": ["1", "2"], "question": ASKED}),
        pandas.DataFrame({"question": [1, 2]}),
        pandas.DataFrame(),
        [["a", "b"]],
        [None],
        [1],
        [b"bytes"],
        {"question": ASKED},
        3,
        None,
    ],
)
def test_other_input_is_refused(data: object) -> None:
    with pytest.raises(InvalidInput, match="Questions are strings"):
        flavor.Answering(Echo()).predict(data)  # type: ignore[arg-type]


def test_no_questions_no_answers() -> None:
    assert flavor.Answering(Echo()).predict([]) == []  # type: ignore[arg-type]


def test_mlmodel_names_no_code_no_pickle_and_no_environment(tmp_path: Path) -> None:
    made = adaptation(tmp_path / "package")
    data = render_mlmodel(made.package)
    assert data == render_mlmodel(made.package)
    fields = yaml.safe_load(data)
    assert fields["flavors"]["sdk"] == {"package": made.package.package}
    assert fields["flavors"]["python_function"].keys() == {"loader_module", "python_version"}
    assert fields["flavors"]["python_function"]["loader_module"] == flavor.__name__
    assert fields["model_size_bytes"] == sum(ref.size for ref in made.package.files)
    assert "signature" not in fields
    (tmp_path / "MLmodel").write_bytes(data)
    assert Model.load(str(tmp_path)).flavors == fields["flavors"]
