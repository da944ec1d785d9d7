"""The process that renders chat templates: one line of JSON in, one out, until its input ends.

A template is a program that came with the base, and jinja2's sandbox bounds neither how long it runs nor how much it
builds. So it runs here, where the kernel does: the process ends at its limit of processor time, and gets no more
memory. It says why something was not rendered by one word, never by the exception, which may quote a conversation.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Template, TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from sdk.data.template import CHARACTERS, GROWTH, MEMORY_BYTES, OVER, REFUSED
from sdk.files.regular_files import KIB, read_regular


class _Answers(Extension):
    """{% generation %}: shows what stands in it, and notes from where to where, as transformers' renderer does."""

    tags = {"generation"}  # noqa: RUF012 - as jinja2 declares it

    def __init__(self, environment: ImmutableSandboxedEnvironment) -> None:
        super().__init__(environment)
        environment.extend(shown=0, answers=[])

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_note"), [], [], body).set_lineno(line)

    def _note(self, caller: Callable[[], str]) -> str:
        text = caller()
        noted: Any = self.environment
        noted.answers.append((noted.shown, noted.shown + len(text)))
        return text


class _Names(Namespace):
    """{% set ns.name = … %}, closed to Python's own names."""

    def __setitem__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            raise SecurityError("a template may not set a name that begins with an underscore")
        super().__setitem__(name, value)


class _Dict:
    """`dict` as templates call it, without the type's own attributes."""

    def __call__(self, *pairs: Any, **names: Any) -> dict[Any, Any]:
        return dict(*pairs, **names)

    def fromkeys(self, *arguments: Any) -> dict[Any, Any]:
        return dict.fromkeys(*arguments)


def _namespace(*pairs: Any, **names: Any) -> Namespace:
    namespace = _Names()
    for name, value in dict(*pairs, **names).items():
        namespace[name] = value
    return namespace


def _to_json(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, **options)


def _refuse(message: str) -> None:
    raise TemplateError(message)


def _now(form: str) -> str:
    return datetime.now().strftime(form)


@lru_cache(maxsize=8)
def _compiled(source: str) -> Template:
    """Compile a template with the names and settings of transformers' renderer."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Answers, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _to_json
    environment.globals.update(raise_exception=_refuse, strftime_now=_now, namespace=_namespace, dict=_Dict())
    return environment.from_string(source)


def _render(request: Mapping[str, Any], messages: list[dict[str, Any]]) -> tuple[str, list[tuple[int, int]]] | str:
    """Render one conversation: its text, and where answers are marked; a word where that cannot be."""
    room = CHARACTERS + GROWTH * sum(len(str(message)) for message in messages)
    try:
        template = _compiled(request["template"])
        noted: Any = template.environment
        noted.shown, noted.answers, pieces = 0, [], []
        for piece in template.generate(
            messages=[{name: value for name, value in message.items() if value is not None} for message in messages],
            tools=None,
            documents=None,
            add_generation_prompt=request["prompt"],
            **request["special"],
        ):
            noted.shown += len(piece)
            if noted.shown > room:
                return OVER
            pieces.append(piece)
    except MemoryError:
        return OVER
    except Exception:  # noqa: BLE001 - a template can raise anything, and its text must not be told
        return REFUSED
    return "".join(pieces), noted.answers


def main() -> None:
    """Answer each request, a line of JSON, with a line of JSON; processor time is limited anew for each."""
    pages = int(read_regular(Path("/proc/self/statm"), KIB).split()[0])
    limit = pages * resource.getpagesize() + MEMORY_BYTES  # beyond what the interpreter itself has
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for line in sys.stdin.buffer:
        try:
            request = json.loads(line)
            signal.setitimer(signal.ITIMER_PROF, request["seconds"])  # whose signal ends the process
            answer = json.dumps([_render(request, messages) for messages in request["conversations"]])
            signal.setitimer(signal.ITIMER_PROF, 0)
        except MemoryError:
            answer = json.dumps([OVER])
            signal.setitimer(signal.ITIMER_PROF, 0)
        sys.stdout.buffer.write(answer.encode() + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
