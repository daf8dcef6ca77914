"""P3M-FCP: what a paste among features must be, whatever the weights."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from ml_collections import ConfigDict
from pasting import about, batch_of, ellipse, entries

from p3m_jax.configs import common, resnet34_fcp, swin_fcp, vitae_fcp
from p3m_jax.copy_paste import feature
from p3m_jax.copy_paste.feature import FeaturePaste, pasting_edit, warp
from p3m_jax.models.decoders import STRIDES
from p3m_jax.models.network import ENCODERS, Variables, network
from p3m_jax.models.pooling import max_pool
from p3m_jax.training.checkpoint import RunCheckpoints
from p3m_jax.training.errors import ConfigurationError
from p3m_jax.training.pasting import feature_paste, start_step
from p3m_jax.training.run_folder import claim_run_folder
from p3m_jax.training.settings import check_settings
from p3m_jax.training.state import TrainState, initial_state
from p3m_jax.training.step import make_train_step

RNG = np.random.default_rng(0)
IDENTITY = np.eye(2, 3, dtype=np.float32)


class Means:
    """Stands for a network whose features are the means of the picture over its cells, times W."""

    name, layers = "means", tuple(STRIDES)
    kernel = RNG.standard_normal((3, 5)).astype(np.float32)

    def features(self, variables, pictures, layers):
        pictures = jnp.asarray(pictures, jnp.float32)
        return {
            layer: feature.cell_means(pictures, STRIDES[layer]) @ self.kernel for layer in layers
        }


def pasted(layer, batch, target):
    """The target's features after the paste, and W as a slow but plain program sees it."""
    batch = {name: jnp.asarray(value) for name, value in batch.items()}
    edit = pasting_edit(Means(), Variables({}, {}), batch, FeaturePaste((layer,)))
    return np.asarray(edit(layer, jnp.asarray(target)))


def targets(layer, batch=2, size=64):
    side = size // STRIDES[layer]
    return RNG.standard_normal((batch, side, side, 5)).astype(np.float32)


@pytest.mark.parametrize("layer", ["stem", "level0", "stage1", "stage2"])
def test_the_paste_stays_inside_the_target_mask_and_changes_not_a_bit_outside(layer):
    batch, target = entries(1), targets(layer)
    result = pasted(layer, batch, target)
    inside = np.asarray(feature.cell_means(batch["facemask"] / 255.0, STRIDES[layer])) > 0.5
    changed = np.any(result != target, axis=-1, keepdims=True)
    assert changed.any()
    assert not np.any(changed & ~inside)
    # The source's ellipse is larger or smaller than the target's, but mostly covers it.
    assert changed.sum() > 0.5 * inside.sum()
    np.testing.assert_array_equal(
        result[~np.broadcast_to(changed, result.shape)],
        target[~np.broadcast_to(changed, target.shape)],
    )


@pytest.mark.parametrize("what", ["facemask", "source_mask", "paste"])
def test_without_a_mask_or_a_chosen_example_nothing_changes(what):
    batch, target = entries(1), targets("level0")
    batch[what] = np.zeros_like(batch[what])
    np.testing.assert_array_equal(pasted("level0", batch, target), target)


def test_examples_that_are_not_chosen_stay_as_they_are():
    batch, target = entries(1), targets("level0")
    batch["paste"] = np.array([False, True])
    result = pasted("level0", batch, target)
    np.testing.assert_array_equal(result[0], target[0])
    assert np.any(result[1] != target[1])
    # What is not pasted says nothing about how much to shrink.
    batch["paste_matrix"][0] *= 5
    np.testing.assert_array_equal(pasted("level0", batch, target), result)


@pytest.mark.parametrize("layer", ["stem", "stage1"])
def test_a_face_pasted_onto_itself_is_the_same_face(layer):
    batch = entries(2)
    batch["source_mask"] = batch["facemask"][:1]
    batch["paste_matrix"] = np.stack([IDENTITY] * 2)
    target = np.repeat(
        np.asarray(Means().features(None, batch["source"], [layer])[layer]), 2, axis=0
    )
    np.testing.assert_array_equal(pasted(layer, batch, target), target)


@pytest.mark.parametrize("layer", ["stem", "stage1", "stage2"])
@pytest.mark.parametrize("degrees", [0, 25])
def test_centres_coincide_to_half_a_cell(layer, degrees):
    stride, size = STRIDES[layer], 128
    batch = entries(3, batch=1, size=size, source_size=96)
    # The target's mask is everywhere, so that W is the whole of the warped source mask.
    batch["facemask"] = np.full((1, size, size, 1), 255, np.uint8)
    centre = (57.0, 70.5)
    matrix = about(centre, (48, 48), degrees=degrees, scale=(0.8, 0.6))
    batch["paste_matrix"] = matrix[None]
    result = pasted(layer, batch, np.zeros((1, size // stride, size // stride, 5), np.float32))
    rows, columns = np.nonzero(np.any(result[0] != 0, axis=-1))
    for found, wanted in ((columns, centre[0]), (rows, centre[1])):
        middle = stride * (found.min() + found.max() + 1) / 2
        assert abs(middle - wanted) <= stride / 2 + 0.5
    # The ellipse of 2 * 96 / 3 pixels, scaled: to a cell at either side.
    if degrees == 0:
        assert abs(stride * np.ptp(columns) - 64 * 0.8) <= 2 * stride
        assert abs(stride * np.ptp(rows) - 64 * 0.6) <= 2 * stride


def test_warping_features_is_warping_the_picture_where_the_layer_is_pointwise():
    pictures = RNG.standard_normal((1, 32, 32, 3)).astype(np.float32)
    kernel = RNG.standard_normal((3, 7)).astype(np.float32)
    matrices = entries(4, batch=3, size=32, source_size=32)["paste_matrix"]
    first = warp(jnp.asarray(pictures), matrices, 1, (32, 32)) @ kernel
    last = warp(jnp.asarray(pictures @ kernel), matrices, 1, (32, 32))
    np.testing.assert_allclose(first, last, atol=2e-5)


def test_a_warp_is_bilinear():
    """Against a linear ramp, which it reproduces at any position inside."""
    stride, side = 4, 16
    rows, columns = np.meshgrid(*[stride * (np.arange(side) + 0.5)] * 2, indexing="ij")
    ramp = np.stack([columns, rows], axis=-1)[None].astype(np.float32)
    matrix = about((32, 32), (30, 34), degrees=20, scale=(1.3, 1.6))
    seen = np.asarray(warp(jnp.asarray(ramp), matrix[None], stride, (side, side)))[0]
    expected = np.stack([columns, rows, np.ones_like(rows)], axis=-1) @ matrix.T
    inside = np.all((expected > 2) & (expected < 62), axis=-1)
    assert inside.mean() > 0.5
    np.testing.assert_allclose(seen[inside], expected[inside], atol=1e-3)


@pytest.mark.parametrize("stride", [1, 4])
@pytest.mark.parametrize(
    ("turned", "degrees", "flip"),
    [
        (lambda m: m[:, ::-1], 0, True),
        (lambda m: np.rot90(m, -1), 90, False),  # clockwise, as rows go down
        (lambda m: np.rot90(m[:, ::-1], -1), 90, True),
        (lambda m: np.rot90(m, 2), 180, False),
    ],
)
def test_flips_and_rotations_go_the_right_way(stride, turned, degrees, flip):
    letter = np.zeros((8, 8, 1), np.float32)
    letter[1:7, 2] = letter[1, 2:6] = letter[3, 2:5] = 1  # an F
    middle = (4 * stride, 4 * stride)
    matrix = about(middle, middle, degrees=degrees, flip=flip)
    seen = np.asarray(warp(jnp.asarray(letter[None]), matrix[None], stride, (8, 8)))[0]
    np.testing.assert_allclose(seen[..., 0], turned(letter[..., 0]), atol=1e-5)


def test_examples_take_the_sources_in_turn():
    maps = np.arange(3, dtype=np.float32)[:, None, None, None] * np.ones((3, 4, 4, 1), np.float32)
    seen = np.asarray(warp(jnp.asarray(maps), np.stack([IDENTITY] * 8), 1, (4, 4)))
    np.testing.assert_array_equal(seen[:, 0, 0, 0], [0, 1, 2, 0, 1, 2, 0, 1])


def test_around_a_map_there_is_its_edge_or_nothing():
    ones, matrix = jnp.ones((1, 4, 4, 1)), np.float32([[[1, 0, 3], [0, 1, 0]]])
    assert np.all(np.asarray(warp(ones, matrix, 1, (4, 4))) == 1)
    seen = np.asarray(warp(ones, matrix, 1, (4, 4), empty=True))
    np.testing.assert_array_equal(seen[0, :, :, 0], [[1, 0, 0, 0]] * 4)


def test_the_sources_are_shrunk_by_the_mean_of_what_the_targets_ask_for():
    matrices = np.stack([IDENTITY * k for k in (2, 8, 100)]).astype(np.float32)
    chosen = np.array([True, True, False])
    np.testing.assert_allclose(feature.shrinking(matrices, chosen), 1 / 4, rtol=1e-6)
    np.testing.assert_allclose(feature.shrinking(matrices, ~chosen), 1 / 8)
    assert feature.shrinking(matrices, np.zeros(3, bool)) == 1
    assert feature.shrinking(0.1 * matrices[:2], chosen[:2]) == 1  # nothing is enlarged


def test_shrinking_keeps_the_centre_and_what_the_filter_passes():
    size = 64
    picture = RNG.integers(0, 256, (1, size, size, 3), np.uint8)
    mask = ellipse(size, (32, 32), (20, 16))[None]
    same, kept = feature.shrink(picture, mask, jnp.float32(1))
    np.testing.assert_array_equal(same, picture)
    np.testing.assert_array_equal(kept, mask / 255)
    stripes = np.broadcast_to(np.uint8([0, 255] * 32)[None, None, :, None], picture.shape)
    grey, half = map(np.asarray, feature.shrink(stripes, mask, jnp.float32(0.5)))
    assert np.abs(grey[:, :, 18:46] - 127.5).max() < 1  # not one stripe in two
    rows, columns = np.nonzero(half[0, :, :, 0] > 0.5)
    assert (columns.min(), columns.max() + 1) == (22, 42)
    assert (rows.min(), rows.max() + 1) == (24, 40)


def test_shrinking_moves_no_face():
    """A smooth face through the shrunk canvas and its matrices is where it was."""
    size = 96
    y, x = np.mgrid[:size, :size] + 0.5
    waves = 127 + 100 * np.sin(x / 15) * np.cos(y / 11)
    picture = np.stack([waves] * 3, axis=-1)[None].astype(np.uint8)
    mask = ellipse(size, (48, 48), (32, 32))[None]
    matrix = about((20, 30), (48, 48), degrees=15, scale=(0.5, 0.5))[None]
    whole = np.asarray(warp(jnp.asarray(picture, jnp.float32), matrix, 1, (64, 64)))
    factor = feature.shrinking(matrix, np.ones(1, bool))
    np.testing.assert_allclose(factor, 0.5, rtol=1e-5)
    small, _ = feature.shrink(picture, mask, factor)
    through = feature.shrunk_matrices(matrix, factor, size / 2)
    seen = np.asarray(warp(small, through, 1, (64, 64)))
    inside = ellipse(64, (20, 30), (15, 15))[..., 0] > 0
    assert np.abs(seen - whole)[0, inside].max() < 3


@pytest.mark.parametrize("name", sorted(ENCODERS))
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


@pytest.mark.parametrize("name", sorted(ENCODERS))
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
    def run(batch):
        edit = pasting_edit(net, variables, batch, FeaturePaste(("stem", "stage1")))
        return net.apply(variables, batch["picture"], train=True, edit=edit)

    plain = jax.jit(lambda x: net.apply(variables, x, train=True))
    return run, plain


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


def test_a_run_without_an_average_has_the_state_it_always_had(tmp_path):
    net, optimizer = network("resnet34"), optax.sgd(0.1)
    plain = TrainState(jnp.int32(3), {"a": jnp.ones(2)}, {"b": jnp.zeros(2)}, {"c": jnp.ones(1)})
    for state in (plain, plain._replace(average={"a": jnp.full(2, 0.5)})):
        folder = tmp_path / str(state.average is None)
        checkpoints = RunCheckpoints(folder, {"provenance": {}}, keep=1)
        checkpoints.save(state)
        checkpoints.close()
        checkpoints = RunCheckpoints(folder, {"provenance": {}}, keep=1)
        jax.tree.map(np.testing.assert_array_equal, checkpoints.restore(state), state)
        checkpoints.close()
        metadata = json.loads((folder / "checkpoints/3/state/_METADATA").read_text())
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


@pytest.mark.parametrize("config", [resnet34_fcp, swin_fcp, vitae_fcp])
@pytest.mark.parametrize("variant", ["", "demonstration", "smoke"])
def test_the_configurations_can_work(config, variant):
    config = config.get_config(variant)
    check_settings(config)
    assert feature_paste(config) is not None
    # A third of the way, however the run is counted.
    steps = config.steps or config.epochs * 1000 / config.batch_size
    assert start_step(config, 1000) == steps // 3


@pytest.mark.parametrize(
    ("setting", "value", "sentence"),
    [
        ("level", "features", "copy_paste.level is 'features'; it is one of 'none'"),
        ("layers", ("level0", "stage1"), "copy_paste.layers is ('level0', 'stage1'); name some of"),
        ("layers", (), "copy_paste.layers is ()"),
        ("source_size", 100, "copy_paste.source_size is 100; it is a multiple of 32"),
        ("source_batch", 0, "copy_paste.source_batch is 0"),
        ("source_from", "old", "copy_paste.source_from is 'old'"),
        ("probability", 1.5, "copy_paste.probability is 1.5; it is 0 to 1"),
        ("start_step", -1, "copy_paste.start_step are 0 or more"),
    ],
)
def test_settings_that_cannot_work_are_named(setting, value, sentence):
    config = resnet34_fcp.get_config("smoke")
    config.copy_paste[setting] = value
    with pytest.raises(ConfigurationError, match=re.escape(sentence)):
        check_settings(config)


def test_a_run_of_an_older_version_goes_on_without_pasting_only(tmp_path):
    config = common.smoke("resnet34")
    with claim_run_folder(tmp_path / "run", config):
        pass
    file = tmp_path / "run" / "config.json"
    older = json.loads(file.read_text())
    del older["copy_paste"], older["average_decay"]
    step = tmp_path / "run" / "checkpoints" / "4"
    step.mkdir(parents=True)
    (step / "_CHECKPOINT_METADATA").write_text("{}")
    file.write_text(json.dumps(older))
    with claim_run_folder(tmp_path / "run", config):
        pass
    file.write_text(json.dumps(older))
    refused = pytest.raises(Exception, match=r"copy_paste.level is 'none' there and 'feature' here")
    with refused, claim_run_folder(tmp_path / "run", common.feature_copy_paste(config)):
        pass
    with claim_run_folder(tmp_path / "other", ConfigDict({"steps": 1})):
        pass
