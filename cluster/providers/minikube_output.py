"""minikube's output: events as JSON lines, and the errors that it ends with."""

from __future__ import annotations

import json
from typing import Any

from cluster.errors import SetupError
from cluster.host.subprocesses import last_line
from cluster.ui.command_line import command

KUBERNETES = "v1.36.2"
"""What a minikube after 1.38.1 takes by itself; 1.38.1 looks it up on GitHub. Init-less pods need
v1.36 or later."""
TYPE = "io.k8s.sigs.minikube."


def event(line: str) -> tuple[str, dict[str, str]]:
    """Return kind and data of an event, such as ``step``; empty for any other line."""
    try:
        content: Any = json.loads(line)
    except ValueError:
        return "", {}
    if not isinstance(content, dict) or not str(content.get("type", "")).startswith(TYPE):
        return "", {}
    data = content.get("data")
    return content["type"].removeprefix(TYPE), {key: str(value) for key, value in data.items()} if isinstance(data, dict) else {}


def progress_of(line: str) -> str:
    """Return the progress that an event reports: a step or a download; empty for others."""
    kind, data = event(line)
    artifact = data.get("artifact", "").partition("?")[0].rpartition("/")[2].partition("@")[0]
    if kind == "step":
        where = f"step {data['currentstep']} of {data['totalsteps']}: " if data.get("currentstep", "").isdecimal() else ""
        return where + (data.get("message") or data.get("name", "")).partition("\n")[0].rstrip(" .")
    if kind == "download":
        return f"downloading {artifact}"
    if kind == "download.progress":
        try:
            return f"downloading {artifact} {float(data.get('progress', '')):.0%}".replace("%", " %")
        except ValueError:
            return f"downloading {artifact}"
    return f"minikube warns: {last_line(data.get('message', ''))}" if kind == "warning" else ""


EXITING = "Exiting due to "
UNKNOWN = f"This minikube does not know Kubernetes {KUBERNETES}"
GROUP = "Put your user into the group docker: sudo usermod -aG docker $USER, then log in again."
AGAIN = "Run it again: another port is chosen."
NETWORK = "Connect to the network; behind a proxy set HTTPS_PROXY, and NO_PROXY for 127.0.0.1 and 192.168.49.0/24."
MEMORY = "Give the container runtime more (Docker Desktop: Settings > Resources), then run it again."
START = "Start it, then run it again."
UPDATE = "Update minikube (https://minikube.sigs.k8s.io/docs/start/), or take kind: INVOKE_SINGER_PROVIDER=kind."
KNOWN: tuple[tuple[str, str, str], ...] = (
    ("port is already allocated", "A port that the cluster needs was taken a moment ago.", AGAIN),
    ("address already in use", "A port that the cluster needs was taken a moment ago.", AGAIN),
    ("ports are not available", "A port that the cluster needs was taken a moment ago.", AGAIN),
    ("too many open files", "The limit of inotify instances is reached.", "sudo sysctl -w fs.inotify.max_user_instances=512"),
    ("no space left", "The disk is full.", "Make room (docker system df shows what Docker uses), then run it again."),
    ("_storage ", "The disk is full.", "Make room (docker system df shows what Docker uses), then run it again."),
    ("_docker_newgrp ", "Docker may not be used by this user.", GROUP),
    ("_not_running ", "minikube's driver does not run: {reason}", START),
    ("_not_healthy ", "minikube's driver is not healthy: {reason}", START),
    ("drv_as_root ", "minikube does not work for root.", "Run it as a user who may use the container runtime."),
    ("_memory ", "There is too little memory: {reason}", MEMORY),
    ("rsrc_over_alloc_mem ", "There is too little memory: {reason}", MEMORY),
    ("_cores ", "There are too few CPUs: {reason}", MEMORY),
    ("kubernetes/releases/tags", f"{UNKNOWN}, and cannot ask GitHub for it.", f"Connect to the network. {UPDATE}"),
    ("k8s_fail_connect ", f"{UNKNOWN}, and cannot ask GitHub for it.", f"Connect to the network. {UPDATE}"),
    ("k8s_new_unsupported ", f"{UNKNOWN}.", UPDATE),
    ("inet_proxy", "A proxy is in the way: {reason}", NETWORK),
    ("inet_not_tls ", "A proxy is in the way: {reason}", NETWORK),
    ("toomanyrequests", "The registry of the node's image answers: too many requests.", "Wait an hour, then run it again."),
    ("inet_", "What minikube needs cannot be downloaded: {reason}", NETWORK),
    ("no such host", "What minikube needs cannot be downloaded: {reason}", NETWORK),
    ("failed to download", "What minikube needs cannot be downloaded: {reason}", NETWORK),
    ("unable to find image", "What minikube needs cannot be downloaded: {reason}", NETWORK),
)  # fmt: skip
"""A sign in the error's name and message, in small letters; what it means, with minikube's own last
line; what to do."""


def failure(text: str) -> SetupError:
    """Return the error for minikube's output when it failed.

    The event that ended it has an exit code; others may only tell of a first try. Some commands
    print no events.
    """
    errors = [data for kind, data in map(event, text.splitlines()) if kind == "error"]
    error = next((data for data in reversed(errors) if "exitcode" in data), errors[-1] if errors else _plain(text))
    message = error.get("message", "")
    cause = reason(message)
    signs = f"{error.get('name', '')} {message}".lower()
    for sign, problem, hint in KNOWN:
        if sign in signs:
            return SetupError("E-CLUSTER", problem.format(reason=cause), hint=hint)
    advice = " ".join(error.get("advice", "").split())
    if not advice or "{{" in advice:  # a template that minikube has not filled in
        advice = f"See the line above; run it again, or {command('teardown')} first."
    return SetupError("E-CLUSTER", f"minikube failed: {cause}", hint=advice)


def _plain(text: str) -> dict[str, str]:
    """Return the error from text for people, in which a box with an address follows it."""
    line = next((line for line in text.splitlines() if EXITING in line), "").partition(EXITING)[2]
    name, _, message = line.partition(": ")
    return {"name": name, "message": message} if message else {"message": text}


def reason(message: str) -> str:
    """Return the last line of a message, without a program's offer of help."""
    lines = [line for line in message.splitlines() if line.strip() and not line.startswith("Run '")]
    return last_line("\n".join(lines))
