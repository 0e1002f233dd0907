"""What a definition of Meltano Hub becomes here."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.errors import SetupError
from cluster.onboarding.definition import Definition, lacking, merged, presets, read, with_login
from cluster.onboarding.hub import Entry
from cluster.onboarding.options import Option, holds, put
from cluster.onboarding.selection import Choice

ENTRY = Entry("tap", "tap-shop", ("example", "other"))


def definition(**keys: Any) -> Definition:
    """Read a definition with these keys."""
    return read(ENTRY, "example", {"pip_url": "tap-shop", **keys})


@pytest.mark.parametrize(
    ("pip_url", "requirements"),
    [
        ("tap-shop", ["tap-shop"]),
        ("tap-shop~=0.8", ["tap-shop~=0.8"]),
        ("git+https://git.example.com/x/tap-shop.git@v1.5", ["git+https://git.example.com/x/tap-shop.git@v1.5"]),
        ("git+https://git.example.com/lib.git@da64 tap-shop", ["tap-shop", "git+https://git.example.com/lib.git@da64"]),
        ("tap-shop @ git+https://example.com/t.git@v1 attrs==18.1.0\n", ["tap-shop @ git+https://example.com/t.git@v1", "attrs==18.1.0"]),
        ("tap-shop attrs ; python_version<'3.9'", ["tap-shop", "attrs ; python_version<3.9"]),
        ("'tap-shop[s3] <2'", ["tap-shop[s3] <2"]),
    ],
)  # fmt: skip
def test_requirements(pip_url: str, requirements: list[str]) -> None:
    """Each requirement is one item, and the connector's own package is the first."""
    assert list(definition(pip_url=pip_url).requirements) == requirements


@pytest.mark.parametrize(
    ("pip_url", "reason"),
    [
        (None, "pip_url is null"),
        ("", 'pip_url is ""'),
        (["tap-shop"], "pip_url is"),
        ("tap-\x1b[31mshop", "pip_url is"),
        ("tap-shop 'unbalanced", "pip_url is"),
        ("--extra-index-url https://example.com tap-shop", "the option --extra-index-url"),
        ("-e git+https://git.example.com/x.git", "the option -e"),
        ("git+https://${TOKEN}@git.example.com/x.git", "needs a variable"),
        ("../../etc/passwd", "the path"),
        ("/tmp/tap-shop", "the path"),
        ("connectors/tap-shop", "the path"),
        ("git+file:///home/somebody/tap", "the path"),
    ],
)
def test_a_package_that_is_not_taken_from_the_hub(pip_url: object, reason: str) -> None:
    """Options, variables and paths of this machine are refused, with another thing to do."""
    with pytest.raises(SetupError, match=reason) as caught:
        definition(pip_url=pip_url)
    assert caught.value.code == "E-HUB"
    assert "--pip-url" in caught.value.hint


def test_fields_that_are_missing_or_odd() -> None:
    """A definition with a package is enough; what is not of the right type is left out."""
    stated = read(ENTRY, "example", {
        "pip_url": "tap-shop", "executable": "../bin/sh", "capabilities": "state", "select": "x", "metadata": [], "docs": "javascript:x",
        "settings": [None, {}, {"name": 3}, {"name": "a b"}, {"name": "key", "label": None}],
        "settings_group_validation": [["key", "gone"], "x", []],
        "supported_python_versions": [3.9, "3.12", None],
    })  # fmt: skip
    assert [option.name for option in stated.options] == ["key"]
    assert (stated.executable, stated.capabilities, stated.groups, stated.choice, stated.page) == (
        "",
        frozenset(),
        (("key",),),
        Choice(),
        "",
    )
    assert stated.pythons == ("3.9", "3.12")


def test_settings_in_the_words_of_the_hub() -> None:
    """Kind, label, description, default, choices and secrets become what questions and checks need."""
    settings = [
        {"name": "token", "kind": "password", "label": "API Token", "description": "From your\nprofile"},
        {"name": "session", "kind": "string", "sensitive": True, "value": "x"},
        {"name": "since", "kind": "date_iso8601"},
        {"name": "size", "kind": "integer", "value": "50"},
        {"name": "mode", "kind": "options", "options": [{"value": "fast"}, {"label": "Slow", "value": "slow"}], "value": "fast"},
        {"name": "schema", "kind": "string", "value": "$MELTANO_EXTRACT__LOAD_SCHEMA"},
        {"name": "internal", "kind": "hidden"},
        {"name": "stream_maps", "kind": "object"},
    ]  # fmt: skip
    stated = definition(settings=settings)
    options = {option.name: option for option in stated.options}
    assert list(options) == ["token", "session", "since", "size", "mode", "schema"]
    assert (options["token"].secret, options["token"].label, options["token"].description) == (True, "API Token", "From your profile")
    assert options["session"].secret
    assert (options["size"].default, options["size"].read("7")) == (50, 7)
    assert options["mode"].allowed == ["fast", "slow"]
    assert options["since"].read("2024-01-31T08:00:00Z") == "2024-01-31T08:00:00Z"
    assert stated.presets == {"size": 50, "mode": "fast"}
    for name, text in (("since", "yesterday"), ("size", "many"), ("mode", "medium")):
        with pytest.raises(SetupError, match=f"{name} is"):
            options[name].read(text)


def test_the_program_decides_what_exists() -> None:
    """A program that describes itself has the settings that it lists, in the Hub's words, and parts of these."""
    stated = definition(settings=[
        {"name": "url", "kind": "string", "label": "Address", "description": "Where the shop is", "value": "https://a.example.com"},
        {"name": "page_size", "kind": "integer", "value": 100}, {"name": "s3.bucket", "kind": "string"}, {"name": "gone", "value": 1},
    ], settings_group_validation=[["url"]])  # fmt: skip
    own = [
        Option("page_size", {"type": ["integer", "null"], "default": 100}),
        Option("url", {"type": "string"}),
        Option("s3", {"type": "object"}),
    ]
    options = merged(own, stated, complete=True)
    assert [option.name for option in options] == ["url", "page_size", "s3.bucket", "s3"]
    assert options[0].description == "Where the shop is"
    assert presets(stated, own, options) == {"url": "https://a.example.com"}
    assert [option.name for option in merged([], stated, complete=False)] == ["url", "page_size", "s3.bucket", "gone"]


def test_groups() -> None:
    """What all groups need is required; of the others one group is enough."""
    stated = definition(
        settings=[{"name": name} for name in ("account", "user", "password", "key")],
        settings_group_validation=[["account", "user", "password"], ["account", "key"]],
    )
    options = merged([], stated, complete=False)
    assert [option.name for option in options if option.needed] == ["account"]
    assert lacking(stated, options, {"account": 1}) == [["key"], ["user", "password"]]
    assert lacking(stated, options, {"account": 1, "key": 2}) == []


def test_host_and_user_instead_of_an_address() -> None:
    """If the Hub knows only an address as the one group, host, user and the others are the first group."""
    names = ("sqlalchemy_url", "database", "host", "odd", "password", "port", "user")
    stated = with_login(definition(settings=[{"name": name} for name in names], settings_group_validation=[["sqlalchemy_url"]]), [])
    options = merged([], stated, complete=False)
    assert [option.name for option in options] == ["host", "port", "user", "password", "database", "sqlalchemy_url", "odd"]
    assert lacking(stated, options, {}) == [["host", "port", "user", "password", "database"], ["sqlalchemy_url"]]
    assert lacking(stated, options, {"sqlalchemy_url": "x"}) == []
    other = definition(settings=[{"name": "sqlalchemy_url"}], settings_group_validation=[["sqlalchemy_url"]])
    assert with_login(other, []) is other


def test_defaults_of_the_program_are_not_written() -> None:
    """A value of the Hub that the program assumes itself stays out of the config, also within an object."""
    settings = [{"name": "ssh.port", "kind": "integer", "value": 22}, {"name": "ssh.enable", "kind": "boolean", "value": True}]
    stated = definition(settings=settings)
    own = [Option("ssh", {"type": "object", "properties": {"port": {"default": 22}, "enable": {"default": False}}})]
    assert presets(stated, own, merged(own, stated, complete=True)) == {"ssh.enable": True}


def test_nested_settings() -> None:
    """A setting with a dot is a key within another."""
    config: dict[str, Any] = {"s3": {"region": "eu"}}
    (bucket,) = definition(settings=[{"name": "s3.bucket"}]).options
    assert not holds(config, bucket)
    put(config, bucket, "raw")
    assert config == {"s3": {"region": "eu", "bucket": "raw"}}
    assert holds(config, bucket)
    assert not holds({"s3": 1}, bucket)


def test_selection() -> None:
    """``select`` and ``metadata`` become options of our ``select``; what has no equivalent is named briefly."""
    stated = definition(
        select=["*.*", "!logs_*.*"], metadata={"*": {"replication-method": "FULL_TABLE"}, "ads": {"a": {}, "b": {}, "c": {}, "d": {}}}
    )
    assert stated.choice == Choice(nothing=True, streams=("*",), exclude=("logs_*",), methods=("*=FULL_TABLE",))
    assert stated.left == ("metadata of 4 fields",)
