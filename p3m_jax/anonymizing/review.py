"""The review: a list of the pictures to review, contact sheets, and proposed masks.

All of these show original faces or their positions, so they are meant only for the owner.
"""

import contextlib
import re
import threading
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from p3m_jax.anonymizing.proposals import Proposals
from p3m_jax.anonymizing.sheets import COLUMNS, ROWS, cell, sheet
from p3m_jax.jobs.plan import Job
from p3m_jax.pictures.images import write_image
from p3m_jax.storage.files import remove_leftovers
from p3m_jax.storage.json_lines import read_lines, write_lines

LIST = "review.jsonl"
_SHEET = re.compile(r"sheet_(\d{3,})\.jpg")


class ReviewList:
    """Collects the pictures of a run that need review. Threads may share this object.

    Args:
      folder: the review folder. It gets `review.jsonl`, `sheet_001.jpg`, ..., and `masks/` with one
        proposed mask per picture.
      names: all pictures of the run. If an earlier run listed other pictures, these stay on the
        list and keep their sheets.
      given: the folder of masks that the user passed to the run, or None.
      written: whether to write files. False for a run over only a part of a collection: a later run
        over the whole collection checks its pictures again and writes the files.
    """

    def __init__(
        self,
        folder: Path,
        names: Collection[str] = (),
        given: Path | None = None,
        *,
        written: bool = True,
    ) -> None:
        self.folder = folder
        self._written = written
        self.proposals = Proposals(folder, given)
        self._lock = threading.Lock()
        self._earlier = _read(folder / LIST)
        others = (entry for name, entry in self._earlier.items() if name not in names)
        self._taken = {entry["sheet"] for entry in others}
        self._entries: dict[str, dict[str, Any]] = {}
        self._cells: list[Image.Image] = []
        self._number = 0
        self._sheets: set[str] = set()

    def remove_leftovers(self, jobs: Iterable[Job]) -> None:
        """Removes the temporary files that a killed run left in the review folder.

        `jobs` are the pictures of the run; the folders of their proposed masks are cleaned, too. No
        other process may be writing to the review folder.
        """
        proposals = {self.proposals.file(job).parent for job in jobs}
        for place in {self.folder, *proposals}:
            remove_leftovers(place)

    def add(
        self,
        job: Job,
        pixels: np.ndarray,
        labels: np.ndarray,
        private: np.ndarray,
        doubts: list[str],
        sha256: str,
    ) -> None:
        """Adds a picture to the list.

        Args:
          job: the picture.
          pixels: its pixels, RGB uint8 (H, W, 3).
          labels: uint8 (H, W), the faces found, which become the proposed mask.
          private: uint8 (H, W), the part of `labels` that would be obfuscated. The contact sheet
            outlines it.
          doubts: the reasons for the review.
          sha256: the hash of the picture's file.
        """
        if not self._written:
            return
        self.proposals.add(job, labels, sha256)
        small = cell(pixels, private, str(job.name), ", ".join(doubts))
        mask = self.proposals.file(job)
        entry = {
            "name": str(job.name),
            "input": str(job.source),
            "mask": str(mask) if mask.exists() else None,
            "reasons": doubts,
        }
        with self._lock:
            if not self._cells:
                self._number = self._free_number()
            self._entries[str(job.name)] = {**entry, "sheet": _name(self._number)}
            self._cells.append(small)
            if len(self._cells) >= COLUMNS * ROWS:
                self._write_sheet()

    def close(self, settled: Collection[str]) -> None:
        """Writes the list and the last sheet.

        Args:
          settled: names of pictures whose entries from earlier runs are dropped. Entries from this
            run stay. Pass the names of all pictures of the run, or of only the finished ones if the
            run was interrupted.
        """
        if not self._written:
            return
        with self._lock:
            if self._cells:
                self._write_sheet()
            entries = {name: e for name, e in self._earlier.items() if name not in settled}
            for entry in entries.values():
                if entry["sheet"] in self._sheets:  # overwritten with other pictures
                    entry["sheet"] = None
            entries |= self._entries
            used = {entry["sheet"] for entry in entries.values()}
            for path in self.folder.glob("sheet_*.jpg"):
                if _SHEET.fullmatch(path.name) and path.name not in used:
                    path.unlink()
            if entries or (self.folder / LIST).exists():
                ordered = sorted(entries.values(), key=lambda entry: entry["input"])
                write_lines(self.folder / LIST, ordered)

    def _free_number(self) -> int:
        number = self._number + 1
        while _name(number) in self._taken:
            number += 1
        return number

    def _write_sheet(self) -> None:
        path = self.folder / _name(self._number)
        write_image(path, sheet(self._cells), quality=85)
        self._sheets.add(path.name)
        self._cells = []


def _name(number: int) -> str:
    return f"sheet_{number:03d}.jpg"


def _read(file: Path) -> dict[str, dict[str, Any]]:
    entries = {}
    for entry in read_lines(file):
        with contextlib.suppress(TypeError, KeyError):  # skips damaged lines
            if isinstance(entry["input"], str) and Path(entry["input"]).exists():
                entries[entry["name"]] = {**entry, "sheet": entry.get("sheet")}
    return entries
