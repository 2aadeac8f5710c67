"""A fresh lineage is proved; after any byte is changed the first wrong link is named; nothing examined is an error."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from trackyard.digest import digest_file, digest_json
from trackyard.errors import DataError, IdentityError
from trackyard.plan.plan import SCHEMA as PLAN_SCHEMA
from trackyard.plan.plan import fingerprint
from trackyard.record.code import CodeIdentity
from trackyard.record.identity import RunSpec
from trackyard.record.lineage import LINEAGE, read_lineage, verify_lineage, write_lineage
from trackyard.schema import write_document
from trackyard.snapshot.manifest import FileEntry, Manifest

SpecOf = Callable[..., RunSpec]


@dataclass
class World:
    """Two runs: stage 1, and stage 2 that starts from it; one plan and two snapshots."""

    root: Path
    commit: str
    facts: dict[str, Any]
    export: Path
    parent: Path

    @property
    def files(self) -> dict[str, Path]:
        """Every file that the lineage of the export speaks of, by a part of the link that names it."""
        return {
            "file model.safetensors": self.export / "model.safetensors",
            "file sub/config.json": self.export / "sub" / "config.json",
            "plan plan.json": self.root / "plan" / "plan.json",
            "plan rows.npy": self.root / "plan" / "rows.npy",
            "snapshot charts manifest": self.root / "data" / "charts" / "manifest.json",
            "snapshot charts train/0.parquet": self.root / "data" / "charts" / "train" / "0.parquet",
            "snapshot clips train/0.parquet": self.root / "data" / "clips" / "train" / "0.parquet",
            "parent: file model.safetensors": self.parent / "model.safetensors",
        }


def snapshot(directory: Path) -> str:
    """Make a small snapshot and return its fingerprint."""
    shard = directory / "train" / "0.parquet"
    shard.parent.mkdir(parents=True)
    shard.write_bytes(b"PAR1" + directory.name.encode() * 50)
    manifest = Manifest(
        dataset=directory.name,
        source={"hub": "x", "revision": "1"},
        licence="CC-BY-4.0",
        splits={"train": 1},
        files=(FileEntry(path="train/0.parquet", bytes=shard.stat().st_size, rows=1, blake3=digest_file(shard)),),
        exclusions={},
    )
    manifest.write(directory)
    return manifest.fingerprint


def make_plan(directory: Path) -> str:
    """Make a plan directory and return its fingerprint."""
    directory.mkdir()
    (directory / "rows.npy").write_bytes(b"rows" * 100)
    inputs, files = {"seed": 7}, {"rows.npy": digest_file(directory / "rows.npy")}
    body = {"fingerprint": fingerprint(inputs, files), "inputs": inputs, "files": files, "summary": {}}
    write_document(directory / "plan.json", PLAN_SCHEMA, body)
    return str(body["fingerprint"])


@pytest.fixture
def world(tmp_path: Path, spec_of: SpecOf) -> World:
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    for arguments in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run([*git, *arguments], cwd=tmp_path, check=True)
    log = subprocess.run(["git", "rev-parse", "HEAD"], cwd=tmp_path, check=True, capture_output=True, text=True)
    code = CodeIdentity(commit=log.stdout.strip(), dirty_digest=None)
    links = {name: tmp_path / "data" / name for name in ("charts", "clips")}
    facts = {
        "snapshots": {name: snapshot(path) for name, path in links.items()},
        "plan": make_plan(tmp_path / "plan"),
        "code": code,
    }

    def export(name: str, spec: RunSpec, parent: Path | None) -> Path:
        directory = tmp_path / "artifacts" / name
        (directory / "sub").mkdir(parents=True)
        (directory / "model.safetensors").write_bytes(name.encode() * 100)
        (directory / "sub" / "config.json").write_text("{}")
        files = ("model.safetensors", "sub/config.json")
        path = write_lineage(directory, spec=spec, plan=tmp_path / "plan", snapshots=links, parent=parent, files=files)
        assert path == directory / LINEAGE
        return directory

    first = spec_of(stage="stage1", parent=None, **facts)
    parent = export("stage1", first, None)
    child = export("stage2", spec_of(parent=first.run_id, **facts), parent)
    return World(root=tmp_path, commit=code.commit, facts=facts, export=child, parent=parent)


def test_a_fresh_lineage_is_proved(world: World) -> None:
    report = verify_lineage(world.export, repository=world.root)
    # Own files 2, plan 2, snapshots 2 x (manifest + shard); the same again for the parent.
    assert report.hashed == 16
    assert [line.split(":")[0].split(" ")[0] for line in report.proved].count("parent") == 6
    assert any(world.commit in line for line in report.proved)
    assert all("model" in line for line in report.unproved)
    assert "from hub=x revision=1 (CC-BY-4.0)" in " ".join(report.proved)


@pytest.mark.parametrize("link", [
    "file model.safetensors", "file sub/config.json", "plan plan.json", "plan rows.npy", "snapshot charts manifest",
    "snapshot charts train/0.parquet", "snapshot clips train/0.parquet", "parent: file model.safetensors",
])  # fmt: skip
@pytest.mark.parametrize("damage", ["first byte", "last byte", "shorter", "longer"])
def test_any_changed_file_is_the_first_wrong_link(world: World, link: str, damage: str) -> None:
    path = world.files[link]
    data = path.read_bytes()
    path.write_bytes({
        "first byte": bytes([data[0] ^ 1]) + data[1:],
        "last byte": data[:-1] + bytes([data[-1] ^ 128]),
        "shorter": data[:-1],
        "longer": data + b"\0",
    }[damage])  # fmt: skip
    with pytest.raises(DataError, match=f"link '{link}' is wrong") as raised:
        verify_lineage(world.export)
    assert str(path) in raised.value.what


def test_every_changed_byte_of_the_document_is_found(world: World) -> None:
    path = world.export / LINEAGE
    data = path.read_bytes()
    for position in range(0, len(data), 7):
        path.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
        with pytest.raises(DataError):
            read_lineage(world.export)
    path.write_bytes(data)
    verify_lineage(world.export)


def _forge(directory: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the document and make its own digest right again."""
    path = directory / LINEAGE
    document = json.loads(path.read_text())
    change(document["lineage"])
    document["digest"] = digest_json(document["lineage"])
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("link", "change"),
    [
        ("run", lambda lineage: lineage["spec"].update(seed=8)),
        ("run", lambda lineage: lineage["spec"]["code"].update(commit="0" * 40)),
        ("run", lambda lineage: lineage.update(run_id="0" * 12)),
        ("plan", lambda lineage: lineage["plan"].update(fingerprint="0" * 64)),
        ("snapshots", lambda lineage: lineage["snapshots"]["charts"].update(fingerprint="0" * 64)),
        ("snapshots", lambda lineage: lineage["snapshots"].pop("charts")),
        ("parent", lambda lineage: lineage.update(parent=None)),
        ("parent: run", lambda lineage: lineage["parent"]["lineage"]["spec"].update(seed=8)),
    ],
)
def test_a_forged_document_contradicts_itself(
    world: World, link: str, change: Callable[[dict[str, Any]], None]
) -> None:
    _forge(world.export, change)
    with pytest.raises(DataError, match=f"link '{link}' is wrong"):
        verify_lineage(world.export)


def test_a_document_with_other_fields_is_refused(world: World) -> None:
    _forge(world.export, lambda lineage: lineage.update(extra=1))
    with pytest.raises(DataError, match="extra"):
        verify_lineage(world.export)


def test_a_missing_file_of_the_export_is_wrong(world: World) -> None:
    (world.export / "model.safetensors").unlink()
    with pytest.raises(DataError, match="no such file"):
        verify_lineage(world.export)


def test_a_missing_shard_is_wrong(world: World) -> None:
    (world.root / "data" / "charts" / "train" / "0.parquet").unlink()
    with pytest.raises(DataError, match=r"link 'snapshot charts train/0\.parquet' is wrong"):
        verify_lineage(world.export)


def test_a_copy_elsewhere_proves_itself_and_says_what_it_cannot(world: World, tmp_path: Path) -> None:
    copy = tmp_path / "far" / "away" / "copy"
    shutil.copytree(world.export, copy)
    report = verify_lineage(copy)
    assert report.hashed == 2
    unproved = " | ".join(report.unproved)
    for what in ("plan ", "snapshot charts ", "snapshot clips ", f"code {world.commit}", "parent: files"):
        assert what in unproved


def test_nothing_examined_is_an_error(world: World, tmp_path: Path) -> None:
    copy = tmp_path / "far" / "away" / "copy"
    copy.mkdir(parents=True)
    shutil.copy(world.export / LINEAGE, copy / LINEAGE)
    _forge(copy, lambda lineage: lineage.update(files={}))
    with pytest.raises(DataError, match="is at hand"):
        verify_lineage(copy)


def test_a_file_that_it_does_not_speak_of_is_listed(world: World) -> None:
    (world.export / "extra.bin").write_bytes(b"x")
    assert "files beside it that it does not speak of: extra.bin" in verify_lineage(world.export).unproved


def test_shards_may_be_skipped_and_that_is_said(world: World) -> None:
    (world.root / "data" / "charts" / "train" / "0.parquet").write_bytes(b"changed")
    report = verify_lineage(world.export, shards=False)
    assert "snapshot charts shards: skipped as asked" in report.unproved
    assert report.hashed == 12


def test_uncommitted_code_and_an_unknown_commit_are_unproved(world: World, spec_of: SpecOf) -> None:
    code = CodeIdentity(commit="0" * 40, dirty_digest="f" * 64)
    spec = spec_of(code=code, parent=None, snapshots={}, plan=world.facts["plan"], image="sha256:1")
    plan = world.root / "plan"
    write_lineage(world.export, spec=spec, plan=plan, snapshots={}, parent=None, files=["sub/config.json"])
    unproved = " | ".join(verify_lineage(world.export, repository=world.root).unproved)
    assert f"uncommitted changes {'f' * 64} are kept nowhere" in unproved
    assert f"code {'0' * 40}: not in {world.root}" in unproved
    assert "image sha256:1: not at hand" in unproved


def test_a_plan_that_was_replaced_with_the_document_is_wrong(world: World) -> None:
    """New arrays, and their digests in lineage.json: only the fingerprint in the specification gives it away."""
    shutil.rmtree(world.root / "plan")
    make_plan(world.root / "plan")
    document = world.root / "plan" / "plan.json"
    body = json.loads(document.read_text())
    body["inputs"]["seed"] = 8
    document.write_text(json.dumps(body))
    _forge(world.export, lambda lineage: lineage["plan"]["files"].update({"plan.json": digest_file(document)}))
    with pytest.raises(DataError, match="link 'plan' is wrong: fingerprint"):
        verify_lineage(world.export)


def test_links_must_be_those_of_the_specification(world: World, spec_of: SpecOf) -> None:
    spec = spec_of(parent=None, snapshots={}, plan=world.facts["plan"])
    given: dict[str, Any] = {"plan": world.root / "plan", "snapshots": {}, "parent": None, "files": ["sub/config.json"]}
    for what, changed in (("the parent run", {"parent": "0" * 12}), ("the plan", {"plan": "0" * 64}),
                          ("the snapshots", {"snapshots": world.facts["snapshots"]})):  # fmt: skip
        with pytest.raises(IdentityError, match=f"{what}: the specification says"):
            write_lineage(world.export, spec=dataclasses.replace(spec, **changed), **given)
    for files, message in ((["absent"], "does not exist"), ([], "no file in")):
        with pytest.raises(DataError, match=message):
            write_lineage(world.export, spec=spec, **{**given, "files": files})
