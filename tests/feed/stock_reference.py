"""transformers' own Molmo2 processors on the cases of `stock_cases.py`, and the file that keeps what they gave.

They need torchvision, which trackyard does not depend on. Where it is installed beside the versions of
requirements.lock, `python -m tests.feed.stock_reference` writes stock_processors.json anew. torchvision's compiled
operators are not needed, so one that was built for another torch will do.

A stored level may differ from ours by one where the exact value lies within float32 error of a half (see
feed/resize.py: about one value in 10^5). The file lists every such place, so everything else is compared exactly.
"""

from __future__ import annotations

import datetime
import importlib
import io
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from tests.feed.stock_cases import COUNT, Case, Tensors, make_case, ours, shown_times, tokens
from trackyard.digest import digest_bytes
from trackyard.feed.frames import VideoParameters
from trackyard.feed.geometry import VisionGeometry
from trackyard.feed.sequence import subtitle_text
from trackyard.publish.export import PROCESSOR, image_processor_config, video_processor_config
from trackyard.schema import write_document

SCHEMA = "trackyard-stock-processors/1"
FILE = Path(__file__).with_name("stock_processors.json")
COMMAND = "python -m tests.feed.stock_reference"
MOST_DIFFERENT = 3e-3
"""Share of a row's levels that may lie within float32 error of a half, and then differ by one. A photograph has one in
10^5; only pictures of a few pixels, whose stretch repeats the same halves, come near it."""
VIDEO_STEPS = {"do_convert_rgb": True, "do_resize": True, "do_rescale": True, "do_normalize": True}
"""Unset, the stock video processor hands bytes from 0 to 255 to the model; the image processor's defaults are true."""
LEVELS = (np.arange(256, dtype=np.float32) - np.float32(127.5)) / np.float32(127.5)


def available() -> bool:
    """True where torchvision is installed, whether or not its compiled operators load."""
    return find_spec("torchvision") is not None


def _load() -> Any:
    """transformers with torchvision behind it.

    A torchvision that was built for another torch fails at import, because it describes two operators that its
    compiled part did not register. Declaring them is enough: nothing here calls them.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        missing = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            missing.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        importlib.import_module("torchvision")
    return importlib.import_module("transformers")


def processor(**changes: Any) -> Any:
    """The stock processor as an export configures it (molmo2 spec section 15), with `changes` to its own settings."""
    library = _load()
    settings = PROCESSOR | changes
    return library.Molmo2Processor(
        image_processor=library.Molmo2ImageProcessor(**image_processor_config(VisionGeometry())),
        video_processor=library.Molmo2VideoProcessor(
            **video_processor_config(VisionGeometry(), VideoParameters()) | VIDEO_STEPS
        ),
        tokenizer=tokens().tokenizer,
        chat_template=tokens().tokenizer.chat_template,
        **{name: value for name, value in settings.items() if name != "processor_class"},
    )


def _picture(data: bytes) -> Image.Image:
    """A file as the stock processor takes it: upright. Of 16-bit grey the high byte, as it would clip the rest."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) // 256).astype(np.uint8))
    return image


def _conversation(case: Case) -> list[dict[str, Any]]:
    row = case.row
    content: list[dict[str, str]] = [{"type": medium.kind} for medium in row.media]
    if "subtitle" in row.meta:
        times = shown_times(case)
        content.append({"type": "subtitle", "text": subtitle_text(row.meta["subtitle"], times, times[0])})
    messages: list[dict[str, Any]] = [
        {"role": turn.role, "content": [{"type": "text", "text": turn.content}]} for turn in row.conversations[0]
    ]
    if row.task == "vqa2":
        messages[0]["content"][0]["text"] = "vqa2: " + messages[0]["content"][0]["text"]
    messages[0]["content"] = content + messages[0]["content"]
    return messages


def stock(case: Case, using: Any) -> tuple[Tensors, NDArray[np.float32]]:
    """The row through the stock processor, and its pixel values before they are read as levels."""
    text = using.apply_chat_template(_conversation(case), tokenize=False)
    if case.frames is None:
        pictures = [_picture(medium.data) for medium in case.row.media]
        out = using(images=pictures, text=text, images_kwargs={"max_crops": case.max_crops}, return_tensors="pt")
        values, pooling = out["pixel_values"], out["image_token_pooling"]
        grids = out["image_grids"].tolist()
    else:
        times = shown_times(case)
        # The frame shown at t is the last one that starts at or before it.
        frames = case.frames[[min(int(t * case.rate), len(case.frames) - 1) for t in times]]
        metadata = {"total_num_frames": len(times), "fps": 1.0, "frames_indices": [float(t) for t in times]}
        out = using(
            videos=[frames],
            text=text,
            videos_kwargs={"do_sample_frames": False, "video_metadata": [metadata]},
            return_tensors="pt",
        )
        values, pooling = out["pixel_values_videos"], out["video_token_pooling"]
        grids = [[count * rows, cols, 0, 0] for count, rows, cols in out["video_grids"].tolist()]
    floats = values.numpy()
    made = Tensors(
        levels=np.rint(floats * 127.5 + 127.5).astype(np.uint8),
        pooling=pooling.numpy().astype(np.int64),
        grids=grids,
        ids=out["input_ids"][0].numpy(),
    )
    return made, floats


def differences(own: NDArray[np.uint8], theirs: NDArray[np.uint8]) -> str:
    """Where two sets of levels differ, in their flattened order: the gap to the place before (the first counted from
    -1), positive where theirs is one higher, negative where it is one lower.

    AssertionError for a difference of more than one level, or too many of them.
    """
    assert own.shape == theirs.shape
    delta = theirs.ravel().astype(np.int16) - own.ravel()
    places = np.flatnonzero(delta)
    assert np.abs(delta[places]).max(initial=0) <= 1
    assert len(places) <= MOST_DIFFERENT * delta.size
    return " ".join(str(gap) for gap in np.diff(places, prepend=-1) * delta[places])


def levels_digest(own: NDArray[np.uint8], differing: str) -> str:
    """Digest of the stock levels, from ours and the places where they differ."""
    gaps = np.array(differing.split(), dtype=np.int64)
    flat = own.ravel().copy()
    flat[np.abs(gaps).cumsum() - 1] += np.where(gaps > 0, 1, 255).astype(np.uint8)  # adding 255 takes one off
    return digest_bytes(flat.tobytes())


def reference(case: Case, using: Any) -> tuple[dict[str, Any], Tensors]:
    """What is stored of a case, and the row through our own path. AssertionError where the two are not the same."""
    theirs, floats = stock(case, using)
    assert np.array_equal(floats, LEVELS[theirs.levels]), "a value that is no level: the normalisation is another one"
    own = ours(case)
    assert own.fingerprints() == theirs.fingerprints()
    return {
        "media": digest_bytes(b"".join(medium.data for medium in case.row.media)),
        **theirs.fingerprints(),
        "levels": digest_bytes(theirs.levels.tobytes()),
        "differing": differences(own.levels, theirs.levels),
    }, own


def main() -> int:
    """Write the reference values."""
    torch.set_num_threads(1)
    using = processor()
    cases = {str(number): reference(make_case(number), using)[0] for number in range(COUNT)}
    origin = {
        "made": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": COMMAND,
        "versions": {name: version(name) for name in ("torch", "torchvision", "transformers", "pillow", "numpy")},
        "tokenizer": tokens().fingerprint,
    }
    write_document(FILE, SCHEMA, {"origin": origin, "cases": cases})
    return 0


if __name__ == "__main__":
    sys.exit(main())
