"""Divides a run's memory between its pictures and the network."""

from p3m_jax.pictures.foreground import ESTIMATION_PIXELS

# Bytes in use before the first picture: the interpreter, JAX, a network's weights, compiled code.
BASE = 1_200_000_000
# Measured bytes per pixel: at the peak, while the network runs, while colours are estimated.
_AT_WORST, _AT_NETWORK, _AT_ESTIMATION = 22, 13, 14
_ESTIMATED = 72  # additional bytes for each pixel whose colours are estimated
_NETWORK_SHARE = 2 / 3


def picture_memory(pixels: int, *, colours: bool) -> int:
    """Memory in bytes that a picture needs while it is processed.

    `colours` says whether its foreground is estimated.
    """
    estimating = pixels * _AT_ESTIMATION + min(pixels, ESTIMATION_PIXELS) * _ESTIMATED
    return max(pixels * _AT_WORST, estimating if colours else 0)


def network_memory(memory: int, pixels: int = 0) -> int:
    """The part of a run's `memory`, in bytes, that the network may use.

    With `pixels`, it is the part for a picture of that size; without, for all pictures that the
    network processes at a time.
    """
    free = memory - BASE
    return min(int(free * _NETWORK_SHARE), free - pixels * _AT_NETWORK)


def pictures_memory(memory: int) -> int:
    """The part of a run's `memory`, in bytes, that all pictures being processed may use together.

    A picture that needs more is processed while no other is.
    """
    return int((memory - BASE) * (1 - _NETWORK_SHARE))
