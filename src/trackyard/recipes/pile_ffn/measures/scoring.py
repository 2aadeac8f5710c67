"""Perplexity of one cell on the `test` set, overall, by component and by document. Source: pile-ffn spec section 7."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from trackyard.acquire.mini.draft import random_of
from trackyard.evaluate.document_scores import score_documents
from trackyard.evaluate.perplexity import by_component, summarise
from trackyard.recipes.pile_ffn.cells import Cell
from trackyard.recipes.pile_ffn.measures.exports import PRECISION, device, export_inputs, load_exact
from trackyard.recipes.pile_ffn.measures.kept import measured
from trackyard.recipes.pile_ffn.results import Result
from trackyard.recipes.pile_ffn.study import Study
from trackyard.recipes.pile_ffn.text.token_sets import open_set, scored_texts, slice_digest

STAGE = "eval_ppl"
TEST = "test"


def perplexity(study: Study, cell: Cell, say: Callable[[str], None]) -> Result:
    """Score the export of a cell on every document of the test set.

    The body has, beside the figures of section 10, `scoring`: the windows [tokens]; and `documents`: the loss of each
    [nats, a sum] and its predicted tokens, by which copies are found and arms compared in pairs.
    """
    parameters = study.parameters.perplexity
    tokens = open_set(study, TEST)

    def make() -> Mapping[str, Any]:
        scores = score_documents(
            load_exact(study, cell),
            scored_texts(tokens),
            length=parameters.length,
            stride=parameters.stride,
            batch=parameters.batch,
        ).documents
        # No part of the key names the arm: the same documents are drawn for every one.
        parts = by_component(scores, rng=random_of(STAGE, TEST, "components"), resamples=parameters.resamples)
        whole = summarise(scores, rng=random_of(STAGE, TEST), resamples=parameters.resamples)
        return asdict(whole) | {
            "scoring": {"length": parameters.length, "stride": parameters.stride},
            "by_component": {name: asdict(part) for name, part in parts.items()},
            "documents": [
                {"doc_id": score.id, "component": score.component, "nll": score.nll, "predicted": score.predicted}
                for score in scores
            ],
        }

    result = measured(
        study,
        STAGE,
        cell,
        inputs=export_inputs(study, cell) | tokens.inputs(study),
        make=make,
        slice_digest=None if cell.seed is None else slice_digest(study, study.replicate(cell)),
        precision=PRECISION,
        device=device().type,
    )
    body = result.body
    say(
        f"{cell.name}: perplexity {body['ppl']:.3f} ({body['nll']:.4f} nats) over {body['predicted_tokens']:,} tokens "
        f"of {body['docs']} documents"
    )
    return result
