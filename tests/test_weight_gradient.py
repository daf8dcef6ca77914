"""The kernel's gradient by tiles, against the sums that define it and against XLA's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from p3m_jax.models.ops import convolution, weight_gradient

# Sums of up to 360 products in float32: XLA's own gradient is off by up to 1.9e-5 here, and it is
# the noise that the bounds below allow for. In bfloat16 the result is rounded once, by 2**-9.
SHAPES = [  # batch, height, width, inputs, outputs, size
    (2, 12, 10, 3, 16, 7),
    (3, 7, 9, 16, 1, 3),
    (1, 6, 8, 5, 5, 3),
    (2, 4, 4, 8, 3, 1),
    (2, 1, 2, 4, 6, 3),
]


@pytest.fixture(params=SHAPES, ids=str)
def problem(request):
    batch, height, width, inputs, outputs, size = request.param
    random = np.random.default_rng(0)
    x = random.standard_normal((batch, height, width, inputs), np.float32)
    gradient = random.standard_normal((batch, height, width, outputs), np.float32)
    return x, gradient, size


def defined(x, gradient, size):
    """Sums in float64 of the map, shifted by each place of the kernel, times the gradient."""
    height, width = x.shape[1:3]
    around = [(size // 2, size // 2)] * 2
    padded = np.pad(x.astype(np.float64), [(0, 0), *around, (0, 0)])
    return np.stack(
        [
            np.einsum("bhwc,bhwo->co", padded[:, i : i + height, j : j + width], gradient)
            for i in range(size)
            for j in range(size)
        ]
    ).reshape(size, size, x.shape[3], gradient.shape[3])


@pytest.mark.parametrize("tile_bytes", [1, 2000, 2**22])
def test_tiles_of_any_height_sum_up_to_the_gradient(problem, tile_bytes, monkeypatch):
    monkeypatch.setattr(weight_gradient, "TILE_BYTES", tile_bytes)
    ours = weight_gradient.by_tiles(*problem[:2], problem[2])
    np.testing.assert_allclose(ours, defined(*problem), rtol=1e-5, atol=2e-5)


def test_bfloat16_is_summed_in_float32(problem):
    x, gradient, size = problem
    rounded = [jnp.asarray(a, jnp.bfloat16) for a in (x, gradient)]
    ours = weight_gradient.by_tiles(*rounded, size)
    assert ours.dtype == jnp.bfloat16
    expected = defined(*(np.asarray(a, np.float32) for a in rounded), size)
    np.testing.assert_allclose(
        ours.astype(np.float32), expected, rtol=2**-8, atol=2**-8 * np.abs(expected).max()
    )


def test_a_convolution_with_few_channels_has_the_gradients_of_the_plain_one(problem):
    x, gradient, size = problem
    kernel = np.random.default_rng(1).standard_normal(
        (size, size, x.shape[3], gradient.shape[3]), np.float32
    )

    def loss(convolve, x, kernel):
        return jnp.sum(convolve(x, kernel) * gradient)

    ours = jax.grad(loss, (1, 2))(convolution.convolve, x, kernel)
    plain = jax.grad(loss, (1, 2))(convolution._plain, x, kernel)
    for one, other in zip(ours, plain, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=2e-5)


def test_the_compiled_step_goes_by_tiles_where_it_pays():
    few, many = (1, 8, 8, 64), (2, 256, 256, 64)
    assert weight_gradient.pays(few, (3, 3, 64, 1))
    assert weight_gradient.pays(many, (3, 3, 64, 64))
    assert not weight_gradient.pays(few, (3, 3, 64, 64))

    def kernel_gradient(outputs):
        kernel = jnp.zeros((3, 3, 64, outputs))
        run = jax.jit(jax.grad(lambda k: jnp.sum(convolution.convolve(jnp.ones(few), k) ** 2)))
        return run.lower(kernel).compile().as_text()

    assert "window={size=8x8" not in kernel_gradient(1)  # a kernel as large as the map
    assert "window={size=8x8" in kernel_gradient(64)
