"""``lock``: the newest packages of a connector, shown, tried and kept, or left alone."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from checkout import Checkout

STARTS = "def main():\n    print('usage: tap-tiny')\n"
FAILS = "def main():\n    raise SystemExit('it needs more')\n"


@pytest.fixture
def index(checkout: Checkout, tmp_path: Path) -> Path:
    """Return a folder with the packages that are there, and make a connector that takes the newest of one."""
    folder = tmp_path / "index"
    folder.mkdir()
    checkout.environ |= {"UV_FIND_LINKS": str(folder), "UV_NO_INDEX": "1"}
    (checkout.local / "environments").unlink()  # the packages exist for this test alone
    release(folder, "1.0", STARTS)
    checkout.write("tap-tiny/connector.yaml", "kind: tap\npip_url: tap-tiny\n")
    return folder


def release(folder: Path, version: str, code: str) -> None:
    """Write a wheel with a program."""
    info = f"tap_tiny-{version}.dist-info"
    files = {
        "tap_tiny.py": code,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: tap-tiny\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[console_scripts]\ntap-tiny = tap_tiny:main\n",
    }
    with zipfile.ZipFile(folder / f"tap_tiny-{version}-py3-none-any.whl", "w") as wheel:
        for name, text in {**files, f"{info}/RECORD": "".join(f"{name},,\n" for name in (*files, f"{info}/RECORD"))}.items():
            wheel.writestr(name, text)


def test_a_newer_package(checkout: Checkout, index: Path) -> None:
    """``--plan`` shows it; without, the lock has it once its program has started; then there is nothing to do."""
    lock = checkout.root / "singer-configs" / "tap-tiny" / "requirements.lock"
    assert "up to date" in checkout.invoke("lock", "tap-tiny").out
    before = lock.read_bytes()
    release(index, "2.0", STARTS)

    plan = checkout.invoke("lock", "tap-tiny", "--plan")
    assert (plan.code, "tap-tiny" in plan.out, "1.0 → 2.0" in plan.out) == (0, True, True), plan.err
    assert lock.read_bytes() == before

    done = checkout.invoke("lock", "tap-tiny", "--json")
    assert done.code == 0, done.err
    [event] = [event for event in done.events if event["event"] == "package"]
    assert (event["connector"], event["package"], event["before"], event["after"]) == ("tap-tiny", "tap-tiny", "1.0", "2.0")
    assert "tap-tiny==2.0" in lock.read_text()
    assert "up to date" in checkout.invoke("lock", "tap-tiny").out


def test_a_newer_package_that_does_not_start(checkout: Checkout, index: Path) -> None:
    """The lock stays as it was, and the error names where to pin."""
    lock = checkout.root / "singer-configs" / "tap-tiny" / "requirements.lock"
    assert checkout.invoke("lock", "tap-tiny").code == 0
    before = lock.read_bytes()
    release(index, "2.0", FAILS)
    result = checkout.invoke("lock", "tap-tiny")
    assert (result.code, result.err.split(maxsplit=1)[0]) == (1, "E-INSTALL")
    assert "pip_url" in result.err.splitlines()[-1]
    assert lock.read_bytes() == before


def test_packages_that_cannot_be_resolved(checkout: Checkout, index: Path) -> None:
    """Where the package is gone, the lock stays as it was."""
    lock = checkout.root / "singer-configs" / "tap-tiny" / "requirements.lock"
    assert checkout.invoke("lock", "tap-tiny").code == 0
    before = lock.read_bytes()
    for wheel in index.iterdir():
        wheel.unlink()
    result = checkout.invoke("lock", "tap-tiny")
    assert (result.code, result.err.split(maxsplit=1)[0]) == (1, "E-INSTALL")
    assert lock.read_bytes() == before
