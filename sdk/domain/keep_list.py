"""A domain's own list of what scrubbing keeps: words of its field that look like names, by themselves or by a pattern.

The list is part of domain.yaml, so the owner signs it, and its change is an event. It does not keep a value of which a
check digit or a title says that it is personal.
"""

from __future__ import annotations

from functools import cached_property

import regex
from pydantic import Field, field_validator

from sdk.records import Frozen, canonical_json, sha256
from sdk.wording import counted

MOST, LONGEST = 5_000, 200  # entries of a list, characters of one
SECONDS = 0.05  # that a pattern may take for one value; one that takes longer keeps nothing
PROBES = ("Jane Roe", "王小明", "x", "7")  # a pattern that takes any of these would keep everything


class KeepList(Frozen):
    """Terms and patterns; each stands for a whole value."""

    terms: tuple[str, ...] = Field(default=(), max_length=MOST, description="values as they are written in the rows")
    patterns: tuple[str, ...] = Field(default=(), max_length=MOST, description="regular expressions of whole values")

    @field_validator("terms")
    @classmethod
    def _say_something(cls, terms: tuple[str, ...]) -> tuple[str, ...]:
        if any(not term.strip() or len(term) > LONGEST for term in terms):
            raise ValueError(f"must be words of 1 to {LONGEST} characters")
        return terms

    @field_validator("patterns")
    @classmethod
    def _take_some_values(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            if len(pattern) > LONGEST:
                raise ValueError(f"must have at most {LONGEST} characters each")
            try:
                compiled = regex.compile(pattern)
                wide = any(compiled.fullmatch(probe, timeout=SECONDS) for probe in PROBES)
            except (regex.error, TimeoutError) as error:
                raise ValueError(f"{pattern!r} is no regular expression that can be used: {error}") from None
            if wide:
                raise ValueError(f"{pattern!r} would keep nearly everything; write what its values begin or end with")
        return patterns

    def __bool__(self) -> bool:
        return bool(self.terms or self.patterns)

    @cached_property
    def _known(self) -> tuple[frozenset[str], tuple[regex.Pattern[str], ...]]:
        return frozenset(self.terms), tuple(regex.compile(pattern) for pattern in self.patterns)

    def holds(self, value: str) -> bool:
        """Tell whether a term or a pattern stands for the whole value."""
        terms, patterns = self._known
        if value in terms:
            return True
        try:
            return any(pattern.fullmatch(value, timeout=SECONDS) for pattern in patterns)
        except TimeoutError:
            return False

    def brief(self) -> str:
        """Describe the list without its entries."""
        digest = sha256(canonical_json(self.model_dump(mode="json")))
        return f"{counted(len(self.terms), 'term')} and {counted(len(self.patterns), 'pattern')}, SHA-256 {digest}"


NOTHING_KEPT = KeepList()
