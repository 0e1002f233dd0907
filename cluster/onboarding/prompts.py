"""Questions on a terminal about a connector's settings, the known ones first."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING

from cluster.config.strict import describe, listed
from cluster.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cluster.onboarding.options import Option
    from cluster.ui.output import Output


def line(question: str, *, hidden: bool = False) -> str:
    """Return the user's answer. The end of the input counts as Ctrl-C."""
    try:
        return (getpass.getpass(question) if hidden else input(question)).strip()
    except EOFError:
        raise KeyboardInterrupt from None


def group(output: Output, groups: Sequence[Sequence[str]]) -> Sequence[str]:
    """Ask which of several groups of settings to fill in; return it, empty for no answer."""
    output.text("\nOne of these groups of settings is needed:")
    for number, names in enumerate(groups, start=1):
        output.text(f"  {number}  {listed(names)}")
    while text := line(f"  1 to {len(groups)} > "):
        if text.isdecimal() and 1 <= int(text) <= len(groups):
            return groups[int(text) - 1]
    return ()


def ask(output: Output, options: Sequence[Option], take: Callable[[Option, str], None]) -> None:
    """Ask for settings, and hand each answer to *take*, which may refuse it.

    An empty answer leaves a setting out.
    """
    first = [option for option in options if option.asked_first]
    rest = [option for option in options if option not in first]
    if first:
        output.text("\nIts settings. An empty answer leaves one out.")
    for option in first:
        _ask_for(output, option, take)
    names = listed(option.name for option in rest)
    if rest and line(f"\n{len(rest)} more: {names}. Set some of them? [y/N] ").lower() in {"y", "yes"}:
        for option in rest:
            _ask_for(output, option, take)


def _ask_for(output: Output, option: Option, take: Callable[[Option, str], None]) -> None:
    """Ask for one setting until its answer is accepted or empty."""
    kinds = listed(map(str, option.allowed or sorted(option.kinds)))
    facts = [option.label] if option.label else []
    facts += ["needed"] if option.needed else []
    facts += [kinds] if option.allowed or option.kinds else []
    facts += [f"default {describe(option.default)}"] if option.default is not None else []
    facts += [f"for example {describe(option.example)}"] if option.example is not None and not option.secret else []
    facts += [f"for example {option.sample}"] if option.sample and option.example is None else []
    output.text(f"\n{option.name}  {' · '.join(facts)}\n  {option.description}".rstrip())
    while text := line("  (not shown) > " if option.secret else "  > ", hidden=option.secret):
        try:
            take(option, text)
        except SetupError as error:
            output.text(f"  {error.problem} {error.hint}")
        else:
            return
