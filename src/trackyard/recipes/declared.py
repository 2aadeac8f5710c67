"""What decides each stage of a track, as files that its dvc.yaml depends on: parameters, and the code that runs.

DVC reads the whole parameter file, and walks through the whole package, once more for every stage that names them; one
small file for each stage costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from trackyard.record.code import package_digest
from trackyard.schema import write_document


def write_declared(
    folder: Path,
    schema: str,
    results: Mapping[str, Sequence[str]],
    sections: Callable[[str], dict[str, Any]],
    libraries: Sequence[str],
) -> int:
    """Write <folder>/<stage>.json for every stage, and return how many.

    results: of each stage of dvc.yaml; sections: the parameters that decide a result.
    """
    folder.mkdir(parents=True, exist_ok=True)
    code, libs = package_digest(), {name: version(name) for name in libraries}
    for stage, names in results.items():
        body = {name: sections(name) for name in names}
        write_document(folder / f"{stage}.json", schema, {"results": body, "code": code, "libs": libs})
    return len(results)
