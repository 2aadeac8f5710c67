"""The README and the guides against the repository: commands run, the picture and the tables are what is there."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from PIL import Image

from benchmarks.__main__ import NAMES
from checks.readme import readme_commands, registry_problems
from checks.repository import files
from tests.system.commands import run
from tests.system.readme_commands import EXECUTED_BY
from tests.system.repository import (
    COMMIT,
    PACKS,
    ROWS,
    STAGE1_STEPS,
    Repository,
    make_repository,
    mini_rows,
    write_rows,
)
from trackyard import errors
from trackyard.cli.main import app
from trackyard.launch.signals import STOP_SIGNALS

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
COMMANDS = readme_commands(README)

MADE_BY_RUNNING = {"data.dvc", "dvc.lock", "embedded-remote"}
"""Of the file tour, what a checkout may lack: the first two change with the data, the third is filled by `dvc push`."""

Shell = Callable[[str], str]


def command(*words: str) -> str:
    """The one README command that holds these words."""
    (found,) = [text for text in COMMANDS if all(word in text for word in words)]
    return found


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A root with a small snapshot and the examples."""
    made = make_repository(tmp_path_factory.mktemp("readme") / "root")
    (made.path / "examples").symlink_to(ROOT / "examples")
    return made


@pytest.fixture(scope="module")
def shell(repository: Repository, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """Types a command as the README shows it, in that root and with a home of its own; returns what it prints."""
    home = tmp_path_factory.mktemp("home")
    own_data(home / "my-data" / "mmmu_pro")
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(home),
        "TRACKYARD_COMMIT": COMMIT,
        "COLUMNS": "120",
    }

    def type_in(text: str) -> str:
        done = subprocess.run(
            ["bash", "-c", text], cwd=repository.path, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, f"`{text}` ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return type_in


def own_data(folder: Path) -> None:
    """Two questions on one and two pictures, arranged as examples/import/mmmu_pro.yaml expects them."""
    (folder / "images").mkdir(parents=True)
    for name, colour in (("a", "red"), ("b", "blue")):
        Image.new("RGB", (96, 64), colour).save(folder / "images" / f"{name}.png")
    questions = [
        {
            "question": "Which colour is <image 1>?",
            "options": ["red", "blue"],
            "answer": "A",
            "image_1": "images/a.png",
        },
        {
            "question": "Which of <image 1> and <image 2> is blue?",
            "options": ["<image 1>", "<image 2>"],
            "answer": "B",
            "image_1": "images/a.png",
            "image_2": "images/b.png",
        },
    ]
    (folder / "questions.jsonl").write_text("".join(json.dumps(question) + "\n" for question in questions))


def test_each_command_of_the_readme_is_executed_by_a_test() -> None:
    assert len(COMMANDS) >= 8
    assert registry_problems(COMMANDS, EXECUTED_BY, ROOT) == []


def test_a_command_that_no_test_executes_is_a_problem() -> None:
    assert registry_problems([*COMMANDS, "make coffee"], EXECUTED_BY, ROOT)[0] == "no test runs `make coffee`"


def typed_in(test: str) -> set[str]:
    """Commands that the words of a test type: a list of words, a whole line, or words that pick one of the README's."""
    file, _, name = test.partition("::")
    tree = ast.parse((ROOT / file).read_bytes())
    constants = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }

    def word(node: ast.expr) -> str:
        if isinstance(node, ast.Name):
            return str(constants.get(node.id, ""))
        return str(node.value) if isinstance(node, ast.Constant) else ""

    # Lines that a whole file shares; what a test types by words stands in the test.
    found = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    (function,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
    for node in ast.walk(function):
        if isinstance(node, ast.List):
            found.add(" ".join(map(word, node.elts)))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == command.__name__:
            found.add(command(*map(word, node.args)))
    return found


def test_the_test_of_a_command_types_it() -> None:
    """That a pipeline has run under another command does not show that this one runs it. Of make: the recipes below."""
    typed = {text: test for text, test in EXECUTED_BY.items() if not text.startswith("make ")}
    assert len(typed) > 20
    assert [text for text, test in typed.items() if text not in typed_in(test)] == []
    assert "dvc repro stage2" not in typed_in("tests/system/test_demo.py::test_demo")


@pytest.mark.parametrize(
    ("target", "recipe"),
    [
        ("demo", ["dvc repro stage3", "trackyard table molmo2"]),
        ("demo-all", ["dvc repro compare"]),
        ("ui", ["trackyard ui"]),
        ("image", ["trackyard image build cpu --build-arg BASE=containers/debian-12.sif"]),
    ],
)
def test_make_types_the_commands_that_the_tests_type(target: str, recipe: list[str]) -> None:
    """Data and the environment aside."""
    argv = ["make", "--dry-run", "--old-file=setup", target]
    lines = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line for line in lines if line.startswith(("dvc ", "trackyard "))] == recipe


def test_ci_runs_the_tests() -> None:
    """`make test` runs every test, so it is executed wherever this one is; CI types it."""
    assert re.search(r"^make test\b", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    (typed,) = re.findall(r"^test:.*\n\tpython -m pytest(.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert re.fullmatch(r"( -n \d+ --dist loadfile)?", typed), "on how many cores, and nothing that leaves a test out"


@pytest.mark.system
def test_the_plan(shell: Shell, repository: Repository) -> None:
    assert "0 failed" in shell(command("trackyard preflight"))
    text = shell(command("trackyard plan build"))
    for word in ("pixmo-cap", "realised %", "epochs", f"{STAGE1_STEPS} steps of {PACKS} packs", "padding"):
        assert word in text
    assert f"{STAGE1_STEPS * PACKS}" in shell(command("trackyard plan check"))
    shell(command("trackyard feed view"))
    assert (repository.path / "view.html").read_text().count("data:image") > 0
    assert "molmo2-cap" in shell(command("trackyard mixture show"))


@pytest.mark.system
def test_the_parameters(shell: Shell, repository: Repository) -> None:
    shown = yaml.safe_load(shell(command("trackyard params")))["molmo2"]
    assert shown["stage1"]["steps"] == STAGE1_STEPS
    assert shown["stage1"]["video"]["slow"] == "native"  # a default that the file does not hold


@pytest.mark.system
def test_a_site_is_shown(shell: Shell, repository: Repository) -> None:
    _link(repository, "sites")
    text = shell(command("trackyard site show"))
    assert "a100-40" in text
    assert "TRACKYARD_ACCOUNT" in text


@pytest.mark.system
def test_the_doctor_and_the_recipe_on_a_cluster(tmp_path: Path) -> None:
    """In a clone: a dry run needs the pipelines, and neither data nor Slurm."""
    clone = tmp_path / "trackyard"
    run(["git", "clone", "--quiet", str(ROOT), str(clone)], tmp_path)
    doctor = run(shlex.split(command("trackyard doctor")), clone, check=False)
    # What it says of this machine is its own matter; that it says it of every row is ours.
    assert doctor.returncode in (0, 1, 3), doctor.stderr
    assert re.search(r"^site local: \d{2} rows in .* passed, \d+ warned, \d+ failed", doctor.stdout, re.M), doctor
    text = run(shlex.split(command("trackyard submit")), clone).stdout
    for line in ("stage1", "stage3", "service units of AI credits", "longest chain: ", "dvc pull data.dvc"):
        assert line in text
    assert not (clone / "runs" / "jobs").exists()


def _link(repository: Repository, name: str) -> None:
    if not (repository.path / name).exists():
        (repository.path / name).symlink_to(ROOT / name)


@pytest.mark.system
def test_the_estimate(shell: Shell, repository: Repository) -> None:
    """Profiles and sites are those of this repository; data are not needed."""
    for name in ("profiles", "sites"):
        _link(repository, name)
    text = shell(command("trackyard estimate molmo2"))
    assert "molmo2 stage2 (4b) on 4 x h100, anvil/ai" in text
    for line in ("memory of a rank", "service units", "jobs, one after the other"):
        assert line in text
    assert text.rstrip().splitlines()[-1] == "fits"


@pytest.mark.system
def test_the_estimate_of_a_study(shell: Shell, repository: Repository) -> None:
    for name in ("profiles", "sites"):
        _link(repository, name)
    text = shell(command("trackyard estimate pile_ffn"))
    assert "7 arms x 3 seeds and the untouched model, 655,360,000 tokens each, on slurm-template/a100" in text
    for line in ("GPU-hours", "on disk", "train        18", "fits"):
        assert line in text
    text = shell(command("trackyard estimate datacomp"))
    for line in ("100,000 samples of 166,667 rows", "375 saves", "18,750 steps", "15.6 h", "13.11 GB", "fits"):
        assert line in text


@pytest.mark.system
def test_the_data_are_proved(shell: Shell) -> None:
    assert f"proved: {len(ROWS)} datasets, {2 * len(ROWS)} files" in shell(command("data verify"))


@pytest.mark.system
def test_own_data_join_the_snapshot(shell: Shell, repository: Repository) -> None:
    text = shell(command("data import"))
    assert "mmmu_pro/train: 2 rows" in text
    assert "records left out: 0" in text
    assert f"proved: {len(ROWS) + 1} datasets" in shell("trackyard data verify")
    # What the README says of it: a mixture over every dataset draws from it.
    repository.edit(lambda values: values["stage1"].update(mixture={"kind": "sqrt"}))
    assert "mmmu_pro" in shell("trackyard plan build stage1")


def python_block() -> str:
    """The README's Python."""
    (block,) = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)
    return str(block)


@pytest.mark.system
def test_the_python_of_the_readme(tmp_path: Path) -> None:
    """On an untrained export, whose words mean nothing: the question is printed, and an answer."""
    from trackyard.feed.tokens import TokenTable, extend_tokenizer, train_tokenizer
    from trackyard.models.molmo2 import random_model
    from trackyard.models.presets import PRESETS
    from trackyard.publish.export import write_export
    from trackyard.recipes.molmo2.parameters import load_molmo2

    parameters = load_molmo2(ROOT / "params.yaml")
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    rows = mini_rows("tallyqa", "validation", 2)
    write_rows(tmp_path / "data" / "mini" / "tallyqa", "tallyqa", validation=rows)
    size = PRESETS["tiny"].vocab_size
    tokens = TokenTable.of(extend_tokenizer(train_tokenizer(["How many red shapes?"], size), size))
    model = random_model("tiny", parameters.geometry, max_positions=720, seed=0)
    export = tmp_path / "artifacts" / "molmo2" / "stage3" / "export"
    export.mkdir(parents=True)
    write_export(export, model, tokens, parameters.geometry, parameters.stage3.video)

    done = subprocess.run(
        [sys.executable, "-c", python_block()], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == rows[0].conversations[0][0].content


def picture(pipeline: dict[str, Any]) -> str:
    """The graph of a dvc.yaml: data, stages, what a stage takes from another or other pipelines, what it makes."""
    stages = pipeline["stages"]
    maker = {out: name for name, stage in stages.items() for out in stage["outs"]}
    data = sorted({dep for stage in stages.values() for dep in stage["deps"] if dep.startswith("data/")})
    lines = ["flowchart LR", *(f'    data[("{name}")]' for name in data)]
    lines += [f'    {name}["{name}: {stage["desc"]}"]' for name, stage in stages.items()]
    reported = {
        name: [*stage.get("metrics", []), *(path for entry in stage.get("plots", []) for path in entry)]
        for name, stage in stages.items()
    }
    ours = maker.keys() | {path for paths in reported.values() for path in paths}
    for name, stage in stages.items():
        lines += [f"    data --> {name}" for dep in stage["deps"] if dep in data]
        lines += [f'    {maker[dep]} -- "{dep}" --> {name}' for dep in stage["deps"] if dep in maker]
        foreign = [dep.split("/")[1] for dep in stage["deps"] if dep.startswith("artifacts/") and dep not in ours]
        lines += [f'    {track}(["pipelines/{track}"]) --> {name}' for track in dict.fromkeys(foreign)]
    for number, (name, stage) in enumerate(stages.items(), start=1):
        made = [Path(path) for path in (*stage["outs"], *reported[name])]
        (folder,) = {path.parent for path in made}
        names = ", ".join(path.name for path in made)
        lines.append(f'    {name} --> out{number}["{names if folder == Path() else f"{folder}: {names}"}"]')
    return "\n".join(lines)


def test_the_picture_is_the_graph_of_dvc_yaml() -> None:
    wanted = picture(yaml.safe_load((ROOT / "dvc.yaml").read_text()))
    assert f"```mermaid\n{wanted}\n```" in README.read_text(), f"README.md should show:\n{wanted}"


def table_column(page: Path, heading: str, column: int = 0) -> list[str]:
    """Cells in `ticks` of one column of the first table below a heading."""
    section = page.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    cells = [re.fullmatch(r"\s*`?(.*?)`?\s*", row[column]) for row in rows[2:]]
    return [cell[1] for cell in cells if cell]


def test_the_file_tour_is_the_top_level() -> None:
    tour = [name.rstrip("/") for name in table_column(README, "Files")]
    assert len(tour) == len(set(tour))
    # data/ is DVC's; it is listed by git only until `dvc add` has made data.dvc.
    top = {name.partition("/")[0] for name in files(ROOT)} - {"data"}
    assert top - set(tour) == set(), "files without a role in the README"
    assert set(tour) - top <= MADE_BY_RUNNING, "the README names files that are not there"


def test_few_badges() -> None:
    assert len(re.findall(r"^\[?!\[", README.read_text(), re.MULTILINE)) <= 4


def leaves(group: typer.Typer, prefix: str = "trackyard") -> set[str]:
    """Every command of the command line that people type."""
    found = {
        f"{prefix} {item.name or item.callback.__name__}"
        for item in group.registered_commands
        if item.callback and not item.hidden
    }
    for item in group.registered_groups:
        if item.typer_instance is not None:
            found |= leaves(item.typer_instance, f"{prefix} {item.name}")
    return found


def test_the_reference_lists_every_command() -> None:
    listed = table_column(ROOT / "docs" / "reference.md", "Commands")
    assert {re.sub(r" [A-Z]+\b", "", text) for text in listed} == leaves(app)


def test_the_reference_lists_every_exit_code() -> None:
    codes = {str(value) for name, value in vars(errors).items() if name.startswith("EXIT_")}
    codes |= {str(errors.CutOff(what="", why="", fix="", number=number).exit_code) for number in STOP_SIGNALS}
    assert set(table_column(ROOT / "docs" / "reference.md", "Exit codes")) == codes


def in_source(pattern: str) -> set[str]:
    """What a pattern finds in the package."""
    return {found for path in (ROOT / "src").rglob("*.py") for found in re.findall(pattern, path.read_text())}


def test_the_reference_lists_every_schema() -> None:
    assert set(table_column(ROOT / "docs" / "reference.md", "Schemas")) == in_source(r'"(trackyard-[a-z-]+/\d+)"')


def test_the_reference_lists_every_environment_variable() -> None:
    variables = in_source(r'"(TRACKYARD_[A-Z_]+|MLFLOW_TRACKING_URI)"')
    assert set(table_column(ROOT / "docs" / "reference.md", "Environment variables")) == variables


def test_the_reference_lists_every_make_target() -> None:
    text = (ROOT / "docs" / "reference.md").read_text()
    (line,) = re.findall(r"^Make targets: (.*)\.$", text, re.MULTILINE)
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert re.findall(r"`([a-z-]+)`", line) == targets


def test_the_table_of_benchmarks_is_what_make_bench_runs_and_what_it_leaves_out() -> None:
    text = (ROOT / "benchmarks" / "README.md").read_text()
    listed = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    out = re.findall(
        r"`python (?:-m benchmarks\.|benchmarks/)(\w+)", text.partition("leaves out")[2].partition("\n\n")[0]
    )
    assert sorted(listed) == sorted({*NAMES, *out} - {"verify", "url_ingest"})
    assert [name for name in out if not (ROOT / "benchmarks" / f"{name}.py").is_file()] == []


def test_every_dependency_has_a_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert sorted(table_column(ROOT / "docs" / "architecture.md", "Dependencies")) == sorted(project["dependencies"])


def test_layers_are_those_that_are_checked() -> None:
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    layers = [name.removeprefix("trackyard.") for name in reversed(contract["layers"]) if "|" not in name]
    packages = [name for name in layers if (ROOT / "src" / "trackyard" / name).is_dir()]
    assert set(packages) == {path.parent.name for path in (ROOT / "src" / "trackyard").glob("*/__init__.py")}
    assert f"    {', '.join(packages)}\n" in (ROOT / "docs" / "architecture.md").read_text()


@pytest.mark.parametrize("page", ["architecture.md", "molmo2.md", "recovering.md", "reference.md", "training.md"])
def test_modules_that_a_guide_names_exist(page: str) -> None:
    named = re.findall(r"`([a-z_0-9]+(?:/[a-z_0-9]+)*\.py)`", (ROOT / "docs" / page).read_text())
    assert [name for name in named if not (ROOT / "src" / "trackyard" / name).is_file()] == []
    assert named or page != "architecture.md"
