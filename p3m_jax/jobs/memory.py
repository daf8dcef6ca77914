"""Divides a run's memory between its pictures and the computation."""

# Bytes in use before the first picture: the interpreter, libraries, weights, compiled code.
BASE = 1_200_000_000
# Fraction of the remaining memory that the computation, such as a network, may use.
COMPUTING_SHARE = 2 / 3
_AT_WORST = 22  # measured bytes per pixel, at the peak of reading and writing


def picture_memory(pixels: int) -> int:
    """Returns the memory in bytes that a picture needs while it is read and written."""
    return pixels * _AT_WORST


def pictures_memory(memory: int) -> int:
    """Returns how much of a run's `memory` is for holding pictures; both are in bytes.

    All pictures that are processed at the same time share this part. A picture that needs more than
    this part is processed while there is no other picture in memory. The rest of `memory` is for
    the program itself and the computation.
    """
    return int((memory - BASE) * (1 - COMPUTING_SHARE))
