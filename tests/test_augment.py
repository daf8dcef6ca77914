"""Draws, crop windows and resizing against their definitions and OpenCV."""

import cv2
import numpy as np
import pytest

pytest.importorskip("tensorflow")
from p3m_jax.input import augment, host_tensorflow
from p3m_jax.input.online_trimap import dilations, trimap

tf = host_tensorflow()
SIZES = (512, 768, 1024)


@tf.function(autograph=False)
def draws_of(seed, count):
    types = augment.Draws(tf.int32, tf.int32, tf.bool, tf.int64, tf.bool)
    return tf.map_fn(
        lambda i: augment.draw(seed, i, SIZES), tf.range(count), fn_output_signature=types
    )


@tf.function(autograph=False)
def windows_of(count, on_transition, side, size, packed):
    def window(i):
        draws = augment.draw(1, i, SIZES)._replace(on_transition=on_transition)
        return tf.stack(augment.crop_window(draws, side, size, packed))

    return tf.map_fn(window, tf.range(count), fn_output_signature=tf.int32)


def test_draws_cover_their_ranges_evenly():
    draws = {name: draw.numpy() for name, draw in draws_of(0, 600)._asdict().items()}
    assert set(draws["kernel"]) == set(range(15, 31))
    for side in SIZES:
        assert abs(np.mean(draws["side"] == side) - 1 / 3) < 0.08
    for name in ("on_transition", "flip"):
        assert abs(draws[name].mean() - 0.5) < 0.08
    assert abs(np.mean(draws["pixel"] % 1000) - 500) < 50
    # Independent of each other.
    bits = np.stack([draws["on_transition"], draws["flip"], draws["side"] == 512]).astype(float)
    assert np.abs(np.corrcoef(bits) - np.eye(3)).max() < 0.15


def test_draws_follow_from_seed_and_index():
    first, again, other = draws_of(5, 20), draws_of(5, 20), draws_of(6, 20)
    for one, same in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, same)
    alone = augment.draw(5, 7, SIZES)
    assert [draw[7] for draw in first] == list(alone)
    assert not np.array_equal(first.pixel, other.pixel)
    assert len(set(first.pixel.numpy())) == 20


@pytest.mark.parametrize(
    ("drawn", "size", "expected"),
    [
        (768, (1080, 1620), 768),
        (1024, (1620, 1024), 512),  # not larger than the drawn side
        (1024, (1025, 1620), 1024),
        (768, (700, 1620), 512),
        (512, (300, 200), 512),
    ],
)
def test_crop_side(drawn, size, expected):
    assert augment.crop_side(drawn, tf.constant(size), SIZES) == expected


@pytest.mark.parametrize(
    ("size", "expected"),
    [((300, 200), (768, 512)), ((512, 600), (512, 600)), ((511, 333), (786, 512))],
)
def test_small_pictures_grow_to_the_crop(size, expected):
    assert tuple(augment.enlarged(tf.constant(size), 512).numpy()) == expected


def test_crops_are_centred_on_transition_pixels_and_stay_inside():
    matte = np.zeros([200, 300, 1], np.uint8)
    matte[60:140, 100:220] = 255
    size, side = tf.constant([200, 300]), tf.constant(64)
    transition = trimap(matte, 15).numpy()[..., 0] == 128
    packed = dilations(matte, 15)
    windows = windows_of(60, tf.constant(True), side, size, packed).numpy()
    centres = [(top + 32, left + 32) for top, left, _ in windows]
    # Here no transition pixel is so near to a border that its crop would be shifted.
    assert all(transition[centre] for centre in centres)
    assert len(set(centres)) > 50
    below, right = np.array(centres).mean(0)
    assert abs(below - 100) < 15  # all around the shape
    assert abs(right - 160) < 20

    anywhere = windows_of(60, tf.constant(False), side, size, packed).numpy()
    pixels = draws_of(1, 60).pixel.numpy() % (200 * 300)
    np.testing.assert_array_equal(anywhere[:, 0], np.clip(pixels // 300 - 32, 0, 200 - 64))
    np.testing.assert_array_equal(anywhere[:, 1], np.clip(pixels % 300 - 32, 0, 300 - 64))
    assert len(set(map(tuple, anywhere))) > 40


def test_without_transition_any_pixel_is_the_centre():
    packed = dilations(np.zeros([90, 80, 1], np.uint8), 15)
    size, side = tf.constant([90, 80]), tf.constant(32)
    windows = [windows_of(5, tf.constant(on), side, size, packed) for on in (True, False)]
    np.testing.assert_array_equal(windows[0], windows[1])


@pytest.mark.parametrize(("side", "output"), [(96, 64), (128, 64), (64, 64), (40, 64), (77, 50)])
def test_resize_equals_opencv_to_a_grey_level(side, output):
    image = np.random.default_rng(side).integers(0, 256, (side, side, 3), dtype=np.uint8)
    found = augment.resize(tf.constant(image), [output, output]).numpy().astype(int)
    shape, interpolation = (output, output), cv2.INTER_LINEAR
    assert np.abs(found - cv2.resize(image, shape, interpolation=interpolation)).max() <= 1
    # OpenCV's 8-bit arithmetic is a little low on average; its floating point, rounded, decides.
    exact = cv2.resize(image.astype(np.float64), shape, interpolation=interpolation)
    assert np.abs(found - exact).max() <= 0.5 + 1e-3


def test_flip_mirrors_left_and_right():
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    straight = augment.finish(tf.constant(image), 20, tf.constant(False)).numpy()
    flipped = augment.finish(tf.constant(image), 20, tf.constant(True)).numpy()
    np.testing.assert_array_equal(flipped, straight[:, ::-1])
    assert not np.array_equal(flipped, straight)


def test_resized_maps_take_their_values_again():
    values = np.arange(256, dtype=np.uint8)[:, None, None]
    trimap_values = augment.three_valued(values).numpy()[:, 0, 0]
    expected = np.where(np.arange(256) > 180, 255, np.where(np.arange(256) < 50, 0, 128))
    np.testing.assert_array_equal(trimap_values, expected)
    mask_values = augment.two_valued(values).numpy()[:, 0, 0]
    np.testing.assert_array_equal(mask_values, np.where(np.arange(256) > 100, 255, 0))
