"""The program behind ``./invoke``: Invoke with our overview, help and errors."""

from __future__ import annotations

import os
import re
import shlex
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invoke import __version__ as invoke_version
from invoke.context import Context
from invoke.exceptions import Exit, ParseError
from invoke.program import Program

import cluster
from cluster.commands import completion
from cluster.commands.frame import SHARED, SHORT, check_invoke_yaml, guarded
from cluster.config.settings import ROOT, TOOL
from cluster.errors import SetupError
from cluster.project.tool import ambiguous
from cluster.ui import command_line, streams
from cluster.ui.command_line import command

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from invoke.collection import Collection
    from invoke.parser.argument import Argument
    from invoke.parser.context import ParserContext
    from invoke.tasks import Task

    from cluster.session import Session


HELP = ("-h", "--help")
WORDS = {
    "help": "show this page, or with a command its own",
    "list": "list the commands",
    "version": "show the version",
    "print-completion-script": "print what completes commands and names with the Tab key, for bash, zsh or fish",
}
"""Our words for options of Invoke that a first day needs."""
LETTERS = "hlV"
"""The letters of Invoke's own options that stay: --help, --list, --version."""
MANUAL = "https://docs.pyinvoke.org/en/stable/invoke.html"
"""The page with Invoke's own options."""


def main(namespace: Collection, groups: Mapping[str, Sequence[Task[Any]]]) -> None:
    """Run the command that ``sys.argv`` names."""
    streams.keep_writable()
    command_line.start(os.environ.get("SINGER_LAUNCHER", ""), "")
    check_invoke_yaml(ROOT)
    if "--complete" not in sys.argv:
        _note_other_project()
    Singer(namespace, groups).run()


def _note_other_project() -> None:
    """Print which project this is, if another one may be meant."""
    with suppress(OSError):  # the folder may have been removed
        other = ambiguous(ROOT, TOOL, Path.cwd())
        if other:
            launcher = shlex.quote(os.path.relpath(other / "invoke"))
            launcher = launcher if "/" in launcher else f"./{launcher}"
            print(f"! This command uses the project {ROOT}. Type {launcher} to use {other}.", file=sys.stderr)


class Singer(Program):
    """Invoke's program, with an overview in groups and with help that a first day needs."""

    def __init__(self, namespace: Collection, groups: Mapping[str, Sequence[Task[Any]]]) -> None:
        """Take the commands, and the groups to list them in."""
        super().__init__(cluster.__version__, namespace, name="singer", binary=command_line.launcher(), binary_names=["invoke", "./invoke"])
        self.commands, self.groups = namespace, groups

    def normalize_argv(self, argv: list[str] | None) -> None:
        """Read ``run --help``, ``run -h`` and ``help run`` as ``--help run``.

        To Invoke the flag would be a pipeline.

        The completion scripts are ours, since Invoke's know neither the path nor the names.
        """
        super().normalize_argv(argv)
        words = self.argv[1 : self.argv.index("--") if "--" in self.argv else None]
        if words[:1] == ["--print-completion-script"] and words[1:2] and words[1] in completion.SCRIPTS:
            print(completion.SCRIPTS[words[1]], end="")
            raise Exit
        names = [word for word in words if word in self.commands.task_names]
        asked = {*HELP, "help"} & {*words[:1]}
        if names and (asked or {*HELP} & {*words[words.index(names[0]) :]}):
            self.argv = [self.argv[0], "--help", names[0]]
        elif asked:  # another word is answered with the commands that exist
            self.argv = [self.argv[0], *(words[1:2] or ["--help"])]

    def core_args(self) -> list[Argument]:
        """Return Invoke's own options, with letters for help, list and version alone.

        A letter that a command does not have would be one of Invoke's: ``-f`` a configuration file.
        """
        arguments: list[Argument] = super().core_args()
        for argument in arguments:
            argument.names = tuple(name for name in argument.names if len(name) > 1 or name in LETTERS)
            argument.help = WORDS.get(str(argument.name), argument.help)
        return arguments

    def parse_collection(self) -> None:
        """Load ``invoke.yaml`` too: Invoke loads it only with a collection that it finds."""
        super().parse_collection()
        self.config.set_project_location(str(ROOT))
        self.config.load_project()

    def parse_tasks(self) -> None:
        """Parse the command; answer a missing name with the names that exist.

        An empty value is that of a variable which is not set: ``--from "$FIRST"`` without a first
        day would be an ordinary run.
        """
        try:
            super().parse_tasks()
            arguments = [argument for context in self.tasks for argument in context.args.values() if not argument.positional]
            empty = [argument.name for argument in arguments if argument.raw_value == ""]
            if empty:
                guarded(_no_value, Context(self.config), empty[0], self._command(), json="--json" in self.argv)
        except ValueError as error:  # of an option that takes a number
            value = str(error).rpartition(": ")[2].strip("'")
            guarded(_no_number, Context(self.config), value, self._command(), json="--json" in self.argv)
        except ParseError as error:
            missing = [argument.name for argument in error.context.missing_positional_args] if error.context else []
            self.config.load_collection(self.commands.configuration(), merge=False)
            self.config.load_shell_env()
            env = error.context.args["env"].value if error.context and "env" in error.context.args else ""
            options = {"json": "--json" in self.argv, "env": env or ""}
            if missing:
                guarded(_needs, Context(self.config), error.context, missing, **options)
            without = re.search(r"Argument: ([\w-]+).* needed value", str(error))
            if without:
                guarded(_no_value, Context(self.config), without[1], self._command(), **options)
            words = [word for word in self.core.unparsed if f"{word!r} is!" in str(error)]
            if words:
                typed = [self.parser.contexts[word] for word in self.core.unparsed if word in self.parser.contexts]
                flags = [flag for context in typed for flag in context.flags]
                listed = typed and "--pipeline" in typed[-1].flags and not typed[-1].positional_args
                if listed and not words[0].startswith("-"):
                    guarded(_no_positional, Context(self.config), words[0], str(typed[-1].name), **options)
                guarded(_unknown, Context(self.config), words[0], list(self.commands.task_names), flags, **options)
            raise

    def _command(self) -> str:
        """Return the command that was typed, or a word for it."""
        return next((word for word in self.argv[1:] if word in self.commands.task_names), "COMMAND")

    def parse_cleanup(self) -> None:
        """Print the candidates for ``--complete``; everything else is Invoke's."""
        if self.args.complete.value:
            self.config.load_shell_env()
            typed = self.core.remainder.split(" ")[1:]
            session = completion.session(self.config.get("singer", {}), typed)
            print(*completion.candidates(session, self.parser.contexts, self.initial_context, typed), sep="\n")
            raise Exit
        super().parse_cleanup()

    def print_version(self) -> None:
        """Print our version and Invoke's."""
        print(f"singer {self.version} (Invoke {invoke_version})")

    def print_help(self) -> None:
        """Print the overview, and the options that a first day needs.

        Those of Invoke itself, such as ``--echo``, would fill the screen.
        """
        self.overview()
        print("\nOptions that mean the same in every command that has them:\n")
        self.print_columns([(f"-{letter}, --{key}", SHARED.get(key, "go on until it has ended")) for key, letter in SHORT.items()])
        print("Options without a command:\n")
        self.print_columns([self.initial_context.help_for(flag) for flag in map("--{}".format, WORDS)])
        print(f"Options of Invoke itself stand before the command: {MANUAL}")

    def no_tasks_given(self) -> None:
        """Print the overview."""
        self.overview()
        raise Exit

    def list_flat(self) -> None:
        """Print the overview for ``--list``."""
        self.overview()

    def overview(self) -> None:
        """Print the commands in their groups, one line each."""
        lines = ["Replicate data with Singer taps and targets, on this machine or on Kubernetes."]
        for title, tasks in self.groups.items():
            lines += ["", title]
            lines += [f"  {task.name:<12} {summary(task)}" for task in tasks]
        lines += ["", f"Options and an example of a command: {command('run --help')}"]
        print("\n".join(lines))

    def print_task_help(self, name: str) -> None:
        """Print a command's usage and example, then its words, its options, and the shared ones."""
        context: ParserContext = self.parser.contexts[name]
        task = self.commands[name]
        example = str(task.body.__doc__).rpartition("invoke ")[2]
        words = [(str(argument.name).upper(), argument.help or "") for argument in context.positional_args]
        positional = " ".join(word for word, _ in words)
        usage = " ".join(filter(None, (command_line.launcher(), name, positional, "[options]")))
        print(f"Usage: {usage}\n\n{summary(task)}.\n\n  {command(example)}\n\nOptions:")
        flags = [flag for flag, argument in context.flags.items() if argument not in context.positional_args]
        flags.sort(key=lambda flag: (context.flags[flag].help == SHARED.get(flag[2:].replace("-", "_")), flag))
        self.print_columns([*words, *map(context.help_for, flags)])


def summary(task: Task[Any]) -> str:
    """Return what a command does, without the full stop."""
    return str(task.body.__doc__).partition("\n")[0].rstrip(".")


def _needs(session: Session, context: ParserContext, missing: Sequence[str]) -> None:
    """Report that a command lacks a name, with the names that exist.

    :raises SetupError: E-SETTING, always.
    """
    name, first = str(context.name), missing[0]
    needed = " and ".join(f"{'an' if word[0] in 'aeiou' else 'a'} {word}" for word in missing)
    known = completion.known(session, name, first)
    listing = f" There are: {', '.join(known)}." if known else f" It is {context.args[first].help}."
    hint = command(name, known[0]) if known and len(missing) == 1 else f"{command(f'{name} --help')} shows an example."
    raise SetupError("E-SETTING", f"{name} needs {needed}.{listing}", hint=hint)


def _no_number(_session: Session, value: str, name: str) -> None:
    """Report an option whose value is not a number.

    :raises SetupError: E-SETTING, always.
    """
    raise SetupError("E-SETTING", f'"{value}" is no whole number.', hint=f"{command(f'{name} --help')} shows what its options take.")


def _no_value(_session: Session, option: str, name: str) -> None:
    """Report an option without its value.

    :raises SetupError: E-SETTING, always.
    """
    flag = f"--{option.strip('_').replace('_', '-')}"
    raise SetupError("E-SETTING", f"{flag} needs a value.", hint=f"{command(f'{name} --help')} shows what its options take.")


def _no_positional(_session: Session, word: str, name: str) -> None:
    """Report a pipeline that was named without its option.

    :raises SetupError: E-SETTING, always.
    """
    from cluster.config.strict import describe  # noqa: PLC0415

    problem = f"{name} takes no word such as {describe(word)}; a pipeline is named with --pipeline."
    raise SetupError("E-SETTING", problem, hint=command(f"{name} --pipeline", word))


def _unknown(_session: Session, word: str, names: Sequence[str], flags: Sequence[str]) -> None:
    """Report a command or an option that does not exist.

    :raises SetupError: E-SETTING, always.
    """
    from cluster.config.strict import describe, nearest  # noqa: PLC0415

    if word in flags:
        hint = f"Write it at the end: {command('…', word)}"
        raise SetupError("E-SETTING", f"The option {word} belongs to a command and stands after it.", hint=hint)
    if word.startswith("-"):
        hint = f"{command('--help')} lists the options for every command, {command('run --help')} those of one."
        raise SetupError("E-SETTING", f"There is no option {describe(word)}.{nearest(word, flags)}", hint=hint)
    raise SetupError(
        "E-SETTING", f"There is no command {describe(word)}.{nearest(word, names)}", hint=f"{command('--list')} lists the commands."
    )
