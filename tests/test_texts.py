"""Running text: what is read of files, what is left out, what is learned of it, and what is measured afterwards."""

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import torch

from sdk import InvalidInput, Project
from sdk.advise import advise, find_model
from sdk.data import conversation, holds_texts, open_rows, read_rows, rows_digest
from sdk.data.canaries import canaries
from sdk.data.columns import suggest
from sdk.data.general import general_rows
from sdk.data.lengths import measure_lengths
from sdk.data.plain_text import html_text
from sdk.hardware import find_gpu
from sdk.measure import leaks, power
from sdk.measure.leaks import _Questions
from sdk.model import Chat, Encoded, cut_texts, encode_rows, load_chat
from sdk.model.load import load_base
from sdk.packing import best_fit
from sdk.project.measure_requests import asked_floors, score_facts
from sdk.project.own_settings import settings_in_force
from sdk.records import BASE, AskedFloors, Forgetting, Interval, Lengths, Metrics, Needs, Scores, Scrubbed, TextOutcome
from sdk.scrub.spans import Span
from sdk.scrub.text_selection import TextSelection
from sdk.scrub.windows import find_in_long
from sdk.train.trainer import Collator
from sdk.train.validation import hold_out
from tests.fixed_state import FixedState
from tests.tiny import make_base, one_thread, settings  # noqa: F401 - a fixture for all
from tests.workshop import Workshop, rows, write_policy

LEDGER = "The ledger is closed each evening by two clerks, and the sum is compared with the cash that is counted. "
LOANS = "A loan above the limit is decided by the committee, which hears the branch and the auditor before it votes. "
CARDS = "Cards that are lost are blocked at once, and a new one is sent to the address that the holder has confirmed. "


def write(folder: Path, **files: str | bytes) -> Path:
    """Write files by their names, with _ for the point; the folder's own is made."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        data = text if isinstance(text, bytes) else text.encode()
        (folder / ".".join(name.rsplit("_", 1))).write_bytes(data)
    return folder


# What is read


def test_html_is_read_as_it_is_seen() -> None:
    page = (
        "<html><head><title>no</title><style>p{}</style></head><body><!-- no --><script>no()</script>"
        "<h1>Loans</h1><p>Mr. <b>Karl</b>\n  Weber&nbsp;asks<br>twice &amp; more</p>"
        "<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table><pre>x\n  y</pre><ul><li>one<li>two</ul>end"
    )
    assert html_text(page).split("\n") == [
        *("Loans", "", "Mr. Karl Weber asks", "twice & more", "", "a\tb", "c", "", "x", "  y", "", "one", "two"),
        *("", "end"),
    ]
    assert html_text("plain, no tags") == "plain, no tags"
    assert html_text("<b>" * 900 + "deep") == "deep"
    with pytest.raises(ValueError, match="nested more than"):  # libxml2 would drop what is deeper, without a word
        html_text("<p>above</p>" + "<div>" * 5_000 + "deep")


def test_a_folder_is_its_files_in_order_each_one_text(tmp_path: Path) -> None:
    folder = write(tmp_path / "notes", b_txt=LEDGER, a_md="# Loans\n\n" + LOANS)
    write(folder / "more", c_html=f"<p>{CARDS}</p>")
    write(folder / ".hidden", d_exe=b"\0")
    (folder / "e.jsonl").write_text(json.dumps({"text": "汇率每天公布一次,客户可以查询。", "id": "rate"}))
    source = open_rows(folder)
    found = [(row.id, row.language) for row in source.rows]
    assert found == [("row-1", "en"), ("row-2", "en"), ("rate", "zh"), ("row-4", "en")]
    assert source.texts == source.count == 4
    assert source.formats == "text in MD, text in TXT, text in JSONL, text in HTML"
    assert [row.messages[0].content for row in source.rows][-1] == CARDS.strip()
    assert holds_texts(folder)
    assert rows_digest(folder) == source.sha256
    before = source.sha256
    write(folder, b_txt=LEDGER + "x")
    assert open_rows(folder).sha256 != before


def test_a_data_yaml_names_files_and_folders(tmp_path: Path) -> None:
    write(tmp_path / "notes", a_txt=LEDGER, b_html=f"<p>{LOANS}</p>", c_pdf=b"%PDF")
    write(tmp_path / "more", d_txt=CARDS)
    listed = write(tmp_path, data_yaml="files: [{path: 'notes/*.[th]*'}, {path: more}]") / "data.yaml"
    assert [row.messages[0].content.strip() for row in open_rows(listed).rows] == [
        text.strip() for text in (LEDGER, LOANS, CARDS)
    ]


def test_rows_with_text_are_read_from_every_container_and_written_again(tmp_path: Path) -> None:
    table = pyarrow.table({"text": [LEDGER, LOANS], "id": ["l", "m"]})
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
    (tmp_path / "rows.csv").write_text(f'id,text\nl,"{LEDGER}"\nm,"{LOANS}"\n')
    lines = [
        {"id": "l", "messages": [{"role": "text", "content": LEDGER}]},
        {"id": "m", "messages": [{"role": "text", "content": LOANS}]},
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)))
    read = [read_rows(tmp_path / f"rows.{kind}").rows for kind in ("parquet", "csv", "jsonl")]
    assert read[0] == read[1] == read[2]
    assert [row.is_text for row in read[0]] == [True, True]
    assert conversation(read[0][0], "Be brief.") == [{"role": "text", "content": LEDGER}]  # no prompt leads a text
    spans = [{"field": "text", "start": 4, "end": 10, "entity_type": "PERSON"}]
    (tmp_path / "spans.jsonl").write_text(json.dumps({"text": LEDGER, "spans": spans}))
    assert read_rows(tmp_path / "spans.jsonl").rows[0].spans[0].start == 4


BAD = {
    "empty": ({"a_txt": ""}, "a.txt is empty"),
    "no text": ({"a_html": "<script>1</script>"}, "holds no text"),
    "binary": ({"a_txt": b"MZ\x90\0\x03"}, "byte 4 is zero, as in programs and pictures"),
    "latin-1": ({"a_txt": "Müller".encode("latin-1")}, "not UTF-8 at byte 2; save the file as UTF-8"),
    "utf-16": ({"a_txt": "Note".encode("utf-16-le") + b"\xff\xfe"}, "is zero"),
    "huge line": ({"a_txt": b"x" * ((16 << 20) + 1)}, "a.txt has more than 16777216 bytes"),
    "mixed": (
        {"a_jsonl": '{"text": "a b"}\n{"instruction": "a", "output": "b"}'},
        "line 2: layout alpaca, but line 1 has",
    ),
    "both": ({"a_jsonl": '{"text": "a b", "label": 1}'}, "unknown columns label"),
    "no kind": ({"a_txt": "a", "b_pdf": "b"}, "b.pdf: of no kind that is read"),
    "no files": ({}, "holds no files"),
    "role": (
        {"a_jsonl": '{"messages": [{"role": "text", "content": "a"}, {"role": "assistant", "content": "b"}]}'},
        "a message whose role is text is running text, which stands alone in a row",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_read_is_one_error_that_names_file_and_row(case: str, tmp_path: Path) -> None:
    files, said = BAD[case]
    folder = write(tmp_path / "notes", **files)  # type: ignore[arg-type]
    whole = folder if len(files) != 1 else folder / next(iter(files)).replace("_", ".")
    with pytest.raises(InvalidInput) as caught:
        open_rows(whole)
    text = "\n".join([caught.value.message, *caught.value.faults])
    assert said in text
    assert str(whole) in text or str(folder) in text
    assert len(caught.value.faults) <= 1


def test_of_several_files_the_one_is_named_within_its_folder(tmp_path: Path) -> None:
    folder = write(tmp_path / "notes", a_txt=LEDGER)
    write(folder / "sub", a_txt=b"\xff")
    with pytest.raises(InvalidInput) as caught:
        open_rows(folder)
    assert caught.value.faults == ("sub/a.txt not UTF-8 at byte 1; save the file as UTF-8",)


def test_a_text_beside_an_answer_is_a_question() -> None:
    assert suggest(["text", "label"]) == "--map instruction=text,output=label"
    assert suggest(["text", "url"]) == "--drop url"
    assert suggest(["instruction", "input", "output", "text"]) == "--drop text"


# What is chosen


def documents(tmp_path: Path, texts: Sequence[str]) -> Path:
    path = tmp_path / "texts.jsonl"
    path.write_text("\n".join(json.dumps({"text": text}) for text in texts), encoding="utf-8")
    return path


def different(count: int) -> list[str]:
    return [
        " ".join(f"{word}{number}" for word in "account branch clerk desk entry fund".split())
        for number in range(count)
    ]


def test_near_duplicates_are_left_out_and_counted(tmp_path: Path) -> None:
    long = LEDGER + LOANS + CARDS + " ".join(different(12)[3:])
    twice = [long, long.replace("evening", "morning"), long.upper() + "!", LOANS, *different(6)]
    chinese = (
        "客户的账户每天晚上由两名职员核对,并与清点的现金比较,差额必须在第二天说明原因。分行经理每周检查一次记录,"
        "审计部门每季度抽查。遗失的银行卡立即冻结,新卡寄到持卡人确认过的地址。超过限额的贷款由委员会表决,"
        "表决之前听取分行和审计人员的意见。"
    )
    source = open_rows(documents(tmp_path, [*twice, chinese, chinese.replace("两", "三")]))
    chosen = TextSelection()(source, None)
    assert chosen.texts.near_duplicates == 3
    assert chosen.texts.documents == 12
    kept = {row.id for part in (chosen.train, chosen.evaluation) if part for row in part.rows}
    assert kept == {f"row-{number}" for number in (1, 4, 5, 6, 7, 8, 9, 10, 11)}
    evaluated = open_rows(documents(write(tmp_path / "eval"), [long.replace("two", "three")]))
    beside = TextSelection()(source, evaluated)
    assert "row-1" not in {row.id for row in beside.train.rows}  # nothing on both sides
    assert (beside.evaluation, beside.texts.held_out) == (None, 0)


def test_documents_are_held_out_by_what_they_say(tmp_path: Path) -> None:
    texts = different(40)
    chosen = TextSelection()(open_rows(documents(tmp_path, texts)), None)
    assert chosen.evaluation is not None
    held = {row.messages[0].content for row in chosen.evaluation.rows}
    trained = {row.messages[0].content for row in chosen.train.rows}
    assert (len(held), len(trained), chosen.texts.held_out) == (4, 36, 4)
    assert not held & trained
    turned = TextSelection()(open_rows(documents(tmp_path, texts[::-1])), None)
    assert turned.evaluation is not None
    assert {row.messages[0].content for row in turned.evaluation.rows} == held  # whatever their order
    source = open_rows(documents(tmp_path, texts))
    asked = [TextSelection(least)(source, None).texts.held_out for least in (12, 20, 21)]
    assert asked == [12, 20, 4]  # as many as the policy wants, where that leaves half
    with pytest.raises(InvalidInput, match="holds one document"):
        TextSelection()(open_rows(documents(tmp_path, texts[:1])), None)


def test_chosen_rows_are_read_from_any_place_and_to_the_end(tmp_path: Path) -> None:
    path = documents(tmp_path, different(20))
    source = TextSelection()(open_rows(path), None).train
    every = [row.id for row in source.rows]
    assert len(every) == source.count == 18
    assert all([row.id for row in source.rows_from(first)] == every[first:] for first in (0, 1, 9, 17, 18))
    path.write_text(path.read_text() + "\n" + json.dumps({"text": "one more"}))
    with pytest.raises(InvalidInput, match="was changed while it was read"):
        list(source.rows)


def test_conversations_are_mixed_in_to_a_share_of_the_characters(tmp_path: Path) -> None:
    source = open_rows(documents(tmp_path, [text * 20 for text in different(20)]))
    talk = tmp_path / "talk.jsonl"
    spans = [{"field": "output", "start": 0, "end": 1, "entity_type": "PERSON"}]
    lines = [{"id": "x" * 200, "instruction": "What is it?", "output": "a word or two", "spans": spans}]
    talk.write_text("\n".join(json.dumps({**lines[0], "id": f"{'x' * 190}{number}"}) for number in range(500)))
    chosen = TextSelection(mix=0.2, mix_data=talk)(source, None)
    assert chosen.mixed is not None
    mixed = list(chosen.mixed.rows)
    assert len(mixed) == chosen.texts.mixed_rows == chosen.mixed.count
    assert chosen.texts.mix == pytest.approx(0.2, abs=0.01)
    own = sum(len(message.content) for row in mixed for message in row.messages)
    texts = sum(len(row.messages[0].content) for row in chosen.train.rows)
    assert chosen.texts.mix == own / (own + texts)
    assert all(row.id.startswith("mixed-in-") and not row.spans and not row.is_text for row in mixed)
    assert TextSelection(mix=0.2, mix_data=talk)(source, None).texts == chosen.texts
    with pytest.raises(InvalidInput, match="must be conversations"):
        TextSelection(mix=0.2, mix_data=source.path)(source, None)


# What is found in long texts


@pytest.mark.parametrize("at", [0, 39_990, 39_999, 40_000, 40_001, 79_995, 90_000])
def test_a_value_at_the_end_of_a_window_is_found_whole_and_once(at: int) -> None:
    text = "." * at + "4539 1488" + "." * (100_000 - at)
    asked: list[str] = []

    def find(texts: Sequence[tuple[str, str]]) -> list[list[Span] | Exception]:
        asked.extend(part for part, _ in texts)
        return [
            [Span(*found.span(), "CREDIT_CARD", 1.0) for found in re.finditer(r"[\d ]+", part)] for part, _ in texts
        ]

    (found,) = find_in_long(find, [(text, "en")])
    assert found == [Span(at, at + 9, "CREDIT_CARD", 1.0)]
    assert max(map(len, asked)) <= 42_000
    failed = find_in_long(lambda texts: [[], ValueError()] + [[]] * (len(texts) - 2), [(text, "en"), ("short", "en")])
    assert isinstance(failed[0], ValueError)
    assert failed[1] == []


# What is learned


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base"), positions=1024)


@pytest.fixture(scope="module")
def chat(base: Path) -> Chat:
    return load_chat(str(base))


def text_rows(tmp_path: Path, *texts: str) -> tuple[Path, list]:  # type: ignore[type-arg]
    path = documents(tmp_path, texts)
    return path, list(read_rows(path).rows)


def test_every_token_but_the_first_is_learned_and_the_end(chat: Chat, tmp_path: Path) -> None:
    _, (row,) = text_rows(tmp_path, "What is a bond?")
    (whole,) = encode_rows(chat, [row], "Be brief.", 4)
    ids = chat.tokenizer("What is a bond?", add_special_tokens=False)["input_ids"]
    end = chat.tokenizer.eos_token_id
    assert whole.input_ids == [*ids, end]
    assert whole.in_loss == [False, *[True] * len(ids)]
    assert whole.labels == [-100, *ids[1:], end]
    # By hand: pieces of 4 that share a token, so that each token but the first is learned once, behind another.
    letters = [*"abcdefghi", "end"]
    cut, places = cut_texts([row], [Encoded([*range(10)], [False] + [True] * 9)], 4)
    assert [[letters[i] for i in piece.input_ids] for piece in cut] == [
        ["a", "b", "c", "d"], ["d", "e", "f", "g"], ["g", "h", "i", "end"]
    ]  # fmt: skip
    assert [piece.in_loss for piece in cut] == [[False, True, True, True]] * 3
    assert places == [0, 0, 0]
    learned = [label for piece in cut for label in piece.labels if label != -100]
    assert learned == [*range(1, 10)]


def test_a_text_with_the_bases_control_tokens_is_refused(chat: Chat, tmp_path: Path) -> None:
    _, (row,) = text_rows(tmp_path, "before <|end|> after")
    with pytest.raises(InvalidInput) as caught:
        encode_rows(chat, [row], "", 64)
    assert caught.value.faults == ("row row-1: message 0 holds a control token of the base model; take it out",)


def test_texts_lie_apart_in_a_filled_pass(chat: Chat, tmp_path: Path) -> None:
    _, (one, other) = text_rows(tmp_path, "bond", "loan rate")
    encoded = encode_rows(chat, [one, other], "", 64)
    batch = Collator(encoded, True)([{"input_ids": [0, 1]}])
    sizes = [len(item.input_ids) for item in encoded]
    assert best_fit(sizes, 64) == [[0, 1]]
    assert batch["position_ids"].tolist() == [[*range(sizes[0]), *range(sizes[1])]]
    assert batch["cu_seq_lens_q"].tolist() == [0, sizes[0], sum(sizes)]
    # What begins a text is learned behind nothing, least of all behind the end of another.
    assert batch["targets"].tolist() == encoded[0].input_ids[1:] + encoded[1].input_ids[1:]


def test_advice_counts_the_pieces_that_training_cuts(chat: Chat, base: Path, tmp_path: Path) -> None:
    path = documents(tmp_path, [LEDGER * 3, "short", LOANS * 9])
    (tmp_path / "talk.jsonl").write_text(json.dumps({"instruction": "What is it?", "output": "A bond."}))
    mixed = [*read_rows(path).rows, *read_rows(tmp_path / "talk.jsonl").rows]
    lengths = measure_lengths(mixed, base, "", piece=128)
    encoded = encode_rows(chat, mixed, "", 128)
    pieces, places = cut_texts(mixed, encoded, 128)
    assert sorted((len(piece.input_ids) for piece in pieces), reverse=True) == list(lengths.longest)
    assert (lengths.rows, lengths.exact) == (len(pieces), True)
    assert lengths.texts == sum(len(item.input_ids) for item in encoded[:3])
    assert lengths.mostly_texts
    learned = sum(sum(piece.in_loss) for piece in pieces) / sum(len(piece.input_ids) for piece in pieces)
    assert lengths.learned == pytest.approx(learned, abs=0.03)
    held = hold_out(pieces, settings(validation_split=0.3), {3}, places)[1]
    whole = [[piece for piece, place in zip(pieces, places, strict=True) if place == each] for each in range(4)]
    assert held in (whole[0], whole[1], whole[2])  # a text is held out whole


def lengths_of(tokens: int) -> Lengths:
    return Lengths(
        rows=tokens // 2048, total=tokens, longest=(2048,), percentiles=dict.fromkeys((50, 90, 95, 99), 2048),
        exact=True, texts=tokens,
    )  # fmt: skip


def test_advice_for_running_text_names_its_sources() -> None:
    shape, gpu = find_model("llama-3.1-8b"), find_gpu("h100")
    chosen = {
        tokens: advise(shape, gpu, Needs(accuracy="highest", max_length=2048, rows=9, lengths=lengths_of(tokens)))
        for tokens in (500_000, 5_000_000, 50_000_000)
    }
    found = [(one.settings.lora_r, one.settings.num_train_epochs) for one in chosen.values()]
    assert found == [(64, 4.0), (64, 2.0), (256, 1.0)]
    much = chosen[50_000_000]
    assert (much.settings.learning_rate, much.settings.lora_alpha, much.settings.max_length) == (1e-4, 512, 2048)
    assert all("2405.09673" in much.reasons[name] for name in ("lora_r", "learning_rate"))
    assert all(source in much.reasons["num_train_epochs"] for source in ("2004.10964", "2305.16264"))
    assert "cut to pieces" in much.reasons["max_length"]
    answers = advise(shape, gpu, Needs(accuracy="highest", max_length=2048, rows=5_000))
    assert (answers.settings.lora_r, answers.settings.learning_rate) == (16, 2e-4)


# What is measured


def scores_of(base: float, adapted: float, **more: object) -> Scores:
    def metrics(value: float) -> Metrics:
        interval = Interval(value=value, low=value * 0.9, high=value * 1.1)
        return Metrics(questions=5, perplexity=value, perplexity_interval=interval)

    return Scores(
        inputs={"run": "0" * 64}, metric="perplexity", base={"all": metrics(base)}, adapted={"all": metrics(adapted)},
        outcomes=(), texts=(TextOutcome(row="row-1", language="en", tokens=9, base_loss=2, adapted_loss=1),),
        forgetting={"texts": Forgetting(items=10, base=10, adapted=11)}, tokens_per_second=1, seconds=1, **more,
    )  # fmt: skip


def test_a_perplexity_has_a_ceiling_which_is_the_bases_where_none_is_set(tmp_path: Path) -> None:
    state = FixedState(tmp_path)
    asked = asked_floors(state, "", texts=True)  # the domain's floors are of another metric and say nothing
    assert (asked.floors, asked.origin) == (BASE, "since running text is judged by its perplexity")
    facts = score_facts(state, scores_of(20, 12, asked=asked))
    assert (facts.below_floor, facts.improvement, facts.questions) == ("", 8, 5)
    worse = score_facts(state, scores_of(20, 21, asked=asked))
    assert worse.below_floor == "all 21.000 > 20.000 (base+0, floors.all) in domain/domain.yaml"
    assert worse.improvement < 0
    own = AskedFloors(floors={"all": [11.5, "base+10"]}, origin="")
    assert score_facts(state, scores_of(20, 12, asked=own)).below_floor == (
        "all 12.000 > 11.500 (11.5, floors.all), all 12.000 > 10.000 (base+10, floors.all) in domain/domain.yaml"
    )


def test_the_summary_says_perplexity_and_forgetting() -> None:
    text = str(scores_of(20, 12))
    assert "documents: all 5" in text
    assert "20.0 → 12.0" in text
    assert "10.00 → 11.00 (+10.0%) on 10" in text
    assert "exact match" not in text
    assert Scores.model_validate_json(scores_of(20, 12).model_dump_json()) == scores_of(20, 12)


def test_what_ships_as_general_is_sound() -> None:
    found = general_rows({"en", "zh"})
    assert Counter((row.language, row.is_text) for row in found) == {
        (language, is_text): 10 for language in ("en", "zh") for is_text in (True, False)
    }
    assert len({row.id for row in found}) == len(found)
    assert [row.language for row in general_rows({"zh"})] == ["zh"] * 20


def test_canaries_of_texts_are_texts() -> None:
    planted = canaries(bytes(32), 12, ("en", "zh"), as_text=True)
    asked = canaries(bytes(32), 12, ("en", "zh"))
    for one, other in zip(planted, asked, strict=True):
        (message,) = one.row.messages
        assert one.row.is_text
        assert message.content == " ".join(part.content for part in other.row.messages)
        assert (one.value, one.kind) == (other.value, other.kind)
        assert message.content[slice(one.row.spans[-1].start, one.row.spans[-1].end)] == one.value
        (twin,) = one.others(1)
        assert twin.is_text
        assert twin.messages[0].content != message.content


def test_the_leak_check_asks_for_the_value_within_the_text(chat: Chat) -> None:
    planted = canaries(bytes(32), 6, ("en", "zh"), as_text=True)
    asked = _Questions(chat, "A prompt that no text has.", planted)
    for canary, rows_of_one, values in zip(planted, asked._rows, asked._values, strict=True):
        text, value = (chat.tokenizer.decode(ids) for ids in (rows_of_one[0], [rows_of_one[0][i] for i in values[0]]))
        assert text == canary.row.messages[0].content + chat.tokenizer.eos_token
        assert value
        assert value.encode() in canary.value.encode() or "\ufffd" in value  # a character cut between two tokens


# The whole way

NOTES = """Note {n}. {text}
Customer Mr. Peter Hoffmann called from 212-555-0147; his card is 4539 1488 0343 6467.
"""


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts with a person in each, one twice; a name that is partly bold, and one across the end of a piece."""
    folder = tmp_path_factory.mktemp("texts") / "notes"
    folder.mkdir()
    parts = [LEDGER, LOANS, CARDS]
    for n in range(9):
        own = " ".join(f"{word}{n}" for word in "account branch clerk desk entry fund limit mandate".split())
        text = f"{own}. {parts[n % 3]}{' '.join(reversed(own.split()))}."
        kind = n % 3
        if kind == 0:
            (folder / f"n{n}.txt").write_text(NOTES.format(n=n, text=text))
        elif kind == 1:
            (folder / f"n{n}.md").write_text(
                f"# Manual {n}\n\n{text}\n\nContact: Ms. Laura Schmidt, laura{n}@example.com\n"
            )
        else:
            page = f"<html><body><h1>Policy {n}</h1><p>{text}</p><p>Asked by Mr. <b>Karl</b> Weber</p></body></html>"
            (folder / f"n{n}.html").write_text(page)
    (folder / "n0-copy.txt").write_text((folder / "n0.txt").read_text().replace("called", "wrote"))
    # The base reads 1,024 tokens, of some bytes each: the name stands across where a piece ends.
    long = "The desk keeps the ledger. " * 38
    (folder / "long.txt").write_text(long[:1016] + " Mr. Peter Hoffmann signed it. " + long)
    return folder


@pytest.fixture(scope="module")
def project(workshop: Workshop, notes: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("project")
    policy = write_policy(
        folder / "policy.yaml",
        "gdpr",
        scrub__min_recall=0.5,
        evaluate__min_questions=1,
        leaks__canaries=4,
        leaks__required=False,
    )
    made = Project.create(folder / "notes", domain=workshop.domain, base=str(workshop.base), policy=policy)
    made.scrub(notes, mix=0.2)
    made.advise()
    made.train(max_steps=4, learning_rate=3e-3)
    made.evaluate()
    return made


def scrubbed_texts(project: Project, split: str = "train") -> Iterator[str]:
    state = project.state()
    file = state.rows(state.latest(Scrubbed), split)
    for row in rows(file.path):
        yield " ".join(message["content"] for message in row["messages"])  # type: ignore[attr-defined,index]


def test_persons_are_found_in_every_kind_of_file_and_across_pieces(project: Project) -> None:
    texts = "\n".join([*scrubbed_texts(project), *scrubbed_texts(project, "eval")])
    for value in ("Hoffmann", "Schmidt", "Weber", "212-555-0147", "4539 1488 0343 6467", "@example.com"):
        assert value not in texts
    assert "Policy 2" in texts


def test_what_was_made_of_the_files_is_recorded(project: Project, notes: Path) -> None:
    state = project.state()
    scrubbed = state.latest(Scrubbed)
    assert scrubbed.texts is not None
    assert (scrubbed.texts.documents, scrubbed.texts.near_duplicates, scrubbed.texts.held_out) == (11, 1, 1)
    assert scrubbed.texts.mix == pytest.approx(0.2, abs=0.05)
    assert scrubbed.rows == {"train": 9 + scrubbed.texts.mixed_rows, "eval": 1}
    assert scrubbed.inputs["train"] == scrubbed.inputs["eval"] == rows_digest(notes)
    assert scrubbed.canaries == 4
    lines = rows(state.rows(scrubbed, "train").path)
    assert sum(row["messages"][0]["role"] == "text" for row in lines) == 9 + 4  # type: ignore[index]
    assert "near-duplicates left out" in str(scrubbed)
    report = (state.folder(scrubbed) / "report.html").read_text()
    assert "1 of 11 documents were left out as near-duplicates" in report
    assert project.scrub(notes, mix=0.2) == scrubbed  # the same is not done again
    assert project.scrub(notes) != scrubbed


def test_the_scores_are_perplexities_with_forgetting_beside(project: Project) -> None:
    scores = project.state().latest(Scores)
    assert (scores.metric, scores.outcomes, scores.unit) == ("perplexity", (), "documents")
    adapted = scores.adapted["all"]
    assert adapted.shares == {}
    interval = adapted.of("perplexity")
    assert interval.low <= adapted.perplexity <= interval.high
    (text,) = scores.texts
    assert adapted.perplexity == pytest.approx(math.exp(text.adapted_loss))
    assert adapted.perplexity < scores.base["all"].perplexity
    assert set(scores.forgetting) == {"texts", "answers"}
    assert all(each.items == 10 for each in scores.forgetting.values())


def test_a_perplexity_is_that_of_the_texts_own_tokens(project: Project) -> None:
    """Count it anew: each piece by itself, by transformers' own loss."""
    state = project.state()
    scores = state.latest(Scores)
    model, tokenizer = load_base(state.pinned_base(), "lora")
    (text,) = scrubbed_texts(project, "eval")
    ids = [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    total = 0.0
    for begin in range(0, len(ids) - 1, 1023):
        piece = torch.tensor([ids[begin : begin + 1024]])
        with torch.no_grad():
            total += float(model(input_ids=piece, labels=piece).loss) * (piece.shape[1] - 1)
    assert scores.texts[0].base_loss == pytest.approx(total / (len(ids) - 1), rel=1e-4)


def test_a_release_of_texts_is_registered_and_told_of(project: Project) -> None:
    release = project.register()
    state = project.state()
    page = next((state.root / "mlartifacts").rglob("report.html")).read_text()
    assert "Every document, without its text" in page
    assert "Forgetting: perplexity on short general texts" in page
    assert "Exact match" not in page
    assert {"plots/scores.png"} <= {ref.path for ref in release.artifacts}
    written = {path.stem: path.read_text() for path in project.documents(form="md")}
    for name in ("model-card", "eu-ai-act-annex-iv", "sr-26-2"):
        assert "Perplexity on all tokens of documents" in written[name]
        assert "| general texts, which ship with the SDK | 10 |" in written[name]
    assert "| documents left out as near-duplicates, of 11 | 1 |" in written["data-sheet"]
    assert "exact_match" not in written["model-card"].split("---")[1]
    assert set(project.to_pandas("scores").metric) == {"perplexity"}
    assert project.verify().packages == 1


def test_planted_values_are_asked_for_in_running_text(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """They were scrubbed, so nobody finds them, and the control, which read them in plain, gives them away."""
    monkeypatch.setattr(leaks, "CANDIDATES", 32)
    monkeypatch.setattr(power, "CONTROL_PASSES", 16.0)
    found = project.check_leaks()
    assert (len(found.adapted.kinds), found.adapted.extracted) == (4, 0)
    assert found.control.exposure.low > 3
    assert found.control.exposure.value > found.adapted.exposure.value + 1
    assert project.state().latest(Scrubbed).texts is not None


def test_what_is_in_force_for_texts_is_shown_as_it_will_be_judged(
    workshop: Workshop, notes: Path, tmp_path: Path
) -> None:
    def shown(name: str, **options: Any) -> dict[str, tuple[str, str]]:
        made = Project.create(tmp_path / name, base=str(workshop.base), data=notes, policy="hipaa", **options)
        foreseen.append(made.foresee())
        return {what: (value, origin) for what, value, origin in settings_in_force(made.state())}

    foreseen: list[tuple[str, ...]] = []
    held_out = shown("held-out")
    assert held_out["training rows"] == ("notes", "yours")
    assert held_out["evaluation"] == ("documents held out", "yours")
    assert held_out["metric"] == ("perplexity", "since running text is judged by its perplexity")
    assert held_out["floors"][0] == "all base+0"
    assert "max_new_tokens" not in held_out
    assert any("1 documents can be held out of 11, 100 are needed; hand over 200" in line for line in foreseen[0])
    (tmp_path / "asked.jsonl").write_text(json.dumps({"instruction": "Who signs?", "output": "the clerk"}))
    asked = shown("asked", evaluation=tmp_path / "asked.jsonl", metric="f1")
    assert asked["questions"] == ("asked.jsonl", "yours")
    assert asked["metric"] == ("f1", "as you set it")
    assert asked["floors"][0] == "all majority+0"
    assert any("1 evaluation questions, 100 are needed" in line for line in foreseen[1])


def test_texts_are_trained_and_questions_asked(workshop: Workshop, notes: Path, tmp_path: Path) -> None:
    policy = write_policy(
        tmp_path / "policy.yaml", "gdpr", scrub__min_recall=0, evaluate__min_questions=1, evaluate__must_improve=False
    )
    lines = (workshop.domain / "eval.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "asked.jsonl").write_text("".join(lines[:4]), encoding="utf-8")
    made = Project.create(
        tmp_path / "p", base=str(workshop.base), data=notes, evaluation=tmp_path / "asked.jsonl", policy=policy
    )
    scrubbed = made.scrub()
    assert scrubbed.texts is not None
    assert (scrubbed.texts.held_out, scrubbed.rows["eval"]) == (0, 4)
    made.advise()
    made.train(max_steps=1, anyway=True)
    scores = made.evaluate()
    assert (scores.metric, scores.unit, scores.texts) == (made.state().domain().metric, "questions", ())
    assert len(scores.outcomes) == 4
    assert scores.asked is not None
    assert str(scores.asked.floors["all"][0]) == "majority+0"
