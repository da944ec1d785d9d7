"""Rows as they will be trained, with their loss mask, for the terminal only: this holds customers' text."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from sdk.data import RowsFile, first_rows
from sdk.model import Encoded, cut_texts, encode_rows, learned, load_chat
from sdk.records import Frozen, TrainSettings


class Segment(Frozen):
    """Neighbouring tokens that are all learned or all not."""

    text: str
    in_loss: bool


class Preview(Frozen):
    row: str
    tokens: int
    tokens_in_loss: int
    segments: tuple[Segment, ...]


def preview(
    data: RowsFile | Path,
    base: str,
    prompt: str,
    settings: TrainSettings,
    rows: int = 3,
    template: str | None = None,
) -> tuple[Preview, ...]:
    """Return the first rows of a scrubbed file, of texts the first pieces, as they will be trained; never to be stored.

    template: source of the chat template that is used instead of the base's own.
    Raises InvalidInput where one of them cannot be trained, as the training step does.
    """
    chat = load_chat(base, template)
    shown = first_rows(data, rows)
    encoded = encode_rows(chat, shown, prompt, settings.max_length, learned(settings))
    pieces, places = cut_texts(shown, encoded, settings.max_length)
    first = [pieces[places.index(place)] for place in range(len(shown))]
    return tuple(
        Preview(
            row=row.id,
            tokens=len(item.input_ids),
            tokens_in_loss=sum(item.in_loss),
            segments=_segments(chat.tokenizer, item),
        )
        for row, item in zip(shown, first, strict=True)
    )


def _segments(tokenizer: PreTrainedTokenizerBase, item: Encoded) -> tuple[Segment, ...]:
    pairs = zip(item.input_ids, item.in_loss, strict=True)
    return tuple(
        Segment(text=str(tokenizer.decode([token for token, _ in run])), in_loss=in_loss)
        for in_loss, run in groupby(pairs, key=lambda pair: pair[1])
    )
