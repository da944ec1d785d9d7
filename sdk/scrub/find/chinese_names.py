"""Chinese persons by surname, role and title, in forms and records that say what a person is."""

from __future__ import annotations

from pathlib import Path

from presidio_analyzer import Pattern, PatternRecognizer

from sdk.policy import read_yaml

LISTS: dict[str, str] = read_yaml(Path(__file__).with_name("gazetteer.yaml"))


def _any_of(name: str) -> str:
    return "|".join(LISTS[name].split())


SURNAMES = frozenset("".join(LISTS["chinese_surnames"].split()))
COMPOUND_SURNAMES = frozenset(LISTS["chinese_compound_surnames"].split())
_SURNAME = (
    rf"(?!{_any_of('chinese_stop_words')})(?:{_any_of('chinese_compound_surnames')}|[{''.join(sorted(SURNAMES))}])"
)
_ROLE = _any_of("chinese_roles")
_TITLE = _any_of("chinese_titles")
_FOLLOWING = rf"[^\p{{Han}}]|\Z|{_TITLE}|{_any_of('chinese_following')}"
_SECOND = r"(?![的问要需称说已住因与及被把对向想在用持])\p{Han}"
_GIVEN = rf"(?:\p{{Han}}{_SECOND}(?={_FOLLOWING})|\p{{Han}}(?={_FOLLOWING})|\p{{Han}}{_SECOND}|\p{{Han}})"


class ChineseNameRecognizer(PatternRecognizer):
    """A surname and one or two characters, after a role or before a title; the longer reading wins where both fit."""

    PATTERNS = (
        Pattern(
            "after a role", rf"(?:{_ROLE})(?:姓名|名称|名字)?(?:为|是|叫)?[\s:,(“\"]{{0,2}}\K{_SURNAME}{_GIVEN}", 0.7
        ),
        Pattern("before a title", rf"(?<![基资奖现]){_SURNAME}\p{{Han}}{{0,2}}(?={_TITLE})", 0.7),
        Pattern(
            "at the beginning",
            rf"(?<![\p{{Han}}]){_SURNAME}\p{{Han}}{{1,2}}(?=用(?:信用卡|银行卡|手机)|的(?:手机|电话|邮箱|身份证|银行卡|信用卡|账户|病历))",
            0.6,
        ),
        Pattern(
            "with a middle dot",
            rf"(?:(?:{_ROLE})[\s:]?)?+\K\p{{Han}}{{2,6}}[·•・](?:\p{{Han}}{{2,8}}?(?={_FOLLOWING})|\p{{Han}}{{2,4}})",
            0.6,
        ),
    )

    def __init__(
        self, supported_language: str = "zh", supported_entity: str = "PERSON", name: str | None = None
    ) -> None:
        super().__init__(
            supported_entity=supported_entity,
            patterns=[Pattern(p.name, p.regex, p.score) for p in self.PATTERNS],
            supported_language=supported_language,
            name=name,
        )
