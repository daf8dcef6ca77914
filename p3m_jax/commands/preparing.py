"""What `areas` and `estimate` share: which pictures, and the engine that prepares them."""

import argparse

from p3m_jax.commands.options import add_faces, at_least
from p3m_jax.storage.bucket import is_address
from p3m_jax.text import warn

THREADS, BEAM = "threads", "beam"

ON_BEAM = """\
On many machines, or on several workers of this one, Apache Beam does the same work and leaves the
same files; what follows -- are its own options:
  p3m {command} ... --engine beam -- --direct_num_workers=8 --direct_running_mode=multi_processing
  p3m {command} ... --engine beam -- --runner=FlinkRunner --flink_master=HOST:8081
Data set and cache lie on a disk that all workers see under the same names; a bucket does not do.
"""


def add_set(parser: argparse.ArgumentParser) -> None:
    """Adds which pictures: a set in P3M-10k's layout, or a pair of folders."""
    parser.add_argument(
        "root", nargs="?", metavar="DATA", help="P3M-10k, the folder that holds train/"
    )
    parser.add_argument("--pictures", metavar="DIR", help="in its place, pictures of your own")
    parser.add_argument("--mattes", metavar="DIR", help="with mattes of the same stems")
    parser.add_argument("--facemasks", metavar="DIR", help="face masks that stand apart")
    add_faces(parser)


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Adds what does the work."""
    parser.add_argument(
        "--workers", type=at_least(1), metavar="N", help="threads (default: all cores)"
    )
    parser.add_argument(
        "--engine",
        choices=(THREADS, BEAM),
        default=THREADS,
        help="threads of this process (default), or an Apache Beam pipeline, see below",
    )


def split_engine_options(argv: list[str]) -> tuple[list[str], list[str]]:
    """A command line without what follows `--`, and that, where there is an `--engine`.

    In all other command lines `--` keeps its usual meaning: names that start with a dash follow.
    """
    end = argv.index("--") if "--" in argv else len(argv)
    if not any(word.split("=")[0] == "--engine" for word in argv[:end]):
        return argv, []
    return argv[:end], argv[end + 1 :]


def is_misused(args: argparse.Namespace) -> bool:
    """Whether options do not go together, which is said, then."""
    problem = _misuse(args)
    if problem:
        warn(problem)
    return problem is not None


def _misuse(args: argparse.Namespace) -> str | None:
    pair = args.pictures is not None or args.mattes is not None
    if pair == (args.root is not None) or (pair and not (args.pictures and args.mattes)):
        return "Name either DATA, or both --pictures and --mattes."
    if args.faces and pair:
        return "--faces goes with DATA; --pictures are what they are."
    given = vars(args)
    named = ("root", "pictures", "mattes", "facemasks", "private_cache", "output")
    buckets = [given[name] for name in named if is_address(given.get(name))]
    if buckets:
        return f"{buckets[0]}: buckets are not read or written; mount it, or copy what is in it."
    if args.engine == BEAM and args.workers:
        return "--workers are threads; say -- --direct_num_workers=N for Beam's direct runner."
    if args.engine != BEAM and args.engine_options:
        return "What follows -- goes with --engine beam."
    return None


def find_set(args: argparse.Namespace):
    """The set that the options name; `DataSetError` if it is not complete."""
    from p3m_jax.data.layouts import folder_pair, training_set

    if args.pictures is not None:
        return folder_pair(args.pictures, args.mattes, facemasks=args.facemasks)
    return training_set(args.root, faces=args.faces or "blurred", facemasks=args.facemasks)


def find_engine(args: argparse.Namespace):
    """The engine that the options name; `EngineError` if it is not installed."""
    from p3m_jax.derived.filling import EngineError, by_threads

    if args.engine == THREADS:
        return by_threads(args.workers)
    try:
        from p3m_jax.derived.on_beam import BeamEngine
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "apache_beam":
            raise
        raise EngineError(
            "--engine beam takes Apache Beam, which is not installed; install it with: "
            'python -m pip install -e ".[beam]"'
        ) from None
    return BeamEngine(tuple(args.engine_options))
