"""What to do about a connector's program that does not start. Pure.

The usual reason is that the world has moved on: a newer Python, or a newer version of a package it
builds on.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cluster.project.removed import last_python
from cluster.runs import libraries
from cluster.ui.command_line import command

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DISTRIBUTIONS = {
    "attr": "attrs", "bs4": "beautifulsoup4", "bson": "pymongo", "Crypto": "pycryptodome", "Cryptodome": "pycryptodomex",
    "cx_Oracle": "cx-Oracle", "databricks.sql": "databricks-sql-connector", "dateutil": "python-dateutil", "dns": "dnspython",
    "docx": "python-docx", "dotenv": "python-dotenv", "facebook": "facebook-sdk", "git": "GitPython", "github": "PyGithub",
    "gitlab": "python-gitlab", "gnupg": "python-gnupg", "google.ads": "google-ads", "google.analytics": "google-analytics-data",
    "google.api_core": "google-api-core", "google.auth": "google-auth", "google.oauth2": "google-auth", "google.protobuf": "protobuf",
    "google.type": "googleapis-common-protos", "googleapiclient": "google-api-python-client", "hubspot": "hubspot-api-client",
    "intuitlib": "intuit-oauth", "jose": "python-jose", "jwt": "PyJWT", "ldap": "python-ldap", "magic": "python-magic",
    "mysql.connector": "mysql-connector-python", "MySQLdb": "mysqlclient", "nacl": "PyNaCl", "OpenSSL": "pyOpenSSL", "past": "future",
    "PIL": "Pillow", "psycopg2": "psycopg2-binary", "pymysqlreplication": "mysql-replication", "quickbooks": "python-quickbooks",
    "ruamel": "ruamel.yaml", "serial": "pyserial", "shopify": "ShopifyAPI", "singer": "singer-python", "sklearn": "scikit-learn",
    "slack": "slackclient", "slugify": "python-slugify", "snowflake": "snowflake-connector-python",
    "snowflake.sqlalchemy": "snowflake-sqlalchemy", "socks": "PySocks", "suds": "suds-community", "xero": "pyxero", "yaml": "PyYAML",
    "zmq": "pyzmq",
}  # fmt: skip
"""Modules that a package of another name installs."""
NAMESPACES = ("google.cloud", "azure.storage", "azure.mgmt", "azure", "backports", "opentelemetry")
"""Modules that many packages share. Their names have the next part too: google-cloud-bigquery."""
MOVED = r"cannot import name '\w+' from '(\w+)[\w.]*'|module '(\w+)[\w.]*' has no attribute"


def remedy(output: str, name: str, pip_url: str, versions: Mapping[str, str], exists: Callable[[str], bool]) -> str:
    """Return the hint for a program that does not start.

    *output* is what it printed, *pip_url* its present requirements, *versions* those of the
    packages in its venv. *exists* returns whether the package index has a package.
    """
    lacking = libraries.missing(output)
    if lacking:
        return lacking
    last = last_python(output)
    if last and "'distutils" not in output:
        problem = f"It uses what Python 3.{int(last[2:]) + 1} has removed"
        return f"{problem}. Try a newer version of the package, or: {_again(name, pip_url, '--python', last)}"
    module = re.search(r"No module named '([\w.]+)'", output)
    if module:
        return _missing(module[1], name, pip_url, exists)
    moved = re.search(MOVED, output)
    package = _distribution(moved[1] or moved[2]) if moved else ""
    installed = versions.get(re.sub(r"[-_.]+", "-", package).lower())
    if installed:
        pinned = f"{pip_url} {package}<{installed}"
        return f"It is older than its dependency {package} {installed}. Try an older one: {_again(name, pinned)}"
    return f"Try an older Python, or another version of the package: {_again(name, pip_url, '--python', '3.10')}"


def _missing(module: str, name: str, pip_url: str, exists: Callable[[str], bool]) -> str:
    """Return the hint for a module that is not installed."""
    if module.partition(".")[0] in {"pkg_resources", "distutils"}:
        return f"It is older than its dependencies. Try: {_again(name, f'{pip_url} setuptools<81')}"
    package = _distribution(module)
    if not exists(package):
        return f"Add the package with the module {module}: {_again(name, pip_url)} and its name in the same quotes."
    return f"Add the package that it misses: {_again(name, f'{pip_url} {package}')}"


def _distribution(module: str) -> str:
    """Return the name of the package that installs a module."""
    parts = module.split(".")
    names = (".".join(parts[:number]) for number in range(len(parts), 0, -1))
    known = next((DISTRIBUTIONS[item] for item in names if item in DISTRIBUTIONS), "")
    namespace = next((item for item in NAMESPACES if module.startswith(f"{item}.")), "")
    return known or "-".join(parts[: namespace.count(".") + 2] if namespace else parts[:1]).replace("_", "-")


def _again(name: str, pip_url: str, *options: str) -> str:
    """Return the command ``new``, to be typed again with something more."""
    return command("new", name, "--pip-url", pip_url, *options)
