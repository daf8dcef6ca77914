"""What P3M-FCP takes from the input: shared sources, masks, matrices, by step and place alone."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("tensorflow")
from p3m_jax.copy_paste import geometry
from p3m_jax.copy_paste.feature import (
    paste_area,
    replicated_entries,
    shrink,
    shrinking,
    shrunk_matrices,
    warp,
)
from p3m_jax.copy_paste.recipe import CopyPaste
from p3m_jax.copy_paste.samples import find_pasting
from p3m_jax.copy_paste.sources import synthetic_faces, training_set_faces
from p3m_jax.data.layouts import training_set
from p3m_jax.data.synthetic.writer import write_synthetic_set
from p3m_jax.input.pipeline import training_batches


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fcp") / "set"
    return write_synthetic_set(folder, train=4, test=1, faces=6, size=(128, 96), progress=False)


@pytest.fixture(scope="module")
def faces(root):
    return synthetic_faces(root)


def batches(root, copy_paste, count=3, **options):
    settings = {"batch_size": 4, "crop_sizes": (64, 96), "output_size": 64, "seed": 2}
    settings |= options
    drawn = {"seed": settings["seed"], "obfuscation": settings.get("obfuscation")}
    dataset = training_set(root)
    pasting = find_pasting(copy_paste, dataset.examples, **drawn)
    stream = training_batches(dataset, pasting=pasting, **settings)
    return list(itertools.islice(stream, count))


def shared(faces, **options):
    settings = {"probability": 1.0, "level": "feature", "source_size": 64, "source_batch": 2}
    return CopyPaste(faces, **(settings | options))


@pytest.fixture(scope="module")
def whole(root, faces):
    """The first batches, of which every picture gets a face that is shared."""
    return batches(root, shared(faces))


def test_a_batch_holds_what_the_network_pastes_from_and_is_else_the_plain_one(root, whole):
    for plain, batch in zip(batches(root, None), whole, strict=True):
        for role, values in plain.items():
            np.testing.assert_array_equal(batch[role], values)
        added = {n: (v.shape, str(v.dtype)) for n, v in batch.items() if n not in plain}
        assert added == {
            "facemask": ((4, 64, 64, 1), "uint8"),
            "paste": ((4,), "bool"),
            "paste_matrix": ((4, 2, 3), "float32"),
            "source": ((2, 64, 64, 3), "uint8"),
            "source_mask": ((2, 64, 64, 1), "uint8"),
        }
        assert set(np.unique(batch["facemask"])) <= {0, 255}
        assert (batch["trimap"][batch["facemask"] > 0] == 255).all()
        assert batch["paste"].tolist() == batch["facemask"].any((1, 2, 3)).tolist()
        # Its face fills about two thirds of a source.
        for mask in batch["source_mask"][..., 0]:
            sides = [np.ptp(np.nonzero(mask.any(axis))[0]) + 1 for axis in (0, 1)]
            assert 0.6 < max(sides) / 64 <= 1


def test_warped_as_pictures_it_is_the_image_level(root, faces):
    """With a source for each place both levels lay the same faces over the same samples alike."""
    every = {"source_batch": 4, "source_size": 128}
    for image, batch in zip(
        batches(root, CopyPaste(faces, probability=1.0), composition=False),
        batches(root, shared(faces, **every), composition=False),
        strict=True,
    ):
        matrices = jnp.asarray(batch["paste_matrix"])
        factor = shrinking(matrices, batch["paste"])
        pictures, masks = shrink(batch["source"], batch["source_mask"], factor)
        matrices = shrunk_matrices(matrices, factor, 64.0)
        area = paste_area(jnp.asarray(batch["facemask"]), masks, matrices, batch["paste"], 1)
        warped = warp(pictures, matrices, 1, (64, 64))
        pasted = np.where(area, warped, batch["picture"])
        changed = (image["picture"] != batch["picture"]).any(-1)
        assert changed.any()
        both = changed & np.asarray(area)[..., 0]
        either = changed | np.asarray(area)[..., 0]
        assert both.sum() > 0.95 * either.sum()  # masks were resampled by other filters
        difference = np.abs(pasted - image["picture"].astype(float))[both]
        assert difference.mean() < 6
        assert np.corrcoef(pasted[both].ravel(), image["picture"][both].ravel())[0, 1] > 0.9


def test_it_follows_from_seed_step_and_place_alone(root, faces, whole):
    recipe, later = shared(faces), whole[1:]
    parts = [batches(root, recipe, 2, start_step=1, shard=(part, 2)) for part in range(2)]
    for step, batch in enumerate(later):
        for role, values in batch.items():
            halves = [part[step][role] for part in parts]
            if role in replicated_entries():
                for half in halves:
                    np.testing.assert_array_equal(half, values)
            else:
                np.testing.assert_array_equal(np.concatenate(halves), values)
    assert any((whole[0]["source"] != batch["source"]).any() for batch in whole[1:])


def test_nothing_is_pasted_before_the_first_step_or_by_chance(root, faces):
    half = shared(faces, probability=0.5, first_step=2)
    first, second, *later = batches(root, half, 14, composition=False)
    for batch in (first, second):
        assert not batch["paste"].any()
        assert not batch["source"].any()
    assert all(batch["source"].any() for batch in later)
    share = np.mean([batch["paste"] for batch in later])
    assert 0.2 < share < 0.7  # some crops show no face
    never = shared(faces, probability=0.0)
    assert not any(geometry.draw(2, number, never).paste for number in range(48))


def test_no_picture_gets_its_own_face(root):
    dataset = training_set(root)
    own = training_set_faces(dataset, obfuscated=False)
    alone = [face for face in own if face.stem == own[0].stem]
    for batch in batches(
        root, shared(tuple(alone), source_batch=1), 4, crop_sizes=(96,), composition=False
    ):
        # One picture in four is the source's own, each comes once in a batch.
        assert batch["paste"].sum() <= 3
