"""From a checkpoint back into a training state: everything is proved first, then copied where the engine has it.

The ranks and the ZeRO stage may differ from those that wrote it: each rank takes the pieces of every tensor that it
holds now, from whichever files have them. Source: reliability sections 1 and 5.3 (F5, F13), molmo2 spec section 13.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from trackyard.errors import CheckpointError, DataError
from trackyard.train.agreement import agree
from trackyard.train.checkpoint import Manifest, Rejected, complete_checkpoints, read_manifest, removal
from trackyard.train.host_state import join_host_state, restore_random_state
from trackyard.train.ranks import Ranks
from trackyard.train.state import KINDS, Fragment, TrainingState
from trackyard.train.tensor_file import read_tensor_file, require_names

STEPS = "step"
"""Name of the step counts in a file: fp32, one for each tensor of the optimiser on the rank that wrote it."""


def state_file(rank: int) -> str:
    """Name of the file with the pieces of `rank`."""
    return f"state-{rank:05d}.safetensors"


def host_file(rank: int) -> str:
    """Name of the file with the random state of `rank`; that of rank 0 holds the host state's tensors as well."""
    return f"host-{rank:05d}.safetensors"


@dataclass(frozen=True, kw_only=True, eq=False)
class Proved:
    """A checkpoint of which every byte that this rank needs has been hashed. Nothing is changed until `apply`."""

    manifest: Manifest
    copies: list[tuple[torch.Tensor, torch.Tensor]]
    """Live tensor, what it shall hold."""
    host_tensors: Mapping[str, torch.Tensor]
    random_state: Mapping[str, torch.Tensor] | None
    """None for a rank that did not exist when it was written: its generators stay as they were seeded."""

    def apply(self, state: TrainingState) -> dict[str, Any]:
        """Restore `state` and the generators, on all ranks at once; returns the host state, with the step in it."""
        with torch.no_grad():
            for live, stored in self.copies:
                live.copy_(stored)
        state.refresh()
        if self.random_state is not None:
            restore_random_state(self.random_state)
        host: dict[str, Any] = join_host_state(self.manifest.host_state, self.host_tensors)
        return host | {"step": self.manifest.step}


def prove_checkpoint(
    path: Path, state: TrainingState, identity: Mapping[str, str], *, rank: int, allow_missing: tuple[str, ...] = ()
) -> Proved:
    """Hash what `rank` needs of a checkpoint and find its pieces; nothing is changed.

    allow_missing: see trackyard.train.tensor_file.require_names. Raises CheckpointError or DataError.
    """
    manifest = read_manifest(path, identity)
    require_names(state.shapes, manifest.tensors, allow_missing=allow_missing, where=str(path))
    for name, shape in state.shapes.items():
        if name in manifest.tensors and manifest.tensors[name] != shape:
            raise _unfit(path, f"{name} has shape {manifest.tensors[name]}, the model's has {shape}")
    reader = _Reader(path, manifest)
    copies = []
    counts: dict[int, set[float]] = {}
    for fragment in state.held:
        if fragment.name not in manifest.tensors:
            continue
        for part, stored, count in reader.pieces(fragment):
            copies += [(part.tensors[kind], stored[kind]) for kind in KINDS]
            counts.setdefault(fragment.group, set()).add(count)
    for group, found in counts.items():
        if len(found) > 1:
            raise _unfit(path, f"moments of one group have seen {sorted(found)} updates")
        copies.append((state.steps[group], torch.tensor(found.pop())))
    host = {file.path: reader.open(file.path) for file in manifest.files if not file.fragments}
    return Proved(
        manifest=manifest,
        copies=copies,
        host_tensors=host.get(host_file(0), {}),
        random_state=host.get(host_file(rank)),
    )


class _Reader:
    """The files of one checkpoint, each proved when it is first needed."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self._path = path
        self._files = {file.path: file for file in manifest.files}
        self._open: dict[str, dict[str, torch.Tensor]] = {}
        self._holders: dict[str, list[tuple[int, int, int, str]]] = {}
        for file in manifest.files:
            for name, (start, numel, group) in file.fragments.items():
                self._holders.setdefault(name, []).append((start, start + numel, group, file.path))

    def open(self, name: str) -> dict[str, torch.Tensor]:
        """The proved tensors of a file."""
        if name not in self._open:
            expected = self._files[name].blake3
            self._open[name] = read_tensor_file(self._path / name, expected=expected, fix=removal(self._path))
        return self._open[name]

    def pieces(self, wanted: Fragment) -> list[tuple[Fragment, dict[str, torch.Tensor], float]]:
        """What fills `wanted`, in order: the part of it, the stored values by kind, and updates they have seen."""
        found = []
        at, end = wanted.start, wanted.start + wanted.numel
        for start, stop, group, name in sorted(self._holders.get(wanted.name, [])):
            if stop <= at or at >= end:
                continue
            if start > at:
                break
            last = min(stop, end)
            tensors = self.open(name)
            absent = {STEPS, *(f"{kind}/{wanted.name}" for kind in KINDS)} - set(tensors)
            if absent:
                raise _unfit(self._path, f"{name} lacks {sorted(absent)}, which its manifest lists")
            stored = {kind: tensors[f"{kind}/{wanted.name}"].view(-1)[at - start : last - start] for kind in KINDS}
            found.append((wanted.part(at, last), stored, float(tensors[STEPS][group])))
            at = last
        if at < end:
            raise _unfit(self._path, f"elements {at} to {end} of {wanted.name} are in none of its files")
        return found


def load_checkpoint(
    path: Path,
    state: TrainingState,
    identity: Mapping[str, str],
    *,
    ranks: Ranks,
    allow_missing: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Restore the checkpoint `path` on all ranks; returns the host state that was saved, with `step`.

    Raises CheckpointError or DataError on every rank if it is missing, incomplete, damaged or of something else; the
    state is as it was then.
    """
    error, proved = None, None
    try:
        proved = prove_checkpoint(path, state, identity, rank=ranks.rank, allow_missing=allow_missing)
    except (CheckpointError, DataError) as found:
        error = found
    agree(ranks, error)
    assert proved is not None, "a rank without it has raised"
    return proved.apply(state)


def resume(
    root: Path, state: TrainingState, identity: Mapping[str, str], *, ranks: Ranks
) -> tuple[Path | None, dict[str, Any], list[Rejected]]:
    """Restore the newest sound checkpoint below `root`: its path, its host state, and the newer ones that were not.

    (None, {}, ...) where there is none; the state is as it was then.
    """
    rejected: list[Rejected] = []
    for path in reversed(complete_checkpoints(root)):
        try:
            host = load_checkpoint(path, state, identity, ranks=ranks)
        except (CheckpointError, DataError) as error:
            rejected.append(Rejected(path=path, problem=error.what))
            continue
        return path, host, rejected
    return None, {}, rejected


def _unfit(path: Path, what: str) -> CheckpointError:
    return CheckpointError(
        what=f"{path}: {what}",
        why="its tensors do not make up the state of this model",
        fix="resume with the model and the ZeRO stage that it was written with",
    )
