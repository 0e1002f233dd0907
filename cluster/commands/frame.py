"""The frame of every command: the session, and an exit code for every error."""

from __future__ import annotations

import functools
import gc
import inspect
import os
import signal
import sys
import traceback
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NoReturn

from invoke.config import AmbiguousMergeError, Config, merge_dicts
from invoke.exceptions import Exit
from invoke.tasks import Task, task

from cluster.errors import EXIT_BUG, EXIT_INTERRUPTED, Interrupted, SetupError, raise_all
from cluster.session import Session
from cluster.ui import command_line, streams
from cluster.ui.jsonl import Json
from cluster.ui.plain import Plain
from cluster.ui.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import FrameType

    from invoke.context import Context

    from cluster.ui.output import Output

SHARED = {
    "at_once": "how many parts may run at the same time, 1 to 100, on the engine argo; local runs one after the other",
    "engine": "local or argo; default: argo if the platform is up, else local",
    "env": "the environment: laptop, or one of environments/",
    "json": "print one JSON object per line",
    "limit": "how many to show; of runs the newest",
    "plan": "only show what would be done",
    "run": "a run's id, a part of it, or last",
    "yes": "do not ask",
}
"""Help for options that several commands have."""
SHORT = {"engine": "e", "follow": "f", "json": "j", "limit": "n", "plan": "p", "yes": "y"}
"""The options with a letter, which means the same in every command. Invoke would give each option
the first letter that is free in its command."""
NO_JSON = frozenset({"shell", "test"})
"""Commands whose output is that of other programs."""
RUNNING = frozenset({"demo", "retry", "run"})
"""Commands whose exit code tells how a run ended, and nothing else."""
LEVELS = 20
"""How deep values of ``invoke.yaml`` may nest; Invoke's own settings have three levels."""
ALIKE = 0.8
"""How alike two keys are, at most 1, if one of them is a mistyped other one."""
VALUES = 10_000
"""How many values it may have, with each repetition by an alias: Invoke logs all of them."""


class Command(Task[Any]):
    """A task whose options have the letters of ``SHORT``, and no others."""

    def arg_opts(self, name: str, default: Any, taken_names: set[str]) -> dict[str, Any]:
        """See Invoke."""
        opts = super().arg_opts(name, default, taken_names)
        opts["names"] = [opts["names"][0], *filter(None, [SHORT.get(name)])]
        return opts


def command(example: str, /, *, help: Mapping[str, str] | None = None, **options: Any) -> Callable[[Callable[..., None]], Task[Any]]:  # noqa: A002 - Invoke's word
    """Make an Invoke task of a function whose first parameter is a ``Session``.

    *example* ends the task's help. ``--json`` and ``--env`` are added where they belong. Options
    without a line in *help* have the one in ``SHARED``; *options* are Invoke's.
    """

    def decorate(function: Callable[..., None]) -> Task[Any]:
        @functools.wraps(function)
        def run(context: Context, *args: Any, **kwargs: Any) -> None:
            guarded(function, context, *args, **kwargs)

        signature, name = inspect.signature(function), function.__name__
        added: dict[str, Any] = {"json": False} if name not in NO_JSON else {}
        added |= {"env": ""} if name not in command_line.HERE else {}
        more = [inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=value) for key, value in added.items()]
        run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), *more])  # type: ignore[attr-defined]
        run.__doc__ = f"{function.__doc__}\n\n    invoke {example}"
        shared = {key: SHARED[key] for key in (*signature.parameters, *added) if key in SHARED}
        made: Task[Any] = task(klass=Command, help={**shared, **(help or {})}, **options)(run)
        return made

    return decorate


def choose(*, as_json: bool, env: str = "") -> Output:
    """Return the output that fits: JSON on request, colours on a terminal, else plain lines.

    JSON events include *env* unless it is the laptop.
    """
    if as_json:
        return Json({"env": env} if env not in {"", "laptop"} else {})
    if sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        return Terminal()
    return Plain()


def guarded(function: Callable[..., None], context: Context, *args: Any, **kwargs: Any) -> None:
    """Call *function* with a ``Session`` instead of the context.

    :raises invoke.Exit: with an exit code of ``docs/contracts.md``.
    """
    streams.keep_writable()
    signal.signal(signal.SIGTERM, _terminated)
    configured, env, as_json = context.config.get("singer", {}), kwargs.pop("env", ""), bool(kwargs.pop("json", False))
    command_line.start(os.environ.get("SINGER_LAUNCHER", ""), env)
    output = choose(as_json=as_json, env=env or str(configured.get("env", "")))
    try:
        if int(kwargs.get("limit", 1)) < 1:
            raise SetupError("E-SETTING", f"--limit is {kwargs['limit']}; allowed is 1 or more.", hint="Pass how many to show.")
        function(Session(configured, output, os.environ, env, as_json=as_json), *args, **kwargs)
        _written(function.__name__)
        gc.freeze()  # the garbage collector's last look would take 15 ms
    except SetupError as error:
        if not error.shown:
            output.error(error)
        raise Exit(code=error.exit_code) from None
    except KeyboardInterrupt as error:
        text = str(error) or f"States are as they were. A run in a cluster goes on: {command_line.command('runs')}"
        print(f"\nInterrupted. {text}", file=sys.stderr)
        raise Exit(code=EXIT_INTERRUPTED) from None
    except Exit:
        raise
    except Exception:  # noqa: BLE001 - the one place: a bug keeps its traceback and has its exit code
        traceback.print_exc()
        print("\nThis is a bug of ours. Please report it with the lines above.", file=sys.stderr)
        raise Exit(code=EXIT_BUG) from None


def _written(name: str) -> None:
    """Report output that could not be written. The command has done its work by now.

    :raises SetupError: E-DISK, the output was all that the command had to do.
    """
    why = streams.lost()
    if why is None:
        return
    problem = f"The output could not be written: {why}."
    if name not in RUNNING:
        raise SetupError("E-DISK", f"{problem} The command itself has finished.", hint="Free some space, or write somewhere else.")
    print(f"! {problem} The run itself has succeeded.", file=sys.stderr)


def _terminated(_number: int, _frame: FrameType | None) -> NoReturn:
    """Handle the first SIGTERM; ``timeout`` sends it twice.

    Programs that we start would keep an ignored signal, but not a handled one.
    """
    signal.signal(signal.SIGTERM, lambda *_: None)
    raise Interrupted


def check_invoke_yaml(root: Path) -> None:
    """Check that Invoke can read ``invoke.yaml``: it would answer a mistake with a traceback.

    :raises SystemExit: E-CONFIG, after the error was printed.
    """
    from cluster.config.strict import Fields, read_yaml  # noqa: PLC0415 - most checkouts have no such file

    for file in (root / "invoke.yaml", root / "invoke.yml"):
        if file.exists():
            try:
                content = read_yaml(file, file.name)
                if content is not None:
                    Fields(content, shown=file.name).mapping("singer")
                    _check_level(file.name, content)
                    _check_merge(file.name, content)
            except SetupError as error:
                for one in (error, *error.others):
                    Plain().error(one)
                raise SystemExit(error.exit_code) from None


def _check_level(shown: str, content: dict[str, Any]) -> None:
    """Check that no key of ours is mistyped, or beside ``singer``, where nobody would read it.

    Other keys may be those of the user's own tasks.

    :raises SetupError: E-SETTING, some are.
    """
    raise_all([error for key, value in content.items() if (error := _misplaced(shown, key, value))])


def _misplaced(shown: str, key: str, value: object) -> SetupError | None:
    from cluster.config.settings import DEFAULTS, INVOKE_YAML  # noqa: PLC0415 - most checkouts have no such file

    word, problem = key.lower(), f"{shown}: {key} is not a known key."
    below = f"Move it below singer: in {shown}, as docs/settings.md shows."
    if key in DEFAULTS:
        return SetupError("E-SETTING", f"{shown}: {key} is a setting of singer, and stands beside it.", hint=below)
    if key in INVOKE_YAML:
        return None
    if get_close_matches(word, ["singer"]) or (isinstance(value, dict) and set(value) & set(DEFAULTS)):
        return SetupError("E-SETTING", f'{problem} Did you mean "singer"?', hint=f'Rename "{key}" to "singer" in {shown}.')
    for near in get_close_matches(word, sorted(INVOKE_YAML), n=1, cutoff=ALIKE):
        return SetupError("E-SETTING", f'{problem} Did you mean "{near}"?', hint=f"Correct it in {shown}.")
    for near in get_close_matches(word, sorted(DEFAULTS), n=1, cutoff=ALIKE):
        return SetupError("E-SETTING", f'{problem} Did you mean "{near}", a setting of singer?', hint=below)
    return None


def _check_merge(shown: str, content: dict[str, Any]) -> None:
    """Check that Invoke can merge a file into its configuration.

    :raises SetupError: E-CONFIG, a mapping instead of one value or the other way round, or too many
        or too deep values.
    """
    from cluster.config.settings import DEFAULTS  # noqa: PLC0415 - most checkouts have no such file

    hint = f"Correct {shown}; docs/settings.md lists what each setting takes."
    if not _is_small(content):
        raise SetupError("E-CONFIG", f"{shown} holds too much, or is nested too deep.", hint=hint)
    try:
        merge_dicts({**Config.global_defaults(), "singer": dict(DEFAULTS)}, content)
    except AmbiguousMergeError as error:
        problem = f"{shown} has a mapping where one value belongs, or the other way round: {error}."
        raise SetupError("E-CONFIG", problem, hint=hint) from None


def _is_small(content: object) -> bool:
    """Return whether values are few and flat enough for Invoke, which works by recursion."""
    ahead, seen = [(content, LEVELS)], 0
    while ahead:
        value, levels = ahead.pop()
        seen += 1
        if seen > VALUES or not levels:
            return False
        inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        ahead += [(item, levels - 1) for item in inside]
    return True
