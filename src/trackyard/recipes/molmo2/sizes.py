"""What a Molmo2 stage asks of a machine: parameters by component, packs, pictures. Torch is not needed to know it.

Source: molmo2 spec sections 1, 2, 9 and 16, performance spec sections 4 and 9.7.
"""

from __future__ import annotations

from dataclasses import dataclass

from trackyard.estimate.kept import decoder, encoder
from trackyard.estimate.workload import Attended, Lengths, Part, Workload
from trackyard.feed.geometry import VisionGeometry
from trackyard.models.molmo2_parameters import ADDED_ROWS, COMPONENTS, Component
from trackyard.models.presets import PRESETS, Preset
from trackyard.recipes.molmo2.parameters import Molmo2Parameters, StageName
from trackyard.train.flops import Gradient, Transformer, Work, molmo2_shapes, molmo2_work

ROWS_PER_PACK = 3.8
"""What the report reaches (molmo2 spec section 9), where there is no plan to count in."""
LABELS = 0.2
"""Share of tokens with a loss, where there is no plan to count in; in the mini stages it is 15 to 27 %."""
MOST_LABELS = 0.5
"""Share of a pack's tokens with a loss, at most."""
FRAME_S, CROP_S = 0.052, 0.006
"""CPU seconds to decode and cut up a frame of a video (sequentially, 2 fps) and a crop of an image."""
BLOCK = 128
"""Side of a block of the attention mask on a GPU: a block with one allowed pair is computed whole."""
PUBLISHED_H100_HOURS = {
    "4b": {"stage1": 490, "stage2": 7_500, "stage3": 3_200},
    "o7b": {"stage1": 720, "stage2": 7_600, "stage3": 3_300},
    "8b": {"stage1": 780, "stage2": 8_100, "stage3": 3_300},
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Shapes:
    """The two transformers of a preset and what their weights amount to."""

    vit: Transformer
    llm: Transformer
    parameters: dict[Component, int]


def shapes(preset: Preset, geometry: VisionGeometry) -> Shapes:
    """Widths and exact parameter counts of the stock class."""
    d, f, read = preset.vit_hidden, preset.vit_ffn, preset.vit_hidden * len(preset.vit_feature_layers)
    vit, llm = molmo2_shapes(preset)
    # Biases of four projections and of two feed-forward matrices, and two LayerNorms.
    vit_layer = 4 * (d**2 + d) + 2 * d * f + f + d + 4 * d
    patch = geometry.patch_values * d + d + geometry.patches * d
    queries, keys = preset.heads * preset.head_dim, preset.kv_heads * preset.head_dim
    head_norms = 2 * preset.head_dim if preset.qk_norm == "qwen3" else queries + keys
    norms = preset.layers * (head_norms + 2 * preset.hidden_size) + preset.hidden_size
    tables = (2 * preset.vocab_size + ADDED_ROWS) * preset.hidden_size
    return Shapes(
        vit=vit,
        llm=llm,
        parameters={
            "vit": preset.vit_layers * vit_layer + patch,
            "connector": 3 * (read * d + d) + d**2 + d + 2 * d * preset.ffn + preset.ffn * preset.hidden_size,
            "llm": llm.weights + norms + tables,
        },
    )


def gradients(parameters: Molmo2Parameters, name: StageName) -> dict[Component, Gradient]:
    """Which components train, which pass gradients on, in the order in which data pass through them."""
    rates = parameters.stage(name).optimiser.rates
    found: dict[Component, Gradient] = {}
    for part in COMPONENTS:
        before = any(state != "none" for state in found.values())
        found[part] = "trained" if rates[part].learning_rate > 0 else "passes" if before else "none"
    return found


def budget_lengths(parameters: Molmo2Parameters, name: StageName) -> Lengths:
    """Full packs: every token budget used up, and as many pictures as fit."""
    stage, geometry = parameters.stage(name), parameters.geometry
    packs = stage.packs_per_step
    inputs = min(stage.max_inputs, stage.max_tokens // geometry.frame_tokens)
    features = geometry.image_side**2 if name == "stage1" else geometry.frame_features
    return Lengths(
        tokens=packs * stage.max_tokens,
        visual=packs * min(inputs * features, stage.max_tokens),
        inputs=packs * inputs,
        labels=LABELS * packs * stage.max_tokens,
        rows=ROWS_PER_PACK * packs,
        source="no plan is built: packs as full as their budgets allow",
    )


def workload(
    parameters: Molmo2Parameters, name: StageName, *, lengths: Lengths | None, dense: bool, world: int | None = None
) -> Workload:
    """A stage in numbers. lengths: of its plan, None for its budgets; dense: the device masks attention densely."""
    stage, geometry = parameters.stage(name), parameters.geometry
    preset = PRESETS[parameters.model.preset]
    found = shapes(preset, geometry)
    states = gradients(parameters, name)
    mean = lengths or budget_lengths(parameters, name)
    packs, length = stage.packs_per_step, stage.max_tokens
    allowed = mean.tokens**2 / (2 * mean.rows)
    positions = packs * length
    engine = parameters.engine_of(name)
    window = (geometry.image_pooling if name == "stage1" else geometry.video_pooling) ** 2

    def parts_of(tokens: float, pairs: float) -> tuple[Work, ...]:
        return tuple(
            molmo2_work(
                preset,
                tokens=tokens,
                answers=mean.labels,
                pairs=pairs,
                crops=mean.inputs,
                pooled=mean.visual,
                window=window,
                trained=[part for part, state in states.items() if state == "trained"],
                patches=geometry.patches,
            )
        )

    visual = min(stage.max_inputs * geometry.image_side**2, length)
    return Workload(
        track="molmo2",
        stage=name,
        preset=parameters.model.preset,
        lengths=mean.source,
        parts=(
            Part(
                name="vit",
                parameters=found.parameters["vit"],
                gradient=states["vit"],
                layers=found.vit.layers,
                positions=stage.max_inputs * geometry.patches,
                kept=encoder(found.vit),
            ),
            Part(name="connector", parameters=found.parameters["connector"], gradient=states["connector"]),
            Part(
                name="llm",
                parameters=found.parameters["llm"],
                gradient=states["llm"],
                layers=found.llm.layers,
                positions=length,
                kept=decoder(found.llm),
            ),
        ),
        attended=Attended(
            layers=found.llm.layers,
            heads=found.llm.heads,
            kv_heads=found.llm.kv_heads,
            head_dim=found.llm.head_dim,
            length=length,
        ),
        useful=parts_of(mean.tokens, allowed),
        computed=parts_of(positions, packs * length**2 if dense else allowed + positions * BLOCK),
        tokens=mean.tokens,
        packs_per_step=packs,
        steps=stage.steps,
        save_every=stage.save_every,
        vocab=preset.vocab_size,
        logits=MOST_LABELS * length,
        pack_bytes=_picture_bytes(
            preset,
            geometry,
            inputs=stage.max_inputs,
            features=visual,
            window=window,
            tokens=length,
            width=2 if engine.precision == "bf16" else 4,
        ),
        # A dense mask is a boolean, and a number where scores are added to it.
        mask_bytes=length**2 * 5 if dense else (length / BLOCK) ** 2 * 16,
        batch_bytes=stage.max_inputs * geometry.patches * geometry.patch_values + 64 * length,
        data_s=mean.inputs * (CROP_S if name == "stage1" else FRAME_S),
        engine=engine,
        world=parameters.processes if world is None else world,
        notes=_notes(parameters, name),
    )


def _picture_bytes(
    preset: Preset, geometry: VisionGeometry, *, inputs: int, features: int, window: int, tokens: int, width: int
) -> float:
    """Bytes of a pack between its pixels and its embeddings: patches, chosen layers, windows of them, features."""
    d, read = preset.vit_hidden, preset.vit_hidden * len(preset.vit_feature_layers)
    # uint8, fp32 and the precision of the forward pass.
    pixels = inputs * geometry.patches * geometry.patch_values * (5 + width)
    chosen = inputs * geometry.patches * read * width
    windows = features * window * (2 * read + 2 * d) * width
    projected = features * (4 * preset.ffn + 3 * d + preset.hidden_size) * width
    return pixels + chosen + windows + projected + 2 * tokens * preset.hidden_size * width


def _notes(parameters: Molmo2Parameters, name: StageName) -> tuple[str, ...]:
    hours = PUBLISHED_H100_HOURS.get(parameters.model.preset, {}).get(name)
    if hours is None or parameters.stage(name).packs_per_step != 128:
        return ()
    return (f"the Molmo2 report states {hours:,} H100-hours for this stage and size",)
