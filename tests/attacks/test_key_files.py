"""Key files that somebody else could write, read or choose; and files that somebody added to a project."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sdk import crypto
from sdk.cli.app import app
from sdk.crypto.keyfile import read_private_file
from sdk.errors import InvalidInput, Tampered
from sdk.records import sha256
from tests.attacks.old_project import clean, project, verified, within_moments  # noqa: F401 - fixtures


def run(*arguments: str) -> int:
    return CliRunner().invoke(app, list(arguments)).exit_code


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "alice.pem"
    crypto.save_key(crypto.SigningKey.random(), path)
    return path


# -- making ------------------------------------------------------------------------------------------------------------


def test_new_keys_are_made_where_nothing_lies(tmp_path: Path) -> None:
    assert run("keys", "new", str(tmp_path / "k.pem")) == 0
    assert crypto.open_signer(f"file:{tmp_path / 'k.pem'}").public_pem == (tmp_path / "k.pem.pub").read_text()
    assert (tmp_path / "k.pem").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["k.pem", "k.pem.pub"]


def test_a_public_key_of_that_name_is_not_overwritten_and_no_private_one_is_made(tmp_path: Path) -> None:
    (tmp_path / "k.pem.pub").write_text("the key that people know")
    assert run("keys", "new", str(tmp_path / "k.pem")) == 2
    assert (tmp_path / "k.pem.pub").read_text() == "the key that people know"
    assert not (tmp_path / "k.pem").exists()


@pytest.mark.parametrize("name", ["k.pem", "k.pem.pub"])
@pytest.mark.parametrize("target", ["victim", "nowhere"])
def test_a_link_in_the_place_of_either_file_is_not_followed(name: str, target: str, tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("of somebody else")
    (tmp_path / name).symlink_to(target)
    assert run("keys", "new", str(tmp_path / "k.pem")) == 2
    assert (tmp_path / "victim").read_text() == "of somebody else"
    assert not (tmp_path / "nowhere").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["victim", name])


@pytest.mark.parametrize("make", [os.symlink, os.link], ids=["symbolic", "hard"])
def test_a_link_where_a_file_is_written_aside_is_not_followed(
    make: Callable[[Path, Path], None], tmp_path: Path
) -> None:
    (tmp_path / "victim").write_text("of somebody else")
    for name in ("k.pem.aside", "k.pem.pub.aside"):
        make(tmp_path / "victim", tmp_path / name)
    assert run("keys", "new", str(tmp_path / "k.pem")) == 0
    assert (tmp_path / "victim").read_text() == "of somebody else"


@pytest.mark.parametrize("place", ["k.pem", "k.pem.pub"])
def test_a_file_that_appears_after_the_look_stays(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The race between looking and writing, won."""
    original = os.path.lexists

    def appears(path: Path) -> bool:
        there = original(path)
        if str(path) == str(tmp_path / place) and not there:
            (tmp_path / place).write_text("came first")
        return there

    monkeypatch.setattr(os.path, "lexists", appears)
    assert run("keys", "new", str(tmp_path / "k.pem")) in (2, 5)
    assert (tmp_path / place).read_text() == "came first"


# -- reading -----------------------------------------------------------------------------------------------------------


def test_a_key_of_ones_own_opens(key: Path) -> None:
    assert crypto.open_signer(f"file:{key}").fingerprint


def test_a_key_through_a_link_is_refused(key: Path, tmp_path: Path) -> None:
    (tmp_path / "link.pem").symlink_to(key)
    with pytest.raises(InvalidInput, match="it is a link"):
        crypto.open_signer(f"file:{tmp_path / 'link.pem'}")


def test_a_key_in_a_folder_that_is_reached_through_a_link_opens(key: Path, tmp_path: Path) -> None:
    """As homes and mounts are; who can turn such a link owns the folder above it."""
    (tmp_path / "home").symlink_to(tmp_path)
    assert crypto.open_signer(f"file:{tmp_path / 'home' / key.name}").fingerprint


def test_a_key_of_another_user_is_refused(key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: key.stat().st_uid + 1)
    with pytest.raises(InvalidInput, match="belongs to another user"):
        crypto.open_signer(f"file:{key}")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_key_that_was_given_away_is_refused(key: Path) -> None:
    os.chown(key, 65534, 65534)
    with pytest.raises(InvalidInput, match=r"uid 65534, this is 0"):
        crypto.open_signer(f"file:{key}")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o666, 0o610])
def test_a_key_that_others_may_touch_is_refused(mode: int, key: Path) -> None:
    key.chmod(mode)
    with pytest.raises(InvalidInput, match=f"mode {mode:04o}"):
        crypto.open_signer(f"file:{key}")


def test_a_key_that_is_swapped_between_the_look_and_the_reading(
    key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look is at the open file: what comes into its place afterwards is not read."""
    honest, other = crypto.open_signer(f"file:{key}").fingerprint, tmp_path / "other.pem"
    crypto.save_key(crypto.SigningKey.random(), other)
    other.chmod(0o644)
    original = os.fstat

    def swap(descriptor: int) -> os.stat_result:
        status = original(descriptor)
        if other.exists() and status.st_ino == key.stat().st_ino:
            other.replace(key)
        return status

    monkeypatch.setattr(os, "fstat", swap)
    assert crypto.open_signer(f"file:{key}").fingerprint == honest
    assert not other.exists()
    with pytest.raises(InvalidInput, match="mode 0644"):
        crypto.open_signer(f"file:{key}")


def test_a_pin_is_read_as_a_key_is(tmp_path: Path) -> None:
    path = tmp_path / "pin"
    path.write_text("1234")
    path.chmod(0o600)
    assert read_private_file(path, "The PIN") == b"1234"
    path.rename(tmp_path / "kept")
    path.symlink_to("kept")
    with pytest.raises(InvalidInput, match="The PIN cannot be read: it is a link"):
        read_private_file(path, "The PIN")
    path.unlink()
    os.mkfifo(path, 0o600)
    with within_moments(), pytest.raises(InvalidInput, match="not a regular file"):
        read_private_file(path, "The PIN")


# -- what somebody added to a project ----------------------------------------------------------------------------------


def test_a_project_as_it_was_left_has_nothing_added(project: Path) -> None:  # noqa: F811
    assert not [note for note in verified(project).notes if "no file of the project" in note or "named by no" in note]


NAMED = ["notes.txt", "torch.py", "keys/mallory.pem", "keys/nested/a.pem", "review/rows.jsonl", "unsent/rows.jsonl"]
NAMED += ["unrecorded/rows.jsonl", ".hidden"]


@pytest.mark.parametrize("name", NAMED)
def test_an_added_file_is_named(name: str, project: Path) -> None:  # noqa: F811
    path = project / name
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text("added")
    assert any(name.partition("/a")[0] in note and "no file of the project" in note for note in verified(project).notes)


def test_an_added_policy_and_an_added_record_are_named(project: Path) -> None:  # noqa: F811
    kept = next((project / "policies").iterdir())
    weak = kept.read_bytes().replace(b'"approvals":1', b'"approvals":0')
    assert weak != kept.read_bytes()
    name = f"{sha256(weak)}.json"
    (project / "policies" / name).write_bytes(weak)
    (project / "records" / name).write_bytes(weak)
    notes = [note for note in verified(project).notes if name in note]
    assert [note.endswith("is named by no record.") for note in notes] == [True, True]


TAMPERED = ["artifacts/rows.jsonl", "artifacts/train/0123456789abcdef/adapter.bin", "artifacts/seal/extra.json"]
TAMPERED += [
    "ring/0003.dsse.json.bak",
    "ring/0004.dsse.json",
    "domain/extra.yaml",
    "audit/extra",
    "policies/extra.json",
]


@pytest.mark.parametrize("name", TAMPERED)
def test_an_added_file_where_everything_is_named_is_refused(name: str, project: Path) -> None:  # noqa: F811
    path = project / name
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text("added")
    with pytest.raises(Tampered):
        verified(project)


@pytest.mark.parametrize(
    "name", ["artifacts", "records", "ring", "policies", "keys", "domain", "review", "policy.yaml", "documents.yaml"]
)
def test_a_link_in_the_place_of_a_folder_or_file_is_refused(name: str, project: Path) -> None:  # noqa: F811
    path, away = project / name, project.parent / "away"
    path.rename(away) if path.exists() else away.mkdir()
    path.symlink_to(away)
    with pytest.raises(Tampered):
        verified(project)


def test_a_link_in_the_place_of_a_step_s_folder_is_refused(project: Path) -> None:  # noqa: F811
    [folder] = (project / "artifacts" / "scrub").iterdir()
    folder.rename(project.parent / "away")
    folder.symlink_to(project.parent / "away")
    with pytest.raises(Tampered, match="no part of the project"):
        verified(project)


def test_a_pipe_in_a_step_s_folder_is_named(project: Path) -> None:  # noqa: F811
    [folder] = (project / "artifacts" / "scrub").iterdir()
    os.mkfifo(folder / "pipe")
    with within_moments(), pytest.raises(Tampered, match="does not name"):
        verified(project)
