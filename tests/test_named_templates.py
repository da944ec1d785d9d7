"""Chat templates by name: what each makes of a conversation, to the token, and that every step uses the same."""

from __future__ import annotations

import json
import shutil
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from sdk import Project
from sdk.data import conversation, read_rows
from sdk.data.base_folder import BaseFolder
from sdk.data.lengths import count_tokens
from sdk.errors import InvalidInput, Tampered
from sdk.files.regular_files import read_text
from sdk.model import Chat, base_digest, load_chat, load_tokenizer, settle_chat
from sdk.records import TEMPLATES, NamedTemplate, Package, Run, sha256
from sdk.seal import MANIFEST, Manifest
from sdk.seal.package import read_template
from sdk.train import preview
from tests.tiny import make_base, settings
from tests.workshop import Workshop, whole_way

END = "<|end|>"
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Translate.\n\nDas Haus\n\nist rot."},
    {"role": "assistant", "content": " The house is red. "},
    {"role": "user", "content": "And 红?"},
    {"role": "assistant", "content": "It means red."},
]
# The same, by hand: what is not learned and what is, in turn.
WRITTEN = {
    "alpaca": [
        "Be brief.\n\n### Instruction:\nTranslate.\n\n### Input:\nDas Haus\n\nist rot.\n\n### Response:\n",
        f"The house is red.{END}",
        "\n\n### Instruction:\nAnd 红?\n\n### Response:\n",
        f"It means red.{END}",
    ],
    "alpaca-zh": [
        "Be brief.\n\n### 指令:\nTranslate.\n\n### 输入:\nDas Haus\n\nist rot.\n\n### 回答:\n",
        f"The house is red.{END}",
        "\n\n### 指令:\nAnd 红?\n\n### 回答:\n",
        f"It means red.{END}",
    ],
    "chatml": [
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nTranslate.\n\nDas Haus\n\nist rot.<|im_end|>\n"
        "<|im_start|>assistant\n",
        "The house is red.<|im_end|>",
        "\n<|im_start|>user\nAnd 红?<|im_end|>\n<|im_start|>assistant\n",
        "It means red.<|im_end|>",
        "\n",
    ],
    "plain": [
        "Be brief.\n\nTranslate.\n\nDas Haus\n\nist rot.\n\n",
        f"The house is red.{END}",
        "\n\nAnd 红?\n\n",
        f"It means red.{END}",
    ],
}


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base without a chat template."""
    folder = make_base(tmp_path_factory.mktemp("bare") / "bare-base", positions=1024)
    (folder / "chat_template.jinja").unlink()
    return folder


@pytest.fixture(scope="module")
def chatty(bare: Path) -> Path:
    """The same with ChatML's tokens in its vocabulary."""
    folder = shutil.copytree(bare, bare.with_name("chatty-base"))
    tokenizer = load_tokenizer(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|start|>", "<|im_start|>", "<|im_end|>"]})
    tokenizer.save_pretrained(folder)
    return folder


def settle(folder: Path, name: str | None = None, languages: tuple[str, ...] = ("en", "zh")) -> NamedTemplate | None:
    with BaseFolder(folder) as opened:
        return settle_chat(opened, name, languages)[0]


def source(folder: Path, name: str) -> str:
    template = settle(folder, name)
    assert template is not None
    return template.source


def edit(folder: Path, name: str, **changes: Any) -> Path:
    content = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**content, **changes}))
    return folder


def pieces(chat: Chat, messages: list[dict[str, str]]) -> list[tuple[str, bool]]:
    encoded = chat.encode(messages)
    runs = groupby(zip(encoded.input_ids, encoded.in_loss, strict=True), key=lambda token: token[1])
    return [(str(chat.tokenizer.decode([token for token, _ in run])), learned) for learned, run in runs]


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_mask_is_the_one_written_by_hand(chatty: Path, name: str) -> None:
    chat = load_chat(str(chatty), source(chatty, name))
    assert pieces(chat, TALK) == [(text, place % 2 == 1) for place, text in enumerate(WRITTEN[name])]
    assert pieces(chat, TALK[1:3])[-2 if name == "chatml" else -1] == (WRITTEN[name][1], True)
    whole = chat.encode(TALK).input_ids
    for asked in (2, 4):  # what is asked at each turn is what its answer was trained behind
        prompt = chat.prompt_ids(TALK[:asked])
        assert whole[: len(prompt)] == prompt
        assert chat.tokenizer.decode(prompt) == "".join(WRITTEN[name][: asked - 1])
    end = "<|im_end|>" if name == "chatml" else END
    assert chat.tokenizer.convert_tokens_to_ids(end) in chat.stop_ids


@pytest.mark.parametrize("name", TEMPLATES)
def test_tool_calls_are_refused_and_said_to_be(chatty: Path, name: str) -> None:
    chat = load_chat(str(chatty), source(chatty, name))
    assert chat.limits() == ("The chat template does not take tool calls; rows with tool calls will be refused.",)
    with pytest.raises(InvalidInput, match="refuses these roles: user, assistant, tool, assistant"):
        chat.encode([*TALK[1:3], {"role": "tool", "content": "2"}, TALK[4]])


def test_a_row_of_instruction_and_input_is_asked_as_it_was_trained(bare: Path, tmp_path: Path) -> None:
    row = {"instruction": "把下面的话译成英文。", "input": "房子是红的。\n\n天是蓝的。", "output": "The house is red."}
    short = {"instruction": "法国的首都是哪里?", "input": "", "output": "巴黎"}
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(each) + "\n" for each in (row, short)), encoding="utf-8")
    template = source(bare, "alpaca-zh")
    chat = load_chat(str(bare), template)
    rows = read_rows(data).rows
    shown = [
        [(segment.text, segment.in_loss) for segment in each.segments]
        for each in preview(data, str(bare), "", settings(max_length=256), template=template)
    ]
    assert shown == [
        [
            ("### 指令:\n把下面的话译成英文。\n\n### 输入:\n房子是红的。\n\n天是蓝的。\n\n### 回答:\n", False),
            (f"The house is red.{END}", True),
        ],
        [("### 指令:\n法国的首都是哪里?\n\n### 回答:\n", False), (f"巴黎{END}", True)],
    ]
    asked = chat.prompt_ids([{"role": "user", "content": f"{row['instruction']}\n\n{row['input']}"}])
    assert chat.encode(conversation(rows[0], "")).input_ids[: len(asked)] == asked
    lengths = [len(chat.encode(conversation(each, "Be brief.")).input_ids) for each in rows]
    assert count_tokens(rows, bare, "Be brief.", template) == lengths


def test_the_begin_token_stands_where_the_tokenizer_puts_it(bare: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(bare, tmp_path / "base")
    edit(folder, "tokenizer_config.json", bos_token="<|start|>")
    assert "bos_token" not in source(folder, "plain")  # named, and never put before a text
    token = {"SpecialToken": {"id": "<|start|>", "type_id": 0}}
    edit(
        folder,
        "tokenizer.json",
        post_processor={
            "type": "TemplateProcessing",
            "single": [token, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [token, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<|start|>": {"id": "<|start|>", "ids": [1], "tokens": ["<|start|>"]}},
        },
    )
    chat = load_chat(str(folder), source(folder, "plain"))
    assert pieces(chat, TALK[1:3])[0] == ("<|start|>Translate.\n\nDas Haus\n\nist rot.\n\n", False)
    assert chat.prompt_ids(TALK[1:2])[:2] == [1, chat.encode(TALK[1:3]).input_ids[1]]


def test_a_base_without_a_template_gets_one_for_the_domains_language(bare: Path, workshop: Workshop) -> None:
    for languages, name in ((("en", "zh"), "alpaca"), (("zh",), "alpaca-zh"), (("zh", "en"), "alpaca-zh")):
        template = settle(bare, None, languages)
        assert template is not None
        assert (template.name, template.reason) == (
            name,
            f"the base has none, and the domain's first language is {languages[0]}",
        )
    assert settle(workshop.base) is None
    template = settle(workshop.base, "plain")
    assert template is not None
    assert template.reason == "named by the user, in the place of the base's own"


def test_what_cannot_be_trained_is_refused_with_the_reason(bare: Path, chatty: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"no <\|im_start\|> and no <\|im_end\|>, and tokens that are added"):
        settle(bare, "chatml")
    assert settle(chatty, "chatml") is not None
    folder = shutil.copytree(bare, tmp_path / "endless")
    edit(folder, "tokenizer_config.json", eos_token=None)
    with pytest.raises(InvalidInput, match="names no end token, so a model could not learn to stop"):
        settle(folder)
    edit(folder, "tokenizer_config.json", eos_token="</s>")
    tokens = len(load_tokenizer(bare))
    edit(folder, "config.json", vocab_size=tokens)
    with pytest.raises(InvalidInput, match="tokenizer and model do not belong together") as caught:
        settle(folder)
    assert caught.value.faults[0] == f"its tokenizer has {tokens + 1} tokens, the model only {tokens}"


def test_the_whole_way_renders_with_one_template(bare: Path, workshop: Workshop) -> None:
    """Of training, sealing and serving each opens the base anew, and two of them in another process."""
    project = workshop.project("bare", base=str(bare))
    state = project.state()
    template = state.charter.template
    assert template is not None
    assert state.events[-1].objects["template"] == template.sha256
    assert state.charter.base_digest == base_digest(bare)  # which the template is no part of
    whole_way(project, workshop.approver("bare"), steps=1)
    state = project.state()
    assert state.latest(Run).training_template == template.sha256
    package = state.folder(state.latest(Package)) / "package"
    assert (package / "chat_template.jinja").read_bytes() == template.source.encode()
    model = project.load()
    assert model.tokenizer.get_chat_template() == template.source
    assert len(model.generate("What?\n\nThis.")) == 1
    manifest = Manifest.model_validate_json(read_text(package / MANIFEST, 1 << 20))
    assert manifest.template == sha256(template.source.encode())
    with pytest.raises(Tampered, match="is not the chat template that was sealed"):
        read_template(package, manifest.model_copy(update={"template": "a" * 64}))
    project.verify()


def test_records_without_a_template_are_as_they_were(finished: Project) -> None:
    charter = finished.state().charter
    assert charter.template is None
    assert b'"template"' not in charter.to_bytes()
    package = finished.state().folder(finished.state().latest(Package)) / "package"
    manifest = Manifest.model_validate_json(read_text(package / MANIFEST, 1 << 20))
    assert "template" not in manifest.model_dump(mode="json")
    assert read_template(package, manifest) is None
