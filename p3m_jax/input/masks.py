"""Masks of faces inside a tf.data pipeline: their boxes, and the largest of several faces.

Points are (x, y) in pixels, with y down. A whole number is the edge of a pixel, not its centre.
"""

from p3m_jax.faces.region import FACE_ABOVE
from p3m_jax.input import Tensor, tf


def box(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the upper left point of a mask's box, and its (width, height); float32 (2,) each.

    `mask` is bool (H, W). If no pixel of it is set, the box covers the whole mask.
    """
    top, bottom = ends(tf.reduce_any(mask, 1))
    left, right = ends(tf.reduce_any(mask, 0))
    edges = tf.cast(tf.stack([[left, top], [right, bottom]]), tf.float32)
    return edges[0], edges[1] - edges[0]


def ends(flags: Tensor) -> tuple[Tensor, Tensor]:
    """Returns (first, end) along the last axis, int32: flags[first:end] contains all set flags.

    `first` is the index of the first set flag, and `end - 1` that of the last. If no flag is set,
    `first` is 0 and `end` is the length of the axis.
    """
    flags = tf.cast(flags, tf.uint8)
    last = tf.argmax(tf.reverse(flags, [-1]), -1, tf.int32)
    return tf.argmax(flags, -1, tf.int32), tf.shape(flags)[-1] - last


def largest_face(labels: Tensor) -> Tensor:
    """Returns the label, uint8 (), with the most pixels in a face mask or label map, uint8 (H, W).

    If there is no face, it returns a label that no pixel has. To save time, it counts only the
    pixels in every fourth row and column. If these show no face, it counts all pixels.
    """
    seen = labels[::4, ::4]
    seen = tf.cond(tf.reduce_any(seen > FACE_ABOVE), lambda: seen, lambda: labels)
    counts = tf.math.bincount(tf.cast(tf.reshape(seen, [-1]), tf.int32), minlength=256)
    label = FACE_ABOVE + 1 + tf.argmax(counts[FACE_ABOVE + 1 :], output_type=tf.int32)
    return tf.cast(label, tf.uint8)
