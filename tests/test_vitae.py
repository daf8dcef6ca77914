"""ViTAE-S's own: attention without the full matrix, random features, grouped convolutions."""

import jax
import jax.extend.core
import jax.numpy as jnp
import numpy as np
import pytest

from p3m_jax.models.network import Variables, network
from p3m_jax.models.ops import attention as attention_module
from p3m_jax.models.ops.attention import attention, linear_attention
from p3m_jax.models.ops.convolution import convolve


def plain_attention(q, k, v):
    weights = jax.nn.softmax(jnp.einsum("bhqd,bhkd->bhqk", q, k) * q.shape[-1] ** -0.5)
    return jnp.einsum("bhqk,bhkd->bhqd", weights, v)


def value_and_gradients(function, arguments):
    """Of a sum that weights all outputs differently, compiled."""

    def weighted(*arguments):
        y = function(*arguments)
        return jnp.sum(jnp.sin(jnp.arange(y.size)).reshape(y.shape) * y)

    numbers = tuple(range(len(arguments)))
    return jax.jit(function)(*arguments), jax.jit(jax.grad(weighted, numbers))(*arguments)


# One block; many; a last block that is padded; a map whose single row is above the limit.
@pytest.mark.parametrize("scores", [2**20, 35 * 5, 35 * 4, 8])
def test_attention_in_blocks_equals_the_full_matrix_one(scores):
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        qkv = [3 * rng.standard_normal((2, 3, 35, 8)) for _ in range(3)]
        ours = value_and_gradients(lambda *a: attention(*a, scores=scores), qkv)
        plain = value_and_gradients(plain_attention, qkv)
    for measured, expected in zip(jax.tree.leaves(ours), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(measured, expected, rtol=1e-10, atol=1e-12)


def test_gradients_of_attention_on_a_cpu_and_elsewhere_are_the_same():
    numbers = np.random.default_rng(0)
    with jax.enable_x64():
        q, k, v, gradient = (jnp.asarray(numbers.standard_normal((2, 3, 50, 8))) for _ in range(4))
        _, kept = attention_module._attention_forward(q, k, v, 16)  # the last block is not full
        of_kept = attention_module._from_kept_sums(16, kept, gradient)
        of_nothing = attention_module._from_nothing(16, kept, gradient)
    for one, other in zip(of_kept, of_nothing, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-13)


def test_attention_stands_large_scores():
    q = k = 100 * jnp.eye(4)[None, None]
    y = attention(q, k, jnp.arange(16.0).reshape(1, 1, 4, 4), scores=4)
    np.testing.assert_array_equal(y[0, 0], jnp.arange(16.0).reshape(4, 4))


def largest_array(jaxpr) -> int:
    """The most elements that any value of a program has, those of its loops included."""
    sizes = [v.aval.size for equation in jaxpr.eqns for v in equation.outvars]
    for equation in jaxpr.eqns:
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            sizes.append(largest_array(getattr(inner, "jaxpr", inner)))
    return max(sizes, default=0)


def test_no_full_matrix_even_in_training():
    tokens, scores = 1000, 50_000
    q = jax.ShapeDtypeStruct((1, 1, tokens, 8), np.float32)

    def loss(q, k, v):
        return jnp.sum(attention(q, k, v, scores=scores))

    program = jax.make_jaxpr(jax.grad(loss, (0, 1, 2)))(q, q, q)
    assert largest_array(program.jaxpr) <= max(scores, tokens * 8)
    compiled = jax.jit(jax.grad(loss, (0, 1, 2))).lower(q, q, q).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 4 * tokens**2 / 2


@pytest.mark.slow
@pytest.mark.release  # the test above looks at attention alone
def test_the_network_at_full_size_holds_no_full_matrix():
    height, width = 1600, 1088
    net = network("vitae_s")
    pictures = jax.ShapeDtypeStruct((1, height, width, 3), np.float32)
    shallow = height * width * 32  # the largest map

    def loss(parameters, statistics, pictures):
        outputs, _ = net.apply(Variables(parameters, statistics), pictures, train=True)
        return jnp.sum(outputs.fusion)

    for program in (loss, jax.grad(loss)):
        traced = jax.make_jaxpr(program)(*net.shapes, pictures)
        assert largest_array(traced.jaxpr) == shallow


def test_linear_attention_is_the_published_formula():
    rng = np.random.default_rng(1)
    q, k, v = rng.standard_normal((3, 2, 11, 6)) / 2
    features = rng.standard_normal((5, 6))

    def phi(z):
        return np.exp(z @ features.T - (z**2).sum(-1, keepdims=True) / 2) / np.sqrt(5)

    weights = phi(q) @ phi(k).swapaxes(1, 2)
    expected = weights @ v / (weights.sum(-1, keepdims=True) + 1e-8)
    y = linear_attention(*(jnp.asarray(values, jnp.float32) for values in (q, k, v, features)))
    np.testing.assert_allclose(y, expected, rtol=1e-5)


def test_linear_attention_stands_what_underflows():
    far = jnp.full((1, 3, 64), 10.0)
    y = linear_attention(far, far, jnp.ones((1, 3, 64)), jnp.zeros((32, 64)))
    np.testing.assert_array_equal(y, 0)


def test_random_features_are_orthogonal_and_follow_the_seed():
    net = network("vitae_s")
    first, again, other = (net.initialize(seed).statistics for seed in (0, 0, 1))
    names = [name for name in first if name.endswith("features")]
    assert len(names) == 2
    for name in names:
        rows = first[name]
        np.testing.assert_allclose(rows @ rows.T, 32 * np.eye(32), atol=1e-4)
        np.testing.assert_array_equal(rows, again[name])
        assert np.abs(rows - other[name]).max() > 0.5


# Groups, and channels in and out, of the three convolutions beside the attention.
@pytest.mark.parametrize(("groups", "inputs", "outputs"), [(32, 4, 16), (32, 16, 4), (64, 4, 4)])
def test_grouped_convolution_equals_the_plain_one(groups, inputs, outputs):
    rng = np.random.default_rng(2)

    def plain(x, kernel):
        return jax.lax.conv_general_dilated(
            x,
            kernel,
            window_strides=(1, 1),
            padding="SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )

    with jax.enable_x64(True):
        x = rng.standard_normal((2, 5, 6, groups * inputs))
        kernel = rng.standard_normal((3, 3, inputs, groups * outputs))
        ours = value_and_gradients(lambda *a: convolve(*a, groups=groups), (x, kernel))
        expected = value_and_gradients(plain, (x, kernel))
        # With a gradient to come a CPU takes another way.
        with_gradient, _ = jax.vjp(lambda *a: convolve(*a, groups=groups), x, kernel)
    np.testing.assert_allclose(with_gradient, expected[0], rtol=1e-10, atol=1e-10)
    for measured, wanted in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(measured, wanted, rtol=1e-10, atol=1e-10)
