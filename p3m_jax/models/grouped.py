"""Convolutions, in groups where ViTAE's are."""

import jax
import jax.numpy as jnp

from p3m_jax.models import weight_gradient

# Groups that one dense convolution takes together.
BUNDLE = 8


def convolve(x: jax.Array, kernel: jax.Array, *, groups: int = 1) -> jax.Array:
    """x (B, H, W, in) with a kernel (k, k, in / groups, out): stride 1, zeros keep the size.

    Groups of 4 or 16 channels are too narrow for any machine, and XLA's own grouped convolution
    takes up to 100 times as long as a dense one on a CPU. So 8 groups each become one dense
    convolution, with zeros in the kernel between one group's inputs and another's outputs; `groups`
    is 1 or a multiple of 8.
    """
    if groups == 1:
        return _dense(x, kernel)
    bundles = _bundled(kernel, groups)
    pieces = jnp.split(x, len(bundles), axis=-1)
    return jnp.concatenate([_dense(*pair) for pair in zip(pieces, bundles, strict=True)], axis=-1)


def _bundled(kernel, groups):
    """(k, k, in / groups, out) -> (bundles, k, k, in / bundles, out / bundles), block-diagonal."""
    height, width, inputs, outputs = kernel.shape
    count, outputs = groups // BUNDLE, outputs // groups
    blocks = kernel.reshape(height, width, inputs, count, BUNDLE, outputs)
    blocks = jnp.moveaxis(blocks, 3, 0)[:, :, :, None]
    same_group = jnp.eye(BUNDLE, dtype=bool)[:, None, :, None]
    blocks = jnp.where(same_group, blocks, 0)
    return blocks.reshape(count, height, width, BUNDLE * inputs, BUNDLE * outputs)


def _dense(x, kernel):
    if kernel.shape[0] == 1:  # as a product, which on a TPU is laid out anew on both sides
        return jax.lax.platform_dependent(
            x, kernel, cpu=lambda x, kernel: product_of_rows(x, kernel[0, 0]), default=_plain
        )
    return _wide(x, kernel) if weight_gradient.pays(x.shape, kernel.shape) else _plain(x, kernel)


def product_of_rows(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """x (..., in) @ kernel (in, out) as one product of two matrices.

    Of a product with more axes XLA:CPU lays a map out anew for the kernel's gradient, and computes
    the map once more for that, in an order that the cache has no use for.
    """
    return (x.reshape(-1, x.shape[-1]) @ kernel).reshape(*x.shape[:-1], kernel.shape[1])


def _plain(x, kernel):
    padding = kernel.shape[0] // 2
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(1, 1),
        padding=[(padding, padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


@jax.custom_vjp
def _wide(x, kernel):
    """`_plain` whose kernel's gradient a CPU computes by tiles."""
    return _plain(x, kernel)


def _wide_forward(x, kernel):
    return _plain(x, kernel), (x, kernel)


def _wide_backward(kept, gradient):
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
