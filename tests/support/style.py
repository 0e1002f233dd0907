"""Find prose to rewrite: ``python tests/support/style.py PATH…`` prints ``file:line: rule: text``.

It reads Markdown pages and, in Python files, docstrings, comments, names and every string of three
words or more. CONTRIBUTING explains the rules under "Language". Without a PATH it reads all files
that ``tests/unit/test_style.py`` checks.
"""

from __future__ import annotations

import ast
import re
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).resolve().parents[2]
CHECKED = (
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CODE_OF_CONDUCT.md",
    "docs",
    "tasks.py",
    "cluster",
    "singer-containers",
    "tests",
    "benchmarks",
)
COLUMNS = 100
WIDE = ("tests", "benchmarks")
"""Folders whose lines are not measured here: ruff's limit of 140 is enough for who reads tests."""
QUOTING = {ROOT / "tests/support/style.py", ROOT / "tests/unit/test_style.py"}
"""What these files list and try are the words themselves."""
WORDS = 30
UNBREAKABLE = 60
"""A link or an address of this many characters may cross the last column."""
MESSAGE_WORDS = 3
"""A string with fewer words is a key, a name or a fragment, and no sentence."""

SIGNS = re.compile(
    r"\b(?:told|said|says|brought|made\s+so|whoever|whatever|where\s+there\s+(?:is|are)\s+none|of\s+its\s+own|"
    r"so\s+long|stands?\s+in|lies?\s+below|takes?\s+of|at\s+once|(?<!as\s)well(?!-))\b",
    re.IGNORECASE,
)
"""Words that mark a sentence to rewrite. "As well" and "well-kept" are fine."""
NAMES = {"told", "said", "found", "given", "way", "place", "wish"}

EXCEPTIONS: dict[tuple[str, str], str] = {
    ("cluster/commands/program.py", "no_tasks_given"): "a method of Invoke's",
    ("tests/unit/runs/test_report.py", "well"): "a CSS class of the page",
    (
        "tests/unit/providers/test_kind.py",
        'ERROR: failed to create cluster: command "docker run --name singer-control-plane --hostname singer-c',
    ): "printed by kind",
    (
        "tests/unit/providers/test_minikube_output.py",
        "Failed to start host: recreate: creating host: create: creating: setting up container node: preparin",
    ): "printed by minikube",
}
"""What may stay: the file and the text of a finding, and the reason."""

CODE = re.compile(r"``.+?``|`[^`]+?`", re.DOTALL)
LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
URL = re.compile(r"https?://\S+")
PRAGMA = re.compile(r"#\s*(?:noqa(?::\s*[A-Z]+\d+(?:,\s*[A-Z]+\d+)*)?|type:\s*\S+|pragma:.*)\s*-?")
LEXER = re.compile(
    r'"""[^"\\]*(?:(?:\\.|"(?!""))[^"\\]*)*"""|\'\'\'[^\'\\]*(?:(?:\\.|\'(?!\'\'))[^\'\\]*)*\'\'\''
    r'|"[^"\\\n]*(?:\\.[^"\\\n]*)*"|\'[^\'\\\n]*(?:\\.[^\'\\\n]*)*\'|#[^\n]*',
    re.DOTALL,
)
"""Strings and comments: what looks like a comment within a string is none."""
RULER = re.compile(r"^[-=]{3,}|[-=]{3,}$")
WORD = re.compile(r"(?<![\w-])[A-Za-z]+(?![\w(=-])")
FENCE = re.compile(r"^\s*```")
ITEM = re.compile(r"^\s*(?:[-*]|\d+\.|>|:\w[\w ]*:)\s+|^\s*#+ ")
SENTENCE_END = re.compile(r"[.!?][)\"'*_]*(?=\s+[^a-z\s]|\s*\Z)|\s·\s")


@dataclass(frozen=True)
class Passage:
    """A paragraph, a list item, a table cell, a comment or a message, and the line it starts on."""

    line: int
    text: str
    wraps: bool = True
    """Whether its lines end at ``COLUMNS``: table cells and messages have no line of their own."""


@dataclass(frozen=True)
class Finding:
    """One thing to rewrite."""

    path: str
    line: int
    rule: str
    text: str

    def __str__(self) -> str:
        """Return the form that editors can jump to."""
        return f"{self.path}:{self.line}: {self.rule}: {self.text}"


def paragraphs(lines: Iterable[tuple[int, str]]) -> Iterator[Passage]:
    """Split numbered lines into passages, without code blocks and generated tables."""
    start, text, fenced, generated, literal = 0, list[str](), False, False, -1
    for number, line in [*lines, (0, "")]:
        generated = (generated or line.startswith("<!-- bench:")) and not line.startswith("<!-- end")
        indent = len(line) - len(line.lstrip())
        if literal >= 0 and line.strip() and indent <= literal:
            literal = -1
        code = generated or fenced or literal >= 0 or FENCE.match(line) or line.startswith("<")
        table = not code and line.startswith("|")
        if text and (code or table or not line.strip() or ITEM.match(line)):
            yield Passage(start, "\n".join(text))
            text = []
        fenced ^= bool(FENCE.match(line)) and not generated
        if table:
            yield from (Passage(number, cell, wraps=False) for cell in re.split(r"(?<!\\)\|", line))
        elif not code and line.strip():
            start = start if text else number
            text.append(ITEM.sub("", line) if not text else line)
            if line.rstrip().endswith("::"):
                literal = indent


def comments(source: str) -> Iterator[Passage]:
    """Return the comments; those on adjacent lines are one paragraph."""
    block: list[tuple[int, str]] = []
    number, end = 1, 0
    for token in LEXER.finditer(source):
        number, end = number + source.count("\n", end, token.start()), token.start()
        if not token[0].startswith("#") or token[0].startswith("#!"):
            continue
        text = PRAGMA.sub("", token[0]).lstrip("# ").rstrip()
        if PRAGMA.search(token[0]) or source[source.rfind("\n", 0, end) + 1 : end].strip():
            yield Passage(number, text, wraps=not PRAGMA.search(token[0]))
            continue
        if block and block[-1][0] != number - 1:
            yield from paragraphs(block)
            block = []
        block.append((number, RULER.sub("", text)))
    yield from paragraphs(block)


def strings_and_names(tree: ast.Module) -> tuple[list[Passage], list[tuple[int, str]]]:
    """Return docstrings and strings that are long enough for prose; and each name that is defined."""
    passages: list[Passage] = []
    defined: list[tuple[int, str]] = []
    seen: set[int] = set()
    for node in nodes(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            seen.add(id(node.value))
            passages += paragraphs(enumerate(node.value.value.split("\n"), node.lineno))
        elif isinstance(node, ast.JoinedStr):
            seen.update(id(part) for part in node.values)
            parts = (str(part.value) if isinstance(part, ast.Constant) else "`value`" for part in node.values)
            passages += message(node.lineno, "".join(parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in seen:
            passages += message(node.lineno, node.value)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            defined.append((node.lineno, node.name))
        elif isinstance(node, ast.arg):
            defined.append((node.lineno, node.arg))
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            defined.append((node.lineno, node.id))
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            defined.append((node.lineno, node.attr))
    return passages, defined


def nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Return each node before its children; twice as quick as ``ast.walk``, without marks such as ``Load``."""
    stack = [tree]
    while stack:
        node = stack.pop()
        yield node
        for field in node._fields:
            value = getattr(node, field, None)
            if isinstance(value, list):
                stack += [item for item in value if isinstance(item, ast.AST)]
            elif isinstance(value, ast.AST) and value._fields:
                stack.append(value)


def message(line: int, text: str) -> Iterator[Passage]:
    """Return the lines of a string that has as many words as a sentence."""
    if len(WORD.findall(CODE.sub("", text))) >= MESSAGE_WORDS:
        yield from (Passage(line, part, wraps=False) for part in text.split("\n"))


def sentences(passage: Passage) -> Iterator[tuple[int, str]]:
    """Return the sentences with their lines; code, links and addresses count as one word each."""
    text = passage.text
    for pattern in (CODE, LINK, URL):
        text = pattern.sub(lambda match: (match[1] if match.re is LINK else "Code") + "\n" * match[0].count("\n"), text)
    start = 0
    for end in [*(match.end() for match in SENTENCE_END.finditer(text)), len(text)]:
        sentence = text[start:end]
        if sentence.strip():
            leading = len(sentence) - len(sentence.lstrip())
            yield passage.line + text[: start + leading].count("\n"), sentence.strip()
        start = end


def judge(passage: Passage, lines: list[str]) -> Iterator[tuple[int, str, str]]:
    """Return line, rule and text of all that has to be rewritten in a passage of a file; without *lines* none is measured."""
    for number in range(passage.line, passage.line + passage.text.count("\n") + 1) if passage.wraps and lines else ():
        line = lines[number - 1]
        crossing = line[line.rfind(" ", 0, COLUMNS) + 1 :].split(" ")[0]
        if len(line) > COLUMNS and len(crossing) < UNBREAKABLE:
            yield number, f"{len(line)} columns", f"…{line[COLUMNS:]}"
    for number, sentence in sentences(passage):
        words = sum(any(letter.isalnum() for letter in word) for word in sentence.split())
        if words > WORDS:
            yield number, f"{words} words", " ".join(sentence.split())[:COLUMNS]
        for match in SIGNS.finditer(sentence):
            yield number + sentence[: match.start()].count("\n"), "word", " ".join(match[0].split())


def name_words(name: str) -> set[str]:
    """Return the words of a snake_case or CamelCase name."""
    return set(re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower().split("_"))


def check(path: Path) -> list[Finding]:
    """Return what has to be rewritten in a file, in the order of its lines."""
    source = path.read_text(encoding="utf-8")
    lines = source.split("\n")
    results: set[tuple[int, str, str]] = set()
    if path.suffix == ".py":
        passages, defined = strings_and_names(ast.parse(source))
        passages += comments(source)
        results.update((line, "name", name) for line, name in defined if NAMES & name_words(name))
    else:
        passages = list(paragraphs(enumerate(lines, 1)))
    shown = str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
    measured = [] if shown.startswith(WIDE) else lines
    for passage in passages:
        results.update(judge(passage, measured))
    return [Finding(shown, *result) for result in sorted(results) if (shown, result[2]) not in EXCEPTIONS]


def files(path: Path) -> list[Path]:
    """Return the pages and Python files of a folder; or the one file."""
    if path.is_file():
        return [path]
    return [file for file in sorted(path.rglob("*")) if file.suffix in {".md", ".py"} and file not in QUOTING]


def main(paths: list[str]) -> int:
    """Print the findings of files and folders; return 1 if there are any."""
    selected = [Path(path).resolve() for path in paths] or [ROOT / path for path in CHECKED]
    results = [finding for path in selected for file in files(path) for finding in check(file)]
    sys.stdout.writelines(f"{finding}\n" for finding in results)
    sys.stderr.write(f"{len(results)} findings\n")
    return int(bool(results))


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # the reader of a pipe, such as head, may end first
    sys.exit(main(sys.argv[1:]))
