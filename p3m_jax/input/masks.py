"""Masks of faces inside a tf.data pipeline: their boxes, and the largest of several faces.

Points are (x, y) with y down, in pixels whose edges are whole numbers.
"""

from p3m_jax.faces.region import FACE_ABOVE
from p3m_jax.input import Tensor, tf


def box(mask: Tensor) -> tuple[Tensor, Tensor]:
    """The box of a mask bool (H, W): its upper left point and its sides, float32 (2,), (x, y).

    The box of an empty mask is the whole mask.
    """
    top, bottom = ends(tf.reduce_any(mask, 1))
    left, right = ends(tf.reduce_any(mask, 0))
    edges = tf.cast(tf.stack([[left, top], [right, bottom]]), tf.float32)
    return edges[0], edges[1] - edges[0]


def ends(flags: Tensor) -> tuple[Tensor, Tensor]:
    """First set flag and one past the last, along the last axis, int32; the full range if none."""
    flags = tf.cast(flags, tf.uint8)
    last = tf.argmax(tf.reverse(flags, [-1]), -1, tf.int32)
    return tf.argmax(flags, -1, tf.int32), tf.shape(flags)[-1] - last


def largest_face(labels: Tensor) -> Tensor:
    """The label of the face with the most pixels in a mask or label map (H, W), uint8; uint8 ().

    If there is no face, it is a label that no pixel has. Only every fourth row and column are
    counted, or all of them if these show no face.
    """
    seen = labels[::4, ::4]
    seen = tf.cond(tf.reduce_any(seen > FACE_ABOVE), lambda: seen, lambda: labels)
    counts = tf.math.bincount(tf.cast(tf.reshape(seen, [-1]), tf.int32), minlength=256)
    label = FACE_ABOVE + 1 + tf.argmax(counts[FACE_ABOVE + 1 :], output_type=tf.int32)
    return tf.cast(label, tf.uint8)
