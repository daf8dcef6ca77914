"""Trimaps against recorded ones, and against morphology written out by its definition."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from p3m_jax.pictures.trimap import TRIMAP_KERNEL, trimap_from_matte

GOLDENS = Path(__file__).parent / "goldens" / "trimap.npz"


@pytest.mark.parametrize("kernel", [15, 20, 25, 30])
def test_equals_the_recorded_trimaps(kernel):
    goldens = np.load(GOLDENS)
    for matte, expected in zip(goldens["matte"], goldens[f"kernel{kernel}"], strict=True):
        np.testing.assert_array_equal(trimap_from_matte(matte, kernel), expected)


def _by_definition(matte, kernel):
    element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (kernel, kernel)).astype(bool)
    height, width = matte.shape
    rows, columns = np.nonzero(element)
    offsets = list(zip(rows - kernel // 2, columns - kernel // 2, strict=True))
    trimap = np.zeros_like(matte)
    for y in range(height):
        for x in range(width):
            seen = [
                matte[y + dy, x + dx]
                for dy, dx in offsets
                if 0 <= y + dy < height and 0 <= x + dx < width
            ]
            if min(seen) == 255:
                trimap[y, x] = 255
            elif max(seen) > 0:
                trimap[y, x] = 128
    return trimap


@pytest.mark.parametrize("kernel", [1, 4, 7])
def test_equals_the_definition_up_to_the_border(kernel):
    matte = np.zeros((24, 31), np.uint8)
    matte[:12, 10:] = 255
    matte[12:14, 8:] = 100
    matte[20, 3] = 1
    np.testing.assert_array_equal(trimap_from_matte(matte, kernel), _by_definition(matte, kernel))


@pytest.mark.parametrize(("value", "expected"), [(0, 0), (255, 255), (7, 128)])
@pytest.mark.parametrize("shape", [(1, 1), (3, 40)])
def test_constant_mattes(value, expected, shape):
    trimap = trimap_from_matte(np.full(shape, value, np.uint8), TRIMAP_KERNEL)
    assert trimap.dtype == np.uint8
    assert (trimap == expected).all()


def test_refuses_what_is_not_a_matte():
    with pytest.raises(ValueError, match="uint8"):
        trimap_from_matte(np.zeros((4, 4), np.float32))
    with pytest.raises(ValueError, match="uint8"):
        trimap_from_matte(np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(ValueError, match="kernel"):
        trimap_from_matte(np.zeros((4, 4), np.uint8), 0)
