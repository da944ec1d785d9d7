"""The rules between rooms, by reading every import. There is no exception list."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import sdk

ROOT = Path(sdk.__file__).parent
LAYERS = [  # a room imports from itself and from layers above its own line
    ["errors", "hardened", "wording"],
    ["html"],
    ["records"],
    ["files"],
    ["processes"],
    ["decoders", "crypto", "policy", "packing", "lookup", "intervals"],
    ["non_inferiority", "likeness"],
    ["audit", "domain", "stored_formats", "data", "hardware"],
    ["base", "model"],
    ["advise", "scrub", "review", "train", "evaluate", "seal", "registry", "approve", "documents", "export"],
    ["measure", "serve"],
    ["project"],
    ["cli", "flavor"],
    ["__main__"],
]
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
HOMES = {  # heavy library -> the rooms that may import it
    "pynvml": {"train", "hardware"},
    "presidio_analyzer": {"scrub"},
    "spacy": {"scrub"},
    "faker": {"scrub"},
    "trl": {"train"},
    "torch": {"model", "train", "evaluate", "export"},
    "transformers": {"model", "train", "evaluate", "export"},
    "peft": {"model", "train", "evaluate", "export"},
    "bitsandbytes": {"model", "train", "evaluate", "export"},
    "xllamacpp": {"export"},
    "datasets": {"train", "evaluate"},
    "lm_eval": {"evaluate"},
    "mlflow": {"registry"},
    "matplotlib": {"registry", "project"},  # the project names the type of its figures
    "pandas": {"project"},
    "IPython": {"project"},
    "cryptography": {"crypto"},
    "boto3": {"crypto"},
    "botocore": {"crypto"},
    "hvac": {"crypto"},
    "pkcs11": {"crypto"},
    "scipy": {"intervals", "non_inferiority"},
    "ray": {"scrub"},
    "datasketch": {"scrub"},
    "lxml": {"data"},
    "sacrebleu": {"data"},
    "jsonschema": {"data"},
    "rich": {"cli"},
    "typer": {"cli"},
}
FILES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path) -> list[tuple[str, bool]]:
    """(module, stands in a function)"""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    hidden = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, id(node) in hidden) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [f"sdk.{alias.name}" for alias in node.names] if node.module == "sdk" else [str(node.module)]
            found += [(name, id(node) in hidden) for name in names]
    return found


def test_every_room_has_a_layer() -> None:
    assert {room(path) for path in FILES} == set(LEVEL)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down_and_libraries_stay_home(path: Path) -> None:
    own = room(path)
    for module, in_function in imports(path):
        parts = module.split(".")
        if parts[0] == "sdk" and parts[1] != own:
            assert LEVEL[parts[1]] < LEVEL[own], f"{own} may not import {module}"
        if parts[0] in HOMES:
            assert own in HOMES[parts[0]], f"{module} has its home in {HOMES[parts[0]]}"
        if in_function:
            assert own == "project", f"{module} is imported inside a function"


def reached(start: set[str]) -> dict[str, str]:
    """Every module of ours that importing these imports, with the one that names it; packages run their `__init__`."""
    modules = {".".join(("sdk", *path.relative_to(ROOT).with_suffix("").parts)): path for path in FILES}
    modules = {name.removesuffix(".__init__"): path for name, path in modules.items()}
    found: dict[str, str] = {}
    waiting = [(name, "the start") for name in sorted(start)]
    while waiting:
        name, by = waiting.pop()
        if name in found or name not in modules:
            continue
        found[name] = by
        parts = name.split(".")
        waiting += [(".".join(parts[:length]), name) for length in range(2, len(parts))]
        for node in ast.walk(ast.parse(modules[name].read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                waiting += [(alias.name, name) for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                waiting += [(node.module, name), *((f"{node.module}.{alias.name}", name) for alias in node.names)]
    return found


def test_serving_reaches_no_code_that_reads_projects() -> None:
    """Also not by a detour. sdk.flavor itself names Project, for SDK_PROJECT; what else it imports is for serving."""
    serving = {f"sdk.serve.{path.stem}" for path in (ROOT / "serve").glob("*.py") if path.stem != "__init__"}
    flavor = {module for module, _ in imports(ROOT / "flavor.py") if module.startswith("sdk.")} - {"sdk.project"}
    assert {"sdk.serve.admit", "sdk.registry"} <= flavor
    modules = reached(serving | flavor)
    assert {"sdk.serve.admit", "sdk.audit.tree", "sdk.crypto.floe", "sdk.registry.fetch", "sdk.model"} <= set(modules)
    assert not {name: by for name, by in modules.items() if name.split(".")[1] in {"project", "cli", "flavor"}}
    assert "sdk.project.state" in reached({"sdk.project"})  # the walk would find it


def test_only_the_command_line_prints() -> None:
    for path in FILES:
        if room(path) == "cli":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
            assert called not in {"print", "exit", "input"}, f"{path}: {called}"


def names_used(path: Path) -> set[str]:
    """Every name in the syntax tree, with the modules and names that are imported, whatever they are called here."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.Attribute):
            names.add(node.attr)
            if isinstance(node.value, ast.Name):
                names.add(f"{node.value.id}.{node.attr}")
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
            names |= {alias.name for alias in node.names}
    return names


STARTS_A_PROGRAM = re.compile(
    r"subprocess(\..*)?|_posixsubprocess|multiprocessing(\..*)?|ProcessPoolExecutor|pty(\..*)?|create_subprocess_\w+"
    r"|(os|posix)\.(system|popen|startfile|fork\w*|exec\w*|spawn\w*|posix_spawn\w*)"
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_one_file_starts_programs(path: Path) -> None:
    starts = {name for name in names_used(path) if STARTS_A_PROGRAM.fullmatch(name)}
    assert (path == ROOT / "processes" / "__init__.py") == bool(starts), starts


IMPORTS_BY_NAME = {"import_module", "__import__", "exec_module", "load_module", "module_from_spec", "resolve_name"}
IMPORTS_BY_NAME |= {"run_module", "run_path", "find_loader"}


def test_only_four_files_import_by_name() -> None:
    """sdk's public names, the libraries of key services, what a child runs: nobody sees these in an import.

    And what waits for torch, which somebody else imports, to tell spaCy of it.
    """
    files = {path for path in ROOT.rglob("*.py") if IMPORTS_BY_NAME & names_used(path)}
    waits_for_torch = ROOT / "scrub" / "find" / "without_models.py"
    assert files == {ROOT / "__init__.py", ROOT / "crypto" / "uri.py", ROOT / "hardened.py", waits_for_torch}


def test_data_folders_hold_no_code() -> None:
    for folder in ("policies", "domains"):
        assert not list((ROOT.parent / folder).rglob("*.py"))


def test_public_names_are_these_and_exist() -> None:
    assert sdk.__all__ == sorted(set(sdk.__all__), key=str)
    for name in sdk.__all__:
        assert getattr(sdk, name).__name__ == name or callable(getattr(sdk, name))
    with pytest.raises(AttributeError):
        sdk.nothing_of_this_name  # noqa: B018


def test_a_name_of_the_version_before_is_still_found_and_says_its_new_one() -> None:
    with pytest.warns(DeprecationWarning, match="detect_hardware"):
        assert sdk.probe is sdk.detect_hardware


HEAVY = (
    "torch",
    "transformers",
    "mlflow",
    "presidio_analyzer",
    "trl",
    "peft",
    "datasets",
    "spacy",
    "matplotlib",
    "pandas",
    "sacrebleu",
    "jsonschema",
)


@pytest.mark.parametrize(
    "code",
    [
        "import sdk",
        "from sdk import Project, DeploymentStrategy, TrainSettings, Refused",
        "from sdk import DeploymentStrategy as D\n"
        "D(hardware_config={'gpu_memory': 24}, application_type='cost_efficient').recommend_strategy()",
        "from sdk.cli import main\ntry: main(['advise', '--model', 'llama-3.1-8b', '--gpu', 'rtx 4090', '--json'])\n"
        "except SystemExit as e: assert e.code == 0, e.code",
        "from sdk.measure import pilot, probe",  # their processes import what measures
    ],
)
def test_nothing_heavy_is_imported_before_it_is_needed(code: str) -> None:
    check = f"{code}\nimport sys\nprint([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@cache
def imported() -> list[str]:
    """What a process says that imports sdk.model, and then what adapts models."""
    check = (
        "import os, sys, sdk.model\n"
        "print({'peft', 'bitsandbytes', 'datasets', 'trl'} & sys.modules.keys())\n"
        "import sdk.model.adapted\n"
        "names = {'bitsandbytes', 'torch._inductor.compile_fx'}\n"
        "print(names & sys.modules.keys(), 'TORCHDYNAMO_DISABLE' in os.environ)"
    )
    return subprocess.run([sys.executable, "-c", check], capture_output=True, text=True).stdout.splitlines()


def test_a_project_is_made_without_what_loads_weights() -> None:
    assert imported()[0] == "set()"


def test_weights_are_loaded_without_torchs_compiler_which_others_find_as_ever() -> None:
    assert imported()[1] == "{'bitsandbytes'} False"
