"""Runs all benchmarks that compare this project with the authors' programs, and prints one table.

    python benchmarks/compare.py --data P3M-10k --foreground-cache CACHE --reference P3M-NET \\
        --reference-training P3M --reference-python PYTHON --json OUT.json
    python benchmarks/compare.py ... --quick --only training:swin startup

P3M-NET is a checkout of ViTAE-Transformer/P3M-Net, and P3M one of JizhiziLi/P3M. PYTHON is an
interpreter with PyTorch, scikit-image and OpenCV. `p3m estimate` makes CACHE. Nothing else should
run on the machine.

The parts run one after another. Each is a program of this folder, described by its --help:
prediction:NETWORK and training:NETWORK, metrics, input, folder, startup. `--only prediction` runs
it for all networks. The output of the parts is printed as they run.

The table is printed at the end. It holds medians (fastest..slowest), and how many times as long the
authors' program takes, both as its users run it and with its fastest settings. A goal is such a
ratio to their fastest settings, in wall or CPU seconds as set by --by, or a time limit. If a part
fails, its last line of output is in the table and the exit code is 1. The other parts still run,
and the results of the failed part up to that point are used.

With HYBRID at 1080 x 1620, each side of ViTAE-S takes up to 13 GB, so its sides are measured one at
a time.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import comparison_table as lines_of
from our_program import NETWORKS, add_reference, check_reference
from sides import HERE, machine, write_report


class Part(NamedTuple):
    """A part: programs with options, and the function that makes table lines from their reports."""

    programs: tuple[tuple[str, ...], ...]
    lines: Callable[[dict, float], list[dict]]


def parts(args) -> dict[str, Part]:
    """Returns all parts by name."""
    pictures = str(args.data / "train" / "blurred_image")
    quick, python = args.quick, args.reference_python
    reference = ("--reference", str(args.reference), "--reference-python", python)
    training = ("--reference-training", str(args.reference_training))
    runs = ("--runs", str(args.runs), "--pause", str(args.pause))
    rounds = ("--rounds", str(args.runs))
    found = {}
    for network in NETWORKS:
        # The authors' Swin-T accepts no smaller squares (at half of the side). Squares of 64 are
        # left out because their last maps are 2 pixels wide, for which XLA's convolutions are
        # exceptionally slow.
        sizes = (["512x512"] if network == "swin" else ["256x256"]) if quick else args.sizes
        plain = ("prediction.py", "--networks", network, "--data", pictures, *reference, *runs)
        rivals = [["theirs"], ["best"]] if network == "vitae_s" and not quick else []
        found[f"prediction:{network}"] = Part(
            tuple(
                (*plain, "--sizes", *sizes, "--sides", "ours", *sides)
                for sides in rivals or [["theirs", "best"]]
            ),
            lines_of.of_prediction,
        )
    for network in NETWORKS:
        sizes = (["256"] if network == "swin" else ["128"]) if quick else ["256", "512"]
        plain = ("training.py", "--networks", network, *reference, *training, *runs)
        found[f"training:{network}"] = Part(((*plain, "--sizes", *sizes),), lines_of.of_training)
    metrics = ("metrics.py", "--reference", str(args.reference), *rounds)
    found["metrics"] = Part((metrics,), lines_of.of_metrics)
    loader = ["input_pipeline.py", "--data", str(args.data), *rounds]
    loader += ["--reference", str(args.reference_training), "--reference-python", python]
    for name in ("foreground_cache", "records", "faces", "masks"):
        if getattr(args, name):
            loader += [f"--{name.replace('_', '-')}", str(getattr(args, name))]
    loader += ["--samples", "16" if quick else "64"]
    found["input"] = Part((tuple(loader),), lines_of.of_input)
    folder = ["folder.py", "--data", pictures, *reference, "--networks", *args.folder_networks]
    if quick:
        folder += ["--count", "4", "--long-sides", "320", "448"]
    else:
        folder += ["--count", str(args.count), "--runs", str(args.folder_runs)]
    found["folder"] = Part((tuple(folder),), lines_of.of_folder)
    startup = ["startup.py", *reference, "--runs", str(args.runs)]
    startup += ["--size", "256"] if quick else []
    found["startup"] = Part((tuple(startup),), lines_of.of_startup)
    return found


def run(program: tuple[str, ...], report: Path) -> tuple[dict | None, str | None]:
    """Runs a program; returns its report, and its last line of output if it failed."""
    name, *rest = program
    print(f"\n== {' '.join(program)}", flush=True)
    process = subprocess.Popen(
        [sys.executable, str(HERE / name), *rest, "--json", str(report)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    last = ["nothing was printed."]
    for text in process.stdout:
        print(text, end="", flush=True)
        # If a side failed, the last line names it, and the line before it says why.
        last = [*last, text.strip()][-2:] if text.strip() else last
    code = process.wait()
    measured = json.loads(report.read_text()) if report.is_file() else None
    if code == 0 and measured is None:
        return None, "the program wrote no report."
    return measured, f"{' '.join(last)} (exit code {code})" if code else None


def options() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="P3M-10k, the folder that holds train/"
    )
    parser.add_argument("--foreground-cache", type=Path, help="made by `p3m estimate`")
    parser.add_argument("--records", type=Path, help="the same set, as `p3m records` wrote it")
    parser.add_argument("--faces", type=Path, help="folder of faces to paste")
    parser.add_argument("--masks", type=Path, help="their face masks")
    add_reference(parser)
    parser.add_argument(
        "--reference-training", type=Path, metavar="CHECKOUT", help="a checkout of JizhiziLi/P3M"
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", help="run only these parts")
    parser.add_argument("--quick", action="store_true", help="small sizes and one run, as a trial")
    parser.add_argument("--runs", type=int, help="runs of each side (5; --quick: 1)")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds to wait before a run")
    parser.add_argument(
        "--sizes", nargs="+", default=["512x512", "1080x1620"], help="sizes of mattes"
    )
    parser.add_argument("--count", type=int, default=100, help="pictures in the folder")
    parser.add_argument("--folder-runs", type=int, default=1, help="runs over the folder")
    parser.add_argument("--folder-networks", nargs="+", choices=NETWORKS, default=["resnet34"])
    parser.add_argument(
        "--goals",
        nargs="+",
        default=[],
        metavar="PART=TIMES",
        help="speed to reach, as a multiple of the authors' fastest, such as training=1.2 (1)",
    )
    parser.add_argument("--by", choices=("seconds", "cpu"), default="seconds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all measurements to it")
    args = parser.parse_args()
    check_reference(parser, args)
    if args.reference is None or args.reference_training is None:
        parser.error("--reference, --reference-training and --reference-python are needed.")
    args.runs = args.runs or (1 if args.quick else 5)
    return args


def chosen(args, known: dict[str, Part]) -> dict[str, Part]:
    """Returns the parts that the user asked for."""
    if not args.only:
        return known
    for name in args.only:
        if not any(name in (part, part.split(":")[0]) for part in known):
            sys.exit(f"--only: there is no part {name}; choose from {', '.join(known)}.")
    return {
        part: what
        for part, what in known.items()
        if part in args.only or part.split(":")[0] in args.only
    }


def main() -> int:
    """Runs the parts; returns the exit code."""
    args = options()
    goals = {name: float(times) for name, times in (goal.split("=") for goal in args.goals)}
    reports, lines, failed = {}, [], {}
    with tempfile.TemporaryDirectory() as folder:
        for name, part in chosen(args, parts(args)).items():
            goal = goals.get(name, goals.get(name.split(":")[0], 1.0))
            reports[name], found = [], []
            for number, program in enumerate(part.programs):
                report, last = run(program, Path(folder) / f"{name}_{number}.json")
                if last:
                    failed[name] = last
                if report:
                    reports[name].append(report)
                    found += part.lines(report, goal)
            lines += lines_of.merge(found)
            told = [{**one, "met": lines_of.judge(one, args.by)} for one in lines]
            more = {"reports": reports, "failed": failed}
            write_report(args.json, args, told, args.reference_python, **more)
    print(f"\n{machine()}\n\n{lines_of.markdown(lines, failed, args.by)}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
