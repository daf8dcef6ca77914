"""Copies of a collection: what of a picture comes through, and what is recorded."""

import hashlib
import json

import cv2
import numpy as np
import pytest
from anonymizing import (
    MARK,
    anonymize,
    found,
    inside,
    mask_of,
    metadata,
    one_picture,
    painted,
    with_private_tag,
)
from PIL import Image, ImageCms, ImageOps
from predicting import tree

from p3m_jax.faces.obfuscation import MODES, STRENGTH, Obfuscation
from p3m_jax.pictures.images import read_picture, write_image
from p3m_jax.pictures.photos import CONVERTED
from p3m_jax.pictures.profiles import converted, matrix_profile, standard_of, standards
from p3m_jax.pictures.trimap import TRANSITION, transition_kernel, trimap_from_matte


@pytest.fixture
def folders(tmp_path):
    return one_picture(tmp_path)


@pytest.mark.parametrize("mode", MODES)
def test_all_but_the_private_area_stays_bit_for_bit(folders, mode):
    out = folders[1]
    outcome, _ = anonymize(*folders, obfuscation=Obfuscation(mode))
    assert (outcome.done, outcome.failed) == (1, [])
    clear, hidden = painted(), read_picture(out / "blurred_image/deep/a.png")
    np.testing.assert_array_equal(hidden[~inside()], clear[~inside()])
    assert (hidden[inside()] != clear[inside()]).any(-1).mean() > 0.95
    facemask = np.asarray(Image.open(out / "facemask/deep/a.png"))
    np.testing.assert_array_equal(facemask, np.stack([mask_of(inside())] * 3, -1))
    assert not (out / "mask").exists()
    assert {path.name for path in out.iterdir()} == {
        *("blurred_image", "facemask", "keep_private", "manifest.jsonl")
    }


def test_transition_areas_of_mattes_stay_sharp(folders, tmp_path):
    matte = np.zeros((60, 80), np.uint8)
    matte[:, 21:] = 255
    write_image(tmp_path / "mattes/deep/a.png", cv2.GaussianBlur(matte, (0, 0), 1))
    matte = np.asarray(Image.open(tmp_path / "mattes/deep/a.png"))
    assert anonymize(*folders, mattes=tmp_path / "mattes")[0].done == 1
    transition = trimap_from_matte(matte, transition_kernel(matte.shape)) == TRANSITION
    kept = ~inside() | transition
    assert (inside() & transition).any()
    hidden = read_picture(folders[1] / "blurred_image/deep/a.png")
    np.testing.assert_array_equal(hidden[kept], painted()[kept])
    assert (hidden[~kept] != painted()[~kept]).any(-1).mean() > 0.95
    np.testing.assert_array_equal(np.asarray(Image.open(folders[1] / "mask/deep/a.png")), matte)
    facemask = np.asarray(Image.open(folders[1] / "facemask/deep/a.png"))[..., 0]
    np.testing.assert_array_equal(facemask, mask_of(inside()))


def test_records_tell_all_and_their_hashes_are_right(folders):
    pictures, out = folders
    anonymize(*folders)
    record = json.loads((out / "keep_private/records/deep/a.json").read_text())
    source = (pictures / "deep/a.png").read_bytes()
    assert record["input_sha256"] == hashlib.sha256(source).hexdigest()
    assert record["smallest_face"] == {"upright": 24, "turned": 64}
    assert set(record["outputs"]) == {"blurred_image", "facemask"}
    for output in record["outputs"].values():
        content = (out / output["file"]).read_bytes()
        assert output["sha256"] == hashlib.sha256(content).hexdigest()
    (one,) = record["faces"]
    assert one["score"] == 0.95
    assert np.shape(one["landmarks"]) == (468, 2)
    (area,) = record["areas"]
    assert area["box"] == [20, 10, 25, 31]
    assert area["strength_in_pixels"] == pytest.approx(STRENGTH * 31, abs=0.05)
    assert record["obfuscation"] == {
        **{"mode": "blur", "strength": STRENGTH, "below_safe_strength": False}
    }
    assert {"p3m-jax", "opencv", "numpy", "yunet_sha256", "mesh_sha256"} <= set(record["versions"])
    # What has to be made again alone does not take the others out of the record.
    for file in ("blurred_image/deep/a.png", "keep_private/records/deep/a.json"):
        (out / file).unlink()
        before = tree(out)
        assert anonymize(*folders)[0].done == 1
        again = json.loads((out / "keep_private/records/deep/a.json").read_text())
        assert again["outputs"] == record["outputs"]
        assert before["facemask/deep/a.png"] == tree(out)["facemask/deep/a.png"]


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_a_face_is_looked_for_once_more_the_way_up_that_it_was(folders, quarters):
    looks = []

    def asked(picture, *, upright=False):
        looks.append(upright)
        return [found(quarters=quarters)] if len(looks) == 1 else []

    assert anonymize(*folders, asked=asked)[0].done == 1
    assert looks == [False, quarters == 0]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright_and_metadata_dropped(tmp_path, orientation):
    upright = Image.fromarray(painted(64, 96))
    turns = [None, *(Image.Transpose(turn) for turn in (0, 3, 1, 5, 2, 6, 4))]
    turn = turns[orientation - 1]
    stored = upright if turn is None else upright.transpose(turn)
    (tmp_path / "in").mkdir()
    given = metadata(orientation)
    stored.save(tmp_path / "in/a.png", exif=given["exif"], icc_profile=given["icc_profile"])
    stored.save(tmp_path / "in/b.jpg", quality=100, subsampling=0, **given)
    assert (tmp_path / "in/b.jpg").read_bytes().count(MARK) == 6
    with Image.open(tmp_path / "in/a.png") as image:  # Pillow's own turn
        np.testing.assert_array_equal(np.asarray(ImageOps.exif_transpose(image)), painted(64, 96))
    looked = []

    def look(picture):
        looked.append(picture)
        return [found(presence=float(len(looked) % 2))]  # none in what is obfuscated

    out = tmp_path / "looked"
    assert anonymize(tmp_path / "in", out, look)[0].done == 2
    hidden = read_picture(out / "blurred_image/a.png")
    outside = ~inside(64, 96)
    np.testing.assert_array_equal(hidden[outside], painted(64, 96)[outside])
    difference = read_picture(out / "blurred_image/b.png")[outside].astype(int)
    assert np.abs(difference - painted(64, 96)[outside]).mean() < 3
    for file in (path for path in out.rglob("*") if path.is_file()):
        assert MARK not in file.read_bytes()
    for name in ("a", "b"):
        with Image.open(out / f"blurred_image/{name}.png") as image:
            assert image.info == {}


SRGB = (0.43607, 0.22249, 0.01392, 0.38515, 0.71687, 0.09708, 0.14307, 0.06061, 0.7141)


def linear(values):
    values = values / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def coded(values):
    values = np.clip(values, 0, 1)
    return 255 * np.where(values <= 0.0031308, 12.92 * values, 1.055 * values ** (1 / 2.4) - 0.055)


# By the standards' own formulas, what a picture's numbers are in sRGB.
TO_SRGB = {
    "Display P3": lambda pixels: coded(
        linear(pixels)
        @ np.transpose(
            [[1.22494, -0.22494, 0], [-0.04206, 1.04206, 0], [-0.01964, -0.07864, 1.09827]]
        )
    ),
    "Adobe RGB": lambda pixels: coded(
        (pixels / 255) ** 2.19921875
        @ np.transpose([[1.39836, -0.39836, 0], [0, 1, 0], [0, -0.04293, 1.04293]])
    ),
    "gamma 1.8": lambda pixels: coded((pixels / 255) ** 1.8),
    "sRGB": lambda pixels: pixels,
}


@pytest.mark.parametrize("space", TO_SRGB)
@pytest.mark.parametrize("format", ["png", "jpg", "webp"])
def test_nothing_of_a_colour_profile_comes_through_but_the_colours(tmp_path, space, format):
    if space == "sRGB":
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    else:
        profile = standards().get(space) or matrix_profile(space, SRGB, (1.8,))
    profile = with_private_tag(profile)
    assert standard_of(profile) == (space if space in standards() else None)
    coarse = np.random.default_rng(0).integers(40, 216, (6, 8, 3)).astype(np.uint8)
    smooth = cv2.resize(coarse, (80, 60), interpolation=cv2.INTER_CUBIC)
    (tmp_path / "in").mkdir()
    Image.fromarray(smooth).save(tmp_path / "in/a.png", icc_profile=profile)
    Image.fromarray(smooth).convert("L").save(tmp_path / "in/grey.png", icc_profile=profile)
    Image.fromarray(smooth).convert("CMYK").save(tmp_path / "in/cmyk.jpg", icc_profile=profile)
    assert MARK in (tmp_path / "in/cmyk.jpg").read_bytes()
    looks = []

    def look(picture):
        looks.append(picture)
        return [found(presence=float(len(looks) % 2))]

    out = tmp_path / "out"
    outcome, _ = anonymize(tmp_path / "in", out, look, format=format, quality=100)
    assert outcome.done == 3
    warnings = {sentence for file, sentence in outcome.warnings if file.name == "a.png"}
    assert warnings == (set() if space in standards() else {CONVERTED})
    for file in (path for path in out.rglob("*") if path.is_file()):
        assert MARK not in file.read_bytes()
    for file in (*(out / "blurred_image").iterdir(), *(out / "facemask").iterdir()):
        with Image.open(file) as image:  # PNG packs a profile
            assert MARK not in image.info.get("icc_profile", b"")
    with Image.open(out / f"blurred_image/a.{format}") as image:
        written, kept = np.asarray(image.convert("RGB")), image.info.get("icc_profile")
    assert kept == standards().get(space)
    if kept and format == "png":
        np.testing.assert_array_equal(written[~inside()], smooth[~inside()])
    seen = converted(written, kept, None)[~inside()]
    difference = np.abs(seen - TO_SRGB[space](smooth.astype(float))[~inside()])
    assert difference.max() <= 1.6 or format != "png"
    assert difference.mean() < {"png": 0.5, "jpg": 1, "webp": 3}[format]
    if format == "png":  # what the finder looked at is what was written, but for the face
        assert any((picture[~inside()] == written[~inside()]).all() for picture in looks)


def test_further_pictures_in_a_file_and_what_is_transparent_do_not_come_through(tmp_path):
    face, other = Image.fromarray(painted()), Image.fromarray(painted(seed=5))
    (tmp_path / "in").mkdir()
    face.save(tmp_path / "in/moving.gif", save_all=True, append_images=[other])
    face.save(tmp_path / "in/moving2.webp", save_all=True, append_images=[other], lossless=True)
    face.save(tmp_path / "in/telephone.jpg", format="MPO", save_all=True, append_images=[other])
    clear = Image.fromarray(np.dstack([painted(), mask_of(~inside())]))
    clear.save(tmp_path / "in/see_through.png")
    out = tmp_path / "out"
    outcome, work = anonymize(tmp_path / "in", out, lambda _: [], no_face_is_fine=True)
    assert outcome.done == len(work.unchanged) == 4
    for file in (out / "blurred_image").iterdir():
        with Image.open(file) as image:
            assert getattr(image, "n_frames", 1) == 1
            assert image.mode == "RGB"
    assert (read_picture(out / "blurred_image/see_through.png")[inside()] == 255).all()
