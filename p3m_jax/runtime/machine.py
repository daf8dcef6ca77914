"""What this process may use of the machine: cores, memory, and memory that threads share.

A container or a batch system gives a process less than the machine has: by the cores that it may
run on, and by control groups, whose limits hold for all groups below them.
"""

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

_UNKNOWN = 8_000_000_000  # bytes, on a machine that does not tell
_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")


def available_cores() -> int:
    """The cores that this process may run on, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def machine_memory() -> int | None:
    """Bytes that the machine has; None where it does not tell, as under Windows."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def available_memory() -> int:
    """Bytes that the machine has, or as much of it as the control groups leave."""
    return min(machine_memory() or _UNKNOWN, *group_limits())


def default_memory() -> int:
    """Bytes that a run may use unless the user says otherwise: three quarters of what there is."""
    return available_memory() * 3 // 4


def group_limits(own: Path = _OWN_GROUPS, root: Path = _GROUPS) -> list[int]:
    """Bytes of memory that the control groups of this process allow, of both versions.

    `own` lists the groups, `root` is where they are mounted. Inside a container both may tell other
    paths, so that the groups at the root count, too. Unlimited groups of version 1 tell more than
    any machine has.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:  # no Linux
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
