"""P3M-Net's compiled programs and their FLOPs, for `stages.py` and `training.py`.

FLOPs are those of the compiled program. They are compared with twice the multiply-adds that the
papers state for 512 x 512; a training step is compared with three forward passes. XLA counts the
contents of a loop once, for example attention in blocks or kernels' gradients by tiles. So the
FLOPs are those of a program without loops, which is compiled for this and not run.
"""

import functools
from unittest import mock

import jax
import numpy as np
from our_program import find_network

from p3m_jax.configs import common
from p3m_jax.models.ops import attention, convolution, weight_gradient
from p3m_jax.training.state import initial_state, make_optimizer
from p3m_jax.training.step import make_train_step

# Multiply-adds of a forward pass at 512 x 512, in 10^9, as published.
PUBLISHED_GMACS = {"resnet34": 58.7, "swin": 89.0, "vitae_s": 71.1}


def compile_forward(name: str, size: tuple[int, int], batch: int):
    """The compiled forward pass, and a function that runs it once."""
    net = find_network(name)
    variables = jax.tree.map(jax.numpy.asarray, net.initialize(0))
    pictures = np.random.default_rng(0).integers(0, 256, (batch, *size, 3)).astype(np.uint8)
    compiled = jax.jit(lambda v, x: net.apply(v, x)[0]).lower(variables, pictures).compile()
    return compiled, lambda: jax.block_until_ready(compiled(variables, pictures))


def compile_step(name: str, size: tuple[int, int], batch: int):
    """Like `compile_forward`, for a training step with all losses."""
    net, optimizer = find_network(name), make_optimizer(common.recipe(name).learning_rate)
    state = initial_state(net, optimizer, net.initialize(0))
    rng = np.random.default_rng(0)
    shape = (batch, *size)
    example = {
        name: rng.integers(0, 256, (*shape, 3)).astype(np.uint8)
        for name in ("picture", "foreground", "background")
    }
    example["matte"] = rng.integers(0, 256, (*shape, 1)).astype(np.uint8)
    example["trimap"] = rng.choice([0, 128, 255], (*shape, 1)).astype(np.uint8)
    compiled = jax.jit(make_train_step(net, optimizer)).lower(state, example).compile()
    return compiled, lambda: jax.block_until_ready(compiled(state, example))


def flops_without_loops(name: str, compile_it, size: tuple[int, int], batch: int) -> float:
    """The FLOPs of a program that computes the whole attention matrix and uses XLA's own gradients.

    Its grouped convolutions do the same operations as the loop that normally computes them, but
    side by side.
    """
    everything = size[0] ** 2 * size[1] ** 2
    side_by_side = functools.partial(convolution._side_by_side, bundle=convolution.BUNDLE_IN_LOOP)
    with (
        mock.patch.object(convolution, "_one_by_one", side_by_side),
        mock.patch.object(attention, "SCORES", everything),
        mock.patch.object(weight_gradient, "pays", return_value=False),
    ):
        return compile_it(name, size, batch)[0].cost_analysis()["flops"]


def published_flops(name: str, pixels: int) -> float:
    """The FLOPs of a forward pass by the papers; NaN for the small network of --quick."""
    return 2e9 * PUBLISHED_GMACS.get(name, float("nan")) * pixels / 512**2


def height_and_width(text: str) -> tuple[int, int]:
    """Reads a size: "512" is a square, "1600x1088" is height and width."""
    sides = [int(side) for side in text.split("x")]
    return sides[0], sides[-1]
