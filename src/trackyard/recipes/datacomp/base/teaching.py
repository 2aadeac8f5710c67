"""Lessons about scenes, learned by a language model that is given a scene's words where world tokens would lie.

Shapes: N scenes; L tokens of a tree; M soft tokens; D width; A learned tokens.
Source: issue on the DataComp track (mini).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from trackyard.feed.tree import NO_TARGET
from trackyard.feed.world_prompts import WorldPrompt, WorldPrompts
from trackyard.models.theworld.branch import EPS, image_markers, r_text
from trackyard.recipes.datacomp.base.lesson_trees import Trees, tree
from trackyard.recipes.datacomp.base.lessons import STEPPING_STONES, Form, contents, lessons
from trackyard.recipes.datacomp.base.made_tokenizer import word_ids
from trackyard.recipes.datacomp.parameters import MadeGemmaParameters
from trackyard.recipes.datacomp.scenes import caption_choice, draw, scene

GRID = 4
"""Words of a scene: one for each quarter of its picture, as many as there are world tokens."""
PER_STEP: dict[Form, int] = {"place": 2}
"""Lessons of a form about one scene in one step, where it is not one."""
WITH_WORDS = 0.85
"""Share of scenes whose words are given."""
NOISE = 0.5
"""Most that is added to a word's embedding, as a share of its length: what a projector makes is never exact."""
WARMUP, CLIP = 50, 1.0
"""Steps up to the full rate, which then falls to 0; largest norm of a gradient."""
BETAS = (0.9, 0.98)
PICTURES, PICTURES_SEED = 128, 9_999
EXAMINED = 96
"""Captions that the result is measured with, of contents spread over all."""


class Teaching:
    """One model and what it is taught; `run` trains its language model, in fp32 on the host."""

    def __init__(self, gemma: Any, tokenizer: Any, parameters: MadeGemmaParameters) -> None:
        self._gemma, self._tokenizer, self._parameters = gemma, tokenizer, parameters
        self._random = np.random.default_rng(parameters.seed)
        self._noise = torch.Generator().manual_seed(parameters.seed)
        # Tokens are as in training and evaluation: from the same builder.
        self._builders = {
            words: WorldPrompts(tokenizer, image_tokens=parameters.soft_tokens, world_tokens=GRID if words else 0)
            for words in (True, False)
        }
        self._scenes = contents()
        ids = word_ids(tokenizer)
        self._words_SQ = torch.tensor([[ids[word] for word in one.cells] for one in self._scenes])
        self._known: dict[tuple[int, bool], dict[Form, list[WorldPrompt]]] = {}
        self._soft_PMD = self._soft_tokens()

    def run(self, say: Callable[[str], None]) -> dict[str, Any]:
        """Train, then measure: steps, loss, captions {with_words, without}."""
        steps, rate = self._parameters.steps, self._parameters.learning_rate
        language = self._gemma.model.language_model
        weights = list(language.parameters())
        optimiser = torch.optim.AdamW(weights, lr=rate, betas=BETAS, weight_decay=0.0, fused=True)
        losses: list[float] = []
        for step in range(steps):
            for group in optimiser.param_groups:
                group["lr"] = rate * min(1.0, (step + 1) / WARMUP) * (1 - step / steps)
            loss = self._loss(self._random.random() < WITH_WORDS)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, CLIP)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            losses.append(loss.item())
            if (step + 1) % max(1, steps // 4) == 0:
                say(f"gemma     lesson {step + 1:,} of {steps:,}: {np.mean(losses[-50:]):.3f} nats a token")
        captions = {"with_words": self._right_captions(words=True), "without": self._right_captions(words=False)}
        return {"steps": steps, "loss": float(np.mean(losses[-max(1, steps // 10) :])), "captions": captions}

    def _prompts(self, number: int, words: bool) -> dict[Form, list[WorldPrompt]]:
        """Of a scene by form; without its words only of those that are evaluated."""
        if (number, words) not in self._known:
            build = self._builders[words].build
            self._known[number, words] = {
                form: [build(lesson.question, answer=lesson.answer) for lesson in found]
                for form, found in lessons(self._scenes[number]).items()
                if words or form not in STEPPING_STONES
            }
        return self._known[number, words]

    @torch.no_grad()
    def _soft_tokens(self) -> torch.Tensor:
        """What the untrained tower makes of pictures that no lesson is about: [P, M, D]."""
        pictures = [draw(scene(PICTURES_SEED, n), self._parameters.image_size) for n in range(PICTURES)]
        pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
        features: torch.Tensor = self._gemma.model.get_image_features(pixels, return_dict=True).pooler_output
        return features

    def _loss(self, words: bool) -> torch.Tensor:
        """Of some scenes. Long answers count as the root of their length: they say little more than short ones."""
        chosen = self._random.integers(len(self._scenes), size=self._parameters.batch)
        rows = []
        for number in chosen:
            own = self._prompts(int(number), words).items()
            rows.append(
                [
                    found[place]
                    for form, found in own
                    for place in self._random.permutation(len(found))[: PER_STEP.get(form, 1)]
                ]
            )
        trees = tree(rows)
        hidden_NLD = self._hidden(trees, chosen, noise=NOISE)
        targets_NL = torch.from_numpy(trees.targets)
        learned = targets_NL != NO_TARGET
        lengths = torch.from_numpy(_answer_lengths(trees))
        weights_A = lengths[learned].rsqrt()
        losses_A = F.cross_entropy(self._gemma.lm_head(hidden_NLD[learned]), targets_NL[learned], reduction="none")
        return (losses_A * weights_A).sum() / weights_A.sum()

    def _hidden(self, trees: Trees, scenes: Any, *, noise: float) -> torch.Tensor:
        language = self._gemma.model.language_model
        embeddings_NLD = language.embed_tokens(torch.from_numpy(trees.input_ids)).clone()
        shown = self._random.integers(len(self._soft_PMD), size=len(scenes))
        embeddings_NLD[:, trees.image] = self._soft_PMD[shown]
        if len(trees.blocks):
            words_NQD = language.embed_tokens(self._words_SQ[scenes])
            if noise:
                size = noise * torch.rand(len(scenes), 1, 1, generator=self._noise)
                length = words_NQD.detach().square().mean(-1, keepdim=True).sqrt()
                words_NQD = words_NQD + size * length * torch.randn(words_NQD.shape, generator=self._noise)
            # As world tokens are made: of the length of text.
            words_NQD = r_text(self._gemma, self._tokenizer) * F.rms_norm(words_NQD, words_NQD.shape[-1:], eps=EPS)
            embeddings_NLD[:, trees.blocks[1:-1]] = words_NQD
            embeddings_NLD[:, trees.blocks[[0, -1]]] = image_markers(self._gemma)
        sees = torch.from_numpy(trees.sees)[:, None]
        hidden_NLD: torch.Tensor = language(
            inputs_embeds=embeddings_NLD,
            position_ids=torch.from_numpy(trees.positions),
            attention_mask={"full_attention": sees, "sliding_attention": self._near(sees, trees)},
            use_cache=False,
        ).last_hidden_state
        return hidden_NLD

    def _near(self, sees: torch.Tensor, trees: Trees) -> torch.Tensor:
        """What layers with a window see: places of a branch go on behind the common part, whatever lies between."""
        positions_NL = torch.from_numpy(trees.positions)
        back = positions_NL[:, :, None] - positions_NL[:, None]
        # The picture is one block, which sees itself whole.
        near = (back < self._parameters.window) | (back < 0)
        return sees & near[:, None]

    @torch.no_grad()
    def _right_captions(self, *, words: bool) -> float:
        """Share of scenes whose caption is more likely than those with the three other relations."""
        chosen = np.arange(0, len(self._scenes), max(1, len(self._scenes) // EXAMINED))
        right = 0
        for at in range(0, len(chosen), 16):
            numbers = chosen[at : at + 16]
            asked = [caption_choice(self._scenes[number]) for number in numbers]
            build = self._builders[words].build
            trees = tree([[build(one.question, answer=option) for option in one.options] for one in asked])
            targets_NL = torch.from_numpy(trees.targets)
            logits = self._gemma.lm_head(self._hidden(trees, numbers, noise=0.0))
            losses_NL = F.cross_entropy(logits.transpose(1, 2), targets_NL, reduction="none").numpy()
            right += sum(
                _best(losses, own, one.options) == one.answer
                for losses, own, one in zip(losses_NL, trees.branches, asked, strict=True)
            )
        return right / len(chosen)


def _best(losses_L: Any, branches_L: Any, options: Sequence[str]) -> str:
    sums = [float(losses_L[branches_L == number].sum()) for number in range(len(options))]
    return options[int(np.argmin(sums))]


def _answer_lengths(trees: Trees) -> Any:
    """float32 [N, L]: learned tokens of the branch that a token is in, at least 1."""
    found = np.ones(trees.targets.shape, dtype=np.float32)
    for row, (targets, branches) in enumerate(zip(trees.targets, trees.branches, strict=True)):
        counts = np.bincount(branches[targets != NO_TARGET], minlength=branches.max() + 1)
        found[row, branches >= 0] = np.maximum(counts, 1)[branches[branches >= 0]]
    return found
