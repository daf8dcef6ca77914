"""Evaluating sets: rows, summaries, sheets."""

import dataclasses
import math
import warnings

import numpy as np
import pytest
from evaluating import SHAPES, write_set

from p3m_jax.data.layouts import find_test_set, folder_pair
from p3m_jax.evaluation.checks import EvaluationError
from p3m_jax.evaluation.evaluator import (
    Worst,
    evaluate_examples,
    evaluate_predictions,
)
from p3m_jax.evaluation.metrics import METRICS, PRIVACY_METRICS, all_metrics
from p3m_jax.evaluation.sheet import make_sheet
from p3m_jax.evaluation.summary import summarise
from p3m_jax.inference.strategies import matte_picture
from p3m_jax.pictures.images import read_picture, write_image
from p3m_jax.pictures.labels import read_matte
from p3m_jax.pictures.trimap import trimap_from_matte


def luminance(name, batch):
    grey = batch.mean(axis=-1, keepdims=True) / 255
    semantic = np.concatenate([1 / 3 - grey, 0 * grey, grey - 2 / 3], axis=-1)
    return {"semantic": semantic, "detail": grey, "fusion": grey}[name]


@pytest.fixture
def root(tmp_path):
    return write_set(tmp_path)


@pytest.fixture
def dataset(root):
    return find_test_set(root / "data", "P3M-500-P")


# --- rows ------------------------------------------------------------------------------------


def test_predictions_are_scored_with_the_files_of_the_set(root, dataset):
    rows = evaluate_predictions(root / "theirs", dataset, progress=False)
    assert [row["stem"] for row in rows] == ["a", "b", "c"]
    for row, example in zip(rows, dataset.examples, strict=True):
        expected = all_metrics(
            read_matte(root / "theirs" / f"{example.stem}.png"),
            read_matte(example.matte),
            read_matte(example.trimap),
            read_matte(example.facemask),
        )
        assert (row["height"], row["width"]) == SHAPES[example.stem]
        for name in METRICS + PRIVACY_METRICS:
            assert row[name] == pytest.approx(expected[name], nan_ok=True), name


def test_without_trimaps_they_are_made_from_the_mattes(root, dataset):
    base = root / "data" / "validation" / "P3M-500-P"
    pair = folder_pair(base / "blurred_image", base / "mask")
    row = evaluate_predictions(root / "theirs", pair, progress=False)[1]
    matte = read_matte(dataset.examples[1].matte)
    expected = all_metrics(
        read_matte(root / "theirs" / "b.png"), matte, trimap_from_matte(matte, 25)
    )
    assert {name: row[name] for name in METRICS} == pytest.approx(expected, nan_ok=True)
    assert not set(PRIVACY_METRICS) & set(row)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("strategy", ["resize", "hybrid"])
def test_a_network_is_scored_by_protocol(dataset, strategy, workers):
    """8-bit protocols score exactly what a file of the matte scores; order is the set's."""
    seen = []
    rows = evaluate_examples(
        luminance,
        dataset,
        strategy=strategy,
        protocol="p3m-2024",
        workers=workers,
        progress=False,
        observe=lambda example, prediction, row: seen.append((example.stem, prediction, row)),
    )
    assert [stem for stem, _, _ in seen] == ["a", "b", "c"]
    for example, row, (_, prediction, observed) in zip(dataset.examples, rows, seen, strict=True):
        picture = read_picture(example.picture)
        alpha = matte_picture(luminance, picture, strategy=strategy, protocol="p3m-2024")
        expected = (alpha * 255).astype(np.uint8)
        np.testing.assert_array_equal(prediction, expected)
        sad = np.abs(expected / 255 - read_matte(example.matte) / 255).sum() / 1000
        assert row is observed
        assert row["SAD"] == pytest.approx(sad, rel=1e-5)


def test_small_real_world_portraits_are_enlarged_for_swin_only(root, dataset):
    sizes = set()

    def network(name, batch):
        sizes.add(batch.shape[1:3])
        return luminance(name, batch)

    real_world = dataclasses.replace(dataset, name="RealWorldPortrait-636")
    options = {"protocol": "p3m-2024", "progress": False}
    evaluate_examples(network, real_world, model_name="swin", **options)
    assert sizes == {(512, 768), (512, 512), (640, 512)}
    sizes.clear()
    evaluate_examples(network, real_world, model_name="resnet34", **options)
    evaluate_examples(network, dataset, model_name="swin", **options)
    assert max(max(size) for size in sizes) < 64


def test_everything_in_the_way_is_named_at_once(root, dataset):
    (root / "theirs" / "a.png").unlink()
    (root / "theirs" / "c.png").unlink()
    with pytest.raises(EvaluationError, match=r"2 of 3.*\n  a\.png\n  c\.png"):
        evaluate_predictions(root / "theirs", dataset, progress=False)
    for stem in "abc":
        write_image(root / "theirs" / f"{stem}.png", np.zeros((64, 96), np.uint8))
    with pytest.raises(EvaluationError) as error:
        evaluate_predictions(root / "theirs", dataset, progress=False)
    assert "b.png: is 96 x 64 pixels, but its matte is 70 x 70" in str(error.value)
    assert "c.png: is 96 x 64 pixels, but its matte is 70 x 90" in str(error.value)
    assert "a.png" not in str(error.value)

    write_image(root / "theirs" / "b.jpg", np.zeros((70, 70), np.uint8))
    with pytest.raises(EvaluationError, match=r"1 \(b\) exist with two endings"):
        evaluate_predictions(root / "theirs", dataset, progress=False)

    write_image(dataset.examples[0].picture, np.zeros((9, 9, 3), np.uint8))
    dataset.examples[2].trimap.write_bytes(b"nothing")
    with pytest.raises(EvaluationError) as error:
        evaluate_examples(luminance, dataset, progress=False)
    assert "a.jpg: is 9 x 9" in str(error.value)
    assert "trimap/c.png: is not a picture" in str(error.value)


# --- summaries -------------------------------------------------------------------------------


def test_means_leave_out_what_a_picture_does_not_have():
    rows = [{"SAD": 1.0, "MSE-T": math.nan}, {"SAD": 3.0, "MSE-T": 0.5, "SAD-PRIVACY": 4.0}]
    summary = summarise([{"CONN": math.nan, **row} for row in rows])
    assert list(summary) == ["SAD", "MSE-T", "SAD-PRIVACY"]
    assert summary["SAD"] == (2.0, None, None, 2)
    assert summary["MSE-T"] == (0.5, None, None, 1)
    assert summary["SAD-PRIVACY"] == (4.0, None, None, 1)


def test_what_no_picture_has_is_left_out_without_a_warning():
    rows = [{"SAD": float(value), "CONN": math.nan, "MSE-T": math.nan} for value in range(40)]
    rows[0]["MSE-T"] = 2.0
    with warnings.catch_warnings(action="error"):
        summary = summarise(rows)
    assert list(summary) == ["SAD", "MSE-T"]
    assert summary["SAD"] == summarise([{"SAD": row["SAD"]} for row in rows])["SAD"]
    assert summary["MSE-T"] == (2.0, None, None, 1)


def test_intervals_are_those_of_the_mean():
    """For many pictures the percentile interval is the normal one."""
    values = np.random.default_rng(1).gamma(2.0, 3.0, 400)
    rows = [{"SAD": value, "MSE": 2 * value} for value in values]
    summary = summarise(rows)
    half = 1.96 * values.std() / math.sqrt(len(values))
    sad = summary["SAD"]
    assert sad.mean == pytest.approx(values.mean())
    assert sad.low == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert sad.high == pytest.approx(values.mean() + half, abs=0.15 * half)
    assert summary["MSE"].low == pytest.approx(2 * sad.low)
    assert summarise(rows) == summary
    assert summarise(rows, seed=1) != summary


@pytest.mark.parametrize("count", [29, 30])
def test_few_pictures_get_no_interval(count):
    estimate = summarise([{"SAD": float(value)} for value in range(count)])["SAD"]
    assert (estimate.low is not None) == (count == 30)
    assert estimate.mean == (count - 1) / 2


def test_worst_are_kept_in_order(dataset):
    worst = Worst(2)
    for example, sad in zip(dataset.examples, (1.0, 3.0, 2.0), strict=True):
        worst(example, np.zeros((2, 2)), {"SAD": sad})
    assert [(sad, example.stem) for sad, example, _ in worst.entries] == [(3.0, "b"), (2.0, "c")]


# --- sheets ----------------------------------------------------------------------------------


def test_a_sheet_shows_every_row_and_where_the_errors_are():
    matte = np.zeros((40, 60))
    prediction = matte.copy()
    prediction[:, 40:] = 1.0  # too much, on the right
    matte[:, :20] = 1.0  # missing, on the left
    picture = np.full((40, 60, 3), (10, 200, 90), np.uint8)
    sheet = make_sheet(
        [(picture, matte, prediction, "one"), (picture, matte, matte, "two")], height=80
    )
    assert sheet.dtype == np.uint8
    assert sheet.shape[1] == 4 * 120 + 5 * 6
    pixels = sheet.reshape(-1, 3).astype(int)
    assert (pixels == (10, 200, 90)).all(axis=1).sum() == 2 * 80 * 120
    error = sheet[44:124, 3 * 126 + 6 : -6].astype(int)  # below the titles and one caption
    red = np.argwhere(error[..., 0] - error[..., 2] > 100)
    blue = np.argwhere(error[..., 2] - error[..., 0] > 100)
    assert len(red) == len(blue) == 80 * 40
    assert red[:, 1].min() == 80
    assert blue[:, 1].max() == 39


def test_a_sheet_takes_any_shape():
    rows = [
        (np.zeros((*shape, 3), np.uint8), np.zeros(shape), np.ones(shape), "x\n" + "long " * 99)
        for shape in [(1, 1), (5, 900), (900, 5)]
    ]
    assert make_sheet(rows, height=64).shape[1] == 4 * 128 + 5 * 6
    with pytest.raises(ValueError, match="one row"):
        make_sheet([])
