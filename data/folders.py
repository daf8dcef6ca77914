"""Folders of pictures: lists their contents, and suggests the right folder for a wrong one."""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import NamedTuple

from p3m_jax.errors import UserError
from p3m_jax.pictures.formats import JPEG_ENDINGS, endings, unread_picture
from p3m_jax.pictures.left_out import LeftOut, is_system_folder
from p3m_jax.storage import StrPath
from p3m_jax.storage.paths import source_folder

ENDINGS = (*JPEG_ENDINGS, ".png", ".webp")


class DataSetError(UserError):
    """A data set that cannot be used; the message is one sentence with the path and the remedy."""


class Listing(NamedTuple):
    """The contents of a folder of pictures.

    Attributes:
      files: its pictures by stem.
      complaints: a sentence for each kind of file that must not be in the folder.
      left_out: a sentence about the files that are not read, if there are any.
    """

    files: dict[str, Path]
    complaints: list[str]
    left_out: list[str]


def list_folder(folder: Path) -> Listing:
    """Lists the pictures of a folder, without subfolders.

    A picture in an unsupported format is listed as a complaint, because the set would be smaller
    without it. There is no complaint if a supported picture has the same stem: a camera's raw file
    next to its JPEG is only left out.
    """
    files: dict[str, Path] = {}
    twins, others, no_files, left_out = set(), [], set(), LeftOut()
    # The listing usually includes the type of an entry; asking for each is slow on a network.
    with os.scandir(folder) as listing:
        entries = sorted(listing, key=lambda entry: entry.name)
    for entry in entries:
        path, name = folder / entry.name, PurePath(entry.name)
        ending = path.suffix.lower()
        if ending in ENDINGS and not entry.name.startswith("."):
            if not entry.is_file():
                no_files.add(path.name)  # reading a pipe would wait forever
                continue
            if path.stem in files:
                twins.add(path.stem)
            files.setdefault(path.stem, path)
        elif entry.is_dir():
            kind = () if is_system_folder(entry.name) else ("folder",)
            left_out.folder(name, *kind)
        elif entry.name.startswith("."):
            if ending in ENDINGS:
                left_out.hidden(name)
        elif ending in endings() or unread_picture(entry.name):
            others.append(name)
        else:
            left_out.file(name)
    for name in [name for name in others if name.stem in files]:
        left_out.file(name)
        others.remove(name)
    complaints = []
    if no_files:
        complaints.append(
            f"{folder}: {name_some(no_files)} named like pictures but not files (folders, pipes or "
            "broken links); move them away."
        )
    if twins:
        complaints.append(
            f"{folder}: {name_some(twins)} exist with two endings; keep one file per stem."
        )
    if others:
        complaints.append(
            f"{folder}: {name_some(map(str, others))} in an unsupported format; convert to "
            f"{', '.join(ENDINGS)}."
        )
    return Listing(files, complaints, [f"{folder}: {left_out}"] if str(left_out) else [])


def find_root(root: StrPath, needed: Path) -> Path:
    """Returns `root` if it contains the folder `needed`; else raises `DataSetError`.

    The error suggests a nearby folder that contains `needed`, if there is one.
    """
    wanted = f"choose the folder that holds {needed}"
    root = source_folder(root, wanted)
    if (root / needed).is_dir():
        return root
    for place in [*upwards(root), *_children(root)]:
        with contextlib.suppress(PermissionError):
            if (place / needed).is_dir():
                raise DataSetError(f"{root}: holds no {needed}; did you mean {place}?")
    raise DataSetError(f"{root}: holds no {needed}; {wanted}.")


def _children(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def upwards(folder: Path) -> list[Path]:
    """Returns a folder and its next three parents.

    Folders of pictures are at most three levels below the root of their data set. So for such a
    folder, the list includes the root.
    """
    folder = folder.resolve()
    return [folder, *list(folder.parents)[:3]]


def name_some(stems: Iterable[str]) -> str:
    """Counts and lists stems: '3 (a, b, c)', with at most ten names."""
    stems = sorted(stems)
    names = ", ".join(stems[:10]) + (", ..." if len(stems) > 10 else "")
    return f"{len(stems)} ({names})"
