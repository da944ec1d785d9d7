"""How long rows are, in tokens, counted as training would count them, without torch and transformers.

The folder need not be the one that was recorded: nothing is trained or served by what is read here.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import nlargest
from itertools import accumulate
from math import sqrt
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from sdk.data import Row, answer, conversation, longest_row
from sdk.data.base_folder import BaseFolder
from sdk.data.sampling import RowsSample
from sdk.data.template import ChatTemplate
from sdk.errors import InvalidInput
from sdk.files.store import CHAT_TEMPLATE
from sdk.records import Lengths, OnProgress

KEPT = 256  # longest rows that Lengths takes
PERCENTILES = (50, 90, 95, 99)
_TOGETHER = 1_000  # rows tokenized in one call; more take more memory and no less time
_SAMPLE = 500  # rows that `learned` is estimated on
_LONGEST = 64  # answers of most bytes, among which the one of most tokens is sought
_DEVIATIONS = 1.96  # of a normal distribution, within which 95 of 100 lie
TEXT_LENGTH = 2_048  # tokens that running text is cut to where nobody says otherwise


def measure_lengths(
    rows: Sequence[Row] | RowsSample,
    base: Path | None,
    prompt: str,
    on_progress: OnProgress | None = None,
    template: str | None = None,
    piece: int = TEXT_LENGTH,
) -> Lengths:
    """Count the tokens of every row, rendered by the chat template of the base, a folder, as training renders it.

    Of a sample the total is estimated by the bytes of all rows, and `error` says how well bytes tell tokens in it.

    prompt: the domain's, which leads rows without a system message. template: source of the one that is used instead of
    the base's own. piece: tokens that running text is cut to; each piece counts as a row. Where the base is not here,
    has no tokenizer or template, or its template refuses a row, bytes bound the tokens (`exact` is False, `learned` is
    1). `learned` is an estimate on up to 500 rows: the answers' own tokens and one that ends each, and all of running
    text. Raises InvalidInput without rows.
    """
    sample = rows if isinstance(rows, RowsSample) else RowsSample(tuple(rows), len(rows))
    rows = sample.rows
    if not rows:
        raise InvalidInput("There are no rows to measure; give a file with at least one.")
    chat = None if base is None else _Chat.load(base, template)
    counted = None if chat is None else chat.count(rows, prompt, on_progress)
    exact = chat is not None and counted is not None
    share = 1.0
    if chat is not None and counted is not None:
        share = chat.learned(rows[: sample.drawn], counted[: sample.drawn])
    sizes = counted or [longest_row([row], prompt) for row in rows]
    cut = [_cut(size, piece) if row.is_text else [size] for row, size in zip(rows, sizes, strict=True)]
    texts = [size if row.is_text else 0 for row, size in zip(rows, sizes, strict=True)]
    if sample.is_whole:
        return _lengths([n for pieces in cut for n in pieces], exact, share, sum(texts) or None)
    return _estimated(sample, cut, texts, exact, share)


def _cut(size: int, piece: int) -> list[int]:
    """Return the tokens of the pieces of a row, as cut_texts() makes them: one token stands in two pieces."""
    whole, rest = divmod(size - 1, piece - 1)
    return [piece] * whole + ([rest + 1] if rest else [])


def count_tokens(rows: Sequence[Row], base: Path | None, prompt: str, template: str | None = None) -> list[int]:
    """Return the tokens of each row, in the order given, as measure_lengths() counts or bounds them before it cuts."""
    chat = None if base is None else _Chat.load(base, template)
    counted = None if chat is None else chat.count(rows, prompt, None)
    return counted or [longest_row([row], prompt) for row in rows]


def longest_answer(rows: Iterable[Row], base: Path, template: str | None = None) -> int:
    """Return the tokens of the longest reference answer; bytes bound them where the base has no tokenizer here."""
    longest = nlargest(_LONGEST, (answer(row) for row in rows), key=lambda text: len(text.encode()))
    if not longest:
        return 0
    chat = _Chat.load(base, template)
    return max([len(text.encode()) for text in longest] if chat is None else chat.tokens(longest))


class _Chat:
    """A base's tokenizer and chat template."""

    def __init__(self, tokenizer: Tokenizer, template: ChatTemplate) -> None:
        self._tokenizer, self._template = tokenizer, template
        # What stands around running text: the token that ends it, and one before it where the tokenizer puts one there.
        bare, begun = (tokenizer.encode("a", add_special_tokens=put).ids[:1] for put in (False, True))
        self._around = 1 + (bare != begun)

    @classmethod
    def load(cls, base: Path, template: str | None) -> _Chat | None:
        """Load a base's folder. None where it lacks a file or one of them cannot be used."""
        if not base.is_dir():
            return None
        with BaseFolder(base) as opened:
            opened.template = template
            files = opened.small_with_template()
        config = _read_json(files, "tokenizer_config.json")
        source = _template_source(files, config)
        if source is None or "tokenizer.json" not in files:
            return None
        special = _special_tokens(files, config)
        try:
            tokenizer = Tokenizer.from_buffer(files["tokenizer.json"])
        except Exception:  # noqa: BLE001 - what tokenizers raises on a broken file is no narrower
            return None
        tokenizer.no_padding()
        tokenizer.no_truncation()
        known = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
        tokenizer.add_special_tokens(sorted({*special.values(), *_added_tokens(config)} - known))
        return cls(tokenizer, ChatTemplate(source, special))

    def count(self, rows: Sequence[Row], prompt: str, on_progress: OnProgress | None) -> list[int] | None:
        """Count the tokens of each row; None where the template refuses one or renders nothing."""
        counted: list[int] = []
        for begin in range(0, len(rows), _TOGETHER):
            part = rows[begin : begin + _TOGETHER]
            chats = [conversation(row, prompt) for row in part if not row.is_text]
            rendered = [each.text for each in self._template.render(chats) if each is not None]
            if len(rendered) < len(chats):
                return None
            of_chats = iter(self.tokens(rendered))
            of_texts = iter(self.tokens([row.messages[0].content for row in part if row.is_text]))
            counted += [self._around + next(of_texts) if row.is_text else next(of_chats) for row in part]
            if on_progress is not None:
                on_progress("measure rows", len(counted), len(rows), {})
        return counted if all(counted) else None

    def learned(self, rows: Sequence[Row], counted: Sequence[int]) -> float:
        places = range(0, len(rows), -(-len(rows) // _SAMPLE))
        answers = [m.content for place in places for m in rows[place].messages if m.role == "assistant"]
        tokens = sum(self.tokens(answers)) + len(answers)
        tokens += sum(counted[place] for place in places if rows[place].is_text)
        return min(1.0, tokens / sum(counted[place] for place in places))

    def tokens(self, texts: Sequence[str]) -> list[int]:
        """Count the tokens of each text by itself."""
        # What a post-processor adds, like a second <s>, is not added to a rendered conversation.
        return [len(found) for found in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)]


def _read_json(files: Mapping[str, bytes], name: str) -> dict[str, Any]:
    try:
        value = json.loads(files[name])
    except (KeyError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _template_source(files: Mapping[str, bytes], config: Mapping[str, Any]) -> str | None:
    try:
        return files[CHAT_TEMPLATE].decode()
    except (KeyError, UnicodeDecodeError):
        source = config.get("chat_template")
    if isinstance(source, list):  # named ones
        named = [entry for entry in source if isinstance(entry, dict)]
        source = next((entry.get("template") for entry in named if entry.get("name") == "default"), None)
    return source if isinstance(source, str) else None


def _special_tokens(files: Mapping[str, bytes], config: Mapping[str, Any]) -> dict[str, str]:
    """Return bos_token, eos_token and their like, which older bases keep in a file of their own."""
    older = {} if "added_tokens_decoder" in config else _read_json(files, "special_tokens_map.json")
    given = {name: _content(value) for name, value in {**config, **older}.items() if name.endswith("_token")}
    return {name: token for name, token in given.items() if token is not None}


def _added_tokens(config: Mapping[str, Any]) -> Iterator[str]:
    extra = config.get("extra_special_tokens") or config.get("additional_special_tokens") or ()
    listed = [*extra.values()] if isinstance(extra, dict) else [*extra] if isinstance(extra, list) else []
    yield from (token for token in map(_content, listed) if token)


def _content(token: Any) -> str | None:
    value = token.get("content") if isinstance(token, dict) else token
    return value if isinstance(value, str) else None


def _lengths(counted: Sequence[int], exact: bool, learned: float, texts: int | None) -> Lengths:
    ordered = sorted(counted)
    return Lengths(
        rows=len(ordered),
        total=sum(ordered),
        longest=tuple(ordered[: -KEPT - 1 : -1]),
        percentiles={share: ordered[-(-share * len(ordered) // 100) - 1] for share in PERCENTILES},
        exact=exact,
        learned=learned,
        texts=texts,
    )


def _estimated(
    sample: RowsSample, cut: Sequence[Sequence[int]], texts: Sequence[int], exact: bool, learned: float
) -> Lengths:
    """Return what the lengths of a sample say of all rows. cut: tokens of each row's pieces; texts: of running text.

    The longest rows count once, each one that was drawn for as many as it was drawn from. Tokens that were drawn go
    with the bytes of the rows: that ratio is the same in nearly all rows of a file.
    """
    drawn, (count, size) = sample.drawn, sample.of_others
    tokens = [sum(pieces) for pieces in cut]
    drawn_size = sum(sample.sizes[:drawn])
    ratio, weight = sum(tokens[:drawn]) / drawn_size, count / drawn
    total = ratio * size + sum(tokens[drawn:])
    squares = sum((n - ratio * of) ** 2 for n, of in zip(tokens[:drawn], sample.sizes[:drawn], strict=True))
    deviation = count * sqrt(squares / (drawn - 1) / drawn * (1 - drawn / count))
    weights = [weight] * drawn + [1.0] * (len(cut) - drawn)
    pieces = sorted((n, of) for own, of in zip(cut, weights, strict=True) for n in own)
    behind = list(accumulate(of for _, of in pieces))
    at = {share: bisect_left(behind, share / 100 * behind[-1]) for share in PERCENTILES}
    of_texts = sum(texts[:drawn]) * size / drawn_size + sum(texts[drawn:])
    return Lengths(
        rows=round(behind[-1]),
        total=round(total),
        longest=tuple(n for n, _ in pieces[: -KEPT - 1 : -1]),
        percentiles={share: pieces[min(place, len(pieces) - 1)][0] for share, place in at.items()},
        exact=exact,
        learned=learned,
        texts=round(of_texts) or None,
        sampled=len(sample.rows),
        error=_DEVIATIONS * deviation / total,
    )
