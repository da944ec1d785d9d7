"""Texts that are hard on patterns: what they nearly match, mutated; and long runs of what they are made of."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from presidio_analyzer import PatternRecognizer

from sdk.scrub.find.recognizers import read_recognizers
from sdk.scrub.prefilter.pattern_tree import (
    Alternation,
    Assertion,
    BackReference,
    CharacterClass,
    Group,
    Look,
    Node,
    Repeat,
    children,
    parse,
    walk,
)

GLUE = ("", "", " ", " ", ", ", ". ", "\n", ":", "-", "的", "电话", "a", "7", "(", "\u3000", "\t", "é", "😀", "'")
STRANGE = "ſK\u0130ıßéÅΩ①²½一〇号年·•—−\u00a0\u2009\u200b\u200d\ufeff\u00ad\x00\x1c\x85\r\n\t٣०"
OTHERS = tuple("éüÅßñ京张伟市号年月日路医·ш")


def patterns_of(recognizers: Path) -> dict[tuple[str, int], str]:
    """(regular expression, flags) -> a name for it, of every recognizer that is only patterns."""
    found = {}
    for recognizer in read_recognizers(recognizers).recognizers:
        if isinstance(recognizer, PatternRecognizer):
            for pattern in recognizer.patterns:
                found[pattern.regex, int(recognizer.global_regex_flags)] = f"{recognizer.name}: {pattern.name}"
    return found


class Sampler:
    """Strings that a pattern matches, but for what it looks at around them."""

    def __init__(self, patterns: Sequence[tuple[str, int]], seed: int = 0) -> None:
        self.random = random.Random(seed)
        self.trees = [parse(*pattern) for pattern in patterns]

    def sample(self, pattern: int) -> str:
        self.taken: dict[Group | None, str] = {}
        return "".join(map(self._one, self.trees[pattern]))

    def _one(self, node: Node) -> str:
        choose = self.random
        if isinstance(node, CharacterClass):
            if node.dot:
                return choose.choice("aB1 -号")
            if node.beyond and (not node.may or choose.random() < 0.3):
                exact = sorted(c for c in node.members if not c.isascii())
                return choose.choice(exact or OTHERS)
            return choose.choice(sorted(node.may)) if node.may else ""
        if isinstance(node, Look | Assertion):
            return ""
        if isinstance(node, BackReference):
            return self.taken.get(node.group, choose.choice(" -"))
        if isinstance(node, Alternation):
            return self._one(choose.choice(node.branches))
        if isinstance(node, Repeat):
            most = node.least + 4 if node.most is None else min(node.most, node.least + 4)
            return "".join(self._one(node.item) for _ in range(choose.randint(node.least, most)))
        if isinstance(node, Group):
            self.taken[node] = self._one(node.item)
            return self.taken[node]
        return "".join(map(self._one, children(node)))

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
        runs: set[str] = set()
        for node in walk(self.trees[pattern]):
            if not isinstance(node, CharacterClass) or node.dot:
                continue
            may, beyond = node.may, node.beyond
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
