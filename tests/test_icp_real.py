"""Pasting faces at image level, with real faces and portraits."""

from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("tensorflow")
from pasting_pictures import box, paste, target_of, turned

from p3m_jax.copy_paste import geometry
from p3m_jax.copy_paste.image import read_face
from p3m_jax.copy_paste.recipe import VARIANTS, CopyPaste
from p3m_jax.copy_paste.samples import FacePasting
from p3m_jax.copy_paste.sources import folder_faces
from p3m_jax.data.layouts import training_set
from p3m_jax.faces import weights
from p3m_jax.input.pipeline import training_batches
from p3m_jax.pictures.images import read_picture
from p3m_jax.pictures.labels import read_matte

PUBLIC = Path(__file__).parents[2] / "shared" / "faces" / "pictures"


@pytest.fixture(scope="module")
def public(tmp_path_factory):
    """Some of the real faces beside the project, with masks from landmarks."""
    if not PUBLIC.is_dir():
        pytest.skip("the pictures of faces are not beside the project")
    try:
        for name in ("yunet", "mesh"):
            weights.find_weights(name)
    except weights.FaceWeightsError:
        pytest.skip("weights are not installed")
    folder = tmp_path_factory.mktemp("public")
    (folder / "pictures").mkdir()
    chosen = [*sorted(PUBLIC.glob("us_congress*"))[:5], *sorted(PUBLIC.glob("*obama.jpg"))[:1]]
    for path in chosen:
        (folder / "pictures" / path.name).symlink_to(path)
    faces = folder_faces(folder / "pictures", cache=folder / "masks", progress=False)
    assert len(faces) >= 5
    return faces


@pytest.mark.parametrize("variant", VARIANTS)
def test_real_faces_on_themselves(public, variant):
    for source in public[:3]:
        face = read_face(str(source.picture), str(source.mask))
        picture, mask = read_picture(source.picture), read_matte(source.mask) > 0
        grey = np.full_like(picture, 128)
        done = paste(face.picture.numpy(), face.mask.numpy(), mask, turned(), variant, grey)
        np.testing.assert_array_equal(done, np.where(mask[..., None], picture, grey))


def test_real_faces_on_real_portraits(public, samples):
    portraits = training_set(samples)
    options = {
        "batch_size": 8,
        "crop_sizes": (768,),
        "output_size": 256,
        "composition": False,
        "facemasks": True,
    }
    plain, pasted = (
        next(training_batches(portraits, seed=2, pasting=pasting, **options))
        for pasting in (
            None,
            FacePasting(CopyPaste(public, probability=1.0), portraits.examples, seed=2),
        )
    )
    inside = ((plain["facemask"] > 0) & (plain["trimap"] == 255))[..., 0]
    changed = (plain["picture"] != pasted["picture"]).any(-1)
    assert changed.any((1, 2)).sum() >= 2
    assert not changed[~inside].any()
    for area, mask in zip(changed, inside, strict=True):
        if mask.sum() > 400:  # of a face of that size much is covered
            assert area[mask].mean() > 0.4
    for role in ("matte", "trimap", "facemask"):
        np.testing.assert_array_equal(plain[role], pasted[role])


def test_centres_of_real_faces(public):
    target = np.zeros((256, 256), bool)
    cv2.ellipse(target.view(np.uint8), (120, 130), (50, 60), 0, 0, 360, 1, -1)
    for number, source in enumerate(public):
        face = read_face(str(source.picture), str(source.mask))
        draws = turned(-30 + 12 * number, (0.8, 0.8), bool(number % 2))  # lies inside the target
        white = np.full(face.picture.shape, 255, np.uint8)
        everywhere = np.zeros_like(target)
        # A square about the target's centre, wide enough to cut nothing, of the target's area.
        laid = geometry.transform(face.mask, target_of(target).box, draws, "augment")
        scale = geometry.scales(laid.matrix).numpy()
        everywhere[10:251, 0:241] = True
        whole = geometry.transform(face.mask, target_of(everywhere).box, draws, "augment")
        ratio = float(scale[0] / geometry.scales(whole.matrix).numpy()[0])
        draws = draws._replace(scale=draws.scale * ratio)
        done = paste(white, face.mask.numpy(), everywhere, draws)
        left_top, sides = box((done != 99).any(-1))
        assert sides.max() < 230
        np.testing.assert_allclose(left_top + sides / 2, (120.5, 130.5), atol=0.5)
