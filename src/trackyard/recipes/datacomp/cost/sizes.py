"""The track's `train` stage in numbers. Torch is not imported. Source: theworld spec sections 4, 5, 6 and 10."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast, get_args

from trackyard.errors import ConfigError
from trackyard.estimate.devices import Device
from trackyard.estimate.kept import encoder, frozen_decoder
from trackyard.estimate.workload import Attended, Part, Workload
from trackyard.models.theworld.parameters import (
    LatentShape,
    Mode,
    WorldParameters,
    inserted_tokens,
    tokens_of,
    total_trainable,
)
from trackyard.recipes.datacomp.cost.arithmetic import BATCH, KEEP, PRESETS, SAVE_EVERY, latent_bytes, plan_lines
from trackyard.recipes.datacomp.cost.bases import (
    GEMMA,
    KNOWN,
    PUBLISHED_SHAPE,
    Base,
    base_of,
    latent_shape,
    require_length,
    sample_length,
    visible,
)
from trackyard.train.flops import Work, gemma3_projector_work
from trackyard.train.parameters import EngineParameters

if TYPE_CHECKING:
    from trackyard.recipes.datacomp.parameters import DatacompParameters

IMAGE_S = 0.008
"""CPU seconds to decode and resize an image, and to read its latent."""
MICRO_BATCH = 4


def workload(
    preset: str | None, device: Device, *, world: int | None = None, engine: Mapping[str, Any] | None = None
) -> Workload:
    """The `train` stage. preset: N as in `PRESETS`, and a mode after a slash: "100k/channel".

    engine: what of the spec's settings is otherwise. Raises ConfigError for one that is not among ours.
    """
    name = preset or "100k"
    samples, _, kind = name.partition("/")
    modes = get_args(Mode)
    kind = kind or WorldParameters().mode
    if samples not in PRESETS or kind not in modes:
        raise ConfigError(
            what=f"no preset {name!r} of datacomp",
            why=f"a preset is one of {', '.join(PRESETS)}, with a mode after a slash: {', '.join(modes)}",
            fix="trackyard estimate datacomp train --preset 100k/pooled8",
        )
    view = WorldParameters(mode=cast(Mode, kind))
    settings = EngineParameters.model_validate(
        {
            "micro_batch": MICRO_BATCH,
            "activation_checkpointing": "full" if kind == "spatial" else "none",
            "keep_checkpoints": KEEP,
        }
        | dict(engine or {})
    )
    length = sample_length(GEMMA, view, PUBLISHED_SHAPE)
    notes = []
    if length > view.max_length:
        notes.append(f"{length:,} tokens are more than world.max_length={view.max_length:,}: raise it for this mode")
    return _trained(
        name=f"{samples}/{kind}",
        base=GEMMA,
        view=view,
        shape=PUBLISHED_SHAPE,
        steps=PRESETS[samples].steps,
        batch=BATCH,
        save_every=SAVE_EVERY,
        engine=settings,
        ranks=world or 1,
        autocast=not device.is_cpu,
        notes=tuple(notes),
    )


def study_workload(parameters: DatacompParameters, device: Device, *, world: int | None = None) -> Workload:
    """The `train` stage of one run of a study.

    ConfigError for a model of unknown size, samples that are too long, and world tokens that no window reaches.
    """
    base, shape = base_of(parameters.gemma), latent_shape(parameters.vae)
    view, training = parameters.world, parameters.training
    require_length(view, base, shape)
    visible(base, view, shape).require(allow_invisible=view.allow_invisible_world)
    samples = parameters.data.samples
    return _trained(
        name=f"{samples:,} samples/{view.mode}",
        base=base,
        view=view,
        shape=shape,
        steps=-(-samples * training.epochs // training.samples_per_step),
        batch=training.samples_per_step,
        save_every=training.save_every,
        engine=parameters.engine,
        ranks=world or parameters.processes,
        autocast=not device.is_cpu,
        notes=(),
    )


def _trained(
    *, name: str, base: Base, view: WorldParameters, shape: LatentShape, steps: int, batch: int, save_every: int,
    engine: EngineParameters, ranks: int, notes: tuple[str, ...], autocast: bool,
) -> Workload:  # fmt: skip
    language, width = base.shape, base.shape.hidden
    length = sample_length(base, view, shape)
    tokens, features = tokens_of(view.mode, shape)
    trained = total_trainable(view, shape, width)
    products = features * width + (0 if view.projector == "linear" else width**2)
    work: tuple[Work, ...] = tuple(
        gemma3_projector_work(
            lengths=[length] * batch,
            answers=base.answer * batch,
            images=batch,
            world_tokens=tokens * batch,
            projector=products,
            shape=language,
            tower=base.tower,
            global_layers=base.global_layers,
            window=base.window,
            patches=base.patches,
        )
    )
    return Workload(
        track="datacomp",
        stage="train",
        preset=name,
        lengths=f"{length:,} tokens a sample, {tokens:,} of them of the world",
        parts=(
            Part(
                name="vision",
                parameters=base.vision,
                gradient="none",
                layers=base.tower.layers,
                positions=base.patches,
                kept=encoder(base.tower),
            ),
            Part(name="world projector", parameters=trained, gradient="trained"),
            Part(
                name="language model",
                parameters=base.language,
                gradient="passes",
                layers=language.layers,
                positions=length,
                kept=frozen_decoder(language),
            ),
        ),
        attended=Attended(
            layers=language.layers,
            heads=language.heads,
            kv_heads=language.kv_heads,
            head_dim=language.head_dim,
            length=length,
        ),
        useful=work,
        computed=work,
        tokens=length * batch,
        packs_per_step=batch,
        steps=steps,
        save_every=save_every,
        vocab=language.vocab,
        logits=4 * base.answer,
        pack_bytes=3 * base.image_size**2 * 8 + tokens * (features + 3 * width) * 4,
        mask_bytes=length**2,
        batch_bytes=3 * base.image_size**2 + latent_bytes(shape),
        data_s=batch * IMAGE_S,
        engine=engine,
        world=ranks,
        autocast=autocast,
        notes=(
            *notes,
            *([str(visible(base, view, shape))] if inserted_tokens(view, shape) else []),
            *(plan_lines(steps, trained, save_every, engine.keep_checkpoints) if base in KNOWN.values() else ()),
            "one run at one seed; `trackyard estimate datacomp study` is of the whole track",
        ),
    )
