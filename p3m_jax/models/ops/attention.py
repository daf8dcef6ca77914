"""Attention over all positions of a map, without storing the matrix of all pairs."""

from functools import partial

import jax
import jax.numpy as jnp

from p3m_jax.models.ops.precision import at_least_float32

# Number of scores that one head holds at a time: 8 MB in float32, for any size of the map.
SCORES = 2**21

# The backward pass receives (q, k, v, output, log sums) and returns the gradients of q, k, v.
_Kept = tuple[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array]
_Gradients = tuple[jax.Array, jax.Array, jax.Array]


def attention(q: jax.Array, k: jax.Array, v: jax.Array, *, scores: int | None = None) -> jax.Array:
    """Computes softmax(q k^T / sqrt(d)) v, for q, k, v of (B, heads, n, d).

    The result is exact, and the softmax is computed in float32 or higher. The queries are processed
    in blocks, each block against all keys. The size of a block is limited so that a head holds at
    most `scores` of a picture's n x n scores at a time (default: `SCORES`), but every block has at
    least one query. The gradient uses the same blocks, and recomputes the softmax instead of
    storing it. On a CPU, the gradient uses the stored row sums of the softmax (Dao et al. 2022,
    FlashAttention, algorithm 4).
    """
    n = q.shape[2]
    blocks = -(-n // max(1, (scores or SCORES) // n))
    return _attention(q * q.shape[-1] ** -0.5, k, v, -(-n // blocks))


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def _attention(q: jax.Array, k: jax.Array, v: jax.Array, rows: int) -> jax.Array:
    return _attention_forward(q, k, v, rows)[0]


def _attention_forward(
    q: jax.Array, k: jax.Array, v: jax.Array, rows: int
) -> tuple[jax.Array, _Kept]:
    y, log_sums = jax.lax.map(lambda q: _attend(q, k, v), _in_blocks(q, rows))
    y, log_sums = (_whole(of_blocks, q.shape[2]) for of_blocks in (y, log_sums))
    return y, (q, k, v, y, log_sums)


def _scores(q: jax.Array, k: jax.Array) -> jax.Array:
    return at_least_float32(jnp.einsum("bhqd,bhkd->bhqk", q, k))


def _attend(q: jax.Array, k: jax.Array, v: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the output (B, heads, rows, d) for some queries, and their log sums.

    The log sums (B, heads, rows, 1) are log(sum(exp(scores))) of each row.
    """
    scores = _scores(q, k)
    largest = jnp.max(scores, axis=-1, keepdims=True)
    weights = jnp.exp(scores - largest)
    total = jnp.sum(weights, axis=-1, keepdims=True)
    # Divided after the product: this divides n x d values instead of n x n.
    y = jnp.einsum("bhqk,bhkd->bhqd", weights.astype(v.dtype), v)
    return (y / total).astype(v.dtype), largest + jnp.log(total)


def _attention_backward(rows: int, kept: _Kept, gradient: jax.Array) -> _Gradients:
    # A CPU is limited by matrix products, and the stored sums save some. A TPU is limited by
    # memory, so nothing is stored for it.
    return jax.lax.platform_dependent(
        kept, gradient, cpu=partial(_from_kept_sums, rows), default=partial(_from_nothing, rows)
    )


def _from_nothing(rows: int, kept: _Kept, gradient: jax.Array) -> _Gradients:
    """Computes the gradient by recomputing each block completely."""
    attend = jax.checkpoint(lambda q, k, v: _attend(q, k, v)[0])

    def whole(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        blocks = jax.lax.map(lambda q: attend(q, k, v), _in_blocks(q, rows))
        return _whole(blocks, q.shape[2])

    return jax.vjp(whole, *kept[:3])[1](gradient)


def _from_kept_sums(rows: int, kept: _Kept, gradient: jax.Array) -> _Gradients:
    """Computes FlashAttention's gradient, which recomputes only the scores."""
    q, k, v, y, log_sums = kept
    precise = log_sums.dtype
    shared = jnp.sum(gradient.astype(precise) * y, axis=-1, keepdims=True)

    def add_block(
        sums: tuple[jax.Array, jax.Array], block: list[jax.Array]
    ) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        q, log_sums, gradient, shared = block
        weights = jnp.exp(_scores(q, k) - log_sums)
        of_weights = _scores(gradient, v)
        of_scores = (weights * (of_weights - shared)).astype(q.dtype)
        product = partial(jnp.einsum, preferred_element_type=precise)
        of_k = product("bhqk,bhqd->bhkd", of_scores, q)
        of_v = product("bhqk,bhqd->bhkd", weights.astype(v.dtype), gradient)
        sums = sums[0] + of_k, sums[1] + of_v
        return sums, jnp.einsum("bhqk,bhkd->bhqd", of_scores, k)

    blocks = [_in_blocks(x, rows) for x in (q, log_sums, gradient, shared)]
    zeros = jnp.zeros(k.shape, precise), jnp.zeros(v.shape, precise)
    (of_k, of_v), of_q = jax.lax.scan(add_block, zeros, blocks)
    return _whole(of_q, q.shape[2]), of_k.astype(k.dtype), of_v.astype(v.dtype)


_attention.defvjp(_attention_forward, _attention_backward)


def _in_blocks(x: jax.Array, rows: int) -> jax.Array:
    """Splits (B, heads, n, d) into (blocks, B, heads, rows, d), zero-padded after row n."""
    batch, heads, n, d = x.shape
    blocks = -(-n // rows)
    x = jnp.pad(x, [(0, 0), (0, 0), (0, blocks * rows - n), (0, 0)])
    return jnp.moveaxis(x.reshape(batch, heads, blocks, rows, d), 2, 0)


def _whole(blocks: jax.Array, n: int) -> jax.Array:
    blocks = jnp.moveaxis(blocks, 0, 2)
    batch, heads, count, rows, d = blocks.shape
    return blocks.reshape(batch, heads, count * rows, d)[:, :, :n]


def linear_attention(q: jax.Array, k: jax.Array, v: jax.Array, features: jax.Array) -> jax.Array:
    """Computes the Performer's estimate of attention for q, k, v of (B, n, d), with one head.

    Its cost is linear in n. `features` (m, d) are m random directions. They map queries and keys to
    phi(z) = exp(features z - |z|^2 / 2) / sqrt(m) (Choromanski et al. 2021, positive random
    features). Sums and exponents are in float32 or higher.
    """
    given = v.dtype
    q, k, v = map(at_least_float32, (q, k, v))
    q, k = _positive_features(q, features), _positive_features(k, features)
    # The column of ones makes the same product return the sum of phi(k).
    v = jnp.concatenate([v, jnp.ones_like(v[..., :1])], axis=-1)
    y = jnp.einsum("bnm,bmd->bnd", q, jnp.einsum("bnm,bnd->bmd", k, v))
    return (y[..., :-1] / (y[..., -1:] + 1e-8)).astype(given)


def _positive_features(z: jax.Array, features: jax.Array) -> jax.Array:
    half_square = jnp.sum(jnp.square(z), axis=-1, keepdims=True) / 2
    # Exponents need full precision: by default, accelerators round the inputs of products.
    exponent = jnp.einsum("bnd,md->bnm", z, features, precision=jax.lax.Precision.HIGHEST)
    return jnp.exp(exponent - half_square) * len(features) ** -0.5
