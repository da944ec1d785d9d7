"""A review by its effects: what it draws, claims, keeps, seals and refuses."""

from __future__ import annotations

import json
import os
import pty
import re
import sys
from collections.abc import Callable, Sequence
from math import comb
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sdk import Project, Refused
from sdk.cli.app import app
from sdk.crypto import Secret
from sdk.data import Planted, read_rows
from sdk.errors import InvalidInput, Tampered
from sdk.intervals import rows_needed, share, upper_bound
from sdk.records import Review, Scrubbed
from sdk.review import MISSED, ReviewRow, draw, read_misses, sample_size, texts
from tests.workshop import Workshop, write_policy

LEFT = "the left-handed baker's widow"  # personal data that no recognizer finds


# -- statistics -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("misses", "n", "bound"),
    [  # zero misses: 1 - .05 ** (1 / n); others: R's binom.test(x, n, alternative = "less")
        (0, 59, 0.0495076),
        (0, 299, 0.0099691),
        (0, 2995, 0.0009997),
        (1, 100, 0.0465598),
        (3, 500, 0.0154337),
        (5, 5, 1.0),
        (0, 1, 0.95),
    ],
)
def test_upper_bounds_are_the_known_ones(misses: int, n: int, bound: float) -> None:
    assert upper_bound(misses, n) == pytest.approx(bound, abs=1e-7)


@pytest.mark.parametrize(("misses", "n"), [(0, 59), (1, 100), (3, 500), (40, 299)])
def test_at_the_bound_so_few_misses_have_a_probability_of_five_percent(misses: int, n: int) -> None:
    p = upper_bound(misses, n)
    assert sum(comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(misses + 1)) == pytest.approx(0.05, rel=1e-9)


@pytest.mark.parametrize(("bound", "n"), [(0.001, 2995), (0.01, 299), (0.05, 59), (0.95, 1)])
def test_as_many_rows_as_a_bound_needs_and_none_fewer(bound: float, n: int) -> None:
    assert rows_needed(bound) == n
    assert upper_bound(0, n) <= bound + 1e-12
    assert n == 1 or upper_bound(0, n - 1) > bound


@pytest.mark.parametrize("bad", [1, 3, 10, 20, 60, 150, 200])
def test_of_rows_drawn_without_putting_back_the_bound_holds_in_95_of_100_samples(bad: int) -> None:
    population, n = 200, 60
    holds = sum(
        comb(bad, misses) * comb(population - bad, n - misses) / comb(population, n)
        for misses in range(min(bad, n) + 1)
        if n - misses <= population - bad and upper_bound(misses, n) >= bad / population
    )
    assert holds >= 0.95


def test_two_sided_limits() -> None:
    assert share(0, 10) == (0.0, 0.0, pytest.approx(0.3084971, abs=1e-7))
    assert share(10, 10) == (1.0, pytest.approx(0.6915029, abs=1e-7), 1.0)
    assert share(95, 100)[1:] == (pytest.approx(0.8871651, abs=1e-6), pytest.approx(0.9835681, abs=1e-6))


@pytest.mark.parametrize(
    ("rows", "bound", "rate", "n"),
    [(7, None, 0.001, 7), (None, 0.05, 0.001, 59), (None, None, 0.001, 2995), (None, None, None, 299)],
)
def test_sample_size(rows: int | None, bound: float | None, rate: float | None, n: int) -> None:
    assert sample_size(rows, bound, rate) == n


@pytest.mark.parametrize(("rows", "bound"), [(7, 0.1), (0, None), (None, 0.0), (None, 1.0), (None, -1.0)])
def test_a_sample_that_makes_no_sense_is_refused(rows: int | None, bound: float | None) -> None:
    with pytest.raises(InvalidInput):
        sample_size(rows, bound, None)


# -- marks ------------------------------------------------------------------------------------------------------------


def shown(*contents: str) -> ReviewRow:
    pairs = tuple(("user", content) for content in contents)
    return ReviewRow("r", "train", "en", "en, nothing found", pairs, 1, 1)


@pytest.mark.parametrize(
    ("mark", "text", "kind"),
    [
        ("Bob", "Bob", MISSED),
        (" PERSON: Bob ", "Bob", "PERSON"),
        ("a  b", "a\nb", MISSED),
        ("1234", "12\u200b34", MISSED),
        ("KEY: value", "KEY: value", MISSED),
        ("a.b", "a.b", MISSED),
        ("王小明", "王小明", MISSED),
    ],
)
def test_a_missed_text_is_found_where_it_stands(mark: str, text: str, kind: str) -> None:
    row = shown("axb and Nothing", f"see {text}, {text}!")
    spans = row.locate(mark)
    assert [(s.message, row.texts[1][1][s.start : s.end], s.entity_type) for s in spans] == [(1, text, kind)] * 2


@pytest.mark.parametrize("mark", ["", "  ", "Alice", "PERSON: Alice", "PERSON:"])
def test_a_text_that_does_not_stand_there_is_refused_and_not_quoted(mark: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        shown("Bob").locate(mark)
    assert "Alice" not in str(caught.value)


# -- in a project -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rows_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 rows; every third has a card, every tenth something that is missed."""
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    lines = []
    for place in range(120):
        zh = place % 4 == 0
        said = "请问" if zh else "About"
        said += f" {place}: " + ("4111111111111111 " if place % 3 == 0 else "") + (LEFT if place % 10 == 0 else "fees")
        lines.append(
            {
                "id": f"r{place:03d}",
                "language": "zh" if zh else "en",
                "messages": [{"role": "user", "content": said}, {"role": "assistant", "content": "Yes."}],
            }
        )
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture
def scrubbed(workshop: Workshop, rows_file: Path, request: pytest.FixtureRequest) -> Project:
    name = re.sub(r"\W", "-", request.node.name)[:60]
    policy = write_policy(
        workshop.folder / f"{name}.yaml", "unsafe-lab", scrub__max_miss_rate=0.2, scrub__required=True
    )
    project = workshop.project(name, policy=policy)
    project.scrub(rows_file)
    return project


def honest(row: ReviewRow) -> list[str]:
    return [LEFT] if any(LEFT in text for _, text in row.texts) else []


def blind(row: ReviewRow) -> list[str]:
    return []


def record_of(project: Project) -> tuple[Scrubbed, Path]:
    state = project.state()
    record = state.latest(Scrubbed)
    return record, state.folder(record)


def everything(project: Project) -> bytes:
    return b"".join(
        path.read_bytes()
        for path in sorted(project.root.rglob("*"))
        if path.is_file() and "artifacts/scrub" not in path.as_posix()
    )


def test_the_sample_follows_from_the_record_and_a_smaller_one_is_its_beginning(scrubbed: Project) -> None:
    record, folder = record_of(scrubbed)
    one, again, more = draw(folder, record, 20), draw(folder, record, 20), draw(folder, record, 40)
    assert one == again
    assert more.uniform[:20] == one.uniform
    assert len(set(more.uniform)) == 40
    assert not set(one.uniform) & set(one.extra)
    assert one.population == sum(record.rows.values())
    other = draw(folder, record.model_copy(update={"seconds": record.seconds + 1}), 20)
    assert other.uniform != one.uniform


def test_more_of_the_further_rows_are_from_those_in_which_nothing_was_found(scrubbed: Project) -> None:
    record, folder = record_of(scrubbed)
    sample = draw(folder, record, 40)
    parts = [sample.strata[place] for place in sample.extra]
    bare = sum(part.endswith("nothing found") for part in parts)
    assert bare > len(parts) - bare
    assert set(sample.strata.values()) == set(sample.sizes)
    assert {part.split(", ")[0] for part in parts} == {"en", "zh"}


def test_canaries_behind_the_rows_are_not_drawn(scrubbed: Project) -> None:
    record, folder = record_of(scrubbed)
    fewer = record.model_copy(update={"rows": {"train": 50, "eval": 0}})
    sample = draw(folder, fewer, 1000)
    assert sample.population == 50
    assert set(sample.uniform) == {("train", index) for index in range(50)}


def test_every_row_is_drawn_as_often_as_any_other(scrubbed: Project) -> None:
    """Over 300 records of other digests; each row is in a sample of 12 with the same chance."""
    record, folder = record_of(scrubbed)
    population = sum(record.rows.values())
    drawn = [0] * population
    places: dict[tuple[str, int], int] = {}
    for number in range(300):
        for place in draw(folder, record.model_copy(update={"seconds": float(number)}), 12).uniform:
            drawn[places.setdefault(place, len(places))] += 1
    expected = 300 * 12 / population
    chi = sum((count - expected) ** 2 / expected for count in drawn)
    assert chi < population + 5 * (2 * population) ** 0.5


def test_a_review_counts_rows_and_bounds_them(scrubbed: Project) -> None:
    asked: list[ReviewRow] = []

    def judge(row: ReviewRow) -> list[str]:
        asked.append(row)
        return honest(row)

    record = scrubbed.review(judge, rows=60, reviewer="Ada")
    assert record is not None
    assert (record.n, record.reviewer, record.earlier) == (60, "Ada", 0)
    assert len(asked) == 60 + record.extra
    assert [row.number for row in asked] == [*range(1, len(asked) + 1)]
    assert record.misses == sum(bool(honest(row)) for row in asked[:60]) > 0
    assert record.extra_misses == sum(bool(honest(row)) for row in asked[60:])
    assert record.marks == record.misses + record.extra_misses
    assert record.bound == upper_bound(record.misses, 60)
    assert sum(stratum.rows for stratum in record.strata.values()) == record.population
    assert sum(stratum.reviewed for stratum in record.strata.values()) == len(asked)
    assert sum(stratum.missed for stratum in record.strata.values()) == record.misses + record.extra_misses
    assert record.inputs["scrubbed"] == record_of(scrubbed)[0].digest
    events = [(event.action, event.phase) for event in scrubbed.history()][-2:]
    assert events == [("review", "started"), ("review", "finished")]
    assert scrubbed.verify().records == 2


def test_who_looks_at_every_row_claims_what_was_seen(scrubbed: Project) -> None:
    record = scrubbed.review(honest, rows=100_000)
    assert record is not None
    assert record.n == record.population
    assert record.extra == 0
    assert record.bound == record.misses / record.population


def test_a_paused_review_goes_on_and_a_larger_one_asks_only_for_the_rest(scrubbed: Project) -> None:
    asked: list[str] = []

    def judge(row: ReviewRow, stop: int) -> list[str] | None:
        if len(asked) == stop:
            return None
        asked.append(row.id)
        return honest(row)

    assert scrubbed.review(lambda row: judge(row, 7), rows=30) is None
    assert [event.action for event in scrubbed.history()][-1] == "scrub"
    first = scrubbed.review(lambda row: judge(row, 1000), rows=30)
    assert first is not None
    assert len(asked) == len(set(asked)) == 30 + first.extra
    assert scrubbed.review(lambda row: judge(row, 0), rows=30) == first  # nothing is asked again
    second = scrubbed.review(lambda row: judge(row, 1000), rows=50)
    assert second is not None
    assert len(asked) == len(set(asked))
    assert (second.n, second.earlier) == (50, 1)


def test_another_reviewer_looks_for_themselves(scrubbed: Project) -> None:
    first = scrubbed.review(blind, rows=100, reviewer="Ada")
    second = scrubbed.review(honest, rows=100, reviewer="Grace")
    assert first is not None
    assert second is not None
    assert first.misses == 0 < second.misses
    assert second.earlier == 1


def test_an_error_of_the_judge_loses_no_row(scrubbed: Project) -> None:
    asked = []

    def failing(row: ReviewRow) -> list[str]:
        asked.append(row.id)
        if len(asked) == 5:
            raise KeyboardInterrupt
        return ["this stands nowhere"] if len(asked) == 9 else []

    with pytest.raises(KeyboardInterrupt):
        scrubbed.review(failing, rows=20)
    with pytest.raises(InvalidInput, match="does not stand"):
        scrubbed.review(failing, rows=20)
    assert asked[4] == asked[5]
    assert len(set(asked)) == 8


def test_marks_are_nowhere_in_the_clear_and_come_back_as_test_rows(scrubbed: Project) -> None:
    record = scrubbed.review(honest, rows=60)
    assert record is not None
    assert LEFT.encode() not in everything(scrubbed)
    state = scrubbed.state()
    secret = state.secret().derive("review")
    folder = state.folder(record)
    table = read_misses(folder, record, secret)
    assert table is not None
    assert table.count == len(list(table.rows)) == record.misses + record.extra_misses
    for row in table.rows:
        (span,) = row.spans
        assert row.messages[span.message].content[span.start : span.end] == LEFT
    with pytest.raises(Tampered):
        read_misses(folder, record, Secret.random())
    sealed = folder / "misses.enc"
    sealed.write_bytes(sealed.read_bytes()[:-1] + b"\0")
    with pytest.raises(Tampered):
        read_misses(folder, record, secret)


def test_the_next_scrubbing_must_find_what_was_marked(scrubbed: Project, rows_file: Path) -> None:
    before, _ = record_of(scrubbed)
    record = scrubbed.review(honest, rows=60)
    assert record is not None
    missed = scrubbed.scrub(rows_file)
    assert missed.digest != before.digest
    assert missed.recall_by_kind[MISSED].model_dump() == {"planted": record.marks, "found": 0}
    assert missed.data == before.data
    assert scrubbed.scrub(rows_file) == missed
    recognizers = scrubbed.root / "domain/recognizers.yaml"
    text = recognizers.read_text().replace("recognizers:\n", f"recognizers:\n{recognizer(LEFT)}", 1)
    recognizers.write_text(text)
    scrubbed.adopt()
    found = scrubbed.scrub(rows_file)
    assert found.recall_by_kind[MISSED].model_dump() == {"planted": record.marks, "found": record.marks}
    assert LEFT not in (record_of(scrubbed)[1] / "train.jsonl").read_text()
    assert LEFT.encode() not in everything(scrubbed).replace(recognizers.read_bytes(), b"")


def recognizer(text: str) -> str:
    pattern = f'{{name: left, regex: "{text}", score: 0.9}}'
    return (
        "  - name: LeftRecognizer\n    supported_entity: PERSON\n    supported_languages: [{language: en}, "
        f"{{language: zh}}]\n    patterns:\n      - {pattern}\n"
    )


def test_progress_that_was_altered_is_noticed(scrubbed: Project) -> None:
    scrubbed.review(lambda row: [] if row.number < 3 else None, rows=20)
    (path,) = (scrubbed.root / "review").iterdir()
    path.write_bytes(path.read_bytes()[:-2] + b"xx")
    with pytest.raises(Tampered):
        scrubbed.review(blind, rows=20)


def test_marks_may_be_offsets_and_must_lie_inside(scrubbed: Project) -> None:
    span = Planted(message=0, start=0, end=2, entity_type="PERSON")
    record = scrubbed.review(lambda row: [span, span], rows=2)
    assert record is not None
    assert record.marks == 2 + record.extra
    with pytest.raises(InvalidInput, match="outside"):
        scrubbed.review(lambda row: [span.model_copy(update={"end": 5000})], rows=5)


def test_tool_calls_names_and_metadata_are_shown_too(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    call = {"id": "1", "type": "function", "function": {"name": "find", "arguments": {"who": LEFT}}}
    row = {
        "id": "a",
        "language": "en",
        "messages": [
            {"role": "user", "content": "Hi", "name": "Zoe"},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "content": "found", "tool_call_id": "1"},
            {"role": "assistant", "content": "Done."},
        ],
        "metadata": {"ward": "7b"},
    }
    path.write_text(json.dumps(row) + "\n")
    (read,) = read_rows(path).rows
    found = texts(read)
    assert [label for label, _ in found] == ["user", "assistant", "tool", "assistant", "name", "tool call", "metadata"]
    assert LEFT in found[5][1]
    assert "7b" in found[6][1]


# -- the policy -------------------------------------------------------------------------------------------------------


def test_training_is_refused_until_a_review_of_these_rows_shows_the_bound(scrubbed: Project, rows_file: Path) -> None:
    scrubbed.advise()
    with pytest.raises(Refused, match=r"scrub\.max_miss_rate"):
        scrubbed.train(max_steps=1)
    scrubbed.review(blind, rows=5)
    with pytest.raises(Refused, match=r"scrub\.max_miss_rate"):
        scrubbed.train(max_steps=1)  # 5 rows show 0.45
    record = scrubbed.review(blind)  # as many as the policy's 0.2 needs
    assert record is not None
    assert record.n == rows_needed(0.2) == 14
    scrubbed.train(max_steps=3)
    scrubbed.review(lambda row: [Planted(message=0, start=0, end=1, entity_type="X")], rows=5, reviewer="Grace")
    with pytest.raises(Refused, match=r"scrub\.max_miss_rate"):
        scrubbed.train(max_steps=4)  # the newest review counts


# -- the terminal -----------------------------------------------------------------------------------------------------


def test_the_dialogue_marks_undoes_pauses_and_ends(scrubbed: Project) -> None:
    seen: list[str] = []

    def peek(row: ReviewRow) -> list[str] | None:
        seen.append(row.texts[-1][1].strip())
        return [] if len(seen) == 1 else None

    scrubbed.review(peek, rows=3, reviewer="Peek")  # the sample is the same for everybody
    text = seen[1].splitlines()[0]
    runner = CliRunner()
    command = ["review", "3", "-p", str(scrubbed.root), "--reviewer", "Ada"]
    paused = runner.invoke(app, command, input="n\nnot in this row\nq\n")
    assert paused.exit_code == 0, paused.output
    assert "does not stand in the row" in paused.output
    assert "1 of" in paused.output
    assert "goes on" in paused.output
    done = runner.invoke(app, command, input=f"{text}\nu\nPERSON: {text}\nn\n" + "n\n" * 20)
    assert done.exit_code == 0, done.output
    assert "marked" in done.output
    assert "1 of 3 rows" in done.output
    record = scrubbed.state().latest(Review)
    assert (record.n, record.misses, record.reviewer) == (3, 1, "Ada")
    assert record.marks >= 1


def test_placeholders_are_coloured_and_no_character_steers_the_terminal() -> None:
    from rich.console import Console

    from sdk.cli.review_rows import shown as panel

    console = Console(force_terminal=True, width=80, record=True, color_system="standard")
    token = "<IBAN_CODE_k1a2b3c4d_0123456789abcdef0123>"
    with console.capture() as captured:
        console.print(panel(shown(f"call <PERSON_1> of {token}\x1b]0;x\x07 \u202eabc")))
    out = captured.get()
    assert "\x1b[1;36m<PERSON_1>" in out
    assert f"\x1b[1;36m{token}" in out
    assert "\x1b]" not in out
    assert "\u202e" not in out
    assert "\x07" not in out


@pytest.mark.parametrize(
    "arguments",
    [
        ["review", "3", "--bound", "0.1"],
        ["review", "0"],
        ["review", "--data", "x.jsonl"],
        ["scrub", "--bound", "0.1"],
        ["scrub", "3"],
        ["scrub", "--reviewer", "Ada"],
        ["scrub", "--review", "--data", "x.jsonl"],
    ],
)
def test_options_that_do_not_go_together(scrubbed: Project, arguments: list[str]) -> None:
    done = CliRunner().invoke(app, [*arguments, "-p", str(scrubbed.root)])
    assert done.exit_code == 2, done.output


def test_json_goes_to_standard_output_alone(scrubbed: Project) -> None:
    command = ["review", "2", "--json", "-p", str(scrubbed.root)]
    paused = CliRunner().invoke(app, command, input="q\n")
    assert json.loads(paused.stdout) == {"paused": True, "judged": 0, "of": json.loads(paused.stdout)["of"]}
    done = CliRunner().invoke(app, command, input="n\n" * 20)
    assert Review.model_validate(json.loads(done.stdout)).n == 2


def _in_a_terminal(arguments: Sequence[str], reply: Callable[[str], str | None]) -> tuple[int, str]:
    """Exit code and all output of the command in a terminal of its own; `reply` answers each prompt."""
    process, terminal = pty.fork()
    if process == 0:
        os.execv(sys.executable, [sys.executable, "-c", "from sdk.cli import main; main()", *arguments])
    output, seen = "", 0
    while True:
        try:
            data = os.read(terminal, 4096)
        except OSError:
            break
        if not data:
            break
        output += data.decode(errors="replace")
        while (place := output.find(" > ", seen)) >= 0:
            seen = place + 3
            answer = reply(output)
            if answer is not None:
                os.write(terminal, answer.encode() + b"\n")
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), output


def test_in_a_real_terminal(scrubbed: Project) -> None:
    answers = iter(["n", "q"])
    arguments = ["review", "2", "-p", str(scrubbed.root)]
    code, output = _in_a_terminal(arguments, lambda output: next(answers))
    assert code == 0, output
    assert "1 of" in output
    code, output = _in_a_terminal(arguments, lambda output: "n")
    assert code == 0, output
    assert "Clopper-Pearson" in output
    assert scrubbed.state().latest(Review).n == 2
