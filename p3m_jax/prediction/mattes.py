"""Provides the mattes of a run, from a folder of given mattes or from a network."""

from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from p3m_jax.inference.matting import Matte, Matting
from p3m_jax.pictures.labels import read_alpha
from p3m_jax.pictures.sizes import require_size
from p3m_jax.prediction.memory import network_memory
from p3m_jax.runtime.machine import Budget

# How many pictures the network processes at a time. Two keep the cores busy: one uses the cores
# that the other leaves idle, or the accelerator while the host resizes the other picture.
AT_ONCE = 2


def read_given(path: Path, size: tuple[int, int]) -> Matte:
    """Reads the matte that the user gave for a picture of `size` (height, width).

    Raises:
      ImageError: the matte cannot be read, or its size differs from the picture's.
    """
    warnings: list[str] = []
    alpha = read_alpha(path, warnings.append)
    require_size(path, alpha.shape, size)
    return Matte(alpha, {}, tuple(warnings))


def by_network(
    matting: Matting, *, strategy: str, exact_sizes: bool, memory: int
) -> Callable[[np.ndarray], Matte]:
    """Returns a function that computes mattes with a network, for `MattingWork.make_matte`.

    Threads may share the function.

    Args:
      matting: the network.
      strategy, exact_sizes: see `Matting.__call__`.
      memory: the memory of the whole run in bytes. On a CPU, the network uses a part of this
        memory for all pictures that it processes at the same time. An accelerator uses its own
        memory instead.
    """
    device = jax.local_devices()[0]
    shared = device.platform == "cpu"
    own = None
    if not shared:
        statistics = device.memory_stats() or {}
        own = statistics.get("bytes_limit", 0) - statistics.get("bytes_in_use", 0) or None
    whole = network_memory(memory) if shared else own
    budget = None if whole is None else Budget(whole, pictures=AT_ONCE)

    def make_matte(pixels: np.ndarray) -> Matte:
        bound = network_memory(memory, pixels.shape[0] * pixels.shape[1]) if shared else own
        return matting.matte(
            pixels, strategy=strategy, exact_sizes=exact_sizes, memory=bound, budget=budget
        )

    return make_matte
