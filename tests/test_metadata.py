"""Metadata never decides whether a picture is read, and only one tag of it about its pixels."""

import random
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from metadata import ORIENTATION, encode, exif, jpeg, png, random_exif, short
from PIL import Image, ImageCms

from p3m_jax.pictures.exif import read_exif
from p3m_jax.pictures.images import ImageError, picture_size, read_picture, write_image
from p3m_jax.pictures.labels import LabelError, read_matte
from p3m_jax.pictures.photos import read

CASES = Path(__file__).parents[2] / "shared" / "cases"
RNG = np.random.default_rng(0)
PIXELS = np.repeat(np.repeat(RNG.integers(0, 256, (3, 4, 3)).astype(np.uint8), 8, 0), 8, 1)
PICTURE = Image.fromarray(PIXELS)
# What has to be done to stored pixels, by orientation.
UPRIGHT = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, 3),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: np.rot90(pixels),
}


def with_exif(kind: str, block: bytes) -> bytes:
    if kind == "jpg":
        return jpeg(PICTURE, (0xE1, b"Exif\0\0" + block))
    if kind == "png":
        return png(PICTURE, (b"eXIf", block))
    return encode(PICTURE, "WEBP", lossless=True, exif=block)


@pytest.mark.parametrize("kind", ["jpg", "png", "webp"])
def test_random_exif_refuses_no_picture_and_turns_it_right(tmp_path, kind):
    chance, path = random.Random(0), tmp_path / f"a.{kind}"
    for number in range(60):
        orientation = number % 8 + 1
        path.write_bytes(with_exif(kind, random_exif(chance, orientation)))
        picture = read(path)
        wanted = UPRIGHT[orientation](PIXELS)
        assert picture_size(path) == wanted.shape[:2] == picture.pixels.shape[:2]
        assert np.abs(picture.pixels.astype(int) - wanted).mean() < 3, (number, orientation)
        np.testing.assert_array_equal(read_picture(path), picture.pixels)
        if picture.exif is not None:  # what is kept is whole
            again = read_exif(picture.exif)
            assert not again.damaged
            assert again.kept() == picture.exif
            write_image(tmp_path / "out.png", picture.pixels, exif=picture.exif)


@pytest.mark.parametrize("order", "<>")
def test_a_phones_impossible_exposure_does_not_leave_the_picture_on_its_side(tmp_path, order):
    impossible = {0x9204: (10, struct.pack(f"{order}ii", -2, 0))}
    block = exif({ORIENTATION: short(6, order)}, impossible, order=order)
    (tmp_path / "a.jpg").write_bytes(with_exif("jpg", block))
    picture = read(tmp_path / "a.jpg")
    assert picture.pixels.shape == (32, 24, 3)
    assert picture.warnings == ()
    assert not picture.exif_damaged
    kept = read_exif(picture.exif)
    assert kept.orientation is None
    assert kept.inner[0x9204].value == impossible[0x9204][1]


@pytest.mark.skipif(not CASES.is_dir(), reason="the cases are absent")
def test_a_phones_picture_is_upright():
    picture = read(CASES / "samsung_exposure_bias_minus2_over_0_orientation6.jpg")
    with Image.open(CASES / "picture.png") as upright:
        wanted = np.asarray(upright.convert("RGB")).astype(int)
    assert np.abs(picture.pixels - wanted).mean() < 5


@pytest.mark.parametrize("name", ["Jörg".encode(), "Jörg".encode("latin-1")])
def test_texts_are_kept_as_the_bytes_they_are(tmp_path, name):
    block = exif({0x013B: (2, name + b"\0")}, {0xA002: short(32), 0x9286: (7, b"ASCII\0\0\0note")})
    (tmp_path / "a.jpg").write_bytes(with_exif("jpg", block))
    kept = read(tmp_path / "a.jpg").exif
    write_image(tmp_path / "b.jpg", PIXELS, exif=kept)
    with Image.open(tmp_path / "b.jpg") as image:
        assert image.info["exif"] == kept
        assert image.getexif().get_ifd(0x8769)[0x9286] == b"ASCII\0\0\0note"
    assert name + b"\0" in kept
    assert 0xA002 not in read_exif(kept).inner  # the size as it was stored


def test_a_thumbnail_is_not_kept():
    thumbnail = b"the thumbnail"
    block = exif({0x010F: (2, b"Maker\0"), 0x0201: (4, bytes(4)), 0x0202: (4, bytes(4))})
    kept = read_exif(block + thumbnail).kept()
    assert b"Maker" in kept
    assert thumbnail not in kept
    assert set(read_exif(kept).main) == {0x010F}


def test_overlapping_values_do_not_fill_the_memory():
    head = b"II*\0\x08\0\0\0" + struct.pack("<H", 25_000)
    entries = (struct.pack("<HHII", 0x9000 + n, 7, 200_000, 8) for n in range(25_000))
    found = read_exif(head + b"".join(entries))
    assert found.damaged
    assert sum(len(tag.value) for tag in found.main.values()) <= 16 << 20


@pytest.mark.parametrize(
    "segment",
    [
        (0xE2, b"MPF\0MM\0*\0\0\0\x08\xff\xff" + bytes(range(200))),
        (0xE2, b"ICC_PROFILE\0"),
        (0xED, b"Photoshop 3.0\0" + b"8BIM\x03\xed" + b"\xff" * 9),
        (0xEE, b"Adobe\0"),
        (0xE0, b"JFIF\0\x01"),
        (0xE1, b"http://ns.adobe.com/xap/1.0/\0\xff\xfe"),
    ],
)
def test_damaged_segments_of_a_jpeg_decide_about_nothing(tmp_path, segment):
    (tmp_path / "a.jpg").write_bytes(jpeg(PICTURE, segment))
    assert np.abs(read(tmp_path / "a.jpg").pixels.astype(int) - PIXELS).mean() < 3


def test_xmp_tells_the_way_up_where_exif_does_not(tmp_path):
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    contents = jpeg(PICTURE, (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp))
    (tmp_path / "a.jpg").write_bytes(contents)
    text = b"XML:com.adobe.xmp" + bytes(5) + xmp
    (tmp_path / "b.png").write_bytes(png(PICTURE, (b"iTXt", text)))
    for name in ("a.jpg", "b.png"):
        assert picture_size(tmp_path / name) == read(tmp_path / name).pixels.shape[:2] == (32, 24)


def test_a_matte_that_old_programs_rotated_is_refused(tmp_path):
    block = exif({ORIENTATION: short(8)})
    text = b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n  26\n" + block.hex().encode())
    (tmp_path / "a.png").write_bytes(png(PICTURE.convert("L"), (b"zTXt", text)))
    with pytest.raises(LabelError, match="EXIF orientation 8"):
        read_matte(tmp_path / "a.png")
    assert picture_size(tmp_path / "a.png") == read_picture(tmp_path / "a.png").shape[:2]


def test_a_tiff_files_tags_are_its_exif(tmp_path):
    for orientation in (1, 6):
        tags = {ORIENTATION: orientation, 0x013B: "A. Person", 0x8649: b"of another program"}
        PICTURE.save(tmp_path / "a.tif", tiffinfo=tags)
        picture = read(tmp_path / "a.tif")
        np.testing.assert_array_equal(picture.pixels, UPRIGHT[orientation](PIXELS))
        assert picture_size(tmp_path / "a.tif") == picture.pixels.shape[:2]
        assert b"A. Person" in picture.exif
        assert set(read_exif(picture.exif).main) == {0x013B}


def test_large_chunks_of_a_png_are_read(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = struct.pack(">I", 2_000_000) + profile[4:].ljust(2_000_000 - 4, b"\0")
    text = b"Comment\0\0" + zlib.compress(bytes(3_000_000))
    packed = b"large\0\0" + zlib.compress(profile)
    path = tmp_path / "a.png"
    path.write_bytes(png(PICTURE, (b"iCCP", packed), (b"zTXt", text)))
    with pytest.raises(ValueError, match="too large"):
        Image.open(path)
    picture = read(path)
    np.testing.assert_array_equal(picture.pixels, PIXELS)
    assert picture.icc_profile == profile
    write_image(tmp_path / "own.png", picture.pixels, icc_profile=picture.icc_profile)
    assert read(tmp_path / "own.png").icc_profile == profile


def test_checksums_count_where_the_pixels_depend_on_them(tmp_path):
    path = tmp_path / "a.png"
    chunks = ((b"gAMA", struct.pack(">I", 100_000)), (b"pHYs", bytes(9)), (b"iCCP", b"garbage"))
    path.write_bytes(png(PICTURE, *chunks, wrong=(b"gAMA", b"pHYs", b"iCCP")))
    picture = read(path)
    np.testing.assert_array_equal(picture.pixels, PIXELS)
    assert (picture.icc_profile, picture.warnings) == (None, ())  # none of it counts
    whole = png(PICTURE)
    start = whole.index(b"IDAT")
    end = start + 4 + struct.unpack(">I", whole[start - 4 : start])[0]
    for place in (start + 20, end):  # a byte of the pixels, of their checksum
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        for reader in (read, read_picture, read_matte):
            with pytest.raises(ImageError, match="is damaged or cut off"):
                reader(path)


@pytest.mark.parametrize("missing", [4, 12, 30, 200])
def test_a_png_without_its_end_is_read_as_far_as_pixels_go(tmp_path, missing):
    whole = png(PICTURE)
    (tmp_path / "a.png").write_bytes(whole[:-missing])
    if missing <= 12:  # its end mark
        np.testing.assert_array_equal(read(tmp_path / "a.png").pixels, PIXELS)
    else:
        with pytest.raises(ImageError, match=r"is damaged or cut off|is not a picture"):
            read(tmp_path / "a.png")


def test_damaged_avif_exif_is_left_out(tmp_path):
    pytest.importorskip("PIL._avif")
    note = b"a long description of this picture"
    block = exif({0x010E: (2, note)})
    whole = encode(PICTURE, "AVIF", quality=95, exif=block)
    assert note in whole
    (tmp_path / "whole.avif").write_bytes(whole)
    (tmp_path / "a.avif").write_bytes(whole.replace(block[:8], b"garbage!"))
    expected = read_picture(tmp_path / "whole.avif")
    np.testing.assert_array_equal(read_picture(tmp_path / "a.avif"), expected)
