"""All documents of a dossier, as text and as files."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from sdk.documents.bilingual import in_both_languages
from sdk.documents.card import front_matter
from sdk.documents.dossier import Dossier
from sdk.documents.facts import facts
from sdk.documents.pages import to_html
from sdk.documents.render import render
from sdk.files.store import write_atomic

Format = Literal["md", "html", "both"]
MODEL_CARD = "model-card"
TITLES = {  # template -> title
    MODEL_CARD: "Model card",
    "eu-ai-act-annex-iv": "Technical documentation, Annex IV of Regulation (EU) 2024/1689",
    "sr-26-2": "Model document, SR 26-2",
    "hipaa-de-identification": "De-identification statement, 45 CFR 164.514(b)(2)",
    "data-sheet": "Data sheet",
    "safety-validation": "Safety validation · 安全验证",
    "performance-evaluation": "Performance evaluation · 性能评估",
}
IN_BOTH_LANGUAGES = ("safety-validation.md", "performance-evaluation.md")
LINKS = frozenset(f"{name}.md" for name in TITLES)


def documents(dossier: Dossier) -> dict[str, str]:
    """Write all documents: file name -> Markdown. The same records give the same bytes; no clock is asked."""
    values = facts(dossier)
    texts = {
        f"{name}.md": render(
            name,
            {**values, "title": title, "others": [(f"{o}.md", TITLES[o]) for o in TITLES if o != name]},
        )
        for name, title in TITLES.items()
    }
    card = f"{MODEL_CARD}.md"
    texts |= {name: in_both_languages(texts[name]) for name in IN_BOTH_LANGUAGES}
    return {**texts, card: front_matter(dossier) + texts[card]}


def write(dossier: Dossier, folder: Path, form: Format = "both") -> tuple[Path, ...]:
    """Write all into the folder, over earlier ones; return the paths in order. StepFailed: one cannot be written."""
    files: dict[Path, bytes] = {}
    for (name, text), title in zip(documents(dossier).items(), TITLES.values(), strict=True):
        if form != "html":
            files[folder / name] = text.encode()
        if form != "md":
            files[(folder / name).with_suffix(".html")] = to_html(text, f"{title}: {dossier.project}", LINKS)
    for path, data in files.items():
        write_atomic(path, data)
    return tuple(files)
