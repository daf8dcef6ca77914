"""`p3m estimate`: estimates missing foregrounds and backgrounds once, into a cache."""

import argparse
import sys

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
    parser.add_argument("--workers", type=int, metavar="N", help="threads (default: all cores)")


def run(args: argparse.Namespace) -> int:
    """Fills the cache; exit code 0 if it is complete, 1 with one sentence if not, 2 for misuse."""
    from p3m_jax.data.layouts import DataSetError, training_set
    from p3m_jax.input.foreground import estimate_missing

    if args.workers is not None and args.workers < 1:
        print("--workers: at least one thread is needed.", file=sys.stderr)
        return 2
    try:
        dataset = training_set(args.root)
        count = estimate_missing(dataset, args.output, workers=args.workers)
    except DataSetError as error:
        print(error, file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        print(f"{error}; install it with: pip install 'p3m-jax[train]'", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted; run it again to go on.", file=sys.stderr)
        return 130
    print(
        f"{args.output}: estimated {count}, nothing missing for {len(dataset.examples)} pictures."
    )
    return 0
