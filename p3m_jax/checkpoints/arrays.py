"""Reads and writes the arrays of checkpoints, each with a checksum.

The checksum is written with the array, and checked when the array is read. It is a CRC-32
(`zlib.crc32`). A CRC-32 detects all damage of up to 32 consecutive bits. Of other damage, it misses
one case in four billion. Checksums do not prove who wrote a file.
"""

import contextlib
import json
import logging
import os
import re
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from orbax.checkpoint import v1 as ocp

from p3m_jax.errors import UserError
from p3m_jax.runtime import distributed
from p3m_jax.storage import StrPath
from p3m_jax.text import warn

CHECKSUMS = "checksums"

# Parts of error messages that do not mean damage: trying again or other permissions may help.
_ELSEWHERE: tuple[str, ...] = (
    "PERMISSION_DENIED",
    "Permission denied",
    "UNAUTHENTICATED",
    "UNAVAILABLE",
)
_ELSEWHERE += ("RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "Too many open files")


class CheckpointError(UserError):
    """A checkpoint cannot be used; the message names the path and the remedy."""


class DamagedCheckpoint(CheckpointError):
    """The files of a checkpoint have changed since they were written.

    Attributes:
      what: a phrase that describes the damage, such as "is damaged (... is missing)".
    """

    def __init__(self, path: StrPath, what: str) -> None:
        super().__init__(f"{path}: {what}; copy it again, or choose another checkpoint.")
        self.what = what


class NotFinite(UserError):
    """Arrays hold infinite or NaN values; the message lists the names of the arrays."""


def checksum_of(value: Any) -> str:
    """Computes the checksum of an array or a JSON value, as 8 hexadecimal digits.

    The order of the keys in a JSON value does not matter.
    """
    if isinstance(value, np.ndarray):
        content: memoryview | bytes = np.ascontiguousarray(value).reshape(-1).view(np.uint8).data
    else:
        content = json.dumps(value, sort_keys=True).encode()
    return f"{zlib.crc32(content):08x}"


def sealed(description: dict[str, Any], checksums: dict[str, str]) -> dict[str, Any]:
    """Returns a copy of a checkpoint's description with all checksums added.

    `checksums` holds the checksum of each array by name. The description's own checksum is computed
    here; it also covers the checksums of the arrays.
    """
    description = json.loads(json.dumps(description))  # as it will be read: lists, not tuples
    content = {**description, CHECKSUMS: {"kind": "crc32", "arrays": checksums}}
    content[CHECKSUMS]["description"] = checksum_of(content)
    return content


def unsealed(content: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str] | None]:
    """Undoes `sealed`: returns the description, and the checksums of the arrays by name.

    The checksums are None if `content` has none, as in checkpoints of early versions.

    Raises:
      ValueError: the content has changed since it was written. The message is a phrase that
        describes the damage.
    """
    description = {name: value for name, value in content.items() if name != CHECKSUMS}
    if CHECKSUMS not in content:
        return description, None
    recorded = content[CHECKSUMS]
    if not isinstance(recorded, dict) or not isinstance(recorded.get("arrays"), dict):
        raise ValueError("its checksums are damaged")
    if sealed(description, recorded["arrays"])[CHECKSUMS] != recorded:
        raise ValueError("its description is damaged (wrong checksum)")
    return description, recorded["arrays"]


def damaged_arrays(arrays: dict[str, np.ndarray], checksums: dict[str, str] | None) -> list[str]:
    """Lists the arrays with a wrong checksum, or with infinite or NaN values.

    Each entry is a phrase for a message, such as "NAME has a wrong checksum". If `checksums` is
    None, only the values are checked.
    """
    problems = []
    for name, array in arrays.items():
        if checksums is not None and checksums.get(name) != checksum_of(array):
            problems.append(f"{name} has a wrong checksum")
        elif not is_finite(array):
            problems.append(f"{name} holds infinite or NaN values")
    return problems


def is_finite(array: np.ndarray) -> bool:
    """Whether an array has no infinite or NaN values; always True for integers and booleans."""
    return array.dtype.kind in "biu" or bool(np.isfinite(array).all())


def with_checksums(description: dict[str, Any], tree: Any) -> dict[str, Any]:
    """Returns a copy of a checkpoint's description with the checksums of its arrays added.

    If there are several processes, all must call this function: it gathers the arrays that are
    split among them.

    Raises:
      NotFinite: some arrays hold infinite or NaN values.
    """
    checksums, broken = {}, []
    for name, array in named_on_host(tree):
        checksums[name] = checksum_of(array)
        if not is_finite(array):
            broken.append(name)
    if broken:
        more = f" and {len(broken) - 3} more" if len(broken) > 3 else ""
        raise NotFinite(", ".join(broken[:3]) + more)
    return sealed(description, checksums)


def named_on_host(tree: Any) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the name and the value of each array of a tree, the value as a complete NumPy array.

    Arrays that are split among processes are gathered one at a time; all processes must take part.
    """
    for name, array in _named(tree).items():
        if isinstance(array, jax.Array):
            if array.is_fully_replicated:
                # Takes one device's data as a separate array. Converting `array` itself would make
                # it impossible to donate its memory later.
                array = array.addressable_data(0)
            elif not array.is_fully_addressable:
                array = multihost_utils.process_allgather(array, tiled=True)
        yield name, np.asarray(array)


def _named(tree: Any) -> dict[str, Any]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


@dataclass(frozen=True)
class _OnHost:
    """Makes Orbax load a NumPy array, because it has a shape and a type but no sharding."""

    shape: tuple[int, ...] | None
    dtype: np.dtype | None


def read_arrays(path: Path, wanted: Any, checksums: dict[str, str] | None) -> Any:
    """Reads the arrays in `wanted` from a checkpoint; returns a tree of NumPy arrays.

    Other arrays of the checkpoint are not read. Each array must have the right shape, dtype and
    checksum, and no infinite or NaN values.

    Args:
      path: the folder of the checkpoint.
      wanted: a tree of shapes and dtypes (`jax.ShapeDtypeStruct`).
      checksums: the checksums of the arrays by name, from the checkpoint's metadata. If None, a
        warning says that damage may not be noticed.

    Raises:
      DamagedCheckpoint: an array has changed since it was written.
      CheckpointError: the checkpoint lacks a wanted array, or cannot be read at the moment.
    """
    names = _named(wanted)
    strange = [] if checksums is None else sorted(names.keys() - checksums.keys())
    if strange:
        more = f" and {len(strange) - 1} more" if len(strange) > 1 else ""
        raise CheckpointError(
            f"{path}: does not contain {strange[0]}{more}, so it belongs to another version or "
            "has another purpose; choose another checkpoint."
        )
    context = ocp.Context()
    context.pytree.loading.partial_load = True
    if distributed.count() > 1:  # each process reads by itself, without waiting for the others
        context.multiprocessing.active_processes = {jax.process_index()}
        context.multiprocessing.primary_host = jax.process_index()
    with context, quiet_orbax():
        try:
            tree = ocp.load(path, jax.tree.map(lambda x: _OnHost(x.shape, x.dtype), wanted))
        except MemoryError as error:
            raise CheckpointError(f"{path}: there is not enough memory for its arrays.") from error
        except (AssertionError, RuntimeError):  # JAX raises these if it has no device
            raise
        except Exception as error:  # TensorStore's errors have no class of their own
            reason = reason_of(error)
            if isinstance(error, PermissionError) or any(s in str(error) for s in _ELSEWHERE):
                raise CheckpointError(f"{path}: cannot be read ({reason}).") from error
            raise DamagedCheckpoint(path, f"is damaged ({reason})") from error
    arrays, problems = _named(tree), []
    for name, expected in names.items():
        array = arrays.get(name)
        if not isinstance(array, np.ndarray):
            problems.append(f"{name} is missing")
        elif (array.shape, array.dtype) != (expected.shape, expected.dtype):
            there, here = (f"{x.dtype}{list(x.shape)}" for x in (array, expected))
            problems.append(f"{name} is {there} instead of {here}")
    problems = problems or damaged_arrays(arrays, checksums)
    if problems:
        more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise DamagedCheckpoint(path, f"is damaged ({problems[0]}{more})")
    if checksums is None and distributed.is_first():
        warn(f"{path}: has no checksums, so damage to its numbers may not be noticed.")
    return tree


def require_room(folder: Path, arrays: Any) -> None:
    """Checks that there is enough disk space in `folder` for a tree of arrays.

    Without this check, Orbax would hang at exit after a failed write.

    Raises:
      OSError: the folder cannot be written to, or has too little space.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass
    needed = sum(array.nbytes for array in jax.tree.leaves(arrays))
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(f"{needed / 1e6:.1f} MB are needed, {free / 1e6:.1f} MB are free")


def reason_of(error: Exception) -> str:
    """Returns in a few words why Orbax or TensorStore failed.

    If the operating system reported an error, this is its text ("No space left on device").
    Otherwise it is the first line of the message of `error`.
    """
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    code = re.search(r"os_error_code='(\d+)'", str(error))
    if code:
        return os.strerror(int(code[1]))
    lines = str(error).strip().splitlines()
    return lines[0][:120] if lines else type(error).__name__


@contextlib.contextmanager
def quiet_orbax() -> Iterator[None]:
    """Suppresses Orbax's log messages, but not its errors, in a `with` block.

    If one of Orbax's parallel reads fails, the other reads may end after the block. Each of them
    would then print a traceback, because Orbax's event loop is already closed. So after an error,
    these tracebacks stay suppressed for the rest of the program.
    """

    def not_orbax(record: logging.LogRecord) -> bool:
        return "orbax" not in Path(record.pathname).parts

    def not_late(record: logging.LogRecord) -> bool:
        return "exception was never retrieved" not in record.getMessage()

    def unraisable(event: "sys.UnraisableHookArgs") -> None:
        if str(event.exc_value) != "Event loop is closed":
            hook(event)

    loggers = [logging.getLogger(name) for name in (None, "absl")]
    tasks = logging.getLogger("asyncio")
    for logger in loggers:
        logger.addFilter(not_orbax)
    tasks.addFilter(not_late)
    hook, sys.unraisablehook = sys.unraisablehook, unraisable
    try:
        yield
        sys.unraisablehook = hook
        tasks.removeFilter(not_late)
    finally:
        for logger in loggers:
            logger.removeFilter(not_orbax)
