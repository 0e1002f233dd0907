"""What to do about a connector's program that does not start. Pure.

The usual reason is that the world has moved on: a newer Python, or a newer version of a package it
builds on.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cluster.runs import libraries
from cluster.ui.command_line import command

if TYPE_CHECKING:
    from collections.abc import Mapping

DISTRIBUTIONS = {
    "attr": "attrs", "boto": "boto", "bs4": "beautifulsoup4", "confluent_kafka": "confluent-kafka", "Crypto": "pycryptodome",
    "cx_Oracle": "cx-Oracle", "dateutil": "python-dateutil", "docx": "python-docx", "dotenv": "python-dotenv", "github": "PyGithub",
    "gitlab": "python-gitlab", "google.analytics": "google-analytics-data", "google.auth": "google-auth",
    "google.cloud.bigquery": "google-cloud-bigquery", "google.cloud.storage": "google-cloud-storage",
    "google.oauth2": "google-auth", "google.protobuf": "protobuf", "googleapiclient": "google-api-python-client", "jose": "python-jose",
    "jwt": "PyJWT", "ldap": "python-ldap", "magic": "python-magic", "MySQLdb": "mysqlclient", "OpenSSL": "pyOpenSSL", "PIL": "Pillow",
    "psycopg2": "psycopg2-binary", "pymysqlreplication": "mysql-replication", "serial": "pyserial", "singer": "singer-python",
    "sklearn": "scikit-learn", "slugify": "python-slugify", "snowflake": "snowflake-connector-python", "yaml": "PyYAML", "zmq": "pyzmq",
}  # fmt: skip
"""Modules that a package of another name installs."""
LAST_PYTHON = {
    "distutils": "3.11", "imp": "3.11", "asynchat": "3.11", "asyncore": "3.11", "smtpd": "3.11",
    "aifc": "3.12", "cgi": "3.12", "cgitb": "3.12", "crypt": "3.12", "imghdr": "3.12", "nntplib": "3.12", "pipes": "3.12",
    "telnetlib": "3.12", "uu": "3.12", "xdrlib": "3.12",
}  # fmt: skip
"""Modules of the standard library that are gone, and the last Python that has them."""
COLLECTIONS = (
    r"cannot import name '\w+' from 'collections' |module 'collections' has no attribute '(?:MutableMapping|Mapping|MutableSet"
    r"|Iterable|Iterator|Callable|Hashable|Sequence|MutableSequence|Sized|Container)'"
)
"""Names that Python 3.10 has removed from ``collections``."""
MOVED = r"cannot import name '\w+' from '(\w+)[\w.]*'|module '(\w+)[\w.]*' has no attribute"


def remedy(output: str, name: str, pip_url: str, versions: Mapping[str, str]) -> str:
    """Return the hint for a program that does not start.

    *output* is what it printed, *pip_url* its present requirements, *versions* those of the
    packages in its venv.
    """
    lacking = libraries.missing(output)
    if lacking:
        return lacking
    if re.search(COLLECTIONS, output):
        return f"It is older than Python 3.10. Try: {_again(name, pip_url, '--python', '3.9')}"
    module = re.search(r"No module named '([\w.]+)'", output)
    if module:
        return _missing(module[1], name, pip_url)
    moved = re.search(MOVED, output)
    package = _distribution(moved[1] or moved[2]) if moved else ""
    installed = versions.get(re.sub(r"[-_.]+", "-", package).lower())
    if installed:
        pinned = f"{pip_url} {package}<{installed}"
        return f"It is older than its dependency {package} {installed}. Try an older one: {_again(name, pinned)}"
    return f"Try an older Python, or another version of the package: {_again(name, pip_url, '--python', '3.10')}"


def _missing(module: str, name: str, pip_url: str) -> str:
    """Return the hint for a module that is not installed."""
    if module == "pkg_resources":
        return f"It is older than its dependencies. Try: {_again(name, f'{pip_url} setuptools<81')}"
    if module.partition(".")[0] in LAST_PYTHON:
        python = LAST_PYTHON[module.partition(".")[0]]
        return f"Python {python} is the last with the module {module}. Try: {_again(name, pip_url, '--python', python)}"
    return f"Add the package that it misses: {_again(name, f'{pip_url} {_distribution(module)}')}"


def _distribution(module: str) -> str:
    """Return the name of the package that installs a module."""
    parts = module.split(".")
    names = (".".join(parts[:number]) for number in range(len(parts), 0, -1))
    return next((DISTRIBUTIONS[known] for known in names if known in DISTRIBUTIONS), parts[0].replace("_", "-"))


def _again(name: str, pip_url: str, *options: str) -> str:
    """Return the command ``new``, to be typed again with something more."""
    return command("new", name, "--pip-url", pip_url, *options)
