"""Answers that are JSON, held against a schema; nothing that a schema names is fetched."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.validators import Draft202012Validator, validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from sdk.data.measures import Given
from sdk.errors import InvalidInput

_FENCED = re.compile(r"```(?:json)?\s*\n(.*?)\n?\s*```", re.DOTALL)  # a code block of Markdown that is the whole answer


def schema_judge(schema: Mapping[str, Any]) -> Callable[[Sequence[Given]], list[float]]:
    """Return what scores answers by a JSON schema, 1 where one satisfies it. InvalidInput: it is no schema."""
    kind = validator_for(schema, default=Draft202012Validator)
    try:
        kind.check_schema(schema)
        faults = list(_faults(schema, schema))
    except SchemaError as error:
        faults = [f"{'/'.join(map(str, error.absolute_path)) or 'its top level'}: {error.message[:200]}"]
    if faults:
        raise InvalidInput(
            "`scoring.json_schema` in domain/domain.yaml is no JSON schema that can be used; change it and put it in "
            "force with `sdk adopt`.",
            faults,
        )
    validator = kind(schema, registry=Registry())  # which knows no other schema, and asks nobody

    def judge(given: Sequence[Given]) -> list[float]:
        return [float(_satisfies(validator, each.text)) for each in given]

    return judge


def _faults(schema: Any, part: Any) -> Iterator[str]:
    """Name what would fail only once an answer comes to it: a reference to nothing that is here."""
    if isinstance(part, Mapping):
        reference = part.get("$ref")
        if isinstance(reference, str) and not _is_here(schema, reference):
            yield f"$ref {reference[:200]}: it is not in this schema, and nothing is fetched"
    for inner in part.values() if isinstance(part, Mapping) else part if isinstance(part, list) else ():
        yield from _faults(schema, inner)


def _is_here(schema: Any, reference: str) -> bool:
    resource = DRAFT202012.create_resource(schema)
    try:
        Registry().with_resource("", resource).resolver().lookup(reference)
    except Unresolvable:
        return False
    return True


def _satisfies(validator: Any, text: str) -> bool:
    """Tell whether a text, or the one code block that it is, is JSON of this schema. NaN and infinity are no JSON."""
    block = _FENCED.fullmatch(text.strip())
    try:
        value = json.loads(block[1] if block else text, parse_constant=_refuse)
        validator.validate(value)
    except (ValueError, ValidationError, RecursionError):
        return False
    return True


def _refuse(name: str) -> None:
    raise ValueError(name)
