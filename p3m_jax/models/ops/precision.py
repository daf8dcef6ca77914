"""The minimum precision of norms, softmaxes and statistics."""

import jax
import jax.numpy as jnp


def at_least_float32(x: jax.Array) -> jax.Array:
    """Converts `x` to float32 if its precision is lower, such as bfloat16; else keeps it as is."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
