"""Colours that a file tells otherwise than by a profile mean the same in all that is made of it."""

import struct
import zlib

import cv2
import numpy as np
import pytest
from metadata import encode, exif, jpeg, png, short
from PIL import Image

from p3m_jax.inference.matting import Matte
from p3m_jax.pictures.colours import UNCALIBRATED
from p3m_jax.pictures.images import write_image
from p3m_jax.pictures.photos import CONVERTED, in_standard_colours, read
from p3m_jax.pictures.profiles import converted, standards
from p3m_jax.prediction.outputs import Writing
from p3m_jax.prediction.work import MattingWork

COARSE = np.random.default_rng(0).integers(60, 200, (4, 5, 3)).astype(np.uint8)
PIXELS = cv2.resize(COARSE, (40, 32), interpolation=cv2.INTER_CUBIC)
PICTURE = Image.fromarray(PIXELS)
P3 = (31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)  # cHRM's numbers
SRGB = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)


def linear(values):
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def coded(light):
    light = np.clip(light, 0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


VALUES = PIXELS / 255
P3_TO_SRGB = np.array(
    [[1.22494, -0.22494, 0], [-0.04206, 1.04206, 0], [-0.01964, -0.07864, 1.0983]]
)
ADOBE_TO_SRGB = np.array([[1.39836, -0.39836, 0], [0, 1, 0], [0, -0.04293, 1.04293]])
# By the standards' own formulas, what the picture's numbers are in sRGB.
MEANT = {
    "sRGB": PIXELS.astype(float),
    "Display P3": coded(linear(VALUES) @ P3_TO_SRGB.T),
    "Adobe RGB": coded(VALUES**2.19921875 @ ADOBE_TO_SRGB.T),
    "light": coded(VALUES),
    "gamma 1.8": coded(VALUES**1.8),
    "P3, gamma 1.8": coded(VALUES**1.8 @ P3_TO_SRGB.T),
}
R03 = {1: (2, b"R03\0")}


def chrm(numbers):
    return b"cHRM", struct.pack(">8I", *numbers)


def gama(number):
    return b"gAMA", struct.pack(">I", number)


def cicp(primaries, transfer):
    return b"cICP", bytes((primaries, transfer, 0, 1))


def iccp(profile):
    return b"iCCP", b"name\0\0" + zlib.compress(profile)


def camera(space, index=None, kind="jpg"):
    block = exif({0x010F: (2, b"Maker\0")}, {0xA001: short(space)}, index)
    if kind == "png":
        return png(PICTURE, (b"eXIf", block))
    return jpeg(PICTURE, (0xE1, b"Exif\0\0" + block))


@pytest.mark.parametrize(
    ("contents", "meant"),
    [
        (camera(0xFFFF, R03), "Adobe RGB"),
        (camera(0xFFFF, R03, "png"), "Adobe RGB"),
        (camera(2), "Adobe RGB"),
        (camera(1), "sRGB"),
        (camera(1, R03), "sRGB"),
        (camera(0xFFFF, {1: (2, b"R98\0")}), UNCALIBRATED),
        (png(PICTURE, gama(100_000)), "light"),
        (png(PICTURE, gama(45_455)), "sRGB"),
        (png(PICTURE, gama(45_455), chrm(SRGB)), "sRGB"),
        (png(PICTURE, gama(45_455), chrm(P3)), "Display P3"),
        (png(PICTURE, chrm(P3)), "Display P3"),
        (png(PICTURE, gama(55_556)), "gamma 1.8"),
        (png(PICTURE, gama(55_556), chrm(P3)), "P3, gamma 1.8"),
        (png(PICTURE, (b"sRGB", b"\0"), gama(100_000), chrm(P3)), "sRGB"),
        (png(PICTURE, cicp(12, 13)), "Display P3"),
        (png(PICTURE, cicp(1, 13)), "sRGB"),
        (png(PICTURE, cicp(1, 8)), "light"),
        (png(PICTURE, cicp(1, 13), iccp(standards()["Adobe RGB"])), "sRGB"),
        (png(PICTURE, cicp(9, 16), iccp(standards()["Adobe RGB"])), "Adobe RGB"),
        (png(PICTURE, gama(100_000), iccp(standards()["Display P3"])), "Display P3"),
        (png(PICTURE, cicp(9, 16)), "primaries 9, transfer 16"),
        (png(PICTURE, gama(0)), "impossible colours"),
        (png(PICTURE, gama(45_455), chrm((0,) * 8)), "impossible colours"),
        (png(PICTURE, chrm((31270, 32900, *(30000, 30000) * 3))), "impossible colours"),
    ],
)
def test_told_colours_are_what_the_network_sees_and_what_files_carry(tmp_path, contents, meant):
    path = tmp_path / ("a.png" if contents.startswith(b"\x89PNG") else "a.jpg")
    path.write_bytes(contents)
    picture = read(path)
    if meant not in MEANT:
        assert picture.icc_profile is None
        (warning,) = picture.warnings
        assert meant in warning
        assert warning.endswith("treated as sRGB")
        return
    assert picture.warnings == ()
    assert np.abs(picture.pixels.astype(int) - PIXELS).mean() < 1.5  # the numbers stay
    wanted = MEANT[meant]
    assert np.abs(picture.in_srgb() - wanted).mean() < (1 if path.suffix == ".png" else 2)
    for ending in ("png", "jpg", "webp"):  # and readers of what is written see the same
        write_image(tmp_path / f"w.{ending}", picture.pixels, icc_profile=picture.icc_profile)
        with Image.open(tmp_path / f"w.{ending}") as image:
            values, profile = np.asarray(image.convert("RGB")), image.info.get("icc_profile")
        seen = converted(values, profile, None)
        assert np.abs(seen - wanted).mean() < {"png": 2, "jpg": 3, "webp": 4}[ending]


def test_avif_files_tell_their_colours_by_numbers(tmp_path):
    pytest.importorskip("PIL._avif")
    whole = encode(PICTURE, "AVIF", quality=100)
    mark = b"colrnclx" + struct.pack(">HH", 1, 13)
    assert mark in whole
    told = whole.replace(mark, b"colrnclx" + struct.pack(">HH", 12, 13))
    for contents, profile in ((whole, None), (told, standards()["Display P3"])):
        (tmp_path / "a.avif").write_bytes(contents)
        assert read(tmp_path / "a.avif").icc_profile == profile


def test_copies_that_are_passed_on_have_the_colours_and_nothing_else(tmp_path):
    (tmp_path / "a.jpg").write_bytes(camera(0xFFFF, R03))
    copy = in_standard_colours(read(tmp_path / "a.jpg"))
    assert copy.icc_profile == standards()["Adobe RGB"]
    assert copy.warnings == ()
    (tmp_path / "b.png").write_bytes(png(PICTURE, gama(100_000)))
    copy = in_standard_colours(read(tmp_path / "b.png"))
    assert (copy.icc_profile, copy.warnings) == (None, (CONVERTED,))
    assert np.abs(copy.pixels - MEANT["light"]).mean() < 1


@pytest.mark.parametrize("profile", [standards()["Display P3"], None])
def test_the_network_sees_srgb(tmp_path, profile):
    write_image(tmp_path / "a.png", PIXELS, icc_profile=profile)
    seen = []

    def make_matte(pixels):
        seen.append(pixels)
        return Matte(np.ones(pixels.shape[:2], np.float32), {})

    work = MattingWork(Writing(), make_matte=make_matte)
    work.compute((read(tmp_path / "a.png"), None))
    assert np.abs(seen[0] - MEANT["Display P3" if profile else "sRGB"]).max() < 2


def test_colours_of_grey_pictures_are_those_of_their_light(tmp_path):
    grey = PICTURE.convert("L")
    (tmp_path / "a.png").write_bytes(png(grey, gama(100_000)))
    seen = read(tmp_path / "a.png").in_srgb()
    assert np.abs(seen - coded(np.asarray(grey)[..., None] / 255)).max() < 2


def test_cut_outs_of_a_cameras_adobe_rgb_say_so(p3m, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/_DSC0001.jpg").write_bytes(camera(0xFFFF, R03))
    write_image(tmp_path / "mattes/_DSC0001.png", np.tile(np.uint8([0] * 10 + [255] * 30), (32, 1)))
    options = ("--alphas", tmp_path / "mattes", "--save", "cutout", "composite")
    assert (
        p3m("predict", tmp_path / "in", "-o", tmp_path / "out", *options, "--background", "teal")
        == 0
    )
    for kind in ("cutout", "composite"):
        with Image.open(tmp_path / f"out/{kind}/_DSC0001.png") as image:
            assert image.info["icc_profile"] == standards()["Adobe RGB"]
            assert not image.getexif()
