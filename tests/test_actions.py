"""What stands in place of personal data: action by action, and what no action may leave behind."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import astuple
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from faker import Faker
from typer.testing import CliRunner

from sdk import Project
from sdk.cli.app import app
from sdk.crypto import Secret
from sdk.data.check_digits import luhn, mod_97
from sdk.errors import InvalidInput, OutOfOrder, Refused, Tampered
from sdk.policy import Action, ScrubRules, read_policy
from sdk.scrub.replace import invented_numbers
from sdk.scrub.replace.actions import Actions, Document, mask
from sdk.scrub.replace.dates import shifted, year_only
from sdk.scrub.replace.generalize import SMALL_ZIP_AREAS, generalized
from sdk.scrub.replace.token_table import TOKEN_TABLE, kind_of, reveal, write_token_table
from sdk.scrub.spans import Span
from tests.workshop import Workshop, make_workshop, write_policy

KEY, KEY_ID = bytes(range(32)), "1a2b3c4d5e6f7788"
MARKED = re.compile(r"\{(?P<kind>[A-Z_0-9]+):(?P<value>[^}]*)\}")


def rules(default: Action = "placeholder", scope: str = "project", **actions: Action) -> ScrubRules:
    return ScrubRules.model_validate(
        {
            "required": True,
            "recognizer": "embedded",
            "score_threshold": 0.4,
            "min_recall": 0.9,
            "default_action": default,
            "actions": actions,
            "token_scope": scope,
            "reversible": (),
            "fields": {},
            "on_failure": "refuse",
            "row_seconds": 10,
            "quasi_identifiers": (),
            "min_k": 1,
            "max_miss_rate": None,
            "identifiers": {},
        }
    )


def marked(text: str) -> tuple[str, list[Span]]:
    """`{PERSON:Ann Lee}` -> the plain text and its spans."""
    plain, spans, position = "", [], 0
    for match in MARKED.finditer(text):
        plain += text[position : match.start()]
        spans.append(Span(len(plain), len(plain) + len(match["value"]), match["kind"], 1.0))
        plain += match["value"]
        position = match.end()
    return plain + text[position:], spans


def document(policy: ScrubRules, row: str = "r", patient: str | None = None, language: str = "en") -> Document:
    return Actions(policy, KEY, KEY_ID).document(row, patient, language)


def done(text: str, policy: ScrubRules, **where: Any) -> str:
    return document(policy, **where).replaced(*marked(text))


# -- placeholder and token --------------------------------------------------------------------------------------------


def test_placeholders_number_the_values_of_a_document_by_kind() -> None:
    doc = document(rules())
    assert (
        doc.replaced(*marked("{PERSON:Ann Lee}, {PERSON:Bo}, {US_SSN:536-22-8726}"))
        == "<PERSON_1>, <PERSON_2>, <US_SSN_1>"
    )
    assert (
        doc.replaced(*marked("{PERSON:ANN  LEE}; {US_SSN:536 22 8726}; {PERSON:Cy}"))
        == "<PERSON_1>; <US_SSN_1>; <PERSON_3>"
    )
    assert doc.whole("bo", "PERSON") == "<PERSON_2>"
    assert done("{PERSON:Bo}", rules()) == "<PERSON_1>"


def test_a_token_names_its_kind_and_key_and_is_the_same_for_every_spelling() -> None:
    token = done("{PERSON:Ann Lee}", rules("token"))
    assert re.fullmatch(r"<PERSON_k1a2b3c4d_[0-9a-f]{20}>", token)
    for other in ("ann lee", "ＡＮＮ ＬＥＥ", "Ann-Lee", "Ann\u200bLee", "Ann\u00a0Lee"):
        assert done(f"{{PERSON:{other}}}", rules("token"), row="x", patient="p") == token
    phones = {
        done(f"{{PHONE_NUMBER:{n}}}", rules("token"))
        for n in ("138 1234 5678", "+86 138-1234-5678", "１３８１２３４５６７８")
    }
    assert len(phones) == 1
    assert done("{ORGANIZATION:Ann Lee}", rules("token"))[-21:] != token[-21:]
    assert Actions(rules("token"), KEY[::-1], KEY_ID).document("r", None, "en").whole("Ann Lee", "PERSON") != token


@pytest.mark.parametrize(("scope", "same"), [("document", 1), ("patient", 2), ("project", 3)])
@pytest.mark.parametrize("action", ["token", "surrogate"])
def test_the_scope_says_where_a_value_stays_the_same(scope: str, same: int, action: Action) -> None:
    policy = rules(action, scope)
    value = "{MEDICAL_RECORD_NUMBER:4711-0815-99}"
    first = done(value, policy, row="a", patient="p")
    others = [done(value, policy, row=r, patient=p) for r, p in (("a", "p"), ("b", "p"), ("c", "q"))]
    assert [other == first for other in others] == [i < same for i in range(3)]


def test_scope_parts_cannot_be_shifted_into_one_another() -> None:
    one = document(rules("token", "patient"), patient="ab").whole("c", "PERSON")
    assert document(rules("token", "patient"), patient="a").whole("bc", "PERSON") != one


def test_a_row_without_patient_is_named_where_the_scope_needs_one() -> None:
    with pytest.raises(InvalidInput, match="every row must name its patient") as caught:
        document(rules("token", "patient"), row="r7")
    assert caught.value.faults == ("row r7: no patient",)
    document(rules("placeholder", "patient"), row="r7")


@pytest.mark.parametrize("policy", [rules("token"), rules(PERSON="surrogate"), rules(DATE_TIME="shift")])
def test_keyed_actions_need_a_key(policy: ScrubRules) -> None:
    for key, key_id in ((b"", KEY_ID), (KEY[:15], KEY_ID), (KEY, "")):
        with pytest.raises(InvalidInput, match="key for tokens"):
            Actions(policy, key, key_id)
    Actions(rules(), b"", "")


# -- surrogates -------------------------------------------------------------------------------------------------------


def test_the_parts_of_a_name_agree_and_keep_their_shape() -> None:
    values = ("John Smith", "Smith, John", "J. Smith", "JOHN SMITH", "Smith", "John", "john smith")
    text = "|".join(f"{{PERSON:{value}}}" for value in values)
    full, turned, initial, capitals, surname, given, low = done(text, rules("surrogate")).split("|")
    first, last = full.split()
    assert {first, last} & {"John", "Smith"} == set()
    assert (turned, initial, capitals) == (f"{last}, {first}", f"{first[0]}. {last}", full.upper())
    assert (surname, given, low) == (last, first, full.lower())
    assert done("{PERSON:Smith}", rules("surrogate"), row="another") == last
    assert re.fullmatch(
        r"Dr\. \w+-\w+ [A-Z]\. de la \w+ III", done("{PERSON:Dr. Mary-Jane K. de la Watson III}", rules("surrogate"))
    )


@pytest.mark.parametrize(
    ("text", "pool"),
    [
        ("Mr. {PERSON:Xylon Ferber}", "first_names_male"),
        ("Mrs. {PERSON:Xylon Ferber}", "first_names_female"),
        ("{PERSON:Mary Ferber}", "first_names_female"),
        ("{PERSON:John Ferber}", "first_names_male"),
    ],
)
def test_gender_is_kept_where_it_is_known(text: str, pool: str) -> None:
    from faker.providers.person.en_US import Provider

    new = done(text, rules("surrogate")).replace("Mr. ", "").replace("Mrs. ", "")
    assert new.split()[0] in getattr(Provider, pool)


def test_chinese_names_stay_chinese_of_the_same_length_surname_and_gender() -> None:
    from faker.providers.person.zh_CN import Provider

    text = "{PERSON:张伟}|{PERSON:张}先生|{PERSON:欧阳娜娜}|{PERSON:小张}|{PERSON:李秀英女士}|{PERSON:张 伟}"
    plain, surname, compound, nick, titled, spaced = done(text, rules("surrogate"), language="zh").split("|")
    assert plain[0] in Provider.last_names
    assert plain[0] != "张"
    assert (surname, nick, spaced) == (f"{plain[0]}先生", f"小{plain[0]}", f"{plain[0]} {plain[1]}")
    assert len(compound) == 4
    assert titled.endswith("女士")
    assert not set(titled[1:3]) & (set("".join(Provider.first_names_male)) - set("".join(Provider.first_names_female)))


def digits(text: str) -> str:
    return re.sub(r"\W", "", text)


def resident(text: str) -> bool:
    weights = [2**i % 11 for i in range(17, 0, -1)]
    return (
        "10X98765432"[sum(int(c) * w for c, w in zip(text, weights, strict=False)) % 11] == text[17]
        and text[:2] == "19"
    )


def lei(text: str) -> bool:
    return mod_97(text)


def vin(text: str) -> bool:
    worth = {
        **dict(zip("ABCDEFGH", range(1, 9), strict=True)),
        **dict(zip("JKLMN", range(1, 6), strict=True)),
        "P": 7,
        "R": 9,
    }
    worth |= dict(zip("STUVWXYZ", range(2, 10), strict=True)) | {str(i): i for i in range(10)}
    weights = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)
    return "0123456789X"[sum(worth[c] * w for c, w in zip(text, weights, strict=True)) % 11] == text[8]


def aba(text: str) -> bool:
    return sum(int(c) * w for c, w in zip(text, (3, 7, 1) * 3, strict=True)) % 10 == 0


def like(pattern: str) -> Callable[[str], bool]:
    return lambda value: re.fullmatch(pattern, value) is not None


NUMBERS: list[tuple[str, str, Callable[[str], bool]]] = [
    ("CREDIT_CARD", "4111 1111 1111 1234", lambda v: luhn(digits(v)) and v.startswith("4242 42")),
    ("CREDIT_CARD", "378282246310005", lambda v: luhn(v) and v.startswith("378282")),
    ("CN_BANK_CARD", "6222021234567890128", lambda v: luhn(v) and v.startswith("620000")),
    ("IBAN_CODE", "GB29 NWBK 6016 1331 9268 19", lambda v: lei(digits(v)[4:] + digits(v)[:4]) and v.startswith("GB")),
    ("LEI", "5493001KJTIIGC8Y1R12", lei),
    ("US_SSN", "536-22-8726", lambda v: v[0] == "9" and v[4:6] < "50"),
    ("US_ITIN", "912-70-1234", lambda v: v[4:6] in ("89", "93")),
    ("US_EIN", "12-3456789", lambda v: v[2] == "-"),
    ("US_NPI", "1234567893", lambda v: luhn("80840" + v) and v[0] == "2"),
    ("CN_RESIDENT_ID", "11010519491231002X", resident),
    ("VIN", "1HGCM82633A004352", vin),
    ("IMEI", "490154203237518", lambda v: luhn(v) and v.startswith("00")),
    ("ISIN", "US0378331005", lambda v: luhn("".join(str(int(c, 36)) for c in v)) and v.startswith("US")),
    ("ABA_ROUTING_NUMBER", "021000021", aba),
    ("SWIFT_CODE", "DEUTDEFF500", lambda v: v[4:6] == "DE" and v[7] == "0"),
    ("PHONE_NUMBER", "(212) 867-5309", like(r"\(\d{3}\) 555-01\d\d")),
    ("PHONE_NUMBER", "1-617-867-5309 ext. 12", like(r"1-\d{3}-555-01\d\d ext\. \d\d")),
    ("PHONE_NUMBER", "+86 138-1234-5678", like(r"\+86 154-\d{4}-\d{4}")),
    ("PHONE_NUMBER", "１３８１２３４５６７８", like(r"１５４[０-９]{8}")),
    ("PHONE_NUMBER", "+44 20 7123 4567", lambda v: v.startswith("+44 20 7946 0")),
    ("IP_ADDRESS", "10.1.2.3", lambda v: v.rpartition(".")[0] in ("192.0.2", "198.51.100", "203.0.113")),
    ("IP_ADDRESS", "fe80::1", lambda v: v.startswith("2001:db8:")),
    ("MAC_ADDRESS", "aa:bb:cc:11:22:33", like(r"02(:[0-9a-f]{2}){5}")),
    ("EMAIL_ADDRESS", "john.doe42@acme.com", like(r"[a-z]+\.[a-z]+\d\d@example\.(com|org|net)")),
    ("URL", "https://www.acme.com/u/john", lambda v: v.startswith("https://www.example.org/")),
    ("AGE", "45 years old", like(r"[2-8]\d years old")),
    ("VEHICLE_PLATE", "京A12345", like(r"[一-龥][A-Z]\d{5}")),
    ("MY_OWN_KIND", "Ab-12x", like(r"[A-Z][a-z]-\d\d[a-z]")),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "value", "holds"), NUMBERS, ids=lambda x: x if isinstance(x, str) else "")
def test_numbers_keep_their_form_come_from_fictional_ranges_and_pass_their_check(
    kind: str, value: str, holds: Callable[[str], bool]
) -> None:
    for row in range(40):
        new = done(f"{{{kind}:{value}}}", rules("surrogate", "document"), row=str(row))
        assert holds(new), new
        assert new != value


def test_a_surrogate_is_never_the_value_even_where_the_range_is_small() -> None:
    doc = document(rules("surrogate"))
    for n in range(100):
        value = f"212-555-01{n:02d}"
        assert doc.whole(value, "PHONE_NUMBER") != value
    for age in range(20, 90):
        assert doc.whole(str(age), "AGE") != str(age)


def test_different_values_seldom_share_a_surrogate_and_never_a_token() -> None:
    source = random.Random(7)
    values = {f"{source.randrange(10**9):09d}" for _ in range(3000)}
    tokens, numbers = document(rules("token")), document(rules("surrogate"))
    assert len({tokens.whole(v, "US_SSN") for v in values}) == len(values)
    assert len({numbers.whole(v, "US_SSN") for v in values}) > 0.995 * len(values)


def test_places_keep_what_they_are() -> None:
    text = "{LOCATION:Boston, MA}|{LOCATION:France}|{LOCATION:Hudson River}|"
    text += "{STREET_ADDRESS:123 Main Street, Apt 4B}|{ORGANIZATION:Acme Bank}"
    town, country, river, street, bank = done(text, rules("surrogate")).split("|")
    assert re.fullmatch(r"[A-Z]\w+, [A-Z]{2}", town)
    assert country != "France"
    assert river.endswith(" River")
    assert re.fullmatch(r"[1-9]\d\d [A-Z]\w+ Street, Apt \dB", street)
    assert bank.endswith(" Bank")
    assert not {"Boston", "Hudson", "Main", "Acme"} & set(re.findall(r"\w+", " ".join((town, river, street, bank))))
    chinese = done("{STREET_ADDRESS:北京市海淀区中关村大街27号3号楼}", rules("surrogate"), language="zh")
    assert re.fullmatch(r"\w+市\w+区\w+大街\d\d号\d号楼", chinese)
    assert not re.search("北京|海淀|中关村", chinese)


SAME = """
import json, sys
from sdk.policy import ScrubRules
from sdk.scrub.replace.actions import Actions
from sdk.scrub.spans import Span
print(json.dumps({
    row: Actions(ScrubRules.model_validate(policy), bytes.fromhex(key), key_id).document(row, None, "en").replaced(
        text, [Span(*span) for span in spans])
    for policy, key, key_id, row, text, spans in json.load(sys.stdin)
}))
"""


def test_tokens_and_surrogates_are_the_same_in_another_process_and_another_order() -> None:
    fake, chinese, source = Faker("en_US"), Faker("zh_CN"), random.Random(3)
    fake.seed_instance(1)
    chinese.seed_instance(1)
    rows: list[tuple[Action, str, str]] = []
    for n in range(60):
        text = (
            f"{{PERSON:{fake.name()}}} {{PERSON:{chinese.name()}}} {{PHONE_NUMBER:{fake.phone_number()}}} "
            f"{{STREET_ADDRESS:{fake.street_address()}}} {{DATE_TIME:{fake.date()}}} {{EMAIL_ADDRESS:{fake.email()}}} "
            f"{{ORGANIZATION:{fake.company()}}} {{LOCATION:{chinese.city()}}}"
        )
        rows.append(("token" if n % 2 else "surrogate", str(n), text))
    expected = {row: done(text, rules(action), row=row) for action, row, text in rows}
    source.shuffle(rows)
    asked = []
    for action, row, text in rows:
        plain, spans = marked(text)
        asked.append((rules(action).model_dump(), KEY.hex(), KEY_ID, row, plain, [astuple(span) for span in spans]))
    run = subprocess.run(
        [sys.executable, "-c", SAME],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "77", "PYTHONPATH": str(Path(__file__).parents[1]), "PATH": ""},
    )
    assert json.loads(run.stdout) == expected


@pytest.mark.parametrize("action", ["placeholder", "token", "surrogate", "delete", "mask"])
def test_no_value_survives_its_replacement(action: Action) -> None:
    fakes = [Faker("en_US"), Faker("zh_CN"), Faker("de_DE"), Faker("ru_RU")]
    makers: list[tuple[str, Callable[[Faker], str]]] = [
        ("PERSON", lambda f: f.name()),
        ("STREET_ADDRESS", lambda f: f.address().replace("\n", ", ")),
        ("LOCATION", lambda f: f.city()),
        ("ORGANIZATION", lambda f: f.company()),
        ("EMAIL_ADDRESS", lambda f: f.email()),
        ("URL", lambda f: f.url()),
        ("PHONE_NUMBER", lambda f: f.phone_number()),
        ("CREDIT_CARD", lambda f: f.credit_card_number()),
        ("IBAN_CODE", lambda f: f.iban()),
        ("US_SSN", lambda f: f.ssn()),
        ("DATE_OF_BIRTH", lambda f: f.date()),
        ("IP_ADDRESS", lambda f: f.ipv4()),
        ("IP_ADDRESS", lambda f: f.ipv6()),
        ("MAC_ADDRESS", lambda f: f.mac_address()),
        ("PASSWORD", lambda f: f.password()),
        ("CVV", lambda f: f.credit_card_security_code()),
        ("BANK_X", lambda f: f.bban()),
    ]
    for seed in range(25):
        for fake in fakes:
            fake.seed_instance(seed)
            doc = document(rules(action), row=str(seed))
            for kind, make in makers:
                value = make(fake)
                text = doc.replaced(f"a {value} b", [Span(2, 2 + len(value), kind, 1.0)])
                assert len(value) <= 4 or value.casefold() not in text.casefold(), (kind, action)
                assert text.startswith("a")
                assert text.endswith("b")


def test_odd_values_are_replaced_without_an_error() -> None:
    source = random.Random(11)
    alphabet = "aZé9 ０张王-.,'@:/#+()·\u200b\u0301\n\t₂Ⅳ½🙂مش日"
    kinds = ["PERSON", "LOCATION", "STREET_ADDRESS", "ORGANIZATION", "NRP", "EMAIL_ADDRESS", "URL", "IP_ADDRESS"]
    kinds += ["PHONE_NUMBER", "DATE_TIME", "AGE", "ZIP_CODE", "OTHER", *invented_numbers.NUMBERS]
    doc = document(rules("surrogate"))
    for _ in range(3000):
        value = "".join(source.choice(alphabet) for _ in range(source.randrange(1, 25)))
        kind = source.choice(kinds)
        new = doc.whole(value, kind)
        assert len(value) <= 4 or value not in new, (kind, value)


# -- mask, delete, keep -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "value", "shown"),
    [
        ("CREDIT_CARD", "4111 1111 1111 1234", "4111 11** **** 1234"),
        ("CREDIT_CARD", "378282246310005", "***********0005"),
        ("CN_BANK_CARD", "6222021234567890128", "622202*********0128"),
        ("CREDIT_CARD", "4111 1111 1111 1234 12/27", "**** **** **** **** **/**"),
        ("IBAN_CODE", "GB29 NWBK 6016 1331 9268 19", "**** **** **** **** **68 19"),
        ("US_SSN", "536-22-8726", "***-**-**26"),
        ("PERSON", "张伟", "**"),
        ("PERSON", "Bartholomew Featherstone", "*********** ************"),
        ("PERSON", "Jose\u0301 O'Neill", "***** *'*****"),
        ("STREET_ADDRESS", "123 Main Street, Springfield", "*** **** ******, ***********"),
        ("PASSWORD", "correcthorsebattery", "*******************"),
        ("SOMETHING_ELSE", "123456789012", "************"),
        ("CREDIT_CARD", "41111111111", "***********"),
    ],
)
def test_masks_show_little(kind: str, value: str, shown: str) -> None:
    assert mask(value, kind) == shown


@pytest.mark.parametrize(
    ("text", "value", "left"),
    [
        ("card 4111, CVV 123, asks", "123", "card 4111, CVV, asks"),
        ("CVV 123 asks", "123", "CVV asks"),
        ("123 asks", "123", "asks"),
        ("it is 123", "123", "it is"),
        ("安全码123问", "123", "安全码问"),
        ("a\n123 b", "123", "a\nb"),
        ("(123)", "123", "()"),
    ],
)
@pytest.mark.parametrize("kind", ["CVV", "PIN", "TRACK_DATA"])
@pytest.mark.parametrize("default", ["keep", "placeholder"])
def test_card_secrets_are_always_deleted_and_leave_no_double_space(
    text: str, value: str, left: str, kind: str, default: Action
) -> None:
    start = text.index(value)
    acts = Actions(rules(default), KEY, KEY_ID)
    assert acts.action_of(kind) == "delete"
    assert acts.document("r", None, "en").replaced(text, [Span(start, start + len(value), kind, 1.0)]) == left


@pytest.mark.parametrize("action", ["keep", "token", "mask", "placeholder"])
def test_a_policy_that_keeps_card_secrets_is_malformed(action: str, tmp_path: Path) -> None:
    path = write_policy(tmp_path / "p.yaml", scrub__actions={"PIN": action, "PERSON": "token"})
    with pytest.raises(InvalidInput, match=f"PIN: {action}: these must be deleted .PCI DSS 4.0.1, 3.3.1"):
        read_policy(path)


def test_keep_leaves_the_value() -> None:
    assert done("{TITLE:Dr.} {PERSON:Ann}", rules(TITLE="keep")) == "Dr. <PERSON_1>"


# -- generalize -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "value", "coarse"),
    [
        ("DATE_TIME", "03/04/2021", "2021"),
        ("DATE_TIME", "March 4th, 2021 at 10:30", "2021"),
        ("DATE_TIME", "2021-03-04T10:15:00Z", "2021"),
        ("DATE_TIME", "2021年3月4日", "2021年"),
        ("DATE_TIME", "２０２１年３月４日", "2021年"),
        ("DATE_TIME", "二〇二一年三月四日", "2021年"),
        ("DATE_TIME", "20210304", "2021"),
        ("DATE_TIME", "03/04/21", "2021"),
        ("DATE_TIME", "from 2019 to 2021", "2019-2021"),
        ("DATE_TIME", "next Monday", None),
        ("DATE_TIME", "March 4", None),
        ("DATE_OF_BIRTH", "4 March 1931", "before 1940"),
        ("DATE_OF_BIRTH", "1931年3月4日", "1940年以前"),
        ("DATE_OF_BIRTH", "4 March 1981", "1981"),
        ("ZIP_CODE", "02139", "021**"),
        ("ZIP_CODE", "02139-4307", "021**"),
        ("ZIP_CODE", "03601", "000**"),
        ("ZIP_CODE", "100080", "10****"),
        ("ZIP_CODE", "SW1A 1AA", None),
        ("AGE", "93 years old", "90+ years old"),
        ("AGE", "９３岁", "90+岁"),
        ("AGE", "90", "90+"),
        ("AGE", "89", "89"),
        ("AGE", "ninety-three", None),
        ("AGE_OVER_89", "101", "90+"),
        ("LOCATION", "the U.S.", "the U.S."),
        ("LOCATION", "Canada’s", "Canada’s"),
        ("LOCATION", "Ohio, Texas and Sub-Saharan Africa", "Ohio, Texas and Sub-Saharan Africa"),
        ("LOCATION", "Trinidad and Tobago", "Trinidad and Tobago"),
        ("LOCATION", "中国", "中国"),
        ("LOCATION", "Springfield, Illinois", None),
        ("LOCATION", "rural China", "rural China"),
        ("LOCATION", "Kingdom of Saudi Arabia", "Kingdom of Saudi Arabia"),
        ("LOCATION", "rural Alabama", None),
        ("LOCATION", "East London", None),
        ("LOCATION", "New York", None),
        ("LOCATION", "Washington", None),
        ("LOCATION", "Singapore", None),
        ("LOCATION", "Kansas City", None),
        ("LOCATION", "江苏省", None),
        ("IP_ADDRESS", "203.0.113.77", "203.0.113.0/24"),
        ("IP_ADDRESS", "2001:db8:1:2::3", "2001:db8:1::/48"),
        ("IP_ADDRESS", "300.1.1.1", None),
    ],
)
def test_generalized_values(kind: str, value: str, coarse: str | None) -> None:
    assert generalized(value, kind) == coarse
    shown = coarse if coarse is not None else f"<{kind}_1>"
    assert done(f"{{{kind}:{value}}}", rules(**{kind: "generalize"})) == shown


def test_the_seventeen_small_zip_areas() -> None:
    assert len(SMALL_ZIP_AREAS) == 17
    assert {generalized(area + "55", "ZIP_CODE") for area in SMALL_ZIP_AREAS} == {"000**"}


# -- shift ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "moved"),
    [
        ("03/04/2021", "03/14/2021"),
        ("3/4/2021", "3/14/2021"),
        ("25/12/2021", "04/01/2022"),
        ("04.03.21", "14.03.21"),
        ("4 March 2021", "14 March 2021"),
        ("4th of March, 2021", "14th of March, 2021"),
        ("March 22nd, 2021", "April 1st, 2021"),
        ("MAR 24 2021", "APR 3 2021"),
        ("Feb. 20, 2024", "Mar. 1, 2024"),
        ("04-Mar-2021", "14-Mar-2021"),
        ("2021-03-04", "2021-03-14"),
        ("2021-03-04T10:15:00Z", "2021-03-14T10:15:00Z"),
        ("2021-12-30 23:59", "2022-01-09 23:59"),
        ("20210304", "20210314"),
        ("Thursday, March 4, 2021 at 3 pm", "Sunday, March 14, 2021 at 3 pm"),
        ("2021年3月4日", "2021年3月14日"),
        ("2021年03月04号 星期四", "2021年03月14号 星期日"),
        ("２０２１年３月４日", "２０２１年３月１４日"),
        ("二〇二一年三月二十五日", "二〇二一年四月四日"),
        ("2021-03-04 to 2021-03-08", "2021-03-14 to 2021-03-18"),
        ("March 4", None),
        ("March 2021", None),
        ("2021", None),
        ("Monday", None),
        ("10:30", None),
        ("2021-02-30", None),
        ("2021-03-04 and 5 April", None),
        ("9999-12-31", None),
        ("yesterday", None),
    ],
)
def test_dates_move_in_their_own_format(value: str, moved: str | None) -> None:
    assert shifted(value, 10, day_before_month=False) == moved


def test_a_document_that_writes_the_day_first_is_read_so() -> None:
    doc = document(rules(DATE_TIME="shift"))
    after = doc.replaced(*marked("{DATE_TIME:04/03/2021} {DATE_TIME:25/03/2021}")).split()
    one, two = (date(int(d[6:]), int(d[3:5]), int(d[:2])) for d in after)
    assert two - one == timedelta(days=21)


def test_one_offset_per_patient_within_a_year_never_zero_keeps_intervals() -> None:
    policy = rules(DATE_TIME="shift", DATE_OF_BIRTH="shift")
    offsets = set()
    for n in range(400):
        doc = document(policy, row=f"r{n}", patient=f"p{n // 2}")
        moved = doc.replaced(*marked("{DATE_TIME:2020-01-31} {DATE_TIME:Mar 1, 2021}")).split(maxsplit=1)
        first = date.fromisoformat(moved[0])
        offset = (first - date(2020, 1, 31)).days
        assert doc.replaced(*marked("{DATE_OF_BIRTH:2021-03-01}")) == str(first + timedelta(days=395))
        offsets.add((n // 2, offset))
        assert 1 <= abs(offset) <= 365
    assert len(offsets) == 200
    assert len({offset for _, offset in offsets}) > 120
    alone = {document(policy, row=r).whole("2020-01-31", "DATE_TIME") for r in "abcdef"}
    assert len(alone) > 1


def test_intervals_are_kept_over_random_dates_and_formats() -> None:
    source = random.Random(5)
    formats = ["%Y-%m-%d", "%d %B %Y", "%B %d, %Y", "%m/%d/%Y", "%Y年%m月%d日", "%d.%m.%Y", "%Y%m%d"]
    from datetime import datetime

    for _ in range(2000):
        when, days = date(1900, 1, 1) + timedelta(days=source.randrange(60_000)), source.randrange(-365, 366)
        form = source.choice(formats)
        moved = shifted(when.strftime(form), days, day_before_month=False)
        assert moved is not None
        assert datetime.strptime(moved, form).date() == when + timedelta(days=days)
        assert year_only(when.strftime(form), birth=False) == f"{when.year}{'年' if '年' in form else ''}"


# -- policies that ask for the impossible -----------------------------------------------------------------------------


def test_actions_that_their_kinds_cannot_have_are_all_listed() -> None:
    policy = rules("generalize", PERSON="generalize", US_SSN="shift", DATE_TIME="shift", ZIP_CODE="generalize")
    with pytest.raises(InvalidInput) as caught:
        Actions(policy.model_copy(update={"reversible": ("LOCATION", "CVV")}), KEY, KEY_ID)
    assert [fault.partition(":")[0] for fault in caught.value.faults] == [
        "scrub.default_action",
        "scrub.actions.PERSON",
        "scrub.actions.US_SSN",
        "scrub.reversible",
        "scrub.reversible",
    ]


# -- reversal ---------------------------------------------------------------------------------------------------------


def test_the_sealed_table_opens_with_its_key_alone_and_shows_nothing(tmp_path: Path) -> None:
    policy = rules("token").model_copy(update={"reversible": ("PERSON",)})
    doc = document(policy)
    out = doc.replaced(
        *marked("{PERSON:Bartholomew Featherstone}, {US_SSN:536-22-8726}, {PERSON:BARTHOLOMEW FEATHERSTONE}")
    )
    token = out.split(",")[0]
    assert [(kind, new) for kind, new, _ in doc.reversible] == [("PERSON", token)]
    assert kind_of(token) == "PERSON"
    secret = Secret.random()
    path = write_token_table(tmp_path, [*doc.reversible, *doc.reversible], secret)
    assert path.name == TOKEN_TABLE
    assert [p.name for p in tmp_path.iterdir()] == [TOKEN_TABLE]
    assert b"Featherstone" not in path.read_bytes()
    assert token.encode() not in path.read_bytes()
    assert reveal([path], token, secret) == "Bartholomew Featherstone"
    with pytest.raises(Tampered):
        reveal([path], token, Secret.random())
    with pytest.raises(InvalidInput, match="no sealed table"):
        reveal([path], token.replace(token[-3:-1], "zz"), secret)
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(Tampered):
        reveal([path], token, secret)
    with pytest.raises(OutOfOrder):
        reveal([], token, secret)
    for wrong in ("PERSON", "<PERSON_1>", "<X>", "", "<_k_>"):
        with pytest.raises(InvalidInput):
            kind_of(wrong)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return make_workshop(tmp_path_factory.mktemp("workshop"))


VALUE = "Bartholomew.Featherstone@mail.acme.com"


@pytest.fixture(scope="module")
def reversible(workshop: Workshop) -> tuple[Project, str]:
    """A project that keeps e-mail addresses in a sealed table, and the token of one."""
    policy = write_policy(
        workshop.folder / "reversible.yaml",
        "unsafe-lab",
        scrub__actions={"EMAIL_ADDRESS": "token", "US_SSN": "token"},
        scrub__reversible=["EMAIL_ADDRESS"],
    )
    project = workshop.project("reversible", policy=policy)
    source = workshop.folder / "mails.jsonl"
    contents = (f"Write to {VALUE} today", f"SSN 536-22-8726 of {VALUE}")
    source.write_text(
        json.dumps(
            {"messages": [{"role": r, "content": c} for r, c in zip(("user", "assistant"), contents, strict=True)]}
        )
    )
    record = project.scrub(source)
    folder = project.state().folder(record)
    text = (folder / record.data["train"].path).read_text()
    token = re.search(r"<EMAIL_ADDRESS_k[0-9a-f]{8}_[0-9a-f]{20}>", text)
    assert token is not None
    return project, token[0]


def written(project: Project) -> bytes:
    return b"".join(path.read_bytes() for path in project.root.rglob("*") if path.is_file())


def test_every_reversal_is_in_the_trail_and_the_value_in_no_file(reversible: tuple[Project, str]) -> None:
    project, token = reversible
    assert VALUE.encode() not in written(project)
    assert project.reveal(token, reason="A data subject asks.") == VALUE
    started, finished = project.history()[-2:]
    assert (started.action, started.phase, finished.phase) == ("reveal", "started", "finished")
    assert started.detail == {"reason": "A data subject asks.", "kind": "EMAIL_ADDRESS"}
    assert started.actor
    assert token not in started.model_dump_json()
    assert VALUE.encode() not in written(project)
    project.verify()


def test_nothing_is_revealed_that_cannot_be_recorded(
    reversible: tuple[Project, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    project, token = reversible
    opened: list[str] = []
    monkeypatch.setattr("sdk.scrub.reveal", lambda *a: opened.append("x"))
    monkeypatch.setattr(
        "sdk.project.state.ProjectState.append", lambda *a, **k: (_ for _ in ()).throw(OSError("disk is full"))
    )
    with pytest.raises(OSError, match="disk is full"):
        project.reveal(token, reason="A data subject asks.")
    assert opened == []


def test_a_kind_that_the_policy_does_not_name_is_refused_and_recorded(reversible: tuple[Project, str]) -> None:
    project, token = reversible
    with pytest.raises(Refused, match=r"scrub\.reversible: US_SSN"):
        project.reveal(token.replace("EMAIL_ADDRESS", "US_SSN"), reason="Curious.")
    last = project.history()[-1]
    assert (last.action, last.phase) == ("reveal", "refused")
    with pytest.raises(InvalidInput, match="reason"):
        project.reveal(token, reason=" ")
    with pytest.raises(InvalidInput, match="no sealed table"):
        project.reveal(token[:-4] + "zzz>", reason="Typing error.")
    assert project.history()[-1].phase == "failed"


def test_without_a_table_there_is_nothing_to_reveal(workshop: Workshop, reversible: tuple[Project, str]) -> None:
    policy = yaml.safe_load((workshop.folder / "reversible.yaml").read_text())
    path = workshop.folder / "again.yaml"
    path.write_text(yaml.safe_dump(policy))
    project = workshop.project("empty", policy=path)
    with pytest.raises(OutOfOrder, match="sdk scrub"):
        project.reveal(reversible[1], reason="A data subject asks.")


def test_the_command_shows_the_value_on_the_terminal_only(reversible: tuple[Project, str]) -> None:
    project, token = reversible
    arguments = ["reveal", token, "--project", str(project.root)]
    shown = CliRunner().invoke(app, [*arguments, "--reason", "A data subject asks."])
    assert (shown.exit_code, shown.stdout.strip()) == (0, VALUE)
    assert CliRunner().invoke(app, arguments).exit_code == 2
    assert CliRunner().invoke(app, [*arguments, "--reason", "x", "--json"]).exit_code == 2
    assert VALUE.encode() not in written(project)
