"""The Project: the only caller of steps, the only writer of records and events.

A verb is one method: it takes the project's lock, lets a `…_request` function of this room say what is asked for, and
lets `perform` do it. The modules with steps in them are imported by the method that needs them, because they load heavy
libraries: training must not hold mlflow, nor advice torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from sdk.crypto.keyring import Member, RevocationReason, Role
from sdk.errors import InvalidInput, OutOfOrder, SDKError
from sdk.files.store import locked, require_no_link, write_atomic
from sdk.project.charter import ENCRYPTION_KEY, LOG_KEY, OWNER_KEY, SIGNING_KEY, BaseChoice, DomainChoice, KeyURIs
from sdk.project.cut_off import wipe_cut_off
from sdk.project.notebook import NotebookProgress, in_notebook
from sdk.project.perform import perform
from sdk.project.read_only import ReadOnlyState, is_read_only
from sdk.project.state import ProjectState
from sdk.records import (
    Accuracy,
    Advice,
    ApplicationType,
    Approval,
    Benchmarks,
    Calibration,
    Columns,
    Decision,
    Export,
    ExportFormat,
    ExportType,
    Finding,
    Hardware,
    Leaks,
    MergeBase,
    MethodComparison,
    Metric,
    OnProgress,
    PairedChange,
    PeftMethod,
    Pilot,
    PlotName,
    Publication,
    Release,
    Review,
    Run,
    Scores,
    Scrubbed,
    StepRecord,
    TableName,
    Verified,
)
from sdk.records.summary import as_html, as_text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from sdk.approve import Verdict
    from sdk.audit import Event
    from sdk.documents import Format
    from sdk.model.adapted import AdaptedModel
    from sdk.policy import Policy
    from sdk.project.amending import OwnKey
    from sdk.review import Judge
    from sdk.serve.admit import Trust

__all__ = ["COMPARE_MINUTES", "PILOT_MINUTES", "Project"]

LOCK = "project.lock"
R = TypeVar("R", bound=StepRecord)
PILOT_MINUTES = 3.0
COMPARE_MINUTES = 60.0
FloorText = str | float  # 0.55, base+0.05 or majority+0.02


def _quiet(what: str, done: int, total: int | None, figures: Mapping[str, float]) -> None:
    pass


class Project:
    """A folder in which one model is adapted under one policy. Make one with `create`, come back with `open`.

    on_progress is called during long steps; in a notebook, where none is given, a line shows them.
    pinned: digest of the project's first key ring, where the caller knows it from elsewhere.
    """

    def __init__(self, root: Path, on_progress: OnProgress | None = None, pinned: str | None = None) -> None:
        self.root = root
        self._on_progress = on_progress or (NotebookProgress() if in_notebook() else _quiet)
        self._pinned = pinned

    def __repr__(self) -> str:
        return f"Project({str(self.root)!r})"

    def __str__(self) -> str:
        return as_text(*self._shown())

    def _repr_html_(self) -> str:
        return as_html(*self._shown())

    def _shown(self) -> tuple[str, Mapping[str, Any]]:
        """Return title and rows of what a person wants to see; what is wrong, where the folder cannot be read."""
        from sdk.project.showing import about

        try:
            state = self.state()
        except SDKError as error:
            return repr(self), {"cannot be read": error.message}
        return f"Project {state.charter.name}", about(state)

    # -- making and opening -------------------------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        folder: str | Path,
        *,
        domain: str | Path = "finance",
        base: str = "embedded",
        base_name: str | None = None,
        base_license: str | None = None,
        template: str | None = None,
        policy: str | Path | None = None,
        data: str | Path | None = None,
        evaluation: str | Path | None = None,
        columns: Columns | None = None,
        prompt: str | None = None,
        metric: Metric | None = None,
        max_new_tokens: int | None = None,
        floors: Mapping[str, FloorText | Sequence[FloorText]] | None = None,
        trainer: str | None = None,
        signing_key: str = SIGNING_KEY,
        log_key: str = LOG_KEY,
        owner_key: str = OWNER_KEY,
        encryption_key: str = ENCRYPTION_KEY,
        heads: Sequence[str | Path] = (),
        tracking_uri: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> Project:
        """Make the project's folder.

        domain and policy are names of shipped ones or paths; base is "embedded", a folder in Hugging Face's format or
        a hub's model name. base_name and base_license: what it is called and its licence, where its model card (its
        folder's README.md) does not say so; a licence that nobody states is unknown. template: alpaca, alpaca-zh,
        chatml or plain, to render rows with instead of the base's own chat template; a base without one gets alpaca's
        form in the domain's first language.
        data, evaluation, columns: rows of your own, as in `scrub`, which takes them where it is given no others.
        prompt, metric, max_new_tokens, floors: what the project's copy of domain.yaml says instead of the domain's.
        Without them, your own rows get room for their longest answer, and your own questions the floor majority+0
        instead of a shipped domain's floors. floors: 'all', 'slices' or a language to 0.55, "base+0.05" or
        "majority+0.02", or a list of them. Keys are URIs, made where they are the default files: signing_key signs
        packages, log_key (Ed25519) the audit log, owner_key the key rings, encryption_key wraps what decrypts weights.
        trainer is who holds the first (the user by default). heads: further files, best on another machine, that get
        each checkpoint of the log. Raises InvalidInput if the folder exists and is not empty, or if the base cannot be
        used, with every reason.
        """
        # keyword options: each has a default, and a user should not have to build a record for one of them
        from sdk.project.creating import create_folder
        from sdk.project.own_settings import own_rows

        root = Path(folder)
        set_by_user = {"prompt": prompt, "metric": metric, "max_new_tokens": max_new_tokens, "floors": floors}
        settings = {name: value for name, value in set_by_user.items() if value is not None}
        choice = DomainChoice(domain, settings, own_rows(data, evaluation, columns))
        uris = KeyURIs(signing_key, log_key, owner_key, encryption_key)
        chosen = BaseChoice(base, base_name, base_license, template)
        create_folder(root, choice, chosen, policy, trainer, uris, heads, tracking_uri)
        return cls(root, on_progress)

    @classmethod
    def open(cls, folder: str | Path, on_progress: OnProgress | None = None, root: str | None = None) -> Project:
        """Open a project that exists. Raises OutOfOrder if there is none, Tampered if its log does not verify.

        root: the digest of its first key ring (`sdk verify` prints it), where you keep it elsewhere: a project that
        somebody put in its place is refused then. Without it, what this machine has seen under this path before counts.
        Raises InvalidInput where the folder is a link.
        """
        project = cls(Path(folder), on_progress, root)
        project.state()
        return project

    def state(self) -> ProjectState:
        """Read the project's folder; its log is verified. This machine remembers which project it was."""
        kind = ReadOnlyState if is_read_only(self.root) else ProjectState
        state = kind(self.root, self._pinned)
        state.pin()
        return state

    # -- before training ----------------------------------------------------------------------------------------------

    def scrub(
        self,
        data: str | Path | None = None,
        evaluation: str | Path | None = None,
        *,
        detect: bool = True,
        columns: Columns | None = None,
        mix: float | None = None,
        mix_data: str | Path | None = None,
        workers: int = 1,
        engine: Literal["local", "ray"] = "local",
    ) -> Scrubbed:
        """Remove personal data from training and evaluation rows (the domain's own where None) as the policy says.

        columns: what the own columns of these files stand for; files that differ are listed in a data.yaml, which may
        stand in a file's place and says so of each.
        data may be running text: .txt, .md and .html files or a folder of them, or rows with a column `text`. Then
        near-duplicates are left out, documents are held out where no evaluation is named, and mix is the share of the
        characters that conversations of mix_data (None: the domain's own) shall have.
        workers: processes, each with a detector of its own; engine: on this machine, or as actors of a Ray cluster,
        whose machines see the files under the same paths. What is written is the same. After an interruption the same
        call goes on from where it was. Raises MissingExtra where Ray is not installed.
        """
        from sdk.project.scrub_requests import RowsAsked, asked_mix, scrub_request

        mixed = asked_mix(mix, mix_data)
        with self._working() as state:
            asked = RowsAsked(data, evaluation, columns, mixed)
            request = scrub_request(state, asked, detect, workers, engine, on_progress=self._on_progress)
            return perform(state, request)

    def foresee(
        self,
        data: str | Path | None = None,
        evaluation: str | Path | None = None,
        *,
        columns: Columns | None = None,
    ) -> tuple[str, ...]:
        """Tell what the policy will refuse whatever is done with these rows, questions, canaries and floors.

        One line each, with the policy, what it asks for, what there is, and the step that will refuse. Of the files, as
        `scrub` takes them; where none are named, of the rows that were scrubbed last, if any were.
        """
        from sdk.project.foreseeing import foresee, foresee_of

        state = self.state()
        scrubbed = state.find_latest(Scrubbed) if data is None and evaluation is None else None
        return foresee(state, data, evaluation, columns) if scrubbed is None else foresee_of(state, scrubbed)

    def borrowed(
        self,
        data: str | Path | None = None,
        evaluation: str | Path | None = None,
        *,
        columns: Columns | None = None,
    ) -> tuple[str, ...]:
        """Tell what rows that are named now get of a shipped domain that was made for others; mostly nothing."""
        from sdk.project.foreseeing import borrowed

        return borrowed(self.state(), data, evaluation, columns)

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
        from sdk.project.scrub_requests import review_request

        with self._working() as state:
            request = review_request(state, judge, rows, bound, reviewer)
            return None if request is None else perform(state, request)

    def reveal(self, token: str, *, reason: str) -> str:
        """Reveal the value behind a token of the scrubbed rows, where the policy lets its kind be (scrub.reversible).

        The event, with who asked, the token's digest and the reason, is in the audit log before the table is opened;
        the value is in no file. Raises Refused where the policy says no, OutOfOrder where no table was kept.
        """
        from sdk.project.scrub_requests import reveal_value

        with self._working() as state:
            return reveal_value(state, token, reason)

    def advise(
        self,
        *,
        accuracy: Accuracy | None = None,
        max_loss: float | None = None,
        application_type: ApplicationType | None = None,
        deadline_hours: float | None = None,
        price_per_hour: float | None = None,
        peft_type: PeftMethod | None = None,
        use_dora: bool | None = None,
        hardware: Hardware | None = None,
        max_length: int | None = None,
        data: str | Path | None = None,
        columns: Columns | None = None,
    ) -> Advice:
        """Pick method and settings for the project's base on `hardware` (None: this machine).

        peft_type, use_dora: another kind of adapter than LoRA, as in `train`.
        max_length in tokens; without it, room for the longest row of `data`. data: training rows, which are read and
        not kept; None: those that were scrubbed last, else the domain's own; columns: as in `scrub`. The newest
        calibration of this base on this hardware and the newest pilot on these rows are used. Raises InvalidInput with
        every need that contradicts another or the rows.
        """
        from sdk.project.advising import advise_request

        stated = {
            "accuracy": accuracy,
            "max_loss": max_loss,
            "application_type": application_type,
            "deadline_hours": deadline_hours,
            "price_per_hour": price_per_hour,
            "peft_type": peft_type,
            "use_dora": use_dora,
        }
        with self._working() as state:
            return perform(state, advise_request(state, stated, hardware, max_length, data, columns))

    def probe(self, *, data: str | Path | None = None, columns: Columns | None = None) -> Calibration:
        """Measure memory and time of one pass of the longest rows on this machine, for each method that should fit.

        data, columns: as in `advise`; where the rows were scrubbed, the scrubbed ones are used, else they are read and
        not kept. What a method fails with is in the record; asked for again then, all are measured anew.
        """
        from sdk.project.trial_requests import probe_request

        with self._working() as state:
            return perform(state, probe_request(state, data, columns, self._on_progress))

    def pilot(self, *, minutes: float = PILOT_MINUTES, steps: int | None = None) -> Pilot:
        """Train each method that fits for a little on the scrubbed rows, all on the same ones, and compare the results.

        minutes: for training the slowest, by its predicted speed, and its answers; steps: of the optimizer, instead.
        A tenth of the rows is held out. What a method fails with is in the record; asked for again then, all are tried
        anew. No weights stay. After an interruption the same call takes over what had finished.
        """
        from sdk.project.trial_requests import pilot_request

        with self._working() as state:
            return perform(state, pilot_request(state, minutes, steps, self._on_progress))

    def compare_training_methods(
        self,
        methods: Sequence[str] | None = None,
        *,
        budget: float = COMPARE_MINUTES,
        seeds: int = 3,
        need: str | None = None,
        steps: int | None = None,
    ) -> MethodComparison:
        """Train methods on the scrubbed rows, as many tokens each, with several seeds, and say which is enough.

        methods: lora, qlora-4bit, qlora-8bit, lora-fp8, qlora-4bit-high-rank and dora; None: all. What cannot run here
        is left out with its reason. budget: minutes for all runs together; InvalidInput where they are too few for one
        seed. steps: of the optimizer for each run, instead of as many as the budget leaves. need: "within 1 point of
        the best" or "at least 0.6"; None: the domain's accuracy, against 16-bit LoRA.
        Questions are held out of the training rows; none of the evaluation's is asked, and no weights stay. The page
        comparison.html lies in the step's folder, and in MLflow with a run for each method. After an interruption the
        same call takes over what had finished.
        """
        from sdk.project.trial_requests import compare_request, show_in_mlflow

        with self._working() as state:
            request = compare_request(state, methods, budget, seeds, need, steps, self._on_progress)
            record = perform(state, request)
            show_in_mlflow(self.state(), record)
            return record

    # -- training -----------------------------------------------------------------------------------------------------

    def train(
        self,
        *,
        adapter: Run | str | None = None,
        resume: Run | str | None = None,
        nodes: int = 1,
        rendezvous: str = "",
        anyway: bool = False,
        **settings: Any,
    ) -> Run:
        """Train the adapter as advised; keyword arguments override fields of TrainSettings.

        Where the newest advice was for other rows than those that were scrubbed last, it is made anew first.
        adapter and resume name a finished run, or the beginning of its digest. adapter: begin with this one's adapter,
        on the same base; everything else begins anew. resume: go on from this one's end with a higher max_steps or
        num_train_epochs: adapter, optimizer, random numbers and place in the data. With a constant learning rate three
        steps and then three more are six; a schedule that depends on the number of steps (cosine, linear) is from there
        on the one of the new number. Raises InvalidInput where anything else differs.
        nodes, rendezvous: hosts that share settings.gpus evenly, and HOST:PORT of this one, which the others can reach.
        anyway: train although `foresee` tells that the policy will refuse what comes of it; else that is refused here.
        """
        from sdk.project.train_requests import train_request

        if resume is None and self.renew_advice(max_length=settings.get("max_length")):
            self._on_progress("advise anew", 1, 1, {})
        with self._working() as state:
            request = train_request(
                state, settings, adapter, resume, nodes, rendezvous, anyway=anyway, on_progress=self._on_progress
            )
            return perform(state, request)

    def renew_advice(self, *, max_length: int | None = None) -> Advice | None:
        """Advise anew where the newest advice was for other rows than those that were scrubbed last; else return None.

        The needs that were stated for it stay, its machine too. max_length: tokens, where `train` is to be called with
        it. `train` calls this first.
        """
        from sdk.project.advising import renewal_request

        with self._working() as state:
            request = renewal_request(state, max_length)
            return None if request is None else perform(state, request)

    def preview(self, *, anyway: bool = False, **settings: Any) -> list[list[tuple[str, bool]]]:
        """Return three scrubbed rows as they will be trained: pieces of text, each with whether it is learned.

        None of a training that would be refused. anyway, settings: as in `train`.
        """
        from sdk.project.train_requests import preview_rows

        return preview_rows(self.state(), settings, anyway)

    def evaluate(self) -> Scores:
        """Ask the evaluation questions of the base and of the adapted model."""
        from sdk.project.measure_requests import evaluate_request

        with self._working() as state:
            return perform(state, evaluate_request(state, self._on_progress))

    def benchmark(
        self,
        files: Mapping[str, str | Path] | None = None,
        *,
        safety: bool = False,
        pins: Mapping[str, str] | None = None,
        chat_template: bool = False,
        num_fewshot: int | None = None,
        limit: int | None = None,
        batch_size: int | None = None,
        run_model_code: bool = False,
    ) -> Benchmarks:
        """Put public benchmarks to the newest run's model and to its base, scored by lm-evaluation-harness.

        files: benchmark -> file that `sdk prepare` made; pins: benchmark -> the SHA-256 that it must have. safety: put
        the probes that ship too, which need no file.
        chat_template: render the prompts by the base's chat template; num_fewshot: examples before each question, None:
        as many as the benchmark has by itself; limit: the first questions of each subset; batch_size: rows at once,
        None: 8. run_model_code: humaneval runs the programs that the model writes, each in a sandbox, and needs this.
        Questions that nearly repeat a training row are named in the record. Raises Refused where the policy allows
        fewer of them, or no programs; MissingExtra where the harness is not installed; InvalidInput, before anything is
        generated, for another file or layout, or questions longer than the base's context.
        """
        from sdk.project.benchmark_requests import BenchmarksAsked, benchmark_request, read_settings

        settings = read_settings(
            chat_template=chat_template,
            num_fewshot=num_fewshot,
            limit=limit,
            run_model_code=run_model_code,
            **({} if batch_size is None else {"batch_size": batch_size}),
        )
        with self._working() as state:
            asked = BenchmarksAsked(files or {}, pins or {}, safety)
            return perform(state, benchmark_request(state, asked, settings, self._on_progress))

    def forgetting(self) -> dict[str, PairedChange | None]:
        """Test what the newest run's model has kept, for each benchmark that the policy gives a bound for.

        Benchmark -> kept, lost or "cannot be told", with the figures; None: not measured yet. `register` refuses all
        but kept.
        """
        from sdk.project.benchmark_requests import forgetting

        return forgetting(self.state())

    def sample_questions(self, count: int) -> list[tuple[str, str]]:
        """Return scrubbed evaluation questions with their reference answers, evenly taken from the file."""
        from sdk.project.showing import sample_questions

        return sample_questions(self.state(), count)

    def check_leaks(self) -> Leaks:
        """Ask the newest run's model for the canaries that were planted in its rows before they were scrubbed.

        A control, trained here on canaries in plain, is asked likewise; nothing of it is kept. What was measured is
        recorded whatever it is; `register` refuses above the policy's limits. Raises OutOfOrder where the rows hold no
        canaries of this policy, StepFailed where the control is not caught, so that the check means nothing.
        """
        from sdk.project.measure_requests import leaks_request

        with self._working() as state:
            return perform(state, leaks_request(state, self._on_progress))

    def power_of_leak_check(self, settings: Mapping[str, Any] | None = None) -> tuple[str, ...]:
        """Return why the leak check would find little, each with the command that mends it; empty: nothing is known.

        settings: of a training that is about to begin, as for `train`, where the policy asks for the check; None: of
        the newest run. It is arithmetic on their steps and rows, and nothing is trained for it.
        """
        from sdk.project import measure_requests, train_requests

        state = self.state()
        if settings is None:
            return measure_requests.power_notes(state)
        return train_requests.power_notes(state, settings)

    # -- from an adapter to a model in production ---------------------------------------------------------------------

    def register(self) -> Release:
        """Seal the evaluated adapter and register the package in MLflow under the alias `candidate`."""
        from sdk.project.publishing import follow_up
        from sdk.project.registering import register_package
        from sdk.project.sealing import seal_evaluated

        with self._working() as state:
            package = seal_evaluated(state)
            release = register_package(state, package, self._on_progress)
            follow_up(state, release)
            return release

    def approve(
        self,
        release: Release | str | None = None,
        *,
        key: str,
        reason: str,
        decision: Decision = "approve",
    ) -> Approval:
        """Sign a decision over a release (the newest): its package, the policy that it was sealed under, its report.

        release: also the beginning of the digest of its package. key: URI of the decider's key, whose holder and role
        the key ring names. Once everything that the policy asks for is there, the release becomes the champion; a
        rejection or a withdrawal makes `load` refuse the champion. Raises Refused where this person may not decide so.
        """
        from sdk.project.approving import approve_request
        from sdk.project.gather import find_release
        from sdk.project.publishing import follow_up

        with self._working() as state:
            chosen = find_release(state, release)
            approval = perform(state, approve_request(state, chosen, key, reason, decision))
            follow_up(state, chosen)
            return approval

    def explain(self, release: Release | str | None = None) -> Verdict:
        """Judge whether a release (the newest) may be served now, with every reason for and against."""
        from sdk.project.gather import find_release, judge_release

        state = self.state()
        return judge_release(state, find_release(state, release))

    def promote(self, release: Release | str | None = None) -> Publication:
        """Make a release (the newest) the champion; one that was approved before is how production is rolled back.

        release: also the beginning of the digest of its package. Judged anew under the policy that it was sealed under;
        Refused with everything that is missing. MLflow is told in any case, so that what was changed there is set back.
        """
        from sdk.project.gather import find_release
        from sdk.project.publishing import promote_release

        with self._working() as state:
            return promote_release(state, find_release(state, release), again=True)

    def load(self, release: Release | str | None = None, *, package: Path | None = None) -> AdaptedModel:
        """Load the model of a release (the champion by default), after everything has been verified and approved.

        package: a copy of the package elsewhere, as MLflow gave it out, to be used in place of the project's own.
        An event, of this machine's own log where this user cannot write to the project: `state().recorded_in` names it.
        """
        from sdk.project.loading import load_release

        with self._reading() as state:
            return load_release(state, release, package)

    def export_model(
        self,
        folder: str | Path,
        *,
        to: ExportFormat,
        reason: str,
        release: Release | str | None = None,
        onto: MergeBase = "trained-base",
        dtype: ExportType | None = None,
        converter: str | Path | None = None,
    ) -> Export:
        """Write a release (the champion by default) in plain to a new or empty folder, as a child release.

        It ends the encryption: a declassification, by the policy's leave (export.formats), and an event with the
        reason. What is written is asked, in the engine that will serve it, what the approved model is asked; where the
        two differ by more than the policy allows, it is wiped, and the refusal is recorded with the figures.
        to: peft, the adapter alone; merged, weights that transformers and vLLM load; gguf, the same for llama.cpp and
        Ollama; gguf-lora, the adapter for llama.cpp. onto: whether a QLoRA run's adapter is added to the weights that
        it was trained on, quantized and multiplied out, or to the original ones. dtype: None: of merged weights as the
        base stores them, of GGUF f16. converter: folder of llama.cpp's.
        """
        from sdk.export.export_settings import ExportSettings
        from sdk.project.exporting import export_release

        settings = ExportSettings(to, onto, dtype, Path(converter) if converter is not None else None)
        with self._working() as state:
            return export_release(state, release, Path(folder), settings, reason, self._on_progress)

    def check_export(self, folder: str | Path) -> Export:
        """Check an exported folder: its files are those that left, and its parent may be served now.

        Raises Tampered where a file or the signature is another one, Refused where the parent has been withdrawn or
        rejected, or its approval has run out: then nobody should serve the folder any more.
        """
        from sdk.project.exporting import check_export

        return check_export(self.state(), Path(folder))

    def trust(self) -> Trust:
        """Return what a machine that serves the model must know beforehand; `sdk keys trust FILE` saves it."""
        from sdk.project.loading import trust_of

        return trust_of(self.state())

    def save_trust(self, path: Path) -> None:
        """Save what a machine that serves the champion must know beforehand; nothing in it is secret."""
        trust = self.trust()
        from sdk.serve.admit import trust_bytes

        write_atomic(path, trust_bytes(trust))

    # -- files and keys -----------------------------------------------------------------------------------------------

    def adopt(self, *, domain: str | Path | None = None, policy: str | Path | None = None) -> None:
        """Put changed files in force: another domain or policy, or edits made in the project's own copies. An event.

        The owner's key signs it, in the next version of the key ring; without that key it is refused, and so is another
        text under a policy's name that stood for one before. What was sealed before stays under the policy that it was
        sealed under. A project of 0.1.0, whose key ring names no rules, gets those that it works under.
        """
        from sdk.project.amending import adopt_files, tell_of_champion

        with self._working() as state:
            before = state.ring
            adopt_files(state, domain, policy)
            if state.ring != before:
                tell_of_champion(state)

    def enroll(
        self, name: str, key: str, *, roles: Sequence[Role] = ("approver",), valid_until: datetime | None = None
    ) -> Member:
        """Let the holder of a key act in roles; the project's owner signs the key ring that says so.

        key: a key URI, or the path of a public key in PEM format. Raises InvalidInput where the key is in the ring.
        """
        from sdk.project.amending import enroll_member

        with self._working() as state:
            return enroll_member(state, name, key, roles, valid_until)

    def revoke(self, key: str, *, reason: RevocationReason) -> list[Member]:
        """Revoke a key by the beginning of its id, or all keys of a person by name. An event; the owner signs.

        superseded, left: what was signed before still counts; compromised: nothing that the key signed counts. Raises
        InvalidInput for the log's or the encryption key in use: rotate first, then revoke the old one.
        """
        from sdk.project.amending import revoke_keys, tell_of_champion

        with self._working() as state:
            members = revoke_keys(state, key, reason)
            tell_of_champion(state)
            return members

    def rotate(self, kind: OwnKey, key: str) -> Member:
        """Put another key in the place of one of the project's own; the old one is revoked as superseded. An event.

        A key that the key ring knows in that role takes over as it is: a second owner or trainer, whose predecessor's
        key is lost or then revoked.

        key: URI. encryption: the project's secret and the data key of every package are wrapped anew, and no weights
        are touched; destroy the old key yourself when no backup needs it.
        """
        from sdk.project.amending import rotate_key, tell_of_champion

        with self._working() as state:
            member = rotate_key(state, kind, key)
            tell_of_champion(state)
            return member

    def members(self) -> tuple[Member, ...]:
        """Return every key of the key ring in force, also those that are revoked."""
        return self.state().ring.members

    # -- looking ------------------------------------------------------------------------------------------------------

    def predictions(self) -> list[Run]:
        """Return every finished training run, oldest first, with what was predicted of it and what was measured."""
        return self.state().distinct(Run)

    @property
    def policy(self) -> Policy:
        """The policy in force, as the project adopted it."""
        return self.state().policy()

    def latest(self, kind: type[R]) -> R | None:
        """Return the newest record of a kind, such as `Release`; None where its step has left none."""
        return self.state().find_latest(kind)

    def findings(self) -> list[Finding]:
        """Return where the newest scrubbing found personal data: rows, kinds and offsets, never a value."""
        from sdk.project.showing import findings

        return findings(self.state())

    def to_pandas(self, table: TableName) -> pd.DataFrame:
        """Return a table of the project's records, one row for each thing that was measured.

        losses: of every run, by step; scores: of every evaluation, by model, language and metric; outcomes: of every
        evaluation, by question, without its text; findings: of the newest scrubbing; history: the events of the audit
        log, and that they were read is the next one. A column `run` tells the runs apart, by the beginning of their
        digests.
        """
        from sdk.project.tables import to_pandas

        state = self.state()
        frame = to_pandas(state, table)
        if table == "history":
            state.append("read", "finished", {}, {"what": "events"})
        return frame

    def plot(self, what: PlotName, run: Run | str | None = None) -> Figure:
        """Draw a plot of a run (the newest), as the report has it: a figure of matplotlib, which a notebook shows.

        run: also the beginning of its digest. Raises OutOfOrder where what is to be drawn was not measured yet.
        """
        from sdk.project.showing import drawn_of

        records = drawn_of(self.state(), run)
        from sdk.registry.plots import draw_figure  # which loads matplotlib

        return draw_figure(what, records)

    def history(self) -> list[Event]:
        """Return the events of the audit log, oldest first. That they were read is the next event."""
        state = self.state()
        events = list(state.events)
        state.append("read", "finished", {}, {"what": "events"})
        return events

    def export_log(self, form: Literal["jsonl", "ocsf"]) -> bytes:
        """Export the audit log for other systems, a line for each event: as it is, or as OCSF for a SIEM. An event."""
        from sdk.audit.export import to_jsonl, to_ocsf_jsonl

        state = self.state()
        events = list(state.events)
        state.append("read", "finished", {}, {"what": f"export as {form}"})
        return b"".join((to_jsonl if form == "jsonl" else to_ocsf_jsonl)(events))

    def prove(self, seq: int) -> tuple[bytes, bytes]:
        """Return one event's line, and the proof that it is in the log (C2SP tlog-proof); no other is shown."""
        state = self.state()
        if not 0 <= seq < len(state.events):
            raise InvalidInput(f"The log holds the events 0 to {len(state.events) - 1}; there is no event {seq}.")
        state.append("read", "finished", {}, {"what": f"proof of event {seq}"})
        return state.audit.prove(seq)

    def documents(self, out: Path | None = None, form: Format = "both") -> tuple[Path, ...]:
        """Write model card, Annex IV, SR 26-2, HIPAA and data sheet of the newest model, from its records.

        With them its safety validation and performance evaluation, in English and Chinese side by side.
        out: folder, by default `documents` in the project's. What no step can know comes from `documents.yaml` in the
        project's folder, which is written with every key where it is missing; a change of it is taken in first, with an
        event. Raises InvalidInput with every fault of that file, OutOfOrder where nothing was scrubbed yet.
        """
        from sdk.documents import write
        from sdk.project.declaring import declare_request, offer_template
        from sdk.project.showing import dossier

        state = self.state()
        if declare_request(state) is not None:
            with self._working() as state:
                request = declare_request(state)
                if request is not None:
                    perform(state, request)
        offer_template(state)
        return write(dossier(state), out or self.root / "documents", form)

    def verify(self) -> Verified:
        """Check everything that the folder and MLflow hold; Tampered names the first thing that is wrong."""
        from sdk.project.verify import verify_project

        return verify_project(self.state(), registry=True)

    def ui_command(self, port: int) -> tuple[list[str], dict[str, str]]:
        """Return the command that serves the stock MLflow UI on this project, on 127.0.0.1 only, and its variables.

        port: `sdk.processes.free_port` finds one. Raises InvalidInput where something listens there already.
        """
        from sdk.processes import free_port

        free_port(port)
        from sdk.registry import Tracking, ui_command, ui_variables

        tracking = Tracking(self.root.resolve(), self.state().charter.tracking_uri)
        return ui_command(tracking, port), ui_variables(tracking)

    # -- inside -------------------------------------------------------------------------------------------------------

    @contextmanager
    def _reading(self) -> Iterator[ProjectState]:
        """Work as `_working` does; in a folder that this user cannot write to without its lock, which nobody needs."""
        if is_read_only(self.root):
            yield self.state()
            return
        with self._working() as state:
            yield state

    @contextmanager
    def _working(self) -> Iterator[ProjectState]:
        require_no_link(self.root)
        if not self.root.is_dir():
            raise OutOfOrder(f"{self.root} is not a project; make one with `sdk init`.")
        with locked(self.root / LOCK):
            try:
                state = self.state()
                wipe_cut_off(state)
                yield state
            finally:
                if isinstance(self._on_progress, NotebookProgress):
                    self._on_progress.close()
