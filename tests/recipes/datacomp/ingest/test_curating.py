"""Of the pictures that came: none twice, none of a benchmark, all described, and every row with one outcome."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.recipes.datacomp.mini_parameters import changed
from trackyard.digest import digest_bytes
from trackyard.errors import DataError
from trackyard.recipes.datacomp.evaluating.items import Item, write_items
from trackyard.recipes.datacomp.ingest.blocks import block_directory
from trackyard.recipes.datacomp.ingest.curating import ROWS_FILE, curate
from trackyard.recipes.datacomp.ingest.downloading import download
from trackyard.recipes.datacomp.ingest.metadata import metadata
from trackyard.recipes.datacomp.ingest.samples import Sample, Samples
from trackyard.recipes.datacomp.ingest.selecting import select
from trackyard.recipes.datacomp.results import read_result, write_result
from trackyard.recipes.datacomp.scenes import jpeg, scene
from trackyard.recipes.datacomp.study import Study
from trackyard.record.code import CodeIdentity

ROWS, SAMPLES = 128, 60
"""With two empty captions among the good ones, and a copy of a picture."""
OVERLAPPING = 5
"""Number of a row whose picture is in a benchmark too."""
QUIET = lambda line: None  # noqa: E731


def study_at(root: Path, **values: object) -> Study:
    changes = {
        "data.source.mini_rows": ROWS,
        "data.samples": SAMPLES,
        "data.block_rows": 96,
        "data.images.urls_per_shard": 32,
        "evaluation.sets": ["blink"],
        **{name.replace("__", "."): value for name, value in values.items()},
    }
    made = Study(root=root, parameters=changed(changes))
    made.__dict__["code"] = CodeIdentity(commit="c" * 40, dirty_digest=None)
    return made


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    made = study_at(tmp_path_factory.mktemp("study"))
    metadata(made, QUIET)
    select(made, QUIET)
    download(made, None, QUIET)
    of = scene(made.parameters.data.source.seed, OVERLAPPING)
    items = [
        Item(
            id="0", task="t", images=(jpeg(of, 120),), undrawn=(jpeg(of),), question="?", options=("(A)", "(B)"),
            gold="(A)", meta={},
        )
    ]  # fmt: skip
    write_items(made.items("blink"), iter(items), refuse=lambda item: None)
    curate(made, QUIET)
    return made


def rows_of(study: Study) -> list[dict[str, object]]:
    return pq.read_table(study.curated.with_name(ROWS_FILE)).to_pylist()


def test_every_row_has_one_outcome_and_their_sum_is_the_download(study: Study) -> None:
    body = read_result(study.document("curate"), "curate").body
    account = read_result(study.document("download"), "download").body
    rows = rows_of(study)
    assert len({row["uid"] for row in rows}) == len(rows) == account["rows"] == body["attempted"] == ROWS
    assert Counter(row["outcome"] for row in rows) == Counter(body["outcomes"])
    assert sum(body["outcomes"].values()) == ROWS
    assert body["outcomes"]["ok"] == body["kept"] + body["surplus"]
    assert sum(row["kept"] for row in rows) == body["kept"] == SAMPLES
    for cause, number in account["causes"].items():
        assert body["outcomes"][cause] >= number if cause != "duplicate" else True


def test_what_is_removed_is_counted_by_cause(study: Study) -> None:
    removed = read_result(study.document("curate"), "curate").body["removed"]
    assert removed["empty_caption"] >= 1
    assert removed["duplicate"] >= 1
    assert removed["eval_overlap"] >= 1
    assert list(removed) == sorted(removed)


def test_samples_are_the_first_in_keyed_order(study: Study) -> None:
    rows, samples = rows_of(study), Samples.open(study)
    selected = pq.read_table(study.selected).to_pydict()
    assert [row["uid"] for row in rows] == selected["uid"][: len(rows)]
    assert [sample.uid for sample in samples] == [row["uid"] for row in rows if row["outcome"] == "ok"][:SAMPLES]
    assert len(samples) == SAMPLES
    last = [row["uid"] for row in rows].index(samples[SAMPLES - 1].uid)
    assert not any(row["kept"] for row in rows[last + 1 :])


def test_each_sample_has_its_own_picture_and_caption(study: Study) -> None:
    samples = Samples.open(study)
    texts = dict(zip(*pq.read_table(study.selected, columns=["uid", "text"]).to_pydict().values(), strict=True))
    for index, sample in enumerate(samples):
        assert digest_bytes(samples.image_bytes(index)) == sample.image
        assert sample.caption == texts[sample.uid].strip() != ""
    assert len({sample.image for sample in samples}) == SAMPLES
    with pytest.raises(IndexError):
        samples[SAMPLES]
    with pytest.raises(IndexError):
        samples[-1]


def test_a_picture_of_a_benchmark_is_in_no_sample(study: Study) -> None:
    name = f"/{OVERLAPPING}."
    selected = pq.read_table(study.selected).to_pylist()
    uid = next(row["uid"] for row in selected if name in row["url"])
    assert next(row for row in rows_of(study) if row["uid"] == uid)["outcome"] == "eval_overlap"


def test_the_same_pictures_give_the_same_list(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    before = study.curated.read_bytes()
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0})
    curate(study, QUIET)
    assert study.curated.read_bytes() == before


def test_the_copy_that_is_removed_is_the_later_row(study: Study) -> None:
    """Whichever a fetch stored: a copy is found by its pixels, in keyed order."""
    selected = pq.read_table(study.selected).to_pylist()
    copies = [row for row in selected if "/copy/" in row["url"]]
    outcomes = {row["uid"]: row["outcome"] for row in rows_of(study)}
    for copy in copies:
        number = int(copy["url"].rpartition("/")[2].partition(".")[0])
        original = next(row for row in selected if f"/ok/{number - 1}." in row["url"])
        first, second = sorted((copy, original), key=selected.index)
        assert (outcomes[first["uid"]], outcomes[second["uid"]]) == ("ok", "duplicate")
    assert copies


def test_too_few_samples_are_an_error_that_says_how_many_and_what_to_do(study: Study) -> None:
    more = study_at(study.root, data__samples=120)
    before = study.curated.read_bytes()
    with pytest.raises(DataError) as caught:
        curate(more, QUIET)
    kept = read_result(study.document("curate"), "curate").body["outcomes"]["ok"]
    assert caught.value.what.startswith(f"{kept} samples where 120 are wanted; of {ROWS} rows:")
    assert f"set datacomp.data.samples to at most {kept}" in caught.value.fix
    assert study.curated.read_bytes() == before
    assert sorted(path.name for path in study.curated.parent.iterdir()) == ["result.json", ROWS_FILE, "samples.parquet"]


def test_an_account_that_does_not_agree_is_refused(study: Study, tmp_path: Path) -> None:
    document = study.document("download")
    said, kept = read_result(document, "download"), document.read_bytes()
    try:
        write_result(document, "download", said.header, {**said.body, "rows": said.body["rows"] + 1})
        with pytest.raises(DataError, match="every row has exactly one outcome"):
            curate(study, QUIET)
        write_result(document, "download", said.header, {**said.body, "aborted": "acceptance 1.0%"})
        with pytest.raises(DataError, match=r"the download was stopped: acceptance 1\.0%"):
            curate(study, QUIET)
        lost = {**said.body["causes"], "dns": said.body["causes"]["dns"] + 1}
        write_result(document, "download", said.header, {**said.body, "causes": lost})
        with pytest.raises(DataError, match="a picture that was never there"):
            curate(study, QUIET)
    finally:
        document.write_bytes(kept)


def test_other_rows_than_were_fetched_are_refused(study: Study) -> None:
    kept = study.selected.read_bytes()
    table = pq.read_table(study.selected)
    try:
        pq.write_table(table.slice(1), study.selected, row_group_size=96)
        with pytest.raises(DataError):
            curate(study, QUIET)
    finally:
        study.selected.write_bytes(kept)


def test_a_block_that_was_fetched_anew_is_noticed(study: Study) -> None:
    kept = study.curated.read_bytes()
    try:
        table = pq.read_table(study.curated)
        names = table.column("image").to_pylist()
        changed_names = pa.array([names[1], names[0], *names[2:]])
        pq.write_table(table.set_column(3, "image", changed_names), study.curated)
        with pytest.raises(DataError, match=r"block-00000 holds one with blake3 [0-9a-f]{64}, not the picture"):
            Samples.open(study).image_bytes(0)
    finally:
        study.curated.write_bytes(kept)


@pytest.mark.parametrize("harm", ["absent", "cut", "columns"])
def test_a_list_that_cannot_be_used_is_named(study: Study, tmp_path: Path, harm: str) -> None:
    elsewhere = study_at(tmp_path)
    elsewhere.curated.parent.mkdir(parents=True)
    if harm == "cut":
        elsewhere.curated.write_bytes(study.curated.read_bytes()[:-9])
    if harm == "columns":
        pq.write_table(pq.read_table(study.curated).drop_columns(["block"]), elsewhere.curated)
    with pytest.raises(DataError) as caught:
        Samples.open(elsewhere)
    assert str(elsewhere.curated) in caught.value.what
    assert "curate" in caught.value.fix


def test_a_sample_is_what_the_table_says(study: Study) -> None:
    row = pq.read_table(study.curated).to_pylist()[7]
    assert Samples.open(study)[7] == Sample(**row)
    assert block_directory(study, row["block"]).is_dir()
