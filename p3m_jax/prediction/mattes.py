"""Where the mattes of a run come from: a folder of them, or a network."""

from pathlib import Path

import jax
import numpy as np

from p3m_jax.collection.given import require_size
from p3m_jax.collection.memory import network_memory
from p3m_jax.images import read_alpha
from p3m_jax.prediction.matting import Matte, Matting


def read_given(path: Path, size: tuple[int, int]) -> Matte:
    """A given matte; `ImageError` if it has not its picture's size (height, width)."""
    alpha = read_alpha(path)
    require_size(path, alpha.shape, size)
    return Matte(alpha, {})


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
