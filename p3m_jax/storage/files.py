"""Writes files atomically, and locks files and folders against other processes."""

import contextlib
import functools
import os
import re
import stat
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from etils import epath

from p3m_jax.storage import StrPath
from p3m_jax.storage.bucket import is_address

_PREFIX = ".p3m."
_READING_UMASK = threading.Lock()
_TEMPORARY = re.compile(re.escape(_PREFIX) + "[a-z0-9_]{8}")  # as mkstemp names them


@functools.cache
def _umask() -> int:
    """Returns the process's umask for new files, which can only be read by setting it."""
    with _READING_UMASK:  # two threads at once could leave the wrong one
        mask = os.umask(0o077)
        os.umask(mask)
    return mask


@contextlib.contextmanager
def whole_file(path: StrPath) -> Iterator[BinaryIO]:
    """Opens a temporary file for a `with` block, and renames it to `path` when the block ends.

    So `path` never holds a partial file. The folder is created if it does not exist. If the block
    raises an exception, the temporary file is removed. If the program is killed, the temporary file
    remains as a hidden file, which `remove_leftovers` removes.

    Raises:
      OSError: the file cannot be written. The error names `path`, even if the system's error names
        the temporary file.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=_PREFIX)
    except OSError as error:
        raise _about(path, error) from None
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # otherwise a power failure may leave an empty file
        with contextlib.suppress(OSError):  # some network drives have no permissions
            temporary.chmod(0o666 & ~_umask())  # mkstemp lets only the owner read the file
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _about(path, error) from None
        raise


def write_text(path: Path | epath.Path, text: str) -> None:
    """Writes a text file in UTF-8 atomically.

    Characters that UTF-8 cannot encode are written as escapes. They occur if `text` contains file
    names that are not UTF-8.
    """
    contents = text.encode("utf-8", errors="backslashreplace")
    if is_address(path):  # a write to a bucket is atomic already
        path.write_bytes(contents)
        return
    with whole_file(path) as file:
        file.write(contents)


@contextlib.contextmanager
def locked(path: Path, refusal: Exception, *, shared: bool = False) -> Iterator[None]:
    """Locks an existing file or folder against other processes during a `with` block.

    Several processes may hold the lock at once if all of them set `shared`. If the system or the
    file system has no locks, nothing is locked.

    Args:
      path: the file or folder.
      refusal: the exception to raise if another process holds the lock.
      shared: whether other processes may hold the lock at the same time.
    """
    try:
        import fcntl
    except ImportError:  # not a Unix system, so nothing is locked
        yield
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        with contextlib.suppress(OSError):  # the file system may have no locks
            try:
                kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
                fcntl.flock(handle, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                raise refusal from None
        yield
    finally:
        os.close(handle)


def is_written(path: Path) -> bool:
    """Whether a file exists and is not empty; a crash of the machine may leave an empty file."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size > 0


def require_writable(folder: Path) -> None:
    """Creates a folder if it does not exist; raises `OSError` if files cannot be created in it."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def remove_leftovers(folder: Path) -> None:
    """Removes the temporary files that killed programs left in a folder.

    No other program may be writing to the folder: its temporary files would be removed, too.
    """
    with contextlib.suppress(FileNotFoundError):
        for path in folder.iterdir():
            if _TEMPORARY.fullmatch(path.name):
                path.unlink(missing_ok=True)


def _about(path: Path, error: OSError) -> OSError:
    return OSError(error.errno, f"cannot be written ({error.strerror})", str(path))
