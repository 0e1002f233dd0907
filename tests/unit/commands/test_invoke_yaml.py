"""The keys of ``invoke.yaml``, which Invoke reads too: a mistyped one is refused with the likely one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from invoke.config import Config

from cluster.commands.frame import check_invoke_yaml
from cluster.config.settings import INVOKE_YAML, parse
from cluster.errors import SetupError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "sentence", "hint"),
    [
        ("sinegr: {engine: local}", 'sinegr is not a known key. Did you mean "singer"?', 'Rename "sinegr" to "singer" in invoke.yaml.'),
        ("Singer: {}", 'Singer is not a known key. Did you mean "singer"?', 'Rename "Singer" to "singer" in invoke.yaml.'),
        (
            "settings: {engine: local}",
            'settings is not a known key. Did you mean "singer"?',
            'Rename "settings" to "singer" in invoke.yaml.',
        ),
        ("cluster: mine", "cluster is a setting of singer, and stands beside it.", "Move it below singer: in invoke.yaml"),
        ("engin: local", 'engin is not a known key. Did you mean "engine", a setting of singer?', "Move it below singer: in invoke.yaml"),
        ("timeout: {command: 9}", 'timeout is not a known key. Did you mean "timeouts"?', "Correct it in invoke.yaml."),
    ],
)
def test_a_mistyped_key(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, sentence: str, hint: str) -> None:
    """It had no effect, and nobody noticed. Now it is one sentence and one thing to do."""
    (tmp_path / "invoke.yaml").write_text(f"{text}\nrun: {{echo: true}}\n", encoding="utf-8")

    with pytest.raises(SystemExit) as caught:
        check_invoke_yaml(tmp_path)

    assert caught.value.code == 1
    error, todo = capsys.readouterr().err.strip().splitlines()
    assert error == f"E-SETTING  invoke.yaml: {sentence}"
    assert todo.startswith(f"→ {hint}")


def test_all_mistyped_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All of them are named in one go."""
    (tmp_path / "invoke.yaml").write_text("sinegr: {}\ncluster: mine\nengin: local\n", encoding="utf-8")

    with pytest.raises(SystemExit):
        check_invoke_yaml(tmp_path)

    err = capsys.readouterr().err
    assert [word in err for word in ("sinegr is", "cluster is", "engin is")] == [True] * 3


@pytest.mark.parametrize("text", [*(f"{key}: {{}}" for key in Config.global_defaults()), "debug: true", "deploy: {host: h}", "tests: [a]"])
def test_keys_of_others(tmp_path: Path, text: str) -> None:
    """Invoke's own keys, and those of the user's own tasks, are left alone."""
    (tmp_path / "invoke.yaml").write_text(f"{text}\nsinger: {{engine: local}}\n", encoding="utf-8")

    check_invoke_yaml(tmp_path)

    assert set(Config.global_defaults()) < INVOKE_YAML


def test_a_variable_without_singer() -> None:
    """A variable that names a setting without SINGER is refused, with the one that is read; those of Invoke are not."""
    with pytest.raises(SetupError, match=r'INVOKE_ENGINE is not read\. Did you mean "INVOKE_SINGER_ENGINE"') as caught:
        parse({}, {"INVOKE_ENGINE": "local"})

    assert caught.value.code == "E-SETTING"
    parse({}, {"INVOKE_DEBUG": "1", "INVOKE_RUN_ECHO": "1"})
