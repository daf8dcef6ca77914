"""Pasting faces at image level: geometry, what may change and what may not, determinism."""

import itertools
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("tensorflow")
from p3m_jax.copy_paste import geometry
from p3m_jax.copy_paste.geometry import Draws
from p3m_jax.copy_paste.image import Face, paste_face, read_face, square_face, target_of
from p3m_jax.copy_paste.recipe import VARIANTS, CopyPaste, FaceSource
from p3m_jax.copy_paste.sources import folder_faces, synthetic_faces, training_set_faces
from p3m_jax.data.layouts import DataSetError, training_set
from p3m_jax.data.synthetic import write_synthetic_set
from p3m_jax.faces import weights
from p3m_jax.faces.obfuscation import Obfuscation
from p3m_jax.images import read_matte, read_picture
from p3m_jax.input import augment, host_tensorflow, pipeline
from p3m_jax.input.pipeline import training_batches
from p3m_jax.input.private import with_private_areas

tf = host_tensorflow()
SHARED = Path(__file__).parents[2] / "shared"
PUBLIC = SHARED / "faces" / "pictures"
PASTED = ("picture", "foreground")
STILL = Draws(tf.constant(True), tf.constant(0.0), tf.ones(2), tf.constant(False))


def turned(degrees=0.0, scale=(1.0, 1.0), flip=False):
    radians = tf.constant(np.radians(degrees), tf.float32)
    return Draws(tf.constant(True), radians, tf.constant(scale, tf.float32), tf.constant(flip))


def blob(size, seed, *, threshold=0.2):
    """A random mask with one part, away from the edges."""
    noise = cv2.GaussianBlur(np.random.default_rng(seed).standard_normal(size), (0, 0), 5)
    noise[:3], noise[-3:], noise[:, :3], noise[:, -3:] = -1, -1, -1, -1
    _, parts = cv2.connectedComponents((noise / noise.std() > threshold).astype(np.uint8))
    return parts == 1 + np.bincount(parts[parts > 0]).argmax() - 1


def paste(picture, mask, target_mask, draws, variant="augment", target=None):
    """The target's pictures, by default grey ones, with a face pasted."""
    if target is None:
        target = np.full((*target_mask.shape, 3), 99, np.uint8)
    sample = {"picture": tf.constant(target), "foreground": tf.constant(target)}
    face = Face(tf.constant(picture), tf.constant(mask))
    done = paste_face(sample, face, tf.constant(target_mask), draws, variant)
    np.testing.assert_array_equal(done["picture"], done["foreground"])
    return done["picture"].numpy()


def box(mask):
    left_top, sides = (value.numpy() for value in geometry.box(tf.constant(mask)))
    return left_top, sides


def corners(size=64, part=32):
    """A square face whose quarters have the numbers 10, 20 (right), 30 (below), 40."""
    mask, picture = np.zeros((size, size), bool), np.full((size, size, 3), 200, np.uint8)
    first = (size - part) // 2
    mask[first : first + part, first : first + part] = True
    half = size // 2
    picture[:half, :half], picture[:half, half:] = 10, 20
    picture[half:, :half], picture[half:, half:] = 30, 40
    return picture, mask


def quarters(picture):
    """The values in the middles of the quarters of a face as large as that of `corners`."""
    middle = picture.shape[0] // 2
    return [int(picture[middle + y, middle + x, 0]) for y in (-8, 8) for x in (-8, 8)]


def test_flips_and_rotations_go_the_right_way():
    picture, mask = corners()
    whole = np.ones((48, 48), bool)
    whole[:8] = whole[-8:] = whole[:, :8] = whole[:, -8:] = False
    assert quarters(paste(picture, mask, whole, STILL)) == [10, 20, 30, 40]
    assert quarters(paste(picture, mask, whole, turned(flip=True))) == [20, 10, 40, 30]
    # Clockwise by a quarter: what was left above is right above.
    assert quarters(paste(picture, mask, whole, turned(90))) == [30, 10, 40, 20]
    assert quarters(paste(picture, mask, whole, turned(-90))) == [20, 40, 10, 30]
    # Flipped first, turned then.
    assert quarters(paste(picture, mask, whole, turned(90, flip=True))) == [40, 20, 30, 10]


def test_scales_are_of_width_and_height():
    picture, mask = corners()
    whole = np.ones((96, 96), bool)
    whole[:32] = whole[-32:] = whole[:, :32] = whole[:, -32:] = False  # as large as the face
    for scale in ((0.5, 1.0), (1.0, 0.5), (0.75, 0.5)):
        changed = (paste(picture, mask, whole, turned(scale=scale)) != 99).any(-1)
        np.testing.assert_allclose(box(changed)[1], 32 * np.array(scale), atol=1)
    # Half as large a face is enlarged to the target's area, whatever its form.
    for size, sides in (((24, 12), (12, 24)), ((10, 40), (40, 10))):
        _, small = corners(64, 8)
        target = np.zeros((96, 96), bool)
        target[20 : 20 + size[0], 30 : 30 + size[1]] = True
        laid = geometry.transform(tf.constant(small), tf.constant(target), STILL, "vanilla")
        np.testing.assert_allclose(
            geometry.scales(laid.matrix), np.sqrt(np.prod(sides) / 64) * np.ones(2), rtol=1e-5
        )
        laid = geometry.transform(tf.constant(small), tf.constant(target), STILL, "fill")
        np.testing.assert_allclose(geometry.scales(laid.matrix), np.array(sides) / 8, rtol=1e-5)
        filled = paste(*corners(64, 8), target, STILL, "fill")
        assert ((filled != 99).any(-1) == target).all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_centres_coincide(variant):
    rng = np.random.default_rng(0)
    for seed in range(12):
        source, target = blob((70, 90), seed), blob((80, 64), 100 + seed)
        draws = STILL
        if variant == "augment":
            draws = turned(rng.uniform(-30, 30), rng.uniform(0.8, 1.2, 2), bool(seed % 2))
        laid = geometry.transform(tf.constant(source), tf.constant(target), draws, variant)
        assert laid.paste
        # The transformed mask on a canvas that it does not leave, by OpenCV, eight times as fine:
        # the pixels of the target itself miss tips of these masks that are thinner than one.
        room, fine = 100, 8
        matrix = laid.matrix.numpy().astype(np.float64)
        matrix[:, 2] -= matrix[:, :2] @ [room, room]
        matrix[:, :2] /= fine
        matrix[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5
        large = cv2.warpAffine(
            source.astype(np.float32),
            matrix,
            (fine * (2 * room + 64), fine * (2 * room + 80)),
            flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
        )
        found, expected = [value / fine for value in box(large > 0)], box(target)
        centre = found[0] - room + found[1] / 2
        np.testing.assert_allclose(centre, expected[0] + expected[1] / 2, atol=0.15)
        if variant == "fill":
            np.testing.assert_allclose(found[1], expected[1], atol=0.3)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_face_pasted_onto_itself_is_itself(variant):
    for seed in range(4):
        mask = blob((64, 80), seed)
        picture = np.random.default_rng(seed).integers(0, 256, (64, 80, 3), dtype=np.uint8)
        grey = np.full_like(picture, 7)
        done = paste(picture, mask, mask, STILL, variant, grey)
        np.testing.assert_array_equal(done, np.where(mask[..., None], picture, grey))


def test_nothing_changes_outside_and_by_empty_masks():
    for seed in range(8):
        source, target = blob((70, 90), seed), blob((80, 64), 100 + seed)
        picture = np.random.default_rng(seed).integers(0, 256, (70, 90, 3), dtype=np.uint8)
        before = np.random.default_rng(-seed + 99).integers(0, 256, (80, 64, 3), dtype=np.uint8)
        draws = turned(25, (0.8, 1.2), True)
        after = paste(picture, source, target, draws, target=before)
        changed = (after != before).any(-1)
        assert changed.any()
        assert not changed[~target].any()
        for one, other in ((source & False, target), (source, target & False)):
            same = paste(picture, one, other, draws, target=before)
            np.testing.assert_array_equal(same, before)


def test_a_large_source_is_averaged_not_sampled():
    picture = np.zeros((256, 256, 3), np.uint8)
    picture[::2] = 200  # stripes of one pixel, whose mean is 100
    mask = np.zeros((256, 256), bool)
    mask[32:224, 32:224] = True
    target = np.zeros((48, 48), bool)
    target[12:36, 12:36] = True
    done = paste(picture, mask, target, turned(20))
    inside = cv2.erode((done != 99).any(-1).astype(np.uint8), np.ones((5, 5))) > 0
    assert inside.sum() > 150
    assert np.abs(done[inside].astype(int) - 100).max() <= 2


def test_the_largest_face_counts():
    labels = np.zeros((40, 40), np.uint8)
    labels[2:9, 2:9], labels[12:36, 12:36], labels[0, 39] = 255, 254, 253
    assert (geometry.largest_face(tf.constant(labels)).numpy() == (labels == 254)).all()
    assert not geometry.largest_face(tf.zeros([40, 40], tf.uint8)).numpy().any()
    tiny = np.zeros((40, 40), np.uint8)
    tiny[1:3, 1:3] = 101
    assert (geometry.largest_face(tf.constant(tiny)).numpy() == (tiny > 0)).all()


def test_draws_keep_to_their_ranges_and_follow_from_seed_and_number():
    recipe = CopyPaste((), probability=0.5)
    draw = tf.function(lambda number: geometry.draw(5, number, recipe), autograph=False)
    drawn = [draw(tf.constant(number, tf.int64)) for number in range(400)]
    assert 0.4 < np.mean([d.paste for d in drawn]) < 0.6
    assert 0.4 < np.mean([d.flip for d in drawn]) < 0.6
    angles = np.degrees([d.rotation for d in drawn])
    assert -30 <= angles.min() < -25
    assert 25 < angles.max() <= 30
    scales = np.array([d.scale for d in drawn])
    assert 0.8 <= scales.min() < 0.82
    assert 1.18 < scales.max() <= 1.2
    assert abs(np.corrcoef(scales.T)[0, 1]) < 0.2
    for other in ("vanilla", "fill"):
        alike = [geometry.draw(5, n, recipe._replace(variant=other)) for n in range(20)]
        assert [bool(d.paste) for d in alike] == [bool(d.paste) for d in drawn[:20]]
        assert all(d.rotation == 0 and not d.flip and (d.scale == 1).numpy().all() for d in alike)
    assert not any(geometry.draw(5, n, recipe._replace(probability=0.0)).paste for n in range(50))
    assert all(geometry.draw(5, n, recipe._replace(probability=1.0)).paste for n in range(50))


def test_a_batch_takes_different_faces():
    for count, places in ((1, 3), (5, 5), (30000, 8)):
        for step in range(3):
            taken = [int(geometry.source_at(step, place, count, 3)) for place in range(places)]
            assert all(0 <= number < count for number in taken)
            assert len(set(taken)) == min(count, places)
    every = {int(geometry.source_at(step, 0, 5, 3)) for step in range(40)}
    assert every == set(range(5))
    assert [int(geometry.source_at(s, 0, 999, 3)) for s in range(5)] != [
        int(geometry.source_at(s, 0, 999, 4)) for s in range(5)
    ]


def test_square_faces():
    picture, mask = corners(64, 32)
    face = square_face(Face(tf.constant(picture[:, :48]), tf.constant(mask[:, :48])), 32)
    assert face.picture.shape == (32, 32, 3)
    assert face.picture.dtype == tf.uint8
    expected = np.zeros((32, 32), bool)
    expected[8:24, 8:24] = True
    np.testing.assert_array_equal(face.mask, expected)
    assert (face.picture.numpy()[[9, 9, 22, 22], [9, 22, 9, 22], 0] == [10, 20, 30, 40]).all()
    assert not face.picture.numpy()[:, 26:].any()
    laid = geometry.transform(face.mask, tf.constant(expected), STILL, "augment")
    np.testing.assert_array_equal(laid.matrix, [[1, 0, 0], [0, 1, 0]])


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
    stream = training_batches(dataset, copy_paste=copy_paste, **(settings | options))
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
    later = batches(dataset, recipe, 2, start_step=3, workers=3)
    for one, other in zip(first[3:], later, strict=True):
        assert_same(one, other)
    for whole, half in zip(first[:2], batches(dataset, recipe, 2, shard=(1, 2)), strict=True):
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
    with pytest.raises(DataSetError, match=r"small\.png: is 9 x 9 pixels, its picture 256 x 256"):
        pipeline._diagnose_source(wrong, 0, 0, 0)


@pytest.fixture(scope="module")
def public(tmp_path_factory):
    """Some of the real faces beside the project, with masks from landmarks."""
    if not PUBLIC.is_dir():
        pytest.skip("the pictures of faces are not beside the project")
    try:
        for name in ("yunet", "mesh"):
            weights.find_weights(name)
    except weights.FaceWeightsError:
        pytest.skip("weights are not installed")
    folder = tmp_path_factory.mktemp("public")
    (folder / "pictures").mkdir()
    chosen = [*sorted(PUBLIC.glob("us_congress*"))[:5], *sorted(PUBLIC.glob("*obama.jpg"))[:1]]
    for path in chosen:
        (folder / "pictures" / path.name).symlink_to(path)
    faces = folder_faces(folder / "pictures", cache=folder / "masks", progress=False)
    assert len(faces) >= 5
    return faces


@pytest.mark.parametrize("variant", VARIANTS)
def test_real_faces_on_themselves(public, variant):
    for source in public[:3]:
        face = read_face(str(source.picture), str(source.mask))
        picture, mask = read_picture(source.picture), read_matte(source.mask) > 0
        grey = np.full_like(picture, 128)
        done = paste(face.picture.numpy(), face.mask.numpy(), mask, STILL, variant, grey)
        np.testing.assert_array_equal(done, np.where(mask[..., None], picture, grey))


def test_real_faces_on_real_portraits(public, samples):
    portraits = training_set(samples)
    options = {
        "batch_size": 8,
        "crop_sizes": (768,),
        "output_size": 256,
        "composition": False,
        "facemasks": True,
    }
    plain = batches(portraits, None, 1, **options)[0]
    pasted = batches(portraits, CopyPaste(public, probability=1.0), 1, **options)[0]
    inside = ((plain["facemask"] > 0) & (plain["trimap"] == 255))[..., 0]
    changed = (plain["picture"] != pasted["picture"]).any(-1)
    assert changed.any((1, 2)).sum() >= 2
    assert not changed[~inside].any()
    for area, mask in zip(changed, inside, strict=True):
        if mask.sum() > 400:  # of a face of that size much is covered
            assert area[mask].mean() > 0.4
    for role in ("matte", "trimap", "facemask"):
        np.testing.assert_array_equal(plain[role], pasted[role])


def test_centres_of_real_faces(public):
    target = np.zeros((256, 256), bool)
    cv2.ellipse(target.view(np.uint8), (120, 130), (50, 60), 0, 0, 360, 1, -1)
    for number, source in enumerate(public):
        face = read_face(str(source.picture), str(source.mask))
        draws = turned(-30 + 12 * number, (0.8, 0.8), bool(number % 2))  # lies inside the target
        white = np.full(face.picture.shape, 255, np.uint8)
        everywhere = np.zeros_like(target)
        # A square about the target's centre, wide enough to cut nothing, of the target's area.
        laid = geometry.transform(face.mask, tf.constant(target), draws, "augment")
        scale = geometry.scales(laid.matrix).numpy()
        everywhere[10:251, 0:241] = True
        whole = geometry.transform(face.mask, tf.constant(everywhere), draws, "augment")
        ratio = float(scale[0] / geometry.scales(whole.matrix).numpy()[0])
        draws = draws._replace(scale=draws.scale * ratio)
        done = paste(white, face.mask.numpy(), everywhere, draws)
        left_top, sides = box((done != 99).any(-1))
        assert sides.max() < 230
        np.testing.assert_allclose(left_top + sides / 2, (120.5, 130.5), atol=0.5)


def test_target_is_face_and_foreground():
    sample = {"trimap": tf.constant(np.array([[255, 128, 0, 255]], np.uint8)[..., None])}
    mask = tf.constant(np.array([[255, 255, 255, 0]], np.uint8)[..., None])
    np.testing.assert_array_equal(target_of(sample, mask), [[True, False, False, False]])


def test_the_plain_draws_do_not_meet_those_of_copy_and_paste():
    """The same seeds would tie crops to pastes."""
    plain = [augment.draw(0, number, (64,)) for number in range(64)]
    drawn = [geometry.draw(0, number, CopyPaste(())) for number in range(64)]
    same = np.mean([bool(p.flip) == bool(d.flip) for p, d in zip(plain, drawn, strict=True)])
    assert 0.25 < same < 0.75
