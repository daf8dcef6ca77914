"""A file that lies within another: a picture inside a shard of records.

Everything here that reads files (`p3m_jax.pictures.images`, the pipeline, caches) accepts a
`FilePart` in place of a path and names it in errors.
"""

import io
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FilePart:
    """`length` bytes of the file `path`, from byte `offset` on.

    Attributes:
      path: the file that holds it, for instance a shard.
      offset, length: in bytes.
      record: byte of `path` at which the record begins that holds it.
      name: what errors call it, like "p_1/picture".
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
        """The folder of the file that holds it."""
        return self.path.parent

    def open(self, mode: str = "rb") -> io.BytesIO:
        """Its bytes, as a file to read; fewer of them where the file that holds it was cut off."""
        if mode != "rb":
            raise ValueError(f"{self}: can only be read, not opened with {mode!r}.")
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return io.BytesIO(file.read(self.length))


def size_in_bytes(file: Path | FilePart) -> int:
    """The size of a file; raises `OSError` where it is not there."""
    # The file that holds a part is asked for, too: a part of nothing has no size.
    size = file.path.stat().st_size if isinstance(file, FilePart) else file.stat().st_size
    return file.length if isinstance(file, FilePart) else size
