"""Peak training memory of a decoder-only transformer with adapters on all linear layers, term by term.

It counts the tensors that sdk/train/engine keeps: rows without padding, flash attention, Liger's kernels, fused LoRA
and a frozen head in chunks on a GPU; the same without those kernels, in float32, on a CPU. The peak is the largest of
three moments: at the loss, when all layers and the head's chunks are there; in the backward pass, at its first layer or
at its last, when all gradients are there; and in the optimizer's step.

docs/advisor.md holds the sum against the allocator's peaks on one H200, tests/benchmarks/memory.py measures them, and
tests/test_engine.py holds a layer's bytes on a CPU against what autograd keeps.
"""

from __future__ import annotations

from typing import NamedTuple

from sdk.advise.adapters import (
    beside,
    copied_parameters,
    kept_more,
    rank_of,
    trained_parameters,
    virtual_tokens,
    widest_more,
)
from sdk.advise.architectures import ARCHITECTURES, LLAMA
from sdk.advise.held import moments, quantized_layers, quantized_parameters, stored_bytes
from sdk.advise.kept import Kept, counted_of, kinds_of, sizes_of, total
from sdk.advise.layers import (
    BESIDE_TEXT,
    MLPS,
    Linear,
    adapted_by_text,
    expert_parameters,
    linear_layers,
    linear_parameters,
    other_parameters,
)
from sdk.hardware.kernels import LOGITS_PER_CHUNK
from sdk.records import PROMPTS, Hardware, Memory, ModelShape, TrainSettings

GIB = 2**30
ADAPTER_BYTES = 4  # float32; gradients take the same
CUBLAS_GIB = 1 / 16  # its workspace, which torch allocates at the first product
# Bytes for each number of what a layer with a state puts out, that torch's own code for it keeps on a GPU (kernels for
# it are not used): read off one run of each, 16-bit LoRA with nothing recomputed (tests/benchmarks/architectures.py).
STATE_BYTES = {"granitemoehybrid": 97, "bamba": 121, "olmo_hybrid": 66, "minimax": 39, "lara_mini": 109}
STATE_BYTES_OF_DELTA_NETS = 92  # Qwen3-Next, Qwen3.5
# Of these bytes, so many are there where a layer of Mamba 2 is recomputed: gradients of its widest numbers lie beside.
MAMBA_2_RECOMPUTED = 1.35
OFFLOADED_INPUTS = 2  # on the GPU while the others wait in the host's memory: of the layer at work and of the next
# A CPU's process holds more than its tensors. What torch loads at its first step, and thread pools:
CPU_RUNTIME_GIB = 0.04
# Free memory between tensors, as a share of what a layer would keep if it recomputed nothing; of a layer that does, the
# second, and once that of one layer while it is recomputed. glibc's allocator aligns each tensor, so one that is freed
# leaves a hole too small for the next of its size, and what is free below something in use is not given back. Tensors
# by themselves were within 2 % of what malloc had in use, so this is all that the formula has to guess.
CPU_HOLES, CPU_HOLES_RECOMPUTED, CPU_HOLES_OF_ONE = 0.37, 0.22, 1.2
CPU_HOLES_ONCE = 0.12  # instead of the first, where a step has one pass: the next ones find the heap as it was


# What the allocator's peak does not show and a GPU needs as well: .68 to .79 GiB on one H200, 1.55 with NCCL's buffers.
CUDA_CONTEXT_GIB = 0.75
NCCL_GIB = 0.85
# Reserved above allocated was 0 to 4.6 %, at the median .8 %, where there was room; what is free of it is given back
# before memory runs out.
FRAGMENTATION = 0.01
GPU_USABLE = 0.985
RAM_USABLE = 0.8  # the rest belongs to the system and to other programs


def available_gib(hardware: Hardware, gpus: int = 1) -> float:
    """Return what a run on so many GPUs may take of each of them or, without one, of the machine's memory, GiB."""
    if hardware.gpu_count:
        context = CUDA_CONTEXT_GIB + (NCCL_GIB if gpus > 1 else 0)
        return max(0.0, hardware.gpu_memory_gib - context) * GPU_USABLE
    return hardware.ram_gib * RAM_USABLE


def device_gib(memory: Memory, hardware: Hardware, gpus: int = 1) -> float:
    """Return what the driver will show for an allocator's peak, GiB; without a GPU the memory itself."""
    if not hardware.gpu_count:
        return memory.total
    return memory.total * (1 + FRAGMENTATION) + CUDA_CONTEXT_GIB + (NCCL_GIB if gpus > 1 else 0)


class _Moment(NamedTuple):
    """What is there besides weights, adapters and moments of the optimizer, bytes."""

    gradients: float
    activations: float
    logits: float
    workspace: float


class _Pass(NamedTuple):
    """One forward and backward pass on one GPU or the CPU."""

    shape: ModelShape
    settings: TrainSettings
    tokens: int
    learned: int
    longest: int  # tokens of the longest row
    gpu: bool

    @property
    def size(self) -> int:
        """Bytes of a number in the type of the products: 16 bits on a GPU, float32 on a CPU."""
        return 2 if self.gpu else 4

    @property
    def dropout(self) -> bool:
        return self.settings.lora_dropout > 0 and self.settings.peft_type not in PROMPTS

    @property
    def more(self) -> float:
        """Bytes that a layer keeps beside what LoRA has it keep."""
        return self.size * self.tokens * kept_more(self.shape, self.settings, self.longest, self.gpu)

    @property
    def widest(self) -> float:
        """Bytes that its backward pass needs besides."""
        return self.size * self.tokens * widest_more(self.shape, self.settings)

    def held(self, adapters: float) -> float:
        """Return the bytes of gradients that are there all the time, from the second pass of a step on, and of DDP's
        buckets. AdaLoRA's penalty gives every gradient before the pass goes back through the layers.
        """
        settings = self.settings
        early = settings.gradient_accumulation_steps > 1 or settings.peft_type == "adalora"
        return adapters * (early + (settings.gpus > 1))


def estimate(
    shape: ModelShape,
    settings: TrainSettings,
    hardware: Hardware,
    tokens: int | None = None,
    learned: float = 1.0,
) -> Memory:
    """Estimate the peak of torch's allocator on one GPU, or of the process on a CPU.

    tokens: in the largest forward pass; None: batch size x max_length. learned: share of them that the loss is taken
    on.
    """
    gpu = hardware.gpu_count > 0
    tokens = tokens or settings.per_device_train_batch_size * settings.max_length
    virtual = virtual_tokens(settings)
    longest = min(tokens, settings.max_length) + virtual
    work = _Pass(shape, settings, tokens + virtual, max(1, round(learned * tokens)), longest, gpu)
    count = trained_parameters(shape, settings)
    adapters = count * ADAPTER_BYTES
    counted = counted_of(shape)
    peak = max(_counted_moments(work, adapters) if gpu and counted else _moments(work, adapters), key=sum)
    if gpu and settings.cuda_graphs:  # a size is tried before it is recorded, beside the room of the recorded ones
        peak = peak._replace(activations=2 * peak.activations, workspace=2 * peak.workspace)
    between = 0 if gpu else _holes(work)
    return Memory(
        weights=_weights(work) / GIB,
        # And their copies in the type of the products.
        adapters=(adapters + (work.size * copied_parameters(shape, settings) if gpu else 0)) / GIB,
        gradients=peak.gradients / GIB,
        optimizer=(moments(shape, settings).on_device * count + beside(shape, settings)) / GIB,
        activations=peak.activations / GIB,
        logits=peak.logits / GIB,
        workspace=(peak.workspace + between) / GIB + (CUBLAS_GIB if gpu else CPU_RUNTIME_GIB),
    )


def _weights(work: _Pass) -> float:
    shape, settings, size = work.shape, work.settings, work.size
    quantized = quantized_parameters(shape, settings)
    linear = (linear_parameters(shape) - quantized) * size + quantized * stored_bytes(settings, size)
    # A float32 scale for each output; 8-bit floats have ones for each input besides.
    if settings.method in ("qlora-8bit", "lora-fp8"):
        linear += 4 * sum(layer.outputs * layer.count for layer in quantized_layers(shape, settings))
    if settings.method == "lora-fp8":
        linear += 4 * sum(layer.inputs * layer.count for layer in quantized_layers(shape, settings))
    layered, outside = linear + expert_parameters(shape) * size, other_parameters(shape) * size
    if settings.offload_embeddings and work.gpu and not shape.tie_word_embeddings:
        outside -= size * shape.vocab_size * shape.hidden_size
    if settings.shard_base and settings.gpus > 1:
        # A share of all layers, and two whole ones: at work and gathered ahead.
        layers = shape.num_hidden_layers
        layered = layered / settings.gpus + min(2, layers) * layered / layers
    return layered + outside


def _moments(work: _Pass, adapters: int) -> tuple[_Moment, ...]:
    """Return what is there at the loss, at both ends of the backward pass, and in the optimizer's step.

    adapters: bytes of all adapters, which are those of their gradients.
    """
    settings, layers = work.settings, work.shape.num_hidden_layers
    held = work.held(adapters)
    of_layer = adapters / layers
    added = of_layer if held else 0  # the new gradients of a layer before they are added
    kept, left, again = _kept(work)
    back = _backward(work)
    recomputed = 0 if left else again  # layers that keep all come first, and leave room for one that does not
    first = _Moment(max(held, of_layer), kept, 0, recomputed + back + added)
    whole = max(held, adapters)
    last = _Moment(whole, 0 if settings.gradient_checkpointing else kept / layers, 0, again + back)
    return (
        _Moment(held, kept, _head(work), 0),
        first,
        last,
        _Moment(whole, 0, 0, 0),
    )


# -- what layers keep, by what was counted (sdk/advise/kept.py) ------------------------------------------------------


def _counted_moments(work: _Pass, adapters: int) -> tuple[_Moment, ...]:
    """Return the same moments, by the sums of this architecture; layers that are recomputed come first."""
    settings, shape, layers = work.settings, work.shape, work.shape.num_hidden_layers
    kinds = _kinds(work)
    counted = kinds[-1].counted
    again = 0
    if settings.gradient_checkpointing:
        again = layers if settings.shard_base else min(layers, settings.checkpointed_layers or layers)
    held = work.held(adapters)
    of_layer = adapters / layers
    added = of_layer if held else 0
    sizes = kinds[-1].sizes
    outside = work.tokens * total(counted.outside[again > 0], sizes)
    layer = sum(kind.share * _layer_of(work, kind) for kind in kinds)
    of_input = work.tokens * total(counted.recomputed, sizes)
    waiting = min(again, OFFLOADED_INPUTS) if settings.activation_offloading else again
    kept = outside + waiting * of_input + (layers - again) * layer
    head = work.tokens * total(counted.head[again > 0], sizes) - 4 * (work.tokens - work.learned) * shape.hidden_size
    moments = [
        _Moment(held, kept, _logits(work) + head, 0),
        _Moment(held, kept, work.tokens * total(counted.tail[again > 0], sizes), 0),
        _Moment(max(held, adapters), 0, 0, 0),
    ]
    if again < layers:
        whole = _widest(work, kinds, recomputed=False)
        moments.append(_Moment(max(held, of_layer), kept - layer, 0, whole + added))
    if again:
        whole = _widest(work, kinds, recomputed=True)
        done = max(held, of_layer * (layers - again + 1))
        first = outside + max(0, waiting - 1) * of_input
        moments.append(_Moment(done, first, 0, whole + added))
    whole = _widest(work, kinds, recomputed=again > 0)
    moments.append(_Moment(max(held, adapters), outside, 0, whole))
    return tuple(_with_no_less_than_nothing(moment) for moment in moments)


def _with_no_less_than_nothing(moment: _Moment) -> _Moment:
    """Move what a sum over layers lacks, since the first one keeps no input, to the workspace."""
    return moment._replace(
        activations=max(0.0, moment.activations), workspace=moment.workspace + min(0.0, moment.activations)
    )


class _Kind(NamedTuple):
    share: float  # of all layers
    sizes: dict[str, float]
    counted: Kept


def _kinds(work: _Pass) -> tuple[_Kind, ...]:
    """Return the kinds of layers of a model whose sums are known."""
    rank, rows = rank_of(work.settings), max(1.0, work.tokens / work.longest)
    made = []
    for kind in kinds_of(work.shape):
        if counted := counted_of(work.shape, kind.windowed):
            made.append(_Kind(kind.share, sizes_of(work.shape, work.longest, rank, kind, rows), counted))
    return tuple(made)


def _layer_of(work: _Pass, kind: _Kind) -> float:
    return work.tokens * total(kind.counted.layer, kind.sizes) + _masks(work) + work.more


def _masks(work: _Pass) -> float:
    """Return the bytes that dropout adds to a layer: o's input, which attention keeps as well, and the masks."""
    shape = work.shape
    if not work.dropout:
        return 0.0
    query = shape.num_attention_heads * (shape.v_head_dim or shape.head_dim)
    groups = {layer.group: layer.inputs * layer.count / shape.num_hidden_layers for layer in adapted_by_text(shape)}
    return work.tokens * (2 * query + sum(groups.values()))


def _widest(work: _Pass, kinds: tuple[_Kind, ...], recomputed: bool) -> float:
    """Return the bytes that a layer's backward pass reaches at its widest, over what lay there before the layer."""
    dropped = work.more + work.widest
    if work.dropout:  # the gradient of the adapter's input besides that of its layer's
        widths = [
            layer.inputs for layer in linear_layers(work.shape) if layer.group not in MLPS or not work.shape.num_experts
        ]
        dropped += work.size * work.tokens * max(widths, default=0) + _masks(work)
    peaks = [(kind, peak) for kind in kinds for peak in (kind.counted.again if recomputed else kind.counted.backward)]
    matrices = {group: _matrix(work, group) for group in {peak.matrix for _, peak in peaks}}
    return dropped + max(work.tokens * total(peak.bytes, kind.sizes) + matrices[peak.matrix] for kind, peak in peaks)


def _matrix(work: _Pass, group: str) -> float:
    """Return the bytes of the weights as a matrix to multiply with, where the base is quantized."""
    settings, layers = work.settings, quantized_layers(work.shape, work.settings)
    known = any(layer.group == group for layer in linear_layers(work.shape))
    some = [layer for layer in layers if layer.group == group or not known]
    if not some or not group:
        return 0.0
    largest = max(layer.inputs * layer.outputs for layer in some)
    if settings.method != "lora-fp8":
        return work.size * largest
    return largest + work.tokens * max(layer.outputs for layer in some)  # transposed; the output's gradient in 8 bits


# -- what layers keep ------------------------------------------------------------------------------------------------


def _layer_bytes(work: _Pass, with_experts: bool) -> float:
    """Return the bytes that one layer keeps for the backward pass.

    Inputs of its norms, the adapters' inputs, rotated q and k, v, attention's output (o's input as well, unless dropout
    or a CPU makes that another tensor), gate and up, each x A', and the norms' and attention's sums in float32. Dropped
    inputs take the place of the adapters' inputs, with masks besides; a CPU keeps the activated gate besides. What
    stands in some layers only counts with its share of them.
    """
    shape, settings, tokens = work.shape, work.settings, work.tokens
    hidden, heads = shape.hidden_size, shape.num_attention_heads
    architecture = ARCHITECTURES.get(shape.model_type, LLAMA)
    inputs = ranks = inner = 0.0
    seen = set()
    for layer in linear_layers(shape):
        share = _share(layer, shape, with_experts)
        adapted = not (shape.num_experts and layer.group in MLPS)
        ranks += share * rank_of(settings) * adapted
        if layer.group not in seen:
            seen.add(layer.group)
            inputs += share * layer.inputs * adapted
            inner += share * layer.inputs * layer.group.endswith("down")
    query = heads * (shape.v_head_dim or shape.head_dim)
    kept = architecture.norms * hidden + inputs + _attention_width(shape, bool(architecture.qk_norm)) + ranks
    kept += (2 if shape.gated_mlp else 1) * inner
    if architecture.norms == 1:
        kept -= hidden  # attention and MLP, side by side, read the same tensor
    if work.dropout or not work.gpu:
        kept += query
    if any(layer.group == "shared_gate" for layer in linear_layers(shape)):
        kept += hidden  # what it weighs
    if not work.gpu and shape.gated_mlp:
        kept += inner
    mask = (1 if work.gpu else 4) * inputs if work.dropout else 0
    total = work.more + tokens * (work.size * kept + mask + 4 * (heads + architecture.norms))
    if with_experts:
        total += _expert_bytes(work)
    total += _state_bytes(work) * shape.num_linear_attention_layers / shape.num_hidden_layers
    return total + tokens * work.longest * heads * _score_bytes(work)


def _state_bytes(work: _Pass) -> float:
    """Return the bytes that a layer with a state keeps on a GPU beside what one with attention would."""
    shape = work.shape
    if not work.gpu or not shape.num_linear_attention_layers:
        return 0.0
    outputs = [layer.inputs for layer in linear_layers(shape) if layer.group == "state_out"]
    # Where its layers are not listed, it puts out what attention does.
    width = outputs[0] if outputs else shape.num_attention_heads * shape.head_dim
    return work.tokens * width * STATE_BYTES.get(shape.model_type, STATE_BYTES_OF_DELTA_NETS)


def _score_bytes(work: _Pass) -> int:
    """Return the bytes of scores kept for a pair of tokens in one head; flash attention keeps none."""
    shape = work.shape
    if shape.attn_logit_softcapping:  # their hyperbolic tangent, softmax in float32 and once more in the products' type
        return 8
    if shape.attention_sinks:
        return work.size
    unlike = shape.v_head_dim not in (0, shape.head_dim)
    return work.size if unlike and not work.gpu else 0


def _share(layer: Linear, shape: ModelShape, with_experts: bool) -> float:
    """Return the fraction of the decoder layers that contain this linear layer.

    In a model with experts: of the layers of one kind, those with routed experts or the dense ones.
    """
    if layer.group.startswith(BESIDE_TEXT):
        return 0.0
    if shape.num_experts and layer.group in MLPS:
        return float((layer.group.startswith("shared") or layer.group == "mlp_router") == with_experts)
    return layer.count / shape.num_hidden_layers


def _attention_width(shape: ModelShape, normed: bool) -> int:
    """Return how many numbers a token has in q, k and v and in the inputs of their norms."""
    heads, value = shape.num_attention_heads, shape.v_head_dim or shape.head_dim
    query, key = heads * shape.head_dim, shape.num_key_value_heads * shape.head_dim
    if shape.kv_lora_rank:
        # Every head has a key of its own; values are a view of what keys are made of too; both go through norms first.
        unrotated = shape.head_dim - shape.qk_rope_head_dim
        return 2 * query + heads * (unrotated + value) + shape.kv_lora_rank + shape.q_lora_rank
    # Keys and values once for each query's head; a value that is a view keeps all of what it is a view of.
    repeated = 2 * (query - key) if shape.attn_logit_softcapping or shape.attention_sinks else 0
    viewed = query + key if shape.fused_projections else 0
    return query + 2 * key + (query + key if normed else 0) + repeated + viewed


def _expert_bytes(work: _Pass) -> float:
    """Return the bytes that a layer's routed experts keep.

    Of each token's copies for its experts: gate and up, the activated gate, and the result before it is weighted. Of
    each token: the router's scores.
    """
    shape = work.shape
    copies = work.tokens * shape.num_experts_per_tok  # a token goes to so many experts
    matrices = 6 if shape.attention_sinks else 3 if shape.gated_mlp else 2  # gpt-oss clamps and cuts gate and up
    width = matrices * shape.moe_intermediate_size + shape.hidden_size
    return copies * (work.size * width + 24) + work.tokens * shape.num_experts * (4 + work.size)


def _kept(work: _Pass) -> tuple[float, int, float]:
    """Return (bytes kept by all layers at the loss, layers that are not recomputed, bytes that recomputing one adds).

    A recomputed layer keeps its input only; in the backward pass all that it needs is there beside the inputs.
    """
    shape, settings, tokens = work.shape, work.settings, work.tokens
    layers = shape.num_hidden_layers
    dense = shape.num_dense_layers if shape.num_experts else layers
    sparse_layer = _layer_bytes(work, True) if shape.num_experts else 0.0
    dense_layer = _layer_bytes(work, False) if dense else 0.0
    mean = (dense * dense_layer + (layers - dense) * sparse_layer) / layers
    # All of it lies in one layer, of which the mean has its share.
    at_once = MAMBA_2_RECOMPUTED if shape.model_type in ("granitemoehybrid", "bamba") else 1.0
    of_state = _state_bytes(work) * (at_once - shape.num_linear_attention_layers / layers)
    largest = max(dense_layer, sparse_layer) + of_state
    if not settings.gradient_checkpointing:
        return layers * mean, layers, 0
    of_input = work.size * tokens * shape.hidden_size
    if settings.activation_offloading and work.gpu:
        return min(layers, OFFLOADED_INPUTS) * of_input, 0, largest - of_input
    again = layers if settings.shard_base else min(layers, settings.checkpointed_layers or layers)
    return again * of_input + (layers - again) * mean, layers - again, largest - of_input


def _holes(work: _Pass) -> float:
    """Return the bytes that are free between tensors on a CPU and cannot be given back."""
    layers = work.shape.num_hidden_layers
    _, whole_layers, _ = _kept(work)
    recomputing_none = work.settings.model_copy(update={"gradient_checkpointing": False})
    every, _, _ = _kept(work._replace(settings=recomputing_none))
    kept = whole_layers / layers
    of_one = CPU_HOLES_OF_ONE / layers if kept < 1 else 0
    holes = CPU_HOLES if work.settings.gradient_accumulation_steps > 1 else CPU_HOLES_ONCE
    return every * (holes * kept + CPU_HOLES_RECOMPUTED * (1 - kept) + of_one)


# -- what comes and goes ---------------------------------------------------------------------------------------------


def _head(work: _Pass) -> float:
    """Return the bytes at the loss beside what layers keep: the last norm's input and output, their learned part and
    its gradient, and the logits.
    """
    return 2 * work.size * (work.tokens + work.learned) * work.shape.hidden_size + _logits(work)


def _logits(work: _Pass) -> float:
    """Return the bytes, in float32, of the logits of a chunk, their softmax, and the softmax of the chunk before; where
    logits are capped, the slope of that besides.
    """
    vocabulary, learned = work.shape.vocab_size, work.learned
    chunk = max(1, LOGITS_PER_CHUNK // vocabulary)
    chunks = 2 if work.shape.final_logit_softcapping else 1
    return 4 * vocabulary * (chunks * min(learned, chunk) + min(learned, 2 * chunk))


def _backward(work: _Pass) -> float:
    """Return the bytes that the backward pass of one layer adds at its widest place.

    That is down, whose inputs are the widest: gradients of output and input (with dropout the adapter's input's
    besides) and the weights as a matrix to multiply with. Where there are experts: gradients of their copies.
    """
    shape, settings, size = work.shape, work.settings, work.size
    layers = linear_layers(shape)
    inner = max([layer.inputs for layer in layers if layer.group.endswith("down")], default=0)
    gradients = size * (shape.hidden_size + inner * (2 if work.dropout else 1))
    largest = max([layer.inputs * layer.outputs for layer in quantized_layers(shape, settings)], default=0)
    matrix = size * largest
    if settings.method == "lora-fp8" and work.gpu:
        gradients += shape.hidden_size  # the output's in 8 bits
        matrix = largest  # transposed
    of_experts = 0
    if shape.num_experts:
        copies = work.tokens * shape.num_experts_per_tok
        of_experts = size * copies * max(2 * shape.hidden_size, shape.hidden_size + 2 * shape.moe_intermediate_size)
    return max(work.tokens * gradients + matrix, of_experts) + work.widest
