"""What a step computes, and what the machine says meanwhile: memory, temperature, power."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import psutil
import pynvml
import torch
from transformers import PreTrainedModel

from sdk.hardware import peak_tflops

_GIB = 2**30


@dataclass(frozen=True)
class ModelFlops:
    """Floating-point operations that training an adapter needs: model FLOPs, so recomputed activations do not count.

    The method is that of PaLM's MFU (Chowdhery et al. 2022, appendix B), for a base whose weights are frozen:

    - a weight of a frozen linear layer or the head: 2 a token forward and 2 for the gradient of its input; the other 2
      of full training are the weight's own gradient, which is not computed. A trained weight: all 6.
    - attention has no weights. Its two products (QK', PV) are 4 x width a pair of tokens forward and twice that
      backward, which makes PaLM's 12 x layers x width x length a token; causal attention needs half of the pairs.
    """

    a_token: float
    a_pair: float  # of a row of n tokens, n x n pairs

    def of(self, tokens: int, pairs: int) -> float:
        """Return the operations of rows. tokens: in all of them; pairs: the sum of their squared lengths."""
        return self.a_token * tokens + self.a_pair * pairs


def model_flops(model: PreTrainedModel) -> ModelFlops | None:
    """Count a model's operations. None if not all weights are used on every token (experts) or are linear layers."""
    config = model.config
    names = ("num_hidden_layers", "num_attention_heads", "hidden_size")
    experts = any(getattr(config, name, None) for name in ("num_experts", "num_local_experts", "n_routed_experts"))
    if experts or not all(isinstance(getattr(config, name, None), int) for name in names):
        return None
    # A module of its own is trained; in_features also tells the size of quantized and of sharded weights.
    frozen = sum(
        module.in_features * module.out_features
        for module in model.modules()
        if isinstance(module, torch.nn.Linear) and not module.weight.requires_grad
    )
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    heads = config.num_attention_heads
    width = heads * (getattr(config, "head_dim", None) or config.hidden_size // heads)
    return ModelFlops(a_token=4.0 * frozen + 6.0 * trained, a_pair=6.0 * config.num_hidden_layers * width)


def peak_flops(processes: int) -> float | None:
    """Return the operations a second that the GPUs of all processes can do; None on a CPU and where it is not known."""
    if not torch.cuda.is_available():
        return None
    peak = peak_tflops(torch.cuda.get_device_name())
    return peak * 1e12 * processes if peak else None


class MachineReader:
    """Memory in GiB, the GPU's temperature in °C, power in W and use in percent. What does not answer is absent."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._asked: dict[str, Callable[[], float]] = {}
        if torch.cuda.is_available():
            gpu = torch.cuda.current_device()  # another thread would have a current one of its own
            self._asked = {
                "gpu_memory_allocated_gib": lambda: torch.cuda.memory_allocated(gpu) / _GIB,
                "gpu_memory_reserved_gib": lambda: torch.cuda.memory_reserved(gpu) / _GIB,
                "gpu_temperature_c": lambda: torch.cuda.temperature(gpu),
                "gpu_power_w": lambda: torch.cuda.power_draw(gpu) / 1000,
                "gpu_utilization_percent": lambda: torch.cuda.utilization(gpu),
            }

    def read(self) -> dict[str, float]:
        figures = {"host_memory_gib": self._process.memory_info().rss / _GIB}
        for name, ask in list(self._asked.items()):
            try:
                figures[name] = float(ask())
            # No driver, a library without it, a card that does not measure this: it will not answer later either.
            except (pynvml.NVMLError, RuntimeError, ModuleNotFoundError):
                del self._asked[name]
        return figures
