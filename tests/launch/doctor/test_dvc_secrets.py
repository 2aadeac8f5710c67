"""Secrets in the settings of DVC: never in the committed file, and there where a path names them."""

from __future__ import annotations

import shlex
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from dvc.config_schema import REMOTE_SCHEMAS

from tests.launch.doctor.asking import asking
from trackyard.errors import ConfigError, EnvironmentLacking
from trackyard.launch.doctor.dvc_secrets import FILES, SECRET, dvc_secrets_row
from trackyard.launch.doctor.remote import remote_row
from trackyard.launch.preflight import Skipped
from trackyard.redact import is_secret_name

VALUE = "never-" + "shown"
S3 = "s3://bucket/x"


def configured(root: Path, url: str, *, more: str = "", local: str = "") -> Path:
    """A repository whose committed settings have `more` of the remote, and its local ones `local`."""
    (root / ".dvc").mkdir(exist_ok=True)
    section = "['remote \"far\"']\n"
    (root / ".dvc" / "config").write_text(f"[core]\n    remote = far\n{section}    url = {url}\n{more}")
    (root / ".dvc" / "config.local").write_text(f"{section}{local}" if local else "")
    return root


def test_every_option_of_dvc_that_is_named_like_a_secret_is_one() -> None:
    texts = {option for schema in REMOTE_SCHEMAS.values() for option, kind in schema.items() if kind is str}
    assert texts >= SECRET | set(FILES)
    assert {option for option in texts if is_secret_name(option)} <= SECRET


@pytest.mark.parametrize(
    ("url", "option"),
    [
        (S3, "secret_access_key"),
        ("https://host.example/x", "password"),
        ("ssh://host.example/x", "passphrase"),
        ("azure://box/x", "connection_string"),
    ],
)
def test_a_secret_in_the_committed_file_fails(tmp_path: Path, url: str, option: str) -> None:
    setting = f"    {option} = {VALUE}\n"
    with pytest.raises(ConfigError) as raised:
        dvc_secrets_row(asking(configured(tmp_path, url, more=setting)))
    assert raised.value.what == f".dvc/config holds remote.far.{option}"
    assert VALUE not in str(raised.value)
    keys = {"AWS_ACCESS_KEY_ID": VALUE, "AWS_SECRET_ACCESS_KEY": VALUE}
    seen = dvc_secrets_row(asking(configured(tmp_path, url, local=setting), environment=keys))
    assert seen.detail.startswith("none in .dvc/config")


def test_its_fix_takes_it_out(tmp_path: Path) -> None:
    address = "https://somebody:" + VALUE + "@host.example/x"
    asked = asking(configured(tmp_path, address, more=f"    password = {VALUE}\n"))
    with pytest.raises(ConfigError) as raised:
        dvc_secrets_row(asked)
    assert VALUE not in str(raised.value)
    first, second = raised.value.fix.partition(";")[0].split(" && ")
    assert second == "dvc config remote.far.url ADDRESS-WITHOUT-IT"
    for line in (first, second.replace("ADDRESS-WITHOUT-IT", "https://host.example/x")):
        words = [sys.executable, "-m", *shlex.split(line)]
        subprocess.run([*words[:3], "config", *words[4:]], cwd=tmp_path, check=True, capture_output=True)
    assert dvc_secrets_row(asked).examined == 1


def test_a_secret_of_another_section_is_found(tmp_path: Path) -> None:
    configured(tmp_path, "../kept", more=f"[studio]\n    token = {VALUE}\n")
    with pytest.raises(ConfigError, match=r"holds studio\.token"):
        dvc_secrets_row(asking(tmp_path))


@pytest.mark.parametrize(
    ("url", "option"),
    [(S3, "credentialpath"), (S3, "configpath"), ("gs://bucket/x", "credentialpath"), ("ssh://host/x", "keyfile")],
)
@pytest.mark.parametrize("local", [True, False])
def test_a_file_of_secrets_that_is_not_there_fails(tmp_path: Path, url: str, option: str, local: bool) -> None:
    named = {"local" if local else "more": f"    {option} = ../keys\n"}
    asked = asking(configured(tmp_path, url, **named), environment={"HOME": str(tmp_path)})
    with pytest.raises(EnvironmentLacking, match="there is no such file") as raised:
        dvc_secrets_row(asked)
    assert raised.value.what == f"{option} of remote far is {tmp_path / 'keys'}, and there is no such file"
    assert f"dvc remote modify --local far {option} FILE" in raised.value.fix
    (tmp_path / "keys").write_text("")
    assert f"the {option} of remote far is there" in dvc_secrets_row(asked).detail


def test_a_bucket_needs_keys(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path)}
    asked = asking(configured(tmp_path, S3), environment=home)
    with pytest.raises(EnvironmentLacking, match="AWS_ACCESS_KEY_ID is not set") as raised:
        dvc_secrets_row(asked)
    assert raised.value.exit_code == 3
    for name in ("credentials", "config"):
        (tmp_path / ".aws").mkdir(exist_ok=True)
        (tmp_path / ".aws" / name).write_text("")
        assert dvc_secrets_row(asked).detail.endswith(f"{tmp_path / '.aws' / name} is there")
        (tmp_path / ".aws" / name).unlink()
    configured(tmp_path, S3, local="    access_key_id = a\n    secret_access_key = b\n")
    assert ".dvc/config.local" in dvc_secrets_row(asked).detail
    configured(tmp_path, S3, more="    allow_anonymous_login = true\n")
    assert dvc_secrets_row(asked).detail.endswith("read without keys")


def test_no_remote_needs_no_secret(tmp_path: Path) -> None:
    with pytest.raises(Skipped, match=r"no \.dvc"):
        dvc_secrets_row(asking(tmp_path))
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("")
    assert dvc_secrets_row(asking(tmp_path)).detail.endswith("no remote needs one")


def test_a_bucket_is_asked_for_with_the_keys_of_the_named_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As DVC does: the variable counts first, then the path of its settings, then the place below the home."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SHARED_CREDENTIALS_FILE", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    seen: list[str | None] = []

    class Store(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            seen.append(self.headers.get("Authorization"))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    (tmp_path / "keys").write_text("[default]\naws_access_key_id = of-a-file\naws_secret_access_key = b\n")
    with HTTPServer(("127.0.0.1", 0), Store) as server:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        address = f"    endpointurl = http://127.0.0.1:{server.server_port}\n"
        remote_row(asking(configured(tmp_path, S3, more=address, local="    credentialpath = ../keys\n")))
        remote_row(asking(configured(tmp_path, S3, more=f"{address}    allow_anonymous_login = true\n")))
        server.shutdown()
    signed, unsigned = seen
    assert signed is not None
    assert "Credential=of-a-file/" in signed
    assert unsigned is None
