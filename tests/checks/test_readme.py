"""Commands and links are taken from Markdown as a reader sees them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from checks.readme import examine, main, readme_commands, registry_problems

PAGE = """# Title

`make inline` is prose.

```bash
# a comment
make demo   # one minute
trackyard run molmo2 stage2 \\
    --profile mini
```

```console
$ make test
make: expected output, no command
$ echo "a # b"
```

```yaml
make: no command
```

[guide](docs/guide.md#part) [site](https://example.org/x) [here](#title)
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    subprocess.run(["git", "-C", str(tmp_path), "init", "-q"], check=True)
    (tmp_path / "README.md").write_text(PAGE)
    (tmp_path / "Makefile").write_text("demo: setup ## x\n\ttrue\ntest:\n\ttrue\n")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "guide.md").write_text("# guide\n")
    return tmp_path


def test_commands_in_order_joined_and_without_comments_or_output(root: Path) -> None:
    assert readme_commands(root / "README.md")[:3] == [
        "make demo",
        "trackyard run molmo2 stage2 --profile mini",
        "make test",
    ]
    assert len(readme_commands(root / "README.md")) == 4


def test_a_hash_inside_quotes_is_no_comment(root: Path) -> None:
    assert readme_commands(root / "README.md")[3] == 'echo "a # b"'


def test_an_honest_page_passes_and_is_counted(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(root) == 0
    assert capsys.readouterr().out == "readme: 2 pages, 4 README commands and 1 links examined, 0 problems\n"


def test_a_make_target_and_a_link_that_are_gone_are_problems(root: Path) -> None:
    (root / "Makefile").write_text("test:\n\ttrue\n")
    (root / "docs" / "guide.md").unlink()
    problems = examine(root).problems
    assert [p.split(":")[0] for p in problems] == ["README.md", "README.md"]
    assert "leads nowhere" in problems[0]
    assert "`make demo` is not a target" in problems[1]
    assert main(root) == 1


@pytest.mark.parametrize("text", [None, "# no command\n"])
def test_a_readme_without_commands_is_a_failure(root: Path, text: str | None) -> None:
    (root / "README.md").unlink()
    if text is not None:
        (root / "README.md").write_text(text)
    assert "nothing was checked" in examine(root).problems[-1]


def test_the_registry_names_each_command_and_a_test_that_exists(root: Path) -> None:
    (root / "tests").mkdir()
    (root / "tests" / "test_x.py").write_text("def test_demo():\n    pass\n")
    good = {"make demo": "tests/test_x.py::test_demo"}
    assert registry_problems(["make demo", "make demo"], good, root) == []
    assert registry_problems(["make demo", "make test"], good, root) == ["no test runs `make test`"]
    assert registry_problems([], good, root) == ["`make demo` is registered but no longer on the page"]
    for gone in ("tests/test_x.py::test_other", "tests/test_y.py::test_demo"):
        assert "does not exist" in registry_problems(["make demo"], {"make demo": gone}, root)[0]
