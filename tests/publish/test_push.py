"""What would be pushed: every file, hashed and searched, and where it would go. Nothing is sent here."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3

from trackyard.errors import ConfigError, DataError
from trackyard.publish import push
from trackyard.publish.push import HUB, hub_endpoint, plan_push

REPO = "someone/export"
SECRET = "hf_" + "PushMe" * 6
FILES = {
    "README.md": b"# A card\n",
    "projector/world_config.json": b'{"mode": "pooled8"}\n',
    "model.safetensors": np.random.default_rng(0).standard_normal(20_000).astype(np.float32).tobytes(),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, data in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    return tmp_path


def test_every_file_is_planned_with_its_digests(folder: Path) -> None:
    plan = plan_push(folder, REPO, endpoint=HUB)
    assert {file.name: file.bytes for file in plan.files} == {name: len(data) for name, data in FILES.items()}
    for file in plan.files:
        data = FILES[file.name]
        assert (file.blake3, file.sha256) == (blake3(data).hexdigest(), hashlib.sha256(data).hexdigest())
    assert plan.bytes == sum(map(len, FILES.values()))


def test_the_identity_of_a_plan(folder: Path) -> None:
    plan = plan_push(folder, REPO, endpoint=HUB)
    assert plan_push(folder, REPO, endpoint=HUB).digest == plan.digest
    others = [
        plan_push(folder, "someone/other", endpoint=HUB),
        plan_push(folder, REPO, endpoint="https://hub.example.org"),
        plan_push(folder, REPO, endpoint=HUB, public=True),
    ]
    (folder / "README.md").write_text("# Another card\n")
    others.append(plan_push(folder, REPO, endpoint=HUB))
    assert len({plan.digest, *(other.digest for other in others)}) == 5


LEAKS = {
    SECRET: "a secret",
    "ghp_" + "a1B2" * 8: "a secret",
    "https://me:pass@example.org/x": "a secret",  # secret-scan: allow
    "the-very-word-of-the-shell": "a secret",
    "someone.private@example.org": "an e-mail address",
    "kept at /home/someone/models/a": "a path of a home folder",  # secret-scan: allow
    '"cache": "/Users/someone/models"': "a path of a home folder",  # secret-scan: allow
    "text in JSON: \\n/home/someone/x": "a path of a home folder",  # secret-scan: allow
    "file:///home/someone": "a path of a home folder",  # secret-scan: allow
    '"from": "/scratch/group7/data/x"': "an absolute path of this machine",
    '"_name_or_path": "/scratch/elsewhere/llama"': "an absolute path",
    '{\\"dir\\": \\"/scratch/elsewhere\\"}': "an absolute path",
}


@pytest.mark.parametrize("leak", LEAKS)
@pytest.mark.parametrize("name", ["README.md", "model.safetensors"])
def test_every_file_is_searched_and_what_is_found_is_not_repeated(
    folder: Path, name: str, leak: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUR_API_KEY", "the-very-word-of-the-shell")
    machine = ("/scratch/group7/data",)
    plan_push(folder, REPO, endpoint=HUB, machine=machine)  # the same files without it pass
    data = (folder / name).read_bytes()
    middle = len(data) // 2
    (folder / name).write_bytes(data[:middle] + b"\n" + leak.encode() + b"\n" + data[middle:])
    with pytest.raises(DataError) as caught:
        plan_push(folder, REPO, endpoint=HUB, machine=machine)
    assert caught.value.what == f"{name} holds {LEAKS[leak]}"
    assert leak not in str(caught.value)


def test_a_secret_of_several_lines_and_letters_is_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What no search of printable lines would see."""
    monkeypatch.setenv("OUR_SECRET", "first\nsecond\nthird")
    monkeypatch.setenv("OTHER_SECRET", "größer als drei")
    for secret in ("first\nsecond\nthird", "größer als drei"):
        (folder / "model.safetensors").write_bytes(FILES["model.safetensors"] + secret.encode() + b"\0")
        with pytest.raises(DataError, match=r"model\.safetensors holds a secret"):
            plan_push(folder, REPO, endpoint=HUB)


@pytest.mark.parametrize("leak", [SECRET, "someone.private@example.org"])
def test_names_are_searched_too(folder: Path, leak: str) -> None:
    (folder / leak).write_text("x")
    with pytest.raises(DataError, match=r"the name of file \d of 4 holds") as caught:
        plan_push(folder, REPO, endpoint=HUB)
    assert leak not in str(caught.value)


@pytest.mark.parametrize(
    "repo", ["export", "a/b/c", "../x", "a b/c", "/x", "https://hub/a/b", "a/b.git", "a/b--c", "a/b."]
)
def test_what_is_no_repository(folder: Path, repo: str) -> None:
    with pytest.raises(ConfigError, match="is no repository"):
        plan_push(folder, repo, endpoint=HUB)


def test_what_no_hub_would_take(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push, "MOST", 2)
    plan_push(folder, REPO, endpoint=HUB)  # two files above, one below
    (folder / "third").write_text("x")
    with pytest.raises(DataError, match="3 files in one folder"):
        plan_push(folder, REPO, endpoint=HUB)
    (folder / "third").unlink()
    monkeypatch.setattr(push, "LARGEST", 79_999)
    with pytest.raises(DataError, match=r"model\.safetensors has 80,000 bytes"):
        plan_push(folder, REPO, endpoint=HUB)


def test_a_link_and_a_folder_without_files(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no file"):
        plan_push(tmp_path / "absent", REPO, endpoint=HUB)
    (folder / "more").symlink_to(folder / "README.md")
    with pytest.raises(DataError, match="more is a link"):
        plan_push(folder, REPO, endpoint=HUB)


def test_the_address_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    assert hub_endpoint(None) == "https://huggingface.co"
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:8000/hub/")
    assert hub_endpoint(None) == "http://127.0.0.1:8000/hub"
    assert hub_endpoint("https://hub.example.org") == "https://hub.example.org"
    assert hub_endpoint("http://[::1]:8000/") == "http://[::1]:8000"
    assert hub_endpoint("https://[2001:db8::1]/hub") == "https://[2001:db8::1]/hub"


@pytest.mark.parametrize(
    "address",
    [
        "https://me:word@hub.example.org",  # secret-scan: allow
        "https://me@hub.example.org", "ftp://hub.example.org", "hub.example.org", "https:///path", "https://h?token=x",
        "https://h#x", "https://h:port", "http://[::1",
    ],
)  # fmt: skip
def test_an_address_that_is_refused_is_not_repeated(address: str) -> None:
    with pytest.raises(ConfigError) as caught:
        hub_endpoint(address)
    assert address not in str(caught.value)


@pytest.mark.parametrize("proxy", ["http_proxy", "HTTP_PROXY", "all_proxy"])
def test_a_token_is_not_shown_to_a_proxy(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback needs no network, but where a proxy is asked for it, the token leaves the machine."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv(proxy, "http://proxy.example.org:3128")
    assert hub_endpoint("https://hub.example.org") == "https://hub.example.org"  # a tunnel that it cannot look into
    with pytest.raises(ConfigError, match=r"NO_PROXY does not name 127\.0\.0\.1"):
        hub_endpoint("http://127.0.0.1:8000")
    monkeypatch.setenv("NO_PROXY", "example.org,127.0.0.1")
    assert hub_endpoint("http://127.0.0.1:8000") == "http://127.0.0.1:8000"


def test_a_token_is_not_sent_in_the_clear() -> None:
    with pytest.raises(ConfigError, match=r"hub\.example\.org is asked over http") as caught:
        hub_endpoint("http://hub.example.org:8000")
    assert "ssh -L 8080:hub.example.org:8000" in caught.value.fix
