"""The Project: the only caller of steps, the only writer of records and events."""

from __future__ import annotations

import getpass
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from sdk import crypto
from sdk.audit import Event
from sdk.charter import (
    SECRET_KEY,
    SIGNING_KEY,
    adopt_domain,
    adopt_policy,
    find_domain,
    find_policy,
    found,
    make_charter,
    make_holder,
    open_or_make,
    read_public_pem,
)
from sdk.domain import read_domain
from sdk.errors import InvalidInput, MissingExtra, OutOfOrder, Refused, StepFailed
from sdk.live import Live, unsent
from sdk.perform import Request, perform, recorded
from sdk.policy import read_policy, require, validation_faults
from sdk.records import (
    Accuracy,
    Advice,
    ApplicationType,
    Approval,
    Calibration,
    Hardware,
    Holder,
    Leaks,
    Method,
    OnProgress,
    Package,
    Pilot,
    Release,
    Review,
    Run,
    Scores,
    Scrubbed,
    TrainSettings,
    Verified,
    canonical_json,
    sha256,
)
from sdk.store import EMBEDDED, check_ref, file_ref, locked, write_atomic
from sdk.trail import Trail

if TYPE_CHECKING:
    from sdk.brief import Rows
    from sdk.data import Held
    from sdk.model.adapted import AdaptedModel
    from sdk.review import Judge
    from sdk.trial import Setup

LOCK = "project.lock"
PILOT_MINUTES = 3.0
CANARIES = "canaries"  # what their key is derived for


def _quiet(what: str, done: int, total: int | None, figures: Mapping[str, float]) -> None:
    pass


def _scrubbing(workers: int, engine: Literal["local", "ray"]) -> Callable[..., Any]:
    """Where batches are scrubbed."""
    from sdk.scrub.parallel import here, over_processes

    if workers < 1:
        raise InvalidInput("Scrubbing needs at least one worker.")
    if engine == "ray":
        try:
            from sdk.scrub.rayed import over_ray
        except ModuleNotFoundError:
            raise MissingExtra("Ray is not installed; run `pip install domain-adaptation-sdk[ray]`.") from None
        return over_ray(workers)
    return here if workers == 1 else over_processes(workers)


def _settings_digest(**settings: Any) -> str:
    return sha256(canonical_json(settings))


class Project:
    """A folder in which one model is adapted under one policy. Make one with `create`, come back with `open`."""

    def __init__(self, root: Path, on_progress: OnProgress | None = None) -> None:
        self.root = root
        self._on_progress = on_progress or _quiet

    # -- making and opening ------------------------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        folder: str | Path,
        *,
        domain: str | Path = "finance",
        base: str = "embedded",
        policy: str | Path | None = None,
        trainer: str | None = None,
        signing_key: str = SIGNING_KEY,
        secret_key: str = SECRET_KEY,
        tracking_uri: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> Project:
        """Make the project's folder.

        domain and policy are names of shipped ones or paths; base is "embedded", a folder in Hugging Face's format or
        a hub's model name; keys are URIs, made where the default files do not exist yet; trainer is who holds the
        signing key (the user by default). Raises InvalidInput if the folder exists and is not empty.
        """
        from sdk.model import base_digest, base_name, fetch_base, resolve_base

        root = Path(folder)
        if root.exists() and any(root.iterdir()):
            raise InvalidInput(f"{root} exists and is not empty; open it with Project.open, or name another folder.")
        root.parent.mkdir(parents=True, exist_ok=True)
        making = root.with_name(f".{root.name}.making")
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(mode=0o700)
        try:
            source = find_domain(domain)
            new_domain = adopt_domain(making, source, source)
            new_policy = adopt_policy(making, find_policy(policy or read_domain(source).policy))
            from_hub = isinstance(resolve_base(base), str)  # a name, not a folder
            require(read_policy(making / "policy.yaml"), "train", {"from_hub": from_hub})
            base_folder = fetch_base(base)
            key = open_or_make(signing_key, making, SIGNING_KEY, crypto.open_signing_key, crypto.SigningKey.random)
            secret = open_or_make(secret_key, making, SECRET_KEY, crypto.open_secret, crypto.Secret.random)
            charter = make_charter(
                name=root.resolve().name,
                base=base if base == EMBEDDED else str(base_folder.resolve()),
                base_name=base_name(base),
                base_from_hub=from_hub,
                base_digest=base_digest(base_folder),
                **new_domain,
                **new_policy,
                signing_key=signing_key,
                secret_key=secret_key,
                secret_key_id=secret.key_id,
                holders=(make_holder(trainer or getpass.getuser(), "trainer", key.public_pem),),
                tracking_uri=tracking_uri,
            )
            found(making, charter, key)
            if root.exists():
                root.rmdir()
            making.rename(root)
        except BaseException:
            shutil.rmtree(making, ignore_errors=True)
            raise
        return cls(root, on_progress)

    @classmethod
    def open(cls, folder: str | Path, on_progress: OnProgress | None = None) -> Project:
        """A project that exists; OutOfOrder if there is none, Tampered if its trail does not verify."""
        Trail(Path(folder))
        return cls(Path(folder), on_progress)

    def adopt(self, *, domain: str | Path | None = None, policy: str | Path | None = None) -> None:
        """Take in changed files: another domain or policy, or edits made in the project's own copies. An event."""
        with self._working() as trail:
            settings = find_domain(domain) if domain is not None else trail.domain_folder
            source = settings if domain is not None else trail.domain_source
            chosen = find_policy(policy) if policy is not None else self.root / trail.charter.policy_file.path
            changes = {**adopt_domain(self.root, source, settings), **adopt_policy(self.root, chosen)}
            self._amend(trail, "init", changes)

    def enroll(self, name: str, key: str) -> Holder:
        """Let the holder of a key decide on packages; `key` is a key URI or the path of a public key in PEM format."""
        with self._working() as trail:
            public = crypto.open_signing_key(key).public_pem if ":" in key else read_public_pem(Path(key))
            holder = make_holder(name, "approver", public)
            taken = [h for h in trail.charter.holders if h.name == name or h.fingerprint == holder.fingerprint]
            if holder in taken:
                return holder
            if taken:
                raise InvalidInput(f"{taken[0].name} ({taken[0].role}) has this name or this key already.")
            self._amend(trail, "enroll", {"holders": (*trail.charter.holders, holder)})
            return holder

    # -- the steps ---------------------------------------------------------------------------------------------------

    def advise(
        self,
        *,
        accuracy: Accuracy | None = None,
        max_loss: float | None = None,
        application_type: ApplicationType | None = None,
        deadline_hours: float | None = None,
        price_per_hour: float | None = None,
        hardware: Hardware | None = None,
        max_length: int | None = None,
        data: str | Path | None = None,
    ) -> Advice:
        """Pick method and settings for the project's base on `hardware` (None: this machine).

        max_length in tokens; without it, room for the longest row of `data`. data: training rows, which are read and
        not kept; None: those that were scrubbed last, else the domain's own. The newest calibration of this base on
        this hardware and the newest pilot on these rows are used. Raises InvalidInput with every need that contradicts
        another or the rows.
        """
        from sdk.advise import advise, find_model
        from sdk.brief import find_calibration, find_pilot, find_rows, make_needs
        from sdk.hardware import probe

        with self._working() as trail:
            shape = find_model(str(trail.base_folder()))
            rows = find_rows(trail, data)
            stated = {
                "accuracy": accuracy,
                "max_loss": max_loss,
                "application_type": application_type,
                "deadline_hours": deadline_hours,
                "price_per_hour": price_per_hour,
            }
            needs = make_needs(trail, rows, shape, stated, max_length)
            machine = hardware or probe()
            calibration, pilot = find_calibration(trail, machine), find_pilot(trail, rows)
            inputs = {
                **self._common(trail),
                "base": trail.charter.base_digest,
                "data": rows.origin,
                **({"calibration": calibration.digest} if calibration else {}),
                **({"pilot": pilot.digest} if pilot else {}),
                "settings": _settings_digest(needs=needs.model_dump(), hardware=machine.model_dump()),
            }

            def work(folder: Path) -> Advice:
                return advise(shape, machine, needs, calibration, pilot)

            return perform(trail, Request("advise", Advice, inputs, work))

    def probe(self, *, data: str | Path | None = None) -> Calibration:
        """Measure memory and time of one pass of the longest rows on this machine, for each method that should fit.

        data: as in `advise`; where the rows were scrubbed, the scrubbed ones are used, else they are read and not kept.
        What a method fails with is in the record; asked for again then, all are measured anew.
        """
        from sdk.advise import candidates
        from sdk.trial import probe

        with self._working() as trail:
            setup, rows = self._setup(trail, data)
            tried = candidates(setup.shape, setup.hardware, setup.needs)
            if not tried:
                raise StepFailed("No method fits this machine, so there is nothing to measure; see `sdk advise`.")
            allowed = [settings.method for settings in tried if not _refusal(setup.allow, settings.method)]
            earlier = trail.all(Calibration, "probe")
            turn = sum(any(one.error and one.settings.method in allowed for one in past.probes) for past in earlier)
            inputs = {
                **self._common(trail),
                "base": trail.charter.base_digest,
                "data": rows.origin,
                "settings": self._trial_digest(setup, tried, turn),
            }

            def work(folder: Path) -> Calibration:
                return probe(setup, tried, rows.scrubbed or rows.path)

            return perform(trail, Request("probe", Calibration, inputs, work))

    def pilot(self, *, minutes: float = PILOT_MINUTES, steps: int | None = None) -> Pilot:
        """Train each method that fits for a little on the scrubbed rows, all on the same ones, and compare the results.

        minutes: of training of the slowest, by its predicted speed; steps: optimizer steps, which outweighs minutes.
        A tenth of the rows is held out. What a method fails with is in the record; asked for again then, all are tried
        anew. No weights stay. After an interruption the same call takes over what had finished.
        """
        from sdk.advise import advise, candidates
        from sdk.brief import find_calibration
        from sdk.trial import not_tried, pilot, plan

        if minutes <= 0 or (steps is not None and steps < 3):  # in two, warm-up and all, half of an adapter stays put
            raise InvalidInput("A pilot needs time: give minutes above 0, or steps of at least 3.")
        with self._working() as trail:
            scrubbed = trail.latest(Scrubbed, "scrub")
            setup, _ = self._setup(trail, None)
            calibration = find_calibration(trail, setup.hardware)
            tried = candidates(setup.shape, setup.hardware, setup.needs, calibration)
            advice = advise(setup.shape, setup.hardware, setup.needs, calibration)
            left_out = not_tried(tried, advice)
            if not tried:
                raise StepFailed("No method fits this machine; see `sdk advise`.", [*left_out.values()])
            planned = plan(setup, tried, minutes, steps, calibration)
            allowed = {settings.method for settings in tried if not _refusal(setup.allow, settings.method)}
            turn = sum(bool(allowed & past.left_out.keys()) for past in trail.all(Pilot, "pilot"))
            domain, folder = trail.domain(), trail.folder("scrub", scrubbed.inputs)
            inputs = {
                **self._common(trail),
                "base": trail.charter.base_digest,
                "scrubbed": scrubbed.digest,
                **({"calibration": calibration.digest} if calibration else {}),
                "settings": self._trial_digest(setup, planned, turn),
            }
            secret = trail.keys()[1].derive("checkpoints") if trail.policy().seal.encrypt else None

            def work(out: Path) -> Pilot:
                return pilot(
                    setup,
                    planned,
                    left_out,
                    data=folder / scrubbed.data["train"].path,
                    evaluation=folder / scrubbed.data["eval"].path,
                    metric=domain.metric,
                    max_new_tokens=domain.max_new_tokens,
                    secret=secret,
                    out=out,
                )

            return perform(trail, Request("pilot", Pilot, inputs, work))

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
        from sdk.canaries import canary_rows, planted_kinds
        from sdk.scrub import scrub

        with self._working() as trail:
            policy = trail.policy()
            _, secret = trail.keys()
            own = trail.domain_data()
            sources = {
                "train": Path(data) if data else own / "train.jsonl",
                "eval": Path(evaluation) if evaluation else own / "eval.jsonl",
            }
            missing = [f"{path} does not exist" for path in sources.values() if not path.is_file()]
            if missing:
                raise InvalidInput("Data files are missing.", missing)
            tokens = secret.derive("tokens")
            missed = self._missed(trail)
            inputs = {
                **self._common(trail),
                **{split: file_ref(path, path.parent).sha256 for split, path in sources.items()},
                "settings": _settings_digest(
                    detect=detect, key=tokens.key_id, **({"reviewed": [m.sha256 for m in missed]} if missed else {})
                ),
            }

            def work(folder: Path) -> Scrubbed:
                return scrub(
                    sources=sources,
                    recognizers=trail.domain_folder / "recognizers.yaml",
                    rules=policy.scrub,
                    detect=detect,
                    token_key=tokens.expose(),
                    key_id=tokens.key_id,
                    vault_key=secret.derive("vault"),
                    out=folder,
                    on_progress=self._on_progress,
                    run=_scrubbing(workers, engine),
                    measured=[*([own / "train.jsonl"] if data else []), *missed],
                    canaries=canary_rows(
                        secret.derive(CANARIES).expose(),
                        policy.leaks.canaries,
                        trail.domain().languages,
                        planted_kinds(policy.scrub),
                    ),
                )

            def after(scrubbed: Scrubbed) -> Mapping[str, Any]:
                recall = scrubbed.recall_planted
                share = recall.found / recall.planted if recall.planted else 0.0
                return {"scrubbed": detect, "recall": share, "k": scrubbed.smallest_group}

            return perform(trail, Request("scrub", Scrubbed, inputs, work, {"scrubbed": detect}, after))

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
        from sdk.review import Progress, conclude, draw, judge_rows, read_drawn, sample_size

        with self._working() as trail:
            who = reviewer or getpass.getuser()
            scrubbed = trail.latest(Scrubbed, "scrub")
            folder = trail.folder("scrub", scrubbed.inputs)
            secret = trail.keys()[1].derive("review")
            sample = draw(folder, scrubbed, sample_size(rows, bound, trail.policy().scrub.max_miss_rate))
            drawn = read_drawn(folder, scrubbed, {*sample.uniform, *sample.extra})
            progress = Progress(self.root / "review", scrubbed.digest, who, secret)
            if not judge_rows(sample, drawn, judge, progress):
                return None
            inputs = {
                "scrubbed": scrubbed.digest,
                "policy": trail.policy().digest,
                "settings": _settings_digest(rows=len(sample.uniform), reviewer=who),
            }
            others = {one.digest for one in _reviews(trail, scrubbed) if one.inputs != inputs}

            def work(out: Path) -> Review:
                return conclude(sample, drawn, progress.marks, who, len(others), secret, out)

            return perform(trail, Request("review", Review, inputs, work))

    def reveal(self, token: str, *, reason: str) -> str:
        """The value behind a token of the scrubbed rows, where the policy lets its kind be reversed (scrub.reversible).

        The event, with who asked, the token's digest and the reason, is in the audit trail before the table is opened;
        the value is in no file. Raises Refused where the policy says no, OutOfOrder where no table was kept.
        """
        from sdk.scrub import VAULT, kind_of, reveal

        if not reason.strip():
            raise InvalidInput("Revealing a value needs a reason; it is kept in the audit trail.")
        kind = kind_of(token)
        with self._working() as trail:
            objects = {"policy": trail.policy().digest, "token": sha256(token.encode())}
            with recorded(trail, "reveal", objects, detail={"reason": reason.strip(), "kind": kind}):
                if kind not in trail.policy().scrub.reversible:
                    raise Refused(
                        f"Policy {trail.policy().name} refuses to reveal a token.",
                        [f"scrub.reversible: {kind} is not among the kinds that may be reversed"],
                    )
                tables = [
                    check_ref(trail.folder("scrub", record.inputs), ref)
                    for record in reversed(trail.all(Scrubbed, "scrub"))
                    for ref in record.files
                    if ref.path == VAULT
                ]
                value = reveal(tables, token, trail.keys()[1].derive("vault"))
        return value

    def train(
        self,
        *,
        adapter: Run | str | None = None,
        resume: Run | str | None = None,
        nodes: int = 1,
        rendezvous: str = "",
        **settings: Any,
    ) -> Run:
        """Train the adapter as advised; keyword arguments override fields of TrainSettings.

        adapter and resume name a finished run, or the beginning of its digest. adapter: begin with this one's adapter,
        on the same base; everything else begins anew. resume: go on from this one's end with a higher max_steps or
        num_train_epochs: adapter, optimizer, random numbers and place in the data. With a constant learning rate three
        steps and then three more are six; a schedule that depends on the number of steps (cosine, linear) is from there
        on the one of the new number. Raises InvalidInput where anything else differs.
        nodes, rendezvous: hosts that share settings.gpus evenly, and HOST:PORT of this one, which the others can reach.
        """
        from sdk.advise import predict
        from sdk.brief import row_lengths
        from sdk.train import Earlier, train

        with self._working() as trail:
            advice, scrubbed = trail.latest(Advice, "advise"), trail.latest(Scrubbed, "scrub")
            before = _find_run(trail, resume) if resume is not None else None
            if before:
                if adapter is not None:
                    raise InvalidInput("A run goes on with its own adapter; give adapter or resume, not both.")
                advice = trail.lineage(Advice, before, "advice")
                adapter = before.inputs.get("adapter")
            chosen = _override(before.settings if before else advice.settings, settings)
            begun = _find_run(trail, adapter) if adapter is not None else None
            inputs = {
                **self._common(trail),
                **({"adapter": begun.digest} if begun else {}),
                "base": trail.charter.base_digest,
                "advice": advice.digest,
                "scrubbed": scrubbed.digest,
                "settings": _settings_digest(**chosen.model_dump()),
            }
            if before:
                chosen = _more_steps(before, chosen, settings, inputs)
                inputs |= {"resume": before.digest, "settings": _settings_digest(**chosen.model_dump())}
            secret = trail.keys()[1].derive("checkpoints") if trail.policy().seal.encrypt else None

            def work(folder: Path) -> Run:
                data = trail.folder("scrub", scrubbed.inputs) / scrubbed.data["train"].path
                needs, calibration = advice.needs, None
                if advice.inputs["data"] != scrubbed.inputs["train"]:  # the advice was for other rows
                    lengths = row_lengths(trail, data)
                    needs = needs.model_copy(update={"lengths": lengths, "rows": lengths.rows})
                if "calibration" in advice.inputs:
                    calibration = trail.lineage(Calibration, advice, "calibration")
                predicted = predict(advice.shape, chosen, advice.hardware, needs, calibration)
                with Live(self.root, trail.charter.tracking_uri, trail.charter.name, inputs, folder):
                    return train(
                        data=data,
                        base=trail.charter.base,
                        prompt=trail.domain().prompt,
                        settings=chosen,
                        memory_predicted_gib=predicted.memory.total,
                        tokens_per_second_predicted=(
                            predicted.speed.tokens_per_second.expected if predicted.speed else None
                        ),
                        hardware=advice.hardware,
                        out=folder,
                        on_progress=self._on_progress,
                        secret=secret,
                        earlier=Earlier(trail.folder("train", before.inputs), before.settings) if before else None,
                        adapter=self._adapter_of(trail, begun) if begun else None,
                        nodes=nodes,
                        rendezvous=rendezvous,
                    )

            reviews = _reviews(trail, scrubbed)
            facts = {
                "method": chosen.method,
                "from_hub": trail.charter.base_from_hub,
                "miss_bound": reviews[-1].bound if reviews else None,
            }
            return perform(trail, Request("train", Run, inputs, work, facts))

    def preview(self, **settings: Any) -> list[list[tuple[str, bool]]]:
        """Three scrubbed rows as they will be trained: pieces of text, each with whether the loss is taken on it."""
        from sdk.train import preview

        trail = Trail(self.root)
        chosen = _override(trail.latest(Advice, "advise").settings, settings)
        scrubbed = trail.latest(Scrubbed, "scrub")
        data = trail.folder("scrub", scrubbed.inputs) / scrubbed.data["train"].path
        rows = preview(data, trail.charter.base, trail.domain().prompt, chosen)
        return [[(segment.text, segment.in_loss) for segment in row.segments] for row in rows]

    def sample_questions(self, count: int) -> list[tuple[str, str]]:
        """Scrubbed evaluation questions with their reference answers, evenly taken from the file."""
        from sdk.data import answer, question, read_rows

        trail = Trail(self.root)
        scrubbed = trail.latest(Scrubbed, "scrub")
        rows = read_rows(trail.folder("scrub", scrubbed.inputs) / scrubbed.data["eval"].path).rows
        chosen = [rows[i * len(rows) // count] for i in range(count)]
        return [(question(row), answer(row)) for row in chosen]

    def evaluate(self) -> Scores:
        """Ask the evaluation questions of the base and of the adapted model."""
        from sdk.evaluate import evaluate
        from sdk.seal import read_adapter

        with self._working() as trail:
            domain = trail.domain()
            run = trail.latest(Run, "train")
            scrubbed = trail.lineage(Scrubbed, run, "scrubbed")
            inputs = {**self._common(trail), "run": run.digest, "scrubbed": scrubbed.digest, "base": run.inputs["base"]}

            def work(folder: Path) -> Scores:
                config, weights = read_adapter(trail.folder("train", run.inputs))
                return evaluate(
                    data=trail.folder("scrub", scrubbed.inputs) / scrubbed.data["eval"].path,
                    base=trail.charter.base,
                    method=run.settings.method,
                    adapter_config=config,
                    adapter_weights=weights,
                    prompt=domain.prompt,
                    domain=domain,
                    on_progress=self._on_progress,
                )

            def after(scores: Scores) -> Mapping[str, Any]:
                value = {name: getattr(metrics, scores.metric).value for name, metrics in scores.adapted.items()}
                low = [
                    f"{name} {value[name]:.3f} < {floor}"
                    for name, floor in domain.floors.items()
                    if name in value and value[name] < floor
                ]
                return {
                    "questions": scores.adapted["all"].questions,
                    "below_floor": ", ".join(low),
                    "improvement": value["all"] - getattr(scores.base["all"], scores.metric).value,
                }

            return perform(trail, Request("evaluate", Scores, inputs, work, after=after))

    def check_leaks(self) -> Leaks:
        """Ask the newest run's model for the canaries that were planted in its rows before they were scrubbed.

        A control, trained here on canaries in plain, is asked likewise; nothing of it is kept. What was measured is
        recorded whatever it is; `register` refuses above the policy's limits. Raises OutOfOrder where the rows hold no
        canaries of this policy, StepFailed where the control is not caught, so that the check means nothing.
        """
        from sdk.canaries import canaries, planted_kinds
        from sdk.leaks import CONTROLS, Trained, check_leaks, passes

        with self._working() as trail:
            policy, domain = trail.policy(), trail.domain()
            run = trail.latest(Run, "train")
            scrubbed = trail.lineage(Scrubbed, run, "scrubbed")
            if not policy.leaks.canaries:
                raise InvalidInput(f"Policy {policy.name} plants no canaries; set leaks.canaries, to 32 for a start.")
            if not scrubbed.canaries or scrubbed.inputs["policy"] != policy.digest:
                raise OutOfOrder(
                    "The rows of the newest run hold no canaries of this policy; run `sdk scrub` and `sdk train` again."
                )
            _, secret = trail.keys()
            kinds = planted_kinds(policy.scrub)
            planted, control = (
                canaries(secret.derive(purpose).expose(), count, domain.languages, kinds)
                for purpose, count in ((CANARIES, scrubbed.canaries), ("control canaries", CONTROLS))
            )
            inputs = {**self._common(trail), "run": run.digest, "scrubbed": scrubbed.digest, "base": run.inputs["base"]}

            def work(folder: Path) -> Leaks:
                seen = passes(run, scrubbed.rows["train"] + scrubbed.canaries)
                asked = Trained(trail.charter.base, domain.prompt, run.settings, self._adapter_of(trail, run), seen)
                protecting = secret.derive("checkpoints") if policy.seal.encrypt else None
                return check_leaks(asked, planted, control, protecting, folder, self._on_progress)

            return perform(trail, Request("leaks", Leaks, inputs, work))

    def register(self) -> Release:
        """Seal the evaluated adapter and register the package in MLflow under the alias `candidate`."""
        from sdk.registry import Tracking
        from sdk.registry.register import register
        from sdk.verify import BASE_TAG, HEAD_TAG, adaptation

        with self._working() as trail:
            scores = trail.latest(Scores, "evaluate")
            run = trail.lineage(Run, scores, "run")
            if trail.latest(Run, "train").digest != run.digest:
                raise OutOfOrder("The newest training run has not been evaluated; run `sdk evaluate` first.")
            scrubbed, advice = trail.lineage(Scrubbed, run, "scrubbed"), trail.lineage(Advice, run, "advice")
            leaks = _find_leaks(trail, run)
            _require_no_leaks(trail, run, leaks)
            package = self._seal(trail, advice, scrubbed, run, scores, leaks)
            figures = unsent(self.root, run.request)
            inputs = {
                "package": package.digest,
                "settings": _settings_digest(tracking_uri=trail.charter.tracking_uri),
            }

            def work(folder: Path) -> Release:
                return register(
                    adaptation(trail, package),
                    trail.folder("seal", package.inputs),
                    {BASE_TAG: package.inputs["base"], HEAD_TAG: trail.events[-1].hash},
                    Tracking(self.root, trail.charter.tracking_uri),
                    folder,
                    self._on_progress,
                    figures if figures.exists() else None,
                    self._proofs(trail, scrubbed, folder),
                )

            release = perform(trail, Request("register", Release, inputs, work))
            figures.unlink(missing_ok=True)
            self._promote_if_approved(trail, release)
            return release

    def approve(
        self,
        release: Release | None = None,
        *,
        key: str,
        reason: str,
        decision: Literal["approve", "reject"] = "approve",
    ) -> Approval:
        """Sign a decision over a release's package (the newest); enough approvals move alias `champion`."""
        from sdk.approve import decide, find_holder

        with self._working() as trail:
            chosen = release or trail.latest(Release, "register")
            signer = crypto.open_signing_key(key)
            holder = find_holder(trail.charter.holders, signer.fingerprint)
            earlier = [
                approval
                for approval in trail.all(Approval, "approve")
                if approval.package == chosen.package and approval.key_fingerprint == holder.fingerprint
            ]
            repeated = bool(earlier) and (earlier[-1].decision, earlier[-1].reason) == (decision, reason)
            inputs = {
                "package": chosen.package,
                "release": chosen.digest,
                "policy": trail.policy().digest,
                "settings": _settings_digest(
                    decision=decision, reason=reason, key=holder.fingerprint, turn=len(earlier) - repeated
                ),
            }

            def work(folder: Path) -> Approval:
                return decide(chosen.package, decision, reason, holder, signer, trail.charter.policy, inputs)

            before = {"reason_length": len(reason.strip()), "approver_is_trainer": holder.role == "trainer"}
            actor = (holder.name, f"key:{holder.fingerprint}")
            approval = perform(trail, Request("approve", Approval, inputs, work, before, actor=actor))
            self._promote_if_approved(trail, chosen)
            return approval

    def load(self, release: Release | None = None) -> AdaptedModel:
        """The model of a release (the promoted one by default), after everything has been verified and approved."""
        from sdk.approve import tally
        from sdk.model.adapted import load_adapted
        from sdk.seal import open_package, unseal
        from sdk.verify import verify_project

        with self._working() as trail:
            promoted = trail.finished("promote")
            objects = {"release": release.digest, "package": release.package} if release else {}
            with recorded(trail, "load", objects or (promoted[-1].objects if promoted else {})):
                if release is None and not promoted:
                    raise Refused("No release has been approved yet; have it approved with `sdk approve`.")
                chosen = release or trail.records.get(Release, promoted[-1].objects["release"])
                verify_project(trail, registry=trail.charter.tracking_uri is None)
                policy = trail.policy()
                approvals = trail.all(Approval, "approve")
                require(policy, "approve", tally(approvals, trail.charter.holders, chosen.package, policy.digest))
                package = trail.lineage(Package, chosen, "package")
                folder = trail.folder("seal", package.inputs)
                manifest = open_package(folder, package, trail.trainer.public_key)
                config, weights = unseal(folder, manifest, trail.keys()[1])
                method = trail.lineage(Run, package, "run").settings.method
                return load_adapted(
                    trail.charter.base, method, config, weights, manifest.prompt, manifest.max_new_tokens
                )

    # -- looking ----------------------------------------------------------------------------------------------------

    def predictions(self) -> list[Run]:
        """Every finished training run, oldest first, with what was predicted of it and what was measured."""
        return list({run.digest: run for run in Trail(self.root).all(Run, "train")}.values())

    def history(self) -> list[Event]:
        return Trail(self.root).events

    def verify(self) -> Verified:
        """Check everything that the folder and MLflow hold; Tampered names the first thing that is wrong."""
        from sdk.verify import verify_project

        return verify_project(Trail(self.root), registry=True)

    def trail(self) -> Trail:
        return Trail(self.root)

    def ui_command(self, port: int) -> list[str]:
        """The command that serves the stock MLflow UI on this project, on 127.0.0.1 only."""
        from sdk.registry import Tracking, ui_command

        return ui_command(Tracking(self.root.resolve(), Trail(self.root).charter.tracking_uri), port)

    # -- inside -----------------------------------------------------------------------------------------------------

    @contextmanager
    def _working(self) -> Iterator[Trail]:
        if not self.root.is_dir():
            raise OutOfOrder(f"{self.root} is not a project; make one with `sdk init`.")
        with locked(self.root / LOCK):
            yield Trail(self.root)

    @staticmethod
    def _common(trail: Trail) -> dict[str, str]:
        return {"policy": trail.policy().digest, "domain": trail.domain_digest()}

    def _setup(self, trail: Trail, data: str | Path | None) -> tuple[Setup, Rows]:
        """What candidates are tried on, here: the needs of the newest advice where it was for these rows."""
        from sdk.advise import find_model
        from sdk.brief import find_rows, make_needs
        from sdk.hardware import probe
        from sdk.trial import Setup

        rows, policy = find_rows(trail, data), trail.policy()
        shape = find_model(str(trail.base_folder()))
        advice = trail.find_latest(Advice, "advise")
        same = {**self._common(trail), "base": trail.charter.base_digest, "data": rows.origin}
        known = advice is not None and all(advice.inputs.get(name) == digest for name, digest in same.items())

        def allow(method: Method) -> None:
            require(policy, "train", {"method": method, "from_hub": trail.charter.base_from_hub})

        setup = Setup(
            shape=shape,
            hardware=probe(),
            needs=advice.needs if advice and known else make_needs(trail, rows, shape, {}, None),
            base=trail.charter.base,
            prompt=trail.domain().prompt,
            allow=allow,
            on_progress=self._on_progress,
        )
        return setup, rows

    @staticmethod
    def _trial_digest(setup: Setup, settings: Sequence[TrainSettings], turn: int) -> str:
        """turn: how often something that could have worked failed before, so that it is tried again."""
        return _settings_digest(
            settings=[each.model_dump(mode="json") for each in settings],
            hardware=setup.hardware.model_dump(mode="json"),
            versions={name: version(name) for name in ("torch", "transformers", "peft", "bitsandbytes")},
            turn=turn,
        )

    @staticmethod
    def _proofs(trail: Trail, scrubbed: Scrubbed, out: Path) -> dict[str, Path]:
        """What proves the scrubbing to a reviewer in MLflow: artifact path -> file. The newest review goes to `out`."""
        from sdk.scrub import REPORTS

        folder = trail.folder("scrub", scrubbed.inputs)
        proofs = {f"scrub/{ref.path}": check_ref(folder, ref) for ref in scrubbed.files if ref.path in REPORTS}
        reviews = _reviews(trail, scrubbed)
        if reviews:
            path = out / "review.json"
            write_atomic(path, reviews[-1].to_bytes() + b"\n")
            proofs[f"scrub/{path.name}"] = path
        return proofs

    @staticmethod
    def _missed(trail: Trail) -> list[Held]:
        """What reviews marked, decrypted in memory: test rows for scrubbing."""
        from sdk.review import read_misses

        secret = trail.keys()[1].derive("review")
        reviews = {review.digest: review for review in trail.all(Review, "review")}.values()
        found = [read_misses(trail.folder("review", review.inputs), review, secret) for review in reviews]
        return [rows for rows in found if rows is not None]

    def _adapter_of(self, trail: Trail, run: Run) -> tuple[Mapping[str, Any], bytes]:
        """PEFT's configuration and the weights of a finished run, sealed or not, checked against its record."""
        from sdk.seal import open_package, read_adapter, unseal

        if run.inputs["base"] != trail.charter.base_digest:
            raise InvalidInput(
                f"Run {run.digest[:12]} was trained on another base ({run.base}); an adapter fits its own base only."
            )
        folder = trail.folder("train", run.inputs)
        sealed = [package for package in trail.all(Package, "seal") if package.inputs["run"] == run.digest]
        if sealed:
            folder = trail.folder("seal", sealed[-1].inputs)
            return unseal(folder, open_package(folder, sealed[-1], trail.trainer.public_key), trail.keys()[1])
        for ref in run.adapter:
            check_ref(folder, ref)
        return read_adapter(folder)

    def _seal(
        self, trail: Trail, advice: Advice, scrubbed: Scrubbed, run: Run, scores: Scores, leaks: Leaks | None
    ) -> Package:
        from sdk.seal import ADAPTER, Facts, seal

        key, secret = trail.keys()
        policy = trail.policy()
        records = {"advice": advice.digest, "scrubbed": scrubbed.digest, "run": run.digest, "scores": scores.digest}
        if leaks:
            records["leaks"] = leaks.digest
        inputs = {
            **self._common(trail),
            **records,
            "base": run.inputs["base"],
            "settings": _settings_digest(key=key.fingerprint),
        }
        domain = trail.domain()
        facts = Facts(
            project=trail.charter.name,
            base=run.base,
            base_digest=run.inputs["base"],
            method=run.settings.method,
            records=records,
            data={split: ref.sha256 for split, ref in scrubbed.data.items()},
            policy=policy.name,
            policy_digest=policy.digest,
            domain=trail.charter.domain,
            domain_digest=trail.domain_digest(),
            prompt=domain.prompt,
            max_new_tokens=domain.max_new_tokens,
            code=run.versions,
        )
        training = trail.folder("train", run.inputs)

        def work(folder: Path) -> Package:
            signer = trail.trainer.name
            return seal(training / ADAPTER, facts, policy.seal.encrypt, signer, key, secret, folder)

        package = perform(trail, Request("seal", Package, inputs, work))
        # From here on the weights exist in the package only, and in a checkpoint that is protected as the package is.
        protected = run.inputs["policy"] == policy.digest
        shutil.rmtree(training / ADAPTER if protected else training, ignore_errors=True)
        return package

    def _promote_if_approved(self, trail: Trail, release: Release) -> None:
        from sdk.approve import tally
        from sdk.registry import Tracking, promote
        from sdk.verify import HEAD_TAG

        policy = trail.policy()
        facts = tally(trail.all(Approval, "approve"), trail.charter.holders, release.package, policy.digest)
        try:
            require(policy, "approve", facts)
        except Refused:
            return  # more decisions are to come; `load` refuses until they have
        objects = {"release": release.digest, "package": release.package}
        promoted = trail.finished("promote")
        if not promoted or promoted[-1].objects != objects:
            with recorded(trail, "promote", objects):
                promote(
                    Tracking(self.root, trail.charter.tracking_uri),
                    release.model_name,
                    release.version,
                    {HEAD_TAG: trail.events[-1].hash},
                )

    def _amend(self, trail: Trail, action: str, changes: Mapping[str, Any]) -> None:
        charter = trail.charter.model_copy(update=dict(changes))
        if charter == trail.charter:
            return
        with recorded(trail, action, {}) as made:
            made["charter"] = trail.records.put(charter)
            trail.charter = charter


def _refusal(allow: Callable[[Method], None], method: Method) -> bool:
    try:
        allow(method)
    except Refused:
        return True
    return False


def _find_leaks(trail: Trail, run: Run) -> Leaks | None:
    """The newest check of this very run."""
    found = [leaks for leaks in trail.all(Leaks, "leaks") if leaks.inputs["run"] == run.digest]
    return found[-1] if found else None


def _require_no_leaks(trail: Trail, run: Run, leaks: Leaks | None) -> None:
    """Refused, and an event of it, where the policy asks for a check that is missing or found too much."""
    facts: dict[str, Any] = {"leaks_checked": leaks is not None}
    if leaks:
        found = leaks.adapted
        facts |= {"exposure_bits": found.exposure.value, "extracted": found.extracted, "canaries": len(found.kinds)}
        facts |= {"auc": found.auc.value, "tpr": found.tpr.value}
    try:
        require(trail.policy(), "leaks", facts)
    except Refused as refused:
        with recorded(trail, "register", {"run": run.digest, **({"leaks": leaks.digest} if leaks else {})}):
            raise refused from None


def _reviews(trail: Trail, scrubbed: Scrubbed) -> list[Review]:
    """Of this very scrubbing, oldest first."""
    return [review for review in trail.all(Review, "review") if review.inputs["scrubbed"] == scrubbed.digest]


def _find_run(trail: Trail, wanted: Run | str) -> Run:
    digest = wanted if isinstance(wanted, str) else wanted.digest
    found = {run.digest: run for run in trail.all(Run, "train") if run.digest.startswith(digest)}
    if len(found) != 1:
        known = [f"{run.digest[:12]}: {run.steps} steps" for run in trail.all(Run, "train")]
        raise InvalidInput(f"{len(found)} runs of this project have digest {digest[:64]}; name one of:", known)
    return found.popitem()[1]


def _more_steps(
    before: Run, chosen: TrainSettings, changes: Mapping[str, Any], inputs: Mapping[str, str]
) -> TrainSettings:
    """Settings to go on from a finished run with; InvalidInput names everything that is not as it was."""
    from sdk.train import MORE_STEPS

    differing = [
        f"{name} is {value}, was {was}"
        for name, value in chosen
        if name not in MORE_STEPS and value != (was := getattr(before.settings, name))
    ]
    differing += [
        f"the {name} is another one" for name in ("base", "scrubbed", "domain") if inputs[name] != before.inputs[name]
    ]
    if differing:
        raise InvalidInput("A run goes on with what it was begun with, but for the number of steps.", differing)
    by_epochs = "num_train_epochs" in changes and "max_steps" not in changes
    return chosen.model_copy(update={"max_steps": -1}) if by_epochs else chosen


def _override(settings: TrainSettings, changes: Mapping[str, Any]) -> TrainSettings:
    try:
        return TrainSettings.model_validate({**settings.model_dump(), **changes})
    except ValidationError as error:
        raise InvalidInput("A training setting is wrong.", validation_faults(error)) from None
