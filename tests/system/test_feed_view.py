"""`trackyard feed view` in a browser: pictures load, points lie where they are stored, nothing comes from elsewhere."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from tests.system.browser import chromium
from tests.system.repository import COMMIT, SOURCE, mini_rows, small_parameters, write_rows
from trackyard.cli import data, feed
from trackyard.recipes.molmo2.parameters import load_molmo2

ROOT = SOURCE
REAL = ROOT.parent / "shared" / "data" / "real"
MINI = {
    "pixmo-points": 12, "molmo2-multiimagepoint": 8, "molmo2-videotrack": 12, "molmo2-cap": 6, "vqa-v2": 8, "tulu": 4,
}  # fmt: skip
STORED = {
    "extreme_ironing.jpg": ("wheels of the car", [(0.25, 0.75), (0.6123, 0.5), (0.9, 0.1)]),
    "waterview.jpg": ("ends of the pier", [(0.5, 0.4)]),
    "123_456.jpg": ("eyes", [(0.9996, 0.0004), (0.6, 0.38)]),
}
"""Photo -> label and points; fractions of width and height."""
POINTED = """
dataset: pointed
licence: as the photos
sidecar: points.jsonl
media_root: photos
task: pointing
id: photo
media:
  - {field: photo, kind: image}
points: {field: where, unit: fraction}
label: what
"""
MEASURE = """
return [...document.querySelectorAll('.row')].map(row => ({
  dataset: row.dataset.dataset, id: row.querySelector('.name code').textContent,
  bad: row.querySelector('.bad')?.textContent ?? null,
  pictures: [...row.querySelectorAll('.picture')].map(figure => {
    const image = figure.querySelector('img'), box = image.getBoundingClientRect();
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    const context = canvas.getContext('2d', {willReadFrequently: true});
    context.drawImage(image, 0, 0);
    const colour = (x, y) => [...context.getImageData(Math.min(Math.floor(x * canvas.width), canvas.width - 1),
      Math.min(Math.floor(y * canvas.height), canvas.height - 1), 1, 1).data].slice(0, 3);
    return {width: box.width, height: box.height, natural: image.naturalWidth, caption: image.alt,
      points: [...figure.querySelectorAll('.point')].map(point => {
        const at = point.getBoundingClientRect();
        const x = (at.left - box.left) / box.width, y = (at.top - box.top) / box.height;
        return {x, y, stored: point.classList.contains('stored'), off: point.classList.contains('off'),
          id: point.dataset.id, over: colour(x, y), corner: colour(0, 0)};
      })};
  }),
  answers: [...row.querySelectorAll('.assistant')].map(block =>
    [...block.querySelectorAll('[data-w]')].map(token => [+token.dataset.w, getComputedStyle(token).backgroundColor])),
}));
"""

pytestmark = [pytest.mark.system, pytest.mark.browser]


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Headless Chromium that remembers what its console says."""
    with chromium(tmp_path_factory.mktemp("profile"), width=1400, height=1200) as started:
        yield started


def command(app: Any, *arguments: str, root: Path) -> str:
    """A command in `root`, in this process: the heavy imports are made once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("TRACKYARD_COMMIT", COMMIT)
        done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 0, f"{arguments}: {done.exception!r}\n{done.output}"
    return done.stdout


def opened(driver: Any, page: Path, name: str) -> list[dict[str, Any]]:
    """What the browser shows of every row, after proving that all of it came from the page. Leaves screenshots."""
    driver.get(page.resolve().as_uri())
    assert driver.execute_script(
        "return document.images.length > 0 && [...document.images].every(i => i.naturalWidth > 0)"
    )
    loaded = driver.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert [address for address in loaded if not address.startswith("data:")] == []
    assert driver.get_log("browser") == []
    for width in (1400, 420):
        driver.set_window_size(width, 1200)
        inner, content = driver.execute_script("return [innerWidth, document.documentElement.scrollWidth]")
        assert content <= inner, f"the page is {content} px wide in a window of {inner}"
        folder = os.environ.get("TRACKYARD_SCREENSHOTS", str(page.parent))
        driver.save_screenshot(str(Path(folder) / f"{name}-{width}.png"))
    driver.set_window_size(1400, 1200)
    return list(driver.execute_script(MEASURE))


def test_packs_of_a_plan(driver: Any, tmp_path: Path) -> None:
    parameters = small_parameters()
    # Stage 1 needs no model: with stage 2's mixture and budgets it shows the same kinds of rows.
    parameters["stage1"] |= {"mixture": {"kind": "sqrt"}, "max_tokens": 512, "input_weight": 30}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"molmo2": parameters}))
    rows = {name: mini_rows(name, "train", count) for name, count in MINI.items()}
    for name, found in rows.items():
        write_rows(tmp_path / "data" / "mini" / name, name, train=found)
    said = json.loads(command(feed.app, "view", "stage1", "--packs", "8", "--step", "1", "--json", root=tmp_path))
    assert (said["packs"], said["unusable"]) == (8, [])

    shown = opened(driver, tmp_path / "view.html", "packs")
    assert len(shown) == said["rows"]
    assert driver.execute_script("return document.querySelectorAll('.pack').length") == 8
    assert driver.execute_script("return document.querySelectorAll('.attention rect').length") >= said["rows"]
    points = 0
    for row in shown:
        source = next(item for item in rows[row["dataset"]] if item.id == row["id"])
        assert row["bad"] is None
        assert len(row["answers"]) == sum(len(turns) for turns in source.conversations) // 2
        for answer in row["answers"]:
            assert answer
            assert all(weight > 0 and colour != "rgba(0, 0, 0, 0)" for weight, colour in answer)
        if row["dataset"] == "molmo2-videotrack":
            assert [picture["caption"] for picture in row["pictures"]][:2] == ["0.0 s", "0.5 s"]
        for picture in row["pictures"]:
            for point in picture["points"]:
                assert not point["off"]
                # Whatever is pointed at is painted on light paper: its colour is not the corner's.
                assert max(abs(a - b) for a, b in zip(point["over"], point["corner"], strict=True)) > 40, (row, point)
                points += not point["stored"]
    assert points >= 10


@pytest.mark.skipif(not REAL.is_dir(), reason="the real inputs are not beside the repository (../shared/data/real)")
def test_real_photos_captions_questions_and_videos(driver: Any, tmp_path: Path) -> None:
    (tmp_path / "catalog").symlink_to(ROOT / "catalog")
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    real = load_molmo2(ROOT / "profiles" / "report.yaml")
    values["molmo2"]["geometry"] = real.geometry.model_dump()
    values["molmo2"]["stage2"] |= {"max_tokens": 16_384, "max_inputs": 128, "video": real.stage2.video.model_dump()}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    (tmp_path / "points.yaml").write_text(POINTED)
    lines = [
        {"photo": name, "what": label, "where": [{"x": x, "y": y} for x, y in points]}
        for name, (label, points) in STORED.items()
    ]
    (tmp_path / "points.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    examples = ROOT / "examples" / "import"
    for mapping in (
        *(examples / f"{name}.yaml" for name in ("photos", "mmmu_pro", "videos")),
        tmp_path / "points.yaml",
    ):
        command(data.app, "import", str(mapping), "--base", str(REAL), root=tmp_path)
    said = json.loads(
        command(
            feed.app, "view", "--snapshot", "data/own", "--rows", "12", "--out", "real.html", "--json", root=tmp_path
        )
    )
    assert (said["packs"], said["rows"], said["unusable"]) == (12, 12, [])

    shown = opened(driver, tmp_path / "real.html", "real")
    assert [row["dataset"] for row in shown] == [name for name in ("mmmu_pro", "photos", "pointed", "videos")
                                                 for _ in range(3)]  # fmt: skip
    for row in shown:
        assert row["pictures"]
        assert all(answer and all(weight > 0 for weight, _ in answer) for answer in row["answers"])
    for row in (row for row in shown if row["dataset"] == "pointed"):
        (picture,) = row["pictures"]
        expected = sorted(STORED[row["id"]][1])
        for kind in (False, True):
            found = sorted((point["x"], point["y"]) for point in picture["points"] if point["stored"] is kind)
            assert len(found) == len(expected)
            # What is taught is rounded to thousandths; one pixel on the page is more.
            for (x, y), (known_x, known_y) in zip(found, expected, strict=True):
                assert abs(x - known_x) * picture["width"] <= 1.0
                assert abs(y - known_y) * picture["height"] <= 1.0
        assert not any(point["off"] for point in picture["points"])
    nasa = next(row for row in shown if row["id"] == "nasa_13013.mp4")
    assert [picture["caption"] for picture in nasa["pictures"]] == [f"{k / 2:.1f} s" for k in range(27)] + ["13.0 s"]

    # Negative controls: a foreign address is refused by the page's own policy and seen on the console; a point that is
    # moved is measured elsewhere.
    driver.execute_script(
        "const foreign = new Image(); foreign.src = 'http://127.0.0.1:9/x.png'; document.body.append(foreign);"
        "document.querySelector('.point').style.left = '3%'"
    )
    assert any("Content Security Policy" in line["message"] for line in driver.get_log("browser"))
    moved = next(row for row in driver.execute_script(MEASURE) if row["dataset"] == "pointed")
    first = moved["pictures"][0]["points"][0]
    assert all(abs(first["x"] - x) > 0.02 for x, _ in STORED[moved["id"]][1])
