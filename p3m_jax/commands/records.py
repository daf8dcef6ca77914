"""`p3m records`: writes a data set as sharded records, to train from instead of folders."""

import argparse
import importlib.util
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p3m_jax.commands.misuse import own_pictures
from p3m_jax.commands.options import add_faces, add_output, add_pairs, at_least
from p3m_jax.errors import OptionError
from p3m_jax.storage.paths import user_path
from p3m_jax.text import counted, say, shown, warn

if TYPE_CHECKING:  # loaded only when the command runs
    from p3m_jax.data.sets import Scan

HELP = "write a data set as sharded records (TFDS), to train from instead of folders"

_EPILOG = """\
Records contain the unchanged bytes of every file. Training on records therefore uses the same
batches as training on folders, bit for bit. P3M-10k (both releases) and synthetic portraits are
written with their test sets. CelebAMask-HQ is written with its masks of face parts. Your own
folders are written as pairs of picture and matte. Afterwards use the folder of records in place of
the data set's folder:

  p3m records /data/P3M-10k -o /data/records
  python train.py --config=configs/swin.py --config.data.directory=/data/records
  p3m check /data/records

Estimated foregrounds and other caches stay in folders, and can be used with records and with
folders. Existing records are never overwritten. An interrupted run leaves no incomplete records;
run the command again to start over.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.epilog = _EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "root", nargs="?", metavar="DATA", help="P3M-10k, synthetic portraits or CelebAMask-HQ"
    )
    add_pairs(
        parser,
        pictures="a folder of your own pictures",
        facemasks="their face masks, matched by file stem",
    )
    add_output(
        parser,
        "folder for the records, which need as much disk space as the files, and twice as much "
        "while they are written",
    )
    parser.add_argument(
        "--shards",
        type=at_least(1),
        metavar="N",
        help="number of files per split (default: chosen so that each file has 64 MB to 1 GB)",
    )
    add_faces(parser)


def run(args: argparse.Namespace) -> int:
    """Writes the records; returns 0, or 1 if the set has errors or a package is missing.

    Raises:
      OptionError: the options are wrong.
    """
    pair = own_pictures(args, args.root is not None, "DATA")
    if args.facemasks and not pair:
        raise OptionError("--facemasks requires --pictures and --mattes.")
    if not all(map(importlib.util.find_spec, ("tensorflow", "tensorflow_datasets"))):
        warn(
            "Writing records requires TensorFlow and TFDS (reading them requires only TensorFlow); "
            'install them with: python -m pip install -e ".[train,records]"'
        )
        return 1
    from p3m_jax.input.write_records import write_records

    scans = _scans(args, pair)
    usable = [_usable(scan) for scan in scans]  # a list, so that all reports are shown
    if not all(usable):
        warn("Nothing was written. Fix the errors above, then run the command again.")
        return 1
    with tempfile.TemporaryDirectory() as scratch:
        records = write_records(
            *_builder(args, pair), args.output, scratch=scratch, shards=args.shards
        )
    sizes = {name: sum(s.stat().st_size for s in shards) for name, shards in records.splits.items()}
    for name, shards in records.splits.items():
        count = len(records.files(name)["picture"])
        pictures, files = counted(count, "picture"), counted(len(shards), "shard")
        say(f"{name}: {pictures} in {files}, {sizes[name] / 1e6:,.1f} MB")
    say(f"{shown(records.folder)}: complete. The pictures' licence also applies to the records.")
    return 0


def _usable(scan: "Scan") -> bool:
    from p3m_jax.data.check import check

    report = check(scan, training=scan.name not in ("P3M-500-P", "P3M-500-NP"))
    say(report.text + "\n")
    return not report.errors


def _scans(args: argparse.Namespace, pair: bool) -> "list[Scan]":
    """Returns the scans that are checked before anything is written.

    Returns [] for CelebAMask-HQ, because only the folders of that set are checked.
    """
    from p3m_jax.data.folders import DataSetError
    from p3m_jax.data.layouts import scan_pair, scan_test, scan_training, validation_sets
    from p3m_jax.storage.file_part import FilePart

    if pair:
        options = {"trimaps": args.trimaps, "facemasks": args.facemasks}
        return [scan_pair(args.pictures, args.mattes, **options)]
    if _is_celebamask(args.root):
        return []
    faces = args.faces or "blurred"
    scans = [scan_training(args.root, faces=faces)]
    if isinstance(next(iter(scans[0].files["picture"].values()), None), FilePart):
        raise DataSetError(f"{args.root}: already contains records; choose the files' folder.")
    names = validation_sets(args.root, faces)
    return scans + [scan_test(args.root, name, faces=faces) for name in names]


def _is_celebamask(root: str) -> bool:
    from p3m_jax.data.celebamask import PICTURES

    return (user_path(root) / PICTURES).is_dir()


def _builder(args: argparse.Namespace, pair: bool) -> tuple[Any, Any, Path]:
    """Returns the builder's class, its configuration, and the folder that it reads."""
    if pair:
        from p3m_jax.data.portrait_folder import portrait_folder_dataset_builder as own

        folders = {name: getattr(args, name) for name in ("pictures", "mattes")}
        folders |= {name: getattr(args, name) for name in ("trimaps", "facemasks")}
        root = user_path(args.pictures)
        return own.Builder, own.FolderConfig(name=own.config_name(root), **folders), root
    root = user_path(args.root)
    if _is_celebamask(args.root):
        from p3m_jax.data.celebamask_hq.celebamask_hq_dataset_builder import Builder

        return Builder, None, root
    from p3m_jax.data.layouts import is_synthetic

    if is_synthetic(root):
        from p3m_jax.data.p3m_synthetic.p3m_synthetic_dataset_builder import Builder
    else:
        from p3m_jax.data.p3m10k.p3m10k_dataset_builder import Builder
    return Builder, args.faces or "blurred", root
