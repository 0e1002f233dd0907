"""What a wheel puts into an image, against what an installer puts into a venv."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from cluster.project import wheels

INSTALLERS = {"INSTALLER", "RECORD", "REQUESTED", "direct_url.json", "uv_cache.json"}
"""Files of an installer about itself."""
PARTS = {
    "tap_x/__init__.py": "def main():\n    print('ran')\n",
    "tap_x/data/rates.csv": "a,b\n",
    "tap_x-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: tap-x\nVersion: 1\n",
    "tap_x-1.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "tap_x-1.dist-info/entry_points.txt": "[console_scripts]\ntap-x = tap_x:main\nTap-Y = tap_x:main [extra]\n\n[other]\nz = tap_x\n",
    "tap_x-1.data/scripts/tap-old": "#!python\nimport tap_x; tap_x.main()\n",
    "tap_x-1.data/purelib/extra.py": "",
}


def wheel(folder: Path, parts: dict[str, str]) -> Path:
    """Write a wheel."""
    file = folder / "tap_x-1-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        for name, text in {**parts, "tap_x-1.dist-info/RECORD": "".join(f"{name},,\n" for name in parts)}.items():
            archive.writestr(name, text)
    return file


def test_a_wheel_is_put_where_uv_puts_it(tmp_path: Path) -> None:
    """All files but those of the installer about itself, and every program starts."""
    venv, made = tmp_path / "venv", wheel(tmp_path, PARTS)
    uv = Path(sys.prefix) / "bin" / "uv"
    for words in (["venv", "--python", sys.executable, str(venv)], ["pip", "install", "--python", str(venv), "--no-deps", str(made)]):
        subprocess.run([uv, "--no-config", "--offline", "--cache-dir", tmp_path / "cache", *words], check=True, capture_output=True)
    [packages] = venv.glob("lib/python*/site-packages")
    before = {file for file in venv.rglob("*") if file.is_file() and file.name.startswith(("activate", "python"))}
    written = wheels.files(made, str(packages.relative_to(tmp_path)), "venv")
    for name, file in written.items():
        installed = tmp_path / name
        assert installed.is_file(), name
        if packages in installed.parents and installed.name not in INSTALLERS:
            assert installed.read_bytes() == file.content
        else:
            installed.write_bytes(file.content.replace(b"/venv/bin/python", f"{venv}/bin/python".encode(), 1))
            assert file.mode & 0o111 or installed.name in INSTALLERS
    programs = ["tap-x", "Tap-Y", "tap-old"]
    for name in programs:
        assert subprocess.run([venv / "bin" / name], check=True, capture_output=True, text=True).stdout == "ran\n"
    assert {file.name for file in (venv / "bin").iterdir()} >= set(programs)
    ours = {tmp_path / name for name in written}
    new = {file for file in packages.rglob("*") if file.is_file()} - ours - before
    assert {file.name for file in new} <= INSTALLERS | {"_virtualenv.py", "_virtualenv.pth"}


@pytest.mark.parametrize("name", ["tap_x-1.data/data/share/x", "tap_x-1.data/headers/x.h", "../x.py", "/x.py"])
def test_an_unusual_wheel_is_left_to_an_installer(tmp_path: Path, name: str) -> None:
    """A part that is seldom there, or that would leave the venv."""
    with pytest.raises(wheels.UnusualError):
        wheels.files(wheel(tmp_path, {**PARTS, name: ""}), "lib", "venv")


@pytest.mark.parametrize("text", ["[console_scripts]\nx = y\n", "[console_scripts]\n../x = y:z\n", "x\n"])
def test_unusual_programs(tmp_path: Path, text: str) -> None:
    """An entry point that is none."""
    with pytest.raises(wheels.UnusualError):
        wheels.files(wheel(tmp_path, {**PARTS, "tap_x-1.dist-info/entry_points.txt": text}), "lib", "venv")


def test_a_file_that_is_no_wheel(tmp_path: Path) -> None:
    """It is left to an installer, too."""
    (tmp_path / "x.whl").write_text("x")
    with pytest.raises(wheels.UnusualError):
        wheels.files(tmp_path / "x.whl", "lib", "venv")
