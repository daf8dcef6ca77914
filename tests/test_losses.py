"""Every loss term against NumPy in float64, written down from its definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import correlate

from p3m_jax.losses import Targets, Weights, laplacian_loss, total_loss
from p3m_jax.models.p3m_net import Outputs

SHAPE = (2, 64, 96)


@pytest.fixture(scope="module")
def maps():
    rng = np.random.default_rng(0)

    def draw(channels, low=0.0, high=1.0):
        return rng.uniform(low, high, (*SHAPE, channels)).astype(np.float32)

    outputs = Outputs(
        semantic=draw(3, -5, 5),
        detail=draw(1),
        fusion=np.where(draw(1) > 0.5, draw(1), draw(1) > 0.5).astype(np.float32),
        side2=draw(3, -5, 5),
        side1=draw(3, -5, 5),
        side0=draw(3, -5, 5),
    )
    classes = rng.integers(0, 3, SHAPE)
    targets = Targets(
        alpha=draw(1),
        classes=classes,
        transition=(classes == 1)[..., None].astype(np.float32),
        picture=draw(3, -2, 2),
        foreground=draw(3, -2, 2),
        background=draw(3, -2, 2),
    )
    return outputs, targets


def in_float64(outputs, targets):
    """The terms by their definitions, in another way than the program's."""
    o = Outputs(*(np.asarray(x, np.float64) for x in outputs))
    t = Targets(*(None if x is None else np.asarray(x, np.float64) for x in targets))
    classes = np.asarray(targets.classes)

    def entropy(logits):
        probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        return -np.log(np.take_along_axis(probabilities, classes[..., None], -1)).mean()

    def pyramid(x):
        levels = []
        for _ in range(5):
            g = np.exp(-((np.arange(5) - 2) ** 2) / 2) ** 2
            kernel = (g[:, None] + g[None]) / (g[:, None] + g[None]).sum()
            low = np.stack([correlate(y, kernel, mode="nearest") for y in x])
            levels.append(x - low)
            x = low.reshape(low.shape[0], low.shape[1] // 2, 2, -1, 2).mean(axis=(2, 4))
        return [*levels, x]

    def laplacian(p, q):
        pairs = zip(pyramid(p[..., 0]), pyramid(q[..., 0]), strict=True)
        return sum(np.abs(a - b).mean() for a, b in pairs)

    area = t.transition
    terms = {f"{name}_entropy": entropy(getattr(o, name)) for name in o._fields if name[0] == "s"}
    terms["detail_alpha"] = np.sqrt((area * (o.detail - t.alpha)) ** 2 + 1e-12).sum()
    terms["detail_alpha"] /= area.sum() + 1
    terms["detail_laplacian"] = laplacian(o.detail * area, t.alpha * area)
    terms["fusion_alpha"] = np.sqrt((o.fusion - t.alpha) ** 2 + 1e-12).mean()
    terms["fusion_laplacian"] = laplacian(o.fusion, t.alpha)
    composite = o.fusion * t.foreground + (1 - o.fusion) * t.background
    error = np.sqrt((composite - t.picture) ** 2 + 1e-12)
    terms["composition"] = error.sum() / np.prod(SHAPE)
    sides = sum(terms[f"side{k}_entropy"] for k in range(3))
    terms["total"] = (
        (sides + 3 * terms["semantic_entropy"]) / 6
        + 2 * (terms["detail_alpha"] + terms["detail_laplacian"])
        + 3 * (terms["fusion_alpha"] + terms["fusion_laplacian"])
        + terms["composition"]
    )
    return terms


def test_every_term_equals_its_definition(maps):
    outputs, targets = maps
    expected = in_float64(outputs, targets)
    total, terms = total_loss(
        Outputs(*map(jnp.asarray, outputs)), jax.tree.map(jnp.asarray, targets)
    )
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(terms[name], value, rtol=1e-6, err_msg=name)
    assert float(total) == float(terms["total"])


def test_without_foreground_the_composition_loss_is_left_out(maps):
    outputs, targets = maps
    full = total_loss(outputs, targets)[1]
    without = total_loss(outputs, targets._replace(foreground=None, background=None))[1]
    assert "composition" not in without
    np.testing.assert_allclose(without["total"], full["total"] - full["composition"], rtol=1e-6)


def test_a_perfect_alpha_costs_nothing_but_the_epsilon():
    alpha = np.random.default_rng(1).uniform(size=(1, 32, 32, 1)).astype(np.float32)
    assert laplacian_loss(alpha, alpha) == 0


def test_detail_outside_the_transition_does_not_count(maps):
    outputs, targets = maps
    outside = np.where(targets.transition > 0, outputs.detail, 1 - outputs.detail)
    first = total_loss(outputs, targets)[1]
    second = total_loss(outputs._replace(detail=outside), targets)[1]
    assert first["detail_alpha"] == second["detail_alpha"]
    assert first["detail_laplacian"] == second["detail_laplacian"]


def test_weights_are_those_of_the_losses_in_the_total(maps):
    outputs, targets = maps
    weights = Weights(semantic=0.5, detail=0.0, fusion=7.0, composition=2.0)
    total, terms = total_loss(outputs, targets, weights)
    sides = sum(terms[f"side{i}_entropy"] for i in range(3))
    expected = 0.5 * (sides + 3 * terms["semantic_entropy"]) / 6
    expected += 7 * (terms["fusion_alpha"] + terms["fusion_laplacian"]) + 2 * terms["composition"]
    np.testing.assert_allclose(total, expected, rtol=1e-6)
