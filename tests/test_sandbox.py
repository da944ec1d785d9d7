"""What a model wrote is run where it can reckon and nothing else."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from sdk.errors import InvalidInput
from sdk.evaluate import sandbox
from sdk.evaluate.sandbox import passes, require_containment
from tests.hostile_programs import PROGRAMS

pytestmark = pytest.mark.skipif(os.uname().sysname != "Linux", reason="it is contained by Linux")
RIGHT = """
from typing import List
import collections, math, re

def middle(values: List[int]) -> int:
    return sorted(values)[len(values) // 2]
"""


@pytest.mark.parametrize(("ending", "right"), [("2", True), ("3", False)])
def test_a_program_passes_where_its_tests_hold(ending: str, right: bool) -> None:
    assert passes(f"{RIGHT}\nassert middle([3, 1, 2]) == {ending}") is right


def test_the_machine_is_asked_first() -> None:
    require_containment()


def test_python_s_library_can_be_imported() -> None:
    assert passes("import queue, calendar, string, hashlib\nassert hashlib.md5(b'').hexdigest()[:4] == 'd41d'")


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_hostile_program_is_contained(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "WAITING", 1)
    monkeypatch.setattr(sandbox, "MEMORY", 256 << 20)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "work"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "work"))
    (tmp_path / "work").mkdir()
    secret = tmp_path / "secret"
    secret.write_text("not for you")
    secret.chmod(0o600)
    began = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        values = {"{secret!r}": repr(str(secret)), "{folder!r}": repr(str(tmp_path)), "{port}": server.getsockname()[1]}
        program = PROGRAMS[name]
        for mark, value in values.items():
            program = program.replace(mark, str(value))
        assert passes(program, cpu_seconds=1) is False
        with pytest.raises(BlockingIOError):
            server.accept()
    assert time.monotonic() - began < 30
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["secret", "work"]
    assert (secret.read_text(), secret.stat().st_mode & 0o777, secret.stat().st_nlink) == ("not for you", 0o600, 1)


def test_without_landlock_no_file_is_opened_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "contained.py"
    source = sandbox._SCRIPT.read_text()
    script.write_text(source.replace("if version < 1:", "if True:"))
    monkeypatch.setattr(sandbox, "_SCRIPT", script)
    assert passes(f"{RIGHT}\nassert middle([3, 1, 2]) == 2")
    assert not passes("open('/etc/passwd')")
    assert not passes("import queue")


def test_a_kernel_that_cannot_contain_it_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "contained.py"
    script.write_text(sandbox._SCRIPT.read_text().replace("if platform.machine() not in MACHINES:", "if True:"))
    monkeypatch.setattr(sandbox, "_SCRIPT", script)
    with pytest.raises(InvalidInput, match="cannot be contained on this machine"):
        passes(f"open({str(tmp_path / 'ran')!r}, 'w')")
    assert not (tmp_path / "ran").exists()


def test_the_program_gets_no_environment_and_an_empty_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "x")
    assert passes("import os\nassert not {*os.environ} - {'LC_CTYPE'}")
    assert passes("import os\nassert os.getcwd().rpartition('/')[2].startswith('sdk-program-')")
    assert passes("import os\nfor fd in range(4, 32):\n try: os.fstat(fd)\n except OSError: pass\n else: assert 0, fd")
