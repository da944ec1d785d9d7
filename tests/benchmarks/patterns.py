"""How fast the shipped patterns are: with the prefilter, without it, and Presidio's analyzer as shipped, on one core.

    python tests/benchmarks/patterns.py --json

Clean text is prose in which little is to be found; dense text holds an identifier in every second sentence or more.
Presidio runs its predefined recognizers with a blank NLP engine. Times are those of this process, in seconds.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import tldextract
from presidio_analyzer import AnalyzerEngine
from presidio_analyzer.nlp_engine import NoOpNlpEngine
from presidio_analyzer.recognizer_registry import RecognizerRegistry
from rich.console import Console
from rich.table import Table

from sdk.files.store import shipped
from sdk.scrub.find.detector import Detector

RECORD = 87  # characters, the mean of short records
SENTENCES = (
    "The committee met in the old hall and spoke for a long time about the water that the valley needs. ",
    "Nobody had thought that the winter would be so mild, and so the fields were green by the end of it. ",
    "She was treated with rest and patience, and her condition improved within a few weeks of care. ",
    "Interest is paid at the end of each quarter unless the parties have agreed on something else. ",
    "A good translation keeps the tone of the original, even where the words must be quite different. ",
    "The report describes what was done, why it was done, and what remains open for the next year. ",
)
IDENTIFIERS = (
    "SSN 536-22-8726", "phone (212) 555-0143", "e-mail bob.stone@example.org", "MRN: 00112135", "born 05/10/1959",
    "card 4111 1111 1111 1111", "IBAN GB29 NWBK 6016 1331 9268 19", "address 10.0.0.1", "account number 93355860",
    "https://portal.example.org/visit/02833?x=1", "2622 Meadow Street, Apt 7, Tucson, AZ 85712", "NPI 1234567893",
    "routing number 021000021", "license plate BWU 0766", "device 00:1B:44:11:3A:B7", "passport no. A12345678",
)  # fmt: skip
AROUND = ("Please note the {} of this customer. ", "Her {} was given. ", "We have {} on file; ", "Contact: {}, ")


def clean(size: int) -> str:
    choose = random.Random(1)
    return "".join(choose.choice(SENTENCES) for _ in range(size // 80))[:size]


def dense(size: int) -> str:
    choose = random.Random(2)
    return "".join(choose.choice(AROUND).format(choose.choice(IDENTIFIERS)) for _ in range(size // 30))[:size]


def seconds(work: Callable[[], Any], least: float = 2.0, most: int = 200) -> float:
    """The best of several runs that take `least` together."""
    best, spent, runs = float("inf"), 0.0, 0
    while spent < least and runs < most:
        started = time.process_time()
        work()
        took = time.process_time() - started
        best, spent, runs = min(best, took), spent + took, runs + 1
    return best


def each_of(find: Callable[[str], Any], records: list[str]) -> None:
    for record in records:
        find(record)


def presidio() -> Callable[[str], Any]:
    registry = RecognizerRegistry(supported_languages=["en"])
    registry.load_predefined_recognizers(languages=["en"])
    registry.remove_recognizer("SpacyRecognizer")
    tldextract.extract = tldextract.TLDExtract(suffix_list_urls=())  # its e-mail recognizer would ask the network
    nlp = NoOpNlpEngine([{"lang_code": "en", "model_name": "none"}])
    nlp.load()
    analyzer = AnalyzerEngine(registry=registry, nlp_engine=nlp, supported_languages=["en"])
    return lambda text: analyzer.analyze(text, "en")


def measured(recognizers: Path, size: int) -> dict[str, dict[str, float]]:
    theirs = presidio()

    def ours(prefilter: bool) -> Callable[[str], Any]:
        detector = Detector(recognizers, 0.4, "none", row_seconds=600, prefilter=prefilter)
        detector._languages["en"].single.clear()  # patterns alone
        return lambda text: detector.find(text, "en")

    rows = {}
    little = min(size, 50_000)  # for what is slow
    for name, find, whole in (
        ("with the prefilter", ours(True), size),
        ("without the prefilter", ours(False), little),
        ("Presidio as shipped", theirs, little),
    ):
        texts = {"clean": clean(whole), "dense": dense(whole)}
        for text in texts.values():
            find(text[:10_000])
        row = {f"{kind}_mb_per_s": whole / seconds(partial(find, text)) / 1e6 for kind, text in texts.items()}
        for kind, text in texts.items():
            records = [text[i : i + RECORD] for i in range(0, min(len(text), 200 * RECORD), RECORD)]
            took = seconds(partial(each_of, find, records))
            row[f"{kind}_record_us"] = took / len(records) * 1e6
        if whole >= 100_000:
            for kind, text in texts.items():
                each = seconds(partial(find, text)) / len(text)
                row[f"{kind}_ratio"] = each / (seconds(partial(find, text[:10_000])) / 10_000)
        rows[name] = row
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--domain", choices=["finance", "medical"], default="medical")
    parser.add_argument("--size", type=int, default=1_000_000, help="characters of the long texts")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = measured(shipped("domains") / options.domain / "recognizers.yaml", options.size)
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    table = Table(title=f"Patterns of {options.domain}, one core")
    columns = {
        "clean_mb_per_s": "clean, MB/s", "dense_mb_per_s": "dense, MB/s", "clean_record_us": "clean record, µs",
        "dense_record_us": "dense record, µs", "clean_ratio": "clean, long : 10 KB", "dense_ratio": "dense, same",
    }  # fmt: skip
    table.add_column("")
    for title in columns.values():
        table.add_column(title, justify="right")
    for name, row in rows.items():
        table.add_row(name, *(f"{row[key]:.2f}" if key in row else "" for key in columns))
    Console().print(table)


if __name__ == "__main__":
    main()
