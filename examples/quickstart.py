"""The whole way in Python: advice, scrubbing, training, evaluation, sealing, approval, answers.

    python examples/quickstart.py ledger
    python examples/quickstart.py ledger --max-steps 20

The second line is for a quick look: a model that was trained so briefly is refused by any policy but unsafe-lab, so it
takes that one.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from sdk import Project


def show_progress(what: str, done: int, total: int | None, figures: Mapping[str, float]) -> None:
    if done == total:
        print(f"  {what}: {done}", *(f"{name} {value:.4g}" for name, value in figures.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a new folder")
    parser.add_argument("--max-steps", type=int, help="stop training after so many steps")
    arguments = parser.parse_args()
    policy = "unsafe-lab" if arguments.max_steps else None
    settings = {"max_steps": arguments.max_steps} if arguments.max_steps else {}

    # The approver makes a key on a machine of their own and hands out the public half.
    key = arguments.folder.with_name(f"{arguments.folder.name}.alice.pem")
    subprocess.run([sys.executable, "-m", "sdk", "keys", "new", str(key)], check=True)  # noqa: S603

    project = Project.create(arguments.folder, domain="finance", policy=policy, on_progress=show_progress)

    advice = project.advise(accuracy="high")
    print(f"{advice.settings.method}: {advice.reasons['method']}")
    print(f"peak memory {advice.memory.total:.2f} of {advice.available_gib:.1f} GiB")

    scrubbed = project.scrub()
    print("personal data:", ", ".join(f"{kind} {count}" for kind, count in scrubbed.counts.items()))
    print(f"planted spans removed: {scrubbed.recall_planted.found} of {scrubbed.recall_planted.planted}")

    run = project.train(**settings)
    print(f"loss {run.losses[0].loss:.2f} to {run.losses[-1].loss:.2f} in {run.steps} steps")

    scores = project.evaluate()
    for language, metrics in scores.adapted.items():
        before, after = scores.base[language].exact_match, metrics.exact_match
        interval = f"{after.low:.2f} to {after.high:.2f}"
        print(f"exact match, {language}: {before.value:.2f} before, {after.value:.2f} ({interval}) after")

    if project.policy.leaks.required:
        found = project.check_leaks().adapted
        print(f"planted values: exposure {found.exposure.value:.2f} bits (chance 1.4), {found.extracted} given back")

    release = project.register()
    print(f"package sha256:{release.package} is {release.model_name} version {release.version}")

    project.enroll("Alice", f"{key}.pub")
    approval = project.approve(release, key=f"file:{key}", reason="Scores and personal data looked at.")
    print(f"approved by {approval.approver}, key {approval.key_fingerprint[:16]}")

    model = project.load()
    for question, reference in project.sample_questions(3):
        print(f"{question} -> {model.generate(question)[0]} (expected: {reference})")
    print(f"the audit log verifies: {project.verify().events} events")


if __name__ == "__main__":
    main()
