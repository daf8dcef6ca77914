"""Scores a checkpoint on a few portraits at the small size that it was trained at.

    python benchmarks/own_network/score.py CHECKPOINT --data P3M --side 128 [--sheet sheet.png]

CHECKPOINT is an inference checkpoint or a run's folder. P3M is a folder in P3M-10k's layout: all
pictures of `train` and of the test sets in it are scored. Each picture is reduced to about
SIDE x SIDE pixels with its own aspect ratio. The matte is enlarged again and compared at the
picture's size. `p3m evaluate` follows the published protocol instead, at half of a picture's size.

Prints MAD (mean absolute error), SAD (sum of absolute errors in thousands) and the MAD of an empty
matte for each picture, and their means. These portraits are a test: choose no checkpoint by them.
"""

import argparse
from pathlib import Path

import numpy as np

from p3m_jax.checkpoints.weights import load_for_inference
from p3m_jax.commands import one_sentence_errors
from p3m_jax.commands.options import at_least
from p3m_jax.data.layouts import find_test_set, find_test_sets, training_set
from p3m_jax.data.sets import Example
from p3m_jax.evaluation.sheet import make_sheet
from p3m_jax.inference.programs import predictor
from p3m_jax.inference.strategies import STRIDE, Pass, Placing, Predict, matte_picture
from p3m_jax.pictures.images import read_picture, write_image
from p3m_jax.pictures.labels import read_matte
from p3m_jax.text import say, shown


def examples_of(root: Path) -> list[tuple[str, Example]]:
    """(name of the set, example) of all pictures of a data set, training pictures included."""
    sets = [training_set(root)] if (root / "train").is_dir() else []
    sets += [find_test_set(root, name) for name in find_test_sets(root)]
    return [(one.name, example) for one in sets for example in one.examples]


def alpha_at(predict: Predict, picture: np.ndarray, side: int) -> np.ndarray:
    """The matte (H, W) of a picture; the network runs at about `side` x `side` pixels."""

    def place_at(this: Pass, size: tuple[int, int]) -> Placing:
        scale = side / (size[0] * size[1]) ** 0.5
        height, width = (max(STRIDE, round(s * scale / STRIDE) * STRIDE) for s in size)
        return Placing((height, width), (height, width))

    return matte_picture(predict, picture, strategy="native", place_at=place_at)


def score(args: argparse.Namespace) -> None:
    """Prints the scores and writes the sheet."""
    checkpoint = load_for_inference(args.checkpoint)
    predict = predictor(checkpoint.network, checkpoint.variables)
    rows, scores = [], []
    for name, example in examples_of(args.data):
        picture, matte = read_picture(example.picture), read_matte(example.matte)
        alpha, truth = alpha_at(predict, picture, args.side), matte / np.float32(255)
        error = np.abs(alpha - truth)
        scores.append((error.mean(), error.sum() / 1000, truth.mean()))
        say(
            f"{shown(example.stem):24} {name:16} MAD {scores[-1][0]:.4f} "
            f"SAD {scores[-1][1]:8.2f}  empty {scores[-1][2]:.3f}"
        )
        rows.append((picture, truth, alpha, f"{example.stem}  MAD {scores[-1][0]:.3f}"))
    mad, sad, empty = np.mean(scores, axis=0)
    say(f"{len(scores)} pictures: MAD {mad:.4f}, SAD {sad:.2f}; an empty matte: MAD {empty:.3f}")
    if args.sheet:
        write_image(args.sheet, make_sheet(rows, height=args.height))


def main() -> None:
    """Parses the arguments and scores."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", type=Path, required=True, metavar="P3M")
    parser.add_argument("--side", type=at_least(STRIDE), default=128, help="default: %(default)s")
    parser.add_argument("--sheet", type=Path, metavar="FILE")
    parser.add_argument("--height", type=at_least(32), default=192, help="of the sheet's rows")
    args = parser.parse_args()
    with one_sentence_errors():
        score(args)


if __name__ == "__main__":
    main()
