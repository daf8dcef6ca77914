"""Batches as a pure function of (seed, step), their contents, and the pipeline's errors."""

import itertools
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("tensorflow")
from p3m_jax.data.folders import DataSetError
from p3m_jax.data.layouts import training_set
from p3m_jax.data.sets import DataSet, Example
from p3m_jax.faces.obfuscation import Obfuscation
from p3m_jax.input import augment, host_tensorflow
from p3m_jax.input.decode import decode_matte, decode_picture, decode_window
from p3m_jax.input.pipeline import example_at, load_sample, training_batches
from p3m_jax.pictures.images import ImageError, read_picture
from p3m_jax.pictures.labels import LabelError, read_face_mask, read_matte

tf = host_tensorflow()
SAMPLES = Path(__file__).parents[2] / "shared" / "p3m_samples"
CROPS, OUTPUT = (64, 96), 64
# The last picture is smaller than every crop; one shorter side equals the larger crop.
PICTURE_SIZES = ((120, 150), (160, 96), (97, 131), (100, 210), (40, 52))


def smooth(height, width, channels, rng):
    noise = cv2.GaussianBlur(rng.standard_normal((height, width, channels)), (0, 0), 6)
    noise = noise.reshape(height, width, channels)
    return np.clip(128 + 60 * noise / noise.std(), 0, 255).astype(np.uint8)


def write_example(root, number, size, *, colours=3):
    """One example; its matte has one channel, or with colours=3 three equal ones."""
    rng = np.random.default_rng(number)
    matte = np.clip(4 * (smooth(*size, 1, rng).astype(int) - 100), 0, 255).astype(np.uint8)
    foreground, background = smooth(*size, 3, rng), smooth(*size, 3, rng)
    alpha = matte / 255
    picture = np.rint(alpha * foreground + (1 - alpha) * background).astype(np.uint8)
    facemask = np.where(smooth(*size, 1, rng) > 128, 255, 0).astype(np.uint8)
    if colours == 3:
        matte = np.concatenate([matte] * 3, -1)
    files = {
        "picture": (picture, "jpg" if number % 2 else "png"),
        "matte": (matte if colours == 3 else matte[..., 0], "png"),
        "foreground": (foreground, "png"),
        "background": (background, "png"),
        "facemask": (facemask[..., 0], "png"),
    }
    paths = {}
    for role, (values, ending) in files.items():
        path = root / role / f"p_{number}.{ending}"
        path.parent.mkdir(exist_ok=True)
        options = {"quality": 90, "subsampling": 2} if ending == "jpg" else {}
        Image.fromarray(values).save(path, **options)
        paths[role] = path
    return Example(f"p_{number}", **paths)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("portraits")
    examples = [
        write_example(root, i, size, colours=1 + 2 * (i % 2))
        for i, size in enumerate(PICTURE_SIZES)
    ]
    examples[2] = replace(examples[2], facemask=None)
    return DataSet("small", root, tuple(examples), synthetic=False)


def batches(dataset, **changes):
    options = {"batch_size": 4, "crop_sizes": CROPS, "output_size": OUTPUT, "seed": 3}
    return training_batches(dataset, **(options | {"facemasks": True} | changes))


@pytest.fixture(scope="module")
def first(dataset):
    """The batches of the first steps."""
    return list(itertools.islice(batches(dataset, workers=1), 8))


def assert_same(one, other):
    assert one.keys() == other.keys()
    for role in one:
        np.testing.assert_array_equal(one[role], other[role])


def test_shapes_and_values(dataset, first):
    batch = first[0]
    channels = {role: value.shape[-1] for role, value in batch.items()}
    assert channels == {
        "picture": 3, "matte": 1, "trimap": 1, "foreground": 3, "background": 3, "facemask": 1,
    }  # fmt: skip
    for value in batch.values():
        assert value.dtype == np.uint8
        assert value.shape[:3] == (4, OUTPUT, OUTPUT)
    assert set(np.unique(batch["trimap"])) <= {0, 128, 255}
    assert set(np.unique(batch["facemask"])) <= {0, 255}
    assert next(batches(dataset, composition=False, facemasks=False)).keys() == {
        "picture", "matte", "trimap",
    }  # fmt: skip


def test_batches_depend_on_seed_and_step_alone(dataset, first):
    later = itertools.islice(batches(dataset, workers=3, start_step=3), 5)
    for batch, expected in zip(later, first[3:], strict=True):
        assert_same(batch, expected)
    other = next(batches(dataset, seed=4))
    assert not np.array_equal(other["picture"], first[0]["picture"])
    assert not np.array_equal(first[0]["picture"], first[5]["picture"])


def test_parts_of_several_processes_make_the_whole_batch(dataset, first):
    whole = first[2:4]
    parts = [
        list(itertools.islice(batches(dataset, start_step=2, shard=(i, 2)), 2)) for i in range(2)
    ]
    for step in range(2):
        joined = {
            role: np.concatenate([part[step][role] for part in parts]) for role in whole[step]
        }
        assert_same(joined, whole[step])


def test_every_epoch_is_a_permutation():
    order = tf.function(example_at, autograph=False)
    for count in (1, 2, 7, 40):
        epochs = [[int(order(e * count + i, count, 0)) for i in range(count)] for e in range(3)]
        for epoch in epochs:
            assert sorted(epoch) == list(range(count))
        assert count < 7 or epochs[0] != epochs[1] != epochs[2]
    assert [int(order(i, 40, 1)) for i in range(40)] != epochs[0]


def resized(image, size):
    """OpenCV's bilinear resize in floating point, rounded."""
    return np.floor(cv2.resize(image.astype(np.float64), size) + 0.5).astype(np.uint8)


def expected_sample(example, draws):
    """The sample computed with OpenCV and NumPy from the same draws."""
    kernel, drawn, on_transition, pixel, flip = (int(value) for value in draws)
    matte = read_matte(example.matte)
    side = drawn if min(matte.shape) > drawn else min(CROPS)
    maps = {
        "picture": read_picture(example.picture),
        "foreground": read_picture(example.foreground),
        "background": read_picture(example.background),
        "matte": matte,
    }
    if example.facemask:
        maps["facemask"] = read_matte(example.facemask)
    shorter = min(matte.shape)
    if shorter < side:
        height, width = (round(length * side / shorter) for length in matte.shape)
        maps = {role: resized(value, (width, height)) for role, value in maps.items()}
    matte = maps["matte"]
    ellipse = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (kernel, kernel))
    dilated = cv2.dilate((matte != 0).astype(np.uint8), ellipse)
    eroded = cv2.erode((matte == 255).astype(np.uint8), ellipse)
    maps["trimap"] = np.where(eroded, 255, np.where(dilated, 128, 0)).astype(np.uint8)
    transition = np.argwhere(maps["trimap"] == 128)
    if on_transition and len(transition):
        row, column = transition[pixel % len(transition)]
    else:
        row, column = divmod(pixel % matte.size, matte.shape[1])
    top = np.clip(row - side // 2, 0, matte.shape[0] - side)
    left = np.clip(column - side // 2, 0, matte.shape[1] - side)
    for role, value in maps.items():
        value = resized(value[top : top + side, left : left + side], (OUTPUT, OUTPUT))
        maps[role] = value[:, ::-1] if flip else value
    trimap = maps["trimap"]
    maps["trimap"] = np.where(trimap > 180, 255, np.where(trimap < 50, 0, 128))
    maps["facemask"] = 255 * (maps.get("facemask", np.zeros_like(matte[:OUTPUT])) > 100)
    return {role: np.atleast_3d(value).astype(int) for role, value in maps.items()}, side


def test_samples_equal_an_independent_computation(dataset, first):
    sides = set()
    for step, batch in enumerate(first):
        for i in range(4):
            number = 4 * step + i
            index = int(example_at(number, len(dataset.examples), 3))
            example = dataset.examples[index]
            expected, side = expected_sample(example, augment.draw(3, number, CROPS))
            small = min(PICTURE_SIZES[index]) < side
            sides.add((side, small))
            for role, values in expected.items():
                if role == "facemask" and example.facemask is None:
                    assert not batch[role][i].any()
                    continue
                difference = np.abs(batch[role][i] - values)
                if role in ("trimap", "facemask"):
                    # Thresholds turn a difference of one grey level into a large one, rarely.
                    assert np.mean(difference > 0) < 0.002, (role, side, small)
                else:
                    resampled = small or side != OUTPUT
                    assert difference.max() <= int(resampled), (role, side, small)
    assert sides == {(64, False), (96, False), (64, True)}


def test_the_parts_of_a_sample_belong_together(dataset):
    """I = alpha F + (1 - alpha) B survives cropping and flipping (resizing would bend it)."""
    lossless = replace(dataset, examples=tuple(e for e in dataset.examples[:4:2]))
    for batch in itertools.islice(batches(lossless, crop_sizes=(OUTPUT,)), 4):
        alpha = batch["matte"] / 255
        composite = alpha * batch["foreground"] + (1 - alpha) * batch["background"]
        assert np.abs(composite - batch["picture"]).max() <= 0.5 + 1e-6
        wrong = alpha[:, :, ::-1]
        composite = wrong * batch["foreground"] + (1 - wrong) * batch["background"]
        assert np.abs(composite - batch["picture"]).max() > 10


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_decoding_equals_pillow_and_windows_equal_the_whole(tmp_path, subsampling):
    picture = np.random.default_rng(0).integers(0, 256, (75, 90, 3), dtype=np.uint8)
    for ending in ("jpg", "png"):
        path = tmp_path / f"picture.{ending}"
        Image.fromarray(picture).save(path, subsampling=subsampling)
        contents = tf.io.read_file(str(path))
        whole = decode_picture(contents).numpy()
        np.testing.assert_array_equal(whole, read_picture(path))
        for top, left, side in ((0, 0, 75), (7, 3, 50), (24, 39, 51), (1, 41, 20), (33, 0, 31)):
            window = decode_window(contents, top, left, side, side).numpy()
            np.testing.assert_array_equal(window, whole[top : top + side, left : left + side])


def test_mattes_of_any_kind(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (30, 40, 4), dtype=np.uint8)
    opaque = np.full_like(values, 255)
    opaque[..., :3] = grey = np.repeat(values[..., :1], 3, axis=-1)
    kinds = (values[..., 0], opaque[..., 2:], grey, opaque, values[..., 0] > 128)
    for kind in kinds:
        Image.fromarray(kind).save(tmp_path / "matte.png")
        found = decode_matte(tf.io.read_file(str(tmp_path / "matte.png"))).numpy()
        np.testing.assert_array_equal(found[..., 0], read_matte(tmp_path / "matte.png"))


def test_a_matte_that_is_transparent_in_parts_is_named(dataset, tmp_path):
    path = tmp_path / "p_1.png"
    Image.new("RGBA", Image.open(dataset.examples[1].matte).size, (9, 9, 9, 128)).save(path)
    examples = [replace(e, matte=path) if e.stem == "p_1" else e for e in dataset.examples]
    with pytest.raises(ImageError, match=r"p_1\.png: is partly transparent"):
        next(batches(replace(dataset, examples=tuple(examples)), composition=False, batch_size=5))


@pytest.mark.parametrize(
    ("role", "values", "sentence"),
    [
        ("matte", (0, 1), r"0 and 1; a matte ranges from 0 to 255"),
        ("matte", (0, 90), "0 and 90"),
        ("facemask", (0, 1), "0 and 1; a face mask is 255"),
        ("facemask", (0, 90, 255), "0, 90 and 255"),
        ("private", (0, 40), "a label map is 0 outside"),
    ],
)
def test_label_files_with_other_values_end_the_run(dataset, tmp_path, role, values, sentence):
    def wrong(example):
        columns, rows = Image.open(example.matte).size
        path = tmp_path / f"{example.stem}.png"
        Image.fromarray(np.resize(np.array(values, np.uint8), (rows, columns))).save(path)
        return replace(example, **{role: path})

    examples = tuple(map(wrong, dataset.examples))
    options = {"obfuscation": Obfuscation("fill")} if role == "private" else {}
    with pytest.raises(LabelError, match=sentence):
        next(batches(replace(dataset, examples=examples), composition=False, **options))


def test_different_channels_count_only_in_the_layout_of_p3m_10k(dataset, first, tmp_path):
    def coloured(example):
        if example.facemask is None:
            return example
        mask = read_face_mask(example.facemask)
        path = tmp_path / f"{example.stem}.png"
        Image.fromarray(np.stack([mask, 0 * mask, 255 - mask], -1)).save(path)
        return replace(example, facemask=path, published=True)

    examples = tuple(map(coloured, dataset.examples))
    other = next(batches(replace(dataset, examples=examples), composition=False))
    np.testing.assert_array_equal(first[0]["facemask"], other["facemask"])
    foreign = tuple(replace(e, published=False) for e in examples)
    with pytest.raises(LabelError, match="colour channels differ"):
        next(batches(replace(dataset, examples=foreign), composition=False, batch_size=5))


def test_missing_foregrounds_are_named_with_the_remedy(dataset):
    examples = [replace(e, foreground=None) for e in dataset.examples[:2]]
    incomplete = replace(dataset, examples=(*examples, *dataset.examples[2:]))
    with pytest.raises(DataSetError, match=r"2 of 5 .*p3m estimate.*composition=False"):
        batches(incomplete)
    next(batches(incomplete, composition=False))


@pytest.mark.parametrize("role", ["picture", "background", "facemask"])
def test_files_of_other_sizes_are_named(dataset, tmp_path, role):
    small = tmp_path / "p_1.png"
    Image.new("L" if role == "facemask" else "RGB", (70, 70)).save(small)
    wrong = replace(dataset.examples[1], **{role: small})
    with pytest.raises(ImageError, match=r"p_1\.png: is 70 x 70 pixels, but its matte is 96 x 160"):
        next(batches(replace(dataset, examples=(wrong,))))


def test_unreadable_files_are_named(dataset, tmp_path):
    whole = dataset.examples[1].picture.read_bytes()
    for content in (whole[: len(whole) // 2], b"no picture"):
        broken = tmp_path / "p_1.jpg"
        broken.write_bytes(content)
        wrong = replace(dataset, examples=(replace(dataset.examples[1], picture=broken),))
        with pytest.raises((DataSetError, ImageError), match=r"p_1\.jpg"):
            next(batches(wrong, composition=False))
    gone = replace(dataset.examples[1], matte=tmp_path / "gone.png")
    with pytest.raises(ImageError, match=r"gone\.png: there is no such file"):
        next(batches(replace(dataset, examples=(gone,)), composition=False))


def test_a_process_that_iterates_ends(dataset):
    """Leaving an iterator that still prefetches must not hang or spoil the exit code."""
    program = f"""
from pathlib import Path
from p3m_jax.data.layouts import folder_pair
from p3m_jax.input.pipeline import training_batches
data = folder_pair(Path({str(dataset.root / "picture")!r}), Path({str(dataset.root / "matte")!r}))
steps = training_batches(data, batch_size=2, crop_sizes=(64,), output_size=32, seed=0,
                         composition=False)
print(sum(int(next(steps)["picture"].shape[0]) for _ in range(3)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "6"), done.stderr
    assert not done.stderr.strip()  # TensorFlow is quiet


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the real samples are not on this machine")
def test_real_portraits_at_full_size():
    portraits = training_set(SAMPLES)
    load = tf.function(load_sample, autograph=False)
    for number, example in enumerate(portraits.examples[:3]):
        draws = augment.draw(0, number, (512,))
        files = {"picture": str(example.picture), "matte": str(example.matte)}
        sample = load(
            {role: tf.constant(file) for role, file in files.items()},
            draws,
            crop_sizes=(512,),
            output_size=512,
        )
        picture, matte = read_picture(example.picture), read_matte(example.matte)
        if draws.flip:
            picture, matte = picture[:, ::-1], matte[:, ::-1]
        crop = sample["matte"].numpy()[..., 0]
        # The crop is found again where the picture says it is.
        error = cv2.matchTemplate(picture, sample["picture"].numpy(), cv2.TM_SQDIFF)
        top, left = np.unravel_index(error.argmin(), error.shape)
        window = np.s_[top : top + 512, left : left + 512]
        np.testing.assert_array_equal(sample["picture"], picture[window])
        np.testing.assert_array_equal(crop, matte[window])
