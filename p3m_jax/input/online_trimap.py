"""Trimaps inside a tf.data pipeline, equal to OpenCV's to the pixel and fast at full size.

A trimap needs two dilations with the same elliptic kernel: (1) of the pixels that are not empty
(matte != 0), and (2) of those that are not opaque (matte != 255). The complement of (2) is the
erosion of the opaque pixels. `tf.nn.dilation2d` needs seconds for a 30 x 30 kernel, and OpenCV
inside tf.data has hung processes. So both dilations work on packed bits, 64 pixels in a word:

- Every row of OpenCV's ellipse is one run of w pixels from -(w // 2) to (w - 1) // 2, so a kernel
  is a list of widths. The dilations by runs of 1, 2, 3, ... pixels are computed one after the
  other. Each is the previous one ORed with a copy of the original rows, which is shifted by 1 pixel
  to one side, then by 1 to the other side, then by 2, 2, 3, 3 and so on.
- For each row of the kernel, the dilation by a run of its width is shifted vertically by the row's
  offset. The OR of the results is the dilation by the kernel.

Pixels outside the picture are unset, as in OpenCV, where the border never affects the result.
"""

import functools
import operator
from collections.abc import Iterator

import cv2
import numpy as np

from p3m_jax.input import Tensor, tf

KERNELS = range(15, 31)  # sizes of the published recipe, in pixels
_WORD = 64  # pixels per word
# The rows of the largest kernel above and below its anchor.
_ABOVE, _BELOW = KERNELS[-1] // 2, (KERNELS[-1] - 1) // 2


def trimap(matte: Tensor, kernel: int | Tensor) -> Tensor:
    """Makes the trimap (H, W, 1) in {0, 128, 255} of a matte (H, W, 1), both uint8.

    `kernel`, an int or a scalar tensor from `KERNELS`, is the side of the elliptic structuring
    element in pixels. The trimap is 255 in the erosion of (matte == 255), 128 in the rest of the
    dilation of (matte != 0), and 0 elsewhere.
    """
    height, width = tf.unstack(tf.shape(matte)[:2])
    return unpack(dilations(matte, kernel), 0, 0, height, width)


def dilations(matte: Tensor, kernel: int | Tensor) -> Tensor:
    """Computes the two dilations for a trimap, packed by `pack`: uint64 (2, H, ceil(W / 64)).

    The first is the dilation of the pixels that are not empty, the second the dilation of the
    pixels that are not opaque. `matte` is uint8 (H, W, 1).
    """
    matte = matte[..., 0]
    words = pack(tf.stack([matte != 0, matte != 255]))
    inside = pack(tf.ones_like(matte[:1], tf.bool))
    return _dilate(words, kernel) & inside  # clears the bits beyond a row's end


def unpack(
    dilated: Tensor, top: int | Tensor, left: int | Tensor, height: Tensor, width: Tensor
) -> Tensor:
    """Makes the trimap (height, width, 1), uint8, of a window, from the result of `dilations`."""
    first, last = left // 8, (left + width - 1) // 8 + 1
    rows = dilated[:, top : top + height]
    octets = tf.reshape(tf.bitcast(rows, tf.uint8), [2, height, -1])[..., first:last]
    octets = tf.cast(octets, tf.int32)
    # 128 for pixels that are not empty, plus 127 for opaque ones: a table of all octets' bits.
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
    values = tf.gather(128 * bits, octets[0]) + tf.gather(127 * (1 - bits), octets[1])
    start = left - 8 * first
    return tf.reshape(values, [height, -1, 1])[:, start : start + width]


def count_transition(dilated: Tensor) -> Tensor:
    """Counts the transition pixels of a trimap, from its `dilations`; returns an int64 scalar."""
    return tf.reduce_sum(_transition_per_word(dilated))


def transition_pixel(dilated: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the row and the column of a transition pixel of a trimap.

    `dilated` is the result of `dilations`. `index`, int64 from 0, counts the transition pixels in
    reading order.
    """
    counts = _transition_per_word(dilated)
    word, index = _find(counts, index)
    row, column = word // tf.shape(dilated)[-1], word % tf.shape(dilated)[-1]
    chosen = dilated[0, row, column] & dilated[1, row, column]
    bits = tf.bitwise.right_shift(chosen, np.arange(_WORD, dtype=np.uint64)) % 2
    bit, _ = _find(tf.cast(bits, tf.int64), index)
    return row, column * _WORD + bit


def _transition_per_word(dilated: Tensor) -> Tensor:
    counts = tf.raw_ops.PopulationCount(x=dilated[0] & dilated[1])
    return tf.cast(tf.reshape(counts, [-1]), tf.int64)


def _find(counts: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the bin of `counts` that contains item `index`, and the item's index in that bin."""
    ends = tf.cumsum(counts)
    place = tf.searchsorted(ends, index[None], side="right")[0]
    return place, index - (ends[place] - counts[place])


def kernel_widths(kernel: int) -> tuple[int, ...]:
    """Returns the widths of the rows of OpenCV's `kernel` x `kernel` ellipse, from the top."""
    ellipse = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (kernel, kernel))
    columns = np.arange(kernel) - kernel // 2
    widths = tuple(int(row.sum()) for row in ellipse)
    for row, width in zip(ellipse, widths, strict=True):
        run = (columns >= -(width // 2)) & (columns <= (width - 1) // 2)
        if not np.array_equal(row.astype(bool), run):
            raise RuntimeError("OpenCV's elliptic kernels are no longer made of centred runs.")
    return widths


def pack(mask: Tensor) -> Tensor:
    """Packs a mask (..., H, W) of bool into words (..., H, ceil(W / 64)) of uint64.

    Bit i of a row's word j is its pixel 64 j + i; bits beyond the row's end are unset.
    """
    fill = -tf.shape(mask)[-1] % _WORD
    octets = tf.pad(tf.cast(mask, tf.uint8), [[0, 0]] * (mask.shape.rank - 1) + [[0, fill]])
    # Eight bytes of 0 or 1, read as one number: the product moves byte i to bit 56 + i.
    bits = _as_uint64(octets) * tf.constant(0x0102040810204080, tf.uint64)
    return _as_uint64(tf.cast(tf.bitwise.right_shift(bits, tf.constant(56, tf.uint64)), tf.uint8))


def _as_uint64(octets: Tensor) -> Tensor:
    rows = tf.concat([tf.shape(octets)[:-1], [-1, 8]], 0)
    return tf.bitcast(tf.reshape(octets, rows), tf.uint64)


def _dilate(words: Tensor, kernel: int | Tensor) -> Tensor:
    """Dilates packed rows (2, H, words) by the ellipse of side `kernel`, a scalar tensor."""
    height = tf.shape(words)[1]
    words = tf.pad(words, [[0, 0], [_ABOVE, _BELOW], [0, 0]])
    by_run = tf.stack([tf.zeros_like(words), *_dilations_by_runs(words)])
    width = tf.gather(_width_table(), kernel - KERNELS[0])
    # One slice per row of the largest kernel; rows outside a smaller kernel have width 0.
    begins = [tf.stack([width[row], 0, row, 0]) for row in range(_ABOVE + 1 + _BELOW)]
    shape = tf.stack([1, 2, height, -1])
    return functools.reduce(operator.or_, (tf.slice(by_run, at, shape) for at in begins))[0]


def _dilations_by_runs(words: Tensor) -> Iterator[Tensor]:
    """Yields packed rows dilated by runs of 1, 2, ... pixels, up to the largest kernel."""
    left, right = tf.bitwise.left_shift, tf.bitwise.right_shift
    end = tf.zeros_like(words[..., :1])
    after = tf.concat([words[..., 1:], end], -1)
    before = tf.concat([end, words[..., :-1]], -1)
    dilated = words
    yield dilated
    for width in range(2, KERNELS[-1] + 1):
        reach = tf.constant(width // 2, tf.uint64)
        carry = tf.constant(_WORD - width // 2, tf.uint64)
        if width % 2:  # the run now also reaches the pixel at + width // 2
            dilated |= right(words, reach) | left(after, carry)
        else:  # the pixel at - width // 2
            dilated |= left(words, reach) | right(before, carry)
        yield dilated


@functools.cache
def _width_table() -> np.ndarray:
    """Tabulates the widths of the kernels' rows: one table row per kernel, anchors aligned."""
    table = np.zeros([len(KERNELS), _ABOVE + 1 + _BELOW], np.int32)
    for row, kernel in zip(table, KERNELS, strict=True):
        first = _ABOVE - kernel // 2
        row[first : first + kernel] = kernel_widths(kernel)
    return table
