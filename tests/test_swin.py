"""Swin's window attention on maps of any size, against attention written down token by token."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import RELEASE, golden_variables
from flax import nnx

from p3m_jax.models.network import network
from p3m_jax.models.swin import SHIFT, SwinStage, WindowAttention

CHANNELS, HEADS = 12, 3


def attention_with(rng):
    module = WindowAttention(CHANNELS, HEADS)
    for _, variable in nnx.iter_graph(module):
        if isinstance(variable, nnx.Param):
            shape = variable.get_value().shape
            variable.set_value(jnp.asarray(0.3 * rng.standard_normal(shape), jnp.float32))
    return module


def token_by_token(module, x, shift):
    """The rule: a query sees the keys of its window that are real and on its side of the wrap."""
    x = np.asarray(x, np.float64)
    height, width, channels = x.shape
    padded = [-(-side // 7) * 7 for side in (height, width)]
    weights = {
        name: (np.asarray(layer.kernel[...], np.float64), np.asarray(layer.bias[...], np.float64))
        for name, layer in (("qkv", module.qkv), ("projection", module.projection))
    }
    table = np.asarray(module.position_bias[...], np.float64)
    size = channels // HEADS
    # The token at a place of the rolled map, and whether it came round the edge.
    rolled = {}
    for i in range(padded[0]):
        for j in range(padded[1]):
            row, column = (i + shift) % padded[0], (j + shift) % padded[1]
            wraps = (i + shift >= padded[0], j + shift >= padded[1])
            rolled[i, j] = (row, column, wraps)
    out = np.zeros_like(x)
    for (i, j), (row, column, wraps) in rolled.items():
        if row >= height or column >= width:
            continue
        query = (x[row, column] @ weights["qkv"][0] + weights["qkv"][1])[:channels]
        keys, values, biases = [], [], []
        for k in range(i // 7 * 7, i // 7 * 7 + 7):
            for m in range(j // 7 * 7, j // 7 * 7 + 7):
                other_row, other_column, other_wraps = rolled[k, m]
                real = other_row < height and other_column < width
                if not real or other_wraps != wraps:
                    continue
                qkv = x[other_row, other_column] @ weights["qkv"][0] + weights["qkv"][1]
                keys.append(qkv[channels : 2 * channels])
                values.append(qkv[2 * channels :])
                biases.append(table[(i - k + 6) * 13 + (j - m + 6)])
        y = []
        for head in range(HEADS):
            part = slice(head * size, (head + 1) * size)
            scores = np.stack(keys)[:, part] @ query[part] * size**-0.5
            scores = np.exp(scores + np.stack(biases)[:, head])
            y.append(scores / scores.sum() @ np.stack(values)[:, part])
        out[row, column] = np.concatenate(y) @ weights["projection"][0] + weights["projection"][1]
    return out


@pytest.mark.parametrize("shift", [0, SHIFT])
@pytest.mark.parametrize(
    "size", [(1, 1), (1, 5), (2, 2), (3, 2), (4, 6), (6, 7), (7, 7), (7, 14), (8, 10)]
)
def test_window_attention_follows_the_rule(size, shift):
    rng = np.random.default_rng(0)
    module = attention_with(rng)
    x = rng.standard_normal((2, *size, CHANNELS)).astype(np.float32)
    ours = module(jnp.asarray(x), shift)
    expected = np.stack([token_by_token(module, picture, shift) for picture in x])
    np.testing.assert_allclose(ours, expected, atol=2e-5)


def test_stochastic_depth_skips_whole_examples_and_keeps_the_mean():
    stage = SwinStage(CHANNELS, HEADS, [0.5])
    graph, state = nnx.split(stage)
    rng = np.random.default_rng(0)
    state = jax.tree.map(lambda a: jnp.asarray(0.3 * rng.standard_normal(a.shape), a.dtype), state)
    stage = nnx.merge(graph, state)
    x = jnp.broadcast_to(jnp.asarray(rng.standard_normal((7, 7, CHANNELS))), (200, 7, 7, CHANNELS))
    once = np.asarray(stage(x, key=jax.random.key(0)))
    kinds = np.unique(once.round(3).reshape(200, -1), axis=0)
    assert len(kinds) == 4  # each of the two branches kept or skipped
    assert any(np.allclose(kind, np.asarray(x[0]).ravel(), atol=1e-2) for kind in kinds)
    np.testing.assert_array_equal(once, stage(x, key=jax.random.key(0)))
    assert np.any(once != np.asarray(stage(x, key=jax.random.key(1))))


@pytest.mark.parametrize(
    "size", [(32, 32), (32, 224), *(pytest.param(s, marks=RELEASE) for s in ((64, 32), (96, 160)))]
)
def test_takes_any_multiple_of_32(size):
    net, variables = network("swin"), golden_variables("swin")
    pictures = np.random.default_rng(0).integers(0, 256, (1, *size, 3)).astype(np.uint8)
    outputs, _ = jax.jit(net.apply)(variables, pictures)
    assert outputs.fusion.shape == (1, *size, 1)
    assert all(np.all(np.isfinite(np.asarray(map_))) for map_ in outputs)
