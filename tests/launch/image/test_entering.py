"""The one `apptainer exec` line: what is in it, what never is, and what is said before apptainer would say 255."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trackyard.errors import ConfigError, EnvironmentLacking
from trackyard.launch.image.entering import Bind, Entering, entering_argv, entering_environment


@pytest.fixture
def entering(tmp_path: Path, apart: None) -> Entering:
    for name in ("work", "data"):
        (tmp_path / name).mkdir()
    (tmp_path / "a.sif").write_bytes(b"image")
    return Entering(
        image=tmp_path / "a.sif", digest="sha256:" + "a" * 64, command=("python", "-c", "print(1, 2)"),
        workdir=tmp_path / "work", gpus=False,
    )  # fmt: skip


def test_the_line_is_the_one_of_the_specification(entering: Entering, tmp_path: Path) -> None:
    full = replace(
        entering,
        gpus=True,
        environment={"RANK": "1", "CUDA_VISIBLE_DEVICES": "0,1", "EMPTY": ""},
        binds=(Bind(source=tmp_path / "data", target=Path("/data"), read_only=True),),
    )
    at = str(tmp_path)
    assert entering_argv(full) == [
        "apptainer", "-q", "exec", "--cleanenv", "--no-home", "--nv",
        "--env", "CUDA_VISIBLE_DEVICES=0,1", "--env", "EMPTY=", "--env", "RANK=1",
        "--bind", f"{at}/work:{at}/work", "--bind", f"{at}/data:/data:ro",
        "--pwd", f"{at}/work", f"{at}/a.sif", "python", "-c", "print(1, 2)",
    ]  # fmt: skip
    assert "--nv" not in entering_argv(entering)


def test_secrets_are_handed_over_and_never_in_the_line(entering: Entering) -> None:
    secrets = {
        "MLFLOW_TRACKING_PASSWORD": "open sesame 1",
        "MLFLOW_TRACKING_URI": "https://user" + ":pass-word-9@host/x",
        "AWS_ACCESS_KEY_ID": "AK" + "IA" + "ABCDEFGHIJKLMNOP",
        "HF_TOKEN": "x",
    }
    full = replace(entering, environment=secrets | {"RANK": "0"})
    line = " ".join(entering_argv(full))
    assert "RANK=0" in line
    assert not [name for name, value in secrets.items() if name in line or value in line.split()]
    handed = entering_environment(full, {})
    assert handed == {f"APPTAINERENV_{name}": value for name, value in secrets.items()}


def test_a_secret_in_the_command_is_refused(entering: Entering) -> None:
    with pytest.raises(ConfigError, match="holds a secret"):
        entering_argv(replace(entering, command=("curl", "--header=authorization: bearer abcdefgh12345678")))


@pytest.mark.parametrize(
    ("value", "handed"),
    [
        ("a=b,c=d", "a=b,c=d"),
        ('say "x"', 'say "x"'),
        ("$HOME", r"\$HOME"),
        ("`id`", r"\`id\`"),
        ("end\\", "end\\\\"),
        ("two\nlines", "two\nlines"),
        ("ünï", "ünï"),
    ],
)
def test_values_that_the_option_would_change_are_handed_over_literally(
    entering: Entering, value: str, handed: str
) -> None:
    full = replace(entering, environment={"NCCL_X": value})
    assert "--env" not in entering_argv(full)
    assert entering_environment(full, {}) == {"APPTAINERENV_NCCL_X": handed}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.from_regex(r"[A-Z][A-Z_]{0,8}", fullmatch=True), st.text(max_size=20), max_size=4))
def test_every_variable_passes_exactly_once(entering: Entering, variables: Mapping[str, str]) -> None:
    full = replace(entering, environment=variables)
    argv = entering_argv(full)
    named = {argv[at + 1].partition("=")[0] for at, word in enumerate(argv) if word == "--env"}
    handed = {name.removeprefix("APPTAINERENV_") for name in entering_environment(full, {})}
    assert named | handed == set(variables)
    assert not named & handed


def test_nothing_of_the_host_reaches_past_the_line(entering: Entering) -> None:
    host = {
        "PATH": "/bin", "APPTAINER_CACHEDIR": "/c", "APPTAINER_USERNS": "1", "APPTAINERENV_PYTHONPATH": "/evil",
        "SINGULARITYENV_LD_PRELOAD": "/evil", "APPTAINER_BIND": "/evil", "SINGULARITY_BIND": "/evil",
        "APPTAINER_HOME": "/evil",
    }  # fmt: skip
    assert entering_environment(entering, host) == {
        "PATH": "/bin", "APPTAINER_CACHEDIR": "/c", "APPTAINER_USERNS": "1"
    }  # fmt: skip


def test_what_is_missing_is_named_before_the_call(entering: Entering, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentLacking, match=r"the image .*none\.sif does not exist") as raised:
        entering_argv(replace(entering, image=tmp_path / "none.sif"))
    assert raised.value.fix == "trackyard image build none"
    bind = Bind(source=tmp_path / "absent", target=Path("/x"))
    with pytest.raises(EnvironmentLacking, match="absent does not exist on this node") as raised:
        entering_argv(replace(entering, binds=(bind,)))
    assert raised.value.fix.startswith(f"mkdir -p {tmp_path}/absent ")


def test_without_apptainer(entering: Entering, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "work"))
    with pytest.raises(EnvironmentLacking, match="apptainer is not on PATH"):
        entering_argv(entering)


@pytest.mark.parametrize("target", ["/a:b", "/a,b", "a", "/a\nb"])
def test_a_path_that_a_bind_cannot_express_is_refused(entering: Entering, tmp_path: Path, target: str) -> None:
    with pytest.raises(ConfigError, match="cannot be bound"):
        entering_argv(replace(entering, binds=(Bind(source=tmp_path, target=Path(target)),)))


def test_the_environment_of_this_process_is_left_alone(entering: Entering) -> None:
    before = dict(os.environ)
    entering_environment(replace(entering, environment={"A": "$x"}), os.environ)
    assert dict(os.environ) == before


def test_the_fix_for_a_file_of_a_store_names_the_image(entering: Entering, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentLacking) as raised:
        entering_argv(replace(entering, image=tmp_path / "train-0123456789ab.sif"))
    assert raised.value.fix == "trackyard image build train"
