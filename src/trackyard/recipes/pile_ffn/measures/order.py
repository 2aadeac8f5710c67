"""The order-preservation probes of a cell's export: graded sentences, and the feed-forward parts directly.

Post hoc and descriptive: no arm is order-preserving by theorem. Source: pile-ffn spec sections 9 and 10.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from trackyard.digest import digest_file
from trackyard.evaluate.order import corpus
from trackyard.evaluate.order.ffn import direct_check
from trackyard.evaluate.order.hidden import encode, pooled_states
from trackyard.evaluate.order.scores import Curve, probe_order
from trackyard.recipes.pile_ffn.cells import Cell
from trackyard.recipes.pile_ffn.measures.exports import PRECISION, device, export_inputs, load_exact
from trackyard.recipes.pile_ffn.measures.kept import measured
from trackyard.recipes.pile_ffn.results import Result
from trackyard.recipes.pile_ffn.study import Study
from trackyard.recipes.pile_ffn.text.token_sets import TOKENIZER, load_tokenizer, slice_digest

STAGE = "probe_order"
CONTROLS = ("random_directions", "shuffled_labels")


def order(study: Study, cell: Cell, say: Callable[[str], None]) -> Result:
    """Probe the export of a cell. DataError if it is absent, or its states are no numbers or all alike."""
    tokenizer = study.tokens / TOKENIZER / "tokenizer.json"
    result = measured(
        study,
        STAGE,
        cell,
        inputs={
            **export_inputs(study, cell),
            tokenizer.relative_to(study.root).as_posix(): digest_file(tokenizer),
        },
        make=lambda: _probed(study, cell),
        slice_digest=None if cell.seed is None else slice_digest(study, study.replicate(cell)),
        precision=PRECISION | {"directions": "fp64", "ffn_direct": "fp64"},
        device=device().type,
    )
    say(f"{cell.name}: {_line(result.body)}")
    return result


def _probed(study: Study, cell: Cell) -> dict[str, Any]:
    """The body of the result."""
    settings = study.parameters.probes
    seed = study.draws(cell)
    encoded = encode(load_tokenizer(study), corpus.sentences())
    fit, scored = corpus.pairs(fit=True), corpus.pairs(fit=False)
    model = load_exact(study, cell)
    probes = {
        pooling: probe_order(
            states_LSD,
            fit=fit,
            scored=scored,
            seed=seed,
            name=pooling,
            directions=settings.directions,
            steps=settings.fit_steps,
            resamples=settings.resamples,
        )
        for pooling, states_LSD in pooled_states(model, encoded.ids, batch=settings.batch).items()
    }
    checks = direct_check(
        model,
        encoded.ids,
        samples=settings.samples,
        batch=settings.batch,
        seed=seed,
        resamples=settings.resamples,
    )
    return {
        "corpus": {
            "version": corpus.VERSION,
            "digest": corpus.digest(),
            "chains": len(corpus.chains()),
            "pairs": {"fit": len(fit), "scored": len(scored)},
            "cut": encoded.cut,
        },
        "pooling": {pooling: _by_layer(probe.fitted) for pooling, probe in probes.items()},
        "controls": {
            name: {pooling: _by_layer(getattr(probe, name)) for pooling, probe in probes.items()} for name in CONTROLS
        },
        "ffn_direct": [asdict(check) | {"ci95": [check.ci95.low, check.ci95.high]} for check in checks],
    }


def _by_layer(curve: Curve) -> dict[str, Any]:
    return {
        "layer": list(range(1, len(curve.score) + 1)),
        "score": list(curve.score),
        "ci95": [[interval.low, interval.high] for interval in curve.ci95],
        "tied": list(curve.tied),
    }


def _line(body: Mapping[str, Any]) -> str:
    """The final layer by its last token, what controls say there, and the lowest feed-forward part."""
    final = body["pooling"]["last"]
    low, high = final["ci95"][-1]
    controls = ", ".join(
        f"{name.replace('_', ' ')} {body['controls'][name]['last']['score'][-1]:.3f}" for name in CONTROLS
    )
    lowest = min(body["ffn_direct"], key=lambda check: float(check["without_residual"]))
    return (
        f"order kept in the final layer {final['score'][-1]:.3f} [{low:.3f}, {high:.3f}] ({controls}); "
        f"by feed-forward parts alone {lowest['without_residual']:.3f} and more (lowest in layer {lowest['layer']})"
    )
