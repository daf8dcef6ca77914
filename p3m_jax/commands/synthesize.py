"""`p3m synthesize`: writes a set of synthetic portraits in P3M-10k's layout."""

import argparse
import re

from p3m_jax.commands.options import add_output, at_least
from p3m_jax.text import counted, say, shown

HELP = "write synthetic portraits in P3M-10k's folder layout"


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text.lower())
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not HEIGHTxWIDTH, like 384x288")
    return int(match[1]), int(match[2])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    add_output(parser, "a new folder for the set")
    parser.add_argument(
        "--train",
        type=at_least(1),
        default=64,
        metavar="N",
        help="number of training pictures (default: 64)",
    )
    parser.add_argument(
        "--test",
        type=at_least(0),
        default=8,
        metavar="N",
        help="number of pictures per test set (default: 8)",
    )
    parser.add_argument(
        "--faces",
        type=at_least(0),
        default=8,
        metavar="N",
        help="number of synthetic faces for P3M-CP to copy (default: 8)",
    )
    parser.add_argument(
        "--size",
        type=_size,
        default=(384, 288),
        metavar="HxW",
        help="height and width in pixels (default: 384x288)",
    )
    parser.add_argument(
        "--seed",
        type=at_least(0),
        default=0,
        metavar="S",
        help="the same seed draws the same portraits (default: 0)",
    )


def run(args: argparse.Namespace) -> int:
    """Writes the set and returns 0; raises `DataSetError` if the folder cannot be used."""
    from p3m_jax.data.synthetic.writer import write_synthetic_set

    root = write_synthetic_set(
        args.output,
        train=args.train,
        test=args.test,
        faces=args.faces,
        size=args.size,
        seed=args.seed,
    )
    pictures = counted(args.train, "training picture")
    say(f"{shown(root)}: {pictures}, and {args.test:,} for each test set.")
    return 0
