"""The error measures against recorded values, and against a slow reading of their definitions."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from p3m_jax.evaluation.connectivity import (
    connectivity_error,
    last_connected_level,
    threshold_levels,
)
from p3m_jax.evaluation.metrics import METRICS, PRIVACY_METRICS, all_metrics, gradient_error
from p3m_jax.pictures.labels import read_matte
from p3m_jax.pictures.trimap import trimap_from_matte

GOLDENS = json.loads((Path(__file__).parent / "goldens" / "metrics.json").read_text())
SAMPLES = Path(__file__).parents[2] / "shared" / "p3m_samples"


# --- recorded values on real portraits -------------------------------------------------------


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the real sample portraits are not here")
@pytest.mark.parametrize("stem", sorted(GOLDENS))
def test_equals_the_recorded_values(stem):
    (path,) = SAMPLES.glob(f"**/mask/{stem}.png")
    matte, prediction = read_matte(path), read_matte(SAMPLES / "resnet34_prediction" / path.name)
    values = all_metrics(prediction, matte, trimap_from_matte(matte, 25))
    assert tuple(values) == METRICS
    for recorded, expected in GOLDENS[stem].items():
        name = recorded.replace("_TRIMAP", "-T").replace("_", "-")
        assert values[name] == pytest.approx(expected, rel=1e-5), name


# --- a slow and plain reading of the definitions ---------------------------------------------


def _plain_last_levels(lower):
    """Ten times l for every pixel, by ten full labellings."""
    last = np.full(lower.shape, -1)
    for number in range(1, 11):
        labels, count = ndimage.label(lower >= np.float32(number / 10))  # 4-connected
        if count == 0:
            continue
        sizes = ndimage.sum_labels(np.ones(lower.shape), labels, np.arange(1, count + 1))
        leaves = (labels != 1 + np.argmax(sizes)) & (last == -1)
        last[leaves] = number - 1
    return np.where(last == -1, 10, last)


def _plain(prediction, matte, trimap):
    difference = np.abs(prediction - matte)
    known = np.where(trimap == 255, 1.0, np.where(trimap == 0, 0.0, prediction))
    transition = (trimap == 128).sum()
    last = _plain_last_levels(np.minimum(prediction, matte).astype(np.float32)) / 10

    def phi(values):
        return 1 - (values - last) * (values - last >= 0.15)

    def magnitude(values):
        parts = [ndimage.gaussian_filter(values, 1.4, order=order) for order in ((0, 1), (1, 0))]
        return np.hypot(*parts)

    return {
        "SAD": difference.sum() / 1000,
        "MSE": (difference**2).mean(),
        "MAD": difference.mean(),
        "SAD-T": np.abs(known - matte).sum() / 1000,
        "MSE-T": ((known - matte) ** 2).sum() / transition,
        "MAD-T": np.abs(known - matte).sum() / transition,
        "SAD-FG": difference[trimap == 255].sum() / 1000,
        "SAD-BG": difference[trimap == 0].sum() / 1000,
        "GRAD": ((magnitude(prediction) - magnitude(matte)) ** 2).sum() / 10,
        "CONN": np.abs(phi(prediction) - phi(matte)).sum() / 1000,
    }


def _blobs(shape, seed, *, smoothness=3.0, contrast=4.0):
    """A random map in [0, 1] with islands, holes and flat ends, in steps of 1/255."""
    noise = np.random.default_rng(seed).standard_normal(shape)
    smooth = ndimage.gaussian_filter(noise, smoothness, mode="nearest")
    smooth = smooth / max(smooth.std(), 1e-9)
    return np.clip(np.rint((0.5 + smooth * contrast / 10) * 255), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("shape", [(1, 1), (1, 57), (64, 1), (5, 4), (90, 131)])
@pytest.mark.parametrize("smoothness", [0.7, 4.0])
def test_equals_the_definitions(shape, smoothness):
    matte = _blobs(shape, 1, smoothness=smoothness)
    prediction = np.where(_blobs(shape, 2) > 140, _blobs(shape, 3, smoothness=1.0), matte)
    # A trimap that does not follow from the matte, as files may hold it.
    trimap = np.digitize(_blobs(shape, 4), [90, 160]).choose([0, 128, 255]).astype(np.uint8)
    trimap.flat[0] = 128
    expected = _plain(prediction / 255.0, matte / 255.0, trimap)
    for given in (
        (prediction, matte),
        (prediction / 255.0, matte / 255.0),
        (prediction / np.float32(255), matte / np.float32(255)),
    ):
        values = all_metrics(*given, trimap)
        assert tuple(values) == METRICS
        for name in METRICS:
            assert values[name] == pytest.approx(expected[name], rel=2e-5, abs=2e-7), name


def test_a_float_prediction_is_not_rounded():
    matte, prediction = np.zeros((20, 30)), np.full((20, 30), 0.1 / 255)
    values = all_metrics(prediction, matte, np.full((20, 30), 128, np.uint8))
    assert values["SAD"] == pytest.approx(600 * 0.1 / 255 / 1000, rel=1e-6)


@pytest.mark.parametrize("seed", range(12))
def test_connectivity_levels_equal_ten_labellings(seed):
    lower = _blobs((60, 83), seed, smoothness=0.5 + seed / 2, contrast=1 + seed)
    expected = _plain_last_levels(lower / np.float32(255))
    levels = sum(
        (lower / np.float32(255) >= np.float32(n / 10)).astype(np.uint8) for n in range(11)
    )
    np.testing.assert_array_equal(last_connected_level(levels - np.uint8(1)), expected)


def test_of_equally_large_components_the_first_counts():
    lower = np.zeros((9, 9), np.float32)
    lower[5:7, 0:2] = 1  # begins further left, but is reached later
    lower[1:3, 6:8] = 1
    lower[8, 8] = 1
    matte = np.where(lower > 0, np.float32(1), np.float32(0.5))
    expected = _plain_last_levels(np.minimum(lower, matte))
    assert expected[1, 6] == 10
    assert expected[5, 0] == 0
    prediction = np.where(lower > 0, np.float32(0.8), np.float32(0))
    # Above 0.8 no component remains, so the kept island never leaves: l = 1, and no error.
    # Elsewhere l = 0: five pixels of the other islands, and the ground.
    error = 5 * (1 - 0.8) + (81 - 9) * 0.5
    assert connectivity_error(prediction, matte) == pytest.approx(error / 1000, rel=1e-6)


def test_a_threshold_reached_exactly_counts():
    values = np.arange(256)
    expected = [sum(value * 10 >= 255 * number for number in range(1, 11)) for value in values]
    np.testing.assert_array_equal(threshold_levels(values[None] / np.float32(255))[0], expected)
    for number in range(1, 11):
        threshold = np.float32(number / 10)
        around = np.array([[np.nextafter(threshold, np.float32(0)), threshold]])
        np.testing.assert_array_equal(threshold_levels(around), [[number - 1, number]])


@pytest.mark.parametrize(("left", "right"), [(0, 0), (0, 255), (255, 0), (255, 255), (128, 100)])
def test_constant_pictures(left, right):
    prediction, matte = np.full((40, 30), left, np.uint8), np.full((40, 30), right, np.uint8)
    trimap = trimap_from_matte(matte)
    values = all_metrics(prediction, matte, trimap)
    assert values["SAD"] == pytest.approx(1.2 * abs(left - right) / 255)
    assert values["GRAD"] == pytest.approx(0, abs=1e-9)
    assert values["SAD-T"] == pytest.approx(values["SAD"] if right == 100 else 0)
    assert np.isnan(values["MSE-T"]) == (right != 100)
    if left == right:
        assert all(values[name] == 0 for name in METRICS if name not in ("MSE-T", "MAD-T"))


def test_gradient_looks_beyond_the_differing_pixels():
    matte = _blobs((80, 120), 5) / np.float32(255)
    prediction = matte.copy()
    prediction[40, 60] += np.float32(0.1)

    def magnitude(values):
        x, y = (
            ndimage.gaussian_filter(values.astype(float), 1.4, order=o) for o in ((0, 1), (1, 0))
        )
        return np.hypot(x, y)

    expected = ((magnitude(prediction) - magnitude(matte)) ** 2).sum() / 10
    assert gradient_error(prediction, matte) == pytest.approx(expected, rel=1e-4)


def test_privacy_measures_count_inside_the_face_only():
    matte = np.full((10, 10), 255, np.uint8)
    prediction = matte.copy()
    prediction[2:4, 2:4] = 51
    prediction[8, 8] = 0
    face = np.zeros((10, 10), np.uint8)
    face[2:4, 2:7] = 255
    values = all_metrics(prediction, matte, trimap_from_matte(matte), face)
    assert tuple(values) == METRICS + PRIVACY_METRICS
    assert values["SAD-PRIVACY"] == pytest.approx(4 * 0.8 / 1000)
    assert values["MSE-PRIVACY"] == pytest.approx(4 * 0.64 / 10)
    assert values["MAD-PRIVACY"] == pytest.approx(4 * 0.8 / 10)
    hidden = all_metrics(prediction, matte, trimap_from_matte(matte), np.zeros_like(face))
    assert all(np.isnan(hidden[name]) for name in PRIVACY_METRICS)


def test_refuses_what_cannot_be_compared():
    good, trimap = np.zeros((4, 5), np.float32), np.zeros((4, 5), np.uint8)
    with pytest.raises(ValueError, match="matte is"):
        all_metrics(good, good.T, trimap)
    with pytest.raises(ValueError, match="face mask is"):
        all_metrics(good, good, trimap, trimap.T)
    with pytest.raises(ValueError, match="not in"):
        all_metrics(good + 2, good, trimap)
    with pytest.raises(ValueError, match="not in"):
        all_metrics(good * np.nan, good, trimap)
    with pytest.raises(ValueError, match="uint8 or a float"):
        all_metrics(good.astype(np.int32), good, trimap)
