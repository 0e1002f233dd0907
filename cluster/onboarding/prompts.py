"""Questions on a terminal about a connector's settings, the known ones first."""

from __future__ import annotations

import getpass
import json
import textwrap
from typing import TYPE_CHECKING, Any

from cluster.config.strict import describe, listed, nearest
from cluster.errors import SetupError
from cluster.ui.format import count

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cluster.onboarding.options import Option
    from cluster.ui.output import Output

PARTS = "+"
"""What the user types to be asked for the parts of a setting."""
WIDTH = 96
MOST = 400
"""How many characters of a description are shown."""


def line(question: str, *, hidden: bool = False) -> str:
    """Return the user's answer. The end of the input counts as Ctrl-C."""
    try:
        return (getpass.getpass(question) if hidden else input(question)).strip()
    except EOFError:
        raise KeyboardInterrupt from None


def group(output: Output, groups: Sequence[Sequence[str]]) -> Sequence[str]:
    """Ask which of several groups of settings to fill in, and return it."""
    output.text("\nOne of these groups of settings is needed:")
    for number, names in enumerate(groups, start=1):
        output.text(f"  {number}  {listed(names)}")
    while text := line(f"  1 to {len(groups)}, Enter for 1 > "):
        if text.isdecimal() and 1 <= int(text) <= len(groups):
            return groups[int(text) - 1]
    return groups[0]


def ask(output: Output, options: Sequence[Option], take: Callable[[Option, str], None], *, later: str) -> None:
    """Ask for settings, and hand each answer to *take*, which may refuse it.

    An empty answer leaves a setting out. Those that few need are named, and asked for by name;
    *later* is the command that sets one afterwards.
    """
    first = [option for option in options if option.asked_first]
    names = {option.name for option in options}
    outer = {name.partition(".")[0] for name in names if "." in name}
    rest = {option.name: option for option in options if option not in first and option.name not in outer}
    if first:
        output.text("\nIts settings. An empty answer leaves one out.")
    for option in first:
        _ask_for(output, option, take)
    if not rest:
        return
    output.text(f"\n{count(len(rest), 'setting')} more, which few need. Later: {later}")
    for text in textwrap.wrap(listed(rest), width=WIDTH):
        output.text(f"  {text}")
    while text := line("  The name of one to set it, Enter to go on > "):
        if text in rest:
            _ask_for(output, rest[text], take)
        else:
            output.text(f"  There is no setting {describe(text)}.{nearest(text, rest)}")


def _ask_for(output: Output, option: Option, take: Callable[[Option, str], None]) -> None:
    """Ask for one setting until its answer is accepted or empty."""
    _explain(output, option)
    while text := _answer(output, option):
        try:
            take(option, text)
        except SetupError as error:
            output.text(f"  {error.problem} {error.hint}")
        else:
            return


def _explain(output: Output, option: Option) -> None:
    output.text(f"\n{option.name}  {_facts(option)}".rstrip())
    for text in textwrap.wrap(textwrap.shorten(option.description, MOST, placeholder=" …"), width=WIDTH):
        output.text(f"  {text}")
    if option.parts:
        output.text("  Each item has:" if "array" in option.kinds else "  It has:")
    for part in option.parts:
        output.text(f"    {part.name}  {_facts(part)}{'  ' * bool(part.description)}{part.description}")


def _facts(option: Option) -> str:
    """Return what is known about a setting, in a few words."""
    kinds = listed(map(str, option.allowed or sorted(option.kinds)))
    facts = [option.label] if option.label else []
    facts += ["needed"] if option.needed else []
    facts += [kinds] if option.allowed or option.kinds else []
    facts += [f"default {describe(option.default)}"] if option.default is not None else []
    facts += [f"for example {describe(option.example)}"] if option.example is not None and not option.secret else []
    facts += [f"for example {option.sample}"] if option.sample and option.example is None else []
    return " · ".join(facts)


def _answer(output: Output, option: Option) -> str:
    """Return the user's answer; of a setting with parts, perhaps from one question for each."""
    how = f"  JSON, or {PARTS} for one question after the other > " if option.parts else "  > "
    text = line("  (not shown) > " if option.secret else how, hidden=option.secret)
    if text != PARTS or not option.parts:
        return text
    items: list[dict[str, Any]] = []
    while True:
        item = _item(output, option, len(items))
        items += [item] if item else []
        if not item or "array" not in option.kinds or line(f"\n  Another item of {option.name}? [y/N] ").lower() not in {"y", "yes"}:
            break
    return json.dumps(items if "array" in option.kinds else items[0], ensure_ascii=False) if items else ""


def _item(output: Output, option: Option, number: int) -> dict[str, Any]:
    """Ask for the parts of an object, or of one object of a list."""
    output.text(f"\n{option.name}" + (f", item {number + 1}" if "array" in option.kinds else ""))
    item: dict[str, Any] = {}
    for part in option.parts:
        _ask_for(output, part, lambda asked, text: item.update({asked.name: asked.read(text)}))
    return item
