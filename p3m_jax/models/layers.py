"""Convolutions, linear layers and norms, with PyTorch's initialisation and running statistics.

The output of a layer has the dtype of the layer's input. Convolutions and linear layers also
compute in this dtype, with parameters converted to it. Norms and their statistics are computed in
float32 or higher.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from p3m_jax.models.ops.convolution import convolve, multiply
from p3m_jax.models.ops.precision import at_least_float32, mean_over_pixels

# Called with a generator and a shape; returns the float32 array of a new parameter.
Initializer = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
_Run = Callable[[Any, jax.Array], jax.Array]  # called with a module and a map
_Normalized = tuple[jax.Array, jax.Array, jax.Array]  # the map, its mean and its variance


def recomputed(run: _Run) -> _Run:
    """Wraps `run(module, x) -> y` so that the backward pass recomputes the maps inside `run`.

    The forward pass does not store these maps, which saves memory.
    """
    return nnx.remat(lambda module, x: run(module, x))  # nnx.remat accepts plain functions only


DTYPE = np.float32  # of parameters and running statistics, in memory and in checkpoints


def parameter(shape: tuple[int, ...], initializer: Initializer) -> nnx.Param:
    """Makes a parameter that holds zeros as a placeholder.

    `Network.initialize` draws the real values with `initializer`.
    """
    return nnx.Param(jnp.zeros(shape), initializer=initializer)


def zeros(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Returns zeros, the initial biases of linear layers and norms."""
    return np.zeros(shape, DTYPE)


def ones(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Returns ones, the initial scales of norms."""
    return np.ones(shape, DTYPE)


def fan_in_uniform(fan_in: int) -> Initializer:
    """Makes an initializer that draws uniformly in +-1 / sqrt(fan_in).

    This is PyTorch's default for weights and their biases.
    """

    def draw(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return ((2 * generator.random(shape, DTYPE) - 1) * fan_in**-0.5).astype(DTYPE)

    return draw


def kaiming_fan_out(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Draws a kernel (k, k, in, out): normal, with variance 2 / fan_out (He et al. 2015)."""
    deviation = DTYPE((2 / (shape[0] * shape[1] * shape[3])) ** 0.5)
    return deviation * generator.standard_normal(shape, DTYPE)


def normal_002(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Draws from the normal distribution with standard deviation 0.02.

    The published program truncates it at +-2. This has no effect, because 2 is 100 deviations away.
    """
    return DTYPE(0.02) * generator.standard_normal(shape, DTYPE)


class Convolution(nnx.Module):
    """A convolution with stride 1, zero-padded to the same size: (B, H, W, in) -> (B, H, W, out).

    The kernel is (k, k, in / groups, out). The initial bias is uniform in +-1 / sqrt(fan_in). The
    initial kernel is drawn by `initializer`; if that is None, it is uniform in the same range.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        groups: int = 1,
        bias: bool = True,
        initializer: Initializer | None = None,
    ) -> None:
        self.groups = groups
        inputs //= groups
        default = fan_in_uniform(inputs * kernel * kernel)
        self.kernel = parameter((kernel, kernel, inputs, outputs), initializer or default)
        self.bias = parameter((outputs,), default) if bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        y = convolve(x, self.kernel[...].astype(x.dtype), groups=self.groups)
        return y if self.bias is None else y + self.bias[...].astype(x.dtype)


class Linear(nnx.Module):
    """A linear layer on the last axis.

    Its initial weights are normal with standard deviation 0.02, and its initial biases are zero.
    """

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True) -> None:
        self.kernel = parameter((inputs, outputs), normal_002)
        self.bias = parameter((outputs,), zeros) if bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.kernel[...].astype(x.dtype)
        y = multiply(x, kernel)
        return y if self.bias is None else y + self.bias[...].astype(x.dtype)


class LayerNorm(nnx.Module):
    """Layer normalisation over the last axis."""

    def __init__(self, channels: int, *, epsilon: float = 1e-5) -> None:
        self.epsilon = epsilon
        self.scale = parameter((channels,), ones)
        self.bias = parameter((channels,), zeros)

    def __call__(self, x: jax.Array) -> jax.Array:
        precise = at_least_float32(x)
        centred = precise - jnp.mean(precise, axis=-1, keepdims=True)
        variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
        y = centred * jax.lax.rsqrt(variance + self.epsilon) * self.scale[...] + self.bias[...]
        return y.astype(x.dtype)


@jax.custom_vjp
def normalize_batch(x: jax.Array, scale: jax.Array, bias: jax.Array) -> _Normalized:
    """Normalises x (B, H, W, C) by the mean and the biased variance of each channel.

    `scale` and `bias` are (C,). Returns the normalised map, the mean (C,) and the variance (C,). No
    gradient passes through the returned mean and variance.
    """
    return _normalize_batch_forward(x, scale, bias)[0]


def _normalize_batch_forward(
    x: jax.Array, scale: jax.Array, bias: jax.Array
) -> tuple[_Normalized, tuple[jax.Array, ...]]:
    precise = at_least_float32(x)
    mean = mean_over_pixels(precise)
    variance = mean_over_pixels(jnp.square(precise - mean))
    inverse = jax.lax.rsqrt(variance + BatchNorm.epsilon)
    y = (precise - mean) * (inverse * scale) + bias
    return (y.astype(x.dtype), mean, variance), (x, scale, mean, inverse)


def _normalize_batch_backward(
    kept: tuple[jax.Array, ...], cotangents: _Normalized
) -> tuple[jax.Array, jax.Array, jax.Array]:
    # Written out so that its sums, too, are means over short rows. The mean and the variance only
    # update the running statistics, so they carry no gradient.
    x, scale, mean, inverse = kept
    dy = at_least_float32(cotangents[0])
    normalized = (at_least_float32(x) - mean) * inverse
    mean_dy = mean_over_pixels(dy)
    mean_dy_normalized = mean_over_pixels(dy * normalized)
    dx = (dy - mean_dy - normalized * mean_dy_normalized) * (inverse * scale)
    count = x.size // x.shape[-1]
    return dx.astype(x.dtype), count * mean_dy_normalized, count * mean_dy


normalize_batch.defvjp(_normalize_batch_forward, _normalize_batch_backward)


class BatchNorm(nnx.Module):
    """Batch normalisation over (B, H, W), with PyTorch's running statistics.

    A batch is normalised by its biased variance, while the running variance is updated with the
    unbiased one. Each update is new = 0.9 old + 0.1 batch; epsilon is 1e-5. When the batch is
    sharded, the statistics are those of the global batch.
    """

    epsilon = 1e-5

    def __init__(self, channels: int) -> None:
        self.scale = parameter((channels,), ones)
        self.bias = parameter((channels,), zeros)
        self.mean = nnx.BatchStat(jnp.zeros(channels), initializer=zeros)
        self.variance = nnx.BatchStat(jnp.ones(channels), initializer=ones)

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        scale, bias = self.scale[...], self.bias[...]
        if not train:
            inverse = jax.lax.rsqrt(self.variance[...] + self.epsilon)
            y = (at_least_float32(x) - self.mean[...]) * (inverse * scale) + bias
            return y.astype(x.dtype)
        y, mean, variance = normalize_batch(x, scale, bias)
        count = x.size // x.shape[-1]
        unbiased = variance * (count / max(count - 1, 1))
        self.mean.set_value(0.9 * self.mean[...] + 0.1 * mean)
        self.variance.set_value(0.9 * self.variance[...] + 0.1 * unbiased)
        return y


class ConvolutionBlock(nnx.Module):
    """Convolution 3x3 -> BatchNorm -> ReLU."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True) -> None:
        self.convolution = Convolution(inputs, outputs, 3, bias=bias)
        self.norm = BatchNorm(outputs)

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return nnx.relu(self.norm(self.convolution(x), train=train))
