"""A new encoder, a new loss and a new data set, by the recipes in CONTRIBUTING.md."""

import functools

import jax
import numpy as np
import optax
import pytest
from flax import nnx
from pasting import batch_of
from small_network import SmallNetwork

from p3m_jax.configs import common
from p3m_jax.data.check import check
from p3m_jax.data.folders import DataSetError
from p3m_jax.data.sets import Scan
from p3m_jax.evaluation.evaluator import evaluate_examples
from p3m_jax.input.pipeline import training_batches
from p3m_jax.models.decoders import EncoderShape, Features
from p3m_jax.models.layers import Convolution
from p3m_jax.models.network import ENCODERS, NETWORKS, Network
from p3m_jax.models.ops.pooling import max_pool
from p3m_jax.pictures.images import write_image
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


def test_a_new_encoder_makes_a_network_that_trains(toy):
    variables, batch = toy.initialize(0), batch_of(0, size=32)
    outputs, _ = jax.eval_shape(toy.apply, variables, batch["picture"])
    assert outputs.fusion.shape == (2, 32, 32, 1)
    assert outputs.semantic.shape == (2, 32, 32, 3)
    optimizer = optax.sgd(0.1)
    step = make_train_step(toy, optimizer)
    state, terms = jax.eval_shape(step, initial_state(toy, optimizer, variables), batch)
    assert terms["total"].shape == ()
    assert state.parameters.keys() == variables.parameters.keys()


def test_its_configuration_works_except_for_what_it_cannot_do(toy):
    parse(common.variant("toy", "smoke,icp"))
    refused = pytest.raises(ConfigurationError, match="toy names no layers to paste at")
    with refused:
        parse(common.variant("toy", "smoke,fcp"))


def test_a_new_loss_decides_alone_what_is_learned():
    def squares(outputs, targets):
        error = jax.numpy.square(outputs.detail - targets.alpha).mean()
        return error, {"total": error, "squares": error}

    net, optimizer = SmallNetwork(), optax.sgd(1.0)
    variables = net.initialize(0)
    step = jax.jit(make_train_step(net, optimizer, loss=squares))
    state, terms = step(initial_state(net, optimizer, variables), batch_of(0, size=32))
    assert terms.keys() == {"total", "squares"}
    outputs, _ = net.apply(variables, batch_of(0, size=32)["picture"], train=True)
    alpha = batch_of(0, size=32)["matte"] / 255
    np.testing.assert_allclose(terms["squares"], np.square(outputs.detail - alpha).mean(), 1e-5)
    # The head's last channel is the detail; nothing asked for a change of the others.
    moved = np.any(state.parameters["head"] != variables.parameters["head"], axis=(0, 1, 2))
    assert moved.tolist() == [False] * 12 + [True]


def scan_toy(root):
    """Pictures NAME.png with mattes NAME_matte.png beside them."""
    mattes = {file.name.removesuffix("_matte.png"): file for file in root.glob("*_matte.png")}
    pictures = {f.stem: f for f in root.glob("*.png") if f not in mattes.values()}
    folders = {"picture": root, "matte": root}
    return Scan("toy set", root, folders, {"picture": pictures, "matte": mattes})


def test_a_new_data_set_is_checked_trained_on_and_evaluated(tmp_path):
    matte = np.zeros((48, 64), np.uint8)
    matte[8:40, 16:48] = 255
    for name, level in (("ann", 60), ("bob", 180)):
        write_image(tmp_path / f"{name}.png", np.full((48, 64, 3), level, np.uint8))
        write_image(tmp_path / f"{name}_matte.png", matte)
    scan = scan_toy(tmp_path)
    assert not check(scan, training=True, full=True).errors
    dataset = scan.dataset()
    options = {"batch_size": 2, "crop_sizes": (32,), "output_size": 32, "composition": False}
    batch = next(training_batches(dataset, seed=0, **options))
    assert sorted(batch["picture"][:, 0, 0, 0]) == [60, 180]
    assert batch["matte"].max() == 255
    clear = np.zeros((1, 64, 64, 1), np.float32)
    rows = evaluate_examples(lambda kind, pictures: clear, dataset, progress=False)
    assert [row["stem"] for row in rows] == ["ann", "bob"]
    assert rows[0]["SAD"] == pytest.approx(32 * 32 / 1000)
    (tmp_path / "bob_matte.png").unlink()
    with pytest.raises(DataSetError, match=r"no matte for 1 \(bob\)"):
        scan_toy(tmp_path).dataset()
