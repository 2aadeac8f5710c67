"""The whole track in one process, without DVC: every family, real and made text. Row 17 of the pile-ffn spec."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.recipes.pile_ffn.tiny_study import VARIANTS, VOCABULARY, values
from trackyard.models.nonneg_variants import Declaration
from trackyard.parameters import parse_parameters
from trackyard.recipes.pile_ffn.arms.declaring import declaration_of
from trackyard.recipes.pile_ffn.cells import UNTOUCHED, Arm, Cell
from trackyard.recipes.pile_ffn.parameters import Family, PileFfnParameters
from trackyard.recipes.pile_ffn.report.aggregating import REPORT, SUMMARY
from trackyard.recipes.pile_ffn.report.gathering import MEASURED
from trackyard.recipes.pile_ffn.results import DOCUMENT, read_result
from trackyard.recipes.pile_ffn.stages import STAGES, run_stage
from trackyard.recipes.pile_ffn.study import Study
from trackyard.recipes.pile_ffn.text.jsonl import UNLABELLED
from trackyard.recipes.pile_ffn.text.mini_domains import DOMAINS
from trackyard.recipes.pile_ffn.text.source_manifest import SourceManifest
from trackyard.recipes.pile_ffn.text.token_sets import load_tokenizer, open_set
from trackyard.record.code import CodeIdentity

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[3]
REAL = ROOT.parent / "shared" / "data" / "real" / "text" / "tinyshakespeare.txt"
LICENCE = "public domain"
PARTS = {"train/00": 220_000, "train/01": 220_000, "train/02": 220_000, "val": 120_000, "test": 120_000}
"""Bytes that are cut off the real text for each file, one after another."""
LIMIT_S = 120.0
"""Of processor time for a family, with its child processes: the machine may have other work."""
FAMILIES: tuple[Family, ...] = ("gpt_neox", "llama", "qwen2")


@dataclass(frozen=True, kw_only=True)
class Done:
    """A study that ran from fetch to table. said: its lines by stage. cpu_s: processor seconds."""

    family: Family
    study: Study
    said: dict[str, list[str]]
    cpu_s: float

    @property
    def summary(self) -> dict[str, Any]:
        return dict(read_result(self.study.artifacts / "results" / SUMMARY, "aggregate").body)

    @property
    def rows(self) -> dict[str, dict[str, Any]]:
        return {row["arm"]: row for row in self.summary["table"]}


@pytest.fixture(scope="module", params=FAMILIES)
def done(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Done:
    family: Family = request.param
    root = tmp_path_factory.mktemp(family)
    study = study_of(root, family)
    if study.parameters.data.source.kind == "files":
        cut(REAL, root)
    before = processor_seconds()
    for name, item in calls(study.parameters):
        run_stage(study, name, item, parameter_file=root / "params.yaml", say=partial(tell, root / "said" / name))
    cpu_s = processor_seconds() - before
    said = {path.name: path.read_text().splitlines() for path in (root / "said").iterdir()}
    return Done(family=family, study=study, said=said, cpu_s=cpu_s)


def tell(path: Path, line: str) -> None:
    """Into a file: cells of an arm are measured in processes of their own."""
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as file:
        file.write(f"{line}\n")


def study_of(root: Path, family: Family) -> Study:
    """Three trained arms and a control at two seeds. GPT-NeoX reads real text, the gated families the mini corpus."""
    if family == "gpt_neox" and not REAL.exists():
        pytest.skip("there is no real text beside this checkout (shared/data/real/text/tinyshakespeare.txt)")
    first, second = VARIANTS[family]
    arms = ["baseline", f"nonneg_{first}", f"nonneg_{second}"]
    found = values(
        family,
        {
            "data": {
                "source": real_source() if family == "gpt_neox" else {"kind": "mini"},
                "mini": {"train_files": 3, "train_documents": 140, "held_out_documents": 80},
                "held_out": {
                    "val_tokens": 4_000, "test_predicted": 12_000, "uat_opt": 4, "uat_eval": 4, "flip": 4,
                    "attack_tokens": 64,
                },
            },
            "training": {
                "steps": 24,
                "window": 64,
                "windows_per_step": 8,
                "learning_rates": dict.fromkeys(arms, 2e-3),
                "save_every": 24,
            },
            "engine": {"micro_batch": 8, "log_every": 8},
            "perplexity": {"length": 64, "stride": 32},
        },
    )  # fmt: skip
    found |= {"arms": arms, "degraded": [first], "measured": [UNTOUCHED, *arms, f"degraded_{first}"]}
    found["model"]["made"] |= {"steps": 240, "learning_rate": 5e-3}
    # What the estimate reads besides: the machine that it is for.
    shutil.copytree(ROOT / "sites", root / "sites")
    (root / "params.yaml").write_text(yaml.safe_dump({"pile_ffn": found}))
    study = Study(root=root, parameters=parse_parameters(PileFfnParameters, found, where="whole"))
    # A folder that is no checkout has no code of its own.
    study.__dict__["code"] = CodeIdentity(commit="c" * 40, dirty_digest=None)
    return study


def real_source() -> dict[str, Any]:
    """Of the parameters: the files that `cut` makes."""
    names = {part: f"data/real/{part}.txt" for part in PARTS}
    train = [name for part, name in names.items() if part.startswith("train/")]
    return {"kind": "files", "train": train, "val": names["val"], "test": names["test"], "licence": LICENCE}


def cut(text: Path, root: Path) -> None:
    """Write the parts of a text below `root`, each ending with a paragraph."""
    data, start = text.read_bytes(), 0
    for part, size in PARTS.items():
        end = data.index(b"\n\n", start + size) + 2
        target = root / "data" / "real" / f"{part}.txt"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data[start:end])
        start = end


def calls(parameters: PileFfnParameters) -> Iterator[tuple[str, str | None]]:
    """Every stage with everything that it is about, in an order in which each finds what it reads."""
    items: dict[str, list[str | None]] = {
        "cell": [cell.name for cell in parameters.trained_cells],
        "variant": [*parameters.degraded],
        "arm": [*parameters.measured],
    }
    for name, stage in STAGES.items():
        for item in items.get(stage.about, [None]):
            yield name, item


def processor_seconds() -> float:
    """Of this process and of those that it has waited for."""
    return sum(os.times()[:4])


def declared(done: Done, arm: str) -> Declaration:
    found = declaration_of(done.study, Arm.named(arm))
    assert found is not None
    return found


def test_row_17_the_time_it_takes(done: Done) -> None:
    assert done.cpu_s < LIMIT_S
    assert done.said.keys() == STAGES.keys()
    for cell in done.study.parameters.cells.values():
        for stage in ("evaluate", "attack"):
            assert any(line.startswith(f"{cell.name}: ") for line in done.said[stage]), (stage, cell)


def test_every_arm_is_in_the_table_and_in_what_is_said(done: Done) -> None:
    parameters = done.study.parameters
    assert list(done.rows) == list(parameters.measured)
    assert len(done.rows) == 1 + 3 + 1
    for row in done.rows.values():
        assert len(row["cells"]) == (1 if row["arm"] == UNTOUCHED else 2)
        assert row["nll"]["cells"].keys() == set(row["cells"])
    text = "\n".join(done.said["aggregate"])
    report = (done.study.artifacts / "results" / REPORT).read_text()
    for arm in done.rows:
        assert arm in text
        assert arm in report


def test_no_claim_on_two_seeds(done: Done) -> None:
    claims = {claim["arm"]: claim for claim in done.summary["claims"]}
    assert list(claims) == [arm for arm in done.study.parameters.arms if arm.startswith("nonneg_")]
    for claim in claims.values():
        assert claim["admissible"] is False
        assert "2 seeds where 3 are needed" in claim["missing"]
        assert claim["arm"] in (text := "\n".join(done.said["aggregate"]))
        assert "2 seeds where 3 are needed" in text
    without_control = f"nonneg_{VARIANTS[done.family][1]}"
    assert {arm for arm, claim in claims.items() if "no degraded control of its perplexity" in claim["missing"]} == {
        without_control
    }


def test_what_was_examined_is_counted(done: Done) -> None:
    examined, cells = done.summary["examined"], done.study.parameters.cells
    assert len(cells) == 1 + 2 * 4
    # init of 3 arms, 6 trainings, 2 controls, 5 measurements of every cell, transfer of 2 seeds
    assert examined["results"] == 3 + 6 + 2 + len(MEASURED) * len(cells) + 2
    assert examined["results"] == len(
        read_result(done.study.artifacts / "results" / SUMMARY, "aggregate").header.inputs
    )
    body = read_result(done.study.document("eval_ppl", cells[UNTOUCHED]), "eval_ppl").body
    assert examined["documents"] == body["docs"] == len(body["documents"]) >= 4
    assert examined["inputs"] > len(cells)
    assert min(examined["pairs"].values()) > 0
    assert examined["commits"] == ["c" * 40]


def test_nothing_is_said_to_keep_order(done: Done) -> None:
    paths = [*done.study.artifacts.rglob(DOCUMENT), done.study.artifacts / "results" / SUMMARY]
    headers = [json.loads(path.read_bytes())["header"] for path in paths]
    assert len(headers) > done.summary["examined"]["results"]
    assert {header["globally_monotonic"] for header in headers} == {False}
    assert {row["globally_monotonic"] for row in done.rows.values()} == {False}


def test_perplexity_by_component(done: Done) -> None:
    components = {UNLABELLED} if done.family == "gpt_neox" else set(DOMAINS)
    for cell in done.study.parameters.cells.values():
        body = read_result(done.study.document("eval_ppl", cell), "eval_ppl").body
        assert set(body["by_component"]) == components
        parts = body["by_component"].values()
        assert sum(part["predicted_tokens"] for part in parts) == body["predicted_tokens"] >= 12_000
        weighed = sum(part["nll"] * part["predicted_tokens"] for part in parts) / body["predicted_tokens"]
        assert weighed == pytest.approx(body["nll"], rel=1e-9)
        assert body["ppl"] == pytest.approx(np.exp(body["nll"]))
    assert all(set(row["by_component"]) == components for row in done.rows.values())


def test_the_made_model_learned_and_constraining_it_costs(done: Done) -> None:
    nll = {arm: row["nll"]["cells"] for arm, row in done.rows.items()}
    first, second = VARIANTS[done.family]
    assert np.exp(nll[UNTOUCHED][UNTOUCHED]) < VOCABULARY / 3
    for seed in done.study.parameters.seeds:
        baseline = nll["baseline"][f"baseline-{seed}"]
        assert baseline < np.log(VOCABULARY / 3)
        for variant in (first, second):
            assert nll[f"nonneg_{variant}"][f"nonneg_{variant}-{seed}"] > baseline


def test_the_control_is_as_bad_as_its_arm(done: Done) -> None:
    variant = VARIANTS[done.family][0]
    for seed in done.study.parameters.seeds:
        control = read_result(
            done.study.document("degrade", Cell(arm=f"degraded_{variant}", seed=seed)), "degrade"
        ).body
        arm = read_result(done.study.document("train", Cell(arm=f"nonneg_{variant}", seed=seed)), "train").body
        assert control["sigma"] > 0
        assert abs(control["nll"] - arm["final"]["val_nll"]) <= 0.01


def test_constrained_matrices_are_non_negative_and_all_moved(done: Done) -> None:
    for variant in VARIANTS[done.family]:
        count = len(declared(done, f"nonneg_{variant}").matrices)
        assert count == {"mlp_in": 2, "mlp_both": 4, "gated_updown": 4, "gated_all": 6}[variant]
        for seed in done.study.parameters.seeds:
            body = read_result(done.study.document("train", Cell(arm=f"nonneg_{variant}", seed=seed)), "train").body
            assert {(found["examined"], found["passed"]) for found in body["verified"]} == {(count, True)}
            assert min(found["min"] for found in body["verified"]) >= 0
            assert body["movement"][-1]["median_changed"] >= 0.99


def test_arms_of_a_seed_share_their_text_and_seeds_do_not(done: Done) -> None:
    found = {
        cell: read_result(done.study.document("train", cell), "train") for cell in done.study.parameters.trained_cells
    }
    for part in (lambda r: r.body["plan"], lambda r: r.header.data.slice_digest):
        by_seed = {
            seed: {part(result) for cell, result in found.items() if cell.seed == seed}
            for seed in done.study.parameters.seeds
        }
        assert all(len(parts) == 1 for parts in by_seed.values()), by_seed
        assert len(set.union(*by_seed.values())) == len(by_seed)


def test_real_text_is_what_was_read(done: Done) -> None:
    """Every document of the test set, decoded, lies in the file that it names."""
    manifest = SourceManifest.read(done.study.source)
    if done.family != "gpt_neox":
        assert manifest.text == {"kind": "mini"}
        return
    assert manifest.text == {"kind": "files", "licence": LICENCE}
    tokenizer, tokens = load_tokenizer(done.study), open_set(done.study, "test")
    end = tokenizer.eos_token_id
    file = (done.study.root / "data" / "real" / "test.txt").read_text()
    texts = []
    for _, ids in tokens.documents():
        assert ids[-1] == end
        texts.append(tokenizer.decode(ids[:-1].tolist()))
    assert len(texts) >= 4
    assert all(len(text) > 1_000 and text in file for text in texts)
    # Held-out text is none of what was trained on.
    trained = "".join((done.study.root / "data" / "real" / f"{part}.txt").read_text() for part in list(PARTS)[:3])
    assert not any(text[:200] in trained for text in texts)
