"""Token counts without transformers are those of training, row by row; where nothing can count, bytes bound them."""

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

import sdk
from sdk.data import Message, Row, longest_row, read_rows
from sdk.data.lengths import count_tokens, measure_lengths
from sdk.domain import read_domain
from sdk.errors import InvalidInput
from sdk.model.chat import Chat, encode_rows
from sdk.packing import largest_micro_batch, packing_efficiency
from sdk.records import Lengths, TrainSettings
from sdk.train.batching import micro_batches
from tests.tiny import MARKED, UNMARKED

EMBEDDED = Path(sdk.__file__).parent / "base"
DOMAINS = Path(sdk.__file__).parents[1] / "domains"
LONG = 10**6

BOS_AND_DATE = (  # after Llama 3.1: the template writes bos_token and today's date
    "{{- bos_token }}\n{%- if not date is defined %}{%- set date = strftime_now('%d %b %Y') %}{%- endif %}\n"
    "{%- for m in messages %}{{- '<|start|>' + m['role'] + '\n\n' + (date ~ '\n' if loop.first else '') "
    "+ m['content'] | trim + '<|end|>' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|start|>assistant\n\n' }}{%- endif %}"
)
NAMESPACE_AND_JSON = (  # after Qwen 3: namespace, tojson, loop controls, names that are not given
    "{%- set ns = namespace(seen=false) %}\n{%- if tools %}{{ tools | tojson }}{%- endif %}\n"
    "{%- for m in messages %}\n    {%- if not m.content %}{%- continue %}{%- endif %}\n    {{- '<|start|>' + m.role }}"
    "{%- if m.role == 'user' and not ns.seen %}{%- set ns.seen = true %}{{- ' *' }}{%- endif %}{{- '\n' }}\n"
    "    {{- m.content | tojson(ensure_ascii=true) if m.role == 'system' else m.content }}"
    "{{- '<|end|>\n' }}\n{%- endfor %}\n"
    "{%- if add_generation_prompt %}{{- '<|start|>assistant\n' }}{{- '<think>' if enable_thinking }}{%- endif %}"
)
STRICT = (  # after Mistral: roles in turn or an exception; the answer's end token is eos_token
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'tool' %}{{ raise_exception('no tools') }}{% endif %}"
    "{% if m['role'] == 'assistant' %}{% generation %}{{ ' ' + m['content'] }}{% endgeneration %}{{ eos_token }}"
    "{% else %}{{ '[' + m['role'] + '] ' + m['content'] }}{% endif %}{% endfor %}"
)
TEMPLATES = {
    "generation": MARKED,
    "plain": UNMARKED,
    "bos and date": BOS_AND_DATE,
    "namespace and json": NAMESPACE_AND_JSON,
    "strict": STRICT,
}


def save_tokenizer(folder: Path, template: str) -> Path:
    """A byte-level one whose post-processor writes <|start|> before every text, as Llama's does with its own."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<|pad|>", "<|start|>", "<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["user assistant system what is the claim of the patient"] * 4, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|start|> $A", special_tokens=[("<|start|>", tokenizer.token_to_id("<|start|>"))]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|start|>", eos_token="<|end|>", pad_token="<|pad|>"
    )
    fast.chat_template = template
    fast.save_pretrained(folder)
    return folder


def row(name: str, *texts: str) -> Row:
    roles = ("user", "assistant") if len(texts) % 2 == 0 else ("system", "user", "assistant")
    first, turns = texts[: len(texts) % 2], texts[len(texts) % 2 :]
    messages = [Message(role="system", content=text) for text in first]
    messages += [Message(role=roles[place % 2 - 2], content=text) for place, text in enumerate(turns)]
    return Row(id=name, language="en", messages=tuple(messages))


ROWS = [
    row("a", "What is the claim?", "It is open."),
    row("b", "Be brief.\n", "  What is\tit? ", " 42 "),
    row("c", "电话是多少？", "没有。", "Really? ΩÅ👩🏽‍⚕️", "Yes: \"quoted\" <b> & 'more'\n\n"),
    row("d", "x", "y" * 3000),
]


def exact(base: Path, rows: list[Row], prompt: str) -> tuple[list[int], float]:
    encoded = encode_rows(Chat(AutoTokenizer.from_pretrained(base)), rows, prompt, LONG)
    lengths = [len(item.input_ids) for item in encoded]
    return lengths, sum(sum(item.in_loss) for item in encoded) / sum(lengths)


@pytest.mark.parametrize("domain", ["finance", "medical"])
def test_shipped_domains_on_the_embedded_base_token_by_token(domain: str) -> None:
    prompt = read_domain(DOMAINS / domain).prompt
    rows = [*read_rows(DOMAINS / domain / "train.jsonl").rows, *read_rows(DOMAINS / domain / "eval.jsonl").rows]
    lengths, learned = exact(EMBEDDED, rows, prompt)
    assert count_tokens(rows, EMBEDDED, prompt) == lengths
    measured = measure_lengths(rows, EMBEDDED, prompt)
    ordered = sorted(lengths)
    assert measured.exact
    assert (measured.rows, measured.total) == (len(rows), sum(lengths))
    assert list(measured.longest) == ordered[::-1][:256]
    for share, length in measured.percentiles.items():
        assert sum(other <= length for other in ordered) >= share / 100 * len(ordered)
        assert sum(other < length for other in ordered) < share / 100 * len(ordered)
    assert measured.learned == pytest.approx(learned, abs=0.02)


@pytest.mark.parametrize("prompt", ["", 'You answer "briefly".'])
@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_every_style_of_template_counts_as_training_does(tmp_path: Path, template: str, prompt: str) -> None:
    base = save_tokenizer(tmp_path, template)
    lengths, learned = exact(base, ROWS, prompt)
    assert count_tokens(ROWS, base, prompt) == lengths
    measured = measure_lengths(ROWS, base, prompt)
    assert measured.exact
    assert measured.learned == pytest.approx(learned, abs=0.02)


def edit(folder: Path, name: str, **changes: Any) -> None:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def named_templates(folder: Path) -> None:
    """As older bases keep them: templates by name and tokens as objects, both in tokenizer_config.json."""
    (folder / "chat_template.jinja").unlink()
    edit(
        folder,
        "tokenizer_config.json",
        chat_template=[{"name": "tool_use", "template": "no"}, {"name": "default", "template": STRICT}],
        bos_token={"__type": "AddedToken", "content": "<|start|>", "special": True},
        eos_token={"__type": "AddedToken", "content": "<|end|>", "special": True},
    )


def one_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    edit(folder, "tokenizer_config.json", chat_template=STRICT)


def token_of_the_config_only(folder: Path) -> None:
    edit(folder, "tokenizer_config.json", extra_special_tokens=["[user] What"])


def padded_and_cut(folder: Path) -> None:
    edit(
        folder,
        "tokenizer.json",
        truncation={"direction": "Right", "max_length": 5, "strategy": "LongestFirst", "stride": 0},
        padding={
            "strategy": {"Fixed": 64},
            "direction": "Right",
            "pad_to_multiple_of": None,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": "<|pad|>",
        },
    )


@pytest.mark.parametrize("change", [named_templates, one_template, token_of_the_config_only, padded_and_cut])
def test_templates_and_tokens_are_found_where_transformers_finds_them(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    base = save_tokenizer(tmp_path, STRICT)
    change(base)
    assert count_tokens(ROWS, base, "") == exact(base, ROWS, "")[0]


def without(name: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        (folder / name).unlink()

    return apply


def template(text: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        (folder / "chat_template.jinja").write_text(text)

    return apply


def broken_config(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    (folder / "tokenizer_config.json").write_text("[" * 100_000)


def broken_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")


UNUSABLE = {
    "no tokenizer": without("tokenizer.json"),
    "no template": without("chat_template.jinja"),
    "broken tokenizer": broken_tokenizer,
    "broken template": template("{% for m in messages %}"),
    "a template that refuses": template("{{ raise_exception('never') }}"),
    "a template that fails": template("{{ messages[99].content.strip() }}"),
    "a template that shows nothing": template("{# nothing #}"),
    "a template that reaches out": template("{{ messages.__class__.__mro__[1].__subclasses__()[0]() }}"),
    "a template that writes hidden names": template("{% set ns = namespace() %}{% set ns.__x = 1 %}{{ messages }}"),
    "broken config": broken_config,
}


@pytest.mark.parametrize("spoil", UNUSABLE.values(), ids=UNUSABLE)
def test_what_cannot_count_is_bounded_by_bytes(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    base = save_tokenizer(tmp_path, UNMARKED)
    counted = measure_lengths(ROWS, base, "p")
    spoil(base)
    bound = measure_lengths(ROWS, base, "p")
    assert not bound.exact
    assert bound.learned == 1.0
    assert count_tokens(ROWS, base, "p") == [longest_row([each], "p") for each in ROWS]
    assert bound.longest == tuple(sorted(count_tokens(ROWS, base, "p"), reverse=True))
    assert all(most >= tokens for most, tokens in zip(bound.longest, counted.longest, strict=True))
    assert bound == measure_lengths(ROWS, None, "p") == measure_lengths(ROWS, tmp_path / "nowhere", "p")


def test_a_row_that_the_template_refuses_makes_all_a_bound_and_its_text_is_not_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    base = save_tokenizer(tmp_path, "{% if 'Anna' in messages[0].content %}{{ raise_exception(messages) }}{% endif %}a")
    rows = [*ROWS, row("e", "Anna Secret", "Yes.")]
    assert measure_lengths(ROWS, base, "").exact
    assert not measure_lengths(rows, base, "").exact
    shown = capsys.readouterr()
    assert "Secret" not in caplog.text + shown.out + shown.err


def test_no_rows_are_refused() -> None:
    with pytest.raises(InvalidInput, match="no rows"):
        measure_lengths([], EMBEDDED, "")


def test_many_rows_report_progress_and_give_the_same_as_few() -> None:
    seen: list[tuple[str, int, int | None]] = []
    many = measure_lengths(
        ROWS * 700, EMBEDDED, "", lambda what, done, total, figures: seen.append((what, done, total))
    )
    few = measure_lengths(ROWS, EMBEDDED, "")
    assert many.total == 700 * few.total
    assert many.longest == (few.longest[0],) * 256
    assert seen == [("measure rows", done, 2800) for done in (1000, 2000, 2800)]


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("sdk.data", {"jinja2", "tokenizers", "sdk.data.lengths"}),
        ("sdk.data.lengths", {"torch", "transformers", "huggingface_hub"}),
    ],
)
def test_nothing_is_imported_that_is_not_needed(module: str, unwanted: set[str]) -> None:
    script = f"import sys, {module}; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not unwanted & set(done.stdout.split())


def settings(batch: int, max_length: int, packing: bool, **more: Any) -> TrainSettings:
    given: dict[str, Any] = {
        "method": "lora",
        "lora_r": 8,
        "lora_alpha": 16,
        "lora_dropout": 0.0,
        "learning_rate": 1e-4,
        "num_train_epochs": 1,
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": 2,
        "gradient_checkpointing": False,
        "max_length": max_length,
        "packing": packing,
    }
    return TrainSettings(**{**given, **more})


def as_lengths(tokens: list[int]) -> Lengths:
    ordered = sorted(tokens)
    return Lengths(
        rows=len(tokens),
        total=sum(tokens),
        longest=tuple(ordered[::-1][:256]),
        percentiles={share: ordered[-(-share * len(tokens) // 100) - 1] for share in (50, 90, 95, 99)},
        exact=True,
    )


def drawn(kind: str, count: int) -> list[int]:
    draw = random.Random(7)
    make: dict[str, Callable[[], float]] = {
        "log-normal": lambda: min(2048, max(8, draw.lognormvariate(5.6, 0.8))),
        "all alike": lambda: 700,
        "two kinds": lambda: draw.choice((40, 1500)),
        "even": lambda: draw.uniform(10, 2048),
    }
    return [int(make[kind]()) for _ in range(count)]


@pytest.mark.parametrize("kind", ["log-normal", "all alike", "two kinds", "even"])
@pytest.mark.parametrize("count", [1, 5, 300, 3000])
@pytest.mark.parametrize("batch", [1, 4, 8])
def test_the_largest_micro_batch_is_that_of_the_order(kind: str, count: int, batch: int) -> None:
    tokens = drawn(kind, count)
    lengths = as_lengths(tokens)
    formed = micro_batches(tokens, settings(batch, 2048, packing=False))
    largest = max(sum(tokens[place] for place in rows) for rows in formed)
    assert largest_micro_batch(lengths, batch, 2048, packing=False, epochs=1) == largest
    for epochs in (1, 3):
        packed = micro_batches(tokens, settings(batch, 2048, packing=True, num_train_epochs=epochs))
        bound = largest_micro_batch(lengths, batch, 2048, packing=True, epochs=epochs)
        assert max(sum(tokens[place] for place in rows) for rows in packed) <= bound <= batch * 2048
    assert largest_micro_batch(lengths, batch, 2048, packing=True) == batch * 2048


def test_more_rows_in_a_batch_than_are_known_or_there_are() -> None:
    lengths = as_lengths([10] * 300 + [20] * 100)
    assert largest_micro_batch(lengths, 350, 64, packing=False) == 100 * 20 + 250 * 10
    assert largest_micro_batch(lengths, 900, 64, packing=False) == 2 * lengths.total + 100 * 20
    assert largest_micro_batch(lengths, 900, 64, packing=False, epochs=1) == lengths.total
    assert largest_micro_batch(lengths, 4, 15, packing=False) == 4 * 15


@pytest.mark.parametrize("kind", ["log-normal", "all alike", "even"])
@pytest.mark.parametrize(("batch", "max_length"), [(1, 2048), (2, 2048), (8, 2048), (4, 8192)])
def test_packing_fills_as_much_as_foretold(kind: str, batch: int, max_length: int) -> None:
    tokens = drawn(kind, 6000)
    formed = micro_batches(tokens, settings(batch, max_length, packing=True, num_train_epochs=2))
    room = batch * max_length
    filled = sum(sum(tokens[place] for place in rows) for rows in formed) / (len(formed) * room)
    foretold = packing_efficiency(as_lengths(tokens), batch, max_length)
    assert 0 < foretold <= 1
    assert foretold == pytest.approx(filled, abs=0.02)


def test_the_embedded_base_is_only_read(tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(EMBEDDED, base, ignore=shutil.ignore_patterns("*.safetensors", "__pycache__"))
    before = {path.name: path.read_bytes() for path in base.iterdir() if path.is_file()}
    measure_lengths(ROWS, base, "")
    assert before == {path.name: path.read_bytes() for path in base.iterdir() if path.is_file()}
