"""What is said when something does not match: what was expected, what was found, and what to do now."""

import ast
import copy
import pickle
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer
from pydantic import ValidationError

import sdk
from sdk import Project, crypto
from sdk.audit import Audit, read_checkpoint
from sdk.audit.event import Event
from sdk.audit.tree import check_inclusion, leaf_hashes
from sdk.cli.app import app
from sdk.crypto import dsse, floe, keyring
from sdk.crypto.keyring import Ring
from sdk.documents.answers import Declaration
from sdk.domain import Domain
from sdk.errors import SAME_CAUSE, WHOM_TO_TELL, InvalidInput, Remedy, Tampered, another, by_cause, short
from sdk.files.store import Records, check_ref, file_ref
from sdk.policy import Policy, validation_faults
from sdk.records import Calibration, Charter, FileRef, StepRecord, in_words, sha256
from sdk.seal import oms
from sdk.serve.evidence import read_evidence, read_policy_bytes

ROOT = Path(sdk.__file__).parent
KEY, STRANGER = crypto.SigningKey.random(), crypto.SigningKey.random()
LOG_KEY = crypto.LogKey.random()
NOW = datetime(2026, 11, 26, tzinfo=UTC)


def tampered_calls() -> list[tuple[str, ast.Call]]:
    """Every place that makes a Tampered, whether it raises it there or hands it on."""
    return [
        (f"{path.relative_to(ROOT)}:{node.lineno}", node)
        for path in sorted(ROOT.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Tampered"
    ]


HANDED_ON = ("remedy", "self._remedy")


def test_a_remedy_that_is_handed_on_is_one() -> None:
    parameters = [
        (f"{path.relative_to(ROOT)}:{node.lineno}", ast.unparse(argument.annotation) if argument.annotation else "")
        for path in sorted(ROOT.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
        for argument in (*node.args.args, *node.args.kwonlyargs)
        if argument.arg == "remedy"
    ]
    assert parameters
    assert [place for place, kind in parameters if kind not in ("Remedy", "Remedy | None")] == []


def test_every_tampered_gives_a_remedy() -> None:
    calls = tampered_calls()
    assert len(calls) > 100
    for place, call in calls:
        remedies = [keyword.value for keyword in call.keywords if keyword.arg == "remedy"]
        assert len(remedies) == 1, place
        if ast.unparse(remedies[0]) in HANDED_ON:  # by who knows whose file it is; its type is held below
            continue
        assert isinstance(remedies[0], ast.Attribute), place
        assert remedies[0].attr in Remedy.__members__, place
    with pytest.raises(TypeError, match="remedy"):
        Tampered("A file has been altered.")  # type: ignore[call-arg]


def commands(group: typer.core.TyperGroup, before: str = "sdk") -> set[str]:
    names: set[str] = set()
    for name, command in group.commands.items():
        whole = f"{before} {name}"
        names |= commands(command, whole) if isinstance(command, typer.core.TyperGroup) else {whole}
    return names


@pytest.mark.parametrize("remedy", Remedy, ids=lambda remedy: remedy.name)
def test_a_remedy_says_where_from_and_names_commands_that_exist(remedy: Remedy) -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    named = [re.sub(r" --.*", "", text) for text in re.findall(r"`(sdk [^`]+)`", remedy.value)]
    assert named
    assert set(named) <= commands(group)


def case_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"one")
    ref = file_ref(path, tmp_path)
    path.write_bytes(b"two")
    check_ref(tmp_path, ref)


def case_missing_file(tmp_path: Path) -> None:
    check_ref(tmp_path, FileRef(path="gone.bin", size=3, sha256=sha256(b"one")))


def case_record(tmp_path: Path) -> None:
    (tmp_path / f"{sha256(b'one')}.json").write_bytes(b"two")
    Records(tmp_path).get(Calibration, sha256(b"one"))


def case_log(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "audit", "origin")
    for number in range(3):
        audit.append(LOG_KEY, "step", "finished", {}, "policy@1", {"number": str(number)})
    path = next(audit.folder.glob("events-*"))
    path.write_bytes(path.read_bytes().replace(b'"number":"1"', b'"number":"7"'))
    audit.prove(0)


def case_checkpoint(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "audit", "origin")
    audit.append(LOG_KEY, "step", "finished", {}, "policy@1", {})
    read_checkpoint(audit.checkpoint(), "origin", crypto.LogKey.random().public_pem, "a copy")


def case_proof(_: Path) -> None:
    check_inclusion(leaf_hashes([b"one"])[0], 0, 1, [], leaf_hashes([b"two"])[0], "event-0.tlog-proof")


def case_envelope(_: Path) -> None:
    signed = dsse.sign_envelope("kind", b"{}", STRANGER)
    dsse.open_envelope(signed, "kind", {KEY.fingerprint: KEY.public_pem}, "decision.json")


def case_root(_: Path) -> None:
    owner = keyring.signing_member("Olga", ["owner"], KEY.public_pem, NOW)
    ring = keyring.create_ring("claims", [owner], NOW)
    keyring.open_rings([keyring.sign_ring(ring, KEY)], sha256(b"one"), "ring")


def case_signature(_: Path) -> None:
    crypto.verify(KEY.public_pem, b"data", STRANGER.sign(b"data"), "model.sig")


def case_package(_: Path) -> None:
    signed = oms.sign({"weights": sha256(b"one")}, KEY)
    oms.check(signed, KEY.public_pem, {"weights": sha256(b"two")}, "model.sig")


def case_policy(_: Path) -> None:
    read_policy_bytes(b"two", sha256(b"one"), "policy.json", "the package was sealed under")


def case_release(tmp_path: Path) -> None:
    (tmp_path / "report.sha256").write_bytes(b"0" * (16 * 2**20 + 1))
    read_evidence(tmp_path)


def case_wrapped(_: Path) -> None:
    crypto.Secret.random().unwrap(crypto.Secret.random().wrap(crypto.Secret.random()))


def case_weights(_: Path) -> None:
    key = crypto.Secret.random()
    sealed = b"".join(bytes(part) for part in floe.encrypt(floe.take_from(b"weights"), 7, key, b""))
    floe.decrypt(floe.take_from(sealed), len(sealed), key, b"another package", "weights.floe")


ONE, TWO = sha256(b"one")[:12], sha256(b"two")[:12]
CASES: dict[str, tuple[Callable[[Path], None], Remedy, list[str]]] = {
    "file": (case_file, Remedy.PROJECT, [f"Expected: {ONE}.", f"Found: {TWO}."]),
    "missing file": (case_missing_file, Remedy.PROJECT, ["gone.bin is missing", f"Expected: a file of SHA-256 {ONE}."]),
    "record": (case_record, Remedy.PROJECT, [f"Expected: {ONE}.", f"Found: {TWO}."]),
    "log": (case_log, Remedy.LOG, ["Expected: ", "Found: "]),
    "checkpoint": (case_checkpoint, Remedy.LOG, ["not signed by the log's key", "Expected: key "]),
    "proof": (
        case_proof,
        Remedy.PROOF,
        [f"Expected: {leaf_hashes([b'two'])[0].hex()[:12]}.", f"Found: {leaf_hashes([b'one'])[0].hex()[:12]}."],
    ),
    "envelope": (
        case_envelope,
        Remedy.COPY,
        [f"Expected: {KEY.fingerprint[:12]}.", f"Found: {STRANGER.fingerprint[:12]}."],
    ),
    "root": (case_root, Remedy.COPY, [f"Expected: {ONE}.", "Found: "]),
    "signature": (case_signature, Remedy.COPY, [f"Expected: a signature by the key {KEY.fingerprint[:12]}."]),
    "package": (case_package, Remedy.COPY, [f"expected {ONE}, found {TWO}"]),
    "policy": (case_policy, Remedy.RELEASE, [f"Expected: {ONE}.", f"Found: {TWO}."]),
    "release": (case_release, Remedy.RELEASE, ["Expected: at most 16777216 bytes.", "Found: 16777217 bytes."]),
    "wrapped key": (case_wrapped, Remedy.KEY, ["does not open with this project's key"]),
    "weights": (case_weights, Remedy.COPY, ["its header, its package or its key is not the one of sealing"]),
}


@pytest.mark.parametrize("name", CASES)
def test_a_message_has_expected_found_and_remedy(tmp_path: Path, name: str) -> None:
    raising, remedy, said = CASES[name]
    with pytest.raises(Tampered) as caught:
        raising(tmp_path)
    error = caught.value
    assert error.message == f"{error.finding} {remedy.value} {WHOM_TO_TELL}"
    for text in said:
        assert text in str(error)
    assert not re.search("[0-9a-f]{64}", str(error).replace(str(tmp_path), "").replace(f"{sha256(b'one')}.json", ""))


def test_digests_are_shortened_and_other_values_are_not() -> None:
    assert short(f"a {'0' * 64} b {'f' * 64}") == f"a {'0' * 12} b {'f' * 12}"
    assert short("0" * 63) == "0" * 63
    assert short(7) == "7"
    assert another("report", "0" * 64, None) == "report is another one: expected 000000000000, found none"


def test_a_copy_says_the_same() -> None:
    """Threads that share a commit each raise a copy, and processes pickle what they raise."""
    error = Tampered("It is altered.", ["a fault"], remedy=Remedy.LOG, expected=1, found=2)
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(twin) is Tampered
        assert (twin.message, twin.faults, twin.finding) == (error.message, error.faults, error.finding)
        assert (str(twin), twin.args) == (str(error), error.args)


def test_of_many_rows_with_one_fault_the_first_stand_for_all() -> None:
    long = [f"row {number}: {number + 300} tokens; shorten it" for number in range(1200)]
    other = "row 7: no token is left to learn"
    told = by_cause([*long, other])
    assert told[: SAME_CAUSE - 1] == long[: SAME_CAUSE - 1]
    assert told[SAME_CAUSE - 1 :] == ["1499 tokens; shorten it: 1196 more rows, the last is row 1199", other]
    assert by_cause(long[:SAME_CAUSE]) == long[:SAME_CAUSE]


def patterns(schema: object) -> Iterator[str]:
    """Yield every pattern in a JSON schema."""
    if isinstance(schema, dict):
        if isinstance(schema.get("pattern"), str):
            yield schema["pattern"]
        for value in schema.values():
            yield from patterns(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from patterns(value)


def test_no_error_shows_a_regular_expression() -> None:
    kinds, walked = [Charter, Domain, Policy, Event, Ring, Declaration, *StepRecord.__subclasses__()], set()
    for kind in kinds:
        for pattern in patterns(kind.model_json_schema()):
            walked.add(pattern)
            assert len(in_words._RULES.get(pattern, "")) > 10, (kind, pattern)
    assert len(walked) >= 9
    with pytest.raises(ValidationError) as caught:
        Domain.model_validate({"name": "My domain"})
    assert "name: must be a-z, 0-9, '_' and '-', the first a letter" in validation_faults(caught.value)


@pytest.mark.parametrize("name", ["my model", "模型", "x" * 101, "-rf", ".hidden", "a:b", "a%b", "a\nb"])
def test_a_name_that_a_project_cannot_have_is_refused_at_once_and_in_words(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match="the first a letter or a digit; name another folder"):
        Project.create(tmp_path / name, domain="finance", base=str(tmp_path / "never-opened"))
    assert not any(tmp_path.iterdir())
