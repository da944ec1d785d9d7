"""The rows: scrubbing, review, and revealing what stands behind a token."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sdk.errors import InvalidInput, MissingExtra, Refused
from sdk.policy import AfterScrub, BeforeScrub
from sdk.project.base import Base, common, settings_digest
from sdk.project.perform import Request, perform, recorded
from sdk.project.state import ProjectState
from sdk.records import Review, Scrubbed
from sdk.store import check_ref, file_ref

if TYPE_CHECKING:
    from sdk.data import Held
    from sdk.review import Judge

CANARIES = "canaries"  # what their key is derived for


def _scrubbing(workers: int, engine: Literal["local", "ray"]) -> Callable[..., Any]:
    """Where batches are scrubbed."""
    from sdk.scrub.parallel import in_processes, in_this_process

    if workers < 1:
        raise InvalidInput("Scrubbing needs at least one worker.")
    if engine == "ray":
        try:
            from sdk.scrub.on_ray import on_ray_actors
        except ModuleNotFoundError:
            raise MissingExtra("Ray is not installed; run `pip install domain-adaptation-sdk[ray]`.") from None
        return on_ray_actors(workers)
    return in_this_process if workers == 1 else in_processes(workers)


class Scrubbing(Base):
    def scrub(
        self,
        data: str | Path | None = None,
        evaluation: str | Path | None = None,
        *,
        detect: bool = True,
        workers: int = 1,
        engine: Literal["local", "ray"] = "local",
    ) -> Scrubbed:
        """Remove personal data from training and evaluation rows (the domain's own where None) as the policy says.

        workers: processes, each with a detector of its own; engine: on this machine, or as actors of a Ray cluster,
        whose machines see the files under the same paths. What is written is the same. After an interruption the same
        call goes on from where it was. Raises MissingExtra where Ray is not installed.
        """
        from sdk.data.canaries import canary_rows, planted_kinds
        from sdk.scrub import scrub

        with self._working() as state:
            policy = state.policy()
            secret = state.secret()
            own = state.domain_data()
            sources = {
                "train": Path(data) if data else own / "train.jsonl",
                "eval": Path(evaluation) if evaluation else own / "eval.jsonl",
            }
            missing = [f"{path} does not exist" for path in sources.values() if not path.is_file()]
            if missing:
                raise InvalidInput("Data files are missing.", missing)
            tokens = secret.derive("tokens")
            missed = self._missed(state)
            inputs = {
                **common(state),
                **{split: file_ref(path, path.parent).sha256 for split, path in sources.items()},
                "settings": settings_digest(
                    detect=detect, key=tokens.key_id, **({"reviewed": [m.sha256 for m in missed]} if missed else {})
                ),
            }

            def work(folder: Path) -> Scrubbed:
                return scrub(
                    sources=sources,
                    recognizers=state.domain_folder / "recognizers.yaml",
                    rules=policy.scrub,
                    detect=detect,
                    token_key=tokens.expose(),
                    key_id=tokens.key_id,
                    table_key=secret.derive("vault"),
                    out=folder,
                    on_progress=self._on_progress,
                    run=_scrubbing(workers, engine),
                    measured=[*([own / "train.jsonl"] if data else []), *missed],
                    canaries=canary_rows(
                        secret.derive(CANARIES).expose(),
                        policy.leaks.canaries,
                        state.domain().languages,
                        planted_kinds(policy.scrub),
                    ),
                )

            def after(scrubbed: Scrubbed) -> AfterScrub:
                recall = scrubbed.recall_planted
                share = recall.found / recall.planted if recall.planted else 0.0
                return AfterScrub(scrubbed=detect, recall=share, k=scrubbed.smallest_group)

            return perform(state, Request(Scrubbed, inputs, work, BeforeScrub(scrubbed=detect), after))

    def review(
        self, judge: Judge, *, rows: int | None = None, bound: float | None = None, reviewer: str | None = None
    ) -> Review | None:
        """Let a person look for misses in a sample of the newest scrubbed rows; sdk/review.py says how it is drawn.

        judge is called with one row after the other and returns what is missed in it: texts, or where they stand; an
        empty list for nothing; None to go on another time, and then None is returned here too. What was judged is kept,
        sealed, after each row. rows: of the uniform sample, from which the bound follows; else as many as `bound` needs
        when nothing is missed (299 for 0.01), by default that of the policy (scrub.max_miss_rate), else 0.01.
        reviewer: the user by default. Rows with misses become test rows of the next scrubbing.
        """
        from sdk.review import ReviewProgress, conclude, draw, judge_rows, read_drawn, sample_size

        with self._working() as state:
            who = reviewer or getpass.getuser()
            scrubbed = state.latest(Scrubbed)
            folder = state.folder(scrubbed)
            secret = state.secret().derive("review")
            sample = draw(folder, scrubbed, sample_size(rows, bound, state.policy().scrub.max_miss_rate))
            drawn = read_drawn(folder, scrubbed, {*sample.uniform, *sample.extra})
            progress = ReviewProgress(self.root / "review", scrubbed.digest, who, secret)
            if not judge_rows(sample, drawn, judge, progress):
                return None
            inputs = {
                "scrubbed": scrubbed.digest,
                "policy": state.policy().digest,
                "settings": settings_digest(rows=len(sample.uniform), reviewer=who),
            }
            others = {one.digest for one in reviews_of(state, scrubbed) if one.inputs != inputs}

            def work(out: Path) -> Review:
                return conclude(sample, drawn, progress.marks, who, len(others), secret, out)

            return perform(state, Request(Review, inputs, work))

    def reveal(self, token: str, *, reason: str) -> str:
        """The value behind a token of the scrubbed rows, where the policy lets its kind be reversed (scrub.reversible).

        The event, with who asked, the token's digest and the reason, is in the audit log before the table is opened;
        the value is in no file. Raises Refused where the policy says no, OutOfOrder where no table was kept.
        """
        from sdk.scrub import TOKEN_TABLE, kind_of, reveal

        if not reason.strip():
            raise InvalidInput("Revealing a value needs a reason; it is kept in the audit log.")
        kind = kind_of(token)
        with self._working() as state:
            asked = state.secret().derive("audit").hmac(token.encode()).hex()  # the token itself says too much
            objects = {"policy": state.policy().digest, "token": asked}
            with recorded(state, "reveal", objects, detail={"reason": reason.strip(), "kind": kind}):
                if kind not in state.policy().scrub.reversible:
                    raise Refused(
                        f"Policy {state.policy().name} refuses to reveal a token.",
                        [f"scrub.reversible: {kind} is not among the kinds that may be reversed"],
                    )
                tables = [
                    check_ref(state.folder(record), ref)
                    for record in reversed(state.all(Scrubbed))
                    for ref in record.files
                    if ref.path == TOKEN_TABLE
                ]
                value = reveal(tables, token, state.secret().derive("vault"))
        return value

    @staticmethod
    def _missed(state: ProjectState) -> list[Held]:
        """What reviews marked, decrypted in memory: test rows for scrubbing."""
        from sdk.review import read_misses

        secret = state.secret().derive("review")
        found = [read_misses(state.folder(review), review, secret) for review in state.distinct(Review)]
        return [rows for rows in found if rows is not None]


def reviews_of(state: ProjectState, scrubbed: Scrubbed) -> list[Review]:
    """Of this very scrubbing, oldest first."""
    return [review for review in state.all(Review) if review.inputs["scrubbed"] == scrubbed.digest]
