"""What people and programs see. The only importer of ``rich``.

The left edge answers "is it well?": ``✓`` done, ``•`` nothing to do, a spinner while it runs, ``!`` works but look,
``✗`` stopped. The same facts go to a terminal (rich), to anything else (one plain line when something changed) and to
a program (``--json``: one object per line). The rest of the code states facts and does not know which.
"""

from __future__ import annotations

import functools
import gc
import inspect
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from invoke.config import AmbiguousMergeError, Config, merge_dicts
from invoke.exceptions import Exit
from invoke.tasks import task

from cluster.errors import EXIT_BUG, EXIT_INTERRUPTED, Interrupted, SetupError
from cluster.session import Session
from cluster.ui import command_line
from cluster.ui.jsonl import Json
from cluster.ui.plain import Plain
from cluster.ui.terminal import Terminal

if TYPE_CHECKING:
    from cluster.ui.output import Output


if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import FrameType

    from invoke.context import Context
    from invoke.tasks import Task


def choose(*, as_json: bool, env: str = "") -> Output:
    """Return the form that fits: JSON on request, colours on a terminal, else plain lines. Programs are told of an *env* elsewhere."""
    if as_json:
        return Json({"env": env} if env not in {"", "laptop"} else {})
    if sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        return Terminal()
    return Plain()


ENV = "the environment: laptop, or one of environments/"
LEVELS = 20
"""How deep values of ``invoke.yaml`` may be within each other; Invoke's own settings have three."""
VALUES = 10_000
"""How many there may be of them, each counted as often as YAML's aliases repeat it: Invoke writes all of them out for its log."""


def command(**options: Any) -> Callable[[Callable[..., None]], Task[Callable[..., None]]]:
    """Make an Invoke task whose first argument is a ``Session``, and whose errors end as they should.

    *options* are those of ``invoke.task``. A ``json`` argument of the task chooses the form of the output. Every command that
    is about a platform takes ``--env`` as well; its body finds it in the settings.
    """

    def decorate(function: Callable[..., None]) -> Task[Callable[..., None]]:
        @functools.wraps(function)
        def run(context: Context, *args: Any, **kwargs: Any) -> None:
            guarded(function, context, *args, **kwargs)

        if function.__name__ not in command_line.HERE:
            signature = inspect.signature(function)
            env = inspect.Parameter("env", inspect.Parameter.KEYWORD_ONLY, default="")
            run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), env])  # type: ignore[attr-defined]
            options["help"] = {**options.get("help", {}), "env": ENV}
        made: Task[Callable[..., None]] = task(**options)(run)
        return made

    return decorate


def see_choices(root: Path) -> None:
    """See that ``invoke.yaml`` can be read, before Invoke does, which would answer with a traceback.

    :raises invoke.Exit: E-CONFIG, as a sentence and a hint.
    """
    from cluster.config.strict import Fields, read_yaml  # noqa: PLC0415 - mostly there is no such file

    for file in (root / "invoke.yaml", root / "invoke.yml"):
        if file.exists():
            try:
                found = read_yaml(file, file.name)
                if found is not None:
                    Fields(found, shown=file.name).mapping("singer")
                    _fits(file.name, found)
            except SetupError as error:
                raise Exit(f"{error.code}  {error.problem}\n→ {error.hint}", code=error.exit_code) from None


def _fits(shown: str, found: dict[str, Any]) -> None:
    """See that Invoke can lay what a file says over what there is already.

    :raises SetupError: E-CONFIG, an object stands where one value belongs, or the other way round, or they are too many or nested too deep.
    """
    from cluster.config.settings import DEFAULTS  # noqa: PLC0415 - mostly there is no such file

    hint = f"Correct {shown}; docs/settings.md lists what each setting takes."
    if not _plain(found):
        raise SetupError("E-CONFIG", f"{shown} holds too much, or is nested too deep.", hint=hint)
    try:
        merge_dicts({**Config.global_defaults(), "singer": dict(DEFAULTS)}, found)
    except AmbiguousMergeError as error:
        problem = f"{shown} has an object where one value belongs, or the other way round: {error}."
        raise SetupError("E-CONFIG", problem, hint=hint) from None


def _plain(found: object) -> bool:
    """Say whether values are few enough, and within each other only so deep: Invoke merges and prints them by recursion."""
    ahead, seen = [(found, LEVELS)], 0
    while ahead:
        value, levels = ahead.pop()
        seen += 1
        if seen > VALUES or not levels:
            return False
        inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        ahead += [(item, levels - 1) for item in inside]
    return True


def guarded(function: Callable[..., None], context: Context, *args: Any, **kwargs: Any) -> None:
    """Call *function* with a ``Session`` in place of the context.

    :raises invoke.Exit: with the exit code of ``docs/contracts.md``.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    signal.signal(signal.SIGTERM, _terminated)
    given, env = context.config.get("singer", {}), kwargs.pop("env", "")
    os.environ[command_line.NAMED] = env
    output = choose(as_json=bool(kwargs.get("json")), env=env or str(given.get("env", "")))
    try:
        function(Session(given, output, os.environ, env), *args, **kwargs)
        sys.stdout.flush()
        gc.freeze()  # what is left needs no last look by the garbage collector: 15 ms
    except SetupError as error:
        if not error.told:
            output.error(error)
        raise Exit(code=error.exit_code) from None
    except KeyboardInterrupt as error:
        print(f"\nInterrupted. {str(error) or 'What was running is stopped; states are as they were.'}", file=sys.stderr)
        raise Exit(code=EXIT_INTERRUPTED) from None
    except BrokenPipeError:
        # Whoever read our output has gone (| head): nothing to say, and nobody to say it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise Exit(code=0) from None
    except Exit:
        raise
    except Exception:  # noqa: BLE001 - the one place: a bug keeps its traceback and gets an exit code of its own
        traceback.print_exc()
        print("\nThis is a bug of ours. Please report it with the lines above.", file=sys.stderr)
        raise Exit(code=EXIT_BUG) from None


def _terminated(_number: int, _frame: FrameType | None) -> NoReturn:
    raise Interrupted
