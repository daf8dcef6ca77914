"""Tests on a small scale whether pasting faces helps a network that is trained on blurred faces.

    python benchmarks/copy_paste_experiment.py -o DIR [--seeds 4] [--steps 600]

This is the question of the papers. The program trains a P3M-Net with a ResNet-34 of a quarter of
its width on small crops of synthetic portraits, with several seeds for each condition. It tests the
last weights on the same new portraits with blurred and with normal faces (RESIZE, the project's own
protocol):

    plain     trained on blurred faces
    image     the same with P3M-ICP
    feature   the same with P3M-FCP
    normal    trained on normal faces: the best result that pasting could achieve

Seeds change the first weights, the crops and the order; the portraits stay the same. Completed runs
are reused, so after an interruption run the same command again to resume. The program prints the
mean over seeds and the standard deviation between them for each condition, and the paired
difference to `plain`. It also writes results.json. Synthetic portraits are not photos, so the
results show whether the method works here, not how useful it is.
"""

import argparse
import dataclasses
import json
import statistics
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from p3m_jax.checkpoints.folder import RUN_CHECKPOINTS
from p3m_jax.checkpoints.weights import load_for_inference
from p3m_jax.configs import common
from p3m_jax.data.layouts import find_test_set
from p3m_jax.data.synthetic.writer import write_synthetic_set
from p3m_jax.evaluation.evaluator import evaluate_examples
from p3m_jax.inference.programs import predictor
from p3m_jax.models import network
from p3m_jax.models.resnet import SHAPE, ResNet34
from p3m_jax.runtime.compilation import keep_compiled
from p3m_jax.storage.files import write_text
from p3m_jax.training.loop import train

NARROW = "resnet34_quarter"
CONDITIONS = ("plain", "normal", "image", "feature")
MEASURES = ("SAD", "MSE", "SAD-T", "SAD-FG", "SAD-PRIVACY")
SIDE = 256  # of the portraits in pixels; RESIZE runs them at half of it


class QuarterResNet34(ResNet34):
    """The encoder with a quarter of the channels."""

    def __init__(self):
        quarter = tuple(channels // 4 for channels in SHAPE.channels)
        super().__init__(dataclasses.replace(SHAPE, channels=quarter, shallow=SHAPE.shallow // 4))


def configuration(condition: str, seed: int, args: argparse.Namespace) -> ConfigDict:
    """The configuration of a short run; runs differ only in the condition and the seed."""
    pasting = {"image": "icp", "feature": "fcp"}.get(condition, "")
    config = common.variant("resnet34", f"demonstration,{pasting}")
    config.network = NARROW
    config.seed = seed
    config.batch_size = 8
    config.steps = args.steps
    config.learning_rate = 1e-3
    config.data.directory = str(args.output / "portraits")
    config.data.crop_sizes = (160, 192, 224)
    config.data.output_size = 96
    config.data.faces = "normal" if condition == "normal" else "blurred"
    config.data.validation_pictures = 8
    config.final_test_sets = ()
    config.log_every = 50
    config.validate_every = config.checkpoint_every = args.steps
    config.keep_checkpoints = 1
    config.copy_paste.start_step = args.steps // 3
    config.copy_paste.source_size = 64
    return config


def run(condition: str, seed: int, args: argparse.Namespace) -> dict:
    """Does one run; returns the mean errors {"blurred" or "normal" faces: {measure: mean}}."""
    workdir = args.output / "runs" / f"{condition}-{seed}"
    scores = workdir / "scores.json"
    if scores.is_file():
        return json.loads(scores.read_text())
    train(configuration(condition, seed, args), workdir)
    trained = load_for_inference(workdir / RUN_CHECKPOINTS)
    predict, errors = predictor(trained.network, trained.variables), {}
    for faces in ("blurred", "normal"):
        tested = find_test_set(args.output / "portraits", "P3M-500-P", faces=faces)
        rows = evaluate_examples(predict, tested, title=f"{condition}-{seed} {faces}")
        errors[faces] = {
            name: float(np.nanmean([row.get(name, np.nan) for row in rows])) for name in MEASURES
        }
    write_text(scores, json.dumps(errors, indent=2) + "\n")
    return errors


def table(results: dict[str, list[dict]], measure: str) -> list[str]:
    """Makes lines of Markdown: the measure on both kinds of faces and the difference.

    There is a line for each condition.
    """

    def shown(values):
        spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
        return f"{statistics.mean(values):.2f}{spread}"

    lines = [
        f"| trained with | seeds | {measure} blurred | {measure} normal | normal - blurred "
        "| normal, less plain's |",
        "|---|---|---|---|---|---|",
    ]
    plain = [scores["normal"][measure] for scores in results.get("plain", [])]
    for condition, runs in results.items():
        blurred, normal = ([s[faces][measure] for s in runs] for faces in ("blurred", "normal"))
        gaps = [n - b for n, b in zip(normal, blurred, strict=True)]
        against = [n - p for n, p in zip(normal, plain, strict=False)]
        cells = [condition, str(len(runs)), *map(shown, (blurred, normal, gaps))]
        lines.append("| " + " | ".join([*cells, shown(against) if against else ""]) + " |")
    return lines


def main() -> None:
    """Trains the missing runs, then prints the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--conditions", nargs="+", choices=CONDITIONS, default=CONDITIONS)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--train-pictures", type=int, default=256)
    parser.add_argument("--test-pictures", type=int, default=128)
    parser.add_argument("--faces", type=int, default=64, help="number of faces to copy")
    args = parser.parse_args()

    network.ENCODERS[NARROW] = QuarterResNet34
    keep_compiled(None)
    write_synthetic_set(
        args.output / "portraits",
        train=args.train_pictures,
        test=args.test_pictures,
        faces=args.faces,
        size=(SIDE, SIDE),
    )
    results: dict[str, list[dict]] = {}
    for seed in range(args.seeds):
        for condition in args.conditions:
            results.setdefault(condition, []).append(run(condition, seed, args))
    settings = {"jax": jax.__version__, "seeds": args.seeds, "steps": args.steps}
    text = json.dumps({"settings": settings, "scores": results}, indent=2)
    write_text(args.output / "results.json", text + "\n")
    for measure in MEASURES:
        print("\n".join(["", *table(results, measure)]))


if __name__ == "__main__":
    main()
