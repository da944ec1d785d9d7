"""The function that scrubs: a batch of rows in, their scrubbed lines out. It is the same in every process.

A row's texts are its leaves (fields.py). The leaves of a batch are scanned together, since the name tagger is fastest
so; then each row is rebuilt with every span replaced as the policy says, and counted.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any

from sdk.crypto import Secret
from sdk.data import Planted, Row, RowSource, row_line
from sdk.domain.keep_list import NOTHING_KEPT, KeepList
from sdk.errors import InvalidInput
from sdk.files.regular_files import FileBytes
from sdk.policy import ALWAYS_DELETED, ScrubRules
from sdk.records import canonical_json
from sdk.scrub.fields import BY_COLUMN, KEEP, TEXT, FieldRules, Leaf, Treatment, id_leaf, rebuild
from sdk.scrub.find.detector import MOST, Detector
from sdk.scrub.find.row_names import settled
from sdk.scrub.find.tagger.ordinary import is_titled
from sdk.scrub.replace.actions import Actions, Document
from sdk.scrub.spans import NAME_KINDS, Span
from sdk.scrub.tally import Tally
from sdk.scrub.utility import ScrubbedMessage
from sdk.scrub.windows import find_in_long

ROWS = 256  # in a batch at most
CHARACTERS = 200_000  # in a batch, from which it is full
REMEMBERED = 50_000  # texts whose spans are kept for when they come again; some 15 MB
_CONTEXT = b"scrub batch 1"
_ID = Leaf("", Treatment(), None, "id", "")

Found = Sequence[Span] | Exception


@dataclass(frozen=True)
class ScrubSetup:
    """What every process needs to do the same. It holds keys, so it travels through pipes and is never printed."""

    recognizers: FileBytes = field(repr=False)
    rules: ScrubRules
    detect: bool
    token_key: bytes = field(repr=False)
    key_id: str
    table_key: bytes | None = field(repr=False)
    columns: Mapping[str, str]  # fields that were found to hold names, and their kind
    prefilter: bool = True
    keep: KeepList = field(default=NOTHING_KEPT, repr=False)


@dataclass(frozen=True)
class Batch:
    split: str
    write: bool  # no: these rows count for the recall alone
    labelled: bool  # the file has planted spans
    rows: tuple[Row, ...]
    place: tuple[RowSource, int] | None = None  # the file and the first row in it; None: they are in no file

    def __reduce__(self) -> tuple[Any, ...]:
        """Go to other processes as JSON, which takes a third of the time that pickling so many small objects does."""
        rows = [row.model_dump_json() for row in self.rows]
        return _unpacked, (self.split, self.write, self.labelled, rows, self.place)


def _unpacked(
    split: str, write: bool, labelled: bool, rows: Sequence[str], place: tuple[RowSource, int] | None
) -> Batch:
    return Batch(split, write, labelled, tuple(map(Row.model_validate_json, rows)), place)


@dataclass(frozen=True)
class ScrubbedBatch:
    """What became of a batch."""

    split: str
    rows: int
    lines: bytes
    ledger: bytes
    sealed_tokens: bytes
    tally: Tally


def batches(
    rows: Iterable[Row], split: str, write: bool, labelled: bool, place: tuple[RowSource, int] | None = None
) -> Iterator[Batch]:
    """Cut rows into batches, in order and by their own sizes alone, so that the batches are the same each time."""
    for taken in _cut(rows):
        yield Batch(split, write, labelled, tuple(taken), place)
        place = None if place is None else (place[0], place[1] + len(taken))


def _cut(rows: Iterable[Row]) -> Iterator[list[Row]]:
    taken: list[Row] = []
    size = 0
    for row in rows:
        taken.append(row)
        size += sum(len(message.content) for message in row.messages)
        if len(taken) == ROWS or size >= CHARACTERS:
            yield taken
            taken, size = [], 0
    if taken:
        yield taken


def make_detector(setup: ScrubSetup) -> Detector:
    rules = setup.rules
    return Detector(
        setup.recognizers,
        rules.score_threshold,
        recognizer=rules.recognizer,
        row_seconds=rules.row_seconds,
        prefilter=setup.prefilter,
    )


class Scrubber:
    """Made once in a process, then called for each batch."""

    def __init__(self, setup: ScrubSetup, detector: Detector | None = None) -> None:
        self._rules = setup.rules
        self._memory = _Memory()
        self._keep = setup.keep
        self._table_key = None if setup.table_key is None else Secret(setup.table_key)
        if setup.detect:
            self._detector = detector or make_detector(setup)
            self._actions = Actions(setup.rules, setup.token_key, setup.key_id)
            kinds = {*self._detector.kinds, *setup.rules.actions}
            self._fields = FieldRules(setup.rules.fields, kinds, setup.columns, setup.rules.quasi_identifiers)
        self._detect = setup.detect

    def __call__(self, batch: Batch) -> ScrubbedBatch:
        if not self._detect:
            return _copy(batch, self._rules)
        tally = Tally()
        lines: list[bytes] = []
        ledger: list[bytes] = []
        secrets: set[tuple[str, str, str]] = set()
        for (row, in_id), leaves, found in zip(self._with_safe_ids(batch), *self._scan(batch.rows), strict=True):
            tally.size += sum(len(leaf.text.encode()) for leaf in leaves)
            error = next((each for each in found if isinstance(each, Exception)), None)
            if error is not None:
                tally.failed.append((batch.split, row.id, type(error).__name__))
                if not batch.write:
                    tally.count_planted(batch.split, (span.entity_type for span in row.spans))
                continue
            spans = [each for each in found if not isinstance(each, Exception)]
            tally.found += sum(map(len, spans))
            _count_planted(tally, row, _of_contents(leaves, self._to_remove(spans)), batch)
            if not batch.write:
                continue
            try:
                document = self._actions.document(row.id, row.patient, row.language)
            except InvalidInput as refusal:
                tally.without_patient += refusal.faults
                continue
            document.reserve(leaf.text for leaf in leaves)
            for span in in_id:
                ledger.append(_finding_line(row.id, _ID, span, "placeholder"))
                tally.statistics.count_finding(span.entity_type, "placeholder", span.recognizer, "")
            tally.found += len(in_id)
            lines.append(self._write(row, document, spans, len(in_id), tally, ledger))
            tally.rows[batch.split] += 1
            if self._rules.reversible:
                secrets |= set(document.reversible)
        return ScrubbedBatch(
            batch.split, len(batch.rows), b"".join(lines), b"".join(ledger), self._sealed(secrets), tally
        )

    def _with_safe_ids(self, batch: Batch) -> list[tuple[Row, list[Span]]]:
        """Return the rows and the finds in their ids; an id with personal data becomes the row's number in its file."""
        if batch.place is None:
            return [(row, []) for row in batch.rows]
        numbered = list(enumerate(batch.rows, batch.place[1] + 1))
        leaves = {number: leaf for number, row in numbered if (leaf := id_leaf(row, number, self._fields))}
        asked = [(leaf.text, row.language) for number, row in numbered if (leaf := leaves.get(number))]
        found = dict(zip(leaves, self._detector.find_many(asked), strict=True)) if asked else {}
        named = []
        for number, row in numbered:
            spans = found.get(number, [])
            if number in leaves and leaves[number].treatment.kind != TEXT:
                spans = _whole(leaves[number])
            failed = isinstance(spans, Exception)
            kept = [] if isinstance(spans, Exception) else self._to_remove([spans])[0]
            named.append((row.model_copy(update={"id": f"<ID_{number}>"}) if failed or kept else row, kept))
        return named

    def _scan(self, rows: Sequence[Row]) -> tuple[list[list[Leaf]], list[list[Found]]]:
        """Return the texts of every row and what was found in each. A text that comes again is not scanned again."""
        leaves = [self._leaves(row) for row in rows]
        wanted: dict[bytes, tuple[str, str]] = {}
        keys: list[list[bytes | None]] = []
        for row, texts in zip(rows, leaves, strict=True):
            keys.append([self._key(leaf, row.language) for leaf in texts])
            for leaf, key in zip(texts, keys[-1], strict=True):
                if key is not None and key not in self._memory:
                    wanted[key] = (leaf.prefix + leaf.text, row.language)
        spans = find_in_long(self._detector.find_many, [*wanted.values()]) if wanted else []
        fresh = dict(zip(wanted, spans, strict=True))
        found = [
            [
                _whole(leaf) if key is None else _within(leaf, fresh[key] if key in fresh else self._memory.spans(key))
                for leaf, key in zip(texts, own, strict=True)
            ]
            for texts, own in zip(leaves, keys, strict=True)
        ]
        self._memory.keep(fresh)
        return leaves, [self._in_row(texts, own) for texts, own in zip(leaves, found, strict=True)]

    def _in_row(self, leaves: Sequence[Leaf], found: Sequence[Found]) -> list[Found]:
        """Return the finds of one row by what its texts say of each other, less what the domain's own list keeps."""
        texts = [leaf.text for leaf in leaves]
        whole = {place for place, leaf in enumerate(leaves) if leaf.treatment.kind != TEXT}
        rows = settled(texts, found, whole, self._rules.score_threshold)
        if not self._keep:
            return rows
        return [
            each if isinstance(each, Exception) or place in whole else [s for s in each if not self._is_kept(text, s)]
            for place, (text, each) in enumerate(zip(texts, rows, strict=True))
        ]

    def _is_kept(self, text: str, span: Span) -> bool:
        """Tell whether the domain keeps a value of which neither a check digit nor a title says that it is personal."""
        if span.entity_type in ALWAYS_DELETED or not self._keep.holds(text[span.start : span.end]):
            return False
        return not is_titled(text, span) if span.entity_type in NAME_KINDS else span.score < MOST

    def _to_remove(self, found: Sequence[Sequence[Span]]) -> list[list[Span]]:
        """Return the spans without those that the policy keeps in the text."""
        return [[span for span in spans if self._actions.action_of(span.entity_type) != "keep"] for spans in found]

    def _leaves(self, row: Row) -> list[Leaf]:
        leaves: list[Leaf] = []

        def visit(leaf: Leaf) -> str:
            leaves.append(leaf)
            return leaf.text

        rebuild(row, self._fields, visit)
        return leaves

    @staticmethod
    def _key(leaf: Leaf, language: str) -> bytes | None:
        """Return the digest under which a text is remembered; None where the whole of it has a kind already."""
        if leaf.treatment.kind != TEXT:
            return None
        return blake2b(f"{language}\0{leaf.prefix}{leaf.text}".encode(), digest_size=16).digest()

    def _write(
        self,
        row: Row,
        document: Document,
        found: Sequence[Sequence[Span]],
        count: int,
        tally: Tally,
        ledger: list[bytes],
    ) -> bytes:
        """Return the row's line, with every span replaced, counted and noted in the ledger.

        count: what was found in the row beside its texts.
        """
        spans_of, changed = iter(found), count > 0
        kinds: set[str] = set()
        messages: list[ScrubbedMessage] = []

        def visit(leaf: Leaf) -> str:
            nonlocal count, changed
            spans = next(spans_of)
            text = document.replaced(leaf.text, spans) if spans else leaf.text
            count += len(spans)
            changed |= text != leaf.text  # a row whose findings the policy keeps is as it was
            for span in spans:
                ledger.append(_finding_line(row.id, leaf, span, self._actions.action_of(span.entity_type)))
            self._count(tally, leaf, text, spans)
            if text != leaf.text:
                kinds.update(s.entity_type for s in spans if self._actions.action_of(s.entity_type) != "keep")
            if leaf.field == "content" and leaf.message is not None:
                messages.append(ScrubbedMessage(row.messages[leaf.message].role, leaf.text, text))
            if leaf.field == "content" and leaf.text.strip() and not text.strip():
                tally.emptied.append(f"row {row.id}, message {(leaf.message or 0) + 1}")
            return text

        scrubbed = rebuild(row, self._fields, visit)
        tally.changed += changed
        tally.statistics.count_cost(kinds, messages)
        metadata = scrubbed.metadata or {}
        tally.statistics.count_row(row.language, count, metadata, self._rules.quasi_identifiers)
        return row_line(scrubbed)

    def _count(self, tally: Tally, leaf: Leaf, text: str, spans: Sequence[Span]) -> None:
        actions = {span.entity_type: self._actions.action_of(span.entity_type) for span in spans}
        if leaf.field == "content":
            tally.statistics.count_message(leaf.text, text, spans, actions)
            return
        for span in spans:
            kind = span.entity_type
            tally.statistics.count_finding(kind, actions[kind], span.recognizer, leaf.text[span.start : span.end])

    def _sealed(self, secrets: set[tuple[str, str, str]]) -> bytes:
        return sealed(secrets, self._table_key) if secrets and self._table_key else b""


def sealed(entries: set[tuple[str, str, str]], secret: Secret) -> bytes:
    """Return the entries (kind, token, original) as a line that only the secret opens."""
    return secret.seal(canonical_json(sorted(entries)), _CONTEXT).hex().encode() + b"\n"


def unsealed(lines: Iterable[bytes], secret: Secret, name: str) -> Iterator[tuple[str, str, str]]:
    for line in lines:
        yield from map(tuple, json.loads(secret.unseal(bytes.fromhex(line.decode("ascii")), _CONTEXT, name)))


class _Memory:
    """Spans by the digest of their text, of those that were seen last."""

    def __init__(self) -> None:
        self._spans: OrderedDict[bytes, list[Span] | Exception] = OrderedDict()

    def __contains__(self, key: bytes) -> bool:
        return key in self._spans

    def spans(self, key: bytes) -> list[Span] | Exception:
        self._spans.move_to_end(key)
        return self._spans[key]

    def keep(self, fresh: Mapping[bytes, list[Span] | Exception]) -> None:
        self._spans.update(fresh)
        while len(self._spans) > REMEMBERED:
            self._spans.popitem(last=False)


def _whole(leaf: Leaf) -> list[Span]:
    if leaf.treatment.kind == KEEP or not leaf.text:
        return []
    return [Span(0, len(leaf.text), leaf.treatment.kind, 1.0, leaf.treatment.reason or BY_COLUMN)]


def _within(leaf: Leaf, found: list[Span] | Exception) -> Found:
    """Return the spans of the text itself, without the field's name that was scanned before it."""
    if isinstance(found, Exception) or not leaf.prefix:
        return found
    shift = len(leaf.prefix)
    return [replace(span, start=max(0, span.start - shift), end=span.end - shift) for span in found if span.end > shift]


def _of_contents(leaves: Sequence[Leaf], found: Sequence[Sequence[Span]]) -> dict[int, Sequence[Span]]:
    return {
        leaf.message: spans
        for leaf, spans in zip(leaves, found, strict=True)
        if leaf.field == "content" and leaf.message is not None
    }


def _count_planted(tally: Tally, row: Row, found: Mapping[int, Sequence[Span]], batch: Batch) -> None:
    tally.count_planted(batch.split, (planted.entity_type for planted in row.spans))
    for planted in row.spans:
        tally.removed[planted.entity_type] += _is_covered(row, planted, found.get(planted.message, ()))
    if batch.labelled:
        tally.unplanted += sum(
            not any(p.message == i and p.start < span.end and span.start < p.end for p in row.spans)
            for i, spans in found.items()
            for span in spans
        )


def _is_covered(row: Row, planted: Planted, spans: Sequence[Span]) -> bool:
    """Tell whether every character of the planted value, apart from white space, lies in some span."""
    text = row.messages[planted.message].content
    inside = {i for span in spans for i in range(max(span.start, planted.start), min(span.end, planted.end))}
    return all(i in inside or text[i].isspace() for i in range(planted.start, planted.end))


def _finding_line(row_id: str, leaf: Leaf, span: Span, action: str) -> bytes:
    """Return a finding as a line of the ledger."""
    finding = {
        "row": row_id,
        "message": leaf.message,
        "field": leaf.field,
        "start": span.start,
        "end": span.end,
        "entity_type": span.entity_type,
        "action": action,
        "recognizer": span.recognizer,
    }
    return canonical_json(finding) + b"\n"


def _copy(batch: Batch, rules: ScrubRules) -> ScrubbedBatch:
    tally = Tally()
    for row in batch.rows:
        tally.count_planted(batch.split, (span.entity_type for span in row.spans))
    if not batch.write:
        return ScrubbedBatch(batch.split, len(batch.rows), b"", b"", b"", tally)
    tally.rows[batch.split] += len(batch.rows)
    for row in batch.rows:
        tally.statistics.count_row(row.language, 0, row.metadata or {}, rules.quasi_identifiers)
    return ScrubbedBatch(batch.split, len(batch.rows), b"".join(map(row_line, batch.rows)), b"", b"", tally)
