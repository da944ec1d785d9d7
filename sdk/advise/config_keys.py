"""ConfigKeys of a config.json, looked up with bounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_WHOLE = 10**9


class ConfigKeys:
    """Looks up keys, and collects what is wrong with them; where something is, the smallest legal number goes on."""

    def __init__(self, config: Mapping[str, Any], faults: list[str]) -> None:
        self.config, self.faults = config, faults

    def has(self, name: str) -> bool:
        return self.config.get(name) is not None

    def whole(self, *names: str, default: int | None = None, low: int = 0, high: int = _WHOLE, called: str = "") -> int:
        """Return the first of these keys that is there. called: the one to ask for; "": the first."""
        name = next((name for name in names if self.has(name)), None)
        if name is None:
            if default is None:
                self.faults.append(f"{called or names[0]} is missing")
                return low
            return default
        value = self.config[name]
        if isinstance(value, list) and value and all(item == value[0] for item in value):
            value = value[0]  # one number a layer
        if isinstance(value, bool) or not isinstance(value, int):
            self.faults.append(f"{name} must be a whole number")
            return low
        if not low <= value <= high:
            self.faults.append(f"{name} must be from {low} to {high}")
            return low
        return value

    def flag(self, name: str, default: bool) -> bool:
        value = self.config.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.faults.append(f"{name} must be true or false")
            return default
        return value

    def each(self, name: str, layers: int) -> list[Any] | None:
        """Return a list with an entry for every layer. None if there is none."""
        value = self.config.get(name)
        if not isinstance(value, list):
            return None
        if len(value) < layers:
            self.faults.append(f"{name} must have an entry for every layer")
            return None
        return value[:layers]
