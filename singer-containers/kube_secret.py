"""Keep secrets that a connector replaced in its config, in the Secret of this connector.

Nothing else in a pipeline's pods uses the API of the cluster. The role of the pods allows ``get``
and ``patch`` of these Secrets alone, and only the container of this program has a token. A Secret
that no installation has labelled belongs to somebody else, and does not change.

``late`` uses ``call`` too, in other pods with another role.
"""

from __future__ import annotations

import json
import ssl
from base64 import b64decode, b64encode
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.request import HTTPSHandler, ProxyHandler, Request, build_opener

from cluster.errors import SetupError
from cluster.runs.rotation import FILE, INSTANCE, ROTATED, Keeper, digest, rotation

if TYPE_CHECKING:
    from collections.abc import Mapping

TOKEN = Path("/singer/token")
"""The token of the pods' account, and the certificate of the API server."""
FOLDER = Path("/singer/rotated")
"""A folder for each side, on a volume in memory that only this side and we have."""
SECONDS = 10.0
FORBIDDEN, ABSENT = 403, 404


def keeper(side: str, connector: str, environ: Mapping[str, str]) -> Keeper:
    """Return what keeps the replaced secrets of a side."""
    return Keeper(connector, FOLDER / side / FILE, partial(keep, f"connector-{connector}", environ))


def keep(secret: str, environ: Mapping[str, str], name: str, values: list[str]) -> None:
    """Write the last of *values* into a Secret, if it has one of the others.

    :raises SetupError: it is not ours, has another value by now, or cannot be changed.
    """
    change = changed(_call(secret, environ), secret, name, values)
    if change:
        _call(secret, environ, change)


def changed(live: Mapping[str, Any], secret: str, name: str, values: list[str]) -> dict[str, Any] | None:
    """Return the merge patch that writes the last of *values*; None if it is there.

    :raises SetupError: the Secret is not ours, or has another value by now.
    """
    metadata, data = live.get("metadata", {}), live.get("data") or {}
    if not (metadata.get("labels") or {}).get(INSTANCE):
        raise SetupError("E-SECRET", f"the Secret {secret} is managed by somebody else", hint=f"Change {name} there.")
    current = b64decode(data.get(name, "")).decode(errors="replace")
    if current == values[-1]:
        return None
    if current not in values:
        raise SetupError("E-SECRET", f"the Secret {secret} has another value by now", hint=f"See which value of {name} works.")
    noted = rotation(metadata.get("annotations") or {})
    first = noted[name][0] if name in noted and noted[name][1] == digest(current) else digest(current)
    noted[name] = [first, digest(values[-1])]
    return {
        # The version makes the server refuse if somebody else has changed the Secret since.
        "metadata": {"resourceVersion": metadata.get("resourceVersion"), "annotations": {ROTATED: json.dumps(noted)}},
        "data": {name: b64encode(values[-1].encode()).decode()},
    }


def _call(secret: str, environ: Mapping[str, str], change: object = None) -> dict[str, Any]:
    """Read a Secret, or change it by a merge patch.

    :raises SetupError: it is not there, the role does not allow it, or the server does not answer.
    """
    try:
        return call(f"api/v1/namespaces/{environ.get('SINGER_NAMESPACE', '')}/secrets/{secret}", environ, change)
    except HTTPError as error:
        why = {
            FORBIDDEN: f"the pods of runs may not change the Secret {secret}: invoke up grants it, for keys with token in their name",
            ABSENT: f"there is no Secret {secret}",
        }.get(error.code, f"the cluster refuses to change the Secret {secret} ({error.code})")
    except (OSError, ValueError) as error:
        why = f"the API server of the cluster cannot be asked: {error}"
    raise SetupError("E-SECRET", why, hint="Set it again.")


def call(path: str, environ: Mapping[str, str], change: object = None) -> dict[str, Any]:
    """Read an object or a list from the API server, or change an object by a merge patch.

    :raises OSError: an ``HTTPError`` if it refuses; or it cannot be asked.
    :raises ValueError: its answer is no JSON.
    """
    host, port = environ.get("KUBERNETES_SERVICE_HOST", "kubernetes.default.svc"), environ.get("KUBERNETES_SERVICE_PORT", "443")
    token = (TOKEN / "token").read_text(encoding="utf-8")
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/merge-patch+json"}
    body = None if change is None else json.dumps(change).encode()
    address = f"https://{f'[{host}]' if ':' in host else host}:{port}/{path}"
    request = Request(address, body, headers, method="GET" if change is None else "PATCH")
    context = ssl.create_default_context(cafile=str(TOKEN / "ca.crt"))
    with build_opener(ProxyHandler({}), HTTPSHandler(context=context)).open(request, timeout=SECONDS) as answer:
        return dict(json.loads(answer.read()))
