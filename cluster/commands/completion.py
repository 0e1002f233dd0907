"""Completion of commands, options and names in bash, zsh and fish.

A shell's script passes the words up to the cursor to ``--complete``, which prints the candidates
for the last one.
"""

from __future__ import annotations

import os
from itertools import pairwise
from typing import TYPE_CHECKING

from cluster.config.settings import CHOICES, LAPTOP, environments
from cluster.errors import SetupError
from cluster.session import Session
from cluster.ui.plain import Plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from invoke.parser.context import ParserContext

LATEST = 5
"""How many runs are listed, the newest."""
LISTS = frozenset({"pipeline", "run", "name"})
"""Arguments that take several names with commas."""
STREAMS = {"discover": {"stream"}, "select": {"stream", "add", "exclude"}}
"""Options that name streams, with commas, by command."""

BASH = """\
# Completion of the words of ./invoke for bash: source <(./invoke --print-completion-script bash)
_singer_invoke() {
    local word
    COMPREPLY=()
    while IFS= read -r word; do
        [[ "$word" == "$2"* ]] && COMPREPLY+=("$word")
    done < <("${COMP_WORDS[0]/#\\~/$HOME}" --complete -- "${COMP_WORDS[@]:0:COMP_CWORD+1}" 2>/dev/null)
}
complete -o default -F _singer_invoke invoke ./invoke
"""
ZSH = """\
# Completion of the words of ./invoke for zsh: source <(./invoke --print-completion-script zsh)
_singer_invoke() {
    local -a candidates
    candidates=(${(f)"$(${~words[1]} --complete -- "${(@)words[1,CURRENT]}" 2>/dev/null)"})
    compadd -a candidates || _files
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
compdef _singer_invoke invoke ./invoke
"""
FISH = """\
# Completion of the words of ./invoke for fish: ./invoke --print-completion-script fish | source
function __singer_invoke
    set -l before (commandline --tokenize --cut-at-cursor --current-process)
    set -l words (string escape -- $before (commandline --current-token --cut-at-cursor))
    set -g __singer_candidates (eval $before[1] --complete -- $words 2>/dev/null)
    test -n "$__singer_candidates"
end
complete --command invoke --keep-order --no-files --condition __singer_invoke --arguments '$__singer_candidates'
"""
SCRIPTS = {"bash": BASH, "fish": FISH, "zsh": ZSH}


def candidates(session: Session, contexts: Mapping[str, ParserContext], core: ParserContext, words: Sequence[str]) -> list[str]:
    """Return the candidates for the last of *words*: what the user has typed after the program.

    *contexts* are Invoke's commands with their options, *core* has the options of Invoke itself.
    """
    *typed, partial = words or [""]
    name = next((word for word in typed if word in contexts), "")
    context = contexts.get(name, core)
    flag = context.flags.get(typed[-1]) if typed else None
    if flag is not None and flag.takes_value:
        streams = flag.name in STREAMS.get(name, ())
        values = _streams(session, typed) if streams else contexts if flag.name == "help" else _values(session, name, str(flag.name))
        return _starting(partial, values, several=streams)
    named = [f"--{argument.name}" for argument in context.positional_args]
    options = [flag for flag in context.flag_names() if flag.startswith("--") and flag not in named] + ["--help"] * bool(name)
    if partial.startswith("-"):
        return _starting(partial, options)
    if not name:
        return _starting(partial, contexts)
    index = _positional(context, typed[typed.index(name) + 1 :])
    expected = [str(argument.name) for argument in context.positional_args][index : index + 1]
    if not expected:
        return options if not partial else []
    return _starting(partial, _values(session, name, expected[0]), several=expected[0] in LISTS)


def _positional(context: ParserContext, words: Sequence[str]) -> int:
    """Return how many of a command's words are neither options nor values of options."""
    takes_value = [word in context.flags and context.flags[word].takes_value for word in words]
    return sum(not word.startswith("-") and not (at and takes_value[at - 1]) for at, word in enumerate(words))


def _starting(partial: str, values: Iterable[str], *, several: bool = False) -> list[str]:
    """Return the values that continue what is typed; of a comma list the last name is continued."""
    before, comma, last = partial.rpartition(",") if several else ("", "", partial)
    return [before + comma + value for value in values if value.startswith(last) and value not in before.split(",")]


def _values(session: Session, command: str, argument: str) -> list[str]:
    """Return the values that an argument may have; nothing if it takes any word, or a file."""
    try:
        if argument == "print-completion-script":
            return list(SCRIPTS)
        if argument == "env":
            return [LAPTOP, *environments(session.settings.root)]
        if argument == "run":
            return ["last", *known(session, command, argument)]
        return known(session, command, argument) or [word for word in CHOICES.get(argument, ()) if word != "auto"]
    except SetupError:  # the command itself will report it
        return []


def _streams(session: Session, words: Sequence[str]) -> list[str]:
    """Return the streams in the catalog of the tap or the pipeline that the words name."""
    from cluster.config.strict import read_object  # noqa: PLC0415 - only an incomplete command line needs them
    from cluster.onboarding.catalog import streams_of  # noqa: PLC0415
    from cluster.project.reader import Project, check_catalog  # noqa: PLC0415

    try:
        project = Project.of(session.settings)
        pipeline = next((project.pipeline(word) for word in words if word in project.pipeline_names), None)
        taps = (project.connector(word).catalog for word in words if word in project.connector_names)
        file = pipeline.catalog if pipeline else next(taps)
        catalog = read_object(file, file.name)
        check_catalog(catalog, file.name)
    except (SetupError, StopIteration):  # the command itself will report it
        return []
    return [stream.id for stream in streams_of(catalog)]


def known(session: Session, command: str, argument: str) -> list[str]:
    """Return the names of runs, pipelines or connectors that an argument of a command may mean.

    :raises SetupError: what would list them cannot be read.
    """
    from cluster.project.model import KINDS  # noqa: PLC0415 - only an incomplete command line needs them
    from cluster.project.reader import Project  # noqa: PLC0415
    from cluster.project.timers import FOLDERS  # noqa: PLC0415

    if argument == "run":
        from cluster.engines.choice import Engines  # noqa: PLC0415

        with Engines(session) as engines:
            dated = [(moment, run) for engine in engines.available() for (_, run), moment in engine.dated().items()]
        return [run for _, run in sorted(dated, reverse=True)[:LATEST]]
    few = {"door": ["argo", "minio"], "print": [*FOLDERS]}
    if argument in few:
        return few[argument]
    if argument not in {"pipeline", "connector", "name", *KINDS} or (command in {"add", "new"} and argument == "name"):
        return []
    project = Project.of(session.settings)
    if argument in KINDS:
        return [name for name in project.connector_names if name.startswith(f"{argument}-")] or project.connector_names
    if command in {"discover", "select"}:
        return [
            *([name for name in project.connector_names if name.startswith("tap-")] or project.connector_names),
            *project.pipeline_names,
        ]
    pipelines = project.pipeline_names if argument != "connector" else []
    return [*pipelines, *(project.connector_names if argument != "pipeline" else [])]


def session(configured: Mapping[str, object], words: Sequence[str]) -> Session:
    """Return a session for the environment that the words name."""
    env = next((word for flag, word in pairwise(words) if flag == "--env"), "")
    return Session(configured, Plain(), os.environ, env)
