"""Faces that `p3m ppt` blurs in memory: only those that are certain."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from p3m_jax.data.layouts import folder_pair
from p3m_jax.data.synthetic.writer import write_synthetic_set
from p3m_jax.evaluation import ppt
from p3m_jax.evaluation.checks import EvaluationError
from p3m_jax.faces.areas import MOSTLY_TRANSITION, NO_FACE
from p3m_jax.faces.detector import Face
from p3m_jax.faces.finding import AT_EDGE, LOW_SCORE
from p3m_jax.faces.obfuscation import Obfuscation
from p3m_jax.faces.region import label_map, labels_of_mask, without_transition
from p3m_jax.pictures.images import read_picture, write_image
from p3m_jax.pictures.labels import read_matte


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Three synthetic portraits with normal faces."""
    root = tmp_path_factory.mktemp("set")
    write_synthetic_set(root / "set", train=1, test=3, size=(96, 96), progress=False)
    return root / "set" / "validation" / "P3M-500-P"


@pytest.fixture
def portraits(base, tmp_path):
    """Folders of pictures, mattes, face masks, which a test may change."""
    names = {"original_image": "pictures", "mask": "mattes", "facemask": "facemasks"}
    for folder, name in names.items():
        shutil.copytree(base / folder, tmp_path / name)
    return tmp_path


def _face(left, *doubts):
    polygon = np.float32([(left, 40), (left + 12, 40), (left + 12, 55), (left, 55)])
    points = np.float32([(3, 4), (9, 4), (6, 8), (4, 11), (8, 11)]) + np.float32([left, 40])
    face = Face((left, 40, 12, 15), 0.9, points)
    return SimpleNamespace(face=face, polygon=polygon, doubts=doubts)


def _obfuscating(portraits, finder, facemasks=None):
    dataset = folder_pair(portraits / "pictures", portraits / "mattes", facemasks=facemasks)
    return dataset, ppt.obfuscating(dataset, Obfuscation("fill"), finder=finder)


def test_faces_are_searched_for_where_no_mask_is(portraits):
    """All that are found are obfuscated, and each is searched for once; masks are believed."""
    facemasks, number = portraits / "facemasks", 0
    _, black, searched = sorted(path.stem for path in facemasks.iterdir())
    write_image(facemasks / f"{black}.png", np.zeros((96, 96), np.uint8))
    (facemasks / f"{searched}.png").unlink()
    faces, seen = [_face(40), _face(66)], []

    def finder(picture):
        seen.append(picture)
        return faces

    dataset, read = _obfuscating(portraits, finder, facemasks)
    assert {stem for stem, private in read.private.items() if private is None} == {black}
    for example in dataset.examples:
        matte = read_matte(example.matte)
        if example.facemask is None:
            labels = label_map([face.polygon for face in faces], matte.shape)
        else:
            labels = labels_of_mask(read_matte(example.facemask))
        labels = without_transition(labels, matte)
        picture = read(example)
        changed = (picture != read_picture(example.picture)).any(axis=-1)
        assert not changed[labels == 0].any()
        assert (picture[labels > 0] == 0).all()
        number += bool(changed.any())
    assert number == 2
    (picture,) = seen
    np.testing.assert_array_equal(picture, read_picture(dataset.examples[2].picture))


@pytest.mark.parametrize(
    ("faces", "reason"),
    [
        ([], NO_FACE),
        ([_face(40, AT_EDGE)], AT_EDGE),
        ([_face(40), _face(2, LOW_SCORE, AT_EDGE)], f"{LOW_SCORE}, {AT_EDGE}"),
        ("edge", MOSTLY_TRANSITION),
    ],
)
def test_only_sure_faces_are_enough(portraits, faces, reason):
    """A doubtful one beside a sure one is one too many."""
    edge = faces == "edge"  # a face of which nothing is left
    for path in (portraits / "mattes").iterdir():
        write_image(path, np.full((96, 96), 128 if edge else 255, np.uint8))
    faces = [_face(40)] if edge else faces
    stems = sorted(path.stem for path in (portraits / "pictures").iterdir())
    with pytest.raises(EvaluationError) as error:
        _obfuscating(portraits, lambda picture: faces)
    sentence, *doubts = str(error.value).splitlines()
    assert "3 of 3 pictures cannot be obfuscated reliably" in sentence
    assert doubts == [f"  {stem}: {reason}" for stem in stems]
