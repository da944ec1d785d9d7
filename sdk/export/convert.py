"""GGUF through llama.cpp's own converter, which the user names: a checkout, or the unpacked sdist of llama-cpp-python.

It is code of others and sees plain weights, as whoever serves them does. What it says on failing is shortened, and it
is given no rows.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from sdk.errors import InvalidInput, MissingExtra, StepFailed
from sdk.files.regular_files import CONFIG_BYTES, digest_regular, read_if_there
from sdk.processes import run_script
from sdk.records import ExportType

MODEL_SCRIPT, ADAPTER_SCRIPT = "convert_hf_to_gguf.py", "convert_lora_to_gguf.py"
_VENDORED = Path("vendor") / "llama.cpp"
_SAID = 300  # characters of the converter's own words
_MISSING = "ModuleNotFoundError: No module named "


def find_converter(named: Path | None) -> Path:
    """Return the folder with llama.cpp's converters: the named one, or that inside of it.

    Raises InvalidInput that says where to get one.
    """
    if named is not None:
        for folder in (named, named / _VENDORED):
            if (folder / MODEL_SCRIPT).is_file() and (folder / ADAPTER_SCRIPT).is_file():
                return folder.resolve()
    what = "No converter was named" if named is None else f"{named} holds no {MODEL_SCRIPT} and {ADAPTER_SCRIPT}"
    raise InvalidInput(
        f"{what}; name the folder of a llama.cpp checkout, or of the unpacked sdist: "
        "pip download --no-deps --no-binary llama-cpp-python llama-cpp-python, then tar xzf."
    )


def converter_versions(folder: Path) -> dict[str, str]:
    """Return what identifies the converter: the SHA-256 of its scripts, and the package's version where it says one."""
    known = {f"llama.cpp {name}": digest_regular(folder / name)[1] for name in (MODEL_SCRIPT, ADAPTER_SCRIPT)}
    described = read_if_there(folder.parents[1] / "PKG-INFO", CONFIG_BYTES)
    for line in (described or b"").decode(errors="replace").splitlines():
        if line.startswith("Version: "):
            known["llama-cpp-python"] = line.removeprefix("Version: ").strip()
            break
    return known


def xllamacpp_version() -> str:
    """Return the version of llama.cpp's Python engine. Raises MissingExtra where it is not installed."""
    try:
        return version("xllamacpp")
    except PackageNotFoundError:
        raise MissingExtra(
            "What leaves as GGUF is asked in llama.cpp first: pip install 'domain-adaptation-sdk[export]'."
        ) from None


def convert_model(converter: Path, model: Path, out: Path, kind: ExportType) -> None:
    """Convert a merged folder. StepFailed with the converter's own words where it fails."""
    _convert(converter, MODEL_SCRIPT, [str(model), "--outfile", str(out), "--outtype", kind], out)


def convert_adapter(converter: Path, adapter: Path, base: Path, out: Path) -> None:
    """Convert an adapter in 32 bits; base: a folder with the configuration of what it was trained on."""
    arguments = ["--base", str(base), "--outfile", str(out), "--outtype", "f32", str(adapter)]
    _convert(converter, ADAPTER_SCRIPT, arguments, out)


def _convert(converter: Path, script: str, arguments: list[str], out: Path) -> None:
    status, said = run_script(converter / script, arguments, [converter, converter / "gguf-py"])
    words = [line.strip() for line in said.splitlines() if line.strip()]
    last = words[-1][:_SAID] if words else "nothing"
    if status and last.startswith(_MISSING):
        raise MissingExtra(
            f"llama.cpp's {script} needs {last.removeprefix(_MISSING)}: pip install 'domain-adaptation-sdk[export]'."
        )
    if status or not out.is_file():
        raise StepFailed(
            f"llama.cpp's {script} failed (exit {status}) and said: {last}. Nothing was exported. Where it does not "
            "know this architecture or tokenizer, name a newer checkout; where the disk is full, free space."
        )
