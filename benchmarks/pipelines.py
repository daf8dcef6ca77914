"""Makes input pipelines and measures their time per sample, for the benchmarks of input."""

import itertools
import time
from pathlib import Path

from p3m_jax.copy_paste.recipe import CopyPaste
from p3m_jax.copy_paste.samples import find_pasting
from p3m_jax.copy_paste.sources import folder_faces, training_set_faces
from p3m_jax.derived.private_areas import with_private_areas
from p3m_jax.faces.obfuscation import Obfuscation
from p3m_jax.input import host_tensorflow
from p3m_jax.input.pipeline import training_batches

tf = host_tensorflow()
BATCH = 8  # as in the published recipe
OUTPUT = 512


def whole_pipeline(dataset, roles, samples: int, workers, **options) -> tuple[float, float]:
    """(wall time, processor time) per sample in seconds, measured after the first batch."""
    batches = training_batches(
        dataset,
        batch_size=BATCH,
        seed=0,
        composition="foreground" in roles,
        workers=workers,
        **options,
    )
    return per_item(batches, max(samples // BATCH, 1), each=BATCH)


def on_one_thread(function):
    """An iterator over the results of `function` for the numbers of the samples."""
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    options.threading.max_intra_op_parallelism = 1
    made = tf.data.Dataset.counter().map(function, num_parallel_calls=1)
    return iter(made.with_options(options))


def per_item(iterator, count: int, each: int = 1) -> tuple[float, float]:
    """(wall time, processor time) per item; a step of `iterator` is `each` items.

    The first step is not measured.
    """
    next(iterator)
    wall, processor = time.perf_counter(), time.process_time()
    for _ in itertools.islice(iterator, count):
        pass
    items = count * each
    return (time.perf_counter() - wall) / items, (time.process_time() - processor) / items


def with_faces(dataset, faces: Path | None, masks: Path | None, folder: Path):
    """The data set with its face areas, and the faces to paste; `folder` caches both."""
    dataset = with_private_areas(dataset, folder / "areas", leave_out=True)
    if faces:
        return dataset, folder_faces(faces, masks=masks, cache=folder / "masks")
    return dataset, training_set_faces(dataset, obfuscated=False)


def ways_with_faces(dataset, faces) -> dict[str, dict]:
    """The ways to treat faces while loading, as options of `training_batches`."""
    return {
        "plain": {},
        "blurred": {"obfuscation": Obfuscation()},
        "pasted": {"pasting": find_pasting(CopyPaste(faces), dataset.examples, seed=0)},
    }
