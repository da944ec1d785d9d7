"""Random values of every kind that has a form, with valid check digits, and sentences that carry them."""

from __future__ import annotations

import hashlib
import random
import string
from collections.abc import Callable
from datetime import date, timedelta

Random = random.Random
DIGITS, UPPER = string.digits, string.ascii_uppercase


def pick(rng: Random, alphabet: str, length: int) -> str:
    return "".join(rng.choices(alphabet, k=length))


def luhn_completed(digits: str) -> str:
    """With the digit that makes ISO/IEC 7812-1's sum a multiple of ten."""
    total = 0
    for i, d in enumerate(reversed(digits)):
        doubled = int(d) * (2 if i % 2 == 0 else 1)
        total += doubled - 9 if doubled > 9 else doubled
    return digits + str(-total % 10)


def grouped(value: str, sizes: tuple[int, ...], separator: str) -> str:
    parts, position = [], 0
    for size in sizes:
        parts.append(value[position : position + size])
        position += size
    return separator.join(part for part in [*parts, value[position:]] if part)


def some_date(rng: Random, first: int = 1930, last: int = 2025) -> date:
    return date(first, 1, 1) + timedelta(days=rng.randrange((last - first) * 365))


def card(rng: Random) -> str:
    prefix, length = rng.choice(
        [("4", 16), ("4", 13), ("51", 16), ("55", 16), ("2221", 16), ("2720", 16), ("34", 15), ("37", 15), ("6011", 16),
         ("65", 16), ("300", 14), ("36", 14), ("38", 14), ("3528", 16), ("3589", 16), ("5018", 16), ("6304", 16),
         ("6759", 13), ("2200", 16), ("2204", 16), ("60", 16), ("82", 16), ("9792", 16), ("2131", 15)]
    )  # fmt: skip
    number = luhn_completed(prefix + pick(rng, DIGITS, length - len(prefix) - 1))
    sizes = {16: (4, 4, 4), 15: (4, 6), 14: (4, 6)}.get(length)
    return grouped(number, sizes, rng.choice([" ", "-"])) if sizes and rng.random() < 0.6 else number


def union_pay(rng: Random) -> str:
    length = rng.choice([16, 17, 18, 19])
    number = luhn_completed("62" + pick(rng, DIGITS, length - 3))
    return grouped(number, (4, 4, 4, 4), rng.choice([" ", "-"])) if rng.random() < 0.5 else number


_IBAN = {"GB": "AAAANNNNNNNNNNNNNN", "DE": "N" * 18, "FR": "N" * 10 + "C" * 11 + "NN", "NL": "AAAA" + "N" * 10,
         "ES": "N" * 20, "CH": "N" * 5 + "C" * 12, "PL": "N" * 24, "NO": "N" * 11, "BE": "N" * 12, "SE": "N" * 20,
         "IT": "A" + "N" * 10 + "C" * 12, "IE": "AAAA" + "N" * 14, "MT": "AAAA" + "N" * 5 + "C" * 18}  # fmt: skip


def iban(rng: Random) -> str:
    country = rng.choice(sorted(_IBAN))
    sets = {"A": UPPER, "N": DIGITS, "C": UPPER + DIGITS}
    body = "".join(rng.choice(sets[c]) for c in _IBAN[country])
    number = int("".join(str(int(c, 36)) for c in body + country + "00"))
    value = f"{country}{98 - number % 97:02d}{body}"
    return grouped(value, (4,) * 8, " ") if rng.random() < 0.5 else value


def routing(rng: Random) -> str:
    body = f"{rng.choice([*range(1, 13), *range(21, 33)]):02d}" + pick(rng, DIGITS, 6)
    total = sum(int(d) * w for d, w in zip(body, (3, 7, 1, 3, 7, 1, 3, 7), strict=True))
    return body + str(-total % 10)


def swift(rng: Random) -> str:
    code = pick(rng, UPPER, 4) + rng.choice(["US", "DE", "GB", "CN", "FR", "HK", "SG"]) + pick(rng, UPPER + DIGITS, 2)
    return code + rng.choice(["", "XXX", pick(rng, UPPER + DIGITS, 3)])


def cusip(rng: Random) -> str:
    body = pick(rng, DIGITS, 5) + rng.choice(UPPER) + pick(rng, DIGITS, 2)
    total = 0
    for i, c in enumerate(body):
        number = int(c, 36) * (2 if i % 2 else 1)
        total += number // 10 + number % 10
    return body + str(-total % 10)


def isin(rng: Random) -> str:
    body = (
        rng.choice(["US", "GB", "DE", "FR", "CN", "JP", "XS"]) + pick(rng, DIGITS * 3 + UPPER, 4) + pick(rng, DIGITS, 5)
    )
    return body + luhn_completed("".join(str(int(c, 36)) for c in body))[-1]


def lei(rng: Random) -> str:
    body = pick(rng, DIGITS, 4) + "00" + pick(rng, DIGITS + UPPER, 12)
    return body + f"{98 - int(''.join(str(int(c, 36)) for c in body + '00')) % 97:02d}"


def bitcoin(rng: Random) -> str:
    alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
    raw = rng.choice([b"\x00", b"\x05"]) + rng.randbytes(20)
    raw += hashlib.sha256(hashlib.sha256(raw).digest()).digest()[:4]
    number, value = int.from_bytes(raw), ""
    while number:
        number, rest = divmod(number, 58)
        value = alphabet[rest] + value
    return "1" * (len(raw) - len(raw.lstrip(b"\x00"))) + value


def ethereum(rng: Random) -> str:
    return "0x" + pick(rng, "0123456789abcdef", 40)


def ssn(rng: Random) -> str:
    area = rng.choice([n for n in range(1, 900) if n != 666])
    return f"{area:03d}-{rng.randint(1, 99):02d}-{rng.randint(1, 9999):04d}"


def itin(rng: Random) -> str:
    return f"9{pick(rng, DIGITS, 2)}-{rng.choice([*range(50, 66), *range(70, 89)])}-{pick(rng, DIGITS, 4)}"


def ein(rng: Random) -> str:
    return f"{rng.choice([1, 12, 20, 45, 94, 95]):02d}-{pick(rng, DIGITS, 7)}"


def npi(rng: Random) -> str:
    return luhn_completed("80840" + rng.choice("12") + pick(rng, DIGITS, 8))[5:]


def dea(rng: Random) -> str:
    d = [rng.randrange(10) for _ in range(6)]
    check = (d[0] + d[2] + d[4] + 2 * (d[1] + d[3] + d[5])) % 10
    return rng.choice("ABFGM") + rng.choice(UPPER) + "".join(map(str, d)) + str(check)


def mbi(rng: Random) -> str:
    letters = "ACDEFGHJKMNPQRTUVWXY"
    either = letters + DIGITS
    sets = ("123456789", letters, either, DIGITS, letters, either, DIGITS, letters, letters, DIGITS, DIGITS)
    value = "".join(rng.choice(s) for s in sets)
    return grouped(value, (4, 3), "-") if rng.random() < 0.5 else value


def vin(rng: Random) -> str:
    letters = "ABCDEFGHJKLMNPRSTUVWXYZ"
    numbers = dict(zip(letters + DIGITS, "12345678123457923456789" + DIGITS, strict=True))
    front, rear = pick(rng, letters + DIGITS, 8), pick(rng, letters + DIGITS, 4) + pick(rng, DIGITS, 4)
    weights = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)
    total = sum(int(numbers[c]) * w for c, w in zip(front + "0" + rear, weights, strict=True))
    return front + "0123456789X"[total % 11] + rear


def imei(rng: Random) -> str:
    value = luhn_completed("35" + pick(rng, DIGITS, 12))
    return grouped(value, (2, 6, 6), "-") if rng.random() < 0.3 else value


def udi(rng: Random) -> str:
    body = "0" + pick(rng, DIGITS, 12)
    total = sum(int(d) * (3 if i % 2 == 0 else 1) for i, d in enumerate(reversed(body)))
    return f"(01){body}{-total % 10}(17){rng.randint(24, 30)}0{rng.randint(1, 9)}15(10)A{pick(rng, DIGITS, 4)}(21){pick(rng, DIGITS, 6)}"


def hibc(rng: Random) -> str:
    alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-. $/+%"
    while True:
        body = "+" + rng.choice(UPPER) + pick(rng, DIGITS, 3) + pick(rng, UPPER + DIGITS, 6) + rng.choice(DIGITS)
        check = alphabet[sum(alphabet.index(c) for c in body) % 43]
        if check.isalnum():
            return body + check


def mac(rng: Random) -> str:
    value = pick(rng, "0123456789abcdef", 11) + rng.choice("abcdef")
    if rng.random() < 0.2:
        return grouped(value, (4, 4), ".")
    return grouped(value, (2,) * 5, rng.choice([":", "-"])).upper()


def ipv4(rng: Random) -> str:
    return ".".join(str(rng.randint(1, 255)) for _ in range(4))


def ipv6(rng: Random) -> str:
    groups = [f"{rng.randrange(1, 65536):x}" for _ in range(8)]
    return rng.choice([":".join(groups), f"2001:db8::{groups[0]}:{groups[1]}", f"::ffff:{ipv4(rng)}"])


def email(rng: Random) -> str:
    local = (
        pick(rng, string.ascii_lowercase, 4)
        + rng.choice(["", ".", "_", "+", "-"])
        + pick(rng, string.ascii_lowercase + DIGITS, 4)
    )
    return (
        f"{local}@{rng.choice(['qq.com', '163.com', 'example.org', 'mail.example.co.uk', 'bücher.example', 'x-y.net'])}"
    )


def url(rng: Random) -> str:
    host = pick(rng, string.ascii_lowercase, 7) + rng.choice([".com", ".org", ".com.cn", ".co.uk", ".de", ".io"])
    path = "/" + pick(rng, string.ascii_lowercase, 5) + rng.choice(["", "?id=" + pick(rng, DIGITS, 4), ".html"])
    return rng.choice(["https://" + host + path, "http://www." + host, "www." + host + path, host, host + path])


def mobile(rng: Random) -> str:
    value = "1" + rng.choice("3456789") + pick(rng, DIGITS, 9)
    form = rng.randrange(6)
    if form == 0:
        return grouped(value, (3, 4), " ")
    if form == 1:
        return grouped(value, (3, 4), "-")
    if form == 2:
        return grouped(value, (3, 3), " ")
    return (f"+86{value}", f"+86 {value}", value)[form - 3]


def landline(rng: Random) -> str:
    area, length = rng.choice([("010", 8), ("021", 8), ("0755", 8), ("0571", 8), ("0931", 7)])
    number = rng.choice("2345678") + pick(rng, DIGITS, length - 1)
    form = rng.choice(["{a}-{n}", "({a}){n}", "{a} {n}", "{a}{n}", "{a}-{n}转{x}", "+86-{b}-{n}"])
    return form.format(a=area, b=area[1:], n=number, x=pick(rng, DIGITS, 3))


def north_american(rng: Random) -> str:
    a, b, c = (rng.choice("23456789") + pick(rng, DIGITS, 2) for _ in range(3))
    last = pick(rng, DIGITS, 4)
    form = rng.choice(["{a}-{b}-{l}", "({a}) {b}-{l}", "({a}){b}-{l}", "{a}.{b}.{l}", "{a} {b} {l}", "+1-{a}-{b}-{l}",
                       "+1 {a} {b} {l}", "001-{a}-{b}-{l}", "{a}-{b}-{l}x{c}", "1-{a}-{b}-{l}", "+1 ({a}) {b}-{l}",
                       "+1{a}{b}{l}", "({a}) {b}-{l} ext. {c}", "001-{a}-{b}-{l}x{c}"])  # fmt: skip
    return form.format(a=a, b=b, l=last, c=c)


def abroad(rng: Random) -> str:
    form = rng.choice(["+44 20 #### ####", "+44 7### ######", "+44(0)20########", "+44 (0)#### ######", "020 7### ####",
                       "07### ######", "+49 30 ######", "+49-89-#######", "030/#######", "+33 1 ## ## ## ##",
                       "01 ## ## ## ##", "06.##.##.##.##", "+61 4## ### ###", "(02) #### ####", "04## ### ###",
                       "+91 98### #####", "+91-22-########", "+81 3-####-####", "03-####-####", "+41 44 ### ## ##",
                       "0041 44 ### ## ##", "+972-3-###-####", "+55 11 9####-####", "+65 6### ####", "+852 #### ####"])  # fmt: skip
    return "".join(rng.choice("23456789") if c == "#" else c for c in form)


_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)


def english_date(rng: Random) -> str:
    when = some_date(rng)
    month, day = _MONTHS[when.month - 1], str(when.day)
    ordinal = day + ("th" if when.day in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(when.day % 10, "th"))
    return rng.choice(
        [f"{when:%m/%d/%Y}", f"{when:%Y-%m-%d}", f"{when:%Y/%m/%d}", f"{when:%d.%m.%Y}", f"{when:%m-%d-%Y}",
         f"{when:%Y-%m-%d}T08:15:30Z", f"{when:%Y-%m-%d} 14:05:10", f"{day} {month} {when.year}",
         f"{month} {ordinal}, {when.year}", f"{month} {day}, {when.year}", f"{month[:3]} {day}, {when.year}",
         f"{month[:3]}. {day}, {when.year}", f"{day}-{month[:3]}-{when:%y}", f"{ordinal} of {month}", f"{month} {ordinal}",
         f"{day} {month[:3]} {when.year}", f"{month} {when.year}", f"{when.month}/{when.day}/{when:%y}",
         f"{ordinal} of {month}, {when.year}", f"{month.upper()} {day}, {when.year}", f"{when:%m/%d/%Y} 3:30 PM"]
    )  # fmt: skip


def chinese_date(rng: Random) -> str:
    when = some_date(rng)
    words = "〇一二三四五六七八九"
    year = "".join(words[int(d)] for d in str(when.year))
    return rng.choice(
        [f"{when.year}年{when.month}月{when.day}日", f"{when:%Y年%m月%d日}", f"{when.month}月{when.day}日",
         f"{when.year}年{when.month}月", f"{when.year}.{when.month}.{when.day}", f"{when:%Y/%m/%d}", f"{year}年三月十四日",
         f"{when.month}月{when.day}号"]
    )  # fmt: skip


def resident_id(rng: Random) -> str:
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    body = (
        rng.choice(["110105", "310115", "440305", "510107", "330106"])
        + f"{some_date(rng):%Y%m%d}"
        + pick(rng, DIGITS, 3)
    )
    check = "10X98765432"[sum(int(d) * w for d, w in zip(body, weights, strict=True)) % 11]
    return rng.choice([body + check, body + check, grouped(body + check, (6, 8), " "), body + check.lower()])


def credit_code(rng: Random) -> str:
    alphabet = "0123456789ABCDEFGHJKLMNPQRTUWXY"
    body = "91" + rng.choice(["110105", "440300", "310115"]) + pick(rng, alphabet, 9)
    return body + alphabet[-sum(alphabet.index(c) * pow(3, i, 31) for i, c in enumerate(body)) % 31]


def chinese_passport(rng: Random) -> str:
    return rng.choice("EG") + pick(rng, DIGITS, 8)


def plate(rng: Random) -> str:
    letters = "ABCDEFGHJKLMNPQRSTUVWXYZ"
    start = (
        rng.choice("京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼")
        + rng.choice("ABCDEFGH")
        + rng.choice(["", "·"])
    )
    return start + rng.choice([
        pick(rng, letters + DIGITS, 4) + rng.choice(DIGITS), "D" + pick(rng, DIGITS, 5), pick(rng, DIGITS, 5) + "F",
        pick(rng, DIGITS, 4) + rng.choice("挂学警港澳"),
    ])  # fmt: skip


def api_key(rng: Random) -> str:
    alnum = string.ascii_letters + DIGITS
    return rng.choice([
        "AKIA" + pick(rng, UPPER + DIGITS, 16), "ghp_" + pick(rng, alnum, 36), "github_pat_" + pick(rng, alnum, 40),
        "xoxb-" + pick(rng, DIGITS, 11) + "-" + pick(rng, alnum, 24), "AIza" + pick(rng, alnum, 35),
        "sk_live_" + pick(rng, alnum, 24), "sk-" + pick(rng, alnum, 48),
        "eyJ" + pick(rng, alnum, 20) + ".eyJ" + pick(rng, alnum, 40) + "." + pick(rng, alnum, 43),
    ])  # fmt: skip


def track(rng: Random) -> str:
    number = luhn_completed("4" + pick(rng, DIGITS, 14))
    return rng.choice(
        [f"%B{number}^DOE/JANE^2812101{pick(rng, DIGITS, 8)}?", f";{number}=2812101{pick(rng, DIGITS, 9)}?"]
    )


def private_key(rng: Random) -> str:
    lines = "\n".join(pick(rng, string.ascii_letters + DIGITS + "+/", 64) for _ in range(4))
    kind = rng.choice(["", "RSA ", "EC ", "OPENSSH "])
    return f"-----BEGIN {kind}PRIVATE KEY-----\n{lines}\n-----END {kind}PRIVATE KEY-----"


def image(rng: Random) -> str:
    return f"data:image/{rng.choice(['png', 'jpeg'])};base64,{pick(rng, string.ascii_letters + DIGITS + '+/', 80)}=="


def street(rng: Random) -> str:
    names = ("Maple", "Smith", "Martin Luther King", "Oak Hill", "Johnson", "Van Buren", "42nd", "St. James", "O'Neil")
    ends = ("Street", "St", "Avenue", "Ave.", "Burg", "Crossing", "Forks", "Ville", "Via", "Mews", "Ridge", "Blvd", "Lane",
            "Highway", "Plaza", "Stravenue", "Trace", "Knoll", "Pike", "Turnpike", "Circle", "Court", "Dr", "Way")  # fmt: skip
    unit = rng.choice(["", " Apt. 120", ", Suite 200", ", Apt. 4B", " Unit 7"])
    town = rng.choice(
        [
            "",
            ", Springfield, IL 62704",
            "\nSpringfield, IL 62704",
            ", North Lisa, TX 75001-1234",
            ", Salem, Oregon 97301",
        ]
    )
    return f"{rng.randint(1, 99999)} {rng.choice(names)} {rng.choice(ends)}{unit}{town}"


def chinese_address(rng: Random) -> str:
    region = rng.choice(
        [
            "北京市海淀区",
            "上海市浦东新区",
            "广东省深圳市南山区",
            "浙江省杭州市西湖区",
            "江苏省苏州市姑苏区",
            "四川省成都市武侯区",
        ]
    )
    road = rng.choice(["中关村南大街", "陆家嘴环路", "科技园路", "文三路", "人民中路", "天府大道", "和平里胡同"])
    number = f"{rng.randint(1, 999)}号"
    return (
        region
        + road
        + number
        + rng.choice(
            [
                "",
                f"{rng.randint(1, 30)}号楼{rng.randint(1, 6)}单元{rng.randint(101, 2401)}室",
                f"{rng.randint(1, 30)}栋{rng.randint(101, 999)}室",
                f"阳光花园{rng.randint(1, 9)}栋",
            ]
        )
    )


def zip_plus_four(rng: Random) -> str:
    return f"{pick(rng, DIGITS, 5)}-{pick(rng, DIGITS, 4)}"


def british_code(rng: Random) -> str:
    return rng.choice(["SW1A 1AA", "M1 4BT", "EC1V 9LT", "LS16 6HE"])


def alnum_number(rng: Random) -> str:
    return rng.choice(
        [pick(rng, UPPER, 2) + pick(rng, DIGITS, 7), pick(rng, DIGITS, 9), rng.choice(UPPER) + pick(rng, DIGITS, 8)]
    )


def digits(length: int) -> Callable[[Random], str]:
    return lambda rng: rng.choice("123456789") + pick(rng, DIGITS, length - 1)


GENERAL = (
    "It says {} there.",
    "see {}, please",
    "({})",
    "the value is {}\n",
    "{} was given by mail",
    "noted: {}; done",
)
GLUED = ("资料{}已收到", "编号:{},谢谢", "我的是{}。", "请查{}一下", "({})", "“{}”")


def words(english: str, chinese: str = "") -> tuple[str, ...]:
    """Carriers that name the kind: each of the words before the value, in ways people write."""
    carriers = [
        w + join for w in english.split("|") for join in (": {}", " {} today", " is {}.", " number: {},", " #{}") if w
    ]
    return tuple(
        carriers + [w + join for w in chinese.split("|") for join in ("{}", ":{},谢谢", "是{}。", "为{}的") if w]
    )


# kind -> (a random value, the sentences that carry it); GENERAL and GLUED say nothing of the kind
# fmt: off
FORMS: dict[str, list[tuple[Callable[[Random], str], tuple[str, ...]]]] = {
    "CREDIT_CARD": [(card, GENERAL + GLUED)],
    "CN_BANK_CARD": [(union_pay, GENERAL + GLUED)],
    "CVV": [(digits(3), words("CVV|CVC2|security code", "安全码|CVV"))],
    "PIN": [(digits(4), words("PIN|PIN code", "取款密码|支付密码"))],
    "TRACK_DATA": [(track, GENERAL + GLUED)],
    "IBAN_CODE": [(iban, GENERAL + GLUED)],
    "US_BANK_NUMBER": [(digits(10), words("account|acct|account no.", "账号|账户"))],
    "ABA_ROUTING_NUMBER": [(routing, words("routing|ABA", "路由号"))],
    "SWIFT_CODE": [(swift, words("SWIFT|BIC", "SWIFT代码|电汇代码"))],
    "CUSIP": [(cusip, GENERAL + GLUED)],
    "ISIN": [(isin, GENERAL + GLUED)],
    "LEI": [(lei, GENERAL + GLUED)],
    "CRYPTO": [(bitcoin, GENERAL + GLUED), (ethereum, GENERAL + GLUED)],
    "US_SSN": [(ssn, GENERAL + GLUED), (digits(9), words("SSN|social security"))],
    "US_SSN_LAST4": [(digits(4), ("last four of SSN: {}", "SSN ending in {}", "last 4 digits of social security number is {}", "社会安全号后四位{}", "xxx-xx-{}"))],
    "US_ITIN": [(itin, GENERAL + GLUED)],
    "US_EIN": [(ein, words("EIN|employer identification|Federal tax ID"))],
    "US_NPI": [(npi, words("NPI", "NPI"))],
    "DEA_NUMBER": [(dea, GENERAL + GLUED)],
    "US_MBI": [(mbi, GENERAL + GLUED)],
    "MEDICAL_RECORD_NUMBER": [(digits(8), words("MRN|medical record|patient ID", "病历号|住院号|门诊号"))],
    "HEALTH_PLAN_NUMBER": [(alnum_number, words("member ID|policy number|subscriber ID", "保单号|保险单号"))],
    "CLAIM_NUMBER": [(alnum_number, words("claim number|claim ID", "理赔号|报案号"))],
    "VIN": [(vin, GENERAL + GLUED)],
    "VEHICLE_PLATE": [(plate, GENERAL + GLUED)],
    "IMEI": [(imei, GENERAL + GLUED)],
    "DEVICE_SERIAL": [(alnum_number, words("serial number|S/N|device ID", "序列号|设备编号"))],
    "UDI": [(udi, GENERAL + GLUED), (hibc, ("UDI {}", "see {}, please", "器械{}号"))],
    "US_DRIVER_LICENSE": [(alnum_number, words("driver's license|driver license no.|DL#", "驾驶证号|驾照号"))],
    "PASSPORT": [(alnum_number, words("passport|passport no.", "护照号"))],
    "CN_PASSPORT": [(chinese_passport, GENERAL + GLUED)],
    "EMAIL_ADDRESS": [(email, GENERAL + GLUED + ("联系张三{}谢谢", "邮箱{}"))],
    "URL": [(url, GENERAL + GLUED)],
    "IP_ADDRESS": [(ipv4, GENERAL + GLUED), (ipv6, GENERAL + GLUED)],
    "MAC_ADDRESS": [(mac, GENERAL + GLUED)],
    "PHONE_NUMBER": [(mobile, GENERAL + GLUED), (landline, GENERAL + GLUED), (north_american, GENERAL + GLUED), (abroad, GENERAL + GLUED),
                     (digits(10), words("phone|call me at|fax", "电话|传真"))],
    "DATE_TIME": [(english_date, GENERAL), (chinese_date, GLUED)],
    "DATE_OF_BIRTH": [(english_date, ("DOB: {}", "born on {}", "date of birth {}", "birthday is {}")), (chinese_date, ("出生日期:{}", "生日是{}", "生于{}"))],
    "STREET_ADDRESS": [(street, ("She lives at {}", "to {} today", "Address: {}")), (chinese_address, ("地址{}", "家住{}。", "现住:{},电话另告", "寄到{}的"))],
    "ZIP_CODE": [(zip_plus_four, GENERAL + GLUED), (british_code, GENERAL + GLUED), (digits(5), words("ZIP|zip code")), (digits(6), words("", "邮编"))],
    "CN_RESIDENT_ID": [(resident_id, GENERAL + GLUED)],
    "CN_CREDIT_CODE": [(credit_code, GENERAL + GLUED)],
    "SOCIAL_ACCOUNT": [(lambda rng: pick(rng, string.ascii_lowercase, 5) + "_" + pick(rng, DIGITS, 3), words("WeChat", "微信号|微信|加微信")), (digits(9), words("QQ", "QQ号|QQ"))],
    "CN_MEDICAL_INSURANCE": [(digits(10), words("", "医保卡号|社保号|医保编号"))],
    "CN_MILITARY_ID": [(lambda rng: f"军字第{pick(rng, DIGITS, 7)}号", GLUED), (digits(8), words("", "军官证号|士兵证号"))],
    "LICENSE_NUMBER": [(alnum_number, words("medical license|nursing license|bar number", "执业证号|律师证号"))],
    "PASSWORD": [(lambda rng: pick(rng, string.ascii_letters, 6) + pick(rng, DIGITS, 2) + "!x", ("password: {}", "pwd={}", "his password is {}", "密码是{}", "密码:{}"))],
    "API_KEY": [(api_key, GENERAL + GLUED)],
    "PRIVATE_KEY": [(private_key, ("{}", "key:\n{}\n", "私钥{}"))],
    "IMAGE_DATA": [(image, GENERAL + GLUED)],
    "BIOMETRIC": [(lambda rng: pick(rng, "0123456789abcdef", 32), words("fingerprint template|voiceprint|iris code", "指纹模板|声纹特征值"))],
    "AGE": [(lambda rng: str(rng.randint(10, 89)), ("a {}-year-old man", "he is {} years old", "aged {}, male", "{} y/o female", "age: {}", "年龄{},"))],
    "AGE_OVER_89": [(lambda rng: f"{rng.randint(90, 110)} years old", ("she is {}", "{} today")), (lambda rng: f"{rng.randint(90, 110)}岁", ("患者{}", "老人{}了"))],
}
# fmt: on
