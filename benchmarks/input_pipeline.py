"""Measures the speed of the input pipeline, its stages, and the cores that feed an accelerator.

    python benchmarks/input_pipeline.py --data P3M-10k --foreground-cache CACHE
    python benchmarks/input_pipeline.py --synthetic        # without a data set
    python benchmarks/input_pipeline.py --data P3M-10k --records RECORDS --rounds 9

The pipeline is measured in three ways: with the files as they are, with faces blurred while loading
(the set's face masks say where), and with faces pasted onto half of the pictures (P3M-ICP). The
faces to paste are those of `--faces` and `--masks`, or the set's own. The ways alternate for
`--rounds`, so that a machine whose speed drifts does not favour one.

With `--records`, the same set as `p3m records` wrote it, the program only compares folders with
records, alternating. It measures the whole pipeline, and reading without decoding: from the page
cache, and from the disk if the system can drop a file from the page cache.

With `--reference`, a checkout of JizhiziLi/P3M, and `--reference-python`, an interpreter with
PyTorch and OpenCV, the program only compares these ways (and records, if given) with the authors'
loader. They run on one core, in processes that take turns; see input_reference.py.

The files are read again in every epoch, so a few pictures are enough. They then come from the page
cache; otherwise a disk must also deliver about 2 MB per sample. Times are processor time per
sample, which other work and throttling distort least; `pictures/s` is measured in wall time.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

from input_records import comparison, folders_and_records
from input_reference import beside_reference, show
from pipelines import (
    BATCH,
    OUTPUT,
    on_one_thread,
    per_item,
    tf,
    ways_with_faces,
    whole_pipeline,
    with_faces,
)
from sides import write_report

from p3m_jax.data.layouts import training_set
from p3m_jax.input import augment
from p3m_jax.input.decode import decode_matte, decode_picture, decode_window
from p3m_jax.input.online_trimap import KERNELS, dilations, unpack
from p3m_jax.input.pipeline import CROP_SIZES


def decoding_alone(dataset, roles, samples: int) -> float:
    """Processor time per sample of a pipeline that only reads and decodes what training needs."""
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

    return per_item(on_one_thread(decode), samples)[1]


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


def cost_of_faces(dataset, roles, samples: int, rounds: int, faces) -> dict:
    """Measures processor time per sample for each treatment of faces.

    The treatments alternate; their ratios to the plain way are included.
    """
    ways = ways_with_faces(faces)
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
    """Measures all figures; times are in seconds."""
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
    """Formats the figures as text."""
    lines = [f"{figures['cores']} cores, {figures['pictures']} pictures, output {OUTPUT}", ""]
    for name in ("without composition", "with composition"):
        if name not in figures:
            lines.append(f"{name}: not measured, because foregrounds are missing (p3m estimate)")
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
    lines += ["", "stage (processor time of one)"]
    lines += [f"  {name:32} {1e3 * value:6.2f} ms" for name, value in figures["stages"].items()]
    return "\n".join(lines)


def options() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, help="P3M-10k, the folder that holds train/")
    source.add_argument(
        "--synthetic", action="store_true", help="8 synthetic 1080 x 1620 portraits"
    )
    parser.add_argument("--records", type=Path, help="the same set, as `p3m records` wrote it")
    parser.add_argument("--foreground-cache", type=Path, help="made by `p3m estimate`")
    parser.add_argument("--faces", type=Path, help="folder of faces to paste")
    parser.add_argument("--masks", type=Path, help="their face masks")
    parser.add_argument(
        "--reference", type=Path, metavar="CHECKOUT", help="a checkout of JizhiziLi/P3M"
    )
    parser.add_argument("--reference-python", metavar="PYTHON", help="an interpreter with PyTorch")
    parser.add_argument("--samples", type=int, default=64, help="samples per measurement")
    parser.add_argument("--repeats", type=int, default=9, help="repetitions of each stage")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of the alternating ways")
    parser.add_argument("--workers", type=int, help="threads (default: what tf.data chooses)")
    parser.add_argument("--steps-per-second", type=float, nargs="+", default=[1.0, 2.0, 5.0])
    parser.add_argument("--json", type=Path, help="also write the figures here")
    args = parser.parse_args()
    if (args.reference is None) != (args.reference_python is None):
        parser.error("--reference and --reference-python must be given together.")
    if args.reference and not (args.reference / "core" / "data.py").is_file():
        parser.error(f"{args.reference}: holds no core/data.py.")
    return args


def main() -> None:
    """Measures and prints all figures."""
    args = options()
    tf.config.threading.set_intra_op_parallelism_threads(1)  # as in the pipeline
    with tempfile.TemporaryDirectory() as folder:
        if args.synthetic:
            from p3m_jax.data.synthetic.writer import write_synthetic_set

            args.data = write_synthetic_set(
                Path(folder) / "set", train=8, test=1, size=(1080, 1620)
            )
        if args.reference:
            rows = beside_reference(args, Path(folder))
            print(show(rows))
            write_report(args.json, args, rows, args.reference_python)
            return
        dataset = training_set(args.data, foreground_cache=args.foreground_cache)
        if args.records:
            records = training_set(args.records, foreground_cache=args.foreground_cache)
            sets, roles = {"folders": dataset, "records": records}, ["picture", "matte"]
            if all(example.foreground for example in dataset.examples):
                roles += ["foreground", "background"]
            figures = folders_and_records(sets, roles, args.samples, args.rounds)
            text = comparison(figures, len(dataset.examples))
        else:
            dataset, faces = with_faces(dataset, args.faces, args.masks, Path(folder))
            figures = measure(
                dataset,
                faces,
                samples=args.samples,
                repeats=args.repeats,
                workers=args.workers,
                rounds=args.rounds,
            )
            text = table(figures, args.steps_per_second)
    print(text)
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
