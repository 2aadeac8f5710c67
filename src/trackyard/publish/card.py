"""The model card: what the model was trained on, under which terms, by which plan, code and parents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

DEVIATIONS = (
    "Residual dropout of the report does not exist in the stock class and is 0.",
    "Embeddings of added tokens share a table with the language model and are trained at its rate.",
    "Frames are sampled uniformly with the last frame kept; the stock video processor samples left-aligned without it, "
    "so give it frames that are already sampled, with their times.",
)


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """Everything the card states; no prose is made up around it."""

    title: str
    track: str
    stage: str
    run_id: str
    plan_fingerprint: str
    commit: str
    dirty_digest: str | None
    parent_run: str | None
    datasets: Mapping[str, Mapping[str, Any]]
    """name -> licence, source, fingerprint, share (of trained rows)"""
    metrics: Sequence[tuple[str, str, str]]
    """name, untrained or start, trained"""
    steps: int
    tokens: int


def model_card(facts: CardFacts) -> str:
    """Markdown with the front matter of the hub."""
    licences = sorted({str(entry["licence"]) for entry in facts.datasets.values()})
    front = yaml.safe_dump(
        {
            "library_name": "transformers",
            "pipeline_tag": "image-text-to-text",
            "tags": list(dict.fromkeys(["molmo2", "trackyard", facts.track, facts.stage])),
            "datasets": sorted(facts.datasets),
        },
        sort_keys=True,
    )
    data = "\n".join(
        f"| {_cell(name)} | {entry['share']:.2%} | {_cell(entry['licence'])} | `{entry['fingerprint'][:12]}` |"
        for name, entry in sorted(facts.datasets.items())
    )
    metrics = "\n".join(f"| {_cell(name)} | {start} | {trained} |" for name, start, trained in facts.metrics)
    code = f"`{facts.commit}`" + (f" + uncommitted changes `{facts.dirty_digest[:12]}`" if facts.dirty_digest else "")
    deviations = "\n".join(f"* {line}" for line in DEVIATIONS)
    return f"""---
{front}---

# {facts.title}

Trained by trackyard: track `{facts.track}`, {facts.stage}, {facts.steps:,} steps, {facts.tokens:,} tokens.

## Results

| metric | at the start | trained |
|---|---|---|
{metrics}

## Data

| dataset | share of trained rows | licence | snapshot |
|---|---|---|---|
{data}

Licences of the data: {"; ".join(licences)}. The weights inherit whatever terms these and the starting weights impose.

## Lineage

| | |
|---|---|
| run | `{facts.run_id}` |
| plan | `{facts.plan_fingerprint}` |
| code | {code} |
| parent run | {f"`{facts.parent_run}`" if facts.parent_run else "none"} |

`lineage.json` beside this file holds every fingerprint; `trackyard lineage verify` re-hashes them.

## Use

```python
from transformers import Molmo2ForConditionalGeneration

model = Molmo2ForConditionalGeneration.from_pretrained("path/to/this/folder")
```

Known deviations from the published recipe:

{deviations}
"""


def _cell(text: object) -> str:
    """Text that cannot end its cell of a table."""
    return str(text).replace("|", "\\|")
