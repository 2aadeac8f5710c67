"""The stage that times single questions under every configuration (exp6).

    trackyard run nine latency --shard 0/4     # configurations 0, 4, 8 ..., all tasks, in this process
    trackyard run nine latency                 # all that is missing, one after the other, then the results

A configuration is timed by one process, after a warm-up of its own; its answers are compared with those of the accuracy
stage, since a model that answers otherwise alone is not the one that was scored. Source: nine-datasets spec section 7.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from trackyard.digest import digest_file, digest_json, short
from trackyard.errors import DataError
from trackyard.evaluate.answering.subject import Subject
from trackyard.evaluate.intervals import generator
from trackyard.evaluate.latency.circumstances import refuse_mixed
from trackyard.evaluate.latency.measure import measure
from trackyard.evaluate.latency.statistics import summarise_rows
from trackyard.evaluate.latency.timing import Timing
from trackyard.evaluate.latency.warmup import WarmUp, take_samples
from trackyard.evaluate.records import Latency, Sample
from trackyard.evaluate.store import Store, read_records
from trackyard.evaluate.sweep.configuration import Configuration, Sweep
from trackyard.recipes.nine.results import PIPELINE, read_result, write_result
from trackyard.recipes.nine.study import Study
from trackyard.recipes.nine.sweeping.asked import Asked
from trackyard.recipes.nine.sweeping.machine_notes import Notes, read_notes
from trackyard.recipes.nine.sweeping.opening import asked_tasks, open_evaluated, open_sweep
from trackyard.recipes.nine.sweeping.scored import SAMPLES
from trackyard.recipes.nine.sweeping.turning import turned
from trackyard.recipes.parts import alone, part_named, tell_if_empty
from trackyard.sealed import write_sealed

STAGE = "latency"
AGAIN = f"trackyard run nine {STAGE}"
TIMES, SUMMARY = "latency.jsonl", "summary.json"
SCHEMA = "trackyard-latency-summary/1"
ATTEMPTS = 3
"""Times that a question is timed until its parts make up the whole; what never does is counted and shown."""
MOST_DIFFERENT = {"fp32": 0.0, "bf16": 0.005}
"""Share of answers that may differ between a batch and a single question, by precision."""


def latency(study: Study, item: str | None, say: Callable[[str], None]) -> None:
    """Time the configurations of a part, or all that are missing and put out the results.

    DataError for answers that differ from those that were scored, or times of several kinds of machine; TrackyardError
    while another process is at it.
    """
    started = time.monotonic()
    part = part_named(item, again=AGAIN)
    with alone(
        study.store, STAGE, part, what="the times of this study", why="a question that is timed twice has two times"
    ):
        sweep, tasks = open_sweep(study), asked_tasks(study)
        ids = read_result(study.document("sweep"), "sweep").body["latency"]
        run = _Run(study, sweep, tasks, ids)
        tell_if_empty(part, len(sweep.keys), say)
        for number, key in enumerate(part.of_list(sweep.keys), start=1):
            took = run.measure(key)
            if took:
                words = _words(sweep.configurations[key])
                say(f"{short(key)} {words}: {took} answers timed   ({number} of {len(sweep.keys)})")
        if item is not None:
            return
        folder = study.artifacts / STAGE
        if folder.exists():
            shutil.rmtree(folder)
        body = run.put_out(say)
        inputs = {study.sweep.relative_to(study.root).as_posix(): digest_file(study.sweep)}
        header = study.header(
            STAGE,
            inputs=inputs,
            device=body["circumstances"][0]["device"],
            wall_s=round(time.monotonic() - started, 3),
            model=sweep.evaluated.model,
        )
        write_result(study.document(STAGE), STAGE, header, body)


class _Run:
    """The stores of a sweep's times, and the model once something is missing."""

    def __init__(self, study: Study, sweep: Sweep, tasks: dict[str, Asked], ids: dict[str, list[str]]) -> None:
        self._study, self._sweep, self._tasks, self._ids = study, sweep, tasks, ids
        self._how = study.parameters.latency
        self._subject: Subject | None = None

    def store(self, key: str, name: str) -> Store[Latency]:
        """Of a configuration on a task. How answers end decides what the times are of."""
        of, how = self._tasks[name], self._how
        about = {
            "document": self._sweep.document(key),
            "task": of.digest,
            "ending": how.ending,
            "forced_tokens": how.forced_tokens if how.ending == "forced" else None,
        }
        folder = self._study.store / STAGE / key / f"{name}-{digest_json([about, self._ids[name]])[:12]}"
        return Store(folder, Latency, key=key, about=about, ids=self._ids[name], again=AGAIN)

    def measure(self, key: str) -> int:
        """Time what is missing of a configuration; how many answers that was, without the warm-up."""
        missing = {name: self.store(key, name).missing(failed=True) for name in self._tasks}
        if not any(missing.values()):
            return 0
        self._subject = self._subject or open_evaluated(self._study)
        warm_up, done = WarmUp(least=self._how.warmup), 0
        with turned(self._subject.model, self._sweep.configurations[key]):
            for name, left in missing.items():
                # Parts that do not make up the whole are somebody else's work in between: such a time is taken again.
                for _ in range(ATTEMPTS):
                    if left:
                        done += self._measure_task(self._subject, key, name, left, warm_up)
                        left = self.store(key, name).missing(failed=True)
        return done

    def _measure_task(self, subject: Subject, key: str, name: str, left: Sequence[str], warm_up: WarmUp) -> int:
        of, store, how = self._tasks[name], self.store(key, name), self._how
        visual = self._sweep.configurations[key].visual
        scored = self._scored(key, name)
        cap = how.forced_tokens if how.ending == "forced" else of.task.new_tokens

        def one(question: str) -> Timing:
            asked = of[question]
            return measure(subject, lambda: subject.prompt(asked, of.task, visual=visual), cap, how.ending == "forced")

        done, notes = 0, Notes.begin(store.folder, subject.model)
        with store.writer() as writer:
            for taken in take_samples(self._ids[name], one, warm_up, left=left):
                if not taken.warmup:
                    done += 1
                    # Noted before the time is on disk: after a kill between the two the question is timed again.
                    if scored is not None and scored[taken.id] != subject.text(taken.timing.tokens):
                        notes.differs(taken.id)
                writer.append(Latency(key=key, id=taken.id, warmup=taken.warmup, **taken.timing.to_json()))
        return done

    def _scored(self, key: str, name: str) -> dict[str, str] | None:
        """The answers of the accuracy stage by question; forced ones have another length by design."""
        if self._how.ending == "forced":
            return None
        path = self._study.place("accuracy", key, name) / SAMPLES
        found = {sample.id: sample.pred for sample in read_records(path, Sample)}
        lacking = [question for question in self._ids[name] if question not in found]
        if lacking:
            raise DataError(
                what=f"{path} lacks {len(lacking):,} of the answers that are timed, {lacking[0]} first",
                why="nothing says then that what is timed answers as it was scored",
                fix="trackyard run nine accuracy",
            )
        return found

    def put_out(self, say: Callable[[str], None]) -> dict[str, Any]:
        """latency.jsonl and summary.json of every configuration on every task, and what the stage says of itself."""
        machines, different, timed = [], [], 0
        for key in self._sweep.keys:
            for name in self._tasks:
                store, folder = self.store(key, name), self._study.place(STAGE, key, name)
                found = store.finalise(folder / TIMES, partial=self._study.parameters.partial)
                notes = read_notes(store.folder)
                machines += [note.circumstances for note in notes]
                # A question that was timed again after a kill may be in two notes.
                noted = sorted({question for note in notes for question in note.different})
                different += [(short(key), question) for question in noted]
                timed += len(found.records)
                self._write_summary(key, name, [*found.others, *found.records.values()])
        refuse_mixed(machines)
        _refuse_different(different, timed, self._study.parameters.model.precision)
        distinct = {digest_json(machine.to_json() | {"load_1min": 0}): machine for machine in machines}
        say(f"complete  {timed:,} answers timed on {machines[0].device}; {len(different)} differ from those scored")
        return {
            "timed": timed,
            "different": len(different),
            "ending": self._how.ending,
            "circumstances": [machine.to_json() for machine in distinct.values()],
            "busy": sorted({machine.busy for machine in machines if machine.busy}),
        }

    def _write_summary(self, key: str, name: str, records: Sequence[Latency]) -> None:
        rows = [asdict(record) for record in sorted(records, key=lambda record: (record.id, record.t_total_ms))]
        found = summarise_rows(rows, rng=generator(0, key, name, STAGE), resamples=self._study.parameters.resamples)
        body = {
            "key": key,
            "dataset": name,
            "ending": self._how.ending,
            "parts": {part: summary.to_json() for part, summary in found.parts.items()},
            "counted": found.counted,
            "warmup": found.warmup,
            "invalid": found.invalid,
            "n_out": found.n_out,
        }
        write_sealed(self._study.place(STAGE, key, name) / SUMMARY, SCHEMA, body)


def _refuse_different(different: Sequence[tuple[str, str]], timed: int, precision: str) -> None:
    most = MOST_DIFFERENT[precision]
    if len(different) > most * timed:
        key, question = different[0]
        raise DataError(
            what=f"{len(different)} of {timed:,} single answers are not those that were scored in a batch; the first "
            f"is {question} under configuration {key}",
            why=f"{most:.1%} may in {precision}: a model that answers otherwise alone is not the one that was scored",
            fix=f"find out what padding or batch changes, then dvc repro {PIPELINE}:accuracy",
        )


def _words(configuration: Configuration) -> str:
    told = (("visual", configuration.visual), ("experts", configuration.experts), ("blocks", configuration.depth))
    return ", ".join(f"{name} {level}" for name, level in told if level is not None) or "no knobs"
