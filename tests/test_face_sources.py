"""Where faces to copy come from: folders, CelebAMask-HQ's layout, the settings of a run."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from p3m_jax.configs import common
from p3m_jax.copy_paste.recipe import CopyPaste
from p3m_jax.copy_paste.sources import (
    celebamask_hq_faces,
    folder_faces,
    synthetic_faces,
    training_set_faces,
)
from p3m_jax.data import celebamask
from p3m_jax.data.folders import DataSetError
from p3m_jax.data.layouts import folder_pair, training_set
from p3m_jax.data.synthetic.writer import write_synthetic_set
from p3m_jax.faces import weights
from p3m_jax.faces.finding import COVERED, FoundFace
from p3m_jax.faces.mesh import POINTS, Landmarks
from p3m_jax.pictures.images import ImageError, read_picture
from p3m_jax.pictures.labels import read_matte
from p3m_jax.storage.paths import PathError
from p3m_jax.training.errors import ConfigurationError, RunFolderError
from p3m_jax.training.faces_to_copy import find_copy_paste
from p3m_jax.training.parsing import parse
from p3m_jax.training.run_folder import claim_data

PUBLIC = Path(__file__).parents[2] / "shared" / "faces" / "pictures"


def save(path, values, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path, **options)
    return path


def colour(size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def rectangle(top, left, bottom, right, size=512):
    mask = np.zeros((size, size, 3), np.uint8)
    mask[top:bottom, left:right] = 255
    return mask


# Of face 4001: skin with forehead, brows at different heights, an eye, hair and an ear.
PARTS = {
    "skin": rectangle(100, 150, 400, 350),
    "l_brow": rectangle(190, 180, 200, 230),
    "r_brow": rectangle(184, 270, 194, 320),
    "l_eye": rectangle(210, 190, 220, 220),
    "mouth": rectangle(350, 220, 370, 280),
    "hair": rectangle(0, 100, 300, 400),
    "l_ear": rectangle(220, 130, 280, 150),
    "neck": rectangle(400, 180, 512, 320),
}


def write_celeba(root, number, parts, size=64):
    save(root / celebamask.PICTURES / f"{number}.jpg", colour((size, size), number))
    for part, mask in parts.items():
        folder = root / celebamask.MASKS / str(number // 2000)
        save(folder / f"{number:05d}_{part}.png", mask)


def without(*names):
    return {part: mask for part, mask in PARTS.items() if part not in names}


def test_celebamask_hq(tmp_path, capsys):
    root, cache = tmp_path / "CelebAMask-HQ", tmp_path / "cache"
    write_celeba(root, 4001, PARTS, size=1024)
    write_celeba(root, 7, without("l_brow", "r_brow"), size=512)
    write_celeba(
        root, 8, {**without("l_brow", "r_brow", "l_eye"), "eye_g": rectangle(205, 160, 240, 340)}
    )
    write_celeba(root, 9, without("l_brow", "r_brow", "l_eye"))
    write_celeba(root, 10, without("skin"))
    write_celeba(root, 11, {"skin": PARTS["skin"], "r_brow": PARTS["r_brow"]}, size=512)
    faces = celebamask_hq_faces(root, cache=cache, workers=1, progress=False)
    assert [face.stem for face in faces] == ["7", "8", "11", "4001"]
    said = capsys.readouterr().out
    assert "1 (10) without a mask of the skin" in said
    assert "neither brows nor eyes): 1 (9)" in said
    masks = {face.stem: read_matte(face.mask) for face in faces}
    # The higher brow's top, and neither hair, ear nor neck.
    expected = rectangle(184, 150, 400, 350)[..., 0]
    np.testing.assert_array_equal(masks["4001"], expected.repeat(2, 0).repeat(2, 1))
    np.testing.assert_array_equal(masks["7"], rectangle(210, 150, 400, 350)[..., 0])
    np.testing.assert_array_equal(masks["11"], expected)
    assert masks["8"].shape == (64, 64)
    assert np.flatnonzero(masks["8"].any(1))[0] in (25, 26)  # 205 / 8
    before = {face.mask: face.mask.stat().st_mtime_ns for face in faces}
    assert celebamask_hq_faces(root, cache=cache, progress=False) == faces
    assert before == {face.mask: face.mask.stat().st_mtime_ns for face in faces}


def test_celebamask_hq_errors(tmp_path):
    root = tmp_path / "CelebAMask-HQ"
    with pytest.raises(PathError, match="there is no such folder"):
        celebamask_hq_faces(root, cache=tmp_path / "cache")
    save(root / celebamask.PICTURES / "0.jpg", colour((9, 9)))
    with pytest.raises(DataSetError, match=r"CelebAMask-HQ-mask-anno: there is no such folder"):
        celebamask_hq_faces(root, cache=tmp_path / "cache")
    (root / celebamask.MASKS / "0").mkdir(parents=True)
    with pytest.raises(DataSetError, match=r"no picture .* has a mask NNNNN_skin.png"):
        celebamask_hq_faces(root, cache=tmp_path / "cache")
    with pytest.raises(DataSetError, match=f"did you mean {re.escape(str(root))}"):
        celebamask_hq_faces(root / celebamask.MASKS, cache=tmp_path / "cache")
    write_celeba(root, 0, {"skin": PARTS["skin"], "nose": rectangle(0, 0, 9, 9, 100)})
    with pytest.raises(DataSetError, match=r"00000_nose\.png: is .*, but its skin mask is "):
        celebamask_hq_faces(root, cache=tmp_path / "cache", progress=False)


def test_a_folder_with_masks(tmp_path):
    for number in range(3):
        save(tmp_path / "faces" / f"{number}.jpg", colour((40, 30), number))
        save(tmp_path / "masks" / f"{number}.png", np.full((40, 30), 255, np.uint8))
    faces = folder_faces(tmp_path / "faces", masks=tmp_path / "masks", progress=False)
    assert [face.stem for face in faces] == ["0", "1", "2"]
    assert faces[1].picture == tmp_path / "faces" / "1.jpg"
    assert faces[1].mask == tmp_path / "masks" / "1.png"
    assert not faces[1].obfuscated

    def refused(sentence, error=DataSetError):
        with pytest.raises(error, match=sentence):
            folder_faces(tmp_path / "faces", masks=tmp_path / "masks", progress=False)

    save(tmp_path / "masks" / "1.png", np.full((40, 31), 255, np.uint8))
    refused(r"masks/1\.png: is 31 x 40 pixels, but its picture is 30 x 40", ImageError)
    (tmp_path / "masks" / "1.png").unlink()
    refused(r"masks: no masks for 1 \(1\) of .*faces; add")
    save(tmp_path / "masks" / "1.png", np.full((40, 30), 255, np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 3
    save(tmp_path / "faces" / "1.jpg", colour((40, 30)), exif=exif)
    refused(r"1\.jpg: is stored rotated or mirrored")
    (tmp_path / "faces" / "1.jpg").unlink()
    save(tmp_path / "faces" / "1.webp", colour((40, 30)))
    refused(r"1\.webp: is WEBP; faces to copy must be JPEG or PNG")
    with pytest.raises(PathError, match="nowhere: there is no such folder"):
        folder_faces(tmp_path / "nowhere", masks=tmp_path / "masks")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataSetError, match="holds no pictures; choose a folder of faces"):
        folder_faces(tmp_path / "empty", cache=tmp_path / "cache")


def found_face(left, top, side, *doubts):
    """A square one, whose polygon to obfuscate is larger."""
    corners = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], np.float32)
    points = np.resize(corners, (POINTS, 2)) * np.float32(side - 1) + np.float32((left, top))
    return FoundFace(None, Landmarks(points, 1.0, 0.0), points[:4] * 1.1, doubts)


def test_a_folder_without_masks(tmp_path, capsys):
    """The largest face that is sure; a picture without one is left out; found once."""
    for number in range(3):
        save(tmp_path / "faces" / f"{number}.png", colour((40, 60), number))
    found = {
        0: [found_face(5, 6, 9), found_face(20, 4, 12), found_face(30, 2, 30, COVERED)],
        1: [found_face(10, 10, 10, COVERED)],
        2: [found_face(1, 2, 4)],
    }
    pictures = {read_picture(tmp_path / "faces" / f"{n}.png").tobytes(): n for n in found}
    options = {"cache": tmp_path / "cache", "workers": 1, "progress": False}
    faces = folder_faces(
        tmp_path / "faces", finder=lambda picture: found[pictures[picture.tobytes()]], **options
    )
    assert [face.stem for face in faces] == ["0", "2"]
    assert "1 (1)" in capsys.readouterr().out
    expected = np.zeros((40, 60), np.uint8)
    expected[4:16, 20:32] = 255
    np.testing.assert_array_equal(read_matte(faces[0].mask), expected)

    def never(picture):
        raise AssertionError("faces are known")

    assert folder_faces(tmp_path / "faces", finder=never, **options) == faces
    save(tmp_path / "faces" / "2.png", colour((50, 60)))
    with pytest.raises(DataSetError, match="was found from a different picture"):
        folder_faces(tmp_path / "faces", finder=never, **options)
    with pytest.raises(DataSetError, match="no face found with certainty in any picture"):
        folder_faces(tmp_path / "faces", finder=lambda picture: [], cache=tmp_path / "other")


@pytest.mark.skipif(not PUBLIC.is_dir(), reason="the pictures of faces are not beside the project")
def test_masks_of_real_faces(tmp_path):
    try:
        for name in ("yunet", "mesh"):
            weights.find_weights(name)
    except weights.FaceWeightsError:
        pytest.skip("weights are not installed")
    (tmp_path / "faces").mkdir()
    for path in sorted(PUBLIC.glob("us_congress*"))[:4]:
        (tmp_path / "faces" / path.name).symlink_to(path)
    faces = folder_faces(tmp_path / "faces", cache=tmp_path / "cache", progress=False)
    assert len(faces) >= 3
    for face in faces:
        assert 0.05 < (read_matte(face.mask) > 0).mean() < 0.4


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources") / "set"
    return write_synthetic_set(folder, train=3, test=1, faces=2, size=(64, 48), progress=False)


def test_synthetic_faces(root, tmp_path):
    faces = synthetic_faces(root)
    assert [face.stem for face in faces] == ["synthetic_00000", "synthetic_00001"]
    for face in faces:
        picture, mask = read_picture(face.picture), read_matte(face.mask)
        assert picture.shape == (*mask.shape, 3)
        assert 0.02 < (mask > 0).mean() < 0.3
    with pytest.raises(DataSetError, match="has no faces to copy"):
        synthetic_faces(tmp_path)


def test_faces_of_the_training_set(root):
    dataset = training_set(root)
    faces = training_set_faces(dataset, obfuscated=False)
    assert [face.mask for face in faces] == [e.facemask for e in dataset.examples]
    with pytest.raises(DataSetError, match="0 of its pictures have a face mask, too few"):
        training_set_faces(dataset, obfuscated=True)
    hidden = replace(
        dataset, examples=tuple(replace(e, private=e.facemask) for e in dataset.examples[:2])
    )
    assert all(face.obfuscated for face in training_set_faces(hidden, obfuscated=True))
    with pytest.raises(DataSetError, match="1 of its pictures"):
        training_set_faces(replace(hidden, examples=hidden.examples[:1]), obfuscated=True)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"level": "pixel"}, "copy_paste.level is 'pixel'; it must be one of 'none', 'image'"),
        ({"variant": "resize"}, "copy_paste.variant is 'resize'; it must be one of 'augment'"),
        ({"source_kind": "celeba"}, "copy_paste.source_kind is 'celeba'"),
        ({"probability": 1.5}, "copy_paste.probability is 1.5; it must be between 0 and 1"),
        ({"flip": -0.1}, "copy_paste.flip is -0.1"),
        ({"rotation": 200.0}, "copy_paste.rotation is 200.0; it must be between 0 and 180 degrees"),
        ({"scale": (1.2, 0.8)}, "copy_paste.scale is (1.2, 0.8)"),
        ({"scale": (1.0,)}, "copy_paste.scale is (1.0,)"),
        ({"source_kind": "training_set", "sources": "x"}, "source_masks must be empty"),
        ({"source_kind": "celebamask_hq"}, "choose the folder CelebAMask-HQ"),
        ({"source_masks": "x"}, "copy_paste.source_masks requires a folder"),
    ],
)
def test_settings_that_cannot_work_are_named(settings, sentence):
    config = common.variant("swin", "smoke,icp")
    config.update_from_flattened_dict(
        {f"copy_paste.{name}": value for name, value in settings.items()}
    )
    with pytest.raises(ConfigurationError, match=re.escape(sentence)):
        parse(config)


@pytest.mark.parametrize("name", ["", "demonstration", "smoke", "B:N", "smoke,N:B", "finetune"])
def test_configurations_are_the_plain_ones_with_pasting(name):
    config, plain = common.variant("swin", f"icp,{name}"), common.variant("swin", name)
    assert config.copy_paste.level == "image"
    config.copy_paste.level, config.variant = "none", name
    assert config.to_dict() == plain.to_dict()
    config = common.variant("swin", f"{name},icp")
    if name == "finetune":
        config.init_from, config.data.directory = "weights", "set"
    parse(config)


def test_parts_of_a_variant_go_in_any_order():
    expected = common.variant("swin", "smoke,fcp,B:N").to_dict()
    for name in ("fcp,smoke,B:N", "B:N,fcp,smoke"):
        assert common.variant("swin", name).to_dict() == expected
    assert expected["copy_paste"]["start_step"] == 26  # a third of the variant's 80
    for name, sentence in (
        ("smoke,finetune", "smoke and finetune cannot be combined"),
        ("smok", "Unknown variant 'smok'"),
    ):
        with pytest.raises(ValueError, match=sentence):
            common.variant("swin", name)
    plain = common.variant("swin", "icp,B:N")
    shown = common.demonstrated(plain)
    assert shown.to_dict() == common.variant("swin", "demonstration,icp,B:N").to_dict()
    assert plain.variant == "icp,B:N"


def test_the_faces_of_a_run(root, tmp_path):
    config, dataset = common.variant("swin", "smoke,icp"), training_set(root)

    def find(data=dataset):
        wanted = parse(config).copy_paste
        return find_copy_paste(wanted, tmp_path, data, root, obfuscated=False)

    recipe = find()
    assert recipe == CopyPaste(synthetic_faces(root))
    assert str(recipe) == "image, augment, probability 0.5, 2 faces"
    real = replace(dataset, synthetic=False)
    with pytest.raises(DataSetError, match=r"copy_paste\.sources=.*celebamask_hq.*training_set"):
        find(real)
    # What a data set hides does not come back through its own folders.
    for folder in (root / "train" / "original_image", root / "train" / "blurred_image"):
        config.copy_paste.sources = str(folder)
        config.copy_paste.source_masks = str(root / "train" / "facemask")
        with pytest.raises(DataSetError, match="belongs to the training set"):
            find(real)
    pair = folder_pair(root / "train" / "blurred_image", root / "train" / "mask")
    with pytest.raises(DataSetError, match="no picture has a face mask"):
        find(pair)
    config.copy_paste.sources = config.copy_paste.source_masks = ""
    config.copy_paste.source_kind = "training_set"
    assert len(find(real).sources) == 3
    config.copy_paste.level = "none"
    assert parse(config).copy_paste is None


def test_other_faces_may_not_go_on_in_a_run(root, tmp_path):
    dataset, recipe = training_set(root), CopyPaste(synthetic_faces(root))
    claim_data(tmp_path, dataset, recipe)
    step = tmp_path / "checkpoints" / "4"
    step.mkdir(parents=True)
    (step / "_CHECKPOINT_METADATA").write_text("{}")
    claim_data(tmp_path, dataset, recipe)
    for other in (None, recipe._replace(sources=recipe.sources[:1])):
        with pytest.raises(RunFolderError, match="copied other faces"):
            claim_data(tmp_path, dataset, other)
