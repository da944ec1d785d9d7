"""Advice, and what advice, probe and pilot are about: which rows, what is needed, what was measured of it before."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from sdk.advise import advise, find_model
from sdk.advise.accuracy import contradictions
from sdk.data import RowsFile, rows_digest
from sdk.data.lengths import TEXT_LENGTH, count_tokens, measure_lengths
from sdk.data.sampling import sample_rows
from sdk.errors import InvalidInput, by_cause
from sdk.hardware import detect_hardware
from sdk.policy import validation_faults
from sdk.project.inputs import common_inputs, settings_digest
from sdk.project.perform import Request
from sdk.project.state import ProjectState
from sdk.records import Advice, Calibration, Columns, Hardware, Lengths, ModelShape, Needs, Pilot, Scrubbed

_STEP = 64  # tokens that room is given in
_STATED = ("accuracy", "max_loss", "application_type", "deadline_hours", "price_per_hour", "peft_type", "use_dora")


class RowsForAdvice(NamedTuple):
    path: RowsFile  # what advice measures
    origin: str  # digest of the file that scrubbing takes
    scrubbed: RowsFile | None  # what scrubbing made of that file


def find_rows(state: ProjectState, data: str | Path | None, columns: Columns | None = None) -> RowsForAdvice:
    """Find the rows in `data`, else those that were scrubbed last, else the project's own, else the domain's.

    columns: what the columns of `data` stand for.
    The domain's own are measured as they were before scrubbing, so that advice stays what it was.
    """
    if columns is not None and data is None:
        raise InvalidInput("Columns are those of a file that is named: name the data, too.")
    source = state.source_of("train") if data is None else RowsFile(Path(data), "", columns)
    path, columns = source.path, source.columns
    scrubbed = state.find_latest(Scrubbed)
    if not path.exists() and (data is not None or scrubbed is None):
        raise InvalidInput(f"{path} does not exist.")
    origin = rows_digest(path, columns) if path.exists() else ""
    if scrubbed is None:
        return RowsForAdvice(RowsFile(path, origin, columns), origin, None)
    result = state.rows(scrubbed, "train")
    if data is None and scrubbed.inputs["train"] != origin:
        return RowsForAdvice(result, scrubbed.inputs["train"], result)
    return RowsForAdvice(
        RowsFile(path, origin, columns), origin, result if scrubbed.inputs["train"] == origin else None
    )


def row_lengths(state: ProjectState, path: RowsFile, shape: ModelShape, max_length: int | None = None) -> Lengths:
    """Measure the rows. max_length: tokens that running text is cut to; None: as many as are usual."""
    rows = sample_rows(path)
    piece = min(max_length or TEXT_LENGTH, shape.max_position_embeddings)
    return measure_lengths(
        rows, state.base_folder(), state.domain().prompt, template=state.template(), piece=max(2, piece)
    )


def make_needs(
    state: ProjectState, rows: RowsForAdvice, shape: ModelShape, stated: Mapping[str, Any], max_length: int | None
) -> Needs:
    """Join what was stated with what the rows and the domain ask for.

    stated: fields of Needs. max_length: tokens; None: room for the longest row, and for placeholders that are longer
    than what they replace. Raises InvalidInput with everything that is wrong or contradicts another.
    """
    domain, lengths = state.domain(), row_lengths(state, rows.path, shape, max_length)
    longest = lengths.longest[0]
    # What bytes bound has its margin already, scrubbed rows have their placeholders, and running text is cut.
    room = _room(longest, lengths.exact and rows.path != rows.scrubbed and not lengths.texts, shape)
    # The domain's adapter is for its questions, unless it is a domain of running text.
    own = domain.adapter if domain.metric == "perplexity" or not lengths.mostly_texts else None
    other = stated.get("application_type") or stated.get("max_loss") is not None
    try:
        needs = Needs(
            **{**stated, "accuracy": stated.get("accuracy") or (None if other else domain.accuracy)},
            max_length=room if max_length is None else max_length,
            rows=lengths.rows,
            lengths=lengths,
            lora_r=own.lora_r if own else None,
            lora_alpha=own.lora_alpha if own else None,
            lora_dropout=own.lora_dropout if own else None,
            adapter_reason=own.reason if own else "",
        )
    except ValidationError as error:
        raise InvalidInput("A need is wrong.", validation_faults(error)) from None
    faults = contradictions(needs)
    if lengths.exact and longest > needs.max_length:
        faults += _too_long(state, rows.path, needs.max_length)
    if faults:
        raise InvalidInput("These needs cannot all be met.", faults)
    return needs


def _room(longest: int, margin: bool, shape: ModelShape) -> int:
    """Return the tokens to make room for. margin: for placeholders that are longer than what they replace."""
    room = longest * 5 // 4 + _STEP if margin else longest
    return min(-(-room // _STEP) * _STEP, shape.max_position_embeddings)


def _stated_length(advice: Advice) -> int | None:
    """Return the max_length of an advice where a person stated it; None where it followed from the rows."""
    needs = advice.needs
    if needs.lengths and needs.lengths.texts:  # which are cut to it, so it follows from nothing where it is less
        usual = min(TEXT_LENGTH, advice.shape.max_position_embeddings)
        return needs.max_length if needs.lengths.longest[0] == needs.max_length < usual else None
    followed = (
        {_room(needs.lengths.longest[0], margin, advice.shape) for margin in (True, False)} if needs.lengths else ()
    )
    return None if needs.max_length in followed else needs.max_length


def renewal_request(state: ProjectState, max_length: int | None) -> Request[Advice] | None:
    """Ask for advice on the rows that were scrubbed last, where the newest advice was for others; else None.

    What was stated for that advice stays, its machine too. max_length: tokens, where they are stated for the training.
    """
    advice, scrubbed = state.latest(Advice), state.latest(Scrubbed)
    if advice.inputs["data"] == scrubbed.inputs["train"]:
        return None
    stated = {name: getattr(advice.needs, name) for name in _STATED}
    return advise_request(state, stated, advice.hardware, max_length or _stated_length(advice))


def _too_long(state: ProjectState, path: RowsFile, most: int) -> list[str]:
    rows = [row for row in sample_rows(path).rows if not row.is_text]
    tokens_of_rows = count_tokens(rows, state.base_folder(), state.domain().prompt, state.template())
    counted = zip(rows, tokens_of_rows, strict=True)
    faults = [
        f"row {row.id}: {tokens} tokens, above max_length {most}; shorten it, or raise max_length if the model can"
        for row, tokens in counted
        if tokens > most
    ]
    return by_cause(faults)


def find_calibration(state: ProjectState, hardware: Hardware) -> Calibration | None:
    """Return the newest calibration of the project's base on this hardware."""
    for record in reversed(state.all(Calibration)):
        if record.inputs["base"] == state.charter.base_digest and record.hardware == hardware:
            return record
    return None


def find_pilot(state: ProjectState, rows: RowsForAdvice) -> Pilot | None:
    """Return the newest pilot of the project's base on these rows."""
    for record in reversed(state.all(Pilot)):
        scrubbed = state.lineage(Scrubbed, record, "scrubbed")
        if record.inputs["base"] == state.charter.base_digest and scrubbed.inputs["train"] == rows.origin:
            return record
    return None


def advise_request(
    state: ProjectState,
    stated: Mapping[str, Any],
    hardware: Hardware | None = None,
    max_length: int | None = None,
    data: str | Path | None = None,
    columns: Columns | None = None,
) -> Request[Advice]:
    """Ask for advice as Project.advise says; `stated` are the fields of Needs that it was given."""
    shape = find_model(str(state.base_folder())).model_copy(update={"name": state.charter.base_name})
    rows = find_rows(state, data, columns)
    needs = make_needs(state, rows, shape, stated, max_length)
    machine = hardware or detect_hardware()
    calibration, pilot = find_calibration(state, machine), find_pilot(state, rows)
    inputs = {
        **common_inputs(state),
        "base": state.charter.base_digest,
        "data": rows.origin,
        **({"calibration": calibration.digest} if calibration else {}),
        **({"pilot": pilot.digest} if pilot else {}),
        "settings": settings_digest(needs=needs.model_dump(), hardware=machine.model_dump()),
    }

    def work(folder: Path) -> Advice:
        return advise(shape, machine, needs, calibration, pilot)

    return Request(Advice, inputs, work)
