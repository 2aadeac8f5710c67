"""The commands that the pages show, against the command line: names, arguments, options and stages exist."""

from __future__ import annotations

import re
import shlex
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from typer.exceptions import TyperException

from checks.readme import readme_commands
from trackyard.cli.main import app
from trackyard.recipes.comparison.verdicts import NO_CLAIM, THESE

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "CONTRIBUTING.md", "docs/*.md", "servers/README.md", "pipelines/*/README.md")
"""CHANGELOG.md names commands that are gone."""

LAUNCHERS = {"torchrun": "-m", "deepspeed": "--module", "srun": None}
"""Programs that start trackyard, and the option that names a module to them."""
OURS = ("trackyard", "dvc repro", *LAUNCHERS)
OTHERS = (
    "ls", "ln", "mv", "cp", "cd", "export", "git", "source", "mkdir", "sed", "make", "dvc add", "dvc cache", "dvc push",
    "dvc remote", "tar", "pg_dump", "pg_restore", "apptainer exec", "servers/mlflow-group.sh",
)  # fmt: skip
"""Begin lines of fenced blocks that are not examined here."""
_INDENTED = re.compile(rf"^ {{4,}}((?:{'|'.join(OURS)}) [^#\n]*)", re.MULTILINE)
_INLINE = re.compile(r"`(trackyard\s[^`]+)`")


def pages() -> list[Path]:
    return sorted(path for pattern in PAGES for path in ROOT.glob(pattern))


def commands_of(page: Path) -> list[str]:
    """Commands in the blocks of a page, fenced or indented; what is cut ("...") or goes on in another line is not."""
    lines = [line for line in readme_commands(page) if not re.match(rf"({'|'.join(OTHERS)})( |$)", line)]
    return [line for line in [*lines, *_INDENTED.findall(page.read_text())] if not {"...", "\\"} & set(line.split())]


@cache
def trackyard() -> Any:
    """The command line, put together once."""
    return typer.main.get_command(app)


def found(words: list[str]) -> tuple[Any, list[str]]:
    """The command or group that words name, and the words behind its name; None for one that does not exist."""
    command = trackyard()
    while words and hasattr(command, "commands"):
        if words[0] not in command.commands:
            return None, words
        command, words = command.commands[words[0]], words[1:]
    return command, words


def options_of(command: Any) -> set[str]:
    return {option for one in command.params for option in one.opts if option.startswith("--")}


def not_a_command(line: str) -> str | None:
    """Why a line of shell is no command that exists; None if it is one."""
    words = shlex.split(re.sub(r"^(?:[A-Z_]+=\S+ )+", "", line.partition(" > ")[0]))
    program, rest = words[0], words[1:]
    if program == "dvc":
        return None if rest[:1] == ["repro"] and is_stage(rest[-1]) else f"no stage: {line}"
    if program in LAUNCHERS:
        if "trackyard" not in rest:
            return f"starts no trackyard: {line}"
        at = rest.index("trackyard")
        option = LAUNCHERS[program]
        if option is not None and rest[at - 1] != option:
            return f"{program} wants {option}: {line}"
        program, rest = "trackyard", rest[at + 1 :]
    if program != "trackyard":
        return f"unknown program: {line}"
    command, rest = found(rest)
    if command is None or hasattr(command, "commands"):
        return f"no such command: {line}"
    try:
        command.make_context(command.name, rest)
    except TyperException as error:
        return f"{error}: {line}"
    return None


def is_stage(name: str) -> bool:
    """A stage of the root, all of a pipeline, or one stage of it (`FILE:STAGE`, `FILE:STAGE@ITEM`)."""
    file, _, stage = name.partition(":") if ".yaml" in name else ("dvc.yaml", "", name)
    if not (ROOT / file).is_file():
        return False
    return not stage or stage.partition("@")[0] in yaml.safe_load((ROOT / file).read_text())["stages"]


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_command_of_a_page_exists(page: Path) -> None:
    assert [problem for line in commands_of(page) if (problem := not_a_command(line))] == []


def test_pages_are_examined() -> None:
    counts = {page.name: len(commands_of(page)) for page in pages()}
    assert counts["training.md"] >= 15
    assert counts["record.md"] >= 10
    assert counts["recovering.md"] >= 5


@pytest.mark.parametrize(
    "line",
    [
        "trackyard estimates molmo2 stage2",
        "trackyard estimate molmo2 stage2 --profil h100",
        "trackyard estimate molmo2",
        "trackyard plan shows stage2",
        "torchrun --nproc-per-node 2 trackyard run molmo2 stage2",
        "srun --nodes 2 python train.py",
        "dvc repro stage9",
        "dvc repro pipelines/nine/dvc.yaml:train",
        "make coffee",
    ],
)
def test_a_command_that_does_not_exist_is_named(line: str) -> None:
    assert not_a_command(line) is not None


def inline_problems(text: str) -> list[str]:
    """Commands inside of sentences, where arguments may be left out: names and options that do not exist."""
    problems = []
    for quoted in _INLINE.findall(text):
        command, rest = found(quoted.split()[1:])
        options = set() if command is None else options_of(command)
        unknown = [word for word in rest if word.startswith("--") and word not in options and word != "--"]
        if command is None or unknown:
            problems.append(" ".join(quoted.split()))
    return problems


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_command_inside_of_a_sentence_exists(page: Path) -> None:
    assert inline_problems(page.read_text()) == []


def test_a_command_inside_of_a_sentence_that_does_not_exist_is_named() -> None:
    gone = ["trackyard export A B", "trackyard record sync --fast", "trackyard runs"]
    there = "`trackyard lineage\nverify --trust code` and `trackyard publish`"
    assert inline_problems(f"`{gone[0]}`, {there}, `{gone[1]}`, `{gone[2]}`") == gone


def test_the_words_of_verdicts_are_those_of_the_guide() -> None:
    text = (ROOT / "docs" / "record.md").read_text()
    assert NO_CLAIM in text
    assert f"({THESE})" in text
    assert re.search(r": run 2 is better on \w+: p=[\d.]+ \(", text)
    assert re.search(r": not told apart on \d+ metrics \(p=[\d.]+ or more\)", text)


def test_the_reference_lists_every_option() -> None:
    """What all commands of `data` take stands below the table; "as show" and "as above" are other rows of the group."""
    section = (ROOT / "docs" / "reference.md").read_text().partition("\n## Commands\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `trackyard ([^`]+)` \| (.*) \|$", section, re.MULTILINE)
    assert len(rows) > 40
    above: dict[str, set[str]] = {}
    for name, told in rows:
        command, _ = found([word for word in name.split() if word.islower()])
        wanted = options_of(command) - {"--help"}
        group = name.split()[0]
        said = set(re.findall(r"--[a-z][a-z-]*", told))
        if re.search(r"\bas (show|above)\b", told):
            said |= above[group] & wanted
        if group in ("catalog", "data"):
            said |= {"--json", "--dry-run"} & wanted
        assert said == wanted, name
        above[group] = above.get(group, set()) | said
