"""Counts and names the files of a folder that are not read, so that none is skipped silently."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import PurePath

from p3m_jax.text import warn

LINE = "Not read: {}."  # a line of the summary
_NAMED = 3  # how many files of each kind are named
_HIDDEN, _SYSTEM = "hidden", "system or hidden folder"
# Made by file servers, photo programs and archives; they hold previews, metadata and deleted files.
_SYSTEM_FOLDERS = frozenset(
    {
        *("@eaDir", "@Recycle", "#recycle", "#snapshot", "__MACOSX", "$RECYCLE.BIN"),
        *("lost+found", "System Volume Information"),
    }
)


def is_system_folder(name: str) -> bool:
    """Whether a folder of this name is hidden, or is made by a file server or another program."""
    return name.startswith(".") or name in _SYSTEM_FOLDERS


class LeftOut:
    """Collects the files and folders that are not read.

    `str()` of this object is a text that counts and names them. It is empty if everything was read.
    """

    def __init__(self) -> None:
        self._kinds: dict[str, list[PurePath]] = defaultdict(list)

    def file(self, path: PurePath) -> None:
        """Adds a file whose name does not have the ending of a supported picture format."""
        self._kinds[path.suffix.lower() or "without an ending"].append(path)

    def hidden(self, path: PurePath) -> None:
        """Adds a hidden file that is named like a picture."""
        self._kinds[_HIDDEN].append(path)

    def folder(self, path: PurePath, kind: str = _SYSTEM) -> None:
        """Adds a folder that is not searched; `str()` lists it as a `kind`."""
        self._kinds[kind].append(path)

    def __str__(self) -> str:
        return ", ".join(_counted(kind, paths) for kind, paths in sorted(self._kinds.items()))


def _counted(kind: str, paths: list[PurePath]) -> str:
    plural = "s" if kind.endswith("folder") and len(paths) > 1 else ""
    names = ", ".join(map(str, paths[:_NAMED])) + (", ..." if len(paths) > _NAMED else "")
    return f"{len(paths):,} {kind}{plural} ({names})"


def warn_of(left_out: Iterable[str]) -> None:
    """Prints which files were not read.

    `left_out` holds texts that count and name such files, like `str()` of a `LeftOut`.
    """
    for sentence in left_out:
        warn(LINE.format(sentence))
