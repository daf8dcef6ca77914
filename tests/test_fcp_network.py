"""P3M-FCP in the networks, the state and the configurations."""

import json
import re
import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import SHORT
from flax import nnx
from pasting import batch_of, entries
from running import environment

from p3m_jax.checkpoints.weights import describe
from p3m_jax.configs import common
from p3m_jax.copy_paste.feature import FeaturePaste, pasting_edit
from p3m_jax.models.decoders import STRIDES
from p3m_jax.models.network import ENCODERS, network
from p3m_jax.models.ops.pooling import max_pool
from p3m_jax.training.errors import ConfigurationError
from p3m_jax.training.parsing import parse
from p3m_jax.training.run_checkpoints import RunCheckpoints, newest_whole
from p3m_jax.training.run_folder import claim_run_folder
from p3m_jax.training.state import TrainState, initial_state
from p3m_jax.training.step import make_train_step


@pytest.mark.parametrize("name", sorted(SHORT))
def test_pooling_and_every_later_map_come_from_what_the_hook_gives(name):
    encoder = ENCODERS[name]()  # all its weights are zero: whatever is not zero was put in
    definition, state = nnx.split(encoder)

    @jax.jit
    def run(state, pictures):
        put = {}

        def edit(layer, features):
            put[layer] = jax.random.normal(jax.random.key(len(put)), features.shape)
            return put[layer]

        return nnx.merge(definition, state)(pictures, train=False, edit=edit), put

    features, put = run(state, jnp.zeros((1, 32, 32, 3)))
    assert put.keys() == set(network(name).layers)
    maps = {"stem": features.shallow}
    maps |= {layer: features.levels[i] for i, layer in enumerate(list(STRIDES)[1:])}
    for i, layer in enumerate(STRIDES):
        if layer not in put:
            continue
        np.testing.assert_array_equal(maps[layer], put[layer])
        assert maps[layer].shape[1] == 32 // STRIDES[layer]
        if i < 5:
            _, offsets = max_pool(put[layer], encoder.shape.pooling_window)
            np.testing.assert_array_equal(features.offsets[i], offsets)


@pytest.mark.parametrize("name", sorted(SHORT))
def test_every_layer_of_every_network_can_be_pasted_at(name):
    net, batch = network(name), entries(0, source_size=96, sources=2)

    def run(variables, pictures, batch):
        edit = pasting_edit(net, variables, batch, FeaturePaste(net.layers))
        return net.apply(variables, pictures, train=True, edit=edit)[0]

    outputs = jax.eval_shape(run, net.shapes, jnp.zeros((2, 64, 64, 3)), batch)
    assert outputs.fusion.shape == (2, 64, 64, 1)


def test_what_is_missing_is_named():
    net, batch = network("resnet34"), entries(0)
    with pytest.raises(ValueError, match="level0"):
        pasting_edit(net, None, batch, FeaturePaste(("level0",)))
    del batch["facemask"], batch["source"]
    with pytest.raises(ValueError, match=r"lacks facemask, source\."):
        pasting_edit(net, None, batch, FeaturePaste(("stem",)))


@pytest.fixture(scope="module")
def resnet():
    """ResNet-34 with and without a paste, forward in training mode: (outputs, statistics)."""
    net = network("resnet34")
    variables = jax.tree.map(jnp.asarray, net.initialize(0))

    @jax.jit
    def run(variables, batch):
        edit = pasting_edit(net, variables, batch, FeaturePaste(("stem", "stage1")))
        return net.apply(variables, batch["picture"], train=True, edit=edit)

    # Arguments, not constants: these would be folded and written out with the program.
    plain = jax.jit(lambda variables, x: net.apply(variables, x, train=True))
    return partial(run, variables), partial(plain, variables)


def test_where_nothing_is_pasted_the_network_gives_what_it_gives_without(resnet):
    run, plain = resnet
    batch = batch_of(5)
    expected = plain(batch["picture"])
    for what in ("facemask", "source_mask", "paste"):
        empty = batch | {what: np.zeros_like(batch[what])}
        jax.tree.map(np.testing.assert_array_equal, run(empty), expected)
    assert np.any(run(batch)[0].detail != expected[0].detail)


def test_no_source_gets_into_the_statistics_of_the_layers_it_passes(resnet):
    run, plain = resnet
    batch = batch_of(6)
    (_, statistics), (_, expected) = run(batch), plain(batch["picture"])
    for name in ("mean", "variance"):
        # The first norm stands before the paste, those of the decoders behind it.
        name = f"encoder.stem_norm.{name}"
        np.testing.assert_array_equal(statistics[name], expected[name])
    behind = "matting_decoder.second.norm.mean"
    assert np.any(statistics[behind] != expected[behind])


ON_TWO_DEVICES = """
import re

import jax
import numpy as np
from pasting import batch_of

from p3m_jax.copy_paste.feature import FeaturePaste, pasting_edit, replicated_entries
from p3m_jax.models.network import network

net, paste = network("resnet34"), FeaturePaste(("stem", "stage1"))
variables, batch = net.initialize(0), batch_of(0, batch=4, sources=3)
shapes = jax.eval_shape(lambda: net.features(variables, batch["picture"], paste.layers))
rng = np.random.default_rng(0)
targets = {layer: np.float32(rng.standard_normal(s.shape)) for layer, s in shapes.items()}


@jax.jit
def pasted(variables, batch, targets):
    edit = pasting_edit(net, variables, batch, paste)
    return {layer: edit(layer, target) for layer, target in targets.items()}


results = []
for devices in (1, 2):
    mesh = jax.make_mesh(
        (devices,), ("data",), (jax.sharding.AxisType.Auto,), devices=jax.devices()[:devices]
    )
    everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    cut = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    where = {name: everywhere if name in replicated_entries() else cut for name in batch}
    placed = {name: jax.device_put(array, where[name]) for name, array in batch.items()}
    arguments = jax.device_put(variables, everywhere), placed, jax.device_put(targets, cut)
    compiled = pasted.lower(*arguments).compile()
    text = compiled.as_text()
    assert devices == 1 or "all-reduce" in text
    assert not re.search(r"all-gather|all-to-all|collective-permute|dynamic-partition", text)
    results.append(jax.device_get(compiled(*arguments)))
for layer, one in results[0].items():
    changed = (one != targets[layer]).any(-1)
    assert 0.01 < changed.mean() < 0.5
    assert changed.any((1, 2)).all()
    np.testing.assert_allclose(results[1][layer], one, rtol=1e-4, atol=1e-5)
"""


def test_on_two_devices_the_same_is_pasted_and_no_batch_is_gathered():
    """Whole steps on two devices: tests/test_fcp_step.py."""
    run = subprocess.run(
        [sys.executable, "-c", ON_TWO_DEVICES],
        env=environment(2),
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


def test_a_run_without_an_average_has_the_state_it_always_had(tmp_path):
    net, optimizer = network("resnet34"), optax.sgd(0.1)
    plain = TrainState(jnp.int32(3), {"a": jnp.ones(2)}, {"b": jnp.zeros(2)}, {"c": jnp.ones(1)})
    for state in (plain, plain._replace(average={"a": jnp.full(2, 0.5)})):
        folder = tmp_path / str(state.average is None)
        description = describe("resnet34", synthetic=False, provenance={})
        checkpoints = RunCheckpoints(folder, description, keep=1)
        checkpoints.save(state)
        checkpoints.close()
        jax.tree.map(np.testing.assert_array_equal, newest_whole(folder, state).state, state)
        metadata = json.loads((folder / "3/state/_METADATA").read_text())
        kept = {re.match(r"\('(\w+)'", key)[1] for key in metadata["tree_metadata"]}
        assert ("average" in kept) == (state.average is not None)
    variables = net.initialize(0)
    assert initial_state(net, optimizer, variables).average is None
    averaged = initial_state(net, optimizer, variables, average=True)
    name = next(iter(averaged.average))
    np.testing.assert_array_equal(averaged.average[name], averaged.parameters[name])
    assert averaged.average[name] is not averaged.parameters[name]


def test_the_average_cannot_be_pasted_from_where_none_is_kept():
    net, optimizer = network("resnet34"), optax.sgd(0.1)
    step = make_train_step(net, optimizer, paste=FeaturePaste(("stem",), source_from="average"))
    state = jax.eval_shape(lambda v: initial_state(net, optimizer, v), net.shapes)
    with pytest.raises(ValueError, match="keeps no average"):
        jax.eval_shape(step, state, batch_of(0))


@pytest.mark.parametrize("name", sorted(ENCODERS))
@pytest.mark.parametrize("variant", ["", "demonstration", "smoke"])
def test_the_configurations_can_work(name, variant):
    config = common.variant(name, f"{variant},fcp")
    pasting = parse(config).copy_paste
    assert pasting.features == FeaturePaste(("stem",))
    # A third of the way, however the run is counted.
    steps = config.steps or config.epochs * 1000 / config.batch_size
    assert pasting.start.in_steps(1000) == steps // 3


@pytest.mark.parametrize(
    ("setting", "value", "sentence"),
    [
        ("level", "features", "copy_paste.level is 'features'; it must be one of 'none'"),
        (
            "layers",
            ("level0", "stage1"),
            "copy_paste.layers is ('level0', 'stage1'); choose some of",
        ),
        ("layers", (), "copy_paste.layers is ()"),
        ("source_size", 100, "copy_paste.source_size is 100; it must be a multiple of 32"),
        ("source_batch", 0, "copy_paste.source_batch is 0"),
        ("source_from", "old", "copy_paste.source_from is 'old'"),
        ("probability", 1.5, "copy_paste.probability is 1.5; it must be between 0 and 1"),
        ("start_step", -1, "copy_paste.start_step must be at least 0"),
    ],
)
def test_settings_that_cannot_work_are_named(setting, value, sentence):
    config = common.variant("resnet34", "smoke,fcp")
    config.copy_paste[setting] = value
    with pytest.raises(ConfigurationError, match=re.escape(sentence)):
        parse(config)


def test_a_run_of_an_older_version_goes_on_without_pasting_only(tmp_path):
    config = common.variant("resnet34", "demonstration")
    with claim_run_folder(tmp_path / "run", config.to_dict()):
        pass
    file = tmp_path / "run" / "config.json"
    older = json.loads(file.read_text())
    del older["copy_paste"], older["average_decay"]
    step = tmp_path / "run" / "checkpoints" / "4"
    step.mkdir(parents=True)
    (step / "_CHECKPOINT_METADATA").write_text("{}")
    file.write_text(json.dumps(older))
    with claim_run_folder(tmp_path / "run", config.to_dict()):
        pass
    file.write_text(json.dumps(older))
    refused = pytest.raises(
        Exception, match=r"copy_paste.level is 'none' in that run and 'feature' now"
    )
    with (
        refused,
        claim_run_folder(
            tmp_path / "run", common.variant("resnet34", "demonstration,fcp").to_dict()
        ),
    ):
        pass
    with claim_run_folder(tmp_path / "other", {"steps": 1}):
        pass


def test_a_run_of_the_former_configuration_files_resumes(tmp_path):
    """They said nothing of copy and paste in the variant."""
    config = common.variant("resnet34", "smoke,fcp")
    config.variant = "smoke"
    with claim_run_folder(tmp_path, config.to_dict()):
        saved = tmp_path / "checkpoints" / "4"
        saved.mkdir(parents=True)
        (saved / "_CHECKPOINT_METADATA").write_text("{}")
    with claim_run_folder(tmp_path, common.variant("resnet34", "fcp,smoke").to_dict()):
        pass
