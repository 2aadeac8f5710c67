"""A model folder for lmms-eval: its requests answered by the engine of this project, under the name `trackyard`.

    python -m lmms_eval --model trackyard --model_args pretrained=FOLDER,precision=bf16 --tasks mme --batch_size 32

lmms-eval is not installed with trackyard: it finds this module by its entry-point group `lmms_eval.models`, and only
then is there a base class to import. Source: lmms_eval/api/model.py, api/instance.py and models/registry_v2.py of
lmms-eval at commit 75571cf.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
from lmms_eval.api.model import lmms
from PIL import Image

from trackyard.acquire.media import probe_image, probe_video
from trackyard.errors import ConfigError, DataError
from trackyard.evaluate.answering.engine import answer
from trackyard.evaluate.answering.open_subject import DTYPES, open_subject
from trackyard.evaluate.answering.prompt import Prompt
from trackyard.evaluate.tasks.question import Question
from trackyard.evaluate.tasks.task import Task
from trackyard.row import Media

NAME = "trackyard"
CAP = 1_024
"""Tokens of an answer where neither the task nor `max_new_tokens` says a number."""
IMAGE_MARK = "<image>"
"""Written into questions for models that put pictures there; ours come first, in their order."""
WHOLE_PICTURE = ("1", "L", "LA", "I", "P", "RGB", "RGBA")
"""Modes that PNG keeps as they are."""
VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm")
PADDING = "__padding_only__"
"""In the metadata of requests that lmms-eval adds so that all ranks have as many; their answers are thrown away."""


def manifest() -> Any:
    """What the entry point of the group `lmms_eval.models` gives: the class, by name."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(model_id=NAME, simple_class_path=f"{__name__}.{TrackyardModel.__name__}")


class TrackyardModel(lmms):
    """A Molmo2, Gemma 3 or causal model in the Hugging Face layout, as a `simple` model of lmms-eval.

    pretrained: its folder. batch_size: answers under way at once, which changes none. precision: fp32 or bf16. visual:
    level of pictures, None for the model's own. max_new_tokens: for tasks that state no number. device: None takes the
    GPU of this rank, else the CPU. Each rank of torchrun or accelerate answers the requests that lmms-eval gives it.
    """

    is_simple = True

    def __init__(
        self,
        pretrained: str,
        batch_size: int | str = 32,
        precision: str = "bf16",
        visual: int | None = None,
        max_new_tokens: int | None = None,
        device: str | None = None,
        max_batch_size: int | None = None,
    ) -> None:
        """ConfigError for a setting that is none; what `open_subject` raises."""
        super().__init__()
        if precision not in DTYPES:
            raise ConfigError(
                what=f"precision={precision}",
                why=f"weights are read as {' or '.join(DTYPES)}",
                fix=f"--model_args pretrained={pretrained},precision=bf16",
            )
        if max_batch_size is not None or not str(batch_size).isdecimal() or not int(batch_size):
            raise ConfigError(
                what=f"batch_size={batch_size}, max_batch_size={max_batch_size}",
                why="the batch is a number; where a device has no memory for it, it is halved and no answer changes",
                fix="--batch_size 32, without --max_batch_size",
            )
        self._rank, self._world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        self.batch_size, self.visual, self.cap = int(batch_size), visual, max_new_tokens or CAP
        self.device = _device(device)
        self.subject = open_subject(Path(pretrained), device=self.device, precision=precision)

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """Greedy answers in the order of the requests, cut before the first of their stop strings.

        ConfigError for a request to sample; DataError for a picture or video that cannot be shown.
        """
        found = [""] * len(requests)
        for number, generated in answer(self.subject, self._prompts(requests), batch=self.batch_size):
            text = self.subject.text(generated.tokens)
            context, settings = requests[number].args[:2]
            for stop in _stops(settings):
                text = text.split(stop)[0]
            found[number] = text
            self.cache_hook.add_partial("generate_until", (context, settings), text)
        return found

    def loglikelihood(self, requests: Sequence[Any]) -> NoReturn:
        """Refused: whether a chat model's answer begins with the blank that a task writes is not stated anywhere."""
        raise _unknown("loglikelihood", "likelihoods of given answers are not computed by this model")

    def generate_until_multi_round(self, requests: Sequence[Any]) -> NoReturn:
        """Refused: a prompt is one turn."""
        raise _unknown("generate_until_multi_round", "a prompt of this model is one question")

    def clean(self) -> None:
        """Let the weights go, as lmms-eval asks when all answers are there."""
        self.__dict__.pop("subject", None)
        super().clean()

    def _prompts(self, requests: Sequence[Any]) -> Iterator[tuple[int, Prompt, int]]:
        """Made when a place is free for them."""
        for number, request in enumerate(requests):
            if request.metadata.get(PADDING):
                continue
            context, settings, doc_to_visual, doc_id, task, split = request.args
            cap = _cap(settings, self.cap, task)
            shown = doc_to_visual(self.task_dict[task][split][doc_id]) if doc_to_visual is not None else None
            name = f"{task}:{split}:{doc_id}"
            question = Question(
                id=name,
                question=context.replace(IMAGE_MARK, "").strip(),
                media=tuple(_media(visual, name) for visual in _flat(shown)),
            )
            # The words of lmms-eval are whole: no tag, no wording of options, no instruction is added to them.
            asked = Task(name=task, layout="rows", style="user_qa", new_tokens=cap, metric="em")
            yield number, self.subject.prompt(question, asked, visual=self.visual), cap


def _device(named: str | None) -> torch.device:
    if named not in (None, "cuda"):
        return torch.device(named)
    if named is None and not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))


def _cap(settings: Mapping[str, Any], otherwise: int, task: str) -> int:
    """Of the answer, in tokens. ConfigError where an answer is to be drawn, or searched for, instead of chosen."""
    sampling = settings.get("do_sample") and (settings.get("temperature") or 0) > 0
    if sampling or (settings.get("num_beams") or 1) > 1:
        raise ConfigError(
            what=f"task {task} asks for {dict(settings)}",
            why="answers are greedy: the same at every batch size, in every order",
            fix="--gen_kwargs do_sample=False,temperature=0,num_beams=1",
        )
    return int(settings.get("max_new_tokens") or otherwise)


def _stops(settings: Mapping[str, Any]) -> list[str]:
    stated = settings.get("until") or []
    return [stop for stop in ([stated] if isinstance(stated, str) else stated) if stop]


def _flat(shown: Any) -> Iterator[Any]:
    if isinstance(shown, (list, tuple)):
        for one in shown:
            yield from _flat(one)
    elif shown is not None:
        yield shown


def _media(visual: Any, name: str) -> Media:
    """A picture that PIL holds, or a file of one or of a video."""
    if isinstance(visual, Image.Image):
        kept = visual if visual.mode in WHOLE_PICTURE else visual.convert("RGB")
        written = io.BytesIO()
        # What lmms-eval holds are pixels: a rotation that the file asked for would be one that no other model is shown.
        kept.save(written, "PNG", compress_level=1, exif=b"")
        return probe_image(written.getvalue(), name)
    if isinstance(visual, (str, os.PathLike)) and Path(visual).is_file():
        probe = probe_video if Path(visual).suffix.lower() in VIDEOS else probe_image
        return probe(Path(visual).read_bytes(), str(visual))
    told = repr(visual) if isinstance(visual, (str, os.PathLike)) else type(visual).__name__
    raise DataError(
        what=f"{name} shows {told}",
        why="a picture of PIL, or a file of a picture or video that is there, can be shown",
        fix="fetch the files of the task, or leave it out for this model",
    )


def _unknown(kind: str, why: str) -> ConfigError:
    return ConfigError(
        what=f"a request of type {kind}", why=why, fix="choose tasks whose output_type is generate_until"
    )
