"""The loss on the validation set that arms are chosen by and controls are matched on.

Windows are those of training, with half of one as the stride, whatever the reported perplexity is taken with: so a
change of how arms are reported trains nothing again. Source: pile-ffn spec sections 3.2, 6 and 7.
"""

from __future__ import annotations

import math
from typing import Any

from trackyard.evaluate.document_scores import score_documents
from trackyard.recipes.pile_ffn.study import Study
from trackyard.recipes.pile_ffn.text.token_sets import open_set, scored_texts

VAL = "val"


def val_nll(study: Study, model: Any) -> float:
    """Nats per predicted token of the validation set. model: plain, fp32. DataError if a loss is no number."""
    window = study.parameters.training.window
    scores = score_documents(
        model,
        scored_texts(open_set(study, VAL)),
        length=window,
        stride=window // 2,
        batch=study.parameters.perplexity.batch,
    )
    return math.fsum(each.nll for each in scores.documents) / sum(each.predicted for each in scores.documents)
