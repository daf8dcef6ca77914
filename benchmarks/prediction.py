"""How long a picture's matte takes, and how much memory, beside the authors' PyTorch program.

    python benchmarks/prediction.py
    python benchmarks/prediction.py --data P3M/validation/P3M-500-P/blurred_image \\
        --reference CHECKOUT --reference-python PYTHON --pause 5 --json OUT.json

The sides: `ours` is `p3m_jax.load` at exact sizes. `theirs` is the authors' program (the checkout
of ViTAE-Transformer/P3M-Net) as its users run it, and `best` the same with the fastest settings of
PyTorch: channels_last, inference_mode. `ours+malloc` and `best+malloc` run with an allocator that
gives nothing back, which makes both faster. PYTHON has PyTorch and scikit-image.

A side is a process, fresh for each row of the table. All of a row are loaded and take turns, a
picture each; weights, picture and resizing are the same, and alphas are compared. The network's
share of a picture's time is told apart. Wall times of a busy machine say little: there CPU seconds
count. With ViTAE-S and HYBRID at 1080 x 1620 the authors' program takes 13 GB: where memory is
scarce, name fewer --sides at a time.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import reference_program

# A process whose memory is measured is started by a small one: nothing heavy is imported up here.
HERE = Path(__file__).resolve()
GOLDENS = HERE.parents[1] / "tests" / "goldens"
SIDES = ("ours", "theirs", "best", "ours+malloc", "best+malloc")
# PyTorch's threads wait for each other in a loop, which on a busy machine takes them several times
# the time of their work; so it is kinder to them.
PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE"}
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "2000000000", "MALLOC_TRIM_THRESHOLD_": "4000000000"}


def load(task: dict, clock):
    """Our program with its weights, for `reference_program.serve`."""
    from p3m_jax.checkpoint import load_for_inference
    from p3m_jax.compilation import keep_compiled
    from p3m_jax.prediction.matting import Matting

    class Timed(Matting):
        def _predict_map(self, *arguments):
            with clock:
                return super()._predict_map(*arguments)

    keep_compiled(task["cache"])
    matting = Timed(load_for_inference(task["checkpoint"]))
    return lambda picture: matting(picture, strategy=task["strategy"], exact_sizes=True)


def prepare(task: dict) -> None:
    """Writes our checkpoint: from the authors' form of the weights where there is that."""
    from p3m_jax.checkpoint import describe, save_for_inference
    from p3m_jax.interchange.importing import import_weights
    from p3m_jax.models.network import network

    if task["weights"]:
        import_weights(task["weights"], task["checkpoint"])
    else:
        description = describe(task["network"], synthetic=True, provenance={})
        variables = network(task["network"]).initialize(0)
        save_for_inference(task["checkpoint"], variables, description)


class Side:
    """A process that mattes a picture when asked to."""

    def __init__(self, name: str, task: dict, python: str | None):
        ours = name.startswith("ours")
        self.task = {**task, "best": name.startswith("best"), "alpha": f"{task['alpha']}.{name}"}
        self.process = subprocess.Popen(
            command("serve", self.task, None if ours else python),
            env={**PASSIVE, **os.environ, **(MALLOC if name.endswith("malloc") else {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.base = self._answer()["peak"]
        self.runs: list[dict] = []

    def run(self) -> None:
        """Mattes once; what it took is added to `runs`."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.runs.append(self._answer())

    def close(self) -> np.ndarray:
        """Ends the process; returns the last alpha."""
        self.process.stdin.close()
        self.process.wait()
        return np.load(f"{self.task['alpha']}.npy").astype(np.float32)

    def _answer(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.process.args[1]}: ended with exit code {self.process.wait()}.")
        return json.loads(line)


def command(what: str, task: dict, python: str | None) -> list[str]:
    """The command line of a part: of the authors' program with `python`, else of ours."""
    program = reference_program.__file__ if python else HERE
    return [python or sys.executable, str(program), what, json.dumps(task)]


def measure(sides, task: dict, *, python, runs: int, pause: float) -> list[dict]:
    """The rows of one network, size and strategy: a row each side."""
    first = None
    if "ours" in sides:  # compiled by a process of its own, since a user's second start need not
        first = Side("ours", task, None)
        first.run()
        first.close()
    loaded = {name: Side(name, task, python) for name in sides}
    for _ in range(runs + 1):
        for side in loaded.values():
            time.sleep(pause)
            side.run()
    alphas = {name: side.close() for name, side in loaded.items()}
    rows = []
    for name, side in loaded.items():
        counted = side.runs[1:]  # the first run warms up
        row = {key: task[key] for key in ("network", "height", "width", "strategy")}
        row |= {"side": name, "base": side.base, "peak": side.runs[-1]["peak"]}
        for key in ("seconds", "cpu", "network_seconds", "network_cpu"):
            row[key] = statistics.median(run[key] for run in counted)
        row["runs"] = side.runs
        if name == "ours":
            row["compiling"] = {**first.runs[0], "base": first.base}
        if "theirs" in alphas:
            difference = np.abs(alphas[name] - alphas["theirs"])
            row["alpha_mean"] = float(alphas[name].mean())
            row["alpha_difference"] = float(difference.mean())
        rows.append(row)
    return rows


def show(rows: list[dict]) -> None:
    """Prints the rows of one network, size and strategy."""
    ours = {row["side"]: row for row in rows}
    for row in rows:
        rival = ours.get("ours+malloc" if row["side"].endswith("malloc") else "ours")
        ratios = "{:>7}{:>7}".format(
            *(f"{rival[key] / row[key]:.2f}" if rival else "" for key in ("seconds", "cpu"))
        )
        print(
            f"{row['network']:<9}{row['height']:>5} x{row['width']:>5} {row['strategy']:<7}"
            f"{row['side']:<12}{row['seconds']:>7.2f}{row['network_seconds']:>8.2f}"
            f"{row['cpu']:>9.2f}{row['network_cpu']:>8.2f}{ratios}"
            f"{row['base'] / 1e9:>7.2f}{row['peak'] / 1e9:>7.2f}"
            + (f"{row['alpha_difference']:>10.1e}" if "alpha_difference" in row else ""),
            flush=True,
        )
        if "compiling" in row:
            start = row["compiling"]
            print(f"{'':24}first start: {start['seconds']:.1f} s, {start['peak'] / 1e9:.2f} GB")


def find_picture(data: Path | None, height: int, width: int) -> np.ndarray:
    """A picture of that size: the one of `data` nearest in size, resized where it must be."""
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


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--networks", nargs="+", default=list(reference_program.ARCHITECTURES), metavar="NAME"
    )
    parser.add_argument(
        "--sizes", nargs="+", default=["512x512", "1080x1620"], metavar="HEIGHTxWIDTH"
    )
    parser.add_argument("--strategies", nargs="+", default=["resize", "hybrid"], metavar="NAME")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=SIDES, metavar="SIDE")
    parser.add_argument("--data", type=Path, help="a picture or a folder of them")
    parser.add_argument("--reference", type=Path, help="a checkout of the published program")
    parser.add_argument("--reference-python", metavar="PYTHON", help="an interpreter with PyTorch")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of PyTorch (all)")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--pause", type=float, default=0.0, help="seconds of rest before a run")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    if (args.reference is None) != (args.reference_python is None):
        parser.error("--reference and --reference-python go together.")
    if args.reference is None:
        args.sides = [side for side in args.sides if side.startswith("ours")]
    elif not (args.reference / "core" / "infer.py").is_file():
        parser.error(f"{args.reference}: holds no core/infer.py.")
    return args


def main() -> None:
    """Prints the table, and writes it as JSON where asked."""
    args = options()
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    print(f"{machine}; medians of {args.runs} runs")
    print("                                          seconds         CPU seconds  ours / it     GB")
    print(
        "network   size        strategy side       all network     all network   wall    CPU   "
        "base   peak  alpha off by"
    )
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for network in args.networks:
            task = {
                "network": network,
                "threads": args.threads,
                "checkpoint": f"{scratch}/{network}",
                "weights": f"{scratch}/{network}.pth" if args.reference else None,
                "checkout": str(args.reference and args.reference.absolute()),
                "goldens": str(GOLDENS),
                "cache": f"{scratch}/compiled",
                "picture": f"{scratch}/picture.npy",
                "alpha": f"{scratch}/alpha",
            }
            for python in [args.reference_python, None] if args.reference else [None]:
                subprocess.run(command("prepare", task, python), check=True)
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
                    show(rows[-len(args.sides) :])
                    if args.json:
                        report = {"machine": machine, "rows": rows}
                        args.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        reference_program.serve(load, json.loads(sys.argv[2]))
    elif sys.argv[1:2] == ["prepare"]:
        prepare(json.loads(sys.argv[2]))
    else:
        main()
