"""Measures time and memory of a picture's matte, compared with the authors' PyTorch program.

    python benchmarks/prediction.py
    python benchmarks/prediction.py --data P3M/validation/P3M-500-P/blurred_image \\
        --reference CHECKOUT --reference-python PYTHON --pause 5 --json OUT.json

The sides are:

- `ours`: `p3m_jax.load` at exact sizes;
- `theirs`: the authors' program (the checkout of ViTAE-Transformer/P3M-Net) as its users run it;
- `best`: the same with PyTorch's fastest settings (channels_last, inference_mode).

PYTHON has PyTorch and scikit-image.

Each side is a new process for each row of the table. All sides of a row are loaded and take turns,
one picture at a time. Weights, picture and resizing are the same, and the alphas are compared. The
network's part of a picture's time is shown separately. On a busy machine, use the CPU seconds,
because wall times say little there. With ViTAE-S and HYBRID at 1080 x 1620, the authors' program
takes 13 GB; if memory is scarce, name fewer --sides at a time.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import command_line as cli
import numpy as np
import reference_program
from our_program import make_weights
from sides import (
    Here,
    Process,
    add_turns,
    part_of_program,
    ratios,
    served,
    spread,
    take_turns,
)

SIDES = ("ours", "theirs", "best")


def load(task: dict, clock):
    """Returns a function that mattes the task's picture with our program, for `sides.serve`."""
    from p3m_jax.checkpoints.weights import load_for_inference
    from p3m_jax.inference.matting import Matting
    from p3m_jax.runtime.compilation import keep_compiled

    class Timed(Matting):
        def _predict(self, *arguments, **options):
            with clock:
                return super()._predict(*arguments, **options)

    keep_compiled(task["cache"])
    matting = Timed(load_for_inference(task["checkpoint"]))
    picture = np.load(task["picture"])
    return lambda: matting(picture, strategy=task["strategy"], exact_sizes=True)


def measure(names, task: dict, *, python, runs: int, pause: float) -> list[dict]:
    """Measures one network, size and strategy; returns a row per side."""

    def start(name):
        if task["network"] == cli.SMALL:
            return Here(name, load, task)
        ours = name == "ours"
        program = __file__ if ours else reference_program.__file__
        return Process(name, program, task, None if ours else python)

    first = None
    if "ours" in names:
        # A separate process compiles, because a user's second start does not need to.
        first = start("ours")
        first.run()
        first.close()
    sides = [start(name) for name in names]
    _, results = take_turns(sides, runs=runs, pause=pause)
    alphas = {name: result.astype(np.float32) for name, result in results.items()}
    rows = []
    for side in sides:
        row = {key: task[key] for key in ("network", "height", "width", "strategy")} | side.row()
        if side.name == "ours":
            row["compiling"] = {**first.runs[0], "base": first.base}
        if "theirs" in alphas:
            difference = np.abs(alphas[side.name] - alphas["theirs"])
            row["alpha_mean"] = float(alphas[side.name].mean())
            row["alpha_difference"] = float(difference.mean())
        rows.append(row)
    return rows


TITLES = (
    *("network", "size", "strategy", "side", "s", "network s", "CPU s", "network CPU s"),
    *("ours / this", "CPU", "base GB", "peak GB", "alpha off by", "first start s", "GB"),
)


def show(table: cli.Table, rows: list[dict]) -> None:
    """Prints the rows of one network, size and strategy."""
    for row in rows:
        first = row.get("compiling")
        table.row(
            row["network"],
            f"{row['height']} x {row['width']}",
            row["strategy"],
            row["side"],
            spread(row),
            f"{row['part_seconds']:.2f}",
            f"{row['cpu']:.2f}",
            f"{row['part_cpu']:.2f}",
            *ratios(row, rows),
            cli.gigabytes(row["base"]),
            cli.gigabytes(row["peak"]),
            f"{row['alpha_difference']:.1e}" if "alpha_difference" in row else "",
            *((f"{first['seconds']:.1f}", cli.gigabytes(first["peak"])) if first else ("", "")),
        )


def find_picture(data: Path | None, height: int, width: int) -> np.ndarray:
    """A picture of that size: the one in `data` that is nearest in size, resized if necessary."""
    from PIL import Image

    if data is None:
        noise = np.random.default_rng(0).integers(0, 256, (9, 13, 3), dtype=np.uint8)
        return np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))
    files = [data] if data.is_file() else sorted(data.glob("*.jpg")) + sorted(data.glob("*.png"))
    if not files:
        sys.exit(f"{data}: holds no .jpg or .png files.")

    def distance(file):
        with Image.open(file) as image:
            return abs(image.width - width) + abs(image.height - height)

    with Image.open(min(files, key=distance)) as image:
        return np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS))


def options(argv: list[str] | None) -> argparse.Namespace:
    """Parses the command line."""
    parser = cli.options_of(__doc__)
    parser.add_argument("--networks", nargs="+", default=list(cli.NETWORKS), metavar="NAME")
    parser.add_argument(
        "--sizes", nargs="+", default=["512x512", "1080x1620"], metavar="HEIGHTxWIDTH"
    )
    parser.add_argument("--strategies", nargs="+", default=["resize", "hybrid"], metavar="NAME")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=SIDES, metavar="SIDE")
    parser.add_argument("--data", type=Path, help="a picture or a folder of them")
    cli.add_reference(parser)
    add_turns(parser, runs=5)
    args = cli.parse(parser, argv, networks=[cli.SMALL], sizes=["64x96"], sides=["ours"], runs=1)
    cli.check_reference(parser, args)
    if args.reference is None:
        args.sides = ["ours"]
    return args


def main(argv: list[str] | None = None) -> None:
    """Prints the table; also writes it as JSON if asked."""
    args = options(argv)
    print(f"{cli.machine()}; medians of {args.runs} runs (fastest..slowest)")
    table = cli.Table(*TITLES)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for network in args.networks:
            task = make_weights(
                network, scratch, checkout=args.reference, python=args.reference_python
            )
            task |= {
                "threads": args.threads,
                "picture": f"{scratch}/picture.npy",
                "result": f"{scratch}/alpha",
            }
            for size in args.sizes:
                height, width = map(int, size.split("x"))
                np.save(task["picture"], find_picture(args.data, height, width))
                for strategy in args.strategies:
                    rows += measure(
                        args.sides,
                        {**task, "height": height, "width": width, "strategy": strategy},
                        python=args.reference_python,
                        runs=args.runs,
                        pause=args.pause,
                    )
                    show(table, rows[-len(args.sides) :])
                    cli.write_report(args, rows)


if __name__ == "__main__" and not part_of_program(serve=served(load)):
    main()
