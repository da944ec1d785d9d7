"""Verify a release of the domain-adaptation SDK without that SDK, from the formats alone. See verify.md beside it.

    python verify_release.py RELEASE --root DIGEST [--log AUDIT]

RELEASE: what MLflow gives out, with package/ and governance/. DIGEST: SHA-256 of the project's first key ring, from a
source that you trust. AUDIT: the whole audit log. Needs Python 3.11 and `cryptography`. Prints what each step found;
exit code 1 at the first that does not hold, else 0. Not looked at: the form of what owners, trainer and log signed.
"""
# ruff: noqa: T201

import argparse
import base64
import hashlib
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

STATEMENT, INTOTO = "https://in-toto.io/Statement/v1", "application/vnd.in-toto+json"
OMS = "https://model_signing/signature/v1.0"
RING, DECISION = "application/vnd.domain-adaptation-sdk.ring+json", "urn:domain-adaptation-sdk:decision:v1"
ALWAYS = {"adapter_config.json", "bom.json", "manifest.json", "model.sig"}
TOKENIZER = {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"}
SOME = TOKENIZER | {"behaviour.json"}  # the latter in packages since 0.2.0
PLAIN, SEALED = "adapter_model.safetensors", "adapter_model.safetensors.floe"
EITHER = {"reviewer", "approver"}
ROLES = {"review": {"reviewer"}, "approve": {"approver"}, "reject": EITHER, "withdraw": EITHER}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", re.ASCII)


def need(holds, otherwise):
    if not holds:
        raise ValueError(otherwise)


def digest(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def read(path):
    need(path.is_file() and not path.is_symlink(), f"{path} is a link or no ordinary file")
    return path.read_bytes()


def read_numbered(folder):
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() and not folder.is_symlink() else []
    need(names == [f"{i:04}.dsse.json" for i in range(1, len(names) + 1)], f"{folder} holds others than 0001, 0002 …")
    return [read(folder / name) for name in names]


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def parse(data, name, keys=None):
    """What canonical JSON says; keys: those that the object has, in order."""
    value = json.loads(data)
    need(canonical(value) == data, f"{name} is not canonical JSON: sorted keys, no white space, UTF-8")
    need(keys is None or " ".join(sorted(value)) == keys, f"{name} has other fields than these: {keys}")
    return value


def decode(text):
    data = base64.b64decode(text, validate=True)
    need(base64.b64encode(data).decode() == text, "base64 is not in its one form")
    return data


def moment(text):
    need(TIME.fullmatch(text), f"{text!r} is not a time in UTC with milliseconds")
    return datetime.fromisoformat(text)


def check_signature(pem, message, signature, name, kind=None):
    """kind: of the payload of a DSSE envelope, whose signature is over PAE (protocol.md)."""
    key = load_pem_public_key(pem.encode())
    message = message if kind is None else f"DSSEv1 {len(kind)} {kind} {len(message)} ".encode() + message
    try:
        key.verify(signature, message, *([ECDSA(SHA256())] if isinstance(key, EllipticCurvePublicKey) else []))
    except InvalidSignature:
        raise ValueError(f"the signature of {name} does not match") from None


def open_envelope(data, kind, members, name):
    """DSSE 1.0: the payload, and the member of the key ring who signed it."""
    envelope = parse(data, name, "payload payloadType signatures")
    (signature,), payload = envelope["signatures"], decode(envelope["payload"])
    need(sorted(signature) == ["keyid", "sig"] and envelope["payloadType"] == kind, f"{name} is of another kind")
    member = members.get(signature["keyid"])
    need(member and member["public_key"], f"{name} is signed by a key that is not in the key ring")
    check_signature(member["public_key"], payload, decode(signature["sig"]), name, kind)
    return payload, member


def in_force(member, time):
    """Whether what the key signed at that time counts."""
    revoked = member["revoked"] or {"time": "~", "reason": None}
    in_time = member["valid_from"] <= time < (member["valid_until"] or "~")
    return in_time and time < revoked["time"] and revoked["reason"] != "compromised"


def tree(lines):
    """The root of RFC 6962, 2.1."""
    if len(lines) == 1:
        return digest(b"\0", lines[0])
    half = 1 << (len(lines) - 1).bit_length() - 1
    return digest(b"\1", tree(lines[:half]), tree(lines[half:]))


def climb(line, index, size, path):
    """The root that an inclusion proof leads to (RFC 6962, 2.1.1)."""
    if size == 1:
        need(not path, "the proof has too many hashes")
        return digest(b"\0", line)
    half = 1 << (size - 1).bit_length() - 1
    if index < half:
        return digest(b"\1", climb(line, index, half, path[:-1]), path[-1])
    return digest(b"\1", path[-1], climb(line, index - half, size - half, path[:-1]))


def grow(first, size, path, known, whole=True):
    """The roots of `first` leaves and of `size` that a consistency proof leads to (RFC 6962, 2.1.2)."""
    if first == size:
        need(len(path) == (0 if whole else 1), "the proof has another number of hashes")
        return (known, known) if whole else (path[0], path[0])
    half = 1 << (size - 1).bit_length() - 1
    if first <= half:
        earlier, later = grow(first, half, path[:-1], known, whole)
        return earlier, digest(b"\1", later, path[-1])
    earlier, later = grow(first - half, size - half, path[:-1], known, False)
    return digest(b"\1", path[-1], earlier), digest(b"\1", path[-1], later)


def stricter(one, other):
    """Of each key of approvals the stricter value of two policies."""
    days = [each["valid_days"] for each in (one, other) if each["valid_days"]]
    least = {key: max(one[key], other[key]) for key in ("reviews", "approvals", "min_reason_length")}
    separate = bool(one.get("separate_duties") or other.get("separate_duties"))
    trainer = one["trainer_may_approve"] and other["trainer_may_approve"]
    return least | {"trainer_may_approve": trainer, "separate_duties": separate, "valid_days": min(days, default=None)}


class Release:
    def __init__(self, release, root, log):
        self.package, self.governance, self.root, self.log = release / "package", release / "governance", root, log

    def check_rings(self):
        self.rings, self.members, self.versions, before = [], {}, [], None
        for number, envelope in enumerate(read_numbered(self.governance / "ring"), 1):
            name = f"key ring {number}"
            ring = parse(decode(json.loads(envelope)["payload"]), name)
            need(
                ring.keys() - {"log", "rules"} == {"members", "previous", "project", "time", "version"},
                f"{name}: {ring}",
            )
            now, before = {one["key_id"]: one for one in ring["members"]}, before or ring
            payload, owner = open_envelope(envelope, RING, self.members or now, name)
            self.rings.append(digest(payload).hex())
            need(self.rings[0] == self.root, f"{name} is not the root: its digest is {self.rings[0]}")
            follows = [number, self.rings[-2] if number > 1 else None, before["project"]]
            need([ring["version"], ring["previous"], ring["project"]] == follows, f"{name} follows no other")
            counts = "owner" in owner["roles"] and not owner["revoked"] and in_force(owner, ring["time"])
            need(counts, f"{name} is not signed by an owner whose key counts")
            owners = [one for one in now.values() if "owner" in one["roles"] and not one["revoked"]]
            need(owners and len(now) == len(ring["members"]), f"{name} leaves no owner, or has a key twice")
            for pem, key_id in ((one["public_key"], one["key_id"]) for one in now.values() if one["public_key"]):
                der = load_pem_public_key(pem.encode()).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
                need(digest(der).hex() == key_id, f"{name}: the key {key_id} is another one")
            for old in self.members.values():
                new = now.get(old["key_id"]) or dict.fromkeys(old)
                same = (new["name"], new["public_key"]) == (old["name"], old["public_key"])
                kept = old["revoked"] in (None, new["revoked"]) or "compromised" in (new["revoked"] or {}).values()
                need(
                    same and kept, f"{name} takes out, renames or takes back the revocation of the key of {old['name']}"
                )
            need(moment(ring["time"]) >= moment(before["time"]), f"{name} is older than the one before")
            self.check_rules_named(ring, name)
            self.members, before = now, ring
        return f"{len(self.rings)}, the first is the root, each signed by an owner of the one before"

    def check_rules_named(self, ring, name):
        """A version names the log that its owner saw, the first one none; rules stay named; a name is of one text."""
        rules, log = ring.get("rules"), ring.get("log")
        before = self.versions[-1] if self.versions else {}
        need(log is None if not before else log or not rules, f"{name} names a log, or none, against its place")
        need(log is None or log["size"] > 0, f"{name} names an empty log")
        need(rules or not before.get("rules"), f"{name} names no rules any more")
        need(not before.get("log") or (log and log["size"] >= before["log"]["size"]), f"{name} is over a shorter log")
        for known in (each["rules"] for each in self.versions if rules and "rules" in each):
            same = known["policy"] != rules["policy"] or known["policy_digest"] == rules["policy_digest"]
            need(same, f"{name} calls another policy {rules['policy']}")
        self.versions.append(ring)

    def check_package(self):
        """OpenSSF Model Signing 1.0; all of the bundle but the signature proper follows from files and key."""
        data = self.data = {path.name: read(path) for path in sorted(self.package.iterdir())}
        need(data.keys() <= ALWAYS | SOME | {PLAIN, SEALED}, f"not all belong to a package: {[*data]!a}")
        need(data.keys() >= ALWAYS and len({PLAIN, SEALED} & data.keys()) == 1, "a file of the package is missing")
        self.files = {name: digest(data[name]).hex() for name in data if name != "model.sig"}
        self.trainer = self.members.get(json.loads(data["manifest.json"])["signing_key"])
        need(self.trainer and "trainer" in self.trainer["roles"], "the manifest names a key that is no trainer's")
        signature = decode(json.loads(data["model.sig"])["dsseEnvelope"]["signatures"][0]["sig"])
        how = {"allow_symlinks": False, "hash_type": "sha256", "ignore_paths": ["model.sig"], "method": "files"}
        listed = [{"algorithm": "sha256", "digest": value, "name": name} for name, value in self.files.items()]
        whole = digest(*map(bytes.fromhex, self.files.values())).hex()
        statement = {"_type": STATEMENT, "subject": [{"digest": {"sha256": whole}, "name": "package"}]}
        statement |= {"predicateType": OMS, "predicate": {"resources": listed, "serialization": how}}
        payload, pem = canonical(statement), self.trainer["public_key"]
        envelope = {"payload": base64.b64encode(payload).decode(), "payloadType": INTOTO}
        envelope["signatures"] = [{"keyid": "", "sig": base64.b64encode(signature).decode()}]
        bundle = {"dsseEnvelope": envelope, "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json"}
        bundle["verificationMaterial"] = {"publicKey": {"hint": digest(pem.encode()).hex()}, "tlogEntries": []}
        need(canonical(bundle) == data["model.sig"], "model.sig is over other files, or is not in its one form")
        check_signature(pem, payload, signature, "model.sig", INTOTO)
        return f"{len(self.files)} files, all signed by {self.trainer['name']}"

    def check_manifest(self):
        manifest, self.identity = parse(self.data["manifest.json"], "it"), self.files["manifest.json"]
        files = [(name, value) for name, value in self.files.items() if name != "manifest.json"]
        listed = [{"path": name, "sha256": value, "size": len(self.data[name])} for name, value in files]
        need(manifest["files"] == listed, "it lists other files than are there")
        need((PLAIN in self.data) == (manifest["wrapped_data_key"] is None), "it says otherwise whether it is sealed")
        self.policy_digest, self.domain_digest = manifest["policy_digest"], manifest["domain_digest"]
        return f"package {self.identity}, version {manifest['version']}"

    def open_checkpoint(self, note):
        """C2SP tlog-checkpoint: size and root, signed by a key of the log (signature type 1, Ed25519)."""
        origin, (body, _, rest) = f"domain-adaptation-sdk/{self.root[:16]}", note.decode().partition("\n\n")
        named, size, root = body.split("\n")
        need(named == origin and re.fullmatch("0|[1-9][0-9]{0,18}", size), f"it is no checkpoint of {origin}")
        need(re.fullmatch(r"(— \S+ \S+\n){1,16}", rest), "the checkpoint has a malformed signature")
        ours = [decode(text) for name, text in re.findall(r"— (\S+) (\S+)\n", rest) if decode(text) and name == origin]
        for member in (one for one in reversed(self.members.values()) if "log" in one["roles"]):
            raw = load_pem_public_key(member["public_key"].encode()).public_bytes_raw()
            marked = [each for each in ours if each[:4] == digest(f"{origin}\n\1".encode(), raw)[:4]]
            if marked and (member["revoked"] or {}).get("reason") != "compromised":
                check_signature(member["public_key"], f"{body}\n".encode(), marked[0][4:], "the checkpoint")
                need(
                    int(size) <= self.limit(member["key_id"]), "its key was replaced before the log had so many events"
                )
                return int(size), decode(root)
        raise ValueError("the checkpoint is not signed by a key of the log")

    def limit(self, key_id):
        """How many events a key of the log that was replaced may have signed for: those that the owner saw then."""
        for ring in self.versions:
            if "log" in ring and any(each["key_id"] == key_id and each["revoked"] for each in ring["members"]):
                return ring["log"]["size"]
        return 2**63

    def prove(self, name):
        """C2SP tlog-proof: the event, and size and root of the log that it is in."""
        line, proof = read(self.governance / f"{name}.json"), read(self.governance / f"{name}.proof")
        head, _, note = proof.partition(b"\n\n")
        size, tree = self.open_checkpoint(note)
        (kind, place, *path), event = head.decode().split("\n"), json.loads(line)
        index = event["seq"]
        need([kind, place] == ["c2sp.org/tlog-proof@v1", f"index {index}"], f"{name}.proof is of another event")
        root = climb(line, index, size, [decode(text) for text in path]) if 0 <= index < size else None
        need(root == tree, f"{name}.json is not in the log of the checkpoint")
        return event, (size, tree)

    def check_promotion(self):
        event, (self.size, self.tree) = self.prove("promotion")
        index = event["seq"]
        need((event["action"], event["phase"]) == ("promote", "finished"), "it is the event of another step")
        self.promoted, self.now = event["objects"], max(datetime.now(UTC), moment(event["time"]))
        need(in_force(self.trainer, event["time"]), "the trainer's key does not count, or did not then")
        return f"event {index} of {self.size}, recorded {event['time']}"

    def check_rules(self):
        """The log goes on from what owners saw; by them the policy was in force at the event of the sealing."""
        need("rules" in self.versions[-1], "no owner has put rules in force: `sdk adopt` in the project")
        proofs = parse(read(self.governance / "consistency.json"), "consistency.json")
        for number, log in ((ring["version"], ring["log"]) for ring in self.versions if "log" in ring):
            path = [decode(text) for text in proofs[str(log["size"])]] if log["size"] != self.size else []
            known = bytes.fromhex(log["root"])
            roots = grow(log["size"], self.size, path, known) if log["size"] <= self.size else None
            need(roots == (known, self.tree), f"the log does not go on from that of key ring {number}")
        sealing, head = self.prove("sealing")
        record, package = read(self.governance / "package.json"), sealing["objects"].get("record")
        need(
            head == (self.size, self.tree) and digest(record).hex() == package,
            "it was sealed in another log, or another package",
        )
        need((sealing["action"], sealing["phase"]) == ("seal", "finished"), "it is the event of another step")
        said, terms, before = json.loads(record), [], None
        need((said["kind"], said["package"]) == ("package", self.identity), "package.json is of another package")
        for ring in (ring for ring in self.versions if "rules" in ring):
            if not terms or ring["rules"] != terms[-1][1]:
                if terms and ring["rules"]["policy_digest"] != terms[-1][1]["policy_digest"]:
                    before = terms[-1][1]
                terms.append((ring["log"]["size"] if terms else 0, ring["rules"], before))
        begin, rules, before = [term for term in terms if term[0] <= sealing["seq"]][-1]
        over = (rules["policy_digest"], rules["domain_digest"])
        need(over == (self.policy_digest, self.domain_digest), f"{rules['policy']} was in force when it was sealed")
        self.replaced = read(self.governance / "policy-before.json") if before else None
        need(not before or digest(self.replaced).hex() == before["policy_digest"], "policy-before.json is another one")
        return f"{rules['policy']}, in force from event {begin}; sealed by event {sealing['seq']}"

    def owns(self, member):
        owners = [one for one in self.members.values() if "owner" in one["roles"]]
        return any(member["key_id"] == one["key_id"] or member["name"] == one["name"] for one in owners)

    def read_decision(self, place, envelope):
        name = f"decision {place + 1}"
        payload, member = open_envelope(envelope, INTOTO, self.members, name)
        statement = parse(payload, name)
        said, over = statement["predicate"], {each["name"]: each["digest"]["sha256"] for each in statement["subject"]}
        subjects = [{"digest": {"sha256": over[key]}, "name": key} for key in ("package", "policy", "report")]
        right = {"_type": STATEMENT, "predicate": said, "predicateType": DECISION, "subject": subjects}
        right = statement == right and all(re.fullmatch("[0-9a-f]{64}", each) for each in over.values())
        need(right and type(said["policy"]) is type(said["reason"]) is str, f"{name} is a statement of another kind")
        need(0 < len(said["reason"]) <= 10_000, f"{name} has no reason, or an endless one")
        need(sorted(said) == ["decision", "expires", "person", "policy", "reason", "time"], f"{name} has other fields")
        need(said["decision"] in ROLES and said["person"] == member["name"], f"{name} is not by the holder of its key")
        said["expires"], made = None if said["expires"] is None else moment(said["expires"]), moment(said["time"])
        return SimpleNamespace(**said, made=made, member=member, over=over, content=payload, place=place)

    def allows(self, one, before):
        by_trainer = one.decision in ("review", "approve") and one.person == self.trainer["name"]
        in_time = before < one.time and one.made <= self.now and in_force(one.member, one.time)
        explained = len(one.reason.strip()) >= self.rules["min_reason_length"]
        shared = by_trainer or (one.decision in ("review", "approve") and self.owns(one.member))
        may = self.rules["trainer_may_approve"] or not by_trainer
        return in_time and explained and may and not (self.rules["separate_duties"] and shared)

    def check_decisions(self):
        """The last decision of each person stands. Forbidding takes a role, allowing all that `allows` asks for."""
        policy, report = read(self.governance / "policy.json"), read(self.governance / "report.sha256").decode()
        need(digest(policy).hex() == self.policy_digest, "policy.json is not what the package was sealed under")
        over = {"package": self.identity, "policy": self.policy_digest, "report": report}
        need({key: self.promoted.get(key) for key in over} == over, "another package, policy or report was promoted")
        envelopes = read_numbered(self.governance / "decisions")
        rests_on = [self.promoted[key] for key in sorted(self.promoted) if key.startswith("decision.")]
        need([digest(each).hex() for each in envelopes[: len(rests_on)]] == rests_on, "it rests on other decisions")
        need(self.promoted.get("ring") in self.rings, "it was promoted under a key ring that is not here")
        own = json.loads(policy)["approve"]
        self.rules = stricter(own, json.loads(self.replaced)["approve"] if self.replaced else own)
        need(not (self.rules["separate_duties"] and self.owns(self.trainer)), "owner and trainer are one person")
        stands, said_at, seen = {}, {}, set()
        for one in (self.read_decision(place, envelope) for place, envelope in enumerate(envelopes)):
            if one.over != over or one.content in seen or not ROLES[one.decision] & set(one.member["roles"]):
                continue
            seen.add(one.content)
            allows, stood = self.allows(one, said_at.get(one.person, "")), stands.get(one.person, one)
            lifts = one.decision == "withdraw" and stood.decision == "reject"
            if allows or (one.decision in ("reject", "withdraw") and not lifts):
                stands[one.person] = one
            if allows:
                said_at[one.person] = one.time
        need(all(one.decision != "reject" for one in stands.values()), "somebody rejects it")
        since = self.now - timedelta(days=self.rules["valid_days"] or 10**5)
        running = [one for one in stands.values() if one.made > since and (not one.expires or one.expires > self.now)]
        reviews, approvals = [one for one in running if one.decision == "review"], []
        for one in (each for each in running if each.decision == "approve"):
            earlier = [each for each in reviews if each.place < one.place and each.time < one.time]
            approvals += [one] if len(earlier) >= self.rules["reviews"] else []
        for what, found in (("reviews", reviews), ("approvals", approvals)):
            need(len(found) >= self.rules[what], f"{len(found)} {what} count, {self.rules[what]} are needed")
        return ", ".join(f"{one.decision} by {one.person}" for one in (*reviews, *approvals)) or "none are needed"

    def check_log(self):
        size, root = self.open_checkpoint(read(self.log / "checkpoint"))
        lines = b"".join(map(read, sorted(self.log.glob("events-*.jsonl")))).split(b"\n")[:size]
        need(len(lines) == size and tree(lines) == root, f"it is not the log of {size} events that was signed")
        need(size >= self.size and tree(lines[: self.size]) == self.tree, "the promotion was proven in another log")
        return f"{size} events under the signed root {root.hex()}"


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Verify a release from its files alone; see the head of this file.")
    parser.add_argument("release", type=Path)
    parser.add_argument("--root", required=True, help="SHA-256 of the project's first key ring")
    parser.add_argument("--log", type=Path, help="folder of the audit log")
    release = Release(**vars(parser.parse_args(arguments)))
    steps = ("rings", "package", "manifest", "promotion", "rules", "decisions", "log")
    for number, step in enumerate(steps if release.log else steps[:-1], 1):
        try:
            print(f"{number} {step}: {getattr(release, f'check_{step}')()}")
        except Exception as error:  # noqa: BLE001 - what is malformed in whatever way does not verify
            print(f"{number} {step}: FAULT ({type(error).__name__}): {error}")
            return 1
    print(f"VERIFIED {release.identity}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
