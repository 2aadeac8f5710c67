"""Definition files are read as Apptainer reads them: stages, sections, arguments, labels."""

from __future__ import annotations

from pathlib import Path

import pytest

from trackyard.errors import ConfigError
from trackyard.launch.image.definition import parse_definition, read_definition, rendered

CONTAINERS = Path(__file__).resolve().parents[3] / "containers"
TWO_STAGES = """\
Bootstrap: docker
From: {{ NAME }}@{{ DIGEST }}
Stage: build

# a comment between sections
%arguments
    NAME=python:3.11
    OPTIONAL=a=b

%post
    set -eu
    # %post is also a word in comments, and From: too
    echo {{ GIVEN }} {{OPTIONAL}}
    printf '%s' x

bootstrap: localimage
from: base.sif

%files
    one.lock /share/one.lock
    two.lock

%files from build
    /usr/local/three.lock

%labels
    title  of it
    version {{ VERSION }}
    empty
"""


def test_stages_sections_and_arguments() -> None:
    definition = parse_definition(TWO_STAGES, where="x.def")
    first, last = definition.stages
    assert (first.header, last.header) == (
        {"bootstrap": "docker", "from": "{{ NAME }}@{{ DIGEST }}", "stage": "build"},
        {"bootstrap": "localimage", "from": "base.sif"},
    )
    assert first.defaults == {"NAME": "python:3.11", "OPTIONAL": "a=b"}
    assert first.base == "python:3.11@{{ DIGEST }}"
    assert [section.name for section in first.sections] == ["arguments", "post"]
    assert first.named("post")[0].lines == ("set -eu", "echo {{ GIVEN }} {{OPTIONAL}}", "printf '%s' x")
    assert last.copied == {"one.lock": "/share/one.lock", "two.lock": ""}
    assert [section.rest for section in last.named("files")] == ["", "from build"]
    assert definition.image is last
    assert definition.required == {"DIGEST", "GIVEN", "VERSION"}
    assert definition.accepted == {"NAME", "OPTIONAL", *definition.required}
    assert definition.labels == {"title": "of it", "version": "{{ VERSION }}", "empty": ""}
    assert definition.locks == {"one.lock", "two.lock"}


def test_an_argument_of_one_stage_is_none_of_the_next() -> None:
    """Apptainer 1.4.5 stops with "build var NAME is not defined"."""
    text = TWO_STAGES.replace("from: base.sif", "from: {{ NAME }}.sif")
    assert "NAME" in parse_definition(text, where="x.def").required


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "x.def has no `Bootstrap:`"),
        ("# only a comment\n", "x.def has no `Bootstrap:`"),
        ("%post\n    true\n", "x.def:1: %post before any `Bootstrap:`"),
        ("Bootstrap: docker\nFrom python\n", "x.def:2: 'From python' is no `Key: value` of the header"),
    ],
)
def test_what_is_no_definition_is_refused_with_its_line(text: str, told: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_definition(text, where="x.def")
    assert raised.value.what == told


def test_shipped_definitions_name_what_must_be_given() -> None:
    """containers/README.md lists them, and `trackyard image build` knows them."""
    common = {"VERSION", "REVISION", "CREATED", "LOCK_SHA256", "WHEELS"}
    assert read_definition(CONTAINERS / "cpu.def").required == common | {"BASE", "BASE_NAME", "BASE_DIGEST"}
    assert read_definition(CONTAINERS / "train.def").required == common
    told = (CONTAINERS / "README.md").read_text(encoding="utf-8")
    assert {
        name for name in common | {"BASE", "BASE_NAME", "BASE_DIGEST", "SOURCE"} if f"`{name}`" not in told
    } == set()


def test_rendered_leaves_what_has_no_value() -> None:
    assert rendered("{{ A }}-{{B}}", {"A": "1"}) == "1-{{B}}"
