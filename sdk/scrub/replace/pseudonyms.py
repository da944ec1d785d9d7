"""Pseudonyms: choices that follow from a secret key, the same for the same value and scope wherever they are made."""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")
# Numbers lose every separator; values of these kinds are told apart by theirs.
WORDS = frozenset(
    "PERSON LOCATION ORGANIZATION NRP TITLE STREET_ADDRESS EMAIL_ADDRESS URL IP_ADDRESS DATE_TIME "
    "DATE_OF_BIRTH SOCIAL_ACCOUNT PASSWORD API_KEY PRIVATE_KEY IMAGE_DATA BIOMETRIC CRYPTO AGE AGE_OVER_89".split()
)
_COUNTRY = re.compile(r"\A(?:\+|00)?86(?=1[3-9][0-9]{9}\Z)|\A\+1(?=[2-9][0-9]{9}\Z)")
_APOSTROPHES = str.maketrans("’‘ʼ＇", "''''")


def normalized(value: str) -> str:
    """Return one form for every spelling: NFKC, case folded, without white space, hyphens and invisible characters."""
    if value.isascii():
        return "".join(value.casefold().split()).replace("-", "")
    folded = unicodedata.normalize("NFKC", value).casefold().translate(_APOSTROPHES)
    return "".join(c for c in folded if not c.isspace() and unicodedata.category(c) not in ("Pd", "Cf"))


def canonical(value: str, entity_type: str) -> str:
    """Return the form in which two spellings of one value of a kind are the same."""
    folded = normalized(value)
    if entity_type in WORDS:
        return folded
    bare = "".join(c for c in folded if c.isalnum() or c == "+")
    if entity_type == "PHONE_NUMBER":
        bare = _COUNTRY.sub("", bare)
    return bare.replace("+", "") or folded


class Draw:
    """A stream of choices from one seed; every choice takes eight bytes, so the bias stays below 2**-40."""

    def __init__(self, seed: bytes) -> None:
        self._seed, self._block, self._left = seed, 0, b""

    def below(self, bound: int) -> int:
        if len(self._left) < 8:
            self._left += hashlib.sha256(self._seed + self._block.to_bytes(4, "big")).digest()
            self._block += 1
        number, self._left = int.from_bytes(self._left[:8], "big"), self._left[8:]
        return number % bound

    def pick(self, choices: Sequence[T]) -> T:
        return choices[self.below(len(choices))]

    def digits(self, count: int) -> str:
        return "".join(str(self.below(10)) for _ in range(count))


class Pseudonyms:
    """Digests and draws under a key, within a scope (a row, a patient, a project).

    Parts are told apart by their lengths, so no two lists of parts give the same digest.
    """

    def __init__(self, key: bytes, *scope: str) -> None:
        self._key, self._scope = key, self._joined(scope)

    @staticmethod
    def _joined(parts: Sequence[str]) -> bytes:
        return b"".join(b"%d:%b" % (len(data), data) for data in (p.encode("utf-8", "surrogatepass") for p in parts))

    def digest(self, *parts: str) -> bytes:
        return hmac.digest(self._key, self._scope + self._joined(parts), hashlib.sha256)

    def draws(self, *parts: str) -> Iterator[Draw]:
        """Yield one stream after the other, for a choice that must not come out as some value."""
        number = 0
        while True:
            yield Draw(self.digest("draw", str(number), *parts))
            number += 1

    def draw(self, *parts: str) -> Draw:
        return next(self.draws(*parts))
