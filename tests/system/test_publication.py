"""Exports of the three tracks for people without this project: what is in them, what cards say, how they answer."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.publish.hub_server import REPO, Hub, files, serving
from tests.recipes.publishing.stranger import ask_stranger
from tests.system.commands import run
from tests.system.everything import Everything
from trackyard.publish.card import number
from trackyard.record.lineage.document import read_lineage

pytestmark = pytest.mark.system

NAMES = ("molmo2/stage3", "pile_ffn/nonneg_mlp_both-42", "datacomp/world-42")
COMMON = {"README.md", "LICENSES.md", "checksums.json", "lineage.json", "config.json", "model.safetensors",
          "generation_config.json", "tokenizer.json", "tokenizer_config.json"}  # fmt: skip
OWN = {
    "molmo2": {"answer.py", "chat_template.jinja", "preprocessor_config.json", "processor_config.json",
               "video_preprocessor_config.json", "trackyard_preprocessing.json"},
    "pile_ffn": {"generate.py"},
    "datacomp": {"theworld.py", "chat_template.jinja", "preprocessor_config.json", "vae/config.json",
                 "vae/diffusion_pytorch_model.safetensors", "projector/model.safetensors",
                 "projector/world_config.json"},
}  # fmt: skip
NUMBER = re.compile(r"(?<![\w.-])\d+(?:,\d{3})*(?:\.\d+)?(?:e-?\d+)?(?![\w.])")


@dataclass(frozen=True)
class Published:
    """root: of the repository; folders: by name."""

    root: Path
    folders: dict[str, Path]


@pytest.fixture(scope="module")
def published(everything: Everything, tmp_path_factory: pytest.TempPathFactory) -> Published:
    out = tmp_path_factory.mktemp("published")
    folders = {name: out / name for name in NAMES}
    for name, folder in folders.items():
        told = run(["trackyard", "publish", "export", name, str(folder)], everything.clone).stdout
        assert f"files of {name}" in told
    return Published(root=everything.clone, folders=folders)


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for one in value.values():
            yield from leaves(one)
    elif isinstance(value, list):
        for one in value:
            yield from leaves(one)
    else:
        yield value


def recorded_numbers(root: Path, name: str) -> set[str]:
    """Every number of the documents about an export, in the forms that a card may write it in."""
    track, label = name.split("/")
    cell = label.replace("-", "/")
    lineage = read_lineage(exports(root, name))
    run_directory = root / "runs" / track / str(lineage.spec["stage"]) / lineage.run_id
    shares: set[str] = set()
    documents = [run_directory / "spec.json", run_directory / "result.json"]
    documents += (root / "artifacts" / track).glob(f"*/{cell}/result.json")
    if track == "datacomp":
        documents += [root / "artifacts" / track / of / "result.json" for of in ("metadata", "images", "curated")]
        documents += sorted((root / "artifacts" / track).glob("eval_*/*/result.json"))
        documents += sorted((root / "artifacts" / track).glob("eval_*/*/42/result.json"))
        curated = json.loads((root / "artifacts" / track / "curated" / "result.json").read_bytes())["body"]
        counts = [*curated["outcomes"].values(), sum(curated["outcomes"].values())]
        shares = {f"{100 * count / curated['attempted']:.2f}" for count in counts}
    assert lineage.plan is not None
    documents.append(root / lineage.plan.path / "plan.json")
    found: set[str] = {"0", "95"} | shares
    values = [value for path in documents for value in leaves(json.loads(path.read_bytes()))]
    if track != "molmo2":
        values += list(leaves(yaml.safe_load((root / "params.yaml").read_text())[track]))
    for value in values:
        if isinstance(value, int | float) and not isinstance(value, bool):
            found |= {
                number(value),
                f"{value:g}",
                f"{value:,}",
                f"{value:.3g}",
                f"{100 * value:.2f}",
                f"{100 * value:.1f}",
            }
            found |= {f"{value:,.1f}"}
        elif isinstance(value, str):
            found |= set(NUMBER.findall(value))
    return found


def exports(root: Path, name: str) -> Path:
    track, label = name.split("/")
    return (
        root / "artifacts" / track / (f"{label}/export" if track == "molmo2" else f"export/{label.replace('-', '/')}")
    )


def section(card: str, heading: str) -> str:
    return card.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


@pytest.mark.parametrize("name", NAMES)
def test_the_folder_is_complete_and_its_digests_are_right(published: Published, name: str) -> None:
    folder = published.folders[name]
    found = files(folder)
    assert set(found) == COMMON | OWN[name.split("/")[0]]
    stated = json.loads(found["checksums.json"])["files"]
    assert set(stated) == set(found) - {"checksums.json", "lineage.json"}
    for file, sums in stated.items():
        assert sums["sha256"] == hashlib.sha256(found[file]).hexdigest(), file
    lineage = read_lineage(folder)
    assert set(lineage.files or {}) == set(found) - {"lineage.json"}
    assert lineage.run_id == read_lineage(exports(published.root, name)).run_id
    place = str(published.root).encode()
    assert [file for file, data in found.items() if place in data] == []
    licences = found["LICENSES.md"].decode()
    assert "inherit" in licences
    assert all(str(fact.licence) in licences for fact in lineage.snapshots.values() if fact.licence)


@pytest.mark.parametrize("name", NAMES)
def test_every_number_of_a_card_is_one_of_the_record(published: Published, name: str) -> None:
    card = (published.folders[name] / "README.md").read_text()
    assert card == run(["trackyard", "publish", "card", name], published.root).stdout
    known = recorded_numbers(published.root, name)
    index = yaml.safe_load(card.split("---\n", 2)[1])["model-index"][0]["results"]
    exact = {metric["name"]: metric["value"] for one in index for metric in one["metrics"]}
    lines = [line for line in section(card, "Results").splitlines() if line.startswith("| ")]
    rows = [line.strip("| ").split(" | ") for line in lines[2:]]
    assert len(rows) == len(exact) > 3
    for row in rows:
        assert row[1] == number(exact[row[0]])
        assert row[1] in known, row
        assert row[3].split()[0] in known, row
    intervals = [row for row in rows if row[2] != "none"]
    assert intervals
    for row in intervals:
        low, high = (float(end) for end in row[2].split(" to "))
        assert low <= float(row[1].replace(",", "")) <= high, row
    for heading in ("Training", "Data"):
        stray = [one for one in NUMBER.findall(section(card, heading)) if one not in known]
        assert stray == [], heading
    # The control: a number that the record does not hold is seen.
    assert NUMBER.findall("| steps | 987,654,321 |") == ["987,654,321"]
    assert "987,654,321" not in known


def test_molmo2_answers_the_same_elsewhere(published: Published, tmp_path: Path) -> None:
    """With tensors of a picture, and without a picture."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoTokenizer

    from trackyard.evaluate.generation import generate
    from trackyard.feed.batch import collate, stack_packs
    from trackyard.feed.sample import build_prompt
    from trackyard.feed.tokens import TokenTable
    from trackyard.models.molmo2 import load_molmo2
    from trackyard.models.pixels import normalise_patches
    from trackyard.recipes.molmo2.parameters import load_molmo2 as load_parameters
    from trackyard.snapshot.reader import SnapshotDataset

    folder = published.folders["molmo2/stage3"]
    feed = load_parameters(published.root / "params.yaml").feed("stage3", evaluation=True)
    tokens = TokenTable.of(AutoTokenizer.from_pretrained(folder))
    ours, given = [], []
    model = load_molmo2(exports(published.root, "molmo2/stage3"), max_positions=16).eval()
    for number_ in range(3):
        row = SnapshotDataset.open(published.root / "data" / "mini" / "tallyqa").row("validation", number_)
        prompt = build_prompt(row, 0, "tallyqa", feed, tokens)
        ours += generate(model, [prompt], tokens, feed.geometry, max_new_tokens=24)
        pack = collate([prompt], length=len(prompt.tree), pad=tokens.pad, geometry=feed.geometry)
        batch = stack_packs([pack], geometry=feed.geometry)
        given.append(str(tmp_path / f"{number_}.safetensors"))
        save_file(
            {
                "input_ids": torch.from_numpy(batch.input_ids),
                "attention_mask": torch.ones_like(torch.from_numpy(batch.input_ids)),
                "mm_token_type_ids": torch.from_numpy(batch.visual_flags).long(),
                "pixel_values": normalise_patches(torch.from_numpy(batch.visual.patches)),
                "image_token_pooling": torch.from_numpy(batch.visual.pooling),
                "image_grids": torch.from_numpy(batch.visual.grids),
            },
            given[-1],
        )
    body = """
module = load(arguments["file"])
return [module.answer("", one, 24)[1] for one in arguments["given"]] + [module.answer("What?", None, 4)[0]]
"""
    found = ask_stranger(body, {"file": str(folder / "answer.py"), "given": given}, tmp_path)
    assert found[:-1] == ours
    assert any(ours)
    assert len(found[-1]) >= 1


def test_pile_ffn_continues_the_same_elsewhere(published: Published, tmp_path: Path) -> None:
    import torch
    from transformers import AutoTokenizer

    from trackyard.recipes.pile_ffn.measures.exports import load_exact
    from trackyard.recipes.pile_ffn.parameters import load_pile_ffn
    from trackyard.recipes.pile_ffn.study import Study

    name = "pile_ffn/nonneg_mlp_both-42"
    study = Study(root=published.root, parameters=load_pile_ffn(published.root / "params.yaml"))
    folder, text = published.folders[name], "The first "
    ids = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")["input_ids"]
    ours = ids
    model = load_exact(study, study.parameters.cells["nonneg_mlp_both-42"])
    with torch.inference_mode():
        for _ in range(16):
            ours = torch.cat([ours, model(ours).logits[:, -1:].argmax(-1)], dim=1)
    body = "return load(arguments[0]).continued(arguments[1], 16)[0]"
    found = ask_stranger(body, [str(folder / "generate.py"), text], tmp_path)
    wanted = ours[0, ids.shape[1] :].tolist()
    assert found == wanted[: len(found)]
    assert found


def test_theworld_answers_the_same_elsewhere(published: Published, tmp_path: Path) -> None:
    """Questions of the evaluation about their pictures, in the arm that sees the picture's own latent."""
    from trackyard.models.theworld.generation import generate
    from trackyard.recipes.datacomp.cells import Cell
    from trackyard.recipes.datacomp.evaluating.arms import load_arm
    from trackyard.recipes.datacomp.evaluating.asking import Asker
    from trackyard.recipes.datacomp.evaluating.items import read_items
    from trackyard.recipes.datacomp.parameters import load_datacomp
    from trackyard.recipes.datacomp.study import Study

    study = Study(root=published.root, parameters=load_datacomp(published.root / "params.yaml"))
    items = [item for name in ("vsr", "captions") for item in list(read_items(study.items(name)))[:4]]
    armed = load_arm(study, Cell(name="world", seed=42))
    assert armed.latents is not None
    pictures = [picture for item in items for picture in item.pictures]
    asker = Asker(
        model=armed.model, prompts=armed.prompts, tokenizer=armed.tokenizer, latents=armed.latents(pictures), batch=1
    )
    ours = generate(armed.model, asker.samples(items), 48, batch=1)
    asked = []
    for item in items:
        path = tmp_path / f"{item.id}.jpg"
        path.write_bytes(item.images[0])
        asked.append([str(path), item.question])
    body = """
model = load(arguments["file"]).TheWorld()
return [model.answer(path, question, 48) for path, question in arguments["asked"]]
"""
    folder = published.folders["datacomp/world-42"]
    found = ask_stranger(body, {"file": str(folder / "theworld.py"), "asked": asked}, tmp_path)
    assert found == ours
    assert len({tuple(one) for one in found}) > 2


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving() as hub:
        yield hub


@pytest.mark.parametrize("name", NAMES)
def test_a_real_folder_reaches_a_hub(published: Published, hub: Hub, name: str) -> None:
    """Nothing in it is a secret or a path of this machine, and what arrives is what was exported."""
    given = {"HF_TOKEN": "hf_" + "System" * 6, "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
    folder = published.folders[name]
    push = ["trackyard", "publish", "push", str(folder), "--repo", REPO, "--endpoint", hub.url]
    assert "nothing was sent" in run(push, published.root, more=given).stdout
    assert hub.seen == []
    run([*push, "--really"], published.root, more=given)
    assert hub.commits == [files(folder)]
    assert hub.private is True
