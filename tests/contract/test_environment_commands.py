"""Commands with ``--env``, typed where no cluster answers: what they refuse, and that the laptop is as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml

if TYPE_CHECKING:
    from checkout import Checkout

FILE = """
context: far
namespace: rates
argo: use
"""


@pytest.fixture
def company(checkout: Checkout) -> Checkout:
    """Return a checkout with an environment whose cluster does not answer."""
    (checkout.root / "environments").mkdir()
    (checkout.root / "environments" / "company.yaml").write_text(FILE)
    content = {
        "contexts": [{"name": "far", "context": {"cluster": "far", "user": "far"}}],
        "clusters": [{"name": "far", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "far", "user": {"token": "x"}}],
    }
    file = checkout.root / "kubeconfig"
    file.write_text(yaml.safe_dump(content))
    checkout.environ["KUBECONFIG"] = str(file)
    return checkout


@pytest.mark.parametrize(
    "words",
    [
        ("run", "exchange-rates-to-csv"),
        ("demo",),
        ("runs",),
        ("show", "last"),
        ("logs", "last"),
        ("fetch", "last"),
        ("cancel", "last"),
        ("retry", "last"),
        ("state", "exchange-rates-to-csv"),
        ("report", "--print"),
        ("sync", "--plan"),
    ],
    ids=lambda words: words[0],
)
def test_an_environment_that_is_not_up(company: Checkout, words: tuple[str, ...]) -> None:
    """For every command about an environment that is not up, the answer is how to get it up, and nothing of the laptop's."""
    result = company.invoke(*words, "--env", "company")
    assert (result.code, "E-DOWN" in result.err) == (1, True), result.err
    assert "invoke up --env company" in result.err


def test_the_environment_is_named(company: Checkout) -> None:
    """Each event names the environment, whether the flag or the variable chose it; those of the laptop name none."""
    flagged = company.invoke("up", "--plan", "--json", "--env", "company")
    chosen = company.invoke("up", "--plan", "--json", INVOKE_SINGER_ENV="company")
    for result in (flagged, chosen):
        assert {event["env"] for event in result.events} == {"company"}
    assert "env" not in company.invoke("run", "nobody", "--json").last
    assert company.invoke("up", "--plan", "--env", "company").out.startswith('singer  environment company · context "far"')


def test_the_laptop_goes_on(company: Checkout) -> None:
    """What was run on the laptop is there without a flag, and only there; the engine local is no environment's."""
    company.scripted({"records": 3})
    assert company.run().code == 0
    assert len(company.invoke("runs", "--json").events) == 1
    assert company.invoke("runs", "--json", "--env", "laptop").events[0]["engine"] == "local"
    refused = company.invoke("run", "p", "--engine", "local", "--env", "company")
    assert (refused.code, "E-ENGINE" in refused.err) == (1, True), refused.err


def test_a_name_that_is_not_known(company: Checkout) -> None:
    """A misspelt environment is answered with what was meant, before anything is done."""
    result = company.invoke("run", "exchange-rates-to-csv", "--env", "compayn")
    assert (result.code, 'Did you mean "company"?' in result.err) == (1, True), result.err
