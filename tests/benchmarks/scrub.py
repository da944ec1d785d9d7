"""Measure the detector on a labelled file, beside Presidio as shipped: `python tests/benchmarks/scrub.py --data FILE`.

FILE is CoNLL (token first, tag last on a line), presidio-research's JSON (full_text, spans), JSONL with text and spans
(start, end, and entity_type, label or type), .txt in the notation of tools/name_tagger/text or PubMedQA's JSON, whose
abstracts have no labels: what counts there is how much is taken (--part: one half is to tune on, the other to measure
on). Metrics are those of presidio-evaluator: spans count by overlap (IoU of characters), and neighbours with nothing
but punctuation between them are one span where kinds do not count. A prediction of a family of kinds that FILE never
labels is left out. One core:
the threads of BLAS are held to one.
"""

from __future__ import annotations

import argparse
import json
import re
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import spacy
import tldextract
from presidio_analyzer import AnalyzerEngine
from presidio_analyzer.nlp_engine import SpacyNlpEngine
from presidio_analyzer.recognizer_registry import RecognizerRegistry
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from sdk.files.store import shipped
from sdk.scrub.find.detector import Detector
from sdk.scrub.replace.generalize import generalized
from sdk.scrub.spans import Span

# what others call a kind -> ours; of what is not named here the name stays
SAME = {
    "PER": "PERSON", "NAME": "PERSON", "FIRST_NAME": "PERSON", "LAST_NAME": "PERSON", "PATIENT": "PERSON",
    "DOCTOR": "PERSON", "LOC": "LOCATION", "GPE": "LOCATION", "FAC": "LOCATION", "CITY": "LOCATION",
    "COUNTRY": "LOCATION", "STATE": "LOCATION", "ADDRESS": "STREET_ADDRESS", "ORG": "ORGANIZATION",
    "CORPORATION": "ORGANIZATION", "GROUP": "ORGANIZATION", "HOSPITAL": "ORGANIZATION", "NORP": "NRP",
    "NATIONALITY": "NRP", "DATE": "DATE_TIME", "BIRTHDAY": "DATE_OF_BIRTH", "EMAIL": "EMAIL_ADDRESS",
    "PHONE": "PHONE_NUMBER", "DOMAIN_NAME": "URL", "DOMAIN": "URL", "ZIP": "ZIP_CODE", "ZIPCODE": "ZIP_CODE",
    "MOBILE": "PHONE_NUMBER", "TEL": "PHONE_NUMBER", "FAX": "PHONE_NUMBER", "ID_CARD": "CN_RESIDENT_ID",
    "BANK_CARD": "CN_BANK_CARD", "PREFIX": "TITLE",
    "IBAN": "IBAN_CODE", "SSN": "US_SSN", "US_BANK_ACCOUNT": "US_BANK_NUMBER",
}  # fmt: skip
OUT = {"O", "MISC", "PRODUCT", "CREATIVE-WORK", "EVENT", "WORK_OF_ART", "CARDINAL", "MONEY"}
FAMILIES = {
    "PERSON": "person", "TITLE": "title", "LOCATION": "place", "STREET_ADDRESS": "place", "ZIP_CODE": "place",
    "ORGANIZATION": "organization", "NRP": "group", "DATE_TIME": "date", "DATE_OF_BIRTH": "date", "AGE": "age",
    "AGE_OVER_89": "age",
}  # fmt: skip
MARKS = {"P": "PERSON", "L": "LOCATION", "O": "ORGANIZATION", "N": "NRP"}
BATCH = 256
KEPT = {"TITLE", "NRP", "AGE"}  # kinds that the hipaa policy keeps in the text
COARSE = {"DATE_TIME", "LOCATION", "AGE_OVER_89"}  # kinds of which it keeps years, countries and states
PARTS = {"tune": (0, 2, 4, 6), "measure": (1, 3, 5, 7)}  # eighths of PubMedQA, by the checksum of a row's number


@dataclass(frozen=True)
class Labelled:
    text: str
    language: str
    spans: tuple[tuple[int, int, str], ...]


def kind(name: str) -> str:
    plain = name.upper().removesuffix(".NAM")  # Weibo NER tells names from nominal mentions, .NOM
    return "O" if plain.endswith(".NOM") else SAME.get(plain, plain)


def family(name: str) -> str:
    return FAMILIES.get(name, "number")


def language(text: str, stated: Any = None) -> str:
    if stated in ("en", "zh"):
        return str(stated)
    return "zh" if len(re.findall(r"[\u4e00-\u9fff]", text)) > 0.15 * len(text) else "en"


def read(path: Path, part: str = "") -> list[Labelled]:
    """The format is told from the content, not from the file's name. part: of PubMedQA, one of PARTS."""
    text = path.read_text(encoding="utf-8-sig")
    start = text.lstrip()[:1]
    if start == "{" and '"CONTEXTS"' in text[:5000]:
        return [
            Labelled("\n".join((row["QUESTION"], *row["CONTEXTS"], row["LONG_ANSWER"])), "en", ())
            for number, row in json.loads(text).items()
            if not part or zlib.crc32(number.encode()) % 8 in PARTS[part]
        ]
    if start == "[":
        return [row_of(row) for row in json.loads(text)]
    if start == "{" and not re.match(r"\s*\{[PLON]:", text):
        return [row_of(json.loads(line)) for line in text.splitlines() if line.strip()]
    if re.search(r"\{[PLON]:[^{}]+\}", text):
        return [marked(line) for line in text.splitlines() if line.strip()]
    return conll(text)


def marked(line: str) -> Labelled:
    """The notation of tools/name_tagger/text: {P:Jane Roe} lives in {L:Leeds}."""
    text, spans = "", []
    for before, letter, value in re.findall(r"([^{]*)(?:\{([PLON]):([^{}]+)\})?", line):
        text += before
        if value:
            spans.append((len(text), len(text) + len(value), MARKS[letter]))
            text += value
    return Labelled(text, language(text), tuple(spans))


def row_of(row: dict[str, Any]) -> Labelled:
    text = row.get("full_text") or row.get("text") or row.get("content") or ""
    spans = []
    for span in row.get("spans", row.get("entities", row.get("label", []))):
        if isinstance(span, list | tuple):
            start, end, name = span
        else:
            start = span.get("start_position", span.get("start"))
            end = span.get("end_position", span.get("end"))
            name = span.get("entity_type", span.get("label", span.get("type")))
        if kind(str(name)) not in OUT:
            spans.append((start, end, kind(str(name))))
    return Labelled(text, language(text, row.get("language")), tuple(sorted(spans)))


def conll(text: str) -> list[Labelled]:
    rows, words = [], []
    for line in [*text.splitlines(), ""]:
        columns = line.split()
        if len(columns) >= 2 and columns[0] != "-DOCSTART-":
            words.append((columns[0], columns[-1]))
        elif words:
            rows.append(_sentence(words))
            words = []
    return rows


def _sentence(words: Sequence[tuple[str, str]]) -> Labelled:
    # characters of Chinese stand without spaces between them
    han = sum(bool(re.fullmatch(r"[\u3400-\u9fff]", word)) for word, _ in words)
    glue = "" if han > len(words) / 2 else " "
    text, spans, before = "", [], ""
    for word, tag in words:
        start = len(text) + (len(glue) if text else 0)
        text += (glue if text else "") + word
        edge, _, name = tag.partition("-") if tag[:2] in ("B-", "I-", "E-", "S-", "L-", "U-", "M-") else ("", "", tag)
        if not name or kind(name) in OUT:
            before = ""
        elif spans and before == name and edge not in ("B", "S", "U"):
            spans[-1] = (spans[-1][0], len(text), spans[-1][2])
        else:
            spans.append((start, len(text), kind(name)))
        before = name if name and kind(name) not in OUT else ""
    return Labelled(text, language(text), tuple(spans))


def stays(value: str, name: str) -> bool:
    """Tell whether the hipaa policy leaves a value as it is."""
    return name in KEPT or (name in COARSE and generalized(value, name) == value)


# -- metrics ----------------------------------------------------------------------------------------------------------


def joined(text: str, spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    result: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if result and (start <= result[-1][1] or not any(c.isalnum() for c in text[result[-1][1] : start])):
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        else:
            result.append((start, end))
    return result


def matched(gold: Sequence[tuple[int, int]], found: Sequence[tuple[int, int]], iou: float) -> int:
    """How many of the gold spans have a found span of their own that overlaps them enough."""
    left, count = set(found), 0
    for start, end in gold:
        best = max(
            left,
            key=lambda f: (min(end, f[1]) - max(start, f[0])) / (max(end, f[1]) - min(start, f[0])),
            default=None,
        )
        if best is not None:
            overlap = min(end, best[1]) - max(start, best[0])
            if overlap / (max(end, best[1]) - min(start, best[0])) >= iou:
                left.discard(best)
                count += 1
    return count


def scores(right: float, found: float, there: float) -> dict[str, float]:
    precision = right / found if found else 1.0
    recall = right / there if there else 1.0
    f2 = 5 * precision * recall / (4 * precision + recall) if precision + recall else 0.0
    return {"precision": precision, "recall": recall, "f2": f2}


def interval(counts: np.ndarray[Any, Any], rng: np.random.Generator) -> dict[str, tuple[float, float]]:
    """95 % intervals by bootstrap over documents; counts: (documents, 3) right, found, there."""
    draws = [scores(*counts[rng.integers(0, len(counts), len(counts))].sum(axis=0)) for _ in range(300)]
    return {
        key: tuple(round(float(q), 4) for q in np.quantile([d[key] for d in draws], [0.025, 0.975])) for key in draws[0]
    }


def evaluate(rows: Sequence[Labelled], found: Sequence[Sequence[Span]], iou: float) -> dict[str, Any]:
    labelled = {family(name) for row in rows for _, _, name in row.spans}
    per_document, leaked, clean, false_positives, tokens = [], 0, 0, 0, 0
    kinds: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0, 0, 0])
    changing = changed = 0
    for row, spans in zip(rows, found, strict=True):
        taken = sum(not stays(row.text[s.start : s.end], s.entity_type) for s in spans)
        changing += taken
        changed += taken > 0
        kept = [s for s in spans if family(s.entity_type) in labelled]
        gold = joined(row.text, [(a, b) for a, b, _ in row.spans])
        guess = joined(row.text, [(s.start, s.end) for s in kept])
        right = matched(gold, guess, iou)
        per_document.append((right, len(guess), len(gold)))
        inside = {i for s in spans for i in range(s.start, s.end)}
        left = sum(row.text[i].isalnum() for a, b, _ in row.spans for i in range(a, b) if i not in inside)
        leaked += left
        clean += not left
        false_positives += sum(not any(a < d and c < b for c, d in gold) for a, b in guess)
        words = [m.span() for m in re.finditer(r"[\u3400-\u9fff]|[^\W_]+", row.text)]
        tokens += len(words)
        for name in {n for _, _, n in row.spans} | {s.entity_type for s in kept}:
            a = [(x, y) for x, y, n in row.spans if n == name]
            b = [(s.start, s.end) for s in kept if s.entity_type == name]
            gold_words = {w for w in words if any(x < w[1] and w[0] < y for x, y in a)}
            found_words = {w for w in words if any(x < w[1] and w[0] < y for x, y in b)}
            covered = sum(all(i in inside or not row.text[i].isalnum() for i in range(x, y)) for x, y in a)
            numbers = (len(a), covered, len(gold_words), len(found_words), len(gold_words & found_words))
            for i, number in enumerate(numbers):
                kinds[name][i] += number
            kinds[name][5] += matched(a, b, iou)
    counts = np.array(per_document)
    rng = np.random.default_rng(0)
    return {
        **scores(*counts.sum(axis=0)),
        "interval_95": interval(counts, rng),
        "by_kind": {
            name: {
                "spans": there,
                "recall": round(hit / there, 4) if there else None,  # of this kind, by IoU
                "covered": round(covered / there, 4) if there else None,  # every character, by whatever kind
                "token_recall": round(both / gold, 4) if gold else None,
                "token_precision": round(both / guess, 4) if guess else None,
            }
            for name, (there, covered, gold, guess, both, hit) in sorted(kinds.items())
        },
        "leaked_characters": leaked,
        "labelled_characters": sum(r.text[i].isalnum() for r in rows for a, b, _ in r.spans for i in range(a, b)),
        "documents": len(rows),
        "documents_without_leak": clean,
        "finds_per_1000_tokens": round(1000 * changing / max(tokens, 1), 3),
        "documents_changed": changed,
        "false_positives_per_1000_tokens": round(1000 * false_positives / max(tokens, 1), 3),
    }


# -- detectors --------------------------------------------------------------------------------------------------------


def ours(recognizers: Path, threshold: float, names: str) -> Callable[[Sequence[Labelled]], list[list[Span]]]:
    detector = Detector(recognizers, threshold, recognizer=names)

    def find(rows: Sequence[Labelled]) -> list[list[Span]]:
        results = []
        for i in range(0, len(rows), BATCH):
            for spans in detector.find_many([(row.text, row.language) for row in rows[i : i + BATCH]]):
                if isinstance(spans, Exception):
                    raise spans
                results.append(spans)
        return results

    return find


def presidio(threshold: float) -> Callable[[Sequence[Labelled]], list[list[Span]]]:
    """AnalyzerEngine with its own recognizers; no model can be downloaded, so its NLP engine is a blank one."""
    # Presidio's e-mail recognizer would ask the network for public suffixes
    tldextract.tldextract.TLD_EXTRACTOR = tldextract.TLDExtract(suffix_list_urls=())
    engine = SpacyNlpEngine([{"lang_code": code, "model_name": "none"} for code in ("en", "zh")])
    engine.nlp = {code: spacy.blank(code) for code in ("en", "zh")}
    registry = RecognizerRegistry(supported_languages=["en", "zh"])
    registry.load_predefined_recognizers(languages=["en", "zh"])
    analyzer = AnalyzerEngine(registry=registry, nlp_engine=engine, supported_languages=["en", "zh"])

    def find(rows: Sequence[Labelled]) -> list[list[Span]]:
        return [
            [
                Span(r.start, r.end, kind(r.entity_type), r.score)
                for r in analyzer.analyze(row.text, row.language, score_threshold=threshold)
            ]
            for row in rows
        ]

    return find


def timed(find: Callable[[Sequence[Labelled]], list[list[Span]]], rows: Sequence[Labelled]) -> dict[str, Any]:
    find(rows[:BATCH])
    started = time.perf_counter()
    found = find(rows)
    seconds = time.perf_counter() - started
    characters = sum(len(row.text) for row in rows)
    return {
        "found": found,
        "chars_per_s": round(characters / seconds),
        "records_per_s": round(len(rows) / seconds, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, nargs="+")
    parser.add_argument("--recognizers", type=Path, default=shipped("domains") / "finance" / "recognizers.yaml")
    parser.add_argument("--recognizer", default="embedded", help="who finds names, as in a policy")
    parser.add_argument("--threshold", type=float, default=0.4)
    parser.add_argument("--iou", type=float, default=0.75)
    parser.add_argument("--part", choices=sorted(PARTS), default="", help="of PubMedQA; otherwise all of it")
    parser.add_argument("--alone", action="store_true", help="without Presidio beside it")
    parser.add_argument("--misses", type=int, default=0, help="print so many missed values and false positives")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    threadpool_limits(1)
    rows = [row for path in arguments.data for row in read(path, arguments.part)]
    detectors = {"ours": ours(arguments.recognizers, arguments.threshold, arguments.recognizer)}
    if not arguments.alone:
        detectors["presidio"] = presidio(arguments.threshold)
    results = {}
    for name, find in detectors.items():
        run = timed(find, rows)
        found = run.pop("found")
        results[name] = {**evaluate(rows, found, arguments.iou), **run}
        if name == "ours" and arguments.misses:
            show_misses(rows, found, arguments.misses)
    if arguments.json:
        print(json.dumps({**results["ours"], "peers": {k: v for k, v in results.items() if k != "ours"}}, indent=1))
    else:
        show(results)


def around(text: str, start: int, end: int, name: str) -> str:
    return f"{name}: …{text[max(0, start - 25) : start]}[{text[start:end]}]{text[end : end + 15]}…"


def show_misses(rows: Sequence[Labelled], found: Sequence[Sequence[Span]], most: int) -> None:
    labelled = {family(name) for row in rows for _, _, name in row.spans}
    missed, false = [], []
    for row, spans in zip(rows, found, strict=True):
        inside = {i for s in spans for i in range(s.start, s.end)}
        gold = {i for a, b, _ in row.spans for i in range(a, b)}
        missed += [
            around(row.text, a, b, name)
            for a, b, name in row.spans
            if not all(i in inside for i in range(a, b) if row.text[i].isalnum())
        ]
        false += [
            around(row.text, s.start, s.end, s.entity_type)
            for s in spans
            if family(s.entity_type) in labelled and not gold & set(range(s.start, s.end))
        ]
    for title, lines in (("missed", missed), ("false", false)):
        step = max(1, len(lines) // most)
        print(f"{len(lines)} {title}")
        for line in lines[::step][:most]:
            print("  ", line.replace("\n", "⏎"))


def show(results: dict[str, dict[str, Any]]) -> None:
    console = Console()
    table = Table("", *results)
    for key in ("precision", "recall", "f2"):
        cells = [
            f"{r[key]:.3f} ({r['interval_95'][key][0]:.3f}-{r['interval_95'][key][1]:.3f})" for r in results.values()
        ]
        table.add_row(key, *cells)
    for key in ("leaked_characters", "labelled_characters", "documents", "documents_without_leak",
                "documents_changed", "finds_per_1000_tokens",
                "false_positives_per_1000_tokens", "chars_per_s", "records_per_s"):  # fmt: skip
        table.add_row(key.replace("_", " "), *(f"{r[key]:,}" for r in results.values()))
    console.print(table)
    kinds = Table("kind", "spans", *(f"{n}: {c}" for n in results for c in ("recall", "covered", "token R", "token P")))
    for name in sorted({k for r in results.values() for k in r["by_kind"]}):
        cells = []
        for r in results.values():
            numbers = r["by_kind"].get(name, {})
            for key in ("recall", "covered", "token_recall", "token_precision"):
                cells.append("" if numbers.get(key) is None else f"{numbers[key]:.3f}")
        spans = max(r["by_kind"].get(name, {}).get("spans", 0) for r in results.values())
        kinds.add_row(name, str(spans), *cells)
    console.print(kinds)


if __name__ == "__main__":
    main()
