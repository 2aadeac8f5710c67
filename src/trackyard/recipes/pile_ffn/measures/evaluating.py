"""The stage `evaluate`: perplexity, order-preservation probes and benchmarks of a cell's export.

Each part is a result of its own, made once: a stage that was cut off goes on with the part that is missing. A part
loads the export itself, and none that is kept loads it at all. Source: pile-ffn spec section 11.
"""

from __future__ import annotations

from collections.abc import Callable

from trackyard.evaluate.harness.run import import_harness
from trackyard.recipes.pile_ffn.cells import Cell
from trackyard.recipes.pile_ffn.measures import exports
from trackyard.recipes.pile_ffn.measures.benchmarks import benchmarks
from trackyard.recipes.pile_ffn.measures.order import order
from trackyard.recipes.pile_ffn.measures.scoring import perplexity
from trackyard.recipes.pile_ffn.study import Study


def import_ahead(study: Study) -> None:
    """Import the model's class and the harness, so that processes that are forked after it need not."""
    exports.import_ahead(study)
    import_harness()


def evaluate(study: Study, cell: Cell, say: Callable[[str], None]) -> None:
    """Measure a cell without attacks. DataError or EnvironmentLacking if its export, tokens or items are absent."""
    for part in (perplexity, order, benchmarks):
        part(study, cell, say)
