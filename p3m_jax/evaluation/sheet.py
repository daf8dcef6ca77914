"""Makes sheets of pictures to look at; each row shows picture, matte, prediction and error."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

TITLES = ("picture", "matte", "prediction", "error (red: too much, blue: too little)")

_GAP = 6
_TEXT = 22  # height of a line of text, in pixels
_PAPER, _INK = (250, 250, 250), (20, 20, 20)


def make_sheet(
    rows: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray, str]], *, height: int = 192
) -> np.ndarray:
    """Makes a sheet uint8 (H, W, 3) of rows (picture, matte, prediction, caption).

    Pictures are uint8 (h, w, 3); mattes and predictions are floats (h, w) in [0, 1]. Every panel is
    scaled to a height of `height` pixels, or less if the panel would be wider than 2 x `height`.
    Above each row is its caption, one line of text. The error panel is black where there is no
    error, red where the prediction is too high, and blue where it is too low. Small errors are
    amplified.
    """
    if not rows:
        raise ValueError("a sheet needs at least one row.")
    sizes = [_panel_size(picture.shape[:2], height) for picture, *_ in rows]
    cell = max(width for _, width in sizes)
    sheet_width = 4 * cell + 5 * _GAP
    sheet = Image.new("RGB", (sheet_width, _TEXT + len(rows) * (_TEXT + height + _GAP)), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=_TEXT * 0.6)
    columns = [_GAP + column * (cell + _GAP) for column in range(4)]
    for title, left in zip(TITLES, columns, strict=True):
        draw.text((left, 3), _fitting(title, cell, font), fill=_INK, font=font)
    for number, ((picture, matte, prediction, caption), size) in enumerate(
        zip(rows, sizes, strict=True)
    ):
        top = _TEXT + number * (_TEXT + height + _GAP)
        draw.text((_GAP, top + 3), _fitting(caption, sheet_width, font), fill=_INK, font=font)
        panels = (picture, _grey(matte), _grey(prediction), _error(matte, prediction))
        for panel, left in zip(panels, columns, strict=True):
            scaled = Image.fromarray(panel).resize(size[::-1], Image.Resampling.BOX)
            sheet.paste(scaled, (left, top + _TEXT))
    return np.asarray(sheet)


def _panel_size(size: tuple[int, int], height: int) -> tuple[int, int]:
    scale = min(height / size[0], 2 * height / size[1])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _fitting(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    while len(text) > 1 and font.getlength(text) > width - _GAP:
        text = text[:-2] + "…"
    return text


def _grey(alpha: np.ndarray) -> np.ndarray:
    values = np.rint(np.clip(np.nan_to_num(alpha), 0, 1) * 255).astype(np.uint8)
    return np.repeat(values[..., None], 3, axis=-1)


def _error(matte: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Shows the error as colour: red where the prediction is too high, blue where it is too low.

    The colour's strength is the square root of the error, which makes small errors visible.
    """
    signed = np.nan_to_num(np.asarray(prediction, np.float32)) - np.asarray(matte, np.float32)
    strength = np.sqrt(np.clip(np.abs(signed), 0, 1))
    colour = np.where((signed > 0)[..., None], (1.0, 0.25, 0.15), (0.25, 0.5, 1.0))
    return np.rint(strength[..., None] * colour * 255).astype(np.uint8)
