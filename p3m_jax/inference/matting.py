"""Makes a checkpoint callable: it accepts a picture and returns the alpha matte."""

import functools
import hashlib
import os
from dataclasses import dataclass

import jax
import numpy as np

from p3m_jax.checkpoints.weights import InferenceCheckpoint, load_for_inference
from p3m_jax.errors import UserError
from p3m_jax.inference.programs import OutputNotFinite, programs
from p3m_jax.inference.resizing import find_protocol
from p3m_jax.inference.sizes import frame_size, placed_in, scaled_first, smaller
from p3m_jax.inference.strategies import Pass, Placing, matte_picture, network_size
from p3m_jax.pictures.photos import read
from p3m_jax.runtime.machine import Budget

# More than any network needs. If even this fits into memory, the program need not be inspected.
_BYTES_PER_PIXEL = 3000


class MattingError(UserError):
    """A picture that cannot be matted; the message says why."""


@dataclass(frozen=True)
class Matte:
    """The matte of one picture.

    Attributes:
      alpha: float32 (H, W) in [0, 1].
      network_sizes: {map: (height, width)}, the input size of each run of the network. The map is
        the run's output: "semantic", "detail" or "fusion".
      warnings: phrases for the user, for instance that the network ran at a smaller size for lack
        of memory.
    """

    alpha: np.ndarray
    network_sizes: dict[str, tuple[int, int]]
    warnings: tuple[str, ...] = ()


class Matting:
    """A network that computes mattes. Threads may share this object.

    Call it with a picture; it returns the alpha matte, float32 (H, W) in [0, 1].

    Attributes:
      checkpoint: the network's weights, see `p3m_jax.checkpoints.weights`.
    """

    def __init__(self, checkpoint: InferenceCheckpoint) -> None:
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
        """Returns the alpha matte of a picture.

        Args:
          picture: a file, or sRGB uint8 (H, W, 3). A file is turned upright by its EXIF orientation
            and converted to sRGB. Transparent parts are background; the network sees white there.
          strategy: "hybrid" predicts the person at half size and the hair at full size; "resize"
            runs once at half size, in about a fifth of the time; "native" once at full size.
          exact_sizes: run at the picture's own size, as evaluation does, which compiles a program
            for each size; by default it runs in the nearest frame of `p3m_jax.inference.sizes`.

        Returns:
          float32 (H, W) in [0, 1], of the upright picture's size.

        Raises:
          ImageError: the file cannot be read.
          MattingError: the network's output is not finite, or it ran out of memory.
          ValueError: the array is not uint8 (H, W, 3), or the strategy is unknown.
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
        """Returns the matte of an RGB picture uint8 (H, W, 3).

        A large picture is first reduced to its `p3m_jax.inference.sizes.first_size`, and its alpha
        is enlarged again.

        Args:
          strategy, exact_sizes: see `__call__`.
          memory: the most bytes that the network may use in addition to its weights. If it needs
            more, it runs at a smaller size, and the matte has a warning. None sets no limit.
          budget: the memory that pictures in progress share. The network waits until enough
            is free.

        Raises:
          MattingError: the network's output is not finite, or there is too little memory.
        """
        sizes, warnings = {}, []

        def place_at(this: Pass, size: tuple[int, int]) -> Placing:
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
        """The number of compiled programs that this object has run.

        A program computes one map, such as "detail", at one input size.
        """
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
            raise MattingError(
                f"the network could not run ({reason}); if memory ran out, use the strategy "
                "resize or a lower --max-memory."
            ) from None
        except OutputNotFinite as error:
            raise MattingError(str(error)) from None

    def _fitting(
        self, name: str, size: tuple[int, int], memory: int | None, budget: Budget | None
    ) -> tuple[int, int]:
        """Returns `size`, or the next smaller size whose program fits into the memory."""
        while memory is not None and size[0] * size[1] * _BYTES_PER_PIXEL > memory:
            needed = self._programs.memory(name, self.checkpoint.variables, size, budget)
            if needed <= memory:
                break
            fitting = smaller(size, memory / needed) if memory > 0 else None
            if fitting is None:
                raise MattingError(
                    f"the network needs {needed / 1e9:.1f} GB more at {size[1]} x {size[0]} "
                    "pixels; allow more with --max-memory."
                )
            size = fitting
        return size


def load(path: str | os.PathLike) -> Matting:
    """Loads a network for matting, from an inference checkpoint or the folder of a run.

        matte = p3m_jax.load("checkpoint")
        alpha = matte("photo.jpg")

    Raises:
      CheckpointError: `path` does not exist, or its checkpoint cannot be used.
    """
    return Matting(load_for_inference(path))


def within_opacity(alpha: np.ndarray, opacity: np.ndarray | None) -> np.ndarray:
    """Multiplies an alpha (H, W) in place by the picture's own opacity, and returns it.

    `opacity` is the picture's alpha channel, (H, W) in 0..255. None leaves the alpha unchanged.
    """
    if opacity is not None:
        alpha *= np.multiply(opacity, np.float32(1 / 255))
    return alpha


def identify(checkpoint: InferenceCheckpoint) -> dict[str, str]:
    """Returns {"network": the network's name, "sha256": a hash} to identify a checkpoint.

    The hash covers the network's name, and the names and values of its arrays.
    """
    digest = hashlib.sha256(checkpoint.model_name.encode())
    for arrays in checkpoint.variables:
        for name in sorted(arrays):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(arrays[name]).data)
    return {"network": checkpoint.model_name, "sha256": digest.hexdigest()}
