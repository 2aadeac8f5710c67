"""The stages: every picture once, proved before it counts, again only what has changed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.recipes.datacomp.latents.made import made_encoder, made_folder, stored
from tests.recipes.datacomp.mini_parameters import changed
from tests.tiny_vaes import edit_config
from trackyard.errors import ConfigError, DataError, IdentityError, TrackyardError
from trackyard.exclusive import exclusive
from trackyard.models.world_encoders.encoder import WorldEncoder
from trackyard.models.world_encoders.folder import WEIGHTS
from trackyard.recipes.datacomp.evaluating.items import Item, write_items
from trackyard.recipes.datacomp.latents import encoding, opening
from trackyard.recipes.datacomp.latents.opening import open_eval_latents, open_latents, world_facts
from trackyard.recipes.datacomp.latents.sanity import (
    LatentStatisticsError,
    RecheckError,
    ReconstructionError,
    check_again,
)
from trackyard.recipes.datacomp.results import read_result
from trackyard.recipes.datacomp.study import Study
from trackyard.record.code import COMMIT_VARIABLE

PICTURES = stored(11)
IMAGES = list(PICTURES)


class List:
    """Samples in memory, one picture of them twice."""

    def __init__(self, count: int) -> None:
        self.images = [*IMAGES[:count], IMAGES[0]]

    @classmethod
    def open(cls, study: Study) -> List:
        return cls(int(study.curated.read_text()))

    def __iter__(self) -> Iterator[SimpleNamespace]:
        return (SimpleNamespace(image=image) for image in self.images)

    def image_bytes(self, index: int) -> bytes:
        return PICTURES[self.images[index]]


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.setenv(COMMIT_VARIABLE, "a" * 40)
    monkeypatch.setattr(encoding, "Samples", List)
    monkeypatch.setattr(encoding, "places", lambda threads: [None])
    study = Study(root=tmp_path, parameters=changed({"vae.shard_images": 4, "vae.batch": 3}))
    shutil.copytree(made_folder(), study.vae)
    study.curated.parent.mkdir(parents=True)
    study.curated.write_text("10")
    return study


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Pictures of every call of the encoder."""
    calls: list[int] = []
    plain = WorldEncoder.encode

    def watched(self: WorldEncoder, pixels: np.ndarray) -> np.ndarray:
        calls.append(len(pixels))
        return plain(self, pixels)

    monkeypatch.setattr(WorldEncoder, "encode", watched)
    return calls


PROVING = 3 + 8
"""Pictures that are encoded after all shards: for the PSNR, and again."""


def _run(study: Study) -> list[str]:
    said: list[str] = []
    encoding.latents(study, None, said.append)
    return said


def test_every_picture_is_encoded_once_and_the_result_says_so(study: Study, encoded: list[int]) -> None:
    said = _run(study)
    assert sum(encoded) == 3 + 10 + PROVING
    found = open_latents(study)
    assert len(found) == 10
    pixels = np.concatenate(list(_pixels(IMAGES[:10])))
    with pytest.raises(RecheckError):  # in another order they are not the same
        check_again(found.many(IMAGES[:10][::-1]), made_encoder().encode(pixels))
    check_again(found.many(IMAGES[:10]), made_encoder().encode(pixels))
    result = read_result(study.document("latents"), "latents")
    body = result.body
    assert {"key", "images", "bytes", "shards", "recheck_max_abs", "images_per_s", "psnr"} <= body.keys()
    assert (body["images"], body["bytes"], len(body["shards"])) == (10, 10 * 8192, 3)
    assert len(body["channel_mean"]) == len(body["channel_std"]) == 16
    assert body["recheck_max_abs"] <= 4e-3
    assert body["psnr"] > 27
    assert body["images_per_s"] > 0
    assert result.header.base.vae_digest == found.facts.weights
    assert any("10 of them to encode" in line for line in said)


def _pixels(images: list[str]) -> Iterator[np.ndarray]:
    pictures = encoding.Pictures(images=images, read=lambda asked: ((image, PICTURES[image]) for image in asked))
    return pictures.batches(images, size=128, batch=4, threads=1)


def test_a_second_run_encodes_nothing_more_a_picture_one_and_another_version_all(
    study: Study, encoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    _run(study)
    encoded.clear()
    _run(study)
    assert sum(encoded) == PROVING
    assert read_result(study.document("latents"), "latents").body["images_per_s"] is None
    study.curated.write_text("11")
    encoded.clear()
    _run(study)
    assert sum(encoded) == 3 + 1 + PROVING
    old = open_latents(study)
    monkeypatch.setattr(opening, "PREPROCESSING", "squash-bicubic/2")
    with pytest.raises(IdentityError, match="preprocessing: squash-bicubic/1 to 128x128"):
        open_latents(study)
    encoded.clear()
    _run(study)
    assert sum(encoded) == 3 + 11 + PROVING
    assert open_latents(study).facts == replace(old.facts, preprocessing=world_facts(study).preprocessing)


def test_a_removed_shard_is_made_again_alone(study: Study, encoded: list[int]) -> None:
    _run(study)
    (study.latents / open_latents(study).manifest.shards[1].path).unlink()
    with pytest.raises(DataError, match=r"lacks 1 of 3 shards.*4 of 10 latents") as caught:
        open_latents(study)
    assert caught.value.fix == "trackyard run datacomp latents"
    encoded.clear()
    _run(study)
    assert sum(encoded) == 3 + 4 + PROVING
    open_latents(study).require(IMAGES[:10])


def test_several_processes_make_the_same_latents(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    _run(study)
    alone = open_latents(study)
    values = alone.many(IMAGES[:10]).copy()
    shutil.rmtree(study.latents)
    monkeypatch.setattr(encoding, "places", lambda threads: [None, None])
    _run(study)
    shared = open_latents(study)
    assert [shard.path for shard in shared.manifest.shards] == [shard.path for shard in alone.manifest.shards]
    np.testing.assert_array_equal(shared.many(IMAGES[:10]), values)


def test_parts_on_several_machines_make_the_same_latents_and_one_proves_them(study: Study, encoded: list[int]) -> None:
    _run(study)
    alone = open_latents(study)
    values = alone.many(IMAGES[:10]).copy()
    shutil.rmtree(study.latents)
    encoded.clear()
    for part in ("2/3", "0/3"):
        encoding.latents(study, part, lambda line: None)
    # A part that died left its lock file and nothing else; what it did not do is done at the end.
    (study.runs / "datacomp" / "latents-1-of-3.lock").touch()
    assert sum(encoded) == (3 + 2) + (3 + 4)
    assert not study.document("latents").exists()
    with pytest.raises(DataError):
        open_latents(study)
    encoded.clear()
    _run(study)
    assert sum(encoded) == 3 + 4 + PROVING
    np.testing.assert_array_equal(open_latents(study).many(IMAGES[:10]), values)
    with pytest.raises(ConfigError, match="'3/3' is no part of the work"):
        encoding.latents(study, "3/3", lambda line: None)


def test_the_whole_does_not_begin_while_a_part_is_being_done(study: Study) -> None:
    lock = study.runs / "datacomp" / "latents-0-of-2.lock"
    with exclusive(lock, what="a part", why="a test"), pytest.raises(TrackyardError, match=r"latents-0-of-2.* in use"):
        _run(study)
    assert not study.document("latents").exists()


def test_pictures_of_evaluation_items_are_encoded_once_each(study: Study) -> None:
    for number, name in enumerate(study.parameters.evaluation.sets):
        items = (
            Item(id=f"{k}", task="t", images=(PICTURES[IMAGES[k]], PICTURES[IMAGES[number]]), question="q", options=(),
                 gold="g", meta={})
            for k in range(number, number + 4)
        )  # fmt: skip
        write_items(study.items(name), items, refuse=lambda item: None)
    encoding.eval_latents(study, None, lambda line: None)
    found = open_eval_latents(study)
    assert len(found) == 7
    pixels = np.concatenate(list(_pixels(IMAGES[:7])))
    check_again(found.many(IMAGES[:7]), made_encoder().encode(pixels))
    assert found.missing(IMAGES) == IMAGES[7:]
    with pytest.raises(DataError) as caught:
        found.require(IMAGES)
    assert caught.value.fix == "trackyard run datacomp eval_latents"


def _wrong_statistics(study: Study) -> None:
    edit_config(study.vae, latents_mean=[9.0] * 16)


def _wrong_weights(study: Study) -> None:
    path = study.vae / WEIGHTS
    data = bytearray(path.read_bytes())
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "error"), [(_wrong_statistics, LatentStatisticsError), (_wrong_weights, ReconstructionError)]
)
def test_latents_of_an_unsound_encoder_never_count(study: Study, damage: object, error: type[DataError]) -> None:
    assert callable(damage)
    damage(study)
    with pytest.raises(error):
        _run(study)
    assert not (study.latents / "manifest.json").exists()
    with pytest.raises(DataError, match="does not exist"):
        open_latents(study)


def test_an_encoder_that_draws_never_counts(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, drawn = WorldEncoder.encode, np.random.default_rng(0)
    monkeypatch.setattr(
        WorldEncoder,
        "encode",
        lambda self, pixels: (z := plain(self, pixels)) + drawn.normal(size=z.shape, scale=0.01).astype(np.float32),
    )
    with pytest.raises(RecheckError):
        _run(study)
    assert not (study.latents / "manifest.json").exists()


def test_no_picture_at_all_is_an_error(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(List, "__iter__", lambda self: iter(()))
    with pytest.raises(DataError, match="no picture"):
        _run(study)
