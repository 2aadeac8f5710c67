"""Gemma's own files hold what was trained of it; base models are named where they are not copied."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.models.theworld.tiny import gemma, world
from tests.recipes.datacomp.mini_parameters import changed
from trackyard.errors import ConfigError
from trackyard.models.theworld.loading import trained_tensors
from trackyard.models.theworld.parameters import WorldParameters
from trackyard.recipes.datacomp.parameters import DatacompParameters
from trackyard.recipes.publishing.datacomp import _preprocessing, _thawed, _write_merged, base_reference


@pytest.mark.parametrize("thaw", [(), ("gemma_language",)])
def test_what_was_trained_of_gemma_lies_in_its_own_files(tmp_path: Path, thaw: tuple[str, ...]) -> None:
    from transformers import Gemma3ForConditionalGeneration

    base = gemma()
    base.to(torch.bfloat16).save_pretrained(tmp_path / "base")
    model, _ = world(WorldParameters(), thaw=thaw)
    with torch.no_grad():
        for weight in model.thawed.parameters():
            weight.mul_(1.5)
    save_file(trained_tensors(model), tmp_path / "trained.safetensors")
    assert _thawed(tmp_path / "trained.safetensors") is bool(thaw)
    (tmp_path / "merged").mkdir()
    _write_merged(tmp_path / "base", tmp_path / "trained.safetensors", tmp_path / "merged")
    stock: Any = Gemma3ForConditionalGeneration
    merged, report = stock.from_pretrained(tmp_path / "merged", dtype=torch.float32, output_loading_info=True)
    assert not any(report.values())
    rounded = stock.from_pretrained(tmp_path / "base", dtype=torch.float32).state_dict()
    trained = model.gemma.state_dict()
    changed_names = []
    for name, tensor in merged.state_dict().items():
        of_language = bool(thaw) and (name.startswith("model.language_model.") or name == "lm_head.weight")
        assert torch.equal(tensor, trained[name] if of_language else rounded[name]), name
        changed_names += [name] * (not torch.equal(tensor, rounded[name]))
    assert bool(changed_names) is bool(thaw)
    assert {tensor.dtype for tensor in load_file(tmp_path / "merged" / "model.safetensors").values()} == (
        {torch.float32, torch.bfloat16} if thaw else {torch.bfloat16}
    )


def published() -> DatacompParameters:
    values = changed({}).model_dump(mode="json")
    for name, digit in (("gemma", "a"), ("vae", "b")):
        values[name] |= {"id": f"owner/{name}", "revision": digit * 40, "made": None}
    return DatacompParameters.model_validate(values)


def test_base_models_by_name() -> None:
    assert base_reference(published()) == {
        "gemma": {"id": "owner/gemma", "revision": "a" * 40},
        "vae": {"id": "owner/vae", "revision": "b" * 40, "subfolder": "vae"},
    }


def test_what_no_hub_has_cannot_be_named() -> None:
    with pytest.raises(ConfigError, match=r"the gemma of this study is .* of no commit of a hub"):
        base_reference(changed({}))


def test_the_stock_processor_reads_the_preprocessing(tmp_path: Path) -> None:
    from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

    config = gemma().config.to_dict()
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(_preprocessing(config)))
    processor: Any = Gemma3ImageProcessorPil.from_pretrained(tmp_path)
    assert (processor.size["height"], processor.image_seq_length, int(processor.resample)) == (32, 16, 3)
