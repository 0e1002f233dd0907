"""Debian's names for compilers and headers that Python packages need. Pure."""

from __future__ import annotations

import re

COMPILER = "build-essential"
BUILD = {
    r"command '?[\w.-]*(?:gcc|cc|g\+\+|c\+\+|clang)'? failed|unable to execute '?[\w.-]*(?:gcc|cc|g\+\+|c\+\+)|"
    r"(?:gcc|g\+\+|make|cc): (?:command )?not found|No such file or directory: '(?:gcc|cc|g\+\+|make)'|"
    r"Unknown compiler|[Nn]o acceptable C compiler|CMAKE_C(?:XX)?_COMPILER|linker `cc` not found": COMPILER,
    r"pg_config|libpq-fe\.h|lpq\b": "libpq-dev",
    r"mysql_config|mysql\.h|mysqlclient|mariadb_config": "default-libmysqlclient-dev",
    r"[Pp]kg-config\b.*(?:not found|No such file)|pkg-config: not found": "pkg-config",
    r"\bsqlext?\.h|lodbc\b": "unixodbc-dev",
    r"xml2-config|xmlversion\.h|libxml/\w+\.h|xslt-config|libxml2 and libxslt": "libxslt1-dev",
    r"\bffi\.h|lffi\b": "libffi-dev",
    r"openssl/\w+\.h|[Oo]pen[Ss][Ss][Ll] (?:is )?(?:not found|headers)": "libssl-dev",
    r"krb5-config|gssapi(?:/gssapi)?\.h": "libkrb5-dev",
    r"\b(?:lber|ldap)\.h": "libldap2-dev",
    r"sasl/sasl\.h": "libsasl2-dev",
    r"snappy-c\.h|snappy\.h": "libsnappy-dev",
    r"sybdb\.h|sqlfront\.h": "freetds-dev",
    r"librdkafka/rdkafka\.h": "librdkafka-dev",
    r"\bzlib\.h": "zlib1g-dev",
    r"cargo|rustc|[Rr]ust (?:compiler|toolchain)": "cargo",
    r"\bcmake\b.*(?:not found|No such file|must be installed)": "cmake",
    r"'git'|\bgit: not found": "git",
}
"""What builds print that lack something, and the Debian package that has it."""
NAME = r"[a-z0-9][a-z0-9.+-]+"
"""The name of a Debian package."""
FAILED = re.compile(r"Failed to (?:download and )?build[: ]+`?([A-Za-z0-9][\w.-]*?)(?:==([^`\s]+)|[` ])")
"""uv's words for a package that cannot be built."""
CAUSE = re.compile(r"\b(?:[Ee]rror|Exception): |not found|No such file or directory")


def failed_build(text: str) -> tuple[str, str, str]:
    """Return the package that cannot be built, the line with the cause, and all lines about it.

    The package is empty if uv does not know its name yet.

    *text* is the output of uv, or of a builder of images that runs it.
    """
    text = re.sub(r"^#\d+ [\d.]+ ", "", text, flags=re.MULTILINE)  # BuildKit's number and time
    failed = FAILED.search(text) or re.search("The build backend returned an error", text)
    if failed is None:
        return "", "", ""
    lines = [line.strip() for line in text[failed.start() :].partition("\nhint: ")[0].splitlines() if line.strip()]
    cause = next((line for line in lines[1:] if CAUSE.search(line)), lines[-1])
    return " ".join(filter(None, failed.groups())), cause, "\n".join(lines)


def for_build(text: str) -> list[str]:
    """Return the packages that a failed build lacks, as far as its output shows."""
    _, _, lines = failed_build(text)
    names = [name for pattern, name in BUILD.items() if re.search(pattern, lines)]
    return list(dict.fromkeys([COMPILER, *names])) if names else []
