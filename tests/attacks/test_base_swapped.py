"""A base that changes between its check and its use: what is loaded is what was checked, or it is Tampered.

Every race is won by a hook on the check itself, which lets the attack happen right behind it.
"""

import ast
import json
import mmap
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import sdk
from sdk.data.base_folder import BaseFolder, PinnedBase, WeightsFile
from sdk.errors import Tampered
from sdk.evaluate import evaluate
from sdk.model import base_digest, load_chat, pin_base
from sdk.model.load import load_base
from sdk.serve import admit
from sdk.train import Job, train
from tests.clean_releases import Maker, tensors
from tests.tiny import make_base, pairs, settings, write_rows

Attack = Callable[[Path, Path], None]  # the base's folder; that of another base of the same shape
IDS = torch.tensor([[5, 9, 70, 40]])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="module")
def other(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of the same size and names with one bit of the last tensor another; its own template and tokenizer."""
    folder = shutil.copytree(base, tmp_path_factory.mktemp("other") / "tiny")
    data = bytearray((folder / "model.safetensors").read_bytes())
    for place in range(len(data) - 64 * 320, len(data)):
        data[place] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    (folder / "chat_template.jinja").write_text("evil {{ messages[0].content }}<|end|>")
    return folder


@pytest.fixture
def folder(base: Path, tmp_path: Path) -> Path:
    return shutil.copytree(base, tmp_path / "folder")


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        values: torch.Tensor = model(IDS).logits
    return values


def attack_behind(monkeypatch: pytest.MonkeyPatch, name: str, attack: Callable[[], None]) -> None:
    """Let the attack happen once, right behind a check."""
    check, done = getattr(BaseFolder, name), []

    def checked(self: Any, *arguments: Any) -> Any:
        result = check(self, *arguments)
        if not done:
            done.append(True)
            attack()
        return result

    monkeypatch.setattr(BaseFolder, name, checked)


def put_in_place(name: str) -> Attack:
    """A new file under the old name."""

    def attack(folder: Path, other: Path) -> None:
        shutil.copy(other / name, folder / "aside")
        (folder / "aside").replace(folder / name)

    return attack


def write_into(name: str, keep_time: bool = False) -> Attack:
    """Other bytes in the same file."""

    def attack(folder: Path, other: Path) -> None:
        before = (folder / name).stat()
        with (folder / name).open("r+b") as file:
            file.write((other / name).read_bytes())
        if keep_time:
            os.utime(folder / name, ns=(before.st_atime_ns, before.st_mtime_ns))

    return attack


def write_through_a_map(folder: Path, other: Path) -> None:
    data = (other / "model.safetensors").read_bytes()
    with (folder / "model.safetensors").open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[:] = data


def cut_off(folder: Path, other: Path) -> None:
    os.truncate(folder / "model.safetensors", 100_000)


def grow(folder: Path, other: Path) -> None:
    with (folder / "model.safetensors").open("ab") as file:
        file.write(b"more")


def change_folders(folder: Path, other: Path) -> None:
    folder.rename(folder.with_name("away"))
    shutil.copytree(other, folder)


def link_to_another(folder: Path, other: Path) -> None:
    folder.rename(folder.with_name("away"))
    folder.symlink_to(other)


def remove(folder: Path, other: Path) -> None:
    shutil.rmtree(folder)


def add(name: str, content: str) -> Attack:
    def attack(folder: Path, other: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)

    return attack


def add_an_adapter(folder: Path, other: Path) -> None:
    add("adapter_config.json", json.dumps({"peft_type": "LORA", "base_model_name_or_path": "x"}))(folder, other)


def other_config(folder: Path, other: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 0.5}))


# What gives a new file, or another folder, is without effect: the open file is the one that was checked.
WITHOUT_EFFECT: dict[str, Attack] = {
    "other weights under the name": put_in_place("model.safetensors"),
    "another template under the name": put_in_place("chat_template.jinja"),
    "another template in the file": write_into("chat_template.jinja"),
    "another configuration": other_config,
    "the file grows": grow,
    "another folder in the place": change_folders,
    "a link in the place": link_to_another,
    "the folder is gone": remove,
    "a template more": add("additional_chat_templates/default.jinja", "evil"),
    "an adapter more": add_an_adapter,
    "an index more": add("model.safetensors.index.json", '{"weight_map": {"x": "../x.safetensors"}}'),
    "code more": add("custom_generate/generate.py", "raise SystemExit"),
}
# What changes the very file is found out when its bytes come.
FOUND_OUT: dict[str, Attack] = {
    "other weights in the file": write_into("model.safetensors"),
    "other weights, and the old time": write_into("model.safetensors", keep_time=True),
    "other weights through a map": write_through_a_map,
    "the file is cut off": cut_off,
}


@pytest.mark.parametrize("attack", WITHOUT_EFFECT.values(), ids=WITHOUT_EFFECT)
def test_a_swap_behind_the_check_is_without_effect(
    base: Path, other: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, attack: Attack
) -> None:
    pinned = PinnedBase(str(folder), base_digest(base))
    honest, tokenizer = load_base(pinned, "lora")
    attack_behind(monkeypatch, "require", lambda: attack(folder, other))
    model, loaded = load_base(pinned, "lora")
    assert torch.equal(logits(model), logits(honest))
    assert loaded.get_chat_template() == tokenizer.get_chat_template()
    assert loaded.get_vocab() == tokenizer.get_vocab()


@pytest.mark.parametrize("method", ["lora", "qlora-4bit"])
@pytest.mark.parametrize("attack", FOUND_OUT.values(), ids=FOUND_OUT)
def test_a_change_in_the_file_behind_the_check_is_tampered(
    base: Path, other: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, attack: Attack, method: Any
) -> None:
    pinned = PinnedBase(str(folder), base_digest(base))
    attack_behind(monkeypatch, "require", lambda: attack(folder, other))
    with pytest.raises(Tampered, match="was changed while it was read"):
        load_base(pinned, method)


def test_a_file_that_is_cut_while_it_is_hashed_is_tampered(
    other: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = WeightsFile.hash

    def cut(self: WeightsFile) -> str:
        cut_off(folder, other)
        return whole(self)

    monkeypatch.setattr(WeightsFile, "hash", cut)
    pinned = PinnedBase(str(folder), "a" * 64)
    with pytest.raises(Tampered, match="was changed while it was read"):
        load_base(pinned, "lora")


@pytest.mark.parametrize("attack", [*WITHOUT_EFFECT.values(), *FOUND_OUT.values()], ids=[*WITHOUT_EFFECT, *FOUND_OUT])
def test_once_loaded_nothing_reaches_the_model(base: Path, other: Path, folder: Path, attack: Attack) -> None:
    model, _ = load_base(str(folder), "lora")
    before = logits(model)
    attack(folder, other)
    assert torch.equal(logits(model), before)


def test_another_base_is_tampered_wherever_one_is_loaded(base: Path, other: Path, tmp_path: Path) -> None:
    wrong, right = PinnedBase(str(other), base_digest(base)), PinnedBase(str(base), base_digest(base))
    data = write_rows(tmp_path / "rows.jsonl", pairs(4))
    job = {"data": data, "prompt": "", "settings": settings(max_steps=3), "checkpoint_seconds": 0}
    with pytest.raises(Tampered, match="is not the base model that was recorded"):
        train(Job(base=wrong, out=tmp_path / "wrong", **job), lambda *progress: None)  # type: ignore[arg-type]
    run = train(Job(base=right, out=tmp_path / "right", **job), lambda *progress: None)  # type: ignore[arg-type]
    assert run is not None
    assert run.steps == 3
    domain = SimpleNamespace(slices=())  # read before the base is opened, and nothing else of it

    def ask(base: PinnedBase) -> Any:
        return evaluate(data, base, *[None] * 4, domain, None)  # type: ignore[arg-type]

    for use in (load_chat, lambda base: load_base(base, "lora"), ask):
        with pytest.raises(Tampered, match="is not the base model that was recorded"):
            use(wrong)
    load_chat(right)
    assert pin_base(right) is right
    assert pin_base(str(base)) == right


def test_a_job_is_told_with_its_digest(base: Path, tmp_path: Path) -> None:
    """Each process of a training checks for itself."""
    for place in (str(base), PinnedBase(str(base), "a" * 64)):
        job = Job(tmp_path / "data", place, "", settings(), tmp_path)
        assert Job.from_bytes(job.to_bytes()).base == place


def test_a_base_that_is_swapped_before_its_model_is_served_is_tampered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Admission hands over the open files, not a path."""
    release = Maker(tmp_path, Random(1)).release(1, tensors(Random(2), 2000))
    assert release.check()

    def swapped(base: BaseFolder, *arguments: object) -> int:
        path = release.base / "model.safetensors"
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
        file = base.weights["model.safetensors"]
        return len(file.read(0, file.size))

    monkeypatch.setattr("tests.clean_releases._not_loaded", swapped)
    with pytest.raises(Tampered, match="was changed while it was read"):
        release.check()
    with pytest.raises(Tampered, match="is not the base model that was recorded"):
        release.check()
    assert admit.open_base is sdk.model.open_base


def test_a_project_names_its_base_with_the_digest_in_every_request() -> None:
    """By the syntax tree of every request: whoever loads a base is told which it must be."""
    told = 0
    for path in sorted((Path(sdk.__file__).parent / "project").glob("*.py")):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and ast.unparse(call.func) in ("Job", "evaluate", "Trained", "TrialSetup"):
                given = [ast.unparse(keyword.value) for keyword in call.keywords if keyword.arg == "base"]
                assert (given or [ast.unparse(call.args[0])]) == ["state.pinned_base()"], path
                told += 1
    assert told == 4


def test_a_base_is_used_by_its_path_only_where_nothing_is_trained_or_served() -> None:
    """By the syntax tree: its folder is asked for by advice, whose shape and row lengths nothing is built on.

    So is it where answers are counted for what is told beforehand, and by `opened_base`, which asks for the digest.
    """
    asking = {
        path.name
        for path in (Path(sdk.__file__).parent / "project").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr == "base_folder"
    }
    assert asking == {"advising.py", "foreseeing.py", "state.py", "trial_requests.py"}
