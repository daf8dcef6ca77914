"""Bilinear upsampling by an integer factor."""

from collections.abc import Iterable
from functools import partial
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np

from p3m_jax.models.ops.precision import at_least_float32


def upsample(x: jax.Array, factor: int) -> jax.Array:
    """Upsamples (B, h, w, C) bilinearly to (B, rh, rw, C), where r is the factor.

    Pixel centres are at i + 0.5, and edges are clamped. Every output row is a weighted sum of two
    neighbouring input rows, and the weights depend only on the row's index modulo the factor. So
    the rows are computed as a sum of shifted maps times constants, without a gather. Columns are
    computed in the same way.
    """
    return _upsample_axis(_upsample_axis(x, factor, 1), factor, 2)


@partial(jax.custom_vjp, nondiff_argnums=(1, 2))
@jax.named_scope("upsample")
def _upsample_axis(x: jax.Array, factor: int, axis: int) -> jax.Array:
    size = x.shape[axis]

    def weighted(shift: int, weights: np.ndarray) -> jax.Array:
        neighbour = jnp.expand_dims(_shifted(x, shift, axis), axis + 1)
        weights = weights.reshape(*weights.shape, *[1] * (x.ndim - 1 - axis))
        return neighbour * jnp.asarray(weights, x.dtype)

    blended = _sum(weighted(*tap) for tap in _taps(size, factor))
    return blended.reshape(*x.shape[:axis], size * factor, *x.shape[axis + 1 :])


def _upsample_axis_forward(x: jax.Array, factor: int, axis: int) -> tuple[jax.Array, None]:
    return _upsample_axis(x, factor, axis), None


@jax.named_scope("upsample")
def _upsample_axis_backward(
    factor: int, axis: int, _: None, gradient: jax.Array
) -> tuple[jax.Array]:
    # A sum of slices: for a sum over the axis of phases XLA:CPU stores each weight as a full map.
    shape = list(gradient.shape)
    size = shape[axis] // factor
    shape[axis : axis + 1] = size, factor
    phases = jnp.moveaxis(at_least_float32(gradient).reshape(shape), axis + 1, 0)

    def weighted(shift: int, weights: np.ndarray) -> jax.Array:
        columns = weights.T.reshape(factor, -1, *[1] * (gradient.ndim - 1 - axis))
        used = [phase for phase in range(factor) if columns[phase].any()]
        total = _sum(phases[i] * jnp.asarray(columns[i], phases.dtype) for i in used)
        return _shifted(total, -shift, axis)

    return (_sum(weighted(*tap) for tap in _taps(size, factor)).astype(gradient.dtype),)


_upsample_axis.defvjp(_upsample_axis_forward, _upsample_axis_backward)


def _sum(maps: Iterable[jax.Array]) -> jax.Array:
    return cast(jax.Array, sum(maps))  # there is always at least one


def _taps(size: int, factor: int) -> list[tuple[int, np.ndarray]]:
    """Returns [(shift, weights)] of the input rows that an output row blends.

    These are its own input row (shift 0), the row before (1) and the row after (-1). The weights
    are (size or 1, factor). At an edge, the own row replaces the missing one.
    """
    distance = (np.arange(factor) + 0.5) / factor - 0.5  # from the nearest input's centre
    before, after = np.maximum(-distance, 0)[None], np.maximum(distance, 0)[None]
    own = np.tile(1 - np.abs(distance), (size, 1))
    own[0] += before[0]
    own[-1] += after[0]
    taps = [(1, before), (0, own), (-1, after)]
    return [(shift, weights) for shift, weights in taps if weights.any()]


def _shifted(x: jax.Array, by: int, axis: int) -> jax.Array:
    """Returns y with y[i] = x[i - by] along the axis, and 0 outside."""
    padding = [(0, 0, 0)] * x.ndim
    padding[axis] = (by, -by, 0)
    return jax.lax.pad(x, jnp.zeros((), x.dtype), padding) if by else x
