"""The papers of what left the project in plain, which stay here."""

from __future__ import annotations

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
