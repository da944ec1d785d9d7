"""PEFT's configuration of the adapter that the settings ask for, and what PEFT cannot do."""

from __future__ import annotations

from peft import AdaLoraConfig, LoraConfig, PeftConfig, PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig
from transformers import PreTrainedModel

from sdk.errors import InvalidInput
from sdk.model.kept_layers import MLP, linear_layers_of
from sdk.records import TrainSettings
from sdk.train.optimizers import optimizer_faults

PISSA = ("pissa", "pissa_niter_4")
# Shares of the steps before and after the ranks are cut; those of the AdaLoRA paper's runs (arXiv 2303.10512, table 8)
# lie around 10 % and 50 %.
_RANKS_KEPT, _RANKS_FINAL = 10, 2
_ALLOCATIONS = 100
_ORTHOGONALITY = 0.5  # PEFT's weight of AdaLoRA's orthogonality in the loss of a step


def check_settings(settings: TrainSettings) -> None:
    """Raise InvalidInput with everything that does not go together, before a base is loaded for it."""
    faults = _faults(settings)
    if faults:
        raise InvalidInput("These training settings do not go together.", faults)


def peft_config(model: PreTrainedModel, settings: TrainSettings, steps: int) -> PeftConfig:
    """Return PEFT's configuration. steps: optimizer steps of the whole run, by which AdaLoRA plans.

    Raises InvalidInput where a target module is not one of the model's linear layers, or the steps are too few.
    """
    common = {"task_type": "CAUSAL_LM"}
    if settings.peft_type == "prompt_tuning":
        return PromptTuningConfig(num_virtual_tokens=settings.num_virtual_tokens, **common)
    if settings.peft_type == "prefix_tuning":
        return PrefixTuningConfig(num_virtual_tokens=settings.num_virtual_tokens, **common)
    if settings.peft_type == "p_tuning":
        size = model.get_input_embeddings().weight.shape[1]
        return PromptEncoderConfig(num_virtual_tokens=settings.num_virtual_tokens, encoder_hidden_size=size, **common)
    adapter = {
        "lora_alpha": settings.lora_alpha,
        "lora_dropout": settings.lora_dropout,
        "target_modules": _target_modules(model, settings.target_modules),
        **common,
    }
    if settings.peft_type == "adalora":
        if steps < 2:
            raise InvalidInput("adalora cuts ranks between its steps, and there is one step; train for longer.")
        return AdaLoraConfig(
            init_r=settings.lora_r,
            target_r=settings.target_r,
            total_step=steps,
            tinit=steps // _RANKS_KEPT,
            tfinal=max(1, steps // _RANKS_FINAL),
            deltaT=max(1, steps // _ALLOCATIONS),
            # PEFT adds it in every forward pass, and a step is the sum of its forward passes.
            orth_reg_weight=_ORTHOGONALITY / settings.gradient_accumulation_steps,
            **adapter,
        )
    # LoftQ's start is worked out afterwards, on weights that are quantized already.
    start = settings.init_lora_weights
    return LoraConfig(
        r=settings.lora_r,
        use_rslora=settings.use_rslora,
        use_dora=settings.use_dora,
        init_lora_weights=True if start in ("default", "loftq") else start,
        **adapter,
    )


def _start_faults(settings: TrainSettings) -> list[str]:
    """Return what does not go together in the kind of adapter, its first weights and the base's precision."""
    kind, start = settings.peft_type, settings.init_lora_weights
    faults = []
    if kind != "lora":
        wanted = {
            "use_rslora": settings.use_rslora,
            "use_dora": settings.use_dora,
            "init_lora_weights": start != "default",
        }
        faults += [f"{name} is an option of peft_type lora, not of {kind}" for name, given in wanted.items() if given]
    if start in PISSA and settings.method != "lora":
        faults.append(
            f"init_lora_weights {start} takes the base's weights apart, which {settings.method} has quantized; "
            "use method lora, or with qlora-4bit init_lora_weights loftq"
        )
    if start in PISSA and settings.use_dora:
        faults.append(
            f"init_lora_weights {start} with use_dora gives no adapter for the original base; use one of them"
        )
    if start == "loftq" and settings.method != "qlora-4bit":
        faults.append(
            f"init_lora_weights loftq makes up for 4-bit quantization, and method {settings.method} has none; "
            "use qlora-4bit, or init_lora_weights default or gaussian"
        )
    plain = settings.peft_type == "lora" and not settings.use_dora and start in ("default", "gaussian")
    if settings.method == "lora-fp8" and not plain:
        faults.append("lora-fp8 takes plain LoRA with init_lora_weights default or gaussian only; use method lora")
    if settings.use_dora and settings.method == "qlora-8bit":
        faults.append(
            "use_dora on 8-bit weights loses their scales (PEFT 0.21 with bitsandbytes 0.50); use qlora-4bit or lora"
        )
    return faults


def _base_faults(settings: TrainSettings) -> list[str]:
    """Return what does not go together in how the base is held."""
    method = settings.method
    faults = [
        f"{name} is an option of 4 bits, and method {method} has none; use qlora-4bit, or leave it out"
        for name in settings.unusual()
        if name != "keep_16bit" and method != "qlora-4bit"
    ]
    if settings.keep_16bit and method == "lora":
        faults.append("keep_16bit is of a quantized base, and method lora keeps all layers in 16 bits; leave it out")
    if {"attention", "mlp"} <= set(settings.kept):
        faults.append("keep_16bit attention,mlp leaves no layer to quantize; use method lora")
    return faults


def _faults(settings: TrainSettings) -> list[str]:
    kind, faults = settings.peft_type, [*_start_faults(settings), *_base_faults(settings), *optimizer_faults(settings)]
    if kind == "adalora" and settings.target_r >= settings.lora_r:
        faults.append(
            f"adalora cuts ranks from lora_r {settings.lora_r} to target_r {settings.target_r}; lower target_r or "
            f"raise lora_r (half as much again is usual: {settings.target_r * 3 // 2})"
        )
    if kind == "adalora" and settings.max_steps == 1:
        faults.append("adalora cuts ranks between its steps, and max_steps is 1; train for longer")
    if kind == "prefix_tuning" and settings.gradient_checkpointing:
        faults.append(
            "prefix_tuning keeps its prefix in the cache, which gradient_checkpointing cannot recompute; "
            "turn gradient_checkpointing off or use prompt_tuning"
        )
    if settings.cuda_graphs:
        against = settings.against_replaying()
        faults += [f"cuda_graphs does not go with {name}; leave one of them out" for name in against]
    if not settings.gradient_checkpointing:
        dependent = {
            "checkpointed_layers": settings.checkpointed_layers is not None,
            "activation_offloading": settings.activation_offloading,
        }
        faults += [f"{name} needs gradient_checkpointing; turn it on" for name, given in dependent.items() if given]
    if not settings.validation_split:
        needs = {
            "eval_steps": settings.eval_steps is not None,
            "load_best_model_at_end": settings.load_best_model_at_end,
            "early_stopping_patience": settings.early_stopping_patience is not None,
        }
        faults += [
            f"{name} needs held-out rows; set validation_split, e.g. to 0.1" for name, given in needs.items() if given
        ]
    return faults


def _target_modules(model: PreTrainedModel, wanted: str) -> str | list[str]:
    """Return all-linear or the listed linear layers' names. InvalidInput names those that the model has not."""
    places = {name: name.rpartition(".")[2] for name in linear_layers_of(model)}
    linear = set(places.values())
    if wanted == "all-linear":
        if not any("expert" in name and value.dim() == 3 for name, value in model.named_parameters()):
            return wanted
        # Routed experts are parameters of three dimensions. PEFT takes the names of dense and of shared MLPs for them
        # as well, and would give each layer a whole copy of its experts and a gradient of that size.
        return [place for place in places if not MLP.match(place)]
    names = [name.strip() for name in wanted.split(",")]
    unknown = [f"{name!r} is no linear layer of this model" for name in names if name not in linear]
    if unknown:
        raise InvalidInput(f"target_modules: use all-linear or some of {', '.join(sorted(linear))}.", unknown)
    return names
