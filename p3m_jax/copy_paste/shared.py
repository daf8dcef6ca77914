"""Prepares the batch entries of P3M-FCP: the source faces of a step, and their positions.

`p3m_jax.copy_paste.feature` describes the entries, and pastes the faces. Sample i of a batch uses
source i mod `source_batch` of the step. If this source is the sample's own picture, no face is
pasted. Targets, random choices and transformations are the same as for P3M-ICP.
"""

from p3m_jax.copy_paste.geometry import PastingDraws, source_at, transform
from p3m_jax.copy_paste.image import FaceCrop, source_face, square_face, take_target
from p3m_jax.copy_paste.recipe import CopyPaste
from p3m_jax.faces.obfuscation import Obfuscation
from p3m_jax.input import Tensor, tf


def shared_faces(
    step: Tensor, files: dict, copy_paste: CopyPaste, seed: int, obfuscation: Obfuscation | None
) -> dict:
    """Reads the source pictures of a step, and their masks.

    Returns a dict of "source" (Bs, Sc, Sc, 3) and "source_mask" (Bs, Sc, Sc, 1), both uint8. Here
    Bs is `copy_paste.source_batch`, and Sc is `copy_paste.source_size`. Both arrays are the same on
    every host, and 0 before the first step that pastes.
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
    """Prepares a sample for pasting a face inside the network; returns the changed sample.

    The entries "target" and "target_box" are removed. The new entries are:

    - "facemask" uint8 (S, S, 1): where a face may be pasted.
    - "paste" bool (): whether a face is pasted.
    - "paste_matrix" float32 (2, 3): from points of the sample to points of the source.

    Args:
      sample: a sample of `p3m_jax.input.pipeline.load_sample`, with a target.
      files: the result of `source_files`.
      step: the sample's step, int64 ().
      place: the sample's index in the batch of all hosts, int64 ().
      example: the index, in the data set, of the picture that the sample was cut from; int64 ().
      obfuscation: how to obfuscate the sources whose `FaceSource.obfuscated` is True.
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
