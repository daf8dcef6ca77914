"""Estimated foregrounds: their quality, the cache's resumption and identity, and its errors."""

import errno
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from p3m_jax.data.folders import DataSetError
from p3m_jax.data.layouts import training_set
from p3m_jax.derived import foregrounds as foreground
from p3m_jax.derived.foregrounds import estimate_foreground, estimate_missing
from p3m_jax.pictures.images import read_picture, write_image
from p3m_jax.pictures.labels import read_matte

SAMPLES = Path(__file__).parents[2] / "shared" / "p3m_samples"


def write_set(root, *, seed=0, count=4):
    rng = np.random.default_rng(seed)
    for i in range(count):
        picture = rng.integers(0, 256, (24 + i, 32, 3), dtype=np.uint8)
        write_image(root / "train" / "blurred_image" / f"p_{i}.jpg", picture)
        write_image(root / "train" / "mask" / f"p_{i}.png", picture[..., 0])
    return root


@pytest.fixture
def root(tmp_path):
    return write_set(tmp_path / "P3M-10k")


@pytest.fixture
def estimated(monkeypatch):
    """Replaces the estimation by a copy; the list holds the sizes of the pictures estimated."""
    sizes = []

    def copy(picture, matte):
        if len(picture) > 8:  # smaller ones only wake up Numba
            sizes.append(picture.shape[:2])
        return picture, 255 - picture

    monkeypatch.setattr(foreground, "estimate_foreground", copy)
    return sizes


def fill(root, cache, workers=1):
    return estimate_missing(training_set(root), cache, workers=workers, progress=False)


def test_estimates_compose_to_the_picture():
    pytest.importorskip("pymatting")
    alpha = np.zeros([96, 128], np.float32)
    cv2.circle(alpha, (64, 48), 30, 1.0, -1)
    alpha = cv2.GaussianBlur(alpha, (0, 0), 4)
    matte = np.rint(255 * alpha).astype(np.uint8)
    alpha = matte[..., None] / 255
    red, blue = np.array([220, 40, 30]), np.array([20, 60, 200])
    picture = np.rint(alpha * red + (1 - alpha) * blue).astype(np.uint8)
    front, back = estimate_foreground(picture, matte)
    assert front.dtype == back.dtype == np.uint8
    composite = alpha * front + (1 - alpha) * back
    assert np.abs(composite - picture).mean() < 1
    # Where both show through, the colours come apart again.
    mixed = (matte > 64) & (matte < 192)
    assert np.abs(front[mixed].astype(int) - red).mean() < 12
    assert np.abs(back[mixed].astype(int) - blue).mean() < 12


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the real samples are not on this machine")
def test_a_real_portrait(tmp_path):
    pytest.importorskip("pymatting")
    example = training_set(SAMPLES).examples[0]
    picture, matte = read_picture(example.picture), read_matte(example.matte)
    front, back = estimate_foreground(picture, matte)
    alpha = matte[..., None] / 255
    error = np.abs(alpha * front + (1 - alpha) * back - picture)
    transition = (matte > 0) & (matte < 255)
    assert error.mean() < 0.5
    assert error[transition].mean() < 6


def test_the_cache_is_found_and_made_once(root, tmp_path, estimated):
    cache = tmp_path / "made" / "here"
    assert fill(root, cache, workers=2) == 4
    dataset = training_set(root, foreground_cache=cache)
    for example in dataset.examples:
        picture = read_picture(example.picture)
        np.testing.assert_array_equal(read_picture(example.foreground), picture)
        assert read_picture(example.background).shape == picture.shape
    assert fill(root, cache) == 0
    assert estimate_missing(dataset, cache, progress=False) == 0
    assert len(estimated) == 4


def test_goes_on_after_a_kill(root, tmp_path, estimated):
    fill(root, tmp_path / "cache")
    del estimated[:]
    (tmp_path / "cache" / "bg" / "p_1.jpg").unlink()  # killed between the files of a pair
    sources = tmp_path / "cache" / "sources.jsonl"
    lines = sources.read_text().splitlines()
    kept = [line for line in lines if '"p_3"' not in line]
    cut = next(line for line in lines if '"p_3"' in line)[:20]  # killed in the middle of the line
    sources.write_text("\n".join([*kept, cut]))
    assert fill(root, tmp_path / "cache") == 2
    assert sorted(estimated) == [(25, 32), (27, 32)]
    assert fill(root, tmp_path / "cache") == 0


def test_a_cache_of_other_pictures_is_noticed(root, tmp_path, estimated):
    fill(root, tmp_path / "cache")
    other = write_set(tmp_path / "other", seed=1)
    assigned = training_set(other, foreground_cache=tmp_path / "cache")
    for dataset in (training_set(other), assigned):
        with pytest.raises(DataSetError, match=r"p_0\.png: was estimated from a different picture"):
            estimate_missing(dataset, tmp_path / "cache", progress=False)


def test_what_the_archive_ships_is_not_estimated(root, tmp_path, estimated):
    for i in range(4):
        picture = read_picture(root / "train" / "blurred_image" / f"p_{i}.jpg")
        write_image(root / "train" / "fg_blurred" / f"p_{i}.png", picture)
        write_image(root / "train" / "bg" / f"p_{i}.jpg", picture)
    assert fill(root, tmp_path / "cache") == 0
    assert not estimated
    assert not (tmp_path / "cache").exists()


def test_broken_pictures_are_named_at_the_end(root, tmp_path, estimated):
    (root / "train" / "blurred_image" / "p_0.jpg").write_bytes(b"nothing")
    write_image(root / "train" / "mask" / "p_2.png", np.zeros([9, 9], np.uint8))
    with pytest.raises(DataSetError, match=r"2 of 4 .*p_0\.jpg.*p_2\.jpg: is 32 x 26"):
        fill(root, tmp_path / "cache")
    assert len(list((tmp_path / "cache" / "fg").iterdir())) == 2
    assert len(estimated) == 2


def test_a_cache_that_cannot_be_written(root, tmp_path, estimated, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataSetError, match="file: the cache of foregrounds cannot be written"):
        fill(root, tmp_path / "file")

    def full(path, values):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(foreground, "write_image", full)
    with pytest.raises(DataSetError, match="No space left on device"):
        fill(root, tmp_path / "cache")


@pytest.mark.parametrize("folder", ["fg", "bg"])
def test_pictures_that_were_not_estimated_here_are_not_overwritten(
    root, tmp_path, estimated, folder
):
    mine = tmp_path / "mine" / folder / "p_0.jpg"
    write_image(mine, np.zeros((5, 5, 3), np.uint8))
    before = mine.read_bytes()
    with pytest.raises(DataSetError, match="mine: holds fg/ or bg/ that were not estimated here"):
        fill(root, tmp_path / "mine")
    assert mine.read_bytes() == before
    assert [path.name for path in (tmp_path / "mine").iterdir()] == [folder]


def test_empty_files_and_foreign_lines_count_as_missing(root, tmp_path, estimated):
    fill(root, tmp_path / "cache")
    (tmp_path / "cache" / "fg" / "p_2.png").write_bytes(b"")
    found = training_set(root, foreground_cache=tmp_path / "cache").examples
    assert [example.stem for example in found if example.foreground is None] == ["p_2"]
    with (tmp_path / "cache" / "sources.jsonl").open("ab") as sources:
        sources.write(b'[1]\n7\n"p_1"\n{"stem": []}\n{}\n\xff\n')
    assert fill(root, tmp_path / "cache") == 1


def test_a_single_pixel_is_its_own_foreground():
    pytest.importorskip("pymatting")
    pixel = np.full((1, 1, 3), 77, np.uint8)
    for estimate in estimate_foreground(pixel, np.full((1, 1), 128, np.uint8)):
        np.testing.assert_array_equal(estimate, pixel)


def test_command(root, tmp_path, estimated, capsys, p3m):
    options = ("-o", tmp_path / "cache", "--workers", 1)
    assert p3m("estimate", root, *options) == 0
    assert "foregrounds of 4 estimated, 0 already done" in capsys.readouterr().out
    assert p3m("estimate", root, *options) == 0
    assert "foregrounds of 0 estimated, 4 already done" in capsys.readouterr().out
    assert p3m("estimate", tmp_path / "nowhere", *options) == 1
    assert "nowhere: there is no such folder" in capsys.readouterr().err
    assert p3m("estimate", root, "-o", tmp_path / "cache", "--workers", 0) == 2


def test_estimating_needs_no_tensorflow():
    program = (
        "import sys, p3m_jax.commands.estimate, p3m_jax.derived.foregrounds; print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert not {"tensorflow", "pymatting", "jax"} & set(done.stdout.split())
