"""What a DeepSpeed engine has learned, as pieces of named fp32 tensors that are read and written where they lie.

Under ZeRO every rank holds some range of every flattened parameter: its fp32 master and the two moments of AdamW. A
piece says which range of which parameter it is, so that a state written by some ranks under one stage is read by other
ranks under another. Source: DeepSpeed 0.19.8 (tensor_fragment, stage_1_and_2, stage3, bf16_optimizer).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import torch
import torch.distributed as dist

from trackyard.errors import ConfigError

KINDS = ("master", "exp_avg", "exp_avg_sq")
"""What is kept of every trained element, in fp32: the weight and AdamW's two moments."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Fragment:
    """Elements `start` to `start` + `numel` of the flattened parameter `name`, as views of the live buffers."""

    name: str
    shape: tuple[int, ...]
    """Of the whole parameter."""
    start: int
    group: int
    """Number of the step count that its moments belong to, in `TrainingState.steps`."""
    tensors: Mapping[str, torch.Tensor]
    """Kind -> fp32 [numel]."""

    @property
    def numel(self) -> int:
        """Elements in this piece."""
        return self.tensors[KINDS[0]].numel()

    def part(self, start: int, stop: int) -> Self:
        """The elements `start` to `stop` of the flattened parameter; they lie within this piece."""
        tensors = {kind: tensor[start - self.start : stop - self.start] for kind, tensor in self.tensors.items()}
        return type(self)(name=self.name, shape=self.shape, start=start, group=self.group, tensors=tensors)


def _nothing() -> None:
    """The weights that the model computes with are the masters themselves."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingState:
    """The pieces of one rank. All are views: reading costs nothing, writing changes the state of training.

    A rank that has written them calls `refresh`, with all other ranks, before the model computes again.
    """

    shapes: Mapping[str, tuple[int, ...]]
    """Every trained parameter of the model, also where this rank holds nothing of it."""
    steps: tuple[torch.Tensor, ...]
    """Updates that the moments have seen, fp32 [] for each of the optimiser's tensors on this rank."""
    held: tuple[Fragment, ...]
    """What this rank needs back when it resumes."""
    written: tuple[Fragment, ...]
    """What this rank writes; over all ranks every element once."""
    refresh: Callable[[], None] = field(default=_nothing)
    """Make the weights that the model computes with from the masters, on all ranks at once."""

    @classmethod
    def of(cls, deepspeed_engine: Any, names: Mapping[str, torch.nn.Parameter]) -> Self:
        """The state of an engine with torch's AdamW: ZeRO 0 in fp32, 1 to 3 in fp32 or bf16, offloaded or not.

        names: parameters of the stock model; frozen ones are not part of the state. Moments that are made by the
        first step otherwise are made now, as zeros. Raises ConfigError where the state cannot be reached.
        """
        trained = {name: parameter for name, parameter in names.items() if parameter.requires_grad}
        stage = int(deepspeed_engine.zero_optimization_stage())
        wrapper = deepspeed_engine.optimizer
        if stage == 0:
            return cls._of_whole(wrapper, trained)
        return cls._of_shards(wrapper, trained) if stage < 3 else cls._of_slices(wrapper, trained)

    @classmethod
    def _of_whole(cls, optimiser: Any, trained: Mapping[str, torch.nn.Parameter]) -> Self:
        """ZeRO 0: every rank has everything, and writes an equal share of it."""
        if not isinstance(optimiser, torch.optim.Optimizer):
            raise _unreachable("zero_stage=0 with weights that are not fp32", "precision=fp32, or zero_stage 1 to 3")
        groups = {id(tensor): group for group in optimiser.param_groups for tensor in group["params"]}
        steps: list[torch.Tensor] = []
        held: list[Fragment] = []
        for name, parameter in trained.items():
            if id(parameter) not in groups:
                raise _unreachable(f"{name} is trained, but belongs to no group of the optimiser", "a rate for it")
            state = _adam_state(optimiser, parameter, groups[id(parameter)])
            flat = {kind: tensor.detach().view(-1) for kind, tensor in zip(KINDS, state[1:], strict=True)}
            held.append(Fragment(name=name, shape=tuple(parameter.shape), start=0, group=len(steps), tensors=flat))
            steps.append(state[0])
        shapes = {fragment.name: fragment.shape for fragment in held}
        share = _share(held, dist.get_rank(), dist.get_world_size())
        return cls(shapes=shapes, steps=tuple(steps), held=tuple(held), written=tuple(share))

    @classmethod
    def _of_shards(cls, wrapper: Any, trained: Mapping[str, torch.nn.Parameter]) -> Self:
        """ZeRO 1 and 2: the parameters of a group are one flat tensor, of which every rank has an equal range."""
        optimiser = wrapper.optimizer
        states = [_adam_state(optimiser, group["params"][0], group) for group in optimiser.param_groups]
        fragments = []
        for name, parameter in trained.items():
            mapping = getattr(parameter, "_hp_mapping", None)
            if mapping is None:  # nothing of it is on this rank
                continue
            group, start = mapping.param_group_index, mapping.hp_fragment_address.start
            fragments.append(
                Fragment(
                    name=name,
                    shape=tuple(parameter.shape),
                    start=mapping.lp_fragment_address.start,
                    group=group,
                    tensors=_narrow(states[group], start, mapping.lp_fragment_address.numel),
                )
            )
        return cls(
            shapes={name: tuple(parameter.shape) for name, parameter in trained.items()},
            steps=tuple(state[0] for state in states),
            held=tuple(fragments),
            written=tuple(fragments),
            refresh=wrapper.update_lp_params,
        )

    @classmethod
    def _of_slices(cls, wrapper: Any, trained: Mapping[str, Any]) -> Self:
        """ZeRO 3: every parameter is cut into equal slices, the last of them padded; sub-groups are flat tensors."""
        if wrapper.swap_optimizer:
            raise _unreachable("the optimiser's state is swapped to NVMe", "offload to the CPU, or none")
        optimiser = wrapper.optimizer
        states = []
        for number, flat in enumerate(wrapper.fp32_partitioned_groups_flat):
            group = optimiser.param_groups[wrapper.sub_group_to_group_id[number]]
            states.append(_adam_state(optimiser, flat, group))
        fragments = []
        for name, parameter in trained.items():
            group, offset, slice_numel = wrapper.grad_position[wrapper.get_param_id(parameter)]
            start = dist.get_rank(parameter.ds_process_group) * slice_numel
            numel = min(slice_numel, parameter.ds_numel - start)
            if numel > 0:
                tensors = _narrow(states[group], offset, numel)
                shape = tuple(parameter.ds_shape)
                fragments.append(Fragment(name=name, shape=shape, start=start, group=group, tensors=tensors))
        return cls(
            shapes={name: tuple(parameter.ds_shape) for name, parameter in trained.items()},
            steps=tuple(state[0] for state in states),
            held=tuple(fragments),
            written=tuple(fragments),
            refresh=lambda: _refresh_slices(wrapper),
        )


def _refresh_slices(wrapper: Any) -> None:
    """As at the end of DeepSpeed's own step: masters to slices, then the parameters that stay gathered."""
    wrapper._partition_all_parameters()
    for number in range(len(wrapper.fp16_groups)):
        wrapper._reassign_or_swap_out_partitioned_parameters(number)
    if wrapper.persistent_parameters:
        wrapper.persistent_parameters[0].all_gather(wrapper.persistent_parameters)


def _adam_state(optimiser: Any, tensor: torch.Tensor, group: Mapping[str, Any]) -> list[torch.Tensor]:
    """Step count and the three kinds of one tensor of the optimiser; made as its first step would make them."""
    state = optimiser.state[tensor]
    if not state:
        on_device = bool(group.get("fused") or group.get("capturable"))
        state["step"] = torch.zeros((), dtype=torch.float32, device=tensor.device if on_device else "cpu")
        for kind in KINDS[1:]:
            state[kind] = torch.zeros_like(tensor, memory_format=torch.preserve_format)
    kinds = [tensor.detach(), *(state[kind] for kind in KINDS[1:])]
    wrong = [kind for kind, found in zip(KINDS, kinds, strict=True) if found.dtype != torch.float32]
    if wrong or not all(found.is_contiguous() for found in kinds):
        raise _unreachable(f"{wrong or KINDS} of the optimiser are not contiguous fp32 tensors", "fp32 masters")
    return [state["step"], *kinds]


def _narrow(state: list[torch.Tensor], start: int, numel: int) -> dict[str, torch.Tensor]:
    return {kind: tensor.view(-1)[start : start + numel] for kind, tensor in zip(KINDS, state[1:], strict=True)}


def _share(whole: Sequence[Fragment], rank: int, world: int) -> Iterator[Fragment]:
    """The part of `rank`, when all elements in a row are divided evenly over `world` ranks."""
    total, offset = sum(fragment.numel for fragment in whole), 0
    first, last = total * rank // world, total * (rank + 1) // world
    for fragment in whole:
        start, stop = max(first - offset, 0), min(last - offset, fragment.numel)
        if start < stop:
            yield fragment.part(start, stop)
        offset += fragment.numel


def _unreachable(what: str, choose: str) -> ConfigError:
    return ConfigError(
        what=f"the training state cannot be read: {what}",
        why="a checkpoint would be incomplete",
        fix=f"choose {choose} under engine in params.yaml",
    )
