"""How pictures become the input of an exported Molmo2: what its folder says, and nothing that is guessed.

Source: molmo2 spec section 15.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from trackyard.errors import DataError
from trackyard.feed.frames import VideoParameters
from trackyard.feed.geometry import VisionGeometry
from trackyard.parameters import parse_parameters

OWN = "trackyard_preprocessing.json"
"""Written by trackyard's exports; `publish.export` lies above this package."""
IMAGE, VIDEO = "preprocessor_config.json", "video_preprocessor_config.json"
"""Of the stock processors, which published models carry."""
TOGETHER = "processor_config.json"
"""Where newer versions of transformers write both, under `image_processor` and `video_processor`."""


def molmo2_preprocessing(folder: Path) -> tuple[VisionGeometry, VideoParameters]:
    """Of an export of ours, or from the stock processors' files. DataError where neither says it."""
    if (folder / OWN).is_file():
        own = _read(folder / OWN)
        return _geometry(own.get("geometry"), folder / OWN), parse_parameters(
            VideoParameters, own.get("video"), where=f"{folder / OWN}: video"
        )
    image, video = _stated(folder, IMAGE, "image_processor"), _stated(folder, VIDEO, "video_processor")
    try:
        geometry = {
            "crop_size": image["size"]["height"],
            "patch_size": image["patch_size"],
            "margin": image["overlap_margins"],
            "image_pooling": image["pooling_size"][0],
            "video_pooling": video["pooling_size"][0],
            "max_crops": image["max_crops"],
        }
        frames = {"max_frames": video["num_frames"], "fps": video["max_fps"]}
    except (KeyError, IndexError, TypeError) as error:
        raise DataError(
            what=f"{folder} does not say how pictures are prepared: {error!r} in {IMAGE} or {VIDEO}",
            why="crops of another size or overlap would meet other features than the model was trained on",
            fix="download both files together with the weights, or export the model again",
        ) from error
    return _geometry(geometry, folder / IMAGE), parse_parameters(VideoParameters, frames, where=f"{folder / VIDEO}")


def _geometry(body: Any, path: Path) -> VisionGeometry:
    return parse_parameters(VisionGeometry, body, where=f"{path}: geometry")


def _stated(folder: Path, name: str, part: str) -> dict[str, Any]:
    """Of a file of its own, or of one that several share."""
    if (folder / name).is_file() or not (folder / TOGETHER).is_file():
        return _read(folder / name)
    found: dict[str, Any] = _read(folder / TOGETHER).get(part) or {}
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        body: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            what=f"no readable {path.name} in {path.parent}: {error}",
            why="it says how pictures are prepared for this Molmo2",
            fix="download the file together with the weights, or export the model again",
        ) from error
    return body
