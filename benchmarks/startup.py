"""Measures the start time and memory of commands, compared with their limits.

    python benchmarks/startup.py
    python benchmarks/startup.py --reference CHECKOUT --reference-python PYTHON --json OUT.json

A help text should appear within 1 s. The modules for matting should be imported within 2 s, without
TensorFlow, which only training needs. The first picture is matted by a newly started `p3m predict`,
with the programs that it compiled the last time cached on disk. With --reference, the authors'
program on PyTorch does the same.

The results are medians (fastest..slowest) over starts that alternate between the commands. The
first round fills the page cache and compiles, so it is not counted. Commands run in the folder of
the clone with this interpreter. A peak below 0.05 GB may be that of the benchmark itself, because
the system counts it for its child processes.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import command_line as cli
import numpy as np
import reference_program
from folder import run_and_wait
from our_program import make_weights, predict_command
from sides import command, spread, summary

IMPORT = """
import sys
import p3m_jax
from p3m_jax.inference.matting import load
assert p3m_jax.load is load
assert "tensorflow" not in sys.modules, "TensorFlow was imported"
"""
# Name, arguments of the interpreter, and the goal in seconds.
STARTS = (
    ("p3m --help", ("-m", "p3m_jax.cli", "--help"), 1.0),
    ("p3m predict --help", ("-m", "p3m_jax.cli", "predict", "--help"), 1.0),
    ("python train.py --help", ("train.py", "--help"), 1.0),
    ("python evaluate.py --help", ("evaluate.py", "--help"), 1.0),
    ("import what predict needs", ("-c", IMPORT), 2.0),
)


def first_pictures(args, scratch: Path) -> dict[str, list[str]]:
    """The command lines that matte one picture: ours, and the authors' if it is available."""
    from PIL import Image

    task = make_weights(
        args.network, scratch, checkout=args.reference, python=args.reference_python
    )
    pictures, output = scratch / "pictures", scratch / "mattes"
    pictures.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    square = Image.fromarray(noise).resize((args.size, args.size), Image.Resampling.BICUBIC)
    square.save(pictures / "picture.png")
    ours = [str(pictures), "-o", str(output), "--checkpoint", task["checkpoint"]]
    ours += ["--compilation-cache", str(scratch / "compiled")]
    found = {"first picture, warm": predict_command(args.network, ours)}
    if args.reference:
        theirs = scratch / "theirs"
        theirs.mkdir()
        task |= {"threads": os.cpu_count(), "best": False, "strategy": "hybrid"}
        task |= {"pictures": str(pictures), "output": str(theirs)}
        found["first picture, theirs"] = command(
            reference_program.__file__, "folder", task, args.reference_python
        )
    return found


def measure(commands: dict[str, list[str]], scratch: Path, runs: int) -> dict[str, list[dict]]:
    """The measurements of each command in each round."""
    taken = {name: [] for name in commands}
    log = scratch / "log"
    for _ in range(runs + 1):
        for name, arguments in commands.items():
            shutil.rmtree(scratch / "mattes", ignore_errors=True)
            found = run_and_wait(arguments, log)
            # Absl exits with 1 after showing its help.
            if found["exit"] not in ((0, 1) if arguments[-1] == "--help" else (0,)):
                sys.exit(f"{name}: ended with exit code {found['exit']}: {log.read_text()[-2000:]}")
            taken[name].append(found)
    return taken


def main(argv: list[str] | None = None) -> None:
    """Prints the table; also writes it as JSON if asked."""
    parser = cli.options_of(__doc__)
    parser.add_argument("--network", choices=cli.NETWORKS, default="resnet34")
    parser.add_argument("--size", type=int, default=512, help="side of the first picture, a square")
    cli.add_reference(parser)
    parser.add_argument("--runs", type=int, default=7, help="counted starts of each command")
    args = cli.parse(parser, argv, network=cli.SMALL, size=64, runs=0)
    cli.check_reference(parser, args)
    os.chdir(cli.CLONE)
    # One of the four help texts is enough for a trial.
    starts = STARTS[:1] + STARTS[4:] if args.quick else STARTS
    commands = {name: [sys.executable, *rest] for name, rest, _ in starts}
    goals = {name: goal for name, _, goal in starts}
    with tempfile.TemporaryDirectory() as folder:
        commands |= first_pictures(args, Path(folder))
        taken = measure(commands, Path(folder), args.runs)
    print(f"{cli.machine()}; medians of {args.runs} starts (fastest..slowest)")
    table = cli.Table("command", "s", "CPU s", "peak GB", "limit, s", "met")
    rows = []
    for name, runs in taken.items():
        counted = runs[1:] or runs  # --quick starts everything once
        row = {"what": name, "goal": goals.get(name)} | summary(counted)
        row["peak"] = max(run["peak"] for run in counted)
        row["met"] = row["seconds"] < row["goal"] if row["goal"] else None
        row["runs"] = runs
        rows.append(row)
        met = {True: "yes", False: "no", None: ""}[row["met"]]
        figures = spread(row), spread(row, "cpu"), cli.gigabytes(row["peak"])
        table.row(name, *figures, row["goal"] or "", met)
    cli.write_report(args, rows)


if __name__ == "__main__":
    main()
