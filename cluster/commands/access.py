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
    """Open Argo's or MinIO's pages in the browser; without a published port, forward one."""
    if door not in PAGES:
        raise SetupError(
            "E-SETTING", f"There is no page {door!r}; there are {', '.join(PAGES)}.", hint=f"Name one of these: {command('open argo')}"
        )
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
    """Forward the platform's ports to 127.0.0.1 until Ctrl-C, unless they are published."""
    with Handles(session.settings, session.environ) as handles:
        doors = {door: handles.url(door) for door in DOORS if door == "argo" or handles.settings.store == "install"}
        session.output.event("forward", doors=doors)
        session.output.table([[door, url] for door, url in doors.items()], ["", ""])
        if handles.provider.publishes:
            session.output.text("These ports are published: there is nothing to forward.")
            return
        _hold(session)


def _hold(session: Session) -> None:
    """Wait for Ctrl-C."""
    session.output.text("Forwarding until Ctrl-C.")
    with suppress(KeyboardInterrupt):
        threading.Event().wait()


def _keys(handles: Handles, secret: str = "") -> dict[str, str] | None:
    """Return the keys of the store, None if it uses pod identity instead of keys.

    :raises SetupError: E-DOWN, the platform is not up.
    """
    why = handles.provider.pending()
    if why:
        raise SetupError("E-DOWN", f"The platform is not up: {why}.", hint=command("up"))
    return handles.credentials.keys(secret)


def credentials(session: Session, *, only_policy: bool) -> None:
    """Show the store's credentials, or the rights that their user needs.

    :raises SetupError: E-DOWN, the platform is not up; E-SECRET, the store uses pod identity.
    """
    if only_policy:
        rights = policy(session.settings)
        session.output.event("policy", policy=rights)
        session.output.text(json.dumps(rights, indent=2))
        return
    with Handles(session.settings, session.environ) as handles:
        keys = _keys(handles, ROOT_SECRET if handles.settings.store == "install" else "")
    if keys is None:
        problem = "This store uses pod identity, so there are no credentials to show."
        raise SetupError("E-SECRET", problem, hint=command("credentials --policy"))
    session.output.event("credentials", user=keys["accesskey"], password=keys["secretkey"])
    session.output.table([["user", keys["accesskey"]], ["password", keys["secretkey"]]], ["", ""])


def shell(session: Session) -> None:
    """Start a shell in which kubectl, k9s, aws and mc use this platform and nothing else."""
    with Handles(session.settings, session.environ) as handles:
        keys = _keys(handles) or {}
        address = urlsplit(handles.url("s3"))
        environ = {
            "INVOKE_SINGER_ENV": handles.settings.env,
            "KUBECONFIG": str(handles.provider.kubeconfig()),
            "AWS_ENDPOINT_URL": address.geturl(),
            "AWS_DEFAULT_REGION": handles.settings.s3_region,
        }
        if keys:
            environ |= {variable: keys[name] for name, variable in KEYS.items()}
            environ["MC_HOST_singer"] = f"{address.scheme}://{keys['accesskey']}:{keys['secretkey']}@{address.netloc}"
        program = os.environ.get("SHELL", "/bin/sh")
        session.output.text(f"{program} with {', '.join(environ)}. Type exit to leave it.")
        code = subprocess.run([program], env={**os.environ, **environ}, check=False).returncode
    if code:
        raise SystemExit(code)
