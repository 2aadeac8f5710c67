"""The checks of the track before it is started: parameters, models, licences, data, disk and machine.

quick: lists of files only. default: also configurations and the tokenizer, into the real cache. full: also the weights,
counted. offline: what the cache holds is proved instead. Source: theworld spec sections 2, 5, 7, 9 and 10.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from trackyard.acquire.hub.files import RepositoryKind
from trackyard.acquire.places import Places
from trackyard.catalog.entries import Entry, HubSource
from trackyard.catalog.selection import find
from trackyard.errors import ConfigError
from trackyard.estimate.devices import Device, device_of
from trackyard.estimate.memory import rank_memory, total
from trackyard.launch.doctor.packages import dependencies
from trackyard.launch.preflight import Check, Report, Row, Seen, Skipped, run_checks
from trackyard.launch.room import Needed, require_room
from trackyard.recipes.checking.machine import LARGER_CACHE, LARGER_CHECKOUT, accelerator
from trackyard.recipes.datacomp.cost.sizes import study_workload
from trackyard.recipes.datacomp.cost.storing import storage
from trackyard.recipes.datacomp.cost.traffic import traffic
from trackyard.recipes.datacomp.parameters import DatacompParameters
from trackyard.recipes.datacomp.preflight.models import MODES, Asked, Mode, image_vae, language_model, template

SMALL_BYTES = 50_000_000
"""Configurations and the tokenizer."""
ITEMS: dict[str, tuple[str, ...]] = {
    "blink": ("blink",), "vsr": ("vsr-random", "vsr-zeroshot"), "spatial": ("spatialrgpt-bench",),
    "captions": ("vsr-random",),
}  # fmt: skip
"""Entries of catalog/ that an evaluation set is made of."""


def run_preflight(
    parameters: DatacompParameters,
    catalogue: Mapping[str, Entry],
    *,
    mode: Mode,
    offline: bool,
    places: Places,
    root: Path,
    device: str | None,
    endpoint: str | None = None,
    progress: Callable[[Row], None] | None = None,
) -> Report:
    """Run the checks of a mode; modes are cumulative. device: that training is planned on; None compares no memory.

    ConfigError for a study that makes its models: there is nothing that could be absent.
    """
    if parameters.gemma.made is not None or parameters.vae.made is not None:
        raise ConfigError(
            what=f"the study of {parameters.gemma.id} makes its own models",
            why="these checks are of published ones and of what they are trained on",
            fix="trackyard data verify --models --profile theworld-100k",
        )
    source, hub = parameters.data.source, parameters.evaluation.source == "hub"
    names = dict.fromkeys(name for one in parameters.evaluation.sets for name in ITEMS[one]) if hub else {}
    items = [find(catalogue, name) for name in names]
    rows = find(catalogue, source.entry) if source.kind == "hub" else None
    asked = Asked(
        offline=offline,
        places=places,
        endpoint=endpoint,
        parameters=parameters,
        mode=mode,
    )
    trained_on = device_of(device) if device else None
    gpu = partial(
        accelerator,
        needed=False,
        device_bytes=_device_bytes(parameters, trained_on),
        smaller="trackyard estimate datacomp train",
    )
    checks: tuple[tuple[str, Callable[[], Seen]], ...] = (
        ("parameters", partial(_consistent, parameters)),
        ("network", partial(asked.answers, asked.gemma, "model")),
        ("dependencies", partial(dependencies, root)),
        ("licences", partial(_licences, asked, [*items, *([] if rows is None else [rows])])),
        ("disk and inodes", partial(_disk, asked, root)),
        ("language model", partial(language_model, asked)),
        ("image VAE", partial(image_vae, asked)),
        ("rows", partial(_rows, asked, rows)),
        *((f"items of {entry.name}", partial(_items, asked, entry)) for entry in items),
        ("template", partial(template, asked)),
        ("accelerator", gpu),
    )
    return run_checks((Check(name=name, run=run) for name, run in checks), progress=progress)


def _consistent(parameters: DatacompParameters) -> Seen:
    """Lengths, windows, batches and ranks, as a training would find them."""
    work = study_workload(parameters, device_of("h200"))
    return Seen(
        detail=f"{work.steps:,} steps of {work.packs_per_step} samples, {work.lengths}, {work.trained:,} trained",
        examined=len(parameters.trained_cells),
    )


def _device_bytes(parameters: DatacompParameters, device: Device | None) -> int:
    if device is None or device.is_cpu:
        return 0
    return round(total(rank_memory(study_workload(parameters, device), device), "device"))


def _licences(asked: Asked, entries: Sequence[Entry]) -> Seen:
    """The licences of both models, and of whatever else is gated, were accepted by whoever's token it is."""
    gated: list[tuple[HubSource, RepositoryKind]] = [
        (source, "dataset") for entry in entries for source in entry.hub if source.gated
    ]
    return asked.access([(asked.gemma, "model"), (asked.vae, "model"), *gated])


def _disk(asked: Asked, root: Path) -> Seen:
    """Room for what is fetched, and for the whole track (`trackyard estimate datacomp study`)."""
    parameters = asked.parameters
    trained = study_workload(parameters, device_of("h200")).trained
    peak = storage(parameters, trained, at_once=1).peak
    incoming = traffic(parameters, trained).incoming
    models = incoming["language model"] + incoming["image VAE"]
    fetched = SMALL_BYTES + (models if asked.reaches("full") else 0)
    require_room(
        (
            Needed(path=asked.places.hub, bytes=fetched, files=1, fix=LARGER_CACHE),
            Needed(path=root / "artifacts", bytes=peak.bytes, files=peak.files, fix=LARGER_CHECKOUT),
        )
    )
    return Seen(detail=f"{fetched:,} bytes free for the cache, {peak.bytes:,} for the track", examined=2)


def _rows(asked: Asked, entry: Entry | None) -> Seen:
    if entry is None:
        raise Skipped(f"rows are of kind {asked.parameters.data.source.kind}")
    source = entry.hub[0]
    revision = asked.parameters.data.source.revision or source.revision
    stated = source.model_copy(update={"revision": revision})
    if asked.offline:
        return asked.cached(stated, "dataset", source.files)
    return asked.pinned(stated, "dataset", "datacomp.data.source.revision")[0]


def _items(asked: Asked, entry: Entry) -> Seen:
    source = entry.hub[0]
    if asked.offline:
        return asked.cached(source, "dataset", source.files)
    return asked.pinned(source, "dataset", f"`revision` of {entry.name} in catalog/")[0]


__all__ = ["MODES", "Mode", "run_preflight"]
