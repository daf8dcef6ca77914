"""Evaluating a set: a matte predicted (or read) for every picture, and its errors.

While the network runs on one picture, threads score the ones before it.
"""

import base64
import io
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from p3m_jax.data.folders import list_folder, user_path
from p3m_jax.data.layouts import ROLES, Example
from p3m_jax.errors import UserError
from p3m_jax.evaluation.metrics import all_metrics
from p3m_jax.inference.resizing import Protocol, find_protocol
from p3m_jax.inference.strategies import Predict, matte_picture
from p3m_jax.pictures.images import ImageError, largest_pixels, picture_size, read_picture
from p3m_jax.pictures.labels import read_face_mask, read_matte, read_prediction, read_trimap
from p3m_jax.pictures.trimap import trimap_from_matte
from p3m_jax.runtime import distributed
from p3m_jax.runtime.machine import Budget, default_memory

Row = dict[str, str | int | float]  # stem, height, width, and the measures by name
# Called in the set's order with the example, what was scored of it, and its row.
Observe = Callable[[object, np.ndarray, Row], None]
# Bytes per pixel, measured: of a matte and a trimap that are read, and of all that scoring takes.
_AT_READING, _AT_SCORING = 8, 36
Read = Callable[[Example], np.ndarray]  # gives the picture of an example, uint8 (H, W, 3)


class EvaluationError(UserError):
    """An evaluation that cannot be done; the message names every file that is in the way."""


def read_as_is(example: Example) -> np.ndarray:
    """The picture of an example as its file shows it; a `Read`."""
    return read_picture(example.picture)


def evaluate_examples(
    predict: Predict,
    dataset,
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
    """The errors of a network on every example of a `DataSet`, one row each, in its order.

    `predict` as in `p3m_jax.inference.strategies`. Trimaps and face masks are the set's where it
    has them; else the trimap is made from the matte, and the privacy measures are left out.
    `model_name` ("swin") makes the protocol's rule for small pictures apply. `read` gives what the
    network sees, `title` names it beside the bar (default: the strategy). Raises
    `EvaluationError` before anything is computed if files do not fit, unless they were `checked`.
    """
    protocol = find_protocol(protocol)
    if not checked:
        check_files(dataset, workers=workers)
    smallest_side = None
    if model_name == "swin" and dataset.name == "RealWorldPortrait-636":
        smallest_side = protocol.smallest_swin_side

    def source(example):
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
    folder,
    dataset,
    *,
    workers: int = 2,
    progress: bool = True,
    observe: Observe | None = None,
    checked: bool = False,
) -> list[Row]:
    """The errors of mattes that any program has written into `folder`, as `evaluate_examples`.

    Files belong to the examples of the same stem; others are ignored. Raises `EvaluationError`
    before anything is computed, naming every prediction that is missing, there twice, or of the
    wrong size, unless they were `checked`.
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


def find_predictions(folder, dataset) -> dict[str, Path]:
    """The prediction file of every stem in the set; `EvaluationError` lists what is in the way."""
    folder = user_path(folder)
    if not folder.is_dir():
        raise EvaluationError(f"{folder}: there is no such folder; name the folder of predictions.")
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
    dataset, predictions: dict[str, Path] | None = None, *, workers: int = 2
) -> list[str]:
    """Reads all label files of a set and compares all files with their mattes' sizes.

    Nothing is scored against a trimap or matte that means something else. Returns warnings, one
    sentence a kind. Raises `EvaluationError` that lists every file that cannot be used.
    """
    if not dataset.examples:
        raise EvaluationError(f"{dataset.name}: the set is empty; add pictures.")
    budget = Budget(default_memory(), max(1, workers))

    def look(example):
        with budget.held(_AT_READING * largest_pixels([example.matte])):
            return _check(example, predictions)

    with ThreadPoolExecutor(max(1, workers)) as pool:
        looks = list(pool.map(look, dataset.examples))
    problems = [problem for found, _ in looks for problem in found]
    if problems:
        _refuse(
            f"{dataset.name}: {len(problems)} files cannot be compared with mattes; replace them:",
            problems,
        )
    kinds = Counter(warning for _, warnings in looks for warning in warnings)
    return [f"{warning} ({count} files)." for warning, count in kinds.items()]


def _check(example, predictions) -> tuple[list[str], list[str]]:
    """The problems of one example and the warnings about it."""
    problems, warnings = [], []
    try:
        expected = read_matte(example.matte, warnings.append).shape
    except ImageError as error:
        return [str(error)], []
    for path, size_of in _files(example, predictions, warnings.append):
        try:
            size = size_of(path)
        except ImageError as error:
            problems.append(str(error))
            continue
        if size != expected:
            sizes = *size[::-1], *expected[::-1]
            problems.append("{}: {} x {}, its matte {} x {}".format(path, *sizes))
    return problems, warnings


def _files(example, predictions, warn) -> Iterator[tuple[Path, Callable]]:
    """What must have the matte's size, and what reads the file's; pictures only if matted."""
    if predictions is None:
        yield example.picture, picture_size
    else:
        yield predictions[example.stem], lambda path: read_prediction(path, warn).shape
    if example.trimap is not None:
        yield example.trimap, lambda path: read_trimap(path).shape
    if example.facemask is not None:
        yield example.facemask, lambda path: _face_mask(example).shape


def _face_mask(example) -> np.ndarray | None:
    if example.facemask is None:
        return None
    return read_face_mask(example.facemask, several_channels=example.published)


def _refuse(sentence: str, files: list[str]):
    raise EvaluationError(sentence, *(f"  {file}" for file in files))


def _score_all(source, dataset, title, workers, progress, observe) -> list[Row]:
    from tqdm import tqdm

    rows, pending = [], deque()
    examples = distributed.share(dataset.examples)
    budget = Budget(default_memory() // 2, max(1, workers) + 1)  # the network needs some, too

    def finish():
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
            # Not more in memory than the threads have to do, and than there is.
            amount = _AT_SCORING * largest_pixels([example.matte])
            while not budget.try_take(amount):
                finish()
            prediction = source(example)
            pending.append((example, prediction, pool.submit(score, example, prediction), amount))
        while pending:
            finish()
    return distributed.in_order(distributed.gather(rows))


def score(example, prediction: np.ndarray) -> Row:
    """The row of one prediction, (H, W) in [0, 1] or uint8, against the example's files."""
    matte = read_matte(example.matte)
    trimap = trimap_from_matte(matte) if example.trimap is None else read_trimap(example.trimap)
    try:
        values = all_metrics(prediction, matte, trimap, _face_mask(example))
    except ValueError as error:
        raise EvaluationError(f"{example.stem}: {error}") from None
    height, width = matte.shape
    return {"stem": example.stem, "height": height, "width": width, **values}


def trimap_source(dataset) -> str:
    """Where the trimaps of an evaluation come from, for reports."""
    given = sum(example.trimap is not None for example in dataset.examples)
    if given == len(dataset.examples):
        return "of the data set"
    made = "made from the mattes, kernel 25"
    return made if given == 0 else f"of the data set for {given} pictures, else {made}"


class Worst:
    """Keeps the examples with the largest SAD and their predictions, to be looked at.

    Of several processes each sees its share; `together` makes them one.
    """

    def __init__(self, count: int):
        self._count = count
        self.entries: list[tuple[float, object, np.ndarray]] = []  # the worst first

    def __call__(self, example, prediction: np.ndarray, row: Row) -> None:
        """Takes note of one picture; an `Observe`."""
        kept = prediction if prediction.dtype == np.uint8 else prediction.astype(np.float32)
        self.entries.append((row["SAD"], example, kept))
        self._keep_the_worst()

    def together(self) -> "Worst":
        """The worst of all processes, in each of them."""
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
    paths = {role: path if role == "stem" else Path(path) for role, path in files.items()}
    with np.load(io.BytesIO(base64.b64decode(text))) as arrays:
        return Example(**paths), arrays["arr_0"]
