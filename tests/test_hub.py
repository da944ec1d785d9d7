"""A base by its hub name, from a server on loopback that speaks the hub's protocol: the hub itself is out of reach."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.workshop import Workshop, write_policy

REVISION = "a" * 40
NAME = "bank/tiny-base"


class Hub(BaseHTTPRequestHandler):
    """What huggingface_hub.snapshot_download asks for: a revision, its tree, and HEAD and GET of its files."""

    folder: Path
    asked: list[str]

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        path = self.path.partition("?")[0]
        self.asked.append(path)
        if path.startswith(f"/api/models/{NAME}/tree/"):
            tree = [
                {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": file.name}
                for file in sorted(self.folder.iterdir())
            ]
            self.reply(json.dumps(tree).encode(), body)
            return
        if path.startswith(f"/api/models/{NAME}"):
            names = [{"rfilename": file.name} for file in sorted(self.folder.iterdir())]
            self.reply(json.dumps({"id": NAME, "sha": REVISION, "siblings": names}).encode(), body)
            return
        file = self.folder / path.rsplit("/", 1)[1]
        if path.startswith(f"/{NAME}/resolve/") and file.is_file():
            self.reply(file.read_bytes(), body)
        else:
            self.send_error(404)

    def reply(self, data: bytes, body: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", REVISION)
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def hub(workshop: Workshop, tmp_path: Path) -> Iterator[ThreadingHTTPServer]:
    served = tmp_path / "served"
    served.mkdir()
    for file in workshop.base.iterdir():
        (served / file.name).write_bytes(file.read_bytes())
    (served / "modeling_evil.py").write_text("raise SystemExit('remote code ran')")
    (served / "pytorch_model.bin").write_bytes(b"a pickle that nobody asked for")
    handler = type("Served", (Hub,), {"folder": served, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


CREATE = """
import sys
from sdk import Project
project = Project.create(sys.argv[1], domain=sys.argv[2], base=sys.argv[3], policy=sys.argv[4])
charter = project.state().charter
print(charter.base_name, charter.base_from_hub, charter.base)
project.advise()
"""


def create(
    hub: ThreadingHTTPServer, workshop: Workshop, folder: Path, policy: Path, **more: str
) -> subprocess.CompletedProcess[str]:
    environment = {
        key: value for key, value in os.environ.items() if key not in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
    }
    environment |= {"HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}", "HF_HOME": str(folder / "home"), **more}
    command = [sys.executable, "-c", CREATE, str(folder / "p"), str(workshop.domain), NAME, str(policy)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)


def test_a_hub_name_fetches_weights_and_tokenizer_and_no_code(
    hub: ThreadingHTTPServer, workshop: Workshop, tmp_path: Path
) -> None:
    done = create(hub, workshop, tmp_path, workshop.policy)
    assert done.returncode == 0, done.stderr
    name, from_hub, folder = done.stdout.split()
    assert (name, from_hub) == (NAME, "True")
    fetched = {path.name for path in Path(folder).iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= fetched
    assert not {"modeling_evil.py", "pytorch_model.bin"} & fetched


@pytest.mark.parametrize("why", ["policy", "offline"])
def test_nothing_is_asked_where_policy_or_setting_forbid(
    hub: ThreadingHTTPServer, workshop: Workshop, tmp_path: Path, why: str
) -> None:
    policy = write_policy(tmp_path / "policy.yaml", train__allow_hub=why != "policy")
    done = create(hub, workshop, tmp_path, policy, **({"HF_HUB_OFFLINE": "1"} if why == "offline" else {}))
    assert done.returncode != 0
    assert {"policy": "Refused", "offline": "InvalidInput"}[why] in done.stderr
    assert hub.RequestHandlerClass.asked == []  # type: ignore[attr-defined]
