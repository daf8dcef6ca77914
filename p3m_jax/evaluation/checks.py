"""Checks, before anything is scored, that the files of an evaluation can be used."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from p3m_jax.data.folders import list_folder
from p3m_jax.data.sets import DataSet, Example
from p3m_jax.errors import UserError
from p3m_jax.pictures.images import ImageError, largest_pixels, picture_size
from p3m_jax.pictures.labels import read_face_mask, read_matte, read_prediction, read_trimap
from p3m_jax.pictures.sizes import require_size
from p3m_jax.runtime.machine import Budget, default_memory
from p3m_jax.storage import StrPath
from p3m_jax.storage.file_part import FilePart
from p3m_jax.storage.paths import source_folder
from p3m_jax.text import counted

_AT_READING = 8  # measured bytes per pixel, for reading a matte and a trimap


class EvaluationError(UserError):
    """An evaluation cannot be done; the message names every file that prevents it."""


def find_predictions(folder: StrPath, dataset: DataSet) -> dict[str, Path]:
    """Finds the prediction file of every stem in the set.

    Raises:
      EvaluationError: predictions are missing or exist twice; the message lists them.
    """
    folder = source_folder(folder, "choose the folder of predictions: --predictions DIR")
    files, complaints, _ = list_folder(folder)
    if complaints:
        raise EvaluationError(*complaints)
    missing = [example.stem for example in dataset.examples if example.stem not in files]
    if missing:
        _refuse(
            f"{folder}: {len(missing)} of {len(dataset.examples)} predictions are missing; add "
            "them, named like their pictures:",
            [f"{stem}.png" for stem in missing],
        )
    return {example.stem: files[example.stem] for example in dataset.examples}


def check_files(
    dataset: DataSet, predictions: dict[str, Path] | None = None, *, workers: int = 2
) -> list[str]:
    """Reads the mattes, trimaps and face masks of a set, and checks that they are valid.

    Each file must have the size of its example's matte. `predictions` is the result of
    `find_predictions`; these files are then checked instead of the pictures. Returns warnings, one
    sentence for each type of problem.

    Raises:
      EvaluationError: the set is empty, or files cannot be used; the message lists them.
    """
    if not dataset.examples:
        raise EvaluationError(f"{dataset.name}: the set is empty; add pictures.")
    budget = Budget(default_memory(), max(1, workers))

    def look(example: Example) -> tuple[list[str], list[str]]:
        with budget.held(_AT_READING * largest_pixels([example.matte])):
            return _check(example, predictions)

    with ThreadPoolExecutor(max(1, workers)) as pool:
        looks = list(pool.map(look, dataset.examples))
    problems = [problem for found, _ in looks for problem in found]
    if problems:
        _refuse(
            f"{dataset.name}: {counted(len(problems), 'file')} cannot be scored; replace:",
            problems,
        )
    kinds = Counter(warning for _, warnings in looks for warning in warnings)
    return [f"{warning} ({counted(count, 'file')})." for warning, count in kinds.items()]


def _check(example: Example, predictions: dict[str, Path] | None) -> tuple[list[str], list[str]]:
    """Returns the problems of one example, and the warnings about it."""
    problems: list[str] = []
    warnings: list[str] = []
    try:
        expected = read_matte(example.matte, warnings.append).shape
    except ImageError as error:
        return [str(error)], []
    for path, size_of in _files(example, predictions, warnings.append):
        try:
            require_size(path, size_of(path), expected, "matte")
        except ImageError as error:
            problems.append(str(error))
    return problems, warnings


def _files(
    example: Example, predictions: dict[str, Path] | None, warn: Callable[[str], None]
) -> Iterator[tuple[Path | FilePart, Callable[[Any], tuple[int, ...]]]]:
    """Yields the files that must have the matte's size, each with a function that reads its size.

    The picture is included only if it will be matted.
    """
    if predictions is None:
        yield example.picture, picture_size
    else:
        yield predictions[example.stem], lambda path: read_prediction(path, warn).shape
    if example.trimap is not None:
        yield example.trimap, lambda path: read_trimap(path).shape
    if example.facemask is not None:
        yield (
            example.facemask,
            lambda path: read_face_mask(path, several_channels=example.published).shape,
        )


def read_face_mask_of(example: Example) -> np.ndarray | None:
    """Reads the face mask (H, W) of an example; None if it has none."""
    if example.facemask is None:
        return None
    return read_face_mask(example.facemask, several_channels=example.published)


def _refuse(sentence: str, files: list[str]) -> NoReturn:
    raise EvaluationError(sentence, *(f"  {file}" for file in files))
