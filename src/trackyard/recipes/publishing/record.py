"""What the record says of an export, whichever track made it: data, base models, links of the run, and its cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from trackyard.errors import DataError
from trackyard.publish.card import NOT_STATED, BaseModel, TrainedOn, cost_rows
from trackyard.recipes.reporting.link_rows import link_rows
from trackyard.record.comparing.summary import read_summary
from trackyard.record.identity import RunSpec, spec_from_body
from trackyard.record.lineage.datasets import source_words
from trackyard.record.lineage.document import LINEAGE, Lineage, read_lineage
from trackyard.record.lineage.licences import inherited_terms, licence_rows
from trackyard.record.lineage.origins import NO_PLAN
from trackyard.record.lineage.run_chain import run_chain


@dataclass(frozen=True, kw_only=True, slots=True)
class Recorded:
    """An export and its lineage. directory: with lineage.json."""

    directory: Path
    root: Path
    lineage: Lineage
    spec: RunSpec

    @classmethod
    def of(cls, directory: Path, root: Path, *, again: str) -> Recorded:
        """DataError without a sound lineage.json. again: the command that makes the export."""
        if not (directory / LINEAGE).is_file():
            raise DataError(
                what=f"{directory} holds no {LINEAGE}",
                why="nothing is published of which nobody can say what it was made from",
                fix=again,
            )
        lineage = read_lineage(directory)
        spec = spec_from_body(lineage.spec, where=str(directory / LINEAGE), fix=again)
        return cls(directory=directory, root=root, lineage=lineage, spec=spec)

    @property
    def run_directory(self) -> Path:
        return self.root / "runs" / self.spec.track / self.spec.stage / self.lineage.run_id

    def require_run(self, run_id: str, *, again: str) -> None:
        """DataError unless the results that a card states are of the run that made this export."""
        if run_id != self.lineage.run_id:
            raise DataError(
                what=f"{self.directory} is of run {self.lineage.run_id}, the results are of run {run_id}",
                why="the card would state numbers of other weights",
                fix=f"bring both from one commit with `dvc checkout`, or make them anew: {again}",
            )

    def trained_on(self, shares: Mapping[str, float] | None = None) -> tuple[TrainedOn, ...]:
        """The data sets of the run. shares: of the trained rows, by name, where the plan says them."""
        return tuple(
            TrainedOn(
                name=name,
                licence=fact.licence,
                source=source_words(fact.source) or NOT_STATED,
                fingerprint=fact.fingerprint,
                share=None if shares is None else shares.get(name, 0.0),
                hub=str(fact.source["repo"]) if "repo" in fact.source else None,
            )
            for name, fact in sorted(self.lineage.snapshots.items())
        )

    def bases(self) -> tuple[BaseModel, ...]:
        """Models that no run of ours has trained, of this run and of those before it, each once."""
        found = {
            (fact.id, fact.revision): BaseModel(role=role, id=fact.id, revision=fact.revision, licence=fact.licence)
            for lineage in self._generations()
            for role, fact in sorted(lineage.models.items())
        }
        return tuple(found.values())

    def cost(self) -> list[tuple[str, str]]:
        """What the training took. DataError where the run is not on this machine."""
        if self.spec.plan == NO_PLAN:
            return [("training", "none: no run trained these weights further")]
        if not self.run_directory.is_dir():
            raise DataError(
                what=f"{self.run_directory.relative_to(self.root)} is not on this machine",
                why="the card states what the run took, and only its own record knows that",
                fix="bring it from where it was trained: rsync -a THERE:REPOSITORY/runs/ runs/",
            )
        run = read_summary(self.run_directory)
        return cost_rows(run.device, run.world, run.device_hours, run.energy_kwh, run.attempts)

    def links(self) -> tuple[tuple[str, str], ...]:
        """The links of the run that its specification names."""
        return tuple(link_rows(self.spec))

    def licences(self) -> str:
        """LICENSES.md: of all data and base models, those of earlier runs too, and what they mean together."""
        rows = licence_rows(run_chain(self.directory, self.root))
        lines = ["# Licences of what these weights were made from", "", "| | | licence | source | share of training |"]
        lines += ["|---|---|---|---|---|"]
        lines += [f"| {row.kind} | {row.name} | {row.licence} | {row.source} | {row.share} |" for row in rows]
        return "\n".join([*lines, "", inherited_terms(rows)]) + "\n"

    def _generations(self) -> Iterator[Lineage]:
        lineage: Lineage | None = self.lineage
        while lineage is not None:
            yield lineage
            lineage = None if lineage.parent is None else lineage.parent.lineage
