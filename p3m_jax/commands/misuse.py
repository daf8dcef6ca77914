"""Checks the options of several commands: incompatible options, and outputs among the inputs.

Each check raises `OptionError`, which makes the command exit with code 2.
"""

import argparse
from collections.abc import Iterable
from typing import TYPE_CHECKING

from p3m_jax.errors import OptionError
from p3m_jax.storage import StrPath
from p3m_jax.storage.paths import overlap, user_path

if TYPE_CHECKING:  # loaded only when the command runs
    from p3m_jax.data.sets import DataSet
    from p3m_jax.faces.obfuscation import Obfuscation


def refuse(problem: str | None) -> None:
    """Raises `OptionError` with the message `problem`; does nothing if it is None."""
    if problem:
        raise OptionError(problem)


def own_pictures(args: argparse.Namespace, named: bool, other: str) -> bool:
    """Returns True if the options choose the user's own pictures, False if they choose a data set.

    Args:
      args: has `pictures` and `mattes`, and may have `trimaps` and `faces`.
      named: whether the user has chosen a data set.
      other: the name for the data set's options in messages, such as "DATA".

    Raises:
      OptionError: the user has chosen both or neither; only one of `--pictures` and `--mattes` is
        given, or both are the same folder; `--faces` is used with the user's own pictures; or
        `--trimaps` is used with a data set.
    """
    own = args.pictures is not None or args.mattes is not None
    if own == named or (own and not (args.pictures and args.mattes)):
        raise OptionError(f"Name either {other}, or both --pictures and --mattes.")
    if own:
        refuse_same(args, "pictures", "mattes")
    if own and getattr(args, "faces", None):
        raise OptionError(f"--faces requires {other}; --pictures are read as they are.")
    if not own and getattr(args, "trimaps", None):
        raise OptionError(
            "--trimaps requires --pictures and --mattes; other sets have their own trimaps or none."
        )
    return own


def own_pictures_or_test_set(args: argparse.Namespace) -> bool:
    """Like `own_pictures`, for commands whose data set is a test set (`--set` and `--data`)."""
    named = args.set is not None or args.data is not None
    own = own_pictures(args, named, "both --set and --data")
    if named and not (args.set and args.data):
        raise OptionError("--set and --data must be given together.")
    return own


def refuse_same(args: argparse.Namespace, one: str, other: str) -> None:
    """Raises `OptionError` if two options have the same folder as their value.

    `one` and `other` are the names of the options in `args`.
    """
    if user_path(getattr(args, one)).resolve() == user_path(getattr(args, other)).resolve():
        one, other = (f"--{name.replace('_', '-')}" for name in (one, other))
        raise OptionError(f"{one} and {other} are the same folder; choose two folders.")


def refuse_output_among(
    output: StrPath, named: Iterable[str | None], datasets: "Iterable[DataSet]" = ()
) -> None:
    """Raises `OptionError` if the output folder equals, contains or is inside an input.

    Args:
      output: the output folder.
      named: input files and folders from the options; None for an option that is not used.
      datasets: data sets whose files are inputs, too.
    """
    from p3m_jax.data.sets import ROLES

    files = (getattr(e, role) for dataset in datasets for e in dataset.examples for role in ROLES)
    sources = {*filter(None, named), *(str(file.parent) for file in files if file is not None)}
    for source in sorted(sources):
        if overlap(output, source):
            raise OptionError(
                f"{output}: overlaps with {source}, whose files are read; choose a separate "
                "folder with -o."
            )


def obfuscation_of(mode: str, strength: float | None, option: str = "--strength") -> "Obfuscation":
    """Returns the `Obfuscation` with this mode and strength.

    Args:
      mode: "blur", "mosaic" or "fill".
      strength: None for the default strength.
      option: the name of the option for the strength, for the message.

    Raises:
      OptionError: a strength is given for "fill", which has none.
    """
    from p3m_jax.faces.obfuscation import STRENGTH, Obfuscation

    if mode == "fill" and strength is not None:
        raise OptionError(f"{option} works only with blur and mosaic; fill has no strength.")
    return Obfuscation(mode, STRENGTH if strength is None else strength)
