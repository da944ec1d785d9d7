"""What never answers or is too large, in the place of every file: our own error within moments, never a hang."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from random import Random
from unittest.mock import patch

import pyarrow
import pyarrow.parquet
import pytest

from sdk import crypto
from sdk.advise.model_config import read_shape
from sdk.data import open_rows, read_rows
from sdk.domain import read_domain
from sdk.domain.recognizer_format import DENIED_WORDS
from sdk.errors import InvalidInput, SDKError, Tampered
from sdk.files.regular_files import RECOGNIZERS_BYTES, YAML_BYTES
from sdk.policy import read_policy
from sdk.project import Project
from sdk.project.charter import adopt_domain, copy_domain
from sdk.project.state import ProjectState
from sdk.scrub.find.recognizers import read_recognizers
from sdk.serve.admit import read_trust
from tests.attacks.old_project import clean, project, verified, within_moments  # noqa: F401 - fixtures
from tests.clean_releases import Maker, Release, write_tree
from tests.workshop import cut_domain

GIANT = 12 << 30  # bytes, of which none is on the disk


def fifo(path: Path) -> None:
    os.mkfifo(path)


def link_to_nowhere(path: Path) -> None:
    path.symlink_to("nowhere")


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def socket_file(path: Path) -> None:
    where = os.getcwd()
    os.chdir(path.parent)  # the name of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.chdir(where)


def folder(path: Path) -> None:
    path.mkdir()


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(GIANT)
    path.chmod(0o600)


KINDS: list[Callable[[Path], None]] = [fifo, link_to_nowhere, device, socket_file, folder, sparse]

PLACES: dict[str, Callable[[Path], Path]] = {
    "key ring": lambda root: root / "ring" / "0001.dsse.json",
    "record": lambda root: sorted((root / "records").iterdir())[0],
    "policy": lambda root: root / "policy.yaml",
    "kept policy": lambda root: next((root / "policies").iterdir()),
    "domain": lambda root: root / "domain" / "domain.yaml",
    "recognizers": lambda root: root / "domain" / "recognizers.yaml",
    "signing key": lambda root: root / "keys" / "signing.pem",
    "encryption key": lambda root: root / "keys" / "encryption.key",
    "segment": lambda root: next((root / "audit").glob("*.jsonl")),
    "checkpoint": lambda root: root / "audit" / "checkpoint",
    "lock of the log": lambda root: root / "audit" / "lock",
    "scrubbed rows": lambda root: next((root / "artifacts" / "scrub").rglob("train.jsonl")),
    "sealed weights": lambda root: next((root / "artifacts" / "seal").rglob("*.floe")),
    "signature": lambda root: next((root / "artifacts" / "seal").rglob("model.sig")),
    "provenance": lambda root: next((root / "artifacts" / "seal").rglob("provenance.dsse.json")),
}


def put(path: Path, kind: Callable[[Path], None]) -> None:
    path.unlink(missing_ok=True)
    kind(path)


def test_the_project_that_is_harmed_here_verifies(project: Path) -> None:  # noqa: F811
    assert verified(project).packages == 1


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("place", PLACES)
def test_verify_answers(place: str, kind: Callable[[Path], None], project: Path) -> None:  # noqa: F811
    path = PLACES[place](project)
    if (place, kind) == ("lock of the log", sparse):
        pytest.skip("nothing is read of a lock")
    put(path, kind)
    with within_moments(), pytest.raises(SDKError):
        verified(project)


@pytest.mark.parametrize("kind", [fifo, link_to_nowhere, device, folder], ids=lambda kind: kind.__name__)
def test_a_verb_answers_where_the_lock_of_the_project_is_none(kind: Callable[[Path], None], project: Path) -> None:  # noqa: F811
    put(project / "project.lock", kind)
    with within_moments(), pytest.raises(SDKError, match=r"project\.lock cannot be locked"):
        Project(project).reveal("x", reason="why")


def test_a_checkpoint_that_is_held_elsewhere_and_never_answers(project: Path) -> None:  # noqa: F811
    held = project.parent / "state" / "heads"
    [path] = held.iterdir() if held.is_dir() else [None]
    if path is None:
        state = ProjectState(project)
        path = held / f"{state.charter.root}.checkpoint"
    path.unlink(missing_ok=True)
    fifo(path)
    with within_moments(), pytest.raises(SDKError, match="checkpoint is not a regular file"):
        ProjectState(project)


# -- what a user brings ------------------------------------------------------------------------------------------------

READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "rows in JSONL": ("a.jsonl", open_rows),
    "rows in JSON": ("a.json", open_rows),
    "rows in CSV": ("a.csv", open_rows),
    "rows in Parquet": ("a.parquet", open_rows),
    "policy": ("a.yaml", read_policy),
    "recognizers": ("recognizers.yaml", read_recognizers),
    "trust file": ("trust.json", read_trust),
    "shape of a model": ("config.json", read_shape),
    "private key": ("key.pem", lambda path: crypto.open_signer(f"file:{path}")),
    "wrapping key": ("key", lambda path: crypto.open_wrapper(f"file:{path}")),
}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("reader", READERS)
def test_a_reader_answers(reader: str, kind: Callable[[Path], None], tmp_path: Path) -> None:
    name, read = READERS[reader]
    kind(tmp_path / name)
    # a line of 12 GiB, or a file of Parquet of which everything is zero, is read up to a limit or hashed once
    with within_moments(60 if kind is sparse else 20), pytest.raises(InvalidInput):
        read(tmp_path / name)


def test_a_row_of_gibibytes_that_is_packed_into_a_few_bytes(tmp_path: Path) -> None:
    column = pyarrow.array(["a" * (64 << 20)] * 2)
    table = pyarrow.table({"prompt": column, "completion": pyarrow.array(["b", "c"])})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet", compression="zstd")
    assert (tmp_path / "a.parquet").stat().st_size < 1 << 20
    with within_moments(), pytest.raises(InvalidInput) as error:
        open_rows(tmp_path / "a.parquet")
    assert "no row needs" in str(error.value)
    pyarrow.parquet.write_table(pyarrow.table({"prompt": ["a"], "completion": ["b"]}), tmp_path / "a.parquet")
    assert len(read_rows(tmp_path / "a.parquet").rows) == 1


def test_a_domain_of_megabytes_and_one_of_many_words_answer(tmp_path: Path) -> None:
    domain = cut_domain(tmp_path / "domain")
    assert read_domain(domain).name == "finance"
    text = (domain / "domain.yaml").read_text()
    (domain / "domain.yaml").write_text(text + "".join(f"# {number:>60}\n" for number in range(50_000)))
    with within_moments(), pytest.raises(InvalidInput, match=f"more than {YAML_BYTES} bytes"):
        read_domain(domain)
    path = tmp_path / "recognizers.yaml"
    for count, message in ((20_000, f"more than {RECOGNIZERS_BYTES} bytes"), (DENIED_WORDS + 1, "at most 1000")):
        path.write_text(_denying(count))
        with within_moments(), pytest.raises(InvalidInput) as error:
            read_recognizers(path)
        assert message in str(error.value)
    path.write_text(_denying(DENIED_WORDS))
    assert read_recognizers(path).recognizers


def _denying(count: int) -> str:
    entry = "recognizers:\n- {name: Words, type: custom, supported_language: en, supported_entity: CODE, deny_list: ["
    return f"supported_languages: [en]\n{entry}{', '.join(f'word-number-{i:06}' for i in range(count))}]}}\n"


@pytest.mark.parametrize("name", ["domain.yaml", "recognizers.yaml", "train.jsonl", "README.md"])
def test_a_domain_that_links_to_a_private_file_is_not_copied(name: str, tmp_path: Path) -> None:
    domain, secret = cut_domain(tmp_path / "domain"), tmp_path / "id_rsa"
    secret.write_text("private")
    copy_domain(domain, tmp_path / "honest")
    assert read_domain(tmp_path / "honest").name == "honest"
    (domain / name).unlink(missing_ok=True)
    (domain / name).symlink_to(secret)
    with pytest.raises(InvalidInput, match="link"):
        copy_domain(domain, tmp_path / "copy")
    assert not any(b"private" in path.read_bytes() for path in tmp_path.glob("copy/*"))
    if name != "README.md":  # which adopting does not read
        with pytest.raises(InvalidInput, match="link"):
            adopt_domain(tmp_path / "project", domain, domain)


# -- a release ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    maker = Maker(tmp_path_factory.mktemp("maker"), Random(14))
    return maker.release(1, _tensors())


def _tensors() -> bytes:
    header = b'{"w":{"dtype":"F32","shape":[250],"data_offsets":[0,1000]}}'
    return len(header).to_bytes(8, "little") + header + bytes(1000)


def test_the_release_that_is_harmed_here_is_admitted(release: Release) -> None:
    assert release.copy().check()


EVIDENCE = ["policy.json", "report.sha256", "promotion.json", "promotion.proof", "ring/0002.dsse.json"]
EVIDENCE += ["decisions/0001.dsse.json", "data-key.json"]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("name", [f"governance/{each}" for each in EVIDENCE] + ["package/model.sig"])
def test_a_server_answers(name: str, kind: Callable[[Path], None], release: Release) -> None:
    def harmed(tree: object, into: Path) -> None:
        write_tree(release.tree, into)
        put(into / name, kind)

    with patch("tests.clean_releases.write_tree", harmed), within_moments(), pytest.raises(Tampered):
        release.copy().check()


def test_weights_of_another_size_than_was_signed_are_not_even_copied(release: Release) -> None:
    def grown(tree: object, into: Path) -> None:
        write_tree(release.tree, into)
        put(into / "package" / "adapter_model.safetensors.floe", sparse)

    with (
        patch("tests.clean_releases.write_tree", grown),
        patch("sdk.files.store.create_file", side_effect=_small_only),
        within_moments(),
        pytest.raises(Tampered, match="its size is not the recorded one"),
    ):
        release.copy().check()


def _small_only(path: Path, *more: object) -> object:
    from sdk.files.durable import create_file

    assert not path.name.endswith(".floe"), "weights were copied before their size was looked at"
    return create_file(path)
