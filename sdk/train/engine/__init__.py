"""The engine: what makes a training step of LoRA over a frozen base fast and small, each part the same mathematics."""

from sdk.train.engine.attention import use_row_attention
from sdk.train.engine.install import install_engine

__all__ = ["install_engine", "use_row_attention"]
