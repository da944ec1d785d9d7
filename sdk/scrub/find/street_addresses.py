"""Street addresses that no single pattern tells from other numbers: by their words, their tail, what leads to them.

English: number, name, suffix (USPS Publication 28, appendix C1, and those of Australia), in any case, where a unit, a
postal code or a word for an address stands with it; the unit first; military post. Elsewhere: the number last, after or
before a word for a street, or after a word for an address.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import regex

from sdk.scrub.find.address_recognizer import AddressRecognizer

SURE, FAIR, LIKELY = 0.85, 0.8, 0.65
BEFORE = 64  # characters in which a word for an address is looked for

_SURE_STREETS = frozenset(
    "street st avenue ave road rd boulevard blvd lane ln drive highway hwy parkway pkwy crescent terrace mews".split()
)
_STREETS = _SURE_STREETS | frozenset(
    """
    alley annex arcade bayou beach bend bluff bluffs bottom branch bridge brook brooks burg burgs bypass camp canyon
    cape causeway center centers centre circle circles cir cliff cliffs close club common commons corner corners
    course court courts ct cove coves creek crest crossing crossroad crossroads curve dale dam divide dr drives
    estate estates expressway extension extensions fall falls ferry field fields flat flats ford fords forest forge
    forges fork forks fort freeway garden gardens gateway glen glens green greens grove groves harbor harbors haven
    heights hill hills hollow inlet island islands isle junction junctions key keys knoll knolls lake lakes land
    landing light lights loaf lock locks lodge loop mall manor manors meadow meadows mill mills mission motorway
    mount mountain mountains neck orchard oval overpass park parks parkways pass passage path pike pine pines place
    pl plain plains plaza point points port ports prairie radial ramp ranch rapid rapids rest ridge ridges river
    roads route row rue run shoal shoals shore shores skyway spring springs spur spurs square sq squares station
    stravenue stream streets summit ter throughway trace track trafficway trail trails trailer tunnel turnpike
    underpass union unions valley valleys via viaduct view views village villages ville vista walk walks wall way
    ways well wells wharf yard access anchorage approach arterial artery bank basin bay block boardwalk brace brae
    break broadway brow byway chase circlet circuit circus colonnade concourse connection copse corso courtyard
    crook cross cutting deviation dip distributor driveway edge elbow end entrance esplanade fairway firebreak
    footway foreshore formation front frontage gap gate glade grange ground heath highroad hub interchange
    intersection laneway lees line link lookout lower maze meander mew nook outlook parade parklands pathway piazza
    plateau pocket promenade quad quadrangle quadrant quay quays ramble range reach reserve retreat return ride
    ridgeway ring rise riverway riviera roadside roadway ronde rosebowl rotary round siding slope sound steps strip
    subway tarn thoroughfare tollway top tor towers triangle trunkway turn twist upper vale villas wade walkway
    waters waterway wynd nagar chowk marg ganj circle sorok para
    """.split()
)
_ABBREVIATED = frozenset("st ave rd blvd ln hwy pkwy cir ct dr pl sq ter".split())
# no name of a street: what is counted, and the small words of a sentence
_NO_NAME = frozenset(
    """
    a an the of to in on at and or for with from by is are was were be per as if not no but that this these those
    their his her our your my its it he she they we you i down up into over about after before between than then
    when which mg ml kg km cm mm g miles mile years year days day hours hour minutes minute weeks week months month
    times percent million billion thousand hundred dollars euros pounds people persons men women patients cars units
    items pages more lane lanes way bedroom bedrooms bed story storey star
    """.split()
)
_NUMBER = r"[0-9]{1,6}(?:[\-/][0-9]{1,4})?[A-Za-z]?(?: 1/2)?"
_WORD = r"(?:\p{L}[\p{L}'’\-]{0,24}\.?|[0-9]{1,3}(?:st|nd|rd|th))"
_UNIT_WORD = (
    r"(?:apt|apartment|unit|suite|ste|floor|fl|room|rm|bldg|building|flat|lot|space|studio|level|shop|villa|house)\.?"
)
_UNIT = (
    rf"(?:{_UNIT_WORD} ?#?|# ?)(?=[0-9A-Za-z\-]{{0,5}}[0-9]|[A-Za-z](?![\p{{L}}]))[0-9A-Za-z\-]{{1,6}}(?![0-9A-Za-z])"
)
_CITY = r"\p{L}[\p{L}'’\-]{0,24}\.?(?: \p{L}[\p{L}'’\-]{0,24}\.?){0,3}"
_UK = r"[A-Za-z]{1,2}[0-9][0-9A-Za-z]? ?[0-9][A-Za-z]{2}"
_CANADA = r"[A-Za-z][0-9][A-Za-z][ \-]?[0-9][A-Za-z][0-9]"
_STATE = r"(?:[A-Za-z]{2}|NSW|VIC|QLD|ACT|TAS|(?:north|south|west|new|rhode|british|nova) [a-z]{4,12}|[A-Za-z]{4,13})"
_CODE = rf"(?:[0-9]{{5}}(?:-[0-9]{{4}})?|{_UK}|{_CANADA})(?![0-9A-Za-z])"
_TAIL = regex.compile(
    rf"(?P<unit>(?:[,.]?[ \n]{{1,2}}{_UNIT}){{0,2}})"
    rf"(?P<code>(?:[,.]?\n|, ?\n?){_CITY}(?:,? ?\n|, ?){_STATE}\.?,?[ \n]{_CODE}"
    rf"|(?:[,.]?\n|, ?\n?){_CITY}(?:,? ?\n|,? )(?:(?:NSW|VIC|QLD|ACT|TAS|WA|SA|NT),? [0-9]{{4}}"
    rf"|{_CODE})(?![0-9A-Za-z])"
    rf"|(?:[,.]?\n|, ?){_CITY}(?:\n| ){_CODE}"
    rf"|(?:[,.]?\n)(?:RD [0-9]{{1,2}}\n)?{_CITY} [0-9]{{4}}(?![0-9A-Za-z])|, {_CITY} (?!19"
    rf"|20)[0-9]{{4}}(?![0-9A-Za-z])"
    r"|(?:, ?|\n| )[AC-FHKNPRTV-Y][0-9][0-9W] ?[0-9AC-FHKNPRTV-Y]{4}(?![0-9A-Za-z]))?",
    regex.IGNORECASE,
)
_FIRST_WORDS = frozenset("rue avenue boulevard chemin montée rang allé allée impasse quai cours av. bd route".split())
_FRENCH_NAME = regex.compile(
    r"\p{L}+\.?(?: (?:de|du|des|la|le|les|l['’]|d['’])){0,3} ?(?P<name>(?-i:\p{Lu}[\p{L}'’\-]*"
    rf"(?: (?!(?i:{_UNIT_WORD}) ?[0-9])(?:(?:de|du|des|la|le|et) ){{0,2}}\p{{Lu}}[\p{{L}}'’\-]*){{0,3}})"
    rf"|\p{{Ll}}[\p{{L}}'’\-]{{2,24}})",
    regex.IGNORECASE,
)
_DIRECTION = regex.compile(r" (?:N|S|E|W|NE|NW|SE|SW|North|South|East|West)(?![A-Za-z])", regex.IGNORECASE)
_CROSSING = regex.compile(
    r" (?:and|&|at|near|/) (?-i:(?:\p{Lu}[\p{L}'’\-]{0,24}\.? |[0-9]{1,3}(?:st|nd|rd"
    r"|th) ){1,3}(?P<suffix>\p{Lu}\p{L}{1,12}\.?))(?![\p{L}])"
)
_CORNER = regex.compile(
    r"(?<![A-Za-z])(?:corner|intersection|crossing|junction|cross[ \-]streets?)(?: of| at|:"
    r"| is)? \K(?-i:(?:\p{Lu}[\p{L}'’\-]{0,24}\.? |[0-9]{1,3}(?:st|nd|rd|th) ){1,3}"
    r"(?P<first>\p{Lu}\p{L}{0,12}\.?))(?:,? (?:and|&|at|near) |/)(?-i:(?:\p{Lu}[\p{L}'’\-]{0,24}\.? |[0-9]{1,3}(?:st"
    r"|nd|rd|th) ){0,3}\p{Lu}\p{L}{1,14})(?![\p{L}])",
    regex.IGNORECASE,
)
_FIRST = regex.compile(
    rf"(?<![0-9A-Za-z.,$€£¥%/\-])(?P<number>{_NUMBER}),? (?P<words>{_WORD}(?: {_WORD}){{1,5}})", regex.IGNORECASE
)
_AFTER_UNIT = regex.compile(
    rf"[0-9]{{1,5}}[A-Za-z]?(?:, ?\n?|\n| |/)(?P<number>{_NUMBER},? )?(?P<words>{_WORD}(?: {_WORD}){{1,5}})",
    regex.IGNORECASE,
)
_UNIT_BEFORE = re.compile(rf"(?<![A-Za-z]){_UNIT_WORD} ?#?\Z", re.IGNORECASE)
_ROOMS = (
    "level",
    "room",
    "rm",
    "floor",
    "fl ",
    "lot",
    "space",
    "studio",
    "house",
    "building",
)  # a word may follow them
_MILITARY = regex.compile(
    r"(?<![A-Za-z])(?:(?:psc|cmr|unit) ?[0-9]{1,5},? ?\n?box [0-9]{1,5}"
    r"|us[a-z]{1,3} \p{L}[\p{L}'’\-]{1,24}(?: \p{L}+)?)"
    r"(?:,? ?\n|, ?| )(?:apo|fpo|dpo),? (?:aa|ae|ap),? [0-9]{5}(?:-[0-9]{4})?(?![0-9A-Za-z])",
    regex.IGNORECASE,
)
# what stands directly before an address
_LEADS = re.compile(
    r"(?<![A-Za-z])(?:address(?:es)?(?: is| was|[:=])|(?:street|house|building)(?: name)?(?: and)? number(?: is|:)"
    r"|billing address|bill to:?|(?:mail|forward|send|ship|deliver)(?:ed|s|ing)? (?:[a-z]{1,12} ){0,3}to"
    r"|visit(?:ed)? us at"
    r"|(?:clinic|hospital|building|school|church|warehouse|visited|deliver|met) at|met near|(?:live|lives|lived"
    r"|living|reside|resides|resided|residing|stay|stays|stayed|staying|located|situated|based"
    r"|headquartered|registered|domiciled|place|held|meet|meeting|house|office|shop|store|property|apartment|home) at"
    r"|(?:go|goes|going|went|send|sent|ship|shipped|deliver|delivered|mail|mailed|come|came|move|moved|moving|drive"
    r"|drove|walk|walked|forward|forwarded|return|returned) (?:it |them |this )?to|home is|residence(?: is|:)"
    r"|street:|adresse:?|anschrift:?|indirizzo:?|dirección:?|direccion:?|endereço:?|adres:?|adress:?"
    r"|osoite:?)[ \n:]{0,3}",
    re.IGNORECASE,
)
# words after which the unknown name of a street may stand
_SURE_LEADS = ("address", "li", "resid", "anschrift", "adres", "indirizzo", "direcci", "endere", "osoite", "street")
# one of them, a colon or an equals sign is in every one of _LEADS
_LEAD_WORDS = frozenset(
    """
    address addresses number is was at to near us street adresse anschrift indirizzo dirección direccion endereço adres
    adress osoite residence
    """.split()
)
_NEAR = frozenset(".,°º#)")  # what may stand between a street's name and its number
_PLACE_WORDS = frozenset("at to near in on from opposite behind by auf à en em på a".split())

# -- the number last

_LAST_NUMBER = r"[0-9]{1,5}(?: ?[A-Za-z](?![\p{L}0-9]))?(?:[/\-][0-9]{1,5}[A-Za-z]?){0,2}(?![\p{L}0-9]|[,.:][0-9]|%)"
_CAPITAL_CITY = (
    r"(?-i:\p{Lu}[\p{L}'’\-]{1,24}(?:[ \-](?:(?:am|an|der|im|in|a|do|da|de|la|le|les|sur|del|di|nad|pod"
    r"|los|las|en)[ \-]){0,2}\p{Lu}[\p{L}'’\-]*){0,3})"
)
_LAST_CODE = (
    r"(?:[A-Z]{1,2}-)?(?:[0-9]{5}-[0-9]{3,4}|[0-9]{2}-[0-9]{3}|[0-9]{3} [0-9]{2}|[0-9]{4,7}(?:-[0-9]{3})?)"
    r"(?: ?(?-i:[A-Z]{2}))?(?![0-9A-Za-z])"
)
_LAST = regex.compile(
    rf"{_LAST_NUMBER}(?P<tail>"
    r"(?: ?,? ?(?:piso|planta|appartamento|interno|piano|interior|edif\.|depto\.|dpto\.|dto\.|of\.|oficina|local"
    r"|torre|casa"
    r"|apto\.?|apt\.?|bl\.|sc\.|ap\.|bus|stiege|top|tür|puerta|esc\.|lok\.|lgh|стр\.|кв\."
    r"|корп\.) {0,2}[0-9]{1,5}[A-Za-z]?"
    r"(?![\p{L}0-9])|,? [0-9]{1,2}(?:[oa]|°)\.?(?![\p{L}])(?: ?[A-Za-z]{1,3}(?![\p{L}]))?){0,4}"
    rf"(?P<code>(?:\.?,? ?\n|, )(?:{_LAST_CODE}(?:[ \n]|, )(?:{_CAPITAL_CITY}|\p{{Ll}}[\p{{L}}\-]{{2,24}})"
    rf"|{_CAPITAL_CITY}(?:, {_CAPITAL_CITY})?,? {_LAST_CODE}"
    rf"|(?<=\n)\p{{Ll}}[\p{{L}}'’\-]{{2,24}}(?:,? \p{{L}}{{2,24}}){{0,3}},? {_LAST_CODE})(?:,? (?-i:\([A-Z]{{2}}\)"
    rf"|/ [A-Z]{{2}}(?![A-Za-z])))?)?)",
    regex.IGNORECASE,
)
_ENDS_HERE = regex.compile(
    r"\.?(?:\s*\Z|[\n;)]|\. )|,(?![0-9])| (?:but|and|in|which|where|with|for|until|by|before|on|is|was|at"
    r"|near)(?![\p{L}])"
)
_NUMBER_WORDS = frozenset("no. nr. nr no n. n° nº n.º num. number # д. буд. s/n".split())
# before the name of a street: unmistakable in any case; then those that need a capital or a word for an address
_BEFORE = frozenset(
    """
    calle avenida avda. odos paseo callejón glorieta carretera urbanización rambla peatonal circunvalación calzada
    prolongación privada cerrada andador rua travessa praça pça. rodovia beco loteamento condomínio pátio estrada
    esplanada fazenda chácara colônia ladeira viela viale piazza piazzale vicolo contrada borgo lungomare rotonda
    ulica ul. aleja al. osiedle os. plac pl. rruga bulevardul aleea soseaua şoseaua intrarea jalan jl. gg. ул. улица
    пер. просп. пр. бул. вулиця вул. шосе ш. наб. rue impasse chemin allée quai
    """.split()
)
_MAYBE_BEFORE = frozenset(
    """
    via plaza plazuela corso largo strada str. galleria salita stretto canale incrocio campo vila alameda setor
    jardim quadra parque praia recanto residencial sítio trecho trevo vale vereda viaduto conjunto distrito núcleo
    passarela feira favela lago lagoa morro área aeroporto ronda camino pasaje pasadizo vial acceso cañada cuesta
    corredor boulevard bulevar diagonal eje circuito retorno ampliación continuación viaducto avenue route cours av.
    av r. c/ trg cesta gang carrera cra. tr. calea piata am zum zur im unter
    """.split()
)
_PARTICLES = frozenset(
    "de del della delle dei degli di da do dos das la las los el du des le les e y i van von der den het et og".split()
)
_GRID = re.compile(  # Colombia
    r"(?<![A-Za-z])(?:calle|carrera|cra\.|cl\.|tr\.|transversal|diagonal|av\. calle"
    r"|avenida carrera) [0-9]{1,3}[A-Za-z]?"
    r"(?: bis)?(?: [A-Za-z])? # ?[0-9]{1,3}[A-Za-z]?-[0-9]{1,3}(?: (?:sur|este|norte|oeste))?(?![0-9A-Za-z])",
    re.IGNORECASE,
)
# at the end of a name: unmistakable in any case; then those in which other words end too
_ENDS = tuple(
    """
    straße strasse str. gasse platz allee allé chaussee gatan gränd vägen stigen torget gaten veien vegen stræde
    bulevardi katu polku kuja aukio straat laan plein steeg dreef singel gracht dijk faret bråten lunden holtet
    stykket tjernet haugen vollen skogen plassen svingen jordet boulevard
    """.split()
)
_MAYBE_ENDS = tuple(
    """
    weg ring damm ufer steig stieg pfad hof pad baan kade lei markt gate gata gade vei veg vej tie tori kaari rinne
    ranta penger raitti engen hagen bakken backen berget lia tunet ringen løkka kroken stubben sletta plads toften
    parken torv grund liden torg ská cká
    """.split()
)
_AFTER_NAME = frozenset(
    """
    u. utca útja út tér tere körút köz sétány sor krt. ulica trg cesta straße strasse allee allé gata gatan väg gate
    vei caddesi sokak sokağı cad. sok.
    """.split()
)
_HUNGARIAN = frozenset("u. utca útja út tér tere körút köz sétány sor krt.".split())
_NOT_STREETS = (
    frozenset(
        """
    page pages step chapter section gate level room item slide exhibit appendix article question line row floor
    stage phase day week month year part figure fig table no number version terminal platform track class grade unit
    suite apt box zone area case group type age jan feb mar apr may jun jul aug sep sept oct nov dec january
    february march april june july august september october november december monday tuesday wednesday thursday
    friday saturday sunday about over under least most only around approximately nearly almost exactly code zip id
    port court hall gmt form rule clause schedule tier euro usd eur gbp temperature score value price windows model
    dose dosage rate order ref unknown during total of sample level study trial ratio ages aged mean
    """.split()
    )
    | _NO_NAME - _PARTICLES
)
# `re` is faster where a class begins a pattern than where a look-behind does.
_NUMBERS = re.compile(r"[0-9](?<![0-9A-Za-z.$€£¥%/\-].)(?<![0-9],.)[0-9]{0,5}(?![0-9])")
_POST = re.compile(r"[afd]po[ ,]", re.IGNORECASE)


class StreetRecognizer(AddressRecognizer):
    """What the module's first lines say; found spans end with the postal code and city where they follow."""

    def addresses(self, text: str) -> Iterator[tuple[int, int, float]]:
        return _addresses(text)


def _addresses(text: str) -> Iterator[tuple[int, int, float]]:
    for found in _NUMBERS.finditer(text):
        start = found.start()
        first = _FIRST.match(text, start)
        if first:
            yield from _with_suffix(text, start, first)
        if not start or not (text[start - 1] in " #." or text[start - 1].isalpha()):
            continue
        before = text[max(0, start - BEFORE) : start].rpartition("\n\n")[2]
        named = before.rstrip(" ")[-1:]
        if not (named.isalpha() or named in _NEAR):  # a row of numbers is none
            continue
        unit = _UNIT_BEFORE.search(before[-12:])
        if unit:
            follows = _AFTER_UNIT.match(text, start)
            if follows:
                begin = start - len(unit.group())
                numbered = bool(follows["number"]) or "\n" in text[start : follows.start("words")]
                if numbered or not unit.group().lower().startswith(_ROOMS):
                    yield from _with_suffix(text, begin, follows, numbered or text[begin].isupper())
        elif before[-1:] == " ":
            yield from _number_last(text, start, before.rpartition("\n")[2])
    if _POST.search(text):
        yield from ((*match.span(), SURE) for match in _MILITARY.finditer(text))
    if any(word in text for word in ("corner", "intersect", "Corner", "Intersect", "cross", "junction")):
        yield from ((*match.span(), FAIR) for match in _CORNER.finditer(text))
    if " #" in text:
        yield from ((*match.span(), SURE) for match in _GRID.finditer(text))


def _lead(before: str) -> re.Match[str] | None:
    """Return the last word for an address."""
    last = None
    if ":" in before or "=" in before or not _LEAD_WORDS.isdisjoint(before.lower().split(" ")):
        for last in _LEADS.finditer(before):  # noqa: B007
            pass
    return last


def _led(before: str) -> bool:
    """Tell whether a word for an address stands directly before."""
    last = _lead(before)
    return last is not None and last.end() == len(before)


def _led_at(text: str, start: int) -> bool:
    return _led(text[max(0, start - BEFORE) : start])


def _with_suffix(
    text: str, start: int, match: regex.Match[str], sure: bool = False
) -> Iterator[tuple[int, int, float]]:
    """Yield the span up to the first word that ends a street's name, and what belongs to it behind that."""
    position = match.start("words")
    words = match["words"].split(" ")
    if words[0].lower() in _FIRST_WORDS:
        yield from _french(text, start, match, sure)
        return
    for number, word in enumerate(words):
        bare = word.rstrip(".").lower()
        end = position + len(word if bare in _ABBREVIATED else word.rstrip("."))
        if number and bare in _STREETS:
            end = _after_crossing(text, _after_direction(text, end))
            tail = _TAIL.match(text, end)
            if tail and (tail["unit"] or tail["code"]):
                yield start, tail.end(), SURE
                return
            if not (number + 1 < len(words) and words[number + 1].rstrip(".").lower() in _STREETS):
                if sure or _led_at(text, start):
                    yield start, end, FAIR
                elif bare in _SURE_STREETS and number <= 3:
                    yield start, end, LIKELY
                return
        elif bare in _NO_NAME:
            return
        position += len(word) + 1


def _french(text: str, start: int, match: regex.Match[str], sure: bool) -> Iterator[tuple[int, int, float]]:
    """Yield number, rue or the like, and a name: with a capital, or a single word after a word for an address."""
    name = _FRENCH_NAME.match(text, match.start("words"))
    capital = name is not None and name["name"][:1].isupper()
    if name and (capital or sure or _led_at(text, start)):
        tail = _TAIL.match(text, name.end())
        yield start, tail.end() if tail else name.end(), FAIR


def _after_direction(text: str, end: int) -> int:
    direction = _DIRECTION.match(text, end)
    return direction.end() if direction else end


def _after_crossing(text: str, end: int) -> int:
    """Return where the second street of a corner ends: 41 Birch Street and Linden Pass."""
    crossing = _CROSSING.match(text, end)
    return crossing.end() if crossing and crossing["suffix"].lower().rstrip(".") in _STREETS else end


def _number_last(text: str, start: int, before: str) -> Iterator[tuple[int, int, float]]:
    """Yield a street's name before the number at `start`: by its ending, a word before it, or what leads to it."""
    number = _LAST.match(text, start)
    if not number:
        return
    words = before.rstrip(" ").split(" ")
    if len(words) > 1 and words[-1].lower() in _NUMBER_WORDS:
        words.pop()
    last = words[-1].rstrip(",")
    lower = last.lower()
    base = start - len(before)
    end = number.end()
    lead = _lead(before)
    least = lead.end() if lead else 0
    place = base + len(" ".join(words[:-1])) + (1 if len(words) > 1 else 0)
    if lower.endswith(_ENDS) and len(lower) > 5:
        yield _from_quote(text, place), end, FAIR
    elif lower.endswith(_MAYBE_ENDS) and len(lower) > 5:
        if lower in _NOT_STREETS:
            return
        if _is_town(number["code"]) or _led(before[: place - base]):
            yield _from_quote(text, place), end, FAIR
        elif last[:1].isupper() and words[-2:-1] and words[-2].lower() in _PLACE_WORDS:
            yield place, end, LIKELY
    if lower in _AFTER_NAME and base + max(least, _name_before(words)) < place:
        dotted = lower in _HUNGARIAN and text[end : end + 1] == "." and not number["tail"]
        begin = base + max(least, _name_before(words))
        house = re.search(r"(?<![0-9A-Za-z.,])[0-9]{1,4} \Z", text[max(0, begin - 6) : begin])
        yield begin - (len(house.group()) if house else 0), end + dotted, FAIR
    yield from ((base + begin, end, score) for begin, score in _word_before(words, before))
    if number["code"] and "\n" in number["code"] and last[:1].isupper():
        yield base + max(least, _name_before(words)), end, LIKELY
    if lead and _ENDS_HERE.match(text, end):
        name = before[lead.end() :].rstrip(" ").split(" ")
        fits = name[0] and len(name) <= 5 and not any(word.lower().strip(".,:") in _NOT_STREETS for word in name)
        if fits and (name[0][0].isupper() or lead.group().lower().startswith(_SURE_LEADS)) and name[0][0].isalpha():
            yield base + lead.end(), end, LIKELY


def _is_town(code: str | None) -> bool:
    """Tell whether a code and a town were found, and no number of a list with the next word."""
    return code is not None and not any(word in _NO_NAME for word in code.lower().replace(",", " ").split())


def _from_quote(text: str, place: int) -> int:
    return place + 1 if text[place] in "(\"'“" else place


def _name_before(words: list[str]) -> int:
    """Return where the name begins whose last word says that it is a street."""
    first = len(words) - 1
    while first and first > len(words) - 5:
        word = words[first - 1]
        if word.lower() in _NOT_STREETS or word[-1:] in ".:;,!?" or not word[:1].isalpha():
            break
        if not word[0].isupper() and len(words) - first > 1 and not any(w[:1].isupper() for w in words[:first]):
            break
        first -= 1
    return len(" ".join(words[:first])) + (1 if first else 0)


def _word_before(words: list[str], before: str) -> Iterator[tuple[int, float]]:
    """Yield the nearest word for a street up to seven words back, with a name between it and the number."""
    for back in range(len(words) - 2, max(-1, len(words) - 9), -1):
        word, following = words[back].lstrip("(\"'"), words[back + 1]
        lower = word.lower()
        position = len(" ".join(words[:back])) + (1 if back else 0) + len(words[back]) - len(word)
        if lower in _BEFORE:
            yield position, FAIR
            return
        if lower in _MAYBE_BEFORE:
            capital = (
                word[:1].isupper() and word not in ("AM", "IM") and (following[:1].isupper() or following in _PARTICLES)
            )
            if capital or _led(before[:position]):
                yield position, FAIR
                return
        if (lower in _NO_NAME and lower not in _PARTICLES) or not word or word[-1] in ":;!?," or word.endswith("..."):
            return
        if word[-1] == "." and len(word) > 4:
            return
