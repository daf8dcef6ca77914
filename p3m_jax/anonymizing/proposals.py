"""Proposed face masks: the user reviews them, corrects them and gives them back.

A proposal counts only for the picture that it was made for. One that was edited has been reviewed;
one that is unchanged may never have been opened, so the user has to say that it was. No proposal is
added to a folder that is given as masks.
"""

import contextlib
import hashlib
import json
import os
import threading
from pathlib import Path

import numpy as np

from p3m_jax.errors import UserError
from p3m_jax.jobs.plan import Job
from p3m_jax.pictures.images import write_image
from p3m_jax.pictures.labels import read_face_mask
from p3m_jax.pictures.photos import digest

_KNOWN = "proposals.jsonl"
# What a given mask is: not a proposal, a proposal as it was made, one that the user has changed.
FOREIGN, UNCHANGED, EDITED = "foreign", "unchanged", "edited"


class StaleMask(UserError):
    """A proposed mask that was made for another state of its picture."""


class Proposals:
    """The proposed masks in the review folder; may be used from any thread.

    `proposals.jsonl` gets a line for every mask before it is written: its hash, and that of the
    picture's file.

    Args:
      folder: the review folder; the masks are in `masks/`, in the tree and with the names of the
        pictures.
      given: the folder of masks that the user has given, or None.

    Attributes:
      folder: the folder of the masks.
      given: whether the user has given this folder as masks.
    """

    def __init__(self, folder: Path, given: Path | None = None):
        self.folder = folder / "masks"
        self._list = folder / _KNOWN
        self._lock = threading.Lock()
        self._known = _read(self._list)
        own, other = self.folder.resolve(), given.resolve() if given else None
        self.given = other is not None and (own == other or other in own.parents)

    def file(self, job: Job) -> Path:
        """The file of the proposal for a picture, whether it exists or not."""
        return self.folder / f"{job.name}.png"

    def add(self, job: Job, labels: np.ndarray, sha256: str) -> None:
        """Proposes what was found, uint8 (H, W), in the picture whose file has this hash.

        If nothing was found, all of the picture is proposed: only the user can say that there is no
        face. An existing mask stays, because the user may have edited it. One that is unchanged,
        and was made for another state of the picture, is replaced.
        """
        file, known = self.file(job), self._known.get(str(job.name))
        if self.given:
            return
        if os.path.lexists(file):
            stale = known is not None and known["input_sha256"] != sha256
            if not stale or _content(file) != known["mask"]:
                return
        mask = np.where(labels > 0, np.uint8(255), np.uint8(0))
        if not mask.any():
            mask[:] = 255
        self._note({"name": str(job.name), "input_sha256": sha256, "mask": _hash(mask)})
        write_image(file, mask)

    def check(self, job: Job, mask: Path) -> None:
        """Raises `StaleMask` if a given mask was proposed for another state of the picture."""
        known = self._known.get(str(job.name))
        if known is None or mask.resolve() != self.file(job).resolve():
            return
        if known["input_sha256"] != digest(job.source):
            raise StaleMask(
                f"{mask}: was made for an earlier state of {job.source}; delete it, run without "
                "--masks, and review the picture again."
            )

    def state(self, job: Job, mask: Path, pixels: np.ndarray) -> str:
        """`FOREIGN`, `UNCHANGED` or `EDITED`: what a mask that is given for a picture is.

        A copy of a proposal in another folder is `UNCHANGED`, too.

        Args:
          job: the picture.
          mask: the file of the mask.
          pixels: of the mask, uint8 (H, W), as `read_face_mask` returns them.
        """
        known = self._known.get(str(job.name))
        if known is None:
            return FOREIGN
        if _hash(pixels) == known["mask"]:
            return UNCHANGED
        return EDITED if mask.resolve() == self.file(job).resolve() else FOREIGN

    def _note(self, entry: dict[str, str]) -> None:
        with self._lock:
            self._known[entry["name"]] = entry
            self._list.parent.mkdir(parents=True, exist_ok=True)
            with self._list.open("ab", buffering=0) as file:
                file.write(b"\n" * _is_cut(self._list) + json.dumps(entry).encode() + b"\n")


def _read(file: Path) -> dict[str, dict[str, str]]:
    entries = {}
    with contextlib.suppress(FileNotFoundError):
        for line in file.read_text("utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError, TypeError, KeyError):  # a killed run's last line
                entry = json.loads(line)
                entries[entry["name"]] = {"mask": entry["mask"], **entry}
    return entries


def _is_cut(file: Path) -> bool:
    """Whether a killed run left the last line of a file unfinished."""
    with file.open("rb") as content:
        content.seek(max(file.stat().st_size - 1, 0))
        return content.read(1) not in (b"", b"\n")


def _content(file: Path) -> str | None:
    """The hash of a mask's pixels; None if the file cannot be read as a mask."""
    try:
        return _hash(read_face_mask(file))
    except (UserError, OSError):
        return None


def _hash(mask: np.ndarray) -> str:
    return hashlib.sha256(repr(mask.shape).encode() + mask.tobytes()).hexdigest()
