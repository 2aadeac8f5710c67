"""What an Apptainer definition file says: its stages, sections, arguments, labels and the lock files it installs.

Only the form is read here, as Apptainer 1.4 reads it; nothing is built. Source: hpc spec section 1.2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trackyard.errors import ConfigError

VARIABLE = re.compile(r"\{\{\s*(\w+)\s*\}\}")
"""Where Apptainer puts a build argument."""
_HEADER = re.compile(r"^(?P<key>\w+)\s*:\s*(?P<value>.+)$")
_SECTION = re.compile(r"^%(?P<name>\w+)[ \t]*(?P<rest>.*)$")


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """One `%name rest` and the lines below it, as they are written. rest: `from STAGE` of `%files`, mostly empty."""

    name: str
    rest: str
    text: str

    @property
    def lines(self) -> tuple[str, ...]:
        """Without comments, empty lines and indentation."""
        lines = (line.strip() for line in self.text.splitlines())
        return tuple(line for line in lines if line and not line.startswith("#"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """From one `Bootstrap` to the next. header: lower-case keys, as `bootstrap`, `from` and `stage`."""

    header: Mapping[str, str]
    sections: tuple[Section, ...]

    def named(self, name: str) -> tuple[Section, ...]:
        return tuple(section for section in self.sections if section.name == name)

    @property
    def defaults(self) -> dict[str, str]:
        """Build arguments that need not be given. Those of one stage do not count in another."""
        pairs = (line.split("=", 1) for section in self.named("arguments") for line in section.lines if "=" in line)
        return {name.strip(): value.strip() for name, value in pairs}

    @property
    def variables(self) -> frozenset[str]:
        """Build arguments that are used."""
        used = [*self.header.values(), *(f"{section.rest}\n{section.text}" for section in self.sections)]
        return frozenset(VARIABLE.findall("\n".join(used)))

    @property
    def base(self) -> str:
        """What it is made from, defaults put in; an argument without one stays `{{ NAME }}`."""
        return rendered(self.header.get("from", ""), self.defaults)

    @property
    def copied(self) -> dict[str, str]:
        """Target of each source that `%files` copies from the host; an empty target means the same path."""
        pairs = (line.split(maxsplit=1) for one in self.named("files") if not one.rest for line in one.lines)
        return {pair[0]: pair[1] if len(pair) > 1 else "" for pair in pairs}


@dataclass(frozen=True, kw_only=True, slots=True)
class Definition:
    """A whole file. The last stage is the image."""

    stages: tuple[Stage, ...]

    @property
    def image(self) -> Stage:
        return self.stages[-1]

    @property
    def required(self) -> frozenset[str]:
        """Build arguments without which Apptainer refuses to build."""
        return frozenset[str]().union(*(stage.variables - stage.defaults.keys() for stage in self.stages))

    @property
    def accepted(self) -> frozenset[str]:
        """Build arguments that are used: Apptainer refuses any other."""
        return frozenset[str]().union(*(stage.variables for stage in self.stages))

    @property
    def labels(self) -> dict[str, str]:
        """Labels of the image, defaults put in."""
        lines = (line.split(maxsplit=1) for section in self.image.named("labels") for line in section.lines)
        return {line[0]: rendered(line[1], self.image.defaults) if len(line) > 1 else "" for line in lines}

    @property
    def locks(self) -> frozenset[str]:
        """Files of the repository that pin packages and are copied into any stage."""
        sources = (source for stage in self.stages for source in stage.copied)
        return frozenset(source for source in sources if source.endswith(".lock"))


def rendered(text: str, values: Mapping[str, str]) -> str:
    """`text` with `{{ NAME }}` replaced where NAME has a value."""
    return VARIABLE.sub(lambda found: values.get(found[1], found[0]), text)


def parse_definition(text: str, *, where: str) -> Definition:
    """Read a definition; ConfigError, with the line, where Apptainer would refuse its form.

    where: what the user edits, as "containers/cpu.def".
    """
    stages: list[Stage] = []
    header: dict[str, str] = {}
    sections: list[Section] = []
    open_section: tuple[str, str] | None = None
    body: list[str] = []

    def close_section() -> None:
        if open_section is not None:
            sections.append(Section(name=open_section[0], rest=open_section[1], text="\n".join(body)))
        body.clear()

    def close_stage() -> None:
        if header:
            stages.append(Stage(header=dict(header), sections=tuple(sections)))
        header.clear()
        sections.clear()

    for number, line in enumerate(text.splitlines(), 1):
        key = _HEADER.match(line)
        begun = _SECTION.match(line)
        if key and key["key"].lower() == "bootstrap":
            close_section()
            close_stage()
            open_section = None
            header["bootstrap"] = key["value"].strip()
        elif begun and "bootstrap" not in header:
            raise _refused(f"{where}:{number}: %{begun['name']} before any `Bootstrap:`")
        elif begun:
            close_section()
            open_section = (begun["name"].lower(), begun["rest"].strip())
        elif open_section is not None:
            body.append(line)
        elif key:
            header[key["key"].lower()] = key["value"].strip()
        elif line.strip() and not line.lstrip().startswith("#"):
            raise _refused(f"{where}:{number}: {line.strip()!r} is no `Key: value` of the header")
    close_section()
    close_stage()
    if not stages:
        raise _refused(f"{where} has no `Bootstrap:`")
    return Definition(stages=tuple(stages))


def read_definition(path: Path) -> Definition:
    """The definition in a file; ConfigError as above."""
    return parse_definition(path.read_text(encoding="utf-8"), where=f"{path.parent.name}/{path.name}")


def _refused(what: str) -> ConfigError:
    return ConfigError(
        what=what,
        why="a definition begins with `Bootstrap:` and `From:`, and then has sections that begin with %",
        fix="correct it; containers/README.md says how a definition is laid out",
    )
