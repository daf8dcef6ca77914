"""A checkpoint made callable: pictures in, alpha out."""

import functools
import hashlib
import os
from dataclasses import dataclass

import jax
import numpy as np

from p3m_jax.checkpoints.weights import InferenceCheckpoint, load_for_inference
from p3m_jax.errors import UserError
from p3m_jax.inference.programs import programs
from p3m_jax.inference.resizing import find_protocol
from p3m_jax.inference.sizes import frame_size, placed_in, scaled_first, smaller
from p3m_jax.inference.strategies import Placing, matte_picture, network_size
from p3m_jax.pictures.photos import read
from p3m_jax.runtime.machine import Budget

# More than any of the networks takes; a size below its share of memory needs no closer look.
_BYTES_PER_PIXEL = 3000


class MattingError(UserError):
    """A picture that cannot be matted; the message says why."""


@dataclass(frozen=True)
class Matte:
    """What `Matting.matte` knows of one picture.

    Attributes:
      alpha: float32 (H, W) in [0, 1].
      network_sizes: (height, width) by map at which the network ran.
      warnings: sentences, such as that memory allowed only a smaller size.
    """

    alpha: np.ndarray
    network_sizes: dict[str, tuple[int, int]]
    warnings: tuple[str, ...] = ()


class Matting:
    """A network ready to matte pictures: call it on one, from any thread.

    Attributes:
      checkpoint: its weights, see `p3m_jax.checkpoints.weights`.
    """

    def __init__(self, checkpoint: InferenceCheckpoint):
        self.checkpoint = checkpoint
        self._programs = programs(checkpoint.network)
        self._ran: set[tuple[str, tuple[int, int]]] = set()

    def __call__(
        self,
        picture: str | os.PathLike | np.ndarray,
        *,
        strategy: str = "hybrid",
        exact_sizes: bool = False,
    ) -> np.ndarray:
        """The alpha matte of a picture.

        Args:
          picture: a file, EXIF orientation applied, or sRGB uint8 (H, W, 3). Transparent parts of a
            file are background; the network sees them white, and all colours in sRGB.
          strategy: "hybrid" takes the person from half size and the hair from full size; "resize"
            runs once at half size, in a fifth of the time; "native" once at full size.
          exact_sizes: run at the picture's own size as evaluation does, compiling for each size,
            instead of in the nearest frame of `p3m_jax.inference.sizes`.

        Returns:
          float32 (H, W) in [0, 1], of the upright picture's size.

        Raises:
          ImageError: the file cannot be read.
          MattingError: the network's output is no number, or it ran out of memory.
          ValueError: an array of another kind, or an unknown strategy.
        """
        opacity = None
        if not isinstance(picture, np.ndarray):
            loaded = read(picture)
            picture, opacity = loaded.in_srgb(), loaded.opacity
        matte = self.matte(picture, strategy=strategy, exact_sizes=exact_sizes)
        return within_opacity(matte.alpha, opacity)

    def matte(
        self,
        picture: np.ndarray,
        *,
        strategy: str,
        exact_sizes: bool,
        memory: int | None = None,
        budget: Budget | None = None,
    ) -> Matte:
        """The matte of an RGB uint8 (H, W, 3), with what it took; see `__call__`.

        A large picture is scaled first (`p3m_jax.inference.sizes.first_size`), and its alpha back.
        The network takes at most `memory` bytes beyond its weights: where it would take more, it
        runs smaller, and the matte carries a warning. Before it runs, it waits until the `budget`
        that threads share has what it takes.
        """
        sizes, warnings = {}, []

        def place_at(this, size):
            wanted = (network_size if exact_sizes else frame_size)(size, this.ratio)
            fitting = self._fitting(this.map, wanted, memory, budget)
            if fitting != wanted:
                warnings.append(
                    "memory: the network ran at {} x {} instead of {} x {}".format(
                        *fitting[::-1], *wanted[::-1]
                    )
                )
            sizes[this.map] = fitting
            return Placing(fitting, fitting) if exact_sizes else placed_in(fitting, size)

        first = scaled_first(picture)
        alpha = matte_picture(
            functools.partial(self._predict, budget=budget),
            first,
            strategy=strategy,
            place_at=place_at,
        )
        if alpha.shape != picture.shape[:2]:
            alpha = find_protocol("ours").resize(alpha, picture.shape[:2])
            np.clip(alpha, 0, 1, out=alpha)
        return Matte(alpha, sizes, tuple(dict.fromkeys(warnings)))

    @property
    def compiled(self) -> int:
        """Programs that ran: one for each size and map."""
        return len(self._ran)

    def _predict(
        self, name: str, pictures: np.ndarray, *, budget: Budget | None = None
    ) -> np.ndarray:
        self._ran.add((name, pictures.shape[1:3]))
        variables = self.checkpoint.variables
        try:
            return self._programs.run(name, variables, pictures, budget=budget)
        except jax.errors.JaxRuntimeError as error:  # mostly an accelerator's memory
            reason = (str(error).splitlines() or ["no reason given"])[0]
            raise MattingError(f"the network could not run ({reason}).") from None
        except ValueError as error:
            raise MattingError(str(error)) from None

    def _fitting(
        self, name: str, size: tuple[int, int], memory: int | None, budget: Budget | None
    ) -> tuple[int, int]:
        """`size`, or the next smaller one whose program keeps within the memory."""
        while memory is not None and size[0] * size[1] * _BYTES_PER_PIXEL > memory:
            needed = self._programs.memory(name, self.checkpoint.variables, size, budget)
            if needed <= memory:
                break
            fitting = smaller(size, memory / needed) if memory > 0 else None
            if fitting is None:
                raise MattingError(
                    f"the network takes {needed / 1e9:.1f} GB more at {size[1]} x {size[0]} "
                    "pixels; allow more with --max-memory."
                )
            size = fitting
        return size


def load(path: str | os.PathLike) -> Matting:
    """A network ready to matte pictures, from an inference checkpoint or the folder of a run.

        matte = p3m_jax.load("checkpoint")
        alpha = matte("photo.jpg")

    Raises:
      CheckpointError: there is none, or it cannot be used.
    """
    return Matting(load_for_inference(path))


def within_opacity(alpha: np.ndarray, opacity: np.ndarray | None) -> np.ndarray:
    """Alpha (H, W), in place, of a picture that is itself transparent by `opacity` (of 255)."""
    if opacity is not None:
        alpha *= np.multiply(opacity, np.float32(1 / 255))
    return alpha


def identify(checkpoint: InferenceCheckpoint) -> dict[str, str]:
    """Which weights these are: the network and the numbers' SHA-256, wherever they come from."""
    digest = hashlib.sha256(checkpoint.model_name.encode())
    for arrays in checkpoint.variables:
        for name in sorted(arrays):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(arrays[name]))
    return {"network": checkpoint.model_name, "sha256": digest.hexdigest()}
