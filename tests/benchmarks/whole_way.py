"""The whole way through the `sdk` command on a real base with public rows, for each method: what came out, and when.

    python tests/benchmarks/whole_way.py BASE PUBMEDQA_DIR OUT [METHOD …]

BASE: a folder with SmolLM2-135M-Instruct or another decoder. PUBMEDQA_DIR: pubmedqa_labeled.json and its test ids, as
the data set's authors publish them (MIT): 500 questions are trained, 100 others asked. The methods go side by side, so
times are those of processes that share one machine. Writes OUT/whole_way.json, after each command
OUT/commands-METHOD.json, and prints a table.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

METHODS = ("lora", "qlora-4bit", "qlora-8bit", "lora-fp8")
QUESTIONS, EPOCHS = 100, 3


def rows(folder: Path, out: Path) -> None:
    """Write 500 training rows and the first 100 of the published test questions."""
    labelled = json.loads((folder / "pubmedqa_labeled.json").read_text())
    held = json.loads((folder / "pubmedqa_test_ids.json").read_text())
    for name, chosen in {
        "train": [key for key in labelled if key not in held],
        "questions": [key for key in labelled if key in held][:QUESTIONS],
    }.items():
        with (out / f"{name}.jsonl").open("w") as file:
            for key in chosen:
                context = "\n".join(labelled[key]["CONTEXTS"])
                asked = f"{labelled[key]['QUESTION']}\n{context}\nAnswer yes, no or maybe."
                row = {"id": key, "instruction": asked, "output": labelled[key]["final_decision"]}
                file.write(json.dumps(row) + "\n")


class Shell:
    """Runs `sdk` as a user does; notes what each command took, gave back and told on standard error."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.told = folder, {}  # type: ignore[var-annotated]
        variables = {"HF_HUB_OFFLINE": "1", "SDK_STATE_HOME": str(folder / "state"), "COLUMNS": "120"}
        self.variables = {**os.environ, **variables}

    def __call__(self, *arguments: str, name: str = "", code: int = 0) -> Any:
        began = time.monotonic()
        command = [sys.executable, "-m", "sdk", *arguments, "--json"]
        done = subprocess.run(command, cwd=self.folder, env=self.variables, capture_output=True, text=True, check=False)
        told = {"seconds": round(time.monotonic() - began, 1), "code": done.returncode, "stderr": done.stderr[-2000:]}
        self.told[name or " ".join(arguments[:1])] = told
        # What a machine that is taken away leaves of it.
        (self.folder.parent.parent / f"commands-{self.folder.name}.json").write_text(json.dumps(self.told, indent=1))
        if done.returncode != code:
            raise RuntimeError(
                f"sdk {' '.join(arguments)}: {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
            )
        return json.loads(done.stdout) if done.stdout.strip() else None


def whole_way(method: str, base: Path, data: Path, out: Path) -> dict[str, Any]:
    folder = out / method
    (folder / "state").mkdir(parents=True)
    sdk, found = Shell(folder), {"method": method}  # type: dict[str, Any]
    try:
        sdk("domain", "copy", "medical", "pubmedqa", name="domain copy")
        settings = yaml.safe_load((folder / "pubmedqa" / "domain.yaml").read_text())
        settings |= {"name": "pubmedqa", "prompt": "Answer with one word.", "max_new_tokens": 4, "policy": "finance"}
        settings["floors"] = dict.fromkeys(settings["floors"], 0.0)
        (folder / "pubmedqa" / "domain.yaml").write_text(yaml.safe_dump(settings))
        sdk("init", "project", "--domain", "pubmedqa", "--base", str(base))
        project = ("--project", "project")
        sdk("train", *project, name="train, refused", code=2)
        found["scrubbed"] = sdk("scrub", str(data / "train.jsonl"), "--eval", str(data / "questions.jsonl"), *project)
        found["advice"] = sdk("advise", *project)
        found["run"] = sdk("train", *project, "--method", method, "--num-train-epochs", str(EPOCHS))
        found["scores"] = sdk("evaluate", *project)
        found["leaks"] = sdk("leaks", *project)
        found["release"] = sdk("register", *project)
        sdk("load", "q", *project, name="load, refused", code=3)
        sdk("keys", "new", "ada.pem", name="keys new")
        sdk("keys", "enroll", "Ada", "ada.pem.pub", *project, name="keys enroll")
        sdk("approve", "--key", "file:ada.pem", "--reason", "Scores and findings looked at.", *project)
        question = json.loads((data / "questions.jsonl").read_text().splitlines()[0])["instruction"]
        found["answer"] = sdk("load", question, *project)
        found["verified"] = sdk("verify", *project)
        found["outcome"] = "approved and served"
    except (RuntimeError, ValueError) as error:
        found["outcome"] = str(error)
    return {**found, "commands": sdk.told}


def summary(found: dict[str, Any]) -> str:
    scores, run, told = found.get("scores"), found.get("run"), found["commands"]
    score = ""
    if scores is not None:
        before, after = (scores[which]["all"]["exact_match"]["value"] for which in ("base", "adapted"))
        score = f"{before:.3f} -> {after:.3f}"
    memory = (
        ""
        if run is None
        else (
            f"{run['memory_measured_gib']:.2f} GiB (predicted {run['memory_predicted_gib']:.2f}), "
            f"{run['tokens_per_second']:,.0f} tokens/s, {run['steps']} steps"
        )
    )
    times = ", ".join(f"{name} {each['seconds']:.0f}" for name, each in told.items())
    return f"{found['method']:11} {found['outcome'][:400]}\n  exact match {score}; {memory}\n  seconds: {times}"


def main(base: str, folder: str, target: str, *methods: str) -> None:
    out = Path(target).resolve()
    data = out / "data"
    data.mkdir(parents=True, exist_ok=True)
    rows(Path(folder), data)
    chosen = methods or METHODS
    with ThreadPoolExecutor(len(chosen)) as pool:
        found = list(pool.map(lambda method: whole_way(method, Path(base).resolve(), data, out / "work"), chosen))
    (out / "whole_way.json").write_text(json.dumps(found, indent=1))
    print("\n".join(map(summary, found)))


if __name__ == "__main__":
    main(*sys.argv[1:])
