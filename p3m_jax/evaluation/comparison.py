"""How the four PPT protocols differ: questions, and the tests that answer them."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from p3m_jax.evaluation.evaluator import Row
from p3m_jax.evaluation.metrics import METRICS, PRIVACY_METRICS
from p3m_jax.evaluation.summary import RESAMPLES, SMALLEST_SAMPLE, Estimate, summarise

SIGNIFICANCE = 0.05  # of all comparisons together
# Measures of equal mattes are equal up to this share: OpenCV sums in an order that depends on where
# arrays lie in memory.
ROUNDING = 1e-7


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
    enough = len(next(iter(rows.values()))) >= SMALLEST_SAMPLE
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
