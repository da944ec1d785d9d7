"""Numbers that states give to persons for identity, tax and insurance: each member of the European Union, and others.

Three recognizers of one kind. The first takes forms that are rare enough to stand alone where their check holds; the
second takes mere digits whose check holds, near a word for such a number; the third takes what follows such a word,
with or without a check: mistyped numbers are personal data too. China, Hong Kong and the United States have kinds of
their own.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import NamedTuple

from presidio_analyzer import Pattern, PatternRecognizer

from sdk.data.check_digits import luhn
from sdk.scrub.find.checksums import national_checks as check
from sdk.scrub.find.checksums.checksum_recognizer import FAIR, ChecksumRecognizer
from sdk.scrub.find.context import BEFORE
from sdk.scrub.spans import NAME_KINDS, Span

ENTITY = "NATIONAL_ID"
_DIGIT_BEFORE, _DIGIT_AFTER = r"(?<![0-9A-Za-z.\-/])", r"(?![0-9A-Za-z]|[.\-/][0-9])"


class Form(NamedTuple):
    """country: as ISO 3166 writes it; check: of the number in capitals without separators; length: of that, 0: any."""

    country: str
    regex: str
    check: Callable[[str], bool]
    length: int = 0


# A chance match of these is rare: letters at fixed places, a date, two check digits, or separators of their own.
ALONE = (
    Form("BE", r"[0-9]{2}\.[0-9]{2}\.[0-9]{2}-[0-9]{3}[.\-][0-9]{2}", check.belgium),
    Form("CY", r"[0-9]{8}[A-Z]", check.cyprus),
    Form("CZ SK", r"[0-9]{6}/[0-9]{4}", check.czechia_slovakia),
    Form("DE", r"[0-9]{2} ?[0-9]{6} ?[A-Z] ?[0-9]{3}", check.germany_pension),
    Form("ES", r"(?:[0-9]{8}|[XYZ][\-. ]?[0-9]{7}|[0-9]{2}\.[0-9]{3}\.[0-9]{3})[\- ]?[A-HJ-NP-TV-Z]", check.spain),
    Form("FI", r"[0-9]{6}[+\-A-FU-Y][0-9]{3}[0-9A-FHJ-NPR-Y]", check.finland),
    Form("FR", r"[12] ?[0-9]{2} ?[0-9]{2} ?(?:[0-9]{2}|2[AB]) ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}", check.france_insurance),
    Form("IE", r"[0-9]{7}[A-W][ABHIW]?", check.ireland),
    Form("IT", r"[A-Z]{6}[0-9L-NP-V]{2}[A-EHLMPRST][0-9L-NP-V]{2}[A-Z][0-9L-NP-V]{3}[A-Z]", check.italy),
    Form("LU", r"(?:18|19|20)[0-9]{11}", check.luxembourg),
    Form("LV", r"[0-3][0-9][01][0-9]{3}-[0-9]{5}", check.latvia),
    Form("PT", r"[0-9]{8} ?[0-9] ?[A-Z0-9]{2}[0-9]", lambda value: not value.isdigit() and check.portugal_card(value)),
    Form("SE", r"(?:19|20)?[0-9]{6}[+\-][0-9]{4}", check.sweden),
    Form("BR", r"[0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}", check.brazil_person),
    Form("BR", r"[0-9]{2}\.[0-9]{3}\.[0-9]{3}/[0-9]{4}-[0-9]{2}", check.brazil_firm),
    Form("CH", r"756\.?[0-9]{4}\.?[0-9]{4}\.?[0-9]{2}", check.switzerland),
    Form("GB", r"(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]( ?)(?:[0-9]{2}\1){3}[A-D]", check.of_form),
    Form("IN", r"[2-9][0-9]{3}([ \-])[0-9]{4}\1[0-9]{4}", check.verhoeff),
    Form("IN", r"[A-Z]{3}[ABCFGHLJPT][A-Z][0-9]{4}[A-Z]", check.of_form),
    Form("IS", r"[0-7][0-9][01][0-9]{3}-[0-9]{3}[089]", check.iceland),
    Form("KR", r"[0-9]{6}-[1-8][0-9]{6}", check.korea),
    Form("MX", r"[A-Z]{4}[0-9]{6}[HMX][A-Z]{5}[0-9A-Z][0-9]", check.mexico),
    Form("RU", r"[0-9]{3}-[0-9]{3}-[0-9]{3} [0-9]{2}", check.russia_insurance),
    Form("SG", r"[STFGM][0-9]{7}[A-Z]", check.singapore),
    Form("TH", r"[1-8]-[0-9]{4}-[0-9]{5}-[0-9]{2}-[0-9]", check.thailand),
    Form("TW", r"[A-Z][1289][0-9]{8}", check.taiwan),
    Form("ZA", r"[0-9]{6} ?[0-9]{4} ?[01][0-9]{2}", check.south_africa),
)  # fmt: skip
# Digits of which one random number in ten or so passes: they count near a word for such a number.
NAMED = (
    Form("AT", r"[0-9]{4}[ \-]?[0-9]{6}", check.austria_insurance, 10),
    Form("BE", r"[0-9]{11}", check.belgium, 11),
    Form("BG", r"[0-9]{10}", check.bulgaria, 10),
    Form("CZ SK", r"[0-9]{10}", check.czechia_slovakia, 10),
    Form("DE", r"[0-9]{2} ?[0-9]{3} ?[0-9]{3} ?[0-9]{3}", check.germany_tax, 11),
    Form("DE", r"[A-Z][0-9]{9}", check.germany_health, 10),
    Form("DE", r"[CFGHJKLMNPRTVWXYZ][0-9CFGHJKLMNPRTVWXYZ]{8}[0-9]", check.machine_readable, 10),
    Form("DK", r"[0-9]{6}[ \-]?[0-9]{4}", check.denmark, 10),
    Form("EE LT", r"[1-6][0-9]{10}", check.estonia_lithuania, 11),
    Form("FR", r"[0-3][0-9](?: ?[0-9]{2}){1}(?: ?[0-9]{3}){3}", check.france_tax, 13),
    Form("GR", r"[0-9]{11}", check.greece_insurance, 11),
    Form("GR", r"[0-9]{9}", check.greece_tax, 9),
    Form("HR", r"[0-9]{11}", check.mod_11_10, 11),
    Form("HU", r"8[0-9]{9}", check.hungary_tax, 10),
    Form("HU", r"[0-9]{3}([ \-]?)[0-9]{3}\1[0-9]{3}", check.hungary_insurance, 9),
    Form("HU", r"[1-8][ \-]?[0-9]{6}[ \-]?[0-9]{4}", check.hungary_person, 11),
    Form("IT", r"[0-9]{11}", luhn, 11),
    Form("LV", r"[0-9]{6}-?[0-9]{5}", check.latvia, 11),
    Form("MT", r"[0-9]{7}[MGAPLHBZ]", check.of_form, 8),
    Form("NL", r"[0-9]{9}|[0-9]{4}[. ][0-9]{2}[. ][0-9]{3}", check.netherlands, 9),
    Form("PL", r"[0-9]{11}", check.poland, 11),
    Form("PL", r"[0-9]{3}-?(?:[0-9]{3}-?[0-9]{2}|[0-9]{2}-?[0-9]{2}-?[0-9])-?[0-9]{2}|[0-9]{10}", check.poland_tax, 10),
    Form("PT", r"[0-9]{3} ?[0-9]{3} ?[0-9]{3}", check.portugal_tax, 9),
    Form("RO", r"[1-8][0-9]{12}", check.romania, 13),
    Form("SE", r"[0-9]{10}", check.sweden, 10),
    Form("SE", r"(?:19|20)[0-9]{10}", check.sweden, 12),
    Form("SI", r"[0-9]{13}", check.slovenia_person, 13),
    Form("SI", r"[0-9]{8}", check.slovenia_tax, 8),
    Form("AU", r"[0-9]{3}([ \-]?)[0-9]{3}\1[0-9]{3}", check.australia_tax, 9),
    Form("BR", r"[0-9]{11}", check.brazil_person, 11),
    Form("CA", r"[0-9]{3}([ \-]?)[0-9]{3}\1[0-9]{3}", luhn, 9),
    Form("GB", r"[0-9]{3}[ \-]?[0-9]{3}[ \-]?[0-9]{4}", check.england_health, 10),
    Form("IN", r"[2-9][0-9]{11}", check.verhoeff, 12),
    Form("JP", r"[0-9]{4}([ \-]?)[0-9]{4}\1[0-9]{4}", check.japan, 12),
    Form("KR", r"[0-9]{13}", check.korea, 13),
    Form("NO", r"[0-9]{6} ?[0-9]{5}", check.norway, 11),
    Form("TH", r"[1-8][0-9]{12}", check.thailand, 13),
    Form("TR", r"[1-9][0-9]{10}", check.turkey, 11),
)  # fmt: skip
# What `NAMED` comes down to, in few patterns: a text is searched once, and each find is held against all of them.
_DIGITS = (
    r"[0-9](?:[ .\-]?[0-9]){7,12}|[A-Z][0-9]{9}|[0-9]{7}[A-Z]|(?=[A-Z]{0,8}[0-9])[CFGHJKLMNPRTVWXYZ][0-9A-Z]{8}[0-9]"
)

# Words for such numbers. Those in capitals only are words or abbreviations of something else in another case.
CAPITAL_WORDS = (
    "DNI|NIE|NIF|CIF|NUSS|BSN|NIP|FIN|SIN|TFN|CPF|CNPJ|NIR|INSEE|NINO|PPSN?|CNP|EGN|OIB|TAJ|TIC|AFM|AMKA|CPR|RRN|FRN"
    "|PAN"
    "|NIK|KTP|NIN|TIN|RUT|CURP|CUIT|CUIL|NISS|INSZ|EMSO|JMBG|SVNR|REGON|CNIC|HETU|PESEL|NRIC|AHV|AVS|UIN|NHS|NI|IRD"
    "|ABN"
    "|AADHAAR|UID|KVNR|SPI"
)
WORDS = (
    r"aadhaa?r(?: card)?|adhaar|uidai|आधार|codice fiscale|cod\. ?fisc(?:ale)?\.?|c\.f\.|partita iva|p\. ?iva"
    r"|documento (?:nacional )?de identidad|carta d['’]identità|carte (?:nationale )?d['’]identité"
    r"|documento d['’]identità"
    r"|tessera sanitaria|contribuinte|cartão de cidadão|cartao de cidadao|bilhete de identidade|registre national"
    r"|burgerservicenummer|sofinummer|rijksregister(?:nummer|nr)?|pesel|nric|tax file (?:number|no)|tfn|cpf|nino"
    r"|national insurance(?: number| no)?|ni (?:number|no)|social insurance(?: number| no)"
    r"|national health(?: service)? number"
    r"|steuer[ \-]?id(?:nr|entifikationsnummer|entnummer)?|steuerliche identifikationsnummer|idnr|steuer(?:nummer"
    r"|[ \-]?nr)"
    r"|st\.?-?nr|sozialversicherungs(?:nummer|[ \-]?nr)|sv-?nr|rentenversicherungs(?:nummer|[ \-]?nr)"
    r"|versicherten(?:nummer|[ \-]?nr)|kvnr|personalausweis(?:nummer|nr)?|ausweis(?:nummer|[ \-]?nr)"
    r"|abgabenkontonummer"
    r"|personnummer|samordningsnummer|organisationsnummer|cpr[ \-]?(?:nr|nummer|number|no)|personnr|d-nummer"
    r"|henkilötunnus|henkilotunnus|hetu|isikukood|personas kods|asmens kodas|rodné [čc][íi]slo|rodne cislo"
    r"|emšo|emso|matičn[ai] številka|jmbg|cod(?:ul)? numeric(?: personal)?|amka|pps (?:no|number)"
    r"|personal public service (?:no|number)|matricule(?: national)?|adóazonosító(?: jel)?|adószám|taj[ \-]?szám"
    r"|személyi(?:gazolvány)?(?: szám| azonosító)?|davčna(?: številka)?|davcna|kennitala|kimlik(?: no)?|curp|cuit|cuil"
    r"|ahv[ \-]?(?:nr|nummer)"
    r"|マイナンバー|個人番号|주민등록번호|주민번호|外国人登録番号|身分證(?:字號)?|身份證(?:字號|號碼)?"
    r"|ktp|cnic|nigerian? (?:nin|id)|national identification|voter id|epic no"
    r"|tax(?:payer)? (?:id|identification|identifier|reference|number|no)|utr|vat (?:id|no|number|reg(?:istration)?)"
    r"|ust[ \-]?id(?:[ \-]?nr)?|mwst[ \-]?nr|btw[ \-]?(?:nr|nummer)|n[°º] tva|regon|cnpj"
    r"|identity (?:card|number|no|document)|identification (?:card|number|no|document)|national (?:id|identity"
    r"|register)"
    r"|id[ \-]?card|person(?:al|nel)? (?:id|identity|identification)(?: code| number| no)?|citizen(?:ship)? (?:id"
    r"|number|no)"
    r"|medicare(?: (?:card|no|number))?|sa id|emirates id|state id|iqama|mykad|teudat zehut"
)
# Words whose second letter may have an accent: they are looked for from what follows it.
_ACCENTED = (
    r"(?<=(?<!\p{L})n[úu])mero de (?:identifica[cç](?:ión|ão) fiscal|utente|segurança social|afiliación|identidad)"
    r"|(?<=(?<!\p{L})num[ée])ro (?:de )?(?:s[ée]cu(?:rit[ée] sociale)?|fiscal|national|insee|spi)"
    r"|(?<=(?<!\p{L})s[ée])curit[ée] sociale|(?<=(?<!\p{L})f[øo])dselsnummer"
    r"|(?<=(?<!\p{L})c[ée])dula(?: de (?:ciudadanía|identidad))?"
)
# Greek and Cyrillic, whose letters the prefilter does not tell apart: near the number.
_OTHER_SCRIPTS = r"(?<!\p{L})(?:αμκα|αφμ|α\.δ\.τ\.|ταυτότητα|егн|снилс|инн|паспорт)(?!\p{L})[\s:№#=.]{0,4}\K"
_BETWEEN = (
    r"(?![\p{Latin}])(?:[\s:#=.,(\[\"'’\-]|(?<![A-Za-z])(?:no|nr|num|numero|número|numéro|nummer|number|numer|szám"
    r"|código"
    r"|code|kod|card|id|n[°º]|is|was|ist|es|è|é|est|är|er|on|jest|este|je|reads|as|for|de|del|della|der|du|da"
    r"|do)(?![0-9A-Za-z])"
    r"|号码|號碼|编号|号|號|番号|は|为|為|是|은|는){0,6}\K"
)
_LABEL = rf"(?<!\p{{L}})(?:(?-i:{CAPITAL_WORDS}|My Number)|{WORDS}){_BETWEEN}"
_ACCENTED_LABEL = rf"(?:{_ACCENTED}){_BETWEEN}"
_NO_YEARS = (  # nor a date, nor an employer's number of the United States, which has a kind of its own
    r"(?!(?:19|20)[0-9]{2}[\-/](?:19|20)?[0-9]{2}(?![0-9])|[0-9]{2}-[0-9]{7}(?![0-9])"
    r"|[0-9]{1,2}[./][0-9]{1,2}[./](?:19|20)[0-9]{2}(?![0-9]))"
)
_AFTER_LABEL = (
    r"(?=(?:[A-Z]{0,6}[ ./+\-]{0,2}[0-9]){5}|(?:[A-Z]{0,6}[0-9]){4}[A-Z](?![0-9A-Za-z]))"
    r"(?:[A-Z]{3} ?[A-Z]{3} ?[0-9A-Z]{5} ?[0-9A-Z]{5}|[A-Z]{4}[0-9]{6}[0-9A-Z]{3,8}|[A-Z]{5}[0-9]{4}[A-Z]"
    r"|(?-i:\p{Lu}{1,3}[ .\-]?)?[0-9](?:[ ./+\-]?[0-9]|[A-Z](?=[0-9])){3,18}(?:[ \-]?(?-i:[A-Z])[A-Z0-9][0-9]"
    r"|[ ./\-]?(?-i:[A-Z]{1,2})(?![A-Za-z])|[0-9A-Z]{1,3})?)"
    r"(?![0-9A-Za-z])"
)
_DIGITS_AFTER = r"[0-9](?:[ .\-/]?[0-9]){6,13}(?![0-9A-Za-z])"
_RECORDS = (
    "MRN|MR|CSN|EMR|EHR|HMO|PPO|EMPI|FIN|HAR|RX|Rx|DOB|SSN|PCP|MSH|EVN|PID|NK1|PV1|ORC|OBR|OBX|IN1|GT1"  # and of HL7
)
_ANY_LABEL = re.compile(
    rf"(?:(?:{CAPITAL_WORDS}|My Number|{_RECORDS})|(?i:{WORDS}))(?i:[ .:#\-]{{1,2}}(?:no|nr|num|number|nummer|card|id"
    rf"|code))?[ .:#\-]*"
)


def is_label(text: str) -> bool:
    """Tell whether the text is a word for a number and no more, which is nobody's name."""
    return _ANY_LABEL.fullmatch(text) is not None


def without_labels(text: str, spans: Sequence[Span]) -> list[Span]:
    """Leave out names that lie in a word for a number: alone, or before a national number."""
    numbers = [span.start for span in spans if span.entity_type == ENTITY]
    labels = [
        match.span() for number in numbers for match in _ANY_LABEL.finditer(text, max(0, number - BEFORE), number)
    ]
    return [
        span
        for span in spans
        if span.entity_type not in NAME_KINDS
        or not (
            is_label(text[span.start : span.end].strip())
            or any(start <= span.start and span.end <= end for start, end in labels)
        )
    ]


class _FormsRecognizer(ChecksumRecognizer):
    """What the forms' checks hold for, each of them asked only for numbers that have its form."""

    entity = ENTITY
    forms: Sequence[Form] = ()
    separators = re.compile(r"[ .\-/+]")

    @cached_property
    def _checks(self) -> dict[int, list[tuple[re.Pattern[str], Callable[[str], bool]]]]:
        checks = defaultdict(list)
        for form in self.forms:
            checks[form.length].append((re.compile(form.regex, re.IGNORECASE), form.check))
        return dict(checks)

    def holds(self, found: str, value: str) -> bool:
        forms = self._checks.get(0 if 0 in self._checks else len(value), ())
        return any(regex.fullmatch(found) is not None and check_of(value) for regex, check_of in forms)


class NationalFormRecognizer(_FormsRecognizer):
    """National numbers that their form and their check tell from any other."""

    forms = ALONE
    regexes = tuple(rf"{_DIGIT_BEFORE}(?-i:{form.regex}){_DIGIT_AFTER}" for form in ALONE)


class NationalNumberRecognizer(_FormsRecognizer):
    """National numbers of mere digits whose check holds, near a word for one."""

    forms = NAMED
    regexes = (rf"{_DIGIT_BEFORE}(?-i:{_DIGITS}){_DIGIT_AFTER}",)
    words = tuple(
        " ".join(
            """
        aadhaar, aadhar, codice fiscale, partita iva, dni, nie, nif, bsn, burgerservicenummer,
        pesel, nric, tfn, tax file, cpf, nino, national insurance, social insurance, steuer-id,
        steuernummer, steueridentifikationsnummer, steuerliche, idnr,
        sozialversicherungsnummer, svnr, versichertennummer, ausweis, personalausweis,
        personnummer, cpr, fødselsnummer, henkilötunnus, isikukood, personas kods, asmens
        kodas, rodné číslo, oib, emšo, jmbg, егн, egn, cnp, cod numeric, amka, αμκα, afm, αφμ,
        pps, ppsn, rijksregisternummer, rijksregister, registre national, numéro national,
        numéro fiscal, sécurité sociale, matricule, contribuinte, taj, adóazonosító, személyi,
        davčna, kennitala, kimlik, マイナンバー, 個人番号, 주민등록번호, снилс, инн, tax id, tax number, tax
        identification, national id, national number, identity number, identity card, id card,
        id number, personal code, nhs, medicare, insurance number, 身分證, 身份證
            """.split()
        ).split(", ")
    )
    weak = True


class NamedNationalNumberRecognizer(PatternRecognizer):
    """What follows a word for a national number, up to the delimiter."""

    def __init__(
        self,
        supported_language: str = "en",
        supported_entity: str | None = None,
        context: list[str] | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(
            supported_entity=supported_entity or ENTITY,
            patterns=[
                Pattern(f"{ENTITY} after a word", _LABEL + _NO_YEARS + _AFTER_LABEL, FAIR + 0.06),
                Pattern(f"{ENTITY} after a word with an accent", _ACCENTED_LABEL + _AFTER_LABEL, FAIR + 0.06),
                Pattern(f"{ENTITY} after a word in another script", _OTHER_SCRIPTS + _DIGITS_AFTER, FAIR + 0.06),
            ],
            context=context,
            supported_language=supported_language,
            name=name,
        )
