"""Versioned JSON documents: every file names its schema, and a reader refuses a major version it does not know."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from trackyard.durable import write_atomic
from trackyard.errors import DataError


def write_document(path: Path, schema: str, body: dict[str, Any]) -> None:
    """Write `body` as readable JSON with `schema` ("name/major") as its first key, atomically.

    Raises ValueError if `body` brings a schema of its own.
    """
    if "schema" in body:
        raise ValueError(f"the body of a {schema} document names a schema itself: {body['schema']!r}")
    write_atomic(path, json.dumps({"schema": schema} | body, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_document(path: Path, schema: str, *, fix: str) -> dict[str, Any]:
    """Read a document and check that it is of `schema`; DataError names the file and carries `fix` otherwise."""
    try:
        body: Any = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise DataError(
            what=f"{path} does not exist", why=f"it is the {schema} that this step reads", fix=fix
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(
            what=f"{path} is not valid JSON: {error}", why="a damaged document cannot be trusted", fix=fix
        ) from error
    found = body.get("schema") if isinstance(body, dict) else None
    if not isinstance(body, dict) or found != schema:
        raise DataError(
            what=f"{path} has schema {found!r}, expected {schema!r}",
            why="another version may mean something else by the same keys",
            fix=fix,
        )
    return body
