"""Connectors in a ``meltano.yml``: what is taken over, and what is reported as left out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from cluster.errors import SetupError
from cluster.onboarding.meltano import read
from cluster.onboarding.selection import Choice

if TYPE_CHECKING:
    from pathlib import Path

FILE = r"""
version: 1
environments:
- name: prod
  config: {plugins: {extractors: [{name: tap-shop, config: {start_date: '2025-01-01'}}]}}
- name: dev
plugins:
  extractors:
  - name: tap-shop
    variant: acme
    pip_url: tap-shop==1.0 pytz --no-build-isolation
    executable: shop
    python: python3.12
    config:
      start_date: 2024-01-01
      token: $SHOP_TOKEN
      password: p4ss
      folder: ${MELTANO_PROJECT_ROOT}/data
      mode: $MELTANO_ENVIRONMENT
      price: \$HOME
      oauth.client_secret: s3cret
      oauth: {scope: all}
    select: ["orders.*", "!orders.note"]
    metadata: {orders: {replication-method: INCREMENTAL, view-key: x}}
    load_schema: raw
    use_cached_catalog: false
  - name: tap-shop--old
    inherit_from: tap-shop
    config: {start_date: 2020-01-01}
    select: ["*.*"]
  - name: tap-hub
    variant: meltanolabs
  - name: tap-nowhere
  - name: tap-folder
    pip_url: -e extract/tap-folder
  loaders:
  - name: target_files
    pip_url: target-files
schedules:
- {name: nightly, extractor: tap-shop, loader: target_files, interval: '@daily'}
"""
HUB = {
    "pip_url": "git+https://example.org/tap-hub.git",
    "executable": "tap-hub",
    "settings": [
        {"name": "pin", "sensitive": True},
        {"name": "pages", "kind": "integer"},
        {"name": "deep.list", "kind": "array"},
        {"name": "unset"},
    ],
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a ``meltano.yml`` with what Meltano keeps beside it."""
    (tmp_path / "meltano.yml").write_text(FILE)
    (tmp_path / ".env").write_text("SHOP_TOKEN=t0ken\nTAP_HUB_PIN=1234\nTAP_HUB_PAGES=5\nTAP_HUB_DEEP_LIST='[1]'\n")
    lock = tmp_path / "plugins" / "extractors" / "tap-hub--meltanolabs.lock"
    lock.parent.mkdir(parents=True)
    lock.write_text(json.dumps(HUB))
    return tmp_path / "meltano.yml"


def test_what_is_taken_over(file: Path) -> None:
    """Package, program, Python, config and selection are as in Meltano; secrets are variables."""
    plugin = read(file, "tap-shop")
    assert (plugin.kind, plugin.pip_url, plugin.executable, plugin.python) == ("tap", "tap-shop==1.0 pytz", "shop", "3.12")
    assert plugin.config == {
        "start_date": "2024-01-01",
        "token": "${SHOP_TOKEN}",
        "password": "${TAP_SHOP_PASSWORD}",
        "folder": f"{file.parent}/data",
        "price": "$HOME",
        "oauth": {"client_secret": "${TAP_SHOP_OAUTH_CLIENT_SECRET}", "scope": "all"},
    }
    assert plugin.secrets == {"SHOP_TOKEN": "t0ken", "TAP_SHOP_PASSWORD": "p4ss", "TAP_SHOP_OAUTH_CLIENT_SECRET": "s3cret"}
    assert plugin.choice == Choice(nothing=True, streams=("orders",), exclude=("orders.note",), methods=("orders=INCREMENTAL",))
    assert plugin.choice.options() == "--none --stream orders --exclude orders.note --replication orders=INCREMENTAL"


def test_what_is_not_is_named(file: Path) -> None:
    """A setting that we do not have is reported by the name that it has there."""
    assert read(file, "tap-shop").left == [
        "pip_url (--no-build-isolation)",
        "config.mode ($MELTANO_ENVIRONMENT)",
        "metadata.orders.view-key",
        "load_schema",
        "use_cached_catalog",
        "environments.prod",
        "schedules.nightly",
    ]


def test_inheritance(file: Path) -> None:
    """A plugin that inherits has what the other one has, except for what it sets itself."""
    plugin = read(file, "tap-shop--old")
    assert (plugin.pip_url, plugin.executable) == ("tap-shop==1.0 pytz", "shop")
    assert (plugin.config["start_date"], plugin.config["token"]) == ("2020-01-01", "${SHOP_TOKEN}")
    assert plugin.choice.streams == ("*",)
    assert plugin.choice.options() == "--none --stream '*' --replication orders=INCREMENTAL"


def test_what_meltano_has_locked(file: Path) -> None:
    """Of a plugin of Meltano's hub the package stands beside the file, and its settings in Meltano's environment file."""
    plugin = read(file, "tap-hub")
    assert (plugin.pip_url, plugin.executable) == (HUB["pip_url"], "tap-hub")
    assert plugin.config == {"pin": "${TAP_HUB_PIN}", "pages": 5, "deep": {"list": [1]}}
    assert plugin.secrets == {"TAP_HUB_PIN": "1234"}


def test_typed_variables_and_keys_of_several_lines(tmp_path: Path) -> None:
    """A variable that is all of a typed setting becomes a number or a flag; a key keeps its line breaks."""
    (tmp_path / "meltano.yml").write_text("""
plugins:
  loaders:
  - name: target-x
    pip_url: target-x
    settings:
    - {name: rows, kind: integer}
    - {name: meta, kind: boolean}
    - {name: pin, kind: integer, sensitive: true}
    - {name: key, kind: password}
    - {name: unset, kind: integer}
    config: {rows: $ROWS, meta: "${META}", pin: $PIN, key: $KEY, unset: $UNSET, text: $ROWS}
""")
    pem = "-----BEGIN KEY-----\nMIIE\n-----END KEY-----"
    escaped = pem.replace("\n", "\\n")
    (tmp_path / ".env").write_text(f'ROWS=100\nMETA=False\nPIN=1234\nKEY="{escaped}"\n')
    plugin = read(tmp_path / "meltano.yml", "target-x")
    assert plugin.config == {"rows": 100, "meta": False, "pin": "${PIN}", "key": "${KEY}", "unset": "${UNSET}", "text": "${ROWS}"}
    assert plugin.secrets == {"PIN": "1234", "KEY": pem, "ROWS": "100"}


def test_names(file: Path) -> None:
    """A name that we could not have is found by the one that we can; an unknown one is answered with the nearest."""
    assert (read(file, "target-files").kind, read(file, "target-files").name) == ("target", "target_files")
    with pytest.raises(SetupError, match='Did you mean "tap-shop"'):
        read(file, "tap-shp")
    file.write_text("plugins: {loaders: [{name: target-only, pip_url: x}]}")
    assert read(file, "another-name").name == "target-only"


def test_nothing_to_install(file: Path) -> None:
    """An entry without a package to install, or with a folder of that project, leaves it open."""
    assert read(file, "tap-nowhere").pip_url == ""
    assert read(file, "tap-folder").pip_url == ""
    assert "extract/tap-folder" in " ".join(read(file, "tap-folder").left)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "plugins: []", "plugins: {extractors: {}}", "plugins: {extractors: [tap-a]}", "plugins:\n  loaders:\n", "a: {b"],
)
def test_what_is_no_meltano_project(tmp_path: Path, text: str) -> None:
    """A file that is something else is refused with a sentence."""
    file = tmp_path / "meltano.yml"
    file.write_text(text)
    with pytest.raises(SetupError) as caught:
        read(file, "tap-a")
    assert caught.value.code == "E-CONFIG"


@pytest.mark.parametrize("odd", ["1", "x", "[1]", "{a: {b: 1}}", "null", "true"])
def test_values_of_other_types(tmp_path: Path, odd: str) -> None:
    """Values of a wrong type break nothing."""
    file = tmp_path / "meltano.yml"
    for key in ("config", "settings", "select", "metadata", "python", "executable", "variant", "inherit_from", "capabilities"):
        file.write_text(f"environments: {odd}\nschedules: {odd}\nplugins: {{extractors: [{{name: tap-a, pip_url: x, {key}: {odd}}}]}}")
        assert read(file, "tap-a").name == "tap-a"


def test_a_mapper_with_one_mapping(tmp_path: Path) -> None:
    """The config of its one mapping is taken over; of several none is, and they are named."""
    mapping = "{name: hide, config: {stream_maps: {users: {token: md5(token)}}}}"
    file = tmp_path / "meltano.yml"
    text = "plugins: {mappers: [{name: meltano-map-transformer, pip_url: meltano-map-transform, mappings: [%s]}]}\n"
    file.write_text(text % mapping, encoding="utf-8")
    plugin = read(file, "map-users")
    assert (plugin.kind, plugin.config, plugin.secrets) == ("mapper", {"stream_maps": {"users": {"token": "md5(token)"}}}, {})
    file.write_text(text % f"{mapping}, {mapping.replace('hide', 'hash')}", encoding="utf-8")
    plugin = read(file, "map-users")
    assert (plugin.config, plugin.left) == ({}, ["mappings (hide, hash): one mapper_config each"])
