"""What we build on: pinned, with hashes, under licences that anybody may use, and fetched by a CI that may do nothing else."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
import yaml

from cluster.config.settings import Settings

if TYPE_CHECKING:
    from email.message import Message

ROOT = Path(__file__).resolve().parents[3]
LOCKS = sorted(
    [
        *ROOT.glob("requirements*.lock"),
        *ROOT.glob("singer-configs/*/requirements.lock"),
        *ROOT.glob("singer-containers/*.lock"),
        *ROOT.glob("docs/*.lock"),
    ],
)
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.y*ml"))
REQUIREMENT = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^]]*\])?==([^\s;\\]+)((?:[^\n]*\\\n)*[^\n]*)", re.MULTILINE)
ALLOWED = re.compile(
    r"(the )?(MIT(-0| No Attribution)?|(Apache|Apache[- ]2\.0|Apache Software)|BSD([- ][023][- ]Clause)?|0BSD|ISC|ISC License \(ISCL\)"
    r"|PSF-2\.0|PSFL|Python Software Foundation|MPL-2\.0|Mozilla Public License 2\.0 \(MPL 2\.0\)|Unlicense|CC0-1\.0|Zlib)( License)?",
    re.IGNORECASE,
)
"""Permissive, and the Mozilla licence, which asks something of those who change its own files. Anything else is looked at by a person."""
KNOWN = {"currencyconverter": "Apache-2.0, in its LICENSE; its metadata does not say"}


def requirements(lock: Path) -> dict[str, str]:
    """Return every package of a lock, and what stands after its version."""
    return {
        match[1].lower().replace("_", "-").replace(".", "-"): match[3] for match in REQUIREMENT.finditer(lock.read_text(encoding="utf-8"))
    }


def licences(package: Message) -> list[str]:
    """Return the licences that a package declares, each alone: its expression, else its classifiers, else its own words."""
    if package.get("License-Expression"):
        return [part.strip("() ") for part in re.split(r"\bAND\b|\bOR\b|\bWITH\b", package["License-Expression"])]
    classifiers = [text.rpartition("::")[2].strip() for text in package.get_all("Classifier") or [] if text.startswith("License ::")]
    words = (package.get("License") or "").strip()
    return [text for text in classifiers if text != "OSI Approved"] or re.split(r" OR | AND ", words)


@pytest.mark.parametrize("lock", LOCKS, ids=[str(lock.relative_to(ROOT)) for lock in LOCKS])
def test_every_dependency_has_its_hash(lock: Path) -> None:
    """Every package of a lock is named with one version and at least one hash, and no line names a registry."""
    text = lock.read_text(encoding="utf-8")
    hashes = requirements(lock)
    starts = [line for line in text.splitlines() if line and not line[0].isspace() and not line.startswith("#")]
    assert hashes
    assert len(starts) == len(REQUIREMENT.findall(text))
    assert [name for name, rest in hashes.items() if not re.search(r"--hash=sha256:[0-9a-f]{64}\b", rest)] == []
    assert "://" not in text


def test_images_are_built_with_our_uv() -> None:
    """Images are built with the version and the hashes of uv that connectors are installed with on this machine."""
    ours, images = (requirements(ROOT / name)["uv"] for name in ("requirements.lock", "singer-containers/build.lock"))
    assert images == ours


def test_licences_are_on_the_list() -> None:
    """Every package that is installed for us, tests included, is under a licence that anybody may build on."""
    wrong, seen = {}, 0
    for name in {name for lock in ROOT.glob("requirements*.lock") for name in requirements(lock)}:
        try:
            package = metadata(name)
        except PackageNotFoundError:
            continue  # of another platform or Python
        seen += 1
        names = licences(cast("Message", package))
        if name not in KNOWN and not (names and all(ALLOWED.fullmatch(licence) for licence in names)):
            wrong[name] = names
    assert wrong == {}
    assert seen > 50


def test_a_licence_that_is_not_on_the_list_is_refused() -> None:
    """A package under the GPL, or under no licence that it names, is refused."""
    for text in ("GPL-3.0-or-later", "GNU General Public License v3 (GPLv3)", "AGPL-3.0", "Other/Proprietary License", "", "Commercial"):
        assert not ALLOWED.fullmatch(text)
    assert ALLOWED.fullmatch("BSD 3-Clause License")


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=[file.name for file in WORKFLOWS])
def test_ci_may_only_read(workflow: Path) -> None:
    """CI has the right to read the repository and no other, sees no secret, and runs actions at a commit that nobody can move."""
    text = workflow.read_text(encoding="utf-8")
    content: dict[Any, Any] = yaml.safe_load(text)
    assert content["permissions"] == {"contents": "read"}
    assert "pull_request_target" not in text
    assert "secrets." not in text
    for job in content["jobs"].values():
        assert job.get("permissions", {"contents": "read"}) == {"contents": "read"}
        for step in job["steps"]:
            if "uses" in step:
                assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", step["uses"])
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False
            assert "${{" not in step.get("run", "")


def test_images_we_build_on_are_named_by_version() -> None:
    """The image that connectors are built on names its Python and its Debian; kind's node its digest too."""
    assert re.search(r"/python:3\.\d+-slim-[a-z]+$", Settings(root=ROOT).image("python"))
    node = yaml.safe_load((ROOT / "manifests" / "kind.yaml").read_text(encoding="utf-8"))["nodes"][0]["image"]
    assert re.search(r"@sha256:[0-9a-f]{64}$", node)
    for file in (ROOT / "singer-containers").glob("Dockerfile*"):
        assert ":latest" not in file.read_text(encoding="utf-8")


def test_secrets_enter_no_build_and_no_commit() -> None:
    """What is private is left out of what a builder is given, and git does not take it by accident."""
    lines = [line for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    taken = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert taken == {"singer-configs", "singer-containers", "cluster", ".local/network", ".local/build", "tests"}
    assert {"singer-configs/**/*.json", "singer-configs/*.yaml", "singer-configs/*/connector.yaml"} <= set(lines)
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert {"/.env", "/.local/", "/output/", "/.venv/"} <= set(ignored)
