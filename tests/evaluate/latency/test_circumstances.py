from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from tests.models.knob_models import made
from trackyard.errors import DataError, EnvironmentLacking
from trackyard.evaluate.latency.circumstances import Circumstances, circumstances, is_compiled, refuse_mixed
from trackyard.runner import Finished


class _Driver:
    """Answers for nvidia-smi. answers: by the first word of a query; None: the program is absent."""

    def __init__(self, answers: Mapping[str, str] | None) -> None:
        self.answers = answers
        self.asked: list[tuple[str, ...]] = []

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout_s: float = 60.0,
    ) -> Finished:
        self.asked.append(tuple(argv))
        if self.answers is None:
            raise EnvironmentLacking(what="nvidia-smi is not installed", why="-", fix="-")
        text = self.answers.get(argv[1].split("=")[0])
        return Finished(argv=tuple(argv), exit_code=0 if text else 9, stdout=text or "", stderr="", seconds=0.0)


class _OnGpu(nn.Module):
    """A model whose weights say that they are on a GPU."""

    config = SimpleNamespace(get_text_config=lambda decoder: SimpleNamespace(_attn_implementation="sdpa"))

    def parameters(self, recurse: bool = True) -> Any:
        return iter([SimpleNamespace(device=torch.device("cuda:1"), dtype=torch.bfloat16)])


def _gpu(monkeypatch: pytest.MonkeyPatch, driver: _Driver) -> Circumstances:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA H100")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(uuid="abc-1"))
    return circumstances(_OnGpu(), driver)


def test_a_cpu_is_marked_as_such_and_its_driver_is_not_asked() -> None:
    driver = _Driver(None)
    found = circumstances(made("llama"), driver)
    assert (found.kind, found.driver, found.clocks_mhz, found.gpu_processes) == ("cpu", None, None, None)
    assert (found.precision, found.attention, found.compiled) == ("float32", "sdpa", False)
    assert found.device
    assert found.cores >= 1
    assert found.load_1min is not None
    assert driver.asked == []
    assert Circumstances.of(json.loads(json.dumps(found.to_json()))) == found


def test_a_gpu_is_asked_for_by_its_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"--query-gpu": "550.54, 1980, 2619, 1980, [N/A]\n", "--query-compute-apps": "17\n4711\n"}
    driver = _Driver(answers)
    found = _gpu(monkeypatch, driver)
    assert (found.kind, found.device, found.driver, found.precision) == ("cuda", "NVIDIA H100", "550.54", "bfloat16")
    assert found.clocks_mhz == {"clocks.sm": 1980.0, "clocks.mem": 2619.0, "clocks.max.sm": 1980.0}
    assert found.gpu_processes == 1
    assert "1 other processes on the GPU" in found.busy
    assert {argv[-1] for argv in driver.asked} == {"--id=GPU-abc-1"}


@pytest.mark.parametrize("answers", [None, {}, {"--query-gpu": "no such GPU\n", "--query-compute-apps": ""}])
def test_what_a_driver_does_not_tell_is_none(
    answers: Mapping[str, str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = _gpu(monkeypatch, _Driver(answers))
    assert (found.driver, found.clocks_mhz, found.gpu_processes) == (None, None, None)


def test_a_compiled_part_is_seen() -> None:
    model = made("llama")
    assert not is_compiled(model)
    model.model.layers[0].compile(backend="eager")
    assert is_compiled(model)
    whole: Any = torch.compile(made("llama"), backend="eager")
    assert is_compiled(whole)


def test_a_host_without_a_load_average_says_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def unobtainable() -> None:
        raise OSError

    monkeypatch.setattr(os, "getloadavg", unobtainable)
    found = circumstances(made("llama"), _Driver(None))
    assert found.load_1min is None
    assert found.busy == ""


def test_other_load_is_said_in_words() -> None:
    here = replace(circumstances(made("llama"), _Driver(None)), threads=2, cores=8)
    assert replace(here, load_1min=2.4).busy == ""
    assert replace(here, load_1min=7.0).busy == "load 7.0 on 8 cores"


def test_times_of_a_cpu_and_of_a_gpu_or_of_two_gpus_are_never_put_together() -> None:
    cpu = circumstances(made("llama"), _Driver(None))
    gpu = replace(cpu, kind="cuda", device="NVIDIA H100")
    refuse_mixed([cpu, replace(cpu, load_1min=3.0)])
    refuse_mixed([gpu, gpu])
    refuse_mixed([])
    for other in (cpu, replace(gpu, device="NVIDIA A100")):
        with pytest.raises(DataError, match="latencies of 2 devices") as refused:
            refuse_mixed([gpu, other])
        assert "NVIDIA H100 (cuda)" in refused.value.what


def test_a_document_of_other_fields_is_refused() -> None:
    body = circumstances(made("llama"), _Driver(None)).to_json()
    for wrong in ({**body, "more": 1}, {key: body[key] for key in body if key != "kind"}, {**body, "kind": "tpu"}):
        with pytest.raises(DataError, match="circumstances"):
            Circumstances.of(wrong)
