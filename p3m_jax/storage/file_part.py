"""Reads a part of a file like a whole file, for instance a picture inside a TFRecord file.

All code that reads files (`p3m_jax.pictures.images`, the pipeline, caches) accepts a `FilePart` in
place of a path and names it in errors.
"""

import io
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FilePart:
    """`length` bytes of the file `path`, starting at byte `offset`.

    Attributes:
      path: the file that contains the part, for instance a TFRecord file.
      offset: where the part starts in `path`, in bytes.
      length: the length of the part in bytes.
      record: the byte of `path` at which the TFRecord that contains the part begins.
      name: the part's name in error messages, such as "p_1/picture".
    """

    path: Path
    offset: int
    length: int
    record: int
    name: str

    def __str__(self) -> str:
        return f"{self.path}[{self.name}]"

    @property
    def parent(self) -> Path:
        """The folder of the file that contains the part."""
        return self.path.parent

    def open(self, mode: str = "rb") -> io.BytesIO:
        """Opens the part for reading; `mode` must be "rb".

        If the file `path` is truncated, the result may have fewer than `length` bytes.
        """
        if mode != "rb":
            raise ValueError(f"{self}: can only be read, not opened with {mode!r}.")
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return io.BytesIO(file.read(self.length))


def size_in_bytes(file: Path | FilePart) -> int:
    """Returns the size of a file or part in bytes.

    Raises:
      OSError: the file, or the file that contains the part, does not exist.
    """
    # For a part, too, stat must be called: it raises the error if the file does not exist.
    size = file.path.stat().st_size if isinstance(file, FilePart) else file.stat().st_size
    return file.length if isinstance(file, FilePart) else size
