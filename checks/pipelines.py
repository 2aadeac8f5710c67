"""Load every dvc.yaml the way DVC does, and check what DVC itself does not.

    python -m checks.pipelines

DVC resolves a bare stage name in the root dvc.yaml only and lets it win silently over a same-named stage elsewhere, so
no pipeline has a name of the root's, unless the root's stage needs that one and so runs it too. Two pipelines may
share a name: theirs are given with the file. `data.dvc` owns data/, so no stage writes there (hpc spec section 8).
Every stage says in `meta` what it needs, and exactly those that may run in an image (train, gpu) depend on the lock of
the images: another image runs them again, and no other stage (pains 11).
Exit 0: sound, 1: a problem, or no dvc.yaml at all.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.stage import PipelineStage
from networkx import descendants

from checks.repository import ROOT, files
from trackyard.errors import ConfigError
from trackyard.launch.stage_needs import IN_IMAGE, stage_meta
from trackyard.record.image_lock import IMAGE_LOCK

DATA, PIPELINE = "data", "dvc.yaml"


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What was examined, and what is wrong with it. files: paths of dvc.yaml files; stages: after expanding foreach."""

    files: tuple[str, ...]
    stages: int
    problems: tuple[str, ...]


def _below(path: Path, folder: Path) -> bool:
    return path == folder or folder in path.parents


def _where(stage: PipelineStage, root: Path) -> str:
    return Path(stage.path).relative_to(root).as_posix()


def _need_problems(stage: PipelineStage, root: Path) -> Iterator[str]:
    """What is wrong with the stage's need, and with its dependence on the image."""
    where = f"{_where(stage, root)}: stage {stage.name!r}"
    try:
        needs = stage_meta(stage.meta, stage.name).needs
    except ConfigError as error:
        yield f"{_where(stage, root)}: {error.what}"
        return
    locked = any(Path(dep.fs_path) == root / IMAGE_LOCK for dep in stage.deps if dep.protocol == "local")
    if needs in IN_IMAGE and not locked:
        yield f"{where} needs {needs}, so it may run in an image, and does not depend on {IMAGE_LOCK}"
    if locked and needs not in IN_IMAGE:
        yield f"{where} needs {needs}, so it runs in no image, and depends on {IMAGE_LOCK}"


def examine(root: Path) -> Report:
    """Check every dvc.yaml below `root`."""
    found = tuple(files(root, [":(glob)**/dvc.yaml"]))
    if not found:
        return Report(files=(), stages=0, problems=("no dvc.yaml found: no pipeline was checked",))
    problems = []
    owners: dict[str, list[PipelineStage]] = {}
    try:
        with Repo(str(root)) as repo:
            stages = [stage for stage in repo.index.stages if isinstance(stage, PipelineStage)]
            repo.index.check_graph()
            needed = {stage: descendants(repo.index.graph, stage) for stage in stages}
    except DvcException as error:
        # One broken file breaks every dvc command, so nothing else can be said before it is mended.
        told = str(error.__cause__ or error).strip()
        return Report(files=found, stages=0, problems=(f"dvc cannot load the pipelines: {error}: {told}",))
    for stage in stages:
        owners.setdefault(stage.name.partition("@")[0], []).append(stage)
        problems += [
            f"{_where(stage, root)}: stage {stage.name!r} writes {out.def_path!r} below {DATA}/, owned by data.dvc; "
            "use artifacts/"
            for out in stage.outs
            if out.protocol == "local" and _below(Path(out.fs_path), root / DATA)
        ]
        problems += _need_problems(stage, root)
    for name, same in sorted(owners.items()):
        own = [stage for stage in same if _where(stage, root) == PIPELINE]
        shadowed = sorted({_where(stage, root) for stage in same if own and stage not in {own[0], *needed[own[0]]}})
        if shadowed:
            problems.append(
                f"stage name {name!r} is used in {' and '.join([PIPELINE, *shadowed])}; `dvc repro {name}` reaches "
                "only the root's"
            )
    loaded = {_where(stage, root) for stage in stages}
    problems += [f"{path} gives no stage: dvc does not see it or it is empty" for path in found if path not in loaded]
    return Report(files=found, stages=len(stages), problems=tuple(problems))


def main(root: Path = ROOT) -> int:
    report = examine(root)
    for problem in report.problems:
        print(problem, file=sys.stderr)
    print(
        f"pipelines: {len(report.files)} dvc.yaml and {report.stages} stages examined, {len(report.problems)} problems"
    )
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
