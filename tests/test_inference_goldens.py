"""The test-time strategies with the real networks, against recorded alphas."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import RELEASE, SHORT, golden, golden_variables, golden_weights

from p3m_jax.inference.programs import predictor
from p3m_jax.inference.resizing import PROTOCOLS
from p3m_jax.inference.strategies import matte_picture
from p3m_jax.models.network import network

SMALL, LARGE = (451, 602), (1030, 1100)
CASES = [
    ("resnet34", SMALL, "resize", False),
    ("resnet34", SMALL, "hybrid", True),
    pytest.param("resnet34", SMALL, "resize", True, marks=RELEASE),
    pytest.param("resnet34", SMALL, "hybrid", False, marks=RELEASE),
    *(
        pytest.param(*case, antialias, marks=RELEASE)
        for case in (
            ("swin", LARGE, "resize"),
            ("vitae_s", SMALL, "resize"),
            ("vitae_s", SMALL, "hybrid"),
        )
        for antialias in (True, False)
    ),
]


@pytest.mark.parametrize(("name", "size", "strategy", "antialias"), CASES)
def test_alpha_equals_the_recorded_one(name, size, strategy, antialias):
    run = predictor(network(name), golden_variables(name))
    picture = golden_weights().image(*size, 1, "infer")[0]
    protocol = replace(PROTOCOLS["p3m-2021"], antialias=antialias)
    alpha = matte_picture(run, picture, strategy=strategy, protocol=protocol)
    key = f"{SHORT[name]}/{size[0]}x{size[1]}/{strategy.upper()}/antialias={antialias}"
    assert alpha.shape == size
    assert np.abs(alpha[::4, ::4] - np.squeeze(golden("inference")[key])).mean() < 2e-3
