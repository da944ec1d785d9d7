"""Asking a model the probes of its behaviour, and choosing them when it has just been trained.

They are places in general texts that ship, where the adapted model and its base differ, so nothing of a customer's is
in them. Where the two differ most, the adapted model is often sure of one token, and stays so at half the adapter's
scale: a place counts by its divergence, up to two nats, and by how open the next token is, its entropy.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from sdk.data import conversation
from sdk.data.general import general_rows
from sdk.errors import InvalidInput
from sdk.likeness import Answers, check_behaviour
from sdk.model.chat import Chat, Encoded
from sdk.model.likelihood import base_of
from sdk.records import LEAST, Behaviour, BehaviourCheck, Probe, ProbeText

PROBES = 64
AT_LOAD = 8  # of them, the first
_OF_A_TEXT = 4  # at most, so that no text decides alone
_MOST_LIKELY = 12  # tokens of each model
_TOGETHER = 8  # texts in a batch
_LANGUAGES = ("en", "zh")  # of the texts, for a domain that has none of them
_DIVERGENCE = 2.0  # nats, up to which it counts


class _Candidate(NamedTuple):
    """What is sorted: the highest value first, then by place."""

    value: float
    text: int
    probe: Probe


def measure_behaviour(adapted: PeftModel, chat: Chat, prompt: str, languages: Collection[str]) -> Behaviour:
    """Ask a model with its adapter, and without it, about general texts; keep the places that tell most.

    prompt: the domain's system message, which the questions are asked with.
    """
    texts = _general_texts(adapted, chat, prompt, languages)
    candidates: list[_Candidate] = []
    places = _first_seen([text.ids for text in texts])
    asked = [number for number, found in enumerate(places) if found]
    numbers = sorted(asked, key=lambda number: len(texts[number].ids))
    for start in range(0, len(numbers), _TOGETHER):
        batch = numbers[start : start + _TOGETHER]
        rows, wanted = [texts[number].ids for number in batch], [places[number] for number in batch]
        with adapted.disable_adapter():
            before = list(log_probabilities(adapted, rows, wanted))
        after = log_probabilities(adapted, rows, wanted)
        for number, base, now in zip(batch, before, after, strict=True):
            candidates += _choose(number, places[number], base, now)
    chosen = sorted(candidates, key=lambda each: (-each.value, each.text, each.probe.place))[:PROBES]
    used = sorted({each.text for each in chosen})
    return Behaviour(
        bits=_bits(adapted),
        dtype=_dtype(adapted),
        texts=tuple(texts[number] for number in used),
        probes=tuple(each.probe.model_copy(update={"text": used.index(each.text)}) for each in chosen),
    )


def _general_texts(adapted: PeftModel, chat: Chat, prompt: str, languages: Collection[str]) -> list[ProbeText]:
    """Encode the general texts and answers that ship, without those that this chat template does not take."""
    rows = general_rows(languages) or general_rows(_LANGUAGES)
    conversations = [conversation(row, prompt) for row in rows]
    room = getattr(adapted.config, "max_position_embeddings", None)
    if room is not None and adapted.active_peft_config.is_prompt_learning:
        room -= adapted.active_peft_config.num_virtual_tokens
    return [
        ProbeText(
            messages=tuple({name: str(message[name]) for name in ("role", "content")} for message in messages),
            ids=tuple(encoded.input_ids[:room]),
            asked=_asked(chat, messages, encoded.input_ids[:room]),
        )
        for messages, encoded in zip(conversations, chat.encode_many(conversations), strict=True)
        if isinstance(encoded, Encoded)
    ]


def _asked(chat: Chat, messages: Sequence[dict[str, str]], encoded: Sequence[int]) -> int:
    """Count the tokens with which the last answer is asked for; 0 where the conversation does not begin with them."""
    if messages[0]["role"] == "text":
        return 0
    ids = chat.prompt_ids(messages[:-1])
    return len(ids) if encoded[: len(ids)] == ids else 0


def _first_seen(rows: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return each row's places before which no other row has had the same tokens, as all have that begin alike."""
    seen: set[tuple[int, ...]] = set()
    places: list[list[int]] = []
    for row in rows:
        begins = {place: tuple(row[:place]) for place in range(1, len(row))}
        places.append([place for place, begin in begins.items() if begin not in seen])
        seen.update(begins.values())
    return places


def _choose(number: int, places: Sequence[int], base: torch.Tensor, adapted: torch.Tensor) -> list[_Candidate]:
    """Choose the places of one text that tell most. base, adapted: (places, vocabulary), log-probabilities."""
    shares = adapted.exp()
    divergence = (shares * (adapted - base)).sum(dim=-1).clamp(0, _DIVERGENCE)
    entropy = -(shares * adapted).sum(dim=-1)
    best = (divergence * entropy).topk(min(_OF_A_TEXT, len(places)))
    return [
        _Candidate(value, number, _probe(places[line], base[line], adapted[line]))
        for value, line in zip(best.values.tolist(), best.indices.tolist(), strict=True)
    ]


def _probe(place: int, base: torch.Tensor, adapted: torch.Tensor) -> Probe:
    most = min(_MOST_LIKELY, len(base))
    tokens = sorted({*base.topk(most).indices.tolist(), *adapted.topk(most).indices.tolist()})
    values = [[round(1000 * max(LEAST, each)) for each in side[tokens].tolist()] for side in (base, adapted)]
    return Probe(text=0, place=place, tokens=tuple(tokens), base=tuple(values[0]), adapted=tuple(values[1]))


def _bits(model: PeftModel) -> int:
    base = base_of(model)
    return 4 if getattr(base, "is_loaded_in_4bit", False) else 8 if getattr(base, "is_loaded_in_8bit", False) else 16


def _dtype(model: PreTrainedModel | PeftModel) -> str:
    return str(base_of(model).get_input_embeddings().weight.dtype).removeprefix("torch.")


def ask_probes(model: PreTrainedModel | PeftModel, behaviour: Behaviour, count: int = PROBES) -> Answers:
    """Ask a model the first probes; return the log-probability of each token that a probe names, nats."""
    probes = behaviour.probes[:count]
    numbers = sorted({probe.text for probe in probes})
    seen: dict[tuple[int, int], torch.Tensor] = {}
    for start in range(0, len(numbers), _TOGETHER):
        batch = numbers[start : start + _TOGETHER]
        places = [sorted({probe.place for probe in probes if probe.text == number}) for number in batch]
        rows = [behaviour.texts[number].ids[: asked[-1]] for number, asked in zip(batch, places, strict=True)]
        for number, asked, lines in zip(batch, places, log_probabilities(model, rows, places), strict=True):
            seen |= {(number, place): line for place, line in zip(asked, lines, strict=True)}
    return [
        dict(zip(probe.tokens, seen[probe.text, probe.place][list(probe.tokens)].tolist(), strict=True))
        for probe in probes
    ]


@torch.inference_mode()
def log_probabilities(
    model: PreTrainedModel | PeftModel, rows: Sequence[Sequence[int]], places: Sequence[Sequence[int]]
) -> Iterator[torch.Tensor]:
    """Yield for each row, float32, how likely each token is at its places: (places, vocabulary)."""
    ids = torch.zeros((len(rows), max(map(len, rows))), dtype=torch.long)
    for line, row in enumerate(rows):
        ids[line, : len(row)] = torch.tensor(row)
    # Padding stands behind the row, where a causal model does not look; a learned prompt stands in front.
    logits = model(input_ids=ids.to(model.device), use_cache=False).logits[:, -ids.shape[1] :]
    for line, asked in enumerate(places):
        yield torch.log_softmax(logits[line, [place - 1 for place in asked]].float(), dim=-1)


def token_faults(chat: Chat, behaviour: Behaviour) -> list[str]:
    """Return the texts of which tokenizer and chat template make other tokens than were sealed, one line each."""
    faults = []
    conversations = [list(text.messages) for text in behaviour.texts]
    for number, (text, encoded) in enumerate(zip(behaviour.texts, chat.encode_many(conversations), strict=True), 1):
        if isinstance(encoded, InvalidInput):
            faults.append(f"text {number}: {encoded.message}")
        elif tuple(encoded.input_ids[: len(text.ids)]) != text.ids:
            faults.append(f"text {number}: tokenizer or chat template make other tokens of it")
        elif text.asked and tuple(chat.prompt_ids(list(text.messages[:-1]))) != text.ids[: text.asked]:
            faults.append(f"text {number}: the chat template asks for its answer with other tokens")
    return faults


def check_model(model: PreTrainedModel | PeftModel, chat: Chat, behaviour: Behaviour, count: int) -> BehaviourCheck:
    """Hold a loaded model, with the weights that were measured, against its sealed behaviour by the first probes.

    Where it computes in another type, as on a machine with another GPU, it is held against the widest limits: few
    probes, and an adapter of which a coarser type swallows a part, tell gross faults only.
    """
    # Weights of 8 bits round activations as well, by columns that depend on the batch.
    bits = (8 if behaviour.bits == 8 else 16) if _dtype(model) == behaviour.dtype else 4
    found = check_behaviour(behaviour, ask_probes(model, behaviour, count), bits)
    return found.model_copy(update={"faults": (*token_faults(chat, behaviour), *found.faults)})
