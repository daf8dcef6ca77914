"""Face areas of a data set, and that nothing of them reaches what training sees or keeps.

A fill leaves nothing of a face. So two sets that differ in their faces alone must give the same
batches, caches, losses, weights and sheets, bit for bit.
"""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from p3m_jax.data.folders import DataSetError
from p3m_jax.data.layouts import folder_pair, training_set
from p3m_jax.data.synthetic.writer import write_synthetic_set
from p3m_jax.derived.foregrounds import estimate_missing
from p3m_jax.derived.private_areas import read_obfuscated, with_private_areas
from p3m_jax.faces import weights
from p3m_jax.faces.areas import NO_FACE, NOT_IN_MASK
from p3m_jax.faces.detector import Face
from p3m_jax.faces.finding import COVERED, FoundFace
from p3m_jax.faces.mesh import Landmarks
from p3m_jax.faces.obfuscation import MODES, Obfuscation
from p3m_jax.pictures.images import ImageError, read_picture
from p3m_jax.pictures.labels import read_label_map, read_matte

FACES = Path(__file__).parents[2] / "shared" / "faces"
FILL = Obfuscation("fill")


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two training sets of the same portraits with other faces, and their face areas."""
    folder = tmp_path_factory.mktemp("private")
    sets = []
    for name in ("one", "other"):
        root = write_synthetic_set(folder / name, train=4, test=1, size=(128, 96), progress=False)
        for example in training_set(root, faces="normal").examples:
            # Lossless, or the face would reach beyond itself through JPEG's blocks.
            png = example.picture.with_suffix(".png")
            Image.open(example.picture).save(png)
            example.picture.unlink()
        sets.append(find(training_set(root, faces="normal"), root / "areas"))
    rng = np.random.default_rng(0)
    for example in sets[1].examples:
        area = read_matte(example.private) > 0
        assert area.any()
        for file in (example.picture, example.foreground):
            pixels = read_picture(file).copy()
            pixels[area] = rng.integers(0, 256, (area.sum(), 3))
            Image.fromarray(pixels).save(file)
    return sets


def find(dataset, folder, **options):
    return with_private_areas(dataset, folder, workers=2, progress=False, **options)


def batches(dataset, obfuscation, count=6, **options):
    pytest.importorskip("tensorflow")
    from p3m_jax.input.pipeline import training_batches

    # Also larger crops than the pictures, which are enlarged for them.
    settings = {"batch_size": 2, "crop_sizes": (64, 96, 160), "output_size": 64, "seed": 1}
    stream = training_batches(dataset, obfuscation=obfuscation, **(settings | options))
    return list(itertools.islice(stream, count))


@pytest.fixture(scope="module")
def clear(pair):
    """The batches of the first set, nothing obfuscated."""
    return batches(pair[0], None)


def test_faces_do_not_reach_the_batches(pair, clear):
    one, other = (batches(dataset, FILL) for dataset in pair)
    for first, second in zip(one, other, strict=True):
        for role in first:
            np.testing.assert_array_equal(first[role], second[role])
    both = list(zip(clear, batches(pair[1], None), strict=True))
    assert any((a["picture"] != b["picture"]).any() for a, b in both)
    assert any((a["foreground"] != b["foreground"]).any() for a, b in both)


@pytest.mark.parametrize("mode", MODES)
def test_the_rest_of_a_picture_streams_as_it_is(pair, clear, mode):
    dataset = pair[0]
    areas = {e.stem: read_matte(e.private) > 0 for e in dataset.examples}
    hidden = {e.stem: read_obfuscated(e, Obfuscation(mode)) for e in dataset.examples}
    for example in dataset.examples:
        picture = read_picture(example.picture)
        assert (hidden[example.stem] == picture)[~areas[example.stem]].all()
        assert (hidden[example.stem] != picture)[areas[example.stem]].mean() > 0.5
    for plain, obfuscated in zip(clear, batches(dataset, Obfuscation(mode)), strict=True):
        for role in ("matte", "trimap"):
            np.testing.assert_array_equal(plain[role], obfuscated[role])
        changed = (plain["picture"] != obfuscated["picture"]).any(-1)
        assert changed.mean() < 0.3
        mixed = (plain["matte"][..., 0] > 0) & (plain["matte"][..., 0] < 255)
        assert mixed.any()
        assert not (changed & mixed).any()


def test_streaming_is_obfuscating_the_files(pair, tmp_path):
    """A whole picture through the pipeline equals the obfuscated file through it."""
    dataset = pair[0]
    examples = []
    for example in dataset.examples:
        file = tmp_path / "picture" / f"{example.stem}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(read_obfuscated(example, Obfuscation())).save(file)
        examples.append(replace(example, picture=file))
    files = replace(dataset, examples=tuple(examples))
    options = {"crop_sizes": (96,), "composition": False}
    for streamed, read in zip(
        batches(dataset, Obfuscation(), **options), batches(files, None, **options), strict=True
    ):
        # A crop shows a part of some faces, whose means are then those of the part.
        difference = np.abs(streamed["picture"].astype(int) - read["picture"])
        assert np.median(difference) == 0
        assert difference.mean() < 3


def test_faces_do_not_reach_the_cache_of_foregrounds(pair, tmp_path):
    pytest.importorskip("pymatting")
    made = []
    for name, dataset in zip(("one", "other"), pair, strict=True):
        bare = [replace(e, foreground=None, background=None) for e in dataset.examples[:2]]
        bare = replace(dataset, examples=tuple(bare))
        estimate_missing(bare, tmp_path / name, obfuscation=FILL, workers=1, progress=False)
        made.append({f.name: f.read_bytes() for f in (tmp_path / name).glob("*g/*")})
        with pytest.raises(DataSetError, match="different settings"):
            estimate_missing(bare, tmp_path / name, obfuscation=None, progress=False)
        with pytest.raises(DataSetError, match="different settings"):
            estimate_missing(bare, tmp_path / name, obfuscation=Obfuscation(), progress=False)
    assert len(made[0]) == 4
    assert made[0] == made[1]


def test_face_masks_say_what_is_private_and_an_empty_one_that_nothing_is(pair, tmp_path):
    dataset = pair[0]
    empty = tmp_path / "empty.png"
    Image.fromarray(np.zeros((128, 96), np.uint8)).save(empty)
    first, *rest = dataset.examples
    changed = replace(dataset, examples=(replace(first, facemask=empty), *rest))

    def never(picture):
        raise AssertionError("no face is to be searched for")

    found = find(changed, tmp_path / "cache", finder=never)
    assert not read_matte(found.examples[0].private).any()
    labels = read_matte(found.examples[1].private)
    assert set(np.unique(labels)) == {0, 255}
    assert not labels[read_matte(rest[0].facemask) == 0].any()
    # Found once: the second time nothing is read but the list.
    before = {f: f.stat().st_mtime_ns for f in (tmp_path / "cache" / "private").iterdir()}
    assert find(changed, tmp_path / "cache", finder=never) == found
    assert before == {f: f.stat().st_mtime_ns for f in (tmp_path / "cache" / "private").iterdir()}
    with pytest.raises(DataSetError, match="a different picture or matte"):
        find(dataset, tmp_path / "cache", finder=never)


def found_face(*doubts):
    square = np.array([(30, 20), (60, 20), (60, 60), (30, 60)], np.float32)
    points = np.array([(38, 32), (52, 32), (45, 40), (40, 48), (50, 48)], np.float32)
    face = Face((30.0, 20.0, 30.0, 40.0), 0.9, points)
    return FoundFace(face, Landmarks(square, 1.0, 0.0), square, doubts)


def without_mattes(dataset, folder):
    """The pictures without face masks, all of each opaque: a matte that leaves no face clear."""
    opaque = folder / "opaque.png"
    Image.fromarray(np.full((128, 96), 255, np.uint8)).save(opaque)
    examples = (replace(e, facemask=None, matte=opaque) for e in dataset.examples)
    return replace(dataset, examples=tuple(examples))


def test_a_face_that_its_mask_misses_is_private_and_waits(pair, tmp_path):
    """A mask may be empty by mistake or belong to another picture; a drawn one is true."""
    empty, of_it = tmp_path / "empty.png", tmp_path / "of_it.png"
    Image.fromarray(np.zeros((128, 96), np.uint8)).save(empty)
    mask = np.zeros((128, 96), np.uint8)
    mask[18:62, 28:62] = 255
    Image.fromarray(mask).save(of_it)
    masks = (empty, of_it, empty, of_it)
    photos = without_mattes(replace(pair[0], synthetic=False), tmp_path)
    examples = [replace(e, facemask=m) for e, m in zip(photos.examples, masks, strict=True)]
    photos = replace(photos, examples=tuple(examples))
    seen = {"finder": lambda picture: [found_face(COVERED)]}
    kept = find(photos, tmp_path / "cache", leave_out=True, **seen)
    assert [e.stem for e in kept.examples] == [e.stem for e in photos.examples[1::2]]
    assert (tmp_path / "cache" / "to_review.txt").read_text().count(NOT_IN_MASK) == 2
    for example in photos.examples[::2]:
        assert read_label_map(tmp_path / "cache" / "private" / f"{example.stem}.png")[40, 45]


def test_doubtful_pictures_wait_for_somebody_to_look(pair, tmp_path):
    bare = without_mattes(pair[0], tmp_path)
    answers = iter([[found_face()], [found_face(COVERED), found_face()], [], [found_face()]])
    options = {"finder": lambda picture: next(answers)}
    cache = tmp_path / "cache"
    with pytest.raises(DataSetError, match=r"2 \(.*\) must be reviewed"):
        with_private_areas(bare, cache, workers=1, progress=False, **options)
    lines = [line.split("\t") for line in (cache / "to_review.txt").read_text().splitlines()]
    assert sorted(reason for _, reason in lines) == sorted([COVERED, NO_FACE])
    # Nothing is searched for again, and what was looked at counts.
    kept = find(bare, cache, leave_out=True, **options)
    assert len(kept.examples) == 2
    (cache / "reviewed.txt").write_text((cache / "to_review.txt").read_text())
    assert len(find(bare, cache, **options).examples) == 4


def test_missing_areas_and_wrong_sizes_are_named(pair, tmp_path):
    dataset = pair[0]
    without = replace(dataset, examples=tuple(replace(e, private=None) for e in dataset.examples))
    with pytest.raises(DataSetError, match="no face areas"):
        batches(without, FILL, 1)
    small = tmp_path / "small.png"
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(small)
    wrong = replace(dataset, examples=tuple(replace(e, private=small) for e in dataset.examples))
    with pytest.raises(ImageError, match=r"small\.png: is 9 x 9"):
        batches(wrong, FILL, 1)
    with pytest.raises(ImageError, match=r"small\.png: is 9 x 9 .*; delete it"):
        read_obfuscated(wrong.examples[0], FILL)
    masks = replace(dataset, examples=tuple(replace(e, facemask=small) for e in dataset.examples))
    with pytest.raises(DataSetError, match="4 of 4 face areas could not be found"):
        find(masks, tmp_path / "cache")


def test_training_warns_of_a_strength_that_is_not_safe(pair, tmp_path, capsys):
    from p3m_jax.configs import common
    from p3m_jax.training.data import prepare_data
    from p3m_jax.training.parsing import parse

    config = common.variant("resnet34", "smoke")
    config.data.directory, config.data.faces = str(pair[0].root), "normal"
    config.data.obfuscation, config.loss.composition = "mosaic", False
    for strength, weak in ((0.1, True), (0.125, False)):
        config.data.obfuscation_strength = strength
        wanted = parse(config).data
        prepare_data(wanted, tmp_path)
        warned = "with mosaic 0.1 people may be recognised" in capsys.readouterr().err
        assert warned == weak == wanted.describe_faces().get("below_safe_strength", False)


@pytest.mark.slow
def test_faces_reach_neither_losses_nor_weights_nor_sheets(pair, tmp_path):
    import small_run

    from p3m_jax.checkpoints.weights import load_for_inference
    from p3m_jax.training.loop import train

    left = []
    for name, dataset in zip(("one", "other"), pair, strict=True):
        config = small_run.get_config("smoke")
        config.steps = 2
        config.final_test_sets = ()
        config.data.directory = str(dataset.root)
        config.data.faces = "normal"
        config.data.obfuscation = "fill"
        train(config, tmp_path / name)
        log = [json.loads(line) for line in (tmp_path / name / "log.jsonl").open()]
        losses = [line["total"] for line in log if line["event"] == "step"]
        weights_ = load_for_inference(tmp_path / name / "inference").variables
        sheets = [read_picture(file) for file in sorted((tmp_path / name / "sheets").iterdir())]
        left.append((losses, weights_, sheets))
    assert left[0][0] == left[1][0]
    for one, other in zip(left[0][1], left[1][1], strict=True):
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])
    assert left[0][2]
    for one, other in zip(left[0][2], left[1][2], strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.skipif(not FACES.is_dir(), reason="the pictures of faces are not beside the project")
def test_real_portraits(tmp_path):
    try:
        for name in ("yunet", "mesh"):
            weights.find_weights(name)
    except weights.FaceWeightsError:
        pytest.skip("weights are not installed")
    mattes = FACES / "alpha_prediction"
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for matte in sorted(mattes.iterdir())[6:12]:  # each shows one person and nothing doubtful
        (source,) = (FACES / "pictures").glob(f"{matte.stem}.*")
        (pictures / source.name).symlink_to(source)
    chosen = tmp_path / "mattes"
    chosen.mkdir()
    for picture in pictures.iterdir():
        (chosen / f"{picture.stem}.png").symlink_to(mattes / f"{picture.stem}.png")
    dataset = find(folder_pair(pictures, chosen), tmp_path / "cache", leave_out=True)
    assert len(dataset.examples) == 6
    for example in dataset.examples:
        picture, hidden = read_picture(example.picture), read_obfuscated(example, Obfuscation())
        area = read_matte(example.private) > 0
        assert (picture[~area] == hidden[~area]).all()
        assert area.any()
