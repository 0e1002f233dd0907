"""What a connector's config may hold: from ``--about``, from a README, from a tap's answer to an empty config."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

import pytest

from cluster.errors import SetupError
from cluster.onboarding.draft import kind_of
from cluster.onboarding.options import Option, all_of, from_about, from_readme, hide, literal, needed, option, variable
from cluster.project.secrets import refuse_typed_secrets

ABOUT = {
    "settings": {
        "type": "object",
        "properties": {
            "page_size": {"type": ["integer", "null"], "default": 100},
            "stream_maps": {"type": ["object", "null"]},
            "auth_token": {"type": ["string", "null"], "secret": True},
            "mode": {"type": "string", "enum": ["full", "new"], "default": "new"},
            "owner": {"type": "string", "description": "Whose\n  things."},
        },
        "required": ["owner", "mode"],
    }
}
README = """
# tap-old

The config is like this:

    $ cat > config.json
    {
      "client_id": "x",       // see https://example.org
      "api_key": "YOUR-KEY",
      "page_size": 50,
    }

It prints

```json
{"type": "SCHEMA", "stream": "a"}
```
"""


def test_about() -> None:
    """What is needed comes first, then secrets; what every connector of the SDK takes is left out."""
    options = from_about(ABOUT)
    assert [item.name for item in options] == ["owner", "auth_token", "page_size", "mode"]
    assert [item.needed for item in options] == [True, False, False, False]
    assert [item.secret for item in options] == [False, True, False, False]
    assert options[0].description == "Whose things."
    assert options[2].kinds == {"integer"}


def test_people_are_asked_what_they_know_first() -> None:
    """Host, port, user, database and password come before options that few need, as tap-postgres orders none of them."""
    names = (
        "sqlalchemy_url",
        "ssl_client_private_key",
        "password",
        "filter_schemas",
        "database",
        "dates_as_string",
        "user",
        "host",
        "port",
    )
    secret = ("sqlalchemy_url", "ssl_client_private_key", "password")
    properties = {name: {"type": ["string", "null"], "secret": name in secret} for name in names}
    about = {"settings": {"properties": properties, "required": []}}
    ordered = from_about(about)
    assert [item.name for item in ordered][:6] == ["host", "port", "user", "password", "database", "filter_schemas"]
    assert {item.name for item in ordered if not item.asked_first} == {"sqlalchemy_url", "ssl_client_private_key", "dates_as_string"}


def test_a_nested_setting_is_explained_by_an_example() -> None:
    """A list of objects is shown as JSON that the option accepts, also in the error about another value."""
    item = {
        "type": "object",
        "properties": {"entity": {"type": "string"}, "keys": {"type": "array"}, "odd": {}},
        "required": ["entity", "keys"],
    }
    files = Option("files", {"type": ["array", "null"], "items": item})
    assert files.sample == '[{"entity": "…", "keys": ["a", "b"]}]'
    assert files.read(files.sample)
    with pytest.raises(SetupError) as caught:
        files.read("x")
    assert caught.value.hint == f"Write it as JSON, such as 'files={files.sample}'"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[{"entity": "a"}]', r"^files\[0\] has no path\.$"),
        ('[{"entity": "a", "path": "b"}, {"entity": 1, "path": "b"}]', r"^files\[1\]\.entity is of another kind; allowed is string\.$"),
        ('{"entity": "a"}', r"allowed is array"),
    ],
)
def test_a_nested_value_is_checked(text: str, says: str) -> None:
    """What the schema of a list or an object does not allow is refused, with the place in it."""
    item = {"type": "object", "properties": {"entity": {"type": "string"}, "path": {"type": "string"}}, "required": ["entity", "path"]}
    files = Option("files", {"type": ["array", "null"], "items": item})
    assert [(part.name, part.needed) for part in files.parts] == [("entity", True), ("path", True)]
    assert files.read('[{"entity": "a", "path": "b", "more": 1}]')
    with pytest.raises(SetupError) as caught:
        files.read(text)
    assert re.search(says, caught.value.problem)


def test_a_list_of_texts_may_be_typed_without_json() -> None:
    """A list of texts is typed as ``a,b`` or as JSON."""
    schemas = Option("schemas", {"type": ["array", "null"], "items": {"type": "string"}})
    assert schemas.read("public, sales") == schemas.read('["public", "sales"]') == ["public", "sales"]


def test_a_variable_of_a_typed_setting_is_its_value() -> None:
    """``${NAME}`` is filled in as a text: a number or a flag is written into the config itself, a secret never."""
    variables = {"ROWS": "100", "META": "False", "ODD": "many", "PIN": "1234"}
    rows, meta = Option("rows", {"type": ["integer", "null"]}), Option("meta", {"type": "boolean"})
    assert literal(rows, "${ROWS}", variables) == 100
    assert literal(meta, "${META}", variables) is False
    assert [item.name for item in all_of(ABOUT)] == ["page_size", "stream_maps", "auth_token", "mode", "owner"]
    assert literal(rows, "${ODD}", variables) == "${ODD}"
    assert literal(rows, "${UNSET}", variables) == "${UNSET}"
    assert literal(rows, "a ${ROWS}", variables) == "a ${ROWS}"
    assert literal(Option("pin", {"type": "integer", "secret": True}), "${PIN}", variables) == "${PIN}"
    assert literal(Option("text", {"type": ["string", "integer"]}), "${ROWS}", variables) == "${ROWS}"


@pytest.mark.parametrize("odd", [1, "x", [1], {"a": 1}, None, True])
@pytest.mark.parametrize("key", ["type", "enum", "anyOf", "items", "properties", "default", "description", "secret", "format"])
def test_schemas_that_are_odd(key: str, odd: Any) -> None:
    """A setting with any schema can be shown, read and hidden."""
    (option,) = from_about({"settings": {"properties": {"api_key": {key: odd}}, "required": odd}})
    assert isinstance(option.kinds, set)
    assert isinstance(option.description, str)
    with suppress(SetupError):
        hide(option, option.read("x"), "tap-x")
    hide(option, {"a": [{"b": "c"}]}, "tap-x")


@pytest.mark.parametrize("about", [{}, {"settings": None}, {"settings": []}, {"settings": {"properties": {"a": True}, "required": None}}])
def test_about_that_says_little(about: dict[str, Any]) -> None:
    """Any output of a program about itself is accepted."""
    assert [item.name for item in from_about(about)] == (["a"] if about.get("settings") else [])


def test_readme() -> None:
    """The sample of a config is found in a README, in a shell command and with comments, and messages are not taken for one."""
    assert {item.name: item.example for item in from_readme(README)} == {"client_id": "x", "api_key": "YOUR-KEY", "page_size": 50}
    assert from_readme("No sample.\n\n```json\n{\n```\n") == []
    fenced = '```json\n{"args": {"a": {}}}\n```\nThe config:\n```\n{"url": "http://x//y, ]"}\n```\n'
    assert [item.example for item in from_readme(fenced)] == ["http://x//y, ]"]


def test_what_a_tap_misses() -> None:
    """The keys that a tap of the older kind misses come first, with what the README shows of them."""
    refusal = "CRITICAL Config is missing required keys: ['api_key', 'start_date']\nTraceback"
    options = needed(from_readme(README), refusal)
    assert [(item.name, item.needed, item.example) for item in options] == [
        ("api_key", True, "YOUR-KEY"),
        ("start_date", True, None),
        ("client_id", False, "x"),
        ("page_size", False, 50),
    ]
    assert needed([], "Something else") == []


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        ({"type": "integer"}, "5", 5),
        ({"type": "number"}, "5", 5),
        ({"type": ["boolean", "null"]}, "true", True),
        ({"type": "array"}, '["a"]', ["a"]),
        ({"type": "object"}, '{"a": 1}', {"a": 1}),
        ({"type": ["string", "integer"]}, "5", "5"),
        ({"anyOf": [{"type": "array"}, {"type": "null"}]}, "[]", []),
        ({"type": "string", "enum": ["a", "b"]}, "a", "a"),
        ({}, "5", 5),
        ({}, "a b", "a b"),
        ({"secret": True}, "5", "5"),
    ],
)
def test_typed_values(schema: dict[str, Any], text: str, value: object) -> None:
    """What is typed becomes what the connector expects."""
    assert Option("x", schema).read(text) == value


@pytest.mark.parametrize(
    ("schema", "text"),
    [({"type": "integer"}, "x"), ({"type": "integer"}, "true"), ({"type": "array"}, "a,b"), ({"type": "string", "enum": ["a"]}, "b")],
)
def test_values_that_are_not_allowed(schema: dict[str, Any], text: str) -> None:
    """What the connector cannot take is refused with what it takes."""
    with pytest.raises(SetupError) as caught:
        Option("x", schema).read(text)
    assert caught.value.code == "E-SETTING"
    assert "allowed is" in caught.value.problem


def test_a_setting_that_is_not_known() -> None:
    """Where all settings are known, another one is a mistake; where they are not, it is taken."""
    with pytest.raises(SetupError, match='Did you mean "page_size"'):
        option(from_about(ABOUT), "pagesize", complete=True)
    assert option(from_about(ABOUT), "stream_maps", complete=True).name == "stream_maps"
    assert option([], "pagesize", complete=False).name == "pagesize"


def test_secrets_are_taken_out_wherever_they_are() -> None:
    """A secret within a value becomes a variable, named by its place; what is one already stays."""
    value = {"user": "u", "password": "p", "hosts": [{"api_key": "k"}], "token": "${MINE}", "pages": 3, "secret": "", "pass_key": True}
    config, secrets = hide(Option("db"), value, "tap-x")
    assert secrets == {"TAP_X_DB_PASSWORD": "p", "TAP_X_DB_HOSTS_0_API_KEY": "k"}
    assert config == {**value, "password": "${TAP_X_DB_PASSWORD}", "hosts": [{"api_key": "${TAP_X_DB_HOSTS_0_API_KEY}"}]}
    assert hide(Option("url"), "db://u:p@host/x", "tap-x") == ("${TAP_X_URL}", {"TAP_X_URL": "db://u:p@host/x"})
    assert hide(Option("password"), 1234, "tap-x") == ("${TAP_X_PASSWORD}", {"TAP_X_PASSWORD": "1234"})
    assert hide(Option("private_key"), "~/.ssh/id", "tap-x") == ("~/.ssh/id", {})
    assert hide(Option("key", {"properties": {"id": {"secret": True}}}), {"id": "i"}, "tap-x")[1] == {"TAP_X_KEY_ID": "i"}


def test_variables_are_named_as_in_meltano() -> None:
    """The variable of a secret has the connector's and the setting's name."""
    assert variable("tap-github", "auth_token") == "TAP_GITHUB_AUTH_TOKEN"
    assert variable("3pl", "api.key") == "_3PL_API_KEY"


SECRETS = ("password", "auth_token", "apiKey", "API_KEY", "client_secret", "aws_secret_access_key", "token", "privateKey")
NO_SECRETS = ("user", "client_id", "token_url", "auth_method", "key", "primary_key", "keys", "page_token_path", "author")


@pytest.mark.parametrize("key", [*SECRETS, *NO_SECRETS])
def test_names_of_secrets(key: str) -> None:
    """Secrets are known by their names if nothing else marks them."""
    assert Option(key).secret is (key in SECRETS)
    assert Option(key, {"type": ["string", "null"]}).secret is (key in SECRETS)
    assert not Option(key, {"type": ["integer", "null"]}).secret


def test_expressions_of_a_stream_map_are_no_secrets() -> None:
    """A hashed token is an expression, even if its field is called a token; the salt beside it is a secret."""
    maps = {"users": {"api_token": "md5(api_token)"}}
    assert hide(Option("stream_maps"), maps, "map-x") == (maps, {})
    refuse_typed_secrets({"stream_maps": maps}, "map-x", shown="config.json")
    with pytest.raises(SetupError, match=r"stream_map_config\.api_token"):
        refuse_typed_secrets({"stream_map_config": {"api_token": "abc"}}, "map-x", shown="config.json")


@pytest.mark.parametrize(
    ("program", "capabilities", "kind"),
    [
        ("meltano-map-transform", {"stream-maps"}, "mapper"),
        ("transform-field", {"catalog"}, "mapper"),
        ("map-gpt-embeddings", set(), "mapper"),
        ("target-mapped", {"stream-maps"}, "target"),
        ("target-postgres", {"discover", "catalog", "state"}, "target"),
        ("tap-maps", {"catalog"}, "tap"),
        ("map-tap", {"discover"}, "tap"),
        ("shop", set(), "target"),
    ],
)
def test_the_kind_of_a_program(program: str, capabilities: set[str], kind: str) -> None:
    """Only the name distinguishes a mapper from a target; a program that discovers is a tap, unless it is called a target."""
    assert kind_of(program, frozenset(capabilities)) == kind
