"""What a run is: everything that decides its result, and the name that follows from it.

Same specification, same run id, same directory: so the run resumes. Anything else is another run (design section 5).
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trackyard.digest import canonical_json, digest_json, short
from trackyard.errors import ConfigError, IdentityError
from trackyard.record.code import CodeIdentity
from trackyard.redact import Redactor
from trackyard.schema import read_document, write_document

SCHEMA = "trackyard-run/1"

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSpec:
    """The whole identity of a run. Values are kept as JSON keeps them (a tuple becomes a list).

    plan, snapshots: fingerprints, the latter by dataset name. model: revision, or how a start from scratch is made.
    parent: id of the run whose weights this one starts from. image: digest of the container image.
    Raises ConfigError for a name that cannot be a directory, a value that JSON cannot hold, or a secret.
    """

    track: str
    stage: str
    parameters: Mapping[str, Any]
    plan: str
    model: Mapping[str, Any]
    snapshots: Mapping[str, str]
    parent: str | None
    code: CodeIdentity
    image: str | None
    seed: int

    def __post_init__(self) -> None:
        for field, name in (("track", self.track), ("stage", self.stage)):
            if not _NAME.fullmatch(name):
                raise ConfigError(
                    what=f"{field}={name!r}",
                    why="it names a directory below runs/: lower-case letters, digits and _ . -",
                    fix=f"choose another {field} name",
                )
        for field in ("parameters", "model", "snapshots"):
            object.__setattr__(self, field, self._plain(field))

    def _plain(self, field: str) -> Any:
        values = getattr(self, field)
        try:
            plain = json.loads(canonical_json(dict(values)))
        except (TypeError, ValueError) as error:
            raise ConfigError(
                what=f"{field} of {self.track} {self.stage}: {error}",
                why="the identity of a run is the digest of its JSON",
                fix=f"give only finite numbers, texts, booleans, lists and mappings in {field}",
            ) from error
        kept = dict(flatten(Redactor().value(plain)))
        for key, value in flatten(plain):
            if kept.get(key) != value:
                raise ConfigError(
                    what=f"{field}.{key} of {self.track} {self.stage} looks like a secret",
                    why="parameters are written to the run directory, to MLflow and into the exported model",
                    fix=f"remove it from {field} and export it as an environment variable instead",
                )
        return plain

    @property
    def body(self) -> dict[str, Any]:
        """The specification as one JSON object."""
        return dataclasses.asdict(self)

    @property
    def digest(self) -> str:
        """blake3 of the canonical JSON, 64 hex characters."""
        return digest_json({"schema": SCHEMA, **self.body})

    @property
    def run_id(self) -> str:
        """The short digest that names the run's directory."""
        return short(self.digest)


def spec_from_body(body: Mapping[str, Any], *, where: str, fix: str) -> RunSpec:
    """Rebuild a specification that was written as `body`; IdentityError unless its fields are exactly those known."""
    fields = {field.name for field in dataclasses.fields(RunSpec)}
    code = body.get("code")
    if set(body) != fields or not isinstance(code, Mapping) or set(code) != {"commit", "dirty_digest"}:
        odd = sorted(set(body) ^ fields) or ["code"]
        raise IdentityError(
            what=f"{where}: the fields {', '.join(odd)} are missing, unknown or malformed",
            why="an identity of which only a part is read would make different runs look alike",
            fix=fix,
        )
    return RunSpec(**{**body, "code": CodeIdentity(**code)})


def write_spec(path: Path, spec: RunSpec) -> None:
    """Write spec.json, complete or not at all."""
    write_document(path, SCHEMA, {"run_id": spec.run_id, "spec": spec.body})


def read_spec(path: Path) -> RunSpec:
    """Read spec.json; IdentityError if it was edited after the run began, DataError if it cannot be read."""
    fix = f"restore {path} from a backup, or move {path.parent} away and start the run anew"
    document = read_document(path, SCHEMA, fix=fix)
    spec = spec_from_body(document.get("spec", {}), where=str(path), fix=fix)
    if spec.run_id != document.get("run_id"):
        raise IdentityError(
            what=f"{path} says run {document.get('run_id')}, but its content is that of run {spec.run_id}",
            why="it was edited after the run began, so it no longer says what made the checkpoints beside it",
            fix=fix,
        )
    return spec


def flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested mappings as ("a.b.c", leaf); lists and empty mappings are leaves."""
    if isinstance(value, Mapping) and (value or not prefix):
        for key in sorted(value, key=str):
            yield from flatten(value[key], f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value


def diff(a: RunSpec, b: RunSpec) -> list[str]:
    """What differs, as "key: a -> b", one line per leaf, sorted by key."""
    left, right = dict(flatten(a.body)), dict(flatten(b.body))
    absent = object()
    lines = []
    for key in sorted({*left, *right}):
        old, new = left.get(key, absent), right.get(key, absent)
        if old is absent or new is absent or canonical_json(old) != canonical_json(new):
            lines.append(f"{key}: {_shown(old, absent)} -> {_shown(new, absent)}")
    return lines


def _shown(value: Any, absent: object) -> str:
    return "absent" if value is absent else json.dumps(value, ensure_ascii=False)


def require_same(spec_on_disk: RunSpec, spec_now: RunSpec) -> None:
    """Raise IdentityError with every difference, unless both are the same specification."""
    differences = diff(spec_on_disk, spec_now)
    if differences:
        raise IdentityError(
            what=f"run {spec_on_disk.run_id} was begun under another specification: " + " · ".join(differences),
            why="continuing it would mix two experiments under one name",
            fix=f"restore these values to continue it, or start run {spec_now.run_id} from the beginning",
        )
