"""The detector against Presidio's own analyzer, the prefilter against none, and every way to fail."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import random
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import regex
import spacy
import yaml
from presidio_analyzer import AnalyzerEngine
from presidio_analyzer.nlp_engine import NoOpNlpEngine, device_detector
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import BertConfig, BertForTokenClassification, PreTrainedTokenizerFast

from sdk.data import read_rows
from sdk.domain import compiled_patterns
from sdk.errors import InvalidInput, MissingExtra
from sdk.files.store import shipped
from sdk.scrub.find.context import WindowContextEnhancer
from sdk.scrub.find.detector import Detector, DetectorFailed, DetectorTimedOut
from sdk.scrub.find.recognizers import read_recognizers
from sdk.scrub.find.views import fold, views
from sdk.scrub.prefilter import shipped as prefilter_shipped
from sdk.scrub.prefilter.matching import NO_STRATEGIES, SWITCH, PatternTimedOut, Prefilter, switched_on
from sdk.scrub.prefilter.requirements import requirements_of
from sdk.scrub.prefilter.strategies import WholeText
from sdk.scrub.spans import Span, merged
from tests.hostile import Sampler, patterns_of
from tools import shipped_patterns

THRESHOLD = 0.4
FILES = {name: shipped("domains") / name / "recognizers.yaml" for name in ("finance", "medical")}
FLAGS = int(regex.DOTALL | regex.MULTILINE | regex.IGNORECASE)
STALE = "run `PYTHONHASHSEED=0 python -m tools.shipped_patterns`"
SOON = 30.0  # seconds, for what must end at once


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector(FILES["medical"], THRESHOLD, "none")


@pytest.fixture(scope="module")
def patterns() -> dict[tuple[str, int], str]:
    return {key: name for path in FILES.values() for key, name in patterns_of(path).items()}


def rows_of(domain: str) -> list[tuple[str, str]]:
    table = read_rows(shipped("domains") / domain / "train.jsonl")
    return [(message.content, row.language) for row in table.rows for message in row.messages]


def recognizers(folder: Path, *entries: dict[str, Any]) -> Path:
    path = folder / "recognizers.yaml"
    path.write_text(yaml.safe_dump({"supported_languages": ["en"], "recognizers": list(entries)}, allow_unicode=True))
    return path


def entry(name: str, pattern: str, kind: str = "CODE", score: float = 0.9, **more: Any) -> dict[str, Any]:
    patterns = [{"name": f"{name} pattern", "regex": pattern, "score": score}]
    return {"name": name, "supported_entity": kind, "patterns": patterns, **more}


# -- Presidio's semantics


@pytest.mark.parametrize("domain", FILES)
def test_finds_are_those_of_presidios_analyzer_on_the_same_registry(domain: str) -> None:
    registry = read_recognizers(FILES[domain])
    languages = list(registry.supported_languages)
    nlp = NoOpNlpEngine([{"lang_code": code, "model_name": "none"} for code in languages])
    nlp.load()
    analyzer = AnalyzerEngine(
        registry=registry,
        nlp_engine=nlp,
        supported_languages=languages,
        context_aware_enhancer=WindowContextEnhancer(),
    )
    ours = Detector(FILES[domain], THRESHOLD)
    rows = rows_of(domain)
    sampler = Sampler(list(patterns_of(FILES[domain])), seed=7)
    texts = random.Random(7).sample(rows, min(300, len(rows)))
    texts += [(sampler.fuzz([text for text, _ in rows]), code) for _ in range(100) for code in languages]
    texts = [(text, code) for text, code in texts if len(list(views(text))) == 1]  # Presidio reads a text but once
    for (text, code), found in zip(texts, ours.find_many(texts), strict=True):
        results = analyzer.analyze(fold(text), code, score_threshold=THRESHOLD)
        expected = merged(Span(r.start, r.end, r.entity_type, r.score) for r in results)
        assert not isinstance(found, Exception)
        assert [(s.start, s.end, s.score) for s in found] == [(s.start, s.end, s.score) for s in expected], text


def test_validation_context_deny_lists_and_thresholds_are_as_presidio_has_them(tmp_path: Path) -> None:
    path = recognizers(
        tmp_path,
        entry("Lots", r"(?<![0-9])[0-9]{5}(?![0-9])", "LOT", 0.3, context=["lot"]),
        {"name": "Words", "supported_entity": "WORD", "deny_list": ["Falcon", "Blue Heron"], "deny_list_score": 0.7},
        {"name": "CreditCardRecognizer", "type": "predefined"},
    )
    ours = Detector(path, 0.5, "none")
    found = ours.find("lot 12345, and, after a long while without any word for it, at last 54321 of; Falcon", "en")
    assert [(s.entity_type, s.start, round(s.score, 2), s.recognizer) for s in found] == [
        ("LOT", 4, 0.65, "Lots"),
        ("WORD", 78, 0.7, "Words"),
    ]
    assert [s.score for s in ours.find("4012888888881881 and 4012888888881882", "en")] == [1.0]
    assert Detector(path, 0.1, "none").find("54321", "en")[0].score == 0.3


def test_neighbours_that_only_touch_stay_two_and_what_overlaps_becomes_one_of_the_surest_kind() -> None:
    assert len(merged([Span(0, 4, "A", 0.5), Span(4, 8, "B", 0.9)])) == 2
    assert merged([Span(0, 5, "A", 0.5, "x"), Span(4, 8, "B", 0.9, "y")]) == [Span(0, 8, "B", 0.9, "y")]


# -- the prefilter


def test_the_gate_keeps_every_match_of_fuzzed_texts(patterns: dict[tuple[str, int], str]) -> None:
    """A small version of tests/benchmarks/fuzz.py."""
    prefilter, without = Prefilter(list(patterns)), Prefilter(list(patterns), NO_STRATEGIES)
    sampler = Sampler(list(patterns), seed=11)
    texts = [text for domain in FILES for text, _ in rows_of(domain)]
    found = 0
    for _ in range(1200):
        text = fold(sampler.fuzz(texts))
        deadline = time.monotonic() + SOON
        expected = sorted(without.matches(text, deadline))
        assert sorted(prefilter.matches(text, deadline)) == expected, text
        found += len(expected)
    assert found > 800


def test_the_gate_keeps_every_match_of_long_texts(patterns: dict[tuple[str, int], str]) -> None:
    """Windows, which short texts do not have."""
    prefilter, without = Prefilter(list(patterns)), Prefilter(list(patterns), NO_STRATEGIES)
    sampler = Sampler(list(patterns), seed=5)
    prose = "The patient was seen by nobody at all on that day, and the account of it is long. "
    text = fold("".join(sampler.fuzz([]) + prose * sampler.random.randint(1, 12) for _ in range(150)))
    deadline = time.monotonic() + SOON
    assert sorted(prefilter.matches(text, deadline)) == sorted(without.matches(text, deadline))


CASES = [  # pattern, texts: constructs that nothing shipped has
    (r"(?<=id )[0-9]{4}", ["id 1234 id 12345", "id1234"]),
    (r"[0-9]{3}", ["1234567 123456", "a123b456"]),
    (r"aba|ab", ["ababab aba", "ABab"]),
    (r"(a|b)\1x?", ["aab bbx abx", "AaX"]),
    (r"(?:foo)?(?=[0-9])[0-9a-f]+", ["foo12 fooo1f", "1"]),
    (r"x*", ["axxb", ""]),
    (r"^card [0-9]+$", ["card 1\ncard 22\n card 3", "card 4"]),
    (r"card\K ?[0-9]", ["card 1card2 card  3", "CARD 9"]),
    (r"(?>a+)b|c++d", ["aaab ccd", "ccc"]),
    (r"[^\s0-9]{3}@", ["abc@ 号号号@", "a@"]),
    (r"(?i)straße [0-9]", ["STRASSE 1 Straße 2", "straße 3"]),
    (r"\bkey\b: ?(?-i:[A-Z]{4})", ["key:ABCD monkey:ABCD key:abcd KEY: ABCD", "ſkey:ABCD"]),
    (r"(?:jan|january|may) [0-9]{1,2}", ["january 1 jan 2 mayjan 3", "May 4"]),
    (r"credit card|card number", ["credit card number", "card number card"]),
    (r"[0-9a-f]{2}(?::[0-9a-f]{2}){3}", ["00:11:22:33:44:55:66:77:88", "ab:cd:ef:01"]),
    (r"(?r)abc[0-9]", ["abc1abc2"]),
    (r"(?:abc[0-9]){e<=1}", ["abx1 abc2"]),
    (r"\X[0-9]{2}", ["é12"]),
    (r"(?<!\S)[0-9]{5}", ["12345 x12345", "12345"]),
    (r"(?<![0-9]{3})[0-9a]{2}", ["0000a", "12a45 99999"]),
    (r"[\p{L}'\-]{0,30}+\.? [0-9]{3}", ["St.-Jean 123", "o'neill. 99 x 100"]),
    (r"(?:使|[0-9]{2})[0-9]{3}", ["使123 用使99 12345", "京使1234567"]),
    (r"(?:(?:医生|患者)[\s:]?)?+\K\p{Han}{2,4}·", ["3医生王小明·李", "患者:张三·"]),
    (r"(?-i:AL|IN|OH) [0-9]{5}", ["in 12345 IN 12345", "Al 12345 OH 12345"]),
]  # fmt: skip


@pytest.mark.parametrize(("pattern", "texts"), CASES, ids=[pattern for pattern, _ in CASES])
def test_the_gate_keeps_every_match_of_odd_patterns(pattern: str, texts: Sequence[str]) -> None:
    prefilter = Prefilter([(pattern, FLAGS)])
    for text in [*texts, *(text * 40 for text in texts), *(f"{'so it is. ' * 90}{text} ok" for text in texts)]:
        text = fold(text)
        found = prefilter.matches(text, time.monotonic() + SOON)
        assert [m[1:] for m in found] == [m.span() for m in regex.finditer(pattern, text, FLAGS) if m.group()], text


def test_what_a_pattern_needs_is_read_off_it_and_nothing_where_it_is_not_understood() -> None:
    phone = requirements_of(r"(?<![0-9])\+?[0-9]{3}-[0-9]{4}", FLAGS)
    assert (phone.digit_within, phone.reach, phone.may_be_empty) == (1, 10, False)
    words = requirements_of(r"(?:\b(?:mrn|chart no)\b|病历号?)[\s:]{0,3}\K[0-9]{4,}", FLAGS)
    assert words.prefixes == {"mrn", "chart no", "病历"}
    assert words.reach is None
    mail = requirements_of(r"[a-z]{1,20}@[a-z]{1,20}", FLAGS)
    assert mail.required
    assert (mail.required.literals, mail.required.within) == ({"@"}, 20)
    site = requirements_of(r"(?:[a-z]{1,9}\.){1,3}(?:com|org)", FLAGS)
    assert site.required
    assert (site.required.literals, site.required.within) == ({".com", ".org"}, 29)
    assert requirements_of(r"(?:abc[0-9]){e<=1}", FLAGS).relaxed is None


def test_what_was_found_out_of_shipped_patterns_beforehand_is_what_is_found_out_now() -> None:
    """Of what `regex` compiles, the order in its sets differs from process to process."""
    known, compiled = (json.loads(module.FILE.read_text("utf-8")) for module in (prefilter_shipped, compiled_patterns))
    made_with = shipped_patterns.versions()
    assert {name: known[name] for name in made_with} == {name: compiled[name] for name in made_with}, STALE
    if any(known[name] != release for name, release in made_with.items()):
        pytest.skip(f"what was found out beforehand is of other releases than {made_with}")
    assert known["patterns"] == shipped_patterns.requirements(), STALE
    now = shipped_patterns.compiled()
    assert [(*each[:3], *each[4:]) for each in compiled["patterns"]] == [(*each[:3], *each[4:]) for each in now], STALE
    assert [sorted(b64decode(each[3])) for each in compiled["patterns"]] == [sorted(b64decode(each[3])) for each in now]


def test_with_another_release_of_regex_nothing_is_known_beforehand(monkeypatch: pytest.MonkeyPatch) -> None:
    pattern, _, values = json.loads(prefilter_shipped.FILE.read_text(encoding="utf-8"))["patterns"][0]
    caches = (compiled_patterns._stored, compiled_patterns.compiled, prefilter_shipped.shipped_requirements)
    assert pattern in compiled_patterns._stored()
    monkeypatch.setattr(regex, "__version__", "2026.11.1")
    for cache in caches:
        cache.cache_clear()
    try:
        assert not compiled_patterns._stored()
        assert not prefilter_shipped.shipped_requirements()
        assert compiled_patterns.compiled(pattern, FLAGS) == regex.compile(pattern, FLAGS)
    finally:
        for cache in caches:
            cache.cache_clear()
    assert requirements_of(pattern, FLAGS).as_json() == values


def test_something_is_known_of_every_shipped_pattern(patterns: dict[tuple[str, int], str]) -> None:
    prefilter, names = Prefilter(list(patterns)), list(patterns.values())
    whole = prefilter.assigned.get(WholeText, {})
    assert [names[number] for number in whole] == [], "these run on every text; see matching.py"


def test_switched_off_every_pattern_runs_on_everything_and_finds_the_same(detector: Detector) -> None:
    off = Detector(FILES["medical"], THRESHOLD, "none", prefilter=False)
    assert all(set(language.prefilter.assigned) == {WholeText} for language in off._languages.values())
    texts = random.Random(2).sample(rows_of("medical"), 300)
    found = detector.find_many(texts)
    assert found == off.find_many(texts)
    assert sum(len(spans) for spans in found if not isinstance(spans, Exception)) > 60


@pytest.mark.parametrize("value", ["off", "on", None, "no"])
def test_the_switch_is_off_or_on_and_nothing_else(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if value is None:
        monkeypatch.delenv(SWITCH, raising=False)
    else:
        monkeypatch.setenv(SWITCH, value)
    if value == "no":
        with pytest.raises(InvalidInput, match="SDK_PREFILTER is 'no'"):
            switched_on()
    else:
        assert switched_on() == (value != "off")


# -- time


def test_no_shipped_pattern_can_be_made_to_run_away(patterns: dict[tuple[str, int], str]) -> None:
    """Four times the hostile text takes about four times as long."""
    sampler = Sampler(list(patterns), seed=3)
    slow = []
    for number, ((pattern, flags), name) in enumerate(patterns.items()):
        compiled = regex.compile(pattern, flags)
        for pump in sampler.pumps(number):
            long = seconds(compiled, fold(pump * -(-40_000 // len(pump)))[:40_000] + "!")
            if long > 0.06:  # below, the clock is too coarse
                short = seconds(compiled, fold(pump * -(-10_000 // len(pump)))[:10_000] + "!")
                if long > 8 * short:
                    slow.append(f"{name}: {pump!r}, {short:.2f} s, then {long:.2f} s")
    assert slow == []


def seconds(compiled: regex.Pattern[str], text: str) -> float:
    """The least of two; 3 where it is still running then."""
    least = 3.0
    for _ in range(2):
        started = time.process_time()
        try:
            for _match in compiled.finditer(text, timeout=3):
                pass
        except TimeoutError:
            return 3.0
        least = min(least, time.process_time() - started)
        if least < 0.06:
            break
    return least


RUNAWAY = r"(?:(?:a|aa)+)+b"


def test_a_pattern_that_runs_away_is_stopped_and_only_its_text_counts_as_not_scanned(tmp_path: Path) -> None:
    path = recognizers(tmp_path, entry("Runaway", RUNAWAY), entry("Good", "[0-9]{6}"))
    ours = Detector(path, THRESHOLD, "none", row_seconds=0.2)
    started = time.process_time()
    first, second, third = ours.find_many([("123456", "en"), ("a" * 60 + " 123456", "en"), ("aab 654321", "en")])
    assert time.process_time() - started < SOON
    assert isinstance(second, DetectorTimedOut)
    assert "Runaway pattern" in str(second)
    assert "123456" not in str(second)
    assert [s.entity_type for s in first] == ["CODE"]  # type: ignore[union-attr]
    assert len(third) == 2  # type: ignore[arg-type]
    with pytest.raises(DetectorFailed):
        ours.find("a" * 60, "en")


@pytest.mark.parametrize("pattern", [RUNAWAY, r"\bno (?:\w+ ?)+!", r"(?=[0-9])(?:[0-9]+)+x", r"(?:x+x+)+y@"])
def test_the_time_of_a_text_is_bounded_wherever_the_gate_sends_a_pattern(pattern: str) -> None:
    prefilter = Prefilter([(pattern, FLAGS)])
    for text in ("a" * 80, "no " + "w" * 80, "1" * 80, "x" * 80 + "@", "no a a a a a a a a a a a a a a a a a a a" * 3):
        started = time.process_time()
        with contextlib.suppress(PatternTimedOut):
            prefilter.matches(text, time.monotonic() + 0.2)
        assert time.process_time() - started < 5


def test_a_text_of_any_length_is_scanned_to_its_end(detector: Detector) -> None:
    text = "Nothing stands in this text for a long while. " * 22_000 + "SSN 536-22-8726"
    assert len(text) > 1_000_000
    found = detector.find(text, "en")
    assert [(s.entity_type, s.start) for s in found][-1] == ("US_SSN", len(text) - 11)


# -- errors


class Names:
    """Finds "Ada" in all texts at once."""

    name, supported_language, supported_entities = "Names", "en", ("PERSON",)

    def __init__(self) -> None:
        self.calls: list[int] = []

    def find_many(self, texts: Sequence[str]) -> list[list[Span]]:
        self.calls.append(len(texts))
        if any("boom" in text for text in texts):
            raise ValueError(texts)
        return [[Span(m.start(), m.end(), "PERSON", 0.9) for m in regex.finditer("Ada", text)] for text in texts]


def test_a_recognizer_for_many_texts_is_asked_once_and_its_error_is_that_of_one_text(tmp_path: Path) -> None:
    ours = Detector(recognizers(tmp_path, entry("Good", "[0-9]{6}")), THRESHOLD, "none")
    names = Names()
    ours._languages["en"].many.append(names)
    texts = [("Ada 123456", "en"), ("A\u200bda", "en")]
    assert [[(s.start, s.end, s.recognizer) for s in found] for found in ours.find_many(texts)] == [  # type: ignore[union-attr]
        [(0, 3, "Names"), (4, 10, "Good")],
        [(0, 4, "Names")],
    ]
    assert names.calls == [3]  # the second text has two readings
    first, second, third = ours.find_many([*texts, ("boom", "en")])
    assert isinstance(third, ValueError)
    assert len(first) == 2  # type: ignore[arg-type]
    assert len(second) == 1  # type: ignore[arg-type]


def test_an_error_in_a_check_counts_for_its_text_alone(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(value: str) -> bool:
        raise ZeroDivisionError

    for pattern in detector._languages["en"].patterns:
        if pattern.recognizer.name == "PaymentCardRecognizer":
            monkeypatch.setattr(pattern, "validate", failing)
    first, second = detector.find_many([("card 4111 1111 1111 1111", "en"), ("SSN 536-22-8726", "en")])
    assert isinstance(first, ZeroDivisionError)
    assert [s.entity_type for s in second] == ["US_SSN"]  # type: ignore[union-attr]


# -- readings


HIDDEN = [
    ("call 138\u200b1234\u200b5678 now", "PHONE_NUMBER", "138\u200b1234\u200b5678"),
    ("手机1\ufeff38\u00ad1234\u20605678", "PHONE_NUMBER", "1\ufeff38\u00ad1234\u20605678"),
    ("ssn 536\u200d-22-87\u200c26", "US_SSN", "536\u200d-22-87\u200c26"),
    ("m\u00adail bob\u200b@exam\u200bple.org", "EMAIL_ADDRESS", "bob\u200b@exam\u200bple.org"),
    ("手机 1 3 8 1 2 3 4 5 6 7 8 谢谢", "PHONE_NUMBER", "1 3 8 1 2 3 4 5 6 7 8"),
    ("card 4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1.", "CREDIT_CARD", "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1"),
    ("SSN ５３６－２２－８７２６", "US_SSN", "５３６－２２－８７２６"),
    ("ſſn 536-22-8726", "US_SSN", "536-22-8726"),
    ("SSN ٥٣٦-٢٢-٨٧٢٦", "US_SSN", "٥٣٦-٢٢-٨٧٢٦"),
]


@pytest.mark.parametrize(("text", "kind", "value"), HIDDEN)
def test_values_are_found_through_what_cannot_be_seen(detector: Detector, text: str, kind: str, value: str) -> None:
    found = [(s.entity_type, text[s.start : s.end]) for s in detector.find(text, "en")]
    assert (kind, value) in found


def test_numbers_in_a_table_are_not_joined(detector: Detector) -> None:
    assert detector.find("0 1 0 0 1 1 0 1 0 0\n1 1 1 0 2 0 1 0 1 1", "en") == []


def test_folding_keeps_every_offset_and_leaves_no_letter_that_only_case_folding_makes_ascii() -> None:
    every = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)]))
    folded = fold(every)
    assert len(folded) == len(every)
    assert len(folded.lower()) == len(every)
    letters = regex.compile("[a-z]", FLAGS)
    assert all(match.group().isascii() for match in letters.finditer(folded))


# -- who finds names


TEXT = "Ada Lovelace met Acme, SSN 536-22-8726."


ANOTHER_PROCESS = """
import sys
from pathlib import Path
from sdk.scrub.find.detector import Detector
print(sorted(span.entity_type for span in Detector(Path(sys.argv[1]), 0.4).find(sys.argv[2], "en")))
assert {"presidio_analyzer", "spacy"} <= sys.modules.keys()
assert not {"torch", "transformers"} & sys.modules.keys()

import torch, transformers
from presidio_analyzer.predefined_recognizers.ner import huggingface_ner_recognizer
from sdk.scrub.find.without_models import read_anew
from thinc.api import PyTorchWrapper
linear = torch.nn.Linear(2, 2)
rows = linear.weight.detach().numpy()
assert (PyTorchWrapper(linear).initialize().predict(rows) == linear(torch.tensor(rows)).detach().numpy()).all()
assert read_anew(huggingface_ner_recognizer).hf_pipeline is transformers.pipeline
"""


def test_the_shipped_recognizer_does_without_torch_and_transformers_and_models_get_them_later() -> None:
    command = [sys.executable, "-W", "ignore", "-c", ANOTHER_PROCESS, str(FILES["medical"]), TEXT]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "['PERSON', 'US_SSN']\n"


def test_a_spacy_pipeline_of_a_folder_finds_names(tmp_path: Path) -> None:
    pipeline = spacy.blank("en")
    ruler: Any = pipeline.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": "PERSON", "pattern": "Ada Lovelace"}, {"label": "ORG", "pattern": "Acme"}])
    pipeline.to_disk(tmp_path / "model")
    ours = Detector(FILES["medical"], THRESHOLD, f"spacy:{tmp_path / 'model'}")
    found = {(s.entity_type, TEXT[s.start : s.end], s.recognizer) for s in ours.find(TEXT, "en")}
    assert ("PERSON", "Ada Lovelace", "SpacyRecognizer") in found
    assert "US_SSN" in {kind for kind, _, _ in found}


def test_a_token_classifier_of_a_folder_finds_names(tmp_path: Path) -> None:
    words = {word: i for i, word in enumerate(["[UNK]", "[PAD]", "Ada", "Lovelace", "met"])}
    tokenizer = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]")
    labels = {0: "O", 1: "B-PER"}
    config = BertConfig(
        vocab_size=len(words), hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8,
        id2label=labels, label2id={label: i for i, label in labels.items()},
    )  # fmt: skip
    model = BertForTokenClassification(config)
    model.classifier.bias.data[1] = 50.0  # everything is a person
    fast.save_pretrained(tmp_path / "model")
    model.save_pretrained(tmp_path / "model")
    ours = Detector(FILES["medical"], THRESHOLD, f"transformers:{tmp_path / 'model'}")
    found = ours.find("Ada Lovelace met", "en")
    assert {(s.entity_type, s.recognizer) for s in found} == {("PERSON", "HuggingFaceNerRecognizer")}


def test_a_model_may_use_the_gpu_although_presidio_came_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_detector, "_device", "cpu")
    monkeypatch.setenv("PRESIDIO_DEVICE", "cuda:7")
    with pytest.raises(InvalidInput):
        Detector(FILES["medical"], THRESHOLD, "spacy:no_such_model")
    assert device_detector.get_device() == "cuda:7"


@pytest.mark.parametrize("library", ["gliner", "stanza", "transformers"])
def test_a_library_that_is_missing_is_named(library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == library else there(name, *a))
    with pytest.raises(MissingExtra, match=f"pip install {library}"):
        Detector(FILES["medical"], THRESHOLD, f"{library}:{tmp_path}")


@pytest.mark.parametrize(
    "setting", ["spacy:no_such_model", "transformers:/no/such/folder", "transformers:", "presidio", "flair:x"]
)
def test_a_model_that_is_not_on_this_disk_is_refused_and_not_downloaded(setting: str) -> None:
    with pytest.raises(InvalidInput, match="recognizer"):
        Detector(FILES["medical"], THRESHOLD, setting)


def test_none_leaves_names_to_the_patterns(tmp_path: Path) -> None:
    path = recognizers(tmp_path, entry("Good", "[0-9]{6}"))
    assert [s.entity_type for s in Detector(path, THRESHOLD, "none").find("Ada Lovelace 123456", "en")] == ["CODE"]
