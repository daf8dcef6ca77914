"""Compares the four protocols of privacy-preserving training (PPT) with statistical tests."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from p3m_jax.evaluation.evaluator import Row
from p3m_jax.evaluation.metrics import METRICS, PRIVACY_METRICS
from p3m_jax.evaluation.summary import RESAMPLES, SMALLEST_SAMPLE, Estimate, summarise

SIGNIFICANCE = 0.05  # for all comparisons together
# Relative difference up to which measures count as equal. The measures of equal mattes may differ
# that much, because the order in which OpenCV sums depends on the arrays' memory addresses.
ROUNDING = 1e-7


class Question(NamedTuple):
    """A question that is answered by comparing the errors of two protocols.

    Attributes:
      one, other: the two protocols, such as "B:N"; the difference is `one` - `other`.
      asks: the question in words.
      more: the answer if `one` has the larger errors.
      less: the answer if `one` has the smaller errors.
    """

    one: str
    other: str
    asks: str
    more: str
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
      question: the question.
      differences: for each measure by name, the difference between the two protocols: its mean over
        the pictures and the mean's 95 % interval.
      p: the p-value of the difference in SAD, from `sign_flip_p`; None for fewer than 30 pictures.
      p_holm: `p`, corrected by `holm` for the number of questions; None if `p` is None.
    """

    question: Question
    differences: dict[str, Estimate]
    p: float | None
    p_holm: float | None

    @property
    def verdict(self) -> str:
        """The verdict ("real", "not shown" or "not judged") with its explanation."""
        sad = self.differences["SAD"]
        if self.p_holm is None:
            return (
                f"not judged: {sad.pictures} pictures are too few to test significance; at least "
                f"{SMALLEST_SAMPLE} are needed."
            )
        if self.p_holm >= SIGNIFICANCE:
            return "not shown: a difference as large as this can occur by chance."
        return f"real: {self.question.more if sad.mean > 0 else self.question.less}."


def compare(rows: Mapping[str, Sequence[Row]], *, seed: int = 0) -> list[Comparison]:
    """Answers each of `QUESTIONS` by comparing the errors of two protocols.

    The result depends only on the rows and the seed.

    Args:
      rows: {protocol: rows}, with one row of errors per picture, as `evaluate_examples` returns
        them. All protocols must have the same pictures in the same order.
      seed: for the random draws of the statistics.
    """
    answers = []
    enough = len(next(iter(rows.values()))) >= SMALLEST_SAMPLE
    for question in QUESTIONS:
        pairs = zip(rows[question.one], rows[question.other], strict=True)
        differences = [
            {
                name: _difference(float(one[name]), float(other[name]))
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
    # Rounding differences between equal mattes must not be tested like real differences.
    return 0.0 if math.isclose(one, other, rel_tol=ROUNDING) else one - other


def sign_flip_p(differences: Sequence[float], *, seed: int = 0) -> float:
    """Returns the two-sided p-value of a paired permutation test of the mean difference.

    If there is no real effect, each difference is equally likely to have the opposite sign. So p is
    the fraction of all combinations of signs whose mean is at least as far from 0 as the observed
    mean. All combinations are tried if at most 13 differences are not 0, that is, if there are at
    most 10,000 combinations. Otherwise 10,000 combinations are drawn at random, and the observed
    one is added to them (Phipson, Smyth, "Permutation p-values should never be zero", 2010).
    """
    values = np.asarray(differences, np.float64)
    values = values[values != 0]  # flipping the sign of 0 changes nothing
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
    """Corrects the p-values of several tests for the number of tests (Holm, 1979)."""
    corrected, largest = [0.0] * len(ps), 0.0
    for rank, index in enumerate(np.argsort(ps, kind="stable")):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[index]))
        corrected[index] = largest
    return corrected
