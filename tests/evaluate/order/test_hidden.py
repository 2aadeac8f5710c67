from types import SimpleNamespace

import pytest
import torch

from tests.models.tiny_families import tiny
from tests.recipes.pile_ffn.tiny_study import tokenizer
from trackyard.errors import ConfigError, DataError
from trackyard.evaluate.order.corpus import sentences
from trackyard.evaluate.order.hidden import LONGEST, encode, layers_of, passed, pooled_states

IDS = [[5, 6, 7], [8, 9, 10, 11, 12, 13, 14], [15], [16, 17, 18, 19]]


@pytest.mark.parametrize("family", ["gpt_neox", "llama", "qwen2"])
@pytest.mark.parametrize("batch", [1, 3])
def test_states_are_those_of_the_stock_model(family: str, batch: int) -> None:
    """One sentence at a time, without padding; the last of transformers' states is behind the final norm."""
    model = tiny(family)
    found = pooled_states(model, IDS, batch=batch)
    norm = model.base_model.final_layer_norm if family == "gpt_neox" else model.base_model.norm
    for row, ids in enumerate(IDS):
        with torch.no_grad():
            stock = model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states
            for pooled, expected in (
                (found["last"][0, row], stock[1][0, -1]),
                (found["mean"][0, row], stock[1][0].mean(dim=0)),
                (norm(found["last"][1, row]), stock[2][0, -1]),
            ):
                torch.testing.assert_close(pooled, expected, rtol=1e-4, atol=1e-5)


def test_no_hook_stays() -> None:
    model = tiny("gpt_neox")
    pooled_states(model, IDS, batch=4)
    assert not any(module._forward_hooks for module in model.modules())


def test_sentences_are_cut_and_counted() -> None:
    encoded = encode(tokenizer(), sentences())
    full = tokenizer()(sentences())["input_ids"]
    assert [len(ids) for ids in encoded.ids] == [min(len(ids), LONGEST) for ids in full]
    assert encoded.cut == sum(len(ids) > LONGEST for ids in full)
    assert encode(tokenizer(), ["word " * 200]).cut == 1


def test_an_empty_sentence_is_refused() -> None:
    with pytest.raises(DataError, match="'' has no tokens"):
        encode(tokenizer(), ["something", ""])


def test_another_family_is_refused() -> None:
    with pytest.raises(ConfigError, match="'gpt2'"):
        layers_of(tiny("gpt2"))


def test_states_that_are_no_numbers_are_refused() -> None:
    model = tiny("gpt_neox")
    with torch.no_grad():
        model.gpt_neox.layers[1].mlp.dense_4h_to_h.bias.fill_(float("nan"))
    with pytest.raises(DataError, match="no numbers"):
        pooled_states(model, IDS, batch=4)


def test_what_goes_in_is_not_what_comes_out() -> None:
    model = tiny("gpt_neox")
    part = SimpleNamespace(ids_BT=torch.tensor(IDS[1:2]))
    mlp = model.gpt_neox.layers[0].mlp
    (given,), (out,) = (passed(model, part, [mlp], take) for take in ("input", "output"))  # type: ignore[arg-type]
    with torch.inference_mode():
        torch.testing.assert_close(mlp(given), out)
