"""What to do about a program that does not start: the hint is a command that runs as printed."""

from __future__ import annotations

import shlex

import pytest

from cluster.onboarding import remedies
from cluster.runs.outcome import SideResult


def remedy(output: str, name: str, pip_url: str, versions: dict[str, str]) -> str:
    """Return the hint, with an index that lacks one package."""
    return remedies.remedy(output, name, pip_url, versions, lambda package: package != "unknown-thing")


VERSIONS = {"singer-sdk": "0.53.0", "pyopenssl": "25.1"}
CASES = {
    "ImportError: cannot import name 'MutableMapping' from 'collections' (/usr/lib/python3.13/collections/__init__.py)": "--python 3.9",
    "AttributeError: module 'collections' has no attribute 'Callable'": "--python 3.9",
    "ModuleNotFoundError: No module named 'pkg_resources'": "setuptools<81",
    "ModuleNotFoundError: No module named 'yaml'": "PyYAML",
    "ModuleNotFoundError: No module named 'dateutil.parser'": "python-dateutil",
    "ModuleNotFoundError: No module named 'google.cloud.bigquery'": "google-cloud-bigquery",
    "ModuleNotFoundError: No module named 'google.cloud.storage.blob'": "google-cloud-storage",
    "ModuleNotFoundError: No module named 'azure.storage.blob'": "azure-storage-blob",
    "ModuleNotFoundError: No module named 'azure.identity'": "azure-identity",
    "ModuleNotFoundError: No module named 'google.oauth2'": "google-auth",
    "ModuleNotFoundError: No module named 'some_thing'": "some-thing",
    "ModuleNotFoundError: No module named 'distutils.util'": "setuptools<81",
    "ModuleNotFoundError: No module named 'imp'": "--python 3.11",
    "AttributeError: module 'inspect' has no attribute 'getargspec'": "--python 3.10",
    "ModuleNotFoundError: No module named 'cgi'": "--python 3.12",
    "ImportError: cannot import name 'Old' from 'singer_sdk.helpers' (/x.py)": "singer-sdk<0.53.0",
    "AttributeError: module 'OpenSSL.SSL' has no attribute 'Old'": "pyOpenSSL<25.1",
    "ImportError: cannot import name 'x' from 'somewhere' (/x.py)": "--python 3.10",
    "Segmentation fault": "--python 3.10",
}


@pytest.mark.parametrize(("output", "advice"), CASES.items())
def test_the_advice_fits_the_error(output: str, advice: str) -> None:
    """A module is named by the package that installs it; what Python has removed is answered with the last that has it."""
    hint = remedy(f"Traceback\n{output}\n", "tap-x", "tap-x[s3]==1.0 a<2", VERSIONS)
    words = shlex.split(hint.partition("invoke ")[2])
    assert words[:3] == ["new", "tap-x", "--pip-url"]
    assert words[3].startswith("tap-x[s3]==1.0 a<2")
    assert advice in " ".join(words)


def test_a_package_that_the_index_does_not_have() -> None:
    """A guess that the package index does not know is not proposed: the module is named instead."""
    hint = remedy("ModuleNotFoundError: No module named 'unknown_thing'", "tap-x", "tap-x", VERSIONS)
    assert hint.startswith("Add the package with the module unknown_thing: ")
    assert "unknown-thing" not in hint


LIBRARIES = {
    "ImportError: libpq.so.5: cannot open shared object file: No such file or directory": "the Debian package libpq5,",
    "ImportError: libodd.so.2: cannot open shared object file: No such file or directory": "the package that has libodd.so.2,",
    "ImportError: dlopen(/x.so, 0x0002): Library not loaded: /opt/homebrew/lib/libpq.5.dylib": "the Debian package libpq5,",
}


@pytest.mark.parametrize(("output", "package"), LIBRARIES.items())
def test_a_missing_shared_library(output: str, package: str) -> None:
    """A shared library is named by the package that has it, for this machine and for the image; in the error of a run too."""
    hint = remedy(f"Traceback\n{output}\n", "tap-x", "tap-x", VERSIONS)
    assert hint == f'Install {package} and add it to "system_packages" in its connector.yaml for the cluster.'
    error = SideResult("tap", "tap-x", 1, log=output.encode()).failure()
    assert error is not None
    assert error.hint.startswith(hint)
