"""Cut-outs and composites of a picture whose foreground, background and matte are known.

Everything here is uint8 arrays: pictures (H, W, 3), mattes (H, W).
"""

import cv2
import numpy as np
from PIL import Image, ImageColor

from p3m_jax.errors import OptionError

_STRIP = 1 << 20  # pixels that stand in memory as floats at a time
_BLUR = 0.025  # standard deviation, as a share of the longer side
_BLURRED_SIDE = 1024  # a blur needs no more pixels


def cut_out(foreground: np.ndarray, matte: np.ndarray) -> np.ndarray:
    """RGBA (H, W, 4) with straight alpha: the colours are the foreground's, not multiplied."""
    return np.dstack([foreground, matte])


def composite(foreground: np.ndarray, matte: np.ndarray, background: np.ndarray) -> np.ndarray:
    """The foreground over a background of the same size, or over one colour (3,)."""
    result = np.empty_like(foreground)
    rows = max(1, _STRIP // matte.shape[1])
    for top in range(0, len(matte), rows):
        strip = slice(top, top + rows)
        alpha = np.multiply(matte[strip, :, None], np.float32(1 / 255))
        behind = background if background.ndim == 1 else background[strip]
        result[strip] = np.rint(alpha * foreground[strip] + (1 - alpha) * behind)
    return result


def blurred(background: np.ndarray, matte: np.ndarray) -> np.ndarray:
    """The estimated background out of focus.

    Pixels count by how much of the background they show, so that a person does not glow through;
    where none is near, the estimate behind the person fills in.
    """
    height, width = matte.shape
    scale = min(1.0, _BLURRED_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(background, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    weight = cv2.resize(255 - matte, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    weight = (weight / 255) ** 2 + 1e-3
    sigma = max(_BLUR * max(size), 0.5)
    sums = cv2.GaussianBlur(small * weight[..., None], (0, 0), sigma)
    sums /= cv2.GaussianBlur(weight, (0, 0), sigma)[..., None]
    smooth = np.rint(np.clip(sums, 0, 255)).astype(np.uint8)
    return cv2.resize(smooth, (width, height), interpolation=cv2.INTER_LINEAR)


def cover(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """`picture` scaled and cropped about its middle so that it covers `size` (height, width)."""
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
    """The colour uint8 (3,) that `text` means ("#30c040", "48,192,64", "teal"); None if none.

    Raises:
      OptionError: it is transparent, which nothing can be laid over.
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
            f"{text}: is a transparent colour; name one without transparency, such as "
            f"{text[:7] if text.startswith('#') and len(text) == 9 else 'black'}, or save a cutout."
        )
    return np.array(colour[:3], np.uint8)


def deep(alpha: np.ndarray) -> np.ndarray:
    """An alpha in [0, 1] as uint16 of the full range."""
    return np.rint(np.multiply(alpha, np.float32(65535))).astype(np.uint16)
