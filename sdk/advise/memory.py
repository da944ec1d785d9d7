"""Peak training memory of a decoder-only transformer with gated MLP and LoRA on all linear layers, term by term.

It describes what the train step runs: plain transformers layers with SDPA attention; adapters, gradients and both
AdamW moments in float32 under 16-bit autocast on a GPU, everything in float32 on a CPU; trl's fused head on a GPU,
which never builds all logits. tests/test_advise.py holds it against peaks of the same calls on one H200 (Llama 1B and
8B, 1k to 8k tokens): LoRA and 4 bits within 3 %, 8 bits within 25 %. The CPU's figures are not measured there.

Fused kernels (Liger) keep less, so it is too high for them: 7 to 12 % with checkpointing, up to 45 % without.

The 8-bit term is the least certain: bitsandbytes keeps a copy of every input column that holds an outlier, and how many
do depends on the model and the text. OUTLIER_BYTES takes it that nearly all do, as on our random weights.
"""

from __future__ import annotations

from sdk.records import Hardware, Memory, ModelShape, TrainSettings

GIB = 2**30
ADAPTER_BYTES = 4  # float32; gradients and each of AdamW's two moments take the same
# Bytes a parameter of the linear layers. NF4: 4 bits, an 8-bit scale for 64 of them, a float32 for 256 scales.
QUANTIZED_BYTES = {"qlora-4bit": 0.5 + 1 / 64 + 4 / (64 * 256), "qlora-8bit": 1.0, "lora-fp8": 1.0}
OUTLIER_BYTES = 2.5  # for an element of a linear layer's input, kept beside it by 8-bit layers
HEAD_TILE = (4096, 32768)  # tokens, vocabulary: trl 1.16, kernels/chunked_logprob.py
CPU_LOGITS_COPIES = 3  # logits, their float32 softmax, their gradient
CPU_RUNTIME_GIB = 0.25  # thread pools and libraries that torch loads at its first step

# What the allocator's peak does not show and a GPU needs as well.
CUDA_CONTEXT_GIB = 0.6
GPU_USABLE = 0.95  # fragmentation: memory reserved was 1 to 8 % above memory allocated, part of which can be given back
RAM_USABLE = 0.8  # the rest belongs to the system and to other programs


def available_gib(hardware: Hardware) -> float:
    """What a training run may take: of one GPU or, without one, of the machine's memory."""
    if hardware.gpu_count:
        return max(0.0, hardware.gpu_memory_gib - CUDA_CONTEXT_GIB) * GPU_USABLE
    return hardware.ram_gib * RAM_USABLE


def _linear_layers(shape: ModelShape) -> list[tuple[int, int]]:
    """(inputs, outputs) of q, k, v, o, gate, up and down in one layer."""
    hidden, inner = shape.hidden_size, shape.intermediate_size
    query, key = shape.num_attention_heads * shape.head_dim, shape.num_key_value_heads * shape.head_dim
    attention = [(hidden, query), (hidden, key), (hidden, key), (query, hidden)]
    return [*attention, (hidden, inner), (hidden, inner), (inner, hidden)]


def _linear_parameters(shape: ModelShape) -> int:
    return shape.num_hidden_layers * sum(inputs * outputs for inputs, outputs in _linear_layers(shape))


def _other_parameters(shape: ModelShape) -> int:
    """Embeddings, head and norms, which stay in 16 bits whatever the method."""
    embeddings = shape.vocab_size * shape.hidden_size * (1 if shape.tie_word_embeddings else 2)
    return embeddings + (2 * shape.num_hidden_layers + 1) * shape.hidden_size


def parameters(shape: ModelShape) -> int:
    return _linear_parameters(shape) + _other_parameters(shape)


def adapter_parameters(shape: ModelShape, lora_r: int) -> int:
    return shape.num_hidden_layers * lora_r * sum(inputs + outputs for inputs, outputs in _linear_layers(shape))


def _layer_bytes_per_token(shape: ModelShape, dropout: bool, gpu: bool) -> int:
    """What one layer keeps for the backward pass: inputs of the norms in float32, rotated q, k and v (k and v once for
    every query head), attention's output, gate, its activation and up, and the inputs of all adapters."""
    size = 2 if gpu else 4
    hidden, inner, query = shape.hidden_size, shape.intermediate_size, shape.num_attention_heads * shape.head_dim
    mask = (1 if gpu else 4) if dropout else 0
    adapter_inputs = sum(inputs for inputs, _ in _linear_layers(shape)) * (size + mask)
    return 2 * 4 * hidden + 4 * size * query + 3 * size * inner + adapter_inputs


def _activation_bytes(shape: ModelShape, settings: TrainSettings, tokens: int, gpu: bool) -> float:
    """All layers; with checkpointing their inputs and one whole layer. 8-bit layers keep their inputs besides, out of
    checkpointing's reach: bitsandbytes' MatMul8bitLt holds them on its context instead of saving them."""
    size = 2 if gpu else 4
    layer: float = _layer_bytes_per_token(shape, settings.lora_dropout > 0, gpu)
    kept = 0.0
    if settings.method == "qlora-8bit":
        query = shape.num_attention_heads * shape.head_dim
        distinct = 2 * shape.hidden_size + query + shape.intermediate_size
        kept = size * distinct + OUTLIER_BYTES * sum(inputs for inputs, _ in _linear_layers(shape))
    if settings.gradient_checkpointing:
        return tokens * (shape.num_hidden_layers * (size * shape.hidden_size + kept) + layer)
    return tokens * shape.num_hidden_layers * (layer + kept)


def _logits_bytes(shape: ModelShape, tokens: int, gpu: bool) -> float:
    if not gpu:
        return CPU_LOGITS_COPIES * 4 * tokens * shape.vocab_size
    tile = 2 * min(tokens, HEAD_TILE[0]) * min(shape.vocab_size, HEAD_TILE[1])
    return tile + 4 * tokens * shape.hidden_size  # the gradient of the last hidden states is summed in float32


def estimate(shape: ModelShape, settings: TrainSettings, hardware: Hardware) -> Memory:
    """Peak of one optimizer step whose rows all have `max_length` tokens."""
    gpu = hardware.gpu_count > 0
    size = 2 if gpu else 4
    tokens = settings.per_device_train_batch_size * settings.max_length
    adapters = adapter_parameters(shape, settings.lora_r) * ADAPTER_BYTES
    linear_bytes = QUANTIZED_BYTES.get(settings.method, size)
    # peft gives 16-bit layers' adapters a float32 copy of their input, which comes back as a float32 gradient
    copies = 2 * 4 * shape.intermediate_size * tokens if settings.method == "lora" or not gpu else 0
    largest = max(inputs * outputs for inputs, outputs in _linear_layers(shape))
    dequantized = size * largest if settings.method in QUANTIZED_BYTES else 0
    return Memory(
        weights=(_linear_parameters(shape) * linear_bytes + _other_parameters(shape) * size) / GIB,
        adapters=adapters / GIB,
        gradients=adapters / GIB,
        optimizer=2 * adapters / GIB,
        activations=_activation_bytes(shape, settings, tokens, gpu) / GIB,
        logits=_logits_bytes(shape, tokens, gpu) / GIB,
        workspace=(copies + dequantized) / GIB + (0 if gpu else CPU_RUNTIME_GIB),
    )
