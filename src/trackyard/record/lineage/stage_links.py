"""The links of the stages of a graph: what each put out, what it read, and that both agree with dvc.lock.

A stage that dvc.lock does not know is `absent`, with the `dvc repro` that makes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from trackyard.record.lineage.datasets import dataset_links
from trackyard.record.lineage.document import LINEAGE
from trackyard.record.lineage.dvc_graph import Entry, Produced, StageGraph, StageRecord
from trackyard.record.lineage.dvc_tree import directory_md5, is_directory
from trackyard.record.lineage.links import Claim, Hashed, Link
from trackyard.record.lineage.merging import PARENT, Joined, told_apart
from trackyard.record.lineage.run_chain import run_chain
from trackyard.record.lineage.stage_inputs import AtHand, command_claim, declared_code, kept_link, parameter_claims
from trackyard.snapshot.manifest import RESTORE

_NOT_RUN = "dvc.lock does not know it: it has not run here, or was changed since"


class StageLinks:
    """The links of one chain. A stage is built once, however many read what it put out."""

    def __init__(self, graph: StageGraph) -> None:
        self._graph = graph
        self._built: dict[str, tuple[Link, ...]] = {}
        self._joined = Joined()
        self._hand = AtHand(graph)

    def of(self, produced: list[Produced]) -> tuple[Link, ...]:
        """The links of the stages that put something out; of a .dvc file, one for each data set."""
        found: list[Link] = []
        for stage in {one.stage.address: one.stage for one in produced}.values():
            if stage.address not in self._built:
                links = self._data(stage) if stage.data else [self._stage(stage)]
                self._built[stage.address] = tuple(self._joined.add(link, stage.address) for link in links)
            found += self._built[stage.address]
        return tuple(found)

    def hashed(self, digests: dict[str, str]) -> tuple[Hashed, ...]:
        """Files by their path in the repository, and the md5 that each must have."""
        root = self._graph.root
        return tuple(Hashed(path=root / path, algorithm="md5", digest=md5) for path, md5 in sorted(digests.items()))

    def _data(self, stage: StageRecord) -> Iterator[Link]:
        """The data sets under a .dvc file, and whatever lies beside them."""
        for out in stage.outs:
            name, facts = f"snapshot {out.path}", {"path": out.path, "holds": out.words}
            lacking = self._lacking(out)
            if lacking:
                fix = f"dvc pull {stage.address}"
                yield Link(kind="snapshot", name=name, fix=fix, facts=facts, absent=lacking)
                continue
            listing = self._graph.listing(out) or {}
            folder = self._graph.root / out.path
            found = list(dataset_links(folder, out.path, listing, RESTORE))
            yield from found
            covered = {file.path for link in found for file in link.files}
            rest = {path: md5 for path, md5 in out.part(listing, out.path).items()
                    if self._graph.root / path not in covered}  # fmt: skip
            if rest:
                yield Link(kind="snapshot", name=f"{name}: other files", fix=RESTORE, facts=facts,
                           files=self.hashed(rest))  # fmt: skip

    def _stage(self, stage: StageRecord) -> Link:
        facts = {
            "does": stage.about,
            "command": stage.command,
            "puts out": "; ".join(f"{out.path}: {out.words}" for out in stage.outs),
        }
        again = f"dvc repro {stage.address}"
        if not stage.locked:
            return Link(kind="stage", name=stage.name, fix=again, facts=facts, absent=_NOT_RUN)
        claims = [command_claim(stage), *parameter_claims(stage)]
        inputs: list[Link] = []
        for dep in stage.deps:
            claims += self._agreement(stage, dep)
            inputs += self._read(stage, dep)
        files: dict[str, str] = {}
        lacking = [self._lacking(out) for out in stage.outs]
        for out in (one for one, lacks in zip(stage.outs, lacking, strict=True) if not lacks):
            listing = self._graph.listing(out) or {}
            files |= out.part(listing, out.path)
            claims += self._nothing_else(out, listing)
            inputs += self._inside(stage, out, listing)
        return Link(
            kind="stage",
            name=stage.name,
            fix=f"dvc checkout {stage.address} (brings its outputs back), or {again} (makes them anew)",
            facts=facts,
            claims=tuple(claims),
            files=self.hashed(files),
            absent="; ".join(filter(None, lacking)) or None,
            inputs=tuple({one.name: one for one in inputs}.values()),
        )

    def _lacking(self, out: Entry) -> str:
        """Why an output cannot be proved here; "" where it can."""
        if self._graph.listing(out) is None:
            return f"the list of the files of {out.path} ({out.digest}) is not in the DVC cache"
        return "" if (self._graph.root / out.path).exists() else f"{out.path} is not at hand"

    def _read(self, stage: StageRecord, dep: Entry) -> Iterator[Link]:
        """What a dependency is: the stages that put it out, data sets of a .dvc file that lie in it, or code."""
        producers = self._graph.producers(dep.path)
        if not producers:
            yield self._joined.add(kept_link(self._hand, dep, stage.address), stage.name)
            return
        path = self._graph.root / dep.path
        for link in self.of(producers):
            if link.kind == "stage" or link.absent or any(_lies_in(file.path, path) for file in link.files):
                yield link
        declared = declared_code(self._hand, dep)
        if declared is not None:
            yield self._joined.add(declared, dep.path)

    def _agreement(self, stage: StageRecord, dep: Entry) -> Iterator[Claim]:
        """That the bytes which a stage read are those that the stages before it put out."""
        producers = self._graph.producers(dep.path)
        found = self._put_out(producers, dep.path)
        if found is not None:
            makers = " and ".join(dict.fromkeys(one.stage.name for one in producers))
            what = f"md5 of {dep.path} as {stage.name} read it, beside what {makers} put out"
            yield Claim(what=what, expected=dep.digest or "none in dvc.lock", found=found)

    def _put_out(self, producers: list[Produced], path: str) -> str | None:
        """The md5 of a path as the stages together put it out; None where no stage did, or the link of one says that
        its files are not known.
        """
        if [one.out.path for one in producers] == [path]:
            return producers[0].out.digest
        put_out: dict[str, str] = {}
        for one in producers:
            listing = self._graph.listing(one.out)
            if listing is None:
                return None
            put_out |= one.out.part(listing, path)
        if not producers or path in put_out:
            return put_out.get(path)
        return directory_md5({name.removeprefix(f"{path}/"): md5 for name, md5 in put_out.items()})

    def _nothing_else(self, out: Entry, listing: dict[str, str]) -> Iterator[Claim]:
        """That a folder holds no file which the stage did not put there. One that is missing is found by hashing."""
        if out.digest and is_directory(out.digest):
            base = self._graph.root / out.path
            others = sorted({path.relative_to(base).as_posix() for path in self._graph.files(out.path)} - set(listing))
            what = f"files in {out.path} that the stage did not put out"
            yield Claim(what=what, expected="none", found=", ".join(others) or "none")

    def _inside(self, stage: StageRecord, out: Entry, listing: dict[str, str]) -> Iterator[Link]:
        """The chains of the runs whose exports an output holds, and the data sets in it."""
        folder = self._graph.root / out.path
        for path in sorted(listing):
            if PurePosixPath(path).name == LINEAGE and (folder / path).is_file():
                place = (PurePosixPath(out.path) / path).parent.as_posix()
                # As part of another chain: that the code at hand is the one used is what the stage's own links prove.
                chain = run_chain((folder / path).parent, self._graph.root, before=PARENT)
                yield self._joined.add(told_apart(chain, place), place)
        for link in dataset_links(folder, out.path, listing, f"dvc checkout {stage.address}"):
            yield self._joined.add(link, stage.name)


def _lies_in(path: Path, folder: Path) -> bool:
    return path == folder or folder in path.parents
