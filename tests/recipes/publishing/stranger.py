"""A process that cannot find this project: what a published folder must be usable in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

GONE = """
import importlib.util, pathlib, sys
sys.path[:] = [p for p in sys.path if p and not (pathlib.Path(p) / "trackyard").is_dir()]
sys.meta_path[:] = [f for f in sys.meta_path if "editable" not in repr(f)]
if importlib.util.find_spec("trackyard") is not None:
    sys.exit("the project can still be found")
"""
"""Run as sitecustomize: before any line of the program, after the editable install has put itself on the path."""
PROGRAM = """
import importlib.util, json, sys
def load(path):
    spec = importlib.util.spec_from_file_location("published", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
def run(arguments):
{body}
found = run(json.loads(sys.argv[1]))
assert importlib.util.find_spec("trackyard") is None
assert not any(name.split(".")[0] == "trackyard" for name in sys.modules), "the project was imported"
print(json.dumps(found))
"""


def ask_stranger(body: str, arguments: Any, scratch: Path) -> Any:
    """What `body`, lines of a function of `arguments` that may `load` a published file, returns elsewhere."""
    (scratch / "site").mkdir(exist_ok=True)
    (scratch / "site" / "sitecustomize.py").write_text(GONE)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "TRACKYARD", "COV"))}
    environment = kept | {"PYTHONPATH": str(scratch / "site"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    indented = "\n".join(f"    {line}" for line in body.strip().splitlines())
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("{body}", indented), json.dumps(arguments)],
        cwd=scratch, env=environment, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])
