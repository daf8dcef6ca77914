"""Losses, gradients and Adam steps against recorded ones of the published program.

What is significant: a gradient norm above 1e-4 of the largest. The others, mostly biases before a
BatchNorm, whose true gradient is zero, are rounding noise in any program.
"""

import jax
import numpy as np
import optax
import pytest
from conftest import SHORT, golden, golden_variables, golden_weights

from p3m_jax.losses import total_loss
from p3m_jax.models.network import Variables, network
from p3m_jax.models.state_dict import our_name
from p3m_jax.training.state import initial_state
from p3m_jax.training.step import make_train_step, targets_of

# Our names of the recorded loss terms, in their order.
TERMS = [
    "total",
    *(f"{output}_entropy" for output in ("semantic", "side2", "side1", "side0")),
    *(f"{alpha}_{loss}" for alpha in ("detail", "fusion") for loss in ("alpha", "laplacian")),
    "composition",
]


def golden_batch(name):
    recorded, weights = golden(f"train_{SHORT[name]}"), golden_weights()
    return {
        "picture": weights.image(256, 256, 2, "train"),
        "foreground": weights.image(256, 256, 2, "fg"),
        "background": weights.image(256, 256, 2, "bg"),
        "matte": recorded["matte"][..., None],
        "trimap": recorded["trimap"][..., None],
    }


@pytest.fixture(scope="module", params=sorted(SHORT))
def gradients(request):
    name = request.param
    net, variables, batch = network(name), golden_variables(name), golden_batch(name)

    @jax.jit
    def differentiate(parameters):
        def loss_of(parameters):
            outputs, _ = net.apply(
                Variables(parameters, variables.statistics), batch["picture"], train=True
            )
            return total_loss(outputs, targets_of(batch))[0]

        return jax.grad(loss_of)(parameters)

    computed = differentiate(variables.parameters)
    recorded = golden(f"train_{SHORT[name]}")
    pairs = {}
    for key, norm in recorded.items():
        ours = our_name(name, key.removeprefix("grad_norm/")) if "grad_norm" in key else None
        if ours is not None:
            pairs[ours] = float(np.linalg.norm(np.float64(computed[ours]))), float(norm)
    assert pairs.keys() == variables.parameters.keys()
    return name, pairs


@pytest.fixture(scope="module", params=sorted(SHORT))
def steps(request):
    """The loss terms of four Adam steps, and the state after them."""
    name = request.param
    net, optimizer = network(name), optax.adam(1e-5)
    state = initial_state(net, optimizer, golden_variables(name))
    step = jax.jit(make_train_step(net, optimizer), donate_argnums=0)
    batch, terms = golden_batch(name), []
    for _ in range(4):
        state, of_step = step(state, batch)
        terms.append([float(of_step[term]) for term in TERMS])
    return name, np.array(terms), state


@pytest.mark.slow
def test_gradient_norms_equal_the_recorded_ones(gradients):
    _, pairs = gradients
    largest = max(norm for _, norm in pairs.values())
    significant = {k: abs(a - b) / b for k, (a, b) in pairs.items() if b > 1e-4 * largest}
    others = {k: abs(a - b) / largest for k, (a, b) in pairs.items() if b <= 1e-4 * largest}
    assert np.median(list(significant.values())) < 1e-3
    assert {k: v for k, v in significant.items() if v > 1e-2} == {}
    assert {k: v for k, v in others.items() if v > 1e-4} == {}


@pytest.mark.slow
def test_losses_of_four_steps_equal_the_recorded_ones(steps):
    name, terms, _ = steps
    recorded = golden(f"train_{SHORT[name]}")
    expected = np.array([recorded[f"step{i}/losses"] for i in range(4)])
    np.testing.assert_allclose(terms[0], expected[0], rtol=1e-4)
    np.testing.assert_allclose(terms, expected, rtol=3e-3)


@pytest.mark.slow
def test_running_statistics_equal_the_recorded_ones(steps):
    name, _, state = steps
    for key, expected in golden(f"train_{SHORT[name]}").items():
        if key.startswith("after4/"):
            ours = state.statistics[our_name(name, key.removeprefix("after4/"))]
            # Means lie around zero, so a bound relative to the map's scale is what counts.
            np.testing.assert_allclose(ours, expected, rtol=1e-2, atol=2e-3, err_msg=key)
    assert int(state.step) == 4
