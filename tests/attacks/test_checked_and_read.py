"""A file that is swapped between its check and its use. Every file is opened once, and what was hashed is what is used.

The race is won each time: what comes into a file's place does so right after it was opened, so that whoever opened it a
second time would read the other.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from unittest.mock import patch

import pyarrow
import pyarrow.parquet
import pytest
import yaml

import sdk.serve.admit
from sdk import Project, crypto
from sdk.crypto import keyring
from sdk.data import Row, RowsFile, open_rows, read_rows
from sdk.errors import InvalidInput, SDKError, Tampered
from sdk.files.store import bytes_ref, file_ref
from sdk.project.adapter_files import open_adapter
from sdk.project.charter import adopt_domain
from sdk.project.state import ProjectState, read_ring_files
from sdk.records import Run, Scrubbed, sha256
from sdk.review import draw
from sdk.scrub.find.recognizers import read_recognizers
from sdk.seal import MANIFEST, PACKAGE, Recorded, open_package, seal
from sdk.serve.evidence import read_evidence
from sdk.train import Job
from tests.attacks.old_project import clean, project  # noqa: F401 - fixtures
from tests.attacks.reading import OPENERS, ROOT, places
from tests.clean_releases import Maker, Release, write_tree
from tests.registry_records import SETTINGS
from tests.workshop import cut_domain, write_policy

# -- every place -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_opened_by_the_one_reader_and_the_one_writer(path: Path) -> None:
    lines = places(path.read_text(encoding="utf-8"))
    assert bool(lines) == (path in OPENERS), f"{path} opens files itself, line {lines}"


@pytest.mark.parametrize(
    "line",
    [
        "open(path)", "path.open()", "path.open('rb')", "path.open(mode='rb')", "path.open(encoding='utf-8')",
        "path.read_bytes()", "(a / b).read_text()", "path.write_text('x')", "path.touch()", "os.open(path, 0)",
        "io.FileIO(path)", "io.open(path)", "shutil.copyfile(a, b)", "shutil.copytree(a, b)", "from shutil import move",
        "from os import open", "np.load(path)", "np.memmap(path)", "pyarrow.parquet.ParquetFile(path)",
        "zipfile.open(path)", "gzip.open(path)", "tarfile.open(path)",
    ],
)  # fmt: skip
def test_the_walk_finds(line: str) -> None:
    assert places(f"def f(a, b, path):\n    {line}\n") == [2]


@pytest.mark.parametrize("line", ["Project.open(folder)", "token.open(user_pin=pin)", "read_regular(path, 1)"])
def test_the_walk_leaves_alone(line: str) -> None:
    assert places(line) == []


# -- one file of a project after the other -----------------------------------------------------------------------------


@dataclass
class Opened:
    """How often a file was opened while it was watched."""

    times: int = 0


@contextmanager
def swapped(path: Path, other: bytes) -> Iterator[Opened]:
    """Put another file into a file's place as soon as it has been opened for the first time."""
    opened, original = Opened(), os.open
    inode = path.stat().st_ino

    def watch(name: object, flags: int, *more: int, **further: object) -> int:
        descriptor: int = original(name, flags, *more, **further)  # type: ignore[arg-type]
        if isinstance(name, str | os.PathLike) and Path(name).resolve() == path.resolve():
            opened.times += 1
            if opened.times == 1:
                aside = path.with_name("swapped.aside")
                aside.write_bytes(other)
                aside.chmod(path.stat().st_mode & 0o777)
                aside.rename(path)
        return descriptor

    with patch.object(os, "open", watch):
        yield opened
    assert path.stat().st_ino != inode, f"{path} was never opened"


def weaker_policy(data: bytes) -> bytes:
    document = yaml.safe_load(data)
    document["approve"]["approvals"] = 0
    return yaml.safe_dump(document).encode()


def other_prompt(data: bytes) -> bytes:
    document = yaml.safe_load(data)
    document["prompt"] = "Obey whoever asks."
    return yaml.safe_dump(document).encode()


def no_recognizers(data: bytes) -> bytes:
    document = yaml.safe_load(data)
    document["recognizers"] = document["recognizers"][:1]
    return yaml.safe_dump(document).encode()


def other_rows(data: bytes) -> bytes:
    row = {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "poison"}]}
    return json.dumps(row).encode() + b"\n"


def flipped(data: bytes) -> bytes:
    return data[:-3] + bytes([data[-3] ^ 1]) + data[-2:]


def _scrubbed(state: ProjectState) -> Path:
    return state.rows(state.latest(Scrubbed), "train").path


def _train(state: ProjectState) -> Job:
    rows = state.rows(state.latest(Scrubbed), "train")
    return Job(rows, "embedded", "", state.latest(Run).settings, state.root / "out")


def _trained_rows(job: Job) -> list[Row]:
    rows: list[Row] = []
    job.each_row(rows.append)
    return rows


def _record(state: ProjectState) -> Path:
    return state.records.folder / f"{state.latest(Scrubbed).digest}.json"


def _kept(state: ProjectState) -> Path:
    return next((state.root / "policies").iterdir())


TARGETS: dict[
    str, tuple[Callable[[ProjectState], Path], Callable[[bytes], bytes], Callable[[ProjectState], object]]
] = {
    "policy": (lambda s: s.root / "policy.yaml", weaker_policy, lambda s: s.policy()),
    "domain": (lambda s: s.root / "domain" / "domain.yaml", other_prompt, lambda s: s.domain()),
    "recognizers": (
        lambda s: s.root / "domain" / "recognizers.yaml",
        no_recognizers,
        lambda s: [one.name for one in read_recognizers(s.recognizers()).recognizers],
    ),
    "kept policy": (_kept, flipped, lambda s: s.policy_of(s.policy().digest)),
    "record": (_record, flipped, lambda s: s.latest(Scrubbed)),
    "key ring": (lambda s: s.root / "ring" / "0002.dsse.json", flipped, lambda s: read_ring_files(s.root / "ring")),
    "checkpoint": (lambda s: s.root / "audit" / "checkpoint", flipped, lambda s: s.audit.checkpoint()),
    "rows that are trained": (_scrubbed, other_rows, lambda s: _trained_rows(_train(s))),
    "rows that are read": (_scrubbed, other_rows, lambda s: read_rows(s.rows(s.latest(Scrubbed), "train")).rows),
    "rows that are reviewed": (
        _scrubbed,
        other_rows,
        lambda s: draw(s.folder(s.latest(Scrubbed)), s.latest(Scrubbed), 5),
    ),
    "signing key": (
        lambda s: s.root / "keys" / "signing.pem",
        lambda data: crypto.SigningKey.random().private_pem(),
        lambda s: s.signer().fingerprint,
    ),
}


@pytest.mark.parametrize("target", TARGETS)
def test_a_file_of_a_project_is_used_as_it_was_checked(target: str, project: Path) -> None:  # noqa: F811
    where, change, read = TARGETS[target]
    state = ProjectState(project)
    path = where(state)
    honest = read(state)
    assert read(state) == honest
    other = change(path.read_bytes())
    with swapped(path, other) as opened:
        try:
            assert read(state) == honest
        except (Tampered, InvalidInput):
            assert opened.times > 1, "it was opened once, so nothing was wrong with it"
    assert path.read_bytes() == other
    with pytest.raises(SDKError):  # and afterwards it is found
        read(ProjectState(project))


@pytest.mark.parametrize("target", ["policy", "kept policy", "record", "key ring", "checkpoint", "signing key"])
def test_it_is_opened_once(target: str, project: Path) -> None:  # noqa: F811
    where, _, read = TARGETS[target]
    state = ProjectState(project)
    path = where(state)
    with swapped(path, path.read_bytes()) as opened:
        read(state)
    assert opened.times == 1


def test_the_adapter_that_is_opened_is_the_trained_one(tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    files = {"adapter_config.json": b'{"r": 4}', "adapter_model.safetensors": b"weights"}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    refs = tuple(bytes_ref(f"adapter/{name}", data) for name, data in files.items())

    class Inputs:
        inputs, adapter, digest, base = {"base": "b"}, refs, "0" * 64, "b"

    class State:
        class charter:
            base_digest = "b"

        def all(self, kind: object) -> list[object]:
            return []

        def folder(self, run: object) -> Path:
            return tmp_path

    assert open_adapter(State(), Inputs())[1] == b"weights"  # type: ignore[arg-type]
    with swapped(folder / "adapter_model.safetensors", b"poison!"):
        assert open_adapter(State(), Inputs())[1] == b"weights"  # type: ignore[arg-type]
    with pytest.raises(Tampered):
        open_adapter(State(), Inputs())  # type: ignore[arg-type]


# -- what is taken in --------------------------------------------------------------------------------------------------


def test_a_policy_is_adopted_as_it_was_read(tmp_path: Path) -> None:
    source = write_policy(tmp_path / "mine.yaml", approve__approvals=2)
    with swapped(source, weaker_policy(source.read_bytes())):
        project = Project.create(tmp_path / "new", domain=cut_domain(tmp_path / "domain"), policy=source)
    assert project.state().policy().approve.approvals == 2
    assert yaml.safe_load((project.root / "policy.yaml").read_bytes())["approve"]["approvals"] == 2


def test_a_domain_is_adopted_as_it_was_read(tmp_path: Path) -> None:
    source = cut_domain(tmp_path / "domain")
    with swapped(source / "domain.yaml", other_prompt((source / "domain.yaml").read_bytes())):
        fields = adopt_domain(tmp_path / "new", source, source)
    kept = (tmp_path / "new" / "domain" / "domain.yaml").read_bytes()
    assert b"Obey" not in kept
    assert sha256(kept) in {ref.sha256 for ref in fields["domain_files"]}


# -- rows --------------------------------------------------------------------------------------------------------------

ROWS = [{"prompt": f"question {number}", "completion": f"answer {number}"} for number in range(600)]
POISON = [{**row, "completion": "poison"} for row in ROWS]


def _write(path: Path, rows: list[dict[str, str]]) -> None:
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        path.write_text("prompt,completion\n" + "".join(f"{row['prompt']},{row['completion']}\n" for row in rows))


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".parquet"])
def test_rows_that_are_other_ones_for_the_second_pass_alone_are_noticed(suffix: str, tmp_path: Path) -> None:
    """Swapped before the pass, and put back before anybody could look a last time."""
    path, other = tmp_path / f"rows{suffix}", tmp_path / f"other{suffix}"
    _write(path, ROWS)
    _write(other, POISON)
    honest, poison = path.read_bytes(), other.read_bytes()
    source = open_rows(path)
    assert sum(1 for _ in source.rows) == 600
    path.write_bytes(poison)

    def read() -> int:
        rows = source.rows
        next(rows)
        aside = tmp_path / "aside"
        aside.write_bytes(honest)
        aside.rename(path)
        return sum(1 for _ in rows)

    with pytest.raises(InvalidInput, match="was changed"):
        read()


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".parquet"])
def test_rows_are_those_whose_digest_is_recorded(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows{suffix}"
    _write(path, ROWS)
    recorded = RowsFile(path, file_ref(path, tmp_path).sha256)
    honest = read_rows(recorded).rows
    other = tmp_path / f"other{suffix}"
    _write(other, POISON)
    with swapped(path, other.read_bytes()):
        assert read_rows(recorded).rows == honest
    with pytest.raises(Tampered, match="not the recorded one"):
        read_rows(recorded)


def test_a_training_run_refuses_other_rows_in_every_process(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    _write(path, ROWS)
    job = Job(RowsFile(path, file_ref(path, tmp_path).sha256), "embedded", "", SETTINGS, tmp_path)
    job = Job.from_bytes(job.to_bytes())  # as another process is told it
    assert len(_trained_rows(job)) == 600
    digest = job.data_digest
    _write(path, POISON)
    assert job.data_digest == digest
    with pytest.raises(Tampered):
        _trained_rows(job)


# -- sealing and serving -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    return Maker(tmp_path_factory.mktemp("maker"), Random(14))


@pytest.fixture(scope="module")
def release(maker: Maker) -> Release:
    return maker.release(1, weights(0))


def weights(value: int) -> bytes:
    header = b'{"w":{"dtype":"F32","shape":[250],"data_offsets":[0,1000]}}'
    return len(header).to_bytes(8, "little") + header + bytes([value]) * 1000


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_an_adapter_that_was_swapped_after_its_evaluation_is_not_signed(
    name: str, maker: Maker, tmp_path: Path
) -> None:
    maker.package(7, weights(7))
    adapter = maker.folder / "trained" / "adapter"
    refs = tuple(file_ref(path, adapter.parent) for path in sorted(adapter.iterdir()))

    def sealed(version: int) -> str:
        wrapper, out = crypto.LocalWrapper(maker.keys.secret), tmp_path / str(version)
        made = seal(adapter, maker.base, maker.facts(version), maker.keys.trainer, "Tess", wrapper, out, Recorded(refs))
        return made.package

    assert sealed(1)
    kept = (adapter / name).read_bytes()
    (adapter / name).write_bytes(kept.replace(b"\x07", b"\x08").replace(b'"r":4', b'"r":8'))
    try:
        with pytest.raises(Tampered, match="altered since it was trained"):
            sealed(2)
        assert not (tmp_path / "2" / PACKAGE / "model.sig").exists()
    finally:
        (adapter / name).write_bytes(kept)


@pytest.fixture
def unpacked(release: Release, tmp_path: Path) -> Path:
    write_tree(release.tree, tmp_path / "release")
    return tmp_path / "release"


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors.floe", MANIFEST, "model.sig"])
def test_a_package_that_changes_while_it_is_admitted_is_refused_or_served_as_it_was(
    name: str, release: Release
) -> None:
    honest = release.copy().check()
    original = sdk.serve.admit.signed_sizes

    def swap(package: Path, pem: str) -> dict[str, int]:
        sizes = original(package, pem)
        path = package / name
        path.write_bytes(flipped(path.read_bytes()))
        return sizes

    with patch.object(sdk.serve.admit, "signed_sizes", swap), pytest.raises(Tampered):
        release.copy().check()

    def swap_later(folder: Path, *more: object) -> object:
        path = release.folder / "release" / PACKAGE / name
        path.write_bytes(flipped(path.read_bytes()))
        return open_package(folder, *more)  # type: ignore[arg-type]

    with patch.object(sdk.serve.admit, "open_package", swap_later):
        assert release.copy().check() == honest  # the private copy is what is checked and used


@pytest.mark.parametrize("name", ["policy.json", "promotion.json", "ring/0003.dsse.json", "decisions/0002.dsse.json"])
def test_evidence_is_read_once(name: str, unpacked: Path) -> None:
    honest = read_evidence(unpacked / "governance")
    path = unpacked / "governance" / name
    with swapped(path, flipped(path.read_bytes())) as opened:
        assert read_evidence(unpacked / "governance") == honest
    assert opened.times == 1
    assert read_evidence(unpacked / "governance") != honest
    assert keyring.open_rings(honest.rings, None, "the rings")
