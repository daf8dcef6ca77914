"""`p3m estimate`: estimates missing foregrounds and backgrounds once and caches them."""

import argparse

from p3m_jax.commands.misuse import obfuscation_of
from p3m_jax.commands.options import add_output, strength
from p3m_jax.commands.preparing import (
    ON_BEAM,
    add_engine,
    add_set,
    check_options,
    find_engine,
    find_set,
)
from p3m_jax.errors import OptionError
from p3m_jax.pictures.left_out import warn_of
from p3m_jax.text import counted, say, shown, warn

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
        type=strength,
        metavar="S",
        help="strength as a fraction of the face's size, 0.02 to 1 (default: 0.24)",
    )
    faces.add_argument(
        "--private-cache",
        metavar="AREAS",
        help="folder made by `p3m areas`; missing face areas are added to it",
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
    """Fills the cache and returns 0; raises an error if the cache is not complete afterwards."""
    check_options(args)
    if (args.obfuscation is None) != (args.private_cache is None):
        raise OptionError("--obfuscation and --private-cache must be given together.")
    from p3m_jax.derived.foregrounds import estimate_missing
    from p3m_jax.derived.private_areas import with_private_areas

    engine, dataset, obfuscation = find_engine(args), find_set(args), None
    if args.obfuscation is not None:
        obfuscation = obfuscation_of(
            args.obfuscation, args.obfuscation_strength, "--obfuscation-strength"
        )
        if obfuscation.warning:
            warn(obfuscation.warning)
        dataset = with_private_areas(
            dataset, args.private_cache, leave_out=args.doubtful == "leave_out", engine=engine
        )
    count = estimate_missing(dataset, args.output, obfuscation=obfuscation, engine=engine)
    total, folder = len(dataset.examples), shown(args.output)
    say(
        f"{counted(total, 'picture')}: foregrounds of {count:,} estimated, {total - count:,} "
        f"already done.\nIn {folder}; train with --config.data.foreground_cache={folder}."
    )
    warn_of(dataset.left_out)
    return 0
