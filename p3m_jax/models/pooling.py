"""Max pooling that remembers positions, and the unpooling that puts values back there.

Both poolings of P3M-Net halve the map: 2x2 with stride 2 (Swin-T, ViTAE-S) and 3x3 with stride 2
and padding 1 (ResNet-34), where windows overlap. A position is kept as its offset inside the
window, row-major, in one byte.

A window of the 3x3 form sees one odd row, one even row and the next odd row. So everything here is
written per parity of the input's rows and columns: each of the four parities of the large map
belongs to 1, 2 or 4 windows, looked at by dense selects. No scatter or gather is compiled, and
under a sharded batch nothing leaves its device.
"""

from functools import partial

import jax
import jax.numpy as jnp

# For each window size: the rows (and columns) of the large map that a window sees, in order,
# as (shift in windows, parity). Window i sees large row 2 * (i + shift) + parity.
_TAPS = {2: ((0, 0), (0, 1)), 3: ((-1, 1), (0, 0), (0, 1))}


def _shifted(x: jax.Array, rows: int, columns: int, fill) -> jax.Array:
    """`y[:, i, j] = x[:, i + rows, j + columns]`, and `fill` outside."""
    height, width = x.shape[1:3]
    padding = [(0, 0), (max(-rows, 0), max(rows, 0)), (max(-columns, 0), max(columns, 0)), (0, 0)]
    x = jnp.pad(x, padding, constant_values=fill)
    top, left = max(rows, 0), max(columns, 0)
    return x[:, top : top + height, left : left + width]


def _window_values(x: jax.Array, window: int, fill) -> list[jax.Array]:
    """The values that each window sees, one (B, H/2, W/2, C) map per offset, row-major."""
    parities = [[x[:, a::2, b::2] for b in (0, 1)] for a in (0, 1)]
    return [
        _shifted(parities[a][b], i, j, fill) for i, a in _TAPS[window] for j, b in _TAPS[window]
    ]


def _place(values: jax.Array, offsets: jax.Array, window: int, combine) -> jax.Array:
    """Puts each window's value at its position in a zero map of twice the size.

    `combine(current, chosen, value)` merges the windows that may name one position, which come in
    row-major order: `chosen` says where the window does name it.
    """
    taps = _TAPS[window]
    parities = [[jnp.zeros_like(values) for _ in (0, 1)] for _ in (0, 1)]
    # Offsets run backwards, so that of two windows the later one comes last.
    for offset in reversed(range(window * window)):
        (i, a), (j, b) = taps[offset // window], taps[offset % window]
        chosen = _shifted(offsets == offset, -i, -j, False)
        value = _shifted(values, -i, -j, 0)
        parities[a][b] = combine(parities[a][b], chosen, value)
    rows = [jnp.stack(row, axis=3) for row in parities]
    batch, height, width, channels = values.shape
    rows = [row.reshape(batch, height, 2 * width, channels) for row in rows]
    return jnp.stack(rows, axis=2).reshape(batch, 2 * height, 2 * width, channels)


def _last_wins(current, chosen, value):
    return jnp.where(chosen, value, current)


def _add(current, chosen, value):
    return current + jnp.where(chosen, value, 0)


def _pick(x: jax.Array, offsets: jax.Array, window: int) -> jax.Array:
    """The value of the large map `x` at each window's position."""
    picked = jnp.zeros(offsets.shape, x.dtype)
    for offset, value in enumerate(_window_values(x, window, 0)):
        picked = jnp.where(offsets == offset, value, picked)
    return picked


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def max_pool(x: jax.Array, window: int) -> tuple[jax.Array, jax.Array]:
    """Max pooling with stride 2 that also returns the positions it took.

    Args:
      x: (B, H, W, C), H and W even.
      window: 2 (no padding) or 3 (padding 1 that never wins).

    Returns:
      The maxima (B, H/2, W/2, C) and their offsets inside the window, uint8 in [0, window^2),
      the first in row-major order among equals.
    """
    if x.shape[1] % 2 or x.shape[2] % 2:
        raise ValueError(f"max_pool halves the map: height and width must be even, not {x.shape}.")
    lowest = -jnp.inf
    maxima, *others = _window_values(x, window, lowest)
    offsets = jnp.zeros(maxima.shape, jnp.uint8)
    for offset, value in enumerate(others, start=1):
        larger = value > maxima
        maxima = jnp.where(larger, value, maxima)
        offsets = jnp.where(larger, jnp.uint8(offset), offsets)
    return maxima, offsets


def _max_pool_forward(x, window):
    maxima, offsets = max_pool(x, window)
    return (maxima, offsets), offsets


def _max_pool_backward(window, offsets, cotangents):
    return (_place(cotangents[0], offsets, window, _add),)


max_pool.defvjp(_max_pool_forward, _max_pool_backward)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def max_unpool(values: jax.Array, offsets: jax.Array, window: int) -> jax.Array:
    """Puts values at the positions that `max_pool` took, in an otherwise zero map.

    Where two windows of the overlapping form name one position, the later in row-major order
    wins; the gradient of each of them is the gradient at that position, the loser's too, as in
    the published program.

    Args:
      values: (B, h, w, C).
      offsets: uint8 (B, h, w, C), from `max_pool` with the same `window`.
      window: 2 or 3.

    Returns:
      (B, 2h, 2w, C).
    """
    return _place(values, offsets, window, _last_wins)


def _max_unpool_forward(values, offsets, window):
    return max_unpool(values, offsets, window), offsets


def _max_unpool_backward(window, offsets, cotangent):
    return _pick(cotangent, offsets, window), None


max_unpool.defvjp(_max_unpool_forward, _max_unpool_backward)


def subsampled_max_pool(x: jax.Array, stride: int) -> jax.Array:
    """Max pooling with window 2 and any even stride, as sBFI uses it: (B, H, W, C) -> H/stride.

    With a stride above 2 it looks at one 2x2 window in every stride x stride cell only. The first
    in row-major order among equals gets the gradient.
    """
    corners = [x[:, a::stride, b::stride] for a in (0, 1) for b in (0, 1)]
    maximum = corners[0]
    for corner in corners[1:]:
        maximum = jnp.where(corner > maximum, corner, maximum)
    return maximum
