"""Matting many pictures: threads decode and write while the network runs.

Pictures go through in the order of the plan. A picture that cannot be done is noted and the others
go on; a disk that cannot be written to ends the run. What is on its way is bounded by a `Budget`.
"""

import contextlib
import errno
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from p3m_jax.errors import UserError
from p3m_jax.images import ImageError, open_picture
from p3m_jax.prediction.manifest import FAILED, Entry, Manifest
from p3m_jax.prediction.mattes import find_given, read_given
from p3m_jax.prediction.matting import Matte, within_opacity
from p3m_jax.prediction.memory import BASE, Budget, picture_memory, pictures_memory
from p3m_jax.prediction.outputs import Writing, judge, needs_colours, write_outputs
from p3m_jax.prediction.pictures import Picture, digest, read
from p3m_jax.prediction.plan import Job

# What one picture may raise without ending the run; OpenCV has an error of its own for memory.
_MISHAPS = (UserError, OSError, MemoryError, cv2.error)
# Nothing more can be written at all, so the next pictures need not be tried.
_FATAL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}


@dataclass
class Outcome:
    """What became of a run.

    Attributes:
      done: pictures matted now.
      skipped: pictures that were done already.
      failed: (file, reason) of those that could not be done.
      warnings: (file, sentence).
      network_seconds: in the network, compiling included.
      stopped: why the run ended before all pictures were tried, or None.
      interrupted: it ended by Ctrl-C or a signal.
    """

    done: int = 0
    skipped: int = 0
    failed: list[tuple[Path, str]] = field(default_factory=list)
    warnings: list[tuple[Path, str]] = field(default_factory=list)
    network_seconds: float = 0.0
    stopped: str | None = None
    interrupted: bool = False


@dataclass(frozen=True)
class _Loaded:
    """A picture on its way; `matte` where it is given, `made`: kinds to be written, and how."""

    picture: Picture
    made: dict[str, Entry]
    matte: Matte | None
    seconds: float


class Run:
    """One run over the jobs of a plan; `start` does it.

    Args:
      manifest: of the output folder.
      settings: by kind, what its outputs depend on.
      notes: what else the manifest is to tell about each picture.
      make_matte: gives the matte of an RGB uint8 (H, W, 3); None where mattes are given.
      mattes: the folder of given mattes, in the tree and with the names of the pictures.
      writing: how outputs are written.
      memory: bytes for everything.
      workers: threads that decode, and as many that write.
      overwrite: replace outputs of other settings or an earlier state of the picture.
    """

    def __init__(
        self,
        manifest: Manifest,
        settings: dict[str, dict[str, Any]],
        *,
        notes: dict[str, Any],
        make_matte: Callable[[np.ndarray], Matte] | None,
        mattes: Path | None,
        writing: Writing,
        memory: int,
        workers: int,
        overwrite: bool,
    ):
        self._manifest, self._settings, self._notes = manifest, settings, notes
        self._make_matte, self._mattes = make_matte, mattes
        self._writing, self._overwrite = writing, overwrite
        self._workers = workers
        self._memory = memory
        self.outcome = Outcome()

    def start(self, jobs: Sequence[Job], *, progress: bool = True) -> Outcome:
        """Does the jobs; returns also when it was interrupted or the disk is full."""
        from tqdm import tqdm

        loaders, writers = (ThreadPoolExecutor(self._workers) for _ in range(2))
        with tqdm(total=len(jobs), unit="picture", disable=not progress) as bar:
            self._bar = bar
            self._written: deque[Future] = deque()
            try:
                self._go_through(jobs, loaders, writers)
            except KeyboardInterrupt:
                self.outcome.interrupted = True
            except _DiskError as error:
                self.outcome.stopped = str(error)
            finally:
                loaders.shutdown(wait=False, cancel_futures=True)
                writers.shutdown(wait=True)
        while self._written:  # what was finished while the run was ending
            try:
                self._collect()
            except _DiskError as error:
                self.outcome.stopped = str(error)
        return self.outcome

    def _go_through(self, jobs, loaders, writers) -> None:
        budget = Budget(pictures_memory(self._memory), pictures=2 * self._workers + 2)
        waiting, loading = deque(jobs), deque()
        while waiting or loading:
            while waiting and len(loading) <= self._workers:
                needed = _memory_of(waiting[0])
                if not budget.try_take(needed):
                    break
                job = waiting.popleft()
                loading.append((job, needed, loaders.submit(self._load, job, needed)))
            while self._written and self._written[0].done():
                self._collect()
            if not loading:
                budget.wait(0.2)  # for a picture to be written
                continue
            job, needed, future = loading.popleft()
            matted = self._matted(job, future)
            if matted is None:
                budget.give_back(needed)
                continue
            future = writers.submit(self._finish, job, *matted)
            future.add_done_callback(lambda _, needed=needed: budget.give_back(needed))
            self._written.append(future)
            del matted, future
        while self._written:
            self._collect()

    def _collect(self) -> None:
        """Waits for the picture that was first given to be written, and counts it."""
        written = self._written.popleft().result()
        if written is not None:
            self.outcome.done += 1
            self.outcome.warnings += written

    def _load(self, job: Job, needed: int) -> _Loaded | None:
        """Reads a picture, in a thread; None if it is done already."""
        started = time.perf_counter()
        if needed > self._memory - BASE:
            raise ImageError(
                f"{job.source}: takes about {(needed + BASE) / 1e9:.1f} GB; allow more with "
                "--max-memory, or shrink it."
            )
        with open_picture(job.source):  # a pipe would never come to its end
            pass
        digests = {"sha256": digest(job.source)}
        given = None
        if self._mattes is not None:
            given = find_given(self._mattes, job)
            digests["matte_sha256"] = digest(given)
        made = self._to_make(job, digests)
        if not made:
            return None
        picture = read(job.source)
        matte = read_given(given, picture.pixels.shape[:2]) if given is not None else None
        return _Loaded(picture, made, matte, time.perf_counter() - started)

    def _to_make(self, job: Job, digests: dict[str, str]) -> dict[str, Entry]:
        """The kinds of outputs that are not there as they should be, and how to make them."""
        made = {}
        for kind in job.outputs:
            written = self._manifest.written(job, kind)
            wanted = {**digests, "settings": self._settings[kind]}
            if written == wanted:
                continue
            same = not written or all(written.get(name) == digests[name] for name in digests)
            if not same and not self._overwrite:
                raise ImageError(
                    f"{job.source}: has changed since it was matted; say --overwrite to do it "
                    "again."
                )
            made[kind] = wanted
        return made

    def _matted(self, job: Job, future: Future) -> tuple[_Loaded, Matte, float] | None:
        """A loaded picture with its matte; None where there is nothing to write."""
        started = time.perf_counter()
        try:
            loaded = future.result()
            if loaded is None:
                self._skip(job)
                return None
            started = time.perf_counter()
            matte = loaded.matte or self._make_matte(loaded.picture.pixels)
        except _MISHAPS as error:
            self._fail(job, error)
            return None
        seconds = time.perf_counter() - started
        if loaded.matte is None:
            self.outcome.network_seconds += seconds
        return loaded, matte, seconds

    def _finish(
        self, job: Job, loaded: _Loaded, matte: Matte, seconds: float
    ) -> list[tuple[Path, str]] | None:
        """Writes the outputs of a picture, in a thread; returns its warnings, None if it failed."""
        started = time.perf_counter()
        try:
            self._manifest.start(job, loaded.made)
            alpha = within_opacity(matte.alpha, loaded.picture.opacity)
            transition, found = judge(alpha)
            files = {kind: self._manifest.folder / job.outputs[kind] for kind in loaded.made}
            lost = write_outputs(loaded.picture, alpha, files, self._writing)
            warnings = [*loaded.picture.warnings, *matte.warnings, *found, *lost]
            total = loaded.seconds + seconds + time.perf_counter() - started
            self._manifest.finish(
                job,
                loaded.made,
                size=list(alpha.shape[::-1]),
                network_sizes={name: size[::-1] for name, size in matte.network_sizes.items()},
                transition=round(transition, 5),
                warnings=warnings,
                seconds=round(total, 3),
                network_seconds=round(seconds, 3),
                **self._notes,
            )
        except _MISHAPS as error:
            if getattr(error, "errno", None) in _FATAL:
                raise _DiskError(f"{error.filename or job.source}: {error.strerror}") from None
            self._fail(job, error)
            return None
        self._bar.update()
        return [(job.source, sentence) for sentence in warnings]

    def _skip(self, job: Job) -> None:
        """Counts a picture that is done, also if it could not be read in between."""
        if self._manifest.entry(job).get("status") == FAILED:
            with _disk_errors(self._manifest.folder):
                self._manifest.finish(job)
        self.outcome.skipped += 1
        self._bar.update()

    def _fail(self, job: Job, error: Exception) -> None:
        reason = str(error)
        if isinstance(error, OSError) and error.filename:
            reason = f"{error.filename}: {error.strerror}"
        elif isinstance(error, MemoryError) or getattr(error, "code", 0) == cv2.Error.StsNoMem:
            reason = f"{job.source}: takes more memory than there is."
        elif str(job.source) not in reason:
            reason = f"{job.source}: {reason}"
        self.outcome.failed.append((job.source, reason))
        with _disk_errors(self._manifest.folder):
            self._manifest.fail(job, reason)
        self._bar.update()


@contextlib.contextmanager
def _disk_errors(folder: Path):
    """Whatever keeps the manifest from being written ends the run."""
    try:
        yield
    except OSError as error:
        raise _DiskError(f"{error.filename or folder}: {error.strerror}") from None


class _DiskError(Exception):
    """Nothing can be written any more."""


def _memory_of(job: Job) -> int:
    try:
        with open_picture(job.source) as image:
            pixels = image.width * image.height
    except _MISHAPS:  # said when it is loaded
        pixels = 0
    return picture_memory(pixels, colours=needs_colours(job.outputs))
