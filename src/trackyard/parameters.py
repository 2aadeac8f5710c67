"""Typed parameters: the base class of every parameter group, and the one place where YAML turns into them.

A group lives beside the code that owns it; recipes compose groups; an unknown key is an error that names the nearest.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from trackyard.errors import ConfigError


class Parameters(BaseModel):
    """An immutable group of parameters. Unknown keys are refused, values are checked when the group is made."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)


P = TypeVar("P", bound=Parameters)


def _field_names(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """Names allowed at `path` below `model`; empty where the path leaves the typed groups."""
    for part in path:
        field = model.model_fields.get(str(part))
        annotation = field.annotation if field else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return list(model.model_fields)


def parse_parameters(cls: type[P], values: Any, *, where: str) -> P:
    """Build `cls` from plain values; ConfigError names each offending key, its value and the nearest known name.

    where: what the user edits, for example "params.yaml: molmo2.stage2".
    """
    try:
        return cls.model_validate(values)
    except ValidationError as error:
        problems = []
        for item in error.errors():
            path = item["loc"]
            name = ".".join(str(part) for part in path)
            if item["type"] == "extra_forbidden":
                near = difflib.get_close_matches(str(path[-1]), _field_names(cls, path[:-1]), n=1, cutoff=0.5)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                problems.append(f"unknown parameter {name!r}{hint}")
            elif item["type"] == "missing":
                problems.append(f"parameter {name!r} is missing")
            else:
                problems.append(f"{name}={item['input']!r}: {item['msg']}" if name else str(item["msg"]))
        raise ConfigError(
            what=f"{where}: " + " · ".join(problems),
            why="a parameter that is ignored or out of range gives a result that is not the one asked for",
            fix=f"edit {where} and run the same command again; `trackyard params` prints what is allowed",
        ) from error


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping; ConfigError if the file is absent, unreadable or not a mapping."""
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    except FileNotFoundError as error:
        raise ConfigError(
            what=f"{path} does not exist",
            why="it holds the parameters in force",
            fix=f"run the command in the repository root, or `git checkout -- {path.name}`",
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError, IsADirectoryError) as error:
        raise ConfigError(
            what=f"{path} is not valid YAML: {error}",
            why="no parameter can be read from it",
            fix=f"correct {path}, or `git checkout -- {path.name}`",
        ) from error
    if not isinstance(values, dict):
        raise ConfigError(
            what=f"{path} holds a {type(values).__name__}, not a mapping",
            why="parameters are named",
            fix=f"correct {path}, or `git checkout -- {path.name}`",
        )
    return values


EXTENDS = "extends"
"""Key of a parameter file that names the file beside it, without `.yaml`, whose values it changes."""


def read_layered(path: Path, *, base: str | None = None) -> dict[str, Any]:
    """Read a parameter file over the one it extends: mappings are merged key by key, anything else is replaced.

    base: name of another file beside it to take instead of the one named. A file that is extended extends none, so
    that two files are all there is to read. Unknown keys are refused where the values are parsed.
    """
    values = read_yaml(path)
    named = values.pop(EXTENDS, None)
    if named is None and base is None:
        return values
    if named is None or not isinstance(named, str) or Path(named).name != named:
        raise ConfigError(
            what=f"{path}: {EXTENDS} is {named!r}" + (f", and {base!r} is asked for instead" if base else ""),
            why=f"{EXTENDS} names a parameter file beside it, without folder and ending, and only then is it a layer",
            fix=f"write `{EXTENDS}: report` in {path}, or leave the other base out",
        )
    below = path.parent / f"{base or named}.yaml"
    beneath = read_yaml(below)
    if EXTENDS in beneath:
        raise ConfigError(
            what=f"{path} extends {below.name}, which extends {beneath[EXTENDS]!r}",
            why="a value would come from the third file down",
            fix=f"extend {beneath[EXTENDS]!r} in {path}, or write {below.name} out in full",
        )
    return _merged(beneath, values)


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    found = dict(below)
    for key, value in above.items():
        under = found.get(key)
        found[key] = _merged(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return found
