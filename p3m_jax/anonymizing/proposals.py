"""Proposed face masks, which the user reviews, corrects, and passes to the next run.

A proposal is valid only for the picture it was made for. An edited proposal counts as reviewed. An
unchanged one may never have been opened, so the user must confirm that it was reviewed. A run that
uses the folder of proposals as its folder of masks writes no proposals.
"""

import contextlib
import hashlib
import os
import threading
from pathlib import Path

import numpy as np

from p3m_jax.errors import UserError
from p3m_jax.jobs.plan import Job
from p3m_jax.pictures.images import write_image
from p3m_jax.pictures.labels import read_face_mask
from p3m_jax.pictures.photos import digest
from p3m_jax.storage.json_lines import LineWriter, read_lines

_KNOWN = "proposals.jsonl"
# Kinds of given masks: not a proposal, an unchanged proposal, a proposal the user has edited.
FOREIGN, UNCHANGED, EDITED = "foreign", "unchanged", "edited"


class StaleMask(UserError):
    """A proposed mask was made for another version of its picture."""


class Proposals:
    """The proposed masks in the review folder. Threads may share this object.

    Before a mask is written, the file `proposals.jsonl` gets a line with two hashes: that of the
    mask and that of the picture's file.

    Args:
      folder: the review folder. A picture's mask is `masks/NAME.png` in this folder; NAME is the
        `name` of the picture's `Job`.
      given: the folder of masks that the user passed to the run, or None.

    Attributes:
      folder: unlike the argument, the path of the subfolder `masks/`.
      given: unlike the argument, a bool: True if the folder of masks that the user passed is this
        subfolder or contains it.
    """

    def __init__(self, folder: Path, given: Path | None = None) -> None:
        self.folder = folder / "masks"
        self._list = folder / _KNOWN
        self._lock = threading.Lock()
        self._known = _read(self._list)
        own, other = self.folder.resolve(), given.resolve() if given else None
        self.given = other is not None and (own == other or other in own.parents)

    def file(self, job: Job) -> Path:
        """Returns the path of a picture's proposal, whether or not the file exists."""
        return self.folder / f"{job.name}.png"

    def add(self, job: Job, labels: np.ndarray, sha256: str) -> None:
        """Writes a picture's proposed mask; does nothing if the attribute `given` is True.

        If no face was found, the mask marks the whole picture as a face, because only the user can
        confirm that the picture has no face. An existing mask is replaced only if it is an unedited
        proposal for another version of the picture.

        Args:
          job: the picture.
          labels: the label map of the faces found, uint8 (H, W).
          sha256: the hash of the picture's file.
        """
        file, known = self.file(job), self._known.get(str(job.name))
        if self.given:
            return
        if os.path.lexists(file) and (
            known is None or known["input_sha256"] == sha256 or _content(file) != known["mask"]
        ):
            return
        mask = np.where(labels > 0, np.uint8(255), np.uint8(0))
        if not mask.any():
            mask[:] = 255
        self._note({"name": str(job.name), "input_sha256": sha256, "mask": _hash(mask)})
        write_image(file, mask)

    def check(self, job: Job, mask: Path) -> None:
        """Raises `StaleMask` if the user's mask was proposed for another version of the picture."""
        known = self._known.get(str(job.name))
        if known is None or mask.resolve() != self.file(job).resolve():
            return
        if known["input_sha256"] != digest(job.source):
            raise StaleMask(
                f"{mask}: was made for an earlier version of {job.source}; delete it, run without "
                "--masks, and review the picture again."
            )

    def state(self, job: Job, mask: Path, pixels: np.ndarray) -> str:
        """Returns the origin of the mask that the user gave for a picture.

        Args:
          job: the picture.
          mask: the file of the mask.
          pixels: the mask's pixels, uint8 (H, W), as `read_face_mask` returns them.

        Returns:
          `UNCHANGED` for a proposal that the user has not edited, even if it was copied to another
          folder. `EDITED` for an edited proposal in the review folder. `FOREIGN` for any other
          mask.
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
            with LineWriter(self._list) as lines:
                lines.append(entry)


def _read(file: Path) -> dict[str, dict[str, str]]:
    entries = {}
    for entry in read_lines(file):
        with contextlib.suppress(TypeError, KeyError):  # skips damaged lines
            entries[entry["name"]] = {"mask": entry["mask"], **entry}
    return entries


def _content(file: Path) -> str | None:
    """Returns the hash of a mask's pixels; None if the file cannot be read as a mask."""
    try:
        return _hash(read_face_mask(file))
    except (UserError, OSError):
        return None


def _hash(mask: np.ndarray) -> str:
    return hashlib.sha256(repr(mask.shape).encode() + mask.tobytes()).hexdigest()
