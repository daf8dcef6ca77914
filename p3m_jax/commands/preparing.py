"""Options that `areas` and `estimate` share, for the pictures and for the engine.

The engine runs the work: threads of this process, or an Apache Beam pipeline.
"""

import argparse
from typing import TYPE_CHECKING

from p3m_jax.commands.misuse import own_pictures, refuse
from p3m_jax.commands.options import add_faces, add_pairs, at_least
from p3m_jax.storage.bucket import is_address

if TYPE_CHECKING:  # loaded only when the command runs
    from p3m_jax.data.sets import DataSet
    from p3m_jax.derived.filling import Engine

THREADS, BEAM = "threads", "beam"

ON_BEAM = """\
Apache Beam does the same work on many machines, or in several processes of this one, and writes the
same files. The options after -- are Beam's own:
  p3m {command} ... --engine beam -- --direct_num_workers=8 --direct_running_mode=multi_processing
  p3m {command} ... --engine beam -- --runner=FlinkRunner --flink_master=HOST:8081
The data set and the cache must be on a disk that all workers see under the same paths; buckets are
not supported.
"""


def add_set(parser: argparse.ArgumentParser) -> None:
    """Adds the options for the pictures: a set in P3M-10k's layout, or a pair of folders."""
    parser.add_argument(
        "root", nargs="?", metavar="DATA", help="P3M-10k, the folder that contains train/"
    )
    add_pairs(
        parser,
        pictures="a folder of your own pictures, instead of DATA",
        trimaps=None,
        facemasks="a separate folder of face masks, matched by file stem",
    )
    add_faces(parser)


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Adds `--engine` and `--workers`, which choose how the work is run in parallel."""
    parser.add_argument(
        "--workers", type=at_least(1), metavar="N", help="number of threads (default: all cores)"
    )
    parser.add_argument(
        "--engine",
        choices=(THREADS, BEAM),
        default=THREADS,
        help="threads of this process (default), or an Apache Beam pipeline (see below)",
    )


def split_engine_options(argv: list[str]) -> tuple[list[str], list[str]]:
    """Splits the command's own arguments from the options of the engine, which follow `--`.

    Returns both as lists. The engine runs the work in parallel. If `--engine` does not occur before
    `--`, the first list holds all arguments, and the second list is empty. In this case `--` means,
    as usual, that no more options follow.
    """
    end = argv.index("--") if "--" in argv else len(argv)
    if not any(word.split("=")[0] == "--engine" for word in argv[:end]):
        return argv, []
    return argv[:end], argv[end + 1 :]


def check_options(args: argparse.Namespace) -> None:
    """Raises `OptionError` if the options cannot be combined."""
    own_pictures(args, args.root is not None, "DATA")
    refuse(_misuse(args))


def _misuse(args: argparse.Namespace) -> str | None:
    given = vars(args)
    named = ("root", "pictures", "mattes", "facemasks", "private_cache", "output")
    buckets = [path for path in filter(None, map(given.get, named)) if is_address(path)]
    if buckets:
        return (
            f"{buckets[0]}: this command cannot use a bucket; mount the bucket, or copy its "
            "contents to a disk."
        )
    if args.engine == BEAM and args.workers:
        return (
            "--workers sets threads, which --engine beam does not use; for Beam's direct runner "
            "add -- --direct_num_workers=N."
        )
    if args.engine != BEAM and args.engine_options:
        return "Options after -- require --engine beam."
    return None


def find_set(args: argparse.Namespace) -> "DataSet":
    """Returns the data set that the options choose; raises `DataSetError` if it is incomplete."""
    from p3m_jax.data.layouts import folder_pair, training_set

    if args.pictures is not None:
        return folder_pair(args.pictures, args.mattes, facemasks=args.facemasks)
    return training_set(args.root, faces=args.faces or "blurred", facemasks=args.facemasks)


def find_engine(args: argparse.Namespace) -> "Engine":
    """Returns the engine that the options choose; raises `EngineError` if it is not installed."""
    from p3m_jax.derived.filling import EngineError, by_threads

    if args.engine == THREADS:
        return by_threads(args.workers)
    try:
        from p3m_jax.derived.on_beam import BeamEngine
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "apache_beam":
            raise
        raise EngineError(
            "--engine beam requires Apache Beam, which is not installed; install it with: "
            'python -m pip install -e ".[beam]"'
        ) from None
    return BeamEngine(tuple(args.engine_options))
