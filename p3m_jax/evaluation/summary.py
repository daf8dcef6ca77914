"""Computes the mean of each measure over all pictures, with a confidence interval."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from p3m_jax.evaluation.metrics import METRICS, PRIVACY_METRICS

RESAMPLES = 10_000
SMALLEST_SAMPLE = 30  # pictures; from fewer, the width of an interval would not be reliable
_CHUNK = 1000


class Estimate(NamedTuple):
    """The mean of one measure over the pictures, and its 95 % interval.

    Attributes:
      mean: the mean over the pictures that have the measure.
      low, high: the ends of the interval; None if fewer than 30 pictures have the measure.
      pictures: the number of pictures that have the measure.
    """

    mean: float
    low: float | None
    high: float | None
    pictures: int


def summarise(rows: Sequence[dict], *, seed: int = 0) -> dict[str, Estimate]:
    """Computes the mean of every measure in `rows`, with a percentile bootstrap over pictures.

    It draws 10,000 resamples with replacement, the same ones for all measures. The result depends
    only on the rows and the seed. A picture without a measure (NaN or absent) is ignored for that
    measure. A measure that no picture has is left out.
    """
    names = [n for n in METRICS + PRIVACY_METRICS if any(n in row for row in rows)]
    values = np.array([[row.get(name, np.nan) for name in names] for row in rows], np.float64)
    known = np.isfinite(values)
    totals, counts = np.where(known, values, 0), known.astype(np.float64)
    enough = known.sum(axis=0) >= SMALLEST_SAMPLE
    low, high = np.full((2, len(names)), np.nan)
    if enough.any():
        means = _resampled_means(totals, counts, np.random.default_rng(seed))
        low[enough], high[enough] = np.nanpercentile(means[:, enough], [2.5, 97.5], axis=0)
    return {
        name: Estimate(
            mean=float(totals[:, i].sum() / counts[:, i].sum()),
            low=float(low[i]) if enough[i] else None,
            high=float(high[i]) if enough[i] else None,
            pictures=int(known[:, i].sum()),
        )
        for i, name in enumerate(names)
        if known[:, i].any()
    }


def _resampled_means(
    totals: np.ndarray, counts: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Computes means (RESAMPLES, measures) over pictures that are drawn with replacement."""
    size = len(totals)
    means = []
    for _ in range(RESAMPLES // _CHUNK):
        drawn = rng.multinomial(size, np.full(size, 1 / size), size=_CHUNK).astype(np.float64)
        with np.errstate(invalid="ignore"):
            means.append((drawn @ totals) / (drawn @ counts))
    return np.concatenate(means)
