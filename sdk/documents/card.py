"""The metadata of a model card, as Hugging Face's tools read them from the beginning of its file.

Source: huggingface/hub-docs, modelcard.md. What is not known is left out: an empty field would be read as a value.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from sdk.documents.dossier import Dossier
from sdk.records import Metrics

TASK = "text-generation"
# ids that the hub takes for a licence: huggingface/hub-docs, docs/hub/repositories-licenses.md
LICENSES = frozenset(
    """
    afl-3.0 agpl-3.0 apache-2.0 apple-amlr apple-ascl artistic-2.0 bigcode-openrail-m bigscience-bloom-rail-1.0
    bigscience-openrail-m bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 c-uda cc cc-by-2.0 cc-by-2.5
    cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0
    cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0
    cdla-permissive-2.0 cdla-sharing-1.0 creativeml-openrail-m deepfloyd-if-license ecl-2.0 epl-1.0 epl-2.0
    etalab-2.0 eupl-1.1 eupl-1.2 fair-noncommercial-research-license gemma gfdl gpl gpl-2.0 gpl-3.0 h-research
    intel-research isc lgpl lgpl-2.1 lgpl-3.0 lgpl-lr llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 lppl-1.3c mit
    mpl-2.0 ms-pl ncsa odbl odc-by ofl-1.1 open-mdw openrail openrail++ osl-3.0 pddl postgresql unknown unlicense
    wtfpl zlib
    """.split()
)


def front_matter(dossier: Dossier) -> str:
    """Write the metadata: YAML between two lines of dashes."""
    run, answers = dossier.run, dossier.declared.record.answers if dossier.declared else {}
    data: dict[str, Any] = {
        "language": list(dossier.domain.languages),
        "library_name": "peft",
        "pipeline_tag": TASK,
        "model_name": dossier.project,
        **_license(answers.get("model.license")),
    }
    if "/" in dossier.base_name:  # a hub's model id; the name of a folder means nothing to others
        data |= {"base_model": dossier.base_name, "base_model_relation": "adapter"}
    data["tags"] = list(
        dict.fromkeys([dossier.domain.name, *([run.settings.peft_type, run.settings.method] if run else [])])
    )
    if "data.dataset_id" in answers:
        data["datasets"] = [answers["data.dataset_id"]]
    if dossier.scores:
        data["metrics"] = [*dossier.scores.adapted["all"].shares, "perplexity"]
        data["model-index"] = [{"name": dossier.project, "results": _results(dossier)}]
    return f"---\n{yaml.safe_dump(data, sort_keys=False, allow_unicode=True)}---\n"


def _license(declared: str | None) -> dict[str, str]:
    """Name the adapter's licence: by its id on the hub, or as another one by its name."""
    if declared is None:
        return {}
    name = re.sub(r"[^a-z0-9.+]+", "-", declared.casefold()).strip("-.")
    return {"license": name} if name in LICENSES else {"license": "other", "license_name": name or "other"}


def _results(dossier: Dossier) -> list[dict[str, Any]]:
    scores, scrubbed = dossier.scores, dossier.scrubbed
    revision = {"revision": scrubbed.data["eval"].sha256} if scrubbed and "eval" in scrubbed.data else {}
    return [
        {
            "task": {"type": TASK},
            "dataset": {
                "type": dossier.domain.name,
                "name": f"{dossier.domain.name}@{dossier.domain.version}, evaluation {scores.unit if scores else ''}",
                "config": language,
                "split": "eval",
                **revision,
            },
            "metrics": _metrics(metrics),
        }
        for language, metrics in sorted((scores.adapted if scores else {}).items())
    ]


def _metrics(metrics: Metrics) -> list[dict[str, Any]]:
    values = {**{name: found.value for name, found in metrics.shares.items()}, "perplexity": metrics.perplexity}
    return [{"type": name, "value": round(value, 6)} for name, value in values.items()]
