"""Lists of JSON objects, one per line, that survive a killed program.

A program appends a line when it has finished something. If it is killed while it writes, the last
line is cut off. Readers skip such a line, and the next program starts a new line after it.
"""

import contextlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from p3m_jax.storage.files import write_text


class LineWriter:
    """Appends objects to a file, which is created if missing. One thread at a time may use it.

    Raises:
      OSError: the file cannot be opened, or a line cannot be written.
    """

    def __init__(self, file: Path) -> None:
        self._file = file.open("a+b", buffering=0)
        self._file.seek(max(self._file.tell() - 1, 0))
        self._is_cut = self._file.read(1) not in (b"", b"\n")

    def append(self, value: dict[str, Any]) -> None:
        """Writes one line without a buffer, so that it is not lost if the program is killed."""
        rest = b"\n" * self._is_cut + json.dumps(value).encode() + b"\n"
        self._is_cut = True
        while rest:  # a full disk may take only a part of it
            rest = rest[self._file.write(rest) :]
        self._is_cut = False

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def __enter__(self) -> "LineWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_lines(file: Path) -> Iterator[dict[str, Any]]:
    """Yields the objects of a list; none if the file does not exist.

    Lines that are cut off, or that hold anything but an object, are skipped.
    """
    try:
        lines = file.open("rb")
    except FileNotFoundError:
        return
    with lines:
        for line in lines:
            with contextlib.suppress(ValueError, RecursionError):
                value = json.loads(line)
                if isinstance(value, dict):
                    yield value


def write_lines(file: Path, values: Iterable[dict[str, Any]]) -> None:
    """Writes a whole list atomically."""
    write_text(file, "".join(json.dumps(value) + "\n" for value in values))
