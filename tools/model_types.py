"""Write sdk/model_types.json: what the installed transformers knows and what is no decoder, by kind.

python -m tools.model_types
"""

from __future__ import annotations

import json
from pathlib import Path

from transformers.models.auto import modeling_auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

FILE = Path(__file__).parent.parent / "sdk" / "model_types.json"
# They stand among the causal language models for a use that nobody trains them for, or with a decoder of their own.
ENCODERS = {"bert-generation", "xlnet"}
ENCODER_DECODERS = {"trocr"}


def model_types() -> dict[str, list[str]]:
    """Return kind -> model_types, sorted."""
    causal = _of("CAUSAL_LM")
    senses = _of("IMAGE_TEXT_TO_TEXT", "MULTIMODAL_LM") - causal
    encoder_decoders = (_of("SEQ_TO_SEQ_CAUSAL_LM", "SPEECH_SEQ_2_SEQ") - _of("MULTIMODAL_LM")) | ENCODER_DECODERS
    encoders = (_of("MASKED_LM") - encoder_decoders) | ENCODERS
    senses -= encoder_decoders | encoders
    known = causal | senses | encoder_decoders | encoders
    kinds = {
        "encoder": encoders,
        "encoder-decoder": encoder_decoders,
        "senses": senses,
        "part": set(CONFIG_MAPPING_NAMES) - known,
    }
    return {kind: sorted(names) for kind, names in kinds.items()}


def _of(*tasks: str) -> set[str]:
    return {name for task in tasks for name in getattr(modeling_auto, f"MODEL_FOR_{task}_MAPPING_NAMES")}


if __name__ == "__main__":
    FILE.write_text(json.dumps(model_types(), indent=1) + "\n", encoding="utf-8")
