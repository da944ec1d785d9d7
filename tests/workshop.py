"""Small projects that go the whole way in seconds, for tests of the whole."""

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import yaml

from sdk import Project, crypto
from sdk.files.store import shipped
from tests.tiny import make_base

REASON = "Scores, lineage and findings were looked at."


def write_policy(path: Path, start: str = "default", **changes: object) -> Path:
    """A shipped policy with keys changed, named as `room__key=value`, or `version`."""
    document = yaml.safe_load((shipped("policies") / f"{start}.yaml").read_text())
    for name, value in changes.items():
        room, _, key = name.rpartition("__")
        (document[room] if room else document)[key] = value
    path.write_text(yaml.safe_dump(document))
    return path


def raised(policy: str, by: int = 1) -> str:
    """A policy's text with a higher version, which another text needs."""
    return re.sub(r"^version: (\d+)$", lambda found: f"version: {int(found[1]) + by}", policy, flags=re.MULTILINE)


NEXT_VERSION = yaml.safe_load((shipped("policies") / "default.yaml").read_text())["version"] + 1


@dataclass(frozen=True)
class Workshop:
    """What small projects are made of: a random tiny base, a cut domain, a policy that no untrained model offends."""

    folder: Path
    base: Path
    domain: Path
    policy: Path

    def project(self, name: str, **options: object) -> Project:
        given = {"domain": self.domain, "base": str(self.base), "policy": self.policy, **options}
        return Project.create(self.folder / name, **given)  # type: ignore[arg-type]

    def approver(self, name: str) -> str:
        path = self.folder / f"{name}.pem"
        if not path.exists():
            crypto.save_key(crypto.SigningKey.random(), path)
        return f"file:{path}"


def cut_domain(folder: Path) -> Path:
    """Finance with every fifteenth training row and every sixth question, and short answers."""
    source = shipped("domains") / "finance"
    folder.mkdir()
    shutil.copy(source / "recognizers.yaml", folder)
    text = (source / "domain.yaml").read_text().replace("max_new_tokens: 48", "max_new_tokens: 4")
    (folder / "domain.yaml").write_text(text)
    for name, step in (("train.jsonl", 15), ("eval.jsonl", 6)):
        lines = (source / name).read_text(encoding="utf-8").splitlines(keepends=True)
        (folder / name).write_text("".join(lines[2::step]), encoding="utf-8")
    return folder


def make_workshop(folder: Path) -> Workshop:
    return Workshop(
        folder=folder,
        base=make_base(folder / "base", positions=1024),
        domain=cut_domain(folder / "domain"),
        policy=write_policy(
            folder / "policy.yaml",
            evaluate__domain_floors=False,
            evaluate__must_improve=False,
            evaluate__min_questions=1,
            audit__unrecorded_training="refuse",
        ),
    )


def whole_way(project: Project, key: str, name: str = "Ada", steps: int = 3) -> None:
    project.advise()
    project.scrub()
    project.train(max_steps=steps)
    project.evaluate()
    project.register()
    project.enroll(name, key)
    project.approve(key=key, reason=REASON)


def rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
