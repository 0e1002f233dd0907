"""What newer Pythons have removed from the standard library. Pure."""

from __future__ import annotations

import re

MODULES = {
    "asynchat": 11, "asyncore": 11, "distutils": 11, "imp": 11, "smtpd": 11,
    "aifc": 12, "audioop": 12, "cgi": 12, "cgitb": 12, "chunk": 12, "crypt": 12, "imghdr": 12, "mailcap": 12, "msilib": 12, "nis": 12,
    "nntplib": 12, "ossaudiodev": 12, "pipes": 12, "sndhdr": 12, "spwd": 12, "sunau": 12, "telnetlib": 12, "uu": 12, "xdrlib": 12,
    "formatter": 9, "parser": 9, "symbol": 9, "_bootlocale": 9, "xml.etree.cElementTree": 8, "dummy_threading": 8,
}  # fmt: skip
"""Modules, and the last minor version of Python 3 that has them."""
NAMES = {
    "array.array.tostring": 8, "asyncio.coroutine": 10, "base64.decodestring": 8, "base64.encodestring": 8,
    "configparser.SafeConfigParser": 11, "fractions.gcd": 8, "inspect.formatargspec": 10, "inspect.getargspec": 10,
    "locale.format": 11, "pkgutil.ImpImporter": 11, "ssl.match_hostname": 11, "ssl.wrap_socket": 11, "typing.io": 12,
    "unittest.makeSuite": 12,
}  # fmt: skip
"""Names in modules, in the same form."""
COLLECTIONS = frozenset({
    "Callable", "Container", "Hashable", "ItemsView", "Iterable", "Iterator", "KeysView", "Mapping", "MutableMapping",
    "MutableSequence", "MutableSet", "Sequence", "Set", "Sized", "ValuesView",
})  # fmt: skip
"""Names that Python 3.10 has removed from ``collections``."""

LAST_OLD_SIX = 11
"""The last minor version that finds ``six.moves`` of an old copy of six."""


def last_python(output: str) -> str:
    """Return the last Python with what a program misses; empty if it misses none of these."""
    for module in re.findall(r"No module named '([\w.]+)'", output):
        minor = MODULES.get(module) or MODULES.get(module.partition(".")[0])
        minor = LAST_OLD_SIX if f".{module}.".endswith(".six.moves.") else minor
        if minor:
            return f"3.{minor}"
    names = [(module, name) for name, module in re.findall(r"cannot import name '(\w+)' from '([\w.]+)'", output)]
    names += re.findall(r"module '([\w.]+)' has no attribute '(\w+)'", output)
    for module, name in names:
        minor = 9 if module == "collections" and name in COLLECTIONS else NAMES.get(f"{module}.{name}")
        if minor:
            return f"3.{minor}"
    return ""
