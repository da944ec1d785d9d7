"""Every causal language model of the installed transformers, as advice counts it beside the real one.

    python tests/benchmarks/causal_models.py causal-models.json

Each type's default config is read as advice reads a config.json, and its model is built on the meta device, where a
tensor has a shape and no bytes. Exit code 1: a count is off by more than 2 %, or a refusal does not name the type.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from sdk.advise.layers import parameters
from sdk.advise.model_config import shape_of
from sdk.errors import InvalidInput

MOST = 0.02


def counted(model_type: str, config: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"counted": parameters(shape_of(config, model_type, "its defaults", "config.json"))}
    except InvalidInput as error:
        return {"refused": str(error)}


def built(config: Any) -> dict[str, Any]:
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
    except Exception as error:  # noqa: BLE001 - defaults that transformers cannot build a model from
        return {"not_built": type(error).__name__}
    return {"real": sum(weight.numel() for weight in model.parameters())}


def main() -> int:
    rows: dict[str, dict[str, Any]] = {}
    for model_type in sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES):
        try:
            config = CONFIG_MAPPING[model_type]()
        except Exception as error:  # noqa: BLE001 - as above
            rows[model_type] = {"no_default": type(error).__name__}
            continue
        saved = json.loads(json.dumps(config.to_dict(), default=str))
        rows[model_type] = {**counted(model_type, saved), **built(config)}
    wrong = [
        name
        for name, row in rows.items()
        if ("counted" in row and "real" in row and abs(row["counted"] / row["real"] - 1) > MOST)
        or ("refused" in row and name not in row["refused"])
    ]
    result = {
        "transformers": version("transformers"),
        "types": len(rows),
        "within_2_percent": sum("counted" in row and "real" in row for row in rows.values()) - len(wrong),
        "refused_by_name": sum("refused" in row for row in rows.values()),
        "wrong": wrong,
        "rows": rows,
    }
    Path(sys.argv[1]).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
