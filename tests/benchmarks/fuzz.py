"""Whether the prefilter keeps every match: fuzzed texts through every shipped pattern, with it and without.

python tests/benchmarks/fuzz.py --texts 100000
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from sdk.data import read_rows
from sdk.files.store import shipped
from sdk.scrub.find.views import fold
from sdk.scrub.prefilter.matching import NO_STRATEGIES, Prefilter
from tests.hostile import Sampler, patterns_of


def differences(domain: str, texts: int, seed: int) -> int:
    """Prints each text on which the two disagree."""
    patterns = patterns_of(shipped("domains") / domain / "recognizers.yaml")
    prefilter, without = Prefilter(list(patterns)), Prefilter(list(patterns), NO_STRATEGIES)
    sampler = Sampler(list(patterns), seed)
    table = read_rows(shipped("domains") / domain / "train.jsonl")
    rows = [message.content for row in table.rows for message in row.messages]
    wrong = found = 0
    started = time.monotonic()
    for number in range(texts):
        text = fold(sampler.fuzz(rows))
        deadline = time.monotonic() + 60
        ours, all_of_them = sorted(prefilter.matches(text, deadline)), sorted(without.matches(text, deadline))
        found += len(all_of_them)
        if ours != all_of_them:
            wrong += 1
            names = list(patterns.values())
            print(f"{domain} {seed} {number}: {text!r}")
            for match in sorted(set(ours) ^ set(all_of_them)):
                print(f"    {names[match.number]} at {match.start}-{match.end}")
    seconds = time.monotonic() - started
    print(f"{domain}: {len(patterns)} patterns, {texts} texts, {found} matches, {wrong} texts differ, {seconds:.0f} s")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--domain", action="append", choices=["finance", "medical"])
    options = parser.parse_args()
    domains = options.domain or ["finance", "medical"]
    share = -(-options.texts // len(domains))
    if sum(differences(domain, share, options.seed) for domain in domains):
        sys.exit(1)


if __name__ == "__main__":
    main()
