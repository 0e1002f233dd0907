"""Build the site of the documents.

``.venv/bin/python docs/build_site.py`` writes ``.local/site/html``.

The pages are copied with the files that they link to, in the folders of the repository. So each
link works there as it does on GitHub, and no page is written twice. A link to a page or a heading
that is not there fails the build, and so does a page that loads a file from another host.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "mkdocs.yml"
FOLDER = ROOT / ".local" / "site"
LOCK = ROOT / "docs" / "requirements.lock"
LINK = re.compile(r"(?:\]\(|src=\")(?!https?://|#)([^)\"\s#]+)")
LOADED = re.compile(r"<(?:script|img|iframe)[^>]*\ssrc=\"?(https?://[^\s\">]+)|<link[^>]*\shref=\"?(https?://[^\s\">]+)")


def pages(entries: list[Any]) -> list[str]:
    """Return the pages that a navigation names, in order."""
    names: list[str] = []
    for entry in entries:
        for page in entry.values():
            names += [page] if isinstance(page, str) else pages(page)
    return names


def copied(names: list[str]) -> set[Path]:
    """Return the pages *names* and the files that they link to, all but other pages."""
    files = {ROOT / name for name in names}
    for page in list(files):
        linked = {(page.parent / link).resolve() for link in LINK.findall(page.read_text(encoding="utf-8"))}
        files |= {file for file in linked if file.suffix != ".md"}
    return files


def main() -> None:
    """Copy the pages, install the program that ``requirements.lock`` names, and build."""
    uv, venv, source = ROOT / ".venv" / "bin" / "uv", FOLDER / "venv", FOLDER / "pages"
    shutil.rmtree(source, ignore_errors=True)
    for file in copied(pages(yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["nav"])):
        copy = source / file.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)
    subprocess.run([uv, "--no-config", "venv", "--quiet", "--allow-existing", venv], check=True)
    subprocess.run([uv, "--no-config", "pip", "sync", "--quiet", "--python", venv, "--require-hashes", LOCK], check=True)
    build = subprocess.run([venv / "bin" / "zensical", "build", "--clean", "--strict", "--config-file", CONFIG], cwd=ROOT, check=False)
    if build.returncode:
        raise SystemExit("The site is not built: see the lines above.")
    html = FOLDER / "html"
    foreign = {address for page in html.rglob("*.html") for pair in LOADED.findall(page.read_text(encoding="utf-8")) for address in pair}
    if foreign - {""}:
        raise SystemExit(f"Pages load from other hosts: {', '.join(sorted(foreign - {''}))}")
    print(f"The site: {html / 'index.html'}")


if __name__ == "__main__":
    main()
