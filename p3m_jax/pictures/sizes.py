"""Checks that files which belong together, such as a picture and its matte, have the same size."""

from pathlib import Path

from p3m_jax.pictures.images import ImageError
from p3m_jax.storage.file_part import FilePart

REMEDY = "replace the wrong one"


def require_size(
    file: Path | FilePart | None,
    size: tuple[int, ...],
    expected: tuple[int, ...],
    of: str = "picture",
    remedy: str = REMEDY,
) -> None:
    """Raises `ImageError` if `size_mismatch` finds one; its arguments are the same."""
    sentence = size_mismatch(file, size, expected, of, remedy)
    if sentence:
        raise ImageError(sentence)


def size_mismatch(
    file: Path | FilePart | None,
    size: tuple[int, ...],
    expected: tuple[int, ...],
    of: str = "picture",
    remedy: str = REMEDY,
) -> str | None:
    """A sentence about a file that has another size than a file it belongs to; None if it fits.

    Args:
      file: the file, for the message.
      size: its (height, width).
      expected: the (height, width) of the other file.
      of: what the other file is ("picture", "matte").
      remedy: what the user should do.
    """
    if size == expected:
        return None
    (height, width), (rows, columns) = size, expected
    return f"{file}: is {width} x {height} pixels, but its {of} is {columns} x {rows}; {remedy}."
