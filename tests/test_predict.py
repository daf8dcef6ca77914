"""`p3m predict` with mattes that are given: files, metadata, and what is refused."""

import os

import numpy as np
import pytest
from PIL import Image, ImageCms
from predicting import manifest, matte_of, picture_of, tree

from p3m_jax.jobs.memory import BASE, picture_memory
from p3m_jax.pictures.images import read_picture, write_image
from p3m_jax.runtime.machine import Budget

KINDS = ("alpha", "cutout", "foreground", "background", "composite")


@pytest.fixture
def folders(tmp_path):
    """Pictures in a tree, mattes in the same one, and where outputs go."""
    pictures, mattes = tmp_path / "pictures", tmp_path / "mattes"
    for name, ending in (("a", "png"), ("deep/b", "jpg"), ("deep/er/c", "webp")):
        write_image(pictures / f"{name}.{ending}", picture_of())
        write_image(mattes / f"{name}.png", matte_of())
    return pictures, mattes, tmp_path / "out"


@pytest.fixture
def predict(p3m, folders):
    def run(*more, pictures=None):
        own, mattes, out = folders
        return p3m("predict", *(pictures or [own]), "-o", out, "--alphas", mattes, *more)

    return run


def test_the_tree_is_mirrored_for_every_kind(predict, folders, capsys):
    pictures, _, out = folders
    (pictures / "notes.txt").write_text("not a picture")
    write_image(pictures / ".hidden.png", picture_of())
    assert predict("--save", *KINDS, "--background", "teal") == 0
    assert set(tree(out)) == {
        f"{kind}/{n}.png" for kind in KINDS for n in ("a", "deep/b", "deep/er/c")
    }
    captured = capsys.readouterr()
    assert "3 pictures: 3 done" in captured.out
    assert "Not read: 1 .txt (notes.txt), 1 hidden (.hidden.png).\n" in captured.err
    np.testing.assert_array_equal(np.asarray(Image.open(out / "alpha/a.png")), matte_of())
    rgba = np.asarray(Image.open(out / "cutout/a.png"))
    alpha = matte_of()[..., None] / 255
    np.testing.assert_array_equal(rgba[..., 3], matte_of())
    mixed = alpha * rgba[..., :3] + (1 - alpha) * read_picture(out / "background/a.png")
    assert np.abs(mixed - read_picture(pictures / "a.png")).mean() < 2
    over_teal = alpha * rgba[..., :3] + (1 - alpha) * np.array([0, 128, 128])
    assert np.abs(over_teal - read_picture(out / "composite/a.png")).max() <= 0.51
    entries = {entry["name"]: entry for entry in manifest(out)}
    assert list(entries) == ["a", "deep/b", "deep/er/c"]
    entry = entries["a"]
    assert entry["status"] == "done"
    assert entry["size"] == [60, 40]
    assert entry["transition"] == pytest.approx(
        np.mean((matte_of() > 0) & (matte_of() < 255)), abs=1e-5
    )
    assert set(entry["outputs"]) == {f"{kind}/a.png" for kind in KINDS}
    made = entry["outputs"]["composite/a.png"]
    assert len(made["sha256"]) == len(made["matte_sha256"]) == 64
    assert made["settings"] == {"keep_metadata": False, "background": "teal", "mattes": "given"}
    assert entry["writing"] == []


@pytest.mark.parametrize("format", ["jpg", "webp"])
def test_formats_go_where_they_can(predict, folders, format):
    assert predict("--save", *KINDS, "--background", "blur", "--format", format) == 0
    with_alpha = "webp" if format == "webp" else "png"
    endings = {"alpha": "png", "cutout": with_alpha}
    for kind in KINDS:
        with Image.open(folders[2] / kind / f"a.{endings.get(kind, format)}") as image:
            assert image.size == (60, 40)


def test_a_picture_behind(predict, folders, tmp_path):
    write_image(tmp_path / "behind.png", np.full((10, 100, 3), (9, 80, 200), np.uint8))
    assert predict("--save", "composite", "--background", tmp_path / "behind.png") == 0
    composite = read_picture(folders[2] / "composite/a.png")
    assert (composite[matte_of() == 0] == [9, 80, 200]).all()


def test_metadata_stays_out_but_for_the_profile(predict, folders):
    pictures, _, out = folders
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112], exif[0x013B] = 6, "A. Person"
    gps = exif.get_ifd(0x8825)
    gps[1], gps[2] = "N", (52.0, 30.0, 11.0)
    turned = picture_of(60, 40)
    Image.fromarray(turned).save(pictures / "a.jpg", exif=exif, icc_profile=profile, comment=b"me")
    (pictures / "a.png").unlink()
    upright = np.rot90(read_stored(pictures / "a.jpg"), 3)
    assert predict("--save", *KINDS, "--background", "teal") == 0
    for kind in KINDS:
        with Image.open(out / kind / "a.png") as image:
            assert image.size == (60, 40)
            assert not image.getexif()
            assert image.info.get("icc_profile") == (None if kind == "alpha" else profile)
        assert b"Person" not in (out / kind / "a.png").read_bytes()
    sure = matte_of() == 255
    np.testing.assert_array_equal(read_picture(out / "foreground/a.png")[sure], upright[sure])
    assert predict("--save", *KINDS, "--background", "teal", "--keep-metadata", "--overwrite") == 0
    with Image.open(out / "cutout/a.png") as image:
        assert image.size == (60, 40)
        kept = image.getexif()
        assert kept[0x013B] == "A. Person"
        assert 0x0112 not in kept
        assert kept.get_ifd(0x8825)[1] == "N"
    with Image.open(out / "alpha/a.png") as image:
        assert not image.getexif()


def read_stored(path):
    with Image.open(path) as image:
        return np.asarray(image)


def test_16_bits_of_alpha(predict, folders):
    pictures, mattes, out = folders
    deep = np.random.default_rng(0).integers(0, 65536, (40, 60)).astype(np.uint16)
    (mattes / "a.png").unlink()
    write_image(mattes / "a.png", deep)
    assert predict("--alpha-bits", 16, pictures=[pictures / "a.png"]) == 0
    np.testing.assert_array_equal(np.asarray(Image.open(out / "alpha/a.png")), deep)


def test_what_is_transparent_stays_so(predict, folders):
    pictures, _, out = folders
    rgba = np.dstack([picture_of(), np.full((40, 60), 255, np.uint8)])
    rgba[:20, :, 3] = 0
    Image.fromarray(rgba).save(pictures / "a.png")
    assert predict("--save", "cutout") == 0
    alpha = np.asarray(Image.open(out / "cutout/a.png"))[..., 3]
    assert not alpha[:20].any()
    np.testing.assert_array_equal(alpha[20:], matte_of()[20:])
    entry = next(entry for entry in manifest(out) if entry["name"] == "a")
    assert entry["warnings"] == ["partly transparent; transparent parts are treated as background"]


@pytest.mark.parametrize("name", ["a.jpg", "A.png", "deep.png/x.png"])
def test_collisions_are_found_before_anything_is_written(predict, folders, capsys, name):
    pictures, _, out = folders
    write_image(pictures / name, picture_of())
    if name.startswith("deep"):
        write_image(pictures / "deep.jpg", picture_of())
    assert predict() == 1
    error = capsys.readouterr().err
    assert "would" in error
    assert "rename one of them, use --full-names to keep the endings" in error
    assert str(pictures / ("deep.jpg" if name.startswith("deep") else "a.png")) in error
    assert not out.exists()


def test_full_names_keep_pictures_apart(predict, folders, capsys):
    pictures, mattes, out = folders
    write_image(pictures / "a.jpg", picture_of())
    assert predict("--full-names") == 1
    assert f"{mattes / 'a.png'}: may belong to {pictures / 'a.jpg'} or" in capsys.readouterr().err
    for name in ("a.jpg.png", "a.png.png"):
        write_image(mattes / name, matte_of())
    assert predict("--full-names") == 0
    assert {"alpha/a.jpg.png", "alpha/a.png.png", "alpha/deep/b.jpg.png"} < set(tree(out))


def test_an_input_named_twice_is_done_once(predict, folders, capsys):
    pictures = folders[0]
    assert predict(pictures=[pictures, pictures / "a.png", pictures / ".." / "pictures"]) == 0
    captured = capsys.readouterr()
    assert "3 done" in captured.out
    assert "named twice, processed once" in captured.err


def test_outputs_and_inputs_stay_apart(p3m, folders, capsys):
    pictures, mattes, _ = folders
    given = ("--alphas", mattes)
    assert p3m("predict", pictures, "-o", pictures / "mattes", *given) == 0
    assert p3m("predict", pictures, "-o", pictures / "mattes", *given) == 0  # are no inputs now
    assert "3 already done" in capsys.readouterr().out
    assert p3m("predict", pictures, "-o", pictures, *given) == 1
    assert "mixed with the pictures" in capsys.readouterr().err
    alphas = pictures / "mattes" / "alpha"
    for overwrite in ((), ("--overwrite",)):
        assert p3m("predict", alphas, "-o", pictures / "mattes", *given, *overwrite) == 1
        assert p3m("predict", alphas / "a.png", "-o", pictures / "mattes", *given, *overwrite) == 1
    (pictures / "file").write_text("")
    assert p3m("predict", pictures, "-o", pictures / "file", *given) == 1
    assert "is a file" in capsys.readouterr().err


def test_broken_inputs_are_listed_and_the_others_done(predict, folders, capsys):
    pictures, mattes, out = folders
    (pictures / "text.jpg").write_text("hello")
    (pictures / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(50))
    (pictures / "cut.jpg").write_bytes((pictures / "deep/b.jpg").read_bytes()[:900])
    (pictures / "loop.jpg").symlink_to("loop.jpg")
    (pictures / "round").symlink_to(".")
    os.mkfifo(pictures / "pipe.jpg")
    write_image(pictures / "alone.png", picture_of())
    write_image(pictures / "small.png", picture_of())
    write_image(mattes / "small.png", matte_of(20, 30))
    for name in ("text", "phone", "cut", "loop", "pipe"):
        write_image(mattes / f"{name}.png", matte_of())
    write_image(pictures / "new\nline.png", picture_of())
    write_image(mattes / "new\nline.png", matte_of())
    assert predict() == 1
    captured = capsys.readouterr()
    assert "11 pictures: 4 done, 0 already done, 7 failed" in captured.out
    for name, reason in {
        "text.jpg": "is not a picture",
        "phone.heic": "is HEIC",
        "cut.jpg": "is damaged or cut off",
        "loop.jpg": "leads back to itself",
        "pipe.jpg": "is a pipe",
        "alone.png": "there is no such matte",
        "small.png": "is 30 x 20 pixels, but its picture is 60 x 40",
        "round": "was already searched, skipped",
    }.items():
        assert any(name in line and reason in line for line in captured.err.splitlines()), name
    assert {e["name"]: e["status"] for e in manifest(out)}["cut"] == "failed"
    assert (out / "alpha" / "new\nline.png").exists()
    for broken in ("text.jpg", "phone.heic", "loop.jpg", "pipe.jpg", "alone.png", "small.png"):
        (pictures / broken).unlink()
    write_image(pictures / "cut.jpg", picture_of())  # mended
    assert predict() == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["missing.jpg", "--alphas", "."], "no such file or folder"),
        (["empty", "--alphas", "."], "holds no pictures"),
        (["a.png", "--alphas", "nowhere"], "choose the folder of mattes"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    p3m, tmp_path, monkeypatch, capsys, arguments, sentence
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    write_image(tmp_path / "a.png", picture_of())
    assert p3m("predict", *arguments, "-o", "out") == 1
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--checkpoint", "a", "--alphas", "b"],
        ["--alphas", "b", "--strategy", "resize"],
        ["--alphas", "b", "--save", "composite"],
        ["--alphas", "b", "--background", "blur"],
        ["--alphas", "b", "--save", "cutout", "--alpha-bits", "16"],
        ["--alphas", "b", "--max-memory", "none"],
        ["--alphas", "b", "--max-memory", "0.1"],
        ["--alphas", "b", "--keep-metadata"],
    ],
)
def test_wrong_options_end_with_2(p3m, tmp_path, arguments):
    assert p3m("predict", tmp_path, "-o", tmp_path / "out", *arguments) == 2
    assert not (tmp_path / "out").exists()


def test_without_weights_it_says_where_there_are_some(p3m, tmp_path, capsys):
    assert p3m("predict", tmp_path, "-o", tmp_path / "out") == 2
    error = capsys.readouterr().err
    for part in ("github.com/JizhiziLi/P3M", "github.com/ViTAE-Transformer/P3M-Net", "p3m import"):
        assert part in error
    assert "Swin-T was never published" in error


def test_a_picture_too_large_for_the_memory_is_refused_with_what_it_takes(predict, folders, capsys):
    pictures, mattes, _ = folders
    bound = 2 * BASE
    side = 10_000
    assert picture_memory(10_000 * side) > bound - BASE
    Image.new("1", (side, 10_000)).save(pictures / "large.png")
    write_image(mattes / "large.png", matte_of())
    assert predict("--max-memory", bound / 1e9) == 1
    assert (
        "large.png: needs about 3.4 GB of memory; allow more with --max-memory"
        in capsys.readouterr().err
    )


def test_memory_is_shared_and_the_largest_goes_alone():
    budget = Budget(100, pictures=3)
    assert budget.try_take(60)
    assert not budget.try_take(60)
    assert budget.try_take(40)
    budget.give_back(40)
    budget.give_back(60)
    assert budget.try_take(1000)
    assert not budget.try_take(1)
    budget.give_back(1000)
    assert [budget.try_take(1) for _ in range(4)] == [True, True, True, False]
