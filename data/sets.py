"""Data sets in memory, scans of their folders, and the split into training and validation.

A `Scan` lists the files of a data set's folders, and the problems with them. A scan without
problems can be turned into a `DataSet`. The check before a run reports the problems of a scan.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from p3m_jax.data.folders import ENDINGS, DataSetError, name_some
from p3m_jax.storage.file_part import FilePart
from p3m_jax.text import counted

# A picture without these cannot be used; the others are optional for each picture.
REQUIRED = ("picture", "matte", "trimap")


@dataclass(frozen=True)
class Example:
    """One picture and its other files, all of the same size.

    Attributes:
      private: the label map of the face areas, a file in a cache. If it is not None, these areas
        must be obfuscated before the picture is used (see `p3m_jax.faces.areas`).
      published: whether the face mask is P3M-10k's own. Such a mask may have several channels that
        differ, and only the first is used.
    """

    stem: str
    picture: Path | FilePart
    matte: Path | FilePart
    trimap: Path | FilePart | None = None
    foreground: Path | FilePart | None = None
    background: Path | FilePart | None = None
    facemask: Path | FilePart | None = None
    private: Path | None = None
    published: bool = False


@dataclass(frozen=True)
class DataSet:
    """A complete data set.

    Attributes:
      examples: its examples, sorted by stem.
      synthetic: whether this project drew the portraits.
      left_out: sentences about the files in its folders that are not read.
    """

    name: str
    root: Path
    examples: tuple[Example, ...]
    synthetic: bool
    left_out: tuple[str, ...] = ()


_NO_ROLES = ("stem", "private", "published")
ROLES = tuple(part.name for part in fields(Example) if part.name not in _NO_ROLES)


@dataclass(frozen=True)
class Scan:
    """The files in the folders of one set, complete or not.

    A role is the name of a field of `Example`, such as "matte".

    Attributes:
      folders: {role: folder}.
      files: {role: {stem: file}}.
      unusable: sentences about problems in the folders, such as two files with the same stem.
      synthetic, left_out: as in `DataSet`.
      cache: {role: {stem: file}} of cached foregrounds and backgrounds.
      published: as in `Example`.
    """

    name: str
    root: Path
    folders: dict[str, Path]
    files: Mapping[str, Mapping[str, Path | FilePart]]
    unusable: tuple[str, ...] = ()
    synthetic: bool = False
    cache: dict[str, dict[str, Path]] = field(default_factory=dict)
    published: bool = False
    left_out: tuple[str, ...] = ()

    def problems(self) -> list[str]:
        """Returns a sentence for each problem that makes the set unusable; [] if there is none."""
        pictures, found = self.files["picture"], list(self.unusable)
        if not pictures:
            found.append(
                f"{self.folders['picture']}: holds no pictures; choose the folder that holds the "
                f"data set ({', '.join(ENDINGS)} are read)."
            )
        for role in REQUIRED[1:]:
            if role in self.folders:
                missing = pictures.keys() - self.files[role].keys()
                if missing:
                    found.append(
                        f"{self.folders[role]}: no {role} for {name_some(missing)} of "
                        f"{self.folders['picture']}; add these files or remove these pictures."
                    )
        extra = self.files["matte"].keys() - pictures.keys()
        if extra:
            found.append(
                f"{self.folders['picture']}: no picture for {name_some(extra)} of "
                f"{self.folders['matte']}; add these pictures or remove these mattes."
            )
        return found

    def examples(self) -> tuple[Example, ...]:
        """Returns the examples with all required files, sorted by stem."""
        required = [self.files[role] for role in REQUIRED if role in self.folders]
        stems = set.intersection(*(set(files) for files in required))
        return tuple(self._example(stem) for stem in sorted(stems))

    def _example(self, stem: str) -> Example:
        parts: dict[str, Any] = {role: files.get(stem) for role, files in self.files.items()}
        pair = ("foreground", "background")
        # Foreground and background are estimated together, so they must come from the same place.
        if not all(parts.get(role) for role in pair):
            cached = {role: self.cache.get(role, {}).get(stem) for role in pair}
            parts |= cached if all(cached.values()) else dict.fromkeys(pair)
        return Example(stem=stem, **parts, published=self.published)

    def dataset(self) -> DataSet:
        """Returns the data set; raises `DataSetError` with the first problem if there are any."""
        problems = self.problems()
        if problems:
            more = f" ({len(problems) - 1} more: run `p3m check`.)" if len(problems) > 1 else ""
            raise DataSetError(problems[0] + more)
        return DataSet(self.name, self.root, self.examples(), self.synthetic, self.left_out)


def split_validation(dataset: DataSet, count: int) -> tuple[DataSet, DataSet]:
    """Splits a training set into (train, validation); validation is for model selection.

    The validation set has `count` pictures, but at most an eighth of the set, and at least one. Its
    pictures are those whose stems have the smallest SHA-256 hashes. So the split is the same on
    every machine and for every order of the pictures. It hardly changes when pictures are added or
    removed.

    Raises:
      DataSetError: the set has fewer than two pictures.
    """
    if len(dataset.examples) < 2:
        raise DataSetError(
            f"{dataset.root}: {dataset.name} has {counted(len(dataset.examples), 'picture')}, too "
            "few to hold one out for validation; add pictures."
        )
    count = max(1, min(count, len(dataset.examples) // 8))
    ranked = sorted(
        dataset.examples,
        key=lambda e: hashlib.sha256(e.stem.encode("utf-8", "surrogateescape")).digest(),
    )
    held_out = {example.stem for example in ranked[:count]}

    def part(name: str, held: bool) -> DataSet:
        chosen = tuple(e for e in dataset.examples if (e.stem in held_out) is held)
        return DataSet(name, dataset.root, chosen, dataset.synthetic)

    return part(dataset.name, False), part(f"{dataset.name}, held out", True)
