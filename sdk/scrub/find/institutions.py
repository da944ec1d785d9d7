"""Names of hospitals, clinics and practices: a head such as Hospital or Family Practice, and the capitals before it.

Where nothing but words of the trade stands before the head (Pain Clinic, University Hospital), it names a kind of
institution and none of them, unless a place follows: University Hospital of Trondheim.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import regex

from sdk.scrub.find.address_recognizer import AddressRecognizer
from sdk.scrub.find.chinese_addresses import CITIES

SURE, FAIR = 0.8, 0.65
LONGEST = 5  # words of a name before its head

_HEADS = (
    "hospitals?|health department|medical cent(?:er|re)s?|med(?:ical)? ctr|health cent(?:er|re)s?"
    "|healthcare(?: system)?"
    "|health care(?: system)?"
    "|health (?:system|network|clinic|partners|services|plaza)|clinics?|infirmary|hospice|nursing home|care home"
    "|care cent(?:er|re)"
    "|nursing (?:and|&) rehab(?:ilitation)?(?: cent(?:er|re))?|rehab(?:ilitation)? (?:cent(?:er|re)|hospital"
    "|institute)|rehab"
    "|skilled nursing(?: facility)?|assisted living|senior living|memory care|retirement (?:home|village|community)"
    "|surgery cent(?:er|re)|surgical cent(?:er|re)|surgicenter|cancer cent(?:er|re)|cancer institute"
    "|heart (?:institute|cent(?:er|re))"
    "|eye (?:institute|associates|care|cent(?:er|re))|dialysis(?: cent(?:er|re))?|imaging(?: cent(?:er|re))?"
    "|birth(?:ing)? cent(?:er|re)"
    "|trauma cent(?:er|re)|pain cent(?:er|re)|wellness cent(?:er|re)|fertility cent(?:er|re)|urgent care(?: cent(?:er"
    "|re))?|walk-in"
    "|family (?:practice|medicine|health|physicians|care|medical)|primary care|internal medicine|medical (?:group"
    "|associates|clinic|practice|arts)"
    "|physicians(?: group| associates)?|pediatrics|paediatrics|pediatric associates|orthop(?:a)?edics"
    "|orthop(?:a)?edic (?:group|associates)"
    "|dermatology|cardiology(?: associates)?|oncology(?: associates)?|neurology(?: associates)?|ob[/-]?gyn"
    "|women's health(?: associates)?"
    "|dental(?: (?:care|group|clinic|associates))?|dentistry|orthodontics|optometry|chiropractic|physical therapy"
    "|pharmacy|drugs|laborator(?:y|ies)"
    "|behavioral health(?: cent(?:er|re))?|mental health cent(?:er|re)|counsell?ing cent(?:er|re)|recovery cent(?:er"
    "|re)|psychiatric cent(?:er|re)"
    "|sanatorium|surgery|medical practice|krankenhaus|klinik(?:um)?|hôpital|clinique|ospedale|policlinico|sygehus"
    "|sjukhus|sykehus|ziekenhuis"
)
# heads that are also departments or fields: they need a name that is no word of the trade, and stand in capitals
_WEAK = frozenset(
    "pediatrics paediatrics orthopedics orthopaedics dermatology cardiology oncology neurology dental dentistry "
    "pharmacy surgery drugs"
    " laboratory laboratories imaging dialysis optometry chiropractic rehab physicians".split()
) | {
    "internal medicine",
    "primary care",
    "urgent care",
    "family medicine",
    "physical therapy",
    "memory care",
    "walk-in",
}
_HEAD = regex.compile(rf"(?<![\p{{L}}])(?:{_HEADS})(?![\p{{L}}'’])", regex.IGNORECASE)
# where a head can begin: at a capital, or at one of those that count in small letters
_BEGINS = re.compile(
    r"[CHIMNRSAEDBTPFUWOLKZhcmp](?:(?<![A-Za-z].)(?<=[A-Z])(?=[A-Za-z])|(?<= h)ospital|(?<= c)linic|(?<= m)edical cent"
    r"|(?<= p)harmacy)"
)
# words of the trade, of places in general, and of sentences: no name by themselves
_TRADE = frozenset(
    """
    a an and the of for in at to on by with from or our your his her their my its this that these those each every
    any no
    general community regional university teaching tertiary academic public private national federal state county
    city municipal district local rural urban central military veterans va children's childrens children women's womens
    women men's infants pediatric paediatric psychiatric maternity acute chronic long term specialty
    specialist outpatient inpatient ambulatory emergency trauma level i ii iii iv day home house mobile walk-in free
    pain wound eye heart cancer stroke memory sleep diabetes asthma allergy anticoagulation coumadin fracture fertility
    breast bone joint spine sports foot ankle hand vein vascular cardiac cardiology cardiovascular oncology hematology
    neurology neurosurgery orthopedic orthopaedic orthopedics dermatology urology nephrology renal dialysis
    gastroenterology gi pulmonary rheumatology endocrine endocrinology infectious disease id hiv std tb travel family
    primary care internal medicine medical surgical surgery surgeon health healthcare mental behavioral psychiatry
    psychology counseling therapy physical occupational speech rehabilitation rehab nursing skilled assisted senior
    elderly geriatric adult adolescent youth school student employee occupational prenatal antenatal postnatal ob obgyn
    gynecology obstetrics radiology imaging mri ct x-ray lab laboratory pathology blood donor transplant liver kidney
    lung burn icu nicu ed er or pre-op preop post-op postop pre post follow-up followup new old other another several
    many most some all both two three four five ten first second third last next same main large small major
    comprehensive integrated advanced research clinical reference referral affiliated participating multispecialty
    specialized designated accredited certified non-profit nonprofit for-profit safety-net critical access base
    discharge admission visit admitted transferred referred seen hospital clinic center centre department dept unit
    ward service services system network group practice office facility program institute institution foundation
    chief doctor dr mr mrs ms patient patients history course stay if when while after before during since until per
    as is was were be been he she they it we you i who which where please call contact go went he's she's via also
    but so
    dental oral maxillofacial ear nose throat ent vision weight loss bariatric nutrition smoking cessation flu vaccine
    vaccination covid covid-19 urgent immediate routine annual well baby child teen quality managed home-based usual
    standard intensive palliative end-of-life hospice respite foster day-care access informed electronic digital
    global world
    united states american european us u.s. uk nhs eu international north south east west northern southern eastern
    western high low volume number total only single multicenter multicentre multi university-affiliated tertiary-care
    early late good better best poor shared self preventive preventative point evidence-based value-based
    patient-centered
    person-centered culturally competent effective appropriate coordinated critical cross-sectional randomized
    prospective
    retrospective bmc plos journal annals archives proceedings medicare medicaid clinics hospitals centers centres
    ministry institutes board agency college school committee council association society union
    animal veterinary plant drug drugs generic brand otc human allied one open closed laboratories animals
    saint st does do did has have had can could should would will may might must not how what why are improving length
    mean median total postoperative preoperative radiation type stay day days inpatients outpatients
    """.split()
)
_IN_SMALL = frozenset(("hospital", "clinic", "medical center", "medical centre", "pharmacy"))
_FIELD = re.compile(r"(?:ic|al|ology|ary|ive|ous|iac|ation|therapy|osis|itis)$")  # of medicine: Cardiothoracic Surgery
# before a head in small letters: a capital that no sentence begins with, and that is no nationality
_NAME_INSIDE = regex.compile(
    r"(?<=[\p{Ll},] )(?:\p{Lu}[\p{L}'’.\-]* )*(?!\p{L}*(?:an|ish|ese|i) )\p{Lu}\p{Ll}{3,}['’]?s? \Z"
)
_WORD_BEFORE = regex.compile(r"(?P<word>\p{L}[\p{L}\p{M}'’.\-]*|&|[0-9]{1,3}(?:st|nd|rd|th)) \Z")
_SMALL = frozenset("of and & the for de la del las los du des di van von".split())
_STATES = (
    "AL|AK|AZ|AR|CA|CO|CT|DE|DC|FL|GA|HI|ID|IL|IN|IA|KS|KY|LA|ME|MD|MA|MI|MN|MS|MO|MT|NE|NV|NH|NJ|NM|NY|NC|ND|OH|OK"
    "|OR|PA|PR|RI|SC|SD|TN"
    "|TX|UT|VT|VA|VI|WA|WV|WI|WY|AB|BC|MB|NB|NL|NS|ON|PE|QC|SK"
)
_CITY = r"\p{Lu}[\p{L}'’\-]+(?: \p{Lu}[\p{L}'’\-]+){0,2}"
_PLACE_AFTER = regex.compile(
    rf"(?: (?:in|of|at) {_CITY}(?:, ?(?:{_STATES})(?![A-Za-z]))?|, {_CITY}, ?(?:{_STATES})(?![A-Za-z]))"
)
_NAMED_AFTER = regex.compile(
    r" (?:of|at|for|in) (?:the )?(?P<name>\p{Lu}[\p{L}'’\-]+(?:(?: |-| (?:of|and"
    r"|the) )\p{Lu}[\p{L}'’\-]+){0,3})(?:, ?(?:" + _STATES + r")(?![A-Za-z]))?"
)
_SAINT = regex.compile(
    r"(?<![\p{L}])(?:St\.?|Saint|SAINT|ST\.?|Sts\.|SS\.?|Mt\.?|Mount|Our Lady of(?: the)?|Sacred|Holy"
    r"|Good) (?P<name>\p{Lu}[\p{L}\-]+(?: \p{Lu}[\p{L}\-]+)?)"
    r"(?P<of>['’]s|s['’])?(?= |[.,;:!?)]|\Z|\n)"
)
_NO_SAINT_AFTER = regex.compile(
    r"\.? ?(?:St|Street|Ave|Avenue|Rd|Road|Lane|Drive|Blvd|Wort|wort|disease|fire|[Dd]ance|Bernard|Day|day"
    r"|Johns? [Ww]ort|score|criteria|questionnaire|George)(?![a-z])"
)
_KNOWN = re.compile(  # names without a head, of those that everybody knows
    r"(?<![A-Za-z])(?:Kaiser Permanente|Johns Hopkins|Mass(?:achusetts)? General|Cedars[- ]Sinai|Mount Sinai"
    r"|Mt\. Sinai|MD Anderson"
    r"|Sloan[- ]Kettering|NYU Langone|Walgreens"
    r"|CVS(?= (?:[Pp]harmacy|on |at ))|Rite Aid|Quest Diagnostics|LabCorp|Labcorp|Sutter Health"
    r"|Dignity Health|Geisinger"
    r"|Intermountain Health|Montefiore|Beth Israel|Good Samaritan|UnitedHealthcare"
    r"|Blue Cross(?: Blue Shield)?)(?![A-Za-z])"
)
_FIRST_HEAD = regex.compile(  # Hospital San Rafael, Klinikum Großhadern
    r"(?<!\p{L})(?:Hospital(?: (?:General|Universitario|Clínico|Regional|Infantil|Universitari))?(?= (?:San|Santa|São"
    r"|Sant|de|del|da|do|Nuestra)(?!\p{L}))"
    r"|Cl[íi]nica|Hôpital|Clinique|Ospedale|Policlinico|Klinikum|Krankenhaus|Spital|Sanatorio|Centro Médico|CHU)"
    r"(?: (?:de|del|della|di|da|do|dos|des|du|la|las|los|le|l['’]))*(?: (?:St\. )?\p{Lu}[\p{L}'’\-]+){1,4}"
)
_TWO = regex.compile(r"(?:Women|Children|Infants|Mothers?|Babies|Kids)['’s]* (?:and|&) \p{Lu}\p{L}+['’s]* \Z")
_CENTER_FOR = regex.compile(
    r"(?<![\p{L}])(?:Institute|Center|Centre|Clinic|Foundation) (?:for|of) (?:\p{Lu}[\p{L}'’\-]+)(?:,? (?:(?:and|&|of"
    r"|the) ){0,2}\p{Lu}[\p{L}'’\-]+){0,4}"
)
_CHINESE = regex.compile(
    rf"(?:{'|'.join(CITIES)})(?:协和|(?![的在和是与及了从到去])\p{{Han}}){{0,12}}?(?:医院|卫生院|诊所|卫生服务中心)(?:[东南西北总分新老]院区?)?"
    r"|第[一二三四五六七八九十0-9]{1,3}(?:人民|附属|中心)?医院|省(?:立|人民|中)医院|\p{Han}{2,5}大学(?:第?[一二三四五]?附属)?(?:第[一二三四五六])?\p{Han}{0,4}?医院"
)
_AT = re.compile(
    r"(?:\bat|\bto|\bfrom|\bvia|\bthrough|\bof|\bby|\bin|\bnear|\bleft|\bcalled|\bseen|\bwith)(?: the)? \Z",
    re.IGNORECASE,
)


class InstitutionRecognizer(AddressRecognizer):
    """What the module's first lines say, saints without a head among them (seen at St. Ursula's)."""

    def __init__(
        self, supported_language: str = "en", supported_entities: list[str] | None = None, name: str | None = None
    ) -> None:
        super().__init__(supported_language, supported_entities or ["ORGANIZATION"], name)

    def addresses(self, text: str) -> Iterator[tuple[int, int, float]]:
        for place in _BEGINS.finditer(text):
            head = _HEAD.match(text, place.start())
            if head:
                yield from _named(text, head)
        yield from ((*known.span(), SURE) for known in _KNOWN.finditer(text))
        yield from ((*first.span(), FAIR) for first in _FIRST_HEAD.finditer(text))
        if not text.isascii():
            yield from ((*chinese.span(), FAIR) for chinese in _CHINESE.finditer(text))
        if " for " in text or " of " in text:
            for center in _CENTER_FOR.finditer(text):
                begin, named, _ = _begin(text, center.start())
                if named:
                    yield begin, center.end(), FAIR
        if "'s" in text or "’s" in text:
            yield from _saints(text)


def _named(text: str, head: regex.Match[str]) -> Iterator[tuple[int, int, float]]:
    """Yield the name that ends in the head, if there is one, or the place that follows it."""
    title = head.group()[0].isupper()
    begin, named, upper = _begin(text, head.start())
    if not title and not (
        named and head.group() in _IN_SMALL and _NAME_INSIDE.search(text, max(0, begin - 2), head.start())
    ):
        return
    if named and head.group().lower() in _WEAK and not _is_practice(text, begin, head):
        return
    shout = text[begin : head.end()].isupper()
    if named and not (shout and _in_capitals(text, begin, head.end())):
        place = _PLACE_AFTER.match(text, head.end())
        yield begin, place.end() if place else head.end(), SURE if upper > 1 else FAIR
        return
    if title and head.group() in ("Hospital", "Clinic") and _TWO.search(text, begin, head.start()):
        yield begin, head.end(), FAIR  # Women and Infants Hospital
        return
    if title and head.group().lower() not in _WEAK and not shout:
        after = _NAMED_AFTER.match(text, head.end())
        if after and not all(word.lower() in _TRADE for word in regex.split(r"[ \-]", after["name"])):
            yield begin, after.end(), FAIR


def _is_practice(text: str, begin: int, head: regex.Match[str]) -> bool:
    """Tell whether a field of medicine stands for a practice: a name before it, a word or a line that leads to it."""
    words = text[begin : head.start()].split()
    own = [word for word in words if not _FIELD.search(word) and word.lower() not in _TRADE]
    led = _AT.search(text[max(0, begin - 14) : begin]) or (
        (begin == 0 or text[begin - 1] in "\n:•") and not regex.match(r" \p{Lu}|\?", text[head.end() : head.end() + 2])
    )
    return bool(own and led) and len(words) < LONGEST - 1


def _begin(text: str, end: int) -> tuple[int, bool, int]:
    """Return where the capitals before a head begin, whether one of them is no word of the trade, and how many such."""
    begin, position, named, own = end, end, False, 0
    for _ in range(LONGEST + 3):
        before = _WORD_BEFORE.search(text, max(0, position - 40), position)
        if not before:
            break
        word = before["word"]
        bare = word.rstrip(".,").lower().replace("’", "'")
        position = before.start()
        if word[0].isupper() or word[0].isdigit():
            if word[-1] == "." and bare not in ("st", "mt", "ft", "ste") and len(bare) > 1:
                break
            if bare in (
                "the",
                "a",
                "an",
                "dr",
                "mr",
                "mrs",
                "ms",
                "at",
                "in",
                "from",
                "to",
                "our",
                "this",
                "by",
                "if",
                "seen",
            ):
                break
            begin = position
            if bare not in _TRADE:
                named, own = True, own + 1
        elif bare not in _SMALL:
            break
    while named:  # what leads the name and is only a word of a sentence
        first = regex.match(r"(\p{L}[\p{L}'’\-]*)[.,]? ", text[begin:end])
        if first and first[1].lower() in _LEADING:
            begin += first.end()
        else:
            break
    return begin, named, own


_LEADING = frozenset(
    "new old other another several many most some all both two three four five first last next patient patients if "
    "when while after before"
    " during since until per as please call contact also but so and or transferred referred seen admitted discharge "
    "visit via".split()
)


def _in_capitals(text: str, begin: int, end: int) -> bool:
    """Tell whether the line around is in capitals too: a heading."""
    line = (
        text[text.rfind("\n", 0, begin) + 1 : begin]
        + text[end : text.find("\n", end) if "\n" in text[end:] else len(text)]
    )
    letters = [c for c in line if c.isalpha()]
    return bool(letters) and sum(c.isupper() for c in letters) > 0.8 * len(letters) and len(letters) > 12


def _saints(text: str) -> Iterator[tuple[int, int, float]]:
    for saint in _SAINT.finditer(text):
        if not saint["of"] or _NO_SAINT_AFTER.match(text, saint.end()):
            continue
        if saint.group().startswith(("St", "Saint", "SAINT", "ST", "SS")) or _AT.search(
            text[max(0, saint.start() - 14) : saint.start()]
        ):
            yield saint.start(), saint.end(), FAIR
