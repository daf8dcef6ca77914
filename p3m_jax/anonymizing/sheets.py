"""Contact sheets: small pictures with outlined faces and the reasons for their review."""

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from p3m_jax.text import shown

COLUMNS, ROWS = 4, 4
_CELL, _TEXT = 320, 58  # side of a picture on a sheet, and height of the text below it, in pixels
_WIDTH = _CELL - 8  # of a line of text
_OUTLINE = (255, 0, 200)

_Font = ImageFont.ImageFont | ImageFont.FreeTypeFont


def cell(pixels: np.ndarray, labels: np.ndarray, name: str, reasons: str) -> Image.Image:
    """Draws one cell of a contact sheet: a small picture with its name and reasons below it.

    Args:
      pixels: the picture, RGB uint8 (H, W, 3).
      labels: label map (H, W) of the areas to outline.
      name: the name of the picture.
      reasons: the reasons for its review.

    Returns:
      An RGB image of 320 x 378 pixels.
    """
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
    made = Image.new("RGB", (_CELL, _CELL + _TEXT), "white")
    made.paste(Image.fromarray(small), ((_CELL - size[0]) // 2, 0))
    draw, font = ImageDraw.Draw(made), ImageFont.load_default(size=12)
    for number, line in enumerate([_end(shown(name), font), *_lines(shown(reasons), font)]):
        draw.text((4, _CELL + 2 + 18 * number), line, fill="black", font=font)
    return made


def sheet(cells: list[Image.Image]) -> np.ndarray:
    """Joins up to 16 cells into one contact sheet, uint8 (H, W, 3)."""
    rows = -(-len(cells) // COLUMNS)
    made = Image.new("RGB", (COLUMNS * _CELL, rows * (_CELL + _TEXT)), "white")
    for number, one in enumerate(cells):
        row, column = divmod(number, COLUMNS)
        made.paste(one, (column * _CELL, row * (_CELL + _TEXT)))
    return np.asarray(made)


def _end(text: str, font: _Font) -> str:
    """Cuts `text` at its start to fit a cell, because names in a folder differ at the end."""
    start = next((n for n in range(len(text)) if font.getlength(text[n:]) <= _WIDTH), len(text))
    return text[start:]


def _lines(text: str, font: _Font) -> list[str]:
    """Returns the first two lines of `text`, wrapped at a cell's width."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".lstrip()
        if lines[-1] and font.getlength(longer) > _WIDTH:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines[:2]
