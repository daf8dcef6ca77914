"""`p3m areas`: finds the face areas of each picture once, and stores them in a cache."""

import argparse

from p3m_jax.commands import NEEDS_REVIEW
from p3m_jax.commands.options import add_output
from p3m_jax.commands.preparing import (
    ON_BEAM,
    add_engine,
    add_set,
    check_options,
    find_engine,
    find_set,
)
from p3m_jax.pictures.left_out import warn_of
from p3m_jax.text import counted, say, shown, warn

HELP = "find the face areas to obfuscate during training"

NOTES = """\
A run with --config.data.obfuscation finds face areas when it starts. On a large data set that
takes long; this command does it beforehand. Pass the folder to the run with
--config.data.private_cache=CACHE.

If a picture has a face mask, the mask defines its face area, and a search checks whether the
mask misses a face. If it has none, the search finds the faces. Uncertain pictures are listed in
CACHE/to_review.txt. Correct their label maps in CACHE/private where they are wrong (faces
white, all else black, without soft edges). Then add the pictures' names, as in to_review.txt, to
CACHE/reviewed.txt, one per line.

{on_beam}
Exit code: 0 all found, 1 some failed (the end of the output says which), 2 wrong options,
3 pictures need review, 130 interrupted. Run the same command again to resume.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = NOTES.format(on_beam=ON_BEAM.format(command="areas"))
    add_set(parser)
    add_output(parser, "folder for the label maps", metavar="CACHE")
    add_engine(parser)


def run(args: argparse.Namespace) -> int:
    """Fills the cache; returns the exit code, or raises an error that the caller prints."""
    check_options(args)
    from p3m_jax.derived.private_areas import find_missing_areas, list_doubtful

    engine, dataset = find_engine(args), find_set(args)
    count = find_missing_areas(dataset, args.output, engine=engine)
    doubtful = list_doubtful(dataset, args.output)
    total, folder = len(dataset.examples), shown(args.output)
    say(
        f"{counted(total, 'picture')}: face areas of {count:,} found, {total - count:,} already "
        f"done, {len(doubtful):,} need review.\nIn {folder}; train with "
        f"--config.data.private_cache={folder}."
    )
    if doubtful:
        warn(
            f"See {args.output}/to_review.txt. Correct wrong label maps in {args.output}/private, "
            f"then put the names into {args.output}/reviewed.txt."
        )
    warn_of(dataset.left_out)
    return NEEDS_REVIEW if doubtful else 0
