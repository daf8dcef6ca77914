"""Convolutions, including the grouped ones of ViTAE."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from p3m_jax.models.ops import weight_gradient

# How many groups one dense convolution computes together, as a bundle: BUNDLE if each bundle is a
# separate operation of the program, BUNDLE_IN_LOOP if a loop runs over the bundles. In a loop, more
# bundles need no more compile time.
BUNDLE = 8
BUNDLE_IN_LOOP = 4

_PullBack = Callable[[jax.Array], tuple[jax.Array, jax.Array]]  # as `jax.vjp` returns it


def convolve(x: jax.Array, kernel: jax.Array, *, groups: int = 1) -> jax.Array:
    """Convolves x (B, H, W, in) with a kernel (k, k, in / groups, out).

    The stride is 1, and x is zero-padded so that the result has the same size. `groups` is 1 or a
    multiple of 8.

    Groups of only 4 or 16 channels are slow on any hardware. On a CPU, XLA's own grouped
    convolution takes up to 100 times as long as a dense one. So one dense convolution computes
    several groups together. Its kernel is zero where the input and the output belong to different
    groups.

    On a CPU, these dense convolutions run in a loop if no gradient is needed, which reduces the
    compile time of ViTAE-S by 40 %. With a gradient, a loop would double the time of a training
    step, so none is used.
    """
    return _dense(x, kernel) if groups == 1 else _in_groups(x, kernel, groups)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _in_groups(x: jax.Array, kernel: jax.Array, groups: int) -> jax.Array:
    return jax.lax.platform_dependent(
        x,
        kernel,
        cpu=lambda x, kernel: _one_by_one(x, kernel, groups),
        default=lambda x, kernel: _side_by_side(x, kernel, groups),
    )


def _in_groups_forward(x: jax.Array, kernel: jax.Array, groups: int) -> tuple[jax.Array, _PullBack]:
    return jax.vjp(lambda x, kernel: _side_by_side(x, kernel, groups), x, kernel)


def _in_groups_backward(
    groups: int, pull_back: _PullBack, gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    return pull_back(gradient)


_in_groups.defvjp(_in_groups_forward, _in_groups_backward)


def _side_by_side(x: jax.Array, kernel: jax.Array, groups: int, bundle: int = BUNDLE) -> jax.Array:
    count = groups // bundle
    pairs = zip(jnp.split(x, count, axis=-1), jnp.split(kernel, count, axis=-1), strict=True)
    return jnp.concatenate([_dense(x, _block_diagonal(k, bundle)) for x, k in pairs], axis=-1)


def _one_by_one(x: jax.Array, kernel: jax.Array, groups: int) -> jax.Array:
    count = groups // BUNDLE_IN_LOOP

    def part(values: jax.Array, i: int | jax.Array) -> jax.Array:
        width = values.shape[-1] // count
        return jax.lax.dynamic_slice_in_dim(values, i * width, width, axis=-1)

    def add_bundle(i: int | jax.Array, y: jax.Array) -> jax.Array:
        bundle = _plain(part(x, i), _block_diagonal(part(kernel, i), BUNDLE_IN_LOOP))
        return jax.lax.dynamic_update_slice_in_dim(y, bundle, i * bundle.shape[-1], axis=-1)

    # Every value is overwritten. XLA would create zeros for all loops when the program starts.
    y = jnp.broadcast_to(x[..., :1], (*x.shape[:-1], kernel.shape[-1]))
    return jax.lax.fori_loop(0, count, add_bundle, y)


def _block_diagonal(kernel: jax.Array, groups: int) -> jax.Array:
    """Converts a grouped kernel (k, k, in / groups, out) to a dense one (k, k, in, out)."""
    height, width, _, outputs = kernel.shape
    # (groups, 1, out): the outputs that belong to each group.
    own = np.repeat(np.eye(groups, dtype=bool), outputs // groups, axis=1)[:, None]
    return jnp.where(own, kernel[:, :, None], 0).reshape(height, width, -1, outputs)


def _dense(x: jax.Array, kernel: jax.Array) -> jax.Array:
    if kernel.shape[0] == 1:  # as a product, but not on a TPU: that would change the layout twice
        return jax.lax.platform_dependent(
            x, kernel, cpu=lambda x, kernel: product_of_rows(x, kernel[0, 0]), default=_plain
        )
    return _wide(x, kernel) if weight_gradient.pays(x.shape, kernel.shape) else _plain(x, kernel)


def multiply(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Computes x (..., in) @ kernel (in, out).

    A CPU joins the leading axes of x first, see `product_of_rows`. A TPU does not, because this
    would copy the map into another layout.
    """
    return jax.lax.platform_dependent(x, kernel, cpu=product_of_rows, default=jnp.matmul)


def product_of_rows(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Computes x (..., in) @ kernel (in, out) as one product of two matrices.

    The leading axes of x are joined for the product. Otherwise XLA:CPU would copy x into another
    layout to compute the kernel's gradient. It would also compute x a second time, in an order that
    uses the cache poorly.
    """
    return (x.reshape(-1, x.shape[-1]) @ kernel).reshape(*x.shape[:-1], kernel.shape[1])


def _plain(x: jax.Array, kernel: jax.Array) -> jax.Array:
    padding = kernel.shape[0] // 2
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(1, 1),
        padding=[(padding, padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


@jax.custom_vjp
def _wide(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolves like `_plain`, but on a CPU computes the kernel's gradient by tiles."""
    return _plain(x, kernel)


def _wide_forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _plain(x, kernel), (x, kernel)


def _wide_backward(
    kept: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = kept
    _, of_map = jax.vjp(lambda x: _plain(x, kernel), x)
    _, of_kernel = jax.vjp(lambda kernel: _plain(x, kernel), kernel)
    kernel_gradient = jax.lax.platform_dependent(
        x,
        gradient,
        cpu=lambda x, gradient: weight_gradient.by_tiles(x, gradient, kernel.shape[0]),
        default=lambda x, gradient: of_kernel(gradient)[0],
    )
    return *of_map(gradient), kernel_gradient


_wide.defvjp(_wide_forward, _wide_backward)
