"""The training step: LoRA and QLoRA with trl, peft and bitsandbytes."""

import sdk.model.uncompiled  # noqa: F401 - sets what the libraries below read when they are imported
from sdk.train.job import ONLY_THE_LAST_CHECKPOINT, Job
from sdk.train.launch import train
from sdk.train.preview import Preview, Segment, preview
from sdk.train.session import Earlier

__all__ = ["ONLY_THE_LAST_CHECKPOINT", "Earlier", "Job", "Preview", "Segment", "preview", "train"]
