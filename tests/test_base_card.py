"""What a base is called, where it comes from and its licence: from its card or its user, and shown everywhere."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from sdk import InvalidInput
from sdk.data.base_card import BaseCard, parse_base_card
from sdk.data.base_folder import BaseFolder
from sdk.documents.write import documents
from sdk.files.store import embedded_base
from sdk.registry.entry import entry_for
from sdk.registry.model_report import _origin
from sdk.seal.bom import write_bom
from tests.registry_records import adaptation
from tests.test_documents import empty
from tests.test_seal import facts
from tests.workshop import Workshop

CARDS = {
    "---\nlicense: apache-2.0\n---\n# A model": BaseCard(license="apache-2.0"),
    "---\r\nlicense: mit\r\nmodel_name: Acme 1\r\n---\r\n": BaseCard("Acme 1", "", "mit"),
    "---\ntitle: Acme\nbase_model: acme/raw-1\nlicense: other\nlicense_name: acme-community\n---": BaseCard(
        "Acme", "acme/raw-1", "acme-community"
    ),
    "---\nbase_model: [a/one, b/two]\nlicense: other\n---\n": BaseCard("", "a/one, b/two", "other"),
    # what is no card, or says nothing that can be shown
    "": BaseCard(),
    "# A model\n---\nlicense: mit\n---\n": BaseCard(),
    "---\nlicense: mit\n": BaseCard(),
    "---\n- license\n---\n": BaseCard(),
    "---\nlicense: [unclosed\n---\n": BaseCard(),
    '---\nmodel_name: "a\\e[31mb"\nlicense: {a: b}\n---\n': BaseCard(),
    f"---\nlicense: {'x' * 101}\n---\n": BaseCard(),
}


@pytest.mark.parametrize("text", CARDS, ids=range(len(CARDS)))
def test_a_card_is_read_as_far_as_it_can_be_shown(text: str) -> None:
    assert parse_base_card(text.encode()) == CARDS[text]
    assert parse_base_card(text.encode() + b"\xff") == BaseCard()


def card_of(folder: Path) -> bytes:
    with BaseFolder(folder) as opened:
        return opened.card


def test_the_card_lies_in_the_folder_or_where_a_hubs_cache_keeps_it(tmp_path: Path) -> None:
    snapshot, blobs = tmp_path / "snapshots" / "1", tmp_path / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    assert card_of(snapshot) == b""
    (blobs / "ab12").write_bytes(b"a card")
    (snapshot / "README.md").symlink_to("../../blobs/ab12")
    assert card_of(snapshot) == b"a card"
    (snapshot / "README.md").unlink()
    (tmp_path / "secret").write_bytes(b"a secret")
    (snapshot / "README.md").symlink_to("../../secret")
    assert card_of(snapshot) == b""
    assert parse_base_card(card_of(embedded_base())).license == "apache-2.0"


def test_a_project_records_what_its_user_says_and_an_unknown_licence_as_unknown(workshop: Workshop) -> None:
    plain = workshop.project("base-plain").state().charter
    assert (plain.base_name, plain.base_license) == (workshop.base.name, "unknown")
    assert plain.base_source == "a folder on this machine"
    project = workshop.project("base-named", base_name="Acme 1", base_license="acme-community")
    charter = project.state().charter
    assert (charter.base_name, charter.base_license) == ("Acme 1", "acme-community")
    assert project.advise().shape.name == "Acme 1"
    with pytest.raises(InvalidInput, match="base_name must be one line"):
        workshop.project("base-odd", base_name="a\nb")


def test_bill_of_materials_mlflow_report_and_documents_say_it(tmp_path: Path) -> None:
    said = {"base_source": "huggingface.co/acme/one", "base_license": "acme-community"}
    bom = json.loads(write_bom(facts().model_copy(update=said), "0" * 64))
    (base,) = (part for part in bom["components"] if part["bom-ref"] == "base")
    assert base["licenses"] == [{"license": {"name": "acme-community"}}]
    assert {"name": "domain-adaptation-sdk:source", "value": "huggingface.co/acme/one"} in base["properties"]
    made = dataclasses.replace(adaptation(tmp_path / "package"), **said)  # type: ignore[arg-type]
    entry = entry_for(made, {})
    assert (entry.params["base.source"], entry.params["base.license"]) == tuple(said.values())
    assert "licence: `acme-community`" in entry.description
    assert _origin(made) == " (huggingface.co/acme/one; licence: acme-community)"
    assert "| base model, licence | acme-community |" in documents(empty(**said))["model-card.md"]


def test_of_a_project_that_never_recorded_it_nothing_is_said(tmp_path: Path) -> None:
    """Else what an earlier version registered would not be found as it was registered."""
    made = adaptation(tmp_path / "package")
    assert not [name for name in entry_for(made, {}).params if name.startswith("base.")]
    assert _origin(made) == ""
    assert "licenses" not in json.loads(write_bom(facts(), "0" * 64))["components"][0]
