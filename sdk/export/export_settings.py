"""What form plain weights are to have, and whether what that needs is installed; loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sdk.errors import InvalidInput
from sdk.export.convert import find_converter, xllamacpp_version
from sdk.records import ExportFormat, ExportType, MergeBase


@dataclass(frozen=True)
class ExportSettings:
    """onto: what an adapter is added to; converter: llama.cpp's, for GGUF.

    dtype: of the weights; None: of a merge that of each weight as the base stores it, of GGUF f16.
    """

    format: ExportFormat
    onto: MergeBase = "trained-base"
    dtype: ExportType | None = None
    converter: Path | None = None

    @property
    def gguf_dtype(self) -> ExportType:
        return self.dtype or "f16"

    @property
    def cast(self) -> str:
        """What merged weights are cast to, as safetensors names it, or `stored`, or `exact`: 32 bits where changed.

        For GGUF the latter, so that the converter casts once.
        """
        if self.format != "merged":
            return "exact"
        return self.dtype.upper() if self.dtype else "stored"

    def require_tools(self) -> None:
        """Raise InvalidInput or MissingExtra where what the form needs is not there."""
        if self.dtype is not None and self.format == "peft":
            raise InvalidInput("An adapter leaves as peft in the 32 bits that it was trained in; name no dtype.")
        if self.dtype == "q8_0" and self.format == "merged":
            raise InvalidInput("q8_0 is a type of GGUF; a merged folder has f16, bf16 or f32.")
        if self.format in ("gguf", "gguf-lora"):
            xllamacpp_version()
            find_converter(self.converter)
