"""P3M-FCP in whole training steps and runs: gradients, sameness, devices, going on."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import small_run
from pasting import batch_of
from running import FUSED_TERMS, environment

from p3m_jax.copy_paste.feature import FeaturePaste, pasting_edit
from p3m_jax.data.synthetic.writer import write_synthetic_set
from p3m_jax.models.network import Variables, network
from p3m_jax.training import loop
from p3m_jax.training.log import read_log
from p3m_jax.training.state import initial_state
from p3m_jax.training.step import make_train_step

pytestmark = pytest.mark.slow

LAYERS = ("stem", "stage1")
SETTINGS = {
    "batch_size": 2,
    "data.crop_sizes": (96,),
    "data.output_size": 96,
    "log_every": 1,
    "checkpoint_every": 1,
    "validate_every": 100,
    "validation_size": 96,
    "final_test_sets": (),
    "copy_paste.probability": 1.0,
    "copy_paste.start_step": 1,
    "copy_paste.source_size": 96,
}


def equal(ours, expected):
    jax.tree.map(np.testing.assert_array_equal, ours, expected)


@pytest.fixture(scope="module")
def pasting(request):
    """A step of gradient descent, whose parameters tell the gradients, and a state for it."""
    net, optimizer = network(request.param), optax.sgd(1.0)
    step = make_train_step(net, optimizer, seed=3, paste=FeaturePaste(LAYERS))
    return net, jax.jit(step), initial_state(net, optimizer, net.initialize(0))


# Of its maps and statistics, bit for bit: tests/test_fcp_network.py.
@pytest.mark.release
@pytest.mark.parametrize("pasting", ["resnet34", "swin"], indirect=True)
def test_a_step_that_pastes_nothing_is_the_plain_step(pasting):
    # Gradients are rounded as each of the two programs happens to be fused: a millionth is what
    # float32 leaves of them.
    net, pasting, state = pasting
    batch = batch_of(1)
    plain = jax.jit(make_train_step(net, optax.sgd(1.0), seed=3))
    expected, expected_terms = plain(state, batch)
    same, terms = pasting(state, batch | {"paste": np.zeros(2, bool)})
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), terms, expected_terms)
    for before, one, other in zip(
        *(jax.tree.leaves(s.parameters) for s in (state, expected, same)), strict=True
    ):
        gradient = np.linalg.norm(before - one)
        assert np.linalg.norm(one - other) <= 1e-6 * max(gradient, 1e-2)
    pasted, terms = pasting(state, batch)
    assert float(terms["total"]) != float(expected_terms["total"])
    equal(pasting(state, batch), (pasted, terms))


# A run with an average resumes exactly: see below.
@pytest.mark.release
@pytest.mark.parametrize("pasting", ["resnet34"], indirect=True)
def test_the_average_follows_the_parameters_and_is_what_the_source_branch_runs_on(pasting):
    net, live, state = pasting
    paste = FeaturePaste(LAYERS, source_from="average")
    step = jax.jit(make_train_step(net, optax.sgd(1.0), seed=3, paste=paste, average_decay=0.75))
    batch = batch_of(1)
    own = state._replace(average=state.parameters)
    after, terms = step(own, batch)
    for name, average in after.average.items():
        expected = 0.75 * state.parameters[name] + 0.25 * after.parameters[name]
        np.testing.assert_allclose(average, expected, rtol=1e-6, atol=1e-7)
    other = own._replace(average=jax.tree.map(lambda x: 2 * x, own.average))
    # At first the average is the weights.
    np.testing.assert_allclose(live(state, batch)[1]["total"], terms["total"], rtol=1e-6)
    assert abs(step(other, batch)[1]["total"] / terms["total"] - 1) > 1e-5


def losses_of(net, batch, paste):
    """(target's parameters, source branch's parameters) -> a scalar of all the encoder's layers."""
    variables = net.initialize(0)

    def loss(parameters, of_source):
        of_source = Variables(of_source, variables.statistics)
        edit = pasting_edit(net, of_source, batch, paste)
        means = []

        def pasted(layer, features):
            features = edit(layer, features)
            weights = np.random.default_rng(len(means)).standard_normal(features.shape)
            means.append(jnp.mean(weights * features))
            return features

        of_target = Variables(parameters, variables.statistics)
        net.apply(of_target, batch["picture"], train=True, edit=pasted)
        return sum(means)

    return loss, jax.tree.map(np.float64, dict(variables.parameters))


def test_gradients_are_those_of_the_target_branch_and_what_finite_differences_say():
    # Not ResNet-34, whose published unpooling has a gradient that is not its derivative.
    net, batch = network("swin"), batch_of(3)
    rng = np.random.default_rng(2)
    with jax.enable_x64(True):
        loss, parameters = losses_of(net, batch, FeaturePaste(LAYERS))
        forward = jax.jit(loss)
        of_target, of_source = jax.jit(jax.grad(loss, argnums=(0, 1)))(parameters, parameters)
        assert all(not np.any(gradient) for gradient in of_source.values())
        trained, _ = losses_of(net, batch, FeaturePaste(LAYERS, stop_gradient=False))
        both = jax.jit(jax.grad(trained, argnums=(0, 1)))(parameters, parameters)
        names = ["encoder.stem0.kernel", "encoder.stages.0.blocks.1.expand.kernel"]
        names += ["encoder.widen.0.kernel"]
        for name in names:
            direction = rng.standard_normal(parameters[name].shape)
            direction /= np.linalg.norm(direction)

            def moved(step, name=name, direction=direction):
                return parameters | {name: parameters[name] + step * direction}

            def difference(along, step=1e-7, moved=moved):
                up, down = (forward(*along(moved(s))) for s in (step, -step))
                return float(up - down) / (2 * step)

            by_target = difference(lambda p: (p, parameters))
            ours = float(np.sum(of_target[name] * direction))
            np.testing.assert_allclose(ours, by_target, rtol=2e-4, atol=1e-9)
            # With the gradient let through, both branches' weights move the loss.
            by_source = difference(lambda p: (parameters, p))
            sums = [float(np.sum(gradient[name] * direction)) for gradient in both]
            np.testing.assert_allclose(sums, [by_target, by_source], rtol=2e-4, atol=1e-9)
        assert np.any(both[1]["encoder.stem0.kernel"])
        assert not np.any(both[1]["encoder.widen.0.kernel"])  # behind the last paste


TWO_DEVICES = """
import json
import re
import sys

import jax
import numpy as np
import optax
from pasting import batch_of

from p3m_jax.copy_paste.feature import FeaturePaste, replicated_entries
from p3m_jax.models.network import network
from p3m_jax.training.state import initial_state
from p3m_jax.training.step import make_train_step

name, devices, stop_gradient = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "True"
assert jax.device_count() == devices
mesh = jax.make_mesh((devices,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
over_batch = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
net, optimizer = network(name), optax.adam(1e-5)
state = jax.device_put(initial_state(net, optimizer, net.initialize(0)), everywhere)
batch = {
    name: jax.device_put(array, everywhere if name in replicated_entries() else over_batch)
    for name, array in batch_of(0, batch=4, sources=3).items()
}
paste = FeaturePaste(("stem", "stage1"), stop_gradient=stop_gradient)
step = jax.jit(make_train_step(net, optimizer, paste=paste), out_shardings=everywhere)
compiled = step.lower(state, batch).compile()
text = compiled.as_text()
assert devices == 1 or "all-reduce" in text
assert not re.search(r"all-gather|all-to-all|collective-permute|dynamic-partition", text)
state, terms = compiled(state, batch)
numbers = {term: float(value) for term, value in terms.items()}
numbers["mean"] = float(state.statistics["matting_decoder.block4.first.norm.mean"].sum())
print(json.dumps(numbers))
"""


@pytest.mark.release
@pytest.mark.parametrize(
    ("name", "stop_gradient"),
    [("resnet34", False), ("swin", True)],
)
def test_two_devices_take_the_same_step_and_gather_no_batch(name, stop_gradient):
    printed = []
    for devices in (1, 2):
        run = subprocess.run(
            [sys.executable, "-c", TWO_DEVICES, name, str(devices), str(stop_gradient)],
            env=environment(devices),
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        printed.append(json.loads(run.stdout))
    one, two = printed
    assert one.keys() == two.keys() >= FUSED_TERMS
    for term in one:
        # One pixel of 4 x 64 x 64 moves a mean of the fusion by up to 1.2e-4.
        bound = 2e-4 if term in FUSED_TERMS else 1e-5
        np.testing.assert_allclose(one[term], two[term], rtol=bound, err_msg=term)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_synthetic_set(folder, train=8, test=1, size=(128, 128), progress=False)
    return folder


def test_a_run_resumes_exactly_across_the_start_of_pasting(data, tmp_path, capsys):
    def run(name, steps):
        config = small_run.get_config("smoke,fcp")
        config.update_from_flattened_dict(SETTINGS | {"steps": steps})
        config.data.directory = str(data)
        config.copy_paste.source_from = "average"
        loop.train(config, tmp_path / name)
        return {line["step"]: line["total"] for line in read_log(tmp_path / name, "step")}

    whole = run("whole", 3)
    for steps in (1, 3):  # it stops before the first step that pastes
        parts = run("parts", steps)
    assert parts == whole
    assert "This run is finished" not in capsys.readouterr().out
    log = (tmp_path / "whole/log.jsonl").read_text()
    assert run("whole", 3) == whole
    assert "This run is finished: it took all of its 3 steps." in capsys.readouterr().out
    assert (tmp_path / "whole/log.jsonl").read_text() == log
