"""Requirements of connectors: mistakes are noticed without a network, and nothing is refused that uv accepts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml

from cluster.errors import SetupError
from cluster.project.reader import Project

if TYPE_CHECKING:
    from pathlib import Path


def read(root: Path, **keys: object) -> tuple[str, ...]:
    """Return the requirements of a connector with these keys of ``connector.yaml``."""
    folder = root / "singer-configs" / "tap-x"
    folder.mkdir(parents=True)
    (folder / "connector.yaml").write_text(yaml.safe_dump({"kind": "tap", **keys}), encoding="utf-8")
    return Project(root).connector("tap-x").requirements


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("x=1.0", '"x==1.0"'),
        ("x[a,b]=1.0", '"x[a,b]==1.0"'),
        ("x=>1.0", '"x>=1.0"'),
        ("x=<1.0", '"x<=1.0"'),
        ("x~1.0", '"x~=1.0"'),
        ("x^1.0", '"x~=1.0"'),
        ("x@1.0", '"x==1.0"'),
        ("x:1.0", '"x==1.0"'),
        ("x==", ""),
        ("x@latest", '"x"'),
        (["x>=1.0 <2.0"], ""),
        (["x==1.0", "y = 2"], '"y==2"'),
        ("x == 1.0", '"x==1.0"'),
        ("x>=1.0, <2.0 y", '"x>=1.0,<2.0 y"'),
        ("./p x=1.0 git+https://h/r", '"./p x==1.0 git+https://h/r"'),
        ("x==1.0; python_version < '3.12'", "[\"x==1.0; python_version < '3.12'\"]"),
        ("täp", ""),
        ("x==" + "9" * 300 + "=", '"x==' + "9" * 74 + "…"),
    ],
)
def test_a_mistyped_requirement(tmp_path: Path, written: object, meant: str) -> None:
    """It is refused with what it probably means, before anything is installed."""
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "setup.py").touch()

    with pytest.raises(SetupError, match=r"such as tap-x==1\.0, and .* is none") as caught:
        read(tmp_path, pip_url=written)

    assert (caught.value.code, caught.value.hint) == ("E-CONFIG", "Correct pip_url in singer-configs/tap-x/connector.yaml.")
    assert caught.value.problem.partition("Did you mean ")[2].rstrip("?") == meant.rstrip("?") or meant.endswith("…")


@pytest.mark.parametrize(
    "written",
    [
        "x",
        "x==1.0",
        "X.y_z[a,b]>=1.0,<2,!=1.5",
        "x===1.0",
        "x==1.*",
        "x==1.0rc1 y==1!2.0 z==1.0+local",
        "x~=1.0",
        "x @ git+https://h/r.git@v1#subdirectory=a",
        "git+ssh://git@h/r.git",
        "x@https://h/x-1.0.tar.gz",
        "https://h/x-1.0-py3-none-any.whl",
        "file:p",
        "x-1.0-py3-none-any.whl",
        "x==${VERSION}",
        ".",
        ["x == 1.0 , < 2"],
        ["x (>=1.0)"],
        ["x==1.0; python_version < '3.12' and extra == 'a'"],
        ["x==1.0 # the last one for our server"],
        ["x==1.0 --hash=sha256:" + "a" * 64],
        ["x @ p"],
        ["x@1.0"],
    ],
)
def test_what_uv_accepts(tmp_path: Path, written: str | list[str]) -> None:
    """Addresses, files, extras, markers, comments and variables are left as they are."""
    for folder in ("p", "1.0"):
        (tmp_path / folder).mkdir()

    assert " ".join(read(tmp_path, pip_url=written)) == (written if isinstance(written, str) else written[0])


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("build_constraints", ["setuptools=66"], 'Did you mean "setuptools==66"?'),
        ("exclude_newer", "2023-02-30", "of the calendar"),
        ("exclude_newer", "2023-02-01T99:00:00Z", "of the calendar"),
    ],
)
def test_other_keys_of_the_installation(tmp_path: Path, key: str, value: object, sentence: str) -> None:
    """What only uv would notice in other keys is refused too."""
    with pytest.raises(SetupError, match="allowed is") as caught:
        read(tmp_path, **{"pip_url": "x", key: value})

    assert sentence in caught.value.problem


@pytest.mark.parametrize("written", ["my taps/tap-x", "./my taps/tap-x", "my wheels/tap_x-1-py3-none-any.whl"])
def test_a_path_with_a_space(tmp_path: Path, written: str) -> None:
    """Unquoted it is refused with the list to write; as an item of a list, or in quotes, it is one path."""
    for name in ("my taps/tap-x/setup.py", "my wheels/tap_x-1-py3-none-any.whl"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    with pytest.raises(SetupError, match="allowed is") as caught:
        read(tmp_path, pip_url=written)
    assert caught.value.problem.endswith(f'Did you mean ["{written}"]?')

    file = tmp_path / "singer-configs" / "tap-x" / "connector.yaml"
    for form in ([written], f"'{written}'"):
        file.write_text(yaml.safe_dump({"kind": "tap", "pip_url": form}), encoding="utf-8")
        connector = Project(tmp_path).connector("tap-x")
        assert [*connector.requirements, *map(str, connector.projects)] == [
            f"./{written}" if written.endswith(".whl") else str(tmp_path / written)
        ]


def test_a_path_with_a_space_that_is_not_there(tmp_path: Path) -> None:
    """The message names how a path with a space is written."""
    with pytest.raises(SetupError, match=r"\./my is neither; a path with a space is an item of a list"):
        read(tmp_path, pip_url="./my taps/tap-x")
