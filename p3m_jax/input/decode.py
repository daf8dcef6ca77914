"""Decoding pictures and mattes inside a tf.data pipeline: JPEG or PNG, told apart by content.

Equal to the pixel to what `p3m_jax.images` reads from 8-bit files (TensorFlow's default for JPEG is
up to 16 grey levels off), but for EXIF orientations: TensorFlow ignores them, so a training set
must have its pixels the right way up.
"""

from p3m_jax.input import host_tensorflow

tf = host_tensorflow()

_EXACT = "INTEGER_ACCURATE"
# At the side of a window libjpeg-turbo lacks the neighbours it needs to interpolate the colours of
# 4:2:0 pictures, and is up to four grey levels off. So windows are decoded this much wider.
_MARGIN = 2


def decode_matte(contents):
    """An alpha matte or mask (H, W, 1), uint8, from a file's `contents`: its first channel.

    One that is transparent in parts is refused, as by `p3m_jax.images.read_matte`.
    """
    matte = tf.cond(
        tf.io.is_jpeg(contents),
        lambda: tf.io.decode_jpeg(contents, dct_method=_EXACT),
        lambda: tf.io.decode_png(contents),
    )
    channels = tf.shape(matte)[-1]
    opaque = (channels % 2 == 1) | tf.reduce_all(matte[..., -1] == 255)
    with tf.control_dependencies([tf.debugging.Assert(opaque, ["transparent in parts"])]):
        return matte[..., :1]


def decode_picture(contents):
    """A picture (H, W, 3), RGB uint8, from a file's `contents`."""
    return tf.cond(
        tf.io.is_jpeg(contents),
        lambda: tf.io.decode_jpeg(contents, channels=3, dct_method=_EXACT),
        lambda: tf.io.decode_png(contents, channels=3),
    )


def decode_window(contents, top, left, height, width):
    """`decode_picture(contents)[top : top + height, left : left + width]`, cheaper for JPEG."""
    return tf.cond(
        tf.io.is_jpeg(contents),
        lambda: _decode_jpeg_window(contents, top, left, height, width),
        lambda: tf.slice(
            tf.io.decode_png(contents, channels=3), [top, left, 0], [height, width, 3]
        ),
    )


def _decode_jpeg_window(contents, top, left, height, width):
    full_width = tf.io.extract_jpeg_shape(contents)[1]
    first = tf.maximum(left - _MARGIN, 0)
    last = tf.minimum(left + width + _MARGIN, full_width)
    window = tf.io.decode_and_crop_jpeg(
        contents, [top, first, height, last - first], channels=3, dct_method=_EXACT
    )
    return window[:, left - first : left - first + width]


def assert_size(contents, size, what):
    """Fails, printing the strings `what`, unless the picture in `contents` has `size` (H, W)."""
    found = tf.cond(
        tf.io.is_jpeg(contents),
        lambda: tf.io.extract_jpeg_shape(contents)[:2],
        lambda: _png_size(contents),
    )
    return tf.debugging.Assert(tf.reduce_all(found == size), [*what, found, size])


def _png_size(contents):
    """Height and width from a PNG's header: big-endian numbers at bytes 20 and 16."""
    size = tf.io.decode_raw(tf.strings.substr(contents, 16, 8), tf.int32, little_endian=False)
    return size[::-1]
