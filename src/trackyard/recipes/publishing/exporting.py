"""A published folder, whole or not at all: proved copies, the card, licences, digests, and a lineage of just this."""

from __future__ import annotations

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
    """Write the folder, which must not exist; how many files. DataError for bytes that are not those of the lineage."""
    if target.exists():
        raise ConfigError(
            what=f"{target} exists",
            why="an exported model is never written over",
            fix=f"name another folder, or remove it first: rm -r {target}",
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
        texts = {**publication.texts, CARD: card_of(publication), LICENCES: recorded.licences()}
        for name, text in texts.items():
            write_atomic(partial / name, redactor.text(text))
        write_checksums(partial)
        _write_lineage(partial, recorded.lineage)
        return len(names_in(partial)) + 1


def card_of(publication: Publication) -> str:
    """The card, without secrets."""
    return Redactor().text(model_card(publication.facts))


def _known(lineage: Lineage) -> set[str]:
    """blake3 of everything that the export and its base models hold."""
    return {*(lineage.files or {}).values(), *(one for fact in lineage.models.values() for one in fact.files.values())}


def _require_known(source: Path, copy: Path, export: Path, files: Mapping[str, str], known: set[str]) -> None:
    """A file of the export is the one that its lineage names; weights from elsewhere are those of a base model."""
    inside = source.is_relative_to(export)
    if not inside and source.suffix != ".safetensors":
        return
    found = digest_file(copy)
    expected = files.get(source.relative_to(export).as_posix()) if inside else None
    if found != expected if inside else found not in known:
        raise DataError(
            what=f"{source} has blake3 {found}, its {LINEAGE} says {expected or 'nothing of it'}",
            why="it would be published as something that the record does not know",
            fix=f"dvc checkout {export}, or run the stage again; then see: trackyard lineage verify {export}",
        )


def _write_lineage(folder: Path, lineage: Lineage) -> None:
    """The same chain, with the files of this folder as what was made. Paths stay those of the export: they lead
    nowhere else, and say nothing of this machine."""
    made = {name: digest_file(folder / name) for name in names_in(folder)}
    body = lineage.model_copy(update={"files": made}).model_dump(mode="json")
    write_document(folder / LINEAGE, SCHEMA, {"digest": digest_json(body), "lineage": body})
