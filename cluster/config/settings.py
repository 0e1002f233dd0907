"""What a user may choose: one flat namespace of scalars, ``singer.<key>``.

They come from Invoke's own configuration (these defaults, then ``invoke.yaml``, then ``INVOKE_SINGER_<KEY>``), between the
last two from the file of the environment that was chosen, and are parsed strictly here, because Invoke turns the text
``false`` into True. The table for users is ``docs/settings.md``.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cluster.config.strict import describe, listed, nearest, read_yaml
from cluster.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).resolve().parents[2]
LAPTOP = "laptop"
"""The environment that needs no file: what the checkout is without one."""
ENVIRONMENTS = "environments"
"""The folder of the others' files, one for each."""
VARIABLE = "INVOKE_SINGER_"
PORTS = range(1024, 65001)
BUCKET_NAME = r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
BUCKET = BUCKET_NAME + r"(/[A-Za-z0-9][A-Za-z0-9._=-]*)*"
BUCKETS = ("bucket_configs", "bucket_artifacts", "bucket_outputs")
PAGES = r"|https?://[^\s/?#@]+(/[^\s?#]*)?"
ROLE = r"|arn:[a-z-]+:iam::\d{12}:role/[\w+=,.@/-]+"
REGISTRY = r"|[a-z0-9.-]+(:\d+)?(/[a-z0-9._-]+)*"
LABEL = r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?"
OBJECT = r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?"
QUANTITY = r"\d+(\.\d+)?(m|[kKMGT]i?)?"
RESOURCES = rf"|(cpu|memory)={QUANTITY}(,(cpu|memory)={QUANTITY})?"
CHOICES = {
    "engine": ("auto", "local", "argo"),
    "local_store": ("folder", "s3"),
    "provider": ("kind", "minikube", "existing"),
    "runtime": ("auto", "docker", "podman", "nerdctl"),
    "argo": ("install", "use"),
    "store": ("install", "use"),
    "s3_credentials": ("keys", "secret", "identity"),
    "argo_events": ("none", "use"),
    "network_policies": ("false", "true"),
    "initless_pods": ("auto", "false", "true"),
}
"""Settings that are one of a few words."""
FORMS = {
    "s3_secret": (OBJECT, "the name of a Secret"),
    "s3_role": (ROLE, "a role such as arn:aws:iam::123456789012:role/singer"),
    "argo_url": (PAGES, "an address such as https://argo.example.com"),
    "hub_url": (PAGES, "the address of a Meltano Hub such as https://hub.meltano.com, or nothing"),
    "registry": (REGISTRY, "a registry and path such as registry.example.com/data"),
    "pull_secret": (f"|{OBJECT}", "the name of a Secret"),
    "image_platform": (r"|linux/[a-z0-9]+", "a platform such as linux/arm64"),
    "resources": (RESOURCES, "quantities such as cpu=100m,memory=512Mi"),
}
"""Settings that have a form, and what people are told of it."""


IMAGES = {
    "node": "docker.io/kindest/node:v1.37.0@sha256:a1ed56cfb0e7b93589bdf97c8cd566405a265939e3620fc4f5de89adff580ae5",
    "controller": "quay.io/argoproj/workflow-controller:v4.1.2",
    "executor": "quay.io/argoproj/argoexec:v4.1.2",
    "server": "quay.io/argoproj/argocli:v4.1.2",
    "minio": "quay.io/minio/minio:RELEASE.2025-09-07T16-13-09Z",
    "python": "docker.io/library/python:3.13-slim-bookworm",
}
"""What runs, and what our images are built from. The node's digest is the one that kind 0.33.0 names (its defaults/image.go)."""


@dataclass(frozen=True)
class Settings:
    """The choices in force. ``root`` is the checkout; everything we write lies below it.

    Every other field is a setting with its default. Texts only: Invoke casts what comes from the environment to the
    type of the default.
    """

    root: Path = ROOT
    env: str = LAPTOP
    engine: str = "auto"
    local_store: str = "folder"
    provider: str = "kind"
    context: str = ""
    runtime: str = "auto"
    cluster: str = "singer"
    namespace: str = "argo"
    instance: str = ""
    argo: str = "install"
    argo_url: str = ""
    store: str = "install"
    s3_endpoint: str = ""
    s3_region: str = "us-east-1"
    s3_credentials: str = "keys"
    s3_secret: str = "argo-artifacts"  # noqa: S105 - its name
    s3_role: str = ""
    bucket_configs: str = "singer-configs"
    bucket_artifacts: str = "artifacts"
    bucket_outputs: str = "target-csv-output"
    images: str = ""
    mirror: str = ""
    registry: str = ""
    pull_secret: str = ""
    image_platform: str = ""
    resources: str = ""
    port_argo: str = "2746"
    port_s3: str = "9000"
    port_console: str = "9001"
    argo_events: str = "none"
    network_policies: str = "false"
    initless_pods: str = "auto"
    proxy: str = ""
    ca_bundle: str = ""
    hub_url: str = "https://hub.meltano.com"

    @property
    def local(self) -> Path:
        """The folder of everything that can be made again or belongs to the local engine."""
        return self.root / ".local"

    @property
    def platform(self) -> Path:
        """The folder of what is remembered of the platform: each environment but the laptop has one of its own."""
        return self.local if self.env == LAPTOP else self.local / "platforms" / self.env

    @property
    def configs(self) -> Path:
        """The user's folder: pipelines and connectors."""
        return self.root / "singer-configs"

    def image(self, name: str) -> str:
        """Return one of ``IMAGES``, replaced by ``singer.images`` or from the mirror that ``singer.mirror`` names."""
        chosen = pairs(self.images).get(name)
        if chosen:
            return chosen
        registry, _, rest = IMAGES[name].partition("/")
        return f"{pairs(self.mirror).get(registry, registry)}/{rest}"

    @property
    def ports(self) -> dict[str, int]:
        """The preferred ports on 127.0.0.1."""
        return {"port_argo": int(self.port_argo), "port_s3": int(self.port_s3), "port_console": int(self.port_console)}

    @property
    def output(self) -> Path:
        """Where people find the files of their runs."""
        return self.root / "output" if self.env == LAPTOP else self.root / "output" / self.env


DEFAULTS: dict[str, str] = {field.name: field.default for field in fields(Settings) if isinstance(field.default, str)}
"""Every key with its default."""


def parse(given: Mapping[str, object], environ: Mapping[str, str], *, env: str = "", root: Path = ROOT) -> Settings:
    """Check what Invoke's configuration holds under ``singer``, and what the file of the environment *env*, or that of the settings, says.

    :raises SetupError: E-SETTING, an unknown key or a value that is not allowed; E-CONFIG, the file is not YAML.
    """
    _only_known(given, environ)
    env = env or _text("env", given.get("env", LAPTOP))
    found = _environment(env, root)
    said = {key: value for key, value in found.items() if VARIABLE + key.upper() not in environ}
    with _said_in(env):
        return _checked({**given, **said, "env": env}, root)


def _environment(env: str, root: Path) -> dict[str, object]:
    """Read the file of an environment: settings, as in ``invoke.yaml``, of a cluster that is there already.

    :raises SetupError: E-SETTING, there is none of that name, or a key in it is not a setting.
    """
    folder = root / ENVIRONMENTS
    names = sorted(file.stem for file in folder.glob("*.yaml"))
    if env == LAPTOP:
        if LAPTOP in names:
            raise SetupError(
                "E-SETTING",
                f"{ENVIRONMENTS}/{LAPTOP}.yaml is not read: the settings of the laptop are in invoke.yaml.",
                hint="Move them there, or give the file another name.",
            )
        return {}
    shown = f"{ENVIRONMENTS}/{env}.yaml"
    if env not in names or not re.fullmatch(LABEL, env):
        raise SetupError(
            "E-SETTING",
            f"There is no environment {describe(env)}.{nearest(env, [LAPTOP, *names])} Environments are {listed([LAPTOP, *names])}.",
            hint=f"Name one of these, or write {ENVIRONMENTS}/NAME.yaml; docs/company.md shows one.",
        )
    found = read_yaml(folder / f"{env}.yaml", shown)
    known = [key for key in DEFAULTS if key != "env"]
    with _said_in(env):
        if not isinstance(found, dict):
            raise _refused(shown, f"holds {describe(found)}; allowed is a mapping of settings to texts")
        for key in found:
            if key not in known:
                raise _refused(f"{shown}: {key}", f"is not a setting of an environment.{nearest(key, known)} Settings are {listed(known)}")
    return {"provider": "existing", "context": "", **found}


@contextmanager
def _said_in(env: str) -> Iterator[None]:
    """Let a refusal name the environment's file too."""
    try:
        yield
    except SetupError as error:
        if env != LAPTOP:
            error.hint = f"Correct it in {ENVIRONMENTS}/{env}.yaml, invoke.yaml or the variable that says so; docs/settings.md lists all."
        raise


def _checked(given: Mapping[str, object], root: Path) -> Settings:
    """Return the settings that are *given*.

    :raises SetupError: E-SETTING, a value is not allowed.
    """
    texts = {key: _text(key, given.get(key, default)) for key, default in DEFAULTS.items()}
    for key, allowed in CHOICES.items():
        if texts[key] not in allowed:
            refusal = f"is {describe(texts[key])}; allowed is one of {listed(allowed)}.{nearest(texts[key], allowed)}"
            raise _refused(f"singer.{key}", refusal)
    for key, (form, told) in FORMS.items():
        if not re.fullmatch(form, texts[key]):
            raise _refused(f"singer.{key}", f"is {describe(texts[key])}; allowed is {told}")
    _check_buckets(texts)
    _check_environment(texts)
    _check_platform(texts)
    _check_store(texts)
    if texts["proxy"] and not _is_proxy(texts["proxy"]):  # its value may hold a password, and is not shown
        raise _refused("singer.proxy", "is not the address of a proxy; allowed is one such as http://proxy.example.com:3128")
    return Settings(root=root, **texts)


def _text(key: str, value: object) -> str:
    """Return a value as a text: in YAML a port may be a number, and a switch true or false."""
    if isinstance(value, bool) and "true" in CHOICES.get(key, ()):
        return str(value).lower()
    if isinstance(value, int) and not isinstance(value, bool) and key.startswith("port_"):
        return str(value)
    if not isinstance(value, str):
        raise _refused(f"singer.{key}", f"is {describe(value)}; allowed is a text")
    return value.strip()


def _is_address(text: str) -> bool:
    try:
        url = urlsplit(text)
    except ValueError:
        return False
    return url.scheme in {"http", "https"} and bool(url.hostname) and not (url.path.strip("/") or url.query or url.username)


def _is_proxy(text: str) -> bool:
    try:
        url = urlsplit(text if "://" in text else f"http://{text}")
        return (
            url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0 and not (url.path.strip("/") or re.search(r"\s", text))
        )
    except ValueError:
        return False


def pairs(text: str) -> dict[str, str]:
    """Read ``name=value,name=value``."""
    return {name.strip(): value.strip() for name, _, value in (part.partition("=") for part in text.split(",") if part.strip())}


def _check_environment(texts: Mapping[str, str]) -> None:
    """Check that an environment says where it is: none but the laptop's is made by us, or taken to be the user's current one."""
    if texts["env"] == LAPTOP:
        return
    if texts["provider"] != "existing":
        refusal = f"is {describe(texts['provider'])}; the environment {texts['env']} is a cluster that is there already: existing"
        raise _refused("singer.provider", refusal)
    if not texts["context"]:
        raise _refused("singer.context", f"is missing; the environment {texts['env']} names the context of your kubeconfig that it is in")


def _check_buckets(texts: Mapping[str, str]) -> None:
    """Check the buckets: each is one, or a folder of one; none lies within another, where keys of theirs could be alike."""
    for key in BUCKETS:
        if not re.fullmatch(BUCKET, texts[key]):
            allowed = "a bucket name (small letters, digits, dots and hyphens), or one with folders in it such as lake/singer/configs"
            raise _refused(f"singer.{key}", f"is {describe(texts[key])}; allowed is {allowed}")
        for other in BUCKETS:
            if key != other and f"{texts[key]}/".startswith(f"{texts[other]}/"):
                raise _refused(f"singer.{key}", f"is {describe(texts[key])}; it lies within singer.{other}, {describe(texts[other])}")


def _check_store(texts: Mapping[str, str]) -> None:
    """Check how S3 is reached, and what opens it."""
    if (texts["local_store"] == "s3" or texts["store"] == "use") and not _is_address(texts["s3_endpoint"]):
        raise _refused("singer.s3_endpoint", f"is {describe(texts['s3_endpoint'])}; allowed is an address such as http://127.0.0.1:9000")
    if texts["store"] == "use" and (urlsplit(texts["s3_endpoint"]).hostname or "").startswith(("127.", "localhost", "::1")):
        raise _refused("singer.s3_endpoint", f"is {describe(texts['s3_endpoint'])}; with store: use it is an address that pods reach too")
    for key in ("s3_credentials", "s3_secret", "s3_role"):
        if texts["store"] != "use" and texts[key] != DEFAULTS[key]:
            raise _refused(f"singer.{key}", f"is {describe(texts[key])}; it is for an S3 that is there: store: use")
    if texts["s3_role"] and texts["s3_credentials"] != "identity":
        raise _refused("singer.s3_role", f"is {describe(texts['s3_role'])}; it is for s3_credentials: identity")


def _check_platform(texts: Mapping[str, str]) -> None:
    """Check what only the platform needs."""
    for key in ("cluster", "namespace", "instance"):
        if not re.fullmatch(LABEL, texts[key]) and texts[key] != DEFAULTS[key]:
            raise _refused(f"singer.{key}", f"is {describe(texts[key])}; allowed are small letters, digits and hyphens, at most 40")
    for key in ("port_argo", "port_s3", "port_console"):
        if not texts[key].isdecimal() or int(texts[key]) not in PORTS:
            raise _refused(f"singer.{key}", f"is {describe(texts[key])}; allowed is a port from {PORTS[0]} to {PORTS[-1]}")
    if texts["image_platform"] and texts["provider"] != "existing":
        refusal = f"is {describe(texts['image_platform'])}; it is for a cluster that is there: provider: existing"
        raise _refused("singer.image_platform", refusal)
    _check_images(texts)


def _check_images(texts: Mapping[str, str]) -> None:
    """Check where images come from."""
    for key, known in (("images", IMAGES), ("mirror", None)):
        for name, value in pairs(texts[key]).items():
            if not value or not name or (known is not None and name not in known):
                allowed = f"one of {listed(known)}" if known is not None else "a registry such as quay.io"
                raise _refused(f"singer.{key}", f"has {describe(name)}; allowed is {allowed}, = and its replacement")
    for name, value in pairs(texts["mirror"]).items():
        if not re.fullmatch(REGISTRY, value, re.IGNORECASE):
            raise _refused(
                "singer.mirror", f"has {describe(value)} for {name}; allowed is a host and path, as in registry.example.com/quay"
            )


def _only_known(given: Mapping[str, object], environ: Mapping[str, str]) -> None:
    for key in given:
        if key not in DEFAULTS:
            raise _refused(f"singer.{key}", f"is not a setting.{nearest(key, DEFAULTS)} Settings are {listed(DEFAULTS)}")
    for name in environ:
        if name.startswith(VARIABLE) and name.removeprefix(VARIABLE).lower() not in DEFAULTS:
            raise _refused(name, f"is not a setting.{nearest(name, [VARIABLE + key.upper() for key in DEFAULTS])}")


def _refused(name: str, what: str) -> SetupError:
    return SetupError(
        "E-SETTING",
        f"{name} {what}" + ("" if what.endswith(("?", ".")) else "."),
        hint="Correct it in invoke.yaml or in the environment; docs/settings.md lists all.",
    )
