"""Caches of what is derived from a data set's pictures once: foregrounds, private areas.

A cache is a folder with `sources.jsonl`, one line per finished picture: the sizes in bytes of the
files that it was made from, and settings. They survive copying the data set, and give away a cache
that was made for other pictures of equal names.
"""

import contextlib
import json
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from p3m_jax.data.folders import DataSetError
from p3m_jax.data.layouts import Example
from p3m_jax.errors import UserError
from p3m_jax.images import read_matte, read_picture

SOURCES = "sources.jsonl"
_NOTES = "notes"
_NAMED = 10  # broken pictures that an error names


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
        if missing and not (self.folder / SOURCES).exists() and self._holds_files():
            folders = " or ".join(f"{name}/" for name in self._folders())
            raise DataSetError(
                f"{self.folder}: holds {folders} that were not {self.made} here; name another "
                "folder."
            )
        return missing

    def notes(self) -> dict[str, dict[str, Any]]:
        """What was noted of each finished picture, by stem."""
        return {stem: line.get(_NOTES, {}) for stem, line in self._lines().items()}

    def _lines(self) -> dict[str, dict[str, Any]]:
        lines_by_stem = {}
        try:
            lines = (self.folder / SOURCES).read_text("utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise self._unwritable(error) from error
        for line in lines:
            # A line that was cut off when a run was killed does not count: it is made again.
            with contextlib.suppress(ValueError, TypeError, KeyError):
                source = json.loads(line)
                lines_by_stem[source["stem"]] = source
        return lines_by_stem

    def fill(
        self,
        examples: Iterable[Example],
        make: Callable[[Example, tuple[Path, ...]], dict[str, Any]],
        *,
        workers: int | None = None,
        progress: bool = True,
    ) -> int:
        """Makes what is missing, in threads; returns of how many pictures.

        `make` writes the files of an example, whole or not at all, and returns what shall be noted.
        What a former, perhaps killed, call finished is not done again. Raises `DataSetError` at
        once if the cache cannot be used, and at the end, after all others are done, if some
        pictures cannot be.
        """
        missing = self.missing(examples)
        if not missing:
            return 0
        self._make_folders()
        broken = []
        with (
            _bar(len(missing), self.what, progress) as bar,
            ThreadPoolExecutor(workers or os.cpu_count()) as pool,
            (self.folder / SOURCES).open("a", encoding="utf-8") as sources,
        ):
            futures = {
                pool.submit(make, example, self.paths(example.stem)): example for example in missing
            }
            try:
                for future in as_completed(futures):
                    try:
                        notes = future.result()
                    except UserError as error:
                        broken.append(str(error))
                    else:
                        line = self.source(futures[future]) | ({_NOTES: notes} if notes else {})
                        sources.write(json.dumps(line) + "\n")
                        sources.flush()
                    bar.update()
            except OSError as error:
                raise self._unwritable(error) from error
            finally:
                pool.shutdown(cancel_futures=True)
        if broken:
            more = f" (and {len(broken) - _NAMED} more)" if len(broken) > _NAMED else ""
            raise DataSetError(
                f"{len(broken)} of {len(missing)} {self.what} could not be {self.made}, the others "
                f"are done: {' '.join(sorted(broken)[:_NAMED])}{more}"
            )
        return len(missing)

    def source(self, example: Example) -> dict[str, Any]:
        """What identifies the files and settings that something was made from."""
        source: dict[str, Any] = {"stem": example.stem}
        for role in self.roles:
            path = getattr(example, role)
            try:
                source[f"{role}_bytes"] = path.stat().st_size if path else None
            except OSError as error:
                raise DataSetError(
                    f"{error.filename}: cannot be read ({error.strerror}); replace it."
                ) from None
        return source | ({"settings": self.settings} if self.settings else {})

    def _folders(self) -> list[str]:
        return [path.parent.name for path in self.files("")]

    def _holds_files(self) -> bool:
        folders = [self.folder / name for name in self._folders()]
        return any(any(folder.iterdir()) for folder in folders if folder.is_dir())

    def _make_folders(self) -> None:
        try:
            for name in self._folders():
                (self.folder / name).mkdir(parents=True, exist_ok=True)
            with (self.folder / SOURCES).open("a+b") as sources:
                # A line that a killed run left unfinished must not swallow the next one.
                sources.seek(max(sources.tell() - 1, 0))
                if sources.read(1) not in (b"", b"\n"):
                    sources.write(b"\n")
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> DataSetError:
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


def _bar(total: int, what: str, progress: bool):
    from tqdm import tqdm

    return tqdm(total=total, desc=what, unit="picture", disable=not progress)
