"""The command line: its frozen surface, what its help imports, and what its reading commands print."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from tests.system.repository import PACKS, SOURCE, STAGE1_STEPS, STEPS, Repository
from trackyard.cli.main import app
from trackyard.record.metrics_file import read_metrics

pytestmark = pytest.mark.system

SURFACE = {
    "cancel": ["graph", "jobs"],
    "logs": ["graph", "job", "--follow"],
    "retry": ["graph", "jobs"],
    "status": ["graph", "--wait", "--json"],
    "work": ["graph", "name"],
    "catalog check": ["--json"],
    "compare": ["runs", "--track", "--stage", "--metric", "--json"],
    "data fetch": ["names", "--archive", "--retry-failed", "--shard", "--endpoint", "--dry-run", "--json"],
    "data import": [
        "mapping",
        "--base",
        "--target",
        "--images",
        "--workers",
        "--strict",
        "--max-bad-records",
        "--max-files",
        "--shard-bytes",
        "--dry-run",
        "--json",
    ],
    "data inspect": ["path", "--dataset", "--split", "--samples", "--out", "--dry-run", "--json"],
    "data instructions": ["name", "--json"],
    "data list": ["selection", "--json"],
    "data mini": ["target", "--dry-run", "--json"],
    "data plan": [
        "selection",
        "--stage",
        "--budget",
        "--max-files",
        "--snapshot",
        "--from",
        "--to",
        "--splits",
        "--map",
        "--json",
    ],
    "data show": ["name", "--json"],
    "data snapshot": [
        "names",
        "--target",
        "--workers",
        "--strict",
        "--max-bad-records",
        "--max-files",
        "--shard-bytes",
        "--dry-run",
        "--json",
    ],
    "data status": ["selection", "--json"],
    "data sync": [
        "names",
        "--from",
        "--to",
        "--relocate",
        "--splits",
        "--map",
        "--allow-missing",
        "--streams",
        "--dry-run",
        "--json",
    ],
    "data verify": [
        "targets",
        "--at",
        "--fast",
        "--sample",
        "--all",
        "--allow-missing",
        "--models",
        "--profile",
        "--quick",
        "--full",
        "--offline",
        "--json",
    ],
    "evaluate compare": ["first", "second", "--tasks", "--json"],
    "evaluate origin": ["folder", "--samples"],
    "evaluate run": [
        "folder",
        "--tasks",
        "--out",
        "--data",
        "--limit",
        "--samples",
        "--batch",
        "--shard",
        "--collect",
        "--precision",
        "--partial",
        "--visual",
    ],
    "evaluate tasks": ["--group", "--json"],
    "doctor": ["--site", "--for", "--json"],
    "estimate": [
        "track",
        "stage",
        "--profile",
        "--site",
        "--partition",
        "--base",
        "--preset",
        "--gpus",
        "--json",
    ],
    "feed figures": ["--params", "--out", "--json"],
    "feed view": [
        "stage",
        "--packs",
        "--step",
        "--snapshot",
        "--dataset",
        "--split",
        "--rows",
        "--params",
        "--out",
        "--json",
    ],
    "image build": ["name", "--build-arg", "--tmp"],
    "image exec": ["name", "command", "--nv"],
    "image lock": ["name", "--from", "--json"],
    "image sbom": ["name"],
    "image verify": ["name"],
    "lineage graph": ["path", "--out"],
    "lineage show": ["path", "--json"],
    "lineage verify": ["path", "--trust"],
    "params": ["track", "--profile", "--base", "--json"],
    "mixture diff": ["a", "b", "--sizes", "--json"],
    "mixture plot": ["stage", "--out", "--params", "--sizes", "--max-epochs", "--rows-per-pack"],
    "mixture show": ["stage", "--params", "--sizes", "--strict", "--max-epochs", "--rows-per-pack", "--json"],
    "plan build": ["stage", "--params", "--json"],
    "plan check": ["stage", "--params", "--json"],
    "plan diff": ["a", "b", "--params", "--against", "--json"],
    "plan show": ["plan", "--params", "--step", "--slot", "--json"],
    "preflight": ["stage", "--params", "--context-parallel", "--json"],
    "publish card": ["name", "--out", "--params"],
    "publish export": ["name", "out", "--layout", "--form", "--base", "--params"],
    "publish push": ["folder", "--repo", "--endpoint", "--public", "--really"],
    "record status": ["--json"],
    "record sync": ["--follow"],
    "report": ["--out", "--track"],
    "run": ["track", "stage", "item", "--params", "--processes", "--shard"],
    "site check": [
        "name",
        "--needs",
        "--partition",
        "--nodes",
        "--tasks-per-node",
        "--gpus-per-node",
        "--cores-per-task",
        "--memory-gb",
        "--minutes",
        "--json",
    ],
    "site show": ["name", "--json"],
    "site space": ["name", "--json"],
    "smoke": ["--gib", "--site", "--json"],
    "submit": [
        "targets",
        "--site",
        "--dry-run",
        "--force",
        "--shards",
        "--partition",
        "--profile",
        "--json",
    ],
    "table": ["track"],
    "ui": ["--port"],
    "unlock": ["--remove"],
}
"""Commands with their arguments and options: what scripts rely on."""

HEAVY = {"torch", "transformers", "deepspeed", "mlflow", "numpy", "pyarrow", "datasets", "av", "PIL"}
PROBE = """
import contextlib, io, json, sys
from trackyard.cli.main import main
for line in sys.stdin:
    sys.argv = ["trackyard", *json.loads(line)]
    code, out = None, io.StringIO()
    try:
        with contextlib.redirect_stdout(out):
            main()
    except SystemExit as end:
        code = end.code or 0
    print(json.dumps([code, out.getvalue(), sorted(name for name in sys.modules if "." not in name)]))
"""


def _commands(group: Any, prefix: str = "") -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            found |= _commands(command, f"{prefix}{name} ")
        else:
            found[prefix + name] = [
                item.opts[0] if item.opts[0].startswith("-") else str(item.name) for item in command.params
            ]
    return found


def _surface() -> dict[str, list[str]]:
    return _commands(typer.main.get_command(app))


def test_the_surface_is_the_frozen_one() -> None:
    assert _surface() == SURFACE


def test_help_imports_nothing_heavy() -> None:
    """Of every command, in one process: what one of them imports is there for all that follow."""
    lines = [["--help"], *([*name.split(), "--help"] for name in SURFACE)]
    typed = "".join(f"{json.dumps(line)}\n" for line in lines)
    done = subprocess.run([sys.executable, "-c", PROBE], input=typed, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for line, told in zip(lines, done.stdout.splitlines(), strict=True):
        code, out, imported = json.loads(told)
        assert code == 0, line
        assert f"Usage: trackyard {' '.join(line[:-1])}".rstrip() in out, line
        assert "typer" in imported, "the probe saw nothing"
        assert set(imported) & HEAVY == set(), line


def test_every_command_that_a_message_tells_to_run_exists() -> None:
    """`trackyard …` in backticks or at the beginning of a remedy, anywhere in the package."""
    groups = {name.split()[0] for name in SURFACE} - set(SURFACE)
    examined = 0
    for path in sorted((SOURCE / "src").rglob("*.py")):
        for found in re.finditer(r"(?:`|fix=f?\")trackyard ([a-z]+)(?: ([a-z]+))?", path.read_text()):
            first, second = found.groups()
            examined += 1
            exists = (f"{first} {second}" in SURFACE or second is None) if first in groups else first in SURFACE
            assert exists, f"{path.relative_to(SOURCE)}: there is no command {found[0]!r}"
    assert examined > 5


def test_params_prints_what_is_in_force(bare: Repository) -> None:
    ended = bare.trackyard("params")
    assert ended.code == 0, ended
    printed = yaml.safe_load(ended.out)["molmo2"]
    assert printed["stage2"]["steps"] == STEPS
    assert printed["stage2"]["optimiser"]["beta2"] == 0.95, "defaults are printed too"


def test_plan_prints_what_a_stage_will_train_on(after_stage1: Repository) -> None:
    ended = after_stage1.trackyard("plan", "build", "stage1", "--json")
    assert ended.code == 0, ended
    plan = json.loads(ended.out)
    run = after_stage1.run_directory("stage1")
    assert plan["run_id"] == run.name
    assert plan["fingerprint"] == json.loads((run / "plan.json").read_text())["fingerprint"]
    assert plan["totals"]["packs"] == STAGE1_STEPS * PACKS
    drawn = sum(entry["rows_drawn"] for entry in plan["entries"])
    assert drawn == plan["totals"]["rows"]


def test_table_shows_every_finished_stage_and_the_next_command(uninterrupted: Repository) -> None:
    ended = uninterrupted.trackyard("table")
    assert ended.code == 0, ended
    assert re.search(rf"steps +│ +{STAGE1_STEPS} │ +{STEPS} ", ended.out)
    metrics = read_metrics(uninterrupted.path / "artifacts/molmo2/stage2/metrics.json")["stage2"]
    assert f"{metrics['train/first_loss']:.3f} -> {metrics['train/loss']:.3f}" in ended.out
    assert "next: dvc repro stage3" in ended.out


def test_table_without_a_result(bare: Repository) -> None:
    assert bare.trackyard("table").error(1, "DataError")["fix"] == "make demo"


def test_lineage_is_proved_until_a_byte_changes(uninterrupted: Repository, tmp_path: Path) -> None:
    repository = uninterrupted.copy(tmp_path / "root")
    for stage in ("stage1", "stage2"):
        ended = repository.trackyard("lineage", "verify", f"artifacts/molmo2/{stage}/export")
        assert ended.code == 0, ended
        last = ended.out.strip().splitlines()[-1]
        found = re.fullmatch(r"(\d+) links proved, 0 taken on trust, ([\d,]+) files \(.+\) hashed", last)
        assert found is not None, last
        assert int(found[1]) >= 4
        assert "proved files: " in ended.out
    export = repository.path / "artifacts/molmo2/stage1/export"
    weights = bytearray((export / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (export / "model.safetensors").write_bytes(weights)
    parts = repository.trackyard("lineage", "verify", str(export.relative_to(repository.path))).error(1, "DataError")
    assert re.match(r"link 'files' is wrong: blake3 of \S*/stage1/export/model\.safetensors: expected ", parts["what"])
    # The stage after it was made from other bytes than these.
    child = repository.trackyard("lineage", "verify", "artifacts/molmo2/stage2/export").error(1, "DataError")
    assert re.match(r"link 'parent: files' is wrong: blake3 of \S*/stage1/export/model\.safetensors: ", child["what"])


def test_lineage_of_a_run_directory(uninterrupted: Repository) -> None:
    run = uninterrupted.run_directory()
    made = [run / "result.json", *(path for path in (run / "final").rglob("*") if path.is_file())]
    ended = uninterrupted.trackyard("lineage", "verify", str(run.relative_to(uninterrupted.path)))
    assert ended.code == 0, ended
    assert len(made) >= 2
    assert f"proved files: 1 record agrees, {len(made)} files re-hashed" in ended.out
