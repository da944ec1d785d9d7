"""What an export leaves that was cut off, which whoever works on the project next wipes."""

from __future__ import annotations

from sdk.export.target import note_of, wipe_left
from sdk.project.state import ProjectState
from sdk.records import Export


def wipe_cut_off(state: ProjectState) -> None:
    """Wipe the plain weights of an export that was killed, and end its event."""
    if wipe_left(note_of(state.charter.root)) is None:
        return
    begun = next((event for event in reversed(state.events) if event.action == Export.step), None)
    told = {"error": "Interrupted", "reason": "The export was cut off; the plain weights that it left were wiped."}
    state.append(Export.step, "failed", begun.objects if begun else {}, told)
