"""MLflow's pages on a project, for looking only: `sdk ui` runs this module with a port.

It is MLflow's own server behind two limits. A request that would change something is refused, since whoever sits at
this machine, or a page in their browser, could otherwise rewrite artifacts and tags without a log-in. And artifacts
are read where they may lie (`sdk.registry.places`), wherever the database says that they are.
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
from sdk.registry.connection import BACKEND, Tracking
from sdk.registry.places import FolderArtifacts, Places, below_root, own_folder

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]

HOST = "127.0.0.1"
_LOOKING = ("GET", "HEAD", "OPTIONS")
# What the pages ask for by POST and what changes nothing; MLflow's GraphQL has no mutation but a search.
_QUERIES = re.compile(
    r"/(ajax-)?api/[0-9.]+/mlflow/((runs|experiments|registered-models|model-versions|logged-models|traces)/search"
    r"|experiments/search-datasets|traces/metrics)|/graphql"
)
_REDIRECTS = ("runs", "models")  # schemes that MLflow turns into an address, which is then looked up again


class LookOnly:
    """An ASGI application that passes on what only looks, and refuses the rest."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "lifespan" or (kind == "http" and _only_looks(scope["method"], scope["path"])):
            await self._inner(scope, receive, send)
        elif kind == "http":
            body = b"sdk ui shows and changes nothing; use the sdk commands."
            headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": body})
        else:
            await send({"type": "websocket.close", "code": 1008})


def _only_looks(method: str, path: str) -> bool:
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
    uvicorn.run(LookOnly(app), host=HOST, port=port, log_level="warning", server_header=False)


if __name__ == "__main__":
    serve(os.environ[BACKEND], int(sys.argv[1]))
