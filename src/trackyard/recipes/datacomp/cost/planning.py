"""How fast each part of the track is expected to be, until a run with the same parameters has measured it.

Source: theworld spec sections 10 and 17, performance spec section 8.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from trackyard.estimate.devices import Device
from trackyard.estimate.scoring import scoring_rates
from trackyard.recipes.datacomp.parameters import DatacompParameters
from trackyard.recipes.datacomp.results import read_result
from trackyard.recipes.datacomp.study import Study

ROWS_PER_S = 56.0
"""r_dl of one process: the slowest that users of the pool have seen (56 to 111)."""
ENCODE_FLOPS, ENCODE_SIDE = 1.77e12, 512
"""Of the published encoder, in fp32, for a picture of 512 x 512 pixels; 50 to 100 ms were published."""
MADE_ENCODE_S = 0.01
SAVE_S, MADE_SAVE_S = 3.0, 0.5
"""t_save: 110 MB with their digests; of a made model under 1 MB."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """rows_per_s: r_dl of one process; encode_s: t_enc of a picture on one device; save_s: t_save.

    step_s: t_step where it was measured; None: as it is forecast. measured: names of those that a run has measured.
    """

    rows_per_s: float
    encode_s: float
    save_s: float
    step_s: float | None = None
    measured: Mapping[str, float] = field(default_factory=dict)


def planned(parameters: DatacompParameters, device: Device) -> Pace:
    """Before anything was measured."""
    if parameters.vae.made is not None:
        return Pace(rows_per_s=ROWS_PER_S, encode_s=MADE_ENCODE_S, save_s=MADE_SAVE_S)
    exact, _ = scoring_rates(device)
    area = (parameters.vae.pixels / ENCODE_SIDE) ** 2
    return Pace(rows_per_s=ROWS_PER_S, encode_s=ENCODE_FLOPS * area / exact, save_s=SAVE_S)


def measured(study: Study, device: Device) -> Pace:
    """With what the results below artifacts/ have measured, of the same parameters and, for latents, device."""
    found = planned(study.parameters, device)
    values: dict[str, float] = {}
    for result, key in (("download", "rows_per_s"), ("latents", "images_per_s")):
        path = study.document(result)
        if not path.is_file():
            continue
        known = read_result(path, result)
        same = known.header.spec_digest == study.spec_digest(result)
        rate = float(known.body[key])
        if same and rate > 0 and (result == "download" or device.marketed_as.lower() in known.header.device.lower()):
            values[key] = rate
    return replace(
        found,
        rows_per_s=values.get("rows_per_s", found.rows_per_s),
        encode_s=1 / values["images_per_s"] if "images_per_s" in values else found.encode_s,
        measured=values,
    )
