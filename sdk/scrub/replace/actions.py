"""What stands in a text in place of personal data, as the policy says for each kind."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from sdk.errors import InvalidInput
from sdk.policy import ALWAYS_DELETED, Action, ScrubRules
from sdk.scrub.replace import dates
from sdk.scrub.replace.generalize import GENERALIZED, generalized
from sdk.scrub.replace.pseudonyms import Pseudonyms, canonical
from sdk.scrub.replace.surrogates import Surrogates
from sdk.scrub.spans import Span

KEY_BYTES = 16  # the least that keeps a token from being guessed back to its value
KEY_ID_DIGITS = 8  # of the key's id in a token; tells the few keys of a firm apart
# 80 bits: among 10**8 different values two share a token with a probability of 4 in 10**9 (n**2 / 2**81)
TOKEN_DIGITS = 20
KEYED_ACTIONS: frozenset[Action] = frozenset({"token", "surrogate", "shift"})

DATES = frozenset({"DATE_TIME", "DATE_OF_BIRTH"})
MOST_DAYS = 365  # that a date moves, either way
CARDS = frozenset({"CREDIT_CARD", "CN_BANK_CARD"})
# Kinds of which a mask may show last characters: numbers of a register. All others, words among them, show none.
SHOW_LAST = frozenset(
    "IBAN_CODE US_BANK_NUMBER US_SSN US_ITIN US_EIN US_NPI US_MBI CN_RESIDENT_ID CN_CREDIT_CODE "
    "CN_MEDICAL_INSURANCE PHONE_NUMBER MEDICAL_RECORD_NUMBER HEALTH_PLAN_NUMBER CLAIM_NUMBER VIN IMEI "
    "DEVICE_SERIAL US_DRIVER_LICENSE US_PASSPORT PASSPORT CN_PASSPORT LICENSE_NUMBER CUSIP ISIN LEI".split()
)
_PLACEHOLDER = re.compile(r"<([A-Z][A-Z_]*)_([0-9]{1,9})>")
AROUND = 24  # characters beside a name in which a title is looked for


def mask(value: str, entity_type: str) -> str:
    """Replace letters and digits by `*`; of cards at most the first six and last four stay (PCI DSS 4.0.1, 3.4.1)."""
    places = [i for i, c in enumerate(value) if unicodedata.category(c)[0] in "LNM"]
    first, last = _kept(len(places), entity_type)
    hidden = set(places[first : len(places) - last])
    return "".join("*" if i in hidden else c for i, c in enumerate(value))


def _kept(length: int, entity_type: str) -> tuple[int, int]:
    if entity_type in CARDS:
        return (6, 4) if 16 <= length <= 19 else (0, 4) if 12 <= length < 16 else (0, 0)
    if entity_type not in SHOW_LAST:
        return (0, 0)
    return (0, 4) if length >= 12 else (0, 2) if length >= 8 else (0, 0)


class Actions:
    """The policy's actions with the project's key. InvalidInput lists every action that its kind cannot have."""

    def __init__(self, rules: ScrubRules, key: bytes, key_id: str) -> None:
        self.rules, self.key, self.key_id = rules, key, key_id[:KEY_ID_DIGITS]
        used = {rules.default_action, *rules.actions.values()}
        if used & KEYED_ACTIONS and (len(key) < KEY_BYTES or not key_id):
            raise InvalidInput(f"The key for tokens has {len(key)} bytes, {KEY_BYTES} and an id are needed.")
        faults = self._faults()
        if faults:
            raise InvalidInput("The policy asks for actions that their kinds cannot have; change them there.", faults)
        scope = rules.token_scope
        self.needs_patient = scope == "patient" and bool(used & {"token", "surrogate"})

    def _faults(self) -> list[str]:
        faults = []
        named = [("scrub.default_action", "", self.rules.default_action)]
        named += [(f"scrub.actions.{kind}", kind, action) for kind, action in sorted(self.rules.actions.items())]
        for name, kind, action in named:
            if action == "generalize" and kind not in GENERALIZED:
                faults.append(f"{name}: generalize is for {', '.join(sorted(GENERALIZED))}")
            if action == "shift" and kind not in DATES:
                faults.append(f"{name}: shift is for {', '.join(sorted(DATES))}")
        for kind in self.rules.reversible:
            if self.action_of(kind) != "token":  # a placeholder or a surrogate may stand for several values
                faults.append(f"scrub.reversible: {kind} must have the action token, it has {self.action_of(kind)}")
        return faults

    def action_of(self, entity_type: str) -> Action:
        if entity_type in ALWAYS_DELETED:
            return "delete"
        return self.rules.actions.get(entity_type, self.rules.default_action)

    def document(self, document_id: str, patient: str | None, language: str) -> Document:
        """Begin a row. InvalidInput where the policy's scope is the patient and the row names none."""
        if self.needs_patient and not patient:
            raise InvalidInput(
                "scrub.token_scope is patient, so every row must name its patient.",
                [f"row {document_id}: no patient"],
            )
        return Document(self, document_id, patient, language)


class Document:
    """One row's texts, in order: numbering, scope and the parts of names live here."""

    def __init__(self, actions: Actions, document_id: str, patient: str | None, language: str) -> None:
        self._actions = actions
        person = ("patient", patient) if patient else ("document", document_id)
        scopes = {"document": ("document", document_id), "patient": person, "project": ("project",)}
        self._pseudonyms = Pseudonyms(actions.key, *scopes[actions.rules.token_scope])
        self._surrogates = Surrogates(self._pseudonyms, language)
        self._numbers: dict[str, dict[str, int]] = {}
        self._taken: dict[str, set[int]] = {}
        number = Pseudonyms(actions.key, *person).draw("shift").below(2 * MOST_DAYS)
        self._days = number - MOST_DAYS + (number >= MOST_DAYS)  # of -365 to 365, never 0
        self._day_first: bool | None = None
        self._reversible: dict[str, tuple[str, str, str]] = {}

    @property
    def reversible(self) -> list[tuple[str, str, str]]:
        """Return (kind, replacement, original), personal data, of the kinds that the policy lets be reversed."""
        return list(self._reversible.values())

    def reserve(self, texts: Iterable[str]) -> None:
        """Leave out the numbers of placeholders that stand in the row already: they mean other values."""
        for text in texts:
            if "<" in text:
                for kind, number in _PLACEHOLDER.findall(text):
                    self._taken.setdefault(kind, set()).add(int(number))

    def replaced(self, text: str, spans: Sequence[Span]) -> str:
        """Return the text with each of the disjoint, ordered spans replaced."""
        self._read_ahead(text, spans)
        parts: list[str] = []
        position = 0
        for span in spans:
            parts.append(text[position : span.start])
            position = span.end
            value = text[span.start : span.end]
            if self._actions.action_of(span.entity_type) != "delete":
                before, after = text[max(0, span.start - AROUND) : span.start], text[span.end : span.end + AROUND]
                parts.append(self._instead(value, span.entity_type, before, after))
                continue
            _close_gap(parts, text[position : position + 1])
            if not any(parts) or parts[-1].endswith("\n"):
                position += text[position : position + 1] == " "
        parts.append(text[position:])
        return "".join(parts)

    def whole(self, value: str, entity_type: str) -> str:
        """Return what stands in place of a value that is of the kind from end to end."""
        return self.replaced(value, [Span(0, len(value), entity_type, 1.0)]) if value else value

    def _read_ahead(self, text: str, spans: Sequence[Span]) -> None:
        """Learn from the whole text what single values do not tell: who is who, and how the writer orders dates."""
        for span in spans:
            action, value = self._actions.action_of(span.entity_type), text[span.start : span.end]
            if action == "surrogate" and span.entity_type == "PERSON":
                before, after = text[max(0, span.start - AROUND) : span.start], text[span.end : span.end + AROUND]
                self._surrogates.learn(value, before, after)
            if action in ("shift", "surrogate") and span.entity_type in DATES and self._day_first is None:
                self._day_first = dates.day_first(value)

    def _instead(self, value: str, kind: str, before: str, after: str) -> str:
        new: str | None
        match self._actions.action_of(kind):
            case "keep":
                return value
            case "mask":
                return mask(value, kind)
            case "token":
                return self._token(value, kind)
            case "generalize":
                new = generalized(value, kind)
            case "shift":
                new = self._shifted(value)
            case "surrogate":
                new = self._shifted(value) if kind in DATES else self._surrogates.of(value, kind, before, after)
            case _:
                new = None
        return self._placeholder(value, kind) if new is None else new

    def _placeholder(self, value: str, kind: str) -> str:
        numbers = self._numbers.setdefault(kind, {})
        known = canonical(value, kind)
        if known not in numbers:
            taken = self._taken.get(kind, ())
            number = max(numbers.values(), default=0) + 1
            while number in taken:
                number += 1
            numbers[known] = number
        return f"<{kind}_{numbers[known]}>"

    def _token(self, value: str, kind: str) -> str:
        digest = self._pseudonyms.digest("token", kind, canonical(value, kind)).hex()
        token = f"<{kind}_k{self._actions.key_id}_{digest[:TOKEN_DIGITS]}>"
        if kind in self._actions.rules.reversible:
            self._reversible.setdefault(token, (kind, token, value))
        return token

    def _shifted(self, value: str) -> str | None:
        return dates.shifted(value, self._days, bool(self._day_first))


def _close_gap(parts: list[str], following: str) -> None:
    """Drop the space in front of a deleted value where none is needed any more."""
    if parts[-1].endswith(" ") and (not following or not following.isalnum()):
        parts[-1] = parts[-1][:-1]
