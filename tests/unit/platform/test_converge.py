"""How the steps of `up` are run: in order, overlapping where they can, stopped by the first error, and looked at without being touched."""

from __future__ import annotations

import json
import signal
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from cluster.config.settings import Settings
from cluster.errors import SetupError
from cluster.platform.converge import converge, look
from cluster.platform.handles import Handles
from cluster.ui.jsonl import Json

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SECONDS = 60
"""Far longer than any of this takes, on any machine."""


@dataclass
class Fact:
    """A step written by hand: not true until it is applied, unless a test overrides that."""

    title: str
    needs: tuple[str, ...] = ()
    budget: float = SECONDS
    true: bool = False
    applied: int = 0
    looked: int = 0
    work: Callable[[Callable[[str], None]], object] = lambda _: None
    why: Callable[[], str] = lambda: "not there yet"
    ok: str = ""
    lag: int = 0
    """So many looks after ``apply`` it is not true yet."""

    def apply(self, _stack: Handles, say: Callable[[str], None]) -> str:
        """Do the work of the test; then the fact is true."""
        self.applied += 1
        self.work(say)
        self.true = True
        return f"{self.title} done"

    def pending(self, _stack: Handles) -> str | None:
        """Say why it is not true."""
        self.looked += 1
        if self.true and self.lag:
            self.lag -= 1
            return self.why()
        return None if self.true else self.why()


class Asking(Fact):
    """A step that asks the runtime when it is looked at."""

    def pending(self, stack: Handles) -> str | None:
        """Ask, and say why it is not true."""
        stack.runtime.containers("x")
        return super().pending(stack)


def raising(error: BaseException) -> Callable[..., Any]:
    """Return a function that raises."""

    def function(*_: object) -> Any:
        raise error

    return function


def problem(code: str = "E-KUBE", text: str = "It does not work.") -> SetupError:
    """Return an error that a user is meant to see."""
    return SetupError(code, text, hint="Do something.")


@pytest.fixture
def handles(tmp_path: Path) -> Handles:
    """Return the handles of a checkout in which nothing is installed."""
    return Handles(Settings(root=tmp_path), {})


def shown(capsys: pytest.CaptureFixture[str]) -> list[tuple[str, str]]:
    """Return what a program reads: started and finished, and of which step."""
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [(event["event"].removeprefix("step."), event["step"]) for event in events]


def test_each_step_waits_for_what_it_needs(handles: Handles, capsys: pytest.CaptureFixture[str]) -> None:
    """A step begins only when everything that it needs is finished, however the steps are listed."""
    facts = [Fact("roof", ("left", "right")), Fact("right", ("ground",)), Fact("left", ("ground",), lag=1), Fact("ground", lag=1)]
    changed = converge(facts, handles, Json())
    seen = shown(capsys)

    assert all(seen.index(("finished", need)) < seen.index(("started", fact.title)) for fact in facts for need in fact.needs)
    assert [fact.applied for fact in facts] == [1, 1, 1, 1]
    assert set(changed) == {"roof", "left", "right", "ground"}
    assert all(0 <= taken.waiting < taken.seconds < SECONDS for taken in changed.values())


def test_independent_steps_overlap(handles: Handles) -> None:
    """Steps that do not need each other are done at the same time: each of these waits until all of them are under way."""
    barrier = threading.Barrier(4, timeout=SECONDS)
    facts = [Fact(letter, ("first",), work=lambda _: barrier.wait()) for letter in "abcd"]

    assert set(converge([Fact("first"), *facts], handles, Json())) == {"first", "a", "b", "c", "d"}


def test_a_step_does_not_wait_for_those_that_it_does_not_need(handles: Handles) -> None:
    """What is slow holds up only what needs it: a whole branch is finished while the slow step is still under way."""
    finished = threading.Event()
    in_time: list[bool] = []
    slow = Fact("slow", work=lambda _: in_time.append(finished.wait(SECONDS)))
    branch = [Fact("quick"), Fact("next", ("quick",)), Fact("last", ("next",), work=lambda _: finished.set())]

    converge([slow, *branch], handles, Json())
    assert in_time == [True]


def test_what_is_true_is_left_alone(handles: Handles, capsys: pytest.CaptureFixture[str]) -> None:
    """A fact that is true already is not applied, not shown and not counted as a change; what needs it goes on."""
    facts = [Fact("there", true=True), Fact("missing", ("there",)), Fact("also there", ("missing",), true=True)]
    changed = converge(facts, handles, Json())

    assert [fact.applied for fact in facts] == [0, 1, 0]
    assert set(changed) == {"missing"}
    assert shown(capsys) == [("started", "missing"), ("finished", "missing")]
    assert converge(facts, handles, Json()) == {}
    assert shown(capsys) == []


def test_a_step_that_acts_makes_the_next_ask_again(handles: Handles, tmp_path: Path) -> None:
    """Steps that only look share an answer of the runtime; after a step that acts each asks anew."""
    docker = tmp_path / "docker"
    docker.write_text(f"#!/bin/sh\necho >>'{tmp_path}/calls'\n")
    docker.chmod(0o755)
    handles.runtime.chosen = str(docker)

    def asked() -> int:
        return len((tmp_path / "calls").read_text().splitlines())

    seen: list[int] = []
    looks = [Asking("one", true=True), Asking("two", ("one",), true=True), Asking("three", ("act",), true=True)]
    converge([*looks, Fact("act", ("two",), work=lambda _: seen.append(asked()))], handles, Json())
    assert (seen, asked()) == ([1], 2)


def test_what_cannot_be_looked_at_is_applied(handles: Handles) -> None:
    """A step that cannot even be asked, because what it asks is not there yet, is done like any that is missing."""
    fact = Fact("objects", why=raising(problem()))

    assert set(converge([fact], handles, Json())) == {"objects"}


def test_the_wait_ends_when_the_fact_is_true(handles: Handles) -> None:
    """After a step has done its work it is finished when the fact is seen to be true, not before."""
    fact = Fact("slow to come", lag=2)
    after = Fact("after", ("slow to come",))
    converge([fact, after], handles, Json())

    assert (fact.lag, fact.applied, after.applied) == (0, 1, 1)


def test_the_first_error_stops_the_rest(handles: Handles, capsys: pytest.CaptureFixture[str]) -> None:
    """When one step fails the others stop at the next thing they say, nothing else begins, and the error is that of the first."""
    running, to_the_end = threading.Event(), threading.Event()

    def fail(_: object) -> None:
        running.wait(SECONDS)
        raise problem("E-CLUSTER", "The first one.")

    def talk(say: Callable[[str], None]) -> None:
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            say("still at it")
            running.set()
            time.sleep(0.01)
        to_the_end.set()

    facts = [Fact("fails", work=fail), Fact("talks", work=talk), Fact("of the first", ("fails",)), Fact("of the second", ("talks",))]
    with pytest.raises(SetupError) as caught:
        converge(facts, handles, Json())

    assert (caught.value.code, caught.value.problem) == ("E-CLUSTER", "The first one.")
    assert not to_the_end.is_set()
    assert [fact.applied for fact in facts] == [1, 1, 0, 0]
    assert {title for kind, title in shown(capsys) if kind == "finished"} == {"fails", "talks"}


def test_a_step_that_waits_is_stopped_too(handles: Handles) -> None:
    """A step that has done its work and waits for the fact does not wait on when another one fails."""
    waiting = threading.Event()

    def why() -> str:
        waiting.set()
        return "not yet"

    facts = [
        Fact("waits", lag=10**6, why=why, true=False, budget=600),
        Fact("fails", work=lambda _: (waiting.wait(SECONDS), raising(problem())())),
    ]
    began = time.monotonic()
    with pytest.raises(SetupError, match="It does not work"):
        converge(facts, handles, Json())
    assert time.monotonic() - began < facts[0].budget


def test_the_next_time_goes_on_where_the_last_one_failed(handles: Handles) -> None:
    """What was done before an error stays done; the next time only the rest is."""
    one, two, three = Fact("one"), Fact("two", ("one",), work=raising(problem())), Fact("three", ("two",))
    with pytest.raises(SetupError):
        converge([one, two, three], handles, Json())
    two.work = lambda _: None

    assert set(converge([one, two, three], handles, Json())) == {"two", "three"}
    assert (one.applied, two.applied, three.applied) == (1, 2, 1)


def test_a_wait_that_takes_too_long_tells_the_last_reason(handles: Handles) -> None:
    """A fact that does not become true in its time ends with what it was waiting for last, and with what to type next."""
    reasons = iter(["pulling", "starting"])
    fact = Fact("MinIO", lag=10**6, budget=0.4, why=lambda: next(reasons, "minio: 0 of 1 pods are available"))
    next_one = Fact("Buckets", ("MinIO",))
    with pytest.raises(SetupError) as caught:
        converge([fact, next_one], handles, Json())

    assert caught.value.code == "E-TIMEOUT"
    assert caught.value.problem == "MinIO: minio: 0 of 1 pods are available, after 0.4 s."
    assert "status" in caught.value.hint
    assert next_one.applied == 0


def test_a_fact_has_the_whole_of_its_time(handles: Handles) -> None:
    """The time that a step's own work takes does not count: the wait for its fact begins when the work is done."""
    fact = Fact("pulls first", budget=0.5, lag=1, work=lambda _: time.sleep(0.7))

    assert set(converge([fact], handles, Json())) == {"pulls first"}


def test_what_is_hopeless_is_not_waited_for(handles: Handles) -> None:
    """When a step sees that waiting cannot help, its reason is reported immediately and not when its time is over."""
    fact = Fact("Argo", budget=600)
    fact.work = lambda _: setattr(fact, "why", raising(problem("E-POD", "deployment/argo-server: cannot pull x.")))
    fact.lag = 1
    began = time.monotonic()
    with pytest.raises(SetupError) as caught:
        converge([fact], handles, Json())

    assert (caught.value.code, caught.value.problem) == ("E-POD", "deployment/argo-server: cannot pull x.")
    assert time.monotonic() - began < fact.budget


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit, ZeroDivisionError], ids=lambda kind: kind.__name__)
def test_what_is_no_error_of_the_users_is_raised_as_it_is(handles: Handles, end: type[BaseException]) -> None:
    """An interrupt, an exit or a bug inside a step reaches the command as what it is, and nothing begins after it."""
    after = Fact("after", ("ends",))
    with pytest.raises(end):
        converge([Fact("ends", work=raising(end())), after], handles, Json())
    assert after.applied == 0


def test_ctrl_c_stops_what_is_running(handles: Handles) -> None:
    """Ctrl-C while steps are under way stops them at the next thing they say, and is an interrupt for the command."""
    main = threading.main_thread().ident
    assert main is not None

    def work(say: Callable[[str], None]) -> None:
        time.sleep(0.2)  # by now the main thread waits for us
        signal.pthread_kill(main, signal.SIGINT)
        for _ in range(1000):
            say("still at it")
            time.sleep(0.01)

    fact, after = Fact("works", work=work), Fact("after", ("works",))
    with pytest.raises(KeyboardInterrupt):
        converge([fact, after], handles, Json())

    assert (fact.true, after.applied) == (False, 0)


def test_a_look_touches_nothing(handles: Handles, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Looking applies nothing, shows no step, writes no file, and tells of each fact whether it is true or why it is not."""
    facts = [
        Fact("there", true=True),
        Fact("missing", ("there",)),
        Fact("of the missing", ("missing",)),
        Fact("further", ("there", "of the missing")),
        Fact("cannot be asked", ("there",), why=raising(problem(text="The API does not answer."))),
    ]
    results = look(facts, handles)

    assert results == {
        "there": None,
        "missing": "not there yet",
        "of the missing": "waiting for missing",
        "further": "waiting for of the missing",
        "cannot be asked": "The API does not answer",
    }
    assert list(results) == [fact.title for fact in facts]
    assert [fact.applied for fact in facts] == [0] * 5
    assert [fact.looked for fact in facts] == [1, 1, 0, 0, 1]
    assert shown(capsys) == []
    assert list(tmp_path.iterdir()) == []
