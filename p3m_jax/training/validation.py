"""Scores the network on the held-out pictures during a run, to select the best checkpoint."""

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

from p3m_jax.data.sets import DataSet, Example
from p3m_jax.evaluation.metrics import all_metrics
from p3m_jax.inference.programs import OutputNotFinite
from p3m_jax.inference.strategies import Predict
from p3m_jax.pictures.labels import read_matte
from p3m_jax.pictures.trimap import TRIMAP_KERNEL, trimap_from_matte
from p3m_jax.runtime import distributed
from p3m_jax.training.errors import TrainingDiverged


class Validation(NamedTuple):
    """The result of a validation.

    Attributes:
      errors: the mean of each error ("SAD", "MSE" and so on) over the validation split.
      rows: (picture, matte, prediction, caption) for the first pictures, to be shown on a sheet.
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
    """Predicts the matte of every picture in `dataset`, and measures the errors.

    Each picture is resized to `size` x `size` for the network, which changes its aspect ratio but
    needs only one compiled program. The prediction is resized back, and the errors are measured at
    the picture's own size, with trimaps made from the mattes. These errors only serve to compare
    checkpoints of a run: the benchmark's protocol is different, see `p3m_jax.evaluation`.

    If there are several processes, all must call this function, and each scores a share of the
    pictures. The errors returned are means over all pictures; the rows come from this process.

    Args:
      predict: runs the network, see `p3m_jax.inference.strategies.Predict`.
      dataset: the validation split.
      read: returns the picture of an example, uint8 (H, W, 3).
      size: the side of the squares, in pixels.
      rows: the largest number of rows to return.

    Raises:
      TrainingDiverged: a prediction is not finite.
    """
    scores: list[dict[str, float]] = []
    shown: list[tuple[np.ndarray, np.ndarray, np.ndarray, str]] = []
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


def _predict_example(
    predict: Predict, picture: np.ndarray, example: Example, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    matte = read_matte(example.matte)
    height, width = matte.shape
    small = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
    try:
        alpha = predict("fusion", small[None])[0, ..., 0]
    except OutputNotFinite:
        raise TrainingDiverged(
            f"The network's output for {example.picture} is not finite. Start again in another "
            "--workdir with a lower config.learning_rate."
        ) from None
    alpha = cv2.resize(alpha, (width, height), interpolation=cv2.INTER_LINEAR)
    return picture, matte, np.clip(alpha, 0, 1)
