"""The folder that an evaluation is written to: whether it may be, and what is replaced there."""

import contextlib
import json
import tempfile
from collections.abc import Iterable, Mapping, Set
from pathlib import Path
from typing import NamedTuple

import numpy as np

from p3m_jax.data.folders import user_path
from p3m_jax.evaluation.evaluator import EvaluationError
from p3m_jax.inference.strategies import STRATEGIES
from p3m_jax.pictures.images import write_image
from p3m_jax.storage.files import write_text

CSV, JSON, MARKDOWN = "pictures.csv", "results.json", "summary.md"
MATTES = "mattes"
PREDICTIONS = "predictions"  # stands for a strategy where another program has predicted
PPT_KIND = "ppt"  # what the results of `p3m ppt` say they are
PPT_SHEET = "ppt_differences.jpg"


def sheet_name(strategy: str) -> str:
    """The file name of a strategy's sheet of worst pictures."""
    return f"worst_{strategy}.jpg"


def matte_path(folder: Path, strategy: str, stem: str) -> Path:
    """Where a predicted matte is saved."""
    return folder / MATTES / strategy / f"{stem}.png"


def first_overlap(folder, sources: Iterable) -> Path | None:
    """The first of `sources` that `folder` is, contains or lies in, through links, too."""
    folder = user_path(folder).resolve()
    for source in map(user_path, sources):
        place = source.resolve()
        if folder.is_relative_to(place) or place.is_relative_to(folder):
            return source
    return None


def claim_folder(path, *, overwrite: bool, kind: str | None = None) -> Path:
    """Makes the folder of that path, and tries whether results can be written there.

    A folder that is not empty must hold an earlier evaluation of the same `kind` (None: those of
    `p3m evaluate`, whose results name none), and `overwrite` be true; else `EvaluationError` is
    raised.
    """
    folder = user_path(path)
    try:
        if folder.exists() and not folder.is_dir():
            raise EvaluationError(f"{folder}: is a file; name a folder for the results.")
        if folder.is_dir() and any(folder.iterdir()):
            former = _former(folder)
            if former is None:
                raise EvaluationError(
                    f"{folder}: is not empty and holds no evaluation (no {JSON}); name another "
                    "folder, so that nothing of yours is overwritten."
                )
            if former.kind != kind:
                raise EvaluationError(
                    f"{folder}: holds results of `p3m {former.kind or 'evaluate'}`; name another "
                    "folder."
                )
            if not overwrite:
                raise EvaluationError(
                    f"{folder}: holds an evaluation; name another folder, or say --overwrite to "
                    "replace it."
                )
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise EvaluationError(
            f"{folder}: results cannot be written there ({error.strerror}); name another folder."
        ) from None
    return folder


def write_files(files: Mapping[str, str | np.ndarray], folder: Path, mattes: Set[Path]) -> None:
    """Writes texts and pictures by name into `folder`, in place of an earlier evaluation's.

    Its sheets and saved mattes are removed, but for the `mattes` that were saved by the new one.
    """
    former = _former(folder)
    if former is not None:
        _remove(former, folder, mattes)
    for name, content in files.items():
        (write_text if isinstance(content, str) else write_image)(folder / name, content)


class _Former(NamedTuple):
    """The evaluation that a folder holds: its kind, and the stems it scored by strategy."""

    kind: str | None
    stems: dict[str, set[str]]


def _former(folder: Path) -> _Former | None:
    """The evaluation in `folder`; None if it holds none."""
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
        with contextlib.suppress(OSError):  # something is left in them
            saved.rmdir()
            saved.parent.rmdir()
