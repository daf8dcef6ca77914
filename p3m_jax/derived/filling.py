"""Fills a cache: makes the derived files of the pictures that it lacks.

An engine is a function that gets these pictures and calls `make_one` for each of them. There are
two engines: `by_threads` uses threads of this process, and `p3m_jax.derived.on_beam` uses Apache
Beam. Both write the same files, bit for bit.
"""

import functools
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

from p3m_jax.data.folders import DataSetError
from p3m_jax.derived.cache import Cache, P
from p3m_jax.errors import UserError
from p3m_jax.runtime.machine import available_cores
from p3m_jax.storage.json_lines import LineWriter
from p3m_jax.text import say

_NAMED = 10  # number of broken pictures that an error names

# Writes the files of an example, each completely or not at all, and returns notes for the list. If
# other processes call it, it must be an instance of a class rather than a closure.
Make = Callable[[P, tuple[Path, ...]], dict[str, Any]]


class EngineError(UserError):
    """An engine does not exist or cannot do its work; the message gives the remedy."""


class Made(NamedTuple):
    """The result of `make_one` for one picture.

    Attributes:
      line: the picture's line in the cache's list of finished pictures; None if it failed.
      problem: the reason for the failure, a sentence; "" if the picture is finished.
      read: bytes of the source files.
      written: bytes of the derived files.
    """

    line: dict[str, Any] | None
    problem: str = ""
    read: int = 0
    written: int = 0


class Tally(NamedTuple):
    """The cost of filling a cache.

    `str` returns the counts, and the cost per picture, from which users can plan a cluster.

    Attributes:
      done: number of pictures whose files were made.
      skipped: number of pictures that were already finished.
      broken: number of pictures that failed.
      read, written: bytes read and written for the pictures in `done`.
      seconds: processor seconds of all threads together, including the time to start them.
    """

    done: int = 0
    skipped: int = 0
    broken: int = 0
    read: int = 0
    written: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        counts = f"{self.done} done, {self.skipped} skipped, {self.broken} broken"
        if not self.done:
            return counts
        read, written = (total / self.done / 1e6 for total in (self.read, self.written))
        each = self.seconds / (self.done + self.broken)
        return (
            f"{counts}; per picture: {each:.2f} processor seconds, {read:.3f} MB read, "
            f"{written:.3f} MB written"
        )


class Filled(NamedTuple):
    """The result of filling a cache: the cost, and a sentence for each picture that failed."""

    tally: Tally
    problems: list[str]


# Fills the cache with the files that these examples lack. Last argument: show a progress bar.
Engine = Callable[[Cache, Make[P], list[P], bool], Filled]


def fill(
    cache: Cache,
    examples: Iterable[P],
    make: Make[P],
    *,
    engine: Engine[P] | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> int:
    """Makes the files that a cache lacks for these examples; returns how many pictures were made.

    Pictures that an earlier call finished are skipped, even if that call was killed.

    Args:
      make: called with an example and the paths of its files. Writes each file completely or not at
        all, and returns the picture's notes, see `Cache.notes`.
      engine: calls `make` for each missing picture; by default in `workers` threads of this
        process.
      progress: shows a bar, and at the end the cost per picture.

    Raises:
      DataSetError: at once if the cache cannot be used; at the end, when all others are done, if
        some pictures could not be made.
    """
    examples = list(examples)
    missing = cache.missing(examples)
    if not missing:
        return 0
    cache.make_folders()
    filled = (engine or by_threads(workers))(cache, make, missing, progress)
    if progress:
        tally = filled.tally._replace(skipped=len(examples) - len(missing))
        say(f"{cache.what} {cache.made}: {tally}.")
    if filled.problems:
        broken = sorted(set(filled.problems))
        more = f" (and {len(broken) - _NAMED} more)" if len(broken) > _NAMED else ""
        raise DataSetError(
            f"{len(filled.problems)} of {len(missing)} {cache.what} could not be {cache.made}, "
            f"the others are done. {' '.join(broken[:_NAMED])}{more}"
        )
    return filled.tally.done


class Processor:
    """Measures the processor time of this process between calls of `lap`.

    Any thread may call `lap`. The result also includes the time of other threads, but the sum of
    all results is correct. Threads that libraries start are included, unlike with a per-thread
    clock.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._before = time.process_time()

    def lap(self) -> float:
        """Returns the processor seconds since the last call by any thread."""
        with self._lock:
            now = time.process_time()
            spent, self._before = now - self._before, now
        return spent


def make_one(cache: Cache, make: Make[P], example: P) -> Made:
    """Makes the files of one picture, and its line for the cache's list of finished pictures.

    The line is returned, not written. A `UserError` is not raised: its message is returned as
    `problem`.

    Raises:
      OSError: the cache cannot be written.
    """
    try:
        source = cache.source(example)
        notes = make(example, cache.paths(example.stem))
    except UserError as error:
        return Made(None, str(error))
    read = sum(size or 0 for name, size in source.items() if name.endswith("_bytes"))
    written = sum(path.stat().st_size for path in cache.paths(example.stem))
    return Made(cache.line(source, notes), read=read, written=written)


def by_threads(workers: int | None = None) -> Engine[P]:
    """Returns an engine that uses threads of this process.

    An engine is the argument of `fill` that makes the missing files. `workers` is the number of
    threads; None means one per core.
    """
    return functools.partial(_fill_by_threads, workers or available_cores())


def _fill_by_threads(
    workers: int, cache: Cache, make: Make[P], missing: list[P], progress: bool
) -> Filled:
    """Makes the missing pictures in threads.

    Each line is written as soon as its picture is finished, so a kill loses only unfinished ones.
    Raises `DataSetError` at once if the cache cannot be written.
    """
    made, processor = [], Processor()
    with (
        _bar(len(missing), cache.what, progress) as bar,
        ThreadPoolExecutor(workers) as pool,
        LineWriter(cache.sources_file) as lines,
    ):
        futures = [pool.submit(make_one, cache, make, example) for example in missing]
        try:
            for future in as_completed(futures):
                made.append(future.result())
                if made[-1].line is not None:
                    lines.append(made[-1].line)
                bar.update()
        except OSError as error:
            raise cache.unwritable(error) from error
        finally:
            pool.shutdown(cancel_futures=True)
    problems = [one.problem for one in made if one.line is None]
    tally = Tally(
        done=len(made) - len(problems),
        broken=len(problems),
        read=sum(one.read for one in made),
        written=sum(one.written for one in made),
        seconds=processor.lap(),
    )
    return Filled(tally, problems)


def _bar(total: int, what: str, progress: bool) -> Any:
    from tqdm import tqdm

    return tqdm(total=total, desc=what, unit="picture", disable=not progress)
