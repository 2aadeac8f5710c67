"""Whether what `trackyard run` is asked for is there, found before a job is submitted or an image is entered for it."""

from __future__ import annotations

from pathlib import Path

from trackyard.cli.table import STAGES
from trackyard.errors import ConfigError

PARAMETERS = Path("params.yaml")


def require_runnable(
    root: Path, track: str, stage: str, item: str | None, parameters: Path, processes: int | None
) -> None:
    """ConfigError for a track, stage, item, part, parameter file or option that `trackyard run` would refuse.

    item: as the stage is called with it, a part K/N included.
    """
    if track == "molmo2":
        _require_molmo2(root, stage, item, parameters)
    elif track == "pile_ffn":
        from trackyard.recipes.pile_ffn.parameters import load_pile_ffn
        from trackyard.recipes.pile_ffn.stages import require as require_pile_ffn

        require_pile_ffn(load_pile_ffn(root / parameters), stage, item)
    elif track == "datacomp":
        from trackyard.recipes.datacomp.parameters import load_datacomp
        from trackyard.recipes.datacomp.stages import require as require_datacomp

        require_datacomp(load_datacomp(root / parameters), stage, item)
    elif track == "nine":
        _require_nine(root, stage, item, parameters, processes)
    elif track == "all":
        _require_all(stage, item, parameters, processes)
    else:
        raise ConfigError(
            what=f"no track {track!r}",
            why="there are molmo2, pile_ffn, datacomp and nine, and all for the report of all four",
            fix="trackyard run molmo2 stage1",
        )


def _require_molmo2(root: Path, stage: str, item: str | None, parameters: Path) -> None:
    if stage not in STAGES or item is not None:
        raise ConfigError(
            what=f"no stage {stage if item is None else f'{stage} {item}'!r} of track 'molmo2'",
            why=f"the track molmo2 has {', '.join(STAGES)}",
            fix="trackyard run molmo2 stage1",
        )
    from trackyard.recipes.molmo2.parameters import load_molmo2

    load_molmo2(root / parameters)


def _require_nine(root: Path, stage: str, item: str | None, parameters: Path, processes: int | None) -> None:
    from trackyard.recipes.nine.parameters import load_nine
    from trackyard.recipes.nine.stages import require as require_nine

    if processes is not None:
        raise ConfigError(
            what=f"--processes {processes} with the track nine",
            why="its stages take one process for each GPU, or each CPU core, by themselves",
            fix=f"trackyard run nine {stage}",
        )
    require_nine(stage, item)
    load_nine(root / parameters)


def _require_all(stage: str, item: str | None, parameters: Path, processes: int | None) -> None:
    if parameters != PARAMETERS or processes is not None:
        raise ConfigError(
            what=f"--params {parameters}" if processes is None else f"--processes {processes}",
            why="the report of all tracks is made in one process, of what their stages put out; it reads no parameters",
            fix="trackyard run all compare",
        )
    if stage != "compare" or item is not None:
        raise ConfigError(
            what=f"no stage {stage if item is None else f'{stage} {item}'!r} of all tracks",
            why="what is about all tracks is compare, which writes report/",
            fix="trackyard run all compare",
        )
