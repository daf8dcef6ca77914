"""Whatever a file holds arrives as it should, or is refused with one sentence that names it."""

import io
import os
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from p3m_jax.pictures import photos as pictures
from p3m_jax.pictures.images import ImageError, picture_size, read_picture, write_image
from p3m_jax.pictures.labels import read_matte
from p3m_jax.pictures.profiles import in_profile

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (20, 30, 3)).astype(np.uint8)


def saved(tmp_path, image, name, **options):
    image.save(tmp_path / name, **options)
    return tmp_path / name


def test_rgb_comes_back_exactly(tmp_path):
    write_image(tmp_path / "a.png", PIXELS)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png"), PIXELS)
    assert picture_size(tmp_path / "a.png") == (20, 30)
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1", "RGBA", "CMYK", "I;16", "I", "F"])
def test_every_mode_becomes_8_bit_rgb(tmp_path, mode):
    grey = np.asarray(Image.fromarray(PIXELS).convert("L"))
    if mode in ("I;16", "I"):
        image = Image.fromarray(grey.astype(np.uint16) * 257)
        image = image.convert("I") if mode == "I" else image
    elif mode == "F":
        image = Image.fromarray(grey.astype(np.float32) / 255)
    else:
        image = Image.fromarray(PIXELS).convert(mode)
    name = "a.tif" if mode in ("CMYK", "F", "I") else "a.png"
    picture = read_picture(saved(tmp_path, image, name))
    assert picture.shape == (20, 30, 3)
    assert picture.dtype == np.uint8
    if mode in ("L", "LA", "I;16", "I", "F"):
        np.testing.assert_array_equal(picture, np.repeat(grey[..., None], 3, axis=-1))
    if mode == "RGBA":
        np.testing.assert_array_equal(picture, PIXELS)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, orientation):
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:8, :16] = 255  # the upper left quarter
    turns = {1: 0, 2: 0, 3: 2, 4: 2, 5: 1, 6: 1, 7: 3, 8: 3}
    stored = np.rot90(upright, turns[orientation])
    if orientation in (2, 4, 5, 7):
        stored = stored[:, ::-1] if orientation in (2, 4) else stored[::-1]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, Image.fromarray(np.ascontiguousarray(stored)), "a.png", exif=exif)
    np.testing.assert_array_equal(read_picture(path), upright)
    assert picture_size(path) == (16, 32)


def test_a_picture_cut_off_is_refused(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(np.repeat(np.repeat(PIXELS, 20, 0), 20, 1)).save(buffer, "JPEG")
    (tmp_path / "a.jpg").write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    with pytest.raises(ImageError, match=r"a\.jpg: is damaged or cut off"):
        read_picture(tmp_path / "a.jpg")


@pytest.mark.parametrize(
    ("contents", "sentence"), [(b"hello", "not a picture"), (b"", "not a picture")]
)
def test_what_is_no_picture_is_refused(tmp_path, contents, sentence):
    (tmp_path / "a.jpg").write_bytes(contents)
    for read in (read_picture, read_matte, picture_size):
        with pytest.raises(ImageError, match=rf"a\.jpg.*{sentence}"):
            read(tmp_path / "a.jpg")


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(ImageError, match="no such file"):
        read_picture(tmp_path / "a.jpg")
    with pytest.raises(ImageError, match="folder"):
        read_picture(tmp_path)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    write_image(tmp_path / "a.png", PIXELS)
    before = (tmp_path / "a.png").read_bytes()
    with pytest.raises(TypeError):
        write_image(tmp_path / "a.png", PIXELS.astype(np.complex64))
    assert (tmp_path / "a.png").read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]
    with pytest.raises(ImageError, match=r"\.png"):
        write_image(tmp_path / "a.xyz", PIXELS)


def test_damaged_exif_decides_about_nothing(tmp_path):
    path = saved(tmp_path, Image.fromarray(PIXELS), "a.png", exif=b"Exif\0\0II")
    np.testing.assert_array_equal(read_picture(path), PIXELS)
    assert picture_size(path) == (20, 30)


def test_cut_outs_keep_their_hidden_colours(tmp_path):
    rgba = RNG.integers(0, 256, (20, 30, 4)).astype(np.uint8)
    rgba[:10, :, 3] = 0
    for name in ("a.png", "a.webp"):
        write_image(tmp_path / name, rgba)
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / name)), rgba)


@pytest.mark.parametrize("ending", ["png", "jpg", "webp"])
def test_profiles_and_exif_are_written_only_if_given(tmp_path, ending):
    profile = srgb()
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    write_image(tmp_path / f"a.{ending}", PIXELS, icc_profile=profile, exif=exif.tobytes())
    write_image(tmp_path / f"b.{ending}", PIXELS)
    with Image.open(tmp_path / f"a.{ending}") as image:
        assert image.info["icc_profile"] == profile
        assert image.getexif()[0x010F] == "Maker"
    with Image.open(tmp_path / f"b.{ending}") as image:
        assert not {"icc_profile", "exif"} & image.info.keys()
        assert not image.getexif()


def test_a_format_too_small_for_the_picture_is_one_sentence(tmp_path):
    with pytest.raises(ImageError, match=r"a\.webp: WEBP allows at most 16383"):
        write_image(tmp_path / "a.webp", np.zeros((1, 16384, 3), np.uint8))


def test_heic_pipes_and_links_are_told_from_damage(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    with pytest.raises(ImageError, match=r"a\.jpg: is HEIC.*convert"):
        read_picture(tmp_path / "a.jpg")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    with pytest.raises(ImageError, match="leads back to itself"):
        read_picture(tmp_path / "loop.jpg")
    (tmp_path / "gone.jpg").symlink_to("nowhere.jpg")
    with pytest.raises(ImageError, match="is a broken link"):
        read_picture(tmp_path / "gone.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(ImageError, match="pipe"):
        read_picture(tmp_path / "pipe.jpg")


def test_cmyk_goes_by_its_profile_if_that_is_one(tmp_path):
    cmyk = Image.fromarray(PIXELS).convert("CMYK")
    plain = read_picture(saved(tmp_path, cmyk, "a.tif"))
    for number, profile in enumerate([b"garbage" * 50, srgb()]):
        path = saved(tmp_path, cmyk, f"{number}.tif", icc_profile=profile)
        np.testing.assert_array_equal(read_picture(path), plain)


def srgb():
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def linear_profile(space: str) -> bytes:
    """A colour profile for "GRAY" or "RGB " with sRGB's colours, whose numbers are light itself."""

    def xyz(*numbers):
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(65536 * x) for x in numbers))

    white, curve = xyz(0.9642, 1, 0.8249), b"curv" + bytes(8)
    tags = {b"wtpt": white, b"kTRC": curve}
    if space == "RGB ":
        tags = {b"wtpt": white, b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}
        tags |= {b"rXYZ": xyz(0.4361, 0.2225, 0.0139), b"gXYZ": xyz(0.3851, 0.7169, 0.0971)}
        tags |= {b"bXYZ": xyz(0.1431, 0.0606, 0.7139)}
    head = struct.pack(">I4sI4s4s4s", 0, b"lcms", 0x02400000, b"mntr", space.encode(), b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + white[8:] + bytes(48)
    table, place = struct.pack(">I", len(tags)), 132 + 12 * len(tags)
    for name, value in tags.items():
        table += struct.pack(">4sII", name, place, len(value))
        place += len(value)
    profile = head + table + b"".join(tags.values())
    return struct.pack(">I", len(profile)) + profile[4:]


def test_colours_go_from_one_profile_to_another():
    linear, quarter = linear_profile("RGB "), np.full((2, 2, 3), 64, np.uint8)
    assert np.abs(in_profile(quarter, linear, None).astype(int) - 137).max() <= 2
    assert np.abs(in_profile(quarter + 73, None, linear).astype(int) - 64).max() <= 2
    assert in_profile(quarter, linear, linear) is quarter
    np.testing.assert_array_equal(in_profile(quarter, linear_profile("GRAY"), None), 64)


def test_grey_goes_by_its_profile_with_alpha_and_without(tmp_path):
    grey = Image.new("L", (5, 4), 64)
    plain = saved(tmp_path, grey, "a.png", icc_profile=linear_profile("GRAY"))
    grey.putalpha(255)
    with_alpha = saved(tmp_path, grey, "b.png", icc_profile=linear_profile("GRAY"))
    assert abs(int(read_picture(plain)[0, 0, 0]) - 137) <= 2  # a quarter of the light
    np.testing.assert_array_equal(read_picture(with_alpha), read_picture(plain))
    assert pictures.read(with_alpha).warnings == ()
    np.testing.assert_array_equal(pictures.read(with_alpha).pixels, read_picture(plain))
