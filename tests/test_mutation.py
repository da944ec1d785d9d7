"""tests/benchmarks/mutation.py changes the modules that decide in one place after the other; here it does a few."""

import ast

from tests.benchmarks.mutation import EQUIVALENT, TESTS, changed, mutants, run_tests
from tests.waiting import SECONDS

SAMPLE = """
LIMIT: Annotated[int, Field(ge=1)] = 2
def decide(a, b):
    if a < b and not a:
        raise ValueError(f"{a if a else 0}")
    try:
        return [each for each in b if each is None] if a in b else -1
    except KeyError:
        raise ValueError from None
"""


def test_what_is_changed() -> None:
    tree = ast.parse(SAMPLE)
    text = ast.unparse(tree)
    assert [f"{line} {function}: {before} -> {after}" for line, function, before, after in changed(tree)] == [
        "2 module: ge=1 -> ge=2",
        "2 module: ge=1 -> ge=0",
        "2 module: LIMIT: Annotated[int, Field(ge=1)] = 2 -> LIMIT: Annotated[int, Field(ge=1)] = 3",
        "2 module: LIMIT: Annotated[int, Field(ge=1)] = 2 -> LIMIT: Annotated[int, Field(ge=1)] = 1",
        "4 decide: if a < b and (not a) -> if True",
        "4 decide: if a < b and (not a) -> if False",
        "4 decide: a < b and (not a) -> a < b or not a",
        "4 decide: a < b -> a <= b",
        "4 decide: not a -> not not a",
        "7 decide: if a in b -> if True",
        "7 decide: if a in b -> if False",
        "7 decide: a in b -> a not in b",
        "7 decide: if each is None -> if True",
        "7 decide: if each is None -> if False",
        "7 decide: each is None -> each is not None",
        "7 decide: -1 -> -2",
        "7 decide: -1 -> -0",
        "8 decide: raise ValueError from None -> pass",
    ]
    assert ast.unparse(tree) == text


def test_a_mutant_is_killed_by_a_test_that_notices_it_and_by_no_other() -> None:
    (mutant,) = [each for each in mutants("audit/tree") if each.before == "index < middle"]
    assert run_tests(mutant, ("test_tree",), SECONDS)[0] == "failed"
    assert run_tests(mutant, ("test_suite",), SECONDS)[0] == "passed"
    assert run_tests(None, ("test_tree",), SECONDS)[0] == "passed"


def test_mutants_that_are_called_equivalent_are_there() -> None:
    assert {str(mutant) for module in TESTS for mutant in mutants(module)} >= EQUIVALENT
