"""Peak training memory of a decoder-only transformer with gated MLP and plain LoRA on all linear layers, term by term.

It counts the tensors that sdk/train/engine keeps: rows without padding, flash attention, Liger's kernels, fused LoRA
and a frozen head in chunks on a GPU; the same without those kernels, in float32, on a CPU. tests/test_advise.py holds
the sum against the allocator's peaks on one H200 (Llama 1B, 8B, 70B, 512 to 16k tokens in one pass, r = 16, no
dropout): within 1.5 % of all. tests/test_engine.py holds a layer's bytes on a CPU against what autograd keeps, with and
without dropout. Dropout on a GPU and the sum on a CPU are counted, not measured; only CPU_RUNTIME_GIB is fitted.

The peak is either at the loss, when all layers and the head's chunks are there, or in the backward pass of one layer:
`workspace` holds what the latter takes beyond the former. Gradients are counted whole: they are there from the second
pass of a step on, and at the end of the first.

More than this is kept by models whose attention torch computes row by row (capped scores, heads of more than 256), by
DoRA and AdaLoRA, which keep PEFT's forward pass, and on a GPU without liger-kernel.
"""

from __future__ import annotations

from sdk.records import Hardware, Memory, ModelShape, TrainSettings

GIB = 2**30
ADAPTER_BYTES = 4  # float32; gradients and each of AdamW's two moments take the same
# Bytes a parameter of the linear layers. NF4: 4 bits, an 8-bit scale for 64 of them, a float32 for 256 scales.
QUANTIZED_BYTES = {"qlora-4bit": 0.5 + 1 / 64 + 4 / (64 * 256), "qlora-8bit": 1.0, "lora-fp8": 1.0}
HEAD_LOGITS = 2**26  # in one chunk: sdk/train/engine/head.py
OFFLOADED_INPUTS = 2  # on the GPU while the others wait in the host's memory: of the layer at work and of the next
CPU_RUNTIME_GIB = 0.25  # thread pools and libraries that torch loads at its first step

# What the allocator's peak does not show and a GPU needs as well.
CUDA_CONTEXT_GIB = 0.6
GPU_USABLE = (
    0.95  # fragmentation: memory reserved was 0 to 10 % above memory allocated, part of which can be given back
)
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


def _layer_bytes_per_token(shape: ModelShape, settings: TrainSettings, gpu: bool) -> int:
    """What one layer keeps for the backward pass.

    Inputs of both norms, the adapters' inputs, rotated q and k, v, attention's output (o's input as well, unless
    dropout or a CPU makes that another tensor), gate and up, each x A', and the norms' and attention's sums in float32.
    Dropped inputs take the place of the adapters' inputs, with masks besides; a CPU keeps the activated gate besides.
    """
    size, heads = 2 if gpu else 4, shape.num_attention_heads
    hidden, inner, query = shape.hidden_size, shape.intermediate_size, heads * shape.head_dim
    inputs = 2 * hidden + query + inner  # of q, k and v together, o, gate and up together, down
    key = shape.num_key_value_heads * shape.head_dim
    kept = 2 * hidden + inputs + (query + 2 * key) + 2 * inner + 7 * settings.lora_r
    if settings.lora_dropout or not gpu:
        kept += query
    if not gpu:
        kept += inner
    mask = (1 if gpu else 4) * inputs if settings.lora_dropout else 0
    return size * kept + mask + 4 * (heads + 2)


def _kept_bytes(shape: ModelShape, settings: TrainSettings, tokens: int, gpu: bool) -> tuple[int, int]:
    """At the loss, by all layers; and what is there besides when the backward pass has computed a layer again."""
    layer, layers = _layer_bytes_per_token(shape, settings, gpu), shape.num_hidden_layers
    if not settings.gradient_checkpointing:
        return tokens * layers * layer, 0
    of_input = (2 if gpu else 4) * shape.hidden_size
    if settings.activation_offloading and gpu:
        return tokens * min(layers, OFFLOADED_INPUTS) * of_input, tokens * (layer - of_input)
    again = min(layers, settings.checkpointed_layers or layers)
    # Layers that are not computed again come first in the backward pass, and leave room for one that is.
    return tokens * (again * of_input + (layers - again) * layer), tokens * (layer - of_input) if again == layers else 0


def _head_bytes(shape: ModelShape, tokens: int, gpu: bool) -> int:
    """Last norm's input and output, their learned part (here all) and its gradient; in float32 the logits of a chunk,
    their softmax, and the softmax of the chunk before."""
    chunk = max(1, HEAD_LOGITS // shape.vocab_size)
    hidden = 4 * (2 if gpu else 4) * tokens * shape.hidden_size
    return hidden + 4 * shape.vocab_size * (min(tokens, chunk) + min(tokens, 2 * chunk))


def _backward_bytes(shape: ModelShape, settings: TrainSettings, tokens: int, gpu: bool) -> int:
    """In down, whose inputs are the widest: gradients of output and input (with dropout the adapter's input's besides)
    and the weights as a matrix to multiply with."""
    size = 2 if gpu else 4
    gradients = size * (shape.hidden_size + shape.intermediate_size * (2 if settings.lora_dropout else 1))
    largest = max(inputs * outputs for inputs, outputs in _linear_layers(shape))
    matrix = size * largest if settings.method in QUANTIZED_BYTES else 0
    if settings.method == "lora-fp8" and gpu:
        gradients += shape.hidden_size  # the output's in 8 bits
        matrix = largest  # transposed
    return tokens * gradients + matrix


def estimate(shape: ModelShape, settings: TrainSettings, hardware: Hardware) -> Memory:
    """Peak of an optimizer step on one GPU or the CPU, each pass with batch size x `max_length` tokens, all learned."""
    gpu = hardware.gpu_count > 0
    size = 2 if gpu else 4
    tokens = settings.per_device_train_batch_size * settings.max_length
    count = adapter_parameters(shape, settings.lora_r)
    adapters = count * ADAPTER_BYTES
    weights = _linear_parameters(shape) * QUANTIZED_BYTES.get(settings.method, size) + _other_parameters(shape) * size
    if settings.offload_embeddings and gpu and not shape.tie_word_embeddings:
        weights -= size * shape.vocab_size * shape.hidden_size
    kept, again = _kept_bytes(shape, settings, tokens, gpu)
    head = _head_bytes(shape, tokens, gpu)
    backward = again + _backward_bytes(shape, settings, tokens, gpu)
    return Memory(
        weights=weights / GIB,
        adapters=(adapters + (size * count if gpu else 0)) / GIB,  # and their copy in the type of the products
        gradients=adapters / GIB,
        optimizer=2 * adapters / GIB,
        activations=kept / GIB,
        logits=head / GIB,
        workspace=max(0, backward - head) / GIB + (0 if gpu else CPU_RUNTIME_GIB),
    )
