"""Finds the cores and memory that this process may use, and divides memory among its threads.

A container or a batch system may allow a process only some of the machine's cores and memory. Linux
limits memory by control groups, which are nested. A process must stay below the limits of its own
group and of all outer groups, so the lowest limit applies.
"""

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

_UNKNOWN = 8_000_000_000  # bytes to assume if the system does not report its memory
_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")


def available_cores() -> int:
    """Returns the number of cores that this process may run on, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def machine_memory() -> int | None:
    """Returns the machine's memory in bytes; None if it is not reported (Windows)."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def available_memory(own: Path = _OWN_GROUPS, root: Path = _GROUPS) -> int:
    """Returns the bytes of memory that this process may use.

    This is the machine's memory, or the lowest limit of a control group if that limit is lower.
    `own` and `root`: see `group_limits`.
    """
    return min([machine_memory() or _UNKNOWN, *group_limits(own, root)])


def default_memory() -> int:
    """Returns how much memory a run uses by default, in bytes: 3/4 of the available memory."""
    return available_memory() * 3 // 4


def group_limits(own: Path = _OWN_GROUPS, root: Path = _GROUPS) -> list[int]:
    """Lists the memory limits of this process's control groups (versions 1 and 2), in bytes.

    A group of version 1 without a limit is listed with more memory than any machine has.

    Args:
      own: the file that lists the process's groups.
      root: the folder where the groups are mounted. The limit in this folder is always included,
        because inside a container the paths in `own` may not exist.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    places = [(root, "", "memory.max"), (root / "memory", "", "memory.limit_in_bytes")]
    for _, controllers, path in (line.split(":", 2) for line in lines if line.count(":") >= 2):
        if not controllers:
            places.append((root, path, "memory.max"))
        elif "memory" in controllers.split(","):
            places.append((root / "memory", path, "memory.limit_in_bytes"))
    limits = []
    for mount, path, name in places:
        group = mount / path.lstrip("/")
        for folder in (group, *group.parents):
            if folder.is_relative_to(mount):
                with contextlib.suppress(OSError, ValueError):  # "max", or no such file
                    limits.append(int((folder / name).read_text()))
    return limits


class Budget:
    """A memory budget for the pictures that are processed at the same time.

    Each picture reserves an amount. A picture that needs more than the whole budget is processed
    by itself.

    Args:
      size: the budget in bytes.
      pictures: how many pictures may be processed at the same time.
    """

    def __init__(self, size: int, pictures: int) -> None:
        self._size, self._pictures = size, pictures
        self._held: list[int] = []
        self._changed = threading.Condition()

    def try_take(self, amount: int) -> bool:
        """Reserves `amount` bytes for a picture if possible; returns whether it succeeded.

        It succeeds if `amount` bytes of the budget are free and fewer than `pictures` pictures are
        being processed. It always succeeds if nothing else is reserved.
        """
        with self._changed:
            full = sum(self._held) + amount > self._size or len(self._held) >= self._pictures
            if self._held and full:
                return False
            self._held.append(amount)
            return True

    def give_back(self, amount: int) -> None:
        """Releases an amount that a picture has reserved; may be called from any thread."""
        with self._changed:
            self._held.remove(amount)
            self._changed.notify_all()

    @contextlib.contextmanager
    def held(self, amount: int) -> Iterator[None]:
        """Waits until `try_take` succeeds, and keeps the amount reserved during a `with` block."""
        while not self.try_take(amount):
            self.wait(0.2)
        try:
            yield
        finally:
            self.give_back(amount)

    def wait(self, seconds: float) -> None:
        """Waits until an amount is released, for at most `seconds`."""
        with self._changed:
            self._changed.wait(seconds)
