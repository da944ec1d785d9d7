"""Child processes: the one place where sdk starts a program, and the one way in which it ends one.

Every child is this Python running a module, or the one script that runs what nobody trusts. One of ours is told its
job on standard input: command lines can be read by every user of the machine, and files and environments outlive their
purpose. Of this process it gets no more than it needs: no folder that somebody else writes to, no variable that is not
named here, no open file.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from sdk.errors import InvalidInput, StepFailed

Child = subprocess.Popen[bytes]
Stream = int | IO[bytes]
PIPE: Stream = subprocess.PIPE
NOTHING: Stream = subprocess.DEVNULL
LOCALHOST = "127.0.0.1"
_C_LIBRARY = ctypes.CDLL(None)  # loaded beforehand: between fork and exec nothing may be
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LAST_BYTES = 4096  # of what a script said

_SOURCES = str(Path(__file__).resolve().parents[2])  # the folder that holds this package

# Why a child gets variables -> those, by name; a name that ends in * stands for all that begin so. No other is handed
# on: no key, passphrase or token, and nothing that changes which code a program runs (PYTHONSTARTUP, LD_PRELOAD).
INHERITED = {
    "programs, the user's folders, scratch space": "PATH HOME USER LOGNAME TMPDIR XDG_CACHE_HOME XDG_CONFIG_HOME "
    "XDG_DATA_HOME XDG_STATE_HOME SDK_STATE_HOME",
    "how text is read and written": "LANG LANGUAGE LC_* TZ",
    "libraries of CUDA and of the compiler, where the machine's administrator put them": "LD_LIBRARY_PATH CUDA_HOME "
    "CUDA_PATH CC CXX",
    "which GPUs, and how they are used": "CUDA_* NVIDIA_* BNB_CUDA_VERSION PYTORCH_* TORCH_* TORCHINDUCTOR_* TRITON_*",
    "how the processes of a training meet": "NCCL_* GLOO_* UCX_* FI_* MASTER_ADDR MASTER_PORT",
    "threads and memory": "OMP_* GOMP_* KMP_* MKL_* OPENBLAS_* NUMEXPR_* MALLOC_* TOKENIZERS_PARALLELISM",
    "models that lie here already, and no network": "HF_HOME HF_HUB_CACHE HF_DATASETS_CACHE HF_HUB_OFFLINE "
    "HF_DATASETS_OFFLINE TRANSFORMERS_OFFLINE HF_HUB_DISABLE_TELEMETRY HF_HUB_DISABLE_PROGRESS_BARS "
    "TRANSFORMERS_VERBOSITY TRANSFORMERS_NO_ADVISORY_WARNINGS DO_NOT_TRACK",
    "a switch of ours": "SDK_PREFILTER",
}
# A variable that is named so is never handed on by a name with *: it may be a key that a URI env:NAME names.
_SECRET = re.compile(r"KEY|SECRET|TOKEN|PASS|PWD|PIN|CREDENTIAL|AUTH|SIGN", re.IGNORECASE)
# The scheme of a place -> what a child that goes there gets besides: what its client needs to be let in.
_SERVER = (
    "MLFLOW_TRACKING_USERNAME MLFLOW_TRACKING_PASSWORD MLFLOW_TRACKING_TOKEN MLFLOW_TRACKING_INSECURE_TLS "
    "MLFLOW_TRACKING_SERVER_CERT_PATH MLFLOW_TRACKING_CLIENT_CERT_PATH MLFLOW_HTTP_REQUEST_TIMEOUT REQUESTS_CA_BUNDLE "
    "SSL_CERT_FILE HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy"
)
_ACCESS = {
    "http": _SERVER,
    "https": _SERVER,
    "postgresql": "PGUSER PGPASSWORD PGPASSFILE PGSSLMODE PGSSLROOTCERT PGSSLCERT PGSSLKEY",
    "mysql": "MYSQL_PWD",
    "s3": "AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_PROFILE AWS_REGION AWS_DEFAULT_REGION "
    "AWS_ENDPOINT_URL_S3 MLFLOW_S3_ENDPOINT_URL",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "wasbs": "AZURE_STORAGE_CONNECTION_STRING AZURE_STORAGE_ACCESS_KEY",
}


def access_to(uri: str | None) -> tuple[str, ...]:
    """Return the names of the variables that let a child into this MLflow or store; none for what lies in a folder."""
    return tuple(_ACCESS.get(urlsplit(uri or "").scheme.partition("+")[0], "").split())


def python_command(module: str, *arguments: str) -> list[str]:
    """Return the command line that runs a module in a process that cannot be dumped (`sdk.hardened`).

    -P: the folder it is run from is no place to import from.
    """
    return [sys.executable, "-P", "-m", "sdk.hardened", module, *arguments]


def working_folder() -> Path:
    """Return the children's working folder: of this process and its user only, empty, gone when this process ends.

    Some programs import from their working folder whatever -P says (uvicorn does), and write into it.
    """
    folder = _make_working_folder()
    if not folder.is_dir() or folder.stat().st_uid != os.geteuid():  # what cleans /tmp up has taken it away
        _make_working_folder.cache_clear()
        folder = _make_working_folder()
    return folder


@cache
def _make_working_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="sdk-children-")).resolve()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def environment(
    variables: Mapping[str, str], defaults: Mapping[str, str] | None = None, access: Sequence[str] = ()
) -> dict[str, str]:
    """Return a child's environment, in which the child finds the modules that this process finds.

    variables: what is set in any case; defaults: what is set where this process has no such variable; access: names of
    variables that this child gets besides those of INHERITED.
    """
    # PYTHONSAFEPATH is -P for what the child starts in turn, as torchrun its workers.
    ours = {"PYTHONPATH": os.pathsep.join(_import_paths()), "PYTHONSAFEPATH": "1"}
    inherited = {name: value for name, value in os.environ.items() if name in access or _is_inherited(name)}
    return {**(defaults or {}), **inherited, **ours, **variables}


def _is_inherited(name: str) -> bool:
    names = " ".join(INHERITED.values()).split()
    if name in names:
        return True
    return any(each.endswith("*") and name.startswith(each[:-1]) for each in names) and not _SECRET.search(name)


def _import_paths() -> list[str]:
    """List where this process imports from, without the folder that it was called in.

    That stands there after `python -m`, and for an empty or relative entry of PYTHONPATH. Where this package lies in it
    it stays: whoever may write there may change this package itself.
    """
    here = os.path.realpath(os.curdir)
    paths = [
        path
        for path in sys.path
        if path == _SOURCES or (os.path.isabs(path) and os.path.realpath(path) not in (here, os.sep))
    ]
    if _SOURCES not in paths:  # this package was found in the working folder, where a child does not look
        paths.insert(0, _SOURCES)
    return paths


def free_port(port: int | None = None, usual: int = 0) -> int:
    """Return a port of 127.0.0.1 that nothing listens on: `port` itself, which is refused where something does.

    None: the usual one if it is free, else any other. Raises InvalidInput for a port that is taken or not allowed.
    """
    for each in (usual, 0) if port is None else (port,):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: one that has ended blocks none
            try:
                probe.bind((LOCALHOST, each))
            except OSError as error:
                if port is None:
                    continue
                raise InvalidInput(
                    f"Port {port} of {LOCALHOST} cannot be used ({error.strerror}); name another, or leave it out."
                ) from None
            return int(probe.getsockname()[1])
    raise StepFailed(f"{LOCALHOST} has no free port; end a program that listens.")


def start(
    module: str,
    *arguments: str,
    stdin: Stream = PIPE,
    stdout: Stream = NOTHING,
    stderr: Stream = NOTHING,
    variables: Mapping[str, str] | None = None,
    defaults: Mapping[str, str] | None = None,
    access: Sequence[str] = (),
) -> Child:
    """Start a module of ours in the background.

    It is in a session of its own, so Ctrl-C reaches this process only, which then decides how the child ends. Its
    output is dropped unless asked for: what a library prints may quote rows or credentials. Paths that it is told are
    absolute, since its working folder is `working_folder`.
    variables, defaults, access: of its environment.
    """
    return subprocess.Popen(  # noqa: S603 - our own command
        python_command(module, *arguments),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        cwd=working_folder(),
        env=environment(variables or {}, defaults, access),
        close_fds=True,
        start_new_session=True,
    )


def start_script(script: Path, folder: Path) -> Child:
    """Start a script that imports nothing but Python's own library, to run what nobody trusts.

    It gets an empty environment, a working folder, its standard input and output as pipes, and nothing else.
    """
    return subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-I", "-S", "-B", str(script)],
        stdin=PIPE,
        stdout=PIPE,
        stderr=NOTHING,
        cwd=folder,
        env={},
        close_fds=True,
        start_new_session=True,
    )


def run_script(script: Path, arguments: Sequence[str], imports: Sequence[Path]) -> tuple[int, str]:
    """Run a script of others that a user has named, to its end, and return its exit status and the end of its errors.

    imports: the folders that it imports from besides the libraries that are installed. It ends with this process.
    """
    found = os.pathsep.join(map(str, imports))
    with tempfile.TemporaryFile() as errors:
        status = subprocess.run(  # noqa: S603 - the user has named it
            [sys.executable, "-P", "-B", str(script), *arguments],
            stdin=NOTHING,
            stdout=NOTHING,
            stderr=errors,
            cwd=working_folder(),
            env=environment({"PYTHONPATH": found, "HF_HUB_OFFLINE": "1"}),
            close_fds=True,
            start_new_session=True,
            preexec_fn=_end_with_this_process if sys.platform == "linux" else None,
            check=False,
        ).returncode
        errors.seek(max(0, errors.seek(0, os.SEEK_END) - _LAST_BYTES))
        return status, errors.read().decode(errors="replace")


def _end_with_this_process() -> None:
    _C_LIBRARY.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def run_in_front(command: Sequence[str], variables: Mapping[str, str], access: Sequence[str] = ()) -> int:
    """Run a command in this terminal, where Ctrl-C reaches it, and return its exit status once it has ended."""
    return subprocess.run(  # noqa: S603 - our own command
        command, cwd=working_folder(), env=environment(variables, None, access), close_fds=True, check=False
    ).returncode


@contextmanager
def surroundings_of_children(access: Sequence[str]) -> Iterator[None]:
    """Give this process the environment and working folder of a child, while a library starts processes itself."""
    before, here = dict(os.environ), Path.cwd()
    theirs = environment({}, None, access)
    os.environ.clear()
    os.environ.update(theirs)
    os.chdir(working_folder())
    try:
        yield
    finally:
        os.chdir(here)
        for name in theirs.keys() - before.keys():
            os.environ.pop(name, None)
        os.environ.update(before)


def end(child: Child, patience_seconds: float = 0.0) -> int:
    """Wait so long for the child to end by itself, then kill it. Returns its exit status, negative for a signal.

    Killed, not asked: a child holds nothing that has to be put away, and one that hangs does not answer.
    """
    try:
        return child.wait(patience_seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()
