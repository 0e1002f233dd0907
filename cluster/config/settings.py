"""The settings: one flat namespace of scalars, ``singer.<key>``.

A later source overrides an earlier one: the defaults below, ``invoke.yaml``, the environment's
file, ``INVOKE_SINGER_<KEY>``. Invoke merges all but the environment's file. It would turn the text
``false`` into True, so it gets texts only, and ``parse`` converts them once, strictly.
``docs/settings.md`` has the table for users.
"""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_type_hints
from urllib.parse import urlsplit

from cluster.config.strict import describe, listed, nearest, read_yaml
from cluster.errors import SetupError, raise_all

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

TOOL = Path(__file__).resolve().parents[2]
"""The checkout of this tool: code, manifests and Dockerfiles."""
ROOT = Path(os.environ.pop("SINGER_PROJECT", "") or TOOL).resolve()
"""The project: what a user writes, and what commands write. A project's launcher names it; else it
is the tool's checkout. Programs that we start do not inherit the variable."""
LAPTOP = "laptop"
"""The environment that needs no file."""
ENVIRONMENTS = "environments"
"""The folder with one file for each other environment."""
INVOKE_YAML = frozenset({"debug", "dedupe", "run", "runners", "singer", "sudo", "tasks", "timeouts"})
"""The keys of ``invoke.yaml``: ours, and those of Invoke itself."""
VARIABLE = "INVOKE_SINGER_"
PORTS = range(1024, 65001)
PORT_KEYS = ("port_argo", "port_s3", "port_console")
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
"""Settings that match a pattern, with the words for it in an error."""

ENDPOINT = "scheme, host and port, without user and path, such as http://127.0.0.1:9000"
LOGIN = re.compile(r"(?<=://)[^\s/@]+(@|…)")
"""The user and the password in an address, which may be cut off."""

IMAGES = {
    "node": "docker.io/kindest/node:v1.37.0@sha256:a1ed56cfb0e7b93589bdf97c8cd566405a265939e3620fc4f5de89adff580ae5",
    "controller": "quay.io/argoproj/workflow-controller:v4.1.2",
    "executor": "quay.io/argoproj/argoexec:v4.1.2",
    "server": "quay.io/argoproj/argocli:v4.1.2",
    "minio": "quay.io/minio/minio:RELEASE.2025-09-07T16-13-09Z",
    "python": "docker.io/library/python:3.13-slim-bookworm",
}
"""Images that run, and the base image of ours. kind 0.33.0 names the node's digest."""
DIGESTS = {IMAGES["minio"]: "sha256:14cea493d9a34af32f524e538b8346cf79f3321eff8e708c1e2960462bd8936e"}
"""What a tag must be: MinIO publishes no images any more, so nobody would notice another one.

The digest is that of the list for all platforms. compdemocracy/polis#2809 read it at quay.io on 20
September 2026; chgl/fhir-server-exporter names the same one at docker.io.
"""


@dataclass(frozen=True)
class Settings:
    """The settings in force. Every file that we write is below ``root``: the project."""

    root: Path = ROOT
    tool: Path = TOOL
    env: str = LAPTOP
    engine: Literal["auto", "local", "argo"] = "auto"
    local_store: Literal["folder", "s3"] = "folder"
    provider: Literal["kind", "minikube", "existing"] = "kind"
    context: str = ""
    runtime: Literal["auto", "docker", "podman", "nerdctl"] = "auto"
    cluster: str = "singer"
    namespace: str = "argo"
    instance: str = ""
    argo: Literal["install", "use"] = "install"
    argo_url: str = ""
    store: Literal["install", "use"] = "install"
    s3_endpoint: str = ""
    s3_region: str = "us-east-1"
    s3_credentials: Literal["keys", "secret", "identity"] = "keys"
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
    port_argo: int = 2746
    port_s3: int = 9000
    port_console: int = 9001
    argo_events: Literal["none", "use"] = "none"
    network_policies: bool = False
    metrics: bool = True
    initless_pods: Literal["auto"] | bool = "auto"
    """``auto``: as the version of Kubernetes allows."""
    proxy: str = ""
    ca_bundle: str = ""
    hub_url: str = "https://hub.meltano.com"
    python_downloads: Literal["ask", "yes", "no"] = "ask"
    """Whether uv may download a Python that a connector needs."""

    @property
    def local(self) -> Path:
        """The folder for caches and for the local engine."""
        return self.root / ".local"

    @property
    def platform(self) -> Path:
        """The folder for facts about this environment's platform."""
        return self.local if self.env == LAPTOP else self.local / "platforms" / self.env

    @property
    def configs(self) -> Path:
        """The user's folder: pipelines and connectors."""
        return self.root / "singer-configs"

    @property
    def changed(self) -> dict[str, str]:
        """The settings that differ from their defaults, as texts."""
        texts = {key: _as_text(getattr(self, key)) for key in DEFAULTS}
        return {key: text for key, text in texts.items() if text != DEFAULTS[key]}

    def image(self, name: str) -> str:
        """Return one of ``IMAGES``, as ``singer.images`` or ``singer.mirror`` change it."""
        chosen = pairs(self.images).get(name)
        if chosen:
            return chosen
        registry, _, rest = IMAGES[name].partition("/")
        return f"{pairs(self.mirror).get(registry, registry)}/{rest}"

    @property
    def image_python(self) -> str:
        """The Python of images whose connectors name none; empty if the base does not tell."""
        version = re.search(r":(3\.\d+)\b", self.image("python"))
        return version[1] if version else ""

    @property
    def ports(self) -> dict[str, int]:
        """The preferred ports on 127.0.0.1."""
        return {"port_argo": self.port_argo, "port_s3": self.port_s3, "port_console": self.port_console}

    @property
    def output(self) -> Path:
        """The folder for copies of the runs' files."""
        return self.root / "output" if self.env == LAPTOP else self.root / "output" / self.env


def _as_text(value: object) -> str:
    """Return a value as its setting's text: ``true``, ``9000``, ``auto``."""
    return str(value).lower() if isinstance(value, bool) else str(value)


DEFAULTS = {field.name: _as_text(field.default) for field in fields(Settings) if field.name not in {"root", "tool"}}
"""Every key with its default as a text, the form that Invoke gets."""


def _values(hint: Any) -> dict[str, Any] | None:
    """Return the words that a type allows, each with its value; None if it allows any text."""
    if hint is bool:
        return {"false": False, "true": True}
    if getattr(hint, "__origin__", None) is Literal:
        return {word: word for word in get_args(hint)}
    parts = [_values(part) for part in get_args(hint)]
    return {word: value for part in parts if part for word, value in part.items()} or None


_VALUES = {key: values for key, hint in get_type_hints(Settings).items() if (values := _values(hint))}
CHOICES = {key: tuple(values) for key, values in _VALUES.items()}
"""Settings that take one of a few words."""


def parse(configured: Mapping[str, object], environ: Mapping[str, str], *, env: str = "", root: Path = ROOT) -> Settings:
    """Check and convert Invoke's configuration under ``singer`` and the environment's file.

    Without *env* the setting ``env`` names the environment.

    :raises SetupError: E-SETTING, an unknown key or a value that is not allowed, with the further
        ones as ``others``; E-CONFIG, the file is not YAML.
    """
    errors = _unknown(configured, environ)
    env = env or _text("env", configured.get("env", LAPTOP))
    from_file, unknown = _environment(env, root)
    errors += unknown
    overriding = {key: value for key, value in from_file.items() if VARIABLE + key.upper() not in environ}
    with _naming_file(env):
        try:
            settings = _checked({**configured, **overriding, "env": env}, root)
        except SetupError as error:
            raise_all([*errors, error, *error.others])
            raise
        raise_all(errors)
    return settings


def environments(root: Path) -> list[str]:
    """Return the names of the environments that have a file, sorted."""
    return sorted(file.stem for file in (root / ENVIRONMENTS).glob("*.yaml"))


def _environment(env: str, root: Path) -> tuple[dict[str, object], list[SetupError]]:
    """Read the file of an environment: the settings of an existing cluster, as in ``invoke.yaml``.

    With it an error for each key that is not a setting.

    :raises SetupError: E-SETTING, no environment of that name.
    """
    names = environments(root)
    if env == LAPTOP:
        if LAPTOP in names:
            raise SetupError(
                "E-SETTING",
                f"{ENVIRONMENTS}/{LAPTOP}.yaml is not read: the settings of the laptop are in invoke.yaml.",
                hint="Move them there, or give the file another name.",
            )
        return {}, []
    shown = f"{ENVIRONMENTS}/{env}.yaml"
    if env not in names or not re.fullmatch(LABEL, env):
        raise SetupError(
            "E-SETTING",
            f"There is no environment {describe(env)}.{nearest(env, [LAPTOP, *names])} Environments are {listed([LAPTOP, *names])}.",
            hint=f"Name one of these, or write {ENVIRONMENTS}/NAME.yaml; docs/company.md shows one.",
        )
    content = read_yaml(root / ENVIRONMENTS / f"{env}.yaml", shown)
    known = [key for key in DEFAULTS if key != "env"]
    with _naming_file(env):
        if not isinstance(content, dict):
            raise _refused(shown, f"holds {describe(content)}; allowed is a mapping of settings to texts")
    refusal = "is not a setting of an environment.{} Settings are {}"
    unknown = [_refused(f"{shown}: {key}", refusal.format(nearest(key, known), listed(known))) for key in content if key not in known]
    return {"provider": "existing", "context": "", **{key: value for key, value in content.items() if key in known}}, unknown


@contextmanager
def _naming_file(env: str) -> Iterator[None]:
    """Add the environment's file to the hint of an error."""
    try:
        yield
    except SetupError as error:
        for one in (error, *error.others) if env != LAPTOP else ():
            one.hint = f"Correct it in {ENVIRONMENTS}/{env}.yaml, invoke.yaml or its variable; docs/settings.md lists all settings."
        raise


def _checked(values: Mapping[str, object], root: Path) -> Settings:
    """Return the settings with every value checked and converted.

    :raises SetupError: E-SETTING, a value is not allowed.
    """
    texts, errors = dict[str, str](), list[SetupError]()
    for key, default in DEFAULTS.items():
        try:
            texts[key] = _allowed(key, values.get(key, default))
        except SetupError as error:
            errors.append(error)
    raise_all(errors)
    _check_buckets(texts)
    _check_environment(texts)
    _check_platform(texts)
    _check_store(texts)
    if texts["proxy"] and not _is_proxy(texts["proxy"]):  # not shown: it may hold a password
        raise _refused("singer.proxy", "is not the address of a proxy; allowed is one such as http://proxy.example.com:3128")
    typed: dict[str, Any] = {key: _VALUES[key][text] if key in _VALUES else text for key, text in texts.items()}
    return Settings(root=root, **{**typed, **{key: int(texts[key]) for key in PORT_KEYS}})


def _allowed(key: str, value: object) -> str:
    """Return a value as its setting's text, if the setting takes it.

    :raises SetupError: E-SETTING, it does not.
    """
    text = _text(key, value)
    allowed, form = CHOICES.get(key), FORMS.get(key)
    if allowed and text not in allowed:
        raise _refused(f"singer.{key}", f"is {describe(text)}; allowed is one of {listed(allowed)}.{nearest(text, allowed)}")
    if form and not re.fullmatch(form[0], text):
        raise _refused(f"singer.{key}", f"is {describe(text)}; allowed is {form[1]}")
    if key in PORT_KEYS and (not text.isdecimal() or int(text) not in PORTS):
        raise _refused(f"singer.{key}", f"is {describe(text)}; allowed is a port from {PORTS[0]} to {PORTS[-1]}")
    return text


def _text(key: str, value: object) -> str:
    """Return a value as a text: in YAML a port may be a number, a switch true, false, yes or no."""
    if isinstance(value, bool) and "true" in CHOICES.get(key, ()):
        return _as_text(value)
    if isinstance(value, bool) and "yes" in CHOICES.get(key, ()):
        return "yes" if value else "no"
    if isinstance(value, int) and not isinstance(value, bool) and key in PORT_KEYS:
        return str(value)
    if not isinstance(value, str):
        raise _refused(f"singer.{key}", f"is {describe(value)}; allowed is a text")
    return value.strip()


def is_web_address(text: str) -> bool:
    """Return whether a text is an address of HTTP, with a host."""
    try:
        url = urlsplit(text)
        return url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
    except ValueError:
        return False


def _is_address(text: str) -> bool:
    if not is_web_address(text) or re.search(r"\s", text):
        return False
    url = urlsplit(text)
    return not (url.path.strip("/") or url.query or url.fragment or url.username)


def _is_proxy(text: str) -> bool:
    address = text if "://" in text else f"http://{text}"
    return is_web_address(address) and not (urlsplit(address).path.strip("/") or re.search(r"\s", text))


def pairs(text: str) -> dict[str, str]:
    """Read ``name=value,name=value``."""
    return {name.strip(): value.strip() for name, _, value in (part.partition("=") for part in text.split(",") if part.strip())}


def _check_environment(texts: Mapping[str, str]) -> None:
    """Check that an environment names its cluster: only the laptop has a default."""
    if texts["env"] == LAPTOP:
        return
    if texts["provider"] != "existing":
        refusal = f"is {describe(texts['provider'])}; the environment {texts['env']} is an existing cluster: existing"
        raise _refused("singer.provider", refusal)
    if not texts["context"]:
        raise _refused("singer.context", f"is missing; the environment {texts['env']} needs a context of your kubeconfig")


def _check_buckets(texts: Mapping[str, str]) -> None:
    """Check the buckets: each is a bucket or a folder in one, and none is inside another."""
    for key in BUCKETS:
        if not re.fullmatch(BUCKET, texts[key]):
            allowed = "a bucket name (small letters, digits, dots and hyphens), or one with folders in it such as lake/singer/configs"
            raise _refused(f"singer.{key}", f"is {describe(texts[key])}; allowed is {allowed}")
        for other in BUCKETS:
            if key != other and f"{texts[key]}/".startswith(f"{texts[other]}/"):
                raise _refused(f"singer.{key}", f"is {describe(texts[key])}; it is inside singer.{other}, {describe(texts[other])}")


def _check_store(texts: Mapping[str, str]) -> None:
    """Check the endpoint and the credentials of S3."""
    if (texts["local_store"] == "s3" or texts["store"] == "use") and not _is_address(texts["s3_endpoint"]):
        raise _refused("singer.s3_endpoint", f"is {describe(texts['s3_endpoint'])}; allowed is {ENDPOINT}")
    if texts["store"] == "use" and (urlsplit(texts["s3_endpoint"]).hostname or "").startswith(("127.", "localhost", "::1")):
        raise _refused("singer.s3_endpoint", f"is {describe(texts['s3_endpoint'])}; with store: use, the address is one that pods reach")
    for key in ("s3_credentials", "s3_secret", "s3_role"):
        if texts["store"] != "use" and texts[key] != DEFAULTS[key]:
            raise _refused(f"singer.{key}", f"is {describe(texts[key])}; it applies only to an existing S3, store: use")
    if texts["s3_role"] and texts["s3_credentials"] != "identity":
        raise _refused("singer.s3_role", f"is {describe(texts['s3_role'])}; it applies only to s3_credentials: identity")


def _check_platform(texts: Mapping[str, str]) -> None:
    """Check settings that only the platform uses."""
    for key in ("cluster", "namespace", "instance"):
        if not re.fullmatch(LABEL, texts[key]) and texts[key] != DEFAULTS[key]:
            raise _refused(f"singer.{key}", f"is {describe(texts[key])}; allowed are small letters, digits and hyphens, at most 40")
    if texts["image_platform"] and texts["provider"] != "existing":
        refusal = f"is {describe(texts['image_platform'])}; it applies only to an existing cluster, provider: existing"
        raise _refused("singer.image_platform", refusal)
    _check_images(texts)


def _check_images(texts: Mapping[str, str]) -> None:
    """Check replacements and mirrors of images."""
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


def _unknown(configured: Mapping[str, object], environ: Mapping[str, str]) -> list[SetupError]:
    """Return an error for each key and each variable that is not a setting."""
    names = [VARIABLE + key.upper() for key in DEFAULTS]
    keys = (key for key in configured if key not in DEFAULTS)
    errors = [_refused(f"singer.{key}", f"is not a setting.{nearest(key, DEFAULTS)} Settings are {listed(DEFAULTS)}") for key in keys]
    for name in environ:
        if name.startswith(VARIABLE) and name.removeprefix(VARIABLE).lower() not in DEFAULTS:
            errors.append(_refused(name, f"is not a setting.{nearest(name, names)}"))
        if name.startswith("INVOKE_") and name.removeprefix("INVOKE_").lower() in DEFAULTS:
            errors.append(_refused(name, f'is not read. Did you mean "{VARIABLE}{name.removeprefix("INVOKE_")}"?'))
    return errors


def _refused(name: str, what: str) -> SetupError:
    """Return the error for a setting, without the password of an address."""
    return SetupError(
        "E-SETTING",
        f"{name} {LOGIN.sub('***@', what)}" + ("" if what.endswith(("?", ".")) else "."),
        hint="Correct it in invoke.yaml or in its variable; docs/settings.md lists all settings.",
    )
