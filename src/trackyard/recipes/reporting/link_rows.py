"""The links of a run as a card names them, of any track."""

from __future__ import annotations

from collections.abc import Iterator

from trackyard.record.identity import RunSpec


def link_rows(spec: RunSpec) -> Iterator[tuple[str, str]]:
    """The links of a run that its specification names."""
    changed = f" and uncommitted changes `{spec.code.dirty_digest[:12]}`" if spec.code.dirty_digest else ""
    yield "run", f"`{spec.run_id}`"
    yield "plan", f"`{spec.plan}`"
    yield "code", f"`{spec.code.commit}`{changed}"
    yield "image", f"`{spec.image}`" if spec.image else "none"
    yield "parent run", f"`{spec.parent}`" if spec.parent else "none"
    yield "seed", str(spec.seed)
