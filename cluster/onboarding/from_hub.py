"""``new`` without a package: the connector of that name in Meltano Hub."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from cluster.config.strict import listed, nearest
from cluster.errors import SetupError
from cluster.onboarding import definition
from cluster.onboarding.hub import HUB, SECTIONS, Hub, near
from cluster.onboarding.package import one_text
from cluster.ui.command_line import command

if TYPE_CHECKING:
    from cluster.onboarding.definition import Definition
    from cluster.onboarding.draft import ConnectorRequest
    from cluster.onboarding.hub import Entry
    from cluster.project.model import Connector
    from cluster.session import Session

INDEX = "the package index is used"


def fill_in(session: Session, request: ConnectorRequest) -> None:
    """Complete a request with what the Hub states about it, and note which source was used.

    Nothing changes if the Hub does not list the name, or does not answer and there is no copy: then
    the package of that name is installed. A request for a variant needs the Hub.

    :raises SetupError: E-UNKNOWN, no such variant; E-HUB, there is no usable definition; E-NETWORK
        and its like, for a variant.
    """
    if not session.settings.hub_url:
        if request.variant:
            raise SetupError("E-SETTING", "--variant needs Meltano Hub, and singer.hub_url is empty.", hint="Name the package: --pip-url")
        return
    catalogue = Hub(session.settings, session.environ)
    name, _, variant = request.variant.rpartition("--")
    name = name or request.name
    try:
        entries, _ = catalogue.entries(_kinds(request, name))
    except SetupError as error:
        if request.variant:
            raise
        request.notes.append(("!", HUB, f"{error.problem.rstrip('.')}; {INDEX}"))
        session.output.event("warning", source=HUB, problem=error.problem, hint=error.hint)
        return
    entry = next((item for item in entries if item.name == name), None)
    if entry is None:
        request.near = near(name, (item.name for item in entries))
        if request.variant:
            raise SetupError(
                "E-UNKNOWN", f"{HUB} has no {name}.{nearest(name, request.near)}", hint=f"Search it: {command(f'search {name}')}"
            )
        similar = f" It has {listed(request.near)}." if request.near else ""
        request.notes.append(("!", HUB, f"has no {name}; {INDEX}.{similar}"))
        return
    _take(request, catalogue, entry, variant or entry.variants[0])


def of(session: Session, connector: Connector) -> Definition | None:
    """Return what the Hub states about a connector that exists; None if it does not answer.

    It is the variant with the same package, of the connector or the program of that name.
    """
    if not session.settings.hub_url:
        return None
    catalogue = Hub(session.settings, session.environ)
    with suppress(SetupError):
        entries, _ = catalogue.entries([connector.kind])
        for entry in (item for item in entries if item.name in {connector.name, connector.executable}):
            for variant in entry.variants:
                stated = definition.read(entry, variant, catalogue.definition(entry, variant).document)
                if set(stated.requirements) & set(connector.requirements):
                    return stated
    return None


def _kinds(request: ConnectorRequest, name: str) -> list[str]:
    """Return the kinds of connectors that may have this name."""
    named = [kind for kind in SECTIONS if name.startswith(f"{kind}-")]
    return [request.kind] if request.kind else named or list(SECTIONS)


def _take(request: ConnectorRequest, catalogue: Hub, entry: Entry, variant: str) -> None:
    if variant not in entry.variants:
        raise SetupError(
            "E-UNKNOWN",
            f"{entry.name} has no variant {variant}.{nearest(variant, entry.variants)} Variants are {listed(entry.variants)}.",
            hint=f"Name one of these, such as --variant {entry.variants[0]}",
        )
    answer = catalogue.definition(entry, variant)
    stated = definition.read(entry, variant, answer.document)
    # A string is split again where connector.yaml is read; a list is not.
    request.pip_url = stated.requirements[0] if len(stated.requirements) == 1 and " " not in stated.requirements[0] else ""
    request.requirements = [] if request.pip_url else list(stated.requirements)
    request.pip_url = request.pip_url or one_text(stated.requirements)
    request.kind, request.hub, request.choice = entry.kind, stated, stated.choice
    request.left += stated.left
    prefix = "" if entry.name == request.name else f"{entry.name}--"
    request.others = [f"{prefix}{item}" for item in entry.variants if item != variant]
    request.source = answer.source
    others = f"; others: {listed(item for item in entry.variants if item != variant)}" if len(entry.variants) > 1 else ""
    note = f", {answer.note}" if answer.note else ""
    request.notes.append(("✓" if not answer.reason else "!", HUB, f"{entry.name}, variant {variant}{others}{note}"))
