"""Where the mattes of a run come from: a folder of them, or a network."""

from pathlib import Path

import jax
import numpy as np

from p3m_jax.inference.matting import Matte, Matting
from p3m_jax.jobs.given import require_size
from p3m_jax.jobs.memory import network_memory
from p3m_jax.pictures.labels import read_alpha
from p3m_jax.runtime.machine import Budget

# Pictures at the network at a time: what one stream of operations leaves of the cores, or of an
# accelerator while its host resizes, the other one takes.
AT_ONCE = 2


def read_given(path: Path, size: tuple[int, int]) -> Matte:
    """A given matte; `ImageError` if it has not its picture's size (height, width)."""
    warnings: list[str] = []
    alpha = read_alpha(path, warnings.append)
    require_size(path, alpha.shape, size)
    return Matte(alpha, {}, tuple(warnings))


def by_network(matting: Matting, *, strategy: str, exact_sizes: bool, memory: int):
    """A `make_matte` for `MattingWork`, from any thread.

    Of a run's `memory`, in bytes, the network takes its share, which the pictures that are at it
    together share; an accelerator has its own.
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
