"""A thousand real rows of addresses and captions through every stage to a trained export, none without an outcome."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.loopback.photos import is_lost, photo_server
from tests.recipes.datacomp.ingest.test_downloading import NEEDS_REAL, REAL, lookup
from tests.recipes.datacomp.tiny_study import PARAMETERS, study_at, tiny_study
from trackyard.recipes.datacomp.base.made_vae import make_vae
from trackyard.recipes.datacomp.cells import Cell
from trackyard.recipes.datacomp.ingest import downloading
from trackyard.recipes.datacomp.ingest.curating import ROWS_FILE, curate
from trackyard.recipes.datacomp.ingest.metadata import metadata
from trackyard.recipes.datacomp.ingest.selecting import select
from trackyard.recipes.datacomp.latents.encoding import latents
from trackyard.recipes.datacomp.results import read_result
from trackyard.recipes.datacomp.training.training import train

HOST, SAMPLES = "photos.test", 600


@NEEDS_REAL
def test_a_thousand_real_rows_are_accounted_for_and_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "root"
    tiny_study(root)
    for stage in ("metadata", "select", "images", "curated", "latents"):
        shutil.rmtree(root / "artifacts" / "datacomp" / stage)
    table = pq.read_table(REAL / "url_list_1000.parquet").to_pydict()
    urls = [url.replace("127.0.0.1:8089", HOST) for url in table["URL"]]
    pq.write_table(pa.table({"URL": urls, "TEXT": table["TEXT"]}), root / "list.parquet")
    study = study_at(
        root,
        {
            "data.source": {"kind": "files", "files": ["list.parquet"], "columns": {"url": "URL", "text": "TEXT"}},
            "data.allow_addresses": ["127.0.0.1/32"],
            "data.samples": SAMPLES,
            "data.block_rows": 256,
            "training.epochs": 1,
            "training.samples_per_step": 16,
            "engine.micro_batch": 16,
            "vae.shard_images": 256,
            "world.max_length": 512,
        },
    )
    said: list[str] = []
    # The encoder of scenes does not know photographs.
    pictures = [Image.open(path).convert("RGB").resize((128, 128)) for path in sorted((REAL / "photos").glob("*.jpg"))]
    shutil.rmtree(study.vae)
    make_vae(study.vae, [np.asarray(picture) for picture in pictures])
    metadata(study, said.append)
    select(study, said.append)
    with photo_server(REAL / "photos") as port:
        monkeypatch.setattr(downloading, "look_up", lookup({HOST}, port))
        downloading.download(study, None, said.append)
    curate(study, said.append)
    latents(study, None, said.append)
    train(study, Cell(name="world", seed=42), said.append, PARAMETERS)

    lost = sum(is_lost("/" + url.rpartition("/")[2]) for url in urls)
    found = read_result(study.document("download"), "download").body
    assert (found["attempted"], found["ok"], found["causes"]) == (1000, 1000 - lost, {"http_404": lost})
    outcomes = Counter(pq.read_table(study.curated.with_name(ROWS_FILE))["outcome"].to_pylist())
    assert outcomes.total() == 1000
    assert outcomes["http_404"] == lost
    trained = read_result(study.document("train", Cell(name="world", seed=42)), "train").body
    # Byte by byte the longest caption does not fit.
    assert trained["samples"] + sum(trained["left_out"].values()) == SAMPLES
    assert 0 < sum(trained["left_out"].values()) < 5
    assert trained["draws"] >= trained["samples"]
    assert trained["steps"] == -(-trained["samples"] // 16)
    captions = set(pq.read_table(study.curated)["caption"].to_pylist())
    assert len(captions) > 500
    assert captions <= {" ".join(text.split()) for text in table["TEXT"]} | {text.strip() for text in table["TEXT"]}
