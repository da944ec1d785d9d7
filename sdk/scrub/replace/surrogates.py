"""Realistic values in place of personal data: the same for the same value within a scope, never the value itself."""

from __future__ import annotations

from collections.abc import Iterator

from sdk.scrub.replace import invented_numbers
from sdk.scrub.replace.place_stand_ins import PlaceStandIns
from sdk.scrub.replace.pseudonyms import Draw, Pseudonyms, canonical, normalized
from sdk.scrub.replace.stand_ins import NameStandIns

# No stand-in of these would be of use.
WITHOUT = frozenset({"TITLE", "PASSWORD", "API_KEY", "PRIVATE_KEY", "BIOMETRIC", "IMAGE_DATA"})
TRIES = 64


class Surrogates:
    """The stand-ins of one document. What is kept here is only which words its names are made of."""

    def __init__(self, pseudonyms: Pseudonyms, language: str) -> None:
        self._pseudonyms, self._language = pseudonyms, language
        self._names, self._places = NameStandIns(pseudonyms), PlaceStandIns(pseudonyms)

    def learn(self, value: str, before: str, after: str) -> None:
        """Note a person's name in its surroundings, before any of the text is replaced."""
        self._names.learn(value, before, after)

    def of(self, value: str, entity_type: str, before: str = "", after: str = "") -> str | None:
        """Return a stand-in; None where the kind has none, or nothing of the value would change."""
        if entity_type in WITHOUT:
            return None
        old = normalized(value)
        for new in self._candidates(value, old, entity_type, before, after):
            if new and normalized(new) != old and (len(old) <= 4 or old not in normalized(new)):
                return new
        return None

    def _candidates(self, value: str, old: str, entity_type: str, before: str, after: str) -> Iterator[str]:
        match entity_type:
            case "PERSON":
                yield self._names.person(value, before, after)
            case "LOCATION":
                yield self._places.location(value)
            case "STREET_ADDRESS":
                yield self._places.address(value)
            case "ORGANIZATION":
                yield self._places.organization(value)
            case "NRP":
                yield self._places.nation(value)
            case "EMAIL_ADDRESS" if "@" in value:
                yield self._names.email(value)
            case _:
                for draw, _ in zip(
                    self._pseudonyms.draws(entity_type, canonical(value, entity_type)), range(TRIES), strict=False
                ):
                    yield self._number(value, entity_type, draw)

    def _number(self, value: str, entity_type: str, draw: Draw) -> str:
        match entity_type:
            case "PHONE_NUMBER":
                return invented_numbers.phone(value, self._language, draw)
            case "IP_ADDRESS":
                return invented_numbers.ip_address(value, draw)
            case "URL":
                return invented_numbers.url(value, draw)
            case _:
                return invented_numbers.number(value, entity_type, draw)
