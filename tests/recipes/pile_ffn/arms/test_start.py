"""The untouched model: made and pretrained here, or loaded as it was published, counted and proved."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.recipes.pile_ffn.tiny_study import FAMILIES, VOCABULARY, random_model, tiny_study
from trackyard.errors import ConfigError, DataError
from trackyard.recipes.pile_ffn.arms.original import CELL, require_original
from trackyard.recipes.pile_ffn.arms.start import require_size, untouched
from trackyard.recipes.pile_ffn.arms.starting import made_model
from trackyard.recipes.pile_ffn.cost.architectures import skeleton
from trackyard.recipes.pile_ffn.measures.exports import load_exact
from trackyard.recipes.pile_ffn.parameters import Family, ModelParameters
from trackyard.recipes.pile_ffn.results import read_result
from trackyard.recipes.pile_ffn.study import Study
from trackyard.recipes.pile_ffn.text.source_manifest import MODEL, SourceFile, SourceManifest
from trackyard.recipes.pile_ffn.text.token_sets import load_tokenizer

PARAMETERS = Path("params.yaml")
PUBLISHED = {"model": {"made": None, "revision": "a" * 40}}


def run(study: Study) -> dict[str, Any]:
    shutil.rmtree(study.export(CELL))
    untouched(study, lambda _: None, PARAMETERS)
    return dict(read_result(study.export(CELL) / "result.json", "untouched").body)


def written(study: Study) -> None:
    """The manifest of what was fetched."""
    files = sorted((study.source / "model").iterdir())
    SourceManifest(
        text={"kind": "mini"},
        model={"id": "x", "revision": "a" * 40},
        files=tuple(SourceFile.of(study.source, path, MODEL) for path in files),
    ).write(study.source)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_made_model_is_pretrained_and_exported(tmp_path: Path, family: Family) -> None:
    study = tiny_study(tmp_path, family)
    body = run(study)
    made = study.parameters.model.made
    assert made is not None
    assert body["pretrained"]["steps"] == made.steps == 4
    start, found = made_model(made, load_tokenizer(study)), load_exact(study, CELL)
    assert body["params_total"] == sum(parameter.numel() for parameter in start.parameters())
    moved = [
        bool((before != after).any())
        for before, after in zip(start.parameters(), found.parameters(), strict=True)
    ]  # fmt: skip
    assert all(moved)
    assert require_original(study) == len(body["files"])
    assert (study.export(CELL) / "bf16" / "tokenizer.json").exists()
    first = load_file(study.export(CELL) / "fp32" / "model.safetensors")
    run(study)
    again = load_file(study.export(CELL) / "fp32" / "model.safetensors")
    assert all(torch.equal(value, again[name]) for name, value in first.items())


def test_a_published_model_is_exported_as_it_is(tmp_path: Path) -> None:
    study = tiny_study(tmp_path, **PUBLISHED)
    published = random_model("gpt_neox", seed=7)
    published.half().save_pretrained(study.source / "model")
    written(study)
    body = run(study)
    assert body["pretrained"] is None
    found = load_exact(study, CELL)
    for mine, theirs in zip(found.parameters(), published.parameters(), strict=True):
        assert mine.dtype == torch.float32
        assert torch.equal(mine, theirs.float())
    rounded = load_file(study.export(CELL) / "bf16" / "model.safetensors")
    assert {value.dtype for value in rounded.values()} == {torch.bfloat16}
    inputs = read_result(study.export(CELL) / "result.json", "untouched").header.inputs
    assert "artifacts/pile_ffn/source/model/model.safetensors" in inputs


def test_a_table_with_fewer_rows_than_ids_is_refused(tmp_path: Path) -> None:
    study = tiny_study(tmp_path, **PUBLISHED)
    small = random_model("gpt_neox")
    small.resize_token_embeddings(VOCABULARY - 8)
    small.save_pretrained(study.source / "model")
    with pytest.raises(ConfigError, match=f"has {VOCABULARY} entries, the model {VOCABULARY - 8} rows"):
        run(study)


def test_the_size_that_a_study_names_is_counted(tmp_path: Path) -> None:
    study = tiny_study(tmp_path)

    def named(size: str) -> Study:
        model = ModelParameters(**{**study.parameters.model.model_dump(), "size": size})
        return Study(root=study.root, parameters=study.parameters.model_copy(update={"model": model}))

    whole = skeleton("pythia-1.4b")
    assert require_size(named("pythia-1.4b"), whole) == {"params_total": 1_414_647_808, "params_ffn": 805_552_128}
    with pytest.raises(DataError, match=r"1,414,647,808 parameters, 805,552,128 of them feed-forward; pythia-160m has"):
        require_size(named("pythia-160m"), whole)
    with pytest.raises(ConfigError, match=r"model\.size='pythia-13b'"):
        require_size(named("pythia-13b"), whole)
