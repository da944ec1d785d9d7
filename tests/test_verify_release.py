"""The stand-alone verifier says of each release what `sdk.serve.admit` says; the page's transcript runs as printed."""

from __future__ import annotations

import ast
import base64
import importlib.util
import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sdk import Project, SDKError, crypto
from sdk.audit import Audit
from sdk.crypto import dsse
from sdk.files.store import log_origin
from sdk.records import canonical_json, sha256
from sdk.serve.admit import Trust, admit
from tests.releases import SIGNERS, Bench, Keys, Plan, Said, make, write

DOCS = Path(__file__).resolve().parents[1] / "docs"
SCRIPT, PAGE = DOCS / "verify_release.py", DOCS / "verify.md"


def load_script() -> Any:
    spec = importlib.util.spec_from_file_location("verify_release", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


STANDALONE = load_script()


@pytest.fixture(scope="module")
def bench(finished: Project) -> Bench:
    root = finished.root.resolve()
    owner, trainer, log = (crypto.open_signer(f"file:keys/{name}.pem", root) for name in ("owner", "signing", "log"))
    trust = finished.trust().model_copy(update={"ring": None})  # `make` goes on from the first key ring
    return Bench(next(root.glob("mlartifacts/**/release")), root / "audit", trust, Keys(owner, trainer, log))


def ours(folder: Path, trust: Trust) -> bool:
    try:
        admit(folder, trust)
    except SDKError:
        return False
    return True


def theirs(folder: Path, root: str, *more: str) -> bool:
    code = STANDALONE.main([str(folder), "--root", root, *more])
    assert code in (0, 1)
    return not code


def agree(folder: Path, trust: Trust, expected: bool | None = None) -> None:
    verdicts = ours(folder, trust), theirs(folder, trust.root)
    assert verdicts[0] == verdicts[1], f"admit {verdicts[0]}, stand-alone {verdicts[1]}"
    if expected is not None:
        assert verdicts[0] is expected


# -- the script itself ------------------------------------------------------------------------------------------------


def test_it_stands_alone_and_is_short_enough_to_be_read() -> None:
    text = SCRIPT.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    names = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(str(node.module).split(".")[0])
    assert names - sys.stdlib_module_names == {"cryptography"}


def test_it_runs_where_our_package_is_not(bench: Bench, tmp_path: Path) -> None:
    command = [sys.executable, "-I", str(SCRIPT), str(bench.release), "--root", bench.trust.root]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    *steps, last = ended.stdout.splitlines()
    assert [line.split(":")[0] for line in steps] == [
        "1 rings",
        "2 package",
        "3 manifest",
        "4 promotion",
        "5 rules",
        "6 decisions",
    ]
    assert last == f"VERIFIED {sha256((bench.release / 'package/manifest.json').read_bytes())}"


def test_the_first_step_that_does_not_hold_is_named(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(bench.release, tmp_path / "release"))
    (folder / "governance/policy.json").write_bytes(b"{}")
    assert not theirs(folder, bench.trust.root)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "6 decisions: FAULT (ValueError): policy.json is not what the package was sealed under"


# -- releases that were made with the right keys, rightly and wrongly -------------------------------------------------


DAY = 86_400
REVIEW, REJECT, WITHDRAW = "review", "reject", "withdraw"
PLANS: dict[str, tuple[Plan, bool]] = {
    "one approval of one": (Plan(), True),
    "nobody decided": (Plan(()), False),
    "nobody has to decide": (Plan((), {"approvals": 0}), True),
    "two of two": (Plan((Said("ada"), Said("bob")), {"approvals": 2}), True),
    "one of two": (Plan((Said("ada"),), {"approvals": 2}), False),
    "one person with two keys is one": (Plan((Said("ada"), Said("ada2", after=0.002)), {"approvals": 2}), False),
    "the same decision twice is one": (Plan((Said("ada"), Said("ada")), {"approvals": 2}), False),
    "the trainer approves": (Plan((Said("tom"),)), False),
    "the trainer may approve": (Plan((Said("tom"),), {"trainer_may_approve": True}), True),
    "the trainer's rejection counts": (Plan((Said("bob"), Said("tom", REJECT))), False),
    "a reviewer cannot approve": (Plan((Said("rita"),)), False),
    "an owner cannot approve": (Plan((Said("olga"),)), False),
    "an owner cannot reject": (Plan((Said("bob"), Said("olga", REJECT))), True),
    "a review, then an approval": (Plan((Said("rita", REVIEW), Said("bob", after=0.002)), {"reviews": 1}), True),
    "an approval, then a review": (Plan((Said("bob"), Said("rita", REVIEW, 0.002)), {"reviews": 1}), False),
    "a review in the list before, in time after": (
        Plan((Said("rita", REVIEW, 0.003), Said("bob", after=0.002)), {"reviews": 1}),
        False,
    ),
    "a review at the same time": (Plan((Said("rita", REVIEW), Said("bob")), {"reviews": 1}), False),
    "no review": (Plan((Said("bob"),), {"reviews": 1}), False),
    "a review by the trainer": (Plan((Said("tom", REVIEW), Said("bob", after=0.002)), {"reviews": 1}), False),
    "one review of two": (Plan((Said("rita", REVIEW), Said("bob", after=0.002)), {"reviews": 2}), False),
    "two reviews of two": (
        Plan((Said("rita", REVIEW), Said("rolf", REVIEW), Said("bob", after=0.002)), {"reviews": 2}),
        True,
    ),
    "who reviewed and then approves has approved only": (
        Plan((Said("bea", REVIEW), Said("bea", after=0.002)), {"reviews": 1}),
        False,
    ),
    "a review expires": (
        Plan((Said("rita", REVIEW, ends=0.01), Said("bob", after=0.002)), {"reviews": 1}),
        False,
    ),
    "a rejection": (Plan((Said("bob"), Said("ada", REJECT))), False),
    "a rejection without a reason worth it": (Plan((Said("bob"), Said("ada", REJECT, reason="no"))), False),
    "a rejection by a reviewer": (Plan((Said("bob"), Said("rita", REJECT))), False),
    "a rejection and a change of mind": (Plan((Said("bob", REJECT), Said("bob", after=0.002))), True),
    "a change of mind that is dated before": (Plan((Said("bob", REJECT, 0.002), Said("bob", after=0.001))), False),
    "a withdrawn rejection": (Plan((Said("bob"), Said("ada", REJECT), Said("ada", WITHDRAW, 0.002))), True),
    "a rejection withdrawn for no reason": (
        Plan((Said("bob"), Said("ada", REJECT), Said("ada", WITHDRAW, 0.002, reason="so"))),
        False,
    ),
    "a withdrawn approval": (Plan((Said("bob"), Said("bob", WITHDRAW, 0.002))), False),
    "an approval withdrawn with an old date": (Plan((Said("bob", after=0.002), Said("bob", WITHDRAW, 0.001))), False),
    "an approval expired": (Plan((Said("bob", ends=0.01),)), False),
    "an approval expires tomorrow": (Plan((Said("bob", ends=DAY),)), True),
    "the policy's days are over": (Plan((Said("bob", after=-2 * DAY),), {"valid_days": 1}), False),
    "the policy's days are not over": (Plan((Said("bob", after=-2 * DAY),), {"valid_days": 3}), True),
    "before the key was valid": (Plan((Said("bob", after=-30 * DAY),)), False),
    "a key that is not valid yet": (Plan((Said("new"),)), False),
    "dated in the future": (Plan((Said("bob", after=DAY),)), False),
    "too short a reason": (Plan((Said("bob", reason="fine"),)), False),
    "spaces are no reason": (Plan((Said("bob", reason=" " * 60),)), False),
    "over another report": (Plan((Said("bob", report="0" * 64),)), False),
    "over another report, beside a good one": (Plan((Said("ada", report="0" * 64), Said("bob"))), True),
    "a rejection of another report": (Plan((Said("bob"), Said("ada", REJECT, report="0" * 64))), True),
    "by a stranger, beside a good one": (Plan((Said("bob"), Said("stranger"))), False),
    "in another person's name": (Plan((Said("bob"), Said("ada", person="Bob"))), False),
    "the approver's key is compromised": (Plan(revoked={"bob": ("compromised", 5)}), False),
    "the approver left afterwards": (Plan(revoked={"bob": ("left", 0.002)}), True),
    "the approver had left": (Plan(revoked={"bob": ("left", 0.001)}), False),
    "a rejection stands after its key was compromised": (
        Plan((Said("bob"), Said("ada", REJECT)), revoked={"ada": ("compromised", 5)}),
        False,
    ),
    "the trainer's key is compromised": (Plan(revoked={"trainer": ("compromised", 5)}), False),
    "the trainer's key is superseded later": (Plan(revoked={"trainer": ("superseded", 10 * DAY)}), True),
    "the trainer's key was superseded": (Plan(revoked={"trainer": ("superseded", 0)}), False),
    "the log's key is compromised": (Plan(revoked={"log": ("compromised", 5)}), False),
    "the log's key is superseded": (Plan(revoked={"log": ("superseded", 0)}), False),
    "a key ring by an approver": (Plan(ring_by="ada"), False),
    "sealed by an approver": (Plan(sealed_by="ada"), False),
    "sealed by a stranger": (Plan(sealed_by="stranger"), False),
    "approved again after the promotion": (Plan(later=(Said("ada"),)), True),
    "rejected after the promotion": (Plan(later=(Said("ada", REJECT),)), False),
    "withdrawn after the promotion": (Plan(later=(Said("bob", WITHDRAW, 0.002),)), False),
    "another package was promoted": (Plan(objects={"package": "0" * 64}), False),
    "another policy was promoted": (Plan(objects={"policy": "0" * 64}), False),
    "another report was promoted": (Plan(objects={"report": "0" * 64}), False),
    "no report was promoted": (Plan(objects={"report": None}), False),
    "under an unknown key ring": (Plan(objects={"ring": "0" * 64}), False),
    "on other decisions": (Plan(objects={"decision.0001": "0" * 64}), False),
    "on more decisions": (Plan(objects={"decision.0002": "0" * 64}), False),
    "on no decision that is named": (Plan(objects={"decision.0001": None}), True),
    "a promotion that was begun": (Plan(action=("promote", "started")), False),
    "a promotion that was refused": (Plan(action=("promote", "refused")), False),
    "an event of something else": (Plan(action=("publish", "finished")), False),
}


@pytest.mark.parametrize("name", PLANS)
def test_both_say_the_same_of_what_was_signed(bench: Bench, name: str, tmp_path: Path) -> None:
    plan, expected = PLANS[name]
    folder = make(bench, plan, tmp_path)
    agree(folder, bench.trust, expected)
    assert theirs(folder, bench.trust.root, "--log", str(tmp_path / "audit")) is expected


def test_both_refuse_another_root(bench: Bench) -> None:
    agree(bench.release, bench.trust, True)
    for root in ("0" * 64, bench.rings[-1].digest):
        agree(bench.release, bench.trust.model_copy(update={"root": root}), False)


ODD = [
    None,
    True,
    0,
    1.5,
    "",
    "approve",
    "0" * 64,
    "2026-99-99T99:99:99.999+00:00",
    [],
    {},
    ["approve"],
    {"sha256": ""},
]


def oddly(value: Any, chance: random.Random) -> Any:
    """A copy with one odd value, somewhere, or one thing more or less."""
    if isinstance(value, dict) and value and chance.random() < 0.8:
        name = chance.choice(sorted(value))
        if chance.random() < 0.1:
            return {key: each for key, each in value.items() if key != name}
        return {**value, name: oddly(value[name], chance)}
    if isinstance(value, list) and value and chance.random() < 0.8:
        place = chance.randrange(len(value))
        return [*value[:place], oddly(value[place], chance), *value[place + chance.randrange(2) :]]
    return chance.choice(ODD)


def test_both_say_the_same_of_odd_decisions_that_are_rightly_signed(bench: Bench, tmp_path: Path) -> None:
    folder, chance = make(bench, Plan(later=(Said("ada"),)), tmp_path), random.Random(9)
    path = folder / "governance/decisions/0002.dsse.json"
    said = json.loads(base64.b64decode(json.loads(path.read_bytes())["payload"]))
    for _ in range(100):
        odd = canonical_json(oddly(said, chance))
        path.write_bytes(dsse.sign_envelope(dsse.INTOTO, odd, SIGNERS["ada"]))
        agree(folder, bench.trust)


# -- releases that were altered without a key -------------------------------------------------------------------------


def edit(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        data = (folder / name).read_bytes()
        changed = change(data)
        assert changed != data
        (folder / name).write_bytes(changed)

    return apply


def in_payload(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """Change what a DSSE envelope holds, and leave its signature."""

    def apply(data: bytes) -> bytes:
        envelope = json.loads(data)
        envelope["payload"] = crypto.b64(change(base64.b64decode(envelope["payload"])))
        return canonical_json(envelope)

    return edit(name, apply)


def in_bundle(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def apply(data: bytes) -> bytes:
        bundle = json.loads(data)
        change(bundle)
        return canonical_json(bundle)

    return edit("package/model.sig", apply)


def signed_twice(bundle: dict[str, Any]) -> None:
    bundle["dsseEnvelope"]["signatures"] *= 2


def add(name: str, data: bytes = b"{}") -> Callable[[Path], None]:
    return lambda folder: write(folder / name, data)


def take(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def link(name: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        (folder / name).rename(folder.parent / "aside")
        (folder / name).symlink_to(folder.parent / "aside")

    return apply


def swap(one: str, other: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        data = (folder / one).read_bytes(), (folder / other).read_bytes()
        (folder / one).write_bytes(data[1])
        (folder / other).write_bytes(data[0])

    return apply


def proof_lines(change: Callable[[list[str]], list[str]]) -> Callable[[Path], None]:
    return edit("governance/promotion.proof", lambda data: "\n".join(change(data.decode().split("\n"))).encode())


def spaced(data: bytes) -> bytes:
    return json.dumps(json.loads(data)).encode()


def with_witness(data: bytes) -> bytes:
    return data + b"\xe2\x80\x94 witness.example " + base64.b64encode(bytes(68)) + b"\n"


RING1, RING2 = "governance/ring/0001.dsse.json", "governance/ring/0002.dsse.json"
DECISION, PROOF = "governance/decisions/0001.dsse.json", "governance/promotion.proof"
WEIGHTS = "package/adapter_model.safetensors.floe"
# what a change does, and whether the release still counts
ALTERED: dict[str, tuple[Callable[[Path], None], bool]] = {
    "a file more": (add("package/notes.txt"), False),
    "a script more": (add("package/model.py"), False),
    "a file of git": (add("package/.gitattributes"), False),
    "another tokenizer file": (add("package/special_tokens_map.json"), False),
    "plain weights beside the sealed": (add("package/adapter_model.safetensors"), False),
    "a folder more": (lambda folder: (folder / "package/code").mkdir(), False),
    "a twin of the manifest": (add("package/Manifest.json"), False),
    "weights as a link": (link(WEIGHTS), False),
    "the manifest as a link": (link("package/manifest.json"), False),
    "a decision as a link": (link(DECISION), False),
    "the policy as a link": (link("governance/policy.json"), False),
    "two files swapped": (swap("package/tokenizer.json", "package/tokenizer_config.json"), False),
    "weights cut": (edit(WEIGHTS, lambda data: data[:-16]), False),
    "weights longer": (edit(WEIGHTS, lambda data: data + b"\0"), False),
    "no weights": (edit(WEIGHTS, lambda data: b""), False),
    "a manifest with spaces": (edit("package/manifest.json", spaced), False),
    "a manifest that is none": (edit("package/manifest.json", lambda data: b"[]"), False),
    "a manifest of deep lists": (edit("package/manifest.json", lambda data: b"[" * 200_000), False),
    "a manifest by another": (
        edit("package/manifest.json", lambda data: data.replace(b'"signing_key":"', b'"signing_key":"0')),
        False,
    ),
    "a bundle with spaces": (edit("package/model.sig", spaced), False),
    "a bundle signed twice": (in_bundle(signed_twice), False),
    "a bundle unsigned": (in_bundle(lambda bundle: bundle["dsseEnvelope"]["signatures"].clear()), False),
    "a bundle of another type": (in_bundle(lambda bundle: bundle.update(mediaType="text/plain")), False),
    "a bundle with a field more": (in_bundle(lambda bundle: bundle.update(more=1)), False),
    "a bundle with another hint": (
        in_bundle(lambda bundle: bundle["verificationMaterial"]["publicKey"].update(hint="0" * 64)),
        False,
    ),
    "a bundle that is no JSON": (edit("package/model.sig", lambda data: b"\xff\xfe"), False),
    "no key ring": (lambda folder: shutil.rmtree(folder / "governance/ring"), False),
    "the first key ring is missing": (take(RING1), False),
    "the newest key ring is missing": (take(RING2), False),
    "key rings swapped": (swap(RING1, RING2), False),
    "the newest key ring twice": (
        lambda folder: write(folder / "governance/ring/0003.dsse.json", (folder / RING2).read_bytes()),
        False,
    ),
    "a file among the key rings": (add("governance/ring/note.txt"), False),
    "a key ring with spaces": (edit(RING2, spaced), False),
    "an approver becomes an owner": (in_payload(RING2, lambda data: data.replace(b'"approver"', b'"owner"')), False),
    "a key ring of another project": (
        in_payload(RING1, lambda data: data.replace(b'"project":"', b'"project":"x')),
        False,
    ),
    "a key ring that is none": (in_payload(RING2, lambda data: b"{}"), False),
    "no decision": (lambda folder: shutil.rmtree(folder / "governance/decisions"), False),
    "a decision twice": (
        lambda folder: write(folder / "governance/decisions/0002.dsse.json", (folder / DECISION).read_bytes()),
        True,
    ),
    "a decision under another number": (
        lambda folder: (folder / DECISION).rename(folder / "governance/decisions/0002.dsse.json"),
        False,
    ),
    "a decision with spaces": (edit(DECISION, spaced), False),
    "a rejection made an approval": (in_payload(DECISION, lambda data: data.replace(b"approve", b"reject")), False),
    "a decision that is none": (add("governance/decisions/0002.dsse.json"), False),
    "a key ring among the decisions": (
        lambda folder: write(folder / "governance/decisions/0002.dsse.json", (folder / RING2).read_bytes()),
        False,
    ),
    "no policy": (take("governance/policy.json"), False),
    "a laxer policy": (
        edit("governance/policy.json", lambda data: data.replace(b'"approvals":1', b'"approvals":0')),
        False,
    ),
    "a policy with spaces": (edit("governance/policy.json", spaced), False),
    "no report": (take("governance/report.sha256"), False),
    "another report": (edit("governance/report.sha256", lambda data: b"0" * 64), False),
    "a report with a line end": (edit("governance/report.sha256", lambda data: data + b"\n"), False),
    "a report that is no text": (edit("governance/report.sha256", lambda data: b"\xff" * 64), False),
    "no promotion": (take("governance/promotion.json"), False),
    "no proof": (take(PROOF), False),
    "a promotion with spaces": (edit("governance/promotion.json", spaced), False),
    "a promotion with a line end": (edit("governance/promotion.json", lambda data: data + b"\n"), False),
    "a proof of another version": (proof_lines(lambda lines: ["c2sp.org/tlog-proof@v2", *lines[1:]]), False),
    "a proof of another place": (proof_lines(lambda lines: [lines[0], "index 0", *lines[2:]]), False),
    "a proof with an odd place": (
        proof_lines(lambda lines: [lines[0], lines[1].replace(" ", " 0"), *lines[2:]]),
        False,
    ),
    "a proof without a place": (proof_lines(lambda lines: [lines[0], *lines[2:]]), False),
    "a proof with a hash less": (proof_lines(lambda lines: [*lines[:2], *lines[3:]]), False),
    "a proof with a hash more": (proof_lines(lambda lines: [*lines[:3], *lines[2:]]), False),
    "a proof with hashes swapped": (proof_lines(lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]]), False),
    "a proof without a checkpoint": (edit(PROOF, lambda data: data.partition(b"\n\n")[0] + b"\n\n"), False),
    "a proof with nothing": (edit(PROOF, lambda data: b""), False),
    "a checkpoint of more events": (
        edit(PROOF, lambda data: re.sub(rb"(/[0-9a-f]{16}\n)\d+\n", rb"\g<1>999\n", data, count=1)),
        False,
    ),
    "a checkpoint of another log": (
        edit(PROOF, lambda data: data.replace(b"domain-adaptation-sdk/", b"domain-adaptation-sdl/")),
        False,
    ),
    "a checkpoint unsigned": (edit(PROOF, lambda data: data[: data.index("—".encode())]), False),
    "a signature that is malformed after the log's": (edit(PROOF, lambda data: data + b"no signature\n"), False),
    "an empty line after the log's signature": (edit(PROOF, lambda data: data + b"\n"), False),
    "a checkpoint that a witness signed, too": (edit(PROOF, with_witness), True),
    "what nobody reads, beside the evidence": (add("governance/notes.txt"), True),
    "another MLmodel": (edit("MLmodel", lambda data: data + b"# more\n"), True),
    "no provenance": (take("governance/provenance.dsse.json"), True),
}


@pytest.mark.parametrize("name", ALTERED)
def test_both_say_the_same_of_what_was_altered(bench: Bench, name: str, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bench.release, tmp_path / "release"))
    change, expected = ALTERED[name]
    change(folder)
    agree(folder, bench.trust, expected)


def test_both_refuse_a_flipped_bit_in_any_file_that_counts(bench: Bench, tmp_path: Path) -> None:
    folder, chance = Path(shutil.copytree(bench.release, tmp_path / "release")), random.Random(6)
    files = [path for path in folder.rglob("*") if path.is_file()]
    files = [path for path in files if path.name not in ("MLmodel", "provenance.dsse.json", "published.json")]
    assert len(files) >= 15
    for path in sorted(files):
        data = path.read_bytes()
        for place in [0, len(data) - 1, *(chance.randrange(len(data)) for _ in range(4))]:
            path.write_bytes(data[:place] + bytes([data[place] ^ 1 << chance.randrange(8)]) + data[place + 1 :])
            agree(folder, bench.trust, False)
        path.write_bytes(data)
    agree(folder, bench.trust, True)


# -- the whole log ----------------------------------------------------------------------------------------------------


def segment(folder: Path) -> Path:
    return folder / "events-00000001.jsonl"


def lines_of(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        lines = segment(folder).read_bytes().splitlines(keepends=True)
        segment(folder).write_bytes(b"".join(change(lines)))

    return apply


def split(folder: Path) -> None:
    lines = segment(folder).read_bytes().splitlines(keepends=True)
    segment(folder).write_bytes(b"".join(lines[:7]))
    write(folder / "events-00000008.jsonl", b"".join(lines[7:]))


LOGS: dict[str, tuple[Callable[[Path], None], bool]] = {
    "as it is": (lambda folder: None, True),
    "in two segments": (split, True),
    "an event altered": (lines_of(lambda lines: [lines[0].replace(b"init", b"info"), *lines[1:]]), False),
    "an event removed": (lines_of(lambda lines: lines[:3] + lines[4:]), False),
    "an event doubled": (lines_of(lambda lines: lines[:4] + lines[3:]), False),
    "events swapped": (lines_of(lambda lines: [lines[1], lines[0], *lines[2:]]), False),
    "the last event cut off": (lines_of(lambda lines: lines[:-1]), False),
    "nothing left": (lines_of(lambda lines: []), False),
    "the checkpoint's number raised": (
        edit("checkpoint", lambda data: re.sub(rb"\n\d+\n", b"\n99\n", data, count=1)),
        False,
    ),
    "the checkpoint unsigned": (edit("checkpoint", lambda data: data.partition(b"\n\n")[0] + b"\n\n"), False),
    "the checkpoint signed by a witness, too": (edit("checkpoint", with_witness), True),
    "no checkpoint": (take("checkpoint"), False),
}


@pytest.mark.parametrize("name", LOGS)
def test_both_say_the_same_of_a_log(bench: Bench, name: str, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bench.audit, tmp_path / "audit"))
    change, expected = LOGS[name]
    change(folder)
    try:
        Audit(folder, log_origin(bench.trust.root)).check(bench.keys.log.public_pem)
        whole = True
    except SDKError:
        whole = False
    assert (whole, theirs(bench.release, bench.trust.root, "--log", str(folder))) == (expected, expected)


def test_a_log_without_the_promotion_is_another_one(bench: Bench, tmp_path: Path) -> None:
    make(bench, Plan(), tmp_path)
    assert not theirs(bench.release, bench.trust.root, "--log", str(tmp_path / "audit"))


# -- the page ---------------------------------------------------------------------------------------------------------

TOOLS = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}
MISSING = [
    tool for tool in ("bash", "openssl", "sha256sum", "model_signing") if not shutil.which(tool, path=TOOLS["PATH"])
]
by_hand = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
END = "-- end of a block --"


def transcript() -> list[tuple[str, str]]:
    """Every shell block of the page, and what it says that the block prints."""
    text = PAGE.read_text(encoding="utf-8")
    found = re.findall(r"^```sh\n(.*?)^```$(?:\s*^```text\n(.*?)^```$)?", text, re.MULTILINE | re.DOTALL)
    return [(commands, printed) for commands, printed in found]


def follow(folder: Path, root: str) -> tuple[int, list[str]]:
    """The page's blocks in one shell that ends at the first command that fails: exit code, what each block printed."""
    script = "set -euo pipefail\n" + "".join(f"{commands}echo '{END}'\n" for commands, _ in transcript())
    command, environment = ["bash", "-c", script], {**TOOLS, "ROOT": root}
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return ended.returncode, ended.stdout.split(f"{END}\n")[:-1]


def masked(text: str) -> str:
    """Without what differs from release to release: digests, base64, numbers, and the name of who trained."""
    text = re.sub(r"[0-9a-f]{16,}|[A-Za-z0-9+/]{43}=", "DIGEST", text)
    return re.sub(r"\d+", "0", re.sub(r"(signed by|  by) [^:\n]+", r"\1 SOMEBODY", text))


@pytest.fixture
def table(bench: Bench, tmp_path: Path) -> Path:
    """What an outsider holds, as the page wants it: release, log and script in one folder."""
    shutil.copytree(bench.release, tmp_path / "release")
    shutil.copytree(bench.audit, tmp_path / "audit")
    shutil.copy(SCRIPT, tmp_path)
    return tmp_path


@by_hand
def test_the_page_prints_what_it_says(bench: Bench, table: Path) -> None:
    code, printed = follow(table, bench.trust.root)
    assert [masked(text) for text in printed] == [masked(text) for _, text in transcript()]
    assert code == 0


def without_script(folder: Path) -> None:
    (folder / "verify_release.py").write_text("")


@by_hand
@pytest.mark.parametrize(
    ("name", "stops_after"),
    [
        ("another root", 2),
        (RING1, 2),
        (RING2, 3),
        ("package/manifest.json", 4),
        (WEIGHTS, 4),
        ("package/model.sig", 4),
        ("governance/provenance.dsse.json", 6),
        ("governance/policy.json", 7),
        (DECISION, 7),
        ("governance/report.sha256", 7),
        (PROOF, 9),
        ("governance/promotion.json", 9),
        ("the log", 11),
    ],
)
def test_the_page_stops_where_a_byte_was_altered(bench: Bench, table: Path, name: str, stops_after: int) -> None:
    without_script(table)  # the commands alone are to notice it
    root = bench.trust.root
    if name == "another root":
        root = "0" * 64
    else:
        path = segment(table / "audit") if name == "the log" else table / "release" / name
        data = path.read_bytes()
        place = len(data) // 3
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    code, printed = follow(table, root)
    assert (code != 0, len(printed)) == (True, stops_after)
