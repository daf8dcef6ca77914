"""Matting many pictures: threads decode and write while the network runs.

Pictures go through in the order of the plan. A picture that cannot be done is noted and the others
go on; a disk that cannot be written to ends the run. What is on its way is bounded by a `Budget`.
"""

import errno
import hashlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from p3m_jax.errors import UserError
from p3m_jax.images import ImageError, open_picture, read_alpha
from p3m_jax.prediction.manifest import DONE, FAILED, STARTED, Manifest
from p3m_jax.prediction.matting import Matte, Matting, within_opacity
from p3m_jax.prediction.memory import (
    BASE,
    Budget,
    network_memory,
    picture_memory,
    pictures_memory,
)
from p3m_jax.prediction.outputs import Writing, judge, needs_colours, write_outputs
from p3m_jax.prediction.pictures import Picture, read
from p3m_jax.prediction.plan import Job

_MATTE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")
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
    """A picture on its way; `matte` where it is given, `kinds` that are to be written."""

    picture: Picture
    digests: dict[str, str]
    kinds: tuple[str, ...]
    matte: Matte | None
    seconds: float


class Run:
    """One run over the jobs of a plan; `start` does it.

    Args:
      manifest: of the output folder.
      settings: what the outputs depend on, for the manifest.
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
        settings: dict[str, Any],
        *,
        make_matte: Callable[[np.ndarray], Matte] | None,
        mattes: Path | None,
        writing: Writing,
        memory: int,
        workers: int,
        overwrite: bool,
    ):
        self._manifest, self._settings = manifest, settings
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
        matte_file = None
        if self._mattes is not None:
            matte_file = _find_matte(self._mattes, job)
            digests["matte_sha256"] = digest(matte_file)
        kinds = self._kinds_to_write(job, digests)
        if not kinds:
            return None
        picture, matte = read(job.source), None
        if matte_file is not None:
            matte = Matte(read_alpha(matte_file), {})
            if matte.alpha.shape != picture.pixels.shape[:2]:
                raise ImageError(
                    "{}: is {} x {}, its picture {} x {}; replace the wrong one.".format(
                        matte_file, *matte.alpha.shape[::-1], *picture.pixels.shape[1::-1]
                    )
                )
        return _Loaded(picture, digests, kinds, matte, time.perf_counter() - started)

    def _kinds_to_write(self, job: Job, digests: dict[str, str]) -> tuple[str, ...]:
        entry, existing = self._manifest.entry(job), self._manifest.existing(job)
        if not existing or entry is None:
            return tuple(job.outputs)
        same = all(entry.get(name) == value for name, value in digests.items())
        if not same and not self._overwrite:
            raise ImageError(
                f"{job.source}: has changed since it was matted; say --overwrite to do it again."
            )
        if same and entry["settings"] == self._settings and entry["status"] == DONE:
            return tuple(kind for kind in job.outputs if kind not in existing)
        return tuple(job.outputs)

    def _matted(self, job: Job, future: Future) -> tuple[_Loaded, Matte, float] | None:
        """A loaded picture with its matte; None where there is nothing to write."""
        started = time.perf_counter()
        try:
            loaded = future.result()
            if loaded is None:
                self.outcome.skipped += 1
                self._bar.update()
                return None
            started = time.perf_counter()
            matte = loaded.matte or self._make_matte(loaded.picture.pixels)
        except (UserError, OSError, MemoryError) as error:
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
        alpha = within_opacity(matte.alpha, loaded.picture.opacity)
        transition, found = judge(alpha)
        warnings = [*loaded.picture.warnings, *matte.warnings, *found]
        height, width = alpha.shape
        values = {
            **loaded.digests,
            "settings": self._settings,
            "outputs": {kind: str(path) for kind, path in job.outputs.items()},
        }
        try:
            self._manifest.record(job, STARTED, **values)
            write_outputs(
                loaded.picture,
                alpha,
                {kind: self._manifest.folder / job.outputs[kind] for kind in loaded.kinds},
                self._writing,
            )
            total = loaded.seconds + seconds + time.perf_counter() - started
            self._manifest.record(
                job,
                DONE,
                **values,
                size=[width, height],
                network_sizes={name: size[::-1] for name, size in matte.network_sizes.items()},
                transition=round(transition, 5),
                warnings=warnings,
                seconds=round(total, 3),
                network_seconds=round(seconds, 3),
            )
        except (UserError, OSError) as error:
            if getattr(error, "errno", None) in _FATAL:
                raise _DiskError(f"{error.filename or job.source}: {error.strerror}") from None
            self._fail(job, error, **values)
            return None
        self._bar.update()
        return [(job.source, sentence) for sentence in warnings]

    def _fail(self, job: Job, error: Exception, **values) -> None:
        reason = str(error)
        if isinstance(error, OSError) and error.filename:
            reason = f"{error.filename}: {error.strerror}"
        elif isinstance(error, MemoryError):
            reason = f"{job.source}: takes more memory than there is."
        elif str(job.source) not in reason:
            reason = f"{job.source}: {reason}"
        # What is known of outputs that are there stays known.
        before = self._manifest.entry(job) if self._manifest.existing(job) else None
        kept = {name: before[name] for name in ("sha256", "matte_sha256") if name in (before or {})}
        known = {
            **kept,
            "settings": before["settings"] if before else self._settings,
            "outputs": before["outputs"] if before else {},
            **values,
        }
        self.outcome.failed.append((job.source, reason))
        try:
            self._manifest.record(job, FAILED, **known, reason=reason)
        except OSError as full:
            raise _DiskError(f"{full.filename or self._manifest.folder}: {full.strerror}") from None
        self._bar.update()


class _DiskError(Exception):
    """Nothing can be written any more."""


def _memory_of(job: Job) -> int:
    try:
        with open_picture(job.source) as image:
            pixels = image.width * image.height
    except (UserError, OSError):  # said when it is loaded
        pixels = 0
    return picture_memory(pixels, colours=needs_colours(job.outputs))


def _find_matte(folder: Path, job: Job) -> Path:
    names = dict.fromkeys([job.name, job.name.with_name(job.source.stem)])
    for name in names:
        for ending in _MATTE_ENDINGS:
            path = folder / f"{name}{ending}"
            if path.is_file():
                return path
    raise ImageError(f"{folder / job.name}.png: there is no such matte for {job.source}; add it.")


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def by_network(matting: Matting, *, strategy: str, exact_sizes: bool, memory: int):
    """A `make_matte` for `Run` whose `memory`, in bytes, an accelerator need not share."""
    device = jax.local_devices()[0]
    own = None
    if device.platform != "cpu":
        statistics = device.memory_stats() or {}
        own = statistics.get("bytes_limit", 0) - statistics.get("bytes_in_use", 0) or None

    def make_matte(pixels: np.ndarray) -> Matte:
        bound = own
        if device.platform == "cpu":
            bound = network_memory(memory, pixels.shape[0] * pixels.shape[1])
        return matting.matte(pixels, strategy=strategy, exact_sizes=exact_sizes, memory=bound)

    return make_matte
