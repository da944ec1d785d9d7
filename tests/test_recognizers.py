"""A table for each kind of personal data, what must not match included, with the domains' own recognizers.yaml."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdk.data import read_rows
from sdk.errors import InvalidInput
from sdk.scrub.engine import Detector
from sdk.store import shipped

DOMAINS = ("finance", "medical")
THRESHOLD = 0.4  # the default policy's; some policies are stricter, and the floors below hold there too

# kind, text with every value between « and »; without any, nothing of this kind may be found
EITHER: list[tuple[str, str]] = [
    ("PERSON", "Customer «Thandiwe Mokoena» was advised by Dr. «Iqbal»."),
    ("PERSON", "Mr. «van der Berg» and Ms. «Ng» called; dear «Svetlana», all is well."),
    ("PERSON", "«Keller, Anna» (file 3) and «Sarah M. Connor», sister of «ROSA MARTINEZ»"),
    ("PERSON", "patient «Xochitl Quetzal» asks; «Jean-Luc d'Aubigny» answers, so does «Daniel O'Connor»."),
    ("PERSON", "borrower «Li Wei»: my name is «Ottoline Brackenbury»"),
    ("PERSON", "客户«张伟»问:客户«李想»想知道,客户«王和»问,患者«欧阳娜娜»(女)"),
    ("PERSON", "«熊若琳»女士与«诸葛亮»先生,联系人:«陈静»。请«张华»医生会诊,找«朱建国»。"),
    ("PERSON", "我是«汪锦程»,病人«买买提·艾力»来电"),
    ("PERSON", "Customer Due Diligence and Grace Period apply; Patient Safety is a Member State matter."),
    ("PERSON", "The client must sign Form W-8BEN; ask the Credit Risk Officer about Tier 1 Capital."),
    ("PERSON", "客户经理说明,患者高血压三年,患者黄疸加重,客户方便的时候,基金经理,主治医生,客户金额,股东关心"),
    ("EMAIL_ADDRESS", "mail «bob.o'neil+x@sub.example.co.uk», or <«a_b-c@example.org»>."),
    ("EMAIL_ADDRESS", "邮箱«zhang.san@163.com»来信,QQ邮箱«123456@qq.com»。"),
    ("EMAIL_ADDRESS", "全角邮箱«ｌｉ＠ｅｘａｍｐｌｅ．ｃｏｍ»"),
    ("EMAIL_ADDRESS", "three @ 5 each, user@ and @handle and a@b"),
    ("PHONE_NUMBER", "电话«13812345678»或«+86 138 1234 5678»、«138-1234-5678»,座机«010-62345678»,客服«400-810-8888»"),
    ("PHONE_NUMBER", "手机«１３８１２３４５６７８»问"),
    ("PHONE_NUMBER", "call «(212) 555-0143», «+1 312-555-0121», «305.555.0125», «+44 20 7946 0430» or «07700 900123»"),
    ("PHONE_NUMBER", "2024-05-06, 1,234,567,890 yuan, 12812345678, 138123456789, ratio 0.138123, 10-K, 45 CFR 164.514"),
    ("CREDIT_CARD", "card «4111 1111 1111 1111» exp 12/27, «3782-822463-10005», 信用卡号«5555555555554444»被拒"),
    ("CREDIT_CARD", "卡«4111　1111　1111　1111»和«４１１１１１１１１１１１１１１１»"),
    ("CREDIT_CARD", "credit card no. «4111 1111 1111 1112» 05/28"),  # mistyped, but named
    ("CREDIT_CARD", "order 4111 1111 1111 1112, 1234567812345670, 41111111111111, 4111111111111111111111"),
    ("CN_BANK_CARD", "银行卡«6222 0212 3456 7890 128»转账到«6217001234567893»"),
    ("CN_BANK_CARD", "编号6222021234567890129"),
    ("CVV", "CVV «852», security code «7038»,安全码«156»"),
    ("CVV", "code 852 of chapter 156"),
    ("IBAN_CODE", "from IBAN «GB29 NWBK 6016 1331 9268 19» today; 账号«DE89370400440532013000»待入账"),
    ("IBAN_CODE", "lower case as in «fr1420041010050500013m02606»"),
    ("IBAN_CODE", "GB29 NWBK 6016 1331 9268 18 and ZZ29 NWBK 6016 1331 9268 19 and DE8937040044053201300"),
    ("US_BANK_NUMBER", "acct «93355860», account number is «123-456-789»,账号«6217001234567890»"),
    ("US_BANK_NUMBER", "account 4000 holds 93355860 dollars"),
    ("ABA_ROUTING_NUMBER", "ABA routing «021000021», routing number «0110-0001-5»"),
    ("ABA_ROUTING_NUMBER", "a balance of 021000021 units; so the ABA approved 021000022 of them"),
    ("CN_RESIDENT_ID", "身份证号«11010519491231002X»、«11010519491231002x»,患者«440524188001010014»。"),
    ("CN_RESIDENT_ID", "身份证«１１０１０５１９４９１２３１００２Ｘ»"),
    ("CN_RESIDENT_ID", "流水号110105194912310021、110105194913310021"),
    ("US_SSN", "SSN «536-22-8726», social security «536 22 8726», ssn: «536228726»"),
    ("US_SSN", "part no. 000-22-8726, 666-22-8726, 936-22-8726, 536-00-8726, 536-22-0000, 1536-22-8726"),
    ("US_ITIN", "ITIN «960-71-5499»"),
    ("US_ITIN", "960-49-5499, 960-89-5499, 960-93-5499"),
    ("US_PASSPORT", "passport no. «A12345678», US passport «539630913»,护照号«576530030»"),
    ("US_PASSPORT", "passport valid for 10 years, form 539630913"),
    ("DATE_OF_BIRTH", "DOB «05/10/1959», born «9 September 1966», date of birth: «1996-08-18», born on «Jan 5, 1950»"),
    ("DATE_OF_BIRTH", "出生日期«1974年9月6日»,生日«1993/01/26»,«1990年1月2日»出生"),
    ("DATE_OF_BIRTH", "filed on 05/10/1959, 2024年12月31日的报表"),
    ("STREET_ADDRESS", "of «2622 Meadow Street, Apt 7, Tucson, AZ 85712» asks; «P.O. Box 123, Reno, NV 89501»"),
    ("STREET_ADDRESS", "at «221B Baker Street» and «1600 Pennsylvania Avenue NW, Washington, DC 20500»"),
    ("STREET_ADDRESS", "家住«北京市海淀区中关村南大街5号院3号楼2单元501室»,地址«上海浦东新区陆家嘴环路1000号»"),
    ("STREET_ADDRESS", "500 mg by the Oral route, 10 Street lamps, Wall Street firms, 会计准则第22号, 2014年第5号公告"),
    ("IP_ADDRESS", "from «10.0.0.1»:8080, IP地址«203.0.113.186»,客户"),
    ("IP_ADDRESS", "«2001:db8::74f:b84»: fine; «fe80::1ff:fe23:4567:890a»."),
    ("IP_ADDRESS", "10.0.0.256, 1.2.3, 12:30:45, std::vector, section 1.2.3.4.5"),
    ("URL", "see «https://portal.example.org/visit/02833?x=1»: done; «www.example.net»."),
    ("URL", "链接«https://clinic.example.com/p/2827»,家属; 网址«ftp://a.example.com»。"),
    ("URL", "i.e. e.g. 3.5 U.S. Inc.Plan and/or E11.9"),
    ("VEHICLE_PLATE", "车牌«京A12345»,«粤BD12345»,«川A·12345»; license plate «QNF-3523», plate «BWU 0766»"),
    ("VEHICLE_PLATE", "京A股市场, a plate of food, 苏ABCDEF"),
    ("DEVICE_SERIAL", "serial no. «SN-80E4545», SN: «YUW918001N»,序列号«VK180-86805»"),
    ("DEVICE_SERIAL", "serial dilution 10 times, series 65"),
    ("HEALTH_PLAN_NUMBER", "plan ID «4C60QD8DD82», Member ID: «9GT1-FP1-HN13»,医保卡号«YB941075094»"),
    ("HEALTH_PLAN_NUMBER", "plan 401 (k), policy of 2024, member states, insurance premium 1200"),
]  # fmt: skip
ONLY: dict[str, list[tuple[str, str]]] = {
    "finance": [
        ("SWIFT_CODE", "SWIFT code «DEUTDEFF500», BIC «WLYLBEEY»,汇款SWIFT代码«ZMCTCNKJ»"),
        ("SWIFT_CODE", "EXPENSES and REVENUES of the year; SWIFT payments"),
        ("CN_CREDIT_CODE", "统一社会信用代码«91350100M000100Y43»的企业"),
        ("CN_CREDIT_CODE", "批号91350100M000100Y44"),
        ("CRYPTO", "wallet «1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa»,地址«bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4»"),
        ("CRYPTO", "0x52908400098527886E0F7030069857D2E4169EE, 1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb"),
    ],
    "medical": [
        ("AGE_OVER_89", "a «97 years old» patient, «102-year-old», «91 y/o»,患者王伟,«99岁»,年龄«93»"),
        ("AGE_OVER_89", "89 years old, 95% ethanol, 97 mg, 年龄89,8.97岁, retention of 100 years, 199岁"),
        ("MEDICAL_RECORD_NUMBER", "MRN: «MR400004», my MRN is «00112135»,病历号«M1416492»,住院号«68744136»"),
        ("MEDICAL_RECORD_NUMBER", "住院30年, medical record retention 10 years, chart 7"),
        ("US_NPI", "NPI «1234567893», (NPI: «1245319599»)"),
        ("US_NPI", "1234567893 units; 1245319598"),
        ("DEA_NUMBER", "DEA no. «BB1388568», under DEA «MC7890406»"),
        ("DEA_NUMBER", "lot BB1388568, code MC7890407"),
    ],
}  # fmt: skip
TABLE = [(domain, *case) for domain in DOMAINS for case in EITHER + ONLY[domain]]


@pytest.fixture(scope="module")
def detectors() -> dict[str, Detector]:
    return {name: Detector(shipped("domains") / name / "recognizers.yaml", THRESHOLD) for name in DOMAINS}


def parts(marked: str) -> tuple[str, list[str]]:
    return marked.replace("«", "").replace("»", ""), [part.partition("»")[0] for part in marked.split("«")[1:]]


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize(("domain", "kind", "marked"), TABLE)
def test_values_of_a_kind_are_found_exactly_and_nothing_else(
    detectors: dict[str, Detector], domain: str, kind: str, marked: str, language: str
) -> None:
    text, values = parts(marked)
    found = [text[s.start : s.end] for s in detectors[domain].find(text, language) if s.entity_type == kind]
    assert found == values


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_kind_of_a_domain_stands_in_the_table_with_and_without_values(
    detectors: dict[str, Detector], domain: str
) -> None:
    cases = EITHER + ONLY[domain]
    assert {kind for kind, text in cases if "«" in text} == detectors[domain].kinds
    assert {kind for kind, text in cases if "«" not in text} == detectors[domain].kinds


def test_overlapping_findings_leave_no_part_of_a_value(detectors: dict[str, Detector]) -> None:
    text = "page https://user:pw@203.0.113.7/4111111111111111/end now"
    spans = detectors["finance"].find(text, "en")
    assert [text[s.start : s.end] for s in spans] == ["https://user:pw@203.0.113.7/4111111111111111/end"]


def test_a_very_long_message_is_scanned_to_its_end(detectors: dict[str, Detector]) -> None:
    text = "Revenue rose. " * 40_000 + "电话13812345678" + " and costs fell" * 20_000
    (span,) = detectors["finance"].find(text, "en")
    assert text[span.start : span.end] == "13812345678"


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("threshold", [0.3, 0.5])
def test_the_domains_planted_values_are_found_and_its_terms_are_left_alone(domain: str, threshold: float) -> None:
    detector = Detector(shipped("domains") / domain / "recognizers.yaml", threshold)
    planted = missed = rows = wrong = 0
    for split in ("train", "eval"):
        for row in read_rows(shipped("domains") / domain / f"{split}.jsonl").rows:
            rows += 1
            for i, message in enumerate(row.messages):
                spans = detector.find(message.content, row.language)
                inside = {k for span in spans for k in range(span.start, span.end)}
                for p in (p for p in row.spans if p.message == i):
                    planted += 1
                    missed += not inside >= {k for k in range(p.start, p.end) if not message.content[k].isspace()}
                known = {k for p in row.spans if p.message == i for k in range(p.start, p.end)}
                wrong += sum(not known & set(range(s.start, s.end)) for s in spans)
    assert planted > 300
    assert missed / planted <= 0.02
    assert wrong / rows <= 0.01


def write(folder: Path, text: str) -> Path:
    path = folder / "recognizers.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_recognizer_of_ones_own_with_context_words_in_two_languages(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
supported_languages: [en, zh]
recognizers:
  - name: Badges
    supported_entity: BADGE
    supported_languages:
      - {language: en, context: [badge]}
      - {language: zh, context: [工牌]}
    patterns: [{name: digits, regex: '(?<![0-9])[0-9]{5}(?![0-9])', score: 0.1}]
  - name: Code names
    supported_entity: PROJECT
    deny_list: [Bluebird]
""",
    )
    detector = Detector(path, THRESHOLD)
    assert [s.entity_type for s in detector.find("his badge is 12345", "en")] == ["BADGE"]
    assert [s.entity_type for s in detector.find("工牌12345", "zh")] == ["BADGE"]
    assert detector.find("badges, 12345 of them", "en") == []
    assert [s.entity_type for s in detector.find("project bluebird", "en")] == ["PROJECT"]


HEAD = "supported_languages: [en]\nrecognizers:\n"
MALFORMED = {
    "unknown class": (HEAD + "  - {name: NoSuchRecognizer, type: predefined}", "NoSuchRecognizer"),
    "ignored bare word": (HEAD + "  - ResidentIdRecognizer", "recognizer 1"),
    "needs a network": (HEAD + "  - {name: EmailRecognizer, type: predefined}", "EmailRecognizer: asks the network"),
    "needs a model": (
        HEAD + "  - {name: SpacyRecognizer, type: predefined}",
        "SpacyRecognizer: needs a language model",
    ),
    "bad pattern": (
        HEAD + "  - {name: Badges, supported_entity: B, patterns: [{name: p, regex: '(', score: 1}]}",
        "Badges: pattern p: no regular expression",
    ),
    "misspelt key": (HEAD + "  - {name: B, supported_entity: B, deny_list: [x], contxt: [y]}", "unknown key contxt"),
    "no patterns": (HEAD + "  - {name: B, type: custom, supported_entity: B}", "needs patterns or a deny_list"),
    "no score": (HEAD + "  - {name: B, supported_entity: B, patterns: [{name: p, regex: a}]}", "name, regex and score"),
    "foreign language": (
        HEAD + "  - {name: B, supported_entity: B, supported_languages: [zh], deny_list: [x]}",
        "supported_languages",
    ),
    "no recognizers": ("supported_languages: [en]\nrecognizers: []", "recognizers: must be a list"),
    "a list": ("- a", "top level"),
    "no YAML": (HEAD + "  - {name: [", "not valid YAML"),
    "a key twice": (HEAD + "  - {name: B, name: C}", "duplicate key"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_file_is_refused_by_name(tmp_path: Path, case: str) -> None:
    text, said = MALFORMED[case]
    with pytest.raises(InvalidInput) as caught:
        Detector(write(tmp_path, text), THRESHOLD)
    assert said in str(caught.value)
    assert "recognizers.yaml" in str(caught.value)


def test_a_missing_file_is_refused_instead_of_presidios_defaults(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="does not exist"):
        Detector(tmp_path / "recognizers.yaml", THRESHOLD)
