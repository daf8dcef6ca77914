"""Attention over all positions of a map, without the matrix of all pairs."""

import jax
import jax.numpy as jnp

# Scores that one head keeps at a time: 8 MB in float32, whatever the size of the map.
SCORES = 2**21


def attention(q: jax.Array, k: jax.Array, v: jax.Array, *, scores: int | None = None) -> jax.Array:
    """softmax(q k^T / sqrt(d)) v, for q, k, v of (B, heads, n, d).

    Exact: the queries go in blocks of rows, each against all keys, so that a head never holds more
    than `scores` (None: `SCORES`) of a picture's n x n numbers, one row at least. The gradient goes
    by the same blocks and computes the rows again instead of keeping them.
    """
    batch, heads, n, d = q.shape
    q = q * d**-0.5
    blocks = -(-n // max(1, (scores or SCORES) // n))
    attend = jax.checkpoint(_attend)
    if blocks == 1:
        return attend(q, k, v)
    rows = -(-n // blocks)
    q = jnp.pad(q, [(0, 0), (0, 0), (0, blocks * rows - n), (0, 0)])
    q = jnp.moveaxis(q.reshape(batch, heads, blocks, rows, d), 2, 0)
    y = jax.lax.map(lambda rows_of_q: attend(rows_of_q, k, v), q)
    return jnp.moveaxis(y, 0, 2).reshape(batch, heads, blocks * rows, d)[:, :, :n]


def _attend(q, k, v):
    scores = jnp.einsum("bhqd,bhkd->bhqk", q, k)
    # Any number may be taken off all scores of a row, so the largest carries no gradient.
    largest = jax.lax.stop_gradient(jnp.max(scores, axis=-1, keepdims=True))
    weights = jnp.exp(scores - largest)
    # Divided after the product: n x d numbers instead of n x n, half the time of a gradient.
    y = jnp.einsum("bhqk,bhkd->bhqd", weights, v)
    return y / jnp.sum(weights, axis=-1, keepdims=True)


def linear_attention(q: jax.Array, k: jax.Array, v: jax.Array, features: jax.Array) -> jax.Array:
    """The Performer's estimate of attention, linear in n: q, k, v of (B, n, d), one head.

    `features` are m random directions (m, d); phi(z) = exp(features z - |z|^2 / 2) / sqrt(m)
    (Choromanski et al. 2021, positive random features).
    """
    q, k = _positive_features(q, features), _positive_features(k, features)
    # The ones give the sum of phi(k) in the same product.
    v = jnp.concatenate([v, jnp.ones_like(v[..., :1])], axis=-1)
    y = jnp.einsum("bnm,bmd->bnd", q, jnp.einsum("bnm,bnd->bmd", k, v))
    return y[..., :-1] / (y[..., -1:] + 1e-8)


def _positive_features(z, features):
    half_square = jnp.sum(jnp.square(z), axis=-1, keepdims=True) / 2
    # An exponent must not be rounded, as accelerators do in products by default.
    exponent = jnp.einsum("bnd,md->bnm", z, features, precision=jax.lax.Precision.HIGHEST)
    return jnp.exp(exponent - half_square) * len(features) ** -0.5
