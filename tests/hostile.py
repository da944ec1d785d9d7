"""Texts that are hard on patterns: what they nearly match, mutated; and long runs of what they are made of."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from presidio_analyzer import PatternRecognizer

from sdk.scrub.find.recognizers import read_registry
from sdk.scrub.prefilter import requirements
from sdk.scrub.prefilter.requirements import core

GLUE = ("", "", " ", " ", ", ", ". ", "\n", ":", "-", "的", "电话", "a", "7", "(", "\u3000", "\t", "é", "😀", "'")
STRANGE = "ſK\u0130ıßéÅΩ①²½一〇号年·•—−\u00a0\u2009\u200b\u200d\ufeff\u00ad\x00\x1c\x85\r\n\t٣०"
OTHERS = tuple("éüÅßñ京张伟市号年月日路医·ш")


def patterns_of(recognizers: Path) -> dict[tuple[str, int], str]:
    """(regular expression, flags) -> a name for it, of every recognizer that is only patterns."""
    found = {}
    for recognizer in read_registry(recognizers).recognizers:
        if isinstance(recognizer, PatternRecognizer):
            for pattern in recognizer.patterns:
                found[pattern.regex, int(recognizer.global_regex_flags)] = f"{recognizer.name}: {pattern.name}"
    return found


class Sampler:
    """Strings that a pattern matches, but for what it looks at around them."""

    def __init__(self, patterns: Sequence[tuple[str, int]], seed: int = 0) -> None:
        self.random = random.Random(seed)
        self.trees = [requirements._parse(*pattern) for pattern in patterns]

    def sample(self, pattern: int) -> str:
        items, self.groups = self.trees[pattern]
        self.taken: dict[int, str] = {}
        return "".join(map(self._one, items))

    def _one(self, node: Any) -> str:
        choose = self.random
        if isinstance(node, core.Any):
            return choose.choice("aB1 -号")
        if isinstance(node, requirements.CLASSES):
            may, _, beyond = requirements._set_of(node)
            if beyond and (not may or choose.random() < 0.3):
                exact = [c for c in requirements._members(node) if not c.isascii()]
                return choose.choice(exact or OTHERS)
            return choose.choice(sorted(may)) if may else ""
        if isinstance(node, core.String):
            return "".join(map(chr, node.characters))
        if isinstance(node, core.LookAround | core.ZeroWidthBase):
            return ""
        if isinstance(node, core.RefGroup):
            return self.taken.get(id(self.groups.get(node.group)), choose.choice(" -"))
        if isinstance(node, core.Branch):
            return self._one(choose.choice(node.branches))
        if isinstance(node, core.GreedyRepeat):
            most = node.min_count + 4 if node.max_count is None else min(node.max_count, node.min_count + 4)
            return "".join(self._one(node.subpattern) for _ in range(choose.randint(node.min_count, most)))
        if isinstance(node, core.Group):
            self.taken[id(node)] = self._one(node.subpattern)
            return self.taken[id(node)]
        return "".join(map(self._one, requirements._children(node)))

    def fuzz(self, rows: Sequence[str]) -> str:
        """A text of some samples, mutated, glued to each other and to pieces of the rows."""
        choose = self.random
        parts = []
        for _ in range(choose.randint(1, 4)):
            if rows and choose.random() < 0.25:
                row = choose.choice(rows)
                start = choose.randrange(len(row) + 1)
                parts.append(row[start : start + choose.randint(1, 60)])
            else:
                parts.append(self._mutated(self.sample(choose.randrange(len(self.trees)))))
            parts.append(choose.choice(GLUE))
        return "".join(parts)

    def _mutated(self, text: str) -> str:
        choose = self.random
        characters = list(text[:400])
        for _ in range(choose.choice((0, 0, 0, 1, 1, 2, 5))):
            if not characters:
                break
            place = choose.randrange(len(characters))
            match choose.randrange(5):
                case 0:
                    del characters[place]
                case 1:
                    characters.insert(place, choose.choice(STRANGE + "0123456789abcXYZ -.:/@#"))
                case 2:
                    characters[place] = choose.choice(STRANGE + "0123456789abcXYZ -.:/@#")
                case 3:
                    characters[place] = characters[place].swapcase()
                case 4:
                    characters[place:place] = characters[place : place + choose.randint(1, 12)]
        return "".join(characters)

    def pumps(self, pattern: int) -> Iterator[str]:
        """Strings whose repetition might keep the pattern busy: runs of its characters, itself without its end."""
        items, _ = self.trees[pattern]
        runs = set()
        for node in requirements._walk(items):
            if isinstance(node, core.Any) or not isinstance(node, requirements.CLASSES):
                continue
            may, _, beyond = requirements._set_of(node)
            runs.add(("1" if "1" in may else "") + ("a" if "a" in may else "A" if "A" in may else ""))
            runs |= {c for c in " .,-:/@(\n" if c in may} | ({"京"} if beyond else set())
        yield from sorted(run for run in runs if run)
        letters = sorted({run for run in runs if run and run[0].isalnum()})
        for mark in sorted(run for run in runs if run and not run[0].isalnum()):
            yield from (letter + mark for letter in letters[:2])
        for _ in range(2):
            whole = self.sample(pattern)
            yield whole[: max(1, len(whole) * 3 // 4)] or "a"
            yield whole[: max(1, len(whole) // 3)] + " " or "a"
