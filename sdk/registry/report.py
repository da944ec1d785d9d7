"""The report: one HTML file without scripts or anything from outside, also for MLflow's sandboxed viewer."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from sdk.records import Interval, Outcome, Run
from sdk.registry.entry import SHARE, Adaptation, primary

STYLE = """
:root { color-scheme: light; }
body { margin: 0; background: #f3f6f9; color: #243b53;
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, Arial, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 17px; margin: 0 0 12px; }
p { margin: 0 0 10px; } .quiet { color: #62748a; }
section { background: #fff; border: 1px solid #e3e8ee; border-radius: 10px; padding: 18px 20px; margin-top: 18px; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); gap: 12px; margin-top: 18px; }
.card { background: #fff; border: 1px solid #e3e8ee; border-radius: 10px; padding: 12px 16px; }
.card b { display: block; font-size: 23px; color: #0b6e99; } .card span { color: #62748a; font-size: 13px; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(400px, 1fr)); gap: 18px; }
img { display: block; width: 100%; height: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th { text-align: left; color: #62748a; font-weight: 600; } th, td { padding: 5px 10px 5px 0; vertical-align: top; }
tr + tr td, thead + tbody td { border-top: 1px solid #e3e8ee; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
code { font: 12.5px ui-monospace, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
.yes { color: #14794a; } .no { color: #b4432a; }
details summary { cursor: pointer; font-weight: 600; }
"""
CAPTIONS = {
    "scores": "Scores before and after",
    "loss": "Loss",
    "personal_data": "Personal data by kind",
    "memory": "Memory",
}


def render(adaptation: Adaptation, plots: Mapping[str, bytes]) -> bytes:
    """The page, UTF-8. `plots` are PNG by their name in CAPTIONS."""
    title = f"{adaptation.project}: {adaptation.domain}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="quiet">Adapter on <code>{escape(adaptation.run.base)}</code> under the policy '
        f"<code>{escape(adaptation.policy)}</code>. This page shows; the signed package and the audit trail prove.</p>",
        _cards(adaptation),
        '<div class="pair">' + "".join(_figure(plots, name) for name in ("scores", "loss")) + "</div>",
        _section(CAPTIONS["scores"] + ", in numbers", _score_table(adaptation)),
        '<div class="pair">' + "".join(_figure(plots, name) for name in ("personal_data", "memory")) + "</div>",
        _section("Recall on planted personal data", _recall_table(adaptation)),
        _section("Settings and why", _settings_table(adaptation)),
        _section("Lineage", _lineage_table(adaptation)),
        _section("Every question, without its text", _outcome_table(adaptation.scores.outcomes)),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body><main>\n"
        + "\n".join(parts)
        + "\n</main></body></html>\n"
    ).encode()


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>"


def _figure(plots: Mapping[str, bytes], name: str) -> str:
    data = base64.b64encode(plots[name]).decode()
    return _section(CAPTIONS[name], f'<img alt="{escape(CAPTIONS[name])}" src="data:image/png;base64,{data}">')


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """`rows` hold HTML; columns in `numbers` are set to the right."""

    def line(cells: Sequence[str], tag: str) -> str:
        shown = (
            f'<{tag} class="number">{cell}</{tag}>' if index in numbers else f"<{tag}>{cell}</{tag}>"
            for index, cell in enumerate(cells)
        )
        return f"<tr>{''.join(shown)}</tr>"

    body = "".join(line(row, "td") for row in rows)
    return f"<table><thead>{line([escape(h) for h in head], 'th')}</thead><tbody>{body}</tbody></table>"


def _cards(adaptation: Adaptation) -> str:
    run, scores, scrubbed = adaptation.run, adaptation.scores, adaptation.scrubbed
    before, after = primary(scores, "base", "all"), primary(scores, "adapted", "all")
    planted = scrubbed.recall_planted
    gpu = f"{run.hardware.gpu_count} x {run.hardware.gpu}" if run.hardware.gpu_count else "CPU"
    cards = [
        (f"{before.value:.2f} → {after.value:.2f}", f"{SHARE[scores.metric]}, base → adapted"),
        (f"{sum(scrubbed.counts.values()):,}", f"personal data removed, in {scrubbed.rows_changed:,} rows"),
        (f"{planted.found} of {planted.planted}", "planted personal data found"),
        (run.settings.method, f"rank {run.settings.lora_r}, alpha {run.settings.lora_alpha}, on {gpu}"),
        (f"{run.memory_measured_gib:.3g} GiB", f"peak memory, {run.memory_predicted_gib:.3g} predicted"),
        (f"{run.steps:,} steps", f"{run.seconds:.0f} s, {_speed(run)}"),
    ]
    shown = "".join(f'<div class="card"><b>{escape(big)}</b><span>{escape(small)}</span></div>' for big, small in cards)
    return f'<div class="cards">{shown}</div>'


def _speed(run: Run) -> str:
    expected = run.tokens_per_second_predicted
    return f"{run.tokens_per_second:,.0f} tokens/s" + ("" if expected is None else f", {expected:,.0f} predicted")


def _score_table(adaptation: Adaptation) -> str:
    scores = adaptation.scores
    rows = []
    for language in scores.adapted:
        for who, found in (("base", scores.base[language]), ("adapted", scores.adapted[language])):
            values = [_interval(found.exact_match), _interval(found.f1), f"{found.perplexity:,.2f}"]
            rows.append([escape(language), who, str(found.questions), *values])
    head = ["language", "model", "questions", "exact match", "token F1", "perplexity"]
    note = '<p class="quiet">Mean with its 95 % bootstrap interval; perplexity on the reference answers.</p>'
    return note + _table(head, rows, (2, 3, 4, 5))


def _interval(interval: Interval) -> str:
    return f"{interval.value:.3f} ({interval.low:.3f} – {interval.high:.3f})"


def _recall_table(adaptation: Adaptation) -> str:
    scrubbed = adaptation.scrubbed
    rows = []
    for kind in sorted({*scrubbed.recall_by_kind, *scrubbed.counts}):
        recall = scrubbed.recall_by_kind.get(kind)
        shown = [str(recall.planted), str(recall.found)] if recall else ["–", "–"]
        rows.append([f"<code>{escape(kind)}</code>", str(scrubbed.counts.get(kind, 0)), *shown])
    actions = ", ".join(f"{action} {count}" for action, count in sorted(scrubbed.actions.items())) or "none"
    note = f'<p class="quiet">Actions: {escape(actions)}.</p>'
    return note + _table(["kind", "findings in the data", "planted", "of these found"], rows, (1, 2, 3))


def _settings_table(adaptation: Adaptation) -> str:
    """What the run used; a reason is shown only where the run did what was advised."""
    advised = adaptation.advice.settings.model_dump(mode="json")
    rows = []
    for field, value in adaptation.run.settings.model_dump(mode="json").items():
        reason = adaptation.advice.reasons.get(field, "") if value == advised[field] else "set by hand"
        rows.append([f"<code>{escape(field)}</code>", escape(str(value)), escape(reason)])
    notes = "".join(f'<p class="quiet">{escape(note)}</p>' for note in adaptation.advice.notes)
    return _table(["setting", "value", "reason"], rows) + notes


def _lineage_table(adaptation: Adaptation) -> str:
    package, scrubbed, run = adaptation.package, adaptation.scrubbed, adaptation.run
    rows = [
        ("package", package.package),
        ("signed by", f"{package.signed_by}, key {package.key_fingerprint}"),
        ("weights in the package", "encrypted" if package.encrypted else "not encrypted"),
        *((f"record of {kind}", digest) for kind, digest in adaptation.digests.items()),
        *((f"{split} data, scrubbed", ref.sha256) for split, ref in scrubbed.data.items()),
        *((f"adapter file {ref.path}", ref.sha256) for ref in run.adapter),
        ("versions", ", ".join(f"{name} {version}" for name, version in sorted(run.versions.items()))),
    ]
    return _table(["what", "SHA-256 or name"], [[escape(k), f"<code>{escape(v)}</code>"] for k, v in rows])


def _outcome_table(outcomes: Sequence[Outcome]) -> str:
    gained = sum(o.adapted_exact and not o.base_exact for o in outcomes)
    lost = sum(o.base_exact and not o.adapted_exact for o in outcomes)
    rows = [
        [
            f"<code>{escape(o.row)}</code>",
            escape(o.language),
            _mark(o.base_exact),
            _mark(o.adapted_exact),
            f"{o.base_f1:.2f}",
            f"{o.adapted_f1:.2f}",
        ]
        for o in outcomes
    ]
    table = _table(["row", "language", "base right?", "adapted right?", "base F1", "adapted F1"], rows, (4, 5))
    note = f'<p class="quiet">{gained} gained, {lost} lost by the adaptation (exact match).</p>'
    return f"{note}<details><summary>{len(outcomes)} questions</summary>{table}</details>"


def _mark(right: bool) -> str:
    return '<span class="yes">yes</span>' if right else '<span class="no">no</span>'
