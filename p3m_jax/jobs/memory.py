"""How much of a run's memory its pictures and the network may use."""

from p3m_jax.pictures.foreground import ESTIMATION_PIXELS

# Before the first picture: the interpreter, JAX, a network's weights, compiled code.
BASE = 1_200_000_000
# Bytes per pixel, measured: at the peak, while the network runs, while colours are estimated.
_AT_WORST, _AT_NETWORK, _AT_ESTIMATION = 22, 13, 14
_ESTIMATED = 72  # more for each estimated pixel
_NETWORK_SHARE = 2 / 3


def picture_memory(pixels: int, *, colours: bool) -> int:
    """Bytes that a picture needs while it is worked on; `colours`: its foreground is estimated."""
    estimating = pixels * _AT_ESTIMATION + min(pixels, ESTIMATION_PIXELS) * _ESTIMATED
    return max(pixels * _AT_WORST, estimating if colours else 0)


def network_memory(memory: int, pixels: int = 0) -> int:
    """Bytes of a run's `memory` that the network may use for a picture, or for all at a time."""
    free = memory - BASE
    return min(int(free * _NETWORK_SHARE), free - pixels * _AT_NETWORK)


def pictures_memory(memory: int) -> int:
    """Bytes of a run's `memory` that all pictures in work may use; larger ones go one by one."""
    return int((memory - BASE) * (1 - _NETWORK_SHARE))
