"""Addresses of mainland China, from the unit outwards: a number with 号, 室 or 栋, then what stands before it."""

from __future__ import annotations

import re
from collections.abc import Iterator

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


# What tells a place without a number: a city and what lies in it, or the name of a road or district behind a word.
_CITIES = (
    _PROVINCES
    + "|唐山|秦皇岛|邯郸|邢台|保定|张家口|承德|沧州|廊坊|衡水|大同|阳泉|长治|晋城|朔州|晋中|运城|忻州|临汾|吕梁|包头"
    "|赤峰|通辽|鄂尔多斯|呼伦贝尔"
    "|鞍山|抚顺|本溪|丹东|锦州|营口|阜新|辽阳|盘锦|铁岭|葫芦岛|四平|辽源|通化|白山|松原|白城|延边|齐齐哈尔|鸡西|鹤岗|双鸭山|大庆|伊春|佳木斯|牡丹江|黑河|绥化"
    "|南通|连云港|淮安|盐城|扬州|镇江|泰州|宿迁|湖州|衢州|舟山|台州|丽水|芜湖|蚌埠|淮南|马鞍山|淮北|铜陵|安庆|黄山|滁州|阜阳|宿州|六安|亳州|池州|宣城"
    "|莆田|三明|漳州|南平|龙岩|宁德|景德镇|萍乡|九江|新余|鹰潭|赣州|吉安|宜春|抚州|上饶|淄博|枣庄|东营|潍坊|济宁|泰安|威海|日照|临沂|德州|聊城|滨州|菏泽"
    "|开封|平顶山|安阳|鹤壁|新乡|焦作|濮阳|许昌|漯河|三门峡|南阳|商丘|信阳|周口|驻马店|黄石|十堰|宜昌|襄阳|鄂州|荆门|孝感|荆州|黄冈|咸宁|随州|恩施"
    "|株洲|湘潭|衡阳|邵阳|岳阳|常德|张家界|益阳|郴州|永州|怀化|娄底|韶关|汕头|江门|湛江|茂名|肇庆|梅州|汕尾|河源|阳江|清远|潮州|揭阳|云浮"
    "|柳州|桂林|梧州|北海|防城港|钦州|贵港|玉林|百色|贺州|河池|来宾|崇左|自贡|攀枝花|泸州|德阳|绵阳|广元|遂宁|内江|乐山|南充|眉山|宜宾|广安|达州|雅安|巴中|资阳"
    "|六盘水|遵义|安顺|毕节|铜仁|曲靖|玉溪|保山|昭通|丽江|普洱|临沧|大理|日喀则|铜川|宝鸡|咸阳|渭南|延安|汉中|榆林|安康|商洛"
    "|嘉峪关|金昌|白银|天水|武威|张掖|平凉|酒泉|庆阳|定西|陇南|石嘴山|吴忠|固原|克拉玛依|吐鲁番|哈密|义乌|昆山|江阴|常熟|张家港|晋江|慈溪|萧山|浦东"
)
_NO_PLACE = (  # words that end like a place and are none
    "地区|社区|小区|市区|特区|城区|郊区|灾区|景区|校区|园区|片区|战区|赛区|禁区|专区|分区|选区|疫区|山区|库区|辖区|老区|街区|误区|时区|学区|牧区|林区|矿区|厂区|展区"
    "|道路|马路|公路|铁路|网路|线路|思路|套路|出路|上路|走路|一路|半路|后路|退路|弯路|高速路|回路|电路|通路|赶路|带路|问路|让路|开路|活路|末路|心路|之路|丝路|航路|水路|陆路|来路|去路"
    "|逛街|上街|华尔街|唐人街|步行街|满街|当街|沿街|农村|乡村|全村|奥运村|地球村|城中村|各村|城镇|乡镇|重镇|小镇|古镇|坐镇|冰镇|家乡|故乡|老乡|下乡|异乡|同乡|梦乡|城乡|水乡|知县|各县|全县|郡县"
    "|小巷|大街小巷"
    "|楼市|股市|车市|超市|城市|都市|门市|夜市|菜市|上市|入市|集市|闹市|开市|大市|后市|牛市|熊市|收市|救市"
)
_PART = (
    rf"(?!\p{{Han}}{{0,2}}(?:{_NO_PLACE}))"
    r"(?:(?![的在和是与及了从到去有个这那各每某本该全此两几多同]|[省市区县])\p{Han}){1,4}?"
)
CITIES = _CITIES.split("|")
_LEVEL = "新区|开发区|高新区|自治县|街道|大道|大街|胡同|[区县镇乡村路街]"
_CITY = regex.compile(r"\L<cities>", cities=CITIES)
_BELOW = regex.compile(  # what lies in a city
    rf"(?:省|市|自治区|自治州)?(?:{_PART}(?:市|州|盟))?(?:{_PART}(?:{_LEVEL})){{1,4}}(?!\p{{Han}}?[口线灯网])"
)
_LEVELS = re.compile("[区县镇乡村路街]|大道|胡同")
_RUN = re.compile("[一-鿿]+")
_LEAD = regex.compile("(?:住在|位于|来自|赶到|前往|途经|路过|搬到|回到|[在到去往从经沿于])")
_DISTRICTS = regex.compile(rf"(?:{_PART}(?:{_LEVEL})){{2,4}}(?!\p{{Han}}?[口线灯网])")
_ALONE = regex.compile(
    rf"(?!\p{{Han}}{{0,2}}(?:{_NO_PLACE}))"
    r"(?:(?![的在和是与及了从到去有个这那各每某本该全此两几多同我你他她它小大老走问让带一])\p{Han}){2,3}"
    r"(?:(?:路|大道|大街|胡同|街道|镇)(?=[^\p{Han}]|\Z|[的上在附近旁边口站排和与及是一有里内]|地铁|派出所|小学|中学|支行)|新区|县|区)"
)


class MainlandAddressRecognizer(AddressRecognizer):
    """A road or place with a number, its rooms behind it and its district, city and province before it.

    Also what follows a word for an address, with or without a number, and a chain of province, city and district that
    ends in a road or place.
    """

    def addresses(self, text: str) -> list[tuple[int, int, float]]:
        if text.isascii():
            return []
        spans = list(_places(text))
        if not _HINT.search(text):
            return spans
        spans += [(*_around(text, match.start(), match.end()), SURE) for match in _ANCHOR.finditer(text)]
        for match in _KEYWORD.finditer(text):
            end = _end_of_run(text[match.start() : match.end()])
            if end:
                spans.append((match.start(), match.start() + end, FAIR))
        return [(start, _with_code(text, end), score) for start, end, score in spans if end - start > 3]


def _places(text: str) -> Iterator[tuple[int, int, float]]:
    """Yield places without a number: a city with what lies in it, districts in a row, one road behind a word for it."""
    for run in _RUN.finditer(text):
        if not _LEVELS.search(text, run.start(), run.end()):
            continue
        begins = [run.start(), *(lead.end() for lead in _LEAD.finditer(text, run.start(), run.end()))]
        for city in _CITY.finditer(text, run.start(), run.end()):
            below = _BELOW.match(text, city.end())
            if below:
                yield city.start(), below.end(), FAIR
        for begin in begins:
            match = _DISTRICTS.match(text, begin) or _ALONE.match(text, begin)
            if match:
                yield *match.span(), FAIR


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
