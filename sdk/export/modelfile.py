"""Ollama's Modelfile for a merged GGUF: its template is Go's, so the chat template is put into that language and tried.

Ollama 0.34.1 and later refuse ADAPTER, so only a merged file gets one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from sdk.data.template import ChatTemplate
from sdk.model import Chat

_SAID = {"system": "Be-brief", "user": "Which-one", "assistant": "This-here"}
_TRIED = (("system", "user"), ("system", "user", "assistant", "user"), ("system", "user", "assistant", "user") * 2)


class _Around(NamedTuple):
    before: str
    after: str


class _Said(NamedTuple):
    """A chat template as a text around each message; own: the system message that it puts in by itself."""

    around: dict[str, _Around]
    end: str
    own: str


def write_modelfile(chat: Chat, prompt: str, tokens: int, name: str) -> str | None:
    """Return the Modelfile of a GGUF; None where the chat template cannot be said as a text around each message."""
    said = _said(chat)
    if said is None:
        return None
    system = prompt or said.own
    if '"""' in "".join((system, said.end, *(each for pair in said.around.values() for each in pair))):
        return None
    parts = [
        f'{{{{ if eq .Role "{role}" }}}}{one.before}{{{{ .Content }}}}{one.after}{{{{ end }}}}'
        for role, one in said.around.items()
    ]
    stops = sorted(str(chat.tokenizer.convert_ids_to_tokens(token)) for token in chat.stop_ids)
    return "\n".join(
        [
            f"FROM ./{name}",
            f'TEMPLATE """{{{{ range .Messages }}}}{"".join(parts)}{{{{ end }}}}{said.end}"""',
            *([f'SYSTEM """{system}"""'] if system else []),
            "PARAMETER temperature 0",
            f"PARAMETER num_predict {tokens}",
            *(f"PARAMETER stop {stop}" for stop in stops),
            "",
        ]
    )


def _rendered(chat: Chat, template: ChatTemplate, roles: Sequence[str], prompt: bool = True) -> str | None:
    (rendered,) = template.render([[{"role": role, "content": _SAID[role]} for role in roles]], prompt)
    if rendered is None:
        return None
    # Where the template names the first token of all, the engine puts that there itself.
    first = chat.tokenizer.bos_token if "bos_token" in template.source else None
    return rendered.text.removeprefix(first or "")


def _said(chat: Chat) -> _Said | None:
    """Find what stands around the messages of each role, and before the answer; None where that is not all."""
    template = ChatTemplate(chat.tokenizer.get_chat_template(), chat.tokenizer.special_tokens_map)
    found = {roles: _rendered(chat, template, roles) for roles in _TRIED}
    texts = {roles: text for roles, text in found.items() if text is not None}
    asked, alone = _rendered(chat, template, _TRIED[0], prompt=False), _rendered(chat, template, ["user"])
    if len(texts) != len(_TRIED) or asked is None or alone is None:
        return None
    end = texts[_TRIED[0]].removeprefix(asked)
    alone = alone.removesuffix(end)
    first, _, tail = texts[_TRIED[1]].removesuffix(end).partition(_SAID["system"])
    pieces = re.split("|".join(map(re.escape, (_SAID["user"], _SAID["assistant"]))), tail)
    if len(pieces) != 4:
        return None
    to_user, to_assistant, back, after_user = pieces
    if not to_user.startswith(after_user) or not to_assistant.startswith(after_user):
        return None
    user = _Around(to_user.removeprefix(after_user), after_user)
    around = {
        "system": _Around(first, after_user),
        "user": user,
        "assistant": _Around(to_assistant.removeprefix(after_user), back.removesuffix(user.before)),
    }

    def said(roles: Sequence[str]) -> str:
        return "".join(f"{around[role].before}{_SAID[role]}{around[role].after}" for role in roles)

    own = alone.removesuffix(said(["user"]))
    if any(said(roles) + end != text for roles, text in texts.items()) or alone == own:
        return None
    if own and not (own.startswith(first) and own.endswith(after_user)):
        return None
    if "{{" in "".join((end, *(each for pair in around.values() for each in pair))):
        return None
    return _Said(around, end, own.removeprefix(first).removesuffix(after_user))
