"""A first stage that starts from published models names the commits that it found, and is proved to their files."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import Qwen3Config, Qwen3ForCausalLM, SiglipVisionConfig, SiglipVisionModel

from trackyard.errors import DataError
from trackyard.feed.tokens import train_tokenizer
from trackyard.models.presets import PRESETS
from trackyard.parameters import read_yaml
from trackyard.recipes.molmo2.origins import origins_of
from trackyard.recipes.molmo2.parameters import Molmo2Parameters
from trackyard.recipes.molmo2.published import PublishedModel
from trackyard.recipes.molmo2.start import Start, prepare_start
from trackyard.recipes.running.plan_file import keep_plan
from trackyard.record.code import COMMIT_VARIABLE, CodeIdentity
from trackyard.record.identity import RunSpec
from trackyard.record.lineage.document import lineage_of, write_lineage
from trackyard.record.lineage.proof import prove
from trackyard.record.lineage.run_chain import run_chain
from trackyard.schema import read_document

ROOT = Path(__file__).parents[3]
TINY = PRESETS["tiny"]
LLM, VISION = "owner/llm", "owner/vision"
COMMITS = {LLM: "a" * 40, VISION: "b" * 40}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model and a vision tower of the widths of the smallest preset, as they are published."""
    root = tmp_path_factory.mktemp("models")
    geometry = read_yaml(ROOT / "params.yaml")["molmo2"]["geometry"]
    language = Qwen3Config(
        vocab_size=TINY.vocab_size, hidden_size=TINY.hidden_size, num_hidden_layers=TINY.layers,
        num_attention_heads=TINY.heads, num_key_value_heads=TINY.kv_heads, head_dim=TINY.head_dim,
        intermediate_size=TINY.ffn,
    )  # fmt: skip
    tower = SiglipVisionConfig(
        hidden_size=TINY.vit_hidden, num_hidden_layers=TINY.vit_layers, num_attention_heads=TINY.vit_heads,
        intermediate_size=TINY.vit_ffn, image_size=geometry["crop_size"], patch_size=geometry["patch_size"],
    )  # fmt: skip
    Qwen3ForCausalLM(language).save_pretrained(root / "llm")
    train_tokenizer(["how many circles are there?"], TINY.vocab_size).save_pretrained(root / "llm")
    SiglipVisionModel(tower).save_pretrained(root / "vision")
    return root


@pytest.fixture
def hub(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the hub with both at a commit of its main branch, and no network."""
    cache = tmp_path / "hub"
    for source, folder in ((LLM, "llm"), (VISION, "vision")):
        repository = cache / f"models--{source.replace('/', '--')}"
        shutil.copytree(models / folder, repository / "snapshots" / COMMITS[source])
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(COMMITS[source])
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv(COMMIT_VARIABLE, "0" * 40)
    return cache


def start(llm: str, vision: str) -> Start:
    values = read_yaml(ROOT / "params.yaml")["molmo2"]
    values["model"] = {"preset": "tiny", "start": "assemble", "llm": llm, "vision": vision}
    return prepare_start(Molmo2Parameters.model_validate(values), "stage1", Path(), {})


def run_of(root: Path, begun: Start) -> Path:
    """A run that has recorded what it starts from."""
    plan = keep_plan(root, "tiny-plan/1", {"steps": 1})
    spec = RunSpec(
        track="molmo2", stage="stage1", parameters={}, plan=read_document(plan / "plan.json", "tiny-plan/1", fix="")
        ["fingerprint"], model=begun.identity, snapshots={}, parent=None,
        code=CodeIdentity(commit="0" * 40, dirty_digest=None), image=None, seed=0,
    )  # fmt: skip
    prepared: Any = SimpleNamespace(
        root=root, stage="stage1", spec=spec, start=begun, datasets={}, scored={}, plan=SimpleNamespace(directory=plan)
    )
    (root / "run").mkdir()
    write_lineage(root / "run", lineage_of(origins_of(prepared)), files=None)
    return root / "run"


def test_models_of_the_hub_are_named_by_their_commits_and_proved(hub: Path, tmp_path: Path) -> None:
    begun = start(LLM, VISION)
    assert begun.identity == {
        "start": "assemble",
        "tokenizer": begun.tokens.fingerprint,
        "published": {
            "llm": {"id": LLM, "revision": COMMITS[LLM]},
            "vision": {"id": VISION, "revision": COMMITS[VISION]},
        },
    }
    assert sum(weight.numel() for weight in begun.build().parameters()) > 1_000
    run = run_of(tmp_path, begun)
    links = {link.name: link for link in run_chain(run, tmp_path).walk()}
    assert links["model llm"].fix == f"hf download {LLM} --revision {COMMITS[LLM]}"
    names = {part: {file.path.name for file in links[f"model {part}"].files} for part in ("llm", "vision")}
    assert {"config.json", "model.safetensors", "tokenizer.json"} < names["llm"]
    assert names["vision"] == {"config.json", "model.safetensors"}
    assert prove(run_chain(run, tmp_path)).trusted == []
    weights = hub / "models--owner--llm" / "snapshots" / COMMITS[LLM] / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(DataError, match="link 'model llm' is wrong"):
        prove(run_chain(run, tmp_path))


def test_a_branch_that_moved_gives_another_run(hub: Path) -> None:
    before = start(LLM, VISION).identity
    repository = hub / "models--owner--vision"
    (repository / "snapshots" / COMMITS[VISION]).rename(repository / "snapshots" / ("c" * 40))
    (repository / "refs" / "main").write_text("c" * 40)
    after = start(LLM, VISION).identity
    assert after["published"]["vision"]["revision"] == "c" * 40
    assert after | {"published": before["published"]} == before


def test_a_folder_is_named_by_its_files(hub: Path, models: Path, tmp_path: Path) -> None:
    shutil.copytree(models, tmp_path / "own")
    sources = str(tmp_path / "own" / "llm"), str(tmp_path / "own" / "vision")
    begun = start(*sources)
    named = begun.identity["published"]
    assert [named[part]["id"] for part in ("llm", "vision")] == list(sources)
    run = run_of(tmp_path, begun)
    assert prove(run_chain(run, tmp_path)).trusted == []
    weights = tmp_path / "own" / "vision" / "model.safetensors"
    weights.write_bytes(weights.read_bytes() + b" ")
    assert start(*sources).identity["published"]["vision"] != named["vision"]
    with pytest.raises(DataError, match="link 'model vision' is wrong"):
        prove(run_chain(run, tmp_path))


def test_what_is_not_here_whole_is_refused_with_the_command_that_brings_it(hub: Path) -> None:
    begun = start(LLM, "owner/absent")
    with pytest.raises(DataError, match=r"no config\.json of owner/absent at main, in the hub's cache") as raised:
        _ = begun.identity
    assert raised.value.fix == "hf download owner/absent"
    with pytest.raises(DataError, match="gives no tokenizer"):
        start("owner/absent", VISION)
    with pytest.raises(DataError, match=r"no config\.json of no such/folder/at all"):
        _ = PublishedModel(source="no such/folder/at all").folder
    folder = hub / "models--owner--llm" / "snapshots" / COMMITS[LLM]
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "one.safetensors"}}')
    with pytest.raises(DataError, match=r"no one\.safetensors of owner/llm"):
        _ = PublishedModel(source=LLM).files
    (folder / "model.safetensors.index.json").write_text("[]")
    with pytest.raises(DataError, match="does not say which files hold the weights"):
        _ = PublishedModel(source=LLM).files
