"""Obfuscates face areas inside a tf.data pipeline, before pictures are resized.

The arithmetic is that of `p3m_jax.faces.obfuscation`, on TensorFlow tensors.
"""

from p3m_jax.faces.obfuscation import Obfuscation, coarsened
from p3m_jax.faces.region import LARGEST_LABEL, SMALLEST_LABEL
from p3m_jax.input import Tensor, tf

_Images = dict[str, Tensor]
_Extents = tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]  # see `_extents`


def obfuscate(
    images: _Images, labels: Tensor, obfuscation: Obfuscation, *, whole: Tensor
) -> _Images:
    """Obfuscates the face areas of images, a dict of uint8 tensors (H, W, 3).

    `images` contains "picture", and may contain "foreground" and "background". In the face areas,
    the foreground gets the obfuscated pixels of the picture, because foreground and picture are
    equal where the person is opaque. The background is obfuscated separately.

    Args:
      labels: (H, W, 1) uint8, the label map of the face areas. If the images are crops, the label
        map is cropped in the same way.
      whole: the label map of the whole picture. It determines the sizes of the faces, because a
        crop may show only a part of a face.
    """
    labels, whole = labels[..., 0], whole[..., 0]
    last = tf.reduce_min(tf.where(labels >= SMALLEST_LABEL, labels, LARGEST_LABEL))
    last = tf.cast(last, tf.int32)

    def hide(label: Tensor, images: _Images) -> tuple[Tensor, _Images]:
        area = labels == tf.cast(label, tf.uint8)
        hidden = tf.cond(
            tf.reduce_any(area),  # a crop need not show every face
            lambda: _hide_one(images, area, whole == tf.cast(label, tf.uint8), obfuscation),
            lambda: images,
        )
        return label - 1, hidden

    shape = tf.TensorShape([None, None, 3])
    return tf.while_loop(
        lambda label, _: label >= last,
        hide,
        (tf.constant(LARGEST_LABEL), images),
        shape_invariants=(tf.TensorShape([]), dict.fromkeys(images, shape)),
        parallel_iterations=1,
    )[1]


def _hide_one(images: _Images, area: Tensor, whole: Tensor, obfuscation: Obfuscation) -> _Images:
    (top, bottom), (left, right) = extents = _extents(area)
    inside = area[top:bottom, left:right, None]
    sides, longer = _sides(extents), tf.reduce_max(_sides(_extents(whole)))

    def window(role: str) -> Tensor:
        return images[role][top:bottom, left:right]

    def hidden(role: str) -> Tensor:
        values = tf.cast(window(role), tf.float32)
        coarse = coarsened(tf, values, tf.unstack(sides), longer, obfuscation)
        return tf.where(inside, tf.cast(coarse, tf.uint8), window(role))

    windows = {role: hidden(role) for role in images if role != "foreground"}
    if "foreground" in images:
        windows["foreground"] = tf.where(inside, windows["picture"], window("foreground"))
    return {role: pasted(image, windows[role], extents) for role, image in images.items()}


def pasted(image: Tensor, window: Tensor, extents: _Extents) -> Tensor:
    """Returns a copy of `image` in which the pixels `window` replace a rectangle.

    `extents` is the position of the rectangle, ((top, bottom), (left, right)); bottom and right are
    exclusive. The new rows are joined with the others, which is much faster than `tf.where` over
    the whole image.
    """
    (top, bottom), (left, right) = extents
    rows = image[top:bottom]
    rows = tf.concat([rows[:, :left], window, rows[:, right:]], axis=1)
    return tf.concat([image[:top], rows, image[bottom:]], axis=0)


def _extents(area: Tensor) -> _Extents:
    """Returns ((top, bottom), (left, right)) of a non-empty bool area (H, W).

    The bottom row and the right column are one past the area's last.
    """
    top, bottom = _ends(tf.reduce_any(area, 1))
    return (top, bottom), _ends(tf.reduce_any(area[top:bottom], 0))


def _ends(flags: Tensor) -> tuple[Tensor, Tensor]:
    places = tf.cast(tf.where(flags)[:, 0], tf.int32)
    return places[0], places[-1] + 1


def _sides(extents: _Extents) -> Tensor:
    return tf.stack([last - first for first, last in extents])
