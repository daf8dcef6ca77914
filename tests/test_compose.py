"""Foregrounds, cut-outs and composites: colours that mix back to the picture, without halos."""

import cv2
import numpy as np
import pytest

from p3m_jax.errors import OptionError
from p3m_jax.pictures.foreground import estimate_foreground
from p3m_jax.pictures.images import read_picture
from p3m_jax.pictures.labels import read_matte
from p3m_jax.prediction.compose import blurred, composite, cover, cut_out, deep, parse_colour

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def hairy():
    """A red person with soft strands before a green wall: picture and matte."""
    matte = np.zeros((200, 240), np.uint8)
    cv2.circle(matte, (120, 120), 60, 255, -1)
    for angle in np.linspace(0, 2 * np.pi, 60):
        end = 120 + 95 * np.cos(angle), 120 + 95 * np.sin(angle)
        cv2.line(matte, (120, 120), tuple(map(int, end)), 255, 1, cv2.LINE_AA)
    matte = cv2.GaussianBlur(matte, (0, 0), 0.8)
    alpha = matte[..., None] / 255
    front = np.array([200, 40, 30]) + RNG.normal(0, 8, (200, 240, 3))
    back = np.array([20, 170, 60]) + RNG.normal(0, 8, (200, 240, 3))
    picture = np.clip(alpha * front + (1 - alpha) * back, 0, 255)
    return np.rint(picture).astype(np.uint8), matte


def mixture_error(picture, matte, foreground, background):
    """Mean absolute error in the transition area, of what the 8-bit files say."""
    alpha = matte[..., None] / 255
    mixed = alpha * foreground + (1 - alpha) * background
    return np.abs(mixed - picture)[(matte > 0) & (matte < 255)].mean()


@pytest.mark.parametrize("largest", [10**9, 10_000])
def test_the_estimates_mix_to_the_picture(hairy, largest):
    picture, matte = hairy
    foreground, background = estimate_foreground(picture, matte, largest=largest)
    assert mixture_error(picture, matte, foreground, background) < 1
    np.testing.assert_array_equal(foreground[matte == 255], picture[matte == 255])
    np.testing.assert_array_equal(background[matte == 0], picture[matte == 0])
    strands = (matte > 40) & (matte < 215)
    assert np.abs(foreground[strands] - [200, 40, 30.0]).mean() < 20


@pytest.mark.parametrize("matte", ["none", "all", "half", "noise", "faint"])
def test_a_picture_of_one_colour_has_that_foreground(matte):
    picture = np.full((37, 50, 3), (200, 30, 77), np.uint8)
    noise = RNG.integers(0, 256, (37, 50))
    values = {"none": 0 * noise, "all": 0 * noise + 255, "half": 0 * noise + 128, "noise": noise}
    matte = (values | {"faint": noise // 4})[matte].astype(np.uint8)
    for estimate in estimate_foreground(picture, matte):
        np.testing.assert_array_equal(estimate, picture)


def test_a_cut_out_has_straight_alpha(hairy):
    picture, matte = hairy
    foreground, _ = estimate_foreground(picture, matte)
    rgba = cut_out(foreground, matte)
    np.testing.assert_array_equal(rgba[..., 3], matte)
    np.testing.assert_array_equal(rgba[..., :3], foreground)
    # Put back over its own colours, a half-transparent pixel keeps them.
    np.testing.assert_array_equal(composite(rgba[..., :3], matte, foreground), foreground)


def test_over_another_colour_no_halo_is_left(hairy):
    picture, matte = hairy
    foreground, _ = estimate_foreground(picture, matte)
    over_blue = composite(foreground, matte, np.array([0, 0, 255], np.uint8)).astype(float)
    alpha = matte[..., None] / 255
    ideal = alpha * np.array([200, 40, 30]) + (1 - alpha) * np.array([0, 0, 255])
    transition = (matte > 20) & (matte < 235)
    assert np.abs(over_blue - ideal)[transition].mean() < 8
    naive = alpha * picture + (1 - alpha) * np.array([0, 0, 255])
    assert np.abs(naive - ideal)[transition].mean() > 20
    np.testing.assert_array_equal(
        over_blue[matte == 0], np.tile([0, 0, 255], ((matte == 0).sum(), 1))
    )


def test_the_blurred_background_has_no_glow_of_the_person(hairy):
    picture, matte = hairy
    _, background = estimate_foreground(picture, matte)
    blur = blurred(background, matte).astype(float)
    assert np.abs(blur - [20, 170, 60]).max() < 12
    assert cv2.GaussianBlur(picture, (0, 0), 6)[100, 40:60, 0].max() > 40  # what it would be


def test_covering_keeps_aspect_and_middle():
    picture = np.zeros((100, 400, 3), np.uint8)
    picture[:, 150:250] = 255
    covering = cover(picture, (50, 50))
    assert covering.shape == (50, 50, 3)
    assert covering[25, 25].min() == 255
    assert (covering[:, 2:-2] > 250).all()
    assert cover(picture[:1, :1], (7, 9)).shape == (7, 9, 3)


def test_colours_and_depth():
    np.testing.assert_array_equal(parse_colour("#30c040"), [0x30, 0xC0, 0x40])
    np.testing.assert_array_equal(parse_colour("teal"), [0, 128, 128])
    np.testing.assert_array_equal(parse_colour("48, 192,64"), [48, 192, 64])
    np.testing.assert_array_equal(parse_colour("#30c040ff"), [0x30, 0xC0, 0x40])
    with pytest.raises(OptionError, match=r"transparent.* such as #000000,"):
        parse_colour("#00000000")
    assert parse_colour("nowhere.jpg") is None
    alpha = np.array([[0, 0.5, 1, 1 / 65535]], np.float32)
    np.testing.assert_array_equal(deep(alpha), [[0, 32768, 65535, 1]])


def test_real_portraits_mix_back(samples):
    """The bound that matting asks for is 4/255; these stay far below."""
    for picture in sorted((samples / "validation" / "P3M-500-P" / "blurred_image").iterdir()):
        matte = read_matte(picture.parents[1] / "mask" / f"{picture.stem}.png")
        picture = read_picture(picture)
        assert mixture_error(picture, matte, *estimate_foreground(picture, matte)) < 2
