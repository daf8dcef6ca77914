"""Where the mattes of a run come from: a folder of them, or a network."""

from pathlib import Path

import jax
import numpy as np

from p3m_jax.images import ImageError, read_alpha
from p3m_jax.prediction.matting import Matte, Matting
from p3m_jax.prediction.memory import network_memory
from p3m_jax.prediction.plan import Job

_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")


def find_given(folder: Path, job: Job) -> Path:
    """The matte of a picture in a folder with the tree and names of the pictures."""
    names = dict.fromkeys([job.name, job.name.with_name(job.source.stem)])
    for name in names:
        for ending in _ENDINGS:
            path = folder / f"{name}{ending}"
            if path.is_file():
                return path
    raise ImageError(f"{folder / job.name}.png: there is no such matte for {job.source}; add it.")


def read_given(path: Path, size: tuple[int, int]) -> Matte:
    """A given matte; `ImageError` if it has not its picture's size (height, width)."""
    alpha = read_alpha(path)
    if alpha.shape != size:
        raise ImageError(
            "{}: is {} x {}, its picture {} x {}; replace the wrong one.".format(
                path, *alpha.shape[::-1], *size[::-1]
            )
        )
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
