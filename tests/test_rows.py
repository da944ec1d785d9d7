"""Many rows: tokens in a file without a name, micro-batches in arrays, a sample for advice; all as with lists."""

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sdk
from sdk.advise import advise, find_model, host_memory
from sdk.data import Row, RowsFile, first_rows, read_rows, rows_digest, sampling
from sdk.data.lengths import measure_lengths
from sdk.data.sampling import sample_rows
from sdk.errors import InvalidInput, Tampered
from sdk.model import ANSWERS, Chat, Encoded, Learned, cut_texts, encode_rows, load_chat, row_encoder
from sdk.model.row_encoder import EncodingSetup, RowEncoder
from sdk.model.token_rows import TokenRows
from sdk.records import Hardware, Needs
from sdk.train.batching import Batches, micro_batches
from sdk.train.splitting import split_batches
from sdk.train.trainer import Collator
from sdk.train.validation import held_out, hold_out
from tests.tiny import MARKED, UNMARKED, make_base, settings

EMBEDDED = Path(sdk.__file__).parent / "base"
CALL = {"id": "a", "type": "function", "function": {"name": "balance", "arguments": {"account": "one"}}}


def quiet(*progress: object) -> None:
    pass


@pytest.fixture(scope="module")
def chat() -> Chat:
    return load_chat("embedded")


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw = random.Random(2)
    path = tmp_path_factory.mktemp("rows") / "many.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for number in range(900):
            asked = f"What is {number}" + " and more" * int(draw.lognormvariate(1, 0.8))
            row = {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": f"{number}."}]}
            file.write(json.dumps({"id": f"r{number}", **row}) + "\n")
            if number % 100 == 7:
                text = {"messages": [{"role": "text", "content": f"Running text {number}. " * 30}]}
                file.write("\n" + json.dumps(text) + "\n")
    return path


def encoded(rows: Sequence[Row], chat: Chat, folder: Path, processes: int = 1, length: int = 128) -> TokenRows:
    with RowEncoder(chat, EncodingSetup("Be brief.", length, ANSWERS, processes), folder, quiet) as encoder:
        for row in rows:
            encoder.add(row)
        return encoder.rows()


def test_tokens_in_the_file_are_those_of_lists(
    chat: Chat, many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = read_rows(many).rows
    pieces, places = cut_texts(rows, encode_rows(chat, rows, "Be brief.", 128), 128)
    monkeypatch.setattr(row_encoder, "HELPED_ROWS", 300)
    monkeypatch.setattr(row_encoder, "ROWS", 64)
    monkeypatch.setattr("sdk.model.token_rows._GROUP_ROWS", 200)
    monkeypatch.setattr("sdk.model.token_rows._READ_ROWS", 10)
    for processes in (1, 2):
        made = encoded(rows, chat, tmp_path, processes)
        assert (made.places.tolist(), made.lengths.tolist()) == (places, [len(piece.input_ids) for piece in pieces])
        assert [Encoded(row.input_ids.tolist(), row.in_loss.tolist()) for row in made] == pieces
    chosen = [5, 700, 3]
    some = made.take(np.array(chosen))
    assert [row.input_ids.tolist() for row in some] == [pieces[place].input_ids for place in chosen]
    of_file, of_lists = Collator(some, True), Collator([pieces[place] for place in chosen], True)
    for batch in ([0, 1, 2], [2], [3]):  # number 3 is the filler
        one, other = of_file([{"input_ids": batch}]), of_lists([{"input_ids": batch}])
        assert {name: (value.tolist(), value.dtype) for name, value in one.items() if name != "max_length_q"} == {
            name: (value.tolist(), value.dtype) for name, value in other.items() if name != "max_length_q"
        }
    assert of_file([{"input_ids": [3]}])["targets"].tolist() == []
    assert list(tmp_path.iterdir()) == []


KILLED = """
import sys
from pathlib import Path
from sdk.data import Message, Row
from sdk.model import ANSWERS, load_chat
from sdk.model.row_encoder import EncodingSetup, RowEncoder
folder = Path(sys.argv[1])
encoder = RowEncoder(load_chat("embedded"), EncodingSetup("", 64, ANSWERS, 1), folder, lambda *figures: None)
for number in range(600):
    encoder.add(Row(id="a", language="en", messages=(Message(role="text", content="Secret words."),)))
rows = encoder.rows()
print(len(rows), [path.name for path in folder.iterdir()], flush=True)
sys.stdin.read()
"""


def test_nothing_of_the_rows_is_left_when_the_run_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "600 []\n"
        maps = Path(f"/proc/{process.pid}/maps").read_text()
        assert any(str(tmp_path) in line and "(deleted)" in line for line in maps.splitlines())  # it was there
        os.kill(process.pid, signal.SIGKILL)
    assert list(tmp_path.iterdir()) == []


def test_every_row_that_cannot_be_trained_is_named_whoever_encodes_it(chat: Chat, many: Path, tmp_path: Path) -> None:
    rows = read_rows(many).rows
    with pytest.raises(InvalidInput) as alone:
        encode_rows(chat, rows, "Be brief.", 40)
    with pytest.raises(InvalidInput) as streamed:
        encoded(rows, chat, tmp_path, length=40)
    assert (alone.value.message, alone.value.faults) == (streamed.value.message, streamed.value.faults)


@pytest.mark.parametrize("template", [MARKED, UNMARKED])
@pytest.mark.parametrize("learned", [ANSWERS, Learned(last_answer=True), Learned(("assistant", "user"))])
def test_together_conversations_are_encoded_as_alone(tmp_path: Path, template: str, learned: Learned) -> None:
    chat = load_chat(str(make_base(tmp_path / "base", template)))
    user, answer = {"role": "user", "content": "is it"}, {"role": "assistant", "content": " yes \n"}
    conversations: list[Any] = [
        [user, answer],
        [{"role": "system", "content": "brief"}, user, answer, user, {"role": "assistant", "content": "no"}],
        [{"role": "text", "content": "running text"}],
        [user, {"role": "assistant", "content": "<|end|>"}],
        [user, {"role": "assistant", "content": "", "tool_calls": [CALL]}, {"role": "tool", "content": "2"}, answer],
        [{"role": "user", "content": "  spaces  "}, {"role": "assistant", "content": "\n\n"}],
        [user],
    ]

    def alone(messages: Any) -> Any:
        try:
            return chat.encode(messages, learned)
        except InvalidInput as error:
            return error.message, error.faults

    together = [
        (one.message, one.faults) if isinstance(one, InvalidInput) else one
        for one in chat.encode_many(conversations, learned)
    ]
    assert together == [alone(messages) for messages in conversations]


def halved(batches: list[list[int]], sizes: list[int], empty: int) -> list[list[int]]:
    """As earlier versions cut them, one by one."""
    parts = []
    for batch in batches:
        before = list(accumulate(sizes[row] for row in batch))
        middle = min(range(1, max(2, len(batch))), key=lambda place: abs(2 * before[place - 1] - before[-1]))
        parts += [batch[:middle], batch[middle:] or [empty]]
    return parts


def test_arrays_of_micro_batches_are_cut_and_summed_as_lists_are() -> None:
    draw = random.Random(4)
    for seed in range(40):
        lengths = [draw.randrange(1, 40) for _ in range(draw.randrange(1, 60))]
        asked = settings(seed=seed, packing=bool(seed % 2), num_train_epochs=draw.choice([1, 2.5, 0.3]))
        batches = micro_batches(lengths, asked)
        lists, sizes = [*batches], [*lengths, 0]
        assert (len(batches), batches[0], batches[-1]) == (len(lists), lists[0], lists[-1])
        cut = draw.randrange(len(lists) + 1)
        assert (batches[:cut], batches[cut:], batches[:cut] + batches[cut:]) == (lists[:cut], lists[cut:], batches)
        assert Batches.of(lists) == batches
        assert batches.sums(sizes).tolist() == [sum(sizes[row] for row in batch) for batch in lists]
        for halvings in range(4):
            split = split_batches(batches, lengths, asked, halvings)
            assert split.batches == lists
            smaller = halved(lists, sizes, len(lengths))
            largest = [max(sum(sizes[row] for row in batch) for batch in each) for each in (lists, smaller)]
            assert split.further == (largest[1] < largest[0])
            lists = smaller


def test_the_rows_that_are_held_out_are_those_of_earlier_versions() -> None:
    """Literal, because a run with a validation split is only continued where the split is the same."""
    asked = settings(validation_split=0.3, seed=5)
    assert np.flatnonzero(held_out(np.arange(12), asked, {1, 2})).tolist() == [0, 4, 8]
    pieces = np.array([0, 0, 1, 2, 2, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])
    assert sorted(set(pieces[held_out(pieces, asked, {1, 2})].tolist())) == [0, 4, 8]
    assert hold_out("abcdefghijkl", asked, {1, 2})[1] == ["a", "e", "i"]


# A sample for advice


@pytest.fixture
def small_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SAMPLED_ABOVE": 500, "DRAWN": 200, "LONGEST": 20}.items():
        monkeypatch.setattr(sampling, name, value)


def test_a_samples_total_is_as_near_as_it_says(many: Path, small_samples: None) -> None:
    rows = read_rows(many).rows
    every, sample = measure_lengths(rows, EMBEDDED, "", piece=64), sample_rows(many)
    assert (len(sample.rows), sample.drawn, sample.of_others[0]) == (220, 200, len(rows) - 20)
    assert set(sample.rows) <= set(rows)
    some = measure_lengths(sample, EMBEDDED, "", piece=64)
    assert some.error is not None
    assert 0 < some.error < 0.02
    assert some.total == pytest.approx(every.total, rel=1.5 * some.error)
    assert some.rows == pytest.approx(every.rows, rel=0.02)
    assert some.longest[:5] == every.longest[:5]
    assert some.texts == pytest.approx(every.texts, rel=0.02)
    for share, tokens in some.percentiles.items():
        assert tokens == pytest.approx(every.percentiles[share], rel=0.1)
    assert (some.sampled, some.exact, every.sampled, every.error) == (220, True, None, None)
    assert sample_rows(many) == sample


def test_a_sample_of_several_files_has_the_rows_of_all(many: Path, tmp_path: Path, small_samples: None) -> None:
    lines = many.read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "one.jsonl").write_text("".join(lines[:400]), encoding="utf-8")
    (tmp_path / "two.jsonl").write_text("".join(lines[400:]), encoding="utf-8")
    listed = tmp_path / "data.yaml"
    listed.write_text("files: [{path: one.jsonl, share: 0.8}, {path: two.jsonl}]\n")
    rows = read_rows(listed).rows
    assert 500 < len(rows) < 900
    assert set(sample_rows(listed).rows) <= set(rows)
    digest = rows_digest(listed)
    assert sample_rows(RowsFile(listed, digest)).sizes
    with pytest.raises(Tampered):
        sample_rows(RowsFile(listed, "0" * 64))


def test_where_a_chosen_row_has_a_fault_every_fault_is_told(many: Path, tmp_path: Path, small_samples: None) -> None:
    lines = many.read_text(encoding="utf-8").splitlines()
    lines[3] = json.dumps({"messages": [{"role": "user", "content": "long " * 500}]})  # among the longest
    lines[4] = "{"
    path = tmp_path / "wrong.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(InvalidInput) as caught:
        sample_rows(path)
    with pytest.raises(InvalidInput) as checked:
        read_rows(path)
    assert (caught.value.message, caught.value.faults) == (checked.value.message, checked.value.faults)
    assert "2 faults" in caught.value.message


def test_the_first_rows_are_shown_without_the_others(many: Path, tmp_path: Path) -> None:
    assert first_rows(many, 12) == read_rows(many).rows[:12]
    with pytest.raises(Tampered):
        first_rows(RowsFile(many, "0" * 64), 3)
    path = tmp_path / "wrong.jsonl"
    path.write_text(many.read_text(encoding="utf-8") + "{\n", encoding="utf-8")
    assert first_rows(path, 3) == read_rows(many).rows[:3]
    path.write_text("{\n", encoding="utf-8")
    with pytest.raises(InvalidInput, match="1 fault"):
        first_rows(path, 3)


def test_the_machines_memory_is_predicted_with_the_rows() -> None:
    shape = find_model(str(EMBEDDED))

    def host(rows: int, **hardware: Any) -> float | None:
        return advise(shape, Hardware(ram_gib=64, **hardware), Needs(max_length=128, rows=rows)).host_gib

    few, more, most = (host(rows, cpu_cores=2) for rows in (1_000, 2_000_000, 4_000_000))
    assert few is not None
    assert more is not None
    assert most is not None
    assert few < more < most
    assert most - more < 0.5
    assert host(1_000, gpu_count=1, gpu_memory_gib=80.0) is None
    told = advise(shape, Hardware(ram_gib=64), Needs(max_length=128, rows=1_000)).notes
    assert any("resident at most" in note for note in told)
    assert (host_memory.HELPED_ROWS, host_memory.MOST_HELPERS) == (row_encoder.HELPED_ROWS, row_encoder.MOST_HELPERS)


def test_a_sampled_measurement_says_so(many: Path, small_samples: None) -> None:
    lengths = measure_lengths(sample_rows(many), EMBEDDED, "")
    needs = Needs(max_length=256, lengths=lengths, rows=lengths.rows)
    (note,) = (line for line in advise(find_model(str(EMBEDDED)), Hardware(), needs).notes if "by lot" in line)
    assert note.startswith(f"220 of {lengths.rows} rows were measured")
    assert "in 95 of 100 such samples" in note
