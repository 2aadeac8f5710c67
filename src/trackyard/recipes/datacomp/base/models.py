"""The stage that puts the two base models where every later stage loads them: published ones at their commits, or made.

Of a published model only the listed files are ever asked for: of the world model's repository nothing but its VAE.
Source: theworld spec sections 2 and 14.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

from trackyard.digest import digest_file
from trackyard.durable import atomic_directory, sweep
from trackyard.errors import DataError, IdentityError
from trackyard.recipes.datacomp.parameters import GemmaParameters, VaeParameters
from trackyard.recipes.datacomp.pinned import require_pinned
from trackyard.recipes.datacomp.results import write_result
from trackyard.recipes.datacomp.scenes import draw, scene
from trackyard.recipes.datacomp.study import MADE, Study
from trackyard.schema import read_document, write_document

Say = Callable[[str], None]
Which = Literal["gemma", "vae"]
GEMMA_FILES = ("*.json", "*.jinja", "*.safetensors")
"""Configuration, tokenizer and weights at the root of the repository: nothing that has to be unpickled."""
VAE_FILES = ("config.json", "diffusion_pytorch_model.safetensors")
"""Of its subfolder."""
COUNTS: Mapping[str, Mapping[str, int]] = {
    "google/gemma-3-4b-it": {
        "vision_tower": 416_866_032,
        "multi_modal_projector": 2_950_272,
        "language_model": 3_880_263_168,
    },
    "nvidia/Cosmos-Predict2-2B-Video2World": {
        "encoder": 53_595_872,
        "decoder": 73_295_331,
        "quant_conv": 1_056,
        "post_quant_conv": 272,
    },
}
"""Parameters by part of the models that this track is about (spec section 2)."""
MADE_PICTURES = 96
_FACTS, _FACTS_SCHEMA = "facts.json", "trackyard-base-model/1"


def models(study: Study, say: Say, *, endpoint: str | None = None) -> None:
    """Put out models/gemma/, models/vae/ and result.json, in place of what was there.

    endpoint: of the hub, None for its own. Raises what `trackyard.acquire.hub.fetch` does, IdentityError where a model
    has other counts than it is known for, DataError for a made one that has not learned enough.
    """
    started = time.monotonic()
    require_pinned(study.parameters)
    folder = study.gemma.parent
    folder.mkdir(parents=True, exist_ok=True)
    sweep(folder)
    study.document("models").unlink(missing_ok=True)
    works: list[Which] = ["gemma", "vae"]
    _all(partial(_bring, study, say, endpoint), works, study)
    body: dict[str, Any] = {
        which: read_document(folder / f"{which}-{_FACTS}", _FACTS_SCHEMA, fix=_again()) for which in works
    }
    for which in works:
        del body[which]["schema"]
        (folder / f"{which}-{_FACTS}").unlink()
        found = body[which]
        say(f"{which:<9} {found['id']} at {found['revision']}: {sum(found['parameters'].values()):,} parameters")
    vae_digest = body["vae"]["files"][VAE_FILES[1]]
    header = study.header(
        "models", None, inputs={}, device="cpu", wall_s=time.monotonic() - started, vae_digest=vae_digest
    )
    write_result(study.document("models"), "models", header, body)


def require_known(repo: str, counts: Mapping[str, int]) -> None:
    """IdentityError where a model that the specification counts has other parts."""
    wanted = COUNTS.get(repo)
    if wanted is not None and dict(counts) != dict(wanted):
        raise IdentityError(
            what=f"{repo} has {sum(counts.values()):,} parameters ({_words(counts)}), not "
            f"{sum(wanted.values()):,} ({_words(wanted)})",
            why="it is another model than the one that the study names, or was loaded as another class",
            fix="correct datacomp.gemma or datacomp.vae in params.yaml",
        )


def _all(work: Callable[[Which], None], works: list[Which], study: Study) -> None:
    """Two made models side by side, where there are cores for it; published ones one after the other."""
    from trackyard.recipes.running.side_by_side import side_by_side

    parameters = study.parameters
    made = parameters.gemma.made is not None and parameters.vae.made is not None
    cores = len(os.sched_getaffinity(0)) if made else 1
    side_by_side(work, works, [None] * max(1, min(2, cores)))


def _bring(study: Study, say: Say, endpoint: str | None, which: Which) -> None:
    """One model and what is known of it."""
    own: GemmaParameters | VaeParameters = getattr(study.parameters, which)
    target = {"gemma": study.gemma, "vae": study.vae}[which]
    if target.exists():
        shutil.rmtree(target)
    with atomic_directory(target) as partial_folder:
        if own.made is None:
            _published(study, which, partial_folder, endpoint)
            made = None
        else:
            made = _make(study, which, partial_folder, say)
    counts = _counts(which, target)
    if made is None:
        require_known(own.id, counts)
    facts = {
        "id": own.id,
        "revision": own.revision or MADE,
        "files": {path.name: digest_file(path) for path in sorted(target.iterdir())},
        "parameters": counts,
        "made": made,
    }
    write_document(target.parent / f"{which}-{_FACTS}", _FACTS_SCHEMA, facts)


def _make(study: Study, which: Which, folder: Path, say: Say) -> dict[str, Any]:
    import torch

    from trackyard.recipes.datacomp.base.made_gemma import make_gemma, require_taught
    from trackyard.recipes.datacomp.base.made_vae import make_vae

    torch.set_num_threads(1)
    gemma, vae = study.parameters.gemma.made, study.parameters.vae.made
    if which == "gemma" and gemma is not None:
        facts = make_gemma(folder, gemma, say=say)
        require_taught(facts)
        return facts
    assert vae is not None, which
    return make_vae(folder, [draw(scene(vae.seed, number), vae.size) for number in range(MADE_PICTURES)])


def _published(study: Study, which: Which, folder: Path, endpoint: str | None) -> None:
    """Links to the files of a proved copy in the hub's cache of this user: gigabytes are not written twice."""
    from trackyard.acquire.hub.fetch import fetch_repository
    from trackyard.acquire.places import Places
    from trackyard.catalog.entries import UNPINNED, HubSource

    own = getattr(study.parameters, which)
    below = "" if which == "gemma" else f"{study.parameters.vae.subfolder}/"
    names = GEMMA_FILES if which == "gemma" else VAE_FILES
    source = HubSource(
        repo=own.id,
        revision=own.revision or UNPINNED,
        gated=True,
        files=tuple(f"{below}{name}" for name in names if which == "vae" or name != "*.jinja"),
    )
    fetched = fetch_repository(source, cache=Places.of(study.root).hub, kind="model", endpoint=endpoint)
    for file in fetched.contents:
        name = file.path.removeprefix(below)
        if "/" in name:
            continue
        (folder / name).symlink_to((fetched.directory / file.path).resolve())
    if not (folder / "config.json").exists():
        raise DataError(
            what=f"{own.id} at {own.revision} has no {below}config.json",
            why="it is not a model that the stock classes load",
            fix=f"correct datacomp.{which} in params.yaml",
        )


def _counts(which: Which, folder: Path) -> dict[str, int]:
    """Parameters by part, from the configuration alone."""
    if which == "gemma":
        import json

        from trackyard.models.theworld.counts import gemma_counts, meta_gemma

        return gemma_counts(meta_gemma(json.loads((folder / "config.json").read_bytes())))
    import torch

    from trackyard.models.world_encoders.folder import counts_of, plugin_of

    plugin = plugin_of(folder)
    plugin.vae_class()
    with torch.device("meta"):
        return counts_of(plugin.build())


def _words(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _again() -> str:
    return "trackyard run datacomp models"
