"""Bilinear upsampling by a whole factor."""

import jax
import jax.numpy as jnp
import numpy as np


@jax.named_scope("upsample")
def upsample(x: jax.Array, factor: int) -> jax.Array:
    """Bilinear upsampling, half-pixel centred, edges clamped: (B, h, w, C) -> (B, rh, rw, C).

    Every output row is a blend of two neighbouring input rows with weights that depend on its
    phase (row mod factor) alone, so it is written as slices times constants: no gather.
    """
    return _upsample_axis(_upsample_axis(x, factor, axis=1), factor, axis=2)


def _upsample_axis(x: jax.Array, factor: int, axis: int) -> jax.Array:
    size = x.shape[axis]
    first = jax.lax.slice_in_dim(x, 0, 1, axis=axis)
    last = jax.lax.slice_in_dim(x, size - 1, size, axis=axis)
    before = jnp.concatenate([first, jax.lax.slice_in_dim(x, 0, size - 1, axis=axis)], axis)
    after = jnp.concatenate([jax.lax.slice_in_dim(x, 1, size, axis=axis), last], axis)

    distance = (np.arange(factor) + 0.5) / factor - 0.5  # from the nearest input's centre
    shape = [1] * (x.ndim + 1)
    shape[axis + 1] = factor

    def weight(values):
        return jnp.asarray(values, x.dtype).reshape(shape)

    def phases(y):
        return jnp.expand_dims(y, axis + 1)

    blended = (
        phases(before) * weight(np.maximum(-distance, 0))
        + phases(x) * weight(1 - np.abs(distance))
        + phases(after) * weight(np.maximum(distance, 0))
    )
    return blended.reshape(*x.shape[:axis], size * factor, *x.shape[axis + 1 :])
