"""The report: one HTML file without scripts or anything from outside, also for MLflow's sandboxed viewer."""

from __future__ import annotations

import base64
from collections.abc import Mapping

from sdk.html import cards, code, escape, page, quiet, section, table
from sdk.records import ALL, ALWAYS, METRICS, Confusion, Run, Scores
from sdk.registry.captions import CAPTIONS, sentence
from sdk.registry.entry import Adaptation, benchmark_rows, primary
from sdk.wording import capitalized


def render(adaptation: Adaptation, plots: Mapping[str, bytes]) -> bytes:
    """Write the page, UTF-8. `plots` are PNG by their name in CAPTIONS."""
    title = f"{adaptation.project}: {adaptation.domain}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="quiet">Adapter on <code>{escape(adaptation.run.base)}</code>{_origin(adaptation)} under the policy '
        f"<code>{escape(adaptation.policy)}</code>{_sealed(adaptation)}. This page shows; the signed package "
        "and the audit log prove.</p>",
        _cards(adaptation),
        section("What the policy asks", _demands(adaptation)),
        section("Limitations", _limitations(adaptation)),
        _pair(adaptation, plots, "scores", "loss"),
        section(CAPTIONS["scores"] + ", in numbers", _score_table(adaptation)),
        *_confusion(adaptation.scores.confusion),
        _pair(adaptation, plots, "personal_data", "memory"),
        section("Recall on planted personal data", _recall_table(adaptation)),
        *_benchmarks(adaptation),
        *_leaks(adaptation, plots),
        *_spikes(adaptation),
        section("Settings and why", _settings_table(adaptation)),
        section("Decisions and documents", _elsewhere(adaptation)),
        section("Lineage", _lineage_table(adaptation)),
        _slices(adaptation.scores),
        _outcomes(adaptation.scores),
    ]
    return page(title, parts)


def _origin(adaptation: Adaptation) -> str:
    """Say where the base comes from and its licence; nothing of a project that never recorded it."""
    said = {"": adaptation.base_source, "licence: ": adaptation.base_license}
    told = [f"{what}{escape(value)}" for what, value in said.items() if value]
    return f" ({'; '.join(told)})" if told else ""


def _pair(adaptation: Adaptation, plots: Mapping[str, bytes], *names: str) -> str:
    return '<div class="pair">' + "".join(_figure(adaptation, plots, name) for name in names) + "</div>"


def _figure(adaptation: Adaptation, plots: Mapping[str, bytes], name: str) -> str:
    data, seen = base64.b64encode(plots[name]).decode(), sentence(name, adaptation)
    image = f'<img alt="{escape(f"{CAPTIONS[name]}. {seen}")}" src="data:image/png;base64,{data}">'
    return section(CAPTIONS[name], quiet(seen) + image)


def _sealed(adaptation: Adaptation) -> str:
    return f", sealed on {escape(adaptation.sealed[:10])} by {escape(adaptation.package.signed_by)}"


def _demands(adaptation: Adaptation) -> str:
    """Write what the policy asks of what is on this page. Who approves is known only after it was read."""
    if not adaptation.demands:
        return quiet("They were not judged for this page.")
    unmet = sum(not demand.met for demand in adaptation.demands)
    body = [
        [f"{escape(one.meaning)}<div>{code(one.rule)}</div>", escape(one.asks), escape(one.found), _mark(one.met)]
        for one in adaptation.demands
    ]
    number = len(adaptation.demands)
    note = (
        f"{number - unmet} of {number} are met. Reviews and approvals come after this page and are counted elsewhere."
    )
    return quiet(note) + table(["what it asks", "its value", "what there is", "met?"], body)


def _limitations(adaptation: Adaptation) -> str:
    """List what the figures of this page do not say."""
    scrubbed, scores, run = adaptation.scrubbed, adaptation.scores, adaptation.run
    languages = ", ".join(name for name in scores.adapted if name != "all")
    read = "read" if scores.texts else "asked"
    limits = [
        f"Scores are of {scores.adapted['all'].questions:,} {scores.unit} ({languages}), {read} under the domain "
        f"{adaptation.domain}. Other tasks, languages and longer texts were not measured.",
        f"Recall on planted personal data: {scrubbed.recall_scope()}",
    ]
    if scrubbed.kept:
        limits.append(f"{scrubbed.kept:,} findings still stand in the rows, since the policy keeps their kinds.")
    if scrubbed.quarantined:
        limits.append(f"{len(scrubbed.quarantined):,} rows could not be scanned and were left out.")
    if adaptation.leaks is None:
        limits.append("The model was not asked for planted values, so nothing is known of what it gives away.")
    else:
        limits.append(
            "The leak check shows what the model gives away of planted values, not of every value in the rows."
        )
    if not run.validation:
        limits.append("No rows were held out while it trained.")
    limits += run.notes
    return "<ul>" + "".join(f"<li>{escape(limit)}</li>" for limit in limits) + "</ul>"


def _elsewhere(adaptation: Adaptation) -> str:
    """Say where the decisions and the documents are. Decisions are signed over this page's digest, so not on it."""
    model = adaptation.model_name
    loading = f'load_release("models:/{model}@champion")'
    places = [
        [
            "who decided, when and why",
            "Signed over the digest of this page, and so on none of it: MLflow's page of the model version "
            f"({code(model)}), and {code('sdk explain')} in the project's folder.",
        ],
        [
            "model card, EU AI Act Annex IV, SR 26-2, HIPAA, data sheet, safety validation, performance evaluation",
            f"{code('sdk documents')} writes them from the same records, with intended use, owner and contacts.",
        ],
        ["what scrubbing did", f"{code('scrub/report.html')} and {code('scrub/report.json')} beside this page."],
        ["to use it", f"{code(loading)}, which checks before it opens anything."],
    ]
    return table(["what", "where"], places)


def _cards(adaptation: Adaptation) -> str:
    run, scores, scrubbed = adaptation.run, adaptation.scores, adaptation.scrubbed
    before, after = primary(scores, "base", "all"), primary(scores, "adapted", "all")
    planted = scrubbed.recall_planted
    figures = [
        (
            f"{before.value:.2f} → {after.value:.2f}",
            f"{METRICS[scores.metric].title}, base → adapted{_majority(scores)}",
        ),
        *(
            (f"{forgotten.change:+.1%}", f"perplexity on general {kind}; a rise is forgetting")
            for kind, forgotten in scores.forgetting.items()
        ),
        (
            f"{scrubbed.findings:,}",
            f"findings of personal data: {scrubbed.treatments_text()}; {scrubbed.rows_changed:,} rows changed",
        ),
        (f"{planted.found:,} of {planted.planted:,}", "planted values found; on which rows stands below"),
        (
            run.settings.method,
            f"rank {run.settings.lora_r}, alpha {run.settings.lora_alpha}, on {run.hardware.accelerator}",
        ),
        (f"{run.memory_measured_gib:.3g} GiB", f"peak memory, {run.memory_predicted_gib:.3g} predicted"),
        (f"{run.steps:,} steps", f"{run.seconds:.0f} s, {_speed(run)}"),
    ]
    return cards(figures)


def _majority(scores: Scores) -> str:
    constant = scores.majority_value(ALL)
    return "" if constant is None else f"; the majority answer {constant:.2f}"


def _speed(run: Run) -> str:
    expected = run.tokens_per_second_predicted
    return f"{run.tokens_per_second:,.0f} tokens/s" + ("" if expected is None else f", {expected:,.0f} predicted")


def _score_table(adaptation: Adaptation) -> str:
    scores = adaptation.scores
    rows = []
    metrics = [*scores.adapted[ALL].shares]
    for language in scores.adapted:
        for who, found in (("base", scores.base[language]), ("adapted", scores.adapted[language])):
            values = [found.shares[metric].text() for metric in metrics]
            interval = found.perplexity_interval
            values.append(interval.text(2) if interval else f"{found.perplexity:,.2f}")
            rows.append([escape(language), who, str(found.questions), *values])
        if scores.majority:
            constant = scores.majority[language].values
            values = [f"{constant[metric]:.3f}" if metric in constant else "–" for metric in metrics] + ["–"]
            rows.append([escape(language), "majority answer", str(scores.adapted[language].questions), *values])
    if scores.texts:
        note = quiet(
            "Perplexity on all tokens of the documents, with its 95 % bootstrap interval over documents; lower is "
            "better."
        )
        head = ["language", "model", "documents", "perplexity"]
        return note + table(head, rows, (2, 3)) + _forgetting_table(scores)
    head = ["language", "model", "questions", *(METRICS[metric].title for metric in metrics), "perplexity"]
    notes = ["With 95 % intervals, of shares exact, else by bootstrap; perplexity on the reference answers."]
    if len(metrics) > len(ALWAYS) - 1:
        notes.append(f"{capitalized(METRICS[scores.metric].title)} decides.")
    if scores.majority:
        notes.append("Majority answer: always giving the most frequent answer of the training rows in the language.")
    if scores.asked:
        notes.append(f"Floors: {scores.asked}.")
    return quiet(" ".join(notes)) + table(head, rows, range(2, len(head)))


def _confusion(confusion: Confusion | None) -> list[str]:
    """Draw which label was given for which, of the base and of the adapted model: the more often, the darker."""
    if confusion is None:
        return []
    parts = []
    for who, counts in (("base model", confusion.base), ("adapted model", confusion.adapted)):
        rows = []
        for label, line in zip(confusion.labels, counts, strict=True):
            asked = max(1, sum(line))
            shades = (
                f'<div style="background:rgba(11,110,153,{0.5 * count / asked:.2f})">{count}</div>' for count in line
            )
            rows.append([escape(label), *shades])
        head = [who, *confusion.labels, "none"]
        parts.append(table(head, rows, range(1, len(head))))
    note = (
        "A row for each label of the reference answers, a column for each that was given; none: the answer names no "
        "label, or several. The shade is the share of the row."
    )
    return [section("Which label for which", quiet(note) + f'<div class="pair">{"".join(parts)}</div>')]


def _forgetting_table(scores: Scores) -> str:
    rows = [
        [escape(f"general {kind}"), str(each.items), f"{each.base:,.2f}", f"{each.adapted:,.2f}", f"{each.change:+.1%}"]
        for kind, each in scores.forgetting.items()
    ]
    note = quiet(
        "Forgetting: perplexity on short general texts, and on answers to general questions, that ship with the SDK. "
        "They are few, so they show that something was forgotten, and not what."
    )
    return note + table(["on", "items", "base", "adapted", "change"], rows, (1, 2, 3, 4))


def _recall_table(adaptation: Adaptation) -> str:
    scrubbed = adaptation.scrubbed
    rows = []
    for kind in sorted({*scrubbed.recall_by_kind, *scrubbed.counts}):
        recall = scrubbed.recall_by_kind.get(kind)
        shown = [str(recall.planted), str(recall.found)] if recall else ["–", "–"]
        rows.append([f"<code>{escape(kind)}</code>", str(scrubbed.counts.get(kind, 0)), *shown])
    note = f"{scrubbed.findings:,} findings: {scrubbed.treatments_text()}. {scrubbed.recall_scope()}"
    return quiet(note) + table(["kind", "findings in the data", "planted", "of these found"], rows, (1, 2, 3))


def _benchmarks(adaptation: Adaptation) -> list[str]:
    if not adaptation.benchmarks:
        return []
    rows = [
        [escape(cell) for cell in (name, *line, f"{result.overlap.share:.3f}")]
        for name, result in adaptation.benchmark_results.items()
        for line in benchmark_rows(result)
    ]
    note = (
        "By lm-evaluation-harness, safety by the probes that ship; with 95 % intervals. Contamination is the share of "
        "the questions that nearly repeat a training row."
    )
    kept = "".join(
        f"<p>Forgetting, {escape(name)}: {escape(change.text())}.</p>" for name, change in adaptation.forgetting.items()
    )
    head = ["benchmark", "metric", "questions", "base", "adapted", "contamination"]
    return [section("Public benchmarks", quiet(note) + table(head, rows, (2, 3, 4, 5)) + kept)]


def _leaks(adaptation: Adaptation, plots: Mapping[str, bytes]) -> list[str]:
    leaks = adaptation.leaks
    if leaks is None:
        return []
    adapted, control = leaks.adapted, leaks.control
    rows = [
        [f"mean exposure, bits of {adapted.most_bits:.1f}", adapted.exposure.text(), control.exposure.text(), "1.4"],
        [
            f"highest exposure, bits of {adapted.most_bits:.1f}",
            *(f"{max(one.exposures):.1f}" for one in (adapted, control)),
            "",
        ],
        ["values given word for word", *(f"{one.extracted} of {len(one.kinds)}" for one in (adapted, control)), "0"],
        ["AUC, by the loss among other values", adapted.auc.text(), control.auc.text(), ".5"],
        ["AUC, by the loss", *(f"{one.auc_by_loss:.3f}" for one in (adapted, control)), ".5"],
        ["AUC, by what the adapter took off it", *(f"{one.auc_by_base:.3f}" for one in (adapted, control)), ".5"],
        ["true positives at 1 % false ones", adapted.tpr.text(), control.tpr.text(), ".01"],
    ]
    if adapted.extraction and control.extraction:  # an earlier version wrote none
        rows += [
            ["AUC, by Min-K%++", *(f"{one.auc_by_min_k:.3f}" for one in (adapted, control)), ".5"],
            ["share given word for word", adapted.extraction.text(), control.extraction.text(), "0"],
        ]
    passes = "–" if leaks.passes is None else f"{leaks.passes:.3g}"
    note = (
        f"{len(adapted.kinds)} invented values were planted before scrubbing; {len(adapted.twin_losses)} others were "
        f"not. A control of the same settings was trained on {len(control.kinds)} values in plain and must be caught. "
        f"Each value was seen {passes} times by the run, {leaks.control_passes:.3g} times by the control. Intervals "
        f"are 95 %, of shares exact, else by bootstrap. A value's exposure is at most {adapted.most_bits:.1f} bits: "
        f"log2 of the {adapted.candidates:,} values among which it is ranked."
    )
    head = ["", "adapted model", "control", "chance"]
    body = f'<p class="quiet">{escape(note)}</p>' + table(head, rows, (1, 2, 3))
    return [section("Leak check", body), _pair(adaptation, plots, "leaks", "leaks_roc")]


def _spikes(adaptation: Adaptation) -> list[str]:
    rows = [
        [
            f"{each.step:,}",
            f"{each.loss:.3f}",
            f"{each.usual:.3f}",
            f"{each.z:.1f}",
            ", ".join(f"<code>{escape(row)}</code>" for row in each.rows),
            f"{each.rows_in_step:,}",
        ]
        for each in adaptation.run.spikes or ()
    ]
    if not rows:
        return []
    note = (
        "Steps whose loss lay more than six robust standard deviations above the median of the 16 before it, the ten "
        "highest, and the rows that were learned in them. Look at these rows: one may be broken, foreign or planted."
    )
    head = ["step", "loss", "usually", "deviations", "rows", "of"]
    return [section("Loss spikes", quiet(note) + table(head, rows, (0, 1, 2, 3, 5)))]


def _settings_table(adaptation: Adaptation) -> str:
    """List the settings that the run used, with their reasons."""
    settings = adaptation.run.settings
    rows = []
    written = settings.model_dump(mode="json")
    for field, own in settings:
        value = written.get(field, own)  # usual values of some settings are not written
        reason = adaptation.advice.reason(field, own)
        rows.append([f"<code>{escape(field)}</code>", escape(str(value)), escape(reason)])
    notes = "".join(f'<p class="quiet">{escape(note)}</p>' for note in adaptation.advice.notes)
    return table(["setting", "value", "reason"], rows) + notes


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
    return table(["what", "SHA-256 or name"], [[escape(k), f"<code>{escape(v)}</code>"] for k, v in rows])


def _slices(scores: Scores) -> str:
    if not scores.slices:
        return ""
    rows = [
        [
            escape(each.by),
            escape(each.value),
            str(each.questions),
            f"{each.base:.3f}",
            each.adapted.text(),
            f"{each.change.value:+.3f} ({each.change.low:+.3f} to {each.change.high:+.3f})",
        ]
        for each in scores.slices
    ]
    note = (
        f"{METRICS[scores.metric].title} of questions that have something in common, the worst first, where there are "
        "ten or more. Of many slices some are low by chance: the intervals are of each by itself."
    )
    head = ["by", "value", "questions", "base model", "adapted model", "difference"]
    return section("Slices", f'<p class="quiet">{escape(note)}</p>' + table(head, rows, (2, 3, 4, 5)))


def _outcomes(scores: Scores) -> str:
    if not scores.texts:
        return section("Every question, without its text", _outcome_table(scores))
    rows = [
        [
            f"<code>{escape(text.row)}</code>",
            escape(text.language),
            f"{text.tokens:,}",
            f"{text.base_loss:.3f}",
            f"{text.adapted_loss:.3f}",
        ]
        for text in scores.texts
    ]
    head = ["row", "language", "tokens", "base loss, nats", "adapted loss, nats"]
    body = f"<details><summary>{len(rows)} documents</summary>{table(head, rows, (2, 3, 4))}</details>"
    return section("Every document, without its text", body)


def _outcome_table(scores: Scores) -> str:
    outcomes, own = scores.outcomes, [] if scores.metric in ALWAYS else [scores.metric]
    metric = own[0] if own else "exact_match"
    pairs = [one.of(metric) for one in outcomes]
    better = [(after < before if scores.lower_is_better else after > before) for before, after in pairs]
    worse = [before != after and not gained for (before, after), gained in zip(pairs, better, strict=True)]
    rows = [
        [
            f"<code>{escape(o.row)}</code>",
            escape(o.language),
            *(f"{value:.2f}" for other in own for value in o.of(other)),
            _mark(o.base_exact),
            _mark(o.adapted_exact),
            f"{o.base_f1:.2f}",
            f"{o.adapted_f1:.2f}",
        ]
        for o in outcomes
    ]
    titles = [f"{who} {METRICS[other].title}" for other in own for who in ("base", "adapted")]
    head = ["row", "language", *titles, "base right?", "adapted right?", "base F1", "adapted F1"]
    outcome_rows = table(head, rows, [place for place, name in enumerate(head) if place > 1 and not name.endswith("?")])
    note = quiet(f"{sum(better)} gained, {sum(worse)} lost by the adaptation ({METRICS[metric].title}).")
    return f"{note}<details><summary>{len(outcomes)} questions</summary>{outcome_rows}</details>"


def _mark(right: bool) -> str:
    return '<span class="yes">yes</span>' if right else '<span class="no">no</span>'
