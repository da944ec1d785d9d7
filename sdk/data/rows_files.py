"""Files of rows, as they are asked for: one file, or several with their shares in a data.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from glob import has_magic
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field, ValidationError, field_validator

from sdk.data.columns import Arrangement
from sdk.data.rows import Container
from sdk.errors import InvalidInput
from sdk.files.regular_files import digest_regular
from sdk.policy import read_yaml, validation_faults
from sdk.records import Columns, Frozen, canonical_json, sha256

DATA_LISTS = (".yaml", ".yml")
# Kinds of files by their names' ends; the value is what a kind is called.
KINDS: dict[str, Container] = {
    ".jsonl": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".parquet": "parquet",
    ".txt": "txt",
    ".md": "md",
    ".markdown": "md",
    ".html": "html",
    ".htm": "html",
}
DOCUMENTS: tuple[Container, ...] = ("txt", "md", "html")  # one file is one text


class RowsFile(NamedTuple):
    """Rows of a file or of a data.yaml, and the digest that they must have when they are read."""

    path: Path
    sha256: str
    columns: Columns | None = None
    written: bool = False  # by this package from checked rows, so that with this digest nothing can be wrong with them


def rows_request(data: Path | RowsFile) -> dict[str, str]:
    """Say, for another process, where rows are and which digest they have."""
    file = data if isinstance(data, RowsFile) else RowsFile(data, "")
    columns = file.columns.model_dump_json() if file.columns else ""
    written = "yes" if file.written else ""
    return {"path": str(file.path.resolve()), "sha256": file.sha256, "columns": columns, "written": written}


def rows_of(request: Mapping[str, str]) -> Path | RowsFile:
    """Return what rows_request was told."""
    path = Path(request["path"])
    columns = Columns.model_validate_json(request["columns"]) if request["columns"] else None
    return RowsFile(path, request["sha256"], columns, bool(request["written"])) if request["sha256"] else path


class Portion(NamedTuple):
    """What is taken of one file."""

    path: Path
    columns: Columns | None = None
    share: float = 1.0

    @property
    def kind(self) -> Container | None:
        """What kind of file it is; None: none that can be read."""
        return KINDS.get(self.path.suffix.lower())

    @property
    def arrangement(self) -> Arrangement | None:
        return None if self.columns is None else Arrangement(self.columns)

    def takes(self, number: int) -> bool:
        """Tell whether the row with this number among all rows is in the share: as by lot, and always the same ones."""
        if self.share == 1:
            return True
        return int.from_bytes(blake2b(b"%d" % number, digest_size=8).digest(), "big") < self.share * 2**64


class _Listed(Columns):
    """What a data.yaml says of a file, or of the files of a pattern."""

    path: str = Field(min_length=1, description="relative to the data.yaml; * and ** as in a shell")
    share: float = Field(default=1, gt=0, le=1)

    @field_validator("drop", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    def own_columns(self) -> Columns | None:
        named = self.model_dump(exclude={"path", "share"}, exclude_defaults=True)
        return Columns.model_validate(named) if named else None


class _DataList(Frozen):
    files: tuple[_Listed, ...] = Field(min_length=1)


def portions(path: Path, columns: Columns | None = None) -> tuple[Portion, ...]:
    """Return the files that a path stands for: itself, those in it, or those that it lists where it is a data.yaml.

    Raises InvalidInput with all that is wrong in what was asked for; files are not opened.
    """
    if path.is_dir():
        found = [Portion(file, columns) for file in _inside(path)]
    elif path.suffix.lower() not in DATA_LISTS:
        found = [Portion(path, columns)]
    elif columns is not None:
        raise InvalidInput(f"{path} says of each file which columns it has; add them there.")
    else:
        found = _listed(path)
    faults: list[str] = []
    for portion in found:
        try:
            _ = portion.arrangement
        except InvalidInput as error:
            faults += [f"{portion.path.name}: {fault}" for fault in error.faults or [error.message]]
    if faults:
        raise InvalidInput("These columns cannot be made rows of.", list(dict.fromkeys(faults)))
    return tuple(found)


def _listed(path: Path) -> list[Portion]:
    try:
        listed = _DataList.model_validate(read_yaml(path))
    except ValidationError as error:
        raise InvalidInput(f"{path} is no list of files with rows.", validation_faults(error)) from None
    found: list[Portion] = []
    faults = []
    for number, one in enumerate(listed.files):
        paths = sorted(path.parent.glob(one.path)) if has_magic(one.path) else [path.parent / one.path]
        paths = [file for file in paths if not has_magic(one.path) or file.is_file()]
        paths = [file for path in paths for file in (_inside(path) if path.is_dir() else [path])]
        if not paths:
            faults.append(f"files[{number}]: no file is named like {one.path}")
        faults += [f"files[{number}]: {file} does not exist" for file in paths if not file.is_file()]
        faults += [f"files[{number}]: {file} is a list itself" for file in paths if file.suffix.lower() in DATA_LISTS]
        found += [Portion(file, one.own_columns(), one.share) for file in paths]
    names = [portion.path.resolve() for portion in found]
    faults += [f"{name} is listed twice" for name in dict.fromkeys(names) if names.count(name) > 1]
    if faults:
        raise InvalidInput(f"{path} lists what cannot be read.", faults)
    return found


def _inside(folder: Path) -> list[Path]:
    """List the files of a folder and of those in it, sorted. InvalidInput where one of them cannot be read."""
    if (folder / "state.json").is_file() or (folder / "dataset_dict.json").is_file():
        part = "" if (folder / "state.json").is_file() else '["train"]'
        raise InvalidInput(
            f"{folder} is a folder of datasets; write it with load_from_disk(...){part}.to_parquet('rows.parquet')."
        )
    within = [path.relative_to(folder) for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]
    names = sorted(name for name in within if not any(part.startswith(".") for part in name.parts))
    if not names:
        raise InvalidInput(f"{folder} holds no files; name a folder with some of {', '.join(KINDS)}.")
    others = [f"{name}: of no kind that is read" for name in names if name.suffix.lower() not in KINDS]
    if others:
        ends = sorted({name.suffix for name in names if name.suffix.lower() in KINDS})
        wanted = ", ".join(f'{{path: "**/*{end}"}}' for end in ends or [".txt"])
        raise InvalidInput(
            f"{folder} holds files that cannot be read. Take them away, make texts of them, or name what is to be read "
            f"in a data.yaml in it: files: [{wanted}]",
            others,
        )
    return [folder / name for name in names]


def rows_digest(path: Path, columns: Columns | None = None) -> str:
    """Return the digest of what rows follow from: the file's, or that of all files and of what is taken of them."""
    found = portions(path, columns)
    return joined_digest(found, [digest_regular(portion.path)[1] for portion in found])


def joined_digest(found: tuple[Portion, ...], digests: list[str]) -> str:
    """Join the digests of files with what is taken of them. That of a file that is taken as it is stays its own."""
    if len(found) == 1 and found[0].columns is None and found[0].share == 1:
        return digests[0]
    return sha256(
        canonical_json(
            [
                {
                    "sha256": digest,
                    "share": portion.share,
                    "columns": portion.columns and portion.columns.model_dump(exclude_defaults=True),
                }
                for portion, digest in zip(found, digests, strict=True)
            ]
        )
    )
