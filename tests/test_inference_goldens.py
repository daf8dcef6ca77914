"""The test-time strategies with the real networks, against recorded alphas."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import SHORT, golden, golden_variables, golden_weights

from p3m_jax.checkpoint import predict
from p3m_jax.evaluation.inference import matte_picture
from p3m_jax.evaluation.protocols import PROTOCOLS
from p3m_jax.models.network import network

CASES = [
    ("resnet34", (451, 602), "resize"),
    ("resnet34", (451, 602), "hybrid"),
    ("swin", (1030, 1100), "resize"),
    ("vitae_s", (451, 602), "resize"),
    ("vitae_s", (451, 602), "hybrid"),
]


@pytest.mark.parametrize(("name", "size", "strategy"), CASES)
@pytest.mark.parametrize("antialias", [True, False])
def test_alpha_equals_the_recorded_one(name, size, strategy, antialias):
    def run(pictures):
        return predict(network(name), golden_variables(name), pictures)

    picture = golden_weights().image(*size, 1, "infer")[0]
    protocol = replace(PROTOCOLS["p3m-2021"], antialias=antialias)
    alpha = matte_picture(run, picture, strategy=strategy, protocol=protocol)
    key = f"{SHORT[name]}/{size[0]}x{size[1]}/{strategy.upper()}/antialias={antialias}"
    assert alpha.shape == size
    assert np.abs(alpha[::4, ::4] - np.squeeze(golden("inference")[key])).mean() < 2e-3
