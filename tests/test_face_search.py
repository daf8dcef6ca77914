"""Faces that are easily missed: cut by the edge, small in a large picture, faint."""

import itertools

import cv2
import numpy as np
import pytest
from anonymizing import FACES, real_faces

from p3m_jax.faces import views
from p3m_jax.faces.detector import Face, mirrored_in, turn, warp
from p3m_jax.faces.finding import AT_EDGE, FAINT, FaceFinder
from p3m_jax.pictures.images import read_picture

PICTURES = FACES / "pictures"


@pytest.fixture(scope="module")
def finder():
    return FaceFinder()


@pytest.fixture(scope="module")
def hopper():
    return read_picture(PICTURES / "matplotlib__grace_hopper.jpg")


def texture(size, seed=0):
    """Noise at several scales, RGB uint8 (H, W, 3)."""
    noise, made = np.random.default_rng(seed), np.zeros((*size, 3), np.float32)
    for side in (4, 16, 64, 256):
        coarse = noise.uniform(-35, 35, (size[0] // side + 1, size[1] // side + 1, 3))
        made += cv2.resize(coarse.astype(np.float32), size[::-1], interpolation=cv2.INTER_CUBIC)
    return np.clip(made + 128, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("largest", [960, 1440])
@pytest.mark.parametrize("length", [1, 80, 1440, 1441, 2720, 9160, 40000])
def test_windows_hold_every_small_face_whole(length, largest):
    parts = views._parts(length, largest)
    assert parts[0][0] == 0
    assert sum(parts[-1]) == length
    assert all(0 < part <= largest for _, part in parts)
    for (start, part), (following, _) in itertools.pairwise(parts):
        assert start + part - following >= views._SHARED


@pytest.mark.parametrize("enlarged", [1, views.ENLARGED])
def test_faces_are_placed_where_the_picture_has_them(enlarged):
    """A detector that finds a white square takes it to its place, however large it is shown."""
    picture = np.zeros((1100, 2100, 3), np.uint8)
    picture[700:740, 1500:1540] = 255
    found = []
    for view in views.upright_views(picture, enlarged):
        rows, columns = np.nonzero(view.pixels[..., 0] > 127)
        if rows.size:
            left, top = columns.min(), rows.min()
            box = left, top, columns.max() + 1 - left, rows.max() + 1 - top
            points = np.full((5, 2), (left, top), np.float32)
            found += view.placed([Face(tuple(map(float, box)), 0.9, points)])
    assert found
    for face in found:
        np.testing.assert_allclose(face.box, (1500, 700, 40, 40), atol=1)
        np.testing.assert_allclose(face.points, [(1500, 700)] * 5, atol=1)


def test_a_reflection_is_taken_for_what_it_mirrors():
    points = np.float32([(-2, 4), (-4, 4), (-3, 6), (-2, 8), (-4, 8)])
    beyond = Face((-6, 2, 6, 8), 0.9, points)
    inside = mirrored_in(beyond, (20, 30))
    assert inside.box == (0, 2, 6, 8)
    np.testing.assert_array_equal(inside.points, [(4, 4), (2, 4), (3, 6), (4, 8), (2, 8)])
    cut = Face((-2, 2, 6, 8), 0.9, points)
    assert mirrored_in(cut, (20, 30)).box == cut.box
    below = mirrored_in(Face((5, 18, 6, 8), 0.9, points), (20, 30))
    assert below.box == (5, 14, 6, 8)


def test_a_window_of_a_turned_picture_is_what_opencv_makes_of_all_of_it():
    picture = texture((90, 140))
    matrix, size = turn(picture.shape[:2], 45)
    whole = cv2.warpAffine(picture, matrix, size)
    window = warp(picture, matrix - [[0, 0, 30], [0, 0, 70]], (50, 40))
    assert np.abs(window.astype(int) - whole[70:110, 30:80]).max() <= 1
    assert not warp(picture, matrix + [[0, 0, 900], [0, 0, 0]], (50, 40)).any()
    wide = np.zeros((4, 40000, 3), np.uint8)
    assert warp(wide, np.float64([[1, 0, -39000], [0, 1, 0]]), (100, 4)).shape == (4, 100, 3)


@real_faces
@pytest.mark.parametrize("side", ["left", "right", "lower"])
def test_a_face_cut_by_the_edge_is_hidden_and_doubted(finder, hopper, side):
    (whole,) = finder(hopper)
    left, top, width, height = whole.face.box
    x, y = round(left + 0.6 * width), round(top + 0.5 * height)
    cut = {"left": hopper[:, :x], "right": hopper[:, x:], "lower": hopper[:y]}[side]
    (found,) = finder(np.ascontiguousarray(cut))
    assert AT_EDGE in found.doubts
    shift = x if side == "right" else 0
    eyes = whole.face.points[:2] - (shift, 0)
    shown = [eye for eye in eyes if 0 <= eye[0] < cut.shape[1]]
    assert shown
    for eye in shown:
        assert cv2.pointPolygonTest(found.polygon, tuple(map(float, eye)), False) > 0


@real_faces
def test_small_faces_in_a_large_picture_are_found(finder, hopper):
    square = hopper[40:340, 110:410]  # the face has 0.55 of its side
    picture = texture((3000, 4500))
    places = {(700, 3100): (40, 0), (2100, 900): (56, 1), (1500, 2000): (24, 0)}
    for (top, left), (face, quarters) in places.items():
        side = round(face / 0.55)
        small = cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA)
        picture[top : top + side, left : left + side] = np.rot90(small, quarters)
    found = [face for face in finder(picture) if face.agreed]
    assert len(found) == len(places)
    for (top, left), (face, _) in places.items():
        middle = left + face / 1.1, top + face / 1.1
        assert any(cv2.pointPolygonTest(one.polygon, middle, False) > 0 for one in found)


@real_faces
@pytest.mark.parametrize("kind", ["dark", "white", "laid over"])
def test_a_faint_face_is_hidden_and_doubted(finder, hopper, kind):
    picture = hopper.astype(np.float32)
    faint = {
        "dark": 0.03 * picture,
        "white": 0.98 * 255 + 0.02 * picture,
        "laid over": 120 + (picture - 120) * 6 / 255,
    }[kind]
    (found,) = finder(np.rint(faint).astype(np.uint8))
    assert FAINT in found.doubts
    assert cv2.pointPolygonTest(found.polygon, (260.0, 230.0), False) > 0  # the nose


@real_faces
def test_windows_change_nothing_on_an_ordinary_picture(finder, monkeypatch):
    picture = read_picture(PICTURES / "singnet_face_services__model_face.jpg")
    in_windows = [one for one in finder(picture) if not one.doubts]
    monkeypatch.setattr(views, "_WINDOW", 10_000)
    at_once = [one for one in FaceFinder()(picture) if not one.doubts]
    assert len(in_windows) == len(at_once) == 1
    difference = in_windows[0].polygon.mean(0) - at_once[0].polygon.mean(0)
    assert np.abs(difference).max() < 0.02 * max(at_once[0].face.box[2:])


@real_faces
def test_no_face_is_sure_where_there_is_none(finder):
    noise = np.random.default_rng(1)
    empty = [
        texture((900, 1500), 3),
        noise.integers(0, 256, (480, 640, 3), dtype=np.uint8),
        noise.integers(118, 122, (480, 640, 3), dtype=np.uint8),
        np.full((300, 400, 3), 255, np.uint8),
    ]
    assert not any(not one.doubts for picture in empty for one in finder(picture))
    assert finder(empty[-1]) == []
