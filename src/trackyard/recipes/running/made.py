"""lineage.json of a run directory: from the moment the run begins, and again when it has made something.

A checkpoint of a running or killed run has its chain, too. What is put out is copied from files that are proved first.
"""

from __future__ import annotations

from trackyard.recipes.running.job import Job
from trackyard.recipes.running.training import FINAL
from trackyard.record.lineage.document import names_in, read_lineage, require_files, write_lineage
from trackyard.record.rundir import RunDirectory


def record_beginning(job: Job, directory: RunDirectory) -> None:
    """What the run is made from, before anything is made."""
    write_lineage(directory.path, job.origins, files=None)


def record_made(job: Job, directory: RunDirectory) -> None:
    """The result and the trained model, once; a kill may have come between result.json and this.

    DataError where they are not what was recorded.
    """
    if not directory.lineage.exists():
        record_beginning(job, directory)
    begun = read_lineage(directory.path)
    if begun.files is None:
        final = (f"{FINAL}/{name}" for name in names_in(directory.path / FINAL))
        write_lineage(directory.path, begun, files=[directory.result.name, *final])
    again = f"rm -r {directory.path / FINAL} {directory.result} {directory.lineage}"
    require_files(directory.path, fix=f"{again}   (the stage then makes them anew from its last checkpoint)")
