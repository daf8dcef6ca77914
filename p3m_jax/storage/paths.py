"""Checks and expands paths that the user gives."""

from pathlib import Path

from p3m_jax.errors import UserError
from p3m_jax.storage import StrPath


class PathError(UserError):
    """A path from the user cannot be used; the message says what to choose instead."""


def user_path(path: StrPath) -> Path:
    """Expands a leading ~ in `path`; raises `PathError` if the home folder is unknown."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise PathError(f"{path}: no home folder is known; write the full path.") from None


def source_folder(path: StrPath, remedy: str = "choose a folder of pictures") -> Path:
    """Expands a leading ~ in the path of a folder to read.

    Raises:
      PathError: the folder does not exist; the message ends with `remedy`.
    """
    folder = user_path(path)
    if not folder.is_dir():
        state = "is a file" if folder.exists() else "there is no such folder"
        raise PathError(f"{folder}: {state}; {remedy}.")
    return folder


def output_folder(path: StrPath, remedy: str) -> Path:
    """Expands a leading ~ in the path of a folder to write to, which may not exist yet.

    Raises:
      PathError: `path` is a file; the message ends with `remedy`.
    """
    folder = user_path(path)
    if folder.exists() and not folder.is_dir():
        raise PathError(f"{folder}: is a file; {remedy}.")
    return folder


def overlap(one: StrPath, other: StrPath) -> bool:
    """Whether one folder equals, contains or is inside the other, with links resolved."""
    one, other = user_path(one).resolve(), user_path(other).resolve()
    return one.is_relative_to(other) or other.is_relative_to(one)
