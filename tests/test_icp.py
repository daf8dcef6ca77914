"""Pasting faces at image level: geometry, what may change and what may not, what is drawn."""

import cv2
import numpy as np
import pytest

pytest.importorskip("tensorflow")
from pasting_pictures import STILL, blob, box, paste, target_of, turned

from p3m_jax.copy_paste import geometry
from p3m_jax.copy_paste.image import FaceCrop, square_face, take_target
from p3m_jax.copy_paste.recipe import VARIANTS, CopyPaste
from p3m_jax.input import augment, host_tensorflow, masks

tf = host_tensorflow()


def corners(size=64, part=32):
    """A square face whose quarters have the numbers 10, 20 (right), 30 (below), 40."""
    mask, picture = np.zeros((size, size), bool), np.full((size, size, 3), 200, np.uint8)
    first = (size - part) // 2
    mask[first : first + part, first : first + part] = True
    half = size // 2
    picture[:half, :half], picture[:half, half:] = 10, 20
    picture[half:, :half], picture[half:, half:] = 30, 40
    return picture, mask


def quarters(picture):
    """The values in the middles of the quarters of a face as large as that of `corners`."""
    middle = picture.shape[0] // 2
    return [int(picture[middle + y, middle + x, 0]) for y in (-8, 8) for x in (-8, 8)]


def test_flips_and_rotations_go_the_right_way():
    picture, mask = corners()
    whole = np.ones((48, 48), bool)
    whole[:8] = whole[-8:] = whole[:, :8] = whole[:, -8:] = False
    assert quarters(paste(picture, mask, whole, STILL)) == [10, 20, 30, 40]
    assert quarters(paste(picture, mask, whole, turned(flip=True))) == [20, 10, 40, 30]
    # Clockwise by a quarter: what was left above is right above.
    assert quarters(paste(picture, mask, whole, turned(90))) == [30, 10, 40, 20]
    assert quarters(paste(picture, mask, whole, turned(-90))) == [20, 40, 10, 30]
    # Flipped first, turned then.
    assert quarters(paste(picture, mask, whole, turned(90, flip=True))) == [40, 20, 30, 10]


def test_scales_are_of_width_and_height():
    picture, mask = corners()
    whole = np.ones((96, 96), bool)
    whole[:32] = whole[-32:] = whole[:, :32] = whole[:, -32:] = False  # as large as the face
    for scale in ((0.5, 1.0), (1.0, 0.5), (0.75, 0.5)):
        changed = (paste(picture, mask, whole, turned(scale=scale)) != 99).any(-1)
        np.testing.assert_allclose(box(changed)[1], 32 * np.array(scale), atol=1)
    # Half as large a face is enlarged to the target's area, whatever its form.
    for size, sides in (((24, 12), (12, 24)), ((10, 40), (40, 10))):
        _, small = corners(64, 8)
        target = np.zeros((96, 96), bool)
        target[20 : 20 + size[0], 30 : 30 + size[1]] = True
        laid = geometry.transform(tf.constant(small), target_of(target).box, STILL, "vanilla")
        np.testing.assert_allclose(
            geometry.scales(laid.matrix), np.sqrt(np.prod(sides) / 64) * np.ones(2), rtol=1e-5
        )
        laid = geometry.transform(tf.constant(small), target_of(target).box, STILL, "fill")
        np.testing.assert_allclose(geometry.scales(laid.matrix), np.array(sides) / 8, rtol=1e-5)
        filled = paste(*corners(64, 8), target, STILL, "fill")
        assert ((filled != 99).any(-1) == target).all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_centres_coincide(variant):
    rng = np.random.default_rng(0)
    for seed in range(12):
        source, target = blob((70, 90), seed), blob((80, 64), 100 + seed)
        draws = STILL
        if variant == "augment":
            draws = turned(rng.uniform(-30, 30), rng.uniform(0.8, 1.2, 2), bool(seed % 2))
        laid = geometry.transform(tf.constant(source), target_of(target).box, draws, variant)
        assert laid.paste
        # The transformed mask on a canvas that it does not leave, by OpenCV, eight times as fine:
        # the pixels of the target itself miss tips of these masks that are thinner than one.
        room, fine = 100, 8
        matrix = laid.matrix.numpy().astype(np.float64)
        matrix[:, 2] -= matrix[:, :2] @ [room, room]
        matrix[:, :2] /= fine
        matrix[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5
        large = cv2.warpAffine(
            source.astype(np.float32),
            matrix,
            (fine * (2 * room + 64), fine * (2 * room + 80)),
            flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
        )
        found, expected = [value / fine for value in box(large > 0)], box(target)
        centre = found[0] - room + found[1] / 2
        np.testing.assert_allclose(centre, expected[0] + expected[1] / 2, atol=0.15)
        if variant == "fill":
            np.testing.assert_allclose(found[1], expected[1], atol=0.3)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_face_pasted_onto_itself_is_itself(variant):
    for seed in range(4):
        mask = blob((64, 80), seed)
        picture = np.random.default_rng(seed).integers(0, 256, (64, 80, 3), dtype=np.uint8)
        grey = np.full_like(picture, 7)
        done = paste(picture, mask, mask, STILL, variant, grey)
        np.testing.assert_array_equal(done, np.where(mask[..., None], picture, grey))


def test_nothing_changes_outside_and_by_empty_masks():
    for seed in range(8):
        source, target = blob((70, 90), seed), blob((80, 64), 100 + seed)
        picture = np.random.default_rng(seed).integers(0, 256, (70, 90, 3), dtype=np.uint8)
        before = np.random.default_rng(-seed + 99).integers(0, 256, (80, 64, 3), dtype=np.uint8)
        draws = turned(25, (0.8, 1.2), True)
        after = paste(picture, source, target, draws, target=before)
        changed = (after != before).any(-1)
        assert changed.any()
        assert not changed[~target].any()
        for one, other in ((source & False, target), (source, target & False)):
            same = paste(picture, one, other, draws, target=before)
            np.testing.assert_array_equal(same, before)


def test_a_large_source_is_averaged_not_sampled():
    picture = np.zeros((256, 256, 3), np.uint8)
    picture[::2] = 200  # stripes of one pixel, whose mean is 100
    mask = np.zeros((256, 256), bool)
    mask[32:224, 32:224] = True
    target = np.zeros((48, 48), bool)
    target[12:36, 12:36] = True
    done = paste(picture, mask, target, turned(20))
    inside = cv2.erode((done != 99).any(-1).astype(np.uint8), np.ones((5, 5))) > 0
    assert inside.sum() > 150
    assert np.abs(done[inside].astype(int) - 100).max() <= 2


def test_the_largest_face_counts():
    labels = np.zeros((40, 40), np.uint8)
    labels[2:9, 2:9], labels[12:36, 12:36], labels[0, 39] = 255, 254, 253
    assert int(masks.largest_face(tf.constant(labels))) == 254
    assert int(masks.largest_face(tf.zeros([40, 40], tf.uint8))) > 0  # no pixel has it
    tiny = np.zeros((40, 40), np.uint8)
    tiny[1:3, 1:3] = 101
    assert int(masks.largest_face(tf.constant(tiny))) == 101


def test_draws_keep_to_their_ranges_and_follow_from_seed_and_number():
    recipe = CopyPaste((), probability=0.5)
    draw = tf.function(lambda number: geometry.draw(5, number, recipe), autograph=False)
    drawn = [draw(tf.constant(number, tf.int64)) for number in range(400)]
    assert 0.4 < np.mean([d.paste for d in drawn]) < 0.6
    assert 0.4 < np.mean([d.flip for d in drawn]) < 0.6
    angles = np.degrees([d.rotation for d in drawn])
    assert -30 <= angles.min() < -25
    assert 25 < angles.max() <= 30
    scales = np.array([d.scale for d in drawn])
    assert 0.8 <= scales.min() < 0.82
    assert 1.18 < scales.max() <= 1.2
    assert abs(np.corrcoef(scales.T)[0, 1]) < 0.2
    for other in ("vanilla", "fill"):
        alike = [geometry.draw(5, n, recipe._replace(variant=other)) for n in range(20)]
        assert [bool(d.paste) for d in alike] == [bool(d.paste) for d in drawn[:20]]
        assert all(d.rotation == 0 and not d.flip and (d.scale == 1).numpy().all() for d in alike)
    assert not any(geometry.draw(5, n, recipe._replace(probability=0.0)).paste for n in range(50))
    assert all(geometry.draw(5, n, recipe._replace(probability=1.0)).paste for n in range(50))


def test_a_batch_takes_different_faces():
    for count, places in ((1, 3), (5, 5), (30000, 8)):
        for step in range(3):
            taken = [int(geometry.source_at(step, place, count, 3)) for place in range(places)]
            assert all(0 <= number < count for number in taken)
            assert len(set(taken)) == min(count, places)
    every = {int(geometry.source_at(step, 0, 5, 3)) for step in range(40)}
    assert every == set(range(5))
    assert [int(geometry.source_at(s, 0, 999, 3)) for s in range(5)] != [
        int(geometry.source_at(s, 0, 999, 4)) for s in range(5)
    ]


def test_square_faces():
    picture, mask = corners(64, 32)
    face = square_face(FaceCrop(tf.constant(picture[:, :48]), tf.constant(mask[:, :48])), 32)
    assert face.picture.shape == (32, 32, 3)
    assert face.picture.dtype == tf.uint8
    expected = np.zeros((32, 32), bool)
    expected[8:24, 8:24] = True
    np.testing.assert_array_equal(face.mask, expected)
    assert (face.picture.numpy()[[9, 9, 22, 22], [9, 22, 9, 22], 0] == [10, 20, 30, 40]).all()
    assert not face.picture.numpy()[:, 26:].any()
    laid = geometry.transform(face.mask, target_of(expected).box, STILL, "augment")
    np.testing.assert_array_equal(laid.matrix, [[1, 0, 0], [0, 1, 0]])


def test_target_is_face_and_foreground():
    sample = {
        "trimap": tf.constant(np.array([[255, 128, 0, 255]], np.uint8)[..., None]),
        "target": tf.constant(np.array([[255, 255, 255, 0]], np.uint8)[..., None]),
        "target_box": tf.constant([[-2.0, 0.0], [5.0, 1.0]]),
    }
    rest, target = take_target(sample)
    assert rest.keys() == {"trimap"}
    np.testing.assert_array_equal(target.mask, [[True, False, False, False]])
    np.testing.assert_array_equal(target.box, [[-2, 0], [5, 1]])


def test_the_plain_draws_do_not_meet_those_of_copy_and_paste():
    """The same seeds would tie crops to pastes."""
    plain = [augment.draw(0, number, (64,)) for number in range(64)]
    drawn = [geometry.draw(0, number, CopyPaste(())) for number in range(64)]
    same = np.mean([bool(p.flip) == bool(d.flip) for p, d in zip(plain, drawn, strict=True)])
    assert 0.25 < same < 0.75
