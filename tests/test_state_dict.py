"""The table of names and layouts: every name in one pair, whichever way it is read."""

import json

import numpy as np
import pytest
from conftest import GOLDENS, SHORT, golden_state_dict

from p3m_jax.interchange.names import (
    ARRAYS,
    ENCODER_PREFIXES,
    LAYERS,
    NAMED_LIKE,
    StateDictError,
    original_key,
    our_name,
    their_name,
)
from p3m_jax.interchange.state_dict import (
    list_problems,
    our_layout,
    state_dict_from_variables,
    their_layout,
    variables_from_state_dict,
)
from p3m_jax.models.network import ENCODERS, network

FEATURES = [f"encoder.layers.0.NC.{cell}.attn.w" for cell in (0, 1)]


def keys_of(name):
    shapes = json.loads((GOLDENS / f"state_dict_{SHORT[name]}.json").read_text())
    return list(shapes) + (FEATURES if name == "vitae_s" else [])


@pytest.mark.parametrize("name", SHORT)
def test_every_key_is_known_and_found_again_from_our_name(name):
    ours = {key: our_name(name, key) for key in keys_of(name)}
    kept = {key: our for key, our in ours.items() if our is not None}
    assert {key: their_name(name, our) for key, our in kept.items()} == {key: key for key in kept}
    shapes = network(name).shapes
    assert sorted(kept.values()) == sorted([*shapes.parameters, *shapes.statistics])
    dropped = {key for key, our in ours.items() if our is None}
    computed = ("num_batches_tracked", "relative_position_index", "attn_mask")
    others = sorted({key.split(".")[0] for key in dropped if not key.endswith(computed)})
    expected = {"resnet34": [f"encoder{i}" for i in range(5)] + ["resnet"], "swin": []}
    assert others == expected.get(name, ["encoder"])


def test_every_network_has_its_tables():
    for table in (LAYERS, ARRAYS, ENCODER_PREFIXES, SHORT):
        assert table.keys() == ENCODERS.keys() - NAMED_LIKE.keys()
    assert set(NAMED_LIKE.values()) <= LAYERS.keys()


def test_what_numbers_and_layers_mean():
    expected = {
        "encoder.layers.0.RC.proj2.bias": "encoder.stem1.bias",
        "encoder.layers.0.RC.norm.weight": "encoder.stem_norm.scale",
        "encoder.layers.3.RC.norm.weight": "encoder.norms.2.scale",
        "encoder.layers.3.RC.linear.weight": "encoder.widen.2.kernel",
        "encoder.layers.0.NC.1.attn.kqv.weight": "encoder.stages.0.1.attention.kqv.kernel",
        "encoder.layers.2.NC.11.attn.proj.bias": "encoder.stages.2.11.attention.projection.bias",
        "encoder.layers.0.NC.1.attn.w": "encoder.stages.0.1.attention.features",
        "encoder.layers.0.NC.1.attn.norm1.weight": None,
        "encoder.layers.1.NC.0.PCM.4.running_var": "encoder.stages.1.0.parallel.norm1.variance",
        "encoder.layers.1.NC.0.PCM.6.weight": "encoder.stages.1.0.parallel.convolution2.kernel",
        "decoder.decoder3_l.6.weight": "matting_decoder.block3.third.convolution.kernel",
    }
    assert {key: our_name("vitae_s", key) for key in expected} == expected


@pytest.mark.parametrize(
    "key",
    ["resnet.layer0.0.conv1.weight", "resnet.layer1.00.conv1.weight", "resnet.conv1.foo", "", "."]
    + ["decoder0_g.7.weight", "encoder1.5.anything", "resnet.fc.other", "resnet.fc"]
    + ["resnet.layer" + "1" * 5000 + ".0.conv1.weight"],
)
def test_foreign_names_are_refused(key):
    with pytest.raises(StateDictError, match="0 rules match it"):
        our_name("resnet34", key)


def test_aliases_name_the_encoder_once_more():
    keys = [key for key in keys_of("resnet34") if key.startswith("encoder")]
    originals = sorted(original_key("resnet34", key) for key in keys)
    encoder = [key for key in keys_of("resnet34") if key.startswith("resnet.")]
    assert originals == sorted(key for key in encoder if not key.startswith("resnet.fc"))
    assert original_key("resnet34", "decoder0_g.0.weight") is None
    assert original_key("swin", "encoder.norm.weight") is None


def test_layouts_are_inverse_to_each_other():
    rng = np.random.default_rng(0)
    for shape, name in (
        ((6, 2, 3, 5), "a.kernel"),
        ((6, 4), "a.kernel"),
        ((7,), "a.scale"),
        ((1, 32, 64), "a.attention.features"),
    ):
        array = rng.normal(size=shape)
        ours = our_layout(array, name)
        np.testing.assert_array_equal(their_layout(ours, name), array)
    assert our_layout(np.zeros((6, 2, 3, 5)), "a.kernel").shape == (3, 5, 2, 6)
    assert our_layout(np.zeros((1, 32, 64)), "a.attention.features").shape == (32, 64)


def test_a_state_dict_comes_back_as_it_was():
    arrays = golden_state_dict("swin")
    net = network("swin")
    back = state_dict_from_variables(net, variables_from_state_dict(net, arrays))
    assert back.keys() == {key for key in arrays if our_name("swin", key)}
    for key, array in back.items():
        np.testing.assert_array_equal(array, arrays[key])


def test_a_long_list_of_problems_shows_every_kind():
    with pytest.raises(StateDictError, match="418 mismatches") as caught:
        variables_from_state_dict(network("swin"), {})
    assert "encoder.stages.0.blocks.0.attention.qkv.bias: missing (and 11 more" in str(caught.value)
    assert len(str(caught.value).splitlines()) < 150
    many = [f"{first}{second}.w: no array" for first in "abcdefg" for second in "hijklmn"]
    assert list_problems(many) == [f"  {problem}" for problem in many]
