"""Keep the README and the other pages honest: commands are real, relative links resolve.

    python -m checks.readme

`readme_commands` is what tests take the README's commands from; `registry_problems` compares them with the registry of
which test runs which command. Exit 0: honest, 1: a problem, or nothing was examined.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from checks.repository import ROOT, files

_FENCE = re.compile(r"^ {0,3}(?P<fence>```+|~~~+)\s*(?P<language>[\w-]*)")
_COMMAND = re.compile(r"(?:\"[^\"]*\"|'[^']*'|[^\"'\s]|\s(?!\s*#))*")
"""Everything before a comment; a # inside quotes starts none."""
_LINK = re.compile(r"!?\[[^\]\n]*\]\((?P<target>[^)\s]+)(?:\s+\"[^\"]*\")?\)")
_TARGET = re.compile(r"^([a-z][a-z-]*):", re.MULTILINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What was examined, and what is wrong with it."""

    pages: int
    commands: int
    links: int
    problems: tuple[str, ...]


def _outside_and_inside(text: str) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Split Markdown into the lines outside fenced blocks and the blocks as (language, lines)."""
    outside: list[str] = []
    blocks: list[tuple[str, list[str]]] = []
    fence = ""
    for line in text.splitlines():
        match = _FENCE.match(line)
        if fence:
            if match and match["fence"].startswith(fence) and not match["language"]:
                fence = ""
            else:
                blocks[-1][1].append(line)
        elif match:
            fence = match["fence"]
            blocks.append((match["language"], []))
        else:
            outside.append(line)
    return outside, blocks


def _joined(lines: Sequence[str]) -> list[str]:
    """Join lines that end in a backslash with the next one."""
    joined: list[str] = []
    continued = False
    for line in lines:
        if continued:
            joined[-1] = f"{joined[-1]} {line.strip()}"
        else:
            joined.append(line.strip())
        continued = joined[-1].endswith("\\")
        if continued:
            joined[-1] = joined[-1][:-1].rstrip()
    return joined


def readme_commands(path: Path) -> list[str]:
    """Commands of a page in order, without comments: lines of ```bash blocks, `$ ` lines of ```console blocks.

    Other lines of a console block are expected output.
    """
    lines_of_shell = []
    for language, lines in _outside_and_inside(path.read_text(encoding="utf-8"))[1]:
        for line in _joined(lines):
            if language == "console" and line.startswith("$ "):
                lines_of_shell.append(line.removeprefix("$ "))
            elif language == "bash" and line and not line.startswith("#"):
                lines_of_shell.append(line)
    return [match[0] for match in map(_COMMAND.match, lines_of_shell) if match]


def registry_problems(commands: Sequence[str], executed_by: Mapping[str, str], root: Path) -> list[str]:
    """Compare a page's commands with the registry command -> "tests/path.py::test_name" that runs it."""
    problems = [f"no test runs `{command}`" for command in dict.fromkeys(commands) if command not in executed_by]
    problems += [
        f"`{command}` is registered but no longer on the page" for command in executed_by.keys() - set(commands)
    ]
    for command, test in executed_by.items():
        file, _, name = test.partition("::")
        path = root / file
        tree = ast.parse(path.read_bytes()) if path.is_file() else ast.Module(body=[], type_ignores=[])
        if name not in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}:
            problems.append(f"`{command}` is registered with {test}, which does not exist")
    return problems


def _make_problems(commands: Sequence[str], makefile: Path) -> list[str]:
    """README commands `make X` whose target the Makefile lacks."""
    targets = set(_TARGET.findall(makefile.read_text(encoding="utf-8"))) if makefile.is_file() else set()
    called = [words for words in (command.split() for command in commands) if words[0] == "make"]
    named = [word for words in called for word in words[1:] if "=" not in word and not word.startswith("-")]
    return [
        f"README.md: `make {name}` is not a target of the Makefile"
        for name in dict.fromkeys(named)
        if name not in targets
    ]


def _links(root: Path, page: str) -> list[str]:
    """Targets of relative links on a page, without anchors."""
    outside, _ = _outside_and_inside((root / page).read_text(encoding="utf-8"))
    targets = [match["target"] for line in outside for match in _LINK.finditer(line)]
    return [target for target in targets if not re.match(r"[a-z][a-z0-9+.-]*:|#", target)]


def examine(root: Path) -> Report:
    """Check the README's commands against the Makefile, and the relative links of every Markdown page."""
    pages = files(root, ["*.md"])
    problems = []
    links = 0
    for page in pages:
        for target in _links(root, page):
            links += 1
            path = unquote(target.partition("#")[0])
            if not ((root / page).parent / path).exists():
                problems.append(f"{page}: the link {target!r} leads nowhere")
    readme = root / "README.md"
    commands = readme_commands(readme) if readme.is_file() else []
    if not commands:
        problems.append("README.md is absent or shows no command: nothing was checked")
    problems += _make_problems(commands, root / "Makefile")
    return Report(pages=len(pages), commands=len(commands), links=links, problems=tuple(problems))


def main(root: Path = ROOT) -> int:
    report = examine(root)
    for problem in report.problems:
        print(problem, file=sys.stderr)
    counts = f"{report.pages} pages, {report.commands} README commands and {report.links} links"
    print(f"readme: {counts} examined, {len(report.problems)} problems")
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
