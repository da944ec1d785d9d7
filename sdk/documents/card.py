"""The metadata of a model card, as Hugging Face's tools read them from the beginning of its file.

Source: huggingface/hub-docs, modelcard.md. What is not known is left out: an empty field would be read as a value.
"""

from __future__ import annotations

from typing import Any

import yaml

from sdk.documents.dossier import Dossier
from sdk.records import Metrics

TASK = "text-generation"


def front_matter(dossier: Dossier) -> str:
    """Write the metadata: YAML between two lines of dashes."""
    run = dossier.run
    data: dict[str, Any] = {
        "language": list(dossier.domain.languages),
        "library_name": "peft",
        "pipeline_tag": TASK,
        "model_name": dossier.project,
    }
    if "/" in dossier.base_name:  # a hub's model id; the name of a folder means nothing to others
        data["base_model"] = dossier.base_name
    data["tags"] = [dossier.domain.name, *([run.settings.peft_type, run.settings.method] if run else [])]
    if dossier.scores:
        data["metrics"] = ["exact_match", "f1", "perplexity"]
        data["model-index"] = [{"name": dossier.project, "results": _results(dossier)}]
    return f"---\n{yaml.safe_dump(data, sort_keys=False, allow_unicode=True)}---\n"


def _results(dossier: Dossier) -> list[dict[str, Any]]:
    scores, scrubbed = dossier.scores, dossier.scrubbed
    revision = {"revision": scrubbed.data["eval"].sha256} if scrubbed and "eval" in scrubbed.data else {}
    return [
        {
            "task": {"type": TASK},
            "dataset": {
                "type": dossier.domain.name,
                "name": f"{dossier.domain.name}@{dossier.domain.version}, evaluation questions",
                "config": language,
                "split": "eval",
                **revision,
            },
            "metrics": _metrics(metrics),
        }
        for language, metrics in sorted((scores.adapted if scores else {}).items())
    ]


def _metrics(metrics: Metrics) -> list[dict[str, Any]]:
    values = {"exact_match": metrics.exact_match.value, "f1": metrics.f1.value, "perplexity": metrics.perplexity}
    return [{"type": name, "value": round(value, 6)} for name, value in values.items()]
