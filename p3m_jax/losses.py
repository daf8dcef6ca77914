"""The training losses of P3M-Net (ACM MM paper, Section 4.4), as functions of given maps.

Alpha maps are (B, H, W, 1) in [0, 1], logits (B, H, W, 3), colour maps (B, H, W, 3) normalised as
the network's input is. Every loss is a float32 scalar.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from p3m_jax.models.layers import mean_over_pixels
from p3m_jax.models.p3m_net import Outputs

_EPSILON = 1e-12  # under the square roots that stand for absolute values
_PYRAMID_LEVELS = 5


class Targets(NamedTuple):
    """What a batch is held against.

    Attributes:
      alpha: the matte, (B, H, W, 1) in [0, 1].
      classes: int32 (B, H, W), 0 background, 1 transition, 2 foreground.
      transition: (B, H, W, 1), 1 in the trimap's transition area, else 0.
      picture, foreground, background: (B, H, W, 3) normalised; the last two are None where the
        composition loss is off.
      transition_share: what the detail's alpha error is divided by, `share_of_transition`; of the
        whole batch, where this is a part of one.
    """

    alpha: jax.Array
    classes: jax.Array
    transition: jax.Array
    picture: jax.Array
    foreground: jax.Array | None = None
    background: jax.Array | None = None
    transition_share: jax.Array | None = None


def _mean(x: jax.Array) -> jax.Array:
    return jnp.mean(mean_over_pixels(x))


def smooth_absolute(x: jax.Array) -> jax.Array:
    """sqrt(x^2 + 1e-12)."""
    return jnp.sqrt(jnp.square(x) + _EPSILON)


def cross_entropy(logits: jax.Array, classes: jax.Array) -> jax.Array:
    """Mean cross-entropy over all pixels, of logits (B, H, W, 3) against classes (B, H, W)."""
    log_probabilities = jax.nn.log_softmax(logits, axis=-1)
    # A select over three classes, not a gather, whose gradient would be a scatter.
    chosen = jax.nn.one_hot(classes, logits.shape[-1], dtype=logits.dtype)
    return -logits.shape[-1] * _mean(log_probabilities * chosen)


def semantic_losses(outputs: Outputs, classes: jax.Array) -> dict[str, jax.Array]:
    """The cross-entropies of the semantic decoder's logits and of its three side logits."""
    maps = ("semantic", "side2", "side1", "side0")
    return {f"{name}_entropy": cross_entropy(getattr(outputs, name), classes) for name in maps}


def _replicate_edges(x: jax.Array, axis: int) -> jax.Array:
    """Two more copies of the first and of the last slice along `axis`."""
    # Not jnp.pad: the gradient of its "edge" mode talks across devices when the batch is sharded.
    first = jax.lax.slice_in_dim(x, 0, 1, axis=axis)
    last = jax.lax.slice_in_dim(x, x.shape[axis] - 1, x.shape[axis], axis=axis)
    return jnp.concatenate([first, first, x, last, last], axis)


def _blur(x: jax.Array) -> jax.Array:
    """The pyramid's 5x5 low-pass on (B, H, W, 1), edges replicated.

    The kernel is proportional to g(i) + g(j), g(x) = exp(-(x - 2)^2 / 2)^2: a sum where one
    expects a product, but so it is in the published program. It is therefore two separable
    filters, g along one axis and plain sums along the other, all slices.
    """
    height, width = x.shape[1:3]
    padded = _replicate_edges(_replicate_edges(x, axis=1), axis=2)
    g = np.exp(-np.square(np.arange(5) - 2.0) / 2) ** 2
    weights = g / (10 * g.sum())

    def taps(y, axis, size):
        return [jax.lax.slice_in_dim(y, i, i + size, axis=axis) for i in range(5)]

    def weighted(values):
        return sum(float(weight) * value for weight, value in zip(weights, values, strict=True))

    rows = taps(padded, 1, height)
    along_rows = taps(weighted(rows), 2, width)
    along_columns = taps(sum(rows), 2, width)
    return sum(along_rows) + weighted(along_columns)


def _halve(x: jax.Array) -> jax.Array:
    """2x2 average pooling."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // 2, 2, width // 2, 2, channels)
    return jnp.mean(x, axis=(2, 4))


def laplacian_loss(predicted: jax.Array, target: jax.Array) -> jax.Array:
    """L1 means of the five levels of a Laplacian pyramid and of the last low-pass, summed.

    The pyramid is linear, so it is built once, of the difference. Sides must be multiples of 32.
    """
    difference = predicted - target
    total = 0.0
    for _ in range(_PYRAMID_LEVELS):
        low = _blur(difference)
        total += _mean(jnp.abs(difference - low))
        difference = _halve(low)
    return total + _mean(jnp.abs(difference))


def share_of_transition(transition: jax.Array) -> jax.Array:
    """The share of pixels that a batch (B, H, W, 1) has in the transition area, and of one more."""
    return _mean(transition) + 1 / transition.size


def detail_loss(detail: jax.Array, targets: Targets) -> tuple[jax.Array, jax.Array]:
    """The alpha and the Laplacian loss of the detail decoder, in the transition area alone."""
    area, share = targets.transition, targets.transition_share
    error = smooth_absolute((detail - targets.alpha) * area)
    # Sums over pixels, as means times their number, which keeps more digits.
    alpha = _mean(error) / (share_of_transition(area) if share is None else share)
    return alpha, laplacian_loss(detail * area, targets.alpha * area)


def fusion_loss(fusion: jax.Array, alpha: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The alpha and the Laplacian loss of the fused alpha, over all pixels."""
    return _mean(smooth_absolute(fusion - alpha)), laplacian_loss(fusion, alpha)


def composition_loss(fusion: jax.Array, targets: Targets) -> jax.Array:
    """Distance between the picture and what foreground and background give with this alpha.

    Summed over the three channels, over the number of pixels.
    """
    composite = fusion * targets.foreground + (1 - fusion) * targets.background
    return 3 * _mean(smooth_absolute(composite - targets.picture))


@jax.named_scope("losses")
def total_loss(outputs: Outputs, targets: Targets) -> tuple[jax.Array, dict[str, jax.Array]]:
    """semantic + 2 detail + 3 fusion + composition, and the terms by name.

    semantic = (the three sides' entropies + 3 times the semantic decoder's) / 6, detail and
    fusion are the sums of their alpha and Laplacian losses.
    Without foreground and background in `targets` the composition loss is left out.
    """
    terms = semantic_losses(outputs, targets.classes)
    sides = terms["side2_entropy"] + terms["side1_entropy"] + terms["side0_entropy"]
    terms["detail_alpha"], terms["detail_laplacian"] = detail_loss(outputs.detail, targets)
    terms["fusion_alpha"], terms["fusion_laplacian"] = fusion_loss(outputs.fusion, targets.alpha)
    total = (
        (sides + 3 * terms["semantic_entropy"]) / 6
        + 2 * (terms["detail_alpha"] + terms["detail_laplacian"])
        + 3 * (terms["fusion_alpha"] + terms["fusion_laplacian"])
    )
    if targets.foreground is not None:
        terms["composition"] = composition_loss(outputs.fusion, targets)
        total = total + terms["composition"]
    return total, {"total": total, **terms}
