"""Making a project's folder: aside, and renamed once everything in it is whole."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from sdk import crypto
from sdk.audit import account
from sdk.crypto.keyring import Ring
from sdk.domain import read_domain
from sdk.errors import InvalidInput
from sdk.model import base_name, load_chat, open_base, resolve_base
from sdk.policy import BeforeCreate, parse_policy, require
from sdk.project.charter import (
    KeyURIs,
    ProjectKeys,
    adopt_domain,
    adopt_policy,
    find_domain,
    find_policy,
    first_ring,
    make_charter,
    open_keys,
    rules_of,
    wrap_secret,
    write_first_events,
    write_ring,
)
from sdk.records import Charter
from sdk.regular_files import YAML_BYTES, read_regular
from sdk.store import EMBEDDED, pin_root, require_no_link


def create_folder(
    root: Path,
    domain: str | Path,
    base: str,
    policy: str | Path | None,
    trainer: str | None,
    uris: KeyURIs,
    heads: Sequence[str | Path],
    tracking_uri: str | None,
) -> None:
    """Make a project in `root`, as Project.create says. After an error nothing of it is left."""
    require_no_link(root)
    if root.exists() and any(root.iterdir()):
        raise InvalidInput(f"{root} exists and is not empty; open it with Project.open, or name another folder.")
    root.parent.mkdir(parents=True, exist_ok=True)
    making = root.with_name(f".{root.name}.making")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(mode=0o700)
    try:
        source = find_domain(domain)
        new_domain = adopt_domain(making, source, source)
        policy_file = find_policy(policy or read_domain(source).policy)
        data = read_regular(policy_file, YAML_BYTES)
        rules = parse_policy(data, policy_file)
        new_policy = adopt_policy(making, policy_file, data, rules)
        from_hub = isinstance(resolve_base(base), str)  # a name, not a folder
        require(rules, BeforeCreate(from_hub=from_hub))
        with open_base(base) as opened:
            base_folder, digest = opened.path, opened.digest()
        load_chat(base)  # whether answers can be learned with its chat template shows here, and not after scrubbing
        fields = {
            "base": base if base == EMBEDDED else str(base_folder.resolve()),
            "base_name": base_name(base),
            "base_from_hub": from_hub,
            "base_digest": digest,
            **new_domain,
            **new_policy,
            "heads": tuple(str(Path(head).resolve()) for head in heads),
            "tracking_uri": tracking_uri,
        }
        ring = partial(first_ring, trainer=trainer or account(), rules=rules_of(rules, new_domain))
        charter = _write_keys_and_log(making, root.resolve().name, uris, ring, fields)
        if root.exists():
            root.rmdir()
        making.rename(root)
        pin_root(root, charter.root)
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise


def _write_keys_and_log(
    making: Path,
    name: str,
    uris: KeyURIs,
    make_ring: Callable[[str, ProjectKeys], Ring],
    fields: dict[str, object],
) -> Charter:
    """Write the keys, the first key ring, the charter and the log's first events. `fields` are the charter's others."""
    keys = open_keys(making, uris)
    ring = make_ring(name, keys)
    secret = crypto.Secret.random()
    charter = make_charter(
        name=name,
        **fields,
        root=ring.digest,
        ring=ring.digest,
        **uris._asdict(),
        wrapped_secret=wrap_secret(keys.wrapper, secret),
        secret_id=secret.key_id,
    )
    write_ring(making, ring, keys.owner)
    write_first_events(making, charter, keys.log)
    return charter
