"""The precision that norms, softmaxes and statistics need at least."""

import jax
import jax.numpy as jnp


def at_least_float32(x: jax.Array) -> jax.Array:
    """`x` in float32 where it is of a lower precision, such as bfloat16; else as it is."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
