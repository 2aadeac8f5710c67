"""Plans are pure functions: equal bytes on rebuild, each drawn row once, budgets kept, any world size alike."""

from __future__ import annotations

import errno
import fcntl
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trackyard.errors import ConfigError, DataError, EnvironmentLacking
from trackyard.exclusive import LOCKS_VARIABLE
from trackyard.plan import build
from trackyard.plan.build import LOCK, DatasetInput, PlanInputs, build_plan
from trackyard.plan.compose import compose
from trackyard.plan.mixture import MixtureParameters
from trackyard.plan.packing import Budget
from trackyard.plan.plan import ARRAYS, DOCUMENT, Plan

BUDGET = Budget(tokens=2048, inputs=16)


def _dataset(name: str, rows: int, *, longest: int = 900) -> DatasetInput:
    generator = np.random.default_rng([ord(letter) for letter in name])
    tokens = generator.integers(20, longest, rows)
    return DatasetInput(
        manifest_fingerprint=f"manifest-{name}",
        index_fingerprint=f"index-{name}",
        rows=np.sort(generator.choice(3 * rows, rows, replace=False)),
        tokens=tokens,
        visual=tokens // 2,
        inputs=generator.integers(0, 8, rows),
        labels=tokens // 4,
        excluded={"no label token": 2},
    )


def _inputs(**changes: Any) -> PlanInputs:
    values: dict[str, Any] = {
        "datasets": {name: _dataset(name, rows) for name, rows in (("x", 30), ("y", 120), ("z", 7))},
        "mixture": MixtureParameters(kind="sqrt"),
        "budget": BUDGET,
        "packs_per_step": 4,
        "steps": 12,
        "seed": 7,
    }
    return PlanInputs(**{**values, **changes})


def _rows(plan: Plan) -> list[tuple[str, int, int]]:
    return [
        (row.dataset, row.row, row.epoch)
        for step in range(plan.steps)
        for slot in range(plan.packs_per_step)
        for row in plan.pack(step, slot)
    ]


def _bytes(plan: Plan) -> dict[str, bytes]:
    return {name: (plan.directory / name).read_bytes() for name in (*ARRAYS, DOCUMENT)}


def test_rebuild_gives_the_same_bytes(tmp_path: Path) -> None:
    inputs = _inputs()
    first = build_plan(inputs=inputs, cache=tmp_path / "a")
    shuffled = replace(inputs, datasets=dict(reversed(inputs.datasets.items())))
    second = build_plan(inputs=shuffled, cache=tmp_path / "b")
    assert _bytes(first) == _bytes(second)
    assert first.fingerprint == second.fingerprint
    assert first.directory.name == second.directory.name


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 8},
        {"steps": 13},
        {"packs_per_step": 2},
        {"image_weight": 1},
        {"budget": Budget(tokens=2048, inputs=17)},
        {"mixture": MixtureParameters(kind="proportional")},
        {"datasets": {name: _dataset(name, rows) for name, rows in (("x", 30), ("y", 120), ("z", 8))}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_input_changes_the_fingerprint(change: dict[str, Any], tmp_path: Path) -> None:
    assert (
        build_plan(inputs=_inputs(**change), cache=tmp_path).fingerprint
        != build_plan(inputs=_inputs(), cache=tmp_path).fingerprint
    )


def test_reuse_does_not_pack_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build_plan(inputs=_inputs(), cache=tmp_path)
    monkeypatch.setattr(build, "compose", None)
    assert build_plan(inputs=_inputs(), cache=tmp_path).fingerprint == first.fingerprint
    shutil.rmtree(first.directory)
    with pytest.raises(TypeError):
        build_plan(inputs=_inputs(), cache=tmp_path)


def test_damaged_plan_is_not_reused(tmp_path: Path) -> None:
    plan = build_plan(inputs=_inputs(), cache=tmp_path)
    with open(plan.directory / "rows.npy", "r+b") as handle:
        handle.seek(200)
        handle.write(b"\xff")
    with pytest.raises(DataError, match="rm -r"):
        build_plan(inputs=_inputs(), cache=tmp_path)


def test_ranks_that_ask_at_once_build_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = []

    def counted(*arguments: Any, **options: Any) -> Any:
        built.append(1)
        return compose(*arguments, **options)

    monkeypatch.setattr(build, "compose", counted)
    with ThreadPoolExecutor(4) as pool:
        plans = list(pool.map(lambda _: build_plan(inputs=_inputs(steps=200), cache=tmp_path), range(4)))
    assert len({plan.fingerprint for plan in plans}) == 1
    assert len(built) == 1


def test_a_plan_is_built_where_flock_does_not_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_handle: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(EnvironmentLacking, match="cannot be locked") as raised:
        build_plan(inputs=_inputs(), cache=tmp_path)
    assert f"export {LOCKS_VARIABLE}=link" in raised.value.fix
    monkeypatch.setenv(LOCKS_VARIABLE, "link")
    assert build_plan(inputs=_inputs(), cache=tmp_path).steps > 0


def test_what_a_killed_build_left_is_swept(tmp_path: Path) -> None:
    """Of this plan; what another build left is the next one's of that name."""
    name = build_plan(inputs=_inputs(), cache=tmp_path / "other").directory.name
    mine, theirs = (tmp_path / "cache" / f".partial-{whose}.1.1" for whose in (name, "ffff"))
    for left in (mine, theirs):
        left.mkdir(parents=True)
        (left / "rows.npy").write_bytes(b"half")
    build_plan(inputs=_inputs(), cache=tmp_path / "cache")
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == sorted([LOCK, name, theirs.name])


def test_failed_build_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any, **options: Any) -> Any:
        compose(*arguments, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(build, "compose", broken)
    with pytest.raises(KeyboardInterrupt):
        build_plan(inputs=_inputs(), cache=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [LOCK]


def test_repeats_are_limited_where_the_mixture_says_so(tmp_path: Path) -> None:
    mixture = MixtureParameters(kind="fixed", ratios={"g": {"z": 0.5, "y": 0.5}}, max_epochs=2)
    plan = build_plan(inputs=_inputs(mixture=mixture, steps=6), cache=tmp_path)
    (cut,) = plan.summary["capped"]
    assert (cut["dataset"], cut["asked_rate"]) == ("z", 0.5)
    assert plan.summary["datasets"]["z"]["epochs"] <= 2
    free = mixture.model_copy(update={"max_epochs": None})
    plan = build_plan(inputs=_inputs(mixture=free, steps=6), cache=tmp_path)
    assert plan.summary["datasets"]["z"]["epochs"] > 2
    assert plan.summary["capped"] == []


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    steps=st.integers(1, 6),
    packs=st.integers(1, 5),
    seed=st.integers(0, 2**31),
    kind=st.sampled_from(("sqrt", "proportional")),
)
def test_properties(tmp_path: Path, sizes: list[int], steps: int, packs: int, seed: int, kind: Any) -> None:
    datasets = {f"d{number}": _dataset(f"d{number}", rows) for number, rows in enumerate(sizes)}
    inputs = _inputs(
        datasets=datasets, steps=steps, packs_per_step=packs, seed=seed, mixture=MixtureParameters(kind=kind)
    )
    plan = build_plan(inputs=inputs, cache=tmp_path)
    lengths = {
        name: dict(zip(data.rows.tolist(), zip(data.tokens, data.visual, data.inputs, data.labels, strict=True),
                       strict=True))
        for name, data in datasets.items()
    }  # fmt: skip
    for step in range(steps):
        table = np.zeros(5, dtype=int)
        for slot in range(packs):
            pack = plan.pack(step, slot)
            used = np.array([(*lengths[row.dataset][row.row], 1) for row in pack]).sum(axis=0)
            assert used[0] <= BUDGET.tokens
            assert used[2] <= BUDGET.inputs
            table += used
        assert plan.step_table[step].tolist() == table.tolist()
    rows = _rows(plan)
    assert len(set(rows)) == len(rows), "no row twice within an epoch of its dataset"
    for name, data in datasets.items():
        mine = [(row, epoch) for dataset, row, epoch in rows if dataset == name]
        done = len(mine) // len(data.rows)
        for epoch in range(done):
            assert sorted(row for row, at in mine if at == epoch) == data.rows.tolist()
        assert all(epoch <= done for _, epoch in mine)
        assert plan.summary["datasets"][name]["rows_drawn"] == len(mine)


@pytest.mark.parametrize("world", [1, 2, 4])
def test_order_is_independent_of_the_world_size(world: int, tmp_path: Path) -> None:
    plan = build_plan(inputs=_inputs(), cache=tmp_path)
    reference = [[plan.pack(step, slot) for slot in range(4)] for step in range(12)]
    for resume in (0, 5):
        ranks = [
            [[plan.pack(step, slot) for slot in range(rank, 4, world)] for step in range(resume, 12)]
            for rank in range(world)
        ]
        merged = [[ranks[slot % world][step][slot // world] for slot in range(4)] for step in range(12 - resume)]
        assert merged == reference[resume:]


def test_summary(tmp_path: Path) -> None:
    plan = build_plan(inputs=_inputs(steps=40), cache=tmp_path)
    summary, totals = plan.summary, plan.summary["totals"]
    rows = _rows(plan)
    assert totals["rows"] == len(rows)
    assert totals["tokens"] == plan.step_table[:, 0].sum()
    assert totals["packs"] == 160
    assert totals["padding_fraction"] == pytest.approx(1 - totals["tokens"] / (160 * 2048))
    assert totals["rows_per_pack"] == pytest.approx(len(rows) / 160)
    assert totals["fill"] == pytest.approx(1 - totals["padding_fraction"])
    assert 0.9 < totals["share_of_bound"] <= 1
    assert totals["label_tokens"] == plan.step_table[:, 3].sum()
    for entry in summary["entries"]:
        mine = sum(dataset == entry["name"] for dataset, _, _ in rows)
        assert entry["rows_drawn"] == mine
        assert abs(mine - len(rows) * entry["rate"]) <= 1 + entry["rate"] * 3 / 2
        assert entry["row_share"] == pytest.approx(mine / len(rows))
        assert entry["epochs"] == pytest.approx(mine / len(_inputs().datasets[entry["name"]].rows))
        assert entry["difference"] == 0
    for column in ("tokens", "visual_tokens"):
        assert sum(entry[column] for entry in summary["entries"]) == totals[column]
    assert sum(entry["token_share"] for entry in summary["entries"]) == pytest.approx(1)
    assert summary["datasets"]["x"]["excluded"] == {"no label token": 2}
    assert (summary["missing"], summary["total_variation"]) == ([], 0)


def test_missing_and_unnamed_datasets(tmp_path: Path) -> None:
    """A missing set is in the summary; one the mixture does not name is no part of the plan."""
    mixture = MixtureParameters(kind="fixed", ratios={"g": {"x": 0.5, "absent": 0.25}, "h": {"y": 0.25}})
    plan = build_plan(inputs=_inputs(mixture=mixture), cache=tmp_path)
    assert plan.datasets == ("x", "y")
    assert plan.summary["missing"] == ["absent"]
    assert plan.summary["total_variation"] == pytest.approx(0.25)
    fewer = {name: data for name, data in _inputs().datasets.items() if name != "z"}
    assert (
        build_plan(inputs=_inputs(mixture=mixture, datasets=fewer), cache=tmp_path / "b").fingerprint
        == plan.fingerprint
    )
    with pytest.raises(ConfigError, match="absent"):
        build_plan(inputs=_inputs(mixture=mixture, strict=True), cache=tmp_path)


def test_two_entries_of_one_dataset_share_its_epochs(tmp_path: Path) -> None:
    entries = [{"dataset": "x"}, {"dataset": "x", "name": "again", "multiplier": 2.0}]
    mixture = MixtureParameters.model_validate(
        {"kind": "hierarchical", "groups": {"g": {"weight": 1, "entries": entries}}}
    )
    plan = build_plan(inputs=_inputs(mixture=mixture), cache=tmp_path)
    rows = _rows(plan)
    assert len(set(rows)) == len(rows)
    shares = {entry["name"]: entry["row_share"] for entry in plan.summary["entries"]}
    assert shares == pytest.approx({"x": 1 / 3, "again": 2 / 3}, abs=0.01)


def test_order_of_groups_is_part_of_the_identity(tmp_path: Path) -> None:
    """Order breaks ties between draws, so two orders are two plans."""
    one = MixtureParameters(kind="fixed", ratios={"g": {"x": 0.5, "y": 0.5}})
    two = MixtureParameters(kind="fixed", ratios={"g": {"y": 0.5, "x": 0.5}})
    plans = [build_plan(inputs=_inputs(mixture=mixture), cache=tmp_path) for mixture in (one, two)]
    assert plans[0].directory != plans[1].directory
    assert _rows(plans[0]) != _rows(plans[1])


def test_too_long_row_is_named(tmp_path: Path) -> None:
    data = _dataset("x", 10)
    data.tokens[3] = 2049
    with pytest.raises(ConfigError, match=f"row {data.rows[3]} of x has 2049 tokens"):
        build_plan(inputs=_inputs(datasets={"x": data}), cache=tmp_path)


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ConfigError, match="different lengths"):
        replace(_dataset("x", 10), labels=np.zeros(9, dtype=np.int64))


@pytest.mark.parametrize("change", [{"steps": 0}, {"packs_per_step": 0}, {"image_weight": -1}])
def test_empty_plans_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        _inputs(**change)
