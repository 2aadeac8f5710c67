"""The checks of TheWorld against a hub on loopback: each mode asks for what it says, each thing that is wrong fails its
row, and a commit that nobody has stated is named."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.loopback.hub import LoopbackHub
from trackyard.acquire.places import Places
from trackyard.catalog.entries import Entry, load_catalogue
from trackyard.errors import ConfigError
from trackyard.launch.preflight import Report
from trackyard.recipes.datacomp.parameters import DatacompParameters, load_datacomp
from trackyard.recipes.datacomp.preflight.checks import Mode, run_preflight
from trackyard.recipes.datacomp.preflight.models import parameters_of

ROOT = Path(__file__).resolve().parents[4]
GEMMA, VAE = "google/gemma-3-4b-it", "nvidia/Cosmos-Predict2-2B-Video2World"
TOKEN = "hf_canary0123456789abcdef"  # secret-scan: allow
FIRST = ["parameters", "network", "dependencies", "licences", "disk and inodes", "language model", "image VAE", "rows"]
ITEMS = [f"items of {name}" for name in ("blink", "vsr-random", "vsr-zeroshot", "spatialrgpt-bench")]
ROWS = [*FIRST, *ITEMS, "template", "accelerator"]
CONFIG = {"_class_name": "AutoencoderKLWan", "latents_mean": [0.0] * 16, "latents_std": [1.0] * 16}


def header(**shapes: list[int]) -> bytes:
    """The head of a safetensors file: all that is looked at of one."""
    text = json.dumps(
        {name: {"dtype": "BF16", "shape": shape, "data_offsets": [0, 0]} for name, shape in shapes.items()}
    )
    return struct.pack("<Q", len(text)) + text.encode()


@pytest.fixture(scope="module")
def gemma_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    from trackyard.recipes.datacomp.base.made_tokenizer import make_tokenizer

    folder = tmp_path_factory.mktemp("gemma")
    make_tokenizer(384).save_pretrained(folder, save_jinja_files=False)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    return {
        **files,
        "config.json": b"{}",
        "model-00001-of-00002.safetensors": header(vision=[416_866_032], projector=[2_950_272]),
        "model-00002-of-00002.safetensors": header(language=[3_880_263_168]),
    }


@pytest.fixture
def hub(gemma_files: dict[str, bytes]) -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        hub.add_repository(GEMMA, gemma_files, kind="model", gated=True, token=TOKEN)
        vae = {
            "config.json": json.dumps(CONFIG).encode(),
            "diffusion_pytorch_model.safetensors": header(all=[126_892_531]),
        }
        transformer = {"transformer/diffusion_pytorch_model.safetensors": b"never asked for"}
        hub.add_repository(VAE, {f"vae/{name}": data for name, data in vae.items()} | transformer, kind="model")
        for entry in ("datacomp-small", "blink", "vsr-random", "vsr-zeroshot", "spatialrgpt-bench"):
            hub.add_repository(catalogue()[entry].hub[0].repo, {"data.parquet": b"x"})
        yield hub


@cache
def catalogue() -> dict[str, Entry]:
    return load_catalogue(ROOT / "catalog")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository root whose lock names a package that is installed; the token is in the environment alone."""
    import pydantic

    monkeypatch.setenv("HF_TOKEN", TOKEN)
    (tmp_path / "requirements.lock").write_text(f"pydantic=={pydantic.VERSION}\n")
    return tmp_path


def unpinned() -> DatacompParameters:
    """The smallest shipped study, on a disk of a test."""
    found = load_datacomp(ROOT / "profiles" / "theworld-10k.yaml")
    return found.model_copy(update={"data": found.data.model_copy(update={"samples": 10})})


def pinned(hub: LoopbackHub, study: DatacompParameters) -> tuple[DatacompParameters, dict[str, Entry]]:
    """The same with the commits of that hub, in the parameters and in the catalogue."""

    def commit(repo: str, kind: str) -> str:
        return hub.repositories[kind, repo].branches["main"]

    entries = {}
    for name, entry in catalogue().items():
        if entry.hub and ("dataset", entry.hub[0].repo) in hub.repositories:
            source = entry.hub[0].model_copy(update={"revision": commit(entry.hub[0].repo, "dataset")})
            entries[name] = entry.model_copy(update={"hub": (source,)})
    models = {
        name: getattr(study, name).model_copy(update={"revision": commit(repo, "model")})
        for name, repo in (("gemma", GEMMA), ("vae", VAE))
    }
    return study.model_copy(update=models), entries


def check(
    root: Path, hub: LoopbackHub, study: DatacompParameters, entries: dict[str, Entry], mode: Mode = "quick",
    *, offline: bool = False, device: str | None = None,
) -> Report:  # fmt: skip
    found = run_preflight(
        study,
        entries,
        mode=mode,
        offline=offline,
        places=Places(hub=root / "hub", raw=root / "raw", data=root / "data"),
        root=root,
        device=device,
        endpoint=hub.url,
    )
    assert [row.name for row in found.rows] == ROWS
    assert TOKEN not in repr(found)
    return found


def failed(report: Report) -> list[str]:
    return [row.name for row in report.rows if row.state == "failed"]


def test_what_nobody_has_pinned_is_named_with_the_commit_of_now(root: Path, hub: LoopbackHub) -> None:
    report = check(root, hub, unpinned(), catalogue())
    assert failed(report) == ["language model", "image VAE", "rows", *ITEMS]
    rows = {row.name: row for row in report.rows}
    commit = hub.repositories["model", GEMMA].branches["main"]
    assert rows["language model"].fix == f"set datacomp.gemma.revision to {commit}, or to the commit that is meant"
    assert "datacomp.data.source.revision" in rows["rows"].fix
    assert "`revision` of blink in catalog/" in rows["items of blink"].fix


def test_modes_are_cumulative_and_full_counts_every_parameter(root: Path, hub: LoopbackHub) -> None:
    study, entries = pinned(hub, unpinned())
    quick = check(root, hub, study, entries)
    assert failed(quick) == []
    assert quick.fetched == 0
    default = check(root, hub, study, entries, "default")
    assert failed(default) == [], default.rows
    rows = {row.name: row for row in default.rows}
    assert "AutoencoderKLWan" in rows["image VAE"].detail
    assert "learned" in rows["template"].detail
    full = check(root, hub, study, entries, "full")
    rows = {row.name: row for row in full.rows}
    assert failed(full) == [], full.rows
    assert "4,300,079,472 parameters as specified" in rows["language model"].detail
    assert "126,892,531 parameters as specified" in rows["image VAE"].detail
    asked = {request.resource for request in hub.log}
    assert not [name for name in asked if "transformer/" in name], "of the video model only its VAE is needed"
    # What full has brought is proved without the network; rows and items come with `data fetch`.
    hub.forget_log()
    offline = check(root, hub, study, entries, "full", offline=True)
    assert failed(offline) == ["rows", *ITEMS]
    assert hub.log == []


def test_another_model_under_the_name_is_noticed(root: Path, hub: LoopbackHub, gemma_files: dict[str, bytes]) -> None:
    hub.add_repository(
        GEMMA,
        gemma_files | {"model-00001-of-00002.safetensors": header(vision=[1])},
        kind="model",
        gated=True,
        token=TOKEN,
    )
    study, entries = pinned(hub, unpinned())
    report = check(root, hub, study, entries, "full")
    assert failed(report) == ["language model"]
    assert "holds 3,880,263,169 parameters" in next(row.detail for row in report.rows if row.state == "failed")


@pytest.mark.parametrize("change", [{"_class_name": "AutoencoderKL"}, {"latents_std": None}], ids=str)
def test_a_vae_that_cannot_be_encoded_with(root: Path, hub: LoopbackHub, change: dict[str, Any]) -> None:
    hub.add_repository(VAE, {"vae/config.json": json.dumps(CONFIG | change).encode()}, kind="model")
    study, entries = pinned(hub, unpinned())
    assert failed(check(root, hub, study, entries, "default")) == ["image VAE"]


def test_a_licence_that_was_not_accepted(root: Path, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    study, entries = pinned(hub, unpinned())
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setenv("HF_HOME", str(root / "nobody"))
    assert "licences" in failed(check(root, hub, study, entries))


def test_parameters_that_cannot_be_and_a_disk_that_is_too_small(root: Path, hub: LoopbackHub) -> None:
    study, entries = pinned(hub, unpinned())
    spatial = study.world.model_copy(update={"mode": "spatial"})
    assert failed(check(root, hub, study.model_copy(update={"world": spatial}), entries))[0] == "parameters"
    pool = study.data.model_copy(update={"samples": 10**13})
    assert "disk and inodes" in failed(check(root, hub, study.model_copy(update={"data": pool}), entries))


def test_a_study_that_makes_its_models_has_nothing_to_prove(root: Path, hub: LoopbackHub) -> None:
    from tests.recipes.datacomp.cost.studies import made

    with pytest.raises(ConfigError, match="makes its own models"):
        check(root, hub, made(), catalogue())


def test_a_tensor_in_two_files_counts_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(header(one=[2, 3], two=[4]))
    (tmp_path / "b").write_bytes(header(two=[4], three=[]))
    assert parameters_of([tmp_path / "a", tmp_path / "b"]) == 6 + 4 + 1
