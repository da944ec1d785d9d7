"""Hostile bytes for everything that reads bytes from outside, and what may come of them.

A target is one parser, called directly. Its inputs are mutations of well-formed ones: of bytes, of JSON's structure,
and of what lies under a signature, signed anew with the right key, so that the parsers behind a signature are met too.
An input that makes a target say something new is kept and mutated further. Allowed are success and the errors that
the target states, within SECONDS of processor time and, looked at in a sample, BYTES and 4 times the input of memory.
"""

from __future__ import annotations

import base64
import io
import json
import re
import time
import tracemalloc
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from sdk import crypto
from sdk.approve import Case, InForceWhenSealed, judge, read_decision, require_allowed
from sdk.audit import read_checkpoint, verify_proof
from sdk.audit.event import parse, places
from sdk.crypto import dsse, floe, keyring
from sdk.crypto.keyfile import open_private, open_secret
from sdk.crypto.passphrase import protect, unprotect
from sdk.documents.answers import parse_answers
from sdk.errors import InvalidInput, Refused, SDKError, Tampered
from sdk.files.store import Records, shipped
from sdk.model.adapter import check_config
from sdk.policy import read_policy
from sdk.records import Package, canonical_json, sha256
from sdk.seal import check_provenance, oms
from sdk.seal.bom import check_bom
from sdk.seal.package import _read_manifest
from sdk.seal.tensors import read_tensors
from sdk.serve.admit import _claimed_signer, read_trust
from sdk.serve.evidence import read_evidence, read_policy_bytes, read_wrapped
from tests.clean_releases import SMALL, Link, Maker, Release, Tree, encrypted, manifest_of, tensors, write_tree

SECONDS = 1.0
BYTES = 1 << 20  # what parsers need for themselves, whatever the input
BYTES_OF_ADMISSION = 3 << 20  # with a segment's buffer and what is hashed at a time, 1 MiB each
SAMPLE = 500  # every so many inputs, memory is looked at
IN_FORCE = InForceWhenSealed(None, None)
LARGEST = 1 << 18  # bytes of an input
KEPT = 64  # inputs of a target that are kept because they made it say something new,
KEPT_BYTES = 6_000  # and are shorter than this


class Target(NamedTuple):
    name: str
    weight: int  # how often it is taken; the slow ones less often
    seeds: Sequence[bytes]
    call: Callable[[bytes], object]
    errors: tuple[type[SDKError], ...] = (Tampered, InvalidInput)
    memory: int = BYTES


class Finding(NamedTuple):
    target: str
    what: str
    data: bytes


# -- mutations --------------------------------------------------------------------------------------------------------

TOKENS = [
    *[bytes([each]) for each in (0, 9, 10, 13, 32, 34, 44, 45, 46, 58, 61, 91, 92, 93, 123, 125, 127, 128, 255)],
    *[
        b"null",
        b"true",
        b"NaN",
        b"-Infinity",
        b"1e999",
        b"-0",
        b"1.0",
        b"1E400",
        b"0x10",
        b"\\u0000",
        b"\\ud800",
        b"\\",
    ],
    *[
        "\u2028".encode(),
        "\ufeff".encode(),
        b"\xed\xa0\x80",
        b"\xc0\x80",
        b"\xf4\x90\x80\x80",
        "é".encode(),
        b"e\xcc\x81",
    ],
    *[
        b"9" * 30,
        b"9" * 5000,
        b"-1",
        b"18446744073709551616",
        b"2147483648",
        b"\xff" * 8,
        b"\0" * 8,
        b"\x7f" + b"\xff" * 7,
    ],
    *[
        b"/../",
        b"file:///",
        b"%00",
        b"\r\n\r\n",
        b"=",
        b"==",
        b"&a [*a,*a]",
        b"!!python/object:os.system ",
        b"<<: *a",
        b"? ",
    ],
    *["— ".encode(), b"index ", b"-----BEGIN PUBLIC KEY-----\n", b'{"":{"":', b'"kind":', b'"root":', b'"wrapped":'],
]
NESTED = [
    b"[" * 50 + b"]" * 50,
    b"[" * 900 + b"]" * 900,
    b"[" * 2000,
    b'{"a":' * 990 + b"1" + b"}" * 990,
    b"[" * 100_000,
]
VALUES: list[Any] = [
    *[None, True, False, 0, -1, 1, 2**31, 2**53, 2**63, 2**64, 10**30, 10**400, 0.5, 1.0, -0.0, 1e308, float("nan")],
    *[
        "",
        "\0",
        "\ud800",
        "\udfff\ud800",
        "é",
        "e\u0301",
        "\u202e",
        "A" * 5000,
        "a" * 64,
        "0" * 64,
        "0" * 32,
        "../x",
        " ",
    ],
    *[[], {}, [[]], [None], {"": None}, ["a"] * 300, {"a": {"b": {"c": {}}}}, [0] * 2000, {"sha256": "0" * 64}],
    *["2026-02-30T00:00:00.000+00:00", "9999-12-31T23:59:59.999+00:00", "0001-01-01T00:00:00.000+00:00"],
    *["T00:00:00.000+00:00", "2026-11-26T00:00:00.000+00:00", "٢٠٢٦-01-01T00:00:00.000+00:00"],
]


def _bytes(data: bytes, draw: Random, others: Sequence[bytes]) -> bytes:
    """One change of the bytes as such."""
    place = draw.randrange(len(data) + 1)
    end = min(len(data), place + draw.randrange(1, 1 + draw.choice([1, 4, 16, 200])))
    match draw.randrange(10):
        case 0 | 1 if place < len(data):
            return data[:place] + bytes([data[place] ^ 1 << draw.randrange(8)]) + data[place + 1 :]
        case 2 if place < len(data):
            return data[:place] + bytes([draw.randrange(256)]) + data[place + 1 :]
        case 3:
            return data[:place] + data[end:]
        case 4:
            return data[:place] + data[place:end] * draw.choice([2, 3, 50]) + data[end:]
        case 5:
            return data[:place]
        case 6:
            other = draw.choice(others)
            return data[:place] + other[draw.randrange(len(other) + 1) :]
        case 7:
            return data[:place] + draw.randbytes(end - place) + data[end:]
        case 8 if draw.random() < 0.02:
            return data[:place] + draw.choice(NESTED) + data[place:]
    return data[:place] + draw.choice(TOKENS) + data[draw.choice([place, end]) :]


def _nodes(value: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Container and key of every value inside."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        found.append((value, key))
        if isinstance(inner, dict | list):
            _nodes(inner, found)
    return found


def _structure(data: bytes, draw: Random) -> bytes:
    """One change of a JSON text's structure, written in canonical form as far as that goes; ValueError: no JSON."""
    value = json.loads(data)
    nodes = _nodes(value, []) if isinstance(value, dict | list) else []
    if not nodes:
        return canonical_json(draw.choice(VALUES))
    holder, key = draw.choice(nodes)
    mark = ""
    match draw.randrange(8):
        case 0:
            del holder[key]
        case 1:
            other_holder, other = draw.choice(nodes)
            holder[key], other_holder[other] = other_holder[other], holder[key]
        case 2 if isinstance(holder, list):
            holder.insert(key, holder[key])
        case 3 if isinstance(holder, dict):
            holder[draw.choice(["", "extra", "\ud800", key + " ", key.upper(), "__class__"])] = holder.pop(key)
        case 4 if isinstance(holder[key], str) and holder[key]:
            text = holder[key].encode("utf-8", "surrogatepass")
            holder[key] = _bytes(text, draw, [text]).decode("utf-8", "surrogateescape")
        case 5 if isinstance(holder[key], int):
            holder[key] += draw.choice([-1, 1, 2**32, 0.5, -(2**63)])
        case 6 if draw.random() < 0.2:
            mark = holder[key] = f"mark{draw.getrandbits(60)}"
        case _:
            holder[key] = draw.choice(VALUES)
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=draw.random() < 0.3)
    written = text.encode("utf-8", "surrogatepass")
    if mark:
        raw = draw.choice([*NESTED, b"1" * 4301, b"1E9999", b"NaN", b'"\\ud800"', b'{"a":1,"a":2}', b"-", b"1 "])
        written = written.replace(b'"%b"' % mark.encode(), raw)
    elif draw.random() < 0.05:
        written = written.replace(b'":', b'":null,"%b":' % draw.choice([b"", b"x"]), 1)
    return written


def mutate(data: bytes, draw: Random, others: Sequence[bytes]) -> bytes:
    if draw.random() < 0.01:
        return draw.randbytes(draw.choice([0, 1, 8, 64, 1000]))
    for _ in range(draw.choice([1, 1, 1, 2, 3, 6])):
        changed = None
        if data[:1] in (b"{", b"[") and draw.random() < 0.6:
            try:
                changed = _structure(data, draw)
            except (ValueError, RecursionError, TypeError, OverflowError):
                changed = None
        data = _bytes(data, draw, others) if changed is None else changed
    return data[:LARGEST]


# -- targets ----------------------------------------------------------------------------------------------------------


def _pem(der: bytes, kind: str) -> bytes:
    return b"-----BEGIN %b-----\n%b-----END %b-----\n" % (kind.encode(), base64.encodebytes(der), kind.encode())


def _der(pem: bytes | str) -> bytes:
    text = pem if isinstance(pem, str) else pem.decode()
    return base64.b64decode("".join(text.strip().splitlines()[1:-1]))


LINKS = ("/dev/zero", "/etc/passwd", ".", "nowhere", "x" * 300)


class _Desk:
    """A clean release, and where a target finds the files that it reads."""

    def __init__(self, folder: Path, draw: Random) -> None:
        self.folder, self.maker = folder, Maker(folder, draw)
        self.release = self.maker.release(3, tensors(draw, 600))
        self.manifest, self.weights = manifest_of(self.release.tree), encrypted(draw, draw.randbytes(150))
        self.package = sha256(self.file("package/manifest.json"))
        self.ring, self.keys = self.maker.rings[-1], self.maker.keys
        self.path = folder / "input"
        self.path.touch(0o600)

    def file(self, path: str) -> bytes:
        found = self.release.tree[path]
        assert isinstance(found, bytes)
        return found

    def below(self, prefix: str) -> list[bytes]:
        return [self.file(path) for path in sorted(self.release.tree) if path.startswith(prefix)]

    def put(self, data: bytes) -> Path:
        self.path.write_bytes(data)
        return self.path


def _payloads(envelopes: Sequence[bytes]) -> list[bytes]:
    return [base64.b64decode(json.loads(envelope)["payload"]) for envelope in envelopes]


def _package_targets(desk: _Desk) -> list[Target]:
    pem, manifest = desk.keys.trainer.public_pem, desk.file("package/manifest.json")
    names = [path.removeprefix("package/") for path in desk.release.tree if path.startswith("package/")]
    digests = {name: sha256(desk.file(f"package/{name}")) for name in names if name != "model.sig"}
    bundle = desk.file("package/model.sig")
    statement = base64.b64decode(json.loads(bundle)["dsseEnvelope"]["payload"])

    def signed_statement(data: bytes) -> object:
        return oms.check(oms._bundle(pem, data, desk.keys.trainer.sign(dsse.pae(dsse.INTOTO, data))), pem, digests, "x")

    def claimed(data: bytes) -> object:
        folder = desk.folder / "claimed"
        folder.mkdir(exist_ok=True)
        (folder / "manifest.json").write_bytes(data)
        return _claimed_signer(folder)

    def config(data: bytes) -> object:
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            return None
        return check_config(value) if isinstance(value, dict) else None

    def sealed(data: bytes) -> object:
        take = floe.take_from(data)
        return floe.decrypt(take, len(data), desk.weights.key, desk.weights.aad, "the weights", SMALL)

    provenance, path = desk.file("governance/provenance.dsse.json"), Path("manifest.json")
    [said] = _payloads([provenance])

    def signed_provenance(data: bytes) -> object:
        envelope = dsse.sign_envelope(dsse.INTOTO, data, desk.keys.trainer)
        return check_provenance(envelope, desk.manifest, desk.package, pem, "x")

    safetensors = [tensors(Random(1), 40), tensors(Random(2), 1300), tensors(Random(3), 2500)]
    return [
        Target("manifest", 12, [manifest], lambda data: _read_manifest(data, path)),
        Target("claimed signer", 4, [manifest, b'{"signing_key":"a"}'], claimed),
        Target("model.sig", 10, [bundle], lambda data: oms.check(data, pem, digests, "model.sig")),
        Target("statement of model.sig, signed", 6, [statement], signed_statement),
        Target(
            "bill of materials", 6, [desk.file("package/bom.json")], lambda data: check_bom(data, desk.manifest, "x")
        ),
        Target("adapter_config.json", 10, [desk.file("package/adapter_config.json")], config),
        Target("safetensors header", 12, safetensors, lambda data: read_tensors(io.BytesIO(data), len(data), "x")),
        Target("FLOE", 8, [desk.weights.data], sealed),
        Target(
            "provenance", 4, [provenance], lambda data: check_provenance(data, desk.manifest, desk.package, pem, "x")
        ),
        Target("provenance, signed", 4, [said], signed_provenance),
    ]


def _governance_targets(desk: _Desk) -> list[Target]:
    maker, keys = desk.maker, desk.keys
    rings, decisions = maker.ring_files(), desk.below("governance/decisions/")
    policy = maker.policy.model_copy(update={"approve": maker.policy.approve.model_copy(update={"valid_days": 30_000})})
    now = datetime.now(UTC)

    def first_ring(data: bytes) -> object:
        return keyring.open_rings([data], None, "x")

    def signed_ring(data: bytes) -> object:
        return keyring.open_rings([dsse.sign_envelope(keyring.PAYLOAD_TYPE, data, keys.owner)], None, "x")

    def next_ring(data: bytes) -> object:
        return keyring.open_rings([rings[0], dsse.sign_envelope(keyring.PAYLOAD_TYPE, data, keys.owner)], None, "x")

    def signed_decision(data: bytes) -> object:
        by = (keys.first, keys.reviewer, keys.second, keys.trainer)[zlib.crc32(data) % 4]
        given = (*decisions[:2], dsse.sign_envelope(dsse.INTOTO, data, by))
        case = Case(desk.package, policy, IN_FORCE, maker.report, desk.ring, given, keys.trainer.fingerprint, now)
        return require_allowed(judge(case))

    texts = desk.ring.public_keys()
    seeds = [_der(pem) for pem in texts.values()]
    policy_json = desk.file("governance/policy.json")
    wrapped = str(desk.manifest.wrapped_data_key).encode()

    def unwrap(data: bytes) -> object:
        local = crypto.LocalWrapper(keys.secret)
        return local.unwrap(data.decode("utf-8", "surrogateescape"), {"package": desk.manifest.package_id})

    return [
        Target("DSSE envelope", 12, decisions, lambda data: dsse.open_envelope(data, dsse.INTOTO, texts, "x")),
        Target("key ring", 8, rings, first_ring),
        Target("key ring, signed", 6, _payloads(rings), signed_ring),
        Target("next key ring, signed", 6, _payloads(rings), next_ring),
        Target("decision", 8, decisions, lambda data: read_decision(data, desk.ring, "x")),
        Target("decision, signed, and its verdict", 3, _payloads(decisions), signed_decision, (Refused,)),
        Target("policy in JSON", 4, [policy_json], lambda data: read_policy_bytes(data, sha256(data), "x", "y")),
        Target("data key", 10, [canonical_json({"wrapped": wrapped.decode()})], lambda data: read_wrapped(data, "x")),
        Target("wrapped key", 8, [wrapped], unwrap),
        Target("public key", 8, seeds, lambda data: crypto.algorithm(_pem(data, "PUBLIC KEY").decode())),
        Target(
            "public key in PEM",
            8,
            [pem.encode() for pem in texts.values()],
            lambda data: crypto.fingerprint(data.decode("utf-8", "replace")),
        ),
    ]


def _log_targets(desk: _Desk) -> list[Target]:
    maker, lines = desk.maker, desk.maker.lines
    pem, origin, note = desk.keys.log.public_pem, desk.maker.origin, desk.maker.checkpoint(desk.maker.lines)
    line, proof = desk.file("governance/promotion.json"), desk.file("governance/promotion.proof")
    key_hash = base64.b64decode(note.split(b" ")[-1])[:4]

    def signed_note(data: bytes) -> bytes:
        signature = crypto.b64(key_hash + desk.keys.log.sign(data)).encode()
        return data + b"\n\xe2\x80\x94 %b %b\n" % (origin.encode(), signature)

    def signed_proof(data: bytes) -> object:
        head, _, body = data.partition(b"\n\n")
        return verify_proof(line, head + b"\n\n" + signed_note(body), origin, pem, "x")

    log = maker.log(segment=3)
    parts = sorted(path for path in log.tree if path != "audit/lock")

    def folder_of_log(data: bytes) -> object:
        case = log.copy()
        path = parts[zlib.crc32(data) % len(parts)]
        case.tree[path] = data
        return case.check()

    contents = [data for path in parts if isinstance(data := log.tree[path], bytes)]
    body = note.partition(b"\n\n")[0] + b"\n"
    head = proof.partition(b"\n\n")[0]
    return [
        Target("log line", 14, lines[-4:], lambda data: parse(data, "x")),
        Target("log lines", 8, [b"\n".join(lines[:3])], lambda data: places(data.split(b"\n"), 0, "x")),
        Target("log folder", 2, contents, folder_of_log),
        Target("checkpoint", 12, [note], lambda data: read_checkpoint(data, origin, pem, "x")),
        Target("checkpoint, signed", 8, [body], lambda data: read_checkpoint(signed_note(data), origin, pem, "x")),
        Target("proof", 10, [proof], lambda data: verify_proof(line, data, origin, pem, "x")),
        Target("proof, signed", 8, [head + b"\n\n" + body], signed_proof),
        Target(
            "line of a proof", 6, [line], lambda data: verify_proof(data, proof, origin, maker.keys.log.public_pem, "x")
        ),
    ]


def _file_targets(desk: _Desk) -> list[Target]:
    keys, folder = desk.keys, desk.folder
    secret = keys.secret.expose().hex().encode() + b"\n"
    private = [keys.owner.private_pem(), keys.log.private_pem()]
    protected = protect(private[0], b"a passphrase")
    trust = canonical_json({"base": "embedded", "encryption_key": "file:key", "root": desk.release.root}) + b"\n"
    policies = [
        (shipped("policies") / "unsafe-lab.yaml").read_bytes(),
        *[b"id: x\nversion: 1\nsources: []\n", b"a: &a [1, 2]\nb: *a\n", b"- {x: !!float 1.5}\n- ? [a]\n  : b\n"],
        *[b"a: 2026-11-26\nb: 1:30\nc: 0o17\nd: .inf\ne: ~\n", b'%YAML 1.1\n---\na: |\n  x\n  y\nb: "\\u0041"\n...\n'],
    ]
    answers = [
        b"uses:\n  intended: for staff\n  users:\npeople:\n  tt1: Theo\n",
        b"data: {consent: 'no', dataset_id: a/b}\n",
    ]
    evidence: Tree = {
        path: data
        for path, data in desk.release.tree.items()
        if path.startswith("governance/") and "provenance" not in path
    }
    evidence["governance/data-key.json"] = b'{"wrapped":"x"}'
    paths = sorted(evidence)

    def changed(tree: Tree, data: bytes) -> Tree:
        """One file or two with these bytes; now and then a link or a folder in its place, or one more file."""
        choice, tree = Random(zlib.crc32(data)), dict(tree)
        for path in choice.sample(paths, choice.choice([1, 1, 2])):
            match choice.randrange(12):
                case 0:
                    tree[path] = Link(choice.choice(LINKS))
                case 1:
                    tree.pop(path, None)
                    tree[f"{path}/"] = b""
                case 2:
                    tree.pop(path, None)
                case 3:
                    tree[f"{path.rpartition('/')[0]}/{data[:20].hex()}x"] = data
                case _:
                    tree[path] = data
        return tree

    def evidence_folder(data: bytes) -> object:
        write_tree(changed(evidence, data), folder / "evidence")
        return read_evidence(folder / "evidence/governance")

    def whole(data: bytes) -> object:
        release: Release = desk.release.copy()
        release.tree = changed(release.tree, data)
        return release.check()

    records = Records(folder / "records")
    records.folder.mkdir()
    made = Package(
        package=desk.package,
        package_id=desk.manifest.package_id,
        version=3,
        signed_by="Tess",
        key_fingerprint=desk.manifest.signing_key,
        encrypted=True,
        policy=desk.manifest.policy,
        domain=desk.manifest.domain,
    )

    def record(data: bytes) -> object:
        path = records.folder / f"{sha256(data)}.json"
        path.write_bytes(data)
        try:
            return records.get(Package, sha256(data))
        finally:
            path.unlink()

    contents = [data for path in paths if isinstance(data := evidence[path], bytes)]
    return [
        Target("policy in YAML", 1, policies, lambda data: read_policy(desk.put(data))),
        Target("documents.yaml", 1, answers, lambda data: parse_answers(data, Path("x"))),
        Target("record", 6, [made.to_bytes()], record),
        Target("trust file", 8, [trust], lambda data: read_trust(desk.put(data))),
        Target("private key file", 6, private, lambda data: open_private(f"file:{desk.put(data)}", Path())),
        Target(
            "private key file, DER",
            6,
            [_der(pem) for pem in private],
            lambda data: open_private(f"file:{desk.put(_pem(data, 'PRIVATE KEY'))}", Path()),
        ),
        Target("secret key file", 6, [secret], lambda data: open_secret(f"file:{desk.put(data)}")),
        Target("key file under a passphrase", 6, [protected], lambda data: unprotect(data, b"a passphrase", "x")),
        Target("evidence folder", 1, contents, evidence_folder),
        Target("whole release", 1, contents, whole, (Tampered, InvalidInput, Refused), BYTES_OF_ADMISSION),
    ]


def make_targets(folder: Path, draw: Random) -> list[Target]:
    """`folder` should be in memory."""
    desk = _Desk(folder, draw)
    return [*_package_targets(desk), *_governance_targets(desk), *_log_targets(desk), *_file_targets(desk)]


# -- running ----------------------------------------------------------------------------------------------------------

_WORDS = re.compile(r"[^A-Za-z ]+")


@dataclass
class Fuzzer:
    """Mutations through targets in turn; `findings` is empty where all is well."""

    targets: list[Target]
    draw: Random
    findings: list[Finding] = field(default_factory=list)
    inputs: Counter[str] = field(default_factory=Counter)
    accepted: Counter[str] = field(default_factory=Counter)
    kept: dict[str, list[bytes]] = field(default_factory=dict)
    outcomes: set[str] = field(default_factory=set)
    done: int = 0
    slowest: float = 0.0  # seconds of processor time
    most_memory: int = 0  # bytes above 4 times the input

    def __post_init__(self) -> None:
        self._wheel = [target for target in self.targets for _ in range(target.weight)]
        self.kept = {target.name: list(target.seeds) for target in self.targets}

    def run(self, count: int) -> None:
        for _ in range(count):
            target = self.draw.choice(self._wheel)
            known = self.kept[target.name]
            data = mutate(self.draw.choice(known), self.draw, known)
            outcome = self._try(target, data) if self.done % SAMPLE else self._measured(target, data)
            self.done += 1
            self.inputs[target.name] += 1
            key = f"{target.name} {outcome}"
            if key not in self.outcomes and len(known) < KEPT + len(target.seeds) and len(data) < KEPT_BYTES:
                self.outcomes.add(key)
                known.append(data)

    def _try(self, target: Target, data: bytes) -> str:
        begun = time.thread_time()
        outcome = "accepted"
        try:
            target.call(data)
            self.accepted[target.name] += 1
        except target.errors as error:
            outcome = _WORDS.sub("", "".join([error.message, *error.faults[:3]]))[:120]
        except BaseException as error:  # whatever it is, it is a finding; a panic of Rust's is no Exception
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
            outcome = f"{type(error).__name__}: {str(error)[:200]}"
            self.findings.append(Finding(target.name, outcome, data))
        seconds = time.thread_time() - begun
        self.slowest = max(self.slowest, seconds)
        if seconds > SECONDS:
            self.findings.append(Finding(target.name, f"took {seconds:.1f} s", data))
        return outcome

    def _measured(self, target: Target, data: bytes) -> str:
        """Only what Python allocates is seen."""
        tracemalloc.start()
        try:
            outcome = self._try(target, data)
            peak = tracemalloc.get_traced_memory()[1] - 4 * len(data)
        finally:
            tracemalloc.stop()
        self.most_memory = max(self.most_memory, peak)
        if peak > target.memory:
            self.findings.append(Finding(target.name, f"took {peak} bytes of memory more than 4 times its input", data))
        return outcome
