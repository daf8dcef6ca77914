"""`p3m check`: checks data sets on disk and prints a readable report for each."""

import argparse
import dataclasses
from typing import TYPE_CHECKING

from p3m_jax.commands.misuse import own_pictures, refuse
from p3m_jax.commands.options import TEST_SETS, add_faces, add_pairs, at_least
from p3m_jax.errors import UserError
from p3m_jax.storage.paths import source_folder, user_path
from p3m_jax.text import say, warn

if TYPE_CHECKING:  # loaded only when the command runs
    from p3m_jax.data.sets import Scan

HELP = "check a data set: counts, sizes, missing mattes, files that cannot be read"

_TRAIN, _PAIR = "train", "pair"
_SETS = (_TRAIN, *TEST_SETS)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.add_argument(
        "root",
        nargs="?",
        metavar="DIR",
        help="folder of P3M-10k, of RealWorldPortrait-636, of synthetic portraits, or of records",
    )
    parser.add_argument(
        "--set",
        action="append",
        dest="sets",
        metavar="NAME",
        choices=_SETS,
        help=f"{', '.join(_SETS[:-1])} or {_SETS[-1]}; may be repeated (default: all that exist "
        "in DIR)",
    )
    add_pairs(
        parser,
        pictures="check a folder of your own pictures",
        facemasks="a separate folder of face masks, matched by file stem",
    )
    add_faces(parser)
    parser.add_argument("--foreground-cache", metavar="DIR", help="folder made by `p3m estimate`")
    parser.add_argument("--full", action="store_true", help="decode every file, not only headers")
    parser.add_argument(
        "--workers", type=at_least(1), metavar="N", help="number of threads that read files"
    )


def run(args: argparse.Namespace) -> int:
    """Prints a report for each set; returns 1 if a set has errors, else 0.

    Raises:
      OptionError: the options are wrong.
    """
    from p3m_jax.data.check import check

    own = own_pictures(args, args.root is not None, "DIR")
    names = [_PAIR] if own else args.sets or _sets(args.root)
    refuse(_misuse(args, own, names))
    for folder in (args.facemasks, args.foreground_cache):
        if folder is not None:
            source_folder(folder)  # here, so that an error is shown once and not for every set
    failed = False
    for name in names:
        try:
            scan = _scan(args, name)
        except UserError as error:
            warn(*error.args, "")
            failed = True
            continue
        report = check(scan, workers=args.workers, full=args.full, training=name == _TRAIN)
        say(report.text + "\n")
        failed |= bool(report.errors)
    return int(failed)


def _misuse(args: argparse.Namespace, own: bool, names: list[str]) -> str | None:
    if own and args.sets:
        return "--set requires DIR; it cannot be used with --pictures and --mattes."
    if args.foreground_cache and _TRAIN not in names:
        return (
            "--foreground-cache applies only to the training set (--set train), which these "
            "options do not check."
        )
    return None


def _sets(root: str) -> list[str]:
    from p3m_jax.data.layouts import find_test_sets
    from p3m_jax.data.records import PORTRAITS, find_records

    tests = list(find_test_sets(root))
    folder = user_path(root)
    # If nothing exists, checking the training set reports the error that explains it.
    train = (folder / "train").is_dir() or find_records(folder, PORTRAITS, "blurred")
    return [_TRAIN, *tests] if train or not tests else tests


def _scan(args: argparse.Namespace, name: str) -> "Scan":
    from p3m_jax.data.layouts import scan_pair, scan_test, scan_training

    if name == _PAIR:
        return scan_pair(args.pictures, args.mattes, trimaps=args.trimaps, facemasks=args.facemasks)
    if name == _TRAIN:
        scan = scan_training(
            args.root,
            faces=args.faces or "blurred",
            foreground_cache=args.foreground_cache,
            facemasks=args.facemasks,
        )
        return _with_cache_problem(scan, args.foreground_cache)
    return scan_test(args.root, name, faces=args.faces, facemasks=args.facemasks)


def _with_cache_problem(scan: "Scan", cache: str | None) -> "Scan":
    """Adds the problem that `p3m estimate` would report about the cache, if any, to the scan."""
    from p3m_jax.derived.foregrounds import foreground_cache, without_own_pair

    try:
        if cache is not None:
            known = foreground_cache(cache)
            known.missing(without_own_pair(scan.examples(), known.folder))
    except UserError as error:
        return dataclasses.replace(scan, unusable=(*scan.unusable, str(error)))
    return scan
