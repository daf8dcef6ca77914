"""Scores a checkpoint, or mattes of any program, on a few portraits.

    python benchmarks/own_network/score.py CHECKPOINT --data P3M [--sheet sheet.png]
    python benchmarks/own_network/score.py --mattes FOLDER --data P3M

CHECKPOINT is an inference checkpoint or a run's folder. FOLDER holds one STEM.png per portrait. P3M
is a folder in P3M-10k's layout: all pictures of `train` and of the test sets in it are scored.

With `--strategy small`, the default, each picture is reduced to about SIDE x SIDE pixels with its
own aspect ratio, for a network that was trained on such small pictures. The matte is enlarged again
and compared at the picture's size. RESIZE and HYBRID are those of `p3m evaluate`.

Prints MAD (mean absolute error), SAD (sum of absolute errors in thousands), SAD-T (SAD in the
transition area) and the MAD of an empty matte for each picture, and their means. These portraits
are a test: choose no checkpoint by them.
"""

import argparse
import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np

from p3m_jax.checkpoints.weights import load_for_inference
from p3m_jax.commands import one_sentence_errors
from p3m_jax.commands.options import at_least
from p3m_jax.data.layouts import find_test_set, find_test_sets, training_set
from p3m_jax.data.sets import Example
from p3m_jax.errors import UserError
from p3m_jax.evaluation.metrics import all_metrics
from p3m_jax.evaluation.sheet import make_sheet
from p3m_jax.inference.programs import predictor
from p3m_jax.inference.strategies import STRIDE, Pass, Placing, Predict, matte_picture
from p3m_jax.pictures.images import read_picture, write_image
from p3m_jax.pictures.labels import read_matte, read_prediction
from p3m_jax.pictures.trimap import trimap_from_matte
from p3m_jax.text import say, shown


def examples_of(root: Path) -> list[tuple[str, Example]]:
    """(name of the set, example) of all pictures of a data set, training pictures included."""
    sets = [training_set(root)] if (root / "train").is_dir() else []
    sets += [find_test_set(root, name) for name in find_test_sets(root)]
    return [(one.name, example) for one in sets for example in one.examples]


def place_at_side(side: int) -> Callable[[Pass, tuple[int, int]], Placing]:
    """Returns the choice of sizes of about `side` x `side` pixels, with the aspect ratio kept."""

    def place_at(this: Pass, size: tuple[int, int]) -> Placing:
        scale = side / (size[0] * size[1]) ** 0.5
        height, width = (max(STRIDE, round(s * scale / STRIDE) * STRIDE) for s in size)
        return Placing((height, width), (height, width))

    return place_at


def matte_by_network(predict: Predict, strategy: str, side: int, example: Example) -> np.ndarray:
    """Computes the matte (H, W) of an example's picture."""
    picture = read_picture(example.picture)
    if strategy == "small":
        return matte_picture(predict, picture, strategy="native", place_at=place_at_side(side))
    return matte_picture(predict, picture, strategy=strategy)


def matte_in(folder: Path, example: Example) -> np.ndarray:
    """Reads the matte (H, W) of an example from a folder; raises `UserError` if it is missing."""
    file = folder / f"{example.stem}.png"
    if not file.is_file():
        raise UserError(f"{file}: does not exist; every portrait needs a matte.")
    return read_prediction(file) / np.float32(255)


def score(args: argparse.Namespace) -> None:
    """Prints the scores and writes the sheet."""
    if args.mattes:
        matte_of = functools.partial(matte_in, args.mattes)
    else:
        checkpoint = load_for_inference(args.checkpoint)
        predict = predictor(checkpoint.network, checkpoint.variables)
        matte_of = functools.partial(matte_by_network, predict, args.strategy, args.side)
    rows, scores = [], []
    for name, example in examples_of(args.data):
        matte, alpha = read_matte(example.matte), matte_of(example)
        truth = matte / np.float32(255)
        errors = all_metrics(alpha, truth, trimap_from_matte(matte))
        scores.append([*(errors[measure] for measure in ("MAD", "SAD", "SAD-T")), truth.mean()])
        line = "MAD {:.4f}  SAD {:7.2f}  SAD-T {:6.2f}  empty {:.3f}".format(*scores[-1])
        say(f"{shown(example.stem):24} {name:14} {line}")
        rows.append((read_picture(example.picture), truth, alpha, f"MAD {errors['MAD']:.3f}"))
    means, median = np.mean(scores, axis=0), np.median([each[0] for each in scores])
    say(
        "{} pictures: MAD {:.4f} (median {:.4f}), SAD {:.2f}, SAD-T {:.2f}; an empty matte: MAD "
        "{:.3f}".format(len(scores), means[0], median, *means[1:])
    )
    if args.sheet:
        write_image(args.sheet, make_sheet(rows, height=args.height))


def main() -> None:
    """Parses the arguments and scores."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path, nargs="?")
    parser.add_argument("--mattes", type=Path, metavar="FOLDER", help="instead of a checkpoint")
    parser.add_argument("--data", type=Path, required=True, metavar="P3M")
    parser.add_argument("--strategy", choices=("small", "resize", "hybrid"), default="small")
    parser.add_argument("--side", type=at_least(STRIDE), default=128, help="default: %(default)s")
    parser.add_argument("--sheet", type=Path, metavar="FILE")
    parser.add_argument("--height", type=at_least(32), default=192, help="of the sheet's rows")
    args = parser.parse_args()
    if bool(args.checkpoint) == bool(args.mattes):
        parser.error("choose either a checkpoint or --mattes.")
    with one_sentence_errors():
        score(args)


if __name__ == "__main__":
    main()
