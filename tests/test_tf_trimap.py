"""The trimap of the input pipeline against OpenCV's morphology and the recorded ones."""

from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("tensorflow")
from p3m_jax.input import host_tensorflow
from p3m_jax.input.online_trimap import (
    KERNELS,
    count_transition,
    dilations,
    transition_pixel,
    trimap,
    unpack,
)

tf = host_tensorflow()
GOLDENS = Path(__file__).parent / "goldens" / "trimap.npz"

MATTE = tf.TensorSpec([None, None, 1], tf.uint8)
SCALAR = tf.TensorSpec([], tf.int32)
trimap = tf.function(trimap, input_signature=[MATTE, SCALAR])
dilations = tf.function(dilations, input_signature=[MATTE, SCALAR])


def opencv_trimap(matte, kernel):
    ellipse = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (kernel, kernel))
    dilated = cv2.dilate((matte != 0).astype(np.uint8), ellipse)
    eroded = cv2.erode((matte == 255).astype(np.uint8), ellipse)
    return np.where(eroded, 255, np.where(dilated, 128, 0)).astype(np.uint8)


def matte_of(height, width, seed):
    """Large opaque and empty areas that reach the borders, with grey edges and lone pixels."""
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.standard_normal((height, width)), (0, 0), 12)
    matte = np.clip(128 + 900 * noise / (8 * noise.std() + 1e-9), 0, 255).astype(np.uint8)
    matte[rng.random((height, width)) < 0.0005] = 0
    matte[rng.random((height, width)) < 0.0005] = 7
    return matte


@pytest.mark.parametrize("kernel", KERNELS)
def test_equals_opencv(kernel):
    for height, width in ((130, 201), (128, 192), (90, 65), (9, 7), (1, 1)):
        matte = matte_of(height, width, seed=kernel)
        found = trimap(matte[..., None], kernel).numpy()[..., 0]
        np.testing.assert_array_equal(found, opencv_trimap(matte, kernel))


def test_single_pixels_grow_into_the_kernel():
    # Far from each other, at the corners, the borders and on both sides of a word's end.
    empty = np.zeros([160, 260], np.uint8)
    for y, x in ((0, 0), (0, 130), (80, 63), (80, 128), (159, 0), (159, 259), (80, 259), (40, 200)):
        empty[y, x] = 1
    for kernel in KERNELS:
        for matte in (empty, np.where(empty, 254, 255).astype(np.uint8)):
            found = trimap(matte[..., None], kernel).numpy()[..., 0]
            np.testing.assert_array_equal(found, opencv_trimap(matte, kernel))


def test_equals_recorded_trimaps():
    with np.load(GOLDENS) as golden:
        for kernel in (15, 20, 25, 30):
            for matte, expected in zip(golden["matte"], golden[f"kernel{kernel}"], strict=True):
                found = trimap(matte[..., None], kernel).numpy()[..., 0]
                np.testing.assert_array_equal(found, expected)


def test_windows_are_parts_of_the_whole():
    matte = matte_of(130, 201, seed=1)[..., None]
    whole, packed = trimap(matte, 17).numpy(), dilations(matte, 17)
    for top, left, height, width in ((0, 0, 130, 201), (3, 5, 60, 60), (70, 137, 60, 64)):
        window = unpack(packed, top, left, height, width).numpy()
        np.testing.assert_array_equal(window, whole[top : top + height, left : left + width])


def test_transition_pixels_in_reading_order():
    matte = matte_of(50, 137, seed=2)[..., None]
    packed = dilations(matte, 15)
    expected = np.argwhere(trimap(matte, 15).numpy()[..., 0] == 128)
    assert count_transition(packed) == len(expected) > 100
    pixels = tf.data.Dataset.range(len(expected)).map(lambda i: transition_pixel(packed, i))
    found = np.array(list(pixels.as_numpy_iterator()))
    np.testing.assert_array_equal(found, expected)


def test_no_transition():
    assert count_transition(dilations(np.zeros([40, 70, 1], np.uint8), 15)) == 0
    assert count_transition(dilations(np.full([40, 70, 1], 255, np.uint8), 15)) == 0
