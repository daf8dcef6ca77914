"""One synthetic portrait: a person before a background, with the exact matte and a face mask.

People are put together from shapes in head heights about the centre of the face; the picture is
composed from the foreground and the background, so that all files of a portrait agree.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from p3m_jax.data.backdrops import draw_backdrop
from p3m_jax.data.drawing import Frame, to_8_bit
from p3m_jax.data.people import draw_person, face_area, sample_person
from p3m_jax.trimap import TRANSITION, trimap_from_matte


@dataclass(frozen=True)
class Portrait:
    """A person's picture taken apart; uint8, (H, W, 3) or (H, W).

    `facemask` is 255 from the jaw up to the top of the brows, all zero where no face shows.
    """

    foreground: np.ndarray
    background: np.ndarray
    matte: np.ndarray
    facemask: np.ndarray

    def picture(self) -> np.ndarray:
        """alpha F + (1 - alpha) B, rounded: (H, W, 3) uint8."""
        alpha = self.matte[..., None].astype(np.float32) / 255
        return to_8_bit(alpha * self.foreground + (1 - alpha) * self.background)


def draw_portrait(key: tuple[int, ...], size: tuple[int, int], *, behind: bool = False) -> Portrait:
    """The portrait that belongs to `key` (say: seed, part, number) at `size` = (height, width).

    The same key and size give the same pixels. `behind` shows the person from behind, without face.
    """
    rng = np.random.default_rng(key)
    height, width = size
    background = draw_backdrop(rng, size)
    scale = min(height * rng.uniform(0.24, 0.4), width * 0.5)
    center = (
        width * rng.uniform(0.38, 0.62),
        max(height * rng.uniform(0.28, 0.4), 0.66 * scale),
    )
    person = sample_person(rng, scale)
    head = Frame(center, scale, rng.normal(0, 0.09))
    body = Frame(tuple(head((0, 0.45))), scale, rng.normal(0, 0.03))
    light = rng.normal(0, 1, 2) - (0, 0.6)
    light = light / np.linalg.norm(light)

    figure = draw_person(rng, person, head, body, light, size, behind)
    warmth = 1 + rng.uniform(-0.08, 0.08) * np.array([1, 0, -1], np.float32)
    grain = rng.uniform(0.5, 3.0)
    foreground = figure.foreground() * warmth
    foreground = foreground + grain * rng.standard_normal((*size, 1), dtype=np.float32)
    background = background * warmth
    background = background + grain * rng.standard_normal((*size, 1), dtype=np.float32)
    facemask = np.zeros(size, np.uint8)
    if not behind:
        cv2.fillPoly(facemask, [np.rint(head(face_area(person))).astype(np.int32)], 255)
    return Portrait(
        to_8_bit(foreground), to_8_bit(background), to_8_bit(figure.cover[..., 0] * 255), facemask
    )


def obfuscate(portrait: Portrait) -> Portrait:
    """The portrait with its face blurred beyond recognition, as P3M-10k publishes pictures.

    Blurred is the face mask without the matte's transition area, so that the edge of the person
    stays sharp; the area has a hard edge, and sigma is a fifth of the face's longer side.
    """
    area = private_area(portrait)
    if not area.any():
        return portrait
    rows, columns = np.nonzero(portrait.facemask.any(1))[0], np.nonzero(portrait.facemask.any(0))[0]
    sigma = 0.2 * max(rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1)
    margin = int(3 * sigma)
    window = (
        slice(max(0, rows[0] - margin), rows[-1] + margin + 1),
        slice(max(0, columns[0] - margin), columns[-1] + margin + 1),
    )
    face = portrait.foreground[window]
    step = max(1, int(sigma / 6))  # so strong a blur needs no full resolution
    small = (max(1, face.shape[1] // step), max(1, face.shape[0] // step))
    blurred = cv2.resize(face, small, interpolation=cv2.INTER_AREA)
    blurred = cv2.GaussianBlur(blurred, (0, 0), sigma / step, borderType=cv2.BORDER_REPLICATE)
    blurred = cv2.resize(blurred, face.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    foreground = portrait.foreground.copy()
    foreground[window] = np.where(area[window][..., None], blurred, face)
    return replace(portrait, foreground=foreground)


def private_area(portrait: Portrait) -> np.ndarray:
    """What is obfuscated, bool (H, W): the face mask without the matte's transition area.

    The band has the width that a trimap of kernel 25 has on a picture of 1080 pixels.
    """
    kernel = max(3, round(25 * min(portrait.matte.shape) / 1080))
    transition = trimap_from_matte(portrait.matte, kernel) == TRANSITION
    return (portrait.facemask > 0) & ~transition
