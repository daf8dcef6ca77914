"""`p3m check`: checks data sets on disk and prints one readable report for each."""

import argparse
import sys
from pathlib import Path

HELP = "check a data set: counts, sizes, missing mattes, files that cannot be read"

_TRAIN = "train"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.add_argument("root", nargs="?", metavar="DIR", help="P3M-10k or RealWorldPortrait-636")
    parser.add_argument(
        "--set",
        action="append",
        dest="sets",
        metavar="NAME",
        help="train, P3M-500-P, P3M-500-NP or RealWorldPortrait-636; may be repeated "
        "(default: all that are there)",
    )
    parser.add_argument("--pictures", metavar="DIR", help="check a folder of your own pictures")
    parser.add_argument("--mattes", metavar="DIR", help="with mattes of the same stems")
    parser.add_argument("--trimaps", metavar="DIR", help="with trimaps of the same stems")
    parser.add_argument("--facemasks", metavar="DIR", help="face masks that stand apart")
    parser.add_argument("--foreground-cache", metavar="DIR", help="estimated foregrounds")
    parser.add_argument("--full", action="store_true", help="decode every file, not only headers")
    parser.add_argument("--workers", type=int, metavar="N", help="threads")


def run(args: argparse.Namespace) -> int:
    """Prints a report for each set; exit code 0 only without errors, 2 for wrong options."""
    from p3m_jax.data.check import check
    from p3m_jax.data.layouts import DataSetError

    pair = args.pictures is not None or args.mattes is not None
    if pair == (args.root is not None) or (pair and not (args.pictures and args.mattes)):
        print("Name either DIR, or both --pictures and --mattes.", file=sys.stderr)
        return 2
    names = ["pair"] if pair else args.sets or _sets(args.root)
    failed = False
    for name in names:
        try:
            scan = _scan(args, name)
        except DataSetError as error:
            print(f"{error}\n", file=sys.stderr)
            failed = True
            continue
        report = check(scan, workers=args.workers, full=args.full, training=name == _TRAIN)
        print(report.text + "\n")
        failed |= bool(report.errors)
    return int(failed)


def _sets(root: str) -> list[str]:
    from p3m_jax.data.layouts import test_sets

    tests = list(test_sets(root))
    # Without anything there, asking for the training set gives the error that explains it.
    return [_TRAIN, *tests] if (Path(root) / "train").is_dir() or not tests else tests


def _scan(args: argparse.Namespace, name: str):
    from p3m_jax.data.layouts import scan_pair, scan_test, scan_training

    if name == "pair":
        return scan_pair(args.pictures, args.mattes, trimaps=args.trimaps, facemasks=args.facemasks)
    if name == _TRAIN:
        return scan_training(
            args.root, foreground_cache=args.foreground_cache, facemasks=args.facemasks
        )
    return scan_test(args.root, name, facemasks=args.facemasks)
