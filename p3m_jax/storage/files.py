"""Writing files whole or not at all."""

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from p3m_jax.storage.bucket import is_address

_PREFIX = ".p3m."
_TEMPORARY = re.compile(re.escape(_PREFIX) + "[a-z0-9_]{8}")  # as mkstemp names them


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


# Asked for once: it is the process's, and threads that ask at a time could leave it at 0.
_UMASK = _umask()


@contextlib.contextmanager
def whole_file(path) -> Iterator[BinaryIO]:
    """A file to write to, which gets its name only when all is written and nothing was raised.

    The folder is made if need be. A killed program leaves at most a hidden temporary file.

    Raises:
      OSError: with the name of `path`, whichever file the system's error was about.
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
            os.fsync(file.fileno())  # else losing power may leave the name with nothing behind it
        with contextlib.suppress(OSError):  # some network drives have no permissions
            temporary.chmod(0o666 & ~_UMASK)  # mkstemp gives files to their owner alone
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _about(path, error) from None
        raise


def write_text(path, text: str) -> None:
    """Writes a text file in UTF-8, whole or not at all; names that are not text are escaped."""
    contents = text.encode("utf-8", errors="backslashreplace")
    if is_address(path):  # a bucket has no part of a file
        path.write_bytes(contents)
        return
    with whole_file(path) as file:
        file.write(contents)


@contextlib.contextmanager
def locked(path: Path, refusal: Exception, *, shared: bool = False) -> Iterator[None]:
    """Keeps other processes from what they ask for with the same file or folder, which is there.

    Several that all say `shared` do not keep each other from it.

    Raises:
      refusal: another process has it.
    """
    try:
        import fcntl
    except ImportError:  # not a Unix system: nothing guards the folder there
        yield
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        with contextlib.suppress(OSError):  # a file system without locks does not guard it either
            try:
                kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
                fcntl.flock(handle, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                raise refusal from None
        yield
    finally:
        os.close(handle)


def remove_leftovers(folder: Path) -> None:
    """Removes the temporary files that killed programs left in a folder where none runs now."""
    with contextlib.suppress(FileNotFoundError):
        for path in folder.iterdir():
            if _TEMPORARY.fullmatch(path.name):
                path.unlink(missing_ok=True)


def _about(path: Path, error: OSError) -> OSError:
    return OSError(error.errno, f"cannot be written ({error.strerror})", str(path))
