"""Convolutions, in groups where ViTAE's are."""

import jax
import jax.numpy as jnp

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
    padding = kernel.shape[0] // 2
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(1, 1),
        padding=[(padding, padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
