"""Matting as the work of a run over a collection: from a picture to its outputs."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from p3m_jax.inference.matting import Matte, within_opacity
from p3m_jax.jobs.given import find_given
from p3m_jax.jobs.memory import picture_memory
from p3m_jax.jobs.plan import Job
from p3m_jax.pictures.photos import Picture, read
from p3m_jax.prediction.mattes import AT_ONCE, read_given
from p3m_jax.prediction.outputs import Writing, judge, needs_colours, write_outputs


@dataclass
class MattingWork:
    """A `Work` of `p3m_jax.jobs.work`.

    Attributes:
      writing: how outputs are written.
      make_matte: gives the matte of an RGB uint8 (H, W, 3); None where mattes are given.
      mattes: the folder of given mattes, in the tree and with the names of the pictures.
      notes: what else the manifest is to tell about each picture.
      at_once: pictures that `make_matte` may be at.
    """

    writing: Writing
    make_matte: Callable[[np.ndarray], Matte] | None = None
    mattes: Path | None = None
    notes: dict[str, Any] = field(default_factory=dict)
    done: str = "matted"
    at_once: int = AT_ONCE
    needed_once: tuple[str, ...] = ()

    def given(self, job: Job) -> dict[str, Path]:
        """The given matte."""
        return {} if self.mattes is None else {"matte": find_given(self.mattes, job)}

    def memory(self, job: Job, pixels: int) -> int:
        """Bytes that a picture takes on its way."""
        return picture_memory(pixels, colours=needs_colours(job.outputs))

    def load(self, job: Job, given: dict[str, Path]) -> tuple[Picture, Matte | None]:
        """The picture, and its matte where it is given."""
        picture = read(job.source)
        size = picture.pixels.shape[:2]
        return picture, read_given(given["matte"], size) if "matte" in given else None

    def compute(self, loaded: tuple[Picture, Matte | None]) -> tuple[Picture, Matte, float]:
        """The picture with its matte, and the seconds that it took."""
        picture, matte = loaded
        if matte is not None:
            return picture, matte, 0.0
        started = time.perf_counter()
        matte = self.make_matte(picture.in_srgb())
        return picture, matte, time.perf_counter() - started

    def write(
        self, job: Job, computed: tuple[Picture, Matte, float], files: dict[str, Path]
    ) -> tuple[list[str], dict[str, Any]]:
        """Writes the outputs; returns warnings, and what the manifest is to tell."""
        picture, matte, seconds = computed
        alpha = within_opacity(matte.alpha, picture.opacity)
        transition, found = judge(alpha)
        lost = write_outputs(picture, alpha, files, self.writing)
        return [*picture.warnings, *matte.warnings, *found, *lost], {
            "size": list(alpha.shape[::-1]),
            "network_sizes": {name: size[::-1] for name, size in matte.network_sizes.items()},
            "transition": round(transition, 5),
            "network_seconds": round(seconds, 3),
            **self.notes,
        }
