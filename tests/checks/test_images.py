"""Image definitions that would build on sand are found; the shipped ones pass."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from checks.image_rules import apt_packages, pip_requirements, proof, told
from checks.images import DOCKERFILE, TWIN, examine, main

ROOT = Path(__file__).resolve().parents[2]
CPU = "containers/cpu.def"
DIGEST = "@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "containers").mkdir()
    for name in (CPU, TWIN, DOCKERFILE, ".hadolint.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_shipped_definitions_are_sound_and_counted(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert examine(root).problems == ()
    assert main(root) == 0
    assert capsys.readouterr().out == f"images: 3 definitions ({CPU}, {TWIN}, {DOCKERFILE}), 0 problems\n"


@pytest.mark.parametrize("name", [CPU, TWIN, DOCKERFILE])
def test_an_absent_definition_is_a_problem(root: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    (root / name).unlink()
    assert main(root) == 1
    assert f"{name}: is absent" in capsys.readouterr().out


def test_a_definition_without_form_stops_with_its_line(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / CPU).write_text("From: x\n%post\n")
    assert main(root) == 1
    assert "containers/cpu.def:2: %post before any `Bootstrap:`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "old", "new", "problem"),
    [
        # Bases.
        (TWIN, "{{ CUDA_NAME }}@{{ CUDA_DIGEST }}", "{{ CUDA_NAME }}", "is not pinned as name:tag@sha256:…"),
        (TWIN, "BASE_NAME=python:3.11.16-slim-bookworm", "BASE_NAME=python", "is not pinned as name:tag@sha256:…"),
        (TWIN, DIGEST[1:], f"{DIGEST[1:-1]}c", "BASE_DIGEST is sha256:"),
        (CPU, "Bootstrap: localimage", "Bootstrap: debootstrap", "cannot be pinned by a digest"),
        (DOCKERFILE, "${BASE_NAME}@${BASE_DIGEST} AS image", "${BASE_NAME} AS image", "is not pinned as name:tag"),
        (TWIN, "Stage: cuda", "Stage: other", "%files from cuda: there is no such stage before it"),
        # The lock.
        (CPU, "    requirements.lock /usr/local/share/trackyard/requirements.lock\n", "", "is not copied, or not"),
        (CPU, "| sha256sum --check --quiet\n    cd", "| cat\n    cd", "is not copied, or not compared with its label"),
        (CPU, "/usr/local/venv/bin/pip check", "true", "`pip check` is not run"),
        (CPU, "requirements.lock cpu", "other.lock cpu", "%test does not prove requirements.lock"),
        (DOCKERFILE, "| sha256sum --check --quiet", "", "requirements.lock is not compared with its label"),
        # Labels.
        (CPU, "    org.opencontainers.image.version {{ VERSION }}\n", "", "image.version is absent or empty"),
        (CPU, "image.base.digest {{ BASE_DIGEST }}", "image.base.digest", "image.base.digest is absent or empty"),
        (CPU, "trackyard-cpu", "trackyard", "its title is not trackyard-cpu"),
        (DOCKERFILE, "ARG REVISION\n", "", "label org.opencontainers.image.revision is absent or empty"),
        (DOCKERFILE, "ARG BASE_NAME\nARG BASE_DIGEST\n", "", "label org.opencontainers.image.base.digest is absent"),
        # The machine that builds, and hygiene.
        (CPU, "%runscript", "%setup\n    true\n\n%runscript", "%setup runs on the machine that builds"),
        (CPU, "    rm -rf /wheels\n", "    rm -rf /wheels /tmp/*\n", "%post deletes in a directory of all"),
        (CPU, "    rm -rf /wheels\n", "    rm -rf /wheels /\n", "%post deletes /"),
        (CPU, "    rm -rf /wheels\n", "    find / -name tests -delete\n", "%post walks over /"),
        (CPU, "    set -eu\n", "", "%post does not begin with `set -eu`"),
        (CPU, "    rm -rf /var/lib/apt/lists/*\n", "", "%post leaves the lists of packages"),
        (CPU, "    export PYTHONNOUSERSITE=1\n", "", "%environment does not set PYTHONNOUSERSITE=1"),
        (CPU, "%runscript\n    exec python \"$@\"\n", "", "%runscript is absent or empty"),
        (CPU, "    SOURCE=unpublished\n", "    SOURCE=unpublished\n    OTHER=1\n", "nothing in it uses: OTHER"),
        # Hosts and secrets.
        (CPU, "--no-index ", "--index-url" + "=https://example.org/simple ", "%post names a host"),
        (CPU, "apt-get update", "curl -O mirror.example.com/x; apt-get update", "%post names a host"),
        (CPU, "    cd /wheels\n", "    cd /wheels; export HF_TOKEN=x\n", "%post speaks of a secret"),
        (DOCKERFILE, "&& pip check", "&& pip check --cert https://example.org/x", "RUN names a host"),
        (DOCKERFILE, "ENV LC_ALL", "ENV API_KEY=x LC_ALL", "ENV speaks of a secret"),
        # Two definitions of one image.
        (DOCKERFILE, "librdmacm1 rdma-core", "librdmacm1", "its packages of apt are"),
        (DOCKERFILE, "--requirement=requirements.lock", "--requirement=other.txt", "its files that pip installs are"),
        (DOCKERFILE, "COPY requirements.lock containers/train.lock", "COPY requirements.lock", "its files of pins are"),
        (DOCKERFILE, "3869b846", "3869b847", "its bases are"),
        (DOCKERFILE, "DS_BUILD_UTILS=1", "DS_BUILD_UTILS=0", "its operations are"),
        (DOCKERFILE, 'ARCHITECTURES="8.0;9.0"', 'ARCHITECTURES="8.0"', "its architectures are 8.0, those of"),
        (DOCKERFILE, "train 13.0", "train 12.8", "its things proved are"),
        (DOCKERFILE, "driver=580.65.06", "driver=570", "its label org.trackyard.driver is '570'"),
        # What hadolint finds, and what it misses.
        (DOCKERFILE, "USER 10001\n", "", "it runs as root"),
        (DOCKERFILE, "USER 10001\n", "USER 10001\nFROM ${BASE_NAME}@${BASE_DIGEST} AS last\n", "it runs as root"),
        (DOCKERFILE, "ENTRYPOINT [\"python\"]", "ENTRYPOINT python", "DL3025"),
        (DOCKERFILE, "      org.trackyard.cuda=13.0 \\\n", "", "DL3049"),
        (DOCKERFILE, "--no-install-recommends g++ \\\n    &&", "g++ \\\n    &&", "DL3015"),
        (DOCKERFILE, "USER 10001\n", "RUN cat <<END\nx\nEND\nUSER 10001\n", "heredocs are misread"),
    ],
)  # fmt: skip
def test_what_is_unsound_is_found(root: Path, name: str, old: str, new: str, problem: str) -> None:
    text = (root / name).read_text()
    assert old in text
    (root / name).write_text(text.replace(old, new, 1))
    assert [one for one in examine(root).problems if one.startswith(name) and problem in one]


def test_hadolint_that_crashes_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = root / "bin" / "hadolint"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho Prelude.head >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(root / "bin" / "python"))
    assert f"{DOCKERFILE}: {DOCKERFILE}: hadolint ended with 3: Prelude.head" in [
        f"{DOCKERFILE}: {one}" for one in examine(root).problems
    ]


def test_what_commands_install_is_read_over_line_breaks() -> None:
    text = "apt-get install -y --no-install-recommends a \\\n    b && apt-get clean\n# apt-get install c\n"
    assert apt_packages(text) == ["a", "b"]
    assert pip_requirements('pip install --requirement="$lock"\npip install \\\n  --requirement=/x/train.lock\n') == [
        "requirements.lock",
        "train.lock",
    ]
    assert proof("exec python /x/prove.py \\\n    /x/requirements.lock train 13.0") == [
        "requirements.lock",
        "train",
        "13.0",
    ]


def test_names_of_labels_are_no_hosts() -> None:
    assert list(told("org.opencontainers.image.title x", "%labels")) == []
    assert list(told("org.opencontainers.image.source example.org/x", "%labels")) != []
    assert list(told("# see https://example.org", "%post")) == []


def test_an_engine_is_sent_only_what_the_dockerfile_copies() -> None:
    lines = (ROOT / "containers" / "Dockerfile.dockerignore").read_text().splitlines()
    (copied,) = re.findall(r"^COPY (?!--from)(.*) \S+$", (ROOT / DOCKERFILE).read_text(), re.MULTILINE)
    assert [line for line in lines if not line.startswith("#")] == ["*", *(f"!{name}" for name in copied.split())]
    assert all((ROOT / name).is_file() for name in copied.split())
