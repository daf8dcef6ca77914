"""P3M-FCP's part of the input: faces that a batch shares, and how they lie over its samples.

What is pasted, and where, is `p3m_jax.copy_paste.feature`'s matter; it says what a batch holds. The
sample at place i of a batch takes the source in slot i mod `source_batch`, and none where that is
its own picture. Targets, draws and transforms are those of the image level.
"""

from p3m_jax.copy_paste.geometry import Draws, source_at, transform
from p3m_jax.copy_paste.image import read_face, square_face, take_target
from p3m_jax.copy_paste.recipe import CopyPaste
from p3m_jax.faces.obfuscation import Obfuscation
from p3m_jax.input import host_tensorflow
from p3m_jax.input.contents import place_at

tf = host_tensorflow()


def shared_faces(
    step, files: dict, copy_paste: CopyPaste, seed: int, obfuscation: Obfuscation | None
) -> dict:
    """The sources of a step, "source" (Bs, Sc, Sc, 3) and "source_mask" (Bs, Sc, Sc, 1), uint8.

    They are the same on every host; black before the first step that pastes.
    """
    side = copy_paste.source_size

    def read(slot):
        face = _face(step, slot, files, copy_paste, seed, obfuscation)
        return face.picture, 255 * tf.cast(face.mask[..., None], tf.uint8)

    def nothing():
        return tuple(tf.zeros([copy_paste.source_batch, side, side, n], tf.uint8) for n in (3, 1))

    def faces():
        slots = [read(slot) for slot in range(copy_paste.source_batch)]
        return tuple(tf.stack(values) for values in zip(*slots, strict=True))

    pictures, masks = tf.cond(step >= copy_paste.first_step, faces, nothing)
    return {"source": pictures, "source_mask": masks}


def lay_a_face(
    sample: dict,
    files: dict,
    step,
    place,
    example,
    draws: Draws,
    copy_paste: CopyPaste,
    seed: int,
    obfuscation: Obfuscation | None,
) -> dict:
    """A sample without its "target", with how the face of its slot lies over it.

    That is "facemask" (S, S, 1) uint8, where a face may be pasted; "paste" bool (), whether one is;
    "paste_matrix" float32 (2, 3), from points of the sample to points of the source.

    Args:
      sample: of `p3m_jax.input.pipeline.load_sample`, with a target.
      files: of `source_files`.
      step, place, example: the sample's step, its place in the batch of all hosts, and which of
        the examples it shows; int64 ().
      obfuscation: of the sources that are to be obfuscated.
    """
    sample, target = take_target(sample)
    slot = place % copy_paste.source_batch
    own = files["own"][example] == _source(step, slot, files, seed)

    def lay():
        face = _face(step, slot, files, copy_paste, seed, obfuscation)
        return tuple(transform(face.mask, target.box, draws, copy_paste.variant))

    def leave():
        return tf.eye(2, 3), tf.constant(False)

    wanted = draws.paste & ~own & tf.reduce_any(target.mask)
    matrix, paste = tf.cond(wanted, lay, leave)
    return sample | {
        "facemask": 255 * tf.cast(target.mask[..., None], tf.uint8),
        "paste": paste,
        "paste_matrix": tf.ensure_shape(matrix, [2, 3]),
    }


def _source(step, slot, files: dict, seed: int):
    return source_at(step, slot, files["obfuscated"].shape[0], seed)


def _face(step, slot, files, copy_paste, seed, obfuscation):
    source = _source(step, slot, files, seed)
    face = read_face(
        place_at(files["picture"], source),
        place_at(files["mask"], source),
        obfuscated=files["obfuscated"][source],
        obfuscation=obfuscation,
        published=files["published"][source],
    )
    return square_face(face, copy_paste.source_size)
