"""The entrypoint as it runs in a pod: two or three containers that share a folder with FIFOs in it."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from entrypoint_process import HANGS_SECONDS, RECORD, SAYS, STATE, Box

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path


class Pod:
    """Two boxes and what they share."""

    def __init__(self, folder: Path) -> None:
        """Make the folders."""
        for name in ("tap", "mapper", "target", "shared"):
            (folder / name).mkdir()
        self.shared = folder / "shared"
        self.boxes = {side: Box(folder / side) for side in ("tap", "mapper", "target")}
        self.pipe = str(self.shared / "pipe")
        self.mapped = str(self.shared / "mapped")

    def start(self, side: str, script: str, **environ: Any) -> subprocess.Popen[str]:
        """Start one container."""
        where = "SINGER_TAP_OUTPUT" if side == "tap" else "SINGER_TAP_INPUT"
        return self.boxes[side].start(side, script, SINGER_PIPE=self.pipe, **{where: self.pipe, **environ})

    def run(self, tap: str, target: str, pause: float = 0.0) -> tuple[int, int]:
        """Run both to their end, the target *pause* seconds later; return the exit codes."""
        with self.start("tap", tap) as first:
            time.sleep(pause)
            with self.start("target", target) as second:
                second.communicate(timeout=HANGS_SECONDS)
                first.communicate(timeout=HANGS_SECONDS)
        return first.returncode, second.returncode

    def three(self, tap: str, mapper: str, target: str) -> tuple[int, ...]:
        """Run tap, mapper and target to their end, and return the exit codes."""
        outputs = {"tap": self.pipe, "mapper": self.mapped, "target": ""}
        common: dict[str, Any] = {"SINGER_PIPE": f"{self.pipe}:{self.mapped}", "SINGER_TAP_INPUT": ""}
        scripts = {"tap": tap, "mapper": mapper, "target": target}
        started = [
            self.boxes[side].start(side, script, **common, SINGER_TAP_OUTPUT=outputs[side]) for side, script in reversed(scripts.items())
        ]
        for process in started:
            with process:
                process.communicate(timeout=HANGS_SECONDS)
        return tuple(process.returncode for process in reversed(started))


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    """Return a pod without containers."""
    return Pod(tmp_path)


@pytest.mark.parametrize("pause", [0.0, 0.4])
def test_they_meet(pod: Pod, pause: float) -> None:
    """The side that comes first makes the FIFO, and the whole output of the tap arrives."""
    assert pod.run(SAYS, "cat >read; echo '{\"n\": 1}'", pause) == (0, 0)
    assert pod.boxes["target"].read("data/read") == RECORD + STATE
    assert pod.boxes["target"].read("new_state.json") == '{"n": 1}'


@pytest.mark.parametrize("pause", [0.0, 0.6])
def test_a_tap_that_cannot_begin_does_not_hang_its_target(pod: Pod, pause: float) -> None:
    """A tap that ends before it has opened the FIFO lets the target end too, without a delay and with a reason."""
    pod.boxes["tap"].write("config.json", "{")
    assert pod.run(SAYS, "cat >read", pause) == (90, 90)
    assert pod.boxes["tap"].report["error"]["code"] == "E-CONFIG"
    assert pod.boxes["target"].report["error"]["code"] == "E-PIPE"
    assert "the other side has ended" in pod.boxes["target"].report["error"]["problem"]


def test_a_target_that_cannot_begin_does_not_hang_its_tap(pod: Pod) -> None:
    """A target that ends before it has opened the FIFO lets the tap end too."""
    pod.boxes["target"].write("config.json", "{")
    assert pod.run(SAYS, "cat >read") == (90, 90)
    assert pod.boxes["tap"].report["error"]["code"] == "E-PIPE"


def test_a_mapper_between_them(pod: Pod) -> None:
    """The mapper reads what the tap sends, the target what the mapper prints; both are counted, and the mapper's maps are reported."""
    pod.boxes["mapper"].write("config.json", {"stream_maps": {"s": {}, "new": {"__source__": "t"}, "x*": {}, "__else__": None}})
    assert pod.three(SAYS, 'sed \'s/"s"/"renamed"/\'', "cat >read; echo '{\"n\": 1}'") == (0, 0, 0)
    assert pod.boxes["target"].read("data/read") == RECORD.replace('"s"', '"renamed"') + STATE
    assert pod.boxes["tap"].report["records"] == {"s": 1}
    report = pod.boxes["mapper"].report
    assert (report["side"], report["records"], report["maps"], report["exit_code"]) == ("mapper", {"renamed": 1}, ["s", "t"], 0)


THREE = {
    "the tap cannot begin": ("tap", SAYS, "cat", "cat >read", (90, 90, 90), ("E-CONFIG", "E-PIPE", "E-PIPE")),
    "the mapper cannot begin": ("mapper", SAYS, "cat", "cat >read", (90, 90, 90), ("E-PIPE", "E-CONFIG", "E-PIPE")),
    "the mapper fails": ("", SAYS, "cat >/dev/null; exit 3", "cat >read", (0, 3, 0), ("", "", "")),
    "the mapper leaves messages unread": ("", SAYS, "exit 0", "cat >read", (0, 90, 0), ("", "E-MAPPER-ENDED", "")),
    "the mapper prints words": ("", SAYS, "cat >/dev/null; echo Hello", "cat >read", (0, 90, 0), ("", "E-MAPPER-OUTPUT", "")),
}


@pytest.mark.parametrize(("broken", "tap", "mapper", "target", "codes", "errors"), THREE.values(), ids=THREE)
def test_none_of_three_waits_for_another(
    pod: Pod, broken: str, tap: str, mapper: str, target: str, codes: tuple[int, ...], errors: tuple[str, ...]
) -> None:
    """If one of three fails, the others end without a delay, and each reports the reason."""
    if broken:
        pod.boxes[broken].write("config.json", "{")
    assert pod.three(tap, mapper, target) == codes
    assert tuple((box.report["error"] or {}).get("code", "") for box in pod.boxes.values()) == errors


@pytest.mark.full  # it is stopped after ten seconds
def test_a_tap_without_a_word_is_stopped_after_its_target_has_failed(pod: Pod) -> None:
    """A tap that has nothing to write cannot notice that its target has failed: it is stopped a while later."""
    assert pod.run(f"{SAYS}\nexec sleep 600", "exit 3") == (90, 3)
    assert pod.boxes["tap"].report["error"]["code"] == "E-TARGET-ENDED"


def test_argo_shows_the_progress(pod: Pod) -> None:
    """The tap writes its records so far where Argo looks for progress; a target writes nothing there."""
    progress = pod.shared / "progress"
    environ = {"ARGO_PROGRESS_FILE": str(progress)}
    with pod.start("target", "cat >read", **environ) as target:
        time.sleep(0.3)
        assert not progress.exists()
        with pod.start("tap", f"{SAYS}\nsleep 0.8\n{SAYS}", **environ) as tap:
            tap.communicate(timeout=HANGS_SECONDS)
        target.communicate(timeout=HANGS_SECONDS)
    assert progress.read_text() == "2/3\n"


def test_where_a_tap_begins(tmp_path: Path) -> None:
    """The stored state counts, else the initial one, and with SINGER_FULL neither."""
    box = Box(tmp_path)
    script = f'echo "$@" >"$BOX/arguments"\n{SAYS}'
    initial = str(box.write("initial.json", {"n": 0}))
    cases: list[tuple[object, dict[str, Any], str]] = [
        (None, {}, "initial.json"),
        ({}, {}, "initial.json"),
        ({"n": 1}, {}, "state.json"),
        ({"n": 1}, {"SINGER_FULL": "false"}, "state.json"),
        ({"n": 1}, {"SINGER_FULL": "true"}, ""),
    ]
    for content, environ, file in cases:
        if content is not None:
            box.write("state.json", json.dumps(content))
        assert box.run("tap", script, SINGER_INITIAL_STATE=initial, **environ).code == 0
        assert box.read("arguments").strip() == (f"--state {box.folder / file}" if file else "")


@pytest.mark.parametrize("wrapped", [{"singer_state": {"n": 7}}, {"type": "STATE", "value": {"n": 7}}], ids=["Meltano", "message"])
def test_a_tap_gets_a_state_without_its_wrapping(tmp_path: Path, wrapped: dict[str, Any]) -> None:
    """A state that another tool has wrapped reaches the tap as a state; an empty wrapping is none."""
    box = Box(tmp_path)
    script = f'echo "$@" >"$BOX/arguments"; cat "$2" >"$BOX/given"\n{SAYS}'
    initial = str(box.write("initial.json", wrapped))
    assert box.run("tap", script, SINGER_INITIAL_STATE=initial).code == 0
    assert json.loads(box.read("given")) == {"n": 7}
    box.write("initial.json", {"singer_state": {}})
    assert box.run("tap", f'echo "$@" >"$BOX/arguments"\n{SAYS}', SINGER_INITIAL_STATE=initial).code == 0
    assert box.read("arguments").strip() == ""
