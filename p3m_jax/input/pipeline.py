"""Batches of training samples, a pure function of (seed, step).

A sample is a random crop of an example, which is a picture of the data set with its labels. The
samples of all epochs have consecutive numbers: sample i of step s has the global index
s * batch_size + i. This index determines the epoch, the example (by a permutation per epoch) and
the seed of the augmentation. No other state is stored. So a run resumes at any step without
replaying earlier ones, and a step sees the same samples for any number of workers and hosts.

This is true for files and for sharded records. The order of the examples does not depend on the
shard in which they are stored, and no shards are assigned to hosts. Every host reads from all
shards, but only the records that its samples need. The samples of host `index` of `count` depend
only on these two numbers and on (seed, step). Since an epoch is a permutation of all examples,
every host's reads are spread evenly over all shards.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from p3m_jax.data.folders import DataSetError
from p3m_jax.data.sets import DataSet, Example
from p3m_jax.faces.obfuscation import Obfuscation
from p3m_jax.input import Tensor, augment, tf
from p3m_jax.input.contents import (
    Place,
    check_record,
    name_of,
    place_at,
    places,
    read_contents,
    read_record,
)
from p3m_jax.input.decode import (
    assert_size,
    decode_face_mask,
    decode_label_map,
    decode_matte,
    decode_picture,
    decode_window,
)
from p3m_jax.input.masks import box, largest_face
from p3m_jax.input.obfuscate import obfuscate
from p3m_jax.input.online_trimap import dilations, unpack
from p3m_jax.input.pasting import Pasting, Sample
from p3m_jax.pictures.images import read_picture
from p3m_jax.pictures.labels import read_face_mask, read_label_map, read_matte
from p3m_jax.pictures.sizes import require_size

CROP_SIZES = (512, 768, 1024)  # of the published recipe, like the output size of 512
_PICTURES = ("picture", "foreground", "background")


def training_batches(
    dataset: DataSet,
    *,
    batch_size: int,
    crop_sizes: Sequence[int] = CROP_SIZES,
    output_size: int = 512,
    seed: int,
    start_step: int = 0,
    composition: bool = True,
    facemasks: bool = False,
    obfuscation: Obfuscation | None = None,
    pasting: Pasting | None = None,
    shard: tuple[int, int] = (0, 1),
    workers: int | None = None,
) -> Iterator[dict[str, np.ndarray]]:
    """Returns an endless iterator over the batches of steps `start_step`, `start_step` + 1, ...

    A batch has uint8 arrays: picture (B, S, S, 3) RGB, matte (B, S, S, 1) in 0..255, trimap
    (B, S, S, 1) in {0, 128, 255}. With `composition` it also has foreground and background
    (B, S, S, 3). With `facemasks` it has facemask (B, S, S, 1) in {0, 255}, which is 0 everywhere
    if the example has no face mask. S is `output_size`; B is `batch_size` without `shard`.

    With an `obfuscation`, the examples' face areas (see `p3m_jax.derived.private_areas`) are
    obfuscated at the pictures' own resolution, before anything is resized. In these areas the
    foreground gets the picture's pixels, because the two are equal where the person is opaque.

    `pasting` pastes faces into samples. The order, crops and flips are the same as without
    `pasting`. It needs the examples' face masks, or their face areas if there is an `obfuscation`.

    `shard` is (index, count). This process gets slice number `index` of `count` equal slices of
    each batch, so B is `batch_size` / count. `workers` is the number of threads; by default
    TensorFlow chooses it.

    Raises `DataSetError` if foregrounds, backgrounds or face areas are missing. While iterating,
    raises `DataSetError` or `ImageError` for a file that cannot be read, or whose size differs from
    its picture's.
    """
    _validate(dataset, batch_size, crop_sizes, start_step, composition, obfuscation, shard)
    index, count = shard
    local = batch_size // count
    roles = ["picture"] + ["foreground", "background"] * composition
    files = {
        role: places([getattr(e, role) for e in dataset.examples])
        for role in [*roles, "matte"] + ["facemask"] * facemasks + ["private"] * bool(obfuscation)
    }
    files["published"] = tf.constant([e.published for e in dataset.examples])
    if pasting:
        masks = [e.private if obfuscation else e.facemask for e in dataset.examples]
        files["target"] = places(masks)

    @tf.autograph.experimental.do_not_convert
    def sample(position: Tensor) -> dict[str, Tensor]:  # counts this process's samples
        step, place = position // local, position % local
        number = step * batch_size + index * local + place
        example = example_at(number, len(dataset.examples), seed)
        this = Sample(number, step, place + index * local, example)
        loaded = load_sample(
            {role: place_at(all_places, example) for role, all_places in files.items()},
            augment.draw(seed, number, crop_sizes),
            crop_sizes=crop_sizes,
            output_size=output_size,
            obfuscation=obfuscation,
            target=pasting.wants(this) if pasting else None,
        )
        return pasting.paste(loaded, this) if pasting else loaded

    parallel = tf.data.AUTOTUNE if workers is None else workers
    batches = (
        tf.data.Dataset.counter(start_step * local)
        .map(sample, num_parallel_calls=parallel, deterministic=True)
        .batch(local, drop_remainder=True)
    )
    steps = tf.data.Dataset.counter(start_step)
    if pasting and pasting.shares:
        shared = steps.map(
            tf.autograph.experimental.do_not_convert(pasting.shared), num_parallel_calls=1
        )
        together = tf.data.Dataset.zip(batches, shared)
        batches = together.map(lambda batch, of_step: {**batch, **of_step})
    batches = batches.prefetch(2).with_options(_options(workers))
    return _iterate(batches, dataset, start_step, batch_size, seed, pasting)


def example_at(number: int | Tensor, count: int, seed: int) -> Tensor:
    """Returns the index of the picture that a sample is cut from, int64 () in 0..count - 1.

    `number` is the sample's global index, over all steps, and `count` the number of pictures in the
    data set. Within an epoch, every picture is used once, in an order drawn from (seed, epoch).
    """
    number, last = tf.cast(number, tf.int64), tf.constant(count - 1, tf.int64)
    seeds = tf.stack([tf.cast(seed, tf.int64), number // count])
    return tf.random.experimental.index_shuffle(number % count, seeds, last)


def load_sample(
    files: Mapping[str, Place],
    draws: augment.Draws,
    *,
    crop_sizes: Sequence[int],
    output_size: int,
    obfuscation: Obfuscation | None = None,
    target: Tensor | None = None,
) -> dict[str, Tensor]:
    """Loads one sample, a dict of uint8 tensors as in `training_batches`, without the batch axis.

    `files` maps "picture", "matte" and optionally "foreground", "background", "facemask" and
    "private" to file names (scalar strings) or `contents.FilePositions`. All files get the same
    crop and flip. An `obfuscation` requires `files["private"]`. `files["published"]`, bool (), says
    whether the face mask is P3M-10k's own, see `p3m_jax.data.sets.Example`.

    `target`, bool (), says whether to look for the target: a face in the crop, over which P3M-CP
    may paste another face. If `target` is not None, `files["target"]` is required: the face mask,
    or the label map if there is an `obfuscation`, with the name "" if the example has none. The
    sample then has two more entries:

    - "target" (S, S, 1) in {0, 255}: the face with the most pixels in the crop; 0 everywhere if
      `target` is False or there is no face.
    - "target_box" float32 (2, 2): the upper left point and the sides of the box of this whole face,
      even if the crop shows only a part of it. Both are (x, y) in pixels of the sample. The box is
      meaningless if "target" is 0 everywhere.
    """
    record = read_record(files["matte"])  # one record contains all files of an example
    matte = decode_matte(read_contents(files["matte"], record))
    original = tf.shape(matte)[:2]
    side = augment.crop_side(draws.side, original, crop_sizes)
    size = augment.enlarged(original, side)
    matte = augment.resize(matte, size)
    dilated = dilations(matte, draws.kernel)
    window = augment.crop_window(draws, side, size, dilated)
    enlarging = tf.reduce_any(size != original)

    def cut(image: Tensor) -> Tensor:
        return tf.image.crop_to_bounding_box(image, window.top, window.left, side, side)

    def read(file: Place) -> Tensor:
        contents, names = read_contents(file, record), [name_of(file), name_of(files["matte"])]
        with tf.control_dependencies([assert_size(contents, original, names)]):
            return tf.identity(contents)

    def cut_pictures() -> dict[str, Tensor]:
        """Cuts the pictures if nothing is enlarged; then only the window is decoded."""
        place = window.top, window.left, side, side
        return hide({role: decode_window(read(files[role]), *place) for role in roles}, cut)

    def cut_enlarged() -> dict[str, Tensor]:
        images = hide({role: decode_picture(read(files[role])) for role in roles}, tf.identity)
        return {role: cut(augment.resize(image, size)) for role, image in images.items()}

    def hide(images: dict[str, Tensor], of_labels: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
        if obfuscation is None:
            return images
        labels = decode_label_map(read(files["private"]))
        return obfuscate(images, of_labels(labels), obfuscation, whole=labels)

    def find_target(labels: Tensor) -> tuple[Tensor, Tensor]:
        labels = tf.cond(  # labels are identifiers, so they must not be interpolated
            enlarging,
            lambda: tf.image.resize(labels, size, method="nearest"),
            lambda: labels,
        )
        whole = labels == largest_face(cut(labels)[..., 0])
        face = 255 * tf.cast(cut(whole), tf.uint8)
        mask = augment.two_valued(augment.finish(face, output_size, draws.flip))
        corner = tf.cast([window.left, window.top], tf.float32)
        left_top, sides = box(whole[..., 0])
        scale = output_size / tf.cast(side, tf.float32)
        (left, top), sides = tf.unstack((left_top - corner) * scale), sides * scale
        left = tf.where(draws.flip, output_size - left - sides[0], left)
        return mask, tf.stack([[left, top], sides])

    def face_mask(file: Place) -> Tensor:
        return decode_face_mask(read(file), files.get("published", False))

    roles = [role for role in _PICTURES if role in files]
    cuts = tf.cond(enlarging, cut_enlarged, cut_pictures)
    cuts["matte"] = cut(matte)
    cuts["trimap"] = unpack(dilated, window.top, window.left, side, side)
    if "facemask" in files:
        cuts["facemask"] = tf.cond(
            name_of(files["facemask"]) == "",
            lambda: tf.zeros([side, side, 1], tf.uint8),
            lambda: cut(augment.resize(face_mask(files["facemask"]), size)),
        )
    sample = {role: augment.finish(image, output_size, draws.flip) for role, image in cuts.items()}
    sample["trimap"] = augment.three_valued(sample["trimap"])
    if "facemask" in sample:
        sample["facemask"] = augment.two_valued(sample["facemask"])
    if target is not None:
        decode = face_mask if obfuscation is None else lambda file: decode_label_map(read(file))
        # Decoded inside the branch: outside it, files would be read even if nothing uses them.
        sample["target"], sample["target_box"] = tf.cond(
            target & (name_of(files["target"]) != ""),
            lambda: find_target(decode(files["target"])),
            lambda: (tf.zeros([output_size, output_size, 1], tf.uint8), tf.ones([2, 2])),
        )
    return sample


def _validate(
    dataset: DataSet,
    batch_size: int,
    crop_sizes: Sequence[int],
    start_step: int,
    composition: bool,
    obfuscation: Obfuscation | None,
    shard: tuple[int, int],
) -> None:
    index, count = shard
    if not dataset.examples:
        raise DataSetError(f"{dataset.root}: contains no examples.")
    if batch_size < 1 or batch_size % count or not 0 <= index < count:
        raise ValueError(f"a batch of {batch_size} has no part {index} of {count} equal parts.")
    if start_step < 0 or not crop_sizes or min(crop_sizes) < 1:
        raise ValueError("steps count from 0, and crop sizes must be positive numbers of pixels.")
    if composition:
        missing = sum(not (e.foreground and e.background) for e in dataset.examples)
        if missing:
            raise DataSetError(
                f"{dataset.root}: {missing} of {len(dataset.examples)} pictures lack foreground "
                "and background, which the composition loss needs; estimate them with "
                "`p3m estimate`, or set config.loss.composition=False."
            )

    if obfuscation is not None and not all(example.private for example in dataset.examples):
        raise DataSetError(
            f"{dataset.root}: some pictures have no face areas to obfuscate; call "
            "with_private_areas of p3m_jax.derived.private_areas first."
        )


def _options(workers: int | None) -> Any:
    options = tf.data.Options()
    options.deterministic = True
    # Parallel over samples: more threads inside one operation would only make it slower.
    options.threading.max_intra_op_parallelism = 1
    if workers is not None:
        options.threading.private_threadpool_size = workers
    return options


def _iterate(
    batches: Any, dataset: DataSet, step: int, batch_size: int, seed: int, pasting: Pasting | None
) -> Iterator[dict[str, np.ndarray]]:
    iterator = batches.as_numpy_iterator()
    while True:
        try:
            batch = next(iterator)
        except tf.errors.OpError as error:
            for i in range(batch_size):
                number = step * batch_size + i
                _diagnose(dataset.examples[int(example_at(number, len(dataset.examples), seed))])
                if pasting:
                    pasting.diagnose(step, i)
            raise DataSetError(f"{dataset.root}: step {step} failed: {error.message}") from error
        yield batch
        step += 1


def _diagnose(example: Example) -> None:
    """Raises a readable error if an example's files made TensorFlow fail."""
    check_record(example.matte)
    size = read_matte(example.matte).shape
    readers = dict.fromkeys(
        (example.picture, example.foreground, example.background), read_picture
    ) | {
        example.facemask: lambda file: read_face_mask(file, several_channels=example.published),
        example.private: read_label_map,
    }
    for file, read in readers.items():
        if file is not None:
            require_size(file, read(file).shape[:2], size, "matte")
