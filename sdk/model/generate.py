"""Greedy, deterministic generation in batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from peft import PeftModel
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from sdk.errors import InvalidInput, StepFailed
from sdk.model.chat import Chat
from sdk.records import OnProgress


def generate_ids(
    model: PreTrainedModel | PeftModel,
    chat: Chat,
    conversations: Sequence[Sequence[Mapping[str, str]]],
    max_new_tokens: int,
    batch_size: int,
    on_progress: OnProgress,
) -> list[list[int]]:
    """Generate each answer's new tokens, in the order of the conversations, up to and with the token that ends it."""
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
    batch_size: int,
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
