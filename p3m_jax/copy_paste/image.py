"""P3M-ICP: pastes a face at image level, into one sample of a tf.data pipeline.

Pasting is the last step, at the output resolution. The steps before it, G1 in the paper, are the
crop, flip and resize. A face is pasted only where the sample's face mask and the trimap's
foreground overlap; if faces are obfuscated, the face areas replace the face mask. So pasting leaves
the background and the transition area unchanged, and the matte stays correct. Picture and
foreground get the same pixels, so the composition loss stays consistent. The source is scaled and
moved to the box of the target's whole face, even if the crop shows only a part of it. Such a crop
gets only the matching part of the source.

The source is first reduced by area averaging to its final size and then warped bilinearly, which
avoids aliasing. The mask is processed in the same way; values of half or more count as face.
"""

from collections.abc import Sequence
from typing import NamedTuple

from p3m_jax.copy_paste.geometry import PastingDraws, Transform, scales, transform
from p3m_jax.copy_paste.recipe import CopyPaste
from p3m_jax.data.sets import Example
from p3m_jax.faces.obfuscation import Obfuscation
from p3m_jax.input import Tensor, tf
from p3m_jax.input.contents import Place, name_of, place_at, places, read_contents
from p3m_jax.input.decode import (
    assert_size,
    decode_face_mask,
    decode_label_map,
    decode_window,
)
from p3m_jax.input.masks import box, ends, largest_face
from p3m_jax.input.obfuscate import obfuscate, pasted

# Side of the cropped square, in longer sides of the mask's box. Only pixels inside the mask are
# pasted, but averaging mixes in pixels next to it.
REACH = 1.1
_OPAQUE = 255  # of a trimap


class FaceCrop(NamedTuple):
    """The face of a source, cropped from its picture.

    Attributes:
      picture: uint8 (h, w, 3).
      mask: bool (h, w), True on the face.
    """

    picture: Tensor
    mask: Tensor


class Target(NamedTuple):
    """The area of a sample that a face may be pasted into.

    Attributes:
      mask: bool (S, S); nothing changes outside it.
      box: box of the whole face, including any part outside the crop, as
        `p3m_jax.input.masks.box` returns it.
    """

    mask: Tensor
    box: Tensor


def source_files(copy_paste: CopyPaste, examples: Sequence[Example]) -> dict:
    """Returns a dict of tensors with the files and flags of the sources.

    "picture", "mask", "obfuscated" and "published" have one element for each source. "own" has one
    element for each example: the index of the source with the same picture, or -1 if there is none.
    """
    sources = copy_paste.sources
    numbers = {source.picture: number for number, source in enumerate(sources)}
    return {
        "picture": places([source.picture for source in sources]),
        "mask": places([source.mask for source in sources]),
        "obfuscated": tf.constant([source.obfuscated for source in sources]),
        "published": tf.constant([source.published for source in sources]),
        "own": tf.constant([numbers.get(e.picture, -1) for e in examples], tf.int64),
    }


def source_face(files: dict, source: Tensor, obfuscation: Obfuscation | None) -> FaceCrop:
    """Reads the face of one source, see `read_face`.

    `files` is the result of `source_files`; `source` is the index of the source, int64 ().
    """
    return read_face(
        place_at(files["picture"], source),
        place_at(files["mask"], source),
        obfuscated=files["obfuscated"][source],
        obfuscation=obfuscation,
        published=files["published"][source],
    )


def copy_a_face(
    sample: dict,
    files: dict,
    source: Tensor,
    example: Tensor,
    draws: PastingDraws,
    copy_paste: CopyPaste,
    obfuscation: Obfuscation | None,
) -> dict:
    """Pastes a face into a sample if `draws.paste`, and removes the entries of its target.

    Returns the changed sample. If the sample shows no face, none is pasted.

    Args:
      sample: a sample of `p3m_jax.input.pipeline.load_sample`, with the entries "target" and
        "target_box".
      files: the result of `source_files`.
      source: the index of the source, int64 (). If the source and the sample come from the same
        picture, the next source is used.
      example: the index, in the data set, of the picture that the sample was cut from; int64 ().
      obfuscation: how to obfuscate the sources whose `FaceSource.obfuscated` is True.
    """
    sample, target = take_target(sample)
    count = tf.shape(files["obfuscated"], tf.int64)[0]
    source = tf.where(source == files["own"][example], (source + 1) % count, source)

    def with_face() -> dict:
        face = source_face(files, source, obfuscation)
        return paste_face(sample, face, target, draws, copy_paste.variant)

    # The source is read only if it is pasted.
    return tf.cond(draws.paste & tf.reduce_any(target.mask), with_face, lambda: dict(sample))


def read_face(
    picture: Place,
    mask: Place,
    *,
    reach: float = REACH,
    obfuscated: bool | Tensor = False,
    obfuscation: Obfuscation | None = None,
    published: bool | Tensor = False,
) -> FaceCrop:
    """Reads a square around the face of a source, limited to the picture.

    Args:
      picture, mask: names of files, string (), or `contents.FilePositions`.
      reach: side of the square, divided by the longer side of the mask's box.
      obfuscated: bool (), whether the mask's areas are obfuscated before the face is cut out, so
        that no clear face is pasted into obfuscated training pictures.
      obfuscation: how the areas are obfuscated.
      published: bool (), see `FaceSource`.
    """
    contents, of_mask = read_contents(picture), read_contents(mask)
    labels = tf.cond(
        tf.convert_to_tensor(obfuscated),
        lambda: decode_label_map(of_mask),
        lambda: decode_face_mask(of_mask, published),
    )
    size = tf.shape(labels)[:2]
    face = labels[..., 0] == largest_face(labels[..., 0])
    left_top, sides = box(face)
    reach *= tf.reduce_max(sides) / 2
    first = tf.cast(tf.maximum(left_top + sides / 2 - reach, 0), tf.int32)
    last = tf.cast(tf.math.ceil(left_top + sides / 2 + reach), tf.int32)
    (left, top), (right, bottom) = tf.unstack(first), tf.unstack(last)
    bottom, right = tf.minimum(bottom, size[0]), tf.minimum(right, size[1])
    with tf.control_dependencies([assert_size(contents, size, [name_of(picture), name_of(mask)])]):
        window = decode_window(contents, top, left, bottom - top, right - left)
    if obfuscation is not None:
        cut = labels[top:bottom, left:right]
        window = tf.cond(
            obfuscated,
            lambda: obfuscate({"picture": window}, cut, obfuscation, whole=labels)["picture"],
            lambda: window,
        )
    return FaceCrop(window, face[top:bottom, left:right])


def square_face(face: FaceCrop, side: int) -> FaceCrop:
    """Resizes a face to `side` x `side` pixels, so that several faces can form a batch.

    A face that is not square is first padded with black on the right or below.
    """
    height, width = tf.unstack(tf.shape(face.mask))
    lacking = tf.maximum(height, width) - tf.stack([height, width])
    paddings = tf.stack([tf.zeros_like(lacking), lacking], 1)
    picture = tf.pad(face.picture, tf.concat([paddings, [[0, 0]]], 0))
    mask = tf.cast(tf.pad(face.mask, paddings), tf.float32)[..., None]
    size = [side, side]
    picture = tf.image.resize(picture, size, antialias=True)
    picture = tf.cast(tf.clip_by_value(picture, 0, 255) + 0.5, tf.uint8)
    return FaceCrop(picture, tf.image.resize(mask, size, antialias=True)[..., 0] >= 0.5)


def paste_face(
    sample: dict, face: FaceCrop, target: Target, draws: PastingDraws, variant: str
) -> dict:
    """Pastes a face into a copy of a sample, and returns the copy.

    The face is pasted into the sample's "picture", and into its "foreground" if it has one; both
    are uint8 (S, S, 3). If the face's mask is empty, nothing changes.
    """
    laid = transform(face.mask, target.box, draws, variant)
    return tf.cond(
        laid.paste, lambda: _pasted(sample, face, target.mask, laid), lambda: dict(sample)
    )


def take_target(sample: dict) -> tuple[dict, Target]:
    """Splits a sample of `p3m_jax.input.pipeline.load_sample` into (sample, target).

    The first is the sample without its entries "target" and "target_box".
    """
    sample = dict(sample)
    mask = (sample.pop("target")[..., 0] > 0) & (sample["trimap"][..., 0] == _OPAQUE)
    return sample, Target(mask, tf.unstack(sample.pop("target_box")))


def _pasted(sample: dict, face: FaceCrop, target_mask: Tensor, laid: Transform) -> dict:
    top, bottom = ends(tf.reduce_any(target_mask, 1))
    left, right = ends(tf.reduce_any(target_mask, 0))
    colours, covered = _warped(face, laid.matrix, (top, left), (bottom - top, right - left))
    inside = (target_mask[top:bottom, left:right] & covered)[..., None]
    changed = dict(sample)
    for role in ("picture", "foreground"):
        if role in sample:
            window = tf.where(inside, colours, sample[role][top:bottom, left:right])
            changed[role] = pasted(sample[role], window, ((top, bottom), (left, right)))
            changed[role] = tf.ensure_shape(changed[role], sample[role].shape)
    return changed


def _warped(
    face: FaceCrop, matrix: Tensor, corner: tuple[Tensor, Tensor], size: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Warps a source into a window of the target: its pixels uint8 (h, w, 3), mask bool (h, w).

    The first pixel of the window of `size` (h, w) is at the row and column `corner`.
    """
    height, width = tf.unstack(tf.shape(face.mask))
    sides = tf.cast([width, height], tf.float32)
    smaller = tf.maximum(tf.round(sides * tf.minimum(scales(matrix), 1.0)), 1.0)
    matrix = matrix * (smaller / sides)[:, None]
    width, height = tf.unstack(tf.cast(smaller, tf.int32))
    opaque = 255 * tf.cast(face.mask[..., None], tf.uint8)
    source = [
        tf.image.resize(values, [height, width], method="area") for values in (face.picture, opaque)
    ]
    # TensorFlow puts pixel centres at whole numbers and counts from the window's corner.
    top, left = corner
    center = tf.cast([left, top], tf.float32) + 0.5
    offset = tf.linalg.matvec(matrix[:, :2], center) + matrix[:, 2] - 0.5
    rows = tf.concat([matrix[:, :2], offset[:, None]], 1)
    warped = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.concat(source, -1)[None],
        transforms=tf.concat([tf.reshape(rows, [1, 6]), tf.zeros([1, 2])], 1),
        output_shape=tf.stack(size),
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )[0]
    return tf.cast(warped[..., :3] + 0.5, tf.uint8), warped[..., 3] >= 127.5
