"""llama.cpp's converter for tests: out of the sdist of llama-cpp-python, once, kept in the user's cache.

    python -m tools.llama_converter    get it if it is not there, and print its folder

The sdist has 77 MB and contains a checkout; kept are the converter's own Python files (MIT), 6 MB.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from tools.real_base import MISSING, Unavailable, cache_folder

PACKAGE, VERSION = "llama-cpp-python", "0.3.36"
SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
INSIDE = f"llama_cpp_python-{VERSION}/vendor/llama.cpp/"
KEPT = ("LICENSE", "convert_hf_to_gguf.py", "convert_lora_to_gguf.py", "conversion/", "gguf-py/gguf/")


def prepared() -> Path | None:
    """Return the converter's folder if it is there."""
    folder = cache_folder() / f"llama.cpp-{VERSION}"
    return folder if folder.is_dir() else None


def prepare() -> Path:
    """Return the converter's folder; get it first if it is not there. Raises Unavailable."""
    folder = prepared()
    if folder is not None:
        return folder
    place = cache_folder() / f"llama.cpp-{VERSION}"
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent) as aside:
        extract(download(Path(aside)), Path(aside) / "converter")
        shutil.move(Path(aside) / "converter", place)
    return place


def download(folder: Path) -> Path:
    """Fetch the sdist. Raises Unavailable where the index has none, ValueError where it is another one."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", PACKAGE]
    done = subprocess.run([*command, "--dest", str(folder), f"{PACKAGE}=={VERSION}"], check=False, capture_output=True)
    found = next(folder.glob("*.tar.gz"), None)
    if done.returncode or found is None:
        raise Unavailable(f"{PACKAGE}=={VERSION} cannot be had from the package index.")
    if hashlib.sha256(found.read_bytes()).hexdigest() != SHA256:
        raise ValueError(f"{found.name} is another one than expected.")
    return found


def extract(sdist: Path, folder: Path) -> None:
    """Write the converter's files and no others."""
    with tarfile.open(sdist) as archive:
        for member in archive:
            name = member.name.removeprefix(INSIDE)
            if not member.isfile() or name == member.name or not name.startswith(KEPT) or ".." in name:
                continue
            data = archive.extractfile(member)
            assert data
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data.read())


def main() -> int:
    try:
        print(prepare())
    except Unavailable as error:
        print(error, file=sys.stderr)
        return MISSING
    return 0


if __name__ == "__main__":
    sys.exit(main())
