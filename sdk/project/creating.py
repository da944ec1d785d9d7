"""Making a project's folder: aside, and renamed once everything in it is whole."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from sdk import crypto
from sdk.audit import account
from sdk.crypto.keyring import Ring
from sdk.data.base_card import UNKNOWN, BaseCard, parse_base_card, require_plain
from sdk.data.base_folder import base_name, locate_base
from sdk.data.named_templates import require_template_name
from sdk.domain import read_domain
from sdk.errors import InvalidInput
from sdk.files.regular_files import YAML_BYTES, read_regular
from sdk.files.store import EMBEDDED, pin_root, require_no_link
from sdk.policy import BeforeCreate, parse_policy, require
from sdk.project.charter import (
    TRAINER_NAME,
    BaseChoice,
    DomainChoice,
    KeyURIs,
    ProjectKeys,
    adopt_domain,
    adopt_policy,
    find_domain,
    find_policy,
    first_ring,
    make_charter,
    open_keys,
    require_rows,
    rules_of,
    wrap_secret,
    write_first_events,
    write_ring,
)
from sdk.project.own_settings import open_own, own_texts, read_settings, settle_settings
from sdk.records import PROJECT_NAME, PROJECT_NAME_RULE, Charter


def create_folder(
    root: Path,
    domain: DomainChoice,
    base: BaseChoice,
    policy: str | Path | None,
    trainer: str | None,
    uris: KeyURIs,
    heads: Sequence[str | Path],
    tracking_uri: str | None,
) -> None:
    """Make a project in `root`, as Project.create says. After an error nothing of it is left."""
    for option, value in (("base_name", base.name), ("base_license", base.license)):
        if value is not None:
            require_plain(option, value)
    if base.template is not None:
        require_template_name(base.template)
    require_no_link(root)
    _require_name(root.resolve().name)
    if root.exists() and any(root.iterdir()):
        raise InvalidInput(f"{root} exists and is not empty; open it with Project.open, or name another folder.")
    root.parent.mkdir(parents=True, exist_ok=True)
    making = root.with_name(f".{root.name}.making")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(mode=0o700)
    try:
        source = find_domain(domain.name)
        settings = read_domain(source)
        require_rows(source, domain.rows, own_texts(domain.rows))
        read_settings(settings, domain.settings)
        new_domain = adopt_domain(making, source, source)
        policy_file = find_policy(policy or settings.policy)
        data = read_regular(policy_file, YAML_BYTES)
        rules = parse_policy(data, policy_file)
        new_policy = adopt_policy(making, policy_file, data, rules)
        place = base.place
        from_hub = isinstance(locate_base(place), str)  # a name, not a folder
        require(rules, BeforeCreate(from_hub=from_hub))
        own = open_own(domain.rows)
        from sdk.model import open_base, settle_chat  # which loads torch
        from sdk.model.cpu_speed import measure_cpu

        with open_base(place, needs_template=False) as opened:
            # whether answers can be learned with its chat template shows here, and not after scrubbing
            template, rendering = settle_chat(opened, base.template, settings.languages)
            measure_cpu()  # torch is here, and advice has none
            base_folder, digest, card = opened.path, opened.digest(), parse_base_card(opened.card)
        chosen = template.source if template else None
        changes, why = settle_settings(domain, source, settings, own, base_folder, chosen)
        if changes:
            new_domain = adopt_domain(making, source, source, changes)
        fields = {
            "rows": domain.rows,
            "own_settings": why,
            "base": place if place == EMBEDDED else str(base_folder.resolve()),
            **_describe(base, from_hub, card),
            "base_from_hub": from_hub,
            "base_digest": digest,
            "template": template,
            "rendering": rendering,
            **new_domain,
            **new_policy,
            "heads": tuple(str(Path(head).resolve()) for head in heads),
            "tracking_uri": tracking_uri,
        }
        ring = partial(first_ring, trainer=trainer or _trainer(), rules=rules_of(rules, new_domain))
        charter = _write_keys_and_log(making, root.resolve().name, uris, ring, fields)
        if root.exists():
            root.rmdir()
        making.rename(root)
        pin_root(root, charter.root)
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise


def _require_name(name: str) -> None:
    if not re.fullmatch(PROJECT_NAME, name):
        raise InvalidInput(
            f"The folder's name is that of the project and of its models, and {name[:100]!r} cannot be one: it must be "
            f"{PROJECT_NAME_RULE}; name another folder."
        )


def _describe(base: BaseChoice, from_hub: bool, card: BaseCard) -> dict[str, str]:
    """Return the charter's fields about what a base is called, where it comes from and its licence."""
    place = "shipped with the SDK" if base.place == EMBEDDED else "a folder on this machine"
    made_from = f", made from {card.source}" if card.source else ""
    known = base_name(base.place) if from_hub or base.place == EMBEDDED else card.name
    return {
        "base_name": base.name or known or base_name(base.place),
        "base_source": (f"huggingface.co/{base.place}" if from_hub else place) + made_from,
        "base_license": base.license or card.license or UNKNOWN,
    }


def _trainer() -> str:
    """Name who trains where nobody was named: the account's, but root is whoever starts a container, and no person."""
    return account() if os.geteuid() else TRAINER_NAME


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
