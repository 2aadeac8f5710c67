"""Secrets are removed by shape, by name and by value; ordinary text is left alone (reliability F24)."""

from __future__ import annotations

import base64
import io
import json
import logging
import sys
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.errors import ConfigError
from trackyard.redact import (
    REDACTED,
    SHORTEST,
    RedactingFormatter,
    Redactor,
    held_by,
    is_secret_name,
    redact_terminal,
    require_public,
)

# Put together here, so that no file of this repository contains anything that looks like a secret.
HUB = "hf_" + "Qw3rTy" * 6
AWS = "AKIA" + "ABCDEFGH12345678"
GITHUB = "ghp_" + "a1B2" * 9
PASSWORD = "corr3ct" + "horse"


@pytest.mark.parametrize(
    "text",
    [
        HUB,
        f"401 Client Error for token {HUB}.",
        f"--token={HUB}",
        AWS,
        GITHUB,
        "xoxb-" + "1234567890-" * 2 + "AbCdEf",
        "AIza" + "Sy0" * 11 + "ab",
        "pypi-" + "AgEIcHlwaS5vcmc" * 3,
        ".".join(("eyJ" + "hbGciOiJI", "eyJ" + "zdWIiOiIx", "SflKxwRJSMeK")),
        f"https://user:{PASSWORD}@example.org/x",
        f"postgresql://user:{PASSWORD}@db/x",
        f"https://{PASSWORD}@example.org",
        f"Authorization: Bearer {PASSWORD}123",
        f"authorization: Basic {PASSWORD}",
        f"aws_secret_access_key = {PASSWORD}",
        f"password: {PASSWORD}",
        f"https://bucket.example.org/x?X-Amz-Signature={PASSWORD}&part=1",
        f"https://example.org/x?token={PASSWORD}",
        f"https://user:p@{PASSWORD}@example.org/x",  # secret-scan: allow
        f"https://user:{PASSWORD}@example.org,http://me:{PASSWORD}@b.org",
        json.dumps({"said": f"401\n{HUB}", "umlaut": f"\u00fc{HUB}"}),
        quote(f"x={HUB}"),
        json.dumps({"db_password": PASSWORD}),
        json.dumps({"text": json.dumps({"api_key": PASSWORD})}),
        repr({"hf_token": PASSWORD}),
        f"Client(api_key='{PASSWORD}')",
        f"AccountName=a;AccountKey={PASSWORD}==;",
        "\n".join(
            (
                "-----BEGIN RSA " + "PRIVATE KEY-----",
                "DEK-Info: AES-128-CBC,00",
                "",
                PASSWORD,
                "-----END RSA PRIVATE KEY-----",
            )
        ),
    ],
)
def test_a_secret_is_removed_wherever_it_stands(text: str) -> None:
    redacted = Redactor({}).text(text)
    for secret in (HUB, AWS, GITHUB, PASSWORD):
        assert secret not in redacted
    assert REDACTED in redacted
    assert Redactor({}).text(redacted) == redacted


def test_the_rest_of_the_text_stays() -> None:
    assert Redactor({}).text(f"GET https://a:{PASSWORD}@example.org/x failed") == (
        f"GET https://{REDACTED}@example.org/x failed"
    )


@pytest.mark.parametrize(
    "text",
    [
        "loss 0.25 at step 7",
        "allenai/Molmo2-4B",
        "d" * 40,
        "max_tokens: 16384 tokens_per_step=65536 pad_token=<pad>",
        "https://example.org/a@b/c?part=1",
        "basic arithmetic, bearer of good news",
        "<|image|> Describe this image.",
        "mail someone@example.org",
        "runs/molmo2/stage2/0123456789ab",
        "api_key=None, password: null, use_auth_token=false",
        '{"password": 20345, "secret": 31, "\u0120signature": 4}',  # a vocabulary
        "shelf_0123456789abcdefghij, a task-list-of-twenty-letters",
        "https://example.org?mail=someone@example.org",
    ],
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert Redactor({}).text(text) == text


@pytest.mark.parametrize(
    "name",
    ["HF_TOKEN", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "DB_PASSWORD", "MY_SECRET", "PGPASSWORD", "SSHPASS",
     "DB_PASS", "GPG_PASSPHRASE", "STORAGE_ACCOUNT_KEY"],
)  # fmt: skip
def test_the_value_of_a_secret_variable_is_removed_whatever_its_shape(name: str) -> None:
    redactor = Redactor({name: "plain-looking words"})
    assert redactor.text("it says plain-looking words here") == f"it says {REDACTED} here"


@pytest.mark.parametrize(
    "environment",
    [
        {"TOKENIZERS_PARALLELISM": "disabled-here"},
        {"HF_TOKEN_PATH": "disabled-here"},
        {"PATH": "disabled-here"},
        {"PWD": "disabled-here"},
        {"HF_TOKEN": "here"},
        {"HF_TOKEN": ""},
        {"HF_TOKEN": "true", "OTHER_TOKEN": "1", "API_KEY": " " * 12},
    ],
)
def test_other_variables_and_short_values_do_not_shred_text(environment: dict[str, str]) -> None:
    text = f"disabled-here{' ' * 20}"
    assert Redactor(environment).text(text) == text


@given(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=SHORTEST, max_size=40).filter(
        lambda text: len(text.strip()) >= SHORTEST
    ),
    st.text(max_size=5),
)
def test_a_value_is_known_in_every_form_that_it_is_written_in(secret: str, before: str) -> None:
    environment, secret = {"MY_SECRET": secret}, secret.strip()
    coded = base64.b64encode(before.encode(errors="replace") + secret.encode() + b":more").decode()
    for written in (secret, json.dumps(secret), json.dumps(secret, ensure_ascii=False), quote(secret, safe=""), coded):
        text = f"({written})"
        assert held_by(text.encode(), environment) == "MY_SECRET"
        assert Redactor(environment).holds(b"\xff" + text.encode())
        assert REDACTED in Redactor(environment).text(text)


def test_what_is_no_utf_8_is_a_secret_too() -> None:
    """An environment may hold any bytes; they come as lone surrogates."""
    environment = {"MY_SECRET": b"caf\xe9-corr3ct".decode(errors="surrogateescape")}
    assert held_by(b"it says caf\xe9-corr3ct", environment) == "MY_SECRET"
    assert held_by(b"it says nothing", environment) is None


def test_every_secret_of_a_variable_is_known() -> None:
    """Two addresses in one, and an address in a variable that is secret itself."""
    urls = ["http://a:first-corr3ct" + "@h", "http://b:second-corr3ct" + "@h"]
    for name in ("SERVERS", "SERVERS_CREDENTIALS"):
        for word in ("first-corr3ct", "second-corr3ct"):
            assert held_by(word.encode(), {name: ",".join(urls)}) == name


def test_the_longer_of_two_overlapping_secrets_goes_as_a_whole() -> None:
    redactor = Redactor({"A_TOKEN": "abcdefgh", "B_TOKEN": "abcdefgh-more"})
    assert redactor.text("abcdefgh-more") == REDACTED


def test_values_are_searched_through_and_keep_their_structure() -> None:
    value = {"a": [1, None, True, {HUB: HUB}], "hub_token": PASSWORD, "max_tokens": "12", "n": 1.5, "t": (1, HUB)}
    redacted = Redactor({}).value(value)
    assert redacted == {
        "a": [1, None, True, {REDACTED: REDACTED}],
        "hub_token": REDACTED,
        "max_tokens": "12",
        "n": 1.5,
        "t": [1, REDACTED],
    }
    assert HUB not in json.dumps(redacted)


@pytest.mark.parametrize(
    ("name", "secret"),
    [("token", True), ("hf_token", True), ("api_key", True), ("db.password", True), ("pad_token", False),
     ("tokens", False), ("keyboard", False)],
)  # fmt: skip
def test_names(name: str, secret: bool) -> None:
    assert is_secret_name(name) is secret


@given(st.binary(min_size=16, max_size=64))
def test_digests_are_no_secrets(data: bytes) -> None:
    """Results are full of them: hexadecimal, base64, in paths and after names."""
    for text in (data.hex(), base64.b64encode(data).decode(), f"runs/molmo2/{data.hex()[:12]}/x", f"md5: {data.hex()}"):
        assert Redactor({}).text(text) == text


@pytest.mark.parametrize("written", ["it says corr3ct/horse9 here", "user:corr3ct%2Fhorse9@host"])
def test_the_password_of_an_address_in_any_variable_is_known(written: str) -> None:
    """Encoded as it stands in the address, and decoded as a library may repeat it."""
    address = "https://user:" + "corr3ct%2Fhorse9@example.org"
    environment = {"MLFLOW_TRACKING_URI": address, "HOME_PAGE": "https://x.org/a@b"}
    assert "horse9" not in Redactor(environment).text(written)
    assert (held_by(written.encode(), environment) or "").startswith("MLFLOW_TRACKING_URI")
    assert held_by(b"https://x.org/a@b", environment) is None


def test_the_header_that_an_address_becomes_is_known() -> None:
    """As a server may repeat it, whatever the length of the password."""
    header = base64.b64encode(b"someone:pw").decode()
    environment = {"MLFLOW_TRACKING_URI": "https://someone:pw" + "@example.org"}
    assert Redactor(environment).text(f"not allowed: {header}") == f"not allowed: {REDACTED}"


def test_a_command_line_with_a_secret_is_refused_without_repeating_it() -> None:
    require_public(["git", "log", "--format=%H"], fix="-")
    with pytest.raises(ConfigError) as caught:
        require_public(["program", f"--token={HUB}"], fix="use the environment")
    assert HUB not in str(caught.value)
    assert "argument 1" in str(caught.value)


def test_logs_are_redacted_with_their_exceptions() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(RedactingFormatter("%(message)s"))
    logger = logging.getLogger("trackyard.tests.redact")
    logger.addHandler(handler)
    try:
        try:
            raise ValueError(f"401 for {HUB}")
        except ValueError:
            logger.exception("asked with %s", HUB)
    finally:
        logger.removeHandler(handler)
    assert "ValueError: 401 for" in stream.getvalue()
    assert HUB not in stream.getvalue()


def test_the_terminal_is_redacted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    redact_terminal()
    wrapped = sys.stdout
    redact_terminal()
    assert sys.stdout is wrapped
    print("it is", HUB, "here")
    sys.stdout.writelines([f"{AWS}\n", "and plain\n"])
    assert out.getvalue() == f"it is {REDACTED} here\n{REDACTED}\nand plain\n"
    assert not sys.stdout.isatty()
