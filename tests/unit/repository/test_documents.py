"""The documents against each other and against the code: no command, link or error code that is not there."""

from __future__ import annotations

import re
import runpy
import tomllib
import xml.etree.ElementTree as ET
from collections import defaultdict
from typing import TYPE_CHECKING

import pytest
import yaml
from documents import PAGES, ROOT, commands, read, understood

import cluster
import tasks

if TYPE_CHECKING:
    from pathlib import Path

SVG = "{http://www.w3.org/2000/svg}"
PICTURE = ROOT / "docs" / "demo.svg"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_can_be_typed(page: Path) -> None:
    """Each of our commands that a page shows is known, with these flags."""
    for command in commands(page.read_text(encoding="utf-8")):
        understood(command)


def anchors(page: Path) -> set[str]:
    """Return what a link can lead to in a page, as GitHub makes it of the headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    """Each link leads to a file of the project, and to a heading that is there; the site cannot show a folder."""
    text = page.read_text(encoding="utf-8")
    broken = []
    for link in re.findall(r"(?:\]\(|src=\")([^)\"\s]+)", text):
        if link.startswith("http"):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.is_file() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_the_first_page_leads_to_every_other() -> None:
    """Each page below docs/ is named in the README."""
    text = read("README.md")
    assert [page.name for page in (ROOT / "docs").glob("*.md") if f"(docs/{page.name})" not in text] == []


def test_the_site_has_the_pages_of_the_first_page() -> None:
    """The navigation of the site is the README's table, in its order; the files that pages link to are copied with them."""
    script = runpy.run_path(str(ROOT / "docs" / "build_site.py"))
    pages = script["pages"](yaml.safe_load(read("mkdocs.yml"))["nav"])
    table = read("README.md").partition("\n## Documents\n")[2]
    assert pages == ["README.md", *re.findall(r"\]\(([^)]+\.md)\)", table)]
    assert {PICTURE, ROOT / "singer-containers" / "entrypoint.py"} <= script["copied"](pages)


def test_every_promise_has_its_test() -> None:
    """Each promise of the page on security names a test, and each test that it names is there."""
    rows = [
        line for line in read("docs/security.md").partition("## Promises")[2].partition("\n## ")[0].splitlines() if line.startswith("| ")
    ]
    proofs = [re.findall(r"`(tests/[^`]+)`", row.split("|")[2]) for row in rows[1:]]
    assert len(proofs) > 10
    assert all(proofs)
    assert [proof for row in proofs for proof in row if not (ROOT / proof).is_file()] == []


def test_every_error_code_is_explained() -> None:
    """The troubleshooting page has each code of the contracts, once, with what it means and what to do; and no other."""
    page = read("docs/troubleshooting.md")
    sections = re.findall(r"^### (E-[A-Z-]+)\n\n(.+(?:\n.+)*)\n\n→ (.+)$", page, re.MULTILINE)
    explained = [code for code, _, _ in sections]
    assert explained == re.findall(r"^### (.+)$", page.partition("\n## Error codes\n")[2], re.MULTILINE)
    listed = re.findall(r"^\| `(E-[A-Z-]+)` \|", read("docs/contracts.md"), re.MULTILINE)
    assert sorted(explained) == sorted(listed)


def test_the_picture_of_the_terminal() -> None:
    """It is well-formed, loads nothing, tells nothing of the machine it was drawn on, and shows the commands of its script."""
    text = PICTURE.read_text(encoding="utf-8")
    assert re.findall(r"https?://[^\"]+", text) == ["http://www.w3.org/2000/svg"]
    assert not re.search(r"@font-face|url\((?!#)|/(?:home|tmp|Users|root)/", text)
    lines: dict[float, str] = defaultdict(str)
    for piece in ET.fromstring(text).iter(f"{SVG}text"):  # noqa: S314 - our own file
        lines[float(piece.attrib.get("y", 0))] += (piece.text or "").replace("\xa0", " ")
    typed = tuple(line.removeprefix("$ ").strip() for _, line in sorted(lines.items()) if line.startswith("$ "))
    assert typed == runpy.run_path(str(ROOT / "docs" / "picture.py"))["COMMANDS"]
    for line in lines.values():
        for command in re.findall(r"\./invoke ((?:[a-z-]+ ?)+)", line):
            assert command.split()[0] in tasks.namespace.task_names
    assert f'src="docs/{PICTURE.name}"' in read("README.md")


def test_the_picture_of_the_report() -> None:
    """It is well-formed, loads nothing, tells nothing of the machine it was drawn on, and has the stylesheet of today's page."""
    text = (ROOT / "docs" / "report.svg").read_text(encoding="utf-8")
    assert {element.tag.partition("}")[0][1:] for element in ET.fromstring(text).iter()} == {  # noqa: S314 - our own file
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xhtml",
    }
    assert set(re.findall(r"https?://[^\"]+", text)) == {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xhtml"}
    assert not re.search(r"@font-face|url\(|/(?:home|tmp|Users|root)/", text)
    assert read("cluster/runs/report.css") in text
    assert 'src="docs/report.svg"' in read("README.md")


def test_this_version_is_in_the_changelog() -> None:
    """The version of the code is the newest release of the changelog, with its day, below what is not released yet."""
    headings = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d{2}-\d{2}))?$", read("CHANGELOG.md"), re.MULTILINE)
    assert headings[0] == ("Unreleased", "")
    assert headings[1][0] == cluster.__version__
    assert all(day for _, day in headings[1:])
    assert tomllib.loads(read("pyproject.toml"))["project"]["version"] == cluster.__version__


def test_the_layers_of_the_architecture_are_modules() -> None:
    """Each package that the architecture page names is there."""
    (table,) = re.findall(r"^\| layer \| packages .*?\n\n", read("docs/architecture.md"), re.MULTILINE | re.DOTALL)
    named = {name for row in table.strip().splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[2])}
    there = {path.stem for path in (ROOT / "cluster").iterdir() if path.suffix in {"", ".py"}}
    assert named
    assert named <= there


def test_a_report_of_a_bug_has_what_helps() -> None:
    """The form for bugs requires the command and the file of ``doctor --bundle``; each form is one that GitHub can show."""
    forms = {file.stem: yaml.safe_load(file.read_text(encoding="utf-8")) for file in (ROOT / ".github/ISSUE_TEMPLATE").glob("[!c]*.yml")}
    assert sorted(forms) == ["bug", "feature"]
    for form in forms.values():
        assert {"name", "description", "body"} <= set(form)
        assert all(part["type"] == "markdown" or (part["id"] and part["attributes"]["label"]) for part in form["body"])
    required = {part["id"]: part["attributes"] for part in forms["bug"]["body"] if part.get("validations", {}).get("required")}
    assert set(required) == {"command", "expected", "bundle"}
    for command in commands(required["bundle"]["description"]):
        understood(command)
