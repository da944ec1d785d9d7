"""Addresses of mainland China, from the unit outwards: a number with 号, 室 or 栋, then what stands before it."""

from __future__ import annotations

import regex

from sdk.scrub.find.address_recognizer import AddressRecognizer

SURE, FAIR = 0.75, 0.7
LONGEST = 48  # characters of an address before its number

_PROVINCES = (
    "北京|天津|上海|重庆|河北|山西|辽宁|吉林|黑龙江|江苏|浙江|安徽|福建|江西|山东|河南|湖北|湖南|广东|海南|四川|贵州|云南|陕西|甘肃|青海"
    "|台湾|内蒙古|广西|西藏|宁夏|新疆|香港|澳门"
    "|深圳|广州|杭州|南京|苏州|成都|武汉|西安|长沙|郑州|青岛|济南|大连|沈阳|哈尔滨|长春|石家庄|太原|合肥|福州|厦门|南昌|南宁|昆明"
    "|贵阳|兰州|西宁|银川|乌鲁木齐|呼和浩特|海口|三亚|拉萨|宁波|无锡|东莞|佛山|珠海|温州|常州|徐州|烟台|泉州|嘉兴|绍兴|金华|中山|惠州|洛阳"
)  # and the largest cities
_ROADS = "大街|大道|大路|街道|胡同|公路|支路|环路|[路街巷弄道里]"
_PLACES = "小区|花园|家园|新村|新苑|公寓|大厦|广场|工业园区?|产业园|科技园|[苑园村庄屯寨镇乡]"
_NUMBER = r"(?:[0-9]{1,5}(?:[\-之][0-9]{1,4})?|[一二三四五六七八九十百]{1,5}|[A-Za-z甲乙丙丁](?:[0-9]{1,3})?)"
_UNITS = "号楼|号院|号院内|号|號樓|號|弄|巷|栋|棟|幢|座|期|单元|單元|楼|樓|层|層|室|户|戶|房|组|队|社|门"
_INSIDE = (
    rf"(?:[ ,\-]{{0,2}}{_NUMBER}[ ]?(?:{_UNITS})|[ ,]?(?:附近|院内|内|旁|附|之)(?={_NUMBER})"
    rf"|[ ,]?(?:(?![的和在是与及电手联邮])\p{{Han}}){{2,8}}?(?={_NUMBER}(?:栋|幢|座|期|单元|楼|层|室|户)))"
    rf"{{1,8}}(?:[ \-]?[0-9]{{2,4}}(?:室|房)?)?(?![0-9])"
)
# What tells an address: a road or place with a number behind it.
_ANCHOR = regex.compile(
    rf"(?:{_ROADS}|{_PLACES})[东南西北中一二三四五六七八九十]{{0,2}}段?[ ]?\K{_NUMBER}[ ]?(?:{_UNITS})(?:{_INSIDE})?"
    rf"|(?:{_ROADS}|{_PLACES})[东南西北中]?[ ]?\K[0-9]{{1,5}}(?:\-[0-9]{{1,4}}){{1,3}}(?![0-9.\-])"
)
_STOP = (
    "(?:住址|地址|家住|现住|住在|居住|位于|坐落|户籍|寄到|寄往|送到|送至|发往|发到|收货|搬到|来自|前往"
    "|[住址在是为于至往到寄送从去把由离及])"
)
_REGION = regex.compile(
    rf"(?:{_PROVINCES})(?:省|市|\p{{Han}}{{0,4}}自治区)?(?:(?![的住在来于])\p{{Han}}){{1,7}}?[市州盟区县]"
)
_DISTRICT = regex.compile(r"\p{Han}{2,3}?(?:自治[州县]|[市区县镇乡]|街道)")
_ROAD_NAME = 4  # characters before 路 or 街 where no district tells where an address begins
_KEYWORD = regex.compile(
    r"(?:(?:家庭|通讯|联系|收货|收件|寄件|邮寄|办公|公司|注册|居住|户籍|现|常)?(?:住址|地址|居住地|户籍(?:所在)?地?|住所)|籍贯|老家|现住|家住|居住于|居住在)"
    r"(?:[\s:=]|为|是|在|于){0,4}\K[\p{Han}0-9A-Za-z\-#·()]{4,60}"
    r"(?: [0-9A-Za-z\p{Han}\-]{1,20}(?:号|室|栋|楼|单元)){0,3}"
)
_AFTER_ADDRESS = regex.compile(
    r"(?:的|[\(（]|电话|手机|联系|邮编|邮政|收件|收货人|姓名|身份证|微信|客户|患者|,|，|因|请|需|想|要求|附近|楼下|办理|投保|就诊|申请|咨询|来电|之间)"
)
_LAST_UNIT = regex.compile(rf".*(?:{_UNITS}|{_PLACES}|{_ROADS}|[区县市镇乡村])(?:[0-9]{{2,4}})?", regex.DOTALL)
_PLACE = regex.compile(rf"[省市区县镇乡村]|{_ROADS}|{_PLACES}|[号室栋]")
_CODE = regex.compile(r"[ ,]{1,2}(?!0{6})[0-9]{6}(?![0-9A-Za-z\-年元]|[.,][0-9])")  # the postal code where it follows
_HINT = regex.compile(r"[0-9一二三四五六七八九十甲乙丙丁A-Za-z][号號弄巷栋棟幢座期单單楼樓层層室户戶组队社\-]|址|住")


class MainlandAddressRecognizer(AddressRecognizer):
    """A road or place with a number, its rooms behind it and its district, city and province before it.

    Also what follows a word for an address, with or without a number, and a chain of province, city and district that
    ends in a road or place.
    """

    def addresses(self, text: str) -> list[tuple[int, int, float]]:
        if text.isascii() or not _HINT.search(text):
            return []
        spans = [(*_around(text, match.start(), match.end()), SURE) for match in _ANCHOR.finditer(text)]
        for match in _KEYWORD.finditer(text):
            end = _end_of_run(text[match.start() : match.end()])
            if end:
                spans.append((match.start(), match.start() + end, FAIR))
        return [(start, _with_code(text, end), score) for start, end, score in spans if end - start > 3]


def _around(text: str, start: int, end: int) -> tuple[int, int]:
    """Return the span from the province, or from behind the last word that leads to an address, to the number's end."""
    first = start
    while first > max(0, start - LONGEST) and (_is_han(text[first - 1]) or text[first - 1].isdigit()):
        first -= 1
    before = text[first:start]
    region = _REGION.search(before)
    if region:
        return first + region.start(), end
    stops = [match.end() for match in regex.finditer(_STOP, before) if match.end() < len(before) - 1]
    begin = stops[-1] if stops else 0
    district = _DISTRICT.search(before, begin)
    if district:
        return first + (begin if stops and district.start() - begin <= _ROAD_NAME else district.start()), end
    road = regex.search(r"[0-9一二三四五六七八九十东南西北中]{0,3}段?[ ]?\Z", before)
    return first + max(begin, (road.start() if road else len(before)) - _ROAD_NAME - 1), end


def _with_code(text: str, end: int) -> int:
    code = _CODE.match(text, end)
    return code.end() if code else end


def _is_han(character: str) -> bool:
    return "一" <= character <= "鿿"


def _end_of_run(run: str) -> int:
    """Return the length of the address with which a run begins that follows a word for one; 0: there is none."""
    stop = _AFTER_ADDRESS.search(run, 2)
    if stop:
        run = run[: stop.start()]
    last = _LAST_UNIT.match(run)
    return last.end() if last and _PLACE.search(run) and last.end() > 3 else 0
