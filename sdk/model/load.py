"""Load a base model in 16, 8 or 4 bits with its tokenizer and chat template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.logging import disable_progress_bar

from sdk.errors import InvalidInput, StepFailed
from sdk.hardware import cuda_version
from sdk.model.base_model import fetch_base
from sdk.model.chat import Chat
from sdk.records import Method

disable_progress_bar()


def compute_dtype() -> torch.dtype:
    """Return the type of products: on a GPU bfloat16 or, before Ampere, float16; on a CPU float32.

    On a CPU bfloat16 needs instructions that many have not, and rounds differently from one to the next.
    """
    if torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.float32


def check_torch() -> None:
    """Raise InvalidInput where this machine has a GPU that the installed torch cannot use."""
    if torch.cuda.is_available():
        return
    driver = cuda_version()
    if driver is not None:
        built = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
        raise InvalidInput(
            f"The GPU cannot be used: torch {torch.__version__} is built {built}, and the driver runs CUDA up to "
            f"{driver}. Install a build of torch for CUDA {driver} or an older one of the same major version, or a "
            "newer driver; to use the CPU, set CUDA_VISIBLE_DEVICES to nothing."
        )


def _quantization(method: Method, dtype: torch.dtype) -> BitsAndBytesConfig | None:
    if method == "qlora-4bit":
        return BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
        )
    return BitsAndBytesConfig(load_in_8bit=True) if method == "qlora-8bit" else None


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a checked base folder; where it has no padding token, the end token pads."""
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError) as error:
        raise InvalidInput(
            f"{folder}: its tokenizer cannot be loaded ({type(error).__name__}); fetch it again."
        ) from error
    if not tokenizer.is_fast:
        raise InvalidInput(f"{folder}: its tokenizer has no fast version; save one as tokenizer.json.")
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token is None:
            raise InvalidInput(
                f"{folder}: its tokenizer names no end token (eos_token); add it to tokenizer_config.json."
            )
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_chat(base: str) -> Chat:
    """Load the chat text of a base model, without its weights."""
    return Chat(load_tokenizer(fetch_base(base)))


def load_base(base: str, method: Method, on_host: bool = False) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a base model in evaluation mode on this process's GPU, or on the CPU where there is none, and its tokenizer.

    method: lora and lora-fp8 load 16-bit weights, qlora-4bit NF4 with double quantization, qlora-8bit int8 (both
    bitsandbytes).
    on_host: in the host's memory in any case.
    Raises InvalidInput where the folder cannot be used, StepFailed where the memory is too small.
    """
    check_torch()
    folder = fetch_base(base)
    tokenizer = load_tokenizer(folder)
    try:
        model = _load_weights(folder, method, on_host)
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise StepFailed(
            f"{folder} does not fit into memory for {method}; use qlora-4bit or a smaller base."
        ) from error
    _check_tokenizer(folder, tokenizer, model)
    model.config.use_cache = True
    return model.eval(), tokenizer


def _check_tokenizer(folder: Path, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> None:
    """Raise InvalidInput where the tokenizer is that of another base, as far as that shows."""
    faults = []
    rows = model.get_input_embeddings().weight.shape[0]
    highest = max(len(tokenizer) - 1, *tokenizer.get_vocab().values())
    if highest >= rows:
        faults.append(f"its tokenizer has {highest + 1} tokens, the model only {rows}")
    special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    for name in ("bos_token_id", "eos_token_id"):
        value = getattr(model.config.get_text_config(), name, None)
        ids = value if isinstance(value, list) else [] if value is None else [value]
        faults += [
            f"config.json says {name} {index}, which is an ordinary token or none in its tokenizer"
            for index in ids
            if index not in special
        ]
    if faults:
        raise InvalidInput(
            f"{folder}: tokenizer and model do not belong together; take both from one release, or resize the "
            "embeddings and save the model again.",
            faults,
        )


def _load_weights(folder: Path, method: Method, on_host: bool) -> PreTrainedModel:
    dtype = compute_dtype()
    device = f"cuda:{torch.cuda.current_device()}" if torch.cuda.is_available() and not on_host else "cpu"
    options: dict[str, Any] = {
        "dtype": dtype,
        "device_map": {"": device},
        "quantization_config": _quantization(method, dtype),
        "use_safetensors": True,
        "local_files_only": True,
        "trust_remote_code": False,
        "output_loading_info": True,
        "ignore_mismatched_sizes": True,  # so that they are listed; none is accepted
    }
    try:
        model, found = AutoModelForCausalLM.from_pretrained(folder, **options)
    except SafetensorError as error:
        raise InvalidInput(f"{folder}: its weights are damaged; fetch them again.") from error
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise InvalidInput(
            f"{folder} cannot be loaded ({type(error).__name__}): weights and config.json disagree."
        ) from error
    faults = [f"{name} is missing" for name in sorted(found["missing_keys"])]
    faults += [
        f"{name} has the shape {tuple(stored)}, its config.json asks for {tuple(wanted)}"
        for name, stored, wanted in found["mismatched_keys"]
    ]
    if faults:
        raise InvalidInput(f"{folder}: its weights do not fit its config.json.", faults)
    loaded: PreTrainedModel = model
    return loaded
