"""The rows: scrubbing them, reviewing a sample, and revealing what stands behind a token."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from sdk.audit import account
from sdk.data import Held, RowsFile, each_written_row, holds_texts, read_rows, rows_digest
from sdk.data.canaries import canary_rows, planted_kinds
from sdk.errors import InvalidInput, MissingExtra, Refused
from sdk.files.regular_files import TABLE_BYTES, FileBytes
from sdk.files.store import read_ref
from sdk.policy import AfterScrub, BeforeScrub, Contamination
from sdk.project.domain_metrics import require_metrics_fit
from sdk.project.inputs import CANARIES, EVAL, common_inputs, reviews_of, settings_digest
from sdk.project.own_settings import named_columns
from sdk.project.perform import Request, recorded
from sdk.project.state import ProjectState
from sdk.records import Columns, OnProgress, Overlap, Review, Scrubbed
from sdk.review import Judge, ReviewProgress, conclude, draw, judge_rows, read_drawn, read_misses, sample_size
from sdk.scrub import TOKEN_TABLE, kind_of, reveal


class Mix(NamedTuple):
    """Conversations that are mixed into running text. share: of all characters; data: None: the domain's own rows."""

    share: float = 0.0
    data: str | Path | None = None

    @property
    def stated(self) -> dict[str, float]:
        """What the request's digest says of it; nothing where nothing is mixed in."""
        return {"mix": self.share} if self.share else {}


class RowsAsked(NamedTuple):
    """Files of training and evaluation rows; None: the domain's own.

    columns: what the own columns of files that are named here stand for; a data.yaml says so itself.
    """

    data: str | Path | None = None
    evaluation: str | Path | None = None
    columns: Columns | None = None
    mix: Mix = Mix()


def asked_mix(share: float | None, data: str | Path | None) -> Mix:
    """Join what was asked for. InvalidInput where it is no share, or rows without one."""
    if share is None and data is None:
        return Mix()
    if share is None or not 0 < share < 1:
        raise InvalidInput("mix is a share of the characters, above 0 and below 1 (0.2); give it beside mix_data.")
    return Mix(share, data)


def batch_runner(workers: int, engine: Literal["local", "ray"]) -> Callable[..., Any]:
    """Return what runs batches of rows through detectors: here, in processes, or as actors of a Ray cluster."""
    if workers < 1:
        raise InvalidInput("Scrubbing needs at least one worker.")
    if engine == "ray":
        try:
            from sdk.scrub.on_ray import on_ray_actors
        except ModuleNotFoundError:
            raise MissingExtra("Ray is not installed; run `pip install domain-adaptation-sdk[ray]`.") from None
        return on_ray_actors(workers)
    from sdk.scrub.parallel import in_processes, in_this_process

    return in_this_process if workers == 1 else in_processes(workers)


def rows_to_scrub(
    state: ProjectState, data: str | Path | None, evaluation: str | Path | None, columns: Columns | None
) -> tuple[dict[str, Path], dict[str, Columns]]:
    """Return the files of both splits, and what their own columns stand for; where None, the project's or the domain's.

    Of running text without a file for the evaluation that split is missing: documents are held out.
    Raises InvalidInput with every file that does not exist.
    """
    own_columns = named_columns({"train": data, "eval": evaluation}, columns)
    named = {"train": data, "eval": evaluation}
    sources: dict[str, Path] = {}
    for split, file in named.items():
        if split == "eval" and file is None and _holds_out(state, sources["train"], own_columns):
            continue
        if file is not None:
            sources[split] = Path(file)
            continue
        default = state.source_of(split)
        sources[split] = default.path
        if default.columns is not None:
            own_columns[split] = default.columns
    missing = [f"{path} does not exist" for path in sources.values() if not path.exists()]
    if missing:
        raise InvalidInput("Data files are missing.", missing)
    return sources, own_columns


def _holds_out(state: ProjectState, train: Path, columns: Mapping[str, Columns]) -> bool:
    """Tell whether documents are held out: of running text that is not the domain's, where no evaluation is named."""
    named = state.charter.rows.files if state.charter.rows else {}
    if "eval" in named or not train.exists() or train == state.domain_data() / "train.jsonl":
        return False
    return holds_texts(train, columns.get("train"))


def _mixed_from(state: ProjectState, mix: Mix) -> Path | None:
    """Return the file that conversations are drawn from; None where nothing is mixed in."""
    if not mix.share:
        return None
    path = Path(mix.data) if mix.data else state.domain_data() / "train.jsonl"
    if not path.exists():
        raise InvalidInput(f"{path} does not exist; name rows to mix in with mix_data.")
    return path


def scrub_request(
    state: ProjectState,
    asked: RowsAsked,
    detect: bool = True,
    workers: int = 1,
    engine: Literal["local", "ray"] = "local",
    *,
    on_progress: OnProgress,
) -> Request[Scrubbed]:
    """Ask for scrubbed training and evaluation rows. Of running text documents are held out where no file is named."""
    data, evaluation, columns, mix = asked
    policy, secret = state.policy(), state.secret()
    sources, own_columns = rows_to_scrub(state, data, evaluation, columns)
    planted = state.planted_rows(sources["train"])
    texts = holds_texts(sources["train"], own_columns.get("train"))
    if mix.share and not texts:
        raise InvalidInput(f"{sources['train']} holds conversations; --mix adds some to running text.")
    mix_data = _mixed_from(state, mix)
    tokens = secret.derive("tokens")
    misses = _reviewed_misses(state)
    reviewed = {"reviewed": [miss.sha256 for miss in misses]} if misses else {}
    inputs = {
        **common_inputs(state),
        **{split: rows_digest(path, own_columns.get(split)) for split, path in sources.items()},
        "settings": settings_digest(detect=detect, key=tokens.key_id, **reviewed, **mix.stated),
    }
    inputs.setdefault("eval", inputs["train"])  # documents of the same files are held out
    if mix_data is not None:
        inputs["mix"] = rows_digest(mix_data)

    def work(folder: Path) -> Scrubbed:
        if EVAL in sources:  # else documents are held out
            require_metrics_fit(state, RowsFile(sources[EVAL], "", own_columns.get(EVAL)))
        from sdk.scrub.step import scrub  # which loads presidio

        select = None
        if texts:
            from sdk.scrub.text_selection import TextSelection  # which loads datasketch

            select = TextSelection(policy.evaluate.min_questions, mix.share, mix_data)
        scrubbed = scrub(
            sources=sources,
            recognizers=state.recognizers(),
            rules=policy.scrub,
            detect=detect,
            token_key=tokens.expose(),
            key_id=tokens.key_id,
            table_key=secret.derive("vault"),
            out=folder,
            on_progress=on_progress,
            run=batch_runner(workers, engine),
            measured=[*planted, *misses],
            canaries=canary_rows(
                secret.derive(CANARIES).expose(),
                policy.leaks.canaries,
                state.domain().languages,
                planted_kinds(policy.scrub),
                texts,
            ),
            columns=own_columns,
            select=select,
            keep=state.domain().keep,
        )
        return scrubbed if texts else scrubbed.model_copy(update={"overlap": _overlap(scrubbed, folder)})

    def after(scrubbed: Scrubbed) -> AfterScrub:
        return scrub_facts(scrubbed, detect)

    return Request(Scrubbed, inputs, work, BeforeScrub(scrubbed=detect), after)


def _overlap(scrubbed: Scrubbed, folder: Path) -> Overlap:
    """Compare the evaluation questions with the training rows, both as they were scrubbed."""
    from sdk.scrub.near_duplicates import QuestionIndex, asked  # which loads datasketch

    training, questions = (
        RowsFile(folder / scrubbed.data[split].path, scrubbed.data[split].sha256, written=True)
        for split in ("train", "eval")
    )
    index = QuestionIndex([*map(asked, read_rows(questions).rows)])
    each_written_row(training, lambda row: index.compare(asked(row)))
    return index.overlap()


def contamination_facts(scrubbed: Scrubbed) -> Contamination:
    """Return what the policy judges of the questions that nearly repeat a training row."""
    if scrubbed.texts:  # what of them repeats was left out
        return Contamination(contamination=0.0, repeated="")
    overlap = scrubbed.overlap
    return Contamination(contamination=overlap.share if overlap else None, repeated=overlap.named() if overlap else "")


def scrub_facts(scrubbed: Scrubbed, detect: bool) -> AfterScrub:
    """Return what the policy judges of a scrubbing. detect: the rows went through the detectors."""
    recall = scrubbed.recall_planted
    share = recall.found / recall.planted if recall.planted else 0.0
    return AfterScrub(scrubbed=detect, recall=share, k=scrubbed.smallest_group)


def _reviewed_misses(state: ProjectState) -> list[Held]:
    """Decrypt in memory what reviews marked; it is test rows for scrubbing."""
    secret = state.secret().derive("review")
    misses = [read_misses(state.folder(review), review, secret) for review in state.distinct(Review)]
    return [rows for rows in misses if rows is not None]


def review_request(
    state: ProjectState, judge: Judge, rows: int | None, bound: float | None, reviewer: str | None
) -> Request[Review] | None:
    """Let `judge` look at a sample of the newest scrubbed rows, then ask for its conclusion. None if it broke off."""
    who = reviewer or account()
    scrubbed = state.latest(Scrubbed)
    folder = state.folder(scrubbed)
    secret = state.secret().derive("review")
    sample = draw(folder, scrubbed, sample_size(rows, bound, state.policy().scrub.max_miss_rate))
    drawn = read_drawn(folder, scrubbed, {*sample.uniform, *sample.extra})
    progress = ReviewProgress(state.root / "review", scrubbed.digest, who, secret)
    if not judge_rows(sample, drawn, judge, progress):
        return None
    inputs = {
        "scrubbed": scrubbed.digest,
        "policy": state.policy().digest,
        "settings": settings_digest(rows=len(sample.uniform), reviewer=who),
    }
    others = {review.digest for review in reviews_of(state, scrubbed) if review.inputs != inputs}

    def work(out: Path) -> Review:
        return conclude(sample, drawn, progress.marks, who, len(others), secret, out)

    return Request(Review, inputs, work)


def reveal_value(state: ProjectState, token: str, reason: str) -> str:
    """Return the value behind a token, after the event that says who asked for it and why."""
    if not reason.strip():
        raise InvalidInput("Revealing a value needs a reason; it is kept in the audit log.")
    kind = kind_of(token)
    token_digest = state.secret().derive("audit").hmac(token.encode()).hex()  # the token itself says too much
    objects = {"policy": state.policy().digest, "token": token_digest}
    with recorded(state, "reveal", objects, detail={"reason": reason.strip(), "kind": kind}):
        if kind not in state.policy().scrub.reversible:
            raise Refused(
                f"Policy {state.policy().name} refuses to reveal a token.",
                [f"scrub.reversible: {kind} is not among the kinds that may be reversed"],
            )
        tables = [
            FileBytes(state.folder(record) / ref.path, read_ref(state.folder(record), ref, TABLE_BYTES))
            for record in reversed(state.all(Scrubbed))
            for ref in record.files
            if ref.path == TOKEN_TABLE
        ]
        return reveal(tables, token, state.secret().derive("vault"))
