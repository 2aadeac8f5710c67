"""A chain as one HTML page: the drawing, the licences, every link with its facts, and the command that proves it.

It needs no script and no network, is readable on a phone (wide parts scroll in their own box), by day, by night and
in print.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping
from html import escape

from trackyard.record.lineage.drawing import chain_svg
from trackyard.record.lineage.groups import KIND_WORDS, Group, groups
from trackyard.record.lineage.licences import LicenceRow, inherited_terms, licence_rows
from trackyard.record.lineage.links import Link
from trackyard.record.lineage.words import LICENCE_HEAD, NOT_HASHED, licence_cells, problems, shown

__all__ = ["chain_page", "chain_svg"]

_STYLE = """
:root{color-scheme:light dark;--ink:#1d2025;--soft:#5f6b7a;--line:#d5d9df;--back:#fff;--bad:#b3261e}
body{font:16px/1.5 system-ui,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;color:var(--ink);background:var(--back);
max-width:62rem;margin:1.5rem auto;padding:0 1rem}
h1{font-size:1.5rem;overflow-wrap:anywhere}h2{font-size:1.2rem;margin-top:2rem}
h3{font-size:1rem;margin:1.4rem 0 .3rem;overflow-wrap:anywhere}
li{overflow-wrap:anywhere}.wide{overflow-x:auto}.chain{display:block}
table{border-collapse:collapse;font-size:.9rem}th,td{text-align:left;vertical-align:top;padding:.25rem .7rem .25rem 0;
border-bottom:1px solid var(--line);min-width:4.5rem}
dl{display:grid;grid-template-columns:minmax(7rem,max-content) 1fr;gap:.1rem .9rem;margin:.2rem 0;font-size:.9rem}
dt{color:var(--soft);overflow-wrap:anywhere}dd{margin:0;overflow-wrap:anywhere}
code,pre{font:.9em ui-monospace,'DejaVu Sans Mono',monospace}pre{overflow-x:auto;padding:.6rem;
border:1px solid var(--line);border-radius:6px}
.key{display:inline-block;border:1px solid;border-radius:4px;padding:0 .5rem;margin:.15rem .4rem .15rem 0;
font-size:.85rem}
a{color:inherit}.soft{color:var(--soft)}.bad{color:var(--bad);font-weight:600}
@media (prefers-color-scheme:dark){:root{--ink:#e6e8eb;--soft:#a3adba;--line:#3a414b;--back:#15181c;--bad:#ff8a80}}
@media (max-width:40rem){dl{grid-template-columns:1fr}dd{margin-bottom:.4rem}}
@media print{body{max-width:none;margin:0}.chain{width:100%;height:auto}section{break-inside:avoid}
.wide{overflow:visible}}
"""


def chain_page(chain: Link, asked: str) -> str:
    """The page of a chain. asked: the path that it is of, as `trackyard lineage verify` takes it."""
    found = groups(chain)
    places = {link.name: (at, group.title) for at, group in enumerate(found) for link in group.links}
    rows = licence_rows(chain)
    links = list(chain.walk())
    files = sum(len(link.files) for link in links)
    head = (
        f"<h1>What <code>{escape(asked)}</code> was made from</h1>"
        f'<p class="soft">{len(links)} links: {escape(_counted(links))}. They name {files:,} files by their digest. '
        f"{NOT_HASHED} This command proves the chain, or names the first link that is wrong:</p>"
        f"<pre>trackyard lineage verify {escape(shlex.quote(asked))}</pre>"
    )
    parts = [
        head,
        _problems(links),
        "<h2>The chain</h2>",
        _legend(found),
        '<p class="soft">What was made stands above what it was made from. An arrow that follows from others is not '
        "drawn; links of one sort share a box.</p>",
        f'<div class="wide">{chain_svg(chain, anchors=True)}</div>',
        "<h2>Licences</h2>",
        f"<p>{escape(inherited_terms(rows))}</p>",
        _licences(rows),
        "<h2>Every link</h2>",
        *(_section(at, group, places) for at, group in enumerate(found)),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Lineage of {escape(asked)}</title><style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _counted(links: list[Link]) -> str:
    counts = Counter(link.kind for link in links)
    return ", ".join(f"{count} {KIND_WORDS[kind][count != 1]}" for kind, count in counts.items())


def _problems(links: list[Link]) -> str:
    told = "".join(
        f"<li><b>{escape(link.name)}</b>: {escape(problem)}</li>" for link in links for problem in problems(link)
    )
    return f'<h2 class="bad">What the records already contradict or lack</h2><ul>{told}</ul>' if told else ""


def _legend(found: list[Group]) -> str:
    kinds = dict.fromkeys(group.kind for group in found)
    return "<p>" + "".join(f'<span class="key {kind}">{KIND_WORDS[kind][0]}</span>' for kind in kinds) + "</p>"


def _licences(rows: list[LicenceRow]) -> str:
    return _table(LICENCE_HEAD, [licence_cells(row) for row in rows]) if rows else ""


def _section(at: int, group: Group, places: Mapping[str, tuple[int, str]]) -> str:
    """A group with its facts; of several links, what all have in common once, and the rest as a table."""
    key = f'<span class="key {group.kind}">{KIND_WORDS[group.kind][0]}</span>'
    title = f'<h3 id="link-{at}">{key}{escape(group.title)}</h3>'
    links = group.links
    keys = list(dict.fromkeys(key for link in links for key in link.facts))
    common = [key for key in keys if len({link.facts.get(key) for link in links}) == 1]
    told = [(key, escape(links[0].facts[key])) for key in common if links[0].facts[key]]
    if len(links) == 1:
        told += [("proved by", escape(_proof(links[0]))), ("restored by", escape(links[0].fix))]
    made_from = dict.fromkeys(places[one.name] for link in links for one in link.inputs)
    if made_from:
        told.append(("made from", ", ".join(f'<a href="#link-{n}">{escape(name)}</a>' for n, name in made_from)))
    facts = "".join(f"<dt>{escape(key)}</dt><dd>{value}</dd>" for key, value in told)
    return f"<section>{title}<dl>{facts}</dl>{_members(links, [key for key in keys if key not in common])}</section>"


def _members(links: tuple[Link, ...], keys: list[str]) -> str:
    """What tells the links of a group apart."""
    if len(links) == 1:
        return ""
    rows = [(link.name, *(shown(link.facts.get(key, "")) for key in keys), _proof(link)) for link in links]
    return _table(("name", *keys, "proved by"), rows)


def _proof(link: Link) -> str:
    """What the proof of a link rests on."""
    if link.absent is not None:
        return f"nothing here: {link.absent}"
    parts = []
    if link.files:
        parts.append(f"{len(link.files):,} digest{'s' * (len(link.files) != 1)}")
    if link.claims:
        parts.append(f"{len(link.claims)} record{'s' * (len(link.claims) != 1)} that must agree")
    return " and ".join(parts) or "nothing"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    kept = [index for index in range(len(head)) if any(row[index] for row in rows)]
    top = "".join(f"<th>{escape(head[index])}</th>" for index in kept)
    body = "".join("<tr>" + "".join(f"<td>{escape(row[index])}</td>" for index in kept) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'
