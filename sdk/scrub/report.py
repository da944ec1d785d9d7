"""The report of a scrubbing: one HTML file without scripts or anything from outside, and the same as JSON.

Counts, offsets in the ledger, shapes of values: never a value.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sdk.html import cards, code, escape, page, quiet, section, table
from sdk.intervals import share
from sdk.policy import ScrubRules
from sdk.records import NO_GROUPS, Recall, Scrubbed, canonical_json
from sdk.scrub import HTML, JSON
from sdk.scrub.statistics import ALL, BETWEEN, MOST_FORMS, RowStatistics

FORMAT = 1  # of the JSON
NOT_TEXT = frozenset({"BIOMETRIC", "IMAGE_DATA"})  # what stands for them is flagged and removed
LENGTHS = (
    "Messages by their number of characters. Both colours should have much the same heights: where the blue bars lie "
    "far to the left, much was taken out."
)
PER_ROW = "Rows by their number of findings. Those with 0 are where misses hide: a review looks at them too."
BEFORE, AFTER = "#9aa5b1", "#0b6e99"
WIDTH, HEIGHT, FLOOR, LEFT = 520, 210, 160, 8  # of a histogram, SVG units


def report(record: Scrubbed, statistics: RowStatistics, rules: ScrubRules) -> dict[str, bytes]:
    """Return file name -> bytes of the report."""
    values = report_values(record, statistics, rules)
    return {HTML: render(values), JSON: canonical_json(values) + b"\n"}


def report_values(record: Scrubbed, statistics: RowStatistics, rules: ScrubRules) -> dict[str, Any]:
    """Return all that the report says, as JSON."""
    return {
        "format": FORMAT,
        "rows": dict(record.rows),
        "formats": dict(record.formats),
        "languages": _ordered(statistics.languages),
        "rows_changed": record.rows_changed,
        "canaries": record.canaries,
        "duplicates": record.duplicates,
        "texts": record.texts.model_dump(mode="json") if record.texts else None,
        "quarantined": [one.model_dump(mode="json") for one in record.quarantined],
        "name_columns": list(record.name_columns),
        "seconds": record.seconds,
        "findings": record.findings,
        "treatments": record.treatments,
        "counts": dict(record.counts),
        "by_kind_and_action": {kind: _ordered(counts) for kind, counts in sorted(statistics.actions.items())},
        "by_kind_and_recognizer": {kind: _ordered(counts) for kind, counts in sorted(statistics.recognizers.items())},
        "recall": {
            "min_recall": rules.min_recall,
            "scope": record.recall_scope(),
            "all": _recall(record.recall_planted),
            "by_kind": {kind: _recall(recall) for kind, recall in sorted(record.recall_by_kind.items())},
            "unplanted_findings": record.unplanted_findings,
        },
        "k_anonymity": {
            "quasi_identifiers": list(rules.quasi_identifiers),
            "min_k": rules.min_k,
            "k": record.smallest_group if rules.quasi_identifiers else None,
            "groups": len(statistics.groups),
            "rows_below_min_k": statistics.rows_below(rules.min_k),
        },
        "identifiers": [_identifier(name, kinds, record) for name, kinds in rules.identifiers.items()],
        "cost": _cost(record, statistics),
        "shapes": {kind: sorted(shapes) for kind, shapes in sorted(statistics.shapes.items()) if shapes},
        "histograms": {
            "message_characters_before": _by_size(statistics.before),
            "message_characters_after": _by_size(statistics.after),
            "findings_per_row": _by_size(statistics.per_row),
        },
        "ledger": {"path": record.ledger.path, "sha256": record.ledger.sha256, "bytes": record.ledger.size},
    }


def _cost(record: Scrubbed, statistics: RowStatistics) -> dict[str, Any]:
    """Describe what scrubbing took, in rows, words and answers; forms of values instead of values."""
    answers = statistics.answers
    kinds = sorted({*statistics.rows_by_kind, *statistics.words} - {ALL})
    # by count, then by name, so that the same rows give the same page
    forms = sorted(statistics.forms.items(), key=lambda item: (-item[1], item[0]))[:MOST_FORMS]
    return {
        "words": statistics.words[ALL],
        "words_taken": sum(count for kind, count in statistics.words.items() if kind != ALL),
        "by_kind": {kind: {"rows": statistics.rows_by_kind[kind], "words": statistics.words[kind]} for kind in kinds},
        "answers": {name: answers[name] for name in ("answers", "whole", "derivable", "terms", "terms_left")},
        "taken_most_often": [
            {"kind": kind, "form": shown, "findings": count}
            for (kind, _, shown), count in ((name.partition(BETWEEN), count) for name, count in forms)
        ],
    }


def _identifier(name: str, kinds: Sequence[str], record: Scrubbed) -> dict[str, Any]:
    """Describe an identifier that the policy's rule names, with the kinds that stand for it; each has a detector."""
    recalls = [record.recall_by_kind[kind] for kind in kinds if kind in record.recall_by_kind]
    return {
        "identifier": name,
        "kinds": list(kinds),
        "findings": sum(record.counts.get(kind, 0) for kind in kinds),
        "planted": sum(recall.planted for recall in recalls),
        "found": sum(recall.found for recall in recalls),
        "text": not NOT_TEXT.issuperset(kinds),
    }


def _ordered(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items()))


def _by_size(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: int(item[0].partition("-")[0])))


def _recall(recall: Recall) -> dict[str, Any]:
    values: dict[str, Any] = {"planted": recall.planted, "found": recall.found}
    if recall.planted:
        value, low, high = share(recall.found, recall.planted)
        values |= {"recall": round(value, 6), "low": round(low, 6), "high": round(high, 6)}
    return values


def render(values: Mapping[str, Any]) -> bytes:
    """Return the page of what `report_values` says, UTF-8."""
    histograms = values["histograms"]
    lengths = {
        "before": histograms["message_characters_before"],
        "after": histograms["message_characters_after"],
    }
    rows = ", ".join(f"{count:,} of {split}" for split, count in values["rows"].items())
    formats = ", ".join(f"{split}: {layout}" for split, layout in values["formats"].items())
    canaries = f" Beside them {values['canaries']:,} canaries for the leak check." if values["canaries"] else ""
    return page(
        "Scrubbing",
        [
            "<h1>Scrubbing</h1>",
            quiet(
                f"Rows: {rows} ({formats}).{canaries} No value that was found stands on this page, nor in the ledger."
            ),
            _cards(values),
            '<div class="pair">',
            section("Characters in a message", quiet(LENGTHS) + _histogram(lengths, "messages")),
            section("Findings in a row", quiet(PER_ROW) + _histogram({"rows": histograms["findings_per_row"]}, "rows")),
            "</div>",
            section("By kind and action", _kinds(values)),
            section("What it cost", _costs(values)),
            section("Taken most often", _most_often(values["cost"]["taken_most_often"])),
            section("By kind and recognizer", _recognizers(values["by_kind_and_recognizer"])),
            section("Recall on planted personal data", _recalls(values["recall"])),
            *([section("Identifiers that the policy maps", _identifiers(values))] if values["identifiers"] else ()),
            section("k-anonymity", _anonymity(values["k_anonymity"])),
            section("Rows left out", _left_out(values)),
            section("Ledger", _ledger(values["ledger"])),
        ],
    )


def _cards(values: Mapping[str, Any]) -> str:
    recall, anonymity = values["recall"]["all"], values["k_anonymity"]
    total = sum(values["rows"].values())
    figures = [
        (
            f"{values['findings']:,}",
            f"findings of {len(values['counts'])} kinds: "
            + (", ".join(f"{count:,} {said}" for said, count in values["treatments"].items()) or "none found"),
        ),
        (f"{values['rows_changed']:,}", f"rows changed of {total:,} that were written"),
        (
            f"{recall['recall']:.1%}" if recall["planted"] else "–",
            f"recall on {recall['planted']:,} planted spans"
            + (f", {recall['low']:.1%} to {recall['high']:.1%}" if recall["planted"] else ""),
        ),
        (
            NO_GROUPS if anonymity["k"] is None else f"{anonymity['k']:,}",
            "k-anonymity: rows in the smallest group that shares its quasi-identifiers",
        ),
        (
            f"{len(values['quarantined']):,}",
            f"rows quarantined, and left out; {values['duplicates']:,} repeat another exactly",
        ),
    ]
    return cards(figures)


def _kinds(values: Mapping[str, Any]) -> str:
    actions = sorted({action for counts in values["by_kind_and_action"].values() for action in counts})
    rows = []
    for kind, counts in values["by_kind_and_action"].items():
        numbers = [f"{counts[action]:,}" if action in counts else "" for action in actions]
        shapes = ", ".join(map(code, values["shapes"].get(kind, ())))
        rows.append([code(kind), f"{sum(counts.values()):,}", *numbers, shapes])
    note = "Shapes: 0 is a digit, A and a are letters, 汉 is a Chinese character; a few of each kind, by chance."
    head = ["kind", "findings", *actions, "shapes"]
    columns = ", ".join(map(code, values["name_columns"]))
    named = f'<p class="quiet">Fields that were taken for columns of names: {columns}.</p>' if columns else ""
    return quiet(note) + named + table(head, rows, range(1, len(head) - 1)) if rows else quiet("Nothing was found.")


def _costs(values: Mapping[str, Any]) -> str:
    cost, total = values["cost"], sum(values["rows"].values())
    answers = cost["answers"]
    rows = [
        [
            code(kind),
            f"{one['rows']:,}",
            _percent(one["rows"], total),
            f"{one['words']:,}",
            _percent(one["words"], cost["words"]),
        ]
        for kind, one in sorted(cost["by_kind"].items(), key=lambda item: (-item[1]["words"], item[0]))
    ]
    note = quiet(
        f"{cost['words_taken']:,} of {cost['words']:,} words of messages were changed "
        f"({_percent(cost['words_taken'], cost['words'])}); what the policy keeps counts as unchanged."
    )
    if answers["answers"]:
        note += quiet(
            f"Answers: {answers['whole']:,} of {answers['answers']:,} are whole, and {answers['derivable']:,} can "
            "still be told from their question: none of the longer words that both had is gone from the question. "
            f"{answers['terms_left']:,} of {answers['terms']:,} longer words of the questions are left "
            f"({_percent(answers['terms_left'], answers['terms'])})."
        )
    head = ["kind", "rows changed", "of all rows", "words changed", "of all words"]
    return note + (table(head, rows, range(1, 5)) if rows else "")


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.2%}" if whole else "–"


def _most_often(forms: Sequence[Mapping[str, Any]]) -> str:
    note = quiet(
        "Look at these first: A stands for capitals, a for small letters, 0 for digits, 汉 for Chinese characters, "
        "each for any number of them. Persons of the form a are often ordinary words, organizations of the form A "
        "abbreviations. What is none, a domain keeps: its terms and patterns stand in domain.yaml under keep."
    )
    rows = [[code(one["kind"]), code(one["form"]), f"{one['findings']:,}"] for one in forms]
    return note + table(["kind", "form", "findings"], rows, (2,)) if rows else quiet("Nothing was changed.")


def _recognizers(found: Mapping[str, Mapping[str, int]]) -> str:
    rows = []
    for kind, counts in found.items():
        by_count = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        rows.append([code(kind), ", ".join(f"{escape(name)}&nbsp;{count:,}" for name, count in by_count)])
    return table(["kind", "found by"], rows) if rows else quiet("Nothing was found.")


def _recalls(recall: Mapping[str, Any]) -> str:
    rows = [
        [name, f"{one['planted']:,}", f"{one['found']:,}", *_shown(one)]
        for name, one in [("all", recall["all"]), *((code(kind), one) for kind, one in recall["by_kind"].items())]
    ]
    note = (
        f"{recall['scope']} Found: no character of the planted span was left, under whatever kind. The policy asks "
        f"for {recall['min_recall']:.0%}. Intervals are 95 %, Clopper-Pearson. Findings beside planted spans: "
        f"{recall['unplanted_findings']:,}."
    )
    return quiet(note) + table(["kind", "planted", "found", "recall", "95 % interval"], rows, (1, 2, 3, 4))


def _shown(one: Mapping[str, Any]) -> list[str]:
    if not one["planted"]:
        return ["–", "–"]
    return [f"{one['recall']:.3f}", f"{one['low']:.3f} – {one['high']:.3f}"]


def _identifiers(values: Mapping[str, Any]) -> str:
    rows = []
    for one in values["identifiers"]:
        status = "looked for" if one["text"] else "not text: flagged"
        planted = f"{one['found']:,} of {one['planted']:,}" if one["planted"] else "–"
        numbers = [f"{one['findings']:,}", planted]
        rows.append([escape(one["identifier"]), ", ".join(map(code, one["kinds"])), *numbers, status])
    head = ["identifier", "kinds", "findings", "planted, found", "status"]
    return table(head, rows, (2, 3))


def _anonymity(values: Mapping[str, Any]) -> str:
    names = values["quasi_identifiers"]
    if not names:
        return quiet("The policy declares no quasi-identifiers (scrub.quasi_identifiers), so nothing was grouped.")
    verdict = '<span class="yes">kept</span>' if values["k"] >= values["min_k"] else '<span class="no">not kept</span>'
    rows = [
        ["quasi-identifiers", ", ".join(map(code, names))],
        ["groups of rows that share them all", f"{values['groups']:,}"],
        ["rows in the smallest group (k)", f"{values['k']:,}"],
        ["least that the policy asks for (scrub.min_k)", f"{values['min_k']:,}: {verdict}"],
        ["rows in smaller groups", f"{values['rows_below_min_k']:,}"],
    ]
    return table(["what", "value"], rows)


def _left_out(values: Mapping[str, Any]) -> str:
    rows: Sequence[Mapping[str, str]] = values["quarantined"]
    note = quiet(
        f"{len(rows):,} rows could not be scanned and were quarantined. {values['duplicates']:,} rows repeat an "
        "earlier one exactly; they were scanned once and written all the same."
    )
    if texts := values["texts"]:
        note += quiet(
            f"{texts['near_duplicates']:,} of {texts['documents']:,} documents were left out as near-duplicates: they "
            f"share {texts['similarity']:.0%} or more of their five-word sequences with another one, by an estimate. "
            f"{texts['held_out']:,} documents were held out. {texts['mixed_rows']:,} conversations were mixed in: "
            f"{texts['mix']:.1%} of the characters of the training rows."
        )
    if not rows:
        return note
    cells = [[escape(one["split"]), code(one["row"]), code(one["error"])] for one in rows]
    listed = table(["split", "row", "why"], cells)
    return f"{note}<details><summary>{len(rows):,} quarantined rows</summary>{listed}</details>"


def _ledger(ledger: Mapping[str, Any]) -> str:
    rows = [[code(ledger["path"]), f"{ledger['bytes']:,}", code(ledger["sha256"])]]
    note = "Row, message, offsets, kind and action of every finding; no text."
    return quiet(note) + table(["file", "bytes", "SHA-256"], rows, (1,))


def _histogram(series: Mapping[str, Mapping[str, int]], unit: str) -> str:
    """Draw bars of one or two series beside each other, one group for each class of sizes."""
    classes = list(_by_size(sum((Counter(counts) for counts in series.values()), Counter[str]())))
    highest = max((count for counts in series.values() for count in counts.values()), default=0)
    if not highest:
        return quiet("none")
    step = (WIDTH - 2 * LEFT) / len(classes)
    bar = min(34.0, step * 0.8 / len(series))
    colors = dict(zip(series, (BEFORE, AFTER) if len(series) > 1 else (AFTER,), strict=True))
    parts = [f'<line x1="{LEFT}" x2="{WIDTH - LEFT}" y1="{FLOOR}" y2="{FLOOR}" stroke="#c9d2dc"/>']
    for place, name in enumerate(classes):
        middle = LEFT + step * (place + 0.5)
        for index, (label, counts) in enumerate(series.items()):
            count = counts.get(name, 0)
            height = 130 * count / highest
            x = middle + (index - len(series) / 2) * bar
            parts.append(
                f'<rect x="{x:.1f}" y="{FLOOR - height:.1f}" width="{bar - 1:.1f}" height="{height:.1f}" '
                f'fill="{colors[label]}"><title>{escape(label)}, {name}: {count:,}</title></rect>'
            )
            if len(series) == 1:
                parts.append(_text(x + bar / 2, FLOOR - height - 5, f"{count:,}", 10))
        parts.append(_text(middle, FLOOR + 15, name, 10 if step > 44 else 8))
    if len(series) > 1:
        parts += [
            f'<rect x="{LEFT + 90 * place}" y="{HEIGHT - 14}" width="10" height="10" fill="{colors[label]}"/>'
            + _text(LEFT + 90 * place + 15, HEIGHT - 5, label, 11, "start")
            for place, label in enumerate(series)
        ]
    parts.append(_text(WIDTH - LEFT, 12, f"{unit}; most {highest:,}", 11, "end"))
    shown = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">'
    return shown + "".join(parts) + "</svg>"


def _text(x: float, y: float, text: str, size: int, anchor: str = "middle") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}"'
    return f'<text {place} fill="#62748a">{escape(text)}</text>'
