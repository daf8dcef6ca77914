"""Evaluates a data set: predicts or reads a matte for every picture, and measures its errors.

While the network runs on one picture, threads score the previous ones.
"""

import base64
import io
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from p3m_jax.data.sets import ROLES, DataSet, Example
from p3m_jax.evaluation.checks import (
    EvaluationError,
    check_files,
    find_predictions,
    read_face_mask_of,
)
from p3m_jax.evaluation.metrics import all_metrics
from p3m_jax.inference.resizing import Protocol, find_protocol
from p3m_jax.inference.strategies import Predict, matte_picture
from p3m_jax.pictures.images import largest_pixels, read_picture
from p3m_jax.pictures.labels import read_matte, read_prediction, read_trimap
from p3m_jax.pictures.trimap import trimap_from_matte
from p3m_jax.runtime import distributed
from p3m_jax.runtime.machine import Budget, default_memory
from p3m_jax.storage import StrPath

Row = dict[str, str | int | float]  # stem, height, width, and the measures by name
# Called in the set's order with each example, its prediction, and its row.
Observe = Callable[[Example, np.ndarray, Row], None]
_AT_SCORING = 36  # measured bytes per pixel
Read = Callable[[Example], np.ndarray]  # returns an example's picture, uint8 (H, W, 3)


def read_as_is(example: Example) -> np.ndarray:
    """Reads an example's picture from its file without changes; uint8 (H, W, 3)."""
    return read_picture(example.picture)


def evaluate_examples(
    predict: Predict,
    dataset: DataSet,
    *,
    strategy: str = "resize",
    protocol: Protocol | str = "ours",
    model_name: str | None = None,
    workers: int = 2,
    progress: bool = True,
    observe: Observe | None = None,
    checked: bool = False,
    read: Read = read_as_is,
    title: str | None = None,
) -> list[Row]:
    """Measures a network's errors on each example of a data set.

    Returns one row per example, in the set's order: a dict of stem, height, width and the measures.
    If an example has no trimap, it is made from the matte. If it has no face mask, the privacy
    measures are left out.

    Args:
      predict: the network, as in `p3m_jax.inference.strategies`.
      dataset: the data set.
      strategy: the name of the test-time strategy, such as "hybrid".
      protocol: the protocol of resizing and scoring.
      model_name: the network's name. For "swin", pictures of RealWorldPortrait-636 are enlarged if
        they are smaller than the protocol's `smallest_swin_side`.
      workers: the number of threads that score.
      progress: whether to show a progress bar.
      observe: called with each example, its prediction and its row, in the set's order.
      checked: whether `check_files` has already checked the files.
      read: returns the picture that the network sees.
      title: the title of the progress bar; the strategy if None.

    Raises:
      EvaluationError: files cannot be scored. Unless `checked`, this is raised before anything is
        computed.
    """
    protocol = find_protocol(protocol)
    if not checked:
        check_files(dataset, workers=workers)
    smallest_side = None
    if model_name == "swin" and dataset.name == "RealWorldPortrait-636":
        smallest_side = protocol.smallest_swin_side

    def source(example: Example) -> np.ndarray:
        picture = read(example)
        try:
            alpha = matte_picture(
                predict,
                picture,
                strategy=strategy,
                protocol=protocol,
                smallest_side=smallest_side,
            )
        except ValueError as error:
            raise EvaluationError(f"{example.picture}: {error}") from None
        return protocol.scored(alpha)

    return _score_all(source, dataset, title or strategy, workers, progress, observe)


def evaluate_predictions(
    folder: StrPath,
    dataset: DataSet,
    *,
    workers: int = 2,
    progress: bool = True,
    observe: Observe | None = None,
    checked: bool = False,
) -> list[Row]:
    """Measures the errors of mattes that any program has written into `folder`.

    A file belongs to the example with the same stem; other files are ignored. Rows and the other
    arguments are as in `evaluate_examples`.

    Raises:
      EvaluationError: predictions are missing, exist twice, or have the wrong size; the message
        names all of them. Unless `checked`, this is raised before anything is computed.
    """
    files = find_predictions(folder, dataset)
    if not checked:
        check_files(dataset, files, workers=workers)
    return _score_all(
        lambda example: read_prediction(files[example.stem]),
        dataset,
        "predictions",
        workers,
        progress,
        observe,
    )


def _score_all(
    source: Callable[[Example], np.ndarray],
    dataset: DataSet,
    title: str,
    workers: int,
    progress: bool,
    observe: Observe | None,
) -> list[Row]:
    from tqdm import tqdm

    rows: list[Row] = []
    pending: deque[tuple[Example, np.ndarray, Future[Row], int]] = deque()
    examples = distributed.share(dataset.examples)
    budget = Budget(default_memory() // 2, max(1, workers) + 1)  # the rest is for the network

    def finish() -> None:
        example, prediction, future, amount = pending.popleft()
        rows.append(future.result())
        budget.give_back(amount)
        if observe is not None:
            observe(example, prediction, rows[-1])
        bar.update()

    progress = progress and distributed.is_first()
    shown = {"desc": f"{dataset.name} {title}", "unit": "picture", "disable": not progress}
    with (
        tqdm(total=len(examples), **shown) as bar,
        ThreadPoolExecutor(max(1, workers)) as pool,
    ):
        for example in examples:
            # Limits how many pictures are in memory, by the number of threads and by their size.
            amount = _AT_SCORING * largest_pixels([example.matte])
            while not budget.try_take(amount):
                finish()
            prediction = source(example)
            pending.append((example, prediction, pool.submit(score, example, prediction), amount))
        while pending:
            finish()
    return distributed.in_order(distributed.gather(rows))


def score(example: Example, prediction: np.ndarray) -> Row:
    """Measures the errors of one prediction; returns the row of `evaluate_examples`.

    `prediction` is (H, W), floats in [0, 1] or uint8.
    """
    matte = read_matte(example.matte)
    trimap = trimap_from_matte(matte) if example.trimap is None else read_trimap(example.trimap)
    try:
        values = all_metrics(prediction, matte, trimap, read_face_mask_of(example))
    except ValueError as error:
        raise EvaluationError(f"{example.stem}: {error}") from None
    height, width = matte.shape
    return {"stem": example.stem, "height": height, "width": width, **values}


def trimap_source(dataset: DataSet) -> str:
    """Describes where the set's trimaps come from, such as "from the data set"."""
    given = sum(example.trimap is not None for example in dataset.examples)
    if given == len(dataset.examples):
        return "from the data set"
    made = "made from the mattes, kernel 25"
    return made if given == 0 else f"from the data set for {given} pictures, otherwise {made}"


class Worst:
    """Collects the `count` examples with the largest SAD, and their predictions.

    Pass it to `evaluate_examples` as `observe`. If there are several processes, each collects only
    its own examples; `together` merges them.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self.entries: list[tuple[float, Example, np.ndarray]] = []  # the worst first

    def __call__(self, example: Example, prediction: np.ndarray, row: Row) -> None:
        """Keeps an example if its SAD is among the largest; makes the object an `Observe`."""
        kept = prediction if prediction.dtype == np.uint8 else prediction.astype(np.float32)
        self.entries.append((float(row["SAD"]), example, kept))
        self._keep_the_worst()

    def together(self) -> "Worst":
        """Merges the worst examples of all processes; every process gets all of them."""
        if distributed.count() > 1:
            packed = [
                (sad, _packed(example, prediction)) for sad, example, prediction in self.entries
            ]
            self.entries = [(sad, *_unpacked(text)) for sad, text in distributed.gather(packed)]
            self._keep_the_worst()
        return self

    def _keep_the_worst(self) -> None:
        self.entries.sort(key=lambda entry: (-entry[0], entry[1].stem))
        del self.entries[self._count :]


def _packed(example: Example, prediction: np.ndarray) -> list:
    parts = {role: getattr(example, role) for role in ("stem", *ROLES)}
    files = {role: str(part) for role, part in parts.items() if part is not None}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, prediction)
    return [files, base64.b64encode(buffer.getvalue()).decode()]


def _unpacked(packed: list) -> tuple[Example, np.ndarray]:
    files, text = packed
    paths: dict[str, Any] = {
        role: path if role == "stem" else Path(path) for role, path in files.items()
    }
    with np.load(io.BytesIO(base64.b64decode(text))) as arrays:
        return Example(**paths), arrays["arr_0"]
