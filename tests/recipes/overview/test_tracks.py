"""Each track's part of the report has the numbers of its artifacts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.recipes.overview.made_tracks import CHANCE, COUNTING, EXAMPLES, MADE_TASK, SEEDS, make_molmo2
from tests.recipes.pile_ffn.made_results import NLL
from trackyard.errors import ConfigError, DataError
from trackyard.publish.measured import share
from trackyard.recipes.datacomp.report.comparing import SUMMARY
from trackyard.recipes.datacomp.results import read_result
from trackyard.recipes.overview import datacomp, molmo2, nine, pile_ffn
from trackyard.recipes.overview.blocks import Block, Caveat, Folded, Section, Table
from trackyard.recipes.overview.tracks import ALL, READERS, present, require
from trackyard.recipes.pile_ffn.results import read_result as read_pile_ffn
from trackyard.recipes.reporting.grid import Grid
from trackyard.record.metrics_file import read_metrics, write_metrics
from trackyard.sealed import write_sealed


def grids(section: Section) -> dict[str, Grid]:
    """All tables of a section, by their titles."""

    def inside(blocks: tuple[Block, ...]) -> list[Grid]:
        found = []
        for block in blocks:
            found += [block.grid] if isinstance(block, Table) else []
            found += inside(block.blocks) if isinstance(block, Folded) else []
        return found

    found = {grid.title: grid for grid in inside(section.blocks)}
    for part in section.parts:
        found |= grids(part)
    return found


def test_molmo2(made: Path) -> None:
    found = molmo2.gather(made)
    table = {row[0]: row[1:] for row in grids(found.section)["stages of Molmo2, from start to trained"].rows}
    assert table["counting, accuracy"] == tuple(f"12.5% to {value:.1%}" for value in COUNTING.values())
    assert table["counting, accuracy, by chance (examples)"] == (f"{CHANCE:.1%} ({EXAMPLES})",) * 3
    assert table["skipped steps"] == ("0", "1", "0")
    assert found.headlines[0].value == "62.5%"
    assert found.headlines[0].interval == "50.3% to 73.3%", "Wilson's, of 40 of 64"
    assert "12.5% at the start of the stage, 20.0% by chance" in found.headlines[0].against
    assert found.made_data == "2 of 2 data sets"
    assert [model.drawn for model in found.models] == [False, False, True]
    entries = grids(found.section)["stage1: entries of the mixture"]
    shares = [float(row[3].rstrip("%")) for row in entries.rows]
    assert sum(shares) == pytest.approx(100, abs=0.02)


@pytest.mark.parametrize(
    ("value", "examples", "words"),
    [
        (0.625, 64, "above chance"),
        (0.21875, 64, "not told apart from chance"),
        (0.1875, 64, "not above chance"),
        (0.3, 64, "above chance, by how much beyond luck is not known"),
    ],
)
def test_what_a_score_says_beside_chance_is_by_its_interval(value: float, examples: int, words: str) -> None:
    """0.3 of 64 examples is no count of right answers: a mean of other scores, which has no interval here."""
    assert molmo2.beside_chance(share("score", value, examples, "examples"), CHANCE) == words


def test_pile_ffn(made: Path) -> None:
    found = pile_ffn.gather(made)
    titles = grids(found.section)
    quality = next(grid for title, grid in titles.items() if title.startswith("perplexity on held-out"))
    assert [row[0] for row in quality.rows] == list(NLL)
    assert quality.rows[1][3] == "6.69 6.75", "seeds in the order in which they are declared"
    by_what = {line.what: line for line in found.headlines}
    rise = by_what["nonneg_mlp_both: rise under HotFlip greedy, nats per token"]
    assert rise.value == "+0.105"
    body = read_pile_ffn(made / "artifacts" / "pile_ffn" / "results" / pile_ffn.SUMMARY, pile_ffn.STAGE).body
    ends = {row["arm"]: row["attacks"]["hotflip_greedy"]["ci95"] for row in body["table"]}["nonneg_mlp_both"]
    assert rise.interval == f"{ends['low']:+.3f} to {ends['high']:+.3f}"
    assert rise.against == "baseline +0.405"
    assert rise.says == "no claim: one condition is not met"
    assert found.tokens == {"train": "10,000"}
    assert found.made_data == f"the model, the text, the items of {MADE_TASK}"
    assert "init" in {time.stage for time in found.origin.times}
    assert "train" not in {time.stage for time in found.origin.times}, "training is told by its runs"
    assert len(found.models) == 5 * len(SEEDS)


def test_datacomp(made: Path) -> None:
    found = datacomp.gather(made)
    body = read_result(made / "artifacts" / "datacomp" / "results" / SUMMARY, "compare").body
    world = {row["set"]: row for row in body["table"] if row["arm"] == "world"}
    values = {line.what.partition(":")[0]: line for line in found.headlines}
    assert values["VSR"].value == f"{world['vsr']['score']:.3f}"
    low, high = world["captions"]["ci95"]
    assert values["captions"].interval == f"{low:.3f} to {high:.3f}"
    assert found.made_data == "tiny-gemma3@made, tiny-wan-vae@made, the pictures, the questions"
    assert found.models[0].name == "datacomp world-1337"
    assert found.models[0].drawn


def test_nine(made: Path) -> None:
    found = nine.gather(made)
    overview = next(grid for title, grid in grids(found.section).items() if title.startswith("accuracy [95 %]"))
    body = nine.read_result(made / "artifacts" / "nine" / "results" / "result.json", "compare").body
    for row, (name, numbers) in zip(overview.rows, body["data_sets"].items(), strict=True):
        metric = row[1]
        assert row[2].startswith(f"{numbers[metric]:.3f} ["), name
        assert row[3] == f"{numbers['best_ms']:.1f}"
        assert row[6] == f"{numbers['fastest_as_good_ms']:.1f}"
        assert row[7] == f"{1 - numbers['fastest_as_good_ms'] / numbers['best_ms']:.0%}"
        assert row[8] == f"{numbers[f'fastest_{metric}']:.3f}"
        assert row[9] == f"{numbers['fastest_ms']:.1f}"
        assert row[10] == f"{numbers['on_frontier']} of {numbers['configurations']}"
    assert {time.stage for time in found.origin.times} == {*nine.STAGES, "compare"}
    assert found.made_data == "the questions", "the model is named, and not made"


def test_stages_that_are_not_there_are_said(tmp_path: Path) -> None:
    make_molmo2(tmp_path, ["stage1"])
    assert present(tmp_path)[0] == ["molmo2"]
    assert ("molmo2 stage2 and stage3", "dvc repro stage3") in present(tmp_path)[1]
    told = [block.words for block in molmo2.gather(tmp_path).section.blocks if isinstance(block, Caveat)]
    assert told == ["Not there yet: stage2, stage3. Run `dvc repro stage3`."]
    with pytest.raises(DataError, match="the results of molmo2 stage2 and stage3 are not in") as error:
        require(tmp_path, ALL)
    assert error.value.fix.startswith("dvc repro stage3")


def test_a_run_that_is_elsewhere_is_named(tmp_path: Path) -> None:
    make_molmo2(tmp_path, ["stage1"])
    shutil.rmtree(tmp_path / "runs")
    with pytest.raises(DataError, match=r"runs/molmo2/stage1/[0-9a-f]{12} is not on this machine"):
        molmo2.gather(tmp_path)


def test_numbers_of_another_run_than_the_export_are_refused(tmp_path: Path) -> None:
    make_molmo2(tmp_path, ["stage1"])
    path = tmp_path / "artifacts" / "molmo2" / "stage1" / "metrics.json"
    found = read_metrics(path)
    write_metrics(path, {"stage1": found["stage1"] | {"validation/loss": 0.25}})
    with pytest.raises(DataError, match=r"has a validation loss of 0\.25, the run of the export 0\.5"):
        molmo2.gather(tmp_path)


def copied(made: Path, root: Path, track: str) -> Path:
    """A repository with one track, that may be written into."""
    shutil.copytree(made / "artifacts" / track, root / "artifacts" / track)
    for name in ("tasks", "catalog"):
        (root / name).symlink_to(made / name)
    return root / "artifacts" / track


@pytest.mark.parametrize("track", ["nine", "pile_ffn", "datacomp"])
def test_a_stage_that_ran_again_without_its_tables_is_refused(made: Path, tmp_path: Path, track: str) -> None:
    """Each document is whole and sealed; together they are of two runs."""
    artifacts = copied(made, tmp_path, track)
    READERS[track].gather(tmp_path)
    summary = next(path for name in ("summary.json", "result.json") for path in (artifacts / "results").glob(name))
    inputs = json.loads(summary.read_bytes())["header"]["inputs"]
    path = tmp_path / sorted(inputs)[0]
    document = json.loads(path.read_bytes())
    schema = document.pop("schema")
    del document["digest"]
    document["header"]["wall_s"] += 1.0
    write_sealed(path, schema, document)
    with pytest.raises(DataError, match="the tables were made from") as error:
        READERS[track].gather(tmp_path)
    assert error.value.fix == f"dvc repro pipelines/{track}/dvc.yaml"


def test_whether_the_nine_are_made_is_known_or_nothing_is_said(made: Path, tmp_path: Path) -> None:
    artifacts = copied(made, tmp_path, "nine")
    (artifacts / "data" / "result.json").rename(tmp_path / "kept.json")
    with pytest.raises(DataError, match="does not exist"):
        nine.gather(tmp_path)
    (tmp_path / "kept.json").rename(artifacts / "data" / "result.json")
    declared = artifacts / "parameters" / "compare.json"
    declared.write_text(declared.read_text().replace('"seed": 0', '"seed": 1'))
    with pytest.raises(DataError, match="of other parameters than the tables"):
        nine.gather(tmp_path)


def test_no_track_of_that_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no track 'molmo3'"):
        require(tmp_path, ["molmo3"])


def test_names_that_are_repeated_so_that_torch_is_not_imported() -> None:
    from trackyard.recipes.datacomp.report import comparing
    from trackyard.recipes.molmo2 import stage
    from trackyard.recipes.pile_ffn.report import aggregating

    assert (datacomp.STAGE, datacomp.SUMMARY) == (comparing.STAGE, comparing.SUMMARY)
    assert (pile_ffn.STAGE, pile_ffn.SUMMARY) == (aggregating.STAGE, aggregating.SUMMARY)
    assert stage.RESULT_SCHEMA == molmo2.RESULT
    from trackyard.recipes.pile_ffn.measures import benchmarks

    assert pile_ffn.BENCHMARKS == benchmarks.STAGE
