"""The exported folder: complete, right in every value that other programs read, and usable without this project."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from tests.tiny_molmo2 import GEOMETRY, VIDEO, VOCABULARY, model, prompt, tokens
from trackyard.evaluate.generation import generate
from trackyard.feed.batch import collate
from trackyard.feed.frames import VideoParameters
from trackyard.feed.geometry import VisionGeometry
from trackyard.feed.tokens import ADDED_TOKENS, TokenTable
from trackyard.models.molmo2 import ADDED_ROWS, check_fits, load_molmo2
from trackyard.models.pixels import normalise_patches
from trackyard.publish.export import (
    ADDED,
    EMBEDDING,
    PREPROCESSING,
    PROCESSOR,
    image_processor_config,
    video_processor_config,
    write_export,
)

torch.set_num_threads(1)
FILES = {
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "video_preprocessor_config.json",
    PREPROCESSING,
}
STRANGER = """
import json, sys
from pathlib import Path
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, Molmo2ForConditionalGeneration

folder, inputs, out = map(Path, sys.argv[1:])
torch.set_num_threads(1)
model, report = Molmo2ForConditionalGeneration.from_pretrained(folder, output_loading_info=True)
found = model.eval().generate(**load_file(inputs), max_new_tokens=12, do_sample=False)
tokenizer = AutoTokenizer.from_pretrained(folder)
assert not any(name.split(".")[0] == "trackyard" for name in sys.modules), "the project was imported"
out.write_text(json.dumps({
    "ids": found[0].tolist(),
    "text": tokenizer.batch_decode(found[:, load_file(inputs)["input_ids"].shape[1]:], skip_special_tokens=True),
    "wrong": [sorted(map(str, names)) for names in report.values() if names],
    "padding_side": tokenizer.padding_side,
    "digits": tokenizer("x 123 y")["input_ids"],
}))
"""


@pytest.fixture(scope="module")
def net() -> Any:
    net = model(seed=4)
    with torch.no_grad():
        net.lm_head.weight.mul_(20)
    return net.eval()


@pytest.fixture(scope="module")
def folder(net: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("export")
    write_export(directory, net, tokens(), GEOMETRY, VIDEO)
    return directory


def read(folder: Path, name: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads((folder / name).read_text())
    return body


def test_all_files_are_there_and_no_other(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == FILES


def test_a_stranger_generates_the_same_tokens(net: Any, folder: Path, tmp_path: Path) -> None:
    """A fresh process with nothing but transformers, the folder, a prompt and its image tensors."""
    of = prompt("pixmo-count", 0)
    pack = collate([of], length=len(of.tree), pad=tokens().pad, geometry=GEOMETRY)
    inputs = {
        "input_ids": torch.from_numpy(pack.input_ids)[None],
        "attention_mask": torch.ones((1, len(of.tree)), dtype=torch.long),
        "mm_token_type_ids": torch.from_numpy(pack.visual_flags)[None].long(),
        "pixel_values": normalise_patches(torch.from_numpy(pack.visual.patches)),
        "image_token_pooling": torch.from_numpy(pack.visual.pooling),
        "image_grids": torch.from_numpy(pack.visual.grids),
    }
    save_file({name: tensor.contiguous() for name, tensor in inputs.items()}, tmp_path / "inputs.safetensors")
    arguments = [str(folder), str(tmp_path / "inputs.safetensors"), str(tmp_path / "out.json")]
    done = subprocess.run(
        [sys.executable, "-c", STRANGER, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = read(tmp_path, "out.json")
    assert found["wrong"] == []
    assert found["text"] == generate(net, [of], tokens(), GEOMETRY, max_new_tokens=12)
    with torch.inference_mode():
        ours = net.generate(**inputs, max_new_tokens=12, do_sample=False, eos_token_id=tokens().eos)
    assert found["ids"] == ours[0].tolist()
    assert found["padding_side"] == "left"
    assert found["digits"] == tokens().encode("x 123 y")


def test_weights_come_back_bit_for_bit(net: Any, folder: Path) -> None:
    loaded = load_molmo2(folder, max_positions=1)
    check_fits(loaded, tokens(), GEOMETRY)
    wanted = net.state_dict()
    found = loaded.state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(wanted[name], tensor) and tensor.dtype == torch.float32 for name, tensor in found.items())


def test_an_export_of_an_export_is_the_same(folder: Path, tmp_path: Path) -> None:
    again = TokenTable.of(AutoTokenizer.from_pretrained(folder))
    write_export(tmp_path, load_molmo2(folder, max_positions=1), again, GEOMETRY, VIDEO)
    assert {path.name for path in tmp_path.iterdir()} == FILES
    assert again == tokens()
    # What was read from a folder says so, and its dtype, in its configuration.
    for name in FILES - {"tokenizer_config.json", "config.json"}:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), name


def test_weights_have_their_published_names_and_shapes(net: Any, folder: Path) -> None:
    stored = load_file(folder / "model.safetensors")
    table = net.model.language_model.embed_tokens.weight
    assert torch.equal(stored[EMBEDDING], table[:VOCABULARY])
    assert torch.equal(stored[ADDED], table[VOCABULARY:])
    assert len(stored[ADDED]) == ADDED_ROWS
    layer = net.model.language_model.layers[0]
    fused = torch.cat([getattr(layer.self_attn, f"{part}_proj").weight for part in "qkv"])
    assert torch.equal(stored["model.transformer.blocks.0.self_attn.att_proj.weight"], fused)
    halves = torch.cat([layer.mlp.up_proj.weight, layer.mlp.gate_proj.weight])
    assert torch.equal(stored["model.transformer.blocks.0.mlp.ff_proj.weight"], halves)
    prefixes = ("lm_head.", "model.transformer.", "model.vision_backbone.")
    assert [name for name in stored if not name.startswith(prefixes)] == []


def test_required_processor_values() -> None:
    """Section 15, with the shipped geometry and the frames of stage 2."""
    image = image_processor_config(VisionGeometry())
    assert (image["max_crops"], image["pooling_size"], image["overlap_margins"]) == (8, [2, 2], [4, 4])
    assert (image["size"], image["patch_size"]) == ({"height": 378, "width": 378}, 14)
    assert image["image_mean"] == image["image_std"] == [0.5, 0.5, 0.5]
    video = video_processor_config(VisionGeometry(), VideoParameters(max_frames=128, fps=2))
    assert (video["pooling_size"], video["num_frames"], video["max_fps"]) == ([3, 3], 128, 2)
    assert PROCESSOR["use_frame_special_tokens"] is True
    assert PROCESSOR["image_use_col_tokens"] is True
    assert PROCESSOR["use_single_crop_col_tokens"] is False
    assert PROCESSOR["use_single_crop_start_token"] is True


def test_processor_files_are_those_values(folder: Path) -> None:
    assert read(folder, "preprocessor_config.json") == image_processor_config(GEOMETRY)
    assert read(folder, "video_preprocessor_config.json") == video_processor_config(GEOMETRY, VIDEO)
    assert read(folder, "processor_config.json") == PROCESSOR
    assert read(folder, PREPROCESSING) == {
        "geometry": GEOMETRY.model_dump(mode="json"),
        "video": VIDEO.model_dump(mode="json"),
    }
    assert VisionGeometry.model_validate(read(folder, PREPROCESSING)["geometry"]) == GEOMETRY
    assert VideoParameters.model_validate(read(folder, PREPROCESSING)["video"]) == VIDEO


def test_the_processor_knows_every_value(folder: Path) -> None:
    """A misspelt key would be ignored without a word."""
    import inspect

    from transformers.models.molmo2.processing_molmo2 import Molmo2Processor

    known = set(inspect.signature(Molmo2Processor.__init__).parameters)
    assert set(PROCESSOR) - {"processor_class"} <= known


def test_generation_and_model_configuration(folder: Path) -> None:
    generation = read(folder, "generation_config.json")
    assert (generation["bos_token_id"], generation["eos_token_id"]) == (tokens().bos, tokens().eos)
    assert generation["pad_token_id"] == tokens().pad
    config = read(folder, "config.json")
    assert config["architectures"] == ["Molmo2ForConditionalGeneration"]
    assert config["image_patch_id"] == tokens().added("<im_patch>")
    assert (config["text_config"]["vocab_size"], config["text_config"]["additional_vocab_size"]) == (
        VOCABULARY,
        ADDED_ROWS,
    )
    assert config["tie_word_embeddings"] is False


def test_the_tokenizer_comes_back(folder: Path) -> None:
    loaded = AutoTokenizer.from_pretrained(folder)
    assert loaded.padding_side == "left"
    table = TokenTable.of(loaded)
    assert table == tokens()
    assert loaded.convert_tokens_to_ids(list(ADDED_TOKENS)) == list(range(VOCABULARY, VOCABULARY + len(ADDED_TOKENS)))
    text = "How many 12 cups? <im_patch> naïve 🙂\n"
    assert table.encode(text) == tokens().encode(text)
    messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "what?"}]}]
    written = loaded.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert written == "<|im_end|><|image|><|im_start|>user\nwhat?<|im_end|>\n<|im_start|>assistant\n"
