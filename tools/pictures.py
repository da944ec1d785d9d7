"""Takes the pictures of terminal, MLflow and reports in docs/assets, and notes which code drew them.

    python -m tools.pictures

It makes the project of `make demo` anew, since reports are written when a step is done: some minutes. It needs Chromium
and a font with Chinese characters (Debian: chromium fonts-noto-cjk). tests/test_pictures.py fails where code that draws
has changed since; then this has to run again.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from rich.cells import cell_len
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

ROOT = Path(__file__).resolve().parents[1]
ASSETS = ROOT / "docs" / "assets"
MANIFEST = ASSETS / "pictures.json"
COLUMNS = 112
WIDTH, LINE, MARGIN = 1280, 20, 16  # pixels
CELL = 9.28  # pixels, of a character of the font below
SDK = [sys.executable, "-c", "from sdk.cli import main; main()"]
PAGE = """<!doctype html><meta charset="utf-8"><style>
html {{ background: #272822; }}
body {{ margin: {margin}px; }}
pre {{ color: #f8f8f2; font: 15.4px/{line}px "DejaVu Sans Mono", "Noto Sans Mono CJK SC", monospace; margin: 0; }}
i {{ display: inline-block; font-style: normal; text-align: center; width: 2ch; }}
</style><pre>{code}</pre>"""


@dataclass(frozen=True)
class Picture:
    """A file in docs/assets, and the code that draws what it shows: `file`, or `file:function`."""

    file: str
    drawn_by: tuple[str, ...]


PICTURES = (
    Picture(
        "terminal.png",
        (
            "sdk/cli/flow.py:_summary",
            "sdk/cli/flow.py:_answers",
            "sdk/cli/flow.py:_leaks_said",
            "sdk/cli/show.py:run",
            "sdk/cli/show.py:scores",
            "sdk/cli/show.py:release",
            "sdk/cli/show.py:approval",
            "sdk/cli/show.py:sparkline",
        ),
    ),
    Picture("advisor-terminal.png", ("sdk/cli/show_advice.py", "sdk/cli/picture.py")),
    Picture("mlflow-version.png", ("sdk/registry/standing.py", "sdk/registry/entry.py")),
    Picture("report.png", ("sdk/registry/model_report.py", "sdk/registry/plots.py", "sdk/html.py")),
    Picture("scrub-report.png", ("sdk/scrub/report.py", "sdk/html.py")),
)


def code_digest(places: Sequence[str]) -> str:
    """Digest the code at these places, without comments and empty lines."""
    return hashlib.sha256("\n".join(map(_code, places)).encode()).hexdigest()


def _code(place: str) -> str:
    file, _, function = place.partition(":")
    text = (ROOT / file).read_text(encoding="utf-8")
    if function:
        (node,) = (n for n in ast.parse(text).body if isinstance(n, ast.FunctionDef) and n.name == function)
        text = ast.get_source_segment(text, node) or ""
    lines = map(str.strip, text.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("#"))


def file_digest(file: str) -> str:
    return hashlib.sha256((ASSETS / file).read_bytes()).hexdigest()


# -- taking them ------------------------------------------------------------------------------------------------------


def sdk(*arguments: str) -> str:
    """Return what a command prints on a terminal of COLUMNS columns, colours included."""
    surroundings = {**os.environ, "FORCE_COLOR": "1", "TTY_INTERACTIVE": "0", "COLUMNS": str(COLUMNS)}
    ended = subprocess.run([*SDK, *arguments], stdout=subprocess.PIPE, text=True, check=False, env=surroundings)
    if ended.returncode not in (0, 1):  # 1: an advice that does not fit
        raise SystemExit(f"sdk {' '.join(arguments)} ended with exit code {ended.returncode}.")
    return ended.stdout


def screenshot(address: str, file: str, height: int, width: int = WIDTH) -> None:
    """Have Chromium draw a page once its scripts have come to rest; 256 colours are enough for text and charts."""
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "page.png"
        command = (
            "chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --disable-background-networking "
            f"--disable-component-update --disable-sync --no-first-run --virtual-time-budget=60000 "
            f"--window-size={width},{height}"
        ).split()
        subprocess.run(
            [*command, f"--user-data-dir={folder}/browser", f"--screenshot={raw}", address],
            check=True,
            capture_output=True,
        )
        with Image.open(raw) as image:
            colours = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
            colours.save(ASSETS / file, optimize=True)


def draw_terminal(printed: str, file: str) -> None:
    """Draw what a command printed. A Chinese character gets the two cells that the terminal gives it, in any font."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), color_system="truecolor", force_terminal=True)
    console.print(Text.from_ansi(printed.rstrip("\n")), soft_wrap=True)
    code = console.export_html(theme=MONOKAI, inline_styles=True, code_format="{code}")
    code = "".join(f"<i>{each}</i>" if cell_len(each) == 2 else each for each in code)
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "terminal.html"
        page.write_text(PAGE.format(code=code, line=LINE, margin=MARGIN), encoding="utf-8")
        height = (printed.rstrip("\n").count("\n") + 1) * LINE + 2 * MARGIN
        screenshot(page.as_uri(), file, height, round(COLUMNS * CELL) + 2 * MARGIN)


@contextmanager
def mlflow_pages(project: Path) -> Iterator[dict[str, str]]:
    """Serve the project's MLflow, and say where the pages are that a reviewer wants."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    command = [*SDK, "ui", "--project", str(project), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as server:
        try:
            pages: dict[str, str] = {}
            while "all runs" not in pages and (line := server.stdout.readline()):  # type: ignore[union-attr]
                if found := re.search(r"^(\w[\w ]*?) +(http://\S+)", line):
                    pages[found[1]] = found[2]
            for _ in range(120):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                    break
                except OSError:
                    time.sleep(1)
            yield pages
        finally:
            os.killpg(server.pid, 15)


def main() -> None:
    if not shutil.which("chromium"):
        raise SystemExit("Chromium is not installed.")
    fonts = subprocess.run(["fc-list", ":lang=zh"], capture_output=True, text=True, check=False).stdout
    if not fonts.strip():
        raise SystemExit("No font here has Chinese characters; install one, such as fonts-noto-cjk.")
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(PYTHONPATH=str(ROOT), SDK_STATE_HOME=f"{folder}/state")
        os.chdir(folder)  # so that what is printed names no path of this machine
        take(Path("demo/finance"))
    taken = {one.file: {"code": code_digest(one.drawn_by), "picture": file_digest(one.file)} for one in PICTURES}
    MANIFEST.write_text(json.dumps(taken, indent=2) + "\n", encoding="utf-8")


def take(project: Path) -> None:
    """Make the project, and take every picture of it."""
    sdk("run", str(project), "--domain", "finance", "--play-approver")
    printed = sdk("run", str(project), "--domain", "finance", "--play-approver")
    end = Text.from_ansi(printed).plain.splitlines()
    first = next(number for number, line in enumerate(end) if line.startswith("3  Train"))
    draw_terminal("\n".join(printed.splitlines()[first:]), "terminal.png")
    draw_terminal(sdk(*"estimate llama-3.1-8b --accuracy high --gpu".split(), "rtx 4090"), "advisor-terminal.png")
    with mlflow_pages(project) as pages:
        screenshot(pages["model version"], "mlflow-version.png", 1250)
    (report,) = (project / "mlartifacts").glob("*/artifacts/report.html")
    screenshot(report.resolve().as_uri(), "report.png", 1450)
    (report,) = (project / "artifacts" / "scrub").glob("*/report.html")
    screenshot(report.resolve().as_uri(), "scrub-report.png", 1300)


if __name__ == "__main__":
    main()
