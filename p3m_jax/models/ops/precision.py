"""Converts to float32 or higher, for norms and softmaxes; averages without losing digits."""

import jax
import jax.numpy as jnp


def at_least_float32(x: jax.Array) -> jax.Array:
    """Converts `x` to float32 if its precision is lower, such as bfloat16; else keeps it as is."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def mean_over_pixels(x: jax.Array) -> jax.Array:
    """Returns the mean (C,) of each channel of (B, H, W, C), averaged axis by axis.

    On a CPU, a single reduction adds 100,000 pixels one after another in float32, which loses three
    digits. Averaging short rows, and then their means, keeps these digits.
    """
    return jnp.mean(jnp.mean(jnp.mean(x, axis=2), axis=1), axis=0)
