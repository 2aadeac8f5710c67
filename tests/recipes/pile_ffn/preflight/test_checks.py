"""The ten checks against a hub on loopback: each mode fetches what it says, and each thing that is wrong fails its row.

Source: pile-ffn spec section 12 and acceptance check 18.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from tests.loopback.hub import Fault, LoopbackHub
from trackyard.acquire.places import Places
from trackyard.catalog.entries import Entry
from trackyard.errors import ConfigError
from trackyard.estimate.devices import DEVICES
from trackyard.launch.preflight import Report
from trackyard.recipes.pile_ffn.parameters import load_pile_ffn
from trackyard.recipes.pile_ffn.preflight.checks import MODES, Mode, PreflightParameters, run_preflight

ROOT = Path(__file__).resolve().parents[4]
MODEL, TEXT, TASK = "EleutherAI/tiny-neox", "monology/tiny-pile", "EleutherAI/tiny-lambada"
ROWS = [
    "network", "dependencies", "auth", "disk and inodes", "model metadata",
    "dataset metadata", "tokenizer", "benchmarks", "accelerator", "self-test",
]  # fmt: skip
RECORDS = 20


def documents(count: int, **changes: Any) -> bytes:
    """Compressed JSONL whose texts do not shrink to nothing."""
    lines = [
        json.dumps(
            {"text": f"{number} " + bytes(range(65, 91)).decode() * 20, "meta": {"pile_set_name": "Mini"}} | changes
        )
        for number in range(count)
    ]
    return zstandard.ZstdCompressor().compress("\n".join(lines).encode())


def tokenizer() -> bytes:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(alphabet)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return made.to_str().encode()


@pytest.fixture(scope="module")
def model_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A tiny GPT-NeoX whose head knows the answer a little, as trained weights do: its loss is below ln(vocabulary)."""
    import torch
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    model = GPTNeoXForCausalLM(GPTNeoXConfig(vocab_size=256, **shape))
    with torch.no_grad():
        # The fixed text of the check counts upwards: the head answers with the next id.
        model.gpt_neox.embed_in.weight.mul_(10)
        model.lm_head.weight.copy_(0.5 * torch.roll(model.gpt_neox.embed_in.weight, 1, dims=0))
    folder = tmp_path_factory.mktemp("model")
    model.save_pretrained(folder)
    files = {name: (folder / name).read_bytes() for name in ("config.json", "model.safetensors")}
    return {**files, "tokenizer.json": tokenizer()}


PARAMETERS = PreflightParameters(
    model=MODEL,
    parameters=33_536,
    ffn_parameters=8_384,
    vocabulary_rows=256,
    train_files=2,
    records=RECORDS,
    needed_bytes={"quick": 1, "default": 1, "full": 1},
)


def entry(name: str, repo: str, **source: Any) -> Entry:
    return Entry.model_validate(
        {
            "name": name, "title": name, "roles": ["eval"], "group": "pile_ffn", "media": "text", "access": "auto",
            "recipe": {"kind": "embedded"}, "hub": [{"repo": repo, **source}],
        }
    )  # fmt: skip


@pytest.fixture
def hub(model_files: dict[str, bytes]) -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        hub.add_repository(MODEL, model_files, kind="model")
        hub.add_repository(
            TEXT,
            {
                "train/00.jsonl.zst": documents(2000),
                "train/01.jsonl.zst": documents(5),
                "val.jsonl.zst": documents(60),
                "test.jsonl.zst": documents(70),
            },
        )
        hub.add_repository(TASK, {"test.jsonl": b'{"text": "x"}\n'})
        yield hub


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository root whose lock names a package that is installed."""
    import pydantic

    (tmp_path / "requirements.lock").write_text(f"pydantic=={pydantic.VERSION}\n")
    return tmp_path


def check(
    root: Path, endpoint: str, mode: Mode = "quick", *, offline: bool = False, text: str = TEXT, **changes: Any
) -> Report:
    return run_preflight(
        entry("pile", text),
        [entry("lambada", TASK)],
        PARAMETERS.model_copy(update=changes),
        mode=mode,
        offline=offline,
        places=Places(hub=root / "hub", raw=root / "raw", data=root / "data"),
        root=root,
        endpoint=endpoint,
    )


def failed(report: Report) -> list[str]:
    assert [row.name for row in report.rows] == ROWS
    return [row.name for row in report.rows if row.state == "failed"]


@pytest.mark.system
def test_modes_are_cumulative_and_do_what_they_say(root: Path, hub: LoopbackHub) -> None:
    sent = []
    for mode in MODES:
        hub.forget_log()
        report = check(own_root(root, mode), hub.url, mode)
        assert failed(report) == [], [row for row in report.rows if row.state == "failed"]
        sent.append(hub.bytes_sent())
    assert sent[0] < sent[1] < sent[2]
    rows = {row.name: row for row in report.rows}
    assert "130 held-out documents" in rows["dataset metadata"].detail
    assert "33,536 parameters, 8,384 in feed-forward layers" in rows["model metadata"].detail
    # What full has brought is proved without the network, and nothing else is asked for.
    hub.forget_log()
    offline = check(root / "full", hub.url, "full", offline=True)
    assert failed(offline) == []
    assert hub.log == []


def own_root(root: Path, name: str) -> Path:
    """A root with an empty cache."""
    (root / name).mkdir()
    (root / name / "requirements.lock").write_bytes((root / "requirements.lock").read_bytes())
    return root / name


def test_quick_downloads_nothing(root: Path, hub: LoopbackHub) -> None:
    report = check(root, hub.url)
    assert failed(report) == []
    assert report.count("skipped") == 2, "nothing is gated, and the tokenizer is for later modes"
    assert report.fetched == 0
    assert not list((root / "hub").rglob("*.safetensors"))


def test_a_wrong_dataset_id(root: Path, hub: LoopbackHub) -> None:
    assert failed(check(root, hub.url, text="monology/tiny-pyle")) == ["dataset metadata"]


def test_without_a_network(root: Path) -> None:
    names = failed(check(root, "http://127.0.0.1:9"))
    assert names == ["network", "model metadata", "dataset metadata", "benchmarks"]


def test_offline_without_a_cache(root: Path, hub: LoopbackHub) -> None:
    assert failed(check(root, hub.url, "default", offline=True)) == ["model metadata", "dataset metadata", "tokenizer"]
    assert hub.log == []


def test_a_package_that_is_not_as_locked(root: Path, hub: LoopbackHub) -> None:
    (root / "requirements.lock").write_text("pydantic==0.1\nno-such-package==1\n")
    report = check(root, hub.url)
    assert failed(report) == ["dependencies"]
    assert "2 of 2 packages" in report.rows[1].detail


def test_a_lock_without_pins_proves_nothing(root: Path, hub: LoopbackHub) -> None:
    (root / "requirements.lock").write_text("# empty\n")
    assert failed(check(root, hub.url)) == ["dependencies"]


def test_a_disk_that_is_too_small(root: Path, hub: LoopbackHub) -> None:
    assert failed(check(root, hub.url, needed_bytes=dict.fromkeys(MODES, 10**18))) == ["disk and inodes"]


def test_a_missing_accelerator(root: Path, hub: LoopbackHub) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert failed(check(root, hub.url, needs_accelerator=True)) == ["accelerator"]


def test_the_checks_of_a_profile_are_those_of_its_model_and_text() -> None:
    study = load_pile_ffn(ROOT / "profiles" / "pythia-1.4b-a100.yaml")
    found = PreflightParameters.of(study, DEVICES["a100-80"])
    assert (found.model, found.model_revision) == (study.model.id, study.model.revision)
    assert (found.parameters, found.ffn_parameters, found.vocabulary_rows) == (1_414_647_808, 805_552_128, 50_304)
    assert found.splits == PreflightParameters().splits
    assert found.needed_bytes["full"] == 200_000_000 + 2_829_295_616 + 2 * 338_000_000
    assert found.planned_bytes > 1e12
    assert 30e9 < found.device_bytes < 40e9
    assert PreflightParameters.of(study).device_bytes == 0


def test_a_study_that_makes_its_own_has_nothing_to_fetch() -> None:
    with pytest.raises(ConfigError, match="the study of tiny-gpt-neox on mini text") as raised:
        PreflightParameters.of(load_pile_ffn(ROOT / "profiles" / "mini.yaml"))
    assert raised.value.fix == "trackyard data verify pile --profile pythia-1.4b"


@pytest.mark.parametrize("lacking", [{"planned_bytes": 10**18}, {"planned_files": 10**15}])
def test_a_disk_that_holds_the_downloads_and_not_the_study(
    root: Path, hub: LoopbackHub, lacking: dict[str, Any]
) -> None:
    report = check(root, hub.url, **lacking)
    assert failed(report) == ["disk and inodes"]
    assert "runs" in report.rows[3].detail


@pytest.mark.parametrize(
    "changes", [{"text": ""}, {"text": None}, {"meta": {}}, {"meta": {"pile_set_name": 3}}], ids=str
)
def test_records_that_are_not_as_they_should_be(root: Path, hub: LoopbackHub, changes: dict[str, Any]) -> None:
    files = {"train/00.jsonl.zst": documents(30, **changes), "train/01.jsonl.zst": documents(1)}
    hub.add_repository(TEXT, {**files, "val.jsonl.zst": documents(30), "test.jsonl.zst": documents(30)})
    report = check(root, hub.url, "default")
    assert failed(report) == ["dataset metadata"]
    assert "train/00.jsonl.zst, record 1" in next(row.detail for row in report.rows if row.state == "failed")


def test_a_split_that_is_too_short(root: Path, hub: LoopbackHub) -> None:
    files = {f"train/0{number}.jsonl.zst": documents(30) for number in range(2)}
    hub.add_repository(TEXT, {**files, "val.jsonl.zst": documents(RECORDS - 1), "test.jsonl.zst": documents(30)})
    assert failed(check(root, hub.url, "default")) == ["dataset metadata"]


def test_a_gated_model_without_a_token(root: Path, hub: LoopbackHub, model_files: dict[str, bytes]) -> None:
    hub.add_repository(MODEL, model_files, kind="model", gated=True, token="hf_canary0123456789")  # secret-scan: allow
    report = check(root, hub.url, model_gated=True)
    assert "auth" in failed(report)
    assert "canary" not in repr(report)


@pytest.mark.system
def test_weights_that_are_not_those_of_the_study(root: Path, hub: LoopbackHub) -> None:
    assert failed(check(root, hub.url, "full", parameters=1)) == ["model metadata"]


@pytest.mark.system
def test_weights_that_arrive_damaged(root: Path, hub: LoopbackHub) -> None:
    hub.faults.plan(f"{MODEL}/model.safetensors", Fault(kind="corrupt", times=None))
    assert failed(check(root, hub.url, "full")) == ["model metadata"]
