"""Checks that files which belong together, such as a picture and its matte, have the same size."""

from pathlib import Path

from p3m_jax.pictures.images import ImageError
from p3m_jax.storage.file_part import FilePart


def require_size(
    file: Path | FilePart | None,
    size: tuple[int, ...],
    expected: tuple[int, ...],
    of: str = "picture",
    remedy: str = "replace the wrong one",
) -> None:
    """Raises `ImageError` if two files that belong together differ in size.

    Args:
      file: the file, for the message.
      size: its (height, width).
      expected: the (height, width) of the other file.
      of: what the other file is ("picture", "matte").
      remedy: what the user should do.
    """
    if size != expected:
        (height, width), (rows, columns) = size, expected
        raise ImageError(
            f"{file}: is {width} x {height} pixels, but its {of} is {columns} x {rows}; {remedy}."
        )
