"""Greedy, deterministic generation: by our own decoder, or by transformers where a model needs more than that does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from peft import PeftModel
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from sdk.errors import InvalidInput, StepFailed
from sdk.model.chat import Chat, Encoded
from sdk.model.decoder import Task, can_decode, decode
from sdk.records import OnProgress

# Of a generation configuration: what forbids or prefers tokens.
_STEERING = (
    "suppress_tokens",
    "begin_suppress_tokens",
    "bad_words_ids",
    "sequence_bias",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "exponential_decay_length_penalty",
    "guidance_scale",
    "encoder_repetition_penalty",
)
PLAIN_ROWS = 32  # at once, where transformers generates


def generate_ids(
    model: PreTrainedModel | PeftModel,
    chat: Chat,
    conversations: Sequence[Sequence[Mapping[str, str]]],
    max_new_tokens: int,
    batch_size: int | None,
    on_progress: OnProgress,
) -> list[list[int]]:
    """Generate each answer's new tokens, in the order of the conversations, up to and with the token that ends it.

    batch_size: rows at once; None: as many as memory takes.
    """
    return answer_ids(model, chat, conversations, None, max_new_tokens, batch_size, on_progress)[0]


def answer_ids(
    model: PreTrainedModel | PeftModel,
    chat: Chat,
    conversations: Sequence[Sequence[Mapping[str, str]]],
    references: Sequence[Encoded] | None,
    max_new_tokens: int,
    batch_size: int | None,
    on_progress: OnProgress,
) -> tuple[list[list[int]], list[float] | None]:
    """Generate as generate_ids() does, and sum the references' negative log-likelihoods in the same passes, nats.

    references: the conversations with their answers. The sums are None where passes cannot be shared: none are asked
    for, transformers generates, or a prompt is not what its reference begins with.
    """
    prompts = [chat.prompt_ids(messages) for messages in conversations]
    room = getattr(model.config, "max_position_embeddings", None)
    faults = [
        f"conversation {place}: {len(ids)} tokens and {max_new_tokens} new ones, the model takes {room}; shorten it"
        for place, ids in enumerate(prompts)
        if room is not None and len(ids) + max_new_tokens > room
    ]
    if faults:
        raise InvalidInput("A prompt and its answer are longer than the model can take.", faults)
    settings = _greedy(model, chat, max_new_tokens)
    shared = references is not None and all(
        each.input_ids[: len(ids)] == ids and any(each.in_loss) for ids, each in zip(prompts, references, strict=True)
    )
    expected: Sequence[Encoded | None] = references if references is not None and shared else [None] * len(prompts)
    tasks = [Task(ids, reference) for ids, reference in zip(prompts, expected, strict=True)]
    answers = None
    if can_decode(model) and not _is_steered(model):
        answers = decode(model, tasks, settings.eos_token_id, max_new_tokens, batch_size, on_progress)
    if answers is None:
        return _by_transformers(model, settings, prompts, batch_size or PLAIN_ROWS, on_progress), None
    return [each.ids for each in answers], [each.nll for each in answers] if shared else None


def _is_steered(model: PreTrainedModel | PeftModel) -> bool:
    """Tell whether the base's own generation_config.json changes which token is the most likely one."""
    own = getattr(model, "generation_config", None)
    return any(getattr(own, name, None) for name in _STEERING)


def _by_transformers(
    model: PreTrainedModel | PeftModel,
    settings: GenerationConfig,
    prompts: Sequence[Sequence[int]],
    batch_size: int,
    on_progress: OnProgress,
) -> list[list[int]]:
    answers: list[list[int]] = [[] for _ in prompts]
    order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]), reverse=True)
    # PEFT does not tell the model where rows begin behind a learned prompt, so there none may be padded.
    padded = not (isinstance(model, PeftModel) and model.active_peft_config.is_prompt_learning)
    done = 0
    while done < len(order):
        batch = order[done : done + batch_size]
        if not padded:
            batch = [place for place in batch if len(prompts[place]) == len(prompts[batch[0]])]
        for place, tokens in zip(batch, _answers(model, settings, [prompts[i] for i in batch]), strict=True):
            answers[place] = tokens
        done += len(batch)
        on_progress("generate", done, len(order), {})
    return answers


def generate(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    conversations: Sequence[Sequence[Mapping[str, str]]],
    max_new_tokens: int,
    batch_size: int | None,
    on_progress: OnProgress,
) -> list[str]:
    """Generate the answers' texts, in the order of the conversations, each of which ends before the assistant's turn.

    Raises InvalidInput for a prompt that leaves no room for the answer, StepFailed where the memory is too small.
    """
    chat = Chat(tokenizer)
    return list(map(chat.answer, generate_ids(model, chat, conversations, max_new_tokens, batch_size, on_progress)))


def _greedy(model: PreTrainedModel | PeftModel, chat: Chat, max_new_tokens: int) -> GenerationConfig:
    own = getattr(model, "generation_config", None)
    more = getattr(own, "eos_token_id", None)
    stops = {*chat.stop_ids, *([more] if isinstance(more, int) else more or [])}
    return GenerationConfig(
        do_sample=False,
        num_beams=1,
        max_new_tokens=max_new_tokens,
        eos_token_id=sorted(stops),
        pad_token_id=chat.tokenizer.pad_token_id,
        # Said in full, because what is left out is taken from the base's own generation_config.json.
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        min_new_tokens=None,
        min_length=0,
    )


@torch.inference_mode()
def _answers(
    model: PreTrainedModel | PeftModel, settings: GenerationConfig, prompts: Sequence[Sequence[int]]
) -> list[list[int]]:
    width = max(map(len, prompts))
    pad = settings.pad_token_id
    ids = torch.tensor([[pad] * (width - len(prompt)) + list(prompt) for prompt in prompts], device=model.device)
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=model.device)
    try:
        output = model.generate(input_ids=ids, attention_mask=mask, generation_config=settings)
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise StepFailed("Generation does not fit into memory; use a smaller batch or a 4-bit base.") from error
    return [_ended(new, settings.eos_token_id) for new in output[:, width:].tolist()]


def _ended(tokens: list[int], stops: Sequence[int]) -> list[int]:
    end = next((place for place, token in enumerate(tokens) if token in stops), len(tokens) - 1)
    return tokens[: end + 1]
