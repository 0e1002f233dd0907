"""Report pipelines that are late, once, and once more when they are on time again.

A CronJob starts it every few minutes. It needs no Argo, so it also notices if nothing starts any
more, or if all places for Workflows are taken. It reads schedules and runs from the cluster's API
and records from the store, and keeps what it has reported in the store.
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import commit
import kube_secret

from cluster.errors import SetupError
from cluster.runs import late

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cluster.runs.history import History


def objects(plural: str, environ: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return objects of Argo that belong to pipelines.

    :raises SetupError: E-KUBE, the API server refuses, or cannot be asked.
    """
    path = f"apis/argoproj.io/v1alpha1/namespaces/{environ.get('SINGER_NAMESPACE', '')}/{plural}?labelSelector={late.PIPELINE}"
    try:
        return list(kube_secret.call(path, environ).get("items", []))
    except (OSError, ValueError) as error:
        raise SetupError("E-KUBE", f"The {plural} of the cluster cannot be read: {error}.", hint="invoke up grants the right.") from None


def check(
    history: History, environ: Mapping[str, str], now: datetime, listed: Callable[[str, Mapping[str, str]], list[dict[str, Any]]] = objects
) -> late.Look:
    """Look once, send what is new, and keep what was sent.

    :raises SetupError: E-KUBE, E-STORE.
    """
    bucket = history.settings.bucket_artifacts
    before = late.Memory.read(history.store.get(bucket, late.MEMORY))
    watched = [item for item in map(late.of_schedule, listed("cronworkflows", environ)) if item and item.notify != "never"]
    live = late.unfinished(listed("workflows", environ))
    seen = late.look(before, watched, live, now, lambda name: history.records(name, late.MOST))
    memory = seen.memory
    if seen.new and not commit.tell(environ, late.message(seen.new, ())):
        memory = late.unreported(memory, before, [item.pipeline for item in seen.new])
    if seen.again and not commit.tell(environ, late.message((), seen.again)):
        memory = late.unreported(memory, before, seen.again)
    history.store.put(bucket, late.MEMORY, memory.write())
    return seen


def main() -> int:
    """Look once, and print what is late."""
    try:
        seen = check(commit.open_history(commit.read_settings(os.environ), os.environ), os.environ, datetime.now(UTC))
    except SetupError as error:
        commit.complain(error)
        return 1
    print(f"{len(seen.memory.pipelines)} pipelines, {len(seen.late)} late, {len(seen.new)} new", flush=True)
    for item in seen.late:
        print(item, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
