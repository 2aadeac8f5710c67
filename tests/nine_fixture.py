"""The nine datasets in miniature, in the layouts of the real ones: `datasets` caches whose rows store absolute paths of
the machine that built them, embedded images, ST-VQA's JSON, raw folders, and everything around that must stay behind.

`build(path)` makes a tree and says, independently of the code under test, which files belong to the closure.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from trackyard.acquire.staging.roots import Roots
from trackyard.catalog.entries import Entry
from trackyard.recipes.nine.fixture import caches

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
HASH = caches.FINGERPRINT
write_arrow = caches.write_arrow
VAL = [f"COCO_val2014_{number:012d}.jpg" for number in range(1, 7)]
TRAIN = [f"COCO_train2014_{number:012d}.jpg" for number in range(1, 4)]
SAMPLES = {
    "coco_2014_vqa": 12,  # questions of 6 images
    "text_vqa": 5,
    "okvqa": 4,
    "science_qa_img": 4,  # of 6 rows, those with an image
    "st_qa": 4,
    "doc_qa": 5,
    "tally_qa": 8,
    "mmmu": 6,
    "coco_caption": 6,
}


def picture(seed: int, kind: str = "JPEG", size: tuple[int, int] = (24, 16)) -> bytes:
    """An encoded image that no other seed gives."""
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, kind)
    return sink.getvalue()


@dataclass
class NineTree:
    """closure: files that the needed splits take, of entries and raw folders. excluded: files that must stay."""

    root: Path
    roots: Roots
    entries: tuple[Entry, ...]
    closure: set[Path] = field(default_factory=set)
    references: dict[str, list[Path]] = field(default_factory=dict)
    excluded: set[Path] = field(default_factory=set)

    def entry(self, name: str) -> Entry:
        return next(entry for entry in self.entries if entry.name == name)

    def state(self) -> dict[str, tuple[int, int, bytes]]:
        """Everything in the tree: size, time and bytes, to show that nothing changed."""
        return {
            str(path.relative_to(self.root)): (path.stat().st_size, path.stat().st_mtime_ns, path.read_bytes())
            for path in sorted(self.root.rglob("*"))
            if path.is_file()
        }


def entries(samples: dict[str, int] | None = None) -> tuple[Entry, ...]:
    """Catalogue entries of the miniature."""
    samples = samples or SAMPLES

    def nine(name: str, cache: str | None, split: str, metric: str, **more: Any) -> Entry:
        facts: dict[str, Any] = {"split": split, "metric": metric, "samples": samples[name], "cache": cache}
        for key in ("cache_bytes", "in_manual_list", "raw"):
            if key in more:
                facts[key] = more.pop(key)
        return _entry(name, ["nine"], nine=facts, tracks=["nine"], **more)

    return (
        nine("coco_2014_vqa", "vqa_v2", "validation", "vqa", cache_bytes=152_000_000, in_manual_list=True,
             raw=["downloads/val2014"], needs=["coco-val2014"]),
        nine("text_vqa", "facebook___textvqa", "validation", "vqa", cache_bytes=27_000_000, in_manual_list=True),
        nine("okvqa", "HuggingFaceM4___ok-vqa", "validation", "vqa", cache_bytes=10_000_000),
        nine("science_qa_img", "derek-thomas___science_qa", "validation", "mc", cache_bytes=672_000_000),
        nine("st_qa", None, "validation", "anls", raw=["scene-text"], needs=["scene-text"], access="manual",
             manual={"page": "https://example.org", "steps": ["ask"], "layout": ["train_task_3.json"]}),
        nine("doc_qa", "HuggingFaceM4___document_vqa", "validation", "anls", cache_bytes=34_000_000_000),
        nine("tally_qa", "tally_qa", "test", "em", cache_bytes=56_000_000, in_manual_list=True,
             raw=["downloads/train2014", "downloads/val2014"],
             needs=["coco-train2014", "coco-val2014", "visual-genome"]),
        nine("mmmu", "MMMU___mmmu", "validation", "mmmu", cache_bytes=3_500_000_000),
        nine("coco_caption", "coco_caption", "validation", "cider", cache_bytes=57_000_000, in_manual_list=True,
             raw=["downloads/val2014"], needs=["coco-val2014"]),
        _media("coco-val2014", "downloads/val2014", 6, 20_000_000_000, 6_300_000_000, 40_504),
        _media("coco-train2014", "downloads/train2014", 3, 41_000_000_000, 13_000_000_000, 82_783),
        _entry("visual-genome", ["media"], expected={"bytes": [15_000_000_000, "public", "about"]}),
        _entry("scene-text", ["media"], access="manual",
               manual={"page": "https://example.org", "steps": ["ask"], "layout": ["train_task_3.json"]}),
    )  # fmt: skip


def _entry(name: str, roles: list[str], **more: Any) -> Entry:
    values = {"name": name, "title": name, "roles": roles, "group": "nine", "media": "image", "access": "auto"}
    return Entry.model_validate(values | {"recipe": {"kind": "none"}} | more)


def _media(name: str, alias: str, images: int, stated: int, public: int, files: int) -> Entry:
    return _entry(
        name,
        ["media"],
        aliases=[alias],
        expected={
            "visual": [images, "stated", "fixture"],
            "bytes": [public, "public", "fixture"],
            "files": [files, "public", "fixture"],
        },
        founding={"bytes": stated, "block_bytes": 524_288},
    )


def build(root: Path) -> NineTree:
    """Make the tree below `root`, as `Roots.below` expects it."""
    roots = Roots.below(root)
    tree = NineTree(root, roots, entries())
    extracted = roots.caches / "downloads/extracted"
    folders = {name: extracted / sha256(name.encode()).hexdigest() for name in ("val", "train", "vg", "vg2", "text")}
    val = _images(folders["val"] / "val2014", [f"COCO_val2014_{number:012d}.jpg" for number in range(1, 7)], 100)
    train = _images(
        folders["train"] / "train2014", [f"COCO_train2014_{number:012d}.jpg" for number in range(1, 4)], 200
    )
    vg = _images(folders["vg"] / "VG_100K", ["1.jpg", "2.jpg"], 300) + _images(
        folders["vg2"] / "VG_100K_2", ["3.jpg"], 310
    )
    text = _images(folders["text"] / "train_images", [f"{number:04x}.jpg" for number in range(5)], 400)
    okvqa = _images(roots.molmo / "elsewhere", [f"ok {number}.PNG" for number in range(4)], 500, "PNG")
    _coco(tree, val)
    _tally(tree, [*train, *val[:2], *vg])
    _text(tree, text)
    _okvqa(tree, okvqa)
    _embedded(tree)
    _scene_text(tree)
    _raw(tree)
    _around(tree)
    for paths in tree.references.values():
        tree.closure |= set(paths)
    return tree


def write_cache(
    tree: NineTree,
    cache: str,
    config: str,
    splits: Mapping[str, Sequence[Any]],
    needed: str,
    *,
    builder: str | None = None,
    version: str = "0.0.0",
) -> Path:
    """Write one configuration as `load_dataset` leaves it. splits: name -> tables, a file each."""
    folder, files = caches.write_cache(tree.roots.caches, cache, config, splits, builder=builder, version=version)
    for split, paths in files.items():
        (tree.closure if split == needed else tree.excluded).update(paths)
    tree.closure.add(folder / "dataset_info.json")
    return folder


def features(**columns: Any) -> dict[bytes, bytes]:
    """The schema metadata that tells `datasets` its features."""
    return {b"huggingface": json.dumps({"info": {"features": columns}}).encode()}


TEXT = {"dtype": "string", "_type": "Value"}


def _images(folder: Path, names: Iterable[str], seed: int, kind: str = "JPEG") -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name for name in names]
    for number, path in enumerate(paths):
        path.write_bytes(picture(seed + number, kind))
    return paths


def _pointers(paths: Iterable[Path]) -> list[dict[str, Any]]:
    return [{"bytes": None, "path": str(path)} for path in paths]


def _coco(tree: NineTree, val: list[Path]) -> None:
    message = pa.struct([("question", pa.string()), ("answers", pa.list_(pa.string())), ("question_id", pa.int64())])
    vqa = pa.schema(
        [("messages", pa.list_(message)), ("image_id", pa.int64()), ("image", pa.string())],
        metadata=features(
            messages={"feature": {"question": TEXT, "answers": {"feature": TEXT, "_type": "List"}}, "_type": "List"},
            image_id={"dtype": "int64", "_type": "Value"},
            image=TEXT,
        ),
    )
    rows = [
        {
            "messages": [
                {"question": f"what {n}.{k}?", "answers": ["a", "see /x.jpg"], "question_id": n * 10 + k}
                for k in range(1 + number % 3)
            ],
            "image_id": n,
            "image": str(path),
        }
        for number, (n, path) in enumerate(zip(range(1, 7), val, strict=True))
    ]
    other = [{"messages": [], "image_id": 99, "image": str(val[0].parent.parent / "val2014" / "unused.jpg")}]
    tables = {"train": [pa.Table.from_pylist(other, vqa)], "validation": [pa.Table.from_pylist(rows, vqa)]}
    write_cache(tree, "vqa_v2", "default", tables, "validation", version="1.0.0")
    tree.references["coco_2014_vqa"] = val
    caption = pa.schema([("image_id", pa.int64()), ("image", pa.string()), ("captions", pa.list_(pa.string()))])
    captions = [{"image_id": n, "image": str(path), "captions": ["one", "two"]} for n, path in enumerate(val)]
    write_cache(
        tree, "coco_caption", "default", {"validation": [pa.Table.from_pylist(captions, caption)]}, "validation"
    )
    tree.references["coco_caption"] = val


def _tally(tree: NineTree, paths: list[Path]) -> None:
    questions = pa.struct([("answer", pa.list_(pa.int32())), ("question", pa.list_(pa.string()))])
    schema = pa.schema([("image", IMAGE), ("image/filename", pa.string()), ("questions", questions)])
    rows = [
        {
            "image": pointer,
            "image/filename": "VG_100K/1.jpg",
            "questions": {"answer": [1, 2][: 1 + n % 2], "question": ["how many", "and"][: 1 + n % 2]},
        }
        for n, pointer in enumerate(_pointers(paths))
    ]
    write_cache(tree, "tally_qa", "default", {"test": [pa.Table.from_pylist(rows, schema)]}, "test")
    tree.references["tally_qa"] = paths


def _text(tree: NineTree, paths: list[Path]) -> None:
    schema = pa.schema([("image", IMAGE), ("flickr_original_url", pa.string()), ("question", pa.string())])
    rows = [
        {"image": pointer, "flickr_original_url": "https://example.org/a.jpg", "question": f"text {n}?"}
        for n, pointer in enumerate(_pointers(paths))
    ]
    tables = [pa.Table.from_pylist(rows[:3], schema), pa.Table.from_pylist(rows[3:], schema)]
    write_cache(tree, "facebook___textvqa", "textvqa", {"validation": tables}, "validation")
    tree.references["text_vqa"] = paths


def _okvqa(tree: NineTree, paths: list[Path]) -> None:
    schema = pa.schema([("image", IMAGE), ("raw_answer", pa.string())])
    rows = [{"image": pointer, "raw_answer": "yes"} for pointer in _pointers(paths)]
    build_folder = write_cache(
        tree, "HuggingFaceM4___ok-vqa", "default", {"validation": [pa.Table.from_pylist(rows, schema)]}, "validation"
    )
    tree.references["okvqa"] = paths
    map_cache = build_folder / "cache-0123456789abcdef.arrow"
    map_cache.write_bytes(b"of a map")
    tree.excluded.add(map_cache)


def _embedded(tree: NineTree) -> None:
    schema = pa.schema(
        [("image", IMAGE), ("question", pa.string())], metadata=features(image={"_type": "Image"}, question=TEXT)
    )
    science = [
        {"image": {"bytes": picture(600 + n, "PNG"), "path": "image.png"} if n % 3 else None, "question": f"s {n}?"}
        for n in range(6)
    ]
    write_cache(
        tree, "derek-thomas___science_qa", "default",
        {"validation": [pa.Table.from_pylist(science, schema)], "test": [pa.Table.from_pylist(science[:1], schema)]},
        "validation",
    )  # fmt: skip
    doc = [{"image": {"bytes": picture(700 + n, size=(60, 80)), "path": None}, "question": f"d {n}?"} for n in range(5)]
    tables = [pa.Table.from_pylist(doc[:2], schema), pa.Table.from_pylist(doc[2:], schema)]
    write_cache(tree, "HuggingFaceM4___document_vqa", "default", {"validation": tables}, "validation")
    for number, config in enumerate(("Accounting", "Art", "Biology")):
        mmmu = pa.schema([("id", pa.string()), ("image_1", IMAGE), ("image_2", IMAGE)])
        rows = [
            {
                "id": f"validation_{config}_{n}",
                "image_1": {"bytes": picture(800 + 10 * number + n, "PNG"), "path": None},
                "image_2": {"bytes": picture(900 + 10 * number + n, "PNG"), "path": None} if n else None,
            }
            for n in range(2)
        ]
        write_cache(tree, "MMMU___mmmu", config, {"validation": [pa.Table.from_pylist(rows, mmmu)]}, "validation")


def _scene_text(tree: NineTree) -> None:
    folder = tree.roots.raw / "scene-text"
    names = [f"{'coco-text' if n % 2 else 'icdar'}/{n}.jpg" for n in range(7)]
    for n, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture(1000 + n))
    questions = [
        {"question_id": 50 - n, "question": f"sign {n}?", "answers": ["stop"], "file_path": names[n % 7]}
        for n in range(10)
    ]
    path = folder / "train_task_3.json"
    path.write_text(json.dumps({"task": 3, "data": questions}))
    tree.closure.add(path)
    order = sorted(questions, key=lambda question: int(str(question["question_id"])))
    np.random.RandomState(63069).shuffle(order)  # type: ignore[arg-type]
    needed = [folder / str(question["file_path"]) for question in order[:4]]
    tree.references["st_qa"] = needed
    tree.excluded |= {folder / name for name in names} - set(needed)
    test = folder / "test_task_3.json"
    test.write_text("{}")
    tree.excluded.add(test)


def _raw(tree: NineTree) -> None:
    downloads = tree.roots.raw / "downloads"
    val = _images(downloads / "val2014", VAL, 100)
    train = _images(downloads / "train2014", TRAIN, 200)
    tree.closure |= {*val, *train}
    tree.excluded |= set(_images(downloads / "test2015", ["COCO_test2015_000000000001.jpg"], 1100))


def _around(tree: NineTree) -> None:
    caches, raw = tree.roots.caches, tree.roots.raw
    for path in (
        raw / "downloads/val2014.zip",
        raw / "downloads/v2_Questions_Val_mscoco.zip",
        raw / "pixmo_datasets/cap/data.bin",
        raw / "info_qa/1.png",
        caches / "other___set/default/0.0.0/x/set-train.arrow",
        caches / "_home_someone_datasets_vqa_v2_default.lock",
        caches / f"vqa_v2/default/1.0.0/{HASH}_builder.lock",
        caches / f"tally_qa/default/0.0.0/{HASH}.incomplete/tally_qa-test.arrow",
        caches / f"tally_qa/default/0.0.0/{HASH}.incomplete/dataset_info.json",
        caches / "downloads/2d3f6a",
        caches / "downloads/2d3f6a.json",
        caches / "downloads/77aa.incomplete",
        caches / "downloads/extracted/ffff/annotations/captions.json",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not needed")
        tree.excluded.add(path)
