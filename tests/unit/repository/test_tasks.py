"""``tasks.py``: the wiring of the commands, short enough to be read on a first day."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest
from documents import CONTEXTS
from invoke.parser import Parser
from invoke.parser.context import ParserContext

import tasks
from cluster.commands.frame import SHORT
from cluster.commands.program import Singer
from cluster.ui.command_line import HERE

SOURCE = Path(tasks.__file__).read_text(encoding="utf-8")
COMMANDS = sorted(tasks.namespace.tasks)


def test_it_is_short() -> None:
    """It is a table of contents: a few lines for each command, and one call in each."""
    assert len(SOURCE.splitlines()) < 10 + 16 * len(COMMANDS)


def test_it_needs_only_invoke_and_our_own_code() -> None:
    """At its top it imports Invoke, our code and typing: ``--list`` stays fast, and nothing heavy hides in it."""
    imported = set()
    for node in ast.parse(SOURCE).body:
        if isinstance(node, ast.Import):
            imported |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").split(".")[0])
    assert imported <= {"__future__", "typing", "invoke", "cluster"}


def test_every_function_is_a_command() -> None:
    """What is written in it can be typed."""
    functions = {node.name.rstrip("_").replace("_", "-") for node in ast.parse(SOURCE).body if isinstance(node, ast.FunctionDef)}
    assert functions == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_says_what_it_does_and_shows_how(name: str) -> None:
    """Its help is an imperative sentence, and an example on a separate line that Invoke understands."""
    text, _, example = (tasks.namespace[name].body.__doc__ or "").partition("\n\n")
    sentence = re.fullmatch(r"([A-Z][a-z]+)\b[^\n]*[a-z0-9/)\]-]\.", text)
    assert sentence, "an imperative sentence"
    assert not re.fullmatch(r"\w+[^s]s|\w{3,}(ing|ed)", sentence[1]), "Show, not Shows or Showing"
    assert example.startswith("    invoke ")
    words = example.split()[1:]
    (context,) = Parser(contexts=list(CONTEXTS.values())).parse_argv(words)
    assert context.name == name
    assert not context.missing_positional_args


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained(name: str) -> None:
    """Each argument of a command has a line of help."""
    assert [argument.name for argument in CONTEXTS[name].args.values() if not argument.help] == []


def test_an_option_is_the_same_everywhere() -> None:
    """An option that several commands have is a switch in all of them or takes values in all; --json, --engine and a run mean the same.

    But for --target: for ``new`` it is a switch, for ``add`` it takes a name; and for --print of ``schedule``, which takes a word.
    """
    kinds: dict[str, set[type]] = defaultdict(set)
    texts: dict[str, set[str]] = defaultdict(set)
    for context in CONTEXTS.values():
        for argument in context.args.values():
            kinds[argument.name].add(bool if argument.kind is bool else str)
            texts[argument.name].add(argument.help)
    assert {name: types for name, types in kinds.items() if len(types) > 1} == {"target": {bool, str}, "print": {bool, str}}
    assert [len(texts[name]) for name in ("json", "engine", "limit", "plan")] == [1, 1, 1, 1]


def test_a_letter_is_one_option() -> None:
    """A short option means the same in every command, and none of Invoke's own is a trap for one that a command lacks."""
    letters: dict[str, set[str]] = defaultdict(set)
    for context in [*CONTEXTS.values(), ParserContext(args=Singer(tasks.namespace, {}).core_args())]:
        for argument in context.args.values():
            for letter in argument.names[1:]:
                letters[letter].add(argument.name)
    assert {letter: sorted(names) for letter, names in letters.items()} == {
        **{letter: [name] for name, letter in SHORT.items()},
        "h": ["help"],
        "l": ["list"],
        "V": ["version"],
    }


def test_what_is_about_a_platform_knows_environments() -> None:
    """Each command has --env, but for those of the checkout alone: so a printed command can repeat it."""
    without = {name for name, context in CONTEXTS.items() if "--env" not in context.flags}
    assert without == HERE & CONTEXTS.keys()


def test_a_script_can_read_every_command() -> None:
    """Each command has --json, but for the shell and the tests, whose output is that of other programs."""
    assert {name for name, context in CONTEXTS.items() if "--json" not in context.flags} == {"shell", "test"}


def test_an_option_is_written_once() -> None:
    """An explanation that several commands share is in one table."""
    lines = re.findall(r'^ +"([\w-]+)": "(.+)",$', SOURCE, re.MULTILINE)
    assert sorted(lines) == sorted(set(lines))


def test_every_command_is_in_one_group() -> None:
    """The overview has each command once."""
    assert sorted(task.name for group in tasks.GROUPS.values() for task in group) == COMMANDS
