"""Processes many pictures: reads and writes some of them while others are computed.

Pictures are started in the order given to `Run.start`. If a picture cannot be processed, or the
user has to review it first, the run records this and continues. If the disk cannot be written to,
the run ends. A `Budget` limits the memory of the pictures that are processed at the same time.
"""

import contextlib
import errno
import functools
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from p3m_jax.errors import UserError
from p3m_jax.jobs.manifest import FAILED, WAITING, Entry, Manifest
from p3m_jax.jobs.memory import BASE, pictures_memory
from p3m_jax.jobs.plan import Job
from p3m_jax.jobs.work import JobOutcome, NeedsReview, Work
from p3m_jax.pictures.images import ImageError, open_picture
from p3m_jax.pictures.photos import digest
from p3m_jax.runtime.machine import Budget

# Errors of one picture that do not end the run; OpenCV has its own error for lack of memory.
_MISHAPS = (UserError, OSError, MemoryError, cv2.error)
# Errors after which nothing more can be written, so the next pictures are not tried.
_FATAL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}


@dataclass(frozen=True)
class _Loaded:
    """A picture that has been read.

    `made` holds the kinds of outputs to write, each with its inputs and settings.
    """

    value: Any
    made: dict[str, Entry]
    seconds: float


class Run:
    """One run over many pictures; call `start` to begin.

    Args:
      manifest: the output folder's list of pictures already processed.
      settings: {kind of output: the settings that it depends on}.
      work: the work to do for each picture.
      memory: memory in bytes for the whole run.
      workers: the number of threads that read, and also the number of threads that write.
      overwrite: whether to process a picture again if the picture, or the user's matte or mask for
        it, has changed since the outputs were made. If False, such a picture fails. Outputs that
        were made with other settings are replaced in both cases.
    """

    def __init__(
        self,
        manifest: Manifest,
        settings: dict[str, dict[str, Any]],
        work: Work,
        *,
        memory: int,
        workers: int,
        overwrite: bool,
    ) -> None:
        self._manifest, self._settings, self._work = manifest, settings, work
        self._overwrite, self._workers, self._memory = overwrite, workers, memory
        self._tried: set[Path] = set()
        self.outcome = JobOutcome()

    def start(self, jobs: Sequence[Job], *, progress: bool = True) -> JobOutcome:
        """Processes the pictures of `jobs` and returns the outcome.

        A Ctrl-C or a full disk ends the run early, without an exception. The outcome then says why
        the run ended.
        """
        from tqdm import tqdm

        loaders, writers = (ThreadPoolExecutor(self._workers) for _ in range(2))
        computers = ThreadPoolExecutor(self._work.at_once)
        with tqdm(total=len(jobs), unit="picture", disable=not progress) as bar:
            self._bar = bar
            self._under_way: deque[Future] = deque()
            try:
                self._go_through(jobs, loaders, computers, writers)
            except KeyboardInterrupt:
                self.outcome.interrupted = True
            except _DiskError as error:
                self.outcome.stopped = str(error)
            finally:
                if self._under_way:
                    bar.set_description("Stopping after the pictures that are being computed")
                loaders.shutdown(wait=False, cancel_futures=True)
                computers.shutdown(cancel_futures=True)
                writers.shutdown()  # waits until everything that was computed is written
        while self._under_way:  # counts pictures that were finished while the run was ending
            try:
                self._collect()
            except _DiskError as error:
                self.outcome.stopped = str(error)
        return self.outcome

    def _go_through(
        self,
        jobs: Iterable[Job],
        loaders: ThreadPoolExecutor,
        computers: ThreadPoolExecutor,
        writers: ThreadPoolExecutor,
    ) -> None:
        budget = Budget(pictures_memory(self._memory), pictures=2 * self._workers + 2)

        def give_back(amount: int, _: Future[JobOutcome]) -> None:
            budget.give_back(amount)

        for job in jobs:
            needed = self._memory_of(job)
            while not budget.try_take(needed):
                self._collect(wait=False)
                budget.wait(0.2)  # until a picture is written
            # Each stage waits for the previous one, and gets the pictures in this order.
            loading = loaders.submit(self._load, job, needed)
            computing = computers.submit(self._compute, job, loading)
            writing = writers.submit(self._finish, job, computing)
            writing.add_done_callback(functools.partial(give_back, needed))
            self._under_way.append(writing)
            del loading, computing, writing  # they keep the picture in memory
            self._collect(wait=False)
        while self._under_way:
            self._collect()

    def _collect(self, *, wait: bool = True) -> None:
        """Counts the pictures that are finished; with `wait`, waits for the first one."""
        while self._under_way and (wait or self._under_way[0].done()):
            wait = False
            # Waits before removing the picture, so that an interrupt does not lose it.
            futures.wait([self._under_way[0]])
            try:
                picture = self._under_way.popleft().result()
            except futures.CancelledError:  # it was not started, or not computed
                continue
            self.outcome.add(picture)
            self._bar.update()

    def _load(self, job: Job, needed: int) -> _Loaded | None:
        """Reads a picture, in a thread; returns None if it is already done."""
        started = time.perf_counter()
        if needed > self._memory - BASE:
            raise ImageError(
                f"{job.source}: needs about {(needed + BASE) / 1e9:.1f} GB of memory; allow more "
                "with --max-memory, or shrink the picture."
            )
        if job.refused:
            raise ImageError(job.refused)
        with open_picture(job.source):  # refuses a pipe, which the digest would read forever
            pass
        given = self._work.given(job)
        digests = {"sha256": digest(job.source)}
        digests |= {f"{name}_sha256": digest(file) for name, file in given.items()}
        made = self._to_make(job, digests)
        if not made:
            return None
        self._tried.add(job.source)
        return _Loaded(self._work.load(job, given), made, time.perf_counter() - started)

    def _to_make(self, job: Job, digests: dict[str, str]) -> dict[str, Entry]:
        """Returns the inputs and settings, by kind, of outputs that are missing or differ."""
        wanted = {kind: {**digests, "settings": self._settings[kind]} for kind in job.outputs}
        written = {kind: self._manifest.written(job, kind) or {} for kind in job.outputs}
        left_out = {
            name: key
            for name in self._work.needed_once
            if (key := f"{name}_sha256") not in digests and any(key in w for w in written.values())
        }
        if all(_without(written[kind], left_out.values()) == wanted[kind] for kind in job.outputs):
            return {}
        if left_out:  # without the mask, a face that it hid could become visible
            raise ImageError(
                f"{job.source}: was {self._work.done} with a {' and a '.join(left_out)} that is "
                "missing now; provide it again, or delete the outputs of this picture."
            )
        made = {kind: how for kind, how in wanted.items() if written[kind] != how}
        others = (_without(written[kind], ["settings"]) for kind in made if written[kind])
        if not self._overwrite and any(other != digests for other in others):
            raise ImageError(
                f"{job.source}: the picture, or a file provided for it, has changed since it was "
                f"{self._work.done}; use --overwrite to do it again."
            )
        return made

    def _compute(self, job: Job, loading: Future) -> tuple[_Loaded, Any, float] | JobOutcome:
        """Computes a picture's results; returns its outcome if there is nothing to write.

        Otherwise returns the loaded picture, the results, and the seconds that it took.
        """
        try:
            loaded = loading.result()
            if loaded is None:
                return self._skip(job)
            started = time.perf_counter()
            computed = self._work.compute(loaded.value)
        except _MISHAPS as error:
            return self._fail(job, error)
        finally:
            del loading  # otherwise its error would keep this frame and the picture in memory
        return loaded, computed, time.perf_counter() - started

    def _finish(self, job: Job, computing: Future) -> JobOutcome:
        """Writes the outputs of a picture, in a thread."""
        result = computing.result()
        if isinstance(result, JobOutcome):
            return result
        loaded, computed, seconds = result
        started = time.perf_counter()
        try:
            self._manifest.start(job, loaded.made)
            files = {kind: self._manifest.folder / job.outputs[kind] for kind in loaded.made}
            warnings, notes = self._work.write(job, computed, files)
            total = loaded.seconds + seconds + time.perf_counter() - started
            self._manifest.finish(
                job, loaded.made, warnings=warnings, seconds=round(total, 3), **notes
            )
        except _MISHAPS as error:
            if isinstance(error, OSError) and error.errno in _FATAL:
                raise _DiskError(f"{error.filename or job.source}: {error.strerror}") from None
            return self._fail(job, error)
        return JobOutcome(
            done=1, tried=1, warnings=[(job.source, sentence) for sentence in warnings]
        )

    def _memory_of(self, job: Job) -> int:
        try:
            with open_picture(job.source) as image:
                pixels = image.width * image.height
        except _MISHAPS:  # reported when the picture is loaded
            pixels = 0
        return self._work.memory(job, pixels)

    def _skip(self, job: Job) -> JobOutcome:
        """Returns the outcome of a picture that is already done.

        If a later attempt failed or the picture waited for review, the manifest is corrected.
        """
        if self._manifest.entry(job).get("status") in (FAILED, WAITING):
            with _disk_errors(self._manifest.folder):
                self._manifest.finish(job)
        return JobOutcome(skipped=1)

    def _fail(self, job: Job, error: Exception) -> JobOutcome:
        tried = int(job.source in self._tried)
        if isinstance(error, NeedsReview):
            with _disk_errors(self._manifest.folder):
                self._manifest.wait(job, error.reasons)
            return JobOutcome(tried=tried, waiting=[(job.source, error.reasons)])
        reason = str(error)
        if isinstance(error, OSError) and error.filename:
            reason = f"{error.filename}: {error.strerror}"
        elif isinstance(error, MemoryError) or getattr(error, "code", 0) == cv2.Error.StsNoMem:
            reason = f"{job.source}: needs more memory than is available."
        elif str(job.source) not in reason:
            reason = f"{job.source}: {reason}"
        with _disk_errors(self._manifest.folder):
            self._manifest.fail(job, reason)
        return JobOutcome(tried=tried, failed=[(job.source, reason)])


def _without(entry: Entry, names: Iterable[str]) -> Entry:
    return {name: value for name, value in entry.items() if name not in names}


@contextlib.contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    """Turns an error in writing the manifest into one that ends the run."""
    try:
        yield
    except OSError as error:
        raise _DiskError(f"{error.filename or folder}: {error.strerror}") from None


class _DiskError(Exception):
    """Nothing more can be written to the disk."""
