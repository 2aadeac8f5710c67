"""What a track gives to be trained: a run that is decided down to its plan, and how its parts are made.

Source: design sections 1, 4 and 5.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import torch

from trackyard.launch.watchdog import WatchdogParameters
from trackyard.record.identity import RunSpec
from trackyard.record.lineage.origins import Origins
from trackyard.record.rundir import RunDirectory
from trackyard.record.spool import Spool
from trackyard.train.engine import Engine
from trackyard.train.guard import Guard
from trackyard.train.guard_parameters import GuardParameters
from trackyard.train.loop import Track
from trackyard.train.parameters import EngineParameters
from trackyard.train.ranks import Ranks


class Job(Protocol):
    """A prepared run. Every rank and every restart comes to the same one from parameters and files."""

    @property
    def root(self) -> Path:
        """Of the repository; the run lies in its runs/."""
        ...

    @property
    def spec(self) -> RunSpec: ...

    @property
    def plan_path(self) -> Path:
        """Directory of the plan."""
        ...

    @property
    def plan_fingerprint(self) -> str: ...

    @property
    def origins(self) -> Origins:
        """What the run is made from, for its lineage.json. Asked on rank 0 only: it may have to hash a model."""
        ...

    @property
    def steps(self) -> int: ...

    @property
    def save_every(self) -> int:
        """Updates between checkpoints."""
        ...

    @property
    def seed(self) -> int:
        """Of torch's generator, on every rank alike."""
        ...

    @property
    def engine(self) -> EngineParameters:
        """As given; a run whose device was too small goes on with others."""
        ...

    @property
    def guard(self) -> GuardParameters: ...

    @property
    def watchdog(self) -> WatchdogParameters: ...

    @property
    def again(self) -> str:
        """The command that continues the run."""
        ...

    def build(self, settings: EngineParameters, ranks: Ranks, guard: Guard) -> Engine:
        """The start of the run under its engine, before any checkpoint is read. Called again after a rollback."""
        ...

    def share(
        self, engine: Engine, ranks: Ranks, settings: EngineParameters, directory: RunDirectory, spool: Spool | None
    ) -> Track:
        """This rank's share of the steps, once for each `build`, before a checkpoint is read into the engine.

        spool: where rank 0 records; None on the others.
        """
        ...

    def write_final(self, partial: Path, weights: dict[str, torch.Tensor]) -> None:
        """Rank 0: the trained model into `partial`, which becomes FINAL of the run directory when this returns.

        weights: fp32 on the host, by the names of the engine's module. Raises OSError or SafetensorError where nothing
        can be written.
        """
        ...
