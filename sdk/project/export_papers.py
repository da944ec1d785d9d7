"""The papers of what left the project in plain, which stay here; and what an export leaves that was cut off."""

from __future__ import annotations

from sdk.export.target import note_of, wipe_left
from sdk.project.state import ProjectState
from sdk.records import Export
from sdk.seal.exported import check_papers
from sdk.serve.evidence import find_trainer


def signer_pem(state: ProjectState, record: Export) -> str:
    """Return the public key, in PEM format, that signed an export."""
    return str(find_trainer(state.ring, record.key_fingerprint, f"Export {record.identity[:12]}").public_key)


def check_exports(state: ProjectState) -> int:
    """Check the papers that the project keeps of its exports. Return how many there are."""
    exports = state.distinct(Export)
    for record in exports:
        check_papers(state.folder(record), signer_pem(state, record), record)
    return len(exports)


def wipe_cut_off(state: ProjectState) -> None:
    """Wipe the plain weights of an export that was killed, and end its event."""
    if wipe_left(note_of(state.charter.root)) is None:
        return
    begun = next((event for event in reversed(state.events) if event.action == Export.step), None)
    told = {"error": "Interrupted", "reason": "The export was cut off; the plain weights that it left were wiped."}
    state.append(Export.step, "failed", begun.objects if begun else {}, told)
