"""Connectors and pipelines as ``singer-configs/`` defines them, secrets and ``.env``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from entrypoint import fill
from hypothesis import example, given
from hypothesis import strategies as st

from cluster.errors import SetupError
from cluster.project.dotenv import read_dotenv
from cluster.project.reader import Project, check_catalog, checked
from cluster.project.secrets import refuse_typed_secrets, secret_names, secrets

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Configs:
    """A checkout with a tap, a target and a pipeline of the two."""

    def __init__(self, root: Path) -> None:
        """Write the smallest files that are allowed."""
        self.root = root
        for side in ("tap", "target"):
            self.connector(f"{side}-x", kind=side)
        self.pipelines(p={})

    def write(self, name: str, content: object) -> Path:
        """Write a file below ``singer-configs/``: a text as it is, anything else as YAML."""
        file = self.root / "singer-configs" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
        return file

    def connector(self, name: str, **keys: object) -> None:
        """Write a ``connector.yaml``."""
        self.write(f"{name}/connector.yaml", {"kind": "tap", "pip_url": name, **keys})

    def pipelines(self, **entries: dict[str, object]) -> None:
        """Write ``pipelines.yaml``."""
        self.write("pipelines.yaml", {name: {"tap": "tap-x", "target": "target-x", **keys} for name, keys in entries.items()})

    @property
    def project(self) -> Project:
        """The project as a command sees it."""
        return Project(self.root)


@pytest.fixture
def configs(tmp_path: Path) -> Configs:
    """Return a smallest checkout."""
    return Configs(tmp_path)


def refused(call: Callable[[], object], code: str = "E-CONFIG") -> str:
    """Return the problem that a call ends with."""
    with pytest.raises(SetupError) as caught:
        call()
    assert caught.value.code == code
    return caught.value.problem


@pytest.mark.parametrize(
    ("address", "right"),
    [
        ("https://hooks.example.com/secret-path", True),
        (" http://127.0.0.1:8080/x ", True),
        ("", True),
        ("hooks.example.com/secret-path", False),
        ("https:///secret-path", False),
        ("ftp://hooks.example.com/secret-path", False),
        ("https://[::1/secret-path", False),
        ("https://x:99999/secret-path", False),
    ],
)
def test_the_address_for_messages(configs: Configs, address: str, right: bool) -> None:  # noqa: FBT001 - a column of the table
    """A wrong one is reported before a run fails without a message, and is not printed. A pipeline that sends none needs none."""
    environ = {"SINGER_NOTIFY_URL": address}
    if right:
        assert checked(configs.project, "pipeline", "p", environ) == "tap-x → target-x"
        return
    problem = refused(lambda: checked(configs.project, "pipeline", "p", environ), "E-SETTING")
    assert "SINGER_NOTIFY_URL" in problem
    assert "secret-path" not in problem
    configs.pipelines(p={"notify": "never"})
    assert checked(configs.project, "pipeline", "p", environ)


# ----------------------------------------------------------------------------------------------------- requirements

REQUIREMENTS = {
    "tap-x": ["tap-x"],
    "tap-x==1.0 other>=2,<3": ["tap-x==1.0", "other>=2,<3"],
    "tap-x[s3,http]==1.0": ["tap-x[s3,http]==1.0"],
    "git+https://github.com/me/tap-x.git@v1.0#subdirectory=tap": ["git+https://github.com/me/tap-x.git@v1.0#subdirectory=tap"],
    "https://example.org/tap-x-1.0.tar.gz": ["https://example.org/tap-x-1.0.tar.gz"],
    "'tap-x @ git+https://github.com/me/tap-x.git'": ["tap-x @ git+https://github.com/me/tap-x.git"],
    "tap-x @ git+https://github.com/me/tap-x.git other": ["tap-x @ git+https://github.com/me/tap-x.git", "other"],
    "-e git+https://github.com/me/tap-x.git": ["git+https://github.com/me/tap-x.git"],
    "\"tap-x==1.0; python_version < '3.12'\" other": ["tap-x==1.0; python_version < '3.12'", "other"],
    "tap-x==1.0\nother": None,
}


@pytest.mark.parametrize(("text", "expected"), REQUIREMENTS.items())
def test_requirements_are_separated_by_spaces(configs: Configs, text: str, expected: list[str] | None) -> None:
    """One text may hold several requirements; quoted text stays together; line breaks are refused."""
    configs.connector("tap-x", pip_url=text)
    if expected is None:
        assert "pip_url" in refused(lambda: configs.project.connector("tap-x"))
    else:
        connector = configs.project.connector("tap-x")
        assert (list(connector.requirements), connector.projects) == (expected, ())


def test_requirements_may_be_a_list_and_a_folder(configs: Configs) -> None:
    """Requirements may be a list, whose items are not split; a folder is recognised, and one that is none is refused."""
    folder = configs.root / "taps" / "mine"
    folder.mkdir(parents=True)
    (folder / "pyproject.toml").write_text("", encoding="utf-8")
    configs.connector("tap-x", pip_url=["taps/mine", "./taps/mine", "extra >=1, <2", "other @ git+https://127.0.0.1/x"])
    connector = configs.project.connector("tap-x")
    assert (connector.requirements, connector.projects) == (("extra >=1, <2", "other @ git+https://127.0.0.1/x"), (folder, folder))
    configs.connector("tap-x", pip_url="taps/mine extra==1")
    connector = configs.project.connector("tap-x")
    assert (connector.requirements, connector.projects) == (("extra==1",), (folder,))
    for wrong in ("taps/other", "./taps", "../elsewhere", "/etc/tap"):
        configs.connector("tap-x", pip_url=wrong)
        assert "pip_url" in refused(lambda: configs.project.connector("tap-x"))


def test_folders_and_wheels_anywhere(configs: Configs) -> None:
    """A folder may lie outside of the checkout, have a setup.py alone, and come after -e; a wheel is a requirement."""
    outside, old = configs.root.parent / "outside", configs.root / "taps" / "old"
    for folder in (outside, old):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "setup.py").touch()
    (old / "tap_x-1.0-py3-none-any.whl").touch()
    configs.connector("tap-x", pip_url="-e ../outside --editable taps/old taps/old/tap_x-1.0-py3-none-any.whl")
    connector = configs.project.connector("tap-x")
    assert (connector.requirements, connector.projects) == (("./taps/old/tap_x-1.0-py3-none-any.whl",), (outside, old))


# -------------------------------------------------------------------------------------------------------- pipelines


def test_two_pipelines_share_a_tap(configs: Configs) -> None:
    """Pipelines of one tap may each have a config and a catalog of their own; what they leave out is the connector's."""
    own = configs.write("tap-x/config.json", "{}")
    other = configs.write("tap-x/berlin.json", '{"city": "Berlin"}')
    catalog = configs.write("catalogs/berlin.json", '{"streams": []}')
    configs.pipelines(one={}, two={"config": "tap-x/berlin.json", "catalog": "catalogs/berlin.json", "timeout": "90s"})
    one, two = (configs.project.pipeline(name) for name in ("one", "two"))
    assert configs.project.pipeline_names == ["one", "two"]
    assert one.tap == two.tap
    assert (one.config, two.config) == (own, other)
    assert (one.catalog, two.catalog) == (own.with_name("catalog.json"), catalog)
    assert one.target_config == two.target_config == configs.root / "singer-configs/target-x/config.json"
    assert (one.timeout, two.timeout) == (24 * 3600, 90)


@pytest.fixture
def transformed(configs: Configs) -> Configs:
    """Return a checkout whose pipeline has a transform."""
    configs.connector("dbt-x", kind="transform", pip_url="dbt-core dbt-postgres", executable="dbt")
    configs.write("dbt-x/dbt_project.yml", {"name": "x"})
    configs.pipelines(p={"transform": "dbt-x", "transform_select": "tag:daily other"})
    return configs


def test_a_transform_takes_part_in_a_run(transformed: Configs) -> None:
    """A pipeline may name a transform and a part of its project; without one it is tap and target alone."""
    pipeline = transformed.project.pipeline("p")
    assert [connector.name for connector in pipeline.connectors] == ["tap-x", "target-x", "dbt-x"]
    assert pipeline.transform_select == "tag:daily other"
    transformed.pipelines(p={})
    assert [connector.name for connector in transformed.project.pipeline("p").connectors] == ["tap-x", "target-x"]


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"transform": "tap-x"}, 'p.transform is "tap-x"; allowed is a transform; tap-x is a tap'),
        ({"transform": "dbt-y"}, 'p.transform is "dbt-y"; allowed is one of'),
        ({"transform_select": "x"}, 'p.transform_select is "x"; allowed is a part of a transform, and none is named'),
        ({"transform": "dbt-x", "transform_select": "--full-refresh"}, 'p.transform_select is "--full-refresh"'),
        ({"target": "dbt-x"}, 'p.target is "dbt-x"; allowed is a target; dbt-x is a transform'),
    ],
)
def test_a_transform_that_is_none(transformed: Configs, keys: dict[str, object], says: str) -> None:
    """A name of another kind, a selection without a transform, and an option in its place are refused."""
    transformed.pipelines(p=keys)
    assert says in refused(lambda: transformed.project.pipeline("p"))


def test_a_transform_without_a_project(transformed: Configs) -> None:
    """A transform's folder without a dbt project is refused, and the file that is missing is named."""
    (transformed.root / "singer-configs/dbt-x/dbt_project.yml").unlink()
    assert "singer-configs/dbt-x/dbt_project.yml is not there" in refused(lambda: transformed.project.connector("dbt-x"))


def test_every_key_of_a_pipeline_is_understood(configs: Configs) -> None:
    """A pipeline with every key is read as it was meant."""
    configs.pipelines(
        p={
            "mode": "staged",
            "schedule": ["0 6 * * 1-5", "*/5 0 1 1 *"],
            "timezone": "Europe/Berlin",
            "paused": True,
            "resources": {"cpu": "500m", "memory": "1.5Gi"},
            "timeout": "6h",
            "retries": 0,
            "notify": "always",
        }
    )
    pipeline = configs.project.pipeline("p")
    assert (pipeline.mode, pipeline.paused, pipeline.timeout, pipeline.retries, pipeline.notify) == ("staged", True, 6 * 3600, 0, "always")
    assert (pipeline.schedule, pipeline.timezone) == (("0 6 * * 1-5", "*/5 0 1 1 *"), "Europe/Berlin")
    assert pipeline.resources == {"cpu": "500m", "memory": "1.5Gi"}


@pytest.mark.parametrize("name", ["a", "a" * 50, "a-1-b", "9"])
def test_a_name_that_is_allowed(configs: Configs, name: str) -> None:
    """A pipeline's name is a DNS label of at most 50 characters."""
    configs.pipelines(**{name: {}})
    assert configs.project.pipeline(name).name == name


@pytest.mark.parametrize("name", ["A", "a" * 51, "a_b", "-a", "a-", "a.b", "a/b", "ä", "a\n", "tap-x"])
def test_a_name_that_is_not_allowed(configs: Configs, name: str) -> None:
    """A name that no object of Kubernetes could have, or that a connector has, is refused."""
    configs.pipelines(**{name: {}})
    refused(lambda: configs.project.pipeline(name))


def test_an_unknown_name(configs: Configs) -> None:
    """A name that is misspelt is answered with the one that was meant."""
    assert 'Did you mean "tap-x"?' in refused(lambda: configs.project.connector("tap-y"), "E-UNKNOWN")
    configs.pipelines(rates={})
    assert 'Did you mean "rates"?' in refused(lambda: configs.project.pipeline("rate"), "E-UNKNOWN")


def test_without_pipelines(configs: Configs) -> None:
    """An empty ``pipelines.yaml`` means that there are no pipelines."""
    configs.write("pipelines.yaml", "# nothing yet\n")
    assert configs.project.pipeline_names == []
    assert "Pipelines are none." in refused(lambda: configs.project.pipeline("p"), "E-UNKNOWN")


# --------------------------------------------------------------------------------------------------------- catalogs


@pytest.mark.parametrize("streams", [[], [{"tap_stream_id": "s", "schema": {}}], [{"stream": "s", "schema": {"type": "object"}, "x": 1}]])
def test_a_catalog_that_taps_expect(streams: list[dict[str, Any]]) -> None:
    """Streams with a name and a schema are a catalog, and so are none."""
    check_catalog({"streams": streams}, "catalog.json")


CATALOGS: list[tuple[dict[str, Any], str]] = [
    ({}, 'x has no list "streams".'),
    ({"streams": None}, 'x has no list "streams".'),
    ({"streams": {"s": {}}}, 'x has no list "streams".'),
    ({"streams": [None]}, 'x: streams[0] has no "tap_stream_id".'),
    ({"streams": [{"tap_stream_id": "s", "schema": {}}, {"schema": {}}]}, 'x: streams[1] has no "tap_stream_id".'),
    ({"streams": [{"tap_stream_id": 5, "schema": {}}]}, 'x: streams[0] has no "tap_stream_id".'),
    ({"streams": [{"tap_stream_id": "s"}]}, 'x: the stream "s" has no "schema".'),
    ({"streams": [{"tap_stream_id": "s", "schema": "{}"}]}, 'x: the stream "s" has no "schema".'),
]


@pytest.mark.parametrize(("catalog", "problem"), CATALOGS)
def test_a_catalog_that_is_none(catalog: dict[str, Any], problem: str) -> None:
    """An error in a catalog names the stream that it is about."""
    assert refused(lambda: check_catalog(catalog, "x"), "E-CATALOG") == problem


# ---------------------------------------------------------------------------------------------------------- secrets

dollars = st.text(alphabet="${}AB_1 ", max_size=12) | st.sampled_from(["${A}", "x${B}y${A}", "$${A}", "$$${A}"])
configs_with_secrets = st.dictionaries(
    dollars,
    st.recursive(
        dollars | st.integers() | st.none(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(dollars, inner, max_size=3),
        max_leaves=6,
    ),
)


@given(configs_with_secrets)
def test_the_secrets_that_are_looked_up_are_those_that_are_filled_in(tmp_path_factory: pytest.TempPathFactory, config: object) -> None:
    """What is asked for before a run is what the entrypoint fills in: the same names, each once, in order."""
    file = tmp_path_factory.getbasetemp() / "secrets.json"
    file.write_text(json.dumps(config), encoding="utf-8")
    filled: dict[str, None] = {}

    def secret(name: str) -> str:
        filled[name] = None
        return ""

    fill(config, secret)
    assert secret_names(file) == list(filled)


def test_where_secrets_come_from(tmp_path: Path) -> None:
    """The environment wins over ``.env``, an empty value is a value, and only what is asked for is taken."""
    file = tmp_path / "config.json"
    assert secrets(file, {}, {}, shown="x") == {}
    file.write_text('{"a": ["${A}", "${B}"], "c": "${C}", "d": "$${D}"}', encoding="utf-8")
    environ, dotenv = {"A": "1", "C": "", "Z": "z"}, {"A": "2", "B": "3", "C": "4"}
    assert secrets(file, environ, dotenv, shown="x") == {"A": "1", "B": "3", "C": ""}
    assert "empty in .env" in refused(lambda: secrets(file, {"A": "1", "B": "2"}, {"C": ""}, shown="x"), "E-SECRET")
    problem = refused(lambda: secrets(file, {"A": "hidden-value"}, {"B": "hidden-value"}, shown="x"), "E-SECRET")
    assert problem == "x asks for ${C}, which is not set."


@pytest.mark.parametrize(
    ("schedule", "says"),
    [
        ("0 25 * * 9", 'allowed is a cron expression of five fields, such as "0 6 * * *"; Argo refuses it: its hour "25" is not allowed'),
        (["0 6 * * *", "0 6 * * 7"], 'Argo refuses "0 6 * * 7": its weekday "7" is not allowed; a weekday is 0-6 or SUN-SAT; Sunday is 0'),
        ("@daily", "Argo refuses it: the five fields are minute, hour, day of the month, month, weekday; it has 1"),
    ],
)
def test_a_schedule_that_argo_refuses(configs: Configs, schedule: object, says: str) -> None:
    """A schedule that would never start is refused with the reason; one bad one in a list as well."""
    configs.pipelines(p={"schedule": schedule})
    assert says in refused(lambda: configs.project.pipeline("p"))


@pytest.mark.parametrize("outputs", ["{{workflow.name}}.csv", ["*.csv", "{{=x}}/*"]])
def test_argos_templates_are_refused(transformed: Configs, outputs: object) -> None:
    """What becomes a parameter of a Workflow may hold nothing that Argo replaces."""
    reason = "allowed is a text without {{, because Argo would replace {{…}} in it"
    transformed.connector("target-x", kind="target", outputs=outputs)
    assert reason in refused(lambda: transformed.project.connector("target-x"))
    transformed.connector("target-x", kind="target")
    transformed.pipelines(p={"transform": "dbt-x", "transform_select": "{{workflow.parameters.tap-image}}"})
    assert reason in refused(lambda: transformed.project.pipeline("p"))


def test_a_parameter_that_no_pod_can_have_is_refused(configs: Configs) -> None:
    """Linux limits the length of a variable: a list of globs that does not fit is refused before anything is submitted."""
    globs = [f"stream_{number}.csv" for number in range(4000)]
    configs.write("target-y/connector.yaml", {"kind": "target", "pip_url": "target-y", "outputs": globs})
    assert "at most 32,768 bytes; it has 62,889" in refused(lambda: configs.project.connector("target-y"))


# ------------------------------------------------------------------------------------------------------------- .env

keys = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
quoted = st.text(max_size=20).filter(lambda text: not set(text) & {"'", '"', "\\"})


@given(st.dictionaries(keys, st.tuples(st.sampled_from("'\""), quoted)))
@example({"A": ("'", ' # "no" comment $HOME ${A} '), "B": ('"', "it's\nmore")})
def test_a_quoted_value_comes_back(tmp_path_factory: pytest.TempPathFactory, values: dict[str, tuple[str, str]]) -> None:
    """The text in quotes is the value: spaces, hashes, dollars, line ends and the other quotes are part of it."""
    file = tmp_path_factory.getbasetemp() / "dotenv"
    file.write_text("".join(f"{name}={quote}{value}{quote}\n" for name, (quote, value) in values.items()), encoding="utf-8")
    assert read_dotenv(file) == {name: value for name, (_, value) in values.items()}


@given(st.dictionaries(keys, st.from_regex(r"([!$%&(-~][ !-~]*[!-~])?", fullmatch=True).filter(lambda text: " #" not in text)))
def test_a_value_without_quotes_comes_back(tmp_path_factory: pytest.TempPathFactory, values: dict[str, str]) -> None:
    """A value needs no quotes where it does not begin with one or with a space, and has no comment."""
    file = tmp_path_factory.getbasetemp() / "dotenv"
    file.write_text("".join(f"{name}={value}\n" for name, value in values.items()), encoding="utf-8")
    assert read_dotenv(file) == values


LINES = {
    "A=1": "1",
    "export A=1": "1",
    "  A = 1  ": "1",
    "A=": "",
    "A=''": "",
    "A=1 # a comment": "1",
    "A=1#2": "1#2",
    "A='1 # 2'": "1 # 2",
    "A='1' # a comment": "1",
    'A="it\'s" # a comment': "it's",
    "A= # a comment": "",
    "A=b=c": "b=c",
    "A=$HOME/${B}": "$HOME/${B}",
    "# A=2\n\nA=1\n\n  # B=3": "1",
    "A=1\r": "1",
    "A=1\nA=2": "2",
}


@pytest.mark.parametrize(("text", "value"), LINES.items())
def test_how_a_line_is_read(tmp_path: Path, text: str, value: str) -> None:
    """Comments, blank lines, ``export`` and quotes are understood, and nothing is expanded."""
    file = tmp_path / ".env"
    file.write_text(text + "\n", encoding="utf-8", newline="")
    assert read_dotenv(file) == {"A": value}


@pytest.mark.parametrize("line", ["A", "=1", "1A=1", "A B=1", "A-B=1", "export", "A: 1"])
def test_a_line_that_is_something_else(tmp_path: Path, line: str) -> None:
    """A line that sets nothing is named by its number, and its text, which may be a secret, is not shown."""
    file = tmp_path / ".env"
    file.write_text(f"# first\nOK=1\n{line}\n", encoding="utf-8")
    assert refused(lambda: read_dotenv(file)) == ".env, line 3 is not NAME=value."


def test_without_a_dotenv(tmp_path: Path) -> None:
    """A checkout needs no ``.env``."""
    assert read_dotenv(tmp_path / ".env") == {}


# ------------------------------------------------------------------------------------------------------ typed secrets


@pytest.mark.parametrize(
    ("config", "path", "variable"),
    [
        ({"password": "hunter2"}, "password", "TAP_X_PASSWORD"),
        ({"api_key": "k"}, "api_key", "TAP_X_API_KEY"),
        ({"auth": {"clientSecret": "k"}}, "auth.clientSecret", "TAP_X_CLIENTSECRET"),
        ({"accounts": [{"name": "a"}, {"refresh_token": "k"}]}, "accounts.1.refresh_token", "TAP_X_REFRESH_TOKEN"),
        ({"tokens": {"private-key": "k"}}, "tokens.private-key", "TAP_X_PRIVATE_KEY"),
        ({"password": 123456}, "password", "TAP_X_PASSWORD"),
        ({"password": "$${NOT_FILLED}"}, "password", "TAP_X_PASSWORD"),
        ({"url": "postgres://me:hunter2@db.example.com/x"}, "url", "TAP_X_URL"),
        ({"connection_string": "mysql://me:hunter2@db/x"}, "connection_string", "TAP_X_CONNECTION_STRING"),
    ],
)
def test_a_secret_itself_is_refused(configs: Configs, config: dict[str, Any], path: str, variable: str) -> None:
    """A secret in a config is refused wherever the file is read, with what to do and without its value."""
    configs.write("tap-x/config.json", json.dumps(config))
    for read in (lambda: configs.project.connector("tap-x"), lambda: configs.project.pipeline("p")):
        with pytest.raises(SetupError) as caught:
            read()
        error = caught.value
        assert error.code == "E-SECRET-TYPED"
        assert error.problem.startswith(f"singer-configs/tap-x/config.json: {path} holds a secret itself")
        assert f'{variable}=… and write "${{{variable}}}"' in error.hint
        assert "hunter2" not in error.problem + error.hint


@pytest.mark.parametrize(
    "config",
    [
        {"password": "${PASSWORD}"},
        {"url": "postgres://me:${PASSWORD}@db/x"},
        {"password": ""},
        {"password": None},
        {"use_password": True, "token": False},
        {"token_url": "https://example.com/token", "access_key_id": "AKIA", "token_type": "Bearer"},
        {"private_key": "/run/keys/me.pem", "credentials": "~/creds.json", "secret": "./file"},
        {"primary_key": "id", "replication_key": "at", "keys": ["id"], "tokenizer": "x", "monkey": "x"},
        {"dsn": "sqlite:///data.db", "sqlalchemy_url": "postgres://db/x"},
        {"url": "https://example.com/a:b@c", "time": "12:30"},
    ],
    ids=str,
)
def test_what_is_no_secret_is_not_refused(configs: Configs, config: dict[str, Any]) -> None:
    """Names that only look so, paths, empty texts, true and false, and what is filled in later are no secrets."""
    configs.write("tap-x/config.json", json.dumps(config))
    assert configs.project.connector("tap-x").name == "tap-x"


def test_a_pipelines_own_config_is_looked_at_too(configs: Configs) -> None:
    """The files that replace a connector's own config may hold no secret either."""
    configs.write("other/config.json", json.dumps({"secret_key": "k"}))
    configs.pipelines(p={"target_config": "other/config.json"})
    with pytest.raises(SetupError, match=r"other/config\.json: secret_key holds a secret itself") as caught:
        configs.project.pipeline("p")
    assert "TARGET_X_SECRET_KEY" in caught.value.hint


def test_what_a_program_knows_to_be_secret(configs: Configs) -> None:
    """A setting that the program calls secret may not be typed, under any name."""
    refuse_typed_secrets({"pin": "${PIN}", "name": "me"}, "tap-x", shown="config.json", known={"pin"})
    with pytest.raises(SetupError, match=r"config.json: pin holds a secret itself"):
        refuse_typed_secrets({"pin": "1234"}, "tap-x", shown="config.json", known={"pin"})
    assert configs.project.connector_names == ["tap-x", "target-x"]
