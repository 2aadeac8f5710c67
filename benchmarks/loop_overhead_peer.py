"""Training a tiny GPT-NeoX in a bare PyTorch loop and with the Hugging Face Trainer, without trackyard.

    python benchmarks/loop_overhead_peer.py "raw loop"          # one turn of STEPS steps per line of input

Packages: torch, transformers; the Trainer wants accelerate as well.
"""

from __future__ import annotations

import sys
import tempfile
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.staying import Clock, say, serve

STEPS = 60
"""Steps of a turn, about 0.3 s."""
FIRST = 10
"""Steps whose losses are the answer, before any turn."""
LOG_EVERY = 10
"""Steps between reading loss and gradient norm."""
VOCABULARY, LENGTH, PACKS = 512, 64, 2
RATE, BETAS, EPS, CLIP = 1e-3, (0.9, 0.95), 1e-6, 1.0
BATCHES = 16


def tiny_model() -> Any:
    """The same random weights in every process."""
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    torch.set_num_threads(1)
    torch.manual_seed(0)
    return GPTNeoXForCausalLM(
        GPTNeoXConfig(
            vocab_size=VOCABULARY,
            hidden_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=256,
            max_position_embeddings=LENGTH,
            use_cache=False,
        )
    )


def batches() -> list[Any]:
    """int64 [PACKS, LENGTH + 1] each: what a step trains on, over and over."""
    source = torch.Generator().manual_seed(1)
    return list(torch.randint(VOCABULARY, (BATCHES, PACKS, LENGTH + 1), generator=source))


def summed_loss(model: Any, tokens: Any) -> Any:
    """Sum of cross-entropies of all tokens but the first of each window."""
    logits = model(input_ids=tokens[:, :-1], use_cache=False).logits.float()
    return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="sum")


def raw_loop() -> None:
    """What people write by hand: forward, backward, clip, fused AdamW."""
    model, data = tiny_model(), batches()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=BETAS, eps=EPS, weight_decay=0.0, fused=True)
    done = 0

    def steps(count: int, every: int) -> list[float]:
        nonlocal done
        read = []
        for _ in range(count):
            optimizer.zero_grad()
            loss = summed_loss(model, data[done % BATCHES]) / (PACKS * LENGTH)
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
            done += 1
            if done % every == 0:
                read.append(float(loss.detach()))
                float(norm)
        return read

    serve(lambda: float(steps(STEPS, LOG_EVERY) and STEPS), steps(FIRST, 1))


def hf_trainer() -> None:
    """The same with transformers' Trainer, which calls back after each step; it stops when the input ends."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    read: list[float] = []

    class Turns(TrainerCallback):
        """Holds the Trainer between turns."""

        clock: Clock | None = None

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if "loss" in logs:
                read.append(logs["loss"])

        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == FIRST:
                state.logging_steps = LOG_EVERY
            if state.global_step >= FIRST and (state.global_step - FIRST) % STEPS == 0:
                say({"answer": list(read)} if self.clock is None else self.clock.report(STEPS))
                control.should_training_stop = not sys.stdin.readline()
                self.clock = Clock()

    class Planned(Trainer):
        """Rows in the order of the data."""

        def _get_train_sampler(self, *_: Any) -> Any:
            return torch.utils.data.SequentialSampler(self.train_dataset)

    rows = torch.cat(batches())
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=PACKS,
            max_steps=10**6,
            learning_rate=RATE,
            lr_scheduler_type="constant",
            adam_beta1=BETAS[0],
            adam_beta2=BETAS[1],
            adam_epsilon=EPS,
            weight_decay=0.0,
            max_grad_norm=CLIP,
            optim="adamw_torch_fused",
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
        )
        Planned(
            model=tiny_model(),
            args=settings,
            train_dataset=[{"input_ids": row[:-1], "labels": row} for row in rows],  # type: ignore[arg-type]
            callbacks=[Turns()],
            compute_loss_func=_hf_loss,
            data_collator=lambda found: {key: torch.stack([one[key] for one in found]) for key in found[0]},
        ).train()


def _hf_loss(outputs: Any, labels: Any, num_items_in_batch: Any = None) -> Any:
    """The labels are one token longer than the inputs, as a window is, so that no position is lost to the shift."""
    logits = outputs.logits.float()
    return F.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten())


CONTENDERS = {"raw loop": raw_loop, "HF Trainer": hf_trainer}

if __name__ == "__main__":
    CONTENDERS[sys.argv[1]]()
