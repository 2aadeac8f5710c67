"""The PTB tokenizer against pycocoevalcap's own wrapper, on real captions and on odd texts."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from pycocoevalcap.tokenizer import ptbtokenizer

from trackyard.errors import DataError, EnvironmentLacking
from trackyard.evaluate.scorers import ptb
from trackyard.evaluate.scorers.ptb import jar_path, ptb_words, require_ptb
from trackyard.runner import Finished

CAPTIONS = Path(__file__).resolve().parents[3].parent / "shared/data/real/coco_captions/val2014_80.jsonl"
needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="java is not on PATH")
ODD = (
    "p.m.", "U.S.", "don't", "can't", "gonna", "1 1/2", "3,000.5", "Mr.", "http://a.b/c?d=e", "a@b.com", "$5", ":-)",
    "l'eau", "'90s", "AT&T", "<b>", "&amp;", "(555) 123-4567", "...", "--", "-LRB-", "The", "[x]", "{y}", "#1", "50%",
    "\u201cq\u201d", "it\u2019s", "caf\u00e9", "\u4e2d\u6587", "\U0001f600", "\u00bd", "\x85", "\u200b", "\u00a0", "\t",
    "e\u0301",
)  # fmt: skip


class Answers:
    """A runner that answers as it is told, or raises."""

    def __init__(self, answer: Finished | EnvironmentLacking) -> None:
        self.answer = answer

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout_s: float = 60.0,
    ) -> Finished:
        if isinstance(self.answer, EnvironmentLacking):
            raise self.answer
        return self.answer


def finished(stdout: str, exit_code: int = 0) -> Finished:
    return Finished(argv=("java",), exit_code=exit_code, stdout=stdout, stderr="PTBTokenizer: trouble\n", seconds=0.1)


def official(captions: Sequence[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The wrapper's words; it keeps its file in a folder of ours, as its own may not be written to."""
    (folder / ptb.JAR).parent.mkdir(parents=True, exist_ok=True)
    link = folder / ptb.JAR
    if not link.exists():
        link.symlink_to(jar_path())
    monkeypatch.setattr(ptbtokenizer, "__file__", str(link.with_name("ptbtokenizer.py")))
    found = ptbtokenizer.PTBTokenizer().tokenize({n: [{"caption": text}] for n, text in enumerate(captions)})
    return [found[n][0].split() for n in range(len(captions))]


@needs_java
@pytest.mark.skipif(not CAPTIONS.is_file(), reason="the real captions of shared/data/real are not beside this checkout")
def test_equal_on_real_captions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    captions = [text for line in CAPTIONS.read_text().splitlines() for text in json.loads(line)["captions"]]
    assert len(captions) >= 400
    assert ptb_words(captions) == official(captions, tmp_path, monkeypatch)


@needs_java
def test_equal_on_odd_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(0)
    signs = "abXY09 .,;:!?'\"`-()[]{}/\\<>&%$#@*+=~^_|\t\u00e9\u4e2d\u2019\n"
    mixed = ["".join(draw.choices(signs, k=draw.randint(0, 40))) for _ in range(600)]
    words = [" ".join(draw.choices(ODD, k=draw.randint(0, 9))) for _ in range(600)]
    captions = [*mixed, *words, "the end"]  # the wrapper gives no words to a last caption that is empty
    assert ptb_words(captions) == official(captions, tmp_path, monkeypatch)


@needs_java
def test_each_caption_keeps_its_line() -> None:
    found = ptb_words(["", "A cat\nsits\r\nhere.", "x\u2028y\x0bz", "1 1/2 cups", "\ud800 half", "? !", ""])
    assert found == [[], ["a", "cat", "sits", "here"], ["x", "y", "z"], ["1", "1/2", "cups"], ["half"], [], []]
    assert ptb_words([]) == []
    assert ptb_words([""]) == [[]]


@needs_java
def test_the_self_test_passes_and_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    require_ptb()
    with pytest.raises(EnvironmentLacking, match=r"cuts .* into \['the', 'man'\]"):
        require_ptb(runner=Answers(finished("the man\n")))


def test_without_java_the_command_that_installs_it_is_named() -> None:
    lacking = EnvironmentLacking(what="the program 'java' is not installed", why="", fix="")
    with pytest.raises(EnvironmentLacking) as error:
        require_ptb(runner=Answers(lacking))
    assert error.value.exit_code == 3
    assert "apt-get install default-jre-headless" in error.value.fix


def test_without_the_jar_its_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ptb, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentLacking, match="of the package pycocoevalcap") as error:
        ptb_words(["a cat"])
    assert "pip install pycocoevalcap" in error.value.fix


@pytest.mark.parametrize("answer", [finished("a cat\n"), finished("a cat\na dog\n", exit_code=1)])
def test_a_tokenizer_that_fails_or_loses_a_line_is_refused(answer: Finished) -> None:
    with pytest.raises(DataError, match=f"exit code {answer.exit_code}") as error:
        ptb_words(["a cat", "a dog"], runner=Answers(answer))
    assert "trouble" in error.value.why
