"""Reads and writes files of JSON objects, one per line, that stay readable if a program is killed.

A program appends a line when it has finished something. If it is killed while writing, the last
line is incomplete. Readers skip such a line, and the next program starts a new line after it.
"""

import contextlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from p3m_jax.storage.files import write_text


class LineWriter:
    """Appends JSON objects to a file; creates the file if it does not exist.

    Only one thread at a time may use a writer.

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
    """Yields the JSON objects in a file, one per line; yields none if the file does not exist.

    Skips incomplete lines, and lines that are not JSON objects.
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
    """Writes a file of JSON objects, one per line, atomically."""
    write_text(file, "".join(json.dumps(value) + "\n" for value in values))
