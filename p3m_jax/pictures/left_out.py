"""What a folder of pictures holds and is not read: counted and named, never left out silently."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import PurePath

from p3m_jax.text import warn

LINE = "Left out, not read: {}."  # of a summary
_NAMED = 3  # of each kind
_HIDDEN, _SYSTEM = "hidden", "system or hidden folder"
# Made by file servers, photo programs and archives: previews, metadata, what was deleted.
_SYSTEM_FOLDERS = frozenset(
    {
        *("@eaDir", "@Recycle", "#recycle", "#snapshot", "__MACOSX", "$RECYCLE.BIN"),
        *("lost+found", "System Volume Information"),
    }
)


def is_system_folder(name: str) -> bool:
    """Whether a system or a program made a folder of this name, or it is hidden."""
    return name.startswith(".") or name in _SYSTEM_FOLDERS


class LeftOut:
    """Collects what is left out; `str` names it, and is empty where there is nothing."""

    def __init__(self):
        self._kinds: dict[str, list[PurePath]] = defaultdict(list)

    def file(self, path: PurePath) -> None:
        """A file that is not named like a picture that is read."""
        self._kinds[path.suffix.lower() or "without an ending"].append(path)

    def hidden(self, path: PurePath) -> None:
        """A hidden file that is named like a picture."""
        self._kinds[_HIDDEN].append(path)

    def folder(self, path: PurePath, kind: str = _SYSTEM) -> None:
        """A folder that is not looked into."""
        self._kinds[kind].append(path)

    def __str__(self) -> str:
        return ", ".join(_counted(kind, paths) for kind, paths in sorted(self._kinds.items()))


def _counted(kind: str, paths: list[PurePath]) -> str:
    plural = "s" if kind.endswith("folder") and len(paths) > 1 else ""
    names = ", ".join(map(str, paths[:_NAMED])) + (", ..." if len(paths) > _NAMED else "")
    return f"{len(paths):,} {kind}{plural} ({names})"


def warn_of(left_out: Iterable[str]) -> None:
    """Prints what was left out, a line for each folder or collection."""
    for sentence in left_out:
        warn(LINE.format(sentence))
