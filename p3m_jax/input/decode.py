"""Decodes pictures and label files inside a tf.data pipeline: JPEG or PNG, detected by content.

8-bit files return exactly the pixels that `p3m_jax.pictures.images` and `p3m_jax.pictures.labels`
read (TensorFlow's default for JPEG differs by up to 16 grey levels). But TensorFlow ignores EXIF
orientations, so a training set must be stored upright. A file that `p3m_jax.pictures.labels`
rejects fails here, too. It is then read again by that module, which reports the problem.
"""

from collections.abc import Sequence

from p3m_jax.input import Tensor, tf
from p3m_jax.pictures.labels import MASK_TOLERANCE, SMALLEST_LABEL

_EXACT = "INTEGER_ACCURATE"
# At the edge of a window, libjpeg-turbo lacks the neighbours to interpolate the colours of 4:2:0
# pictures and is up to four grey levels off. So windows are decoded this many pixels wider.
_MARGIN = 2


def decode_matte(contents: Tensor) -> Tensor:
    """Decodes a matte (H, W, 1), uint8, from a file's `contents`; like `labels.read_matte`."""
    matte = _one_channel(contents)
    highest = tf.reduce_max(matte)
    with tf.control_dependencies([_require((highest == 0) | (highest > 127), "not a matte")]):
        return tf.identity(matte)


def decode_face_mask(contents: Tensor, several_channels: bool | Tensor = False) -> Tensor:
    """Decodes a face mask (H, W, 1), uint8 of 0 and 255; like `labels.read_face_mask`.

    `several_channels`, a bool or a bool tensor (), means the same as in that function.
    """
    mask = _one_channel(contents, several_channels)
    highest = tf.reduce_max(mask)
    known = (mask <= MASK_TOLERANCE) | (mask >= 255 - MASK_TOLERANCE)
    known = tf.reduce_all(known) & ((highest == 0) | (highest > MASK_TOLERANCE))
    with tf.control_dependencies([_require(known, "not a face mask")]):
        return 255 * tf.cast(mask > 127, tf.uint8)


def decode_label_map(contents: Tensor) -> Tensor:
    """Decodes a label map (H, W, 1), uint8; like `labels.read_label_map`."""
    labels = _one_channel(contents)
    known = tf.reduce_all((labels == 0) | (labels >= SMALLEST_LABEL))
    with tf.control_dependencies([_require(known, "not a label map")]):
        return tf.identity(labels)


def _one_channel(contents: Tensor, several_channels: bool | Tensor = False) -> Tensor:
    """Returns the first channel; fails if others differ from it or if a part is transparent."""
    values = tf.cond(
        tf.io.is_jpeg(contents),
        lambda: tf.io.decode_jpeg(contents, dct_method=_EXACT),
        lambda: tf.io.decode_png(contents),
    )
    channels, first = tf.shape(values)[-1], values[..., :1]
    opaque = (channels % 2 == 1) | tf.reduce_all(values[..., -1] == 255)
    equal = tf.cond(
        (channels < 3) | several_channels,
        lambda: True,
        lambda: tf.reduce_all(values[..., 1:3] == first),
    )
    checks = [_require(opaque, "partly transparent"), _require(equal, "channels differ")]
    with tf.control_dependencies(checks):
        return tf.identity(first)


def _require(holds: Tensor, otherwise: str) -> Tensor:
    return tf.debugging.Assert(holds, [otherwise])


def decode_picture(contents: Tensor) -> Tensor:
    """Decodes a picture (H, W, 3), RGB uint8, from a file's `contents`."""
    return tf.cond(
        tf.io.is_jpeg(contents),
        lambda: tf.io.decode_jpeg(contents, channels=3, dct_method=_EXACT),
        lambda: tf.io.decode_png(contents, channels=3),
    )


def decode_window(
    contents: Tensor, top: Tensor, left: Tensor, height: Tensor, width: Tensor
) -> Tensor:
    """Decodes only a window of a picture, which is faster for JPEG.

    Equals `decode_picture(contents)[top : top + height, left : left + width]`.
    """
    return tf.cond(
        tf.io.is_jpeg(contents),
        lambda: _decode_jpeg_window(contents, top, left, height, width),
        lambda: tf.slice(
            tf.io.decode_png(contents, channels=3), [top, left, 0], [height, width, 3]
        ),
    )


def _decode_jpeg_window(
    contents: Tensor, top: Tensor, left: Tensor, height: Tensor, width: Tensor
) -> Tensor:
    full_width = tf.io.extract_jpeg_shape(contents)[1]
    first = tf.maximum(left - _MARGIN, 0)
    last = tf.minimum(left + width + _MARGIN, full_width)
    window = tf.io.decode_and_crop_jpeg(
        contents, [top, first, height, last - first], channels=3, dct_method=_EXACT
    )
    return window[:, left - first : left - first + width]


def assert_size(contents: Tensor, size: Tensor, what: Sequence[Tensor]) -> Tensor:
    """Fails unless the picture in `contents`, a file's bytes, has `size` (H, W).

    The error message shows the strings `what` and both sizes.
    """
    found = tf.cond(
        tf.io.is_jpeg(contents),
        lambda: tf.io.extract_jpeg_shape(contents)[:2],
        lambda: _png_size(contents),
    )
    return tf.debugging.Assert(tf.reduce_all(found == size), [*what, found, size])


def _png_size(contents: Tensor) -> Tensor:
    """Reads height and width from a PNG's header: big-endian integers at bytes 20 and 16."""
    size = tf.io.decode_raw(tf.strings.substr(contents, 16, 8), tf.int32, little_endian=False)
    return size[::-1]
