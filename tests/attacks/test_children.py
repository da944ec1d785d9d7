"""Children: what lies in the folder that a command is called in does not run, and no secret reaches a process that does
not need it. Real processes, none of them started warm."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

import sdk
from sdk import processes
from sdk.data import read_rows
from sdk.measure.probe import MEASURING, measure
from sdk.model import ANSWERS, load_chat, row_encoder
from sdk.model.row_encoder import EncodingSetup, RowEncoder
from sdk.processes.isolated import Isolated
from sdk.project.streaming import MetricsStream
from sdk.registry import Tracking, ui_command, ui_variables
from sdk.scrub.parallel import in_processes
from sdk.train import Job, train
from tests.servers import free_port
from tests.test_scrub import chat, rows_file, rules
from tests.test_scrub import run as scrub_rows
from tests.tiny import make_base, pairs, settings, write_rows
from tests.waiting import SECONDS, wait_until
from tests.warm import real_starts

ROOT = Path(sdk.__file__).parents[1]
MARK = "marked-secret-7719"
SECRETS = (
    "SDK_KEY_PASSPHRASE SDK_PKCS11_PIN VAULT_TOKEN VAULT_ADDR AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN HF_TOKEN "
    "HUGGING_FACE_HUB_TOKEN MLFLOW_TRACKING_PASSWORD MLFLOW_TRACKING_TOKEN PGPASSWORD CLAIMS_SIGNING_KEY "
    "CUDA_SIGNING_KEY NCCL_TOKEN TORCH_PASSPHRASE GOOGLE_APPLICATION_CREDENTIALS AZURE_CLIENT_SECRET LD_PRELOAD_X "
    "PYTHONSTARTUP"
).split()
PLANTED = (
    "mlflow torch numpy sitecustomize usercustomize json uvicorn transformers peft trl pydantic sqlite3 gunicorn "
    "logging safetensors presidio_analyzer child_of_ours"
).split()
LEAVE_A_TRACE = "import pathlib\npathlib.Path({trace!r}).joinpath({name!r}).touch()\n"


@dataclass
class Trap:
    """A folder in which everything leaves a trace when it runs, and what was seen of this process's children."""

    folder: Path
    traces: Path
    command_lines: dict[int, str] = field(default_factory=dict)
    environments: dict[int, str] = field(default_factory=dict)
    folders: dict[int, str] = field(default_factory=dict)
    cores: dict[int, str] = field(default_factory=dict)

    @property
    def ran(self) -> list[str]:
        return sorted(path.name for path in self.traces.iterdir())

    def look(self) -> None:
        for child in psutil.Process().children(recursive=True):
            place = Path("/proc") / str(child.pid)
            with suppress(OSError, psutil.Error):  # it has ended, or is none of ours to read
                line = (place / "cmdline").read_text(errors="replace")
                if not line:  # it has ended, and nobody has waited for it yet
                    continue
                self.command_lines[child.pid] = line
                self.environments[child.pid] = (place / "environ").read_text(errors="replace")
                self.folders[child.pid] = os.readlink(place / "cwd")
                limits = (place / "limits").read_text().splitlines()
                self.cores[child.pid] = next(line for line in limits if line.startswith("Max core file size"))

    @contextmanager
    def watching(self) -> Iterator[None]:
        done = threading.Event()

        def watch() -> None:
            while not done.wait(0.02):
                self.look()

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()

    def check(self, started: str) -> None:
        """Nothing of the trap ran, and no child had a secret, a folder of others or leave to dump."""
        ours = [pid for pid, line in self.command_lines.items() if started in line]
        assert ours, self.command_lines
        assert self.ran == []
        for pid, line in self.command_lines.items():
            if "sdk.hardened" not in line and started not in line:
                continue
            assert MARK not in line
            assert MARK not in self.environments.get(pid, ""), line
            own = Path(self.folders.get(pid, processes.working_folder()))  # a child's children have one of the child's
            assert own.name.startswith("sdk-children-"), line
            assert own.parent == processes.working_folder().parent, line
            if pid in self.cores and "sdk.hardened" not in line:  # as torchrun's workers: they inherit it
                assert self.cores[pid].split()[-3:-1] == ["0", "0"], line


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trap]:
    folder, traces = tmp_path / "called here", tmp_path / "traces"
    (folder / "sdk" / "train").mkdir(parents=True)
    traces.mkdir()
    for name in PLANTED:
        (folder / f"{name}.py").write_text(LEAVE_A_TRACE.format(trace=str(traces), name=name))
    for name in ("sdk/__init__", "sdk/hardened", "sdk/train/__init__", "sdk/train/worker"):
        code = LEAVE_A_TRACE.format(trace=str(traces), name=name.replace("/", "-"))
        (folder / f"{name}.py").write_text(code)
    line = LEAVE_A_TRACE.format(trace=str(traces), name="pth").strip().replace("\n", ";")
    (folder / "planted.pth").write_text(line + "\n")
    monkeypatch.chdir(folder)
    for name in SECRETS:
        monkeypatch.setenv(name, f"{MARK} {name}")
    with real_starts():
        yield Trap(folder, traces)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data") / "train.jsonl", pairs(16))


def silent(what: str, done: int, total: int | None, figures: Any) -> None:
    pass


# -- honest twins of the trap itself ----------------------------------------------------------------------------------


@pytest.mark.parametrize("module", ["mlflow", "child_of_ours", "sdk.train.worker"])
def test_the_trap_closes_on_who_starts_python_there_as_usual(trap: Trap, module: str) -> None:
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", module], cwd=trap.folder, env=variables, capture_output=True, check=False)
    assert trap.ran != []


# -- every kind of child ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", ["", ".", "FOLDER"])
def test_a_child_imports_nothing_from_there_whatever_the_path_says(
    trap: Trap, entry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `python -m`, an empty and a relative entry of PYTHONPATH leave it in sys.path."""
    ask = "import json, mlflow, os, sys; print(json.dumps([sys.path, os.getcwd(), dict(os.environ)]))"
    (trap.traces.parent / "asking.py").write_text(ask)
    monkeypatch.syspath_prepend(str(trap.traces.parent))
    monkeypatch.setattr(sys, "path", [str(trap.folder) if entry == "FOLDER" else entry, *sys.path])
    child = processes.start("asking", stdin=processes.NOTHING, stdout=processes.PIPE)
    out, _ = child.communicate(timeout=SECONDS)
    paths, here, variables = json.loads(out)
    assert trap.ran == []
    assert here == str(processes.working_folder())
    assert not {"", ".", str(trap.folder)} & {*paths, *variables["PYTHONPATH"].split(os.pathsep)}
    assert not [name for name, value in variables.items() if MARK in value]


def test_the_sender_of_figures(trap: Trap, tmp_path: Path) -> None:
    root = tmp_path / "p"
    (root / "out").mkdir(parents=True)
    (root / "out" / "spool.jsonl").write_text('{"step": 1, "time": 1, "loss": 2.0}\n')
    with trap.watching(), MetricsStream(root, None, "claims", {"data": "d" * 64}, root / "out"):
        pass
    trap.check("sdk.registry.sender")
    assert (root / "mlflow.db").exists()
    assert not (root / "unsent").exists()


def test_the_probe_in_a_process_of_its_own(trap: Trap, base: Path, data: Path) -> None:
    with trap.watching(), Isolated(MEASURING) as process:
        assert measure(process, data, str(base), "brief", settings(), silent).gib > 0
    trap.check(MEASURING)


def test_scrubbing_processes(trap: Trap, tmp_path: Path) -> None:
    source = rows_file(
        tmp_path / "rows.jsonl", *(chat(f"r{i}", "Write to ada@example.com", "Yes.") for i in range(600))
    )
    with trap.watching():
        scrubbed = scrub_rows(tmp_path, source, rules(), run=in_processes(2))
    trap.check("sdk.scrub.parallel")
    assert scrubbed.rows_changed == 600


def test_processes_that_make_tokens_of_rows(trap: Trap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_encoder, "HELPED_ROWS", 0)
    source = rows_file(tmp_path / "rows.jsonl", *(chat(f"r{i}", "Is it?", "Yes.") for i in range(2 * row_encoder.ROWS)))
    setup, rows = EncodingSetup("brief", 64, ANSWERS, 2), read_rows(source).rows
    with trap.watching(), RowEncoder(load_chat("embedded"), setup, tmp_path / "out", silent) as encoder:
        for row in rows:
            encoder.add(row)
        assert len(encoder.rows()) == len(rows)
    trap.check("sdk.model.row_encoder")


def test_torchrun_and_its_workers(trap: Trap, base: Path, data: Path) -> None:
    """Workers have another working folder than the one that the job's relative paths begin at."""
    base_path, rows_path = os.path.relpath(base), Path(os.path.relpath(data))
    with trap.watching():
        run = train(Job(rows_path, base_path, "brief", settings(gpus=2, max_steps=2), Path("out")), silent)
    trap.check("torch.distributed.run")
    trap.check("sdk.train.worker")
    assert run.steps == 2
    assert (trap.folder / "out" / "adapter" / "adapter_model.safetensors").is_file()


def test_the_ui_and_its_workers(trap: Trap, tmp_path: Path) -> None:
    root = tmp_path / "p"
    Tracking(root).connect()
    password = "marked-database-password"
    (root / "mlflow.db").rename(root / f"{password}.db")
    tracking = Tracking(root, f"sqlite:///{root}/{password}.db")
    port = free_port()
    ended: list[int] = []

    def serve() -> None:
        ended.append(processes.run_in_front(ui_command(tracking, port), ui_variables(tracking)))

    thread = threading.Thread(target=serve)
    with trap.watching():
        thread.start()
        try:
            wait_until(lambda: answers(f"http://127.0.0.1:{port}/health"), lambda: not ended)
            wait_until(lambda: answers(f"http://127.0.0.1:{port}/ajax-api/2.0/mlflow/experiments/get?experiment_id=0"))
        finally:
            for child in psutil.Process().children():
                if "sdk.registry.viewer" in child.cmdline():
                    child.terminate()
            thread.join(SECONDS)
    trap.check("sdk.registry.viewer")
    assert not [line for line in trap.command_lines.values() if password in line]


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


# -- variables, open files, memory ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SECRETS)
def test_no_secret_is_inherited(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, MARK)
    assert MARK not in processes.environment({}).values()


@pytest.mark.parametrize(
    "name", ["PATH", "LC_ALL", "CUDA_VISIBLE_DEVICES", "NCCL_SOCKET_IFNAME", "OMP_NUM_THREADS", "HF_HOME"]
)
def test_what_children_need_is(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "needed")
    assert processes.environment({})[name] == "needed"


@pytest.mark.parametrize(
    ("uri", "given"),
    [
        (None, set()),
        ("sqlite:///x.db", set()),
        ("https://mlflow.example.com", {"MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"}),
        ("postgresql+psycopg2://db/mlflow", {"PGPASSWORD"}),
        ("s3://bucket/artifacts", {"AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}),
        ("true", set()),
    ],
)
def test_a_password_goes_to_the_child_that_needs_it(
    uri: str | None, given: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in SECRETS:
        monkeypatch.setenv(name, MARK)
    told = processes.environment({}, None, processes.access_to(uri))
    assert {name for name, value in told.items() if value == MARK} == given


def test_no_open_file_is_inherited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "listing.py").write_text("import os; print(sorted(map(int, os.listdir('/proc/self/fd')))[:-1])")
    monkeypatch.syspath_prepend(str(tmp_path))
    with (tmp_path / "secret").open("w") as file, real_starts():
        os.set_inheritable(file.fileno(), True)
        child = processes.start("listing", stdin=processes.NOTHING, stdout=processes.PIPE)
        out, _ = child.communicate(timeout=SECONDS)
    assert json.loads(out) == [0, 1, 2]


STATE = "import ctypes, resource; print(ctypes.CDLL(None).prctl(3), *resource.getrlimit(resource.RLIMIT_CORE))"


def test_a_child_cannot_be_dumped_before_its_module_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dumpable.py").write_text(STATE)
    monkeypatch.syspath_prepend(str(tmp_path))
    with real_starts():
        child = processes.start("dumpable", stdin=processes.NOTHING, stdout=processes.PIPE)
        out, _ = child.communicate(timeout=SECONDS)
    assert out.split() == [b"0", b"0", b"0"]


OPENS = {
    "a key file": "crypto.open_signer('file:key.pem')",
    "a new key": "crypto.SigningKey.random()",
    "a new secret": "crypto.Secret.random()",
    "a key that is not there": "crypto.open_wrapper('env:NOTHING')",
    "a key of a service": "crypto.open_signer('vault:claims')",
}


@pytest.mark.parametrize("opening", OPENS.values(), ids=OPENS)
def test_a_process_that_opens_a_key_cannot_be_dumped_from_then_on(opening: str, tmp_path: Path) -> None:
    code = f"{STATE}\nfrom sdk import crypto\ntry: {opening}\nexcept Exception: pass\n{STATE}"
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=variables, capture_output=True, check=True)
    before, after = done.stdout.splitlines()
    assert before.split()[0] == b"1"  # as every process begins
    assert after.split() == [b"0", b"0", b"0"]


READER = """
import subprocess, sys
with subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"WHAT": "%s"}) as child:
    child.stdout.readline()
    try: print(open(f"/proc/{child.pid}/environ").read())
    except PermissionError: print("refused")
    child.stdin.close()
"""
WAITING = "print('ready', flush=True); input()"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process as another user")
@pytest.mark.parametrize("forbids", [True, False])
def test_another_process_of_the_user_cannot_read_its_environment(forbids: bool) -> None:
    """Without it, it can: the twin. Both run as a user who is not root, in a Python that everybody may run."""
    python = next((path for path in ("/usr/bin/python3", "/usr/local/bin/python3") if os.path.exists(path)), None)
    if python is None:
        pytest.skip("no Python that every user may run")
    code = (ROOT / "sdk" / "hardened.py").read_text(encoding="utf-8").partition("if __name__")[0]
    child = f"{code}\nforbid_dumps()\n{WAITING}" if forbids else WAITING
    started = [python, "-c", READER % MARK, python, "-c", child]
    nobody: dict[str, Any] = {"user": 65534, "group": 65534, "extra_groups": []}
    done = subprocess.run(started, cwd="/", capture_output=True, text=True, timeout=SECONDS, check=False, **nobody)
    assert (MARK in done.stdout, "refused" in done.stdout) == (not forbids, forbids), done.stderr


def test_processes_that_torchrun_starts_forbid_dumps_themselves() -> None:
    tree = ast.parse((ROOT / "sdk" / "train" / "worker.py").read_text(encoding="utf-8"))
    (main,) = (node for node in tree.body if isinstance(node, ast.If))
    assert ast.unparse(main.body[0]) == "forbid_dumps()"


def test_the_working_folder_is_nobody_elses_and_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = processes.working_folder()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert list(folder.iterdir()) == []
    folder.rmdir()
    assert processes.working_folder() != folder
