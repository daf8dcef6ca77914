"""At what size and in what shape the network sees a picture, and where its matte comes back."""

import math

import cv2
import numpy as np
import pytest
from predicting import red_is_opaque

from p3m_jax.inference.matting import Matting
from p3m_jax.inference.sizes import first_size, frame_size, placed_in, smaller
from p3m_jax.inference.strategies import STRATEGIES, Placing, network_size


def drawn(height, width):
    """A picture with a red person, RGB uint8 (H, W, 3), and its matte; cut by the lower edge."""
    matte = np.zeros((height, width), np.uint8)
    side = min(height, width)
    head = round(0.55 * width), round(0.4 * height)
    cv2.circle(matte, head, round(0.2 * side), 255, -1)
    shoulders = head[0], height + round(0.1 * side)
    cv2.ellipse(matte, shoulders, (round(0.4 * side), round(0.5 * side)), 0, 0, 360, 255, -1)
    picture = np.full((height, width, 3), (0, 120, 90), np.uint8)
    picture[matte > 0] = (255, 30, 60)
    return picture, matte / 255


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((3000, 4000), (1080, 1440)),
        ((6000, 8000), (1080, 1440)),
        ((4000, 6000), (1080, 1620)),  # the network's 1600 are within a stride of it
        ((3840, 2160), (1600, 900)),
        ((3000, 12000), (400, 1600)),
        ((1080, 1620), (1080, 1620)),
        ((500, 700), (500, 700)),
        ((10, 5000), (3, 1600)),
    ],
)
def test_large_pictures_are_scaled_first_and_panoramas_to_what_the_network_takes(size, expected):
    assert first_size(size) == expected


SIDES = np.unique(np.rint(np.geomspace(100, 4000, 40)).astype(int)).tolist()
SIZES = [(h, w) for h in SIDES for w in SIDES if max(h, w) < 5 * min(h, w)]


@pytest.mark.parametrize("ratio", [0.5, 1])
def test_frames_are_few_and_near_and_keep_the_shape(ratio):
    firsts = [first_size(size) for size in SIZES]
    frames = [frame_size(size, ratio) for size in firsts]
    exact = [network_size(size, ratio) for size in firsts]
    assert len(set(frames)) < len(set(exact)) / 3
    for size, first, frame, wanted in zip(SIZES, firsts, frames, exact, strict=True):
        assert frame[0] % 32 == frame[1] % 32 == 0
        assert 32 <= min(frame) <= max(frame) <= 1600
        shown = placed_in(frame, first).scaled
        for scaled in (shown, wanted) if min(size) > 256 else (shown,):
            # Within one stride of the picture's own shape, whichever side is taken for right.
            width = scaled[0] * size[1] / size[0]
            assert abs(scaled[1] - width) <= 32 * max(1, size[1] / size[0]) + 1, (size, scaled)
        if min(wanted) >= 256:
            area = math.prod(shown) / math.prod(wanted)
            assert 0.65 < area < 1.4, (size, shown, wanted)
            assert math.prod(shown) > 0.72 * math.prod(frame)
    assert frame_size((1, 1), ratio) == (32, 32)
    assert frame_size((1600, 10), ratio)[1] == 32


@pytest.mark.parametrize("ratio", [0.5, 1])
def test_a_folder_of_a_hundred_sizes_takes_few_programs(ratio):
    draw, shapes = np.random.default_rng(0), (9 / 16, 2 / 3, 3 / 4, 1.0, 4 / 3, 3 / 2, 16 / 9)
    sizes = []
    for _ in range(100):
        long, shape = draw.integers(640, 1621), draw.choice(shapes) * draw.uniform(0.97, 1.03)
        sizes.append((round(long / shape), long) if shape > 1 else (long, round(long * shape)))
    assert len({frame_size(first_size(size), ratio) for size in sizes}) <= 20


def test_a_picture_is_framed_by_its_outermost_pixels_and_comes_back():
    placing, rng = Placing((50, 61), (64, 96)), np.random.default_rng(0)
    pixels = rng.random((50, 61, 3), np.float32)
    framed = placing.framed(pixels)
    assert framed.shape == (64, 96, 3)
    np.testing.assert_array_equal(placing.unframed(framed), pixels)
    np.testing.assert_array_equal(framed[:8, 17:78], np.repeat(pixels[:1], 8, axis=0)[:, :61])


def test_smaller_keeps_the_shape():
    assert smaller((1056, 1600), 0.9) == (832, 1280)
    assert smaller((1056, 1600), 0.3) == (512, 800)
    assert smaller((96, 128), 0.5) is None


@pytest.fixture(scope="module")
def matting():
    return Matting(red_is_opaque())


@pytest.mark.parametrize("exact_sizes", [False, True])
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(
    "size", [(3000, 4000), (2160, 1215), (600, 2400), (1080, 1620), (333, 250), (40, 40)]
)
def test_mattes_come_back_at_the_pictures_size_with_the_edge_where_it_is(
    matting, size, strategy, exact_sizes
):
    picture, truth = drawn(*size)
    matte = matting.matte(picture, strategy=strategy, exact_sizes=exact_sizes)
    alpha = matte.alpha
    assert alpha.shape == size
    # The coarsest of the sizes at which the network ran, in pixels of the picture.
    pixel = max(max(np.divide(size, run)) for run in matte.network_sizes.values())
    edge = cv2.dilate(truth, np.ones((3, 3))) - cv2.erode(truth, np.ones((3, 3)))
    near = cv2.dilate(edge, np.ones([2 * math.ceil(1.5 * pixel) + 1] * 2)) > 0
    np.testing.assert_array_equal((alpha > 0.5)[~near], (truth > 0.5)[~near])
    assert abs(alpha.sum() - truth.sum()) < 0.25 * pixel * (edge > 0).sum() / 2
    for axis in (0, 1):
        along = np.arange(size[axis]).reshape((-1, 1) if axis == 0 else (1, -1))
        middles = [(values * along).sum() / values.sum() for values in (alpha, truth)]
        assert abs(middles[0] - middles[1]) < 0.2 * pixel
