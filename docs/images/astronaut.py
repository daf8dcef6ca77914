"""Draws docs/images/astronaut.jpg: a portrait, its matte, and the cut-out over a colour.

    python docs/images/astronaut.py

The portrait is NASA's of Eileen Collins, in the public domain; it comes with scikit-image. No
network made the matte: PyMatting computes it from the trimap between the two outlines below, which
were drawn by hand.
"""

from pathlib import Path

import cv2
import numpy as np
from pymatting import estimate_alpha_cf
from skimage.data import astronaut

from p3m_jax.pictures.foreground import estimate_foreground
from p3m_jax.pictures.images import write_image

# (x, y) in pixels: outside of the first all is background, inside of the second all is foreground.
OUTER = [
    *[(12, 512), (12, 440), (16, 390), (22, 330), (34, 268), (56, 240), (98, 212), (104, 188)],
    *[(118, 160), (148, 146), (172, 140), (156, 126), (146, 100), (143, 70), (154, 40), (176, 20)],
    *[(218, 6), (262, 10), (294, 38), (310, 75), (308, 107), (288, 134), (270, 144), (266, 162)],
    *[(300, 194), (312, 224), (342, 258), (360, 286), (370, 330), (376, 342), (430, 338)],
    *[(474, 366), (496, 410), (502, 450), (511, 470), (511, 512)],
]
INNER = [
    *[(40, 512), (36, 440), (38, 400), (46, 340), (58, 280), (80, 252), (116, 232), (128, 196)],
    *[(138, 172), (160, 158), (184, 156), (186, 128), (172, 112), (166, 84), (172, 56), (192, 38)],
    *[(222, 26), (256, 30), (278, 50), (290, 78), (286, 100), (268, 118), (252, 138), (246, 164)],
    *[(262, 192), (288, 222), (298, 256), (330, 280), (344, 310), (350, 352), (380, 358)],
    *[(424, 352), (460, 378), (482, 420), (488, 460), (484, 512)],
]
COLOUR = (38, 110, 120)


def main() -> None:
    """Writes the picture."""
    portrait = astronaut()
    trimap = np.zeros(portrait.shape[:2], np.uint8)
    cv2.fillPoly(trimap, [np.array(OUTER, np.int32)], 128)
    cv2.fillPoly(trimap, [np.array(INNER, np.int32)], 255)
    alpha = estimate_alpha_cf(portrait / 255, trimap / 255)
    matte = np.rint(255 * alpha).astype(np.uint8)
    foreground, _ = estimate_foreground(portrait, matte)
    alpha = matte[..., None] / 255
    over = np.rint(alpha * foreground + (1 - alpha) * COLOUR).astype(np.uint8)
    shown = np.concatenate([portrait, np.stack([matte] * 3, axis=-1), over], axis=1)
    write_image(Path(__file__).with_suffix(".jpg"), shown, quality=88)


if __name__ == "__main__":
    main()
