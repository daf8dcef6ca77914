"""How fast the input pipeline is, where its time goes, and how many cores feed an accelerator.

    python benchmarks/input_pipeline.py --data P3M-10k --foreground-cache CACHE
    python benchmarks/input_pipeline.py --synthetic        # no data set at hand

Each way is measured as the files are, with faces blurred on the way (the set's face masks say
where), and with faces pasted onto half of the pictures (P3M-ICP; those of `--faces` and `--masks`,
else the set's own). `--rounds` alternates them, so that a drifting machine does not favour one.

It reads the files epoch after epoch, so a handful of pictures is enough to time it (they then come
from the page cache; a disk must deliver about 2 MB per sample on top). Times are processor time per
sample, which neighbours and throttling distort least; `pictures/s` is what the wall clock says.
"""

import argparse
import itertools
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

from p3m_jax.copy_paste.recipe import CopyPaste
from p3m_jax.copy_paste.sources import folder_faces, training_set_faces
from p3m_jax.data.layouts import training_set
from p3m_jax.faces.obfuscation import Obfuscation
from p3m_jax.input import augment, host_tensorflow
from p3m_jax.input.decode import decode_matte, decode_picture, decode_window
from p3m_jax.input.pipeline import CROP_SIZES, training_batches
from p3m_jax.input.private import with_private_areas
from p3m_jax.input.trimap import KERNELS, dilations, unpack

tf = host_tensorflow()
BATCH = 8  # of the published recipe
OUTPUT = 512


def whole_pipeline(dataset, roles, samples: int, workers, **options) -> tuple[float, float]:
    """(seconds of wall time, seconds of processor time) per sample, after a first batch."""
    batches = training_batches(
        dataset,
        batch_size=BATCH,
        seed=0,
        composition="foreground" in roles,
        workers=workers,
        **options,
    )
    return _per_item(batches, max(samples // BATCH, 2), each=BATCH)


def decoding_alone(dataset, roles, samples: int) -> float:
    """Processor time per sample of a pipeline that only reads and decodes what training decodes."""
    files = {
        role: tf.constant([str(getattr(example, role)) for example in dataset.examples])
        for role in roles
    }

    @tf.autograph.experimental.do_not_convert
    def decode(number):
        example = number % len(dataset.examples)
        contents = {role: tf.io.read_file(names[example]) for role, names in files.items()}
        matte = decode_matte(contents.pop("matte"))
        size = tf.shape(matte)[:2]
        side = tf.minimum(augment.draw(0, number, CROP_SIZES).side, tf.reduce_min(size))
        top, left = (size[0] - side) // 2, (size[1] - side) // 2
        return [decode_window(c, top, left, side, side)[0] for c in contents.values()] + [matte[0]]

    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    options.threading.max_intra_op_parallelism = 1
    decoded = tf.data.Dataset.counter().map(decode, num_parallel_calls=1).with_options(options)
    return _per_item(iter(decoded), samples)[1]


def stages(dataset, repeats: int) -> dict[str, float]:
    """Median processor time of single stages, in seconds, on the first example."""
    example = dataset.examples[0]
    matte_file, picture_file = (
        tf.io.read_file(str(path)) for path in (example.matte, example.picture)
    )
    matte = decode_matte(matte_file)
    packed = dilations(matte, KERNELS[-1])
    crop = decode_picture(picture_file)[:768, :768]
    no = tf.constant(False)
    side = int(min(*matte.shape[:2], 768))
    work = {
        "decode a matte (PNG)": lambda: decode_matte(matte_file),
        "decode a whole picture": lambda: decode_picture(picture_file),
        f"decode a window of {side}": lambda: decode_window(picture_file, 0, 0, side, side),
        "trimap of the whole matte": lambda: dilations(matte, tf.constant(KERNELS[-1])),
        f"unpack a window of {side}": lambda: unpack(packed, 0, 0, side, side),
        f"resize a picture from {side}": lambda: augment.finish(crop, OUTPUT, no),
        "flip a picture": lambda: tf.reverse(crop[:OUTPUT, :OUTPUT], [1]),
    }
    if example.foreground:
        foreground_file = tf.io.read_file(str(example.foreground))
        work["decode a foreground (PNG)"] = lambda: decode_picture(foreground_file)
    return {
        name: _median(tf.function(call, autograph=False), repeats) for name, call in work.items()
    }


def _median(call, repeats: int) -> float:
    call()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return statistics.median(times)


def _per_item(iterator, count: int, each: int = 1) -> tuple[float, float]:
    next(iterator)
    wall, processor = time.perf_counter(), time.process_time()
    for _ in itertools.islice(iterator, count):
        pass
    items = count * each
    return (time.perf_counter() - wall) / items, (time.process_time() - processor) / items


def cost_of_faces(dataset, roles, samples: int, rounds: int, faces) -> dict:
    """Processor time per sample by what is done to faces, alternating; ratios to the plain way."""
    ways = {
        "plain": {},
        "blurred": {"obfuscation": Obfuscation()},
        "pasted": {"copy_paste": CopyPaste(faces)},
    }
    times = {way: [] for way in ways}
    for _ in range(rounds):
        for way, options in ways.items():
            times[way].append(whole_pipeline(dataset, roles, samples, 1, **options)[1])
    return {
        way: {
            "core_seconds_per_sample": statistics.median(found),
            "ratio": statistics.median(t / p for p, t in zip(times["plain"], found, strict=True)),
        }
        for way, found in times.items()
    }


def measure(dataset, faces, *, samples: int, repeats: int, workers, rounds: int) -> dict:
    """All figures, times in seconds."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    figures = {"cores": available, "pictures": len(dataset.examples), "samples": samples}
    variants = {"without composition": ["picture", "matte"]}
    if all(example.foreground and example.background for example in dataset.examples):
        variants["with composition"] = ["picture", "foreground", "background", "matte"]
    for name, roles in variants.items():
        wall, _ = whole_pipeline(dataset, roles, samples, workers)
        _, processor = whole_pipeline(dataset, roles, samples, 1)
        decoding = decoding_alone(dataset, roles, samples)
        figures[name] = {
            "pictures_per_second": 1 / wall,
            "core_seconds_per_sample": processor,
            "pictures_per_second_and_core": 1 / processor,
            "decoding_share": decoding / processor,
            "faces": cost_of_faces(dataset, roles, samples, rounds, faces),
        }
    figures["stages"] = stages(dataset, repeats)
    return figures


def table(figures: dict, steps_per_second: list[float]) -> str:
    """The figures as text."""
    lines = [f"{figures['cores']} cores, {figures['pictures']} pictures, output {OUTPUT}", ""]
    for name in ("without composition", "with composition"):
        if name not in figures:
            lines.append(f"{name}: not measured, the data set lacks foregrounds (p3m estimate)")
            continue
        found = figures[name]
        cost, faces = found["core_seconds_per_sample"], found["faces"]
        rates = {way: 1 / times["core_seconds_per_sample"] for way, times in faces.items()}
        lines += [
            f"{name}: {found['pictures_per_second']:.1f} pictures/s on all cores, "
            f"{found['pictures_per_second_and_core']:.1f} per core ({1e3 * cost:.1f} ms), "
            f"{found['decoding_share']:.0%} of it decoding",
            f"  cores = steps/s x {BATCH} x {cost:.4f} s: "
            + ", ".join(
                f"{BATCH * cost * rate:.1f} at {rate:g} steps/s" for rate in steps_per_second
            ),
            *(
                f"  with {way} faces {rates[way]:.1f} pictures/s per core, without "
                f"{rates['plain']:.1f}: {faces[way]['ratio']:.2f} times the processor time"
                for way in ("blurred", "pasted")
            ),
        ]
    lines += ["", "stage (one of each, processor time)"]
    lines += [f"  {name:32} {1e3 * value:6.2f} ms" for name, value in figures["stages"].items()]
    return "\n".join(lines)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, help="P3M-10k, the folder that holds train/")
    source.add_argument(
        "--synthetic", action="store_true", help="8 synthetic 1080 x 1620 portraits"
    )
    parser.add_argument("--foreground-cache", type=Path, help="made by `p3m estimate`")
    parser.add_argument("--faces", type=Path, help="folder of faces to paste")
    parser.add_argument("--masks", type=Path, help="their face masks")
    parser.add_argument("--samples", type=int, default=64, help="per measurement")
    parser.add_argument("--repeats", type=int, default=9, help="of each stage")
    parser.add_argument("--rounds", type=int, default=3, help="of what is done to faces")
    parser.add_argument("--workers", type=int, help="threads (default: what tf.data chooses)")
    parser.add_argument("--steps-per-second", type=float, nargs="+", default=[1.0, 2.0, 5.0])
    parser.add_argument("--json", type=Path, help="also write the figures here")
    args = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)  # as in the pipeline
    with tempfile.TemporaryDirectory() as folder:
        if args.synthetic:
            from p3m_jax.data.synthetic import write_synthetic_set

            args.data = write_synthetic_set(
                Path(folder) / "set", train=8, test=1, size=(1080, 1620)
            )
        dataset = training_set(args.data, foreground_cache=args.foreground_cache)
        dataset = with_private_areas(dataset, Path(folder) / "areas", leave_out=True)
        if args.faces:
            faces = folder_faces(args.faces, masks=args.masks, cache=Path(folder) / "masks")
        else:
            faces = training_set_faces(dataset, obfuscated=False)
        figures = measure(
            dataset,
            faces,
            samples=args.samples,
            repeats=args.repeats,
            workers=args.workers,
            rounds=args.rounds,
        )
    print(table(figures, args.steps_per_second))
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
