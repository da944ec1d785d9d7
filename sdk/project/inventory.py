"""What may lie in a project's folder, by name, and what lies there besides.

Where everything is named by the log or by a record (`artifacts/`, `records/`, `ring/`, `audit/`, `domain/`), something
that is not has no business there. Elsewhere a person may have put a file, so it is named and no more; nothing of ours
reads it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from sdk.errors import Remedy, Tampered
from sdk.files.store import ASIDE, DECLARATIONS, POLICIES, RINGS
from sdk.project.state import ProjectState
from sdk.records import STEP_RECORDS, Charter

ARTIFACTS, KEYS, REVIEW, UNRECORDED, UNSENT = "artifacts", "keys", "review", "unrecorded", "unsent"
FOLDERS = {"audit", RINGS, "records", POLICIES, "domain", ARTIFACTS, KEYS, REVIEW, UNRECORDED, UNSENT}
FOLDERS |= {"mlartifacts", "documents"}
DATABASE = {f"mlflow.db{end}" for end in ("", "-journal", "-wal", "-shm")}  # SQLite's own files beside it
FILES = {"policy.yaml", DECLARATIONS, "project.lock", "live.lock", ".mlflow.db.lock", *DATABASE}
_IN_FOLDER = {  # names, of those folders whose contents nothing else names
    REVIEW: re.compile(r"[0-9a-f]{16}-[0-9a-f]{8}\.enc"),
    UNRECORDED: re.compile(r"[0-9a-f]{16}"),
    UNSENT: re.compile(r"[0-9a-f]{64}\.jsonl"),
}


def check_inventory(state: ProjectState) -> list[str]:
    """Return what should be known of files that are no part of the project, one line each.

    Tampered: a folder or file of the project is a link or of another kind, or artifacts/ holds what no step made.
    """
    root = state.root
    faults = [f"{root / name} is a link or no folder" for name in sorted(FOLDERS) if not _is_kind(root / name, True)]
    faults += [f"{root / name} is a link or no file" for name in sorted(FILES) if not _is_kind(root / name, False)]
    faults += [f"{path} was made by no step" for path in _artifacts_of_nobody(state)]
    if faults:
        raise Tampered(f"{root} holds what is no part of the project.", faults, remedy=Remedy.PROJECT)
    closed = [root / name for name in sorted(FOLDERS) if (root / name).is_dir() and not _is_open(root / name)]
    added = [path for path in _entries(root) if path.name not in FOLDERS | FILES]
    added += [path for path in _entries(root / KEYS) if path.name not in _key_files(state)]
    for folder, names in _IN_FOLDER.items():
        added += [path for path in _entries(root / folder) if not names.fullmatch(path.name)]
    return [
        *(f"{path} is no file of the project." for path in added),
        *(f"{folder} cannot be looked into by this user." for folder in closed),
    ]


def unnamed(folder: Path, digests: Iterable[str]) -> list[str]:
    """Return what lies in a folder of DIGEST.json without being named anywhere, one line each."""
    known = {f"{digest}.json" for digest in digests}
    return [f"{path} is named by no record." for path in _entries(folder) if path.name not in known]


def _entries(folder: Path) -> list[Path]:
    """List what lies in a folder, but for what was being written when a process ended; nothing of a closed one."""
    if not folder.is_dir() or not _is_open(folder):
        return []
    return sorted(path for path in folder.iterdir() if path.suffix != ASIDE)


def _is_open(folder: Path) -> bool:
    return os.access(folder, os.R_OK | os.X_OK)


def _is_kind(path: Path, is_folder: bool) -> bool:
    if path.is_symlink():
        return False
    return not path.exists() or (path.is_dir() if is_folder else path.is_file())


def _artifacts_of_nobody(state: ProjectState) -> list[Path]:
    """List what in artifacts/ belongs to no request that the log names; an unfinished one keeps its checkpoints."""
    kinds = {kind.step: kind for kind in STEP_RECORDS}
    requests = {
        state.request_folder(kinds[event.action], event.objects)
        for event in state.events
        if event.phase == "started" and event.action in kinds
    }
    folder = state.root / ARTIFACTS
    steps = [path for path in _entries(folder) if path.name in kinds and _is_kind(path, True)]
    present = [path for step in steps for path in _entries(step)]
    links = [path for path in present if path in requests and not _is_kind(path, True)]
    return [
        *(path for path in _entries(folder) if path not in steps),
        *(path for path in present if path not in requests),
        *links,
    ]


def _key_files(state: ProjectState) -> set[str]:
    """Return the names in keys/ that a charter gives or gave to the project's own keys, and of their public halves."""
    charters = [
        state.records.get(Charter, event.objects["charter"]) for event in state.events if "charter" in event.objects
    ]
    uris = {uri for one in charters for uri in (one.signing_key, one.log_key, one.owner_key, one.encryption_key)}
    names = {uri.removeprefix(f"file:{KEYS}/") for uri in uris if uri.startswith(f"file:{KEYS}/")}
    return names | {f"{name}.pub" for name in names}
