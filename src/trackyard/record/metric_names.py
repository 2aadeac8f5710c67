"""The one schema of metric names, of all tracks: what stands in spools, in MLflow, in metrics.json and in the report.

A name is `<family>/<...>`. What is measured stands after the family (train/gradient_norm/llm) or at the end of the name
(eval/world/vsr/accuracy), as the family says. `start/`, `chance/` and `examples/` stand before another name: its value
at the start of training, by guessing, and how many examples it is over. Source: design section 4.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from trackyard.errors import ConfigError

Better = Literal["lower", "higher"]
Place = Literal["first", "last", "name"]
"""Where a family's names say what is measured: after the family, at their end, or in a whole name that follows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """unit: in words, "" for a pure number. better: the direction to wish for; None where there is none."""

    unit: str = ""
    better: Better | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """Names that begin alike. shape: how they go on. measures: what has a name; other: of any other name, None where
    its ending says what it is (`ENDINGS`)."""

    name: str
    meaning: str
    shape: str
    place: Place
    measures: Mapping[str, Measure] = field(default_factory=dict)
    other: Measure | None = None


_COUNT, _SHARE = Measure(), Measure(unit="share")
_NATS = Measure(unit="nats per token", better="lower")
_LOST = Measure(unit="share", better="lower")
_SCORE = Measure(unit="share", better="higher")
_LOSSES = {
    "loss": _NATS,
    "nll": _NATS,
    "ppl": Measure(better="lower"),
    "bpb": Measure(unit="bits per byte", better="lower"),
}
_SCORES = dict.fromkeys(
    (
        "acc", "acc_norm", "accuracy", "anls", "caption_f1", "counting", "counting_close", "counting_exact", "em",
        "em_number", "hota", "jf", "macro_accuracy", "mc", "mmmu", "mmmu_expected", "multiple_choice", "pointing",
        "points_f1", "points_precision", "points_recall", "track_f1", "vqa", "vqa_simple",
    ),
    _SCORE,
) | {"cider": Measure(better="higher")}  # fmt: skip

FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        Family(
            name="train",
            meaning="of the training rows: of a step, or of the run once it is over",
            shape="train/<measure>[/<component or group>]",
            place="first",
            measures={
                "loss": _NATS,
                "first_loss": Measure(unit="nats per token"),
                "gradient_norm": _COUNT,
                "learning_rate": _COUNT,
                "skipped": _COUNT,
                "skipped_steps": _COUNT,
                "steps": _COUNT,
                "tokens": _COUNT,
                "supervised_tokens": _COUNT,
                "step_tokens": _COUNT,
                "padding": _LOST,
                "step_padding": _LOST,
                "broken_rows": _COUNT,
            },
        ),
        Family(
            name="validation",
            meaning="of held-out rows, by which nothing is reported",
            shape="validation/<measure>",
            place="last",
            measures=_LOSSES | _SCORES,
        ),
        Family(
            name="test",
            meaning="of the text that perplexities are reported on",
            shape="test[/<arm>]/<measure>",
            place="last",
            measures=_LOSSES,
        ),
        Family(
            name="bench", meaning="score of a text benchmark", shape="bench[/<arm>]/<task>", place="last", other=_SCORE
        ),
        Family(
            name="attack",
            meaning="rise of the loss under an attack, on tokens that it left alone",
            shape="attack[/<arm>]/<attack>/<measure>",
            place="last",
            measures={"delta_nats": _NATS},
        ),
        Family(
            name="eval",
            meaning="of an evaluation of answers",
            shape="eval[/<arm>]/<task or set>/<measure>",
            place="last",
            measures=_LOSSES
            | _SCORES
            | {
                "cap_rate": _LOST,
                "unparsed_rate": _LOST,
                "failed": Measure(better="lower"),
                "visual_tokens": _COUNT,
                "answer_tokens": _COUNT,
                "as_good": _COUNT,
                "on_frontier": _COUNT,
                "configurations": _COUNT,
            },
        ),
        Family(
            name="latency",
            meaning="time that an answer takes",
            shape="latency/<task>/<part>_<percentile>_ms",
            place="last",
        ),
        Family(
            name="usage",
            meaning="what training takes of its machine, since the last log point",
            shape="usage/<measure>[/<dataset>]",
            place="first",
            measures={
                "seconds_per_step": Measure(unit="s", better="lower"),
                "seconds_left": Measure(unit="s"),
                "tokens_per_second": Measure(unit="tokens per s", better="higher"),
                "useful_tokens_per_second": Measure(unit="tokens per s", better="higher"),
                "mfu": Measure(unit="share", better="higher"),
                "memory_peak_bytes": Measure(unit="B", better="lower"),
                "data_wait_seconds": Measure(unit="s", better="lower"),
                "data_wait_share": _LOST,
                "checkpoint_stall_seconds": Measure(unit="s", better="lower"),
                "checkpoint_stall_share": _LOST,
                "rows": _COUNT,
            },
        ),
        Family(
            name="system",
            meaning="state of the machine at a log point",
            shape="system/<measure>[/<device>]",
            place="first",
            measures={"energy_joules": Measure(unit="J", better="lower")},
        ),
        Family(
            name="estimate", meaning="what was forecast before it was run", shape="estimate/<measure>", place="last"
        ),
        Family(name="start", meaning="of the model that training starts from", shape="start/<name>", place="name"),
        Family(name="chance", meaning="what guessing comes to", shape="chance/<name>", place="name"),
        Family(name="examples", meaning="how many examples a value is over", shape="examples/<name>", place="name"),
    )
}

ENDINGS: Mapping[str, Measure] = {
    "_ms": Measure(unit="ms", better="lower"),
    "seconds": Measure(unit="s", better="lower"),
    "_hours": Measure(unit="h", better="lower"),
    "_bytes": Measure(unit="B"),
    "_joules": Measure(unit="J"),
    "_watts": Measure(unit="W"),
    "_percent": Measure(unit="%"),
    "_share": _SHARE,
    "_rate": _SHARE,
}
"""Unit and direction by the end of a name that no family lists; anything else is a count, better in no direction."""


def family(name: str) -> Family:
    """The family of a metric. ConfigError, with the nearest one, for a name of none."""
    head, _, rest = name.partition("/")
    found = FAMILIES.get(head)
    if found is None or not rest or not all(rest.split("/")):
        near = difflib.get_close_matches(head, FAMILIES, n=1, cutoff=0.5)
        raise ConfigError(
            what=f"the metric {name!r} " + (f"is not of the form {found.shape}" if found else "is of no family"),
            why=f"families are {', '.join(FAMILIES)}: under another name no comparison finds it",
            fix=f"name it {found.shape if found else FAMILIES[near[0]].shape if near else '<family>/<measure>'}, "
            "or add a family to trackyard.record.metric_names",
        )
    if found.place == "name":
        family(rest)
    return found


def better(name: str) -> Better | None:
    """The direction in which a metric improves; None for counts. ConfigError as `family`."""
    of = family(name)
    # Of what guessing scores, or over how many examples, no value is the better one.
    return None if of.name in ("chance", "examples") else _measure(of, name).better


def unit(name: str) -> str:
    """The unit of a metric, "" for a pure number. ConfigError as `family`."""
    of = family(name)
    return "" if of.name == "examples" else _measure(of, name).unit


def _measure(of: Family, name: str) -> Measure:
    rest = name.partition("/")[2]
    if of.place == "name":
        return _measure(family(rest), rest)
    parts = rest.split("/")
    word = parts[0] if of.place == "first" else parts[-1]
    ending = next((measure for end, measure in ENDINGS.items() if word.endswith(end)), _COUNT)
    return of.measures.get(word) or of.other or ending
