"""Children of ours: what they find, what reaches them, and how they end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import sdk
from sdk import InvalidInput, StepFailed, processes
from sdk.processes.isolated import Isolated

ROOT = Path(sdk.__file__).parents[1]
WAITS = """
import signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
sys.stdin.read()
"""


def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> str:
    (tmp_path / "child_of_ours.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "child_of_ours"


def test_a_child_imports_what_we_import_and_nothing_from_its_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = module(tmp_path, monkeypatch, "import json, sdk, sys; print(sdk.__file__, json.__file__, sys.argv[1:])")
    work = tmp_path / "work"
    work.mkdir()
    (work / "json.py").write_text("")
    monkeypatch.chdir(work)
    child = processes.start(name, "one", "two words", stdin=processes.NOTHING, stdout=processes.PIPE)
    out, _ = child.communicate(timeout=60)
    ours, theirs, arguments = out.decode().strip().split(" ", 2)
    assert (ours, arguments) == (sdk.__file__, "['one', 'two words']")
    assert not theirs.startswith(str(work))
    # and so it is with a Python that the child starts in turn
    again = [sys.executable, "-c", "import json; print(json.__file__)"]
    told = subprocess.run(again, env=processes.environment({}), cwd=work, capture_output=True, text=True, check=True)
    assert not told.stdout.startswith(str(work))


def test_a_package_found_in_the_working_folder_is_found_by_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", ["", *(path for path in sys.path if path not in ("", str(ROOT)))])
    paths = processes.environment({})["PYTHONPATH"].split(os.pathsep)
    assert paths[0] == str(ROOT)
    assert "" not in paths


def test_what_is_set_and_what_is_only_a_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    given = processes.environment(
        {"CUDA_VISIBLE_DEVICES": ""}, dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    )
    names = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    assert [given[name] for name in names] == ["", "3", "1"]


def test_a_child_is_in_a_session_of_its_own_and_ends_when_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = module(tmp_path, monkeypatch, WAITS)
    child = processes.start(name, stdout=processes.PIPE)
    assert child.stdin
    assert child.stdout
    assert child.stdout.readline() == b"ready\n"
    assert os.getsid(child.pid) == child.pid != os.getsid(0)
    child.stdin.close()  # the end of what it waits for
    assert processes.end(child, 60) == 0
    child.stdout.close()


def test_a_child_that_does_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = processes.start(module(tmp_path, monkeypatch, WAITS), stdout=processes.PIPE)
    assert child.stdin
    assert child.stdout
    assert child.stdout.readline() == b"ready\n"
    began = time.monotonic()
    assert processes.end(child, 0.2) == -signal.SIGKILL
    assert time.monotonic() - began >= 0.2
    assert processes.end(child) == -signal.SIGKILL  # once more is no error
    child.stdin.close()
    child.stdout.close()


def test_in_front_the_exit_status_is_returned() -> None:
    assert (
        processes.run_in_front([sys.executable, "-c", "import os; raise SystemExit(int(os.environ['N']))"], {"N": "7"})
        == 7
    )


def test_a_port_that_is_taken_is_refused_where_it_was_named_and_another_is_found_where_not() -> None:
    with socket.create_server((processes.LOCALHOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InvalidInput, match=f"Port {port} of 127.0.0.1 cannot be used"):
            processes.free_port(port)
        other = processes.free_port(usual=port)
    assert other != port
    assert processes.free_port(port) == port
    assert processes.free_port(usual=port) == port


ANSWERS = """
import os
from sdk.errors import InvalidInput
from sdk.processes.isolated import answer

def work(request, on_progress):
    on_progress("works", 1, 2, {})
    print("what a library prints")
    if request["how"] == "dies":
        os.kill(os.getpid(), 9)
    if request["how"] == "fails":
        raise ZeroDivisionError("secret")
    if request["how"] == "refuses":
        raise InvalidInput("no", ["so"])
    return os.getpid()

answer(work)
"""


def test_one_process_works_on_requests_until_it_ends_and_then_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def ask(how: str) -> int:
        return int(process.ask({"how": how}, lambda what, *more: told.append(what)))

    with Isolated(module(tmp_path, monkeypatch, ANSWERS)) as process:
        first = ask("answers")
        with pytest.raises(InvalidInput, match="no") as caught:
            ask("refuses")
        assert caught.value.faults == ("so",)
        assert ask("answers") == first
        with pytest.raises(StepFailed, match="ended from outside"):
            ask("dies")
        second = ask("answers")
        with pytest.raises(StepFailed, match="ZeroDivisionError") as failed:
            ask("fails")
        assert "secret" not in str(failed.value)
        third = ask("answers")
    assert len({first, second, third}) == 3
    assert told == ["works"] * 7
    with pytest.raises(ProcessLookupError):
        os.kill(third, 0)
