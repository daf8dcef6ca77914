"""What is private: masks are not believed, and mattes leave no feature of a face clear."""

import numpy as np
import pytest

from p3m_jax.faces.areas import (
    FEATURE_CLEAR,
    MOSTLY_TRANSITION,
    NOT_IN_MASK,
    find_private_areas,
)
from p3m_jax.faces.detector import Face
from p3m_jax.faces.finding import FoundFace
from p3m_jax.faces.mesh import Landmarks

PICTURE = np.zeros((200, 200, 3), np.uint8)
EYES, MOUTH = slice(76, 84), slice(116, 124)  # rows


def found(left=60, *, score=0.9, presence=1.0):
    x, y = np.array([20, 60, 40, 25, 55]) + left, np.array([80, 80, 100, 120, 120])
    polygon = np.array([(left, 60), (left + 80, 60), (left + 80, 140), (left, 140)], np.float32)
    face = Face((float(left), 60.0, 80.0, 80.0), score, np.stack([x, y], 1).astype(np.float32))
    return FoundFace(face, Landmarks(polygon, presence, 0.0), polygon, ())


def mask_of(*lefts):
    mask = np.zeros((200, 200), np.uint8)
    for left in lefts:
        mask[60:141, left : left + 81] = 255
    return mask


def areas(mask=None, matte=None, faces=None, **options):
    options["finder"] = lambda picture: [found()] if faces is None else faces
    return find_private_areas(PICTURE, mask=mask, matte=matte, **options)


def test_a_mask_that_covers_the_face_is_believed():
    result = areas(mask_of(60))
    assert result.doubts == ()
    np.testing.assert_array_equal(result.private > 0, mask_of(60) > 0)


@pytest.mark.parametrize("mask", [mask_of(), mask_of(110), mask_of(0)])
def test_a_face_outside_of_its_mask_is_hidden_and_doubted(mask):
    """Empty, or another picture's, which covers one eye."""
    result = areas(mask)
    assert result.doubts == (NOT_IN_MASK,)
    assert (result.private > 0)[60:140, 60:140].all()
    assert (result.private > 0)[mask > 0].all()


def test_a_reviewed_mask_says_what_is_no_face_and_so_do_low_scores():
    assert areas(mask_of(), reviewed=True).doubts == ()
    assert not areas(mask_of(), reviewed=True).private.any()
    for uncertain in (found(score=0.5), found(presence=0.1)):
        assert areas(mask_of(), faces=[uncertain]).doubts == ()


def test_a_second_face_that_the_mask_leaves_out_is_doubted():
    two = (found(10), found(110))
    assert areas(mask_of(10), faces=two).doubts == (NOT_IN_MASK,)
    assert areas(mask_of(10, 110), faces=two).doubts == ()


@pytest.mark.parametrize("rows", [EYES, MOUTH])
@pytest.mark.parametrize("mask", [None, mask_of(60)])
@pytest.mark.parametrize("reviewed", [False, True])
def test_a_transition_band_over_eyes_or_mouth_is_doubted(rows, mask, reviewed):
    matte = np.full((200, 200), 255, np.uint8)
    assert areas(mask, matte, reviewed=reviewed).doubts == ()
    matte[rows, :100] = 128  # the left half of the face
    result = areas(mask, matte, reviewed=reviewed)
    assert result.doubts == (FEATURE_CLEAR,)
    assert not result.private[rows, :100].any()


@pytest.mark.parametrize("mask", [None, mask_of(60)])
def test_a_matte_that_is_never_opaque_hides_nothing_and_is_doubted(mask):
    result = areas(mask, np.full((200, 200), 254, np.uint8))
    assert not result.private.any()
    assert result.doubts == (MOSTLY_TRANSITION,)


def test_what_lies_outside_of_the_picture_need_not_be_hidden():
    assert areas(None, faces=[found(-45)]).doubts == ()
    assert areas(mask_of(0), faces=[found(-45)]).doubts == ()
