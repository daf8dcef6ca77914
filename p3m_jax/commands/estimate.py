"""`p3m estimate`: estimates missing foregrounds and backgrounds once, into a cache."""

import argparse

from p3m_jax.commands.options import add_faces, at_least

HELP = "estimate the foregrounds and backgrounds that the composition loss needs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.add_argument("root", metavar="DATA", help="P3M-10k, the folder that holds train/")
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="CACHE",
        help="folder for the estimates, 1 to 2 MB per picture of 1080 x 1620; run it again to go "
        "on after an interruption",
    )
    add_faces(parser)
    parser.add_argument(
        "--workers", type=at_least(1), metavar="N", help="threads (default: all cores)"
    )


def run(args: argparse.Namespace) -> int:
    """Fills the cache; returns 0 when it is complete, else raises what the command line shows."""
    from p3m_jax.data.layouts import training_set
    from p3m_jax.input.foreground import estimate_missing

    dataset = training_set(args.root, faces=args.faces or "blurred")
    count = estimate_missing(dataset, args.output, workers=args.workers)
    print(
        f"{args.output}: estimated {count}, nothing missing for {len(dataset.examples)} pictures."
    )
    return 0
