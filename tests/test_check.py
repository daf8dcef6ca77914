import functools
import json
import os
import shutil
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from p3m_jax.data import layouts
from p3m_jax.data.check import check
from p3m_jax.data.synthetic.writer import write_synthetic_set
from p3m_jax.derived.foregrounds import foreground_cache
from p3m_jax.pictures.images import ImageError, write_image
from p3m_jax.pictures.labels import NEVER_CLEAR, NEVER_OPAQUE, NOBODY, read_matte

SAMPLES = Path(__file__).parents[1].parent / "shared" / "p3m_samples"
needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the sample portraits are absent")


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory):
    folder = tmp_path_factory.mktemp("check") / "set"
    return write_synthetic_set(folder, train=12, test=2, size=(96, 64), progress=False)


@pytest.fixture
def root(synthetic, tmp_path):
    """A set of its own for each test, taken for a real one."""
    shutil.copytree(synthetic, tmp_path / "P3M-10k")
    (tmp_path / "P3M-10k" / layouts.SYNTHETIC_MARK).unlink()
    return tmp_path / "P3M-10k"


def file(root, folder, number, ending=".png"):
    return root / "train" / folder / f"synthetic_{number:05d}{ending}"


def report(root, **options):
    return check(layouts.scan_training(root), progress=False, **options)


def test_a_good_set_has_no_findings(synthetic):
    for full in (False, True):
        found = check(layouts.training_set(synthetic), full=full, progress=False)
        assert (found.errors, found.warnings) == ((), ())
        assert "SYNTHETIC" in found.text
        assert "complete and usable" in found.text.splitlines()[-1]
        assert "60 files" in found.text
        assert ("decoded all" in found.text) == full


def test_counts_are_compared_with_the_published_ones(root):
    found = report(root)
    assert found.errors == ()
    assert found.warnings == ("12 pictures; P3M-10k train was published with 9,421.",)
    assert report(root, published_count=12).warnings == ()
    dataset = layouts.training_set(root)
    assert "published with 13" in check(dataset, published_count=13, progress=False).text


def test_everything_wrong_is_in_one_report(root):
    file(root, "mask", 0).unlink()
    file(root, "blurred_image", 1, ".jpg").unlink()
    write_image(file(root, "mask", 2), np.zeros((96, 60), np.uint8))
    write_image(file(root, "bg", 3, ".jpg"), np.zeros((90, 64, 3), np.uint8))
    file(root, "blurred_image", 4, ".jpg").write_text("not a picture")
    file(root, "facemask", 5).write_bytes(file(root, "facemask", 5).read_bytes()[:-40])
    picture = file(root, "blurred_image", 6, ".jpg")
    picture.write_bytes(picture.read_bytes()[:-200])
    file(root, "mask", 7).write_bytes(b"")
    file(root, "fg_blurred", 8).unlink()
    found = report(root)
    text = "\n".join(found.errors)
    assert "no matte for 1 (synthetic_00000)" in text
    assert "no picture for 1 (synthetic_00001)" in text
    assert f"{file(root, 'mask', 2)}: 96 x 60, the picture 96 x 64" in text
    assert f"{file(root, 'bg', 3, '.jpg')}: 90 x 64, the picture 96 x 64" in text
    for path in (
        file(root, "blurred_image", 4, ".jpg"),
        file(root, "facemask", 5),
        file(root, "blurred_image", 6, ".jpg"),
        file(root, "mask", 7),
    ):
        assert str(path) in text
    warnings = "\n".join(found.warnings)
    assert "no foreground for some pictures" in warnings
    assert "synthetic_00008" in warnings
    for number in (9, 10, 11):
        assert f"synthetic_{number:05d}" not in text + warnings
    assert "NOT usable" in found.text.splitlines()[-1]
    for entry in found.errors + found.warnings:
        assert all(line in found.text for line in entry.splitlines())


def test_extra_files_are_warnings(root):
    shutil.copy(file(root, "facemask", 0), root / "train/facemask/other.png")
    found = report(root, published_count=12)
    assert found.errors == ()
    assert "other.png" in found.warnings[0]


def test_what_is_left_out_is_named_and_no_finding(root):
    folder = file(root, "blurred_image", 0).parent
    (folder / "film.mp4").touch()
    found = report(root)
    assert f"  Not read: {folder}: 1 .mp4 (film.mp4).\n" in found.text
    assert (found.errors, found.warnings) == (report(root).errors, report(root).warnings)
    assert not any("film" in entry for entry in (*found.errors, *found.warnings))


def test_only_the_first_ten_cases_are_listed(root):
    for number in range(12):
        write_image(file(root, "mask", number), np.zeros((96, 60), np.uint8))
    (entry,) = report(root).errors
    lines = entry.splitlines()
    assert lines[0] == "matte files have a different size than their picture (12):"
    assert len(lines) == 12
    assert lines[-1].strip() == "... and 2 more"


def test_rotated_pictures_are_errors_for_training_alone(root):
    path = file(root, "blurred_image", 0, ".jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(path) as image:
        upright = image.copy()
    upright.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    found = report(root)
    assert any("EXIF" in entry and str(path) in entry for entry in found.errors)
    folders = (root / "train/blurred_image", root / "train/mask")
    pair = check(layouts.folder_pair(*folders), training=False, progress=False)
    assert pair.errors == ()  # EXIF is honoured there, and the sizes agree
    assert any("EXIF" in entry for entry in pair.warnings)


def test_files_that_training_cannot_read(root):
    values = np.zeros((96, 64), np.uint16)
    Image.fromarray(values).save(file(root, "mask", 0))
    write_image(file(root, "blurred_image", 1, ".webp"), np.zeros((96, 64, 3), np.uint8))
    file(root, "blurred_image", 1, ".jpg").unlink()
    Image.new("CMYK", (64, 96)).save(file(root, "blurred_image", 2, ".jpg"))
    text = "\n".join(report(root).errors)
    assert f"{file(root, 'mask', 0)}: 16 bits" in text
    assert f"{file(root, 'blurred_image', 1, '.webp')}: WEBP" in text
    assert f"{file(root, 'blurred_image', 2, '.jpg')}: CMYK" in text
    assert check(layouts.training_set(root), training=False, progress=False).errors == ()


def test_16_bit_colour_is_seen_although_pillow_hides_it(root):
    import cv2

    path = file(root, "fg_blurred", 0)
    assert cv2.imwrite(str(path), np.full((96, 64, 3), 40000, np.uint16))
    with Image.open(path) as image:
        assert image.mode == "RGB"
    assert any("16 bits" in entry for entry in report(root).errors)


def test_damage_inside_a_file_needs_full(root):
    path = file(root, "mask", 0)
    contents = bytearray(path.read_bytes())
    middle = len(contents) // 2
    contents[middle : middle + 20] = bytes(20)
    path.write_bytes(contents)
    assert report(root).errors == ()
    (entry,) = report(root, full=True).errors
    assert str(path) in entry


def test_bytes_behind_the_end_of_a_picture_are_harmless(root):
    path = file(root, "blurred_image", 0, ".jpg")
    path.write_bytes(path.read_bytes() + bytes(10_000))
    assert report(root).errors == ()


def test_values_are_looked_at_when_decoded(root):
    write_image(file(root, "mask", 0), np.zeros((96, 64), np.uint8))
    write_image(file(root, "mask", 1), np.full((96, 64), (0, 1) * 32, np.uint8))
    write_image(file(root, "mask", 2), np.full((96, 64), (1, 254) * 32, np.uint8))
    write_image(file(root, "facemask", 3), np.full((96, 64), (0, 90) * 32, np.uint8))
    trimap = root / "validation/P3M-500-P/trimap/synthetic_00000.png"
    write_image(trimap, np.full((96, 64), 77, np.uint8))
    assert report(root).errors == ()
    found = report(root, full=True)
    for number, named in ((1, "0 and 1"), (3, "0 and 90")):
        (entry,) = (entry for entry in found.errors if named in entry)
        assert f"synthetic_0000{number}.png" in entry
    assert "NOT usable" in found.text
    for number, warning in ((0, NOBODY), (2, NEVER_OPAQUE), (2, NEVER_CLEAR)):
        (entry,) = (entry for entry in found.warnings if entry.startswith(warning))
        assert f"synthetic_0000{number}.png" in entry
    test = check(layouts.find_test_set(root, "P3M-500-P"), full=True, progress=False)
    assert any("trimap" in entry and "77" in entry for entry in test.errors)


def test_a_matte_that_is_stored_rotated_is_refused(root):
    """Training would not turn it, evaluation would."""
    exif = Image.Exif()
    exif[0x0112] = 6
    matte = file(root, "mask", 0)
    Image.open(matte).save(matte, exif=exif)
    assert any("rotated" in entry and matte.name in entry for entry in report(root).errors)
    with pytest.raises(ImageError, match="orientation 6"):
        read_matte(matte)


def test_headers_are_fast(root):
    """9,421 pictures with five files each must not take minutes, however large they are."""
    for number in range(12):
        values = np.random.default_rng(number).integers(0, 256, (900, 600), np.uint8)
        write_image(file(root, "mask", number), values)
    start = time.perf_counter()
    report(root, workers=1)
    headers = time.perf_counter() - start
    start = time.perf_counter()
    report(root, workers=1, full=True)
    assert headers < 0.5 * (time.perf_counter() - start)
    assert headers / 60 < 0.005  # seconds per file


@pytest.fixture
def run(p3m):
    return functools.partial(p3m, "check")


def test_command(root, synthetic, capsys, run):
    assert run(synthetic, "--full") == 0
    text = capsys.readouterr().out
    for name in ("P3M-10k train", "P3M-500-P", "P3M-500-NP"):
        assert f"Verdict: {name} is complete and usable." in text
    file(root, "mask", 0).unlink()
    assert run(root) == 1
    assert run(root, "--set", "P3M-500-P", "--set", "P3M-500-NP") == 0
    capsys.readouterr()
    assert run(root / "train") == 1
    assert f"did you mean {root}?" in capsys.readouterr().err
    folders = ("--pictures", root / "train/blurred_image", "--mattes", root / "train/mask")
    assert run(*folders) == 1
    assert run("--pictures", root / "train/fg_blurred", "--mattes", root / "train/facemask") == 0
    assert run("--pictures", root / "train/blurred_image") == 2
    assert run(root, *folders) == 2
    assert run() == 2


@pytest.mark.parametrize(
    "wrong",
    [
        ["DIR", "--set", "foo"],
        ["DIR", "--workers", "0"],
        ["DIR", "--trimaps", "DIR"],
        ["DIR", "--set", "P3M-500-P", "--foreground-cache", "DIR"],
        ["--pictures", "DIR", "--mattes", "mattes", "--set", "train"],
        ["--pictures", "DIR", "--mattes", "mattes", "--foreground-cache", "DIR"],
    ],
)
def test_options_that_do_not_apply(wrong, synthetic, capsys, run):
    assert run(*(synthetic if word == "DIR" else word for word in wrong)) == 2
    flag = next(word for word in reversed(wrong) if word.startswith("--"))
    assert flag in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("flag", ["--facemasks", "--foreground-cache"])
def test_a_folder_that_is_not_there_is_said_once(synthetic, capsys, run, flag):
    assert run(synthetic, flag, synthetic / "nowhere") == 1
    assert capsys.readouterr().err.count("nowhere: there is no such folder") == 1


def test_the_foreground_cache_is_checked_as_estimating_does(root, tmp_path, capsys, run):
    cache = tmp_path / "cache"
    cache.mkdir()
    for folder, place in (("fg_blurred", "fg"), ("bg", "bg")):
        (root / "train" / folder).rename(cache / place)
    options = (root, "--set", "train", "--foreground-cache", cache)
    assert run(*options) == 1
    assert "were not estimated here" in capsys.readouterr().out
    examples = layouts.training_set(root).examples
    sources = [foreground_cache(cache).source(example) for example in examples]
    (cache / "sources.jsonl").write_text("\n".join(map(json.dumps, sources)))
    assert run(*options) == 0
    sources[3]["matte_bytes"] += 1
    (cache / "sources.jsonl").write_text("\n".join(map(json.dumps, sources)))
    assert run(*options) == 1
    text = capsys.readouterr().out
    assert "synthetic_00003.png: was estimated from a different picture" in text
    assert "NOT usable" in text
    write_image(cache / "bg/synthetic_00003.jpg", np.zeros((9, 9, 3), np.uint8))
    assert run(root, "--set", "train") == 0
    assert run(*options) == 1
    assert "9 x 9" in capsys.readouterr().out


def test_exif_that_is_cut_short_decides_about_nothing(root):
    path = file(root, "mask", 0)
    contents = path.read_bytes()
    exif = b"eXIf" + b"MM\0*\0"  # the header of TIFF has eight bytes
    chunk = struct.pack(">I", 5) + exif + struct.pack(">I", zlib.crc32(exif))
    path.write_bytes(contents[:33] + chunk + contents[33:])  # behind the signature and IHDR
    assert not report(root).errors
    assert not report(root, full=True).errors


def test_names_that_are_no_text_can_be_printed(root):
    stem = os.fsdecode(b"caf\xe9")
    try:
        file(root, "facemask", 0).rename(root / "train/facemask" / f"{stem}.png")
    except OSError:
        pytest.skip("this file system takes no such names")
    assert "caf\\udce9.png" in report(root).text.encode("utf-8").decode()


@needs_samples
def test_sample_portraits_are_usable(capsys, run):
    assert run(SAMPLES) == 0
    text = capsys.readouterr().out
    assert "P3M-500-NP was published with 500" in text
    assert "P3M-500-NP is usable" in text
