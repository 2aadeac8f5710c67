"""What decides each stage, as files that dvc.yaml depends on: parameters, and the bytes of the code that runs.

DVC reads the whole parameter file, and walks through the whole package, once more for every stage that names them; one
small file for each stage costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import trackyard
from trackyard.digest import digest_file, digest_json
from trackyard.recipes.pile_ffn.parameters import SECTIONS
from trackyard.recipes.pile_ffn.study import LIBRARIES, Study
from trackyard.schema import write_document

SCHEMA = "trackyard-pile-ffn-parameters/1"
RESULTS: Mapping[str, tuple[str, ...]] = {
    **{stage: (stage,) for stage in ("fetch", "tokenize", "untouched", "init", "train", "degrade", "aggregate")},
    "evaluate": ("eval_ppl", "eval_bench", "probe_order"),
    "attack": ("attack_uat", "attack_hotflip"),
    "transfer": ("attack_transfer",),
}
"""Results of each stage of dvc.yaml, by the names that they have in `SECTIONS`."""


def write_declared(study: Study) -> int:
    """Write artifacts/pile_ffn/parameters/<stage>.json for every stage, and return how many."""
    folder = study.artifacts / "parameters"
    folder.mkdir(parents=True, exist_ok=True)
    code, libs = package_digest(), {name: version(name) for name in LIBRARIES}
    for stage, results in RESULTS.items():
        assert all(result in SECTIONS for result in results), stage
        body = {result: study.parameters.sections(result) for result in results}
        write_document(folder / f"{stage}.json", SCHEMA, {"results": body, "code": code, "libs": libs})
    return len(RESULTS)


def package_digest(package: Path = Path(trackyard.__file__).parent) -> str:
    """blake3 of every source file, by its path in the package: the same before and after a commit."""
    return digest_json({path.relative_to(package).as_posix(): digest_file(path) for path in package.rglob("*.py")})
