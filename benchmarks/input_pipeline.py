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
import os
import statistics
import tempfile
import time
from pathlib import Path

import command_line as cli
import input_records
import input_reference
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
    ways = ways_with_faces(dataset, faces)
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


def compositions(dataset) -> dict[str, list[str]]:
    """The roles of the files to read: without foregrounds and, if all pictures have them, with."""
    found = {"without composition": ["picture", "matte"]}
    if all(example.foreground and example.background for example in dataset.examples):
        found["with composition"] = ["picture", "foreground", "background", "matte"]
    return found


def measure(
    dataset, faces, *, compositions: dict, samples: int, repeats: int, workers, rounds: int
) -> list[dict]:
    """Measures all figures, in seconds: a row for each composition, and a row for each stage."""
    rows = []
    for name, roles in compositions.items():
        wall, processor = whole_pipeline(dataset, roles, samples, workers)
        if workers != 1:
            _, processor = whole_pipeline(dataset, roles, samples, 1)
        decoding = decoding_alone(dataset, roles, samples)
        rows.append(
            {
                "what": name,
                "pictures_per_second": 1 / wall,
                "core_seconds_per_sample": processor,
                "decoding_share": decoding / processor,
                "faces": cost_of_faces(dataset, roles, samples, rounds, faces),
            }
        )
    found = stages(dataset, repeats)
    return rows + [{"what": name, "core_seconds": seconds} for name, seconds in found.items()]


def show(rows: list[dict], steps_per_second: list[float]) -> None:
    """Prints the rows as two tables."""
    pipelines = [row for row in rows if "faces" in row]
    rates = [f"cores for {rate:g} steps/s" for rate in steps_per_second]
    ratios = "faces blurred / plain", "faces pasted / plain"
    table = cli.Table("pipeline", "pictures/s", "ms of one core", "decoding", *ratios, *rates)
    for row in pipelines:
        cost, faces = row["core_seconds_per_sample"], row["faces"]
        table.row(
            row["what"],
            f"{row['pictures_per_second']:.1f}",
            f"{1e3 * cost:.1f}",
            f"{row['decoding_share']:.0%}",
            *(f"{faces[way]['ratio']:.2f}" for way in ("blurred", "pasted")),
            *(f"{BATCH * cost * rate:.1f}" for rate in steps_per_second),
        )
    if "with composition" not in [row["what"] for row in pipelines]:
        print("Foregrounds are missing, so composition was not measured; see p3m estimate.")
    print()
    table = cli.Table("stage", "ms of one core")
    for row in rows[len(pipelines) :]:
        table.row(row["what"], f"{1e3 * row['core_seconds']:.2f}")


def options(argv: list[str] | None) -> argparse.Namespace:
    """Parses the command line."""
    parser = cli.options_of(__doc__)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--data", type=Path, help="P3M-10k, the folder that holds train/")
    source.add_argument("--synthetic", action="store_true", help="8 synthetic portraits")
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
    args = cli.parse(parser, argv, samples=BATCH, repeats=1, rounds=1, workers=1)
    if not (args.data or args.synthetic or args.quick):
        parser.error("--data or --synthetic must be given.")
    cli.check_reference(parser, args, "data.py")
    return args


def main(argv: list[str] | None = None) -> None:
    """Measures and prints all figures."""
    args = options(argv)
    if not args.quick:  # TensorFlow refuses it once it has run
        tf.config.threading.set_intra_op_parallelism_threads(1)  # as in the pipeline
    with tempfile.TemporaryDirectory() as folder:
        if args.data is None:
            from p3m_jax.data.synthetic.writer import write_synthetic_set

            count, size = (2, (96, 144)) if args.quick else (8, (1080, 1620))
            args.data = write_synthetic_set(
                Path(folder) / "set", train=count, test=0, faces=0, size=size
            )
        dataset = training_set(args.data, foreground_cache=args.foreground_cache)
        available = (
            len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        )
        pictures = len(dataset.examples)
        print(f"{cli.machine()}, {available} available; {pictures} pictures, output {OUTPUT}")
        if args.reference:
            rows = input_reference.beside_reference(args, Path(folder))
            input_reference.show(rows)
        elif args.records:
            records = training_set(args.records, foreground_cache=args.foreground_cache)
            sets, roles = {"folders": dataset, "records": records}, ["picture", "matte"]
            if all(example.foreground for example in dataset.examples):
                roles += ["foreground", "background"]
            rows = input_records.folders_and_records(sets, roles, args.samples, args.rounds)
            input_records.show(rows)
        else:
            dataset, faces = with_faces(dataset, args.faces, args.masks, Path(folder))
            found = compositions(dataset)
            if args.quick:
                found.pop("without composition")
            rows = measure(
                dataset,
                faces,
                compositions=found,
                samples=args.samples,
                repeats=args.repeats,
                workers=args.workers,
                rounds=args.rounds,
            )
            show(rows, args.steps_per_second)
    cli.write_report(args, rows)


if __name__ == "__main__":
    main()
