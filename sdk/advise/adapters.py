"""What an adapter of each kind trains and needs, where that is not what LoRA on all linear layers does.

Counted from what the engine and PEFT hold, as what layers keep is (tools/layer_bytes.py, with a kind), and held against
24 runs on an H200.
"""

from __future__ import annotations

from sdk.advise.architectures import ARCHITECTURES, LLAMA
from sdk.advise.layers import adapted_by_text, adapted_layers, adapter_parameters
from sdk.packing import one_row_at_a_time
from sdk.records import PROMPTS, ModelShape, TrainSettings

SCORES = 3  # numbers that AdaLoRA's allocator keeps for each that is trained: importance, its mean, its uncertainty
# Operations of a layer of Llama beside LoRA's, forward and backward, as counted; with its share of norms and penalty.
LAUNCHES_OF_DORA, LAUNCHES_OF_ADALORA = 55, 42
# Of the time to launch a layer with LoRA, what one takes without adapters: measured for 16 and for 4 bits.
LAUNCHING_OF_PROMPTS, LAUNCHING_OF_QUANTIZED_PROMPTS = 0.4, 0.55


def goes_row_by_row(settings: TrainSettings) -> bool:
    """Tell whether each row has a forward pass of its own: a learned prompt stands before it."""
    return settings.peft_type in PROMPTS


def running(settings: TrainSettings) -> TrainSettings:
    """Return the settings as training runs with them."""
    return one_row_at_a_time(settings) if goes_row_by_row(settings) else settings


def virtual_tokens(settings: TrainSettings) -> int:
    """Return how much longer a row is for its learned prompt; a prefix adds keys and values only."""
    return settings.num_virtual_tokens if settings.peft_type in ("prompt_tuning", "p_tuning") else 0


def rank_of(settings: TrainSettings) -> int:
    return 0 if settings.peft_type in PROMPTS else settings.lora_r


def trained_parameters(shape: ModelShape, settings: TrainSettings) -> int:
    kind, hidden, virtual = settings.peft_type, shape.hidden_size, settings.num_virtual_tokens
    if kind == "prefix_tuning":
        return virtual * shape.num_hidden_layers * 2 * shape.num_key_value_heads * shape.head_dim
    if kind in PROMPTS:
        return virtual * hidden + _encoder(shape, settings)
    adapted = adapted_layers(shape)
    count = adapter_parameters(shape, settings.lora_r)
    if kind == "adalora":
        count += settings.lora_r * sum(layer.count for layer in adapted)
    if settings.use_dora:
        count += sum(layer.outputs * layer.count for layer in adapted)
    return count


def copied_parameters(shape: ModelShape, settings: TrainSettings) -> int:
    """Return how many have a copy in the type of the products on a GPU."""
    if settings.peft_type in PROMPTS:
        return _encoder(shape, settings)
    return adapter_parameters(shape, settings.lora_r)


def beside(shape: ModelShape, settings: TrainSettings) -> float:
    """Return the bytes that stay on the device beside trained parameters, gradients and moments.

    AdaLoRA's scores; of DoRA the norms, their squares without the adapter, and the factors.
    """
    if settings.peft_type == "adalora":
        return SCORES * 4.0 * trained_parameters(shape, settings)
    if settings.use_dora:
        return 3 * 4.0 * sum(layer.outputs * layer.count for layer in adapted_layers(shape))
    return 0.0


def kept_more(shape: ModelShape, settings: TrainSettings, longest: int, gpu: bool) -> float:
    """Return the numbers in the type of the products that a layer keeps for a token beside what LoRA has it keep.

    DoRA: outputs before they are scaled, but for a gate and what it gates, which the activation keeps. Prompts: no
    inputs of adapters, but on a GPU for o's, which is attention's output. A prefix: keys and values once for each
    query's head, and a mask.
    """
    layers = shape.num_hidden_layers
    if settings.use_dora:
        gated = shape.gated_mlp and not shape.fused_projections
        return sum(
            layer.outputs * layer.count / layers
            for layer in adapted_by_text(shape)
            if not (gated and layer.group.endswith("gate_up"))
        )
    if settings.peft_type not in PROMPTS:
        return 0.0
    inputs = {
        layer.group: layer.inputs * layer.count / layers
        for layer in adapted_by_text(shape)
        if not (gpu and layer.group in ("o", "global_o"))
    }
    more = -sum(inputs.values())
    if ARCHITECTURES.get(shape.model_type, LLAMA).norms == 1:  # attention and MLP read the same tensor
        more += shape.hidden_size
    if settings.peft_type == "prefix_tuning":
        repeated = shape.num_attention_heads - shape.num_key_value_heads
        more += 2 * repeated * shape.head_dim + longest + settings.num_virtual_tokens
    return more


def widest_more(shape: ModelShape, settings: TrainSettings) -> int:
    """Return the numbers for a token that a layer's backward pass needs besides, as counted for Llama's.

    DoRA: Liger's gated activation works on copies of a gate and what it gates, since it would overwrite them; where it
    need not, or there is none, one scaled gradient.
    """
    if not settings.use_dora:
        return 0
    copied = shape.gated_mlp and not settings.lora_dropout
    return 2 * shape.intermediate_size if copied and not shape.num_experts else shape.hidden_size


def products_more(settings: TrainSettings) -> float:
    """Return how many times as many products with frozen weights there are: DoRA's dropout acts on those too, and a
    gate and what it gates, which are half of the weights, are computed once more.
    """
    return 2.25 if settings.use_dora and settings.lora_dropout else 1.0


def moved_more(shape: ModelShape, settings: TrainSettings) -> int:
    """Return the numbers that all layers read and write for a token besides: DoRA scales outputs and gradients."""
    # Scaled forward and backward, each read and written; a product of both read, written and summed.
    return 8 * sum(layer.outputs * layer.count for layer in adapted_by_text(shape)) if settings.use_dora else 0


def launching_share(settings: TrainSettings, weight: float) -> float:
    """Return the time to launch a layer, as a multiple of LoRA's. weight: seconds for an operation more, likewise."""
    if settings.peft_type in PROMPTS:
        return LAUNCHING_OF_PROMPTS if settings.method == "lora" else LAUNCHING_OF_QUANTIZED_PROMPTS
    more = LAUNCHES_OF_ADALORA if settings.peft_type == "adalora" else LAUNCHES_OF_DORA if settings.use_dora else 0
    return 1 + weight * more


def is_plain_lora(settings: TrainSettings) -> bool:
    """Tell whether this is a kind that predictions were held against: its start and scale change neither bytes nor
    products.
    """
    return settings.peft_type == "lora" and not settings.use_dora


def kind_name(settings: TrainSettings) -> str:
    return "DoRA" if settings.use_dora else settings.peft_type


def _encoder(shape: ModelShape, settings: TrainSettings) -> int:
    """Count the network that p-tuning makes its prompt of: three layers as wide as the model."""
    return 3 * shape.hidden_size * (shape.hidden_size + 1) if settings.peft_type == "p_tuning" else 0
