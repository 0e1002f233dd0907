"""The commands ``open``, ``forward``, ``credentials`` and ``shell``."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import webbrowser
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cluster.errors import SetupError
from cluster.platform.credentials import KEYS, ROOT_SECRET
from cluster.platform.handles import DOORS, Handles
from cluster.platform.steps.storage import policy
from cluster.ui.command_line import command

if TYPE_CHECKING:
    from cluster.session import Session
PAGES = {"argo": "argo", "minio": "console"}
"""What ``open`` opens: one of ``DOORS``."""


def open_door(session: Session, door: str, *, only_print: bool) -> None:
    """Open Argo's or MinIO's pages in the browser; where no port is published, forward it until Ctrl-C."""
    if door not in PAGES:
        raise SetupError("E-SETTING", f"There is no door {door!r}; there are {', '.join(PAGES)}.", hint="Name one of these.")
    with Handles(session.settings, session.environ) as handles:
        url = handles.url(PAGES[door])
        session.output.event("open", door=door, url=url)
        session.output.text(
            url if only_print else f"{url}  " + ("read-only, no login" if door == "argo" else f"login: {command('credentials')}")
        )
        if not only_print:
            webbrowser.open(url)
        if not handles.provider.publishes:
            _hold(session)


def forward(session: Session) -> None:
    """Hold the platform's ports on 127.0.0.1 until Ctrl-C, where the provider does not publish them."""
    with Handles(session.settings, session.environ) as handles:
        doors = {door: handles.url(door) for door in DOORS if door == "argo" or handles.settings.store == "install"}
        session.output.event("forward", doors=doors)
        session.output.table([[door, url] for door, url in doors.items()], ["", ""])
        if handles.provider.publishes:
            session.output.text("These ports are published: nothing has to be forwarded.")
            return
        _hold(session)


def _hold(session: Session) -> None:
    """Wait until the user ends it."""
    session.output.text("Forwarding until Ctrl-C.")
    with suppress(KeyboardInterrupt):
        threading.Event().wait()


def _keys(handles: Handles, secret: str = "") -> dict[str, str] | None:
    """Return the keys of the store, None where it is no keys that open it.

    :raises SetupError: E-DOWN, the platform is not up.
    """
    why = handles.provider.pending()
    if why:
        raise SetupError("E-DOWN", f"The platform is not up: {why}.", hint=command("up"))
    return handles.credentials.keys(secret)


def credentials(session: Session, *, only_policy: bool) -> None:
    """Show the store's credentials, because they were asked for; or the rights that their user needs.

    :raises SetupError: E-DOWN, the platform is not up; E-SECRET, it is no keys that open the store.
    """
    if only_policy:
        rights = policy(session.settings)
        session.output.event("policy", policy=rights)
        session.output.text(json.dumps(rights, indent=2))
        return
    with Handles(session.settings, session.environ) as handles:
        found = _keys(handles, ROOT_SECRET if handles.settings.store == "install" else "")
    if found is None:
        raise SetupError(
            "E-SECRET", "The store is opened by the identity of pods: there are no keys.", hint=command("credentials --policy")
        )
    session.output.event("credentials", user=found["accesskey"], password=found["secretkey"])
    session.output.table([["user", found["accesskey"]], ["password", found["secretkey"]]], ["", ""])


def shell(session: Session) -> None:
    """Start a shell in which kubectl, k9s, aws and mc work with this platform and nothing else."""
    with Handles(session.settings, session.environ) as handles:
        found = _keys(handles) or {}
        address = urlsplit(handles.url("s3"))
        environ = {
            "INVOKE_SINGER_ENV": handles.settings.env,
            "KUBECONFIG": str(handles.provider.kubeconfig()),
            "AWS_ENDPOINT_URL": address.geturl(),
            "AWS_DEFAULT_REGION": handles.settings.s3_region,
        }
        if found:
            environ |= {variable: found[name] for name, variable in KEYS.items()}
            environ["MC_HOST_singer"] = f"{address.scheme}://{found['accesskey']}:{found['secretkey']}@{address.netloc}"
        program = os.environ.get("SHELL", "/bin/sh")
        session.output.text(f"{program} with {', '.join(environ)}. exit leaves it.")
        code = subprocess.run([program], env={**os.environ, **environ}, check=False).returncode
    if code:
        raise SystemExit(code)
