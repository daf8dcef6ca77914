"""Measures the time to matte a folder of pictures, compared with the authors' program on PyTorch.

    python benchmarks/folder.py --data PICTURES
    python benchmarks/folder.py --data PICTURES --reference CHECKOUT --reference-python PYTHON \\
        --count 100 --runs 3 --json OUT.json

The time includes everything: starting the process, loading weights, compiling, decoding, matting,
and writing PNG mattes. There are four sides, which take turns, each run in a new process:

- `cold`: `p3m predict` with an empty cache of compiled programs;
- `warm`: the same command again, into another folder;
- `theirs`: a process that loads the authors' program and loops over the files (Pillow, its
  `inference_img_p3m`, Pillow);
- `best`: the same with PyTorch's fastest settings (channels_last, inference_mode).

The pictures are those of --data, resized to a seeded mix of sizes: long sides between two bounds,
and shapes from 9:16 to 16:9. `p3m predict` runs the network at the nearest of a few sizes, the
authors' program at each picture's own size. So the mattes differ, and the mean difference is
printed. Pictures that a program fails on are counted: the authors' Swin-T accepts no picture whose
stages have multiples of 7 as both sides. Peak memory is that of a side's process.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import command_line as cli
import numpy as np
import reference_program
from our_program import make_weights, predict_command
from sides import PASSIVE, add_turns, command, spread, summary

SIDES = ("cold", "warm", "theirs", "best")


def run_and_wait(arguments: list[str], log: Path) -> dict:
    """Runs a program to its end.

    Returns its exit code, wall and CPU seconds, and peak memory in bytes.
    """
    with log.open("w") as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            arguments, env={**PASSIVE, **os.environ}, stdout=output, stderr=output
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - start
    return {
        "exit": process.returncode,
        "seconds": seconds,
        "cpu": usage.ru_utime + usage.ru_stime,
        "peak": usage.ru_maxrss * 1024,
    }


def make_pictures(data: Path, folder: Path, *, count: int, sides: tuple[int, int]) -> list:
    """Writes `count` JPEG files in a seeded mix of sizes; returns the sizes as (width, height)."""
    from PIL import Image

    sources = sorted(file for file in data.iterdir() if file.suffix in (".jpg", ".png"))
    if not sources:
        sys.exit(f"{data}: holds no .jpg or .png files.")
    draw = np.random.default_rng(0)
    # Pictures of cameras and phones have a few common shapes; some have been cropped.
    shapes = (9 / 16, 2 / 3, 3 / 4, 1.0, 4 / 3, 3 / 2, 16 / 9)
    folder.mkdir()
    sizes = []
    for number in range(count):
        long = int(draw.integers(sides[0], sides[1] + 1))
        shape = shapes[draw.integers(len(shapes))] * draw.uniform(0.97, 1.03)
        size = (long, round(long / shape)) if shape > 1 else (round(long * shape), long)
        with Image.open(sources[number % len(sources)]) as image:
            resized = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        resized.save(folder / f"picture_{number:04}.jpg", quality=92)
        sizes.append(size)
    return sizes


def matte(side: str, task: dict, output: Path, python: str | None) -> dict:
    """Mattes the folder once with one side's program.

    Returns the figures of the run, and the number of mattes.
    """
    log = output.with_suffix(".log")
    if side in ("theirs", "best"):
        mattes = output
        output.mkdir()
        told = {**task, "best": side == "best", "output": str(output)}
        arguments = command(reference_program.__file__, "folder", told, python)
    else:
        mattes = output / "alpha"
        if side == "cold":
            shutil.rmtree(task["cache"], ignore_errors=True)
        predict = (task["pictures"], "-o", str(output))
        how = ("--checkpoint", task["checkpoint"], "--strategy", task["strategy"])
        cache = ("--compilation-cache", task["cache"])
        arguments = predict_command(task["network"], [*predict, *how, *cache])
    taken = run_and_wait(arguments, log)
    made = sorted(mattes.glob("*.png")) if mattes.is_dir() else []
    # A program's exit code also reports the failure of single pictures. The run is useless only if
    # every picture has failed.
    if not made:
        sys.exit(f"{side}: ended with exit code {taken['exit']}: {log.read_text()[-2000:]}")
    return {**taken, "mattes": len(made)}


def difference(ours: Path, theirs: Path) -> float:
    """The mean over pictures of the mean difference between their mattes, in [0, 1]."""
    from PIL import Image

    errors = []
    for file in sorted(theirs.glob("*.png")):
        if (ours / file.name).is_file():
            pair = [
                np.asarray(Image.open(folder / file.name), np.float32) for folder in (ours, theirs)
            ]
            errors.append(np.abs(pair[0] - pair[1]).mean() / 255)
    return statistics.mean(errors) if errors else float("nan")


def measure(names, task: dict, scratch: Path, *, python, runs: int, pause: float) -> list[dict]:
    """Measures one network and strategy; returns a row per side, compared with the warm side."""
    taken = {name: [] for name in names}
    for number in range(runs):
        for name in names:
            time.sleep(pause)
            output = scratch / f"{name}_{number}"
            taken[name].append(matte(name, task, output, python))
            if number:
                shutil.rmtree(output)
    rows = []
    for name in names:
        row = {key: task[key] for key in ("network", "strategy", "count")} | {"side": name}
        row |= summary(taken[name]) | {"peak": max(run["peak"] for run in taken[name])}
        row |= {"failed": task["count"] - taken[name][-1]["mattes"], "runs": taken[name]}
        if name in ("theirs", "best") and "warm" in names:
            row["alpha_difference"] = difference(
                scratch / "warm_0" / "alpha", scratch / f"{name}_0"
            )
        rows.append(row)
    for name in names:
        shutil.rmtree(scratch / f"{name}_0")
    return rows


TITLES = (
    *("network", "strategy", "side", "s", "CPU s", "this / cold", "CPU", "this / warm", "CPU"),
    *("GB", "failed", "alpha off by"),
)


def show(table: cli.Table, rows: list[dict]) -> None:
    """Prints the rows of one network and strategy."""
    sides = {row["side"]: row for row in rows}
    for row in rows:
        table.row(
            row["network"],
            row["strategy"],
            row["side"],
            spread(row),
            spread(row, "cpu"),
            *(
                f"{row[key] / sides[name][key]:.2f}" if name in sides else ""
                for name in ("cold", "warm")
                for key in ("seconds", "cpu")
            ),
            cli.gigabytes(row["peak"]),
            row["failed"],
            f"{row['alpha_difference']:.1e}" if "alpha_difference" in row else "",
        )


def options(argv: list[str] | None) -> argparse.Namespace:
    """Parses the command line."""
    parser = cli.options_of(__doc__)
    parser.add_argument("--data", type=Path, help="a folder of pictures")
    parser.add_argument("--count", type=int, default=100, help="number of pictures to matte")
    parser.add_argument(
        "--long-sides",
        type=int,
        nargs=2,
        default=(640, 1620),
        metavar=("LEAST", "MOST"),
        help="in pixels",
    )
    parser.add_argument("--networks", nargs="+", choices=cli.NETWORKS, default=["resnet34"])
    parser.add_argument("--strategies", nargs="+", default=["hybrid"], metavar="NAME")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=SIDES, metavar="SIDE")
    cli.add_reference(parser)
    add_turns(parser, runs=1)
    quick = {
        "data": cli.PICTURE.parent,
        "count": 2,
        "long_sides": (64, 96),
        "networks": [cli.SMALL],
    }
    args = cli.parse(parser, argv, **quick)
    if args.data is None:
        parser.error("--data: a folder of pictures is needed.")
    cli.check_reference(parser, args)
    if "warm" in args.sides and "cold" not in args.sides:
        parser.error("--sides: warm needs cold, which fills the cache.")
    if args.reference is None:
        args.sides = [side for side in args.sides if side in ("cold", "warm")]
    return args


def main(argv: list[str] | None = None) -> None:
    """Prints the table; also writes it as JSON if asked."""
    args = options(argv)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        pictures = scratch / "pictures"
        sizes = make_pictures(args.data, pictures, count=args.count, sides=args.long_sides)
        print(f"{cli.machine()}; medians of {args.runs} runs (fastest..slowest)")
        print(f"{args.count} pictures: " + ", ".join(f"{w}x{h}" for w, h in sorted(sizes)))
        table = cli.Table(*TITLES)
        for network in args.networks:
            task = make_weights(
                network, scratch, checkout=args.reference, python=args.reference_python
            )
            task |= {
                "threads": args.threads,
                "cache": f"{scratch}/compiled",
                "pictures": str(pictures),
                "count": args.count,
            }
            for strategy in args.strategies:
                rows += measure(
                    args.sides,
                    {**task, "strategy": strategy},
                    scratch,
                    python=args.reference_python,
                    runs=args.runs,
                    pause=args.pause,
                )
                show(table, rows[-len(args.sides) :])
                cli.write_report(args, rows, sizes=sizes)


if __name__ == "__main__":
    main()
