"""Measures privacy-preserving training (PPT) on real photos: four trainings with each seed.

    python benchmarks/own_network/ppt_experiment.py --data PPT --faces CONGRESS -o OUT

PPT is the set by make_ppt_set.py, CONGRESS a folder of public portraits for P3M-CP. The network of
configs/resnet34_quarter.py is trained from scratch in four ways, which differ only in the faces:

    clear     on clear faces
    blurred   on blurred faces
    icp       on blurred faces, with public faces pasted at image level
    fcp       on blurred faces, with public faces pasted at feature level

`p3m ppt` scores each training with blurred faces beside the clear one of the same seed, on photos
that no training has seen: with clear faces and with the same faces blurred. At the end the tables
of docs/copy_paste.md are printed. What is done is skipped, so after an interruption, run the same
command again to resume.

Exit code: 0 done, 1 a training or a score failed, 2 wrong options, 130 interrupted.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from p3m_jax.checkpoints.folder import RUN_INFERENCE, is_checkpoint
from p3m_jax.commands import one_sentence_errors
from p3m_jax.errors import UserError
from p3m_jax.evaluation.summary import Estimate, summarise
from p3m_jax.text import say

PROJECT = Path(__file__).parents[2]
CONFIG = "configs/resnet34_quarter.py"
# Each condition's variant of the configuration and the faces of its training pictures.
CONDITIONS = {
    "clear": ("", "normal"),
    "blurred": ("", "blurred"),
    "icp": ("icp", "blurred"),
    "fcp": ("fcp", "blurred"),
}
SCORES = "results.json"  # by `p3m ppt`

Scores = dict[tuple[str, str], np.ndarray]  # SAD (seeds, pictures) by condition and test faces


def train(condition: str, seed: int, args: argparse.Namespace) -> Path:
    """Trains one network, or resumes it, and returns the folder of its run."""
    run = args.output / "runs" / f"{condition}-{seed}"
    variant, faces = CONDITIONS[condition]
    if not is_checkpoint(run / RUN_INFERENCE):
        settings = {
            "seed": seed,
            "steps": args.steps,
            "learning_rate": 1e-3,
            "loss.composition": False,
            "average_weights": True,
            "data.directory": args.data,
            "data.faces": faces,
            "data.output_size": 128,
            "data.crop_sizes": "(224,320,416,476)",
            "data.validation_pictures": 16,
            "validation_size": 128,
            "validate_every": args.steps,  # the last weights count
            "checkpoint_every": 200,
            "final_test_sets": "()",
        }
        if condition in ("icp", "fcp"):
            settings["copy_paste.sources"] = args.faces
            settings["copy_paste.source_cache"] = args.output / "face_masks"
        if condition == "fcp":
            settings["copy_paste.start_step"] = args.steps // 3
        options = [f"--config.{name}={value}" for name, value in settings.items()]
        config = f"--config={CONFIG}" + (f":{variant}" if variant else "")
        run_program(["train.py", config, f"--workdir={run}", *options])
    return run


def score(condition: str, seed: int, args: argparse.Namespace) -> Path:
    """Scores a training beside the one on clear faces; returns the folder of the results."""
    scores = args.output / "scores" / f"{condition}-{seed}"
    if not (scores / SCORES).is_file():
        runs = args.output / "runs"
        run_program(
            ["-m", "p3m_jax.cli", "ppt", f"--blurred={runs / f'{condition}-{seed}'}"]
            + [f"--normal={runs / f'clear-{seed}'}", f"--data={args.data}", "--set=P3M-500-P"]
            + [f"--output={scores}", "--overwrite"]
        )
    return scores


def run_program(arguments: list[str]) -> None:
    """Runs one of the project's programs; raises `UserError` if it fails."""
    code = subprocess.run([sys.executable, *arguments], cwd=PROJECT, check=False).returncode
    if code in (130, -2):
        raise KeyboardInterrupt
    if code:
        raise UserError(f"{' '.join(arguments[:2])} ended with exit code {code}; see above.")


def read_scores(folders: dict[tuple[str, int], Path]) -> Scores:
    """Reads SAD by condition and test faces ("B" or "N") from the results of `p3m ppt`.

    `folders` has the results by condition and seed. The training on clear faces is a part of all of
    them.
    """
    by_seed: dict[tuple[str, str], dict[int, list[float]]] = {}
    for (condition, seed), folder in folders.items():
        results = json.loads((folder / SCORES).read_text(encoding="utf-8"))["results"]
        for name, result in results.items():
            trained, tested = name.split(":")
            values = [row["SAD"] for row in result["pictures"]]
            key = ("clear" if trained == "N" else condition, tested)
            by_seed.setdefault(key, {})[seed] = values
    return {key: np.array(list(values.values())) for key, values in by_seed.items()}


def tables(scores: Scores) -> Iterable[str]:
    """The lines of two Markdown tables: errors, and differences with 95 % intervals."""
    yield "SAD, mean over pictures and seeds ± standard deviation between seeds:"
    yield ""
    yield "| trained on | tested on blurred | on clear |"
    yield "|---|---|---|"
    for condition in CONDITIONS:
        means = (scores[condition, tested].mean(axis=1) for tested in "BN")
        yield (
            f"| {condition} | "
            + " | ".join(f"{m.mean():.2f} ± {m.std(ddof=min(1, len(m) - 1)):.2f}" for m in means)
            + " |"
        )
    yield ""
    yield "Differences of SAD on the same pictures, mean over seeds [95 % interval over pictures]:"
    yield ""
    yield "| trained on | clear - blurred | on clear, minus that of `blurred` | by seed |"
    yield "|---|---|---|---|"
    for condition in CONDITIONS:
        gap = scores[condition, "N"] - scores[condition, "B"]
        gain = scores[condition, "N"] - scores["blurred", "N"]
        seeds = ", ".join(f"{value:+.2f}" for value in gain.mean(axis=1))
        yield f"| {condition} | {interval(gap)} | {interval(gain)} | {seeds} |"


def interval(differences: np.ndarray) -> str:
    """Formats the mean of (seeds, pictures) and its bootstrap interval over pictures."""
    sad: Estimate = summarise([{"SAD": value} for value in differences.mean(axis=0)])["SAD"]
    bounds = "" if sad.low is None else f" [{sad.low:+.2f}, {sad.high:+.2f}]"
    return f"{sad.mean:+.2f}{bounds}"


def experiment(args: argparse.Namespace) -> None:
    """Trains, scores and prints the tables, one seed after the other."""
    folders = {}
    for seed in range(args.seeds):
        for condition in CONDITIONS:
            train(condition, seed, args)
        for condition in CONDITIONS.keys() - {"clear"}:
            folders[condition, seed] = score(condition, seed, args)
    for line in tables(read_scores(folders)):
        say(line)


def main() -> None:
    """Parses the arguments and runs the experiment."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, metavar="PPT")
    parser.add_argument("--faces", type=Path, required=True, metavar="CONGRESS")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT")
    parser.add_argument("--seeds", type=int, default=2, help="trainings of each condition")
    parser.add_argument("--steps", type=int, default=1500, help="of each training")
    args = parser.parse_args()
    if min(args.seeds, args.steps) < 1:
        parser.error("--seeds and --steps must be at least 1.")
    for name in ("data", "faces", "output"):
        setattr(args, name, getattr(args, name).resolve())  # programs run in the project's folder
    with one_sentence_errors():
        experiment(args)


if __name__ == "__main__":
    main()
