"""The metrics of a domain, each as numbers of one answer that are added up and what their sums come to.

Of most an answer's numbers are its score and 1, and the figure is their ratio, the mean. BLEU, chrF and macro F1 are of
all answers together. So one bootstrap, over questions, serves every metric, for all of them or for some.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from sdk.data import Row, answer
from sdk.data.canaries import is_canary
from sdk.data.named_answers import MOST_CHOICES, chosen_letter, is_refusal, label_words, named_label
from sdk.data.numeric_answers import final_number, marked_part, numbers_in, same_number
from sdk.data.scoring import score, words
from sdk.errors import InvalidInput
from sdk.intervals import Figure, Numbers, bootstrap, bootstrap_change, bootstrap_figure, share_interval
from sdk.records import ALL, METRICS, TOGETHER, Confusion, Interval, MajorityScore, Metric, Scoring

Statistics = tuple[float, ...]
Scorer = Callable[[Sequence["Given"]], Sequence[float]]  # scores from 0 to 1
CHOICES = "choices"  # the field of a row's metadata
_ENGLISH_WORDS, _CHINESE_WORDS = re.compile(r"[a-z0-9]+"), re.compile(r"[a-z0-9]+|[^\W_]")
_BLEU = {"en": BLEU(tokenize="13a"), "zh": BLEU(tokenize="zh")}
_CHRF = CHRF()


@dataclass(frozen=True)
class Given:
    """What one model gave for one question. It is never written anywhere."""

    row: Row
    text: str
    nll: float = 0.0  # of the reference, nats
    tokens: int = 1  # of the reference
    choices: tuple[float, ...] = ()  # log-likelihood of each choice, where the metrics ask for it


@dataclass(frozen=True)
class Measured:
    """One metric's numbers of every question, in the order of the questions."""

    metric: Metric
    statistics: Numbers
    figure: Figure

    def scores(self) -> list[float]:
        """Return what each question scores by itself; by BLEU with as long n-grams as the answer has."""
        figure = _bleu_of_one if self.figure is _bleu else self.figure
        return [float(value) for value in figure(self.statistics)]

    def value(self) -> float:
        return float(self.figure(self.statistics.sum(axis=0)[None])[0])

    def at(self, places: Sequence[int]) -> Measured:
        return replace(self, statistics=self.statistics[list(places)])

    def interval(self) -> Interval:
        """Return the figure over all questions, with an exact interval where it is a share, else by bootstrap."""
        if METRICS[self.metric].is_share:
            return share_interval(round(float(self.statistics[:, 0].sum())), len(self.statistics))
        if self.figure is ratio and (self.statistics[:, 1] == 1).all():
            return bootstrap([*map(float, self.statistics[:, 0])])
        return bootstrap_figure(self.statistics, self.figure)

    def change(self, before: Measured) -> Interval:
        """Return what was gained over the same questions before, paired by question."""
        return bootstrap_change(before.statistics, self.statistics, self.figure)


class Measures:
    """The metrics of a domain, and what judges the answers."""

    def __init__(
        self, metrics: Sequence[Metric], scoring: Scoring, judges: Mapping[Metric, Scorer] | None = None
    ) -> None:
        """Take metrics; the first is no different from the others.

        judges: for metrics that need a library or a process of their own, which only who asks for them pays for.
        """
        self.metrics = tuple(metrics)
        self.scoring = scoring
        self._judges = judges or {}

    @property
    def asks_likelihoods(self) -> bool:
        """Whether the log-likelihoods of choices are needed."""
        return any(metric.startswith("multiple_choice_likelihood") for metric in self.metrics)

    def measure(self, given: Sequence[Given], metrics: Sequence[Metric] | None = None) -> dict[Metric, Measured]:
        """Return the numbers of every answer by each metric. metrics: those wanted; None: all."""
        return {metric: self._measured(metric, given) for metric in (self.metrics if metrics is None else metrics)}

    def _measured(self, metric: Metric, given: Sequence[Given]) -> Measured:
        if metric in self._judges:
            lines: list[Statistics] = [(value, 1.0) for value in self._judges[metric](given)]
            return Measured(metric, np.array(lines), ratio)
        statistics, figure = KINDS[metric]
        return Measured(metric, np.array([statistics(each, self.scoring) for each in given], dtype=np.float64), figure)

    def require_fit(self, rows: Sequence[Row], file: str) -> None:
        """Raise InvalidInput with every row whose reference a metric cannot judge. file: where they stand."""
        faults = [f"{metric}: {fault}" for metric in self.metrics for fault in self._setting_faults(metric)]
        if not faults:
            faults = [f"{file}, row {row.id}: {misfit}" for row in rows for misfit in self._misfits(row)]
        for metric in self._judges if not faults else ():
            references = [Given(row, answer(row)) for row in rows]
            scores = self._judges[metric](references)
            if metric == "json_schema":
                faults += [
                    f"{file}, row {row.id}: {metric}: its reference does not satisfy the schema"
                    for row, value in zip(rows, scores, strict=True)
                    if not value
                ]
        if faults:
            raise InvalidInput(
                "The domain's metrics do not fit these questions; change the rows, or `metric`, `metrics` and "
                "`scoring` in domain/domain.yaml, and put that in force with `sdk adopt`.",
                faults,
            )

    def _misfits(self, row: Row) -> list[str]:
        """Name what of a row metrics cannot judge, each once, behind the metrics."""
        found: defaultdict[str, list[str]] = defaultdict(list)
        for metric in self.metrics:
            if metric in MISFITS and (misfit := MISFITS[metric](row, self.scoring)):
                found[misfit].append(metric)
        return [f"{', '.join(metrics)}: {misfit}" for misfit, metrics in found.items()]

    def _setting_faults(self, metric: Metric) -> list[str]:
        if metric != "macro_f1":  # beside which the other one of labels always is
            return []
        spelled = Counter(label_words(label, "zh") for label in self.scoring.labels)
        return [
            f"label {label} is the same as another, or has neither letters nor digits"
            for label in self.scoring.labels
            if spelled[label_words(label, "zh")] > 1 or not label_words(label, "zh")
        ]

    def majority_scores(self, training: Iterable[Row], questions: Sequence[Row]) -> dict[str, MajorityScore]:
        """Return what always giving the majority answer would score, for 'all' and every language of the questions.

        The majority answer is the most frequent reference of the training rows in the question's language, by what
        counts as the same answer; of equally frequent ones that which comes first. Where no training row has the
        language, it is that of all training rows. Planted canaries do not count.
        """
        majority = majority_answers(training)
        given = [Given(row, majority(row.language)) for row in questions]
        metrics = [metric for metric in self.metrics if METRICS[metric].of_one_answer]
        measured = self.measure(given, metrics)
        scores = {}
        for name, places in by_language(questions).items():
            values = {metric: one.at(places).value() for metric, one in measured.items()}
            usual = {metric: values.pop(metric) for metric in ("exact_match", "f1")}
            scores[name] = MajorityScore(**usual, further=values)
        return scores

    def confusion(self, before: Sequence[Given], after: Sequence[Given]) -> Confusion | None:
        """Count which label was given for which; None where the metrics are of none."""
        if not set(TOGETHER) & set(self.metrics):
            return None
        labels = self.scoring.labels
        base, adapted = ([[0] * (len(labels) + 1) for _ in labels] for _ in range(2))
        for counts, given in ((base, before), (adapted, after)):
            for each in given:
                right, said = _labels(each, self.scoring)
                counts[right][said] += 1
        return Confusion(labels=labels, base=tuple(map(tuple, base)), adapted=tuple(map(tuple, adapted)))


def by_language(rows: Sequence[Row]) -> dict[str, list[int]]:
    """Return the places of all rows, and of those of each language."""
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        groups[row.language].append(place)
    return {ALL: [*range(len(rows))], **dict(sorted(groups.items()))}


def majority_answers(training: Iterable[Row]) -> Callable[[str], str]:
    """Return what gives the majority answer of a language."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    texts: dict[str, str] = {}
    for row in training:
        if not is_canary(row.id):
            said = answer(row)
            key = " ".join(words(said, row.language))
            texts.setdefault(key, said)
            counts[row.language][key] += 1
            counts[ALL][key] += 1

    @cache
    def majority(language: str) -> str:
        return texts[max(known, key=known.__getitem__)] if (known := counts.get(language) or counts[ALL]) else ""

    return majority


# -- figures: sums over questions, one line for each resample ---------------------------------------------------------


def ratio(sums: Numbers) -> Numbers:
    """Return the mean: what was added up by how many, or in whose tokens."""
    return np.asarray(sums[:, 0] / sums[:, 1], dtype=np.float64)


def _perplexity(sums: Numbers) -> Numbers:
    return np.exp(np.minimum(ratio(sums), math.log(np.finfo(np.float64).max)))


def _bleu(sums: Numbers, effective_order: bool = False) -> Numbers:
    computed = (
        BLEU.compute_bleu([*line[2:6]], [*line[6:]], int(line[0]), int(line[1]), "exp", None, effective_order)
        for line in sums
    )
    return np.array([each.score / 100 for each in computed])


def _bleu_of_one(sums: Numbers) -> Numbers:
    return _bleu(sums, effective_order=True)


def _chrf(sums: Numbers) -> Numbers:
    return np.array([_CHRF._compute_f_score(line.tolist()) / 100 for line in sums])


def _macro_f1(sums: Numbers) -> Numbers:
    """Return the mean F1 of the labels that occur, in references or answers; columns: right, given, asked of each."""
    right, given, asked = (sums[:, column::3] for column in range(3))
    occurs = given + asked > 0
    scores = np.divide(2 * right, given + asked, out=np.zeros_like(right), where=occurs)
    return np.asarray(scores.sum(axis=1) / np.maximum(occurs.sum(axis=1), 1), dtype=np.float64)


# -- numbers of one answer --------------------------------------------------------------------------------------------


def _mean(judge: Callable[[Given, Scoring], float]) -> tuple[Callable[[Given, Scoring], Statistics], Figure]:
    return (lambda given, scoring: (float(judge(given, scoring)), 1.0)), ratio


def _reference(given: Given) -> str:
    return answer(given.row)


def _numeric(given: Given, scoring: Scoring) -> bool:
    said, reference = final_number(given.text), final_number(_reference(given))
    if said is None or reference is None:
        return False
    return same_number(said, reference, scoring.relative_tolerance, scoring.absolute_tolerance)


def choices_of(row: Row) -> list[str]:
    """Return the choices that a question gives; none where it gives none, or what stands there cannot be choices."""
    found = (row.metadata or {}).get(CHOICES)
    if not isinstance(found, list) or not all(isinstance(choice, str) and choice.strip() for choice in found):
        return []
    return found if 2 <= len(found) <= MOST_CHOICES else []


def _right_letter(row: Row) -> str:
    return chosen_letter(answer(row), choices_of(row), row.language)


def _letter(given: Given, scoring: Scoring) -> bool:
    return chosen_letter(given.text, choices_of(given.row), given.row.language) == _right_letter(given.row)


def _likelier(given: Given, scoring: Scoring) -> bool:
    return _is_right(given, given.choices)


def _likelier_for_its_length(given: Given, scoring: Scoring) -> bool:
    lengths = map(len, choices_of(given.row))
    return _is_right(given, [each / length for each, length in zip(given.choices, lengths, strict=True)])


def _is_right(given: Given, values: Sequence[float]) -> bool:
    return ord(_right_letter(given.row)) - ord("A") == int(np.argmax(values))


def _rouge_l(given: Given, scoring: Scoring) -> float:
    """Return ROUGE-L's F1 (Lin 2004), in English with the words of Google's rouge-score, without stemming.

    That package is not used: it has no release since 2022, no wheel, and no word in Chinese; tests compare with it.
    """
    pattern = _CHINESE_WORDS if given.row.language == "zh" else _ENGLISH_WORDS
    one, other = (pattern.findall(text.lower()) for text in (given.text, _reference(given)))
    if not one or not other:
        return 0.0
    longest = [0] * (len(other) + 1)  # common subsequence with the first so many words of the other
    for word in one:
        before = longest[:]
        for place, its in enumerate(other):
            longest[place + 1] = before[place] + 1 if word == its else max(before[place + 1], longest[place])
    return 2 * longest[-1] / (len(one) + len(other))


def _bleu_counts(given: Given, scoring: Scoring) -> Statistics:
    (counts,) = _BLEU[given.row.language]._extract_corpus_statistics([given.text], [[_reference(given)]])
    return tuple(map(float, counts))


def _chrf_counts(given: Given, scoring: Scoring) -> Statistics:
    (counts,) = _CHRF._extract_corpus_statistics([given.text], [[_reference(given)]])
    return tuple(map(float, counts))


def _labels(given: Given, scoring: Scoring) -> tuple[int, int]:
    """Return the places of the right label and of the one that was given; one behind the last: none."""
    labels = scoring.labels
    right, said = (named_label(text, labels, given.row.language) for text in (_reference(given), given.text))
    return labels.index(str(right)), len(labels) if said is None else labels.index(said)


def _right_label(given: Given, scoring: Scoring) -> bool:
    right, said = _labels(given, scoring)
    return right == said


def _label_counts(given: Given, scoring: Scoring) -> Statistics:
    right, said = _labels(given, scoring)
    places = range(len(scoring.labels))
    return tuple(float(value) for place in places for value in (place == right == said, place == said, place == right))


KINDS: Mapping[Metric, tuple[Callable[[Given, Scoring], Statistics], Figure]] = {
    "exact_match": _mean(lambda given, _: score(given.text, _reference(given), given.row.language)[0]),
    "f1": _mean(lambda given, _: score(given.text, _reference(given), given.row.language)[1]),
    "numeric": _mean(_numeric),
    "multiple_choice": _mean(_letter),
    "multiple_choice_likelihood": _mean(_likelier),
    "multiple_choice_likelihood_norm": _mean(_likelier_for_its_length),
    "rouge_l": _mean(_rouge_l),
    "chrf": (_chrf_counts, _chrf),
    "bleu": (_bleu_counts, _bleu),
    "classification": _mean(_right_label),
    "macro_f1": (_label_counts, _macro_f1),
    "refusal_rate": _mean(lambda given, _: is_refusal(given.text)),
    "perplexity": ((lambda given, _: (given.nll, float(given.tokens))), _perplexity),
}


# -- references that a metric cannot judge ----------------------------------------------------------------------------


def _no_number(row: Row, scoring: Scoring) -> str:
    reference = answer(row)
    marked = marked_part(reference)
    count = len(numbers_in(reference if marked is None else marked))
    if not count:
        return "its reference holds no number"
    return "" if count == 1 or marked is not None else "its reference holds several numbers; write #### before the one"


def _no_choice(row: Row, scoring: Scoring) -> str:
    choices = choices_of(row)
    if not choices:
        return f"its metadata has no {CHOICES}, a list of 2 to {MOST_CHOICES} texts"
    if len({tuple(words(choice, row.language)) for choice in choices}) < len(choices):
        return f"two of its {CHOICES} are the same answer"
    return "" if _right_letter(row) else f"its reference is neither the letter nor the text of one of its {CHOICES}"


def _no_label(row: Row, scoring: Scoring) -> str:
    said = label_words(answer(row), row.language)
    known = {label_words(label, row.language) for label in scoring.labels}
    return "" if said in known else "its reference is none of the labels"


MISFITS: Mapping[Metric, Callable[[Row, Scoring], str]] = {
    "numeric": _no_number,
    "multiple_choice": _no_choice,
    "multiple_choice_likelihood": _no_choice,
    "multiple_choice_likelihood_norm": _no_choice,
    "classification": _no_label,
    "macro_f1": _no_label,
}
