"""lineage.json says what a run was made from, or is refused: by its schema, by its digest, by the specification."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.record.lineage.small_world import WEIGHTS, World, make_world
from trackyard.errors import DataError, IdentityError
from trackyard.record.lineage.document import (
    LINEAGE,
    SCHEMA,
    Lineage,
    names_in,
    read_lineage,
    require_file,
    require_files,
    write_lineage,
)
from trackyard.record.lineage.origins import NO_PLAN, Origins, Parent


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Only read it."""
    return make_world(tmp_path_factory.mktemp("shared"))


def test_what_is_written_is_read_and_names_no_place_of_this_machine(world: World) -> None:
    found = read_lineage(world.export)
    assert found.run_id == world.second.spec.run_id
    assert found.parent is not None
    assert found.parent.lineage == read_lineage(world.parent)
    assert set(found.parent.taken) == {WEIGHTS, "sub/config.json"}
    assert {name: fact.fingerprint for name, fact in found.snapshots.items()} == found.spec["snapshots"]
    assert found.snapshots["charts"].path == "data/charts"
    assert [found.snapshots[name].licence for name in ("charts", "text", "web")] == ["CC-BY-4.0", "CC0-1.0", None]
    assert set(found.files or {}) == {WEIGHTS, "sub/config.json"}
    first = found.parent.lineage
    assert first.models["base"].files == first.spec["model"]["files"]
    assert first.models["made"].making == first.spec["model"]
    assert str(world.root) not in (world.export / LINEAGE).read_text()


def test_a_run_that_has_made_nothing_yet_says_so(world: World) -> None:
    directory = world.root / "runs" / "begun"
    directory.mkdir()
    write_lineage(directory, world.second, files=None)
    assert read_lineage(directory).files is None
    # A list of nothing is something else: what was to be there is missing.
    with pytest.raises(DataError, match="a lineage of nothing proves nothing"):
        write_lineage(directory, world.second, files=[])
    with pytest.raises(DataError, match=f"{WEIGHTS} does not exist"):
        write_lineage(directory, world.second, files=[WEIGHTS])


def test_every_changed_byte_of_the_document_is_found(world: World) -> None:
    path = world.export / LINEAGE
    data = path.read_bytes()
    for position in range(0, len(data), 29):
        path.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
        with pytest.raises(DataError):
            read_lineage(world.export)
    path.write_bytes(data)
    read_lineage(world.export)


def test_another_schema_is_refused_by_name(world: World) -> None:
    path = world.export / LINEAGE
    path.write_text(path.read_text().replace(SCHEMA, "trackyard-lineage/1"))
    with pytest.raises(DataError, match="schema 'trackyard-lineage/1', expected 'trackyard-lineage/2'"):
        read_lineage(world.export)


def _without(origins: Origins, name: str) -> Origins:
    return replace(origins, snapshots={key: data for key, data in origins.snapshots.items() if key != name})


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("the plan", lambda world: replace(world.second, plan=world.first.plan)),
        ("the plan", lambda world: replace(world.second, plan=None)),
        ("the snapshots", lambda world: _without(world.second, "text")),
        ("the parent run", lambda world: replace(world.second, parent=None)),
        (
            "the parent run",
            lambda world: replace(world.second, parent=Parent(directory=world.export, taken=(WEIGHTS,))),
        ),
    ],
)
def test_links_must_be_those_of_the_specification(world: World, what: str, change: Callable[[World], Origins]) -> None:
    with pytest.raises(IdentityError, match=f"{what}: the specification says"):
        write_lineage(world.export, change(world), files=[WEIGHTS])


def test_what_was_taken_of_a_parent_is_what_that_made(world: World) -> None:
    (world.parent / WEIGHTS).write_bytes(b"edited")
    with pytest.raises(IdentityError, match="what was taken of the parent"):
        write_lineage(world.export, world.second, files=[WEIGHTS])


def test_what_no_training_made_has_no_plan(world: World) -> None:
    spec = dataclasses.replace(world.first.spec, plan=NO_PLAN)
    write_lineage(world.parent, replace(world.first, spec=spec, plan=None), files=names_in(world.parent))
    assert read_lineage(world.parent).plan is None


def test_files_are_required_as_they_were_made(world: World) -> None:
    require_file(world.export, WEIGHTS, fix="f")
    require_files(world.export, fix="f")
    (world.export / "sub" / "config.json").write_text("{}")
    require_file(world.export, WEIGHTS, fix="f")
    with pytest.raises(DataError, match=r"config.json has blake3 .*, its lineage.json says"):
        require_files(world.export, fix="f")
    (world.export / WEIGHTS).unlink()
    with pytest.raises(DataError, match="no such file"):
        require_file(world.export, WEIGHTS, fix="f")
    with pytest.raises(DataError, match="says None"):
        require_file(world.export, "README.md", fix="f")


@pytest.mark.parametrize(
    ("told", "change"),
    [
        ("files", lambda body: body.update(files={})),
        ("files", lambda body: body["files"].update({WEIGHTS: "none (no such file)"})),
        ("no digest of plan.json", lambda body: body["plan"].update(files={"rows.npy": "0" * 64})),
        ("no digest of manifest.json", lambda body: body["snapshots"]["text"].update(files={"index.npy": "0" * 64})),
        ("snapshots.web.files", lambda body: body["snapshots"]["web"].update(files={})),
        ("parent.taken", lambda body: body["parent"].update(taken={})),
        ("digests of its files", lambda body: body["parent"]["lineage"]["models"]["base"].update(files={})),
    ],
)
def test_a_lineage_that_leaves_out_what_would_prove_it_is_refused(
    shared: World, told: str, change: Callable[[dict[str, Any]], object]
) -> None:
    body = read_lineage(shared.export).model_dump(mode="json")
    Lineage.model_validate(body)
    change(body)
    with pytest.raises(ValidationError, match=re.escape(told)):
        Lineage.model_validate(body)


def test_a_linked_folder_is_named_like_a_file(tmp_path: Path) -> None:
    export, elsewhere = tmp_path / "export", tmp_path / "elsewhere"
    for folder in (export / "sub", elsewhere):
        folder.mkdir(parents=True)
        (folder / WEIGHTS).write_bytes(b"x")
        (folder / LINEAGE).write_bytes(b"only that of the directory itself is left out")
    (export / LINEAGE).write_bytes(b"x")
    (export / "more").symlink_to(elsewhere)
    (export / "gone").symlink_to(tmp_path / "nowhere")
    assert names_in(export) == ["gone", "more", f"sub/{LINEAGE}", f"sub/{WEIGHTS}"]


def test_a_document_with_other_fields_is_refused(world: World) -> None:
    from trackyard.digest import digest_json

    path = world.export / LINEAGE
    document = json.loads(path.read_text())
    document["lineage"]["extra"] = 1
    document["digest"] = digest_json(document["lineage"])
    path.write_text(json.dumps(document))
    with pytest.raises(DataError, match="extra"):
        read_lineage(world.export)
