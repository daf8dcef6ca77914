"""Caches for files derived once from a data set's pictures: foregrounds, face areas.

A cache is a folder with derived files and a list, `sources.jsonl`, with one line per finished
picture. A line contains the settings, and the sizes of the source files in bytes. The sizes show
whether the cache was made from other pictures with the same names. Unlike times, sizes do not
change when the data set is copied to another place.

If many machines fill a cache, each writes its own list, `sources-*.jsonl`, because lines may be
lost if several machines append to one file. All lists are read. When all machines have finished,
the lists are merged into `sources.jsonl`.
"""

import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from p3m_jax.data.folders import DataSetError
from p3m_jax.data.sets import Example
from p3m_jax.pictures.images import read_picture
from p3m_jax.pictures.labels import read_matte
from p3m_jax.pictures.sizes import require_size
from p3m_jax.storage.file_part import FilePart, size_in_bytes
from p3m_jax.storage.files import is_written
from p3m_jax.storage.json_lines import LineWriter, read_lines, write_lines

SOURCES, PARTS = "sources.jsonl", "sources-*.jsonl"
_NOTES, _PROBLEM = "notes", "problem"


class Pictured(Protocol):
    """An object with the source files of a picture, such as an `Example`.

    It has these attributes, and one for each of the cache's `roles`.
    """

    @property
    def stem(self) -> str:
        """The picture's name: its file name without the ending."""

    @property
    def picture(self) -> Path | FilePart:
        """The picture's file."""


P = TypeVar("P", bound=Pictured)


@dataclass(frozen=True)
class Cache:
    """A folder of derived files.

    Attributes:
      folder: its folder, which may not exist yet.
      what: a plural noun for its contents in messages, such as "foregrounds".
      made: a participle for messages that says how they are made, such as "estimated".
      files: a function from a stem to the paths of the picture's derived files, relative to
        `folder`.
      roles: the names of the source files from which the derived files are made.
      settings: the settings that the derived files depend on.
    """

    folder: Path
    what: str
    made: str
    files: Callable[[str], tuple[Path, ...]]
    roles: tuple[str, ...] = ("picture", "matte")
    settings: dict[str, Any] = field(default_factory=dict)

    def paths(self, stem: str) -> tuple[Path, ...]:
        """Returns the paths of a picture's derived files."""
        return tuple(self.folder / file for file in self.files(stem))

    def missing(self, examples: Iterable[P]) -> list[P]:
        """Returns the examples whose derived files are not finished.

        Raises `DataSetError` for a cache that was made from other pictures, and for a folder that
        is not a cache but contains files that would be overwritten.
        """
        known, missing = self._lines(), []
        for example in examples:
            source, paths = self.source(example), self.paths(example.stem)
            there = known.get(example.stem)
            if there is not None and there | {_NOTES: None} != source | {_NOTES: None}:
                raise DataSetError(
                    f"{paths[0]}: was {self.made} from a different picture or matte than "
                    f"{example.picture}, or with different settings; choose another cache folder, "
                    "or empty this one."
                )
            if there is None or not all(map(is_written, paths)):
                missing.append(example)
        if missing and not self.sources_file.exists() and self._holds_files():
            folders = " or ".join(f"{name}/" for name in self._folders())
            raise DataSetError(
                f"{self.folder}: holds {folders} that were not {self.made} here; choose another "
                "folder."
            )
        return missing

    def notes(self) -> dict[str, dict[str, Any]]:
        """Returns the notes stored for each finished picture: {stem: notes}.

        Notes are facts about a picture that were found while its files were made, such as doubts
        about its faces.
        """
        return {stem: line.get(_NOTES, {}) for stem, line in self._lines().items()}

    def problems(self) -> dict[str, str]:
        """Returns {stem: reason} for the pictures that Beam workers failed to make.

        `gather` deletes these reasons.
        """
        return {line["stem"]: line[_PROBLEM] for line in self._all_lines() if _PROBLEM in line}

    @property
    def sources_file(self) -> Path:
        """The file with one line per finished picture."""
        return self.folder / SOURCES

    def line(self, source: dict[str, Any], notes: dict[str, Any]) -> dict[str, Any]:
        """Returns the line of `sources.jsonl` for a finished picture.

        Pass what the method `source` returned for the picture as `source`, and further facts about
        the picture as `notes`.
        """
        return source | ({_NOTES: notes} if notes else {})

    def problem_line(self, example: Pictured, problem: str) -> dict[str, Any]:
        """Returns the line, in a list of the cache, that says why a picture failed."""
        return {"stem": example.stem, _PROBLEM: problem}

    def open_part(self) -> LineWriter:
        """Creates a list `sources-*.jsonl` for one worker, and opens it for appending.

        Raises `OSError` if the cache's folder does not exist.
        """
        return LineWriter(self.folder / PARTS.replace("*", uuid.uuid4().hex))

    def gather(self) -> None:
        """Merges the lists of all machines, `sources-*.jsonl`, into `sources.jsonl`.

        The lines of pictures that failed are dropped. Do not call this while the cache is filled.
        """
        parts, lines = list(self.folder.glob(PARTS)), self._lines()
        if parts:
            write_lines(self.sources_file, (lines[stem] for stem in sorted(lines)))
        for part in parts:
            part.unlink(missing_ok=True)

    def source(self, example: Pictured) -> dict[str, Any]:
        """Returns the picture's stem, the sizes of its source files, and the settings, as a dict.

        Raises `DataSetError` if a source file cannot be read.
        """
        source: dict[str, Any] = {"stem": example.stem}
        for role in self.roles:
            path = getattr(example, role)
            try:
                source[f"{role}_bytes"] = size_in_bytes(path) if path else None
            except OSError as error:
                raise DataSetError(
                    f"{error.filename}: cannot be read ({error.strerror}); replace it."
                ) from None
        return source | ({"settings": self.settings} if self.settings else {})

    def _lines(self) -> dict[str, dict[str, Any]]:
        return {line["stem"]: line for line in self._all_lines() if _PROBLEM not in line}

    def _all_lines(self) -> Iterator[dict[str, Any]]:
        for path in (self.sources_file, *sorted(self.folder.glob(PARTS))):
            try:
                lines = list(read_lines(path))
            except OSError as error:
                raise self.unwritable(error) from error
            yield from (line for line in lines if isinstance(line.get("stem"), str))

    def _folders(self) -> list[str]:
        return [path.parent.name for path in self.files("")]

    def _holds_files(self) -> bool:
        folders = [self.folder / name for name in self._folders()]
        return any(any(folder.iterdir()) for folder in folders if folder.is_dir())

    def make_folders(self) -> None:
        """Creates the cache's folders, and the file `sources.jsonl` if it does not exist.

        Raises `DataSetError` if the folder cannot be written.
        """
        try:
            for name in self._folders():
                (self.folder / name).mkdir(parents=True, exist_ok=True)
            LineWriter(self.sources_file).close()
        except OSError as error:
            raise self.unwritable(error) from error

    def unwritable(self, error: OSError) -> DataSetError:
        """Returns the error for a cache that cannot be written."""
        return DataSetError(
            f"{self.folder}: the cache of {self.what} cannot be written "
            f"({error.strerror or error}); free some space, or choose a folder that you may write "
            "to. Finished pictures are kept."
        )


def read_pair(example: Example) -> tuple[np.ndarray, np.ndarray]:
    """Reads picture (H, W, 3) and matte (H, W), uint8; `ImageError` if their sizes differ."""
    picture, matte = read_picture(example.picture), read_matte(example.matte)
    require_size(example.picture, picture.shape[:2], matte.shape, "matte")
    return picture, matte
