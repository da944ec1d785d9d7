"""What commands were called in 0.2.0, where a verb stood in an option; these forms go with 0.3.0."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Words = list[str]
_TAKE_A_VALUE = ("--domain", "--policy")  # of those that went with `init --adopt`


def renew(words: Sequence[str]) -> Words:
    """Return a command line in its form of today. words: the command and what follows it."""
    command, *rest = words
    for option, form in _FORMS.get(command, {}).items():
        if option in rest or any(word.startswith(f"{option}=") for word in rest):
            return form(rest)
    return [command, *rest]


def _flag(option: str, command: str) -> Callable[[Words], Words]:
    """Make the command of an option without a value."""
    return lambda rest: [command, *(word for word in rest if word != option)]


def _positional(option: str, command: str) -> Callable[[Words], Words]:
    """Make the command, with the option's value as its argument."""

    def form(rest: Words) -> Words:
        value, others = _take(rest, option)
        return [command, *value, *others]

    return form


def _adopt(rest: Words) -> Words:
    others = [word for word in rest if word != "--adopt"]
    for place, word in enumerate(others):
        if not word.startswith("-") and (place == 0 or others[place - 1] not in _TAKE_A_VALUE):
            return ["adopt", *others[:place], "--project", *others[place:]]
    return ["adopt", *others]


def _copy(rest: Words) -> Words:
    target, others = _take(rest, "--domain-from")
    source, others = _take(others, "--domain")
    return ["domain", "copy", *(source or ["finance"]), *target, *others]


def _take(words: Words, option: str) -> tuple[Words, Words]:
    """Take an option out of the words: its value, if it stands there, and the others."""
    for place, word in enumerate(words):
        if word == option:
            return words[place + 1 : place + 2], words[:place] + words[place + 2 :]
        if word.startswith(f"{option}="):
            return [word.partition("=")[2]], words[:place] + words[place + 1 :]
    return [], words


_FORMS: dict[str, dict[str, Callable[[Words], Words]]] = {
    "scrub": {
        "--review": _flag("--review", "review"),
        "--reveal": _positional("--reveal", "reveal"),
        "--data": _positional("--data", "scrub"),
    },
    "init": {"--adopt": _adopt, "--domain-from": _copy},
    "advise": {"--history": _flag("--history", "predictions")},
    "approve": {"--explain": _flag("--explain", "explain")},
}
