"""Do the tests notice when a module that decides is changed in one place?

    python tests/benchmarks/mutation.py [approve/verdict ...] [--sample 20 --seed 1] [--out FILE]

Each mutant is one module with one change: a comparison's operator (< and <=, == and !=, in and not in, is and is not),
`and` for `or`, a `not` left out, a condition that always or never holds, a number one larger or smaller, a `raise` left
out. It is compiled in memory, and imported in the module's place by a process that runs the tests of `TESTS`, the
fastest first, until one fails. A mutant is killed when a test fails or hangs, and survives when all pass.

What stands in an f-string decides what people read and nothing else; it is not changed. Mutants that cannot change what
a module does are listed in `EQUIVALENT_BY_REASON` and are not run. FILE is written anew after each module.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from random import Random
from types import CodeType
from typing import Any, NamedTuple

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.clean_releases import surroundings
from tests.shared import folder_in_memory
from tests.warm import context

ROOT = Path(__file__).resolve().parents[2]
MOST_BYTES = 6 << 30  # of a process that runs tests
ENOUGH = 0.95  # of the mutants are killed
RELEASES = ("test_admit", "attacks/test_weaker_rules", "attacks/test_old_log_keys")
RINGS = ("test_terms", "test_ring", "test_approve", *RELEASES)
# module -> the files of tests that are meant to notice, the fastest first
TESTS: dict[str, tuple[str, ...]] = {
    "approve/verdict": ("test_approve",),
    "policy/rules": ("test_policy",),
    "policy/compare": ("test_cli_policy", "test_policy", "test_approve"),
    "policy/rule_keys": ("test_policy", "test_cli_policy"),
    "serve/admit": RELEASES,
    "serve/governing": RELEASES,
    "crypto/keyring/changes": RINGS,
    "crypto/keyring/member": RINGS,
    "crypto/keyring/ring": RINGS,
    "crypto/keyring/terms": RINGS,
    "crypto/keyring/versions": RINGS,
    "project/state": ("test_state", "test_requests", "attacks/test_old_log_keys"),
    "audit/tree": ("test_tree", "test_audit"),
    "audit/checkpoint": ("test_checkpoint", "test_admit", "test_audit"),
    "audit/consistency": ("test_checkpoint", *RELEASES),
    "seal/manifest": ("test_seal",),
    "seal/oms": ("test_oms", "test_seal"),
    "advise/choose": ("test_choose", "test_advise"),
}
# why nothing that a module does can differ: module, function: before -> after
EQUIVALENT_BY_REASON: dict[str, tuple[str, ...]] = {
    "a review and an approval are two decisions, with two numbers": (
        "approve/verdict, _Court.in_order: review.number < heard.number -> review.number <= heard.number",
    ),
    "equal ones were told apart before": ("policy/rule_keys, _ranked.order: new > old -> new >= old",),
    "only the order of ranks counts": (
        "policy/rule_keys, module: {'keep': 0, 'delete': 2} -> {'keep': -1, 'delete': 2}",
        "policy/rule_keys, module: {'keep': 0, 'delete': 2} -> {'keep': 0, 'delete': 3}",
    ),
    "any negative number stands for none": (
        "serve/governing, read_served: -1 -> -2",
        "audit/checkpoint, _read: -1 -> -2",
    ),
    "every release has one key ring or more": (
        "serve/governing, read_served: Served(data, -1, 0, None) -> Served(data, -1, 1, None)",
        "serve/governing, read_served: Served(data, -1, 0, None) -> Served(data, -1, -1, None)",
    ),
    "event 0 is the making of the project, and no promotion": (
        "serve/governing, check_fresh: served.promotion < 0 -> served.promotion <= 0",
        "serve/governing, check_fresh: served.promotion < 0 -> served.promotion < 1",
    ),
    "`prove_rules` has refused a release without it": ("serve/governing, check_fresh: if evidence.sealing -> if True",),
    "without rules now there were none before, or the ring was refused above": (
        "crypto/keyring/versions, _check_rules: if ring.rules is None -> if False",
    ),
    "the same log is verified once more": ("project/state, ProjectState.__init__: if self.charter.heads -> if True",),
    "the same key signs the same checkpoint once more, to the byte": (
        "project/state, ProjectState.append: if key.public_pem != self._log_pem -> if True",
    ),
    "it bounds work alone; one hash more than may be is refused below": (
        "audit/checkpoint, _read_proof: MAX_PROOF_HASHES + 1 -> MAX_PROOF_HASHES + 2",
    ),
    "the left border is 0 or the size of a complete subtree of two leaves or more": (
        "audit/tree, consistency_ranges: low > 0 -> low > 1",
    ),
    "more than the bytes of any method that quantizes, either way": (
        "advise/choose, _by_accuracy: QUANTIZED_BYTES.get(candidate.method, 2.0)"
        " -> QUANTIZED_BYTES.get(candidate.method, 3.0)",
    ),
}
EQUIVALENT = {mutant for listed in EQUIVALENT_BY_REASON.values() for mutant in listed}

SWAPPED: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE,
    ast.Gt: ast.GtE,
    ast.Eq: ast.NotEq,
    ast.In: ast.NotIn,
    ast.Is: ast.IsNot,
    ast.And: ast.Or,
}
SWAPPED |= {after: before for before, after in SWAPPED.items()}


class Mutant(NamedTuple):
    module: str  # below sdk/, without .py
    number: int
    line: int
    function: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.module}, {self.function}: {self.before} -> {self.after}"


def mutants(module: str) -> list[Mutant]:
    """List every mutant of a module, in the order of its text."""
    return [Mutant(module, number, *place) for number, place in enumerate(changed(_tree(module)))]


def compiled(mutant: Mutant) -> CodeType:
    """Compile the module as the mutant has it."""
    tree = _tree(mutant.module)
    places = changed(tree)
    for _ in range(mutant.number + 1):
        next(places)
    return compile(ast.fix_missing_locations(tree), str(_path(mutant.module)), "exec")


def _path(module: str) -> Path:
    return ROOT / "sdk" / f"{module}.py"


def _tree(module: str) -> ast.Module:
    return ast.parse(_path(module).read_text(encoding="utf-8"))


def changed(tree: ast.Module) -> Iterator[tuple[int, str, str, str]]:
    """Change a module's tree in one place after the other. Yields line, function, and the place before and after."""
    for node, parent, function in _nodes(tree, tree, "module"):
        for field, value in _changes(node):
            original, before = getattr(node, field), _shown(node, parent, field)
            setattr(node, field, value)
            yield getattr(node, "lineno", None) or parent.lineno, function, before, _shown(node, parent, field)
            setattr(node, field, original)


def _nodes(node: ast.AST, parent: ast.AST, function: str) -> Iterator[tuple[Any, ast.AST, str]]:
    """Walk a tree, with each node's parent and the function that it is in; f-strings and type checking left out."""
    if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
        return
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        function = node.name if function == "module" else f"{function}.{node.name}"
    yield node, parent, function
    for child in ast.iter_child_nodes(node):
        yield from _nodes(child, node, function)


def _changes(node: Any) -> Iterator[tuple[str, Any]]:
    """Yield the fields of a node, each with what it can be instead."""
    match node:
        case ast.Compare():
            for place, operator in enumerate(node.ops):
                yield "ops", [*node.ops[:place], SWAPPED[type(operator)](), *node.ops[place + 1 :]]
        case ast.BoolOp():
            yield "op", SWAPPED[type(node.op)]()
        case ast.UnaryOp(op=ast.Not()):
            yield "operand", ast.UnaryOp(ast.Not(), node.operand)
        case ast.If() | ast.IfExp():
            yield from (("test", ast.Constant(value)) for value in (True, False))
        case ast.While():
            yield "test", ast.Constant(False)
        case ast.comprehension():
            for place in range(len(node.ifs)):
                for value in (True, False):
                    yield "ifs", [*node.ifs[:place], ast.Constant(value), *node.ifs[place + 1 :]]
        case ast.Constant() if type(node.value) in (int, float):
            yield from (("value", node.value + step) for step in (1, -1))
    for field in ("body", "orelse"):
        statements = getattr(node, field, None)
        # where a `raise` is all that an `if` does, a condition that never holds leaves it out
        if isinstance(statements, list) and not (isinstance(node, ast.If) and len(statements) == 1 and field == "body"):
            for place, statement in enumerate(statements):
                if isinstance(statement, ast.Raise):
                    yield field, [*statements[:place], ast.Pass(), *statements[place + 1 :]]


def _shown(node: Any, parent: ast.AST, field: str) -> str:
    value = getattr(node, field)
    if field == "value":
        return ast.unparse(parent)
    if field in ("test", "ifs"):
        return " ".join(f"if {ast.unparse(each)}" for each in ([value] if field == "test" else value))
    if field in ("body", "orelse"):
        return "; ".join(ast.unparse(each) for each in value if isinstance(each, ast.Raise | ast.Pass))
    return ast.unparse(node)


# -- running the tests ------------------------------------------------------------------------------------------------


class _Loader(SourceFileLoader):
    """Finds one module, and loads a mutant of it."""

    def __init__(self, mutant: Mutant) -> None:
        super().__init__(f"sdk.{mutant.module.replace('/', '.')}", str(_path(mutant.module)))
        self.mutant = mutant

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        return spec_from_file_location(name, self.path, loader=self) if name == self.name else None

    def get_code(self, fullname: str) -> CodeType:
        return compiled(self.mutant)


def _run_tests(mutant: Mutant | None, files: Sequence[str], folder: Path) -> None:
    """Import the SDK anew, in a process that has imported everything else already, and run the tests."""
    os.setsid()  # so that what the tests start can be ended with them
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_BYTES, MOST_BYTES))  # what never ends may fill memory
    with (folder / "output").open("wb") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    os.chdir(ROOT)
    for name in list(sys.modules):
        if name.partition(".")[0] in ("sdk", "tests"):
            del sys.modules[name]
    if mutant is not None:
        sys.meta_path.insert(0, _Loader(mutant))
    options = ["-x", "-o", "addopts=", "-p", "no:cacheprovider", f"--basetemp={folder / 'pytest'}"]
    status = pytest.main([*options, *(f"tests/{file}.py" for file in files)])
    sys.stdout.flush()
    os._exit(status)


def run_tests(mutant: Mutant | None, files: Sequence[str], seconds: float) -> tuple[str, str]:
    """Run tests with a mutant, or with everything as it is. Returns how they ended, and what pytest printed."""
    with folder_in_memory() as folder:
        process = context().Process(target=_run_tests, args=(mutant, files, folder))
        process.start()
        process.join(seconds)
        status = process.exitcode
        assert process.pid is not None
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.join()
        text = (folder / "output").read_text(encoding="utf-8", errors="replace")
    return "hung" if status is None else "passed" if status == 0 else "failed", text


def survey(module: str, sample: int | None, seed: int) -> dict[str, Any]:
    """Run the tests of a module with every mutant, or with some. Returns the figures, and what survived."""
    everything, files, begun = mutants(module), TESTS[module], time.monotonic()
    ended, text = run_tests(None, files, 600)
    if ended != "passed":
        sys.exit(f"The tests of {module} do not pass as it is:\n{text}")
    seconds = 10 + 5 * (time.monotonic() - begun)
    tried = [mutant for mutant in everything if str(mutant) not in EQUIVALENT]
    equivalent = len(everything) - len(tried)
    if sample is not None:
        tried = Random(f"{seed} {module}").sample(tried, min(sample, len(tried)))
    ends, survivors = Counter[str](), []
    for mutant in tried:
        ended, _ = run_tests(mutant, files, seconds)
        ends[ended] += 1
        if ended == "passed":
            survivors.append(f"sdk/{module}.py:{mutant.line}: {mutant.before} -> {mutant.after}")
            print(survivors[-1], flush=True)
    figures = {"killed": ends["failed"] + ends["hung"], "tried": len(tried), "of which hung": ends["hung"]}
    return figures | {"equivalent": equivalent, "survivors": survivors, "tests": files}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", help="below sdk/, without .py; all of them unless some are named")
    parser.add_argument("--sample", type=int, help="only so many mutants of each module, at random")
    parser.add_argument("--seed", type=int, default=14)
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    options = parser.parse_args()
    known = {str(mutant) for module in TESTS for mutant in mutants(module)}
    if unknown := EQUIVALENT - known:
        sys.exit("There are no such mutants any more:\n" + "\n".join(sorted(unknown)))
    head: dict[str, Any] = {"command": " ".join(["python tests/benchmarks/mutation.py", *sys.argv[1:]])}
    head |= {"date": datetime.now(UTC).date().isoformat(), **surroundings(), "pytest": pytest.__version__}
    figures: dict[str, Any] = {}
    for module in options.modules or TESTS:
        figures[module] = survey(module, options.sample, options.seed)
        print(f"{module}: killed {figures[module]['killed']} of {figures[module]['tried']}", flush=True)
        whole = {name: sum(each[name] for each in figures.values()) for name in ("killed", "tried", "equivalent")}
        if options.out:
            document = head | {"all": whole, "modules": figures}
            options.out.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"all: killed {whole['killed']} of {whole['tried']}; equivalent, and not tried: {whole['equivalent']}")
    if whole["killed"] < ENOUGH * whole["tried"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
