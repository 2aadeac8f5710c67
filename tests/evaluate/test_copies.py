from typing import Any

import numpy as np
import pytest
import torch

from tests.models.tiny_families import tiny
from trackyard.digest import digest_bytes
from trackyard.errors import DataError
from trackyard.evaluate import copies
from trackyard.evaluate.copies import CopiedResult, Outputs, refuse_copies
from trackyard.evaluate.document_scores import ScoredText, score_documents


def outputs(cell: str, seed: int, checkpoint: str | None = None, documents: int = 100) -> Outputs:
    """Losses in float32, as models give them."""
    losses = np.random.default_rng(seed).gamma(3, 1, documents).astype(np.float32)
    return Outputs(
        cell=cell,
        checkpoint=checkpoint or f"digest of {cell}",
        numbers={f"d{i}": float(loss) for i, loss in enumerate(losses)},
    )


def test_independent_models_pass() -> None:
    assert refuse_copies([outputs(f"baseline-s{seed}", seed) for seed in range(6)]) == 15


def test_two_checkpoints_with_one_output() -> None:
    with pytest.raises(CopiedResult, match="agree to the last bit on 100 of 100 documents; their checkpoints differ"):
        refuse_copies([outputs("baseline-s42", 1), outputs("other", 3), outputs("baseline-s1337", 1)])


def test_one_checkpoint_twice() -> None:
    """Even with other numbers, as they come from another batch size or device."""
    with pytest.raises(CopiedResult, match="on 0 of 100 documents; both scored checkpoint abc"):
        refuse_copies([outputs("a", 1, "abc"), outputs("b", 2, "abc")])


def test_a_copy_with_documents_added_and_changed() -> None:
    first, second = outputs("a", 1), outputs("b", 1, documents=150)
    for name in list(second.numbers)[:40]:
        second.numbers[name] += 1e-3
    with pytest.raises(CopiedResult, match="on 60 of 100"):
        refuse_copies([first, second])


def test_without_the_guard_a_copy_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control."""
    monkeypatch.setattr(copies, "EQUAL_SHARE", 1.1)
    assert refuse_copies([outputs("a", 1), outputs("b", 1)]) == 1


def test_few_numbers_may_coincide() -> None:
    first, second = outputs("a", 1), outputs("b", 2)
    second.numbers["d0"] = first.numbers["d0"]
    assert refuse_copies([first, second]) == 1


def test_nothing_compared_is_no_proof() -> None:
    with pytest.raises(DataError, match="a and b have no document in common"):
        refuse_copies([outputs("a", 1), outputs("b", 2, documents=0)])


@pytest.mark.parametrize(("cells", "named"), [([], "0 cells: -"), (["a"], "1 cells: a")])
def test_no_pair_is_no_proof(cells: list[str], named: str) -> None:
    with pytest.raises(DataError, match=named):
        refuse_copies([outputs(cell, 1) for cell in cells])


def scored(cell: str, model: Any) -> Outputs:
    """What a real model says of 20 documents without token 95, under the digest of its weights."""
    random = np.random.default_rng(0)
    documents = [ScoredText(id=f"d{i}", component="c", ids=random.integers(0, 95, 12), bytes=40) for i in range(20)]
    found = score_documents(model, documents, length=16, stride=8, batch=8)
    weights = b"".join(value.numpy().tobytes() for value in model.state_dict().values())
    return Outputs(
        cell=cell, checkpoint=digest_bytes(weights), numbers={score.id: score.nll for score in found.documents}
    )


def test_real_checkpoints_that_differ_and_put_out_the_same() -> None:
    """A weight that nothing uses is what differs: as if the weights that were trained had never been loaded."""
    first, other, unused = tiny("gpt_neox", 0), tiny("gpt_neox", 1), tiny("gpt_neox", 0)
    with torch.no_grad():
        unused.gpt_neox.embed_in.weight[95] += 1
    assert refuse_copies([scored("a", first), scored("b", other)]) == 1
    with pytest.raises(CopiedResult, match="a and c agree") as caught:
        refuse_copies([scored("a", first), scored("b", other), scored("c", unused)])
    assert "on 20 of 20 documents; their checkpoints differ" in caught.value.what
