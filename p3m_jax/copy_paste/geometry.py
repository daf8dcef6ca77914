"""The position of a copied face: random draws and the map between two face masks.

Points are (x, y) with y down, in pixels whose edges are whole numbers: the pixel in row r and
column c covers x from c to c + 1, y from r to r + 1, and has its centre at (c + 0.5, r + 0.5). So
if a map is reduced by a factor s, the coordinates of a point are divided by s.

A point of the source, relative to the centre of its mask's box, is multiplied by A = R diag(s). R
is a rotation, and s = base scale x drawn scale, negative in x if the face is flipped. Then it is
shifted so that the box of the transformed mask and the box of the target's mask have the same
centre. The box of the transformed mask encloses all transformed pixels of the mask, including those
outside the picture. After a rotation, this box may be smaller than one that encloses the rotated
corners of the original box.
"""

from typing import NamedTuple

import numpy as np

from p3m_jax.copy_paste.recipe import CopyPaste
from p3m_jax.input import Tensor, tf
from p3m_jax.input.masks import box, ends

# Pasting has its own random streams, so that turning it on changes neither crops nor flips.
_SALT = int.from_bytes(b"copy+put")
_SOURCE_SALT = int.from_bytes(b"sources+")


class PastingDraws(NamedTuple):
    """The random choices for pasting into one sample.

    Attributes:
      paste: whether to paste a face; bool ().
      rotation: radians, float32 (); positive is clockwise on the screen.
      scale: the factors in x and y along the source's own axes; float32 (2,).
      flip: whether to mirror the face left to right; bool ().
    """

    paste: Tensor
    rotation: Tensor
    scale: Tensor
    flip: Tensor


class Transform(NamedTuple):
    """The position of a source over a target.

    Attributes:
      matrix: float32 (2, 3), from points of the target (x, y, 1) to points of the source.
      paste: bool (); False if the source's mask is empty; the matrix is then meaningless.
    """

    matrix: Tensor
    paste: Tensor


def draw(seed: int, number: int | Tensor, recipe: CopyPaste) -> PastingDraws:
    """Makes the random choices for a sample; `number` is its index over all steps.

    The choice whether to paste does not depend on `recipe.variant`.
    """
    seeds = tf.stack([tf.constant(seed ^ _SALT, tf.int64), tf.cast(number, tf.int64)])
    paste, angle, flip, *scale = tf.unstack(tf.random.stateless_uniform([5], seeds))
    drawn = PastingDraws(
        paste < recipe.probability, tf.constant(0.0), tf.ones(2), tf.constant(False)
    )
    if recipe.variant != "augment":
        return drawn
    smallest, largest = recipe.scale
    return drawn._replace(
        rotation=np.float32(np.radians(recipe.rotation)) * (2 * angle - 1),
        scale=smallest + (largest - smallest) * tf.stack(scale),
        flip=flip < recipe.flip,
    )


def source_at(step: int | Tensor, place: int | Tensor, count: int, seed: int) -> Tensor:
    """Returns the index of the source for a sample, int64 () in 0..count - 1.

    `place` is the sample's index in the batch of `step`. The samples of a step have different
    sources if `count` is at least the batch size.
    """
    step, place = tf.cast(step, tf.int64), tf.cast(place, tf.int64)
    seeds = tf.stack([tf.constant(seed ^ _SOURCE_SALT, tf.int64) + place // count, step])
    last = tf.constant(count - 1, tf.int64)
    return tf.random.experimental.index_shuffle(place % count, seeds, last)


def transform(
    source_mask: Tensor, target_box: tuple[Tensor, Tensor], draws: PastingDraws, variant: str
) -> Transform:
    """Computes the transformation that places the face of a source over the face of a target.

    Args:
      source_mask: bool (h, w).
      target_box: the upper left point and the sides of the target's face, as `box` returns them,
        including any part outside the picture.
      draws: the random rotation, scale and flip.
      variant: as in `CopyPaste`. "fill" scales width and height separately.
    """
    left_top, sides = box(source_mask)
    target_left_top, target_sides = target_box
    base = target_sides / sides
    if variant != "fill":
        base = tf.sqrt(tf.reduce_prod(base)) * tf.ones(2)
    signs = tf.where(draws.flip, [-1.0, 1.0], [1.0, 1.0])
    scale = base * draws.scale * signs
    cos, sin = tf.cos(draws.rotation), tf.sin(draws.rotation)
    rotation = tf.stack([tf.stack([cos, -sin]), tf.stack([sin, cos])])
    center = left_top + sides / 2
    lowest, highest = _extremes(source_mask, center, rotation * scale)
    shift = target_left_top + target_sides / 2 - (lowest + highest) / 2
    back = tf.transpose(rotation) / scale[:, None]
    offset = center - tf.linalg.matvec(back, shift)
    matrix = tf.concat([back, offset[:, None]], axis=1)
    return Transform(matrix, tf.reduce_any(source_mask))


def scales(matrix: Tensor) -> Tensor:
    """Returns the factors by which a transformation enlarges the source in x and y, float32 (2,).

    `matrix` is `Transform.matrix`; x and y are the source's own axes.
    """
    return 1 / tf.norm(matrix[:, :2], axis=1)


def _extremes(mask: Tensor, center: Tensor, linear: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the lowest and highest coordinates (2,) of a mask's pixels after transformation.

    `linear` (2, 2) transforms them about `center`. Along a row of pixels, it has its extremes at
    the row's ends, so only these are transformed. Centres of pixels are enough, because the size of
    a pixel extends both sides equally.
    """
    first, end = ends(mask)
    rows = tf.range(tf.shape(mask)[0])
    columns = tf.cast(tf.concat([first, end - 1], 0), tf.float32)
    points = tf.stack([columns, tf.cast(tf.concat([rows, rows], 0), tf.float32)], 1) + 0.5
    points = tf.matmul(points - center, linear, transpose_b=True)
    there = tf.tile(tf.reduce_any(mask, 1), [2])[:, None]
    lowest = tf.reduce_min(tf.where(there, points, np.inf), 0)
    highest = tf.reduce_max(tf.where(there, points, -np.inf), 0)
    return lowest, highest
