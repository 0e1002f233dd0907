"""``invoke report``: the page that is written, and what a browser makes of it."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import browser
import pytest
from scenarios import GOOD

if TYPE_CHECKING:
    from pathlib import Path

    from checkout import Checkout

NASTY = "<script>document.title='owned'</script>"


@pytest.fixture
def used(checkout: Checkout) -> Checkout:
    """Return a checkout in which one run has succeeded and one has failed."""
    checkout.scripted({"steps": GOOD})
    assert checkout.run().code == 0
    checkout.scripted({"steps": [["schema", "s"], ["stderr", NASTY], ["exit", 1]]})
    assert checkout.run().code == 2
    return checkout


def test_where_it_is(used: Checkout, tmp_path: Path) -> None:
    """The page is written below .local, or to the path asked for, readable for its owner alone; the command prints its path."""
    assert used.invoke("report", "--print").out == ".local/report.html\n"
    page = used.local / "report.html"
    assert page.stat().st_mode & 0o777 == 0o600
    events = used.invoke("report", "--print", "--json", "--out", str(tmp_path / "new" / "r.html")).events
    assert [(event["event"], event["path"], event["runs"]) for event in events] == [("report", str(tmp_path / "new" / "r.html"), 2)]
    assert (tmp_path / "new" / "r.html").stat().st_mode & 0o777 == 0o600
    assert list((tmp_path / "new").iterdir()) == [tmp_path / "new" / "r.html"]
    assert used.invoke("report", "--print", "--limit", "1", "--json").last["runs"] == 1


def test_it_opens_in_the_browser(used: Checkout, tmp_path: Path) -> None:
    """Without --print the page is opened, by the browser that BROWSER names."""
    opened = tmp_path / "opened"
    program = tmp_path / "my-browser"
    program.write_text(f"#!{sys.executable}\nimport sys\nopen({str(opened)!r}, 'w').write(sys.argv[1])\n")
    program.chmod(0o755)
    assert used.invoke("report", BROWSER=f"{program} %s").code == 0
    assert opened.read_text() == (used.local / "report.html").as_uri()


def test_no_secrets(checkout: Checkout) -> None:
    """What a tap has printed of its secrets, from .env or the environment, is not on the page."""
    steps = [["schema", "s"], ["stderr", "401 for swordfish-17, of user-of-env"], ["exit", 1]]
    checkout.scripted({"steps": steps, "token": "${TOKEN}", "user": "${USER_NAME}"})
    (checkout.root / ".env").write_text("TOKEN=swordfish-17\nSHORT=4\n")
    assert checkout.run(USER_NAME="user-of-env").code == 2
    assert checkout.invoke("report", "--print", USER_NAME="user-of-env").code == 0
    page = (checkout.local / "report.html").read_text()
    assert "401 for ***, of ***" in page
    assert "swordfish" not in page


def test_nothing_to_tell(checkout: Checkout) -> None:
    """Without a run there is no page, and the next command is named."""
    result = checkout.invoke("report", "--print")
    assert (result.code, result.out) == (0, "No runs yet. Next: invoke demo\n")
    assert not (checkout.local / "report.html").exists()


def test_it_cannot_be_written(used: Checkout, tmp_path: Path) -> None:
    """A place that cannot be written to is a sentence, and leaves nothing behind."""
    (tmp_path / "file").write_text("")
    result = used.invoke("report", "--print", "--out", str(tmp_path / "file" / "r.html"))
    assert (result.code, result.err.strip().split()[0]) == (1, "E-STORE")


def test_the_rates(checkout: Checkout) -> None:
    """After the example the page has its rates, of a year, however few days its last run has loaded."""
    config = checkout.root / "singer-configs" / "tap-exchange-rates" / "config.json"
    settings = json.loads(config.read_text()) | {"source": "packaged", "start_date": "2024-01-01"}
    config.write_text(json.dumps(settings | {"end_date": "2026-06-30"}))
    assert checkout.invoke("demo").code == 0
    config.write_text(json.dumps(settings | {"end_date": "2026-07-31"}))
    assert checkout.invoke("demo").code == 0
    checkout.invoke("report", "--print")
    page = (checkout.local / "report.html").read_text()
    assert "EUR/USD, 2025-07-" in page
    assert " to 2026-07-31: between" in page


@pytest.mark.skipif(browser.program() is None, reason="no Chromium is on PATH")
def test_in_a_real_browser(used: Checkout, tmp_path: Path) -> None:
    """A browser asks for nothing but the page, has nothing to complain of, and shows it whole in every width and both colour schemes."""
    assert used.invoke("report", "--print").code == 0
    page = used.local / "report.html"
    seen = browser.look(page, tmp_path / "profile", (400, 1400))
    assert seen.requests == [page.as_uri()]
    assert seen.complaints == []
    assert seen.widths == {400: 400, 1400: 1400}
    assert NASTY in seen.text
    assert "E-TAP-FAILED" in seen.text
    light, dark = (sum(map(int, seen.background[scheme].removeprefix("rgb(").rstrip(")").split(","))) for scheme in ("light", "dark"))
    assert light > 600
    assert dark < 150
    assert len(set(seen.pictures.values())) == 4
