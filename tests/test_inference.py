"""Test-time strategies with networks simple enough to know the answer, at any size of picture."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from predicting import RedIsOpaque
from scipy import ndimage
from skimage.transform import resize

from p3m_jax.inference.programs import predictor
from p3m_jax.inference.resizing import PROTOCOLS, resize_in_single_precision, to_8_bit
from p3m_jax.inference.strategies import matte_picture, network_size
from p3m_jax.models.network import Variables

NAMES = tuple(PROTOCOLS)


def scikit_resize(values, size, *, antialias, mode="reflect"):
    return resize(values, size, anti_aliasing=antialias, mode=mode)


def border_of(name):
    return "edge" if name == "ours" else "reflect"


def luminance(name, batch):
    """A network: fusion and detail are the luminance, classes are its thirds."""
    assert batch.dtype == np.float32
    assert batch.shape[0] == 1
    assert batch.shape[1] % 32 == 0
    assert batch.shape[2] % 32 == 0
    assert batch.min() >= 0
    assert batch.max() <= 255
    grey = batch.mean(axis=-1, keepdims=True) / 255
    semantic = np.concatenate([1 / 3 - grey, 0 * grey, grey - 2 / 3], axis=-1)
    return {"semantic": semantic, "detail": grey, "fusion": grey}[name]


def picture_of(shape, seed=0, smoothness=5.0):
    noise = np.random.default_rng(seed).standard_normal((*shape, 3))
    smooth = ndimage.gaussian_filter(noise, (smoothness, smoothness, 0), mode="nearest")
    return np.clip(128 + 90 * smooth / max(smooth.std(), 1e-9), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("size", "ratio", "expected"),
    [
        ((1080, 1620), 0.5, (512, 800)),
        ((1080, 1620), 1, (1056, 1600)),
        ((5000, 5001), 0.5, (1600, 1600)),
        ((63, 127), 0.5, (32, 32)),
        ((64, 128), 0.5, (32, 64)),
        ((1, 1), 1, (32, 32)),
        ((31, 5000), 1, (32, 1600)),
    ],
)
def test_the_size_at_which_a_picture_runs(size, ratio, expected):
    assert network_size(size, ratio) == expected


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("strategy", "ratio"), [("resize", 0.5), ("native", 1)])
def test_one_pass(name, strategy, ratio):
    """Resized down, through the network, and back, by scikit-image in float64."""
    picture, antialias = picture_of((131, 170)), name == "ours"
    side = {0.5: (64, 64), 1: (128, 160)}[ratio]
    options = {"antialias": antialias, "mode": border_of(name)}
    small = scikit_resize(picture, side, **options).mean(axis=-1)
    expected = scikit_resize(small, (131, 170), **options)
    alpha = matte_picture(luminance, picture, strategy=strategy, protocol=name)
    np.testing.assert_allclose(alpha, expected, atol=2e-6)


def _hybrid_by_the_book(picture, half, full, **options):
    small = scikit_resize(picture, half, **options)
    semantic = luminance("semantic", np.float32(small * 255)[None])[0]
    trimap = np.choose(semantic.argmax(axis=-1), [0, 128, 255]).astype(np.uint8)
    trimap = scikit_resize(trimap, picture.shape[:2], **options) * 255
    fine = scikit_resize(picture, full, **options).mean(axis=-1)
    return trimap, scikit_resize(fine, picture.shape[:2], **options)


@pytest.mark.parametrize("name", ["p3m-2021", "p3m-2024"])
def test_hybrid_as_published_keeps_its_rounding(name):
    picture = picture_of((231, 302), smoothness=12)
    trimap, fine = _hybrid_by_the_book(picture, (96, 128), (224, 288), antialias=False)
    expected = np.where(trimap == 255, 1, np.where(trimap == 0, 0, fine))
    alpha = matte_picture(luminance, picture, strategy="hybrid", protocol=name)
    np.testing.assert_allclose(alpha, expected, atol=2e-6)
    almost = (trimap > 254.9) & (trimap < 255)
    assert almost.mean() > 1e-3
    assert (alpha[almost] < 0.99).any()


def test_hybrid_of_ours_takes_every_sure_pixel():
    picture = picture_of((231, 302), smoothness=12)
    trimap, fine = _hybrid_by_the_book(picture, (96, 128), (224, 288), antialias=True, mode="edge")
    expected = np.where(trimap > 254.99, 1, np.where(trimap < 0.01, 0, fine))
    alpha = matte_picture(luminance, picture, strategy="hybrid", protocol="ours")
    np.testing.assert_allclose(alpha, expected, atol=2e-6)
    assert 0.05 < (alpha == 1).mean() < 0.5
    assert 0.05 < (alpha == 0).mean() < 0.5


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_antialiasing_can_be_chosen(name, antialias):
    protocol = dataclasses.replace(PROTOCOLS[name], antialias=antialias)
    picture = picture_of((200, 256), smoothness=0.6)
    options = {"antialias": antialias, "mode": border_of(name)}
    small = scikit_resize(picture, (96, 128), **options).mean(axis=-1)
    expected = scikit_resize(small, (200, 256), **options)
    alpha = matte_picture(luminance, picture, protocol=protocol)
    np.testing.assert_allclose(alpha, expected, atol=2e-6)


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize(
    ("old", "new"), [((1, 1), (32, 32)), ((70, 33), (32, 64)), ((90, 120), (17, 13))]
)
def test_single_precision_resizes_like_scikit_image(old, new, antialias):
    values = picture_of(old, smoothness=0.5)
    expected = scikit_resize(values, new, antialias=antialias, mode="edge")
    found = resize_in_single_precision(values, new, antialias=antialias)
    np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize("strategy", ["resize", "hybrid", "native"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(1, 1), (33, 33), (31, 5000), (2, 70)])
def test_any_size_gets_its_matte(name, strategy, shape):
    picture = np.full((*shape, 3), 204, np.uint8)
    alpha = matte_picture(luminance, picture, strategy=strategy, protocol=name)
    assert alpha.shape == shape
    assert alpha.dtype.kind == "f"
    expected = 1 if strategy == "hybrid" else 0.8
    if name == "ours" or strategy != "hybrid":  # the published rounding may take `detail`
        np.testing.assert_allclose(alpha, expected, atol=1e-6)
    else:
        assert (np.isclose(alpha, 1) | np.isclose(alpha, 0.8)).all()


def test_small_pictures_run_enlarged():
    seen = []

    def network(name, batch):
        seen.append(batch.shape[1:3])
        return luminance(name, batch)

    picture = picture_of((300, 450))
    alpha = matte_picture(network, picture, strategy="hybrid", smallest_side=512)
    assert seen == [(512, 768)]
    large = resize_in_single_precision(picture, (512, 768), antialias=True).mean(axis=-1)
    expected = resize_in_single_precision(large, (300, 450), antialias=True)
    np.testing.assert_allclose(alpha, expected, atol=2e-6)
    matte_picture(network, picture_of((520, 600)), strategy="resize", smallest_side=512)
    assert seen[1:] == [(256, 288)]


def test_what_each_protocol_scores():
    alpha = np.array([[0, 0.5, 200.6 / 255, 1]])
    assert PROTOCOLS["p3m-2021"].scored(alpha) is alpha
    np.testing.assert_array_equal(PROTOCOLS["p3m-2024"].scored(alpha), [[0, 127, 200, 255]])
    np.testing.assert_array_equal(PROTOCOLS["ours"].scored(alpha), [[0, 128, 201, 255]])
    np.testing.assert_array_equal(to_8_bit(np.array([[-1e-9, 1 + 1e-9]])), [[0, 255]])


def test_refuses_what_it_cannot_use():
    picture = picture_of((40, 40))
    with pytest.raises(ValueError, match="uint8"):
        matte_picture(luminance, picture / 255.0)
    with pytest.raises(ValueError, match="no strategy"):
        matte_picture(luminance, picture, strategy="best")
    with pytest.raises(ValueError, match="no protocol"):
        matte_picture(luminance, picture, protocol="theirs")


def test_outputs_that_are_not_finite_are_refused():
    class Broken(RedIsOpaque):
        def apply(self, variables, pictures):
            outputs, statistics = super().apply(variables, pictures)
            return outputs._replace(semantic=outputs.semantic * jnp.nan), statistics

    predict = predictor(Broken(), Variables({}, {}))
    with pytest.raises(ValueError, match="not finite"):  # of what a fusion of zeros would hide
        matte_picture(predict, picture_of((40, 40)))
    assert matte_picture(predictor(RedIsOpaque(), Variables({}, {})), picture_of((40, 40))).any()
