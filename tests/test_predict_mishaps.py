"""What one picture may be or cost without ending `p3m predict`, and what is said about it."""

import os
import subprocess

import numpy as np
import pytest
from PIL import Image, PngImagePlugin, features
from predicting import command, manifest

from p3m_jax.pictures.images import ImageError, read_picture, write_image
from p3m_jax.pictures.photos import read
from p3m_jax.prediction.outputs import judge

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (20, 30, 3)).astype(np.uint8)


@pytest.fixture
def folders(tmp_path):
    pictures, mattes, out = (tmp_path / name for name in ("pictures", "mattes", "out"))
    ramp = np.linspace(-200, 455, 30).clip(0, 255).astype(np.uint8)
    for name in "ab":
        write_image(pictures / f"{name}.png", PIXELS)
        write_image(mattes / f"{name}.png", np.tile(ramp, (20, 1)))
    return pictures, mattes, out


@pytest.fixture
def predict(p3m, folders):
    pictures, mattes, out = folders
    return lambda *more: p3m("predict", pictures, "-o", out, "--alphas", mattes, *more)


def warnings(out):
    return {entry["name"]: entry["warnings"] for entry in manifest(out)}


def cut_avif(path, share):
    large = Image.fromarray(RNG.integers(0, 256, (200, 300, 3)).astype(np.uint8))
    large.save(path, "AVIF")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    return path


@pytest.mark.skipif(not features.check("avif"), reason="Pillow reads no AVIF here")
@pytest.mark.parametrize("share", [0.02, 0.5])
@pytest.mark.parametrize("role", ["picture", "matte", "background"])
def test_a_cut_avif_does_not_end_the_run(predict, folders, capsys, role, share):
    pictures, mattes, out = folders
    more = ()
    if role == "picture":
        (pictures / "a.png").unlink()
        broken = cut_avif(pictures / "a.avif", share)
    elif role == "matte":
        broken = cut_avif(mattes / "a.png", share)
    else:
        broken = cut_avif(mattes / "behind.avif", share)
        more = ("--save", "composite", "--background", broken)
    assert predict(*more) == 1
    error = capsys.readouterr().err
    assert f"{broken}: is" in error
    assert "Traceback" not in error
    if role != "background":
        assert (out / "alpha/b.png").exists()


def test_decoders_may_raise_anything(tmp_path):
    header = bytearray(128)
    header[:4], header[4] = b"DDS ", 124
    header[8:12] = (0x1007).to_bytes(4, "little")
    header[12] = header[16] = 4
    header[76], header[80] = 32, 4
    header[84:88] = b"NONE"
    (tmp_path / "a.dds").write_bytes(bytes(header) + bytes(64))
    with pytest.raises(NotImplementedError):
        Image.open(tmp_path / "a.dds")
    with pytest.raises(ImageError, match="not a picture that can be read"):
        read_picture(tmp_path / "a.dds")


def test_more_exif_than_a_jpeg_holds_is_left_out(predict, folders):
    pictures, _, out = folders
    exif = Image.Exif()
    exif[0x010E] = "x" * 70_000
    Image.fromarray(PIXELS).save(pictures / "a.png", exif=exif)
    options = ("--save", "foreground", "--format", "jpg", "--keep-metadata")
    assert predict(*options) == 0
    assert warnings(out) == {
        "a": ["EXIF data left out, because it is too large for a JPEG"],
        "b": [],
    }
    assert read_picture(out / "foreground/a.jpg").shape == PIXELS.shape


def test_what_a_format_does_not_hold_is_one_sentence(tmp_path):
    for name, values, options in (
        ("a.jpg", PIXELS, {"exif": b"Exif\0\0" + bytes(70_000)}),
        ("a.jpg", np.zeros((65_501, 1, 3), np.uint8), {}),
        ("a.jpg", np.zeros((4, 4, 4), np.uint8), {}),
        ("a.webp", np.zeros((16_384, 1, 3), np.uint8), {}),
    ):
        with pytest.raises(ImageError, match=rf"{name}: .*; write PNG\."):
            write_image(tmp_path / name, values, **options)
    assert not list(tmp_path.iterdir())


def test_a_picture_that_cannot_be_written_leaves_the_others_alone(predict, folders, capsys):
    pictures, mattes, _ = folders
    Image.new("RGB", (16_400, 1)).save(pictures / "long.png")
    Image.new("L", (16_400, 1), 255).save(mattes / "long.png")
    assert predict("--save", "cutout", "--format", "webp") == 1
    captured = capsys.readouterr()
    assert "long.webp: WEBP allows at most 16383" in captured.err
    assert "2 done, 0 already done, 1 failed" in captured.out


def test_numba_with_its_plainest_threads_makes_cut_outs(folders):
    pictures, mattes, out = folders
    for i in range(12):
        write_image(pictures / f"{i}.png", RNG.integers(0, 256, (200, 300, 3)).astype(np.uint8))
        write_image(mattes / f"{i}.png", RNG.integers(0, 256, (200, 300)).astype(np.uint8))
    run = subprocess.run(
        command(folders, "--workers", "4"),
        env={**os.environ, "NUMBA_THREADING_LAYER": "workqueue"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert len(list((out / "cutout").iterdir())) == 14


def test_mattes_that_are_none_are_warned_of():
    ramp = np.tile(np.linspace(0, 1, 300, dtype=np.float32), (10, 1))
    assert judge(np.zeros((10, 10), np.float32)) == (0.0, ["no person found"])
    nearly_all = ["no background found: nearly all of the picture is person"]
    assert judge(np.ones((10, 10), np.float32)) == (0.0, nearly_all)
    transition, sentences = judge(ramp)
    assert sentences == [f"{transition:.0%} of the picture is in transition"]
    square = np.zeros((10, 10), np.float32)
    square[2:5, 2:5] = 1
    square[5, 2:5] = 0.5
    assert judge(square) == (0.03, [])


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_what_is_not_as_it_might_be_expected_is_warned_of(tmp_path):
    frames = [Image.fromarray(values) for values in (PIXELS, 255 - PIXELS, PIXELS // 2)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    assert read(tmp_path / "a.png").warnings == ("only the first of 3 frames or pages is used",)
    np.testing.assert_array_equal(read(tmp_path / "a.png").pixels, PIXELS)
    Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257).save(tmp_path / "b.png")
    (warning,) = read(tmp_path / "b.png").warnings
    assert warning.startswith("16 bits per channel")
    np.testing.assert_array_equal(read(tmp_path / "b.png").pixels[..., 1], PIXELS[..., 0])
    Image.fromarray(PIXELS).save(tmp_path / "c.jpg", exif=b"Exif\0\0II*\0" + b"\xff" * 40)
    picture = read(tmp_path / "c.jpg")
    assert picture.warnings == ("damaged EXIF data; the picture is treated as upright",)
    assert picture.exif is None


def test_exif_without_a_tag_is_no_damage(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0" + bytes(6))
    assert "exif" in Image.open(tmp_path / "a.jpg").info
    assert read(tmp_path / "a.jpg").warnings == ()


def test_quality_and_metadata_of_jpeg_and_webp(predict, folders):
    pictures, _, out = folders
    exif = Image.Exif()
    exif[0x013B] = "A. Person"
    notes = PngImagePlugin.PngInfo()
    notes.add_itxt("XML:com.adobe.xmp", "<x:xmpmeta>A. Person</x:xmpmeta>")
    noise = RNG.integers(0, 256, (20, 30, 3)).astype(np.uint8)
    Image.fromarray(noise).save(pictures / "a.png", exif=exif, pnginfo=notes)
    sizes = {}
    for quality in (30, 95):
        for format in ("jpg", "webp"):
            options = ("--save", "foreground", "cutout", "--format", format, "--quality", quality)
            assert predict(*options, "--overwrite") == 0
            for file in (*out.glob("*/a.jpg"), *out.glob("*/a.webp")):
                content = file.read_bytes()
                assert b"Person" not in content
                assert b"Exif" not in content
            sizes[format, quality] = (out / f"foreground/a.{format}").stat().st_size
    assert sizes["jpg", 30] < sizes["jpg", 95]
    assert sizes["webp", 30] < sizes["webp", 95]


@pytest.mark.parametrize("arguments", [["", "-o", "out"], ["a.png", "-o", ""]])
def test_an_empty_name_is_not_the_current_folder(
    p3m, folders, tmp_path, monkeypatch, capsys, arguments
):
    monkeypatch.chdir(folders[0])
    before = sorted(folders[0].iterdir())
    assert p3m("predict", *arguments, "--alphas", folders[1]) == 2
    assert "names is empty" in capsys.readouterr().err
    assert sorted(folders[0].iterdir()) == before


def test_a_start_that_fails_leaves_no_folder(p3m, folders, tmp_path):
    pictures, _, out = folders
    for source in ("--alphas", "--checkpoint"):
        more = () if source == "--alphas" else ("--compilation-cache", "off")
        assert p3m("predict", pictures, "-o", out, source, tmp_path / "nowhere", *more) == 1
        assert not out.exists()


def test_options_that_mean_nothing_end_with_2(p3m, folders, capsys):
    pictures, mattes, out = folders
    for value, sentence in (
        ("#00000000", "is a transparent colour"),
        ("nowhere", "not a background"),
    ):
        options = ("--alphas", mattes, "--save", "composite", "--background", value)
        assert p3m("predict", pictures, "-o", out, *options) == 2
        assert sentence in capsys.readouterr().err
    assert p3m("predict", "-o", out, "--alphas", mattes, "--save", "cutout", pictures) == 2
    assert "folders before --save, or after --" in capsys.readouterr().err
    assert not out.exists()
