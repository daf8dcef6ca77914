"""Caches of what is derived from a data set's pictures once: foregrounds, private areas.

A cache is a folder with `sources.jsonl`, one line per finished picture: the sizes in bytes of the
files that it was made from, and settings. They survive copying the data set, and give away a cache
that was made for other pictures of equal names. Where many machines fill a cache each writes a list
of its own, `sources-*.jsonl`, since lines that several of them append to one file may be lost; all
lists count, and at the end of such a job they are put into the one.
"""

import contextlib
import json
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from p3m_jax.data.folders import DataSetError
from p3m_jax.data.layouts import Example
from p3m_jax.pictures.images import read_picture
from p3m_jax.pictures.labels import read_matte
from p3m_jax.storage.file_part import size_in_bytes
from p3m_jax.storage.files import write_text

SOURCES, PARTS = "sources.jsonl", "sources-*.jsonl"
_NOTES, _PROBLEM = "notes", "problem"


@dataclass(frozen=True)
class Cache:
    """A folder of derived files.

    Attributes:
      folder: where it is or will be.
      what: it holds, in the plural ("foregrounds").
      made: how, as a participle ("estimated").
      files: the files of a picture by its stem, below `folder`.
      roles: of an example's files, those that the derived ones depend on.
      settings: what else they depend on.
    """

    folder: Path
    what: str
    made: str
    files: Callable[[str], tuple[Path, ...]]
    roles: tuple[str, ...] = ("picture", "matte")
    settings: dict[str, Any] = field(default_factory=dict)

    def paths(self, stem: str) -> tuple[Path, ...]:
        """The files of a picture."""
        return tuple(self.folder / file for file in self.files(stem))

    def missing(self, examples: Iterable[Example]) -> list[Example]:
        """The examples that are not finished.

        Raises `DataSetError` for a cache that was made from other pictures, and for a folder that
        is no cache but holds what would be overwritten.
        """
        known, missing = self._lines(), []
        for example in examples:
            source, paths = self.source(example), self.paths(example.stem)
            there = known.get(example.stem)
            if there is not None and there | {_NOTES: None} != source | {_NOTES: None}:
                raise DataSetError(
                    f"{paths[0]}: was {self.made} from another picture or matte than "
                    f"{example.picture}, or with other settings; name another folder for the "
                    "cache, or empty this one."
                )
            if there is None or not all(map(_is_written, paths)):
                missing.append(example)
        if missing and not self.sources_file.exists() and self._holds_files():
            folders = " or ".join(f"{name}/" for name in self._folders())
            raise DataSetError(
                f"{self.folder}: holds {folders} that were not {self.made} here; name another "
                "folder."
            )
        return missing

    def notes(self) -> dict[str, dict[str, Any]]:
        """What was noted of each finished picture, by stem."""
        return {stem: line.get(_NOTES, {}) for stem, line in self._lines().items()}

    def problems(self) -> dict[str, str]:
        """Why pictures could not be made, by stem, as the lists of a job tell."""
        return {line["stem"]: line[_PROBLEM] for line in self._all_lines() if _PROBLEM in line}

    @property
    def sources_file(self) -> Path:
        """The file with a line for each finished picture."""
        return self.folder / SOURCES

    def line(self, source: dict[str, Any], notes: dict[str, Any]) -> dict[str, Any]:
        """The line of a finished picture, from its `source` and what shall be noted."""
        return source | ({_NOTES: notes} if notes else {})

    def problem_line(self, example: Example, problem: str) -> dict[str, Any]:
        """The line of a picture that could not be made, which counts for `problems` alone."""
        return {"stem": example.stem, _PROBLEM: problem}

    def open_part(self) -> TextIO:
        """A list for one writer alone, to append lines to; `OSError` where there is no folder."""
        name = PARTS.replace("*", uuid.uuid4().hex)
        return (self.folder / name).open("a", encoding="utf-8")

    def gather(self) -> None:
        """Puts the lines of all lists into the one; while nothing fills the cache."""
        parts, lines = list(self.folder.glob(PARTS)), self._lines()
        if parts:
            text = "".join(json.dumps(lines[stem]) + "\n" for stem in sorted(lines))
            write_text(self.sources_file, text)
        for part in parts:
            part.unlink(missing_ok=True)

    def source(self, example: Example) -> dict[str, Any]:
        """What identifies the files and settings that something was made from."""
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
                lines = path.read_text("utf-8", errors="replace").splitlines()
            except FileNotFoundError:
                continue
            except OSError as error:
                raise self.unwritable(error) from error
            for text in lines:
                # A line that was cut off when a run was killed does not count: it is made again.
                with contextlib.suppress(ValueError):
                    line = json.loads(text)
                    if isinstance(line, dict) and isinstance(line.get("stem"), str):
                        yield line

    def _folders(self) -> list[str]:
        return [path.parent.name for path in self.files("")]

    def _holds_files(self) -> bool:
        folders = [self.folder / name for name in self._folders()]
        return any(any(folder.iterdir()) for folder in folders if folder.is_dir())

    def make_folders(self) -> None:
        """Makes the folders and the list, ready for lines to be appended."""
        try:
            for name in self._folders():
                (self.folder / name).mkdir(parents=True, exist_ok=True)
            with self.sources_file.open("a+b") as sources:
                # A line that a killed run left unfinished must not swallow the next one.
                sources.seek(max(sources.tell() - 1, 0))
                if sources.read(1) not in (b"", b"\n"):
                    sources.write(b"\n")
        except OSError as error:
            raise self.unwritable(error) from error

    def unwritable(self, error: OSError) -> DataSetError:
        """What to say if the cache cannot be written."""
        return DataSetError(
            f"{self.folder}: the cache of {self.what} cannot be written "
            f"({error.strerror or error}); make room, or name a folder that you may write to. "
            "What is finished is kept."
        )


def read_pair(example: Example):
    """Picture (H, W, 3) and matte (H, W) of an example, uint8; `DataSetError` if sizes differ."""
    picture, matte = read_picture(example.picture), read_matte(example.matte)
    if picture.shape[:2] != matte.shape:
        (height, width), (rows, columns) = picture.shape[:2], matte.shape
        raise DataSetError(
            f"{example.picture}: is {width} x {height} pixels, its matte {columns} x {rows}; "
            "replace the wrong one."
        )
    return picture, matte


def _is_written(path: Path) -> bool:
    """False for an empty file, too, which a machine that went down may leave."""
    return path.is_file() and path.stat().st_size > 0
