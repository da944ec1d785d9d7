"""A base's chat template: conversations to text, in a process that the kernel holds to limits (`template_child`)."""

from __future__ import annotations

import atexit
import json
import os
import select
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from sdk import processes
from sdk.errors import InvalidInput

TEMPLATE_CHARACTERS = 1 << 18  # of a template's source; the longest published ones have some 30,000
SECONDS = 5.0  # of processor time for the conversations of one request, of which each usually takes 0.1 ms
MEMORY_BYTES = 512 << 20
CHARACTERS, GROWTH = 1 << 20, 8  # what is rendered may have so many characters, and so many for each of the messages'
OVER, REFUSED = "over", "refused"
_PROBE = "Answer-briefly"  # a system message
_TOGETHER = 4 << 20  # bytes of the conversations in one request
_PATIENCE = 60.0  # seconds in which an answer must come whatever else this machine does
_ANSWER_BYTES = 1 << 30

Messages = Sequence[Mapping[str, Any]]


class Rendered(NamedTuple):
    """A conversation's text; from where to where its {% generation %} blocks stand in it."""

    text: str
    answers: list[tuple[int, int]]


class ChatTemplate:
    """A template's source with the special tokens that it may name, such as eos_token.

    Raises InvalidInput where the source is longer than any template.
    """

    def __init__(self, source: str, special: Mapping[str, Any]) -> None:
        if len(source) > TEMPLATE_CHARACTERS:
            raise InvalidInput(
                f"The base's chat template has {len(source)} characters, at most {TEMPLATE_CHARACTERS} are read; use a "
                "base with an ordinary one."
            )
        self.source = source
        self._special = {name: str(token) for name, token in special.items() if token is not None}
        self._folds: bool | None = None

    @property
    def folds_system(self) -> bool:
        """Whether a system message is put before the first user's, because the template refuses it or leaves it out."""
        if self._folds is None:
            user = {"role": "user", "content": "a"}
            with_system, without = self._render([[{"role": "system", "content": _PROBE}, user], [user]], prompt=False)
            shown = with_system is not None and _PROBE in with_system.text
            self._folds = without is not None and not shown
        return self._folds

    def render(self, conversations: Sequence[Messages], prompt: bool = False) -> list[Rendered | None]:
        """Render each conversation; None for one that the template refuses.

        prompt: whether the text ends where the assistant's turn begins. Raises InvalidInput where the template needs
        more time, memory or room than any conversation does.
        """
        if any(messages and messages[0]["role"] == "system" for messages in conversations) and self.folds_system:
            conversations = [_folded(messages) for messages in conversations]
        return self._render(conversations, prompt)

    def _render(self, conversations: Sequence[Messages], prompt: bool) -> list[Rendered | None]:
        rendered: list[Rendered | None] = []
        for together in _portions(conversations):
            request = {
                "template": self.source,
                "special": self._special,
                "prompt": prompt,
                "seconds": SECONDS,
                "conversations": together,
            }
            answers = _renderer().ask(json.dumps(request).encode())  # in ASCII, whatever a text is made of
            if answers is None or OVER in answers:
                raise InvalidInput(
                    "The base's chat template needs more than any conversation does (limits: "
                    f"{SECONDS:g} s, {MEMORY_BYTES >> 20} MiB, {GROWTH} times the messages' length); use a base with "
                    "an ordinary one."
                )
            rendered += [
                None if answer == REFUSED else Rendered(answer[0], [(begin, end) for begin, end in answer[1]])
                for answer in answers
            ]
        return rendered


def _folded(messages: Messages) -> Messages:
    """Return a conversation whose system message stands before the first user's, in one message."""
    if len(messages) < 2 or messages[0]["role"] != "system" or messages[1]["role"] != "user":
        return messages
    system, user, *others = messages
    return [{**user, "content": f"{system['content']}\n\n{user['content']}"}, *others]


def _portions(conversations: Sequence[Messages]) -> Iterator[list[list[dict[str, Any]]]]:
    """Divide conversations so that each request is small beside the memory that rendering may take."""
    together: list[list[dict[str, Any]]] = []
    size = 0
    for messages in conversations:
        together.append([dict(message) for message in messages])
        size += sum(len(str(message)) for message in messages)
        if size > _TOGETHER:
            yield together
            together, size = [], 0
    if together:
        yield together


class _Renderer:
    """The child of this process that renders, started when it is first needed, and again after it has ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: processes.Child | None = None

    def ask(self, request: bytes) -> list[Any] | None:
        """Return the child's answers; None where it has come to a limit, and is gone."""
        with self._lock:
            if self._child is None or self._child.poll() is not None:
                self.close()
                self._child = processes.start("sdk.data.template_child", stdout=processes.PIPE)
            answer = self._exchange(self._child, request)
            if answer is None:
                self.close()
            return answer

    def close(self) -> None:
        """End the child."""
        child, self._child = self._child, None
        if child is not None:
            for stream in (child.stdin, child.stdout):
                if stream is not None:
                    with suppress(BrokenPipeError):  # what was not sent is of no use any more
                        stream.close()
            processes.end(child)

    @staticmethod
    def _exchange(child: processes.Child, request: bytes) -> list[Any] | None:
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(request + b"\n")
            child.stdin.flush()
        except BrokenPipeError:
            return None
        pieces: list[bytes] = []
        size, ends, pipe = 0, time.monotonic() + _PATIENCE, child.stdout.fileno()
        while not (pieces and pieces[-1].endswith(b"\n")):
            ready, _, _ = select.select([pipe], [], [], max(0.0, ends - time.monotonic()))
            piece = os.read(pipe, 1 << 20) if ready else b""
            size += len(piece)
            if not piece or size > _ANSWER_BYTES:
                return None
            pieces.append(piece)
        answers: list[Any] = json.loads(b"".join(pieces))
        return answers


_renderers: dict[int, _Renderer] = {}


def _renderer() -> _Renderer:
    """Return this process's own: after a fork, the parent's pipes are no place to ask through."""
    if os.getpid() not in _renderers:
        renderer = _renderers.setdefault(os.getpid(), _Renderer())
        atexit.register(renderer.close)
    return _renderers[os.getpid()]
