"""Pictures of the set: random parts of a photo, and its person over other backgrounds.

A `Portrait` is a photo whose faces are already obfuscated, except for the comparison of
make_ppt_set.py. All functions are pure: a picture's name or the given generator decides what is
drawn.
"""

import zlib
from typing import NamedTuple

import backgrounds
import cv2
import numpy as np

# (H, W) of composites; training reduces them further.
SIZES = ((640, 480), (600, 600), (480, 640))


class Portrait(NamedTuple):
    """A picture uint8 (H, W, 3), its matte (H, W) and its face mask (H, W) of 0 and 255."""

    picture: np.ndarray
    matte: np.ndarray
    facemask: np.ndarray


def make_scene(
    name: str,
    portrait: Portrait | None,
    foreground: np.ndarray | None,
    views: list[np.ndarray],
) -> Portrait:
    """Makes the picture of the set with this name; without a `portrait`, a scene without people.

    The name decides what is drawn. So pictures do not change when others are added, and a person
    with a clear face is framed like the same person with an obfuscated one.
    """
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    size = SIZES[rng.integers(len(SIZES))]
    if portrait is None:
        nothing = np.zeros(size, np.uint8)
        return Portrait(backgrounds.background(views, size, rng), nothing, nothing)
    if "over" in name:
        behind = backgrounds.background(views, size, rng)
        return over(portrait, foreground, behind, rng)
    return (whole if "whole" in name else upper)(portrait, rng)


def box_of(matte: np.ndarray) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of the pixels that are more than half opaque."""
    rows, columns = (np.flatnonzero((matte > 127).any(axis=axis)) for axis in (1, 0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def own_face(facemask: np.ndarray, matte: np.ndarray) -> np.ndarray:
    """The part of a face mask that is the face of the person in the matte; zeros if none is.

    It is the topmost part of which at least a third lies in the person. Other parts are faces of
    people in the background, or hands and clothes that were taken for a face. They are obfuscated,
    too, but no face is pasted onto them.
    """
    count, labels, stats, centres = cv2.connectedComponentsWithStats((facemask > 0).view(np.uint8))
    inside = np.bincount(labels[matte > 127], minlength=count)
    own = [part for part in range(1, count) if inside[part] > stats[part, cv2.CC_STAT_AREA] / 3]
    face = min(own, key=lambda part: centres[part][1], default=-1)
    return np.where(labels == face, np.uint8(255), np.uint8(0))


def whole(portrait: Portrait, rng) -> Portrait:
    """A part of the photo with the whole person, who is rarely in the middle."""
    height, width = portrait.matte.shape
    left, top, right, bottom = box_of(portrait.matte)
    x0, y0 = int(rng.uniform(0, left)), int(rng.uniform(0, top))
    x1, y1 = round(rng.uniform(right, width)), round(rng.uniform(bottom, height))
    return _cut(portrait, x0, y0, max(x1, x0 + 1), max(y1, y0 + 1))


def upper(portrait: Portrait, rng) -> Portrait:
    """The upper body, from above the head to chest or hips, framed like a portrait."""
    width = portrait.matte.shape[1]
    _, top, _, bottom = box_of(portrait.matte)
    low = top + rng.uniform(0.25, 0.55) * (bottom - top)
    visible = box_of(portrait.matte[: round(low)])
    tall = (low - top) / rng.uniform(0.72, 0.95)
    wide = min(width, max(tall * rng.uniform(0.6, 1.25), 0.6 * (visible[2] - visible[0])))
    middle = (visible[0] + visible[2]) / 2 + rng.uniform(-0.25, 0.25) * wide
    x0 = round(np.clip(middle - wide / 2, 0, width - wide))
    y0 = round(max(0, low - tall))
    return _cut(portrait, x0, y0, min(width, round(x0 + wide)), round(low))


def touches_sides(matte: np.ndarray) -> bool:
    """Whether the photo cuts the person at the left, right or top."""
    return bool(max(matte[:, 0].max(), matte[:, -1].max(), matte[0].max()) > 127)


def over(portrait: Portrait, foreground: np.ndarray, behind: np.ndarray, rng) -> Portrait:
    """The person over the background `behind`: scaled, turned and shifted.

    The person may be cut by the lower edge, like in a portrait, and by one side. `foreground` has
    the colours of the person, uint8 (H, W, 3).
    """
    height, width = behind.shape[:2]
    left, top, right, bottom = box_of(portrait.matte)
    part = 1.0 if rng.random() < 0.25 else rng.uniform(0.25, 0.8)  # of the body, from the head
    shown = rng.uniform(0.6, 0.95) * height
    scale = shown / (part * (bottom - top))
    turn = cv2.getRotationMatrix2D(((left + right) / 2, top), rng.normal(0, 4), scale)
    ground = height if part < 1 else rng.uniform(shown, height)
    turn[:, 2] += (
        rng.uniform(0.25, 0.75) * width - (left + right) / 2,
        ground - shown - top,
    )

    def moved(values):
        return cv2.warpAffine(values, turn, (width, height), flags=cv2.INTER_LINEAR)

    if scale < 1:  # bilinear interpolation would alias
        smooth = 0.4 / scale
        foreground, matte = (
            cv2.GaussianBlur(values, (0, 0), smooth) for values in (foreground, portrait.matte)
        )
    else:
        matte = portrait.matte
    matte = moved(matte)
    colours = _lit(moved(foreground), matte, behind, rng)
    alpha = matte[..., None] / np.float32(255)
    mixed = np.rint(alpha * colours + (1 - alpha) * behind).astype(np.uint8)
    facemask = np.where(moved(portrait.facemask) > 127, np.uint8(255), np.uint8(0))
    return Portrait(mixed, matte, facemask)


def _lit(colours: np.ndarray, matte: np.ndarray, behind: np.ndarray, rng) -> np.ndarray:
    """The person's colours, float32, brought part of the way to the background's brightness."""
    inside = colours[matte > 127]
    if not len(inside):
        return colours.astype(np.float32)
    ratio = (behind.mean() + 20) / (inside.mean() + 20)
    gain = np.clip(ratio, 0.5, 1.8) ** rng.uniform(0, 0.7) * rng.uniform(0.94, 1.06, 3)
    return np.clip(colours * gain.astype(np.float32), 0, 255)


def _cut(portrait: Portrait, x0: int, y0: int, x1: int, y1: int) -> Portrait:
    return Portrait(*(np.ascontiguousarray(values[y0:y1, x0:x1]) for values in portrait))
