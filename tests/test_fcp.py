"""P3M-FCP: what a paste among features must be, whatever the weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pasting import about, ellipse, entries

from p3m_jax.copy_paste import feature
from p3m_jax.copy_paste.feature import FeaturePaste, pasting_edit, warp
from p3m_jax.models.decoders import STRIDES
from p3m_jax.models.network import Variables

RNG = np.random.default_rng(0)
IDENTITY = np.eye(2, 3, dtype=np.float32)


class Means:
    """Stands for a network whose features are the means of the picture over its cells, times W."""

    name, layers = "means", tuple(STRIDES)
    kernel = RNG.standard_normal((3, 5)).astype(np.float32)

    def features(self, variables, pictures, layers, *, dtype=None):
        pictures = jnp.asarray(pictures, jnp.float32)
        return {
            layer: feature.cell_means(pictures, STRIDES[layer]) @ self.kernel for layer in layers
        }


def pasted(layer, batch, target):
    """The target's features after the paste, and W as a slow but plain program sees it."""

    @jax.jit  # one program is compiled sooner than its operations one by one
    def paste(batch, target):
        edit = pasting_edit(Means(), Variables({}, {}), batch, FeaturePaste((layer,)))
        return edit(layer, target)

    return np.asarray(paste(batch, target))


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
