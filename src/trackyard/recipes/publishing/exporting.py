"""A published folder, whole or not at all: proved copies, the card, licences, digests, and a lineage of just this."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path

from trackyard.digest import digest_file, digest_json
from trackyard.durable import atomic_directory, write_atomic
from trackyard.errors import ConfigError, DataError
from trackyard.publish.card import CARD, LICENCES, model_card
from trackyard.publish.checksums import write_checksums
from trackyard.recipes.publishing.publication import Publication
from trackyard.record.lineage.document import LINEAGE, SCHEMA, Lineage, names_in
from trackyard.redact import Redactor
from trackyard.schema import write_document


def export(publication: Publication, target: Path) -> int:
    """Write the folder, which must not exist; how many files.

    DataError for bytes that are not those of the lineage, and for a secret in a file that is no page for people.
    """
    if target.exists():
        raise ConfigError(
            what=f"{target} exists",
            why="an exported model is never written over",
            fix=f"name a folder that is not there: trackyard publish export {publication.name} OUT",
        )
    recorded, redactor = publication.recorded, Redactor()
    known = _known(recorded.lineage)
    with atomic_directory(target) as partial:
        for name, source in publication.files.items():
            copy = partial / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
            _require_known(source, copy, recorded.directory, recorded.lineage.files or {}, known)
        if publication.write is not None:
            publication.write(partial)
        texts = {CARD: card_of(publication), LICENCES: redactor.text(recorded.licences())}
        for name, text in {**publication.texts, **texts}.items():
            _require_public(name, text, redactor)
            write_atomic(partial / name, text)
        write_checksums(partial)
        _write_lineage(partial, recorded.lineage)
        return len(names_in(partial)) + 1


def card_of(publication: Publication) -> str:
    """The card, without secrets."""
    return Redactor().text(model_card(publication.facts))


def _require_public(name: str, text: str, redactor: Redactor) -> None:
    if redactor.text(text) != text:
        raise DataError(
            what=f"{name} would hold a secret",
            why="others load or run it: with the word it gives the secret away, and without it is another file",
            fix=f"remove it from what {name} is made of (params.yaml, or config.json of the export), and revoke it",
        )


def _known(lineage: Lineage) -> set[str]:
    """blake3 of everything that the export and its base models hold."""
    return {*(lineage.files or {}).values(), *(one for fact in lineage.models.values() for one in fact.files.values())}


def _require_known(source: Path, copy: Path, export: Path, files: Mapping[str, str], known: set[str]) -> None:
    """A file of the export is the one that its lineage names; a file from elsewhere is one of a base model."""
    inside, found = source.is_relative_to(export), digest_file(copy)
    expected = files.get(source.relative_to(export).as_posix()) if inside else None
    if found != expected if inside else found not in known:
        raise DataError(
            what=f"{source} has blake3 {found}, its {LINEAGE} says {expected or 'nothing of it'}",
            why="it would be published as something that the record does not know",
            fix=f"dvc checkout, or run the stage again; then see: trackyard lineage verify {shlex.quote(str(export))}",
        )


def _write_lineage(folder: Path, lineage: Lineage) -> None:
    """The same chain, with the files of this folder as what was made. Paths stay those of the export: they lead
    nowhere else, and say nothing of this machine."""
    made = {name: digest_file(folder / name) for name in names_in(folder)}
    body = lineage.model_copy(update={"files": made}).model_dump(mode="json")
    write_document(folder / LINEAGE, SCHEMA, {"digest": digest_json(body), "lineage": body})
