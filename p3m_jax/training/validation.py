"""Scoring the held-out part of the training set while a run goes on, for model selection."""

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

from p3m_jax.data.layouts import DataSet, Example
from p3m_jax.evaluation.metrics import all_metrics
from p3m_jax.inference.strategies import Predict
from p3m_jax.pictures.labels import read_matte
from p3m_jax.pictures.trimap import TRIMAP_KERNEL, trimap_from_matte
from p3m_jax.runtime import distributed
from p3m_jax.training.errors import TrainingDiverged


class Validation(NamedTuple):
    """Errors on the validation split.

    Attributes:
      errors: the mean of every measure over the pictures, by name.
      rows: (picture, matte, prediction, caption) of the first pictures, for a sheet.
    """

    errors: dict[str, float]
    rows: list[tuple[np.ndarray, np.ndarray, np.ndarray, str]]


def validate(
    predict: Predict,
    dataset: DataSet,
    *,
    read: Callable[[Example], np.ndarray],
    size: int,
    rows: int,
) -> Validation:
    """Scores `predict` on every picture, each resized to `size` x `size` for the network.

    `read` gives the picture of an example, uint8 (H, W, 3).

    One size means one compiled program, whatever the pictures' sizes, at the price of a changed
    aspect ratio: good enough to tell a run's checkpoints apart, and not the benchmark's protocol,
    which `p3m_jax.evaluation` follows. Errors are taken at the pictures' own sizes, against
    trimaps made from the mattes. Of several processes each scores its share; the errors are those
    of all pictures, the rows this process's. Raises `TrainingDiverged` where an output is not
    finite.
    """
    scores, shown = [], []
    for example in distributed.share(dataset.examples):
        picture, matte, prediction = _predict_example(predict, read(example), example, size)
        errors = all_metrics(prediction, matte, trimap_from_matte(matte, TRIMAP_KERNEL))
        scores.append(errors)
        if len(shown) < rows:
            caption = f"{example.stem}  SAD {errors['SAD']:.2f}"
            shown.append((picture, matte.astype(np.float32) / 255, prediction, caption))
    scores = distributed.in_order(distributed.gather(scores))
    means = {name: float(np.nanmean([score[name] for score in scores])) for name in scores[0]}
    return Validation(means, shown)


def _predict_example(predict, picture: np.ndarray, example: Example, size: int):
    matte = read_matte(example.matte)
    height, width = matte.shape
    small = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
    try:
        alpha = predict("fusion", small[None])[0, ..., 0]
    except ValueError:
        raise TrainingDiverged(
            f"The network's output for {example.picture} is not finite."
        ) from None
    alpha = cv2.resize(alpha, (width, height), interpolation=cv2.INTER_LINEAR)
    return picture, matte, np.clip(alpha, 0, 1)
