"""Draw the README's pictures: a terminal, and the page of ``report``.

``.venv/bin/python docs/picture.py`` clones the repository, types the commands in the clone and
writes ``docs/demo.svg`` and ``docs/report.svg``.
"""

from __future__ import annotations

import os
import pty
import re
import subprocess
import tempfile
import termios
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "docs" / "demo.svg"
COMMANDS = ("./invoke demo", "./invoke runs")
REPORT = ROOT / "docs" / "report.svg"
REPORTED = ("./invoke run currencies-to-csv", "./invoke run exchange-rates-to-csv --full", "./invoke run exchange-rates-to-csv") * 4
"""The commands before the report; a run that fails follows."""
MISTAKE = '{"base": "EURO"}'
PAGE = (1080, 840)
"""Width and height of the part that the picture shows: all above the rates."""
WIDTH = 104
FONTS = 'ui-monospace, "SF Mono", "Cascadia Mono", "DejaVu Sans Mono", Menlo, Consolas, monospace'
CONTROL = re.compile(r"\x1b\[(\??[\d;]*)([A-Za-z])")
THEME = TerminalTheme(
    (22, 22, 21),
    (230, 227, 220),
    [(22, 22, 21), (255, 141, 128), (134, 196, 134), (220, 176, 76), (134, 182, 221), (200, 160, 210), (120, 196, 196), (230, 227, 220)],
)


def typed(command: str, folder: Path, expected: int = 0) -> str:
    """Return what a command writes to a terminal in *folder*, if its exit code is *expected*."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (50, WIDTH))
    environ = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(WIDTH)}
    with subprocess.Popen(command.split(), cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs, env=environ) as process:
        os.close(theirs)
        written = b""
        try:
            while part := os.read(ours, 65536):
                written += part
        except OSError:  # Linux: the other side is closed
            pass
        os.close(ours)
    assert process.returncode == expected, written.decode()
    return written.decode()


def screen(written: str) -> str:
    """Return the final screen: lines that spinners erased are gone, colours stay."""
    lines, row = [""], 0
    for part in re.split(r"(\x1b\[\??[\d;]*[A-Za-z]|\n|\r)", written):
        control = CONTROL.fullmatch(part)
        if part == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif control and control[2] == "K":
            lines[row] = ""
        elif control and control[2] == "A":
            row -= int(control[1] or 1)
        elif part != "\r" and (not control or control[2] == "m"):
            lines[row] += part
    return "\n".join(lines).rstrip()


def draw(texts: list[str]) -> str:
    """Return the picture of commands and what they have written; it needs no font from anywhere."""
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=WIDTH, file=nowhere, force_terminal=True, color_system="truecolor", highlight=False)
        for command, text in zip(COMMANDS, texts, strict=True):
            console.print(Text.assemble(("$ ", "dim"), (command, "bold")))
            console.print(Text.from_ansi(text), soft_wrap=True)
            console.print()
        svg = console.export_svg(title="singer", theme=THEME, unique_id="singer")
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL).replace("Fira Code, monospace", FONTS)
    return re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL).replace("\u00a0", "&#160;") + "\n"


def embedded(page: str) -> str:
    """Return the upper part of a report's page as a picture, with its own stylesheet."""
    (style,), (body,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL), re.findall(r"<body>(.*)</body>", page, re.DOTALL)
    body = body.partition("<section><h2>Rates</h2>")[0].replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ')
    size = 'width="{}" height="{}"'.format(*PAGE)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {PAGE[0]} {PAGE[1]}"><foreignObject {size}>'
        f'<body xmlns="http://www.w3.org/1999/xhtml"><style>{style}</style>{body}</main></body></foreignObject></svg>\n'
    )


def main() -> None:
    """Type the commands in a clone, where nothing has run yet, and write the pictures."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "singer"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        typed("./invoke --list", clone)
        texts = [screen(typed(command, clone)) for command in COMMANDS]
        for command in REPORTED:
            typed(command, clone)
        (clone / "singer-configs" / "tap-exchange-rates" / "config.json").write_text(MISTAKE, encoding="utf-8")
        typed(REPORTED[-1], clone, expected=2)
        typed("./invoke report --print --out report.html", clone)
        REPORT.write_text(embedded((clone / "report.html").read_text(encoding="utf-8")), encoding="utf-8")
    FILE.write_text(draw(texts), encoding="utf-8")


if __name__ == "__main__":
    main()
