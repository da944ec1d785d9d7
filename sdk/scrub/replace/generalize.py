"""Values made coarser: what remains is true of many people."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path

from sdk.policy import read_yaml
from sdk.scrub.replace import dates

# ZIP code areas of 20,000 people or fewer by the 2000 census, as HHS' guidance on 45 CFR 164.514(b) lists them.
SMALL_ZIP_AREAS = frozenset("036 059 063 102 203 556 692 790 821 823 830 831 878 879 884 890 893".split())
_PLACES: dict[str, str] = read_yaml(Path(__file__).with_name("large_places.yaml"))
OLDEST_AGE = 89  # in years; 45 CFR 164.514(b)(2)(i)(C)


def _bare(place: str) -> str:
    """Return a place's name without what does not tell it from others."""
    plain = " ".join(unicodedata.normalize("NFKC", place).casefold().replace("’", "'").replace(".", "").split())
    return plain.removeprefix("the ").removesuffix("'s")


_LARGE = frozenset(_bare(place) for places in _PLACES.values() for place in places.split(";"))
# Before a country or what is larger; a part of a state is smaller than one.
_PART = re.compile(
    r"(?:rural|urban|(?:north|south|east|west|central)(?:ern|east|west|eastern|western)?) |(?:kingdom|republic) of "
)
_COUNTRIES = frozenset(_bare(place) for name in ("countries", "larger") for place in _PLACES[name].split(";"))
_AND = re.compile(r"(?:,|;|/| (?:and|or) |和|、)+")


def _place(value: str) -> str | None:
    """Return a place, or several, where none is smaller than a state, as Safe Harbor lets them stay."""
    places = (value,) if _bare(value) in _LARGE else _AND.split(value)
    return value if all(map(_is_large, map(_bare, places))) else None


def _is_large(place: str) -> bool:
    part = _PART.match(place)
    return place in _LARGE or (part is not None and _bare(place[part.end() :]) in _COUNTRIES)


def _date(value: str) -> str | None:
    return dates.year_only(value, birth=False)


def _birth(value: str) -> str | None:
    return dates.year_only(value, birth=True)


def _zip(value: str) -> str | None:
    """Return three digits of a ZIP code, or the two of a Chinese postal code that stand for the province."""
    digits = unicodedata.normalize("NFKC", value).strip()
    if re.fullmatch(r"[0-9]{6}", digits):
        return f"{digits[:2]}****"
    if not re.fullmatch(r"[0-9]{5}(?:[\s\-]*[0-9]{4})?", digits):
        return None
    return f"{'000' if digits[:3] in SMALL_ZIP_AREAS else digits[:3]}**"


def _age(value: str) -> str | None:
    """Return an age. Ages of 90 and more are one; younger ones stay, as Safe Harbor lets them."""
    numbers = re.findall(r"[0-9]+", unicodedata.normalize("NFKC", value))
    if len(numbers) != 1:
        return None
    if int(numbers[0]) <= OLDEST_AGE:
        return value
    return re.sub(r"[0-9０-９]+", "90+", value)


def _ip(value: str) -> str | None:
    """Return the network: /24 of IPv4, /48 of IPv6."""
    try:
        address = ipaddress.ip_address(unicodedata.normalize("NFKC", value).strip().partition("/")[0])
    except ValueError:
        return None
    return str(ipaddress.ip_network((address, 24 if address.version == 4 else 48), strict=False))


GENERALIZED: dict[str, Callable[[str], str | None]] = {
    "DATE_TIME": _date,
    "DATE_OF_BIRTH": _birth,
    "LOCATION": _place,
    "ZIP_CODE": _zip,
    "AGE": _age,
    "AGE_OVER_89": _age,
    "IP_ADDRESS": _ip,
}


def generalized(value: str, entity_type: str) -> str | None:
    """Return the value made coarser; None where it is not understood."""
    return GENERALIZED[entity_type](value)
