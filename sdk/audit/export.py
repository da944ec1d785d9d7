"""Events for other systems: JSON lines as they stand in the log, and OCSF for a SIEM.

OCSF 1.x, class API Activity (6003, category Application Activity): an actor who creates, reads, updates or deletes
something, and what came of it. https://schema.ocsf.io
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from sdk.audit.event import Event
from sdk.records import canonical_json

OCSF_VERSION = "1.3.0"  # versions 1.x only add
CATEGORY, CLASS = 6, 6003
CREATE, READ, UPDATE = 1, 2, 3  # activity_id
ACTIVITIES = {  # every other action of a project creates a record
    **dict.fromkeys(("load", "reveal", "read"), READ),
    **dict.fromkeys(("promote", "publish", "enroll", "revoke", "rotate"), UPDATE),
}
SUCCESS, FAILURE, OTHER = 1, 2, 99  # status_id
STATUS = {"started": (OTHER, "Started"), "finished": (SUCCESS, "Success")}
INFORMATIONAL, MEDIUM = 1, 3  # severity_id


def to_jsonl(events: Iterable[Event]) -> Iterator[bytes]:
    """Write each event as its line in the log, so that its leaf of the tree can be computed from it."""
    return (event.to_bytes() + b"\n" for event in events)


def to_ocsf_jsonl(events: Iterable[Event]) -> Iterator[bytes]:
    return (canonical_json(to_ocsf(event)) + b"\n" for event in events)


def to_ocsf(event: Event) -> dict[str, Any]:
    """Translate to one API Activity event; what OCSF has no attribute for stands in `unmapped`."""
    activity = ACTIVITIES.get(event.action, CREATE)
    status, said = STATUS.get(event.phase, (FAILURE, "Failure"))
    return {
        "activity_id": activity,
        "category_uid": CATEGORY,
        "class_uid": CLASS,
        "type_uid": CLASS * 100 + activity,
        "severity_id": MEDIUM if status == FAILURE else INFORMATIONAL,
        "status_id": status,
        "status": said,
        "status_detail": event.phase,
        "time": round(datetime.fromisoformat(event.time).timestamp() * 1000),
        "message": f"{event.action} {event.phase}",
        "metadata": {
            "version": OCSF_VERSION,
            "product": {"name": "domain-adaptation-sdk", "vendor_name": "domain-adaptation-sdk"},
            "sequence": event.seq,
            "uid": str(event.seq),
            "original_time": event.time,
        },
        "actor": {"user": {"name": event.actor, **_credential(event)}},
        "api": {"operation": event.action},
        "src_endpoint": {"hostname": event.host},
        "resources": [{"name": name, "uid": digest} for name, digest in sorted(event.objects.items())],
        "unmapped": {
            "authentication": event.authentication,
            "policy": event.policy,
            "decision": event.decision,
            "detail": event.detail,
        },
    }


def _credential(event: Event) -> dict[str, str]:
    scheme, _, key = event.authentication.partition(":")
    return {"credential_uid": key} if scheme == "key" else {}
