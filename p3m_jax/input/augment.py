"""The random crop, flip and resize of a training sample: pure functions of (seed, index).

The recipe is that of the authors' program of 2024: a square of random side, centred on a random
transition pixel or on any pixel, and shifted to lie inside the picture. Half of the crops are
flipped. All are resized with plain bilinear interpolation.
"""

from collections.abc import Sequence
from typing import NamedTuple

from p3m_jax.input import Tensor, tf
from p3m_jax.input.online_trimap import KERNELS, count_transition, transition_pixel


class Draws(NamedTuple):
    """The random choices for one sample; all are scalars.

    Attributes:
      kernel: side of the trimap's structuring element in pixels; int32.
      side: side of the square to crop in pixels; int32. If the picture is too small for it,
        `crop_side` chooses another.
      on_transition: whether the crop is centred on a transition pixel; bool.
      pixel: selects the pixel to centre on; uniform over all int64 values.
      flip: whether to mirror the crop left to right; bool.
    """

    kernel: Tensor
    side: Tensor
    on_transition: Tensor
    pixel: Tensor
    flip: Tensor


class Window(NamedTuple):
    """A square part of a picture: its upper left pixel and its side, in pixels."""

    top: Tensor
    left: Tensor
    side: Tensor


def draw(seed: int, index: int | Tensor, crop_sizes: Sequence[int]) -> Draws:
    """Makes the random choices for the sample with global index `index`."""
    seeds = tf.stack([tf.cast(seed, tf.int64), tf.cast(index, tf.int64)])
    bits = tf.random.stateless_uniform([5], seeds, minval=None, maxval=None, dtype=tf.int64)
    kernel, side, on_transition, pixel, flip = tf.unstack(bits)
    return Draws(
        kernel=KERNELS[0] + tf.cast(kernel % len(KERNELS), tf.int32),
        side=tf.gather(list(crop_sizes), side % len(crop_sizes)),
        on_transition=on_transition % 2 == 0,
        pixel=pixel,
        flip=flip % 2 == 0,
    )


def crop_side(drawn: Tensor, size: Tensor, crop_sizes: Sequence[int]) -> Tensor:
    """Returns the side of the square to crop from a picture of `size` (H, W).

    It is the `drawn` side if both sides of the picture are larger, else the smallest crop size.
    """
    return tf.where(tf.reduce_min(size) > drawn, drawn, min(crop_sizes))


def enlarged(size: Tensor, side: Tensor) -> Tensor:
    """Returns `size` (H, W), scaled up so that the shorter side is at least `side`.

    The authors' recipe does not cover pictures smaller than the crop, a square of `side`. We
    enlarge such a picture, and all its maps, until the shorter side equals `side`. The trimap is
    made from the enlarged matte, so the width of the transition does not depend on the picture's
    size.
    """
    shorter = tf.reduce_min(size)
    return tf.where(shorter < side, (size * side + shorter // 2) // shorter, size)


def crop_window(draws: Draws, side: Tensor, size: Tensor, dilated: Tensor) -> Window:
    """Returns the position of a square crop in a picture of `size` (H, W).

    The square has the side `side`. It is centred on a transition pixel if `draws.on_transition` is
    true and the picture has such a pixel, else on any pixel. Then it is shifted to lie inside the
    picture. `dilated` is the result of `online_trimap.dilations` for the picture's matte.
    """
    count = count_transition(dilated)
    pixels = tf.cast(tf.reduce_prod(size), tf.int64)
    width = tf.cast(size[1], tf.int64)
    any_pixel = draws.pixel % pixels
    row, column = tf.cond(
        draws.on_transition & (count > 0),
        lambda: transition_pixel(dilated, draws.pixel % count),
        lambda: (tf.cast(any_pixel // width, tf.int32), tf.cast(any_pixel % width, tf.int32)),
    )
    centre = tf.stack([row, column])
    top, left = tf.unstack(tf.clip_by_value(centre - side // 2, 0, size - side))
    return Window(top, left, side)


def resize(image: Tensor, size: Tensor | Sequence[int]) -> Tensor:
    """Resizes an image (H, W, C), uint8, to `size` (h, w): bilinear, no anti-aliasing, rounded.

    Differs from OpenCV's INTER_LINEAR by at most one grey level.
    """
    return tf.cond(
        tf.reduce_all(tf.shape(image)[:2] == size),
        lambda: image,
        lambda: tf.cast(tf.image.resize(image, size, antialias=False) + 0.5, tf.uint8),
    )


def finish(image: Tensor, output_size: int, flip: Tensor) -> Tensor:
    """Resizes a square crop (S, S, C), uint8, to the side `output_size`; flips it if `flip`."""
    image = resize(image, [output_size, output_size])
    return tf.cond(flip, lambda: tf.reverse(image, [1]), lambda: image)


def three_valued(trimap: Tensor) -> Tensor:
    """Maps a resized trimap back to {0, 128, 255}: below 50 -> 0, above 180 -> 255, else 128."""
    not_empty, opaque = tf.cast(trimap >= 50, tf.uint8), tf.cast(trimap > 180, tf.uint8)
    return 128 * not_empty + 127 * opaque


def two_valued(facemask: Tensor) -> Tensor:
    """Maps a resized face mask back to {0, 255}: above 100 -> 255, else 0."""
    return 255 * tf.cast(facemask > 100, tf.uint8)
