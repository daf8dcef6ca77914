"""Makes cut-outs and composites of a picture from its foreground, background and matte.

All arrays are uint8: pictures (H, W, 3), mattes (H, W).
"""

import cv2
import numpy as np
from PIL import Image, ImageColor

from p3m_jax.errors import OptionError

_STRIP = 1 << 20  # how many pixels are processed as floats at a time
_BLUR = 0.025  # standard deviation, as a fraction of the longer side
_BLURRED_SIDE = 1024  # longer side in pixels at which the blur is computed: enough for a blur


def cut_out(foreground: np.ndarray, matte: np.ndarray) -> np.ndarray:
    """Makes an RGBA picture (H, W, 4) with straight alpha: colours are not multiplied by alpha."""
    return np.dstack([foreground, matte])


def composite(foreground: np.ndarray, matte: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Blends the foreground over a background by the matte.

    The background is a picture of the same size, or one colour (3,).
    """
    result = np.empty_like(foreground)
    rows = max(1, _STRIP // matte.shape[1])
    for top in range(0, len(matte), rows):
        strip = slice(top, top + rows)
        alpha = np.multiply(matte[strip, :, None], np.float32(1 / 255))
        behind = background if background.ndim == 1 else background[strip]
        result[strip] = np.rint(alpha * foreground[strip] + (1 - alpha) * behind)
    return result


def blurred(background: np.ndarray, matte: np.ndarray) -> np.ndarray:
    """Blurs the estimated background of a picture, as if it were out of focus.

    Each pixel is weighted by how much of the background it shows, so that the person's colours do
    not bleed into the result. Far inside the person, where no pixel shows the background, the blur
    uses the estimated colours.
    """
    height, width = matte.shape
    scale = min(1.0, _BLURRED_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(background, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    weight = cv2.resize(255 - matte, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    shows = (weight / 255) ** 2 + 1e-3
    sigma = max(_BLUR * max(size), 0.5)
    sums = np.asarray(cv2.GaussianBlur(small * shows[..., None], (0, 0), sigma), np.float32)
    sums /= cv2.GaussianBlur(shows, (0, 0), sigma)[..., None]
    smooth = np.rint(np.clip(sums, 0, 255)).astype(np.uint8)
    return cv2.resize(smooth, (width, height), interpolation=cv2.INTER_LINEAR)


def cover(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scales `picture` and crops it around its centre so that it fills `size` (height, width)."""
    height, width = size
    rows, columns = picture.shape[:2]
    scale = max(height / rows, width / columns)
    seen = min(columns, width / scale), min(rows, height / scale)
    left, top = (columns - seen[0]) / 2, (rows - seen[1]) / 2
    return np.asarray(
        Image.fromarray(picture).resize(
            (width, height),
            Image.Resampling.BICUBIC,
            box=(left, top, left + seen[0], top + seen[1]),
        )
    )


def parse_colour(text: str) -> np.ndarray | None:
    """Reads a colour, uint8 (3,), from "#30c040", "48,192,64" or "teal"; None if it is no colour.

    Raises:
      OptionError: the colour is transparent, so it cannot be a background.
    """
    numbers = text.split(",")
    if len(numbers) == 3 and all(n.strip().isdecimal() and int(n) < 256 for n in numbers):
        return np.array(numbers, np.uint8)
    try:
        colour = ImageColor.getrgb(text)
    except ValueError:
        return None
    if len(colour) == 4 and colour[3] < 255:
        raise OptionError(
            f"{text}: is a transparent colour; choose an opaque one, such as "
            f"{text[:7] if text.startswith('#') and len(text) == 9 else 'black'}, or save a cutout."
        )
    return np.array(colour[:3], np.uint8)


def deep(alpha: np.ndarray) -> np.ndarray:
    """Converts alpha in [0, 1] to uint16 in 0..65535."""
    return np.rint(np.multiply(alpha, np.float32(65535))).astype(np.uint16)
