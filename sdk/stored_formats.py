"""How a base's weights are stored, from its config.json: plain, quantized in a way that is undone when they are loaded,
or quantized in one that is refused. An adapter trained on weights that lack their scales learns garbage.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sdk.decoders import language_part

_KEYS = ("quantization_config", "compression_config")
# Stored as 8-bit floats or MXFP4 with their scales beside them: what each weight stands for follows from the two.
_UNDONE = {"fp8": "8-bit floats", "fbgemm_fp8": "8-bit floats", "mxfp4": "MXFP4"}
_BY_8_BITS = {"float-quantized", "naive-quantized"}  # formats of compressed-tensors that may hold 8-bit floats


def stored_format(config: Mapping[str, Any]) -> str | None:
    """Return what its weights are stored as where that is undone on loading, "8-bit floats" or "MXFP4"; else None."""
    settings = _settings(config)
    return None if settings is None else _undone(settings)


def stored_format_fault(config: Mapping[str, Any]) -> str | None:
    """Return why weights stored like this cannot be adapted; None if they can."""
    settings = _settings(config)
    if settings is None or _undone(settings) is not None:
        return None
    method = settings.get("quant_method") or settings.get("format") or "a method that it does not name"
    return (
        f"config.json: the weights are quantized already ({str(method)[:40]!r}), which loses what training needs; take "
        "the release of this model in 16 bits: it is quantized here as the advice says"
    )


def _settings(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    language = language_part(config)
    for part in (config, language if isinstance(language, Mapping) else {}):
        for key in _KEYS:
            value = part.get(key)
            if value is not None:
                return value if isinstance(value, dict) else {"quant_method": value}
    return None


def _undone(settings: Mapping[str, Any]) -> str | None:
    method = settings.get("quant_method")
    if method == "compressed-tensors":
        return "8-bit floats" if settings.get("format") in _BY_8_BITS and _all_floats(settings) else None
    return _UNDONE.get(method) if isinstance(method, str) else None


def _all_floats(settings: Mapping[str, Any]) -> bool:
    groups = settings.get("config_groups")
    kinds = list(groups.values()) if isinstance(groups, dict) else []
    weights = [group.get("weights") for group in kinds if isinstance(group, dict)]
    return bool(weights) and all(
        isinstance(kind, dict) and kind.get("type") == "float" and kind.get("num_bits") == 8 for kind in weights
    )
