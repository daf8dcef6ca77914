"""What has to be looked at: sheets of the pictures with what was found, and masks to correct.

All of it shows clear faces and stays with the owner.
"""

import json
import threading
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from p3m_jax.collection.plan import Job, shown
from p3m_jax.files import write_text
from p3m_jax.images import write_image

LIST, MASKS = "review.jsonl", "masks"
_COLUMNS, _ROWS = 4, 4
_CELL, _TEXT = 320, 40  # of a picture on a sheet, and of what stands below it, in pixels
_OUTLINE = (255, 0, 200)


class ReviewList:
    """Collects the pictures of a run that somebody has to look at; from any thread.

    Args:
      folder: gets `review.jsonl`, `sheet_001.jpg`, ..., and `masks/`, a proposal for each picture.
        Proposals that are there stay as they are: somebody may have corrected them.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._lock = threading.Lock()
        self._entries: list[dict] = []
        self._cells: list[Image.Image] = []
        self._sheets = 0

    @property
    def inputs(self) -> set[Path]:
        """The pictures on the list."""
        return {Path(entry["input"]) for entry in self._entries}

    @property
    def reasons(self) -> Counter:
        """How many pictures are on the list for which reason."""
        return Counter(reason for entry in self._entries for reason in entry["reasons"])

    def add(self, job: Job, pixels: np.ndarray, labels: np.ndarray, doubts: list[str]) -> None:
        """Takes a picture RGB uint8 (H, W, 3) with the label map of what was found in it."""
        mask = self.folder / MASKS / f"{job.name}.png"
        if not mask.exists():
            write_image(mask, np.where(labels > 0, np.uint8(255), np.uint8(0)))
        cell = _cell(pixels, labels, f"{job.name}: {', '.join(doubts)}")
        entry = {"input": str(job.source), "mask": str(mask), "reasons": doubts}
        with self._lock:
            self._entries.append(entry)
            self._cells.append(cell)
            if len(self._cells) == _COLUMNS * _ROWS:
                self._write_sheet()

    def close(self, *, whole: bool) -> None:
        """Writes what is left; of a `whole` run the list replaces that of earlier ones."""
        with self._lock:
            if self._cells:
                self._write_sheet()
            if not whole:
                return
            for number, sheet in enumerate(sorted(self.folder.glob("sheet_[0-9]*.jpg")), 1):
                if number > self._sheets:
                    sheet.unlink()
            entries = sorted(self._entries, key=lambda entry: entry["input"])
            if entries or (self.folder / LIST).exists():
                lines = (json.dumps(entry) + "\n" for entry in entries)
                write_text(self.folder / LIST, "".join(lines))

    def _write_sheet(self) -> None:
        self._sheets += 1
        rows = -(-len(self._cells) // _COLUMNS)
        sheet = Image.new("RGB", (_COLUMNS * _CELL, rows * (_CELL + _TEXT)), "white")
        for number, cell in enumerate(self._cells):
            row, column = divmod(number, _COLUMNS)
            sheet.paste(cell, (column * _CELL, row * (_CELL + _TEXT)))
        write_image(self.folder / f"sheet_{self._sheets:03d}.jpg", np.asarray(sheet), quality=85)
        self._cells = []


def _cell(pixels: np.ndarray, labels: np.ndarray, caption: str) -> Image.Image:
    """A picture with the outlines of what was found, and a caption below."""
    scale = min((_CELL - 4) / side for side in labels.shape)
    size = [max(1, round(side * scale)) for side in labels.shape[::-1]]
    small = cv2.resize(
        pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    )
    areas = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
    for label in np.unique(areas[areas > 0]):
        mask = (areas == label).astype(np.uint8)
        outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(small, outlines, -1, _OUTLINE, 2)
    cell = Image.new("RGB", (_CELL, _CELL + _TEXT), "white")
    cell.paste(Image.fromarray(small), ((_CELL - size[0]) // 2, 0))
    draw, font = ImageDraw.Draw(cell), ImageFont.load_default(size=12)
    for number, line in enumerate(_lines(shown(caption), font)):
        draw.text((4, _CELL + 2 + 18 * number), line, fill="black", font=font)
    return cell


def _lines(text: str, font, count: int = 2) -> list[str]:
    """`text` cut into lines of a cell's width; what does not fit into `count` is left out."""
    lines = [""]
    for character in text:
        if font.getlength(lines[-1] + character) > _CELL - 8:
            lines.append("")
        lines[-1] += character
    return lines[:count]
