"""What an environment's file sets beside its settings: configs, secrets, resources. The cluster is a stand-in."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from cluster.config.settings import parse
from cluster.platform.handles import Handles

if TYPE_CHECKING:
    from fake_apiserver import Company

NAME = "connector-tap-scripted"
STEPS = [["schema", "s"]]


@pytest.fixture
def asking(company: Company) -> Company:
    """Return an environment whose pipeline asks for a secret."""
    company.checkout.scripted({"steps": STEPS, "token": "${TOKEN}", "address": "here"}, schedule="0 6 * * *")
    return company


def held(company: Company) -> dict[str, str]:
    """Return what is in the tap's Secret."""
    return {key: b64decode(value).decode() for key, value in company.api.get("Secret", NAME)["data"].items()}


def stored(company: Company, key: str) -> Any:
    """Return an object of the environment's bucket of configs."""
    with Handles(parse({}, {}, env="company", root=company.root), company.checkout.environ) as handles:
        return json.loads(handles.store().get(handles.settings.bucket_configs, key) or b"null")


def instead(company: Company, name: str, content: Any) -> None:
    """Write a file of the environment's own."""
    file = company.root / "environments" / "company" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def theirs(company: Company, **values: str) -> dict[str, Any]:
    """Let somebody else have made the tap's Secret."""
    data = {key: b64encode(value.encode()).decode() for key, value in values.items()}
    return company.api.add("Secret", NAME, metadata={"labels": {"made-by": "vault"}}, data=data)


def test_a_config_of_its_own(asking: Company) -> None:
    """The environment's config is stored there instead of the connector's, with its secrets; the laptop's stays."""
    instead(asking, "tap-scripted/config.json", {"steps": STEPS, "token": "${COMPANY_TOKEN}", "address": "there"})
    up = asking.there("up", TOKEN="laptop", COMPANY_TOKEN="there")
    assert up.code == 0, up.err
    assert stored(asking, "connectors/tap-scripted/config.json")["address"] == "there"
    assert held(asking) == {"COMPANY_TOKEN": "there"}
    (asking.root / "environments" / "company" / "tap-scripted" / "config.json").unlink()
    plan = asking.there("sync", "--plan", TOKEN="laptop")
    assert "connectors/tap-scripted/config.json" in plan.out
    assert NAME in plan.out


def test_a_config_of_a_pipelines_own(asking: Company) -> None:
    """A pipeline that names a config has that one's stand-in; the connector's own is left as it is."""
    asking.checkout.write("night/config.json", {"steps": STEPS, "address": "here"})
    asking.checkout.write("pipelines.yaml", {"p": {"tap": "tap-scripted", "target": "target-scripted", "config": "night/config.json"}})
    instead(asking, "night/config.json", {"steps": STEPS, "address": "there"})
    assert asking.there("up").code == 0
    assert stored(asking, "pipelines/p/config.json")["address"] == "there"
    assert stored(asking, "connectors/tap-scripted/config.json")["address"] == "here"


@pytest.mark.parametrize("name", ["tap-scriptd/config.json", "tap-scripted/catalog.json", "config.json"])
def test_a_file_that_stands_for_nothing(asking: Company, name: str) -> None:
    """What would not be read is refused with its name, before anything is changed; the laptop does not mind."""
    instead(asking, name, {})
    result = asking.there("sync", TOKEN="x")
    assert (result.code, "E-CONFIG" in result.err, f"environments/company/{name}" in result.err) == (1, True, True), result.err
    assert asking.api.changes == []
    assert asking.type("check", "--name", "p", TOKEN="x").code == 0


def test_a_secret_instead_of_its_name(asking: Company) -> None:
    """A config of the environment is held to the same rule: it contains no secret."""
    instead(asking, "tap-scripted/config.json", {"steps": STEPS, "token": "typed"})
    result = asking.there("up")
    assert (result.code, "E-SECRET-TYPED" in result.err, "environments/company/tap-scripted" in result.err) == (1, True, True), result.err
    assert "typed;" not in result.err


def test_secrets_of_its_own(asking: Company) -> None:
    """The values of .env.company override those of .env, there and nowhere else; a variable overrides both. No support file has it."""
    (asking.root / ".env").write_text("TOKEN=of-the-laptop\n")
    (asking.root / ".env.company").write_text("TOKEN=of-the-company\n")
    assert asking.there("up").code == 0
    assert held(asking) == {"TOKEN": "of-the-company"}
    assert asking.there("sync", TOKEN="of-the-shell").code == 0
    assert held(asking) == {"TOKEN": "of-the-shell"}
    run = asking.type("run", "p", "--json")
    assert run.code == 0, run.err
    assert "of-the-company" not in asking.there("doctor", "--env", "company").out


def test_a_secret_that_is_there(asking: Company) -> None:
    """Without a secret on this machine the one in the cluster stays and is used; one that is nowhere is reported."""
    missing = asking.there("up")
    assert (missing.code, "E-SECRET" in missing.err, "${TOKEN}" in missing.err) == (1, True, True), missing.err
    assert asking.there("up", TOKEN="colleague").code == 0
    again = asking.there("sync", "--json")
    assert (again.code, again.last["changed"]) == (0, []), again.err
    assert held(asking) == {"TOKEN": "colleague"}


def test_a_secret_of_others(asking: Company) -> None:
    """A Secret that a company's secret manager has made is used, with any value set here; keys that it lacks, others must add."""
    made = theirs(asking, OTHER="x")
    lacking = asking.there("up", TOKEN="mine")
    assert (lacking.code, "E-SECRET" in lacking.err, NAME in lacking.err) == (1, True, True), lacking.err
    made = theirs(asking, TOKEN="vault")
    up = asking.there("up", TOKEN="mine")
    assert up.code == 0, up.err
    assert asking.api.get("Secret", NAME) is made
    assert held(asking) == {"TOKEN": "vault"}
    asking.checkout.scripted({"steps": STEPS}, schedule="0 6 * * *")
    assert asking.there("sync").code == 0
    assert asking.api.get("Secret", NAME) is made


def test_resources(asking: Company) -> None:
    """Pipelines request the resources of the environment, but for those that they set themselves."""
    with asking.file.open("a") as file:
        file.write("resources: cpu=250m,memory=1Gi\n")
    asking.checkout.scripted({"steps": STEPS}, schedule="0 6 * * *", resources={"memory": "2Gi"})
    assert asking.there("up").code == 0
    parameters = asking.api.get("CronWorkflow", "p")["spec"]["workflowSpec"]["arguments"]["parameters"]
    (resources,) = [json.loads(item["value"]) for item in parameters if item["name"] == "resources"]
    assert resources == {"requests": {"cpu": "250m", "memory": "2Gi"}, "limits": {"memory": "2Gi"}}
    asking.file.write_text(yaml.safe_dump({**yaml.safe_load(asking.file.read_text()), "resources": "cpu=a lot"}))
    refused = asking.there("sync")
    assert (refused.code, "E-SETTING" in refused.err, "cpu=100m,memory=512Mi" in refused.err) == (1, True, True), refused.err
