"""Defines `MattingWork`, which makes the outputs of each picture of a run."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from p3m_jax.inference.matting import Matte, within_opacity
from p3m_jax.jobs.given import find_given
from p3m_jax.jobs.plan import Job
from p3m_jax.pictures.photos import Picture, read
from p3m_jax.prediction.mattes import AT_ONCE, read_given
from p3m_jax.prediction.memory import matting_memory
from p3m_jax.prediction.outputs import Writing, judge, needs_colours, write_outputs


@dataclass
class MattingWork:
    """Computes the matte of each picture and writes its outputs; a `Work` of `p3m_jax.jobs.work`.

    Attributes:
      writing: how outputs are written.
      make_matte: returns the matte of an RGB picture, uint8 (H, W, 3). None if the user gave
        mattes.
      mattes: the folder of the user's own mattes. Each matte has the subfolder and name of its
        picture: sub/a.png for sub/a.jpg. None if `make_matte` computes the mattes.
      notes: what to add to each picture's entry in the manifest, the list of processed pictures.
      done, needed_once: see `Work`.
      at_once: how many pictures `make_matte` may process at a time.
    """

    writing: Writing
    make_matte: Callable[[np.ndarray], Matte] | None = None
    mattes: Path | None = None
    notes: dict[str, Any] = field(default_factory=dict)
    done: str = "matted"
    at_once: int = AT_ONCE
    needed_once: tuple[str, ...] = ()

    def given(self, job: Job) -> dict[str, Path]:
        """Returns {"matte": path} if the user gave mattes; {} if a network makes them."""
        return {} if self.mattes is None else {"matte": find_given(self.mattes, job)}

    def memory(self, job: Job, pixels: int) -> int:
        """Returns the memory in bytes that a picture needs while it is processed."""
        return matting_memory(pixels, colours=needs_colours(job.outputs))

    def load(self, job: Job, given: dict[str, Path]) -> tuple[Picture, Matte | None]:
        """Reads the picture, and its matte if it is given."""
        picture = read(job.source)
        size = picture.pixels.shape[:2]
        return picture, read_given(given["matte"], size) if "matte" in given else None

    def compute(self, loaded: tuple[Picture, Matte | None]) -> tuple[Picture, Matte, float]:
        """Computes the matte of a picture, unless the user gave it.

        Returns:
          The picture, its matte, and the seconds that the network took.
        """
        picture, matte = loaded
        if matte is not None:
            return picture, matte, 0.0
        assert self.make_matte is not None  # otherwise `load` has read a matte
        started = time.perf_counter()
        matte = self.make_matte(picture.in_srgb())
        return picture, matte, time.perf_counter() - started

    def write(
        self, job: Job, computed: tuple[Picture, Matte, float], files: dict[str, Path]
    ) -> tuple[list[str], dict[str, Any]]:
        """Writes the outputs; returns warnings, and facts about the picture for the manifest.

        The manifest is the list of processed pictures.
        """
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
