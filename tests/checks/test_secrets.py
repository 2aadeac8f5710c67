"""The scan finds what is planted, in files, names and history, and nothing in what only looks like it.

Planted values are put together at run time, so that this file is clean without exceptions.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checks.secrets import ALLOW, entropy, machine_paths, main, scan, scan_file, scan_history

RANDOM = "q7Zp2LxV9mKc4TbN8sYw" + "3RfJ6hDgA1eUoX5tPiMk"
"""40 characters without meaning."""

PLANTED = {
    "Hugging Face token": "hf" + "_" + RANDOM[:34],
    "AWS access key": "AKIA" + "Q7ZP2LXV9MKC4TBN",
    "GitHub token": "ghp" + "_" + RANDOM[:36],
    "GitLab, Slack, Google, PyPI or model-provider key": "glpat" + "-" + RANDOM[:20],
    "private key": "-----BEGIN RSA " + "PRIVATE KEY-----",
    "user and password in a URL": "https://alice" + ":" + "hunter22@example.org/x",
    "high-entropy value of a key, token or password": f'api_key = "{RANDOM}"',
    "package registry address": "--index-url" + " https://packages.example.org/simple",
    "path of one machine": "/home" + "/alice/data",
}
NO_MACHINE = machine_paths(Path("/"))


def _repository(root: Path) -> Path:
    for arguments in (["init", "-q"], ["config", "user.name", "t"], ["config", "user.email", "t@example.org"]):
        subprocess.run(["git", "-C", str(root), *arguments], check=True)
    return root


def _commit(root: Path, name: str, text: str) -> None:
    (root / name).write_text(text)
    subprocess.run(["git", "-C", str(root), "add", "-A"], check=True)
    subprocess.run(["git", "-C", str(root), "commit", "-qm", name], check=True)


@pytest.mark.parametrize("rule", PLANTED)
def test_each_rule_finds_its_kind_with_the_line_and_hides_most_of_it(rule: str) -> None:
    text = f"first line\nprefix {PLANTED[rule]}\n"
    [finding] = scan_file("src/x.py", text.encode(), machine=NO_MACHINE)
    assert (finding.where, finding.rule) == ("src/x.py:2", rule)
    assert len(finding.excerpt) <= 13


@pytest.mark.parametrize(
    "value",
    [
        f"HF_TOKEN={RANDOM}",
        f"aws_secret_access_key = {RANDOM}",
        f'{{"password": "{RANDOM[:16]}"}}',
        f"password: '{RANDOM[:18]}'",
    ],
)
def test_assignments_are_found_in_every_notation(value: str) -> None:
    assert [f.rule for f in scan_file("a", value.encode(), machine=NO_MACHINE)] == [
        "high-entropy value of a key, token or password"
    ]


@pytest.mark.parametrize(
    "innocent",
    [
        "https://${USER}:${PASSWORD}@example.org",
        "ssh://git@example.org/a/b",
        "http://127.0.0.1:5000/path@2x",
        'api_key = os.environ["SERVICE_API_KEY"]',
        'token = "<|image_placeholder_1|>"',
        "patch_token = IMAGE_PATCH_TOKEN_151938\n",
        "md5: 0123456789abcdef0123456789abcdef",
        "secret = 'aaaaaaaaaaaaaaaaaaaaaaaa1'",
        "${HOME}/data ~/data https://example.org/home/alice/x /home/$USER/x",
        "hf_hub_download(repo_id, filename)",
        "index_url = self.settings.address",
    ],
)
def test_what_only_looks_like_a_secret_is_left_alone(innocent: str) -> None:
    assert scan_file("src/x.py", innocent.encode(), machine=NO_MACHINE) == []


def test_fixed_formats_are_found_inside_binary_files() -> None:
    data = b"\0\xff\n" + PLANTED["AWS access key"].encode() + b"\0"
    assert [f.where for f in scan_file("a.bin", data, machine=NO_MACHINE)] == ["a.bin:2"]


@pytest.mark.parametrize("name", [".env", "conf/.env.local", ".netrc", "keys/id_rsa", ".dvc/config.local", "a/b.pem"])
def test_names_of_credential_files_are_findings(name: str) -> None:
    assert [f.rule for f in scan_file(name, b"", machine=NO_MACHINE)] == ["a file name that holds credentials"]


def test_a_token_in_a_file_name_is_a_finding() -> None:
    name = f"logs/{PLANTED['Hugging Face token']}.txt"
    assert [f.where for f in scan_file(name, b"", machine=NO_MACHINE)] == [name]


def test_the_exception_works_in_tests_only_and_for_its_line_only() -> None:
    secret = PLANTED["Hugging Face token"]
    excused = f"x = '{secret}'  # {ALLOW}\n"
    assert scan_file("tests/a.py", excused.encode(), machine=NO_MACHINE) == []
    assert len(scan_file("src/a.py", excused.encode(), machine=NO_MACHINE)) == 1
    assert len(scan_file("tests/a.py", f"{excused}y = '{secret}'\n".encode(), machine=NO_MACHINE)) == 1


def test_the_checkout_of_this_machine_is_recognised() -> None:
    machine = machine_paths(Path("/builds/project/main"))
    assert machine.search("see /builds/project/main/src")
    assert machine.search("cd /builds/other")
    assert machine.search("file://" + "/root" + "/x")
    assert not machine.search("build/builds/x")
    assert not machine_paths(Path("/tmp/checkout")).search("/tmp/other")


@given(st.text(min_size=1, max_size=60))
def test_entropy_is_between_zero_and_that_of_all_different_characters(text: str) -> None:
    assert -1e-9 <= entropy(text) <= len(text)
    assert entropy(text[0] * len(text)) == 0


def test_a_secret_that_was_removed_is_still_found_in_history(tmp_path: Path) -> None:
    root = _repository(tmp_path)
    _commit(root, "a.txt", f"one\n++ {PLANTED['GitHub token']}\n")
    _commit(root, "a.txt", "one\n")
    assert scan_file("a.txt", (root / "a.txt").read_bytes(), machine=NO_MACHINE) == []

    commits, left_out, [finding] = scan_history(root)
    assert (commits, left_out, finding.rule) == (2, 0, "GitHub token")
    assert finding.where.endswith("a.txt:2")
    assert scan_history(root, limit=1) == (1, 1, [])


def test_the_command_counts_passes_a_clean_repository_and_fails_on_a_planted_secret(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = _repository(tmp_path)
    _commit(root, "clean.txt", "nothing here\n")
    assert main(root) == 0
    assert capsys.readouterr().out == "secrets: 1 files and 1 commits examined, 0 findings\n"

    (root / "planted.py").write_text(PLANTED["high-entropy value of a key, token or password"])
    (root / "link").symlink_to(PLANTED["path of one machine"])
    assert main(root) == 1
    told = capsys.readouterr()
    assert told.out == "secrets: 3 files and 1 commits examined, 2 findings\n"
    assert "planted.py:1: high-entropy value" in told.err
    assert RANDOM not in told.err


def test_examining_nothing_is_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(_repository(tmp_path)) == 1
    assert "no file was examined" in capsys.readouterr().err


def test_this_repository_is_examined() -> None:
    assert scan(Path(__file__).parents[2]).files > 20
