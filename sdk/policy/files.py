"""Reading a policy, or another YAML document, from its file."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from sdk.errors import InvalidInput
from sdk.files.regular_files import YAML_BYTES, decoded, read_regular
from sdk.policy.schema import ADDED, Policy, policy_value
from sdk.records import fault_text

# PyYAML's errors, and what its constructors let through for a scalar that is not what its tag says
_NOT_YAML = (yaml.YAMLError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError)


MAX_BRACKETS = 100  # PyYAML's time grows with the square of how deep brackets are nested


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice, deep brackets, and aliases and merge keys, a few of which can stand
    for millions of entries."""

    def fetch_flow_collection_start(self, TokenClass: Any) -> None:
        if self.flow_level >= MAX_BRACKETS:
            raise yaml.scanner.ScannerError(None, None, "brackets are nested too deep", self.get_mark())
        super().fetch_flow_collection_start(TokenClass)

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "aliases are not read", self.get_mark())
        return super().compose_node(parent, index)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(None, None, "merge keys are not read", key_node.start_mark)
        super().flatten_mapping(node)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key!r}", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path, limit: int = YAML_BYTES) -> Any:
    """Read the document in a YAML file of at most `limit` bytes. Raises InvalidInput as parse_yaml does."""
    return parse_yaml(read_regular(path, limit), path)


def parse_yaml(data: bytes, path: Path) -> Any:
    """Read a YAML document from the bytes of the file `path`. InvalidInput names file, line and what is wrong."""
    text = decoded(data, path)
    try:
        return copy.deepcopy(_document(text))
    except _NOT_YAML as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        raise InvalidInput(f"{path}{where}: not valid YAML: {getattr(error, 'problem', None) or error}") from None


def key_lines(data: bytes, path: Path) -> dict[tuple[str, ...], int]:
    """Map every key of a document that parse_yaml reads, with those that it stands under, to its line."""

    def walk(node: yaml.Node | None, above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], int]]:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                place = (*above, str(key.value))
                yield place, key.start_mark.line + 1
                yield from walk(value, place)

    return dict(walk(yaml.compose(decoded(data, path), Loader=_StrictLoader), ()))


@lru_cache(maxsize=16)
def _document(text: str) -> Any:
    """Parse a document; once for the same text, since a process asks for its policy at every step."""
    return yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader


def validation_faults(error: ValidationError) -> list[str]:
    """List pydantic's findings, one line each, without the input's values."""
    return [
        f"{'.'.join(map(str, item['loc'])) or 'top level'}: {fault_text(item)}"
        for item in error.errors(include_input=False)
    ]


def read_policy(path: Path, adopted: bool = False) -> Policy:
    return parse_policy(read_regular(path, YAML_BYTES), path, adopted)


def parse_policy(data: bytes, path: Path, adopted: bool = False) -> Policy:
    """Read a policy from the bytes of the file `path`. InvalidInput lists every key that is missing or malformed.

    adopted: one that a project has taken in before, and that may lack keys which earlier versions did not know.
    """
    try:
        policy = Policy.model_validate(parse_yaml(data, path))
    except ValidationError as error:
        raise InvalidInput(f"Policy {path} is malformed; see policies/README.md.", validation_faults(error)) from None
    missing = [] if adopted else [f"{key}: Field required" for key in ADDED if policy_value(policy, key) is None]
    if missing:
        raise InvalidInput(f"Policy {path} is malformed; see policies/README.md.", missing)
    return policy
