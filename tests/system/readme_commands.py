"""Which test executes which command of the README."""

from __future__ import annotations

_DEMO = "tests/system/test_demo.py"
_HERE = "tests/test_readme.py"
_GUIDE = "tests/system/test_data_guide.py"
_NINE = "tests/system/test_nine.py"
_INSIDE = "tests/system/test_demo_inside.py"
_ALL = "tests/system/test_demo_all.py"

EXECUTED_BY: dict[str, str] = {
    "make demo": f"{_DEMO}::test_demo",
    "dvc repro pipelines/pile_ffn/dvc.yaml": "tests/system/test_pile_ffn.py::test_repro_again_does_nothing",
    "trackyard estimate pile_ffn study --profile pythia-1.4b-a100 --site slurm-template": (
        f"{_HERE}::test_the_estimate_of_a_study"
    ),
    "dvc repro pipelines/datacomp/dvc.yaml": "tests/system/test_datacomp.py::test_nothing_is_run_twice",
    "trackyard estimate datacomp study --profile theworld-100k-h200 --site slurm-template": (
        f"{_HERE}::test_the_estimate_of_a_study"
    ),
    "dvc repro pipelines/nine/dvc.yaml": f"{_NINE}::test_nothing_is_run_twice",
    "trackyard evaluate tasks --group nine": f"{_NINE}::test_the_tasks_are_listed",
    "make demo-all": f"{_ALL}::test_every_pipeline_ran_once_and_the_report_last",
    "dvc repro compare": f"{_ALL}::test_nothing_is_run_twice",
    "make test": f"{_HERE}::test_ci_runs_the_tests",
    "trackyard preflight stage1": f"{_HERE}::test_the_plan",
    "trackyard plan build stage1": f"{_HERE}::test_the_plan",
    "trackyard plan check stage1": f"{_HERE}::test_the_plan",
    "trackyard feed view stage1 --out view.html": f"{_HERE}::test_the_plan",
    "trackyard mixture show stage2 --params profiles/report.yaml --sizes catalog": f"{_HERE}::test_the_plan",
    "trackyard estimate molmo2 stage2 --profile h100 --site anvil": f"{_HERE}::test_the_estimate",
    "trackyard site show anvil": f"{_HERE}::test_a_site_is_shown",
    "trackyard doctor": f"{_HERE}::test_the_doctor_and_the_recipe_on_a_cluster",
    "trackyard submit stage3 --dry-run --force --site anvil --partition ai --profile h100": (
        f"{_HERE}::test_the_doctor_and_the_recipe_on_a_cluster"
    ),
    "make image": f"{_INSIDE}::test_dvc_repro_inside_gives_the_weights_of_outside",
    'apptainer exec --cleanenv --no-home containers/cpu.sif python -c "import torch; print(torch.__version__)"': (
        f"{_INSIDE}::test_dvc_repro_inside_gives_the_weights_of_outside"
    ),
    "TRACKYARD_SITE=local-apptainer dvc repro stage2": f"{_INSIDE}::test_dvc_repro_inside_gives_the_weights_of_outside",
    "trackyard data plan stage1": f"{_GUIDE}::test_from_an_empty_disk_to_a_verified_snapshot",
    "trackyard data fetch stage1 --dry-run": f"{_GUIDE}::test_from_an_empty_disk_to_a_verified_snapshot",
    "trackyard params": f"{_HERE}::test_the_parameters",
    "trackyard data verify": f"{_HERE}::test_the_data_are_proved",
    "trackyard data import examples/import/mmmu_pro.yaml --base ~/my-data --target data/mini": (
        f"{_HERE}::test_own_data_join_the_snapshot"
    ),
    "trackyard lineage verify artifacts/molmo2/stage3/export": (
        f"{_DEMO}::test_the_lineage_of_the_last_export_is_proved"
    ),
    "trackyard compare --track pile_ffn": f"{_ALL}::test_the_arms_are_ranked",
    "trackyard report": f"{_ALL}::test_the_report_is_written_again",
    "trackyard record status": f"{_ALL}::test_nothing_waits_for_mlflow",
    "make ui": f"{_DEMO}::test_ui",
    "dvc repro stage2": f"{_DEMO}::test_repro_again_does_nothing",
}
"""Command -> "tests/file.py::test_name"; `checks.readme.registry_problems` compares it with the page."""
