"""The training step: LoRA and QLoRA with trl, peft and bitsandbytes."""

import sdk.model  # noqa: F401 - sets what the libraries below read when they are imported
from sdk.train.launch import train
from sdk.train.preview import Preview, Segment, preview

__all__ = ["Preview", "Segment", "preview", "train"]
