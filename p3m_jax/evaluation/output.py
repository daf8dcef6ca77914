"""Checks an evaluation's output folder, and replaces an earlier evaluation's files in it."""

import contextlib
import json
from collections.abc import Mapping, Set
from pathlib import Path
from typing import NamedTuple

import numpy as np

from p3m_jax.evaluation.checks import EvaluationError
from p3m_jax.inference.strategies import STRATEGIES
from p3m_jax.pictures.images import write_image
from p3m_jax.storage import StrPath
from p3m_jax.storage.files import require_writable, write_text
from p3m_jax.storage.paths import output_folder, user_path

CSV, JSON, MARKDOWN = "pictures.csv", "results.json", "summary.md"
MATTES = "mattes"
PREDICTIONS = "predictions"  # used instead of a strategy for predictions of another program
PPT_KIND = "ppt"  # the kind that the results of `p3m ppt` record
PPT_SHEET = "ppt_differences.jpg"


def sheet_name(strategy: str) -> str:
    """Returns the name of the image file that shows the worst pictures of a strategy."""
    return f"worst_{strategy}.jpg"


def matte_path(folder: Path, strategy: str, stem: str) -> Path:
    """Returns the path at which a predicted matte is saved."""
    return folder / MATTES / strategy / f"{stem}.png"


def claim_folder(path: StrPath, *, overwrite: bool, kind: str | None = None) -> Path:
    """Creates the output folder and checks that results can be written there.

    If the folder is not empty, it must hold an earlier evaluation of the same `kind`, and
    `overwrite` must be True. `kind` is `PPT_KIND` for `p3m ppt`, and None for `p3m evaluate`.

    Raises:
      EvaluationError: the folder holds something else, or cannot be written to.
    """
    folder = user_path(path)
    try:
        output_folder(folder, "choose a folder for the results with -o")
        if folder.is_dir() and any(folder.iterdir()):
            former = _former(folder)
            if former is None:
                raise EvaluationError(
                    f"{folder}: is not empty and holds no evaluation (no {JSON}); choose another "
                    "folder with -o, so that none of your files is overwritten."
                )
            if former.kind != kind:
                raise EvaluationError(
                    f"{folder}: holds results of `p3m {former.kind or 'evaluate'}`; choose another "
                    "folder with -o."
                )
            if not overwrite:
                raise EvaluationError(
                    f"{folder}: already holds an evaluation; choose another folder with -o, or "
                    "use --overwrite to replace it."
                )
        require_writable(folder)
    except OSError as error:
        raise EvaluationError(
            f"{folder}: results cannot be written there ({error.strerror}); choose another folder "
            "with -o."
        ) from None
    return folder


def write_files(files: Mapping[str, str | np.ndarray], folder: Path, mattes: Set[Path]) -> None:
    """Removes an earlier evaluation's sheets and mattes from `folder`, and writes `files` there.

    Args:
      files: {file name: a string, or a picture uint8 (H, W, 3)}.
      folder: the output folder.
      mattes: the files of mattes that the new evaluation has already saved; they are kept.
    """
    former = _former(folder)
    if former is not None:
        _remove(former, folder, mattes)
    for name, content in files.items():
        if isinstance(content, str):
            write_text(folder / name, content)
        else:
            write_image(folder / name, content)


class _Former(NamedTuple):
    """The evaluation that a folder holds: its kind, and {strategy: stems that were scored}."""

    kind: str | None
    stems: dict[str, set[str]]


def _former(folder: Path) -> _Former | None:
    """Reads which evaluation is in `folder`; returns None if there is none."""
    try:
        there = json.loads((folder / JSON).read_text(encoding="utf-8"))
        results = there["results"]
        stems = {name: {row["stem"] for row in results[name]["pictures"]} for name in results}
        return _Former(there.get("kind"), stems)
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None


def _remove(former: _Former, folder: Path, mattes: Set[Path]) -> None:
    if former.kind == PPT_KIND:
        (folder / PPT_SHEET).unlink(missing_ok=True)
        return
    for strategy in (*STRATEGIES, PREDICTIONS):
        stems = former.stems.get(strategy, ())
        saved = matte_path(folder, strategy, "").parent
        stale = {path for path in saved.glob("*.png") if path.stem in stems} - mattes
        for path in {folder / sheet_name(strategy), *stale}:
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # other files may be left in the folders
            saved.rmdir()
            saved.parent.rmdir()
