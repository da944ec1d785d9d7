"""Residual risk by sampling: how many of the scrubbed rows still hold personal data, as a person sees it.

The sample has two parts. The first is uniform over all rows, and the bound follows from it alone: the exact upper limit
of Clopper and Pearson, one-sided at 95 %, of the share of rows with a miss. Drawing without replacement makes it, if
anything, too high. It needs no weights and no assumption on how the strata differ, which a stratified estimate would.
The second part takes further rows from each stratum (language, something found or not), most where nothing was found:
it only finds misses. A sample of fewer rows is the beginning of one of more, so a review can be extended; but who looks
again and again until the bound is met claims more than 95 % stand for, therefore `earlier` counts the reviews before.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sdk.crypto import Secret
from sdk.data import Held, Message, Planted, Row
from sdk.errors import InvalidInput, Remedy
from sdk.files.regular_files import TABLE_BYTES, read_regular
from sdk.files.store import read_ref, recorded_lines, write_atomic
from sdk.intervals import rows_needed, upper_bound
from sdk.records import Review, Scrubbed, Stratum, canonical_json, sha256

MISSES = "misses.enc"
MISSED = "MISSED"  # kind of a mark whose kind was not said
CLAIM = 0.01  # bound that is asked for where neither policy nor user says one
EXTRA = 0.1  # further rows, as a share of the uniform ones
EXTRA_BARE = 0.75  # share of these from rows in which nothing was found
_CONTEXT = b"review misses 1"
BARE, FOUND = "nothing found", "something found"
_INVISIBLE = "[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]*"
_KIND = re.compile(r"([A-Z][A-Z0-9_]+):\s*(\S.*)", re.DOTALL)

Place = tuple[str, int]  # split, index of the row in its file


@dataclass(frozen=True)
class ReviewRow:
    """What a reviewer is shown; texts as they were scrubbed."""

    id: str
    split: str
    language: str
    stratum: str
    # (role or what it is, text): the messages, then what else the row holds
    texts: tuple[tuple[str, str], ...] = field(repr=False)
    number: int  # of this row among all that are to be judged, from 1
    of: int

    def locate(self, mark: str) -> list[Planted]:
        """Find where a missed text stands; InvalidInput, which does not quote it, if nowhere.

        "KIND: text" says its kind. White space and invisible characters may differ.
        """
        text = mark.strip()
        found = self._located(text, MISSED)
        if not found and (told := _KIND.fullmatch(text)):
            found = self._located(told[2], told[1])
        if not found:
            raise InvalidInput("This text does not stand in the row; copy it as it is shown.")
        return found

    def _located(self, text: str, kind: str) -> list[Planted]:
        if not text:
            return []
        pieces = [re.escape(piece) for piece in re.findall(r"\S", text)]
        gaps = [r"\s+" if gap else "" for gap in _gaps(text)]
        pattern = pieces[0] + "".join(f"{_INVISIBLE}{gap}{piece}" for gap, piece in zip(gaps, pieces[1:], strict=True))
        return [
            Planted(message=place, start=found.start(), end=found.end(), entity_type=kind)
            for place, (_, content) in enumerate(self.texts)
            for found in re.finditer(pattern, content)
        ]


def _gaps(text: str) -> list[bool]:
    """Return for each two neighbours that are no white space whether some stands between them."""
    places = [place for place, character in enumerate(text) if not character.isspace()]
    return [after - before > 1 for before, after in itertools.pairwise(places)]


# What is missed in the row: the text itself, "KIND: text", or where it stands; none: nothing; None: go on another time.
# Planted.message counts in `texts`.
Judge = Callable[[ReviewRow], Sequence[str | Planted] | None]
Marks = dict[Place, tuple[Planted, ...]]


@dataclass(frozen=True)
class Sample:
    uniform: tuple[Place, ...]
    extra: tuple[Place, ...]
    strata: Mapping[Place, str]  # of the drawn rows
    sizes: Mapping[str, int]  # stratum -> rows in all

    @property
    def population(self) -> int:
        return sum(self.sizes.values())


def sample_size(rows: int | None, bound: float | None, max_miss_rate: float | None) -> int:
    """Return the rows of the uniform part: as asked, else those that the claim needs when nothing is missed."""
    if rows is not None and bound is not None:
        raise InvalidInput("Give the number of rows or the bound to show, not both.")
    if rows is not None and rows < 1:
        raise InvalidInput("A review needs at least one row.")
    if bound is not None and not 0 < bound < 1:
        raise InvalidInput("A bound is a share of the rows, above 0 and below 1, for example 0.01.")
    return rows if rows is not None else rows_needed(bound or max_miss_rate or CLAIM)


def draw(folder: Path, scrubbed: Scrubbed, rows: int) -> Sample:
    """Draw `rows` uniform rows and the further ones, in an order that follows from the record.

    The files are streamed. Of each stratum the rows of the lowest ranks are kept; a rank is a hash of the place.
    """
    found = {json.loads(line)["row"] for _, line in recorded_lines(folder, scrubbed.ledger)}
    extra = max(1, round(rows * EXTRA))
    lowest: dict[str, list[tuple[bytes, Place]]] = defaultdict(list)
    sizes: Counter[str] = Counter()
    strata: dict[Place, str] = {}
    seed = scrubbed.digest

    def ranked(part: str, places: Iterator[Place]) -> Iterator[tuple[bytes, Place]]:
        for place in places:
            sizes[part] += 1
            yield _rank(seed, place), place

    for split, ref in sorted(scrubbed.data.items()):
        lines = recorded_lines(folder, ref)
        while chunk := list(itertools.islice(lines, 4096)):
            by_part: dict[str, list[Place]] = defaultdict(list)
            for index, line in chunk:
                if index >= scrubbed.rows[split]:  # canaries stand behind the rows; they are read for the digest
                    continue
                row = json.loads(line)
                part = f"{row['language']}, {FOUND if row['id'] in found else BARE}"
                by_part[part].append((split, index))
            for part, places in by_part.items():
                kept = itertools.chain(lowest[part], ranked(part, iter(places)))
                lowest[part] = heapq.nsmallest(rows + extra, kept)
    for part, drawn in lowest.items():
        strata |= {place: part for _, place in drawn}
    uniform = [place for _, place in heapq.nsmallest(rows, itertools.chain(*lowest.values()))]
    further = _further(lowest, set(uniform), extra)
    used = {*uniform, *further}
    return Sample(tuple(uniform), tuple(further), {place: strata[place] for place in used}, dict(sorted(sizes.items())))


def _rank(seed: str, place: Place) -> bytes:
    return hashlib.sha256(f"{seed}/{place[0]}/{place[1]}".encode()).digest()


def _further(lowest: Mapping[str, Sequence[tuple[bytes, Place]]], used: Collection[Place], extra: int) -> list[Place]:
    """Choose further rows evenly over the languages; more from rows in which nothing was found."""
    left = {part: [place for _, place in drawn if place not in used] for part, drawn in sorted(lowest.items())}
    chosen = []
    for state, share in ((BARE, EXTRA_BARE), (FOUND, 1 - EXTRA_BARE)):
        parts = [part for part in left if part.endswith(f", {state}")]
        for part in parts:
            chosen += left[part][: max(1, round(extra * share / len(parts)))]
    return chosen


def read_drawn(folder: Path, scrubbed: Scrubbed, places: Collection[Place]) -> dict[Place, Row]:
    wanted = set(places)
    return {
        (split, index): Row.model_validate_json(line)
        for split, ref in scrubbed.data.items()
        for index, line in recorded_lines(folder, ref)
        if (split, index) in wanted
    }


def texts(row: Row) -> tuple[tuple[str, str], ...]:
    """Return every text of a row that is trained on or kept: messages first, so that their indices stay."""
    further = [("name", message.name) for message in row.messages if message.name]
    further += [
        ("tool call", canonical_json(call.function.model_dump()).decode())
        for message in row.messages
        for call in message.tool_calls or ()
    ]
    if row.metadata:
        further.append(("metadata", canonical_json(row.metadata).decode()))
    return (*((message.role, message.content) for message in row.messages), *further)


# -- judging ---------------------------------------------------------------------------------------------------------


def _planted(row: ReviewRow, marks: Sequence[str | Planted]) -> tuple[Planted, ...]:
    spans: list[Planted] = []
    for mark in marks:
        if isinstance(mark, str):
            spans += row.locate(mark)
            continue
        if mark.message >= len(row.texts) or not mark.start < mark.end <= len(row.texts[mark.message][1]):
            raise InvalidInput("A mark lies outside of its text; give offsets in characters.")
        spans.append(mark)
    return tuple(sorted(set(spans), key=lambda span: (span.message, span.start, span.end)))


class ReviewProgress:
    """What one reviewer has marked in one scrubbing so far; the sealed file is written anew after each row."""

    def __init__(self, folder: Path, scrubbed: str, reviewer: str, secret: Secret) -> None:
        self.path = folder / f"{scrubbed[:16]}-{sha256(reviewer.encode())[:8]}.enc"
        self._context = f"review progress 1 {scrubbed} {reviewer}".encode()
        self._secret = secret
        self.marks: Marks = self._read() if os.path.lexists(self.path) else {}

    def _read(self) -> Marks:
        data = read_regular(self.path, TABLE_BYTES, Remedy.PROJECT)
        stored = json.loads(self._secret.unseal(data, self._context, str(self.path)))
        return {(split, index): tuple(Planted.model_validate(span) for span in spans) for split, index, spans in stored}

    def mark(self, place: Place, spans: tuple[Planted, ...]) -> None:
        self.marks[place] = spans
        stored = [[*at, [span.model_dump() for span in found]] for at, found in self.marks.items()]
        write_atomic(self.path, self._secret.seal(canonical_json(stored), self._context))


def judge_rows(sample: Sample, rows: Mapping[Place, Row], judge: Judge, progress: ReviewProgress) -> bool:
    """Ask the judge about every drawn row that has no judgement yet. False where the judge goes on another time."""
    places = (*sample.uniform, *sample.extra)
    for number, place in enumerate(places, 1):
        if place in progress.marks:
            continue
        row = rows[place]
        shown = ReviewRow(row.id, place[0], row.language, sample.strata[place], texts(row), number, len(places))
        marks = judge(shown)
        if marks is None:
            return False
        progress.mark(place, _planted(shown, marks))
    return True


# -- what follows from the marks -------------------------------------------------------------------------------------


def conclude(
    sample: Sample, rows: Mapping[Place, Row], marks: Marks, reviewer: str, earlier: int, secret: Secret, out: Path
) -> Review:
    """Make the record. Rows with misses are written to `out`, sealed, as rows with planted spans."""
    judged = (*sample.uniform, *sample.extra)
    missed = {place for place in judged if marks[place]}
    misses = len(missed.intersection(sample.uniform))
    whole = len(sample.uniform) == sample.population
    if missed:
        kept = [_test_row(rows[place], marks[place]) for place in judged if place in missed]
        write_atomic(out / MISSES, secret.seal(canonical_json([row.model_dump(mode="json") for row in kept]), _CONTEXT))
    return Review(
        population=sample.population,
        n=len(sample.uniform),
        misses=misses,
        bound=misses / sample.population if whole else upper_bound(misses, len(sample.uniform)),
        extra=len(sample.extra),
        extra_misses=len(missed.intersection(sample.extra)),
        marks=sum(len(marks[place]) for place in judged),
        strata={
            part: Stratum(
                rows=size,
                reviewed=sum(sample.strata[place] == part for place in judged),
                missed=sum(sample.strata[place] == part for place in missed),
            )
            for part, size in sample.sizes.items()
        },
        reviewer=reviewer,
        earlier=earlier,
    )


def _test_row(row: Row, marks: tuple[Planted, ...]) -> Row:
    """Make the row that the next scrubbing measures itself on: all texts as messages, the marks as planted spans."""
    roles = [message.role for message in row.messages]
    messages = [
        Message(role=roles[place] if place < len(roles) else "user", content=text)
        for place, (_, text) in enumerate(texts(row))
    ]
    return Row(id=row.id, language=row.language, messages=tuple(messages), spans=marks)


def read_misses(folder: Path, review: Review, secret: Secret) -> Held | None:
    """Read the rows with planted spans that a review left, into memory alone; None where nothing was missed."""
    for ref in review.files:
        if ref.path != MISSES:
            continue
        path, data = folder / ref.path, read_ref(folder, ref, TABLE_BYTES)
        rows = tuple(Row.model_validate(row) for row in json.loads(secret.unseal(data, _CONTEXT, str(path))))
        return Held(
            path=path,
            container="jsonl",
            layout="messages",
            count=len(rows),
            sha256=ref.sha256,
            languages=dict(Counter(row.language for row in rows)),
            labelled=False,  # what else is found in them says nothing of precision: they hold placeholders
            duplicates=0,
            held=rows,
        )
    return None
