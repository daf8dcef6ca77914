"""Checks shared by several commands: options that exclude each other, outputs among the inputs.

Each check raises `OptionError`, with which a command ends with exit code 2.
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
    """Raises `OptionError` with this sentence, unless it is None."""
    if problem:
        raise OptionError(problem)


def own_pictures(args: argparse.Namespace, named: bool, other: str) -> bool:
    """Returns True if the options choose the user's own pictures, False if a data set.

    Args:
      args: has `pictures` and `mattes`, and may have `trimaps` and `faces`.
      named: whether the options choose a data set.
      other: the options for a data set, such as "DATA", for the message.

    Raises:
      OptionError: both or neither are chosen, the pictures or their mattes are missing, or an
        option does not apply to the choice.
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
    """Like `own_pictures`, for commands that have `--set` and `--data` for a test set."""
    named = args.set is not None or args.data is not None
    own = own_pictures(args, named, "both --set and --data")
    if named and not (args.set and args.data):
        raise OptionError("--set and --data must be given together.")
    return own


def refuse_same(args: argparse.Namespace, one: str, other: str) -> None:
    """Raises `OptionError` if the options `one` and `other` are the same folder."""
    if user_path(getattr(args, one)).resolve() == user_path(getattr(args, other)).resolve():
        one, other = (f"--{name.replace('_', '-')}" for name in (one, other))
        raise OptionError(f"{one} and {other} are the same folder; choose two folders.")


def refuse_output_among(
    output: StrPath, named: Iterable[str | None], datasets: "Iterable[DataSet]" = ()
) -> None:
    """Raises `OptionError` if the output folder equals, contains or is inside an input.

    Args:
      output: the output folder.
      named: inputs given by the user; None for an option that is not used.
      datasets: data sets whose files are read.
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
    """Returns the `Obfuscation` of a mode and a strength; `option` is the option for the strength.

    Raises:
      OptionError: the mode has no strength.
    """
    from p3m_jax.faces.obfuscation import STRENGTH, Obfuscation

    if mode == "fill" and strength is not None:
        raise OptionError(f"{option} works only with blur and mosaic; fill has no strength.")
    return Obfuscation(mode, STRENGTH if strength is None else strength)
