"""MLflow's pages on a project, for looking only: `sdk ui` runs this module with a port.

It is MLflow's own server behind three limits. A request that would change something is refused, since whoever sits at
this machine, or a page in their browser, could otherwise rewrite artifacts and tags without a log-in. Artifacts are
read where they may lie (`sdk.registry.places`), wherever the database says that they are. And MLflow's assistant, which
runs agents and shells on this machine and opens over a quarter of each page, is off.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn  # before MLflow's server, which looks for it to see that it is one
from mlflow.server.constants import ARTIFACT_ROOT_ENV_VAR, BACKEND_STORE_URI_ENV_VAR
from mlflow.server.fastapi_app import app
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_registered_artifact_repositories

from sdk.errors import Remedy, Tampered
from sdk.processes import LOCALHOST
from sdk.registry.connection import BACKEND, Tracking
from sdk.registry.places import FolderArtifacts, Places, below_root, own_folder

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]

_LOOKING = ("GET", "HEAD", "OPTIONS")
# What the pages ask for by POST and what changes nothing; MLflow's GraphQL has no mutation but a search.
_QUERIES = re.compile(
    r"/(ajax-)?api/[0-9.]+/mlflow/((runs|experiments|registered-models|model-versions|logged-models|traces)/search"
    r"|experiments/search-datasets|traces/metrics)|/graphql"
)
# MLflow 3.17 has no setting for it: on 127.0.0.1 its page opens the assistant on the first visit and keeps a button.
_ASSISTANT = re.compile(r"/ajax-api/[0-9.]+/mlflow/assistant(/.*)?")
_NO_ASSISTANT = b"""<style>[data-assistant-ui]{display:none!important}</style><script>
localStorage.setItem("mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true");
localStorage.setItem("mlflow.assistant.panelOpen_v1", "false");
</script>"""
# What would have the server answer that the browser has the page already, or send it in another form.
_KEPT = (b"if-none-match", b"if-modified-since", b"range", b"accept-encoding")
_REDIRECTS = ("runs", "models")  # schemes that MLflow turns into an address, which is then looked up again


class LookOnly:
    """An ASGI application that passes on what only looks, and refuses the rest."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "http" and scope["path"] == "/":
            await self._page(scope, receive, send)
        elif kind == "lifespan" or (kind == "http" and _only_looks(scope["method"], scope["path"])):
            await self._inner(scope, receive, send)
        elif kind == "http":
            body = b"sdk ui shows and changes nothing; use the sdk commands."
            headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": body})
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _page(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on MLflow's one page with its assistant switched off, in a form that no browser keeps."""
        start: Scope = {}
        parts: list[bytes] = []

        async def keep(message: Scope) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
                return
            parts.append(message.get("body", b""))
            if message.get("more_body"):
                return
            page = b"".join(parts).replace(b"<head>", b"<head>" + _NO_ASSISTANT, 1)
            headers = [
                pair for pair in start["headers"] if pair[0] not in (b"content-length", b"etag", b"cache-control")
            ]
            headers += [(b"content-length", str(len(page)).encode()), (b"cache-control", b"no-store")]
            await send({**start, "headers": headers})
            await send({"type": "http.response.body", "body": page})

        asked = [pair for pair in scope["headers"] if pair[0] not in _KEPT]
        await self._inner({**scope, "method": "GET", "headers": asked}, receive, keep)


def _only_looks(method: str, path: str) -> bool:
    if _ASSISTANT.fullmatch(path):
        return False
    return method in _LOOKING or (method == "POST" and _QUERIES.fullmatch(path) is not None)


def _open(places: Places, store: Callable[..., ArtifactRepository], address: str, **uris: Any) -> ArtifactRepository:
    """Open artifacts in place of one of MLflow's stores. Raises Tampered where they may not lie."""
    folder = None if places.own is None else own_folder(address, places.own)
    if folder is not None and places.own is not None:
        return FolderArtifacts(folder, places.own)
    if places.root is not None and below_root(address, places.root):
        return store(address, **uris)
    raise Tampered("MLflow names artifacts where none may lie; see `sdk verify`.", remedy=Remedy.MLFLOW)


def serve(backend: str, port: int) -> None:
    """Serve MLflow's pages on a database until the process is ended."""
    tracking = Tracking(Path(), backend)
    os.environ[BACKEND_STORE_URI_ENV_VAR] = backend
    os.environ[ARTIFACT_ROOT_ENV_VAR] = tracking.artifact_location or ""
    stores = get_registered_artifact_repositories()
    for scheme in stores.keys() - set(_REDIRECTS):
        stores[scheme] = partial(_open, tracking.places, stores[scheme])
    uvicorn.run(LookOnly(app), host=LOCALHOST, port=port, log_level="warning", server_header=False)


if __name__ == "__main__":
    serve(os.environ[BACKEND], int(sys.argv[1]))
