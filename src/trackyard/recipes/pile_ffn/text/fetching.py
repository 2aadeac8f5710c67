"""The stage that brings text and model: made here, from files of the repository, or from the hub at pinned commits.

It is the only one that may use the network, and only for what the hub's cache of this user does not hold yet.
Source: pile-ffn spec sections 5, 11 and 12.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from trackyard.acquire.places import Places
from trackyard.durable import atomic_directory, sweep
from trackyard.errors import ConfigError
from trackyard.recipes.pile_ffn.study import MADE, Study
from trackyard.recipes.pile_ffn.text.mini_corpus import TEST as MINI_TEST
from trackyard.recipes.pile_ffn.text.mini_corpus import VAL as MINI_VAL
from trackyard.recipes.pile_ffn.text.mini_corpus import training_file, write_mini_corpus
from trackyard.recipes.pile_ffn.text.placing import hard_link
from trackyard.recipes.pile_ffn.text.reading import form_of
from trackyard.recipes.pile_ffn.text.source_manifest import (
    MODEL,
    TEST,
    TEXT,
    VAL,
    SourceFile,
    SourceManifest,
    refuse_shared,
    training_roles,
)

if TYPE_CHECKING:
    from trackyard.acquire.hub.files import RemoteFile, RepositoryKind
    from trackyard.catalog.entries import HubSource

MODEL_FILES = ("*.json", "*.safetensors")
"""Configuration, tokenizer and weights: nothing that has to be unpickled."""


def fetch(study: Study, say: Callable[[str], None], *, endpoint: str | None = None) -> None:
    """Bring what the study reads to `Study.source`, manifest.json last, and in place of what was there.

    endpoint: of the hub, None for its own. ConfigError for a source that is not pinned, has no such file, or too few;
    what the hub raises otherwise is in `trackyard.acquire.hub.fetch`.
    """
    source = study.source
    bring = {"mini": _mini, "files": _files, "hub": _hub}[study.parameters.data.source.kind]
    source.parent.mkdir(parents=True, exist_ok=True)
    sweep(source.parent, source.name)
    if source.exists():
        shutil.rmtree(source)
    with atomic_directory(source) as folder:
        text, found = bring(study, folder / TEXT, endpoint)
        refuse_shared(found)
        model, weights = _model(study, folder / MODEL, endpoint)
        files = [SourceFile.of(folder, folder / TEXT / name, role) for role, names in found.items() for name in names]
        files += [SourceFile.of(folder, path, MODEL) for path in weights]
        SourceManifest(text=text, model=model, files=tuple(files)).write(folder)
    read = [file for file in files if file.role != MODEL]
    say(f"text      {len(read)} files, {sum(file.bytes for file in read):,} bytes, from {' '.join(text.values())}")
    say(f"model     {' at '.join(model.values())}: {len(weights)} files")


_Found = tuple[dict[str, str], dict[str, tuple[str, ...]]]
"""Where text comes from, and its files below the folder of text by role."""


def _mini(study: Study, folder: Path, endpoint: str | None) -> _Found:
    parameters, wanted = study.parameters.data.mini, training_roles(study.parameters)
    if parameters.train_files < len(wanted):
        raise ConfigError(
            what=f"data.mini.train_files={parameters.train_files} for {', '.join(wanted)}",
            why="every seed has a training file of its own, and pretraining of a made model another",
            fix=f"set pile_ffn.data.mini.train_files in params.yaml to {len(wanted)}",
        )
    write_mini_corpus(folder, parameters)
    found = {role: (training_file(number),) for number, role in enumerate(wanted)}
    return {"kind": "mini"}, {**found, VAL: (MINI_VAL,), TEST: (MINI_TEST,)}


def _files(study: Study, folder: Path, endpoint: str | None) -> _Found:
    source = study.parameters.data.source
    found = {role: _below(study.root, pattern) for role, pattern in _patterns(study).items()}
    for names in found.values():
        for name in names:
            # A later edit of the original must not reach the copy.
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(study.root / name, folder / name)
    return {"kind": "files", "licence": str(source.licence)}, found


def _fetched(
    study: Study, source: HubSource, kind: RepositoryKind, endpoint: str | None
) -> tuple[Path, tuple[RemoteFile, ...]]:
    """The folder of a proved copy in the user's cache, and the files of it that `source` selects."""
    from trackyard.acquire.hub.fetch import fetch_repository

    fetched = fetch_repository(source, cache=Places.of(study.root).hub, kind=kind, endpoint=endpoint)
    return fetched.directory, fetched.contents


def _hub(study: Study, folder: Path, endpoint: str | None) -> _Found:
    from trackyard.acquire.hub.files import select_files
    from trackyard.catalog.entries import UNPINNED, load_catalogue
    from trackyard.catalog.selection import find

    source = study.parameters.data.source
    entry = find(load_catalogue(study.root / "catalog"), str(source.entry))
    if not entry.hub:
        raise ConfigError(
            what=f"data.source.entry={entry.name!r} is no repository of the hub",
            why="kind hub fetches from there",
            fix="name an entry of catalog/pile.yaml, or use kind files",
        )
    repository = entry.hub[0]
    revision = source.revision or repository.revision
    if revision == UNPINNED:
        raise ConfigError(
            what=f"{entry.name} ({repository.repo}) has no pinned revision",
            why="what `main` holds changes, and results would be of other text without a word",
            fix="set pile_ffn.data.source.revision in params.yaml to the commit of 40 hex digits that is meant",
        )
    patterns = _patterns(study)
    wanted = repository.model_copy(update={"revision": revision, "files": tuple(dict.fromkeys(patterns.values()))})
    directory, contents = _fetched(study, wanted, "dataset", endpoint)
    found: dict[str, tuple[str, ...]] = {}
    for role, pattern in patterns.items():
        chosen = select_files(contents, [pattern], repo=repository.repo)
        found[role] = tuple(sorted(_readable(file.path) for file in chosen))
        for name in found[role]:
            _place(directory / name, folder / name)
    return {
        "kind": "hub",
        "repo": repository.repo,
        "revision": revision,
        "licence": entry.licence.name,
    }, found


def _model(study: Study, folder: Path, endpoint: str | None) -> tuple[dict[str, str], list[Path]]:
    """Where the model comes from, and its files as they lie in `folder`; a made one has none yet."""
    from trackyard.catalog.entries import HubSource

    model = study.parameters.model
    if model.made is not None or model.revision is None:
        return {"id": model.id, "revision": MADE}, []
    source = HubSource(repo=model.id, revision=model.revision, gated=model.gated, files=MODEL_FILES)
    directory, contents = _fetched(study, source, "model", endpoint)
    names = sorted(file.path for file in contents if "/" not in file.path)
    for name in names:
        _place(directory / name, folder / name)
    return {"id": model.id, "revision": model.revision}, [folder / name for name in names]


def _place(source: Path, target: Path) -> None:
    """A file of the hub's cache below `Study.source`: tens of gigabytes are not written twice."""
    if not hard_link(source, target):
        target.symlink_to(source.resolve())


def _patterns(study: Study) -> Mapping[str, str]:
    """The parameters' paths and patterns by role. ConfigError unless there is one for each."""
    source, wanted = study.parameters.data.source, training_roles(study.parameters)
    if len(source.train) != len(wanted):
        raise ConfigError(
            what=f"data.source.train names {len(source.train)} files or patterns for {', '.join(wanted)}",
            why="every seed has training text of its own, and pretraining of a made model other text",
            fix=f"list {len(wanted)} of them in pile_ffn.data.source.train in params.yaml",
        )
    held_out = {VAL: source.val, TEST: source.test}
    return dict(zip(wanted, source.train, strict=True)) | {k: v for k, v in held_out.items() if v is not None}


def _below(root: Path, pattern: str) -> tuple[str, ...]:
    """Files of the repository that a pattern names, in the order of their names."""
    parts = PurePosixPath(pattern)
    inside = not parts.is_absolute() and ".." not in parts.parts
    found = sorted(path.relative_to(root).as_posix() for path in root.glob(pattern) if path.is_file()) if inside else []
    if not found:
        raise ConfigError(
            what=f"{pattern!r} names no file below {root}",
            why="text is read from the repository's own folders, so that a checkout says what was read",
            fix="put the file there (`trackyard data import`, `dvc add`), and correct pile_ffn.data.source",
        )
    return tuple(map(_readable, found))


def _readable(name: str) -> str:
    form_of(name)
    return name
