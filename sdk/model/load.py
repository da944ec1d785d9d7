"""Load a base model in 16, 8 or 4 bits with its tokenizer and chat template."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    BitsAndBytesConfig,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.integrations import replace_with_bnb_linear
from transformers.quantizers.base import HfQuantizer, get_keys_to_not_convert
from transformers.utils.logging import disable_progress_bar

from sdk.data.base_folder import Base, BaseFolder, private_copy
from sdk.errors import InvalidInput, StepFailed
from sdk.hardware import cuda_version
from sdk.model.base_model import open_base
from sdk.model.base_tokenizer import check_vocabulary, tokenizer_from
from sdk.model.kept_layers import kept_layers
from sdk.model.stored_tensors import base_tensors
from sdk.records import Method, Quantization

disable_progress_bar()

# Parts of a model that sees or hears, of which only the language model is loaded.
_OTHER_SENSES = re.compile(r"(^|\.)(vision|visual|audio|image|multi_?modal|mm_|embed_vision|embed_audio)")


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


def _quantization(
    quantization: Quantization, dtype: torch.dtype, model_class: type[PreTrainedModel], config: PreTrainedConfig
) -> BitsAndBytesConfig | None:
    options = {"llm_int8_skip_modules": _left_alone(quantization, model_class, config)}
    if quantization.method == "qlora-4bit":
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=quantization.bnb_4bit_quant_type,
            bnb_4bit_use_double_quant=quantization.bnb_4bit_use_double_quant,
            bnb_4bit_compute_dtype=dtype,
            **options,
        )
    return BitsAndBytesConfig(load_in_8bit=True, **options) if quantization.method == "qlora-8bit" else None


def _left_alone(
    quantization: Quantization, model_class: type[PreTrainedModel], config: PreTrainedConfig
) -> list[str] | None:
    """Return the modules that are not quantized; None: those that transformers leaves by itself."""
    if quantization.method not in ("qlora-4bit", "qlora-8bit") or not quantization.kept:
        return None
    skeleton = _skeleton(model_class, config)
    # Given a list, transformers leaves nothing else, and would quantize the head.
    return [*get_keys_to_not_convert(skeleton), *kept_layers(skeleton, quantization)]


def _skeleton(model_class: type[PreTrainedModel], config: PreTrainedConfig) -> PreTrainedModel:
    with torch.device("meta"):  # names alone, without weights
        made: PreTrainedModel = model_class._from_config(config)
    return made


def skeleton_of(opened: BaseFolder, quantization: Quantization) -> PreTrainedModel:
    """Return an opened base's modules without weights, those that are quantized as bitsandbytes' layers."""
    with private_copy(opened) as private:
        config = AutoConfig.from_pretrained(private, local_files_only=True, trust_remote_code=False)
    model_class, config = _model_class(config)
    model = _skeleton(model_class, config)
    options = _quantization(quantization, compute_dtype(), model_class, config)
    if options is not None:
        skipped = HfQuantizer.get_modules_to_not_convert(
            model, options.llm_int8_skip_modules, model._keep_in_fp32_modules
        )
        with torch.device("meta"):
            model = replace_with_bnb_linear(model, skipped, options)
    return model


def load_base(
    base: Base, method: Method | Quantization, on_host: bool = False
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Open a base and load it, as load_opened() says. Raises what that and open_base() raise."""
    with open_base(base) as opened:
        return load_opened(opened, method, on_host)


def load_opened(
    opened: BaseFolder, method: Method | Quantization, on_host: bool = False
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a base model in evaluation mode on this process's GPU, or on the CPU where there is none, and its tokenizer.

    method: lora and lora-fp8 load 16-bit weights, qlora-4bit and qlora-8bit quantize them through bitsandbytes; alone
    it stands for the usual options, as NF4 with double quantization.
    on_host: in the host's memory in any case.
    Raises InvalidInput where the folder cannot be used, StepFailed where the memory is too small, Tampered where a
    file that was hashed has changed since.
    """
    check_torch()
    folder = opened.path
    quantization = method if isinstance(method, Quantization) else Quantization(method=method)
    with private_copy(opened) as private:
        tokenizer = tokenizer_from(folder, private)
        try:
            model = _load_weights(opened, private, quantization, on_host)
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise StepFailed(
                f"{folder} does not fit into memory for {quantization.method}; use qlora-4bit or a smaller base."
            ) from error
    text = model.config.get_text_config().to_dict()
    check_vocabulary(folder, tokenizer, text, model.get_input_embeddings().weight.shape[0])
    model.config.use_cache = True
    return model.eval(), tokenizer


def _model_class(config: PreTrainedConfig) -> tuple[type[PreTrainedModel], PreTrainedConfig]:
    """Choose the model's class, and of a model with several parts the text's configuration, as AutoModel does."""
    classes = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    if not isinstance(classes, list | tuple):
        classes = (classes,)
    named = [each for each in classes if each.__name__ in (config.architectures or ())]
    chosen = (named or classes)[0]
    text = config.sub_configs.get("text_config")
    if text is not None and getattr(chosen, "config_class", None) == text:
        config = config.get_text_config()
    # What is stored quantized is handed over dequantized; with this key transformers would look for its scales.
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    return chosen, config


def _is_quantized(layer: torch.nn.Module) -> bool:
    return type(layer).__module__.partition(".")[0] == "bitsandbytes"


def _load_weights(opened: BaseFolder, private: Path, quantization: Quantization, on_host: bool) -> PreTrainedModel:
    folder, dtype = opened.path, compute_dtype()
    device = f"cuda:{torch.cuda.current_device()}" if torch.cuda.is_available() and not on_host else "cpu"
    offline: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    tensors = base_tensors(opened)
    try:
        model_class, config = _model_class(AutoConfig.from_pretrained(private, **offline))
        quantized = _quantization(quantization, dtype, model_class, config)
        own = "generation_config.json" in opened.small
        model, found = model_class.from_pretrained(
            None,  # no folder: nothing but what is handed over here is read
            config=config,
            state_dict=tensors,
            generation_config=GenerationConfig.from_pretrained(private, local_files_only=True) if own else None,
            dtype=dtype,
            device_map={"": device},
            quantization_config=quantized,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # so that they are listed; none is accepted
            **offline,
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        opened.require_unchanged()
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise InvalidInput(
            f"{folder} cannot be loaded ({type(error).__name__}): weights and config.json disagree."
        ) from error
    opened.require_unchanged()
    faults = [f"{name} is missing" for name in sorted(found["missing_keys"])]
    faults += [
        f"{name} is in its files, and the model has no place for it"
        for name in sorted(found["unexpected_keys"])
        if not _OTHER_SENSES.search(name)
    ]
    faults += [
        f"{name} has the shape {tuple(stored)}, its config.json asks for {tuple(wanted)}"
        for name, stored, wanted in found["mismatched_keys"]
    ]
    if faults:
        raise InvalidInput(f"{folder}: its weights do not fit its config.json.", faults)
    if quantized and not any(map(_is_quantized, model.modules())):
        raise InvalidInput(
            f"{folder}: {quantization.method} would quantize nothing, since the linear layers of {config.model_type} "
            "are of a class of their own; use method lora."
        )
    model.config.name_or_path = model.name_or_path = ""  # a path or name here, and peft reads what lies there
    loaded: PreTrainedModel = model
    return loaded
