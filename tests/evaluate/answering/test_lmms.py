"""Our class as lmms-eval calls it, over a stand-in for that package with its interface and nothing else."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.evaluate.answering.families import TASK, causal, clip, molmo2, picture
from tests.tiny_molmo2 import GEOMETRY, VIDEO, tokens
from trackyard.errors import ConfigError, DataError
from trackyard.evaluate.answering.engine import answer
from trackyard.evaluate.tasks.question import Question
from trackyard.feed.decode import decode_rgb
from trackyard.publish.export import write_export

MODULE = "trackyard.evaluate.answering.lmms"
STAND_IN = {
    "__init__.py": "",
    "api/__init__.py": "",
    "api/model.py": """
        import abc

        class CacheHook:
            def __init__(self, caching=None):
                self.seen = []

            def add_partial(self, attribute, request, result):
                self.seen.append((attribute, request, result))

        class lmms(abc.ABC):
            is_simple = True

            def __init__(self):
                self._rank, self._world_size, self.cache_hook, self.task_dict = 0, 1, CacheHook(), {}

            @abc.abstractmethod
            def loglikelihood(self, requests): ...

            @abc.abstractmethod
            def generate_until(self, requests): ...

            @abc.abstractmethod
            def generate_until_multi_round(self, requests): ...

            @property
            def rank(self):
                return self._rank

            @property
            def world_size(self):
                return self._world_size

            def clean(self):
                self.cleaned = True
    """,
    "models/__init__.py": "",
    "models/registry_v2.py": """
        from dataclasses import dataclass

        @dataclass(frozen=True)
        class ModelManifest:
            model_id: str
            simple_class_path: str = None
            chat_class_path: str = None
            aliases: tuple = ()
    """,
}


@dataclass
class Request:
    """What `Instance` of lmms-eval shows a model."""

    args: tuple[Any, ...]
    metadata: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The module, imported where lmms-eval can be imported."""
    place = tmp_path_factory.mktemp("stand_in")
    for name, text in STAND_IN.items():
        path = place / "lmms_eval" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))
    sys.path.insert(0, str(place))
    try:
        yield importlib.import_module(MODULE)
    finally:
        sys.path.remove(str(place))
        for name in [name for name in sys.modules if name == MODULE or name.split(".")[0] == "lmms_eval"]:
            del sys.modules[name]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("models") / "molmo2"
    write_export(place, molmo2().model, tokens(), GEOMETRY, VIDEO)
    return place


def _model(adapter: Any, folder: Path, **values: Any) -> Any:
    # What the command line of lmms-eval passes besides the arguments of a model is None unless it was given.
    model = adapter.TrackyardModel(
        pretrained=str(folder), precision="fp32", device="cpu", max_batch_size=None, **values
    )
    model.subject.eos = molmo2().eos
    return model


def _pil(seed: int, mode: str = "RGB") -> Image.Image:
    from io import BytesIO

    return Image.open(BytesIO(picture(40 + 10 * seed, 60, seed).data)).convert(mode)


def _ask(model: Any, docs: list[Any], **settings: Any) -> list[Request]:
    """A request for each document, whose pictures are the document."""
    model.task_dict = {"seen": {"test": docs}}
    known = {"max_new_tokens": 6, "do_sample": False, "temperature": 0, "until": ["\n\n"]}
    return [
        Request(args=(f"<image>\nWhat is number {number}?", known | settings, lambda doc: doc, number, "seen", "test"))
        for number in range(len(docs))
    ]


def test_the_manifest_leads_to_the_class(adapter: Any) -> None:
    manifest = adapter.manifest()
    assert (manifest.model_id, manifest.chat_class_path) == ("trackyard", None)
    module, _, name = manifest.simple_class_path.rpartition(".")
    kind = getattr(importlib.import_module(module), name)
    assert issubclass(kind, importlib.import_module("lmms_eval.api.model").lmms)
    assert kind.is_simple
    assert not kind.__abstractmethods__


def test_answers_are_the_engine_s_in_the_order_of_the_requests(adapter: Any, folder: Path) -> None:
    docs = [[_pil(1)], [_pil(2), _pil(3)], [], None, [[_pil(4)]], [_pil(1)], [_pil(5)]]
    found = {}
    for batch in (1, 4):
        model = _model(adapter, folder, batch_size=batch)
        requests = _ask(model, docs)
        found[batch] = model.generate_until(requests)
    assert found[1] == found[4]
    assert found[1][0] != found[1][6]
    subject, task = molmo2(), TASK.model_copy(update={"new_tokens": 6})
    question = Question(id="q", question="What is number 0?", media=(picture(50, 60, 1),))
    ((_, generated),) = answer(subject, [(0, subject.prompt(question, task), 6)], batch=1)
    assert found[1][0] == subject.text(generated.tokens).split("\n\n")[0]
    # Told to the cache of lmms-eval, as its own models do.
    seen = {request[0]: (name, result) for name, request, result in model.cache_hook.seen}
    assert seen == {request.args[0]: ("generate_until", text) for request, text in zip(requests, found[4], strict=True)}


def test_caps_and_stop_strings_are_those_of_the_request(adapter: Any, folder: Path) -> None:
    model = _model(adapter, folder, max_new_tokens=3)
    docs: list[Any] = [[_pil(seed)] for seed in range(6)]
    whole = model.generate_until(_ask(model, docs, until=None))
    short = model.generate_until(_ask(model, docs, until=None, max_new_tokens=None))
    assert short != whole
    assert all(text.startswith(cut) for text, cut in zip(whole, short, strict=True))
    letter = max(set("".join(whole)), key=lambda letter: sum(letter in text for text in whole))
    cut = [text.split(letter)[0] for text in whole]
    assert cut != whole
    assert model.generate_until(_ask(model, docs, until=letter)) == cut
    assert model.generate_until(_ask(model, docs, until=["", letter, "not there"])) == cut


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "CMYK"])
def test_a_picture_arrives_as_it_is(adapter: Any, mode: str) -> None:
    held = _pil(1, mode)
    media = adapter._media(held, "q")
    assert (media.kind, media.width, media.height) == ("image", *held.size)
    assert np.array_equal(decode_rgb(media.data, ""), np.asarray(held.convert("RGB")))


def test_files_of_pictures_and_videos_are_shown(adapter: Any, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture(50, 60, 1).data)
    (tmp_path / "b.mp4").write_bytes(clip().media[0].data)
    model = _model(adapter, folder)
    held, read, shown = model.generate_until(
        _ask(model, [[_pil(1)], [str(tmp_path / "a.png")], [tmp_path / "b.mp4"]], until=None)
    )
    assert isinstance(shown, str)
    asked = model._prompts(_ask(model, [[_pil(1)], [str(tmp_path / "a.png")], [tmp_path / "b.mp4"]]))
    visual = [prompt.visual_tokens for _, prompt, _ in asked]
    assert visual[0] == visual[1] > 0
    assert visual[2] > 0
    assert held
    assert read


def test_requests_that_only_fill_a_rank_up_are_not_answered(adapter: Any, folder: Path) -> None:
    model = _model(adapter, folder)
    requests = _ask(model, [[_pil(1)], [object()]])
    requests[1].metadata["__padding_only__"] = True
    first, filler = model.generate_until(requests)
    assert filler == ""
    assert first == model.generate_until(requests[:1])[0]


def test_a_causal_model_answers_without_pictures(adapter: Any, tmp_path: Path) -> None:
    causal("qwen3").model.save_pretrained(tmp_path)
    tokens().tokenizer.save_pretrained(tmp_path)
    model = adapter.TrackyardModel(pretrained=str(tmp_path), precision="fp32", batch_size="8")
    assert len(model.generate_until(_ask(model, [None, []]))) == 2
    with pytest.raises(ConfigError, match="with 1 media for"):
        model.generate_until(_ask(model, [[_pil(1)]]))


def test_ranks_are_those_of_the_launcher(adapter: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "4")
    model = _model(adapter, folder)
    assert (model.rank, model.world_size, str(model.device)) == (3, 4, "cpu")
    model.clean()
    assert not hasattr(model, "subject")
    assert model.cleaned


def test_what_would_be_answered_otherwise_is_refused(adapter: Any, folder: Path) -> None:
    model = _model(adapter, folder)
    with pytest.raises(ConfigError, match=r"task seen asks for .*'temperature': 0\.7"):
        model.generate_until(_ask(model, [[]], do_sample=True, temperature=0.7))
    with pytest.raises(ConfigError, match="'num_beams': 4"):
        model.generate_until(_ask(model, [[]], num_beams=4))
    with pytest.raises(ConfigError, match="a request of type loglikelihood"):
        model.loglikelihood([])
    with pytest.raises(ConfigError, match="a request of type generate_until_multi_round"):
        model.generate_until_multi_round([])
    with pytest.raises(DataError, match="seen:test:0 shows dict"):
        model.generate_until(_ask(model, [[{"array": [0.0]}]]))
    with pytest.raises(DataError, match=r"seen:test:0 shows 'absent\.mp4'"):
        model.generate_until(_ask(model, [["absent.mp4"]]))
    with pytest.raises(ConfigError, match="batch_size=auto"):
        _model(adapter, folder, batch_size="auto")
    with pytest.raises(ConfigError, match="precision=fp8"):
        adapter.TrackyardModel(pretrained=str(folder), precision="fp8")
