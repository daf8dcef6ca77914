"""Activations whose gradients keep only their input."""

import jax
import jax.numpy as jnp


@jax.checkpoint
def gelu(x: jax.Array) -> jax.Array:
    """x times the share of the normal distribution below it; a gradient keeps x alone."""
    share = jax.lax.erfc(x * -(0.5**0.5)) / 2
    # Changes nothing, but without it XLA:CPU writes out a map of halves that nobody reads.
    limits = jnp.finfo(x.dtype)
    return x * jax.lax.reduce_precision(share, limits.nexp, limits.nmant)


silu = jax.checkpoint(jax.nn.silu)  # likewise
