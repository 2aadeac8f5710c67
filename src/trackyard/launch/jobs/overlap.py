"""Two graphs at once: safe where neither makes what the other one makes or reads; everything else is refused.

What a graph reads are all stages that its targets come from: a stage that is made again while jobs wait that were
submitted with its old outputs would have them end as failed, or, worse, use half of each.
"""

from __future__ import annotations

from collections.abc import Iterable

from trackyard.errors import TrackyardError
from trackyard.launch.jobs.following import OPEN, status
from trackyard.launch.jobs.graph import Graph
from trackyard.launch.jobs.store import Kept
from trackyard.launch.slurm.client import SlurmClient


def require_disjoint(graph: Graph, others: Iterable[Kept], client: SlurmClient) -> None:
    """TrackyardError naming the first other graph with a job that has not ended, and that `graph` cannot run beside.

    A job that Slurm says nothing of may still run, and so may one whose submission was cut off before it was noted.
    Asks Slurm only of graphs that share a stage with this one.
    """
    makes, reads = {job.stage for job in graph.jobs}, set(graph.upstream)
    for other in others:
        theirs = {job.stage for job in other.graph.jobs}
        if other.graph.id == graph.id or not _meet(makes, reads, theirs, other.graph):
            continue
        doubtful = [job.stage for job in other.graph.jobs if other.in_doubt(job.array or job.name)]
        if _meet(makes, reads, set(doubtful), other.graph) and doubtful:
            raise TrackyardError(
                what=f"nobody has noted whether {doubtful[0]} of graph {other.graph.id} was submitted",
                why="its submission was cut off; it may run, and both graphs have to do with the same stages",
                fix=f"`trackyard cancel {other.graph.id}` finds it by its name and ends it; to go on with it instead: "
                f"`trackyard retry {other.graph.id}`",
            )
        alive = [job for job in status(other, client) if job.state in OPEN]
        shared = _meet(makes, reads, {job.stage for job in alive}, other.graph) if alive else set()
        if shared:
            raise TrackyardError(
                what=f"graph {other.graph.id} has not ended: {alive[0].name} (job {alive[0].slurm_id}) is "
                f"{alive[0].state}, and both have to do with {', '.join(sorted(shared)[:3])}",
                why="a stage that one graph makes while another one makes or reads it gives results of neither",
                fix=f"see `trackyard status {other.graph.id}`; submit when it has ended, or end it: "
                f"`trackyard cancel {other.graph.id}`",
            )


def _meet(makes: set[str], reads: set[str], theirs: set[str], other: Graph) -> set[str]:
    """Stages that one makes and the other one makes or reads. theirs: what `other` makes."""
    return (theirs & (makes | reads)) | (makes & set(other.upstream))
