"""The Project: the only caller of steps, the only writer of records and events."""

from __future__ import annotations

import getpass
import shutil
from collections.abc import Sequence
from pathlib import Path

from sdk import crypto
from sdk.domain import read_domain
from sdk.errors import InvalidInput
from sdk.policy import BeforeCreate, read_policy, require
from sdk.project.charter import (
    ENCRYPTION_KEY,
    LOG_KEY,
    OWNER_KEY,
    SIGNING_KEY,
    adopt_domain,
    adopt_policy,
    find_domain,
    find_policy,
    first_ring,
    make_charter,
    open_keys,
    wrap_secret,
    write_first_events,
    write_ring,
)
from sdk.project.govern import Governing
from sdk.project.learn import Learning
from sdk.project.prepare import PILOT_MINUTES, Preparing
from sdk.project.rows import Scrubbing
from sdk.records import OnProgress
from sdk.store import EMBEDDED, pin_root

__all__ = ["PILOT_MINUTES", "Project"]


class Project(Governing, Learning, Scrubbing, Preparing):
    """A folder in which one model is adapted under one policy. Make one with `create`, come back with `open`."""

    # -- making and opening ------------------------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        folder: str | Path,
        *,
        domain: str | Path = "finance",
        base: str = "embedded",
        policy: str | Path | None = None,
        trainer: str | None = None,
        signing_key: str = SIGNING_KEY,
        log_key: str = LOG_KEY,
        owner_key: str = OWNER_KEY,
        encryption_key: str = ENCRYPTION_KEY,
        heads: Sequence[str | Path] = (),
        tracking_uri: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> Project:
        """Make the project's folder.

        domain and policy are names of shipped ones or paths; base is "embedded", a folder in Hugging Face's format or
        a hub's model name. Keys are URIs, made where they are the default files: signing_key signs packages, log_key
        (Ed25519) the audit log, owner_key the key rings, encryption_key wraps what decrypts weights. trainer is who
        holds the first (the user by default). heads: further files, best on another machine, that
        get each checkpoint of the log. Raises InvalidInput if the folder exists and is not empty.
        """
        from sdk.model import base_digest, base_name, fetch_base, resolve_base

        root = Path(folder)
        if root.exists() and any(root.iterdir()):
            raise InvalidInput(f"{root} exists and is not empty; open it with Project.open, or name another folder.")
        root.parent.mkdir(parents=True, exist_ok=True)
        making = root.with_name(f".{root.name}.making")
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(mode=0o700)
        try:
            source = find_domain(domain)
            new_domain = adopt_domain(making, source, source)
            new_policy = adopt_policy(making, find_policy(policy or read_domain(source).policy))
            from_hub = isinstance(resolve_base(base), str)  # a name, not a folder
            require(read_policy(making / "policy.yaml"), BeforeCreate(from_hub=from_hub))
            base_folder = fetch_base(base)
            keys = open_keys(making, signing_key, log_key, owner_key, encryption_key)
            name = root.resolve().name
            ring = first_ring(name, keys, trainer or getpass.getuser())
            secret = crypto.Secret.random()
            charter = make_charter(
                name=name,
                base=base if base == EMBEDDED else str(base_folder.resolve()),
                base_name=base_name(base),
                base_from_hub=from_hub,
                base_digest=base_digest(base_folder),
                **new_domain,
                **new_policy,
                root=ring.digest,
                ring=ring.digest,
                **keys.uris,
                wrapped_secret=wrap_secret(keys.wrapper, secret),
                secret_id=secret.key_id,
                heads=tuple(str(Path(head).resolve()) for head in heads),
                tracking_uri=tracking_uri,
            )
            write_ring(making, ring, keys.owner)
            write_first_events(making, charter, keys.log)
            if root.exists():
                root.rmdir()
            making.rename(root)
            pin_root(root, charter.root)
        except BaseException:
            shutil.rmtree(making, ignore_errors=True)
            raise
        return cls(root, on_progress)

    @classmethod
    def open(cls, folder: str | Path, on_progress: OnProgress | None = None, root: str | None = None) -> Project:
        """A project that exists; OutOfOrder if there is none, Tampered if its log does not verify.

        root: the digest of its first key ring (`sdk verify` prints it), where you keep it elsewhere: a project that
        somebody put in its place is refused then. Without it, what this machine has seen under this path before counts.
        """
        project = cls(Path(folder), on_progress, root)
        project.state()
        return project
