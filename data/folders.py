"""Folders of pictures: what they hold, and where a wrongly named one was meant to be."""

import contextlib
import os
from pathlib import Path, PurePath
from typing import NamedTuple

from p3m_jax.errors import UserError
from p3m_jax.pictures.formats import JPEG_ENDINGS, endings, unread_picture
from p3m_jax.pictures.left_out import LeftOut, is_system_folder

ENDINGS = (*JPEG_ENDINGS, ".png", ".webp")


class DataSetError(UserError):
    """A data set that cannot be used; the message is one sentence with the path and the remedy."""


class Listing(NamedTuple):
    """What a folder of pictures holds.

    Attributes:
      files: its pictures by stem.
      complaints: a sentence for each kind of file that has no place there.
      left_out: a sentence about what is not read, if there is anything.
    """

    files: dict[str, Path]
    complaints: list[str]
    left_out: list[str]


def list_folder(folder: Path) -> Listing:
    """The pictures of a folder, without those of its folders.

    A picture in a format that is not read here is complained about, since skipping it would make
    the set smaller; not so where it only accompanies one that is read, as a camera's raw file does.
    """
    files, twins, others, no_files, left_out = {}, set(), [], set(), LeftOut()
    # The listing itself mostly tells the kind of an entry; asking for each is slow on a network.
    with os.scandir(folder) as listing:
        entries = sorted(listing, key=lambda entry: entry.name)
    for entry in entries:
        path, name = folder / entry.name, PurePath(entry.name)
        ending = path.suffix.lower()
        if ending in ENDINGS and not entry.name.startswith("."):
            if not entry.is_file():
                no_files.add(path.name)  # reading a pipe would wait for ever
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
            f"{folder}: {name_some(no_files)} named like a picture but no file (a folder, a pipe "
            "or a link to nowhere); take it away."
        )
    if twins:
        complaints.append(
            f"{folder}: {name_some(twins)} there with two endings; keep one file of each stem."
        )
    if others:
        complaints.append(
            f"{folder}: {name_some(map(str, others))} in a format that is not read; convert to "
            f"{', '.join(ENDINGS)}."
        )
    return Listing(files, complaints, [f"{folder}: {left_out}"] if str(left_out) else [])


def user_path(path) -> Path:
    """`path` with a leading ~ spelled out; raises `DataSetError` where there is no such user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise DataSetError(f"{path}: no home folder is known; write the path out.") from None


def picture_folder(path) -> Path:
    """The folder `path`; raises `DataSetError` if there is none."""
    path = user_path(path)
    if not path.is_dir():
        state = "is a file" if path.exists() else "there is no such folder"
        raise DataSetError(f"{path}: {state}; name a folder of pictures.")
    return path


def find_root(root, needed: Path) -> Path:
    """`root` if it holds the folder `needed`; else an error that looks for it nearby."""
    root = user_path(root)
    wanted = f"name the folder that holds {needed}"
    if not root.is_dir():
        state = "is a file" if root.exists() else "there is no such folder"
        raise DataSetError(f"{root}: {state}; {wanted}.")
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
    """A folder and the three above it: a set's picture folder lies at most that deep."""
    folder = folder.resolve()
    return [folder, *list(folder.parents)[:3]]


def name_some(stems) -> str:
    """'3 (a, b, c)', with at most ten names."""
    stems = sorted(stems)
    names = ", ".join(stems[:10]) + (", ..." if len(stems) > 10 else "")
    return f"{len(stems)} ({names})"
