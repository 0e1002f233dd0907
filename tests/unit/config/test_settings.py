"""What a user may choose, and what is answered to what cannot be chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from checkout import ROOT
from contract_tables import table
from hypothesis import given
from hypothesis import strategies as st

from cluster.config.settings import CHOICES, DEFAULTS, Settings, parse
from cluster.errors import SetupError

if TYPE_CHECKING:
    from pathlib import Path


def refused(values: dict[str, object], environ: dict[str, str] | None = None) -> str:
    """Return the problem that these settings are refused with."""
    with pytest.raises(SetupError) as caught:
        parse(values, environ or {})
    assert caught.value.code == "E-SETTING"
    assert "invoke.yaml" in caught.value.hint
    return caught.value.problem


def test_nothing_has_to_be_chosen(tmp_path: Path) -> None:
    """Without any setting the defaults are in force, and all paths to write to are inside the checkout."""
    settings = parse({}, {}, root=tmp_path)
    assert settings == Settings(root=tmp_path)
    assert parse(dict(DEFAULTS), {}, root=tmp_path) == settings
    assert all(folder.is_relative_to(tmp_path) for folder in (settings.local, settings.configs, settings.output))


def test_values_have_types() -> None:
    """Each value is parsed once: switches are booleans, ports are numbers, and only what differs from the defaults is listed."""
    settings = parse({"port_s3": "9100", "network_policies": "true", "initless_pods": "false", "engine": "auto"}, {})
    assert (settings.port_s3, settings.network_policies, settings.initless_pods, settings.engine) == (9100, True, False, "auto")
    assert settings.changed == {"port_s3": "9100", "network_policies": "true", "initless_pods": "false"}


def test_a_choice_is_kept() -> None:
    """Settings that are allowed are in force, without the space around them."""
    settings = parse(
        {"engine": " local ", "local_store": "s3", "s3_endpoint": "https://s3.example.org:9000/", "bucket_outputs": "my.out-1"}, {}
    )
    assert (settings.engine, settings.local_store, settings.s3_endpoint) == ("local", "s3", "https://s3.example.org:9000/")
    assert (settings.bucket_outputs, settings.bucket_configs) == ("my.out-1", DEFAULTS["bucket_configs"])


@pytest.mark.parametrize("key", list(CHOICES))
@given(word=st.text(max_size=10))
def test_only_known_words(key: str, word: str) -> None:
    """A word that is not allowed is shown with those that are."""
    if word.strip() not in CHOICES[key]:
        assert refused({key: word}).startswith(f"singer.{key} is ")


def test_a_misspelt_word_is_recognised() -> None:
    """A slip of the finger in a word or in a setting's name is answered with what was meant."""
    assert 'allowed is one of auto, local, argo. Did you mean "local"?' in refused({"engine": "lcoal"})
    assert 'Did you mean "engine"?' in refused({"engin": "local"})
    assert 'Did you mean "INVOKE_SINGER_ENGINE"?' in refused({}, {"INVOKE_SINGER_ENGIN": "local"})


@pytest.mark.parametrize("value", ["http://registry.example.com", "two words", "host:port", "[::1"])
def test_a_mirror_is_a_host(value: str) -> None:
    """A mirror is a host, perhaps with a port and a path, and nothing else: it becomes a part of images' names."""
    assert f'has "{value}" for quay.io' in refused({"mirror": f"docker.io=Registry.example.com:5000/Hub,quay.io={value}"})


@pytest.mark.parametrize("values", [{"engine": "lcoal"}, {"engin": "x"}, {"zzz": "x"}, {"engine": True}, {"bucket_configs": "A"}], ids=str)
def test_a_refusal_is_a_sentence(values: dict[str, object]) -> None:
    """A message ends once, with a full stop or a question mark."""
    problem = refused(values)
    assert problem.endswith((".", "?"))
    assert not problem.endswith("?.")
    assert ".." not in problem


def test_other_variables_do_not_matter() -> None:
    """Variables of Invoke and of others are no settings; those of ours are, in any case that Invoke reads."""
    parse({}, {"INVOKE_DEBUG": "1", "SINGER_ENGINE": "x", "INVOKE_SINGERX": "1", "INVOKE_SINGER_ENGINE": "local"})
    assert refused({}, {"INVOKE_SINGER_": "1"}).startswith("INVOKE_SINGER_ is not a setting.")


@pytest.mark.parametrize("value", [True, False, 1, None, ["local"], {"a": 1}], ids=repr)
@pytest.mark.parametrize("key", list(DEFAULTS))
def test_every_setting_is_a_text(key: str, value: object) -> None:
    """What is no text is refused, not guessed at: Invoke turns the text "false" into True."""
    if not (key in {"metrics", "network_policies", "initless_pods", "python_downloads"} and isinstance(value, bool)):
        assert refused({key: value}).startswith(f"singer.{key} is ")


def test_yaml_may_say_it_as_people_write_it() -> None:
    """In invoke.yaml a port may be a number and a switch true or false, or yes or no, which YAML reads as the same."""
    settings = parse({"port_s3": 9100, "network_policies": True, "python_downloads": True}, {})
    assert (settings.ports["port_s3"], settings.network_policies, settings.python_downloads) == (9100, True, "yes")
    assert parse({"python_downloads": False}, {}).python_downloads == "no"


@pytest.mark.parametrize("name", ["", "a", "ab", "Upper", "under_score", "-a-", "a/b", "ä-bucket", "a" * 64, "a b"])
@pytest.mark.parametrize("key", ["bucket_configs", "bucket_artifacts", "bucket_outputs"])
def test_a_bucket_has_a_buckets_name(key: str, name: str) -> None:
    """What S3 would not take as a bucket's name is refused before anything is written."""
    assert refused({key: name}).startswith(f"singer.{key} is ")


ADDRESSES = [
    "",
    "127.0.0.1:9000",
    "ftp://host",
    "http://",
    "http://host/bucket",
    "http://host/?x=1",
    "http://me:secret@host",
    "http://[::1",
    "http://host:port",
    "http://host:99999",
    "http://ho st",
    "http://host#x",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_endpoint_is_an_address(address: str) -> None:
    """With S3 an endpoint that is no plain address is refused; without it does not matter."""
    assert refused({"local_store": "s3", "s3_endpoint": address}).startswith("singer.s3_endpoint is ")
    assert refused({"store": "use", "s3_endpoint": address}).startswith("singer.s3_endpoint is ")
    assert parse({"s3_endpoint": address}, {}).local_store == "folder"


@pytest.mark.parametrize("key", ["s3_endpoint", "argo_url", "hub_url"])
@pytest.mark.parametrize("address", ["https://me:s3cret@host", "https://s3cret@host/x", f"https://me:{'s3cret' * 20}@host"])
def test_the_password_in_an_address_is_not_shown(key: str, address: str) -> None:
    """An address with a user and a password is refused, and the error does not repeat them."""
    assert "s3cret" not in refused({"local_store": "s3", key: address})


def test_every_setting_is_documented() -> None:
    """The table for users lists every setting with its default, and no other."""
    rows = table("## All settings", (ROOT / "docs" / "settings.md").read_text(encoding="utf-8"))
    assert {row[0].strip("`").removeprefix("singer.") for row in rows} == set(DEFAULTS)
    for key, _, default, variable, *_ in rows:
        name = key.strip("`").removeprefix("singer.")
        assert variable == f"`INVOKE_SINGER_{name.upper()}`"
        assert default.startswith(f"`{DEFAULTS[name]}`" if DEFAULTS[name] else ("none", "empty"))


def environment(root: Path, text: str, name: str = "company") -> Path:
    """Write the file of an environment, and return the checkout that it is in."""
    (root / "environments").mkdir(exist_ok=True)
    (root / "environments" / f"{name}.yaml").write_text(text, encoding="utf-8")
    return root


def test_an_environment_goes_over_invoke_yaml_and_below_the_variables(tmp_path: Path) -> None:
    """A setting is the default's, invoke.yaml's, the environment's or the variable's, whichever comes last."""
    root = environment(tmp_path, "context: far\nnamespace: rates\nbucket_outputs: theirs\n")
    values = {"namespace": "mine", "bucket_artifacts": "mine-artifacts", "bucket_outputs": "by-variable"}
    settings = parse(values, {"INVOKE_SINGER_BUCKET_OUTPUTS": "by-variable"}, env="company", root=root)
    assert (settings.env, settings.provider, settings.context) == ("company", "existing", "far")
    assert (settings.namespace, settings.bucket_artifacts, settings.bucket_outputs) == ("rates", "mine-artifacts", "by-variable")
    assert settings.bucket_configs == DEFAULTS["bucket_configs"]
    assert parse({"env": "company"}, {}, root=root).namespace == "rates"
    assert parse({"namespace": "mine"}, {}, root=root).namespace == "mine"


def test_what_is_remembered_of_environments_is_apart(tmp_path: Path) -> None:
    """No two environments share a folder for what is remembered or for files of runs; the laptop's are where they always were."""
    for name in ("company", "trial"):
        environment(tmp_path, "context: far\n", name)
    all_settings = [parse({}, {}, env=name, root=tmp_path) for name in ("laptop", "company", "trial")]
    assert (all_settings[0].platform, all_settings[0].output) == (tmp_path / ".local", tmp_path / "output")
    for folders in ([settings.platform for settings in all_settings], [settings.output for settings in all_settings]):
        assert len(set(folders)) == 3


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("namespace: rates\n", "singer.context is missing"),
        ("context: ''\n", "singer.context is missing"),
        ("context: far\nprovider: kind\n", "singer.provider is"),
        ("context: far\nnamespase: rates\n", 'Did you mean "namespace"?'),
        ("context: far\nenv: other\n", "environments/company.yaml: env is not a setting of an environment"),
        ("context: far\nnetwork_policies: 1\n", "singer.network_policies is 1"),
        ("- context\n", "environments/company.yaml holds"),
        ("", "environments/company.yaml holds null"),
    ],
)
def test_a_mistake_in_an_environment(tmp_path: Path, text: str, problem: str) -> None:
    """An error in an environment's file is reported as one in invoke.yaml is, and names the file."""
    with pytest.raises(SetupError) as caught:
        parse({}, {}, env="company", root=environment(tmp_path, text))
    assert caught.value.code == "E-SETTING"
    assert problem in caught.value.problem
    assert "environments/company.yaml" in caught.value.hint


def test_an_environment_that_is_not_there(tmp_path: Path) -> None:
    """A name that is misspelt or leads out of the folder is refused, and a file for the laptop, and a key that stands twice."""
    root = environment(tmp_path, "context: far\n")
    for name in ("compny", "../environments/company", "company.yaml"):
        with pytest.raises(SetupError, match="There is no environment"):
            parse({}, {}, env=name, root=root)
    with pytest.raises(SetupError, match="stands twice"):
        parse({}, {}, env="company", root=environment(tmp_path, "context: far\ncontext: near\n"))
    with pytest.raises(SetupError, match=r"environments/laptop.yaml is not read"):
        parse({}, {}, root=environment(tmp_path, "context: far\n", "laptop"))
