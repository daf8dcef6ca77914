"""The four protocols of privacy-preserving training (PPT): what is matted, scored and compared.

Two networks, one trained on pictures with blurred faces (B), one on normal ones (N), matte the same
people twice, with blurred and with normal faces. A protocol is TRAINED:TESTED, such as "B:N" (Li et
al., "Privacy-Preserving Portrait Matting", 2021).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from p3m_jax.data.folders import name_some
from p3m_jax.data.layouts import DataSet, Example
from p3m_jax.evaluation.evaluator import EvaluationError, Observe, Row, _score_all
from p3m_jax.evaluation.inference import Predict, matte_picture
from p3m_jax.evaluation.metrics import METRICS, PRIVACY_METRICS
from p3m_jax.evaluation.protocols import Protocol
from p3m_jax.evaluation.summary import RESAMPLES, SMALLEST_SAMPLE, Estimate, summarise
from p3m_jax.faces.finding import FaceFinder
from p3m_jax.faces.obfuscation import Obfuscation, obfuscate
from p3m_jax.faces.region import label_map, labels_of_mask, without_transition
from p3m_jax.images import read_matte, read_picture

BLURRED, NORMAL = "B", "N"
PROTOCOLS = ("B:B", "B:N", "N:B", "N:N")  # trained:tested
SIGNIFICANCE = 0.05  # of all comparisons together
# Measures of equal mattes are equal up to this share: OpenCV sums in an order that depends on where
# arrays lie in memory.
ROUNDING = 1e-7

Read = Callable[[Example], np.ndarray]  # gives the picture of an example, uint8 (H, W, 3)


# --- pictures --------------------------------------------------------------------------------


class Pictures(NamedTuple):
    """What networks are tested on: a data set, and how its pictures are read."""

    dataset: DataSet
    read: Read = lambda example: read_picture(example.picture)


class PrivateAreas(NamedTuple):
    """Where the faces of a set are.

    Attributes:
      polygons: of the pictures without a face mask, by stem; float32 (N, 2) each, pixels.
      without: stems of the pictures in which nothing is private by their face masks.
    """

    polygons: dict[str, list[np.ndarray]]
    without: tuple[str, ...]

    def labels(self, example: Example, matte: np.ndarray) -> np.ndarray:
        """The label map uint8 (H, W) of what is private, without the matte's transition area."""
        if example.facemask is not None:
            labels = labels_of_mask(read_matte(example.facemask))
        else:
            labels = label_map(self.polygons[example.stem], matte.shape)
        return without_transition(labels, matte)


def find_private_areas(dataset: DataSet, *, workers: int = 2, finder=None) -> PrivateAreas:
    """The private areas of a set's pictures: from face masks, where there are none by searching.

    Args:
      dataset: its pictures show normal faces; files have their mattes' sizes.
      workers: threads.
      finder: finds faces as `FaceFinder`, the default, does.

    Raises:
      EvaluationError: there are pictures without a face mask in which no face is found for sure,
        or no picture shows anything private.
      FaceWeightsError: faces must be searched for, and the weights are not installed.
    """
    from tqdm import tqdm

    areas = PrivateAreas({}, ())
    searched = [example for example in dataset.examples if example.facemask is None]
    if searched and finder is None:
        finder = FaceFinder()

    def look(example):
        sure = True
        if example.facemask is None:
            faces = finder(read_picture(example.picture))
            # Doubtful ones beside a sure one are obfuscated, too.
            areas.polygons[example.stem] = [face.polygon for face in faces]
            sure = any(not face.doubts for face in faces)
        return sure, areas.labels(example, read_matte(example.matte)).any()

    with ThreadPoolExecutor(max(1, workers)) as pool:
        bar = {"desc": "Looking for faces", "unit": "picture", "total": len(dataset.examples)}
        looked = tqdm(pool.map(look, dataset.examples), **bar)
        looks = dict(zip(dataset.examples, looked, strict=True))
    missed = [e.stem for e in searched if not all(looks[e])]
    if missed:
        raise EvaluationError(
            f"{dataset.root}: cannot obfuscate {name_some(missed)}: no face mask is there, and no "
            "face was found for sure; name a folder of face masks with --facemasks (an all-black "
            "mask says that no face is there)."
        )
    bare = tuple(e.stem for e, (_, private) in looks.items() if not private)
    if len(bare) == len(dataset.examples):
        raise EvaluationError(
            f"{dataset.root}: no face mask shows a face, so blurred and normal pictures would be "
            "the same; name other pictures or face masks."
        )
    return areas._replace(without=bare)


def obfuscating(areas: PrivateAreas, obfuscation: Obfuscation) -> Read:
    """Reads pictures with normal faces and obfuscates these in memory."""

    def read(example):
        labels = areas.labels(example, read_matte(example.matte))
        return obfuscate(read_picture(example.picture), labels, obfuscation)

    return read


# --- scores ----------------------------------------------------------------------------------


def evaluate_protocols(
    networks: Mapping[str, tuple[str, Predict]],
    tested: Mapping[str, Pictures],
    *,
    strategy: str,
    protocol: Protocol,
    workers: int = 2,
    progress: bool = True,
    observe: Callable[[str], Observe | None] = lambda name: None,
) -> dict[str, list[Row]]:
    """The rows of each of `PROTOCOLS`, as `evaluate_examples` gives them.

    Args:
      networks: name ("swin") and maps of the networks trained on `BLURRED` and on `NORMAL`.
      tested: the pictures with `BLURRED` and with `NORMAL` faces; their sizes were checked.
      strategy, protocol, workers, progress: as there.
      observe: gives for a protocol of `PROTOCOLS` what observes its pictures.
    """
    rows = {}
    for name in PROTOCOLS:
        trained, faces = name.split(":")
        model_name, predict = networks[trained]
        dataset, read = tested[faces]
        # As in `evaluate_examples`, which cannot be told how to read pictures.
        small = model_name == "swin" and dataset.name == "RealWorldPortrait-636"
        smallest_side = protocol.smallest_swin_side if small else None

        def source(example, predict=predict, read=read, smallest_side=smallest_side):
            try:
                alpha = matte_picture(
                    predict,
                    read(example),
                    strategy=strategy,
                    protocol=protocol,
                    smallest_side=smallest_side,
                )
            except ValueError as error:
                raise EvaluationError(f"{example.picture}: {error}") from None
            return protocol.scored(alpha)

        title = f"{name} {strategy}"
        rows[name] = _score_all(source, dataset, title, workers, progress, observe(name))
    return rows


# --- comparisons -----------------------------------------------------------------------------


class Question(NamedTuple):
    """What the difference of two protocols, `one` - `other`, answers."""

    one: str
    other: str
    asks: str
    more: str  # what it means where `one` has the larger errors
    less: str


QUESTIONS = (
    Question(
        "B:N",
        "B:B",
        "What do normal faces cost a network that was trained on blurred ones?",
        "the network trained on blurred faces errs more on normal faces than on blurred ones",
        "the network trained on blurred faces errs less on normal faces than on blurred ones",
    ),
    Question(
        "B:N",
        "N:N",
        "What does training on blurred faces cost where faces are normal?",
        "on normal faces the network trained on blurred ones errs more than the one trained on "
        "normal ones",
        "on normal faces the network trained on blurred ones errs less than the one trained on "
        "normal ones",
    ),
    Question(
        "N:B",
        "N:N",
        "What do blurred faces cost a network that was trained on normal ones?",
        "the network trained on normal faces errs more on blurred faces than on normal ones",
        "the network trained on normal faces errs less on blurred faces than on normal ones",
    ),
)


class Comparison(NamedTuple):
    """The answer to a `Question`.

    Attributes:
      question: asked.
      differences: the mean paired difference per picture of every measure, with intervals as
        `summarise` gives them (the same pictures are drawn for both protocols).
      p: of SAD, by `sign_flip_p`; None below 30 pictures.
      p_holm: the same, corrected for all questions by `holm`.
    """

    question: Question
    differences: dict[str, Estimate]
    p: float | None
    p_holm: float | None

    @property
    def verdict(self) -> str:
        """ "real", "not shown", or why neither is said; with the answer in words."""
        sad = self.differences["SAD"]
        if self.p_holm is None:
            return (
                f"not judged: of {sad.pictures} pictures, fewer than {SMALLEST_SAMPLE}, no "
                "significance is claimed."
            )
        if self.p_holm >= SIGNIFICANCE:
            return "not shown: a difference as large as this can come about by chance."
        return f"real: {self.question.more if sad.mean > 0 else self.question.less}."


def compare(rows: Mapping[str, Sequence[Row]], *, seed: int = 0) -> list[Comparison]:
    """The answers to `QUESTIONS` from rows by protocol, whose pictures are in the same order.

    A pure function of rows and seed.
    """
    answers = []
    enough = len(rows[PROTOCOLS[0]]) >= SMALLEST_SAMPLE
    for question in QUESTIONS:
        pairs = zip(rows[question.one], rows[question.other], strict=True)
        differences = [
            {
                name: _difference(one[name], other[name])
                for name in METRICS + PRIVACY_METRICS
                if name in one
            }
            for one, other in pairs
        ]
        p = sign_flip_p([row["SAD"] for row in differences], seed=seed)
        answers.append((question, summarise(differences, seed=seed), p))
    corrected = holm([p for *_, p in answers])
    return [
        Comparison(question, differences, p if enough else None, p_holm if enough else None)
        for (question, differences, p), p_holm in zip(answers, corrected, strict=True)
    ]


def _difference(one: float, other: float) -> float:
    # What rounding leaves between equal mattes would be tested like any difference.
    return 0.0 if math.isclose(one, other, rel_tol=ROUNDING) else one - other


def sign_flip_p(differences: Sequence[float], *, seed: int = 0) -> float:
    """The two-sided p of a paired permutation test of the mean difference.

    If there is none, each pair might as well be the other way round: the p is the share of flips of
    signs whose mean is as far from 0 as the observed one. All of them where that takes no more than
    10,000 (up to 13 pairs that differ), else as many are drawn, and the observed one is counted
    among them (Phipson, Smyth, "Permutation p-values should never be zero", 2010).
    """
    values = np.asarray(differences, np.float64)
    values = values[values != 0]  # whose sign makes no difference
    count = len(values)
    observed = abs(values.sum()) - ROUNDING * np.abs(values).sum()
    if 2**count <= RESAMPLES:
        flips = (np.arange(2**count)[:, None] >> np.arange(count)) & 1
        return float((np.abs((1 - 2 * flips) @ values) >= observed).mean())
    rng = np.random.default_rng(seed)
    flips = rng.integers(0, 2, (RESAMPLES, count), np.int8)
    extreme = np.abs((1 - 2 * flips) @ values) >= observed
    return float((1 + extreme.sum()) / (1 + RESAMPLES))


def holm(ps: Sequence[float]) -> list[float]:
    """The p-values of several tests, corrected for there being several (Holm, 1979)."""
    corrected, largest = [0.0] * len(ps), 0.0
    for rank, index in enumerate(np.argsort(ps, kind="stable")):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[index]))
        corrected[index] = largest
    return corrected
