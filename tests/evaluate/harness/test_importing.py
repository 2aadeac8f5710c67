"""The harness imported beforehand: everything that a run takes, and nothing of its surroundings left behind."""

from __future__ import annotations

import os
import subprocess
import sys

SCRIPT = """
import gc, os, sys
from trackyard.evaluate.harness.run import import_harness
print("lm_eval.evaluator" in sys.modules)
import_harness()
wanted = ("lm_eval.evaluator", "lm_eval.models.huggingface", "transformers.modeling_utils")
print(all(name in sys.modules for name in wanted))
frozen = gc.get_freeze_count()
import_harness()
print(gc.isenabled() and 100_000 < gc.get_freeze_count() <= frozen)
import datasets.config
print(datasets.config.HF_HUB_OFFLINE, os.environ.get("HF_HUB_OFFLINE"))
"""


def test_it_is_imported_once_and_nothing_stays_set() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_OFFLINE")}
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=120, check=True
    )
    assert found.stdout.split("\n")[:4] == ["False", "True", "True", "False None"]
