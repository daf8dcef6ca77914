"""The gradient of a convolution's kernel on a CPU, where XLA's own can be several times too slow.

XLA:CPU computes it as a convolution whose kernel is as large as the map, and falls behind where
that is large or has a few channels only. The same sums are a product of matrices: shifted copies of
the map, laid side by side, times the incoming gradient. So that the copies stay in the cache, it
goes by tiles of rows. Accelerators have no need of it.
"""

import jax
import jax.numpy as jnp

# Maps of fewer pixels XLA takes as quickly itself, unless one side has so few channels.
PIXELS = 64 * 64
FEW_CHANNELS = 4
# What the shifted copies of a tile may take of the cache.
TILE_BYTES = 4 * 2**20


def pays(x_shape: tuple[int, ...], kernel_shape: tuple[int, ...]) -> bool:
    """Whether `by_tiles` is the faster of the two for a map (B, H, W, in) and (k, k, in, out)."""
    _, height, width, inputs = x_shape
    return min(inputs, kernel_shape[3]) <= FEW_CHANNELS or height * width >= PIXELS


def by_tiles(x: jax.Array, gradient: jax.Array, size: int) -> jax.Array:
    """The kernel's gradient (k, k, in, out), in `x`'s precision, summed in float32 at least.

    Every picture sums for itself until the end, so that under a sharded batch only that last sum
    crosses devices.

    Args:
      x: the map (B, H, W, in) that was convolved, stride 1, zeros keeping the size.
      gradient: that of the convolution's output, (B, H, W, out).
      size: k, odd.
    """
    if gradient.shape[3] < x.shape[3]:  # to shift the narrower of the two is less work
        sums = _correlation(gradient, x, size)[::-1, ::-1]
        return jnp.swapaxes(sums, 2, 3).astype(x.dtype)
    return _correlation(x, gradient, size).astype(x.dtype)


def _correlation(shifted, still, size):
    """Sums over p of shifted[p + (i, j) - k // 2, a] * still[p, b], as (k, k, a, b)."""
    batch, height, width, channels = shifted.shape
    others = still.shape[3]
    padding = size // 2
    precise = jnp.promote_types(still.dtype, jnp.float32)
    copies = size * size * channels
    most = TILE_BYTES // (width * copies * still.dtype.itemsize)
    rows = max(n for n in range(1, height + 1) if height % n == 0 and n <= max(most, 1))
    padded = jnp.pad(shifted, [(0, 0), (padding, padding), (padding, padding), (0, 0)])

    def add_tile(total, top):
        tile = jax.lax.dynamic_slice_in_dim(padded, top, rows + 2 * padding, axis=1)
        beside = [tile[:, i : i + rows, j : j + width] for i in range(size) for j in range(size)]
        left = jnp.concatenate(beside, axis=-1).reshape(batch, rows * width, copies)
        right = jax.lax.dynamic_slice_in_dim(still, top, rows, axis=1)
        right = right.reshape(batch, rows * width, others)
        product = jnp.einsum("bpk,bpo->bko", left, right, preferred_element_type=precise)
        return total + product, None

    total = jnp.zeros((batch, copies, others), precise)
    total, _ = jax.lax.scan(add_tile, total, jnp.arange(0, height, rows))
    return total.sum(axis=0).reshape(size, size, channels, others)
