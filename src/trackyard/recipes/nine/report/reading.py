"""What the stages of accuracy and latency put out, read for a report, each file past its seal and each sample past
the gate. Source: nine-datasets spec sections 8 and 9.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from trackyard.digest import short
from trackyard.errors import DataError
from trackyard.evaluate.completeness import errors, require_samples
from trackyard.evaluate.configuration_results import read_configuration
from trackyard.evaluate.latency.circumstances import Circumstances
from trackyard.evaluate.latency.statistics import LatencySummary, Summary
from trackyard.evaluate.model_comparison import Scores
from trackyard.evaluate.records import Sample
from trackyard.evaluate.scorers.table import chance
from trackyard.evaluate.statistics import Interval
from trackyard.evaluate.store import read_records
from trackyard.recipes.nine.report.gathering import AGAIN, Gathered, put_together
from trackyard.recipes.nine.report.measured import Measurement, SweepFacts, TaskFacts
from trackyard.recipes.nine.results import read_result
from trackyard.recipes.nine.study import Study
from trackyard.recipes.nine.sweeping.accuracy import STAGE as ACCURACY
from trackyard.recipes.nine.sweeping.asked import Asked
from trackyard.recipes.nine.sweeping.latency import SCHEMA, SUMMARY
from trackyard.recipes.nine.sweeping.latency import STAGE as LATENCY
from trackyard.recipes.nine.sweeping.opening import asked_tasks, open_sweep
from trackyard.recipes.nine.sweeping.scored import CONFIG, SAMPLES, values_of
from trackyard.sealed import read_sealed


def gather(study: Study) -> Gathered:
    """Everything that was measured. DataError names the first configuration or sample that is missing or altered."""
    parameters, sweep, tasks = study.parameters, open_sweep(study), asked_tasks(study)
    timed = read_result(study.document(LATENCY), LATENCY).body
    facts = SweepFacts(
        model=str(read_result(study.document("sweep"), "sweep").body["model"]),
        digest=sweep.evaluated.model,
        precision=sweep.evaluated.precision,
        strategy=sweep.strategy,
        keys=sweep.keys,
        ending=timed["ending"],
        machines=tuple(Circumstances.of(dict(machine)) for machine in timed["circumstances"]),
        busy=tuple(timed["busy"]),
        different=timed["different"],
        most_capped=parameters.accuracy.most_capped,
    )
    found = [_measurement(study, key, of) for of in tasks.values() for key in sweep.keys if _is_there(study, key, of)]

    def scores(dataset: str, key: str) -> Scores:
        return _scores(study, key, tasks[dataset])

    listed = [_facts(of) for of in tasks.values()]
    return put_together(facts, listed, found, scores, partial=parameters.partial)


def _is_there(study: Study, key: str, of: Asked) -> bool:
    """Whether both stages put out a result; the gate says what is missing."""
    accuracy, latency = (study.place(stage, key, of.task.name) for stage in (ACCURACY, LATENCY))
    return (accuracy / CONFIG).is_file() and (latency / SUMMARY).is_file()


def _measurement(study: Study, key: str, of: Asked) -> Measurement:
    accuracy, latency = (study.place(stage, key, of.task.name) for stage in (ACCURACY, LATENCY))
    result = read_configuration(accuracy / CONFIG, fix=AGAIN)
    samples = list(read_records(accuracy / SAMPLES, Sample))
    tally = require_samples(
        key=key,
        task=of.task.name,
        expected=of.ids,
        found=errors(samples),
        again=AGAIN,
        most_failed=study.parameters.accuracy.most_failed,
        partial=study.parameters.partial,
    )
    if (result.key, result.ok, result.failed) != (key, tally.ok, tally.failed):
        raise DataError(
            what=f"{accuracy / CONFIG} is of {result.ok:,} answers and {result.failed:,} failures under "
            f"{short(result.key)}; {SAMPLES} beside it holds {tally.ok:,} and {tally.failed:,}",
            why="the metric is not that of these answers",
            fix=AGAIN,
        )
    lengths = [sample.n_out for sample in samples if not sample.failed]
    return Measurement(
        key=key,
        configuration=result.knobs,
        dataset=of.task.name,
        split=result.split,
        metric=result.metric,
        tally=tally,
        realised_visual=result.realised_visual,
        n_out=fmean(lengths) if lengths else 0.0,
        cap_rate=result.cap_rate,
        unparsed_rate=result.unparsed_rate,
        times=_times(read_sealed(latency / SUMMARY, SCHEMA, fix=AGAIN)),
    )


def _times(body: Mapping[str, Any]) -> LatencySummary:
    parts = {}
    for part, values in body["parts"].items():
        ends = values["p50_ci95"]
        parts[part] = Summary(**(values | {"p50_ci95": None if ends is None else Interval(*ends)}))
    return LatencySummary(
        parts=parts,
        counted=body["counted"],
        warmup=body["warmup"],
        invalid=body["invalid"],
        n_out=body["n_out"],
    )


def _scores(study: Study, key: str, of: Asked) -> Scores:
    """The plotted metric of every question; one that failed scores 0, as in the mean."""
    folder = study.place(ACCURACY, key, of.task.name)
    samples = list(read_records(folder / SAMPLES, Sample))
    values = values_of(of.task.metric, folder, samples).tolist()
    return Scores(
        values={sample.id: value for sample, value in zip(samples, values, strict=True)},
        clusters={sample.id: of.bare(sample.id).drawn_with for sample in samples},
    )


def _facts(of: Asked) -> TaskFacts:
    task = of.task
    # Only questions with options have a chance; where the first has none, not all have some.
    questions = [of.bare(name) for name in of.ids] if of.bare(of.ids[0]).options else []
    return TaskFacts(name=task.name, title=task.title, metric=task.metric, chance=chance(task.metric, questions))
