"""The input of P3M-FCP: source faces that a batch shares, and their positions over its samples.

`p3m_jax.copy_paste.feature` pastes them and defines the entries of a batch. The sample at place i
of a batch uses the source in slot i mod `source_batch`, or none if that is its own picture.
Targets, draws and transforms are those of the image level.
"""

from p3m_jax.copy_paste.geometry import PastingDraws, source_at, transform
from p3m_jax.copy_paste.image import FaceCrop, source_face, square_face, take_target
from p3m_jax.copy_paste.recipe import CopyPaste
from p3m_jax.faces.obfuscation import Obfuscation
from p3m_jax.input import Tensor, tf


def shared_faces(
    step: Tensor, files: dict, copy_paste: CopyPaste, seed: int, obfuscation: Obfuscation | None
) -> dict:
    """Reads a step's "source" (Bs, Sc, Sc, 3) and "source_mask" (Bs, Sc, Sc, 1), both uint8.

    They are the same on every host, and black before the first step that pastes.
    """
    side = copy_paste.source_size

    def read(slot: int) -> tuple[Tensor, Tensor]:
        face = _face(step, slot, files, copy_paste, seed, obfuscation)
        return face.picture, 255 * tf.cast(face.mask[..., None], tf.uint8)

    def nothing() -> tuple[Tensor, ...]:
        return tuple(tf.zeros([copy_paste.source_batch, side, side, n], tf.uint8) for n in (3, 1))

    def faces() -> tuple[Tensor, ...]:
        slots = [read(slot) for slot in range(copy_paste.source_batch)]
        return tuple(tf.stack(values) for values in zip(*slots, strict=True))

    pictures, masks = tf.cond(step >= copy_paste.first_step, faces, nothing)
    return {"source": pictures, "source_mask": masks}


def lay_a_face(
    sample: dict,
    files: dict,
    step: Tensor,
    place: Tensor,
    example: Tensor,
    draws: PastingDraws,
    copy_paste: CopyPaste,
    seed: int,
    obfuscation: Obfuscation | None,
) -> dict:
    """Replaces a sample's "target" by the entries with which the network pastes a face.

    The new entries are "facemask" (S, S, 1) uint8, where a face may be pasted; "paste" bool (),
    whether one is pasted; and "paste_matrix" float32 (2, 3), from points of the sample to points of
    the source.

    Args:
      sample: a sample of `p3m_jax.input.pipeline.load_sample`, with a target.
      files: the result of `source_files`.
      step, place, example: the sample's step, its place in the batch of all hosts, and the index of
        its example; int64 ().
      obfuscation: the obfuscation for the sources that are to be obfuscated.
    """
    sample, target = take_target(sample)
    slot = place % copy_paste.source_batch
    own = files["own"][example] == _source(step, slot, files, seed)

    def lay() -> tuple[Tensor, ...]:
        face = _face(step, slot, files, copy_paste, seed, obfuscation)
        return tuple(transform(face.mask, target.box, draws, copy_paste.variant))

    def leave() -> tuple[Tensor, ...]:
        return tf.eye(2, 3), tf.constant(False)

    wanted = draws.paste & ~own & tf.reduce_any(target.mask)
    matrix, paste = tf.cond(wanted, lay, leave)
    return sample | {
        "facemask": 255 * tf.cast(target.mask[..., None], tf.uint8),
        "paste": paste,
        "paste_matrix": tf.ensure_shape(matrix, [2, 3]),
    }


def _source(step: Tensor, slot: int | Tensor, files: dict, seed: int) -> Tensor:
    return source_at(step, slot, files["obfuscated"].shape[0], seed)


def _face(
    step: Tensor,
    slot: int | Tensor,
    files: dict,
    copy_paste: CopyPaste,
    seed: int,
    obfuscation: Obfuscation | None,
) -> FaceCrop:
    face = source_face(files, _source(step, slot, files, seed), obfuscation)
    return square_face(face, copy_paste.source_size)
