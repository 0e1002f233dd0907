"""What a user may choose: one flat namespace of scalars, ``singer.<key>``.

They come from Invoke's own configuration (these defaults, then ``invoke.yaml``, then ``INVOKE_SINGER_<KEY>``) and are
parsed strictly here, because Invoke turns the text ``false`` into True. The table for users is ``docs/settings.md``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cluster.errors import SetupError
from cluster.fields import describe, listed, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[1]
ENGINES = ("auto", "local", "argo")
STORES = ("folder", "s3")
BUCKET = r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"

DEFAULTS = {
    "engine": "auto",
    "store": "folder",
    "s3_endpoint": "",
    "s3_region": "us-east-1",
    "bucket_configs": "singer-configs",
    "bucket_artifacts": "artifacts",
    "bucket_outputs": "target-csv-output",
}
"""Every key with its default. Texts only: Invoke casts what comes from the environment to the type of the default."""


@dataclass(frozen=True)
class Settings:
    """The choices in force. ``root`` is the checkout; everything we write lies below it."""

    root: Path = ROOT
    engine: str = DEFAULTS["engine"]
    store: str = DEFAULTS["store"]
    s3_endpoint: str = DEFAULTS["s3_endpoint"]
    s3_region: str = DEFAULTS["s3_region"]
    bucket_configs: str = DEFAULTS["bucket_configs"]
    bucket_artifacts: str = DEFAULTS["bucket_artifacts"]
    bucket_outputs: str = DEFAULTS["bucket_outputs"]

    @property
    def local(self) -> Path:
        """The folder of everything that can be made again or belongs to the local engine."""
        return self.root / ".local"

    @property
    def configs(self) -> Path:
        """The user's folder: pipelines and connectors."""
        return self.root / "singer-configs"

    @property
    def output(self) -> Path:
        """Where people find the files of their runs."""
        return self.root / "output"


def parse(given: Mapping[str, object], environ: Mapping[str, str], *, root: Path = ROOT) -> Settings:
    """Check what Invoke's configuration holds under ``singer``.

    :raises SetupError: E-SETTING, an unknown key or a value that is not allowed.
    """
    _only_known(given, environ)
    texts = {}
    for key, default in DEFAULTS.items():
        value = given.get(key, default)
        if not isinstance(value, str):
            raise _refused(f"singer.{key}", f"is {describe(value)}; allowed is a text")
        texts[key] = value.strip()
    _one_of("engine", texts["engine"], ENGINES)
    _one_of("store", texts["store"], STORES)
    for key in ("bucket_configs", "bucket_artifacts", "bucket_outputs"):
        if not re.fullmatch(BUCKET, texts[key]):
            raise _refused(f"singer.{key}", f"is {describe(texts[key])}; allowed is a bucket name: small letters, digits, dots and hyphens")
    if texts["store"] == "s3":
        url = urlsplit(texts["s3_endpoint"])
        if url.scheme not in {"http", "https"} or not url.hostname or url.path.strip("/") or url.query or url.username:
            raise _refused(
                "singer.s3_endpoint", f"is {describe(texts['s3_endpoint'])}; allowed is an address such as http://127.0.0.1:9000"
            )
    return Settings(root=root, **texts)


def _only_known(given: Mapping[str, object], environ: Mapping[str, str]) -> None:
    for key in given:
        if key not in DEFAULTS:
            raise _refused(f"singer.{key}", f"is not a setting.{nearest(key, DEFAULTS)} Settings are {listed(DEFAULTS)}")
    prefix = "INVOKE_SINGER_"
    for name in environ:
        if name.startswith(prefix) and name.removeprefix(prefix).lower() not in DEFAULTS:
            raise _refused(name, f"is not a setting.{nearest(name, [prefix + key.upper() for key in DEFAULTS])}")


def _one_of(key: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise _refused(f"singer.{key}", f"is {describe(value)}; allowed is one of {listed(allowed)}.{nearest(value, allowed)}")


def _refused(name: str, what: str) -> SetupError:
    return SetupError(
        "E-SETTING", f"{name} {what.rstrip('.')}.", hint="Correct it in invoke.yaml or in the environment; docs/settings.md lists all."
    )
