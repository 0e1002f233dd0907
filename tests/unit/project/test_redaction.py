"""What a support file hides, and what stays readable."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cluster.config.settings import Settings
from cluster.project import redaction
from cluster.project.redaction import HIDDEN, redacted

if TYPE_CHECKING:
    from pathlib import Path


@example("a/b\x1bc", quote)
@given(st.text(min_size=1, max_size=40), st.sampled_from([str, json.dumps, quote, quote_plus, lambda text: quote(text, safe="")]))
def test_a_known_secret_is_hidden_in_every_form(secret: str, form: object) -> None:
    """A value that is known to be secret is not in the text any more, in whichever form it was written."""
    written = form(secret)  # type: ignore[operator]
    if len(secret.strip()) >= 4 and not set(secret) <= set(HIDDEN):
        assert written.strip('"') not in redacted(f"it printed <{written}> once", [secret])


def test_a_short_secret_does_not_make_all_unreadable() -> None:
    """A value of a letter or two is hidden where it stands alone, not in the middle of words and numbers."""
    assert redacted("pin 1 of 10 in room 11: 1", ["1"]) == "pin *** of 10 in room 11: ***"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("http://jane:pa@ss@proxy.example.com:3128/", "pa@ss"),
        ('{"password": "two words"}', "two words"),
        ("client_secret='two words'", "two words"),
        (r'{"message": "{\"api_key\": \"abc def\"}"}', "abc def"),
        ("GET /v1?access_token=abcdef&page=2", "abcdef"),
        ("Authorization: Basic amFuZTpwYXNz", "amFuZTpwYXNz"),
        ("authorization=bearer abc.def-ghi", "abc.def-ghi"),
        ("token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln is used", "eyJzdWIiOiIxIn0"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----", "MIIE"),
        ("-----BEGIN PRIVATE KEY-----\nMIIE", "MIIE"),
        ("MY_SECRET_ACCESS_KEY: wJalrX/UtnFEMI", "wJalrX/UtnFEMI"),
    ],
)
def test_what_looks_like_a_secret_is_hidden(text: str, secret: str) -> None:
    """Also a secret that nobody knows of is hidden, where it looks like one; what stands around it can still be read."""
    result = redacted(f"before {text} after", [])
    assert secret not in result
    assert result.startswith("before ")


def test_what_is_known_to_be_secret(tmp_path: Path) -> None:
    """What is secret in configs, ``.env`` and environment is known; keys of streams, and what a catalog describes, are none."""
    folder = tmp_path / "singer-configs" / "tap-x"
    folder.mkdir(parents=True)
    config = {"api_key": "k1", "oauth": {"client_secret": "k2"}, "token": "${NAMED}", "primary_key": "id", "start_date": "2026-01-01"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "catalog.json").write_text('{"streams": [{"schema": {"properties": {"password": {"type": "string"}}}}]}')
    for number, odd in enumerate(("[1", "5", '"text"', "[{}]", "null")):
        (folder / f"odd{number}.json").write_text(odd)
    (tmp_path / ".env").write_text("A=k3\n\nexport B='k4' # mine\n")
    environ = {"NAMED": "k5", "OTHER": "no", "GH_TOKEN": "k6", "TOKENIZERS_PARALLELISM": "false", "PWD": "/home", "U": "http://me:k7@host/"}
    secrets = set(redaction.known(Settings(root=tmp_path), environ))
    assert {"k1", "k2", "k3", "k4", "k5", "k6", "k7"} <= secrets
    assert secrets & {"id", "string", "2026-01-01", "no", "false", "/home"} == set()


def test_what_is_no_secret_stays() -> None:
    """Ordinary lines of logs are as they were."""
    lines = "tap ended with exit code 1\nhttps://api.example.com/v1?page=2 answers 404\n2,000 records, 1.2 MB\nauthor: me\n"
    assert redacted(lines, []) == lines


def test_base64_of_a_secret_is_hidden() -> None:
    """A Secret of Kubernetes holds its values in base64."""
    encoded = base64.b64encode(b"correct horse").decode()
    assert encoded not in redacted(f"data: {encoded}", ["correct horse"])


def test_a_key_of_several_lines_is_hidden(tmp_path: Path) -> None:
    """A secret that ``.env`` writes with escapes is hidden as connectors get it: whole, and each of its lines."""
    (tmp_path / ".env").write_text('KEY="first-half\\nsecond\\"half"\n')
    known = set(redaction.known(Settings(root=tmp_path), {}))
    assert redacted('it printed first-half and then second"half', known) == f"it printed {HIDDEN} and then {HIDDEN}"
