"""A new encoder by the recipe in CONTRIBUTING.md: a shape, a call, and a name."""

import functools

import jax
import optax
import pytest
from flax import nnx
from pasting import batch_of

from p3m_jax.configs import common
from p3m_jax.models.decoders import EncoderShape, Features
from p3m_jax.models.layers import Convolution
from p3m_jax.models.network import ENCODERS, NETWORKS, Network
from p3m_jax.models.ops.pooling import max_pool
from p3m_jax.training.errors import ConfigurationError
from p3m_jax.training.parsing import parse
from p3m_jax.training.state import initial_state
from p3m_jax.training.step import make_train_step

SHAPE = EncoderShape(
    channels=(8, 8, 8, 8, 8),
    shallow=8,
    pooling_window=2,
    widths_change_last=False,
    logits_before_upsampling=False,
)


class Toy(nnx.Module):
    """A convolution and five poolings."""

    shape = SHAPE

    def __init__(self):
        self.convolution = Convolution(3, 8, 3)

    def __call__(self, x, *, train, key=None, edit=None, remat=False):
        shallow = self.convolution(x)
        x, levels, offsets = shallow, [], []
        for _ in range(5):
            x, positions = max_pool(x, 2)
            levels.append(x)
            offsets.append(positions)
        return Features(shallow, levels, offsets)


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setitem(ENCODERS, "toy", Toy)
    monkeypatch.setitem(NETWORKS, "toy", functools.partial(Network, "toy"))
    return Network("toy")


def test_it_is_a_network_that_trains(toy):
    variables, batch = toy.initialize(0), batch_of(0, size=32)
    outputs, _ = jax.eval_shape(toy.apply, variables, batch["picture"])
    assert outputs.fusion.shape == (2, 32, 32, 1)
    assert outputs.semantic.shape == (2, 32, 32, 3)
    optimizer = optax.sgd(0.1)
    step = make_train_step(toy, optimizer)
    state, terms = jax.eval_shape(step, initial_state(toy, optimizer, variables), batch)
    assert terms["total"].shape == ()
    assert state.parameters.keys() == variables.parameters.keys()


def test_its_configuration_works_but_for_what_it_cannot_do(toy):
    parse(common.variant("toy", "smoke,icp"))
    refused = pytest.raises(ConfigurationError, match="toy names no layers to paste at")
    with refused:
        parse(common.variant("toy", "smoke,fcp"))
