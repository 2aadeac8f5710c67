"""What a step costs: tokens and operations, from the lengths of its samples. Source: performance spec section 4."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trackyard.recipes.datacomp.training.samples import NAME, Draws
from trackyard.train.flops import Transformer, gemma3_projector_work, step_flops
from trackyard.train.metering import StepCost


@dataclass(frozen=True, kw_only=True)
class Costs:
    """shape, tower: of Gemma. projector: weights in products of the branch, world_tokens: per image."""

    shape: Transformer
    tower: Transformer
    global_layers: int
    window: int
    patches: int
    projector: int
    world_tokens: int

    @classmethod
    def of(cls, config: Any, *, projector: int, world_tokens: int) -> Costs:
        """config: of Gemma 3."""
        text, vision = config.get_text_config(), config.vision_config
        return cls(
            shape=Transformer(
                layers=text.num_hidden_layers,
                hidden=text.hidden_size,
                heads=text.num_attention_heads,
                kv_heads=text.num_key_value_heads,
                head_dim=text.head_dim,
                ffn=text.intermediate_size,
                gated=True,
                vocab=text.vocab_size,
            ),
            tower=Transformer(
                layers=vision.num_hidden_layers,
                hidden=vision.hidden_size,
                heads=vision.num_attention_heads,
                kv_heads=vision.num_attention_heads,
                head_dim=vision.hidden_size // vision.num_attention_heads,
                ffn=vision.intermediate_size,
                gated=False,
            ),
            global_layers=text.layer_types.count("full_attention"),
            window=text.sliding_window,
            patches=(vision.image_size // vision.patch_size) ** 2,
            projector=projector,
            world_tokens=world_tokens,
        )

    def of_step(self, draws: Draws, step: int) -> StepCost:
        """Of all ranks together."""
        numbers = draws.of_step(step)
        lengths = draws.lengths.tokens[numbers].tolist()
        work = gemma3_projector_work(
            lengths=lengths,
            answers=float(draws.lengths.supervised[numbers].sum()),
            images=len(numbers),
            world_tokens=self.world_tokens * len(numbers),
            projector=self.projector,
            shape=self.shape,
            tower=self.tower,
            global_layers=self.global_layers,
            window=self.window,
            patches=self.patches,
        )
        tokens = int(sum(lengths))
        return StepCost(tokens=tokens, useful_tokens=tokens, flops=step_flops(work), rows={NAME: len(numbers)})
