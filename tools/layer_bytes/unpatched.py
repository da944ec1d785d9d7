"""transformers' modules as they were, after Liger has put its kernels into them."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import transformers


@contextlib.contextmanager
def unpatched(config: Any) -> Any:
    """Take back what Liger puts into transformers' modules: a later model of the process would be built of it."""
    transformers.AutoModelForCausalLM._model_mapping[type(config)]  # imports its module, before Liger changes it
    before: list[tuple[Any, dict[str, Any]]] = []
    for name, module in list(sys.modules.items()):
        if name.startswith("transformers.models.") and ".modeling_" in name:
            classes = [value for value in vars(module).values() if isinstance(value, type)]
            before += [
                (module, dict(vars(module))),
                *((each, {"forward": vars(each)["forward"]}) for each in classes if "forward" in vars(each)),
            ]
    try:
        yield
    finally:
        for owner, values in before:
            for name, value in values.items():
                if vars(owner).get(name) is not value:
                    setattr(owner, name, value)
