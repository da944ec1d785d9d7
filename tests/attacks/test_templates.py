"""Chat templates are programs that come with a base: whatever one does ends in seconds with an error of ours."""

import ast
import os
import resource
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

import sdk
from sdk import processes
from sdk.data import template as templates
from sdk.data.lengths import measure_lengths
from sdk.data.rows import Message, Row
from sdk.data.template import GROWTH, TEMPLATE_CHARACTERS, ChatTemplate, Rendered
from sdk.errors import InvalidInput
from sdk.model import Chat, load_tokenizer
from tests.tiny import MARKED, UNMARKED, make_base
from tests.waiting import SECONDS

CONVERSATION = [{"role": "user", "content": "What is it?"}, {"role": "assistant", "content": "It is open."}]
ROWS = [Row(id="a", language="en", messages=tuple(Message(**message) for message in CONVERSATION))]
HUGE = "99999"  # the sandbox allows a range of that
LOOPS = "".join(f"{{% for {name} in range({HUGE}) %}}" for name in "abcd")
DOUBLE = (
    "{% set ns = namespace(x=messages[0].content) %}{% for i in range(99) %}{% set ns.x = HOW %}{% endfor %}{{ ns.x }}"
)
ATTACKS = {
    "a string of 20 GB": "{{ 'a' * 20000000000 }}",
    "a string of 20 GB in the prompt": "{% if add_generation_prompt %}{{ 'a' * 20000000000 }}{% endif %}x<|end|>",
    "loops without an end": LOOPS + "{% endfor %}" * 4,
    "loops that write": LOOPS + "x{% endfor %}{% endfor %}{% endfor %}{% endfor %}",
    "a number without an end": "{{ 10 ** (10 ** 10) }}",
    "doubling by ~": DOUBLE.replace("HOW", "ns.x ~ ns.x"),
    "doubling by +": DOUBLE.replace("HOW", "ns.x + ns.x"),
    "doubling by format": DOUBLE.replace("HOW", "'%s%s' % (ns.x, ns.x)"),
    "doubling by join": DOUBLE.replace("HOW", "[ns.x, ns.x] | join"),
    "doubling by replace": DOUBLE.replace("HOW", "ns.x | replace('W', ns.x)"),
    "doubling a list": DOUBLE.replace("HOW", "[ns.x, ns.x]"),
    "doubling a list as JSON": DOUBLE.replace("HOW", "[ns.x, ns.x]").replace("{{ ns.x }}", "{{ ns.x | tojson }}"),
    "a filter that pads": "{{ 'a' | center(100000000000) }}",
    "a method that pads": "{{ 'a'.ljust(100000000000) }}",
    "a format that pads": "{{ '%100000000000d' % 1 }}",
    "another format that pads": "{{ '{:>100000000000}'.format(1) }}",
    "a filter that indents": "{{ (('a\n' * 10000) | indent(10000000)) | length }}",
    "JSON that indents": "{{ messages | tojson(indent=10000000000) }}",
    "words of Latin": "{{ lipsum(n=100000000) }}",
    "a batch that is filled": "{{ [1] | batch(10000000000, 'x') | list | length }}",
    "a block of text": "{% set x %}" + LOOPS + "x" + "{% endfor %}" * 4 + "{% endset %}{{ x | length }}",
    "an answer without an end": "{% generation %}" + LOOPS + "x" + "{% endfor %}" * 4 + "{% endgeneration %}",
    "recursion": "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(1) }}",
    "recursion of a loop": "{% for m in [[1]] recursive %}{{ loop([m]) }}{% endfor %}",
    "nesting that no parser takes": "{{ " + "(" * 60_000 + "1" + ")" * 60_000 + " }}",
    "blocks that no parser takes": "{% if messages %}" * 12_000,
    "a list that no compiler takes": "{{ " + "[" * 20_000 + "]" * 20_000 + " }}",
    "a chain that no compiler takes": "{{ 1" + " + 1" * 60_000 + " }}{{ 'x' * 20000000000 }}",
    "more text than asked for": "{% for a in range(9999) %}{{ 'x' * 10000 }}{% endfor %}",
    "100 MB of template": "x" * 100_000_000,
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(autouse=True)
def _bounded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process itself takes no gigabyte for it, and the next conversation is rendered as ever.

    The limit of time is a quarter of what it is outside of tests.
    """
    monkeypatch.setattr(templates, "SECONDS", 0.5)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20  # KiB
    assert ChatTemplate("{{ messages[0].content }}", {}).render([CONVERSATION]) == [Rendered("What is it?", [])]


@pytest.mark.parametrize("source", ATTACKS.values(), ids=ATTACKS)
def test_a_hostile_template_is_refused_within_seconds(base: Path, tmp_path: Path, source: str) -> None:
    folder = shutil.copytree(base, tmp_path / "hostile")
    (folder / "chat_template.jinja").write_text(source)
    began = time.monotonic()
    with pytest.raises(InvalidInput, match="chat template"):
        Chat(load_tokenizer(folder)).prompt_ids(CONVERSATION)
    assert time.monotonic() - began < SECONDS


@pytest.mark.parametrize("name", ["a string of 20 GB", "loops without an end", "100 MB of template", "recursion"])
def test_lengths_are_measured_under_the_same_limits(base: Path, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(base, tmp_path / "hostile")
    assert measure_lengths(ROWS, folder, "").exact
    (folder / "chat_template.jinja").write_text(ATTACKS[name])
    if name == "recursion":  # the template refuses the row, so bytes bound it
        assert not measure_lengths(ROWS, folder, "").exact
        return
    with pytest.raises(InvalidInput, match="chat template"):
        measure_lengths(ROWS, folder, "")


def test_the_honest_twin_is_rendered_as_transformers_does(base: Path) -> None:
    for source in (MARKED, UNMARKED):
        tokenizer = AutoTokenizer.from_pretrained(base)
        tokenizer.chat_template = source
        (ours,) = ChatTemplate(source, tokenizer.special_tokens_map).render([CONVERSATION])
        assert ours is not None
        assert ours.text == tokenizer.apply_chat_template(CONVERSATION, tokenize=False)
        theirs: Any = tokenizer.apply_chat_template(CONVERSATION, return_dict=True, return_assistant_tokens_mask=True)
        encoded = Chat(tokenizer).encode(CONVERSATION)
        assert encoded.input_ids == theirs["input_ids"]
        if source == MARKED:
            assert encoded.in_loss == [bool(mark) for mark in theirs["assistant_masks"]]
        prompt = tokenizer.apply_chat_template(CONVERSATION[:1], add_generation_prompt=True, return_dict=True)
        assert Chat(tokenizer).prompt_ids(CONVERSATION[:1]) == prompt["input_ids"]


def test_long_conversations_and_long_templates_are_rendered() -> None:
    long = [{"role": "user", "content": "文" * 1_000_000}]
    padding = "{# " + "x" * (TEMPLATE_CHARACTERS - 200) + " #}"
    (rendered,) = ChatTemplate(padding + "{{ messages[0].content }}" * (GROWTH - 1), {}).render([long])
    assert rendered is not None
    assert len(rendered.text) == 1_000_000 * (GROWTH - 1)
    many = ChatTemplate("{{ messages[0].content }}", {}).render([CONVERSATION, *[long] * 4, CONVERSATION])
    assert [len(each.text) for each in many if each] == [11, *[1_000_000] * 4, 11]


def test_one_conversation_that_is_refused_does_not_stop_the_others() -> None:
    picky = ChatTemplate("{% if 'x' in messages[0].content %}{{ raise_exception('no') }}{% endif %}y", {})
    asked = [[{"role": "user", "content": text}] for text in ("a", "x", "b")]
    assert picky.render(asked) == [Rendered("y", []), None, Rendered("y", [])]


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages.__class__.__mro__[1].__subclasses__() }}",
        "{{ dict.__init__.__globals__ }}",
        "{{ namespace.__globals__ }}",
        "{% set ns = namespace() %}{% set ns.__class__ = 1 %}{{ ns }}",
        "{{ raise_exception.__globals__['json'] }}",
        "{{ ''.__class__ }}{{ raise_exception('x') }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}{{ os }}",
    ],
)
def test_a_template_does_not_leave_its_sandbox(source: str) -> None:
    (rendered,) = ChatTemplate(source, {}).render([CONVERSATION])
    assert rendered is None or rendered.text == ""


def test_a_child_that_is_killed_or_does_not_answer_is_an_error_and_another_takes_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = ChatTemplate("{{ messages[0].content }}", {})
    plain.render([CONVERSATION])
    child = templates._renderer()._child
    assert child is not None
    os.kill(child.pid, signal.SIGKILL)
    processes.end(child, SECONDS)
    assert plain.render([CONVERSATION]) == [Rendered("What is it?", [])]
    child = templates._renderer()._child
    assert child is not None
    os.kill(child.pid, signal.SIGSTOP)
    with monkeypatch.context() as soon:
        soon.setattr(templates, "_PATIENCE", 0.2)
        with pytest.raises(InvalidInput, match="chat template needs more"):
            plain.render([CONVERSATION])
    assert templates._renderer()._child is None


def test_what_a_template_raises_is_not_told(capfd: pytest.CaptureFixture[str]) -> None:
    """It can quote the conversation."""
    assert ChatTemplate("{{ raise_exception(messages[0].content) }}", {}).render([CONVERSATION]) == [None]
    assert "What is it?" not in "".join(capfd.readouterr())


def test_templates_are_rendered_in_one_place_only() -> None:
    """By the syntax tree: jinja2 is imported by the child, and transformers' own rendering is called nowhere.

    What `documents` renders with jinja2 are this package's own templates.
    """
    importing: set[Path] = set()
    calling: set[Path] = set()
    for path in sorted(Path(sdk.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            importing |= {path for name in names if name.partition(".")[0] == "jinja2"}
            if isinstance(node, ast.Attribute) and node.attr in ("apply_chat_template", "from_string"):
                calling.add(path)
    elsewhere = {path.name for path in importing | calling if path.parent.name != "documents"}
    assert elsewhere == {"template_child.py"}
