"""The folder that an evaluation is written to: whether it may be, and what is replaced there."""

import contextlib
import json
import tempfile
from collections.abc import Iterable, Mapping, Set
from pathlib import Path

import numpy as np

from p3m_jax.data.folders import user_path
from p3m_jax.evaluation.evaluator import EvaluationError
from p3m_jax.evaluation.inference import STRATEGIES
from p3m_jax.files import write_text
from p3m_jax.images import write_image

CSV, JSON, MARKDOWN = "pictures.csv", "results.json", "summary.md"
MATTES = "mattes"
PREDICTIONS = "predictions"  # stands for a strategy where another program has predicted


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


def claim_folder(path, *, overwrite: bool) -> Path:
    """Makes the folder of that path, and tries whether results can be written there.

    A folder that is not empty must hold an earlier evaluation, and `overwrite` be true; else
    `EvaluationError` is raised.
    """
    folder = user_path(path)
    try:
        if folder.exists() and not folder.is_dir():
            raise EvaluationError(f"{folder}: is a file; name a folder for the results.")
        if folder.is_dir() and any(folder.iterdir()):
            if _stems(folder) is None:
                raise EvaluationError(
                    f"{folder}: is not empty and holds no evaluation (no {JSON}); name another "
                    "folder, so that nothing of yours is overwritten."
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
    former = _stems(folder) or {}
    for strategy in (*STRATEGIES, PREDICTIONS):
        stems = former.get(strategy, ())
        saved = matte_path(folder, strategy, "").parent
        stale = {path for path in saved.glob("*.png") if path.stem in stems} - mattes
        for path in {folder / sheet_name(strategy), *stale}:
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # something is left in them
            saved.rmdir()
            saved.parent.rmdir()
    for name, content in files.items():
        (write_text if isinstance(content, str) else write_image)(folder / name, content)


def _stems(folder: Path) -> dict[str, set[str]] | None:
    """The stems by strategy that the evaluation in `folder` scored; None if it holds none."""
    try:
        results = json.loads((folder / JSON).read_text(encoding="utf-8"))["results"]
        return {name: {row["stem"] for row in results[name]["pictures"]} for name in results}
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None
