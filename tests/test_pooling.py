"""Pooling with positions, unpooling and upsampling, against recorded values and by definition."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import golden

from p3m_jax.models.ops import pooling
from p3m_jax.models.ops.pooling import max_pool, max_unpool
from p3m_jax.models.ops.upsampling import upsample

WINDOWS = {"k2s2": 2, "k3s2p1": 3}


def channels_last(x):
    return np.moveaxis(x, 1, -1)


def flat_positions(offsets, window):
    """Offsets inside windows, as row-major positions in the large map."""
    height, width = offsets.shape[1:3]
    row = 2 * np.arange(height)[:, None, None] + offsets // window - (window == 3)
    column = 2 * np.arange(width)[:, None] + offsets % window - (window == 3)
    return row * 2 * width + column


@pytest.mark.parametrize("name", WINDOWS)
def test_max_pool_and_its_positions_equal_the_recorded_ones(name):
    recorded, window = golden("layers"), WINDOWS[name]
    maxima, offsets = max_pool(jnp.asarray(channels_last(recorded[f"{name}/input"])), window)
    np.testing.assert_array_equal(maxima, channels_last(recorded[f"{name}/pooled"]))
    positions = flat_positions(np.asarray(offsets).astype(int), window)
    np.testing.assert_array_equal(positions, channels_last(recorded[f"{name}/indices"]))


@pytest.mark.parametrize("name", WINDOWS)
def test_max_unpool_and_its_gradient_equal_the_recorded_ones(name):
    recorded, window = golden("layers"), WINDOWS[name]
    _, offsets = max_pool(jnp.asarray(channels_last(recorded[f"{name}/input"])), window)
    values = jnp.asarray(channels_last(recorded[f"{name}/values"]))
    unpooled, pull_back = jax.vjp(lambda v: max_unpool(v, offsets, window), values)
    np.testing.assert_array_equal(unpooled, channels_last(recorded[f"{name}/unpooled"]))
    (gradient,) = pull_back(jnp.asarray(channels_last(recorded[f"{name}/cotangent"])))
    np.testing.assert_array_equal(gradient, channels_last(recorded[f"{name}/values_grad"]))


@pytest.mark.parametrize("window", [2, 3])
def test_gradient_of_max_pool_adds_up_at_the_positions(window):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 4, (2, 8, 12, 3)).astype(np.float32)  # many ties
    cotangent = rng.standard_normal((2, 4, 6, 3)).astype(np.float32)
    (_, offsets), pull_back = jax.vjp(lambda x: max_pool(x, window), jnp.asarray(x))
    (gradient,) = pull_back((jnp.asarray(cotangent), np.zeros(offsets.shape, jax.dtypes.float0)))
    expected = np.zeros((2, 8 * 12, 3), np.float64)
    positions = flat_positions(np.asarray(offsets).astype(int), window)
    for index in np.ndindex(cotangent.shape):
        expected[index[0], positions[index], index[3]] += cotangent[index]
    np.testing.assert_allclose(np.asarray(gradient).reshape(expected.shape), expected, atol=1e-6)


@pytest.mark.parametrize("window", [2, 3])
def test_padding_never_wins_and_negative_infinity_is_kept(window):
    maxima, offsets = max_pool(jnp.full((1, 4, 4, 1), -jnp.inf), window)
    assert np.all(np.isneginf(maxima))
    positions = flat_positions(np.asarray(offsets).astype(int), window)
    assert positions.min() >= 0 or window == 3


@pytest.mark.parametrize("stride", [2, 4, 8])
def test_a_larger_stride_sees_one_window_per_cell(stride):
    x = np.random.default_rng(1).standard_normal((2, 16, 32, 3)).astype(np.float32)
    cells = x.reshape(2, 16 // stride, stride, 32 // stride, stride, 3)
    expected = cells[:, :, :2, :, :2].max(axis=(2, 4))
    np.testing.assert_array_equal(max_pool(jnp.asarray(x), 2, stride)[0], expected)


@pytest.mark.parametrize("factor", [2, 4, 8, 16])
def test_upsample_equals_the_recorded_bilinear_upsampling(factor):
    recorded = golden("layers")
    ours = upsample(jnp.asarray(channels_last(recorded["upsample/input"])), factor)
    theirs = channels_last(recorded[f"upsample/x{factor}"])
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=4 * np.finfo(np.float32).eps)


@pytest.mark.parametrize("factor", [1, 2, 3, 16])
@pytest.mark.parametrize("size", [(1, 5), (4, 1)])
def test_gradient_of_upsampling_is_its_transpose(factor, size):
    numbers = np.random.default_rng(factor)
    x = numbers.standard_normal((2, *size, 3))
    enlarge = jax.jit(lambda x: upsample(x, factor))
    with jax.enable_x64():
        y, transposed = jax.vjp(enlarge, jnp.asarray(x))
        gradient = numbers.standard_normal(y.shape)
        (ours,) = transposed(jnp.asarray(gradient))
        # <upsample(x), g> = <x, gradient of g>, for any x and g.
        assert np.vdot(y, gradient) == pytest.approx(np.vdot(x, ours), rel=1e-12)
    low = jnp.asarray(gradient, jnp.bfloat16)
    (rounded,) = jax.vjp(enlarge, jnp.asarray(x, jnp.bfloat16))[1](low)
    assert rounded.dtype == jnp.bfloat16
    # Summed in float32, rounded three times by up to 0.4 %: what comes in, what each axis gives.
    np.testing.assert_allclose(rounded.astype(float), ours, rtol=0.02, atol=0.02 * factor)


def test_unpooling_keeps_positions_instead_of_the_large_map():
    def network(x):
        maxima, offsets = max_pool(x, 3)
        deep = jnp.tanh(maxima @ jnp.ones((64, 64)) / 64)
        return jnp.sum(max_unpool(deep, offsets, 3), axis=-1)

    x = jax.ShapeDtypeStruct((1, 256, 256, 64), jnp.float32)
    compiled = jax.jit(lambda x: network(jnp.sin(x))).lower(x).compile()
    # The large map padded, and maps of a quarter: not a second large one.
    assert compiled.memory_analysis().temp_size_in_bytes < 2 * 4 * 256 * 256 * 64


@pytest.mark.parametrize(("window", "stride"), [(2, 2), (2, 8), (3, 2)])
@pytest.mark.parametrize("size", [(48, 8), (1024, 528)])  # the second is a large map
def test_pooling_by_strips_equals_pooling_at_once(window, stride, size):
    x = np.random.default_rng(window).standard_normal((2, *size, 2)).astype(np.float32)
    ours = jax.jit(lambda x: pooling._pool_by_strips(x, window, stride))(x)
    whole = pooling._pool(pooling._padded(jnp.asarray(x), window), window, stride)
    for of_strips, at_once in zip(ours, whole, strict=True):
        np.testing.assert_array_equal(of_strips, at_once)


def test_odd_sizes_are_refused():
    with pytest.raises(ValueError, match="stride 2 needs sides it divides"):
        max_pool(jnp.zeros((1, 5, 4, 1)), 2)


@pytest.mark.parametrize("window", [2, 3])
def test_compiled_program_scatters_and_gathers_nothing(window):
    def everything(x):
        maxima, offsets = max_pool(x, window)
        y = max_unpool(maxima * 2, offsets, window)
        return jnp.sum(jnp.sin(y) + upsample(max_pool(y, 2, 4)[0], 4))

    text = jax.jit(jax.grad(everything)).lower(jnp.zeros((2, 32, 32, 8))).compile().as_text()
    assert not re.findall(r"\b(scatter|gather|select-and-scatter)\(", text)
