"""`trackyard lineage`: what a model, a table or a figure was made from, shown, proved or drawn."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, get_args

import typer

from trackyard.cli.printing import print_json, size
from trackyard.cli.root import repository_root
from trackyard.errors import ConfigError
from trackyard.record.lineage.links import Kind, Link

app = typer.Typer(help="From a model, a table or a figure back to plan, data, code and parents.", no_args_is_help=True)

Asked = Annotated[Path, typer.Argument(help="an export, a run, a checkpoint, or anything that a stage put out")]


@app.command()
def show(path: Asked, as_json: Annotated[bool, typer.Option("--json", help="one JSON document")] = False) -> None:
    """Tell every link with its facts, and the licences of all data and models; this proves nothing."""
    from trackyard.record.lineage.words import NOT_HASHED, chain_document, licence_lines, tree_lines

    chain = _chain(path)
    if as_json:
        print_json(chain_document(chain, repository_root()))
        return
    for line in tree_lines(chain):
        print(line)
    print()
    for line in licence_lines(chain):
        print(line)
    print(f"{NOT_HASHED} To prove it: trackyard lineage verify {shlex.quote(path.as_posix())}")


@app.command()
def verify(
    path: Asked,
    trust: Annotated[
        list[str] | None, typer.Option(help="a kind of link that is taken as recorded; repeatable")
    ] = None,
) -> None:
    """Re-hash everything that the chain names; ends in proved, or stops at what is wrong or unproved."""
    from trackyard.record.lineage.proof import prove

    proof = prove(_chain(path), trust=_kinds(trust or []))
    for line in proof.proved:
        print(f"proved {line}")
    for line in proof.trusted:
        print(f"trusted {line}")
    print(
        f"{len(proof.proved)} links proved, {len(proof.trusted)} taken on trust, "
        f"{proof.hashed:,} files ({size(proof.bytes)}) hashed"
    )


@app.command()
def graph(path: Asked, out: Annotated[Path, typer.Option(help="where the page goes")] = Path("chain.html")) -> None:
    """Write the chain as one HTML page: a drawing, the licences, every link. It needs no network."""
    from trackyard.durable import write_atomic
    from trackyard.record.lineage.page import chain_page

    write_atomic(out, chain_page(_chain(path), path.as_posix()))
    print(out)


def _chain(path: Path) -> Link:
    from trackyard.record.lineage.chain import chain_of

    return chain_of(path, repository_root())


def _kinds(given: list[str]) -> list[Kind]:
    """The kinds of links that are trusted; ConfigError for one that does not exist."""
    known: tuple[Kind, ...] = get_args(Kind)
    unknown = [name for name in given if name not in known]
    if unknown:
        raise ConfigError(
            what=f"--trust {unknown[0]}: there is no such kind of link",
            why=f"the kinds are {', '.join(known)}",
            fix="name one of them, for example --trust image",
        )
    return [kind for kind in known if kind in given]
