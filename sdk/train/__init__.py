"""The training step: LoRA and QLoRA with trl, peft and bitsandbytes."""

import sdk.model  # noqa: F401 - sets what the libraries below read when they are imported
from sdk.train.preview import Preview, Segment, preview
from sdk.train.session import MORE_STEPS, Earlier
from sdk.train.step import train

__all__ = ["MORE_STEPS", "Earlier", "Preview", "Segment", "preview", "train"]
