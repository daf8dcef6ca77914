"""One synthetic portrait: a person in front of a background, with exact matte and face mask.

People are composed of shapes, measured in head heights from the centre of the face. The picture is
composed of the foreground and the background, so all files of a portrait are consistent.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from p3m_jax.data.synthetic.backdrops import draw_backdrop
from p3m_jax.data.synthetic.body import draw_person
from p3m_jax.data.synthetic.drawing import Frame, to_8_bit
from p3m_jax.data.synthetic.people import face_area, sample_person
from p3m_jax.faces.obfuscation import Obfuscation, obfuscate
from p3m_jax.faces.region import labels_of_mask, without_transition


@dataclass(frozen=True)
class Portrait:
    """The layers of a portrait; all are uint8.

    Attributes:
      foreground, background: RGB, (H, W, 3).
      matte: (H, W).
      facemask: (H, W), 255 from the jaw up to the top of the brows; 0 everywhere if no face is
        visible.
    """

    foreground: np.ndarray
    background: np.ndarray
    matte: np.ndarray
    facemask: np.ndarray

    def picture(self) -> np.ndarray:
        """Computes the picture alpha F + (1 - alpha) B, uint8 (H, W, 3)."""
        alpha = self.matte[..., None].astype(np.float32) / 255
        return to_8_bit(alpha * self.foreground + (1 - alpha) * self.background)


def draw_portrait(key: tuple[int, ...], size: tuple[int, int], *, behind: bool = False) -> Portrait:
    """Draws a random portrait of `size` (height, width).

    `key` seeds the random generator: the same key and size always produce the same pixels. `behind`
    shows the person from behind, without a face.
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


def obfuscate_portrait(portrait: Portrait) -> Portrait:
    """Blurs the portrait's face beyond recognition, like the pictures that P3M-10k publishes.

    Area and blur are the same as for photos, see `p3m_jax.faces`. The area is the face mask without
    the matte's transition area, with a hard edge.
    """
    labels = private_labels(portrait)
    foreground = obfuscate(portrait.foreground, labels, Obfuscation())
    return replace(portrait, foreground=foreground)


def private_labels(portrait: Portrait) -> np.ndarray:
    """Returns the area to obfuscate: uint8 (H, W), not 0 on the face, 0 elsewhere.

    The format is that of a label map, see `p3m_jax.faces.region`. The area is the face mask without
    the matte's transition area.
    """
    return without_transition(labels_of_mask(portrait.facemask), portrait.matte)
