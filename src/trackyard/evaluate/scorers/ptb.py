"""Words of captions as pycocoevalcap cuts them: the Stanford PTB tokenizer of its jar, in lower case, less punctuation.

The tokenizer is a Java program that is given all captions at once, one per line, in a file of its own: the wrapper of
pycocoevalcap writes its file beside the jar, which an image keeps read-only. Whether the period after an abbreviation
at the end of a caption (`8th Ave/CTH D.`) stays with it depends on the first letter of the next caption: the same
captions in the same order have the same words, in another order very nearly.
Source: nine-datasets spec section 4; pycocoevalcap 1.2, tokenizer/ptbtokenizer.py.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from trackyard.errors import DataError, EnvironmentLacking
from trackyard.runner import Runner, SystemRunner

JAR = "tokenizer/stanford-corenlp-3.4.1.jar"
"""Below the package pycocoevalcap."""
PUNCTUATION = frozenset(["''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", *".?!,:;-", "--", "..."])
"""Tokens that are no words, as pycocoevalcap lists them. Brackets come out as `-lrb-`, in lower case, and so stay."""
LINE_ENDS = re.compile("[\n\r\v\f\u2028\u2029]")
"""What the tokenizer takes for the end of a line."""
SECONDS = 60.0
SECONDS_PER_CAPTION = 0.001
"""Patience, some fifty times what the tokenizer takes."""
SENTENCE = "The man's (old) T-shirt, at 5 p.m., isn't red."
ITS_WORDS = ["the", "man", "'s", "-lrb-", "old", "-rrb-", "t-shirt", "at", "5", "p.m.", "is", "n't", "red"]


def ptb_words(captions: Sequence[str], *, runner: Runner | None = None) -> list[list[str]]:
    """The words of each caption; none for an empty one. EnvironmentLacking without Java or the jar."""
    jar = jar_path()
    with tempfile.TemporaryDirectory(prefix="trackyard-ptb-") as folder:
        given = Path(folder) / "captions.txt"
        # A half of a surrogate pair is no text in UTF-8 and becomes a question mark: punctuation, hence no word.
        given.write_bytes("".join(LINE_ENDS.sub(" ", text) + "\n" for text in captions).encode(errors="replace"))
        lines = _tokenized(given, jar, len(captions), runner or SystemRunner())
    return [_words(line) for line in lines]


def require_ptb(*, runner: Runner | None = None) -> None:
    """EnvironmentLacking unless the tokenizer is there and cuts a sentence as it should."""
    (found,) = ptb_words([SENTENCE], runner=runner)
    if found != ITS_WORDS:
        raise EnvironmentLacking(
            what=f"the PTB tokenizer cuts {SENTENCE!r} into {found}",
            why="captions cut otherwise than by pycocoevalcap give values that cannot be compared with published ones",
            fix="python -m pip install --force-reinstall --no-deps pycocoevalcap==1.2",
        )


def jar_path() -> Path:
    """The tokenizer's jar, which the package pycocoevalcap carries."""
    package = find_spec("pycocoevalcap")
    jars = [Path(folder) / JAR for folder in (package.submodule_search_locations if package else None) or ()]
    found = next((jar for jar in jars if jar.is_file()), None)
    if found is None:
        raise EnvironmentLacking(
            what=f"there is no {JAR} of the package pycocoevalcap",
            why="the metric `cider` is defined by its tokenizer",
            fix="python -m pip install pycocoevalcap==1.2, or name the metric `cider_py` in the YAML file of the task",
        )
    return found


def _tokenized(given: Path, jar: Path, captions: int, runner: Runner) -> list[str]:
    argv = ["java", "-cp", f"{jar}", "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"]
    try:
        done = runner.run([*argv, given.name], cwd=given.parent, timeout_s=SECONDS + SECONDS_PER_CAPTION * captions)
    except EnvironmentLacking as error:
        raise EnvironmentLacking(
            what=error.what,
            why="the metric `cider` is defined by the PTB tokenizer, a Java program",
            fix="apt-get install default-jre-headless, or name the metric `cider_py` in the YAML file of the task",
        ) from error
    lines = done.stdout.removesuffix("\n").split("\n") if captions else []
    if done.exit_code or len(lines) != captions:
        last = done.stderr.strip().splitlines()[-1:] or ["nothing"]
        raise DataError(
            what=f"the PTB tokenizer ended with exit code {done.exit_code} and {len(lines)} lines for {captions}",
            why=f"a caption would get the words of another; it said last: {last[0]}",
            fix=f"{' '.join(argv)} FILE, with one caption per line in FILE, shows what it stumbles over",
        )
    return lines


def _words(line: str) -> list[str]:
    # Cut again after joining: a token such as `1 1/2` holds a space that does not break, and counts as two words.
    return " ".join(token for token in line.split(" ") if token not in PUNCTUATION).split()
