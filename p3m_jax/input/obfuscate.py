"""Obfuscating private areas inside a tf.data pipeline, before pictures are resized.

The arithmetic is that of `p3m_jax.faces.obfuscation`, on TensorFlow's tensors.
"""

from p3m_jax.faces.obfuscation import Obfuscation, coarsened
from p3m_jax.faces.region import LARGEST_LABEL, SMALLEST_LABEL
from p3m_jax.input import host_tensorflow

tf = host_tensorflow()


def obfuscate(images, labels, obfuscation: Obfuscation, *, whole):
    """Images with their private areas obfuscated, a dict of uint8 tensors (H, W, 3).

    `images` holds a picture, and perhaps its foreground and background. The foreground takes the
    obfuscated pixels of the picture: the two are one where the person is opaque, and the face would
    come back through it otherwise. The background is obfuscated by itself.

    Args:
      labels: (H, W, 1) uint8, the label map at the images' pixels.
      whole: the label map of the whole picture, from which the sizes of faces are taken: a crop may
        show a part of one.
    """
    hidden = _hide_all(images["picture"], labels, obfuscation, whole)
    obfuscated = {"picture": hidden}
    if "foreground" in images:
        obfuscated["foreground"] = tf.where(labels >= SMALLEST_LABEL, hidden, images["foreground"])
    if "background" in images:
        obfuscated["background"] = _hide_all(images["background"], labels, obfuscation, whole)
    return obfuscated


def _hide_all(image, labels, obfuscation, whole):
    last = tf.reduce_min(tf.where(labels >= SMALLEST_LABEL, labels, LARGEST_LABEL))
    last = tf.cast(last, tf.int32)

    def hide(label, image):
        area = tf.cast(labels[..., 0], tf.int32) == label
        return label - 1, tf.cond(
            tf.reduce_any(area),  # a crop need not show every face
            lambda: _hide_one(image, area, _longer_side(whole, label), obfuscation),
            lambda: image,
        )

    return tf.while_loop(
        lambda label, _: label >= last,
        hide,
        (tf.constant(LARGEST_LABEL), image),
        shape_invariants=(tf.TensorShape([]), tf.TensorShape([None, None, 3])),
        parallel_iterations=1,
    )[1]


def _hide_one(image, area, face_side, obfuscation):
    (top, bottom), (left, right) = _extents(area)
    window = tf.cast(image[top:bottom, left:right], tf.float32)
    size = bottom - top, right - left
    coarse = tf.cast(coarsened(tf, window, size, face_side, obfuscation), tf.uint8)
    height, width = tf.unstack(tf.shape(area))
    around = [[top, height - bottom], [left, width - right], [0, 0]]
    return tf.where(area[..., None], tf.pad(coarse, around), image)


def _longer_side(whole, label):
    area = tf.cast(whole[..., 0], tf.int32) == label
    return tf.reduce_max([last - first for first, last in _extents(area)])


def _extents(area):
    """(first, one after the last) row of an area (H, W) of bool that is not empty, and column."""
    extents = []
    for axis in (1, 0):
        places = tf.cast(tf.where(tf.reduce_any(area, axis))[:, 0], tf.int32)
        extents.append((places[0], places[-1] + 1))
    return extents
