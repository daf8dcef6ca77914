"""Max pooling that records positions, and the unpooling that puts values back at these positions.

Swin-T and ViTAE-S pool windows of 2x2 with stride 2. ResNet-34 pools windows of 3x3 with stride 2
and padding 1, which overlap. Both kinds halve the map. A position is stored in one byte as its
offset inside the window, row-major.

With 3x3 windows, an even row of the large map lies in one row of windows, and an odd row in two.
The same holds for columns. So a pixel lies in 1, 2 or 4 windows, depending on whether its row and
column are even or odd. Values are put back separately for each of these four cases, by dense
selects. No scatter or gather is compiled, and when the batch is sharded, no data leaves its device.
"""

import itertools
from collections.abc import Callable
from functools import partial
from typing import cast

import jax
import jax.numpy as jnp

# For each window size: the rows (and columns) of the large map that a window covers, in order,
# as (shift in windows, parity). Window i covers the large row 2 * (i + shift) + parity.
_TAPS = {2: ((0, 0), (0, 1)), 3: ((-1, 1), (0, 0), (0, 1))}

# A CPU pools in at most this many strips. For maps of more pixels than LARGE it always uses strips.
STRIPS = 8
LARGE = 2**19

_Pooled = tuple[jax.Array, jax.Array]  # maxima and their offsets


def _shifted(x: jax.Array, rows: int, columns: int, fill: float) -> jax.Array:
    """Returns y with y[:, i, j] = x[:, i + rows, j + columns], and `fill` outside the map."""
    height, width = x.shape[1:3]
    padding = [(0, 0), (max(-rows, 0), max(rows, 0)), (max(-columns, 0), max(columns, 0)), (0, 0)]
    x = jnp.pad(x, padding, constant_values=fill)
    top, left = max(rows, 0), max(columns, 0)
    return x[:, top : top + height, left : left + width]


def _place(
    values: jax.Array,
    offsets: jax.Array,
    window: int,
    combine: Callable[[jax.Array, jax.Array, jax.Array], jax.Array],
) -> jax.Array:
    """Puts each window's value at its position in a zero map of twice the size.

    `combine(current, chosen, value)` merges windows that chose the same position. It is called in
    row-major order of the windows; `chosen` marks where the window did choose the position.
    """
    taps = _TAPS[window]
    parities = [[jnp.zeros_like(values) for _ in (0, 1)] for _ in (0, 1)]
    # The offsets run backwards, so that the later of two windows is merged last.
    for offset in reversed(range(window * window)):
        (i, a), (j, b) = taps[offset // window], taps[offset % window]
        chosen = _shifted(offsets == offset, -i, -j, False)
        parities[a][b] = combine(parities[a][b], chosen, _shifted(values, -i, -j, 0))
    rows = [jnp.stack(row, axis=3) for row in parities]
    batch, height, width, channels = values.shape
    rows = [row.reshape(batch, height, 2 * width, channels) for row in rows]
    return jnp.stack(rows, axis=2).reshape(batch, 2 * height, 2 * width, channels)


def _place_apart(values: jax.Array, offsets: jax.Array, stride: int) -> jax.Array:
    """Puts each value at its position in a zero map that is `stride` times as large.

    For 2x2 windows, which do not overlap, so no rows or columns need to be interleaved.
    """
    placed = []
    for offset, corner in enumerate(itertools.product((0, 1), repeat=2)):
        between = [(start, stride - 1 - start, stride - 1) for start in corner]
        chosen = jnp.where(offsets == offset, values, 0)
        zero = jnp.zeros((), values.dtype)
        placed.append(jax.lax.pad(chosen, zero, [(0, 0, 0), *between, (0, 0, 0)]))
    return cast(jax.Array, sum(placed))  # there are always four


def _last_wins(current: jax.Array, chosen: jax.Array, value: jax.Array) -> jax.Array:
    return jnp.where(chosen, value, current)


def _add(current: jax.Array, chosen: jax.Array, value: jax.Array) -> jax.Array:
    return current + jnp.where(chosen, value, 0)


def _pick(x: jax.Array, offsets: jax.Array, window: int) -> jax.Array:
    """Returns the value of the large map `x` at the position of each window."""
    picked = jnp.zeros(offsets.shape, x.dtype)
    for offset, ((i, a), (j, b)) in enumerate(itertools.product(_TAPS[window], repeat=2)):
        value = _shifted(x[:, a::2, b::2], i, j, 0)
        picked = jnp.where(offsets == offset, value, picked)
    return picked


@partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def max_pool(x: jax.Array, window: int, stride: int = 2) -> tuple[jax.Array, jax.Array]:
    """Pools a map by maximum, and returns the maxima and their positions.

    Args:
      x: (B, H, W, C), H and W multiples of the stride.
      window: 2, without padding; or 3, with a stride of 2 and padding of 1. Padding is never the
        maximum.
      stride: even. If it is above 2, as in sBFI, only the upper left 2x2 pixels of each block of
        stride x stride pixels are pooled; the other pixels are not used.

    Returns:
      The maxima (B, H/stride, W/stride, C) and their offsets inside the window, uint8 in [0,
      window^2). Among equal values, the first in row-major order is the maximum, and only this one
      receives the gradient.

    Raises:
      ValueError: a side is not a multiple of the stride.
    """
    _, height, width, _ = x.shape
    if height % stride or width % stride:
        raise ValueError(
            f"max_pool with stride {stride} needs sides it divides, not {height} x {width}."
        )
    return _max_pool_forward(x, window, stride)[0]


def _padded(x: jax.Array, window: int) -> jax.Array:
    before = window - 2  # one row and one column that the first 3x3 windows cover
    return jnp.pad(x, [(0, 0), (before, 0), (before, 0), (0, 0)], constant_values=-jnp.inf)


def _pool(padded: jax.Array, window: int, stride: int) -> _Pooled:
    height, width = (side - window + 2 for side in padded.shape[1:3])
    maxima, *others = (
        padded[:, i : i + height : stride, j : j + width : stride]
        for i, j in itertools.product(range(window), repeat=2)
    )
    offsets = jnp.zeros(maxima.shape, jnp.uint8)
    for offset, value in enumerate(others, start=1):
        larger = value > maxima
        maxima = jnp.where(larger, value, maxima)
        offsets = jnp.where(larger, jnp.uint8(offset), offsets)
    return maxima, offsets


def _pool_by_strips(x: jax.Array, window: int, stride: int) -> _Pooled:
    """Pools the map like `_pool`, in up to `STRIPS` strips of rows, one after another.

    XLA:CPU does not optimise across the loop. Without the loop it would recompute a window's offset
    wherever an unpooling or a gradient uses it. For this it would keep the large map, 16 times the
    bytes, and a gradient would take five times as long. The strips also avoid copying the large map
    to pad it for 3x3 windows. The maxima of 2x2 windows are faster without a loop, but then XLA
    keeps both the map and its inputs, so large maps are pooled in strips, too.
    """
    batch, height, width, channels = x.shape
    rows = height // stride
    strips = max(n for n in range(1, STRIPS + 1) if rows % n == 0)
    if strips == 1:
        return _pool(_padded(x, window), window, stride)
    large = height * width > LARGE
    height //= strips

    def of_strip(top: jax.Array) -> _Pooled:
        strip = _padded(jax.lax.dynamic_slice_in_dim(x, top, height, axis=1), window)
        if window == 3:
            above = jax.lax.dynamic_slice_in_dim(x, jnp.maximum(top - 1, 0), 1, axis=1)
            above = jnp.where(top > 0, above, -jnp.inf)
            strip = jax.lax.dynamic_update_slice(strip, above, (0, 0, 1, 0))
        return _pool(strip, window, stride)

    def whole(of_strips: jax.Array) -> jax.Array:
        shape = batch, rows, width // stride, channels
        return jnp.moveaxis(of_strips, 0, 1).reshape(shape)

    tops = jnp.arange(strips) * height
    if window == 2 and not large:
        return _pool(x, window, stride)[0], whole(jax.lax.map(lambda top: of_strip(top)[1], tops))
    maxima, offsets = jax.lax.map(of_strip, tops)
    return whole(maxima), whole(offsets)


@jax.named_scope("max_pool")
def _max_pool_forward(x: jax.Array, window: int, stride: int) -> tuple[_Pooled, jax.Array]:
    maxima, offsets = jax.lax.platform_dependent(
        x,
        cpu=partial(_pool_by_strips, window=window, stride=stride),
        default=lambda x: _pool(_padded(x, window), window, stride),
    )
    return (maxima, offsets), offsets


@jax.named_scope("max_pool")
def _max_pool_backward(
    window: int, stride: int, offsets: jax.Array, cotangents: _Pooled
) -> tuple[jax.Array]:
    gradient, _ = cotangents
    if window == 2:
        return (_place_apart(gradient, offsets, stride),)
    return (_place(gradient, offsets, window, _add),)


max_pool.defvjp(_max_pool_forward, _max_pool_backward)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
@jax.named_scope("max_unpool")
def max_unpool(values: jax.Array, offsets: jax.Array, window: int) -> jax.Array:
    """Puts values at the positions that `max_pool` returned, in a map of zeros.

    Where two overlapping windows chose the same position, the later one in row-major order wins.
    Both windows get the gradient at that position, as in the published program.

    Args:
      values: (B, h, w, C).
      offsets: uint8 (B, h, w, C), from `max_pool` with the same `window`.
      window: 2 or 3.

    Returns:
      (B, 2h, 2w, C).
    """
    return _place(values, offsets, window, _last_wins)


def _max_unpool_forward(
    values: jax.Array, offsets: jax.Array, window: int
) -> tuple[jax.Array, jax.Array]:
    return max_unpool(values, offsets, window), offsets


@jax.named_scope("max_unpool")
def _max_unpool_backward(
    window: int, offsets: jax.Array, cotangent: jax.Array
) -> tuple[jax.Array, None]:
    return _pick(cotangent, offsets, window), None


max_unpool.defvjp(_max_unpool_forward, _max_unpool_backward)
