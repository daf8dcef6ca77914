import dataclasses
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from p3m_jax.data import layouts, sets
from p3m_jax.data.folders import DataSetError
from p3m_jax.data.sets import DataSet, Example
from p3m_jax.errors import UserError
from p3m_jax.pictures.images import write_image
from p3m_jax.storage.paths import PathError

SAMPLES = Path(__file__).parents[1].parent / "shared" / "p3m_samples"
needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the sample portraits are absent")

STEMS = ("a", "b", "c")


def fill(folder, ending, stems=STEMS):
    for stem in stems:
        write_image(folder / f"{stem}{ending}", np.full((8, 6, 3), 100, np.uint8))


def older_archive(root):
    fill(root / "train/blurred_image", ".jpg")
    fill(root / "train/mask", ".png")
    for name, picture in (("P3M-500-P", "blurred_image"), ("P3M-500-NP", "original_image")):
        fill(root / "validation" / name / picture, ".jpg")
        fill(root / "validation" / name / "mask", ".png")
        fill(root / "validation" / name / "trimap", ".png")
    return root


def newer_archive(root):
    older_archive(root)
    fill(root / "train/fg_blurred", ".png")
    fill(root / "train/bg", ".jpg")
    fill(root / "train/facemask", ".png")
    fill(root / "validation/P3M-500-P/facemask", ".png")
    return root


def test_older_archive(tmp_path):
    root = older_archive(tmp_path / "P3M-10k")
    dataset = layouts.training_set(root)
    assert dataset.name == "P3M-10k train"
    assert not dataset.synthetic
    assert [example.stem for example in dataset.examples] == ["a", "b", "c"]
    first = dataset.examples[0]
    assert first.picture == root / "train/blurred_image/a.jpg"
    assert first.matte == root / "train/mask/a.png"
    assert (first.trimap, first.foreground, first.background, first.facemask) == (None,) * 4


def test_newer_archive(tmp_path):
    root = newer_archive(tmp_path)
    first = layouts.training_set(root).examples[0]
    assert first.foreground == root / "train/fg_blurred/a.png"
    assert first.background == root / "train/bg/a.jpg"
    assert first.facemask == root / "train/facemask/a.png"
    test = layouts.find_test_set(root, "P3M-500-P").examples[2]
    assert test.trimap == root / "validation/P3M-500-P/trimap/c.png"
    assert test.facemask == root / "validation/P3M-500-P/facemask/c.png"
    normal = layouts.find_test_set(root, "P3M-500-NP").examples[0]
    assert normal.picture == root / "validation/P3M-500-NP/original_image/a.jpg"
    assert normal.facemask is None
    assert layouts.find_test_sets(root) == ("P3M-500-P", "P3M-500-NP")


def test_foregrounds_come_in_pairs_and_the_archive_goes_first(tmp_path):
    root = newer_archive(tmp_path / "set")
    cache = tmp_path / "cache"
    (root / "train/bg/b.jpg").unlink()
    (root / "train/bg/c.jpg").unlink()
    fill(cache / "fg", ".png", ("a", "b"))
    fill(cache / "bg", ".jpg", ("a", "b", "c"))
    a, b, c = layouts.training_set(root, foreground_cache=cache).examples
    assert (a.foreground, a.background) == (
        root / "train/fg_blurred/a.png",
        root / "train/bg/a.jpg",
    )
    assert (b.foreground, b.background) == (cache / "fg/b.png", cache / "bg/b.jpg")
    assert (c.foreground, c.background) == (None, None)  # never half of each


def test_cache_fills_the_older_archive_and_may_not_exist_yet(tmp_path):
    root, cache = older_archive(tmp_path / "set"), tmp_path / "cache"
    assert layouts.training_set(root, foreground_cache=cache).examples[0].foreground is None
    fill(cache / "fg", ".png")
    fill(cache / "bg", ".jpg")
    first = layouts.training_set(root, foreground_cache=cache).examples[0]
    assert (first.foreground, first.background) == (cache / "fg/a.png", cache / "bg/a.jpg")


def test_facemasks_may_stand_apart(tmp_path):
    root = older_archive(tmp_path / "set")
    fill(tmp_path / "masks", ".png", ("a", "b"))
    examples = layouts.find_test_set(root, "P3M-500-P", facemasks=tmp_path / "masks").examples
    assert [e.facemask and e.facemask.name for e in examples] == ["a.png", "b.png", None]


def test_real_world_portraits_have_no_trimaps(tmp_path):
    fill(tmp_path / "image", ".jpg")
    fill(tmp_path / "alpha", ".png")
    dataset = layouts.find_test_set(tmp_path, "RealWorldPortrait-636")
    assert dataset.examples[1] == Example("b", tmp_path / "image/b.jpg", tmp_path / "alpha/b.png")
    assert layouts.find_test_sets(tmp_path) == ("RealWorldPortrait-636",)


def test_folder_pair_takes_any_ending_and_ignores_what_is_no_picture(tmp_path):
    for name in ("a.JPG", "b.jpeg", "c.webp", "d.png"):
        write_image(tmp_path / "pictures" / name, np.zeros((8, 6, 3), np.uint8))
    (tmp_path / "pictures/.hidden.jpg").touch()
    (tmp_path / "pictures/notes.txt").touch()
    fill(tmp_path / "mattes", ".png", ("a", "b", "c", "d"))
    dataset = layouts.folder_pair(tmp_path / "pictures", tmp_path / "mattes", name="mine")
    assert dataset.name == "mine"
    assert [e.picture.name for e in dataset.examples] == ["a.JPG", "b.jpeg", "c.webp", "d.png"]
    assert [e.matte.stem for e in dataset.examples] == ["a", "b", "c", "d"]


def test_missing_mattes_are_an_error_with_count_and_stems(tmp_path):
    root = older_archive(tmp_path)
    for folder in ("train/mask", "validation/P3M-500-P/mask"):
        (root / folder / "a.png").unlink()
        (root / folder / "c.png").unlink()
    folder = root / "train"
    with pytest.raises(DataSetError, match=r"train/mask: no matte for 2 \(a, c\)"):
        layouts.training_set(root)
    with pytest.raises(DataSetError, match=r"P3M-500-P/mask: no matte for 2 \(a, c\)"):
        layouts.find_test_set(root, "P3M-500-P")
    with pytest.raises(DataSetError, match=r"train/mask: no matte for 2 \(a, c\)"):
        layouts.folder_pair(folder / "blurred_image", folder / "mask")


def test_missing_pictures_and_trimaps_are_errors(tmp_path):
    root = older_archive(tmp_path)
    (root / "train/blurred_image/b.jpg").unlink()
    (root / "validation/P3M-500-NP/trimap/b.png").unlink()
    with pytest.raises(DataSetError, match=r"no picture for 1 \(b\)"):
        layouts.training_set(root)
    with pytest.raises(DataSetError, match=r"no trimap for 1 \(b\)"):
        layouts.find_test_set(root, "P3M-500-NP")


def test_a_scan_tells_everything_at_once(tmp_path):
    root = older_archive(tmp_path)
    (root / "train/blurred_image/b.jpg").unlink()
    (root / "train/mask/c.png").unlink()
    (root / "train/mask/a.webp").touch()
    scan = layouts.scan_training(root)
    assert len(scan.problems()) == 3
    assert [example.stem for example in scan.examples()] == ["a"]
    with pytest.raises(DataSetError, match="2 more"):
        scan.dataset()


def test_ambiguous_and_unreadable_formats_are_errors(tmp_path):
    root = older_archive(tmp_path)
    fill(root / "train/blurred_image", ".png", ("a",))
    with pytest.raises(DataSetError, match=r"1 \(a\) exist with two endings"):
        layouts.training_set(root)
    (root / "validation/P3M-500-P/blurred_image/d.tif").touch()
    with pytest.raises(DataSetError, match=r"d\.tif.*unsupported format"):
        layouts.find_test_set(root, "P3M-500-P")


def test_what_is_not_read_is_named_and_makes_no_set_smaller(tmp_path):
    root = older_archive(tmp_path)
    pictures = root / "train/blurred_image"
    (pictures / "a.jpg").rename(pictures / "a.JFIF")
    (pictures / "b.jpg").rename(pictures / "b.jpe")
    for name in ("a.cr2", "c.tif", "c.mp4", "notes.txt", ".DS_Store", "._a.jpg"):
        (pictures / name).touch()
    for name in ("@eaDir", "more"):
        (pictures / name).mkdir()
    dataset = layouts.training_set(root)
    assert [example.picture.name for example in dataset.examples] == ["a.JFIF", "b.jpe", "c.jpg"]
    assert dataset.left_out == (
        f"{pictures}: 1 .cr2 (a.cr2), 1 .mp4 (c.mp4), 1 .tif (c.tif), 1 .txt (notes.txt), "
        "1 folder (more), 1 hidden (._a.jpg), 1 system or hidden folder (@eaDir)",
    )
    (pictures / "d.dng").touch()  # a picture that nothing else stands for
    with pytest.raises(DataSetError, match=r"1 \(d\.dng\) in an unsupported format"):
        layouts.training_set(root)


@pytest.mark.parametrize(
    ("named", "remedy"),
    [
        ("P3M-10k/train", "did you mean .*P3M-10k?"),
        ("P3M-10k/train/mask", "did you mean .*P3M-10k?"),
        ("P3M-10k/validation", "did you mean .*P3M-10k?"),
        (".", "did you mean .*P3M-10k?"),
        ("nowhere", "there is no such folder"),
        ("empty", "choose the folder that holds train"),
        ("P3M-10k/train/mask/a.png", "is a file"),
    ],
)
def test_wrong_roots_say_what_to_do(tmp_path, named, remedy):
    older_archive(tmp_path / "P3M-10k")
    (tmp_path / "deep/deeper/deepest/empty").mkdir(parents=True)
    root = tmp_path / ("deep/deeper/deepest/empty" if named == "empty" else named)
    with pytest.raises(UserError, match=remedy) as caught:
        layouts.training_set(root)
    assert str(root) in str(caught.value)
    if "did you mean" in remedy:  # the advice must be right
        advised = str(caught.value).split("did you mean ")[1].rstrip("?")
        assert len(layouts.training_set(advised).examples) == 3


def test_what_only_looks_like_a_picture_is_named(tmp_path):
    """A pipe would be read for ever."""
    root = older_archive(tmp_path)
    os.mkfifo(root / "train/blurred_image/pipe.jpg")
    (root / "train/mask/folder.png").mkdir()
    (root / "train/mask/link.png").symlink_to(tmp_path / "nowhere")
    first, second = layouts.scan_training(root).problems()
    assert "blurred_image: 1 (pipe.jpg)" in first
    assert "mask: 2 (folder.png, link.png)" in second


def test_names_that_are_no_text_are_split_like_others(tmp_path):
    root = older_archive(tmp_path)
    stem = os.fsdecode(b"caf\xe9")
    try:
        fill(root / "train/blurred_image", ".jpg", (stem,))
    except OSError:
        pytest.skip("this file system takes no such names")
    fill(root / "train/mask", ".png", (stem,))
    train, held_out = sets.split_validation(layouts.training_set(root), 1)
    assert len(train.examples) + len(held_out.examples) == 4


def test_empty_and_missing_folders_are_errors(tmp_path):
    (tmp_path / "train/blurred_image").mkdir(parents=True)
    with pytest.raises(DataSetError, match="mask: there is no such folder"):
        layouts.training_set(tmp_path)
    (tmp_path / "train/mask").mkdir()
    with pytest.raises(DataSetError, match="holds no pictures"):
        layouts.training_set(tmp_path)
    with pytest.raises(DataSetError, match="choose one of P3M-500-P"):
        layouts.find_test_set(tmp_path, "P3M-500")
    with pytest.raises(PathError, match="nowhere"):
        layouts.folder_pair(tmp_path / "nowhere", tmp_path)
    with pytest.raises(PathError, match="no home folder"):
        layouts.training_set("~nobody-has-this-name/P3M-10k")


def test_synthetic_sets_are_known_by_their_mark_and_unfinished_ones_refused(tmp_path):
    root = older_archive(tmp_path)
    (root / layouts.SYNTHETIC_MARK).write_text("{}")
    assert layouts.training_set(root).synthetic
    assert layouts.find_test_set(root, "P3M-500-P").synthetic
    folder = root / "validation/P3M-500-P"
    assert layouts.folder_pair(folder / "blurred_image", folder / "mask").synthetic
    (root / layouts.SYNTHETIC_MARK).rename(root / layouts.UNFINISHED_MARK)
    with pytest.raises(DataSetError, match="is an unfinished synthetic set"):
        layouts.training_set(root)


def make_dataset(count, order=1):
    examples = [Example(f"p_{i:04d}", Path(f"{i}.jpg"), Path(f"{i}.png")) for i in range(count)]
    return DataSet("set", Path(), tuple(examples[::order]), True)


def test_split_is_a_partition_that_depends_on_stems_alone():
    dataset = make_dataset(100)
    train, held_out = sets.split_validation(dataset, 10)
    stems = {example.stem for example in held_out.examples}
    assert len(stems) == 10
    assert len(train.examples) == 90
    assert sorted([*train.examples, *held_out.examples], key=lambda e: e.stem) == list(
        dataset.examples
    )
    assert train.synthetic
    assert held_out.synthetic
    ranks = {e.stem: hashlib.sha256(e.stem.encode()).hexdigest() for e in dataset.examples}
    assert max(ranks[s] for s in stems) < min(ranks[e.stem] for e in train.examples)
    _, again = sets.split_validation(make_dataset(100, order=-1), 10)
    assert {example.stem for example in again.examples} == stems
    # Removing a picture changes the held-out ones by at most that picture's successor.
    smaller = dataclasses.replace(dataset, examples=dataset.examples[1:])
    _, fewer = sets.split_validation(smaller, 10)
    assert len({e.stem for e in fewer.examples} - stems) <= 1


@pytest.mark.parametrize(
    ("count", "wanted", "held"), [(100, 1000, 12), (100, 0, 1), (5, 4, 1), (2, 1, 1), (16, 2, 2)]
)
def test_split_is_bounded(count, wanted, held):
    train, held_out = sets.split_validation(make_dataset(count), wanted)
    assert (len(train.examples), len(held_out.examples)) == (count - held, held)


def test_one_picture_cannot_be_split():
    with pytest.raises(DataSetError, match="too few"):
        sets.split_validation(make_dataset(1), 1)


@needs_samples
def test_sample_portraits():
    train = layouts.training_set(SAMPLES)
    assert len(train.examples) == 8
    assert all(example.facemask.is_file() for example in train.examples)
    found = layouts.find_test_sets(SAMPLES)
    counts = {name: len(layouts.find_test_set(SAMPLES, name).examples) for name in found}
    assert counts == {"P3M-500-P": 2, "P3M-500-NP": 4}


def test_ordinary_faces_stand_beside_blurred_ones_or_in_their_place(tmp_path, p3m, capsys):
    from p3m_jax.data.synthetic.writer import write_synthetic_set

    root = write_synthetic_set(tmp_path / "set", train=2, test=1, size=(64, 48), progress=False)
    blurred, normal = (layouts.training_set(root, faces=faces) for faces in layouts.FACES)
    for one, other in zip(blurred.examples, normal.examples, strict=True):
        assert one.matte == other.matte
        assert one.background == other.background
        assert one.picture.parent.name == "blurred_image"
        assert other.picture.parent.name == "original_image"
        assert other.foreground.parent.name == "fg"
    test = layouts.find_test_set(root, "P3M-500-P", faces="normal").examples[0]
    assert test.picture.parent.name == "original_image"
    # P3M-500-NP has ordinary faces whatever is asked for.
    for faces in (None, *layouts.FACES):
        example = layouts.find_test_set(root, "P3M-500-NP", faces=faces).examples[0]
        assert example.picture.parent.name == "original_image"
    assert p3m("check", root, "--set", "train", "--faces", "normal") == 0
    for file in (root / "train" / "blurred_image").iterdir():
        file.unlink()
    (root / "train" / "blurred_image").rmdir()
    with pytest.raises(DataSetError, match=r"original_image \(normal faces\) and no blurred_image"):
        layouts.training_set(root)
    assert p3m("check", root, "--set", "train") == 1
    assert "faces=normal" in capsys.readouterr().err
