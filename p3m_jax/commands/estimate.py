"""`p3m estimate`: estimates missing foregrounds and backgrounds once and caches them."""

import argparse

from p3m_jax.commands.options import add_output
from p3m_jax.commands.preparing import (
    ON_BEAM,
    add_engine,
    add_set,
    find_engine,
    find_set,
    is_misused,
)
from p3m_jax.pictures.left_out import warn_of
from p3m_jax.text import say, shown, warn

HELP = "estimate the foregrounds and backgrounds that the composition loss needs"

NOTES = """\
If a run uses --config.data.obfuscation, the faces must be obfuscated before anything is estimated:
  p3m areas DATA -o AREAS
  p3m estimate DATA -o CACHE --obfuscation blur --private-cache AREAS
Then start the run with --config.data.private_cache=AREAS --config.data.foreground_cache=CACHE.

{on_beam}
Exit code: 0 all estimated, 1 some failed (the end of the output says which), 2 wrong options,
130 interrupted. Run the same command again to resume.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    from p3m_jax.faces.obfuscation import STRENGTH

    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = NOTES.format(on_beam=ON_BEAM.format(command="estimate"))
    add_set(parser)
    add_output(
        parser,
        "folder for the estimates, which need 1 to 2 MB per picture of 1080 x 1620; after an "
        "interruption, run the command again to resume",
        metavar="CACHE",
    )
    faces = parser.add_argument_group("faces (the same settings as in config.data of the run)")
    faces.add_argument(
        "--obfuscation",
        choices=("blur", "mosaic", "fill"),
        help="obfuscate the faces before estimating (default: do not)",
    )
    faces.add_argument(
        "--obfuscation-strength",
        type=float,
        default=STRENGTH,
        metavar="S",
        help="strength as a fraction of the face's size (default: %(default)s)",
    )
    faces.add_argument(
        "--private-cache",
        metavar="AREAS",
        help="folder made by `p3m areas`; missing private areas are added to it",
    )
    faces.add_argument(
        "--doubtful",
        choices=("refuse", "leave_out"),
        default="refuse",
        help="for pictures whose faces are uncertain. refuse: stop with an error (default); "
        "leave_out: skip these pictures",
    )
    add_engine(parser)


def run(args: argparse.Namespace) -> int:
    """Fills the cache; returns 0 if it is complete, 2 for wrong options, and otherwise raises."""
    if is_misused(args):
        return 2
    if (args.obfuscation is None) != (args.private_cache is None):
        warn("--obfuscation and --private-cache must be given together.")
        return 2
    from p3m_jax.derived.foregrounds import estimate_missing
    from p3m_jax.derived.private_areas import with_private_areas
    from p3m_jax.faces.obfuscation import Obfuscation

    engine, dataset, obfuscation = find_engine(args), find_set(args), None
    if args.obfuscation is not None:
        obfuscation = Obfuscation(args.obfuscation, args.obfuscation_strength).check()
        if obfuscation.warning:
            warn(obfuscation.warning)
        dataset = with_private_areas(
            dataset, args.private_cache, leave_out=args.doubtful == "leave_out", engine=engine
        )
    count = estimate_missing(dataset, args.output, obfuscation=obfuscation, engine=engine)
    say(
        f"{shown(args.output)}: estimated {count}, nothing missing for {len(dataset.examples)} "
        "pictures."
    )
    warn_of(dataset.left_out)
    return 0
