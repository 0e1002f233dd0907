"""Shared libraries that programs lack, and the Debian packages that have them. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

LIBRARIES = {
    "libaio.so": "libaio1", "libGL.so": "libgl1", "libgomp.so": "libgomp1", "libgssapi_krb5.so": "libgssapi-krb5-2",
    "libldap": "libldap-2.5-0", "libmagic.so": "libmagic1", "libmariadb.so": "libmariadb3", "libmysqlclient.so": "libmariadb3",
    "libodbc.so": "unixodbc", "libpq.so": "libpq5", "librdkafka.so": "librdkafka1", "libsasl2.so": "libsasl2-2",
    "libsnappy.so": "libsnappy1v5", "libsodium.so": "libsodium23", "libsybdb.so": "libsybdb5", "libxml2.so": "libxml2",
    "libxslt.so": "libxslt1.1",
}  # fmt: skip
"""Shared libraries, and the Debian package that has them."""
ABSENT = re.compile(r"(lib[\w.+-]+?\.so)([\d.]*): cannot open shared object file|Library not loaded: \S*?(lib[\w+-]+)[\w.]*\.dylib")
"""What the loaders of Linux and macOS print."""


LINKED = re.compile(rb"\0((?:" + "|".join(map(re.escape, LIBRARIES)).encode() + rb")[\w.-]*)(?=\0)")
"""The name of such a library in the compiled code that needs it."""


def packages(code: Iterable[tuple[str, bytes]]) -> list[str]:
    """Return the Debian packages for compiled code, given as names and contents of its files.

    A library that is among the files needs none.
    """
    present: set[str] = set()
    needed: set[str] = set()
    for name, content in code:
        present.add(name)
        needed.update(library.decode() for library in LINKED.findall(content))
    return sorted({package for name in needed - present for known, package in LIBRARIES.items() if name.startswith(known)})


def missing(text: str) -> str:
    """Return the hint for a program that lacks a shared library; empty if it lacks none."""
    absent = ABSENT.search(text)
    if absent is None:
        return ""
    library = f"{absent[1]}{absent[2]}" if absent[1] else f"{absent[3]}.so"
    package = next((name for known, name in LIBRARIES.items() if library.startswith(known)), "")
    named = f"the Debian package {package}" if package else f"the package that has {library}"
    return f'Install {named}, and add it to "system_packages" in its connector.yaml for the cluster.'
