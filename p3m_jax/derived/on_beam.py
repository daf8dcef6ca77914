"""Fills a cache with Apache Beam: on this machine, or on Dataflow, Flink or Spark.

The pipeline distributes the missing pictures one by one to Beam's workers. They call `make_one` for
each picture. Only names pass through the pipeline. Workers read and write under the same paths as
this machine, so data set and cache must be on a disk that all machines share. Each worker records
its finished and failed pictures in its own list in the cache, see `p3m_jax.derived.cache`. Each
line is written as soon as its picture is done. So if this process or a worker is killed, the next
job resumes the work, with Beam or with threads.

While a job runs, runners show Beam's counters in the namespace `p3m`: `done`, `broken`,
`bytes_read`, `bytes_written` and `processor_microseconds`.
"""

import contextlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics, MetricsFilter
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners.runner import PipelineState

from p3m_jax.data.sets import ROLES, Example
from p3m_jax.derived.cache import Cache
from p3m_jax.derived.filling import EngineError, Filled, Made, Make, Processor, Tally, make_one
from p3m_jax.storage.files import locked
from p3m_jax.storage.json_lines import LineWriter, read_lines, write_lines
from p3m_jax.text import shown

_NAMESPACE = "p3m"
_PROCESSOR = Processor()  # of this process, in which several threads may be workers
# "DirectRunner" first tries another runner, written in Go, which it downloads and which ignores the
# number of workers. This is the runner it falls back to.
_DIRECT = "FnApiRunner"
_UNFINISHED = (
    "was not finished by any worker. Workers need the data set and the cache under these paths; "
    "check their logs, and run the same command again to resume."
)


@dataclass(frozen=True)
class BeamEngine:
    """Fills a cache with a Beam pipeline; pass it to `p3m_jax.derived.filling.fill` as `engine`.

    The default runner is Beam's direct runner, on this machine with one worker. Its options
    `--direct_num_workers` and `--direct_running_mode` set the number and kind of workers.

    Attributes:
      options: the pipeline's options, such as "--runner=FlinkRunner".
    """

    options: tuple[str, ...] = ()

    def __call__(self, cache: Cache, make: Make, missing: list[Example], progress: bool) -> Filled:
        """Makes the missing pictures; runners have their own ways to show progress.

        Raises:
          EngineError: another job is filling the cache, the runner does not exist, or this job
            ended early.
          RuntimeError: a bug; the direct runner raises it.
        """
        cache = replace(cache, folder=cache.folder.absolute())
        busy = EngineError(
            f"{cache.folder}: another job is filling this cache; wait until it ends, or stop it."
        )
        with locked(cache.folder, busy):
            cache.gather()  # the lists of killed jobs
            todo = cache.folder / "todo.jsonl"
            write_lines(todo, map(_to_line, missing))
            try:
                counted = self._run(cache, make, todo)
            finally:
                todo.unlink(missing_ok=True)
            reasons, unfinished = cache.problems(), cache.missing(missing)
            cache.gather()
        problems = [reasons.get(e.stem, f"{e.picture}: {_UNFINISHED}") for e in unfinished]
        tally = Tally(
            done=len(missing) - len(unfinished),
            broken=len(unfinished),
            read=counted.get("bytes_read", 0),
            written=counted.get("bytes_written", 0),
            seconds=counted.get("processor_microseconds", 0) / 1e6,
        )
        return Filled(tally, problems)

    def _run(self, cache: Cache, make: Make, todo: Path) -> dict[str, int]:
        """Runs the pipeline to its end; returns Beam's counts by name."""
        options = PipelineOptions(list(self.options))
        standard = options.view_as(StandardOptions)
        if standard.runner in (None, "DirectRunner", "SwitchingDirectRunner"):
            standard.runner = _DIRECT
        try:
            pipeline = beam.Pipeline(options=options)
        except (ValueError, ImportError) as error:  # unknown runner, or it needs another package
            raise EngineError(f"Beam cannot run with {' '.join(self.options)}: {error}") from None
        _ = (
            pipeline
            # The list is passed as a path, because runners limit the size of data in a pipeline.
            | "List" >> beam.Create([str(todo)])
            | "Pictures" >> beam.FlatMap(_lines)
            | "DealOut" >> beam.Reshuffle()
            | "Make" >> beam.ParDo(_MakeOne(cache, make))
        )
        _PROCESSOR.lap()  # in case this process is also the worker
        result = pipeline.run()
        state = result.wait_until_finish() or result.state
        if state != PipelineState.DONE:
            raise EngineError(
                f"{cache.folder}: the Beam job ended as {state}; check the runner's log and run "
                "the same command again to resume. Finished pictures are kept."
            )
        counters = result.metrics().query(MetricsFilter().with_namespace(_NAMESPACE))["counters"]
        return {counter.key.metric.name: counter.result for counter in counters}


class _MakeOne(beam.DoFn):
    """Makes pictures one after another, with its own list; has no output elements."""

    def __init__(self, cache: Cache, make: Make) -> None:
        self._cache, self._make = cache, make
        self._part: LineWriter | None = None

    def setup(self) -> None:
        # Threads of one worker that spin while they wait would slow the other workers. OpenMP reads
        # this setting when its first thread starts.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

    def process(self, line: dict[str, Any]) -> None:
        example = _from_line(line)
        try:
            if self._part is None:  # fails before any work if the worker does not see the folder
                self._part = self._cache.open_part()
            made = make_one(self._cache, self._make, example)
            self._write(made.line or self._cache.problem_line(example, made.problem))
        except OSError as error:
            made = Made(None, str(self._cache.unwritable(error)))
            logging.warning(shown(made.problem))
            with contextlib.suppress(OSError):  # the list itself may be what cannot be written
                self._write(self._cache.problem_line(example, made.problem))
        self._count(made)

    def teardown(self) -> None:
        if self._part is not None:
            self._part.close()

    def _write(self, line: dict[str, Any]) -> None:
        if self._part is not None:
            self._part.append(line)

    def _count(self, made: Made) -> None:
        counts = {
            "done": made.line is not None,
            "broken": made.line is None,
            "bytes_read": made.read,
            "bytes_written": made.written,
            "processor_microseconds": round(1e6 * _PROCESSOR.lap()),
        }
        for name, count in counts.items():
            Metrics.counter(_NAMESPACE, name).inc(int(count))


def _to_line(example: Example) -> dict[str, Any]:
    paths = {role: path and str(path.absolute()) for role, path in _paths(example).items()}
    return {"stem": example.stem, "published": example.published, **paths}


def _from_line(line: dict[str, Any]) -> Example:
    roles = line.keys() - {"stem", "published"}
    paths = {role: line[role] and Path(line[role]) for role in roles}
    return Example(stem=line["stem"], published=line["published"], **paths)


def _paths(example: Example) -> dict[str, Path | None]:
    return {role: getattr(example, role) for role in (*ROLES, "private")}


def _lines(todo: str) -> Iterator[dict[str, Any]]:
    yield from read_lines(Path(todo))
