"""The small model and its tokenizer, before training. Source: nine-datasets spec section 5."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from trackyard.feed.layout import FeedParameters
from trackyard.feed.prompts import Scope, write_dialogue
from trackyard.feed.tokens import TokenTable, extend_tokenizer, train_tokenizer
from trackyard.models.molmo2 import check_fits
from trackyard.models.presets import Preset
from trackyard.models.routed_molmo2 import Experts, RoutedMolmo2, make_routed
from trackyard.recipes.nine.made.parameters import MadeModelParameters
from trackyard.row import Row

INITIAL_STD = (0.08, 0.12, 0.08)
"""Of random weights: vision tower, connector, language model (see `models.presets.Preset`)."""
POSITION_STD = 0.6
ROPE_THETA = 10_000.0


def made_feed(parameters: MadeModelParameters, crops: int) -> FeedParameters:
    """How rows become tokens with at most `crops` high-resolution crops, worded as they are in an evaluation."""
    geometry = parameters.geometry.model_copy(update={"max_crops": crops})
    return FeedParameters(
        geometry=geometry,
        evaluation=True,
        max_tokens=parameters.max_positions,
        max_inputs=parameters.max_positions,
        seed=parameters.seed,
    )


def made_tokens(rows: Iterable[Row], parameters: MadeModelParameters) -> TokenTable:
    """A tokenizer trained on what the feed writes for the rows."""
    feed = made_feed(parameters, parameters.geometry.max_crops)
    trained = train_tokenizer(_texts(rows, feed), parameters.vocabulary)
    return TokenTable.of(extend_tokenizer(trained, parameters.vocabulary))


def _texts(rows: Iterable[Row], feed: FeedParameters) -> Iterator[str]:
    for row in rows:
        scope = Scope(images=len(row.media))
        for branch in range(len(row.conversations)):
            for question, answer in write_dialogue(row, branch, row.task, scope, feed.wording).turns:
                yield f"{question}\n{answer}"


def random_made(parameters: MadeModelParameters, tokens: TokenTable) -> RoutedMolmo2:
    """The model with random fp32 weights. ConfigError if it and the tokenizer disagree."""
    model = make_routed(
        _preset(parameters),
        Experts(experts=parameters.experts, per_token=parameters.per_token, width=parameters.expert_width),
        parameters.geometry,
        max_positions=parameters.max_positions,
        seed=parameters.seed,
    )
    check_fits(model, tokens, parameters.geometry)
    return model


def _preset(parameters: MadeModelParameters) -> Preset:
    layers = parameters.vit_layers
    return Preset(
        hidden_size=parameters.hidden,
        layers=parameters.layers,
        heads=parameters.heads,
        kv_heads=parameters.kv_heads,
        head_dim=parameters.hidden // parameters.heads,
        ffn=2 * parameters.hidden,
        vit_hidden=parameters.vit_hidden,
        vit_layers=layers,
        vit_heads=parameters.vit_heads,
        vit_ffn=parameters.vit_ffn,
        vit_feature_layers=(layers - 1, layers - 2),
        vocab_size=parameters.vocabulary,
        rope_theta=ROPE_THETA,
        initial_std=INITIAL_STD,
        position_std=POSITION_STD,
    )
