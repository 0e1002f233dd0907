"""The workflow of a project for GitHub: its commands exist, its actions are pinned, and it deploys only where the team has asked for it."""

from __future__ import annotations

import re
import shlex
import stat
import subprocess
from typing import TYPE_CHECKING, Any

import yaml
from documents import ROOT, understood

if TYPE_CHECKING:
    from pathlib import Path

FILE = ROOT / "template" / "workflow.yml"
JOBS: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))["jobs"]
STEPS = [step for job in JOBS.values() for step in job["steps"]]


def test_its_commands() -> None:
    """Every command of ours in it is one, and every action of others is pinned to a commit."""
    lines = [line for step in STEPS for line in step.get("run", "").splitlines() if line.startswith("./invoke")]
    assert [line.split()[1] for line in lines] == ["check", "demo", "sync"]
    for line in lines:
        understood(shlex.join(shlex.split(line)[1:]))
    assert all(re.search(r"@[0-9a-f]{40}$", step["uses"]) for step in STEPS if "uses" in step)
    assert "${{" not in "".join(step.get("run", "") for step in STEPS)  # a value in a command could be a command


def test_it_deploys_on_request() -> None:
    """Only a push to main does, only after the check, and only if the team has named an environment. Secrets reach that step alone."""
    condition = JOBS["deploy"]["if"].split(" && ")
    assert condition == ["github.event_name == 'push'", "github.ref == 'refs/heads/main'", "vars.SINGER_ENV != ''"]
    assert JOBS["deploy"]["needs"] == "check"
    assert [step for step in STEPS if "secrets." in str(step)] == [JOBS["deploy"]["steps"][-1]]


def test_its_lines_run(tmp_path: Path) -> None:
    """The shell of GitHub runs them: the command gets kubeconfig and secrets as files that nobody else may read, not as variables."""
    (tmp_path / "temp").mkdir()
    (tmp_path / "invoke").write_text('#!/bin/sh\necho "$@" "$KUBECONFIG" "${SINGER_KUBECONFIG-gone} ${SINGER_DOTENV-gone}"\n')
    (tmp_path / "invoke").chmod(0o755)
    environ = {"PATH": "/usr/bin:/bin", "RUNNER_TEMP": str(tmp_path / "temp"), "SINGER_ENV": "company"}
    environ |= {"SINGER_KUBECONFIG": "kind: Config\ncontexts: []", "SINGER_DOTENV": "TOKEN='a $HOME %s'"}
    lines = JOBS["deploy"]["steps"][-1]["run"]
    shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", lines]
    done = subprocess.run(shell, cwd=tmp_path, env=environ, capture_output=True, text=True, check=True)
    kubeconfig, dotenv = tmp_path / "temp" / "kubeconfig", tmp_path / ".env.company"
    assert done.stdout == f"sync --env company {kubeconfig} gone gone\n"
    assert kubeconfig.read_text() == "kind: Config\ncontexts: []\n"
    assert dotenv.read_text() == "TOKEN='a $HOME %s'\n"
    assert {stat.S_IMODE(file.stat().st_mode) for file in (kubeconfig, dotenv)} == {0o600}
