"""How much memory a run may use, and how much each of its pictures may use."""

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from p3m_jax.foreground import ESTIMATION_PIXELS

# Before the first picture: the interpreter, JAX, a network's weights, compiled code.
BASE = 1_200_000_000
# Bytes per pixel, measured: at the peak, while the network runs, while colours are estimated.
_AT_WORST, _AT_NETWORK, _AT_ESTIMATION = 22, 13, 14
_ESTIMATED = 72  # more for each estimated pixel
_NETWORK_SHARE = 2 / 3
_UNKNOWN = 8_000_000_000  # on a machine that does not tell


def machine_memory() -> int | None:
    """Bytes that the machine has; None where it does not tell, as under Windows."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def default_memory() -> int:
    """Bytes: three quarters of what the machine, or the container, has."""
    total = machine_memory() or _UNKNOWN
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        total = min(total, int(limit))
    except (OSError, ValueError):  # no container, or none that says so ("max")
        pass
    return total * 3 // 4


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


class Budget:
    """Memory that the pictures in work share; a picture that needs more is done by itself."""

    def __init__(self, size: int, pictures: int):
        self._size, self._pictures = size, pictures
        self._held: list[int] = []
        self._changed = threading.Condition()

    def try_take(self, amount: int) -> bool:
        """Takes the amount if it is free, or if no other is held; returns whether it did."""
        with self._changed:
            full = sum(self._held) + amount > self._size or len(self._held) >= self._pictures
            if self._held and full:
                return False
            self._held.append(amount)
            return True

    def give_back(self, amount: int) -> None:
        """From any thread."""
        with self._changed:
            self._held.remove(amount)
            self._changed.notify_all()

    @contextlib.contextmanager
    def held(self, amount: int) -> Iterator[None]:
        """Waits until the amount is free, and holds it in the body."""
        while not self.try_take(amount):
            self.wait(0.2)
        try:
            yield
        finally:
            self.give_back(amount)

    def wait(self, seconds: float) -> None:
        """Waits until an amount is given back, at most so long."""
        with self._changed:
            self._changed.wait(seconds)
