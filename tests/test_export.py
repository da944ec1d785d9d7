"""An approved release leaves in plain, whole and alike, or not at all."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mlflow import MlflowClient
from peft import AdaLoraConfig, LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from sdk import InvalidInput, OutOfOrder, Project, Refused, StepFailed, Tampered
from sdk.data.base_folder import BaseFolder
from sdk.export import export_files as step
from sdk.export import weight_files
from sdk.export.export_settings import ExportSettings
from sdk.export.matrices import as_plain_lora, changes_of
from sdk.export.merge import MergedWeights, write_merged
from sdk.export.target import note_of
from sdk.files.store import held_checkpoint
from sdk.model.adapter import adapter_config, adapter_weights, attach_adapter
from sdk.model.load import load_base
from sdk.records import Export, Quantization, Release
from sdk.registry import Tracking
from sdk.registry.exports import EXPORT_TAG, PARENT_STATUS_TAG
from tests.copies import copy_with_mlflow
from tests.tiny import make_base
from tests.workshop import Workshop, write_policy

REASON = "The branch servers run vLLM."


def quiet(*told: Any) -> None:
    pass


# -- what is written --------------------------------------------------------------------------------------------------

LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
KINDS: dict[str, Any] = {
    "lora": LoraConfig(r=4, lora_alpha=16, target_modules=LINEAR, task_type="CAUSAL_LM"),
    "rslora": LoraConfig(r=4, lora_alpha=8, use_rslora=True, target_modules=LINEAR, task_type="CAUSAL_LM"),
    "dora": LoraConfig(r=4, lora_alpha=16, use_dora=True, target_modules=LINEAR, task_type="CAUSAL_LM"),
    "adalora": AdaLoraConfig(init_r=4, lora_alpha=32, total_step=9, target_modules=LINEAR, task_type="CAUSAL_LM"),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stored in 32 bits, so that only what is computed can differ."""
    folder = make_base(tmp_path_factory.mktemp("export") / "base")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.save_pretrained(folder)
    return folder


def adapter(base: Path, kind: str) -> tuple[dict[str, Any], bytes]:
    """One whose matrices are random, so that each of them counts."""
    model = get_peft_model(load_base(str(base), "lora")[0], KINDS[kind])
    assert isinstance(model, PeftModel)
    torch.manual_seed(7)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_magnitude" in name:
                value.mul_(1 + 0.2 * torch.rand_like(value))
            elif "lora_" in name:
                value.normal_(std=0.1)
    return json.loads(adapter_config(model, "base")), adapter_weights(model)


IDS = torch.tensor([[3, 40, 99, 120, 7, 250, 33, 18]])


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS, use_cache=False).logits  # type: ignore[no-any-return]


def merged(base: Path, quantization: Quantization, parts: tuple[dict[str, Any], bytes], onto: Any, out: Path) -> Any:
    out.mkdir()
    with BaseFolder(base) as opened:
        write_merged(opened, MergedWeights(opened, quantization, changes_of(*parts), onto), out, quiet)
    return logits(AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32))


# Un-merged, bitsandbytes rounds more: scales where a CPU has instructions for that, in 8 bits also what goes in.
ROUNDING = {"lora": 1e-4, "qlora-4bit": 0.02, "qlora-8bit": 0.05}


@pytest.mark.parametrize(
    ("kind", "method"),
    [(kind, "lora") for kind in KINDS] + [("lora", "qlora-4bit"), ("dora", "qlora-4bit"), ("rslora", "qlora-8bit")],
)
def test_merged_onto_what_it_was_trained_on_a_model_answers_as_unmerged(
    base: Path, kind: str, method: Any, tmp_path: Path
) -> None:
    parts, quantization = adapter(base, kind), Quantization(method=method)
    before = logits(load_base(str(base), quantization)[0])
    approved = logits(attach_adapter(load_base(str(base), quantization)[0], *parts))
    found = merged(base, quantization, parts, "trained-base", tmp_path / "trained")
    effect = (approved - before).abs().max()
    assert (found - approved).abs().max() < ROUNDING[method] * effect
    if method != "lora":
        other = merged(base, quantization, parts, "original", tmp_path / "original")
        assert (other - found).abs().max() > 0.01 * effect


def test_a_merge_leaves_what_no_adapter_touches_byte_for_byte_and_fills_several_files(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weight_files, "FILE_BYTES", 60_000)
    found = merged(base, Quantization(method="lora"), adapter(base, "lora"), "trained-base", tmp_path / "out")
    assert found.shape[-1] == 320
    index = json.loads((tmp_path / "out/model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) > 3
    before, after = (AutoModelForCausalLM.from_pretrained(at).state_dict() for at in (base, tmp_path / "out"))
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert {name.split(".")[-2] for name in before.keys() - same} == set(LINEAR)
    assert (tmp_path / "out/tokenizer.json").read_bytes() == (base / "tokenizer.json").read_bytes()


@pytest.mark.parametrize("kind", ["lora", "rslora", "adalora"])
def test_as_plain_lora_an_adapter_has_its_true_scale(base: Path, kind: str) -> None:
    """llama.cpp's converter knows alpha and rank, and drops every other scale without a word."""
    parts = adapter(base, kind)
    config, weights = as_plain_lora(*parts)
    fields = json.loads(config)
    assert fields["lora_alpha"] == fields["r"]
    models = [load_base(str(base), "lora")[0] for _ in range(2)]
    true, plain = logits(attach_adapter(models[0], *parts)), logits(attach_adapter(models[1], fields, weights))
    assert (true - plain).abs().max() < 1e-3


def test_what_cannot_be_said_as_weights_is_refused(base: Path) -> None:
    with pytest.raises(InvalidInput, match="DoRA"):
        as_plain_lora(*adapter(base, "dora"))
    with pytest.raises(InvalidInput, match="learned prompt"):
        changes_of({"peft_type": "PROMPT_TUNING"}, b"")
    config, weights = adapter(base, "lora")
    with pytest.raises(InvalidInput, match="something else"):
        changes_of({**config, "use_dora": True}, weights)


def test_an_adapter_of_a_shared_weight_is_refused(base: Path) -> None:
    config, weights = adapter(base, "lora")
    change = next(iter(changes_of(config, weights).values()))
    with BaseFolder(base) as opened, pytest.raises(InvalidInput, match="cannot be merged") as caught:
        MergedWeights(opened, Quantization(method="lora"), {"lm_head": change}, "trained-base")
    assert "shares its weight" in caught.value.faults[0]


# -- the way out ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "written", "sealed", "bits"),
    [
        (ExportSettings("peft"), "f32", 4, 16),
        (ExportSettings("merged"), "f16", 4, 16),
        (ExportSettings("merged"), "bf16+f32", 16, 8),
        (ExportSettings("merged", onto="original"), "f16", 4, 4),
        (ExportSettings("gguf", dtype="bf16"), "bf16", 16, 8),
        (ExportSettings("gguf", dtype="q8_0"), "q8_0", 16, 8),
        (ExportSettings("gguf-lora", dtype="bf16"), "f32", 16, 16),
        (ExportSettings("gguf-lora", dtype="q8_0"), "f32", 16, 8),
    ],
)
def test_the_seal_allows_for_what_a_form_rounds(settings: ExportSettings, written: str, sealed: int, bits: int) -> None:
    behaviour = SimpleNamespace(bits=sealed)
    assert step._bits(settings, step.Written(written, {}), behaviour) == bits  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def copied(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("export-project")
    copy_with_mlflow(finished.root, folder / "finished")
    with pytest.MonkeyPatch.context() as patch:  # the copy's log goes on apart from the project's
        patch.setenv("SDK_STATE_HOME", str(folder / "state"))
        yield Project(folder / "finished")


@pytest.fixture
def log_as_it_was(copied: Project) -> Iterator[None]:
    """What this machine remembers of the log is put back, as the copy goes on apart from the project."""
    held = held_checkpoint(copied.state().charter.root)
    before = held.read_bytes()
    yield
    held.write_bytes(before)


def last(project: Project) -> tuple[str, str, dict[str, str]]:
    event = [event for event in project.state().events if event.action == "export"][-1]
    return event.action, event.phase, dict(event.detail)


def nothing_left(folder: Path, project: Project) -> bool:
    return not list(folder.iterdir()) and not note_of(project.state().charter.root).exists()


@pytest.fixture(scope="module")
def exports(copied: Project, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Export]]:
    folder = tmp_path_factory.mktemp("exports")
    return {
        form: (folder / form, copied.export_model(folder / form, to=form, reason=REASON))  # type: ignore[arg-type]
        for form in ("peft", "merged")
    }


def test_both_forms_leave_as_child_releases(copied: Project, exports: dict[str, tuple[Path, Export]]) -> None:
    release = copied.state().latest(Release)
    for form, (folder, record) in exports.items():
        assert (record.format, record.package, record.reason) == (form, release.package, REASON)
        assert record.parity.kl_mean < 0.01
        assert record.parity.top1.value > 0.95
        assert {ref.path for ref in record.exported} == {path.name for path in folder.iterdir()}
        assert oct(folder.stat().st_mode)[-3:] == "700"
        assert json.loads((folder / "manifest.json").read_bytes())["parent"] == release.package
        assert json.loads((folder / "bom.json").read_bytes())["specVersion"] == "1.6"
        assert copied.check_export(folder) == record
        text = (folder / "parity.json").read_text()
        assert set(json.loads(text)) == set(type(record.parity).model_fields)
    assert copied.verify().exports == 2
    assert last(copied)[:2] == ("export", "finished")
    begun = next(event for event in copied.state().events if (event.action, event.phase) == ("export", "started"))
    assert begun.detail["reason"] == REASON
    assert "leave the encryption" in begun.detail["declassifies"]


def test_what_left_answers_as_what_was_approved(copied: Project, exports: dict[str, tuple[Path, Export]]) -> None:
    approved = copied.load()
    merged = AutoModelForCausalLM.from_pretrained(exports["merged"][0], dtype=torch.float32)
    base = AutoModelForCausalLM.from_pretrained(copied.state().charter.base, dtype=torch.float32)
    peft = PeftModel.from_pretrained(base, str(exports["peft"][0]))
    ids = torch.tensor([[3, 40, 99, 120, 7, 250, 33, 18]])
    with torch.no_grad():
        wanted, one, two = (each(input_ids=ids).logits for each in (approved.model, merged, peft))
    assert (one - wanted).abs().max() < 0.05
    assert (two - wanted).abs().max() < 1e-4


def test_mlflow_shows_exports_below_their_parent(copied: Project, exports: dict[str, tuple[Path, Export]]) -> None:
    release = copied.state().latest(Release)
    client: MlflowClient = Tracking(copied.root, None).connect()
    runs = client.search_runs([release.experiment_id], f"tags.mlflow.parentRunId = '{release.run_id}'")
    found = {run.data.tags[EXPORT_TAG]: run for run in runs if EXPORT_TAG in run.data.tags}
    assert found.keys() == {record.identity for _, record in exports.values()}
    for run in found.values():
        assert run.data.tags[PARENT_STATUS_TAG] == "champion"
        names = {each.path for each in client.list_artifacts(run.info.run_id, "export")}
        assert names == {"export/bom.json", "export/manifest.json", "export/model.sig", "export/parity.json"}
    run = next(iter(found.values()))
    client.set_tag(run.info.run_id, PARENT_STATUS_TAG, "rejected")
    with pytest.raises(Tampered, match="exported"):
        copied.verify()
    client.set_tag(run.info.run_id, PARENT_STATUS_TAG, "champion")


def test_an_altered_folder_is_told_from_what_left(copied: Project, exports: dict[str, Any], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(exports["merged"][0], tmp_path / "served"))
    assert copied.check_export(folder)
    (folder / "more.txt").write_text("x")
    with pytest.raises(Tampered, match="not those that were signed"):
        copied.check_export(folder)
    (folder / "more.txt").unlink()
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    with pytest.raises(Tampered, match=r"model\.safetensors has been altered"):
        copied.check_export(folder)
    (folder / "manifest.json").write_text("{}")
    with pytest.raises(Refused, match="no export that the log"):
        copied.check_export(folder)


# -- what keeps it in -------------------------------------------------------------------------------------------------


def test_a_target_that_is_not_free_is_refused_before_anything_else(copied: Project, tmp_path: Path) -> None:
    events = len(copied.state().events)
    full, link = tmp_path / "full", tmp_path / "link"
    full.mkdir()
    (full / "link").symlink_to("/etc/passwd")
    link.symlink_to(tmp_path)
    for target, why in (
        (full, "not empty"),
        (link, "is a link"),
        (copied.root / "out", "lies in the project"),
        (tmp_path / "nowhere" / "out", "make it first"),
    ):
        with pytest.raises(InvalidInput, match=why):
            copied.export_model(target, to="peft", reason=REASON)
    with pytest.raises(InvalidInput, match="needs a reason"):
        copied.export_model(tmp_path / "new", to="peft", reason=" ")
    assert os.readlink(full / "link") == "/etc/passwd"
    assert len(copied.state().events) == events


def test_a_full_disk_leaves_nothing(copied: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []

    def fill(file: Any, data: Any) -> None:
        written.append(len(data))
        if len(written) > 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        file.write(data)

    monkeypatch.setattr(weight_files, "write_all", fill)
    with pytest.raises(StepFailed, match="No space left on device"):
        copied.export_model(tmp_path / "out", to="merged", reason=REASON)
    assert last(copied)[1] == "failed"
    assert nothing_left(tmp_path, copied)


def test_a_base_that_has_moved_is_named(copied: Project, workshop: Workshop, tmp_path: Path) -> None:
    moved = workshop.base.rename(workshop.base.with_name("moved"))
    try:
        with pytest.raises(InvalidInput, match="base"):
            copied.export_model(tmp_path / "out", to="merged", reason=REASON)
    finally:
        moved.rename(workshop.base)
    assert last(copied)[1] == "failed"
    assert nothing_left(tmp_path, copied)


def test_a_model_that_behaves_otherwise_is_wiped_and_its_figures_are_kept(
    copied: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its perplexity is as good as ever: that alone passes nothing."""
    honest = step.certify

    def worse(*given: Any) -> Any:
        parity = honest(*given)
        return parity.model_copy(update={"kl_mean": 0.063, "top1": parity.top1.model_copy(update={"value": 0.806})})

    monkeypatch.setattr(step, "certify", worse)
    with pytest.raises(Refused, match="refuses export") as caught:
        copied.export_model(tmp_path / "out", to="merged", reason=REASON)
    assert [fault.split(":")[0] for fault in caught.value.faults] == ["export.max_kl_mean", "export.min_top1"]
    assert last(copied)[1] == "refused"
    assert "0.0630" in last(copied)[2]["reason"]
    assert nothing_left(tmp_path, copied)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (lambda changes: {}, "as if without the adapter"),
        (lambda changes: {name: replace(one, b=-one.b) for name, one in changes.items()}, "effect -"),
        (lambda changes: {name: replace(one, b=one.b / 2) for name, one in changes.items()}, "too weakly"),
    ],
)
def test_a_merge_that_went_wrong_is_refused_by_the_seal(
    copied: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Any, said: str
) -> None:
    """Though every byte of it is as it was written."""
    monkeypatch.setattr(step, "changes_of", lambda *given: fault(changes_of(*given)))
    with pytest.raises(Refused, match="behaviour seal") as caught:
        copied.export_model(tmp_path / "out", to="merged", dtype="f32", reason=REASON)
    assert said in caught.value.faults[0]
    assert last(copied)[1] == "refused"
    assert nothing_left(tmp_path, copied)


KILLED = """
import os, signal, sys
from pathlib import Path
from types import SimpleNamespace
from sdk.export.target import note_of, staging
with staging(Path(sys.argv[1]), note_of(sys.argv[2])) as stage:
    (stage.folder / "model.safetensors").write_bytes(b"weights" * 1000)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_export_left_is_wiped_by_whatever_is_done_next(copied: Project, tmp_path: Path) -> None:
    root = copied.state().charter.root
    state = copied.state()
    state.append("export", "started", {"package": "0" * 64}, {})
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "out"), root], check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    kept = os.open(left / "model.safetensors", os.O_RDONLY)
    copied.promote()
    assert nothing_left(tmp_path, copied)
    assert set(os.pread(kept, 7000, 0)) == {0}  # overwritten, for whoever still has it open
    os.close(kept)
    assert last(copied)[1:] == ("failed", last(copied)[2])
    assert "wiped" in last(copied)[2]["reason"]


def test_the_policy_says_which_forms_may_leave(copied: Project, workshop: Workshop, tmp_path: Path) -> None:
    changes = {"evaluate__domain_floors": False, "evaluate__must_improve": False, "evaluate__min_questions": 1}
    write_policy(tmp_path / "policy.yaml", version=90, export__formats=["gguf"], **changes)
    out = tmp_path / "to"
    out.mkdir()
    copied.adopt(policy=tmp_path / "policy.yaml")
    with pytest.raises(Refused, match=r"export\.formats"):
        copied.export_model(out / "out", to="peft", reason=REASON)
    assert last(copied)[1] == "refused"
    assert nothing_left(out, copied)
    with pytest.raises(InvalidInput, match="No converter was named"):
        copied.export_model(out / "out", to="gguf", reason=REASON)


def test_a_tampered_parent_stays(copied: Project, workshop: Workshop, tmp_path: Path) -> None:
    copied.adopt(policy=workshop.policy)
    package = next(copied.root.glob("artifacts/seal/*/package/adapter_model.safetensors.floe"))
    data = package.read_bytes()
    package.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(Tampered):
        copied.export_model(tmp_path / "out", to="peft", reason=REASON)
    package.write_bytes(data)
    assert nothing_left(tmp_path, copied)


def test_without_an_approved_release_nothing_leaves(workshop: Workshop, tmp_path: Path) -> None:
    with pytest.raises(OutOfOrder, match="sdk approve"):
        workshop.project("export-new").export_model(tmp_path / "out", to="peft", reason=REASON)


def test_a_child_is_revoked_with_its_parent(copied: Project, workshop: Workshop, exports: dict[str, Any]) -> None:
    """The last one: the copy is left as it is."""
    copied.approve(key=workshop.approver("ada"), reason="A customer has found an error.", decision="withdraw")
    with pytest.raises(Refused):
        copied.check_export(exports["peft"][0])
    with pytest.raises(Refused):
        copied.export_model(exports["peft"][0].with_name("again"), to="peft", reason=REASON)
    release = copied.state().latest(Release)
    client: MlflowClient = Tracking(copied.root, None).connect()
    runs = client.search_runs([release.experiment_id], f"tags.mlflow.parentRunId = '{release.run_id}'")
    assert {run.data.tags[PARENT_STATUS_TAG] for run in runs if EXPORT_TAG in run.data.tags} == {"withdrawn"}
    assert copied.verify().exports == 2
