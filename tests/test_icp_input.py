"""Batches with faces pasted at image level: what may change, determinism, whose faces they are."""

import itertools
from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("tensorflow")
from p3m_jax.copy_paste.recipe import CopyPaste, FaceSource
from p3m_jax.copy_paste.samples import find_pasting
from p3m_jax.copy_paste.sources import synthetic_faces, training_set_faces
from p3m_jax.data.layouts import training_set
from p3m_jax.data.synthetic.writer import write_synthetic_set
from p3m_jax.derived.private_areas import with_private_areas
from p3m_jax.faces.obfuscation import Obfuscation
from p3m_jax.input import augment, host_tensorflow
from p3m_jax.input.pipeline import load_sample, training_batches
from p3m_jax.pictures.images import ImageError, read_picture
from p3m_jax.pictures.labels import read_matte

tf = host_tensorflow()
PASTED = ("picture", "foreground")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("icp") / "set"
    return write_synthetic_set(folder, train=4, test=1, size=(128, 96), progress=False)


@pytest.fixture(scope="module")
def dataset(root):
    return training_set(root)


@pytest.fixture(scope="module")
def faces(root):
    return synthetic_faces(root)


def batches(dataset, copy_paste, count=5, **options):
    settings = {"batch_size": 4, "crop_sizes": (64, 96, 112), "output_size": 64, "seed": 2}
    settings |= options
    drawn = {"seed": settings["seed"], "obfuscation": settings.get("obfuscation")}
    pasting = find_pasting(copy_paste, dataset.examples, **drawn)
    stream = training_batches(dataset, pasting=pasting, **settings)
    return list(itertools.islice(stream, count))


@pytest.fixture(scope="module")
def plain(dataset):
    """Batches without copy and paste."""
    return batches(dataset, None, facemasks=True)


def assert_same(one, other):
    assert one.keys() == other.keys()
    for role in one:
        np.testing.assert_array_equal(one[role], other[role])


@pytest.mark.parametrize("variant", ["augment", "fill"])
def test_batches_change_inside_faces_alone(dataset, faces, plain, variant):
    recipe = CopyPaste(faces, probability=1.0, variant=variant)
    pasted = 0
    for one, other in zip(plain, batches(dataset, recipe, facemasks=True), strict=True):
        assert one.keys() == other.keys()
        inside = (one["facemask"] > 0) & (one["trimap"] == 255)
        for role in one.keys() - {*PASTED}:
            np.testing.assert_array_equal(one[role], other[role])
        changed = (one["picture"] != other["picture"]).any(-1)
        assert not changed[~inside[..., 0]].any()
        assert (one["matte"][changed] == 255).all()
        assert not (one["foreground"] != other["foreground"]).any(-1)[~inside[..., 0]].any()
        np.testing.assert_array_equal(other["picture"][changed], other["foreground"][changed])
        pasted += changed.any((1, 2)).sum()
    assert pasted > 8


def test_probability_0_and_no_masks_are_the_plain_recipe(dataset, faces, plain, tmp_path):
    never = CopyPaste(faces, probability=0.0)
    for one, other in zip(plain, batches(dataset, never, facemasks=True), strict=True):
        assert_same(one, other)
    black = tmp_path / "black.png"
    Image.fromarray(np.zeros((256, 256), np.uint8)).save(black)
    empty = tuple(face._replace(mask=black) for face in faces)
    # Nor does it where the target has none.
    first, second, *others = dataset.examples
    bare = replace(dataset, examples=(replace(first, facemask=None), second, *others))
    always = CopyPaste(empty, probability=1.0)
    for one, other in zip(plain, batches(bare, always), strict=True):
        assert one.keys() - {"facemask"} == other.keys()
        for role, values in other.items():
            np.testing.assert_array_equal(values, one[role])


def test_batches_follow_from_seed_and_step(dataset, faces, plain):
    recipe = CopyPaste(faces)
    first = batches(dataset, recipe, workers=1)
    share = np.mean(
        [(a["picture"] != b["picture"]).any((1, 2, 3)) for a, b in zip(first, plain, strict=True)]
    )
    assert 0.1 < share < 0.7
    later = batches(dataset, recipe, 3, start_step=2, workers=3, shard=(1, 2))
    for whole, half in zip(first[2:], later, strict=True):
        assert_same({role: values[2:] for role, values in whole.items()}, half)


def test_with_obfuscation_the_private_areas_are_the_target(root, faces, tmp_path):
    clear = with_private_areas(
        training_set(root, faces="normal"), tmp_path, workers=2, progress=False
    )
    fill = Obfuscation("fill")
    pasted = 0
    for hidden, other in zip(
        batches(clear, None, obfuscation=fill),
        batches(clear, CopyPaste(faces, probability=1.0), obfuscation=fill),
        strict=True,
    ):
        changed = (hidden["picture"] != other["picture"]).any(-1)
        # A fill is black but for the seam of resizing.
        assert (hidden["picture"][changed].max(-1) < 200).all()
        pasted += changed.any((1, 2)).sum()
        for role in hidden.keys() - {*PASTED}:
            np.testing.assert_array_equal(hidden[role], other[role])
    assert pasted > 8


def test_faces_of_the_training_set_are_those_of_others(dataset, tmp_path):
    """Every picture has a colour of its own where its face is, so one sees whose face it is."""
    colours = {}
    examples = []
    for number, example in enumerate(dataset.examples[:3]):
        picture = read_picture(example.picture).copy()
        picture[read_matte(example.facemask) > 0] = colours[number] = 50 + 60 * number
        path = tmp_path / f"{example.stem}.png"
        Image.fromarray(picture).save(path)
        examples.append(replace(example, picture=path))
    coloured = replace(dataset, examples=tuple(examples))
    recipe = CopyPaste(training_set_faces(coloured, obfuscated=False), 1.0, "vanilla")
    own = others = 0
    options = {"composition": False, "facemasks": True, "crop_sizes": (64,)}
    plain = batches(coloured, None, 6, **options)
    for one, other in zip(plain, batches(coloured, recipe, 6, **options), strict=True):
        masks = ((one["facemask"] > 0) & (one["trimap"] == 255)).astype(np.uint8)
        for before, after, mask in zip(one["picture"], other["picture"], masks, strict=True):
            core = cv2.erode(mask, np.ones((3, 3))) > 0
            if core.sum() > 20:
                changed = (before != after).any(-1)[core].mean()
                own, others = own + (changed < 0.1), others + (changed > 0.3)
    assert own == 0
    assert others >= 6


def test_obfuscated_training_sets_copy_obfuscated_faces(root, tmp_path):
    """Two sets that differ in their faces alone give the same batches where faces are filled."""
    streams = []
    for name, noise in (("one", 0), ("other", 1)):
        examples = []
        for example in training_set(root, faces="normal").examples:
            area = read_matte(example.facemask) > 0
            parts = {}
            for role in PASTED:
                values = read_picture(getattr(example, role)).copy()
                values[area] = np.random.default_rng(noise).integers(0, 256, (area.sum(), 3))
                parts[role] = tmp_path / name / f"{role}_{example.stem}.png"
                parts[role].parent.mkdir(exist_ok=True)
                Image.fromarray(values).save(parts[role])
            examples.append(replace(example, **parts))
        noisy = replace(training_set(root), examples=tuple(examples))
        noisy = with_private_areas(noisy, tmp_path / "areas" / name, workers=2, progress=False)
        # No transition area: what is left clear of a face would be copied as it is.
        for example in noisy.examples:
            Image.fromarray(read_matte(example.facemask)).save(example.private)
        recipe = CopyPaste(training_set_faces(noisy, obfuscated=True), probability=1.0)
        streams.append(batches(noisy, recipe, obfuscation=Obfuscation("fill")))
    for one, other in zip(*streams, strict=True):
        assert_same(one, other)


def test_sources_that_cannot_be_read_are_named(dataset, faces, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(faces[0].picture.read_bytes()[:900])
    wrong = (FaceSource("broken", broken, faces[0].mask),)
    with pytest.raises(Exception, match=r"broken\.jpg"):
        batches(dataset, CopyPaste(wrong, probability=1.0))
    small = tmp_path / "small.png"
    Image.fromarray(np.full((9, 9), 255, np.uint8)).save(small)
    wrong = (FaceSource("small", faces[0].picture, small),)
    with pytest.raises(
        ImageError, match=r"small\.png: is 9 x 9 pixels, but its picture is 256 x 256"
    ):
        find_pasting(CopyPaste(wrong), dataset.examples, seed=0).diagnose(0, 0)


def test_of_a_face_that_the_crop_cuts_the_whole_box_counts(tmp_path):
    """The picture holds its own coordinates, so a crop says where it was taken."""
    size, crop, face = (120, 96), 48, (slice(40, 70), slice(30, 62))
    y, x = np.mgrid[: size[0], : size[1]].astype(np.uint8)
    mask = np.zeros(size, np.uint8)
    mask[face] = 255
    matte = np.zeros(size, np.uint8)
    matte[20:110, 10:80] = 255
    files = {"picture": np.stack([x, y, 0 * x], -1), "matte": matte, "target": mask}
    for role, values in files.items():
        Image.fromarray(values).save(tmp_path / f"{role}.png")
    names = {role: tf.constant(str(tmp_path / f"{role}.png")) for role in files}

    @tf.function(autograph=False)
    def load(number):
        draws = augment.draw(0, number, (crop,))
        return load_sample(
            names, draws, crop_sizes=(crop,), output_size=crop, target=tf.constant(True)
        )

    cut = 0
    for number in range(30):
        sample = {role: values.numpy() for role, values in load(tf.constant(number)).items()}
        columns, rows = sample["picture"][0, :, 0], sample["picture"][:, 0, 1]
        flipped = columns[0] > columns[-1]
        left = int(columns[0]) - 61 if flipped else 30 - int(columns[0])
        shown = mask[rows][:, columns]
        if shown.any():
            box = [[left, 40 - int(rows[0])], [32, 30]]
            np.testing.assert_array_equal(sample["target_box"], box)
        np.testing.assert_array_equal(sample["target"][..., 0], shown)
        cut += 0 < (shown > 0).sum() < 30 * 32
    assert cut > 5
