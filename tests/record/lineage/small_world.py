"""A checkout with data, plans, models, an image and two runs: a second one that starts from the export of a first one.

Everything is small and real: manifests, plans and checkpoints are written by what writes them in a run.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tests.record.conftest import make_spec
from trackyard.digest import digest_file
from trackyard.plan.plan import SCHEMA as PLAN_SCHEMA
from trackyard.plan.plan import fingerprint
from trackyard.plan.recorded import recorded_plan
from trackyard.recipes.running.plan_file import keep_plan
from trackyard.record.code import code_identity
from trackyard.record.image_lock import ImageLock, write_lock
from trackyard.record.lineage import data
from trackyard.record.lineage.data import DataSet
from trackyard.record.lineage.document import names_in, write_lineage
from trackyard.record.lineage.origins import Origins, Parent, StartingModel
from trackyard.record.rundir import RunDirectory, open_or_create
from trackyard.runner import SystemRunner
from trackyard.schema import write_document
from trackyard.snapshot.manifest import FileEntry, Manifest
from trackyard.snapshot.token_writer import write_tokens
from trackyard.train.checkpoint import Manifest as CheckpointManifest
from trackyard.train.checkpoint import StoredFile, partial_directory, seal

GIT = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
WEIGHTS = "model.safetensors"


def git(root: Path, *arguments: str) -> None:
    subprocess.run([*GIT, *arguments], cwd=root, check=True, capture_output=True)


@dataclass
class World:
    """root: of the checkout. first, second: what the runs are made from; parent, export: where those put theirs."""

    root: Path
    first: Origins
    second: Origins
    parent: Path
    export: Path

    @property
    def run(self) -> RunDirectory:
        return open_or_create(self.root / "runs", self.second.spec)

    @property
    def checkpoint(self) -> Path:
        return self.run.checkpoints / "step-00000004"

    def rewrite(self, **changes: Any) -> None:
        """The second run again, of a specification with `changes`."""
        self.second = replace(self.second, spec=replace(self.second.spec, **changes))
        put_out(self.second, self.export)


def make_world(root: Path) -> World:
    (root / "src").mkdir(parents=True)
    (root / "src" / "train.py").write_text("steps = 4\n")
    (root / "requirements.lock").write_text("torch==2\n")
    (root / "pyproject.toml").write_text("[project]\n")
    (root / ".gitignore").write_text("data\nplans\nmodels\nartifacts\nruns\ncontainers\n")
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "first")
    code = code_identity(root, SystemRunner(), {})
    sets = {"charts": _rows(root / "data" / "charts"), "text": _tokens(root / "data" / "text"), "web": _samples(root)}
    image = root / "containers" / "trackyard.sif"
    image.parent.mkdir()
    image.write_bytes(b"image" * 1000)
    lock_images(root, image)
    common: dict[str, Any] = {
        "snapshots": {name: found.fingerprint for name, found in sets.items()},
        "code": code,
        "image": f"sha256:{hashlib.sha256(image.read_bytes()).hexdigest()}",
    }
    first = _first(root, sets, common)
    parent = put_out(first, root / "artifacts" / "stage1")
    taken = (WEIGHTS, "sub/config.json")
    second = Origins(
        root=root,
        spec=make_spec(
            plan=_packs(root / "plans" / "packs"),
            model={"weights": digest_file(parent / WEIGHTS)},
            parent=first.spec.run_id,
            **common,
        ),
        plan=root / "plans" / "packs",
        snapshots=sets,
        models={},
        parent=Parent(directory=parent, taken=taken),
    )
    found = World(root=root, first=first, second=second, parent=parent, export=root / "artifacts" / "stage2")
    put_out(second, found.export)
    _run(found)
    return found


def lock_images(root: Path, *images: Path) -> None:
    """Write the lock of a checkout: it has these files, by their names, and no others."""
    none = "0" * 64
    made = {"def_sha256": none, "build_args": {}, "base": {"name": "b", "digest": f"sha256:{none}"}, "cuda": None,
            "apptainer_version": "1", "package_lock_sha256": none, "driver_min": None, "sbom": "s", "packages": "p",
            "created": "2026-01-02T03:04:05Z"}  # fmt: skip
    files = {
        path.stem: {"file": path.name, "sif_bytes": path.stat().st_size,
                    "sif_sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in images
    }  # fmt: skip
    write_lock(root, ImageLock.model_validate({"images": {name: made | file for name, file in files.items()}}))


def put_out(origins: Origins, directory: Path) -> Path:
    """An export of a run, in place of what is there."""
    shutil.rmtree(directory, ignore_errors=True)
    (directory / "sub").mkdir(parents=True)
    (directory / WEIGHTS).write_bytes(directory.name.encode() * 100)
    (directory / "sub" / "config.json").write_text(f'{{"of": "{directory.name}"}}')
    write_lineage(directory, origins, files=names_in(directory))
    return directory


def _first(root: Path, sets: dict[str, DataSet], common: dict[str, Any]) -> Origins:
    """A run that starts from a model of the hub, and from one that is made from a seed."""
    plan = keep_plan(root, "trackyard-windows/1", {"steps": 4})
    folder = root / "models" / "base"
    folder.mkdir(parents=True)
    (folder / "base.safetensors").write_bytes(b"base" * 100)
    (folder / "config.json").write_text("{}")
    files = {path.name: digest_file(path) for path in sorted(folder.iterdir())}
    hub = StartingModel(
        id="org/base", revision="1" * 40, licence="apache-2.0", named="files", directory=folder, restore="fetch it",
        files=files,
    )  # fmt: skip
    made = StartingModel(
        id="made", revision=None, licence="made here", named="making", directory=None, restore="make it"
    )  # fmt: skip
    spec = make_spec(
        stage="stage1", parent=None, plan=recorded_plan(plan).fingerprint, model={"files": files}, **common
    )  # fmt: skip
    return Origins(root=root, spec=spec, plan=plan, snapshots=sets, models={"base": hub, "made": made}, parent=None)


def _rows(directory: Path) -> DataSet:
    shard = directory / "train" / "0.parquet"
    shard.parent.mkdir(parents=True)
    shard.write_bytes(b"PAR1" * 50)
    Manifest(
        dataset=directory.name,
        source={"hub": "x", "revision": "1"},
        licence="CC-BY-4.0",
        splits={"train": 1},
        files=(FileEntry(path="train/0.parquet", bytes=200, rows=1, blake3=digest_file(shard)),),
        exclusions={},
    ).write(directory)
    return data.rows(directory)


def _tokens(directory: Path) -> DataSet:
    write_tokens(
        directory, [np.arange(9, dtype=np.int64)], dataset="text", source={"kind": "mini"}, licence="CC0-1.0",
        tokenizer="t", vocabulary=16,
    )  # fmt: skip
    return data.tokens(directory, restore="tokenise again")


def _samples(root: Path) -> DataSet:
    table, pictures = root / "data" / "web" / "samples.parquet", root / "data" / "web" / "pictures" / "0.parquet"
    pictures.parent.mkdir(parents=True)
    table.write_bytes(b"captions")
    pictures.write_bytes(b"pictures")
    files = {"samples.parquet": digest_file(table), "pictures/0.parquet": digest_file(pictures)}
    return DataSet(
        kind="samples", fingerprint=files["samples.parquet"], directory=root / "data" / "web", files=files,
        source={"kind": "hub"}, licence=None, restore="download again",
    )  # fmt: skip


def _packs(directory: Path) -> str:
    """A plan of packs; returns its fingerprint."""
    directory.mkdir(parents=True)
    (directory / "rows.npy").write_bytes(b"rows" * 100)
    inputs, files = {"seed": 7}, {"rows.npy": digest_file(directory / "rows.npy")}
    found = fingerprint(inputs, files)
    body = {"fingerprint": found, "inputs": inputs, "files": files, "summary": {}}
    write_document(directory / "plan.json", PLAN_SCHEMA, body)
    return found


def _run(world: World) -> None:
    """The directory of the second run, with a result and a checkpoint."""
    write_document(world.run.result, "result/1", {"loss": 1.0})
    write_lineage(world.run.path, world.second, files=[world.run.result.name])
    partial = partial_directory(world.run.checkpoints, 4, "0")
    partial.mkdir()
    (partial / "rank-0.safetensors").write_bytes(b"state" * 50)
    stored = StoredFile(path="rank-0.safetensors", bytes=250, blake3=digest_file(partial / "rank-0.safetensors"))
    spec = world.second.spec
    manifest = CheckpointManifest(
        step=4, identity={"run_id": spec.run_id, "plan": spec.plan}, score=None, host_state={}, tensors={},
        files=(stored,),
    )  # fmt: skip
    seal(partial, world.checkpoint, manifest)
