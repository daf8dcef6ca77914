"""The training losses of P3M-Net (ACM MM paper, Section 4.4), as functions of given maps.

Alpha maps are (B, H, W, 1) in [0, 1] and logits (B, H, W, 3). Colour maps are (B, H, W, 3),
normalised like the network's input. Every loss is a float32 scalar.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from p3m_jax.models.ops.precision import mean_over_pixels
from p3m_jax.models.p3m_net import Outputs

_EPSILON = 1e-12  # added under the square roots that replace absolute values
_PYRAMID_LEVELS = 5


class Targets(NamedTuple):
    """The maps that a batch's outputs are compared with.

    Attributes:
      alpha: the matte, (B, H, W, 1) in [0, 1].
      classes: int32 (B, H, W), 0 background, 1 transition, 2 foreground.
      transition: (B, H, W, 1), 1 in the trimap's transition area, else 0.
      picture, foreground, background: (B, H, W, 3) normalised; the last two are None if the
        composition loss is off.
      transition_share: the fraction of transition pixels, for `detail_loss`. None means
        `share_of_transition(transition)`. If these targets are only part of a batch, pass the
        fraction in the whole batch.
    """

    alpha: jax.Array
    classes: jax.Array
    transition: jax.Array
    picture: jax.Array
    foreground: jax.Array | None = None
    background: jax.Array | None = None
    transition_share: jax.Array | None = None


class Weights(NamedTuple):
    """The weight of each loss in the total; the defaults are those of the papers."""

    semantic: float = 1.0
    detail: float = 2.0
    fusion: float = 3.0
    composition: float = 1.0


PUBLISHED_WEIGHTS = Weights()
# A training loss: called with outputs and targets, it returns a scalar, and a dict of named scalars
# for the log, including "total".
Loss = Callable[[Outputs, Targets], tuple[jax.Array, dict[str, jax.Array]]]


def _mean(x: jax.Array) -> jax.Array:
    return jnp.mean(mean_over_pixels(x))


def smooth_absolute(x: jax.Array) -> jax.Array:
    """Returns sqrt(x^2 + 1e-12), a smooth absolute value."""
    return jnp.sqrt(jnp.square(x) + _EPSILON)


def cross_entropy(logits: jax.Array, classes: jax.Array) -> jax.Array:
    """Averages the cross-entropy of logits (B, H, W, 3) and classes (B, H, W) over all pixels."""
    log_probabilities = jax.nn.log_softmax(logits, axis=-1)
    # A one-hot product instead of a gather, whose gradient would be a scatter.
    chosen = jax.nn.one_hot(classes, logits.shape[-1], dtype=logits.dtype)
    return -logits.shape[-1] * _mean(log_probabilities * chosen)


def semantic_losses(outputs: Outputs, classes: jax.Array) -> dict[str, jax.Array]:
    """Computes the cross-entropy of `semantic`, `side2`, `side1` and `side0` in `outputs`.

    The keys are "semantic_entropy", "side2_entropy", "side1_entropy" and "side0_entropy".
    """
    maps = ("semantic", "side2", "side1", "side0")
    return {f"{name}_entropy": cross_entropy(getattr(outputs, name), classes) for name in maps}


def _replicate_edges(x: jax.Array, axis: int) -> jax.Array:
    """Adds two copies of the first and of the last slice along `axis`."""
    # Not jnp.pad: with a sharded batch the gradient of its "edge" mode needs communication.
    first = jax.lax.slice_in_dim(x, 0, 1, axis=axis)
    last = jax.lax.slice_in_dim(x, x.shape[axis] - 1, x.shape[axis], axis=axis)
    return jnp.concatenate([first, first, x, last, last], axis)


def _blur(x: jax.Array) -> jax.Array:
    """Applies the pyramid's 5x5 low-pass filter to (B, H, W, 1), with replicated edges.

    The weight at (i, j) is proportional to g(i) + g(j), where g(x) = exp(-(x - 2)^2 / 2)^2. A
    product would be usual, but the published program has the sum. So the kernel is the sum of two
    separable filters, each with g along one axis and plain sums along the other. Both are computed
    with slices.
    """
    height, width = x.shape[1:3]
    padded = _replicate_edges(_replicate_edges(x, axis=1), axis=2)
    g = np.exp(-np.square(np.arange(5) - 2.0) / 2) ** 2
    weights = g / (10 * g.sum())

    def taps(y: jax.Array, axis: int, size: int) -> list[jax.Array]:
        return [jax.lax.slice_in_dim(y, i, i + size, axis=axis) for i in range(5)]

    def added(values: Iterable[jax.Array]) -> jax.Array:
        return cast(jax.Array, sum(values))  # there are always five

    def weighted(values: list[jax.Array]) -> jax.Array:
        return added(float(weight) * value for weight, value in zip(weights, values, strict=True))

    rows = taps(padded, 1, height)
    along_rows = taps(weighted(rows), 2, width)
    along_columns = taps(added(rows), 2, width)
    return added(along_rows) + weighted(along_columns)


def _halve(x: jax.Array) -> jax.Array:
    """Averages 2x2 pixels into one."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // 2, 2, width // 2, 2, channels)
    return jnp.mean(x, axis=(2, 4))


def laplacian_loss(predicted: jax.Array, target: jax.Array) -> jax.Array:
    """Computes the L1 distance of two maps (B, H, W, 1), summed over a Laplacian pyramid.

    It is the sum of the mean absolute values of five levels and of the last low-pass map. The
    pyramid is linear, so it is built only once, from the difference of the two maps. Sides must be
    multiples of 32.
    """
    difference = predicted - target
    total: jax.Array | float = 0.0
    for _ in range(_PYRAMID_LEVELS):
        low = _blur(difference)
        total += _mean(jnp.abs(difference - low))
        difference = _halve(low)
    return total + _mean(jnp.abs(difference))


def share_of_transition(transition: jax.Array) -> jax.Array:
    """Returns (number of transition pixels + 1) / (number of pixels), which is never zero.

    `transition` (B, H, W, 1) is 1 in the transition area, else 0.
    """
    return _mean(transition) + 1 / transition.size


def detail_loss(detail: jax.Array, targets: Targets) -> tuple[jax.Array, jax.Array]:
    """Computes the losses of the detail alpha in the transition area.

    Returns:
      Two losses: the smooth absolute error, averaged over all pixels and divided by
      `Targets.transition_share`, and the `laplacian_loss`.
    """
    area, share = targets.transition, targets.transition_share
    error = smooth_absolute((detail - targets.alpha) * area)
    # A ratio of two means equals the ratio of the sums over pixels, but keeps more digits.
    alpha = _mean(error) / (share_of_transition(area) if share is None else share)
    return alpha, laplacian_loss(detail * area, targets.alpha * area)


def fusion_loss(fusion: jax.Array, alpha: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Computes the losses of the fused alpha over all pixels.

    Returns:
      Two losses: the mean smooth absolute error, and the `laplacian_loss`.
    """
    return _mean(smooth_absolute(fusion - alpha)), laplacian_loss(fusion, alpha)


def composition_loss(fusion: jax.Array, targets: Targets) -> jax.Array:
    """Computes the distance between the picture and its recomposition with the fused alpha.

    The recomposition is alpha * foreground + (1 - alpha) * background. The distance is summed over
    the three channels and divided by the number of pixels.
    """
    foreground, background = targets.foreground, targets.background
    if foreground is None or background is None:
        raise ValueError("The composition loss needs the foreground and the background.")
    composite = fusion * foreground + (1 - fusion) * background
    return 3 * _mean(smooth_absolute(composite - targets.picture))


@jax.named_scope("losses")
def total_loss(
    outputs: Outputs, targets: Targets, weights: Weights = PUBLISHED_WEIGHTS
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Computes the weighted sum of all losses; returns (sum, losses).

    `losses` is a dict for the log: the sum as "total", and every loss before weighting.

    With the default weights the sum is semantic + 2 detail + 3 fusion + composition. The semantic
    loss is (side2_entropy + side1_entropy + side0_entropy + 3 semantic_entropy) / 6, where
    `semantic_losses` computes the four entropies. The detail loss is the sum of the two values of
    `detail_loss`, and the fusion loss is the sum of the two values of `fusion_loss`. The
    composition loss is left out if `targets` has no foreground and background.
    """
    terms = semantic_losses(outputs, targets.classes)
    sides = terms["side2_entropy"] + terms["side1_entropy"] + terms["side0_entropy"]
    terms["detail_alpha"], terms["detail_laplacian"] = detail_loss(outputs.detail, targets)
    terms["fusion_alpha"], terms["fusion_laplacian"] = fusion_loss(outputs.fusion, targets.alpha)
    total = (
        weights.semantic * (sides + 3 * terms["semantic_entropy"]) / 6
        + weights.detail * (terms["detail_alpha"] + terms["detail_laplacian"])
        + weights.fusion * (terms["fusion_alpha"] + terms["fusion_laplacian"])
    )
    if targets.foreground is not None:
        terms["composition"] = composition_loss(outputs.fusion, targets)
        total = total + weights.composition * terms["composition"]
    return total, {"total": total, **terms}
