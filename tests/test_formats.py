"""Which files are opened as pictures: those of an allow-list, by their contents."""

import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from metadata import encode
from PIL import Image

from p3m_jax.pictures import formats
from p3m_jax.pictures.images import ImageError, picture_size, read_picture
from p3m_jax.pictures.labels import read_matte
from p3m_jax.pictures.photos import read

CASES = Path(__file__).parents[2] / "shared" / "cases"
PIXELS = np.full((24, 32, 3), (200, 120, 40), np.uint8)
PICTURE = Image.fromarray(PIXELS)
READERS = (read, read_picture, picture_size, read_matte)
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 24 32\n%%EndComments\nshowpage\n"


def refused(path, sentence):
    for reader in READERS:
        with pytest.raises(ImageError, match=sentence) as caught:
            reader(path)
        assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("contents", "sentence"),
    [
        (EPS, "is PostScript, which is not supported"),
        (b"\xc5\xd0\xd3\xc6" + bytes(40), "is PostScript"),
        (b"%PDF-1.7\n" + bytes(40), "is PDF"),
        (b"8BPS\0\1" + bytes(40), "is a Photoshop file"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(40), "is JPEG XL"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(40), "camera's raw file"),
        (b"FUJIFILMCCD-RAW 0201" + bytes(40), "camera's raw file"),
        (b"IIU\0\x18\0\0\0" + bytes(40), "camera's raw file"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(40), "camera's raw file"),
        (encode(PICTURE, "ICO"), "is not a picture that can be read"),
        (encode(PICTURE, "PCX"), "is not a picture that can be read"),
        (encode(PICTURE, "SGI"), "is not a picture that can be read"),
        (encode(PICTURE, "TGA"), "is not a picture that can be read"),  # unless it is called so
    ],
)
def test_other_formats_are_refused_whatever_they_are_called(tmp_path, contents, sentence):
    (tmp_path / "x.jpg").write_bytes(contents)
    refused(tmp_path / "x.jpg", sentence)


@pytest.mark.parametrize("format", ["PNG", "GIF", "BMP", "PPM", "TIFF", "JPEG2000"])
def test_formats_of_the_list_are_read_whatever_they_are_called(tmp_path, format):
    (tmp_path / "x.jpg").write_bytes(encode(PICTURE, format))
    np.testing.assert_array_equal(read_picture(tmp_path / "x.jpg"), PIXELS)


def test_files_without_a_mark_are_read_by_their_name(tmp_path):
    PICTURE.save(tmp_path / "a.tga")
    np.testing.assert_array_equal(read_picture(tmp_path / "a.tga"), PIXELS)


def tiff(*pages_inside: Image.Image, **tags) -> bytes:
    """A TIFF file of PICTURE with tags, and further pages that a tag of it points to."""
    whole = encode(PICTURE, "TIFF", tiffinfo={int(tag[1:], 16): v for tag, v in tags.items()})
    places = []
    for page in pages_inside:
        whole += bytes(len(whole) % 2)
        places.append(len(whole))
        fields = ((0x100, 4, 1, page.width), (0x101, 4, 1, page.height))
        whole += struct.pack("<H", 2) + b"".join(struct.pack("<HHII", *f) for f in fields)
        whole += bytes(4)
    if not places:
        return whole
    # The directory again at the end, with one more tag.
    start = struct.unpack("<I", whole[4:8])[0]
    count = struct.unpack("<H", whole[start : start + 2])[0]
    entries = [whole[start + 2 + 12 * n : start + 14 + 12 * n] for n in range(count)]
    entries.append(struct.pack("<HHII", 0x14A, 4, 1, places[0]))
    entries.sort(key=lambda entry: struct.unpack("<H", entry[:2]))
    moved = len(whole) + len(whole) % 2
    whole = whole[:4] + struct.pack("<I", moved) + whole[8:] + bytes(len(whole) % 2)
    return whole + struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)


@pytest.mark.parametrize("name", ["photo.NEF", "photo.tif", "photo.jpg"])
def test_a_raw_file_is_not_taken_for_its_preview(tmp_path, name):
    path, large = tmp_path / name, Image.new("L", (640, 480))
    path.write_bytes(tiff(xFE=1))
    refused(path, "starts with a reduced image, as a camera's raw file does")
    path.write_bytes(tiff(large))
    refused(path, "starts with a reduced image")
    path.write_bytes(tiff(xC612=b"\1\4\0\0"))
    refused(path, "camera's raw file")


def test_smaller_pages_behind_or_inside_the_first_do_no_harm(tmp_path):
    (tmp_path / "a.tif").write_bytes(tiff(Image.new("L", (16, 12))))
    np.testing.assert_array_equal(read_picture(tmp_path / "a.tif"), PIXELS)
    small = PICTURE.resize((8, 6))
    PICTURE.save(tmp_path / "b.tif", save_all=True, append_images=[small])
    np.testing.assert_array_equal(read_picture(tmp_path / "b.tif"), PIXELS)


@pytest.mark.skipif(not CASES.is_dir(), reason="the cases are absent")
def test_small_cases():
    refused(CASES / "raw_like_DSC_0001.NEF", "reduced image")
    refused(CASES / "eps_inside.jpg", "PostScript")
    for name in ("iccp_2mb.png", "b.mpo"):
        assert read(CASES / name).pixels.shape == (320, 240, 3)


@pytest.fixture
def without_heif(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    formats.reads_heif.cache_clear()
    yield
    formats.reads_heif.cache_clear()


def test_heic_names_the_extra_that_reads_it(tmp_path, without_heif):
    (tmp_path / "a.jpg").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99))
    refused(tmp_path / "a.jpg", r'is HEIC; .*pip install -e "\.\[heif\]".*convert it to JPEG')
    assert formats.unread_picture("IMG_1.HEIC").startswith("is HEIC")
    assert ".heic" not in formats.endings()


@pytest.mark.skipif(not formats.reads_heif(), reason="pillow-heif is not installed")
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_heic_is_read_upright(tmp_path, orientation):
    half = PIXELS.copy()
    half[:12] = 0
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(half)
    image.info["exif"] = exif.tobytes()
    image.save(tmp_path / "a.heic", "HEIF", quality=95)
    wanted = np.rot90(half, {1: 0, 3: 2, 6: 3}[orientation])
    picture = read(tmp_path / "a.heic")
    assert picture_size(tmp_path / "a.heic") == wanted.shape[:2] == picture.pixels.shape[:2]
    assert np.abs(picture.pixels.astype(int) - wanted).mean() < 4
    assert picture.warnings == ()


def test_of_a_mpo_the_first_picture_is_read(tmp_path):
    PICTURE.save(tmp_path / "a.mpo", "MPO", save_all=True, append_images=[Image.new("RGB", (8, 8))])
    picture = read(tmp_path / "a.mpo")
    assert picture.pixels.shape == PIXELS.shape
    assert picture.warnings == ()
