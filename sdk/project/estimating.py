"""Estimates: advice on any model for any machine. No project is needed and nothing is recorded.

Reading rows brings Arrow, the hub its client, and either takes longer than all the rest of an answer: each is imported
where it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from pydantic import ValidationError

from sdk.advise import advise, find_model
from sdk.advise.accuracy import contradictions
from sdk.errors import InvalidInput
from sdk.files.store import EMBEDDED, embedded_base
from sdk.hardware import detect_hardware, find_gpu
from sdk.policy import validation_faults
from sdk.records import Accuracy, Advice, ApplicationType, Columns, Hardware, ModelShape, Needs, OnProgress, PeftMethod

if TYPE_CHECKING:
    from sdk.data.sampling import RowsSample

_NO_PROMPT = ""  # a system prompt is the domain's, and without a project there is none


class StatedNeeds(TypedDict, total=False):
    """What may be asked of a model that is in no project, by the fields of Needs; None: not stated."""

    accuracy: Accuracy | None
    max_loss: float | None
    application_type: ApplicationType | None
    deadline_hours: float | None
    price_per_hour: float | None
    peft_type: PeftMethod | None
    use_dora: bool | None
    max_length: int | None
    rows: int | None


def estimate(
    model: str,
    gpu: str | Hardware | None = None,
    *,
    data: str | Path | None = None,
    columns: Columns | None = None,
    hub: bool = False,
    on_progress: OnProgress | None = None,
    **needs: Unpack[StatedNeeds],
) -> Advice:
    """Pick method and settings for a model that need not be here, on any machine. Nothing is recorded.

    model: a catalogue name, a folder, a config.json or, with hub, a name on the hub. gpu: by name, several as
    "2x h100", or a machine as Hardware; None: this machine. data: training rows, which are read and not kept;
    columns: what their file's own columns stand for; where there are no rows, `rows` says how many there will be.
    Raises InvalidInput with every need that is wrong or contradicts
    another, and with the rows that are too long where their tokens are known; StepFailed where the hub cannot be asked.
    """
    stated: dict[str, Any] = {name: value for name, value in needs.items() if value is not None}
    faults = list(_unanswerable(stated, data))
    if columns is not None and data is None:
        faults.append("columns without data: they are those of a file that is named; leave them out")
    try:
        faults += contradictions(Needs(**stated))
    except ValidationError as error:
        faults += validation_faults(error)
    if faults:
        raise InvalidInput("This cannot be asked.", faults)
    shape = _fetch_shape(model) if hub else find_model(model)
    hardware = (find_gpu(gpu) if isinstance(gpu, str) else gpu) or detect_hardware()
    if data is not None:
        from sdk.data import RowsFile
        from sdk.data.sampling import sample_rows

        rows = sample_rows(RowsFile(Path(data), "", columns))
        stated |= _needs_of_rows(rows, Path(data), model, shape, needs.get("max_length"), on_progress)
    return advise(shape, hardware, Needs(**stated))


def _unanswerable(stated: Mapping[str, object], data: str | Path | None) -> Iterator[str]:
    """Yield what cannot be asked of rows that are not there, or twice. stated: fields of Needs."""
    if data is not None and "rows" in stated:
        yield "rows with data: the rows are counted in the data; leave rows out"
    if data is None and "rows" not in stated:
        for name, what in (("deadline_hours", "how long training takes"), ("price_per_hour", "what training costs")):
            if name in stated:
                yield f"{name} without data or rows: {what} depends on the rows"


def _fetch_shape(model: str) -> ModelShape:
    from sdk.advise.hub import fetch_shape

    return fetch_shape(model)


def _needs_of_rows(
    rows: RowsSample,
    data: Path,
    model: str,
    shape: ModelShape,
    max_length: int | None,
    on_progress: OnProgress | None,
) -> dict[str, Any]:
    """Measure the rows: the needs that follow from them."""
    from sdk.data.lengths import TEXT_LENGTH, count_tokens, measure_lengths

    base = _tokenizer_folder(model)
    limit = max_length or shape.max_position_embeddings
    lengths = measure_lengths(
        rows, base, _NO_PROMPT, on_progress, piece=max(2, min(max_length or TEXT_LENGTH, shape.max_position_embeddings))
    )
    if lengths.exact and lengths.longest[0] > limit:
        chats = [row for row in rows.rows if not row.is_text]
        counted = zip(chats, count_tokens(chats, base, _NO_PROMPT), strict=True)
        raise InvalidInput(
            f"{data} has rows longer than "
            + (
                f"max_length {limit}; make it {lengths.longest[0]}"
                if max_length
                else f"the {limit} tokens of {shape.name}"
            )
            + ", or shorten or remove these rows.",
            [f"id {row.id}: {tokens} tokens" for row, tokens in counted if tokens > limit],
        )
    return {"lengths": lengths, "rows": lengths.rows, "max_length": max_length or min(lengths.longest[0], limit)}


def _tokenizer_folder(model: str) -> Path | None:
    """Return where the model's tokenizer lies, if the model was not given by a name of the catalogue or the hub."""
    if model == EMBEDDED:
        return embedded_base()
    path = Path(model).expanduser()
    folder = path.parent if path.is_file() else path
    return folder if folder.is_dir() else None
