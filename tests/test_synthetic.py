import json
import os

import cv2
import numpy as np
import pytest

from p3m_jax.data import layouts
from p3m_jax.data.folders import DataSetError
from p3m_jax.data.synthetic.portrait import draw_portrait, obfuscate_portrait, private_labels
from p3m_jax.data.synthetic.writer import example_files, write_synthetic_set
from p3m_jax.errors import OptionError
from p3m_jax.pictures.images import read_picture
from p3m_jax.pictures.labels import read_matte
from p3m_jax.pictures.trimap import trimap_from_matte
from p3m_jax.storage.paths import PathError

SIZE = (192, 144)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic") / "set"
    return write_synthetic_set(folder, train=6, test=4, size=SIZE, seed=3, progress=False)


@pytest.fixture(scope="module")
def portraits():
    return [draw_portrait((0, 0, number), (288, 216)) for number in range(12)]


def decoded(folder):
    return {
        path.relative_to(folder): read_picture(path)
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".jpg", ".png")
    }


def test_layout_is_the_newer_archive(root):
    train = layouts.training_set(root)
    assert train.synthetic
    assert len(train.examples) == 6
    for example in train.examples:
        assert example.foreground.parent == root / "train/fg_blurred"
        assert example.background.suffix == example.picture.suffix == ".jpg"
        assert example.facemask.is_file()
    for name in ("P3M-500-P", "P3M-500-NP"):
        test = layouts.find_test_set(root, name)
        assert len(test.examples) == 4
        assert test.synthetic
        for example in test.examples:
            matte = read_matte(example.matte)
            np.testing.assert_array_equal(read_matte(example.trimap), trimap_from_matte(matte, 25))
    settings = json.loads((root / "SYNTHETIC.json").read_text())
    counts = {"train": 6, "test": 4, "faces": 8}
    assert settings == {"generator": 3, "seed": 3, **counts, "size": [192, 144]}
    assert not [path for path in root.rglob("*") if path.name.startswith(".")]


def test_files_on_disk_compose_to_the_picture(root):
    for example in layouts.training_set(root).examples:
        alpha = read_matte(example.matte)[..., None] / 255
        foreground, background = read_picture(example.foreground), read_picture(example.background)
        composed = alpha * foreground + (1 - alpha) * background
        # Both the picture and the background are JPEG.
        difference = np.abs(composed - read_picture(example.picture))
        assert difference.mean() < 2.0
        assert np.percentile(difference, 99.9) < 16


def test_arrays_compose_exactly():
    files = example_files("train", 1, SIZE, 0)
    alpha = files["mask"][..., None] / 255
    for foreground, picture in (("fg", "original_image"), ("fg_blurred", "blurred_image")):
        composed = alpha * files[foreground] + (1 - alpha) * files["bg"]
        assert np.abs(composed - files[picture]).max() <= 0.501
    for folder, values in files.items():
        assert values.dtype == np.uint8
        assert values.shape == (SIZE if folder in ("mask", "facemask") else (*SIZE, 3))


def test_mattes_have_hair_like_edges(portraits):
    for portrait in portraits:
        matte = portrait.matte
        assert 0.15 < (matte > 127).mean() < 0.8
        assert (matte == 0).mean() > 0.15
        assert (matte == 255).mean() > 0.15
    fractional = [((p.matte > 25) & (p.matte < 230)).mean() for p in portraits]
    assert np.median(fractional) > 0.015
    # Hair ends in strands: near the head the edge of the matte is much longer than its hull's.
    longer = []
    for portrait in portraits:
        above = portrait.matte.copy()
        above[np.nonzero(portrait.facemask.any(1))[0][-1] :] = 0
        contours, _ = cv2.findContours(above // 128, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        head = max(contours, key=cv2.contourArea)
        longer.append(cv2.arcLength(head, True) / cv2.arcLength(cv2.convexHull(head), True))
    assert np.median(longer) > 1.4  # without strands 1.06
    # All levels of alpha occur, not a few that blurring an outline would give.
    levels = np.unique(np.concatenate([p.matte.ravel() for p in portraits]))
    assert len(levels) > 200


def test_face_mask_is_a_u_with_a_flat_top_on_the_person(portraits):
    for portrait in portraits:
        mask = portrait.facemask > 0
        assert set(np.unique(portrait.facemask)) == {0, 255}
        assert 0.005 < mask.mean() < 0.2
        assert (portrait.matte[mask] > 127).mean() > 0.98
        corners = cv2.minAreaRect(np.argwhere(mask)[:, ::-1].astype(np.float32))
        assert 0.6 < mask.sum() / np.prod(corners[1]) < 0.95  # an ellipse's is 0.785, a box's 1
        widths = mask.sum(1)[mask.any(1)]
        third = len(widths) // 3
        assert widths[:third].mean() > 1.2 * widths[-third:].mean()


def test_obfuscation_removes_the_face_and_nothing_else(portraits):
    for portrait in portraits:
        hidden = obfuscate_portrait(portrait)
        area = private_labels(portrait) > 0
        assert area.sum() > 0.5 * (portrait.facemask > 0).sum()
        assert (portrait.matte[area] == 255).all()  # the edge of the person stays sharp
        changed = (hidden.foreground != portrait.foreground).any(-1)
        assert not (changed & ~area).any()
        assert (hidden.picture()[~area] == portrait.picture()[~area]).all()
        for other in ("background", "matte", "facemask"):
            assert (getattr(hidden, other) == getattr(portrait, other)).all()
        # No feature survives: inside, neighbouring pixels hardly differ any more.
        inner = cv2.erode(area.astype(np.uint8), np.ones((3, 3))) > 0
        steps = [
            np.abs(cv2.Laplacian(p.foreground.astype(np.float32), cv2.CV_32F))[inner].max()
            for p in (hidden, portrait)
        ]
        assert steps[0] < 12 < 40 < steps[1]


def test_faces_are_clear_only_without_privacy():
    """The very same portraits are drawn; what differs is the part's seed and the blur."""
    for part, blurred in (("train", True), ("P3M-500-P", True), ("P3M-500-NP", False)):
        code = {"train": 0, "P3M-500-P": 1, "P3M-500-NP": 2}[part]
        clear = draw_portrait((5, code, 0), SIZE)
        files = example_files(part, 0, SIZE, 5)
        assert (files["original_image"] == clear.picture()).all()
        assert ("blurred_image" in files) == blurred
        if blurred:
            assert (files["blurred_image"] != clear.picture()).any()
        assert (files["mask"] == clear.matte).all()
    behind = draw_portrait((5, 2, 3), SIZE, behind=True)
    assert not behind.facemask.any()
    assert (example_files("P3M-500-NP", 3, SIZE, 5)["original_image"] == behind.picture()).all()


def test_examples_depend_on_seed_and_number_alone(root, tmp_path):
    other = write_synthetic_set(tmp_path / "b", train=2, test=1, size=SIZE, seed=3, progress=False)
    before, after = decoded(root), decoded(other)
    assert set(after) < set(before)
    for name, pixels in after.items():
        np.testing.assert_array_equal(pixels, before[name])
    different = example_files("train", 0, SIZE, 4)["mask"]
    assert (different != example_files("train", 0, SIZE, 3)["mask"]).any()
    assert (example_files("P3M-500-P", 0, SIZE, 3)["mask"] != before[
        next(name for name in before if "train" in name.parts and "mask" in name.parts)
    ][..., 0]).any()  # fmt: skip


def test_resumes_without_touching_what_is_complete(tmp_path):
    settings = {"train": 3, "test": 1, "size": SIZE, "progress": False}
    folder = write_synthetic_set(tmp_path / "set", **settings)
    expected = decoded(folder)
    # As after a kill: two files missing and the mark not yet in place.
    (folder / layouts.SYNTHETIC_MARK).rename(folder / layouts.UNFINISHED_MARK)
    missing = [folder / "train/bg/synthetic_00001.jpg", folder / "train/mask/synthetic_00002.png"]
    for path in missing:
        path.unlink()
    kept = folder / "train/mask/synthetic_00001.png"
    os.utime(kept, (1, 1))
    with pytest.raises(DataSetError, match="is an unfinished synthetic set"):
        layouts.training_set(folder)
    write_synthetic_set(folder, **settings)
    assert kept.stat().st_mtime == 1
    assert (folder / layouts.SYNTHETIC_MARK).is_file()
    assert not (folder / layouts.UNFINISHED_MARK).exists()
    again = decoded(folder)
    assert again.keys() == expected.keys()
    for name, pixels in again.items():
        np.testing.assert_array_equal(pixels, expected[name])


def test_a_finished_set_is_left_alone_and_others_are_refused(root, tmp_path):
    path = next((root / "train/mask").iterdir())
    before = path.stat().st_mtime_ns
    again = write_synthetic_set(root, train=6, test=4, size=SIZE, seed=3, progress=False)
    assert again == root
    assert path.stat().st_mtime_ns == before
    with pytest.raises(DataSetError, match="seed 3 instead of 4"):
        write_synthetic_set(root, train=6, test=4, size=SIZE, seed=4)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("precious")
    with pytest.raises(DataSetError, match="not empty"):
        write_synthetic_set(mine, train=1, test=1, size=SIZE)
    assert [p.name for p in mine.iterdir()] == ["thesis.txt"]
    with pytest.raises(PathError, match="is a file"):
        write_synthetic_set(mine / "thesis.txt", train=1, test=1, size=SIZE)
    for size in [(16, 64), (99_999, 99_999)]:
        with pytest.raises(OptionError, match="choose sides of 32 to 4096"):
            write_synthetic_set(tmp_path / "new", train=1, test=1, size=size)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("size", [(32, 32), (97, 201), (720, 540)])
def test_other_sizes_and_shapes(size):
    portrait = draw_portrait((1, 2, 3), size)
    assert portrait.picture().shape == (*size, 3)
    assert 0 < (portrait.matte == 255).mean() < 0.9


def test_what_was_deleted_of_a_finished_set_is_drawn_again(tmp_path):
    settings = {"train": 2, "test": 1, "size": (64, 48), "progress": False}
    folder = write_synthetic_set(tmp_path / "set", **settings)
    lost = folder / "train/mask/synthetic_00001.png"
    expected = lost.read_bytes()
    lost.unlink()
    write_synthetic_set(folder, **settings)
    assert lost.read_bytes() == expected
    assert (folder / layouts.SYNTHETIC_MARK).is_file()
    assert not (folder / layouts.UNFINISHED_MARK).exists()


def test_command(tmp_path, capsys, p3m):
    options = ["synthesize", "-o", tmp_path / "set", "--train", 2, "--test", 1, "--size", "96x64"]
    assert p3m(*options) == 0
    (first, _) = layouts.training_set(tmp_path / "set").examples
    assert read_picture(first.picture).shape == (96, 64, 3)
    assert p3m(*options, "--seed", 9) == 1
    assert "choose another folder" in capsys.readouterr().err
    assert p3m("synthesize", "-o", "~nobody-has-this-name/set") == 1
    assert "no home folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "value"), [("--size", "96"), ("--train", 0), ("--test", -1), ("--seed", -3)]
)
def test_wrong_options(tmp_path, capsys, p3m, flag, value):
    assert p3m("synthesize", "-o", tmp_path / "set", flag, value) == 2
    assert flag in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "set").exists()
