"""How long commands take to start, and how much memory, beside what they are allowed to take.

    python benchmarks/startup.py
    python benchmarks/startup.py --reference CHECKOUT --reference-python PYTHON --json OUT.json

A help text should be there before one wonders (1 s), and what matting needs be imported in 2 s,
without TensorFlow, which only training takes. The first picture is matted by a process that is
started for it, `p3m predict` with what it compiled the last time on disk; with --reference the
authors' program on PyTorch does the same. Medians (fastest..slowest) over starts that go round the
commands; the first round, which fills the page cache and compiles, does not count. Commands run
in the folder of the clone, with this interpreter. A peak below 0.05 GB may be that of this program,
which the system counts as its children's.
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import reference_program
from folder import run_and_wait
from our_program import NETWORKS, add_reference, check_reference, make_weights
from sides import HERE, command, machine, spread, summary, write_report

CLONE = HERE.parent
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
    """The command lines that matte one picture: ours, and the authors' where there is that."""
    from PIL import Image

    task = make_weights(
        args.network, scratch, checkout=args.reference, python=args.reference_python
    )
    pictures, output = scratch / "pictures", scratch / "mattes"
    pictures.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    square = Image.fromarray(noise).resize((args.size, args.size), Image.Resampling.BICUBIC)
    square.save(pictures / "picture.png")
    ours = [sys.executable, "-m", "p3m_jax.cli", "predict", str(pictures), "-o", str(output)]
    ours += ["--checkpoint", task["checkpoint"], "--compilation-cache", str(scratch / "compiled")]
    found = {"first picture, warm": ours}
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
    """What each command took in each round."""
    taken = {name: [] for name in commands}
    log = scratch / "log"
    for _ in range(runs + 1):
        for name, arguments in commands.items():
            shutil.rmtree(scratch / "mattes", ignore_errors=True)
            found = run_and_wait(arguments, log)
            # Absl ends with 1 after it has shown its help.
            if found["exit"] not in ((0, 1) if arguments[-1] == "--help" else (0,)):
                sys.exit(f"{name}: ended with exit code {found['exit']}: {log.read_text()[-2000:]}")
            taken[name].append(found)
    return taken


def main() -> None:
    """Prints the table, and writes it as JSON where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", choices=NETWORKS, default="resnet34")
    parser.add_argument("--size", type=int, default=512, help="of the first picture, a square")
    add_reference(parser)
    parser.add_argument("--runs", type=int, default=7, help="starts of each that count")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    check_reference(parser, args)
    os.chdir(CLONE)
    commands = {name: [sys.executable, *rest] for name, rest, _ in STARTS}
    goals = {name: goal for name, _, goal in STARTS}
    with tempfile.TemporaryDirectory() as folder:
        commands |= first_pictures(args, Path(folder))
        taken = measure(commands, Path(folder), args.runs)
    print(f"{machine()}; medians of {args.runs} starts (fastest..slowest)")
    print(f"{'':28}{'seconds':>22}{'CPU seconds':>22}{'peak GB':>9}{'goal':>8}")
    rows = []
    for name, runs in taken.items():
        row = {"what": name, "goal": goals.get(name)} | summary(runs[1:])
        row["peak"] = max(run["peak"] for run in runs[1:])
        row["met"] = row["seconds"] < row["goal"] if row["goal"] else None
        row["runs"] = runs
        rows.append(row)
        met = f"{row['goal']:>6.0f} s {'met' if row['met'] else 'missed'}" if row["goal"] else ""
        print(f"{name:28}{spread(row):>22}{spread(row, 'cpu'):>22}{row['peak'] / 1e9:>9.2f}{met}")
    write_report(args.json, args, rows, args.reference_python)


if __name__ == "__main__":
    main()
