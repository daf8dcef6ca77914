"""Filling a cache: the work of one picture, what it took, and the threads that do it here.

An engine takes what a cache lacks and has every picture made by `make_one`. Threads of this process
are one, `p3m_jax.derived.on_beam` is another; what they leave on disk is the same, bit for bit.
"""

import functools
import json
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

from p3m_jax.data.folders import DataSetError
from p3m_jax.data.layouts import Example
from p3m_jax.derived.cache import Cache
from p3m_jax.errors import UserError
from p3m_jax.runtime.machine import available_cores
from p3m_jax.text import say

_NAMED = 10  # broken pictures that an error names

# Writes the files of an example, each whole or not at all, and returns what shall be noted. Of a
# class rather than a closure where other processes are to do it.
Make = Callable[[Example, tuple[Path, ...]], dict[str, Any]]


class EngineError(UserError):
    """An engine that is not there, or cannot do its work; the message says what to do."""


class Made(NamedTuple):
    """What became of one picture.

    Attributes:
      line: of the finished picture, for the cache's list; None if it could not be made.
      problem: why it could not be, a sentence.
      read, written: bytes of the files that it was made from, and of those that were made.
    """

    line: dict[str, Any] | None
    problem: str = ""
    read: int = 0
    written: int = 0


class Tally(NamedTuple):
    """What filling a cache took; its text says it per picture, by which a cluster is sized.

    Attributes:
      done, skipped, broken: pictures that were made, that were there before, that cannot be made.
      read, written: bytes of those that were made.
      seconds: of processor, all threads together, with what starting them took.
    """

    done: int = 0
    skipped: int = 0
    broken: int = 0
    read: int = 0
    written: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        counts = f"{self.done} done, {self.skipped} were before, {self.broken} broken"
        if not self.done:
            return counts
        read, written = (total / self.done / 1e6 for total in (self.read, self.written))
        each = self.seconds / (self.done + self.broken)
        return (
            f"{counts}; a picture: {each:.2f} s of processor, {read:.3f} MB read, {written:.3f} MB "
            "written"
        )


class Filled(NamedTuple):
    """What an engine has done: the tally, and a sentence for every picture that cannot be made."""

    tally: Tally
    problems: list[str]


# Fills the cache with what these examples lack, with a bar where that is wanted and can be.
Engine = Callable[[Cache, Make, list[Example], bool], Filled]


def fill(
    cache: Cache,
    examples: Iterable[Example],
    make: Make,
    *,
    engine: Engine | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> int:
    """Makes what a cache lacks of these examples; returns how many pictures were made.

    Pictures that an earlier call finished, even one that was killed, are skipped.

    Args:
      make: writes the files of an example, whole or not at all, and returns its notes.
      engine: makes the pictures; by default `workers` threads of this process.
      progress: shows a bar, and at the end the cost of a picture.

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
            f"the others are done: {' '.join(broken[:_NAMED])}{more}"
        )
    return filled.tally.done


class Processor:
    """Counts this process's seconds of processor between calls, whichever threads call.

    With several pictures at a time a call may count what another picture took, and the sum is
    right: threads that the work starts by itself are in it, as no thread's own clock has them.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._before = time.process_time()

    def lap(self) -> float:
        """Seconds of processor since the last call."""
        with self._lock:
            now = time.process_time()
            spent, self._before = now - self._before, now
        return spent


def make_one(cache: Cache, make: Make, example: Example) -> Made:
    """Makes the files of one picture, and its line for the cache's list; what all engines call.

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


def by_threads(workers: int | None = None) -> Engine:
    """The engine of this process: so many threads (default: one per core)."""
    return functools.partial(_fill_by_threads, workers or available_cores())


def _fill_by_threads(
    workers: int, cache: Cache, make: Make, missing: list[Example], progress: bool
) -> Filled:
    """Writes each line as soon as its picture is finished, so that a kill loses those at work.

    Raises `DataSetError` at once if the cache cannot be written.
    """
    made, processor = [], Processor()
    with (
        _bar(len(missing), cache.what, progress) as bar,
        ThreadPoolExecutor(workers) as pool,
        cache.sources_file.open("a", encoding="utf-8") as lines,
    ):
        futures = [pool.submit(make_one, cache, make, example) for example in missing]
        try:
            for future in as_completed(futures):
                made.append(future.result())
                if made[-1].line is not None:
                    lines.write(json.dumps(made[-1].line) + "\n")
                    lines.flush()
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


def _bar(total: int, what: str, progress: bool):
    from tqdm import tqdm

    return tqdm(total=total, desc=what, unit="picture", disable=not progress)
