"""Masks of faces inside a tf.data pipeline: their boxes, and which face of several is the largest.

Points are (x, y) with y down, in pixels whose edges are whole numbers.
"""

from p3m_jax.faces.region import FACE_ABOVE
from p3m_jax.input import host_tensorflow

tf = host_tensorflow()


def box(mask):
    """The box of a mask bool (H, W): its left top point and its sides, float32 (2,), (x, y).

    That of an empty mask is the whole of it.
    """
    top, bottom = ends(tf.reduce_any(mask, 1))
    left, right = ends(tf.reduce_any(mask, 0))
    edges = tf.cast(tf.stack([[left, top], [right, bottom]]), tf.float32)
    return edges[0], edges[1] - edges[0]


def ends(flags):
    """Along the last axis, the first that is set and one after the last, int32; all if none is."""
    flags = tf.cast(flags, tf.uint8)
    last = tf.argmax(tf.reverse(flags, [-1]), -1, tf.int32)
    return tf.argmax(flags, -1, tf.int32), tf.shape(flags)[-1] - last


def largest_face(labels):
    """The label of the face with most pixels in a mask or label map (H, W) of uint8; uint8 ().

    It is that of no pixel where there is no face. Of a large map every fourth row and column are
    counted.
    """
    seen = labels[::4, ::4]
    seen = tf.cond(tf.reduce_any(seen > FACE_ABOVE), lambda: seen, lambda: labels)
    counts = tf.math.bincount(tf.cast(tf.reshape(seen, [-1]), tf.int32), minlength=256)
    label = FACE_ABOVE + 1 + tf.argmax(counts[FACE_ABOVE + 1 :], output_type=tf.int32)
    return tf.cast(label, tf.uint8)
