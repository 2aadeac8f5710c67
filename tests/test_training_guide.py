"""docs/training.md against the code: what a run can say is in it, and the profiles and sites that it names exist.

A sentence of the code becomes a template: its literal words, with … for each value. The guide must hold every template.
"""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "trackyard"
GUIDE = ROOT / "docs" / "training.md"
MODULES = (
    *sorted((SOURCE / "train").glob("*.py")),
    *(SOURCE / "launch" / f"{name}.py" for name in ("watchdog", "failures", "launched", "orders", "signals")),
    *sorted((SOURCE / "recipes" / "running").glob("*.py")),
    *(SOURCE / "recipes" / "molmo2" / f"{name}.py" for name in ("division", "training", "stage", "share")),
    # Where division.py has its refusals from.
    SOURCE / "plan" / "context.py",
)
VALUE = "…"
MOST = 64
"""Templates of one sentence; more would be a sentence that nobody could search for."""

EQUIVALENT = {
    "'; '.join(problems)": (
        "trained, but without a gradient",
        "trained, but not moved",
        "frozen, but changed",
        "no trained tensor was examined",
        "not examined whole",
    ),
    "'; '.join(_listed(f'inputs without an effect above {threshold:.3g} on the output', blind))": (
        "inputs without an effect above … on the output",
    ),
    "f\"{where}: {_some('lacks', missing)}{('; ' if missing and unexpected else '')}"
    "{_some('holds what the model does not have:', unexpected)}\"": ("lacks", "holds what the model does not have"),
}
"""Sentences that are put together at run time: expression -> what they are made of, each a template in that module."""
PASSED_ON = {"order.what", "error.what", "f'{type(error).__name__}: {error}'"}
"""Words of another error, which has its own place in the guide."""


@dataclass(frozen=True)
class Sentence:
    """What a line of the code says. templates: each way that it can be worded."""

    place: str
    source: str
    templates: tuple[str, ...]


class Module:
    """The sentences of one module."""

    def __init__(self, name: str, text: str) -> None:
        self.name, self._tree = name, ast.parse(text)
        self._constants = {
            node.targets[0].id: node.value.value
            for node in self._tree.body
            if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        }
        self._literals = {
            node.value
            for node in ast.walk(self._tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }

    def sentences(self) -> Iterator[Sentence]:
        """`what=` of errors, words of Python's own exceptions that are raised, and warnings that are logged."""
        for function in self._functions():
            for node in _own_nodes(function):
                for expression in _worded(node):
                    found = {_tidy(text) for text in self._templates(expression, function)}
                    yield Sentence(
                        place=f"{self.name}:{expression.lineno}",
                        source=ast.unparse(expression),
                        templates=tuple(sorted(found - {""})),
                    )

    def says(self, template: str) -> bool:
        """Whether all words of a template are written here."""
        words = [part.strip() for part in template.split(VALUE) if part.strip()]
        return all(any(part in literal for literal in self._literals) for part in words)

    def _functions(self) -> list[ast.FunctionDef | ast.Module]:
        return [self._tree, *(node for node in ast.walk(self._tree) if isinstance(node, ast.FunctionDef))]

    def _templates(self, node: ast.expr, function: ast.FunctionDef | ast.Module) -> list[str]:
        match node:
            case ast.Constant(value=str(text)):
                return [re.sub(r"%[sd]|%\.?\d*f", VALUE, text)]
            case ast.JoinedStr(values=parts):
                return _joined([self._templates(part, function) for part in parts])
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return _joined([self._templates(left, function), self._templates(right, function)])
            case ast.IfExp(body=body, orelse=orelse):
                return [*self._templates(body, function), *self._templates(orelse, function)]
            case ast.FormattedValue(value=ast.IfExp() | ast.Name() as value):
                return self._templates(value, function)
            case ast.Name(id=name) if name in self._constants:
                return [self._constants[name]]
            case ast.Name(id=name) if isinstance(function, ast.FunctionDef):
                return self._given(function, name) or [VALUE]
        return [VALUE]

    def _given(self, function: ast.FunctionDef, parameter: str) -> list[str]:
        """What the module's own calls of `function` pass for a parameter, where all of them pass sentences."""
        names = [argument.arg for argument in function.args.args if argument.arg != "self"]
        if parameter not in names:
            return []
        given: list[str] = []
        for caller in self._functions():
            for node in _own_nodes(caller):
                if not isinstance(node, ast.Call) or ast.unparse(node.func).removeprefix("self.") != function.name:
                    continue
                passed = node.args[names.index(parameter) :][:1]
                if not passed or not isinstance(passed[0], ast.Constant | ast.JoinedStr):
                    return []
                given += self._templates(passed[0], caller)
        return given


def _own_nodes(function: ast.FunctionDef | ast.Module) -> Iterator[ast.AST]:
    """Nodes of a function without those of functions inside it."""
    waiting: list[ast.AST] = list(ast.iter_child_nodes(function))
    while waiting:
        node = waiting.pop()
        if not isinstance(node, ast.FunctionDef):
            yield node
            waiting += ast.iter_child_nodes(node)


def _worded(node: ast.AST) -> Iterator[ast.expr]:
    """Expressions with which a node says what has happened."""
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Name(id="log"), attr="warning"), args=[words, *_]):
            yield words
        case ast.Call(keywords=keywords):
            yield from (keyword.value for keyword in keywords if keyword.arg == "what")
        case ast.Raise(exc=ast.Call(func=ast.Name(id=name), args=[words])) if name.endswith("Error"):
            yield words


def _joined(parts: list[list[str]]) -> list[str]:
    found = ["".join(chosen) for chosen in itertools.product(*parts)]
    assert len(found) <= MOST
    return found


def _tidy(template: str) -> str:
    """Without the values at both ends, whose neighbours are found without them."""
    return template.strip(f" {VALUE}:;(")


@cache
def sentences() -> list[tuple[Module, Sentence]]:
    """Of all modules."""
    modules = [Module(str(path.relative_to(SOURCE)), path.read_text()) for path in MODULES]
    return [(module, sentence) for module in modules for sentence in module.sentences()]


def missing(text: str) -> list[str]:
    """What a page does not say of all that the modules can say."""
    page = " ".join(text.split())
    problems = []
    for module, sentence in sentences():
        templates = EQUIVALENT.get(sentence.source, sentence.templates)
        if not templates and sentence.source not in PASSED_ON:
            problems.append(f"{module.name}: nothing to search for in {sentence.source}")
        for template in templates:
            if template not in page:
                problems.append(f"{sentence.place}: {template}")
    return problems


def test_everything_that_a_run_can_say_is_in_the_guide() -> None:
    found = [sentence for _, sentence in sentences() if sentence.templates]
    assert len(found) > 60, "nothing was examined"
    assert missing(GUIDE.read_text()) == []


@pytest.mark.parametrize(
    "words",
    [
        "is not a complete checkpoint",
        "of them on this machine",
        "moments of one group have seen",
        "frozen, but changed",
        "the global batch stays",
        "whole groups of",
    ],
)
def test_a_sentence_that_the_guide_lacks_is_named(words: str) -> None:
    text = GUIDE.read_text()
    assert words in text
    assert any(words in problem for problem in missing(text.replace(words, "gone")))


def test_sentences_put_together_at_run_time_are_still_those() -> None:
    """Both lists name expressions that are there, and templates whose words are written in that module."""
    everything = sentences()
    sources = {sentence.source for _, sentence in everything}
    assert EQUIVALENT.keys() | PASSED_ON <= sources
    for module, sentence in everything:
        for template in EQUIVALENT.get(sentence.source, ()):
            assert module.says(template), template


def test_templates_follow_names_calls_and_both_branches() -> None:
    module = Module(
        "m.py",
        """
KIND = "old"

def raises(name, value):
    raise Lacking(what=f"{name} of {KIND} is {'gone' if value is None else value}, alas", why="", fix="")

def caller():
    raises("first", 1)
    raises("second", None)
    log.warning("step %d: %.2f s", 1, 2.0)
""",
    )
    found = sorted(template for sentence in module.sentences() for template in sentence.templates)
    assert found == [
        "first of old is gone, alas",
        "first of old is …, alas",
        "second of old is gone, alas",
        "second of old is …, alas",
        "step …: … s",
    ]


def test_profiles_and_sites_that_the_guide_names_exist() -> None:
    text = GUIDE.read_text()
    named = set(re.findall(r"(?:profiles|sites)/[a-z0-9-]+\.yaml", text))
    named |= {f"profiles/{name}.yaml" for name in re.findall(r"--(?:profile|base) ([a-z0-9-]+)", text)}
    named |= {f"sites/{name}.yaml" for name in re.findall(r"--site ([a-z0-9-]+)", text)}
    assert len(named) >= 5
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []
    listed = set(
        re.findall(r"^\| `([a-z0-9-]+)` \|", text.partition("| profile |")[2].partition("\n\n")[0], re.MULTILINE)
    )
    # Those of the other studies are in their own guides.
    profiles = {path.stem for path in (ROOT / "profiles").glob("*.yaml")}
    others = ("pythia", "theworld", "nine")
    assert listed | {"seed", "report"} == {name for name in profiles if not name.startswith(others)}
    for family, guide in (("pythia", "pile-ffn.md"), ("theworld", "theworld.md"), ("nine", "evaluation.md")):
        study = (ROOT / "docs" / guide).read_text().replace("profiles/", "")
        assert [name for name in sorted(profiles) if name.startswith(family) and f"`{name}" not in study] == []
