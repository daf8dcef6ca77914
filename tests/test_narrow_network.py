"""The narrow network: its size, a forward pass, and files of it next to those of the wide one."""

import math

import jax
import numpy as np
import pytest
from running import QUICKLY_COMPILED

from p3m_jax.checkpoints.weights import describe, load_for_inference, save_for_inference
from p3m_jax.configs import resnet34_quarter
from p3m_jax.interchange.importing import StateDictError, read_variables
from p3m_jax.models.network import network

NAME = "resnet34_quarter"


@pytest.fixture(scope="module")
def weights():
    return network(NAME).initialize(0)


def test_its_configuration_names_it_and_its_weights_are_small():
    assert resnet34_quarter.get_config("demonstration").network == NAME
    parameters, statistics = (
        sum(math.prod(array.shape) for array in arrays.values()) for arrays in network(NAME).shapes
    )
    assert parameters == 2_445_268
    assert 2 * (parameters + statistics) < 5e6  # bytes in float16


def test_it_makes_a_matte_from_every_decoder(weights):
    pictures = np.random.default_rng(0).uniform(0, 255, (1, 64, 32, 3)).astype(np.float32)
    run = jax.jit(lambda v, x: network(NAME).apply(v, x)[0], compiler_options=QUICKLY_COMPILED)
    outputs = run(weights, pictures)
    assert outputs.fusion.shape == (1, 64, 32, 1)
    assert outputs.semantic.shape == (1, 64, 32, 3)
    assert np.isfinite(outputs.fusion).all()
    assert np.ptp(outputs.detail) > 0


def test_an_exported_file_comes_back_as_the_narrow_network(weights, p3m, tmp_path, capsys):
    description = describe(NAME, synthetic=False, provenance={})
    save_for_inference(tmp_path / "ours", weights, description)
    assert p3m("export", tmp_path / "ours", "-o", tmp_path / "file.safetensors") == 0
    assert p3m("import", tmp_path / "file.safetensors", "-o", tmp_path / "back") == 0
    assert NAME in capsys.readouterr().out
    back = load_for_inference(tmp_path / "back")
    assert back.model_name == NAME
    for part, expected in zip(back.variables, weights, strict=True):
        assert part.keys() == expected.keys()
        for name, array in expected.items():
            np.testing.assert_array_equal(part[name], array)
    with pytest.raises(StateDictError, match=f"import it with --model {NAME}"):
        read_variables(tmp_path / "file.safetensors", "resnet34")
