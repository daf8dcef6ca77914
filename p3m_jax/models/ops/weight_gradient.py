"""The gradient of a convolution's kernel on a CPU, where XLA's own can be several times too slow.

XLA:CPU computes this gradient as a convolution whose kernel is as large as the map. That is slow if
the map is large or has only a few channels. This module computes the same sums as a product of
matrices: shifted copies of the map, side by side, times the gradient of the convolution's output.
The map is processed in tiles of several rows, so that the copies stay in the cache. Accelerators
use XLA's own gradient.
"""

import jax
import jax.numpy as jnp

# XLA is just as fast for maps of fewer PIXELS, unless the convolution's input or output has at most
# FEW_CHANNELS channels.
PIXELS = 64 * 64
FEW_CHANNELS = 4
# Maximum size of a tile's shifted copies, so that they fit in the cache.
TILE_BYTES = 4 * 2**20


def pays(x_shape: tuple[int, ...], kernel_shape: tuple[int, ...]) -> bool:
    """Whether `by_tiles` is faster than XLA for a map (B, H, W, in), kernel (k, k, in, out)."""
    _, height, width, inputs = x_shape
    return min(inputs, kernel_shape[3]) <= FEW_CHANNELS or height * width >= PIXELS


def by_tiles(x: jax.Array, gradient: jax.Array, size: int) -> jax.Array:
    """Computes the gradient (k, k, in, out) of a convolution's kernel, in the dtype of `x`.

    Sums are in float32 or higher. Each picture's gradient is computed separately, and all are added
    up only at the end. So when the batch is sharded, only this addition crosses devices.

    Args:
      x: the map (B, H, W, in) that was convolved with stride 1, zero-padded to the same size.
      gradient: the gradient of the convolution's output, (B, H, W, out).
      size: k, odd.
    """
    if gradient.shape[3] < x.shape[3]:  # shift the one with fewer channels: it is less work
        sums = _correlation(gradient, x, size)[::-1, ::-1]
        return jnp.swapaxes(sums, 2, 3).astype(x.dtype)
    return _correlation(x, gradient, size).astype(x.dtype)


def _correlation(shifted: jax.Array, still: jax.Array, size: int) -> jax.Array:
    """Correlates two maps; returns (k, k, a, b), where k is `size`.

    Element (i, j, a, b) is the sum over pixels p of shifted[p + (i, j) - k // 2, a] * still[p, b].
    """
    batch, height, width, channels = shifted.shape
    others = still.shape[3]
    padding = size // 2
    precise = jnp.promote_types(still.dtype, jnp.float32)
    copies = size * size * channels
    most = TILE_BYTES // (width * copies * still.dtype.itemsize)
    rows = max(n for n in range(1, height + 1) if height % n == 0 and n <= max(most, 1))
    padded = jnp.pad(shifted, [(0, 0), (padding, padding), (padding, padding), (0, 0)])

    def add_tile(total: jax.Array, top: jax.Array) -> tuple[jax.Array, None]:
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
