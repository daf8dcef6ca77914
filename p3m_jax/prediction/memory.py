"""Divides the memory of a matting run between its pictures and the network."""

from p3m_jax.jobs.memory import BASE, COMPUTING_SHARE, picture_memory
from p3m_jax.pictures.foreground import ESTIMATION_PIXELS

# Measured bytes per pixel: while the network runs, while colours are estimated.
_AT_NETWORK, _AT_ESTIMATION = 13, 14
_ESTIMATED = 72  # additional bytes for each pixel whose colours are estimated


def matting_memory(pixels: int, *, colours: bool) -> int:
    """Returns the memory in bytes that a picture needs while it is matted.

    `pixels` is the picture's number of pixels. `colours` says whether its foreground and background
    colours are estimated.
    """
    estimating = pixels * _AT_ESTIMATION + min(pixels, ESTIMATION_PIXELS) * _ESTIMATED
    return max(picture_memory(pixels), estimating if colours else 0)


def network_memory(memory: int, pixels: int = 0) -> int:
    """Returns how many bytes of a run's `memory` the network may use.

    If `pixels` is given, this is the limit for one picture with that number of pixels. If it is 0,
    this is the limit for all pictures that the network processes at a time.
    """
    free = memory - BASE
    return min(int(free * COMPUTING_SHARE), free - pixels * _AT_NETWORK)
