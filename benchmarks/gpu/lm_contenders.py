"""Who trains in G1: our engine, and the Hugging Face Trainer. Each reports losses, turns and its memory peak."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from transformers import AttentionInterface

from benchmarks.gpu.device import Stopwatch, compile_layers, forget, peak_gb
from benchmarks.gpu.lm_sizes import BETAS, CLIP, EPS, RATE, Size, model_of, windows_of
from trackyard.models.attention import sent
from trackyard.train.engine import Engine, StepResult
from trackyard.train.loss import AnswerLoss
from trackyard.train.parameters import ComponentRate, EngineParameters, OptimiserParameters
from trackyard.train.ranks import join_ranks

WARM = 3
"""Steps before the first turn: they compile, and allocate the optimiser's state."""
CHECKED, CHECKED_PACKS = 4, 2
"""Steps and packs of the comparison in fp32, all on the same tokens, so that the loss falls."""
WHOLE_WINDOWS = "benchmark_whole_windows"
"""Our name for attention over windows of one document each: causal, without a mask, by torch's flash kernel."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """turns of steps each after the warm ones; checked: the comparison in fp32 instead. flaw: another learning rate.

    compiled: ours goes through torch.compile.
    """

    size: Size
    device: torch.device
    turns: int = 0
    steps: int = 0
    checked: bool = False
    flaw: bool = False
    compiled: bool = False

    @property
    def packs(self) -> int:
        return CHECKED_PACKS if self.checked else self.size.packs

    @property
    def micro_batch(self) -> int:
        return 1 if self.checked else self.size.micro_batch

    @property
    def rate(self) -> float:
        return 2 * RATE if self.flaw else RATE

    @property
    def total(self) -> int:
        return CHECKED if self.checked else WARM + self.turns * self.steps

    @property
    def tokens_per_turn(self) -> int:
        return self.steps * self.packs * self.size.length

    def windows(self) -> Any:
        found = windows_of(self.size, 1 if self.checked else self.total, packs=self.packs)
        return found.repeat(self.total, axis=0) if self.checked else found


@dataclass
class Outcome:
    """losses of the comparison; reports of the turns; the peak of device memory."""

    losses: list[float] = field(default_factory=list)
    reports: list[dict[str, float]] = field(default_factory=list)
    peak: float = 0.0


def causal(module: Any, query: Any, key: Any, value: Any, mask: Any, *, scaling: float, **_: Any) -> Any:
    """Attention [N, L, H, E] of whole windows. transformers makes no mask for a name that it has none for, so that the
    stock mask code does not ask the device whether positions restart."""
    if mask is not None:
        raise ValueError("whole windows take no mask")
    output = F.scaled_dot_product_attention(query, key, value, scale=scaling, is_causal=True)
    return output.transpose(1, 2).contiguous(), None


AttentionInterface.register(WHOLE_WINDOWS, causal)


def token_loss(hidden_AD: torch.Tensor, head_VD: torch.Tensor, targets_A: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of each token, in fp32."""
    return F.cross_entropy(F.linear(hidden_AD, head_VD).float(), targets_A, reduction="none")


def engine_of(job: Job) -> Engine:
    """Our engine: in bf16 with ZeRO 1 and fp32 masters, or for the comparison in fp32."""
    ranks = join_ranks(1)
    model = model_of(job.size, job.device, WHOLE_WINDOWS)
    entropies = token_loss
    if job.compiled:
        entropies = torch.compile(token_loss)
        compile_layers(model)

    def forward(model: Any, windows: Any) -> AnswerLoss:
        hidden_NLD = model.gpt_neox(sent(windows[:, :-1].copy(), job.device), use_cache=False).last_hidden_state
        targets_A = sent(windows[:, 1:].flatten(), job.device)
        losses_A = entropies(hidden_NLD.flatten(0, 1), model.lm_head.weight, targets_A)
        return AnswerLoss(total=losses_A.sum(), cross_entropy=losses_A.detach(), weight=torch.ones_like(losses_A))

    return Engine(
        model,
        component_of=lambda name: "llm",
        optimiser=OptimiserParameters(
            rates={"llm": ComponentRate(learning_rate=job.rate, warmup_steps=0)},
            beta1=BETAS[0],
            beta2=BETAS[1],
            eps=EPS,
            weight_decay=0.0,
            clip_norm=CLIP,
        ),
        engine=EngineParameters(micro_batch=job.micro_batch)
        if job.checked
        else EngineParameters(micro_batch=job.micro_batch, precision="bf16", zero_stage=1),
        packs_per_step=job.packs,
        # The rate falls with a cosine: over so many steps not at all.
        steps=10**12,
        forward=forward,
        ranks=ranks,
    )


def step_of(engine: Engine, job: Job) -> Callable[[int], StepResult]:
    """Step by number; the numbers may go on after the last window, which then come again."""
    windows = job.windows()

    def step(number: int) -> StepResult:
        parts = windows[number % job.total].reshape(-1, job.micro_batch, windows.shape[-1])
        return engine.step(number, parts, float(job.packs * job.size.length))

    return step


def ours(job: Job) -> Outcome:
    outcome, step = Outcome(), step_of(engine_of(job), job)
    if job.checked:
        outcome.losses = [float(step(number).loss) for number in range(job.total)]
        return outcome
    for number in range(WARM):
        step(number)
    forget(job.device)
    numbers = iter(range(WARM, job.total))
    for _ in range(job.turns):
        watch = Stopwatch(job.device)
        for _ in range(job.steps):
            step(next(numbers))
        outcome.reports.append(watch.report(job.tokens_per_turn))
    outcome.peak = peak_gb(job.device)
    return outcome


def hf_trainer(job: Job) -> Outcome:
    """transformers' Trainer as its documentation has it: SDPA, fused AdamW, bf16 autocast over fp32 weights."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    outcome, windows = Outcome(), torch.from_numpy(job.windows())

    class Turns(TrainerCallback):
        """Takes the time of each turn."""

        watch: Stopwatch | None = None

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if "loss" in logs:
                outcome.losses.append(logs["loss"])

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if job.checked or state.global_step < WARM or (state.global_step - WARM) % job.steps:
                return
            if self.watch is None:
                forget(job.device)
            else:
                outcome.reports.append(self.watch.report(job.tokens_per_turn))
            self.watch = Stopwatch(job.device)

    class Planned(Trainer):
        """Rows in the order of the data."""

        def _get_train_sampler(self, *_: Any) -> Any:
            return torch.utils.data.SequentialSampler(self.train_dataset)

    def rows() -> Iterator[dict[str, Any]]:
        for window in windows.flatten(0, 1):
            yield {"input_ids": window[:-1], "labels": window[1:]}

    def loss(outputs: Any, labels: Any, num_items_in_batch: Any) -> Any:
        """The Trainer's own count leaves the first label of each window out, which is shifted already here."""
        entropies = F.cross_entropy(outputs.logits.float().flatten(0, 1), labels.flatten(), reduction="sum")
        return entropies / (job.packs * job.size.length)

    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=job.micro_batch,
            gradient_accumulation_steps=job.packs // job.micro_batch,
            max_steps=job.total,
            learning_rate=job.rate,
            lr_scheduler_type="constant",
            adam_beta1=BETAS[0],
            adam_beta2=BETAS[1],
            adam_epsilon=EPS,
            weight_decay=0.0,
            max_grad_norm=CLIP,
            optim="adamw_torch_fused",
            bf16=job.device.type == "cuda" and not job.checked,
            logging_steps=1 if job.checked else 10**9,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=job.device.type == "cpu",
        )
        Planned(
            model=model_of(job.size, job.device, "sdpa"),
            args=settings,
            train_dataset=list(rows()),  # type: ignore[arg-type]
            callbacks=[Turns()],
            compute_loss_func=loss,
            data_collator=lambda found: {key: torch.stack([one[key] for one in found]) for key in found[0]},
        ).train()
    outcome.peak = peak_gb(job.device)
    return outcome


CONTENDERS = {"trackyard": ours, "HF Trainer": hf_trainer}
