"""How a step computes: bfloat16, parts of a batch, recomputed stages, arrays cut along devices."""

import subprocess
import sys

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import RELEASE, golden_variables, golden_weights
from ml_collections import ConfigDict
from pasting import batch_of
from running import environment
from small_network import SmallNetwork

from p3m_jax.configs import common
from p3m_jax.losses import Targets, detail_loss, share_of_transition
from p3m_jax.models.network import Variables, network
from p3m_jax.models.ops.activation import gelu, silu
from p3m_jax.models.resnet import DEPTHS
from p3m_jax.training.errors import ConfigurationError
from p3m_jax.training.parsing import parse
from p3m_jax.training.sharding import Places
from p3m_jax.training.state import initial_state, make_optimizer
from p3m_jax.training.step import Computing, cut, make_train_step


def apart(one, other):
    """How far maps are from others, as means: of detail, and of semantic in its own spread."""
    semantic = np.sqrt(np.mean(np.square(one.semantic - other.semantic)))
    return np.array([np.abs(one.detail - other.detail).mean(), semantic / np.std(other.semantic)])


@pytest.mark.parametrize(
    "name", ["resnet34", *(pytest.param(n, marks=RELEASE) for n in ("swin", "vitae_s"))]
)
def test_bfloat16_moves_outputs_about_as_far_as_rounding_the_weights_does(name):
    """The recorded weights are drawn at random, and small changes grow in them from layer to layer:
    how far is too far is told by float32 with weights that are rounded to bfloat16 once."""
    net, variables = network(name), golden_variables(name)
    picture = golden_weights().image(64, 96, 2)
    run = jax.jit(lambda v, x, dtype=None: net.apply(v, x, dtype=dtype)[0], static_argnums=2)
    full = run(variables, picture)
    half = run(variables, picture, "bfloat16")
    for map_ in half:
        assert map_.dtype == jnp.float32
    rounded = jax.tree.map(lambda x: np.float32(jnp.bfloat16(x)), variables)
    bound = apart(run(rounded, picture), full)
    assert (apart(half, full) < 2 * bound).all()
    assert (apart(half, full) > 0.1 * bound).all()  # it is not float32 with a cast at its end


def operations(jaxpr):
    """All operations of a program, those inside of loops and functions included."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            yield from operations(inner)


@pytest.mark.parametrize(
    "name", ["resnet34", *(pytest.param(n, marks=RELEASE) for n in ("swin", "vitae_s"))]
)
def test_what_stays_in_float32(name):
    """Products are of bfloat16; what norms, softmaxes, losses and Adam are made of is float32."""
    net, optimizer = network(name), optax.adam(1e-5)
    state = jax.eval_shape(lambda v: initial_state(net, optimizer, v), net.shapes)
    step = make_train_step(net, optimizer, computing=Computing("bfloat16"))
    program = jax.make_jaxpr(step)(state, batch_of(0))
    inputs = {}
    for operation in operations(program.jaxpr):
        dtypes = {value.aval.dtype.name for value in operation.invars if hasattr(value, "aval")}
        inputs.setdefault(operation.primitive.name, []).append(dtypes)
    assert all(dtypes == {"bfloat16"} for dtypes in inputs["conv_general_dilated"])
    for precise in ("rsqrt", "sqrt", "log", "reduce_max"):
        assert not any("bfloat16" in dtypes for dtypes in inputs.get(precise, [])), precise
    after, terms = jax.eval_shape(step, state, batch_of(0))
    assert {x.dtype for x in jax.tree.leaves((after.parameters, after.statistics, terms))} == {
        np.dtype("float32")
    }


def test_parts_of_a_batch_share_one_normalisation():
    """The detail's alpha error is over the transition area of the whole batch."""
    rng = np.random.default_rng(0)
    area = (rng.random((6, 32, 32, 1)) < np.linspace(0.05, 0.9, 6)[:, None, None, None]) * 1.0
    batch = {
        "picture": jnp.zeros((6, 1)),
        "detail": jnp.asarray(rng.random((6, 32, 32, 1))),
        "alpha": jnp.asarray(rng.random((6, 32, 32, 1))),
        "transition": jnp.asarray(area),
        "source": jnp.ones(3),
    }

    def loss(batch, share=None):
        targets = Targets(batch["alpha"], None, batch["transition"], None, transition_share=share)
        return detail_loss(batch["detail"], targets)[0]

    whole, share = loss(batch), share_of_transition(batch["transition"])
    parts, shared = cut(batch, 3)
    assert shared.keys() == {"source"}
    np.testing.assert_array_equal(parts["alpha"][1], batch["alpha"][1::3])
    errors = [loss({n: v[i] for n, v in parts.items()}, share) for i in range(3)]
    np.testing.assert_allclose(np.mean(errors), whole, rtol=1e-6)
    with pytest.raises(ValueError, match="A batch of 6 cannot be split into 4 equal parts"):
        cut(batch, 4)


@pytest.mark.parametrize(
    ("rule", "batch", "factor"),
    [("constant", 64, 1), ("sqrt", 32, 2), ("linear", 32, 4), ("sqrt", 8, 1)],
)
def test_the_learning_rate_follows_the_rule(rule, batch, factor):
    optimizer = make_optimizer(1e-5, rule=rule, batch_size=batch)
    gradients = {"x": jnp.ones(3)}
    updates, _ = optimizer.update(gradients, optimizer.init(gradients))
    np.testing.assert_allclose(updates["x"], -factor * 1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"batch_parts": 3}, "use a multiple of 3, such as --config.batch_size=9"),
        ({"batch_parts": 0}, "batch_parts is 0; it must be at least 1"),
        (
            {"precision": "float16"},
            "precision is 'float16'; it must be one of 'float32', 'bfloat16'",
        ),
        ({"learning_rate_rule": "square"}, "learning_rate_rule is 'square'; it must be one of"),
    ],
)
def test_settings_that_cannot_work_are_named(changes, sentence):
    config = common.recipe("resnet34")
    config.update(ConfigDict(changes))
    with pytest.raises(ConfigurationError) as error:
        parse(config)
    assert sentence in str(error.value)


def gradient_step(net, computing, batch):
    """(gradients, terms) of one step in float64."""
    optimizer = optax.sgd(1.0)
    variables = jax.tree.map(np.float64, net.initialize(0))
    state = initial_state(net, optimizer, variables)
    step = jax.jit(make_train_step(net, optimizer, computing=computing))
    after, terms = step(state, batch)
    gradients = jax.tree.map(lambda a, b: np.asarray(a - b), state.parameters, after.parameters)
    return gradients, terms


@pytest.mark.parametrize(
    ("net", "computing"),
    [
        (SmallNetwork(), Computing(parts=2)),
        *(
            pytest.param(network("resnet34"), computing, marks=RELEASE)
            for computing in (Computing(parts=2, remat=True), Computing(remat=True))
        ),
    ],
)
def test_parts_and_recomputed_stages_give_the_same_gradients(net, computing):
    """Each part holds the same examples, so that a part's BatchNorms see what the whole's do."""
    half = batch_of(0, batch=2, size=32 if net.name == "small" else 64)
    batch = {name: np.repeat(array, 2, axis=0) for name, array in half.items()}
    with jax.enable_x64(True):
        expected, terms = gradient_step(net, Computing(), batch)
        gradients, again = gradient_step(net, computing, batch)
    for name, value in terms.items():
        np.testing.assert_allclose(again[name], value, rtol=1e-9, err_msg=name)
    for name, gradient in expected.items():
        size = max(np.linalg.norm(gradient), 1e-6)
        assert np.linalg.norm(gradients[name] - gradient) < 1e-7 * size, name


def test_recomputed_stages_take_their_convolutions_twice():
    """What they compute is the same: the test before, for .ci/release."""
    net = network("resnet34")
    parameters, statistics = net.shapes
    pictures = jax.ShapeDtypeStruct((2, 32, 32, 3), np.uint8)

    def convolutions(remat):
        def loss(parameters, statistics, pictures):
            variables = Variables(parameters, statistics)
            outputs, _ = net.apply(variables, pictures, train=True, remat=remat)
            return jnp.sum(outputs.detail)

        program = jax.make_jaxpr(jax.grad(loss))(parameters, statistics, pictures)
        names = [operation.primitive.name for operation in operations(program.jaxpr)]
        return names.count("conv_general_dilated")

    stages = sum(2 * depth for depth in DEPTHS)
    assert convolutions(True) >= convolutions(False) + stages


CUT = """
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
from pasting import batch_of
from small_network import SmallNetwork

from p3m_jax.models.network import Variables, network
from p3m_jax.training.sharding import Places
from p3m_jax.training.state import TrainState, initial_state
from p3m_jax.training.step import make_train_step

net = SmallNetwork() if sys.argv[1] == "small" else network(sys.argv[1])
optimizer, places = optax.adam(1e-5), Places.of_all_devices()
first = lambda variables: initial_state(net, optimizer, variables)


def short_step(state, batch):  # without the losses, which take ten seconds to compile
    def loss(parameters):
        variables = Variables(parameters, state.statistics)
        outputs, moved = net.apply(variables, batch["picture"], train=True)
        return jnp.mean(jnp.square(outputs.detail)), moved

    (total, moved), gradients = jax.value_and_grad(loss, has_aux=True)(state.parameters)
    updates, moments = optimizer.update(gradients, state.optimizer)
    parameters = optax.apply_updates(state.parameters, updates)
    return TrainState(state.step + 1, parameters, moved, moments), {"total": total}


take_step = short_step if net.name == "small" else make_train_step(net, optimizer)
variables, batch = net.initialize(0), places.batch(batch_of(0, batch=4, size=32))
results = []
for cut in (False, True):
    where = places.of_state(jax.eval_shape(first, variables), cut=cut)
    state = jax.jit(first, out_shardings=where)(variables)
    step = jax.jit(take_step, out_shardings=(where, places.everywhere))
    compiled = step.lower(state, batch).compile()
    taken = compiled.memory_analysis().argument_size_in_bytes
    state, terms = compiled(state, batch)
    kernel = state.parameters[sys.argv[2]]
    part = kernel.addressable_shards[0].data.size / kernel.size
    results.append((taken, part, float(terms["total"]), places.local(state.parameters)))
(whole, all_of_it, total, parameters), (cut, half, same, others) = results
assert all_of_it == 1 and half == 0.5
assert cut < 0.56 * whole, (cut, whole)
np.testing.assert_allclose(same, total, rtol=1e-6)
for name, values in parameters.items():
    assert values.shape == others[name].shape
    assert np.abs(values - others[name]).max() < 2.1e-5, name  # a step of Adam to either side
"""


@pytest.mark.parametrize(
    ("net", "kernel"),
    [
        ("small", "second"),
        pytest.param("resnet34", "encoder.stages.3.0.convolution2.kernel", marks=RELEASE),
    ],
)
def test_a_state_that_is_cut_takes_half_of_the_memory_and_the_same_step(net, kernel):
    command = [sys.executable, "-c", CUT, net, kernel]
    run = subprocess.run(
        command, env=environment(2, soon=False), capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr


def test_small_arrays_are_never_cut():
    places = Places.of_all_devices()
    state = {"kernel": jax.ShapeDtypeStruct((3, 3, 512, 512), jnp.float32), "bias": jnp.zeros(512)}
    where = places.of_state(state, cut=True)
    assert where["bias"] == places.everywhere
    assert where["kernel"].spec == jax.sharding.PartitionSpec(None, None, "data")


@pytest.mark.parametrize("activation", [gelu, silu])
def test_activations_keep_their_input_alone(activation):
    y, gradient = jax.vjp(activation, jnp.linspace(-4, 4, 9))
    (kept,) = jax.tree.leaves(gradient)
    np.testing.assert_array_equal(kept, jnp.linspace(-4, 4, 9))
    # The same formulas: roundings of float32 are between them, up to 8 of its last digits.
    plain = {gelu: lambda x: jax.nn.gelu(x, approximate=False), silu: jax.nn.silu}[activation]
    expected, its_gradient = jax.vjp(plain, kept)
    np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(gradient(y)[0], its_gradient(y)[0], rtol=1e-6, atol=1e-7)
